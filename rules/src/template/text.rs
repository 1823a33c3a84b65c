//! Prometheus's template functions from texts and numbers to texts.
//!
//! Source: Prometheus's documentation of template functions; answers of `promtool test rules`.

use std::net::IpAddr;

use super::{
    format,
    number::{FloatError, parse_float},
    quote::quote,
    time::Time,
    value::{IntType, Value},
};

/// A value as a float: floats, texts, whole numbers, durations in seconds.
pub(super) fn to_float(value: &Value) -> Result<f64, String> {
    match value.inner() {
        Value::Float(value) => Ok(*value),
        Value::Text(text) => parse_float(text).map_err(|error| {
            let why = match error {
                FloatError::Syntax => "invalid syntax",
                FloatError::Range => "value out of range",
            };
            format!("strconv.ParseFloat: parsing {}: {why}", quote(text))
        }),
        Value::Int(value, IntType::Int | IntType::Int64) => Ok(*value as f64),
        Value::Int(value, IntType::Duration) => Ok(*value as f64 / 1e9),
        other => Err(format!("can't convert {} to float", other.type_name())),
    }
}

/// A float as a whole number. What does not fit becomes the smallest, as in Go on x86-64.
pub(super) fn to_int(value: f64) -> i64 {
    // 2^63 is the first float that does not fit.
    if value.abs() < 2f64.powi(63) {
        value as i64
    } else {
        i64::MIN
    }
}

/// `%.4g`.
fn four_digits(value: f64) -> String {
    format::printf("%.4g", &[Value::Float(value)], usize::MAX).unwrap_or_default()
}

/// Divides by `step` while the value is too large, for at most as many times as there are prefixes.
fn with_large_prefix(value: f64, step: f64, prefixes: &[&str]) -> String {
    let mut value = value;
    let mut prefix = "";
    for next in prefixes {
        if value.abs() < step {
            break;
        }
        prefix = next;
        value /= step;
    }
    four_digits(value) + prefix
}

fn with_small_prefix(value: f64) -> String {
    let mut value = value;
    let mut prefix = "";
    for next in ["m", "u", "n", "p", "f", "a", "z", "y"] {
        if value.abs() >= 1.0 {
            break;
        }
        prefix = next;
        value *= 1000.0;
    }
    four_digits(value) + prefix
}

/// `humanize`.
pub(super) fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        four_digits(value)
    } else if value.abs() >= 1.0 {
        with_large_prefix(value, 1000.0, &["k", "M", "G", "T", "P", "E", "Z", "Y"])
    } else {
        with_small_prefix(value)
    }
}

/// `humanize1024`.
pub(super) fn humanize1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return four_digits(value);
    }
    with_large_prefix(
        value,
        1024.0,
        &["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"],
    )
}

/// `humanizeDuration`: of seconds.
pub(super) fn humanize_duration(value: f64) -> String {
    if !value.is_finite() {
        return four_digits(value);
    }
    if value == 0.0 {
        return four_digits(value) + "s";
    }
    if value.abs() < 1.0 {
        return with_small_prefix(value) + "s";
    }
    let sign = if value < 0.0 { "-" } else { "" };
    let value = value.abs();
    let whole = to_int(value);
    let (days, hours) = (whole / 86_400, whole / 3600 % 24);
    let (minutes, seconds) = (whole / 60 % 60, whole % 60);
    if days != 0 {
        format!("{sign}{days}d {hours}h {minutes}m {seconds}s")
    } else if hours != 0 {
        format!("{sign}{hours}h {minutes}m {seconds}s")
    } else if minutes != 0 {
        format!("{sign}{minutes}m {seconds}s")
    } else {
        format!("{sign}{}s", four_digits(value))
    }
}

/// `humanizePercentage`.
pub(super) fn humanize_percentage(value: f64) -> String {
    four_digits(value * 100.0) + "%"
}

/// `humanizeTimestamp`: of seconds since 1970.
pub(super) fn humanize_timestamp(value: f64) -> Result<String, String> {
    if !value.is_finite() {
        return Ok(four_digits(value));
    }
    to_time(value).map(|time| time.to_string())
}

