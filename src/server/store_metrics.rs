//! The store's sizes and counts, under Prometheus's names.

use std::{sync::Arc, time::Duration};

use narthex_storage::{Db, DbStats};

use crate::{
    api::HeadStatistics,
    config::format_bytes,
    self_metrics::{Gauge, Registry},
};

/// What `/api/v1/status/tsdb` shows of the head.
pub(super) fn head(store: &Db) -> HeadStatistics {
    let stats = store.stats();
    HeadStatistics {
        series: stats.series,
        chunks: stats.pages,
        range: stats.min_time.zip(stats.max_time),
        label_pairs: stats.label_pairs,
    }
}

/// How long and how much is kept, as metrics and as text.
#[derive(Debug)]
pub(super) struct RetentionLimits {
    seconds: Gauge,
    bytes: Gauge,
}

impl RetentionLimits {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            seconds: registry.gauge(
                "prometheus_tsdb_retention_limit_seconds",
                "How long to retain samples in storage.",
            ),
            bytes: registry.gauge(
                "prometheus_tsdb_retention_limit_bytes",
                "Max number of bytes to be retained in the tsdb blocks, configured 0 means disabled",
            ),
        }
    }

    /// Sets the metrics to the retention in force, in milliseconds and bytes, and answers with the
    /// text of `/api/v1/status/runtimeinfo`: `15d`, `1GiB`, or both.
    pub(super) fn show(&self, (time_ms, size_bytes): (Option<i64>, Option<u64>)) -> String {
        let time = Duration::from_millis(time_ms.unwrap_or_default().unsigned_abs());
        self.seconds.set(time.as_secs_f64());
        self.bytes.set(size_bytes.unwrap_or_default() as f64);
        let time = time_ms.map(|_| narthex_query::format_duration(time));
        let parts = time.into_iter().chain(size_bytes.map(format_bytes));
        parts.collect::<Vec<_>>().join(" or ")
    }
}

/// A metric and where its value comes from.
struct Metric {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    value: Value,
}

type Value = fn(&DbStats) -> f64;

enum Kind {
    Counter,
    Gauge,
}

/// An empty store has no times; Prometheus prints the ends of its number range then.
fn milliseconds(time: Option<i64>, otherwise: i64) -> f64 {
    time.unwrap_or(otherwise) as f64
}

