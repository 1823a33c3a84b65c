//! Deleting: tombstones that are in force, and when one is not needed any more.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    Db, SUPERSEDED_KEPT_FOR,
    tombstones::{self, TOMBSTONES_MAX, Tombstone},
};
use crate::{
    Corruption, Matcher, OpenError, OperationError, TimeRange, Timestamp,
    block::{Block, FrameBuffer},
    error::IoError,
    read::Deletion,
};

/// The tombstones of an open store; guarded by its maintenance lock.
#[derive(Debug, Default)]
pub(super) struct Deletions {
    list: Vec<InForce>,
    /// Whether the blocks or the list changed since it was last looked which are needed.
    changed: bool,
}

#[derive(Debug)]
struct InForce {
    tombstone: Tombstone,
    /// Since when no block has held a sample that it deletes, on the monotonic clock.
    idle_since: Option<Duration>,
}

impl Deletions {
    pub(super) fn new(list: Vec<Tombstone>) -> Self {
        let in_force = |tombstone| InForce {
            tombstone,
            idle_since: None,
        };
        Self {
            list: list.into_iter().map(in_force).collect(),
            changed: true,
        }
    }

    /// The blocks in force are others now.
    pub(super) fn blocks_changed(&mut self) {
        self.changed = true;
    }

    fn tombstones(&self) -> Vec<Tombstone> {
        let list = self.list.iter();
        list.map(|in_force| in_force.tombstone.clone()).collect()
    }

    /// The commits of the tombstones, ascending.
    pub(super) fn commits(&self) -> Vec<u64> {
        let commits = self.list.iter().map(|in_force| in_force.tombstone.commit);
        let mut commits: Vec<u64> = commits.collect();
        commits.sort_unstable();
        commits
    }

    /// What of `block` is deleted.
    pub(super) fn of(&self, block: &Block) -> Result<Arc<[Deletion]>, Corruption> {
        let deletions = self
            .list
            .iter()
            .map(|in_force| of(&in_force.tombstone, block));
        let deletions = deletions.filter_map(Result::transpose);
        deletions.collect()
    }
}

/// What a tombstone deletes of a block, if it matches any of its series.
fn of(tombstone: &Tombstone, block: &Block) -> Result<Option<Deletion>, Corruption> {
    if block.name().last > tombstone.commit || !block.range().overlaps(&tombstone.range) {
        return Ok(None);
    }
    let selected = block.index().select(&tombstone.matchers);
    let series = selected.map_err(|error| block.index_damaged(error))?;
    Ok((!series.is_empty()).then_some(Deletion {
        series,
        range: tombstone.range,
    }))
}

