//! What a snapshot tells of an earlier one: from which time on samples may be others.

use std::{sync::Arc, time::Duration};

use narthex_storage::{
    Appendable, Db, DbOptions, Matcher, Querier, Queryable, RowBuilder, Sample, TargetKey,
    TimeRange, Timestamp, WalFsync,
};

use crate::support::{FaultyFs, SetClock, labels, options};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

fn now(db: &Db) -> Box<dyn Querier> {
    db.querier(TimeRange::ALL).unwrap()
}

/// From which time on this is another snapshot than each of the others.
fn changed_since(snapshot: &dyn Querier, earlier: &[Box<dyn Querier>]) -> Vec<Timestamp> {
    let versions = earlier.iter().map(|earlier| earlier.version().unwrap());
    versions
        .map(|version| snapshot.changed_since(version))
        .collect()
}

fn push(db: &Db, series: &str, time: Timestamp) {
    let mut appender = db.appender();
    let reference = appender.series(&labels(series)).unwrap();
    appender.samples(reference, &[Sample { time, value: 1.0 }]);
    assert_eq!(appender.commit(true).unwrap().accepted, 1);
}

fn scene() -> (Db, Arc<SetClock>) {
    let clock = Arc::new(SetClock::default());
    let options = DbOptions {
        out_of_order_window_ms: 10 * HOUR,
        ..options(&FaultyFs::default(), &clock, WalFsync::Segment)
    };
    (Db::open(&options).unwrap().0, clock)
}

#[test]
fn a_snapshot_knows_the_oldest_sample_that_came_since() {
    let (db, _) = scene();
    let mut appender = db.target(&TargetKey("target".to_owned())).unwrap();
    let columns = ["a", "b", "c"].map(|series| appender.column(&labels(series)).unwrap());
    let mut row = RowBuilder::default();
    let mut snapshots = vec![now(&db)];
    row.begin(100 * MINUTE + 1);
    for column in columns {
        row.set(column, 1.0);
    }
    appender.commit(&mut row).unwrap();
    snapshots.push(now(&db));
    // A sample with a time of its own that is older than the row.
    row.begin(101 * MINUTE);
    row.set(columns[0], 2.0);
    row.at(columns[1], 99 * MINUTE + 999, 2.0);
    appender.commit(&mut row).unwrap();
    snapshots.push(now(&db));
    // Markers of the row's time and nothing else.
    row.begin(102 * MINUTE);
    appender.commit(&mut row).unwrap();
    snapshots.push(now(&db));
    push(&db, "pushed", 103 * MINUTE);
    snapshots.push(now(&db));
    // What is there already.
    push(&db, "pushed", 103 * MINUTE);
    snapshots.push(now(&db));
    let last = now(&db);
    assert_eq!(
        changed_since(&*last, &snapshots),
        [99, 99, 102, 103]
            .map(|minute| minute * MINUTE)
            .into_iter()
            .chain([Timestamp::MAX; 2])
            .collect::<Vec<Timestamp>>()
    );
    // What came after a snapshot counts too, and one that has it is not an earlier one.
    assert_eq!(
        changed_since(&*snapshots[3], &snapshots)[2..],
        [102 * MINUTE, 103 * MINUTE, Timestamp::MIN, Timestamp::MIN]
    );
    push(&db, "late", 50 * MINUTE);
    assert_eq!(changed_since(&*now(&db), &snapshots), [50 * MINUTE; 6]);
}

#[test]
fn what_is_removed_may_be_anywhere_and_what_is_moved_changes_nothing() {
    let (db, clock) = scene();
    for minute in 0..300 {
        push(&db, "a", minute * MINUTE);
        if minute % 30 == 29 {
            // A seal is due.
            clock.advance(Duration::from_mins(10));
            db.maintain().unwrap();
        }
    }
    let before = [now(&db)];
    assert_eq!(db.stats().blocks, 10);
    while db.compact().unwrap() {}
    db.maintain().unwrap();
    assert!(db.stats().blocks < 10, "{:?}", db.stats());
    assert_eq!(changed_since(&*now(&db), &before), [Timestamp::MAX]);
    let nothing = [Matcher::equal("series", "b")];
    db.delete_series(&[nothing.to_vec()], TimeRange::ALL)
        .unwrap();
    assert_eq!(changed_since(&*now(&db), &before), [Timestamp::MAX]);

    let all = [Matcher::equal("series", "a")];
    let range = TimeRange::new(290 * MINUTE, 291 * MINUTE);
    db.delete_series(&[all.to_vec()], range).unwrap();
    assert_eq!(changed_since(&*now(&db), &before), [Timestamp::MIN]);
    let deleted = [now(&db)];
    db.clean_tombstones().unwrap();
    assert_eq!(changed_since(&*now(&db), &deleted), [Timestamp::MAX]);

    push(&db, "a", 600 * MINUTE);
    clock.advance(Duration::from_mins(10));
    db.maintain().unwrap();
    assert_eq!(changed_since(&*now(&db), &deleted), [600 * MINUTE]);
    db.set_retention(Some(HOUR), None);
    db.maintain().unwrap();
    assert_eq!(changed_since(&*now(&db), &deleted), [Timestamp::MIN]);
}
