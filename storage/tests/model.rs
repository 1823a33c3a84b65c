//! The store against a map, over any sequence of appends, maintenance, reopening and clock jumps.
#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use narthex_storage::{
    Appendable, Budget, Clock, Column, Db, DbOptions, Labels, Matcher, Querier, Queryable, RealFs,
    Refusal, RowBuilder, STALE_MARKER_BITS, Sample, Select, Shape, TargetAppender, TargetKey,
    TimeRange, Timestamp, Wants,
};
use proptest::prelude::*;

/// Series to time to bits.
type Content = BTreeMap<String, BTreeMap<Timestamp, u64>>;

#[derive(Debug, Default)]
struct SetClock(Mutex<Duration>);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        0
    }
    fn monotonic(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

fn open(path: &Path, clock: &Arc<SetClock>) -> Db {
    let clock: Arc<dyn Clock> = Arc::<SetClock>::clone(clock);
    let (db, report) = Db::open(&DbOptions::new(path, Arc::new(RealFs), clock)).unwrap();
    assert_eq!(report.wal_damage, []);
    assert_eq!(report.block_damage, []);
    db
}

fn labels(series: u8) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("series", &series.to_string())])
}

/// Everything that a querier sees in a range.
fn read(querier: &dyn Querier, range: TimeRange) -> Content {
    let budget = Budget::unlimited();
    let select = Select {
        matchers: &[Matcher::equal("__name__", "m")],
        range,
        limit: None,
        wants: Wants::Samples,
    };
    let selection = querier.select(&select, &budget).unwrap();
    let mut scan = selection.scan(range, &budget);
    let mut content = Content::new();
    for (index, series) in selection.series().iter().enumerate() {
        let shape = scan.seek(index).unwrap();
        let mut samples = Vec::new();
        while let Some(run) = scan.next_run().unwrap() {
            let mut times = vec![0; run.len()];
            let mut values = vec![0.0; run.len()];
            run.times(&mut times).unwrap();
            run.values(&mut values).unwrap();
            samples.extend(times.into_iter().zip(values.iter().map(|v| v.to_bits())));
        }
        assert!(samples.is_sorted_by(|a, b| a.0 < b.0), "{samples:?}");
        assert!(samples.iter().all(|(time, _)| range.contains(*time)));
        if let Shape::Aligned { axis, first, len } = shape {
            let axis = &scan.axis(axis).unwrap()[first as usize..(first + len) as usize];
            assert!(axis.iter().eq(samples.iter().map(|(time, _)| time)));
        }
        if !samples.is_empty() {
            content.insert(series.labels.to_string(), samples.into_iter().collect());
        }
    }
    content
}

#[derive(Debug, Clone)]
enum Step {
    /// Target, step in time, series with values, series with the value they had.
    Row(usize, i64, BTreeMap<u8, u8>, Vec<u8>),
    /// All or nothing; series, step in time, value.
    Push(bool, Vec<(u8, i64, u8)>),
    Renew(usize),
    Maintain,
    Reopen,
    Snapshot,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let by = prop_oneof![8 => 1..600_000i64, 1 => -5_000..1i64];
    let set = prop::collection::btree_map(0..6u8, 0..4u8, 0..5);
    let row = (0..2usize, by, set, prop::collection::vec(0..6u8, 0..4));
    let sample = (0..8u8, -3_000..20_000i64, 0..4u8);
    let push = (any::<bool>(), prop::collection::vec(sample, 0..5));
    let step = prop_oneof![
        20 => row.prop_map(|(target, by, set, same)| Step::Row(target, by, set, same)),
        6 => push.prop_map(|(all, samples)| Step::Push(all, samples)),
        1 => (0..2usize).prop_map(Step::Renew),
        3 => Just(Step::Maintain),
        1 => Just(Step::Reopen),
        2 => Just(Step::Snapshot),
    ];
    prop::collection::vec(step, 1..250)
}

fn value(choice: u8) -> f64 {
    [1.0, 2.0, -0.0, 0.1][choice as usize]
}

/// Puts a sample where Prometheus would, or refuses it as Prometheus does.
fn put(content: &mut Content, series: u8, time: Timestamp, bits: u64) -> Result<(), Refusal> {
    let samples = content.entry(labels(series).to_string()).or_default();
    match samples.last_key_value().map(|(last, old)| (*last, *old)) {
        Some((last, _)) if last > time => Err(Refusal::OutOfOrder),
        Some((last, old)) if last == time && old != bits => Err(Refusal::Duplicate),
        _ => {
            samples.insert(time, bits);
            Ok(())
        }
    }
}

