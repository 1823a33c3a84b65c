//! Native histograms: one sample with all its buckets.
//!
//! A histogram has a *layout* (which buckets there are) and *counts* (what is in them). Samples of one
//! layout are kept as columns, a column a bucket; see [`HistogramColumns`].

mod columns;
mod resets;
#[cfg(test)]
mod tests;
mod validate;

pub use columns::HistogramColumns;
pub(crate) use validate::BUCKETS_MAX;
pub use validate::InvalidHistogram;

use crate::{is_stale_marker, stale_marker};

/// The schema of histograms whose bounds are given one by one.
pub const CUSTOM_BUCKETS_SCHEMA: i8 = -53;

/// What a sample is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Kind {
    /// A number.
    #[default]
    Float,
    /// A native histogram.
    Histogram,
}

/// What is known of a histogram against the one before it.
///
/// The store finds it out when a histogram comes, against the newest one of its series, and keeps it: see
/// [`Histogram::hint_after`]. Of one that comes late nothing is known. Late samples and deletions may have
/// put another one before it since, so who reads both compares them.
///
/// Source: Prometheus' `model/histogram`, `CounterResetHint`; the numbers are those of its protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum ResetHint {
    /// Nothing: whoever wants to know compares the two.
    #[default]
    Unknown = 0,
    /// A counter that began anew.
    Reset = 1,
    /// A counter that did not.
    NoReset = 2,
    /// No counter: the counts may go up and down.
    Gauge = 3,
}

impl ResetHint {
    /// The hint of a number.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Unknown),
            1 => Some(Self::Reset),
            2 => Some(Self::NoReset),
            3 => Some(Self::Gauge),
            _ => None,
        }
    }
}

/// Buckets that lie side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// Buckets between the span before and this one; of the first span the index of its first bucket,
    /// which may be negative.
    pub offset: i32,
    /// How many there are.
    pub length: u32,
}

/// Which buckets a histogram has.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HistogramLayout {
    /// -4 to 8: bucket `i` of the positive side ends at `2^(i * 2^-schema)`, which belongs to it;
    /// [`CUSTOM_BUCKETS_SCHEMA`]: at `custom_bounds[i]`, the one behind the last at +Inf.
    pub schema: i8,
    /// Observations whose magnitude is not above it are in the zero bucket.
    pub zero_threshold: f64,
    /// The buckets of observations above zero, or all of them with custom bounds.
    pub positive_spans: Vec<Span>,
    /// The buckets of observations below zero, counted away from zero.
    pub negative_spans: Vec<Span>,
    /// Upper bounds, strictly rising, without +Inf; empty unless the schema is for them.
    pub custom_bounds: Vec<f64>,
}

/// What is in the buckets, each count by itself: neither cumulative nor against its neighbour.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Counts<N> {
    /// Of all observations.
    pub count: N,
    /// Of those in the zero bucket.
    pub zero: N,
    /// Of each bucket of the positive spans.
    pub positive: Vec<N>,
    /// Of each bucket of the negative spans.
    pub negative: Vec<N>,
}

impl<N> Counts<N> {
    /// Count, zero count, positive, then negative buckets.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &N> {
        let buckets = self.positive.iter().chain(&self.negative);
        [&self.count, &self.zero].into_iter().chain(buckets)
    }

    /// Of values in the order of [`Counts::iter`], of which `positive` are of positive buckets; `None`:
    /// there are fewer.
    pub(crate) fn collect(mut values: impl Iterator<Item = N>, positive: usize) -> Option<Self> {
        let (count, zero) = (values.next()?, values.next()?);
        let positive_counts: Vec<N> = values.by_ref().take(positive).collect();
        (positive_counts.len() == positive).then(|| Self {
            count,
            zero,
            positive: positive_counts,
            negative: values.collect(),
        })
    }
}

/// Counts of one of the two flavours.
#[derive(Debug, Clone, PartialEq)]
pub enum HistogramCounts<I, F> {
    /// Observations that were counted.
    Integer(Counts<I>),
    /// Counts that were computed; any bit pattern but negative ones.
    Float(Counts<F>),
}

/// One sample of a histogram series.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// What is known of it against the one before. Of one that is appended a gauge and a reset are believed,
    /// all else the store finds out.
    pub reset_hint: ResetHint,
    /// Which buckets it has.
    pub layout: HistogramLayout,
    /// Of all observations. The staleness marker: the series ended here, and nothing else of the
    /// histogram counts.
    pub sum: f64,
    /// What is in the buckets.
    pub counts: HistogramCounts<u64, f64>,
}

impl Histogram {
    /// The staleness marker of a histogram series.
    pub fn stale() -> Self {
        Self {
            reset_hint: ResetHint::Unknown,
            layout: HistogramLayout::default(),
            sum: stale_marker(),
            counts: HistogramCounts::Integer(Counts::default()),
        }
    }

    /// Whether the series ended here.
    pub fn is_stale(&self) -> bool {
        is_stale_marker(self.sum)
    }
}
