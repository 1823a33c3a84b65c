//! Instant selectors with `smoothed`: between two samples the value lies on a straight line.
//!
//! After the last sample its value holds for the lookback; before the first there is none. Where numbers
//! and histograms meet within a lookback on either side there is none either.

use std::sync::Arc;

use narthex_storage::ResetHint;

use super::{
    ABSENT, Evaluation, HistogramCell, Kept, Naming, RangeRow, Row, Sink,
    edges::{histogram_between, is_of_counter, number_between},
};
use crate::{
    FloatHistogram, Grid, QueryError,
    annotations::{Remark, Said},
    parser::VectorSelector,
};

impl Evaluation<'_> {
    /// Hands the rows of a smoothed instant selector to `sink`.
    pub(super) fn smoothed_rows(
        &mut self,
        selector: &VectorSelector,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let steps = grid.steps();
        let mut floats = vec![ABSENT; steps];
        let mut histograms: Vec<HistogramCell> = Vec::new();
        let mut said: Vec<Said> = Vec::new();
        self.matrix_selector_rows(selector, 0, grid, (0, None), &mut |row| {
            let mut remarks = Vec::new();
            histograms.clear();
            if !row.histograms.is_empty() {
                histograms.resize(steps, None);
            }
            for (step, float) in floats.iter_mut().enumerate() {
                *float = ABSENT;
                match value(row, step, &mut remarks) {
                    None => {}
                    Some(Ok(number)) => *float = number,
                    Some(Err(histogram)) => histograms[step] = Some(histogram),
                }
            }
            remarks.dedup();
            said.extend(remarks.iter().map(Remark::say));
            let cells = Row {
                floats: &floats,
                histograms: &histograms,
                place: row.place,
            };
            if cells.is_empty() {
                return Ok(Kept::Results(0));
            }
            sink(row.labels, Naming::Stays, cells)?;
            Ok(Kept::Results(cells.samples()))
        })?;
        for said in said {
            self.notes.say(said, selector.span);
        }
        Ok(())
    }
}

/// The number or histogram at a step.
fn value<'r>(
    row: &RangeRow<'r>,
    step: usize,
    remarks: &mut Vec<Remark<'r>>,
) -> Option<Result<f64, Arc<FloatHistogram>>> {
    let (low, high) = row.bounds[step];
    let (low, high) = (low as usize, high as usize);
    let name = row.labels.metric_name();
    if !row.histograms.is_empty() {
        let mut kinds = row.histograms[low..high].iter().map(Option::is_some);
        let first = kinds.next()?;
        if kinds.any(|kind| kind != first) {
            remarks.push(Remark::MixedKinds(name));
            return None;
        }
    }
    let time = row.ends[step];
    let after = low + row.times[low..high].partition_point(|sample| *sample < time);
    let number = |index: usize| Some(Ok(row.values[index]));
    if after < high && row.times[after] == time {
        return match row.histogram(after) {
            Some(histogram) => Some(Err(Arc::clone(histogram))),
            None => number(after),
        };
    }
    let before = after.checked_sub(1).filter(|before| *before >= low)?;
    if after == high {
        return match row.histogram(before) {
            // The hint told of its sample, not of what holds later.
            Some(histogram) => Some(Err(Arc::new(FloatHistogram {
                reset_hint: ResetHint::Unknown,
                ..(**histogram).clone()
            }))),
            None => number(before),
        };
    }
    let (Some(left), Some(right)) = (row.histogram(before), row.histogram(after)) else {
        let sample = |index: usize| (row.times[index], row.values[index]);
        return Some(Ok(number_between(
            sample(before),
            sample(after),
            time,
            false,
        )));
    };
    let between = histogram_between(
        (row.times[before], left),
        (row.times[after], right),
        time,
        is_of_counter(left, right),
        remarks,
    );
    match between {
        Ok(histogram) => Some(Err(Arc::new(histogram))),
        Err(_) => {
            remarks.push(Remark::MixedSchemas(name));
            None
        }
    }
}
