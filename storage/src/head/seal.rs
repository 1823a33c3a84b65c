//! What leaves memory: everything up to a commit goes into a block, the block into the catalog, and
//! then, once no querier holds an older catalog, the rows and solo samples out of memory.
//!
//! A querier reads the blocks of its catalog and, from memory, the commits after it: no sample is
//! read twice or missed, whenever the seal happens.
//!
//! The block lists, besides the series with a page in it, those that may get a sample: which are in a
//! column of a target, or have a sample that a new one is judged by. The others are forgotten: if
//! their labels come back, they get a new number.

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{Head, RowBlock, State, pages::Pages, target::Target};
use crate::{
    Fs, OpenError, Timestamp,
    block::{Block, BlockName, BlockWriter, IndexBuilder},
    error::IoError,
    read::Sealed,
    wal::Covered,
};

/// The commits that a seal takes: after `before`, up to `cut`.
#[derive(Debug, Clone, Copy)]
struct Cut {
    before: u64,
    cut: u64,
}

impl Head {
    /// How much time the samples span that are only in memory and in the log, in milliseconds.
    pub(crate) fn unsealed_span_ms(&self) -> i64 {
        let oldest = self.unsealed_oldest.load(Ordering::Relaxed);
        if oldest == Timestamp::MAX {
            return 0;
        }
        let newest = self.newest.load(Ordering::Relaxed);
        newest.saturating_sub(oldest)
    }

    /// Writes everything that is only in memory and in the log into a block of `folder`, durably.
    /// Answers whether there was anything.
    ///
    /// The caller sees to it that only one thread at a time does this.
    ///
    /// # Errors
    /// [`OpenError`]: everything is as before.
    pub(crate) fn seal(&self, fs: &dyn Fs, folder: &Path) -> Result<bool, OpenError> {
        let before = self.catalog().sealed;
        let (cut, targets, oldest) = {
            let mut state = self.state();
            // What waits for the disk is not in the log yet; it must not be sealed before it is.
            if !state.wal.backlog.is_empty() || state.sequence == before {
                return Ok(false);
            }
            let cut = state.sequence;
            // A segment of the log ends here, so that the block makes it superfluous as a whole.
            state.wal.rotate(cut)?;
            for writer in &mut state.targets {
                writer.roll();
                writer.expire_members();
            }
            let unsettled = Self::unsettled(&state);
            self.settle(&mut state.targets, &unsettled);
            let oldest = self.unsealed_oldest.swap(Timestamp::MAX, Ordering::Relaxed);
            (cut, targets(&state), oldest)
        };
        let sealed = self.seal_commits(fs, folder, &targets, Cut { before, cut });
        if sealed.is_err() {
            self.unsealed_oldest.fetch_min(oldest, Ordering::Relaxed);
        }
        sealed.map(|()| true)
    }

    /// The same for the commits up to `cut` alone, of what a replay left. A segment of the log must have ended
    /// there, as it does at each seal: every target begins anew in the next, so no block of rows goes across.
    pub(crate) fn seal_replayed(
        &self,
        fs: &dyn Fs,
        folder: &Path,
        cut: u64,
    ) -> Result<(), OpenError> {
        let before = self.catalog().sealed;
        let targets = targets(&self.state());
        self.seal_commits(fs, folder, &targets, Cut { before, cut })
    }

    fn seal_commits(
        &self,
        fs: &dyn Fs,
        folder: &Path,
        targets: &[Arc<Target>],
        cut: Cut,
    ) -> Result<(), OpenError> {
        let (block, forgotten) = self.write_block(fs, folder, targets, cut)?;
        let mut state = self.state();
        // What was taken up since goes on. An appender that knows one of the others by its number looks
        // it up once more when it commits.
        let (in_use, forgotten): (Vec<u32>, Vec<u32>) = forgotten
            .into_iter()
            .partition(|id| self.is_held(&state, *id));
        self.change_catalog(|catalog| {
            catalog.sealed = cut.cut;
            let before = catalog.known.len();
            catalog.known = catalog.known.advance(Arc::clone(&block), &in_use);
            let removed = before.saturating_sub(catalog.known.len()) as u64;
            (self.counters.series_removed).fetch_add(removed, Ordering::Relaxed);
            catalog.blocks.push(Sealed::new(block));
        });
        for id in &forgotten {
            for place in self.states.places(*id).iter() {
                state.targets[place.target as usize].leave(*id, place.column);
            }
        }
        self.states.forget(&forgotten);
        Ok(())
    }

