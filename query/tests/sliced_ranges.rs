//! Range queries in slices that several threads evaluate: the same bits as by one alone, and the same end.
#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

mod scene;
mod watched;

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use narthex_query::{
    Answer, Engine, EngineOptions, Features, Grid, Matrix, QueryContext, QueryError, ResultCache,
    Slicing, Workers,
    random::{Choices, DATA_END, DATA_START, Language},
};
use narthex_storage::{
    Appendable, Budget, Clock, Counts, Db, DbOptions, Estimate, Histogram, HistogramCounts,
    HistogramLayout, Labels, MemoryFs, Portion, Queryable, ResetHint, Sample, Scan, SelectedSeries,
    Selection, Span, SystemClock, TimeRange, Timestamp,
};
use scene::{CountingClock, FEATURES, MINUTE, Panel, SECOND, Scene, printed};
use watched::Watched;

/// What happens when a slice, of another thread or of the query's own, begins to scan.
type Hook = dyn Fn(bool) + Send + Sync;

#[derive(Default)]
struct Watch {
    /// Scans by the query's own thread, and by others.
    scans: [AtomicUsize; 2],
    hook: Option<Box<Hook>>,
}

impl Watch {
    fn scans(&self) -> [usize; 2] {
        [0, 1].map(|of_others| self.scans[of_others].load(Ordering::Relaxed))
    }
}

struct WatchedSelection(Box<dyn Selection>, Arc<Watch>);

/// The store, of which scans are watched.
fn watched<'d>(store: &'d dyn Queryable, watch: &Arc<Watch>) -> Watched<'d> {
    let watch = Arc::clone(watch);
    Watched::new(store, move |selection| {
        Box::new(WatchedSelection(selection, Arc::clone(&watch)))
    })
}

impl Selection for WatchedSelection {
    fn series(&self) -> &[SelectedSeries] {
        self.0.series()
    }

    fn place(&self, series: usize) -> u64 {
        self.0.place(series)
    }

    fn estimate(&self, slice: TimeRange) -> Estimate {
        self.0.estimate(slice)
    }

    fn portions(&self, series: usize) -> Vec<Portion> {
        self.0.portions(series)
    }

    fn scan<'a>(&'a self, slice: TimeRange, budget: &'a Budget) -> Box<dyn Scan + 'a> {
        let is_of_other = thread::current().name() == Some("query-slice");
        self.1.scans[usize::from(is_of_other)].fetch_add(1, Ordering::Relaxed);
        if let Some(hook) = &self.1.hook {
            hook(is_of_other);
        }
        self.0.scan(slice, budget)
    }
}

/// Slices of whatever there is, by so many threads beside the query's own.
fn slicing(workers: usize) -> Slicing {
    Slicing {
        workers: Workers::new(workers),
        samples_min: 0,
        extra_percent_max: u64::MAX,
    }
}

fn engine(slicing: &Slicing, samples_max: u64) -> Engine {
    engine_with(FEATURES, slicing, samples_max)
}

fn engine_with(features: Features, slicing: &Slicing, samples_max: u64) -> Engine {
    Engine::new(EngineOptions {
        features,
        samples_max,
        slicing: slicing.clone(),
        ..EngineOptions::default()
    })
}

/// The answer with what it counted.
fn counted(answer: Result<Answer<Matrix>, QueryError>) -> String {
    let total = answer.as_ref().map_or(0, |answer| answer.samples_total);
    format!("{total} samples: {}", printed(answer))
}

