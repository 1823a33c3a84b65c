//! One worker's way through a selection.
//!
//! A series is a list of *pieces*: pages of blocks, stretches of rows, pushed samples, in the order of
//! their commits. Pieces that share no time are handed out as they are, ascending in time; those that
//! do are merged, and of two samples at one time the one of the earlier piece stays.
//!
//! A series is aligned when every piece is a stretch of a shared column: a block's time column, or
//! the times of a block of rows. The list of its stretches names its axis.

#[cfg(test)]
mod tests;

use std::{ops::Range, sync::Arc};

use super::{
    HashMap,
    catalog::{Sealed, kept},
    columns::{Columns, Stretch, ends},
    memory::RowPlace,
    selection::{PagePlace, StoreSelection},
};
use crate::{
    AxisId, Budget, Kind, PageStats, ReadError, Run, RunTotals, Scan, Shape, TimeRange, Timestamp,
    block::{BlockPages, FrameBuffer, MixedValue, PageRef, alike},
    codec::PackedHistogram,
    head::{HistogramSample, SoloSample},
    querier::Body,
};

/// See the module.
pub(super) struct StoreScan<'a> {
    selection: &'a StoreSelection,
    budget: &'a Budget,
    columns: Columns<'a>,
    /// Of each block the frame that was read last.
    frames: Vec<FrameBuffer>,
    /// The way through the directory of each block.
    directories: Vec<BlockPages<'a>>,
    /// The series' pages that lie in the range.
    pages: Vec<PageRef>,
    /// The series' pieces, ascending in time once it is sought.
    pieces: Vec<Piece>,
    next_piece: usize,
    /// The axis of the series, if it has one, and how many of its times come before the next piece.
    axis: Option<AxisId>,
    passed: usize,
    own: Own,
    /// Bytes taken from the budget for histograms of the series.
    charged: u64,
    /// The stretches of the pieces, in their order.
    stretches: Vec<Stretch>,
    axes: Vec<Axis>,
    axis_of: HashMap<Arc<[Stretch]>, AxisId>,
    /// The last axis of a series that has several stretches.
    latest_axis: Option<AxisId>,
    /// By slot of a column the last stretch of it that was a series' only one, and its axis.
    axis_of_only: Vec<Option<(Stretch, AxisId)>>,
    positions: Vec<u32>,
}

/// Times and values of pieces that have none elsewhere.
#[derive(Debug, Default)]
struct Own {
    times: Vec<Timestamp>,
    values: Vec<f64>,
    histograms: Vec<PackedHistogram>,
}

/// The times of several series.
struct Axis {
    stretches: Arc<[Stretch]>,
    /// Strung together on first use, when there are several.
    times: Vec<Timestamp>,
}

/// A run to hand out.
#[derive(Debug, Clone)]
struct Piece {
    first: Timestamp,
    last: Timestamp,
    len: u32,
    /// Its place in the order of commits.
    rank: u32,
    times: PieceTimes,
    values: PieceValues,
}

#[derive(Debug, Clone)]
enum PieceTimes {
    /// A stretch of a shared column.
    Shared(Stretch),
    /// Where they begin in the scan's own.
    Own(usize),
}

#[derive(Debug, Clone)]
enum PieceValues {
    /// A page of a block, its index among the scan's, and how many of its values come before the
    /// piece's.
    Page {
        block: u32,
        page: u32,
        kind: Kind,
        skip: u32,
    },
    /// Where they begin in the scan's own.
    Own(usize),
    /// Histograms: likewise.
    OwnHistograms(usize),
}

impl Piece {
    fn is_of_histograms(&self) -> bool {
        match &self.values {
            PieceValues::Page { kind, .. } => *kind == Kind::Histogram,
            PieceValues::Own(_) => false,
            PieceValues::OwnHistograms(_) => true,
        }
    }
}

impl<'a> StoreScan<'a> {
    /// A scan of the samples in `range`, which keeps up to `kept_max` bytes of blocks' time columns from one
    /// series to the next.
    pub(super) fn new(
        selection: &'a StoreSelection,
        range: TimeRange,
        budget: &'a Budget,
        kept_max: u64,
    ) -> Self {
        let blocks = selection.blocks.iter();
        Self {
            selection,
            budget,
            columns: Columns::new(selection, range, budget, kept_max),
            frames: blocks.clone().map(|_| FrameBuffer::default()).collect(),
            directories: blocks.map(|sealed| sealed.block.all_pages()).collect(),
            pages: Vec::new(),
            pieces: Vec::new(),
            next_piece: 0,
            axis: None,
            passed: 0,
            own: Own::default(),
            charged: 0,
            stretches: Vec::new(),
            axes: Vec::new(),
            axis_of: HashMap::default(),
            latest_axis: None,
            axis_of_only: Vec::new(),
            positions: Vec::new(),
        }
    }

