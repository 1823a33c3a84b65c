//! Appending while the store seals, forgets and is read.
#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use narthex_storage::{
    Appendable, Budget, Clock, Db, DbOptions, Labels, Matcher, Queryable, RealFs, Sample, Select,
    TimeRange, Timestamp, Wants,
};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

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

fn open(path: &Path, clock: &Arc<SetClock>) -> Db {
    let clock: Arc<dyn Clock> = Arc::<SetClock>::clone(clock);
    Db::open(&DbOptions::new(path, Arc::new(RealFs), clock))
        .unwrap()
        .0
}

fn labels(name: &str) -> Labels {
    Labels::from_pairs([("__name__", name), ("store", "test")])
}

type Samples = Vec<(Timestamp, f64)>;

/// Everything there is, by metric name; two series of one name are a failure.
fn content(db: &Db) -> BTreeMap<String, Samples> {
    let budget = Budget::unlimited();
    let querier = db.querier(TimeRange::ALL).unwrap();
    let select = Select {
        matchers: &[Matcher::equal("store", "test")],
        range: TimeRange::ALL,
        limit: None,
        wants: Wants::Samples,
    };
    let selection = querier.select(&select, &budget).unwrap();
    let mut scan = selection.scan(TimeRange::ALL, &budget);
    let mut content = BTreeMap::new();
    for (index, series) in selection.series().iter().enumerate() {
        scan.seek(index).unwrap();
        let mut samples = Samples::new();
        while let Some(run) = scan.next_run().unwrap() {
            let (mut times, mut values) = (vec![0; run.len()], vec![0.0; run.len()]);
            run.times(&mut times).unwrap();
            run.values(&mut values).unwrap();
            samples.extend(times.into_iter().zip(values));
        }
        let name = series.labels.metric_name().to_owned();
        assert_eq!(content.insert(name, samples), None);
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
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::default());
    let db = open(folder.path(), &clock);
    let names = ["again", "before", "nobody"];
    names.iter().for_each(|name| push(&db, name, 0, 1.0));
    let mut early = db.appender();
    let early_again = early.series(&labels("again")).unwrap();
    let mut late = db.appender();
    let late_before = late.series(&labels("before")).unwrap();
    for minute in 1..=240 {
        push(&db, "other", minute * MINUTE, 0.0);
        clock.0.fetch_add(MINUTE, Ordering::Relaxed);
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
    late.samples(late_new, &[sample(5.0)]);
    assert_eq!(late.commit(true).unwrap().refused, []);
    let is_right = |db: &Db| {
        let mut content = content(db);
        assert_eq!(content.remove("other").unwrap().len(), 240);
        let expected = [
            (
                "again",
                vec![(0, 1.0), (4 * HOUR, 2.0), (4 * HOUR + 1, 3.0)],
            ),
            ("before", vec![(0, 1.0), (4 * HOUR + 1, 4.0)]),
            ("new", vec![(4 * HOUR + 1, 5.0)]),
            ("nobody", vec![(0, 1.0)]),
        ];
        let expected = expected.map(|(name, samples)| (name.to_owned(), samples));
        assert_eq!(content, BTreeMap::from(expected));
    };
    is_right(&db);
    drop(db);
    is_right(&open(folder.path(), &clock));
}
