//! How one value follows another, in as few bytes as its digits need.
//!
//! Counters and gauges that are integers or have few decimals are written as the difference of their
//! digits; everything else as the bits that differ. Any bits come back exactly, whatever both values
//! are. The codes are in `docs/wal.md`.
#![deny(clippy::indexing_slicing)]

use crate::{
    STALE_MARKER_BITS,
    codec::{CodecError, Cursor, unzigzag, zigzag},
};

/// Powers of ten that are exact, up to the longest fraction that is written as digits.
const POWERS: [f64; 13] = [
    1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12,
];
/// Integers below this are exact.
const INTEGER_END: u64 = 1 << 53;
/// With so many bits a product with a power of ten is off by less than a half.
const DIGITS_BITS: i64 = 50;
/// Most fractions are not longer.
const SHORT_FRACTION: u8 = 3;
/// The longest code: decimals, then eight bytes behind the first.
const CODE_BYTES_MAX: usize = 10;

const CODE_2: u8 = 128;
const CODE_3: u8 = 192;
const CODE_4: u8 = 208;
/// … of four to eight bytes.
const CODE_WIDE: u8 = 216;
const CODE_WIDE_LAST: u8 = 220;
/// … one decimal, up to the last power.
const CODE_DECIMALS: u8 = 224;
const CODE_DECIMALS_LAST: u8 = 235;
/// … no leading byte left out, up to seven.
const CODE_LEADING: u8 = 236;
const CODE_LEADING_LAST: u8 = 243;
/// … one trailing byte left out, up to seven.
const CODE_TRAILING: u8 = 244;
const CODE_TRAILING_LAST: u8 = 250;
const CODE_STALE: u8 = 251;

const EXPECTED: &str = "a changed value";

/// How a column's value differs from its last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// The difference of both values as integers of the last decimal.
    Step {
        /// How many decimals, at most 12.
        decimals: u8,
        difference: i64,
    },
    /// The bits in which they differ.
    Xor(u64),
    /// The new value is a staleness marker.
    Stale,
}

impl Change {
    /// The shortest way from the bits of one value to the next.
    #[inline]
    pub(crate) fn between(base: u64, bits: u64) -> Self {
        let value = f64::from_bits(bits);
        let integer = value as i64;
        if integer.unsigned_abs() < INTEGER_END && (integer as f64).to_bits() == bits {
            return Self::Step {
                decimals: 0,
                difference: integer.wrapping_sub(digits(base, 0)),
            };
        }
        Self::to_no_integer(base, bits)
    }

    /// The same to a value that is not an integer.
    fn to_no_integer(base: u64, bits: u64) -> Self {
        if bits == STALE_MARKER_BITS {
            return Self::Stale;
        }
        let xor = Self::Xor(base ^ bits);
        let Some((mut scaled, mut decimals)) = fraction(bits) else {
            return xor;
        };
        while decimals > 1 && scaled % 10 == 0 {
            scaled /= 10;
            decimals -= 1;
        }
        let step = Self::Step {
            decimals,
            difference: scaled.wrapping_sub(digits(base, decimals)),
        };
        if step.encoded_len() <= xor.encoded_len() {
            step
        } else {
            xor
        }
    }

    /// The next value's bits.
    pub(crate) fn apply(self, base: u64) -> u64 {
        match self {
            Self::Step {
                decimals,
                difference,
            } => value_of(digits(base, decimals).wrapping_add(difference), decimals),
            Self::Xor(bits) => base ^ bits,
            Self::Stale => STALE_MARKER_BITS,
        }
    }

    fn encoded_len(self) -> usize {
        match self {
            Self::Step {
                decimals,
                difference,
            } => {
                let bits = 64 - zigzag(difference).leading_zeros() as usize;
                let digits = match bits {
                    0..=7 => 1,
                    8..=14 => 2,
                    15..=20 => 3,
                    21..=27 => 4,
                    _ => 1 + bits.div_ceil(8),
                };
                usize::from(decimals > 0) + digits
            }
            Self::Xor(bits) => 1 + 8 - zero_bytes(bits).min(7),
            Self::Stale => 1,
        }
    }

