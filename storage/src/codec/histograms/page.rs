//! Histograms of one layout as a page of columns.
//!
//! | part | bytes |
//! |---|---|
//! | version in the high half; reset hint of all, or 4 | 1 |
//! | samples - 1 | varint |
//! | reset hints, two bits a sample, lowest first | if 4 |
//! | layout | length (varint) and bytes |
//! | sums | length and value page |
//! | count, zero count, buckets of both sides | a column each |
//!
//! A column of float counts is its length and a value page; of integer counts its length, one byte (mode
//! of the integer column; 0x80: less the bucket before, on the same side) and the integer column.

use super::{KnownLayout, put_layout, take};
use crate::{
    Counts, HistogramColumns, HistogramCounts, ResetHint,
    codec::{
        CodecError, Cursor, VALUES_MAX, ValuePage, encode_values,
        integers::{self, Integers, Mode},
        put_varint,
    },
};

const VERSION: u8 = 1;
/// In the place of the hint of all samples: each has its own.
const OWN_HINTS: u8 = 4;
/// The column is less that of the bucket before.
const LESS_BEFORE: u8 = 0x80;

/// Counts of a page with more than one sample, so that a page is far shorter than a frame may be.
const COUNTS_MAX: usize = 1 << 16;

const PAGE: &str = "a page of histograms";
const BAD: CodecError = CodecError { expected: PAGE };

/// How many samples with these columns a page may have.
pub(crate) fn rows_of_page(columns: &HistogramColumns) -> usize {
    let columns = match &columns.counts {
        HistogramCounts::Integer(counts) => counts.iter().count(),
        HistogramCounts::Float(counts) => counts.iter().count(),
    };
    rows_max(columns)
}

fn rows_max(columns: usize) -> usize {
    (COUNTS_MAX / columns.max(1)).clamp(1, VALUES_MAX)
}

/// Appends a page of 1 to [`rows_of_page`] samples.
///
/// # Panics
/// When there are none or too many.
pub(crate) fn encode_histograms(columns: &HistogramColumns, out: &mut Vec<u8>) {
    assert!(
        (1..=rows_of_page(columns)).contains(&columns.len()),
        "a page of histograms has samples, and not too many"
    );
    let hints = &columns.reset_hints;
    let first = hints.first().copied().unwrap_or_default();
    let is_same = hints.iter().all(|hint| *hint == first);
    let hint = if is_same { first as u8 } else { OWN_HINTS };
    out.push(VERSION << 4 | hint);
    put_varint(columns.len() as u64 - 1, out);
    if !is_same {
        out.extend(hints.chunks(4).map(|four| {
            let bits = four.iter().rev();
            bits.fold(0, |byte, hint| byte << 2 | *hint as u8)
        }));
    }
    let is_float = matches!(columns.counts, HistogramCounts::Float(_));
    let mut part = Vec::new();
    put_layout(&columns.layout, is_float, &mut part);
    put_part(&mut part, out);
    encode_values(&columns.sums, &mut part);
    put_part(&mut part, out);
    match &columns.counts {
        HistogramCounts::Float(counts) => {
            for column in counts.iter() {
                encode_values(column, &mut part);
                put_part(&mut part, out);
            }
        }
        HistogramCounts::Integer(counts) => {
            let mut other = Vec::new();
            for column in [&counts.count, &counts.zero] {
                put_integers(column, &mut part);
                put_part(&mut part, out);
            }
            for side in [&counts.positive, &counts.negative] {
                let mut before: Option<&Vec<u64>> = None;
                for column in side {
                    put_integers(column, &mut part);
                    if let Some(before) = before {
                        let less = column.iter().zip(before).map(|(a, b)| a.wrapping_sub(*b));
                        let less: Vec<u64> = less.collect();
                        other.clear();
                        put_integers(&less, &mut other);
                        if other.len() < part.len()
                            && let Some(head) = other.first_mut()
                        {
                            *head |= LESS_BEFORE;
                            std::mem::swap(&mut part, &mut other);
                        }
                    }
                    put_part(&mut part, out);
                    before = Some(column);
                }
            }
        }
    }
}

