//! A synthetic set in the shape of machine and service metrics: a host has 100 series, scraped every
//! 15 s with a few milliseconds of jitter.
//!
//! Counters begin anew once or twice a day, each host at its own times; some move at every scrape, some
//! seldom, some with all the digits of a sum of seconds. Gauges walk. Histograms have twelve buckets.

use prost::Message;

pub(crate) const SERIES_OF_HOST: usize = 100;
pub(crate) const STEP_MS: i64 = 15_000;
/// Samples of each series in a message, and hosts in one.
const ROUNDS: usize = 40;
const HOSTS: usize = 5;
const BOUNDS: [&str; 12] = [
    "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf",
];
const MODES: [&str; 8] = [
    "idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user",
];

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
#[derive(Clone, Copy)]
enum Kind {
    Constant(u64),
    /// Grows by at most so much.
    Counter(u64),
    /// Grows by at most so many hundredths.
    Centiseconds(u64),
    /// Grows by one or two in one of so many samples.
    Slow(u64),
    /// Counts the requests of a path that took no longer than a bound; all of them at the last.
    Bucket {
        path: usize,
        bound: usize,
    },
    /// The seconds of the requests of a path.
    Seconds {
        path: usize,
    },
    /// Walks in steps of 4,096.
    Pages(u64),
    /// Walks in hundredths around so many.
    Walk(u64),
}

impl Kind {
    fn is_counter(self) -> bool {
        !matches!(self, Self::Constant(_) | Self::Pages(_) | Self::Walk(_))
    }
}

struct Series {
    labels: Vec<Label>,
    kind: Kind,
    state: u64,
    seconds: f64,
}

impl Series {
    /// `requests` are the buckets into which the requests of each path fell.
    fn go_on(&mut self, requests: &[Vec<usize>; 2], random: &mut Random) -> f64 {
        match self.kind {
            Kind::Constant(value) => value as f64,
            Kind::Counter(most) => {
                self.state += most / 2 + random.below(most);
                self.state as f64
            }
            Kind::Centiseconds(most) => {
                self.state += random.below(most);
                self.state as f64 / 100.0
            }
            Kind::Slow(one_in) => {
                if random.below(one_in) == 0 {
                    self.state += 1 + random.below(2);
                }
                self.state as f64
            }
            Kind::Bucket { path, bound } => {
                let within = requests[path].iter().filter(|request| **request <= bound);
                self.state += within.count() as u64;
                self.state as f64
            }
            Kind::Seconds { path } => {
                self.seconds +=
                    requests[path].len() as f64 * 1e-9 * random.below(1 << 30) as f64 / 3.0;
                self.seconds
            }
            Kind::Pages(start) => {
                if self.state == 0 {
                    self.state = start;
                }
                self.state = (self.state + random.below(65)).saturating_sub(32).max(1);
                (self.state * 4_096) as f64
            }
            Kind::Walk(middle) => {
                if self.state == 0 {
                    self.state = middle;
                }
                self.state = (self.state + random.below(9)).saturating_sub(4).max(1);
                self.state as f64 / 100.0
            }
        }
    }
}

struct Host {
    series: Vec<Series>,
    /// When in a round it is scraped, in milliseconds.
    offset_ms: i64,
    random: Random,
}

