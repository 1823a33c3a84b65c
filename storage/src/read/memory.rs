//! What is only in memory, for one selection: the rows of each target, taken once.

use std::{ops::Range, sync::Arc};

use super::HashMap;
use crate::{
    TimeRange,
    head::{Head, HistogramSample, RowBlock, SoloSample, Sources, Target},
};

/// The blocks of rows that a selection reads.
#[derive(Debug)]
pub(super) struct Memory {
    /// Everything up to this commit is read from blocks.
    pub(super) sealed: u64,
    /// Nothing after this commit is read.
    pub(super) visible: u64,
    range: TimeRange,
    blocks: Vec<Arc<RowBlock>>,
    /// The rows of each block that the selection may see.
    cuts: Vec<Range<u32>>,
    /// The blocks of each target.
    targets: Vec<Range<u32>>,
    target_of: HashMap<u32, u32>,
}

/// A series' column in the rows of a target.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowPlace {
    target: u32,
    id: u32,
    /// The column, most likely.
    hint: u32,
}

impl Memory {
    /// Commits after `sealed`, up to `visible`.
    pub(super) fn new(sealed: u64, visible: u64, range: TimeRange) -> Self {
        Self {
            sealed,
            visible,
            range,
            blocks: Vec::new(),
            cuts: Vec::new(),
            targets: Vec::new(),
            target_of: HashMap::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sealed == self.visible
    }

    pub(super) fn block(&self, index: u32) -> &RowBlock {
        &self.blocks[index as usize]
    }

    /// The blocks that may have the column, with the column in each.
    pub(super) fn columns(&self, place: RowPlace) -> impl Iterator<Item = (u32, u32)> + '_ {
        let blocks = self.targets[place.target as usize].clone();
        blocks.filter_map(move |index| {
            let cut = &self.cuts[index as usize];
            if cut.is_empty() {
                return None;
            }
            let column = self.blocks[index as usize].column_of(place.id, place.hint)?;
            Some((index, column))
        })
    }

    fn target(&mut self, target: &Target) -> u32 {
        if let Some(found) = self.target_of.get(&target.index) {
            return *found;
        }
        let first = self.blocks.len() as u32;
        for block in target.blocks().iter() {
            let (mut start, mut end) = (0, 0);
            for (index, row) in block.rows().enumerate() {
                if row.commit > self.visible || row.time > self.range.max {
                    break;
                }
                end = index as u32 + 1;
                if row.commit <= self.sealed || row.time < self.range.min {
                    start = end;
                }
            }
            if start < end {
                self.blocks.push(Arc::clone(block));
                self.cuts.push(start..end);
            }
        }
        let number = self.targets.len() as u32;
        self.targets.push(first..self.blocks.len() as u32);
        self.target_of.insert(target.index, number);
        number
    }

    /// `false`: no series has samples here.
    pub(super) fn may_have_samples(&mut self, head: &Head) -> bool {
        if self.is_empty() {
            return false;
        }
        if head.states.solo_series_len() > 0 || head.histograms.series_len() > 0 {
            return true;
        }
        head.states.any_target(&mut |target| {
            let target = self.target(target);
            !self.targets[target as usize].is_empty()
        })
    }

    /// Whether a series has samples here.
    pub(super) fn has_series(&mut self, head: &Head, id: u32) -> bool {
        let sources = head.states.sources(id);
        if self.locate(id, &sources, &mut |_| ()).0 {
            return true;
        }
        let histograms = head.histograms.of(id);
        histograms.is_some_and(|histograms| self.has_histogram(&histograms))
    }

    /// Whether a series has samples here, and those without a row; its columns are handed to `each`.
    pub(super) fn locate(
        &mut self,
        id: u32,
        sources: &Sources,
        each: &mut dyn FnMut(RowPlace),
    ) -> (bool, Option<Arc<[SoloSample]>>) {
        let mut found = false;
        for (target, hint) in &sources.targets {
            let place = RowPlace {
                target: self.target(target),
                id,
                hint: *hint,
            };
            if self.has_sample(place) {
                each(place);
                found = true;
            }
        }
        let solo = sources.solo.as_ref().filter(|solo| {
            solo.iter()
                .any(|sample| self.sees(sample.commit) && self.range.contains(sample.time))
        });
        (found || solo.is_some(), solo.map(Arc::clone))
    }

    /// Whether the snapshot reads samples of this commit from memory.
    pub(super) fn sees(&self, commit: u64) -> bool {
        commit > self.sealed && commit <= self.visible
    }

    /// Whether one of them is in the selection.
    pub(super) fn has_histogram(&self, histograms: &[HistogramSample]) -> bool {
        let mut histograms = histograms.iter();
        histograms.any(|HistogramSample { commit, sample }| {
            self.sees(*commit) && self.range.contains(sample.time)
        })
    }

    fn has_sample(&self, place: RowPlace) -> bool {
        self.columns(place).any(|(index, column)| {
            let cut = &self.cuts[index as usize];
            let block = &self.blocks[index as usize];
            let mut rows = block.rows_in(cut.start as usize..cut.end as usize).rev();
            rows.any(|row| row.has(column))
        })
    }
}