    /// The block, and the series that it does not list any more.
    fn write_block(
        &self,
        fs: &dyn Fs,
        folder: &Path,
        targets: &[Arc<Target>],
        cut: Cut,
    ) -> Result<(Arc<Block>, Vec<u32>), OpenError> {
        let name = free_name(fs, folder, cut)?;
        let writer = BlockWriter::create(fs, folder, name, 0)?;
        let solo = self.states.solo_series();
        let with_histograms = self.histograms.series();
        let mut mixed = self.states.shared_series();
        mixed.extend(solo.iter().filter(|id| self.states.is_in_rows(**id)));
        mixed.extend(&with_histograms);
        let mut pages = Pages::new(writer, cut.before, cut.cut, &mixed);
        for target in targets {
            pages.target(target)?;
        }
        let mut samples = Vec::new();
        for id in solo {
            samples.clear();
            self.states.copy_solo(id, &mut samples);
            pages.solo(id, &mut samples)?;
        }
        for id in with_histograms {
            if let Some(samples) = self.histograms.of(id) {
                pages.histograms(id, &samples);
            }
        }
        let (writer, with_page) = pages.finish()?;
        let catalog = self.catalog();
        let bounds = self.bounds();
        let oldest_accepted = bounds
            .valid_from
            .min(bounds.newest.saturating_sub(bounds.window_ms));
        let mut keep = |id| {
            with_page.contains(id)
                || self.is_held(&self.state(), id)
                || match catalog.newest_sample(id) {
                    Ok(newest) => newest.is_some_and(|(time, _)| time >= oldest_accepted),
                    // Nobody knows what it had, so nobody forgets it.
                    Err(_) => true,
                }
        };
        let unchanged = catalog.known.unchanged(&mut keep);
        // Mostly there is nothing to be built.
        let sections = unchanged.map(Block::index_sections).transpose()?.flatten();
        let (index, forgotten) = match sections {
            Some(sections) => (IndexBuilder::same_as(sections), Vec::new()),
            None => {
                let mut index = IndexBuilder::new(true);
                let forgotten = catalog.known.in_label_order(&mut keep, &mut index)?;
                (index, forgotten)
            }
        };
        let written = writer.finish(index)?;
        let block = Block::open(fs, &written.path, written.bytes)?;
        Ok((Arc::new(block), forgotten))
    }

    /// Whether a target has, or had in a block of rows that is still there, a column of the series, or it
    /// has samples without a row.
    fn is_held(&self, state: &State, id: u32) -> bool {
        let places = self.states.places(id);
        let mut places = places.iter();
        places.any(|place| state.targets[place.target as usize].holds(id, place.column))
            || self.states.has_solo(id)
            || self.histograms.contains(id)
    }

    /// Drops from memory what is sealed in every live querier's catalog.
    pub(crate) fn prune(&self) {
        let sealed = self.oldest_catalog().min(self.catalog().sealed);
        if self.pruned.swap(sealed, Ordering::Relaxed) >= sealed {
            return;
        }
        let mut guard = self.state();
        let state = &mut *guard;
        for writer in &mut state.targets {
            let target = &writer.target;
            let blocks = target.blocks();
            let (old, kept): (Vec<_>, Vec<_>) = blocks
                .iter()
                .map(Arc::clone)
                .partition(|block| block.first().is_some_and(|row| row.commit <= sealed));
            let is_sealed = |block: &Arc<RowBlock>| block.rows().all(|row| row.commit <= sealed);
            debug_assert!(old.iter().all(is_sealed), "a block goes across a seal");
            if !old.is_empty() {
                target.set_blocks(kept.into());
                let bytes: u64 = old.iter().map(|block| block.bytes()).sum();
                self.rows_bytes.fetch_sub(bytes, Ordering::Relaxed);
            }
            if let Some(key) = &target.key
                && !writer.live
                && target.blocks().is_empty()
                && state.by_key.get(key) == Some(&target.index)
            {
                state.by_key.remove(key);
                state.free_targets.push(target.index);
            }
            if writer.becomes_free() {
                state.free_targets.push(writer.target.index);
            }
        }
        self.histograms.prune(sealed);
        self.states.prune(sealed, &|id, place| {
            state.targets[place.target as usize].needs(id, place.column)
        });
    }

    /// Takes blocks out of the catalog and puts others in, in one step; answers those taken out. A name
    /// that is not there is passed over.
    pub(crate) fn replace_blocks(&self, remove: &[BlockName], add: Vec<Arc<Block>>) -> Vec<Sealed> {
        let mut removed = Vec::new();
        self.change_catalog(|catalog| {
            let blocks = std::mem::take(&mut catalog.blocks);
            let (out, kept) = blocks
                .into_iter()
                .partition(|sealed| remove.contains(&sealed.name()));
            removed = out;
            catalog.blocks = kept;
            catalog.removals += 1;
            catalog.blocks.extend(add.into_iter().map(Sealed::new));
            catalog.blocks.sort_by_key(|sealed| sealed.name());
            let ranges = catalog.blocks.iter().map(|sealed| sealed.range().min);
            let unsealed = self.unsealed_oldest.load(Ordering::Relaxed);
            self.oldest
                .store(ranges.fold(unsealed, Timestamp::min), Ordering::Relaxed);
        });
        removed
    }

    /// Begins a new log segment when due and removes those that hold nothing that is not `settled`.
    pub(crate) fn maintain_wal(
        &self,
        segment_age_max: Duration,
        settled: Covered,
    ) -> Result<(), IoError> {
        let mut state = self.state();
        let last = state.sequence;
        state.wal.rotate_if_due(last, segment_age_max)?;
        let removed = state.wal.drop_settled(settled)?;
        self.counters
            .wal_truncations
            .fetch_add(removed, Ordering::Relaxed);
        Ok(())
    }
}

/// The targets there are.
pub(super) fn targets(state: &State) -> Vec<Arc<Target>> {
    let writers = state.targets.iter();
    writers.map(|writer| Arc::clone(&writer.target)).collect()
}

/// A name for these commits that no file has: a damaged file may have the first.
fn free_name(fs: &dyn Fs, folder: &Path, cut: Cut) -> Result<BlockName, IoError> {
    let mut name = BlockName {
        first: cut.before + 1,
        last: cut.cut,
        generation: 0,
    };
    for entry in fs.list(folder)? {
        if let Ok(other) = entry.name.parse::<BlockName>()
            && (other.first, other.last) == (name.first, name.last)
        {
            name.generation = name.generation.max(other.generation + 1);
        }
    }
    Ok(name)
}
