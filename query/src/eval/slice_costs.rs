//! What it costs to evaluate a range query in slices of its steps, and where to cut it, by a few series of each
//! selector.
//!
//! A page that lies across a cut is decoded from its beginning by both slices, and so is what the windows of the later
//! one reach back to: so cuts are made where pages end, when that is not far, and none where both slices would read
//! much of the same.

use std::iter;

use narthex_storage::{Portion, Selection, TimeRange, Timestamp};

use super::selections::Read;
use crate::{Grid, Slicing};

/// Series of a selector that are looked at; they stand for all.
const SERIES_SAMPLED: usize = 16;

/// What a series costs in each further slice, in samples: it is sought and put into its group again.
const SERIES_SAMPLES: f64 = 30.0;

/// What each of its portions costs then, in samples: the directory is read from its beginning.
const PORTION_SAMPLES: f64 = 40.0;

/// Series are not taken to have samples closer to one another, in milliseconds: what cannot be heavy so is not
/// looked into.
const INTERVAL_MIN_MS: u64 = 10_000;

/// A sample costs once more when it lies in so many windows more than an instant selector would have it in: functions
/// that look at every sample of a window do so again in each.
const WINDOWS: f64 = 10.0;

/// A cut is moved by at most one in so many of a slice's steps.
const MOVED_SHARE: usize = 8;

/// What a selector may cost at most with so many series, unless their samples lie very close.
pub(super) fn cost_max(read: &Read<'_>, series: usize, grid: Grid, lookback_ms: i64) -> f64 {
    let each = length_ms(read.range) as u64 / INTERVAL_MIN_MS + 1;
    each as f64 * series as f64 * (1.0 + windows_cost(read, grid, lookback_ms))
}

/// What a sample costs for the windows that it lies in, beside 1 for reading it.
fn windows_cost(read: &Read<'_>, grid: Grid, lookback_ms: i64) -> f64 {
    let longer_ms = length_ms(read.first).saturating_sub(lookback_ms).max(0);
    longer_ms as f64 / grid.step_ms as f64 / WINDOWS
}

/// See the module; all costs are in samples that are read.
pub(super) struct SliceCosts {
    grid: Grid,
    reads: Vec<ReadCosts>,
}

/// What a selector costs.
struct ReadCosts {
    /// Of the series that are looked at.
    portions: Vec<Portion>,
    /// How many series each of them stands for.
    weight: f64,
    /// See [`windows_cost`].
    windows: f64,
    /// What each further slice costs beside what is read.
    again: f64,
    /// What is read for all steps.
    range: TimeRange,
    /// How far that moves from the first step to the last.
    moves_ms: i64,
}

impl ReadCosts {
    fn new(read: &Read<'_>, selection: &dyn Selection, grid: Grid, lookback_ms: i64) -> Self {
        let series = selection.series().len();
        let sampled = series.min(SERIES_SAMPLED);
        let sample = |index: usize| selection.portions(index * series / sampled);
        let portions: Vec<Portion> = (0..sampled).flat_map(sample).collect();
        let weight = series as f64 / sampled.max(1) as f64;
        let again = SERIES_SAMPLES * sampled as f64 + PORTION_SAMPLES * portions.len() as f64;
        Self {
            again: weight * again,
            portions,
            weight,
            windows: windows_cost(read, grid, lookback_ms),
            range: read.range,
            moves_ms: length_ms(read.range) - length_ms(read.first),
        }
    }

    /// What is decoded for the steps from the first to the last.
    fn decoded(&self, grid: Grid, first: usize, last: usize) -> f64 {
        let moved = |step: usize| {
            let moved = grid.step_ms.saturating_mul(step as i64);
            moved.min(self.moves_ms)
        };
        let start = self.range.min.saturating_add(moved(first));
        let end = self.range.max.saturating_sub(self.moves_ms - moved(last));
        let portions = self.portions.iter();
        portions.map(|portion| decoded(portion, start, end)).sum()
    }
}

