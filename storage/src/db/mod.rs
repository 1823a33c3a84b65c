//! The store: open, append, read, maintain, close.
//!
//! A [`Db`] owns the folder `narthex` below the data path and the file `lock` beside it, and never
//! touches anything else there. It starts no thread: whoever owns it calls [`Db::maintain`] every few
//! seconds.

mod compact;
mod delete;
mod pace;
mod plan;
mod retention;
mod snapshot;
mod tombstones;

use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    AppendError, Appendable, Appender, Clock, Exemplar, ExemplarStats, Fs, KeptMetadata, Labels,
    Matcher, MetadataStats, OpenError, OperationError, Querier, Queryable, ReadError,
    TargetAppender, TargetKey, TimeRange, Timestamp,
    error::IoError,
    exemplars::Exemplars,
    head::{Head, HeadAppender, HeadTargetAppender, Known, Replay},
    index::CardinalityLists,
    layout::{self, ForeignData, Layout},
    metadata::MetricMetadata,
    read::{Catalog, Found, Sealed, StoreQuerier},
    wal::{self, ClosedSegment, Covered, Damage, SideFile, Wal},
};

use compact::Compacting;
use delete::Deletions;
pub use pace::Pace;
use retention::SupersededFiles;

/// A log segment is closed at this size, in bytes.
const SEGMENT_BYTES_MAX: u64 = 64 << 20;
/// … or at this age, if it is not empty.
const SEGMENT_AGE_MAX: Duration = Duration::from_hours(1);
/// What a seal or a merge makes superfluous, in the log and among the blocks, stays so long: a copy of
/// the folder that took no longer, in any order of its files, has everything; and a block that turns out
/// damaged comes back from the log.
const SUPERSEDED_KEPT_FOR: Duration = Duration::from_mins(10);

/// What is in memory is sealed when it spans this time, in milliseconds, …
const SEAL_SPAN_MS: i64 = 600_000;
/// … but not so soon after the last seal; …
const SEAL_PAUSE: Duration = Duration::from_mins(1);
/// … when it takes so many bytes a series …
const SEAL_BYTES_PER_SERIES: u64 = 160;
/// … and so many altogether; …
const SEAL_BYTES_MIN: u64 = 16 << 20;
/// … or when so many series were created.
const SEAL_CREATED: usize = 100_000;

/// When the log is made durable; see `docs/wal.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WalFsync {
    /// When a log segment ends.
    #[default]
    Segment,
    /// Before every commit returns.
    Commit,
}

/// How to open a store.
#[derive(Debug, Clone)]
pub struct DbOptions {
    /// The data path; the store keeps everything in its folder `narthex`.
    pub path: PathBuf,
    /// The file system.
    pub fs: Arc<dyn Fs>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// How long samples are kept, in milliseconds, counted back from the store's newest sample.
    /// `None`: for ever.
    pub retention_time_ms: Option<i64>,
    /// How many bytes the store may keep on disk. `None`: without limit.
    pub retention_size_bytes: Option<u64>,
    /// How much older than the store's newest sample a sample may be that is older than its series'
    /// newest, in milliseconds; 0: such samples are refused.
    pub out_of_order_window_ms: i64,
    /// When the log is made durable.
    pub wal_fsync: WalFsync,
    /// The most series there may be. `None`: without limit.
    pub series_max: Option<usize>,
    /// The most exemplars that are kept, of all series together; the oldest go first. 0: none.
    pub exemplars_max: usize,
    /// Whether to take the lock file.
    pub lock: bool,
}

impl DbOptions {
    /// A store at `path` with everything else at its default: no retention, no limits, locked.
    pub fn new(path: impl Into<PathBuf>, fs: Arc<dyn Fs>, clock: Arc<dyn Clock>) -> Self {
        Self {
            path: path.into(),
            fs,
            clock,
            retention_time_ms: None,
            retention_size_bytes: None,
            out_of_order_window_ms: 0,
            wal_fsync: WalFsync::Segment,
            series_max: None,
            exemplars_max: 0,
            lock: true,
        }
    }
}

