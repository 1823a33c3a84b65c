//! The texts of failures, byte for byte promtool's.

use std::{fmt::Write as _, time::Duration};

use narthex_query::parser::quote;

use crate::sink::Pairs;

const INFALLIBLE: &str = "writing to a string does not fail";

/// An alert as it is compared: labels, then annotations, both ascending by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ComparedAlert {
    pub(super) labels: Vec<(String, String)>,
    pub(super) annotations: Vec<(String, String)>,
}

impl ComparedAlert {
    pub(super) fn new<'a>(
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
        annotations: &Pairs,
    ) -> Self {
        let labels = labels.into_iter();
        Self {
            labels: labels
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            annotations: annotations.to_vec(),
        }
    }
}

/// A sample as it is compared.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ComparedSample {
    pub(super) labels: Vec<(String, String)>,
    /// 0 of a histogram.
    pub(super) value: f64,
    /// In the language of series lines; nothing of a number.
    pub(super) histogram: Option<String>,
}

/// `{a="b", "c d"="e"}`
pub(super) fn labels_text(labels: &[(String, String)]) -> String {
    let is_plain = |name: &str| {
        name.chars().enumerate().all(|(index, c)| {
            c == '_' || c.is_ascii_alphabetic() || (index > 0 && c.is_ascii_digit())
        }) && !name.is_empty()
    };
    let pairs: Vec<String> = labels
        .iter()
        .map(|(name, value)| {
            let name = if is_plain(name) {
                name.clone()
            } else {
                quote(name)
            };
            format!("{name}={}", quote(value))
        })
        .collect();
    format!("{{{}}}", pairs.join(", "))
}

/// Alerts as a numbered list.
pub(super) fn alerts_text(alerts: &[ComparedAlert]) -> String {
    if alerts.is_empty() {
        return "[]".to_owned();
    }
    let mut text = "[".to_owned();
    for (index, alert) in alerts.iter().enumerate() {
        let separator = if index > 0 { "," } else { "" };
        write!(
            text,
            "{separator}\n{index}:\n  Labels:{}\n  Annotations:{}",
            labels_text(&alert.labels),
            labels_text(&alert.annotations)
        )
        .expect(INFALLIBLE);
    }
    text.push_str("\n]");
    text
}

/// Samples in one line.
pub(super) fn samples_text(samples: &[ComparedSample]) -> String {
    if samples.is_empty() {
        return "nil".to_owned();
    }
    let samples: Vec<String> = samples
        .iter()
        .map(|sample| {
            let labels = labels_text(&sample.labels);
            match &sample.histogram {
                Some(histogram) => format!("{labels} {histogram}"),
                None => format!("{labels} {}", scientific(sample.value)),
            }
        })
        .collect();
    samples.join(", ")
}

/// A float with an exponent of at least two digits: `1.5E+00`. Source: Go's `'E', -1`.
fn scientific(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{value:E}");
    let (digits, exponent) = text.split_once('E').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}E{sign}{exponent:0>2}")
}

/// Every line but the first, moved to the right.
pub(super) fn indent(text: &str, by: &str) -> String {
    text.replace('\n', &format!("\n{by}"))
}

/// A duration as Go prints it: `1h2m3.5s`, `500ms`.
pub fn go_duration(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    if nanoseconds == 0 {
        return "0s".to_owned();
    }
    for (unit, name) in [(1_000, "ns"), (1_000_000, "µs"), (1_000_000_000, "ms")] {
        if nanoseconds < unit {
            let of_unit = (unit / 1000).max(1);
            let value = nanoseconds as f64 / of_unit as f64;
            return format!("{value}{name}");
        }
    }
    let seconds = duration.as_secs();
    let fraction = duration.subsec_nanos();
    let mut shown = (seconds % 60).to_string();
    if fraction > 0 {
        let digits = format!("{fraction:09}");
        write!(shown, ".{}", digits.trim_end_matches('0')).expect(INFALLIBLE);
    }
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    match (hours, minutes) {
        (0, 0) => format!("{shown}s"),
        (0, _) => format!("{minutes}m{shown}s"),
        _ => format!("{hours}h{minutes}m{shown}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_printed_with_an_exponent() {
        let shown = [
            0.0,
            -0.0,
            1.0,
            12345.678,
            1e21,
            0.001,
            1e-300,
            f64::INFINITY,
            f64::NAN,
        ]
        .map(scientific);
        assert_eq!(
            shown,
            [
                "0E+00",
                "-0E+00",
                "1E+00",
                "1.2345678E+04",
                "1E+21",
                "1E-03",
                "1E-300",
                "+Inf",
                "NaN"
            ]
        );
    }

    #[test]
    fn durations_are_printed_as_go_prints_them() {
        let shown = [0, 500, 1500, 60_000, 3_600_000, 5_400_500, 90_061_000]
            .map(|milliseconds| go_duration(Duration::from_millis(milliseconds)));
        assert_eq!(
            shown,
            [
                "0s",
                "500ms",
                "1.5s",
                "1m0s",
                "1h0m0s",
                "1h30m0.5s",
                "25h1m1s"
            ]
        );
        assert_eq!(go_duration(Duration::from_nanos(1_234)), "1.234µs");
    }
}