/// Appends a part with its length, and empties it.
fn put_part(part: &mut Vec<u8>, out: &mut Vec<u8>) {
    put_varint(part.len() as u64, out);
    out.append(part);
}

fn put_integers(column: &[u64], out: &mut Vec<u8>) {
    // Differences wrap, so the sign is of no matter.
    let integers: Vec<i64> = column.iter().map(|count| *count as i64).collect();
    let head = out.len();
    out.push(0);
    let mode = integers::encode(&integers, out);
    if let Some(byte) = out.get_mut(head) {
        *byte = mode.code();
    }
}

/// Reads a page, which is all of the bytes.
///
/// # Errors
/// [`CodecError`].
pub(crate) fn decode_histograms(bytes: &[u8]) -> Result<HistogramColumns, CodecError> {
    let mut cursor = Cursor::new(bytes);
    let head = cursor.u8(PAGE)?;
    if head >> 4 != VERSION {
        return Err(CodecError {
            expected: "a page of histograms of version 1",
        });
    }
    let len = usize::try_from(cursor.varint(PAGE)?).map_err(|_| BAD)?;
    let len = len
        .checked_add(1)
        .filter(|len| *len <= VALUES_MAX)
        .ok_or(BAD)?;
    let mut reset_hints = Vec::with_capacity(len);
    if head & 0xf == OWN_HINTS {
        let hints = cursor.take(len.div_ceil(4), PAGE)?;
        for four in hints {
            let hints = (0..4).map(|at| ResetHint::from_number(four >> (2 * at) & 3));
            reset_hints.extend(hints.flatten());
        }
        let mut padding = reset_hints.drain(len..);
        if !padding.all(|hint| hint == ResetHint::Unknown) {
            return Err(BAD);
        }
    } else {
        let hint = ResetHint::from_number(head & 0xf).ok_or(BAD)?;
        reset_hints.resize(len, hint);
    }
    let layout = KnownLayout::read(take(&mut cursor, PAGE)?)?;
    if len > rows_max(layout.columns()) {
        return Err(BAD);
    }
    let sums = read_values(&mut cursor, len)?;
    let counts = if layout.is_float {
        let columns = (0..layout.columns()).map(|_| read_values(&mut cursor, len));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        Counts::collect(columns.into_iter(), layout.positive).map(HistogramCounts::Float)
    } else {
        let mut columns: Vec<Vec<u64>> = Vec::with_capacity(layout.columns());
        for index in 0..layout.columns() {
            let is_first = index <= 2 || index == 2 + layout.positive;
            let before = columns.last().filter(|_| !is_first);
            let column = read_integers(&mut cursor, len, before)?;
            columns.push(column);
        }
        Counts::collect(columns.into_iter(), layout.positive).map(HistogramCounts::Integer)
    };
    cursor.end()?;
    Ok(HistogramColumns {
        layout: layout.buckets,
        reset_hints,
        sums,
        counts: counts.ok_or(BAD)?,
    })
}

fn read_values(cursor: &mut Cursor<'_>, len: usize) -> Result<Vec<f64>, CodecError> {
    let page = ValuePage::parse(take(cursor, PAGE)?)?;
    if page.len() != len {
        return Err(BAD);
    }
    let mut values = vec![0.0; len];
    page.decode_range(0, &mut values)?;
    Ok(values)
}

fn read_integers(
    cursor: &mut Cursor<'_>,
    len: usize,
    before: Option<&Vec<u64>>,
) -> Result<Vec<u64>, CodecError> {
    let mut column = Cursor::new(take(cursor, PAGE)?);
    let head = column.u8(PAGE)?;
    let mode = Mode::from_code(head & !LESS_BEFORE).ok_or(BAD)?;
    let mut integers = vec![0_i64; len];
    Integers::parse(mode, len, column)?.decode(0, &mut integers, &())?;
    let mut counts: Vec<u64> = integers.into_iter().map(|count| count as u64).collect();
    if head & LESS_BEFORE != 0 {
        for (count, before) in counts.iter_mut().zip(before.ok_or(BAD)?) {
            *count = count.wrapping_add(*before);
        }
    }
    Ok(counts)
}
