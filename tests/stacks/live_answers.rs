//! The queries of a stack's dashboards on pushed history, compared with Prometheus's own answers.
//!
//! `answers.jsonl` in a stack's folder holds what Prometheus 3.5.3 answered: a line for each query and
//! moment, without timestamps, the series in the order of their labels. The parity run writes it when
//! `NARTHEX_RECORD` is set, which is needed after a change of a script or of `queries.txt`.

use std::{fs, path::PathBuf};

use narthex_storage::Timestamp;
use serde_json::{Value, json};

use super::{
    exporter::folder,
    queries::{self, Query},
    scene::Scene,
};
use crate::harness::Server;

/// Answers may differ by so much of their size: sums of floats depend on the order of series, which
/// depends on the ports of the targets.
const TOLERANCE: f64 = 1e-9;

/// What one query answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    /// Seconds of script time.
    pub(super) at: i64,
    pub(super) panel: String,
    /// Of the instant query: type, series and annotations.
    pub(super) instant: Value,
    /// Of the range query that ends then: each series with its points, times counted from its end.
    pub(super) range: Option<Value>,
}

/// Asks every query of the stack at each of the script times `at`, on true-paced history whose script
/// time 0 is at `origin`.
pub(super) fn ask(server: &Server, scene: &Scene, origin: Timestamp, at: &[i64]) -> Vec<Answer> {
    let mut answers = Vec::new();
    for query in queries::load(scene.stack) {
        for &at in at {
            let end = origin / 1_000 + at;
            let expression = scene.real(&query.expression);
            let time = end.to_string();
            let form = [("query", expression.as_str()), ("time", &time)];
            let instant = server.form("/api/v1/query", &form).json();
            let range = query.range.map(|(length, step)| {
                let start = (end - length as i64).to_string();
                let step = step.to_string();
                let form = [
                    ("query", expression.as_str()),
                    ("start", &start),
                    ("end", &time),
                    ("step", &step),
                ];
                let answer = server.form("/api/v1/query_range", &form).json();
                shaped(scene, &query, answer, end)
            });
            answers.push(Answer {
                at,
                panel: query.panel.clone(),
                instant: shaped(scene, &query, instant, end),
                range,
            });
        }
    }
    answers
}

/// An answer without what differs from run to run.
fn shaped(scene: &Scene, query: &Query, mut answer: Value, end: i64) -> Value {
    assert_eq!(answer["status"], "success", "{}: {answer}", query.panel);
    let mut result = answer["data"]["result"].take();
    if answer["data"]["resultType"] == "scalar" {
        result = result[1].take();
    }
    if let Some(series) = result.as_array_mut() {
        for one in series.iter_mut() {
            let Some(one) = one.as_object_mut() else {
                continue;
            };
            if let Some(value) = one.get_mut("value") {
                *value = value[1].take();
            }
            for point in one
                .get_mut("values")
                .into_iter()
                .filter_map(Value::as_array_mut)
            {
                for point in point {
                    point[0] = json!(point[0].as_f64().unwrap() as i64 - end);
                }
            }
        }
    }
    let text = json!({
        "type": answer["data"]["resultType"],
        "result": result,
        "infos": answer["infos"],
        "warnings": answer["warnings"],
    });
    let mut shaped: Value = serde_json::from_str(&scene.named(&text.to_string())).unwrap();
    if let Some(series) = shaped["result"].as_array_mut() {
        series.sort_by_key(|one| one["metric"].to_string());
    }
    shaped
}

fn path(stack: &str) -> PathBuf {
    folder(stack).join("answers.jsonl")
}

/// Writes the file.
pub(super) fn record(stack: &str, answers: &[Answer]) {
    let lines: Vec<String> = answers
        .iter()
        .map(|answer| {
            let line = json!({"at": answer.at, "panel": answer.panel, "answer": answer.instant});
            format!("{line}\n")
        })
        .collect();
    fs::write(path(stack), lines.concat()).unwrap();
}

/// Compares with the file. The last points of a range query are those of the instant query.
pub(super) fn assert_recorded(stack: &str, answers: &[Answer]) {
    let text = fs::read_to_string(path(stack)).unwrap();
    let mut recorded = text.lines();
    for answer in answers {
        let line: Value = serde_json::from_str(recorded.next().unwrap_or("null")).unwrap();
        let place = json!([answer.at, answer.panel]);
        assert_eq!(
            json!([line["at"], line["panel"]]),
            place,
            "{stack}: record again"
        );
        assert_close(stack, answer, &answer.instant, &line["answer"]);
        if let Some(range) = &answer.range {
            assert_eq!(range["type"], "matrix", "{stack}, {}", answer.panel);
            assert_close(
                stack,
                answer,
                &last_points(range),
                &line["answer"]["result"],
            );
        }
    }
    assert_eq!(recorded.next(), None, "{stack}: record again");
}

/// The series of a range answer that have a point at its end, as those of an instant answer.
fn last_points(range: &Value) -> Value {
    let series = range["result"].as_array().unwrap().iter();
    let ended = series.filter_map(|one| {
        let last = one["values"].as_array()?.last()?;
        (last[0] == 0).then(|| json!({"metric": one["metric"], "value": last[1]}))
    });
    Value::Array(ended.collect())
}

/// Compares two servers' answers.
pub(super) fn assert_same(stack: &str, ours: &[Answer], theirs: &[Answer]) {
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert_eq!((ours.at, &ours.panel), (theirs.at, &theirs.panel));
        assert_close(stack, ours, &ours.instant, &theirs.instant);
        assert_close(stack, ours, &json!(ours.range), &json!(theirs.range));
    }
}

fn assert_close(stack: &str, answer: &Answer, found: &Value, expected: &Value) {
    assert!(
        is_close(found, expected),
        "{stack}, {} at {} s:\n{found}\nand not\n{expected}",
        answer.panel,
        answer.at
    );
}

fn is_close(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Array(found), Value::Array(expected)) => {
            found.len() == expected.len()
                && found
                    .iter()
                    .zip(expected)
                    .all(|(found, expected)| is_close(found, expected))
        }
        (Value::Object(found), Value::Object(expected)) => {
            found.keys().eq(expected.keys())
                && found
                    .values()
                    .zip(expected.values())
                    .all(|(found, expected)| is_close(found, expected))
        }
        (Value::String(found), Value::String(expected)) if found != expected => {
            match (found.parse::<f64>(), expected.parse::<f64>()) {
                (Ok(found), Ok(expected)) => {
                    (found - expected).abs() <= TOLERANCE * found.abs().max(expected.abs())
                }
                _ => false,
            }
        }
        _ => found == expected,
    }
}
