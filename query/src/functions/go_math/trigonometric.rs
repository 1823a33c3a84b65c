//! Trigonometric functions and their inverses.

use std::f64::consts::{FRAC_PI_2, FRAC_PI_4, PI};

use super::polynomial;

/// Sine on ±π/4: z + z³ P(z²).
const SINE: [f64; 6] = [
    1.5896230157654656e-10,
    -2.5050747762857807e-08,
    2.7557313621385722e-06,
    -0.0001984126982958954,
    0.008333333333322118,
    -0.1666666666666663,
];

/// Cosine on ±π/4: 1 - z²/2 + z⁴ P(z²).
const COSINE: [f64; 6] = [
    -1.1358536521387682e-11,
    2.087570084197473e-09,
    -2.755731417929674e-07,
    2.4801587288851704e-05,
    -0.0013888888888873056,
    0.041666666666666595,
];

/// π/4 in three parts, whose multiples are exact up to [`REDUCED_BY_PARTS_MAX`].
const FRAC_PI_4_PARTS: [f64; 3] = [
    0.7853981256484985,
    3.774894707930798e-08,
    2.6951514290790595e-15,
];

/// Up to here three parts of π/4 are enough.
const REDUCED_BY_PARTS_MAX: f64 = (1 << 29) as f64;

/// The bits of 4/π: its whole part, then 64 each.
const FOUR_OVER_PI: [u64; 20] = [
    0x0000_0000_0000_0001,
    0x45f3_06dc_9c88_2a53,
    0xf84e_afa3_ea69_bb81,
    0xb6c5_2b32_7887_2083,
    0xfca2_c757_bd77_8ac3,
    0x6e48_dc74_849b_a5c0,
    0x0c92_5dd4_13a3_2439,
    0xfc3b_d639_6253_4e7d,
    0xd104_6bea_5d76_8909,
    0xd338_e04d_68be_fc82,
    0x7323_ac73_06a6_73e9,
    0x3908_bf17_7bf2_5076,
    0x3ff1_2fff_bc0b_301f,
    0xde5e_2316_b414_da3e,
    0xda6c_fd9e_4f96_136e,
    0x9e8c_7ecd_3cbf_d45a,
    0xea4f_758f_d7cb_e2f6,
    0x7a0e_73ef_14a5_25d4,
    0xd7f6_bf62_3f1a_ba10,
    0xac06_608d_f8f6_d757,
];

/// The sine of an angle in radians.
pub(crate) fn sin(x: f64) -> f64 {
    if x == 0.0 || x.is_nan() {
        return x;
    }
    if x.is_infinite() {
        return f64::NAN;
    }
    let (octant, z) = reduce(x.abs());
    let value = if octant & 2 == 0 { sine(z) } else { cosine(z) };
    if (octant > 3) != (x < 0.0) {
        -value
    } else {
        value
    }
}

/// The cosine of an angle in radians.
pub(crate) fn cos(x: f64) -> f64 {
    if !x.is_finite() {
        return f64::NAN;
    }
    let (octant, z) = reduce(x.abs());
    let value = if octant & 2 == 0 { cosine(z) } else { sine(z) };
    if (octant > 3) != (octant & 3 > 1) {
        -value
    } else {
        value
    }
}

/// The tangent of an angle in radians.
pub(crate) fn tan(x: f64) -> f64 {
    /// z + z³ P(z²) / Q(z²) on ±π/4.
    const P: [f64; 3] = [-13093.693918138379, 1153516.6483858742, -17956525.197648488];
    const Q: [f64; 5] = [
        1.0,
        13681.296347069296,
        -1320892.3444021097,
        25008380.18233579,
        -53869575.592945464,
    ];
    if x == 0.0 || x.is_nan() {
        return x;
    }
    if x.is_infinite() {
        return f64::NAN;
    }
    let (octant, z) = reduce(x.abs());
    let square = z * z;
    let mut value = z;
    if square > 1e-14 {
        value += z * (square * polynomial(square, P) / polynomial(square, Q));
    }
    if octant & 2 != 0 {
        value = -1.0 / value;
    }
    if x < 0.0 { -value } else { value }
}

fn sine(z: f64) -> f64 {
    let square = z * z;
    z + z * square * polynomial(square, SINE)
}

fn cosine(z: f64) -> f64 {
    let square = z * z;
    1.0 - 0.5 * square + square * square * polynomial(square, COSINE)
}

