//! The series that one rule writes: one row an evaluation.
//!
//! Each rule is a target of the store of its own, for the rules of a group write at the same time and
//! see each other's results. What is in a rule's row and not in its next gets a staleness marker
//! from the store; an evaluation that fails writes no row, so its series go on.

use std::collections::HashMap;

use narthex_query::SampleValue;
use narthex_storage::{
    AppendError, Appendable, Column, Labels, Refusal, RowBuilder, TargetAppender, TargetKey,
    Timestamp,
};

/// A column that no row needed for so many rows is given up.
const IDLE_ROWS_MAX: u64 = 10;

/// Writes a rule's rows.
#[derive(Default)]
pub(crate) struct Output {
    appender: Option<Box<dyn TargetAppender>>,
    columns: HashMap<Labels, Place, foldhash::fast::RandomState>,
    /// The number of the newest row.
    row_number: u64,
    row: RowBuilder,
    /// The series of the row that is being filled: numbers, then native histograms.
    filled: Vec<Labels>,
}

struct Place {
    column: Column,
    /// The newest row that has it.
    row_number: u64,
}

impl Output {
    /// Writes the row of `samples` at `time`; no series comes twice. Returns what was refused.
    pub(crate) fn write(
        &mut self,
        store: &dyn Appendable,
        key: &TargetKey,
        time: Timestamp,
        samples: &[(Labels, SampleValue)],
    ) -> Result<Vec<(Labels, Refusal)>, AppendError> {
        if self.appender.is_none() {
            self.appender = Some(store.target(key)?);
        }
        let appender = self.appender.as_mut().expect("was just set");
        let mut refused = Vec::new();
        self.row.begin(time);
        self.filled.clear();
        let mut filled_histograms = Vec::new();
        let row_number = self.row_number + 1;
        for (labels, value) in samples {
            let column = match self.columns.get_mut(labels) {
                Some(place) => {
                    place.row_number = row_number;
                    place.column
                }
                None => match appender.column(labels) {
                    Ok(column) => {
                        let place = Place { column, row_number };
                        self.columns.insert(labels.clone(), place);
                        column
                    }
                    Err(refusal) => {
                        refused.push((labels.clone(), refusal));
                        continue;
                    }
                },
            };
            match value {
                SampleValue::Float(value) => {
                    self.row.set(column, *value);
                    self.filled.push(labels.clone());
                }
                SampleValue::Histogram(histogram) => {
                    self.row.histogram(column, &histogram.to_stored());
                    filled_histograms.push(labels.clone());
                }
            }
        }
        // The store counts what it refuses in this order.
        self.filled.append(&mut filled_histograms);
        if self.filled.is_empty() && self.columns.is_empty() {
            return Ok(refused);
        }
        let commit = appender.commit(&mut self.row)?;
        self.row_number = row_number;
        for (index, refusal) in commit.refused {
            if let Some(labels) = self.filled.get(index as usize) {
                refused.push((labels.clone(), refusal));
            }
        }
        if self.columns.len() > self.filled.len() {
            self.columns.retain(|_, place| {
                let keep = row_number - place.row_number < IDLE_ROWS_MAX;
                if !keep {
                    appender.retire(place.column);
                }
                keep
            });
        }
        Ok(refused)
    }

    /// The series of the newest row, which nobody marks stale any more; the target is let go.
    pub(crate) fn abandon(&mut self) -> Vec<Labels> {
        self.appender = None;
        let row_number = self.row_number;
        self.columns
            .drain()
            .filter(|(_, place)| place.row_number == row_number)
            .map(|(labels, _)| labels)
            .collect()
    }
}
