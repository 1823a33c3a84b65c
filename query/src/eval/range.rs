//! Range vectors: the samples of a series and, at each step, which of them lie in the window.
//!
//! Two sources: a selector with a range, and a subquery, whose inner expression is evaluated over
//! a grid of its own.

use std::{cell::OnceCell, sync::Arc};

use narthex_storage::{Labels, ResetHint, Timestamp};

use crate::{
    FloatHistogram, Grid, QueryError,
    functions::{Extrapolations, TimeSums},
    parser::{Edges, Expr, ExprKind, Subquery, VectorSelector},
};

use super::{
    Evaluation, Frame, HistogramCell, internal, is_absent,
    ledger::WindowSizes,
    selector::{Columns, Reach, Reference, SAMPLES_OF_SEEK, axis_map, has_one_name, remember},
    summaries::{Core, Digest, Need},
    window,
};

/// One series of a range vector.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RangeRow<'r> {
    pub(crate) labels: &'r Labels,
    pub(crate) drop_name: bool,
    /// See [`Row::place`](super::Row::place).
    pub(crate) place: u64,
    /// Timestamps, ascending; no staleness markers.
    pub(crate) times: &'r [Timestamp],
    /// Numbers; of no meaning where there is a histogram.
    pub(crate) values: &'r [f64],
    /// The histograms: nothing, or a cell a sample.
    pub(crate) histograms: &'r [HistogramCell],
    /// `false`: no value is less than the one before it.
    pub(crate) may_fall: bool,
    /// Start timestamps, 0 where none is known: nothing, or one a sample.
    pub(crate) starts: &'r [Timestamp],
    /// What lies in every window between two of the samples, for who asked for no more than this.
    pub(crate) core: Option<&'r Core>,
    /// For each step which samples lie in the window: `low..high`. With `anchored` or `smoothed` also those
    /// around it.
    pub(crate) bounds: &'r [(u32, u32)],
    /// For each step where the window ends (inclusive).
    pub(crate) ends: &'r [Timestamp],
    /// The window's length; it begins after `end - range_ms`.
    pub(crate) range_ms: i64,
    /// What tells of the window's edges.
    pub(crate) edges: Edges,
    /// What depends on timestamps and windows alone.
    pub(crate) of_times: &'r OfTimes,
}

/// What the function of a scan computes from timestamps and windows, once for all series that share them; each
/// cell is filled when it is needed.
#[derive(Debug, Default)]
pub(crate) struct OfTimes {
    pub(crate) extrapolations: OnceCell<Extrapolations>,
    /// Nothing where times lie too far apart.
    pub(crate) time_sums: OnceCell<Option<TimeSums>>,
}

impl<'r> RangeRow<'r> {
    /// A row of no samples and no steps, for tests to put theirs in.
    #[cfg(test)]
    pub(crate) const fn without_samples(labels: &'r Labels, of_times: &'r OfTimes) -> Self {
        Self {
            labels,
            drop_name: false,
            place: 0,
            times: &[],
            values: &[],
            histograms: &[],
            may_fall: true,
            starts: &[],
            core: None,
            bounds: &[],
            ends: &[],
            range_ms: 0,
            edges: Edges::Plain,
            of_times,
        }
    }

    /// The histogram at an index, if that is what the sample is.
    #[inline]
    pub(crate) fn histogram(&self, index: usize) -> Option<&'r Arc<FloatHistogram>> {
        self.histograms.get(index)?.as_ref()
    }

    /// How many samples `low..high` count for.
    pub(crate) fn samples(&self, (low, high): (u32, u32)) -> u64 {
        if self.histograms.is_empty() {
            return u64::from(high - low) + self.core.map_or(0, |core| core.count);
        }
        let one = |index| {
            self.histogram(index)
                .map_or(1, |histogram| histogram.size_samples())
        };
        (low as usize..high as usize).map(one).sum()
    }
}

/// What of a series of a range vector is held once it was looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kept {
    /// So many samples that were computed from its windows.
    Results(u64),
    /// The windows.
    Windows,
}

/// Receives the series of a range vector.
pub(crate) type RangeSink<'s> = dyn FnMut(&RangeRow<'_>) -> Result<Kept, QueryError> + 's;

