//! The engine over a store in memory; expected values are calculated by hand.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use narthex_query::{
    Answer, Engine, EngineOptions, Features, Grid, QueryContext, QueryError, SampleValue, Value,
    parser::HEIGHT_MAX, testscript::MemoryStore,
};
use narthex_storage::{
    Appendable, Budget, Clock, Counts, Db, DbOptions, Fs, Histogram, HistogramCounts,
    HistogramLayout, Labels, MemoryFs, Queryable, Sample, Span, SystemClock, stale_marker,
};

fn labels(text: &str) -> Labels {
    Labels::from_pairs(text.split(',').filter_map(|pair| pair.split_once('=')))
}

/// `requests_total` of three instances at 15 s over ten minutes: rises of 1, 2 and 3 a second.
fn store() -> MemoryStore {
    let mut store = MemoryStore::default();
    for (instance, job, slope) in [("c", "y", 3.0), ("a", "x", 1.0), ("b", "x", 2.0)] {
        let labels = labels(&format!(
            "__name__=requests_total,instance={instance},job={job}"
        ));
        for step in 0..=40 {
            let seconds = step * 15;
            store.append(&labels, seconds * 1000, 1000.0 + seconds as f64 * slope);
        }
    }
    for (host, bucket, slope) in [
        ("a", "1", 20.0),
        ("a", "2.5", 14.5),
        ("b", "1", 1.0),
        ("b", "50", 0.5),
    ] {
        let labels = labels(&format!("__name__=falling_bucket,host={host},le={bucket}"));
        for seconds in [0, 15, 30] {
            store.append(&labels, seconds * 1000, 1.0 + seconds as f64 * slope);
        }
    }
    for host in ["a", "b"] {
        let labels = labels(&format!("__name__=falling_bucket,host={host},le=+Inf"));
        store.append(&labels, 0, 1000.0);
    }
    for (seconds, value) in [(0, 1.0), (15, 2.0), (30, stale_marker()), (60, 3.0)] {
        store.append(&labels("__name__=gauge"), seconds * 1000, value);
    }
    store
}

fn run<S: Queryable>(
    store: &S,
    call: impl FnOnce(&Engine, &QueryContext<'_>, &S) -> Result<Answer, QueryError>,
) -> Result<Answer, QueryError> {
    let budget = Budget::unlimited();
    let clock = SystemClock::new();
    let context = QueryContext::new(&budget, &clock);
    let options = EngineOptions {
        features: Features {
            delayed_name_removal: false,
            ..Features::ALL
        },
        ..EngineOptions::default()
    };
    call(&Engine::new(options), &context, store)
}

/// A value without the rounding of its last bits.
fn near(value: f64) -> f64 {
    (value * 1e9).round() / 1e9
}

/// Each series of an answer as one line.
fn print(answer: Result<Answer, QueryError>) -> String {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return format!("error: {error}"),
    };
    let mut lines = match answer.value {
        Value::Scalar(sample) => vec![format!("{}", sample.value)],
        Value::String { value, .. } => vec![value],
        Value::Vector(samples) => samples
            .iter()
            .map(|element| match &element.value {
                SampleValue::Float(value) => format!("{} {}", element.labels, near(*value)),
                SampleValue::Histogram(histogram) => format!("{} {histogram}", element.labels),
            })
            .collect(),
        Value::Matrix(series) => series
            .iter()
            .map(|series| {
                let samples: Vec<String> = series
                    .samples
                    .iter()
                    .map(|sample| format!("{}@{}", near(sample.value), sample.time / 1000))
                    .collect();
                format!("{} {}", series.labels, samples.join(" "))
            })
            .collect(),
    };
    lines.extend(answer.warnings);
    lines.extend(answer.infos);
    lines.join("\n")
}

#[track_caller]
fn at(seconds: i64, query: &str, expected: &str) {
    let answer = run(&store(), |engine, context, store| {
        engine.instant(store, query, seconds * 1000, context)
    });
    assert_eq!(print(answer), expected, "{query}");
}

