//! What functions tell of one native histogram.
//!
//! **Source**: Prometheus's documentation of `histogram_quantile`, `histogram_fraction` and the like: inside a
//! bucket observations are spread evenly on a logarithmic scale, with custom bounds and in the zero bucket on a
//! linear one; the zero bucket reaches to zero only where there is nothing on the other side of it.

use super::{FunctionId, go_math};
use crate::{Bucket, FloatHistogram, annotations::Remark, eval::add_exact};

/// The function that tells a number of each histogram by itself.
pub(crate) fn unary(id: FunctionId) -> Option<fn(&FloatHistogram) -> f64> {
    Some(match id {
        FunctionId::HistogramCount => |histogram| histogram.count,
        FunctionId::HistogramSum => |histogram| histogram.sum,
        FunctionId::HistogramAvg => |histogram| histogram.sum / histogram.count,
        FunctionId::HistogramStdvar => variance,
        FunctionId::HistogramStddev => |histogram| variance(histogram).sqrt(),
        _ => return None,
    })
}

fn variance(histogram: &FloatHistogram) -> f64 {
    let mean = histogram.sum / histogram.count;
    let (mut squares, mut rest) = (0.0, 0.0);
    for bucket in histogram.buckets().filter(|bucket| bucket.count != 0.0) {
        let middle = if histogram.has_custom_bounds() {
            f64::midpoint(bucket.upper, bucket.lower)
        } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            0.0
        } else {
            (bucket.upper * bucket.lower).sqrt().copysign(bucket.upper)
        };
        let distance = middle - mean;
        (squares, rest) = add_exact(bucket.count * distance * distance, squares, rest);
    }
    (squares + rest) / histogram.count
}

/// The value below which the share `ratio` of the observations lies.
pub(crate) fn quantile<'n>(
    ratio: f64,
    histogram: &FloatHistogram,
    name: &'n str,
) -> (f64, Option<Remark<'n>>) {
    if ratio < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if ratio > 1.0 {
        return (f64::INFINITY, None);
    }
    if histogram.count == 0.0 || ratio.is_nan() {
        return (f64::NAN, None);
    }
    // Observations that are no numbers are in no bucket: then it is counted from below.
    let may_have_nan = histogram.sum.is_nan();
    let is_upward = may_have_nan || ratio < 0.5;
    let all: Vec<Bucket> = histogram.buckets().collect();
    let mut rank = histogram.count * if is_upward { ratio } else { 1.0 - ratio };
    let mut buckets: Box<dyn Iterator<Item = &Bucket>> = if is_upward {
        Box::new(all.iter())
    } else {
        Box::new(all.iter().rev())
    };
    let mut bucket = Bucket::default();
    let mut count = 0.0;
    for next in buckets.by_ref() {
        bucket = *next;
        count += bucket.count;
        if bucket.count != 0.0 && count >= rank {
            break;
        }
    }
    if histogram.has_custom_bounds() {
        if bucket.lower == f64::NEG_INFINITY {
            if bucket.upper <= 0.0 {
                return (bucket.upper, None);
            }
            bucket.lower = 0.0;
        } else if bucket.upper == f64::INFINITY {
            return (bucket.lower, None);
        }
    } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
        bucket = one_sided(histogram, bucket);
    }
    // Rounding can have brought more together than there is.
    count = count.min(histogram.count);
    if count < rank {
        return if may_have_nan {
            (f64::NAN, Some(Remark::QuantileIsNan(name)))
        } else {
            (bucket.upper, None)
        };
    }
    if is_upward {
        rank -= count - bucket.count;
    } else {
        rank = count - rank;
    }
    let mut remark = None;
    if may_have_nan {
        // Prometheus 3.5 and 3.13 go on from the bucket in which they end up when they count the rest.
        for rest in buckets {
            bucket = *rest;
            count += bucket.count;
        }
        if count < histogram.count {
            remark = Some(Remark::QuantileIsSkewed(name));
        }
    }
    let share = rank / bucket.count;
    if histogram.has_custom_bounds() || (bucket.lower <= 0.0 && bucket.upper >= 0.0) {
        return (bucket.lower + (bucket.upper - bucket.lower) * share, remark);
    }
    let lower = go_math::log2(bucket.lower.abs());
    let upper = go_math::log2(bucket.upper.abs());
    let value = if bucket.lower > 0.0 {
        go_math::exp2(lower + (upper - lower) * share)
    } else {
        -go_math::exp2(upper + (lower - upper) * (1.0 - share))
    };
    (value, remark)
}

/// The share of the observations between two values.
pub(crate) fn fraction<'n>(
    lower: f64,
    upper: f64,
    histogram: &FloatHistogram,
    name: &'n str,
) -> (f64, Option<Remark<'n>>) {
    if histogram.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return (f64::NAN, None);
    }
    if lower >= upper {
        return (0.0, None);
    }
    let mut ranks = [None, None];
    let (mut below, mut count) = (0.0, 0.0);
    let mut buckets = histogram.buckets();
    for mut bucket in buckets.by_ref() {
        count += bucket.count;
        let is_zero_bucket = bucket.lower <= 0.0 && bucket.upper >= 0.0;
        if is_zero_bucket {
            bucket = one_sided(histogram, bucket);
        }
        let is_linear = histogram.has_custom_bounds() || is_zero_bucket;
        for (rank, value) in ranks.iter_mut().zip([lower, upper]) {
            if rank.is_some() {
                continue;
            }
            if bucket.lower >= value {
                *rank = Some(below);
            } else if bucket.upper > value {
                *rank = Some(rank_inside(&bucket, value, below, is_linear));
            }
        }
        if ranks.iter().all(Option::is_some) {
            break;
        }
        below += bucket.count;
    }
    let mut remark = None;
    if histogram.sum.is_nan() {
        count = buckets.fold(count, |count, bucket| count + bucket.count);
        if count < histogram.count {
            remark = Some(Remark::FractionWithoutNan(name));
        }
    } else {
        count = histogram.count;
    }
    let [lower, upper] = ranks.map(|rank| rank.filter(|rank| *rank <= count).unwrap_or(count));
    ((upper - lower) / histogram.count, remark)
}

/// How many observations lie below a value inside of a bucket.
fn rank_inside(bucket: &Bucket, value: f64, below: f64, is_linear: bool) -> f64 {
    if is_linear {
        // Of a bucket without a beginning nothing is known: it counts whole.
        return if bucket.lower == f64::NEG_INFINITY {
            bucket.count
        } else {
            below + bucket.count * (value - bucket.lower) / (bucket.upper - bucket.lower)
        };
    }
    let [lower, upper, place] =
        [bucket.lower, bucket.upper, value].map(|value| go_math::log2(value.abs()));
    let share = if value > 0.0 {
        (place - lower) / (upper - lower)
    } else {
        1.0 - (place - upper) / (lower - upper)
    };
    below + bucket.count * share
}

/// The zero bucket without the side on which the histogram has no buckets.
fn one_sided(histogram: &FloatHistogram, mut bucket: Bucket) -> Bucket {
    match (histogram.negative.len(), histogram.positive.len()) {
        (0, 1..) => bucket.lower = 0.0,
        (1.., 0) => bucket.upper = 0.0,
        _ => {}
    }
    bucket
}
