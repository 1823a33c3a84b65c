//! The label sets of the series, in their order.
//!
//! A set is its pairs' numbers, ascending. What most series of a scrape target differ in is one
//! label (its instance, say) from which others follow (its job, node and zone): a *tail* is such a
//! pair and the larger pairs that every series with it has too. Tails are listed once: number of
//! pairs as a varint, the first pair as a varint, then of each next one what it is above the one
//! before plus one.
//!
//! An entry of a series begins with a byte: pairs shared with the begin of the set before (three
//! bits, lowest), pairs shared with its end (three bits), items between them (two bits). Where a
//! field has all bits set, a varint follows with what the number is above that, in the same order.
//! Then the items: a varint with 0 in its lowest bit and above it how much a pair's number is above
//! the last item's pair (at first: the last shared pair) plus one (without one: above zero); or with
//! 1 in its lowest bit and above it the number of a tail. The set is all of these pairs, each once.
//! The first of a group shares nothing.

use std::ops::Range;

use super::{
    groups::{GROUP, Groups, GroupsWriter},
    implied::Implied,
};
use crate::codec::{CodecError, Cursor, put_varint};

const SERIES: &str = "the label sets of series";
const DAMAGED: CodecError = CodecError { expected: SERIES };

/// Largest number of the shared pairs' fields.
const SHARED_MAX: usize = 7;
/// Largest number of the items' field.
const ITEMS_MAX: usize = 3;

/// Writes label sets in their order.
#[derive(Debug)]
pub(super) struct SeriesWriter<'a> {
    groups: GroupsWriter,
    tails: GroupsWriter<1>,
    implied: &'a Implied,
    /// The tail of each pair, once it was written: its number plus one.
    tail_of: Vec<u32>,
    before: Vec<u32>,
    items: Vec<u64>,
    /// Pairs that come with the tails of the current set.
    covered: Vec<u32>,
}

impl<'a> SeriesWriter<'a> {
    /// A writer of sets of `pairs` pairs.
    pub(super) fn new(implied: &'a Implied, pairs: usize) -> Self {
        Self {
            groups: GroupsWriter::default(),
            tails: GroupsWriter::default(),
            implied,
            tail_of: vec![0; pairs],
            before: Vec::new(),
            items: Vec::new(),
            covered: Vec::new(),
        }
    }

    /// Adds the set of these pairs, ascending.
    #[expect(clippy::indexing_slicing, reason = "places within the two sets")]
    pub(super) fn push(&mut self, pairs: &[u32]) {
        let (out, is_first) = self.groups.entry();
        if is_first {
            self.before.clear();
        }
        let common = |(a, b): &(&u32, &u32)| a == b;
        let both = self.before.iter().zip(pairs);
        let start = both.take_while(common).count();
        let (before_rest, rest) = (&self.before[start..], &pairs[start..]);
        let both = before_rest.iter().rev().zip(rest.iter().rev());
        let end = both.take_while(common).count();
        let mut next = start.checked_sub(1).map_or(0, |last| pairs[last] + 1);
        self.items.clear();
        self.covered.clear();
        let between = &rest[..rest.len() - end];
        for pair in between {
            if self.covered.contains(pair) {
                continue;
            }
            let implied = self.implied.of(*pair);
            let is_useful = |pair: &u32| between.contains(pair) && !self.covered.contains(pair);
            self.items.push(if implied.iter().any(is_useful) {
                self.covered.extend_from_slice(implied);
                let tail = &mut self.tail_of[*pair as usize];
                if *tail == 0 {
                    let (out, _) = self.tails.entry();
                    write_tail(*pair, implied, out);
                    *tail = self.tails.len();
                }
                u64::from(*tail - 1) << 1 | 1
            } else {
                u64::from(pair - next) << 1
            });
            next = pair + 1;
        }
        let fields = [
            (start, SHARED_MAX, 0),
            (end, SHARED_MAX, 3),
            (self.items.len(), ITEMS_MAX, 6),
        ];
        out.push(fields.iter().fold(0, |byte, (number, max, shift)| {
            byte | ((*number.min(max) as u8) << shift)
        }));
        for (number, max, _) in fields {
            if number >= max {
                put_varint((number - max) as u64, out);
            }
        }
        for item in &self.items {
            put_varint(*item, out);
        }
        self.before.clear();
        self.before.extend_from_slice(pairs);
    }

    /// The bytes of the sets and of the tails.
    pub(super) fn finish(self) -> (Vec<u8>, Vec<u8>) {
        (self.groups.finish(), self.tails.finish())
    }
}

