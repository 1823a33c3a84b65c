//! Value pages: up to 1024 values of one series.
//!
//! Most values of real series are decimals: an integer and a power of ten, the same for the whole
//! page. Such a page stores integers, and the few values that are not of that form (staleness
//! markers, other NaNs, infinities, negative zero, odd floats) in a list beside them. Whatever does
//! not fit is stored as it is.
//!
//! Layout, after ALP's and Gorilla's observations but neither's format:
//!
//! | part | bytes |
//! |---|---|
//! | version (high half, 1) and kind (low half) | 1 |
//! | flags (0x80 has staleness markers, 0x40 has specials) and exponent (0 to 18) | 1 |
//! | count - 1 | varint |
//! | kind 0 constant: the bits | 8 |
//! | kind 1 constant: the integer | zigzag varint |
//! | kind 2 raw: the bits of each | 8 each |
//! | kind 4 + mode: specials if flagged, then the integer column | varies |
//!
//! A value is `integer / 10^exponent`, computed in `f64`: an exact division of two exact numbers is
//! what a correctly rounded decimal is, so the bits are those that were parsed from text.

use super::{
    bytes::{CodecError, Cursor, put_varint, put_zigzag},
    decimal::{POWERS, Scale, as_integer, to_decimal},
    integers::{self, Integers, Mode},
};
use crate::{STALE_MARKER_BITS, is_stale_marker};

/// Most values of a page.
pub(crate) const VALUES_MAX: usize = 1024;

const VERSION: u8 = 1;

const KIND_CONSTANT_BITS: u8 = 0;
const KIND_CONSTANT_INTEGER: u8 = 1;
const KIND_RAW: u8 = 2;
const KIND_INTEGERS: u8 = 4;

const HAS_STALE_MARKERS: u8 = 0x80;
const HAS_SPECIALS: u8 = 0x40;
const EXPONENT: u8 = 0x3f;

/// Codes of a special, in the low two bits of its place.
const SPECIAL_STALE: u64 = 0;
const SPECIAL_REPEATED: u64 = 1;
const SPECIAL_BITS: u64 = 2;

/// The exponent at which most values are integers; `None` when too many are not.
fn exponent(values: &[f64]) -> Option<usize> {
    let mut exponent = 0;
    let mut odd = 0;
    let mut previous = None;
    for (index, &value) in values.iter().enumerate() {
        if previous == Some(value.to_bits()) {
            continue;
        }
        previous = Some(value.to_bits());
        if !value.is_finite() || value.to_bits() == (-0.0_f64).to_bits() {
            continue;
        }
        let fits = |candidate: &usize| {
            POWERS
                .get(*candidate)
                .is_some_and(|power| as_integer(value, *power).is_some())
        };
        match (exponent..POWERS.len()).find(fits) {
            Some(found) => exponent = found,
            None => {
                odd += 1;
                if odd > 16 + index / 8 {
                    return None;
                }
            }
        }
    }
    Some(exponent)
}

/// Appends a page of 1 to [`VALUES_MAX`] values; every bit pattern is kept.
///
/// # Panics
/// When there are none or too many.
pub(crate) fn encode_values(values: &[f64], out: &mut Vec<u8>) {
    assert!(
        (1..=VALUES_MAX).contains(&values.len()),
        "a page has 1 to {VALUES_MAX} values"
    );
    let stale = if values.iter().any(|value| is_stale_marker(*value)) {
        HAS_STALE_MARKERS
    } else {
        0
    };
    let start = out.len();
    if let Some(constant) = constant(values) {
        encode_constant(constant, stale, values.len(), out);
        return;
    }
    if let Some(exponent) = exponent(values)
        && encode_integers(values, exponent, stale, out)
        && out.len() - start < values.len() * 8
    {
        return;
    }
    out.truncate(start);
    out.extend([VERSION << 4 | KIND_RAW, stale]);
    put_varint(values.len() as u64 - 1, out);
    for value in values {
        out.extend(value.to_bits().to_le_bytes());
    }
}

/// The one value of a page that has only one.
fn constant(values: &[f64]) -> Option<f64> {
    let (first, rest) = values.split_first()?;
    rest.iter()
        .all(|value| value.to_bits() == first.to_bits())
        .then_some(*first)
}