    /// Appends the code.
    #[inline]
    pub(super) fn encode(self, out: &mut Vec<u8>) {
        match self {
            Self::Step {
                decimals: 0,
                difference,
            } => put_digits(zigzag(difference), out),
            _ => self.encode_other(out),
        }
    }

    /// The code and its length, the first byte lowest, if it has at most four bytes: as most differences of integers.
    #[inline]
    pub(super) fn short(self) -> Option<(u32, u32)> {
        let Self::Step {
            decimals: 0,
            difference,
        } = self
        else {
            return None;
        };
        let number = zigzag(difference);
        let (code, bytes) = short_digits(number)?;
        let rest = number as u32 & !(u32::MAX << (8 * bytes));
        Some((u32::from(code) | rest << 8, 1 + bytes))
    }

    /// Appends the code of what is no difference of integers.
    fn encode_other(self, out: &mut Vec<u8>) {
        match self {
            Self::Step {
                decimals,
                difference,
            } => {
                if decimals > 0 {
                    out.push(CODE_DECIMALS + decimals - 1);
                }
                put_digits(zigzag(difference), out);
            }
            Self::Xor(bits) => {
                let leading = (bits.leading_zeros() / 8).min(7);
                let trailing = (bits.trailing_zeros() / 8).min(7);
                if leading >= trailing {
                    put(out, CODE_LEADING + leading as u8, bits, 8 - leading);
                } else {
                    let code = CODE_TRAILING + trailing as u8 - 1;
                    put(out, code, bits >> (8 * trailing), 8 - trailing);
                }
            }
            Self::Stale => out.push(CODE_STALE),
        }
    }

    /// Reads what [`Change::encode`] wrote.
    #[inline]
    pub(super) fn decode(input: &mut Cursor<'_>) -> Result<Self, CodecError> {
        let error = CodecError { expected: EXPECTED };
        let rest = input.rest();
        let window = rest.first_chunk::<CODE_BYTES_MAX>().copied();
        let window = window.unwrap_or_else(|| {
            let mut last = [0; CODE_BYTES_MAX];
            for (to, from) in last.iter_mut().zip(rest) {
                *to = *from;
            }
            last
        });
        let (change, len) = Self::from_window(window).ok_or(error)?;
        input.take(len, EXPECTED)?;
        Ok(change)
    }

    /// The change at the start of the bytes and its length.
    #[inline]
    fn from_window(window: [u8; CODE_BYTES_MAX]) -> Option<(Self, usize)> {
        let [code, b1, b2, b3, b4, b5, b6, b7, b8, b9] = window;
        let rest = u64::from_le_bytes([b1, b2, b3, b4, b5, b6, b7, b8]);
        if code < CODE_DECIMALS {
            let (difference, len) = digits_after(code, rest)?;
            let decimals = 0;
            return Some((
                Self::Step {
                    decimals,
                    difference,
                },
                len,
            ));
        }
        Some(match code {
            CODE_DECIMALS..=CODE_DECIMALS_LAST => {
                let rest = u64::from_le_bytes([b2, b3, b4, b5, b6, b7, b8, b9]);
                let (difference, len) = digits_after(b1, rest)?;
                let decimals = code - CODE_DECIMALS + 1;
                (
                    Self::Step {
                        decimals,
                        difference,
                    },
                    1 + len,
                )
            }
            CODE_LEADING..=CODE_LEADING_LAST => {
                let left_out = u32::from(code - CODE_LEADING);
                let bits = rest << (8 * left_out) >> (8 * left_out);
                (Self::Xor(bits), 9 - left_out as usize)
            }
            CODE_TRAILING..=CODE_TRAILING_LAST => {
                let left_out = u32::from(code - CODE_TRAILING) + 1;
                (Self::Xor(rest << (8 * left_out)), 9 - left_out as usize)
            }
            CODE_STALE => (Self::Stale, 1),
            _ => return None,
        })
    }
}

