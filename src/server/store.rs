//! The server's store: how it is opened, and what of it follows the configuration.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use narthex_storage::{Db, DbOptions, OpenReport, Timestamp};
use tracing::{error, info, warn};

use super::{Server, store_admin::StoreOperations, store_metrics};
use crate::{api::Store, config::Config};

impl Server {
    /// Opens the store on the blocking pool, for replaying a log takes a while.
    pub(super) async fn open_store(&self, config: &Config) -> Result<Arc<Db>> {
        info!("Starting TSDB ...");
        let options = self.store_options(config);
        let began = self.clock.monotonic();
        let (store, report) = tokio::task::spawn_blocking(move || Db::open(&options))
            .await?
            .context("opening storage failed")?;
        let store = Arc::new(store);
        self.say_what_was_found(&report);
        let took = self.clock.monotonic().saturating_sub(began);
        info!(
            segments = report.wal_segments,
            series = store.stats().series,
            total_replay_duration = format!("{took:?}"),
            "WAL replay completed"
        );
        info!("TSDB started");
        store_metrics::register(&self.state.registry, &store, took);
        let head = {
            let store = Arc::clone(&store);
            Arc::new(move || store_metrics::head(&store))
        };
        let exemplars = {
            let store = Arc::clone(&store);
            Arc::new(move |selectors: &[_], range| store.exemplars(selectors, range))
        };
        let opened = Store {
            queryable: Arc::clone(&store) as _,
            appendable: Arc::clone(&store) as _,
            exemplars,
            metadata: {
                let store = Arc::clone(&store);
                Arc::new(move |family| store.metadata(family))
            },
            head,
            cardinality: {
                let store = Arc::clone(&store);
                Arc::new(move |limit| store.cardinality(limit))
            },
            admin: Arc::new(StoreOperations::new(
                Arc::clone(&store),
                Arc::clone(&self.clock),
                &self.state.registry,
            )),
        };
        assert!(
            self.state.store.set(opened).is_ok(),
            "the store is opened once"
        );
        Ok(store)
    }

    /// Retention in force, in milliseconds and bytes: the configuration's section, where it has one,
    /// else the flags'.
    pub(super) fn retention(&self, config: &Config) -> (Option<i64>, Option<u64>) {
        let (time, size_bytes) = match &config.storage.retention {
            Some(section) => (section.time, section.size_bytes),
            None => (
                self.options.retention_time,
                self.options.retention_size_bytes,
            ),
        };
        let time_ms = time.map(|time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        (time_ms, size_bytes)
    }

    pub(super) fn store_options(&self, config: &Config) -> DbOptions {
        let (retention_time_ms, retention_size_bytes) = self.retention(config);
        DbOptions {
            retention_time_ms,
            retention_size_bytes,
            out_of_order_window_ms: out_of_order_window_ms(config),
            wal_fsync: self.options.wal_fsync,
            series_max: self.options.series_max,
            exemplars_max: self.exemplars_max(config),
            lock: self.options.lock,
            ..DbOptions::new(
                self.options.data_path.clone(),
                Arc::clone(&self.fs),
                Arc::clone(&self.clock) as _,
            )
        }
    }

    /// How many exemplars are kept; a number below zero is none.
    pub(super) fn exemplars_max(&self, config: &Config) -> usize {
        match config.storage.max_exemplars {
            Some(max) if self.options.exemplar_storage => usize::try_from(max).unwrap_or(0),
            _ => 0,
        }
    }

    /// What a person should know about the data directory.
    pub(super) fn say_what_was_found(&self, report: &OpenReport) {
        for damage in &report.wal_damage {
            if damage.torn_tail {
                warn!(
                    at = %damage.at,
                    bytes = damage.bytes,
                    "The write-ahead log ended in a torn record, as a crash leaves it; it was cut off"
                );
            } else {
                error!(
                    at = %damage.at,
                    bytes = damage.bytes,
                    "A part of the write-ahead log is damaged and was not applied"
                );
            }
        }
        for damage in &report.block_damage {
            error!(
                at = %damage.at,
                bytes = damage.bytes,
                "A block is damaged: it is left out, and its file stays; the others are served"
            );
        }
        for damage in &report.blocks_restored {
            warn!(
                at = %damage.at,
                "A block is damaged, and its file stays; the log or other blocks still have all of it, which is served from there"
            );
        }
        if let Some(foreign) = &report.foreign {
            let range = foreign
                .blocks_range
                .map(|range| format!("{} to {}", format_time(range.min), format_time(range.max)));
            warn!(
                path = %self.options.data_path.display(),
                blocks = foreign.blocks,
                range = range.unwrap_or_default(),
                head = foreign.has_head,
                "This directory holds Prometheus's data, which is not read yet and stays untouched: starting with our own store beside it"
            );
        }
    }
}

/// How much older than the newest sample one may be that comes out of order, in milliseconds.
pub(super) fn out_of_order_window_ms(config: &Config) -> i64 {
    let window = config.storage.out_of_order_time_window.as_millis();
    i64::try_from(window).unwrap_or(i64::MAX)
}

fn format_time(time: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(time)
        .map_or_else(|_| time.to_string(), |time| time.to_string())
}
