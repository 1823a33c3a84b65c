//! Counts of HTTP requests by handler.

use std::time::Duration;

use http::StatusCode;

use crate::self_metrics::{Counter, Family, Histogram, Registry, Summary};

/// Upper bounds in seconds, Prometheus's own.
const SECONDS: &[f64] = &[0.1, 0.2, 0.4, 1.0, 3.0, 8.0, 20.0, 60.0, 120.0];

/// Upper bounds in bytes, Prometheus's own.
const BYTES: &[f64] = &[1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// `prometheus_http_*`, labelled by the path pattern, and what remote write skips.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    requests: Family<Counter>,
    seconds: Family<Histogram>,
    bytes: Family<Histogram>,
    query_seconds: Summary,
    query_samples: Counter,
    /// How long queries waited for a place.
    pub(crate) queue_seconds: Summary,
    /// Series of remote-write requests whose labels break a rule.
    pub(crate) invalid_label_samples: Counter,
}

impl HttpMetrics {
    /// Registers the metrics.
    pub fn new(registry: &Registry) -> Self {
        let query_timings = registry.summaries(
            "prometheus_engine_query_duration_seconds",
            "Query timings",
            &["slice"],
        );
        Self {
            requests: registry.counters(
                "prometheus_http_requests_total",
                "Counter of HTTP requests.",
                &["handler", "code"],
            ),
            seconds: registry.histograms(
                "prometheus_http_request_duration_seconds",
                "Histogram of latencies for HTTP requests.",
                &["handler"],
                SECONDS,
            ),
            bytes: registry.histograms(
                "prometheus_http_response_size_bytes",
                "Histogram of response size for HTTP requests.",
                &["handler"],
                BYTES,
            ),
            query_seconds: query_timings.with(&["inner_eval"]),
            query_samples: registry.counter(
                "prometheus_engine_query_samples_total",
                "The total number of samples loaded by all queries.",
            ),
            queue_seconds: query_timings.with(&["queue_time"]),
            invalid_label_samples: registry.counter(
                "prometheus_api_remote_write_invalid_labels_samples_total",
                "The total number of received remote write samples and histogram samples which were rejected due to invalid labels.",
            ),
        }
    }

    /// Counts an evaluation.
    pub(crate) fn observe_query(&self, took: Duration, samples: u64) {
        self.query_seconds.observe(took.as_secs_f64());
        self.query_samples.add(samples);
    }

    /// Counts an answer.
    pub(crate) fn observe(
        &self,
        handler: &str,
        status: StatusCode,
        took: Duration,
        body_bytes: u64,
    ) {
        self.requests.with(&[handler, status.as_str()]).increment();
        self.seconds.with(&[handler]).observe(took.as_secs_f64());
        self.bytes.with(&[handler]).observe(body_bytes as f64);
    }
}
