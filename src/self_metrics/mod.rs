//! Our own metrics, under the names that known dashboards read.
//!
//! A small registry that renders the text exposition format 0.0.4. Handles ([`Counter`], [`Gauge`],
//! [`Summary`], [`Histogram`]) are cheap clones that share one cell; a [`Family`] hands them out by
//! label values. What is cheaper to look up when asked (sizes of the store, `/proc`) is given by a
//! collector that runs at each rendering.
//!
//! It is not a general client library: no push, no timestamps, and series go only by
//! [`Family::remove`]. Families come out ascending by name, series ascending
//! by label values, so two renderings differ only in values.

mod process;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::{self, Debug, Write},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

pub use process::register_process;

/// The quantiles of a summary, as Prometheus's own summaries have them.
const QUANTILES: [f64; 5] = [0.01, 0.05, 0.5, 0.9, 0.99];

/// A summary's quantiles are those of this many newest observations.
const SUMMARY_WINDOW: usize = 512;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts events; only grows.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `events`.
    pub fn add(&self, events: u64) {
        self.0.fetch_add(events, Ordering::Relaxed);
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A value that goes up and down.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// Adds `delta`, which may be negative.
    pub fn add(&self, delta: f64) {
        let _previous = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| {
                Some((f64::from_bits(bits) + delta).to_bits())
            });
    }

    /// The value.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// Sum, count and quantiles of observations; the quantiles are those of the newest 512.
#[derive(Debug, Clone, Default)]
pub struct Summary(Arc<Mutex<SummaryState>>);

#[derive(Debug, Default)]
struct SummaryState {
    count: u64,
    sum: f64,
    newest: VecDeque<f64>,
}

impl Summary {
    /// Adds an observation, in the unit of the metric's name (seconds as a rule).
    pub fn observe(&self, value: f64) {
        let mut state = lock(&self.0);
        state.count += 1;
        state.sum += value;
        if state.newest.len() == SUMMARY_WINDOW {
            state.newest.pop_front();
        }
        state.newest.push_back(value);
    }
}

/// Observations counted by upper bound.
#[derive(Debug, Clone)]
pub struct Histogram(Arc<HistogramState>);

#[derive(Debug)]
struct HistogramState {
    bounds: &'static [f64],
    counts: Mutex<(Vec<u64>, f64)>,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self(Arc::new(HistogramState {
            bounds,
            counts: Mutex::new((vec![0; bounds.len() + 1], 0.0)),
        }))
    }

    /// Adds an observation, in the unit of the metric's name.
    pub fn observe(&self, value: f64) {
        let bucket = self.0.bounds.partition_point(|bound| *bound < value);
        let mut counts = lock(&self.0.counts);
        counts.0[bucket] += 1;
        counts.1 += value;
    }
}

/// What a series' handle knows how to print.
trait Cell: Clone + Send + Sync + Debug + 'static {
    fn write(&self, name: &str, labels: &Pairs<'_>, out: &mut String);
}

impl Cell for Counter {
    fn write(&self, name: &str, labels: &Pairs<'_>, out: &mut String) {
        line(out, name, labels, None, self.get() as f64);
    }
}

impl Cell for Gauge {
    fn write(&self, name: &str, labels: &Pairs<'_>, out: &mut String) {
        line(out, name, labels, None, self.get());
    }
}

impl Cell for Summary {
    fn write(&self, name: &str, labels: &Pairs<'_>, out: &mut String) {
        let state = lock(&self.0);
        let mut sorted: Vec<f64> = state.newest.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        for quantile in QUANTILES {
            // The nearest rank; NaN when nothing was observed, as in Prometheus's own summaries.
            let rank = (quantile * sorted.len() as f64).ceil() as usize;
            let value = sorted
                .get(rank.saturating_sub(1))
                .copied()
                .unwrap_or(f64::NAN);
            line(out, name, labels, Some(("quantile", quantile)), value);
        }
        line(out, &format!("{name}_sum"), labels, None, state.sum);
        line(
            out,
            &format!("{name}_count"),
            labels,
            None,
            state.count as f64,
        );
    }
}

impl Cell for Histogram {
    fn write(&self, name: &str, labels: &Pairs<'_>, out: &mut String) {
        let counts = lock(&self.0.counts);
        let bucket_name = format!("{name}_bucket");
        let mut total = 0;
        let bounds = self.0.bounds.iter().copied().chain([f64::INFINITY]);
        for (bound, count) in bounds.zip(&counts.0) {
            total += count;
            line(out, &bucket_name, labels, Some(("le", bound)), total as f64);
        }
        line(out, &format!("{name}_sum"), labels, None, counts.1);
        line(out, &format!("{name}_count"), labels, None, total as f64);
    }
}

/// Label names with one series' values, in the family's order.
type Pairs<'a> = [(&'a str, &'a str)];