static METRICS: &[Metric] = &[
    Metric {
        name: "prometheus_tsdb_head_series",
        help: "Total number of series in the head block.",
        kind: Kind::Gauge,
        value: |stats| stats.series as f64,
    },
    Metric {
        name: "prometheus_tsdb_head_chunks",
        help: "Total number of chunks in the head block.",
        kind: Kind::Gauge,
        value: |stats| stats.pages as f64,
    },
    Metric {
        name: "prometheus_tsdb_head_series_created_total",
        help: "Total number of series created in the head",
        kind: Kind::Counter,
        value: |stats| stats.series_created as f64,
    },
    Metric {
        name: "prometheus_tsdb_head_series_removed_total",
        help: "Total number of series removed in the head",
        kind: Kind::Counter,
        value: |stats| stats.series_removed as f64,
    },
    Metric {
        name: "prometheus_tsdb_head_min_time",
        help: "Minimum time bound of the head block. The unit is decided by the library consumer.",
        kind: Kind::Gauge,
        value: |stats| milliseconds(stats.min_time, i64::MAX),
    },
    Metric {
        name: "prometheus_tsdb_head_max_time",
        help: "Maximum timestamp of the head block. The unit is decided by the library consumer.",
        kind: Kind::Gauge,
        value: |stats| milliseconds(stats.max_time, i64::MIN),
    },
    Metric {
        name: "prometheus_tsdb_head_min_time_seconds",
        help: "Minimum time bound of the head block.",
        kind: Kind::Gauge,
        value: |stats| milliseconds(stats.min_time, i64::MAX) / 1000.0,
    },
    Metric {
        name: "prometheus_tsdb_head_max_time_seconds",
        help: "Maximum timestamp of the head block.",
        kind: Kind::Gauge,
        value: |stats| milliseconds(stats.max_time, i64::MIN) / 1000.0,
    },
    Metric {
        name: "prometheus_tsdb_lowest_timestamp",
        help: "Lowest timestamp value stored in the database. The unit is decided by the library consumer.",
        kind: Kind::Gauge,
        value: |stats| milliseconds(stats.min_time, i64::MAX),
    },
    Metric {
        name: "prometheus_tsdb_lowest_timestamp_seconds",
        help: "Lowest timestamp value stored in the database.",
        kind: Kind::Gauge,
        value: |stats| milliseconds(stats.min_time, i64::MAX) / 1000.0,
    },
    Metric {
        name: "prometheus_tsdb_wal_corruptions_total",
        help: "Total number of WAL corruptions.",
        kind: Kind::Counter,
        value: |stats| stats.wal_corruptions as f64,
    },
    Metric {
        name: "prometheus_tsdb_wal_writes_failed_total",
        help: "Total number of write log writes that failed.",
        kind: Kind::Counter,
        value: |stats| stats.wal_write_failures as f64,
    },
    Metric {
        name: "prometheus_tsdb_wal_truncations_total",
        help: "Total number of write log truncations attempted.",
        kind: Kind::Counter,
        value: |stats| stats.wal_truncations as f64,
    },
    Metric {
        name: "prometheus_tsdb_wal_segment_current",
        help: "Write log segment index that TSDB is currently writing to.",
        kind: Kind::Gauge,
        value: |stats| stats.wal_segment as f64,
    },
    Metric {
        name: "prometheus_tsdb_wal_storage_size_bytes",
        help: "Size of the write log directory.",
        kind: Kind::Gauge,
        value: |stats| stats.wal_bytes as f64,
    },
    Metric {
        name: "prometheus_tsdb_storage_blocks_bytes",
        help: "The number of bytes that are currently used for local storage by all blocks.",
        kind: Kind::Gauge,
        value: |stats| stats.block_bytes as f64,
    },
    Metric {
        name: "prometheus_tsdb_blocks_loaded",
        help: "Number of currently loaded data blocks",
        kind: Kind::Gauge,
        value: |stats| stats.blocks as f64,
    },
    Metric {
        name: "narthex_storage_damaged_blocks",
        help: "Blocks found damaged since the start; the log says which and where. They stay on disk.",
        kind: Kind::Gauge,
        value: |stats| stats.blocks_damaged as f64,
    },
    Metric {
        name: "prometheus_tsdb_head_truncations_total",
        help: "Total number of head truncations attempted.",
        kind: Kind::Counter,
        value: |stats| stats.seals as f64,
    },
    Metric {
        name: "prometheus_tsdb_head_truncations_failed_total",
        help: "Total number of head truncations that failed.",
        kind: Kind::Counter,
        value: |stats| stats.seals_failed as f64,
    },
    Metric {
        name: "prometheus_tsdb_compactions_total",
        help: "Total number of compactions that were executed for the partition.",
        kind: Kind::Counter,
        value: |stats| stats.compactions as f64,
    },
    Metric {
        name: "prometheus_tsdb_compactions_failed_total",
        help: "Total number of compactions that failed for the partition.",
        kind: Kind::Counter,
        value: |stats| stats.compactions_failed as f64,
    },
    Metric {
        name: "prometheus_tsdb_time_retentions_total",
        help: "The number of times that blocks were deleted because the maximum time limit was exceeded.",
        kind: Kind::Counter,
        value: |stats| stats.time_retentions as f64,
    },
    Metric {
        name: "prometheus_tsdb_size_retentions_total",
        help: "The number of times that blocks were deleted because the maximum number of bytes was exceeded.",
        kind: Kind::Counter,
        value: |stats| stats.size_retentions as f64,
    },
    Metric {
        name: "prometheus_tsdb_exemplar_exemplars_appended_total",
        help: "Total number of appended exemplars.",
        kind: Kind::Counter,
        value: |stats| stats.exemplars.appended as f64,
    },
    Metric {
        name: "prometheus_tsdb_exemplar_out_of_order_exemplars_total",
        help: "Total number of out of order exemplar ingestion failed attempts.",
        kind: Kind::Counter,
        value: |stats| stats.exemplars.out_of_order as f64,
    },
    Metric {
        name: "prometheus_tsdb_exemplar_exemplars_in_storage",
        help: "Number of exemplars currently in circular storage.",
        kind: Kind::Gauge,
        value: |stats| stats.exemplars.kept as f64,
    },
    Metric {
        name: "prometheus_tsdb_exemplar_series_with_exemplars_in_storage",
        help: "Number of series with exemplars currently in circular storage.",
        kind: Kind::Gauge,
        value: |stats| stats.exemplars.series as f64,
    },
    Metric {
        name: "prometheus_tsdb_exemplar_last_exemplars_timestamp_seconds",
        help: "The timestamp of the oldest exemplar stored in circular storage. Useful to check for what time range the current exemplar buffer limit allows. This usually means the last timestamp for all exemplars for a typical setup. This is not true though if one of the series timestamp is in future compared to rest series.",
        kind: Kind::Gauge,
        value: |stats| stats.exemplars.oldest.unwrap_or(0) as f64 / 1000.0,
    },
    Metric {
        name: "prometheus_tsdb_exemplar_max_exemplars",
        help: "Total number of exemplars the exemplar storage can store, resizeable.",
        kind: Kind::Gauge,
        value: |stats| stats.exemplars.max as f64,
    },
    Metric {
        name: "narthex_storage_metadata_families",
        help: "Number of metric families of which type, unit and help are kept.",
        kind: Kind::Gauge,
        value: |stats| stats.metadata.families as f64,
    },
    Metric {
        name: "narthex_storage_metadata_bytes",
        help: "Bytes of the names, units and help texts of these families.",
        kind: Kind::Gauge,
        value: |stats| stats.metadata.bytes as f64,
    },
    Metric {
        name: "narthex_storage_metadata_appended_total",
        help: "Total number of metadata of metric families that was new.",
        kind: Kind::Counter,
        value: |stats| stats.metadata.appended as f64,
    },
    Metric {
        name: "narthex_storage_superseded_bytes",
        help: "Bytes of blocks that others replaced, kept for ten minutes for whoever copies the directory.",
        kind: Kind::Gauge,
        value: |stats| stats.superseded_bytes as f64,
    },
    Metric {
        name: "narthex_storage_tombstones",
        help: "Deletions that blocks may still hold samples of.",
        kind: Kind::Gauge,
        value: |stats| stats.tombstones as f64,
    },
    Metric {
        name: "narthex_storage_label_pairs",
        help: "Distinct label pairs of all series.",
        kind: Kind::Gauge,
        value: |stats| stats.label_pairs as f64,
    },
    Metric {
        name: "narthex_storage_duplicate_samples_total",
        help: "Samples refused because the series has another value at that time.",
        kind: Kind::Counter,
        value: |stats| stats.refused_duplicate as f64,
    },
    Metric {
        name: "narthex_storage_refused_invalid_histograms_total",
        help: "Native histograms refused because they break a rule.",
        kind: Kind::Counter,
        value: |stats| stats.refused_invalid_histogram as f64,
    },
    Metric {
        name: "narthex_storage_series_limit",
        help: "The most series there may be, see --storage.max-series; 0 is any number.",
        kind: Kind::Gauge,
        value: |stats| stats.series_limit as f64,
    },
];

