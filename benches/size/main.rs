//! Bytes a sample on disk, and how fast the samples are decoded.
//!
//! Sets (`NARTHEX_SIZE_SETS`, "devops,recorded"): `devops` is synthetic; `recorded` is what the bench
//! `record` wrote into the folder `NARTHEX_RECORDING`, read by the server's own scrape parser, at the
//! times of its scrapes (moved by a constant to the start of a two-hour block), and left out without
//! that variable. Each is appended, sealed as the server would, and merged to level 1.
//!
//! With `NARTHEX_PROMTOOL` and `NARTHEX_VICTORIA_METRICS` set to these programs, the same samples are
//! written into blocks of two hours by `promtool tsdb create-blocks-from openmetrics` and into a
//! server's parts by import and forced merge, and the ratios are printed. Decoding is measured in
//! processor time of one thread, through selection, scan and runs.
#![expect(clippy::unwrap_used, reason = "a bench ends at what it did not expect")]
#![expect(clippy::print_stdout, reason = "the figures are the purpose")]

#[path = "../../storage/benches/common/clock.rs"]
mod clock;
mod devops;
#[path = "../http.rs"]
mod http;
#[path = "../../storage/benches/common/log_bytes.rs"]
mod log_bytes;
#[path = "../../storage/benches/common/parameter.rs"]
mod parameter;
mod peers;
#[path = "../../storage/benches/common/processor.rs"]
mod processor;
#[path = "../recording.rs"]
#[expect(dead_code, reason = "recordings are written by another bench")]
mod recording;

use std::{path::Path, sync::Arc};

use clock::SetClock;
use log_bytes::LogBytes;
use narthex::{
    config::ScrapeConfig,
    scrape::{BodyAppender, exposition::Format},
};
use narthex_storage::{
    Appendable, Budget, Clock, Db, DbOptions, Labels, MatchOp, Matcher, Queryable, RealFs,
    RowBuilder, Run, Select, Selection, TargetKey, TimeRange, Timestamp, Wants, is_stale_marker,
};
use parameter::parameter;
use peers::Series;
use processor::processor_seconds;

const BLOCK_MS: i64 = 2 * 3_600_000;
/// A multiple of two hours, recent enough for every peer.
const START_MS: Timestamp = 1_790_000_000_000 / BLOCK_MS * BLOCK_MS;
const ROUNDS: u32 = 5;
/// So often everything is read in a round: the kernel counts processor time in steps of milliseconds.
const PASSES: u32 = 40;

/// A store with a set in it.
struct Store {
    db: Db,
    clock: Arc<SetClock>,
    log: LogBytes,
    folder: tempfile::TempDir,
}

