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

/// What of an extrapolation depends on timestamps alone; of no meaning for windows of less than two samples.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extrapolation {
    sampled: f64,
    to_start: f64,
    /// What the change is multiplied by when no zero of a counter comes into it.
    factor: f64,
    /// That for the rise by second.
    rate_factor: f64,
}

impl Extrapolation {
    fn of(row: &RangeRow<'_>, step: usize) -> Self {
        let (low, high) = row.bounds[step];
        if high - low < 2 {
            return Self {
                sampled: 0.0,
                to_start: 0.0,
                factor: 0.0,
                rate_factor: 0.0,
            };
        }
        let stretch = Stretch::of(row, step);
        Self {
            sampled: stretch.sampled(),
            to_start: stretch.to_start(),
            // Without a rise nobody asks when the counter was zero.
            factor: stretch.factor(Change::Increase, 0.0, 0.0),
            rate_factor: stretch.factor(Change::Rate, 0.0, 0.0),
        }
    }

    /// Whether a counter with this first value and rise was certainly not zero behind the edge that its change
    /// is extrapolated to: then `factor` is what [`Stretch::factor`] comes to. It is said without a division,
    /// with a margin far above what rounding can do.
    #[inline]
    fn holds(&self, first: f64, rise: f64) -> bool {
        const MARGIN: f64 = 1.0 + 1e-9;
        const UNDERFLOW_SAFE: f64 = 1e-280;
        let bound = self.to_start * rise * MARGIN;
        !(rise > 0.0 && first >= 0.0) || (first * self.sampled >= bound && bound >= UNDERFLOW_SAFE)
    }
}

/// Fills `out` with the change in each step's window.
pub(crate) fn column(change: Change, row: &RangeRow<'_>, out: &mut [f64]) {
    let extrapolations = row.extrapolations.get_or_init(|| {
        let steps = 0..row.bounds.len();
        steps.map(|step| Extrapolation::of(row, step)).collect()
    });
    let is_counter = change != Change::Delta;
    // Where the counter fell, ascending: the few places that a window must look at.
    let falls = if is_counter {
        falls(row.values)
    } else {
        Vec::new()
    };
    let mut next_fall = 0;
    let steps = out.iter_mut().zip(row.bounds).zip(extrapolations);
    for (step, ((cell, (low, high)), extrapolation)) in steps.enumerate() {
        *cell = ABSENT;
        if high - low < 2 {
            continue;
        }
        let (first, last) = (*low as usize, *high as usize - 1);
        let mut rise = row.values[last] - row.values[first];
        while next_fall < falls.len() && falls[next_fall] <= *low {
            next_fall += 1;
        }
        for fall in falls[next_fall..].iter().take_while(|fall| *fall < high) {
            rise += row.values[*fall as usize - 1];
        }
        let first = row.values[first];
        let factor = if !is_counter || extrapolation.holds(first, rise) {
            match change {
                Change::Rate => extrapolation.rate_factor,
                Change::Increase | Change::Delta => extrapolation.factor,
            }
        } else {
            Stretch::of(row, step).factor(change, first, rise)
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
        if pairs.clone().fold(0, |any, (a, b)| any | u8::from(b < a)) != 0 {
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
    use std::cell::OnceCell;

    use narthex_storage::Labels;

    use super::*;
    use crate::parser::Edges;

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
            for _ in 0..count {
                time += 1 + below(40) as i64;
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
            let row = RangeRow {
                labels: &labels,
                drop_name: false,
                times: &times,
                values: &values,
                histograms: &[],
                starts: &[],
                bounds: &bounds,
                ends: &ends,
                range_ms,
                edges: Edges::Plain,
                extrapolations: &OnceCell::new(),
            };
            for change in [Change::Rate, Change::Increase, Change::Delta] {
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
