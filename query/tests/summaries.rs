//! What pages' statistics add up to has the bits, the remarks and the counts of samples of the samples themselves,
//! whatever they are and however they lie in memory, seals and merged blocks.
#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

use std::sync::Arc;

use narthex_query::{
    Engine, EngineOptions, Features, Grid, QueryContext, SampleValue, Value,
    testscript::MemoryStore,
};
use narthex_storage::{
    Appendable, Budget, Counts, Db, DbOptions, Histogram, HistogramCounts, HistogramLayout, Labels,
    MatchOp, Matcher, MemoryFs, Queryable, ResetHint, RowBuilder, Sample, Span, SystemClock,
    TargetKey, TimeRange, Timestamp, stale_marker,
};

const STEP_MS: i64 = 1_000;
const STEPS: i64 = 260;

/// Every function that knows a core, in windows of this length.
const FUNCTIONS: [&str; 15] = [
    "rate",
    "increase",
    "delta",
    "resets",
    "changes",
    "count_over_time",
    "present_over_time",
    "first_over_time",
    "last_over_time",
    "min_over_time",
    "max_over_time",
    "sum_over_time",
    "avg_over_time",
    "absent_over_time",
    "sum by (kind) (rate",
];

/// Pseudo-random numbers, the same ones each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
        (self.0 >> 33) % end
    }
}

/// A sample of a series that has both.
#[derive(Clone)]
enum Sampled {
    Float(f64),
    Histogram(Histogram),
}

fn histogram(count: f64) -> Histogram {
    Histogram {
        reset_hint: ResetHint::Unknown,
        layout: HistogramLayout {
            schema: 1,
            zero_threshold: 1e-3,
            positive_spans: vec![Span {
                offset: 0,
                length: 1,
            }],
            negative_spans: vec![],
            custom_bounds: Vec::new(),
        },
        sum: count,
        counts: HistogramCounts::Float(Counts {
            count,
            zero: 0.0,
            positive: vec![count],
            negative: vec![],
        }),
    }
}

/// The values of a series of a kind; `None` where it has no sample.
fn column(kind: &str, random: &mut Random) -> Vec<Option<Sampled>> {
    const ODD: [f64; 8] = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        -0.0,
        0.0,
        f64::MAX,
        9e15,
        -4e15,
    ];
    let mut total = 0.0;
    let one = |step: i64| {
        let value = match kind {
            // Falls now and then, at times twice in a page.
            "counter" | "gaps" | "counter of integers" => {
                total = match random.below(40) {
                    0 => random.below(3) as f64,
                    1 => total * 0.5,
                    _ => total + random.below(1 << 20) as f64 / 3.0,
                };
                if kind == "counter of integers" {
                    total = f64::floor(total);
                }
                total
            }
            "steady counter" => step as f64 * 0.1,
            "fractions" if (100..130).contains(&step) => random.below(1_000) as f64 / 7.0,
            "integers" => random.below(21) as f64 - 10.0,
            "decimals" => random.below(2_000) as f64 / 100.0 - 10.0,
            // Which zero is the first of the greatest or the least ones.
            "from below" | "from above" if !(90..150).contains(&step) => {
                [0.0, -0.0][random.below(2) as usize]
            }
            "from below" => -1.0 - random.below(9) as f64,
            "from above" => 1.0 + random.below(9) as f64,
            "zeros" => [0.0, -0.0][random.below(2) as usize],
            "negative zeros" => -0.0,
            "up" => f64::from(random.below(9) > 0),
            "constant" => 1.0,
            "large" => 4e15 + random.below(3) as f64,
            "odd" => match random.below(20) {
                0 => ODD[random.below(8) as usize],
                _ => random.below(7) as f64,
            },
            "not numbers" if step < 90 || random.below(3) > 0 => {
                f64::from_bits(f64::NAN.to_bits() | random.below(9))
            }
            "stale" if random.below(25) == 0 => stale_marker(),
            "mixed" if (step / 70) % 2 == 1 => {
                return Some(Sampled::Histogram(histogram(step as f64)));
            }
            _ => random.below(100) as f64,
        };
        if kind == "sparse" && step % 97 != 0 {
            return None;
        }
        if kind == "gaps" && random.below(30) == 0 || kind == "late" && step < 130 {
            return None;
        }
        Some(Sampled::Float(value))
    };
    (0..STEPS).map(one).collect()
}

