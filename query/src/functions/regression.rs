//! `deriv` and `predict_linear`: the least-squares line through the samples of a window.
//!
//! **Source**: Prometheus's regression, in which each of the sums of x, y, x·y and x·x is compensated; x is in
//! seconds after the window's origin. What is summed over times alone is the same for all series of an axis, and
//! is computed once, and where samples lie evenly once for most windows of the axis; windows that follow one another
//! are summed several at once, for an addition waits for the one before it. Every value has the bits that [`deriv`] and [`predict_linear`] give for the window alone.

use std::{array::from_fn, cell::Cell};

use super::{
    FunctionId,
    over_time::Window,
    sliding::{exact_sums, looked},
};
use crate::{
    Grid,
    eval::{ABSENT, RangeRow, add_exact, add_finite},
};

/// So many windows are summed at once.
const AT_ONCE: usize = 4;

/// Differences of milliseconds below this are exact as numbers.
const EXACT_MS_MAX: i64 = 1 << 52;

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
    /// The x of a window that most others are like.
    pattern: Vec<f64>,
    /// The steps whose windows have these x.
    is_even: Vec<bool>,
}

impl TimeSums {
    /// For windows with these origins.
    fn of(row: &RangeRow<'_>, origin: impl Fn(usize) -> i64) -> Option<Self> {
        let base = *row.times.first()?;
        let after = |time: i64| {
            let after = time.checked_sub(base)?;
            (after.abs() < EXACT_MS_MAX).then_some(after as f64)
        };
        let times: Option<Vec<f64>> = row.times.iter().map(|time| after(*time)).collect();
        let origins = (0..row.bounds.len()).map(|step| after(origin(step)));
        let mut all = Self {
            times: times?,
            origins: origins.collect::<Option<_>>()?,
            sums: vec![(0.0, 0.0); row.bounds.len()],
            pattern: Vec::new(),
            is_even: vec![false; row.bounds.len()],
        };
        all.find_pattern(row);
        let mut sums = std::mem::take(&mut all.sums);
        let pattern_sums = all.pattern_sums();
        for (sums, is_even) in sums.iter_mut().zip(&all.is_even) {
            if *is_even {
                *sums = pattern_sums;
            }
        }
        let keep = |step: usize, both| sums[step] = both;
        let is_odd = |step: usize| !all.is_even[step];
        all.each::<true>(row, &all.times, |x, _| x, is_odd, keep);
        all.sums = sums;
        Some(all)
    }

    /// The sums of x and x·x over the pattern.
    fn pattern_sums(&self) -> (f64, f64) {
        let mut sums = Sums::default();
        for x in &self.pattern {
            sums.terms = add_finite(*x, sums.terms.0, sums.terms.1);
            sums.products = add_finite(x * x, sums.products.0, sums.products.1);
        }
        sums.totals()
    }

    /// Looks which windows are like the one in the middle.
    fn find_pattern(&mut self, row: &RangeRow<'_>) {
        let middle = row.bounds.len() / 2;
        let window = |step: usize| {
            let (low, high) = row.bounds[step];
            (&self.times[low as usize..high as usize], self.origins[step])
        };
        let (model, model_origin) = window(middle);
        if model.len() < 2 {
            return;
        }
        for (step, is_even) in self.is_even.iter_mut().enumerate() {
            let (times, origin) = window(step);
            // All of these are whole numbers, and their differences exact.
            let distance = origin - model_origin;
            let mut pairs = times.iter().zip(model);
            *is_even =
                times.len() == model.len() && pairs.all(|(time, model)| time - model == distance);
        }
        self.pattern = model
            .iter()
            .map(|time| seconds(*time, model_origin))
            .collect();
    }

