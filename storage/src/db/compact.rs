//! Compaction: merging blocks, and writing blocks anew without what was deleted.
//!
//! Both write beside what is in force, and hold no lock meanwhile: commits, seals and queries go on. Only
//! the exchange of the blocks is under the maintenance lock, and only when everything that was read is
//! still in force. What was read stays on disk for ten minutes under its name. A merge in the background
//! gives way to queries, see [`pace`](super::pace).

use std::{
    path::Path,
    sync::{Arc, MutexGuard, PoisonError, atomic::Ordering},
};

use super::{
    Db, delete,
    pace::{Pace, Throttle},
    plan::{Plan, Planned, plan},
};
use crate::{
    Fs, OperationError,
    block::{Block, BlockName, MergeError, MergeInput, merge},
    error::IoError,
    read::{Sealed, Superseded},
};

/// What only one compaction at a time looks at.
#[derive(Debug, Default)]
pub(super) struct Compacting {
    /// Blocks that turned out damaged in a frame: they are served as far as they go, and not merged.
    damaged: Vec<BlockName>,
}

impl Db {
    /// Merges the blocks that are due, one merge a call, in memory that does not grow with their samples;
    /// answers whether there was one. It gives way to nobody: see [`Db::compact_beside_queries`].
    ///
    /// # Errors
    /// [`OperationError`]; everything stays as it was then. Blocks that turned out damaged are not merged
    /// again until the store is opened anew.
    pub fn compact(&self) -> Result<bool, OperationError> {
        self.compact_with(&mut || true)
    }

    /// As [`Db::compact`], but while there are queriers it rests for nine tenths of the time, as `pace` lets it
    /// wait, in turns of 20 ms; with none it works all the time. Answers also no when `pace` stopped it. Meant
    /// for a thread of its own, which calls it until there is no merge, and again every few seconds.
    ///
    /// # Errors
    /// As [`Db::compact`].
    pub fn compact_beside_queries(&self, pace: &dyn Pace) -> Result<bool, OperationError> {
        let is_busy = || self.head.queriers_len() > 0;
        let mut throttle = Throttle::new(&*self.clock, pace, &is_busy);
        self.compact_with(&mut || throttle.go_on())
    }

    fn compact_with(&self, go_on: &mut dyn FnMut() -> bool) -> Result<bool, OperationError> {
        let mut compacting = self.compacting();
        let (inputs, level) = {
            let retention_ms = self.retention().time_ms;
            let blocks = self.head.catalog().blocks.clone();
            let good = |block: &Planned| !compacting.damaged.contains(&block.name);
            let planned: Vec<Planned> = blocks.iter().map(planned).filter(good).collect();
            let Some(Plan { inputs, level }) = plan(&planned, retention_ms) else {
                return Ok(false);
            };
            let names = &planned[inputs];
            let is_input = |block: &Sealed| names.iter().any(|input| input.name == block.name());
            let inputs: Vec<Sealed> = blocks.into_iter().filter(is_input).collect();
            (inputs, level)
        };
        self.rewrite(&mut compacting, &inputs, level, go_on)
    }

    /// Writes anew the blocks that hold deleted samples, without them. The newest seal is left to
    /// compaction. Waits for a compaction that runs.
    ///
    /// # Errors
    /// [`OperationError`]; what was not written anew by then goes on as it was.
    pub fn clean_tombstones(&self) -> Result<(), OperationError> {
        let mut compacting = self.compacting();
        let blocks = self.head.catalog().blocks.clone();
        let newest = blocks.iter().rposition(|block| block.level() == 0);
        for (index, block) in blocks.iter().enumerate() {
            if Some(index) == newest || compacting.damaged.contains(&block.name()) {
                continue;
            }
            let mut has_deleted = false;
            for deletion in &*block.deleted {
                has_deleted = has_deleted || delete::has_deleted(block, deletion)?;
            }
            if has_deleted {
                let inputs = std::slice::from_ref(block);
                self.rewrite(&mut compacting, inputs, block.level(), &mut || true)?;
            }
        }
        Ok(())
    }

