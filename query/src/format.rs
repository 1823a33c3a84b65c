//! Floats as text, the way Go's `strconv` and Prometheus's JSON print them.
//!
//! The digits are always the shortest that read back to the same value; the styles differ only in
//! when they use an exponent.

use crate::float_text::push_json;

/// When a float is printed with an exponent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloatStyle {
    /// Never (Go's `'f', -1`): `1000000000000000000000`, `0.0000001`. Scalars, `count_values`
    /// labels and numbers in queries.
    Decimal,
    /// Below 1e-6 and from 1e21 on: `1e-07`, `1e+21`. Samples in JSON answers.
    Json,
    /// Below 1e-4 and from 1e6 on (Go's `'g', -1`): `1e+06`. Annotations.
    General,
}

/// Appends `value`: `+Inf`, `-Inf`, `NaN`, `-0`, or its shortest digits.
#[expect(
    clippy::missing_panics_doc,
    reason = "the digits it reads are those it has just printed"
)]
pub fn push_float(out: &mut Vec<u8>, value: f64, style: FloatStyle) {
    if style == FloatStyle::Json {
        push_json(out, value);
        return;
    }
    if !value.is_finite() {
        let text: &[u8] = match value {
            f64::INFINITY => b"+Inf",
            f64::NEG_INFINITY => b"-Inf",
            _ => b"NaN",
        };
        out.extend_from_slice(text);
        return;
    }
    // Whole numbers of up to 15 digits are most of what monitoring prints.
    let short = if style == FloatStyle::General {
        1e6
    } else {
        1e15
    };
    let whole = value as i64;
    if whole as f64 == value && value.abs() < short && (whole != 0 || value.is_sign_positive()) {
        out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
        return;
    }
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value.abs());
    if value.is_sign_negative() {
        out.push(b'-');
    }
    // `text` is `digits[.digits][e[-]exponent]`; without an exponent it stands between 1e-5 and 1e16.
    if style == FloatStyle::Decimal && !text.bytes().any(|byte| byte == b'e') {
        out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
        return;
    }
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().expect("zmij writes a whole exponent");
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = Vec::with_capacity(32);
    digits.extend_from_slice(whole.as_bytes());
    digits.extend_from_slice(fraction.as_bytes());
    // The value is 0.digits * 10^point.
    let mut point = whole.len() as i32 + exponent;
    let leading = digits.iter().take_while(|digit| **digit == b'0').count();
    digits.drain(..leading);
    point -= leading as i32;
    while digits.last() == Some(&b'0') {
        digits.pop();
    }
    if digits.is_empty() {
        out.push(b'0');
        return;
    }
    let power = point - 1;
    if style == FloatStyle::General && !(-4..6).contains(&power) {
        let (first, rest) = digits.split_at(1);
        out.extend_from_slice(first);
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
        out.extend_from_slice(if power < 0 { b"e-" } else { b"e+" });
        if power.abs() < 10 {
            out.push(b'0');
        }
        out.extend_from_slice(itoa::Buffer::new().format(power.abs()).as_bytes());
    } else if point <= 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + point.unsigned_abs() as usize, b'0');
        out.extend_from_slice(&digits);
    } else {
        let point = point as usize;
        if digits.len() <= point {
            let zeros = point - digits.len();
            out.extend_from_slice(&digits);
            out.resize(out.len() + zeros, b'0');
        } else {
            let (whole, fraction) = digits.split_at(point);
            out.extend_from_slice(whole);
            out.push(b'.');
            out.extend_from_slice(fraction);
        }
    }
}

/// A number rounded to two digits: `0.25`, `10`, `1.2e+02`.
///
/// **Source**: Go's `%.2g`.
pub(crate) fn format_two_digits(value: f64) -> String {
    let text = format!("{value:.1e}");
    let rounded: f64 = text.parse().unwrap_or(value);
    if rounded.is_finite() && rounded.abs() >= 100.0 {
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let mantissa = mantissa.strip_suffix(".0").unwrap_or(mantissa);
        return format!("{mantissa}e+{exponent:0>2}");
    }
    format_float(rounded, FloatStyle::General)
}

