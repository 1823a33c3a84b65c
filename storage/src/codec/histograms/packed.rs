//! One histogram as bytes.
//!
//! | part | bytes |
//! |---|---|
//! | reset hint | 1 |
//! | sum | 8 |
//! | layout | length (varint) and bytes |
//! | integer counts: count and zero count; each bucket less the one before, of each side from 0 | varints; zigzags |
//! | float counts: count, zero count, buckets | value pages of 1024 and the rest, each with its length |

use std::{hash::BuildHasher, sync::Arc};

use super::{KnownLayout, put_layout, take};
use crate::{
    Counts, Histogram, HistogramCounts, InvalidHistogram, ResetHint, Timestamp,
    codec::{CodecError, Cursor, VALUES_MAX, ValuePage, encode_values, put_varint, put_zigzag},
    is_stale_marker,
};

const COUNTS: &str = "the counts of a histogram";
const SUM_AT: usize = 1;

/// A histogram at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PackedSample {
    pub(crate) time: Timestamp,
    pub(crate) histogram: PackedHistogram,
}

/// A histogram in a few bytes a bucket. Equal histograms, whatever their reset hints, have equal bytes
/// behind the first; so do equal layouts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PackedHistogram(Arc<[u8]>);

impl PackedHistogram {
    /// Of a histogram; staleness markers are all alike.
    ///
    /// # Errors
    /// [`InvalidHistogram`]: the store does not take it.
    pub(crate) fn new(histogram: &Histogram) -> Result<Self, InvalidHistogram> {
        histogram.validate()?;
        Ok(Self::of_valid(histogram))
    }

    /// Of a histogram that was packed before.
    pub(crate) fn of_valid(histogram: &Histogram) -> Self {
        let mut out = Vec::new();
        if histogram.is_stale() {
            Self::put(&Histogram::stale(), &mut out);
        } else {
            Self::put(histogram, &mut out);
        }
        Self(out.into())
    }

    fn put(histogram: &Histogram, out: &mut Vec<u8>) {
        out.push(histogram.reset_hint as u8);
        out.extend(histogram.sum.to_bits().to_le_bytes());
        let is_float = matches!(histogram.counts, HistogramCounts::Float(_));
        let mut layout = Vec::new();
        put_layout(&histogram.layout, is_float, &mut layout);
        put_varint(layout.len() as u64, out);
        out.extend(layout);
        match &histogram.counts {
            HistogramCounts::Integer(counts) => {
                put_varint(counts.count, out);
                put_varint(counts.zero, out);
                for side in [&counts.positive, &counts.negative] {
                    let mut before = 0_u64;
                    for count in side {
                        put_zigzag(count.wrapping_sub(before) as i64, out);
                        before = *count;
                    }
                }
            }
            HistogramCounts::Float(counts) => {
                let counts: Vec<f64> = counts.iter().copied().collect();
                let mut page = Vec::new();
                for part in counts.chunks(VALUES_MAX) {
                    page.clear();
                    encode_values(part, &mut page);
                    put_varint(page.len() as u64, out);
                    out.extend_from_slice(&page);
                }
            }
        }
    }

    /// Of bytes from outside, which are checked to be a histogram.
    ///
    /// # Errors
    /// [`CodecError`].
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, CodecError> {
        decode(bytes)?;
        Ok(Self(bytes.into()))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The histogram.
    pub(crate) fn histogram(&self) -> Histogram {
        decode(&self.0).expect("the bytes were checked when they came")
    }

    /// Whether it has the same buckets, or can stand among such: staleness markers can.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.is_stale() || self.layout() == other.layout()
    }

    /// The same with another hint.
    pub(crate) fn with_hint(&self, hint: ResetHint) -> Self {
        if self.0.first() == Some(&(hint as u8)) {
            return self.clone();
        }
        let mut bytes = self.0.to_vec();
        if let Some(first) = bytes.first_mut() {
            *first = hint as u8;
        }
        Self(bytes.into())
    }

    /// Its hint.
    pub(crate) fn hint(&self) -> ResetHint {
        let hint = self
            .0
            .first()
            .and_then(|hint| ResetHint::from_number(*hint));
        hint.unwrap_or_default()
    }

    fn layout(&self) -> Option<&[u8]> {
        let rest = self.0.get(SUM_AT + 8..)?;
        take(&mut Cursor::new(rest), super::LAYOUT).ok()
    }

    /// Whether the series ended here.
    pub(crate) fn is_stale(&self) -> bool {
        let sum = self.0.get(SUM_AT..).and_then(|rest| rest.first_chunk());
        sum.is_some_and(|sum| is_stale_marker(f64::from_le_bytes(*sum)))
    }

    /// Says in 64 bits what it is, its reset hint apart: stands where the bits of a float would when
    /// samples at the same time are compared.
    pub(crate) fn fingerprint(&self) -> u64 {
        const HASHER: foldhash::quality::FixedState = foldhash::quality::FixedState::with_seed(0);
        HASHER.hash_one(self.0.get(SUM_AT..).unwrap_or_default())
    }
}

fn decode(bytes: &[u8]) -> Result<Histogram, CodecError> {
    let mut cursor = Cursor::new(bytes);
    let expected = "the reset hint of a histogram";
    let reset_hint = ResetHint::from_number(cursor.u8(expected)?);
    let reset_hint = reset_hint.ok_or(CodecError { expected })?;
    let sum = f64::from_bits(cursor.u64("the sum of a histogram")?);
    let layout = KnownLayout::read(take(&mut cursor, super::LAYOUT)?)?;
    let counts = if layout.is_float {
        let mut values = vec![0.0; layout.columns()];
        for part in values.chunks_mut(VALUES_MAX) {
            let page = ValuePage::parse(take(&mut cursor, COUNTS)?)?;
            if page.len() != part.len() {
                return Err(CodecError { expected: COUNTS });
            }
            page.decode_range(0, part)?;
        }
        Counts::collect(values.into_iter(), layout.positive).map(HistogramCounts::Float)
    } else {
        let mut values = vec![cursor.varint(COUNTS)?, cursor.varint(COUNTS)?];
        for buckets in [layout.positive, layout.negative] {
            let mut before = 0_u64;
            for _ in 0..buckets {
                before = before.wrapping_add(cursor.zigzag(COUNTS)? as u64);
                values.push(before);
            }
        }
        Counts::collect(values.into_iter(), layout.positive).map(HistogramCounts::Integer)
    };
    cursor.end()?;
    Ok(Histogram {
        reset_hint,
        layout: layout.buckets,
        sum,
        counts: counts.ok_or(CodecError { expected: COUNTS })?,
    })
}