fn encode_constant(value: f64, stale: u8, len: usize, out: &mut Vec<u8>) {
    match to_decimal(value) {
        // Beyond 2^48 the varint is no shorter than the bits.
        Some((exponent, integer)) if integer.abs() < 1 << 48 => {
            out.extend([VERSION << 4 | KIND_CONSTANT_INTEGER, stale | exponent]);
            put_varint(len as u64 - 1, out);
            put_zigzag(integer, out);
        }
        _ => {
            out.extend([VERSION << 4 | KIND_CONSTANT_BITS, stale]);
            put_varint(len as u64 - 1, out);
            out.extend(value.to_bits().to_le_bytes());
        }
    }
}

/// Appends a page of integers and specials; `false` when no value is an integer (something may have
/// been appended then).
fn encode_integers(values: &[f64], exponent: usize, stale: u8, out: &mut Vec<u8>) -> bool {
    let Some(&power) = POWERS.get(exponent) else {
        return false;
    };
    let mut integers: Vec<i64> = Vec::with_capacity(values.len());
    let mut specials: Vec<(usize, u64)> = Vec::new();
    let mut leading = 0;
    for (index, value) in values.iter().enumerate() {
        match (as_integer(*value, power), integers.last()) {
            (Some(integer), _) => integers.push(integer),
            (None, last) => {
                specials.push((index, value.to_bits()));
                // A special's place repeats the integer before it, or the first one after it.
                match last {
                    Some(&last) => integers.push(last),
                    None => leading += 1,
                }
            }
        }
    }
    let Some(&first) = integers.first() else {
        return false;
    };
    integers.splice(0..0, std::iter::repeat_n(first, leading));
    let head = out.len();
    let has_specials = if specials.is_empty() { 0 } else { HAS_SPECIALS };
    out.extend([0, stale | has_specials | exponent as u8]);
    put_varint(values.len() as u64 - 1, out);
    if !specials.is_empty() {
        put_varint(specials.len() as u64 - 1, out);
        let mut next = 0;
        let mut previous = None;
        for (index, bits) in specials {
            let code = match bits {
                STALE_MARKER_BITS => SPECIAL_STALE,
                _ if previous == Some(bits) => SPECIAL_REPEATED,
                _ => SPECIAL_BITS,
            };
            put_varint(((index - next) as u64) << 2 | code, out);
            if code == SPECIAL_BITS {
                out.extend(bits.to_le_bytes());
            }
            next = index + 1;
            previous = Some(bits);
        }
    }
    let mode = integers::encode(&integers, out);
    if let Some(byte) = out.get_mut(head) {
        *byte = (VERSION << 4) | (KIND_INTEGERS + mode.code());
    }
    true
}

/// One encoded value page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ValuePage<'a> {
    len: usize,
    body: Body<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Body<'a> {
    Constant(f64),
    /// As many as the page has.
    Raw(&'a [[u8; 8]]),
    Integers {
        integers: Integers<'a>,
        scale: &'static Scale,
        specials: Specials<'a>,
    },
}

#[derive(Debug, Clone, Copy)]
struct Specials<'a> {
    count: usize,
    cursor: Cursor<'a>,
}

