//! The same samples give the same bits: whatever came first, however it was spread over memory, seals and merged
//! blocks, whoever pushed it, and after a restart.
#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use narthex_query::{
    Engine, EngineOptions, Features, FloatHistogram, Grid, QueryContext, Value,
    testscript::MemoryStore,
};
use narthex_storage::{
    Appendable, Budget, Clock, Counts, Db, DbOptions, Fs, Histogram, HistogramCounts,
    HistogramLayout, Labels, MemoryFs, Queryable, ResetHint, RowBuilder, Sample, Span, SystemClock,
    TargetKey, Timestamp,
};

const STEPS: usize = 60;
const STEP_MS: i64 = 15_000;
const START: Timestamp = 1_790_000_000_000;

/// A sample as it is appended.
#[derive(Debug, Clone)]
enum Sampled {
    Float(f64),
    Histogram(Histogram),
}

/// A series, of each step its sample; what is late to begin has none in the first steps.
#[derive(Debug, Clone)]
struct Column {
    labels: Labels,
    first: usize,
    samples: Vec<Sampled>,
}

impl Column {
    fn at(&self, step: usize) -> Option<&Sampled> {
        self.samples.get(step.checked_sub(self.first)?)
    }
}

/// Pseudo-random numbers, the same ones each time (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// Between one half and one, times a power of two between 2^-`exponent` and 2^`exponent`.
    fn wide(&mut self, exponent: i32) -> f64 {
        let fraction = 0.5 + (self.next() >> 12) as f64 / (1_u64 << 53) as f64;
        let power = self.below(2 * exponent as usize + 1) as i32 - exponent;
        fraction * 2.0_f64.powi(power)
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end + 1));
        }
    }
}

fn histogram(counts: &[f64; 4], sum: f64) -> Histogram {
    let span = |offset, length| Span { offset, length };
    Histogram {
        reset_hint: ResetHint::Unknown,
        layout: HistogramLayout {
            schema: 1,
            zero_threshold: 1e-3,
            positive_spans: vec![span(-1, 2), span(1, 1)],
            negative_spans: vec![],
            custom_bounds: Vec::new(),
        },
        sum,
        counts: HistogramCounts::Float(Counts {
            count: counts.iter().sum(),
            zero: counts[0],
            positive: counts[1..].to_vec(),
            negative: vec![],
        }),
    }
}

/// Gauges, counters, classic and native histograms with numbers of very unequal size.
fn data() -> Vec<Column> {
    let random = &mut Random(0x9e37_79b9_7f4a_7c15);
    let mut columns = Vec::new();
    let mut add = |pairs: &[(&str, String)], first: usize, samples: Vec<Sampled>| {
        columns.push(Column {
            labels: Labels::from_pairs(pairs.iter().map(|(name, value)| (*name, value))),
            first,
            samples,
        });
    };
    for index in 0..14 {
        let first = if index % 5 == 4 { 11 } else { 0 };
        let own = |name: &str| {
            [
                ("__name__", name.to_owned()),
                ("group", (index % 3).to_string()),
                ("instance", index.to_string()),
            ]
        };
        let gauges = (first..STEPS).map(|_| {
            let sign = if random.below(2) == 0 { 1.0 } else { -1.0 };
            Sampled::Float(sign * random.wide(60))
        });
        let gauges = gauges.collect();
        add(&own("gauge"), first, gauges);
        let (mut total, mut counts, mut sum) = (0.0, [0.0; 4], 0.0);
        let mut counters = Vec::new();
        let mut histograms = Vec::new();
        let mut buckets: [Vec<Sampled>; 3] = Default::default();
        for _ in first..STEPS {
            if random.below(30) == 0 {
                (total, counts, sum) = (0.0, [0.0; 4], 0.0);
            }
            total += random.wide(30);
            sum += random.wide(20);
            for count in &mut counts {
                *count += random.wide(12);
            }
            counters.push(Sampled::Float(total));
            histograms.push(Sampled::Histogram(histogram(&counts, sum)));
            let mut below = 0.0;
            for (bucket, count) in buckets.iter_mut().zip(counts) {
                below += count;
                bucket.push(Sampled::Float(below));
            }
        }
        add(&own("counter_total"), first, counters);
        add(&own("native"), first, histograms);
        for (bucket, le) in buckets.into_iter().zip(["0.1", "2.5", "+Inf"]) {
            let le = [("le", le.to_owned())];
            add(&[&own("classic_bucket")[..], &le].concat(), first, bucket);
        }
    }
    columns
}

/// Each look at the time is a second after the one before.
#[derive(Debug, Default)]
struct CountingClock(AtomicI64);