impl Evaluation<'_> {
    /// Hands the series of a range vector to `sink`, in label order for a selector. With a `need` the sink is content
    /// with rows of which the core is only told.
    pub(crate) fn range_rows(
        &mut self,
        expr: &Expr,
        grid: Grid,
        need: Option<Need>,
        sink: &mut RangeSink<'_>,
    ) -> Result<(), QueryError> {
        match &expr.without_parens().kind {
            ExprKind::MatrixSelector { selector, range } => {
                let range_ms = self.range_ms(range)?;
                self.matrix_selector_rows(selector, range_ms, grid, (0, need), sink)
            }
            ExprKind::Subquery(subquery) => self.subquery_rows(subquery, grid, sink),
            _ => Err(internal("a range vector was expected")),
        }
    }

    /// Hands the series of a selector with their windows to `sink`, which keeps so many cells of each sample.
    /// When they are more than there is room for, as far as pages tell, none is read.
    pub(super) fn matrix_selector_rows(
        &mut self,
        selector: &VectorSelector,
        range_ms: i64,
        grid: Grid,
        (kept_cells, need): (u64, Option<Need>),
        sink: &mut RangeSink<'_>,
    ) -> Result<(), QueryError> {
        let reference = self.reference(&selector.modifiers)?;
        let last = grid.time(grid.steps() - 1);
        let reach = self.reach(selector.edges, range_ms);
        let range = reference.extent(grid.start, last, reach);
        let selection = self.select(&selector.matchers, range)?;
        let budget = self.context.budget;
        if kept_cells > 0 {
            self.foresee_samples(&*selection, range, kept_cells)?;
        }
        let window_ms = reach.back_ms.saturating_add(reach.ahead_ms);
        let ends: Vec<Timestamp> = reference.times(grid).collect();
        self.foresee_rows(&*selection, range, window_ms, &ends)?;
        let mut scan = selection.scan(range, budget);
        let mut columns = Columns::default();
        let mut known = axis_map();
        let mut own = Windows::default();
        let wish = self.wish(need, selector.edges, &ends, reach);
        let mut digest = Digest::default();
        let mut worked = 0;
        for (index, series) in selection.series().iter().enumerate() {
            self.check_after(&mut worked)?;
            worked += SAMPLES_OF_SEEK;
            let shape = self.seek(&mut *scan, index)?;
            let is_digested = match &wish {
                Some(wish) => self.digest(&mut *scan, index, wish, &mut digest)?,
                None => false,
            };
            let core = is_digested.then_some(&digest.core);
            let columns = if is_digested {
                &digest.edges
            } else {
                if !self.decode(&mut *scan, shape, &mut columns)? {
                    continue;
                }
                columns.drop_stale();
                &columns
            };
            let windows = if let Some(key) = columns.key {
                &*remember(&mut known, key, || {
                    let mut windows = Windows::default();
                    windows.fill(&columns.times, &ends, reach);
                    windows
                })
            } else {
                own.fill(&columns.times, &ends, reach);
                own.sizes
                    .add_to_each(core.map_or(0, |core| core.count), ends.len());
                &own
            };
            worked += columns.times.len() as u64 + windows.sizes.total;
            if windows.sizes.total == 0 {
                continue;
            }
            let row = RangeRow {
                labels: &series.labels,
                drop_name: false,
                place: selection.place(index),
                times: &columns.times,
                values: &columns.values,
                histograms: &columns.histograms,
                may_fall: core.is_some() || columns.may_fall,
                starts: &columns.starts,
                core,
                bounds: &windows.bounds,
                ends: &ends,
                range_ms,
                edges: selector.edges,
                of_times: &windows.of_times,
            };
            let kept = sink(&row)?;
            self.look_at_windows(&row, windows.sizes, kept)?;
        }
        Ok(())
    }

    /// The value of a subquery that is asked for directly, with the grid of its steps, if it has any.
    pub(super) fn subquery(
        &mut self,
        subquery: &Subquery,
        grid: Grid,
    ) -> Result<Option<(Frame, Grid)>, QueryError> {
        let (_, inner) = self.plan_subquery(subquery, grid)?;
        if inner.steps() == 0 {
            return Ok(None);
        }
        let (frame, samples) = self.apart(|evaluation| evaluation.vector(&subquery.expr, inner))?;
        self.look_always(samples, grid.steps());
        Ok(Some((frame, inner)))
    }

    #[inline(never)]
    fn subquery_rows(
        &mut self,
        subquery: &Subquery,
        grid: Grid,
        sink: &mut RangeSink<'_>,
    ) -> Result<(), QueryError> {
        let (plan, inner) = self.plan_subquery(subquery, grid)?;
        if inner.steps() == 0 {
            return Ok(());
        }
        let (frame, _) = self.apart(|evaluation| {
            evaluation.finding_resets(false, |evaluation| evaluation.vector(&subquery.expr, inner))
        })?;
        let ends: Vec<Timestamp> = plan.reference.times(grid).collect();
        let reach = self.reach(Edges::Plain, plan.range_ms);
        let mut columns = Columns::default();
        let mut windows = Windows::default();
        for (head, row) in frame.iter() {
            self.check()?;
            columns.times.clear();
            columns.values.clear();
            columns.histograms.clear();
            for (step, cell) in row.floats.iter().enumerate() {
                let histogram = row.histogram(step);
                if is_absent(*cell) && histogram.is_none() {
                    continue;
                }
                columns.times.push(inner.time(step));
                columns
                    .values
                    .push(if histogram.is_some() { 0.0 } else { *cell });
                if !row.histograms.is_empty() {
                    columns.histograms.push(histogram.map(without_hint));
                }
            }
            windows.fill(&columns.times, &ends, reach);
            if windows.sizes.total == 0 {
                continue;
            }
            let row = RangeRow {
                labels: &head.labels,
                drop_name: head.drop_name,
                place: head.place,
                times: &columns.times,
                values: &columns.values,
                histograms: &columns.histograms,
                may_fall: true,
                starts: &[],
                core: None,
                bounds: &windows.bounds,
                ends: &ends,
                range_ms: plan.range_ms,
                edges: Edges::Plain,
                of_times: &windows.of_times,
            };
            let kept = sink(&row)?;
            self.look_at_windows(&row, windows.sizes, kept)?;
        }
        // `absent_over_time` holds a sample where there is something, and answers one where there is nothing.
        let held = self.held().saturating_sub(frame.samples());
        self.settle(held, 0);
        Ok(())
    }

    /// The window of a subquery and the grid of its inner expression: whole multiples of the step
    /// since the epoch, after the left edge of the first window.
    fn plan_subquery(
        &self,
        subquery: &Subquery,
        grid: Grid,
    ) -> Result<(SubqueryPlan, Grid), QueryError> {
        let reference = self.reference(&subquery.modifiers)?;
        let range_ms = self.range_ms(&subquery.range)?;
        let step_ms = match &subquery.step {
            Some(step) => self.range_ms(step)?,
            None => 0,
        };
        // One below a millisecond counts as none, as in Prometheus.
        let step_ms = match step_ms {
            0 => self.options.default_subquery_step.as_millis().max(1) as i64,
            step_ms => step_ms,
        };
        let last = grid.time(grid.steps() - 1);
        let edge = reference.time(grid.start).saturating_sub(range_ms);
        let mut start = step_ms * (edge / step_ms);
        if start <= edge {
            start += step_ms;
        }
        let end = reference.time(last);
        let inner = Grid {
            start,
            end,
            step_ms,
        };
        Ok((
            SubqueryPlan {
                reference,
                range_ms,
            },
            inner,
        ))
    }

    /// Whether the series of a range vector can come out equal once their names are dropped.
    pub(crate) fn names_may_differ(expr: &Expr) -> bool {
        match &expr.without_parens().kind {
            ExprKind::MatrixSelector { selector, .. } => !has_one_name(selector),
            _ => true,
        }
    }
}

