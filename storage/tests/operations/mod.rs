//! Deletes, snapshots, compaction, clean-up and retention: what is left in every answer, and what a
//! store finds after it was stopped at any operation of the file system.

use std::{path::PathBuf, sync::Arc, time::Duration};

use narthex_storage::{
    Appendable, Budget, Db, DbOptions, Fs, Matcher, OpenError, OperationError, Queryable, Sample,
    TimeRange, Timestamp, WalFsync,
};

use crate::support::{Content, FaultyFs, Hook, SetClock, content, labels, options};

/// A store in a faulty file system, and what it should hold.
struct World {
    fs: FaultyFs,
    clock: Arc<SetClock>,
    model: Content,
}

const MINUTE: i64 = 60_000;

impl World {
    fn new() -> Self {
        Self {
            fs: FaultyFs::default(),
            clock: Arc::default(),
            model: Content::new(),
        }
    }

    fn options(&self) -> DbOptions {
        DbOptions {
            out_of_order_window_ms: 600 * MINUTE,
            ..options(&self.fs, &self.clock, WalFsync::Commit)
        }
    }

    fn open(&self) -> Db {
        Db::open(&self.options()).unwrap().0
    }

    /// Pushes a sample, whose value is its time in minutes.
    fn push(&mut self, db: &Db, series: &str, minute: i64) -> Result<(), OperationError> {
        let (time, value) = (minute * MINUTE, minute as f64);
        self.model
            .insert((series.to_owned(), time), value.to_bits());
        let mut appender = db.appender();
        let reference = appender.series(&labels(series)).unwrap();
        appender.samples(reference, &[Sample { time, value }]);
        assert_eq!(appender.commit(true)?.refused, [], "{series} {minute}");
        Ok(())
    }

    /// Forgets samples, as a deletion should.
    fn forget(&mut self, series: &str, minutes: std::ops::RangeInclusive<i64>) {
        let range = minutes.start() * MINUTE..=minutes.end() * MINUTE;
        self.model
            .retain(|(name, time), _| name != series || !range.contains(time));
    }

    /// Ten minutes go by, in which what is in memory is sealed if it spans enough.
    fn wait(&self, db: &Db) -> Result<(), OperationError> {
        self.clock.advance(Duration::from_mins(10));
        Ok(db.maintain()?)
    }

    fn blocks(&self) -> Vec<String> {
        let folder = PathBuf::from("/data/narthex/blocks");
        let entries = self.fs.list(&folder).unwrap();
        entries.into_iter().map(|entry| entry.name).collect()
    }
}

fn delete(
    db: &Db,
    series: &str,
    minutes: std::ops::RangeInclusive<i64>,
) -> Result<(), OperationError> {
    let range = TimeRange::new(minutes.start() * MINUTE, minutes.end() * MINUTE);
    db.delete_series(&[vec![Matcher::equal("series", series)]], range)
}

/// The values of the label `series`.
fn names(db: &Db) -> Vec<String> {
    let budget = Budget::unlimited();
    let querier = db.querier(TimeRange::ALL).unwrap();
    querier.label_values("series", &[], None, &budget).unwrap()
}

fn seal_by_snapshot(db: &Db) -> String {
    db.snapshot(false).unwrap()
}

#[test]
fn what_is_deleted_is_gone_and_stays_gone() {
    let mut world = World::new();
    let db = world.open();
    for minute in 0..30 {
        for series in ["a", "b", "c"] {
            world.push(&db, series, minute).unwrap();
        }
        if minute == 14 {
            seal_by_snapshot(&db);
        }
    }
    // A part that lies in a block and in memory, a whole series, nothing, and everything of nobody.
    delete(&db, "a", 10..=20).unwrap();
    world.forget("a", 10..=20);
    db.delete_series(&[vec![Matcher::equal("series", "b")]], TimeRange::ALL)
        .unwrap();
    world.forget("b", 0..=i64::from(i32::MAX));
    delete(&db, "c", 100..=200).unwrap();
    delete(&db, "nobody", 0..=100).unwrap();
    db.delete_series(&[], TimeRange::ALL).unwrap();
    assert_eq!(content(&db), world.model);
    assert_eq!(names(&db), ["a", "c"]);
    assert_eq!(db.stats().tombstones, 2);
    drop(db);
    let db = world.open();
    assert_eq!(content(&db), world.model);
    assert_eq!(names(&db), ["a", "c"]);
    // What is accepted later stays, also within the deleted times.
    world.push(&db, "b", 40).unwrap();
    world.push(&db, "a", 15).unwrap();
    assert_eq!(content(&db), world.model);
    seal_by_snapshot(&db);
    assert_eq!(content(&db), world.model);
    // The files are written anew; the deletions are not needed then, and go after ten minutes.
    db.clean_tombstones().unwrap();
    assert_eq!(content(&db), world.model);
    assert_eq!(names(&db), ["a", "b", "c"]);
    assert_eq!(db.stats().compactions, 2);
    db.maintain().unwrap();
    assert_eq!(db.stats().tombstones, 2);
    world.wait(&db).unwrap();
    assert_eq!((db.stats().tombstones, db.stats().superseded_bytes), (0, 0));
    assert_eq!(content(&db), world.model);
    db.clean_tombstones().unwrap();
    assert_eq!(db.stats().compactions, 2, "there is nothing left to clean");
    drop(db);
    assert_eq!(content(&world.open()), world.model);
}

