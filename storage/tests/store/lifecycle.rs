//! Sealing, retention, refusals, and what else may lie in the data path.

use std::{ops::Range, path::Path, sync::Arc, time::Duration};

use narthex_storage::{
    Appendable, Budget, Clock, Commit, Db, DbOptions, DbStats, Exemplar, ForeignData, Labels,
    MatchOp, Matcher, OpenError, Querier, Queryable, RealFs, Refusal, RowBuilder,
    STALE_MARKER_BITS, Sample, Select, TargetKey, TimeRange, Timestamp, Wants,
};

use crate::support::SetClock;

fn options(path: &Path, clock: &Arc<SetClock>) -> DbOptions {
    let clock: Arc<dyn Clock> = Arc::<SetClock>::clone(clock);
    DbOptions::new(path, Arc::new(RealFs), clock)
}

fn labels(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name)])
}

fn samples(db: &Db, name: &str) -> Vec<(Timestamp, u64)> {
    let budget = Budget::unlimited();
    let querier = db.querier(TimeRange::ALL).unwrap();
    let select = Select {
        matchers: &[Matcher::equal("__name__", name)],
        range: TimeRange::ALL,
        limit: None,
        wants: Wants::Samples,
    };
    let selection = querier.select(&select, &budget).unwrap();
    let mut scan = selection.scan(TimeRange::ALL, &budget);
    let mut found = Vec::new();
    for index in 0..selection.series().len() {
        scan.seek(index).unwrap();
        while let Some(run) = scan.next_run().unwrap() {
            let (mut times, mut values) = (vec![0; run.len()], vec![0.0; run.len()]);
            run.times(&mut times).unwrap();
            run.values(&mut values).unwrap();
            found.extend(times.into_iter().zip(values.into_iter().map(f64::to_bits)));
        }
    }
    found
}

fn push(db: &Db, name: &str, time: Timestamp, value: f64) -> Commit {
    let mut appender = db.appender();
    let series = appender.series(&labels(name)).unwrap();
    appender.samples(series, &[Sample { time, value }]);
    appender.commit(false).unwrap()
}

const HOUR: i64 = 3_600_000;

#[test]
fn a_snapshot_keeps_its_order_of_series() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::<SetClock>::default();
    let (db, _) = Db::open(&options(folder.path(), &clock)).unwrap();
    let first = |querier: &dyn Querier| {
        let select = Select {
            matchers: &[Matcher::new("__name__", MatchOp::NotEqual, "").unwrap()],
            range: TimeRange::ALL,
            limit: None,
            wants: Wants::Samples,
        };
        let selection = querier.select(&select, &Budget::unlimited()).unwrap();
        let series = selection.series();
        let first = (0..series.len()).min_by_key(|series| selection.place(*series));
        let name = series[first.unwrap()].labels.metric_name().to_owned();
        (querier.is_by_creation(), name)
    };
    push(&db, "b", 0, 1.0);
    push(&db, "a", 3 * HOUR, 1.0);
    let before = db.querier(TimeRange::ALL).unwrap();
    push(&db, "a", 3 * HOUR + 1, 1.0);
    let after = db.querier(TimeRange::ALL).unwrap();
    assert_eq!(first(&*before), (true, "b".to_owned()));
    assert_eq!(first(&*after), (false, "a".to_owned()));
}

/// A target with one series, a sample a minute from hour `from` to hour `to`.
fn fill(db: &Db, clock: &SetClock, name: &str, from: i64, to: i64) {
    let mut target = db.target(&TargetKey("t".to_owned())).unwrap();
    let column = target.column(&labels(name)).unwrap();
    let mut row = RowBuilder::default();
    for minute in from * 60..to * 60 {
        row.begin(minute * 60_000);
        row.set(column, minute as f64);
        target.commit(&mut row).unwrap();
        clock.advance(Duration::from_mins(1));
        db.maintain().unwrap();
    }
}

fn minutes(from: i64, to: i64) -> Vec<(Timestamp, u64)> {
    (from..to)
        .map(|minute| (minute * 60_000, (minute as f64).to_bits()))
        .collect()
}

