//! Everything that is in memory: series, rows by target, solo samples, and the commit protocol.
//!
//! Locks, in the order in which they may be taken: the commit lock (`state`), the index, a target's
//! blocks, a series' sources. `queue` is never held while another is taken.

mod append;
mod bits;
mod catalog;
mod commit;
mod read;
mod replay;
mod row;
mod seal;
mod series;
mod target;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use crate::{Labels, Refusal, TargetKey, Timestamp, index::Index, wal::Wal};

pub(crate) use append::{HeadAppender, HeadTargetAppender};
pub(crate) use catalog::{Catalog, Found};
pub(crate) use read::HeadQuerier;
pub(crate) use replay::Replay;
pub(crate) use series::Series;

use series::Owner;
use target::{Target, TargetWriter};

type HashMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

/// A sample is out of bounds when it is so much older than the store's newest, in milliseconds.
///
/// Source: half a Prometheus block range, `tsdb/head_append.go`.
const BOUND_MS: i64 = 3_600_000;
/// A label set is refused when its names and values are longer than this together, in bytes.
const LABELS_BYTES_MAX: usize = 1 << 20;

/// See the module.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) index: RwLock<Index>,
    pub(crate) state: Mutex<State>,
    queue: Mutex<commit::Queue>,
    wake: Condvar,
    /// The newest commit that readers may see.
    visible: AtomicU64,
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
    series_max: Option<usize>,
    /// Series with samples in memory that have no row.
    solo_series: AtomicU64,
}

#[derive(Debug, Default)]
struct Queriers {
    next: u64,
    /// Serial number to the last sealed commit of its catalog.
    live: BTreeMap<u64, u64>,
    /// Series are to be collected once all queriers up to this one have ended.
    collect_after: Option<u64>,
}

/// What the commit lock guards.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) wal: Wal,
    targets: Vec<TargetWriter>,
    by_key: HashMap<TargetKey, u32>,
    /// The number of the last commit.
    sequence: u64,
    next_block: u64,
    poisoned: bool,
    closed: bool,
}

/// Counts since the store was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) samples_appended: AtomicU64,
    pub(crate) series_created: AtomicU64,
    pub(crate) series_removed: AtomicU64,
    pub(crate) out_of_order: AtomicU64,
    pub(crate) out_of_bounds: AtomicU64,
    pub(crate) too_old: AtomicU64,
    pub(crate) duplicate: AtomicU64,
    pub(crate) series_limit: AtomicU64,
    pub(crate) invalid_labels: AtomicU64,
    pub(crate) wal_write_failures: AtomicU64,
    pub(crate) wal_truncations: AtomicU64,
}

