//! The two doors of the write contract, over a [`Head`].

use std::sync::{Arc, atomic::Ordering};

use super::{
    Bounds, Head,
    commit::{Outcome, Push, Work},
    target::TargetWriter,
};
use crate::{
    AppendError, Appender, Column, Commit, Labels, Refusal, RowBuilder, Sample, SeriesRef,
    TargetAppender, TargetKey,
};

/// Appends rows of one target.
#[derive(Debug)]
pub(crate) struct HeadTargetAppender {
    head: Arc<Head>,
    target: u32,
}

impl HeadTargetAppender {
    pub(crate) fn new(head: &Arc<Head>, key: &TargetKey) -> Result<Self, AppendError> {
        let mut guard = head.state();
        let state = &mut *guard;
        if state.closed {
            return Err(AppendError::Closed);
        }
        let index = match state.by_key.get(key) {
            Some(index) => *index,
            None => {
                let index = state.targets.len() as u32;
                let writer = TargetWriter::new(index, key.clone());
                head.states.add_target(Arc::clone(&writer.target));
                state.targets.push(writer);
                state.by_key.insert(key.clone(), index);
                index
            }
        };
        let writer = &mut state.targets[index as usize];
        if writer.live {
            return Err(AppendError::TargetBusy(key.0.clone()));
        }
        writer.dissolve();
        writer.live = true;
        Ok(Self {
            head: Arc::clone(head),
            target: index,
        })
    }
}

impl TargetAppender for HeadTargetAppender {
    fn column(&mut self, labels: &Labels) -> Result<Column, Refusal> {
        self.head.column(self.target, labels).map(Column)
    }

    fn retire(&mut self, column: Column) {
        let mut state = self.head.state();
        let writer = &mut state.targets[self.target as usize];
        if writer.series_of(column.0).is_some() {
            writer.retired.insert(column.0);
            writer.release_retired();
        }
    }

    fn commit(&mut self, row: &mut RowBuilder) -> Result<Commit, AppendError> {
        let work = Work::Row {
            target: self.target,
            row: std::mem::take(row),
        };
        let (work, outcome) = self.head.commit(work);
        if let Some(Work::Row { row: used, .. }) = work {
            *row = used;
            row.begin(row.time());
        }
        match outcome {
            Outcome::Done(result) => result,
            Outcome::NotInPreviousRow(column) => {
                panic!("column {column} is not in the target's previous row")
            }
        }
    }
}

impl Drop for HeadTargetAppender {
    fn drop(&mut self) {
        let mut state = self.head.state();
        let writer = &mut state.targets[self.target as usize];
        writer.dissolve();
    }
}

/// Appends any mix of series.
#[derive(Debug)]
pub(crate) struct HeadAppender {
    head: Arc<Head>,
    bounds: Bounds,
    series: Vec<u32>,
    /// Number of the series, sample.
    samples: Vec<(u32, Sample)>,
}

impl HeadAppender {
    pub(crate) fn new(head: &Arc<Head>) -> Self {
        head.appenders.fetch_add(1, Ordering::Relaxed);
        Self {
            head: Arc::clone(head),
            bounds: head.bounds(),
            series: Vec::new(),
            samples: Vec::new(),
        }
    }
}

impl Appender for HeadAppender {
    fn series(&mut self, labels: &Labels) -> Result<SeriesRef, Refusal> {
        let (id, _) = self.head.series(labels)?;
        self.series.push(id);
        Ok(SeriesRef(self.series.len() as u32 - 1))
    }

    fn samples(&mut self, series: SeriesRef, samples: &[Sample]) {
        let id = *self
            .series
            .get(series.0 as usize)
            .expect("a series reference belongs to the appender that gave it");
        self.samples
            .extend(samples.iter().map(|sample| (id, *sample)));
    }

    fn commit(mut self: Box<Self>, all_or_nothing: bool) -> Result<Commit, AppendError> {
        let (_, outcome) = self.head.commit(Work::Push(Push {
            bounds: self.bounds,
            samples: std::mem::take(&mut self.samples),
            all_or_nothing,
        }));
        match outcome {
            Outcome::Done(result) => result,
            Outcome::NotInPreviousRow(_) => unreachable!("only rows refer to a previous row"),
        }
    }
}

impl Drop for HeadAppender {
    fn drop(&mut self) {
        self.head.appenders.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Head {
    /// The number of the newest visible commit.
    pub(crate) fn visible(&self) -> u64 {
        self.visible.load(Ordering::Acquire)
    }

    /// Bytes of the log, and the number of the segment that is written.
    pub(crate) fn wal_size(&self) -> (u64, u64) {
        let state = self.state();
        (state.wal.bytes(), state.wal.number())
    }
}