fn write_tail(pair: u32, implied: &[u32], out: &mut Vec<u8>) {
    put_varint(implied.len() as u64 + 1, out);
    put_varint(u64::from(pair), out);
    let mut before = pair;
    for pair in implied {
        put_varint(u64::from(pair - before - 1), out);
        before = *pair;
    }
}

/// Where label sets are in a file.
#[derive(Debug, Clone)]
pub(super) struct SeriesTable {
    sets: Groups,
    tails: Groups<1>,
    /// Most pairs that a set may have.
    pairs_max: usize,
}

impl SeriesTable {
    /// Finds the table of sets with at most `names` pairs.
    pub(super) fn open(
        file: &[u8],
        sets: &Range<usize>,
        tails: &Range<usize>,
        names: u32,
    ) -> Result<Self, CodecError> {
        Ok(Self {
            pairs_max: names as usize,
            sets: Groups::open(file, sets, SERIES)?,
            tails: Groups::open(file, tails, SERIES)?,
        })
    }

    /// Series.
    pub(super) const fn len(&self) -> u32 {
        self.sets.len()
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

    /// Appends the pairs of a tail, and answers the first.
    fn read_tail(&self, file: &[u8], tail: u32, out: &mut Vec<u32>) -> Result<u32, CodecError> {
        if tail >= self.tails.len() {
            return Err(DAMAGED);
        }
        let mut cursor = self.tails.group(file, tail, SERIES)?;
        let len = cursor.varint(SERIES)?;
        let first = u32::try_from(cursor.varint(SERIES)?).map_err(|_| DAMAGED)?;
        if len > self.pairs_max as u64 {
            return Err(DAMAGED);
        }
        out.push(first);
        let mut next = u64::from(first) + 1;
        for _ in 1..len {
            let pair = cursor.varint(SERIES)?.checked_add(next).ok_or(DAMAGED)?;
            out.push(u32::try_from(pair).map_err(|_| DAMAGED)?);
            next = pair + 1;
        }
        Ok(first)
    }

    /// A cursor before the first set.
    pub(super) fn cursor<'a>(&'a self, file: &'a [u8]) -> SeriesCursor<'a> {
        SeriesCursor {
            table: self,
            file,
            cursor: Cursor::new(&[]),
            next: 0,
            pairs: Vec::new(),
            scratch: Vec::new(),
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
    scratch: Vec<u32>,
}

impl SeriesCursor<'_> {
    /// The pairs of a series, ascending, each once.
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
            let groups = &self.table.sets;
            self.cursor = groups.group(self.file, self.next / GROUP, SERIES)?;
            self.pairs.clear();
        }
        let fields = usize::from(self.cursor.u8(SERIES)?);
        let start = self.field(fields & SHARED_MAX, SHARED_MAX)?;
        let end = self.field(fields >> 3 & SHARED_MAX, SHARED_MAX)?;
        let items = self.field(fields >> 6, ITEMS_MAX)?;
        let (shared, rest) = self.pairs.split_at_checked(start).ok_or(DAMAGED)?;
        let end = rest.len().checked_sub(end).ok_or(DAMAGED)?;
        let shared_end = rest.get(end..).unwrap_or_default();
        self.scratch.clear();
        self.scratch.extend_from_slice(shared);
        let mut next = shared.last().map_or(0, |last| u64::from(*last) + 1);
        let mut has_tail = false;
        for _ in 0..items {
            let item = self.cursor.varint(SERIES)?;
            let pair = if item & 1 == 1 {
                has_tail = true;
                let tail = u32::try_from(item >> 1).map_err(|_| DAMAGED)?;
                self.table.read_tail(self.file, tail, &mut self.scratch)?
            } else {
                let pair = u32::try_from((item >> 1) + next).map_err(|_| DAMAGED)?;
                self.scratch.push(pair);
                pair
            };
            next = u64::from(pair) + 1;
            // Tails may share pairs, but not so many that this could be a set.
            if self.scratch.len() > self.table.pairs_max.saturating_mul(2) {
                return Err(DAMAGED);
            }
        }
        self.scratch.extend_from_slice(shared_end);
        if has_tail {
            self.scratch.sort_unstable();
            self.scratch.dedup();
        } else if !self.scratch.is_sorted_by(|a, b| a < b) {
            return Err(DAMAGED);
        }
        std::mem::swap(&mut self.pairs, &mut self.scratch);
        self.next += 1;
        Ok(())
    }

    fn field(&mut self, bits: usize, max: usize) -> Result<usize, CodecError> {
        if bits < max {
            return Ok(bits);
        }
        let more = usize::try_from(self.cursor.varint(SERIES)?).map_err(|_| DAMAGED)?;
        bits.checked_add(more).ok_or(DAMAGED)
    }
}
