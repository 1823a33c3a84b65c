//! Rows and samples without a row to the pages of a block of level 0.
//!
//! Rows are turned into columns in strips of 64 columns, the words of their bitmaps: each row's stored
//! values of the strip update 64 current values, which are written across a tile that has the rows of
//! one column side by side. Pages are encoded from there.
//!
//! In the block the pages of a series never overlap: samples of a series that has several sources are
//! brought together first, and of two at one time the one of the older commit stays.

use std::ops::Range;

use roaring::RoaringBitmap;

use super::{
    HashMap, HistogramSample,
    row::{NO_SERIES, Row, SharedColumns},
    series::SoloSample,
    target::Target,
};
use crate::{
    Timestamp,
    block::{BlockWriter, MixedValue, Positions, TimesRef},
    codec::VALUES_MAX,
    error::IoError,
};

/// Columns of a strip: as many as a word of a bitmap has bits.
const STRIP: usize = 64;

/// Writes what is in memory as pages.
pub(super) struct Pages<'a> {
    writer: BlockWriter<'a>,
    /// The commits that are taken: after the first, up to the second.
    before: u64,
    cut: u64,
    /// Samples of the series that have several sources, by series.
    mixed: HashMap<u32, Vec<SoloSample>>,
    /// The same of those that have histograms.
    histograms: HashMap<u32, Vec<HistogramSample>>,
    /// The series that have a page.
    written: RoaringBitmap,
    /// The rows of each column of a strip side by side, column after column.
    tile: Vec<f64>,
    positions: Vec<u32>,
    times: Vec<Timestamp>,
    values: Vec<f64>,
    /// The time column of the series before, which one that was pushed together with it shares.
    last_times: Option<(Vec<Timestamp>, TimesRef)>,
}

/// The rows of one block that are taken.
struct Part<'a> {
    columns: SharedColumns,
    rows: Vec<&'a Row>,
}

/// Rows that share a time column.
struct Chunk {
    times: TimesRef,
    rows: Range<usize>,
}

impl<'a> Pages<'a> {
    /// `mixed` are the series with several sources.
    pub(super) fn new(writer: BlockWriter<'a>, before: u64, cut: u64, mixed: &[u32]) -> Self {
        Self {
            writer,
            before,
            cut,
            mixed: mixed.iter().map(|id| (*id, Vec::new())).collect(),
            histograms: HashMap::default(),
            written: RoaringBitmap::new(),
            tile: Vec::new(),
            positions: Vec::new(),
            times: Vec::new(),
            values: Vec::new(),
            last_times: None,
        }
    }

    /// The block, and the series that have a page in it.
    pub(super) fn finish(mut self) -> Result<(BlockWriter<'a>, RoaringBitmap), IoError> {
        let mut mixed: Vec<_> = std::mem::take(&mut self.mixed).into_iter().collect();
        mixed.sort_unstable_by_key(|(id, _)| *id);
        for (id, mut samples) in mixed {
            match self.histograms.remove(&id) {
                Some(histograms) => self.both(id, &samples, &histograms)?,
                None => self.samples(id, &mut samples)?,
            }
        }
        Ok((self.writer, self.written))
    }

    fn takes(&self, commit: u64) -> bool {
        commit > self.before && commit <= self.cut
    }

    /// Adds samples without a row, in the order of their commits. Those of a series that is not mixed are
    /// written at once.
    pub(super) fn solo(&mut self, id: u32, solo: &mut Vec<SoloSample>) -> Result<(), IoError> {
        solo.retain(|sample| self.takes(sample.commit));
        match self.mixed.get_mut(&id) {
            Some(samples) => {
                samples.extend_from_slice(solo);
                Ok(())
            }
            None => self.samples(id, solo),
        }
    }

    /// Adds histograms.
    pub(super) fn histograms(&mut self, id: u32, histograms: &[HistogramSample]) {
        let taken = histograms
            .iter()
            .filter(|histogram| self.takes(histogram.commit));
        let taken: Vec<HistogramSample> = taken.cloned().collect();
        if !taken.is_empty() {
            self.histograms.insert(id, taken);
        }
    }

    /// Writes numbers and histograms of one series.
    fn both(
        &mut self,
        id: u32,
        samples: &[SoloSample],
        histograms: &[HistogramSample],
    ) -> Result<(), IoError> {
        let floats = samples.iter();
        let floats = floats.map(|sample| {
            (
                sample.commit,
                (sample.time, MixedValue::Float(sample.value)),
            )
        });
        let histograms = histograms.iter().map(|HistogramSample { commit, sample }| {
            let value = MixedValue::Histogram(sample.histogram.clone());
            (*commit, (sample.time, value))
        });
        let mut all: Vec<_> = floats.chain(histograms).collect();
        all.sort_by_key(|(commit, _)| *commit);
        let all = all.into_iter().map(|(_, sample)| sample).collect();
        self.writer.mixed(id, all)?;
        self.written.insert(id);
        Ok(())
    }

    /// Writes all samples of one series.
    fn samples(&mut self, id: u32, samples: &mut Vec<SoloSample>) -> Result<(), IoError> {
        if !samples.is_sorted_by(|a, b| a.time < b.time) {
            // Of equal times the sample of the older commit comes first, and stays.
            samples.sort_by_key(|sample| (sample.time, sample.commit));
            samples.dedup_by_key(|sample| sample.time);
        }
        for chunk in samples.chunks(VALUES_MAX) {
            self.times.clear();
            self.times.extend(chunk.iter().map(|sample| sample.time));
            self.values.clear();
            self.values.extend(chunk.iter().map(|sample| sample.value));
            let times = match &self.last_times {
                Some((last, times)) if *last == self.times => *times,
                _ => {
                    let times = self.writer.times(&self.times)?;
                    let (last, known) = self.last_times.get_or_insert((Vec::new(), times));
                    last.clone_from(&self.times);
                    *known = times;
                    times
                }
            };
            let positions = Positions::From(0);
            self.writer.page(id, times, positions, &self.values)?;
            self.written.insert(id);
        }
        Ok(())
    }