    /// Hands on, for each step with at least two samples that `is_wanted`, the sums of `term` (of x and a value)
    /// and x·`term` over its window, the first only if `BOTH` are wanted; not finite where an infinity or NaN
    /// came into them.
    fn each<const BOTH: bool>(
        &self,
        row: &RangeRow<'_>,
        values: &[f64],
        term: impl Fn(f64, f64) -> f64 + Copy,
        is_wanted: impl Fn(usize) -> bool,
        mut found: impl FnMut(usize, (f64, f64)),
    ) {
        let points = |step: usize| {
            let (low, high) = row.bounds[step];
            let window = low as usize..high as usize;
            Points {
                times: &self.times[window.clone()],
                values: &values[window],
                origin: self.origins[step],
            }
        };
        let (mut even, mut odd) = (Pending::default(), Pending::default());
        for (step, (low, high)) in row.bounds.iter().enumerate() {
            if high - low < 2 || !is_wanted(step) {
                continue;
            }
            if self.is_even[step] {
                if let Some(steps) = even.add(step) {
                    let windows = steps.map(|step| points(step).values);
                    let sums = sum_even::<BOTH>(&self.pattern, windows, term);
                    for (step, sums) in steps.into_iter().zip(sums) {
                        found(step, sums.totals());
                    }
                }
            } else if let Some(steps) = odd.add(step) {
                let windows = steps.map(points);
                let (done, sums) = sum_together::<BOTH>(windows, term);
                for (lane, step) in steps.into_iter().enumerate() {
                    let sums = sum_rest::<BOTH>(windows[lane], term, done, sums[lane]);
                    found(step, sums.totals());
                }
            }
        }
        for step in even.rest().iter().chain(odd.rest()) {
            let sums = sum_rest::<BOTH>(points(*step), term, 0, Sums::default());
            found(*step, sums.totals());
        }
    }
}

/// Steps that wait until there are enough to be summed at once.
#[derive(Default)]
struct Pending {
    steps: [usize; AT_ONCE],
    count: usize,
}

impl Pending {
    /// Adds a step, and gives all when they are enough.
    fn add(&mut self, step: usize) -> Option<[usize; AT_ONCE]> {
        self.steps[self.count] = step;
        self.count = (self.count + 1) % AT_ONCE;
        (self.count == 0).then_some(self.steps)
    }

    /// Those that still wait.
    fn rest(&self) -> &[usize] {
        &self.steps[..self.count]
    }
}

/// Seconds between two times in milliseconds.
#[inline]
fn seconds(time: f64, origin: f64) -> f64 {
    (time - origin) / 1e3
}

/// The points of a window.
#[derive(Clone, Copy)]
struct Points<'p> {
    times: &'p [f64],
    /// As many.
    values: &'p [f64],
    origin: f64,
}

/// Compensated sums of terms and their products with x.
#[derive(Clone, Copy, Default)]
struct Sums {
    terms: (f64, f64),
    products: (f64, f64),
}

impl Sums {
    fn totals(self) -> (f64, f64) {
        (
            self.terms.0 + self.terms.1,
            self.products.0 + self.products.1,
        )
    }
}

/// The cells of several columns side by side, as many as the shortest has. Iterators over slices, and arrays of
/// one length, are what compilers turn into instructions of several lanes.
fn together(columns: [&[f64]; AT_ONCE]) -> impl Iterator<Item = [f64; AT_ONCE]> {
    let [a, b, c, d] = columns;
    let cells = a.iter().zip(b).zip(c).zip(d);
    cells.map(|(((a, b), c), d)| [*a, *b, *c, *d])
}

/// The sums over the values of several windows that have the same x.
fn sum_even<const BOTH: bool>(
    all_x: &[f64],
    windows: [&[f64]; AT_ONCE],
    term: impl Fn(f64, f64) -> f64,
) -> [Sums; AT_ONCE] {
    let (mut sums, mut rests) = ([0.0; AT_ONCE], [0.0; AT_ONCE]);
    let (mut products, mut product_rests) = ([0.0; AT_ONCE], [0.0; AT_ONCE]);
    for (x, values) in all_x.iter().zip(together(windows)) {
        if BOTH {
            for lane in 0..AT_ONCE {
                (sums[lane], rests[lane]) =
                    add_finite(term(*x, values[lane]), sums[lane], rests[lane]);
            }
        }
        for lane in 0..AT_ONCE {
            let product = *x * term(*x, values[lane]);
            (products[lane], product_rests[lane]) =
                add_finite(product, products[lane], product_rests[lane]);
        }
    }
    from_fn(|lane| Sums {
        terms: (sums[lane], rests[lane]),
        products: (products[lane], product_rests[lane]),
    })
}

