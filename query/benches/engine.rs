//! The engine alone, over six hours of samples in a store on disk: nanoseconds of processor time for each sample
//! that a query scans, its decoding included.
//!
//! Beside every query stands what its parts take by themselves: to select the series, and to decode their
//! samples; what is left is windows, functions and aggregation. Each is the mean of several rounds.
//!
//! `NARTHEX_ENGINE_HOSTS` (100) hosts are written, or `NARTHEX_ENGINE_STORE` names the folder of a store that is
//! there, with series of the same names; `NARTHEX_ENGINE_END_S` is the last second of its samples then.
//! `NARTHEX_ENGINE_ONLY` (all) is a part of the names of the queries to run, `NARTHEX_ENGINE_ROUNDS` (20) how
//! often each is asked.
#![expect(clippy::unwrap_used, reason = "a bench ends at what it did not expect")]
#![expect(clippy::print_stdout, reason = "the figures are the purpose")]

#[path = "../../storage/benches/common/clock.rs"]
mod clock;
#[path = "../../storage/benches/common/parameter.rs"]
mod parameter;
#[path = "../../storage/benches/common/processor.rs"]
mod processor;

use std::{hint::black_box, path::Path, sync::Arc};

use clock::SetClock;
use narthex_query::{Engine, EngineOptions, Grid, QueryContext};
use narthex_storage::{
    Appendable as _, Budget, Clock, Column, Db, DbOptions, Labels, MatchOp, Matcher,
    Queryable as _, RealFs, RowBuilder, Select, Selection, Shape, SystemClock, TargetAppender,
    TargetKey, TimeRange, Wants,
};
use parameter::parameter;
use processor::processor_seconds;

const INTERVAL_MS: i64 = 15_000;
const HOURS: i64 = 6;
const MODES: [&str; 8] = [
    "idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user",
];
const BOUNDS: [&str; 12] = [
    "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf",
];

