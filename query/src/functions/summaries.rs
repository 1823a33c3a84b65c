//! Functions of windows of which the middle was not decoded, see [`Core`].
//!
//! **What it is not.** Another definition: every value has the bits that its kernel gives for the samples.

use super::{
    FunctionId,
    rate::{Change, Stretch},
};
use crate::eval::{Core, Need, RangeRow, is_change};

/// What a function must know of its windows, if pages can tell it.
pub(super) fn need(id: FunctionId) -> Option<Need> {
    Some(match id {
        FunctionId::CountOverTime
        | FunctionId::PresentOverTime
        | FunctionId::FirstOverTime
        | FunctionId::LastOverTime
        | FunctionId::Resets
        | FunctionId::Changes
        | FunctionId::Delta => Need::Ends,
        FunctionId::Rate | FunctionId::Increase => Need::Falls,
        FunctionId::MaxOverTime | FunctionId::MinOverTime => Need::Extremes,
        FunctionId::SumOverTime | FunctionId::AvgOverTime => Need::Sum,
        _ => return None,
    })
}

/// Fills `out` for a function that has a [`need`]. The core lies in every window, so that none is empty.
pub(super) fn fill(id: FunctionId, row: &RangeRow<'_>, core: &Core, out: &mut [f64]) {
    let windows = Windows { row, core };
    match id {
        FunctionId::Rate => windows.changes(Change::Rate, out),
        FunctionId::Increase => windows.changes(Change::Increase, out),
        FunctionId::Delta => windows.changes(Change::Delta, out),
        FunctionId::CountOverTime => windows.each(out, |bounds| windows.count(bounds) as f64),
        FunctionId::FirstOverTime => windows.each(out, |(low, _)| windows.first(low).1),
        FunctionId::LastOverTime => windows.each(out, |(_, high)| windows.last(high).1),
        FunctionId::MaxOverTime => windows.extremes(core.max, |value, best| value > best, out),
        FunctionId::MinOverTime => windows.extremes(core.min, |value, best| value < best, out),
        FunctionId::SumOverTime | FunctionId::AvgOverTime => {
            let is_mean = id == FunctionId::AvgOverTime;
            windows.sums(is_mean, out);
        }
        FunctionId::Resets => windows.pairs(core.resets, |before, value| value < before, out),
        FunctionId::Changes => windows.pairs(core.changes, is_change, out),
        _ => out.fill(1.0),
    }
}

struct Windows<'w> {
    row: &'w RangeRow<'w>,
    core: &'w Core,
}

