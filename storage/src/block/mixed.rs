//! The samples of a series that has native histograms, put into pages: each of one kind, and of one layout.

use super::{BlockWriter, Positions};
use crate::{
    HistogramColumns, Timestamp,
    codec::{PackedHistogram, VALUES_MAX, rows_of_page},
    error::IoError,
};

/// A sample of either kind.
#[derive(Debug, Clone)]
pub(crate) enum MixedValue {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(PackedHistogram),
}

impl MixedValue {
    /// Whether a sample can stand in one page, or run, with those of which this is the first.
    pub(crate) fn is_like(&self, first: &Self) -> bool {
        match (self, first) {
            (Self::Float(_), Self::Float(_)) => true,
            (Self::Histogram(histogram), Self::Histogram(first)) => histogram.is_like(first),
            _ => false,
        }
    }
}

/// The longest stretches of samples that can stand in one page or run.
pub(crate) fn alike(
    mut samples: &[(Timestamp, MixedValue)],
) -> impl Iterator<Item = &[(Timestamp, MixedValue)]> {
    std::iter::from_fn(move || {
        let (_, first) = samples.first()?;
        let mut together = samples.iter().take_while(|(_, value)| value.is_like(first));
        let (now, later) = samples.split_at(together.by_ref().count());
        samples = later;
        Some(now)
    })
}

impl BlockWriter<'_> {
    /// Writes the samples of a series: of each time the first, in any order of times.
    ///
    /// # Errors
    /// [`IoError`]; the block cannot be finished then.
    pub(crate) fn mixed(
        &mut self,
        series: u32,
        mut samples: Vec<(Timestamp, MixedValue)>,
    ) -> Result<(), IoError> {
        samples.sort_by_key(|(time, _)| *time);
        samples.dedup_by_key(|(time, _)| *time);
        let mut times: Vec<Timestamp> = Vec::new();
        let mut floats: Vec<f64> = Vec::new();
        let mut columns = HistogramColumns::default();
        for run in alike(&samples) {
            for (index, (time, value)) in run.iter().enumerate() {
                times.push(*time);
                let rows_max = match value {
                    MixedValue::Float(value) => {
                        floats.push(*value);
                        VALUES_MAX
                    }
                    MixedValue::Histogram(packed) => {
                        columns.push(&packed.histogram());
                        rows_of_page(&columns)
                    }
                };
                if index + 1 < run.len() && times.len() < rows_max {
                    continue;
                }
                let column = self.times(&times)?;
                let positions = Positions::From(0);
                if columns.is_empty() {
                    self.page(series, column, positions, &floats)?;
                } else {
                    self.histograms(series, column, positions, &columns)?;
                }
                times.clear();
                floats.clear();
                columns = HistogramColumns::default();
            }
        }
        Ok(())
    }
}
