//! Range queries that move on, with a cache and without: the same bits, whatever came, came late or was removed
//! between them.
#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

mod scene;

use std::sync::Arc;

use narthex_query::{
    Engine, EngineOptions, Grid, QueryContext, QueryError, ResultCache,
    random::{Choices, DATA_END, DATA_START, Language},
};
use narthex_storage::{
    Appendable, Budget, Clock, Db, DbOptions, Labels, MemoryFs, Queryable, Sample, SystemClock,
};
use scene::{CountingClock, FEATURES, MINUTE, Panel, SECOND, Scene, printed};

fn empty_store() -> Db {
    let clock: Arc<dyn Clock> = Arc::new(CountingClock::default());
    let options = DbOptions::new("/data", Arc::new(MemoryFs::default()), clock);
    Db::open(&options).unwrap().0
}

/// Asks with a cache and without while things happen; answers how often it was asked, how often the cache could have
/// been used, and was.
fn run(seed: u64) -> [u64; 3] {
    let choices = &mut Choices::Seeded(seed);
    let language = Language::new(FEATURES);
    let panels: Vec<Panel> = (0..8).map(|_| Panel::new(choices, &language)).collect();
    let cache = ResultCache::new(choices.pick(&[40_000, 4_000_000]), 0);
    let is_calm = choices.once_in(2);
    let mut scene = Scene::new(choices);
    let engine = Engine::new(EngineOptions {
        features: FEATURES,
        ..EngineOptions::default()
    });
    let (budget, clock) = (Budget::unlimited(), SystemClock::new());
    let context = QueryContext::new(&budget, &clock);
    let mut now = DATA_START;
    let mut asked = 0;
    while now < DATA_END + MINUTE {
        now += choices.pick(&[5 * SECOND, 15 * SECOND, 45 * SECOND]);
        scene.receive(now);
        scene.scrape(choices, now);
        if !is_calm || choices.once_in(8) {
            scene.meddle(choices, now);
        }
        for panel in &panels {
            if choices.once_in(4) {
                continue;
            }
            let mut grid = panel.grid(now);
            if choices.once_in(10) {
                // Somebody else looks at less of it.
                grid.start += (grid.steps() / 2) as i64 * grid.step_ms;
            }
            let store: &dyn Queryable = &scene.db;
            let plain = engine.matrix(store, &panel.text, grid, &context);
            let plain = printed(plain);
            let cached = engine.matrix_with(store, &panel.text, grid, &context, &cache);
            let cached = printed(cached);
            assert!(
                cached == plain,
                "seed {seed}, {} at {grid:?}\n{cached}\nnot\n{plain}",
                panel.text
            );
            asked += 1;
        }
    }
    let stats = cache.stats();
    [asked, stats.continued + stats.evaluated, stats.continued]
}

