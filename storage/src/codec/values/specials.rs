//! Values of a page that its columns cannot hold: where they are and their bits.

use super::{HAS_SPECIALS, VALUES_MAX};
use crate::{
    STALE_MARKER_BITS,
    codec::bytes::{CodecError, Cursor, put_varint},
};

/// Codes of a special, in the low two bits of its place.
const SPECIAL_STALE: u64 = 0;
const SPECIAL_REPEATED: u64 = 1;
const SPECIAL_BITS: u64 = 2;

/// Appends the list of some values: their indexes, ascending, and bits.
pub(super) fn put_specials(specials: &[(usize, u64)], out: &mut Vec<u8>) {
    put_varint(specials.len() as u64 - 1, out);
    let mut next = 0;
    let mut previous = None;
    for &(index, bits) in specials {
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

/// The checked list of a page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Specials<'a> {
    count: usize,
    cursor: Cursor<'a>,
}

impl<'a> Specials<'a> {
    /// Checks the list of a page of `len` values, if the flags say that there is one, and leaves the
    /// cursor behind it.
    pub(super) fn parse(
        len: usize,
        flags: u8,
        cursor: &mut Cursor<'a>,
    ) -> Result<Self, CodecError> {
        if flags & HAS_SPECIALS == 0 {
            return Ok(Self {
                count: 0,
                cursor: Cursor::new(&[]),
            });
        }
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

    /// Puts the specials among `skip .. skip + out.len()` into their places.
    pub(super) fn fill(&self, skip: usize, out: &mut [f64]) -> Result<(), CodecError> {
        if self.count == 0 {
            return Ok(());
        }
        self.each(|index, bits| {
            if let Some(place) = index.checked_sub(skip).and_then(|at| out.get_mut(at)) {
                *place = f64::from_bits(bits);
            }
        })?;
        Ok(())
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
