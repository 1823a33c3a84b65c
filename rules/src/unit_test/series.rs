//! Input series: from their texts to samples that are appended as time goes on.

use std::fmt::Write as _;

use narthex_query::{
    SampleValue, format_duration,
    testscript::{SeriesError, SeriesLine, Values, parse_series},
};
use narthex_storage::{Appendable, Labels, Sample, Timestamp};

use super::file::{InputSeries, TestGroup};

/// The input of a test; what was appended is gone.
#[derive(Debug)]
pub(super) struct Input {
    series: Vec<(Labels, std::vec::IntoIter<(Timestamp, SampleValue)>)>,
    /// Why nothing can be appended.
    refused: Option<String>,
}

impl Input {
    /// Parses the input of a test.
    ///
    /// # Errors
    /// promtool's message with line and column in the text that promtool makes of the input: a line
    /// `load` and a line a series. An empty line or a comment ends it.
    pub(super) fn parse(test: &TestGroup) -> Result<Self, String> {
        let mut text = format!("load {}\n", format_duration(test.interval));
        for InputSeries { series, values } in &test.input_series {
            writeln!(text, "  {series} {values}").expect("writing to a string does not fail");
        }
        let step_ms = i64::try_from(test.interval.as_millis()).unwrap_or(i64::MAX);
        let mut input = Self {
            series: Vec::new(),
            refused: None,
        };
        for (index, line) in text.split('\n').enumerate().skip(1) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                break;
            }
            let SeriesLine { labels, values } = match parse_series(line) {
                Ok(series) => series,
                Err(error @ SeriesError::Labels(_)) => {
                    input.refused = Some(error.to_string());
                    continue;
                }
                Err(error) => return Err(error.in_line(index + 1)),
            };
            let values = match values {
                Values::Samples(values) => values,
                Values::StartTimes(_) => {
                    return Err(format!(
                        "input series {labels}: the store keeps no start timestamps"
                    ));
                }
            };
            let samples: Vec<(Timestamp, SampleValue)> = values
                .into_iter()
                .enumerate()
                .filter_map(|(index, value)| {
                    let after = step_ms.saturating_mul(index as i64);
                    Some((test.start.saturating_add(after), value?))
                })
                .collect();
            // Of two lines for one series the last counts.
            input.series.retain(|(earlier, _)| *earlier != labels);
            input.series.push((labels, samples.into_iter()));
        }
        Ok(input)
    }

    /// Appends everything up to `time`.
    ///
    /// # Errors
    /// The store's reason.
    pub(super) fn append_until(
        &mut self,
        time: Timestamp,
        store: &dyn Appendable,
    ) -> Result<(), String> {
        if let Some(reason) = &self.refused {
            return Err(reason.clone());
        }
        let mut appender = store.appender();
        let mut is_empty = true;
        for (labels, samples) in &mut self.series {
            let due = samples
                .as_slice()
                .partition_point(|(sample_time, _)| *sample_time <= time);
            if due == 0 {
                continue;
            }
            let series = appender.series(labels).map_err(|error| error.to_string())?;
            for (time, value) in samples.by_ref().take(due) {
                match value {
                    SampleValue::Float(value) => {
                        appender.samples(series, &[Sample { time, value }]);
                    }
                    SampleValue::Histogram(histogram) => {
                        appender.histograms(series, &[(time, histogram.to_stored())]);
                    }
                }
            }
            is_empty = false;
        }
        if is_empty {
            return Ok(());
        }
        let commit = appender.commit(false).map_err(|error| error.to_string())?;
        match commit.refused.first() {
            Some((_, refusal)) => Err(refusal.to_string()),
            None => Ok(()),
        }
    }
}
