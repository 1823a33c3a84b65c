//! `rate`, `increase` and `delta`: the change over a window, extrapolated to its edges.
//!
//! **Source**: Prometheus's extrapolation: to an edge that lies within 1.1 average intervals of the
//! outermost sample, else by half an interval; a counter is never extrapolated below zero.

use narthex_storage::Timestamp;

use crate::eval::{ABSENT, RangeRow};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// The rise of a counter by second.
    Rate,
    /// The rise of a counter.
    Increase,
    /// The change of a gauge.
    Delta,
}

/// What of extrapolations depends on timestamps alone: a column each, a cell a step.
#[derive(Debug)]
pub(crate) struct Extrapolations {
    /// The windows' first and last samples; 0 for windows of less than two.
    ends: Vec<(u32, u32)>,
    /// The steps with less than two samples in their windows.
    short: Vec<u32>,
    sampled: Vec<f64>,
    to_start: Vec<f64>,
    /// What the change is multiplied by when no zero of a counter comes into it.
    factors: Vec<f64>,
}

impl Extrapolations {
    fn of(change: Change, row: &RangeRow<'_>) -> Self {
        let steps = row.bounds.len();
        let mut all = Self {
            ends: Vec::with_capacity(steps),
            short: Vec::new(),
            sampled: Vec::with_capacity(steps),
            to_start: Vec::with_capacity(steps),
            factors: Vec::with_capacity(steps),
        };
        // Targets are scraped at even intervals: most windows lie around their samples as the one before them.
        let mut known = Stretch::NONE;
        let mut cells = known.cells(change);
        for (step, (low, high)) in row.bounds.iter().enumerate() {
            let is_short = high - low < 2;
            let stretch = if is_short {
                all.short.push(step as u32);
                Stretch::NONE
            } else {
                Stretch::of(row, step)
            };
            if !stretch.is_shifted(known) {
                known = stretch;
                cells = known.cells(change);
            }
            let ends = (*low, high.wrapping_sub(1));
            all.ends.push(if is_short { (0, 0) } else { ends });
            let (sampled, to_start, factor) = cells;
            all.sampled.push(sampled);
            all.to_start.push(to_start);
            all.factors.push(factor);
        }
        all
    }
}

/// Whether a counter with this first value and rise was certainly not zero behind the edge that its change is
/// extrapolated to: then the factor of its step is what [`Stretch::factor`] comes to. It is said without a
/// division, with a margin far above what rounding can do, and without a branch.
#[inline]
fn holds(first: f64, rise: f64, sampled: f64, to_start: f64) -> bool {
    const MARGIN: f64 = 1.0 + 1e-9;
    const UNDERFLOW_SAFE: f64 = 1e-280;
    // In words as wide as numbers, which compilers put into lanes.
    let bound = to_start * rise * MARGIN;
    let may_fall_to_zero = u64::from(rise > 0.0) & u64::from(first >= 0.0);
    let is_near = u64::from(first * sampled < bound) | u64::from(bound < UNDERFLOW_SAFE);
    may_fall_to_zero & is_near == 0
}

/// Fills `out` with the change in each step's window.
pub(crate) fn column(change: Change, row: &RangeRow<'_>, out: &mut [f64]) {
    let of_times = row
        .of_times
        .extrapolations
        .get_or_init(|| Extrapolations::of(change, row));
    if change == Change::Delta {
        let values = row.values;
        let windows = of_times.ends.iter().zip(&of_times.factors);
        for (cell, ((first, last), factor)) in out.iter_mut().zip(windows) {
            *cell = (values[*last as usize] - values[*first as usize]) * factor;
        }
    } else {
        let falls = if row.may_fall {
            falls(row.values)
        } else {
            Vec::new()
        };
        for (number, cells) in out.chunks_mut(STRETCH).enumerate() {
            rises(change, row, of_times, &falls, number * STRETCH, cells);
        }
    }
    for step in &of_times.short {
        out[*step as usize] = ABSENT;
    }
}

/// So many steps are computed at a time.
const STRETCH: usize = 64;

