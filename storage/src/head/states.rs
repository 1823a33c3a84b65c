//! What the head keeps for each series, by its number.
//!
//! A series that one target scrapes has one word: the target and the column. Everything else is rare
//! and has a side record: several targets, samples without a row, late samples, a newest sample that
//! the rows alone do not tell. Words and records are changed under the commit lock only; readers look
//! at them at any time. So many records are behind one lock, which is held for a moment, or by a commit
//! for those of its series that are next to each other.
//!
//! A word is a hint: its target may have given the column away since. So nothing needs to be told here
//! when a column is released or rows leave memory.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard,
    atomic::{AtomicU64, Ordering},
};

use super::{
    row::NO_SERIES,
    series::{Cells, SoloSample, Sources},
    side::{Place, Places, Records, SIDE_CHUNK, Side, Standing},
    target::Target,
};
use crate::{Sample, Timestamp};

/// Series in a chunk of words.
const CHUNK: usize = 1_024;
/// Set in a word: the rest is the number of a side record.
const SIDE: u64 = 1 << 63;

type Words = Arc<[AtomicU64]>;
type SideChunk = Arc<Mutex<Records>>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct States {
    /// By `id / CHUNK`; a chunk that was never needed, or is not needed any more, is absent.
    words: RwLock<Vec<Option<Words>>>,
    targets: RwLock<Vec<Arc<Target>>>,
    side: RwLock<Vec<SideChunk>>,
    free: Mutex<Vec<u32>>,
    solo_series: AtomicU64,
    solo_bytes: AtomicU64,
}

fn lock(chunk: &Mutex<Records>) -> MutexGuard<'_, Records> {
    chunk.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pack(place: Place) -> u64 {
    (u64::from(place.target) + 1) << 32 | u64::from(place.column)
}

fn unpack(word: u64) -> Option<Place> {
    (word != 0 && word & SIDE == 0).then(|| Place {
        target: (word >> 32) as u32 - 1,
        column: word as u32,
    })
}

impl States {
    /// Where the samples of a series are that are in memory.
    pub(crate) fn sources(&self, id: u32) -> Sources {
        let (places, solo) = loop {
            let word = self.word(id);
            if word & SIDE == 0 {
                break (Places::of(unpack(word)), None);
            }
            // A record that was given up meanwhile belongs to another series, or to none.
            let found = self.with_side(word, |side| {
                let solo = side.has_solo().then(|| {
                    let mut samples = Vec::new();
                    side.copy_solo(&mut samples);
                    samples.into()
                });
                (side.id() == Some(id)).then(|| (side.places().clone(), solo))
            });
            if let Some(found) = found {
                break found;
            }
        };
        if places.one.is_none() {
            let targets = Vec::new();
            return Sources { targets, solo };
        }
        let known = self.read_targets();
        let targets = places.iter();
        let targets =
            targets.map(|place| (Arc::clone(&known[place.target as usize]), place.column));
        Sources {
            targets: targets.collect(),
            solo,
        }
    }

    /// The series with samples that have no row, ascending.
    pub(crate) fn solo_series(&self) -> Vec<u32> {
        self.sides(|side| side.solo_cell().is_some())
    }

    /// Appends the samples of a series that have no row.
    pub(super) fn copy_solo(&self, id: u32, samples: &mut Vec<SoloSample>) {
        self.look(id, |side| side.copy_solo(samples));
    }

    /// Whether a series has samples without a row.
    pub(super) fn has_solo(&self, id: u32) -> bool {
        self.look(id, |side| side.has_solo()).unwrap_or(false)
    }

    /// Whether a series has, or had, a place in rows.
    pub(super) fn is_in_rows(&self, id: u32) -> bool {
        let word = self.word(id);
        let in_record = || self.look(id, |side| side.places().one.is_some());
        unpack(word).is_some() || in_record().unwrap_or(false)
    }

