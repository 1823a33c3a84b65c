//! What scraping tells the API about targets, and the counters of its own metrics.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use bytes::Bytes;
use narthex_storage::{Labels, Metadata, Timestamp};

use super::exposition::{Entry, Format, Parser, family_name, unescape_help};
use crate::self_metrics::{Counter, Family, Gauge, Registry, Summary};

/// The targets of one job.
#[derive(Debug, Clone)]
pub struct PoolReport {
    /// The job.
    pub name: String,
    /// Targets that are scraped, ascending by what identifies them.
    pub active: Vec<TargetReport>,
    /// What discovery said about targets that relabelling dropped; as many as are kept.
    pub dropped: Vec<Labels>,
    /// How many targets relabelling dropped.
    pub dropped_count: usize,
}

/// A target that is scraped.
#[derive(Debug, Clone)]
pub struct TargetReport {
    /// Before relabelling.
    pub discovered_labels: Labels,
    /// As samples carry them.
    pub labels: Labels,
    /// What is fetched.
    pub scrape_url: String,
    /// How the newest scrape went.
    pub status: TargetStatus,
    /// Between two scrapes.
    pub scrape_interval: Duration,
    /// The longest that a scrape may take.
    pub scrape_timeout: Duration,
}

/// How the newest scrape of a target went.
#[derive(Debug, Clone, Default)]
pub struct TargetStatus {
    /// Why it failed, in Prometheus's words; empty when it did not.
    pub last_error: String,
    /// When it began, milliseconds since the Unix epoch; `None` before the first.
    pub last_scrape: Option<Timestamp>,
    /// How long it took, storing included.
    pub last_scrape_duration: Duration,
    /// Whether it went well.
    pub health: TargetHealth,
    /// The newest body that was read whole.
    pub(super) body: Option<(Bytes, Format)>,
}

/// Whether a target answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TargetHealth {
    /// Not scraped yet.
    #[default]
    Unknown,
    /// The newest scrape went well.
    Up,
    /// The newest scrape failed.
    Down,
}

impl TargetReport {
    /// What the newest body says about its metric families, by family. Reads the body, so ask only
    /// when it is needed.
    pub fn metadata(&self) -> BTreeMap<String, Metadata> {
        let Some((body, format)) = &self.status.body else {
            return BTreeMap::new();
        };
        metadata_of(body, *format)
    }
}

/// What `body` says about its metric families. Lines that are no metadata are not looked at.
pub(super) fn metadata_of(body: &[u8], format: Format) -> BTreeMap<String, Metadata> {
    let mut families: BTreeMap<String, Metadata> = BTreeMap::new();
    let mut parser = Parser::new(body, format);
    let breaks = memchr::memchr_iter(b'\n', body).map(|at| at + 1);
    for start in std::iter::once(0).chain(breaks) {
        if body.get(start) != Some(&b'#') {
            continue;
        }
        parser.seek(start);
        let Ok(Some(entry)) = parser.next_entry() else {
            continue;
        };
        let (Entry::Type { name, .. } | Entry::Help { name, .. } | Entry::Unit { name, .. }) =
            entry
        else {
            continue;
        };
        let Some(name) = family_name(name) else {
            continue;
        };
        let family = families.entry(name).or_default();
        match entry {
            Entry::Type { kind, .. } => family.kind = kind,
            Entry::Help { text, .. } => family.help = unescape_help(text, format),
            Entry::Unit { text, .. } => {
                family.unit = String::from_utf8_lossy(text).into_owned();
            }
            Entry::Sample { .. } | Entry::Comment => {}
        }
    }
    families
}

/// The status of a running target, shared between its loop and whoever asks.
#[derive(Debug, Default)]
pub(super) struct SharedStatus(Mutex<TargetStatus>);

