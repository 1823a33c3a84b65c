//! `deriv` and `predict_linear`: the least-squares line through the samples of a window.
//!
//! **Source**: Prometheus's regression, in which each of the sums of x, y, x·y and x·x is compensated; x is in
//! seconds after the window's origin. What is summed over times alone is the same for all series of an axis, and
//! is computed once; [`Summation`] takes the terms of a window several at once where it can. Every value has the bits
//! that [`deriv`] and [`predict_linear`] give for the window alone.

use std::array::from_fn;

use super::{
    FunctionId,
    over_time::Window,
    sliding::{exact_sums, looked},
    summation::{Summation, magnitudes},
};
use crate::{
    Grid,
    eval::{ABSENT, RangeRow, add_exact},
};

/// Samples and origins must lie nearer to the first sample than this; [`seconds`] is exact up to its double.
const AFTER_MS_MAX: f64 = (1_u64 << 37) as f64;

/// The slope by second of the line.
pub(crate) fn deriv(window: Window<'_>) -> Option<f64> {
    (window.values.len() > 1).then(|| regression(window, window.times[0]).0)
}

/// Where the line is so many seconds after the evaluation time.
pub(crate) fn predict_linear(window: Window<'_>) -> Option<f64> {
    (window.values.len() > 1).then(|| {
        let (slope, intercept) = regression(window, window.time);
        slope * window.params[0] + intercept
    })
}

/// Slope by second and value at `origin` of the least-squares line.
fn regression(window: Window<'_>, origin: i64) -> (f64, f64) {
    if is_flat(window.values) {
        return flat(window.values[0]);
    }
    let (mut sums, mut rests) = ([0.0; 4], [0.0; 4]);
    for (time, value) in window.times.iter().zip(window.values) {
        let x = (time - origin) as f64 / 1e3;
        for (lane, term) in [x, *value, x * value, x * x].into_iter().enumerate() {
            (sums[lane], rests[lane]) = add_exact(term, sums[lane], rests[lane]);
        }
    }
    let [x, y, xy, xx] = from_fn(|lane| sums[lane] + rests[lane]);
    line(window.values.len() as f64, (x, xx), (y, xy))
}

/// Whether all values are equal.
fn is_flat(values: &[f64]) -> bool {
    values.iter().all(|value| *value == values[0])
}

/// Slope and value of the line through equal values.
fn flat(value: f64) -> (f64, f64) {
    if value.is_infinite() {
        (f64::NAN, f64::NAN)
    } else {
        (0.0, value)
    }
}

/// Slope and value at 0 of the least-squares line through so many points, from the sums of x and x·x and those
/// of y and x·y.
fn line(count: f64, (x, xx): (f64, f64), (y, xy): (f64, f64)) -> (f64, f64) {
    let covariance = xy - x * y / count;
    let variance = xx - x * x / count;
    let slope = covariance / variance;
    (slope, y / count - slope * x / count)
}

/// What the windows' lines take from their times.
#[derive(Debug)]
pub(crate) struct TimeSums {
    /// Milliseconds after the first sample's: of every sample, and of every step's origin.
    times: Vec<f64>,
    origins: Vec<f64>,
    /// The sums of x and x·x by step; of no meaning for windows of less than two samples.
    sums: Vec<(f64, f64)>,
    /// How many samples the longest window has.
    longest: usize,
    /// The least and the greatest magnitude of all x that are not 0.
    magnitudes: (f64, f64),
}

impl TimeSums {
    /// For windows with these origins; nothing where times lie too far apart.
    fn of(row: &RangeRow<'_>, origin: impl Fn(usize) -> i64) -> Option<Self> {
        let base = *row.times.first()?;
        let after = |time: i64| {
            let after = time.checked_sub(base)? as f64;
            (after.abs() < AFTER_MS_MAX).then_some(after)
        };
        let times: Option<Vec<f64>> = row.times.iter().map(|time| after(*time)).collect();
        let origins = (0..row.bounds.len()).map(|step| after(origin(step)));
        let lengths = row.bounds.iter().map(|(low, high)| high - low);
        let mut all = Self {
            times: times?,
            origins: origins.collect::<Option<_>>()?,
            sums: Vec::new(),
            longest: lengths.max()? as usize,
            magnitudes: (f64::INFINITY, 0.0),
        };
        for (step, bounds) in row.bounds.iter().enumerate() {
            all.measure(step, *bounds);
        }
        let of_x = all.summation((1.0, 1.0));
        let of_squares = all.summation(all.magnitudes);
        let steps = row.bounds.iter().enumerate();
        let sums = steps.map(|(step, bounds)| {
            (
                all.total(of_x, step, *bounds, &all.times, |x, _| x),
                all.total(of_squares, step, *bounds, &all.times, |x, _| x * x),
            )
        });
        all.sums = sums.collect();
        Some(all)
    }

