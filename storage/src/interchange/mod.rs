//! Prometheus's chunks, byte for byte, for those who read them of us.
//!
//! **What it is.** Samples of one series become chunks as Prometheus writes them: numbers (its XOR
//! encoding), histograms of integers and histograms of floats. [`ChunkWriter`] says where one chunk ends
//! and the next begins. `docs/chunks.md` has the bytes.
//!
//! **What it is not.** The store itself keeps none of these; they are made of what was read, sample by
//! sample.
//!
//! **What always holds.** Every value comes back bit for bit, NaN payloads and staleness markers too;
//! of zero thresholds and custom bounds the sign of a zero is lost, as upstream. Samples of a chunk rise
//! in time, have one kind and one layout, and none of a counter's is a reset but the first. A staleness
//! marker has no counts, and only others come behind it. The decoder, which tests use, ends in an answer
//! or an error for any bytes.
//!
//! Source: Prometheus's `tsdb/docs/format/chunks.md`; bytes that Prometheus 3.5.3 wrote.
#![deny(clippy::indexing_slicing)]

mod bits;
#[cfg(any(test, feature = "internals"))]
pub(crate) mod decode;
mod histogram;
#[cfg(test)]
mod tests;
mod xor;

use histogram::{HistogramEncoder, Row};
use xor::FloatEncoder;

use crate::{
    Counts, HistogramColumns, HistogramCounts, HistogramLayout, ResetHint, TimeRange, Timestamp,
    is_stale_marker,
};

/// The most samples of a chunk.
const SAMPLES_MAX: u16 = 120;

/// A chunk of histograms with so many bytes is full, if it has enough samples.
const HISTOGRAM_BYTES_ENOUGH: usize = 1024;

/// How many samples are enough then.
const HISTOGRAM_SAMPLES_ENOUGH: u16 = 10;

/// What is in a chunk; the numbers are those of Prometheus's protocol and files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ChunkEncoding {
    /// Numbers.
    Xor = 1,
    /// Histograms of integers.
    Histogram = 2,
    /// Histograms of floats.
    FloatHistogram = 3,
}

/// Samples of one series as Prometheus keeps them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrometheusChunk {
    /// What is in it.
    pub encoding: ChunkEncoding,
    /// The times of its first and its last sample.
    pub range: TimeRange,
    /// The encoded samples.
    pub bytes: Vec<u8>,
}

/// Writes the samples of one series, which come with rising times, as chunks of at most 120 samples.
///
/// Whatever pushes a sample answers the chunk that it completes, which the sample is not part of.
#[derive(Debug, Default)]
pub struct ChunkWriter {
    open: Option<Open>,
}

/// The chunk that is being written.
#[derive(Debug)]
struct Open {
    first: Timestamp,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Floats(FloatEncoder),
    Histograms {
        encoder: HistogramEncoder,
        newest: Newest,
    },
}

/// The newest histogram of a chunk.
#[derive(Debug)]
struct Newest {
    is_gauge: bool,
    is_stale: bool,
    layout: HistogramLayout,
    row: Row,
}

/// What becomes of a histogram.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// It continues the open chunk.
    Here,
    /// It begins one, and is this against the histogram before it.
    Next(ResetHint),
}

impl ChunkWriter {
    /// A writer without samples.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a number.
    pub fn float(&mut self, time: Timestamp, value: f64) -> Option<PrometheusChunk> {
        if let Some(open) = &mut self.open
            && let Body::Floats(encoder) = &mut open.body
            && encoder.samples() < SAMPLES_MAX
        {
            encoder.push(time, value);
            return None;
        }
        let next = Body::Floats(FloatEncoder::new(time, value));
        self.replace(time, next)
    }

