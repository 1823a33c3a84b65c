//! Start timestamps: kept with their samples through everything that happens to these, seen by who wants
//! them alone.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use narthex_storage::{
    Appendable, Budget, Cardinality, Db, DbOptions, Fs, Labels, MatchOp, Matcher, Queryable,
    Refusal, Sample, Select, TargetKey, TimeRange, Timestamp, WalFsync, Wants,
};
use proptest::prelude::*;

use crate::support::{
    Content, Crash, FaultyFs, SetClock, content, histogram, labels, options, setting,
};

/// Of each sample since when it counts, by series and time.
type Starts = BTreeMap<(String, Timestamp), Timestamp>;

/// Of all samples of the store, 0 where it is not known.
fn starts(db: &Db, wants: Wants) -> Starts {
    let budget = Budget::new(1 << 30);
    let querier = db.querier(TimeRange::ALL).unwrap();
    let request = Select {
        matchers: &[],
        range: TimeRange::ALL,
        limit: None,
        wants,
    };
    let selection = querier.select(&request, &budget).unwrap();
    let mut found = Starts::new();
    {
        let mut scan = selection.scan(TimeRange::ALL, &budget);
        for (index, series) in selection.series().iter().enumerate() {
            assert_eq!(series.labels.get("__name__"), Some("m"));
            let name = series.labels.get("series").unwrap();
            scan.seek(index).unwrap();
            while let Some(run) = scan.next_run().unwrap() {
                let mut times = vec![0; run.len()];
                run.times(&mut times).unwrap();
                let starts = run.start_times();
                for (at, time) in times.into_iter().enumerate() {
                    let start = starts.get(at).copied().unwrap_or_default();
                    found.insert((name.to_owned(), time), start);
                }
            }
        }
    }
    // All of it was given back.
    budget.charge(1 << 30).unwrap();
    found
}

fn push(db: &Db, series: &str, samples: &[(Timestamp, f64, Timestamp)]) -> Vec<(u32, Refusal)> {
    let labels = labels(series);
    let mut appender = db.appender();
    let reference = appender.series(&labels).unwrap();
    for (time, value, start) in samples {
        let (time, value) = (*time, *value);
        appender.samples(reference, &[Sample { time, value }]);
        appender.start_times(&labels, &[(time, *start)]).unwrap();
    }
    appender.commit(true).unwrap().refused
}

fn open(fs: &FaultyFs, clock: &Arc<SetClock>) -> Db {
    let options = DbOptions {
        out_of_order_window_ms: 100_000_000,
        ..options(fs, clock, WalFsync::Commit)
    };
    Db::open(&options).unwrap().0
}

fn of(entries: &[(&str, Timestamp, Timestamp)]) -> Starts {
    let entries = entries.iter();
    let entries = entries.map(|(name, time, start)| (((*name).to_owned(), *time), *start));
    entries.collect()
}

