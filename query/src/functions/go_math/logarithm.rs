//! Logarithms.

use std::f64::consts::{FRAC_1_SQRT_2, LOG2_E, LOG10_E};

use super::{polynomial, split};

/// ln 2 without its last bits, so that a multiple of it is exact.
pub(super) const LN_2_HIGH: f64 = 0.6931471803691238;
/// What [`LN_2_HIGH`] lacks.
pub(super) const LN_2_LOW: f64 = 1.9082149292705877e-10;

/// Coefficients of ln(1 + f) = f - f²/2 + s (f²/2 + R(s²)) with s = f / (2 + f), ascending.
pub(super) const SERIES: [f64; 7] = [
    0.6666666666666735,
    0.3999999999940942,
    0.2857142874366239,
    0.22222198432149784,
    0.1818357216161805,
    0.15313837699209373,
    0.14798198605116586,
];

/// The natural logarithm.
pub(crate) fn ln(x: f64) -> f64 {
    if x.is_nan() || x == f64::INFINITY {
        return x;
    }
    if x < 0.0 {
        return f64::NAN;
    }
    if x == 0.0 {
        return f64::NEG_INFINITY;
    }
    // Subnormal numbers are taken for normal ones, as Go's assembly does.
    let (mut fraction, mut power) = if x < f64::MIN_POSITIVE {
        (f64::from_bits(x.to_bits() | 0.5_f64.to_bits()), -1022)
    } else {
        split(x)
    };
    if fraction < FRAC_1_SQRT_2 {
        fraction *= 2.0;
        power -= 1;
    }
    let f = fraction - 1.0;
    let power = f64::from(power);
    let s = f / (2.0 + f);
    let s2 = s * s;
    let s4 = s2 * s2;
    let [c1, c2, c3, c4, c5, c6, c7] = SERIES;
    let odd = s2 * polynomial(s4, [c7, c5, c3, c1]);
    let even = s4 * polynomial(s4, [c6, c4, c2]);
    let half_square = 0.5 * f * f;
    let series = s * (half_square + (odd + even));
    power * LN_2_HIGH - ((half_square - (series + power * LN_2_LOW)) - f)
}

/// The logarithm to base 2; exact for powers of two.
pub(crate) fn log2(x: f64) -> f64 {
    let (fraction, power) = split(x);
    if fraction == 0.5 {
        return f64::from(power - 1);
    }
    ln(fraction) * LOG2_E + f64::from(power)
}

/// The logarithm to base 10.
pub(crate) fn log10(x: f64) -> f64 {
    ln(x) * LOG10_E
}

/// ln(1 + x), exact where x is small.
pub(super) fn ln_1p(x: f64) -> f64 {
    /// √2 - 1 and √½ - 1: between them 1 + x needs no power of two.
    const UPPER: f64 = 0.41421356237309503;
    const LOWER: f64 = -0.2928932188134525;
    /// The fraction bits of √2.
    const SQRT_2_FRACTION: u64 = 0x0006_a09e_667f_3bcd;
    const FRACTION: u64 = (1 << 52) - 1;
    const TWO_TO_53: f64 = 9007199254740992.0;
    if x < -1.0 || x.is_nan() {
        return f64::NAN;
    }
    if x == -1.0 {
        return f64::NEG_INFINITY;
    }
    if x == f64::INFINITY {
        return x;
    }
    let size = x.abs();
    if size < 1.0 / (1_u64 << 54) as f64 {
        return x;
    }
    if size < 1.0 / (1_u64 << 29) as f64 {
        return x - x * x * 0.5;
    }
    let (power, f, correction, tiny) = if size < UPPER && x > LOWER {
        (0, x, 0.0, false)
    } else {
        let sum = if size < TWO_TO_53 { 1.0 + x } else { x };
        let mut power = (sum.to_bits() >> 52) as i32 - 1023;
        let correction = if size >= TWO_TO_53 {
            0.0
        } else if power > 0 {
            (1.0 - (sum - x)) / sum
        } else {
            (x - (sum - 1.0)) / sum
        };
        let fraction = sum.to_bits() & FRACTION;
        let (normal, distance) = if fraction < SQRT_2_FRACTION {
            (f64::from_bits(fraction | 1023 << 52), fraction)
        } else {
            power += 1;
            let half = f64::from_bits(fraction | 1022 << 52);
            (half, ((1 << 52) - fraction) >> 2)
        };
        (power, normal - 1.0, correction, distance == 0)
    };
    let whole = f64::from(power);
    let half_square = 0.5 * f * f;
    if tiny {
        if f == 0.0 {
            return if power == 0 {
                0.0
            } else {
                whole * LN_2_HIGH + (correction + whole * LN_2_LOW)
            };
        }
        let rest = half_square * (1.0 - 0.6666666666666666 * f);
        return if power == 0 {
            f - rest
        } else {
            whole * LN_2_HIGH - ((rest - (whole * LN_2_LOW + correction)) - f)
        };
    }
    let s = f / (2.0 + f);
    let z = s * s;
    let [c1, c2, c3, c4, c5, c6, c7] = SERIES;
    let rest = z * polynomial(z, [c7, c6, c5, c4, c3, c2, c1]);
    if power == 0 {
        return f - (half_square - s * (half_square + rest));
    }
    let low = whole * LN_2_LOW + correction;
    whole * LN_2_HIGH - ((half_square - (s * (half_square + rest) + low)) - f)
}
