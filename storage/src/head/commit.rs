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

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};

use super::{
    Bounds, Counters, HashMap, Head, Known, State,
    bits::{self, Bits},
    histograms::{Pushed, PushedHistogram, RowHistograms},
    row::{NO_SERIES, Row},
    target::TargetWriter,
};
use crate::{
    AppendError, Commit, Labels, Metadata, Refusal, RowBuilder, STALE_MARKER_BITS, Sample,
    Timestamp,
    codec::PackedSample,
    error::IoError,
    metadata::{LoggedMetadata, Origins},
    wal::{
        Change, RECORD_BYTES_MAX, RowRecord, WriteFailure, encode_row, encode_series, encode_solo,
    },
};

/// How many bytes of visible rows may wait for a full disk.
const BACKLOG_BYTES_MAX: usize = 64 << 20;

/// What a commit brings.
#[derive(Debug)]
pub(super) enum Work {
    Row { target: u32, row: RowBuilder },
    Push(Push),
}

/// A commit of an appender.
#[derive(Debug, Clone)]
pub(super) struct Push {
    pub(super) bounds: Bounds,
    /// The list that the numbers of series are of.
    pub(super) known: Known,
    /// Number of the series, sample.
    pub(super) samples: Vec<(u32, Sample)>,
    pub(super) histograms: Vec<PushedHistogram>,
    pub(super) metadata: Vec<(String, Metadata)>,
    pub(super) all_or_nothing: bool,
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

/// A row that was judged but not applied.
struct StagedRow {
    target: u32,
    time: Timestamp,
    /// The open block is full: the row begins the next.
    roll: bool,
    record: Logged,
    /// Presence in the row, markers included.
    present: Bits,
    real: Bits,
    /// Columns and bits that differ from what the block has.
    to_block: Vec<(u32, u64)>,
    /// Columns and series that the log does not have.
    bindings: Vec<(u32, u32)>,
    /// The caller's values that may be, or may have been, others than the stored ones.
    current: Vec<(u32, u64)>,
    tracked: Bits,
    histograms: RowHistograms,
    commit: Commit,
}

/// What a staged row's record says, for when it is applied.
struct Logged {
    commit: u64,
    has_row: bool,
    is_reset: bool,
    has_presence: bool,
    /// Samples with times of their own, by the number of the series.
    solo: Vec<(u32, Sample)>,
    metadata: Vec<LoggedMetadata>,
}

struct StagedPush {
    number: u64,
    samples: Vec<(u32, Sample)>,
    histograms: Vec<(u32, PackedSample)>,
    histograms_accepted: u32,
    metadata: Vec<LoggedMetadata>,
    commit: Commit,
}

enum Staged {
    Row(Box<StagedRow>),
    Push(StagedPush),
}

/// Newest samples before the batch, to be put back when the disk does not take it.
pub(super) type Undo = Vec<(u32, (Timestamp, u64))>;

pub(super) enum Verdict {
    /// Behind the newest sample of its series.
    Keep,
    /// Before it, and within the window for such samples.
    Late,
    Same,
    Refuse(Refusal),
}

/// Judges a sample by its series' newest one.
///
/// Source: `memSeries.appendable` in Prometheus' `tsdb/head_append.go`.
pub(super) fn judge(bounds: Bounds, last: (Timestamp, u64), time: Timestamp, bits: u64) -> Verdict {
    if time == Timestamp::MIN {
        return Verdict::Refuse(Refusal::OutOfBounds);
    }
    if time >= bounds.valid_from {
        if time > last.0 {
            return Verdict::Keep;
        }
        if time == last.0 {
            return if bits == last.1 {
                Verdict::Same
            } else {
                Verdict::Refuse(Refusal::Duplicate)
            };
        }
    }
    if bounds.window_ms > 0 {
        if time >= bounds.newest.saturating_sub(bounds.window_ms) {
            Verdict::Late
        } else {
            Verdict::Refuse(Refusal::TooOld)
        }
    } else if time < bounds.valid_from {
        Verdict::Refuse(Refusal::OutOfBounds)
    } else {
        Verdict::Refuse(Refusal::OutOfOrder)
    }
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
        let state = &mut *guard;
        // Pushed samples come first: they make the series they share with a target judge for
        // itself, which rows of the same batch then see.
        let mut order: Vec<&Arc<Request>> = batch.iter().collect();
        order.sort_by_key(|request| matches!(request.lock().0, Some(Work::Row { .. })));
        let sequence = state.sequence;
        let mut undo = Undo::new();
        let mut records = Vec::new();
        let mut staged = Vec::new();
        for request in &order {
            let mut slot = request.lock();
            match self.stage(state, slot.0.as_ref(), &mut records, &mut undo) {
                Ok(work) => staged.push((*request, work)),
                Err(outcome) => slot.1 = Some(outcome),
            }
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
        self.visible.store(state.sequence, Ordering::Release);
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
        let mut undo = Undo::new();
        let mut records = Vec::new();
        slot.1 = Some(
            match self.stage(state, slot.0.as_ref(), &mut records, &mut undo) {
                Ok(work) => {
                    state.wal.backlog.extend_from_slice(&records);
                    Outcome::Done(Ok(self.publish(state, work)))
                }
                Err(outcome) => outcome,
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
    ) -> Result<Staged, Outcome> {
        if state.closed || state.poisoned {
            let error = if state.closed {
                AppendError::Closed
            } else {
                AppendError::Poisoned
            };
            return Err(Outcome::Done(Err(error)));
        }
        let before = records.len();
        let mark = undo.len();
        let sequence = state.sequence;
        let staged = match work {
            Some(Work::Row { target, row }) => self
                .stage_row(state, *target, row, records, undo)
                .map(|row| Staged::Row(Box::new(row)))?,
            Some(Work::Push(push)) => Staged::Push(self.stage_push(state, push, records, undo)),
            None => unreachable!("work is taken only once it is done"),
        };
        if records.len() - before > RECORD_BYTES_MAX {
            records.truncate(before);
            self.revert(undo.split_off(mark));
            state.sequence = sequence;
            state.wal.epoch += 1;
            return Err(Outcome::Done(Err(AppendError::Full {
                buffered_bytes: state.wal.backlog.len() as u64,
            })));
        }
        Ok(staged)
    }

    /// A push under the numbers that its series have now.
    fn renumbered<'a>(&self, push: &'a Push) -> Cow<'a, Push> {
        let now = &self.catalog().known;
        if now.generation() == push.known.generation() {
            return Cow::Borrowed(push);
        }
        let mut next_id = self.next_id.lock().unwrap_or_else(PoisonError::into_inner);
        let mut numbers: HashMap<u32, u32> = HashMap::default();
        let mut renumbered = push.clone();
        let samples = renumbered.samples.iter_mut().map(|(id, _)| id);
        let histograms = renumbered
            .histograms
            .iter_mut()
            .map(|pushed| &mut pushed.id);
        for id in samples.chain(histograms) {
            let again = || self.again(&push.known, now, *id, &mut next_id);
            *id = *numbers.entry(*id).or_insert_with(again);
        }
        Cow::Owned(renumbered)
    }

    fn stage_push(
        &self,
        state: &mut State,
        push: &Push,
        records: &mut Vec<u8>,
        undo: &mut Undo,
    ) -> StagedPush {
        let mark = undo.len();
        let mut commit = Commit::default();
        let mut samples = Vec::with_capacity(push.samples.len());
        let mut histograms = Vec::new();
        let mut histograms_accepted = 0;
        let mut undefined: Vec<u32> = Vec::new();
        let epoch = state.wal.epoch;
        let push = self.renumbered(push);
        self.isolate_all(state, push.pushed().map(|(id, _)| id));
        let tables = self.states.tables();
        let mut sides = tables.sides();
        for (index, (id, pushed)) in push.pushed().enumerate() {
            let index = index as u32;
            let is_histogram = u32::from(matches!(pushed, Pushed::Histogram(_)));
            let Some((time, bits)) = pushed.time_and_bits() else {
                self.counters.refused(Refusal::InvalidHistogram);
                commit.refused.push((index, Refusal::InvalidHistogram));
                continue;
            };
            let known = sides.get(id).and_then(|side| Some((side.last()?, side)));
            let Some((last, side)) = known else {
                // Only a series that could not be had again is without a record.
                self.counters.refused(Refusal::SeriesLimit);
                commit.refused.push((index, Refusal::SeriesLimit));
                continue;
            };
            match judge(push.bounds, last, time, bits) {
                Verdict::Keep => {
                    undo.push((id, last));
                    side.set_last((time, bits));
                }
                Verdict::Late => {
                    self.counters.late.fetch_add(1, Ordering::Relaxed);
                }
                Verdict::Same => {
                    commit.accepted += 1;
                    histograms_accepted += is_histogram;
                    continue;
                }
                Verdict::Refuse(refusal) => {
                    self.counters.refused(refusal);
                    commit.refused.push((index, refusal));
                    continue;
                }
            }
            commit.accepted += 1;
            histograms_accepted += is_histogram;
            if side.becomes_logged(epoch) {
                undefined.push(id);
            }
            match pushed {
                Pushed::Float(sample) => samples.push((id, *sample)),
                Pushed::Histogram(sample) => histograms.extend(sample.clone().map(|s| (id, s))),
            }
        }
        drop(sides);
        drop(tables);
        let (mut metadata, refused) = self.metadata.judge(&push.metadata, Origins::PUSH);
        commit.metadata_refused = refused;
        if push.all_or_nothing && !commit.refused.is_empty() {
            self.revert(undo.split_off(mark));
            let tables = self.states.tables();
            let mut sides = tables.sides();
            for id in undefined.drain(..) {
                if let Some(side) = sides.get(id) {
                    side.forget_logged();
                }
            }
            samples.clear();
            histograms.clear();
            histograms_accepted = 0;
            metadata.clear();
            commit.accepted = 0;
        }
        if !samples.is_empty() || !histograms.is_empty() || !metadata.is_empty() {
            state.sequence += 1;
            self.define(state, records, undefined.into_iter());
            encode_solo(records, state.sequence, &samples, &histograms, &metadata);
        }
        StagedPush {
            number: state.sequence,
            samples,
            histograms,
            histograms_accepted,
            metadata,
            commit,
        }
    }

    fn stage_row(
        &self,
        state: &mut State,
        target: u32,
        row: &RowBuilder,
        records: &mut Vec<u8>,
        undo: &mut Undo,
    ) -> Result<StagedRow, Outcome> {
        let bounds = self.bounds();
        let epoch = state.wal.epoch;
        let timed = row.at.iter().map(|(column, _)| column);
        let histograms = row.histograms.iter().map(|(column, _)| column);
        for column in timed.chain(histograms) {
            let series = state.targets[target as usize].series_of(column.0);
            if let Some(id) = series {
                self.isolate(&mut state.targets, id);
            }
        }
        let writer = &mut state.targets[target as usize];
        let mut now = Bits::default();
        for range in &row.same {
            if let Some(column) = range
                .clone()
                .find(|column| !writer.tracked.contains(*column))
            {
                return Err(Outcome::NotInPreviousRow(column));
            }
            now.insert_range(range.clone());
        }
        let mut commit = Commit::default();
        let counters = &self.counters;
        let refuse = |commit: &mut Commit, index: usize, refusal| {
            counters.refused(refusal);
            commit.refused.push((index as u32, refusal));
        };
        let time = row.time;
        let as_row =
            time >= bounds.valid_from && time != Timestamp::MIN && time > writer.last_row_time;
        // No series of the target can have a sample at or after this time, shared ones apart.
        let fast = as_row && time > writer.floor;
        let roll = writer.open.as_ref().is_none_or(|open| open.is_full());
        let reset = writer.log_epoch != epoch;

        // What is in the row for certain, and what must be judged: column, bits, index in the row.
        let mut stored: Vec<(u32, u64)> = Vec::with_capacity(row.set.len() + 16);
        let mut doubtful: Vec<(u32, u64, usize)> = Vec::new();
        let mut take = |writer: &TargetWriter, column: u32, bits: u64, index: usize| {
            if fast && !writer.shared.contains(column) {
                stored.push((column, bits));
            } else {
                doubtful.push((column, bits, index));
            }
        };
        for (index, (column, value)) in row.set.iter().enumerate() {
            if now.contains(column.0) || writer.series_of(column.0).is_none() {
                refuse(&mut commit, index, Refusal::Duplicate);
                continue;
            }
            now.insert(column.0);
            take(writer, column.0, value.to_bits(), index);
        }
        let mut first_index = row.set.len() + row.at.len();
        for range in &row.same {
            // Most need no more than the bit that says that they are there.
            let may_be_clean = fast && !roll && !reset && !writer.has_odd();
            for (word, mask) in bits::masks(range.clone()) {
                let clean = if may_be_clean {
                    writer.in_block.word(word)
                        & writer.in_log.word(word)
                        & !writer.shared.word(word)
                } else {
                    0
                };
                commit.accepted += (mask & clean).count_ones();
                for column in bits::ones_in(word, mask & !clean) {
                    let index = first_index + (column - range.start) as usize;
                    take(writer, column, writer.current(column), index);
                }
            }
            first_index += range.len();
        }
        commit.accepted += stored.len() as u32;
        let vanished = |tracked: &Bits, now: &Bits| -> Vec<u32> {
            let words = tracked.words().iter().enumerate();
            words
                .flat_map(|(index, word)| bits::ones_in(index, word & !now.word(index)))
                .collect()
        };
        let vanished = if as_row {
            vanished(&writer.tracked, &now)
        } else {
            Vec::new()
        };
        let mut current: Vec<(u32, u64)> = Vec::new();
        if writer.has_odd() {
            current.clone_from(&stored);
        }
        let mut present = if as_row { now.clone() } else { Bits::default() };
        let mut solo = Vec::new();
        doubtful.sort_unstable_by_key(|(column, ..)| *column);
        for (column, bits, index) in &doubtful {
            current.push((*column, *bits));
            let id = writer
                .series_of(*column)
                .expect("tracked and set columns are bound");
            let shared = writer.shared.contains(*column);
            let last = self.last_of(writer, *column, id);
            let verdict = judge(bounds, last, time, *bits);
            if as_row && matches!(verdict, Verdict::Keep) {
                stored.push((*column, *bits));
            } else {
                present.remove(*column);
            }
            match verdict {
                Verdict::Keep => {
                    commit.accepted += 1;
                    if !as_row && !shared {
                        self.states.judge_itself(id, last);
                        writer.shared.insert(*column);
                    }
                    if !as_row || shared {
                        undo.push((id, last));
                        self.states.set_last(id, (time, *bits));
                    }
                    if !as_row {
                        let value = f64::from_bits(*bits);
                        solo.push((id, Sample { time, value }));
                    }
                }
                Verdict::Late => {
                    commit.accepted += 1;
                    counters.late.fetch_add(1, Ordering::Relaxed);
                    let value = f64::from_bits(*bits);
                    solo.push((id, Sample { time, value }));
                }
                Verdict::Same => commit.accepted += 1,
                Verdict::Refuse(refusal) => refuse(&mut commit, *index, refusal),
            }
        }
        for (index, (column, sample)) in row.at.iter().enumerate() {
            let index = row.set.len() + index;
            let Some(id) = writer.series_of(column.0) else {
                refuse(&mut commit, index, Refusal::Duplicate);
                continue;
            };
            let bits = sample.value.to_bits();
            // A sample of this column in the same row was judged above, so `last` is right.
            let last = self.newest(id);
            match judge(bounds, last, sample.time, bits) {
                Verdict::Keep => {
                    commit.accepted += 1;
                    undo.push((id, last));
                    self.states.set_last(id, (sample.time, bits));
                    solo.push((id, *sample));
                }
                Verdict::Late => {
                    commit.accepted += 1;
                    counters.late.fetch_add(1, Ordering::Relaxed);
                    solo.push((id, *sample));
                }
                Verdict::Same => commit.accepted += 1,
                Verdict::Refuse(refusal) => refuse(&mut commit, index, refusal),
            }
        }
        let histograms =
            self.stage_histograms(writer, row, as_row, (&now, first_index), &mut commit, undo);
        let real = present.clone();
        // Markers come last, as in Prometheus: a sample with a time of its own is not late because of one.
        for column in vanished {
            if row.histograms.iter().any(|(other, _)| other.0 == column) {
                continue;
            }
            let Some(id) = writer.series_of(column) else {
                continue;
            };
            let shared = writer.shared.contains(column);
            let last = if fast && !shared {
                (Timestamp::MIN, 0)
            } else {
                self.last_of(writer, column, id)
            };
            if time > last.0 {
                if shared {
                    undo.push((id, last));
                    self.states.set_last(id, (time, STALE_MARKER_BITS));
                }
                present.insert(column);
                stored.push((column, STALE_MARKER_BITS));
            }
        }
        if !stored.is_sorted_by_key(|(column, _)| *column) {
            stored.sort_unstable_by_key(|(column, _)| *column);
        }

        let has_row = !present.is_empty();
        let mut to_block: Vec<(u32, u64)> = Vec::with_capacity(stored.len());
        let mut changed: Vec<(u32, Change)> = Vec::with_capacity(stored.len());
        let mut bindings: Vec<(u32, u32)> = Vec::new();
        for (column, bits) in &stored {
            let value = writer.stored[*column as usize];
            if roll || value != *bits || !writer.in_block.contains(*column) {
                to_block.push((*column, *bits));
            }
            if reset || !writer.in_log.contains(*column) {
                let id = writer.series_of(*column);
                bindings.push((*column, id.expect("what is stored is bound")));
                changed.push((*column, Change::between(0, *bits)));
            } else if value != *bits {
                changed.push((*column, Change::between(value, *bits)));
            }
        }
        let same_presence = !reset && equal_words(&writer.present, present.words());
        let present_runs = (has_row && !same_presence).then(|| runs(present.words()));
        let (metadata, refused) = self.metadata.judge(&row.metadata, Origins::TARGET);
        commit.metadata_refused = refused;
        let mut record = Logged {
            commit: 0,
            solo,
            metadata,
            has_row,
            is_reset: reset && has_row,
            has_presence: present_runs.is_some(),
        };
        if !as_row {
            now.union(&writer.tracked);
        }
        let has_rest = !record.solo.is_empty() || !record.metadata.is_empty();
        if has_row || has_rest || !histograms.kept.is_empty() {
            state.sequence += 1;
            record.commit = state.sequence;
            let bound = bindings.iter().map(|(_, id)| *id);
            let solo = record.solo.iter().map(|(id, _)| *id);
            let others = histograms.kept.iter().map(|(id, _)| *id);
            self.define(state, records, bound.chain(solo).chain(others));
            let writer = &state.targets[target as usize];
            let logged = RowRecord {
                commit: record.commit,
                target,
                reset: record.is_reset.then_some(&*writer.target.key.0),
                previous: if has_row && !reset {
                    writer.log_commit
                } else {
                    0
                },
                time,
                bindings: &bindings,
                present: present_runs.as_deref(),
                changed: &changed,
                solo: &record.solo,
                histograms: &histograms.kept,
                metadata: &record.metadata,
                has_row,
            };
            encode_row(records, &logged);
        }
        Ok(StagedRow {
            target,
            time,
            roll,
            record,
            present,
            real,
            to_block,
            bindings,
            current,
            tracked: now,
            histograms,
            commit,
        })
    }

    /// Applies what was staged and written.
    fn publish(&self, state: &mut State, staged: Staged) -> Commit {
        let (commit, histograms) = match staged {
            Staged::Push(push) => {
                self.publish_solo(push.number, &push.samples);
                self.publish_histograms(push.number, push.histograms);
                self.metadata.publish(push.number, &push.metadata);
                (push.commit, push.histograms_accepted)
            }
            Staged::Row(row) => {
                let histograms = row.histograms.accepted;
                (self.publish_row(state, *row), histograms)
            }
        };
        let Counters {
            samples_appended,
            histograms_appended,
            ..
        } = &self.counters;
        samples_appended.fetch_add(u64::from(commit.accepted - histograms), Ordering::Relaxed);
        histograms_appended.fetch_add(u64::from(histograms), Ordering::Relaxed);
        commit
    }

    fn publish_solo(&self, commit: u64, samples: &[(u32, Sample)]) {
        let times = || samples.iter().map(|(_, sample)| sample.time);
        let (Some(oldest), Some(newest)) = (times().min(), times().max()) else {
            return;
        };
        self.states.push_solo(commit, samples);
        self.saw(oldest);
        self.saw(newest);
    }

    fn publish_row(&self, state: &mut State, row: StagedRow) -> Commit {
        let writer = &mut state.targets[row.target as usize];
        writer.tracked = row.tracked;
        if row.record.has_row {
            if row.roll {
                writer.roll();
            }
            if row.record.is_reset {
                writer.in_log.clear();
                writer.log_epoch = state.wal.epoch;
            }
            writer.log_commit = row.record.commit;
            if row.record.has_presence {
                writer.present = row.present.words().into();
            }
            let present = Arc::clone(&writer.present);
            let to_block = Row::new(row.record.commit, row.time, present, &row.to_block);
            self.rows_bytes
                .fetch_add(to_block.bytes() as u64, Ordering::Relaxed);
            writer.open(&mut state.next_block).push(to_block);
            for (column, bits) in &row.to_block {
                writer.stored[*column as usize] = *bits;
                writer.in_block.insert(*column);
            }
            for (column, _) in &row.bindings {
                writer.in_log.insert(*column);
            }
            writer.real = row.real;
            writer.last_row_time = row.time;
            self.saw(row.time);
        }
        for (column, bits) in row.current {
            writer.set_current(column, bits);
        }
        writer.histograms = row.histograms.columns;
        writer.release_retired();
        self.publish_solo(row.record.commit, &row.record.solo);
        self.publish_histograms(row.record.commit, row.histograms.kept);
        (self.metadata).publish(row.record.commit, &row.record.metadata);
        row.commit
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

    /// Time and bits of the newest sample of the series in a column; the time is [`Timestamp::MIN`] when
    /// there is none.
    fn last_of(&self, writer: &TargetWriter, column: u32, id: u32) -> (Timestamp, u64) {
        if !writer.shared.contains(column) && writer.real.contains(column) {
            (writer.last_row_time, writer.stored[column as usize])
        } else {
            self.newest(id)
        }
    }

    /// Time and bits of the newest committed or staged sample of a series.
    pub(super) fn newest(&self, id: u32) -> (Timestamp, u64) {
        let mut newest = match self.states.last(id) {
            Some((true, last)) => return last,
            Some((false, last)) => last,
            None => (Timestamp::MIN, 0),
        };
        if let Some(found) = self.histograms.newest(id)
            && found.0 > newest.0
        {
            newest = found;
        }
        let mut is_in_rows = false;
        for place in self.states.places(id).iter() {
            let target = self.states.target(place.target);
            let blocks = target.blocks();
            let found = blocks.iter().rev().find_map(|block| {
                let column = block.column_of(id, place.column)?;
                block.newest(column)
            });
            if let Some(found) = found {
                is_in_rows = true;
                if found.0 > newest.0 {
                    newest = found;
                }
            }
        }
        // Rows are in order, so nothing sealed is newer than one of them.
        if is_in_rows {
            return newest;
        }
        match self.catalog().newest_sample(id) {
            Ok(Some(sealed)) if sealed.0 > newest.0 => sealed,
            // Queries tell of damage; a sample is judged by what can be read.
            _ => newest,
        }
    }

    /// From now on each of these series judges itself.
    fn isolate_all(&self, state: &mut State, ids: impl Iterator<Item = u32>) {
        let tables = self.states.tables();
        let mut sides = tables.sides();
        let mut is_missing = |id: u32| sides.get(id).is_none_or(|side| side.last().is_none());
        let missing: Vec<u32> = ids
            .filter(|id| *id != NO_SERIES && is_missing(*id))
            .collect();
        drop(sides);
        drop(tables);
        for id in missing {
            self.isolate(&mut state.targets, id);
        }
    }

    /// From now on the series judges itself, in every target too; answers its newest sample.
    fn isolate(&self, targets: &mut [TargetWriter], id: u32) -> (Timestamp, u64) {
        if let Some((true, last)) = self.states.last(id) {
            return last;
        }
        let last = self.newest(id);
        self.states.judge_itself(id, last);
        for place in self.states.places(id).iter() {
            let writer = &mut targets[place.target as usize];
            if writer.series_of(place.column) == Some(id) {
                writer.shared.insert(place.column);
            }
        }
        last
    }

    /// Binds a series to a target's rows.
    pub(super) fn column(&self, target: u32, labels: &Labels) -> Result<u32, Refusal> {
        let mut guard = self.state();
        let state = &mut *guard;
        let (id, is_new) = self.series(labels)?;
        let writer = &mut state.targets[target as usize];
        if let Some(column) = writer.column_of(id, &self.states) {
            writer.retired.remove(column);
            return Ok(column);
        }
        let is_elsewhere =
            self.states.places(id).iter().any(|place| {
                state.targets[place.target as usize].series_of(place.column) == Some(id)
            });
        if is_elsewhere {
            self.isolate(&mut state.targets, id);
        } else {
            self.states.judge_by_rows(id);
        }
        let writer = &mut state.targets[target as usize];
        let column = writer.bind(id, &self.states);
        if is_elsewhere {
            writer.shared.insert(column);
        } else if !is_new {
            // Nobody has a newer sample than the store.
            writer.floor = writer.floor.max(self.newest.load(Ordering::Relaxed));
        }
        Ok(column)
    }

    fn revert(&self, undo: Undo) {
        for (id, last) in undo.into_iter().rev() {
            self.states.set_last(id, last);
        }
    }

    /// Defines the series that the log does not know in this epoch.
    fn define(&self, state: &mut State, records: &mut Vec<u8>, ids: impl Iterator<Item = u32>) {
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

/// Bitmaps compared without trailing zeros.
fn equal_words(a: &[u64], b: &[u64]) -> bool {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    let (head, tail) = long.split_at(short.len());
    head == short && tail.iter().all(|word| *word == 0)
}

/// A bitmap as (first, count).
fn runs(words: &[u64]) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for column in bits::ones(words) {
        match runs.last_mut() {
            Some((first, count)) if *first + *count == column => *count += 1,
            _ => runs.push((column, 1)),
        }
    }
    runs
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