    fn push(
        &mut self,
        times: PieceTimes,
        values: PieceValues,
        len: usize,
    ) -> Result<(), ReadError> {
        let (first, last) = match &times {
            PieceTimes::Shared(stretch) => self.columns.ends(*stretch)?,
            PieceTimes::Own(start) => ends(&self.own.times[*start..*start + len]),
        };
        self.pieces.push(Piece {
            first,
            last,
            len: len as u32,
            rank: self.pieces.len() as u32,
            times,
            values,
        });
        Ok(())
    }

    /// Adds the pages of a series in a block.
    fn add_pages(&mut self, place: PagePlace) -> Result<(), ReadError> {
        let selection = self.selection;
        let sealed = &selection.blocks[place.block as usize];
        let deleted: Vec<TimeRange> = if sealed.deleted.is_empty() {
            Vec::new()
        } else {
            sealed.deleted_of(place.ordinal).collect()
        };
        let directory = place.block as usize;
        self.directories[directory].seek(place.ordinal)?;
        while self.directories[directory].has_next() {
            let at = self.pages.len();
            self.pages.push(PageRef::EMPTY);
            self.directories[directory].read_next(&mut self.pages[at])?;
            let page = &self.pages[at];
            let slot = self.columns.of_block(place.block, page.times)?;
            let column = self.columns.get(slot);
            let start = column.start.max(page.first);
            let end = column.end.min(page.first + page.span);
            if start >= end {
                self.pages.pop();
                continue;
            }
            if page.has_gaps() {
                self.add_page_with_gaps(place.block, slot, &deleted)?;
                continue;
            }
            let all = start as usize..end as usize;
            if deleted.is_empty() {
                self.push_stretch(place.block, slot, all)?;
            } else {
                for kept in kept(self.columns.all_times(slot)?, all, &deleted) {
                    self.push_stretch(place.block, slot, kept)?;
                }
            }
        }
        Ok(())
    }

    /// Adds the values of the latest page at these places of its column.
    fn push_stretch(
        &mut self,
        block: u32,
        slot: u32,
        places: Range<usize>,
    ) -> Result<(), ReadError> {
        let stretch = Stretch {
            slot,
            first: places.start as u32,
            len: places.len() as u32,
        };
        let values = self.of_latest_page(block, |page| stretch.first - page.first);
        self.push(PieceTimes::Shared(stretch), values, places.len())
    }

    /// Values of the latest page, of which some are skipped.
    fn of_latest_page(&self, block: u32, skip: impl FnOnce(&PageRef) -> u32) -> PieceValues {
        let at = self.pages.len() - 1;
        let page = &self.pages[at];
        PieceValues::Page {
            block,
            page: at as u32,
            kind: page.kind,
            skip: skip(page),
        }
    }

    /// Adds the values of the latest page, which has gaps.
    fn add_page_with_gaps(
        &mut self,
        block: u32,
        slot: u32,
        deleted: &[TimeRange],
    ) -> Result<(), ReadError> {
        self.positions.clear();
        let buffer = &mut self.frames[block as usize];
        let page = &self.pages[self.pages.len() - 1];
        self.selection.blocks[block as usize].positions(page, buffer, &mut self.positions)?;
        let column = self.columns.get(slot);
        let before = self.own.times.len();
        let start = self.positions.partition_point(|at| *at < column.start);
        let end = self.positions.partition_point(|at| *at < column.end);
        let places = &self.positions[start..end];
        let times = self.columns.all_times(slot)?;
        self.own
            .times
            .extend(places.iter().map(|at| times[*at as usize]));
        let ranges = kept(&self.own.times, before..self.own.times.len(), deleted);
        for range in ranges {
            let skip = (start + range.start - before) as u32;
            let values = self.of_latest_page(block, |_| skip);
            self.push(PieceTimes::Own(range.start), values, range.len())?;
        }
        Ok(())
    }

