//! What leaves memory: rows and solo samples that are sealed, or older than the retention.

use std::sync::{Arc, atomic::Ordering};

use super::{Head, Series, row::NO_SERIES};
use crate::{Timestamp, error::IoError};

impl Head {
    /// Drops blocks and solo samples that lie wholly before `cutoff` and that no live querier can
    /// see, then the series without samples. Answers how many series went.
    pub(crate) fn drop_before(&self, cutoff: Timestamp) -> u64 {
        let idle = self
            .queriers
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .live
            .is_empty();
        if !idle {
            return 0;
        }
        let mut state = self.state();
        for writer in &mut state.targets {
            let blocks = writer.target.blocks();
            let (old, kept): (Vec<_>, Vec<_>) = blocks.iter().map(Arc::clone).partition(|block| {
                block
                    .rows()
                    .next_back()
                    .is_none_or(|newest| newest.time < cutoff)
            });
            if old.is_empty() {
                continue;
            }
            if writer
                .open
                .as_ref()
                .is_some_and(|open| old.iter().any(|block| block.id == open.id))
            {
                writer.roll();
            }
            writer.target.set_blocks(kept.into());
            let index = self.read_index();
            for block in &old {
                for (column, id) in block.columns().into_iter().enumerate() {
                    if id != NO_SERIES
                        && let Some(series) = index.by_id(id)
                    {
                        writer.forget_binding(column as u32, series);
                    }
                }
            }
        }
        let mut index = self.write_index();
        let mut empty: Vec<Arc<Series>> = Vec::new();
        for series in index.iter() {
            let mut sources = series.sources();
            let solo = sources.solo();
            if solo.first().is_some_and(|oldest| oldest.time < cutoff) {
                sources.solo = solo
                    .iter()
                    .filter(|sample| sample.time >= cutoff)
                    .copied()
                    .collect();
            }
            drop(sources);
            drop(solo);
            // Two references are the index's own: nobody can append to the series.
            if Arc::strong_count(series) == 2 && series.is_empty() {
                empty.push(Arc::clone(series));
            }
        }
        for series in &empty {
            index.remove(series);
        }
        let removed = empty.len() as u64;
        self.counters
            .series_removed
            .fetch_add(removed, Ordering::Relaxed);
        self.oldest.fetch_max(cutoff, Ordering::Relaxed);
        removed
    }

    /// The first commit of which something is only in memory and in the log.
    pub(crate) fn first_unsealed_commit(&self) -> u64 {
        let mut first = self.visible() + 1;
        {
            let state = self.state();
            for writer in &state.targets {
                for block in writer.target.blocks().iter() {
                    if let Some(row) = block.first() {
                        first = first.min(row.commit);
                    }
                }
            }
        }
        for series in self.read_index().iter() {
            if let Some(sample) = series.sources().solo_first() {
                first = first.min(sample.commit);
            }
        }
        first
    }

    /// Begins a new log segment when due and removes those that are no longer needed.
    pub(crate) fn maintain_wal(
        &self,
        segment_age_max: std::time::Duration,
        kept_for: std::time::Duration,
    ) -> Result<(), IoError> {
        let needed = self.first_unsealed_commit();
        let mut state = self.state();
        let last = state.sequence;
        state.wal.rotate_if_due(last, segment_age_max)?;
        state.wal.drop_before(needed, kept_for)
    }
}
