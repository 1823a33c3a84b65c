//! What the head keeps for each series, by its number.
//!
//! A series that one target scrapes has one word: the target and the column. Everything else is rare
//! and has a side record: several targets, samples without a row, late samples, a newest sample that
//! the rows alone do not tell. Words and records are changed under the commit lock only; readers look
//! at them at any time, each record behind a lock of its own that is held for a moment.
//!
//! A word is a hint: its target may have given the column away since. So nothing needs to be told here
//! when a column is released or rows leave memory.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard,
    atomic::{AtomicU64, Ordering},
};

use super::{
    row::NO_SERIES,
    series::{Solo, SoloSample, Sources},
    target::Target,
};
use crate::Timestamp;

/// Series in a chunk of words.
const CHUNK: usize = 1_024;
/// Side records in a chunk.
const SIDE_CHUNK: usize = 256;
/// Set in a word: the rest is the number of a side record.
const SIDE: u64 = 1 << 63;

type Words = Arc<[AtomicU64]>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct States {
    /// By `id / CHUNK`; a chunk that was never needed, or is not needed any more, is absent.
    words: RwLock<Vec<Option<Words>>>,
    targets: RwLock<Vec<Arc<Target>>>,
    side: RwLock<Vec<Arc<[Mutex<Side>]>>>,
    free: Mutex<Vec<u32>>,
    solo_series: AtomicU64,
    solo_bytes: AtomicU64,
}

/// A column of a target's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) target: u32,
    pub(super) column: u32,
}

/// The record of a series with more than one place.
#[derive(Debug)]
pub(super) struct Side {
    id: u32,
    /// Whether `last` is right and kept up by every sample. Otherwise it is a lower bound.
    pub(super) judges_itself: bool,
    /// Time and bits of the newest sample that is known here.
    pub(super) last: (Timestamp, u64),
    pub(super) places: Vec<Place>,
    solo: Solo,
    /// Whether nothing was without a row when memory was pruned last.
    idle: bool,
}

impl Side {
    fn new(id: u32) -> Self {
        Self {
            id,
            judges_itself: false,
            last: (Timestamp::MIN, 0),
            places: Vec::new(),
            solo: Solo::default(),
            idle: false,
        }
    }
}