    /// Adds a series' values in the rows of a target.
    fn add_rows(&mut self, place: RowPlace) -> Result<(), ReadError> {
        for (index, column) in self.selection.memory.columns(place) {
            let slot = self.columns.of_rows(index)?;
            let times = self.columns.get(slot);
            if times.is_outside() {
                continue;
            }
            let block = self.selection.memory.block(index);
            let begin = times.start;
            let first = (times.skip + begin) as usize;
            let end = (times.skip + times.end) as usize;
            let all_times = self.columns.all_times(slot)?;
            // A row has only what differs from the row before; the last value before the first row
            // may be in any earlier row of the block.
            let mut bits = 0;
            let mut earlier = block.rows_in(0..first).rev();
            if let Some(stored) = earlier.find_map(|row| row.stored(column)) {
                bits = stored;
            }
            let start = self.own.values.len();
            let own_times = self.own.times.len();
            // While no row lacks the column after one that has it, the times are a stretch.
            let mut begins = None;
            let mut has_gap = false;
            let mut count = 0;
            for (at, row) in (begin..).zip(block.rows_in(first..end)) {
                if let Some(stored) = row.stored(column) {
                    bits = stored;
                }
                if !row.has(column) {
                    continue;
                }
                let begin = *begins.get_or_insert(at);
                if !has_gap && begin + count != at {
                    has_gap = true;
                    let before = begin as usize..(begin + count) as usize;
                    self.own.times.extend_from_slice(&all_times[before]);
                }
                if has_gap {
                    self.own.times.push(row.time);
                }
                self.own.values.push(f64::from_bits(bits));
                count += 1;
            }
            let Some(first) = begins else {
                continue;
            };
            let times = if has_gap {
                PieceTimes::Own(own_times)
            } else {
                PieceTimes::Shared(Stretch {
                    slot,
                    first,
                    len: count,
                })
            };
            self.push(times, PieceValues::Own(start), count as usize)?;
        }
        Ok(())
    }

    /// Adds samples without a row.
    fn add_solo(&mut self, solo: &[SoloSample]) -> Result<(), ReadError> {
        let range = self.columns.range();
        let start = (self.own.times.len(), self.own.values.len());
        for sample in solo {
            if self.selection.memory.sees(sample.commit) && range.contains(sample.time) {
                self.own.times.push(sample.time);
                self.own.values.push(sample.value);
            }
        }
        if self.own.times.len() > start.0 {
            self.own.sort_from(start);
            let len = self.own.times.len() - start.0;
            self.push(PieceTimes::Own(start.0), PieceValues::Own(start.1), len)?;
        }
        Ok(())
    }

    /// Adds numbers and histograms without a row.
    fn add_mixed(
        &mut self,
        solo: &[Arc<[SoloSample]>],
        histograms: &[Arc<[HistogramSample]>],
    ) -> Result<(), ReadError> {
        let range = self.columns.range();
        let memory = &self.selection.memory;
        let solo = solo.iter().flat_map(|solo| solo.iter());
        let numbers = solo.map(|sample| {
            let value = MixedValue::Float(sample.value);
            (sample.commit, (sample.time, value))
        });
        let histograms = histograms.iter().flat_map(|histograms| histograms.iter());
        let histograms = histograms.map(|HistogramSample { commit, sample }| {
            let value = MixedValue::Histogram(sample.histogram.clone());
            (*commit, (sample.time, value))
        });
        let mut seen: Vec<_> = numbers
            .chain(histograms)
            .filter(|(commit, (time, _))| memory.sees(*commit) && range.contains(*time))
            .collect();
        // Of equal times the one of the oldest commit comes first, and stays.
        seen.sort_by_key(|(commit, (time, _))| (*time, *commit));
        seen.dedup_by_key(|(_, (time, _))| *time);
        let samples: Vec<_> = seen.into_iter().map(|(_, sample)| sample).collect();
        self.push_mixed(&samples)
    }

    /// Takes the memory of histograms from the budget until the next series.
    fn charge(&mut self, samples: &[(Timestamp, MixedValue)]) -> Result<(), ReadError> {
        let bytes = samples.iter().map(|(_, value)| match value {
            MixedValue::Histogram(packed) => {
                (size_of::<PackedHistogram>() + packed.as_bytes().len()) as u64
            }
            MixedValue::Float(_) => 0,
        });
        let bytes = bytes.sum();
        self.budget.charge(bytes)?;
        self.charged += bytes;
        Ok(())
    }

