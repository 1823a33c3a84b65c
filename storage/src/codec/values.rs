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
//! | kind 3 near: specials if flagged, the modes, a decimal column if any, the distances | varies |
//! | kind 4 + mode: specials if flagged, then the integer column | varies |
//! | kind 8 + mode: specials if flagged, where the lower page is, then the integer column | varies |
//!
//! A value of kind 4 is `integer / 10^exponent`, computed in `f64`: an exact division of two exact
//! numbers is what a correctly rounded decimal is, so the bits are those that were parsed from text.
//!
//! A value of kind 3 lies so many doubles (units in the last place) above such a quotient, or above 0
//! where there is no decimal column. Sums of decimals are like that: each addition rounds, and the
//! result strays from the decimal by a few units, slowly. The idea is pcodec's float multiplier.

//!
//! A page of kind 8 stores whole numbers as what they are above those of another page, see [`above`].

mod above;
mod encode;
mod specials;

pub(crate) use above::{CHAIN_MAX, WholeNumbers};
pub(crate) use encode::encode_values;

use self::{above::Above, specials::Specials};
use super::{
    bytes::{CodecError, Cursor},
    decimal::Scale,
    integers::{Integers, Mode, PIECE_MAX, Piece, in_pieces},
};

/// Most values of a page.
pub(crate) const VALUES_MAX: usize = 1024;

const VERSION: u8 = 1;

const KIND_CONSTANT_BITS: u8 = 0;
const KIND_CONSTANT_INTEGER: u8 = 1;
const KIND_RAW: u8 = 2;
const KIND_NEAR: u8 = 3;
const KIND_INTEGERS: u8 = 4;
const KIND_ABOVE: u8 = 8;

const HAS_STALE_MARKERS: u8 = 0x80;
const HAS_SPECIALS: u8 = 0x40;
const EXPONENT: u8 = 0x3f;

/// In the place of the mode of a column that is not there.
const NO_DECIMALS: u8 = 0xf;

/// The place of a double among all doubles in order, from that of +0; −0 is just below. Its own
/// inverse, for bits.
const fn order(bits: u64) -> u64 {
    bits ^ (((bits as i64 >> 63) as u64) >> 1)
}

/// Replaces each value by the double so many places above it.
fn step_up(values: &mut [f64], distances: &[i64]) {
    // The order of positive doubles is that of their bits, which is all that most pages need.
    let mut signs = 0;
    for (value, distance) in values.iter_mut().zip(distances) {
        let above = value.to_bits().wrapping_add(*distance as u64);
        signs |= value.to_bits() | above;
        *value = f64::from_bits(above);
    }
    if signs >> 63 == 0 {
        return;
    }
    for (value, distance) in values.iter_mut().zip(distances) {
        let distance = *distance as u64;
        let place = order(value.to_bits().wrapping_sub(distance));
        *value = f64::from_bits(order(place.wrapping_add(distance)));
    }
}

/// Puts a value into every place. Copying what was filled is quicker than storing value by value: the
/// system's copy moves as many bytes at once as the processor can.
pub(crate) fn fill(out: &mut [f64], value: f64) {
    const FIRST: usize = 32;
    const COPIED_MAX: usize = 512;
    if value.to_bits() == 0 {
        // Known to be zeros, it is the system's as well.
        out.fill(0.0);
        return;
    }
    let (first, rest) = out.split_at_mut(out.len().min(FIRST));
    first.fill(value);
    let mut left = rest.len();
    while left > 0 {
        let filled = out.len() - left;
        let more = filled.min(left).min(COPIED_MAX);
        out.copy_within(..more, filled);
        left -= more;
    }
}

/// The bytes of a page, behind those that lie before it in its frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PageBytes<'a> {
    /// Up to the end of the page.
    frame: &'a [u8],
    start: usize,
}

impl<'a> PageBytes<'a> {
    /// The page at these places of a frame; `None`: they are not in it.
    #[inline]
    pub(crate) fn new(frame: &'a [u8], start: usize, bytes: usize) -> Option<Self> {
        let frame = frame.get(..start.checked_add(bytes)?)?;
        Some(Self { frame, start })
    }

    /// The page alone.
    #[inline]
    pub(crate) fn own(&self) -> &'a [u8] {
        self.frame.get(self.start..).unwrap_or_default()
    }

    /// The page of so many bytes that begins so many bytes before this one; `None`: there is none.
    fn before(&self, back: usize, bytes: usize) -> Option<Self> {
        let start = self.start.checked_sub(back)?;
        let is_before = bytes <= back;
        Self::new(self.frame, start, bytes).filter(|_| is_before)
    }

    /// Whether it is stored above another page, without which its bytes mean nothing.
    pub(crate) fn is_above(&self) -> bool {
        let kind = self.own().first().map(|head| head & 0xf);
        kind.is_some_and(|kind| kind >= KIND_ABOVE)
    }
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
    Near {
        decimals: Option<Integers<'a>>,
        scale: &'static Scale,
        distances: Integers<'a>,
        specials: Specials<'a>,
    },
    Above {
        above: Above<'a>,
        specials: Specials<'a>,
    },
}

