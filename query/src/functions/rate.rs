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

/// Fills `out` with the change in each step's window.
pub(crate) fn column(change: Change, row: &RangeRow<'_>, out: &mut [f64]) {
    let is_counter = change != Change::Delta;
    // Where the counter fell, ascending: the few places that a window must look at.
    let falls: Vec<u32> = if is_counter {
        (1..row.values.len())
            .filter(|index| row.values[*index] < row.values[index - 1])
            .map(|index| index as u32)
            .collect()
    } else {
        Vec::new()
    };
    let mut next_fall = 0;
    for ((cell, (low, high)), end) in out.iter_mut().zip(row.bounds).zip(row.ends) {
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
        let stretch = Stretch {
            first_time: row.times[first],
            last_time: row.times[last],
            intervals: last - first,
            end: *end,
            range_ms: row.range_ms,
        };
        let factor = stretch.factor(change, row.values[first], rise);
        *cell = rise * factor;
    }
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
    /// What the change between the first and the last sample is multiplied by. `first` and `rise` tell where a
    /// counter was zero.
    #[inline]
    pub(crate) fn factor(self, change: Change, first: f64, rise: f64) -> f64 {
        let mut to_start = (self.first_time - (self.end - self.range_ms)) as f64 / 1000.0;
        let mut to_end = (self.end - self.last_time) as f64 / 1000.0;
        let sampled = (self.last_time - self.first_time) as f64 / 1000.0;
        let average = sampled / self.intervals as f64;
        let threshold = average * 1.1;
        if to_start >= threshold {
            to_start = average / 2.0;
        }
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
        if to_end >= threshold {
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
