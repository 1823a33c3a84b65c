//! How one value follows another, in as few bytes as its digits need.
//!
//! Counters and gauges that are integers or have few decimals are written as the difference of their
//! digits; everything else as the bits that differ. Any bits come back exactly, whatever both values
//! are. The codes are in `docs/wal.md`.

use crate::{
    STALE_MARKER_BITS,
    codec::{CodecError, Cursor},
};

/// Powers of ten that are exact, up to the longest fraction that is written as digits.
const POWERS: [f64; 13] = [
    1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12,
];
/// Integers below this are exact.
const INTEGER_END: u64 = 1 << 53;
/// Below this a product with a power of ten is off by less than a half.
const DIGITS_END: f64 = (1u64 << 50) as f64;

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
    pub(crate) fn between(base: u64, bits: u64) -> Self {
        let value = f64::from_bits(bits);
        let integer = value as i64;
        if integer.unsigned_abs() < INTEGER_END && (integer as f64).to_bits() == bits {
            return Self::Step {
                decimals: 0,
                difference: integer.wrapping_sub(digits(base, 0)),
            };
        }
        if bits == STALE_MARKER_BITS {
            return Self::Stale;
        }
        let xor = Self::Xor(base ^ bits);
        // The longest fraction that fits says whether any shorter one is exact.
        let size = value.abs();
        let Some(longest) = POWERS.iter().rposition(|power| size * power < DIGITS_END) else {
            return xor;
        };
        let mut decimals = longest as u8;
        let mut scaled = digits(bits, decimals);
        if value_of(scaled, decimals) != bits {
            return xor;
        }
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
    pub(super) fn encode(self, out: &mut Vec<u8>) {
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
                let leading = bits.leading_zeros() as usize / 8;
                let trailing = bits.trailing_zeros() as usize / 8;
                let bytes = bits.to_le_bytes();
                if leading >= trailing.min(7) {
                    let leading = leading.min(7);
                    out.push(CODE_LEADING + leading as u8);
                    out.extend(bytes.iter().take(8 - leading));
                } else {
                    let trailing = trailing.min(7);
                    out.push(CODE_TRAILING + trailing as u8 - 1);
                    out.extend(bytes.iter().skip(trailing));
                }
            }
            Self::Stale => out.push(CODE_STALE),
        }
    }

    /// Reads what [`Change::encode`] wrote.
    pub(super) fn decode(input: &mut Cursor<'_>) -> Result<Self, CodecError> {
        let code = input.u8(EXPECTED)?;
        match code {
            0..CODE_DECIMALS => Ok(Self::Step {
                decimals: 0,
                difference: digits_after(code, input)?,
            }),
            CODE_DECIMALS..=CODE_DECIMALS_LAST => {
                let first = input.u8(EXPECTED)?;
                Ok(Self::Step {
                    decimals: code - CODE_DECIMALS + 1,
                    difference: digits_after(first, input)?,
                })
            }
            CODE_LEADING..=CODE_LEADING_LAST => {
                let len = 8 - usize::from(code - CODE_LEADING);
                Ok(Self::Xor(little_endian(input.take(len, EXPECTED)?)))
            }
            CODE_TRAILING..=CODE_TRAILING_LAST => {
                let left_out = usize::from(code - CODE_TRAILING) + 1;
                let bits = little_endian(input.take(8 - left_out, EXPECTED)?);
                Ok(Self::Xor(bits << (8 * left_out)))
            }
            CODE_STALE => Ok(Self::Stale),
            _ => Err(CodecError { expected: EXPECTED }),
        }
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

fn put_digits(number: u64, out: &mut Vec<u8>) {
    let bytes = number.to_le_bytes();
    match 64 - number.leading_zeros() {
        0..=7 => out.push(number as u8),
        8..=14 => out.extend([CODE_2 | (number >> 8) as u8, number as u8]),
        15..=20 => {
            out.push(CODE_3 | (number >> 16) as u8);
            out.extend(bytes.iter().take(2));
        }
        21..=27 => {
            out.push(CODE_4 | (number >> 24) as u8);
            out.extend(bytes.iter().take(3));
        }
        bits => {
            let len = bits.div_ceil(8) as u8;
            out.push(CODE_WIDE + len - 4);
            out.extend(bytes.iter().take(usize::from(len)));
        }
    }
}

/// The number whose first byte is `code`.
fn digits_after(code: u8, input: &mut Cursor<'_>) -> Result<i64, CodecError> {
    let high = u64::from(code);
    let number = match code {
        0..CODE_2 => high,
        CODE_2..CODE_3 => (high & 63) << 8 | u64::from(input.u8(EXPECTED)?),
        CODE_3..CODE_4 => {
            let low = u16::from_le_bytes(input.array(EXPECTED)?);
            (high & 15) << 16 | u64::from(low)
        }
        CODE_4..CODE_WIDE => {
            let low = little_endian(input.take(3, EXPECTED)?);
            (high & 7) << 24 | low
        }
        CODE_WIDE..=CODE_WIDE_LAST => {
            little_endian(input.take(usize::from(code - CODE_WIDE) + 4, EXPECTED)?)
        }
        _ => return Err(CodecError { expected: EXPECTED }),
    };
    Ok((number >> 1) as i64 ^ -((number & 1) as i64))
}

/// At most eight bytes, the lowest first.
fn little_endian(bytes: &[u8]) -> u64 {
    let mut number = 0;
    for (index, byte) in bytes.iter().enumerate() {
        number |= u64::from(*byte) << (8 * index);
    }
    number
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
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
