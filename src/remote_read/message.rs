//! Requests and answers as bytes: protobuf, a request in a snappy block.
//!
//! **What always holds.** Any bytes end in a [`Request`] or a [`BadRequest`]; the size of the message is
//! looked at before memory is taken for it.

use narthex_storage::{Histogram, HistogramCounts, PrometheusChunk, ResetHint};
use prost::Message;

pub(super) use crate::wire_histogram::{Count, WireHistogram, WireSpan, ZeroCount};

/// The largest request after decompression, in bytes, as upstream.
const DECODED_BYTES_MAX: usize = 32 << 20;

/// The largest body; a snappy block of the largest request cannot be larger.
pub(super) const BODY_BYTES_MAX: usize = 32 + DECODED_BYTES_MAX + DECODED_BYTES_MAX / 6;

/// A body that is not a request; the text says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadRequest(pub(super) String);

/// A request.
#[derive(Clone, PartialEq, Message)]
pub struct Request {
    /// What is asked for; each query is answered by itself.
    #[prost(message, repeated, tag = "1")]
    pub queries: Vec<Query>,
    /// The numbers of the kinds of answers that the client takes, the best first; none: samples.
    #[prost(int32, repeated, tag = "2")]
    pub accepted: Vec<i32>,
}

/// A query of a request.
#[derive(Clone, PartialEq, Message)]
pub struct Query {
    /// The earliest sample, in milliseconds.
    #[prost(int64, tag = "1")]
    pub start_ms: i64,
    /// The latest sample.
    #[prost(int64, tag = "2")]
    pub end_ms: i64,
    /// All of them must pass.
    #[prost(message, repeated, tag = "3")]
    pub matchers: Vec<WireMatcher>,
    /// What the client will do with the samples.
    #[prost(message, optional, tag = "4")]
    pub hints: Option<Hints>,
}

/// A matcher of a query.
#[derive(Clone, PartialEq, Message)]
pub struct WireMatcher {
    /// 0: equal, 1: not equal, 2: a regular expression matches, 3: it does not.
    #[prost(int32, tag = "1")]
    pub kind: i32,
    /// The label.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Its value, or the pattern.
    #[prost(string, tag = "3")]
    pub value: String,
}

/// Of what the client will do, the range that it needs.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Hints {
    /// The earliest sample, in milliseconds.
    #[prost(int64, tag = "3")]
    pub start_ms: i64,
    /// The latest sample.
    #[prost(int64, tag = "4")]
    pub end_ms: i64,
}

/// How an answer looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResponseType {
    /// All samples in one message.
    Samples,
    /// Frames of chunks.
    StreamedXorChunks,
}

impl Request {
    /// Decompresses and decodes a body.
    ///
    /// # Errors
    /// [`BadRequest`] when it is none.
    pub fn decompress(body: &[u8]) -> Result<Self, BadRequest> {
        let corrupt = |_| BadRequest("snappy: corrupt input".to_owned());
        // What snap takes for nothing at all.
        if body.is_empty() {
            return Err(corrupt(snap::Error::Empty));
        }
        let decoded_bytes = snap::raw::decompress_len(body).map_err(corrupt)?;
        if decoded_bytes > DECODED_BYTES_MAX {
            return Err(BadRequest(format!(
                "snappy: decoded length {decoded_bytes} exceeds limit {DECODED_BYTES_MAX}"
            )));
        }
        let message = snap::raw::Decoder::new().decompress_vec(body);
        Self::decode(message.map_err(corrupt)?.as_slice())
            .map_err(|error| BadRequest(format!("proto: {error}")))
    }

    /// The kind of answer that the client likes best of those that there are.
    pub(super) fn response_type(&self) -> Result<ResponseType, BadRequest> {
        if self.accepted.is_empty() {
            return Ok(ResponseType::Samples);
        }
        let mut accepted = self.accepted.iter();
        let known = accepted.find_map(|number| match number {
            0 => Some(ResponseType::Samples),
            1 => Some(ResponseType::StreamedXorChunks),
            _ => None,
        });
        known.ok_or_else(|| {
            let numbers: Vec<String> = self.accepted.iter().map(i32::to_string).collect();
            BadRequest(format!(
                "server does not support any of the requested response types: [{}]; supported: map[SAMPLES:{{}} STREAMED_XOR_CHUNKS:{{}}]",
                numbers.join(" ")
            ))
        })
    }
}

