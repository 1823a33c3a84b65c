//! Everything that is in memory: series, rows by target and by group of pushed series, solo samples, and
//! the commit protocol.
//!
//! A series is a number here (`u32`); its labels are in the [`registry`], everything else in [`states`].
//!
//! Locks, in the order in which they may be taken: the commit lock (`state`), `next_id`, the created
//! series, a target's blocks, a series' record. `queue` is never held while another is taken; `recent`
//! is never waited for.

mod append;
mod bits;
mod cells;
mod changes;
mod commit;
mod groups;
mod histograms;
mod judge;
mod members;
mod pages;
mod published;
mod pushes;
mod recent;
mod registry;
mod replay;
mod row;
mod rows;
mod seal;
mod series;
mod side;
mod states;
mod sync;
mod target;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
};

use crate::{
    Labels, Refusal, TargetKey, Timestamp, exemplars::Exemplars, metadata::MetricMetadata,
    read::Catalog, wal::Wal,
};

pub(crate) use append::{HeadAppender, HeadTargetAppender};
pub(crate) use histograms::HistogramSample;
pub(crate) use registry::Known;
pub(crate) use replay::Replay;
pub(crate) use row::RowBlock;
pub(crate) use series::{SoloSample, Sources};
pub(crate) use target::Target;

use changes::Changes;
use histograms::Histograms;
use published::Visible;
use recent::Recent;
use roaring::RoaringBitmap;
use states::States;
use target::TargetWriter;

type HashMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;
type HashSet<K> = std::collections::HashSet<K, foldhash::fast::RandomState>;

/// A sample is out of bounds when it is so much older than the store's newest, in milliseconds.
///
/// Source: half a Prometheus block range, `tsdb/head_append.go`.
const BOUND_MS: i64 = 3_600_000;
/// A label set is refused when its names and values are longer than this together, in bytes.
const LABELS_BYTES_MAX: usize = 1 << 20;

/// See the module.
#[derive(Debug)]
pub(crate) struct Head {
    /// The number of the next series; held while one is created and while the catalog is replaced.
    next_id: Mutex<u32>,
    pub(crate) state: Mutex<State>,
    queue: Mutex<commit::Queue>,
    wake: Condvar,
    /// The newest commit that readers may see.
    visible: Visible,
    /// Which times the samples of each commit reach back to.
    changes: Changes,
    /// Live queriers by serial number.
    queriers: Mutex<Queriers>,
    /// The store's newest and oldest sample; `MIN` and `MAX` when there is none.
    newest: AtomicI64,
    oldest: AtomicI64,
    /// The oldest sample since the last seal; `MAX` when there is none.
    unsealed_oldest: AtomicI64,
    /// What is sealed, replaced as a whole.
    catalog: RwLock<Arc<Catalog>>,
    /// Everything up to this commit was dropped from memory.
    pruned: AtomicU64,
    pub(crate) counters: Counters,
    pub(crate) exemplars: Exemplars,
    pub(crate) metadata: MetricMetadata,
    series_max: Option<usize>,
    pub(crate) states: States,
    pub(crate) histograms: Histograms,
    /// Numbers of label sets that were pushed lately.
    recent: Mutex<Recent>,
    /// How many samples came in the last push, but not more than an appender makes room for.
    pushed: AtomicUsize,
    /// Bytes of the rows in memory.
    rows_bytes: AtomicU64,
    /// How much older than the newest sample a late one may be, in milliseconds.
    out_of_order_window_ms: AtomicI64,
}

/// What a sample's time is held against, taken when its appender was made.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// The store's newest sample.
    newest: Timestamp,
    /// No sample before this is accepted unless as a late one; `MIN` in a store that was empty.
    valid_from: Timestamp,
    /// How much older than `newest` a late one may be, in milliseconds; none may be when it is zero.
    window_ms: i64,
}

#[derive(Debug, Default)]
struct Queriers {
    next: u64,
    /// Serial number to the last sealed commit of its catalog.
    live: BTreeMap<u64, u64>,
}

/// What the commit lock guards.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) wal: Wal,
    /// Room for the records of a batch.
    records: Vec<u8>,
    targets: Vec<TargetWriter>,
    /// Those that nobody appends to and that have no row left: the next targets take their places.
    free_targets: Vec<u32>,
    by_key: HashMap<TargetKey, u32>,
    /// The number of the last commit.
    sequence: u64,
    next_block: u64,
    /// The series that the log defines in the epoch.
    defined: RoaringBitmap,
    defined_epoch: u64,
    /// Which batch of commits is staged: of each group of pushed series it has at most one row.
    batch: u64,
    /// The last number that was given to samples which came together; see [`groups`].
    slice: u32,
    poisoned: bool,
    closed: bool,
}

impl State {
    /// The number of samples that come together.
    fn next_slice(&mut self) -> u32 {
        // Zero is that of a group that was in none.
        self.slice = self.slice.checked_add(1).unwrap_or(1);
        self.slice
    }
}

