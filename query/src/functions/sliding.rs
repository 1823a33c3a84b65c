//! Functions of many windows of a series, computed from one window to the next or several at once.
//!
//! **What it is not.** Another definition: every value has the bits that its kernel in [`super::over_time`]
//! gives for the window alone.

use std::{array, cmp::Ordering};

use super::{
    FunctionId,
    over_time::{self, Window},
    regression,
};
use crate::{
    Grid,
    eval::{ABSENT, RangeRow, add_finite, is_quantile, quantile_of_sorted},
};

/// Integers whose magnitudes add up to less than this are summed exactly in any order.
const EXACT_MAX: f64 = (1_u64 << 53) as f64;

/// Fills `out` if there is a quicker way than window by window. `params` is the first scalar argument at each
/// step, if there is one.
pub(crate) fn fill(
    id: FunctionId,
    row: &RangeRow<'_>,
    grid: Grid,
    params: Option<&Vec<f64>>,
    out: &mut [f64],
) -> bool {
    match id {
        FunctionId::Deriv | FunctionId::PredictLinear => {
            regression::column(id, row, grid, params, out);
            true
        }
        FunctionId::CountOverTime => {
            each(row, out, |low, high| (high - low) as f64);
            true
        }
        FunctionId::SumOverTime | FunctionId::AvgOverTime if looked(row) >= row.values.len() => {
            let is_mean = id == FunctionId::AvgOverTime;
            if let Some(sums) = exact_sums(row.values) {
                each(row, out, |low, high| {
                    let sum = sums[high] - sums[low];
                    // A mean of nothing but negative zeros is a positive one.
                    if is_mean {
                        sum / (high - low) as f64 + 0.0
                    } else {
                        sum
                    }
                });
            } else {
                compensated_sums(row, is_mean, out);
            }
            true
        }
        FunctionId::StddevOverTime | FunctionId::StdvarOverTime => {
            variances(row, id == FunctionId::StddevOverTime, out);
            true
        }
        FunctionId::MaxOverTime if overlaps(row, 3) => {
            extremes(row, out, |value, best| value > best);
            true
        }
        FunctionId::MinOverTime if overlaps(row, 3) => {
            extremes(row, out, |value, best| value < best);
            true
        }
        FunctionId::QuantileOverTime if overlaps(row, 2) => match params {
            Some(ratios) if ratios.iter().all(|ratio| is_quantile(*ratio)) => {
                quantiles(row, ratios, out);
                true
            }
            _ => false,
        },
        _ => false,
    }
}

/// Whether a sample lies in so many windows in the mean.
fn overlaps(row: &RangeRow<'_>, times: usize) -> bool {
    looked(row) > times * row.values.len()
}

/// Samples in all windows together.
pub(super) fn looked(row: &RangeRow<'_>) -> usize {
    let lengths = row.bounds.iter().map(|(low, high)| (high - low) as usize);
    lengths.sum()
}

/// Fills the steps with samples in their windows.
fn each(row: &RangeRow<'_>, out: &mut [f64], mut value: impl FnMut(usize, usize) -> f64) {
    for (cell, (low, high)) in out.iter_mut().zip(row.bounds) {
        *cell = if low == high {
            ABSENT
        } else {
            value(*low as usize, *high as usize)
        };
    }
}

/// The sums of the first 0, 1, 2, … values, if all of them are exact.
pub(super) fn exact_sums(values: &[f64]) -> Option<Vec<f64>> {
    let mut sums = Vec::with_capacity(values.len() + 1);
    let (mut sum, mut magnitudes) = (0.0, 0.0);
    sums.push(sum);
    for value in values {
        // Of NaN and the infinities this is something else.
        if (*value as i64) as f64 != *value {
            return None;
        }
        magnitudes += value.abs();
        sum += value;
        sums.push(sum);
    }
    (magnitudes < EXACT_MAX).then_some(sums)
}

/// Sums or means of several windows at a time: an addition waits for the one before it, those of other windows
/// do not.
fn compensated_sums(row: &RangeRow<'_>, is_mean: bool, out: &mut [f64]) {
    let kernel = if is_mean {
        over_time::avg
    } else {
        over_time::sum
    };
    several::<4>(row, kernel, out, |windows, heads| {
        let (mut sums, mut rests) = ([0.0; 4], [0.0; 4]);
        for index in 0..heads[0].len() {
            let values = heads.map(|window| window[index]);
            for lane in 0..4 {
                (sums[lane], rests[lane]) = add_finite(values[lane], sums[lane], rests[lane]);
            }
        }
        array::from_fn(|lane| {
            let (mut sum, mut rest) = (sums[lane], rests[lane]);
            for value in &windows[lane][heads[0].len()..] {
                (sum, rest) = add_finite(*value, sum, rest);
            }
            let count = windows[lane].len() as f64;
            if is_mean {
                sum / count + rest / count
            } else {
                sum + rest
            }
        })
    });
}

