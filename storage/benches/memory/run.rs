//! The cases, each in a process of its own.

use std::{path::Path, process::Command, sync::Arc};

use narthex_storage::{
    Appendable, Clock, Column, Db, DbOptions, Labels, RealFs, RowBuilder, TargetAppender,
    TargetKey, Timestamp,
};

use crate::{
    clock::SetClock, parameter::parameter, processor::processor_seconds, resident::anonymous_bytes,
};

const CASE: &str = "NARTHEX_MEMORY_CASE";
const COLUMNS: u64 = 1_000;
const STEP_MS: i64 = 15_000;
const START_MS: Timestamp = 1_700_000_000_000;
/// With churn, every so many rows …
const CHURN_ROWS: u64 = 12;
/// … one in so many targets gives way to another.
const CHURN_SHARE: u64 = 20;

/// One line of the table.
struct Case {
    name: &'static str,
    /// One in so many series changes from row to row.
    changing_one_in: u64,
    churn: bool,
}

const CASES: [Case; 3] = [
    Case {
        name: "two_thirds_unchanged",
        changing_one_in: 3,
        churn: false,
    },
    Case {
        name: "all_changing",
        changing_one_in: 1,
        churn: false,
    },
    Case {
        name: "churn",
        changing_one_in: 3,
        churn: true,
    },
];

/// Runs every case at every size, or the one that the environment names.
pub(crate) fn main(allocator: &str) {
    if let Ok(name) = std::env::var(CASE) {
        let case = CASES.iter().find(|case| case.name == name);
        return run(allocator, case.expect("the case is one of the table"));
    }
    let sizes = parameter("NARTHEX_MEMORY_SERIES", "200000,1000000".to_owned());
    println!(
        "allocator case series rows anonymous_bytes/series peak_bytes/series disk_bytes processor_ns/sample"
    );
    for size in sizes.split(',') {
        for case in &CASES {
            let status = Command::new(std::env::current_exe().unwrap())
                .env(CASE, case.name)
                .env("NARTHEX_MEMORY_SERIES", size)
                .status()
                .unwrap();
            assert!(status.success(), "{} failed", case.name);
        }
    }
}

/// A pod and its series: eight labels each, of which two tell its series apart.
struct Pod {
    appender: Box<dyn TargetAppender>,
    columns: Vec<Column>,
}

fn labels(pod: u64, series: u64) -> Labels {
    let (name, handler) = (series / 10, series % 10);
    Labels::from_pairs([
        (
            "__name__",
            format!("http_server_request_{name}_bytes_total"),
        ),
        ("container", format!("service-{}", pod % 7)),
        ("handler", format!("/api/v1/resource-{handler}")),
        (
            "instance",
            format!("10.{}.{}.{}:8080", pod >> 16, pod >> 8 & 255, pod & 255),
        ),
        ("job", "kubernetes-pods".to_owned()),
        ("namespace", format!("team-{}", pod % 50)),
        ("node", format!("ip-10-0-{}-17.compute.internal", pod % 200)),
        (
            "pod",
            format!("service-{}-{:010x}", pod % 7, pod * 0x9e37_79b9),
        ),
    ])
}

fn pod(db: &Db, number: u64) -> Pod {
    let mut appender = db.target(&TargetKey(format!("pods/{number}"))).unwrap();
    let columns = (0..COLUMNS).map(|series| appender.column(&labels(number, series)).unwrap());
    let columns = columns.collect();
    Pod { appender, columns }
}

fn folder_bytes(path: &Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        bytes += if metadata.is_dir() {
            folder_bytes(&entry.path())
        } else {
            metadata.len()
        };
    }
    bytes
}

fn run(allocator: &str, case: &Case) {
    let series = parameter("NARTHEX_MEMORY_SERIES", 1_000_000_u64);
    let rows = parameter("NARTHEX_MEMORY_ROWS", 120_u64);
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::default());
    clock.set(START_MS);
    let mut row = RowBuilder::default();
    for column in 0..COLUMNS {
        row.set(Column(column as u32), 0.0);
    }
    let before = anonymous_bytes();
    let dyn_clock: Arc<dyn Clock> = Arc::<SetClock>::clone(&clock);
    let options = DbOptions::new(folder.path(), Arc::new(RealFs), dyn_clock);
    let (db, _) = Db::open(&options).unwrap();
    let began = processor_seconds();
    let mut pods: Vec<Pod> = (0..series / COLUMNS)
        .map(|number| pod(&db, number))
        .collect();
    let mut next_pod = pods.len() as u64;
    let mut random = 1_u64;
    let mut peak = 0;
    for step in 0..rows {
        if case.churn && step > 0 && step % CHURN_ROWS == 0 {
            let offset = step / CHURN_ROWS % CHURN_SHARE;
            let leaving = pods.iter_mut().skip(offset as usize);
            for slot in leaving.step_by(CHURN_SHARE as usize) {
                *slot = pod(&db, next_pod);
                next_pod += 1;
            }
        }
        let time = START_MS + step as i64 * STEP_MS;
        clock.set(time);
        for target in &mut pods {
            row.begin(time);
            for (index, column) in (0..).zip(&target.columns) {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1);
                let value = match index % case.changing_one_in {
                    0 => (step * 1_000 + (random >> 56)) as f64,
                    _ => index as f64,
                };
                row.set(*column, value);
            }
            let commit = target.appender.commit(&mut row).unwrap();
            assert_eq!(commit.refused, []);
        }
        db.maintain().unwrap();
        peak = peak.max(anonymous_bytes());
    }
    let took = processor_seconds() - began;
    let after = anonymous_bytes();
    println!(
        "{allocator} {} {series} {rows} {:.1} {:.1} {} {:.1}",
        case.name,
        (after - before) as f64 / series as f64,
        (peak - before) as f64 / series as f64,
        folder_bytes(folder.path()),
        took * 1e9 / (series * rows) as f64,
    );
    drop(pods);
    db.close().unwrap();
}