    /// Widens the magnitudes by those of a window. Its samples ascend: the farthest from its origin are at its ends,
    /// the nearest on both sides of it.
    fn measure(&mut self, step: usize, (low, high): (u32, u32)) {
        let (times, origin) = (&self.times[low as usize..high as usize], self.origins[step]);
        let before = times.partition_point(|time| *time < origin);
        let near = before.saturating_sub(1)..(before + 2).min(times.len());
        for time in times[near].iter().chain(times.first()).chain(times.last()) {
            let x = seconds(time - origin).abs();
            let (least, most) = &mut self.magnitudes;
            if x > 0.0 {
                *least = x.min(*least);
            }
            *most = x.max(*most);
        }
    }

    /// For sums over a window of x times what has these magnitudes.
    fn summation(&self, (least, most): (f64, f64)) -> Summation {
        let of_x = self.magnitudes;
        Summation::of(self.longest, (of_x.0 * least, of_x.1 * most))
    }

    /// The sum over a step's window of a term of x and value.
    #[inline]
    fn total(
        &self,
        summation: Summation,
        step: usize,
        (low, high): (u32, u32),
        values: &[f64],
        term: impl Fn(f64, f64) -> f64,
    ) -> f64 {
        let window = low as usize..high as usize;
        let (times, values) = (&self.times[window.clone()], &values[window]);
        let origin = self.origins[step];
        summation.total(times, values, |time, value| {
            term(seconds(time - origin), value)
        })
    }
}

/// A whole number of milliseconds in seconds, as dividing it by 1000 rounds it, without the division.
///
/// A thousandth is taken in two parts. The first has 15 bits, so that its product is exact below 2^38. What
/// is rounded in the other's is below a 2^66th of the whole; and no whole number of milliseconds is nearer than a
/// 2^61st of itself to the middle between two numbers of seconds that follow one another, unless it is one of them,
/// so that the sum is rounded as the quotient is.
#[inline]
fn seconds(milliseconds: f64) -> f64 {
    const TWO_TO_25: f64 = (1 << 25) as f64;
    const HIGH: f64 = 33_554.0 / TWO_TO_25;
    const LOW: f64 = 0.432 / TWO_TO_25;
    milliseconds * HIGH + milliseconds * LOW
}

/// Fills `out` for `deriv`, or for `predict_linear` with its second argument.
pub(crate) fn column(
    id: FunctionId,
    row: &RangeRow<'_>,
    grid: Grid,
    ahead_s: Option<&Vec<f64>>,
    out: &mut [f64],
) {
    let of_line = |step: usize, (slope, intercept): (f64, f64)| match ahead_s {
        Some(ahead_s) if id == FunctionId::PredictLinear => slope * ahead_s[step] + intercept,
        _ => slope,
    };
    let origin = |step: usize| match id {
        FunctionId::PredictLinear => grid.time(step),
        _ => row.times[(row.bounds[step].0 as usize).min(row.times.len() - 1)],
    };
    let of_times = row
        .of_times
        .time_sums
        .get_or_init(|| TimeSums::of(row, origin));
    // Sums of whole numbers need no compensation, nor to be added up again for each window.
    let whole = (looked(row) >= row.values.len()).then(|| exact_sums(row.values));
    let whole = whole.flatten();
    let together = of_times.as_ref().map(|of_times| {
        let of_values = magnitudes(row.values);
        let of_sums = Summation::of(of_times.longest, of_values);
        (of_times, of_sums, of_times.summation(of_values))
    });
    out.fill(ABSENT);
    for (step, bounds) in row.bounds.iter().enumerate() {
        let (low, high) = (bounds.0 as usize, bounds.1 as usize);
        let values = &row.values[low..high];
        if values.len() < 2 {
            continue;
        }
        let fitted = together.and_then(|(of_times, of_sums, of_products)| {
            if is_flat(values) {
                return Some(flat(values[0]));
            }
            let y = match &whole {
                Some(sums) => sums[high] - sums[low],
                None => of_times.total(of_sums, step, *bounds, row.values, |_, y| y),
            };
            let xy = of_times.total(of_products, step, *bounds, row.values, |x, y| x * y);
            let is_finite = y.is_finite() && xy.is_finite();
            is_finite.then(|| line(values.len() as f64, of_times.sums[step], (y, xy)))
        });
        let fitted = fitted.unwrap_or_else(|| {
            let window = Window {
                times: &row.times[low..high],
                values,
                time: grid.time(step),
                params: [0.0; 2],
            };
            regression(window, origin(step))
        });
        out[step] = of_line(step, fitted);
    }
}

