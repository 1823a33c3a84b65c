//! Appending while the store seals, forgets and is read, and what does not depend on how samples come.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use narthex_storage::{
    Appendable, Column, Db, Labels, Refusal, RowBuilder, Sample, TargetKey, Timestamp, WalFsync,
};
use proptest::prelude::*;

use crate::support::{self, FaultyFs, SetClock, labels, options, setting};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

fn open(fs: &FaultyFs, clock: &Arc<SetClock>) -> Db {
    Db::open(&options(fs, clock, WalFsync::Segment)).unwrap().0
}

type Samples = Vec<(Timestamp, f64)>;

/// Everything there is, by series.
fn content(db: &Db) -> BTreeMap<String, Samples> {
    let mut content: BTreeMap<String, Samples> = BTreeMap::new();
    for ((series, time), bits) in support::content(db) {
        content
            .entry(series)
            .or_default()
            .push((time, f64::from_bits(bits)));
    }
    content
}

fn push(db: &Db, name: &str, time: Timestamp, value: f64) {
    let mut appender = db.appender();
    let series = appender.series(&labels(name)).unwrap();
    appender.samples(series, &[Sample { time, value }]);
    assert_eq!(appender.commit(true).unwrap().refused, []);
}

#[test]
fn an_appender_outlives_the_seals_that_forget_its_series() {
    let (fs, clock) = (FaultyFs::default(), Arc::new(SetClock::default()));
    let db = open(&fs, &clock);
    let names = ["again", "before", "nobody"];
    for name in names {
        push(&db, name, 0, 1.0);
    }
    let mut early = db.appender();
    let early_again = early.series(&labels("again")).unwrap();
    let mut late = db.appender();
    let late_before = late.series(&labels("before")).unwrap();
    for minute in 1..=240 {
        push(&db, "other", minute * MINUTE, 0.0);
        clock.advance(Duration::from_mins(1));
        db.maintain().unwrap();
    }
    assert_eq!(db.stats().series_removed, 3);
    // One series has a new number by now, the other gets one with a third that is new.
    push(&db, "again", 4 * HOUR, 2.0);
    let sample = |value| Sample {
        time: 4 * HOUR + 1,
        value,
    };
    early.samples(early_again, &[sample(3.0)]);
    assert_eq!(early.commit(true).unwrap().refused, []);
    late.samples(late_before, &[sample(4.0)]);
    let late_new = late.series(&labels("new")).unwrap();
    // Whatever its number is, a series keeps its reference.
    assert_eq!(late.series(&labels("before")).unwrap(), late_before);
    assert_eq!(late.series(&labels("new")).unwrap(), late_new);
    late.samples(late_new, &[sample(5.0)]);
    let (time, value) = (4 * HOUR + 2, 6.0);
    late.samples(late_before, &[Sample { time, value }]);
    assert_eq!(late.commit(true).unwrap().refused, []);
    let is_right = |db: &Db| {
        let mut content = content(db);
        assert_eq!(content.remove("other").unwrap().len(), 240);
        let expected = [
            (
                "again",
                vec![(0, 1.0), (4 * HOUR, 2.0), (4 * HOUR + 1, 3.0)],
            ),
            (
                "before",
                vec![(0, 1.0), (4 * HOUR + 1, 4.0), (4 * HOUR + 2, 6.0)],
            ),
            ("new", vec![(4 * HOUR + 1, 5.0)]),
            ("nobody", vec![(0, 1.0)]),
        ];
        let expected = expected.map(|(name, samples)| (name.to_owned(), samples));
        assert_eq!(content, BTreeMap::from(expected));
    };
    is_right(&db);
    drop(db);
    is_right(&open(&fs, &clock));
}

/// Appenders of the test below; the last of them push, the others append rows.
const APPENDERS: i64 = 4;
const PUSHERS: i64 = 2;
const COMMITS: i64 = 300;
/// All within the hour in which a sample may be older than the newest.
const STEP: i64 = 10_000;
const SERIES: i64 = 8;

