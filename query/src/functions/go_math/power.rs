//! Powers.

use super::{exponential::exp, logarithm::ln, scale, split};

/// 2⁶³.
const TWO_TO_63: f64 = (1_u64 << 63) as f64;

/// `base` to the power of `exponent`.
///
/// The whole part of the exponent by squaring, its fraction by exponential and logarithm.
pub(crate) fn pow(base: f64, exponent: f64) -> f64 {
    // Zeros, infinities and NaN are exact cases that every platform answers alike.
    if exponent == 0.0 || base == 1.0 || base == 0.0 || !base.is_finite() || !exponent.is_finite() {
        return base.powf(exponent);
    }
    if exponent == 1.0 {
        return base;
    }
    if exponent == 0.5 {
        return base.sqrt();
    }
    if exponent == -0.5 {
        return 1.0 / base.sqrt();
    }
    let size = exponent.abs();
    let (mut whole, mut fraction) = (size.trunc(), size.fract());
    if fraction != 0.0 && base < 0.0 {
        return f64::NAN;
    }
    if whole >= TWO_TO_63 {
        // An even number that takes every base but -1 out of range.
        return if base == -1.0 {
            1.0
        } else if (base.abs() < 1.0) == (exponent > 0.0) {
            0.0
        } else {
            f64::INFINITY
        };
    }
    let mut product = 1.0;
    if fraction != 0.0 {
        if fraction > 0.5 {
            fraction -= 1.0;
            whole += 1.0;
        }
        product = exp(fraction * ln(base));
    }
    let mut power = 0;
    let (mut square, mut square_power) = split(base);
    let mut bits = whole as i64;
    while bits != 0 {
        if square_power.abs() > 1 << 12 {
            // Out of range already; another doubling would leave the integer.
            power += square_power;
            break;
        }
        if bits & 1 == 1 {
            product *= square;
            power += square_power;
        }
        square *= square;
        square_power *= 2;
        if square < 0.5 {
            square += square;
            square_power -= 1;
        }
        bits >>= 1;
    }
    if exponent < 0.0 {
        scale(1.0 / product, -power)
    } else {
        scale(product, power)
    }
}
