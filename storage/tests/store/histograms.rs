//! Native histograms beside numbers: the store against a map of both, over any sequence of appends, seals,
//! merges, deletions and reopening; what a crash, a damaged log and a damaged block leave.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use narthex_storage::{
    Appendable, Budget, Commit, Db, DbOptions, Fs, Histogram, Labels, Matcher, Queryable,
    ReadError, Refusal, RowBuilder, STALE_MARKER_BITS, Sample, Select, TargetAppender, TargetKey,
    TimeRange, Timestamp, WalFsync, Wants, stale_marker,
};
use proptest::prelude::*;

use crate::support::{
    Content, Crash, FaultyFs, SetClock, content, fingerprint, histogram, labels, options, read,
    setting,
};

#[derive(Debug, Clone, Copy)]
enum Value {
    Float(u8),
    Histogram(u8),
    /// A staleness marker that is to become a histogram.
    Marker,
}

/// In the place of a marker.
const MARKER: u8 = 3;

impl Value {
    fn float(choice: u8) -> f64 {
        [1.0, -0.0, 0.1, stale_marker()][choice as usize]
    }

    fn bits(self, time: Timestamp) -> u64 {
        match self {
            Self::Float(choice) => Self::float(choice).to_bits(),
            Self::Histogram(choice) => fingerprint(&histogram(choice, time)),
            Self::Marker => fingerprint(&Histogram::stale()),
        }
    }

    /// What two samples at one time are compared by: hints are left out.
    fn judged(self, time: Timestamp) -> u64 {
        match self {
            Self::Histogram(1) => Self::Histogram(0).bits(time),
            other => other.bits(time),
        }
    }
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        2 => (0..4_u8).prop_map(Value::Float),
        3 => (0..6_u8).prop_map(Value::Histogram),
        // Mostly the same layout.
        4 => Just(Value::Histogram(0)),
    ]
}

#[derive(Debug, Clone)]
enum Step {
    Row(usize, i64, BTreeMap<u8, Value>),
    Push(bool, Vec<(u8, i64, Value)>),
    Renew(usize),
    Maintain,
    Seal,
    Compact,
    Delete(u8, i64, i64),
    Clean,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let row = (
        0..2_usize,
        1..600_000_i64,
        prop::collection::btree_map(0..4_u8, value(), 0..4),
    );
    let sample = (0..6_u8, -3_000..20_000_i64, value());
    let push = (any::<bool>(), prop::collection::vec(sample, 0..6));
    let step = prop_oneof![
        16 => row.prop_map(|(target, by, row)| Step::Row(target, by, row)),
        10 => push.prop_map(|(all, samples)| Step::Push(all, samples)),
        1 => (0..2_usize).prop_map(Step::Renew),
        2 => Just(Step::Maintain),
        2 => Just(Step::Seal),
        2 => Just(Step::Compact),
        1 => (0..6_u8, 0..4_000_000_i64, 0..2_000_000_i64)
            .prop_map(|(series, back, len)| Step::Delete(series, back, len)),
        1 => Just(Step::Clean),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..120)
}

/// The map, and what the next sample of each series is judged by.
#[derive(Debug, Clone, Default)]
struct Model {
    content: Content,
    last: BTreeMap<u8, (Timestamp, u64)>,
    /// Whether that is a histogram, as far as the store must know.
    ends_in_histogram: BTreeMap<u8, bool>,
    has_window: bool,
}

impl Model {
    fn put(&mut self, series: u8, time: Timestamp, value: Value) -> Result<(), Refusal> {
        let judged = value.judged(time);
        match self.last.get(&series) {
            Some((last, _)) if *last > time && !self.has_window => return Err(Refusal::OutOfOrder),
            Some((last, old)) if *last == time => {
                return if *old == judged {
                    Ok(())
                } else {
                    Err(Refusal::Duplicate)
                };
            }
            Some((last, _)) if *last > time => {}
            _ => {
                self.last.insert(series, (time, judged));
                let is_histogram = !matches!(value, Value::Float(_));
                self.ends_in_histogram.insert(series, is_histogram);
            }
        }
        // Of two at one time the older commit's stays.
        let key = (series.to_string(), time);
        self.content.entry(key).or_insert_with(|| value.bits(time));
        Ok(())
    }

