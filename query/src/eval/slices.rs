//! Heavy range queries on several processors: the steps are cut into slices of equal length, each is evaluated by a
//! thread of its own, and what they give is strung together.
//!
//! Of a [steady](super::steady) expression the value at a step does not depend on the other steps, so a slice has
//! the bits of the whole: nothing is added in another order. All slices read one snapshot and one selection of
//! series. When something turns up in one of them that may depend on other steps, errors included, all end and the
//! whole is evaluated as if there were no slices, and says what it says of itself. So it is when what is to be said
//! about the slices does not tell what is to be said about the whole.
//!
//! **Limits.** A slice reads [`Slicing::samples_min`](crate::Slicing) samples or more, and all together hardly more
//! than the whole, as far as can be told before anything is read. The samples that the slices ask for, added up, are
//! no fewer than the whole would: what goes beyond the limit so is evaluated whole.

use std::{
    iter,
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use narthex_storage::{Selection, TimeRange};

use super::{Evaluation, Ledger, ledger::Counted, selections::Read, steady::is_steady};
use crate::{Grid, Matrix, Slicing, annotations::Annotations, parser::Expr};

/// What a series costs in each further slice, in samples: it is sought and put into its group again, and a part of a
/// page is read by both.
const SERIES_SAMPLES: u64 = 100;

/// Series are not taken to have samples closer to one another, in milliseconds: what cannot be heavy so is not
/// looked into.
const INTERVAL_MIN_MS: u64 = 5_000;

/// Ends the slices of a query.
#[derive(Debug, Default)]
pub(super) struct Halt(AtomicBool);

impl Halt {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Ends the other slices unless this one came to its end.
struct HaltOnDrop<'h> {
    halt: &'h Halt,
    is_done: bool,
}

impl Drop for HaltOnDrop<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.halt.0.store(true, Ordering::Relaxed);
        }
    }
}

/// What came of a slice.
struct Part {
    matrix: Matrix,
    notes: Annotations,
    counted: Counted,
}

impl Evaluation<'_> {
    /// The values at every step by way of slices, if that is worth it, workers are free, and nothing comes between.
    pub(super) fn matrix_in_slices(&mut self, expr: &Expr) -> Option<Matrix> {
        let slicing = &self.options.slicing;
        let tells_counts = self.context.tells_peak || self.context.tells_steps;
        if slicing.workers.free() == 0
            || self.grid.steps() < 2
            || tells_counts
            || !self.options.features.are_steady()
            || !is_steady(expr)
        {
            return None;
        }
        let further = self.further_slices_max(expr)?;
        let workers = slicing.workers.take(further);
        if workers.count == 0 {
            return None;
        }
        let budget = self.context.budget;
        let taken_bytes = budget.taken_bytes();
        let matrix = self.join_slices(expr, workers.count + 1);
        if matrix.is_none() {
            budget.release(budget.taken_bytes() - taken_bytes);
        }
        matrix
    }

    /// Into how many slices beside the first the query may be cut; `None` when it had better be evaluated whole.
    /// What is selected for it stays.
    fn further_slices_max(&mut self, expr: &Expr) -> Option<usize> {
        let slicing = &self.options.slicing;
        let (grid, steps) = (self.grid, self.grid.steps());
        let reads = self.reads(expr, (grid.start, grid.time(steps - 1))).ok()?;
        let mut costs = Vec::new();
        for read in &reads {
            let made = self.select_ahead(read).ok()?;
            if made.has_metadata {
                return None;
            }
            let series = made.selection.series().len() as u64;
            let samples = series.saturating_mul(length_ms(read.range) / INTERVAL_MIN_MS + 1);
            costs.push(Cost {
                samples,
                series,
                overlap: (overlap_ms(read, grid), length_ms(read.range).max(1)),
                read: (read.range, made.selection),
            });
        }
        let slices = |costs: &[Cost]| further_slices(costs, slicing).min(steps as u64 - 1);
        if slices(&costs) == 0 {
            return None;
        }
        for cost in &mut costs {
            let (range, selection) = &cost.read;
            cost.samples = cost.samples.min(selection.estimate(*range).samples);
        }
        usize::try_from(slices(&costs)).ok()
    }

    /// Evaluates so many slices side by side.
    fn join_slices(&mut self, expr: &Expr, count: usize) -> Option<Matrix> {
        let (grid, steps) = (self.grid, self.grid.steps());
        let first = |slice: usize| slice * steps / count;
        let halt = Halt::default();
        let slices = (0..count).map(|slice| {
            let grid = Grid {
                start: grid.time(first(slice)),
                end: grid.time(first(slice + 1) - 1),
                ..grid
            };
            self.slice(grid, &halt)
        });
        let parts = side_by_side(slices.collect(), expr, &halt)?;
        let counted = parts.iter().fold(Counted::default(), |counted, part| {
            counted.and(&part.counted)
        });
        if !self.can_count(&counted) {
            return None;
        }
        let notes = parts
            .iter()
            .try_fold(self.notes.clone(), |notes, part| notes.joined(&part.notes))?;
        let matrices = parts.iter().map(|part| &part.matrix);
        let matrices: Vec<_> = matrices
            .map(|matrix| (matrix, 0..matrix.grid().steps()))
            .collect();
        let matrix = Matrix::joined(&matrices, grid, self.charger()).ok()?;
        self.count_again(&counted);
        self.notes = notes;
        Some(matrix)
    }

    /// The evaluation of some of the steps.
    fn slice<'s>(&'s self, grid: Grid, halt: &'s Halt) -> Evaluation<'s> {
        Evaluation {
            options: self.options,
            context: self.context,
            grid,
            step_ms: self.step_ms,
            lookback_ms: self.lookback_ms,
            querier: self.querier.clone(),
            selections: self.selections.clone(),
            notes: Annotations::default(),
            finds_resets: false,
            is_kept: true,
            depends_on_grid: false.into(),
            keeps_rows: false,
            ledger: Ledger::default(),
            shared: self.shared.without_values(),
            halt: Some(halt),
        }
    }

    /// Evaluates this slice; `None` when it cannot stand for its steps of the whole.
    fn part(mut self, expr: &Expr, halt: &Halt) -> Option<Part> {
        let mut guard = HaltOnDrop {
            halt,
            is_done: false,
        };
        let matrix = self.matrix_whole(expr).ok()?;
        guard.is_done = !self.depends_on_grid.get();
        guard.is_done.then(|| Part {
            matrix,
            notes: self.notes,
            counted: self.ledger.counted(),
        })
    }
}

