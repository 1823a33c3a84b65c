//! The time columns of several blocks strung together.
//!
//! A target has a time column in each block; put one behind the other they are an *axis*. Pages of
//! the merged block are cut at positions of the axis, the same for all series on it, so that they go
//! on sharing their time columns.
#![deny(clippy::indexing_slicing)]

use std::collections::HashMap;

use super::{MergeError, turns::Turns};
use crate::{
    Corruption, TimeRange, Timestamp,
    block::{Block, FrameBuffer, MergeInput, TimesRef},
    codec::VALUES_MAX,
};

const NONE: u32 = u32::MAX;

/// Timestamps of a piece of an axis: a page of a series that is always there is full.
pub(super) const PIECE: u32 = VALUES_MAX as u32;

/// Where a time column of an input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OnAxis {
    pub(super) axis: u32,
    /// Position of the column's first timestamp.
    pub(super) start: u32,
}

/// The axes of all inputs: some 20 bytes for each of their time columns.
#[derive(Debug)]
pub(super) struct Axes {
    /// The number of each input's first column, columns numbered through.
    bases: Vec<u32>,
    /// By number.
    places: Vec<OnAxis>,
    /// The numbers of columns, axis by axis in order of time.
    columns: Vec<u32>,
    /// Where in `columns` each axis begins, and the end.
    starts: Vec<u32>,
    /// Where in `pieces` each axis begins.
    piece_starts: Vec<u32>,
    /// The time columns of the merged block, axis by axis, as far as they are used yet.
    pieces: Vec<Option<TimesRef>>,
}

