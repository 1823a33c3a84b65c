//! Typed queries made from the input, and data to ask: what parses prints as itself, on one line and in lines,
//! and is evaluated at one time and over a range to a value or to an error that is not the engine's own fault.
//!
//! The first byte chooses how often the query is put into something, from not at all to beyond what a parser
//! takes; the next ones choose data and times, and the rest is the query.

use narthex_query::{
    Engine, EngineOptions, Features, Grid, QueryContext, QueryError,
    parser::parse,
    random::{
        Choices, DATA_END, DATA_START, Language, QueryGenerator, RandomSample, RandomSeries,
        random_data,
    },
    testscript::MemoryStore,
};
use narthex_storage::{Budget, SystemClock};

use super::promql::check_printed;

/// What a query may be put into, again and again.
const AROUND: [(&str, &str); 6] = [
    ("(", ")"),
    ("-", ""),
    ("abs(", ")"),
    ("sum by (job) (", ")"),
    ("max_over_time(", "[5m:1m])"),
    ("1 + ", ""),
];

/// What a query may take: bytes of columns, and samples at once.
const BYTES_MAX: u64 = 64 << 20;
const SAMPLES_MAX: u64 = 1_000_000;

pub(super) fn check(bytes: &[u8]) -> bool {
    let mut choices = Choices::Bytes(bytes);
    let times = match choices.below(64) {
        61 => 300 + choices.below(300),
        62 => choices.below(20),
        63 => choices.below(40_000),
        _ => 0,
    };
    let (before, after) = choices.pick(&AROUND);
    let data = random_data(&mut Choices::Seeded(choices.below(256) as u64), false);
    let start = DATA_START + choices.below(256) as i64 * 10_000;
    let step_ms = choices.pick(&[60_000, 15_000, 1, 300_000, 17_300]);
    let language = Language::new(Features::ALL);
    let depth = choices.below(7);
    let query = QueryGenerator::new(&language, &mut choices).query(depth);
    let query = format!("{}{query}{}", before.repeat(times), after.repeat(times));

    let options = Features::ALL.parser();
    let Ok(expr) = parse(&query, options) else {
        return false;
    };
    check_printed(&expr, &query);

    let store = store(&data);
    let engine = Engine::new(EngineOptions {
        features: Features::ALL,
        samples_max: SAMPLES_MAX,
        ..EngineOptions::default()
    });
    let (budget, clock) = (Budget::new(BYTES_MAX), SystemClock::new());
    let context = QueryContext::new(&budget, &clock);
    let end = (start + 7 * step_ms).min(DATA_END + 600_000);
    let grid = Grid {
        start,
        end: end.max(start),
        step_ms,
    };
    let answers = [
        engine.instant(&store, &query, start, &context),
        engine.range(&store, &query, grid, &context),
    ];
    for answer in answers {
        if let Err(QueryError::Internal(message)) = answer {
            panic!("{message}\nof {query}");
        }
    }
    true
}

fn store(data: &[RandomSeries]) -> MemoryStore {
    let mut store = MemoryStore::default();
    for RandomSeries { labels, samples } in data {
        for (time, sample) in samples {
            match sample {
                RandomSample::Float(value) => store.append(labels, *time, *value),
                RandomSample::Histogram(histogram) => {
                    store.append_histogram(labels, *time, histogram.clone());
                }
            }
        }
    }
    store
}