struct SubqueryPlan {
    reference: Reference,
    range_ms: i64,
}

/// Which samples lie in the window of each step.
#[derive(Debug, Default)]
struct Windows {
    bounds: Vec<(u32, u32)>,
    sizes: WindowSizes,
    of_times: OfTimes,
}

impl Windows {
    fn fill(&mut self, times: &[Timestamp], ends: &[Timestamp], reach: Reach) {
        let Reach { back_ms, ahead_ms } = reach;
        let ends = ends.iter().map(|end| end.saturating_add(ahead_ms));
        let length_ms = back_ms.saturating_add(ahead_ms);
        window::bounds(times, ends, length_ms, &mut self.bounds);
        self.sizes = WindowSizes::default();
        self.of_times = OfTimes::default();
        for (low, high) in &self.bounds {
            self.sizes.add(u64::from(high - low));
        }
    }
}

/// A histogram of which nothing is known against the one before it: what was known is of another one than that
/// of the step before.
fn without_hint(histogram: &Arc<FloatHistogram>) -> Arc<FloatHistogram> {
    match histogram.reset_hint {
        ResetHint::Unknown | ResetHint::Gauge => Arc::clone(histogram),
        ResetHint::Reset | ResetHint::NoReset => Arc::new(FloatHistogram {
            reset_hint: ResetHint::Unknown,
            ..(**histogram).clone()
        }),
    }
}
