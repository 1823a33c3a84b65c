//! Errors by what the caller does next: open, read, append.

use std::path::PathBuf;

use crate::Kind;

/// Bytes on disk that are not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} at offset {offset}: expected {expected}, found {found}", file.display())]
pub struct Corruption {
    /// The damaged file.
    pub file: PathBuf,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// What should have been there.
    pub expected: String,
    /// What was there.
    pub found: String,
}

/// An operation on a file that failed; the path is always part of it.
#[derive(Debug, thiserror::Error)]
#[error("{action} {}", path.display())]
pub struct IoError {
    /// A verb, such as "create" or "sync".
    pub action: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// The operating system's answer.
    #[source]
    pub source: std::io::Error,
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the directory.
    #[error("the data directory {} is in use by another process (its lock file is held)", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The directory was written by a version with another format.
    #[error(
        "{} holds format version {found}, this build reads version {supported}: use the version that wrote it, or another --storage.tsdb.path",
        path.display()
    )]
    Version {
        /// The version file.
        path: PathBuf,
        /// The version that is there.
        found: String,
        /// The version that this build reads.
        supported: u32,
    },
    /// A file is damaged in a way that opening cannot repair without losing data.
    #[error("the store is damaged")]
    Corruption(#[from] Corruption),
    /// The file that says what is deleted is damaged; without it deleted samples would come back.
    #[error(
        "the list of deletions is damaged: put the file back from a copy, or remove it, and what was deleted and is still in blocks comes back"
    )]
    Deletions(#[source] Corruption),
    /// The file system refused.
    #[error("the file system refused")]
    Io(#[from] IoError),
}

/// Why a read ended early.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The reader's cancel flag was set, or its deadline passed.
    #[error("the read was cancelled")]
    Canceled,
    /// The memory budget of the read is used up.
    #[error("the read needs more memory than its budget of {limit_bytes} bytes")]
    Budget {
        /// The budget.
        limit_bytes: u64,
    },
    /// Damaged bytes; they are never part of an answer.
    #[error("the store is damaged")]
    Corruption(#[from] Corruption),
    /// A run was read as numbers that has native histograms, or the other way round; see
    /// [`Run::kind`](crate::Run::kind).
    #[error("samples of a series are {}", match .0 { Kind::Float => "numbers, where native histograms were asked for", Kind::Histogram => "native histograms, where numbers were asked for" })]
    OtherKind(Kind),
}

/// Why nothing of a commit was kept.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The disk is full and the write buffer has reached its limit.
    #[error(
        "the disk is full and {buffered_bytes} bytes wait to be written; free space and appends resume"
    )]
    Full {
        /// How much waits.
        buffered_bytes: u64,
    },
    /// Another live appender holds this target.
    #[error("target {0} already has a live appender")]
    TargetBusy(String),
    /// The write failed.
    #[error("the write-ahead log could not be written")]
    Io(#[from] IoError),
    /// An earlier failure left the store unusable for writing.
    #[error("the store stopped accepting writes after an earlier failure")]
    Poisoned,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

/// Why an operation on the whole store came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// So many deletions wait to be applied to the files that no other is taken.
    #[error(
        "{limit} deletions wait to be applied to the files: clean the tombstones, or wait for compaction"
    )]
    TooManyTombstones {
        /// How many may wait.
        limit: usize,
    },
    /// What is in memory could not be sealed first.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// A file is damaged.
    #[error("the store is damaged")]
    Corruption(#[from] Corruption),
    /// The file system refused.
    #[error("the file system refused")]
    Io(#[from] IoError),
}

impl From<OpenError> for OperationError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Corruption(at) | OpenError::Deletions(at) => Self::Corruption(at),
            OpenError::Io(error) => Self::Io(error),
            OpenError::Locked { .. } | OpenError::Version { .. } => {
                unreachable!("one file has neither a lock nor the version of the store")
            }
        }
    }
}

/// Why one sample was not kept; the rest of its commit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// Older than the series' newest sample.
    #[error("out of order sample")]
    OutOfOrder,
    /// Older than what an out-of-order window allows.
    #[error("too old sample")]
    TooOld,
    /// Older than the store accepts at all (its newest sample minus one hour).
    #[error("out of bounds")]
    OutOfBounds,
    /// Another value at the same time.
    #[error("duplicate sample for timestamp")]
    Duplicate,
    /// The store has as many series as it may.
    #[error("series limit reached: raise --storage.max-series, or drop series by relabelling")]
    SeriesLimit,
    /// The labels break a rule: empty, repeated or overlong names.
    #[error("invalid labels")]
    InvalidLabels,
    /// A native histogram that breaks a rule; [`Histogram::validate`](crate::Histogram::validate) says
    /// which.
    #[error("invalid histogram")]
    InvalidHistogram,
}