impl Windows<'_> {
    /// Fills every step from its window, of which the core comes before `values[core.at]`.
    fn each(&self, out: &mut [f64], mut value: impl FnMut((usize, usize)) -> f64) {
        for (cell, (low, high)) in out.iter_mut().zip(self.row.bounds) {
            *cell = value((*low as usize, *high as usize));
        }
    }

    fn count(&self, (low, high): (usize, usize)) -> u64 {
        (high - low) as u64 + self.core.count
    }

    /// The first sample of a window.
    fn first(&self, low: usize) -> (i64, f64) {
        if low < self.core.at {
            (self.row.times[low], self.row.values[low])
        } else {
            (self.core.first_time, self.core.first)
        }
    }

    /// The last one.
    fn last(&self, high: usize) -> (i64, f64) {
        if high > self.core.at {
            (self.row.times[high - 1], self.row.values[high - 1])
        } else {
            (self.core.last_time, self.core.last)
        }
    }

    /// Joins what each window has before the core, with the core, and what it has behind it. `before` goes one
    /// sample back, `behind` one on, both from the index of the sample.
    fn join<T: Copy>(
        &self,
        (core, nothing): (T, T),
        before: impl Fn(usize, T) -> T,
        behind: impl Fn(T, usize) -> T,
        out: &mut [f64],
        value: impl Fn(T, T, (usize, usize)) -> f64,
    ) {
        let at = self.core.at;
        let mut lefts = vec![core; at + 1];
        for index in (0..at).rev() {
            lefts[index] = before(index, lefts[index + 1]);
        }
        let mut rights = Vec::with_capacity(self.row.values.len() - at + 1);
        let mut joined = nothing;
        rights.push(joined);
        for index in at..self.row.values.len() {
            joined = behind(joined, index);
            rights.push(joined);
        }
        self.each(out, |(low, high)| {
            value(lefts[low], rights[high - at], (low, high))
        });
    }

    /// The first of the values that none beats; NaN is left out, as the core has a number.
    fn extremes(&self, core: f64, beats: impl Fn(f64, f64) -> bool, out: &mut [f64]) {
        let later = |best: f64, value: f64| {
            if beats(value, best) || best.is_nan() {
                value
            } else {
                best
            }
        };
        let values = self.row.values;
        self.join(
            (core, f64::NAN),
            |index, best| later(values[index], best),
            |best, index| later(best, values[index]),
            out,
            |before, behind, _| later(before, behind),
        );
    }

    /// Sums or means of integers that are exact in any order; they begin with a positive zero, as those of pages.
    fn sums(&self, is_mean: bool, out: &mut [f64]) {
        let values = self.row.values;
        self.join(
            (self.core.sum, 0.0),
            |index, sum| sum + values[index],
            |sum, index| sum + values[index],
            out,
            |before, behind, bounds| {
                let sum = before + behind;
                if is_mean {
                    sum / self.count(bounds) as f64
                } else {
                    sum
                }
            },
        );
    }

    /// How many values are a hit, given the value before; `core` is how many of its own are.
    fn pairs(&self, core: u64, is_hit: impl Fn(f64, f64) -> bool, out: &mut [f64]) {
        self.join(
            (core, 0),
            |index, hits| {
                let after = self.first(index + 1).1;
                hits + u64::from(is_hit(self.row.values[index], after))
            },
            |hits, index| {
                let before = self.last(index).1;
                hits + u64::from(is_hit(before, self.row.values[index]))
            },
            out,
            |before, behind, _| (before + behind) as f64,
        );
    }

    fn changes(&self, change: Change, out: &mut [f64]) {
        let Self { row, core } = self;
        let (mut before, mut behind) = (Vec::new(), Vec::new());
        let mut in_core = &core.falls[..];
        if change == Change::Delta {
            in_core = &[];
        } else {
            // Indices of the later of two samples, and the earlier one's value.
            let values = row.values;
            for index in 1..=core.at {
                if self.first(index).1 < values[index - 1] {
                    before.push((index, values[index - 1]));
                }
            }
            for (index, value) in values.iter().enumerate().skip(core.at) {
                let earlier = self.last(index).1;
                if *value < earlier {
                    behind.push((index, earlier));
                }
            }
        }
        let mut ends = row.ends.iter();
        self.each(out, |(low, high)| {
            let (first_time, first) = self.first(low);
            let (last_time, last) = self.last(high);
            let mut rise = last - first;
            let of_window = before.partition_point(|(index, _)| *index <= low);
            for (_, value) in &before[of_window..] {
                rise += value;
            }
            for value in in_core {
                rise += value;
            }
            for (_, value) in behind.iter().take_while(|(index, _)| *index < high) {
                rise += value;
            }
            let stretch = Stretch {
                first_time,
                last_time,
                intervals: self.count((low, high)) as usize - 1,
                end: ends.next().copied().unwrap_or_default(),
                range_ms: row.range_ms,
            };
            if stretch.intervals == 0 {
                return crate::eval::ABSENT;
            }
            rise * stretch.factor(change, first, rise)
        });
    }
}

#[cfg(test)]
mod tests {
    use narthex_storage::Labels;

    use super::*;
    use crate::eval::OfTimes;

    /// Of equal values the first one stays, before the core, in it and behind it.
    #[test]
    fn the_first_of_equal_values_gives_its_bits() {
        let core = |value: f64| Core {
            at: 2,
            count: 3,
            max: value,
            ..Core::default()
        };
        let check = |core: &Core, values: &[f64; 4], expected: [f64; 3]| {
            let (labels, of_times) = (Labels::empty(), OfTimes::default());
            let row = RangeRow {
                times: &[1, 2, 6, 7],
                values,
                core: Some(core),
                bounds: &[(0, 4), (1, 4), (2, 4)],
                ends: &[7, 8, 9],
                range_ms: 7,
                ..RangeRow::without_samples(&labels, &of_times)
            };
            let mut out = [1e300; 3];
            fill(FunctionId::MaxOverTime, &row, core, &mut out);
            assert_eq!(out.map(f64::to_bits), expected.map(f64::to_bits), "{out:?}");
        };
        check(&core(-1.0), &[-2.0, f64::NAN, -0.0, 0.0], [-0.0; 3]);
        check(&core(-1.0), &[-2.0, -3.0, 0.0, -0.0], [0.0; 3]);
        check(&core(-0.0), &[0.0, -0.0, 0.0, f64::NAN], [0.0, -0.0, -0.0]);
        check(&core(0.0), &[-1.0, -0.0, -0.0, 0.0], [-0.0, -0.0, 0.0]);
    }
}
