//! The write-ahead log: every commit since the last seal, in order, as checksummed records.
//!
//! It knows bytes and files, not what a commit means. What survives which crash is in `docs/wal.md`.

mod reader;
mod record;
mod writer;

pub use reader::Damage;
pub(crate) use reader::{holds_commits, read_folder};
pub(crate) use record::{
    Change, RECORD_BYTES_MAX, Record, RowRecord, encode_row, encode_series, encode_solo,
};
pub(crate) use writer::{ClosedSegment, Wal, WriteFailure};