/// A label of a series.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Label {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

/// A series of an answer with samples.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub(super) labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub(super) samples: Vec<WireSample>,
    #[prost(message, repeated, tag = "4")]
    pub(super) histograms: Vec<WireHistogram>,
}

/// A number with its time.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct WireSample {
    /// None stands for zero, and for no other bits.
    #[prost(double, optional, tag = "1")]
    pub(super) value: Option<f64>,
    #[prost(int64, tag = "2")]
    pub(super) timestamp: i64,
}

/// The value of an optional field: none for zero, and for no other bits.
pub(super) fn unless_zero(value: f64) -> Option<f64> {
    (value.to_bits() != 0).then_some(value)
}

impl WireHistogram {
    pub(super) fn new(timestamp: i64, histogram: Histogram) -> Self {
        let layout = histogram.layout;
        let spans = |spans: Vec<narthex_storage::Span>| {
            let spans = spans.into_iter().map(|span| WireSpan {
                offset: span.offset,
                length: span.length,
            });
            spans.collect()
        };
        let mut wire = Self {
            sum: unless_zero(histogram.sum),
            schema: i32::from(layout.schema),
            zero_threshold: layout.zero_threshold,
            negative_spans: spans(layout.negative_spans),
            positive_spans: spans(layout.positive_spans),
            // Of a reset who reads must find out by itself: what was before may be gone.
            reset_hint: match histogram.reset_hint {
                ResetHint::Gauge => 3,
                ResetHint::NoReset => 2,
                ResetHint::Unknown | ResetHint::Reset => 0,
            },
            timestamp,
            custom_values: layout.custom_bounds,
            ..Self::default()
        };
        match histogram.counts {
            HistogramCounts::Integer(counts) => {
                wire.count = Some(Count::Integer(counts.count));
                wire.zero_count = Some(ZeroCount::Integer(counts.zero));
                wire.positive_deltas = by_neighbour(&counts.positive);
                wire.negative_deltas = by_neighbour(&counts.negative);
            }
            HistogramCounts::Float(counts) => {
                wire.count = Some(Count::Float(counts.count));
                wire.zero_count = Some(ZeroCount::Float(counts.zero));
                wire.positive_counts = counts.positive;
                wire.negative_counts = counts.negative;
            }
        }
        wire
    }
}

/// Each count against the one before it.
fn by_neighbour(counts: &[u64]) -> Vec<i64> {
    let before = std::iter::once(0).chain(counts.iter().copied());
    let pairs = counts.iter().zip(before);
    pairs
        .map(|(count, before)| count.wrapping_sub(before) as i64)
        .collect()
}

/// A frame of a stream.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ChunkedReadResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) chunked_series: Vec<ChunkedSeries>,
    #[prost(int64, tag = "2")]
    pub(super) query_index: i64,
}

/// A series, or a piece of one.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ChunkedSeries {
    #[prost(message, repeated, tag = "1")]
    pub(super) labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub(super) chunks: Vec<WireChunk>,
}

/// A chunk with the times of its first and its last sample.
#[derive(Clone, PartialEq, Message)]
pub(super) struct WireChunk {
    #[prost(int64, tag = "1")]
    pub(super) min_time_ms: i64,
    #[prost(int64, tag = "2")]
    pub(super) max_time_ms: i64,
    #[prost(int32, tag = "3")]
    pub(super) kind: i32,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) data: Vec<u8>,
}

impl From<PrometheusChunk> for WireChunk {
    fn from(chunk: PrometheusChunk) -> Self {
        Self {
            min_time_ms: chunk.range.min,
            max_time_ms: chunk.range.max,
            kind: chunk.encoding as i32,
            data: chunk.bytes,
        }
    }
}