    /// Adds samples, ascending in time.
    fn push_mixed(&mut self, samples: &[(Timestamp, MixedValue)]) -> Result<(), ReadError> {
        self.charge(samples)?;
        for run in alike(samples) {
            let start = self.own.times.len();
            let floats = PieceValues::Own(self.own.values.len());
            let histograms = PieceValues::OwnHistograms(self.own.histograms.len());
            let mut is_of_floats = true;
            for (time, value) in run {
                self.own.times.push(*time);
                match value {
                    MixedValue::Float(value) => self.own.values.push(*value),
                    MixedValue::Histogram(histogram) => {
                        is_of_floats = false;
                        self.own.histograms.push(histogram.clone());
                    }
                }
            }
            let values = if is_of_floats { floats } else { histograms };
            self.push(PieceTimes::Own(start), values, run.len())?;
        }
        Ok(())
    }

    /// Merges pieces of which some have histograms.
    fn merge_mixed(&mut self, group: &[&Piece]) -> Result<(), ReadError> {
        let mut samples: Vec<(Timestamp, MixedValue)> = Vec::new();
        for piece in group {
            let len = piece.len as usize;
            let times = match &piece.times {
                PieceTimes::Shared(stretch) => self.columns.times(*stretch)?,
                PieceTimes::Own(first) => &self.own.times[*first..*first + len],
            };
            let values: Vec<MixedValue> = match &piece.values {
                PieceValues::Own(first) => {
                    let values = self.own.values[*first..*first + len].iter();
                    values.map(|value| MixedValue::Float(*value)).collect()
                }
                PieceValues::OwnHistograms(first) => {
                    let histograms = self.own.histograms[*first..*first + len].iter();
                    histograms.cloned().map(MixedValue::Histogram).collect()
                }
                PieceValues::Page {
                    block, page, skip, ..
                } => {
                    let page = &self.pages[*page as usize];
                    let sealed = &self.selection.blocks[*block as usize];
                    let frame = &mut self.frames[*block as usize];
                    if page.kind == Kind::Histogram {
                        let columns = sealed.histograms(page, frame)?;
                        let rows =
                            (*skip as usize..*skip as usize + len).map(|row| columns.get(row));
                        let packed = rows.map(|histogram| PackedHistogram::of_valid(&histogram));
                        packed.map(MixedValue::Histogram).collect()
                    } else {
                        let mut values = vec![0.0; len];
                        sealed.body(page, *skip, frame)?.decode(&mut values)?;
                        values.into_iter().map(MixedValue::Float).collect()
                    }
                }
            };
            let before = samples.len();
            samples.extend(times.iter().copied().zip(values));
            self.charge(&samples[before..])?;
        }
        // Of equal times that of the earliest piece stays.
        samples.sort_by_key(|(time, _)| *time);
        samples.dedup_by_key(|(time, _)| *time);
        self.push_mixed(&samples)
    }

    /// Brings the pieces into the order of time and merges those that share some.
    fn arrange(&mut self) -> Result<(), ReadError> {
        if self.pieces.is_sorted_by(|a, b| a.last < b.first) {
            return Ok(());
        }
        self.pieces.sort_by_key(|piece| piece.first);
        let pieces = std::mem::take(&mut self.pieces);
        let mut rest = &pieces[..];
        while let Some(piece) = rest.first() {
            let mut last = piece.last;
            let mut together = 1;
            while let Some(next) = rest.get(together)
                && next.first <= last
            {
                last = last.max(next.last);
                together += 1;
            }
            let (group, after) = rest.split_at(together);
            rest = after;
            if let [piece] = group {
                self.pieces.push(piece.clone());
            } else {
                self.merge(group)?;
            }
        }
        Ok(())
    }