/// What was found when a store was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Log segments that were read.
    pub wal_segments: u64,
    /// Blocks of sealed samples that were mapped.
    pub blocks: u64,
    /// Blocks that are left out because they are damaged; they stay where they are.
    pub block_damage: Vec<Damage>,
    /// Damaged blocks all of whose samples are served nevertheless, from the log or from other blocks; they
    /// stay where they are.
    pub blocks_restored: Vec<Damage>,
    /// Parts of the log that were not applied, oldest first.
    pub wal_damage: Vec<Damage>,
    /// Data of a Prometheus server in the same data path, which is neither read nor touched.
    pub foreign: Option<ForeignData>,
}

/// The store's figures now, counters since it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DbStats {
    /// Series there are.
    pub series: u64,
    /// Distinct label pairs there are.
    pub label_pairs: u64,
    /// Stretches of samples that are only in memory and become pages when they are sealed: each series'
    /// share of a block of rows, and each series' samples without a row.
    pub pages: u64,
    /// The oldest sample's time, in milliseconds; `None` in an empty store.
    pub min_time: Option<Timestamp>,
    /// The newest sample's time, in milliseconds; `None` in an empty store.
    pub max_time: Option<Timestamp>,
    /// Numbers accepted.
    pub samples_appended: u64,
    /// Samples of these that came late, within the out-of-order window.
    pub samples_appended_late: u64,
    /// Native histograms accepted.
    pub histograms_appended: u64,
    /// Series created.
    pub series_created: u64,
    /// Series dropped because they had no sample left.
    pub series_removed: u64,
    /// Samples refused as out of order.
    pub refused_out_of_order: u64,
    /// Samples refused as out of bounds.
    pub refused_out_of_bounds: u64,
    /// Samples refused as too old for an out-of-order window.
    pub refused_too_old: u64,
    /// Samples refused as duplicates.
    pub refused_duplicate: u64,
    /// Series refused by the limit.
    pub refused_series_limit: u64,
    /// The most series there may be; 0 is any number.
    pub series_limit: u64,
    /// Label sets refused.
    pub refused_invalid_labels: u64,
    /// Samples refused: a histogram that breaks a rule.
    pub refused_invalid_histogram: u64,
    /// Blocks of sealed samples that are served.
    pub blocks: u64,
    /// Their bytes, all mapped.
    pub block_bytes: u64,
    /// Blocks that turned out damaged: those that are left out or restored, and those served as far as they go
    /// that are not merged.
    pub blocks_damaged: u64,
    /// Times that what was in memory was written as a block, or was to be, …
    pub seals: u64,
    /// … and times that it was not.
    pub seals_failed: u64,
    /// Bytes of blocks that others replaced and that wait for their removal.
    pub superseded_bytes: u64,
    /// Merges and rewrites of blocks that were begun, …
    pub compactions: u64,
    /// … and those that came to nothing.
    pub compactions_failed: u64,
    /// Times that blocks were removed because they were too old, …
    pub time_retentions: u64,
    /// … and because the store was too large.
    pub size_retentions: u64,
    /// Deletions that blocks still hold samples of, or did until ten minutes ago.
    pub tombstones: u64,
    /// What there is of exemplars.
    pub exemplars: ExemplarStats,
    /// What there is of metadata.
    pub metadata: MetadataStats,
    /// Bytes of the log.
    pub wal_bytes: u64,
    /// The number of the log segment that is written.
    pub wal_segment: u64,
    /// Writes that the file system refused.
    pub wal_write_failures: u64,
    /// Log segments found damaged when the store was opened.
    pub wal_corruptions: u64,
    /// Log segments removed.
    pub wal_truncations: u64,
}