const KINDS: [&str; 21] = [
    "sparse",
    "from below",
    "from above",
    "fractions",
    "counter",
    "gaps",
    "counter of integers",
    "steady counter",
    "integers",
    "decimals",
    "zeros",
    "negative zeros",
    "up",
    "constant",
    "large",
    "odd",
    "not numbers",
    "stale",
    "mixed",
    "late",
    "plain",
];

/// The same samples in a store with pages and in one that knows nothing but samples, and not those that are left
/// out by their kind and time.
fn stores(seed: u64, is_left_out: &dyn Fn(&str, Timestamp) -> bool) -> (Db, MemoryStore) {
    let mut random = Random(seed);
    let fs = Arc::new(MemoryFs::default());
    let options = DbOptions {
        out_of_order_window_ms: i64::MAX,
        ..DbOptions::new("/data", fs, Arc::new(SystemClock::new()))
    };
    let (db, _) = Db::open(&options).unwrap();
    let mut memory = MemoryStore::default();
    let mut columns = Vec::new();
    for kind in KINDS {
        let labels = Labels::from_pairs([("__name__", "x_total"), ("kind", kind)]);
        let samples = column(kind, &mut random);
        for (step, sample) in samples.iter().enumerate() {
            let time = step as i64 * STEP_MS;
            match sample {
                _ if is_left_out(kind, time) => {}
                Some(Sampled::Float(value)) => memory.append(&labels, time, *value),
                Some(Sampled::Histogram(histogram)) => {
                    memory.append_histogram(&labels, time, histogram.clone());
                }
                None => {}
            }
        }
        columns.push((labels, samples));
    }
    let mut target = db.target(&TargetKey("target".to_owned())).unwrap();
    let mut row = RowBuilder::default();
    let page = 5 + random.below(90) as i64;
    let is_scraped = seed.is_multiple_of(2);
    // Some samples come when others of their time are sealed already.
    let late = |step: i64| seed.is_multiple_of(3) && !is_scraped && step % 50 == 17;
    let order = (0..STEPS).filter(|step| !late(*step));
    for (count, step) in order
        .chain((0..STEPS).filter(|step| late(*step)))
        .enumerate()
    {
        let time = step * STEP_MS;
        if is_scraped {
            row.begin(time);
        }
        let mut appender = db.appender();
        for (labels, samples) in &columns {
            match (&samples[step as usize], is_scraped) {
                (None, _) => {}
                (Some(Sampled::Float(value)), true) => {
                    row.set(target.column(labels).unwrap(), *value);
                }
                (Some(Sampled::Histogram(histogram)), true) => {
                    row.histogram(target.column(labels).unwrap(), histogram);
                }
                (Some(sample), false) => {
                    let series = appender.series(labels).unwrap();
                    match sample {
                        Sampled::Float(value) => {
                            let value = *value;
                            appender.samples(series, &[Sample { time, value }]);
                        }
                        Sampled::Histogram(histogram) => {
                            appender.histograms(series, &[(time, histogram.clone())]);
                        }
                    }
                }
            }
        }
        if is_scraped {
            assert_eq!(target.commit(&mut row).unwrap().refused, []);
        } else {
            assert_eq!(appender.commit(true).unwrap().refused, []);
        }
        if count as i64 % page == page - 1 {
            db.snapshot(false).unwrap();
            if random.below(3) == 0 {
                while db.compact().unwrap() {}
                db.maintain().unwrap();
            }
        }
    }
    (db, memory)
}

