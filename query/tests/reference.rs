//! The engine against a naive evaluator that looks at every sample at every step.

use narthex_query::{
    Engine, EngineOptions, Grid, QueryContext, Series, Value, testscript::MemoryStore,
};
use narthex_storage::{Budget, Labels, SystemClock, is_stale_marker, stale_marker};
use proptest::prelude::*;

const STEPS: i64 = 12;

type Samples = Vec<(i64, f64)>;

/// Times in milliseconds and values of one series; a value below 0 stands for a staleness marker.
fn series() -> impl Strategy<Value = Samples> {
    let sample = (1_i64..40_000, prop_oneof![8 => 0_i32..1000, 1 => Just(-1)]);
    prop::collection::vec(sample, 0..40).prop_map(|samples| {
        let mut time = 0;
        samples
            .into_iter()
            .map(|(gap, value)| {
                time += gap;
                let value = if value < 0 {
                    stale_marker()
                } else {
                    f64::from(value) * 0.1
                };
                (time, value)
            })
            .collect()
    })
}

fn labels(index: usize) -> Labels {
    let group = if index < 2 { "a" } else { "b" };
    Labels::from_pairs([
        ("__name__", "m_total".to_owned()),
        ("group", group.to_owned()),
        ("index", index.to_string()),
    ])
}

fn engine_answer(data: &[Samples], query: &str, grid: Grid) -> Vec<Series> {
    let mut store = MemoryStore::default();
    for (index, samples) in data.iter().enumerate() {
        for (time, value) in samples {
            store.append(&labels(index), *time, *value);
        }
    }
    let (budget, clock) = (Budget::unlimited(), SystemClock::new());
    let context = QueryContext::new(&budget, &clock);
    let answer = Engine::new(EngineOptions::default()).range(&store, query, grid, &context);
    match answer.expect("the query is sound").value {
        Value::Matrix(series) => series,
        other => panic!("{other:?}"),
    }
}

/// The samples in `(end - range, end]` without staleness markers.
fn window(samples: &[(i64, f64)], end: i64, range: i64) -> Samples {
    samples
        .iter()
        .copied()
        .filter(|(time, value)| *time > end - range && *time <= end && !is_stale_marker(*value))
        .collect()
}

fn newest(samples: &[(i64, f64)], end: i64) -> Option<f64> {
    samples
        .iter()
        .rfind(|(time, _)| *time <= end)
        .filter(|(time, value)| *time > end - 300_000 && !is_stale_marker(*value))
        .map(|(_, value)| *value)
}

fn exact_sum(values: &[f64]) -> f64 {
    let (mut sum, mut rest) = (values[0], 0.0);
    for value in &values[1..] {
        let total: f64 = sum + value;
        rest += if f64::abs(sum) >= value.abs() {
            (sum - total) + value
        } else {
            (value - total) + sum
        };
        sum = total;
    }
    sum + rest
}

fn extrapolated(samples: &[(i64, f64)], end: i64, range: i64, counter: bool) -> Option<f64> {
    if samples.len() < 2 {
        return None;
    }
    let (first, last) = (samples[0], samples[samples.len() - 1]);
    let mut rise = last.1 - first.1;
    for pair in samples.windows(2) {
        if counter && pair[1].1 < pair[0].1 {
            rise += pair[0].1;
        }
    }
    let sampled = (last.0 - first.0) as f64 / 1000.0;
    let average = sampled / (samples.len() - 1) as f64;
    let edge = |gap: i64| {
        let gap = gap as f64 / 1000.0;
        if gap >= average * 1.1 {
            average / 2.0
        } else {
            gap
        }
    };
    let mut to_start = edge(first.0 - (end - range));
    if counter && rise > 0.0 && first.1 >= 0.0 {
        to_start = to_start.min(sampled * (first.1 / rise));
    }
    Some(rise * ((sampled + to_start + edge(end - last.0)) / sampled))
}

fn naive(data: &[Samples], function: &str, grid: Grid, range: i64, offset: i64) -> Vec<Series> {
    let value = |samples: &[(i64, f64)], step: i64| {
        let end = grid.start + step * grid.step_ms - offset;
        let inside = window(samples, end, range);
        let values: Vec<f64> = inside.iter().map(|(_, value)| *value).collect();
        match function {
            "" => newest(samples, end),
            "increase" => extrapolated(&inside, end, range, true),
            "delta" => extrapolated(&inside, end, range, false),
            _ if values.is_empty() => None,
            "sum_over_time" => Some(exact_sum(&values)),
            "count_over_time" => Some(values.len() as f64),
            "max_over_time" => values.iter().copied().reduce(f64::max),
            "last_over_time" => values.last().copied(),
            _ => Some(values.windows(2).filter(|pair| pair[1] < pair[0]).count() as f64),
        }
    };
    let mut groups: Vec<Series> = Vec::new();
    for name in ["a", "b"] {
        let members: Vec<&Samples> = data
            .iter()
            .enumerate()
            .filter(|(index, _)| labels(*index).get("group") == Some(name))
            .map(|(_, samples)| samples)
            .collect();
        let samples: Vec<_> = (0..STEPS)
            .filter_map(|step| {
                let values: Vec<f64> = members
                    .iter()
                    .filter_map(|samples| value(samples, step))
                    .collect();
                (!values.is_empty()).then(|| narthex_storage::Sample {
                    time: grid.start + step * grid.step_ms,
                    value: exact_sum(&values),
                })
            })
            .collect();
        if !samples.is_empty() {
            groups.push(Series {
                labels: Labels::from_pairs([("group", name)]),
                samples,
                histograms: Vec::new(),
            });
        }
    }
    groups
}

fn cases() -> u32 {
    let set = std::env::var("NARTHEX_PROPTEST_CASES").ok();
    set.and_then(|cases| cases.parse().ok()).unwrap_or(64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn columns_give_what_a_look_at_every_sample_gives(
        data in prop::collection::vec(series(), 1..5),
        function in prop::sample::select(vec![
            "", "increase", "delta", "sum_over_time", "count_over_time", "max_over_time",
            "last_over_time", "resets",
        ]),
        start in 0_i64..400_000,
        step in 1_i64..90_000,
        range in 1_i64..300_000,
        offset in -100_000_i64..100_000,
    ) {
        let grid = Grid { start, end: start + (STEPS - 1) * step, step_ms: step };
        let query = if function.is_empty() {
            format!("sum by (group) (m_total offset {offset}ms)")
        } else {
            format!("sum by (group) ({function}(m_total[{range}ms] offset {offset}ms))")
        };
        let expected = naive(&data, function, grid, range, offset);
        prop_assert_eq!(engine_answer(&data, &query, grid), expected, "{}", query);
    }
}
