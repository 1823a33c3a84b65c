//! The commit protocol.
//!
//! Commits that wait at the same time are done by one of them, the leader: under the commit lock it
//! judges every sample and encodes one record a commit, hands all records to the kernel with one
//! write, applies them, and makes them visible with one store. So a reader sees a commit whole or
//! not at all, and only after its record was written.
//!
//! When the disk does not take the records, everything staged is undone. Pushed commits fail. Rows,
//! which nobody could send again, are applied, visible, and kept in a bounded backlog that is written
//! before anything else; past its limit they fail too.

use std::sync::{Arc, Mutex, PoisonError, atomic::Ordering};

use super::{
    Head, State,
    judge::Undo,
    pushes::{Push, StagedPush},
    rows::StagedRow,
};
use crate::{
    AppendError, Commit, Labels, RowBuilder, Sample,
    error::IoError,
    wal::{RECORD_BYTES_MAX, WriteFailure, encode_series},
};

/// How many bytes of visible rows may wait for a full disk.
const BACKLOG_BYTES_MAX: usize = 64 << 20;

/// Room that is kept for the records of the next batch is not larger, in bytes.
const RECORDS_ROOM_MAX: usize = 1 << 20;

/// What a commit brings.
#[derive(Debug)]
pub(super) enum Work {
    Row { target: u32, row: RowBuilder },
    Push(Push),
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Outcome {
    Done(Result<Commit, AppendError>),
    /// The caller broke the contract of `RowBuilder::same`.
    NotInPreviousRow(u32),
}

/// Commits that wait for a leader.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Vec<Arc<Request>>,
    leading: bool,
    poisoned: bool,
}

#[derive(Debug)]
struct Request(Mutex<(Option<Work>, Option<Outcome>)>);

impl Request {
    fn lock(&self) -> std::sync::MutexGuard<'_, (Option<Work>, Option<Outcome>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends leadership also when the leader panics, so that nobody waits for ever.
struct Leading<'a>(&'a Head);

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.leading = false;
        queue.poisoned |= std::thread::panicking();
        self.0.wake.notify_all();
    }
}

/// What came of judging a commit.
enum Staged {
    Work(StagedWork),
    /// There is nothing to apply.
    Done(Outcome),
    /// It is judged once what is staged is published. The first of a batch never waits.
    Waits,
}

enum StagedWork {
    Row(Box<StagedRow>),
    Push(StagedPush),
}

