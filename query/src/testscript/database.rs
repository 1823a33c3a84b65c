//! A store on a file system in memory, for the second run of a script: what is loaded is spread over
//! what is in memory, what was sealed and what was merged, in pages of few samples.

use std::{
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use narthex_storage::{
    Appendable, Clock, Db, DbOptions, Labels, MemoryFs, Querier, Queryable, ReadError, Sample,
    TimeRange, Timestamp,
};

use crate::SampleValue;

/// So many samples of a series are sealed together, or fewer.
const PAGE_SAMPLES: usize = 7;

/// … in so many seals of a load; what is left of it goes into one more.
const SMALL_SEALS_MAX: usize = 20;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Database(Db);

/// Each look at the time is a second after the one before.
#[derive(Debug, Default)]
struct CountingClock(AtomicI64);

impl Clock for CountingClock {
    fn now(&self) -> Timestamp {
        self.0.fetch_add(1_000, Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

impl Database {
    pub(super) fn new() -> Self {
        let clock = Arc::new(CountingClock::default());
        let options = DbOptions {
            // Loads begin at 0 again and again.
            out_of_order_window_ms: i64::MAX,
            ..DbOptions::new(Path::new("/"), Arc::new(MemoryFs::default()), clock)
        };
        let (db, _) = Db::open(&options).expect("a new file system takes a store");
        Self(db)
    }

    /// Adds the samples of series, each series' in order of time. What of it comes last stays in memory.
    pub(super) fn add(&self, series: &[(Labels, Vec<(Timestamp, SampleValue)>)]) {
        let longest = series.iter().map(|(_, samples)| samples.len()).max();
        let longest = longest.unwrap_or_default();
        let piece = longest.div_ceil(2).clamp(1, PAGE_SAMPLES);
        let unsealed = longest.saturating_sub(piece);
        let mut start = 0;
        while start < longest {
            let is_small = start / piece < SMALL_SEALS_MAX || start >= unsealed;
            let end = if is_small { start + piece } else { unsealed };
            if start > 0 {
                self.seal();
            }
            self.add_piece(series, start..end);
            start = end;
        }
    }

    /// Adds start timestamps of a series, in pieces as its samples.
    pub(super) fn set_starts(&self, labels: &Labels, starts: &[(Timestamp, Timestamp)]) {
        for (index, piece) in starts.chunks(PAGE_SAMPLES).enumerate() {
            if (1..SMALL_SEALS_MAX).contains(&index) {
                self.seal();
            }
            let mut appender = self.0.appender();
            (appender.start_times(labels, piece)).expect("there may be any number");
            (appender.commit(false)).expect("memory takes everything");
        }
    }

    fn add_piece(&self, series: &[(Labels, Vec<(Timestamp, SampleValue)>)], place: Range<usize>) {
        let mut appender = self.0.appender();
        for (labels, samples) in series {
            let end = place.end.min(samples.len());
            let Some(piece) = samples
                .get(place.start..end)
                .filter(|piece| !piece.is_empty())
            else {
                continue;
            };
            let id = (appender.series(labels)).expect("there may be any number");
            for (time, value) in piece {
                match value {
                    SampleValue::Float(value) => appender.samples(
                        id,
                        &[Sample {
                            time: *time,
                            value: *value,
                        }],
                    ),
                    SampleValue::Histogram(histogram) => {
                        appender.histograms(id, &[(*time, histogram.to_stored())]);
                    }
                }
            }
        }
        // What is refused is there already.
        (appender.commit(false)).expect("memory takes everything");
    }

    /// Seals what is in memory, as a snapshot does, and merges what is due.
    fn seal(&self) {
        self.0.snapshot(false).expect("memory takes everything");
        while self.0.compact().expect("memory takes everything") {}
        self.0.maintain().expect("memory takes everything");
    }
}

impl Queryable for Database {
    fn querier(&self, range: TimeRange) -> Result<Box<dyn Querier>, ReadError> {
        self.0.querier(range)
    }
}
