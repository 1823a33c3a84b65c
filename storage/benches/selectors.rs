//! How long a selector takes to its first run of samples.
//!
//! * `pairs`: two pairs that match 100 of `NARTHEX_SELECTORS_SERIES` (1000000) series, by select, scan,
//!   seek and first run; the first time after opening and the median of the times after.
//! * `regex`: `=~".*abc.*"` over `NARTHEX_SELECTORS_VALUES` (100000) values of one name, likewise.
//!
//! Each in memory (no seal since the series were created) and sealed and reopened.
#![expect(clippy::unwrap_used, reason = "a bench ends at what it did not expect")]
#![expect(clippy::print_stdout, reason = "the figures are the purpose")]

#[path = "common/clock.rs"]
mod clock;
#[path = "common/parameter.rs"]
mod parameter;

use std::{hint::black_box, path::Path, sync::Arc};

use clock::SetClock;
use narthex_storage::{
    Appendable, Budget, Clock, Column, Db, DbOptions, Labels, MatchOp, Matcher, Queryable, RealFs,
    RowBuilder, Select, SystemClock, TargetKey, TimeRange, Timestamp, Wants,
};
use parameter::parameter;

const COLUMNS: u64 = 1_000;
const START_MS: Timestamp = 1_700_000_000_000;
const STEP_MS: i64 = 15_000;
const ROUNDS: usize = 21;

fn open(path: &Path, clock: &Arc<SetClock>) -> Db {
    let clock: Arc<dyn Clock> = Arc::<SetClock>::clone(clock);
    let (db, report) = Db::open(&DbOptions::new(path, Arc::new(RealFs), clock)).unwrap();
    assert_eq!(report.wal_damage, []);
    db
}

/// Series `number`: a hundred share its name and zone.
fn labels(number: u64, values: u64) -> Labels {
    Labels::from_pairs([
        ("__name__", format!("metric_{}_total", number / 100 % 1_000)),
        ("code", format!("{}", number % 10)),
        ("handler", format!("/resource/{}", number / 10 % 10)),
        (
            "instance",
            format!(
                "10.1.{}.{}:9100",
                number / COLUMNS / 256,
                number / COLUMNS % 256
            ),
        ),
        ("job", "node".to_owned()),
        (
            "session",
            format!(
                "{:08x}",
                (number % values).wrapping_mul(0x9e37_79b9) & 0xffff_ffff
            ),
        ),
        ("team", format!("team-{}", number % 50)),
        ("zone", format!("zone-{}", number / 100_000)),
    ])
}

fn first_run(db: &Db, matchers: &[Matcher]) -> (usize, f64) {
    let range = TimeRange::new(START_MS, START_MS + 3_600_000);
    let (budget, stopwatch) = (Budget::unlimited(), SystemClock::new());
    let began = stopwatch.monotonic();
    let querier = db.querier(range).unwrap();
    let request = Select {
        matchers,
        range,
        limit: None,
        wants: Wants::Samples,
    };
    let selection = querier.select(&request, &budget).unwrap();
    let mut scan = selection.scan(range, &budget);
    if !selection.series().is_empty() {
        black_box(scan.seek(0).unwrap());
        black_box(scan.next_run().unwrap());
    }
    let took = stopwatch.monotonic().saturating_sub(began);
    drop(scan);
    (selection.series().len(), took.as_secs_f64() * 1e3)
}

fn measure(place: &str, db: &Db) {
    let regex = Matcher::new("session", MatchOp::Regex, ".*abc.*").unwrap();
    let pairs = vec![
        Matcher::new("__name__", MatchOp::Equal, "metric_77_total").unwrap(),
        Matcher::new("zone", MatchOp::Equal, "zone-3").unwrap(),
    ];
    for (name, matchers) in [("pairs", pairs), ("regex", vec![regex])] {
        let (matched, first) = first_run(db, &matchers);
        let again = std::iter::repeat_with(|| first_run(db, &matchers).1);
        let mut again: Vec<f64> = again.take(ROUNDS).collect();
        again.sort_by(f64::total_cmp);
        println!(
            "{name} {place} {matched} {first:.3} {:.3}",
            again[ROUNDS / 2]
        );
    }
}

fn main() {
    let series = parameter("NARTHEX_SELECTORS_SERIES", 1_000_000_u64);
    let values = parameter("NARTHEX_SELECTORS_VALUES", 100_000_u64);
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::default());
    clock.set(START_MS);
    let db = open(folder.path(), &clock);
    let mut targets = Vec::new();
    for number in 0..series / COLUMNS {
        let mut target = db.target(&TargetKey(format!("job/{number}"))).unwrap();
        let numbers = number * COLUMNS..(number + 1) * COLUMNS;
        let columns = numbers.map(|number| target.column(&labels(number, values)).unwrap());
        let columns: Vec<Column> = columns.collect();
        targets.push((target, columns));
    }
    let mut row = RowBuilder::default();
    let mut append = |step: i64| {
        let time = START_MS + step * STEP_MS;
        clock.set(time);
        for (target, columns) in &mut targets {
            row.begin(time);
            for column in columns.iter() {
                row.set(
                    *column,
                    f64::from(column.0) + (step * i64::from(column.0 % 3)) as f64,
                );
            }
            assert_eq!(target.commit(&mut row).unwrap().refused, []);
        }
    };
    println!("selector place matched first_ms median_ms");
    (0..3).for_each(&mut append);
    measure("memory", &db);
    // Far enough apart that the store seals.
    for step in [100, 200, 201] {
        append(step);
        db.maintain().unwrap();
    }
    drop(targets);
    db.close().unwrap();
    drop(db);
    measure("reopened", &open(folder.path(), &clock));
}