#[cfg(test)]
mod tests {
    use narthex_storage::Labels;

    use super::*;
    use crate::eval::OfTimes;

    #[test]
    fn seconds_are_rounded_as_a_division_rounds_them() {
        let check = |milliseconds: u64| {
            let milliseconds = milliseconds as f64;
            assert_eq!(seconds(milliseconds), milliseconds / 1e3);
            assert_eq!(seconds(-milliseconds), -milliseconds / 1e3);
        };
        (0..1_000_000).for_each(check);
        let mut state = 1_u64;
        for bits in 20..=38 {
            for _ in 0..20_000 {
                state = state.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
                check(state >> (64 - bits));
            }
            check((1 << bits) - 1);
        }
    }

    #[test]
    fn every_window_has_the_line_that_it_has_alone() {
        const ODD: [f64; 6] = [f64::NAN, f64::INFINITY, f64::MAX, -f64::MAX, -0.0, 1e-300];
        let labels = Labels::empty();
        let mut state = 1_u64;
        let mut below = |end: u64| {
            state = state.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
            (state >> 33) % end
        };
        let (mut lines, mut of_numbers) = (0, 0);
        for round in 0..2_000 {
            // The last of these is too far from 0 to be subtracted as a number.
            let base = [0, 1_700_000_000_000, -5_000, 1 << 54][round % 4];
            let (odd, count) = (below(3) * 20, 1 + below(50));
            let mut time = base;
            let (mut times, mut values) = (Vec::new(), Vec::new());
            // Every third series has its samples at even intervals, now and then without one.
            let interval = [5, 25, 50][below(3) as usize];
            for _ in 0..count {
                time += match (round / 4 % 3, below(40)) {
                    (0, 0) => 2 * interval,
                    (0, _) => interval,
                    (_, dice) => 1 + dice.cast_signed(),
                };
                times.push(time);
                values.push(match below(100) {
                    dice if dice < odd => ODD[below(6) as usize],
                    dice if dice < 60 => values.last().copied().unwrap_or(3.0),
                    _ => below(1 << 20) as f64 / if odd == 0 { 1.0 } else { 3.0 },
                });
            }
            let grid = Grid {
                start: if round % 3 == 0 { 0 } else { base },
                end: if round % 3 == 0 { 0 } else { base } + 29 * 25,
                step_ms: 25,
            };
            let range_ms = 1 + below(400).cast_signed();
            let ends: Vec<i64> = (0..30).map(|index| base + index * 25).collect();
            let before = |time: i64| times.partition_point(|other| *other <= time) as u32;
            let windows = ends
                .iter()
                .map(|end| (before(end - range_ms), before(*end)));
            let bounds: Vec<(u32, u32)> = windows.collect();
            let ahead_s: Vec<f64> = (0..30).map(f64::from).collect();
            for (id, kernel) in [
                (FunctionId::Deriv, deriv as fn(Window<'_>) -> Option<f64>),
                (FunctionId::PredictLinear, predict_linear),
            ] {
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
                column(id, &row, grid, Some(&ahead_s), &mut out);
                for (step, (low, high)) in bounds.iter().enumerate() {
                    let samples = *low as usize..*high as usize;
                    let alone = kernel(Window {
                        times: &times[samples.clone()],
                        values: &values[samples],
                        time: grid.time(step),
                        params: [ahead_s[step], 0.0],
                    });
                    lines += u32::from(alone.is_some());
                    of_numbers += u32::from(alone.is_some_and(f64::is_finite));
                    let alone = alone.unwrap_or(ABSENT);
                    let found = out[step];
                    assert!(
                        found.to_bits() == alone.to_bits()
                            || (found.is_nan() && alone.is_nan() && high - low > 1),
                        "round {round}, {id:?}, step {step}: {found}, alone {alone}"
                    );
                }
            }
        }
        assert!(
            lines > 50_000 && of_numbers > lines / 2,
            "{lines} {of_numbers}"
        );
    }
}
