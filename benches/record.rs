//! Records what targets serve, for the bench `size`; see `recording.rs` for the files' format.
//!
//! `NARTHEX_RECORD_FOLDER`: where the files go, which must be new or empty of them (without it nothing is recorded);
//! `NARTHEX_RECORD_TARGETS`: `job=address:port` separated by commas, each scraped at `/metrics`;
//! `NARTHEX_RECORD_INTERVAL_MS` (5000); `NARTHEX_RECORD_SCRAPES` (420) of each target. Targets are
//! scraped by threads of their own, spread over the interval; a failed scrape is reported and left
//! out.
#![expect(
    clippy::print_stderr,
    reason = "failed scrapes are reported while recording"
)]

mod http;
#[path = "../storage/benches/common/parameter.rs"]
mod parameter;
#[expect(dead_code, reason = "recordings are read by another bench")]
mod recording;

use std::{fs::File, path::PathBuf, time::Duration};

use anyhow::{Context, ensure};
use narthex_storage::{Clock, SystemClock};
use parameter::parameter;

fn main() -> anyhow::Result<()> {
    let Some(folder) = std::env::var_os("NARTHEX_RECORD_FOLDER").map(PathBuf::from) else {
        eprintln!("NARTHEX_RECORD_FOLDER is not set: nothing is recorded");
        return Ok(());
    };
    let targets = std::env::var("NARTHEX_RECORD_TARGETS").context("NARTHEX_RECORD_TARGETS")?;
    let interval = Duration::from_millis(parameter("NARTHEX_RECORD_INTERVAL_MS", 5_000));
    let scrapes = parameter("NARTHEX_RECORD_SCRAPES", 420);
    std::fs::create_dir_all(&folder)?;
    let targets: Vec<&str> = targets.split(',').collect();
    let mut threads = Vec::new();
    for (index, target) in (0..).zip(&targets) {
        let (job, address) = target.split_once('=').context("a target is job=address")?;
        let file = File::create_new(folder.join(format!("{job}.scrapes")))
            .with_context(|| format!("{job}.scrapes"))?;
        let offset = interval * index / targets.len() as u32;
        let address = address.to_owned();
        threads.push(std::thread::spawn(move || {
            record(file, &address, offset, interval, scrapes)
        }));
    }
    for thread in threads {
        thread.join().expect("a recording thread does not panic")?;
    }
    Ok(())
}

fn record(
    mut file: File,
    address: &str,
    offset: Duration,
    interval: Duration,
    scrapes: u32,
) -> anyhow::Result<()> {
    let clock = SystemClock::new();
    for scrape in 0..scrapes {
        let due = offset + interval * scrape;
        std::thread::sleep(due.saturating_sub(clock.monotonic()));
        let (time, began) = (clock.now(), clock.monotonic());
        let answer = http::request(address, "GET", "/metrics", &[], interval).and_then(|answer| {
            ensure!(answer.0 == 200, "status {}", answer.0);
            Ok(answer.1)
        });
        let took = clock.monotonic().saturating_sub(began);
        match answer {
            Ok(body) => recording::write(&mut file, time, took.as_micros(), &body)?,
            Err(error) => eprintln!("{address}: scrape {scrape}: {error:#}"),
        }
    }
    Ok(())
}