#[track_caller]
fn over(start: i64, end: i64, step: i64, query: &str, expected: &str) {
    let grid = Grid {
        start: start * 1000,
        end: end * 1000,
        step_ms: step * 1000,
    };
    let answer = run(&store(), |engine, context, store| {
        engine.range(store, query, grid, context)
    });
    assert_eq!(print(answer), expected, "{query}");
}

#[test]
fn selectors_end_at_staleness_markers_and_after_the_lookback() {
    over(
        0,
        75,
        15,
        "gauge",
        "{__name__=\"gauge\"} 1@0 2@15 3@60 3@75",
    );
    at(359, "gauge", "{__name__=\"gauge\"} 3");
    at(360, "gauge", "");
    at(60, "gauge[45s]", "{__name__=\"gauge\"} 3@60");
    at(60, "gauge[1m]", "{__name__=\"gauge\"} 2@15 3@60");
    at(75, "gauge offset 1m", "{__name__=\"gauge\"} 2");
    over(
        0,
        60,
        30,
        "gauge @ 15",
        "{__name__=\"gauge\"} 2@0 2@30 2@60",
    );
}

#[test]
fn rates_and_sums_by_label() {
    at(
        600,
        "sum by (job) (rate(requests_total[5m]))",
        "{job=\"x\"} 3\n{job=\"y\"} 3",
    );
    over(
        300,
        360,
        60,
        "sum(increase(requests_total[1m]))",
        "{} 360@300 360@360",
    );
    at(
        60,
        "rate(gauge[1m])",
        "{} 0.022222222\nPromQL info: metric might not be a counter, name does not end in \
         _total/_sum/_count/_bucket: \"gauge\" (1:6)",
    );
}

#[test]
fn a_thing_is_said_once_at_its_last_place() {
    at(
        60,
        "0 * rate(gauge[1m]) + 0 * rate(gauge[1m])",
        "{} 0\nPromQL info: metric might not be a counter, name does not end in \
         _total/_sum/_count/_bucket: \"gauge\" (1:32)",
    );
    at(
        60,
        "0 * rate((gauge)[1m:15s])",
        "{} 0\nPromQL info: metric might not be a counter, name does not end in \
         _total/_sum/_count/_bucket: \"gauge\" (1:1)",
    );
}

/// The counts of `a` fall by 5.5 a second from the bucket 1 to 2.5, those of `b` by 0.5 from 1 to 50.
#[test]
fn repaired_counts_are_told_together() {
    let text = "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see \
                https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)";
    at(
        30,
        "histogram_quantile(0, falling_bucket)",
        &format!(
            "{{host=\"a\"}} 0\n{{host=\"b\"}} 0\n{text}, from buckets 2.5 to 50, with a max diff of \
             1.6e+02, over 2 samples from 1970-01-01T00:00:30Z to 1970-01-01T00:00:30Z (1:23)"
        ),
    );
    over(
        0,
        30,
        15,
        "histogram_quantile(0, falling_bucket{host=\"b\"})",
        &format!(
            "{{host=\"b\"}} 0@0 0@15 0@30\n{text}, from buckets 50 to 50, with a max diff of \
             15, over 2 samples from 1970-01-01T00:00:15Z to 1970-01-01T00:00:30Z (1:23)"
        ),
    );
}

/// Series of `m` and `s` as they were pushed: a label `i` or `k`, and `n`.
const CREATED: [(&str, &str, f64); 12] = [
    ("m", "i=e,n=0", 101.0),
    ("m", "i=b,n=1", 98.0),
    ("m", "i=d,n=0", 100.0),
    ("m", "i=a,n=1", 97.0),
    ("m", "i=c,n=0", 99.0),
    ("s", "n=b", 1.0),
    ("s", "k=1", 1.0),
    ("s", "n=a10", 1.0),
    ("s", "n=a9", 1.0),
    ("s", "k=4", 1.0),
    ("s", "n=a", 1.0),
    ("s", "n=a09", 1.0),
];

