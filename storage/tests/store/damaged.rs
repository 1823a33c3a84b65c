//! Damaged blocks stay where they are, whatever upkeep does to the others, which are served.

use std::{path::PathBuf, sync::Arc, time::Duration};

use narthex_storage::{
    Db, DbOptions, Fs, OpenReport, OperationError, Queryable, ReadError, TimeRange,
};

use crate::support::{
    self, Content, Crash, FaultyFs, SetClock,
    workload::{opened, push, row},
    world::{Selector, Step},
};

const HOUR: i64 = 3_600_000;

/// A store of merged and sealed blocks, of which some hold deleted samples and some are to be merged.
fn filled() -> (FaultyFs, DbOptions, Content) {
    let (fs, _, options, mut world) = opened();
    for round in 0..9u8 {
        for step in [
            row(0, HOUR / 2, &[(0, round), (1, 4), (2, round + 1)]),
            push(&[(4, 1, round), (5, 2, 9), (4, 3, round + 1)]),
            row(0, HOUR / 2, &[(0, round + 2), (1, 4)]),
        ] {
            world.run(&step).unwrap();
        }
        if round == 4 {
            // The log goes, and the files that were merged.
            world.run(&Step::Compact).unwrap();
            world.run(&Step::Wait(11)).unwrap();
            world.run(&Step::Wait(11)).unwrap();
            let recent = -2 * HOUR..-HOUR;
            world.run(&Step::Delete(Selector::One(4), recent)).unwrap();
        }
        world.run(&Step::Wait(11)).unwrap();
    }
    let content = world.content().clone();
    (fs, options, content)
}

fn on(fs: &FaultyFs, options: &DbOptions, clock: &Arc<SetClock>) -> DbOptions {
    DbOptions {
        fs: Arc::new(fs.clone()),
        clock: Arc::<SetClock>::clone(clock),
        ..options.clone()
    }
}

fn blocks(fs: &FaultyFs) -> Vec<PathBuf> {
    let mut blocks = fs.paths();
    blocks.retain(|path| path.extension().is_some_and(|extension| extension == "nx"));
    blocks
}

