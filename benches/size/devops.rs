//! A synthetic set in the shape of machine and service metrics: 40 hosts of 158 series with 480
//! samples, 15 s apart with a few milliseconds of jitter.
//!
//! Of a host's series 42 are constant, 71 change and are whole numbers (byte counters, request
//! counters that often stand still, cumulative histogram buckets, gauges in pages of 4,096 bytes), 36
//! change and have one or two decimals (seconds of processor time, percentages), nine are sums of
//! seconds with all their digits.

use narthex_storage::{Appendable, Column, Db, Labels, RowBuilder, TargetKey, Timestamp};

const HOSTS: u64 = 40;
const SAMPLES: i64 = 480;
const STEP_MS: i64 = 15_000;

/// Uniform numbers; the same ones in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        // Source: Steele and Vigna, "Computationally easy, spectrally good multipliers" (2021).
        self.0 = self.0.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
        (self.0 >> 33) % end
    }
}

/// How a series goes on from sample to sample.
enum Kind {
    Constant,
    /// Grows by at most so much.
    Counter(u64),
    /// Grows by one or two in one of so many samples.
    Slow(u64),
    /// Bucket `le` of ten: a request falls into it and all above.
    Bucket(u64),
    /// Walks in steps of 4,096.
    Pages,
    /// Grows by at most so many hundredths.
    Centiseconds(u64),
    /// Walks in tenths between 0 and 100.
    Percent,
    /// Grows by a number with all its digits.
    Seconds,
}

struct Series {
    column: Column,
    kind: Kind,
    state: u64,
    value: f64,
}

impl Series {
    fn go_on(&mut self, requests: &[u64], random: &mut Random) -> f64 {
        match self.kind {
            Kind::Constant => {}
            Kind::Counter(most) => {
                self.state += most / 2 + random.below(most);
                self.value = self.state as f64;
            }
            Kind::Slow(one_in) => {
                if random.below(one_in) == 0 {
                    self.state += 1 + random.below(2);
                }
                self.value = self.state as f64;
            }
            Kind::Bucket(bound) => {
                self.state += requests.iter().filter(|request| **request <= bound).count() as u64;
                self.value = self.state as f64;
            }
            Kind::Pages => {
                self.state = self.state + random.below(65) - random.below(65).min(self.state);
                self.value = (self.state * 4_096) as f64;
            }
            Kind::Centiseconds(most) => {
                self.state += random.below(most);
                self.value = self.state as f64 / 100.0;
            }
            Kind::Percent => {
                self.state = (self.state + random.below(9)).saturating_sub(4).min(1_000);
                self.value = self.state as f64 / 10.0;
            }
            Kind::Seconds => {
                self.value += random.below(1 << 30) as f64 * 1e-9 / 3.0;
            }
        }
        self.value
    }
}

/// A metric's name, how many series of it a host has, and how the series of an index goes on.
type Metric = (&'static str, u64, fn(u64) -> Kind);

const METRICS: [Metric; 15] = [
    ("node_disk_io_errors", 22, |_| Kind::Constant),
    ("node_memory_total_bytes", 4, |_| Kind::Constant),
    ("node_network_mtu_bytes", 16, |_| Kind::Constant),
    ("node_network_receive_bytes_total", 8, |_| {
        Kind::Counter(60_000)
    }),
    ("node_network_receive_packets_total", 8, |_| {
        Kind::Counter(300)
    }),
    ("node_context_switches_total", 3, |_| Kind::Counter(9_000)),
    ("http_requests_total", 12, |_| Kind::Slow(4)),
    ("http_errors_total", 8, |_| Kind::Slow(20)),
    ("http_request_duration_seconds_bucket", 20, |index| {
        Kind::Bucket(index % 10)
    }),
    ("node_memory_active_bytes", 12, |_| Kind::Pages),
    ("node_cpu_seconds_total", 16, |index| {
        Kind::Centiseconds(20 << (index % 7))
    }),
    ("node_disk_io_time_percent", 10, |_| Kind::Percent),
    ("node_pressure_percent", 10, |_| Kind::Percent),
    ("http_request_duration_seconds_sum", 6, |_| Kind::Seconds),
    ("rule_evaluation_seconds_sum", 3, |_| Kind::Seconds),
];

/// Appends the set, its first scrape at `start`, calling `after` with the time of each round.
pub(crate) fn append(
    db: &Db,
    start: Timestamp,
    mut after: impl FnMut(Timestamp) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut random = Random(1);
    let mut hosts = Vec::new();
    for host in 0..HOSTS {
        let mut target = db.target(&TargetKey(format!("devops/{host}")))?;
        let mut all = Vec::new();
        for (name, count, kind) in METRICS {
            for index in 0..count {
                let labels = Labels::from_pairs([
                    ("__name__", name.to_owned()),
                    ("instance", format!("host-{host}.example.com:9100")),
                    ("job", "devops".to_owned()),
                    ("part", format!("part-{index}")),
                ]);
                let state = 1_000 + random.below(1_000_000);
                all.push(Series {
                    column: target.column(&labels)?,
                    kind: kind(index),
                    state,
                    value: state as f64,
                });
            }
        }
        hosts.push((target, all, random.below(STEP_MS as u64) as i64));
    }
    let mut row = RowBuilder::default();
    for sample in 0..SAMPLES {
        let round = start + sample * STEP_MS;
        for (target, all, offset) in &mut hosts {
            row.begin(round + *offset + random.below(5) as i64);
            let requests: Vec<u64> = (0..random.below(6)).map(|_| random.below(13)).collect();
            for series in all {
                row.set(series.column, series.go_on(&requests, &mut random));
            }
            anyhow::ensure!(
                target.commit(&mut row)?.refused.is_empty(),
                "a sample was refused"
            );
        }
        after(round + STEP_MS)?;
    }
    Ok(())
}