/// As in Prometheus 3.5.3, where a deleted sample still says what is late: the same samples again are
/// out of order, the newest one again is taken for a repetition and not stored, another value is refused.
#[test]
fn what_was_deleted_does_not_come_back_by_sending_it_again() {
    let world = World::new();
    let no_window = DbOptions {
        out_of_order_window_ms: 0,
        ..world.options()
    };
    let (db, _) = Db::open(&no_window).unwrap();
    let push = |minute: i64, value: f64| {
        let mut appender = db.appender();
        let series = appender.series(&labels("a")).unwrap();
        let time = minute * MINUTE;
        appender.samples(series, &[Sample { time, value }]);
        let refused = appender.commit(true).unwrap().refused;
        refused.first().map(|(_, reason)| reason.to_string())
    };
    for minute in 0..10 {
        assert_eq!(push(minute, minute as f64), None);
    }
    db.delete_series(&[vec![Matcher::equal("series", "a")]], TimeRange::ALL)
        .unwrap();
    assert_eq!(push(9, 9.0), None);
    assert_eq!(content(&db), Content::new());
    assert_eq!(push(9, 99.0).unwrap(), "duplicate sample for timestamp");
    assert_eq!(push(4, 4.0).unwrap(), "out of order sample");
    assert_eq!(push(10, 1.0), None);
    assert_eq!(
        content(&db),
        Content::from([(("a".to_owned(), 10 * MINUTE), 1f64.to_bits())])
    );
}

#[test]
fn a_snapshot_opens_as_a_store_and_stays_as_it_was() {
    let mut world = World::new();
    let db = world.open();
    for minute in 0..20 {
        world.push(&db, "a", minute).unwrap();
        world.push(&db, "b", minute).unwrap();
    }
    delete(&db, "b", 5..=9).unwrap();
    world.forget("b", 5..=9);
    let sealed = world.model.clone();
    world.push(&db, "a", 20).unwrap();
    let without_head = db.snapshot(true).unwrap();
    let whole = db.snapshot(false).unwrap();
    let then = world.model.clone();
    // The store goes on: it deletes, merges, removes.
    delete(&db, "a", 0..=20).unwrap();
    db.clean_tombstones().unwrap();
    for _ in 0..3 {
        world.wait(&db).unwrap();
    }
    for (name, expected) in [(without_head, &sealed), (whole, &then)] {
        let options = DbOptions {
            path: PathBuf::from("/data/snapshots").join(name),
            ..world.options()
        };
        let (copy, report) = Db::open(&options).unwrap();
        assert_eq!(
            (&report.block_damage, &report.wal_damage),
            (&vec![], &vec![])
        );
        assert_eq!(content(&copy), *expected);
        // It is a store like any other.
        let mut appender = copy.appender();
        let series = appender.series(&labels("a")).unwrap();
        let (time, value) = (30 * MINUTE, 1.0);
        appender.samples(series, &[Sample { time, value }]);
        assert_eq!(appender.commit(true).unwrap().refused, []);
        assert_eq!(content(&copy).len(), expected.len() + 1);
    }
}