/// What Prometheus 3.5 answers, in its order, when all were pushed in one request.
const FIRST: [(&str, &str); 21] = [
    ("limitk(2, m)", "b1 e0"),
    ("limitk(2, m * 0)", "e0 b1"),
    ("limitk by (n) (1, m)", "e0 b1"),
    ("limit_ratio(0.5, m)", "b1 d0 c0"),
    ("topk(2, m * 0)", "e0 b1"),
    ("bottomk by (n) (1, m * 0)", "e0 b1"),
    ("limitk(1, sum by (n) (m))", "0"),
    ("limitk(3, m{i=\"c\"} or m)", "b1 e0 c0"),
    ("limitk(2, m and on (i) m{i=~\"a|c|d\"})", "a1 d0"),
    ("sort(m > bool 99)", "b1 a1 c0 e0 d0"),
    ("sort_desc(m > bool 99)", "e0 d0 b1 a1 c0"),
    ("limitk(1, limitk(2, m))", "b1"),
    ("sort_by_label(s, \"n\")", "b 1 a9 a10 4 a a09"),
    ("sort_by_label_desc(s, \"n\")", "4 1 b a10 a9 a09 a"),
    (
        "limitk(2, m * on (n) group_left () count by (n) (m))",
        "b1 e0",
    ),
    ("limitk(1, abs(m))", "e0"),
    ("topk(2, vector(0) or m * 0)", "- e0"),
    (
        "limitk(2, label_replace(m, \"x\", \"$1\", \"i\", \"(.*)\"))",
        "b1 e0",
    ),
    ("limitk(1, count_values(\"v\", m > bool 98))", "-"),
    ("limitk(2, last_over_time(m[1m]))", "b1 e0"),
    (
        "m * on (n) m",
        "error: found duplicate series for the match group {n=\"0\"} on the right hand-side of the \
         operation: [{__name__=\"m\", i=\"d\", n=\"0\"}, {__name__=\"m\", i=\"e\", n=\"0\"}];many-to-many \
         matching not allowed: matching labels must be unique on one side",
    ),
];

#[test]
fn series_are_first_as_they_were_created() {
    let fs: Arc<dyn Fs> = Arc::new(MemoryFs::default());
    let open = || {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        Db::open(&DbOptions::new("/data", Arc::clone(&fs), clock))
            .unwrap()
            .0
    };
    let ask = |db: &Db, hour: i64| {
        for (query, expected) in FIRST {
            let answer = run(db, |engine, context, db| {
                engine.instant(db, query, hour * 3_600_000, context)
            });
            let found = match &answer {
                Ok(Answer {
                    value: Value::Vector(vector),
                    ..
                }) => {
                    let short = vector.iter().map(|sample| {
                        let values = ["i", "n", "k"].map(|name| sample.labels.get(name));
                        let text: String = values.into_iter().flatten().collect();
                        if text.is_empty() {
                            "-".to_owned()
                        } else {
                            text
                        }
                    });
                    short.collect::<Vec<String>>().join(" ")
                }
                _ => print(answer),
            };
            assert_eq!(found, expected, "{query}");
        }
    };
    let push = |db: &Db, hour: i64| {
        let mut appender = db.appender();
        for (name, pairs, value) in CREATED {
            let series = appender.series(&labels(&format!("__name__={name},{pairs}")));
            let time = hour * 3_600_000;
            appender.samples(series.unwrap(), &[Sample { time, value }]);
        }
        appender.commit(true).unwrap();
    };
    let db = open();
    push(&db, 0);
    ask(&db, 0);
    db.close().unwrap();
    drop(db);
    let db = open();
    push(&db, 3);
    ask(&db, 3);
    let first = |hour: i64| {
        let answer = run(&db, |engine, context, db| {
            engine.instant(db, "limitk(2, m)", hour * 3_600_000, context)
        });
        print(answer)
    };
    assert!(first(0).contains("i=\"e\""));
    let all = print(run(&db, |engine, context, db| {
        engine.instant(db, "sgn(m)", 0, context)
    }));
    assert_eq!(
        all,
        "{i=\"a\", n=\"1\"} 1\n{i=\"b\", n=\"1\"} 1\n{i=\"c\", n=\"0\"} 1\n{i=\"d\", n=\"0\"} 1\n{i=\"e\", n=\"0\"} 1"
    );
    // What is older than two hours would be in a block of Prometheus's from here on, where series are in label order.
    push(&db, 4);
    assert_eq!(
        first(0),
        "{__name__=\"m\", i=\"a\", n=\"1\"} 97\n{__name__=\"m\", i=\"b\", n=\"1\"} 98"
    );
    ask(&db, 3);
}