    fn merge(&mut self, group: &[Piece]) -> Result<(), ReadError> {
        let mut group: Vec<&Piece> = group.iter().collect();
        group.sort_by_key(|piece| piece.rank);
        if group.iter().any(|piece| piece.is_of_histograms()) {
            return self.merge_mixed(&group);
        }
        let start = (self.own.times.len(), self.own.values.len());
        for piece in group {
            let len = piece.len as usize;
            match &piece.times {
                PieceTimes::Shared(stretch) => {
                    let times = self.columns.times(*stretch)?;
                    self.own.times.extend_from_slice(times);
                }
                PieceTimes::Own(first) => {
                    self.own.times.extend_from_within(*first..*first + len);
                }
            }
            let before = self.own.values.len();
            match &piece.values {
                PieceValues::Own(first) => {
                    self.own.values.extend_from_within(*first..*first + len);
                }
                PieceValues::Page {
                    block, page, skip, ..
                } => {
                    let page = &self.pages[*page as usize];
                    self.own.values.resize(before + len, 0.0);
                    let sealed = &self.selection.blocks[*block as usize];
                    let frame = &mut self.frames[*block as usize];
                    let body = sealed.body(page, *skip, frame)?;
                    body.decode(&mut self.own.values[before..])?;
                }
                PieceValues::OwnHistograms(_) => unreachable!("merged with others of their kind"),
            }
        }
        self.own.sort_from(start);
        let len = self.own.times.len() - start.0;
        self.push(PieceTimes::Own(start.0), PieceValues::Own(start.1), len)
    }

    /// The page that a piece is all of, when its statistics are of every one of its samples.
    fn counted_page(&self, piece: &Piece) -> Option<(&Sealed, &PageRef)> {
        let PieceValues::Page { block, page, .. } = &piece.values else {
            return None;
        };
        let page = &self.pages[*page as usize];
        let is_counted = piece.len == page.len && page.kind == Kind::Float && !page.may_be_stale;
        is_counted.then(|| (&self.selection.blocks[*block as usize], page))
    }

    fn axis_for_stretches(&mut self) -> AxisId {
        let [only] = self.stretches[..] else {
            // Series of one target follow each other.
            if let Some(latest) = self.latest_axis
                && *self.axes[latest.0 as usize].stretches == self.stretches[..]
            {
                return latest;
            }
            let axis = self.find_axis();
            self.latest_axis = Some(axis);
            return axis;
        };
        let slot = only.slot as usize;
        if self.axis_of_only.len() <= slot {
            self.axis_of_only.resize(slot + 1, None);
        }
        if let Some((latest, axis)) = self.axis_of_only[slot]
            && latest == only
        {
            return axis;
        }
        let axis = self.find_axis();
        self.axis_of_only[slot] = Some((only, axis));
        axis
    }

    fn find_axis(&mut self) -> AxisId {
        if let Some(axis) = self.axis_of.get(&self.stretches[..]) {
            return *axis;
        }
        let axis = AxisId(self.axes.len() as u32);
        let stretches: Arc<[Stretch]> = self.stretches[..].into();
        self.axes.push(Axis {
            stretches: Arc::clone(&stretches),
            times: Vec::new(),
        });
        self.axis_of.insert(stretches, axis);
        axis
    }
}

impl Own {
    /// Sorts the times and values from here on, of equal times the first stays.
    fn sort_from(&mut self, (times_at, values_at): (usize, usize)) {
        let times = &self.times[times_at..];
        if times.is_sorted_by(|a, b| a < b) {
            return;
        }
        let values = &self.values[values_at..];
        let mut both: Vec<(Timestamp, f64)> =
            times.iter().copied().zip(values.iter().copied()).collect();
        both.sort_by_key(|(time, _)| *time);
        both.dedup_by_key(|(time, _)| *time);
        self.times.truncate(times_at);
        self.values.truncate(values_at);
        self.times.extend(both.iter().map(|(time, _)| *time));
        self.values.extend(both.iter().map(|(_, value)| *value));
    }
}

impl Drop for StoreScan<'_> {
    fn drop(&mut self) {
        self.budget.release(self.charged);
    }
}

