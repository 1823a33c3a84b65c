//! Appending with log and seal: nanoseconds a sample, of processor time and of the clock, and the log's
//! bytes a sample.
//!
//! * `rows`: targets with 1,000 columns, one row each every 15 s.
//! * `pushed`: one batch of an agent holds a sample of each of 1,000 series, all at one time.
//! * `solo`: the same batches, but every series has a clock of its own.
//!
//! In each, `NARTHEX_APPEND_CHANGING` ("15,100") percent of the values differ from the previous ones.
//! `NARTHEX_APPEND_KINDS` ("rows,pushed,solo") are run with `NARTHEX_APPEND_SERIES` (20000) series, `NARTHEX_APPEND_STEPS` (240) samples each; the store seals
//! whenever it finds it is time. Looking up the references of pushed series is part of the figure.
#![expect(clippy::unwrap_used, reason = "a bench ends at what it did not expect")]
#![expect(clippy::print_stdout, reason = "the figures are the purpose")]

#[path = "common/clock.rs"]
mod clock;
#[path = "common/log_bytes.rs"]
mod log_bytes;
#[path = "common/parameter.rs"]
mod parameter;
#[path = "common/processor.rs"]
mod processor;

use std::{sync::Arc, time::Duration};

use clock::SetClock;
use log_bytes::LogBytes;
use narthex_storage::{
    Appendable, Clock, Column, Db, DbOptions, Labels, RealFs, RowBuilder, Sample, SystemClock,
    TargetAppender, TargetKey, Timestamp,
};
use parameter::parameter;
use processor::processor_seconds;

const BATCH: u64 = 1_000;
const STEP_MS: i64 = 15_000;
const START_MS: Timestamp = 1_700_000_000_000;

fn labels(batch: u64, series: u64) -> Labels {
    Labels::from_pairs([
        ("__name__", format!("metric_{series}_total")),
        ("instance", format!("host-{batch}.example.com:9100")),
        ("job", "node".to_owned()),
    ])
}

fn value(step: u64, series: u64, changing: u64) -> f64 {
    if series * 37 % 100 < changing {
        (step * 977 + step * series % 13) as f64
    } else {
        series as f64
    }
}

fn run(kind: &str, changing: u64) {
    let batches = parameter("NARTHEX_APPEND_SERIES", 20_000_u64) / BATCH;
    let steps = parameter("NARTHEX_APPEND_STEPS", 240_u64);
    let folder = tempfile::tempdir().unwrap();
    let (clock, stopwatch) = (Arc::new(SetClock::default()), SystemClock::new());
    clock.set(START_MS);
    let dyn_clock: Arc<dyn Clock> = Arc::<SetClock>::clone(&clock);
    let options = DbOptions::new(folder.path(), Arc::new(RealFs), dyn_clock);
    let (db, _) = Db::open(&options).unwrap();
    let (mut targets, mut sets) = (Vec::new(), Vec::new());
    for batch in 0..batches {
        if kind == "rows" {
            let mut target = db.target(&TargetKey(format!("job/{batch}"))).unwrap();
            let columns = (0..BATCH).map(|series| target.column(&labels(batch, series)).unwrap());
            let columns: Vec<Column> = columns.collect();
            targets.push((target, columns));
        } else {
            sets.extend((0..BATCH).map(|series| labels(batch, series)));
        }
    }
    let mut row = RowBuilder::default();
    let mut log = LogBytes::default();
    let (mut spent, mut worked) = (Duration::ZERO, 0.0);
    for step in 0..steps {
        let time = START_MS + step as i64 * STEP_MS;
        clock.set(time);
        let (began, working) = (stopwatch.monotonic(), processor_seconds());
        for (target, columns) in &mut targets {
            row_of(target, columns, &mut row, (step, time, changing));
        }
        for batch in sets.chunks(BATCH as usize) {
            let mut appender = db.appender();
            for (series, set) in (0..).zip(batch) {
                let reference = appender.series(set).unwrap();
                let value = value(step, series, changing);
                let offset = match kind {
                    "solo" => (series * 7 + step * (series % 11)) as i64,
                    _ => 0,
                };
                let time = time + offset;
                appender.samples(reference, &[Sample { time, value }]);
            }
            assert_eq!(appender.commit(true).unwrap().refused, []);
        }
        db.maintain().unwrap();
        worked += processor_seconds() - working;
        spent += stopwatch.monotonic().saturating_sub(began);
        log.look(folder.path());
    }
    let samples = batches * BATCH * steps;
    println!(
        "{kind} {changing} {samples} {:.1} {:.1} {:.3}",
        worked * 1e9 / samples as f64,
        spent.as_nanos() as f64 / samples as f64,
        log.sum() as f64 / samples as f64,
    );
    drop(targets);
    db.close().unwrap();
}

fn row_of(
    target: &mut Box<dyn TargetAppender>,
    columns: &[Column],
    row: &mut RowBuilder,
    (step, time, changing): (u64, Timestamp, u64),
) {
    row.begin(time);
    for (series, column) in (0..).zip(columns) {
        row.set(*column, value(step, series, changing));
    }
    assert_eq!(target.commit(row).unwrap().refused, []);
}

fn main() {
    let changing = parameter("NARTHEX_APPEND_CHANGING", "15,100".to_owned());
    println!("kind changing_percent samples processor_ns/sample wall_ns/sample log_bytes/sample");
    let kinds = parameter("NARTHEX_APPEND_KINDS", "rows,pushed,solo".to_owned());
    for kind in kinds.split(',') {
        for changing in changing.split(',') {
            run(kind, changing.parse().unwrap());
        }
    }
}
