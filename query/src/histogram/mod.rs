//! Native histograms as the engine computes with them: every count a float, buckets by index.
//!
//! Two kinds: *exponential* ones, whose bucket `i` ends at `2^(i * 2^-schema)` on both sides of a zero
//! bucket, and those with *custom bounds*. Only histograms of one kind can be added. A histogram never
//! stands for the end of a series; the engine drops staleness markers before it gets here.
//!
//! **Source**: Prometheus's native histogram specification and its documented operators.

mod add;
mod amount;
mod bounds;
mod bucket;
mod buckets;
mod mean;
mod reset;
#[cfg(test)]
mod tests;
mod trim;

use std::{fmt, sync::Arc};

pub(crate) use add::{Addition, IncompatibleSchema};
pub(crate) use amount::{Amount, Exact};
pub use bucket::Bucket;
pub(crate) use buckets::Buckets;
pub(crate) use mean::HistogramSum;
pub(crate) use trim::Keep;

use narthex_storage::{
    CUSTOM_BUCKETS_SCHEMA, Counts, Histogram, HistogramColumns, HistogramCounts, HistogramLayout,
    ResetHint, Span,
};

use crate::{FloatStyle, format_float};
use bucket::Side;

/// A native histogram; see the module's documentation.
#[derive(Debug, Clone, PartialEq)]
pub struct FloatHistogram<N = f64> {
    pub(crate) reset_hint: ResetHint,
    pub(crate) schema: i8,
    /// The zero bucket reaches so far on both sides, inclusive.
    pub(crate) zero_threshold: f64,
    pub(crate) zero_count: N,
    pub(crate) count: N,
    pub(crate) sum: N,
    pub(crate) positive: Buckets<N>,
    pub(crate) negative: Buckets<N>,
    /// Upper bounds, rising, without +Inf; empty unless the schema is for them.
    pub(crate) custom_bounds: Arc<[f64]>,
}

impl<N: Amount> Default for FloatHistogram<N> {
    fn default() -> Self {
        Self {
            reset_hint: ResetHint::Unknown,
            schema: 0,
            zero_threshold: 0.0,
            zero_count: N::default(),
            count: N::default(),
            sum: N::default(),
            positive: Buckets::default(),
            negative: Buckets::default(),
            custom_bounds: Arc::default(),
        }
    }
}

impl<N: Amount> FloatHistogram<N> {
    /// Whether the bounds are given one by one.
    pub(crate) fn has_custom_bounds(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }

    /// Drops the buckets in which nothing was counted.
    pub(crate) fn compact(mut self) -> Self {
        self.positive.compact();
        self.negative.compact();
        self
    }

    /// The same histogram in other numbers.
    pub(crate) fn map<M: Amount>(&self, of: impl Fn(N) -> M) -> FloatHistogram<M> {
        FloatHistogram {
            reset_hint: self.reset_hint,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: of(self.zero_count),
            count: of(self.count),
            sum: of(self.sum),
            positive: self.positive.map(&of),
            negative: self.negative.map(&of),
            custom_bounds: Arc::clone(&self.custom_bounds),
        }
    }

    /// Multiplies every count and the sum; below zero the result is no counter.
    pub(crate) fn scaled(mut self, factor: f64) -> Self {
        self.each(|amount| amount.scale(factor));
        if factor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
        self
    }

    fn each(&mut self, change: impl Fn(N) -> N) {
        for amount in [&mut self.zero_count, &mut self.count, &mut self.sum]
            .into_iter()
            .chain(self.positive.counts_mut())
            .chain(self.negative.counts_mut())
        {
            *amount = change(*amount);
        }
    }
}

impl FloatHistogram<Exact> {
    /// The sums with what rounding had taken from them.
    pub(crate) fn total(&self) -> FloatHistogram {
        self.map(Exact::total)
    }
}

impl FloatHistogram {
    /// How many observations there are.
    pub fn count(&self) -> f64 {
        self.count
    }

