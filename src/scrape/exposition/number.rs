//! Values inside an exposition: floats in Go's forms, bounds in canonical form, escapes.

use super::{MetricType, ParseError, cursor::go_quote};

/// The NaN that every NaN of an exposition becomes, so that none can pass for a staleness marker.
const NORMAL_NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// Reads a float as Go's `strconv.ParseFloat` does, hexadecimal and digit separators refused.
///
/// # Errors
/// Prometheus's text: no float, or one out of range.
pub(crate) fn parse_float(text: &[u8]) -> Result<f64, ParseError> {
    if let Some(value) = small_integer(text) {
        return Ok(value);
    }
    if text.iter().any(|byte| matches!(byte, b'p' | b'P' | b'_')) {
        return Err(ParseError("unsupported character in float".to_owned()));
    }
    let unsigned = match text {
        [b'+' | b'-', rest @ ..] => rest,
        all => all,
    };
    let signed_nan = unsigned.len() != text.len() && unsigned.eq_ignore_ascii_case(b"nan");
    let value: f64 = match fast_float2::parse(text) {
        Ok(value) if !signed_nan => value,
        _ => return Err(float_error(text, "invalid syntax")),
    };
    if value.is_nan() {
        return Ok(f64::from_bits(NORMAL_NAN_BITS));
    }
    if value.is_infinite()
        && !unsigned
            .first()
            .is_some_and(|first| matches!(first, b'i' | b'I'))
    {
        return Err(float_error(text, "value out of range"));
    }
    Ok(value)
}

fn float_error(text: &[u8], problem: &str) -> ParseError {
    ParseError(format!(
        "strconv.ParseFloat: parsing {}: {problem}",
        go_quote(text)
    ))
}

/// A plain decimal integer of at most 15 digits, which a float holds exactly.
fn small_integer(text: &[u8]) -> Option<f64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        all => (false, all),
    };
    if digits.is_empty() || digits.len() > 15 {
        return None;
    }
    let mut number = 0_u64;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + u64::from(digit);
    }
    let value = number as f64;
    Some(if negative { -value } else { value })
}

/// `le` of a histogram and `quantile` of a summary in OpenMetrics' canonical form; anything else,
/// and what is no float, as it is.
pub(super) fn normalise_bound(kind: MetricType, label: &str, value: String) -> String {
    let is_bound = matches!(
        (kind, label),
        (MetricType::Histogram, "le") | (MetricType::Summary, "quantile")
    );
    match parse_float(value.as_bytes()) {
        Ok(bound) if is_bound => canonical_float(bound),
        _ => value,
    }
}

/// Go's shortest `%g`, with `.0` behind integers.
fn canonical_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{value}");
    if plain.contains('.') {
        plain
    } else {
        format!("{plain}.0")
    }
}

/// Resolves `\\`, `\"` and `\n`; any other backslash stays. `None` when it is not UTF-8.
pub(super) fn unescape(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    Some(unescape_text(text, true))
}

/// As [`unescape`], with or without `\"`.
pub(super) fn unescape_text(text: &str, quotes: bool) -> String {
    if memchr::memchr(b'\\', text.as_bytes()).is_none() {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let resolved = match (character, characters.peek()) {
            ('\\', Some('\\')) => Some('\\'),
            ('\\', Some('n')) => Some('\n'),
            ('\\', Some('"')) if quotes => Some('"'),
            _ => None,
        };
        if resolved.is_some() {
            characters.next();
        }
        out.push(resolved.unwrap_or(character));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_take_their_canonical_form_inside_their_own_kind_only() {
        let le = |text: &str| normalise_bound(MetricType::Histogram, "le", text.to_owned());
        for (sent, kept) in [
            ("1", "1.0"),
            ("0", "0.0"),
            ("+Inf", "+Inf"),
            ("1e3", "1000.0"),
            ("0.25", "0.25"),
            ("0.00001", "1e-05"),
            ("0.0001", "0.0001"),
            ("999999", "999999.0"),
            ("1000000", "1e+06"),
            ("12345678.9", "1.23456789e+07"),
            ("1e21", "1e+21"),
            ("-5", "-5.0"),
            ("x", "x"),
        ] {
            assert_eq!(le(sent), kept);
        }
        let other = normalise_bound(MetricType::Summary, "le", "1".to_owned());
        assert_eq!(other, "1");
    }

    #[test]
    fn minus_zero_keeps_its_sign_and_every_nan_is_the_same() {
        assert_eq!(parse_float(b"-0").unwrap().to_bits(), (-0.0_f64).to_bits());
        assert_eq!(parse_float(b"nAn").unwrap().to_bits(), NORMAL_NAN_BITS);
    }
}