fn run(steps: Vec<Step>) {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::default());
    let mut db = open(folder.path(), &clock);
    let mut content = Content::new();
    // What each target's previous row had.
    let mut tracked: [BTreeMap<u8, u64>; 2] = Default::default();
    let mut last_row = [Timestamp::MIN; 2];
    let mut appenders: [Option<Box<dyn TargetAppender>>; 2] = [None, None];
    let mut snapshots: Vec<(Box<dyn Querier>, Content)> = Vec::new();
    let mut now = 1_000_000;
    let mut builder = RowBuilder::default();
    for step in steps {
        match step {
            Step::Row(target, by, set, same) => {
                let appender = appenders[target].get_or_insert_with(|| {
                    db.target(&TargetKey(format!("target {target}"))).unwrap()
                });
                let time = now + by;
                now = now.max(time);
                builder.begin(time);
                let mut row: Vec<(u8, u64)> = Vec::new();
                for (series, choice) in &set {
                    let column = appender.column(&labels(*series)).unwrap();
                    builder.set(column, value(*choice));
                    row.push((*series, value(*choice).to_bits()));
                }
                for series in same {
                    let Some(bits) = tracked[target].get(&series) else {
                        continue;
                    };
                    if row.iter().all(|(other, _)| *other != series) {
                        let column = appender.column(&labels(series)).unwrap();
                        builder.same(column..Column(column.0 + 1));
                        row.push((series, *bits));
                    }
                }
                let newer = time > last_row[target];
                let before = content.clone();
                let mut refused = Vec::new();
                for (index, (series, bits)) in row.iter().enumerate() {
                    if let Err(refusal) = put(&mut content, *series, time, *bits) {
                        refused.push((index as u32, refusal));
                    }
                }
                let row: BTreeMap<u8, u64> = row.into_iter().collect();
                if newer {
                    for series in tracked[target].keys().filter(|s| !row.contains_key(s)) {
                        // A refused marker is nobody's concern.
                        put(&mut content, *series, time, STALE_MARKER_BITS).ok();
                    }
                    tracked[target] = row;
                } else {
                    tracked[target].extend(row);
                }
                let mut commit = appender.commit(&mut builder).unwrap();
                commit.refused.sort_by_key(|(index, _)| *index);
                assert_eq!(commit.refused, refused);
                if newer && content != before {
                    last_row[target] = time;
                }
            }
            Step::Push(all_or_nothing, samples) => {
                let mut appender = db.appender();
                let mut after = content.clone();
                let mut refused = Vec::new();
                for (index, (series, by, choice)) in samples.into_iter().enumerate() {
                    let (time, value) = (now + by, value(choice));
                    let reference = appender.series(&labels(series)).unwrap();
                    appender.samples(reference, &[Sample { time, value }]);
                    if let Err(refusal) = put(&mut after, series, time, value.to_bits()) {
                        refused.push((index as u32, refusal));
                    }
                }
                let commit = appender.commit(all_or_nothing).unwrap();
                assert_eq!(commit.refused, refused);
                if refused.is_empty() || !all_or_nothing {
                    content = after;
                }
                let newest = content.values().filter_map(BTreeMap::last_key_value);
                now = newest.map(|(time, _)| *time).fold(now, Timestamp::max);
            }
            Step::Renew(target) => {
                appenders[target] = None;
                tracked[target].clear();
            }
            Step::Maintain => {
                *clock.0.lock().unwrap() += Duration::from_secs(400);
                db.maintain().unwrap();
            }
            Step::Reopen => {
                snapshots.clear();
                appenders = [None, None];
                tracked = Default::default();
                drop(db);
                db = open(folder.path(), &clock);
            }
            Step::Snapshot => {
                snapshots.push((db.querier(TimeRange::ALL).unwrap(), content.clone()));
                if snapshots.len() > 3 {
                    snapshots.remove(0);
                }
            }
        }
        content.retain(|_, samples| !samples.is_empty());
        let querier = db.querier(TimeRange::ALL).unwrap();
        assert_eq!(
            missing_and_surplus(&read(&*querier, TimeRange::ALL), &content),
            []
        );
        let range = TimeRange::new(now - 2_000_000, now - 1_000);
        let mut part = content.clone();
        for samples in part.values_mut() {
            samples.retain(|time, _| range.contains(*time));
        }
        part.retain(|_, samples| !samples.is_empty());
        assert_eq!(read(&*querier, range), part);
    }
    for (querier, content) in &snapshots {
        assert_eq!(&read(&**querier, TimeRange::ALL), content, "a snapshot");
    }
}

/// Samples that only one of the two has.
fn missing_and_surplus(found: &Content, expected: &Content) -> Vec<(String, Timestamp, u64)> {
    let flat = |content: &Content| {
        let samples = content.iter().flat_map(|(series, samples)| {
            samples
                .iter()
                .map(move |(time, bits)| (series.clone(), *time, *bits))
        });
        samples.collect::<std::collections::BTreeSet<_>>()
    };
    flat(found)
        .symmetric_difference(&flat(expected))
        .cloned()
        .collect()
}

fn cases() -> u32 {
    let cases = std::env::var("NARTHEX_PROPTEST_CASES").ok();
    cases.and_then(|cases| cases.parse().ok()).unwrap_or(16)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]
    #[test]
    fn the_store_is_a_map(steps in steps()) {
        run(steps);
    }
}
