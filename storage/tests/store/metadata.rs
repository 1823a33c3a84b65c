//! Metadata of metric families: seen with its samples, there after a crash at any operation, in a copy of
//! the live folder and in snapshots, and no reason for anything else to fail.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use narthex_storage::{
    Appendable, Commit, Db, DbOptions, Labels, Metadata, MetadataRefusal, MetricType, OpenReport,
    Refusal, RowBuilder, Sample, TargetKey, WalFsync,
};

use crate::support::{
    Crash, FaultyFs, ROOT, Random, SetClock, content, labels, options,
    workload::{WINDOW_MS, workloads},
    world::{Step, World},
};

/// A family has so many at most, see `storage/docs/wal.md`.
const OF_FAMILY_MAX: u64 = 4;

fn metadata(help: u64) -> Metadata {
    Metadata {
        kind: MetricType::Counter,
        unit: "seconds".to_owned(),
        help: help.to_string(),
    }
}

/// The help texts of a family, newest first.
fn helps(db: &Db, family: &str) -> Vec<u64> {
    let mut found = db.metadata(Some(family));
    let kept = found.remove(family).unwrap_or_default().into_iter();
    kept.map(|kept| {
        let help = kept.metadata.help.parse().unwrap();
        assert_eq!(kept.metadata, metadata(help));
        help
    })
    .collect()
}

/// What a family has after so many.
fn newest(last: u64) -> Vec<u64> {
    let first = last.saturating_sub(OF_FAMILY_MAX - 1).max(1);
    (first..=last).rev().collect()
}

fn say(db: &Db, help: u64) {
    let mut appender = db.appender();
    appender.metadata("m", metadata(help));
    assert_eq!(appender.commit(true).unwrap(), Commit::default());
}

fn reopened(fs: &FaultyFs, options: &DbOptions) -> (Db, OpenReport) {
    let options = DbOptions {
        fs: Arc::new(fs.clone()),
        ..options.clone()
    };
    Db::open(&options).unwrap()
}

/// Says something new before each step of a workload, and crashes before each operation.
fn crash_everywhere(name: &str, steps: &[Step], wal_fsync: WalFsync) {
    let fs = FaultyFs::default();
    let clock = Arc::new(SetClock::default());
    let options = DbOptions {
        out_of_order_window_ms: WINDOW_MS,
        ..options(&fs, &clock, wal_fsync)
    };
    let mut world = World::new(options.clone(), &clock);
    let said = Arc::new(AtomicU64::new(0));
    let (acknowledged, operations) = (Arc::clone(&said), AtomicU64::new(0));
    let name = name.to_owned();
    fs.watch(move |fs| {
        let last = acknowledged.load(Ordering::Relaxed);
        let seed = operations.fetch_add(1, Ordering::Relaxed);
        for crash in [Crash::Kill, Crash::PowerCut, Crash::TornPowerCut(seed)] {
            println!("{name}, {wal_fsync:?}, operation {seed}, {crash:?}");
            let left = fs.after(crash);
            let (db, report) = reopened(&left, &options);
            let found = helps(&db, "m");
            let next = found.first().copied().unwrap_or(0);
            assert!(found.is_sorted_by(|a, b| a > b), "{found:?}: {report:?}");
            if matches!(crash, Crash::Kill) || wal_fsync == WalFsync::Commit {
                assert!((last..=last + 1).contains(&next), "{next}, said {last}");
                assert_eq!(found, newest(next), "{report:?}");
            }
            // What comes next is newer, also after another end.
            say(&db, last + 2);
            let found = helps(&db, "m");
            assert_eq!(found[0], last + 2);
            drop(db);
            let (db, _) = reopened(&left, &options);
            assert_eq!(helps(&db, "m"), found);
        }
    });
    world.open().unwrap();
    for step in steps {
        let next = said.load(Ordering::Relaxed) + 1;
        say(world.db(), next);
        said.store(next, Ordering::Relaxed);
        world.run(step).unwrap();
        assert_eq!(helps(world.db(), "m"), newest(next));
    }
}

#[test]
fn metadata_is_there_after_a_crash_at_any_operation() {
    for (name, steps) in workloads() {
        for wal_fsync in [WalFsync::Segment, WalFsync::Commit] {
            crash_everywhere(&name, &steps, wal_fsync);
        }
    }
}

