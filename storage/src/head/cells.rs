//! A row that was judged, until the log has it: what of it is new to its block, and what to the log.
//!
//! Nothing of the writer is changed before [`StagedCells::publish`], so a row that the disk does not take
//! is simply dropped.

use std::sync::Arc;

use super::{
    bits::{self, Bits},
    row::{Row, Stored},
    target::TargetWriter,
};
use crate::{
    Timestamp,
    wal::{Changed, RowRecord},
};

/// Columns of a word.
const WORD: usize = u64::BITS as usize;

/// See the module.
#[derive(Debug)]
pub(super) struct StagedCells {
    pub(super) target: u32,
    pub(super) time: Timestamp,
    /// The open block is full: the row begins the next.
    roll: bool,
    /// The log does not know the target in its epoch: the record builds on nothing.
    is_reset: bool,
    present: Bits,
    /// The same as (first, count), when it is not that of the row before.
    present_runs: Option<Vec<(u32, u32)>>,
    /// What differs from what the block has.
    to_block: Stored,
    /// What differs from what the log has.
    changed: Changed,
    /// Columns and series that the log does not have.
    bindings: Vec<(u32, u32)>,
}

impl StagedCells {
    /// A row of a target at `time`: columns and bits, ascending, and which columns are present. One that
    /// is present but not listed has the value of the row before.
    pub(super) fn new(
        writer: &TargetWriter,
        epoch: u64,
        time: Timestamp,
        cells: &[(u32, u64)],
        present: Bits,
    ) -> Self {
        let roll = writer.open.as_ref().is_none_or(|open| open.is_full());
        let is_reset = writer.log_epoch != epoch;
        let end = cells.last().map_or(0, |(column, _)| column + 1);
        let mut to_block = Stored::with_capacity(cells.len(), end);
        let mut changed = Changed::with_capacity(cells.len(), end);
        let mut bindings = Vec::new();
        let mut rest = cells;
        while let Some((first, _)) = rest.first() {
            let word = *first as usize / WORD;
            let end = rest.len().min(WORD);
            let end = rest[..end].partition_point(|(column, _)| *column as usize / WORD == word);
            let (here, after) = rest.split_at(end);
            rest = after;
            // Which columns of the word are known to the block and to the log, and which these have to learn.
            let in_block = if roll { 0 } else { writer.in_block.word(word) };
            let in_log = if is_reset {
                0
            } else {
                writer.in_log.word(word)
            };
            let (mut of_block, mut of_log) = (0, 0);
            let before = &writer.stored[word * WORD..];
            for (column, bits) in here {
                let slot = *column as usize % WORD;
                let value = before[slot];
                let is_same = value == *bits;
                if !is_same || in_block >> slot & 1 == 0 {
                    of_block |= 1 << slot;
                    to_block.put(*bits);
                }
                if in_log >> slot & 1 == 0 {
                    let id = writer.series_of(*column);
                    bindings.push((*column, id.expect("what is stored is bound")));
                    of_log |= 1 << slot;
                    changed.put(0, *bits);
                } else if !is_same {
                    of_log |= 1 << slot;
                    changed.put(value, *bits);
                }
            }
            to_block.set_columns(word, of_block);
            changed.set_columns(word, of_log);
        }
        let is_as_before = !is_reset && equal_words(&writer.present, present.words());
        Self {
            target: writer.target.index,
            time,
            roll,
            is_reset,
            present_runs: (!is_as_before).then(|| runs(present.words())),
            present,
            to_block,
            changed,
            bindings,
        }
    }

    /// The series that the log must have defined.
    pub(super) fn bound(&self) -> impl Iterator<Item = u32> + '_ {
        self.bindings.iter().map(|(_, id)| *id)
    }

    /// The row in the log, without anything else of its commit.
    pub(super) fn record<'a>(
        &'a self,
        writer: &'a TargetWriter,
        commit: u64,
    ) -> RowRecord<'a, &'a Changed> {
        let key = writer.target.key.as_ref().map_or("", |key| &*key.0);
        RowRecord {
            commit,
            target: self.target,
            reset: self.is_reset.then_some(key),
            previous: if self.is_reset { 0 } else { writer.log_commit },
            time: self.time,
            bindings: &self.bindings,
            present: self.present_runs.as_deref(),
            changed: &self.changed,
            solo: &[],
            histograms: &[],
            metadata: &[],
            has_row: true,
        }
    }

    /// Makes the row readable once its commit is; answers its bytes. All of its samples are taken for real ones.
    pub(super) fn publish(
        self,
        writer: &mut TargetWriter,
        epoch: u64,
        next_block: &mut u64,
        commit: u64,
    ) -> u64 {
        if self.roll {
            writer.roll();
        }
        if self.is_reset {
            writer.in_log.clear();
            writer.log_epoch = epoch;
        }
        writer.log_commit = commit;
        if self.present_runs.is_some() {
            writer.present = self.present.words().into();
        }
        let present = Arc::clone(&writer.present);
        let row = Row::new(commit, self.time, present, &self.to_block);
        let bytes = row.bytes() as u64;
        writer.open(next_block).push(row);
        self.to_block.copy_to(&mut writer.stored);
        writer.in_block.insert_words(self.to_block.columns());
        for (column, _) in &self.bindings {
            writer.in_log.insert(*column);
        }
        writer.last_row_time = self.time;
        writer.real = self.present;
        bytes
    }
}

/// Bitmaps compared without trailing zeros.
fn equal_words(a: &[u64], b: &[u64]) -> bool {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    let (head, tail) = long.split_at(short.len());
    head == short && tail.iter().all(|word| *word == 0)
}

/// A bitmap as (first, count).
fn runs(words: &[u64]) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for column in bits::ones(words) {
        match runs.last_mut() {
            Some((first, count)) if *first + *count == column => *count += 1,
            _ => runs.push((column, 1)),
        }
    }
    runs
}
