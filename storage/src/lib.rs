//! A store for Prometheus samples, usable on its own.
//!
//! **What it is.** Series (label sets with samples) appended by scrape targets and pushers, kept in
//! memory, in a write-ahead log and in compressed memory-mapped segments, and read through the
//! columnar contract of [`querier`](crate::Queryable).
//!
//! **What it is not.** It parses neither PromQL nor HTTP, opens no socket, starts no async runtime,
//! reads no environment, and reads the clock only through [`Clock`].
//!
//! **What always holds.** Samples of one commit become visible together, and only after their
//! record was handed to the kernel; a snapshot never changes; every byte read from disk is checked
//! by a checksum and its length before use; corruption is an error with file and offset, never a
//! panic and never part of an answer.

mod appender;
mod block;
mod clock;
mod codec;
mod db;
mod error;
mod exemplars;
mod head;
mod index;
mod interchange;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
mod layout;
mod metadata;
mod mmap;
mod model;
mod querier;
mod read;
mod start_times;
#[cfg(test)]
mod test_support;
mod vfs;
mod wal;

pub use appender::{
    Appendable, Appender, Column, Commit, RowBuilder, SeriesRef, TargetAppender, TargetKey,
};
pub use clock::{Clock, SystemClock};
pub use codec::{PageStats, StatFlags};
pub use db::{Db, DbOptions, DbStats, OpenReport, Pace, WalFsync};
pub use error::{AppendError, Corruption, IoError, OpenError, OperationError, ReadError, Refusal};
pub use exemplars::{Exemplar, ExemplarStats};
pub use index::{Cardinality, CardinalityLists};
pub use interchange::{ChunkEncoding, ChunkWriter, PrometheusChunk};
pub use layout::ForeignData;
pub use metadata::{KeptMetadata, Metadata, MetadataRefusal, MetadataStats, MetricType};
pub use mmap::Mapped;
pub use model::{
    CUSTOM_BUCKETS_SCHEMA, Counts, Date, Histogram, HistogramColumns, HistogramCounts,
    HistogramLayout, InvalidHistogram, InvalidLabels, Kind, Labels, LabelsBuilder, METRIC_NAME,
    MatchOp, Matcher, Regex, RegexError, ResetHint, STALE_MARKER_BITS, Sample, SearchRegex, Span,
    TimeRange, Timestamp, is_stale_marker, quoting, stale_marker,
};
pub use querier::{
    AxisId, Budget, Estimate, Portion, Querier, Queryable, Run, RunTotals, Scan, Select,
    SelectedSeries, Selection, Shape, SharedBytes, Version, Wants,
};
pub use vfs::{AppendFile, DirEntry, Fs, MemoryFs, RealFs};
pub use wal::Damage;