#[test]
fn sealed_samples_leave_the_log_and_stay_readable() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::default());
    let (db, _) = Db::open(&options(folder.path(), &clock)).unwrap();
    fill(&db, &clock, "m", 0, 10);
    assert_eq!(samples(&db, "m"), minutes(0, 600));
    let stats = db.stats();
    // A seal comes when the rows span ten minutes, so it takes eleven of them; six rows are left.
    assert_eq!(stats.blocks, 54);
    assert_eq!(stats.pages, 1);
    // Of the log there is what was sealed in the last ten minutes, and what was not sealed.
    assert_eq!(stats.wal_segment - stats.wal_truncations, 2, "{stats:?}");
    drop(db);
    let (db, report) = Db::open(&options(folder.path(), &clock)).unwrap();
    assert_eq!(report.blocks, 54);
    assert_eq!(samples(&db, "m"), minutes(0, 600));
    let refused = |refusal| Commit {
        accepted: 0,
        refused: vec![(0, refusal)],
        ..Commit::default()
    };
    assert_eq!(
        push(&db, "m", 598 * 60_000, 1.0),
        refused(Refusal::OutOfOrder)
    );
    assert_eq!(
        push(&db, "m", 599 * 60_000, 1.0),
        refused(Refusal::Duplicate)
    );
    assert_eq!(push(&db, "m", 599 * 60_000, 599.0).refused, []);
    assert_eq!(
        push(&db, "n", 9 * HOUR - 60_001, 1.0),
        refused(Refusal::OutOfBounds)
    );
    assert_eq!(push(&db, "n", 9 * HOUR - 60_000, 1.0).refused, []);
    assert_eq!(
        db.stats().pages,
        stats.pages + 1,
        "\"m\" has its rows, \"n\" its sample"
    );
}

#[test]
fn label_names_and_values_are_those_of_the_range() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::default());
    let (db, _) = Db::open(&options(folder.path(), &clock)).unwrap();
    // "old" is sealed, "new" is in rows, "pushed" has one sample without a row.
    fill(&db, &clock, "old", 0, 2);
    fill(&db, &clock, "new", 2, 5);
    push(&db, "pushed", 5 * HOUR, 1.0);
    assert!(db.stats().blocks >= 2);
    let all = Budget::unlimited();
    let found = |from: i64, to: i64| {
        let range = TimeRange::new(from, to);
        let querier = db.querier(range).unwrap();
        let names = querier.label_names(&[], None, &all).unwrap();
        let values = querier.label_values("__name__", &[], None, &all).unwrap();
        let select = Select {
            matchers: &[],
            range,
            limit: None,
            wants: Wants::Labels,
        };
        let selection = querier.select(&select, &all).unwrap();
        let series = selection.series().iter();
        let of_series: Vec<_> = series
            .map(|series| series.labels.get("__name__").unwrap().to_owned())
            .collect();
        assert_eq!(of_series, values, "{range:?}");
        assert_eq!(names.len(), usize::from(!values.is_empty()), "{range:?}");
        values
    };
    assert_eq!(
        found(Timestamp::MIN, Timestamp::MAX),
        ["new", "old", "pushed"]
    );
    assert!(found(Timestamp::MIN, -1).is_empty());
    assert!(found(5 * HOUR + 1, Timestamp::MAX).is_empty());
    assert_eq!(found(0, HOUR / 2), ["old"]);
    assert_eq!(found(4 * HOUR + 1, 5 * HOUR - 1), ["new"]);
    assert_eq!(found(5 * HOUR, 5 * HOUR), ["pushed"]);
    let querier = db.querier(TimeRange::new(0, HOUR / 2)).unwrap();
    let only_new = [Matcher::equal("__name__", "new")];
    let none = querier.label_values("__name__", &only_new, None, &all);
    assert!(none.unwrap().is_empty());
}

