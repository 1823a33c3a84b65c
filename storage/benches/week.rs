//! A simulated week: resident bytes, mapped bytes and reopening time by day.
//!
//! `NARTHEX_WEEK_SERIES` (10000), `NARTHEX_WEEK_DAYS` (7) and `NARTHEX_WEEK_INTERVAL_S` (15) make it
//! smaller. A hundred series a target; two of three series are constant, the others count or wander.
#![expect(clippy::unwrap_used, reason = "a bench ends at what it did not expect")]
#![expect(clippy::print_stdout, reason = "the figures are the purpose")]

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use narthex_storage::{
    Appendable, Clock, Column, Db, DbOptions, Labels, RealFs, RowBuilder, SystemClock,
    TargetAppender, TargetKey, Timestamp,
};

const COLUMNS: u64 = 100;

#[derive(Debug, Default)]
struct SetClock(Mutex<Duration>);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        0
    }
    fn monotonic(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

fn parameter(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().unwrap())
}

fn open(path: &Path, clock: &Arc<SetClock>) -> Db {
    let clock: Arc<dyn Clock> = Arc::<SetClock>::clone(clock);
    Db::open(&DbOptions::new(path, Arc::new(RealFs), clock))
        .unwrap()
        .0
}

/// Resident and, of that, anonymous bytes, as the kernel counts them.
fn resident_bytes() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| -> u64 {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kilobytes * 1024
    };
    (field("VmRSS"), field("RssAnon"))
}

fn targets(db: &Db, count: u64) -> Vec<(Box<dyn TargetAppender>, Vec<Column>)> {
    let one = |target: u64| {
        let mut appender = db.target(&TargetKey(format!("job/{target}"))).unwrap();
        let columns = (0..COLUMNS).map(|column| {
            let labels = Labels::from_pairs([
                ("__name__", format!("metric_{column}_total")),
                ("instance", format!("host-{target}.example.com:9100")),
                ("job", "node".to_owned()),
            ]);
            appender.column(&labels).unwrap()
        });
        let columns = columns.collect();
        (appender, columns)
    };
    (0..count).map(one).collect()
}

fn main() {
    let series = parameter("NARTHEX_WEEK_SERIES", 10_000);
    let days = parameter("NARTHEX_WEEK_DAYS", 7);
    let interval_s = parameter("NARTHEX_WEEK_INTERVAL_S", 15);
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::default());
    let stopwatch = SystemClock::new();
    let mut db = open(folder.path(), &clock);
    let mut row = RowBuilder::default();
    let mut random = 1u64;
    println!("day samples resident anonymous mapped files log append_ns/sample reopen_ms");
    for day in 0..days {
        let began = stopwatch.monotonic();
        let mut writers = targets(&db, series / COLUMNS);
        for step in 0..86_400 / interval_s {
            let at = day * 86_400 + step * interval_s;
            for (target, columns) in &mut writers {
                row.begin(at as Timestamp * 1000);
                for (index, column) in columns.iter().enumerate() {
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1);
                    let value = match index % 6 {
                        0 => at * 3 + (random >> 60),
                        1 => random >> 54,
                        _ => index as u64,
                    };
                    row.set(*column, value as f64);
                }
                target.commit(&mut row).unwrap();
            }
            *clock.0.lock().unwrap() += Duration::from_secs(interval_s);
            db.maintain().unwrap();
        }
        let took = stopwatch.monotonic().saturating_sub(began);
        drop(writers);
        let stats = db.stats();
        let (resident, anonymous) = resident_bytes();
        let samples = stats.samples_appended;
        db.close().unwrap();
        drop(db);
        let began = stopwatch.monotonic();
        db = open(folder.path(), &clock);
        let reopening = stopwatch.monotonic().saturating_sub(began);
        println!(
            "{} {samples} {resident} {anonymous} {} {} {} {:.1} {:.1}",
            day + 1,
            stats.block_bytes,
            stats.blocks,
            stats.wal_bytes,
            took.as_nanos() as f64 / samples as f64,
            reopening.as_secs_f64() * 1e3,
        );
    }
}
