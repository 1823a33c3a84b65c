//! Hyperbolic functions and their inverses.

use std::f64::consts::LN_2;

use super::{
    exponential::exp,
    logarithm::{ln, ln_1p},
    polynomial,
};

/// Beyond it e^-x does not count beside e^x.
const ONE_EXPONENTIAL_MIN: f64 = 21.0;

/// 2²⁸: beyond it 1 does not count beside x².
const LARGE: f64 = (1 << 28) as f64;

/// The hyperbolic sine.
pub(crate) fn sinh(x: f64) -> f64 {
    const P: [f64; 4] = [
        -26.30563213397497,
        -2894.211355989564,
        -89912.72022039509,
        -630767.3640497717,
    ];
    const Q: [f64; 4] = [
        1.0,
        -173.6789535582337,
        15215.17378790019,
        -630767.3640497717,
    ];
    let size = x.abs();
    let value = if size > ONE_EXPONENTIAL_MIN {
        exp(size) / 2.0
    } else if size > 0.5 {
        let grown = exp(size);
        (grown - 1.0 / grown) / 2.0
    } else {
        let square = size * size;
        polynomial(square, P) * size / polynomial(square, Q)
    };
    value.copysign(x)
}

/// The hyperbolic cosine.
pub(crate) fn cosh(x: f64) -> f64 {
    let size = x.abs();
    if size > ONE_EXPONENTIAL_MIN {
        exp(size) / 2.0
    } else {
        let grown = exp(size);
        f64::midpoint(grown, 1.0 / grown)
    }
}

/// The hyperbolic tangent.
pub(crate) fn tanh(x: f64) -> f64 {
    /// Half of ln 2¹²⁷: beyond it the answer is one.
    const ONE_MIN: f64 = 0.5 * 88.02969193111305;
    const P: [f64; 3] = [-0.9643991794250523, -99.28772310019185, -1614.6876844170845];
    const Q: [f64; 4] = [
        1.0,
        112.81167849163293,
        2235.4883906010045,
        4844.063053251255,
    ];
    let size = x.abs();
    if size > ONE_MIN {
        1.0_f64.copysign(x)
    } else if size >= 0.625 {
        (1.0 - 2.0 / (exp(2.0 * size) + 1.0)).copysign(x)
    } else if x == 0.0 {
        x
    } else {
        let square = x * x;
        x + x * square * polynomial(square, P) / polynomial(square, Q)
    }
}

/// The inverse of the hyperbolic sine.
pub(crate) fn asinh(x: f64) -> f64 {
    if !x.is_finite() {
        return x;
    }
    let size = x.abs();
    let value = if size > LARGE {
        ln(size) + LN_2
    } else if size > 2.0 {
        ln(2.0 * size + 1.0 / ((size * size + 1.0).sqrt() + size))
    } else if size < 1.0 / LARGE {
        size
    } else {
        ln_1p(size + size * size / (1.0 + (1.0 + size * size).sqrt()))
    };
    value.copysign(x)
}

/// The inverse of the hyperbolic cosine; NaN below 1.
pub(crate) fn acosh(x: f64) -> f64 {
    if x < 1.0 || x.is_nan() {
        f64::NAN
    } else if x == 1.0 {
        0.0
    } else if x >= LARGE {
        ln(x) + LN_2
    } else if x > 2.0 {
        ln(2.0 * x - 1.0 / (x + (x * x - 1.0).sqrt()))
    } else {
        let t = x - 1.0;
        ln_1p(t + (2.0 * t + t * t).sqrt())
    }
}

/// The inverse of the hyperbolic tangent; NaN beyond ±1.
pub(crate) fn atanh(x: f64) -> f64 {
    let size = x.abs();
    if size > 1.0 || size.is_nan() {
        return f64::NAN;
    }
    let value = if size == 1.0 {
        f64::INFINITY
    } else if size < 1.0 / LARGE {
        size
    } else if size < 0.5 {
        let twice = size + size;
        0.5 * ln_1p(twice + twice * size / (1.0 - size))
    } else {
        0.5 * ln_1p((size + size) / (1.0 - size))
    };
    value.copysign(x)
}
