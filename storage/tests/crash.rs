//! A file system that fails at every operation in turn, and what a store finds afterwards.
#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

mod backup;
mod operations;
mod support;

use std::{path::Path, sync::Arc, time::Duration};

use narthex_storage::{
    AppendError, Appendable, Db, Fs, OpenError, RowBuilder, Sample, TargetKey, Timestamp, WalFsync,
};

use support::{Content, FaultyFs, SetClock, content, labels, options};

/// Rows, pushed samples, seals and a new log segment. Notes the content after each commit before
/// it is tried, and the last that was acknowledged; ends at the first error.
fn workload(
    db: &Db,
    clock: &SetClock,
    states: &mut Vec<Content>,
    acknowledged: &mut usize,
) -> Result<(), AppendError> {
    let mut target = db.target(&TargetKey("t".to_owned()))?;
    let columns = ["a", "b"].map(|series| target.column(&labels(series)).unwrap());
    let mut row = RowBuilder::default();
    for step in 0..36i64 {
        let time = step * 600_000;
        let mut next = states.last().unwrap().clone();
        if step % 3 == 2 {
            next.insert(("pushed".to_owned(), time), 0.5f64.to_bits());
            next.insert(("a".to_owned(), time), 7f64.to_bits());
            states.push(next);
            let mut appender = db.appender();
            for (series, value) in [("pushed", 0.5), ("a", 7.0)] {
                let series = appender.series(&labels(series)).unwrap();
                appender.samples(series, &[Sample { time, value }]);
            }
            assert_eq!(appender.commit(true)?.refused, []);
        } else {
            for (name, value) in [("a", step as f64), ("b", 1.0)] {
                next.insert((name.to_owned(), time), value.to_bits());
            }
            states.push(next);
            row.begin(time);
            row.set(columns[0], step as f64);
            row.set(columns[1], 1.0);
            assert_eq!(target.commit(&mut row)?.refused, []);
        }
        *acknowledged = states.len() - 1;
        clock.advance(Duration::from_mins(10));
        db.maintain()?;
    }
    Ok(())
}

#[test]
fn a_crash_at_any_operation_loses_nothing_that_was_acknowledged() {
    for policy in [WalFsync::Segment, WalFsync::Commit] {
        let mut fail_at = 1;
        loop {
            let fs = FaultyFs::default();
            let clock = Arc::new(SetClock::default());
            fs.state().fail_at = Some(fail_at);
            let mut states = vec![Content::new()];
            let mut acknowledged = 0;
            let ended = match Db::open(&options(&fs, &clock, policy)) {
                Ok((db, _)) => workload(&db, &clock, &mut states, &mut acknowledged).is_ok(),
                Err(OpenError::Io(_)) => false,
                Err(other) => panic!("{other}"),
            };
            for power_cut in [false, true] {
                let left = fs.after_crash(power_cut);
                let (db, report) = Db::open(&options(&left, &clock, policy)).unwrap();
                let found = content(&db);
                let must_have = if power_cut && policy == WalFsync::Segment {
                    0
                } else {
                    acknowledged
                };
                assert!(
                    states[must_have..].contains(&found),
                    "{policy:?}, operation {fail_at}, power cut {power_cut}: {report:?}\n\
                     found {found:?}\nacknowledged {:?}",
                    states[acknowledged]
                );
                // What is there stays there, and goes on.
                let mut appender = db.appender();
                let series = appender.series(&labels("after")).unwrap();
                let (time, value) = (36 * 600_000, 1.0);
                appender.samples(series, &[Sample { time, value }]);
                assert_eq!(appender.commit(true).unwrap().accepted, 1);
                drop(db);
                let (db, report) = Db::open(&options(&left, &clock, policy)).unwrap();
                assert_eq!(report.wal_damage, []);
                assert_eq!(content(&db).len(), found.len() + 1);
            }
            if ended {
                break;
            }
            fail_at += 1;
        }
        assert!(fail_at > 100, "the workload has {fail_at} operations");
    }
}

#[test]
fn a_full_disk_refuses_pushes_keeps_rows_and_recovers() {
    let fs = FaultyFs::default();
    let clock = Arc::new(SetClock::default());
    let (db, _) = Db::open(&options(&fs, &clock, WalFsync::Segment)).unwrap();
    let mut target = db.target(&TargetKey("t".to_owned())).unwrap();
    let column = target.column(&labels("a")).unwrap();
    let mut row = RowBuilder::default();
    let mut commit_row = |time: Timestamp| {
        row.begin(time);
        row.set(column, 1.0);
        target.commit(&mut row).unwrap()
    };
    let push = |time: Timestamp| {
        let mut appender = db.appender();
        let series = appender.series(&labels("b")).unwrap();
        appender.samples(series, &[Sample { time, value: 2.0 }]);
        appender.commit(true)
    };
    commit_row(1);
    fs.state().is_full = true;
    assert_eq!(commit_row(2).accepted, 1);
    assert!(matches!(push(2), Err(AppendError::Full { .. })));
    assert!(db.maintain().is_err());
    let rows: Content = [1, 2]
        .map(|time| (("a".to_owned(), time), 1f64.to_bits()))
        .into();
    assert_eq!(content(&db), rows, "reading goes on");
    fs.state().is_full = false;
    assert_eq!(push(3).unwrap().accepted, 1);
    commit_row(4);
    let all = content(&db);
    assert_eq!(all.len(), 4);
    drop(db);
    let (db, _) = Db::open(&options(&fs.after_crash(false), &clock, WalFsync::Segment)).unwrap();
    assert_eq!(content(&db), all);
}

#[test]
fn a_damaged_log_gives_a_prefix_and_never_a_panic() {
    let fs = FaultyFs::default();
    let clock = Arc::new(SetClock::default());
    let (db, _) = Db::open(&options(&fs, &clock, WalFsync::Segment)).unwrap();
    let mut states = vec![Content::new()];
    let mut target = db.target(&TargetKey("t".to_owned())).unwrap();
    let column = target.column(&labels("a")).unwrap();
    let mut row = RowBuilder::default();
    for time in 0..4 {
        row.begin(time);
        row.set(column, time as f64 / 3.0);
        target.commit(&mut row).unwrap();
        states.push(content(&db));
    }
    let path = Path::new("/data/narthex/wal/00000001");
    let whole = fs.read(path).unwrap();
    let check = |damaged: Vec<u8>, what: String| {
        let left = fs.after_crash(false);
        *left.file(path).unwrap().lock().unwrap() = (damaged, 0);
        let (db, _) = Db::open(&options(&left, &clock, WalFsync::Segment)).unwrap();
        assert!(states.contains(&content(&db)), "{what}");
    };
    for at in 0..whole.len() {
        check(whole[..at].to_vec(), format!("cut at {at}"));
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] ^= flip;
            check(damaged, format!("byte {at} ^ {flip:#x}"));
        }
    }
}

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