fn number(file: &[u8], at: usize, bytes: usize) -> usize {
    let low_first = file[at..at + bytes].iter().rev();
    low_first.fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// The file damaged in every place that has a checksum of its own, and in ways that no checksum sees
/// alone. The layout is in `docs/format.md`.
fn damages(file: &[u8]) -> Vec<(String, Vec<u8>)> {
    const SECTION: usize = 24;
    let flipped = |at: usize| {
        let mut damaged = file.to_vec();
        damaged[at] ^= 0x20;
        damaged
    };
    let tail = file.len() - 64;
    let sections = number(file, tail + 48, 4);
    let table = tail - sections * SECTION;
    let mut damages = vec![
        ("header".to_owned(), flipped(20)),
        ("frame".to_owned(), flipped(64)),
        ("sections' table".to_owned(), flipped(table + 9)),
        ("footer".to_owned(), flipped(tail + 3)),
        ("last byte".to_owned(), flipped(file.len() - 1)),
        ("cut".to_owned(), file[..file.len() / 2].to_vec()),
        ("longer".to_owned(), [file, &[0; 9]].concat()),
        ("empty".to_owned(), Vec::new()),
        ("zeros".to_owned(), vec![0; file.len()]),
    ];
    for entry in (table..tail).step_by(SECTION) {
        let (start, bytes) = (number(file, entry + 8, 8), number(file, entry + 16, 8));
        if bytes > 0 {
            let kind = number(file, entry, 4);
            damages.push((format!("section {kind}"), flipped(start + bytes / 2)));
        }
    }
    damages
}

/// What can be read of each series by itself: a damaged page ends the reading of its own.
fn readable(db: &Db) -> (Content, bool) {
    let querier = db.querier(TimeRange::ALL).unwrap();
    let mut found = Content::new();
    let mut is_whole = true;
    for series in 0..8 {
        for matchers in Selector::One(series).matchers() {
            match support::read(&*querier, &matchers, TimeRange::ALL) {
                Ok(samples) => found.extend(samples),
                Err(ReadError::Corruption(_)) => is_whole = false,
                Err(other) => panic!("{other}"),
            }
        }
    }
    (found, is_whole)
}

fn is_corruption(outcome: Result<(), OperationError>) -> bool {
    match outcome {
        Ok(()) => false,
        Err(OperationError::Corruption(_)) => true,
        Err(other) => panic!("{other}"),
    }
}

/// Everything that removes files, for long enough.
fn keep_up(db: &Db, clock: &SetClock) {
    let later = |minutes: u64| {
        clock.advance(Duration::from_secs(60 * minutes));
        db.maintain().unwrap();
    };
    later(11);
    // A damaged block is found once, then passed over.
    for _ in 0..3 {
        while matches!(db.compact(), Ok(true)) {}
    }
    let everything = TimeRange::new(i64::MIN, 100_000_000 + 2 * HOUR);
    let all = Selector::All.matchers();
    if !is_corruption(db.delete_series(&all, everything)) {
        is_corruption(db.clean_tombstones());
    }
    later(11);
    db.set_retention(Some(3 * HOUR), None);
    later(11);
    db.set_retention(None, Some(1));
    later(11);
    later(11);
}

fn names(report: &OpenReport) -> Vec<&PathBuf> {
    let damage = report.block_damage.iter().chain(&report.blocks_restored);
    damage.map(|damage| &damage.at.file).collect()
}

#[test]
fn no_upkeep_removes_a_damaged_block_and_the_others_are_served() {
    let (fs, options, content) = filled();
    let all = blocks(&fs);
    assert!(all.len() >= 5, "{all:?}");
    let levels = all.iter().map(|path| fs.read(path).unwrap()[12]);
    assert_eq!(levels.max(), Some(1), "one is merged");
    for path in &all {
        let without = fs.after(Crash::Kill);
        without.remove_file(path).unwrap();
        let (others, _) = Db::open(&on(&without, &options, &Arc::default())).unwrap();
        let others = readable(&others).0;
        let whole = fs.read(path).unwrap();
        for (what, bytes) in damages(&whole) {
            let place = format!("{what} of {}", path.display());
            let left = fs.after(Crash::Kill);
            left.put(path, bytes.clone());
            let clock = Arc::new(SetClock::default());
            let options = on(&left, &options, &clock);
            let is_newest = Some(path) == all.last();
            // What was behind a damaged frame of the newest is in another block the second time: the file is
            // one that was replaced.
            let times = if is_newest && what == "frame" { 1 } else { 2 };
            for time in 0..times {
                let (db, report) = Db::open(&options).unwrap();
                let is_seen_later = what == "frame" && !is_newest;
                if !is_seen_later {
                    assert_eq!(names(&report), [path], "{place}");
                    assert_eq!(db.stats().blocks_damaged, 1, "{place}");
                }
                if time == 0 {
                    let (found, is_whole) = readable(&db);
                    assert_eq!(is_whole, !is_seen_later, "{place}");
                    let holds = |all: &Content, some: &Content| {
                        let mut samples = some.iter();
                        samples.all(|(key, bits)| all.get(key) == Some(bits))
                    };
                    assert!(holds(&content, &found), "{place}: {found:?}");
                    let has_others = !is_whole || holds(&found, &others);
                    assert!(has_others, "{place}: {found:?}");
                }
                keep_up(&db, &clock);
                assert_eq!(left.read(path).unwrap(), bytes, "{place}: it stays");
                assert!(blocks(&left).len() <= 2, "{place}: the others go");
                assert!(db.stats().blocks_damaged >= 1, "{place}");
                assert!(readable(&db).1, "{place}: it is not served any more");
            }
        }
    }
}