impl Store {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(SetClock::default());
        clock.set(START_MS);
        let dyn_clock: Arc<dyn Clock> = Arc::<SetClock>::clone(&clock);
        let options = DbOptions::new(folder.path(), Arc::new(RealFs), dyn_clock);
        let (db, _) = Db::open(&options).unwrap();
        let log = LogBytes::default();
        Self {
            db,
            clock,
            log,
            folder,
        }
    }

    /// What the server does every few seconds.
    fn maintain(&mut self, now: Timestamp) -> anyhow::Result<()> {
        self.clock.set(now);
        self.db.maintain()?;
        while self.db.compact()? {}
        self.log.look(self.folder.path());
        Ok(())
    }

    fn load_recording(&mut self, folder: &Path) -> anyhow::Result<()> {
        let (jobs, scrapes) = recording::read(folder)?;
        let appender = |job: &String| {
            let address = format!("{job}.example.com:9090");
            BodyAppender::new(&ScrapeConfig::new(job), &address, &self.db)
        };
        let mut appenders: Vec<_> = jobs.iter().map(appender).collect::<Result<_, _>>()?;
        let first = scrapes.first().map_or(0, |scrape| scrape.time);
        let mut exposed = 0;
        for scrape in &scrapes {
            let time = scrape.time - first + START_MS;
            exposed += appenders[scrape.target].append(&scrape.body, Format::Text, time)?;
            self.maintain(time)?;
        }
        println!(
            "recorded: {} scrapes of {} targets, {exposed} samples exposed",
            scrapes.len(),
            jobs.len()
        );
        Ok(())
    }

    /// Seals the set and has it merged: samples of a series of its own follow hours later, since only
    /// runs of sealed files that span a level are merged, and never the newest.
    fn merge(&mut self, appended: Timestamp) -> anyhow::Result<()> {
        let mut target = self.db.target(&TargetKey("later".to_owned()))?;
        let column = target
            .column(&Labels::from_pairs([("__name__", "later")]))
            .unwrap();
        let mut row = RowBuilder::default();
        for later in [1, 3, 4] {
            let time = appended + later * BLOCK_MS;
            row.begin(time);
            row.set(column, 1.0);
            assert_eq!(target.commit(&mut row)?.refused, []);
            self.maintain(time)?;
            self.maintain(time + 60_000)?;
        }
        Ok(())
    }

    /// Everything but staleness markers, and how many of these there were.
    fn samples(&self) -> (Vec<Series>, u64) {
        let (mut all, mut markers) = (Vec::new(), 0);
        let (mut times, mut values) = (Vec::new(), Vec::new());
        let collect = |labels: &Labels, run: &Run<'_>| {
            times.resize(run.len(), 0);
            values.resize(run.len(), 0.0);
            run.times(&mut times).unwrap();
            run.values(&mut values).unwrap();
            let pairs = times.iter().copied().zip(values.iter().copied());
            let (stale, samples): (Vec<_>, Vec<_>) =
                pairs.partition(|(_, value)| is_stale_marker(*value));
            markers += stale.len() as u64;
            match all.last_mut() {
                Some(Series {
                    labels: last,
                    samples: of,
                }) if last == labels => of.extend(samples),
                _ => all.push(Series {
                    labels: labels.clone(),
                    samples,
                }),
            }
        };
        self.selected(|selection| each_run(selection, collect));
        (all, markers)
    }

    /// Selects everything: a querier lives as long as `with` runs.
    fn selected<T>(&self, with: impl FnOnce(&dyn Selection) -> T) -> T {
        let range = TimeRange::new(START_MS, START_MS + BLOCK_MS);
        let querier = self.db.querier(range).unwrap();
        let matcher = Matcher::new("__name__", MatchOp::Regex, ".+").unwrap();
        let request = Select {
            matchers: &[matcher],
            range,
            limit: None,
            wants: Wants::Samples,
        };
        let selection = querier.select(&request, &Budget::unlimited()).unwrap();
        with(&*selection)
    }

    /// What selecting and reading everything takes, the best of some rounds.
    fn speed(&self) -> Speed {
        let mut best = Speed::default();
        for round in 0..ROUNDS {
            let mut now = Speed::default();
            let began = processor_seconds();
            for _ in 0..PASSES {
                self.selected(|selection| assert!(!selection.series().is_empty()));
            }
            now.select = (processor_seconds() - began) / f64::from(PASSES);
            self.selected(|selection| {
                let began = processor_seconds();
                for _ in 0..PASSES {
                    now.samples = each_run(selection, |_, _| ());
                }
                now.seek = (processor_seconds() - began) / f64::from(PASSES);
                let mut values = vec![0.0; 1 << 16];
                let began = processor_seconds();
                for _ in 0..PASSES {
                    each_run(selection, |_, run| run.values(&mut values).unwrap());
                }
                now.read = (processor_seconds() - began) / f64::from(PASSES);
            });
            if round == 0 {
                best = now;
            }
            best.select = best.select.min(now.select);
            best.seek = best.seek.min(now.seek);
            best.read = best.read.min(now.read);
        }
        best
    }
}

/// Seconds of processor time.
#[derive(Debug, Default, Clone, Copy)]
struct Speed {
    samples: usize,
    /// The list of series.
    select: f64,
    /// Finding every run.
    seek: f64,
    /// Finding and decoding every run.
    read: f64,
}