/// What came before is accepted and not counted as appended; of a commit that is refused whole the first refused
/// sample counts, and nothing else. So are the counters of Prometheus 3.5.3.
#[test]
fn counters_tell_what_was_appended_and_why_a_commit_was_refused() {
    let (fs, clock) = (FaultyFs::default(), Arc::new(SetClock::default()));
    let mut options = options(&fs, &clock, WalFsync::Segment);
    options.out_of_order_window_ms = HOUR;
    let (db, _) = Db::open(&options).unwrap();
    let push = |all_or_nothing: bool, samples: &[(&str, Timestamp, f64)]| {
        let mut appender = db.appender();
        for (name, time, value) in samples {
            let series = appender.series(&labels(name)).unwrap();
            let (time, value) = (*time, *value);
            appender.samples(series, &[Sample { time, value }]);
        }
        let commit = appender.commit(all_or_nothing).unwrap();
        (commit.accepted, commit.refused.len())
    };
    assert_eq!(
        push(true, &[("a", 2 * HOUR, 1.0), ("b", 2 * HOUR, 1.0)]),
        (2, 0)
    );
    // One that is there, one that is late, one that is new.
    let some = [
        ("a", 2 * HOUR, 1.0),
        ("a", HOUR + 1, 5.0),
        ("b", 2 * HOUR + 1, 1.0),
    ];
    assert_eq!(push(true, &some), (3, 0));
    // A late one, and two that are refused for two reasons.
    let refused = [("b", HOUR + 1, 5.0), ("a", 2 * HOUR, 7.0), ("a", 0, 7.0)];
    assert_eq!(push(true, &refused), (0, 2));
    let counters = || {
        let stats = db.stats();
        (
            stats.samples_appended,
            stats.samples_appended_late,
            stats.refused_duplicate,
            stats.refused_too_old,
        )
    };
    assert_eq!(counters(), (4, 1, 1, 0));
    assert_eq!(push(false, &refused), (1, 2));
    assert_eq!(counters(), (5, 2, 2, 1));
}

fn member(appender: i64, series: i64) -> String {
    format!("a{appender}_{series}")
}

fn append_all(db: &Db, appender: i64, clock: &SetClock) {
    let names: Vec<Labels> = (0..SERIES)
        .map(|series| labels(&member(appender, series)))
        .collect();
    let is_pusher = appender >= APPENDERS - PUSHERS;
    let mut target = (!is_pusher).then(|| {
        let mut target = db.target(&TargetKey(appender.to_string())).unwrap();
        let columns = names.iter().map(|name| target.column(name).unwrap());
        let columns: Vec<Column> = columns.collect();
        (target, columns)
    });
    let mut row = RowBuilder::default();
    for number in 0..COMMITS {
        let (time, value) = (number * STEP, number as f64);
        if let Some((target, columns)) = &mut target {
            row.begin(time);
            for column in columns.iter() {
                row.set(*column, value);
            }
            assert_eq!(target.commit(&mut row).unwrap().accepted, SERIES as u32);
        } else {
            let mut push = db.appender();
            for name in &names {
                let series = push.series(name).unwrap();
                push.samples(series, &[Sample { time, value }]);
            }
            assert_eq!(push.commit(true).unwrap().accepted, SERIES as u32);
        }
        if number % 100 == 99 {
            // However slow the one who seals is, there are some.
            clock.advance(Duration::from_mins(1));
            db.maintain().unwrap();
        }
    }
}

/// How many commits of each appender are there; each must be there whole.
fn commits(content: &BTreeMap<String, Samples>) -> Vec<usize> {
    let commits = |appender| {
        let first = content
            .get(&member(appender, 0))
            .map_or(&[][..], Vec::as_slice);
        let expected: Samples = (0..first.len() as i64)
            .map(|number| (number * STEP, number as f64))
            .collect();
        for series in 0..SERIES {
            let found = content.get(&member(appender, series));
            assert_eq!(found.map_or(&[][..], Vec::as_slice), expected);
        }
        first.len()
    };
    (0..APPENDERS).map(commits).collect()
}

