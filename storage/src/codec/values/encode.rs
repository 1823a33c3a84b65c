//! The writer of value pages: finds the form that takes the fewest bytes.

use super::{
    HAS_SPECIALS, HAS_STALE_MARKERS, KIND_CONSTANT_BITS, KIND_CONSTANT_INTEGER, KIND_INTEGERS,
    KIND_NEAR, KIND_RAW, NO_DECIMALS, VALUES_MAX, VERSION, order, specials::put_specials,
};
use crate::{
    codec::{
        bytes::{put_varint, put_zigzag, zigzag},
        decimal::{POWERS, Scale, as_integer, nearest_integer, to_decimal},
        integers,
    },
    is_stale_marker,
};

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
    if let Some(constant) = constant(values) {
        encode_constant(constant, stale, values.len(), out);
        return;
    }
    let start = out.len();
    if let Some(columns) = Columns::decimals(values) {
        columns.encode(values.len(), stale, out);
    }
    let decimals_bytes = out.len() - start;
    if decimals_bytes > 0 && decimals_bytes < values.len() * WIDE_BYTES {
        return;
    }
    if let Some(columns) = near(values) {
        columns.encode(values.len(), stale, out);
    }
    let near_bytes = out.len() - start - decimals_bytes;
    if near_bytes > 0 && (decimals_bytes == 0 || near_bytes < decimals_bytes) {
        out.drain(start..start + decimals_bytes);
    } else {
        out.truncate(start + decimals_bytes);
    }
    // Raw pages are read much quicker, so that the others must be worth it.
    let raw_bytes = values.len() * 8 + 4;
    if out.len() == start || out.len() - start > raw_bytes - raw_bytes / 16 {
        out.truncate(start);
        out.extend([VERSION << 4 | KIND_RAW, stale]);
        put_varint(values.len() as u64 - 1, out);
        for value in values {
            out.extend(value.to_bits().to_le_bytes());
        }
    }
}

/// Decimals that take more bytes a value than this are compared with other forms.
const WIDE_BYTES: usize = 4;

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

/// What is stored of a page that is neither constant nor raw: for each value an integer, or that it
/// is a special. The place of a special repeats the integer before it, or the first one after it.
struct Columns {
    exponent: u8,
    decimals: Vec<i64>,
    /// How far each value is above its decimal, where values are only near; above 0 where there are
    /// no decimals.
    distances: Vec<i64>,
    /// Index and bits, ascending.
    specials: Vec<(usize, u64)>,
}

impl Columns {
    fn new(len: usize, exponent: u8) -> Self {
        Self {
            exponent,
            decimals: Vec::with_capacity(len),
            distances: Vec::new(),
            specials: Vec::new(),
        }
    }

    /// Values as decimals; `None` when too many are not.
    fn decimals(values: &[f64]) -> Option<Self> {
        let mut columns = Self::new(values.len(), 0);
        if let Some(exponent) = all_decimals(values, &mut columns.decimals) {
            columns.exponent = exponent as u8;
            return Some(columns);
        }
        let exponent = exponent(values)?;
        let power = *POWERS.get(exponent)?;
        columns.exponent = exponent as u8;
        columns.decimals.clear();
        let integer = |value| as_integer(value, power);
        columns.specials = fill(values, integer, &mut columns.decimals)?;
        Some(columns)
    }

    /// Values as distances from the nearest decimals.
    fn near_decimals(values: &[f64], exponent: usize) -> Option<Self> {
        let power = *POWERS.get(exponent)?;
        let mut columns = Self::new(values.len(), exponent as u8);
        let integer = |value| nearest_integer(value, power);
        columns.specials = fill(values, integer, &mut columns.decimals)?;
        let mut specials = columns.specials.iter().peekable();
        let mut last = 0;
        let pairs = values.iter().zip(&columns.decimals).enumerate();
        columns
            .distances
            .extend(pairs.map(|(index, (value, decimal))| {
                if specials.next_if(|(special, _)| *special == index).is_none() {
                    last = distance(*value, *decimal as f64 / power);
                }
                last
            }));
        Some(columns)
    }

    /// Values as distances from 0.
    fn distances(values: &[f64]) -> Option<Self> {
        let mut columns = Self::new(0, 0);
        let integer = |value: f64| value.is_finite().then(|| distance(value, 0.0));
        columns.specials = fill(values, integer, &mut columns.distances)?;
        Some(columns)
    }

    /// Appends a page of `len` values.
    fn encode(&self, len: usize, stale: u8, out: &mut Vec<u8>) {
        let head = out.len();
        let specials = if self.specials.is_empty() {
            0
        } else {
            HAS_SPECIALS
        };
        out.extend([0, stale | specials | self.exponent]);
        put_varint(len as u64 - 1, out);
        if !self.specials.is_empty() {
            put_specials(&self.specials, out);
        }
        let kind = if self.distances.is_empty() {
            KIND_INTEGERS + integers::encode(&self.decimals, out).code()
        } else {
            self.encode_near(out);
            KIND_NEAR
        };
        if let Some(byte) = out.get_mut(head) {
            *byte = VERSION << 4 | kind;
        }
    }