/// Most series of a block, and of memory, have no sample in the range: the others are found all the same.
#[test]
fn label_names_and_values_of_few_among_many_series_are_those_of_the_range() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::default());
    let (db, _) = Db::open(&options(folder.path(), &clock)).unwrap();
    let series = |name: &str, number: usize| {
        Labels::from_pairs([
            ("__name__", name.to_owned()),
            (&*format!("of_{name}"), number.to_string()),
            ("parity", (number % 2).to_string()),
        ])
    };
    let push = |name: &str, numbers: Range<usize>, time: Timestamp| {
        let mut appender = db.appender();
        for number in numbers {
            let series = appender.series(&series(name, number)).unwrap();
            appender.samples(series, &[Sample { time, value: 1.0 }]);
        }
        appender.commit(false).unwrap();
    };
    push("many", 0..3_000, HOUR);
    push("few", 0..2, 2 * HOUR);
    let texts = |range: TimeRange, matchers: &[Matcher], limit: Option<usize>| {
        let querier = db.querier(range).unwrap();
        let budget = Budget::unlimited();
        let names = querier.label_names(matchers, limit, &budget).unwrap();
        let values = |name| {
            querier
                .label_values(name, matchers, limit, &budget)
                .unwrap()
        };
        [
            names,
            values("__name__"),
            values("parity"),
            values("of_few"),
        ]
    };
    let early = TimeRange::new(0, 2 * HOUR - 1);
    let late = TimeRange::new(2 * HOUR - 1, 9 * HOUR);
    let odd = [Matcher::equal("parity", "1")];
    for place in ["in memory", "in a block", "in two blocks"] {
        let all = texts(TimeRange::ALL, &[], None);
        assert_eq!(
            all[0],
            ["__name__", "of_few", "of_many", "parity"],
            "{place}"
        );
        assert_eq!(
            all[1..],
            [vec!["few", "many"], vec!["0", "1"], vec!["0", "1"]],
            "{place}"
        );
        let found = texts(early, &[], None);
        assert_eq!(found[0], ["__name__", "of_many", "parity"], "{place}");
        assert_eq!(
            found[1..],
            [vec!["many"], vec!["0", "1"], vec![]],
            "{place}"
        );
        let found = texts(late, &odd, None);
        assert_eq!(found[0], ["__name__", "of_few", "parity"], "{place}");
        assert_eq!(found[1..], [vec!["few"], vec!["1"], vec!["1"]], "{place}");
        let found = texts(late, &[], Some(1));
        assert_eq!(found, [["__name__"], ["few"], ["0"], ["0"]], "{place}");
        let before = db.stats().blocks;
        let later = (3 + before as i64) * HOUR;
        push("few", 0..2, later);
        push("few", 0..2, later + HOUR / 2);
        clock.advance(Duration::from_hours(3));
        db.maintain().unwrap();
        assert_eq!(db.stats().blocks, before + 1);
    }
}

#[test]
fn retention_removes_whole_files_and_series_without_samples() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::default());
    let mut by_time = options(folder.path(), &clock);
    by_time.retention_time_ms = Some(3 * HOUR);
    let (db, _) = Db::open(&by_time).unwrap();
    fill(&db, &clock, "old", 0, 2);
    let early = db.querier(TimeRange::ALL).unwrap();
    fill(&db, &clock, "new", 2, 8);
    assert!(samples(&db, "old").is_empty());
    let budget = Budget::unlimited();
    let select = Select {
        matchers: &[Matcher::equal("__name__", "old")],
        range: TimeRange::ALL,
        limit: None,
        wants: Wants::Samples,
    };
    let selection = early.select(&select, &budget).unwrap();
    assert_eq!(selection.series().len(), 1, "a snapshot never changes");
    drop(selection);
    drop(early);
    // The rows that it could read leave memory, and the next seal forgets the series.
    fill(&db, &clock, "new", 8, 9);
    assert_eq!(db.stats().series, 1);
    let kept = samples(&db, "new");
    let (oldest, newest) = (kept[0].0, kept[kept.len() - 1].0);
    assert_eq!(newest, 539 * 60_000);
    assert!(
        (3 * HOUR..=3 * HOUR + 11 * 60_000).contains(&(newest - oldest)),
        "{oldest}"
    );
    drop(db);

    let (db, _) = Db::open(&options(folder.path(), &clock)).unwrap();
    db.maintain().unwrap();
    assert!(db.stats().blocks > 1);
    db.set_retention(None, Some(1));
    db.maintain().unwrap();
    assert_eq!(
        db.stats().blocks,
        1,
        "the newest says which series there are"
    );
    assert!(
        !samples(&db, "new").is_empty(),
        "the newest rows are in memory"
    );
}

