//! Merges the pages of a series that has native histograms.
#![deny(clippy::indexing_slicing)]

#[cfg(test)]
mod tests;

use super::{MergeError, Merger, Source};
use crate::{
    Kind, Timestamp,
    block::{MixedValue, Positions},
    codec::{PackedHistogram, rows_of_page},
};

impl Merger<'_> {
    /// Writes a series that has histograms: full pages of them that no other page overlaps as they are,
    /// the others sample by sample.
    pub(super) fn mixed(&mut self, pages: &[Source]) -> Result<bool, MergeError> {
        let mut in_time = pages.to_vec();
        for source in &mut in_time {
            source.range = self.exact_range(source)?;
        }
        in_time.sort_by_key(|source| source.range.min);
        let are_apart = in_time.is_sorted_by(|a, b| a.range.max < b.range.min);
        // Otherwise in the order of the inputs: of equal times the first one stays.
        let pages = if are_apart { &*in_time } else { pages };
        let mut samples: Vec<(Timestamp, MixedValue)> = Vec::new();
        let mut is_written = false;
        for source in pages {
            if are_apart && self.is_full(source)? {
                self.put_mixed(&mut samples)?;
                self.take_over(source)?;
                is_written = true;
            } else {
                self.read_mixed(source, &mut samples)?;
            }
        }
        Ok(is_written | self.put_mixed(&mut samples)?)
    }

    /// Whether a page has more than half of the histograms that fit into one, and all are kept.
    fn is_full(&mut self, source: &Source) -> Result<bool, MergeError> {
        if source.page.kind != Kind::Histogram || !source.deleted.is_empty() {
            return Ok(false);
        }
        self.output.turns.page(&source.page)?;
        let (block, buffer) = self.input(source.input);
        // What is damaged is not passed on.
        let columns = block.histograms(&source.page, buffer)?;
        Ok(columns.len() * 2 > rows_of_page(&columns))
    }

    /// Writes a page of histograms as it is.
    fn take_over(&mut self, source: &Source) -> Result<(), MergeError> {
        let page = &source.page;
        let (mut times, mut positions) = (Vec::new(), Vec::new());
        let (block, buffer) = self.input(source.input);
        block.times(page.times, buffer, &mut times)?;
        block.positions(page, buffer, &mut positions)?;
        let own = positions
            .iter()
            .filter_map(|position| times.get(*position as usize));
        let own: Vec<Timestamp> = own.copied().collect();
        let times = self.output.writer.times(&own)?;
        let (Some(input), Some(buffer)) = (
            self.inputs.get(source.input),
            self.buffers.get_mut(source.input),
        ) else {
            return Ok(());
        };
        let bytes = input.block.frame(page, buffer)?.own();
        let summary = input.block.summary(page)?;
        let positions = Positions::From(0);
        let writer = &mut self.output.writer;
        Ok(writer.encoded(self.id, times, positions, bytes, &summary)?)
    }

    /// Appends the samples of a page that are kept.
    fn read_mixed(
        &mut self,
        source: &Source,
        samples: &mut Vec<(Timestamp, MixedValue)>,
    ) -> Result<(), MergeError> {
        self.output.turns.page(&source.page)?;
        let (mut times, mut positions) = (Vec::new(), Vec::new());
        let (block, buffer) = self.input(source.input);
        block.times(source.page.times, buffer, &mut times)?;
        block.positions(&source.page, buffer, &mut positions)?;
        let values: Vec<MixedValue> = match source.page.kind {
            Kind::Float => {
                let mut floats = Vec::new();
                block.decode(&source.page, buffer, &mut floats)?;
                floats.into_iter().map(MixedValue::Float).collect()
            }
            Kind::Histogram => {
                let columns = block.histograms(&source.page, buffer)?;
                let rows = (0..columns.len()).map(|row| columns.get(row));
                let packed = rows.map(|histogram| PackedHistogram::of_valid(&histogram));
                packed.map(MixedValue::Histogram).collect()
            }
        };
        for (position, value) in positions.iter().zip(values) {
            let time = times.get(*position as usize).copied();
            let is_deleted = |time: &Timestamp| {
                let mut deleted = source.deleted.iter();
                deleted.any(|range| range.contains(*time))
            };
            if let Some(time) = time.filter(|time| !is_deleted(time)) {
                samples.push((time, value));
            }
        }
        Ok(())
    }

    /// Writes samples and leaves none; whether there were any.
    fn put_mixed(
        &mut self,
        samples: &mut Vec<(Timestamp, MixedValue)>,
    ) -> Result<bool, MergeError> {
        let is_written = !samples.is_empty();
        let samples = std::mem::take(samples);
        self.output.writer.mixed(self.id, samples)?;
        Ok(is_written)
    }
}
