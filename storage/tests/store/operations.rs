//! Deletes, snapshots, compaction, clean-up and retention: what is left in every answer.

use std::{cell::Cell, path::PathBuf, sync::Arc, time::Duration};

use narthex_storage::{
    Appendable, Budget, Db, DbOptions, Fs, Matcher, OperationError, Pace, Queryable, Sample,
    TimeRange, WalFsync,
};

use crate::support::{Content, FaultyFs, Hook, SetClock, content, labels, options};

/// A store in a faulty file system, and what it should hold.
struct Scene {
    fs: FaultyFs,
    clock: Arc<SetClock>,
    model: Content,
}

const MINUTE: i64 = 60_000;

impl Scene {
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
    let mut scene = Scene::new();
    let db = scene.open();
    for minute in 0..30 {
        for series in ["a", "b", "c"] {
            scene.push(&db, series, minute).unwrap();
        }
        if minute == 14 {
            seal_by_snapshot(&db);
        }
    }
    // A part that lies in a block and in memory, a whole series, nothing, and everything of nobody.
    delete(&db, "a", 10..=20).unwrap();
    scene.forget("a", 10..=20);
    db.delete_series(&[vec![Matcher::equal("series", "b")]], TimeRange::ALL)
        .unwrap();
    scene.forget("b", 0..=i64::from(i32::MAX));
    delete(&db, "c", 100..=200).unwrap();
    delete(&db, "nobody", 0..=100).unwrap();
    db.delete_series(&[], TimeRange::ALL).unwrap();
    assert_eq!(content(&db), scene.model);
    assert_eq!(names(&db), ["a", "c"]);
    assert_eq!(db.stats().tombstones, 2);
    drop(db);
    let db = scene.open();
    assert_eq!(content(&db), scene.model);
    assert_eq!(names(&db), ["a", "c"]);
    // What is accepted later stays, also within the deleted times.
    scene.push(&db, "b", 40).unwrap();
    scene.push(&db, "a", 15).unwrap();
    assert_eq!(content(&db), scene.model);
    seal_by_snapshot(&db);
    assert_eq!(content(&db), scene.model);
    // The files are written anew; the deletions are not needed then, and go after ten minutes.
    db.clean_tombstones().unwrap();
    assert_eq!(content(&db), scene.model);
    assert_eq!(names(&db), ["a", "b", "c"]);
    assert_eq!(db.stats().compactions, 2);
    db.maintain().unwrap();
    assert_eq!(db.stats().tombstones, 2);
    scene.wait(&db).unwrap();
    assert_eq!((db.stats().tombstones, db.stats().superseded_bytes), (0, 0));
    assert_eq!(content(&db), scene.model);
    db.clean_tombstones().unwrap();
    assert_eq!(db.stats().compactions, 2, "there is nothing left to clean");
    drop(db);
    assert_eq!(content(&scene.open()), scene.model);
}

