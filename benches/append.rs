//! Appending to a store on a real disk: a row of a target with 1,000 columns of which 15 % change,
//! and a pushed batch of one sample for each of 1,000 series.
#![expect(clippy::unwrap_used, reason = "a bench ends at what it did not expect")]

use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use narthex_storage::{
    Appendable, Db, DbOptions, Labels, RealFs, RowBuilder, Sample, SystemClock, TargetKey,
};

const SERIES: usize = 1_000;
const CHANGING: usize = SERIES * 15 / 100;
const STEP_MS: i64 = 15_000;
/// Upkeep runs once in so many commits, as the server's does every few seconds.
const COMMITS_A_MAINTENANCE: i64 = 200;

fn labels(series: usize) -> Labels {
    Labels::from_pairs([
        ("__name__", format!("metric_{series}_total")),
        ("instance", "host-1.example.com:9100".to_owned()),
        ("job", "node".to_owned()),
    ])
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    group.throughput(Throughput::Elements(SERIES as u64));
    for name in ["row", "push"] {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock::new());
        let (db, _) = Db::open(&DbOptions::new(folder.path(), Arc::new(RealFs), clock)).unwrap();
        let mut commits = 0;
        let mut maintain = || {
            commits += 1;
            if commits % COMMITS_A_MAINTENANCE == 0 {
                db.maintain().unwrap();
            }
            commits * STEP_MS
        };
        if name == "row" {
            let mut target = db.target(&TargetKey("job/1".to_owned())).unwrap();
            let columns: Vec<_> = (0..SERIES)
                .map(|series| target.column(&labels(series)).unwrap())
                .collect();
            let mut row = RowBuilder::default();
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let time = maintain();
                    row.begin(time);
                    for (index, column) in columns.iter().enumerate() {
                        let value = if index < CHANGING { time as f64 } else { 1.0 };
                        row.set(*column, value);
                    }
                    assert_eq!(target.commit(&mut row).unwrap().accepted, SERIES as u32);
                });
            });
        } else {
            let sets: Vec<Labels> = (0..SERIES).map(labels).collect();
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let time = maintain();
                    let mut appender = db.appender();
                    for (index, set) in sets.iter().enumerate() {
                        let series = appender.series(set).unwrap();
                        let value = if index < CHANGING { time as f64 } else { 1.0 };
                        appender.samples(series, &[Sample { time, value }]);
                    }
                    assert_eq!(appender.commit(true).unwrap().accepted, SERIES as u32);
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, append);
criterion_main!(benches);