impl Counters {
    fn refused(&self, refusal: Refusal) {
        let counter = match refusal {
            Refusal::OutOfOrder => &self.out_of_order,
            Refusal::TooOld => &self.too_old,
            Refusal::OutOfBounds => &self.out_of_bounds,
            Refusal::Duplicate => &self.duplicate,
            Refusal::SeriesLimit => &self.series_limit,
            Refusal::InvalidLabels => &self.invalid_labels,
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
    ) -> Self {
        let parts = replay.finish();
        let solo_series = parts
            .index
            .iter()
            .filter(|series| series.sources().solo_len() > 0)
            .count();
        Self {
            solo_series: AtomicU64::new(solo_series as u64),
            index: RwLock::new(parts.index),
            state: Mutex::new(State {
                wal,
                targets: parts.targets,
                by_key: parts.by_key,
                sequence: parts.sequence,
                next_block: parts.next_block,
                poisoned: false,
                closed: false,
            }),
            queue: Mutex::default(),
            wake: Condvar::new(),
            visible: AtomicU64::new(parts.sequence),
            queriers: Mutex::default(),
            newest: AtomicI64::new(parts.newest),
            oldest: AtomicI64::new(parts.oldest),
            unsealed_oldest: AtomicI64::new(parts.unsealed_oldest),
            pruned: AtomicU64::new(catalog.sealed),
            catalog: RwLock::new(Arc::new(catalog)),
            counters: Counters::default(),
            series_max,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic under the commit lock marks the queue as poisoned, which every commit looks at.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn read_index(&self) -> std::sync::RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_index(&self) -> std::sync::RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Oldest and newest sample, `None` in an empty store.
    pub(crate) fn time_range(&self) -> Option<(Timestamp, Timestamp)> {
        let newest = self.newest.load(Ordering::Relaxed);
        (newest != Timestamp::MIN).then(|| (self.oldest.load(Ordering::Relaxed), newest))
    }

    /// No sample before this is accepted now.
    fn bound(&self) -> Timestamp {
        self.newest.load(Ordering::Relaxed).saturating_sub(BOUND_MS)
    }

    fn saw(&self, time: Timestamp) {
        self.newest.fetch_max(time, Ordering::Relaxed);
        self.oldest.fetch_min(time, Ordering::Relaxed);
        self.unsealed_oldest.fetch_min(time, Ordering::Relaxed);
    }

    /// The series with these labels, found or created.
    fn series(&self, labels: &Labels) -> Result<Arc<Series>, Refusal> {
        if let Some(series) = self.read_index().get(labels) {
            return Ok(Arc::clone(series));
        }
        let refused = |refusal| {
            self.counters.refused(refusal);
            Err(refusal)
        };
        if labels.is_empty() || labels.as_bytes().len() > LABELS_BYTES_MAX {
            return refused(Refusal::InvalidLabels);
        }
        let mut index = self.write_index();
        if let Some(series) = index.get(labels) {
            return Ok(Arc::clone(series));
        }
        if self.series_max.is_some_and(|max| index.len() >= max) {
            return refused(Refusal::SeriesLimit);
        }
        self.counters.series_created.fetch_add(1, Ordering::Relaxed);
        Ok(index.create(labels))
    }

    /// Binds a series to a target's rows.
    fn column(&self, target: u32, labels: &Labels) -> Result<u32, Refusal> {
        let series = self.series(labels)?;
        let mut state = self.state();
        let writer = &mut state.targets[target as usize];
        if let Some(column) = writer.column_of.get(&series.id) {
            let column = *column;
            writer.retired.remove(column);
            return Ok(column);
        }
        let owner = series.owner();
        if let Owner::Target { index, column } = owner {
            state.targets[index as usize].share(column, &series);
        }
        let writer = &mut state.targets[target as usize];
        let column = writer.bind(&series);
        if owner == Owner::Nobody {
            series.set_owner(Owner::Target {
                index: target,
                column,
            });
        } else {
            writer.shared.insert(column);
        }
        Ok(column)
    }

    /// Pages of the files in `catalog`, and the stretches in memory that become pages.
    pub(crate) fn pages(&self, catalog: &Catalog) -> u64 {
        let files = catalog.files.iter();
        let sealed: u64 = files.map(|file| file.segment.pages_len()).sum();
        let targets: Vec<Arc<Target>> = {
            let state = self.state();
            let writers = state.targets.iter();
            writers.map(|writer| Arc::clone(&writer.target)).collect()
        };
        let mut in_rows = 0;
        for target in targets {
            for block in target.blocks().iter() {
                // A sealed block stays in memory for a while.
                if block.first().is_some_and(|row| row.commit > catalog.sealed) {
                    in_rows += block.series_len();
                }
            }
        }
        sealed + in_rows + self.solo_series.load(Ordering::Relaxed)
    }

    /// What is sealed now.
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Only the maintenance does this.
    fn set_catalog(&self, catalog: Catalog) {
        *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalog);
    }

    /// The last sealed commit of the oldest catalog that a live querier holds.
    fn oldest_catalog(&self) -> u64 {
        let queriers = self.queriers.lock().unwrap_or_else(PoisonError::into_inner);
        queriers.live.values().min().copied().unwrap_or(u64::MAX)
    }
}