/// Everything of an answer, numbers by their bits.
#[derive(Debug, PartialEq)]
struct Found {
    rows: Vec<String>,
    warnings: Vec<String>,
    infos: Vec<String>,
    total: u64,
    peak: u64,
    by_step: Vec<(Timestamp, u64)>,
}

fn ask(
    store: &dyn Queryable,
    query: &str,
    grid: Option<Grid>,
    time: Timestamp,
) -> Result<Found, String> {
    let (budget, clock) = (Budget::unlimited(), SystemClock::new());
    let mut context = QueryContext::new(&budget, &clock);
    context.tells_steps = true;
    let options = EngineOptions {
        features: Features {
            experimental_functions: true,
            per_step_statistics: true,
            ..Features::default()
        },
        ..EngineOptions::default()
    };
    let engine = Engine::new(options);
    let answer = match grid {
        Some(grid) => engine.range(store, query, grid, &context),
        None => engine.instant(store, query, time, &context),
    };
    let answer = answer.map_err(|error| error.to_string())?;
    let bits = |value: f64| format!("{:x} ({value})", value.to_bits());
    let rows = match &answer.value {
        Value::Vector(samples) => samples
            .iter()
            .map(|sample| match &sample.value {
                SampleValue::Float(value) => format!("{} {}", sample.labels, bits(*value)),
                other @ SampleValue::Histogram(_) => format!("{} {other:?}", sample.labels),
            })
            .collect(),
        Value::Matrix(series) => series
            .iter()
            .map(|series| {
                let floats = series.samples.iter();
                let floats: Vec<String> = floats
                    .map(|sample| format!("{}@{}", bits(sample.value), sample.time))
                    .collect();
                format!("{} {floats:?} {:?}", series.labels, series.histograms)
            })
            .collect(),
        other => vec![format!("{other:?}")],
    };
    Ok(Found {
        rows,
        warnings: answer.warnings,
        infos: answer.infos,
        total: answer.samples_total,
        peak: answer.samples_peak,
        by_step: answer.samples_by_step,
    })
}

fn compare(seed: u64, db: &Db, memory: &MemoryStore) {
    let mut random = Random(seed + 1_000);
    for function in FUNCTIONS {
        for _ in 0..3 {
            let seconds = 1 + random.below(300);
            let offset = ["", " offset 20s", " @ 200", " offset -7s"][random.below(4) as usize];
            let close = if function.contains('(') { "))" } else { ")" };
            let query = format!("{function}(x_total[{seconds}s]{offset}{close}");
            let end = random.below(300) as i64 * 1_000 + random.below(2) as i64 * 333;
            let grid = Grid {
                start: end - random.below(80) as i64 * 1_000,
                end,
                step_ms: 1_000 * (1 + random.below(20) as i64),
            };
            for grid in [None, Some(grid)] {
                let found = ask(db, &query, grid, end);
                let expected = ask(memory, &query, grid, end);
                assert_eq!(found, expected, "seed {seed}: {query} at {end}, {grid:?}");
            }
        }
    }
}

#[test]
fn sums_of_pages_answer_as_their_samples_do() {
    for seed in 0..24 {
        let (db, memory) = stores(seed, &|_, _| false);
        compare(seed, &db, &memory);
    }
}

#[test]
fn what_is_deleted_of_a_page_is_not_counted() {
    let range = TimeRange::new(61_000, 75_000);
    let matcher = Matcher::new("kind", MatchOp::Regex, "counter|integers|up|gaps").unwrap();
    for seed in 100..106 {
        let (db, memory) = stores(seed, &|kind, time| {
            matcher.matches(kind) && range.contains(time)
        });
        db.delete_series(&[vec![matcher.clone()]], range).unwrap();
        compare(seed, &db, &memory);
    }
}