fn lock(side: &Mutex<Side>) -> MutexGuard<'_, Side> {
    side.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut solo = None;
        let mut many = Vec::new();
        let one = loop {
            let word = self.word(id);
            if word & SIDE == 0 {
                break unpack(word);
            }
            // A record that was given up meanwhile belongs to another series, or to none.
            let found = self.with_side(word, |side| {
                if side.id != id {
                    return false;
                }
                many.clone_from(&side.places);
                solo = (!side.solo.is_empty()).then(|| side.solo.samples().into());
                true
            });
            if found {
                break None;
            }
        };
        let places = one.as_slice().iter().chain(&many);
        let known = self.read_targets();
        let targets = places.map(|place| (Arc::clone(&known[place.target as usize]), place.column));
        Sources {
            targets: targets.collect(),
            solo,
        }
    }

    /// The series with samples that have no row, ascending.
    pub(crate) fn solo_series(&self) -> Vec<u32> {
        self.sides(|side| !side.solo.is_empty())
    }

    /// The series that are in the rows of several targets, ascending.
    #[allow(dead_code)]
    pub(crate) fn shared_series(&self) -> Vec<u32> {
        self.sides(|side| side.places.len() > 1)
    }

    fn sides(&self, is_wanted: impl Fn(&Side) -> bool) -> Vec<u32> {
        let mut ids = Vec::new();
        for chunk in self.read_side().iter() {
            for side in chunk.iter() {
                let side = lock(side);
                if side.id != NO_SERIES && is_wanted(&side) {
                    ids.push(side.id);
                }
            }
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

    /// Whether anything is, or was, in memory for the series.
    #[allow(dead_code)]
    pub(super) fn has(&self, id: u32) -> bool {
        self.word(id) != 0
    }

    /// Adds a target; its number is the number of those before it.
    pub(super) fn add_target(&self, target: Arc<Target>) {
        let mut targets = self.targets.write().unwrap_or_else(PoisonError::into_inner);
        debug_assert_eq!(targets.len(), target.index as usize);
        targets.push(target);
    }

    /// The target with a number.
    pub(super) fn target(&self, index: u32) -> Arc<Target> {
        Arc::clone(&self.read_targets()[index as usize])
    }

    /// Every place of a series.
    pub(super) fn places(&self, id: u32) -> Places {
        let word = self.word(id);
        if word & SIDE == 0 {
            return Places {
                one: unpack(word),
                many: Vec::new(),
            };
        }
        Places {
            one: None,
            many: self.with_side(word, |side| side.places.clone()),
        }
    }

    /// The column that a series had last in the rows of a target.
    pub(super) fn column_in(&self, id: u32, target: u32) -> Option<u32> {
        let word = self.word(id);
        if word & SIDE == 0 {
            let place = unpack(word).filter(|place| place.target == target);
            return place.map(|place| place.column);
        }
        self.with_side(word, |side| {
            let place = side.places.iter().find(|place| place.target == target);
            place.map(|place| place.column)
        })
    }

    /// Says in which column of a target a series is now.
    pub(super) fn set_place(&self, id: u32, place: Place) {
        let word = self.word(id);
        match unpack(word) {
            None if word == 0 => self.set_word(id, pack(place)),
            Some(known) if known.target == place.target => self.set_word(id, pack(place)),
            _ => self.change(id, |side| {
                let known = side
                    .places
                    .iter_mut()
                    .find(|known| known.target == place.target);
                match known {
                    Some(known) => *known = place,
                    None => side.places.push(place),
                }
            }),
        }
    }

    /// What the side record says of the newest sample: whether it is right, and the sample.
    pub(super) fn last(&self, id: u32) -> Option<(bool, (Timestamp, u64))> {
        let word = self.word(id);
        (word & SIDE != 0).then(|| self.with_side(word, |side| (side.judges_itself, side.last)))
    }

    /// Sets the newest sample of a series that judges itself.
    pub(super) fn set_last(&self, id: u32, last: (Timestamp, u64)) {
        self.change(id, |side| side.last = last);
    }

    /// Raises the lower bound of the newest sample.
    pub(super) fn raise_last(&self, id: u32, last: (Timestamp, u64)) {
        self.change(id, |side| {
            if last.0 > side.last.0 {
                side.last = last;
            }
        });
    }

    /// From now on the side record has the newest sample, which is `last`.
    pub(super) fn judge_itself(&self, id: u32, last: (Timestamp, u64)) {
        self.change(id, |side| {
            side.judges_itself = true;
            side.last = last;
        });
    }

    /// From now on the rows of one target have the newest sample.
    pub(super) fn judge_by_rows(&self, id: u32) {
        let word = self.word(id);
        if word & SIDE != 0 {
            self.with_side(word, |side| side.judges_itself = false);
        }
    }

    /// Adds a sample without a row.
    pub(super) fn push_solo(&self, id: u32, sample: SoloSample) {
        let (mut is_first, mut bytes) = (false, 0);
        self.change(id, |side| {
            is_first = side.solo.is_empty();
            let before = side.solo.bytes();
            side.solo.push(sample);
            bytes = (side.solo.bytes() - before) as u64;
            side.idle = false;
        });
        if bytes > 0 {
            self.solo_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        if is_first {
            self.solo_series.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Drops the samples without a row up to commit `sealed`, the places that `is_needed` denies, and
    /// the records that say nothing any more.
    pub(super) fn prune(&self, sealed: u64, is_needed: &dyn Fn(u32, Place) -> bool) {
        let (mut solo_series, mut solo_bytes) = (0, 0);
        let chunks: Vec<Arc<[Mutex<Side>]>> = self.read_side().iter().map(Arc::clone).collect();
        for (chunk, slots) in chunks.iter().enumerate() {
            for (slot, side) in slots.iter().enumerate() {
                let mut side = lock(side);
                if side.id == NO_SERIES {
                    continue;
                }
                let id = side.id;
                let is_idle = side.solo.is_empty();
                let was_idle = std::mem::replace(&mut side.idle, is_idle);
                if !side.solo.is_empty() {
                    side.solo.drop_up_to(sealed);
                    solo_series += u64::from(!side.solo.is_empty());
                    solo_bytes += side.solo.bytes() as u64;
                }
                side.places.retain(|place| is_needed(id, *place));
                let is_bound = !side.places.is_empty();
                let says_more = side.places.len() > 1 || side.judges_itself && is_bound;
                if was_idle && side.solo.is_empty() && !says_more {
                    let word = side.places.first().map_or(0, |place| pack(*place));
                    self.set_word(id, word);
                    *side = Side::new(NO_SERIES);
                    self.lock_free().push((chunk * SIDE_CHUNK + slot) as u32);
                }
            }
        }
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
                self.with_side(word, |side| *side = Side::new(NO_SERIES));
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
    fn change(&self, id: u32, change: impl FnOnce(&mut Side)) {
        let word = self.word(id);
        if word & SIDE != 0 {
            self.with_side(word, change);
            return;
        }
        let number = self.free_slot();
        self.with_side(SIDE | u64::from(number), |side| {
            *side = Side::new(id);
            side.places.extend(unpack(word));
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
        let chunk = (0..SIDE_CHUNK).map(|_| Mutex::new(Side::new(NO_SERIES)));
        side.push(chunk.collect());
        free.extend((first + 1..first + SIDE_CHUNK as u32).rev());
        first
    }

    fn with_side<T>(&self, word: u64, look: impl FnOnce(&mut Side) -> T) -> T {
        let number = word as u32 as usize;
        let chunks = self.read_side();
        look(&mut lock(&chunks[number / SIDE_CHUNK][number % SIDE_CHUNK]))
    }

    fn read_targets(&self) -> RwLockReadGuard<'_, Vec<Arc<Target>>> {
        self.targets.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_side(&self) -> RwLockReadGuard<'_, Vec<Arc<[Mutex<Side>]>>> {
        self.side.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_free(&self) -> MutexGuard<'_, Vec<u32>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The places of a series; almost always one.
#[derive(Debug)]
pub(super) struct Places {
    one: Option<Place>,
    many: Vec<Place>,
}

impl Places {
    pub(super) fn iter(&self) -> impl Iterator<Item = Place> + '_ {
        self.one.iter().chain(&self.many).copied()
    }
}
