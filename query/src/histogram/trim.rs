//! `</` and `>/`: the part of a histogram below or above a value.
//!
//! **Source**: Prometheus's documentation of the trim operators. A bucket that the value lies inside of is
//! parted by interpolation, linear with custom bounds and in the zero bucket, exponential elsewhere; of a
//! bucket without an end on one side nothing is known, and it goes unless it lies on the kept side whole.
//! The sum becomes that of the buckets' middles.

use crate::functions::go_math;

use super::{Bucket, FloatHistogram, bucket::Side};

/// Which observations are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Those not above the value: `</`.
    Below,
    /// Those above the value: `>/`.
    Above,
}

/// What is kept of a bucket: how many observations, and around which value they lie.
type Kept = (f64, f64);

impl FloatHistogram {
    /// The observations on one side of `cut`.
    pub(crate) fn trimmed(&self, cut: f64, keep: Keep) -> Self {
        let mut trimmed = self.clone();
        let (mut count, mut sum) = (0.0, 0.0);
        let mut is_cut = false;
        // Whether there is an observation on each side of zero.
        let mut populated = [false; 2];
        for (side, populated) in [Side::Positive, Side::Negative]
            .into_iter()
            .zip(&mut populated)
        {
            let kept: Vec<f64> = self
                .side(side)
                .map(|bucket| {
                    if bucket.count == 0.0 {
                        return 0.0;
                    }
                    *populated = true;
                    let (kept, middle) = self.kept_of(&bucket, side, cut, keep);
                    count += kept;
                    sum += middle * kept;
                    is_cut |= kept != bucket.count;
                    kept
                })
                .collect();
            let buckets = match side {
                Side::Positive => &mut trimmed.positive,
                Side::Negative => &mut trimmed.negative,
            };
            buckets.counts_mut().copy_from_slice(&kept);
        }
        if self.zero_count > 0.0 {
            let (kept, middle) = kept_of_zero(&self.zero_bucket(), populated, cut, keep);
            trimmed.zero_count = kept;
            is_cut |= kept != self.zero_count;
            count += kept;
            sum += middle * kept;
        }
        if !is_cut {
            return self.clone();
        }
        trimmed.count = count;
        trimmed.sum = sum;
        trimmed.compact()
    }

    fn kept_of(&self, bucket: &Bucket, side: Side, cut: f64, keep: Keep) -> Kept {
        let middle = |lower: f64, upper: f64| self.middle(lower, upper, side);
        let (lower, upper) = (bucket.lower, bucket.upper);
        match keep {
            Keep::Below if upper <= cut => return (bucket.count, middle(lower, upper)),
            Keep::Below if lower >= cut || lower.is_nan() || cut.is_nan() => return (0.0, 0.0),
            Keep::Above if lower >= cut => return (bucket.count, middle(lower, upper)),
            Keep::Above if upper <= cut || cut.is_nan() => return (0.0, 0.0),
            _ => {}
        }
        if lower.is_infinite() || upper.is_infinite() {
            return kept_of_endless(bucket, cut, keep);
        }
        let below = bucket.count * self.share_below(bucket, side, cut);
        match keep {
            Keep::Below => (below, middle(lower, cut)),
            Keep::Above => (bucket.count - below, middle(cut, upper)),
        }
    }

    /// The part of a bucket's observations that lies below a value inside of it.
    fn share_below(&self, bucket: &Bucket, side: Side, cut: f64) -> f64 {
        if self.has_custom_bounds() {
            return (cut - bucket.lower) / (bucket.upper - bucket.lower);
        }
        let [lower, upper, cut] =
            [bucket.lower, bucket.upper, cut].map(|value| go_math::log2(value.abs()));
        match side {
            Side::Positive => (cut - lower) / (upper - lower),
            Side::Negative => 1.0 - (cut - upper) / (lower - upper),
        }
    }

    /// The value that stands for the observations between two.
    fn middle(&self, lower: f64, upper: f64, side: Side) -> f64 {
        if lower.is_infinite() {
            return match upper {
                upper if upper.is_infinite() => 0.0,
                upper if upper > 0.0 => upper / 2.0,
                upper => upper,
            };
        }
        if upper.is_infinite() {
            return lower;
        }
        if self.has_custom_bounds() {
            return f64::midpoint(lower, upper);
        }
        let middle = (lower * upper).abs().sqrt();
        match side {
            Side::Positive => middle,
            Side::Negative => -middle,
        }
    }
}

/// Of a bucket that the value lies inside of and that has no end on one side.
fn kept_of_endless(bucket: &Bucket, cut: f64, keep: Keep) -> Kept {
    let or_zero = |bound: f64| if bound.is_infinite() { 0.0 } else { bound };
    let (lower, upper, count) = (bucket.lower, bucket.upper, bucket.count);
    if lower == f64::NEG_INFINITY {
        // With an end above zero it is taken to begin at zero.
        let begins_at_zero = upper > 0.0 && upper.is_finite();
        return match keep {
            Keep::Below if cut >= upper => (count, 0.0),
            Keep::Below if begins_at_zero && cut > 0.0 => (count * cut / upper, cut / 2.0),
            Keep::Below if upper <= 0.0 => (count, cut),
            Keep::Above if cut <= lower => (count, 0.0),
            Keep::Above if begins_at_zero && cut >= 0.0 && upper > cut => {
                (count * (1.0 - cut / upper), f64::midpoint(cut, upper))
            }
            _ => (0.0, or_zero(upper)),
        };
    }
    match keep {
        Keep::Above if cut >= lower => (count, cut),
        _ => (0.0, or_zero(lower)),
    }
}

/// Of the zero bucket, which reaches to zero only where there is nothing on the other side of it.
fn kept_of_zero(bucket: &Bucket, populated: [bool; 2], cut: f64, keep: Keep) -> Kept {
    let (lower, upper) = match populated {
        [true, false] => (0.0, bucket.upper),
        [false, true] => (bucket.lower, 0.0),
        _ => (bucket.lower, bucket.upper),
    };
    let whole = (bucket.count, f64::midpoint(lower, upper));
    match keep {
        Keep::Below if cut <= lower => (0.0, 0.0),
        Keep::Below if cut >= upper => whole,
        Keep::Below => (
            bucket.count * ((cut - lower) / (upper - lower)),
            f64::midpoint(lower, cut),
        ),
        Keep::Above if cut <= lower => whole,
        Keep::Above if cut >= upper => (0.0, 0.0),
        Keep::Above => (
            bucket.count * ((upper - cut) / (upper - lower)),
            f64::midpoint(cut, upper),
        ),
    }
}
