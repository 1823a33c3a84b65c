//! The admin endpoints' side of the store.

use std::sync::Arc;

use narthex_storage::{Db, Matcher, TimeRange};

use crate::{
    api::StoreAdmin,
    clock::AsyncClock,
    self_metrics::{Histogram, Registry},
};

/// See the module.
pub(super) struct StoreOperations {
    store: Arc<Db>,
    clock: Arc<dyn AsyncClock>,
    cleanups: Histogram,
}

impl StoreOperations {
    pub(super) fn new(store: Arc<Db>, clock: Arc<dyn AsyncClock>, registry: &Registry) -> Self {
        let cleanups = registry.histograms(
            "prometheus_tsdb_tombstone_cleanup_seconds",
            "The time taken to recompact blocks to remove tombstones.",
            &[],
            &[],
        );
        Self {
            store,
            clock,
            cleanups: cleanups.with(&[]),
        }
    }
}

impl StoreAdmin for StoreOperations {
    fn snapshot(&self, skip_head: bool) -> anyhow::Result<String> {
        Ok(self.store.snapshot(skip_head)?)
    }

    fn delete_series(&self, selectors: &[Vec<Matcher>], range: TimeRange) -> anyhow::Result<()> {
        Ok(self.store.delete_series(selectors, range)?)
    }

    fn clean_tombstones(&self) -> anyhow::Result<()> {
        let began = self.clock.monotonic();
        let outcome = self.store.clean_tombstones();
        let took = self.clock.monotonic().saturating_sub(began);
        self.cleanups.observe(took.as_secs_f64());
        Ok(outcome?)
    }
}