#[test]
fn a_vanished_series_gets_a_marker() {
    let folder = tempfile::tempdir().unwrap();
    let (db, _) = Db::open(&options(folder.path(), &Arc::default())).unwrap();
    let mut target = db.target(&TargetKey("t".to_owned())).unwrap();
    let column = target.column(&labels("m")).unwrap();
    let mut row = RowBuilder::default();
    row.begin(1_000);
    row.set(column, 1.0);
    target.commit(&mut row).unwrap();
    for time in [2_000, 3_000] {
        row.begin(time);
        target.commit(&mut row).unwrap();
    }
    assert_eq!(
        samples(&db, "m"),
        [(1_000, 1f64.to_bits()), (2_000, STALE_MARKER_BITS)]
    );
}

#[test]
fn a_wall_clock_that_jumps_back_is_refused_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let (db, _) = Db::open(&options(folder.path(), &Arc::default())).unwrap();
    let mut target = db.target(&TargetKey("t".to_owned())).unwrap();
    let column = target.column(&labels("m")).unwrap();
    let mut row = RowBuilder::default();
    let mut at = |time| {
        row.begin(time);
        row.set(column, time as f64);
        target.commit(&mut row).unwrap().refused
    };
    assert_eq!(at(10 * HOUR), []);
    assert_eq!(at(10 * HOUR - 15_000), [(0, Refusal::OutOfOrder)]);
    assert_eq!(at(5 * HOUR), [(0, Refusal::OutOfBounds)]);
    assert_eq!(at(10 * HOUR + 15_000), []);
    let stats = db.stats();
    assert_eq!(
        (stats.refused_out_of_order, stats.refused_out_of_bounds),
        (1, 1)
    );
    assert_eq!(samples(&db, "m").len(), 2);
}

#[test]
fn clocks_that_jump_forwards_cause_one_seal() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::default());
    let (db, _) = Db::open(&options(folder.path(), &clock)).unwrap();
    let mut target = db.target(&TargetKey("t".to_owned())).unwrap();
    let column = target.column(&labels("m")).unwrap();
    let mut row = RowBuilder::default();
    for time in [0, 15_000, 1_000 * HOUR, 1_000 * HOUR + 15_000] {
        row.begin(time);
        row.set(column, 1.0);
        assert_eq!(target.commit(&mut row).unwrap().refused, []);
    }
    for _ in 0..20 {
        clock.advance(Duration::from_hours(1_000));
        db.maintain().unwrap();
    }
    assert_eq!(db.stats().blocks, 1);
    assert_eq!(samples(&db, "m").len(), 4);
    // Back at the right time, samples are refused and counted, not kept out of order.
    row.begin(30_000);
    row.set(column, 1.0);
    let refused = target.commit(&mut row).unwrap().refused;
    assert_eq!(refused, [(0, Refusal::OutOfBounds)]);
    assert_eq!(db.stats().refused_out_of_bounds, 1);
}

#[test]
fn a_fresh_store_takes_any_age_and_the_series_limit_holds() {
    let folder = tempfile::tempdir().unwrap();
    let mut limited = options(folder.path(), &Arc::default());
    limited.series_max = Some(2);
    let (db, _) = Db::open(&limited).unwrap();
    let mut appender = db.appender();
    let a = appender.series(&labels("a")).unwrap();
    let b = appender.series(&labels("b")).unwrap();
    assert_eq!(appender.series(&labels("c")), Err(Refusal::SeriesLimit));
    let at = |time| Sample { time, value: 1.0 };
    appender.samples(a, &[at(1_700_000_000_000)]);
    appender.samples(b, &[at(-5), at(0)]);
    assert_eq!(appender.commit(true).unwrap().accepted, 3);
    let stats = db.stats();
    assert_eq!(
        (stats.min_time, stats.max_time),
        (Some(-5), Some(1_700_000_000_000))
    );
    assert_eq!((stats.series, stats.refused_series_limit), (2, 1));
}

