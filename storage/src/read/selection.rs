//! What a selection found: series in label order, and where the samples of each are.

use std::{ops::Range, sync::Arc};

use super::{
    catalog::Sealed,
    columns::KEPT_BYTES,
    memory::{Memory, RowPlace},
    scan::StoreScan,
    start_times::{ScanWithStarts, Siblings},
};
use crate::{
    Budget, Estimate, Portion, Scan, SelectedSeries, Selection, TimeRange, Timestamp,
    head::{HistogramSample, SoloSample},
};

/// See the module.
#[derive(Debug)]
pub(super) struct StoreSelection {
    pub(super) series: Vec<SelectedSeries>,
    /// The id of each, where they count by their creation.
    pub(super) created: Option<Vec<u32>>,
    /// The blocks in the range, oldest first.
    pub(super) blocks: Vec<Sealed>,
    pub(super) memory: Memory,
    pub(super) pages: Grouped<PagePlace>,
    pub(super) rows: Grouped<RowPlace>,
    pub(super) solo: Grouped<Arc<[SoloSample]>>,
    pub(super) histograms: Grouped<Arc<[HistogramSample]>>,
    pub(super) range: TimeRange,
    /// Where the start timestamps are, if they are wanted and there are any.
    pub(super) siblings: Option<Box<Siblings>>,
}

/// A series of a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct PagePlace {
    /// Index in the selection's blocks.
    pub(super) block: u32,
    pub(super) ordinal: u32,
}

/// Items by series, in one list.
#[derive(Debug)]
pub(super) struct Grouped<T> {
    items: Vec<T>,
    /// Where the items of each series begin, and the end of the last.
    starts: Vec<u32>,
}

impl<T> Grouped<T> {
    /// Puts items of so many series beside those of the same series, in their order. `place_of` says
    /// which series an item's number means; items of none are left out.
    pub(super) fn new(series: usize, items: Vec<(u32, T)>, place_of: &[Option<u32>]) -> Self {
        let placed = items.into_iter().filter_map(|(entry, item)| {
            let place = place_of[entry as usize]?;
            Some((place, item))
        });
        let mut items: Vec<(u32, T)> = placed.collect();
        items.sort_by_key(|(place, _)| *place);
        let mut starts = vec![0; series + 1];
        for (place, _) in &items {
            starts[*place as usize + 1] += 1;
        }
        for index in 0..series {
            starts[index + 1] += starts[index];
        }
        Self {
            items: items.into_iter().map(|(_, item)| item).collect(),
            starts,
        }
    }

    pub(super) fn of(&self, series: usize) -> &[T] {
        &self.items[self.range(series)]
    }

    fn range(&self, series: usize) -> Range<usize> {
        self.starts[series] as usize..self.starts[series + 1] as usize
    }
}

impl Selection for StoreSelection {
    fn series(&self) -> &[SelectedSeries] {
        &self.series
    }

    fn place(&self, series: usize) -> u64 {
        match &self.created {
            Some(ids) => ids[series].into(),
            None => series as u64,
        }
    }

    fn estimate(&self, slice: TimeRange) -> Estimate {
        let mut samples = 0;
        for series in 0..self.series.len() {
            for place in self.pages.of(series) {
                let block = &self.blocks[place.block as usize];
                // What cannot be read is told by the scan.
                let pages = block.pages(place.ordinal).into_iter().flatten();
                samples += pages.flatten().map(|page| u64::from(page.len)).sum::<u64>();
            }
            for place in self.rows.of(series) {
                for (block, _) in self.memory.columns(*place) {
                    let rows = self.memory.block(block).rows();
                    samples += rows.filter(|row| slice.contains(row.time)).count() as u64;
                }
            }
            samples += self
                .solo
                .of(series)
                .iter()
                .map(|solo| solo.len() as u64)
                .sum::<u64>();
            let histograms = self.histograms.of(series).iter();
            samples += histograms
                .map(|histograms| histograms.len() as u64)
                .sum::<u64>();
        }
        Estimate { samples }
    }

    fn portions(&self, series: usize) -> Vec<Portion> {
        let mut portions = Vec::new();
        for place in self.pages.of(series) {
            let block = &self.blocks[place.block as usize].block;
            // What cannot be read is told by the scan.
            for page in block.pages(place.ordinal).into_iter().flatten().flatten() {
                let Ok((times, len)) = block.times_range(page.times) else {
                    continue;
                };
                let last = page.first + page.span.saturating_sub(1);
                portions.push(Portion {
                    range: TimeRange::new(
                        time_about(times, len, page.first),
                        time_about(times, len, last),
                    ),
                    samples: page.len.into(),
                });
            }
        }
        for place in self.rows.of(series) {
            for (block, _) in self.memory.columns(*place) {
                let rows = self.memory.block(block).rows();
                portions.extend(portion(rows.map(|row| row.time)));
            }
        }
        for samples in self.solo.of(series) {
            portions.extend(portion(samples.iter().map(|sample| sample.time)));
        }
        for samples in self.histograms.of(series) {
            portions.extend(portion(samples.iter().map(|sample| sample.sample.time)));
        }
        portions.retain(|portion| {
            let Portion { range, .. } = portion;
            range.min <= self.range.max && self.range.min <= range.max
        });
        portions
    }

    fn scan<'a>(&'a self, slice: TimeRange, budget: &'a Budget) -> Box<dyn Scan + 'a> {
        let range = TimeRange::new(self.range.min.max(slice.min), self.range.max.min(slice.max));
        let samples = StoreScan::new(self, range, budget, KEPT_BYTES);
        let Some(siblings) = &self.siblings else {
            return Box::new(samples);
        };
        let starts = StoreScan::new(&siblings.selection, range, budget, KEPT_BYTES);
        Box::new(ScanWithStarts::new(samples, starts, siblings, budget))
    }
}

/// The time with this index of a column of so many, as if they lay evenly.
fn time_about(times: TimeRange, len: u32, index: u32) -> Timestamp {
    let span = i128::from(times.max) - i128::from(times.min);
    let gaps = i128::from(len.max(2) - 1);
    times.min + (span * i128::from(index) / gaps) as i64
}

/// Samples in memory, which have these times; `None` when there is none.
fn portion(times: impl Iterator<Item = Timestamp> + Clone) -> Option<Portion> {
    Some(Portion {
        range: TimeRange::new(times.clone().min()?, times.clone().max()?),
        samples: times.count() as u64,
    })
}
