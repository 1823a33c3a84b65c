//! How long queries take without and with a merge of blocks beside them.
//!
//! `NARTHEX_MERGING_SERIES` (50000) series, a hundred a target, and `NARTHEX_MERGING_HOURS` (3) of samples
//! 15 s apart, sealed every ten minutes. `NARTHEX_MERGING_CLIENTS` (1) threads take turns at three selectors (a
//! target; a name of all targets; five names by a regex, of a tenth of the targets), each by select, scan and
//! decoding of every sample, and pause for `NARTHEX_MERGING_PAUSE_US` (2000) after each query, with:
//!
//! * `alone`: no merge;
//! * `merge`: a merge at the priority of the queries, which gives way to nobody;
//! * `low`: likewise at the lowest priority of a thread;
//! * `paced`: at the lowest priority, and giving way to queries, as the server runs it;
//! * `paced_only`: giving way, at the priority of the queries.
//!
//! Each works on links to the same files; a way of merging does so again until it ran for
//! `NARTHEX_MERGING_SECONDS` (10). `merge_s` is the time of one merge of everything. `NARTHEX_MERGING_WAYS` (all)
//! names those to run, separated by commas. `waited` (Linux) counts the queries that waited for a lock or a
//! disk: where it is 0, latencies beyond those of `alone` are a matter of processors and caches.
#![expect(clippy::unwrap_used, reason = "a bench ends at what it did not expect")]
#![expect(clippy::print_stdout, reason = "the figures are the purpose")]

#[path = "common/clock.rs"]
mod clock;
#[path = "common/fleet.rs"]
mod fleet;
#[path = "common/parameter.rs"]
mod parameter;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clock::SetClock;
use fleet::{COLUMNS, Fleet};
use narthex_storage::{
    Budget, Clock, Db, DbOptions, MatchOp, Matcher, Pace, Queryable, RealFs, Select, SystemClock,
    TimeRange, Timestamp, Wants,
};
use parameter::parameter;

const START_MS: Timestamp = 1_700_000_000_000;
const STEP_MS: i64 = 15_000;
const LOWEST_PRIORITY: i32 = 19;

/// How the merge runs beside the queries.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Way {
    name: &'static str,
    merges: bool,
    is_low: bool,
    is_paced: bool,
}

const WAYS: [Way; 5] = [
    Way {
        name: "alone",
        merges: false,
        is_low: false,
        is_paced: false,
    },
    Way {
        name: "merge",
        merges: true,
        is_low: false,
        is_paced: false,
    },
    Way {
        name: "low",
        merges: true,
        is_low: true,
        is_paced: false,
    },
    Way {
        name: "paced",
        merges: true,
        is_low: true,
        is_paced: true,
    },
    Way {
        name: "paced_only",
        merges: true,
        is_low: false,
        is_paced: true,
    },
];

struct Sleep;

impl Pace for Sleep {
    fn is_stopped(&self) -> bool {
        false
    }

    fn wait(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

fn open(path: &Path, clock: Arc<dyn Clock>) -> Db {
    let options = DbOptions::new(path, Arc::new(RealFs), clock);
    Db::open(&options).unwrap().0
}

fn fill(path: &Path, series: u64, hours: u64) {
    let clock = Arc::new(SetClock::default());
    clock.set(START_MS);
    let db = open(path, Arc::<SetClock>::clone(&clock));
    let mut fleet = Fleet::new(&db, series / COLUMNS);
    let mut random = 1;
    for step in 0..hours as i64 * 3_600_000 / STEP_MS {
        let time = START_MS + step * STEP_MS;
        clock.set(time);
        fleet.commit(time, step as u64 * 3, &mut random);
        db.maintain().unwrap();
    }
    db.snapshot(false).unwrap();
    drop(fleet);
    db.close().unwrap();
}

/// A store of its own over the same files.
fn link(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            link(&path, &to.join(&name));
        } else {
            std::fs::hard_link(&path, to.join(&name)).unwrap();
        }
    }
}

/// Reads what the matchers select; answers how many samples.
fn read(db: &Db, matchers: &[Matcher], values: &mut Vec<f64>) -> usize {
    let budget = Budget::unlimited();
    let querier = db.querier(TimeRange::ALL).unwrap();
    let request = Select {
        matchers,
        range: TimeRange::ALL,
        limit: None,
        wants: Wants::Samples,
    };
    let selection = querier.select(&request, &budget).unwrap();
    let mut scan = selection.scan(TimeRange::ALL, &budget);
    let mut samples = 0;
    for series in 0..selection.series().len() {
        scan.seek(series).unwrap();
        while let Some(run) = scan.next_run().unwrap() {
            values.resize(run.len(), 0.0);
            run.values(values).unwrap();
            samples += values.len();
        }
    }
    samples
}