/// Evaluates the first slice here and each other one on a thread.
fn side_by_side(slices: Vec<Evaluation<'_>>, expr: &Expr, halt: &Halt) -> Option<Vec<Part>> {
    thread::scope(|scope| {
        let mut slices = slices.into_iter();
        let own = slices.next()?;
        let mut others = Vec::new();
        for slice in slices {
            let thread = thread::Builder::new().name("query-slice".to_owned());
            let Ok(handle) = thread.spawn_scoped(scope, move || slice.part(expr, halt)) else {
                halt.0.store(true, Ordering::Relaxed);
                return None;
            };
            others.push(handle);
        }
        let own = own.part(expr, halt);
        let others = others
            .into_iter()
            .map(|handle| handle.join().unwrap_or_else(|panic| resume_unwind(panic)));
        // All have ended before one of them is looked at.
        let parts: Vec<Option<Part>> = iter::once(own).chain(others).collect();
        parts.into_iter().collect()
    })
}

/// What a selector costs.
struct Cost {
    /// It reads no more.
    samples: u64,
    series: u64,
    /// The part of the time it reads that each further slice reads again.
    overlap: (u64, u64),
    read: (TimeRange, Arc<dyn Selection>),
}

/// How many slices beside the first are worth their cost.
fn further_slices(costs: &[Cost], slicing: &Slicing) -> u64 {
    let (mut whole, mut again) = (0_u128, 0_u128);
    for cost in costs {
        let (overlap, length) = cost.overlap;
        let samples = u128::from(cost.samples);
        whole += samples;
        again += samples * u128::from(overlap) / u128::from(length)
            + u128::from(SERIES_SAMPLES) * u128::from(cost.series);
    }
    let allowed = whole.saturating_mul(slicing.extra_percent_max.into()) / 100;
    let of_extra = allowed.checked_div(again).unwrap_or(u128::MAX);
    let slices = whole.checked_div(slicing.samples_min.into());
    let of_samples = slices.map_or(u128::MAX, |slices| slices.saturating_sub(1));
    of_extra.min(of_samples).min(u64::MAX.into()) as u64
}

fn length_ms(range: TimeRange) -> u64 {
    range.max.saturating_sub(range.min).max(0) as u64
}

/// How much of what is read for the steps before a slice is read for the slice, too.
fn overlap_ms(read: &Read<'_>, grid: Grid) -> u64 {
    let moves = length_ms(read.range).saturating_sub(length_ms(read.first));
    length_ms(read.first).saturating_sub(moves.min(grid.step_ms as u64))
}
