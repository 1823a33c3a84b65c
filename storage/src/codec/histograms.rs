//! Native histograms as bytes: one by itself ([`PackedHistogram`]: in memory and in the log), and many of
//! one layout as a page of columns ([`encode_histograms`], [`decode_histograms`]).
//!
//! Spans, bounds and flavour are the *layout* and come first, written in one way only: histograms have the
//! same buckets if and only if these bytes are equal.

mod packed;
mod page;
#[cfg(test)]
mod tests;

pub(crate) use packed::{PackedHistogram, PackedSample};
pub(crate) use page::{decode_histograms, encode_histograms, rows_of_page};

use super::bytes::{CodecError, Cursor, put_varint, put_zigzag};
use crate::{CUSTOM_BUCKETS_SCHEMA, HistogramLayout, Span, model::BUCKETS_MAX};

/// The counts are floats.
const FLOAT: u8 = 0x01;
/// The zero threshold follows; otherwise it is +0.
const THRESHOLD: u8 = 0x02;

const LAYOUT: &str = "the layout of a histogram";
const BAD_LAYOUT: CodecError = CodecError { expected: LAYOUT };

/// Appends a layout, in its fewest spans.
fn put_layout(layout: &HistogramLayout, is_float: bool, out: &mut Vec<u8>) {
    let layout = layout.in_fewest_spans();
    let has_threshold = layout.zero_threshold.to_bits() != 0;
    let flag = |on: bool, flag: u8| if on { flag } else { 0 };
    out.push(flag(is_float, FLOAT) | flag(has_threshold, THRESHOLD));
    put_zigzag(i64::from(layout.schema), out);
    if has_threshold {
        out.extend(layout.zero_threshold.to_bits().to_le_bytes());
    }
    for spans in [&layout.positive_spans, &layout.negative_spans] {
        put_varint(spans.len() as u64, out);
        for span in spans {
            put_zigzag(i64::from(span.offset), out);
            put_varint(u64::from(span.length), out);
        }
    }
    if layout.schema == CUSTOM_BUCKETS_SCHEMA {
        put_varint(layout.custom_bounds.len() as u64, out);
        for bound in &layout.custom_bounds {
            out.extend(bound.to_bits().to_le_bytes());
        }
    }
}

/// A layout as it was read.
#[derive(Debug)]
struct KnownLayout {
    buckets: HistogramLayout,
    is_float: bool,
    positive: usize,
    negative: usize,
}

impl KnownLayout {
    /// Reads a layout, which is all of the bytes.
    fn read(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut cursor = Cursor::new(bytes);
        let flags = cursor.u8(LAYOUT)?;
        let schema = i8::try_from(cursor.zigzag(LAYOUT)?).map_err(|_| BAD_LAYOUT)?;
        let is_known = schema == CUSTOM_BUCKETS_SCHEMA || (-4..=8).contains(&schema);
        if flags & !(FLOAT | THRESHOLD) != 0 || !is_known {
            return Err(BAD_LAYOUT);
        }
        let zero_threshold = if flags & THRESHOLD != 0 {
            f64::from_bits(cursor.u64(LAYOUT)?)
        } else {
            0.0
        };
        let (positive_spans, positive) = read_spans(&mut cursor)?;
        let (negative_spans, negative) = read_spans(&mut cursor)?;
        let mut custom_bounds = Vec::new();
        if schema == CUSTOM_BUCKETS_SCHEMA {
            for _ in 0..count(&mut cursor)? {
                custom_bounds.push(f64::from_bits(cursor.u64(LAYOUT)?));
            }
        }
        cursor.end()?;
        if positive + negative > BUCKETS_MAX {
            return Err(BAD_LAYOUT);
        }
        let buckets = HistogramLayout {
            schema,
            zero_threshold,
            positive_spans,
            negative_spans,
            custom_bounds,
        };
        Ok(Self {
            buckets,
            is_float: flags & FLOAT != 0,
            positive,
            negative,
        })
    }

    /// Columns of counts: count, zero count, buckets.
    fn columns(&self) -> usize {
        2 + self.positive + self.negative
    }
}

/// A count of things of a layout, never more than there may be buckets.
fn count(cursor: &mut Cursor<'_>) -> Result<usize, CodecError> {
    let count = usize::try_from(cursor.varint(LAYOUT)?).ok();
    count
        .filter(|count| *count <= BUCKETS_MAX)
        .ok_or(BAD_LAYOUT)
}

/// Reads spans and the number of their buckets. Every index of a bucket fits.
fn read_spans(cursor: &mut Cursor<'_>) -> Result<(Vec<Span>, usize), CodecError> {
    let mut spans = Vec::new();
    let (mut buckets, mut end) = (0, 0_i64);
    for _ in 0..count(cursor)? {
        let offset = i32::try_from(cursor.zigzag(LAYOUT)?).map_err(|_| BAD_LAYOUT)?;
        let length = count(cursor)?;
        buckets += length;
        end += i64::from(offset) + length as i64;
        let is_apart = spans.is_empty() || offset > 0;
        if length == 0 || !is_apart || end >= i64::from(i32::MAX) || buckets > BUCKETS_MAX {
            return Err(BAD_LAYOUT);
        }
        spans.push(Span {
            offset,
            length: length as u32,
        });
    }
    Ok((spans, buckets))
}

/// A length and that many bytes.
fn take<'a>(cursor: &mut Cursor<'a>, expected: &'static str) -> Result<&'a [u8], CodecError> {
    let len = usize::try_from(cursor.varint(expected)?);
    cursor.take(len.unwrap_or(usize::MAX), expected)
}