/// Hours of seals: merged, answered alike before and after, and removed by retention.
#[test]
fn compaction_keeps_every_sample_and_retention_takes_the_oldest_blocks() {
    let mut world = World::new();
    let db = world.open();
    let mut merges = 0;
    for minute in (0..1_500).step_by(5) {
        world.push(&db, "a", minute).unwrap();
        if minute % 3 == 0 {
            world.push(&db, "b", minute).unwrap();
        }
        if minute % 50 == 20 {
            // Late, and the same time twice: the sample that was first stays.
            world.push(&db, "late", minute).unwrap();
            world.push(&db, "late", minute - 12).unwrap();
        }
        if minute % 100 == 0 && minute > 0 {
            delete(&db, "a", minute - 60..=minute - 40).unwrap();
            world.forget("a", minute - 60..=minute - 40);
        }
        if minute % 10 == 0 {
            world.wait(&db).unwrap();
            while db.compact().unwrap() {
                merges += 1;
            }
        }
    }
    assert!(merges >= 12, "{merges} merges");
    assert_eq!(db.stats().compactions, merges);
    let stats = db.stats();
    assert!(stats.blocks <= 24, "{} blocks", stats.blocks);
    assert_eq!(content(&db), world.model);
    drop(db);
    let db = world.open();
    assert_eq!(content(&db), world.model);
    assert_eq!(db.stats().blocks, stats.blocks);
    // By time: whole blocks, so what is younger than the retention is all there.
    let kept = 300 * MINUTE;
    db.set_retention(Some(kept), None);
    db.maintain().unwrap();
    let found = content(&db);
    let newest = db.stats().max_time.unwrap();
    let mut young = world.model.clone();
    young.retain(|(_, time), _| *time >= newest - kept);
    assert!(found.len() < world.model.len());
    assert!(young.iter().all(|sample| found.contains_key(sample.0)));
    assert!(
        found
            .iter()
            .all(|(key, value)| world.model.get(key) == Some(value))
    );
    assert_eq!(
        (db.stats().time_retentions, db.stats().size_retentions),
        (1, 0)
    );
    // By size: the newest block stays whatever the limit is.
    db.set_retention(None, Some(1));
    for _ in 0..3 {
        world.wait(&db).unwrap();
    }
    assert_eq!(db.stats().blocks, 1);
    assert_eq!(db.stats().size_retentions, 1);
    assert_eq!(world.blocks().len(), 1, "{:?}", world.blocks());
    let left = content(&db);
    drop(db);
    assert_eq!(content(&world.open()), left);
}

/// Seals of two hours, two blocks of level 0 that may be merged and one that may not.
fn with_two_hours(world: &mut World, db: &Db) {
    for minute in [0, 130, 131, 140, 141] {
        world.push(db, "a", minute).unwrap();
        world.push(db, "b", minute).unwrap();
        if minute != 130 && minute != 140 {
            db.snapshot(false).unwrap();
        }
    }
    assert_eq!(db.stats().blocks, 3);
}

/// Does `work` at the moment when the next compaction writes its file.
fn while_it_merges(world: &World, db: &Arc<Db>, work: impl FnOnce(&Db) + Send + 'static) {
    let inside = Arc::clone(db);
    world.fs.state().hook = Hook::new(".nx.tmp", move || work(&inside));
    assert!(db.compact().unwrap());
}

#[test]
fn a_deletion_while_blocks_are_merged_counts_for_the_merged_one() {
    let mut world = World::new();
    let db = Arc::new(world.open());
    with_two_hours(&mut world, &db);
    while_it_merges(&world, &db, |db| delete(db, "a", 0..=100).unwrap());
    world.forget("a", 0..=100);
    assert_eq!(content(&db), world.model);
    assert_eq!(db.stats().blocks, 2);
    drop(db);
    let db = world.open();
    assert_eq!(content(&db), world.model);
    db.clean_tombstones().unwrap();
    for _ in 0..3 {
        world.wait(&db).unwrap();
    }
    assert_eq!(content(&db), world.model);
}

#[test]
fn a_merge_of_blocks_that_retention_removed_meanwhile_is_dropped() {
    let mut world = World::new();
    let db = Arc::new(world.open());
    with_two_hours(&mut world, &db);
    while_it_merges(&world, &db, |db| {
        db.set_retention(Some(50 * MINUTE), None);
        db.maintain().unwrap();
    });
    world.model.retain(|(_, time), _| *time > 70 * MINUTE);
    assert_eq!(content(&db), world.model);
    assert_eq!(world.blocks().len(), 2, "{:?}", world.blocks());
    drop(db);
    assert_eq!(content(&world.open()), world.model);
}

