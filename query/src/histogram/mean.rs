//! Sums and means of histograms, as exact as those of numbers.
//!
//! **Source**: Prometheus adds histograms with compensated sums, and takes the mean of a sum until that
//! overflows, from then on a weighted mean.

use narthex_storage::ResetHint;

use super::{Addition, Exact, FloatHistogram, IncompatibleSchema};

/// What has been seen of the counters that were added up.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    reset: bool,
    no_reset: bool,
    bounds_reconciled: bool,
}

impl Seen {
    fn hint(&mut self, hint: ResetHint) {
        self.reset |= hint == ResetHint::Reset;
        self.no_reset |= hint == ResetHint::NoReset;
    }

    /// What is to be said about the sum.
    pub(crate) fn remarks(self) -> Addition {
        Addition {
            resets_collide: self.reset && self.no_reset,
            bounds_reconciled: self.bounds_reconciled,
        }
    }
}

/// A running sum, or a running mean.
#[derive(Debug, Clone)]
pub(crate) struct HistogramSum {
    /// The sum, or the mean when `incremental`.
    value: FloatHistogram<Exact>,
    count: f64,
    is_mean: bool,
    incremental: bool,
    pub(crate) seen: Seen,
}

impl HistogramSum {
    /// The sum of one histogram.
    pub(crate) fn sum_of(histogram: &FloatHistogram) -> Self {
        let mut seen = Seen::default();
        seen.hint(histogram.reset_hint);
        Self {
            value: histogram.map(Exact::from),
            count: 1.0,
            is_mean: false,
            incremental: false,
            seen,
        }
    }

    /// The mean of one histogram.
    pub(crate) fn mean_of(histogram: &FloatHistogram) -> Self {
        Self {
            is_mean: true,
            ..Self::sum_of(histogram)
        }
    }

    /// Takes one more histogram in.
    ///
    /// # Errors
    /// [`IncompatibleSchema`]
    pub(crate) fn add(&mut self, histogram: &FloatHistogram) -> Result<(), IncompatibleSchema> {
        self.seen.hint(histogram.reset_hint);
        if !self.is_mean {
            let addition = self.value.add(histogram)?;
            self.seen.bounds_reconciled |= addition.bounds_reconciled;
            return Ok(());
        }
        self.count += 1.0;
        let count = self.count;
        if !self.incremental {
            let mut sum = self.value.clone();
            let addition = sum.add(histogram)?;
            self.seen.bounds_reconciled |= addition.bounds_reconciled;
            if !sum.has_overflowed() {
                self.value = sum;
                return Ok(());
            }
            self.incremental = true;
            self.value.each(|amount| amount.divided(count - 1.0));
        }
        self.value
            .each(|amount| super::Amount::scale(amount, (count - 1.0) / count));
        let addition = self.value.add(&histogram.clone().divided(count))?;
        self.seen.bounds_reconciled |= addition.bounds_reconciled;
        Ok(())
    }

    /// The sum or the mean. Buckets may be empty.
    pub(crate) fn finish(mut self) -> FloatHistogram {
        if self.is_mean && !self.incremental {
            let count = self.count;
            self.value.each(|amount| amount.divided(count));
        }
        self.value.total()
    }
}

impl FloatHistogram<Exact> {
    /// Whether some sum is beyond what a number can be.
    fn has_overflowed(&self) -> bool {
        use super::Amount as _;
        [self.zero_count, self.count, self.sum]
            .into_iter()
            .chain(self.positive.iter().map(|(_, count)| count))
            .chain(self.negative.iter().map(|(_, count)| count))
            .any(|amount| amount.sum().is_infinite())
    }
}