/// Counts since the store was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) samples_appended: AtomicU64,
    /// Of these, how many came late, within the out-of-order window.
    pub(crate) late: AtomicU64,
    pub(crate) histograms_appended: AtomicU64,
    pub(crate) series_created: AtomicU64,
    pub(crate) series_removed: AtomicU64,
    pub(crate) out_of_order: AtomicU64,
    pub(crate) out_of_bounds: AtomicU64,
    pub(crate) too_old: AtomicU64,
    pub(crate) duplicate: AtomicU64,
    pub(crate) series_limit: AtomicU64,
    pub(crate) invalid_labels: AtomicU64,
    pub(crate) invalid_histogram: AtomicU64,
    pub(crate) wal_write_failures: AtomicU64,
    pub(crate) wal_truncations: AtomicU64,
}

/// What a commit brought that was not there before.
#[derive(Debug, Clone, Copy)]
struct Appended {
    numbers: u32,
    histograms: u32,
    /// Of both, how many came late; those of rows are counted when they are judged.
    late: u32,
}

impl Counters {
    fn appended(&self, appended: Appended) {
        for (counter, count) in [
            (&self.samples_appended, appended.numbers),
            (&self.histograms_appended, appended.histograms),
            (&self.late, appended.late),
        ] {
            counter.fetch_add(u64::from(count), Ordering::Relaxed);
        }
    }

