//! The answer with all samples in one message: a snappy block around it.

use narthex_storage::{
    Budget, Histogram, HistogramColumns, Labels, Queryable, ResetHint, Timestamp,
};
use prost::{Message as _, encoding::encode_varint};

use super::{
    Failure,
    message::{Label, TimeSeries, WireHistogram, WireSample, unless_zero},
    series::{Lookup, Visitor},
};

/// The key of field 1 with a length: a result of the answer, and a series of a result.
const FIELD_1: u8 = 1 << 3 | 2;

/// The body of the answer to some queries.
pub(super) fn body(
    queryable: &dyn Queryable,
    lookups: &[Lookup],
    external: &Labels,
    samples_max: u64,
    budget: &Budget,
) -> Result<Vec<u8>, Failure> {
    let mut message = Vec::new();
    for lookup in lookups {
        let mut result = QueryResult {
            encoded: Vec::new(),
            series: TimeSeries::default(),
            before: None,
            samples: 0,
            samples_max,
            budget,
        };
        lookup.read(queryable, external, budget, &mut result)?;
        message.push(FIELD_1);
        encode_varint(result.encoded.len() as u64, &mut message);
        message.append(&mut result.encoded);
    }
    let compressed = snap::raw::Encoder::new().compress_vec(&message);
    compressed.map_err(|_| Failure::TooLarge(message.len()))
}

/// The answer to one query so far.
struct QueryResult<'a> {
    encoded: Vec<u8>,
    /// The series that is being read.
    series: TimeSeries,
    /// Its newest sample so far, a marker in the place of a number.
    before: Option<Histogram>,
    samples: u64,
    /// 0: any number.
    samples_max: u64,
    budget: &'a Budget,
}

impl QueryResult<'_> {
    fn count(&mut self) -> Result<(), Failure> {
        self.samples += 1;
        if self.samples_max > 0 && self.samples > self.samples_max {
            return Err(Failure::SampleLimit(self.samples_max));
        }
        Ok(())
    }
}

impl Visitor for QueryResult<'_> {
    fn begin(&mut self, labels: Vec<Label>) {
        self.series.labels = labels;
        self.before = None;
    }

    fn float(&mut self, time: Timestamp, value: f64) -> Result<(), Failure> {
        self.count()?;
        self.before = Some(Histogram::stale());
        self.series.samples.push(WireSample {
            value: unless_zero(value),
            timestamp: time,
        });
        Ok(())
    }

    fn histogram(
        &mut self,
        time: Timestamp,
        columns: &HistogramColumns,
        index: usize,
    ) -> Result<(), Failure> {
        self.count()?;
        let mut histogram = columns.get(index);
        // What the store knew may be of another one, with which a late sample has come between.
        if let (ResetHint::NoReset, Some(before)) = (histogram.reset_hint, &self.before) {
            histogram.reset_hint = histogram.hint_after(before);
        }
        self.before = Some(histogram.clone());
        let histogram = WireHistogram::new(time, histogram);
        self.series.histograms.push(histogram);
        Ok(())
    }

    fn end(&mut self) -> Result<(), Failure> {
        let before = self.encoded.len();
        self.encoded.push(FIELD_1);
        encode_varint(self.series.encoded_len() as u64, &mut self.encoded);
        self.series.encode_raw(&mut self.encoded);
        self.series.samples.clear();
        self.series.histograms.clear();
        self.budget.charge((self.encoded.len() - before) as u64)?;
        Ok(())
    }
}
