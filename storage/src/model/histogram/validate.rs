//! Which histograms are taken.
//!
//! Source: `Histogram.Validate` and `FloatHistogram.Validate` of Prometheus' `model/histogram`: the
//! rules, the order in which they are applied, and the words.

use super::{CUSTOM_BUCKETS_SCHEMA, Counts, Histogram, HistogramCounts, HistogramLayout, Span};

/// A histogram has at most so many buckets on both sides together.
pub(crate) const BUCKETS_MAX: usize = 8_192;

/// Which rule a histogram breaks.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidHistogram {
    /// Neither an exponential schema nor that of custom bounds.
    #[error(
        "histogram has an invalid schema, which must be between -4 and 8 for exponential buckets, or -53 for custom buckets, got schema {0}"
    )]
    Schema(i32),
    /// The number of counts is not that of the buckets.
    #[error(
        "{side}: spans need {needed} buckets, have {found} buckets: histogram spans specify different number of buckets than provided"
    )]
    BucketsMismatch {
        /// "positive side", "negative side" or "custom buckets".
        side: &'static str,
        /// Buckets in the spans.
        needed: u64,
        /// Counts.
        found: usize,
    },
    /// Only the first span of a side may begin before what is in front of it.
    #[error(
        "{side}: span number {number} with offset {offset}: histogram has a span whose offset is negative"
    )]
    SpanOffset {
        /// As above.
        side: &'static str,
        /// From 1.
        number: usize,
        /// Its offset.
        offset: i32,
    },
    /// A bucket lies beyond what an index can say.
    #[error("{side}: spans must end before bucket 2147483647, shorten them")]
    SpansTooFar {
        /// As above.
        side: &'static str,
    },
    /// More buckets than the store takes.
    #[error(
        "histogram has {0} buckets, and at most 8192 are taken: reduce its resolution (a smaller schema)"
    )]
    TooManyBuckets(u64),
    /// A count below zero.
    #[error(
        "{side}: bucket number {number} has observation count of {count}: histogram has a bucket whose observation count is negative"
    )]
    NegativeBucket {
        /// As above.
        side: &'static str,
        /// From 1.
        number: usize,
        /// Its count.
        count: f64,
    },
    /// A zero count below zero.
    #[error(
        "zero bucket has observation count of {0}: histogram has a bucket whose observation count is negative"
    )]
    NegativeZeroCount(f64),
    /// A count of all observations below zero.
    #[error("observation count is {0}: histogram's observation count is negative")]
    NegativeCount(f64),
    /// The buckets do not add up to the count.
    #[error(
        "{in_buckets} observations found in buckets, but the Count field is {count}: histogram's observation count should equal the number of observations found in the buckets (in absence of NaN)"
    )]
    CountMismatch {
        /// The sum of zero bucket and buckets.
        in_buckets: u64,
        /// The count.
        count: u64,
    },
    /// The buckets add up to more than the count; the sum of observations is no number.
    #[error(
        "{in_buckets} observations found in buckets, but the Count field is {count}: histogram's observation count should be at least the number of observations found in the buckets"
    )]
    CountNotBigEnough {
        /// The sum of zero bucket and buckets.
        in_buckets: u64,
        /// The count.
        count: u64,
    },
    /// Custom bounds that do not rise.
    #[error(
        "custom buckets: previous bound is {previous:.6} and current is {current:.6}: histogram custom bounds must be in strictly increasing order"
    )]
    CustomBoundsOrder {
        /// A bound.
        previous: f64,
        /// The one behind it.
        current: f64,
    },
    /// A bound that is not a number.
    #[error("custom buckets: histogram custom bounds must not be NaN")]
    CustomBoundsNan,
    /// The last bound is the one that is always there.
    #[error(
        "custom buckets: last +Inf bound must not be explicitly defined: histogram custom bounds must be finite"
    )]
    CustomBoundsInfinite,
    /// Buckets without a bound.
    #[error(
        "custom buckets: only {bounds} custom bounds defined which is insufficient to cover total span length of {needed}: histogram custom bounds are too few"
    )]
    CustomBoundsTooFew {
        /// Bounds.
        bounds: usize,
        /// Buckets from the first to the last, those left out counted.
        needed: u64,
    },
    /// Custom buckets have no zero bucket.
    #[error("custom buckets: must have zero count of 0")]
    CustomZeroCount,
    /// Custom buckets have no zero bucket.
    #[error("custom buckets: must have zero threshold of 0")]
    CustomZeroThreshold,
    /// All custom buckets are on the positive side.
    #[error("custom buckets: must not have negative spans")]
    CustomNegativeSpans,
    /// All custom buckets are on the positive side.
    #[error("custom buckets: must not have negative buckets")]
    CustomNegativeBuckets,
    /// Bounds that mean nothing.
    #[error("histogram with exponential schema must not have custom bounds")]
    ExponentialCustomBounds,
}

const POSITIVE: &str = "positive side";
const NEGATIVE: &str = "negative side";
const CUSTOM: &str = "custom buckets";

/// Where a side's spans end.
struct Extent {
    buckets: u64,
    /// From index 0 to the last bucket, those left out counted.
    total: i64,
}

impl Histogram {
    /// Whether the store takes it; a staleness marker always is.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn validate(&self) -> Result<(), InvalidHistogram> {
        if self.is_stale() {
            return Ok(());
        }
        match &self.counts {
            HistogramCounts::Integer(counts) => {
                self.layout
                    .validate(counts, |_| false, |count| *count as f64)?;
                let sum = |sum: u64, count: &u64| sum.wrapping_add(*count);
                let in_buckets = counts.iter().skip(1).fold(0, sum);
                let count = counts.count;
                if self.sum.is_nan() {
                    if in_buckets > count {
                        return Err(InvalidHistogram::CountNotBigEnough { in_buckets, count });
                    }
                } else if in_buckets != count {
                    return Err(InvalidHistogram::CountMismatch { in_buckets, count });
                }
                Ok(())
            }
            HistogramCounts::Float(counts) => {
                self.layout
                    .validate(counts, |count| *count < 0.0, |count| *count)
            }
        }
    }
}