/// Variances, or their roots, of several windows at a time, as [`compensated_sums`] does it.
fn variances(row: &RangeRow<'_>, is_root: bool, out: &mut [f64]) {
    let kernel = if is_root {
        over_time::stddev
    } else {
        over_time::stdvar
    };
    several::<8>(row, kernel, out, |windows, heads| {
        let mut moments = Moments::<8>::default();
        for index in 0..heads[0].len() {
            let values = heads.map(|window| window[index]);
            let count = (index + 1) as f64;
            for (lane, value) in values.into_iter().enumerate() {
                moments.add(lane, value, count);
            }
        }
        array::from_fn(|lane| {
            let mut count = heads[0].len() as f64;
            for value in &windows[lane][heads[0].len()..] {
                count += 1.0;
                moments.add(lane, *value, count);
            }
            let variance = (moments.squares[lane] + moments.squares_rests[lane]) / count;
            if is_root { variance.sqrt() } else { variance }
        })
    });
}

/// Welford's means and sums of squares with what they lose, as [`over_time::stdvar`] has them, of several windows.
struct Moments<const LANES: usize> {
    means: [f64; LANES],
    means_rests: [f64; LANES],
    squares: [f64; LANES],
    squares_rests: [f64; LANES],
}

impl<const LANES: usize> Default for Moments<LANES> {
    fn default() -> Self {
        Self {
            means: [0.0; LANES],
            means_rests: [0.0; LANES],
            squares: [0.0; LANES],
            squares_rests: [0.0; LANES],
        }
    }
}

impl<const LANES: usize> Moments<LANES> {
    /// Adds to a window the value that makes it so many.
    #[inline]
    fn add(&mut self, lane: usize, value: f64, count: f64) {
        let (mean, rest) = (self.means[lane], self.means_rests[lane]);
        let delta = value - (mean + rest);
        let (mean, rest) = add_finite(delta / count, mean, rest);
        (self.means[lane], self.means_rests[lane]) = (mean, rest);
        let new_delta = value - (mean + rest);
        let (squares, rest) = (self.squares[lane], self.squares_rests[lane]);
        (self.squares[lane], self.squares_rests[lane]) =
            add_finite(delta * new_delta, squares, rest);
    }
}

