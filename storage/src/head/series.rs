//! One series: its labels, where its unsealed samples are, and its newest sample.
//!
//! `sources` is read by every select and changed by commits and seals, each for a moment. The newest
//! sample (`last`, `owner`) is read and written only under the commit lock; the atomics are there so
//! that the record can be shared, and are relaxed.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering},
};

use super::target::Target;
use crate::{Labels, Timestamp};

/// See the module.
#[derive(Debug)]
pub(crate) struct Series {
    /// Never used twice; the name of the series in the log and in segment files.
    pub(crate) id: u32,
    pub(crate) labels: Labels,
    sources: Mutex<Sources>,
    last_time: AtomicI64,
    last_bits: AtomicU64,
    owner: AtomicU64,
    /// The log epoch in which the series was last defined.
    logged: AtomicU64,
    /// In how many sealed files it has a page.
    sealed_parts: AtomicU32,
    /// Whether the index knows that it has a sample.
    live: AtomicBool,
}

/// Where the unsealed samples of a series are.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// The targets whose rows have, or had, a column of this series. A row block says itself which
    /// series its column belongs to, so an entry may be out of date.
    pub(crate) bindings: Vec<Binding>,
    /// Samples without a row, ascending in time and commit. Copied on write while a reader has it.
    pub(crate) solo: Arc<[SoloSample]>,
    /// Samples added after the last `solo` was handed out.
    pub(crate) fresh: Vec<SoloSample>,
}

/// A column of a target's rows.
#[derive(Debug, Clone)]
pub(crate) struct Binding {
    pub(crate) target: Arc<Target>,
    pub(crate) column: u32,
}

/// A sample without a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SoloSample {
    pub(crate) commit: u64,
    pub(crate) time: Timestamp,
    pub(crate) value: f64,
}

/// Who judges whether a sample of a series is in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The series itself: its `last` is right.
    Nobody,
    /// The rows of one target, which has this column for it: `last` is right only while the column
    /// is absent.
    Target { index: u32, column: u32 },
    /// Several sources: `last` is right.
    Shared,
}

impl Sources {
    /// All unsealed solo samples, shared with readers.
    pub(crate) fn solo(&mut self) -> Arc<[SoloSample]> {
        if !self.fresh.is_empty() {
            self.solo = self.solo.iter().chain(&self.fresh).copied().collect();
            self.fresh.clear();
        }
        Arc::clone(&self.solo)
    }

    pub(crate) fn solo_len(&self) -> usize {
        self.solo.len() + self.fresh.len()
    }
}

impl Series {
    pub(crate) fn new(id: u32, labels: Labels) -> Self {
        Self {
            id,
            labels,
            sources: Mutex::default(),
            last_time: AtomicI64::new(Timestamp::MIN),
            last_bits: AtomicU64::new(0),
            owner: AtomicU64::new(0),
            logged: AtomicU64::new(0),
            sealed_parts: AtomicU32::new(0),
            live: AtomicBool::new(false),
        }
    }

    pub(crate) fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time and bits of the newest sample; the time is [`Timestamp::MIN`] when there is none.
    pub(crate) fn last(&self) -> (Timestamp, u64) {
        (
            self.last_time.load(Ordering::Relaxed),
            self.last_bits.load(Ordering::Relaxed),
        )
    }

    pub(crate) fn set_last(&self, (time, bits): (Timestamp, u64)) {
        self.last_time.store(time, Ordering::Relaxed);
        self.last_bits.store(bits, Ordering::Relaxed);
    }

    /// Sets the newest sample unless a newer one is known.
    pub(crate) fn raise_last(&self, last: (Timestamp, u64)) {
        if last.0 > self.last().0 {
            self.set_last(last);
        }
    }

    pub(crate) fn owner(&self) -> Owner {
        match self.owner.load(Ordering::Relaxed) {
            0 => Owner::Nobody,
            u64::MAX => Owner::Shared,
            packed => Owner::Target {
                index: (packed >> 32) as u32 - 1,
                column: packed as u32,
            },
        }
    }

    pub(crate) fn set_owner(&self, owner: Owner) {
        let packed = match owner {
            Owner::Nobody => 0,
            Owner::Shared => u64::MAX,
            Owner::Target { index, column } => (u64::from(index) + 1) << 32 | u64::from(column),
        };
        self.owner.store(packed, Ordering::Relaxed);
    }

    /// Whether the series is defined in the log since `epoch` began.
    pub(crate) fn is_logged(&self, epoch: u64) -> bool {
        self.logged.load(Ordering::Relaxed) == epoch
    }

    pub(crate) fn set_logged(&self, epoch: u64) {
        self.logged.store(epoch, Ordering::Relaxed);
    }

    /// Notes that it has a sample; answers whether that is new.
    pub(crate) fn becomes_live(&self) -> bool {
        !self.live.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn add_sealed_part(&self) {
        self.sealed_parts.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn remove_sealed_part(&self) {
        self.sealed_parts.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether it has no sample anywhere.
    pub(crate) fn is_empty(&self) -> bool {
        let sources = self.sources();
        sources.bindings.is_empty()
            && sources.solo_len() == 0
            && self.sealed_parts.load(Ordering::Relaxed) == 0
    }
}