fn line(out: &mut String, name: &str, labels: &Pairs<'_>, extra: Option<(&str, f64)>, value: f64) {
    out.push_str(name);
    let mut separator = '{';
    for (label, text) in labels {
        out.push(separator);
        out.push_str(label);
        out.push_str("=\"");
        for character in text.chars() {
            match character {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                other => out.push(other),
            }
        }
        out.push('"');
        separator = ',';
    }
    if let Some((label, bound)) = extra {
        out.push(separator);
        out.push_str(label);
        out.push_str("=\"");
        number(out, bound);
        out.push('"');
        separator = ',';
    }
    if separator == ',' {
        out.push('}');
    }
    out.push(' ');
    number(out, value);
    out.push('\n');
}

fn number(out: &mut String, value: f64) {
    if value == f64::INFINITY {
        out.push_str("+Inf");
    } else if value == f64::NEG_INFINITY {
        out.push_str("-Inf");
    } else {
        write!(out, "{value}").expect("writing to a string cannot fail");
    }
}

/// Series of one name that differ by label values.
#[derive(Debug, Clone)]
pub struct Family<T>(Arc<FamilyState<T>>);

#[derive(Debug)]
struct FamilyState<T> {
    name: &'static str,
    help: &'static str,
    kind: &'static str,
    label_names: &'static [&'static str],
    bounds: &'static [f64],
    series: Mutex<BTreeMap<Vec<String>, T>>,
}

impl<T: Clone> Family<T> {
    fn get_or_create(&self, values: &[&str], create: impl FnOnce(&'static [f64]) -> T) -> T {
        assert_eq!(
            values.len(),
            self.0.label_names.len(),
            "{} has another number of labels",
            self.0.name
        );
        let key: Vec<String> = values.iter().map(|&value| value.to_owned()).collect();
        let mut series = lock(&self.0.series);
        series
            .entry(key)
            .or_insert_with(|| create(self.0.bounds))
            .clone()
    }

    /// Forgets the series with these label values.
    pub fn remove(&self, values: &[&str]) {
        let key: Vec<String> = values.iter().map(|&value| value.to_owned()).collect();
        lock(&self.0.series).remove(&key);
    }
}

macro_rules! family_with {
    ($($kind:ty => $create:expr),* $(,)?) => {$(
        impl Family<$kind> {
            /// The series with these label values, in the order of the family's label names;
            /// created with its zero when it is new.
            ///
            /// # Panics
            /// When the number of values is not that of the label names.
            pub fn with(&self, values: &[&str]) -> $kind {
                self.get_or_create(values, $create)
            }
        }
    )*};
}

family_with! {
    Counter => |_| Counter::default(),
    Gauge => |_| Gauge::default(),
    Summary => |_| Summary::default(),
    Histogram => Histogram::new,
}

trait Rendered: Send + Sync {
    fn name(&self) -> &'static str;
    fn render(&self, out: &mut String);
}

impl<T: Cell> Rendered for FamilyState<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn render(&self, out: &mut String) {
        let series = lock(&self.series);
        if series.is_empty() {
            return;
        }
        header(out, self.name, self.help, self.kind);
        for (values, cell) in series.iter() {
            let pairs: Vec<(&str, &str)> = self
                .label_names
                .iter()
                .copied()
                .zip(values.iter().map(String::as_str))
                .collect();
            cell.write(self.name, &pairs, out);
        }
    }
}

fn header(out: &mut String, name: &str, help: &str, kind: &str) {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")
        .expect("writing to a string cannot fail");
}

type Collector = Box<dyn Fn() + Send + Sync>;

/// All metrics of one server.
#[derive(Clone, Default)]
pub struct Registry {
    families: Arc<Mutex<BTreeMap<&'static str, Arc<dyn Rendered>>>>,
    collectors: Arc<Mutex<Vec<Collector>>>,
}

impl Debug for Registry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl Registry {
    /// A registry without metrics.
    pub fn new() -> Self {
        Self::default()
    }

