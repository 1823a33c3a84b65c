//! Answers of range queries that later ones go on from: the same expression over steps that have moved on.
//!
//! **What it is.** The newest answer to each expression, step and phase, with the snapshot that it is of and what is
//! said about it. What of it still holds is the evaluation's business; see
//! [`Engine::matrix_with`](crate::Engine::matrix_with).
//!
//! **What always holds.** No more bytes than were given, what was not asked for longest goes first. The lock is held
//! to look up and to put in, no longer. A cache is for the answers of one engine about one open store.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use narthex_storage::{Timestamp, Version};

use crate::{Grid, Matrix, annotations::Annotations};

/// An answer that takes more than one in so many of the bytes is not kept.
const SHARES_MIN: u64 = 8;
/// A longer answer gives way to a shorter one that was taken from it after so many of these.
const SHORTER_MAX: u32 = 8;
/// What an answer takes beside its samples, its labels and its text, in bytes.
const ANSWER_BYTES: u64 = 512;

/// See the module.
#[derive(Debug)]
pub struct ResultCache {
    bytes_max: u64,
    read_min: u64,
    kept: Mutex<Kept>,
    continued: AtomicU64,
    evaluated: AtomicU64,
}

/// What a [`ResultCache`] holds and was good for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResultCacheStats {
    /// Queries that took steps from an earlier answer.
    pub continued: u64,
    /// Queries that could have, but were evaluated whole.
    pub evaluated: u64,
    /// The answers that are kept.
    pub answers: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What answers have in common of which one goes on from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// The expression, without spaces behind it; those before it tell the places of what is said.
    text: Box<str>,
    step_ms: i64,
    /// The time of each step modulo the step.
    phase_ms: i64,
    lookback_ms: i64,
}

impl Key {
    pub(crate) fn new(text: &str, grid: Grid, lookback_ms: i64) -> Self {
        Self {
            text: text.trim_end().into(),
            step_ms: grid.step_ms,
            phase_ms: grid.start.rem_euclid(grid.step_ms),
            lookback_ms,
        }
    }
}

/// An answer of a snapshot.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) version: Version,
    /// Whether its series counted by their creation.
    pub(crate) is_by_creation: bool,
    pub(crate) matrix: Arc<Matrix>,
    /// What is said about it.
    pub(crate) notes: Annotations,
    /// How many much shorter answers were taken from it.
    shorter: AtomicU32,
}

impl Known {
    pub(crate) fn new(
        version: Version,
        is_by_creation: bool,
        matrix: Arc<Matrix>,
        notes: Annotations,
    ) -> Self {
        Self {
            version,
            is_by_creation,
            matrix,
            notes,
            shorter: AtomicU32::new(0),
        }
    }

    /// Whether an answer over `grid` that was taken from this one had better not take its place: it is much shorter,
    /// and has not been asked for alone for long.
    pub(crate) fn outlasts(&self, grid: Grid) -> bool {
        let is_longer = self.matrix.grid().steps() / 5 * 4 > grid.steps();
        is_longer && self.shorter.fetch_add(1, Ordering::Relaxed) < SHORTER_MAX
    }
}

/// Answers and when they were last asked for.
#[derive(Debug, Default)]
struct Kept {
    answers: HashMap<Key, Slot, foldhash::fast::RandomState>,
    bytes: u64,
    /// Counts the times that one was asked for.
    turn: u64,
}

#[derive(Debug)]
struct Slot {
    known: Arc<Known>,
    bytes: u64,
    asked: u64,
}

impl ResultCache {
    /// A cache of so many bytes for answers each cell of which, a series at a step, took `read_min` samples or more
    /// to be computed: what took fewer is as quickly read again.
    pub fn new(bytes_max: u64, read_min: u64) -> Self {
        Self {
            bytes_max,
            read_min,
            kept: Mutex::default(),
            continued: AtomicU64::new(0),
            evaluated: AtomicU64::new(0),
        }
    }

    /// What it holds now, and its counts since it was made.
    pub fn stats(&self) -> ResultCacheStats {
        let kept = self.kept();
        ResultCacheStats {
            continued: self.continued.load(Ordering::Relaxed),
            evaluated: self.evaluated.load(Ordering::Relaxed),
            answers: kept.answers.len() as u64,
            bytes: kept.bytes,
        }
    }

    /// Whether an answer is worth its place that took so many samples.
    pub(crate) fn is_worth(&self, matrix: &Matrix, samples_read: u64) -> bool {
        samples_read >= matrix.cells().saturating_mul(self.read_min)
    }