/// As in Prometheus 3.5.
#[test]
fn patterns_that_are_enclosed_must_close_their_quotes() {
    let replaced = "{__name__=\"gauge\", b=\"e\"} 1";
    at(
        0,
        r#"label_replace(gauge, "b", "$1", "__name__", `gau\Qg\E(e)`)"#,
        replaced,
    );
    at(
        0,
        r#"label_replace(gauge, "b", "$1", "__name__", `(g)\Qauge`)"#,
        r"error: invalid regular expression in label_replace(): (g)\Qauge",
    );
    at(0, r"{__name__=~`g\Qauge`}", "{__name__=\"gauge\"} 1");
}

#[test]
fn absent_goes_by_the_order_of_matchers_in_which_some_come_last() {
    // As Prometheus 3.5 answers them when its head has samples.
    at(0, "absent(nothing{a!=\"b\", a=\"c\"})", "{} 1");
    at(0, "absent(nothing{a=\"c\", a!=\"b\"})", "{} 1");
    at(0, "absent(nothing{a!=\"\", a=\"c\"})", "{a=\"c\"} 1");
    at(0, "absent(nothing{a=\"c\", a!=\"\"})", "{} 1");
    at(
        0,
        "absent(nothing{a=~\".*\", a=\"c\", b!~\"x\"})",
        "{a=\"c\"} 1",
    );
}

#[test]
fn operators_match_series_by_labels() {
    at(
        0,
        "requests_total / on (job) group_left sum by (job) (requests_total)",
        "{instance=\"a\", job=\"x\"} 0.5\n{instance=\"b\", job=\"x\"} 0.5\n{instance=\"c\", job=\"y\"} 1",
    );
    at(
        0,
        "requests_total * on (job) requests_total",
        "error: found duplicate series for the match group {job=\"x\"} on the right hand-side of the \
         operation: [{__name__=\"requests_total\", instance=\"b\", job=\"x\"}, \
         {__name__=\"requests_total\", instance=\"a\", job=\"x\"}];many-to-many matching not \
         allowed: matching labels must be unique on one side",
    );
    at(
        0,
        "requests_total * on (job) sum by (job) (requests_total)",
        "error: multiple matches for labels: many-to-one matching must be explicit \
         (group_left/group_right)",
    );
    over(
        0,
        60,
        60,
        "requests_total > 1150 or gauge",
        "{__name__=\"gauge\"} 1@0 3@60\n\
         {__name__=\"requests_total\", instance=\"c\", job=\"y\"} 1180@60",
    );
    at(0, "1 + 2 * 3 ^ 2", "19");
    at(
        0,
        "{__name__=~\"gauge|requests_total\",job!=\"x\"} * 2",
        "{} 2\n{instance=\"c\", job=\"y\"} 2000",
    );
}

