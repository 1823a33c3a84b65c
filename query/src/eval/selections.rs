//! What a query reads, selected before it is evaluated: so that its cost can be told, and that slices of it share the
//! series with their labels.

use std::sync::{Arc, OnceLock};

use narthex_storage::{Matcher, Selection, TimeRange, Timestamp};

use super::{Evaluation, selector::has_metadata};
use crate::{
    QueryError,
    parser::{Expr, VectorSelector},
};

/// Series that were selected ahead, for whoever selects the same ones in the same time or a part of it.
#[derive(Clone, Default)]
pub(super) struct Selections(Vec<Arc<Made>>);

/// See [`Selections`].
pub(super) struct Made {
    matchers: Box<[Matcher]>,
    range: TimeRange,
    pub(super) selection: Arc<dyn Selection>,
    has_metadata: OnceLock<bool>,
}

impl Made {
    /// See [`has_metadata`]; looked up once.
    pub(super) fn has_metadata(&self) -> bool {
        let look = || has_metadata(&*self.selection);
        *self.has_metadata.get_or_init(look)
    }
}

impl Selections {
    /// Whether one of them has a series for which [`has_metadata`].
    pub(super) fn have_metadata(&self) -> bool {
        self.0.iter().any(|made| made.has_metadata())
    }

    /// The series that pass, if they were selected for this time; some may have no sample in it.
    pub(super) fn find(&self, matchers: &[Matcher], range: TimeRange) -> Option<&Arc<Made>> {
        let covers = |made: &TimeRange| made.min <= range.min && range.max <= made.max;
        let mut made = self.0.iter();
        made.find(|made| covers(&made.range) && *made.matchers == *matchers)
    }
}

/// A selector's part in a query.
pub(super) struct Read<'e> {
    pub(super) selector: &'e VectorSelector,
    /// What is read for all steps.
    pub(super) range: TimeRange,
    /// What is read for the first one.
    pub(super) first: TimeRange,
}

impl Evaluation<'_> {
    /// Every selector of a steady expression with what it reads over the grid from `start` to `end`.
    pub(super) fn reads<'e>(
        &self,
        expr: &'e Expr,
        (start, end): (Timestamp, Timestamp),
    ) -> Result<Vec<Read<'e>>, QueryError> {
        let mut reads = Vec::new();
        self.visit_reads(expr, (start, end), &mut |selector, range| {
            reads.extend(selector.map(|selector| Read {
                selector,
                range,
                first: range,
            }));
        })?;
        let mut firsts = Vec::new();
        self.visit_reads(expr, (start, start), &mut |_, range| firsts.push(range))?;
        for (read, first) in reads.iter_mut().zip(firsts) {
            read.first = first;
        }
        Ok(reads)
    }

    /// Selects the series of a read, once for all that are the same.
    pub(super) fn select_ahead(&mut self, read: &Read<'_>) -> Result<Arc<Made>, QueryError> {
        let matchers = &read.selector.matchers;
        if let Some(made) = self.selections.find(matchers, read.range) {
            return Ok(Arc::clone(made));
        }
        let selection = self.select_now(matchers, read.range)?;
        let made = Arc::new(Made {
            matchers: matchers.as_slice().into(),
            range: read.range,
            selection,
            has_metadata: OnceLock::new(),
        });
        self.selections.0.push(Arc::clone(&made));
        Ok(made)
    }
}