/// What maintenance has done and has yet to do.
#[derive(Debug)]
struct Maintenance {
    /// When the last seal was tried, on the monotonic clock.
    sealed_at: Duration,
    /// What of the log is elsewhere too.
    covered: Covered,
    /// Since when what was, oldest first; only what the log still has.
    earlier: VecDeque<(Duration, Covered)>,
    /// What of the log is not needed any more.
    settled: Covered,
    /// Files that are to go.
    superseded: SupersededFiles,
    /// What is deleted and still in blocks.
    deletions: Deletions,
}

impl Maintenance {
    /// What has been elsewhere for long enough is not needed any more.
    fn settle(&mut self, now: Duration) -> Covered {
        while let Some((at, covered)) = self.earlier.front().copied()
            && now.saturating_sub(at) >= SUPERSEDED_KEPT_FOR
        {
            self.settled = covered;
            self.earlier.pop_front();
        }
        self.settled
    }
}

/// Counts since the store was opened, and sizes that are kept beside their lock.
#[derive(Debug, Default)]
struct Counters {
    blocks_damaged: AtomicU64,
    seals: AtomicU64,
    seals_failed: AtomicU64,
    compactions: AtomicU64,
    compactions_failed: AtomicU64,
    time_retentions: AtomicU64,
    size_retentions: AtomicU64,
    superseded_bytes: AtomicU64,
    tombstones: AtomicU64,
}

/// What [`DbOptions`] calls retention.
#[derive(Debug, Clone, Copy)]
struct Retention {
    time_ms: Option<i64>,
    size_bytes: Option<u64>,
}

/// See the module. Shared behind an [`Arc`].
#[derive(Debug)]
pub struct Db {
    head: Arc<Head>,
    retention: Mutex<Retention>,
    wal_corruptions: u64,
    maintenance: Mutex<Maintenance>,
    fs: Arc<dyn Fs>,
    clock: Arc<dyn Clock>,
    layout: Layout,
    /// Only one compaction runs at a time.
    compacting: Mutex<Compacting>,
    counters: Counters,
    /// Held for the life of the store.
    _lock: Option<Box<dyn std::fmt::Debug + Send + Sync>>,
}