/// The sums over the first points of several windows, as many as the shortest has, and how many those are.
fn sum_together<const BOTH: bool>(
    windows: [Points<'_>; AT_ONCE],
    term: impl Fn(f64, f64) -> f64,
) -> (usize, [Sums; AT_ONCE]) {
    let origins = windows.map(|window| window.origin);
    let times = together(windows.map(|window| window.times));
    let values = together(windows.map(|window| window.values));
    let (mut sums, mut rests) = ([0.0; AT_ONCE], [0.0; AT_ONCE]);
    let (mut products, mut product_rests) = ([0.0; AT_ONCE], [0.0; AT_ONCE]);
    for (times, values) in times.zip(values) {
        let mut x = [0.0; AT_ONCE];
        for lane in 0..AT_ONCE {
            x[lane] = seconds(times[lane], origins[lane]);
        }
        if BOTH {
            for lane in 0..AT_ONCE {
                (sums[lane], rests[lane]) =
                    add_finite(term(x[lane], values[lane]), sums[lane], rests[lane]);
            }
        }
        for lane in 0..AT_ONCE {
            let product = x[lane] * term(x[lane], values[lane]);
            (products[lane], product_rests[lane]) =
                add_finite(product, products[lane], product_rests[lane]);
        }
    }
    let shortest = windows.iter().map(|window| window.values.len()).min();
    let sums = from_fn(|lane| Sums {
        terms: (sums[lane], rests[lane]),
        products: (products[lane], product_rests[lane]),
    });
    (shortest.unwrap_or_default(), sums)
}

/// The sums over a window of which so many points are in `sums` already.
fn sum_rest<const BOTH: bool>(
    window: Points<'_>,
    term: impl Fn(f64, f64) -> f64,
    done: usize,
    mut sums: Sums,
) -> Sums {
    for (time, value) in window.times.iter().zip(window.values).skip(done) {
        let x = seconds(*time, window.origin);
        let y = term(x, *value);
        if BOTH {
            sums.terms = add_finite(y, sums.terms.0, sums.terms.1);
        }
        sums.products = add_finite(x * y, sums.products.0, sums.products.1);
    }
    sums
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
    let window = |step: usize| {
        let (low, high) = (row.bounds[step].0 as usize, row.bounds[step].1 as usize);
        Window {
            times: &row.times[low..high],
            values: &row.values[low..high],
            time: grid.time(step),
            params: [0.0; 2],
        }
    };
    out.fill(ABSENT);
    let cells = Cell::from_mut(out).as_slice_of_cells();
    let alone = |step: usize| {
        let line = regression(window(step), origin(step));
        cells[step].set(of_line(step, line));
    };
    let Some(of_times) = row
        .of_times
        .time_sums
        .get_or_init(|| TimeSums::of(row, origin))
    else {
        for (step, (low, high)) in row.bounds.iter().enumerate() {
            if high - low > 1 {
                alone(step);
            }
        }
        return;
    };
    let slopes = |step: usize| {
        let values = window(step).values;
        if is_flat(values) {
            cells[step].set(of_line(step, flat(values[0])));
        }
        !is_flat(values)
    };
    let found = |step: usize, (y, xy): (f64, f64)| {
        if y.is_finite() && xy.is_finite() {
            let count = window(step).values.len() as f64;
            let line = line(count, of_times.sums[step], (y, xy));
            cells[step].set(of_line(step, line));
        } else {
            alone(step);
        }
    };
    // Sums of whole numbers need no compensation, nor to be added up again for each window.
    let whole = (looked(row) >= row.values.len()).then(|| exact_sums(row.values));
    if let Some(sums) = whole.flatten() {
        let found = |step: usize, (_, xy): (f64, f64)| {
            let (low, high) = row.bounds[step];
            found(step, (sums[high as usize] - sums[low as usize], xy));
        };
        of_times.each::<false>(row, row.values, |_, y| y, slopes, found);
    } else {
        of_times.each::<true>(row, row.values, |_, y| y, slopes, found);
    }
}

#[cfg(test)]
mod tests {
    use narthex_storage::Labels;

    use super::*;
    use crate::{eval::OfTimes, parser::Edges};

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
                let row = RangeRow {
                    labels: &labels,
                    drop_name: false,
                    times: &times,
                    values: &values,
                    histograms: &[],
                    starts: &[],
                    core: None,
                    bounds: &bounds,
                    ends: &ends,
                    range_ms,
                    edges: Edges::Plain,
                    of_times: &OfTimes::default(),
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
