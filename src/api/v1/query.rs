//! Evaluations: instant and range queries; also what is said about a query without evaluating it.

use std::time::Duration;

use narthex_query::{
    FloatHistogram, FloatStyle, Grid, HistogramSample, QueryContext, SampleValue, Value,
    parser::{ParserOptions, parse},
    push_float,
};
use narthex_storage::{Budget, Queryable, Sample, Timestamp};

use super::{Answer, ApiError, Call, Success};
use crate::api::{
    Instant, Params, Read, State,
    json::{
        Escape, push_integer, push_labels, push_number, push_sample, push_sample_time, push_string,
        push_time,
    },
    params::parse_nanoseconds,
};

/// The most points a series of a range query may have.
const POINTS_MAX: i64 = 11_000;

/// `/api/v1/query`
pub(crate) async fn instant(call: Call) -> Answer {
    let params = &call.params;
    let limit = params.limit()?;
    let now = Instant::from_milliseconds(call.state.clock.now());
    let time = params.time_or("time", now)?.evaluation_milliseconds();
    let asked = Asked::read(params, &call.state, limit)?;
    evaluate(&call.state, asked, move |engine, store, text, context| {
        engine.instant(store, text, time, context)
    })
    .await
}

/// `/api/v1/query_range`
pub(crate) async fn range(call: Call) -> Answer {
    let params = &call.params;
    let limit = params.limit()?;
    let start = params.time("start")?;
    let end = params.time("end")?;
    if end < start {
        return Err(ApiError::parameter(
            "end",
            "end timestamp must not be before start time",
        ));
    }
    let step = parse_nanoseconds(params.first("step"))
        .map_err(|problem| ApiError::parameter("step", problem))?;
    if step <= 0 {
        return Err(ApiError::parameter(
            "step",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    if end.nanoseconds_since(start) / step > POINTS_MAX {
        return Err(ApiError::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    let asked = Asked::read(params, &call.state, limit)?;
    let grid = Grid {
        start: start.evaluation_milliseconds(),
        end: end.evaluation_milliseconds(),
        step_ms: step / 1_000_000,
    };
    if grid.step_ms == 0 {
        return Err(ApiError::parameter(
            "step",
            "query resolution step widths below a millisecond are not accepted",
        ));
    }
    evaluate(&call.state, asked, move |engine, store, text, context| {
        engine.range(store, text, grid, context)
    })
    .await
}

/// What instant and range queries have in common.
struct Asked {
    text: String,
    limit: usize,
    timeout: Duration,
    lookback: Option<Duration>,
    /// The parameter `stats`: any text asks for them, `all` also for those of each step.
    statistics: String,
}

impl Asked {
    fn read(params: &Params, state: &State, limit: usize) -> Result<Self, ApiError> {
        let mut timeout = state.settings.query_timeout;
        let text = params.first("timeout");
        if !text.is_empty() {
            let asked = parse_nanoseconds(text)
                .map_err(|problem| ApiError::parameter("timeout", problem))?;
            match u64::try_from(asked) {
                Ok(nanoseconds @ 1..) => timeout = timeout.min(Duration::from_nanos(nanoseconds)),
                _ => return Err(ApiError::parameter("query", "context deadline exceeded")),
            }
        }
        let text = params.first("lookback_delta");
        let lookback = if text.is_empty() {
            None
        } else {
            let asked = parse_nanoseconds(text).map_err(|problem| {
                ApiError::bad_data(format!("error parsing lookback delta duration: {problem}"))
            })?;
            // As in Prometheus, what is not positive means the default.
            u64::try_from(asked)
                .ok()
                .filter(|nanoseconds| *nanoseconds > 0)
                .map(Duration::from_nanos)
        };
        Ok(Self {
            text: params.first("query").to_owned(),
            limit,
            timeout,
            lookback,
            statistics: params.first("stats").to_owned(),
        })
    }
}

async fn evaluate(
    state: &std::sync::Arc<State>,
    asked: Asked,
    run: impl FnOnce(
        &narthex_query::Engine,
        &dyn Queryable,
        &str,
        &QueryContext<'_>,
    ) -> Result<narthex_query::Answer, narthex_query::QueryError>
    + Send
    + 'static,
) -> Answer {
    let store = state.open_store()?.clone();
    let deadline = state.clock.monotonic() + asked.timeout;
    let inner = std::sync::Arc::clone(state);
    let work = move |budget: &Budget, waited: Duration| {
        let began = inner.clock.monotonic();
        let context = QueryContext {
            budget,
            deadline: Some(deadline),
            clock: inner.clock.as_ref(),
            lookback: asked.lookback,
            tells_steps: asked.statistics == "all",
        };
        let answer = run(
            &inner.engine,
            store.queryable.as_ref(),
            &asked.text,
            &context,
        )?;
        let took = inner.clock.monotonic().saturating_sub(began);
        inner.metrics.observe_query(took, answer.samples_total);
        let mut success = Success::new();
        let out = &mut success.body;
        let is_truncated = push_value(out, &answer.value, asked.limit);
        if !asked.statistics.is_empty() {
            push_statistics(out, &answer, waited, took);
        }
        out.push(b'}');
        success.warnings = answer.warnings;
        success.infos = answer.infos;
        if is_truncated {
            success.truncated();
        }
        Ok(success)
    };
    state.gate.run(state, Read::Query, deadline, work).await
}

/// Appends `{"resultType":…,"result":…` without the closing brace and says whether `limit` cut
/// series off; 0 is no limit.
fn push_value(out: &mut Vec<u8>, value: &Value, limit: usize) -> bool {
    let taken = if limit == 0 { usize::MAX } else { limit };
    let (kind, series) = match value {
        Value::Scalar(_) => ("scalar", 0),
        Value::String { .. } => ("string", 0),
        Value::Vector(samples) => ("vector", samples.len()),
        Value::Matrix(series) => ("matrix", series.len()),
    };
    out.extend_from_slice(b"{\"resultType\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"result\":");
    match value {
        Value::Scalar(sample) => push_sample(out, *sample, FloatStyle::Decimal),
        Value::String { time, value } => {
            out.push(b'[');
            push_time(out, *time);
            out.push(b',');
            push_string(out, value, Escape::HtmlShort);
            out.push(b']');
        }
        Value::Vector(samples) => {
            out.push(b'[');
            for (index, element) in samples.iter().take(taken).enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(b"{\"metric\":");
                push_labels(out, &element.labels);
                match &element.value {
                    SampleValue::Float(value) => {
                        out.extend_from_slice(b",\"value\":");
                        let sample = Sample {
                            time: element.time,
                            value: *value,
                        };
                        push_sample(out, sample, FloatStyle::Json);
                    }
                    SampleValue::Histogram(histogram) => {
                        out.extend_from_slice(b",\"histogram\":");
                        push_histogram(out, element.time, histogram);
                    }
                }
                out.push(b'}');
            }
            out.push(b']');
        }
        Value::Matrix(series) => {
            /// What a sample takes in the mean, at most; what is not needed is never touched.
            const SAMPLE_BYTES: usize = 36;
            let samples = series.iter().map(|series| series.samples.len());
            out.reserve(samples.sum::<usize>() * SAMPLE_BYTES);
            let mut times = Times::default();
            out.push(b'[');
            for (index, series) in series.iter().take(taken).enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(b"{\"metric\":");
                push_labels(out, &series.labels);
                if !series.samples.is_empty() {
                    out.extend_from_slice(b",\"values\":");
                    times.push_samples(out, &series.samples);
                }
                if !series.histograms.is_empty() {
                    out.extend_from_slice(b",\"histograms\":");
                    push_histograms(out, &series.histograms);
                }
                out.push(b'}');
            }
            out.push(b']');
        }
    }
    series > taken
}

/// Timestamps as they are printed: the series of an answer have the same ones.
#[derive(Default)]
struct Times {
    /// Those of the longest series so far, ascending, and where the text of each ends.
    known: Vec<(Timestamp, usize)>,
    /// `[time,"` for each.
    text: Vec<u8>,
}

impl Times {
    /// Appends `[[time,"value"],…]`.
    fn push_samples(&mut self, out: &mut Vec<u8>, samples: &[Sample]) {
        if samples.len() > self.known.len() {
            self.learn(samples);
        }
        out.push(b'[');
        let (mut next, mut start) = (0, 0);
        for (index, sample) in samples.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            while let Some((time, end)) = self.known.get(next)
                && *time < sample.time
            {
                (next, start) = (next + 1, *end);
            }
            match self.known.get(next) {
                Some((time, end)) if *time == sample.time => {
                    out.extend_from_slice(&self.text[start..*end]);
                }
                _ => push_sample_time(out, sample.time),
            }
            push_float(out, sample.value, FloatStyle::Json);
            out.extend_from_slice(b"\"]");
        }
        out.push(b']');
    }

    fn learn(&mut self, samples: &[Sample]) {
        self.known.clear();
        self.text.clear();
        for sample in samples {
            push_sample_time(&mut self.text, sample.time);
            self.known.push((sample.time, self.text.len()));
        }
    }
}

fn push_histograms(out: &mut Vec<u8>, samples: &[HistogramSample]) {
    out.push(b'[');
    for (index, sample) in samples.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_histogram(out, sample.time, &sample.histogram);
    }
    out.push(b']');
}

/// Appends `[time,{"count":…,"sum":…,"buckets":[[rule,lower,upper,count],…]}]`, all numbers as texts; the rule
/// tells which bounds belong to the bucket. Empty buckets are left out.
fn push_histogram(out: &mut Vec<u8>, time: Timestamp, histogram: &FloatHistogram) {
    let quoted = |out: &mut Vec<u8>, value: f64| {
        out.push(b'"');
        push_float(out, value, FloatStyle::Json);
        out.push(b'"');
    };
    out.push(b'[');
    push_time(out, time);
    out.extend_from_slice(b",{\"count\":");
    quoted(out, histogram.count());
    out.extend_from_slice(b",\"sum\":");
    quoted(out, histogram.sum());
    let mut is_first = true;
    for bucket in histogram.buckets().filter(|bucket| bucket.count != 0.0) {
        let rule = match (bucket.lower_inclusive, bucket.upper_inclusive) {
            (false, true) => 0,
            (true, false) => 1,
            (false, false) => 2,
            (true, true) => 3,
        };
        out.extend_from_slice(if is_first { b",\"buckets\":[[" } else { b",[" });
        is_first = false;
        push_integer(out, rule);
        for value in [bucket.lower, bucket.upper, bucket.count] {
            out.push(b',');
            quoted(out, value);
        }
        out.push(b']');
    }
    if !is_first {
        out.push(b']');
    }
    out.extend_from_slice(b"}]");
}

/// Appends `stats`. Phases that the engine does not time apart count as evaluation.
fn push_statistics(
    out: &mut Vec<u8>,
    answer: &narthex_query::Answer,
    waited: Duration,
    took: Duration,
) {
    out.extend_from_slice(b",\"stats\":{\"timings\":{");
    for (name, seconds) in [
        ("evalTotalTime", took.as_secs_f64()),
        ("resultSortTime", 0.0),
        ("queryPreparationTime", 0.0),
        ("innerEvalTime", took.as_secs_f64()),
        ("execQueueTime", waited.as_secs_f64()),
        ("execTotalTime", (waited + took).as_secs_f64()),
    ] {
        out.extend_from_slice(format!("\"{name}\":").as_bytes());
        push_number(out, seconds);
        out.push(b',');
    }
    out.pop();
    out.extend_from_slice(b"},\"samples\":{");
    if !answer.samples_by_step.is_empty() {
        out.extend_from_slice(b"\"totalQueryableSamplesPerStep\":[");
        for (index, (time, samples)) in answer.samples_by_step.iter().enumerate() {
            out.extend_from_slice(if index > 0 { b",[" } else { b"[" });
            push_time(out, *time);
            out.push(b',');
            push_integer(out, *samples as i64);
            out.push(b']');
        }
        out.extend_from_slice(b"],");
    }
    out.extend_from_slice(b"\"totalQueryableSamples\":");
    push_integer(out, answer.samples_total as i64);
    out.extend_from_slice(b",\"peakSamples\":");
    push_integer(out, answer.samples_peak as i64);
    out.extend_from_slice(b"}}");
}

pub(super) fn parser_options(state: &State) -> ParserOptions {
    state.engine.options().features.parser()
}

/// `/api/v1/format_query`
pub(crate) fn format(call: &Call) -> Answer {
    let expr = parse(call.params.first("query"), parser_options(&call.state))
        .map_err(|error| ApiError::parameter("query", error))?;
    let mut success = Success::new();
    push_string(
        &mut success.body,
        &narthex_query::parser::format_query(&expr),
        Escape::Html,
    );
    Ok(success)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use narthex_query::{Series, VectorSample};
    use narthex_storage::{Counts, Histogram, HistogramCounts, HistogramLayout, Labels, Span};

    use super::*;

    fn spans(spans: &[(i32, u32)]) -> Vec<Span> {
        let spans = spans.iter();
        spans
            .map(|(offset, length)| Span {
                offset: *offset,
                length: *length,
            })
            .collect()
    }

    /// Bounds and rules are those that Prometheus 3.5.3 answers for the same pushed histograms.
    #[test]
    fn native_histograms_are_printed_with_their_buckets() {
        let exponential = Histogram {
            layout: HistogramLayout {
                schema: 3,
                zero_threshold: 0.001,
                positive_spans: spans(&[(-5, 2), (3, 1)]),
                negative_spans: spans(&[(0, 2)]),
                custom_bounds: Vec::new(),
            },
            sum: 57.0,
            counts: HistogramCounts::Integer(Counts {
                count: 121,
                zero: 39,
                positive: vec![39, 39, 2],
                negative: vec![1, 1],
            }),
            ..Histogram::stale()
        };
        let custom = Histogram {
            layout: HistogramLayout {
                schema: -53,
                positive_spans: spans(&[(0, 2), (2, 1)]),
                custom_bounds: vec![-1.0, 0.1, 2.5, 1e9],
                ..HistogramLayout::default()
            },
            sum: 57.0,
            counts: HistogramCounts::Integer(Counts {
                count: 114,
                zero: 0,
                positive: vec![38, 38, 38],
                negative: Vec::new(),
            }),
            ..Histogram::stale()
        };
        let [exponential, custom] = [exponential, custom]
            .map(|histogram| Arc::new(FloatHistogram::from_stored(&histogram)));
        let print = |value: &Value| {
            let mut out = Vec::new();
            assert!(!push_value(&mut out, value, 0));
            String::from_utf8(out).unwrap()
        };
        let vector = Value::Vector(vec![VectorSample {
            labels: Labels::from_pairs([("__name__", "exp")]),
            time: 1_795_304_260_000,
            value: SampleValue::Histogram(exponential),
        }]);
        assert_eq!(
            print(&vector),
            "{\"resultType\":\"vector\",\"result\":[{\"metric\":{\"__name__\":\"exp\"},\
             \"histogram\":[1795304260,{\"count\":\"121\",\"sum\":\"57\",\"buckets\":[\
             [1,\"-1.0905077326652577\",\"-1\",\"1\"],\
             [1,\"-1\",\"-0.9170040432046711\",\"1\"],\
             [3,\"-0.001\",\"0.001\",\"39\"],\
             [0,\"0.5946035575013605\",\"0.6484197773255048\",\"39\"],\
             [0,\"0.6484197773255048\",\"0.7071067811865475\",\"39\"],\
             [0,\"0.9170040432046711\",\"1\",\"2\"]]}]}]"
        );
        let empty = Arc::new(FloatHistogram::from_stored(&Histogram {
            sum: 0.0,
            ..Histogram::stale()
        }));
        let histograms = [(1_000, custom), (2_500, empty)]
            .map(|(time, histogram)| HistogramSample { time, histogram });
        let matrix = Value::Matrix(vec![Series {
            labels: Labels::empty(),
            samples: vec![Sample {
                time: 2_000,
                value: 1.0,
            }],
            histograms: histograms.to_vec(),
        }]);
        assert_eq!(
            print(&matrix),
            "{\"resultType\":\"matrix\",\"result\":[{\"metric\":{},\"values\":[[2,\"1\"]],\
             \"histograms\":[[1,{\"count\":\"114\",\"sum\":\"57\",\"buckets\":[\
             [3,\"-Inf\",\"-1\",\"38\"],[0,\"-1\",\"0.1\",\"38\"],\
             [0,\"1000000000\",\"+Inf\",\"38\"]]}],[2.500,{\"count\":\"0\",\"sum\":\"0\"}]]}]"
        );
    }
}