impl Head {
    /// Does one commit, or waits until another thread has done it.
    pub(super) fn commit(&self, work: Work) -> (Option<Work>, Outcome) {
        let request = Arc::new(Request(Mutex::new((Some(work), None))));
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.waiting.push(Arc::clone(&request));
        loop {
            if let (work, Some(outcome)) = &mut *request.lock() {
                let outcome = std::mem::replace(outcome, Outcome::NotInPreviousRow(0));
                return (work.take(), outcome);
            }
            if queue.poisoned {
                return (None, Outcome::Done(Err(AppendError::Poisoned)));
            }
            if queue.leading {
                queue = self
                    .wake
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            queue.leading = true;
            let batch = std::mem::take(&mut queue.waiting);
            drop(queue);
            let leading = Leading(self);
            self.lead(&batch);
            drop(leading);
            queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lead(&self, batch: &[Arc<Request>]) {
        let mut guard = self.state();
        // Pushed samples come first: they make the series they share with a target judge for
        // itself, which rows of the same batch then see.
        let mut order: Vec<&Arc<Request>> = batch.iter().collect();
        order.sort_by_key(|request| matches!(request.lock().0, Some(Work::Row { .. })));
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            rest = self.lead_some(&mut guard, rest);
        }
    }

    /// Does as many of the commits as need not wait for one before them; answers the others.
    fn lead_some<'a>(
        &self,
        state: &mut State,
        order: &'a [&'a Arc<Request>],
    ) -> &'a [&'a Arc<Request>] {
        state.batch += 1;
        let sequence = state.sequence;
        let mut undo = Undo::new();
        let mut records = std::mem::take(&mut state.records);
        records.clear();
        let mut staged = Vec::new();
        let mut rest = order;
        while let Some((request, after)) = rest.split_first() {
            let mut slot = request.lock();
            match self.stage(state, slot.0.as_ref(), &mut records, &mut undo) {
                Staged::Waits => break,
                Staged::Done(outcome) => slot.1 = Some(outcome),
                Staged::Work(work) => staged.push((*request, work)),
            }
            rest = after;
        }
        let failure = if records.is_empty() {
            None
        } else {
            state.wal.write(&records).err()
        };
        match failure {
            None => {
                for (request, work) in staged {
                    let commit = self.publish(state, work);
                    request.lock().1 = Some(Outcome::Done(Ok(commit)));
                }
            }
            Some(failure) => {
                self.counters
                    .wal_write_failures
                    .fetch_add(1, Ordering::Relaxed);
                self.revert(undo);
                state.sequence = sequence;
                state.poisoned |= matches!(failure, WriteFailure::Unknown(_));
                let (WriteFailure::Clean(error) | WriteFailure::Unknown(error)) = failure;
                for (request, _) in staged {
                    self.commit_to_backlog(state, request, &error);
                }
            }
        }
        self.changes.note(state.sequence);
        self.visible.show(state.sequence);
        if records.capacity() <= RECORDS_ROOM_MAX {
            state.records = records;
        }
        rest
    }

    /// Applies a row that the disk did not take; everything else fails.
    fn commit_to_backlog(&self, state: &mut State, request: &Request, error: &IoError) {
        let mut slot = request.lock();
        let is_row = matches!(slot.0, Some(Work::Row { .. }));
        if state.poisoned || !is_row || state.wal.backlog.len() >= BACKLOG_BYTES_MAX {
            let refusal = failure(error, state.poisoned, state.wal.backlog.len());
            slot.1 = Some(Outcome::Done(Err(refusal)));
            return;
        }
        state.batch += 1;
        let mut undo = Undo::new();
        let mut records = Vec::new();
        slot.1 = Some(
            match self.stage(state, slot.0.as_ref(), &mut records, &mut undo) {
                Staged::Work(work) => {
                    state.wal.backlog.extend_from_slice(&records);
                    Outcome::Done(Ok(self.publish(state, work)))
                }
                Staged::Done(outcome) => outcome,
                Staged::Waits => unreachable!("a row waits for nothing"),
            },
        );
    }

    /// Judges a commit and appends its records to `records`.
    fn stage(
        &self,
        state: &mut State,
        work: Option<&Work>,
        records: &mut Vec<u8>,
        undo: &mut Undo,
    ) -> Staged {
        if state.closed || state.poisoned {
            let error = if state.closed {
                AppendError::Closed
            } else {
                AppendError::Poisoned
            };
            return Staged::Done(Outcome::Done(Err(error)));
        }
        let before = records.len();
        let mark = undo.len();
        let sequence = state.sequence;
        let staged = match work {
            Some(Work::Row { target, row }) => {
                match self.stage_row(state, *target, row, records, undo) {
                    Ok(row) => StagedWork::Row(Box::new(row)),
                    Err(outcome) => return Staged::Done(outcome),
                }
            }
            Some(Work::Push(push)) => match self.stage_push(state, push, records, undo) {
                Some(push) => StagedWork::Push(push),
                None => return Staged::Waits,
            },
            None => unreachable!("work is taken only once it is done"),
        };
        if records.len() - before > RECORD_BYTES_MAX {
            records.truncate(before);
            self.revert(undo.split_off(mark));
            state.sequence = sequence;
            state.wal.epoch += 1;
            return Staged::Done(Outcome::Done(Err(AppendError::Full {
                buffered_bytes: state.wal.backlog.len() as u64,
            })));
        }
        Staged::Work(staged)
    }

    /// Applies what was staged and written.
    fn publish(&self, state: &mut State, staged: StagedWork) -> Commit {
        match staged {
            StagedWork::Push(push) => {
                self.counters.appended(push.appended);
                self.publish_push(state, push)
            }
            StagedWork::Row(row) => {
                self.counters.appended(row.appended());
                self.publish_row(state, *row)
            }
        }
    }

    pub(super) fn publish_solo(&self, commit: u64, samples: &[(u32, Sample)]) {
        let Some((_, first)) = samples.first() else {
            return;
        };
        let (mut oldest, mut newest) = (first.time, first.time);
        for (_, sample) in samples {
            oldest = oldest.min(sample.time);
            newest = newest.max(sample.time);
        }
        self.states.push_solo(commit, samples);
        self.saw(oldest);
        self.saw(newest);
    }

    /// Tries once more to write what waits for the disk.
    pub(crate) fn flush_backlog(&self) -> Result<(), AppendError> {
        let mut state = self.state();
        if state.wal.backlog.is_empty() || state.poisoned {
            return Ok(());
        }
        let epoch = state.wal.epoch;
        let result = state.wal.write(&[]);
        match result {
            Ok(()) => Ok(()),
            Err(WriteFailure::Clean(error)) => {
                // The backlog's own definitions stay valid: nothing was written in between.
                state.wal.epoch = epoch;
                Err(failure(&error, false, state.wal.backlog.len()))
            }
            Err(WriteFailure::Unknown(error)) => {
                state.poisoned = true;
                Err(failure(&error, true, 0))
            }
        }
    }

    /// Defines the series that the log does not know in this epoch.
    pub(super) fn define(
        &self,
        state: &mut State,
        records: &mut Vec<u8>,
        ids: impl Iterator<Item = u32>,
    ) {
        if state.defined_epoch != state.wal.epoch {
            state.defined_epoch = state.wal.epoch;
            state.defined.clear();
        }
        let known = &self.catalog().known;
        // Who reads the log finds the others in the block.
        let new = ids.filter(|id| !known.is_in_base(*id));
        let new: Vec<u32> = new.filter(|id| state.defined.insert(*id)).collect();
        if new.is_empty() {
            return;
        }
        let labels = |id: &u32| Some((*id, known.labels(*id)?));
        let new: Vec<(u32, Labels)> = new.iter().filter_map(labels).collect();
        let new: Vec<(u32, &Labels)> = new.iter().map(|(id, labels)| (*id, labels)).collect();
        encode_series(records, &new);
    }

    /// Writes what waits, makes the log durable and refuses every later commit.
    pub(crate) fn close(&self) -> Result<(), AppendError> {
        self.flush_backlog()?;
        let mut state = self.state();
        state.closed = true;
        state.wal.sync().map_err(AppendError::Io)
    }
}

