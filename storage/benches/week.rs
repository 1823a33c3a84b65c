//! A simulated week: anonymous bytes, mapped bytes and reopening time by day.
//!
//! `NARTHEX_WEEK_SERIES` (10000), `NARTHEX_WEEK_DAYS` (7) and `NARTHEX_WEEK_INTERVAL_S` (15) make it
//! smaller. A hundred series a target; two of three series are constant, the others count or wander.
#![expect(clippy::unwrap_used, reason = "a bench ends at what it did not expect")]
#![expect(clippy::print_stdout, reason = "the figures are the purpose")]

#[path = "common/clock.rs"]
mod clock;
#[path = "common/fleet.rs"]
mod fleet;
#[path = "common/parameter.rs"]
mod parameter;
#[path = "common/resident.rs"]
mod resident;

use std::{path::Path, sync::Arc};

use clock::SetClock;
use fleet::{COLUMNS, Fleet};
use narthex_storage::{Clock, Db, DbOptions, RealFs, SystemClock};
use parameter::parameter;
use resident::anonymous_bytes;

fn open(path: &Path, clock: &Arc<SetClock>) -> Db {
    let clock: Arc<dyn Clock> = Arc::<SetClock>::clone(clock);
    Db::open(&DbOptions::new(path, Arc::new(RealFs), clock))
        .unwrap()
        .0
}

fn main() {
    let series = parameter("NARTHEX_WEEK_SERIES", 10_000);
    let days = parameter("NARTHEX_WEEK_DAYS", 7);
    let interval_s = parameter("NARTHEX_WEEK_INTERVAL_S", 15);
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::default());
    let stopwatch = SystemClock::new();
    let mut db = open(folder.path(), &clock);
    let mut random = 1;
    println!("day samples anonymous mapped files log append_ns/sample reopen_ms");
    for day in 0..days {
        let began = stopwatch.monotonic();
        let mut fleet = Fleet::new(&db, series / COLUMNS);
        for step in 0..86_400 / interval_s {
            let at_s = day * 86_400 + step * interval_s;
            clock.set(at_s * 1000);
            fleet.commit(at_s * 1000, at_s.cast_unsigned() * 3, &mut random);
            db.maintain().unwrap();
        }
        let took = stopwatch.monotonic().saturating_sub(began);
        drop(fleet);
        let stats = db.stats();
        let anonymous = anonymous_bytes();
        let samples = stats.samples_appended;
        db.close().unwrap();
        drop(db);
        let began = stopwatch.monotonic();
        db = open(folder.path(), &clock);
        let reopening = stopwatch.monotonic().saturating_sub(began);
        println!(
            "{} {samples} {anonymous} {} {} {} {:.1} {:.1}",
            day + 1,
            stats.block_bytes,
            stats.blocks,
            stats.wal_bytes,
            took.as_nanos() as f64 / samples as f64,
            reopening.as_secs_f64() * 1e3,
        );
    }
}