impl Clock for CountingClock {
    fn now(&self) -> Timestamp {
        START + self.0.fetch_add(1_000, Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// A store and what it is on.
struct Place {
    db: Option<Db>,
    options: DbOptions,
}

impl Place {
    fn new() -> Self {
        let fs: Arc<dyn Fs> = Arc::new(MemoryFs::default());
        let clock: Arc<dyn Clock> = Arc::new(CountingClock::default());
        let options = DbOptions {
            out_of_order_window_ms: i64::MAX,
            ..DbOptions::new("/data", fs, clock)
        };
        let (db, _) = Db::open(&options).unwrap();
        Self {
            db: Some(db),
            options,
        }
    }

    fn db(&self) -> &Db {
        self.db.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        self.db = None;
        self.db = Some(Db::open(&self.options).unwrap().0);
    }

    fn seal(&self) {
        self.db().snapshot(false).unwrap();
    }

    fn merge(&self) {
        while self.db().compact().unwrap() {}
        self.db().maintain().unwrap();
    }

    /// Pushes samples of one step, in this order of series.
    fn push<'a>(&self, step: usize, columns: impl IntoIterator<Item = &'a Column>) {
        let time = START + step as i64 * STEP_MS;
        let mut appender = self.db().appender();
        for column in columns {
            let Some(sampled) = column.at(step) else {
                continue;
            };
            let series = appender.series(&column.labels).unwrap();
            match sampled {
                Sampled::Float(value) => {
                    let value = *value;
                    appender.samples(series, &[Sample { time, value }]);
                }
                Sampled::Histogram(histogram) => {
                    appender.histograms(series, &[(time, histogram.clone())]);
                }
            }
        }
        assert_eq!(appender.commit(true).unwrap().refused, []);
    }
}

/// In order, all in memory.
fn in_memory(data: &[Column]) -> Place {
    let place = Place::new();
    for step in 0..STEPS {
        place.push(step, data);
    }
    place
}

/// Series after series, the last one first, so that each is by itself; then opened again and sealed in one piece.
fn series_by_series(data: &[Column]) -> Place {
    let mut place = Place::new();
    for column in data.iter().rev() {
        for step in 0..STEPS {
            place.push(step, [column]);
        }
    }
    place.reopen();
    place.seal();
    place
}

/// Another order of series each time, pages of so many samples, and merges.
fn in_pages(data: &[Column], samples: usize) -> Place {
    let place = Place::new();
    let random = &mut Random(7 + samples as u64);
    let mut order: Vec<&Column> = data.iter().collect();
    for step in 0..STEPS {
        random.shuffle(&mut order);
        place.push(step, order.iter().copied());
        if step % samples == samples - 1 {
            place.seal();
            place.merge();
        }
    }
    place
}

/// The newest first, every third one later still, with seals in between; then opened again.
fn late(data: &[Column]) -> Place {
    let mut place = Place::new();
    let rest = (0..STEPS).filter(|step| step % 3 == 0);
    for (count, step) in (0..STEPS)
        .rev()
        .filter(|step| step % 3 != 0)
        .chain(rest)
        .enumerate()
    {
        place.push(step, data);
        if count % 13 == 12 {
            place.seal();
        }
    }
    place.merge();
    place.reopen();
    place
}

/// The rows of two targets, sealed once.
fn scraped(data: &[Column]) -> Place {
    let place = Place::new();
    for (target, columns) in [data.iter().step_by(2), data[1..].iter().step_by(2)]
        .into_iter()
        .enumerate()
    {
        let columns: Vec<&Column> = columns.collect();
        let mut appender = place.db().target(&TargetKey(target.to_string())).unwrap();
        let mut row = RowBuilder::default();
        for step in 0..STEPS {
            row.begin(START + step as i64 * STEP_MS);
            for column in columns.iter().rev() {
                let Some(sampled) = column.at(step) else {
                    continue;
                };
                let place = appender.column(&column.labels).unwrap();
                match sampled {
                    Sampled::Float(value) => row.set(place, *value),
                    Sampled::Histogram(histogram) => row.histogram(place, histogram),
                }
            }
            assert_eq!(appender.commit(&mut row).unwrap().refused, []);
            if (target, step) == (0, STEPS / 2) {
                place.seal();
            }
        }
    }
    place
}

/// By several threads at once, each with a share of the series.
fn by_threads(data: &[Column]) -> Place {
    let place = Place::new();
    std::thread::scope(|scope| {
        for first in 0..4 {
            let place = &place;
            scope.spawn(move || {
                for step in 0..STEPS {
                    place.push(step, data[first..].iter().step_by(4));
                    if (first, step % 20) == (0, 19) {
                        place.seal();
                    }
                }
            });
        }
    });
    place
}

const QUERIES: &[&str] = &[
    "gauge",
    "sum(gauge)",
    "avg(gauge)",
    "stddev(gauge)",
    "stdvar by (group) (gauge)",
    "sum by (group) (gauge) / avg by (group) (gauge)",
    "quantile(0.3, gauge)",
    "topk(3, gauge)",
    "sum(rate(counter_total[2m]))",
    "avg by (group) (increase(counter_total[5m]))",
    "sum(irate(counter_total[1m])) - sum(deriv(gauge[3m]))",
    "avg_over_time(gauge[4m])",
    "sum(sum_over_time(gauge[7m]))",
    "stddev(stddev_over_time(gauge[4m]))",
    "sum(predict_linear(gauge[5m], 60))",
    "sum(double_exponential_smoothing(gauge[3m], 0.3, 0.7))",
    "max_over_time(sum(gauge)[5m:30s])",
    "histogram_quantile(0.9, sum by (le) (rate(classic_bucket[3m])))",
    "histogram_quantile(0.5, sum by (group, le) (classic_bucket))",
    "native",
    "sum(native)",
    "avg by (group) (native)",
    "sum(rate(native[2m]))",
    "avg(avg_over_time(native[4m]))",
    "sum(sum_over_time(native[5m]))",
    "histogram_quantile(0.7, sum(rate(native[3m])))",
    "histogram_sum(sum(increase(native[5m])))",
    "sum(histogram_stddev(native))",
    "sum(gauge * on (instance) group_left () counter_total)",
    "sum(gauge) + sum(counter_total) > bool 0",
];

/// An answer, bit for bit.
fn answer(store: &dyn Queryable, query: &str) -> String {
    let (budget, clock) = (Budget::unlimited(), SystemClock::new());
    let context = QueryContext::new(&budget, &clock);
    let options = EngineOptions {
        features: Features::ALL,
        ..EngineOptions::default()
    };
    let grid = Grid {
        start: START,
        end: START + STEPS as i64 * STEP_MS + 60_000,
        step_ms: 47_000,
    };
    let answer = Engine::new(options).range(store, query, grid, &context);
    let answer = answer.unwrap();
    let Value::Matrix(series) = answer.value else {
        panic!("{query} answers a matrix")
    };
    let mut text = String::new();
    for series in series {
        write!(text, "{}", series.labels).unwrap();
        for sample in series.samples {
            write!(text, " {}:{:x}", sample.time, sample.value.to_bits()).unwrap();
        }
        for sample in series.histograms {
            write!(text, " {}:{}", sample.time, bits(&sample.histogram)).unwrap();
        }
        text.push('\n');
    }
    text
}

fn bits(histogram: &FloatHistogram) -> String {
    let mut text = format!(
        "{:x},{:x}",
        histogram.count().to_bits(),
        histogram.sum().to_bits()
    );
    for bucket in histogram.buckets() {
        let parts = [bucket.lower, bucket.upper, bucket.count].map(f64::to_bits);
        write!(text, ",{parts:x?}").unwrap();
    }
    text
}

#[test]
fn answers_do_not_depend_on_how_the_samples_came() {
    let data = data();
    let mut plain = MemoryStore::default();
    for column in &data {
        for (step, sampled) in (column.first..).zip(&column.samples) {
            let time = START + step as i64 * STEP_MS;
            match sampled {
                Sampled::Float(value) => plain.append(&column.labels, time, *value),
                Sampled::Histogram(histogram) => {
                    plain.append_histogram(&column.labels, time, histogram.clone());
                }
            }
        }
    }
    let expected: Vec<String> = QUERIES.iter().map(|query| answer(&plain, query)).collect();
    for (query, expected) in QUERIES.iter().zip(&expected) {
        assert!(expected.lines().count() > 0, "{query}");
    }
    for (name, place) in [
        ("in memory", in_memory(&data)),
        ("series by series", series_by_series(&data)),
        ("in pages of 1", in_pages(&data, 1)),
        ("in pages of 7", in_pages(&data, 7)),
        ("in pages of 40", in_pages(&data, 40)),
        ("late", late(&data)),
        ("scraped", scraped(&data)),
        ("by threads", by_threads(&data)),
    ] {
        let check = |part: usize| {
            let of_part = QUERIES.iter().zip(&expected).skip(part).step_by(2);
            for (query, expected) in of_part {
                let found = answer(place.db(), query);
                assert!(found == *expected, "{name}: {query}\n{found}\n{expected}");
            }
        };
        // Two at a time.
        std::thread::scope(|scope| {
            scope.spawn(|| check(0));
            scope.spawn(|| check(1));
        });
    }
}
