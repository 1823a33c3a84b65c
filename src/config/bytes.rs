//! Numbers of bytes with units: `512MB`, `1GiB`, `1.5KB`.
//!
//! Units are powers of two whether or not they are spelt with an `i`. Source: the `Base2Bytes` of
//! the units package Prometheus uses, as observed in Prometheus 3.5.3.

use std::fmt::Write as _;

/// The units with their exponents of 1024, the longest spelling of each first.
const UNITS: [(&str, u32); 13] = [
    ("KiB", 1),
    ("MiB", 2),
    ("GiB", 3),
    ("TiB", 4),
    ("PiB", 5),
    ("EiB", 6),
    ("KB", 1),
    ("MB", 2),
    ("GB", 3),
    ("TB", 4),
    ("PB", 5),
    ("EB", 6),
    ("B", 0),
];

/// The largest number that fits, as Go's `int64` limits it.
const MAX: f64 = 9.3e18;

/// Parses a number of bytes. `0` needs no unit; several numbers with units add up.
///
/// # Errors
/// A sentence in Prometheus's words.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    if text == "0" {
        return Ok(0);
    }
    let invalid = || format!("units: invalid {text}");
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let number_end = rest
            .find(|character: char| !(character.is_ascii_digit() || character == '.'))
            .unwrap_or(rest.len());
        let (number, behind) = rest.split_at(number_end);
        let value: f64 = number.parse().map_err(|_| invalid())?;
        let unit_end = behind
            .find(|character: char| character.is_ascii_digit() || character == '.')
            .unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(unit_end);
        let (_, exponent) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(|| format!("units: unknown unit {unit} in {text}"))?;
        total += value * 1024_f64.powi(*exponent as i32);
        rest = behind;
    }
    if total >= MAX {
        return Err(format!("units: overflow {text}"));
    }
    Ok(total as u64)
}

/// Writes a number of bytes as Prometheus does: every unit that is needed, largest first.
pub(crate) fn format(bytes: u64) -> String {
    if bytes == 0 {
        return "0B".to_owned();
    }
    let mut text = String::new();
    let mut rest = bytes;
    for (unit, exponent) in [
        ("EiB", 6),
        ("PiB", 5),
        ("TiB", 4),
        ("GiB", 3),
        ("MiB", 2),
        ("KiB", 1),
        ("B", 0),
    ] {
        let size = 1024_u64.pow(exponent);
        if rest >= size {
            write!(text, "{}{unit}", rest / size).expect("writing to a string does not fail");
            rest %= size;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Verdicts of Prometheus 3.5.3 on `body_size_limit`.
    #[test]
    fn texts_are_accepted_and_refused_as_prometheus_does() {
        let check = |text: &str, expected: Result<u64, &str>| {
            assert_eq!(parse(text), expected.map_err(str::to_owned), "{text:?}");
        };
        check("0", Ok(0));
        check("1.5KB", Ok(1536));
        check("1KiB2B", Ok(1026));
        check("10MB", Ok(10 << 20));
        check("1EB", Ok(1 << 60));
        check("10", Err("units: unknown unit  in 10"));
        check("10XB", Err("units: unknown unit XB in 10XB"));
        check("abc", Err("units: invalid abc"));
    }

    #[test]
    fn numbers_print_with_every_unit_they_need() {
        assert_eq!(format(0), "0B");
        assert_eq!(format(10 << 20), "10MiB");
        assert_eq!(format(1536), "1KiB512B");
    }
}
