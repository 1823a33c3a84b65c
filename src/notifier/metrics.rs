//! `prometheus_notifications_*`, by the address that alerts are posted to.

use crate::self_metrics::{Counter, Family, Gauge, Histogram, Registry, Summary};

/// All families.
#[derive(Debug, Clone)]
pub(super) struct NotifierMetrics {
    latency: Family<Summary>,
    latency_histogram: Family<Histogram>,
    errors: Family<Counter>,
    sent: Family<Counter>,
    dropped: Family<Counter>,
    queue_length: Family<Gauge>,
    /// Alertmanagers in use.
    pub(super) active: Gauge,
    /// What discovery found for each section.
    pub(super) discovered: Family<Gauge>,
}

/// The series of one Alertmanager.
#[derive(Debug, Clone)]
pub(super) struct AlertmanagerMetrics {
    /// From the start of a successful POST to its answer, in seconds.
    pub(super) latency: Summary,
    /// The same.
    pub(super) latency_histogram: Histogram,
    /// Alerts whose POST failed.
    pub(super) errors: Counter,
    /// Alerts that were delivered.
    pub(super) sent: Counter,
    /// Alerts that were given up: their POST failed, or the queue was full.
    pub(super) dropped: Counter,
    /// Alerts that wait.
    pub(super) queue_length: Gauge,
}

impl NotifierMetrics {
    pub(super) fn new(
        registry: &Registry,
        discovered: Family<Gauge>,
        queue_capacity: usize,
    ) -> Self {
        let label = &["alertmanager"];
        registry
            .gauge(
                "prometheus_notifications_queue_capacity",
                "The capacity of the alert notifications queue.",
            )
            .set(queue_capacity as f64);
        Self {
            latency: registry.summaries(
                "prometheus_notifications_latency_seconds",
                "Latency quantiles for sending alert notifications.",
                label,
            ),
            latency_histogram: registry.histograms(
                "prometheus_notifications_latency_histogram_seconds",
                "Latency histogram for sending alert notifications.",
                label,
                &[0.01, 0.1, 1.0, 10.0],
            ),
            errors: registry.counters(
                "prometheus_notifications_errors_total",
                "Total number of sent alerts affected by errors.",
                label,
            ),
            sent: registry.counters(
                "prometheus_notifications_sent_total",
                "Total number of alerts sent.",
                label,
            ),
            dropped: registry.counters(
                "prometheus_notifications_dropped_total",
                "Total number of alerts dropped due to errors when sending to Alertmanager.",
                label,
            ),
            queue_length: registry.gauges(
                "prometheus_notifications_queue_length",
                "The number of alert notifications in the queue.",
                label,
            ),
            discovered,
            active: registry.gauge(
                "prometheus_notifications_alertmanagers_discovered",
                "The number of alertmanagers discovered and active.",
            ),
        }
    }

    /// The series of `url`, at zero when they are new.
    pub(super) fn of(&self, url: &str) -> AlertmanagerMetrics {
        AlertmanagerMetrics {
            latency: self.latency.with(&[url]),
            latency_histogram: self.latency_histogram.with(&[url]),
            errors: self.errors.with(&[url]),
            sent: self.sent.with(&[url]),
            dropped: self.dropped.with(&[url]),
            queue_length: self.queue_length.with(&[url]),
        }
    }

    /// Ends the series of an Alertmanager that is gone.
    pub(super) fn forget(&self, url: &str) {
        self.latency.remove(&[url]);
        self.latency_histogram.remove(&[url]);
        self.errors.remove(&[url]);
        self.sent.remove(&[url]);
        self.dropped.remove(&[url]);
        self.queue_length.remove(&[url]);
    }
}
