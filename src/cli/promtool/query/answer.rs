//! What the query API answers, read from JSON as promtool's client reads it.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, de::IgnoredAny};

use crate::cli::promtool::server::Answer;

/// How many bytes around a mistake a message shows.
const NEAR_BYTES: usize = 10;
/// … and in its larger excerpt.
const AROUND_BYTES: usize = 50;

/// Why there is no answer, as promtool prints it behind `query error: `.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ApiError(String);

impl fmt::Display for ApiError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The envelope of every answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Envelope {
    status: String,
    #[serde(rename = "errorType")]
    error_type: String,
    error: String,
    warnings: Vec<String>,
}

/// The data of a successful answer.
#[derive(Debug)]
pub(super) struct Data {
    /// As JSON.
    pub(super) data: String,
    pub(super) warnings: Vec<String>,
}

/// A query's answer.
#[derive(Debug)]
pub(super) enum Value {
    Scalar(Sample),
    Vector(Vec<Series>),
    Matrix(Vec<Series>),
}

/// A time in milliseconds and a value.
pub(super) type Sample = (i64, f64);

/// Labels by name.
pub(super) type Labels = BTreeMap<String, String>;

/// A series of an answer; an instant vector's has one sample or one histogram.
#[derive(Debug, Deserialize)]
pub(super) struct Series {
    #[serde(default)]
    pub(super) metric: Labels,
    value: Option<(f64, String)>,
    #[serde(default)]
    values: Vec<(f64, String)>,
    histogram: Option<(f64, Histogram)>,
    #[serde(default)]
    histograms: Vec<(f64, Histogram)>,
}

/// A native histogram.
#[derive(Debug, Deserialize)]
pub(super) struct Histogram {
    count: String,
    sum: String,
    #[serde(default)]
    buckets: Vec<(u8, String, String, String)>,
}

impl Series {
    /// The samples, oldest first.
    pub(super) fn samples(&self) -> Result<Vec<Sample>, ApiError> {
        let pairs = self.value.iter().chain(&self.values);
        pairs.map(|(time, value)| sample(*time, value)).collect()
    }

    /// The histograms, oldest first.
    pub(super) fn histograms(&self) -> impl Iterator<Item = (i64, &Histogram)> {
        let pairs = self.histogram.iter().chain(&self.histograms);
        pairs.map(|(time, histogram)| (milliseconds(*time), histogram))
    }
}

/// A bucket of a native histogram.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    /// Which ends belong to it: 0 the upper, 1 the lower, 2 none, 3 both.
    pub(super) boundaries: u8,
    pub(super) lower: f64,
    pub(super) upper: f64,
    pub(super) count: f64,
}

impl Histogram {
    /// Count and sum of the observations.
    pub(super) fn totals(&self) -> Result<(f64, f64), ApiError> {
        Ok((number(&self.count)?, number(&self.sum)?))
    }

    pub(super) fn buckets(&self) -> Result<Vec<Bucket>, ApiError> {
        let buckets = self.buckets.iter();
        buckets
            .map(|(boundaries, lower, upper, count)| {
                Ok(Bucket {
                    boundaries: *boundaries,
                    lower: number(lower)?,
                    upper: number(upper)?,
                    count: number(count)?,
                })
            })
            .collect()
    }
}

fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

fn sample(time: f64, value: &str) -> Result<Sample, ApiError> {
    Ok((milliseconds(time), number(value)?))
}

fn number(text: &str) -> Result<f64, ApiError> {
    text.parse().map_err(|_| {
        ApiError(format!(
            "strconv.ParseFloat: parsing {text:?}: invalid syntax"
        ))
    })
}

/// A message about JSON with the bytes around the mistake at `head`, as promtool's JSON reader
/// shows them.
fn excerpt(message: &str, bytes: &[u8], head: usize) -> String {
    let part = |around: usize| {
        let range = head.saturating_sub(around)..(head + around).min(bytes.len());
        String::from_utf8_lossy(&bytes[range]).into_owned()
    };
    let place = head - head.saturating_sub(NEAR_BYTES);
    format!(
        "{message}, error found in #{place} byte of ...|{}|..., bigger context ...|{}|...",
        part(NEAR_BYTES),
        part(AROUND_BYTES)
    )
}

