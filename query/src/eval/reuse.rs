//! Range queries that go on from an earlier answer: steps of which nothing can have changed are taken from it, the
//! others are evaluated.
//!
//! A step of an earlier answer holds when everything that its selectors read lies before the oldest sample that came
//! since. Later steps read later times, so those that hold are the first ones. Both parts and the question which
//! hold are of one snapshot. What turns out to depend on other steps while a part is evaluated, errors included, is
//! evaluated whole, as if there were no cache. So is a query about the new steps of which something else is to be said
//! than was said of the earlier answer: which of its steps that was because of is not known.

use std::sync::Arc;

use narthex_storage::Queryable;

use super::{Evaluation, steady::is_steady};
use crate::{
    Answer, Grid, Matrix, QueryError, ResultCache,
    cache::{Key, Known},
    eval::{Annotations, Ledger},
    parser::Expr,
};

impl Evaluation<'_> {
    /// [`Evaluation::range`] with what `cache` has of it, and to go on from.
    pub(crate) fn range_with(
        mut self,
        store: &dyn Queryable,
        expr: &Expr,
        text: &str,
        cache: &ResultCache,
    ) -> Result<Answer<Arc<Matrix>>, QueryError> {
        let grid = self.grid;
        if grid.steps() < 2 || !self.options.features.are_steady() || !is_steady(expr) {
            return Ok(self.range(store, expr, text)?.map(Arc::new));
        }
        self.is_kept = true;
        self.open(store, expr, text)?;
        let version = self.querier.as_ref().and_then(|querier| querier.version());
        let Some(version) = version else {
            let matrix = Arc::new(self.matrix_of(expr)?);
            return Ok(self.answer(matrix, text));
        };
        let key = Key::new(text, grid, self.lookback_ms);
        let is_by_creation = self.is_by_creation();
        let same_order = |known: &Arc<Known>| known.is_by_creation == is_by_creation;
        let known = cache.find(&key, grid.start).filter(same_order);
        if let Some(known) = &known {
            if let Some(matrix) = self.go_on_from(known, expr)? {
                if !known.outlasts(grid) {
                    let notes = self.notes.clone();
                    let known = Known::new(version, is_by_creation, Arc::clone(&matrix), notes);
                    cache.put(key, known);
                }
                cache.count(true);
                return Ok(self.answer(matrix, text));
            }
            self.grid = grid;
            self.notes = Annotations::default();
            self.ledger = Ledger::default();
            self.depends_on_grid.set(false);
        }
        let matrix = Arc::new(self.matrix_of(expr)?);
        cache.count(false);
        if cache.is_worth(&matrix, self.ledger.total()) && self.is_of_any_grid() {
            let notes = self.notes.clone();
            let known = Known::new(version, is_by_creation, Arc::clone(&matrix), notes);
            cache.put(key, known);
        }
        Ok(self.answer(matrix, text))
    }

    /// Whether the series of the snapshot count by their creation.
    fn is_by_creation(&self) -> bool {
        let querier = self.querier.as_ref();
        querier.is_some_and(|querier| querier.is_by_creation())
    }

    /// Whether nothing turned up that depends on other steps.
    fn is_of_any_grid(&self) -> bool {
        self.notes.are_of_any_steps() && !self.depends_on_grid.get()
    }

    /// The answer by way of an earlier one, if that has a step that still holds, and the rest can be evaluated by
    /// itself.
    fn go_on_from(
        &mut self,
        known: &Known,
        expr: &Expr,
    ) -> Result<Option<Arc<Matrix>>, QueryError> {
        let grid = self.grid;
        let (before, steps) = (known.matrix.grid(), grid.steps());
        let earlier = Grid {
            end: grid.start,
            ..before
        };
        let skipped = earlier.steps() - 1;
        let holding = self.holding(known, expr, (before.steps() - skipped).min(steps))?;
        if holding == 0 {
            return Ok(None);
        }
        if before == grid && holding == steps {
            self.notes = known.notes.clone();
            return Ok(Some(Arc::clone(&known.matrix)));
        }
        let old = known.matrix.samples_of(skipped..skipped + holding);
        let evaluated = self.hold(old).and_then(|()| {
            if holding == steps {
                return Ok(None);
            }
            self.grid.start = grid.time(holding);
            self.matrix_of(expr).map(Some)
        });
        self.grid = grid;
        let evaluated = match evaluated {
            // What is said of the steps that are taken over is not known, but it is no more than was said of all.
            Ok(evaluated) if self.is_of_any_grid() && self.notes.says_the_same_as(&known.notes) => {
                evaluated
            }
            Err(error @ (QueryError::Timeout(_) | QueryError::Canceled(_))) => return Err(error),
            // What the whole query says of it may be something else.
            Ok(_) | Err(_) => return Ok(None),
        };
        let taken = skipped..skipped + holding;
        let mut parts = vec![(&*known.matrix, taken)];
        parts.extend(evaluated.iter().map(|rest| (rest, 0..steps - holding)));
        let matrix = Matrix::joined(&parts, grid, self.charger())?;
        Ok(Some(Arc::new(matrix)))
    }

    /// How many of the query's first steps, of at most so many, hold from an earlier answer.
    fn holding(&self, known: &Known, expr: &Expr, steps_max: usize) -> Result<usize, QueryError> {
        let Some(querier) = &self.querier else {
            return Ok(0);
        };
        let changed_from = querier.changed_since(known.version);
        let (mut holding, mut end) = (0, steps_max);
        while holding < end {
            let step = holding + (end - holding) / 2;
            let time = self.grid.time(step);
            let read = self.extent(expr, time, time)?;
            if read.is_none_or(|read| read.max < changed_from) {
                holding = step + 1;
            } else {
                end = step;
            }
        }
        Ok(holding)
    }
}
