//! Memory under churn.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use super::{Known, Replay, row::NO_SERIES};
use crate::{
    Appendable, Budget, Clock, Column, Db, DbOptions, Labels, Matcher, MemoryFs, Queryable,
    Refusal, RowBuilder, Sample, Select, TargetAppender, TargetKey, TimeRange, Timestamp, Wants,
    block::{BlockName, BlockWriter, IndexBuilder, Positions},
};

const MINUTE: i64 = 60_000;

/// Milliseconds.
#[derive(Debug, Default)]
struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        self.0.load(Ordering::Relaxed)
    }
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.now() as u64)
    }
}

/// A target with some series, of which a few give way to new ones at each row.
struct Churning {
    appender: Box<dyn TargetAppender>,
    columns: Vec<(Column, u32)>,
}

const TARGETS: u32 = 100;
const SERIES: u32 = 10;
const NEW_A_ROW: u32 = 2;
const ROWS: i64 = 240;
/// Every so many rows …
const LEAVE_ROWS: i64 = 5;
/// … so many targets give way to others.
const LEAVE: usize = 10;

/// Numbers are given out once: when there are no more, series that are known go on and others are refused.
#[test]
fn a_store_without_a_free_number_takes_no_new_series() {
    let labels = |name: &str| Labels::from_pairs([("__name__", name)]);
    let clock: Arc<dyn Clock> = Arc::new(SetClock::default());
    let fs = MemoryFs::default();
    let options = DbOptions::new("store", Arc::new(fs.clone()), clock);
    Db::open(&options).unwrap().0.close().unwrap();
    let name = BlockName {
        first: 1,
        last: 1,
        generation: 0,
    };
    let folder = Path::new("store/narthex/blocks");
    let mut writer = BlockWriter::create(&fs, folder, name, 0).unwrap();
    let mut index = IndexBuilder::new(true);
    for (id, name) in [(NO_SERIES - 2, "a"), (7, "b")] {
        let times = writer.times(&[1]).unwrap();
        writer.page(id, times, Positions::From(0), &[0.5]).unwrap();
        index.add(id, &labels(name));
    }
    writer.finish(index).unwrap();
    let append = |db: &Db, name: &str, time| {
        let mut appender = db.appender();
        let series = appender.series(&labels(name))?;
        appender.samples(series, &[Sample { time, value: 2.0 }]);
        appender.commit(true).unwrap();
        Ok(())
    };
    let (db, report) = Db::open(&options).unwrap();
    assert_eq!(report.block_damage, []);
    assert_eq!(append(&db, "c", 2), Ok(()), "the last number");
    let full = Err(Refusal::SeriesLimit);
    assert_eq!(append(&db, "d", 2), full);
    // The log, and then another block, says which number was the last.
    drop(db);
    let (db, _) = Db::open(&options).unwrap();
    assert_eq!(append(&db, "d", 2), full);
    // It only seals.
    db.delete_series(&[], TimeRange::ALL).unwrap();
    drop(db);
    let (db, report) = Db::open(&options).unwrap();
    assert_eq!((report.block_damage, report.wal_damage), (vec![], vec![]));
    assert_eq!(append(&db, "d", 2), full);
    assert_eq!(append(&db, "a", 3), Ok(()), "it is known");

    let mut replay = Replay::new(Known::default());
    replay.begin_ids_at(NO_SERIES);
    assert_eq!(replay.define(3, &labels("a")), Ok(()));
    assert_eq!(replay.define(3, &labels("a")), Ok(()));
    let none = Err("a series for which there is a free number");
    assert_eq!(replay.define(3, &labels("b")), none);
    assert_eq!(replay.define(NO_SERIES, &labels("b")), none);
}

