//! Answers against expectations, with upstream's tolerance.

use std::fmt::Write as _;

use narthex_storage::{Labels, Sample, is_stale_marker};

use super::script::{Annotations, Expected};
use crate::{
    Grid, Series, Value,
    format::{FloatStyle, format_float},
};

/// Two values may differ by this share of the sum of their magnitudes.
const EPSILON: f64 = 0.000_001;

/// Whether two values are equal for a test: NaN equals NaN, but not a staleness marker.
fn almost_equal(a: f64, b: f64) -> bool {
    if is_stale_marker(a) || is_stale_marker(b) {
        return is_stale_marker(a) && is_stale_marker(b);
    }
    if a == b || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < EPSILON * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < EPSILON
}

/// Compares a value with what is expected of an evaluation over `grid`; the error says what
/// differs.
pub(super) fn compare(expected: &Expected, value: &Value, grid: Grid) -> Result<(), String> {
    if let Some(wanted) = &expected.string {
        return match value {
            Value::String { value, .. } if value == wanted => Ok(()),
            _ => Err(format!("the string {wanted:?} was expected")),
        };
    }
    if let Some(wanted) = expected.scalar {
        return match value {
            Value::Scalar(sample) if almost_equal(sample.value, wanted) => Ok(()),
            _ => Err(format!("the scalar {} was expected", float(wanted))),
        };
    }
    match value {
        Value::Vector(samples) => {
            let found: Vec<(&Labels, Vec<Sample>)> = samples
                .iter()
                .map(|element| (&element.labels, vec![element.sample]))
                .collect();
            if expected.is_ordered {
                for ((wanted, _), (labels, _)) in expected.series.iter().zip(&found) {
                    if wanted != *labels {
                        return Err(format!("{wanted} was expected in the place of {labels}"));
                    }
                }
            }
            compare_series(expected, &found, grid, true)
        }
        Value::Matrix(series) => {
            if expected.is_ordered {
                return Err("an ordered result was expected, not a range vector".to_owned());
            }
            if let Some(pair) = series
                .windows(2)
                .find(|pair| pair[0].labels >= pair[1].labels)
            {
                return Err(format!(
                    "{} must not stand before {}",
                    pair[0].labels, pair[1].labels
                ));
            }
            let found: Vec<(&Labels, Vec<Sample>)> = series
                .iter()
                .map(|Series { labels, samples }| (labels, samples.clone()))
                .collect();
            compare_series(expected, &found, grid, false)
        }
        Value::Scalar(_) | Value::String { .. } => {
            Err("a vector was expected, not a scalar or string".to_owned())
        }
    }
}

fn compare_series(
    expected: &Expected,
    found: &[(&Labels, Vec<Sample>)],
    grid: Grid,
    is_instant: bool,
) -> Result<(), String> {
    for (labels, samples) in found {
        let Some((_, values)) = expected.series.iter().find(|(wanted, _)| wanted == *labels) else {
            return Err(format!("unexpected series {labels}"));
        };
        let mut wanted = Vec::new();
        for (index, value) in values.iter().enumerate() {
            if !is_instant && index >= grid.steps() {
                return Err(format!(
                    "{} points were expected for {labels}, the times allow {}",
                    values.len(),
                    grid.steps()
                ));
            }
            wanted.extend(value.map(|value| Sample {
                time: grid.time(index),
                value,
            }));
        }
        let is_equal = |(wanted, found): (&Sample, &Sample)| {
            (is_instant || wanted.time == found.time) && almost_equal(wanted.value, found.value)
        };
        if wanted.len() != samples.len() || !wanted.iter().zip(samples).all(is_equal) {
            return Err(format!(
                "{} was expected for {labels}",
                points(&wanted, is_instant)
            ));
        }
    }
    let missing = expected.series.iter().find(|(wanted, values)| {
        values.iter().any(Option::is_some) && !found.iter().any(|(labels, _)| *labels == wanted)
    });
    match missing {
        Some((labels, _)) => Err(format!("{labels} was expected")),
        None => Ok(()),
    }
}

/// Compares warnings or infos with what is expected of them.
pub(super) fn compare_annotations(
    kind: &str,
    expected: &Annotations,
    found: &[String],
) -> Result<(), String> {
    match expected {
        Annotations::Any => Ok(()),
        Annotations::None if found.is_empty() => Ok(()),
        Annotations::None => Err(format!("no {kind} was expected")),
        Annotations::Some(messages) => {
            for message in messages {
                if !found.iter().any(|text| message.matches(text)) {
                    return Err(format!("a {kind} was expected: {}", message.describe()));
                }
            }
            for text in found {
                if !messages.iter().any(|message| message.matches(text)) {
                    return Err(format!("unexpected {kind}: {text}"));
                }
            }
            Ok(())
        }
    }
}

/// A value as text, for reports.
pub(super) fn describe(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Scalar(sample) => out.push_str(&float(sample.value)),
        Value::String { value, .. } => out = format!("{value:?}"),
        Value::Vector(samples) => {
            for element in samples {
                write!(out, "{} {}; ", element.labels, float(element.sample.value))
                    .expect("writing to a string does not fail");
            }
        }
        Value::Matrix(series) => {
            for Series { labels, samples } in series {
                write!(out, "{labels} {}; ", points(samples, false))
                    .expect("writing to a string does not fail");
            }
        }
    }
    if out.is_empty() {
        out.push_str("nothing");
    }
    out.trim_end_matches("; ").to_owned()
}

fn points(samples: &[Sample], is_instant: bool) -> String {
    let texts: Vec<String> = samples
        .iter()
        .map(|sample| {
            let value = float(sample.value);
            if is_instant {
                value
            } else {
                format!("{value}@{}", sample.time)
            }
        })
        .collect();
    if texts.is_empty() {
        return "no point".to_owned();
    }
    texts.join(" ")
}

fn float(value: f64) -> String {
    format_float(value, FloatStyle::General)
}
