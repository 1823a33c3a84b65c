//! Addition and subtraction of histograms whose buckets may differ.
//!
//! Of two exponential histograms the result has the coarser schema and a zero bucket that no bucket of
//! either begins inside of. Of two with custom bounds it has the bounds that both have.

use std::sync::Arc;

use narthex_storage::ResetHint;

use super::{Amount, Buckets, FloatHistogram, bounds::exponential};

/// One histogram is exponential and the other has custom bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IncompatibleSchema;

/// What is to be said about an addition that was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Addition {
    /// One was known to come after a counter's reset and the other not to.
    pub(crate) resets_collide: bool,
    /// The custom bounds differed.
    pub(crate) bounds_reconciled: bool,
}

impl<N: Amount> FloatHistogram<N> {
    /// Adds another histogram. Buckets may come out empty.
    ///
    /// # Errors
    /// [`IncompatibleSchema`]; nothing was added then.
    pub(crate) fn add(&mut self, other: &FloatHistogram) -> Result<Addition, IncompatibleSchema> {
        self.combine(other, |count| count)
    }

    /// Takes another histogram away.
    ///
    /// # Errors
    /// [`IncompatibleSchema`]; nothing was taken away then.
    pub(crate) fn subtract(
        &mut self,
        other: &FloatHistogram,
    ) -> Result<Addition, IncompatibleSchema> {
        self.combine(other, |count| -count)
    }

    fn combine(
        &mut self,
        other: &FloatHistogram,
        sign: impl Fn(f64) -> f64,
    ) -> Result<Addition, IncompatibleSchema> {
        if self.has_custom_bounds() != other.has_custom_bounds() {
            return Err(IncompatibleSchema);
        }
        let mut addition = Addition {
            resets_collide: self.adjust_reset_hint(other.reset_hint),
            bounds_reconciled: false,
        };
        self.count.add(sign(other.count));
        self.sum.add(sign(other.sum));
        let signed = |buckets: &Buckets| buckets.map(|count| N::from(sign(count)));
        if self.has_custom_bounds() {
            if *self.custom_bounds == *other.custom_bounds {
                self.positive.add(&signed(&other.positive), |_| false);
                return Ok(addition);
            }
            addition.bounds_reconciled = true;
            let common = common_bounds(&self.custom_bounds, &other.custom_bounds);
            let mut counts = onto_bounds(&self.positive, &self.custom_bounds, &common);
            for (index, count) in other.positive.iter() {
                counts[place(index, &other.custom_bounds, &common)].add(sign(count));
            }
            self.positive = Buckets::new((0..counts.len() as i32).collect(), counts);
            self.positive.compact();
            self.custom_bounds = common;
            return Ok(addition);
        }
        let zero_count: N = self.reconcile_zero_buckets(other);
        // What was gathered in the other's zero bucket has one sign.
        self.zero_count.join(zero_count.scale(sign(1.0)));
        if other.schema < self.schema {
            self.positive = self.positive.reduced(self.schema, other.schema);
            self.negative = self.negative.reduced(self.schema, other.schema);
            self.schema = other.schema;
        }
        let (schema, threshold) = (self.schema, self.zero_threshold);
        let in_zero_bucket = |index: i32| exponential(index, schema) <= threshold;
        for (own, buckets) in [
            (&mut self.positive, &other.positive),
            (&mut self.negative, &other.negative),
        ] {
            let mut signed = signed(buckets);
            if other.schema > schema {
                signed = signed.reduced(other.schema, schema);
            }
            own.add(&signed, in_zero_bucket);
        }
        Ok(addition)
    }

    /// The hint of a sum; whether the two contradict each other.
    fn adjust_reset_hint(&mut self, other: ResetHint) -> bool {
        let (hint, collide) = match (self.reset_hint, other) {
            (own, other) if own == other => (own, false),
            (ResetHint::Gauge, _) | (_, ResetHint::Gauge) => (ResetHint::Gauge, false),
            (ResetHint::Unknown, _) | (_, ResetHint::Unknown) => (ResetHint::Unknown, false),
            _ => (ResetHint::Unknown, true),
        };
        self.reset_hint = hint;
        collide
    }

    /// Widens the zero bucket until it is as wide as the other's could be, and no bucket that is not empty
    /// begins in it; what the other's zero bucket then counts.
    fn reconcile_zero_buckets(&mut self, other: &FloatHistogram) -> N {
        let mut threshold = other.zero_threshold;
        let mut count = N::from(other.zero_count);
        // Neither can be satisfied that is no number.
        while threshold != self.zero_threshold
            && !threshold.is_nan()
            && !self.zero_threshold.is_nan()
        {
            if self.zero_threshold > threshold {
                (count, threshold) = other.map(N::from).widened(self.zero_threshold);
            }
            if threshold > self.zero_threshold {
                (self.zero_count, self.zero_threshold) = self.widened(threshold);
                let (schema, threshold) = (self.schema, self.zero_threshold);
                for side in [&mut self.positive, &mut self.negative] {
                    side.drop_while(|index| exponential(index.wrapping_sub(1), schema) < threshold);
                    side.compact();
                }
            }
        }
        count
    }

    /// What the zero bucket would count if it reached to `threshold`, which is not below its own, and how far
    /// it then reaches: to the end of the bucket that `threshold` lies inside of, unless that is empty.
    pub(super) fn widened(&self, threshold: f64) -> (N, f64) {
        let mut reach = threshold;
        if reach == self.zero_threshold {
            return (self.zero_count, reach);
        }
        loop {
            let mut count = self.zero_count;
            self.gather(&self.positive, &mut reach, &mut count);
            let before = reach;
            self.gather(&self.negative, &mut reach, &mut count);
            // Else the positive side was not counted up to where the negative one ends.
            if reach == before {
                return (count, reach);
            }
        }
    }

    /// Counts the buckets of a side that begin below `reach`, and moves it to the end of the one that it lies
    /// inside of, unless that is empty.
    fn gather(&self, side: &Buckets<N>, reach: &mut f64, count: &mut N) {
        for (index, bucket) in side.iter() {
            let far = exponential(index, self.schema);
            if exponential(index.wrapping_sub(1), self.schema) >= *reach {
                return;
            }
            count.join(bucket);
            if far > *reach {
                if bucket.sum() != 0.0 {
                    *reach = far;
                }
                return;
            }
        }
    }
}

/// The bounds that both have.
pub(super) fn common_bounds(a: &[f64], b: &[f64]) -> Arc<[f64]> {
    let mut others = b.iter().copied().peekable();
    a.iter()
        .copied()
        .filter(|bound| {
            while others.next_if(|other| other < bound).is_some() {}
            others.next_if_eq(bound).is_some()
        })
        .collect()
}

/// What is in the buckets of `common`, which are some of `bounds`, and in the one behind them.
pub(super) fn onto_bounds<N: Amount>(
    buckets: &Buckets<N>,
    bounds: &[f64],
    common: &[f64],
) -> Vec<N> {
    let mut counts = vec![N::default(); common.len() + 1];
    for (index, count) in buckets.iter() {
        counts[place(index, bounds, common)].join(count);
    }
    counts
}

/// The place in `common` of the bucket with this index in `bounds`: the first that it does not reach beyond.
fn place(index: i32, bounds: &[f64], common: &[f64]) -> usize {
    let bound = usize::try_from(index)
        .ok()
        .and_then(|index| bounds.get(index));
    bound.map_or(common.len(), |bound| {
        common.partition_point(|common| common < bound)
    })
}
