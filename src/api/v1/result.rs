//! Values of queries as JSON: `{"resultType":…,"result":…` without the closing brace.
//!
//! Samples are printed straight from what the evaluation left, into the buffers that leave. The texts of
//! timestamps are made once an answer, and one value's text serves all equal ones that follow it.

use std::sync::Arc;

use narthex_query::{
    FloatHistogram, FloatStyle, HistogramSample, Matrix, SampleValue, Series, Value, push_float,
};
use narthex_storage::{Sample, Timestamp};

use crate::api::{
    AnswerWriter, ClientGone,
    json::{Escape, push_integer, push_labels, push_sample, push_string, push_time},
};

/// Samples between two looks at whether a buffer is full.
const SAMPLES_AT_ONCE: usize = 256;

/// What can be printed as the value of a query.
pub(super) trait Print {
    /// Prints it, `limit` series at most, and says whether that cut some off; 0 is no limit.
    ///
    /// # Errors
    /// The client is gone.
    fn print(&self, writer: &mut AnswerWriter, limit: usize) -> Result<bool, ClientGone>;
}

impl Print for Value {
    fn print(&self, writer: &mut AnswerWriter, limit: usize) -> Result<bool, ClientGone> {
        match self {
            Self::Scalar(sample) => {
                begin(writer, "scalar");
                push_sample(writer.out(), *sample, FloatStyle::Decimal);
                Ok(false)
            }
            Self::String { time, value } => {
                begin(writer, "string");
                let out = writer.out();
                out.push(b'[');
                push_time(out, *time);
                out.push(b',');
                push_string(out, value, Escape::HtmlShort);
                out.push(b']');
                Ok(false)
            }
            Self::Vector(samples) => {
                begin(writer, "vector");
                list(writer, samples.iter(), limit, |writer, element| {
                    let out = writer.out();
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
                    Ok(())
                })
            }
            Self::Matrix(series) => {
                begin(writer, "matrix");
                let mut times = Times::default();
                list(writer, series.iter(), limit, |writer, series| {
                    push_labels(writer.out(), &series.labels);
                    times.learn(series);
                    let mut texts = times.texts();
                    let samples = series.samples.iter();
                    push_values(
                        writer,
                        samples.map(|sample| (texts(sample.time), sample.value)),
                    )?;
                    let histograms = series.histograms.iter();
                    push_histograms(
                        writer,
                        histograms.map(|HistogramSample { time, histogram }| (*time, &**histogram)),
                    )
                })
            }
        }
    }
}

impl<P: Print> Print for Arc<P> {
    fn print(&self, writer: &mut AnswerWriter, limit: usize) -> Result<bool, ClientGone> {
        (**self).print(writer, limit)
    }
}

impl Print for Matrix {
    fn print(&self, writer: &mut AnswerWriter, limit: usize) -> Result<bool, ClientGone> {
        begin(writer, "matrix");
        let grid = self.grid();
        let steps = if self.is_empty() { 0 } else { grid.steps() };
        let times: Vec<TimeText> = (0..steps)
            .map(|step| TimeText::new(grid.time(step)))
            .collect();
        list(writer, self.rows(), limit, |writer, row| {
            push_labels(writer.out(), row.labels);
            push_values(
                writer,
                row.floats().map(|(step, value)| (times[step], value)),
            )?;
            let histograms = row.histograms();
            push_histograms(
                writer,
                histograms.map(|(step, histogram)| (grid.time(step), &**histogram)),
            )
        })
    }
}

fn begin(writer: &mut AnswerWriter, kind: &str) {
    let out = writer.out();
    out.extend_from_slice(b"{\"resultType\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"result\":");
}

/// Prints the elements, each from behind `{"metric":` to before the closing brace.
fn list<T>(
    writer: &mut AnswerWriter,
    elements: impl Iterator<Item = T>,
    limit: usize,
    mut print: impl FnMut(&mut AnswerWriter, T) -> Result<(), ClientGone>,
) -> Result<bool, ClientGone> {
    let limit = if limit == 0 { usize::MAX } else { limit };
    writer.out().push(b'[');
    for (index, element) in elements.enumerate() {
        if index >= limit {
            writer.out().push(b']');
            return Ok(true);
        }
        if index > 0 {
            writer.out().push(b',');
        }
        writer.out().extend_from_slice(b"{\"metric\":");
        print(writer, element)?;
        writer.out().push(b'}');
        writer.pass()?;
    }
    writer.out().push(b']');
    Ok(false)
}

/// `,[time,"`, what stands before a sample's value, with room for the longest.
#[derive(Debug, Clone, Copy)]
struct TimeText {
    bytes: [u8; Self::ROOM],
    length: u8,
}

