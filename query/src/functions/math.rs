//! Functions of one number.

use super::{FunctionId, go_math};

/// The function of each value, if `id` is one without further arguments.
pub(crate) fn unary(id: FunctionId) -> Option<fn(f64) -> f64> {
    Some(match id {
        FunctionId::Abs => f64::abs,
        FunctionId::Ceil => f64::ceil,
        FunctionId::Floor => f64::floor,
        FunctionId::Exp => go_math::exp,
        FunctionId::Ln => go_math::ln,
        FunctionId::Log2 => go_math::log2,
        FunctionId::Log10 => go_math::log10,
        FunctionId::Sqrt => f64::sqrt,
        FunctionId::Sgn => |value| {
            if value < 0.0 {
                -1.0
            } else if value > 0.0 {
                1.0
            } else {
                value
            }
        },
        FunctionId::Acos => go_math::acos,
        FunctionId::Acosh => go_math::acosh,
        FunctionId::Asin => go_math::asin,
        FunctionId::Asinh => go_math::asinh,
        FunctionId::Atan => go_math::atan,
        FunctionId::Atanh => go_math::atanh,
        FunctionId::Cos => go_math::cos,
        FunctionId::Cosh => go_math::cosh,
        FunctionId::Sin => go_math::sin,
        FunctionId::Sinh => go_math::sinh,
        FunctionId::Tan => go_math::tan,
        FunctionId::Tanh => go_math::tanh,
        FunctionId::Deg => |value| value * 180.0 / std::f64::consts::PI,
        FunctionId::Rad => |value| value * std::f64::consts::PI / 180.0,
        _ => return None,
    })
}

/// The lesser; minus infinity if one of them is, else NaN if one of them is. −0 is less than 0.
///
/// Source: Go's `math.Min`, seen in Prometheus as `clamp_max(vector(NaN), -Inf)`.
pub(crate) fn lesser(a: f64, b: f64) -> f64 {
    if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY {
        f64::NEG_INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a == b {
        // `f64::min` may answer either zero.
        if a.is_sign_negative() { a } else { b }
    } else {
        a.min(b)
    }
}

/// The greater; infinity if one of them is, else NaN if one of them is. 0 is greater than −0.
///
/// Source: Go's `math.Max`, seen in Prometheus as `clamp_min(vector(NaN), Inf)`.
pub(crate) fn greater(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a == b {
        if a.is_sign_negative() { b } else { a }
    } else {
        a.max(b)
    }
}

/// `value` rounded to a multiple of `nearest`, halves upwards.
pub(crate) fn round(value: f64, nearest: f64) -> f64 {
    let inverse = 1.0 / nearest;
    (value * inverse + 0.5).floor() / inverse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_infinite_bound_wins_over_nan() {
        assert_eq!(greater(f64::NAN, f64::INFINITY), f64::INFINITY);
        assert_eq!(lesser(f64::NEG_INFINITY, f64::NAN), f64::NEG_INFINITY);
        assert!(greater(f64::NAN, f64::NEG_INFINITY).is_nan());
        assert!(lesser(f64::INFINITY, f64::NAN).is_nan());
    }

    /// Seen in Prometheus 3.5.3 as `clamp_max(vector(0), -(time() != bool time()))`.
    #[test]
    fn of_two_zeros_the_negative_one_is_less() {
        for (a, b) in [(0.0, -0.0), (-0.0, 0.0)] {
            assert!(lesser(a, b).is_sign_negative(), "{a} {b}");
            assert!(greater(a, b).is_sign_positive(), "{a} {b}");
        }
        assert_eq!((lesser(-2.0, -2.0), greater(-2.0, -2.0)), (-2.0, -2.0));
    }
}