    /// What a pushed marker becomes; `None`: its series may be forgotten by now.
    fn marker(&self, series: u8, time: Timestamp) -> Option<Value> {
        let Some((last, _)) = self.last.get(&series) else {
            return Some(Value::Float(MARKER));
        };
        let is_histogram = *self.ends_in_histogram.get(&series)?;
        // Series are forgotten an hour later.
        (time - last < 3_000_000).then_some(if is_histogram {
            Value::Marker
        } else {
            Value::Float(MARKER)
        })
    }

    fn put_bits(&mut self, series: u8, time: Timestamp, bits: u64) {
        self.ends_in_histogram
            .insert(series, bits != STALE_MARKER_BITS);
        self.last.insert(series, (time, bits));
        self.content.insert((series.to_string(), time), bits);
    }
}

fn name(series: u8) -> Labels {
    labels(&series.to_string())
}

struct World {
    fs: FaultyFs,
    clock: Arc<SetClock>,
    has_window: bool,
}

impl World {
    fn new(has_window: bool) -> Self {
        let (fs, clock) = Default::default();
        Self {
            fs,
            clock,
            has_window,
        }
    }

    fn open(&self) -> Db {
        let options = DbOptions {
            out_of_order_window_ms: if self.has_window { 600_000 } else { 0 },
            ..options(&self.fs, &self.clock, WalFsync::Commit)
        };
        let (db, report) = Db::open(&options).unwrap();
        assert_eq!((report.wal_damage, report.block_damage), (vec![], vec![]));
        db
    }
}

fn append(db: &Db, all_or_nothing: bool, samples: &[(u8, Timestamp, Value)]) -> Commit {
    let mut appender = db.appender();
    for (series, time, value) in samples {
        let reference = appender.series(&name(*series)).unwrap();
        match value {
            Value::Float(choice) => {
                let (time, value) = (*time, Value::float(*choice));
                appender.samples(reference, &[Sample { time, value }]);
            }
            Value::Histogram(choice) => {
                appender.histograms(reference, &[(*time, histogram(*choice, *time))]);
            }
            Value::Marker => {
                let (time, value) = (*time, stale_marker());
                appender.samples(reference, &[Sample { time, value }]);
            }
        }
    }
    appender.commit(all_or_nothing).unwrap()
}

