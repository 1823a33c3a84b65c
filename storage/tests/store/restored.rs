//! Damaged blocks that come back from the log: with what was deleted, and without what was not.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use narthex_storage::{Db, DbOptions, Fs};

use crate::support::{
    Content, Crash, FaultyFs, ROOT, content,
    workload::{opened, push, row},
    world::{Selector, Step, World},
};

const MINUTE: i64 = 60_000;

/// A store of four deletions with samples before, between and behind them, in rows and without, all
/// within ten minutes, so that the log has everything.
fn deleted() -> (FaultyFs, DbOptions, Content) {
    let (fs, _, options, mut world) = opened();
    let recent = -15 * MINUTE..0;
    for step in [
        row(0, MINUTE, &[(0, 1), (1, 4)]),
        row(0, MINUTE, &[(0, 1), (1, 6)]),
        push(&[(2, 0, 1), (3, 0, 2), (2, MINUTE, 3)]),
        Step::Delete(Selector::Two(0, 2), recent.clone()),
        // Into the deleted times, and rows that build on those before.
        push(&[(0, -MINUTE - 1, 7), (2, -MINUTE, 8)]),
        row(0, MINUTE, &[(1, 6)]),
        row(1, MINUTE, &[(4, 1)]),
        Step::Delete(Selector::One(1), recent.clone()),
        push(&[(1, -MINUTE - 1, 9), (0, -MINUTE - 2, 10)]),
        row(0, MINUTE, &[(0, 2)]),
        // The same again stands for both.
        Step::Delete(Selector::Two(0, 2), -20 * MINUTE..-2 * MINUTE),
        push(&[(0, -3 * MINUTE, 1), (2, -3 * MINUTE, 1)]),
        Step::Delete(Selector::High, recent),
        row(1, MINUTE, &[(4, 2), (5, 3)]),
        push(&[(4, -MINUTE, 5), (6, -MINUTE, 6)]),
    ] {
        world.run(&step).unwrap();
    }
    let content = world.content().clone();
    (fs, options, content)
}

fn on(fs: &FaultyFs, options: &DbOptions) -> DbOptions {
    DbOptions {
        fs: Arc::new(fs.clone()),
        ..options.clone()
    }
}

/// Cuts the newest blocks, so many.
fn cut_newest(fs: &FaultyFs, count: usize) {
    let mut blocks = fs.paths();
    blocks.retain(|path| path.extension().is_some_and(|extension| extension == "nx"));
    assert_eq!(blocks.len(), 4, "a deletion seals");
    for path in blocks.iter().rev().take(count) {
        let whole = fs.read(path).unwrap();
        fs.put(path, whole[..whole.len() / 2].to_vec());
    }
}

#[test]
fn deletions_count_for_what_comes_back_from_the_log_and_was_there_before_them() {
    let (fs, options, expected) = deleted();
    for count in 0..=4 {
        let left = fs.after(Crash::Kill);
        cut_newest(&left, count);
        // The second time there is a block again for each.
        for time in 0..2 {
            let (db, report) = Db::open(&on(&left, &options)).unwrap();
            assert_eq!(
                (report.block_damage.len(), report.blocks_restored.len()),
                (0, count)
            );
            assert_eq!(content(&db), expected, "{count} damaged, {time}");
            db.clean_tombstones().unwrap();
            assert_eq!(content(&db), expected, "{count} damaged, {time}");
        }
    }
}

/// As in a copy whose log and blocks are older than its list of deletions.
#[test]
fn a_deletion_behind_the_end_of_the_log_counts_for_nothing_that_comes_later() {
    let (fs, clock, options, mut world) = opened();
    world.run(&push(&[(0, 0, 1), (1, 0, 2)])).unwrap();
    let copy = fs.after(Crash::Kill);
    for minute in 1..5 {
        world.run(&push(&[(0, minute * MINUTE, 1)])).unwrap();
    }
    let all = -15 * MINUTE..0;
    world.run(&Step::Delete(Selector::One(0), all)).unwrap();
    fs.copy_to(&copy, &Path::new(ROOT).join("narthex/tombstones"));

    let mut world = World::new(on(&copy, &options), &clock);
    world.open().unwrap();
    let left = content(world.db());
    let series: Vec<&str> = left.keys().map(|(series, _)| series.as_str()).collect();
    assert_eq!(series, ["1"]);
    world.adopt(left);
    for step in [
        push(&[(0, -MINUTE, 3), (1, MINUTE, 4)]),
        Step::Snapshot { skip_head: false },
        Step::Reopen,
        push(&[(0, -2 * MINUTE, 3)]),
        Step::Reopen,
    ] {
        world.run(&step).unwrap();
        world.check();
    }
}

#[test]
fn a_crash_while_blocks_come_back_from_the_log_brings_back_nothing_deleted() {
    let (fs, options, expected) = deleted();
    let left = fs.after(Crash::Kill);
    cut_newest(&left, 3);
    let crashes = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&crashes);
    let (of_crash, of_all) = (options.clone(), expected.clone());
    left.watch(move |fs| {
        *counted.lock().unwrap() += 1;
        for crash in [Crash::Kill, Crash::PowerCut] {
            let after = fs.after(crash);
            let (db, _) = Db::open(&on(&after, &of_crash)).unwrap();
            assert_eq!(content(&db), of_all, "{crash:?}");
        }
    });
    let (db, _) = Db::open(&on(&left, &options)).unwrap();
    assert_eq!(content(&db), expected);
    assert!(*crashes.lock().unwrap() > 10, "{crashes:?}");
}
