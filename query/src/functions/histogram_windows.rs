//! Functions of one window of one series that has native histograms in it, and maybe numbers too.
//!
//! **Source**: which functions combine histograms, which pass over them, and what is said about a window of
//! both kinds, as in Prometheus 3.14.

use std::sync::Arc;

use narthex_storage::ResetHint;

use super::{
    FunctionId, Kernel,
    over_time::Window,
    range_kernel,
    rate::{Change, Stretch},
    start_times::{begins_anew, factor_since_zero, has_overlap, zero_within},
};
use crate::{
    FloatHistogram,
    annotations::{Operation, Remark},
    eval::RangeRow,
    histogram::{HistogramSum, IncompatibleSchema},
    parser::Edges,
};

/// The value of a function over a window.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// No sample.
    Nothing,
    /// A number.
    Float(f64),
    /// A histogram.
    Histogram(FloatHistogram),
}

impl From<Option<f64>> for Outcome {
    fn from(value: Option<f64>) -> Self {
        value.map_or(Self::Nothing, Self::Float)
    }
}

/// A window with at least one histogram.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mixed<'w, 'r> {
    pub(crate) row: &'w RangeRow<'r>,
    /// Its samples: `low..high` of the row's.
    pub(crate) bounds: (usize, usize),
    /// Where the window ends.
    pub(crate) end: i64,
    /// The evaluation time in milliseconds.
    pub(crate) time: i64,
    /// The scalar arguments at this step, in order.
    pub(crate) params: [f64; 2],
}

