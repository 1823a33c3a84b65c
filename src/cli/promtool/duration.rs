//! Durations as promtool's flags take them. They are not PromQL's: there are fractions and signs.

/// A duration in Go's notation, with days and weeks: `1d2h3m4.5s`. In nanoseconds.
///
/// # Errors
/// Go's sentence about what is wrong.
pub(super) fn flag_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let (number, behind) = rest.split_at(rest.find(|c| !is_number(c)).unwrap_or(rest.len()));
        let value: f64 = number.parse().map_err(|_| invalid())?;
        let (unit, behind) = behind.split_at(behind.find(is_number).unwrap_or(behind.len()));
        total += value
            * match unit {
                "" => return Err(format!("time: missing unit in duration {text:?}")),
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                "d" => 86_400e9,
                "w" => 604_800e9,
                _ => {
                    return Err(format!("time: unknown unit {unit:?} in duration {text:?}"));
                }
            };
        rest = behind;
    }
    if total >= i64::MAX as f64 {
        return Err(invalid());
    }
    Ok(if negative {
        -(total as i64)
    } else {
        total as i64
    })
}

#[cfg(test)]
mod tests {
    use super::flag_duration;

    /// Taken and refused by promtool 3.5.3 as the value of `--query.lookback-delta`.
    #[test]
    fn durations_are_read_as_promtool_reads_them() {
        for (text, expected) in [
            ("1h30m", Ok(5_400_000_000_000)),
            ("1h2m3.5s", Ok(3_723_500_000_000)),
            ("-1500ms", Ok(-1_500_000_000)),
            ("+.5h", Ok(1_800_000_000_000)),
            ("-5m", Ok(-300_000_000_000)),
            ("1w1d", Ok(691_200_000_000_000)),
            ("5µs2ns", Ok(5_002)),
            ("0", Ok(0)),
            ("", Err(r#"time: invalid duration """#)),
            ("x", Err(r#"time: invalid duration "x""#)),
            ("5", Err(r#"time: missing unit in duration "5""#)),
            ("1x", Err(r#"time: unknown unit "x" in duration "1x""#)),
            (
                "9999999999h",
                Err(r#"time: invalid duration "9999999999h""#),
            ),
        ] {
            assert_eq!(
                flag_duration(text),
                expected.map_err(str::to_owned),
                "{text}"
            );
        }
    }
}
