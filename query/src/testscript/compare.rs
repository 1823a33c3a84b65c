//! Answers against expectations, with upstream's tolerance.

use std::{fmt::Write as _, sync::Arc};

use narthex_storage::{Labels, ResetHint, Timestamp, is_stale_marker};

use super::script::{Annotations, Expected};
use crate::{
    FloatHistogram, Grid, SampleValue, Series, Value, VectorSample,
    format::{FloatStyle, format_float},
    histogram::Buckets,
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

/// Whether two samples are equal for a test.
fn is_same(wanted: &SampleValue, found: &SampleValue) -> bool {
    match (wanted, found) {
        (SampleValue::Float(wanted), SampleValue::Float(found)) => almost_equal(*wanted, *found),
        (SampleValue::Histogram(wanted), SampleValue::Histogram(found)) => {
            is_same_histogram(wanted, found)
        }
        _ => false,
    }
}

/// Whether two histograms are equal for a test: but for empty buckets, and all numbers nearly.
fn is_same_histogram(wanted: &FloatHistogram, found: &FloatHistogram) -> bool {
    let (wanted, found) = (wanted.clone().compact(), found.clone().compact());
    let same_side = |wanted: &Buckets, found: &Buckets| {
        wanted.len() == found.len()
            && wanted
                .iter()
                .zip(found.iter())
                .all(|((a, wanted), (b, found))| a == b && almost_equal(wanted, found))
    };
    let same_hint =
        wanted.reset_hint == ResetHint::Unknown || wanted.reset_hint == found.reset_hint;
    same_hint
        && wanted.schema == found.schema
        && wanted.zero_threshold == found.zero_threshold
        && almost_equal(wanted.count, found.count)
        && almost_equal(wanted.sum, found.sum)
        && almost_equal(wanted.zero_count, found.zero_count)
        && *wanted.custom_bounds == *found.custom_bounds
        && same_side(&wanted.positive, &found.positive)
        && same_side(&wanted.negative, &found.negative)
}

/// A sample of either kind at a time.
struct Point {
    time: Timestamp,
    value: SampleValue,
}

impl Point {
    fn of(element: &VectorSample) -> Self {
        Self {
            time: element.time,
            value: element.value.clone(),
        }
    }

    /// All samples of a series, ascending in time.
    fn all(series: &Series) -> Vec<Self> {
        let floats = series.samples.iter().map(|sample| Self {
            time: sample.time,
            value: SampleValue::Float(sample.value),
        });
        let histograms = series.histograms.iter().map(|sample| Self {
            time: sample.time,
            value: SampleValue::Histogram(Arc::clone(&sample.histogram)),
        });
        let mut all: Vec<Self> = floats.chain(histograms).collect();
        all.sort_by_key(|point| point.time);
        all
    }
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
            let found: Vec<(&Labels, Vec<Point>)> = samples
                .iter()
                .map(|element| (&element.labels, vec![Point::of(element)]))
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
            let found: Vec<(&Labels, Vec<Point>)> = series
                .iter()
                .map(|series| (&series.labels, Point::all(series)))
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
    found: &[(&Labels, Vec<Point>)],
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
            wanted.extend(value.clone().map(|value| Point {
                time: grid.time(index),
                value,
            }));
        }
        let is_equal = |(wanted, found): (&Point, &Point)| {
            (is_instant || wanted.time == found.time) && is_same(&wanted.value, &found.value)
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
                let point = points(&[Point::of(element)], true);
                write!(out, "{} {point}; ", element.labels)
                    .expect("writing to a string does not fail");
            }
        }
        Value::Matrix(series) => {
            for series in series {
                let points = points(&Point::all(series), false);
                write!(out, "{} {points}; ", series.labels)
                    .expect("writing to a string does not fail");
            }
        }
    }
    if out.is_empty() {
        out.push_str("nothing");
    }
    out.trim_end_matches("; ").to_owned()
}

fn points(points: &[Point], is_instant: bool) -> String {
    let texts: Vec<String> = points
        .iter()
        .map(|point| {
            let value = match &point.value {
                SampleValue::Float(value) => float(*value),
                SampleValue::Histogram(histogram) => histogram.to_string(),
            };
            if is_instant {
                value
            } else {
                format!("{value}@{}", point.time)
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