#[test]
fn a_second_store_and_another_version_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (db, _) = Db::open(&options(folder.path(), &Arc::default())).unwrap();
    let second = Db::open(&options(folder.path(), &Arc::default()));
    assert!(matches!(second, Err(OpenError::Locked { .. })));
    drop(db);
    std::fs::write(folder.path().join("narthex/format"), "7\n").unwrap();
    let other = Db::open(&options(folder.path(), &Arc::default()));
    let Err(OpenError::Version {
        found, supported, ..
    }) = other
    else {
        panic!("another version was opened");
    };
    assert_eq!((found.as_str(), supported), ("\"7\"", 2));
}

#[test]
fn data_of_prometheus_is_counted_and_never_touched() {
    let folder = tempfile::tempdir().unwrap();
    let ulids = ["01HZZZZZZZZZZZZZZZZZZZZZZZ", "01J00000000000000000000000"];
    for (index, ulid) in ulids.iter().enumerate() {
        std::fs::create_dir(folder.path().join(ulid)).unwrap();
        let meta = format!("{{\"minTime\": {index}000, \"maxTime\": {index}999}}");
        std::fs::write(folder.path().join(ulid).join("meta.json"), meta).unwrap();
    }
    std::fs::create_dir(folder.path().join("wal")).unwrap();
    std::fs::write(folder.path().join("wal/00000000"), b"not ours").unwrap();
    let (db, report) = Db::open(&options(folder.path(), &Arc::default())).unwrap();
    assert_eq!(
        report.foreign,
        Some(ForeignData {
            blocks: 2,
            blocks_range: Some(TimeRange::new(0, 1999)),
            has_head: true,
        })
    );
    push(&db, "m", 1, 1.0);
    db.close().unwrap();
    assert_eq!(
        db.stats(),
        DbStats {
            series: 1,
            ..db.stats()
        }
    );
    let wal = std::fs::read(folder.path().join("wal/00000000")).unwrap();
    assert_eq!(wal, b"not ours");
    let mut names: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, [ulids[0], ulids[1], "lock", "narthex", "wal"]);
}