fn failure(error: &IoError, poisoned: bool, buffered_bytes: usize) -> AppendError {
    if poisoned {
        return AppendError::Poisoned;
    }
    match error.source.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => AppendError::Full {
            buffered_bytes: buffered_bytes as u64,
        },
        kind => AppendError::Io(IoError {
            action: error.action,
            path: error.path.clone(),
            source: kind.into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Appendable, Clock, Db, DbOptions, MemoryFs, Refusal, SystemClock, Timestamp,
        head::pushes::Push,
    };

    const SERIES: u32 = 10;

    fn value(commit: &Outcome) -> (u32, Vec<(u32, Refusal)>) {
        match commit {
            Outcome::Done(Ok(commit)) => (commit.accepted, commit.refused.clone()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pushes_of_one_group_that_wait_together_see_each_other() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let options = DbOptions::new("store", Arc::new(MemoryFs::default()), clock);
        let (db, _) = Db::open(&options).unwrap();
        let head = db.head();
        // Numbers are given in order.
        for time in 1..=3 {
            let mut appender = db.appender();
            for number in 0..SERIES {
                let labels = Labels::from_pairs([("n", number.to_string())]);
                let series = appender.series(&labels).unwrap();
                appender.samples(series, &[Sample { time, value: 1.0 }]);
            }
            assert_eq!(appender.commit(true).unwrap().accepted, SERIES);
        }
        let push = |time: Timestamp, from: u32, value: &dyn Fn(u32) -> f64| {
            let samples = (from..SERIES).map(|id| {
                let value = value(id);
                (id, Sample { time, value })
            });
            Work::Push(Push {
                bounds: head.bounds(),
                known: head.catalog().known.clone(),
                samples: samples.collect(),
                starts: Vec::new(),
                histograms: Vec::new(),
                metadata: Vec::new(),
                all_or_nothing: false,
            })
        };
        let works = [
            push(4, 2, &|_| 2.0),
            // Two of these are new, the next is repeated, the others contradict.
            push(4, 0, &|id| f64::from(id).clamp(2.0, 3.0)),
            push(5, 0, &|_| 4.0),
            push(3, 9, &|_| 1.0),
        ];
        let requests = works.map(|work| Arc::new(Request(Mutex::new((Some(work), None)))));
        head.lead(&requests);
        let outcomes = requests.map(|request| value(request.lock().1.as_ref().unwrap()));
        let duplicates = (3..SERIES).map(|index| (index, Refusal::Duplicate));
        assert_eq!(
            outcomes,
            [
                (8, vec![]),
                (3, duplicates.collect()),
                (SERIES, vec![]),
                (0, vec![(0, Refusal::OutOfOrder)]),
            ]
        );
        let state = head.state();
        let newest = (0..SERIES).map(|id| head.newest(id));
        let newest: Vec<(Timestamp, u64)> = newest.collect();
        assert_eq!(newest, vec![(5, 4.0_f64.to_bits()); SERIES as usize]);
        assert_eq!(state.targets.len(), 1);
    }
}
