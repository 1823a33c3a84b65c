//! Whether the servers answer the same.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::Context;
use serde_json::Value;

use crate::servers::Kind;

/// Relative; sums over series are added in another order.
const TOLERANCE: f64 = 1e-9;

/// What differs between the first server's answer and the others', to be printed behind a row.
///
/// # Errors
/// An answer is none.
pub(crate) fn differences(answers: &[(Kind, Vec<u8>)]) -> anyhow::Result<String> {
    let mut parsed = Vec::new();
    for (kind, answer) in answers {
        let mut answer: Value = serde_json::from_slice(answer).context(format!("{kind:?}"))?;
        parsed.push((*kind, answer["data"].take()));
    }
    let mut text = String::new();
    let (_, ours) = &parsed[0];
    for (kind, theirs) in &parsed[1..] {
        let (here, there) = (size(ours), size(theirs));
        if here != there {
            let _infallible = write!(text, "  {here} series, {kind:?} {there}");
        } else if *kind == Kind::Prometheus
            && let Some(difference) = difference(ours, theirs)
        {
            let _infallible = write!(text, "  {kind:?} answers otherwise: {difference}");
        }
    }
    Ok(text)
}

fn series(data: &Value) -> &[Value] {
    let list = data.as_array().or_else(|| data["result"].as_array());
    list.map_or(&[], Vec::as_slice)
}

fn size(data: &Value) -> usize {
    series(data).len()
}

/// A label set or a text, and its samples.
fn by_labels(data: &Value) -> BTreeMap<String, Vec<&Value>> {
    let of = |series: &'_ Value| match series.get("metric") {
        Some(labels) => labels.to_string(),
        None => series.to_string(),
    };
    let samples = |series| match (Value::get(series, "value"), Value::get(series, "values")) {
        (Some(value), _) => vec![value],
        (_, Some(values)) => values
            .as_array()
            .map_or(Vec::new(), |list| list.iter().collect()),
        _ => Vec::new(),
    };
    let list = series(data).iter();
    list.map(|series| (of(series), samples(series))).collect()
}

fn difference(ours: &Value, theirs: &Value) -> Option<String> {
    let (ours, theirs) = (by_labels(ours), by_labels(theirs));
    for ((labels, ours), (other, theirs)) in ours.iter().zip(&theirs) {
        if labels != other || ours.len() != theirs.len() {
            let (ours, theirs) = (ours.len(), theirs.len());
            return Some(format!("{labels} has {ours} points, {other} {theirs}"));
        }
        for (ours, theirs) in ours.iter().zip(theirs) {
            let value = |sample: &Value| sample[1].as_str()?.parse::<f64>().ok();
            let (a, b) = (value(ours), value(theirs));
            let agree = match (a, b) {
                (Some(a), Some(b)) => {
                    a == b
                        || (a.is_nan() && b.is_nan())
                        || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
                }
                _ => false,
            };
            if !agree || ours[0] != theirs[0] {
                return Some(format!("{labels}: {ours}, {theirs}"));
            }
        }
    }
    None
}
