//! The label sets of the series, in their order.
//!
//! An entry: how many pairs it shares with the set before (0 for the first of a group) and how many
//! follow, as two varints, then the pairs' numbers, each as a varint of what it is above the one
//! before it plus one (the first of a set: above zero).

use std::ops::Range;

use super::groups::{GROUP, Groups, GroupsWriter};
use crate::codec::{CodecError, Cursor, put_varint};

const SERIES: &str = "the label sets of series";
const DAMAGED: CodecError = CodecError { expected: SERIES };

/// Writes label sets in their order.
#[derive(Debug, Default)]
pub(super) struct SeriesWriter {
    groups: GroupsWriter,
    before: Vec<u32>,
}

impl SeriesWriter {
    /// Adds the set of these pairs, ascending.
    pub(super) fn push(&mut self, pairs: &[u32]) {
        let (out, is_first) = self.groups.entry();
        let shared = if is_first {
            0
        } else {
            let both = self.before.iter().zip(pairs);
            both.take_while(|(a, b)| a == b).count()
        };
        put_varint(shared as u64, out);
        put_varint((pairs.len() - shared) as u64, out);
        let mut next = shared.checked_sub(1).map_or(0, |last| pairs[last] + 1);
        for pair in &pairs[shared..] {
            put_varint(u64::from(pair - next), out);
            next = pair + 1;
        }
        self.before.clear();
        self.before.extend_from_slice(pairs);
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.groups.finish()
    }
}

/// Where label sets are in a file.
#[derive(Debug, Clone)]
pub(super) struct SeriesTable(Groups);

impl SeriesTable {
    pub(super) fn open(file: &[u8], section: &Range<usize>) -> Result<Self, CodecError> {
        Groups::open(file, section, SERIES).map(Self)
    }

    /// Series.
    pub(super) const fn len(&self) -> u32 {
        self.0.len()
    }

    /// The series with these pairs.
    pub(super) fn find(&self, file: &[u8], pairs: &[u32]) -> Result<Option<u32>, CodecError> {
        let mut cursor = self.cursor(file);
        // The last group whose first set is not above.
        let (mut low, mut high) = (0, self.len().div_ceil(GROUP));
        while low < high {
            let middle = low + (high - low) / 2;
            if cursor.get(middle * GROUP)? <= pairs {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let start = low.saturating_sub(1) * GROUP;
        for ordinal in start..self.len().min(start + GROUP) {
            if cursor.get(ordinal)? == pairs {
                return Ok(Some(ordinal));
            }
        }
        Ok(None)
    }

    /// A cursor before the first set.
    pub(super) fn cursor<'a>(&'a self, file: &'a [u8]) -> SeriesCursor<'a> {
        SeriesCursor {
            table: self,
            file,
            cursor: Cursor::new(&[]),
            next: 0,
            pairs: Vec::new(),
        }
    }
}

/// Reads the sets of series; quickest when they are asked for in order.
#[derive(Debug)]
pub(super) struct SeriesCursor<'a> {
    table: &'a SeriesTable,
    file: &'a [u8],
    cursor: Cursor<'a>,
    /// The series that `cursor` is at, unless it begins a group.
    next: u32,
    pairs: Vec<u32>,
}

impl SeriesCursor<'_> {
    /// The pairs of a series, ascending.
    pub(super) fn get(&mut self, ordinal: u32) -> Result<&[u32], CodecError> {
        if ordinal >= self.table.len() {
            return Err(DAMAGED);
        }
        let first = ordinal / GROUP * GROUP;
        let is_behind = self.next > ordinal && self.next != ordinal + 1;
        if is_behind || self.next < first {
            self.next = first;
        }
        while self.next <= ordinal {
            // An error must not leave a half-read set behind.
            if let Err(error) = self.read() {
                self.next = u32::MAX;
                return Err(error);
            }
        }
        Ok(&self.pairs)
    }

    fn read(&mut self) -> Result<(), CodecError> {
        if self.next.is_multiple_of(GROUP) {
            let groups = &self.table.0;
            self.cursor = groups.group(self.file, self.next / GROUP, SERIES)?;
            self.pairs.clear();
        }
        let shared = self.cursor.varint(SERIES)?;
        let len = self.cursor.varint(SERIES)?;
        if shared > self.pairs.len() as u64 || len > self.cursor.rest().len() as u64 {
            return Err(DAMAGED);
        }
        self.pairs.truncate(shared as usize);
        let mut next = self.pairs.last().map_or(0, |last| u64::from(*last) + 1);
        for _ in 0..len {
            let pair = self
                .cursor
                .varint(SERIES)?
                .checked_add(next)
                .ok_or(DAMAGED)?;
            self.pairs.push(u32::try_from(pair).map_err(|_| DAMAGED)?);
            next = pair + 1;
        }
        self.next += 1;
        Ok(())
    }
}
