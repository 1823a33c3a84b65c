//! A small set of series of every kind that there is.

use narthex_storage::{Histogram, Labels, Timestamp, stale_marker};

use super::{Choices, histograms::HistogramSource};

/// The time of the first sample that there can be, in milliseconds.
pub const DATA_START: Timestamp = 1_700_000_000_000;

/// No sample comes after it.
pub const DATA_END: Timestamp = DATA_START + SAMPLES * INTERVAL_MS + JITTER_MS;

/// How many times there are.
const SAMPLES: i64 = 120;

/// Between two samples, in milliseconds.
const INTERVAL_MS: i64 = 15_000;

/// How late a sample may be, in milliseconds.
const JITTER_MS: i64 = 1000;

/// A series with its samples.
#[derive(Debug, Clone)]
pub struct RandomSeries {
    /// The labels, the metric's name included.
    pub labels: Labels,
    /// Ascending in time, one a time; at least one.
    pub samples: Vec<(Timestamp, RandomSample)>,
}

/// A number or a histogram.
#[derive(Debug, Clone)]
pub enum RandomSample {
    /// A number, which may be a staleness marker.
    Float(f64),
    /// A native histogram, which may be a staleness marker.
    Histogram(Histogram),
}

const INSTANCES: [&str; 3] = ["a", "b", "c"];

/// Series in label order: counters with resets, gauges with odd values, staleness markers and gaps, classic
/// histograms, native ones (exponential, with custom buckets, of gauges, among numbers) and infos.
///
/// With `plain` native histograms are such that old versions of Prometheus treat them as new ones do: all custom
/// bounds are the same, and buckets are never near zero.
pub fn random_data(choices: &mut Choices<'_>, plain: bool) -> Vec<RandomSeries> {
    let mut data = Data {
        choices,
        plain,
        series: Vec::new(),
    };
    // The first sample of all: who is pushed to knows from it how old the others may be.
    data.series.push(RandomSeries {
        labels: labels("a_first", &[]),
        samples: vec![(DATA_START, RandomSample::Float(1.0))],
    });
    data.counters();
    data.gauges();
    data.classic_histograms();
    data.native_histograms();
    data.infos();
    let mut series = data.series;
    series.retain(|series| !series.samples.is_empty());
    series.sort_by(|left, right| left.labels.cmp(&right.labels));
    series
}

fn labels(name: &str, pairs: &[(&str, &str)]) -> Labels {
    let name = [("__name__", name)];
    Labels::from_pairs(name.iter().chain(pairs).copied())
}

struct Data<'a, 'b> {
    choices: &'a mut Choices<'b>,
    plain: bool,
    series: Vec<RandomSeries>,
}

impl Data<'_, '_> {
    /// Times with jitter, without those of a gap or of single misses.
    fn times(&mut self) -> Vec<Timestamp> {
        let jitter = match self.choices.below(3) {
            0 => 0,
            1 => self.choices.below(JITTER_MS as usize) as i64,
            _ => -1,
        };
        let gap = self.choices.below(SAMPLES as usize) as i64;
        let gap = gap..gap + self.choices.pick(&[0, 0, 3, 10, 25, 40]);
        let misses = self.choices.once_in(3);
        let mut times = Vec::new();
        for index in 0..SAMPLES {
            if gap.contains(&index) || (misses && self.choices.once_in(8)) {
                continue;
            }
            let late = if jitter < 0 {
                self.choices.below(JITTER_MS as usize) as i64
            } else {
                jitter
            };
            times.push(DATA_START + 1 + index * INTERVAL_MS + late);
        }
        times
    }

