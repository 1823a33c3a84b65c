//! Whether a counter began anew between two histograms that follow each other, as far as their buckets tell.
//!
//! **Source**: `appendable` in Prometheus' `tsdb/chunkenc/histogram.go` and `float_histogram.go`.

use super::{Counts, Histogram, HistogramCounts, ResetHint, Span};

impl Histogram {
    /// What is known of this histogram when it follows `before` in its series.
    ///
    /// A gauge stays one, and a counter that is said to begin anew does. Of a staleness marker, and behind a
    /// marker, a gauge or a histogram of the other flavour, nothing is known. Otherwise the counter began anew
    /// if schema, zero threshold or bounds differ, or a count fell; a bucket that is gone counts none.
    #[must_use]
    pub fn hint_after(&self, before: &Self) -> ResetHint {
        if self.is_stale() {
            return ResetHint::Unknown;
        }
        if matches!(self.reset_hint, ResetHint::Gauge | ResetHint::Reset) {
            return self.reset_hint;
        }
        if before.is_stale() || before.reset_hint == ResetHint::Gauge {
            return ResetHint::Unknown;
        }
        let (old, new) = (&before.layout, &self.layout);
        let is_other = old.schema != new.schema
            || old.zero_threshold.to_bits() != new.zero_threshold.to_bits()
            || old.custom_bounds != new.custom_bounds;
        let old = [&*old.positive_spans, &*old.negative_spans];
        let new = [&*new.positive_spans, &*new.negative_spans];
        let is_reset = match (&before.counts, &self.counts) {
            (HistogramCounts::Integer(before), HistogramCounts::Integer(next)) => {
                is_other || fell((before, old), (next, new))
            }
            (HistogramCounts::Float(before), HistogramCounts::Float(next)) => {
                is_other || fell((before, old), (next, new))
            }
            _ => return ResetHint::Unknown,
        };
        if is_reset {
            ResetHint::Reset
        } else {
            ResetHint::NoReset
        }
    }
}