/// A number, and the help of the commit that brought it.
fn append(db: &Db, at: u64) {
    let sample = Sample {
        time: at as i64 * 60_000,
        value: at as f64,
    };
    if at.is_multiple_of(3) {
        let mut appender = db.appender();
        let series = appender.series(&labels("s")).unwrap();
        appender.samples(series, &[sample]);
        appender.metadata("m", metadata(at));
        assert_eq!(appender.commit(true).unwrap().accepted, 1);
        return;
    }
    let mut target = db.target(&TargetKey("t".to_owned())).unwrap();
    let column = target.column(&labels("s")).unwrap();
    let mut row = RowBuilder::default();
    row.begin(sample.time);
    if at.is_multiple_of(2) {
        row.set(column, sample.value);
    } else {
        row.at(column, sample.time, sample.value);
    }
    row.metadata("m", metadata(at));
    assert_eq!(target.commit(&mut row).unwrap().accepted, 1);
}

/// The newest number and the newest help, which are of one commit.
fn last_of_both(db: &Db) -> u64 {
    let samples = content(db);
    let last = samples.last_key_value();
    let last = last.map_or(0, |(_, bits)| f64::from_bits(*bits) as u64);
    assert_eq!(helps(db, "m").first().copied().unwrap_or(0), last);
    last
}

#[test]
fn samples_and_metadata_of_a_commit_are_there_together() {
    for wal_fsync in [WalFsync::Segment, WalFsync::Commit] {
        let fs = FaultyFs::default();
        let clock = Arc::new(SetClock::default());
        let options = options(&fs, &clock, wal_fsync);
        let said = Arc::new(AtomicU64::new(0));
        let (acknowledged, watched) = (Arc::clone(&said), options.clone());
        fs.watch(move |fs| {
            let last = acknowledged.load(Ordering::Relaxed);
            for crash in [Crash::Kill, Crash::PowerCut, Crash::TornPowerCut(last)] {
                let (db, _) = reopened(&fs.after(crash), &watched);
                let found = last_of_both(&db);
                assert!(found <= last + 1, "{found}, said {last}");
                if matches!(crash, Crash::Kill) || wal_fsync == WalFsync::Commit {
                    assert!(found >= last, "{found}, said {last}");
                }
            }
        });
        let (mut db, _) = Db::open(&options).unwrap();
        for at in 1..80 {
            append(&db, at);
            said.store(at, Ordering::Relaxed);
            assert_eq!((last_of_both(&db), helps(&db, "m")), (at, newest(at)));
            clock.advance(Duration::from_mins(1));
            db.maintain().unwrap();
            if at % 25 == 0 {
                drop(db);
                db = Db::open(&options).unwrap().0;
            }
        }
        assert!(db.stats().blocks > 3);
    }
}

/// A copy of the live folder in the making: files in any order, one between any two operations.
struct Copy {
    said: u64,
    unlisted: Vec<PathBuf>,
    files: Vec<PathBuf>,
    to: FaultyFs,
}

impl Copy {
    /// `false` when nothing is left to copy.
    fn go_on(&mut self, from: &FaultyFs, random: &mut Random) -> bool {
        while self.files.is_empty() {
            if self.unlisted.is_empty() {
                return false;
            }
            let folder = self.unlisted.swap_remove(random.below(self.unlisted.len()));
            self.files = from.paths();
            self.files.retain(|path| path.parent() == Some(&folder));
        }
        let chosen = self.files.swap_remove(random.below(self.files.len()));
        from.copy_to(&self.to, &chosen);
        true
    }
}