/// How many samples of a portion are decoded for what lies from `start` to `end`, both inclusive.
fn decoded(portion: &Portion, start: Timestamp, end: Timestamp) -> f64 {
    let range = portion.range;
    if range.max < start || end < range.min {
        return 0.0;
    }
    let part = (end.min(range.max) - range.min + 1) as f64 / (length_ms(range) + 1) as f64;
    part * portion.samples as f64
}

fn length_ms(range: TimeRange) -> i64 {
    range.max.saturating_sub(range.min)
}

impl SliceCosts {
    /// Looks at what is read for the steps of `grid`.
    pub(super) fn new<'s>(
        grid: Grid,
        lookback_ms: i64,
        reads: impl Iterator<Item = (&'s Read<'s>, &'s dyn Selection)>,
    ) -> Self {
        let reads =
            reads.map(|(read, selection)| ReadCosts::new(read, selection, grid, lookback_ms));
        Self {
            grid,
            reads: reads.collect(),
        }
    }

    /// The steps at which to cut, the first and the one behind the last included: into as many slices as are worth
    /// their cost, at most so many; `None` when it is none but the whole.
    pub(super) fn cuts(&self, slices_max: usize, slicing: &Slicing) -> Option<Vec<usize>> {
        let steps = self.grid.steps();
        let read = self.cost(0, steps);
        let whole = read + self.windows_cost();
        let allowed = read + whole * slicing.extra_percent_max as f64 / 100.0;
        let mut slices = slices_max.min(steps);
        if let Some(most) = (whole as u64).checked_div(slicing.samples_min) {
            slices = slices.min(usize::try_from(most).unwrap_or(usize::MAX));
        }
        let again: f64 = self.reads.iter().map(|read| read.again).sum();
        while slices > 1 {
            let inner = (1..slices).map(|slice| self.cut(slice, slices));
            let cuts: Vec<usize> = iter::once(0).chain(inner).chain([steps]).collect();
            let costs = cuts.windows(2).map(|cuts| self.cost(cuts[0], cuts[1]));
            if costs.sum::<f64>() + again * (slices - 1) as f64 <= allowed {
                return Some(cuts);
            }
            slices /= 2;
        }
        None
    }

    /// Where to cut before this one of so many slices.
    fn cut(&self, slice: usize, slices: usize) -> usize {
        let steps = self.grid.steps();
        let even = slice * steps / slices;
        let moved_max = steps / slices / MOVED_SHARE;
        let mut best = even;
        let mut least = f64::INFINITY;
        // So many places at most, those near the even cut first.
        for moved in (0..=moved_max).step_by(moved_max.div_ceil(MOVED_SHARE).max(1)) {
            for cut in [even - moved, even + moved] {
                let cost = self.cost(0, cut) + self.cost(cut, steps);
                if cost < least {
                    (best, least) = (cut, cost);
                }
            }
        }
        best
    }

    /// What is computed of windows, in all slices together as in the whole.
    fn windows_cost(&self) -> f64 {
        let last = self.grid.steps() - 1;
        let reads = self.reads.iter();
        let costs = reads.map(|read| read.windows * read.weight * read.decoded(self.grid, 0, last));
        costs.sum()
    }

    /// What is decoded for the steps from `first` to before `end`, of which there is one.
    fn cost(&self, first: usize, end: usize) -> f64 {
        let reads = self.reads.iter();
        let costs = reads.map(|read| read.weight * read.decoded(self.grid, first, end - 1));
        costs.sum()
    }
}

#[cfg(test)]
mod tests {
    use narthex_storage::{Budget, Estimate, Labels, Scan, SelectedSeries};

    use super::*;
    use crate::{
        Features,
        parser::{ExprKind, VectorSelector, parse},
    };

    const MINUTE: i64 = 60_000;

    /// Series of a sample a minute, of which a page ends at the minute 27 and the next one at 60.
    struct Pages(Vec<SelectedSeries>);

    impl Selection for Pages {
        fn series(&self) -> &[SelectedSeries] {
            &self.0
        }

        fn estimate(&self, _: TimeRange) -> Estimate {
            unreachable!("portions tell more")
        }

