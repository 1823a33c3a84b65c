//! Heavy range queries on several processors: the steps are cut into slices, each is evaluated by a thread of its own,
//! and what they give is strung together.
//!
//! Of a [steady](super::steady) expression the value at a step does not depend on the other steps, so a slice has
//! the bits of the whole: nothing is added in another order. All slices read one snapshot and one selection of
//! series. When something turns up in one of them that may depend on other steps, errors included, all end and the
//! whole is evaluated as if there were no slices, and says what it says of itself. So it is when what is to be said
//! about the slices does not tell what is to be said about the whole.
//!
//! **Limits.** A slice reads [`Slicing::samples_min`](crate::Slicing) samples or more, and all together hardly more
//! than the whole, see [`slice_costs`](super::slice_costs). The samples that the slices ask for, added up, are
//! no fewer than the whole would: what goes beyond the limit so is evaluated whole.

use std::{
    iter,
    panic::resume_unwind,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::{
    Evaluation, Ledger,
    ledger::Counted,
    slice_costs::{SliceCosts, cost_max},
    steady::is_steady,
};
use crate::{Grid, Matrix, annotations::Annotations, parser::Expr};

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
        let costs = self.slice_costs(expr)?;
        let cuts = costs.cuts(slicing.workers.free() + 1, slicing)?;
        if self.selections.have_metadata() {
            return None;
        }
        let workers = slicing.workers.take(cuts.len() - 2);
        let cuts = if workers.count == cuts.len() - 2 {
            cuts
        } else {
            costs.cuts(workers.count + 1, slicing)?
        };
        let budget = self.context.budget;
        let taken_bytes = budget.taken_bytes();
        let matrix = self.join_slices(expr, &cuts);
        if matrix.is_none() {
            budget.release(budget.taken_bytes() - taken_bytes);
        }
        matrix
    }

    /// Selects what the query reads, and tells what slices of it cost; `None` when it is evaluated whole at any cost,
    /// or is not heavy. What is selected stays.
    fn slice_costs(&mut self, expr: &Expr) -> Option<SliceCosts> {
        let grid = self.grid;
        let last = grid.time(grid.steps() - 1);
        let reads = self.reads(expr, (grid.start, last)).ok()?;
        let mut selected = Vec::new();
        let mut cost = 0.0;
        for read in reads {
            let made = self.select_ahead(&read).ok()?;
            cost += cost_max(&read, made.selection.series().len(), grid, self.lookback_ms);
            selected.push((read, made));
        }
        let is_heavy = cost >= 2.0 * self.options.slicing.samples_min as f64;
        let reads = selected.iter().map(|(read, made)| (read, &*made.selection));
        is_heavy.then(|| SliceCosts::new(grid, self.lookback_ms, reads))
    }

    /// Evaluates the steps between each two of the cuts side by side.
    fn join_slices(&mut self, expr: &Expr, cuts: &[usize]) -> Option<Matrix> {
        let grid = self.grid;
        let halt = Halt::default();
        let slices = cuts.windows(2).map(|cuts| {
            let grid = Grid {
                start: grid.time(cuts[0]),
                end: grid.time(cuts[1] - 1),
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
        // Its last check tells whether something depends on other steps.
        let matrix = self.matrix_whole(expr).ok()?;
        guard.is_done = true;
        Some(Part {
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