/// Fills `out` with the extrapolated rise of a counter at so many steps from one on: for all of them at once as if
/// it was never zero, and again where it was. `falls` are those of all values.
fn rises(
    change: Change,
    row: &RangeRow<'_>,
    of_times: &Extrapolations,
    falls: &[u32],
    from: usize,
    out: &mut [f64],
) {
    let steps = from..from + out.len();
    let values = row.values;
    let mut firsts = [0.0; STRETCH];
    let firsts = &mut firsts[..out.len()];
    let ends = &of_times.ends[steps.clone()];
    for ((rise, first_value), (first, last)) in out.iter_mut().zip(&mut *firsts).zip(ends) {
        *first_value = values[*first as usize];
        *rise = values[*last as usize] - *first_value;
    }
    // The few windows with a fall in them, one fall after the other as they come in time.
    let bounds = &row.bounds[steps.clone()];
    for fall in falls {
        let from = bounds.partition_point(|(_, high)| high <= fall);
        let to = bounds.partition_point(|(low, _)| low < fall);
        for rise in out.get_mut(from..to).into_iter().flatten() {
            *rise += values[*fall as usize - 1];
        }
    }
    let factors = &of_times.factors[steps.clone()];
    let (sampled, to_start) = (&of_times.sampled[steps.clone()], &of_times.to_start[steps]);
    let mut zeros = 0;
    let edges = sampled.iter().zip(to_start);
    for ((rise, first), (sampled, to_start)) in out.iter().zip(&*firsts).zip(edges) {
        zeros |= u64::from(!holds(*first, *rise, *sampled, *to_start));
    }
    if zeros == 0 {
        for (cell, factor) in out.iter_mut().zip(factors) {
            *cell *= factor;
        }
        return;
    }
    for (step, cell) in out.iter_mut().enumerate() {
        let (first, rise) = (firsts[step], *cell);
        let factor = if holds(first, rise, sampled[step], to_start[step]) {
            factors[step]
        } else {
            Stretch::of(row, from + step).factor(change, first, rise)
        };
        *cell = rise * factor;
    }
}

/// The indices of the values that are less than the one before them, ascending.
fn falls(values: &[f64]) -> Vec<u32> {
    /// Of so many values at a time it is first found out whether there is one at all, which needs no branches.
    const AT_ONCE: usize = 256;
    let mut falls = Vec::new();
    let before = values.chunks(AT_ONCE);
    let after = values.get(1..).unwrap_or_default().chunks(AT_ONCE);
    for (chunk, (before, after)) in before.zip(after).enumerate() {
        let pairs = before.iter().zip(after);
        if pairs.clone().fold(0, |any, (a, b)| any | u64::from(b < a)) != 0 {
            let found = pairs.enumerate().filter(|(_, (a, b))| b < a);
            falls.extend(found.map(|(index, _)| (chunk * AT_ONCE + index + 1) as u32));
        }
    }
    falls
}

/// Where the samples of a window lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stretch {
    pub(crate) first_time: Timestamp,
    pub(crate) last_time: Timestamp,
    /// Samples less one, at least 1.
    pub(crate) intervals: usize,
    /// Where the window ends.
    pub(crate) end: Timestamp,
    /// The window's length.
    pub(crate) range_ms: i64,
}

impl Stretch {
    /// That of no window; of no meaning.
    const NONE: Self = Self {
        first_time: 0,
        last_time: 0,
        intervals: 1,
        end: 0,
        range_ms: 0,
    };

    /// That of a step's window, of at least two samples.
    fn of(row: &RangeRow<'_>, step: usize) -> Self {
        let (low, high) = row.bounds[step];
        let (first, last) = (low as usize, high as usize - 1);
        Self {
            first_time: row.times[first],
            last_time: row.times[last],
            intervals: last - first,
            end: row.ends[step],
            range_ms: row.range_ms,
        }
    }

    /// Whether the samples of both lie in the same way in windows that end at different times.
    fn is_shifted(self, other: Self) -> bool {
        let shape = |stretch: Self| {
            (
                stretch.end - stretch.first_time,
                stretch.end - stretch.last_time,
                stretch.intervals,
                stretch.range_ms,
            )
        };
        shape(self) == shape(other)
    }

    /// What is kept of it in [`Extrapolations`]: seconds between its samples, seconds to extrapolate over before
    /// them, and the factor without a zero: without a rise nobody asks when the counter was zero.
    fn cells(self, change: Change) -> (f64, f64, f64) {
        (
            self.sampled(),
            self.to_start(),
            self.factor(change, 0.0, 0.0),
        )
    }

    /// Seconds between the first and the last sample.
    fn sampled(self) -> f64 {
        (self.last_time - self.first_time) as f64 / 1000.0
    }

    /// Seconds between two samples in the mean.
    fn average(self) -> f64 {
        self.sampled() / self.intervals as f64
    }