    /// Counts a query that could have gone on from another, and whether it did.
    pub(crate) fn count(&self, is_continued: bool) {
        let counter = if is_continued {
            &self.continued
        } else {
            &self.evaluated
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The answer with this key, if it has a step at `start`.
    pub(crate) fn find(&self, key: &Key, start: Timestamp) -> Option<Arc<Known>> {
        let mut kept = self.kept();
        kept.turn += 1;
        let turn = kept.turn;
        let slot = kept.answers.get_mut(key)?;
        slot.asked = turn;
        let grid = slot.known.matrix.grid();
        let has_step = grid.start <= start && start <= grid.end;
        has_step.then(|| Arc::clone(&slot.known))
    }

    /// Puts an answer in the place of the one with its key.
    pub(crate) fn put(&self, key: Key, known: Known) {
        let slot = Slot {
            bytes: known.matrix.bytes()
                + known.notes.bytes()
                + key.text.len() as u64
                + ANSWER_BYTES,
            known: Arc::new(known),
            asked: 0,
        };
        let is_too_large = slot.bytes > self.bytes_max / SHARES_MIN;
        let mut kept = self.kept();
        // They are freed once the lock is.
        let mut removed = vec![kept.remove(&key)];
        if !is_too_large {
            kept.insert(key, slot);
        }
        while kept.bytes > self.bytes_max {
            removed.push(kept.remove_oldest());
        }
        drop(kept);
        drop(removed);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn insert(&mut self, key: Key, slot: Slot) {
        self.turn += 1;
        self.bytes += slot.bytes;
        let asked = self.turn;
        self.answers.insert(key, Slot { asked, ..slot });
    }

    fn remove(&mut self, key: &Key) -> Option<Slot> {
        let slot = self.answers.remove(key)?;
        self.bytes -= slot.bytes;
        Some(slot)
    }

    /// Takes out what was not asked for longest.
    fn remove_oldest(&mut self) -> Option<Slot> {
        let oldest = self.answers.iter().min_by_key(|(_, slot)| slot.asked);
        let key = oldest?.0.clone();
        self.remove(&key)
    }
}

#[cfg(test)]
mod tests {
    use narthex_storage::{
        Clock, Db, DbOptions, Labels, MemoryFs, Queryable, SystemClock, TimeRange,
    };

    use super::*;
    use crate::eval::{Frame, Row};

    const STEPS: usize = 100;

    fn version() -> Version {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let options = DbOptions::new("/data", Arc::new(MemoryFs::default()), clock);
        let (db, _) = Db::open(&options).unwrap();
        db.querier(TimeRange::ALL).unwrap().version().unwrap()
    }

    fn grid(steps: usize) -> Grid {
        Grid {
            start: 1_000,
            end: steps as i64 * 1_000,
            step_ms: 1_000,
        }
    }

    /// An answer of so many rows.
    fn answer(rows: usize) -> Known {
        let mut frame = Frame::new(STEPS);
        for row in 0..rows {
            let labels = Labels::from_pairs([("row", row.to_string())]);
            frame.push(labels, false, Row::floats(&[0.5; STEPS]));
        }
        Known::new(
            version(),
            false,
            Arc::new(Matrix::new(frame, grid(STEPS))),
            Annotations::default(),
        )
    }

    fn key(text: &str) -> Key {
        Key::new(text, grid(STEPS), 300_000)
    }

    #[test]
    fn what_was_not_asked_for_longest_goes_first() {
        let cache = ResultCache::new(24_000, 0);
        let is_kept = |text: &str| cache.find(&key(text), 1_000).is_some();
        for number in 0..40 {
            cache.put(key(&format!("m{number}")), answer(2));
            assert!(is_kept("m3") || number < 3);
            assert!(cache.stats().bytes <= 24_000);
        }
        // Each takes 1,600 bytes of values, 512, and those of its labels and its text.
        assert_eq!(cache.stats().answers, 10);
        assert!(!is_kept("m29") && is_kept("m31") && is_kept("m39 \n") && !is_kept(" m39"));
        // One that takes more than an eighth is not kept, nor is the one before it.
        cache.put(key("m3"), answer(4));
        assert!(!is_kept("m3"));
        assert_eq!(cache.stats().answers, 9);
        for number in 31..40 {
            let small = key(&format!("m{number}"));
            cache.put(small, answer(0));
        }
        assert_eq!(cache.stats().bytes, 9 * (512 + 3));
    }

    #[test]
    fn an_answer_is_found_by_its_steps_and_its_settings() {
        let cache = ResultCache::new(1 << 20, 4);
        cache.put(key("m"), answer(1));
        let found = |key: &Key, start| cache.find(key, start).is_some();
        assert_eq!(
            [0, 1_000, 100_000, 101_000].map(|start| found(&key("m"), start)),
            [false, true, true, false]
        );
        let moved = |grid: Grid| found(&Key::new("m", grid, 300_000), 2_000);
        let grid = grid(STEPS);
        assert!(moved(Grid {
            start: -3_000,
            ..grid
        }));
        assert!(!moved(Grid {
            start: 1_001,
            ..grid
        }));
        assert!(!moved(Grid {
            step_ms: 500,
            ..grid
        }));
        assert!(!found(&Key::new("m", grid, 60_000), 1_000));
        assert!(!found(&key("n"), 1_000));
        let answer = answer(3);
        assert!(!cache.is_worth(&answer.matrix, 1_199) && cache.is_worth(&answer.matrix, 1_200));
    }

    #[test]
    fn a_longer_answer_stays_until_nobody_asks_for_it() {
        let answer = answer(1);
        assert!(!answer.outlasts(grid(STEPS)) && !answer.outlasts(grid(80)));
        for _ in 0..SHORTER_MAX {
            assert!(answer.outlasts(grid(79)));
        }
        assert!(!answer.outlasts(grid(79)));
    }
}
