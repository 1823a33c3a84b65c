//! From the start of the process to the first 200 of `/-/ready`, after a kill.
//!
//! A writer process appends `NARTHEX_STARTUP_SERIES` (200000) series, in targets of 1,000, for
//! `NARTHEX_STARTUP_MINUTES` (120) at 15 s, on a clock that runs as fast as it can; every third value
//! changes. It is killed without warning after its last commit. Its folder is copied for each of
//! `NARTHEX_STARTUP_ROUNDS` (5) starts of the server, whose times are printed with their median; the
//! page cache is warm. Then the samples are read back: every acknowledged one must be there.
#![expect(clippy::unwrap_used, reason = "a bench ends at what it did not expect")]
#![expect(clippy::print_stdout, reason = "the figures are the purpose")]

#[path = "../storage/benches/common/clock.rs"]
mod clock;
mod http;
#[path = "../storage/benches/common/parameter.rs"]
mod parameter;

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use clock::SetClock;
use narthex_storage::{
    Appendable, Budget, Clock, Column, Db, DbOptions, Labels, MatchOp, Matcher, Queryable, RealFs,
    RowBuilder, Select, SystemClock, TargetKey, TimeRange, Timestamp, Wants,
};
use parameter::parameter;

const WRITER: &str = "NARTHEX_STARTUP_WRITES_TO";
const COLUMNS: u64 = 1_000;
const STEP_MS: i64 = 15_000;
const PATIENCE: Duration = Duration::from_mins(1);

fn options(path: &Path, clock: Arc<dyn Clock>) -> DbOptions {
    DbOptions::new(path, Arc::new(RealFs), clock)
}

fn labels(target: u64, series: u64) -> Labels {
    Labels::from_pairs([
        ("__name__", format!("metric_{}_total", series / 10)),
        ("instance", format!("host-{target}.example.com:9100")),
        ("job", "node".to_owned()),
        ("part", format!("part-{}", series % 10)),
    ])
}

fn value(step: i64, series: u64) -> f64 {
    match series % 3 {
        0 => (step * (series as i64 % 50 + 1)) as f64,
        _ => series as f64,
    }
}

/// Appends everything up to now, says so, and waits to be killed.
fn write(path: &Path) {
    let series = parameter("NARTHEX_STARTUP_SERIES", 200_000_u64);
    let steps = parameter("NARTHEX_STARTUP_MINUTES", 120_i64) * 60_000 / STEP_MS;
    let clock = Arc::new(SetClock::default());
    let start = SystemClock::new().now() - steps * STEP_MS;
    clock.set(start);
    let dyn_clock: Arc<dyn Clock> = Arc::<SetClock>::clone(&clock);
    let (db, _) = Db::open(&options(path, dyn_clock)).unwrap();
    let mut targets = Vec::new();
    for number in 0..series / COLUMNS {
        let mut target = db.target(&TargetKey(format!("node/{number}"))).unwrap();
        let columns = (0..COLUMNS).map(|series| target.column(&labels(number, series)).unwrap());
        let columns: Vec<Column> = columns.collect();
        targets.push((target, columns));
    }
    let mut row = RowBuilder::default();
    let mut accepted = 0;
    for step in 0..steps {
        let time = start + step * STEP_MS;
        clock.set(time);
        for (offset, (target, columns)) in (0..).zip(&mut targets) {
            row.begin(time + offset % STEP_MS);
            for (series, column) in (0..).zip(columns.iter()) {
                row.set(*column, value(step, series));
            }
            accepted += u64::from(target.commit(&mut row).unwrap().accepted);
        }
        db.maintain().unwrap();
        while db.compact().unwrap() {}
    }
    println!("{accepted} {start}");
    std::io::stdout().flush().unwrap();
    std::thread::sleep(PATIENCE * 10);
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-r").args([from, to]).status();
    assert!(status.unwrap().success());
}

/// Seconds until the server in `folder` is ready; it is killed then.
fn start(folder: &Path) -> f64 {
    let config = folder.with_extension("yml");
    std::fs::write(&config, "global: {}\n").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let clock = SystemClock::new();
    let began = clock.monotonic();
    let mut server = Command::new(env!("CARGO_BIN_EXE_narthex"))
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.display()))
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let took = loop {
        let answer = http::request(&address, "GET", "/-/ready", &[], PATIENCE);
        let took = clock.monotonic().saturating_sub(began);
        if matches!(answer, Ok((200, _))) {
            break took;
        }
        assert!(took < PATIENCE, "the server is not ready: {answer:?}");
        std::thread::sleep(Duration::from_millis(1));
    };
    server.kill().unwrap();
    server.wait().unwrap();
    took.as_secs_f64()
}

/// Reads every sample back and compares it with what was appended; answers how many there are.
fn count(path: &Path, start: Timestamp) -> u64 {
    let (db, report) = Db::open(&options(path, Arc::new(SystemClock::new()))).unwrap();
    assert_eq!(report.wal_damage, []);
    let range = TimeRange::new(start, Timestamp::MAX);
    let querier = db.querier(range).unwrap();
    let budget = Budget::unlimited();
    let request = Select {
        matchers: &[Matcher::new("job", MatchOp::Equal, "node").unwrap()],
        range,
        limit: None,
        wants: Wants::Samples,
    };
    let selection = querier.select(&request, &budget).unwrap();
    let mut scan = selection.scan(range, &budget);
    let (mut samples, mut values) = (0, vec![0.0; 1 << 16]);
    for (index, series) in selection.series().iter().enumerate() {
        let number = |label: &str| -> u64 {
            let digits = series.labels.get(label).unwrap().chars();
            let digits: String = digits.filter(char::is_ascii_digit).collect();
            digits.parse().unwrap()
        };
        let number = number("__name__") * 10 + number("part");
        let mut step = 0;
        scan.seek(index).unwrap();
        while let Some(run) = scan.next_run().unwrap() {
            let values = &mut values[..run.len()];
            run.values(values).unwrap();
            for found in values {
                assert_eq!(*found, value(step, number), "{:?}", series.labels);
                step += 1;
            }
        }
        samples += step as u64;
    }
    samples
}

fn main() {
    if let Some(path) = std::env::var_os(WRITER) {
        return write(Path::new(&path));
    }
    let folder = tempfile::tempdir().unwrap();
    let written = folder.path().join("written");
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .env(WRITER, &written)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let output = writer.stdout.take().unwrap();
    BufReader::new(output).read_line(&mut line).unwrap();
    writer.kill().unwrap();
    writer.wait().unwrap();
    let (accepted, first) = line.trim().split_once(' ').unwrap();
    let (accepted, first): (u64, Timestamp) = (accepted.parse().unwrap(), first.parse().unwrap());
    let rounds = parameter("NARTHEX_STARTUP_ROUNDS", 5_usize);
    let mut seconds = Vec::new();
    for round in 0..rounds {
        let copied = folder.path().join(format!("round-{round}"));
        copy(&written, &copied);
        seconds.push(start(&copied));
        if round + 1 == rounds {
            let found = count(&copied, first);
            println!("{accepted} samples acknowledged, {found} read back and equal");
            assert_eq!(found, accepted);
        }
        std::fs::remove_dir_all(&copied).unwrap();
    }
    println!("seconds to the first 200 of /-/ready: {seconds:.3?}");
    seconds.sort_by(f64::total_cmp);
    println!("median {:.3} s", seconds[rounds / 2]);
}