impl HistogramLayout {
    fn validate<N>(
        &self,
        counts: &Counts<N>,
        is_negative: impl Fn(&N) -> bool,
        as_float: impl Fn(&N) -> f64,
    ) -> Result<(), InvalidHistogram> {
        let all_positive = |side, counts: &[N]| {
            let negative = counts.iter().position(&is_negative);
            let error = |at: usize| InvalidHistogram::NegativeBucket {
                side,
                number: at + 1,
                count: as_float(&counts[at]),
            };
            negative.map_or(Ok(()), |at| Err(error(at)))
        };
        let found = counts.positive.len();
        let mut buckets = 0;
        match self.schema {
            CUSTOM_BUCKETS_SCHEMA => {
                self.check_bounds()?;
                let extent = extent(CUSTOM, &self.positive_spans, found)?;
                let bounds = self.custom_bounds.len();
                if (bounds as i64) + 1 < extent.total {
                    let needed = extent.total as u64;
                    return Err(InvalidHistogram::CustomBoundsTooFew { bounds, needed });
                }
                if as_float(&counts.zero) != 0.0 {
                    return Err(InvalidHistogram::CustomZeroCount);
                }
                if self.zero_threshold != 0.0 {
                    return Err(InvalidHistogram::CustomZeroThreshold);
                }
                if !self.negative_spans.is_empty() {
                    return Err(InvalidHistogram::CustomNegativeSpans);
                }
                if !counts.negative.is_empty() {
                    return Err(InvalidHistogram::CustomNegativeBuckets);
                }
                buckets += extent.buckets.max(bounds as u64);
            }
            -4..=8 => {
                buckets += extent(POSITIVE, &self.positive_spans, found)?.buckets;
                let found = counts.negative.len();
                buckets += extent(NEGATIVE, &self.negative_spans, found)?.buckets;
                all_positive(NEGATIVE, &counts.negative)?;
                if is_negative(&counts.zero) {
                    let count = as_float(&counts.zero);
                    return Err(InvalidHistogram::NegativeZeroCount(count));
                }
                if !self.custom_bounds.is_empty() {
                    return Err(InvalidHistogram::ExponentialCustomBounds);
                }
            }
            schema => return Err(InvalidHistogram::Schema(i32::from(schema))),
        }
        if is_negative(&counts.count) {
            return Err(InvalidHistogram::NegativeCount(as_float(&counts.count)));
        }
        all_positive(POSITIVE, &counts.positive)?;
        if buckets > BUCKETS_MAX as u64 {
            return Err(InvalidHistogram::TooManyBuckets(buckets));
        }
        Ok(())
    }

    fn check_bounds(&self) -> Result<(), InvalidHistogram> {
        let mut previous = f64::NAN;
        for (index, current) in self.custom_bounds.iter().copied().enumerate() {
            if current.is_nan() {
                return Err(InvalidHistogram::CustomBoundsNan);
            }
            if index > 0 && current <= previous {
                return Err(InvalidHistogram::CustomBoundsOrder { previous, current });
            }
            previous = current;
        }
        if previous == f64::INFINITY {
            return Err(InvalidHistogram::CustomBoundsInfinite);
        }
        Ok(())
    }

    /// The same buckets in the fewest spans: what may be written in several ways is kept in one.
    pub(crate) fn in_fewest_spans(&self) -> Self {
        let fewest = |spans: &[Span]| {
            let mut out: Vec<Span> = Vec::new();
            let mut skipped = 0_i32;
            for span in spans {
                // Checked: an index behind the last bucket fits.
                let offset = skipped.saturating_add(span.offset);
                match out.last_mut() {
                    _ if span.length == 0 => skipped = offset,
                    Some(last) if offset == 0 => last.length += span.length,
                    _ => {
                        skipped = 0;
                        let length = span.length;
                        out.push(Span { offset, length });
                    }
                }
            }
            out
        };
        Self {
            schema: self.schema,
            zero_threshold: self.zero_threshold,
            positive_spans: fewest(&self.positive_spans),
            negative_spans: fewest(&self.negative_spans),
            custom_bounds: self.custom_bounds.clone(),
        }
    }
}

fn extent(side: &'static str, spans: &[Span], found: usize) -> Result<Extent, InvalidHistogram> {
    let (mut buckets, mut total) = (0_u64, 0_i64);
    // Between the last span with a bucket and this one.
    let mut gap = 0_i64;
    let mut is_too_far = false;
    for (index, span) in spans.iter().enumerate() {
        let may_be_negative = index == 0 && side != CUSTOM;
        if span.offset < 0 && !may_be_negative {
            return Err(InvalidHistogram::SpanOffset {
                side,
                number: index + 1,
                offset: span.offset,
            });
        }
        gap += i64::from(span.offset);
        is_too_far |= i32::try_from(gap).is_err();
        if span.length > 0 {
            gap = 0;
        }
        buckets += u64::from(span.length);
        total = total.saturating_add(i64::from(span.offset) + i64::from(span.length));
    }
    if buckets != found as u64 {
        return Err(InvalidHistogram::BucketsMismatch {
            side,
            needed: buckets,
            found,
        });
    }
    if is_too_far || total >= i64::from(i32::MAX) {
        return Err(InvalidHistogram::SpansTooFar { side });
    }
    Ok(Extent { buckets, total })
}
