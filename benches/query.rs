//! Three query shapes over an hour of samples at 15 s in memory, a step of 60 s: a plain selector,
//! a sum of rates by label, and a quantile of classic histograms; and numbers as text.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use narthex_query::{
    Engine, EngineOptions, FloatStyle, Grid, QueryContext, push_float, testscript::MemoryStore,
};
use narthex_storage::{Budget, Labels, SystemClock};

const INSTANCES: u32 = 100;
const SAMPLES: i64 = 240;
const BOUNDS: [&str; 6] = ["0.01", "0.1", "0.5", "1", "5", "+Inf"];

/// A counter of 10 series and a histogram of 6 an instance.
fn store() -> MemoryStore {
    let mut store = MemoryStore::default();
    for instance in 0..INSTANCES {
        let instance_text = format!("host-{instance}");
        for path in 0..10 {
            let path_text = format!("/path/{path}");
            let labels = Labels::from_pairs([
                ("__name__", "requests_total"),
                ("instance", &instance_text),
                ("path", &path_text),
            ]);
            for sample in 0..SAMPLES {
                let value = (sample * i64::from(path + 1)) as f64;
                store.append(&labels, sample * 15_000, value);
            }
        }
        for (index, bound) in BOUNDS.iter().enumerate() {
            let labels = Labels::from_pairs([
                ("__name__", "duration_seconds_bucket"),
                ("instance", &instance_text),
                ("le", bound),
            ]);
            for sample in 0..SAMPLES {
                store.append(
                    &labels,
                    sample * 15_000,
                    (sample * (index as i64 + 1)) as f64,
                );
            }
        }
    }
    store
}

fn queries(criterion: &mut Criterion) {
    let store = store();
    let engine = Engine::new(EngineOptions::default());
    let (budget, clock) = (Budget::unlimited(), SystemClock::new());
    let context = QueryContext::new(&budget, &clock);
    let grid = Grid {
        start: 0,
        end: SAMPLES * 15_000,
        step_ms: 60_000,
    };
    let mut group = criterion.benchmark_group("query");
    for (name, query, series) in [
        ("selector", "requests_total", INSTANCES * 10),
        (
            "sum_by_rate",
            "sum by (path) (rate(requests_total[5m]))",
            INSTANCES * 10,
        ),
        (
            "histogram_quantile",
            "histogram_quantile(0.9, sum by (le) (rate(duration_seconds_bucket[5m])))",
            INSTANCES * BOUNDS.len() as u32,
        ),
    ] {
        group.throughput(Throughput::Elements(u64::from(series) * SAMPLES as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                engine
                    .range(black_box(&store), query, grid, &context)
                    .expect("the query is sound")
            });
        });
    }
    group.finish();
}

/// A thousand numbers of each kind that samples are printed as.
fn numbers(criterion: &mut Criterion) {
    const NUMBERS: u32 = 1_000;
    type Make = fn(f64) -> f64;
    let kinds: [(&str, Make); 4] = [
        ("whole", |index| (index * 7_919.0) % 1e6),
        ("cents", |index| (index * 7_919.0) % 1e6 / 100.0),
        ("full", |index| (index + 0.1).sqrt()),
        ("tiny", |index| (index + 0.1).sqrt() * 1e-8),
    ];
    let mut group = criterion.benchmark_group("push_float");
    group.throughput(Throughput::Elements(u64::from(NUMBERS)));
    for (name, number) in kinds {
        let values: Vec<f64> = (0..NUMBERS).map(|index| number(f64::from(index))).collect();
        let mut out = Vec::with_capacity(64 * values.len());
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                for value in black_box(&values) {
                    push_float(&mut out, *value, FloatStyle::Json);
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, queries, numbers);
criterion_main!(benches);
