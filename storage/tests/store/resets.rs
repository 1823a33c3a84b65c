//! What the store finds out of histograms against the ones before them, and keeps.

use narthex_storage::{
    Appendable, Budget, Counts, Db, DbOptions, Histogram, HistogramColumns, HistogramCounts,
    HistogramLayout, Kind, Queryable, ResetHint, RowBuilder, Sample, Select, Span, TargetAppender,
    TargetKey, TimeRange, Timestamp, WalFsync, Wants,
};

use crate::support::{FaultyFs, SetClock, labels, options};
use ResetHint::{Gauge, NoReset, Reset, Unknown};
use std::sync::Arc;

fn counting(hint: ResetHint, count: u64) -> Histogram {
    Histogram {
        reset_hint: hint,
        layout: HistogramLayout {
            positive_spans: vec![Span {
                offset: 0,
                length: 1,
            }],
            ..HistogramLayout::default()
        },
        sum: count as f64,
        counts: HistogramCounts::Integer(Counts {
            count,
            zero: 0,
            positive: vec![count],
            negative: vec![],
        }),
    }
}

#[derive(Debug, Default)]
struct World {
    fs: FaultyFs,
    clock: Arc<SetClock>,
}

impl World {
    fn open(&self) -> Db {
        let options = DbOptions {
            out_of_order_window_ms: 600_000,
            ..options(&self.fs, &self.clock, WalFsync::Commit)
        };
        Db::open(&options).unwrap().0
    }
}

/// Pushes histograms, each in a commit of its own.
fn push(db: &Db, samples: &[(Timestamp, ResetHint, u64)]) {
    for (time, hint, count) in samples {
        let mut appender = db.appender();
        let series = appender.series(&labels("h")).unwrap();
        appender.histograms(series, &[(*time, counting(*hint, *count))]);
        assert_eq!(appender.commit(true).unwrap().refused, []);
    }
}

/// The hints of the only series, markers apart.
fn hints(db: &Db) -> Vec<(Timestamp, ResetHint)> {
    let budget = Budget::unlimited();
    let querier = db.querier(TimeRange::ALL).unwrap();
    let request = Select {
        matchers: &[],
        range: TimeRange::ALL,
        limit: None,
        wants: Wants::Samples,
    };
    let selection = querier.select(&request, &budget).unwrap();
    assert_eq!(selection.series().len(), 1);
    let mut scan = selection.scan(TimeRange::ALL, &budget);
    scan.seek(0).unwrap();
    let mut found = Vec::new();
    let mut columns = HistogramColumns::default();
    while let Some(run) = scan.next_run().unwrap() {
        if run.kind() == Kind::Histogram {
            let mut times = vec![0; run.len()];
            run.times(&mut times).unwrap();
            run.histograms(&mut columns).unwrap();
            for (index, time) in times.into_iter().enumerate() {
                let histogram = columns.get(index);
                if !histogram.is_stale() {
                    found.push((time, histogram.reset_hint));
                }
            }
        }
    }
    found
}

#[test]
fn what_is_known_of_pushed_histograms_is_kept_through_seals_merges_and_restarts() {
    let world = World::default();
    let mut db = world.open();
    let t = 1_000_000;
    // What senders say but of gauges and resets is not believed.
    push(&db, &[(t, NoReset, 5), (t + 1, Unknown, 6)]);
    push(&db, &[(t + 2, NoReset, 4), (t + 3, Reset, 7)]);
    db.snapshot(false).unwrap();
    // Compared with what was sealed.
    push(&db, &[(t + 4, Unknown, 7), (t + 5, Gauge, 8)]);
    push(&db, &[(t + 6, Unknown, 9), (t + 7, Unknown, 8)]);
    let mut appender = db.appender();
    let series = appender.series(&labels("h")).unwrap();
    appender.histograms(
        series,
        &[
            (t + 8, counting(Unknown, 8)),
            (t + 9, counting(Unknown, 10)),
        ],
    );
    let (time, value) = (t + 10, 1.0);
    appender.samples(series, &[Sample { time, value }]);
    appender.histograms(
        series,
        &[
            (t + 11, counting(Unknown, 11)),
            (t + 12, counting(Unknown, 12)),
        ],
    );
    appender.commit(true).unwrap();
    // Of late ones nothing is known, whatever they say.
    push(&db, &[(t - 10, Unknown, 1), (t - 9, NoReset, 2)]);
    push(&db, &[(t + 13, Unknown, 12)]);
    let expected = [
        (t - 10, Unknown),
        (t - 9, Unknown),
        (t, Unknown),
        (t + 1, NoReset),
        (t + 2, Reset),
        (t + 3, Reset),
        (t + 4, NoReset),
        (t + 5, Gauge),
        (t + 6, Unknown),
        (t + 7, Reset),
        (t + 8, NoReset),
        (t + 9, NoReset),
        (t + 11, Unknown),
        (t + 12, NoReset),
        (t + 13, NoReset),
    ];
    assert_eq!(hints(&db), expected, "in memory");
    drop(db);
    db = world.open();
    assert_eq!(hints(&db), expected, "read from the log");
    db.snapshot(false).unwrap();
    assert_eq!(hints(&db), expected, "sealed");
    drop(db);
    db = world.open();
    // Compared with what an earlier process sealed, also where a late one was sealed since.
    push(&db, &[(t + 14, Unknown, 12)]);
    db.snapshot(false).unwrap();
    db.maintain().unwrap();
    drop(db);
    db = world.open();
    push(&db, &[(t - 8, Unknown, 3)]);
    db.snapshot(false).unwrap();
    push(&db, &[(t + 15, Unknown, 11), (t + 16, Unknown, 12)]);
    let mut expected = expected.to_vec();
    expected.insert(2, (t - 8, Unknown));
    expected.extend([(t + 14, NoReset), (t + 15, Reset), (t + 16, NoReset)]);
    let mut next = t + 17;
    while db.stats().compactions == 0 {
        db.snapshot(false).unwrap();
        while db.compact().unwrap() {}
        push(&db, &[(next, Unknown, 12)]);
        expected.push((next, NoReset));
        next += 1;
        assert!(next < t + 100, "nothing was merged");
    }
    assert_eq!(hints(&db), expected, "merged");
}

#[test]
fn what_is_known_of_scraped_histograms_is_kept() {
    let world = World::default();
    let db = world.open();
    let mut target = db.target(&TargetKey("t".to_owned())).unwrap();
    let column = target.column(&labels("h")).unwrap();
    let mut row = RowBuilder::default();
    let mut scrape = |target: &mut Box<dyn TargetAppender>, time, count: Option<u64>| {
        row.begin(time);
        if let Some(count) = count {
            row.histogram(column, &counting(Unknown, count));
        }
        target.commit(&mut row).unwrap();
    };
    for (time, count) in [(1_000, 5), (2_000, 6), (3_000, 2)] {
        scrape(&mut target, time, Some(count));
    }
    db.snapshot(false).unwrap();
    for (time, count) in [
        (4_000, Some(3)),
        // The series ends, and comes back.
        (5_000, None),
        (6_000, Some(4)),
        (7_000, Some(5)),
    ] {
        scrape(&mut target, time, count);
    }
    assert_eq!(
        hints(&db),
        [
            (1_000, Unknown),
            (2_000, NoReset),
            (3_000, Reset),
            (4_000, NoReset),
            (6_000, Unknown),
            (7_000, NoReset),
        ]
    );
}
