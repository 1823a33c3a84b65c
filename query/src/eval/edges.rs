//! The edges of windows that samples outside of them tell of: `anchored` and `smoothed`.
//!
//! Both read samples up to a lookback before the window, `smoothed` also up to a lookback behind it.
//!
//! **Source**: Prometheus's extended range selectors as of 3.14. They never extrapolate: without a sample
//! beyond an edge the outermost one inside counts.

use narthex_storage::{ResetHint, Sample, Timestamp};

use super::RangeRow;
use crate::{
    FloatHistogram,
    annotations::{Operation, Remark},
    histogram::IncompatibleSchema,
    parser::Edges,
};

/// Which samples of a series tell of a window. Indexes are those of the row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent<'r> {
    times: &'r [Timestamp],
    is_smoothed: bool,
    /// Where the window begins, exclusive.
    pub(crate) start: Timestamp,
    /// Where it ends, inclusive.
    pub(crate) end: Timestamp,
    /// The last sample not inside the window yet, or the first one inside.
    pub(crate) first: usize,
    /// The last sample inside the window; with `smoothed` the first one at its end or behind it, if there
    /// is one.
    pub(crate) last: usize,
}

impl<'r> Extent<'r> {
    /// The samples among `low..high` that tell of the window that ends at `end`; `None` when all lie
    /// before it, or all behind it.
    pub(crate) fn find(
        row: &RangeRow<'r>,
        (low, high): (usize, usize),
        end: Timestamp,
    ) -> Option<Self> {
        let newest = high.checked_sub(1).filter(|newest| *newest >= low)?;
        let start = end.saturating_sub(row.range_ms);
        let is_smoothed = row.edges == Edges::Smoothed;
        // The newest sample is never the one from which the window begins.
        let older = &row.times[low..newest];
        let first = low
            + older
                .partition_point(|time| *time <= start)
                .saturating_sub(1);
        let last = if is_smoothed {
            low + older.partition_point(|time| *time < end)
        } else {
            newest
        };
        let tells = row.times[last] > start && (!is_smoothed || row.times[first] <= end);
        tells.then_some(Self {
            times: row.times,
            is_smoothed,
            start,
            end,
            first,
            last,
        })
    }

    /// The samples between which the value at the window's start lies; else it is that of `first`.
    pub(crate) fn around_start(&self) -> Option<(usize, usize)> {
        let is_between = self.is_smoothed && self.times[self.first] < self.start;
        is_between.then_some((self.first, self.first + 1))
    }

    /// The samples between which the value at the window's end lies; else it is that of `last`.
    pub(crate) fn around_end(&self) -> Option<(usize, usize)> {
        let is_between = self.is_smoothed && self.times[self.last] > self.end;
        is_between.then(|| (self.last - 1, self.last))
    }

    /// The numbers at the window's start and end.
    pub(crate) fn edge_numbers(&self, values: &[f64], is_counter: bool) -> (f64, f64) {
        let number = |around: Option<(usize, usize)>, sample: usize, time: Timestamp| match around {
            None => values[sample],
            Some((before, after)) => number_between(
                (self.times[before], values[before]),
                (self.times[after], values[after]),
                time,
                is_counter,
            ),
        };
        (
            number(self.around_start(), self.first, self.start),
            number(self.around_end(), self.last, self.end),
        )
    }

    /// The samples inside the window, less one that lies on its end.
    pub(crate) fn inside(&self) -> std::ops::Range<usize> {
        let is_before = self.times[self.first] <= self.start;
        let is_inside = self.times[self.last] < self.end;
        self.first + usize::from(is_before)..self.last + usize::from(is_inside)
    }

    /// The window itself: a sample at each edge, and those between.
    pub(crate) fn samples(&self, values: &[f64]) -> Vec<Sample> {
        let (left, right) = self.edge_numbers(values, false);
        let sample = |time, value| Sample { time, value };
        let mut samples = vec![sample(self.start, left)];
        samples.extend(
            self.inside()
                .map(|index| sample(self.times[index], values[index])),
        );
        samples.push(sample(self.end, right));
        samples
    }
}

