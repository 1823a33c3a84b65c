//! How answers are printed: promtool's text form, or JSON.

use std::{cmp::Ordering, fmt::Write as _};

use narthex_query::{FloatStyle, format_float, parser::quote};
use narthex_storage::METRIC_NAME;

use super::answer::{ApiError, Histogram, Labels, Series, Value};
use crate::cli::promtool::Arguments;

/// What `--format` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Promql,
    Json,
}

/// A float without an exponent.
pub(super) fn decimal(value: f64) -> String {
    format_float(value, FloatStyle::Decimal)
}

impl Format {
    /// # Errors
    /// promtool's sentence about another format.
    pub(super) fn from_flags(arguments: &Arguments) -> Result<Self, String> {
        match arguments.value("format") {
            None | Some("promql") => Ok(Self::Promql),
            Some("json") => Ok(Self::Json),
            Some(other) => Err(format!(
                "enum value must be one of promql,json, got '{other}'"
            )),
        }
    }

    /// A query's answer.
    pub(super) fn value(self, value: &Value) -> Result<String, ApiError> {
        match (self, value) {
            (Self::Promql, Value::Scalar((time, value))) => Ok(format!(
                "scalar: {} @[{}]",
                decimal(*value),
                print_time(*time)
            )),
            (Self::Json, Value::Scalar(sample)) => Ok(json_sample(*sample)),
            (Self::Promql, Value::Vector(series)) => {
                lines(&series.iter().collect::<Vec<_>>(), |one| {
                    let samples = one.samples()?.into_iter();
                    let mut points = samples.map(|(time, value)| (time, decimal(value)));
                    let histogram = one.histograms().next();
                    let (time, shown) = match (points.next(), histogram) {
                        (_, Some((time, histogram))) => (time, print_histogram(histogram)?),
                        (Some(point), None) => point,
                        (None, None) => (0, "0".to_owned()),
                    };
                    Ok(format!(
                        "{} => {shown} @[{}]",
                        print_metric(&one.metric),
                        print_time(time)
                    ))
                })
            }
            (Self::Promql, Value::Matrix(series)) => lines(&sorted(series), |one| {
                let mut text = format!("{} =>", print_metric(&one.metric));
                for (time, value) in one.samples()? {
                    let value = decimal(value);
                    write!(text, "\n{value} @[{}]", print_time(time)).expect(INFALLIBLE);
                }
                for (time, histogram) in one.histograms() {
                    let histogram = print_histogram(histogram)?;
                    write!(text, "\n{histogram} @[{}]", print_time(time)).expect(INFALLIBLE);
                }
                Ok(text)
            }),
            (Self::Json, Value::Vector(series)) => list(series, |one| {
                let metric = json_labels(&one.metric);
                if let Some((time, histogram)) = one.histograms().next() {
                    let histogram = json_histogram(time, histogram)?;
                    return Ok(format!(r#"{{"metric":{metric},"histogram":{histogram}}}"#));
                }
                let value = one
                    .samples()?
                    .first()
                    .map_or_else(String::new, |first| json_sample(*first));
                Ok(format!(r#"{{"metric":{metric},"value":{value}}}"#))
            }),
            (Self::Json, Value::Matrix(series)) => list(series, |one| {
                let mut text = format!(r#"{{"metric":{}"#, json_labels(&one.metric));
                let samples: Vec<String> = one.samples()?.into_iter().map(json_sample).collect();
                let histograms = one.histograms();
                let histograms: Vec<String> = histograms
                    .map(|(time, histogram)| json_histogram(time, histogram))
                    .collect::<Result<_, ApiError>>()?;
                if !samples.is_empty() || histograms.is_empty() {
                    write!(text, r#","values":[{}]"#, samples.join(",")).expect(INFALLIBLE);
                }
                if !histograms.is_empty() {
                    write!(text, r#","histograms":[{}]"#, histograms.join(",")).expect(INFALLIBLE);
                }
                text.push('}');
                Ok(text)
            }),
        }
    }

    /// Series, a line each.
    pub(super) fn series(self, series: &[Labels]) -> Vec<String> {
        match self {
            Self::Promql => series
                .iter()
                .map(|labels| format!("{{{}}}", print_pairs(labels.iter())))
                .collect(),
            Self::Json => {
                let items: Vec<String> = series.iter().map(json_labels).collect();
                vec![format!("[{}]", items.join(","))]
            }
        }
    }

    /// Label values, a line each.
    pub(super) fn names(self, names: &[String]) -> Vec<String> {
        match self {
            Self::Promql => names.to_vec(),
            Self::Json => {
                let items: Vec<String> = names.iter().map(|name| json_text(name)).collect();
                vec![format!("[{}]", items.join(","))]
            }
        }
    }
}

const INFALLIBLE: &str = "writing to a string does not fail";

/// Series with fewer labels first, then by the labels' values. Source: `model.Matrix`.
fn sorted(series: &[Series]) -> Vec<&Series> {
    let mut sorted: Vec<&Series> = series.iter().collect();
    sorted.sort_by(|left, right| compare(&left.metric, &right.metric));
    sorted
}

fn compare(left: &Labels, right: &Labels) -> Ordering {
    let by_count = left.len().cmp(&right.len());
    let mut names: Vec<&String> = left.keys().chain(right.keys()).collect();
    names.sort();
    let by_value = |name: &&String| match (left.get(*name), right.get(*name)) {
        (None, _) => Ordering::Less,
        (_, None) => Ordering::Greater,
        (Some(left), Some(right)) => left.cmp(right),
    };
    let mut order = names.iter().map(by_value);
    by_count.then_with(|| order.find(|order| order.is_ne()).unwrap_or(Ordering::Equal))
}

fn lines(
    series: &[&Series],
    print: impl Fn(&Series) -> Result<String, ApiError>,
) -> Result<String, ApiError> {
    let lines = series
        .iter()
        .map(|one| print(one))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(lines.join("\n"))
}

fn list(
    series: &[Series],
    print: impl Fn(&Series) -> Result<String, ApiError>,
) -> Result<String, ApiError> {
    let items = series.iter().map(print).collect::<Result<Vec<_>, _>>()?;
    Ok(format!("[{}]", items.join(",")))
}

/// Seconds with up to three decimals, as many as are needed.
fn print_time(milliseconds: i64) -> String {
    decimal(milliseconds as f64 / 1000.0)
}

/// `name{a="b", c="d"}`. The pairs are in the order of their texts, as promtool sorts them.
fn print_metric(labels: &Labels) -> String {
    let name = labels.get(METRIC_NAME).map(String::as_str);
    let pairs = print_pairs(labels.iter().filter(|(name, _)| *name != METRIC_NAME));
    match (name, pairs.is_empty()) {
        (Some(name), true) => name.to_owned(),
        (name, _) => format!("{}{{{pairs}}}", name.unwrap_or_default()),
    }
}

fn print_pairs<'a>(labels: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    let mut pairs: Vec<String> = labels
        .map(|(name, value)| format!("{name}={}", quote(value)))
        .collect();
    pairs.sort();
    pairs.join(", ")
}

fn print_histogram(histogram: &Histogram) -> Result<String, ApiError> {
    let (count, sum) = histogram.totals()?;
    let buckets = histogram.buckets()?;
    let buckets: Vec<String> = buckets
        .iter()
        .map(|bucket| {
            let has_lower = matches!(bucket.boundaries, 1 | 3);
            let has_upper = matches!(bucket.boundaries, 0 | 3);
            format!(
                "{}{},{}{}:{}",
                if has_lower { '[' } else { '(' },
                decimal(bucket.lower),
                decimal(bucket.upper),
                if has_upper { ']' } else { ')' },
                decimal(bucket.count)
            )
        })
        .collect();
    Ok(format!(
        "Count: {count:.6}, Sum: {sum:.6}, Buckets: [{}]",
        buckets.join(" ")
    ))
}

fn json_sample((time, value): (i64, f64)) -> String {
    format!("[{},\"{}\"]", print_time(time), decimal(value))
}

fn json_histogram(time: i64, histogram: &Histogram) -> Result<String, ApiError> {
    let (count, sum) = histogram.totals()?;
    let buckets = histogram.buckets()?;
    let buckets: Vec<String> = buckets
        .iter()
        .map(|bucket| {
            let [lower, upper, count] = [bucket.lower, bucket.upper, bucket.count].map(decimal);
            format!(r#"[{},"{lower}","{upper}","{count}"]"#, bucket.boundaries)
        })
        .collect();
    Ok(format!(
        r#"[{},{{"count":"{}","sum":"{}","buckets":[{}]}}]"#,
        print_time(time),
        decimal(count),
        decimal(sum),
        buckets.join(",")
    ))
}

fn json_labels(labels: &Labels) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{}:{}", json_text(name), json_text(value)))
        .collect();
    format!("{{{}}}", pairs.join(","))
}

/// A text as Go's JSON encoder writes it: safe to stand in HTML.
fn json_text(text: &str) -> String {
    let mut out = serde_json::Value::from(text).to_string();
    for (character, escape) in [
        ('<', "\\u003c"),
        ('>', "\\u003e"),
        ('&', "\\u0026"),
        ('\u{2028}', "\\u2028"),
        ('\u{2029}', "\\u2029"),
    ] {
        if out.contains(character) {
            out = out.replace(character, escape);
        }
    }
    out
}