/// The value as an integer of its last decimal, and how many decimals that are; `None` when it has more
/// digits than a number with so few bits.
fn fraction(bits: u64) -> Option<(i64, u8)> {
    let exact = |decimals: u8| {
        let scaled = digits(bits, decimals);
        (value_of(scaled, decimals) == bits).then_some((scaled, decimals))
    };
    // Below two to the power of this.
    let power = (bits >> 52 & 0x7ff) as i64 - 1022;
    // As many decimals as keep the product exact: 77/256 is just below the logarithm of two.
    let longest = (((DIGITS_BITS - power) * 77) >> 8).clamp(0, POWERS.len() as i64 - 1) as u8;
    match longest {
        0 => None,
        1..=SHORT_FRACTION => exact(longest),
        _ => exact(SHORT_FRACTION).or_else(|| exact(longest)),
    }
}

/// The value as an integer of its last decimal; anything at all for a value that is none, but always
/// the same.
fn digits(bits: u64, decimals: u8) -> i64 {
    let value = f64::from_bits(bits);
    match POWERS.get(usize::from(decimals)) {
        Some(power) if decimals > 0 => {
            let scaled = value * power;
            (scaled + 0.5f64.copysign(scaled)) as i64
        }
        _ => value as i64,
    }
}

fn value_of(digits: i64, decimals: u8) -> u64 {
    let value = digits as f64;
    match POWERS.get(usize::from(decimals)) {
        Some(power) if decimals > 0 => (value / power).to_bits(),
        _ => value.to_bits(),
    }
}

/// How many bytes at one end of the eight are zero.
fn zero_bytes(bits: u64) -> usize {
    bits.leading_zeros().max(bits.trailing_zeros()) as usize / 8
}

#[inline]
fn put_digits(number: u64, out: &mut Vec<u8>) {
    let (code, bytes) = short_digits(number).unwrap_or_else(|| {
        let bytes = (u64::BITS - number.leading_zeros()).div_ceil(8);
        (CODE_WIDE + bytes as u8 - 4, bytes)
    });
    put(out, code, number, bytes);
}

/// The first byte of a number of at most 27 bits, and how many bytes follow.
#[inline]
fn short_digits(number: u64) -> Option<(u8, u32)> {
    match u64::BITS - number.leading_zeros() {
        0..=7 => Some((number as u8, 0)),
        8..=14 => Some((CODE_2 | (number >> 8) as u8, 1)),
        15..=20 => Some((CODE_3 | (number >> 16) as u8, 2)),
        21..=27 => Some((CODE_4 | (number >> 24) as u8, 3)),
        _ => None,
    }
}

/// Appends a code and the lowest bytes of `rest`.
#[inline]
fn put(out: &mut Vec<u8>, code: u8, rest: u64, bytes: u32) {
    let [b0, b1, b2, b3, b4, b5, b6, b7] = rest.to_le_bytes();
    let end = out.len() + 1 + bytes as usize;
    // A copy of a fixed length costs less than one of a few bytes.
    out.extend_from_slice(&[code, b0, b1, b2, b3, b4, b5, b6, b7]);
    out.truncate(end);
}

/// By the first byte: how many bytes follow it, and which bits of it belong to the number. Nine bytes:
/// no number begins so.
#[expect(
    clippy::indexing_slicing,
    reason = "bounded by the loop, when compiling"
)]
static DIGITS: [(u8, u8); 256] = {
    let mut digits = [(9, 0); 256];
    let mut code = 0;
    while code < digits.len() {
        digits[code] = match code as u8 {
            0..CODE_2 => (0, 127),
            CODE_2..CODE_3 => (1, 63),
            CODE_3..CODE_4 => (2, 15),
            CODE_4..CODE_WIDE => (3, 7),
            CODE_WIDE..=CODE_WIDE_LAST => (code as u8 - CODE_WIDE + 4, 0),
            _ => (9, 0),
        };
        code += 1;
    }
    digits
};