fn run(has_window: bool, steps: Vec<Step>) {
    let world = World::new(has_window);
    let mut db = world.open();
    let mut model = Model {
        has_window,
        ..Model::default()
    };
    let mut targets: [Option<Box<dyn TargetAppender>>; 2] = [None, None];
    let mut tracked: [BTreeMap<u8, Value>; 2] = Default::default();
    let mut now = 100_000_000;
    let mut builder = RowBuilder::default();
    for step in steps {
        match step {
            Step::Row(target, by, row) => {
                now += by;
                let appender = targets[target]
                    .get_or_insert_with(|| db.target(&TargetKey(target.to_string())).unwrap());
                builder.begin(now);
                for (series, value) in &row {
                    let column = appender.column(&name(*series)).unwrap();
                    match value {
                        Value::Float(choice) => builder.set(column, Value::float(*choice)),
                        Value::Histogram(choice) => {
                            builder.histogram(column, &histogram(*choice, now));
                        }
                        Value::Marker => unreachable!("rows have numbers and histograms"),
                    }
                    model.put(*series, now, *value).unwrap();
                }
                let commit = appender.commit(&mut builder).unwrap();
                assert_eq!(
                    (commit.accepted, commit.refused),
                    (row.len() as u32, vec![])
                );
                for (series, value) in &tracked[target] {
                    if !row.contains_key(series) {
                        let marker = match value {
                            Value::Float(_) => STALE_MARKER_BITS,
                            _ => fingerprint(&Histogram::stale()),
                        };
                        model.put_bits(*series, now, marker);
                    }
                }
                tracked[target] = row;
            }
            Step::Push(all_or_nothing, samples) => {
                let mut after = model.clone();
                let mut pushed = BTreeMap::new();
                let mut refused = Vec::new();
                let mut timed = Vec::new();
                for (index, (series, by, value)) in samples.into_iter().enumerate() {
                    let value = match (value, pushed.get(&series)) {
                        (Value::Float(MARKER), Some(Value::Float(_))) => value,
                        (Value::Float(MARKER), Some(_)) => Value::Marker,
                        (Value::Float(MARKER), None) => {
                            let marker = model.marker(series, now + by);
                            marker.unwrap_or(Value::Float(0))
                        }
                        _ => value,
                    };
                    pushed.insert(series, value);
                    timed.push((series, now + by, value));
                    if let Err(refusal) = after.put(series, now + by, value) {
                        refused.push((index as u32, refusal));
                    }
                }
                assert_eq!(append(&db, all_or_nothing, &timed).refused, refused);
                if refused.is_empty() || !all_or_nothing {
                    model = after;
                }
                now = model
                    .last
                    .values()
                    .map(|(time, _)| *time)
                    .fold(now, Timestamp::max);
            }
            Step::Renew(target) => {
                targets[target] = None;
                tracked[target].clear();
            }
            Step::Maintain => {
                world.clock.advance(Duration::from_secs(400));
                db.maintain().unwrap();
            }
            Step::Seal => drop(db.snapshot(false).unwrap()),
            Step::Compact => drop(db.compact().unwrap()),
            Step::Delete(series, back, len) => {
                let range = TimeRange::new(now - back, now - back + len);
                let selector = vec![Matcher::equal("series", series.to_string())];
                db.delete_series(&[selector], range).unwrap();
                let name = series.to_string();
                model
                    .content
                    .retain(|(other, time), _| *other != name || !range.contains(*time));
                // What was deleted may be forgotten; nothing is held against it.
                model.ends_in_histogram.remove(&series);
                now += 100_000;
            }
            Step::Clean => db.clean_tombstones().unwrap(),
            Step::Reopen => {
                targets = [None, None];
                tracked = Default::default();
                drop(db);
                db = world.open();
            }
        }
        assert_eq!(content(&db), model.content);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: setting("NARTHEX_PROPTEST_CASES", 24) as u32,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn the_store_is_a_map_of_numbers_and_histograms(has_window in any::<bool>(), steps in steps()) {
        run(has_window, steps);
    }
}

#[test]
fn histograms_that_are_read_count_against_the_budget() {
    let world = World::new(false);
    let db = world.open();
    let start = 100_000_000;
    for time in start..start + 50 {
        append(&db, true, &[(1, time, Value::Histogram(0))]);
    }
    let range = TimeRange::new(start, start + 100);
    let request = Select {
        matchers: &[],
        range,
        limit: None,
        wants: Wants::Samples,
    };
    let querier = db.querier(range).unwrap();
    let selection = querier.select(&request, &Budget::unlimited()).unwrap();
    let seek = |bytes: u64| {
        let budget = Budget::new(bytes);
        let sought = selection.scan(range, &budget).seek(0).map(drop);
        // All of it was given back.
        budget.charge(bytes).unwrap();
        sought
    };
    let limit_bytes = 1_000;
    let refused = seek(limit_bytes);
    assert!(
        matches!(refused, Err(ReadError::Budget { limit_bytes: limit }) if limit == limit_bytes),
        "{refused:?}"
    );
    seek(1 << 20).unwrap();
}

#[test]
fn of_numbers_and_histograms_at_one_time_the_first_is_served() {
    use Value::{Float, Histogram};
    let world = World::new(true);
    let mut db = world.open();
    let t = 100_000_000;
    let mut model = Model {
        has_window: true,
        ..Model::default()
    };
    let commits = [
        (t, Histogram(0)),
        (t + 2, Float(0)),
        (t, Float(2)),
        (t + 1, Histogram(2)),
        (t + 1, Float(1)),
        (t + 2, Histogram(0)),
        (t + 3, Histogram(0)),
        (t - 1, Float(1)),
        (t - 1, Histogram(0)),
    ];
    for (time, value) in commits {
        let accepted = append(&db, true, &[(1, time, value)]).refused.is_empty();
        assert_eq!(model.put(1, time, value).is_ok(), accepted, "{time}");
        assert_eq!(content(&db), model.content, "in memory");
    }
    // What is in memory becomes a block.
    db.delete_series(&[], TimeRange::ALL).unwrap();
    assert_eq!(content(&db), model.content, "in a block");
    drop(db);
    db = world.open();
    assert_eq!(content(&db), model.content, "opened again");
}

/// As Prometheus 3.5.3 answers to remote writes of the same samples.
#[test]
fn histograms_and_numbers_of_a_series_are_judged_together() {
    use Value::{Float, Histogram};
    let world = World::new(false);
    let db = world.open();
    let t = 100_000_000;
    let mut series = 0;
    let mut second = |first: (Timestamp, Value), second: (Timestamp, Value)| {
        series += 1;
        assert_eq!(append(&db, true, &[(series, first.0, first.1)]).refused, []);
        append(&db, true, &[(series, second.0, second.1)]).refused
    };
    assert_eq!(second((t, Histogram(0)), (t, Histogram(0))), []);
    assert_eq!(
        second((t, Histogram(0)), (t, Histogram(1))),
        [],
        "another hint"
    );
    assert_eq!(
        second((t, Histogram(0)), (t, Histogram(2))),
        [(0, Refusal::Duplicate)]
    );
    assert_eq!(
        second((t, Histogram(0)), (t, Histogram(4))),
        [(0, Refusal::Duplicate)]
    );
    assert_eq!(
        second((t, Histogram(0)), (t, Float(0))),
        [(0, Refusal::Duplicate)]
    );
    assert_eq!(
        second((t, Float(0)), (t, Histogram(0))),
        [(0, Refusal::Duplicate)]
    );
    assert_eq!(
        second((t, Float(0)), (t - 1, Histogram(0))),
        [(0, Refusal::OutOfOrder)]
    );
    assert_eq!(
        second((t, Histogram(0)), (t - 1, Float(0))),
        [(0, Refusal::OutOfOrder)]
    );
    assert_eq!(
        second((t, Histogram(0)), (t - 7_200_000, Histogram(0))),
        [(0, Refusal::OutOfBounds)]
    );
    assert_eq!(content(&db).len(), 9);

    // In one commit, in the order in which they come; what is invalid has its own reason.
    let mut broken = histogram(0, t);
    broken.layout.schema = 9;
    let mut appender = db.appender();
    let reference = appender.series(&name(100)).unwrap();
    appender.histograms(reference, &[(t, histogram(0, t)), (t + 1, broken.clone())]);
    appender.samples(
        reference,
        &[
            Sample {
                time: t,
                value: 1.0,
            },
            Sample {
                time: t + 2,
                value: 1.0,
            },
        ],
    );
    appender.histograms(
        reference,
        &[(t + 1, histogram(0, t)), (t + 3, histogram(2, t))],
    );
    let commit = appender.commit(false).unwrap();
    let expected = [
        (1, Refusal::InvalidHistogram),
        (2, Refusal::Duplicate),
        (4, Refusal::OutOfOrder),
    ];
    assert_eq!((commit.accepted, &commit.refused[..]), (3, &expected[..]));

    // A row has one sample a column.
    let mut target = db.target(&TargetKey("t".to_owned())).unwrap();
    let columns = [101, 102, 103].map(|series| target.column(&name(series)).unwrap());
    let mut row = RowBuilder::default();
    row.begin(t);
    row.set(columns[0], 1.0);
    row.at(columns[1], t - 5, 1.0);
    row.histogram(columns[0], &histogram(0, t));
    row.histogram(columns[1], &histogram(0, t));
    row.histogram(columns[1], &histogram(2, t));
    row.histogram(columns[2], &broken);
    let commit = target.commit(&mut row).unwrap();
    let expected = [
        (2, Refusal::Duplicate),
        (4, Refusal::Duplicate),
        (5, Refusal::InvalidHistogram),
    ];
    assert_eq!((commit.accepted, &commit.refused[..]), (3, &expected[..]));
    let stats = db.stats();
    assert_eq!(
        (stats.refused_invalid_histogram, stats.refused_duplicate),
        (2, 7)
    );
    // In pairs 2 and 7 (two were there), in the commit of both 1 and 2, in the row 2 and 1.
    assert_eq!((stats.samples_appended, stats.histograms_appended), (5, 10));
}

const MINUTE: i64 = 60_000;

/// The contents that the store was to have, and how many of them were acknowledged.
type History = Arc<Mutex<(Vec<Content>, usize)>>;

/// Rows and pushes of both kinds, seals and merges.
fn workload(db: &Db, clock: &SetClock, history: &History) {
    let mut target = db.target(&TargetKey("t".to_owned())).unwrap();
    let columns = ["a", "b"].map(|series| target.column(&labels(series)).unwrap());
    let mut row = RowBuilder::default();
    for step in 0..18_i64 {
        let time = step * 10 * MINUTE;
        let mut next = history.lock().unwrap().0.last().unwrap().clone();
        let mut put = |name: &str, bits: u64| next.insert((name.to_owned(), time), bits);
        let (first, second) = (histogram(0, time), histogram((step % 5) as u8, time));
        let is_push = step % 3 == 2;
        if is_push {
            put("a", fingerprint(&first));
            put("pushed", fingerprint(&second));
            put("float", 0.5_f64.to_bits());
        } else {
            put("a", (step as f64).to_bits());
            put("b", fingerprint(&second));
        }
        history.lock().unwrap().0.push(next);
        if is_push {
            let mut appender = db.appender();
            for (series, histogram) in [("a", first), ("pushed", second)] {
                let series = appender.series(&labels(series)).unwrap();
                appender.histograms(series, &[(time, histogram)]);
            }
            let series = appender.series(&labels("float")).unwrap();
            appender.samples(series, &[Sample { time, value: 0.5 }]);
            assert_eq!(appender.commit(true).unwrap().refused, []);
        } else {
            row.begin(time);
            row.set(columns[0], step as f64);
            row.histogram(columns[1], &second);
            assert_eq!(target.commit(&mut row).unwrap().refused, []);
        }
        {
            let (states, acknowledged) = &mut *history.lock().unwrap();
            *acknowledged = states.len() - 1;
        }
        clock.advance(Duration::from_mins(10));
        db.maintain().unwrap();
        while step % 6 == 5 && db.compact().unwrap() {}
    }
}

#[test]
fn a_crash_at_any_operation_loses_no_histogram_that_was_acknowledged() {
    let fs = FaultyFs::default();
    let clock = Arc::new(SetClock::default());
    let history: History = Arc::new(Mutex::new((vec![Content::new()], 0)));
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
            let clock = Arc::new(SetClock::default());
            let (db, _) = Db::open(&options(&left, &clock, WalFsync::Commit)).unwrap();
            let found = content(&db);
            assert!(
                states[acknowledged..].contains(&found),
                "operation {operation}, {crash:?}: found {found:?}\nacknowledged {:?}",
                states[acknowledged]
            );
        }
    });
    let (db, _) = Db::open(&options(&fs, &clock, WalFsync::Commit)).unwrap();
    workload(&db, &clock, &history);
    let blocks = fs.list(Path::new("/data/narthex/blocks")).unwrap();
    let merged = blocks.iter().any(|block| !block.name.ends_with("-0.nx"));
    assert!(db.stats().compactions > 0 || merged, "{blocks:?}");
    assert!(*operations.lock().unwrap() > 100);
}