#[test]
fn subqueries_stand_on_multiples_of_their_step() {
    at(100, "max_over_time(vector(time())[1m:30s])", "{} 90");
    at(
        100,
        "time()[1m:30s]",
        "error: 1:1: parse error: subquery is only allowed on instant vector, got scalar instead",
    );
    at(100, "vector(time())[1m:30s]", "{} 60@60 90@90");
}

#[test]
fn limits_and_cancellation_end_a_query() {
    let ended = |options: EngineOptions, cancel: bool, deadline: Option<Duration>| {
        let budget = Budget::unlimited();
        if cancel {
            budget.cancel();
        }
        let clock = SystemClock::new();
        let context = QueryContext {
            deadline,
            ..QueryContext::new(&budget, &clock)
        };
        Engine::new(options)
            .instant(&store(), "sum(rate(requests_total[5m]))", 600_000, &context)
            .map(|answer| answer.value)
    };
    let few = EngineOptions {
        samples_max: 10,
        ..EngineOptions::default()
    };
    assert_eq!(
        ended(few, false, None),
        Err(QueryError::Execution(
            "query processing would load too many samples into memory in query execution"
                .to_owned()
        ))
    );
    assert_eq!(
        ended(EngineOptions::default(), true, None),
        Err(QueryError::Canceled("expression evaluation"))
    );
    assert_eq!(
        ended(EngineOptions::default(), false, Some(Duration::ZERO)),
        Err(QueryError::Timeout("expression evaluation"))
    );
}

/// A clock that tells how often it was looked at.
#[derive(Debug, Default)]
struct WatchedClock(AtomicU64);

impl Clock for WatchedClock {
    fn now(&self) -> i64 {
        0
    }

    fn monotonic(&self) -> Duration {
        self.0.fetch_add(1, Ordering::Relaxed);
        Duration::ZERO
    }
}

#[test]
fn a_scan_looks_at_the_deadline_now_and_then() {
    let looks = |query: &str, series: usize| {
        let mut store = MemoryStore::default();
        for host in 0..series {
            for time in 0..5_000 {
                store.append(&labels(&format!("__name__=m,host={host}")), time * 100, 1.0);
            }
        }
        let (budget, clock) = (Budget::unlimited(), WatchedClock::default());
        let context = QueryContext {
            deadline: Some(Duration::MAX),
            ..QueryContext::new(&budget, &clock)
        };
        let grid = Grid {
            start: 0,
            end: 500_000,
            step_ms: 10_000,
        };
        Engine::default()
            .range(&store, query, grid, &context)
            .unwrap();
        clock.0.into_inner()
    };
    for query in ["sum(m)", "sum(deriv(m[1m]))"] {
        // 45,000 samples more.
        let more = looks(query, 10) - looks(query, 1);
        assert!((4..=9).contains(&more), "{query}: {more}");
    }
}

#[test]
fn names_that_are_dropped_are_no_groups() {
    at(600, "sum by (__name__) (rate(requests_total[1m]))", "{} 6");
    at(
        600,
        "sum by (__name__, job) (last_over_time(requests_total[1m]))",
        "{__name__=\"requests_total\", job=\"x\"} 3800\n\
         {__name__=\"requests_total\", job=\"y\"} 2800",
    );
}