#[test]
fn a_reader_sees_whole_commits_while_others_append_and_seal() {
    let (fs, clock) = (FaultyFs::default(), Arc::new(SetClock::default()));
    let db = open(&fs, &clock);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (db, done, clock) = (&db, &done, &clock);
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(move || {
                    let mut before = vec![0; APPENDERS as usize];
                    let mut looks = 0;
                    loop {
                        let was_done = done.load(Ordering::Acquire);
                        let found = commits(&content(db));
                        assert!(before.iter().zip(&found).all(|(a, b)| a <= b));
                        before = found;
                        looks += 1;
                        if was_done {
                            assert_eq!(before, [COMMITS as usize; APPENDERS as usize]);
                            return looks;
                        }
                    }
                })
            })
            .collect();
        let sealer = scope.spawn(move || {
            loop {
                let was_done = done.load(Ordering::Acquire);
                clock.advance(Duration::from_mins(1));
                db.maintain().unwrap();
                if was_done {
                    return;
                }
            }
        });
        let appenders: Vec<_> = (0..APPENDERS)
            .map(|appender| scope.spawn(move || append_all(db, appender, clock)))
            .collect();
        let ended: Vec<bool> = appenders
            .into_iter()
            .map(|one| one.join().is_ok())
            .collect();
        done.store(true, Ordering::Release);
        assert_eq!(ended, [true; APPENDERS as usize]);
        sealer.join().unwrap();
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
    assert!(db.stats().blocks > 1);
}

/// What an agent sends at once, or what else happens.
#[derive(Debug, Clone)]
enum Step {
    Batch {
        /// Seconds since the batch before; late ones come too.
        after: i64,
        /// A bit for each series that is in it.
        members: u16,
        /// Seconds that the clocks of some series are off.
        drift: i64,
        /// A bit for each of them.
        drifting: u16,
        /// Series with this remainder of three repeat what was sent last.
        again: Option<i64>,
    },
    Maintain,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let batch = (
        prop_oneof![8 => Just(15_i64), 1 => Just(0), 1 => -40..4_000_i64],
        prop_oneof![
            6 => Just(u16::MAX),
            1 => Just(0x0fff),
            1 => Just(0xff00),
            1 => any::<u16>(),
        ],
        prop_oneof![6 => Just(0_i64), 1 => -5..5_i64],
        prop_oneof![Just(0x00ff), Just(1), any::<u16>()],
        prop_oneof![6 => Just(None), 1 => (0..3_i64).prop_map(Some)],
    );
    let batch = batch.prop_map(|(after, members, drift, drifting, again)| Step::Batch {
        after,
        members,
        drift,
        drifting,
        again,
    });
    let step = prop_oneof![20 => batch, 3 => Just(Step::Maintain), 1 => Just(Step::Reopen)];
    prop::collection::vec(step, 1..60)
}

/// A store that gets every batch as one commit, or every sample as one of its own.
struct Fed {
    fs: FaultyFs,
    clock: Arc<SetClock>,
    db: Db,
    is_whole: bool,
}

impl Fed {
    fn new(is_whole: bool) -> Self {
        Self::over(FaultyFs::default(), Arc::new(SetClock::default()), is_whole)
    }

    fn over(fs: FaultyFs, clock: Arc<SetClock>, is_whole: bool) -> Self {
        let db = open(&fs, &clock);
        Self {
            fs,
            clock,
            db,
            is_whole,
        }
    }

    /// How many samples were kept, and the others with their reasons.
    fn batch(&self, samples: &[(u8, Sample)]) -> (u32, Vec<(u32, Refusal)>) {
        let size = if self.is_whole {
            samples.len().max(1)
        } else {
            1
        };
        // All are judged by what the store had before the batch.
        let parts: Vec<_> = samples
            .chunks(size)
            .map(|part| (self.db.appender(), part))
            .collect();
        let (mut accepted, mut refused) = (0, Vec::new());
        for (index, (mut appender, part)) in parts.into_iter().enumerate() {
            for (series, sample) in part {
                let series = appender.series(&labels(&series.to_string())).unwrap();
                appender.samples(series, &[*sample]);
            }
            let commit = appender.commit(false).unwrap();
            accepted += commit.accepted;
            let first = (index * size) as u32;
            refused.extend(
                commit
                    .refused
                    .iter()
                    .map(|(at, refusal)| (first + at, *refusal)),
            );
        }
        (accepted, refused)
    }

    fn counters(&self) -> [u64; 7] {
        let stats = self.db.stats();
        [
            stats.series,
            stats.series_created,
            stats.samples_appended,
            stats.refused_out_of_order,
            stats.refused_out_of_bounds,
            stats.refused_too_old,
            stats.refused_duplicate,
        ]
    }