/// Counts, and the spans of both their sides.
type Sides<'a, N> = (&'a Counts<N>, [&'a [Span]; 2]);

/// Whether some count fell.
fn fell<N: PartialOrd + Default>(
    (before, [old_positive, old_negative]): Sides<'_, N>,
    (next, [new_positive, new_negative]): Sides<'_, N>,
) -> bool {
    next.count < before.count
        || next.zero < before.zero
        || side_fell(
            (&before.positive, old_positive),
            (&next.positive, new_positive),
        )
        || side_fell(
            (&before.negative, old_negative),
            (&next.negative, new_negative),
        )
}

fn side_fell<N: PartialOrd + Default>(
    (before, old): (&[N], &[Span]),
    (next, new): (&[N], &[Span]),
) -> bool {
    if old == new {
        return before.iter().zip(next).any(|(before, next)| next < before);
    }
    let none = N::default();
    let mut next = indexes(new).zip(next).peekable();
    indexes(old).zip(before).any(|(index, before)| {
        while next.next_if(|(own, _)| *own < index).is_some() {}
        let own = next.next_if(|(own, _)| *own == index);
        own.map_or(&none, |(_, count)| count) < before
    })
}

/// The index of each bucket of spans.
fn indexes(spans: &[Span]) -> impl Iterator<Item = i64> + '_ {
    let mut next = 0_i64;
    spans.iter().flat_map(move |span| {
        let start = next + i64::from(span.offset);
        next = start + i64::from(span.length);
        start..next
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CUSTOM_BUCKETS_SCHEMA, HistogramLayout};

    /// Buckets of the positive side from index 0 on, `None` where there is none; of each side's count the same.
    fn floats(buckets: &[Option<f64>]) -> Histogram {
        let mut positive_spans: Vec<Span> = Vec::new();
        let mut gap = 0;
        for bucket in buckets {
            match (bucket, positive_spans.last_mut()) {
                (None, _) => gap += 1,
                (Some(_), Some(span)) if gap == 0 => span.length += 1,
                (Some(_), _) => {
                    positive_spans.push(Span {
                        offset: std::mem::take(&mut gap),
                        length: 1,
                    });
                }
            }
        }
        Histogram {
            reset_hint: ResetHint::Unknown,
            layout: HistogramLayout {
                positive_spans,
                ..HistogramLayout::default()
            },
            sum: 1.0,
            counts: HistogramCounts::Float(Counts {
                count: 10.0,
                zero: 2.0,
                positive: buckets.iter().flatten().copied().collect(),
                negative: vec![],
            }),
        }
    }

    fn changed(change: impl FnOnce(&mut Histogram)) -> Histogram {
        let mut histogram = floats(&[Some(1.0), None, Some(3.0)]);
        change(&mut histogram);
        histogram
    }

    fn counts(histogram: &mut Histogram) -> &mut Counts<f64> {
        match &mut histogram.counts {
            HistogramCounts::Float(counts) => counts,
            HistogramCounts::Integer(_) => unreachable!("all are of floats"),
        }
    }

    #[test]
    fn counts_that_fell_and_other_buckets_are_a_reset() {
        use ResetHint::{Gauge, NoReset, Reset, Unknown};
        let same = || changed(|_| ());
        let with = |hint: ResetHint| changed(|histogram| histogram.reset_hint = hint);
        let integers = changed(|histogram| {
            histogram.counts = HistogramCounts::Integer(Counts {
                count: 10,
                zero: 2,
                positive: vec![1, 3],
                negative: vec![],
            });
        });
        for (before, next, expected) in [
            (same(), same(), NoReset),
            (
                same(),
                floats(&[Some(1.0), Some(0.5), Some(3.0), Some(1.0)]),
                NoReset,
            ),
            (same(), floats(&[Some(1.0), None, Some(2.9)]), Reset),
            (same(), floats(&[Some(1.0), Some(5.0)]), Reset),
            (same(), floats(&[None, None, Some(3.0)]), Reset),
            // What counted nothing may be gone.
            (
                floats(&[Some(0.0), Some(1.0)]),
                floats(&[None, Some(1.0)]),
                NoReset,
            ),
            (
                floats(&[Some(1.0), Some(0.0)]),
                floats(&[Some(1.0)]),
                NoReset,
            ),
            (same(), changed(|next| counts(next).count = 9.0), Reset),
            (same(), changed(|next| counts(next).zero = 1.0), Reset),
            (
                same(),
                changed(|next| counts(next).count = f64::NAN),
                NoReset,
            ),
            (same(), changed(|next| next.layout.schema = 1), Reset),
            (
                same(),
                changed(|next| next.layout.zero_threshold = 0.5),
                Reset,
            ),
            (
                changed(|next| next.layout.schema = CUSTOM_BUCKETS_SCHEMA),
                changed(|next| {
                    next.layout.schema = CUSTOM_BUCKETS_SCHEMA;
                    next.layout.custom_bounds = vec![1.0];
                }),
                Reset,
            ),
            (same(), integers.clone(), Unknown),
            (integers.clone(), integers, NoReset),
            (Histogram::stale(), same(), Unknown),
            (same(), Histogram::stale(), Unknown),
            (with(Gauge), same(), Unknown),
            (same(), with(Gauge), Gauge),
            (with(Gauge), with(Gauge), Gauge),
            (same(), with(Reset), Reset),
            (same(), with(NoReset), NoReset),
            (
                floats(&[Some(2.0)]),
                changed(|next| next.reset_hint = NoReset),
                Reset,
            ),
            (with(Reset), same(), NoReset),
        ] {
            assert_eq!(
                next.hint_after(&before),
                expected,
                "{next:?} after {before:?}"
            );
        }
    }

    #[test]
    fn buckets_below_zero_are_looked_at_too() {
        let negative = |count: f64| {
            changed(|histogram| {
                histogram.layout.negative_spans = vec![Span {
                    offset: -3,
                    length: 1,
                }];
                counts(histogram).negative = vec![count];
            })
        };
        assert_eq!(negative(2.0).hint_after(&negative(1.0)), ResetHint::NoReset);
        assert_eq!(negative(1.0).hint_after(&negative(2.0)), ResetHint::Reset);
        assert_eq!(changed(|_| ()).hint_after(&negative(2.0)), ResetHint::Reset);
    }
}