    /// Looks at the record of a series, if it has one.
    fn look<T>(&self, id: u32, look: impl FnOnce(&mut Side<'_>) -> T) -> Option<T> {
        let word = self.word(id);
        // A record that was given up meanwhile belongs to another series, or to none.
        let look = |side: &mut Side<'_>| (side.id() == Some(id)).then(|| look(side));
        (word & SIDE != 0)
            .then(|| self.with_side(word, look))
            .flatten()
    }

    /// The series that are in the rows of several targets, ascending.
    pub(crate) fn shared_series(&self) -> Vec<u32> {
        self.sides(|side| side.places_len() > 1)
    }

    fn sides(&self, is_wanted: impl Fn(&Side<'_>) -> bool) -> Vec<u32> {
        let mut ids = Vec::new();
        for chunk in self.read_side().iter() {
            ids.extend(lock(chunk).ids(&is_wanted));
        }
        ids.sort_unstable();
        ids
    }

    /// How many series have samples without a row.
    pub(crate) fn solo_series_len(&self) -> u64 {
        self.solo_series.load(Ordering::Relaxed)
    }

    /// Bytes of the samples that have no row.
    pub(crate) fn solo_bytes(&self) -> u64 {
        self.solo_bytes.load(Ordering::Relaxed)
    }

    /// Sets the target with a number, which is at most the number of targets. What words say of one that
    /// had it before is a hint that the rows of this one do not confirm.
    pub(super) fn set_target(&self, target: Arc<Target>) {
        let mut targets = self.targets.write().unwrap_or_else(PoisonError::into_inner);
        let index = target.index as usize;
        match targets.get_mut(index) {
            Some(place) => *place = target,
            None => {
                debug_assert_eq!(targets.len(), index);
                targets.push(target);
            }
        }
    }

    /// Whether one of the targets is such a one.
    pub(crate) fn any_target(&self, is: &mut dyn FnMut(&Target) -> bool) -> bool {
        self.read_targets().iter().any(|target| is(target))
    }

    /// The target with a number.
    pub(super) fn target(&self, index: u32) -> Arc<Target> {
        Arc::clone(&self.read_targets()[index as usize])
    }

    /// Every place of a series.
    pub(super) fn places(&self, id: u32) -> Places {
        let word = self.word(id);
        if word & SIDE == 0 {
            return Places::of(unpack(word));
        }
        self.with_side(word, |side| side.places().clone())
    }

    /// The column that a series had last in the rows of a target.
    pub(super) fn column_in(&self, id: u32, target: u32) -> Option<u32> {
        let word = self.word(id);
        if word & SIDE == 0 {
            let place = unpack(word).filter(|place| place.target == target);
            return place.map(|place| place.column);
        }
        self.with_side(word, |side| {
            let mut places = side.places().iter();
            let place = places.find(|place| place.target == target);
            place.map(|place| place.column)
        })
    }

    /// Says in which column of a target a series is now.
    pub(super) fn set_place(&self, id: u32, place: Place) {
        let word = self.word(id);
        match unpack(word) {
            None if word == 0 => self.set_word(id, pack(place)),
            Some(known) if known.target == place.target => self.set_word(id, pack(place)),
            _ => self.change(id, |side| side.places().set(place)),
        }
    }

    /// What the side record says of the newest sample: whether it is right, and the sample.
    pub(super) fn last(&self, id: u32) -> Option<(bool, (Timestamp, u64))> {
        let word = self.word(id);
        let last = |side: &mut Side<'_>| (side.last().is_some(), side.last_known());
        (word & SIDE != 0).then(|| self.with_side(word, last))
    }

    /// Sets the newest sample of a series that judges itself.
    pub(super) fn set_last(&self, id: u32, last: (Timestamp, u64)) {
        self.change(id, |side| side.set_last(last));
    }

    /// Raises the lower bound of the newest sample.
    pub(super) fn raise_last(&self, id: u32, last: (Timestamp, u64)) {
        self.change(id, |side| {
            if last.0 > side.last_known().0 {
                side.set_last(last);
            }
        });
    }

    /// From now on the side record has the newest sample, which is `last`.
    pub(super) fn judge_itself(&self, id: u32, last: (Timestamp, u64)) {
        self.change(id, |side| {
            side.judges_itself(true);
            side.set_last(last);
        });
    }

    /// Says how the samples of a series came lately.
    pub(super) fn set_standing(&self, id: u32, standing: Standing) {
        self.change(id, |side| side.set_standing(standing));
    }

    /// From now on the rows of one target have the newest sample.
    pub(super) fn judge_by_rows(&self, id: u32) {
        let word = self.word(id);
        if word & SIDE != 0 {
            self.with_side(word, |side| side.judges_itself(false));
        }
    }

    /// The tables, for the samples of one commit.
    pub(super) fn tables(&self) -> Tables<'_> {
        Tables {
            words: self.words.read().unwrap_or_else(PoisonError::into_inner),
            side: self.read_side(),
        }
    }

    /// Adds samples of one commit that have no row: number of the series, sample.
    pub(super) fn push_solo(&self, commit: u64, samples: &[(u32, Sample)]) {
        let mut solo_series = 0;
        let mut rest = samples;
        while let Some((id, _)) = rest.first() {
            // Whoever was the first without a record has one when its turn comes again.
            self.change(*id, |_| ());
            let tables = self.tables();
            let mut sides = tables.sides();
            while let Some(((id, sample), after)) = rest.split_first()
                && let Some(mut side) = sides.get(*id)
            {
                rest = after;
                let Sample { time, value } = *sample;
                let is_first = side.push_solo(SoloSample {
                    commit,
                    time,
                    value,
                });
                solo_series += u64::from(is_first);
            }
        }
        self.solo_series.fetch_add(solo_series, Ordering::Relaxed);
        let solo_bytes = samples.len() * Cells::SAMPLE_BYTES;
        self.solo_bytes
            .fetch_add(solo_bytes as u64, Ordering::Relaxed);
    }

    /// Drops the samples without a row up to commit `sealed`, the places that `is_needed` denies, and
    /// the records that say nothing any more.
    pub(super) fn prune(&self, sealed: u64, is_needed: &dyn Fn(u32, Place) -> bool) {
        let (mut solo_series, mut solo_samples) = (0, 0);
        let chunks: Vec<SideChunk> = self.read_side().iter().map(Arc::clone).collect();
        for (chunk, records) in (0..).zip(&chunks) {
            let mut records = lock(records);
            let were_idle = records.become_idle();
            solo_samples += records.drop_up_to(sealed);
            for (slot, was_idle) in (0..).zip(were_idle) {
                let mut side = records.side(slot);
                let Some(id) = side.id() else {
                    continue;
                };
                let has_solo = side.has_solo();
                solo_series += u64::from(has_solo);
                side.places().retain(|place| is_needed(id, place));
                let one = side.places().one;
                let says_more = side.places_len() > 1 || side.last().is_some() && one.is_some();
                if was_idle && !has_solo && !says_more {
                    self.set_word(id, one.map_or(0, pack));
                    side.give_to(NO_SERIES, None);
                    self.lock_free().push(chunk * SIDE_CHUNK as u32 + slot);
                }
            }
        }
        let solo_bytes = (solo_samples * Cells::SAMPLE_BYTES) as u64;
        self.solo_series.store(solo_series, Ordering::Relaxed);
        self.solo_bytes.store(solo_bytes, Ordering::Relaxed);
    }

    /// Forgets series.
    pub(super) fn forget(&self, ids: &[u32]) {
        for id in ids {
            let word = self.word(*id);
            if word == 0 {
                continue;
            }
            self.set_word(*id, 0);
            if word & SIDE != 0 {
                self.with_side(word, |side| side.give_to(NO_SERIES, None));
                self.lock_free().push(word as u32);
            }
        }
        let mut words = self.words.write().unwrap_or_else(PoisonError::into_inner);
        let mut touched: Vec<usize> = ids.iter().map(|id| *id as usize / CHUNK).collect();
        touched.dedup();
        for chunk in touched {
            if let Some(slot) = words.get_mut(chunk)
                && let Some(chunk) = slot
                && chunk.iter().all(|word| word.load(Ordering::Relaxed) == 0)
            {
                *slot = None;
            }
        }
    }

    /// How many series have a word, and how many of them a record.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        let words = self.words.read().unwrap();
        let words = words.iter().flatten().flat_map(|chunk| chunk.iter());
        let words = words
            .filter(|word| word.load(Ordering::Relaxed) != 0)
            .count();
        (words, self.sides(|_| true).len())
    }

