//! Opening a store whose log holds rows of 10 targets with 100 columns each, 15 % of them changing;
//! by the number of commits in the log.
#![expect(clippy::unwrap_used, reason = "a bench ends at what it did not expect")]

use std::{hint::black_box, path::Path, sync::Arc};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use narthex_storage::{
    Appendable, Db, DbOptions, Labels, RealFs, RowBuilder, SystemClock, TargetKey,
};

const TARGETS: usize = 10;
const COLUMNS: usize = 100;
const CHANGING: usize = COLUMNS * 15 / 100;

fn options(path: &Path) -> DbOptions {
    DbOptions::new(path, Arc::new(RealFs), Arc::new(SystemClock::new()))
}

fn fill(path: &Path, commits: usize) {
    let (db, _) = Db::open(&options(path)).unwrap();
    let mut row = RowBuilder::default();
    for target in 0..TARGETS {
        let mut appender = db.target(&TargetKey(format!("job/{target}"))).unwrap();
        let columns: Vec<_> = (0..COLUMNS)
            .map(|column| {
                let labels = Labels::from_pairs([
                    ("__name__", format!("metric_{column}_total")),
                    ("instance", format!("host-{target}.example.com:9100")),
                ]);
                appender.column(&labels).unwrap()
            })
            .collect();
        for commit in 0..commits / TARGETS {
            row.begin(commit as i64 * 1_000);
            for (index, column) in columns.iter().enumerate() {
                let value = if index < CHANGING { commit as f64 } else { 1.0 };
                row.set(*column, value);
            }
            assert_eq!(appender.commit(&mut row).unwrap().refused, []);
        }
    }
    db.close().unwrap();
}

/// Removes the log segments that earlier openings began.
fn forget_openings(path: &Path) {
    for entry in std::fs::read_dir(path.join("narthex/wal")).unwrap() {
        let file = entry.unwrap().path();
        if !file.ends_with("00000001") {
            std::fs::remove_file(file).unwrap();
        }
    }
}

fn replay(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wal_replay");
    group.sample_size(10);
    for commits in [1_000, 10_000] {
        let folder = tempfile::tempdir().unwrap();
        fill(folder.path(), commits);
        group.throughput(Throughput::Elements((commits * COLUMNS) as u64));
        group.bench_function(BenchmarkId::from_parameter(commits), |bencher| {
            let forget = || forget_openings(folder.path());
            let open = |()| {
                let (db, report) = Db::open(&options(folder.path())).unwrap();
                assert_eq!(report.wal_damage, []);
                assert_eq!(db.stats().series, (TARGETS * COLUMNS) as u64);
                black_box(db)
            };
            bencher.iter_batched(forget, open, BatchSize::PerIteration);
        });
    }
    group.finish();
}

criterion_group!(benches, replay);
criterion_main!(benches);
