//! Memory that a query would take is foreseen from what is selected and where its samples lie: what there is no room
//! for is refused before it is read.
//!
//! A vector that is held whole takes a number a series and step; the samples of a range vector that is asked for
//! directly take what they do. What streams on into an aggregation takes nothing here.

use narthex_storage::{Selection, Shape, TimeRange, Timestamp};

use super::Evaluation;
use crate::QueryError;

/// What a cell takes, in bytes.
const CELL_BYTES: u64 = 8;
/// Every so many rows it is looked whether they are too many.
const LOOK_EVERY: u64 = 1024;

impl Evaluation<'_> {
    /// Evaluates something whose rows are all held.
    pub(crate) fn keeping_rows<T>(&mut self, evaluate: impl FnOnce(&mut Self) -> T) -> T {
        self.with_rows_kept(true, evaluate)
    }

    /// Evaluates something whose rows are held or not, whatever becomes of those of the node above.
    pub(super) fn with_rows_kept<T>(
        &mut self,
        are_kept: bool,
        evaluate: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let outer = std::mem::replace(&mut self.keeps_rows, are_kept);
        let value = evaluate(self);
        self.keeps_rows = outer;
        value
    }

    /// Refuses the rows of a selection, if they are held and there is no room for them. Every series with a sample in
    /// `range` has a row when the windows of the steps, each `window_ms` long, leave no time out.
    pub(super) fn foresee_rows(
        &self,
        selection: &dyn Selection,
        range: TimeRange,
        window_ms: i64,
        times: &[Timestamp],
    ) -> Result<(), QueryError> {
        let budget = self.context.budget;
        let row_bytes = (times.len() as u64).saturating_mul(CELL_BYTES);
        let leave_none_out = times
            .first_chunk()
            .is_none_or(|[first, second]| second.saturating_sub(*first) <= window_ms);
        let series = selection.series().len();
        let has_room = |rows: u64| budget.foresee(rows.saturating_mul(row_bytes));
        if !self.keeps_rows || !leave_none_out || has_room(series as u64).is_ok() {
            return Ok(());
        }
        let mut scan = selection.scan(range, budget);
        let mut rows = 0;
        for index in 0..series {
            if !matches!(self.seek(&mut *scan, index)?, Shape::Empty) {
                rows += 1;
            }
            if rows % LOOK_EVERY == 0 || index + 1 == series {
                has_room(rows).map_err(|error| self.read(error))?;
            }
        }
        Ok(())
    }

    /// Refuses the samples of a selection, of which each takes so many cells, when there is no room for them as far as
    /// pages tell.
    pub(super) fn foresee_samples(
        &self,
        selection: &dyn Selection,
        range: TimeRange,
        cells: u64,
    ) -> Result<(), QueryError> {
        let cells = selection.estimate(range).samples.saturating_mul(cells);
        let foreseen = self
            .context
            .budget
            .foresee(cells.saturating_mul(CELL_BYTES));
        foreseen.map_err(|error| self.read(error))
    }
}