/// Registers the store's metrics; its figures are looked up at each rendering, once. `opened_in`: how long
/// it took to open.
pub(super) fn register(registry: &Registry, store: &Arc<Db>, opened_in: Duration) {
    let replay = registry.gauge(
        "prometheus_tsdb_data_replay_duration_seconds",
        "Time taken to replay the data on disk.",
    );
    replay.set(opened_in.as_secs_f64());
    let gauges: Vec<(Gauge, Value)> = METRICS
        .iter()
        .map(|metric| {
            let gauge = match metric.kind {
                Kind::Counter => registry.counter_gauge(metric.name, metric.help),
                Kind::Gauge => registry.gauge(metric.name, metric.help),
            };
            (gauge, metric.value)
        })
        .collect();
    let appended = registry.counter_gauges(
        "prometheus_tsdb_head_samples_appended_total",
        "Total number of appended samples.",
        &["type"],
    );
    let (appended, histograms_appended) =
        (appended.with(&["float"]), appended.with(&["histogram"]));
    // Prometheus tells floats and histograms apart in what was refused, too; these count both.
    let by_type = |name, help| {
        registry
            .counter_gauges(name, help, &["type"])
            .with(&["float"])
    };
    let late = by_type(
        "prometheus_tsdb_head_out_of_order_samples_appended_total",
        "Total number of appended out of order samples.",
    );
    let out_of_order = by_type(
        "prometheus_tsdb_out_of_order_samples_total",
        "Total number of out of order samples ingestion failed attempts due to out of order being disabled.",
    );
    let out_of_bounds = by_type(
        "prometheus_tsdb_out_of_bound_samples_total",
        "Total number of out of bound samples ingestion failed attempts with out of order support disabled.",
    );
    let too_old = by_type(
        "prometheus_tsdb_too_old_samples_total",
        "Total number of out of order samples ingestion failed attempts with out of support enabled, but sample outside of time window.",
    );
    let refused = registry.counter_gauges(
        "narthex_storage_refused_series_total",
        "Times that a series was refused, because the limit of series is reached or its labels break a rule.",
        &["reason"],
    );
    let (over_limit, invalid) = (refused.with(&["limit"]), refused.with(&["labels"]));
    let metadata = registry.counter_gauges(
        "narthex_storage_refused_metadata_total",
        "Metadata of metric families refused, because as much is kept as may be, or because it is too long or names no family.",
        &["reason"],
    );
    let (metadata_over_limit, metadata_invalid) =
        (metadata.with(&["limit"]), metadata.with(&["invalid"]));
    let store = Arc::clone(store);
    registry.collect_with(move || {
        let stats = store.stats();
        for (gauge, value) in &gauges {
            gauge.set(value(&stats));
        }
        appended.set(stats.samples_appended as f64);
        late.set(stats.samples_appended_late as f64);
        histograms_appended.set(stats.histograms_appended as f64);
        out_of_order.set(stats.refused_out_of_order as f64);
        out_of_bounds.set(stats.refused_out_of_bounds as f64);
        too_old.set(stats.refused_too_old as f64);
        over_limit.set(stats.refused_series_limit as f64);
        invalid.set(stats.refused_invalid_labels as f64);
        metadata_over_limit.set(stats.metadata.refused_full as f64);
        metadata_invalid.set(stats.metadata.refused_invalid as f64);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected values: Prometheus 3.5.3 with the same retention.
    #[test]
    fn retention_shows_as_prometheus_shows_it() {
        let registry = Registry::new();
        let limits = RetentionLimits::new(&registry);
        let week = 7 * 86_400_000 + 12 * 3_600_000;
        for (retention, text, seconds, bytes) in [
            (
                (Some(week), Some(1 << 30)),
                "7d12h or 1GiB",
                648_000.0,
                1_073_741_824.0,
            ),
            ((None, Some(512 << 20)), "512MiB", 0.0, 536_870_912.0),
            ((Some(86_400_000), None), "1d", 86_400.0, 0.0),
        ] {
            assert_eq!(limits.show(retention), text);
            assert_eq!((limits.seconds.get(), limits.bytes.get()), (seconds, bytes));
        }
    }
}