    fn reopen(self) -> Self {
        drop(self.db);
        Self::over(self.fs, self.clock, self.is_whole)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(setting("NARTHEX_PROPTEST_CASES", 16) as u32))]

    #[test]
    fn what_comes_together_is_kept_as_what_comes_alone(steps in steps()) {
        let (mut whole, mut single) = (Fed::new(true), Fed::new(false));
        let mut now = 10_000;
        let mut sent: BTreeMap<u8, Sample> = BTreeMap::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Batch { after, members, drift, drifting, again } => {
                    now += after;
                    let mut samples = Vec::new();
                    for series in (0..16_u8).filter(|series| members >> series & 1 == 1) {
                        let off = drift * i64::from(drifting >> series & 1);
                        let time = (now + off) * 1_000;
                        let value = (number as u64 * u64::from(series % 4)) as f64;
                        let fresh = Sample { time, value };
                        let repeats = again == Some(i64::from(series) % 3);
                        let known = sent.get(&series).copied();
                        let sample = known.filter(|_| repeats).unwrap_or(fresh);
                        sent.insert(series, sample);
                        samples.push((series, sample));
                    }
                    prop_assert_eq!(whole.batch(&samples), single.batch(&samples));
                }
                Step::Maintain => {
                    for store in [&whole, &single] {
                        store.clock.advance(Duration::from_mins(2));
                        store.db.maintain().unwrap();
                    }
                }
                Step::Reopen => (whole, single) = (whole.reopen(), single.reopen()),
            }
            prop_assert_eq!(whole.counters(), single.counters());
        }
        prop_assert_eq!(content(&whole.db), content(&single.db));
    }
}

/// Bytes of the log that batches of a hundred series take, each sample's value and how late it is by step
/// and series.
fn logged(steps: u64, sample: impl Fn(u64, u64) -> (f64, i64)) -> u64 {
    let (fs, clock) = (FaultyFs::default(), Arc::new(SetClock::default()));
    let db = open(&fs, &clock);
    let names: Vec<Labels> = (0..100)
        .map(|name: u32| labels(&name.to_string()))
        .collect();
    let mut before = 0;
    for step in 0..steps + 3 {
        if step == 3 {
            before = db.stats().wal_bytes;
        }
        let mut push = db.appender();
        for (series, name) in (0..).zip(&names) {
            let (value, late) = sample(step, series);
            let time = step as i64 * 15_000 + late;
            let series = push.series(name).unwrap();
            push.samples(series, &[Sample { time, value }]);
        }
        assert_eq!(push.commit(true).unwrap().accepted, 100);
    }
    db.stats().wal_bytes - before
}

#[test]
fn what_comes_together_takes_what_changed_in_the_log() {
    let value = |series: u64| (series as f64).sqrt();
    // A frame, and what is said of each row.
    assert!(logged(100, |_, series| (value(series), 0)) < 100 * 40);
    // Each tenth changes; a quarter of them has a time of its own, but the same one.
    let changing =
        |step: u64, series: u64| value(series + step * u64::from(series.is_multiple_of(10)));
    let apart = |step, series| (changing(step, series), i64::from(series >= 75) * 500);
    assert!(logged(100, apart) < 100 * (2 * 40 + 10 * 9));
    // Every one has its own.
    let alone = |_, series: u64| (value(series), series as i64);
    assert!(logged(100, alone) > 100 * 100 * 8);
}

/// A commit whose first time is one of a row, and whose second has one of its series alone.
#[test]
fn a_series_that_leaves_its_group_is_in_the_rows_that_it_came_in() {
    let (fs, clock) = (FaultyFs::default(), Arc::new(SetClock::default()));
    let db = open(&fs, &clock);
    let names: Vec<String> = (0..12).map(|number| format!("s{number}")).collect();
    let mut expected: BTreeMap<String, Samples> = BTreeMap::new();
    let mut time = 0;
    for round in 0..130 {
        let mut appender = db.appender();
        for (number, name) in names.iter().enumerate() {
            let series = appender.series(&labels(name)).unwrap();
            let mut samples = vec![Sample {
                time,
                value: f64::from(round),
            }];
            if number == 0 && round % 5 == 4 {
                samples.push(Sample {
                    time: time + 1,
                    value: 0.5,
                });
            }
            appender.samples(series, &samples);
            let samples = samples.iter().map(|sample| (sample.time, sample.value));
            let into = expected.entry(name.clone()).or_default();
            into.extend(samples);
        }
        assert_eq!(appender.commit(true).unwrap().refused, []);
        time += 15;
        assert_eq!(content(&db), expected, "round {round}");
    }
    db.close().unwrap();
    drop(db);
    assert_eq!(content(&open(&fs, &clock)), expected);
}
