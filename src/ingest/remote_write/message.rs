//! A remote write 1.0 request as bytes: a snappy block around a protobuf message.
//!
//! **What always holds.** Any bytes end in a [`Batch`] or a [`BadMessage`]; the size of the message is
//! looked at before memory is taken for it.
#![deny(clippy::indexing_slicing)]

use narthex_storage::{
    Exemplar, Histogram, InvalidHistogram, InvalidLabels, Labels, Metadata, MetricType, Sample,
    Timestamp,
};
use prost::Message;

use super::histogram::histogram;
use crate::wire_histogram::WireHistogram;

/// The largest message after decompression, in bytes; checked before anything is allocated for it.
pub(super) const DECODED_BYTES_MAX: usize = 32 << 20;

#[derive(Clone, PartialEq, Message)]
pub(super) struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) series: Vec<TimeSeries>,
    #[prost(message, repeated, tag = "3")]
    pub(super) metadata: Vec<WireMetadata>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub(super) labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub(super) samples: Vec<WireSample>,
    #[prost(message, repeated, tag = "3")]
    pub(super) exemplars: Vec<WireExemplar>,
    #[prost(message, repeated, tag = "4")]
    pub(super) histograms: Vec<WireHistogram>,
}

/// Texts as bytes: whether they are UTF-8 is looked at label by label, so that a bad one costs its
/// series and not the request.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Label {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct WireSample {
    #[prost(double, tag = "1")]
    pub(super) value: f64,
    #[prost(int64, tag = "2")]
    pub(super) timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WireExemplar {
    #[prost(message, repeated, tag = "1")]
    pub(super) labels: Vec<Label>,
    #[prost(double, tag = "2")]
    pub(super) value: f64,
    #[prost(int64, tag = "3")]
    pub(super) timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct WireMetadata {
    #[prost(int32, tag = "1")]
    pub(super) kind: i32,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) family: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) help: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    pub(super) unit: Vec<u8>,
}

/// A body that is not a request; the text says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadMessage(String);

/// The samples of a request.
#[derive(Debug, Default, PartialEq)]
pub struct Batch {
    /// As sent: label sets may repeat.
    pub series: Vec<BatchSeries>,
    /// Exemplars and their series, as sent, without those whose labels break a rule.
    pub exemplars: Vec<(Labels, Exemplar)>,
    /// Metric families and what is said of them, as sent, without what is not UTF-8.
    pub metadata: Vec<(String, Metadata)>,
    /// Samples of series whose labels break a rule.
    pub skipped: u64,
}

/// The samples of a series, in any order.
#[derive(Debug, PartialEq)]
pub struct BatchSeries {
    /// The series.
    pub labels: Labels,
    /// Its numbers.
    pub samples: Vec<Sample>,
    /// Its native histograms; what is none says why.
    pub histograms: Vec<(Timestamp, Result<Histogram, InvalidHistogram>)>,
}

impl Batch {
    /// Decompresses and decodes a body.
    ///
    /// # Errors
    /// [`BadMessage`] when it is none.
    pub fn decode(body: &[u8]) -> Result<Self, BadMessage> {
        let corrupt = |_| BadMessage("snappy: corrupt input".to_owned());
        let decoded_bytes = snap::raw::decompress_len(body).map_err(corrupt)?;
        if decoded_bytes > DECODED_BYTES_MAX {
            return Err(BadMessage(format!(
                "snappy: decoded length {decoded_bytes} exceeds limit {DECODED_BYTES_MAX}"
            )));
        }
        let message = snap::raw::Decoder::new()
            .decompress_vec(body)
            .map_err(corrupt)?;
        let request = WriteRequest::decode(message.as_slice())
            .map_err(|error| BadMessage(format!("proto: {error}")))?;
        let mut batch = Self {
            metadata: request.metadata.into_iter().filter_map(metadata).collect(),
            ..Self::default()
        };
        for series in request.series {
            let samples = series.samples.iter().map(|sample| Sample {
                time: sample.timestamp,
                value: sample.value,
            });
            match labels(&series.labels) {
                Ok(labels) => {
                    let exemplars = series.exemplars.iter().filter_map(exemplar);
                    let exemplars = exemplars.map(|exemplar| (labels.clone(), exemplar));
                    batch.exemplars.extend(exemplars);
                    batch.series.push(BatchSeries {
                        labels,
                        samples: samples.collect(),
                        histograms: series.histograms.into_iter().map(histogram).collect(),
                    });
                }
                Err(_) => batch.skipped += (samples.len() + series.histograms.len()) as u64,
            }
        }
        Ok(batch)
    }
}

/// Why a list of labels is not a series.
#[derive(Debug, PartialEq, Eq)]
enum BadLabels {
    NotUtf8,
    NoMetricName,
    Invalid(InvalidLabels),
}

/// An exemplar from the wire; none when its labels are no label set.
fn exemplar(wire: &WireExemplar) -> Option<Exemplar> {
    Some(Exemplar {
        labels: label_set(&wire.labels).ok()?,
        value: wire.value,
        time: wire.timestamp,
        is_timed: true,
    })
}

/// A family and its metadata from the wire; a type that nobody knows is an unknown one.
fn metadata(wire: WireMetadata) -> Option<(String, Metadata)> {
    let kind = u8::try_from(wire.kind)
        .ok()
        .and_then(MetricType::from_number);
    let metadata = Metadata {
        kind: kind.unwrap_or_default(),
        unit: String::from_utf8(wire.unit).ok()?,
        help: String::from_utf8(wire.help).ok()?,
    };
    Some((String::from_utf8(wire.family).ok()?, metadata))
}

/// The labels of a series: a label set with a metric name.
fn labels(wire: &[Label]) -> Result<Labels, BadLabels> {
    let labels = label_set(wire)?;
    if labels.metric_name().is_empty() {
        return Err(BadLabels::NoMetricName);
    }
    Ok(labels)
}

/// A label set from the wire: any order, empty values dropped; names unique and not empty, texts
/// UTF-8.
fn label_set(wire: &[Label]) -> Result<Labels, BadLabels> {
    let mut pairs = Vec::with_capacity(wire.len());
    for label in wire {
        let name = std::str::from_utf8(&label.name).map_err(|_| BadLabels::NotUtf8)?;
        let value = std::str::from_utf8(&label.value).map_err(|_| BadLabels::NotUtf8)?;
        pairs.push((name, value));
    }
    Labels::try_from_pairs(pairs).map_err(BadLabels::Invalid)
}