/// The number whose first byte is `code` and the next ones `rest`, and its length. Without branches,
/// as lengths follow no pattern.
fn digits_after(code: u8, rest: u64) -> Option<(i64, usize)> {
    let (bytes, high) = DIGITS.get(usize::from(code)).copied()?;
    if bytes > 8 {
        return None;
    }
    let shift = 8 * u32::from(bytes);
    let low = rest & !(u64::MAX.checked_shl(shift).unwrap_or(0));
    let number = u64::from(code & high).wrapping_shl(shift) | low;
    Some((unzigzag(number), 1 + usize::from(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the change takes in bytes; it must come back.
    fn check(base: f64, value: f64) -> usize {
        let change = Change::between(base.to_bits(), value.to_bits());
        let mut bytes = Vec::new();
        change.encode(&mut bytes);
        assert_eq!(bytes.len(), change.encoded_len(), "{base} to {value}");
        let mut input = Cursor::new(&bytes);
        assert_eq!(Change::decode(&mut input), Ok(change));
        assert_eq!(input.rest(), &[0u8; 0]);
        let back = change.apply(base.to_bits());
        assert_eq!(back, value.to_bits(), "{base} to {value}");
        for len in 0..bytes.len() {
            assert!(Change::decode(&mut Cursor::new(&bytes[..len])).is_err());
        }
        bytes.len()
    }

    #[test]
    fn a_change_takes_what_its_digits_need() {
        for (base, value, bytes) in [
            (0.0, 0.0, 1),
            (1e15, 1e15 + 63.0, 1),
            (1e15, 1e15 - 64.0, 1),
            (0.0, 64.0, 2),
            (0.0, 8191.0, 2),
            (0.0, 8192.0, 3),
            (0.0, -524288.0, 3),
            (0.0, 524288.0, 4),
            (0.0, 67108863.0, 4),
            (0.0, 67108864.0, 5),
            (0.0, 2147483648.0, 6),
            (0.0, 9007199254740991.0, 8),
            (-9007199254740991.0, 9007199254740991.0, 8),
            // One byte for the number of decimals.
            (12345.67, 12345.89, 2),
            (12345.6, 12345.67, 2),
            (0.000000001, 0.000000002, 2),
            (7.0, 7.5, 2),
            // Not more decimals than there are.
            (2.5, 7.0, 1),
            (f64::NAN, 7.0, 1),
            (f64::INFINITY, 0.5, 3),
            // Bits.
            (0.1 + 0.2, 0.3, 2),
            (1.0, f64::INFINITY, 2),
            (0.0, -0.0, 2),
            (0.0, f64::NAN, 3),
            (5.0, f64::from_bits(STALE_MARKER_BITS), 1),
            (f64::from_bits(STALE_MARKER_BITS), 5.0, 1),
            (0.0, std::f64::consts::PI, 9),
            (0.0, f64::MIN_POSITIVE, 3),
            (1.0, f64::from_bits(1), 9),
        ] {
            assert_eq!(check(base, value), bytes, "{base} to {value}");
        }
    }

    #[test]
    fn every_change_of_any_two_values_comes_back() {
        let mut state = 7u64;
        let mut next = || {
            // Marsaglia's xorshift.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut pool: Vec<f64> = vec![0.0, -0.0, f64::NAN, f64::MAX, f64::MIN, f64::NEG_INFINITY];
        for _ in 0..200 {
            let bits = next();
            pool.push(f64::from_bits(bits));
            let digits = (bits >> (next() % 64)) as i64 as f64;
            pool.push(digits / POWERS[(next() % 13) as usize]);
        }
        for base in &pool {
            for value in &pool {
                check(*base, *value);
            }
        }
    }
}
