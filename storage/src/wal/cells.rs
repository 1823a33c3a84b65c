//! What of a row changed, and which of its columns are given to series, in the bytes of the log's records.
#![deny(clippy::indexing_slicing)]

use super::{
    change::Change,
    record::{BAD, RECORD, Result, RowRecord, count, near, small},
};
use crate::codec::{Cursor, put_varint, put_zigzag};

const COLUMNS_GAPS: u8 = 0;
const COLUMNS_RUNS: u8 = 1;
const COLUMNS_BITMAP: u8 = 2;

/// The changed columns of a row and how each changed, in the bytes of the log.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    /// As a bitmap.
    columns: Vec<u64>,
    len: usize,
    bytes: Vec<u8>,
}

impl Changed {
    /// Room for so many columns below `end` of which most changed little.
    pub(crate) fn with_capacity(columns: usize, end: u32) -> Self {
        Self {
            columns: Vec::with_capacity(end.div_ceil(64) as usize),
            len: 0,
            bytes: Vec::with_capacity(columns * 4 + 16),
        }
    }

    /// Adds how a column's value follows its last one, as bits; [`Changed::set_columns`] follows for those of a
    /// word of columns.
    #[inline]
    pub(crate) fn put(&mut self, base: u64, bits: u64) {
        Change::between(base, bits).encode(&mut self.bytes);
    }

    /// Says which columns of a word, which is behind those before, were put.
    #[inline]
    pub(crate) fn set_columns(&mut self, word: usize, columns: u64) {
        if columns != 0 {
            self.columns.resize(word, 0);
            self.columns.push(columns);
            self.len += columns.count_ones() as usize;
        }
    }

    /// Adds a column behind all that are there.
    #[cfg(test)]
    pub(super) fn push(&mut self, column: u32, change: Change) {
        let (word, bit) = (column as usize / 64, 1 << (column % 64));
        match self.columns.get_mut(word) {
            Some(columns) => {
                *columns |= bit;
                self.len += 1;
            }
            None => self.set_columns(word, bit),
        }
        change.encode(&mut self.bytes);
    }

    fn columns(&self) -> impl Iterator<Item = u32> + '_ {
        ones(&self.columns)
    }
}

/// Appends what changed and which columns are given to series.
pub(super) fn put_cells(out: &mut Vec<u8>, row: &RowRecord<'_, &Changed>) {
    assert!(
        row.bindings.len() <= row.changed.len,
        "a column that is bound has a value"
    );
    put_columns(out, row.changed);
    out.extend_from_slice(&row.changed.bytes);
    put_bindings(out, row.bindings);
}

/// Appends runs as (first, count), ascending and apart.
pub(super) fn put_runs(out: &mut Vec<u8>, runs: &[(u32, u32)]) {
    put_varint(runs.len() as u64, out);
    let mut next = 0;
    for (first, count) in runs {
        put_varint(u64::from(first - next), out);
        put_varint(u64::from(count - 1), out);
        next = first + count;
    }
}

/// Appends the columns in the shortest of three ways.
fn put_columns(out: &mut Vec<u8>, changed: &Changed) {
    let words = &changed.columns;
    let first = words.iter().position(|word| *word != 0);
    let (Some(first), Some(last)) = (first, words.last()) else {
        out.push(COLUMNS_GAPS);
        put_varint(0, out);
        return;
    };
    let first = words.get(first).map_or(0, |word| word.trailing_zeros()) + first as u32 * 64;
    let end = words.len() as u32 * 64 - last.leading_zeros();
    let bitmap = ((end - 1 - first) / 8) as usize + 1;
    let (mut runs, mut before) = (0, 0);
    for word in words {
        runs += (word & !(word << 1 | before)).count_ones() as usize;
        before = word >> 63;
    }
    if runs * 2 <= bitmap.min(changed.len) {
        out.push(COLUMNS_RUNS);
        put_varint(runs as u64, out);
        let mut next = 0;
        each_run(words, |first, end| {
            put_varint(u64::from(first - next), out);
            put_varint(u64::from(end - first - 1), out);
            next = end;
        });
    } else if bitmap < changed.len {
        out.push(COLUMNS_BITMAP);
        put_varint(u64::from(first), out);
        put_varint(bitmap as u64, out);
        // The bytes that hold the bitmap when it begins with the first column.
        let (skip, shift) = (first as usize / 64, first % 64);
        let next = words.iter().skip(skip + 1).copied().chain([0]);
        let begun = out.len();
        for (word, next) in words.iter().skip(skip).zip(next) {
            let upper = next.checked_shl(64 - shift).unwrap_or(0);
            out.extend_from_slice(&(word >> shift | upper).to_le_bytes());
        }
        out.truncate(begun + bitmap);
    } else {
        out.push(COLUMNS_GAPS);
        put_varint(changed.len as u64, out);
        let mut next = 0;
        for column in changed.columns() {
            put_varint(u64::from(column - next), out);
            next = column + 1;
        }
    }
}

/// The places of the set bits, ascending.
fn ones(words: &[u64]) -> impl Iterator<Item = u32> + '_ {
    (0..).zip(words).flat_map(|(index, word)| {
        let mut rest = *word;
        std::iter::from_fn(move || {
            let bit = rest.trailing_zeros();
            (rest != 0).then(|| {
                rest &= rest - 1;
                index * 64 + bit
            })
        })
    })
}