/// Whether a block holds a sample that `deletion` deletes.
pub(super) fn has_deleted(block: &Block, deletion: &Deletion) -> Result<bool, Corruption> {
    let mut buffer = FrameBuffer::default();
    let (mut column, mut times) = (None, Vec::new());
    let mut positions = Vec::new();
    for ordinal in &deletion.series {
        for page in block.pages(ordinal)? {
            let page = page?;
            let (whole, _) = block.times_range(page.times)?;
            if !whole.overlaps(&deletion.range) {
                continue;
            }
            if column != Some(page.times) {
                times.clear();
                block.times(page.times, &mut buffer, &mut times)?;
                column = Some(page.times);
            }
            positions.clear();
            block.positions(&page, &mut buffer, &mut positions)?;
            let mut own = positions.iter().filter_map(|at| times.get(*at as usize));
            if own.any(|time| deletion.range.contains(*time)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

impl Db {
    /// Deletes the samples in `range`, inclusive on both ends and in milliseconds, of the series that
    /// pass all matchers of one of `selectors`. What is in memory is sealed first. Samples that are
    /// accepted later are not touched, but they are judged as before: a sample at or before the time of
    /// a deleted one is late.
    ///
    /// The samples are gone from every answer, and series without other samples from label queries. The
    /// files keep them until compaction or [`Db::clean_tombstones`].
    ///
    /// # Errors
    /// [`OperationError`]; nothing is deleted then, or, when the file system refused at the very end,
    /// perhaps after the next start.
    pub fn delete_series(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
    ) -> Result<(), OperationError> {
        let mut maintenance = self.maintenance();
        self.seal_all(&mut maintenance)?;
        let catalog = self.head.catalog();
        let newest: Option<Timestamp> = catalog.blocks.iter().map(|block| block.range().max).max();
        let range = TimeRange::new(range.min, range.max.min(newest.unwrap_or(range.max)));
        let mut changed = maintenance.deletions.tombstones();
        let before = changed.clone();
        for matchers in selectors {
            let tombstone = Tombstone {
                commit: catalog.sealed,
                matchers: matchers.clone(),
                range,
            };
            let mut hits = false;
            for block in &catalog.blocks {
                hits = hits || of(&tombstone, block)?.is_some();
            }
            if !hits {
                continue;
            }
            // The same deletion again takes the place of the one before.
            changed
                .retain(|old| old.matchers != tombstone.matchers || old.range != tombstone.range);
            changed.push(tombstone);
        }
        if changed == before {
            return Ok(());
        }
        if changed.len() > TOMBSTONES_MAX {
            return Err(OperationError::TooManyTombstones {
                limit: TOMBSTONES_MAX,
            });
        }
        tombstones::save(&*self.fs, &self.layout.ours, &changed)?;
        maintenance.deletions = Deletions::new(changed);
        Ok(self.apply_deletions(&maintenance.deletions)?)
    }

    /// Puts the tombstones in force that were found when the store was opened.
    ///
    /// One with a commit that is not sealed belongs to a damaged block that came back from the log, or to
    /// one that was not there yet when the folder was copied. What came from the log is sealed up to each
    /// such commit, so that the tombstone counts for what was accepted before it and for nothing else.
    /// Where the log ends before a tombstone's commit, that is the last commit there is.
    pub(super) fn begin_deletions(&self, last_commit: u64) -> Result<(), OpenError> {
        let mut maintenance = self.maintenance();
        let mut list = maintenance.deletions.tombstones();
        if list.iter().any(|tombstone| tombstone.commit > last_commit) {
            for tombstone in &mut list {
                tombstone.commit = tombstone.commit.min(last_commit);
            }
            // Before a commit is accepted that has a number of one that was deleted.
            tombstones::save(&*self.fs, &self.layout.ours, &list)?;
            maintenance.deletions = Deletions::new(list);
        }
        for commit in maintenance.deletions.commits() {
            if commit > self.head.catalog().sealed {
                self.head
                    .seal_replayed(&*self.fs, &self.layout.blocks, commit)?;
            }
        }
        Ok(self.apply_deletions(&maintenance.deletions)?)
    }

    /// Tells every block what of it is deleted.
    fn apply_deletions(&self, deletions: &Deletions) -> Result<(), Corruption> {
        let count = deletions.list.len() as u64;
        self.counters.tombstones.store(count, Ordering::Relaxed);
        let catalog = self.head.catalog();
        let mut blocks = Vec::new();
        for block in &catalog.blocks {
            blocks.push(block.with_deleted(deletions.of(block)?));
        }
        self.head.change_catalog(|catalog| {
            catalog.blocks = blocks;
            catalog.removals += 1;
        });
        Ok(())
    }

    /// Takes from the list what has not been needed for ten minutes.
    pub(super) fn drop_idle_tombstones(
        &self,
        deletions: &mut Deletions,
        now: Duration,
    ) -> Result<(), IoError> {
        if deletions.changed {
            let catalog = self.head.catalog();
            for in_force in &mut deletions.list {
                let needed = catalog.blocks.iter().any(|block| {
                    let deletion = of(&in_force.tombstone, block);
                    // What is damaged may hold anything.
                    deletion.map_or(true, |deletion| {
                        deletion
                            .is_some_and(|deletion| has_deleted(block, &deletion).unwrap_or(true))
                    })
                });
                in_force.idle_since = match in_force.idle_since {
                    _ if needed => None,
                    since => since.or(Some(now)),
                };
            }
            deletions.changed = false;
        }
        let is_over = |in_force: &InForce| {
            let since = in_force.idle_since;
            since.is_some_and(|since| now.saturating_sub(since) >= SUPERSEDED_KEPT_FOR)
        };
        if !deletions.list.iter().any(is_over) {
            return Ok(());
        }
        let left = deletions.list.iter().filter(|in_force| !is_over(in_force));
        let left: Vec<Tombstone> = left.map(|in_force| in_force.tombstone.clone()).collect();
        tombstones::save(&*self.fs, &self.layout.ours, &left)?;
        deletions.list.retain(|in_force| !is_over(in_force));
        let count = deletions.list.len() as u64;
        self.counters.tombstones.store(count, Ordering::Relaxed);
        Ok(())
    }
}