#[test]
fn with_a_cache_answers_are_the_same_bit_by_bit() {
    let set = std::env::var("NARTHEX_PROPTEST_CASES").ok();
    let cases = set.and_then(|cases| cases.parse().ok()).unwrap_or(40);
    let first = std::env::var("NARTHEX_SEED").ok();
    let first = first.and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let mut sums = [0; 3];
    for seed in first..first + cases {
        let counts = run(seed);
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    let [asked, steady, continued] = sums;
    // A third of the questions at least is answered by way of earlier ones.
    assert!(
        continued * 3 > asked,
        "asked {asked}, steady {steady}, continued {continued}"
    );
}

#[test]
fn a_step_that_is_taken_over_counts_as_its_values() {
    let db = empty_store();
    let start = DATA_START;
    for minute in 0..60 {
        let mut appender = db.appender();
        for number in 0..10 {
            let labels =
                Labels::from_pairs([("__name__", "m".to_owned()), ("n", number.to_string())]);
            let series = appender.series(&labels).unwrap();
            let (time, value) = (start + minute * MINUTE, f64::from(number));
            appender.samples(series, &[Sample { time, value }]);
        }
        appender.commit(true).unwrap();
    }
    let (budget, clock) = (Budget::unlimited(), SystemClock::new());
    let context = QueryContext::new(&budget, &clock);
    let engine = Engine::new(EngineOptions {
        samples_max: 200,
        ..EngineOptions::default()
    });
    let cache = ResultCache::new(1 << 20, 4);
    let ask = |minutes: i64| {
        let grid = Grid {
            start,
            end: start + minutes * MINUTE,
            step_ms: MINUTE,
        };
        let plain = engine.matrix(&db, "sum(m)", grid, &context).is_ok();
        let answer = engine.matrix_with(&db, "sum(m)", grid, &context, &cache);
        let cells = answer.map(|answer| {
            let mut rows = answer.value.rows();
            let cells: Vec<(usize, f64)> = rows.next().unwrap().floats().collect();
            assert!(rows.next().is_none());
            assert!(cells.iter().all(|(_, value)| *value == 45.0));
            cells.len()
        });
        (plain, cells)
    };
    // Ten samples a step are held, and of one that is there already its sum.
    assert_eq!(ask(19), (true, Ok(20)));
    assert_eq!(ask(20), (false, Ok(21)));
    assert_eq!(ask(35), (false, Ok(36)));
    // 36, and ten for each of 17 steps.
    let refusal = QueryError::Execution(
        "query processing would load too many samples into memory in query execution".to_owned(),
    );
    assert_eq!(ask(52), (false, Err(refusal)));
    assert_eq!(ask(51), (false, Ok(52)));
}

#[test]
fn what_is_said_is_taken_over_while_it_stays_the_same() {
    let db = empty_store();
    let start = DATA_START;
    for minute in 0..60 {
        let mut appender = db.appender();
        for name in ["m", "gone"] {
            let labels = Labels::from_pairs([("__name__", name)]);
            let series = appender.series(&labels).unwrap();
            let (time, value) = (start + minute * MINUTE, minute as f64);
            if name == "m" || minute < 15 {
                appender.samples(series, &[Sample { time, value }]);
            }
        }
        appender.commit(true).unwrap();
    }
    let (budget, clock) = (Budget::unlimited(), SystemClock::new());
    let context = QueryContext::new(&budget, &clock);
    let engine = Engine::new(EngineOptions::default());
    let cache = ResultCache::new(1 << 20, 0);
    // How many queries went on from another one by then, and what the answer says.
    let ask = |query: &str, minutes: [i64; 2]| {
        let [first, last] = minutes.map(|minute| start + minute * MINUTE);
        let grid = Grid {
            start: first,
            end: last,
            step_ms: MINUTE,
        };
        let plain = engine.matrix(&db, query, grid, &context);
        let answer = engine.matrix_with(&db, query, grid, &context, &cache);
        let infos = answer.as_ref().unwrap().infos.clone();
        assert_eq!(printed(answer), printed(plain), "{query} in {minutes:?}");
        let place = |info: &String| info.rsplit_once(" (").unwrap().1.to_owned();
        let places: Vec<String> = infos.iter().map(place).collect();
        (cache.stats().continued, places.concat())
    };
    let said = |continued: u64, places: &str| (continued, places.to_owned());
    assert_eq!(ask("sum(rate(m[5m]))", [0, 30]), said(0, "1:10)"));
    assert_eq!(ask("sum(rate(m[5m]))", [5, 40]), said(1, "1:10)"));
    assert_eq!(ask("sum(rate(m[5m]))", [5, 40]), said(2, "1:10)"));
    // Of fewer of the steps it is not known.
    assert_eq!(ask("sum(rate(m[5m]))", [6, 30]), said(2, "1:10)"));
    // It stands at another place.
    assert_eq!(ask(" sum(rate(m[5m])) ", [6, 30]), said(2, "1:11)"));
    assert_eq!(ask(" sum(rate(m[5m]))", [6, 30]), said(3, "1:11)"));
    // Because of steps that are taken over, and of none any more.
    let query = "sum(rate(gone[5m])) or vector(1)";
    assert_eq!(ask(query, [0, 30]), said(3, "1:10)"));
    assert_eq!(ask(query, [5, 40]), said(3, "1:10)"));
    assert_eq!(ask(query, [30, 50]), said(3, ""));
    assert_eq!(ask(query, [31, 51]), said(4, ""));
    // Because of new ones.
    assert_eq!(
        ask("absent(m offset 50m) or rate(m[5m] offset 50m)", [20, 49]),
        said(4, "")
    );
    assert_eq!(
        ask("absent(m offset 50m) or rate(m[5m] offset 50m)", [21, 56]),
        said(4, "1:30)")
    );
    assert_eq!(
        ask("absent(m offset 50m) or rate(m[5m] offset 50m)", [22, 57]),
        said(5, "1:30)")
    );
}

const HOUR: i64 = 60 * MINUTE;

/// Which of equal values are taken goes by creation only as long as Prometheus's head would have all that is read.
#[test]
fn an_answer_in_another_order_of_series_is_not_gone_on_from() {
    let db = empty_store();
    let start = DATA_START - DATA_START % (2 * HOUR) + MINUTE;
    let push = |time: i64| {
        let mut appender = db.appender();
        for name in ["b", "a"] {
            let labels = Labels::from_pairs([("__name__", "m"), ("n", name)]);
            let series = appender.series(&labels).unwrap();
            appender.samples(series, &[Sample { time, value: 1.0 }]);
        }
        appender.commit(true).unwrap();
    };
    let (budget, clock) = (Budget::unlimited(), SystemClock::new());
    let context = QueryContext::new(&budget, &clock);
    let engine = Engine::default();
    let cache = ResultCache::new(1 << 20, 0);
    let taken = |minutes: i64| {
        let grid = Grid {
            start: start + 10 * MINUTE,
            end: start + minutes * MINUTE,
            step_ms: MINUTE,
        };
        let answer = engine.matrix_with(&db, "topk(1, m)", grid, &context, &cache);
        let matrix = answer.unwrap().value;
        let names = matrix
            .rows()
            .map(|row| row.labels.get("n").map(str::to_owned));
        (names.collect::<Vec<_>>(), cache.stats().continued)
    };
    let only = |name: &str| vec![Some(name.to_owned())];
    for minute in 0..60 {
        push(start + minute * MINUTE);
    }
    assert_eq!(taken(30), (only("b"), 0));
    assert_eq!(taken(31), (only("b"), 1));
    push(start + 3 * HOUR);
    assert_eq!(taken(32), (only("b"), 2));
    push(start + 3 * HOUR + 1);
    assert_eq!(taken(33), (only("a"), 2));
    assert_eq!(taken(34), (only("a"), 3));
}