impl Db {
    /// Opens the store, creating it when there is none, and reads its log.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed then but a torn end of the log cut off.
    pub fn open(options: &DbOptions) -> Result<(Self, OpenReport), OpenError> {
        let DbOptions { fs, clock, .. } = options;
        let layout = Layout::new(&options.path);
        let foreign = layout::foreign_data(&**fs, &options.path)?;
        let lock = layout.prepare(&**fs, options.lock)?;
        let deletions = Deletions::new(tombstones::load(&**fs, &layout.ours)?);
        let found = Found::open(&**fs, &layout.blocks)?;
        let log_has_rest = match found.in_doubt() {
            Some((after, last)) => wal::holds_commits(&**fs, &layout.wal, after, last)?,
            None => false,
        };
        let (sealed, left_out) = found.settle(log_has_rest);
        let known = Known::new(found.blocks.last().map(Arc::clone));
        let mut replay = Replay::new(known.clone());
        replay.is_sealed(sealed);
        replay.begin_ids_at(found.free_id());
        for block in &found.blocks {
            replay.saw_range(block.range());
        }
        let catalog = Catalog {
            sealed,
            blocks: found.blocks.into_iter().map(Sealed::new).collect(),
            known,
            removals: 0,
        };
        let mut closed = Vec::new();
        let exemplars = Exemplars::new(options.exemplars_max);
        let beside = if exemplars.is_enabled() {
            exemplars.load(&**fs, &layout.ours)?
        } else {
            SideFile {
                first_segment: u64::MAX,
                damage: Vec::new(),
            }
        };
        let metadata = MetricMetadata::default();
        let metadata_beside = metadata.load(&**fs, &layout.ours)?;
        let covered = Covered {
            commit: catalog.sealed,
            segment: beside.first_segment.min(metadata_beside.first_segment),
        };
        let segments = wal::read_folder(&**fs, &layout.wal, covered, |segment, record| {
            // What is older than the file is in it, or was crowded out before it was written.
            if segment >= beside.first_segment {
                exemplars.replay(&record);
            }
            replay.apply(segment, record)?;
            if let Some((commit, of_families)) = record.metadata() {
                metadata.replay(commit, of_families);
            }
            Ok(())
        })?;
        // A snapshot has files beside a log, and none of its segments.
        let mut number = match covered.segment {
            u64::MAX => 0,
            first => first.saturating_sub(1),
        };
        let mut report = OpenReport {
            foreign,
            wal_segments: segments.len() as u64,
            blocks: catalog.blocks.len() as u64,
            block_damage: left_out.lost,
            blocks_restored: left_out.restored,
            wal_damage: beside.damage,
        };
        report.wal_damage.extend(metadata_beside.damage);
        for segment in segments {
            number = number.max(segment.number);
            let removed = segment.bytes == 0 && !segment.damage.is_empty();
            report.wal_damage.extend(segment.damage);
            if !removed {
                closed.push(ClosedSegment {
                    number: segment.number,
                    path: segment.path,
                    last_commit: segment.last_commit,
                    bytes: segment.bytes,
                });
            }
        }
        let last_commit = replay.sequence();
        if metadata.end_at(last_commit) {
            // A number is not used twice for what the log and the file say.
            metadata.save(&**fs, &layout.ours, number + 1)?;
        }
        let wal = Wal::begin(
            Arc::clone(fs),
            Arc::clone(clock),
            layout.wal.clone(),
            number + 1,
            last_commit,
            closed,
            options.wal_fsync == WalFsync::Commit,
            SEGMENT_BYTES_MAX,
        )?;
        let now = clock.monotonic();
        let counters = Counters::default();
        let damaged = report.block_damage.len() + report.blocks_restored.len();
        counters
            .blocks_damaged
            .store(damaged as u64, Ordering::Relaxed);
        let mut superseded = SupersededFiles::default();
        for file in found.superseded {
            superseded.add(now, file);
        }
        counters
            .superseded_bytes
            .store(superseded.bytes(), Ordering::Relaxed);
        let db = Self {
            head: Arc::new(Head::new(
                replay,
                catalog,
                wal,
                options.series_max,
                options.out_of_order_window_ms,
                exemplars,
                metadata,
            )),
            retention: Mutex::new(Retention {
                time_ms: options.retention_time_ms,
                size_bytes: options.retention_size_bytes,
            }),
            wal_corruptions: report.wal_damage.len() as u64,
            maintenance: Mutex::new(Maintenance {
                sealed_at: now,
                covered: Covered {
                    commit: sealed,
                    segment: number + 1,
                },
                earlier: VecDeque::from([(now, covered)]),
                settled: Covered {
                    commit: 0,
                    segment: 0,
                },
                superseded,
                deletions,
            }),
            fs: Arc::clone(fs),
            clock: Arc::clone(clock),
            layout,
            compacting: Mutex::default(),
            counters,
            _lock: lock,
        };
        db.begin_deletions(last_commit)?;
        Ok((db, report))
    }

    /// Seals when it is due, retention, the removal of what was replaced, the log's housekeeping, and
    /// another try for what a full disk did not take. To be called every few seconds; cheap when there is
    /// nothing to do.
    ///
    /// # Errors
    /// [`AppendError`] when the file system refused; the next call tries again.
    pub fn maintain(&self) -> Result<(), AppendError> {
        let mut maintenance = self.maintenance();
        self.head.flush_backlog()?;
        let now = self.clock.monotonic();
        if self.seal_is_due(now.saturating_sub(maintenance.sealed_at)) {
            self.seal(&mut maintenance)?;
        }
        self.save_beside(&mut maintenance)?;
        self.head.prune();
        self.retain(&mut maintenance)?;
        self.remove_superseded(&mut maintenance, now)?;
        let settled = maintenance.settle(now);
        self.head.maintain_wal(SEGMENT_AGE_MAX, settled)?;
        // Behind the blocks and the log that they count for.
        self.drop_idle_tombstones(&mut maintenance.deletions, now)?;
        Ok(())
    }

