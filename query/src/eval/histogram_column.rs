//! The histograms of one group of `sum` or `avg` at every step.

use std::sync::Arc;

use narthex_storage::Labels;

use super::{ABSENT, HistogramCell, Row, is_absent};
use crate::{
    annotations::{Operation, Remark, Said},
    histogram::HistogramSum,
};

/// What was added up at a step.
#[derive(Debug, Clone, Default)]
enum State {
    #[default]
    Nothing,
    Sum(Box<HistogramSum>),
    /// Exponential buckets came together with custom bounds; what is to be said about that.
    Incompatible(Said),
}

/// See the module's documentation; nothing is held until a histogram comes.
#[derive(Debug, Default)]
pub(super) struct HistogramColumn {
    states: Vec<State>,
}

impl HistogramColumn {
    /// Adds a row's histograms to the sums or means; what that takes in memory, in cells.
    pub(super) fn add(&mut self, is_mean: bool, labels: &Labels, row: Row<'_>) -> u64 {
        self.states.resize_with(row.steps(), State::default);
        let mut cells = 0;
        for (state, cell) in self.states.iter_mut().zip(row.histograms) {
            let Some(histogram) = cell else { continue };
            match state {
                State::Nothing => {
                    cells += 4 * histogram.size_samples();
                    *state = State::Sum(Box::new(if is_mean {
                        HistogramSum::mean_of(histogram)
                    } else {
                        HistogramSum::sum_of(histogram)
                    }));
                }
                State::Sum(sum) => {
                    if sum.add(histogram).is_err() {
                        let name = labels.metric_name();
                        *state = State::Incompatible(Remark::MixedSchemas(name).say());
                    }
                }
                State::Incompatible(_) => {}
            }
        }
        cells
    }

    /// The results; where numbers were added up too there is none, of either kind.
    pub(super) fn finish(self, floats: &mut [f64], remarks: &mut Vec<Said>) -> Vec<HistogramCell> {
        let results = self.states.into_iter().zip(floats);
        results
            .map(|(state, float)| {
                let is_mixed = !is_absent(*float) && !matches!(state, State::Nothing);
                let sum = match state {
                    State::Nothing => return None,
                    State::Incompatible(said) => {
                        remarks.push(said);
                        None
                    }
                    State::Sum(sum) => {
                        let seen = sum.seen.remarks();
                        if seen.resets_collide {
                            remarks.push(Remark::ResetsCollide(Operation::Aggregation).say());
                        }
                        if seen.bounds_reconciled {
                            remarks.push(Remark::BoundsReconciled(Operation::Aggregation).say());
                        }
                        Some(sum)
                    }
                };
                if is_mixed {
                    remarks.push(Remark::MixedKindsInAggregation.say());
                    *float = ABSENT;
                    return None;
                }
                sum.map(|sum| Arc::new(sum.finish().compact()))
            })
            .collect()
    }
}