/// Asks in slices and by one thread while things happen; answers how often it was asked, how often slices were begun,
/// and how often they gave the answer.
fn run(seed: u64) -> [u64; 3] {
    let choices = &mut Choices::Seeded(seed);
    let language = Language::new(FEATURES);
    let panels: Vec<Panel> = (0..8).map(|_| Panel::new(choices, &language)).collect();
    let cache = ResultCache::new(4_000_000, 0);
    let mut scene = Scene::new(choices);
    let slicing = slicing(1 + choices.below(3));
    let (budget, clock) = (Budget::unlimited(), SystemClock::new());
    let context = QueryContext::new(&budget, &clock);
    let mut now = DATA_START;
    let mut counts = [0; 3];
    while now < DATA_END + MINUTE {
        now += choices.pick(&[5 * SECOND, 15 * SECOND, 45 * SECOND]);
        scene.receive(now);
        scene.scrape(choices, now);
        if choices.once_in(6) {
            scene.meddle(choices, now);
        }
        let panel = &panels[choices.below(panels.len())];
        let grid = panel.grid(now);
        let samples_max = choices.pick(&[50_000_000, 50_000_000, 20, 100, 1_000, 10_000]);
        let ask = |slicing: &Slicing| {
            let watch = Arc::new(Watch::default());
            let store = watched(&scene.db, &watch);
            let engine = engine(slicing, samples_max);
            let answer = engine.matrix(&store, &panel.text, grid, &context);
            (counted(answer), watch.scans())
        };
        let (whole, [scans, _]) = ask(&Slicing::default());
        let (sliced, [own, others]) = ask(&slicing);
        let told = format!(
            "seed {seed}, at most {samples_max}, {} at {grid:?}",
            panel.text
        );
        assert!(sliced == whole, "{told}\n{sliced}\nnot\n{whole}");
        counts[0] += 1;
        counts[1] += u64::from(others > 0);
        counts[2] += u64::from(others > 0 && own == scans);
        if samples_max > 1_000_000 {
            let store: &dyn Queryable = &scene.db;
            let engine = engine(&slicing, samples_max);
            let cached = engine.matrix_with(store, &panel.text, grid, &context, &cache);
            let cached = printed(cached);
            assert!(whole.ends_with(&cached), "{told}\n{cached}\nnot\n{whole}");
        }
    }
    counts
}

#[test]
fn in_slices_answers_are_the_same_bit_by_bit() {
    let set = std::env::var("NARTHEX_PROPTEST_CASES").ok();
    let cases = set.and_then(|cases| cases.parse().ok()).unwrap_or(60);
    let first = std::env::var("NARTHEX_SEED").ok();
    let first = first.and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let mut sums = [0; 3];
    for seed in first..first + cases {
        for (sum, count) in sums.iter_mut().zip(run(seed)) {
            *sum += count;
        }
    }
    let [asked, begun, answered] = sums;
    // A third of the questions at least is answered so.
    assert!(
        answered * 3 > asked,
        "asked {asked}, begun {begun}, answered {answered}"
    );
}

/// A clock that is set by hand.
#[derive(Debug, Default)]
struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        self.0.load(Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed) as u64)
    }
}

/// Ten numbers each of 61 minutes, and a native histogram each of the last 20.
fn minutes() -> Db {
    let clock: Arc<dyn Clock> = Arc::new(CountingClock::default());
    let options = DbOptions::new("/data", Arc::new(MemoryFs::default()), clock);
    let (db, _) = Db::open(&options).unwrap();
    for minute in 0..61 {
        let mut appender = db.appender();
        let time = DATA_START + minute * MINUTE;
        for number in 0..10 {
            let labels =
                Labels::from_pairs([("__name__", "m".to_owned()), ("n", number.to_string())]);
            let series = appender.series(&labels).unwrap();
            let value = f64::from(number);
            appender.samples(series, &[Sample { time, value }]);
            let labels = labels.with("__name__", "typed").with("__type__", "gauge");
            let series = appender.series(&labels).unwrap();
            appender.samples(series, &[Sample { time, value }]);
        }
        if minute > 40 {
            let labels = Labels::from_pairs([("__name__", "native")]);
            let series = appender.series(&labels).unwrap();
            appender.histograms(series, &[(time, histogram())]);
        }
        appender.commit(true).unwrap();
    }
    db
}

fn histogram() -> Histogram {
    Histogram {
        reset_hint: ResetHint::Unknown,
        layout: HistogramLayout {
            positive_spans: vec![Span {
                offset: 0,
                length: 1,
            }],
            ..HistogramLayout::default()
        },
        sum: 4.0,
        counts: HistogramCounts::Float(Counts {
            count: 3.0,
            positive: vec![3.0],
            ..Counts::default()
        }),
    }
}

/// The hour that [`minutes`] has.
const HOUR: Grid = Grid {
    start: DATA_START,
    end: DATA_START + 60 * MINUTE,
    step_ms: MINUTE,
};

thread_local! {
    /// Dropped when the thread has ended.
    static END: RefCell<Option<SetOnDrop>> = const { RefCell::new(None) };
}

struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn wait_for(flag: &AtomicBool) {
    let clock = SystemClock::new();
    while !flag.load(Ordering::Acquire) {
        assert!(
            clock.monotonic() < Duration::from_secs(30),
            "it never happened"
        );
        thread::yield_now();
    }
}