impl Scan for StoreScan<'_> {
    fn seek(&mut self, series: usize) -> Result<Shape, ReadError> {
        self.budget.check()?;
        self.pages.clear();
        self.pieces.clear();
        self.next_piece = 0;
        self.axis = None;
        self.passed = 0;
        self.own.times.clear();
        self.own.values.clear();
        self.own.histograms.clear();
        if self.charged > 0 {
            self.budget.release(std::mem::take(&mut self.charged));
        }
        if self.columns.is_full() {
            self.columns.forget();
            for axis in &mut self.axes {
                axis.times = Vec::new();
            }
        }
        let selection = self.selection;
        for place in selection.pages.of(series) {
            self.add_pages(*place)?;
        }
        for place in selection.rows.of(series) {
            self.add_rows(*place)?;
        }
        let solo = selection.solo.of(series);
        let histograms = selection.histograms.of(series);
        if histograms.is_empty() {
            for solo in solo {
                self.add_solo(solo)?;
            }
        } else {
            self.add_mixed(solo, histograms)?;
        }
        self.arrange()?;
        let len = self.pieces.iter().map(|piece| piece.len).sum();
        if len == 0 {
            return Ok(Shape::Empty);
        }
        self.stretches.clear();
        for piece in &self.pieces {
            match &piece.times {
                PieceTimes::Shared(stretch) if !piece.is_of_histograms() => {
                    self.stretches.push(*stretch);
                }
                _ => return Ok(Shape::Loose { len_max: len }),
            }
        }
        let axis = self.axis_for_stretches();
        self.axis = Some(axis);
        Ok(Shape::Aligned {
            axis,
            first: 0,
            len,
        })
    }

    fn next_run(&mut self) -> Result<Option<Run<'_>>, ReadError> {
        let Some(piece) = self.pieces.get(self.next_piece) else {
            return Ok(None);
        };
        self.next_piece += 1;
        let len = piece.len as usize;
        let passed = self.passed;
        self.passed += len;
        let strung = self
            .axis
            .and_then(|axis| self.axes[axis.0 as usize].times.get(passed..passed + len));
        let times = match (&piece.times, strung) {
            (PieceTimes::Shared(_), Some(times)) => times,
            (PieceTimes::Shared(stretch), None) => self.columns.times(*stretch)?,
            (PieceTimes::Own(start), _) => &self.own.times[*start..*start + len],
        };
        match &piece.values {
            PieceValues::Own(start) => Ok(Some(Run::floats(
                times,
                &self.own.values[*start..*start + len],
            ))),
            PieceValues::OwnHistograms(start) => {
                let histograms = &self.own.histograms[*start..*start + len];
                let may_be_stale = histograms.iter().any(PackedHistogram::is_stale);
                let body = Body::Histograms(histograms);
                Ok(Some(Run::sealed(times, body, may_be_stale)))
            }
            PieceValues::Page {
                block, page, skip, ..
            } => {
                let page = &self.pages[*page as usize];
                let sealed = &self.selection.blocks[*block as usize];
                let body = sealed.body(page, *skip, &mut self.frames[*block as usize])?;
                Ok(Some(Run::sealed(times, body, page.may_be_stale)))
            }
        }
    }

    fn counted_within(&self, within: TimeRange) -> u64 {
        let ahead = &self.pieces[self.next_piece..];
        let counted = ahead.iter().filter(|piece| {
            within.min <= piece.first
                && piece.last <= within.max
                && self.counted_page(piece).is_some()
        });
        counted.map(|piece| u64::from(piece.len)).sum()
    }

    fn next_totals(
        &mut self,
        within: TimeRange,
        is_enough: &dyn Fn(&PageStats) -> bool,
    ) -> Result<Option<RunTotals>, ReadError> {
        let Some(piece) = self.pieces.get(self.next_piece) else {
            return Ok(None);
        };
        if piece.first < within.min || within.max < piece.last {
            return Ok(None);
        }
        let Some((sealed, page)) = self.counted_page(piece) else {
            return Ok(None);
        };
        let stats = sealed.stats(page)?;
        if !is_enough(&stats) {
            return Ok(None);
        }
        let totals = RunTotals {
            stats,
            first_time: piece.first,
            last_time: piece.last,
        };
        self.next_piece += 1;
        self.passed += piece.len as usize;
        Ok(Some(totals))
    }

    fn axis(&mut self, id: AxisId) -> Result<&[Timestamp], ReadError> {
        let axis = &mut self.axes[id.0 as usize];
        if let [only] = *axis.stretches {
            return self.columns.times(only);
        }
        if axis.times.is_empty() {
            let len: u32 = axis.stretches.iter().map(|stretch| stretch.len).sum();
            self.columns.charge_forgettable(len as usize)?;
            axis.times.reserve_exact(len as usize);
            for stretch in axis.stretches.iter() {
                self.columns.append_to(*stretch, &mut axis.times)?;
            }
        }
        Ok(&axis.times)
    }
}