    fn family<T: Cell>(
        &self,
        kind: &'static str,
        name: &'static str,
        help: &'static str,
        label_names: &'static [&'static str],
        bounds: &'static [f64],
    ) -> Family<T> {
        let state = Arc::new(FamilyState {
            name,
            help,
            kind,
            label_names,
            bounds,
            series: Mutex::new(BTreeMap::new()),
        });
        let rendered: Arc<dyn Rendered> = Arc::clone(&state) as _;
        let previous = lock(&self.families).insert(rendered.name(), rendered);
        assert!(previous.is_none(), "{name} is registered twice");
        Family(state)
    }

    /// A counter without labels.
    ///
    /// # Panics
    /// This and the other registrations panic when the name is taken.
    pub fn counter(&self, name: &'static str, help: &'static str) -> Counter {
        self.counters(name, help, &[]).with(&[])
    }

    /// Counters by label values.
    pub fn counters(
        &self,
        name: &'static str,
        help: &'static str,
        label_names: &'static [&'static str],
    ) -> Family<Counter> {
        self.family("counter", name, help, label_names, &[])
    }

    /// A gauge without labels.
    pub fn gauge(&self, name: &'static str, help: &'static str) -> Gauge {
        self.gauges(name, help, &[]).with(&[])
    }

    /// Gauges by label values.
    pub fn gauges(
        &self,
        name: &'static str,
        help: &'static str,
        label_names: &'static [&'static str],
    ) -> Family<Gauge> {
        self.family("gauge", name, help, label_names, &[])
    }

    /// A value that is set by a collector and only grows, without labels: printed as a counter.
    pub fn counter_gauge(&self, name: &'static str, help: &'static str) -> Gauge {
        self.counter_gauges(name, help, &[]).with(&[])
    }

    /// The same by label values.
    pub fn counter_gauges(
        &self,
        name: &'static str,
        help: &'static str,
        label_names: &'static [&'static str],
    ) -> Family<Gauge> {
        self.family("counter", name, help, label_names, &[])
    }

    /// Summaries by label values.
    pub fn summaries(
        &self,
        name: &'static str,
        help: &'static str,
        label_names: &'static [&'static str],
    ) -> Family<Summary> {
        self.family("summary", name, help, label_names, &[])
    }

    /// Histograms by label values; `bounds` ascending, without the infinite one.
    pub fn histograms(
        &self,
        name: &'static str,
        help: &'static str,
        label_names: &'static [&'static str],
        bounds: &'static [f64],
    ) -> Family<Histogram> {
        self.family("histogram", name, help, label_names, bounds)
    }

    /// Runs `collector` before each rendering; it sets gauges it holds.
    pub fn collect_with(&self, collector: impl Fn() + Send + Sync + 'static) {
        lock(&self.collectors).push(Box::new(collector));
    }

    /// Everything in the text format 0.0.4. Families without a series are left out.
    pub fn render(&self) -> String {
        for collector in lock(&self.collectors).iter() {
            collector();
        }
        let mut out = String::new();
        for family in lock(&self.families).values() {
            family.render(&mut out);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_prints_as_the_text_format_has_it() {
        let registry = Registry::new();
        let requests = registry.counters("b_total", "Requests.", &["code", "handler"]);
        requests.with(&["200", "/a\"\\\n"]).add(2);
        requests.with(&["200", "/"]).increment();
        registry.gauge("a", "A gauge.").set(-0.5);
        let histogram = registry.histograms("c", "Sizes.", &[], &[1.0, 2.5]);
        for value in [1.0, 2.0, 9.0] {
            histogram.with(&[]).observe(value);
        }
        let summary = registry.summaries("d", "Times.", &["slice"]).with(&["x"]);
        for value in 1..=100 {
            summary.observe(f64::from(value));
        }
        let collected = registry.gauge("e", "Looked up.");
        registry.collect_with(move || collected.set(f64::INFINITY));
        registry.counters("unused_total", "Left out.", &["x"]);
        expect_test::expect![[r#"
            # HELP a A gauge.
            # TYPE a gauge
            a -0.5
            # HELP b_total Requests.
            # TYPE b_total counter
            b_total{code="200",handler="/"} 1
            b_total{code="200",handler="/a\"\\\n"} 2
            # HELP c Sizes.
            # TYPE c histogram
            c_bucket{le="1"} 1
            c_bucket{le="2.5"} 2
            c_bucket{le="+Inf"} 3
            c_sum 12
            c_count 3
            # HELP d Times.
            # TYPE d summary
            d{slice="x",quantile="0.01"} 1
            d{slice="x",quantile="0.05"} 5
            d{slice="x",quantile="0.5"} 50
            d{slice="x",quantile="0.9"} 90
            d{slice="x",quantile="0.99"} 99
            d_sum{slice="x"} 5050
            d_count{slice="x"} 100
            # HELP e Looked up.
            # TYPE e gauge
            e +Inf
        "#]]
        .assert_eq(&registry.render());
    }

    #[test]
    fn a_summary_forgets_all_but_the_newest_observations_in_its_quantiles_only() {
        let registry = Registry::new();
        let summary = registry.summaries("s", "S.", &[]).with(&[]);
        assert!(registry.render().contains("s{quantile=\"0.5\"} NaN\n"));
        for _ in 0..SUMMARY_WINDOW {
            summary.observe(1.0);
        }
        for _ in 0..SUMMARY_WINDOW {
            summary.observe(2.0);
        }
        let text = registry.render();
        assert!(text.contains("s{quantile=\"0.01\"} 2\n"), "{text}");
        assert!(text.contains("s_sum 1536\ns_count 1024\n"), "{text}");
    }
}