impl SharedStatus {
    pub(super) fn get(&self) -> TargetStatus {
        self.lock().clone()
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut TargetStatus)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, TargetStatus> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Scraping's own metrics, under Prometheus's names.
#[derive(Debug, Clone)]
pub(super) struct ScrapeMetrics {
    pub(super) interval_length: Family<Summary>,
    pub(super) pools: Counter,
    pub(super) pools_failed: Counter,
    pub(super) reloads: Counter,
    pub(super) reloads_failed: Counter,
    pub(super) exceeded_target_limit: Counter,
    pub(super) target_limit: Family<Gauge>,
    pub(super) targets: Family<Gauge>,
    pub(super) syncs: Family<Counter>,
    pub(super) sync_failed: Family<Counter>,
    pub(super) sync_length: Family<Summary>,
    pub(super) discovered: Family<Gauge>,
    pub(super) exceeded_sample_limit: Counter,
    pub(super) exceeded_body_size_limit: Counter,
    pub(super) duplicate: Counter,
    pub(super) out_of_order: Counter,
    pub(super) out_of_bounds: Counter,
    pub(super) exemplar_out_of_order: Counter,
}

impl ScrapeMetrics {
    pub(super) fn new(registry: &Registry, discovered: Family<Gauge>) -> Self {
        let job = &["scrape_job"];
        Self {
            interval_length: registry.summaries(
                "prometheus_target_interval_length_seconds",
                "Actual intervals between scrapes.",
                &["interval"],
            ),
            pools: registry.counter(
                "prometheus_target_scrape_pools_total",
                "Total number of scrape pool creation attempts.",
            ),
            pools_failed: registry.counter(
                "prometheus_target_scrape_pools_failed_total",
                "Total number of scrape pool creations that failed.",
            ),
            reloads: registry.counter(
                "prometheus_target_scrape_pool_reloads_total",
                "Total number of scrape pool reloads.",
            ),
            reloads_failed: registry.counter(
                "prometheus_target_scrape_pool_reloads_failed_total",
                "Total number of failed scrape pool reloads.",
            ),
            exceeded_target_limit: registry.counter(
                "prometheus_target_scrape_pool_exceeded_target_limit_total",
                "Total number of times scrape pools hit the target limit, during sync or config reload.",
            ),
            target_limit: registry.gauges(
                "prometheus_target_scrape_pool_target_limit",
                "Maximum number of targets allowed in this scrape pool.",
                job,
            ),
            targets: registry.gauges(
                "prometheus_target_scrape_pool_targets",
                "Current number of targets in this scrape pool.",
                job,
            ),
            syncs: registry.counters(
                "prometheus_target_scrape_pool_sync_total",
                "Total number of syncs that were executed on a scrape pool.",
                job,
            ),
            sync_failed: registry.counters(
                "prometheus_target_sync_failed_total",
                "Total number of target sync failures.",
                job,
            ),
            sync_length: registry.summaries(
                "prometheus_target_sync_length_seconds",
                "Actual interval to sync the scrape pool.",
                job,
            ),
            discovered,
            exceeded_sample_limit: registry.counter(
                "prometheus_target_scrapes_exceeded_sample_limit_total",
                "Total number of scrapes that hit the sample limit and were rejected.",
            ),
            exceeded_body_size_limit: registry.counter(
                "prometheus_target_scrapes_exceeded_body_size_limit_total",
                "Total number of scrapes that hit the body size limit.",
            ),
            duplicate: registry.counter(
                "prometheus_target_scrapes_sample_duplicate_timestamp_total",
                "Total number of samples rejected due to duplicate timestamps but different values.",
            ),
            out_of_order: registry.counter(
                "prometheus_target_scrapes_sample_out_of_order_total",
                "Total number of samples rejected due to not being out of the expected order.",
            ),
            out_of_bounds: registry.counter(
                "prometheus_target_scrapes_sample_out_of_bounds_total",
                "Total number of samples rejected due to timestamp falling outside of the time bounds.",
            ),
            exemplar_out_of_order: registry.counter(
                "prometheus_target_scrapes_exemplar_out_of_order_total",
                "Total number of exemplar rejected due to not being out of the expected order.",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use narthex_storage::MetricType;

    use super::*;

    #[test]
    fn metadata_is_read_from_the_newest_body() {
        let body = "# HELP a what\\nelse\n# TYPE a counter\na 1\n#x\n# TYPE \"b.c\" gauge\n";
        let expected = BTreeMap::from([
            (
                "a".to_owned(),
                Metadata {
                    kind: MetricType::Counter,
                    unit: String::new(),
                    help: "what\nelse".to_owned(),
                },
            ),
            (
                "b.c".to_owned(),
                Metadata {
                    kind: MetricType::Gauge,
                    ..Metadata::default()
                },
            ),
        ]);
        assert_eq!(metadata_of(body.as_bytes(), Format::Text), expected);
        let body = "# TYPE a_seconds gauge\n# UNIT a_seconds seconds\na_seconds 1\n# EOF\n";
        let family = &metadata_of(body.as_bytes(), Format::OpenMetrics)["a_seconds"];
        assert_eq!(family.unit, "seconds");
    }
}
