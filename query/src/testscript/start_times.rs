//! Start timestamps in series lines: `x@st -1m _ 0-30sx4`, each counted from the time of the sample.

use crate::{duration::parse_duration, parser::quote};

use super::values::{SeriesError, VALUES_MAX};

/// Reads what stands behind `@st`, which is `offset` bytes into its line: for each step a distance in
/// milliseconds, `None` for `_`.
pub(super) fn parse_start_times(
    text: &str,
    offset: usize,
) -> Result<Vec<Option<i64>>, SeriesError> {
    let mut starts = Vec::new();
    let mut at = offset;
    for word in text.split([' ', '\t']) {
        if !word.is_empty() {
            let fail = |problem: &str| {
                let message = format!("{problem} {} in start timestamps", quote(word));
                SeriesError::new(at, message)
            };
            let item = Item::parse(word).ok_or_else(|| fail("unexpected"))?;
            if item.count > VALUES_MAX - starts.len().min(VALUES_MAX) {
                return Err(fail("too many repetitions"));
            }
            starts.extend((0..item.count as i64).map(|index| {
                let distance = item.first_ms?;
                Some(distance.saturating_add(index.saturating_mul(item.step_ms)))
            }));
        }
        at += word.len() + 1;
    }
    Ok(starts)
}

/// One or several start timestamps: `_`, `_x3`, `-1m`, `-1mx3`, `-30s-1mx3`.
struct Item {
    /// `None` for `_`.
    first_ms: Option<i64>,
    step_ms: i64,
    count: usize,
}

impl Item {
    fn parse(word: &str) -> Option<Self> {
        let (distances, count) = match word.split_once('x') {
            Some((distances, count)) => (distances, Some(count.parse::<usize>().ok()?)),
            None => (word, None),
        };
        if distances == "_" {
            return Some(Self {
                first_ms: None,
                step_ms: 0,
                count: count.unwrap_or(1),
            });
        }
        // The first sign belongs to the first distance.
        let sign = distances
            .char_indices()
            .skip(1)
            .find(|(_, c)| matches!(c, '+' | '-'));
        let (first, step) = match sign {
            Some((place, _)) => (distances.get(..place)?, Some(distances.get(place..)?)),
            None => (distances, None),
        };
        if step.is_some() && count.is_none() {
            return None;
        }
        Some(Self {
            first_ms: Some(distance_ms(first)?),
            step_ms: step.map_or(Some(0), distance_ms)?,
            // The first one does not count as a repetition.
            count: count.map_or(1, |count| count.saturating_add(1)),
        })
    }
}

/// A duration with an optional sign.
fn distance_ms(text: &str) -> Option<i64> {
    let negative = text.starts_with('-');
    let duration = text.strip_prefix(['+', '-']).unwrap_or(text);
    let distance = i64::try_from(parse_duration(duration).ok()?.as_millis()).ok()?;
    Some(if negative { -distance } else { distance })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_repeat_and_step() {
        assert_eq!(
            parse_start_times(" _ 0  -1m +1h30m _x2 5msx1 -30s-1mx2", 1).unwrap(),
            [
                None,
                Some(0),
                Some(-60_000),
                Some(5_400_000),
                None,
                None,
                Some(5),
                Some(5),
                Some(-30_000),
                Some(-90_000),
                Some(-150_000),
            ]
        );
        assert_eq!(parse_start_times("", 1).unwrap(), []);
    }

    #[test]
    fn what_is_no_distance_is_refused_with_its_place() {
        for (text, message) in [
            (
                " 1m -1",
                "1:9: parse error: unexpected \"-1\" in start timestamps",
            ),
            (
                " 1m-1m",
                "1:6: parse error: unexpected \"1m-1m\" in start timestamps",
            ),
            (
                " 1mx",
                "1:6: parse error: unexpected \"1mx\" in start timestamps",
            ),
            (
                " _ a",
                "1:8: parse error: unexpected \"a\" in start timestamps",
            ),
            (
                " 1mx1000000",
                "1:6: parse error: too many repetitions \"1mx1000000\" in start timestamps",
            ),
        ] {
            let error = parse_start_times(text, 4).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
