//! Reading an exposition: cold (every line's labels are read), steady (the same series again, a
//! third of the values changed), and the parser alone.

use std::{collections::HashMap, fmt::Write as _, hint::black_box};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use narthex::{
    config::ScrapeConfig,
    scrape::{
        BodyAppender,
        exposition::{Format, Parser},
    },
};
use narthex_storage::{
    AppendError, Appendable, Appender, Column, Commit, Labels, Refusal, RowBuilder, TargetAppender,
    TargetKey,
};

const FAMILIES: usize = 100;
const SERIES_A_FAMILY: usize = 20;

/// A store that takes every row and keeps nothing.
struct NoStore;

struct NoTarget(HashMap<Labels, u32>);

impl Appendable for NoStore {
    fn target(&self, _key: &TargetKey) -> Result<Box<dyn TargetAppender>, AppendError> {
        Ok(Box::new(NoTarget(HashMap::new())))
    }

    fn appender(&self) -> Box<dyn Appender> {
        unreachable!("scraping writes rows alone")
    }
}

impl TargetAppender for NoTarget {
    fn column(&mut self, labels: &Labels) -> Result<Column, Refusal> {
        let next = self.0.len() as u32;
        Ok(Column(*self.0.entry(labels.clone()).or_insert(next)))
    }

    fn retire(&mut self, _column: Column) {}

    fn keeps_exemplars(&self) -> bool {
        false
    }

    fn commit(&mut self, row: &mut RowBuilder) -> Result<Commit, AppendError> {
        black_box(row.values().len());
        row.begin(0);
        Ok(Commit::default())
    }
}

/// A body of 2,000 series; every third value differs from round to round.
fn body(round: u64) -> Bytes {
    let mut text = String::new();
    for family in 0..FAMILIES {
        let name = format!("node_example_family_{family}_bytes_total");
        let _infallible = writeln!(text, "# HELP {name} What the family {family} counts.");
        let _infallible = writeln!(text, "# TYPE {name} counter");
        for series in 0..SERIES_A_FAMILY {
            let base = (family * 7919 + series * 104_729) as u64;
            let value = match series % 3 {
                0 => base + round * 17,
                _ => base,
            };
            let _infallible = writeln!(
                text,
                "{name}{{device=\"nvme{series}n1\",mode=\"read\",path=\"/var/lib/example/{series}\"}} {value}"
            );
        }
    }
    Bytes::from(text)
}

fn appender() -> BodyAppender {
    BodyAppender::new(&ScrapeConfig::new("bench"), "localhost:9100", &NoStore)
        .expect("the job has the target")
}

fn scrape_parse(criterion: &mut Criterion) {
    let bodies: Vec<Bytes> = (0..16).map(body).collect();
    let first = bodies.first().expect("sixteen bodies").clone();
    let mut group = criterion.benchmark_group("scrape_parse");
    group.throughput(Throughput::Elements((FAMILIES * SERIES_A_FAMILY) as u64));
    group.bench_function("parser", |bencher| {
        bencher.iter(|| {
            let mut parser = Parser::new(&first, Format::Text);
            let mut entries = 0;
            while let Ok(Some(entry)) = parser.next_entry() {
                black_box(entry);
                entries += 1;
            }
            entries
        });
    });
    group.bench_function("cold", |bencher| {
        bencher.iter_with_large_drop(|| {
            let mut rows = appender();
            rows.append(&first, Format::Text, 1)
                .expect("it is well formed");
            rows
        });
    });
    group.bench_function("steady", |bencher| {
        let mut rows = appender();
        let mut time = 0;
        bencher.iter(|| {
            time += 1;
            let body = &bodies[time % bodies.len()];
            rows.append(body, Format::Text, time as i64)
                .expect("it is well formed")
        });
    });
    group.finish();
}

criterion_group!(benches, scrape_parse);
criterion_main!(benches);