/// As in Prometheus 3.5.3, where a deleted sample still says what is late: the same samples again are
/// out of order, the newest one again is taken for a repetition and not stored, another value is refused.
#[test]
fn what_was_deleted_does_not_come_back_by_sending_it_again() {
    let scene = Scene::new();
    let no_window = DbOptions {
        out_of_order_window_ms: 0,
        ..scene.options()
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
    let mut scene = Scene::new();
    let db = scene.open();
    for minute in 0..20 {
        scene.push(&db, "a", minute).unwrap();
        scene.push(&db, "b", minute).unwrap();
    }
    delete(&db, "b", 5..=9).unwrap();
    scene.forget("b", 5..=9);
    let sealed = scene.model.clone();
    scene.push(&db, "a", 20).unwrap();
    let without_head = db.snapshot(true).unwrap();
    let whole = db.snapshot(false).unwrap();
    let then = scene.model.clone();
    // The store goes on: it deletes, merges, removes.
    delete(&db, "a", 0..=20).unwrap();
    db.clean_tombstones().unwrap();
    for _ in 0..3 {
        scene.wait(&db).unwrap();
    }
    for (name, expected) in [(without_head, &sealed), (whole, &then)] {
        let options = DbOptions {
            path: PathBuf::from("/data/snapshots").join(name),
            ..scene.options()
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
    let mut scene = Scene::new();
    let db = scene.open();
    let mut merges = 0;
    for minute in (0..1_500).step_by(5) {
        scene.push(&db, "a", minute).unwrap();
        if minute % 3 == 0 {
            scene.push(&db, "b", minute).unwrap();
        }
        if minute % 50 == 20 {
            // Late, and the same time twice: the sample that was first stays.
            scene.push(&db, "late", minute).unwrap();
            scene.push(&db, "late", minute - 12).unwrap();
        }
        if minute % 100 == 0 && minute > 0 {
            delete(&db, "a", minute - 60..=minute - 40).unwrap();
            scene.forget("a", minute - 60..=minute - 40);
        }
        if minute % 10 == 0 {
            scene.wait(&db).unwrap();
            while db.compact().unwrap() {
                merges += 1;
            }
        }
    }
    assert!(merges >= 12, "{merges} merges");
    assert_eq!(db.stats().compactions, merges);
    let stats = db.stats();
    assert!(stats.blocks <= 24, "{} blocks", stats.blocks);
    assert_eq!(content(&db), scene.model);
    drop(db);
    let db = scene.open();
    assert_eq!(content(&db), scene.model);
    assert_eq!(db.stats().blocks, stats.blocks);
    // By time: whole blocks, so what is younger than the retention is all there.
    let kept = 300 * MINUTE;
    db.set_retention(Some(kept), None);
    db.maintain().unwrap();
    let found = content(&db);
    let newest = db.stats().max_time.unwrap();
    let mut young = scene.model.clone();
    young.retain(|(_, time), _| *time >= newest - kept);
    assert!(found.len() < scene.model.len());
    assert!(young.iter().all(|sample| found.contains_key(sample.0)));
    assert!(
        found
            .iter()
            .all(|(key, value)| scene.model.get(key) == Some(value))
    );
    assert_eq!(
        (db.stats().time_retentions, db.stats().size_retentions),
        (1, 0)
    );
    // By size: the newest block stays whatever the limit is.
    db.set_retention(None, Some(1));
    for _ in 0..3 {
        scene.wait(&db).unwrap();
    }
    assert_eq!(db.stats().blocks, 1);
    assert_eq!(db.stats().size_retentions, 1);
    assert_eq!(scene.blocks().len(), 1, "{:?}", scene.blocks());
    let left = content(&db);
    drop(db);
    assert_eq!(content(&scene.open()), left);
}

/// Seals of two hours, two blocks of level 0 that may be merged and one that may not.
fn with_two_hours(scene: &mut Scene, db: &Db) {
    for minute in [0, 130, 131, 140, 141] {
        scene.push(db, "a", minute).unwrap();
        scene.push(db, "b", minute).unwrap();
        if minute != 130 && minute != 140 {
            db.snapshot(false).unwrap();
        }
    }
    assert_eq!(db.stats().blocks, 3);
}

/// Does `work` at the moment when the next compaction writes its file.
fn while_it_merges(scene: &Scene, db: &Arc<Db>, work: impl FnOnce(&Db) + Send + 'static) {
    let inside = Arc::clone(db);
    scene.fs.hook(Hook::new(".nx.tmp", move || work(&inside)));
    assert!(db.compact().unwrap());
}

/// Each look at it takes two milliseconds; so many waits, and it wants no more.
struct SlowPace<'a> {
    scene: &'a Scene,
    waits: Cell<usize>,
    waits_max: usize,
}

impl Pace for SlowPace<'_> {
    fn is_stopped(&self) -> bool {
        self.scene.clock.advance(Duration::from_millis(2));
        self.waits.get() > self.waits_max
    }

    fn wait(&self, time: Duration) {
        self.waits.set(self.waits.get() + 1);
        self.scene.clock.advance(time);
    }
}

#[test]
fn a_merge_rests_while_there_are_queriers_and_ends_when_it_is_told() {
    for (has_querier, waits) in [(true, 6), (false, 0)] {
        let mut scene = Scene::new();
        let db = scene.open();
        with_two_hours(&mut scene, &db);
        let pace = |waits_max| SlowPace {
            scene: &scene,
            waits: Cell::new(0),
            waits_max,
        };
        let querier = db.querier(TimeRange::new(0, 1)).unwrap();
        let blocks = scene.blocks();
        let ended = pace(4);
        assert!(!db.compact_beside_queries(&ended).unwrap());
        assert_eq!(ended.waits.get(), 5);
        let stats = db.stats();
        assert_eq!((stats.compactions_failed, stats.blocks), (0, 3));
        assert_eq!(scene.blocks(), blocks, "nothing is left of it");
        let querier = has_querier.then_some(querier);
        // There is so little to do that it asks once, when it has worked for a slice. A nap takes three
        // milliseconds.
        let whole = pace(usize::MAX);
        assert!(db.compact_beside_queries(&whole).unwrap());
        assert_eq!(whole.waits.get(), waits);
        drop(querier);
        assert_eq!(db.stats().blocks, 2);
        assert_eq!(content(&db), scene.model);
    }
}

#[test]
fn a_deletion_while_blocks_are_merged_counts_for_the_merged_one() {
    let mut scene = Scene::new();
    let db = Arc::new(scene.open());
    with_two_hours(&mut scene, &db);
    while_it_merges(&scene, &db, |db| delete(db, "a", 0..=100).unwrap());
    scene.forget("a", 0..=100);
    assert_eq!(content(&db), scene.model);
    assert_eq!(db.stats().blocks, 2);
    drop(db);
    let db = scene.open();
    assert_eq!(content(&db), scene.model);
    db.clean_tombstones().unwrap();
    for _ in 0..3 {
        scene.wait(&db).unwrap();
    }
    assert_eq!(content(&db), scene.model);
}

#[test]
fn a_merge_of_blocks_that_retention_removed_meanwhile_is_dropped() {
    let mut scene = Scene::new();
    let db = Arc::new(scene.open());
    with_two_hours(&mut scene, &db);
    while_it_merges(&scene, &db, |db| {
        db.set_retention(Some(50 * MINUTE), None);
        db.maintain().unwrap();
    });
    scene.model.retain(|(_, time), _| *time > 70 * MINUTE);
    assert_eq!(content(&db), scene.model);
    assert_eq!(scene.blocks().len(), 2, "{:?}", scene.blocks());
    drop(db);
    assert_eq!(content(&scene.open()), scene.model);
}

#[test]
fn a_damaged_block_is_not_merged_and_keeps_nobody_from_merging() {
    let mut scene = Scene::new();
    let db = scene.open();
    for minute in (0..=600).step_by(60) {
        for later in [0, 1, 2] {
            scene.push(&db, "a", minute + later).unwrap();
        }
        db.snapshot(false).unwrap();
    }
    drop(db);
    // In the frames of the second block, which are not looked at when the store is opened.
    let second = scene.blocks().swap_remove(1);
    let path = PathBuf::from("/data/narthex/blocks").join(&second);
    let file = scene.fs.file(&path).unwrap();
    file.lock().unwrap().0[64] ^= 0xff;
    let db = scene.open();
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
    scene.clock.advance(Duration::from_hours(1));
    db.maintain().unwrap();
    assert!(scene.blocks().contains(&second), "damaged files stay");
}

#[test]
fn what_was_deleted_stays_deleted_when_a_damaged_block_comes_back_from_the_log() {
    let mut scene = Scene::new();
    let db = scene.open();
    for minute in 0..10 {
        scene.push(&db, "a", minute).unwrap();
        scene.push(&db, "b", minute).unwrap();
    }
    delete(&db, "a", 3..=6).unwrap();
    scene.forget("a", 3..=6);
    scene.push(&db, "b", 11).unwrap();
    drop(db);
    let path = PathBuf::from("/data/narthex/blocks").join(&scene.blocks()[0]);
    let file = scene.fs.file(&path).unwrap();
    file.lock().unwrap().0.pop().unwrap();
    for _ in 0..2 {
        // The second time the block is written again, and has all of the damaged one.
        let (db, report) = Db::open(&scene.options()).unwrap();
        assert_eq!(
            (report.block_damage.len(), report.blocks_restored.len()),
            (0, 1)
        );
        assert_eq!(content(&db), scene.model);
        db.clean_tombstones().unwrap();
        assert_eq!(content(&db), scene.model);
    }
}
