//! Time columns of a block: each list of timestamps once, however many series share it.
#![deny(clippy::indexing_slicing)]

use std::ops::Range;

use super::frames::{FramesWriter, Place, Stream};
use super::recent::Recent;
use crate::{
    TimeRange, Timestamp,
    codec::{CodecError, Cursor, TIMES_MAX, encode_times},
    error::IoError,
};

/// Frame, offset, bytes, timestamps (4 bytes each), the first and the last timestamp.
pub(super) const TIMES_ENTRY_BYTES: usize = 32;
/// Encoded columns that are remembered to be shared.
const RECENT_BYTES: usize = 32 << 20;

/// A time column of a block that is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TimesRef(pub(super) u32);

/// A time column in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TimesEntry {
    pub(super) place: Place,
    /// Timestamps, 1 to [`TIMES_MAX`].
    pub(super) len: u32,
    pub(super) range: TimeRange,
}

impl TimesEntry {
    /// A column of so many timestamps from a time on, which lies nowhere.
    #[cfg(feature = "internals")]
    pub(super) fn example(len: u32, start: Timestamp) -> Self {
        Self {
            place: Place::default(),
            len,
            range: TimeRange::new(start, start + i64::from(len)),
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        for number in [
            self.place.frame,
            self.place.offset,
            self.place.bytes,
            self.len,
        ] {
            out.extend(number.to_le_bytes());
        }
        out.extend(self.range.min.to_le_bytes());
        out.extend(self.range.max.to_le_bytes());
    }

    /// The entry of a column in a table.
    pub(super) fn read(table: &[u8], column: u32) -> Result<Self, CodecError> {
        let expected = "a time column of the block";
        let start = column as usize * TIMES_ENTRY_BYTES;
        let mut cursor = Cursor::new(table.get(start..).unwrap_or_default());
        let place = Place {
            frame: cursor.u32(expected)?,
            offset: cursor.u32(expected)?,
            bytes: cursor.u32(expected)?,
        };
        let entry = Self {
            place,
            len: cursor.u32(expected)?,
            range: TimeRange::new(cursor.u64(expected)? as i64, cursor.u64(expected)? as i64),
        };
        let is_valid =
            (1..=TIMES_MAX as u32).contains(&entry.len) && entry.range.min <= entry.range.max;
        is_valid.then_some(entry).ok_or(CodecError {
            expected: "a time column of 1 to 65536 timestamps in order",
        })
    }
}

/// Stores time columns and writes their table.
#[derive(Debug)]
pub(super) struct TimesWriter {
    /// As in the section.
    table: Vec<u8>,
    recent: Recent<u32>,
    encoded: Vec<u8>,
}

impl TimesWriter {
    pub(super) fn new() -> Self {
        Self {
            table: Vec::new(),
            recent: Recent::new(RECENT_BYTES),
            encoded: Vec::new(),
        }
    }

    /// Stores 1 to [`TIMES_MAX`] strictly rising timestamps, or finds them.
    pub(super) fn put(
        &mut self,
        times: &[Timestamp],
        frames: &mut FramesWriter,
    ) -> Result<TimesRef, IoError> {
        self.encoded.clear();
        encode_times(times, &mut self.encoded);
        let (Some(min), Some(max)) = (times.first(), times.last()) else {
            unreachable!("encode_times refuses empty columns");
        };
        let table = &mut self.table;
        let encoded = &self.encoded;
        let number = self.recent.find_or(encoded, || {
            let number = (table.len() / TIMES_ENTRY_BYTES) as u32;
            let entry = TimesEntry {
                place: frames.put(Stream::Times, encoded)?,
                len: times.len() as u32,
                range: TimeRange::new(*min, *max),
            };
            entry.write(table);
            Ok(number)
        })?;
        Ok(TimesRef(number))
    }

    pub(super) fn entry(&self, column: TimesRef) -> TimesEntry {
        TimesEntry::read(&self.table, column.0).expect("a reference is to a column that was stored")
    }

    /// The section so far.
    pub(super) fn table(&self) -> &[u8] {
        &self.table
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.table
    }
}

/// The latest start and the earliest end of a table's columns: a range that does not end before the one or begin
/// behind the other overlaps every column. Where an entry is damaged, which is told to who reads it, none does.
pub(super) fn latest_start_and_earliest_end(table: &[u8]) -> (Timestamp, Timestamp) {
    let columns = 0..(table.len() / TIMES_ENTRY_BYTES) as u32;
    let mut ranges = columns.map(|column| Some(TimesEntry::read(table, column).ok()?.range));
    let all = (Timestamp::MIN, Timestamp::MAX);
    let found = ranges.try_fold(all, |(start, end), range| {
        range.map(|range| (start.max(range.min), end.min(range.max)))
    });
    found.unwrap_or((Timestamp::MAX, Timestamp::MIN))
}

/// The range of a table's columns that a section holds, or what is wrong with its length.
pub(super) fn check_table(table: &Range<usize>) -> Result<(), CodecError> {
    let is_whole = table.len().is_multiple_of(TIMES_ENTRY_BYTES);
    is_whole.then_some(()).ok_or(CodecError {
        expected: "a table of whole time columns",
    })
}