    fn refused(&self, refusal: Refusal) {
        let counter = match refusal {
            Refusal::OutOfOrder => &self.out_of_order,
            Refusal::TooOld => &self.too_old,
            Refusal::OutOfBounds => &self.out_of_bounds,
            Refusal::Duplicate => &self.duplicate,
            Refusal::SeriesLimit => &self.series_limit,
            Refusal::InvalidLabels => &self.invalid_labels,
            Refusal::InvalidHistogram => &self.invalid_histogram,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Head {
    /// A head over a log; `replay` is what the log held before.
    pub(crate) fn new(
        replay: Replay,
        catalog: Catalog,
        wal: Wal,
        series_max: Option<usize>,
        out_of_order_window_ms: i64,
        exemplars: Exemplars,
        metadata: MetricMetadata,
    ) -> Self {
        let parts = replay.finish();
        Self {
            states: parts.states,
            histograms: parts.histograms,
            recent: Mutex::default(),
            pushed: AtomicUsize::new(0),
            rows_bytes: AtomicU64::new(parts.rows_bytes),
            out_of_order_window_ms: AtomicI64::new(out_of_order_window_ms),
            next_id: Mutex::new(parts.next_id),
            state: Mutex::new(State {
                wal,
                records: Vec::new(),
                targets: parts.targets,
                free_targets: Vec::new(),
                by_key: parts.by_key,
                sequence: parts.sequence,
                next_block: parts.next_block,
                defined: RoaringBitmap::new(),
                defined_epoch: 0,
                batch: 0,
                slice: 0,
                poisoned: false,
                closed: false,
            }),
            queue: Mutex::default(),
            wake: Condvar::new(),
            visible: Visible::new(parts.sequence),
            changes: Changes::default(),
            queriers: Mutex::default(),
            newest: AtomicI64::new(parts.newest),
            oldest: AtomicI64::new(parts.oldest),
            unsealed_oldest: AtomicI64::new(parts.unsealed_oldest),
            pruned: AtomicU64::new(catalog.sealed),
            catalog: RwLock::new(Arc::new(catalog)),
            counters: Counters::default(),
            exemplars,
            metadata,
            series_max,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic under the commit lock marks the queue as poisoned, which every commit looks at.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Oldest and newest sample, `None` in an empty store.
    pub(crate) fn time_range(&self) -> Option<(Timestamp, Timestamp)> {
        let newest = self.newest.load(Ordering::Relaxed);
        (newest != Timestamp::MIN).then(|| (self.oldest.load(Ordering::Relaxed), newest))
    }

    /// The most series there may be.
    pub(crate) const fn series_max(&self) -> Option<usize> {
        self.series_max
    }

    /// Changes how much older than the newest sample a late one may be, in milliseconds.
    pub(crate) fn set_out_of_order_window(&self, window_ms: i64) {
        self.out_of_order_window_ms
            .store(window_ms, Ordering::Relaxed);
    }

    /// What a sample's time is held against now.
    fn bounds(&self) -> Bounds {
        let newest = self.newest.load(Ordering::Relaxed);
        Bounds {
            newest,
            valid_from: newest.saturating_sub(BOUND_MS),
            window_ms: self.out_of_order_window_ms.load(Ordering::Relaxed),
        }
    }

    /// Bytes of samples in memory.
    pub(crate) fn memory(&self) -> u64 {
        self.rows_bytes.load(Ordering::Relaxed) + self.states.solo_bytes() + self.histograms.bytes()
    }

    fn saw(&self, time: Timestamp) {
        self.newest.fetch_max(time, Ordering::Relaxed);
        self.oldest.fetch_min(time, Ordering::Relaxed);
        self.unsealed_oldest.fetch_min(time, Ordering::Relaxed);
        self.changes.saw(time);
    }

    /// The series with these labels, found or created, and whether it was created. The number stands
    /// for them as long as the commit lock is held, or a seal has not forgotten them.
    fn series(&self, labels: &Labels) -> Result<(u32, bool), Refusal> {
        if let Some(id) = self.catalog().known.find(labels) {
            return Ok((id, false));
        }
        let mut next_id = self.next_id.lock().unwrap_or_else(PoisonError::into_inner);
        self.create(&self.catalog().known, labels, &mut next_id)
    }

    /// The number that a series of an earlier list has among those known now: another one when a seal
    /// has forgotten it meanwhile, [`row::NO_SERIES`] when there is no room for it any more.
    fn again(&self, earlier: &Known, now: &Known, id: u32, next_id: &mut u32) -> u32 {
        if now.contains(id) {
            return id;
        }
        let labels = earlier.labels(id);
        let again = labels.and_then(|labels| self.create(now, &labels, next_id).ok());
        again.map_or(row::NO_SERIES, |(number, _)| number)
    }

    /// The series with these labels among those known now, found or created.
    fn create(
        &self,
        known: &Known,
        labels: &Labels,
        next_id: &mut u32,
    ) -> Result<(u32, bool), Refusal> {
        if let Some(id) = known.find(labels) {
            return Ok((id, false));
        }
        let refused = |refusal| {
            self.counters.refused(refusal);
            Err(refusal)
        };
        if labels.is_empty() || labels.as_bytes().len() > LABELS_BYTES_MAX {
            return refused(Refusal::InvalidLabels);
        }
        // A series has one sibling, so that its start timestamps are bounded as well.
        let is_sibling = labels.has_empty_name();
        let is_full = !is_sibling && self.series_max.is_some_and(|max| known.len() >= max);
        if is_full || *next_id == row::NO_SERIES {
            return refused(Refusal::SeriesLimit);
        }
        let created = u64::from(!is_sibling);
        (self.counters.series_created).fetch_add(created, Ordering::Relaxed);
        let id = *next_id;
        *next_id += 1;
        known.insert(id, labels);
        Ok((id, true))
    }

    /// The stretches in memory that become pages: each series' share of a block of rows, and each
    /// series' samples without a row.
    pub(crate) fn pages(&self) -> u64 {
        let sealed = self.catalog().sealed;
        let targets = seal::targets(&self.state());
        let mut in_rows = 0;
        for target in targets {
            for block in target.blocks().iter() {
                // A sealed block stays in memory for a while.
                if block.first().is_some_and(|row| row.commit > sealed) {
                    in_rows += block.series_len();
                }
            }
        }
        in_rows + self.states.solo_series_len() + self.histograms.series_len()
    }

    /// What is sealed now.
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the catalog while no series is created.
    pub(crate) fn change_catalog(&self, change: impl FnOnce(&mut Catalog)) {
        let _creating = self.next_id.lock().unwrap_or_else(PoisonError::into_inner);
        let mut catalog = Catalog::clone(&self.catalog());
        change(&mut catalog);
        *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalog);
    }

    /// A querier's serial number, the newest commit it sees, and its catalog. What the catalog does not
    /// have stays in memory until [`Head::forget_querier`].
    pub(crate) fn register_querier(&self) -> (u64, u64, Arc<Catalog>) {
        let mut queriers = self.queriers.lock().unwrap_or_else(PoisonError::into_inner);
        queriers.next += 1;
        let serial = queriers.next;
        let visible = self.visible();
        // Read after `visible` and registered under the same lock that pruning looks through.
        let catalog = self.catalog();
        let visible = visible.max(catalog.sealed);
        queriers.live.insert(serial, catalog.sealed);
        (serial, visible, catalog)
    }

    /// No sample of a commit that became visible after this one is older; `MAX` when there is none.
    pub(crate) fn changed_since(&self, commit: u64) -> Timestamp {
        self.changes.since(commit)
    }

    /// How many queriers there are.
    pub(crate) fn queriers_len(&self) -> usize {
        let queriers = self.queriers.lock().unwrap_or_else(PoisonError::into_inner);
        queriers.live.len()
    }

    /// Says that a querier has ended.
    pub(crate) fn forget_querier(&self, serial: u64) {
        let mut queriers = self.queriers.lock().unwrap_or_else(PoisonError::into_inner);
        queriers.live.remove(&serial);
    }

    /// The last sealed commit of the oldest catalog that a live querier holds.
    fn oldest_catalog(&self) -> u64 {
        let queriers = self.queriers.lock().unwrap_or_else(PoisonError::into_inner);
        queriers.live.values().min().copied().unwrap_or(u64::MAX)
    }
}