    fn word(&self, id: u32) -> u64 {
        let words = self.words.read().unwrap_or_else(PoisonError::into_inner);
        match words.get(id as usize / CHUNK) {
            Some(Some(chunk)) => chunk[id as usize % CHUNK].load(Ordering::Acquire),
            _ => 0,
        }
    }

    fn set_word(&self, id: u32, word: u64) {
        let (chunk, slot) = (id as usize / CHUNK, id as usize % CHUNK);
        {
            let words = self.words.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(Some(chunk)) = words.get(chunk) {
                chunk[slot].store(word, Ordering::Release);
                return;
            }
        }
        let mut words = self.words.write().unwrap_or_else(PoisonError::into_inner);
        if words.len() <= chunk {
            words.resize(chunk + 1, None);
        }
        let chunk =
            words[chunk].get_or_insert_with(|| (0..CHUNK).map(|_| AtomicU64::new(0)).collect());
        chunk[slot].store(word, Ordering::Release);
    }

    /// Changes the side record of a series, made now if there is none.
    fn change(&self, id: u32, change: impl FnOnce(&mut Side<'_>)) {
        let word = self.word(id);
        if word & SIDE != 0 {
            self.with_side(word, change);
            return;
        }
        let number = self.free_slot();
        self.with_side(SIDE | u64::from(number), |side| {
            side.give_to(id, unpack(word));
            change(side);
        });
        self.set_word(id, SIDE | u64::from(number));
    }

    fn free_slot(&self) -> u32 {
        let mut free = self.lock_free();
        if let Some(number) = free.pop() {
            return number;
        }
        let mut side = self.side.write().unwrap_or_else(PoisonError::into_inner);
        let first = (side.len() * SIDE_CHUNK) as u32;
        side.push(Arc::new(Mutex::new(Records::new())));
        free.extend((first + 1..first + SIDE_CHUNK as u32).rev());
        first
    }

    fn with_side<T>(&self, word: u64, look: impl FnOnce(&mut Side<'_>) -> T) -> T {
        let number = word as u32;
        let chunks = self.read_side();
        look(&mut lock(&chunks[number as usize / SIDE_CHUNK]).side(number))
    }

    fn read_targets(&self) -> RwLockReadGuard<'_, Vec<Arc<Target>>> {
        self.targets.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_side(&self) -> RwLockReadGuard<'_, Vec<SideChunk>> {
        self.side.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_free(&self) -> MutexGuard<'_, Vec<u32>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tables, held for one commit: none is locked for each of its series anew. While they are, no
/// series may get its first record.
pub(super) struct Tables<'a> {
    words: RwLockReadGuard<'a, Vec<Option<Words>>>,
    side: RwLockReadGuard<'a, Vec<SideChunk>>,
}

impl Tables<'_> {
    pub(super) fn sides(&self) -> Sides<'_> {
        Sides {
            tables: self,
            words: (usize::MAX, &[]),
            chunk: usize::MAX,
            locked: None,
        }
    }
}

