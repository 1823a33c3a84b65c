//! Decimals: integers over a power of ten, to doubles as by a division, and back.

use super::integers::Decoded;

/// Powers of ten that a double holds exactly, as far as they are used.
pub(super) const POWERS: [f64; 19] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18,
];

/// Every integer up to here is a double.
const INTEGER_MAX: u64 = 1 << 53;

/// The integer nearest to a value times a power of ten, if both are below 2^53 and the value is
/// finite.
#[inline]
pub(super) fn nearest_integer(value: f64, power: f64) -> Option<i64> {
    // Adding and taking away the shift rounds to an integer, ties to even.
    let scaled = value * power;
    if scaled.abs() < (1_u64 << 51) as f64 {
        return Some((scaled + SHIFT - SHIFT) as i64);
    }
    let integer = scaled.round_ties_even();
    // Neither holds for NaN.
    (integer.abs() <= INTEGER_MAX as f64).then_some(integer as i64)
}

/// The integer that gives exactly `value` when divided by `power`.
#[inline]
pub(super) fn as_integer(value: f64, power: f64) -> Option<i64> {
    let integer = nearest_integer(value, power)?;
    // Negative zero fails here.
    (integer as f64 / power)
        .to_bits()
        .eq(&value.to_bits())
        .then_some(integer)
}

/// The least exponent `e` (0 to 18) and the integer of at most 2^53 with `integer / 10^e == value`,
/// bit for bit.
pub(crate) fn to_decimal(value: f64) -> Option<(u8, i64)> {
    (POWERS.iter().enumerate())
        .find_map(|(exponent, power)| Some((exponent as u8, as_integer(value, *power)?)))
}

/// The value of an integer and an exponent; `None` when the exponent is above 18.
pub(crate) fn from_decimal(exponent: u8, integer: i64) -> Option<f64> {
    Some(Scale::of(usize::from(exponent))?.value(integer))
}

/// How integers become doubles: divided by a power of ten, or multiplied by its reciprocal where that
/// gives the same bits.
///
/// With `high + low` the reciprocal of P = 10^e, `high` its first 53 - B bits (B below): for an
/// integer |i| < 2^B the product `i * high` is exact, and `i * low` and `low` itself are rounded, each
/// by at most 2^-53 of |i * low| <= 2^(B-52) i / P. So `i * high + i * low` before its last rounding
/// is within 2^(B-104) of q = i / P, relatively. A midpoint between two doubles near q is M 2^t with a
/// 54-bit M; |q - M 2^t| = |i 2^-t - P M| 2^t / P is not 0, for no 54-bit M times an odd part of P
/// divides |i| < 2^53, so it is at least 2^t / P, relatively 2^-54 / P. With P 2^B < 2^50 no midpoint
/// lies between q and what is rounded, and both round to the same double.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    power: f64,
    high: f64,
    low: f64,
    /// 2^B: integers below may be multiplied. 0: none.
    multiplied_below: f64,
}

/// Exponents with a reciprocal.
const RECIPROCALS: usize = 10;

#[expect(
    clippy::indexing_slicing,
    reason = "a constant: an index too high would not compile"
)]
static SCALES: [Scale; POWERS.len()] = {
    let mut scales = [Scale {
        power: 1.0,
        high: 1.0,
        low: 0.0,
        multiplied_below: 0.0,
    }; POWERS.len()];
    let mut exponent = 1;
    while exponent < POWERS.len() {
        let power = POWERS[exponent];
        scales[exponent].power = power;
        if exponent < RECIPROCALS {
            // The bits of the integer 10^e: P < 2^bits.
            let bits = 64 - (power as u64).leading_zeros();
            let kept = 50 - bits;
            let high = f64::from_bits((1.0 / power).to_bits() >> kept << kept);
            scales[exponent].high = high;
            // Exact but for the division: `high * power` has few bits and is just below 1.
            scales[exponent].low = (1.0 - high * power) / power;
            scales[exponent].multiplied_below = (1_u64 << kept) as f64;
        }
        exponent += 1;
    }
    scales
};

