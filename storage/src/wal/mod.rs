//! The write-ahead log: every commit since the last seal, in order, as checksummed records.
//!
//! It knows bytes and files, not what a commit means. What survives which crash is in `docs/wal.md`.

mod cells;
mod change;
mod frame;
mod reader;
mod record;
mod side;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use cells::Changed;
pub(crate) use frame::RECORD_BYTES_MAX;
pub use reader::Damage;
pub(crate) use reader::{Covered, holds_commits, read_folder};
pub(crate) use record::{
    PUSH_ROWS_MAX, PushRow, Record, RowRecord, encode_exemplars, encode_push, encode_row,
    encode_series, encode_solo,
};
pub(crate) use side::{SideFile, load_side_file, save_side_file};
pub(crate) use writer::{ClosedSegment, Wal, WriteFailure};
