//! Merges adjacent blocks into one of the next level: the kernel of compaction.
//!
//! **What it is.** One pass over the series of all inputs in label order. A series' pages are put
//! together to pages of up to 1024 values, cut at positions of the strung time columns ([`axes`]);
//! a page that is alone in its piece is taken over as it is. Buckets of histograms are stored above
//! one another ([`families`]). What is deleted is left out, series without samples are too. Samples of
//! several inputs that overlap in time are merged by timestamp.
//!
//! **What it is not.** It chooses no inputs and puts nothing in force.
//!
//! **What always holds.** Every sample of the inputs that is not deleted is in the output, bit for
//! bit; of samples of a series at one time that of the oldest input is. An input that is damaged, or has not as
//! many samples as it says, ends the merge before the output has its name. Memory: the samples of one
//! series, the encoded pages of a family (8 MiB at most), the directory that is being written, some 20
//! bytes a time column and the label texts.
#![deny(clippy::indexing_slicing)]

mod axes;
mod families;
mod mixed;
#[cfg(test)]
mod tests;
mod turns;

use std::{cmp::Reverse, collections::BinaryHeap, path::Path};

use roaring::RoaringBitmap;

use self::{
    axes::{Axes, PIECE},
    families::{GROUP_BYTES_MAX, Member, Output, families},
    turns::Turns,
};
use super::{
    Block, BlockName, BlockWriter, FrameBuffer, IndexBuilder, LabelsReader, PageRef, Positions,
    WrittenBlock,
};
use crate::{
    Corruption, Kind, Labels, TimeRange, Timestamp,
    codec::{CodecError, VALUES_MAX, encode_values},
    error::IoError,
    vfs::Fs,
};

/// A block to merge.
#[derive(Debug)]
pub(crate) struct MergeInput<'a> {
    /// The block.
    pub(crate) block: &'a Block,
    /// What of it is left out: series (ordinals), and the times of their samples, both ends
    /// included.
    pub(crate) deleted: Vec<(&'a RoaringBitmap, TimeRange)>,
}

/// Why blocks were not merged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MergeError {
    /// An input is damaged.
    #[error("a block cannot be merged")]
    Corruption(#[from] Corruption),
    /// The file system refused.
    #[error("the file system refused")]
    Io(#[from] IoError),
    /// The caller wanted no more.
    #[error("the merge was stopped")]
    Stopped,
}

/// Writes the samples of `inputs`, which are in the order of their commits, into one block; `go_on`
/// is asked after every few pages, see [`turns`], and may take its time, or stop the merge by `false`. A
/// failed merge leaves nothing behind.
///
/// # Errors
/// [`MergeError`].
pub(crate) fn merge(
    fs: &dyn Fs,
    folder: &Path,
    name: BlockName,
    level: u8,
    inputs: &[MergeInput<'_>],
    go_on: &mut dyn FnMut() -> bool,
) -> Result<WrittenBlock, MergeError> {
    let writer = BlockWriter::create(fs, folder, name, level)?;
    let mut turns = Turns::new(go_on);
    let mut merger = Merger {
        inputs,
        found: vec![0; inputs.len()],
        buffers: inputs.iter().map(|_| FrameBuffer::default()).collect(),
        axes: Axes::build(inputs, &mut turns)?,
        output: Output::new(writer, turns),
        index: IndexBuilder::new(level == 0),
        ids: RoaringBitmap::new(),
        id: 0,
        pages: Vec::new(),
        piece: None,
        pending: None,
        positions: Vec::new(),
        values: Vec::new(),
        page_positions: Vec::new(),
        page_values: Vec::new(),
        page: Vec::new(),
    };
    let mut series = SeriesOf::open(inputs)?;
    let mut sources = Vec::new();
    // Series with bounds that wait for those of their group, in label order.
    let mut group: Vec<Member> = Vec::new();
    let mut group_bytes = 0;
    loop {
        let labels = series.next(&mut sources)?;
        merger.output.turns.series()?;
        let member = labels.as_ref().filter(|_| level > 0);
        let member = member.and_then(|labels| Member::of(labels, &sources));
        let is_next = |group: &Member| {
            let mut member = member.iter();
            group_bytes <= GROUP_BYTES_MAX && member.any(|member| group.is_grouped_with(member))
        };
        if !group.last().is_some_and(is_next) {
            merger.group(&group)?;
            group.clear();
            group_bytes = 0;
        }
        let Some(labels) = labels else {
            break;
        };
        if let Some(member) = member {
            group_bytes += member.bytes();
            group.push(member);
        } else if let Some(written) = merger.samples(&sources)? {
            merger.name(written, &labels)?;
        }
    }
    for (input, found) in inputs.iter().zip(&merger.found) {
        if input.block.samples() != *found {
            return Err(input.block.samples_damaged().into());
        }
    }
    Ok(merger.output.writer.finish(merger.index)?)
}

/// The series of all inputs in label order.
struct SeriesOf<'a> {
    inputs: &'a [MergeInput<'a>],
    readers: Vec<LabelsReader<'a>>,
    /// The next series of each input: labels, input, ordinal.
    next: BinaryHeap<Reverse<(Labels, usize, u32)>>,
}