/// Name, metric, seconds that a window reaches back, hours asked for (none: an instant query), the query.
type Query = (&'static str, &'static str, i64, i64, &'static str);

const QUERIES: &[Query] = &[
    (
        "sum of rates",
        "node_cpu_seconds_total",
        300,
        HOURS,
        "sum(rate(node_cpu_seconds_total[5m]))",
    ),
    (
        "sum of rates by instance and mode",
        "node_cpu_seconds_total",
        300,
        HOURS,
        "sum by (instance, mode) (rate(node_cpu_seconds_total[5m]))",
    ),
    (
        "mean of rates by instance",
        "node_cpu_seconds_total",
        300,
        HOURS,
        "avg by (instance) (rate(node_cpu_seconds_total[5m]))",
    ),
    (
        "quantile of buckets by le, an hour",
        "http_request_duration_seconds_bucket",
        300,
        1,
        "histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))",
    ),
    (
        "quantile of buckets by le",
        "http_request_duration_seconds_bucket",
        300,
        HOURS,
        "histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))",
    ),
    (
        "quantile of buckets by instance",
        "http_request_duration_seconds_bucket",
        300,
        HOURS,
        "histogram_quantile(0.9, sum by (le, instance) (rate(http_request_duration_seconds_bucket[5m])))",
    ),
    (
        "join",
        "node_cpu_seconds_total",
        300,
        HOURS,
        "sum by (release) (rate(node_cpu_seconds_total[5m]) * on (instance) group_left (release) node_uname_info)",
    ),
    (
        "mean of a gauge",
        "node_cpu_seconds_total",
        300,
        HOURS,
        "avg by (mode) (node_cpu_seconds_total)",
    ),
    (
        "ratio",
        "node_cpu_seconds_total",
        300,
        HOURS,
        "1 - node_cpu_seconds_total / node_cpu_seconds_total",
    ),
    (
        "most of five minutes",
        "node_cpu_seconds_total",
        300,
        HOURS,
        "max by (mode) (max_over_time(node_cpu_seconds_total[5m]))",
    ),
    (
        "mean of five minutes",
        "node_cpu_seconds_total",
        300,
        HOURS,
        "avg by (mode) (avg_over_time(node_cpu_seconds_total[5m]))",
    ),
    (
        "rate of the last two",
        "node_cpu_seconds_total",
        300,
        HOURS,
        "sum by (instance) (irate(node_cpu_seconds_total[5m]))",
    ),
    (
        "quantile of rates",
        "node_cpu_seconds_total",
        300,
        HOURS,
        "quantile by (mode) (0.9, rate(node_cpu_seconds_total[5m]))",
    ),
    (
        "greatest of rates",
        "node_cpu_seconds_total",
        300,
        HOURS,
        "topk(5, sum by (instance) (rate(node_cpu_seconds_total[5m])))",
    ),
    (
        "forecast",
        "node_filesystem_avail_bytes",
        3_600,
        HOURS,
        "predict_linear(node_filesystem_avail_bytes[1h], 14400) < 0",
    ),
    (
        "plain, instant",
        "node_cpu_seconds_total",
        300,
        0,
        "node_cpu_seconds_total",
    ),
];

/// What one host tells.
struct Host {
    target: Box<dyn TargetAppender>,
    columns: Vec<(Column, Kind)>,
    values: Vec<u64>,
    offset_ms: i64,
}

#[derive(Clone, Copy)]
enum Kind {
    Centiseconds(u64),
    /// All requests within a bound, of the bounds in their order.
    Bucket(usize),
    Pages,
    Info,
}

impl Host {
    fn new(db: &Db, number: u64) -> Self {
        let mut target = db.target(&TargetKey(format!("job/{number}"))).unwrap();
        let instance = format!("host-{number}.example.com:9100");
        let mut columns = Vec::new();
        let mut add = |name: &str, kind: Kind, more: &[(&str, &str)]| {
            let pairs = [("__name__", name), ("instance", &instance), ("job", "node")];
            let labels = Labels::from_pairs(pairs.iter().chain(more).copied());
            columns.push((target.column(&labels).unwrap(), kind));
        };
        for cpu in ["0", "1", "2", "3"] {
            for (index, mode) in MODES.iter().enumerate() {
                let kind = Kind::Centiseconds(1 + 180 * (index as u64) % 700);
                add(
                    "node_cpu_seconds_total",
                    kind,
                    &[("cpu", cpu), ("mode", mode)],
                );
            }
        }
        for path in ["/", "/api"] {
            for (index, bound) in BOUNDS.iter().enumerate() {
                let name = "http_request_duration_seconds_bucket";
                add(name, Kind::Bucket(index), &[("le", bound), ("path", path)]);
            }
        }
        for mountpoint in ["/", "/home", "/var"] {
            let name = "node_filesystem_avail_bytes";
            add(name, Kind::Pages, &[("mountpoint", mountpoint)]);
        }
        let release = format!("6.{}.0", number % 7);
        add("node_uname_info", Kind::Info, &[("release", &release)]);
        Self {
            target,
            values: vec![1 << 22; columns.len()],
            columns,
            offset_ms: (number * 137 % 15_000).cast_signed(),
        }
    }

    fn commit(&mut self, row: &mut RowBuilder, time: i64, below: &mut impl FnMut(u64) -> u64) {
        row.begin(time + self.offset_ms + below(5).cast_signed());
        let mut requests = 0;
        for ((column, kind), state) in self.columns.iter().zip(&mut self.values) {
            let value = match kind {
                Kind::Centiseconds(most) => {
                    // A host starts anew about once in six hours.
                    *state = if below(40_000) == 0 {
                        0
                    } else {
                        *state + below(*most)
                    };
                    *state as f64 / 100.0
                }
                Kind::Bucket(index) => {
                    requests = if *index == 0 { 0 } else { requests + below(9) };
                    *state += requests;
                    *state as f64
                }
                Kind::Pages => {
                    *state = *state + below(65) - 32;
                    (*state * 4_096) as f64
                }
                Kind::Info => 1.0,
            };
            row.set(*column, value);
        }
        self.target.commit(row).unwrap();
    }
}

/// Fills a store with samples up to `end`.
fn fill(db: &Db, clock: &SetClock, end: i64) {
    let mut state = 1_u64;
    let mut below = |end: u64| {
        state = state.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
        (state >> 33) % end
    };
    let hosts = 0..parameter("NARTHEX_ENGINE_HOSTS", 100);
    let mut hosts: Vec<Host> = hosts.map(|number| Host::new(db, number)).collect();
    let mut row = RowBuilder::default();
    let samples = (HOURS + 1) * 3_600_000 / INTERVAL_MS;
    for sample in 0..samples {
        let time = end - (samples - sample) * INTERVAL_MS;
        clock.set(time + INTERVAL_MS);
        for host in &mut hosts {
            host.commit(&mut row, time, &mut below);
        }
        db.maintain().unwrap();
    }
    db.snapshot(false).unwrap();
    while db.compact().unwrap() {}
}

/// What is selected of a metric.
fn select(db: &Db, metric: &str, range: TimeRange, budget: &Budget) -> Box<dyn Selection> {
    let matchers = [Matcher::new("__name__", MatchOp::Equal, metric).unwrap()];
    let request = Select {
        matchers: &matchers,
        range,
        limit: None,
        wants: Wants::Samples,
    };
    let querier = db.querier(range).unwrap();
    querier.select(&request, budget).unwrap()
}

/// Decodes all samples; answers how many they are.
fn decode(selection: &dyn Selection, range: TimeRange, budget: &Budget) -> usize {
    let mut scan = selection.scan(range, budget);
    let mut values = Vec::new();
    let mut samples = 0;
    for series in 0..selection.series().len() {
        let (Shape::Aligned { len, .. } | Shape::Loose { len_max: len }) =
            scan.seek(series).unwrap()
        else {
            continue;
        };
        values.resize(len as usize, 0.0);
        let mut filled = 0;
        while let Some(run) = scan.next_run().unwrap() {
            run.values(&mut values[filled..]).unwrap();
            filled += run.len();
        }
        samples += filled;
    }
    samples
}

/// Milliseconds of processor time that a round takes in the mean. The kernel counts them in steps of a few, so
/// that rounds are not measured one by one.
fn mean_ms(rounds: u32, mut round: impl FnMut()) -> f64 {
    let began = processor_seconds();
    (0..rounds).for_each(|_| round());
    (processor_seconds() - began) * 1e3 / f64::from(rounds)
}

fn main() {
    let given = std::env::var_os("NARTHEX_ENGINE_STORE");
    let end_s = parameter("NARTHEX_ENGINE_END_S", 1_800_000_000_i64);
    let folder = tempfile::tempdir().unwrap();
    let path = given.as_ref().map_or(folder.path(), Path::new);
    let clock = Arc::new(SetClock::default());
    clock.set(end_s * 1_000);
    let options = DbOptions::new(
        path,
        Arc::new(RealFs),
        Arc::<SetClock>::clone(&clock) as Arc<dyn Clock>,
    );
    let (mut db, _) = Db::open(&options).unwrap();
    if given.is_none() {
        fill(&db, &clock, end_s * 1_000);
        db.close().unwrap();
        drop(db);
        db = Db::open(&options).unwrap().0;
    }
    let only = parameter("NARTHEX_ENGINE_ONLY", String::new());
    let rounds = parameter("NARTHEX_ENGINE_ROUNDS", 20);
    let engine = Engine::new(EngineOptions::default());
    let system_clock = SystemClock::new();
    println!("milliseconds: select decode whole; nanoseconds a sample: decode whole");
    for (name, metric, back_s, hours, text) in
        QUERIES.iter().filter(|query| query.0.contains(&only))
    {
        let start_s = end_s - hours * 3_600;
        let range = TimeRange::new((start_s - back_s) * 1_000 + 1, end_s * 1_000);
        let budget = Budget::unlimited();
        let context = QueryContext::new(&budget, &system_clock);
        let mut scanned = 0;
        let selecting = mean_ms(rounds, || {
            black_box(select(&db, metric, range, &budget));
        });
        let selection = select(&db, metric, range, &budget);
        let decoding = mean_ms(rounds, || scanned = decode(&*selection, range, &budget));
        let whole = mean_ms(rounds, || {
            let answer = if *hours == 0 {
                engine.instant(&db, text, end_s * 1_000, &context)
            } else {
                let grid = Grid {
                    start: start_s * 1_000,
                    end: end_s * 1_000,
                    step_ms: 60_000,
                };
                engine.range(&db, text, grid, &context)
            };
            black_box(answer.unwrap());
        });
        let one = |ms: f64| ms * 1e6 / scanned as f64;
        println!(
            "{name:<36} {scanned:>8} samples {selecting:>8.3} {decoding:>8.3} {whole:>8.3} {:>6.2} {:>6.2}",
            one(decoding),
            one(whole)
        );
    }
}
