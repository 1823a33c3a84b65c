//! Samples with their start timestamps: the scan of a selection beside that of the siblings of its series.

use super::{scan::StoreScan, selection::StoreSelection};
use crate::{AxisId, Budget, ReadError, Run, Scan, SelectedSeries, Shape, Timestamp, start_times};

/// The siblings of the series of a selection.
#[derive(Debug)]
pub(super) struct Siblings {
    pub(super) selection: StoreSelection,
    /// Of each series of the other selection its index among them.
    of: Vec<Option<u32>>,
}

impl Siblings {
    /// Finds those of `series`; both are in label order. `None`: there is none.
    pub(super) fn new(selection: StoreSelection, series: &[SelectedSeries]) -> Option<Self> {
        let mut siblings = selection.series.iter().enumerate().peekable();
        let mut of = vec![None; series.len()];
        for (own, series) in of.iter_mut().zip(series) {
            let sibling = start_times::sibling_of(&series.labels);
            while siblings
                .next_if(|(_, other)| other.labels < sibling)
                .is_some()
            {}
            let found = siblings.next_if(|(_, other)| other.labels == sibling);
            *own = found.map(|(index, _)| index as u32);
        }
        let is_any = of.iter().any(Option::is_some);
        is_any.then_some(Self { selection, of })
    }
}

/// See the module.
pub(super) struct ScanWithStarts<'a> {
    samples: StoreScan<'a>,
    starts: StoreScan<'a>,
    of: &'a [Option<u32>],
    budget: &'a Budget,
    /// Bytes taken from the budget for what follows.
    charged: u64,
    /// Of the series that was sought: times that have start timestamps, and the start timestamps.
    times: Vec<Timestamp>,
    values: Vec<f64>,
    /// Of the latest run.
    of_run: Vec<Timestamp>,
}

impl<'a> ScanWithStarts<'a> {
    /// `starts` is over the selection of `siblings`.
    pub(super) fn new(
        samples: StoreScan<'a>,
        starts: StoreScan<'a>,
        siblings: &'a Siblings,
        budget: &'a Budget,
    ) -> Self {
        Self {
            samples,
            starts,
            of: &siblings.of,
            budget,
            charged: 0,
            times: Vec::new(),
            values: Vec::new(),
            of_run: Vec::new(),
        }
    }

    fn read_starts(&mut self, sibling: usize) -> Result<(), ReadError> {
        let (Shape::Aligned { len, .. } | Shape::Loose { len_max: len }) =
            self.starts.seek(sibling)?
        else {
            return Ok(());
        };
        // A run has no more of them in it than there are.
        let bytes = u64::from(len) * 24;
        self.budget.charge(bytes)?;
        self.charged = bytes;
        while let Some(run) = self.starts.next_run()? {
            let before = self.times.len();
            self.times.resize(before + run.len(), 0);
            self.values.resize(before + run.len(), 0.0);
            run.times(&mut self.times[before..])?;
            run.values(&mut self.values[before..])?;
        }
        Ok(())
    }
}

impl Drop for ScanWithStarts<'_> {
    fn drop(&mut self) {
        self.budget.release(self.charged);
    }
}

impl Scan for ScanWithStarts<'_> {
    fn seek(&mut self, series: usize) -> Result<Shape, ReadError> {
        self.times.clear();
        self.values.clear();
        self.budget.release(std::mem::take(&mut self.charged));
        let shape = self.samples.seek(series)?;
        if let (Some(sibling), true) = (self.of[series], shape != Shape::Empty) {
            self.read_starts(sibling as usize)?;
        }
        Ok(shape)
    }

    fn next_run(&mut self) -> Result<Option<Run<'_>>, ReadError> {
        let Some(run) = self.samples.next_run()? else {
            return Ok(None);
        };
        if self.times.is_empty() {
            return Ok(Some(run));
        }
        self.of_run.resize(run.len(), 0);
        run.times(&mut self.of_run)?;
        let first = self.of_run.first().copied().unwrap_or_default();
        let mut at = self.times.partition_point(|time| *time < first);
        for time in &mut self.of_run {
            while self.times.get(at).is_some_and(|known| *known < *time) {
                at += 1;
            }
            *time = match self.times.get(at) {
                Some(known) if *known == *time => start_times::of_value(self.values[at]),
                _ => 0,
            };
        }
        Ok(Some(run.with_start_times(&self.of_run)))
    }

    fn axis(&mut self, id: AxisId) -> Result<&[Timestamp], ReadError> {
        self.samples.axis(id)
    }
}