impl<'a> SeriesOf<'a> {
    fn open(inputs: &'a [MergeInput<'a>]) -> Result<Self, Corruption> {
        let readers = inputs.iter().map(|input| input.block.index().labels());
        let mut series = Self {
            inputs,
            readers: readers.collect(),
            next: BinaryHeap::new(),
        };
        for input in 0..inputs.len() {
            series.push(input, 0)?;
        }
        Ok(series)
    }

    fn push(&mut self, input: usize, ordinal: u32) -> Result<(), Corruption> {
        let (Some(source), Some(reader)) = (self.inputs.get(input), self.readers.get_mut(input))
        else {
            return Ok(());
        };
        if ordinal < source.block.index().len() {
            let labels = reader.get(ordinal);
            let labels = labels.map_err(|error| source.block.index_damaged(error))?;
            self.next.push(Reverse((labels, input, ordinal)));
        }
        Ok(())
    }

    /// The next labels, and in which inputs they are, oldest first.
    fn next(&mut self, sources: &mut Vec<(usize, u32)>) -> Result<Option<Labels>, Corruption> {
        sources.clear();
        let Some(Reverse((labels, input, ordinal))) = self.next.pop() else {
            return Ok(None);
        };
        sources.push((input, ordinal));
        self.push(input, ordinal + 1)?;
        while self
            .next
            .peek()
            .is_some_and(|Reverse((next, ..))| *next == labels)
        {
            if let Some(Reverse((_, input, ordinal))) = self.next.pop() {
                sources.push((input, ordinal));
                self.push(input, ordinal + 1)?;
            }
        }
        Ok(Some(labels))
    }
}

/// A page of an input.
#[derive(Debug, Clone)]
struct Source {
    input: usize,
    page: PageRef,
    /// Of its time column, or closer.
    range: TimeRange,
    /// Some of its samples may be deleted: those in these ranges.
    deleted: Vec<TimeRange>,
}

struct Merger<'a> {
    inputs: &'a [MergeInput<'a>],
    /// Samples of each input in its directory so far, deleted ones too.
    found: Vec<u64>,
    buffers: Vec<FrameBuffer>,
    axes: Axes,
    output: Output<'a>,
    index: IndexBuilder,
    /// Of the series in the index.
    ids: RoaringBitmap,
    /// Of the series in work.
    id: u32,
    pages: Vec<Source>,
    /// The axis and piece of what was collected.
    piece: Option<(u32, u32)>,
    /// The only page of the piece so far; then nothing else was collected.
    pending: Option<Source>,
    /// Within the piece.
    positions: Vec<u32>,
    values: Vec<f64>,
    page_positions: Vec<u32>,
    page_values: Vec<f64>,
    page: Vec<u8>,
}

