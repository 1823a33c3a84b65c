//! `rate`, `increase` and `delta`, `changes` and `resets` with `anchored` or `smoothed`: nothing is
//! extrapolated, for the values at the window's edges are known.
//!
//! **Source**: Prometheus's extended range selectors as of 3.14.

use narthex_storage::ResetHint;

use super::{
    histogram_windows::{Mixed, Outcome},
    rate::Change,
};
use crate::{
    FloatHistogram, QueryError,
    annotations::{Operation, Remark},
    eval::{ABSENT, Extent, RangeRow, histogram_between},
    parser::{Edges, Expr, ExprKind},
};

/// Refuses `anchored` and `smoothed` for functions that samples outside of the window would mislead.
pub(super) fn check(function: &str, matrix: &Expr) -> Result<(), QueryError> {
    let ExprKind::MatrixSelector { selector, .. } = &matrix.without_parens().kind else {
        return Ok(());
    };
    let (modifier, functions): (_, &[&str]) = match selector.edges {
        Edges::Plain => return Ok(()),
        Edges::Anchored => (
            "anchored",
            &["changes", "delta", "increase", "rate", "resets"],
        ),
        Edges::Smoothed => ("smoothed", &["delta", "increase", "rate"]),
    };
    if functions.contains(&function) {
        return Ok(());
    }
    Err(QueryError::Execution(format!(
        "{modifier} modifier can only be used with: {} - not with {function}",
        functions.join(", ")
    )))
}

/// The bounds of the windows with the one sample before each that it begins with; empty where no sample
/// lies inside.
pub(super) fn anchored_bounds(row: &RangeRow<'_>) -> Vec<(u32, u32)> {
    let windows = row.bounds.iter().zip(row.ends);
    let anchored = windows.map(|((low, high), end)| {
        let extent = Extent::find(row, (*low as usize, *high as usize), *end);
        extent.map_or((*high, *high), |extent| (extent.first as u32, *high))
    });
    anchored.collect()
}

/// Fills `out` with the change of numbers in each step's window.
pub(super) fn column(change: Change, row: &RangeRow<'_>, out: &mut [f64]) {
    for ((cell, (low, high)), end) in out.iter_mut().zip(row.bounds).zip(row.ends) {
        let extent = Extent::find(row, (*low as usize, *high as usize), *end);
        *cell = extent.map_or(ABSENT, |extent| {
            let rise = rise(&extent, row.values, change != Change::Delta);
            if change == Change::Rate {
                rise / seconds(row.range_ms)
            } else {
                rise
            }
        });
    }
}

fn seconds(range_ms: i64) -> f64 {
    range_ms as f64 / 1000.0
}

fn rise(extent: &Extent<'_>, values: &[f64], is_counter: bool) -> f64 {
    let (left, right) = extent.edge_numbers(values, is_counter);
    let mut lost = 0.0;
    if is_counter {
        let mut before = left;
        for value in values[extent.inside()].iter().chain([&right]) {
            if *value < before {
                lost += before;
            }
            before = *value;
        }
    }
    right - left + lost
}

impl<'r> Mixed<'_, 'r> {
    /// The change of histograms over the window.
    pub(super) fn extended_change(&self, change: Change, remarks: &mut Vec<Remark<'r>>) -> Outcome {
        if self.has_numbers() {
            remarks.push(Remark::MixedKinds(self.name()));
            return Outcome::Nothing;
        }
        let extent = Extent::find(self.row, self.bounds, self.end);
        match extent.and_then(|extent| self.extended_rise(&extent, change, remarks)) {
            Some(rise) => Outcome::Histogram(rise),
            None => Outcome::Nothing,
        }
    }

    fn extended_rise(
        &self,
        extent: &Extent<'r>,
        change: Change,
        remarks: &mut Vec<Remark<'r>>,
    ) -> Option<FloatHistogram> {
        let is_counter = change != Change::Delta;
        let first = self.row.histogram(extent.first)?;
        for index in extent.first..=extent.last {
            let histogram = self.row.histogram(index)?;
            if histogram.has_custom_bounds() != first.has_custom_bounds() {
                remarks.push(Remark::MixedSchemas(self.name()));
                return None;
            }
            if is_counter && histogram.reset_hint == ResetHint::Gauge {
                remarks.push(Remark::NotCounter(self.name()));
            }
        }
        let mut edge = |around, sample, time| self.edge(around, sample, time, is_counter, remarks);
        let left = edge(extent.around_start(), extent.first, extent.start)?;
        let right = edge(extent.around_end(), extent.last, extent.end)?;
        let is_gauge = |histogram: &FloatHistogram| histogram.reset_hint == ResetHint::Gauge;
        if !is_counter && [&left, &right].into_iter().any(|edge| !is_gauge(edge)) {
            remarks.push(Remark::NotGauge(self.name()));
        }
        let mut rise = right.clone();
        self.combine(rise.subtract(&left), Operation::Subtraction, remarks)?;
        if is_counter {
            self.add_lost(&mut rise, extent, (&left, &right), remarks)?;
        }
        if change == Change::Rate {
            rise = rise.divided(seconds(self.row.range_ms));
        }
        rise.reset_hint = ResetHint::Gauge;
        Some(rise.compact())
    }

    /// The histogram at an edge.
    fn edge(
        &self,
        around: Option<(usize, usize)>,
        sample: usize,
        time: i64,
        is_counter: bool,
        remarks: &mut Vec<Remark<'r>>,
    ) -> Option<FloatHistogram> {
        let Some((before, after)) = around else {
            return self
                .row
                .histogram(sample)
                .map(|histogram| (**histogram).clone());
        };
        let at = |index: usize| Some((self.row.times[index], &**self.row.histogram(index)?));
        let between = histogram_between(at(before)?, at(after)?, time, is_counter, remarks);
        if between.is_err() {
            remarks.push(Remark::MixedSchemas(self.name()));
        }
        between.ok()
    }

    /// Adds what a counter lost in its resets inside the window. The reset that the value at the window's
    /// start lies behind is no loss of the window's.
    fn add_lost(
        &self,
        rise: &mut FloatHistogram,
        extent: &Extent<'r>,
        (left, right): (&FloatHistogram, &FloatHistogram),
        remarks: &mut Vec<Remark<'r>>,
    ) -> Option<()> {
        let mut before = left;
        let mut next = extent.first + 1;
        if let Some((outer, inner)) = extent.around_start() {
            let inner = self.row.histogram(inner)?;
            if inner.is_reset_after(self.row.histogram(outer)?) {
                before = inner;
                next += 1;
            }
        }
        // Nothing is left when both edges lie on one stretch between two samples, or on one sample.
        let mut lost: Option<FloatHistogram> = None;
        for index in next..=extent.last {
            let histogram = if index == extent.last {
                right
            } else {
                self.row.histogram(index)?
            };
            if histogram.is_reset_after(before) {
                match &mut lost {
                    Some(lost) => self.combine(lost.add(before), Operation::Addition, remarks)?,
                    None => lost = Some(before.clone()),
                }
            }
            before = histogram;
        }
        match lost {
            Some(lost) => self.combine(rise.add(&lost), Operation::Addition, remarks),
            None => Some(()),
        }
    }
}
