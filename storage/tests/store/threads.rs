//! Readers, appenders and every operation at once, judged by what is read.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use narthex_storage::{
    Appendable, Db, Matcher, RowBuilder, Sample, TargetKey, TimeRange, Timestamp, WalFsync,
};

use crate::support::{FaultyFs, SetClock, content, labels, options};

const MINUTE: i64 = 60_000;

#[test]
fn readers_see_whole_commits_while_others_write() {
    let fs = FaultyFs::default();
    let clock = Arc::new(SetClock::default());
    let (db, _) = Db::open(&options(&fs, &clock, WalFsync::Segment)).unwrap();
    // No writer may fall behind the others by the hour after which samples are refused.
    let barrier = std::sync::Barrier::new(3);
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let (db, barrier) = (&db, &barrier);
            scope.spawn(move || {
                let mut target = db.target(&TargetKey(writer.to_string())).unwrap();
                let columns = ["x", "y"]
                    .map(|part| target.column(&labels(&format!("{part}{writer}"))).unwrap());
                let mut row = RowBuilder::default();
                for step in 0..400 {
                    if step % 20 == 0 {
                        barrier.wait();
                    }
                    row.begin(step * 60_000);
                    for column in columns {
                        row.set(column, step as f64);
                    }
                    assert_eq!(target.commit(&mut row).unwrap().refused, []);
                }
            });
        }
        for _ in 0..60 {
            clock.advance(Duration::from_secs(70));
            db.maintain().unwrap();
            let found = content(&db);
            for writer in 0..3 {
                let of = |part: &str| -> Vec<(Timestamp, u64)> {
                    let name = format!("{part}{writer}");
                    let samples = found.iter().filter(|((series, _), _)| *series == name);
                    samples.map(|((_, time), bits)| (*time, *bits)).collect()
                };
                let x = of("x");
                assert_eq!(x, of("y"), "a commit was torn");
                let whole: Vec<Timestamp> = (0..x.len() as i64).map(|step| step * 60_000).collect();
                assert!(x.iter().map(|(time, _)| *time).eq(whole), "a hole");
            }
        }
    });
    assert_eq!(content(&db).len(), 3 * 2 * 400);
}

/// Also when a thread panics, so that no other waits for it.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Appenders, readers and every operation at once: a reader sees each commit whole or not at all, and
/// nothing that was acknowledged is missing.
#[test]
fn readers_see_whole_commits_while_blocks_are_merged_and_cleaned() {
    let fs = FaultyFs::default();
    let clock = Arc::new(SetClock::default());
    let (db, _) = Db::open(&options(&fs, &clock, WalFsync::Segment)).unwrap();
    let delete = |newest: i64| {
        let gone = vec![Matcher::equal("series", "gone")];
        let range = TimeRange::new(0, newest * MINUTE);
        db.delete_series(&[gone], range).unwrap();
    };
    let is_over = AtomicBool::new(false);
    let last = AtomicI64::new(-1);
    let order = Ordering::SeqCst;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let _over = SetAtEnd(&is_over);
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
        while !writer.is_finished() && !reader.is_finished() {
            clock.advance(Duration::from_mins(1));
            db.maintain().unwrap();
            db.compact().unwrap();
            round += 1;
            if round % 3 == 0 {
                delete(last.load(order));
                db.clean_tombstones().unwrap();
            }
        }
    });
    let end = content(&db);
    let of = |name: &str| end.keys().filter(|(series, _)| series == name).count();
    assert_eq!((of("x"), of("y")), (1_000, 1_000));
    delete(1_000);
    let left = content(&db).into_keys().map(|(series, _)| series);
    assert_eq!(
        left.collect::<BTreeSet<_>>(),
        ["x", "y"].map(str::to_owned).into()
    );
}