    /// Adds the histogram with this index; there must be one.
    pub fn histogram(
        &mut self,
        time: Timestamp,
        columns: &HistogramColumns,
        index: usize,
    ) -> Option<PrometheusChunk> {
        let sum = columns.sums.get(index).copied().unwrap_or_default();
        let hint = columns.reset_hints.get(index).copied().unwrap_or_default();
        let is_stale = is_stale_marker(sum);
        let next = Newest {
            is_gauge: hint == ResetHint::Gauge,
            is_stale,
            layout: if is_stale {
                HistogramLayout::default()
            } else {
                columns.layout.clone()
            },
            row: row(&columns.counts, index, is_stale),
        };
        let place = match &mut self.open {
            Some(Open {
                body: Body::Histograms { encoder, newest },
                ..
            }) => {
                let place = newest.place_of(&next, hint, encoder);
                if place == Place::Here {
                    encoder.push(time, sum, (!is_stale).then_some(&next.row));
                    newest.is_stale = is_stale;
                    if !is_stale {
                        newest.row = next.row;
                    }
                    return None;
                }
                place
            }
            _ => Place::Next(alone(hint)),
        };
        let hint = match place {
            Place::Next(hint) => hint,
            Place::Here => alone(hint),
        };
        let encoder = HistogramEncoder::new(hint, &next.layout, time, sum, &next.row);
        let newest = next;
        self.replace(time, Body::Histograms { encoder, newest })
    }

    /// Ends the last chunk.
    pub fn finish(&mut self) -> Option<PrometheusChunk> {
        self.open.take().map(Open::finish)
    }

    fn replace(&mut self, first: Timestamp, body: Body) -> Option<PrometheusChunk> {
        let open = Open { first, body };
        self.open.replace(open).map(Open::finish)
    }
}

impl Newest {
    /// Where `next` goes, which comes behind `self`.
    fn place_of(&self, next: &Self, hint: ResetHint, encoder: &HistogramEncoder) -> Place {
        if self.is_gauge != next.is_gauge || !self.row.has_kind_of(&next.row) {
            return Place::Next(alone(hint));
        }
        let is_full = encoder.samples() >= SAMPLES_MAX
            || encoder.samples() >= HISTOGRAM_SAMPLES_ENOUGH
                && encoder.len() >= HISTOGRAM_BYTES_ENOUGH;
        if next.is_stale {
            let hint = ResetHint::Unknown;
            return if is_full {
                Place::Next(hint)
            } else {
                Place::Here
            };
        }
        // Nothing is known across a marker.
        if self.is_stale {
            return Place::Next(alone(hint));
        }
        let is_same = self.layout == next.layout;
        if next.is_gauge {
            return if is_same && !is_full {
                Place::Here
            } else {
                Place::Next(ResetHint::Gauge)
            };
        }
        if !is_same {
            return Place::Next(alone(hint));
        }
        if hint == ResetHint::Reset || self.row.is_reset_by(&next.row) {
            return Place::Next(ResetHint::Reset);
        }
        if is_full {
            Place::Next(ResetHint::NoReset)
        } else {
            Place::Here
        }
    }
}

/// What is known of a histogram before which there is none to compare with.
const fn alone(hint: ResetHint) -> ResetHint {
    match hint {
        ResetHint::Gauge | ResetHint::Reset => hint,
        ResetHint::Unknown | ResetHint::NoReset => ResetHint::Unknown,
    }
}

impl Open {
    fn finish(self) -> PrometheusChunk {
        let (encoding, last, bytes) = match self.body {
            Body::Floats(encoder) => {
                let last = encoder.newest();
                (ChunkEncoding::Xor, last, encoder.finish())
            }
            Body::Histograms { encoder, newest } => {
                let encoding = match newest.row {
                    Row::Integer(_) => ChunkEncoding::Histogram,
                    Row::Float(_) => ChunkEncoding::FloatHistogram,
                };
                let last = encoder.newest();
                (encoding, last, encoder.finish())
            }
        };
        PrometheusChunk {
            encoding,
            range: TimeRange::new(self.first, last),
            bytes,
        }
    }
}

/// The counts of the histogram with this index; those of a staleness marker are zero, without buckets.
fn row(counts: &HistogramCounts<Vec<u64>, Vec<f64>>, index: usize, is_stale: bool) -> Row {
    fn values<N: Copy + Default>(columns: &Counts<Vec<N>>, index: usize, is_stale: bool) -> Vec<N> {
        if is_stale {
            return vec![N::default(); 2];
        }
        let columns = columns.iter();
        let values = columns.map(|column| column.get(index).copied().unwrap_or_default());
        values.collect()
    }
    match counts {
        HistogramCounts::Integer(columns) => Row::Integer(values(columns, index, is_stale)),
        HistogramCounts::Float(columns) => Row::Float(values(columns, index, is_stale)),
    }
}

/// Puts the number of samples at the head of a chunk.
fn set_samples(chunk: &mut [u8], samples: u16) {
    if let Some(head) = chunk.first_chunk_mut() {
        *head = samples.to_be_bytes();
    }
}