/// `value` as text; see [`push_float`].
#[expect(clippy::missing_panics_doc, reason = "floats print in ASCII")]
pub fn format_float(value: f64, style: FloatStyle) -> String {
    let mut out = Vec::new();
    push_float(&mut out, value, style);
    String::from_utf8(out).expect("floats print in ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The columns are what Prometheus 3.5.3 answers: a scalar, a vector sample, and the value in
    /// the annotation of `quantile(value, …)`.
    #[test]
    fn floats_print_as_go_prints_them() {
        for (value, decimal, json, general) in [
            (0.0, "0", "0", "0"),
            (-0.0, "-0", "-0", "-0"),
            (1.0, "1", "1", "1"),
            (-1.5, "-1.5", "-1.5", "-1.5"),
            (0.1, "0.1", "0.1", "0.1"),
            (123456.0, "123456", "123456", "123456"),
            (1e6, "1000000", "1000000", "1e+06"),
            (123456789.0, "123456789", "123456789", "1.23456789e+08"),
            (1234567.25, "1234567.25", "1234567.25", "1.23456725e+06"),
            (0.0001, "0.0001", "0.0001", "0.0001"),
            (0.00001234, "0.00001234", "0.00001234", "1.234e-05"),
            (1e-6, "0.000001", "0.000001", "1e-06"),
            (1e-7, "0.0000001", "1e-07", "1e-07"),
            (1e16, "10000000000000000", "10000000000000000", "1e+16"),
            (
                1e20,
                "100000000000000000000",
                "100000000000000000000",
                "1e+20",
            ),
            (1e21, "1000000000000000000000", "1e+21", "1e+21"),
            (
                123456789012345678901234.0,
                "123456789012345690000000",
                "1.2345678901234569e+23",
                "1.2345678901234569e+23",
            ),
            (f64::INFINITY, "+Inf", "+Inf", "+Inf"),
            (f64::NEG_INFINITY, "-Inf", "-Inf", "-Inf"),
            (f64::NAN, "NaN", "NaN", "NaN"),
        ] {
            assert_eq!(format_float(value, FloatStyle::Decimal), decimal);
            assert_eq!(format_float(value, FloatStyle::Json), json);
            assert_eq!(format_float(value, FloatStyle::General), general);
        }
        let tiny = format_float(-5e-324, FloatStyle::Decimal);
        assert_eq!(tiny, format!("-0.{}5", "0".repeat(323)));
        assert_eq!(
            format_float(f64::MAX, FloatStyle::Json),
            "1.7976931348623157e+308"
        );
        assert_eq!(format_float(1e-300, FloatStyle::Json), "1e-300");
    }

    /// Expected: C's `%.2g`, which Go's equals.
    #[test]
    fn two_digits_are_kept() {
        let printed = [
            0.0,
            0.125,
            0.25,
            5.5,
            7.0,
            10.0,
            99.0,
            99.5,
            100.0,
            125.0,
            1234.5,
            1e100,
            2e-5,
            0.00019999,
            f64::INFINITY,
        ]
        .map(format_two_digits)
        .join(" ");
        assert_eq!(
            printed,
            "0 0.12 0.25 5.5 7 10 99 1e+02 1e+02 1.2e+02 1.2e+03 1e+100 2e-05 0.0002 +Inf"
        );
    }

    proptest::proptest! {
        #[test]
        fn every_style_reads_back_to_the_same_value(bits in proptest::num::u64::ANY) {
            let value = f64::from_bits(bits);
            for style in [FloatStyle::Decimal, FloatStyle::Json, FloatStyle::General] {
                let back: f64 = format_float(value, style).parse().unwrap();
                proptest::prop_assert!(back.to_bits() == bits || (back.is_nan() && value.is_nan()));
            }
        }
    }
}