/// What Prometheus 3.5.3 says of the same samples with `stats=all`: looked at, held at most, looked at by step.
#[test]
fn samples_are_counted_as_prometheus_counts_them() {
    let mut store = MemoryStore::default();
    for instance in 1..=3 {
        let labels = labels(&format!("__name__=small,i={instance}"));
        for step in 0..=20 {
            store.append(&labels, step * 30_000, (instance * step % 7) as f64);
        }
    }
    let grid = Grid {
        start: 60_000,
        end: 300_000,
        step_ms: 60_000,
    };
    let clock = SystemClock::new();
    let run = |samples_max: u64, query: &str, grid: Option<Grid>| {
        let budget = Budget::unlimited();
        let context = QueryContext {
            tells_steps: true,
            ..QueryContext::new(&budget, &clock)
        };
        let engine = Engine::new(EngineOptions {
            features: Features {
                per_step_statistics: true,
                ..Features::default()
            },
            samples_max,
            ..EngineOptions::default()
        });
        match grid {
            Some(grid) => engine.range(&store, query, grid, &context),
            None => engine.instant(&store, query, 300_000, &context),
        }
    };
    let threes = [3; 5];
    let every = [9, 12, 12, 12, 12];
    for (query, instant, range, by_step) in [
        ("small", (3, 3), (15, 15), threes),
        ("2", (0, 1), (0, 5), [0; 5]),
        ("small + small", (6, 15), (30, 51), [6; 5]),
        ("small > 3", (3, 9), (15, 32), threes),
        ("sum(sum by (i) (small))", (3, 3), (15, 15), threes),
        ("-small", (3, 3), (15, 15), threes),
        ("small @ end()", (3, 3), (15, 15), threes),
        ("abs(small)", (3, 9), (15, 33), threes),
        ("clamp_max(sum(small), 1)", (3, 5), (15, 17), threes),
        ("clamp(sum(small), 1, 2)", (3, 7), (15, 23), threes),
        ("vector(1)", (0, 3), (0, 5), [0; 5]),
        ("time()", (0, 1), (0, 5), [0; 5]),
        ("scalar(small)", (3, 7), (15, 23), threes),
        ("timestamp(small)", (3, 6), (15, 18), threes),
        ("absent(small)", (3, 6), (15, 18), threes),
        ("sum(rate(small[2m]))", (12, 7), (57, 19), every),
        (
            "quantile_over_time(0.5, small[1m])",
            (6, 6),
            (30, 22),
            [6; 5],
        ),
        ("max_over_time(small[2m:30s])", (12, 19), (57, 52), every),
        (
            "max_over_time(sum(small)[2m:30s])",
            (4, 12),
            (19, 33),
            [3, 4, 4, 4, 4],
        ),
        ("count_values(\"v\", small)", (3, 9), (15, 33), threes),
        ("topk(2, small)", (3, 4), (15, 20), threes),
        ("absent_over_time(small[1m])", (6, 5), (30, 17), [6; 5]),
        (
            "rate(small[2m] @ end()) + small",
            (15, 15),
            (75, 51),
            [15; 5],
        ),
    ] {
        let count = |grid| {
            let answer = run(1_000_000, query, grid).expect("it is answered");
            let by_step: Vec<u64> = answer.samples_by_step.iter().map(|step| step.1).collect();
            (answer.samples_total, answer.samples_peak, by_step)
        };
        let (total, peak) = instant;
        assert_eq!(count(None), (total, peak, vec![total]), "{query}");
        let (total, peak) = range;
        assert_eq!(
            count(Some(grid)),
            (total, peak, by_step.to_vec()),
            "{query}"
        );
        // At the peak it is answered, below it is refused.
        for (samples_max, is_answered) in [(peak, true), (peak - 1, false)] {
            let answer = run(samples_max, query, Some(grid));
            assert_eq!(answer.is_ok(), is_answered, "{query} with {samples_max}");
        }
    }
    for (query, counts) in [("(small)[2m:30s]", (12, 12)), ("small[2m]", (12, 12))] {
        let answer = run(12, query, None).expect("it is answered");
        assert_eq!(
            (answer.samples_total, answer.samples_peak),
            counts,
            "{query}"
        );
        assert_eq!(answer.samples_by_step, [(300_000, 12)], "{query}");
    }
}

#[test]
fn columns_beyond_the_budget_are_refused() {
    for query in [
        "requests_total",
        "rate(requests_total[1m])",
        "sum(requests_total)",
    ] {
        let budget = Budget::new(100);
        let clock = SystemClock::new();
        let context = QueryContext::new(&budget, &clock);
        let grid = Grid {
            start: 0,
            end: 600_000,
            step_ms: 1000,
        };
        assert_eq!(
            Engine::default().range(&store(), query, grid, &context),
            Err(QueryError::Execution(
                "query processing would load too many samples into memory in query execution"
                    .to_owned()
            )),
            "{query}"
        );
    }
}

