//! Series lines: a metric and its values, `x{a="b"} 1 2+3x4 _ stale`.

use narthex_storage::{Labels, MatchOp, stale_marker};

use crate::parser::parse_selector;

/// The most values that one line may stand for.
const VALUES_MAX: usize = 1_000_000;

/// A series line.
#[derive(Debug, PartialEq)]
pub(super) struct SeriesLine {
    /// The series.
    pub(super) labels: Labels,
    /// What it holds.
    pub(super) values: Values,
}

/// The values of a series line.
#[derive(Debug, PartialEq)]
pub(super) enum Values {
    /// One for each step; `None` where there is no sample.
    Floats(Vec<Option<f64>>),
    /// They are of a kind that is not built yet, named here.
    NotBuilt(&'static str),
}

/// Parses a series line.
pub(super) fn parse_series(line: &str) -> Result<SeriesLine, String> {
    let (metric, rest) = split_metric(line)?;
    let matchers = parse_selector(metric).map_err(|error| error.to_string())?;
    if let Some(matcher) = matchers.iter().find(|m| m.op() != MatchOp::Equal) {
        return Err(format!("{matcher} is not a label"));
    }
    let pairs = matchers
        .iter()
        .map(|matcher| (matcher.name(), matcher.value()));
    let labels = Labels::try_from_pairs(pairs).map_err(|error| error.to_string())?;
    let values = if rest.starts_with("@st") {
        Values::NotBuilt("start timestamps are not built yet")
    } else if rest.contains("{{") {
        Values::NotBuilt("native histograms are not built yet")
    } else {
        Values::Floats(parse_values(rest)?)
    };
    Ok(SeriesLine { labels, values })
}

/// Cuts a line behind its metric: a name, labels in braces, or both.
fn split_metric(line: &str) -> Result<(&str, &str), String> {
    let is_name = |c: char| c == '_' || c == ':' || c.is_ascii_alphanumeric();
    let name_len = line.find(|c| !is_name(c)).unwrap_or(line.len());
    let (name, behind) = line.split_at(name_len);
    let trimmed = behind.trim_start();
    if !trimmed.starts_with('{') || (trimmed.starts_with("{{") && !name.is_empty()) {
        if name.is_empty() {
            return Err(format!("a series must start with its metric: {line:?}"));
        }
        return Ok((name, trimmed));
    }
    let open = line.len() - trimmed.len();
    let mut quote = None;
    let mut chars = trimmed.char_indices();
    while let Some((index, c)) = chars.next() {
        match (quote, c) {
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '}') => {
                let (metric, rest) = line.split_at(open + index + 1);
                return Ok((metric, rest.trim_start()));
            }
            (Some(open), _) if c == open => quote = None,
            (Some('"' | '\''), '\\') => {
                chars.next();
            }
            _ => {}
        }
    }
    Err(format!("the braces are not closed: {line:?}"))
}

fn parse_values(text: &str) -> Result<Vec<Option<f64>>, String> {
    let mut values = Vec::new();
    for item in text.split_whitespace() {
        let mut rest = item;
        // What an item may be: _, _xN, V, VxN, V+DxN, V-DxN.
        if let Some(behind) = rest.strip_prefix('_') {
            let count = match behind {
                "" => 1,
                _ => repetitions(behind, item)?,
            };
            check_count(values.len(), count)?;
            values.resize(values.len() + count, None);
            continue;
        }
        let mut value = take_value(&mut rest).ok_or_else(|| invalid(item))?;
        let delta = match rest.chars().next() {
            Some('+' | '-') => take_value(&mut rest).ok_or_else(|| invalid(item))?,
            _ => 0.0,
        };
        if rest.is_empty() && item.len() > rest.len() && delta == 0.0 {
            values.push(Some(value));
            continue;
        }
        let is_constant = delta == 0.0;
        // The first value does not count as a repetition.
        let count = repetitions(rest, item)? + 1;
        check_count(values.len(), count)?;
        for _ in 0..count {
            values.push(Some(value));
            if !is_constant {
                value += delta;
            }
        }
    }
    Ok(values)
}

fn invalid(item: &str) -> String {
    format!("{item:?} is not a value")
}

fn repetitions(text: &str, item: &str) -> Result<usize, String> {
    let digits = text.strip_prefix('x').ok_or_else(|| invalid(item))?;
    digits.parse().map_err(|_| invalid(item))
}

fn check_count(present: usize, more: usize) -> Result<(), String> {
    if present.saturating_add(more) > VALUES_MAX {
        return Err(format!("a series may have at most {VALUES_MAX} values"));
    }
    Ok(())
}

/// Takes a number, `Inf`, `NaN` or `stale`, with a sign if there is one.
fn take_value(rest: &mut &str) -> Option<f64> {
    let unsigned = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    let sign = if rest.starts_with('-') { -1.0 } else { 1.0 };
    let bytes = unsigned.as_bytes();
    let mut len = 0;
    if bytes.first().is_some_and(u8::is_ascii_alphabetic) {
        len = bytes
            .iter()
            .take_while(|byte| byte.is_ascii_alphabetic() && **byte != b'x')
            .count();
    } else {
        while let Some(byte) = bytes.get(len) {
            let is_exponent_sign = matches!(byte, b'+' | b'-')
                && len > 0
                && matches!(bytes.get(len - 1), Some(b'e' | b'E'));
            if !(byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E') || is_exponent_sign) {
                break;
            }
            len += 1;
        }
    }
    let (text, behind) = unsigned.split_at_checked(len)?;
    *rest = behind;
    if text == "stale" {
        return Some(stale_marker());
    }
    text.parse::<f64>().ok().map(|value| sign * value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_repeat_and_count_up_as_upstream_describes() {
        let check = |text: &str, expected: &str| {
            let line = parse_series(&format!("x{{a=\"}}b\"}} {text}")).unwrap();
            assert_eq!(line.labels.to_string(), r#"{__name__="x", a="}b"}"#);
            let Values::Floats(values) = line.values else {
                panic!("{text} are floats");
            };
            let found: Vec<String> = values
                .iter()
                .map(|value| value.map_or("_".to_owned(), |value| value.to_string()))
                .collect();
            assert_eq!(found.join(" "), expected, "{text}");
        };
        check("1 2.5 -3 +4", "1 2.5 -3 4");
        check("1x2", "1 1 1");
        check("0+10x3", "0 10 20 30");
        check("5-2x2 7", "5 3 1 7");
        check("-1-1x1", "-1 -2");
        check("_ 1 _x3", "_ 1 _ _ _");
        check("Inf -inf NaN", "inf -inf NaN");
        check("1e3+1e-1x1", "1000 1000.1");
        check("NaNx1", "NaN NaN");
        check("1+0x2", "1 1 1");
        check("", "");
        let stale = parse_series("x stale").unwrap().values;
        let Values::Floats(stale) = stale else {
            panic!("a marker is a float");
        };
        assert!(narthex_storage::is_stale_marker(stale[0].unwrap()));
    }

    #[test]
    fn what_is_no_series_line_is_refused() {
        for line in [
            "1 2",
            "x 1y",
            "x 1x",
            "x{a!=\"b\"} 1",
            "x{a=\"b\" 1",
            "x 1x9999999",
        ] {
            assert!(parse_series(line).is_err(), "{line}");
        }
        let histogram = parse_series("x {{schema:0}}").unwrap();
        assert_eq!(
            histogram.values,
            Values::NotBuilt("native histograms are not built yet")
        );
    }
}