/// The data of an answer, or why there is none.
///
/// # Errors
/// [`ApiError`] in promtool's words.
pub(super) fn data(answer: Result<Answer, String>) -> Result<Data, ApiError> {
    let Answer { status, body } = answer.map_err(ApiError)?;
    let code = status.as_u16();
    let is_api_error = matches!(code, 400 | 422);
    if code / 100 != 2 && !is_api_error {
        let kind = match code / 100 {
            4 => format!("client_error: client error: {code}"),
            5 => format!("server_error: server error: {code}"),
            _ => format!("bad_response: bad response code {code}"),
        };
        let detail = String::from_utf8_lossy(&body);
        return Err(ApiError(if detail.is_empty() {
            kind
        } else {
            format!("{kind} (detail: {})", detail.trim())
        }));
    }
    let envelope: Envelope = if code == 204 {
        Envelope::default()
    } else {
        let bad = |message: String| ApiError(format!("bad_response: {message}"));
        let start = body
            .iter()
            .position(|byte| !byte.is_ascii_whitespace())
            .unwrap_or(body.len());
        let first = body.get(start).copied();
        if first != Some(b'{') {
            let found = char::from(first.unwrap_or_default());
            let head = if first.is_some() { start + 1 } else { start };
            let message = format!("readObjectStart: expect {{ or n, but found {found}");
            return Err(bad(excerpt(&message, &body, head)));
        }
        serde_json::from_slice(&body).map_err(|error| bad(error.to_string()))?
    };
    let is_error = envelope.status == "error";
    if is_error {
        let Envelope {
            error_type, error, ..
        } = envelope;
        return Err(ApiError(format!("{error_type}: {error}")));
    }
    if is_api_error {
        return Err(ApiError(
            "bad_response: inconsistent body for response code".to_owned(),
        ));
    }
    Ok(Data {
        data: raw_data(&body),
        warnings: envelope.warnings,
    })
}

/// The text of the envelope's `data`, which is JSON; empty when there is none.
fn raw_data(body: &[u8]) -> String {
    const KEY: &[u8] = b"\"data\":";
    let start = body.windows(KEY.len()).position(|window| window == KEY);
    let rest = start.map_or(&[][..], |start| &body[start + KEY.len()..]);
    let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<IgnoredAny>();
    let _value = values.next();
    let end = values.byte_offset();
    String::from_utf8_lossy(&rest[..end]).into_owned()
}

/// Reads a query's answer.
pub(super) fn value(data: &str) -> Result<Value, ApiError> {
    #[derive(Deserialize)]
    struct Typed {
        #[serde(rename = "resultType")]
        kind: String,
        result: serde_json::Value,
    }
    let Typed { kind, result } = json(data)?;
    let wrong = |error: serde_json::Error| ApiError(error.to_string());
    match kind.as_str() {
        "scalar" => {
            let (time, value): (f64, String) = serde_json::from_value(result).map_err(wrong)?;
            Ok(Value::Scalar(sample(time, &value)?))
        }
        "vector" => Ok(Value::Vector(
            serde_json::from_value(result).map_err(wrong)?,
        )),
        "matrix" => Ok(Value::Matrix(
            serde_json::from_value(result).map_err(wrong)?,
        )),
        other => Err(ApiError(excerpt(
            &format!("unmarshalerDecoder: unexpected value type {other:?}"),
            data.as_bytes(),
            data.len(),
        ))),
    }
}

/// Reads a list of series.
pub(super) fn series(data: &str) -> Result<Vec<Labels>, ApiError> {
    json(data)
}

/// Reads a list of names.
pub(super) fn names(data: &str) -> Result<Vec<String>, ApiError> {
    json(data)
}

fn json<'a, T: Deserialize<'a>>(data: &'a str) -> Result<T, ApiError> {
    if data.is_empty() {
        let message = "Skip: do not know how to skip: 0";
        return Err(ApiError(excerpt(message, &[], 0)));
    }
    serde_json::from_str(data).map_err(|error| ApiError(error.to_string()))
}