    /// The sum of all observations.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Whether both have the same buckets with the same in them, bit for bit; what is known of resets does
    /// not count.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        let bits = |histogram: &Self| {
            [
                histogram.zero_threshold,
                histogram.zero_count,
                histogram.count,
                histogram.sum,
            ]
            .map(f64::to_bits)
        };
        self.schema == other.schema
            && bits(self) == bits(other)
            && *self.custom_bounds == *other.custom_bounds
            && self.positive.is_same_as(&other.positive)
            && self.negative.is_same_as(&other.negative)
    }

    /// Divides every count and the sum. Division by zero leaves no buckets.
    pub(crate) fn divided(mut self, divisor: f64) -> Self {
        self.each(|amount| amount / divisor);
        if divisor < 0.0 {
            self.reset_hint = ResetHint::Gauge;
        }
        if divisor == 0.0 {
            self.positive.clear();
            self.negative.clear();
            if self.has_custom_bounds() {
                // There is no zero bucket that could count something that is no number.
                self.zero_count = 0.0;
            }
        }
        self
    }

    /// The histogram in a coarser schema, or in its own.
    pub(crate) fn reduced(&self, schema: i8) -> Self {
        let mut reduced = self.clone();
        if schema < self.schema {
            reduced.positive = self.positive.reduced(self.schema, schema);
            reduced.negative = self.negative.reduced(self.schema, schema);
            reduced.schema = schema;
        }
        reduced
    }

    /// What the histogram takes in memory, in samples: Prometheus counts 16 bytes as one.
    pub(crate) fn size_samples(&self) -> u64 {
        /// What Prometheus's own representation takes beside its lists.
        const FIXED_BYTES: usize = 168;
        let spans = |buckets: &Buckets| spans_of(buckets).len() * 8;
        let bytes = FIXED_BYTES
            + (self.positive.len() + self.negative.len() + self.custom_bounds.len()) * 8
            + spans(&self.positive)
            + spans(&self.negative);
        // The timestamp comes on top.
        (bytes as u64 + 8) / 16
    }

    /// A histogram of the store.
    pub fn from_stored(histogram: &Histogram) -> Self {
        let indexes = Indexes::of(&histogram.layout);
        let mut float = match &histogram.counts {
            HistogramCounts::Integer(counts) => {
                indexes.histogram(counts, &|count: &u64| *count as f64)
            }
            HistogramCounts::Float(counts) => indexes.histogram(counts, &|count: &f64| *count),
        };
        float.sum = histogram.sum;
        float.reset_hint = histogram.reset_hint;
        float
    }

    /// All histograms of a run of the store, with the hints that it has; `None` where the series ended.
    pub(crate) fn from_columns(columns: &HistogramColumns) -> impl Iterator<Item = Option<Self>> {
        let indexes = Indexes::of(&columns.layout);
        (0..columns.len()).map(move |row| {
            let sum = columns.sums[row];
            if narthex_storage::is_stale_marker(sum) {
                return None;
            }
            let mut float = match &columns.counts {
                HistogramCounts::Integer(counts) => {
                    indexes.histogram(counts, &|column: &Vec<u64>| column[row] as f64)
                }
                HistogramCounts::Float(counts) => {
                    indexes.histogram(counts, &|column: &Vec<f64>| column[row])
                }
            };
            float.sum = sum;
            float.reset_hint = columns.reset_hints[row];
            Some(float)
        })
    }

    /// The histogram as the store takes it, its counts as floats.
    pub fn to_stored(&self) -> Histogram {
        let counts = |buckets: &Buckets| buckets.iter().map(|(_, count)| count).collect();
        Histogram {
            reset_hint: self.reset_hint,
            layout: HistogramLayout {
                schema: self.schema,
                zero_threshold: self.zero_threshold,
                positive_spans: spans_of(&self.positive),
                negative_spans: spans_of(&self.negative),
                custom_bounds: self.custom_bounds.to_vec(),
            },
            sum: self.sum,
            counts: HistogramCounts::Float(Counts {
                count: self.count,
                zero: self.zero_count,
                positive: counts(&self.positive),
                negative: counts(&self.negative),
            }),
        }
    }
}

/// The indexes of a layout's buckets, made once for all histograms that have it.
struct Indexes {
    schema: i8,
    zero_threshold: f64,
    positive: Arc<[i32]>,
    negative: Arc<[i32]>,
    custom_bounds: Arc<[f64]>,
}

impl Indexes {
    fn of(layout: &HistogramLayout) -> Self {
        Self {
            schema: layout.schema,
            zero_threshold: layout.zero_threshold,
            positive: indexes_of(&layout.positive_spans),
            negative: indexes_of(&layout.negative_spans),
            custom_bounds: layout.custom_bounds.as_slice().into(),
        }
    }

    fn histogram<C>(&self, counts: &Counts<C>, count: &dyn Fn(&C) -> f64) -> FloatHistogram {
        let side = |indexes: &Arc<[i32]>, counts: &[C]| {
            Buckets::new(Arc::clone(indexes), counts.iter().map(count).collect())
        };
        FloatHistogram {
            reset_hint: ResetHint::Unknown,
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: count(&counts.zero),
            count: count(&counts.count),
            sum: 0.0,
            positive: side(&self.positive, &counts.positive),
            negative: side(&self.negative, &counts.negative),
            custom_bounds: Arc::clone(&self.custom_bounds),
        }
    }
}

/// The index of every bucket in spans.
fn indexes_of(spans: &[Span]) -> Arc<[i32]> {
    let mut next = 0_i32;
    let mut indexes = Vec::new();
    for span in spans {
        next = next.wrapping_add(span.offset);
        for _ in 0..span.length {
            indexes.push(next);
            next = next.wrapping_add(1);
        }
    }
    indexes.into()
}

/// The spans of buckets: one for each stretch of neighbours.
fn spans_of(buckets: &Buckets) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut next = 0_i32;
    for (index, _) in buckets.iter() {
        match spans.last_mut() {
            Some(span) if index == next => span.length += 1,
            _ => spans.push(Span {
                offset: index.wrapping_sub(next),
                length: 1,
            }),
        }
        next = index.wrapping_add(1);
    }
    spans
}

/// As Prometheus prints it: `{count:4, sum:5, [-1,1]:1, (1,2]:3}`, without empty buckets. Buckets that overlap
/// the zero bucket are not cut.
impl fmt::Display for FloatHistogram {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |value: f64| format_float(value, FloatStyle::General);
        write!(
            formatter,
            "{{count:{}, sum:{}",
            number(self.count),
            number(self.sum)
        )?;
        let zero = (self.zero_count != 0.0).then(|| self.zero_bucket());
        let buckets = self.side(Side::Negative).rev().chain(zero);
        let buckets = buckets.chain(self.side(Side::Positive));
        for bucket in buckets.filter(|bucket| bucket.count != 0.0) {
            write!(
                formatter,
                ", {}{},{}{}:{}",
                if bucket.lower_inclusive { '[' } else { '(' },
                number(bucket.lower),
                number(bucket.upper),
                if bucket.upper_inclusive { ']' } else { ')' },
                number(bucket.count)
            )?;
        }
        formatter.write_str("}")
    }
}
