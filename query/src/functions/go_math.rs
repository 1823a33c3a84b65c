//! Elementary functions that give Go's bits.
//!
//! **What it is.** PromQL's mathematics as Prometheus computes it on amd64, so that the last bit of an
//! answer is the same on both sides and on every platform this runs on. What every platform rounds
//! correctly (square roots, remainders) is left to `std`.
//!
//! **What always holds.** Multiplications and additions are rounded one by one, as Go's compiler does on
//! amd64; only [`exp`] fuses them, because Go's assembly does where the processor can.
//!
//! **Source**: the methods of FreeBSD's msun (logarithms, inverse hyperbolic functions), of the Cephes
//! library (trigonometric functions) and of Shibata's SIMD paper of 2010 (exponential), in the variants
//! that Go's `math` package uses; checked against answers of Prometheus 3.5.3 (see the tests).

mod exponential;
mod hyperbolic;
mod logarithm;
mod power;
#[cfg(test)]
mod tests;
mod trigonometric;

pub(crate) use exponential::{exp, exp2};
pub(crate) use hyperbolic::{acosh, asinh, atanh, cosh, sinh, tanh};
pub(crate) use logarithm::{ln, log2, log10};
pub(crate) use power::pow;
pub(crate) use trigonometric::{acos, asin, atan, atan2, cos, sin, tan};

/// A polynomial in `x` by Horner's scheme, the coefficient of the highest power first.
fn polynomial<const N: usize>(x: f64, coefficients: [f64; N]) -> f64 {
    let mut rest = coefficients.into_iter();
    let highest = rest.next().unwrap_or_default();
    rest.fold(highest, |sum, coefficient| sum * x + coefficient)
}

/// `x` as a fraction in [0.5, 1) times two to a power; zeros and what is not finite stay, with power 0.
fn split(x: f64) -> (f64, i32) {
    const EXPONENT_BITS: u64 = 0x7ff << 52;
    if x == 0.0 || !x.is_finite() {
        return (x, 0);
    }
    let (normal, shift) = if x.abs() < f64::MIN_POSITIVE {
        (x * TWO_TO_52, -52)
    } else {
        (x, 0)
    };
    let bits = normal.to_bits();
    let power = (bits >> 52 & 0x7ff) as i32 - 1022 + shift;
    (f64::from_bits(bits & !EXPONENT_BITS | 1022 << 52), power)
}

/// `fraction` times two to `power`, rounded once.
pub(crate) fn scale(fraction: f64, power: i32) -> f64 {
    let (fraction, own) = split(fraction);
    if fraction == 0.0 || !fraction.is_finite() {
        return fraction;
    }
    let power = power.saturating_add(own);
    match power {
        1025.. => f64::INFINITY.copysign(fraction),
        -1021..=1024 => fraction * 2.0 * power_of_two(power - 1),
        -1074..-1021 => fraction * power_of_two(power + 52) / TWO_TO_52,
        _ => 0.0_f64.copysign(fraction),
    }
}

/// 2⁵².
const TWO_TO_52: f64 = 4503599627370496.0;

/// Two to a power between -1022 and 1023.
fn power_of_two(power: i32) -> f64 {
    f64::from_bits(((power + 1023) as u64) << 52)
}