/// `toTime`: of seconds since 1970, exact to the millisecond.
pub(super) fn to_time(value: f64) -> Result<Time, String> {
    if !value.is_finite() {
        return Err("value is NaN or Inf".to_owned());
    }
    let nanoseconds = value * 1e9;
    if nanoseconds > i64::MAX as f64 || nanoseconds < i64::MIN as f64 {
        return Err(format!(
            "{} cannot be represented as a nanoseconds timestamp since it overflows int64",
            format::display(&Value::Float(value))
        ));
    }
    Ok(Time::from_milliseconds(nanoseconds as i64 / 1_000_000))
}

/// `title`: the first letter of every word in title case, the others as they are.
pub(super) fn title(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut is_titled = false;
    for (at, c) in chars.iter().enumerate() {
        let letter_at = |at: Option<usize>| {
            at.and_then(|at| chars.get(at))
                .is_some_and(|c| c.is_alphabetic())
        };
        let is_within = c.is_alphanumeric()
            || *c == '_'
            || (joins_letters(*c) && letter_at(at.checked_sub(1)) && letter_at(Some(at + 1)));
        if !is_within {
            is_titled = false;
            out.push(*c);
        } else if !is_titled && (c.is_lowercase() || c.is_uppercase() || c.is_alphabetic()) {
            is_titled = true;
            push_title(&mut out, *c);
        } else {
            out.push(*c);
        }
    }
    out
}

/// Signs that do not end a word when letters stand on both sides.
fn joins_letters(c: char) -> bool {
    matches!(c, '\'' | '.' | ':' | '·' | '‘' | '’' | '․' | '\u{2027}')
}

fn push_title(out: &mut String, c: char) {
    // The letters that have a title case of their own.
    let own = match c {
        'Ǆ' | 'ǆ' => Some('ǅ'),
        'Ǉ' | 'ǉ' => Some('ǈ'),
        'Ǌ' | 'ǌ' => Some('ǋ'),
        'Ǳ' | 'ǳ' => Some('ǲ'),
        _ => None,
    };
    if let Some(own) = own {
        out.push(own);
    } else if c.is_lowercase() {
        let mut upper = c.to_uppercase();
        out.extend(upper.next());
        out.extend(upper.flat_map(char::to_lowercase));
    } else {
        out.push(c);
    }
}

/// `toUpper`: letter by letter; one without a single upper-case letter stays.
pub(super) fn to_upper(text: &str) -> String {
    text.chars()
        .map(|c| single(c.to_uppercase()).unwrap_or(c))
        .collect()
}

/// `toLower`.
pub(super) fn to_lower(text: &str) -> String {
    text.chars()
        .map(|c| {
            // The one letter whose lower case the standard library spells with two.
            let lower = if c == 'İ' { Some('i') } else { None };
            lower.or_else(|| single(c.to_lowercase())).unwrap_or(c)
        })
        .collect()
}

fn single(mut chars: impl Iterator<Item = char>) -> Option<char> {
    let first = chars.next()?;
    chars.next().is_none().then_some(first)
}

/// `stripPort`: the host of `host:port`; anything else as it is.
pub(super) fn strip_port(text: &str) -> &str {
    split_host_port(text).map_or(text, |(host, _)| host)
}

/// `stripDomain`: the first part of the host's name, with the port; addresses stay.
pub(super) fn strip_domain(text: &str) -> String {
    let (host, port) = split_host_port(text).unwrap_or((text, ""));
    if host.parse::<IpAddr>().is_ok() {
        return text.to_owned();
    }
    let name = host.split('.').next().unwrap_or(host);
    match port {
        "" => name.to_owned(),
        _ if name.contains(':') => format!("[{name}]:{port}"),
        _ => format!("{name}:{port}"),
    }
}

/// The parts of `host:port` or `[host]:port`.
fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let (before, port) = text.rsplit_once(':')?;
    let host = match before.strip_prefix('[') {
        Some(inner) => {
            let (host, behind) = inner.split_once(']')?;
            if !behind.is_empty() {
                return None;
            }
            host
        }
        None if before.contains(':') => return None,
        None => before,
    };
    (!host.contains(['[', ']']) && !port.contains(['[', ']'])).then_some((host, port))
}