impl Host {
    fn new(number: usize) -> Self {
        let instance = instance(number);
        let dc = format!("dc{}", number % 4);
        let release = format!("6.{}.0", number % 7);
        let mut series = Vec::with_capacity(SERIES_OF_HOST);
        let mut add = |name: &str, job: &str, kind: Kind, more: &[(&str, &str)]| {
            let mut pairs = vec![
                ("__name__", name),
                ("dc", dc.as_str()),
                ("instance", instance.as_str()),
                ("job", job),
            ];
            pairs.extend_from_slice(more);
            pairs.sort_unstable();
            let labels = pairs.iter().map(|(name, value)| Label {
                name: (*name).to_owned(),
                value: (*value).to_owned(),
            });
            series.push(Series {
                labels: labels.collect(),
                kind,
                state: 0,
                seconds: 0.0,
            });
        };
        for cpu in ["0", "1", "2", "3"] {
            for (index, mode) in MODES.iter().enumerate() {
                let kind = Kind::Centiseconds([1_400, 30, 2, 2, 20, 2, 200, 600][index]);
                add(
                    "node_cpu_seconds_total",
                    "node",
                    kind,
                    &[("cpu", cpu), ("mode", mode)],
                );
            }
        }
        add(
            "node_memory_MemTotal_bytes",
            "node",
            Kind::Constant(16 << 30),
            &[],
        );
        add(
            "node_memory_MemAvailable_bytes",
            "node",
            Kind::Pages(2 << 20),
            &[],
        );
        add("node_load1", "node", Kind::Walk(200), &[]);
        for mountpoint in ["/", "/data"] {
            let more = [("mountpoint", mountpoint)];
            add(
                "node_filesystem_size_bytes",
                "node",
                Kind::Constant(64 << 30),
                &more,
            );
            add(
                "node_filesystem_avail_bytes",
                "node",
                Kind::Pages(5 << 20),
                &more,
            );
        }
        for device in ["eth0", "eth1", "eth2", "eth3"] {
            let more = [("device", device)];
            add(
                "node_network_receive_bytes_total",
                "node",
                Kind::Counter(60_000),
                &more,
            );
            add(
                "node_network_transmit_bytes_total",
                "node",
                Kind::Counter(20_000),
                &more,
            );
        }
        for device in ["sda", "sdb", "sdc"] {
            let more = [("device", device)];
            add(
                "node_disk_io_time_seconds_total",
                "node",
                Kind::Centiseconds(300),
                &more,
            );
        }
        for path in ["/", "/api", "/health", "/login", "/search"] {
            for (code, kind) in [
                ("200", Kind::Counter(50)),
                ("404", Kind::Slow(3)),
                ("500", Kind::Slow(20)),
            ] {
                let more = [("path", path), ("code", code)];
                add("http_requests_total", "shop", kind, &more);
            }
        }
        for (path, name) in ["/api", "/search"].into_iter().enumerate() {
            for (bound, le) in BOUNDS.iter().enumerate() {
                let more = [("path", name), ("le", le)];
                let kind = Kind::Bucket { path, bound };
                add("http_request_duration_seconds_bucket", "shop", kind, &more);
            }
            let (more, all) = ([("path", name)], BOUNDS.len());
            let kind = Kind::Bucket { path, bound: all };
            add("http_request_duration_seconds_count", "shop", kind, &more);
            add(
                "http_request_duration_seconds_sum",
                "shop",
                Kind::Seconds { path },
                &more,
            );
        }
        for sensor in ["temp1", "temp2", "temp3", "temp4"] {
            add(
                "node_hwmon_temp_celsius",
                "node",
                Kind::Walk(5_000),
                &[("sensor", sensor)],
            );
        }
        add(
            "node_uname_info",
            "node",
            Kind::Constant(1),
            &[("release", &release)],
        );
        add("up", "node", Kind::Constant(1), &[]);
        add("up", "shop", Kind::Constant(1), &[]);
        assert_eq!(series.len(), SERIES_OF_HOST, "a host has its series");
        let mut random = Random(number as u64 + 1);
        for _ in 0..8 {
            random.below(1);
        }
        Self {
            series,
            offset_ms: random.below(STEP_MS as u64 - 10) as i64,
            random,
        }
    }

    fn push(&mut self, first: usize, rounds: usize, start: i64, out: &mut Vec<TimeSeries>) {
        let from = out.len();
        out.extend(self.series.iter().map(|series| TimeSeries {
            labels: series.labels.clone(),
            samples: Vec::with_capacity(rounds),
        }));
        let random = &mut self.random;
        for round in first..first + rounds {
            let jitter = random.below(5) as i64;
            let timestamp = start + round as i64 * STEP_MS + self.offset_ms + jitter;
            let begins_anew = random.below(4_000) == 0;
            let requests = [0, 1].map(|_| {
                let count = random.below(12);
                let bucket = |_| (random.below(6) + random.below(7)) as usize;
                (0..count).map(bucket).collect()
            });
            for (series, out) in self.series.iter_mut().zip(&mut out[from..]) {
                if begins_anew && series.kind.is_counter() {
                    (series.state, series.seconds) = (0, 0.0);
                }
                let value = series.go_on(&requests, random);
                out.samples.push(Sample { value, timestamp });
            }
        }
    }
}

/// The label `instance` of a host.
pub(crate) fn instance(host: usize) -> String {
    format!("host-{host}.example.com:9100")
}

/// Hands the set's messages, of remote write and compressed, to `send`; the first scrape is at `start`.
pub(crate) fn messages(
    hosts: usize,
    rounds: usize,
    start: i64,
    mut send: impl FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut hosts: Vec<Host> = (0..hosts).map(Host::new).collect();
    for first in (0..rounds).step_by(ROUNDS) {
        for some in hosts.chunks_mut(HOSTS) {
            let mut timeseries = Vec::with_capacity(some.len() * SERIES_OF_HOST);
            for host in some {
                host.push(first, ROUNDS.min(rounds - first), start, &mut timeseries);
            }
            let message = WriteRequest { timeseries }.encode_to_vec();
            send(&snap::raw::Encoder::new().compress_vec(&message)?)?;
        }
    }
    Ok(())
}

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}