#[test]
fn series_and_targets_that_come_and_go_leave_nothing_in_memory() {
    let clock = Arc::new(SetClock::default());
    let dyn_clock: Arc<dyn Clock> = Arc::<SetClock>::clone(&clock);
    let options = DbOptions::new("store", Arc::new(MemoryFs::default()), dyn_clock);
    let (db, _) = Db::open(&options).unwrap();
    let labels =
        |number: u32| Labels::from_pairs([("__name__", "m".to_owned()), ("n", number.to_string())]);
    let (mut next, mut next_target) = (0, 0);
    let mut fresh = |target: &mut Churning| {
        target
            .columns
            .push((target.appender.column(&labels(next)).unwrap(), next));
        next += 1;
    };
    let mut target = |fresh: &mut dyn FnMut(&mut Churning)| {
        let appender = db.target(&TargetKey(next_target.to_string())).unwrap();
        next_target += 1;
        let columns = Vec::new();
        let mut target = Churning { appender, columns };
        (0..SERIES).for_each(|_| fresh(&mut target));
        target
    };
    let mut targets: Vec<Churning> = (0..TARGETS).map(|_| target(&mut fresh)).collect();
    // Samples without markers: series, its times, its value at all of them.
    let mut model: BTreeMap<u32, Vec<Timestamp>> = BTreeMap::new();
    let mut row = RowBuilder::default();
    for step in 0..ROWS {
        if step % LEAVE_ROWS == LEAVE_ROWS - 1 {
            targets.drain(..LEAVE);
            targets.extend((0..LEAVE).map(|_| target(&mut fresh)));
        }
        let time = step * MINUTE;
        clock.0.store(time, Ordering::Relaxed);
        for target in &mut targets {
            for _ in 0..NEW_A_ROW {
                let (column, _) = target.columns.remove(0);
                target.appender.retire(column);
                fresh(target);
            }
            row.begin(time);
            for (column, series) in &target.columns {
                row.set(*column, f64::from(*series));
                model.entry(*series).or_default().push(time);
            }
            assert_eq!(target.appender.commit(&mut row).unwrap().refused, []);
        }
        db.maintain().unwrap();
    }

    let head = db.head();
    let state = head.state();
    // Those that left since the last seal still have rows.
    assert!(
        state.targets.len() <= TARGETS as usize + LEAVE * 6,
        "{}",
        state.targets.len()
    );
    for writer in &state.targets {
        // A column is used again from the next block on: a block ends at a seal, every eleven rows.
        let most = (SERIES + NEW_A_ROW * 13) as usize;
        assert!(writer.columns_len() <= most, "{}", writer.columns_len());
    }
    drop(state);
    let created = |rows: u32| (rows * (TARGETS * NEW_A_ROW + LEAVE as u32 * SERIES / 5)) as usize;
    let catalog = head.catalog();
    // Created since the last seal, and those that the seal before the last found in use.
    assert!(
        catalog.known.delta().len() <= created(12),
        "{}",
        catalog.known.delta().len()
    );
    // A series is of use for an hour, and is forgotten by the seal after.
    let most = created(60 + 11 * 3) + (TARGETS * SERIES) as usize;
    assert!(catalog.known.len() <= most, "{}", catalog.known.len());
    let (words, records) = head.states.counts();
    assert!(
        words <= catalog.known.len() && records == 0,
        "{words} {records}"
    );
    assert!(head.memory() < 4 << 20, "{}", head.memory());
    assert!(db.stats().series_removed > u64::from(next) / 2);

    let budget = Budget::unlimited();
    let querier = db.querier(TimeRange::ALL).unwrap();
    let select = Select {
        matchers: &[Matcher::equal("__name__", "m")],
        range: TimeRange::ALL,
        limit: None,
        wants: Wants::Samples,
    };
    let selection = querier.select(&select, &budget).unwrap();
    let mut scan = selection.scan(TimeRange::ALL, &budget);
    let mut found: BTreeMap<u32, Vec<Timestamp>> = BTreeMap::new();
    for (index, series) in selection.series().iter().enumerate() {
        scan.seek(index).unwrap();
        let number: u32 = series.labels.get("n").unwrap().parse().unwrap();
        let all = found.entry(number).or_default();
        while let Some(run) = scan.next_run().unwrap() {
            let (mut times, mut values) = (vec![0; run.len()], vec![0.0; run.len()]);
            run.times(&mut times).unwrap();
            run.values(&mut values).unwrap();
            for (time, value) in times.into_iter().zip(values) {
                if !crate::is_stale_marker(value) {
                    assert_eq!(value, f64::from(number));
                    all.push(time);
                }
            }
        }
    }
    assert_eq!(found, model);
}

/// Agents that each push a hundred series, of which one gives way to a new one at each push.
#[test]
fn groups_of_series_that_come_and_go_leave_nothing_in_memory() {
    const AGENTS: u32 = 20;
    const SERIES: u32 = 100;
    const PUSHES: u32 = 240;
    let clock = Arc::new(SetClock::default());
    let dyn_clock: Arc<dyn Clock> = Arc::<SetClock>::clone(&clock);
    let options = DbOptions::new("store", Arc::new(MemoryFs::default()), dyn_clock);
    let (db, _) = Db::open(&options).unwrap();
    let push = |time: Timestamp, agents: u32, first: u32| {
        clock.0.store(time, Ordering::Relaxed);
        for agent in 0..agents {
            let mut appender = db.appender();
            for number in first..first + SERIES {
                let labels = [("agent", agent.to_string()), ("n", number.to_string())];
                let series = appender.series(&Labels::from_pairs(labels)).unwrap();
                let value = f64::from(number);
                appender.samples(series, &[Sample { time, value }]);
            }
            assert_eq!(appender.commit(true).unwrap().refused, []);
        }
        db.maintain().unwrap();
    };
    for number in 0..PUSHES {
        push(i64::from(number) * MINUTE, AGENTS, number);
    }
    let head = db.head();
    {
        let state = head.state();
        let groups = state.targets.len();
        assert!((AGENTS..2 * AGENTS).contains(&(groups as u32)), "{groups}");
        for writer in &state.targets {
            // Columns are used again once their series were silent for two seals.
            assert!(writer.columns_len() < 160, "{}", writer.columns_len());
        }
    }
    // A series comes by itself twice before it is a member.
    let alone = head.states.solo_series_len();
    assert!(alone < u64::from(AGENTS * 30), "{alone}");
    // One agent is left, and the groups of the others go with their rows.
    for number in PUSHES..PUSHES + 90 {
        push(i64::from(number) * MINUTE, 1, number);
    }
    let live = {
        let state = head.state();
        state.targets.len() - state.free_targets.len()
    };
    assert_eq!(live, 1);
    assert!(db.stats().series < u64::from(SERIES + 90 * 2));
    let (words, records) = head.states.counts();
    assert!(words < 300 && records < 300, "{words} {records}");
}