#[test]
fn start_timestamps_are_those_of_their_samples() {
    let (fs, clock) = <(FaultyFs, Arc<SetClock>)>::default();
    let mut db = open(&fs, &clock);
    let at = |second: i64| 1_790_000_000_000 + second * 1_000;
    let known = at(-7_200) + 123;
    assert_eq!(
        push(
            &db,
            "a",
            &[
                (at(0), 1.0, known),
                (at(1), 2.0, known),
                (at(2), 1.0, at(1))
            ]
        ),
        []
    );
    // None is known of some, of another series of none.
    push(&db, "a", &[(at(3), 2.0, 0)]);
    push(&db, "b", &[(at(0), 1.0, 0), (at(1), 1.0, 0)]);
    // Histograms have them too.
    let mut appender = db.appender();
    let series = appender.series(&labels("h")).unwrap();
    appender.histograms(series, &[(at(0), histogram(0, at(0)))]);
    appender.start_times(&labels("h"), &[(at(0), -5)]).unwrap();
    let commit = appender.commit(true).unwrap();
    assert_eq!((commit.accepted, commit.refused), (1, vec![]));
    let mut expected = of(&[
        ("a", at(0), known),
        ("a", at(1), known),
        ("a", at(2), at(1)),
        ("a", at(3), 0),
        ("b", at(0), 0),
        ("b", at(1), 0),
        ("h", at(0), -5),
    ]);
    let wanted = |db: &Db| starts(db, Wants::SamplesAndStartTimes);
    assert_eq!(wanted(&db), expected, "in memory");
    assert!(
        starts(&db, Wants::Samples)
            .values()
            .all(|start| *start == 0)
    );
    // A commit that is refused leaves none, and a late sample brings its own.
    assert_eq!(
        push(&db, "a", &[(at(3), 9.0, at(2)), (at(4), 3.0, known)]),
        [(0, Refusal::Duplicate)]
    );
    assert_eq!(wanted(&db), expected, "refused");
    push(&db, "a", &[(at(-5), 9.0, at(-9))]);
    expected.insert(("a".to_owned(), at(-5)), at(-9));
    assert_eq!(wanted(&db), expected, "late");
    drop(db);
    db = open(&fs, &clock);
    assert_eq!(wanted(&db), expected, "read from the log");
    db.snapshot(false).unwrap();
    assert_eq!(wanted(&db), expected, "sealed");
    push(&db, "a", &[(at(4), 3.0, at(1))]);
    expected.insert(("a".to_owned(), at(4)), at(1));
    assert_eq!(wanted(&db), expected, "in a block and in memory");
    let mut next = 5;
    while db.stats().compactions == 0 {
        db.snapshot(false).unwrap();
        while db.compact().unwrap() {}
        push(&db, "a", &[(at(next), 3.0, at(1))]);
        expected.insert(("a".to_owned(), at(next)), at(1));
        next += 1;
        assert!(next < 100, "nothing was merged");
    }
    assert_eq!(wanted(&db), expected, "merged");
    let a = vec![Matcher::equal("series", "a")];
    db.delete_series(&[a], TimeRange::new(at(1), at(2)))
        .unwrap();
    expected.retain(|(name, time), _| name != "a" || *time < at(1) || *time > at(2));
    assert_eq!(wanted(&db), expected, "deleted");
    db.clean_tombstones().unwrap();
    drop(db);
    assert_eq!(
        wanted(&open(&fs, &clock)),
        expected,
        "cleaned, opened again"
    );
}

#[test]
fn where_they_are_is_seen_nowhere() {
    let (fs, clock) = <(FaultyFs, Arc<SetClock>)>::default();
    let db = open(&fs, &clock);
    let t = 1_790_000_000_000;
    push(&db, "a", &[(t, 1.0, t - 5)]);
    for place in ["in memory", "in a block"] {
        let querier = db.querier(TimeRange::ALL).unwrap();
        let budget = Budget::unlimited();
        let names = querier.label_names(&[], None, &budget).unwrap();
        assert_eq!(names, ["__name__", "series"], "{place}");
        let values = |name: &str| querier.label_values(name, &[], None, &budget).unwrap();
        assert_eq!(values("series"), ["a"], "{place}");
        assert_eq!(values(""), [""; 0], "{place}");
        let any = Matcher::new("", MatchOp::NotEqual, "nothing").unwrap();
        for (matchers, wanted) in [
            (vec![], 1),
            (vec![any], 1),
            (vec![Matcher::equal("", "start")], 0),
        ] {
            for wants in [Wants::Labels, Wants::Samples, Wants::SamplesAndStartTimes] {
                let request = Select {
                    matchers: &matchers,
                    range: TimeRange::ALL,
                    limit: None,
                    wants,
                };
                let selection = querier.select(&request, &budget).unwrap();
                assert_eq!(
                    selection.series().len(),
                    wanted,
                    "{place}, {matchers:?}, {wants:?}"
                );
            }
        }
        let of = |name: &str, value| Cardinality {
            name: name.to_owned(),
            value,
        };
        let lists = db.cardinality(10);
        assert_eq!(lists.series_by_metric_name, [of("m", 1)], "{place}");
        let values = [of("__name__", 1), of("series", 1)];
        assert_eq!(lists.values_by_label_name, values, "{place}");
        // A name and a value, and a byte for the length of each.
        let bytes = [of("__name__", 11), of("series", 9)];
        assert_eq!(lists.bytes_by_label_name, bytes, "{place}");
        let pairs = [of("__name__=m", 1), of("series=a", 1)];
        assert_eq!(lists.series_by_label_pair, pairs, "{place}");
        let stats = db.stats();
        assert_eq!((stats.series, stats.label_pairs), (1, 2), "{place}");
        assert_eq!((stats.series_created, stats.series_removed), (1, 0));
        drop(querier);
        db.snapshot(false).unwrap();
    }
    // Nobody else has a label without a name.
    let own = Labels::from_pairs([("", "start"), ("__name__", "m"), ("series", "a")]);
    assert_eq!(db.appender().series(&own), Err(Refusal::InvalidLabels));
    let mut target = db.target(&TargetKey("t".to_owned())).unwrap();
    assert_eq!(target.column(&own), Err(Refusal::InvalidLabels));
}