/// A series that was written.
#[derive(Debug, Clone, Copy)]
struct Written {
    id: u32,
    /// The newest input that has it.
    newest: usize,
}

impl Merger<'_> {
    /// Writes series with bounds, which are in label order.
    fn group(&mut self, group: &[Member]) -> Result<(), MergeError> {
        let mut written = vec![None; group.len()];
        for family in families(group) {
            self.output.begin_family();
            for place in family {
                if let (Some(member), Some(written)) = (group.get(place), written.get_mut(place)) {
                    *written = self.samples(&member.sources)?;
                }
            }
            self.output.end_family()?;
        }
        for (member, written) in group.iter().zip(written) {
            if let Some(written) = written {
                self.name(written, &member.labels)?;
            }
        }
        Ok(())
    }

    /// Writes the samples of a series of these inputs and ordinals; `None`: none is left.
    fn samples(&mut self, sources: &[(usize, u32)]) -> Result<Option<Written>, MergeError> {
        let mut pages = std::mem::take(&mut self.pages);
        pages.clear();
        for (input, ordinal) in sources {
            self.collect(*input, *ordinal, &mut pages)?;
        }
        let mut written = None;
        if let Some((newest, ordinal)) = sources.last().filter(|_| !pages.is_empty()) {
            let (block, _) = self.input(*newest);
            self.id = block.index().id(*ordinal);
            if self.series(&mut pages)? {
                written = Some(Written {
                    id: self.id,
                    newest: *newest,
                });
            }
        }
        self.pages = pages;
        Ok(written)
    }

    /// Adds a series that was written to the index.
    fn name(&mut self, written: Written, labels: &Labels) -> Result<(), MergeError> {
        if !self.ids.insert(written.id) {
            let expected = "series with ids of their own";
            let (newest, _) = self.input(written.newest);
            return Err(newest.index_damaged(CodecError { expected }).into());
        }
        self.index.add(written.id, labels);
        Ok(())
    }

    /// The block and buffer of an input.
    fn input(&mut self, input: usize) -> (&Block, &mut FrameBuffer) {
        let (source, buffer) = (self.inputs.get(input), self.buffers.get_mut(input));
        let both = source.map(|source| source.block).zip(buffer);
        both.expect("a page is of one of the inputs")
    }

    /// Appends the pages of a series of an input, without those that are wholly deleted.
    fn collect(
        &mut self,
        input: usize,
        ordinal: u32,
        pages: &mut Vec<Source>,
    ) -> Result<(), MergeError> {
        let Some(source) = self.inputs.get(input) else {
            return Ok(());
        };
        let deleted = source.deleted.iter();
        let deleted = deleted.filter(|(series, _)| series.contains(ordinal));
        let deleted: Vec<TimeRange> = deleted.map(|(_, range)| *range).collect();
        for page in source.block.pages(ordinal)? {
            let page = page?;
            self.output.turns.entry()?;
            if let Some(found) = self.found.get_mut(input) {
                *found = found.saturating_add(u64::from(page.len));
            }
            let (range, _) = source.block.times_range(page.times)?;
            let of_page = deleted.iter().filter(|deleted| deleted.overlaps(&range));
            let deleted: Vec<TimeRange> = of_page.copied().collect();
            let is_gone =
                |deleted: &TimeRange| deleted.min <= range.min && range.max <= deleted.max;
            if !deleted.iter().any(is_gone) {
                pages.push(Source {
                    input,
                    page,
                    range,
                    deleted,
                });
            }
        }
        Ok(())
    }

    /// Writes a series; `false`: none of its samples is left.
    fn series(&mut self, pages: &mut [Source]) -> Result<bool, MergeError> {
        if pages
            .iter()
            .any(|source| source.page.kind == Kind::Histogram)
        {
            return self.mixed(pages);
        }
        let place = |source: &Source| (source.range.min, source.page.first);
        pages.sort_by_key(place);
        if !are_apart(pages) {
            // Their columns overlap, but they may not.
            for source in &mut *pages {
                source.range = self.exact_range(source)?;
            }
            pages.sort_by_key(place);
            if !pages.is_sorted_by(|a, b| a.range.max < b.range.min) {
                return self.overlapping(pages);
            }
        }
        let mut is_written = false;
        for source in &*pages {
            is_written |= self.put(source)?;
        }
        is_written |= self.flush()?;
        Ok(is_written)
    }

    /// From the first to the last sample of a page.
    fn exact_range(&mut self, source: &Source) -> Result<TimeRange, Corruption> {
        let page = source.page;
        let (block, buffer) = self.input(source.input);
        let mut times = Vec::new();
        block.times(page.times, buffer, &mut times)?;
        let time = |position: u32| times.get(position as usize).copied();
        let ends = time(page.first).zip(time(page.first + page.span - 1));
        Ok(ends.map_or(source.range, |(min, max)| TimeRange::new(min, max)))
    }

    /// Reads positions in the column and values of a page, without those that are deleted.
    fn read(&mut self, source: &Source) -> Result<(), MergeError> {
        self.output.turns.page(&source.page)?;
        let mut positions = std::mem::take(&mut self.page_positions);
        let mut values = std::mem::take(&mut self.page_values);
        positions.clear();
        values.clear();
        let (block, buffer) = self.input(source.input);
        block.positions(&source.page, buffer, &mut positions)?;
        block.decode(&source.page, buffer, &mut values)?;
        if !source.deleted.is_empty() {
            let mut times = Vec::new();
            block.times(source.page.times, buffer, &mut times)?;
            let is_kept = |position: &u32| {
                let time = times.get(*position as usize).copied().unwrap_or_default();
                !source.deleted.iter().any(|range| range.contains(time))
            };
            let kept: Vec<bool> = positions.iter().map(is_kept).collect();
            keep(&mut positions, &kept);
            keep(&mut values, &kept);
        }
        self.page_positions = positions;
        self.page_values = values;
        Ok(())
    }

    /// Adds a page that lies behind all before it; whether something was written.
    fn put(&mut self, source: &Source) -> Result<bool, MergeError> {
        let page = &source.page;
        let place = self.axes.place(source.input, page.times);
        let first = place.start + page.first;
        let (piece, last_piece) = (first / PIECE, (first + page.span - 1) / PIECE);
        let mut is_written = false;
        if self.piece != Some((place.axis, piece)) {
            is_written = self.flush()?;
            self.piece = Some((place.axis, piece));
            if piece == last_piece && source.deleted.is_empty() {
                self.pending = Some(source.clone());
                return Ok(is_written);
            }
        } else if let Some(pending) = self.pending.take() {
            self.add(&pending)?;
        }
        is_written |= self.add(source)?;
        Ok(is_written)
    }

    /// Adds the samples of a page; whether something was written.
    fn add(&mut self, source: &Source) -> Result<bool, MergeError> {
        self.read(source)?;
        let place = self.axes.place(source.input, source.page.times);
        let positions = std::mem::take(&mut self.page_positions);
        let values = std::mem::take(&mut self.page_values);
        let mut is_written = false;
        let mut rest = (positions.as_slice(), values.as_slice());
        while let Some(first) = rest.0.first() {
            let piece = (place.start + first) / PIECE;
            if self.piece != Some((place.axis, piece)) {
                is_written |= self.flush()?;
                self.piece = Some((place.axis, piece));
            }
            // Positions before the end of the piece go into it.
            let start = piece * PIECE;
            let end = rest
                .0
                .partition_point(|position| place.start + position < start + PIECE);
            let (now, later) = rest.0.split_at(end);
            let (values_now, values_later) = rest.1.split_at(end.min(rest.1.len()));
            self.positions
                .extend(now.iter().map(|position| place.start + position - start));
            self.values.extend_from_slice(values_now);
            rest = (later, values_later);
        }
        self.page_positions = positions;
        self.page_values = values;
        Ok(is_written)
    }

    /// Writes what was collected of a piece, if anything.
    fn flush(&mut self) -> Result<bool, MergeError> {
        let Some((axis, piece)) = self.piece.take() else {
            return Ok(false);
        };
        let pending = self.pending.take();
        if pending.is_none() && self.values.is_empty() {
            return Ok(false);
        }
        let buffer = self.buffers.first_mut();
        let buffer = buffer.expect("a page is of one of the inputs");
        let writer = &mut self.output.writer;
        let times = self
            .axes
            .times(self.inputs, buffer, (axis, piece), |times| {
                Ok::<_, MergeError>(writer.times(times)?)
            })?;
        let Some(source) = pending else {
            let positions = Positions::At(&self.positions);
            self.output.page(self.id, times, positions, &self.values)?;
            self.positions.clear();
            self.values.clear();
            return Ok(true);
        };
        let page = source.page;
        self.output.turns.page(&page)?;
        // Counted from the start of the piece; the piece may begin within the column.
        let start = self.axes.place(source.input, page.times).start;
        let moved = |position: u32| start + position - piece * PIECE;
        let (Some(input), Some(buffer)) = (
            self.inputs.get(source.input),
            self.buffers.get_mut(source.input),
        ) else {
            return Ok(false);
        };
        self.page_positions.clear();
        let positions = if page.has_gaps() {
            input
                .block
                .positions(&page, buffer, &mut self.page_positions)?;
            for position in &mut self.page_positions {
                *position = moved(*position);
            }
            Positions::At(&self.page_positions)
        } else {
            Positions::From(moved(page.first))
        };
        let mut bytes: &[u8] = &[];
        if page.constant.is_none() {
            // What is damaged is not passed on.
            self.page_values.clear();
            input.block.decode(&page, buffer, &mut self.page_values)?;
            let stored = input.block.frame(&page, buffer)?;
            bytes = stored.own();
            if stored.is_above() {
                self.page.clear();
                encode_values(&self.page_values, &mut self.page);
                bytes = &self.page;
            }
        }
        let summary = input.block.summary(&page)?;
        self.output
            .encoded(self.id, times, positions, bytes, &summary)?;
        Ok(true)
    }

    /// Writes a series whose pages overlap, sample by sample.
    fn overlapping(&mut self, pages: &[Source]) -> Result<bool, MergeError> {
        let mut samples: Vec<(Timestamp, usize, f64)> = Vec::new();
        for source in pages {
            self.read(source)?;
            let mut times = Vec::new();
            let (block, buffer) = self.input(source.input);
            block.times(source.page.times, buffer, &mut times)?;
            let positions = self.page_positions.iter();
            for (position, value) in positions.zip(&self.page_values) {
                if let Some(time) = times.get(*position as usize) {
                    samples.push((*time, source.input, *value));
                }
            }
        }
        // Stable: of one input the order of its pages.
        samples.sort_by_key(|(time, input, _)| (*time, *input));
        samples.dedup_by_key(|(time, ..)| *time);
        for chunk in samples.chunks(VALUES_MAX) {
            let times: Vec<Timestamp> = chunk.iter().map(|(time, ..)| *time).collect();
            let values: Vec<f64> = chunk.iter().map(|(.., value)| *value).collect();
            let times = self.output.writer.times(&times)?;
            self.output
                .page(self.id, times, Positions::From(0), &values)?;
        }
        Ok(!samples.is_empty())
    }
}

/// Whether sorted pages follow each other in time, judged by their columns.
fn are_apart(pages: &[Source]) -> bool {
    pages.is_sorted_by(|a, b| {
        let same_column = a.input == b.input && a.page.times == b.page.times;
        let follows = a.page.first + a.page.span <= b.page.first;
        a.range.max < b.range.min || (same_column && follows)
    })
}

/// Keeps the items whose flag is set.
fn keep<T>(items: &mut Vec<T>, kept: &[bool]) {
    let mut flags = kept.iter();
    items.retain(|_| flags.next().is_some_and(|kept| *kept));
}
