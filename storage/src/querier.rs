//! The read contract: what an engine sees of a store.
//!
//! A store hands out *runs*: undecoded stretches of one series' samples. The engine owns every
//! buffer and tells a run to decode into it. Nothing here names a file, a page or a lock, and an
//! in-memory store for tests fits in a page (see [`Run::floats`]).
//!
//! Invariants of an implementation:
//! - Runs of one [`Scan::seek`] are ascending and disjoint in time; timestamps rise strictly; there
//!   are no duplicates; nothing lies outside the querier's range or snapshot.
//! - A run may reach beyond the *slice* it was asked for (whole pages are not cut to it), never
//!   beyond the *querier's* range: callers bound by timestamp, not by length.
//! - [`Shape::Aligned`]: the runs' lengths add up to the shape's. Two series with the same
//!   [`AxisId`] of one scan have equal timestamps; ids of different scans mean nothing to each other.
//! - A run has numbers or native histograms, never both, and its histograms have one layout: runs of a
//!   series that has both alternate by time, and it is [`Shape::Loose`].
//! - [`Selection::portions`] is a hint for the cost of a part of the time; nothing is wrong where it is empty or not
//!   exact.
//! - Start timestamps are delivered only to who wants them, see [`Run::start_times`].
//! - Staleness markers are delivered as values; [`Run::may_be_stale`] says whether to look for them, as
//!   [`Run::may_fall`] does for numbers that are less than the one before them.

use std::{
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::{
    Corruption, HistogramColumns, Kind, Labels, Matcher, PageStats, ReadError, TimeRange,
    Timestamp,
    block::{Block, PageRef},
    codec::{PackedHistogram, PageBytes, fill},
};

/// Something that can be read at a snapshot.
pub trait Queryable: Send + Sync {
    /// A snapshot of every commit visible now and none later. `range` is inclusive on both ends.
    ///
    /// # Errors
    /// [`ReadError`] when the store cannot be read at all.
    fn querier(&self, range: TimeRange) -> Result<Box<dyn Querier>, ReadError>;
}

/// A snapshot, short-lived.
pub trait Querier: Send + Sync {
    /// The series that pass every matcher, in label order, each label set once.
    ///
    /// # Errors
    /// [`ReadError::Canceled`], [`ReadError::Budget`] or [`ReadError::Corruption`].
    fn select(
        &self,
        request: &Select<'_>,
        budget: &Budget,
    ) -> Result<Box<dyn Selection>, ReadError>;

    /// The label names of the series that pass every matcher, ascending, at most `limit`.
    ///
    /// # Errors
    /// As [`Querier::select`].
    fn label_names(
        &self,
        matchers: &[Matcher],
        limit: Option<usize>,
        budget: &Budget,
    ) -> Result<Vec<String>, ReadError>;

    /// The values of `name` among the series that pass every matcher, ascending, at most `limit`.
    ///
    /// # Errors
    /// As [`Querier::select`].
    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: Option<usize>,
        budget: &Budget,
    ) -> Result<Vec<String>, ReadError>;

    /// Whether Prometheus's store would hand out the series as they were created: so its head does, as long as no block
    /// of its lies in the querier's range. The same as long as the snapshot lives; it decides which series are the first, see [`Selection::place`].
    fn is_by_creation(&self) -> bool {
        false
    }

    /// Names the snapshot; `None` where the store cannot tell one from another.
    fn version(&self) -> Option<Version> {
        None
    }

    /// Samples before this time, in milliseconds, are the same in this snapshot and in an earlier one of the same
    /// open store. [`Timestamp::MIN`]: none may be; [`Timestamp::MAX`]: all are.
    fn changed_since(&self, _earlier: Version) -> Timestamp {
        Timestamp::MIN
    }
}

/// Names a snapshot of a store while that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// The newest commit that is visible.
    pub(crate) commit: u64,
    /// How often samples were removed.
    pub(crate) removals: u64,
}

