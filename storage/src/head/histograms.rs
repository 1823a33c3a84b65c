//! Native histograms that are only in memory and in the log, by series.
//!
//! They have no row: each is kept by itself, in the bytes of its log record. Changed under the commit lock
//! only; readers copy the list of a series, under a lock that is held for a moment.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard,
    atomic::{AtomicU64, Ordering},
};

use super::{
    HashMap, Head,
    bits::{self, Bits},
    judge::{Undo, Verdict, judge},
    target::TargetWriter,
};
use crate::{
    Commit, Histogram, Kind, Refusal, ResetHint, RowBuilder, Timestamp,
    codec::{PackedHistogram, PackedSample},
};

/// A histogram of a commit.
#[derive(Debug, Clone)]
pub(crate) struct HistogramSample {
    pub(crate) commit: u64,
    pub(crate) sample: PackedSample,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Histograms {
    /// In the order of their commits; late ones may stand behind newer ones. No list is empty.
    by_series: RwLock<HashMap<u32, Vec<HistogramSample>>>,
    /// The newest histogram of each series that the latest seal with histograms took from memory: what comes
    /// next is compared with it.
    sealed: Mutex<HashMap<u32, PackedSample>>,
    series: AtomicU64,
    bytes: AtomicU64,
}

fn bytes(sample: &HistogramSample) -> u64 {
    (size_of::<HistogramSample>() + sample.sample.histogram.as_bytes().len()) as u64
}

impl Histograms {
    /// How many series there are.
    pub(crate) fn series_len(&self) -> u64 {
        self.series.load(Ordering::Relaxed)
    }

    /// Bytes of all of them.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Adds the histograms of a commit, by the numbers of their series.
    pub(super) fn push(&self, commit: u64, samples: Vec<(u32, PackedSample)>) {
        if samples.is_empty() {
            return;
        }
        let by_series = &mut *self
            .by_series
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        for (id, sample) in samples {
            let sample = HistogramSample { commit, sample };
            self.bytes.fetch_add(bytes(&sample), Ordering::Relaxed);
            by_series.entry(id).or_default().push(sample);
        }
        self.series.store(by_series.len() as u64, Ordering::Relaxed);
    }

    /// The histograms of a series, if there are any.
    pub(crate) fn of(&self, id: u32) -> Option<Arc<[HistogramSample]>> {
        if self.series_len() == 0 {
            return None;
        }
        let by_series = self.read();
        by_series.get(&id).map(|samples| samples.as_slice().into())
    }

    /// The series, ascending.
    pub(super) fn series(&self) -> Vec<u32> {
        let mut series: Vec<u32> = self.read().keys().copied().collect();
        series.sort_unstable();
        series
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        self.series_len() > 0 && self.read().contains_key(&id)
    }

    /// Time and fingerprint of the newest histogram of a series.
    pub(super) fn newest(&self, id: u32) -> Option<(Timestamp, u64)> {
        if self.series_len() == 0 {
            return None;
        }
        let by_series = self.read();
        let samples = by_series
            .get(&id)?
            .iter()
            .map(|histogram| &histogram.sample);
        // Of equal times the first one counts.
        let newest = samples.rev().max_by_key(|sample| sample.time)?;
        Some((newest.time, newest.histogram.fingerprint()))
    }

    /// The histogram that is the newest sample of a series, given by time and fingerprint, if it is in memory
    /// or was until the latest seal.
    fn find(&self, id: u32, newest: (Timestamp, u64)) -> Option<PackedSample> {
        let is_newest = |sample: &&PackedSample| {
            sample.time == newest.0 && sample.histogram.fingerprint() == newest.1
        };
        if self.series_len() > 0
            && let Some(samples) = self.read().get(&id)
        {
            let mut samples = samples.iter().rev().map(|histogram| &histogram.sample);
            if let Some(found) = samples.find(is_newest) {
                return Some(found.clone());
            }
        }
        self.sealed().get(&id).filter(is_newest).cloned()
    }