#[test]
fn a_copy_of_the_live_folder_has_what_was_said_before_it_began() {
    let fs = FaultyFs::default();
    let clock = Arc::new(SetClock::default());
    let options = options(&fs, &clock, WalFsync::Segment);
    let said = Arc::new(AtomicU64::new(0));
    let state = Mutex::new((Random::new(7), Vec::<Copy>::new()));
    let opened = Arc::new(AtomicU64::new(0));
    let (acknowledged, counted, watched) =
        (Arc::clone(&said), Arc::clone(&opened), options.clone());
    fs.watch(move |fs| {
        let (random, copies) = &mut *state.lock().unwrap();
        let last = acknowledged.load(Ordering::Relaxed);
        if copies.len() < 10 {
            let folders = ["narthex/wal", "narthex/blocks", "narthex"];
            copies.push(Copy {
                said: last,
                unlisted: folders.map(|folder| Path::new(ROOT).join(folder)).into(),
                files: Vec::new(),
                to: FaultyFs::default(),
            });
        }
        // A minute passes with each commit.
        for mut copy in std::mem::take(copies) {
            let mut goes_on = random.below(4) != 0 || copy.go_on(fs, random);
            while goes_on && last - copy.said >= 8 {
                goes_on = copy.go_on(fs, random);
            }
            if goes_on {
                copies.push(copy);
                continue;
            }
            let (db, report) = reopened(&copy.to, &watched);
            let found = helps(&db, "m");
            let next = found.first().copied().unwrap_or(0);
            assert!(
                (copy.said..=last + 1).contains(&next),
                "{found:?}, said {} to {last}: {report:?}",
                copy.said
            );
            assert_eq!(found, newest(next), "{report:?}");
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let (db, _) = Db::open(&options).unwrap();
    for at in 1..200 {
        append(&db, at);
        said.store(at, Ordering::Relaxed);
        clock.advance(Duration::from_mins(1));
        db.maintain().unwrap();
    }
    let opened = opened.load(Ordering::Relaxed);
    assert!(opened > 40, "{opened} copies");
}

#[test]
fn a_damaged_file_is_reported_and_costs_no_sample() {
    let fs = FaultyFs::default();
    let clock = Arc::new(SetClock::default());
    let options = options(&fs, &clock, WalFsync::Segment);
    let (db, _) = Db::open(&options).unwrap();
    for at in 1..60 {
        append(&db, at);
        clock.advance(Duration::from_mins(1));
        db.maintain().unwrap();
    }
    let samples = content(&db);
    drop(db);
    let path = Path::new(ROOT).join("narthex/metadata");
    let whole = fs.file(&path).unwrap().lock().unwrap().0.clone();
    let check = |damaged: Vec<u8>, what: &str| {
        let left = fs.after(Crash::Kill);
        left.put(&path, damaged);
        let (db, report) = reopened(&left, &options);
        let files: Vec<_> = report.wal_damage.iter().map(|it| &it.at.file).collect();
        assert!(
            !files.is_empty() && files.iter().all(|file| **file == path),
            "{what}: {report:?}"
        );
        assert_eq!(content(&db), samples, "{what}");
        // The log still has the newest.
        assert_eq!(helps(&db, "m"), newest(59), "{what}");
    };
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x55;
        check(flipped, &format!("byte {at}"));
        check(whole[..at].to_vec(), &format!("cut at {at}"));
    }
    fs.put(&path, whole);
    let (db, report) = reopened(&fs, &options);
    assert_eq!((report.wal_damage, helps(&db, "m")), (vec![], newest(59)));
}

#[test]
fn damage_of_the_log_costs_samples_and_metadata_together() {
    let fs = FaultyFs::default();
    let clock = Arc::new(SetClock::default());
    let options = options(&fs, &clock, WalFsync::Segment);
    let (db, _) = Db::open(&options).unwrap();
    let mut target = db.target(&TargetKey("t".to_owned())).unwrap();
    let column = target.column(&labels("s")).unwrap();
    let mut row = RowBuilder::default();
    for at in 1..8 {
        row.begin(at as i64);
        row.set(column, at as f64);
        row.metadata("m", metadata(at));
        target.commit(&mut row).unwrap();
    }
    assert_eq!(last_of_both(&db), 7);
    let path = Path::new(ROOT).join("narthex/wal/00000001");
    let whole = fs.file(&path).unwrap().lock().unwrap().0.clone();
    let mut ends = Vec::new();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x55;
        let left = fs.after(Crash::Kill);
        left.put(&path, flipped);
        // A row that builds on a lost one is not applied, nor is what it says.
        ends.push(last_of_both(&reopened(&left, &options).0));
    }
    ends.dedup();
    assert_eq!(ends, [7, 0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn what_is_repeated_is_not_logged_and_a_refusal_costs_nothing_else() {
    let fs = FaultyFs::default();
    let clock = Arc::new(SetClock::default());
    let options = options(&fs, &clock, WalFsync::Segment);
    let (db, _) = Db::open(&options).unwrap();
    let long = Metadata {
        help: "x".repeat(16_385),
        ..Metadata::default()
    };
    let mut time = 0;
    let mut row = |families: &[(&str, &Metadata)]| {
        let mut target = db.target(&TargetKey("t".to_owned())).unwrap();
        let column = target.column(&labels("s")).unwrap();
        let mut row = RowBuilder::default();
        time += 1_000;
        row.begin(time);
        row.set(column, 1.0);
        for (family, metadata) in families {
            row.metadata(family, (*metadata).clone());
        }
        let before = db.stats().wal_bytes;
        let commit = target.commit(&mut row).unwrap();
        assert_eq!((commit.accepted, &*commit.refused), (1, &[][..]));
        assert_eq!(row.families(), []);
        (db.stats().wal_bytes - before, commit.metadata_refused)
    };
    // Of the first row the log also has the series.
    row(&[]);
    let (plain, _) = row(&[]);
    let (said, _) = row(&[("m", &metadata(1)), ("n", &metadata(1))]);
    assert!(said > plain + 20, "{said} and {plain} bytes");
    assert_eq!(row(&[("m", &metadata(1)), ("n", &metadata(1))]).0, plain);
    let refused = vec![(0, MetadataRefusal::TooLong), (2, MetadataRefusal::Unnamed)];
    let given = [("m", &long), ("m", &metadata(1)), ("", &metadata(1))];
    assert_eq!(row(&given), (plain, refused));

    // Of a push that is refused as a whole, nothing is kept.
    let push = |all_or_nothing| {
        let mut appender = db.appender();
        let series = appender.series(&labels("s")).unwrap();
        let (time, value) = (0, 2.0);
        appender.samples(series, &[Sample { time, value }]);
        appender.metadata("m", metadata(2));
        appender.commit(all_or_nothing).unwrap().refused
    };
    assert_eq!(push(true), [(0, Refusal::OutOfOrder)]);
    assert_eq!(helps(&db, "m"), [1]);
    assert_eq!(push(false), [(0, Refusal::OutOfOrder)]);
    assert_eq!(helps(&db, "m"), [2, 1]);
    let stats = db.stats().metadata;
    assert_eq!((stats.families, stats.appended), (2, 3));
    assert_eq!((stats.refused_invalid, stats.refused_full), (2, 0));

    // A source that says it too is noted once.
    assert!(row(&[("m", &metadata(2))]).0 > plain);
    assert_eq!(row(&[("m", &metadata(2))]).0, plain);
    let from = |db: &Db| {
        let kept = db.metadata(None).into_values().flatten();
        let kept = kept.map(|kept| (kept.from_target, kept.from_push));
        kept.collect::<Vec<_>>()
    };
    let expected = [(true, true), (true, false), (true, false)];
    assert_eq!(from(&db), expected);
    drop(db);
    let (db, _) = reopened(&fs, &options);
    assert_eq!(from(&db), expected);
}

#[test]
fn snapshots_have_metadata_and_families_without_series_are_forgotten() {
    let fs = FaultyFs::default();
    let clock = Arc::new(SetClock::default());
    let options = options(&fs, &clock, WalFsync::Segment);
    let (db, _) = Db::open(&options).unwrap();
    let push = |db: &Db, name: &str, minute: i64| {
        let mut appender = db.appender();
        let of = Labels::from_pairs([("__name__", name), ("series", "s")]);
        let series = appender.series(&of).unwrap();
        let time = minute * 60_000;
        appender.samples(series, &[Sample { time, value: 1.0 }]);
        assert_eq!(appender.commit(true).unwrap().refused, []);
    };
    let families = |db: &Db| db.metadata(None).into_keys().collect::<Vec<_>>();
    let mut appender = db.appender();
    for family in ["early", "late", "never", "seen"] {
        appender.metadata(family, metadata(1));
    }
    appender.commit(true).unwrap();
    push(&db, "early_bucket", 0);
    let all = ["early", "late", "never", "seen"];
    let snapshot = |db: &Db, skip_head| {
        let name = db.snapshot(skip_head).unwrap();
        let copy = DbOptions {
            path: options.path.join("snapshots").join(name),
            ..options.clone()
        };
        let (copy, report) = Db::open(&copy).unwrap();
        assert_eq!(report.wal_damage, []);
        families(&copy)
    };
    assert_eq!(snapshot(&db, false), all);
    push(&db, "seen_total", 1);
    push(&db, "late", 2);
    assert_eq!(snapshot(&db, true), all);
    // Sealed again: nothing new was said of them meanwhile.
    assert_eq!(snapshot(&db, false), ["early", "late", "seen"]);
    assert_eq!(families(&db), ["early", "late", "seen"]);
    drop(db);
    let (db, _) = reopened(&fs, &options);
    assert_eq!(families(&db), ["early", "late", "seen"]);
}
