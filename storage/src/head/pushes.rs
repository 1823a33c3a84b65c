//! Committing what an appender was given: each sample judged by its series, then kept in rows of groups or by
//! itself.

use std::{
    borrow::Cow,
    sync::{PoisonError, atomic::Ordering},
};

use super::{
    Bounds, HashMap, Head, Known, State,
    cells::StagedCells,
    groups::Kept,
    histograms::{Pushed, PushedHistogram},
    judge::{Undo, Verdict, judge},
};
use crate::{
    Commit, Metadata, Refusal, Sample,
    codec::PackedSample,
    metadata::{LoggedMetadata, Origins},
    wal::{encode_push, encode_solo},
};

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

/// A commit of an appender that was judged but not applied.
pub(super) struct StagedPush {
    number: u64,
    /// Rows of groups.
    rows: Vec<StagedCells>,
    /// Samples that are in no row, by the number of the series.
    samples: Vec<(u32, Sample)>,
    histograms: Vec<(u32, PackedSample)>,
    pub(super) histograms_accepted: u32,
    metadata: Vec<LoggedMetadata>,
    commit: Commit,
}

impl Head {
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

    pub(super) fn stage_push(
        &self,
        state: &mut State,
        push: &Push,
        records: &mut Vec<u8>,
        undo: &mut Undo,
    ) -> StagedPush {
        let mark = undo.len();
        let mut commit = Commit::default();
        let mut kept: Vec<Kept> = Vec::with_capacity(push.samples.len());
        let mut histograms = Vec::new();
        let mut histograms_accepted = 0;
        let mut undefined: Vec<u32> = Vec::new();
        let epoch = state.wal.epoch;
        let push = self.renumbered(push);
        let mut rest = push.pushed().zip(0..).peekable();
        let mut are_isolated = false;
        while rest.peek().is_some() {
            let tables = self.states.tables();
            let mut sides = tables.sides();
            while let Some(((id, pushed), index)) = rest.peek().copied() {
                let side = sides.get(id);
                let known = side.and_then(|side| Some((side.last()?, side)));
                if known.is_none() && !are_isolated {
                    break;
                }
                rest.next();
                let is_histogram = u32::from(matches!(pushed, Pushed::Histogram(_)));
                let Some((time, bits)) = pushed.time_and_bits() else {
                    self.counters.refused(Refusal::InvalidHistogram);
                    commit.refused.push((index, Refusal::InvalidHistogram));
                    continue;
                };
                let Some((last, side)) = known else {
                    // Only a series that could not be had again is without a record.
                    self.counters.refused(Refusal::SeriesLimit);
                    commit.refused.push((index, Refusal::SeriesLimit));
                    continue;
                };
                let verdict = judge(push.bounds, last, time, bits);
                let is_late = matches!(verdict, Verdict::Late);
                match verdict {
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
                    Pushed::Float(sample) => kept.push(Kept {
                        id,
                        sample: *sample,
                        standing: side.standing(),
                        is_late,
                    }),
                    Pushed::Histogram(sample) => {
                        histograms.extend(sample.clone().map(|s| (id, s)));
                    }
                }
            }
            drop(sides);
            drop(tables);
            if rest.peek().is_some() {
                // Most of what comes has come before, and judges itself already.
                self.isolate_all(state, push.pushed().map(|(id, _)| id));
                are_isolated = true;
            }
        }
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
            kept.clear();
            histograms.clear();
            histograms_accepted = 0;
            metadata.clear();
            commit.accepted = 0;
        }
        let (rows, samples) = self.in_groups(state, &kept);
        if !kept.is_empty() || !histograms.is_empty() || !metadata.is_empty() {
            state.sequence += 1;
            let number = state.sequence;
            self.define(state, records, undefined.into_iter());
            if rows.is_empty() {
                encode_solo(records, number, &samples, &histograms, &metadata);
            } else {
                let rows = rows.iter().map(|row| {
                    let writer = &state.targets[row.target as usize];
                    row.record(writer, number)
                });
                encode_push(records, number, rows, &samples, &histograms, &metadata);
            }
        }
        StagedPush {
            number: state.sequence,
            rows,
            samples,
            histograms,
            histograms_accepted,
            metadata,
            commit,
        }
    }

    pub(super) fn publish_push(&self, state: &mut State, push: StagedPush) -> Commit {
        let epoch = state.wal.epoch;
        for row in push.rows {
            self.saw(row.time);
            let writer = &mut state.targets[row.target as usize];
            let bytes = row.publish(writer, epoch, &mut state.next_block, push.number);
            self.rows_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        self.publish_solo(push.number, &push.samples);
        self.publish_histograms(push.number, push.histograms);
        self.metadata.publish(push.number, &push.metadata);
        push.commit
    }
}