impl TimeText {
    /// The longest is `,[-9223372036854775.808,"`, of 25 bytes.
    const ROOM: usize = 32;

    fn new(time: Timestamp) -> Self {
        let mut text = Vec::with_capacity(Self::ROOM);
        text.extend_from_slice(b",[");
        push_time(&mut text, time);
        text.extend_from_slice(b",\"");
        let length = text.len() as u8;
        text.resize(Self::ROOM, 0);
        let mut bytes = [0; Self::ROOM];
        bytes.copy_from_slice(&text);
        Self { bytes, length }
    }

    /// Appends the text: a copy of a set size and a cut are cheaper than one of any size.
    #[inline]
    fn push_to(&self, out: &mut Vec<u8>) {
        let end = out.len() + usize::from(self.length);
        out.extend_from_slice(&self.bytes);
        out.truncate(end);
    }
}

/// Timestamps of series that were not computed over common ones, but mostly have the same: those of the
/// longest so far, ascending.
#[derive(Debug, Default)]
struct Times(Vec<(Timestamp, TimeText)>);

impl Times {
    fn learn(&mut self, series: &Series) {
        if series.samples.len() > self.0.len() {
            let times = series.samples.iter().map(|sample| sample.time);
            self.0 = times.map(|time| (time, TimeText::new(time))).collect();
        }
    }

    /// Gives the texts of timestamps, asked for in ascending order.
    fn texts(&self) -> impl FnMut(Timestamp) -> TimeText {
        let mut known = self.0.as_slice();
        move |time| {
            while let Some(((first, text), rest)) = known.split_first() {
                if *first == time {
                    return *text;
                }
                if *first > time {
                    break;
                }
                known = rest;
            }
            TimeText::new(time)
        }
    }
}

/// Appends `,"values":[[time,"value"],…]`, or nothing if there is none.
fn push_values(
    writer: &mut AnswerWriter,
    values: impl Iterator<Item = (TimeText, f64)>,
) -> Result<(), ClientGone> {
    let mut values = values.peekable();
    if values.peek().is_none() {
        return Ok(());
    }
    writer.out().extend_from_slice(b",\"values\":");
    // The first sample's comma becomes the list's bracket.
    let mut before = b'[';
    while values.peek().is_some() {
        writer.pass()?;
        let out = writer.out();
        // The bits of the last value, and where its text is.
        let mut last = (0, 0..0);
        for (time, value) in values.by_ref().take(SAMPLES_AT_ONCE) {
            let start = out.len();
            time.push_to(out);
            out[start] = before;
            before = b',';
            let text = out.len();
            if value.to_bits() == last.0 && !last.1.is_empty() {
                out.extend_from_within(last.1);
            } else {
                push_float(out, value, FloatStyle::Json);
                out.extend_from_slice(b"\"]");
            }
            last = (value.to_bits(), text..out.len());
        }
    }
    writer.out().push(b']');
    Ok(())
}

/// Appends `,"histograms":[…]`, or nothing if there is none.
fn push_histograms<'h>(
    writer: &mut AnswerWriter,
    histograms: impl Iterator<Item = (Timestamp, &'h FloatHistogram)>,
) -> Result<(), ClientGone> {
    let mut is_first = true;
    for (time, histogram) in histograms {
        writer.pass()?;
        let out = writer.out();
        out.extend_from_slice(if is_first { b",\"histograms\":[" } else { b"," });
        is_first = false;
        push_histogram(out, time, histogram);
    }
    if !is_first {
        writer.out().push(b']');
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use narthex_query::VectorSample;
    use narthex_storage::{Counts, Histogram, HistogramCounts, HistogramLayout, Labels, Span};

    use super::*;
    use crate::api::test_support::printed;

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
    #[tokio::test]
    async fn native_histograms_are_printed_with_their_buckets() {
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
        let vector = Value::Vector(vec![VectorSample {
            labels: Labels::from_pairs([("__name__", "exp")]),
            time: 1_795_304_260_000,
            value: SampleValue::Histogram(exponential),
            place: 0,
        }]);
        assert_eq!(
            printed(move |writer| vector.print(writer, 0)).await,
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
            printed(move |writer| matrix.print(writer, 0)).await,
            "{\"resultType\":\"matrix\",\"result\":[{\"metric\":{},\"values\":[[2,\"1\"]],\
             \"histograms\":[[1,{\"count\":\"114\",\"sum\":\"57\",\"buckets\":[\
             [3,\"-Inf\",\"-1\",\"38\"],[0,\"-1\",\"0.1\",\"38\"],\
             [0,\"1000000000\",\"+Inf\",\"38\"]]}],[2.500,{\"count\":\"0\",\"sum\":\"0\"}]]}]"
        );
    }
}