fn read_all(db: &Db) -> Result<Content, narthex_storage::ReadError> {
    read(&*db.querier(TimeRange::ALL)?, &[], TimeRange::ALL)
}

#[test]
fn damage_never_becomes_a_histogram() {
    let fs = FaultyFs::default();
    let clock = Arc::new(SetClock::default());
    let open = |fs: &FaultyFs| Db::open(&options(fs, &clock, WalFsync::Segment)).unwrap();
    let (db, _) = open(&fs);
    let mut states = vec![Content::new()];
    let mut target = db.target(&TargetKey("t".to_owned())).unwrap();
    let column = target.column(&labels("a")).unwrap();
    let mut row = RowBuilder::default();
    for step in 0..3 {
        let time = step * 1_000;
        row.begin(time);
        row.histogram(column, &histogram(4 * (step as u8 % 2), time));
        target.commit(&mut row).unwrap();
        states.push(content(&db));
        let mut appender = db.appender();
        let series = appender.series(&labels("b")).unwrap();
        appender.histograms(series, &[(time, histogram(3, time))]);
        appender.commit(true).unwrap();
        states.push(content(&db));
    }
    let every_damage = |whole: &[u8], check: &dyn Fn(Vec<u8>, String)| {
        for at in 0..whole.len() {
            check(whole[..at].to_vec(), format!("cut at {at}"));
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = whole.to_vec();
                damaged[at] ^= flip;
                check(damaged, format!("byte {at} ^ {flip:#x}"));
            }
        }
    };
    let log = PathBuf::from("/data/narthex/wal/00000001");
    every_damage(&fs.read(&log).unwrap(), &|damaged, what| {
        let left = fs.after(Crash::Kill);
        left.put(&log, damaged);
        let (db, _) = open(&left);
        let found = content(&db);
        let whole = states.last().unwrap();
        assert!(
            found.iter().all(|(key, bits)| whole.get(key) == Some(bits)),
            "{what}"
        );
    });
    db.snapshot(false).unwrap();
    drop(target);
    drop(db);
    let mut blocks = fs.paths();
    blocks.retain(|path| path.starts_with("/data/narthex/blocks"));
    let [block] = &blocks[..] else {
        panic!("{blocks:?}")
    };
    every_damage(&fs.read(block).unwrap(), &|damaged, what| {
        // Without the log, which has everything too.
        let left = fs.after(Crash::Kill);
        for path in left.paths() {
            if path.starts_with("/data/narthex/wal") {
                left.remove_file(&path).unwrap();
            }
        }
        left.put(block, damaged);
        let (db, report) = open(&left);
        match read_all(&db) {
            Ok(found) => assert!(
                found == states[6] || (!report.block_damage.is_empty() && found.is_empty()),
                "{what}"
            ),
            Err(error) => assert!(error.to_string().contains("damaged"), "{what}: {error}"),
        }
    });
}

