//! The engine against a naive evaluator, on random queries and random data.

mod naive;

use std::collections::BTreeMap;

use naive::{AGGREGATORS, FUNCTIONS, Failure, Naive, Samples};
use narthex_query::{
    Engine, EngineOptions, Features, Grid, QueryContext, Value,
    parser::{BinaryOp, ValueType, parse},
    random::{Choices, DATA_START, Language, QueryGenerator, RandomSample, random_data},
    testscript::MemoryStore,
};
use narthex_storage::{Budget, Labels, SystemClock};
use proptest::prelude::*;

fn cases() -> u32 {
    let set = std::env::var("NARTHEX_PROPTEST_CASES").ok();
    set.and_then(|cases| cases.parse().ok()).unwrap_or(256)
}

const FEATURES: Features = Features {
    experimental_functions: true,
    delayed_name_removal: false,
    ..Features::ALL
};

/// What the naive evaluator knows.
fn language() -> Language {
    let mut language = Language::new(FEATURES);
    let is_known = |id| FUNCTIONS.contains(&id);
    language.functions.retain(|function| is_known(function.id));
    language.aggregators = AGGREGATORS.to_vec();
    language.operators.retain(|op| {
        use BinaryOp::{Atan2, Pow, TrimLower, TrimUpper};
        !matches!(op, Atan2 | Pow | TrimLower | TrimUpper)
    });
    language.mistakes = false;
    language
}

/// Series of numbers alone.
fn numbers(choices: &mut Choices<'_>) -> Vec<(Labels, Samples)> {
    let number = |(time, sample)| match sample {
        RandomSample::Float(value) => Some((time, value)),
        RandomSample::Histogram(_) => None,
    };
    random_data(choices, true)
        .into_iter()
        .filter_map(|series| {
            let samples: Option<Samples> = series.samples.into_iter().map(number).collect();
            Some((series.labels, samples?))
        })
        .collect()
}

/// Values by labels and time.
type Answer = BTreeMap<(Labels, i64), f64>;

/// Whether both have the same samples, to 1e-9 of their size: results of functions are added up in the order of
/// the series that they come from.
fn is_same(left: Option<&Answer>, right: Option<&Answer>) -> bool {
    let (Some(left), Some(right)) = (left, right) else {
        return left.is_none() && right.is_none();
    };
    let near = |left: f64, right: f64| {
        left == right
            || (left.is_nan() && right.is_nan())
            || (left - right).abs() <= 1e-9 * left.abs().max(right.abs())
    };
    left.len() == right.len()
        && left
            .iter()
            .zip(right)
            .all(|((at, left), (other, right))| at == other && near(*left, *right))
}

fn engine_answer(data: &[(Labels, Samples)], query: &str, grid: Grid) -> Option<Answer> {
    let mut store = MemoryStore::default();
    for (labels, samples) in data {
        for (time, value) in samples {
            store.append(labels, *time, *value);
        }
    }
    let (budget, clock) = (Budget::unlimited(), SystemClock::new());
    let context = QueryContext::new(&budget, &clock);
    let engine = Engine::new(EngineOptions {
        features: FEATURES,
        ..EngineOptions::default()
    });
    let Value::Matrix(series) = engine.range(&store, query, grid, &context).ok()?.value else {
        panic!("a range query answers a matrix");
    };
    let points = series.into_iter().flat_map(|series| {
        let labels = series.labels;
        let samples = series.samples.into_iter();
        samples.map(move |sample| ((labels.clone(), sample.time), sample.value))
    });
    Some(points.collect())
}

fn naive_answer(
    data: &[(Labels, Samples)],
    query: &str,
    grid: Grid,
) -> Result<Option<Answer>, Failure> {
    let expr = parse(query, FEATURES.parser()).map_err(|_| Failure::NotCovered)?;
    if !matches!(expr.value_type(), ValueType::Scalar | ValueType::Vector) {
        return Err(Failure::NotCovered);
    }
    let naive = Naive { data, grid };
    let mut answer = Answer::new();
    let mut is_wrong = false;
    for step in 0..grid.steps() {
        let time = grid.time(step);
        match naive.value(&expr, time) {
            Err(Failure::NotCovered) => return Err(Failure::NotCovered),
            Err(Failure::Wrong) => is_wrong = true,
            Ok(naive::Value::Scalar(value)) => {
                answer.insert((Labels::empty(), time), value);
            }
            Ok(naive::Value::Vector(vector)) => {
                for (labels, value) in vector {
                    answer.insert((labels, time), value);
                }
            }
        }
    }
    Ok((!is_wrong).then_some(answer))
}

/// Asks both about random data; a query is rejected that the naive evaluator does not cover.
fn check(
    choices: &mut Choices<'_>,
    query: &str,
    (start, step_ms, steps): (i64, i64, i64),
) -> Result<(), TestCaseError> {
    let data = numbers(choices);
    let start = DATA_START + start * 1000;
    let grid = Grid {
        start,
        end: start + (steps - 1) * step_ms,
        step_ms,
    };
    let Ok(expected) = naive_answer(&data, query, grid) else {
        return Err(TestCaseError::reject("not covered"));
    };
    let found = engine_answer(&data, query, grid);
    prop_assert!(
        is_same(found.as_ref(), expected.as_ref()),
        "{query}\n{found:?}\n{expected:?}"
    );
    Ok(())
}

fn grids() -> impl Strategy<Value = (i64, i64, i64)> {
    let steps_ms = prop::sample::select(vec![1000_i64, 15_000, 60_000, 17_300, 300_000]);
    (0_i64..1_800, steps_ms, 1_i64..8)
}

proptest! {
    #![proptest_config(ProptestConfig {
        max_global_rejects: 1 << 20,
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases())
    })]

    #[test]
    fn random_queries_have_the_values_that_a_look_at_every_step_gives(
        seed: u64,
        depth in 1_usize..5,
        grid in grids(),
    ) {
        let mut choices = Choices::Seeded(seed);
        let query = QueryGenerator::new(&language(), &mut choices).query(depth);
        check(&mut choices, &query, grid)?;
    }

    #[test]
    fn windows_with_edges_have_the_values_that_a_look_at_every_step_gives(
        seed: u64,
        depth in 1_usize..3,
        grid in grids(),
    ) {
        use narthex_query::functions::FunctionId::{Changes, Delta, Increase, Rate, Resets};
        let mut language = language();
        let fits = |id| matches!(id, Changes | Delta | Increase | Rate | Resets);
        language.functions.retain(|function| fits(function.id));
        let mut choices = Choices::Seeded(seed);
        let query = QueryGenerator::new(&language, &mut choices).query(depth);
        if !["] anchored", "] smoothed"].iter().any(|edge| query.contains(edge)) {
            return Err(TestCaseError::reject("no edges"));
        }
        check(&mut choices, &query, grid)?;
    }
}