    fn maintenance(&self) -> MutexGuard<'_, Maintenance> {
        self.maintenance
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn seal_is_due(&self, since_last: Duration) -> bool {
        let known = &self.head.catalog().known;
        let bytes_max = SEAL_BYTES_MIN.max(SEAL_BYTES_PER_SERIES * known.len() as u64);
        let is_long = since_last >= SEAL_PAUSE && self.head.unsealed_span_ms() >= SEAL_SPAN_MS;
        is_long || self.head.memory() >= bytes_max || known.delta().len() >= SEAL_CREATED
    }

    #[cfg(test)]
    pub(crate) fn head(&self) -> &Head {
        &self.head
    }

    /// Seals everything there is; answers whether there was anything.
    fn seal(&self, maintenance: &mut Maintenance) -> Result<bool, AppendError> {
        maintenance.sealed_at = self.clock.monotonic();
        match self.head.seal(&*self.fs, &self.layout.blocks) {
            Ok(is_new) => {
                self.counters
                    .seals
                    .fetch_add(u64::from(is_new), Ordering::Relaxed);
                self.save_beside(maintenance)?;
                Ok(is_new)
            }
            Err(problem) => {
                self.counters.seals.fetch_add(1, Ordering::Relaxed);
                self.counters.seals_failed.fetch_add(1, Ordering::Relaxed);
                Err(match problem {
                    OpenError::Io(error) => AppendError::Io(error),
                    _ => AppendError::Poisoned,
                })
            }
        }
    }

    /// Changes what [`DbOptions::retention_time_ms`] and [`DbOptions::retention_size_bytes`] said; the
    /// next [`Db::maintain`] goes by it.
    pub fn set_retention(&self, time_ms: Option<i64>, size_bytes: Option<u64>) {
        *self.retention() = Retention {
            time_ms,
            size_bytes,
        };
    }

    /// Changes what [`DbOptions::out_of_order_window_ms`] said, for the appenders that are made from now
    /// on.
    pub fn set_out_of_order_window(&self, window_ms: i64) {
        self.head.set_out_of_order_window(window_ms);
    }

    /// Changes what [`DbOptions::exemplars_max`] said, now.
    pub fn set_exemplars_max(&self, max: usize) {
        self.head.exemplars.resize(max);
    }

    /// The exemplars within `range` of the series that one of the selectors matches, by series in label
    /// order, each series' oldest first.
    pub fn exemplars(
        &self,
        selectors: &[Vec<Matcher>],
        range: TimeRange,
    ) -> Vec<(Labels, Vec<Exemplar>)> {
        self.head.exemplars.select(selectors, range)
    }

    /// What is said of one metric family, or of all, by family; of each the newest few that differ, newest
    /// first. A family none of whose series is in the store is forgotten at the second seal after something
    /// new was said of it.
    pub fn metadata(&self, family: Option<&str>) -> BTreeMap<String, Vec<KeptMetadata>> {
        self.head.metadata.read(family, self.head.visible())
    }

    /// Writes the files beside the log when a segment of it has ended or a seal has made it superfluous,
    /// and notes since when it is.
    fn save_beside(&self, maintenance: &mut Maintenance) -> Result<(), IoError> {
        let (_, segment) = self.head.wal_size();
        let covered = Covered {
            commit: self.head.catalog().sealed,
            segment,
        };
        if covered == maintenance.covered {
            return Ok(());
        }
        // What is in earlier segments was in the ring before it was in the log.
        if self.head.exemplars.is_enabled() {
            self.head
                .exemplars
                .save(&*self.fs, &self.layout.ours, segment)?;
        }
        let metadata = &self.head.metadata;
        // Whoever cannot read all names forgets nothing.
        if !metadata.is_empty()
            && let Ok(names) = self.head.catalog().metric_names()
        {
            metadata.forget(&names, maintenance.covered.commit);
        }
        metadata.save(&*self.fs, &self.layout.ours, segment)?;
        maintenance.covered = covered;
        let now = self.clock.monotonic();
        maintenance.earlier.push_back((now, covered));
        Ok(())
    }

