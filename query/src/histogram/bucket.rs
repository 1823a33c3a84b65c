//! A histogram's buckets with their bounds.

use super::{Buckets, FloatHistogram, bounds::exponential};

/// A bucket with its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Bucket {
    /// Where it begins; -Inf is possible with custom bounds.
    pub lower: f64,
    /// Where it ends.
    pub upper: f64,
    /// Whether an observation equal to `lower` is in it.
    pub lower_inclusive: bool,
    /// Whether an observation equal to `upper` is in it.
    pub upper_inclusive: bool,
    /// How many observations are in it.
    pub count: f64,
}

/// One of the two sides of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Above zero, or all of it with custom bounds.
    Positive,
    /// Below zero.
    Negative,
}

impl FloatHistogram {
    /// Every bucket from the lowest to the highest, empty ones too, the zero bucket only if it is not
    /// empty. What would overlap the zero bucket begins or ends at it.
    pub fn buckets(&self) -> impl Iterator<Item = Bucket> + '_ {
        let threshold = self.zero_threshold;
        let negative = self.side(Side::Negative).rev().map(move |mut bucket| {
            if bucket.upper < 0.0 && bucket.upper > -threshold {
                bucket.upper = -threshold;
            }
            bucket
        });
        let zero = (self.zero_count > 0.0).then(|| self.zero_bucket());
        let positive = self.side(Side::Positive).map(move |mut bucket| {
            if bucket.lower > 0.0 && bucket.lower < threshold {
                bucket.lower = threshold;
            }
            bucket
        });
        negative.chain(zero).chain(positive)
    }

    /// The buckets of a side as they are, from the one nearest to zero.
    pub(crate) fn side(&self, side: Side) -> impl DoubleEndedIterator<Item = Bucket> + '_ {
        self.buckets_of(side)
            .iter()
            .map(move |(index, count)| self.bucket(side, index, count))
    }

    fn buckets_of(&self, side: Side) -> &Buckets {
        match side {
            Side::Positive => &self.positive,
            Side::Negative => &self.negative,
        }
    }

    pub(crate) fn zero_bucket(&self) -> Bucket {
        Bucket {
            lower: -self.zero_threshold,
            upper: self.zero_threshold,
            lower_inclusive: true,
            upper_inclusive: true,
            count: self.zero_count,
        }
    }

    fn bucket(&self, side: Side, index: i32, count: f64) -> Bucket {
        if self.has_custom_bounds() {
            let bound = |index: i32| usize::try_from(index).ok();
            return Bucket {
                lower: bound(index.wrapping_sub(1))
                    .and_then(|index| self.custom_bounds.get(index).copied())
                    .unwrap_or(f64::NEG_INFINITY),
                upper: bound(index)
                    .and_then(|index| self.custom_bounds.get(index).copied())
                    .unwrap_or(f64::INFINITY),
                lower_inclusive: index == 0,
                upper_inclusive: true,
                count,
            };
        }
        let near = exponential(index.wrapping_sub(1), self.schema);
        let far = exponential(index, self.schema);
        match side {
            Side::Positive => Bucket {
                lower: near,
                upper: far,
                lower_inclusive: false,
                upper_inclusive: true,
                count,
            },
            Side::Negative => Bucket {
                lower: -far,
                upper: -near,
                lower_inclusive: true,
                upper_inclusive: false,
                count,
            },
        }
    }
}