    /// Seconds to extrapolate over before the first sample, unless a counter was zero there.
    fn to_start(self) -> f64 {
        let to_start = (self.first_time - (self.end - self.range_ms)) as f64 / 1000.0;
        if to_start >= self.average() * 1.1 {
            self.average() / 2.0
        } else {
            to_start
        }
    }

    /// What the change between the first and the last sample is multiplied by. `first` and `rise` tell where a
    /// counter was zero.
    #[inline]
    pub(crate) fn factor(self, change: Change, first: f64, rise: f64) -> f64 {
        let mut to_start = self.to_start();
        let mut to_end = (self.end - self.last_time) as f64 / 1000.0;
        let (sampled, average) = (self.sampled(), self.average());
        if change != Change::Delta {
            let to_zero = if rise > 0.0 && first >= 0.0 {
                sampled * (first / rise)
            } else {
                to_start
            };
            if to_zero < to_start {
                to_start = to_zero;
            }
        }
        if to_end >= average * 1.1 {
            to_end = average / 2.0;
        }
        let factor = (sampled + to_start + to_end) / sampled;
        if change == Change::Rate {
            factor / (self.range_ms as f64 / 1000.0)
        } else {
            factor
        }
    }
}

#[cfg(test)]
mod tests {
    use narthex_storage::Labels;

    use super::*;
    use crate::eval::OfTimes;

    /// What is computed once for all series, and the short cut around the division, against the definition:
    /// every window by itself, every counter's zero looked for.
    #[test]
    fn every_window_has_the_change_that_it_has_alone() {
        let labels = Labels::empty();
        let mut state = 1_u64;
        let mut below = |end: u64| {
            state = state.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
            (state >> 33) % end
        };
        let (mut shortened, mut at_zero) = (0, 0);
        for _ in 0..3_000 {
            let count = 2 + below(40) as usize;
            let (mut time, mut value) = (0, below(3) as f64 * below(50) as f64 / 7.0);
            let (mut times, mut values) = (Vec::new(), Vec::new());
            // Every other series has its samples at even intervals, now and then without one.
            let even = (below(2) == 0).then(|| 1 + below(40) as i64);
            for _ in 0..count {
                time += match even {
                    Some(interval) if below(10) > 0 => interval,
                    Some(interval) => 2 * interval,
                    None => 1 + below(40) as i64,
                };
                value = match below(12) {
                    0 => below(4) as f64 / 3.0,
                    1 => value * 1e-300,
                    2 => value,
                    _ => value + below(100) as f64 / 7.0,
                };
                times.push(time);
                values.push(value);
            }
            let range_ms = 1 + below(400) as i64;
            let ends: Vec<i64> = (0..30).map(|index| index * 25).collect();
            let before = |time: i64| times.partition_point(|other| *other <= time) as u32;
            let windows = ends
                .iter()
                .map(|end| (before(end - range_ms), before(*end)));
            let bounds: Vec<(u32, u32)> = windows.collect();
            for change in [Change::Rate, Change::Increase, Change::Delta] {
                let of_times = OfTimes::default();
                let row = RangeRow {
                    times: &times,
                    values: &values,
                    bounds: &bounds,
                    ends: &ends,
                    range_ms,
                    ..RangeRow::without_samples(&labels, &of_times)
                };
                let mut out = vec![1e300; ends.len()];
                column(change, &row, &mut out);
                for (step, (low, high)) in bounds.iter().enumerate() {
                    let window = &values[*low as usize..*high as usize];
                    let expected = if window.len() < 2 {
                        ABSENT
                    } else {
                        let mut rise = window[window.len() - 1] - window[0];
                        if change != Change::Delta {
                            for pair in window.windows(2).filter(|pair| pair[1] < pair[0]) {
                                rise += pair[0];
                            }
                        }
                        let stretch = Stretch::of(&row, step);
                        let factor = stretch.factor(change, window[0], rise);
                        let plain = stretch.factor(change, 0.0, 0.0);
                        shortened += u32::from(factor == plain);
                        at_zero += u32::from(factor != plain);
                        rise * factor
                    };
                    assert_eq!(
                        out[step].to_bits(),
                        expected.to_bits(),
                        "{change:?}, step {step}: {}, alone {expected}, of {window:?}",
                        out[step],
                    );
                }
            }
        }
        assert!(
            shortened > 10_000 && at_zero > 10_000,
            "{shortened} {at_zero}"
        );
    }
}