    fn retention(&self) -> MutexGuard<'_, Retention> {
        self.retention
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Seals what is in memory, all of it.
    fn seal_all(&self, maintenance: &mut Maintenance) -> Result<(), OperationError> {
        // What waits for the disk is not sealed.
        self.head.flush_backlog()?;
        self.seal(maintenance)?;
        Ok(())
    }

    /// Makes the log durable and refuses every later commit; reading goes on.
    ///
    /// # Errors
    /// [`AppendError`] when the file system refused.
    pub fn close(&self) -> Result<(), AppendError> {
        self.head.close()
    }

    /// The store's figures.
    pub fn stats(&self) -> DbStats {
        let counters = &self.head.counters;
        let (wal_bytes, wal_segment) = self.head.wal_size();
        let range = self.head.time_range();
        let catalog = self.head.catalog();
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DbStats {
            series: catalog.known.len() as u64,
            label_pairs: catalog.known.pairs_len() as u64,
            pages: self.head.pages(),
            min_time: range.map(|(min, _)| min),
            max_time: range.map(|(_, max)| max),
            samples_appended: get(&counters.samples_appended),
            samples_appended_late: get(&counters.late),
            histograms_appended: get(&counters.histograms_appended),
            series_created: get(&counters.series_created),
            series_removed: get(&counters.series_removed),
            refused_out_of_order: get(&counters.out_of_order),
            refused_out_of_bounds: get(&counters.out_of_bounds),
            refused_too_old: get(&counters.too_old),
            refused_duplicate: get(&counters.duplicate),
            refused_series_limit: get(&counters.series_limit),
            series_limit: self.head.series_max().unwrap_or(0) as u64,
            refused_invalid_labels: get(&counters.invalid_labels),
            refused_invalid_histogram: get(&counters.invalid_histogram),
            blocks: catalog.blocks.len() as u64,
            blocks_damaged: get(&self.counters.blocks_damaged),
            seals: get(&self.counters.seals),
            seals_failed: get(&self.counters.seals_failed),
            block_bytes: catalog.blocks.iter().map(|block| block.bytes()).sum(),
            superseded_bytes: get(&self.counters.superseded_bytes),
            compactions: get(&self.counters.compactions),
            compactions_failed: get(&self.counters.compactions_failed),
            time_retentions: get(&self.counters.time_retentions),
            size_retentions: get(&self.counters.size_retentions),
            tombstones: get(&self.counters.tombstones),
            exemplars: self.head.exemplars.stats(),
            metadata: self.head.metadata.stats(),
            wal_bytes,
            wal_segment,
            wal_write_failures: get(&counters.wal_write_failures),
            wal_corruptions: self.wal_corruptions,
            wal_truncations: get(&counters.wal_truncations),
        }
    }

    /// The largest contributors to the index, at most `limit` a list. Walks the whole index.
    pub fn cardinality(&self, limit: usize) -> CardinalityLists {
        self.head.catalog().known.cardinality(limit)
    }
}

impl Queryable for Db {
    fn querier(&self, range: TimeRange) -> Result<Box<dyn Querier>, ReadError> {
        Ok(Box::new(StoreQuerier::new(&self.head, range)))
    }
}

impl Appendable for Db {
    fn target(&self, key: &TargetKey) -> Result<Box<dyn TargetAppender>, AppendError> {
        Ok(Box::new(HeadTargetAppender::new(&self.head, key)?))
    }

    fn appender(&self) -> Box<dyn Appender> {
        Box::new(HeadAppender::new(&self.head))
    }
}