/// Asks in two slices, of which the query's own goes on only when the other has ended; `act` is done in the other as
/// it begins to scan. Answers the outcome, the scans and how many workers are free then.
fn ask_with(
    query: &str,
    context: &QueryContext<'_>,
    act: impl Fn() + Send + Sync + 'static,
) -> (thread::Result<String>, [usize; 2], usize) {
    let db = minutes();
    let (has_begun, has_ended) = (AtomicBool::new(false), Arc::new(AtomicBool::new(false)));
    let hook = move |is_of_other: bool| {
        if is_of_other {
            END.set(Some(SetOnDrop(Arc::clone(&has_ended))));
            wait_for(&has_begun);
            act();
        } else {
            has_begun.store(true, Ordering::Release);
            wait_for(&has_ended);
        }
    };
    let watch = Arc::new(Watch {
        hook: Some(Box::new(hook)),
        ..Watch::default()
    });
    let store = watched(&db, &watch);
    let slicing = slicing(1);
    let engine = engine(&slicing, 50_000_000);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        counted(engine.matrix(&store, query, HOUR, context))
    }));
    (outcome, watch.scans(), slicing.workers.free())
}

#[test]
fn what_ends_one_slice_ends_all() {
    let query = "sum(m) + max(m)";
    let budget = Arc::new(Budget::unlimited());
    let clock = Arc::new(HandClock::default());
    let context = QueryContext {
        deadline: Some(Duration::from_secs(1)),
        ..QueryContext::new(&budget, &*clock)
    };
    // Each slice scans twice when nothing happens.
    let (answer, scans, free) = ask_with(query, &context, || {});
    assert!(answer.unwrap().contains(":54/"), "neither ended before");
    assert_eq!((scans, free), ([2, 2], 1));

    let late = Arc::clone(&clock);
    let (answer, scans, free) = ask_with(query, &context, move || {
        late.0.store(1_000, Ordering::Relaxed);
    });
    let timeout = QueryError::Timeout("expression evaluation");
    assert_eq!(answer.unwrap(), format!("0 samples: {timeout:?}"));
    assert_eq!((scans, free), ([1, 1], 1));
    clock.0.store(0, Ordering::Relaxed);

    let (panic, scans, free) = ask_with(query, &context, || panic!("a slice broke"));
    let panic = panic.unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"a slice broke"));
    assert_eq!((scans, free), ([1, 1], 1));

    let canceled = Arc::clone(&budget);
    let (answer, scans, free) = ask_with(query, &context, move || canceled.cancel());
    let cancel = QueryError::Canceled("expression evaluation");
    assert_eq!(answer.unwrap(), format!("0 samples: {cancel:?}"));
    assert_eq!((scans, free), ([1, 1], 1));
}

#[test]
fn what_may_depend_on_other_steps_is_evaluated_whole() {
    let clock = HandClock::default();
    let query = "count(histogram_count(native)) + count(histogram_count(native offset 1m))";
    let (budget, whole_budget) = (Budget::new(1 << 30), Budget::new(1 << 30));
    let context = QueryContext::new(&budget, &clock);
    let (answer, scans, free) = ask_with(query, &context, || {});
    // The other slice sees a histogram in its first scan, the query's own has none: both scans are of the whole.
    assert_eq!((scans, free), ([3, 1], 1));
    let context = QueryContext::new(&whole_budget, &clock);
    let whole = engine(&Slicing::default(), 50_000_000).matrix(&minutes(), query, HOUR, &context);
    assert_eq!(answer.unwrap(), counted(whole));
    assert_eq!(budget.taken_bytes(), whole_budget.taken_bytes());
}

#[test]
fn what_is_said_about_slices_is_said_once() {
    let clock = HandClock::default();
    let budget = Budget::unlimited();
    let context = QueryContext::new(&budget, &clock);
    let is_counter = "PromQL info: metric might not be a counter, name does not end in \
                      _total/_sum/_count/_bucket: \\\"m\\\"";
    let is_quantile = "PromQL warning: quantile value should be between 0 and 1, got 2";
    for (query, said, of_own) in [
        ("rate(m[5m])", format!("[] [\"{is_counter} (1:6)\"]"), 1),
        (
            "rate(m[5m]) + quantile_over_time(2, m[5m])",
            format!("[\"{is_quantile} (1:34)\"] [\"{is_counter} (1:6)\"]"),
            2,
        ),
        // Which of several places would be the last one is not looked into.
        (
            "rate(m[5m]) + increase(m[7m])",
            format!("[] [\"{is_counter} (1:24)\"]"),
            4,
        ),
    ] {
        let (answer, [own, _], _) = ask_with(query, &context, || {});
        assert_eq!(own, of_own, "{query}");
        let answer = answer.unwrap();
        assert!(answer.contains(&said), "{query}: {answer}");
    }
}