/// Hands on the first place of each run of set bits and that behind it, ascending.
fn each_run(words: &[u64], mut each: impl FnMut(u32, u32)) {
    let mut begun = None;
    let bits = u64::BITS;
    for (base, word) in (0..).step_by(bits as usize).zip(words) {
        let mut at = 0;
        // Up to the end of the word, bits like the one at hand.
        while at < bits {
            let rest = word >> at;
            if let Some(first) = begun {
                at += (!rest).trailing_zeros().min(bits - at);
                if at < bits {
                    each(first, base + at);
                    begun = None;
                }
            } else {
                at += rest.trailing_zeros().min(bits - at);
                begun = (at < bits).then_some(base + at);
            }
        }
    }
    if let Some(first) = begun {
        each(first, words.len() as u32 * bits);
    }
}

/// Appends the bindings as runs in which column and series both rise by one.
fn put_bindings(out: &mut Vec<u8>, bindings: &[(u32, u32)]) {
    let mut runs: Vec<(u32, u32, u32)> = Vec::new();
    for (column, series) in bindings {
        match runs.last_mut() {
            Some((first, first_series, count))
                if *first + *count == *column && *first_series + *count == *series =>
            {
                *count += 1;
            }
            _ => runs.push((*column, *series, 1)),
        }
    }
    put_varint(runs.len() as u64, out);
    let (mut next, mut next_series) = (0, 0);
    for (column, series, count) in runs {
        put_varint(u64::from(column - next), out);
        put_zigzag(i64::from(series) - i64::from(next_series), out);
        put_varint(u64::from(count - 1), out);
        next = column + count;
        next_series = series.wrapping_add(count);
    }
}

/// Reads what [`put_cells`] wrote.
pub(super) fn cells(
    input: &mut Cursor<'_>,
    scratch: &mut Vec<u32>,
    changed: &mut Vec<(u32, Change)>,
    bound: &mut Vec<(u32, u32)>,
) -> Result<()> {
    scratch.clear();
    columns(input, scratch)?;
    changed.reserve(scratch.len());
    for column in scratch {
        changed.push((*column, Change::decode(input)?));
    }
    bindings(input, bound, changed.len())
}

/// The next run, (first, count), behind column `next`; moves that behind it.
fn run(input: &mut Cursor<'_>, next: &mut u32) -> Result<(u32, u32)> {
    let first = next.checked_add(small(input)?).ok_or(BAD)?;
    let count = small(input)?.checked_add(1).ok_or(BAD)?;
    *next = first.checked_add(count).ok_or(BAD)?;
    Ok((first, count))
}

pub(super) fn runs(input: &mut Cursor<'_>, out: &mut Vec<(u32, u32)>) -> Result<()> {
    let mut next = 0;
    for _ in 0..count(input)? {
        out.push(run(input, &mut next)?);
    }
    Ok(())
}

/// Reads the columns that changed. There are never more than bytes that follow, as each change takes
/// one.
fn columns(input: &mut Cursor<'_>, out: &mut Vec<u32>) -> Result<()> {
    match input.u8(RECORD)? {
        COLUMNS_GAPS => {
            let mut next = 0u32;
            for _ in 0..count(input)? {
                let column = next.checked_add(small(input)?).ok_or(BAD)?;
                next = column.checked_add(1).ok_or(BAD)?;
                out.push(column);
            }
        }
        COLUMNS_RUNS => {
            let mut next = 0;
            for _ in 0..count(input)? {
                let (first, count) = run(input, &mut next)?;
                if count as usize > input.rest().len() - out.len().min(input.rest().len()) {
                    return Err(BAD);
                }
                out.extend(first..next);
            }
        }
        COLUMNS_BITMAP => {
            let first = small(input)?;
            let len = count(input)?;
            let bitmap = input.take(len, RECORD)?;
            let end = u64::from(first) + 8 * len as u64;
            if end > u64::from(u32::MAX) {
                return Err(BAD);
            }
            for (index, byte) in bitmap.iter().enumerate() {
                let mut rest = *byte;
                while rest != 0 {
                    let column = first + 8 * index as u32 + rest.trailing_zeros();
                    out.push(column);
                    rest &= rest - 1;
                }
            }
        }
        _ => return Err(BAD),
    }
    if out.len() > input.rest().len() {
        return Err(BAD);
    }
    Ok(())
}

/// Reads bindings, at most `max`.
fn bindings(input: &mut Cursor<'_>, out: &mut Vec<(u32, u32)>, max: usize) -> Result<()> {
    let (mut next, mut next_series) = (0u32, 0u32);
    for _ in 0..count(input)? {
        let column = next.checked_add(small(input)?).ok_or(BAD)?;
        let series = near(input, next_series)?;
        let count = small(input)?.checked_add(1).ok_or(BAD)?;
        next = column.checked_add(count).ok_or(BAD)?;
        if count as usize > max - out.len() || series.checked_add(count - 1).is_none() {
            return Err(BAD);
        }
        next_series = series.wrapping_add(count);
        out.extend((0..count).map(|index| (column + index, series + index)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_those_of_single_bits() {
        for words in [
            &[][..],
            &[0],
            &[u64::MAX],
            &[u64::MAX, 1],
            &[1 << 63, 1, 0, u64::MAX, u64::MAX],
            &[0b1011_0110, 0, 0xf0f0 << 40, u64::MAX << 3, !0 >> 5],
        ] {
            let mut expected: Vec<(u32, u32)> = Vec::new();
            for bit in ones(words) {
                match expected.last_mut() {
                    Some((_, end)) if *end == bit => *end += 1,
                    _ => expected.push((bit, bit + 1)),
                }
            }
            let mut found = Vec::new();
            each_run(words, |first, end| found.push((first, end)));
            assert_eq!(found, expected, "{words:x?}");
        }
    }
}
