//! Committing the row of a target: judged as one where no series of it can have a newer sample, and series by
//! series where one may.

use std::sync::atomic::Ordering;

use super::{
    Appended, Head, State,
    bits::{self, Bits},
    cells::StagedCells,
    commit::Outcome,
    histograms::RowHistograms,
    judge::{Undo, Verdict, judge},
    target::TargetWriter,
};
use crate::{
    Commit, Refusal, RowBuilder, STALE_MARKER_BITS, Sample, Timestamp,
    metadata::{LoggedMetadata, Origins},
    wal::{Changed, RowRecord, encode_row},
};

/// A row that was judged but not applied.
pub(super) struct StagedRow {
    target: u32,
    time: Timestamp,
    /// The commit's number, when anything of it was kept.
    number: u64,
    /// The row itself, when anything is in it.
    cells: Option<StagedCells>,
    /// Samples with times of their own, by the number of the series.
    solo: Vec<(u32, Sample)>,
    metadata: Vec<LoggedMetadata>,
    real: Bits,
    /// The caller's values that may be, or may have been, others than the stored ones.
    current: Vec<(u32, u64)>,
    tracked: Bits,
    pub(super) histograms: RowHistograms,
    /// Numbers that were accepted because they were there before.
    repeated: u32,
    commit: Commit,
}

impl StagedRow {
    pub(super) fn appended(&self) -> Appended {
        let histograms = &self.histograms;
        Appended {
            numbers: self.commit.accepted - histograms.accepted - self.repeated,
            histograms: histograms.accepted - histograms.repeated,
            late: 0,
        }
    }
}

impl Head {
    pub(super) fn stage_row(
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
        let mut now = Bits::with_capacity(writer.columns_len());
        for range in &row.same {
            if let Some(column) = range
                .clone()
                .find(|column| !writer.tracked.contains(*column))
            {
                return Err(Outcome::NotInPreviousRow(column));
            }
            now.insert_range(range.clone());
        }
        let mut repeated = 0;
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
        let none_shared = fast && writer.shared.is_empty();
        let mut take = |writer: &TargetWriter, column: u32, bits: u64, index: usize| {
            if none_shared || fast && !writer.shared.contains(column) {
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
                Verdict::Same => {
                    commit.accepted += 1;
                    repeated += 1;
                }
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
                Verdict::Same => {
                    commit.accepted += 1;
                    repeated += 1;
                }
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

        if !as_row {
            now.union(&writer.tracked);
        }
        let has_row = !present.is_empty();
        let cells = has_row.then(|| StagedCells::new(writer, epoch, time, &stored, present));
        let (metadata, refused) = self.metadata.judge(&row.metadata, Origins::TARGET);
        commit.metadata_refused = refused;
        let mut number = 0;
        let has_rest = !solo.is_empty() || !metadata.is_empty();
        if has_row || has_rest || !histograms.kept.is_empty() {
            state.sequence += 1;
            number = state.sequence;
            let bound = cells.iter().flat_map(StagedCells::bound);
            let others = histograms.kept.iter().map(|(id, _)| *id);
            let others = solo.iter().map(|(id, _)| *id).chain(others);
            self.define(state, records, bound.chain(others));
            let writer = &state.targets[target as usize];
            let nothing = Changed::default();
            let logged = match &cells {
                Some(cells) => cells.record(writer, number),
                None => RowRecord {
                    commit: number,
                    target,
                    reset: None,
                    previous: 0,
                    time,
                    bindings: &[],
                    present: None,
                    changed: &nothing,
                    solo: &[],
                    histograms: &[],
                    metadata: &[],
                    has_row: false,
                },
            };
            let logged = RowRecord {
                solo: &solo,
                histograms: &histograms.kept,
                metadata: &metadata,
                ..logged
            };
            encode_row(records, &logged);
        }
        Ok(StagedRow {
            target,
            time,
            number,
            cells,
            solo,
            metadata,
            real,
            current,
            tracked: now,
            histograms,
            repeated,
            commit,
        })
    }

    pub(super) fn publish_row(&self, state: &mut State, row: StagedRow) -> Commit {
        let writer = &mut state.targets[row.target as usize];
        writer.tracked = row.tracked;
        if let Some(cells) = row.cells {
            let epoch = state.wal.epoch;
            let bytes = cells.publish(writer, epoch, &mut state.next_block, row.number);
            self.rows_bytes.fetch_add(bytes, Ordering::Relaxed);
            writer.real = row.real;
            self.saw(row.time);
        }
        for (column, bits) in row.current {
            writer.set_current(column, bits);
        }
        writer.histograms = row.histograms.columns;
        writer.release_retired();
        self.publish_solo(row.number, &row.solo);
        self.publish_histograms(row.number, row.histograms.kept);
        self.metadata.publish(row.number, &row.metadata);
        row.commit
    }
}