impl Scale {
    /// Of an exponent up to 18.
    pub(super) fn of(exponent: usize) -> Option<&'static Self> {
        SCALES.get(exponent)
    }

    /// Whether integers are their own values.
    pub(super) fn is_one(&self) -> bool {
        self.power == 1.0
    }

    /// Whether integers of at most `magnitude` are shifted first: conversion and scaling are one pass.
    #[inline]
    fn shifts(&self, magnitude: f64) -> bool {
        self.power != 1.0 && magnitude < SHIFTED_BELOW
    }

    /// The integers that give exactly these values, if all have one below 2^51: those of
    /// [`as_integer`].
    #[inline]
    pub(super) fn integers<const N: usize>(&self, values: &[f64; N]) -> Option<[i64; N]> {
        let shifted = values.map(|value| value * self.power + SHIFT);
        let mut different = 0;
        let mut is_small = true;
        for (value, shifted) in values.iter().zip(&shifted) {
            let integer = shifted - SHIFT;
            let back = if self.power == 1.0 {
                integer
            } else {
                integer / self.power
            };
            different |= back.to_bits() ^ value.to_bits();
            // False for NaN.
            is_small &= (value * self.power).abs() < SHIFTED_BELOW;
        }
        let integer = |shifted: f64| shifted.to_bits().wrapping_sub(SHIFT.to_bits()) as i64;
        (is_small && different == 0).then(|| shifted.map(integer))
    }

    /// The value of one integer.
    #[inline]
    pub(super) fn value(&self, integer: i64) -> f64 {
        integer as f64 / self.power
    }
}

/// 1.5 * 2^52. An integer below 2^51 added to its bits is added to the double.
const SHIFT: f64 = 6_755_399_441_055_744.0;
/// Below here integers are shifted; with room for the rounding of a magnitude.
const SHIFTED_BELOW: f64 = (1_u64 << 50) as f64;

impl Decoded for f64 {
    type Scale = Scale;

    #[inline]
    fn of_integer(integer: i64, scale: &Scale) -> Self {
        scale.value(integer)
    }

    #[inline]
    fn unscaled(integer: i64) -> Self {
        integer as Self
    }

    #[inline]
    fn shift(magnitude: Self, scale: &Scale) -> Option<i64> {
        scale.shifts(magnitude).then_some(SHIFT.to_bits() as i64)
    }

    fn scale(places: &mut [Self], magnitude: Self, scale: &Scale) {
        let Scale {
            power, high, low, ..
        } = *scale;
        if scale.shifts(magnitude) {
            if magnitude < scale.multiplied_below {
                for place in places {
                    let integer = *place - SHIFT;
                    *place = integer * high + integer * low;
                }
            } else {
                for place in places {
                    *place = (*place - SHIFT) / power;
                }
            }
        } else if power != 1.0 {
            for place in places {
                *place /= power;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Integers whose quotient lies next to the middle of two doubles, and pseudo-random ones.
    fn hard_integers(exponent: u32, below: u64) -> Vec<u64> {
        let odd = 5_u64.pow(exponent);
        let times = |a: u64, b: u64| (u128::from(a) * u128::from(b) % u128::from(odd)) as u64;
        // The inverse of two, and what is left of a half.
        let half = odd.div_ceil(2);
        let mut inverse = 1;
        let mut integers = vec![0, 1, below - 1];
        for _ in 0..100 {
            inverse = times(inverse, half);
            for remainder in [half - 1, half] {
                let hard = times(remainder, inverse);
                let steps = (0..below.saturating_sub(hard)).step_by(odd as usize);
                integers.extend(steps.take(20).map(|step| hard + step));
                let last = (below - 1).saturating_sub(hard) / odd * odd + hard;
                integers.extend((last < below).then_some(last));
            }
        }
        let mut random = 1_u64;
        integers.extend((0..5000).map(|_| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 11) % below
        }));
        integers
    }

    #[test]
    fn multiplying_gives_the_bits_of_a_division() {
        for (exponent, power) in POWERS.iter().enumerate() {
            let scale = Scale::of(exponent).unwrap();
            assert_eq!(scale.power, *power);
            assert_eq!(
                scale.multiplied_below > 0.0,
                (1..RECIPROCALS).contains(&exponent)
            );
            let below = match scale.multiplied_below as u64 {
                0 => 1 << 53,
                below => below,
            };
            for integer in hard_integers(exponent as u32, below) {
                let shift = f64::shift(integer as f64, scale);
                let mut values = [integer as i64, -(integer as i64)].map(|integer| match shift {
                    Some(shift) => f64::from_bits((integer + shift) as u64),
                    None => f64::unscaled(integer),
                });
                f64::scale(&mut values, integer as f64, scale);
                let negative = -(integer as i64) as f64;
                let integer = integer as f64;
                let expected = [integer / power, negative / power];
                assert_eq!(
                    values.map(f64::to_bits),
                    expected.map(f64::to_bits),
                    "{integer}"
                );
            }
        }
    }
}