/// Looks up side records, quickest when neighbours come together.
pub(super) struct Sides<'a> {
    tables: &'a Tables<'a>,
    /// The chunk of the last word.
    words: (usize, &'a [AtomicU64]),
    /// The chunk of the last record, which is locked.
    chunk: usize,
    locked: Option<MutexGuard<'a, Records>>,
}

impl Sides<'_> {
    /// The record of a series, if it has one.
    #[inline]
    pub(super) fn get(&mut self, id: u32) -> Option<Side<'_>> {
        let word = self.word(id);
        (word & SIDE != 0).then(|| self.record(word as u32))
    }

    /// Where a group most likely has the series, if one does.
    #[inline]
    pub(super) fn place_in_group(&mut self, id: u32) -> Option<Place> {
        let word = self.word(id);
        if word & SIDE == 0 {
            return unpack(word);
        }
        match self.record(word as u32).standing() {
            Standing::Member(place) => Some(place),
            Standing::Alone | Standing::Seen(_) => None,
        }
    }

    #[inline]
    fn word(&mut self, id: u32) -> u64 {
        let chunk = id as usize / CHUNK;
        if self.words.0 != chunk {
            let words = self.tables.words.get(chunk);
            let words = words.and_then(Option::as_deref);
            self.words = (chunk, words.unwrap_or_default());
        }
        let word = self.words.1.get(id as usize % CHUNK);
        word.map_or(0, |word| word.load(Ordering::Relaxed))
    }

    #[inline]
    fn record(&mut self, number: u32) -> Side<'_> {
        let chunk = number as usize / SIDE_CHUNK;
        if self.chunk != chunk {
            self.go_to(chunk);
        }
        let records = self.locked.as_mut().expect("the chunk that it went to");
        records.side(number)
    }

    #[inline(never)]
    fn go_to(&mut self, chunk: usize) {
        // One at a time.
        self.locked = None;
        self.locked = Some(lock(&self.tables.side[chunk]));
        self.chunk = chunk;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TargetKey, head::target::TargetWriter};

    fn states() -> States {
        let states = States::default();
        for index in 0..3 {
            let writer = TargetWriter::new(index, Some(TargetKey(index.to_string())));
            states.set_target(writer.target);
        }
        states
    }

    fn place(target: u32, column: u32) -> Place {
        Place { target, column }
    }

    fn sample(commit: u64) -> SoloSample {
        SoloSample {
            commit,
            time: commit as i64 * 10,
            value: 1.5,
        }
    }

    fn push(states: &States, id: u32, commit: u64) {
        let SoloSample { time, value, .. } = sample(commit);
        states.push_solo(commit, &[(id, Sample { time, value })]);
    }

    fn places(states: &States, id: u32) -> Vec<(u32, u32)> {
        let sources = states.sources(id);
        let targets = sources.targets.iter();
        targets
            .map(|(target, column)| (target.index, *column))
            .collect()
    }

    #[test]
    fn a_series_of_one_target_has_a_word_and_others_a_record() {
        let states = states();
        assert_eq!(places(&states, 5_000), []);
        states.set_place(5_000, place(1, 7));
        states.set_place(5_000, place(1, 8));
        assert_eq!(places(&states, 5_000), [(1, 8)]);
        assert!(states.last(5_000).is_none());
        states.set_place(5_000, place(0, 1));
        states.set_place(5_000, place(2, 3));
        states.set_place(5_000, place(0, 2));
        assert_eq!(places(&states, 5_000), [(1, 8), (0, 2), (2, 3)]);
        assert_eq!(states.column_in(5_000, 2), Some(3));
        assert_eq!(states.shared_series(), [5_000]);
    }

    #[test]
    fn a_record_goes_once_it_says_no_more_than_a_word() {
        let states = states();
        states.set_place(1, place(0, 4));
        states.judge_itself(2, (70, 7));
        for id in 1..4 {
            push(&states, id, 1);
            push(&states, id, 2);
        }
        assert_eq!(
            (states.solo_series(), states.solo_series_len()),
            (vec![1, 2, 3], 3)
        );
        states.prune(1, &|_, _| true);
        assert_eq!(states.sources(1).solo.as_deref(), Some(&[sample(2)][..]));
        states.prune(2, &|_, _| true);
        // The newest sample stays at hand for another seal.
        states.prune(2, &|_, _| true);
        assert_eq!(states.last(2), Some((true, (70, 7))));
        states.prune(2, &|_, _| true);
        assert_eq!(states.last(1), None);
        assert_eq!(states.last(2), None);
        assert_eq!(places(&states, 1), [(0, 4)]);
        assert_eq!((states.solo_series_len(), states.solo_bytes()), (0, 0));
        // Their records are used again.
        push(&states, 9, 3);
        assert_eq!(states.sources(9).solo.as_deref(), Some(&[sample(3)][..]));
        assert_eq!(states.sources(1).solo, None);
    }

    #[test]
    fn places_that_nobody_needs_go() {
        let states = states();
        for target in 0..3 {
            states.set_place(1, place(target, target));
        }
        states.prune(0, &|_, place| place.target == 1);
        assert_eq!(places(&states, 1), [(1, 1)]);
    }

    #[test]
    fn a_forgotten_series_leaves_no_trace() {
        let states = states();
        states.set_place(1, place(0, 0));
        push(&states, 2, 1);
        states.forget(&[1, 2, 900_000]);
        assert!(places(&states, 1).is_empty() && states.sources(2).solo.is_none());
        assert_eq!(states.solo_series(), []);
        assert!(states.words.read().unwrap().iter().all(Option::is_none));
    }
}