/// 123 samples of 16 bytes: they are weighed before the first is read, and once more while they are kept.
#[test]
fn a_range_vector_that_is_too_large_is_refused() {
    for (bytes, is_answered) in [(123 * 16, true), (123 * 16 - 1, false)] {
        let budget = Budget::new(bytes);
        let clock = SystemClock::new();
        let context = QueryContext::new(&budget, &clock);
        let answer = Engine::default().instant(&store(), "requests_total[1h]", 600_000, &context);
        assert_eq!(answer.is_ok(), is_answered, "{bytes}");
        // What is refused has taken nothing.
        assert_eq!(budget.charge(bytes).is_ok(), !is_answered);
    }
}

/// Each of the three series takes 61 numbers; of a sum one row is held.
#[test]
fn rows_that_are_held_are_refused_before_they_are_read() {
    const ROWS_BYTES: u64 = 3 * 61 * 8;
    let grid = Grid {
        start: 0,
        end: 600_000,
        step_ms: 10_000,
    };
    let refused = |query: &str, bytes: u64| {
        let budget = Budget::new(bytes);
        let clock = SystemClock::new();
        let context = QueryContext::new(&budget, &clock);
        let answer = Engine::default().range(&store(), query, grid, &context);
        // What is refused ahead has taken nothing.
        answer.is_err() && budget.charge(bytes).is_ok()
    };
    for query in [
        "requests_total",
        "last_over_time(requests_total[1m])",
        "abs(requests_total)",
        "requests_total + 1",
        "sum(requests_total * 2)",
    ] {
        assert!(refused(query, ROWS_BYTES - 1), "{query}");
        assert!(!refused(query, ROWS_BYTES), "{query}");
    }
    // A sample may lie between the windows of the steps.
    assert!(!refused(
        "last_over_time(requests_total[5s])",
        ROWS_BYTES - 1
    ));
    assert!(!refused("sum(requests_total)", ROWS_BYTES - 1));
}