/// The answers are those of Prometheus 3.5.3, by remote write and remote read.
#[test]
fn a_marker_behind_a_histogram_is_a_histogram() {
    let world = World::new(false);
    let db = world.open();
    let push = |db: &Db, samples: &[(u8, Timestamp, Value)]| append(db, false, samples).refused;
    let (one, marker) = (Value::Float(0), Value::Float(MARKER));
    // In a commit of its own, once more, and behind a number; the histogram with integers, or with floats.
    for (series, choice) in [(0, 0), (1, 4)] {
        for (time, value) in [
            (100_000, Value::Histogram(choice)),
            (101_000, marker),
            (102_000, marker),
            (103_000, one),
            (104_000, marker),
        ] {
            assert_eq!(push(&db, &[(series, time, value)]), []);
        }
    }
    // In the commit of the histogram.
    let together = [
        (2, 100_000, Value::Histogram(0)),
        (2, 101_000, marker),
        (3, 100_000, Value::Histogram(0)),
        (3, 101_000, one),
        (3, 102_000, marker),
    ];
    assert_eq!(push(&db, &together), []);
    // From the log, and from a block.
    assert_eq!(push(&db, &[(4, 100_000, Value::Histogram(0))]), []);
    drop(db);
    let db = world.open();
    assert_eq!(push(&db, &[(4, 101_000, marker)]), []);
    assert_eq!(push(&db, &[(5, 100_000, Value::Histogram(0))]), []);
    db.snapshot(false).unwrap();
    drop(db);
    let db = world.open();
    assert_eq!(push(&db, &[(5, 101_000, marker)]), []);
    // Refused as a histogram would be.
    assert_eq!(push(&db, &[(6, 105_000, Value::Histogram(0))]), []);
    let late = [(6, 101_000, marker), (6, 105_000, marker)];
    assert_eq!(
        push(&db, &late),
        [(0, Refusal::OutOfOrder), (1, Refusal::Duplicate)]
    );
    let mut expected = Content::new();
    let mut expect = |series: u8, time: Timestamp, value: Value| {
        expected.insert((series.to_string(), time), value.bits(time));
    };
    for (series, choice) in [(0, 0), (1, 4)] {
        expect(series, 100_000, Value::Histogram(choice));
        expect(series, 101_000, Value::Marker);
        expect(series, 102_000, Value::Marker);
        expect(series, 103_000, one);
        expect(series, 104_000, marker);
    }
    expect(3, 101_000, one);
    expect(3, 102_000, marker);
    for series in [2, 3, 4, 5] {
        expect(series, 100_000, Value::Histogram(0));
    }
    for series in [2, 4, 5] {
        expect(series, 101_000, Value::Marker);
    }
    expect(6, 105_000, Value::Histogram(0));
    assert_eq!(content(&db), expected);
    drop(db);
    assert_eq!(content(&world.open()), expected);
}
