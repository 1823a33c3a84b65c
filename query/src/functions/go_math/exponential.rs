//! The exponential function.

use super::{polynomial, power_of_two, scale};

/// The greatest argument whose exponential is finite.
const OVERFLOW: f64 = 709.782712893384;

/// log₂ e.
const LOG2_E: f64 = std::f64::consts::LOG2_E;
/// The upper half of ln 2: its last bits are zeros, so that a multiple of it is exact.
const LN_2_UPPER: f64 = 0.693147180559663;
/// What [`LN_2_UPPER`] lacks.
const LN_2_LOWER: f64 = 2.8235290563031577e-13;

/// 1/8!, 1/7! … 1/2!, 1.
const TAYLOR: [f64; 8] = [
    2.48015873015873e-05,
    0.0001984126984126984,
    0.001388888888888889,
    0.008333333333333333,
    0.041666666666666664,
    0.16666666666666666,
    0.5,
    1.0,
];

/// e to the power of `x`.
///
/// A power of two times the exponential of a rest in ±ln 2 / 2; of the rest's sixteenth the Taylor
/// series gives e^r - 1, which is squared four times.
pub(crate) fn exp(x: f64) -> f64 {
    if x.is_nan() || x == f64::INFINITY {
        return x;
    }
    if x > OVERFLOW {
        return f64::INFINITY;
    }
    if x < -750.0 {
        return 0.0;
    }
    let power = (x * LOG2_E).round_ties_even();
    let rest = (-LN_2_UPPER).mul_add(power, x);
    let rest = (-LN_2_LOWER).mul_add(power, rest) * 0.0625;
    let [highest, others @ ..] = TAYLOR;
    let series = others
        .into_iter()
        .fold(highest, |sum, coefficient| sum.mul_add(rest, coefficient));
    // (1 + m)² - 1 = m (m + 2); the last of the four adds the one.
    let mut less_one = rest * series;
    for _ in 0..3 {
        less_one *= less_one + 2.0;
    }
    let result = less_one.mul_add(less_one + 2.0, 1.0);
    match power as i32 {
        1024.. => f64::INFINITY,
        power @ -1022..1024 => result * power_of_two(power),
        // One rounding, where the result is subnormal.
        power @ -1080..-1022 => result * power_of_two(power + 100) / power_of_two(100),
        _ => 0.0,
    }
}

/// The upper half of ln 2 in msun's parting, and what it lacks.
const LN_2_PARTS: [f64; 2] = [6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10];

/// Two to the power of `x`.
///
/// The whole part of `x` is the exponent; of the rest times ln 2 the exponential is a rational function, as in
/// msun's `e_exp`.
pub(crate) fn exp2(x: f64) -> f64 {
    const SERIES: [f64; 5] = [
        4.138_136_797_057_238_5e-8,
        -1.653_390_220_546_525_2e-6,
        6.613_756_321_437_934e-5,
        -2.777_777_777_701_559_3e-3,
        1.666_666_666_666_666_6e-1,
    ];
    if x.is_nan() || x == f64::INFINITY {
        return x;
    }
    if x > 1.023_999_999_999_999_9e3 {
        return f64::INFINITY;
    }
    if x < -1.074e3 {
        return 0.0;
    }
    let whole = (x + 0.5_f64.copysign(x)).trunc();
    let rest = x - whole;
    let (upper, lower) = (rest * LN_2_PARTS[0], -rest * LN_2_PARTS[1]);
    let reduced = upper - lower;
    let square = reduced * reduced;
    let even = reduced - square * polynomial(square, SERIES);
    let result = 1.0 - ((lower - (reduced * even) / (2.0 - even)) - upper);
    scale(result, whole as i32)
}