/// The 61 numbers that are strung together are there beside those of the slices.
#[test]
fn what_is_strung_together_counts_in_the_budget() {
    let (db, clock) = (minutes(), HandClock::default());
    let taken = [0, 1].map(|workers| {
        let budget = Budget::new(1 << 30);
        let context = QueryContext::new(&budget, &clock);
        let engine = engine(&slicing(workers), 50_000_000);
        engine.matrix(&db, "sum(m)", HOUR, &context).unwrap();
        budget.taken_bytes()
    });
    assert_eq!(taken[1], taken[0] + 61 * 8);
}

#[test]
fn features_that_look_at_all_steps_are_evaluated_whole() {
    let db = minutes();
    let (budget, clock) = (Budget::unlimited(), HandClock::default());
    let context = QueryContext::new(&budget, &clock);
    let delayed_names = Features {
        delayed_name_removal: true,
        ..FEATURES
    };
    let starts = Features {
        start_timestamps: true,
        ..FEATURES
    };
    let scans = [FEATURES, delayed_names, starts].map(|features| {
        let watch = Arc::new(Watch::default());
        let store = watched(&db, &watch);
        let engine = engine_with(features, &slicing(1), 50_000_000);
        engine.matrix(&store, "sum(m)", HOUR, &context).unwrap();
        watch.scans()
    });
    assert_eq!(scans, [[1, 1], [1, 0], [1, 0]]);
}

#[test]
fn slices_are_as_many_as_are_worth_it() {
    let db = minutes();
    let (budget, clock) = (Budget::unlimited(), HandClock::default());
    let plain = QueryContext::new(&budget, &clock);
    let further = |slicing: Slicing, query: &str, grid: Grid, context: &QueryContext<'_>| {
        let watch = Arc::new(Watch::default());
        let store = watched(&db, &watch);
        let engine = engine(&slicing, 50_000_000);
        let answer = engine.matrix(&store, query, grid, context).unwrap();
        assert_eq!(answer.value.len(), 1);
        let [own, others] = watch.scans();
        assert_eq!((own, slicing.workers.free() > 0), (1, true));
        others
    };
    let of = |workers: usize, samples_min: u64, extra_percent_max: u64| {
        let slicing = Slicing {
            workers: Workers::new(workers),
            samples_min,
            extra_percent_max,
        };
        further(slicing, "sum(m)", HOUR, &plain)
    };
    // There are 610 samples.
    assert_eq!(
        [306, 305, 203, 100].map(|min| of(9, min, 1_000_000)),
        [0, 1, 2, 5]
    );
    assert_eq!(
        [1, 3, 9].map(|workers| of(workers, 100, 1_000_000)),
        [1, 3, 5]
    );
    // Each series has a portion of one sample, one of the 35 of the minutes 1 to 35, and one of 25. The cut before
    // minute 27 costs least: 25 minutes and a millisecond of the second portion, which lasts 34, are decoded by both
    // slices. With 30 samples for the series and 40 for a portion this is 175.7 for 61.
    assert_eq!([288, 289].map(|percent| of(9, 0, percent)), [0, 1]);
    // A step a slice.
    assert_eq!(of(99, 0, u64::MAX), 60);

    let two = Grid {
        end: HOUR.start + MINUTE,
        ..HOUR
    };
    let one = Grid {
        end: HOUR.start,
        ..HOUR
    };
    assert_eq!(
        [two, one].map(|grid| further(slicing(9), "sum(m)", grid, &plain)),
        [1, 0]
    );
    for query in [
        "sum(typed)",
        "sum({__name__=\"m\"} @ end())",
        "sum({n=~\".+\",__type__=\"\"} < 99)",
    ] {
        assert_eq!(further(slicing(9), query, HOUR, &plain), 0, "{query}");
    }
    let tells = [(true, false), (false, true)].map(|(tells_steps, tells_peak)| QueryContext {
        tells_steps,
        tells_peak,
        ..plain
    });
    assert_eq!(
        tells.map(|context| further(slicing(9), "sum(m)", HOUR, &context)),
        [0, 0]
    );
}