impl<'r> Mixed<'_, 'r> {
    pub(super) fn name(&self) -> &'r str {
        self.row.labels.metric_name()
    }

    fn count(&self) -> usize {
        self.bounds.1 - self.bounds.0
    }

    /// Every sample: its time, and its number unless it is a histogram.
    fn samples(
        &self,
    ) -> impl DoubleEndedIterator<Item = (i64, Result<&'r Arc<FloatHistogram>, f64>)> {
        let row = self.row;
        (self.bounds.0..self.bounds.1).map(move |index| {
            let sample = row.histogram(index).ok_or_else(|| row.values[index]);
            (row.times[index], sample)
        })
    }

    fn histograms(&self) -> impl Iterator<Item = &'r Arc<FloatHistogram>> {
        self.samples().filter_map(|(_, sample)| sample.ok())
    }

    pub(super) fn has_numbers(&self) -> bool {
        self.samples().any(|(_, sample)| sample.is_err())
    }

    /// The value of a function over the window.
    pub(crate) fn value(&self, id: FunctionId, remarks: &mut Vec<Remark<'r>>) -> Outcome {
        match id {
            FunctionId::Rate => self.any_change(Change::Rate, remarks),
            FunctionId::Increase => self.any_change(Change::Increase, remarks),
            FunctionId::Delta => self.any_change(Change::Delta, remarks),
            FunctionId::Irate => self.last_change(true, remarks),
            FunctionId::Idelta => self.last_change(false, remarks),
            FunctionId::SumOverTime => self.sum(HistogramSum::sum_of, remarks),
            FunctionId::AvgOverTime => self.sum(HistogramSum::mean_of, remarks),
            FunctionId::CountOverTime => Outcome::Float(self.count() as f64),
            FunctionId::PresentOverTime => Outcome::Float(1.0),
            FunctionId::FirstOverTime => outcome(self.samples().next()),
            FunctionId::LastOverTime => outcome(self.samples().next_back()),
            FunctionId::TsOfFirstOverTime => self.time_of(self.bounds.0),
            FunctionId::TsOfLastOverTime => self.time_of(self.bounds.1 - 1),
            FunctionId::Resets => self.count_pairs(
                true,
                |before, after| after < before,
                |before, after| after.is_reset_after(before),
            ),
            FunctionId::Changes => self.count_pairs(
                false,
                |before, after| before != after && !(before.is_nan() && after.is_nan()),
                |before, after| !after.is_same_as(before),
            ),
            _ => self.of_numbers(id, remarks),
        }
    }

    /// What knows of numbers alone.
    fn of_numbers(&self, id: FunctionId, remarks: &mut Vec<Remark<'r>>) -> Outcome {
        let (times, values): (Vec<i64>, Vec<f64>) = self
            .samples()
            .filter_map(|(time, sample)| Some((time, sample.err()?)))
            .unzip();
        if values.is_empty() {
            return Outcome::Nothing;
        }
        remarks.push(Remark::IgnoredInRange(self.name()));
        let Some(Kernel::Window(kernel)) = range_kernel(id) else {
            return Outcome::Nothing;
        };
        kernel(Window {
            times: &times,
            values: &values,
            time: self.time,
            params: self.params,
        })
        .into()
    }

    fn time_of(&self, index: usize) -> Outcome {
        Outcome::Float(self.row.times[index] as f64 / 1000.0)
    }

    /// Whether a sample counts from zero after the one before it, as their start timestamps say; `index` is
    /// that in the window, above 0.
    fn begins_anew(&self, index: usize) -> bool {
        begins_anew(self.row, self.bounds.0 + index)
    }

    /// How many neighbours differ in a certain way; those of two kinds do, and where `counts_starts` those of
    /// which the second counts from zero.
    fn count_pairs(
        &self,
        counts_starts: bool,
        floats: impl Fn(f64, f64) -> bool,
        histograms: impl Fn(&FloatHistogram, &FloatHistogram) -> bool,
    ) -> Outcome {
        let pairs = self.samples().zip(self.samples().skip(1)).enumerate();
        let differing = pairs.filter(|(index, ((_, before), (_, after)))| {
            (counts_starts && self.begins_anew(index + 1))
                || match (before, after) {
                    (Err(before), Err(after)) => floats(*before, *after),
                    (Ok(before), Ok(after)) => histograms(before, after),
                    _ => true,
                }
        });
        Outcome::Float(differing.count() as f64)
    }

    fn sum(
        &self,
        begin: fn(&FloatHistogram) -> HistogramSum,
        remarks: &mut Vec<Remark<'r>>,
    ) -> Outcome {
        if self.has_numbers() {
            remarks.push(Remark::MixedKinds(self.name()));
            return Outcome::Nothing;
        }
        let mut histograms = self.histograms();
        let Some(first) = histograms.next() else {
            return Outcome::Nothing;
        };
        let mut sum = begin(first);
        for histogram in histograms {
            if sum.add(histogram).is_err() {
                remarks.push(Remark::MixedSchemas(self.name()));
                return Outcome::Nothing;
            }
        }
        let seen = sum.seen.remarks();
        if seen.resets_collide {
            remarks.push(Remark::ResetsCollide(Operation::Aggregation));
        }
        if seen.bounds_reconciled {
            remarks.push(Remark::BoundsReconciled(Operation::Aggregation));
        }
        Outcome::Histogram(sum.finish())
    }

    /// The change between the last two samples.
    fn last_change(&self, is_rate: bool, remarks: &mut Vec<Remark<'r>>) -> Outcome {
        let mut newest = self.samples().rev();
        let (Some((last_time, last)), Some((before_time, before))) = (newest.next(), newest.next())
        else {
            return Outcome::Nothing;
        };
        let seconds = (last_time - before_time) as f64 / 1000.0;
        let anew = is_rate && self.begins_anew(self.count() - 1);
        match (last, before) {
            (Err(last), Err(before)) => {
                let rise = if anew || (is_rate && last < before) {
                    last
                } else {
                    last - before
                };
                Outcome::Float(if is_rate { rise / seconds } else { rise })
            }
            (Ok(last), Ok(before)) => {
                let hints = [last.reset_hint, before.reset_hint];
                if is_rate && hints.contains(&ResetHint::Gauge) {
                    remarks.push(Remark::NotCounter(self.name()));
                }
                if !is_rate && hints != [ResetHint::Gauge; 2] {
                    remarks.push(Remark::NotGauge(self.name()));
                }
                let mut change = (**last).clone();
                if !is_rate || !(anew || last.is_reset_after(before)) {
                    match change.subtract(before) {
                        Err(IncompatibleSchema) => {
                            remarks.push(Remark::MixedSchemas(self.name()));
                            return Outcome::Nothing;
                        }
                        Ok(addition) if addition.bounds_reconciled => {
                            remarks.push(Remark::BoundsReconciled(Operation::Subtraction));
                        }
                        Ok(_) => {}
                    }
                }
                change.reset_hint = ResetHint::Gauge;
                let change = change.compact();
                Outcome::Histogram(if is_rate {
                    change.divided(seconds)
                } else {
                    change
                })
            }
            _ => {
                remarks.push(Remark::MixedKinds(self.name()));
                Outcome::Nothing
            }
        }
    }

    fn any_change(&self, change: Change, remarks: &mut Vec<Remark<'r>>) -> Outcome {
        match self.row.edges {
            Edges::Plain => self.change(change, remarks),
            Edges::Anchored | Edges::Smoothed => self.extended_change(change, remarks),
        }
    }

    /// The change over the window, extrapolated to its edges.
    fn change(&self, change: Change, remarks: &mut Vec<Remark<'r>>) -> Outcome {
        if self.has_numbers() {
            remarks.push(Remark::MixedKinds(self.name()));
            return Outcome::Nothing;
        }
        let (low, high) = self.bounds;
        let is_counter = change != Change::Delta;
        let zero = zero_within(self.row, low, self.end).filter(|_| is_counter);
        let histograms: Vec<&FloatHistogram> =
            self.histograms().map(|histogram| &**histogram).collect();
        let rise = match (&histograms[..], zero) {
            ([only], Some(_)) => Some((*only).clone()),
            ([_], None) => None,
            (_, zero) => self
                .rise(&histograms, is_counter, remarks)
                .and_then(|mut rise| {
                    if zero.is_some() {
                        let sum = rise.add(histograms[0]);
                        self.combine(sum, Operation::Addition, remarks)?;
                    }
                    Some(rise)
                }),
        };
        let Some(rise) = rise else {
            return Outcome::Nothing;
        };
        let stretch = Stretch {
            first_time: self.row.times[low],
            last_time: self.row.times[high - 1],
            intervals: high - 1 - low,
            end: self.end,
            range_ms: self.row.range_ms,
        };
        let factor = match zero {
            Some(zero) => factor_since_zero(stretch, change, zero),
            None => stretch.factor(change, histograms[0].count, rise.count),
        };
        Outcome::Histogram(rise.scaled(factor))
    }

    /// The last histogram less the first, and with what a counter lost in resets.
    fn rise(
        &self,
        histograms: &[&FloatHistogram],
        is_counter: bool,
        remarks: &mut Vec<Remark<'r>>,
    ) -> Option<FloatHistogram> {
        let name = self.name();
        let (first, last) = (histograms[0], histograms[histograms.len() - 1]);
        let is_gauge = |histogram: &FloatHistogram| histogram.reset_hint == ResetHint::Gauge;
        let said_before = remarks.len();
        if is_counter && histograms.iter().any(|histogram| is_gauge(histogram)) {
            remarks.push(Remark::NotCounter(name));
        }
        // A first histogram that a reset follows says nothing, not even by its buckets.
        let begins_anew =
            is_counter && (self.begins_anew(1) || histograms[1].is_reset_after(first));
        let empty;
        let first = if begins_anew {
            empty = FloatHistogram {
                schema: histograms[1].schema,
                custom_bounds: Arc::clone(&histograms[1].custom_bounds),
                ..FloatHistogram::default()
            };
            &empty
        } else {
            first
        };
        let within = &histograms[1..histograms.len() - 1];
        let mut schema = first.schema.min(last.schema);
        let is_of_another_kind =
            |other: &FloatHistogram| other.has_custom_bounds() != first.has_custom_bounds();
        if is_of_another_kind(last) {
            remarks.push(Remark::MixedSchemas(name));
            return None;
        }
        if is_counter {
            if within.iter().any(|histogram| is_of_another_kind(histogram)) {
                // Then nothing else is said.
                remarks.truncate(said_before);
                remarks.push(Remark::MixedSchemas(name));
                return None;
            }
            let schemas = within.iter().map(|histogram| histogram.schema);
            schema = schemas.fold(schema, i8::min);
        }
        let mut rise = last.reduced(schema);
        self.combine(rise.subtract(first), Operation::Subtraction, remarks)?;
        if is_counter {
            if has_overlap(self.row, self.bounds) {
                remarks.push(Remark::StartsOverlap(name));
            }
            let mut before = first;
            for (index, histogram) in histograms.iter().enumerate().skip(1) {
                if self.begins_anew(index) || histogram.is_reset_after(before) {
                    self.combine(rise.add(before), Operation::Addition, remarks)?;
                }
                before = histogram;
            }
        } else if !is_gauge(histograms[0]) || !is_gauge(last) {
            remarks.push(Remark::NotGauge(name));
        }
        rise.reset_hint = ResetHint::Gauge;
        Some(rise.compact())
    }

    /// Says what is to be said about a sum or difference; nothing when there is none.
    pub(super) fn combine(
        &self,
        done: Result<crate::histogram::Addition, IncompatibleSchema>,
        operation: Operation,
        remarks: &mut Vec<Remark<'r>>,
    ) -> Option<()> {
        match done {
            Ok(addition) => {
                if addition.bounds_reconciled {
                    remarks.push(Remark::BoundsReconciled(operation));
                }
                Some(())
            }
            Err(IncompatibleSchema) => {
                remarks.push(Remark::MixedSchemas(self.name()));
                None
            }
        }
    }
}

/// A sample as it is.
fn outcome(sample: Option<(i64, Result<&Arc<FloatHistogram>, f64>)>) -> Outcome {
    match sample {
        Some((_, Ok(histogram))) => Outcome::Histogram((**histogram).clone()),
        Some((_, Err(value))) => Outcome::Float(value),
        None => Outcome::Nothing,
    }
}