    fn encode_near(&self, out: &mut Vec<u8>) {
        let place = out.len();
        out.push(0);
        let mut decimals_mode = NO_DECIMALS;
        if !self.decimals.is_empty() {
            let mut column = Vec::with_capacity(self.decimals.len() * 4);
            decimals_mode = integers::encode(&self.decimals, &mut column).code();
            put_varint(column.len() as u64, out);
            out.extend(column);
        }
        let mode = integers::encode(&self.distances, out).code();
        if let Some(byte) = out.get_mut(place) {
            *byte = decimals_mode << 4 | mode;
        }
    }
}

/// Fills `integers` with the integer of each value and returns the specials, which have none; `None`
/// when all are.
fn fill(
    values: &[f64],
    integer: impl Fn(f64) -> Option<i64>,
    integers: &mut Vec<i64>,
) -> Option<Vec<(usize, u64)>> {
    let mut last = values.iter().find_map(|value| integer(*value))?;
    let mut specials = Vec::new();
    for (index, value) in values.iter().enumerate() {
        match integer(*value) {
            Some(integer) => last = integer,
            None => specials.push((index, value.to_bits())),
        }
        integers.push(last);
    }
    Some(specials)
}

/// How many doubles `value` is above `from`.
fn distance(value: f64, from: f64) -> i64 {
    order(value.to_bits()).wrapping_sub(order(from.to_bits())) as i64
}

/// Fills `integers` with those of all values at the exponent that [`exponent`] finds, which is returned;
/// `None` when not all have one.
fn all_decimals(values: &[f64], integers: &mut Vec<i64>) -> Option<usize> {
    let mut exponent = 0;
    // Values before fitted a lower exponent.
    let mut passed = 0;
    'exponents: loop {
        integers.clear();
        let scale = Scale::of(exponent)?;
        for chunk in values.chunks(CHUNK) {
            if let Some(chunk) = chunk.first_chunk::<CHUNK>()
                && let Some(found) = scale.integers(chunk)
            {
                integers.extend(found);
                continue;
            }
            for value in chunk {
                match as_integer(*value, *POWERS.get(exponent)?) {
                    Some(integer) => integers.push(integer),
                    None if integers.len() < passed => return None,
                    None => {
                        passed = integers.len();
                        let fits = |power: &f64| as_integer(*value, *power).is_some();
                        exponent += 1 + POWERS.iter().skip(exponent + 1).position(fits)?;
                        continue 'exponents;
                    }
                }
            }
        }
        return Some(exponent);
    }
}

/// Values that are turned into integers together.
const CHUNK: usize = 8;

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
        let fits = |candidate: &usize| {
            POWERS
                .get(*candidate)
                .is_some_and(|power| as_integer(value, *power).is_some())
        };
        if fits(&exponent) || !value.is_finite() || value.to_bits() == (-0.0_f64).to_bits() {
            continue;
        }
        match (exponent + 1..POWERS.len()).find(fits) {
            Some(found) => exponent = found,
            None => {
                odd += 1;
                if odd > ODD_MAX + index / 8 {
                    return None;
                }
            }
        }
    }
    Some(exponent)
}

/// So many values of a page, and one of eight, may be no decimals.
const ODD_MAX: usize = 8;

/// Exponents that are tried for values near decimals: the digits that clocks, sizes and ratios come
/// in.
const NEAR_EXPONENTS: [usize; 8] = [1, 2, 3, 4, 5, 6, 9, 12];

/// Pairs of neighbours that are looked at to find one.
const NEAR_PAIRS: usize = 12;

/// The smaller of the two forms with distances, as some pairs of neighbours have it.
fn near(values: &[f64]) -> Option<Columns> {
    let step = (values.len() - 1).div_ceil(NEAR_PAIRS).max(1);
    let pairs = values
        .windows(2)
        .step_by(step)
        .filter_map(|pair| match *pair {
            [one, other] if one.is_finite() && other.is_finite() => Some((one, other)),
            _ => None,
        });
    let bits = |one: i64, other: i64| 64 - zigzag(other.wrapping_sub(one)).leading_zeros();
    let near_bits = |exponent: usize| -> Option<u32> {
        let power = *POWERS.get(exponent)?;
        pairs.clone().try_fold(0, |sum, (one, other)| {
            let decimals = (nearest_integer(one, power)?, nearest_integer(other, power)?);
            let distances = (
                distance(one, decimals.0 as f64 / power),
                distance(other, decimals.1 as f64 / power),
            );
            Some(sum + bits(decimals.0, decimals.1) + bits(distances.0, distances.1))
        })
    };
    let plain_bits: u32 = pairs
        .clone()
        .map(|(one, other)| bits(distance(one, 0.0), distance(other, 0.0)))
        .sum();
    let candidates = NEAR_EXPONENTS
        .into_iter()
        .filter_map(|exponent| Some((near_bits(exponent)?, exponent)));
    match candidates.min() {
        Some((bits, exponent)) if bits < plain_bits => Columns::near_decimals(values, exponent),
        _ => Columns::distances(values),
    }
}