impl<'a> ValuePage<'a> {
    /// Checks a page that lies in no frame: as [`ValuePage::parse_in`].
    ///
    /// # Errors
    /// [`CodecError`] says what was expected.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, CodecError> {
        Self::parse_in(PageBytes {
            frame: bytes,
            start: 0,
        })
    }

    /// Checks the head of a page, its specials and all lengths but those of blocks, which are checked
    /// when they are decoded, as a lower page is: the bytes must hold the page and nothing else.
    ///
    /// # Errors
    /// [`CodecError`] says what was expected.
    pub(crate) fn parse_in(page: PageBytes<'a>) -> Result<Self, CodecError> {
        let mut cursor = Cursor::new(page.own());
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
            KIND_NEAR => Self::parse_near(len, flags, scale, cursor)?,
            kind => {
                let unknown = CodecError {
                    expected: "a page of a known kind",
                };
                let is_above = kind >= KIND_ABOVE;
                let base = if is_above { KIND_ABOVE } else { KIND_INTEGERS };
                let mode = Mode::from_code(kind.wrapping_sub(base)).ok_or(unknown)?;
                let specials = Specials::parse(len, flags, &mut cursor)?;
                if is_above {
                    if flags & EXPONENT != 0 {
                        return Err(CodecError {
                            expected: "whole numbers above a lower page",
                        });
                    }
                    let above = Above::parse(mode, len, page, cursor)?;
                    Body::Above { above, specials }
                } else {
                    Body::Integers {
                        integers: Integers::parse(mode, len, cursor)?,
                        scale,
                        specials,
                    }
                }
            }
        };
        Ok(Self { len, body })
    }

    fn parse_near(
        len: usize,
        flags: u8,
        scale: &'static Scale,
        mut cursor: Cursor<'a>,
    ) -> Result<Body<'a>, CodecError> {
        let specials = Specials::parse(len, flags, &mut cursor)?;
        let modes = cursor.u8("the modes of a page of near decimals")?;
        let unknown = CodecError {
            expected: "known modes of a page of near decimals",
        };
        let decimals = if modes >> 4 == NO_DECIMALS {
            None
        } else {
            let mode = Mode::from_code(modes >> 4).ok_or(unknown)?;
            let bytes = cursor.varint("the length of a column of decimals")?;
            let column = cursor.take(
                usize::try_from(bytes).unwrap_or(usize::MAX),
                "a column of decimals",
            )?;
            Some(Integers::parse(mode, len, Cursor::new(column))?)
        };
        let mode = Mode::from_code(modes & 0xf).ok_or(unknown)?;
        Ok(Body::Near {
            decimals,
            scale,
            distances: Integers::parse(mode, len, cursor)?,
            specials,
        })
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
            Body::Constant(value) => fill(out, *value),
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
                specials.fill(skip, out)?;
            }
            Body::Above { above, specials } => {
                above.decode(self.len, skip, out)?;
                specials.fill(skip, out)?;
            }
            Body::Near {
                decimals,
                scale,
                distances,
                specials,
            } => {
                let mut decimals = decimals.as_ref().map(Integers::reader);
                let mut distances = distances.reader();
                in_pieces(self.len, skip, out, |piece| {
                    let piece = match piece {
                        Piece::Read(piece) => piece,
                        Piece::Pass(len) => {
                            let decimals = decimals.as_mut().map(|decimals| decimals.pass(len));
                            decimals.transpose()?;
                            return distances.pass(len);
                        }
                    };
                    match &mut decimals {
                        Some(decimals) => decimals.read(piece, scale)?,
                        None => piece.fill(0.0),
                    }
                    let mut above = [0; PIECE_MAX];
                    let above = above.get_mut(..piece.len()).unwrap_or_default();
                    distances.read(above, &())?;
                    step_up(piece, above);
                    Ok(())
                })?;
                specials.fill(skip, out)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stale_marker;

    #[test]
    fn filling_reaches_every_place_and_no_other() {
        for value in [0.0, -0.0, 1.5, stale_marker()] {
            for len in [
                0, 1, 31, 32, 33, 63, 64, 65, 100, 511, 544, 1024, 1100, 5000,
            ] {
                let mut places = vec![7.0; len + 1];
                fill(&mut places[..len], value);
                let filled = places.iter().filter(|v| v.to_bits() == value.to_bits());
                assert_eq!((filled.count(), places[len]), (len, 7.0), "{value} {len}");
            }
        }
    }
}