/// Ten series pushed together, the first at a time of its own when it is told.
#[test]
fn the_rows_of_a_group_judge_its_members_until_one_comes_at_another_time() {
    let clock = Arc::new(SetClock::default());
    let dyn_clock: Arc<dyn Clock> = Arc::<SetClock>::clone(&clock);
    let options = DbOptions::new("store", Arc::new(MemoryFs::default()), dyn_clock);
    let (db, _) = Db::open(&options).unwrap();
    let push = |time: Timestamp, first_later: i64| {
        clock.0.store(time, Ordering::Relaxed);
        let mut appender = db.appender();
        for number in 0..10 {
            let labels = Labels::from_pairs([("n", number.to_string())]);
            let series = appender.series(&labels).unwrap();
            let later = if number == 0 { first_later } else { 0 };
            let (time, value) = (time + later, f64::from(number));
            appender.samples(series, &[Sample { time, value }]);
        }
        assert_eq!(appender.commit(true).unwrap().refused, []);
    };
    let head = db.head();
    let judge_themselves = || {
        let state = head.state();
        let groups = state.targets.iter();
        let shared = groups.map(|group| group.shared.words().iter().map(|word| word.count_ones()));
        shared.map(Iterator::sum).collect::<Vec<u32>>()
    };
    push(MINUTE, 0);
    assert_eq!(judge_themselves(), []);
    push(2 * MINUTE, 0);
    assert_eq!(judge_themselves(), [0]);
    push(3 * MINUTE, 0);
    push(4 * MINUTE, 7);
    assert_eq!(judge_themselves(), [1]);
    push(5 * MINUTE, 0);
    assert_eq!(judge_themselves(), [1]);
    // A seal, at which its newest sample is in the newest row.
    clock.0.store(20 * MINUTE, Ordering::Relaxed);
    push(20 * MINUTE, 0);
    db.maintain().unwrap();
    assert_eq!(judge_themselves(), [0]);
    // Of a push that has each series twice, every sample is judged by itself.
    let mut appender = db.appender();
    for number in 0..10 {
        let labels = Labels::from_pairs([("n", number.to_string())]);
        let series = appender.series(&labels).unwrap();
        let sample = |minute| Sample {
            time: minute * MINUTE,
            value: 0.5,
        };
        appender.samples(series, &[sample(21), sample(22)]);
    }
    assert_eq!(appender.commit(true).unwrap().accepted, 20);
    assert_eq!(judge_themselves(), [10]);
}

#[test]
fn a_seal_takes_over_the_index_as_long_as_the_series_are_the_same() {
    let clock = Arc::new(SetClock::default());
    let dyn_clock: Arc<dyn Clock> = Arc::<SetClock>::clone(&clock);
    let options = DbOptions::new("store", Arc::new(MemoryFs::default()), dyn_clock);
    let (db, _) = Db::open(&options).unwrap();
    let labels = |number: usize| Labels::from_pairs([("n", number.to_string())]);
    let built = |series: usize| {
        let mut index = IndexBuilder::new(true);
        for number in 0..series {
            index.add(number as u32, &labels(number));
        }
        index.finish()
    };
    let mut target = db.target(&TargetKey("t".to_owned())).unwrap();
    let mut columns = Vec::new();
    let mut row = RowBuilder::default();
    for (seals, series) in (1..).zip([3, 3, 5, 5]) {
        let news = columns.len()..series;
        columns.extend(news.map(|number| target.column(&labels(number)).unwrap()));
        for _ in 0..2 {
            clock.0.fetch_add(15 * MINUTE, Ordering::Relaxed);
            row.begin(clock.now());
            for column in &columns {
                row.set(*column, 1.0);
            }
            assert_eq!(target.commit(&mut row).unwrap().refused, []);
        }
        db.maintain().unwrap();
        let catalog = db.head().catalog();
        assert_eq!(catalog.blocks.len(), seals);
        let newest = catalog.blocks.last().unwrap();
        assert_eq!(newest.index_sections().unwrap(), Some(built(series)));
    }
}