fn selectors() -> Vec<Vec<Matcher>> {
    let of = |name, op, value| Matcher::new(name, op, value).unwrap();
    vec![
        vec![of("instance", MatchOp::Equal, "host-3.example.com:9100")],
        vec![of("__name__", MatchOp::Equal, "metric_7_total")],
        vec![
            of("__name__", MatchOp::Regex, "metric_1[3-7]_total"),
            of("instance", MatchOp::Regex, "host-[0-9]*3\\..*"),
        ],
    ]
}

/// How often the calling thread gave its processor away to wait for something: a lock, a disk.
fn waits() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

/// One query: how long it took, in seconds, and whether it waited for more than a processor.
struct Took {
    seconds: f64,
    waited: bool,
}

/// Queries until it is over.
fn query(db: &Db, selectors: &[Vec<Matcher>], pause: Duration, is_over: &AtomicBool) -> Vec<Took> {
    let stopwatch = SystemClock::new();
    let (mut took, mut values) = (Vec::new(), Vec::new());
    for matchers in selectors.iter().cycle() {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let waits_before = waits();
        let began = stopwatch.monotonic();
        assert!(read(db, matchers, &mut values) > 0);
        let seconds = stopwatch.monotonic().saturating_sub(began).as_secs_f64();
        let waited = waits() > waits_before;
        took.push(Took { seconds, waited });
        std::thread::sleep(pause);
    }
    took
}

/// The queries, and how long the merging took, in seconds.
fn measure(
    files: &Path,
    way: Way,
    clients: u64,
    pause: Duration,
    least: Duration,
) -> (Vec<Took>, f64) {
    let folder = tempfile::tempdir_in(files.parent().unwrap()).unwrap();
    let path = folder.path().join("data");
    link(files, &path);
    let db = open(&path, Arc::new(SystemClock::new()));
    let (selectors, is_over) = (selectors(), AtomicBool::new(false));
    for matchers in &selectors {
        read(&db, matchers, &mut Vec::new());
    }
    std::thread::scope(|scope| {
        let query = || query(&db, &selectors, pause, &is_over);
        let queries: Vec<_> = (0..clients).map(|_| scope.spawn(query)).collect();
        let merge = scope.spawn(|| {
            if way.is_low {
                // On Linux this is the priority of the calling thread alone.
                rustix::process::setpriority_process(None, LOWEST_PRIORITY).unwrap();
            }
            let stopwatch = SystemClock::new();
            if !way.merges {
                std::thread::sleep(least);
            } else if way.is_paced {
                while db.compact_beside_queries(&Sleep).unwrap() {}
            } else {
                while db.compact().unwrap() {}
            }
            stopwatch.monotonic().as_secs_f64()
        });
        let merged = merge.join().unwrap();
        is_over.store(true, Ordering::Relaxed);
        let took = queries.into_iter().flat_map(|query| query.join().unwrap());
        (took.collect(), merged)
    })
}

fn main() {
    let series = parameter("NARTHEX_MERGING_SERIES", 50_000);
    let hours = parameter("NARTHEX_MERGING_HOURS", 3);
    let clients = parameter("NARTHEX_MERGING_CLIENTS", 1);
    let pause = Duration::from_micros(parameter("NARTHEX_MERGING_PAUSE_US", 2_000));
    let least = Duration::from_secs(parameter("NARTHEX_MERGING_SECONDS", 10));
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().join("filled");
    fill(&files, series, hours);
    println!("way queries waited p50_ms p90_ms p99_ms max_ms merge_s");
    let ways = parameter("NARTHEX_MERGING_WAYS", String::new());
    let is_wanted = |way: &&Way| ways.is_empty() || ways.split(',').any(|name| name == way.name);
    for way in WAYS.iter().filter(is_wanted) {
        let (mut took, mut merged, mut rounds) = (Vec::new(), 0.0, 0.0);
        while merged < least.as_secs_f64() {
            let (of_round, round) = measure(&files, *way, clients, pause, least);
            took.extend(of_round);
            merged += round;
            rounds += 1.0;
        }
        took.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let at = |part: f64| took[(took.len() as f64 * part) as usize].seconds * 1e3;
        println!(
            "{} {} {} {:.3} {:.3} {:.3} {:.3} {:.2}",
            way.name,
            took.len(),
            took.iter().filter(|took| took.waited).count(),
            at(0.5),
            at(0.9),
            at(0.99),
            took[took.len() - 1].seconds * 1e3,
            merged / rounds,
        );
    }
}