/// The number at a time between two samples, on a straight line; a counter that fell between them is
/// taken to have been zero at the first.
pub(crate) fn number_between(
    before: (Timestamp, f64),
    after: (Timestamp, f64),
    time: Timestamp,
    is_counter: bool,
) -> f64 {
    let base = if is_counter && after.1 < before.1 {
        0.0
    } else {
        before.1
    };
    base + (after.1 - base) * (time - before.0) as f64 / (after.0 - before.0) as f64
}

/// As [`number_between`], of histograms.
///
/// # Errors
/// When their buckets cannot be combined.
pub(crate) fn histogram_between(
    before: (Timestamp, &FloatHistogram),
    after: (Timestamp, &FloatHistogram),
    time: Timestamp,
    is_counter: bool,
    remarks: &mut Vec<Remark<'_>>,
) -> Result<FloatHistogram, IncompatibleSchema> {
    if before.1.has_custom_bounds() != after.1.has_custom_bounds() {
        return Err(IncompatibleSchema);
    }
    let share = (time - before.0) as f64 / (after.0 - before.0) as f64;
    let mut value = after.1.clone();
    if is_counter && value.is_reset_after(before.1) {
        return Ok(value.scaled(share));
    }
    if value.subtract(before.1)?.bounds_reconciled {
        remarks.push(Remark::BoundsReconciled(Operation::Subtraction));
    }
    value = value.scaled(share);
    if value.add(before.1)?.bounds_reconciled {
        remarks.push(Remark::BoundsReconciled(Operation::Addition));
    }
    Ok(value)
}

/// Whether at least one of two histograms is not known to be a gauge's.
pub(crate) fn is_of_counter(before: &FloatHistogram, after: &FloatHistogram) -> bool {
    [before.reset_hint, after.reset_hint] != [ResetHint::Gauge; 2]
}

#[cfg(test)]
mod tests {
    use narthex_storage::Labels;

    use super::*;
    use crate::eval::OfTimes;

    /// The extent of the window `(10, 20]` among samples at these times, or nothing.
    fn extent(edges: Edges, times: &[Timestamp]) -> Option<(usize, usize, std::ops::Range<usize>)> {
        let (labels, of_times) = (Labels::empty(), OfTimes::default());
        let row = RangeRow {
            times,
            range_ms: 10,
            edges,
            ..RangeRow::without_samples(&labels, &of_times)
        };
        let extent = Extent::find(&row, (0, times.len()), 20)?;
        Some((extent.first, extent.last, extent.inside()))
    }

    #[test]
    fn an_anchored_window_begins_with_the_sample_before_it() {
        let find = |times: &[Timestamp]| extent(Edges::Anchored, times);
        assert_eq!(find(&[]), None);
        assert_eq!(find(&[5, 10]), None);
        assert_eq!(find(&[5, 9, 12, 18]), Some((1, 3, 2..4)));
        assert_eq!(find(&[5, 10, 12, 20]), Some((1, 3, 2..3)));
        assert_eq!(find(&[12]), Some((0, 0, 0..1)));
        assert_eq!(find(&[20]), Some((0, 0, 0..0)));
    }

    #[test]
    fn a_smoothed_window_ends_with_the_sample_behind_it() {
        let find = |times: &[Timestamp]| extent(Edges::Smoothed, times);
        assert_eq!(find(&[5, 10]), None);
        assert_eq!(find(&[21, 25]), None);
        assert_eq!(find(&[5, 25, 30]), Some((0, 1, 1..1)));
        assert_eq!(find(&[5, 9, 12, 18, 22, 30]), Some((1, 4, 2..4)));
        assert_eq!(find(&[12, 18]), Some((0, 1, 0..2)));
        assert_eq!(find(&[12, 20, 22]), Some((0, 1, 0..1)));
    }

    #[test]
    fn a_counter_that_fell_rises_from_zero() {
        assert_eq!(number_between((0, 8.0), (10, 4.0), 5, true), 2.0);
        assert_eq!(number_between((0, 8.0), (10, 4.0), 5, false), 6.0);
        assert_eq!(number_between((0, 4.0), (10, 8.0), 5, true), 6.0);
    }
}