/// Every run of every series; answers how many samples there were.
fn each_run(selection: &dyn Selection, mut each: impl FnMut(&Labels, &Run<'_>)) -> usize {
    let budget = Budget::unlimited();
    let mut scan = selection.scan(TimeRange::new(START_MS, START_MS + BLOCK_MS), &budget);
    let mut samples = 0;
    for (index, series) in selection.series().iter().enumerate() {
        scan.seek(index).unwrap();
        while let Some(run) = scan.next_run().unwrap() {
            samples += run.len();
            each(&series.labels, &run);
        }
    }
    samples
}

fn main() -> anyhow::Result<()> {
    let sets = parameter("NARTHEX_SIZE_SETS", "devops,recorded".to_owned());
    for set in sets.split(',') {
        let mut store = Store::new();
        if set == "recorded" {
            let Some(folder) = std::env::var_os("NARTHEX_RECORDING") else {
                println!("recorded: NARTHEX_RECORDING is not set");
                continue;
            };
            store.load_recording(Path::new(&folder))?;
        } else {
            let Store {
                db,
                clock,
                log,
                folder,
            } = &mut store;
            devops::append(db, START_MS, |time| {
                clock.set(time);
                db.maintain()?;
                log.look(folder.path());
                Ok(())
            })?;
        }
        let (stats, log_bytes) = (store.db.stats(), store.log.sum());
        let accepted = stats.samples_appended;
        store.merge(stats.max_time.unwrap_or(START_MS))?;
        report(set, &store, accepted, log_bytes)?;
    }
    Ok(())
}

fn report(set: &str, store: &Store, accepted: u64, log_bytes: u64) -> anyhow::Result<()> {
    let (series, markers) = store.samples();
    let samples: u64 = series.iter().map(|one| one.samples.len() as u64).sum();
    assert_eq!(samples, accepted, "the samples read are not those appended");
    let constant = series.iter().filter(|one| {
        let mut bits = one.samples.iter().map(|(_, value)| value.to_bits());
        let first = bits.next();
        bits.all(|bits| Some(bits) == first)
    });
    let (series_len, constant) = (series.len() as f64, constant.count() as f64);
    println!(
        "{set}: {series_len} series ({:.1} % constant), {samples} samples, {markers} staleness markers",
        100.0 * constant / series_len
    );
    let each = |bytes: u64| bytes as f64 / samples as f64;
    println!("{set}: log {:.3} bytes/sample", each(log_bytes));
    let stats = store.db.stats();
    println!(
        "{set}: blocks {:.3} bytes/sample in {} files",
        each(stats.block_bytes),
        stats.blocks
    );
    let speed = store.speed();
    let million_a_second = |seconds: f64| speed.samples as f64 / seconds / 1e6;
    println!(
        "{set}: {:.0} M samples/s found and decoded, {:.0} with the list of series; {:.0} ns a series to list, {:.0} to find",
        million_a_second(speed.read),
        million_a_second(speed.read + speed.select),
        speed.select * 1e9 / series_len,
        speed.seek * 1e9 / series_len,
    );
    for (name, variable) in [
        ("Prometheus", "NARTHEX_PROMTOOL"),
        ("VictoriaMetrics", "NARTHEX_VICTORIA_METRICS"),
    ] {
        let Ok(program) = std::env::var(variable) else {
            println!("{set}: {variable} is not set");
            continue;
        };
        let peer = match name {
            "Prometheus" => peers::prometheus(&program, &series)?,
            _ => peers::victoria_metrics(&program, &series)?,
        };
        println!(
            "{set}: {name} {:.3} data + {:.3} index bytes/sample ({} samples); blocks to its data {:.3}, to all {:.3}",
            each(peer.data),
            each(peer.index),
            peer.samples,
            stats.block_bytes as f64 / peer.data as f64,
            stats.block_bytes as f64 / (peer.data + peer.index) as f64,
        );
    }
    Ok(())
}