    /// Writes the rows of a target.
    pub(super) fn target(&mut self, target: &Target) -> Result<(), IoError> {
        let blocks = target.blocks();
        let mut parts: Vec<Part<'_>> = Vec::new();
        let mut width = 0;
        for block in blocks.iter() {
            let rows: Vec<&Row> = block.rows().filter(|row| self.takes(row.commit)).collect();
            if !rows.is_empty() {
                let columns = block.columns();
                width = width.max(columns.len());
                parts.push(Part { columns, rows });
            }
        }
        let times: Vec<Timestamp> = parts
            .iter()
            .flat_map(|part| part.rows.iter().map(|row| row.time))
            .collect();
        let mut chunks = Vec::new();
        for start in (0..times.len()).step_by(VALUES_MAX) {
            let end = times.len().min(start + VALUES_MAX);
            chunks.push(Chunk {
                times: self.writer.times(&times[start..end])?,
                rows: start..end,
            });
        }
        for strip in 0..width.div_ceil(STRIP) {
            let present = self.fill(&parts, times.len(), strip);
            for column in strip * STRIP..width.min((strip + 1) * STRIP) {
                self.column(&parts, &chunks, column, &present)?;
            }
        }
        Ok(())
    }

    /// Writes the strip's values into the tile; answers which of its columns each row has.
    fn fill(&mut self, parts: &[Part<'_>], rows: usize, strip: usize) -> Vec<u64> {
        self.tile.clear();
        self.tile.resize(STRIP * rows, 0.0);
        let mut present = Vec::with_capacity(rows);
        let mut at = 0;
        for part in parts {
            // The first value of a column in a block is stored in it.
            let mut current = [0.0; STRIP];
            for row in &part.rows {
                let (stored, values) = row.stored_in(strip);
                for (bit, bits) in ones(stored).zip(values) {
                    current[bit] = f64::from_bits(*bits);
                }
                let here = row.present.get(strip).copied().unwrap_or(0);
                present.push(here);
                if here == u64::MAX {
                    for (column, value) in current.iter().enumerate() {
                        self.tile[column * rows + at] = *value;
                    }
                } else {
                    for column in ones(here) {
                        self.tile[column * rows + at] = current[column];
                    }
                }
                at += 1;
            }
        }
        present
    }

    /// Writes a column of the strip in the tile: of each series that it belonged to, block after block.
    fn column(
        &mut self,
        parts: &[Part<'_>],
        chunks: &[Chunk],
        column: usize,
        present: &[u64],
    ) -> Result<(), IoError> {
        let of = |part: &Part<'_>| part.columns.get(column).copied().unwrap_or(NO_SERIES);
        let mut start = 0;
        let mut first_row = 0;
        while let Some(part) = parts.get(start) {
            let id = of(part);
            let same = parts[start..]
                .iter()
                .take_while(|part| of(part) == id)
                .count();
            let rows: usize = parts[start..start + same]
                .iter()
                .map(|part| part.rows.len())
                .sum();
            let all = first_row..first_row + rows;
            if id != NO_SERIES {
                if let Some(samples) = self.mixed.get_mut(&id) {
                    let bit = column % STRIP;
                    let tile = &self.tile[bit * present.len()..];
                    let rows = parts[start..start + same]
                        .iter()
                        .flat_map(|part| &part.rows);
                    for (at, row) in all.clone().zip(rows) {
                        if present[at] >> bit & 1 == 1 {
                            samples.push(SoloSample {
                                commit: row.commit,
                                time: row.time,
                                value: tile[at],
                            });
                        }
                    }
                } else {
                    for chunk in chunks {
                        let rows = all.start.max(chunk.rows.start)..all.end.min(chunk.rows.end);
                        self.page(id, chunk, rows, column % STRIP, present)?;
                    }
                }
            }
            first_row += rows;
            start += same;
        }
        Ok(())
    }

    /// Writes one column's values in these rows of a chunk.
    fn page(
        &mut self,
        id: u32,
        chunk: &Chunk,
        rows: Range<usize>,
        bit: usize,
        present: &[u64],
    ) -> Result<(), IoError> {
        if rows.is_empty() {
            return Ok(());
        }
        let has = |row: &usize| present[*row] >> bit & 1 == 1;
        let count = rows.clone().filter(|row| has(row)).count();
        let Some(first) = rows.clone().find(|row| has(row)) else {
            return Ok(());
        };
        let column = &self.tile[bit * present.len()..(bit + 1) * present.len()];
        let base = chunk.rows.start;
        let last = rows.clone().rfind(|row| has(row)).unwrap_or(first);
        if last + 1 - first == count {
            let positions = Positions::From((first - base) as u32);
            self.writer
                .page(id, chunk.times, positions, &column[first..=last])?;
        } else {
            self.positions.clear();
            self.values.clear();
            for row in rows.filter(|row| has(row)) {
                self.positions.push((row - base) as u32);
                self.values.push(column[row]);
            }
            let positions = Positions::At(&self.positions);
            self.writer.page(id, chunk.times, positions, &self.values)?;
        }
        self.written.insert(id);
        Ok(())
    }
}

/// The places of the set bits, ascending.
fn ones(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if word == 0 {
            return None;
        }
        let bit = word.trailing_zeros() as usize;
        word &= word - 1;
        Some(bit)
    })
}