/// Fills the steps by so many at a time: `values` is given their windows, and these cut to the length of the shortest.
/// Where what it answers is not finite, by overflow or of what is no number, the kernel is asked.
#[inline]
fn several<const LANES: usize>(
    row: &RangeRow<'_>,
    kernel: fn(Window<'_>) -> Option<f64>,
    out: &mut [f64],
    values: impl Fn([&[f64]; LANES], [&[f64]; LANES]) -> [f64; LANES],
) {
    let one = |step: usize| {
        let (low, high) = (row.bounds[step].0 as usize, row.bounds[step].1 as usize);
        if low == high {
            return ABSENT;
        }
        let window = Window {
            times: &row.times[low..high],
            values: &row.values[low..high],
            time: row.ends[step],
            params: [0.0; 2],
        };
        kernel(window).unwrap_or(ABSENT)
    };
    let mut step = 0;
    while step < out.len() {
        let Some(bounds) = row.bounds[step..].first_chunk::<LANES>() else {
            out[step] = one(step);
            step += 1;
            continue;
        };
        let windows = bounds.map(|(low, high)| &row.values[low as usize..high as usize]);
        let shortest = windows.iter().map(|window| window.len()).min();
        let heads = windows.map(|window| &window[..shortest.unwrap_or_default()]);
        for (lane, value) in values(windows, heads).into_iter().enumerate() {
            let is_there = !windows[lane].is_empty() && value.is_finite();
            out[step + lane] = if is_there { value } else { one(step + lane) };
        }
        step += LANES;
    }
}

/// The first of the values that none beats, NaN left out unless there is nothing else.
fn extremes(row: &RangeRow<'_>, out: &mut [f64], beats: impl Fn(f64, f64) -> bool) {
    let values = row.values;
    // What can still become the best of a window: each beats or equals what follows it.
    let mut candidates: Vec<u32> = Vec::with_capacity(64);
    let (mut front, mut next) = (0, 0);
    each(row, out, |low, high| {
        for index in next.max(low)..high {
            let value = values[index];
            if value.is_nan() {
                continue;
            }
            while candidates.len() > front
                && let Some(last) = candidates.last()
                && beats(value, values[*last as usize])
            {
                candidates.pop();
            }
            candidates.push(index as u32);
        }
        next = next.max(high);
        while front < candidates.len() && (candidates[front] as usize) < low {
            front += 1;
        }
        match candidates.get(front) {
            Some(best) => values[*best as usize],
            None => values[high - 1],
        }
    });
}

/// Quantiles from a window that is kept sorted: NaN first, equal values by time.
fn quantiles(row: &RangeRow<'_>, ratios: &[f64], out: &mut [f64]) {
    let values = row.values;
    let mut sorted: Vec<f64> = Vec::new();
    let (mut first, mut next) = (0, 0);
    let mut ratios = ratios.iter();
    for (cell, (low, high)) in out.iter_mut().zip(row.bounds) {
        let Some(ratio) = ratios.next() else { return };
        let (low, high) = (*low as usize, *high as usize);
        if low == high {
            *cell = ABSENT;
            continue;
        }
        if low >= next {
            sorted.clear();
            (first, next) = (low, low);
        }
        for value in &values[first..low] {
            let at = sorted.partition_point(|other| order(*other, *value) == Ordering::Less);
            sorted.remove(at);
        }
        for value in &values[next..high] {
            let at = sorted.partition_point(|other| order(*other, *value) != Ordering::Greater);
            sorted.insert(at, *value);
        }
        (first, next) = (low, high);
        *cell = quantile_of_sorted(*ratio, &sorted);
    }
}

/// The order in which [`quantile`](crate::eval::quantile) sorts.
fn order(a: f64, b: f64) -> Ordering {
    match a.partial_cmp(&b) {
        Some(order) => order,
        None => b.is_nan().cmp(&a.is_nan()),
    }
}

#[cfg(test)]
mod tests {
    use narthex_storage::Labels;

    use super::*;
    use crate::{
        eval::OfTimes,
        functions::{Kernel, range_kernel},
    };

    /// Numbers that are the same in every run.
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: u64) -> u64 {
            self.0 = self.0.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
            (self.0 >> 33) % end
        }
    }

    /// Whole numbers, fractions, and what is neither, by turns.
    fn values(random: &mut Random, count: u64) -> Vec<f64> {
        const ODD: [f64; 8] = [
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            -0.0,
            0.0,
            f64::MAX,
            -f64::MAX,
            9e15,
        ];
        let (fractions, odd) = (random.below(2), random.below(3) * 10);
        let value = |_| {
            if random.below(100) < odd {
                return ODD[random.below(8) as usize];
            }
            let whole = random.below(12) as f64 - 4.0;
            whole + fractions as f64 * random.below(1 << 20) as f64 / 3.0
        };
        (0..count).map(value).collect()
    }

    /// Every function that is done here gives the bits of its kernel, window by window.
    #[test]
    fn every_window_has_the_value_that_it_has_alone() {
        let labels = Labels::empty();
        let mut done = std::collections::BTreeMap::new();
        for seed in 0..2_000 {
            let mut random = Random(seed);
            let count = 1 + random.below(60);
            let values = values(&mut random, count);
            let times: Vec<i64> = (0..count as i64).map(|index| index * 10).collect();
            let (length, step) = (random.below(300) as i64, 1 + random.below(40) as i64);
            let ends: Vec<i64> = (0..40).map(|index| index * step - 20).collect();
            let before = |time: i64| times.partition_point(|other| *other <= time) as u32;
            let windows = ends.iter().map(|end| (before(end - length), before(*end)));
            let bounds: Vec<(u32, u32)> = windows.collect();
            let of_times = OfTimes::default();
            let row = RangeRow {
                times: &times,
                values: &values,
                bounds: &bounds,
                ends: &ends,
                range_ms: length,
                ..RangeRow::without_samples(&labels, &of_times)
            };
            let grid = Grid {
                start: ends[0],
                end: ends[ends.len() - 1],
                step_ms: step,
            };
            let ratios: Vec<f64> = ends
                .iter()
                .map(|_| random.below(11) as f64 / 10.0)
                .collect();
            for id in [
                FunctionId::CountOverTime,
                FunctionId::SumOverTime,
                FunctionId::AvgOverTime,
                FunctionId::MinOverTime,
                FunctionId::MaxOverTime,
                FunctionId::QuantileOverTime,
                FunctionId::StddevOverTime,
                FunctionId::StdvarOverTime,
            ] {
                let mut out = vec![1e300; ends.len()];
                if !fill(id, &row, grid, Some(&ratios), &mut out) {
                    continue;
                }
                *done.entry(format!("{id:?}")).or_insert(0) += 1;
                let Some(Kernel::Window(kernel)) = range_kernel(id) else {
                    panic!("{id:?} looks at windows");
                };
                for (step, (low, high)) in bounds.iter().enumerate() {
                    let window = *low as usize..*high as usize;
                    let expected = if window.is_empty() {
                        ABSENT
                    } else {
                        let window = Window {
                            times: &times[window.clone()],
                            values: &values[window],
                            time: ends[step],
                            params: [ratios[step], 0.0],
                        };
                        kernel(window).unwrap_or(ABSENT)
                    };
                    let found = out[step];
                    assert_eq!(
                        found.to_bits(),
                        expected.to_bits(),
                        "seed {seed}, {id:?}, step {step}: {found}, alone {expected}, of {:?}",
                        &values[*low as usize..*high as usize],
                    );
                }
            }
        }
        assert_eq!(done.len(), 8, "{done:?}");
        assert!(done.values().all(|count| *count > 100), "{done:?}");
    }
}