/// The even octant (0, 2, 4 or 6) in whose middle region a finite angle that is not negative lies,
/// and its distance from the octant's beginning.
fn reduce(x: f64) -> (u64, f64) {
    /// 4/π, rounded once.
    const FACTOR: f64 = 1.2732395447351628;
    if x >= REDUCED_BY_PARTS_MAX {
        return reduce_large(x);
    }
    let mut octant = (x * FACTOR) as u64;
    octant += octant & 1;
    let multiple = octant as f64;
    let [first, second, third] = FRAC_PI_4_PARTS;
    let z = ((x - multiple * first) - multiple * second) - multiple * third;
    (octant & 7, z)
}

/// Payne and Hanek's reduction: only the bits of 4/π that count are multiplied.
fn reduce_large(x: f64) -> (u64, f64) {
    let bits = x.to_bits();
    let mantissa = bits & ((1 << 52) - 1) | 1 << 52;
    // The exponent of the last bit of the mantissa, and 61.
    let place = (bits >> 52 & 0x7ff) + 61 - 1023 - 52;
    let (digit, shift) = ((place / 64) as usize, place % 64);
    let window = |index: usize| {
        let both = u128::from(FOUR_OVER_PI[index]) << 64 | u128::from(FOUR_OVER_PI[index + 1]);
        (both >> (64 - shift)) as u64
    };
    let top = u128::from(window(digit).wrapping_mul(mantissa)) << 64;
    let middle = u128::from(window(digit + 1)) * u128::from(mantissa);
    let low = (u128::from(window(digit + 2)) * u128::from(mantissa)) >> 64;
    let product = top.wrapping_add(middle).wrapping_add(low);
    let octant = (product >> 125) as u64;
    // The fraction, cut to the 53 bits behind its leading zeros.
    let fraction = product << 3;
    let zeros = ((fraction >> 64) as u64).leading_zeros();
    let significant = (fraction << (zeros + 1) >> 76) as u64;
    let z = f64::from_bits(significant | u64::from(1022 - zeros) << 52);
    if octant & 1 == 1 {
        ((octant + 1) & 7, (z - 1.0) * FRAC_PI_4)
    } else {
        (octant, z * FRAC_PI_4)
    }
}

/// The arc sine in radians.
pub(crate) fn asin(x: f64) -> f64 {
    if x == 0.0 {
        return x;
    }
    let size = x.abs();
    if size > 1.0 {
        return f64::NAN;
    }
    let other = (1.0 - size * size).sqrt();
    let angle = if size > 0.7 {
        FRAC_PI_2 - atan_of_positive(other / size)
    } else {
        atan_of_positive(size / other)
    };
    if x < 0.0 { -angle } else { angle }
}

/// The arc cosine in radians.
pub(crate) fn acos(x: f64) -> f64 {
    FRAC_PI_2 - asin(x)
}

/// The arc tangent in radians.
pub(crate) fn atan(x: f64) -> f64 {
    if x == 0.0 {
        x
    } else if x > 0.0 {
        atan_of_positive(x)
    } else {
        -atan_of_positive(-x)
    }
}

/// The angle of the point (`x`, `y`) in radians.
pub(crate) fn atan2(y: f64, x: f64) -> f64 {
    // Zeros and infinities are exact cases that every platform answers alike.
    if y == 0.0 || x == 0.0 || !x.is_finite() || !y.is_finite() {
        return y.atan2(x);
    }
    let angle = atan(y / x);
    if x >= 0.0 {
        angle
    } else if angle <= 0.0 {
        angle + PI
    } else {
        angle - PI
    }
}

fn atan_of_positive(x: f64) -> f64 {
    /// What π/2 has beyond its double.
    const FRAC_PI_2_REST: f64 = 6.123233995736766e-17;
    const TAN_3_PI_8: f64 = 2.414213562373095;
    if x <= 0.66 {
        atan_of_small(x)
    } else if x > TAN_3_PI_8 {
        FRAC_PI_2 - atan_of_small(1.0 / x) + FRAC_PI_2_REST
    } else {
        FRAC_PI_4 + atan_of_small((x - 1.0) / (x + 1.0)) + 0.5 * FRAC_PI_2_REST
    }
}

/// Up to 0.66.
fn atan_of_small(x: f64) -> f64 {
    /// x + x³ P(x²) / Q(x²).
    const P: [f64; 5] = [
        -0.8750608600031904,
        -16.157537187333652,
        -75.00855792314705,
        -122.88666844901361,
        -64.85021904942025,
    ];
    const Q: [f64; 6] = [
        1.0,
        24.858464901423062,
        165.02700983169885,
        432.88106049129027,
        485.3903996359137,
        194.5506571482614,
    ];
    let square = x * x;
    x * (square * polynomial(square, P) / polynomial(square, Q)) + x
}
