//! Committing what an appender was given: each sample judged by its series, then kept in rows of groups or by
//! itself.

use std::{
    borrow::Cow,
    sync::{PoisonError, atomic::Ordering},
};

use super::{
    Appended, Bounds, HashMap, Head, Known, State,
    cells::StagedCells,
    groups::{Arranged, Kept},
    histograms::PushedHistogram,
    judge::{Undo, Verdict, judge},
    members::{Member, Parted},
    side::Side,
    states::States,
};
use crate::{
    Commit, Metadata, Refusal, Sample, Timestamp,
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
    /// Of siblings: these are never refused, and not counted.
    pub(super) starts: Vec<(u32, Sample)>,
}

impl Push {
    /// The series of some samples and of all histograms.
    fn ids(&self, samples: &[u32]) -> impl Iterator<Item = u32> {
        let samples = samples.iter().map(|index| self.samples[*index as usize].0);
        samples.chain(self.histograms.iter().map(|pushed| pushed.id))
    }
}

/// A commit of an appender that was judged but not applied.
pub(super) struct StagedPush {
    number: u64,
    /// Rows of groups.
    rows: Vec<StagedCells>,
    /// Samples that are in no row, by the number of the series.
    samples: Vec<(u32, Sample)>,
    histograms: Vec<(u32, PackedSample)>,
    pub(super) appended: Appended,
    metadata: Vec<LoggedMetadata>,
    joined: Vec<Member>,
    commit: Commit,
}

/// How far a push was judged.
#[derive(Debug, Default)]
struct Position {
    samples: usize,
    histograms: usize,
    /// How many samples of the push are before it.
    index: u32,
}

/// A push while it is judged.
struct Judged<'a> {
    bounds: Bounds,
    /// That of the log.
    epoch: u64,
    undo: &'a mut Undo,
    kept: Vec<Kept>,
    histograms: Vec<(u32, PackedSample)>,
    /// Of each of these, time and bits of the sample before it; `None`: it is late.
    before: Vec<Option<(Timestamp, u64)>>,
    late: u32,
    /// Series that the log does not know in its epoch.
    undefined: Vec<u32>,
    commit: Commit,
}