#[test]
fn the_limit_of_series_is_one_of_series_alone() {
    let (fs, clock) = <(FaultyFs, Arc<SetClock>)>::default();
    let options = DbOptions {
        series_max: Some(2),
        ..options(&fs, &clock, WalFsync::Commit)
    };
    let (db, _) = Db::open(&options).unwrap();
    let hour = |hour: i64| 1_790_000_000_000 + hour * 3_600_000;
    for series in ["a", "b"] {
        assert_eq!(push(&db, series, &[(hour(0), 1.0, hour(-1))]), []);
    }
    let start = [(hour(0), hour(-1))];
    let refused = db.appender().start_times(&labels("c"), &start);
    assert_eq!(refused, Err(Refusal::SeriesLimit));
    assert_eq!(db.stats().series, 2);
    // A series of which nothing came for long enough goes with its sibling.
    for hours in 3..6 {
        push(&db, "a", &[(hour(hours), 1.0, hour(-1))]);
        db.snapshot(false).unwrap();
        db.maintain().unwrap();
    }
    let stats = db.stats();
    let numbers = (stats.series, stats.series_created, stats.series_removed);
    assert_eq!(numbers, (1, 2, 1));
}

#[derive(Debug, Clone)]
enum Step {
    Push(bool, Vec<(u8, i64, Timestamp)>),
    Seal,
    Compact,
    Delete(u8, i64, i64),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Few different starts, mostly the same one.
    let start = prop_oneof![6 => Just(1_000_i64), 2 => -3..3_i64, 1 => any::<i64>()];
    let sample = (0..5_u8, -30_000..60_000_i64, start);
    let step = prop_oneof![
        12 => (any::<bool>(), prop::collection::vec(sample, 1..12))
            .prop_map(|(all, samples)| Step::Push(all, samples)),
        3 => Just(Step::Seal),
        3 => Just(Step::Compact),
        1 => (0..5_u8, 0..400_000_i64, 0..90_000_i64)
            .prop_map(|(series, back, len)| Step::Delete(series, back, len)),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: setting("NARTHEX_PROPTEST_CASES", 24) as u32,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn the_store_is_a_map_of_start_timestamps(steps in steps()) {
        let (fs, clock) = <(FaultyFs, Arc<SetClock>)>::default();
        let mut db = open(&fs, &clock);
        let mut model = Starts::new();
        let mut now = 100_000_000;
        for step in steps {
            match step {
                Step::Push(together, samples) => {
                    now += 10_000;
                    let mut appender = db.appender();
                    for (series, by, start) in samples {
                        let (name, time) = (series.to_string(), now + by);
                        let reference = appender.series(&labels(&name)).unwrap();
                        // The value goes with the time, so that nothing is refused.
                        let value = (time % 7) as f64;
                        appender.samples(reference, &[Sample { time, value }]);
                        // What a number cannot hold is unknown.
                        let known = if start.unsigned_abs() <= 1 << 53 { start } else { 0 };
                        appender.start_times(&labels(&name), &[(time, start)]).unwrap();
                        let own = model.entry((name, time)).or_default();
                        if *own == 0 {
                            *own = known;
                        }
                        if !together {
                            assert_eq!(appender.commit(true).unwrap().refused, []);
                            appender = db.appender();
                        }
                    }
                    assert_eq!(appender.commit(true).unwrap().refused, []);
                }
                Step::Seal => drop(db.snapshot(false).unwrap()),
                Step::Compact => drop(db.compact().unwrap()),
                Step::Delete(series, back, len) => {
                    let range = TimeRange::new(now - back, now - back + len);
                    let selector = vec![Matcher::equal("series", series.to_string())];
                    db.delete_series(&[selector], range).unwrap();
                    let name = series.to_string();
                    model.retain(|(other, time), _| *other != name || !range.contains(*time));
                    // What was deleted does not come back: its time is judged by what there was.
                    now += 200_000;
                }
                Step::Reopen => {
                    drop(db);
                    db = open(&fs, &clock);
                }
            }
            assert_eq!(starts(&db, Wants::SamplesAndStartTimes), model);
        }
    }
}

#[test]
fn a_crash_at_any_operation_parts_no_sample_from_its_start_timestamp() {
    let (fs, clock) = <(FaultyFs, Arc<SetClock>)>::default();
    // The contents that the store was to have, and how many of them were acknowledged.
    let history = Arc::new(Mutex::new((vec![Starts::new()], 0)));
    let (watched, operations) = (Arc::clone(&history), Arc::new(Mutex::new(0)));
    let counted = Arc::clone(&operations);
    fs.watch(move |fs| {
        let operation = {
            let operations = &mut *counted.lock().unwrap();
            *operations += 1;
            *operations
        };
        let (states, acknowledged) = watched.lock().unwrap().clone();
        for crash in [Crash::Kill, Crash::PowerCut, Crash::TornPowerCut(operation)] {
            let left = fs.after(crash);
            let found = starts(
                &open(&left, &Arc::new(SetClock::default())),
                Wants::SamplesAndStartTimes,
            );
            assert!(
                states[acknowledged..].contains(&found),
                "operation {operation}, {crash:?}: found {found:?}"
            );
        }
    });
    let db = open(&fs, &clock);
    for step in 0..12_i64 {
        let time = step * 600_000;
        let mut next = history.lock().unwrap().0.last().unwrap().clone();
        let start = step / 5 * 3_000_000 + 1;
        next.insert(("a".to_owned(), time), start);
        next.insert(("b".to_owned(), time), if step % 2 == 0 { 0 } else { time });
        history.lock().unwrap().0.push(next);
        let mut appender = db.appender();
        for (name, start) in [("a", start), ("b", if step % 2 == 0 { 0 } else { time })] {
            let series = appender.series(&labels(name)).unwrap();
            appender.samples(series, &[Sample { time, value: 0.5 }]);
            appender
                .start_times(&labels(name), &[(time, start)])
                .unwrap();
        }
        assert_eq!(appender.commit(true).unwrap().refused, []);
        {
            let (states, acknowledged) = &mut *history.lock().unwrap();
            *acknowledged = states.len() - 1;
        }
        clock.advance(Duration::from_mins(10));
        db.maintain().unwrap();
        while step % 6 == 5 && db.compact().unwrap() {}
    }
    let blocks = fs.list(Path::new("/data/narthex/blocks")).unwrap();
    assert!(!blocks.is_empty());
    assert!(*operations.lock().unwrap() > 50);
}

/// Bytes of log and blocks after 500 samples each of so many series.
fn bytes(with_starts: bool, series: usize) -> (u64, u64) {
    let (fs, clock) = <(FaultyFs, Arc<SetClock>)>::default();
    let db = open(&fs, &clock);
    let under = |folder: &str| {
        let paths = fs.paths().into_iter();
        let paths = paths.filter(|path| path.starts_with(folder));
        paths
            .map(|path| fs.read(&path).unwrap().len() as u64)
            .sum::<u64>()
    };
    for step in 0..500_i64 {
        let mut appender = db.appender();
        for index in 0..series {
            let labels = labels(&index.to_string());
            let reference = appender.series(&labels).unwrap();
            let (time, value) = (1_790_000_000_000 + step * 15_000, (step * 3) as f64);
            appender.samples(reference, &[Sample { time, value }]);
            if with_starts {
                let start = 1_789_999_999_000 + index as i64;
                appender.start_times(&labels, &[(time, start)]).unwrap();
            }
        }
        appender.commit(true).unwrap();
    }
    let log = under("/data/narthex/wal");
    db.snapshot(false).unwrap();
    (log, under("/data/narthex/blocks"))
}

#[test]
fn a_start_timestamp_that_repeats_takes_next_to_nothing() {
    let (log, blocks) = bytes(false, 40);
    let (log_with, blocks_with) = bytes(true, 40);
    let samples = 40 * 500;
    println!("log {log} {log_with}, blocks {blocks} {blocks_with}, {samples} samples");
    // A hundredth of a byte a sample in blocks, a tenth in the log.
    assert!(
        blocks_with - blocks < samples / 100 + 40 * 60,
        "{blocks} {blocks_with}"
    );
    assert!(log_with - log < samples / 10 + 40 * 60, "{log} {log_with}");
}

/// The other readings of a store that has them.
#[test]
fn samples_are_read_as_if_there_were_none() {
    let (fs, clock) = <(FaultyFs, Arc<SetClock>)>::default();
    let db = open(&fs, &clock);
    let mut expected = Content::new();
    for time in [5_000, 6_000, 1_000] {
        push(&db, "a", &[(time, 2.5, time - 7)]);
        expected.insert(("a".to_owned(), time), 2.5_f64.to_bits());
    }
    assert_eq!(content(&db), expected);
    db.snapshot(false).unwrap();
    assert_eq!(content(&db), expected);
    let stats = db.stats();
    assert_eq!(stats.samples_appended, 3);
}