#[test]
fn a_damaged_block_is_not_merged_and_keeps_nobody_from_merging() {
    let mut world = World::new();
    let db = world.open();
    for minute in (0..=600).step_by(60) {
        for later in [0, 1, 2] {
            world.push(&db, "a", minute + later).unwrap();
        }
        db.snapshot(false).unwrap();
    }
    drop(db);
    // In the frames of the second block, which are not looked at when the store is opened.
    let second = world.blocks().swap_remove(1);
    let path = PathBuf::from("/data/narthex/blocks").join(&second);
    let file = world.fs.file(&path).unwrap();
    file.lock().unwrap().0[64] ^= 0xff;
    let db = world.open();
    let Err(OperationError::Corruption(at)) = db.compact() else {
        panic!("the damage was not found");
    };
    assert_eq!(at.file, path);
    while db.compact().unwrap() {}
    let stats = db.stats();
    assert_eq!(stats.compactions_failed, 1);
    assert!(stats.compactions >= 3, "{} compactions", stats.compactions);
    // The first two stay alone, one more is left for the next run of two hours, and the newest stays.
    assert!(stats.blocks <= 7, "{} blocks", stats.blocks);
    world.clock.advance(Duration::from_hours(1));
    db.maintain().unwrap();
    assert!(world.blocks().contains(&second), "damaged files stay");
}

#[test]
fn what_was_deleted_stays_deleted_when_a_damaged_block_comes_back_from_the_log() {
    let mut world = World::new();
    let db = world.open();
    for minute in 0..10 {
        world.push(&db, "a", minute).unwrap();
        world.push(&db, "b", minute).unwrap();
    }
    delete(&db, "a", 3..=6).unwrap();
    world.forget("a", 3..=6);
    world.push(&db, "b", 11).unwrap();
    drop(db);
    let path = PathBuf::from("/data/narthex/blocks").join(&world.blocks()[0]);
    let file = world.fs.file(&path).unwrap();
    file.lock().unwrap().0.pop().unwrap();
    for _ in 0..2 {
        // The second time the block is written again, and has all of the damaged one.
        let (db, report) = Db::open(&world.options()).unwrap();
        assert_eq!(
            (report.block_damage.len(), report.blocks_restored.len()),
            (0, 1)
        );
        assert_eq!(content(&db), world.model);
        db.clean_tombstones().unwrap();
        assert_eq!(content(&db), world.model);
    }
}

#[test]
fn a_full_disk_stops_operations_and_nothing_else() {
    let mut world = World::new();
    let db = world.open();
    with_two_hours(&mut world, &db);
    world.fs.state().is_full = true;
    let full = |outcome: Result<(), OperationError>| {
        let Err(OperationError::Io(error)) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(error.source.kind(), std::io::ErrorKind::StorageFull);
    };
    full(db.compact().map(|_| ()));
    full(delete(&db, "a", 0..=100));
    assert_eq!(content(&db), world.model);
    assert_eq!(db.stats().compactions_failed, 1);
    world.fs.state().is_full = false;
    delete(&db, "a", 0..=100).unwrap();
    world.forget("a", 0..=100);
    assert!(db.compact().unwrap());
    assert_eq!(content(&db), world.model);
    assert!(!world.blocks().iter().any(|name| name.ends_with(".tmp")));
}

/// Appenders, readers and every operation at once: a reader sees each commit whole or not at all, and
/// nothing that was acknowledged is missing.
#[test]
fn readers_see_whole_commits_while_blocks_are_merged_and_cleaned() {
    let world = World::new();
    let db = world.open();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let last = std::sync::atomic::AtomicI64::new(-1);
    let order = std::sync::atomic::Ordering::SeqCst;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for minute in 0..1_000 {
                let mut appender = db.appender();
                for series in ["x", "y", "gone"] {
                    let reference = appender.series(&labels(series)).unwrap();
                    let (time, value) = (minute * MINUTE, minute as f64);
                    appender.samples(reference, &[Sample { time, value }]);
                }
                assert_eq!(appender.commit(true).unwrap().refused, []);
                last.store(minute, order);
            }
            is_over.store(true, order);
        });
        let reader = scope.spawn(|| {
            while !is_over.load(order) {
                let acknowledged = last.load(order);
                let found = content(&db);
                let of = |name: &str| -> Vec<Timestamp> {
                    let samples = found.keys().filter(|(series, _)| series == name);
                    samples.map(|(_, time)| *time / MINUTE).collect()
                };
                let x = of("x");
                assert_eq!(x, of("y"), "a commit was torn");
                assert!(x.len() as i64 > acknowledged, "a sample is missing");
                let whole: Vec<Timestamp> = (0..x.len() as i64).collect();
                assert_eq!(x, whole, "a hole");
            }
        });
        let mut round = 0;
        while !is_over.load(order) && !writer.is_finished() && !reader.is_finished() {
            world.clock.advance(Duration::from_mins(1));
            db.maintain().unwrap();
            db.compact().unwrap();
            round += 1;
            if round % 3 == 0 {
                let newest = last.load(order);
                delete(&db, "gone", 0..=newest).unwrap();
                db.clean_tombstones().unwrap();
            }
        }
    });
    let end = content(&db);
    let of = |name: &str| end.keys().filter(|(series, _)| series == name).count();
    assert_eq!((of("x"), of("y")), (1_000, 1_000));
    delete(&db, "gone", 0..=1_000).unwrap();
    assert_eq!(names(&db), ["x", "y"]);
}