impl Judged<'_> {
    /// Judges what comes from a position among these samples on, each by its series' side record, up to the first
    /// of a series that has none or does not judge itself; answers whether there was none. With `all_judge` such a
    /// series is one that could not be had again, and is refused. Of a push with histograms it is all samples.
    fn judge_from(
        &mut self,
        push: &Push,
        samples: &[u32],
        at: &mut Position,
        states: &States,
        all_judge: bool,
    ) -> bool {
        let tables = states.tables();
        let mut sides = tables.sides();
        loop {
            let next = push.histograms.get(at.histograms);
            let end = next.map_or(samples.len(), |next| next.behind);
            for index in &samples[at.samples..end] {
                let (id, sample) = &push.samples[*index as usize];
                at.index = *index;
                let side = sides.get(*id);
                let Some((last, mut side)) = side.and_then(|side| Some((side.last()?, side)))
                else {
                    if !all_judge {
                        return false;
                    }
                    self.refuse(at, Refusal::SeriesLimit);
                    at.samples += 1;
                    continue;
                };
                let newest = (sample.time, sample.value.to_bits());
                if let Some(is_late) = self.judge(at, (*id, &mut side), last, newest) {
                    self.kept.push(Kept {
                        id: *id,
                        sample: *sample,
                        standing: side.standing(),
                        is_late,
                    });
                }
                at.samples += 1;
            }
            let Some(PushedHistogram { id, sample, .. }) = next else {
                return true;
            };
            at.index = at.samples as u32;
            let side = sides.get(*id);
            let known = side.and_then(|side| Some((side.last()?, side)));
            match (known, sample) {
                (None, _) if !all_judge => return false,
                (_, None) => self.refuse(at, Refusal::InvalidHistogram),
                // Only a series that could not be had again is without a record.
                (None, _) => self.refuse(at, Refusal::SeriesLimit),
                (Some((last, mut side)), Some(sample)) => {
                    let newest = (sample.time, sample.histogram.fingerprint());
                    let verdict = self.judge(at, (*id, &mut side), last, newest);
                    if let Some(is_late) = verdict {
                        self.histograms.push((*id, sample.clone()));
                        self.before.push((!is_late).then_some(last));
                    }
                }
            }
            at.histograms += 1;
        }
    }

    /// Judges a sample, given by time and bits; answers whether it is late, if it is to be kept.
    #[inline]
    fn judge(
        &mut self,
        at: &Position,
        (id, side): (u32, &mut Side<'_>),
        last: (Timestamp, u64),
        newest: (Timestamp, u64),
    ) -> Option<bool> {
        let is_late = match judge(self.bounds, last, newest.0, newest.1) {
            Verdict::Keep => {
                self.undo.push((id, last));
                side.set_last(newest);
                false
            }
            Verdict::Late => {
                self.late += 1;
                true
            }
            Verdict::Same => {
                self.commit.accepted += 1;
                return None;
            }
            Verdict::Refuse(refusal) => {
                self.refuse(at, refusal);
                return None;
            }
        };
        self.commit.accepted += 1;
        if side.becomes_logged(self.epoch) {
            self.undefined.push(id);
        }
        Some(is_late)
    }

    #[cold]
    fn refuse(&mut self, at: &Position, refusal: Refusal) {
        let index = at.index + at.histograms as u32;
        self.commit.refused.push((index, refusal));
    }
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
        let samples = renumbered.samples.iter_mut();
        let samples = samples.chain(&mut renumbered.starts).map(|(id, _)| id);
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

    /// Judges start timestamps, and adds those that are kept.
    #[cold]
    fn judge_starts(
        &self,
        state: &mut State,
        push: &Push,
        kept: &mut Vec<Kept>,
        undefined: &mut Vec<u32>,
        undo: &mut Undo,
    ) {
        self.isolate_all(state, push.starts.iter().map(|(id, _)| *id));
        let tables = self.states.tables();
        let mut sides = tables.sides();
        for (id, sample) in &push.starts {
            let Some((last, mut side)) = sides.get(*id).and_then(|side| Some((side.last()?, side)))
            else {
                continue;
            };
            let newest = (sample.time, sample.value.to_bits());
            let verdict = judge(push.bounds, last, newest.0, newest.1);
            let is_late = match verdict {
                Verdict::Keep => {
                    undo.push((*id, last));
                    side.set_last(newest);
                    false
                }
                Verdict::Late => true,
                Verdict::Same | Verdict::Refuse(_) => continue,
            };
            if side.becomes_logged(state.wal.epoch) {
                undefined.push(*id);
            }
            kept.push(Kept {
                id: *id,
                sample: *sample,
                standing: side.standing(),
                is_late,
            });
        }
    }

    /// Notes of each histogram of a push what is known of it against the sample before it.
    fn find_resets(
        &self,
        histograms: &mut [(u32, PackedSample)],
        before: &[Option<(Timestamp, u64)>],
    ) {
        let mut newest: HashMap<u32, PackedSample> = HashMap::default();
        for ((id, sample), last) in histograms.iter_mut().zip(before) {
            let staged = newest.get(id);
            sample.histogram = self.hinted(*id, *last, staged, &sample.histogram);
            if last.is_some() {
                newest.insert(*id, sample.clone());
            }
        }
    }

    /// `None`: it must wait until what is staged is published.
    pub(super) fn stage_push(
        &self,
        state: &mut State,
        push: &Push,
        records: &mut Vec<u8>,
        undo: &mut Undo,
    ) -> Option<StagedPush> {
        let mark = undo.len();
        let push = self.renumbered(push);
        let Parted { mut rows, others } = self.part(state, &push)?;
        undo.reserve(others.len());
        let mut judged = Judged {
            bounds: push.bounds,
            epoch: state.wal.epoch,
            undo,
            kept: Vec::with_capacity(others.len()),
            histograms: Vec::new(),
            before: Vec::new(),
            late: 0,
            undefined: Vec::new(),
            commit: Commit::default(),
        };
        let mut at = Position::default();
        let mut is_done = judged.judge_from(&push, &others, &mut at, &self.states, false);
        if !is_done {
            // Most of what comes has come before, and judges itself already.
            self.isolate_all(state, push.ids(&others));
            is_done = judged.judge_from(&push, &others, &mut at, &self.states, true);
        }
        debug_assert!(is_done, "who has no record now is refused");
        let Judged {
            undo,
            mut kept,
            mut histograms,
            before,
            mut late,
            mut undefined,
            mut commit,
            ..
        } = judged;
        let (mut metadata, refused) = self.metadata.judge(&push.metadata, Origins::PUSH);
        commit.metadata_refused = refused;
        // What is refused whole ends, as far as counters go, with its first refused sample.
        let counted = if push.all_or_nothing { 1 } else { usize::MAX };
        for (_, refusal) in commit.refused.iter().take(counted) {
            self.counters.refused(*refusal);
        }
        if push.all_or_nothing && !commit.refused.is_empty() {
            self.revert(undo.split_off(mark));
            let tables = self.states.tables();
            let mut sides = tables.sides();
            for id in undefined.drain(..) {
                if let Some(mut side) = sides.get(id) {
                    side.forget_logged();
                }
            }
            kept.clear();
            rows.clear();
            histograms.clear();
            late = 0;
            metadata.clear();
            commit.accepted = 0;
        }
        self.find_resets(&mut histograms, &before);
        let by_rows: usize = rows.iter().map(|row| row.cells.len()).sum();
        commit.accepted += by_rows as u32;
        let appended = Appended {
            numbers: (by_rows + kept.len()) as u32,
            histograms: histograms.len() as u32,
            late,
        };
        let is_kept = !push.all_or_nothing || commit.refused.is_empty();
        if is_kept && !push.starts.is_empty() {
            self.judge_starts(state, &push, &mut kept, &mut undefined, undo);
        }
        let Arranged {
            rows,
            solo: samples,
            joined,
        } = self.in_groups(state, &kept, rows);
        if !rows.is_empty() || !kept.is_empty() || !histograms.is_empty() || !metadata.is_empty() {
            state.sequence += 1;
            let number = state.sequence;
            let bound = rows.iter().flat_map(StagedCells::bound);
            self.define(state, records, undefined.into_iter().chain(bound));
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
        Some(StagedPush {
            number: state.sequence,
            rows,
            samples,
            histograms,
            appended,
            metadata,
            joined,
            commit,
        })
    }

    pub(super) fn publish_push(&self, state: &mut State, push: StagedPush) -> Commit {
        let epoch = state.wal.epoch;
        for row in push.rows {
            self.saw(row.time);
            let writer = &mut state.targets[row.target as usize];
            let bytes = row.publish(writer, epoch, &mut state.next_block, push.number);
            self.rows_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        self.settle(&mut state.targets, &push.joined);
        self.publish_solo(push.number, &push.samples);
        self.publish_histograms(push.number, push.histograms);
        self.metadata.publish(push.number, &push.metadata);
        push.commit
    }
}