    fn sealed(&self) -> MutexGuard<'_, HashMap<u32, PackedSample>> {
        self.sealed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops what is in commits up to `sealed`.
    pub(super) fn prune(&self, sealed: u64) {
        if self.series_len() == 0 {
            return;
        }
        let by_series = &mut *self
            .by_series
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let mut left = 0;
        let mut newest: HashMap<u32, PackedSample> = HashMap::default();
        by_series.retain(|id, samples| {
            let is_sealed = |histogram: &&HistogramSample| histogram.commit <= sealed;
            let of_sealed = samples
                .iter()
                .filter(is_sealed)
                .map(|sealed| &sealed.sample);
            if let Some(sample) = of_sealed.max_by_key(|sample| sample.time) {
                newest.insert(*id, sample.clone());
            }
            samples.retain(|sample| sample.commit > sealed);
            left += samples.iter().map(bytes).sum::<u64>();
            !samples.is_empty()
        });
        by_series.shrink_to_fit();
        if !newest.is_empty() {
            *self.sealed() = newest;
        }
        self.bytes.store(left, Ordering::Relaxed);
        self.series.store(by_series.len() as u64, Ordering::Relaxed);
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<u32, Vec<HistogramSample>>> {
        self.by_series
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A histogram that an appender was given.
#[derive(Debug, Clone)]
pub(super) struct PushedHistogram {
    /// So many numbers came before.
    pub(super) behind: usize,
    /// Number of the series.
    pub(super) id: u32,
    /// `None`: it is invalid.
    pub(super) sample: Option<PackedSample>,
}

/// What a row brings.
#[derive(Debug, Default)]
pub(super) struct RowHistograms {
    /// By the numbers of their series, markers included.
    pub(super) kept: Vec<(u32, PackedSample)>,
    /// The columns that have one.
    pub(super) columns: Bits,
    /// How many were accepted.
    pub(super) accepted: u32,
    /// Of these, how many were there before.
    pub(super) repeated: u32,
}

impl Head {
    /// Judges the histograms of a row: `now` has its other columns, the first of them is refused by the
    /// index beside it. Of columns that had one in the previous row and have nothing now, the series ends.
    pub(super) fn stage_histograms(
        &self,
        writer: &TargetWriter,
        row: &RowBuilder,
        as_row: bool,
        (now, first_index): (&Bits, usize),
        commit: &mut Commit,
        undo: &mut Undo,
    ) -> RowHistograms {
        let mut staged = RowHistograms::default();
        let bounds = self.bounds();
        let time = row.time;
        let keep = |staged: &mut RowHistograms, id: u32, histogram: PackedHistogram| {
            staged.kept.push((id, PackedSample { time, histogram }));
        };
        for (index, (column, histogram)) in row.histograms.iter().enumerate() {
            let id = writer.series_of(column.0);
            let is_second = now.contains(column.0) || staged.columns.contains(column.0);
            let refusal = match (id, histogram) {
                (Some(id), Some(histogram)) if !is_second => {
                    staged.columns.insert(column.0);
                    let bits = histogram.fingerprint();
                    let last = self.newest(id);
                    let verdict = judge(bounds, last, time, bits);
                    if matches!(verdict, Verdict::Keep) {
                        undo.push((id, last));
                        self.states.set_last(id, (time, bits));
                    }
                    if matches!(verdict, Verdict::Late) {
                        self.counters.late.fetch_add(1, Ordering::Relaxed);
                    }
                    if matches!(verdict, Verdict::Keep | Verdict::Late) {
                        let last = matches!(verdict, Verdict::Keep).then_some(last);
                        let hinted = self.hinted(id, last, None, histogram);
                        keep(&mut staged, id, hinted);
                    }
                    match verdict {
                        Verdict::Refuse(refusal) => Some(refusal),
                        Verdict::Same => {
                            staged.repeated += 1;
                            None
                        }
                        Verdict::Keep | Verdict::Late => None,
                    }
                }
                (Some(_), None) => Some(Refusal::InvalidHistogram),
                _ => Some(Refusal::Duplicate),
            };
            if let Some(refusal) = refusal {
                self.counters.refused(refusal);
                let index = (first_index + index) as u32;
                commit.refused.push((index, refusal));
            } else {
                commit.accepted += 1;
                staged.accepted += 1;
            }
        }
        if !as_row {
            staged.columns.union(&writer.histograms);
            return staged;
        }
        for column in bits::ones(writer.histograms.words()) {
            let is_here = now.contains(column) || staged.columns.contains(column);
            if !is_here && let Some(id) = writer.series_of(column) {
                let last = self.newest(id);
                if time > last.0 {
                    let marker = PackedHistogram::of_valid(&Histogram::stale());
                    undo.push((id, last));
                    self.states.set_last(id, (time, marker.fingerprint()));
                    keep(&mut staged, id, marker);
                }
            }
        }
        staged
    }

    /// A histogram with what is known of it; `staged` is the newest one of its own commit. `last` tells the
    /// newest sample before it by time and fingerprint, `None`: it is late.
    pub(super) fn hinted(
        &self,
        id: u32,
        last: Option<(Timestamp, u64)>,
        staged: Option<&PackedSample>,
        packed: &PackedHistogram,
    ) -> PackedHistogram {
        let hint = packed.hint();
        if hint == ResetHint::Gauge || packed.is_stale() {
            return packed.clone();
        }
        let before = last.and_then(|last| {
            let is_last = |staged: &&PackedSample| {
                staged.time == last.0 && staged.histogram.fingerprint() == last.1
            };
            let staged = staged.filter(is_last);
            let staged = staged.map(|sample| sample.histogram.clone());
            staged.or_else(|| self.histogram_before(id, last))
        });
        packed.with_hint(match before {
            Some(before) => (packed.histogram()).hint_after(&before.histogram()),
            None if hint == ResetHint::Reset => hint,
            None => ResetHint::Unknown,
        })
    }

    /// The histogram that is the newest sample of a series, given by time and fingerprint. After an opening, and
    /// where none came for longer than from seal to seal, it is read from its block once.
    fn histogram_before(&self, id: u32, newest: (Timestamp, u64)) -> Option<PackedHistogram> {
        if let Some(found) = self.histograms.find(id, newest) {
            return Some(found.histogram);
        }
        if newest.0 == Timestamp::MIN {
            return None;
        }
        // Of what is damaged nothing is known; queries tell of it.
        let sealed = self.catalog().newest_histogram(id, newest.0).ok()?;
        sealed.filter(|histogram| histogram.fingerprint() == newest.1)
    }

    /// Whether the newest committed sample of a series is a native histogram.
    pub(super) fn ends_in_histogram(&self, id: u32) -> bool {
        let newest = {
            let _state = self.state();
            self.newest(id).0
        };
        if let Some((time, _)) = self.histograms.newest(id) {
            return time == newest;
        }
        // What is in memory is no histogram then, and mostly newer than what is sealed.
        let sealed = self.catalog().newest_kind(id);
        matches!(sealed, Ok(Some((time, Kind::Histogram))) if time == newest)
    }

    /// Makes the histograms of a commit readable.
    pub(super) fn publish_histograms(&self, commit: u64, histograms: Vec<(u32, PackedSample)>) {
        for (_, sample) in &histograms {
            self.saw(sample.time);
        }
        self.histograms.push(commit, histograms);
    }
}