#[test]
fn exemplars_survive_a_kill_a_seal_and_a_damaged_file() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::default());
    let open = |max| {
        let options = DbOptions {
            exemplars_max: max,
            ..options(folder.path(), &clock)
        };
        Db::open(&options).unwrap()
    };
    let labels = Labels::from_pairs([("__name__", "m"), ("a", "b")]);
    let exemplar = |trace: &str, time| Exemplar {
        labels: Labels::from_pairs([("trace_id", trace)]),
        value: 0.5,
        time,
        is_timed: true,
    };
    let row = |db: &Db, time, exemplars: &[Exemplar]| {
        let mut target = db.target(&TargetKey("t".to_owned())).unwrap();
        let column = target.column(&labels).unwrap();
        let mut row = RowBuilder::default();
        row.begin(time);
        row.set(column, time as f64);
        for exemplar in exemplars {
            row.exemplar(column, exemplar.clone());
        }
        target.commit(&mut row).unwrap().exemplars_out_of_order
    };
    let traces = |db: &Db| {
        let selector = vec![Matcher::new("__name__", MatchOp::Equal, "m").unwrap()];
        let found = db.exemplars(&[selector], TimeRange::ALL);
        let found = found.into_iter().flat_map(|(series, exemplars)| {
            assert_eq!(series, labels);
            exemplars
        });
        let found = found.map(|exemplar| exemplar.labels.get("trace_id").unwrap().to_owned());
        found.collect::<Vec<_>>()
    };

    let (db, _) = open(3);
    assert_eq!(row(&db, 1, &[exemplar("a", 1), exemplar("b", 2)]), 0);
    // An exemplar of an earlier time is refused by itself, the same again is not worth a word.
    assert_eq!(row(&db, 2, &[exemplar("b", 2), exemplar("c", 1)]), 1);
    let mut appender = db.appender();
    appender.exemplar(&labels, exemplar("d", 3));
    let unknown = Labels::from_pairs([("__name__", "m"), ("a", "unknown")]);
    appender.exemplar(&unknown, exemplar("e", 3));
    assert_eq!(appender.commit(true).unwrap(), Commit::default());
    assert_eq!(traces(&db), ["a", "b", "d"]);
    // Nothing is closed, as when the process is killed.
    drop(db);
    let (db, report) = open(3);
    assert_eq!(report.wal_damage, []);
    assert_eq!(traces(&db), ["a", "b", "d"]);

    // What is sealed is in a file beside the log, the newest in the log.
    row(&db, 5_000_000, &[exemplar("f", 5)]);
    clock.advance(Duration::from_mins(2));
    db.maintain().unwrap();
    assert!(folder.path().join("narthex/exemplars").exists());
    for _ in 0..3 {
        clock.advance(Duration::from_mins(61));
        db.maintain().unwrap();
    }
    // Three are kept, and a commit of nothing but exemplars holds up no segment of the log.
    let mut appender = db.appender();
    appender.exemplar(&labels, exemplar("g", 6));
    assert_eq!(appender.commit(true).unwrap(), Commit::default());
    for _ in 0..3 {
        clock.advance(Duration::from_mins(61));
        db.maintain().unwrap();
    }
    assert_eq!(
        std::fs::read_dir(folder.path().join("narthex/wal"))
            .unwrap()
            .count(),
        1
    );
    drop(db);
    let (db, _) = open(9);
    assert_eq!(traces(&db), ["d", "f", "g"]);

    // A snapshot has them too, and goes on by itself.
    let snapshot = db.snapshot(false).unwrap();
    let copy = DbOptions {
        exemplars_max: 9,
        ..options(&folder.path().join("snapshots").join(snapshot), &clock)
    };
    let (snapshot, _) = Db::open(&copy).unwrap();
    let mut appender = snapshot.appender();
    appender.exemplar(&labels, exemplar("h", 7));
    assert_eq!(appender.commit(true).unwrap(), Commit::default());
    drop(snapshot);
    for _ in 0..2 {
        let (snapshot, _) = Db::open(&copy).unwrap();
        assert_eq!(traces(&snapshot), ["d", "f", "g", "h"]);
    }

    db.set_exemplars_max(1);
    assert_eq!(traces(&db), ["g"]);
    row(&db, 5_000_002, &[exemplar("h", 7)]);
    drop(db);
    let path = folder.path().join("narthex/exemplars");
    let mut file = std::fs::read(&path).unwrap();
    let middle = file.len() / 2;
    file[middle] ^= 1;
    std::fs::write(&path, file).unwrap();
    let (db, report) = open(9);
    assert_eq!(report.wal_damage.len(), 1, "{report:?}");
    assert_eq!(report.wal_damage[0].at.file, path);
    assert!(traces(&db).contains(&"h".to_owned()), "the log goes on");
    drop(db);
    let (db, _) = open(0);
    assert_eq!(row(&db, 5_000_003, &[exemplar("i", 8)]), 0);
    assert_eq!(traces(&db), Vec::<String>::new());
}

/// A listed series counts for 128 bytes, wherever it is.
#[test]
fn a_list_of_series_that_would_not_fit_is_not_begun() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::default());
    let db = Db::open(&options(folder.path(), &clock)).unwrap().0;
    for name in ["a", "b", "c"] {
        push(&db, name, 1_000, 1.0);
    }
    let list = |bytes, limit| {
        let budget = Budget::new(bytes);
        let querier = db.querier(TimeRange::ALL).unwrap();
        let select = Select {
            matchers: &[],
            range: TimeRange::ALL,
            limit,
            wants: Wants::Labels,
        };
        let selection = querier.select(&select, &budget);
        let listed = selection.map(|selection| selection.series().len()).ok();
        // It is not held against what is read then.
        budget.charge(bytes).unwrap();
        listed
    };
    // New ones, then those of a block.
    for _ in 0..2 {
        assert_eq!(list(3 * 128, None), Some(3));
        assert_eq!(list(3 * 128 - 1, None), None);
        assert_eq!(list(2 * 128, Some(2)), Some(2));
        db.snapshot(false).unwrap();
    }
}