impl Axes {
    /// Strings the columns of the inputs together by the series that use them.
    ///
    /// # Errors
    /// [`MergeError`]: a directory or a table of time columns is damaged, or the merge is to stop.
    pub(super) fn build(
        inputs: &[MergeInput<'_>],
        turns: &mut Turns<'_>,
    ) -> Result<Self, MergeError> {
        let mut bases = Vec::with_capacity(inputs.len());
        let mut ranges: Vec<(TimeRange, u32)> = Vec::new();
        for input in inputs {
            bases.push(ranges.len() as u32);
            for column in 0..input.block.times_len() {
                ranges.push(input.block.times_range(column)?);
            }
        }
        let before = predecessors(inputs, &bases, &ranges, turns)?;
        let (axis_of, axes) = assign(&before, &ranges);
        drop(before);

        let mut starts = vec![0; axes + 1];
        for axis in &axis_of {
            if let Some(count) = starts.get_mut(*axis as usize + 1) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut columns: Vec<u32> = (0..ranges.len() as u32).collect();
        let range = |column: &u32| ranges.get(*column as usize).copied();
        columns.sort_unstable_by_key(|column| {
            let axis = axis_of.get(*column as usize).copied();
            (axis, range(column).map(|(range, _)| range.min))
        });
        let mut places = vec![OnAxis { axis: 0, start: 0 }; ranges.len()];
        let mut piece_starts = Vec::with_capacity(axes);
        let mut pieces = 0;
        for axis in 0..axes {
            let mut next = 0;
            for column in columns_of(&columns, &starts, axis as u32) {
                if let Some(place) = places.get_mut(*column as usize) {
                    *place = OnAxis {
                        axis: axis as u32,
                        start: next,
                    };
                }
                next += range(column).map_or(0, |(_, len)| len);
            }
            piece_starts.push(pieces);
            pieces += next.div_ceil(PIECE);
        }
        Ok(Self {
            bases,
            places,
            columns,
            starts,
            piece_starts,
            pieces: vec![None; pieces as usize],
        })
    }

    /// Where a column of an input is.
    pub(super) fn place(&self, input: usize, column: u32) -> OnAxis {
        let base = self.bases.get(input).copied().unwrap_or_default();
        let place = self.places.get((base + column) as usize);
        *place.expect("a page's column was found in the table")
    }

    /// The slot for the merged block's time column of a piece.
    fn slot(&mut self, axis: u32, piece: u32) -> &mut Option<TimesRef> {
        let start = self.piece_starts.get(axis as usize).copied();
        let slot = start.and_then(|start| self.pieces.get_mut((start + piece) as usize));
        slot.expect("a position of an axis is in one of its pieces")
    }

    /// The merged block's time column of a piece, which `write` stores when it is first used.
    pub(super) fn times<E: From<Corruption>>(
        &mut self,
        inputs: &[MergeInput<'_>],
        buffer: &mut FrameBuffer,
        (axis, piece): (u32, u32),
        write: impl FnOnce(&[Timestamp]) -> Result<TimesRef, E>,
    ) -> Result<TimesRef, E> {
        if let Some(times) = *self.slot(axis, piece) {
            return Ok(times);
        }
        let (from, to) = (piece * PIECE, (piece + 1) * PIECE);
        let mut times = Vec::with_capacity(PIECE as usize);
        let mut column_times = Vec::new();
        for number in columns_of(&self.columns, &self.starts, axis) {
            let input = self.bases.partition_point(|base| base <= number) - 1;
            let (Some(source), Some(base)) = (inputs.get(input), self.bases.get(input)) else {
                continue;
            };
            let start = self.place(input, number - base).start;
            let (_, len) = source.block.times_range(number - base)?;
            if start >= to || start + len <= from {
                continue;
            }
            column_times.clear();
            source
                .block
                .times(number - base, buffer, &mut column_times)?;
            let wanted = from.saturating_sub(start)..len.min(to - start);
            let wanted = column_times.get(wanted.start as usize..wanted.end as usize);
            times.extend_from_slice(wanted.unwrap_or_default());
        }
        let written = write(&times)?;
        *self.slot(axis, piece) = Some(written);
        Ok(written)
    }
}

fn columns_of<'a>(columns: &'a [u32], starts: &[u32], axis: u32) -> &'a [u32] {
    let bound = |axis: u32| starts.get(axis as usize).map_or(0, |start| *start as usize);
    columns
        .get(bound(axis)..bound(axis + 1))
        .unwrap_or_default()
}

/// For each column the latest one that ends before it and that a series of it used before.
fn predecessors(
    inputs: &[MergeInput<'_>],
    bases: &[u32],
    ranges: &[(TimeRange, u32)],
    turns: &mut Turns<'_>,
) -> Result<Vec<u32>, MergeError> {
    let range = |column: u32| ranges.get(column as usize).map(|(range, _)| *range);
    let mut before = vec![NONE; ranges.len()];
    let mut last: HashMap<u32, u32, foldhash::fast::RandomState> = HashMap::default();
    for (input, base) in inputs.iter().zip(bases) {
        let block: &Block = input.block;
        for ordinal in 0..block.index().len() {
            let mut pages = block.pages(ordinal)?.peekable();
            if pages.peek().is_none() {
                continue;
            }
            let last = last.entry(block.index().id(ordinal)).or_insert(NONE);
            for page in pages {
                turns.entry()?;
                let column = base + page?.times;
                let previous = std::mem::replace(last, column);
                let (Some(is), Some(was)) = (range(column), range(previous)) else {
                    continue;
                };
                let Some(known) = before.get_mut(column as usize) else {
                    continue;
                };
                let is_later = range(*known).is_none_or(|known| known.max < was.max);
                if was.max < is.min && is_later {
                    *known = previous;
                }
            }
        }
    }
    Ok(before)
}

/// The axis of each column, and how many axes there are: a column goes behind its predecessor unless
/// another one did before. The columns of an axis do not overlap.
fn assign(before: &[u32], ranges: &[(TimeRange, u32)]) -> (Vec<u32>, usize) {
    let mut order: Vec<u32> = (0..ranges.len() as u32).collect();
    order.sort_unstable_by_key(|column| {
        let range = ranges.get(*column as usize);
        (range.map(|(range, _)| range.min), *column)
    });
    let mut axis_of = vec![NONE; ranges.len()];
    // The end of each axis, and its timestamps.
    let mut ends: Vec<(Timestamp, u32)> = Vec::new();
    for column in order {
        let Some((range, len)) = ranges.get(column as usize) else {
            continue;
        };
        let previous = before.get(column as usize).copied().unwrap_or(NONE);
        let axis = axis_of.get(previous as usize).copied().unwrap_or(NONE);
        let axis = match ends.get_mut(axis as usize) {
            // Far from the end of the numbers: positions are added to these.
            Some((end, total)) if *end < range.min && *total < NONE / 4 => {
                *end = range.max;
                *total += len;
                axis
            }
            _ => {
                ends.push((range.max, *len));
                ends.len() as u32 - 1
            }
        };
        if let Some(to) = axis_of.get_mut(column as usize) {
            *to = axis;
        }
    }
    (axis_of, ends.len())
}