/// What to select.
#[derive(Debug, Clone, Copy)]
pub struct Select<'a> {
    /// All of them must pass.
    pub matchers: &'a [Matcher],
    /// The time that will be read, inclusive on both ends, within the querier's range. Series that
    /// are known to have no sample in it are left out.
    pub range: TimeRange,
    /// At most so many series, the first in label order.
    pub limit: Option<usize>,
    /// What the caller will read.
    pub wants: Wants,
}

/// What the caller of [`Querier::select`] will read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// Only the label sets.
    Labels,
    /// Times and values.
    Samples,
    /// Times, values and start timestamps, see [`Run::start_times`].
    SamplesAndStartTimes,
}

/// An immutable list of series, shared by the workers of a query.
pub trait Selection: Send + Sync {
    /// The series in label order, each label set once.
    fn series(&self) -> &[SelectedSeries];

    /// Where the series with this index stands in the order in which Prometheus's store would hand them out: the one
    /// with the smaller number comes first. Label order, unless [`Querier::is_by_creation`].
    fn place(&self, series: usize) -> u64 {
        series as u64
    }

    /// What a scan over `slice` would touch, from the directories alone.
    fn estimate(&self, slice: TimeRange) -> Estimate;

    /// The portions in which a scan decodes the series with this index, from the directories alone, in no order; those
    /// of all of the selection's time. A store that does not know says nothing.
    fn portions(&self, _series: usize) -> Vec<Portion> {
        Vec::new()
    }

    /// A cursor for one worker over `slice` (inclusive on both ends).
    fn scan<'a>(&'a self, slice: TimeRange, budget: &'a Budget) -> Box<dyn Scan + 'a>;
}

/// A series of a selection.
#[derive(Debug, Clone)]
pub struct SelectedSeries {
    /// Its labels.
    pub labels: Labels,
}

/// What a scan will cost, an upper bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Samples that lie in the pages touched.
    pub samples: u64,
}

/// Samples of a series that are decoded one after the other: whoever wants a later one pays for those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Portion {
    /// About when the first and the last one are.
    pub range: TimeRange,
    /// How many they are.
    pub samples: u64,
}

/// One worker's cursor; not shared.
pub trait Scan {
    /// Moves to the series with this index of [`Selection::series`]; any order is allowed.
    ///
    /// # Errors
    /// [`ReadError::Canceled`] or [`ReadError::Budget`]: the budget is looked at here.
    fn seek(&mut self, series: usize) -> Result<Shape, ReadError>;

    /// The next run of the series, ascending in time; `None` at its end.
    ///
    /// # Errors
    /// [`ReadError::Corruption`] and the budget's errors.
    fn next_run(&mut self) -> Result<Option<Run<'_>>, ReadError>;

    /// How many samples are in those of the next runs that lie in `within` (inclusive on both ends) and that
    /// [`Scan::next_totals`] can tell of. A store that counts nothing answers 0.
    fn counted_within(&self, _within: TimeRange) -> u64 {
        0
    }

    /// Passes over the next run and tells what its samples add up to, without reading them, when it lies in
    /// `within` (inclusive on both ends), was counted, and `is_enough` says that its statistics will do. `None`
    /// when not: then [`Scan::next_run`] hands it out, or nothing is left.
    ///
    /// # Errors
    /// [`ReadError::Corruption`].
    fn next_totals(
        &mut self,
        _within: TimeRange,
        _is_enough: &dyn Fn(&PageStats) -> bool,
    ) -> Result<Option<RunTotals>, ReadError> {
        Ok(None)
    }

    /// The timestamps of an axis, decoded on first use.
    ///
    /// # Errors
    /// [`ReadError::Corruption`] and the budget's errors.
    fn axis(&mut self, id: AxisId) -> Result<&[Timestamp], ReadError>;
}

/// Names a list of timestamps within one scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AxisId(pub u32);

