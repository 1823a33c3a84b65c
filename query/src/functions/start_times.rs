//! Counters whose samples tell since when they count: `rate`, `increase`, `irate` and `resets` of series with
//! start timestamps, and `start_timestamp`.
//!
//! A start timestamp of 0 is unknown. Series without any never come here, so that they cost nothing more.
//!
//! **Source**: Prometheus 3.14 with `use-start-timestamps`.

use narthex_storage::Timestamp;

use super::{
    FunctionId,
    rate::{Change, Stretch},
};
use crate::eval::{ABSENT, RangeRow};

/// A sample's time and when what it counts began.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: Timestamp,
    time: Timestamp,
}

impl Span {
    /// The sample of a row with start timestamps.
    fn of(row: &RangeRow<'_>, index: usize) -> Self {
        Self {
            start: row.starts[index],
            time: row.times[index],
        }
    }

    /// Whether the sample counts from zero after `before`, the one before it.
    fn begins_anew(self, before: Self) -> bool {
        // A start at or behind the sample itself says nothing.
        let is_known = self.start != 0 && self.start < self.time;
        if self.start == before.time {
            // Each counts what came since the one before it, unless that one's own start is unknown: then this
            // is a sum whose beginning nobody knows.
            return is_known && before.start != 0 && before.start < before.time;
        }
        is_known && self.start > before.time
    }

    /// Whether the sample counts in part what `before` has counted, too, and in part not.
    fn overlaps(self, before: Self) -> bool {
        self.start != 0 && self.start < before.time && self.start != before.start
    }
}

/// Whether a row's sample counts from zero after the one before it, as the start timestamps say; `index` is
/// above 0.
pub(crate) fn begins_anew(row: &RangeRow<'_>, index: usize) -> bool {
    !row.starts.is_empty() && Span::of(row, index).begins_anew(Span::of(row, index - 1))
}

/// Whether two neighbours among the samples `low..high` of a row overlap.
pub(crate) fn has_overlap(row: &RangeRow<'_>, (low, high): (usize, usize)) -> bool {
    !row.starts.is_empty()
        && (low + 1..high).any(|index| Span::of(row, index).overlaps(Span::of(row, index - 1)))
}

/// When the first sample of a window began to count, if that is known and lies within the window, which ends at
/// `end`: the counter was zero then.
pub(crate) fn zero_within(row: &RangeRow<'_>, first: usize, end: Timestamp) -> Option<Timestamp> {
    let start = *row.starts.get(first)?;
    (start != 0 && start > end - row.range_ms && start < row.times[first]).then_some(start)
}

/// What the rise of a counter that was zero at `zero` is multiplied by: only the end is extrapolated to.
pub(crate) fn factor_since_zero(stretch: Stretch, change: Change, zero: Timestamp) -> f64 {
    let seconds = |milliseconds: i64| milliseconds as f64 / 1000.0;
    let average = if stretch.intervals > 0 {
        seconds(stretch.last_time - stretch.first_time) / stretch.intervals as f64
    } else {
        0.0
    };
    let mut to_end = seconds(stretch.end - stretch.last_time);
    if to_end >= average * 1.1 {
        to_end = average / 2.0;
    }
    let counted = seconds(stretch.last_time - zero);
    let factor = (counted + to_end) / counted;
    if change == Change::Rate {
        factor / seconds(stretch.range_ms)
    } else {
        factor
    }
}

/// Fills `out` as the function does for a row of numbers with start timestamps; `None` when they do not matter
/// to it. Tells whether samples of a window overlap.
pub(crate) fn fill(id: FunctionId, row: &RangeRow<'_>, out: &mut [f64]) -> Option<bool> {
    let change = match id {
        FunctionId::Rate => Change::Rate,
        FunctionId::Increase => Change::Increase,
        FunctionId::Irate => {
            each_window(row, out, |low, high, _| irate(row, low, high));
            return Some(false);
        }
        FunctionId::Resets => {
            each_window(row, out, |low, high, _| {
                let resets = (low + 1..high).filter(|index| is_reset(row, *index));
                Some(resets.count() as f64)
            });
            return Some(false);
        }
        _ => return None,
    };
    let mut overlap = false;
    each_window(row, out, |low, high, end| {
        overlap = overlap || has_overlap(row, (low, high));
        rise(change, row, (low, high), end)
    });
    Some(overlap)
}