impl<'a> ValuePage<'a> {
    /// Checks the head of a page, its specials and all lengths but those of blocks, which are checked
    /// when they are decoded: the bytes must hold the page and nothing else.
    ///
    /// # Errors
    /// [`CodecError`] says what was expected.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, CodecError> {
        let mut cursor = Cursor::new(bytes);
        let head = cursor.u8("the version of a page")?;
        if head >> 4 != VERSION {
            return Err(CodecError {
                expected: "a page of version 1",
            });
        }
        let flags = cursor.u8("the flags of a page")?;
        let scale = Scale::of(usize::from(flags & EXPONENT)).ok_or(CodecError {
            expected: "an exponent of at most 18",
        })?;
        let len = cursor.varint("the length of a page")?;
        let len = usize::try_from(len).ok().filter(|len| *len < VALUES_MAX);
        let len = 1 + len.ok_or(CodecError {
            expected: "a page of at most 1024 values",
        })?;
        let body = match head & 0xf {
            KIND_CONSTANT_BITS => {
                let bits = cursor.u64("the value of a constant page")?;
                cursor.end()?;
                Body::Constant(f64::from_bits(bits))
            }
            KIND_CONSTANT_INTEGER => {
                let integer = cursor.zigzag("the integer of a constant page")?;
                cursor.end()?;
                Body::Constant(scale.value(integer))
            }
            KIND_RAW => {
                let values = cursor.take(len * 8, "the values of a raw page")?;
                cursor.end()?;
                Body::Raw(values.as_chunks().0)
            }
            kind => {
                let mode = kind.checked_sub(KIND_INTEGERS).and_then(Mode::from_code);
                let mode = mode.ok_or(CodecError {
                    expected: "a page of a known kind",
                })?;
                let specials = if flags & HAS_SPECIALS == 0 {
                    Specials {
                        count: 0,
                        cursor: Cursor::new(&[]),
                    }
                } else {
                    Specials::parse(len, &mut cursor)?
                };
                Body::Integers {
                    integers: Integers::parse(mode, len, cursor)?,
                    scale,
                    specials,
                }
            }
        };
        Ok(Self { len, body })
    }

    /// The number of values, 1 to [`VALUES_MAX`].
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Decodes the values `skip .. skip + out.len()` of the page.
    ///
    /// # Errors
    /// [`CodecError`] when the page has fewer values, or when bytes it reads are not what an encoder
    /// writes; `out` is then undefined.
    pub(crate) fn decode_range(&self, skip: usize, out: &mut [f64]) -> Result<(), CodecError> {
        if skip > self.len || out.len() > self.len - skip {
            return Err(CodecError {
                expected: "a page with more values",
            });
        }
        match &self.body {
            Body::Constant(value) => out.fill(*value),
            Body::Raw(values) => {
                for (to, bits) in out.iter_mut().zip(values.iter().skip(skip)) {
                    *to = f64::from_bits(u64::from_le_bytes(*bits));
                }
            }
            Body::Integers {
                integers,
                scale,
                specials,
            } => {
                integers.decode(skip, out, scale)?;
                specials.each(|index, bits| {
                    if let Some(place) = index.checked_sub(skip).and_then(|at| out.get_mut(at)) {
                        *place = f64::from_bits(bits);
                    }
                })?;
            }
        }
        Ok(())
    }

    /// The value at `index`. Constants cost nothing; of other pages the block that holds it is read,
    /// and in most modes those before it.
    ///
    /// # Errors
    /// [`CodecError`] when the page has fewer values or those bytes are not what an encoder writes.
    #[cfg_attr(not(test), allow(dead_code, reason = "wired by the querier"))]
    pub(crate) fn value_at(&self, index: usize) -> Result<f64, CodecError> {
        let mut value = [0.0];
        self.decode_range(index, &mut value)?;
        let [value] = value;
        Ok(value)
    }
}

impl<'a> Specials<'a> {
    fn parse(len: usize, cursor: &mut Cursor<'a>) -> Result<Self, CodecError> {
        let count = cursor.varint("the number of specials")?;
        let count = usize::try_from(count).ok().filter(|count| *count < len);
        let count = 1 + count.ok_or(CodecError {
            expected: "no more specials than values",
        })?;
        let specials = Self {
            count,
            cursor: *cursor,
        };
        let mut last = 0;
        *cursor = specials.each(|index, _| last = index)?;
        if last >= len {
            return Err(CodecError {
                expected: "specials within their page",
            });
        }
        Ok(specials)
    }

    /// Hands on index and bits of each special; returns the cursor behind them.
    fn each(&self, mut special: impl FnMut(usize, u64)) -> Result<Cursor<'a>, CodecError> {
        let mut cursor = self.cursor;
        let mut next = 0_usize;
        let mut bits = STALE_MARKER_BITS;
        for _ in 0..self.count {
            let place = cursor.varint("the place of a special")?;
            match place & 3 {
                SPECIAL_STALE => bits = STALE_MARKER_BITS,
                SPECIAL_REPEATED => {}
                SPECIAL_BITS => bits = cursor.u64("the bits of a special")?,
                _ => {
                    return Err(CodecError {
                        expected: "a special of a known kind",
                    });
                }
            }
            let index = usize::try_from(place >> 2)
                .ok()
                .and_then(|gap| next.checked_add(gap))
                .filter(|index| *index < VALUES_MAX)
                .ok_or(CodecError {
                    expected: "specials within their page",
                })?;
            special(index, bits);
            next = index + 1;
        }
        Ok(cursor)
    }
}