    /// A series of `value`s, of which one in `stale` is a staleness marker; 0 is none.
    fn floats(
        &mut self,
        labels: Labels,
        stale: usize,
        mut value: impl FnMut(&mut Choices<'_>) -> f64,
    ) {
        let mut samples = Vec::new();
        for time in self.times() {
            let is_stale = stale > 0 && self.choices.once_in(stale);
            let value = if is_stale {
                stale_marker()
            } else {
                value(self.choices)
            };
            samples.push((time, RandomSample::Float(value)));
        }
        self.series.push(RandomSeries { labels, samples });
    }

    fn counters(&mut self) {
        for instance in INSTANCES {
            for code in ["200", "404", "500"] {
                if self.choices.once_in(8) {
                    continue;
                }
                let mut total = self.choices.pick(&[0.0, 1e3, 0.5, 123_456_789.0]);
                let resets = self.choices.pick(&[20, 60, 1000]);
                let labels = labels(
                    "requests_total",
                    &[("instance", instance), ("job", "api"), ("code", code)],
                );
                self.floats(labels, 60, |choices| {
                    total += choices.pick(&[0.0, 1.0, 2.5, 0.1, 7.0, 1e-3, 33.3]);
                    if choices.once_in(resets) {
                        total = choices.pick(&[0.0, 1.0]);
                    }
                    total
                });
            }
            let labels = labels("errors_total", &[("instance", instance), ("job", "api")]);
            let mut total = 0.0;
            self.floats(labels, 0, |choices| {
                total += choices.pick(&[0.0, 0.0, 1.0]);
                total
            });
        }
    }

    fn gauges(&mut self) {
        for (index, instance) in INSTANCES.into_iter().enumerate() {
            let job = ["api", "db", "api"][index];
            let mut value = 20.0;
            let with = |name| labels(name, &[("instance", instance), ("job", job)]);
            self.floats(with("temperature_celsius"), 25, |choices| {
                value += choices.pick(&[0.0, 0.1, -0.1, 1.7, -1.3, 0.25]);
                value
            });
            self.floats(with("odd"), 30, |choices| {
                choices.pick(&[
                    0.0,
                    1.0,
                    -0.0,
                    f64::NAN,
                    f64::INFINITY,
                    f64::NEG_INFINITY,
                    -1.0,
                    0.5,
                    1e300,
                    -1e300,
                    1.7e308,
                    5e-324,
                    1e-9,
                    2.0,
                    3.0,
                    1e16,
                    -2.5,
                ])
            });
            self.floats(with("load"), 0, |choices| {
                choices.below(1000) as f64 / 100.0
            });
            self.floats(with("small_numbers"), 0, |choices| {
                choices.pick(&[0.0, 1.0, 2.0, 3.0, 1.0])
            });
            self.floats(with("born_seconds"), 0, |choices| {
                DATA_START as f64 / 1000.0 - choices.below(60_000) as f64 * 86_400.5
            });
        }
        let labels = labels("alone", &[]);
        self.floats(labels, 0, |choices| choices.below(10) as f64);
    }

    fn classic_histograms(&mut self) {
        for instance in INSTANCES {
            let bounds = if self.choices.once_in(3) {
                ["0.1", "0.2", "1", "+Inf"]
            } else {
                ["0.1", "0.5", "2.5", "+Inf"]
            };
            let is_odd = self.choices.once_in(3);
            let times = self.times();
            let mut counts = [0.0; 4];
            let mut sum = 0.0;
            let mut columns: [Vec<(Timestamp, RandomSample)>; 6] = Default::default();
            for time in times {
                let first = self.choices.below(5);
                for count in &mut counts[first.min(3)..] {
                    *count += 1.0 + self.choices.below(3) as f64 * f64::from(u8::from(is_odd));
                }
                sum += self.choices.below(100) as f64 / 37.0;
                let values = counts.into_iter().chain([sum, counts[3]]);
                for (column, value) in columns.iter_mut().zip(values) {
                    column.push((time, RandomSample::Float(value)));
                }
            }
            let pairs = [("instance", instance), ("job", "api")];
            for (index, samples) in columns.into_iter().enumerate() {
                let labels = match bounds.get(index) {
                    Some(bound) => labels(
                        "latency_seconds_bucket",
                        &[pairs[0], pairs[1], ("le", bound)],
                    ),
                    None if index == 4 => labels("latency_seconds_sum", &pairs),
                    None => labels("latency_seconds_count", &pairs),
                };
                if !(is_odd && self.choices.once_in(12)) {
                    self.series.push(RandomSeries { labels, samples });
                }
            }
        }
    }

    fn native_histograms(&mut self) {
        for (index, instance) in INSTANCES.into_iter().enumerate() {
            let job = ["api", "db", "api"][index];
            let with = |name| labels(name, &[("instance", instance), ("job", job)]);
            let source = HistogramSource::exponential(self.choices, self.plain);
            self.histograms(with("duration_seconds"), source, 0);
            let source = HistogramSource::custom(self.choices, self.plain);
            self.histograms(with("size_bytes"), source, 0);
            let source = HistogramSource::gauge(self.choices, self.plain);
            self.histograms(with("queue_length"), source, 0);
            let source = HistogramSource::exponential(self.choices, self.plain);
            self.histograms(with("mixed"), source, 4);
        }
    }

    /// A series of histograms, of which one in `floats` is a number instead; 0 is none.
    fn histograms(&mut self, labels: Labels, mut source: HistogramSource, floats: usize) {
        let mut samples = Vec::new();
        for time in self.times() {
            let sample = if floats > 0 && self.choices.once_in(floats) {
                RandomSample::Float(self.choices.below(100) as f64)
            } else if self.choices.once_in(50) {
                RandomSample::Float(stale_marker())
            } else {
                RandomSample::Histogram(source.next(self.choices))
            };
            samples.push((time, sample));
        }
        self.series.push(RandomSeries { labels, samples });
    }

    fn infos(&mut self) {
        for (index, instance) in INSTANCES.into_iter().enumerate() {
            let job = ["api", "db", "api"][index];
            for (name, key) in [("build_info", "version"), ("target_info", "region")] {
                let value = ["x", "y", "x"][index];
                let labels = labels(name, &[("instance", instance), ("job", job), (key, value)]);
                self.floats(labels, 40, |_| 1.0);
            }
        }
    }
}
