//! What the one writer, who holds the commit lock, shows to readers who hold no lock: lists to which it adds, and
//! the newest commit of which everything is there.
//!
//! A slot below a length that was read is written, and not written again. Whoever has read that a commit is
//! visible finds everything that was added for it and for those before, in every list. This file is run over
//! every order in which its loads and stores may be seen, by `tests/published.rs`.

use super::sync::{AtomicU32, AtomicU64, OnceLock, Ordering};

/// Room is made for so many at once: a list with few is small.
const CHUNK: usize = 8;

/// The chunks of a list, each slot of them written once.
type Chunks<T> = Box<[OnceLock<Box<[OnceLock<T>; CHUNK]>>]>;

/// A list that one writer adds to.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    chunks: Chunks<T>,
    len: AtomicU32,
}

impl<T: std::fmt::Debug> Slots<T> {
    /// An empty list for at most so many.
    pub(crate) fn new(capacity: usize) -> Self {
        let chunks = capacity.div_ceil(CHUNK);
        Self {
            chunks: (0..chunks).map(|_| OnceLock::new()).collect(),
            len: AtomicU32::new(0),
        }
    }

    /// Adds at the end; only the writer does, and no more than there is room for.
    pub(crate) fn push(&self, value: T) {
        // It was this thread, or one that held the commit lock before, who wrote it.
        let len = self.len.load(Ordering::Relaxed);
        let chunk = self.chunks[len as usize / CHUNK].get_or_init(Box::default);
        chunk[len as usize % CHUNK]
            .set(value)
            .expect("one writer, and each slot is written once");
        self.len.store(len + 1, Ordering::Release);
    }

    /// How many are there. What was read stays right: more may be added, none is taken.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire) as usize
    }

    /// What has this place; whatever is below a length that was read is there.
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.chunks[index / CHUNK].get()?[index % CHUNK].get()
    }
}

/// The newest commit that readers may see.
#[derive(Debug)]
pub(crate) struct Visible(AtomicU64);

impl Visible {
    /// What was there from the beginning.
    pub(crate) fn new(commit: u64) -> Self {
        Self(AtomicU64::new(commit))
    }

    /// Shows everything up to a commit, once all of it was added.
    pub(crate) fn show(&self, commit: u64) {
        self.0.store(commit, Ordering::Release);
    }

    /// Everything up to this commit is found by what is read after this.
    pub(crate) fn newest(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}
