//! Sub-expressions that stand in a query several times are evaluated once, and nothing else tells of it.

mod watched;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use narthex_query::{
    Engine, EngineOptions, Features, Grid, QueryContext,
    random::{Choices, DATA_START, Language, QueryGenerator, RandomSample, random_data},
    testscript::MemoryStore,
};
use narthex_storage::{
    Budget, Counts, Histogram, HistogramCounts, HistogramLayout, Labels, ResetHint, Span,
    SystemClock,
};
use watched::Watched;

/// In a query of more bytes nothing is looked for.
const TEXT_MAX: usize = 4 << 10;

/// A store that counts how often series are selected.
struct Counted {
    store: MemoryStore,
    selected: Arc<AtomicUsize>,
}

impl Counted {
    fn new(store: MemoryStore) -> Self {
        Self {
            store,
            selected: Arc::default(),
        }
    }

    /// What a range query answers, all of it, and how often it selected series.
    fn ask(&self, query: &str, grid: Grid, samples_max: u64) -> (String, usize) {
        let (budget, clock) = (Budget::unlimited(), SystemClock::new());
        let context = QueryContext {
            tells_steps: true,
            ..QueryContext::new(&budget, &clock)
        };
        let engine = Engine::new(EngineOptions {
            features: Features {
                per_step_statistics: true,
                ..Features::ALL
            },
            samples_max,
            ..EngineOptions::default()
        });
        let selected = Arc::clone(&self.selected);
        let store = Watched::new(&self.store, move |selection| {
            selected.fetch_add(1, Ordering::Relaxed);
            selection
        });
        let before = self.selected.load(Ordering::Relaxed);
        let answer = engine.range(&store, query, grid, &context);
        let selected = self.selected.load(Ordering::Relaxed) - before;
        (format!("{answer:?}"), selected)
    }

    /// [`Counted::ask`], having seen that the query says the same when every place is evaluated; how often series
    /// were selected then comes second.
    fn compare(&self, query: &str, grid: Grid, samples_max: u64) -> (String, usize, usize) {
        let padded = format!("{query}{}", " ".repeat(TEXT_MAX));
        let (answer, selected) = self.ask(query, grid, samples_max);
        let (expected, of_all) = self.ask(&padded, grid, samples_max);
        assert_eq!(answer, expected, "{query}");
        assert!(selected <= of_all, "{query}");
        (answer, selected, of_all)
    }
}

/// One bucket with so many observations.
fn histogram(count: f64) -> Histogram {
    Histogram {
        reset_hint: ResetHint::Unknown,
        layout: HistogramLayout {
            schema: 0,
            zero_threshold: 1e-3,
            positive_spans: vec![Span {
                offset: 0,
                length: 1,
            }],
            negative_spans: Vec::new(),
            custom_bounds: Vec::new(),
        },
        sum: count,
        counts: HistogramCounts::Float(Counts {
            count,
            zero: 0.0,
            positive: vec![count],
            negative: Vec::new(),
        }),
    }
}

#[test]
fn what_stands_twice_is_selected_once_and_counted_twice() {
    let mut store = MemoryStore::default();
    for (name, factor) in [("used", 1.0), ("size", 3.0), ("falling_total", -1.0)] {
        for host in ["a", "b"] {
            let labels = Labels::from_pairs([("__name__", name), ("host", host)]);
            for step in 0..=40 {
                let value = 1000.0 + factor * f64::from(step * step);
                store.append(&labels, i64::from(step) * 15_000, value);
            }
        }
    }
    // Its counter begins anew at every third sample.
    let labels = Labels::from_pairs([("__name__", "native"), ("host", "a")]);
    for step in 0..=40 {
        let histogram = histogram(f64::from(1 + step % 3));
        store.append_histogram(&labels, i64::from(step) * 15_000, histogram);
    }
    let store = Counted::new(store);
    let grid = Grid {
        start: 60_000,
        end: 600_000,
        step_ms: 60_000,
    };
    for (query, selected, of_all) in [
        ("used / size", 2, 2),
        ("(size - used) / size", 2, 3),
        ("(size - used) / (size - used)", 2, 4),
        ("used + (used) + used", 1, 3),
        (
            "rate(falling_total[2m]) / on(host) rate(falling_total[2m])",
            1,
            2,
        ),
        // Something is said of each.
        ("rate(used[2m]) + rate(used[2m])", 2, 2),
        // Other windows, offsets and names.
        ("rate(used[2m]) + rate(used[1m])", 2, 2),
        ("used - used offset 1m", 2, 2),
        ("used{host=\"a\"} - used{host=\"b\"}", 2, 2),
        // The same at every step, and at those of a subquery.
        ("used @ end() + used @ end()", 1, 2),
        ("max_over_time((used + used)[2m:30s]) + used", 2, 3),
        ("max_over_time(used[2m:1m]) + used", 2, 2),
        // The subquery has the query's steps, but its samples are not those of a step.
        ("max_over_time(used[30s:1m]) + used", 2, 2),
        // One in another: with it is counted what was asked for within.
        (
            "max_over_time(used[10m]) + (-max_over_time(used[10m]) + -max_over_time(used[10m]))",
            1,
            3,
        ),
        // Rows that an aggregation takes one by one are not held; its groups are.
        ("sum(used) / count(used)", 2, 2),
        ("sum(used) / (sum(used) + sum(size))", 2, 3),
        ("topk(1, used + size) - topk(1, used + size)", 2, 4),
        ("used and used or used unless used", 1, 4),
        // Whether a counter began anew is told by samples where only counts are asked for.
        ("histogram_count(native) or on (x) native", 2, 2),
    ] {
        let (answer, once, each) = store.compare(query, grid, 50_000);
        assert!(answer.starts_with("Ok"), "{query}: {answer}");
        assert_eq!((once, each), (selected, of_all), "{query}");
        // Whatever is allowed, both are refused or none.
        for samples_max in 1..300 {
            store.compare(query, grid, samples_max);
        }
    }
}

#[test]
fn random_queries_of_themselves_answer_as_if_each_place_was_evaluated() {
    const ROUNDS: u64 = 200;
    let language = Language::new(Features::ALL);
    let (mut fewer, mut answered) = (0, 0);
    for seed in 0..ROUNDS {
        let mut choices = Choices::Seeded(seed);
        let mut store = MemoryStore::default();
        for series in random_data(&mut choices, seed % 2 == 0) {
            for (time, sample) in series.samples {
                match sample {
                    RandomSample::Float(value) => store.append(&series.labels, time, value),
                    RandomSample::Histogram(histogram) => {
                        store.append_histogram(&series.labels, time, histogram);
                    }
                }
            }
        }
        let store = Counted::new(store);
        let grid = Grid {
            start: DATA_START,
            end: DATA_START + 600_000,
            step_ms: 60_000,
        };
        let mut generator = QueryGenerator::new(&language, &mut choices);
        let (one, other) = (generator.query(3), generator.query(2));
        for query in [
            format!("({one}) + on () group_left () ({one})"),
            format!("({one}) or (({other}) unless ({one}))"),
        ] {
            let (answer, once, each) = store.compare(&query, grid, 50_000);
            answered += u32::from(answer.starts_with("Ok"));
            fewer += u32::from(once < each);
        }
    }
    assert!(answered > 150 && fewer > 50, "{answered} {fewer}");
}