    fn compacting(&self) -> MutexGuard<'_, Compacting> {
        let compacting = self.compacting.lock();
        compacting.unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces `inputs`, adjacent blocks, by one of `level`; `false`: it was stopped.
    fn rewrite(
        &self,
        compacting: &mut Compacting,
        inputs: &[Sealed],
        level: u8,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<bool, OperationError> {
        let counters = &self.counters;
        counters.compactions.fetch_add(1, Ordering::Relaxed);
        let outcome = self.try_rewrite(inputs, level, go_on);
        if let Err(problem) = &outcome {
            counters.compactions_failed.fetch_add(1, Ordering::Relaxed);
            if let OperationError::Corruption(at) = problem {
                let damaged = inputs.iter().filter(|input| input.path() == at.file);
                for input in damaged {
                    counters.blocks_damaged.fetch_add(1, Ordering::Relaxed);
                    compacting.damaged.push(input.name());
                    self.set_aside(input);
                }
            }
        }
        outcome
    }

    /// Sees to it that nobody is served what is damaged in a block: one whose index or directory is damaged is
    /// served no more, as it would not be when the store is opened; of another what is whole is.
    fn set_aside(&self, damaged: &Sealed) {
        if damaged.checked_anew().is_ok() {
            damaged.forget_checks();
            return;
        }
        let mut maintenance = self.maintenance();
        self.head.replace_blocks(&[damaged.name()], Vec::new());
        maintenance.deletions.blocks_changed();
    }

    fn try_rewrite(
        &self,
        inputs: &[Sealed],
        level: u8,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<bool, OperationError> {
        let (Some(first), Some(last)) = (inputs.first(), inputs.last()) else {
            return Ok(false);
        };
        let fs = &*self.fs;
        let folder = &self.layout.blocks;
        let name = BlockName {
            first: first.name().first,
            last: last.name().last,
            generation: next_generation(fs, folder, first.name().first, last.name().last)?,
        };
        // Whatever was found good when it was opened or read: what is damaged by now is not passed on.
        let checked = inputs.iter().map(|input| input.checked_anew());
        let checked: Vec<Block> = checked.collect::<Result<_, _>>()?;
        let sources: Vec<MergeInput<'_>> = inputs
            .iter()
            .zip(&checked)
            .map(|(input, block)| MergeInput {
                block,
                deleted: input
                    .deleted
                    .iter()
                    .map(|deletion| (&deletion.series, deletion.range))
                    .collect(),
            })
            .collect();
        let written = match merge(fs, folder, name, level, &sources, go_on) {
            Ok(written) => written,
            Err(MergeError::Corruption(at)) => return Err(at.into()),
            Err(MergeError::Io(error)) => return Err(error.into()),
            Err(MergeError::Stopped) => return Ok(false),
        };
        let output = match Block::open(fs, &written.path, written.bytes) {
            Ok(block) => Sealed::new(Arc::new(block)),
            Err(problem) => {
                // It is not in force, and must not be when the store is opened again.
                fs.remove_file(&written.path)?;
                return Err(problem.into());
            }
        };
        let mut maintenance = self.maintenance();
        let mut blocks = self.head.catalog().blocks.clone();
        let is_input = |block: &Sealed| inputs.iter().any(|input| input.name() == block.name());
        let at = blocks.iter().position(is_input);
        let (Some(at), true) = (
            at,
            blocks.iter().filter(|block| is_input(block)).count() == inputs.len(),
        ) else {
            // Retention was faster.
            drop(maintenance);
            fs.remove_file(&written.path)?;
            return Ok(true);
        };
        // Also what was deleted while this ran.
        let output = output.with_deleted(maintenance.deletions.of(&output)?);
        blocks.splice(at..at + inputs.len(), [output]);
        self.head.change_catalog(|catalog| catalog.blocks = blocks);
        maintenance.deletions.blocks_changed();
        let now = self.clock.monotonic();
        for input in inputs {
            let file = Superseded {
                name: input.name(),
                bytes: input.bytes(),
            };
            maintenance.superseded.add(now, file);
        }
        Ok(true)
    }
}

fn planned(block: &Sealed) -> Planned {
    Planned {
        name: block.name(),
        level: block.level(),
        range: block.range(),
    }
}

/// One more than the highest generation of a file with these commits, damaged ones included.
fn next_generation(fs: &dyn Fs, folder: &Path, first: u64, last: u64) -> Result<u32, IoError> {
    let entries = fs.list(folder)?;
    let names = entries.iter().filter_map(|entry| entry.name.parse().ok());
    let same = names.filter(|name: &BlockName| name.first == first && name.last == last);
    let highest = same.map(|name| name.generation).max();
    Ok(highest.map_or(0, |generation| generation.saturating_add(1)))
}
