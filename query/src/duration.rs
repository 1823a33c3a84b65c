//! Prometheus's text form of durations: `1h30m`, `15s`, `0`.
//!
//! The grammar is that of `model.Duration`: whole numbers with the units `y`, `w`, `d`, `h`, `m`,
//! `s`, `ms`, each at most once and in this order; a year has 365 days. Configuration, HTTP
//! parameters and PromQL share it. Durations are never negative here; signs belong to PromQL.

use std::{fmt::Write as _, time::Duration};

/// The units from the largest to the smallest, in milliseconds.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 24 * 3600 * 1000),
    ("w", 7 * 24 * 3600 * 1000),
    ("d", 24 * 3600 * 1000),
    ("h", 3600 * 1000),
    ("m", 60 * 1000),
    ("s", 1000),
    ("ms", 1),
];

/// The longest duration that Prometheus can hold, about 292 years, in milliseconds (2^63 ns).
const MAX_MS: u64 = (1 << 63) / 1_000_000;

/// Why a text is not a duration, in Prometheus's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing at all.
    #[error("empty duration string")]
    Empty,
    /// Not numbers and units, or units out of order.
    #[error("not a valid duration string: {0:?}")]
    Invalid(String),
    /// A unit that does not exist.
    #[error("unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The whole text.
        text: String,
    },
    /// Longer than about 292 years.
    #[error("duration out of range")]
    OutOfRange,
}

/// Parses a duration, exact to the millisecond. `0` needs no unit.
///
/// # Errors
/// [`DurationError`], with Prometheus's text.
///
/// ```
/// # use std::time::Duration;
/// assert_eq!(narthex_query::parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    match text {
        "" => return Err(DurationError::Empty),
        "0" => return Ok(Duration::ZERO),
        _ => {}
    }
    let invalid = || DurationError::Invalid(text.to_owned());
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total_ms: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, behind) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| invalid())?;
        let (unit, behind) = behind.split_at(
            behind
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(behind.len()),
        );
        rest = behind;
        if unit.is_empty() {
            return Err(invalid());
        }
        if !UNITS.iter().any(|(name, _)| *name == unit) {
            return Err(DurationError::UnknownUnit {
                unit: unit.to_owned(),
                text: text.to_owned(),
            });
        }
        // The iterator only moves on, so a unit that is repeated or out of order is not found.
        let (_, unit_ms) = units.find(|(name, _)| *name == unit).ok_or_else(invalid)?;
        total_ms = number
            .checked_mul(*unit_ms)
            .and_then(|part_ms| total_ms.checked_add(part_ms))
            .filter(|total_ms| *total_ms <= MAX_MS)
            .ok_or(DurationError::OutOfRange)?;
    }
    Ok(Duration::from_millis(total_ms))
}

/// Writes a duration as Prometheus does; parts below a millisecond are cut off. Years and weeks
/// appear only when nothing remains behind them, for `90d` reads better than `12w6d`.
pub fn format_duration(duration: Duration) -> String {
    let mut rest_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest_ms == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, unit_ms) in UNITS {
        let only_exact = matches!(unit, "y" | "w");
        if (only_exact && rest_ms % unit_ms != 0) || rest_ms < unit_ms {
            continue;
        }
        write!(text, "{}{unit}", rest_ms / unit_ms).expect("writing to a string does not fail");
        rest_ms %= unit_ms;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Verdicts of Prometheus 3.5.3 (`/api/v1/format_query` of `x[…]` and configuration files).
    #[test]
    fn texts_are_accepted_and_refused_as_prometheus_does() {
        let check = |text: &str, expected: Result<u64, &str>| {
            assert_eq!(
                parse_duration(text).map_err(|error| error.to_string()),
                expected.map(Duration::from_millis).map_err(str::to_owned),
                "{text:?}"
            );
        };
        check("0", Ok(0));
        check("0s", Ok(0));
        check("324ms", Ok(324));
        check("3s", Ok(3_000));
        check("4d1h", Ok(4 * 86_400_000 + 3_600_000));
        check("3w2d1h", Ok((3 * 7 + 2) * 86_400_000 + 3_600_000));
        check("10y", Ok(10 * 365 * 86_400_000));
        check("292y", Ok(292 * 365 * 86_400_000));
        check("", Err("empty duration string"));
        check("1", Err(r#"not a valid duration string: "1""#));
        check("1y1m1d", Err(r#"not a valid duration string: "1y1m1d""#));
        check("1h1h", Err(r#"not a valid duration string: "1h1h""#));
        check("-1w", Err(r#"not a valid duration string: "-1w""#));
        check("d", Err(r#"not a valid duration string: "d""#));
        check("1.5d", Err(r#"unknown unit "." in duration "1.5d""#));
        check("5 m", Err(r#"unknown unit " m" in duration "5 m""#));
        check("294y", Err("duration out of range"));
        check("200y10400w", Err("duration out of range"));
        check("9999999999w", Err("duration out of range"));
        check(
            "99999999999999999999w",
            Err(r#"not a valid duration string: "99999999999999999999w""#),
        );
    }

    #[test]
    fn durations_print_in_the_units_that_read_best() {
        let check = |text: &str, expected: &str| {
            assert_eq!(format_duration(parse_duration(text).unwrap()), expected);
        };
        check("0", "0s");
        check("1d1h1m1s1ms", "1d1h1m1s1ms");
        check("90m", "1h30m");
        check("12w6d", "90d");
        check("14d", "2w");
        check("365d", "1y");
        check("366d", "366d");
        check("1500ms", "1s500ms");
        assert_eq!(format_duration(Duration::from_nanos(999_999)), "0s");
    }
}
