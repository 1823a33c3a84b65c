//! What the tests of the store share: a faulty file system, a clock that they set, everything that a
//! store answers, and a world that does the same to a store and to a model.

mod faulty;
mod histogram;
mod random;
pub(crate) mod workload;
pub(crate) mod world;

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex},
    time::Duration,
};

use narthex_storage::{
    Budget, Clock, Db, DbOptions, Histogram, HistogramColumns, Kind, Labels, Matcher, Querier,
    Queryable, ReadError, ResetHint, Run, Select, Shape, TimeRange, Timestamp, WalFsync, Wants,
};

pub(crate) use faulty::{Crash, Fault, FaultyFs, Hook, ROOT};
pub(crate) use histogram::histogram;
pub(crate) use random::Random;

/// Stands still until it is set.
#[derive(Debug, Default)]
pub(crate) struct SetClock(Mutex<Duration>);

impl SetClock {
    pub(crate) fn advance(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        0
    }
    fn monotonic(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

/// So many exemplars are kept.
pub(crate) const EXEMPLARS_MAX: u64 = 5;

/// Series and time to bits, or [`fingerprint`].
pub(crate) type Content = BTreeMap<(String, Timestamp), u64>;

pub(crate) fn options(fs: &FaultyFs, clock: &Arc<SetClock>, wal_fsync: WalFsync) -> DbOptions {
    let clock: Arc<dyn Clock> = Arc::<SetClock>::clone(clock);
    let mut options = DbOptions::new(ROOT, Arc::new(fs.clone()), clock);
    options.wal_fsync = wal_fsync;
    options.exemplars_max = EXEMPLARS_MAX as usize;
    options
}

pub(crate) fn labels(series: &str) -> Labels {
    Labels::from_pairs([("__name__", "m"), ("series", series)])
}

/// Everything that the store answers.
pub(crate) fn content(db: &Db) -> Content {
    let querier = db.querier(TimeRange::ALL).unwrap();
    read(
        &*querier,
        &[Matcher::equal("__name__", "m")],
        TimeRange::ALL,
    )
    .unwrap()
}

/// The samples of the series that pass the matchers, in a range. Runs are as the contract wants them.
pub(crate) fn read(
    querier: &dyn Querier,
    matchers: &[Matcher],
    range: TimeRange,
) -> Result<Content, ReadError> {
    let budget = Budget::unlimited();
    let select = Select {
        matchers,
        range,
        limit: None,
        wants: Wants::Samples,
    };
    let selection = querier.select(&select, &budget)?;
    let all = selection.series();
    assert!(all.is_sorted_by(|a, b| a.labels < b.labels), "{all:?}");
    let mut scan = selection.scan(range, &budget);
    let mut content = Content::new();
    for (index, series) in all.iter().enumerate() {
        let name = series.labels.get("series").unwrap();
        let shape = scan.seek(index)?;
        let mut samples = Vec::new();
        while let Some(run) = scan.next_run()? {
            let mut times = vec![0; run.len()];
            run.times(&mut times)?;
            samples.extend(times.into_iter().zip(bits(&run)?));
        }
        assert!(
            samples.is_sorted_by(|a, b| a.0 < b.0),
            "{name}: {samples:?}"
        );
        if let Shape::Aligned { axis, first, len } = shape {
            let axis = &scan.axis(axis)?[first as usize..(first + len) as usize];
            assert!(axis.iter().eq(samples.iter().map(|(time, _)| time)));
        }
        for (time, bits) in samples {
            assert!(range.contains(time), "{name} at {time} is not in {range:?}");
            content.insert((name.to_owned(), time), bits);
        }
    }
    Ok(content)
}

/// Stands for a histogram, whatever the store finds out of resets.
pub(crate) fn fingerprint(histogram: &Histogram) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut histogram = histogram.clone();
    if histogram.reset_hint != ResetHint::Gauge {
        histogram.reset_hint = ResetHint::Unknown;
    }
    format!("{histogram:?}").hash(&mut hasher);
    hasher.finish()
}

/// The bits of a run's numbers, or the fingerprints of its histograms.
fn bits(run: &Run<'_>) -> Result<Vec<u64>, ReadError> {
    let mut values = vec![0.0; run.len()];
    let mut columns = HistogramColumns::default();
    if run.kind() == Kind::Float {
        let wrong = run.histograms(&mut columns);
        assert!(matches!(wrong, Err(ReadError::OtherKind(Kind::Float))));
        run.values(&mut values)?;
        assert!(run.may_fall() || !values.windows(2).any(|pair| pair[1] < pair[0]));
        return Ok(values.iter().map(|value| value.to_bits()).collect());
    }
    let wrong = run.values(&mut values);
    assert!(matches!(wrong, Err(ReadError::OtherKind(Kind::Histogram))));
    run.histograms(&mut columns)?;
    assert_eq!(columns.len(), run.len());
    let rows: Vec<Histogram> = (0..columns.len()).map(|row| columns.get(row)).collect();
    assert!(run.may_be_stale() || !rows.iter().any(Histogram::is_stale));
    Ok(rows.iter().map(fingerprint).collect())
}

/// A number from the environment.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}