        fn portions(&self, _: usize) -> Vec<Portion> {
            let pages = [(0, 27), (28, 60)];
            let portions = pages.map(|(first, last)| Portion {
                range: TimeRange::new(first * MINUTE, last * MINUTE),
                samples: (last - first + 1) as u64,
            });
            portions.to_vec()
        }

        fn scan<'a>(&'a self, _: TimeRange, _: &'a Budget) -> Box<dyn Scan + 'a> {
            unreachable!("nothing is read")
        }
    }

    fn selector() -> VectorSelector {
        match parse("m", Features::default().parser()).unwrap().kind {
            ExprKind::VectorSelector(selector) => selector,
            other => panic!("{other:?}"),
        }
    }

    /// The cuts of 61 steps into at most two slices; the selector looks back for five minutes, and its time moves
    /// or is the minute 27.
    fn cuts(series: usize, moves: bool, slicing: &Slicing) -> Option<Vec<usize>> {
        cuts_with(5, series, moves, slicing)
    }

    /// [`cuts`] with a lookback of so many minutes, beyond which the five are a window.
    fn cuts_with(
        lookback: i64,
        series: usize,
        moves: bool,
        slicing: &Slicing,
    ) -> Option<Vec<usize>> {
        let labels = Labels::empty();
        let selection = Pages(vec![SelectedSeries { labels }; series]);
        let grid = Grid {
            start: 0,
            end: 60 * MINUTE,
            step_ms: MINUTE,
        };
        let selector = selector();
        let first = if moves { 0 } else { 27 };
        let last = if moves { 60 } else { 27 };
        let read = Read {
            selector: &selector,
            range: TimeRange::new((first - 5) * MINUTE + 1, last * MINUTE),
            first: TimeRange::new((first - 5) * MINUTE + 1, first * MINUTE),
        };
        let cost = cost_max(&read, series, grid, 5 * MINUTE);
        assert_eq!(cost, if moves { 390.0 } else { 30.0 } * series as f64);
        let reads: [(_, &dyn Selection); 1] = [(&read, &selection)];
        SliceCosts::new(grid, lookback * MINUTE, reads.into_iter()).cuts(2, slicing)
    }

    fn slicing(samples_min: u64, extra_percent_max: u64) -> Slicing {
        Slicing {
            samples_min,
            extra_percent_max,
            ..Slicing::default()
        }
    }

    #[test]
    fn cuts_are_made_where_pages_end() {
        // The later slice reads from 27 minutes and a millisecond on.
        let at_32 = Some(vec![0, 32, 61]);
        // Both decode the samples from 28 to 31, a bit more than three of the 33, and a series with two pages costs 110
        // again: 113.1 for 61.
        for series in [1, 16, 32, 500] {
            assert_eq!(cuts(series, true, &slicing(0, 185)), None);
            assert_eq!(cuts(series, true, &slicing(0, 186)), at_32);
        }
        assert_eq!(cuts(32, true, &slicing(61 * 16, 200)), at_32);
        assert_eq!(cuts(32, true, &slicing(61 * 16 + 1, 200)), None);
    }

    #[test]
    fn samples_in_many_windows_count_for_more() {
        let cuts = |slicing: &Slicing| cuts_with(1, 1, true, slicing).is_some();
        // Each lies in four windows more, which makes 85.4 of 61: to these 113.1 are added.
        assert_eq!(
            [132, 133].map(|percent| cuts(&slicing(0, percent))),
            [false, true]
        );
        assert_eq!([42, 43].map(|min| cuts(&slicing(min, 200))), [true, false]);
    }

    #[test]
    fn what_every_slice_reads_is_not_cut() {
        // Both read the 28 samples, and 110 are added: 138 for 28.
        assert_eq!(cuts(1, false, &slicing(0, 492)), None);
        assert_eq!(cuts(1, false, &slicing(0, 493)), Some(vec![0, 30, 61]));
        assert_eq!(cuts(0, true, &slicing(1, u64::MAX)), None);
    }
}