/// Everything at once, until the first error. `states` are the contents that the store may have: after
/// the last acknowledged operation, and while the next one runs.
fn workload(world: &mut World, db: &Db, done: &mut Content) -> Result<(), OperationError> {
    for minute in (0..480).step_by(40) {
        for series in ["a", "b"] {
            world.push(db, series, minute)?;
            done.clone_from(&world.model);
        }
        world.wait(db)?;
        if minute == 160 {
            world.forget("a", 60..=100);
            delete(db, "a", 60..=100)?;
            done.clone_from(&world.model);
            db.snapshot(false)?;
        }
        if minute == 240 {
            // Late, within what is deleted.
            world.push(db, "a", 80)?;
            done.clone_from(&world.model);
        }
        if minute == 400 {
            world.forget("b", 0..=1_000);
            delete(db, "b", 0..=1_000)?;
            done.clone_from(&world.model);
            db.snapshot(true)?;
            db.clean_tombstones()?;
        }
        while db.compact()? {}
    }
    assert_eq!(db.stats().compactions_failed, 0);
    assert!(
        db.stats().compactions >= 3,
        "merges and a clean-up, not {}",
        db.stats().compactions
    );
    Ok(())
}

#[test]
fn a_stop_at_any_operation_leaves_what_was_before_or_after_it() {
    let mut fail_at = 1;
    loop {
        let mut world = World::new();
        world.fs.state().fail_at = Some(fail_at);
        let mut done = Content::new();
        let ended = match Db::open(&world.options()) {
            Ok((db, _)) => workload(&mut world, &db, &mut done).is_ok(),
            Err(OpenError::Io(_)) => false,
            Err(other) => panic!("{other}"),
        };
        for power_cut in [false, true] {
            let mut left = World {
                fs: world.fs.after_crash(power_cut),
                clock: Arc::clone(&world.clock),
                model: Content::new(),
            };
            let (db, report) = Db::open(&left.options()).unwrap();
            let found = content(&db);
            assert!(
                found == done || found == world.model,
                "operation {fail_at}, power cut {power_cut}: {report:?}\nfound {found:?}\n\
                 before {done:?}\nafter {:?}",
                world.model
            );
            assert_eq!(report.block_damage, []);
            assert!(report.wal_damage.iter().all(|damage| damage.torn_tail));
            check_snapshots(&left, &world.model);
            // It goes on: upkeep, a merge, a deletion and a snapshot work, and nothing comes back.
            left.model = found;
            left.push(&db, "after", 500).unwrap();
            left.wait(&db).unwrap();
            while db.compact().unwrap() {}
            db.clean_tombstones().unwrap();
            db.snapshot(false).unwrap();
            for _ in 0..3 {
                left.wait(&db).unwrap();
            }
            assert_eq!(content(&db), left.model, "operation {fail_at}, later");
            drop(db);
            assert_eq!(
                content(&left.open()),
                left.model,
                "operation {fail_at}, opened again"
            );
        }
        if ended {
            break;
        }
        fail_at += 1;
    }
    assert!(fail_at > 150, "the workload has {fail_at} operations");
}

/// Every snapshot opens to samples that there were.
fn check_snapshots(world: &World, model: &Content) {
    let folder = PathBuf::from("/data/snapshots");
    for entry in world.fs.list(&folder).unwrap() {
        if entry.name.ends_with(".tmp") {
            continue;
        }
        let options = DbOptions {
            path: folder.join(&entry.name),
            fs: Arc::new(world.fs.after_crash(false)),
            ..world.options()
        };
        let (copy, report) = Db::open(&options).unwrap();
        assert_eq!(report.block_damage, []);
        let found = content(&copy);
        assert!(!found.is_empty());
        let is_known = |(key, value): (&(String, Timestamp), &u64)| {
            key.0 == "b" || model.get(key) == Some(value) || key.1 == 80 * MINUTE
        };
        assert!(found.iter().all(is_known), "{found:?}\n{model:?}");
    }
}