/// How a series lies in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// No sample.
    Empty,
    /// Exactly the timestamps `axis[first .. first + len]`.
    Aligned {
        /// The shared timestamps.
        axis: AxisId,
        /// Index of the first.
        first: u32,
        /// How many.
        len: u32,
    },
    /// Timestamps of its own.
    Loose {
        /// No more samples than this.
        len_max: u32,
    },
}

/// An undecoded stretch of one series.
#[derive(Debug)]
pub struct Run<'a> {
    len: u32,
    may_be_stale: bool,
    body: Body<'a>,
    times: &'a [Timestamp],
    /// Nothing, or one for each of `times`.
    start_times: &'a [Timestamp],
}

/// What the samples of a run add up to; none of them is a staleness marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunTotals {
    /// Of every one of its values.
    pub stats: PageStats,
    /// The timestamp of the first sample.
    pub first_time: Timestamp,
    /// That of the last one.
    pub last_time: Timestamp,
}

/// Where values come from; private so that storage can add encodings unseen.
#[derive(Debug)]
pub(crate) enum Body<'a> {
    /// Plain values.
    Floats(&'a [f64]),
    /// The same value at every time.
    Constant(f64),
    /// An encoded page of values or histograms, of which what comes after `skip` belongs to the run.
    Page {
        bytes: PageBytes<'a>,
        skip: u32,
        block: &'a Block,
        page: &'a PageRef,
    },
    /// Histograms by themselves.
    Histograms(&'a [PackedHistogram]),
    /// Plain columns of histograms.
    Columns(&'a HistogramColumns),
}

impl Body<'_> {
    /// Decodes as many values as `out` takes, which are not more than there are; none of histograms.
    pub(crate) fn decode(&self, out: &mut [f64]) -> Result<(), Corruption> {
        match self {
            Self::Floats(values) => out.copy_from_slice(&values[..out.len()]),
            Self::Constant(value) => fill(out, *value),
            Self::Page {
                bytes,
                skip,
                block,
                page,
            } => block.decode_bytes(page, *bytes, *skip as usize, out)?,
            Self::Histograms(_) | Self::Columns(_) => {
                unreachable!("only runs of numbers are decoded to numbers")
            }
        }
        Ok(())
    }
}

impl<'a> Run<'a> {
    /// A run over plain columns of equal length; for in-memory stores and tests.
    ///
    /// # Panics
    /// When the two lengths differ.
    pub fn floats(times: &'a [Timestamp], values: &'a [f64]) -> Self {
        assert_eq!(
            times.len(),
            values.len(),
            "a run has a timestamp for every value"
        );
        Self {
            len: u32::try_from(values.len()).expect("a run holds fewer than 2^32 samples"),
            may_be_stale: true,
            body: Body::Floats(values),
            times,
            start_times: &[],
        }
    }

    /// A run over plain columns of equal length; for in-memory stores and tests.
    ///
    /// # Panics
    /// When the two lengths differ.
    pub fn of_histograms(times: &'a [Timestamp], columns: &'a HistogramColumns) -> Self {
        assert_eq!(
            times.len(),
            columns.len(),
            "a run has a timestamp for every histogram"
        );
        Self {
            len: u32::try_from(times.len()).expect("a run holds fewer than 2^32 samples"),
            may_be_stale: true,
            body: Body::Columns(columns),
            times,
            start_times: &[],
        }
    }

    /// The run with start timestamps, one a sample; 0 where none is known.
    ///
    /// # Panics
    /// When they are not as many as the samples.
    #[must_use]
    pub fn with_start_times(mut self, start_times: &'a [Timestamp]) -> Self {
        assert_eq!(
            start_times.len(),
            self.len(),
            "a run has a start timestamp for every sample"
        );
        self.start_times = start_times;
        self
    }

    /// When what each sample counts began, in milliseconds, 0 where that is not known; empty when it is known
    /// of none.
    pub fn start_times(&self) -> &'a [Timestamp] {
        self.start_times
    }

    /// A run of sealed values, as many as `times`.
    pub(crate) fn sealed(times: &'a [Timestamp], body: Body<'a>, may_be_stale: bool) -> Self {
        Self {
            len: u32::try_from(times.len()).expect("a page holds fewer than 2^32 samples"),
            may_be_stale,
            body,
            times,
            start_times: &[],
        }
    }

    /// What the samples are.
    pub const fn kind(&self) -> Kind {
        match self.body {
            Body::Floats(_) | Body::Constant(_) => Kind::Float,
            Body::Histograms(_) | Body::Columns(_) => Kind::Histogram,
            Body::Page { page, .. } => page.kind,
        }
    }

    /// Decodes all histograms.
    ///
    /// # Errors
    /// [`ReadError::OtherKind`] when they are numbers, [`ReadError::Corruption`] when the page does not
    /// decode; `out` is undefined then.
    pub fn histograms(&self, out: &mut HistogramColumns) -> Result<(), ReadError> {
        match &self.body {
            Body::Histograms(histograms) => {
                *out = HistogramColumns::default();
                for packed in *histograms {
                    out.push(&packed.histogram());
                }
            }
            Body::Columns(columns) => (*out).clone_from(columns),
            Body::Page {
                bytes,
                skip,
                block,
                page,
            } if page.kind == Kind::Histogram => {
                *out = block.decode_histograms(page, *bytes)?;
                let first = *skip as usize;
                out.keep(first..first + self.len());
            }
            _ => return Err(ReadError::OtherKind(Kind::Float)),
        }
        Ok(())
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether the run has no sample.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// `false`: there is no staleness marker in it. `true`: there may be.
    pub fn may_be_stale(&self) -> bool {
        self.may_be_stale
    }

    /// `false`: no number in it is less than the one before it. `true`: one may be.
    pub fn may_fall(&self) -> bool {
        match &self.body {
            Body::Page { page, .. } => page.may_fall,
            Body::Constant(_) => false,
            Body::Floats(_) | Body::Histograms(_) | Body::Columns(_) => true,
        }
    }

    /// Decodes all values into the first [`Run::len`] places of `out`.
    ///
    /// # Errors
    /// [`ReadError::OtherKind`] when they are histograms, [`ReadError::Corruption`] when the page does not
    /// decode.
    ///
    /// # Panics
    /// When `out` is shorter than the run.
    pub fn values(&self, out: &mut [f64]) -> Result<(), ReadError> {
        if self.kind() == Kind::Histogram {
            return Err(ReadError::OtherKind(Kind::Histogram));
        }
        Ok(self.body.decode(&mut out[..self.len()])?)
    }

    /// Writes all timestamps into the first [`Run::len`] places of `out`.
    ///
    /// # Errors
    /// [`ReadError::Corruption`] when the time column does not decode.
    ///
    /// # Panics
    /// When `out` is shorter than the run.
    pub fn times(&self, out: &mut [Timestamp]) -> Result<(), ReadError> {
        out[..self.len()].copy_from_slice(self.times);
        Ok(())
    }
}

/// Bytes of memory that several budgets take from, so that all reads of a time stay within them.
#[derive(Debug)]
pub struct SharedBytes {
    left: AtomicU64,
    limit: u64,
}

impl SharedBytes {
    /// So many bytes for all together.
    pub const fn new(limit: u64) -> Self {
        Self {
            left: AtomicU64::new(limit),
            limit,
        }
    }
}

/// What a read may use: a cancel flag and bytes of memory. Shared by the workers of a query.
#[derive(Debug)]
pub struct Budget {
    canceled: AtomicBool,
    bytes_left: AtomicU64,
    limit_bytes: u64,
    shared: Option<Arc<SharedBytes>>,
}

impl Budget {
    /// A budget of `limit_bytes` for decoded columns.
    pub const fn new(limit_bytes: u64) -> Self {
        Self {
            canceled: AtomicBool::new(false),
            bytes_left: AtomicU64::new(limit_bytes),
            limit_bytes,
            shared: None,
        }
    }

    /// A budget of `limit_bytes`, none of which are beyond `shared`. What is not released before it is dropped
    /// goes back then.
    pub const fn sharing(limit_bytes: u64, shared: Arc<SharedBytes>) -> Self {
        Self {
            canceled: AtomicBool::new(false),
            bytes_left: AtomicU64::new(limit_bytes),
            limit_bytes,
            shared: Some(shared),
        }
    }

    /// A budget without limits, for tools and tests.
    pub const fn unlimited() -> Self {
        Self::new(u64::MAX)
    }

    /// Ends every read that looks at this budget from now on.
    pub fn cancel(&self) {
        self.canceled.store(true, Ordering::Relaxed);
    }

    /// Whether [`Budget::cancel`] was called.
    pub fn is_canceled(&self) -> bool {
        self.canceled.load(Ordering::Relaxed)
    }

    /// Fails when cancelled.
    ///
    /// # Errors
    /// [`ReadError::Canceled`].
    pub fn check(&self) -> Result<(), ReadError> {
        if self.is_canceled() {
            Err(ReadError::Canceled)
        } else {
            Ok(())
        }
    }

    /// Takes `bytes` from the budget.
    ///
    /// # Errors
    /// [`ReadError::Budget`] when fewer are left, here or of those that are shared (nothing is taken then);
    /// [`ReadError::Canceled`].
    pub fn charge(&self, bytes: u64) -> Result<(), ReadError> {
        self.check()?;
        take(&self.bytes_left, bytes, self.limit_bytes)?;
        let Some(shared) = &self.shared else {
            return Ok(());
        };
        take(&shared.left, bytes, shared.limit).inspect_err(|_| {
            self.bytes_left.fetch_add(bytes, Ordering::Relaxed);
        })
    }

    /// Fails as [`Budget::charge`] would, and takes nothing.
    ///
    /// # Errors
    /// As [`Budget::charge`].
    pub fn foresee(&self, bytes: u64) -> Result<(), ReadError> {
        self.charge(bytes)?;
        self.release(bytes);
        Ok(())
    }

    /// How many bytes are taken.
    pub fn taken_bytes(&self) -> u64 {
        self.limit_bytes - self.bytes_left.load(Ordering::Relaxed)
    }

    /// Gives `bytes` back.
    pub fn release(&self, bytes: u64) {
        self.bytes_left.fetch_add(bytes, Ordering::Relaxed);
        if let Some(shared) = &self.shared {
            shared.left.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        let taken = self.taken_bytes();
        if let Some(shared) = &self.shared {
            shared.left.fetch_add(taken, Ordering::Relaxed);
        }
    }
}

fn take(from: &AtomicU64, bytes: u64, limit_bytes: u64) -> Result<(), ReadError> {
    from.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
        left.checked_sub(bytes)
    })
    .map(|_| ())
    .map_err(|_| ReadError::Budget { limit_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_that_share_bytes_give_back_what_they_took() {
        let shared = Arc::new(SharedBytes::new(100));
        let one = Budget::sharing(80, Arc::clone(&shared));
        let other = Budget::sharing(80, Arc::clone(&shared));
        // Bytes that are wanted, and the limit that refuses them.
        let charge = |budget: &Budget, bytes| match budget.charge(bytes) {
            Err(ReadError::Budget { limit_bytes }) => Some(limit_bytes),
            outcome => outcome.map(|()| None).unwrap(),
        };
        assert_eq!(charge(&one, 70), None);
        assert_eq!(charge(&one, 11), Some(80));
        assert_eq!(charge(&other, 31), Some(100));
        other.foresee(30).unwrap();
        assert_eq!(charge(&other, 30), None);
        one.release(20);
        assert_eq!((one.taken_bytes(), other.taken_bytes()), (50, 30));
        assert_eq!(charge(&other, 20), None);
        assert_eq!(charge(&other, 1), Some(100));
        drop(one);
        assert_eq!(charge(&other, 30), None);
        assert_eq!(charge(&other, 1), Some(80));
        drop(other);
        assert_eq!(charge(&Budget::sharing(100, shared), 100), None);
    }
}
