//! Floats as Go's `strconv.FormatFloat` writes them.
//!
//! Source: the documentation of `strconv`; answers of `printf` in `promtool test rules`.

/// No float has more digits than this, before or behind the point.
const DIGITS_MAX: usize = 1100;

/// The magnitude of a finite `value` in one of Go's formats (`e`, `f`, `g`, `x`, `b`, in lower
/// case), without a sign. Without a precision
/// the shortest digits that read back are taken (`f` has one always).
pub(super) fn magnitude(value: f64, format: char, precision: Option<usize>) -> String {
    let value = value.abs();
    match format {
        'f' => {
            let precision = precision.unwrap_or_default();
            let exact = precision.min(DIGITS_MAX);
            let mut text = format!("{value:.exact$}");
            text.extend(std::iter::repeat_n('0', precision - exact));
            text
        }
        'e' => {
            let (digits, point) = digits(value, precision.map(|precision| precision + 1));
            let wanted = precision.unwrap_or(digits.len() - 1);
            exponential(&digits, point, wanted)
        }
        'x' => hexadecimal(value, precision),
        'b' => {
            let (mantissa, exponent) = parts(value);
            format!("{mantissa}p{exponent:+}")
        }
        _ => general(value, precision),
    }
}

/// The significant digits without trailing zeros (at least one digit), and where the decimal point
/// stands: the value is `0.digits * 10^point`.
fn digits(value: f64, count: Option<usize>) -> (String, i32) {
    let text = match count {
        Some(count) => format!("{value:.*e}", count.clamp(1, DIGITS_MAX) - 1),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let mut digits = mantissa.replace('.', "");
    digits.truncate(digits.trim_end_matches('0').len().max(1));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if digits == "0" {
        return (digits, 1);
    }
    (digits, exponent + 1)
}

fn exponential(digits: &str, point: i32, precision: usize) -> String {
    let (first, rest) = digits.split_at(1);
    let mut out = first.to_owned();
    if precision > 0 {
        out.push('.');
        out.push_str(rest);
        out.extend(std::iter::repeat_n(
            '0',
            precision.saturating_sub(rest.len()),
        ));
    }
    let exponent = point - 1;
    out.push('e');
    out.push(if exponent < 0 { '-' } else { '+' });
    if exponent.abs() < 10 {
        out.push('0');
    }
    out.push_str(&exponent.abs().to_string());
    out
}

/// `g`: with an exponent below 1e-4 and from the precision on.
fn general(value: f64, precision: Option<usize>) -> String {
    let (digits, point) = digits(value, precision);
    let length = digits.len() as i32;
    let limit = match precision {
        None => 6,
        Some(precision) => {
            let precision = i32::try_from(precision.max(1)).unwrap_or(i32::MAX);
            if precision > length && length >= point {
                length
            } else {
                precision
            }
        }
    };
    let exponent = point - 1;
    if exponent < -4 || exponent >= limit {
        return exponential(&digits, point, digits.len() - 1);
    }
    if point <= 0 {
        let zeros = "0".repeat(point.unsigned_abs() as usize);
        return format!("0.{zeros}{digits}");
    }
    let point = point as usize;
    if digits.len() <= point {
        let zeros = "0".repeat(point - digits.len());
        format!("{digits}{zeros}")
    } else {
        let (whole, fraction) = digits.split_at(point);
        format!("{whole}.{fraction}")
    }
}

/// Mantissa and exponent: the value is `mantissa * 2^exponent`.
fn parts(value: f64) -> (u64, i32) {
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32;
    let fraction = bits & ((1 << 52) - 1);
    if exponent == 0 {
        (fraction, -1074)
    } else {
        (fraction | 1 << 52, exponent - 1075)
    }
}

fn hexadecimal(value: f64, precision: Option<usize>) -> String {
    let (mut mantissa, mut exponent) = parts(value);
    if mantissa == 0 {
        exponent = 0;
    } else {
        // One bit in front of the point, 60 behind it.
        let shift = mantissa.leading_zeros() - 3;
        mantissa <<= shift;
        exponent += 60 - shift as i32;
    }
    if let Some(precision) = precision.filter(|precision| *precision < 15) {
        let shift = 60 - 4 * precision as u32;
        let half = 1u64 << (shift - 1);
        let rest = mantissa & ((1 << shift) - 1);
        let is_odd = mantissa >> shift & 1 == 1;
        mantissa >>= shift;
        if rest > half || (rest == half && is_odd) {
            mantissa += 1;
        }
        mantissa <<= shift;
        if mantissa >> 61 != 0 {
            mantissa >>= 1;
            exponent += 1;
        }
    }
    let fraction = format!("{:015x}", mantissa & ((1 << 60) - 1));
    let fraction = match precision {
        None => fraction.trim_end_matches('0').to_owned(),
        Some(precision) => {
            let mut kept: String = fraction.chars().take(precision).collect();
            kept.extend(std::iter::repeat_n('0', precision - kept.len()));
            kept
        }
    };
    let point = if fraction.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!(
        "0x{}{point}{fraction}p{sign}{:02}",
        mantissa >> 60,
        exponent.abs()
    )
}