#[test]
fn the_highest_tree_is_evaluated_on_a_small_stack() {
    let chain = |joint: &str| vec!["requests_total"; HEIGHT_MAX - 1].join(joint);
    let nested = format!(
        "{}gauge{}",
        "abs(".repeat(HEIGHT_MAX - 2),
        ")".repeat(HEIGHT_MAX - 2)
    );
    let queries = [chain(" + "), chain(" or "), nested];
    std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(move || {
            for query in queries {
                let answer = run(&store(), |engine, context, store| {
                    engine.instant(store, &query, 0, context)
                });
                assert!(answer.is_ok(), "{answer:?}");
            }
        })
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn a_better_value_takes_the_place_of_the_first_of_the_worst() {
    at(
        600,
        "bottomk(2, requests_total < bool 2500)",
        "{instance=\"c\", job=\"y\"} 0\n{instance=\"b\", job=\"x\"} 1",
    );
}

#[test]
fn every_row_of_a_large_topk_is_kept() {
    at(
        600,
        "count(topk(1e9, requests_total)) + count(bottomk(3, requests_total))",
        "{} 6",
    );
}

#[test]
fn warnings_name_the_place_inside_the_parentheses() {
    let outside = "PromQL warning: quantile value should be between 0 and 1, got 2";
    let bound = "PromQL warning: bucket label \"le\" is missing or has a malformed value of \"\"";
    at(
        60,
        "histogram_quantile((2), (gauge))",
        &format!("{outside} (1:21)\n{bound} (1:26)"),
    );
    at(
        60,
        "quantile((2), gauge)",
        &format!("{{}} inf\n{outside} (1:11)"),
    );
}

#[test]
fn a_wrong_quantile_is_worth_a_word_only_where_there_are_samples() {
    let outside = "PromQL warning: quantile value should be between 0 and 1, got";
    over(
        0,
        60,
        30,
        "quantile_over_time(2 + time(), gauge[15s])",
        &format!("{{}} inf@0 inf@60\n{outside} 2 (1:20)\n{outside} 62 (1:20)"),
    );
    at(3600, "quantile_over_time(2, gauge[15s])", "");
}

#[test]
fn of_many_wrong_quantiles_an_aggregation_names_the_extremes() {
    let outside = "PromQL warning: quantile value should be between 0 and 1, got";
    over(
        0,
        60,
        30,
        "quantile(time() - 30, nothing)",
        &format!("{outside} 30 (1:10)\n{outside} -30 (1:10)"),
    );
}

#[test]
fn the_first_step_with_two_partners_names_them() {
    let both =
        "((requests_total or label_replace(requests_total, \"copy\", \"1\", \"\", \"\")) > 1150)";
    over(
        0,
        600,
        15,
        &format!("requests_total * on (instance) {both}"),
        "error: found duplicate series for the match group {instance=\"c\"} on the right hand-side \
         of the operation: [{__name__=\"requests_total\", copy=\"1\", instance=\"c\", job=\"y\"}, \
         {__name__=\"requests_total\", instance=\"c\", job=\"y\"}];many-to-many matching not \
         allowed: matching labels must be unique on one side",
    );
}

/// A series of a number and two histograms, from memory and from a sealed block. The expected texts follow from
/// the samples; what is said of a window of both kinds is in Prometheus's words.
#[test]
fn histograms_of_the_store_are_computed_with() {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let fs: Arc<dyn Fs> = Arc::new(MemoryFs::default());
    let (store, _) = Db::open(&DbOptions::new("/data", fs, clock)).unwrap();
    let mut appender = store.appender();
    let series = appender.series(&labels("__name__=native")).unwrap();
    appender.samples(
        series,
        &[Sample {
            time: 0,
            value: 1.0,
        }],
    );
    let histogram = |count: u64| Histogram {
        sum: 5.0 * count as f64,
        layout: HistogramLayout {
            positive_spans: vec![Span {
                offset: 2,
                length: 1,
            }],
            ..HistogramLayout::default()
        },
        counts: HistogramCounts::Integer(Counts {
            count,
            zero: 0,
            positive: vec![count],
            negative: Vec::new(),
        }),
        ..Histogram::stale()
    };
    let samples = [(240_000, histogram(2)), (300_000, histogram(6))];
    appender.histograms(series, &samples);
    assert_eq!(appender.commit(true).unwrap().accepted, 3);
    for sealed in [false, true] {
        if sealed {
            store.snapshot(false).unwrap();
        }
        let at = |seconds: i64, query: &'static str, expected: &str| {
            let answer = run(&store, |engine, context, store| {
                engine.instant(store, query, seconds * 1000, context)
            });
            assert_eq!(print(answer), expected, "{query} at {seconds} s");
        };
        let newest = "{__name__=\"native\"} {count:6, sum:30, (2,4]:6}";
        at(1, "native", "{__name__=\"native\"} 1");
        at(300, "native", newest);
        at(300, "last_over_time(native[5m])", newest);
        at(300, "sum(native) * 2", "{} {count:12, sum:60, (2,4]:12}");
        at(300, "count_over_time(native[301s])", "{} 3");
        at(300, "histogram_quantile(1, native)", "{} 4");
        // 4 more in 60 s; a window of 2 min lies 60 s before the first sample, which is extrapolated by what
        // it takes the counter to come from zero: 30 s.
        at(300, "increase(native[2m])", "{} {count:6, sum:30, (2,4]:6}");
        at(
            300,
            "rate(native[301s])",
            "PromQL warning: encountered a mix of histograms and floats for metric name \"native\" (1:6)",
        );
    }
}