/// Computes each step from its window: the samples `low..high`, at least one, and where the window ends. Windows
/// with histograms are left to who knows of these.
fn each_window(
    row: &RangeRow<'_>,
    out: &mut [f64],
    mut value: impl FnMut(usize, usize, Timestamp) -> Option<f64>,
) {
    for ((cell, (low, high)), end) in out.iter_mut().zip(row.bounds).zip(row.ends) {
        let (low, high) = (*low as usize, *high as usize);
        let has_histograms = (low..high).any(|index| row.histogram(index).is_some());
        *cell = if low == high || has_histograms {
            ABSENT
        } else {
            value(low, high, *end).unwrap_or(ABSENT)
        };
    }
}

/// Whether the counter fell or began anew at a sample; `index` is above 0.
fn is_reset(row: &RangeRow<'_>, index: usize) -> bool {
    row.values[index] < row.values[index - 1] || begins_anew(row, index)
}

fn rise(
    change: Change,
    row: &RangeRow<'_>,
    (low, high): (usize, usize),
    end: Timestamp,
) -> Option<f64> {
    let zero = zero_within(row, low, end);
    if high - low < 2 && zero.is_none() {
        return None;
    }
    let mut rise = row.values[high - 1] - row.values[low];
    for index in low + 1..high {
        if is_reset(row, index) {
            rise += row.values[index - 1];
        }
    }
    let stretch = Stretch {
        first_time: row.times[low],
        last_time: row.times[high - 1],
        intervals: high - 1 - low,
        end,
        range_ms: row.range_ms,
    };
    Some(match zero {
        Some(zero) => {
            rise += row.values[low];
            rise * factor_since_zero(stretch, change, zero)
        }
        None => rise * stretch.factor(change, row.values[low], rise),
    })
}

fn irate(row: &RangeRow<'_>, low: usize, high: usize) -> Option<f64> {
    let (last, before) = (
        high - 1,
        high.checked_sub(2).filter(|before| *before >= low)?,
    );
    let rise = if is_reset(row, last) {
        row.values[last]
    } else {
        row.values[last] - row.values[before]
    };
    let interval_ms = row.times[last] - row.times[before];
    Some(rise / (interval_ms as f64 / 1000.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_tells_of_a_reset_only_when_both_samples_agree_with_it() {
        let anew = |before: (i64, i64), after: (i64, i64)| {
            let span = |(start, time)| Span { start, time };
            span(after).begins_anew(span(before))
        };
        assert!(anew((0, 60), (90, 120)), "after the sample before");
        assert!(anew((10, 60), (60, 120)), "each counts its own interval");
        for (before, after) in [
            ((0, 60), (0, 120)),
            ((10, 60), (10, 120)),
            ((10, 60), (120, 120)),
            ((10, 60), (130, 120)),
            ((0, 60), (60, 120)),
            ((60, 60), (60, 120)),
            ((70, 60), (60, 120)),
        ] {
            assert!(!anew(before, after), "{before:?} {after:?}");
        }
    }

    #[test]
    fn a_start_within_the_interval_before_overlaps_unless_it_is_the_same() {
        let overlaps = |before: (i64, i64), after: (i64, i64)| {
            let span = |(start, time)| Span { start, time };
            span(after).overlaps(span(before))
        };
        assert!(overlaps((10, 60), (30, 120)));
        assert!(overlaps((0, 60), (30, 120)));
        for (before, after) in [
            ((10, 60), (10, 120)),
            ((10, 60), (60, 120)),
            ((10, 60), (0, 120)),
        ] {
            assert!(!overlaps(before, after), "{before:?} {after:?}");
        }
    }
}
