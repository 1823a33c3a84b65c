//! Where things are in a block file: header, footer, kinds of sections. All numbers are little endian.
#![deny(clippy::indexing_slicing)]

use std::ops::Range;

use super::BlockName;
use crate::codec::{CodecError, Cursor};

/// First bytes of a block.
const HEADER_MAGIC: [u8; 8] = *b"NXBLOCK\0";
/// Last bytes of a block.
const FOOTER_MAGIC: [u8; 8] = *b"NXBLKEND";
/// Version of the file's layout.
const VERSION: u32 = 1;

/// See [`write_header`]; its checksum included.
pub(super) const HEADER_BYTES: usize = 64;
/// See [`Footer`]: what follows the section table.
pub(super) const TAIL_BYTES: usize = 64;
/// Kind, crc32c, offset and length of a section.
const SECTION_BYTES: usize = 24;

/// Most levels of compaction; each level takes at least twice the one below.
pub(super) const LEVEL_MAX: u8 = 63;

/// What a section of a block holds. The number of a kind is in the file and never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub(crate) enum SectionKind {
    /// Where the frames are and how they check.
    Frames = 1,
    /// The time columns: in which frame each is, how many timestamps, the first and the last.
    Times = 2,
    /// The patterns of gaps: in which frame each is.
    Presence = 3,
    /// The pages of each series.
    Directory = 4,
    /// Index: the label names.
    Symbols = 16,
    /// Index: the values of each label name.
    Pairs = 17,
    /// Index: the pairs of each series.
    Series = 18,
    /// Index: the series of each pair.
    Postings = 19,
    /// Index: from the hash of labels to the series.
    Lookup = 20,
    /// Index: the id of each series.
    Ids = 21,
    /// Index: pairs that come together in the label sets.
    Tails = 22,
}

impl SectionKind {
    /// Every kind there is.
    pub(crate) const ALL: [Self; 11] = [
        Self::Frames,
        Self::Times,
        Self::Presence,
        Self::Directory,
        Self::Symbols,
        Self::Pairs,
        Self::Series,
        Self::Postings,
        Self::Lookup,
        Self::Ids,
        Self::Tails,
    ];

    /// The kind of a number in a file.
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u32 == number)
    }
}

/// Appends a header: magic, version, level, features (none), zeros, first and last commit, generation, zeros, crc32c.
pub(super) fn write_header(name: BlockName, level: u8, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend(HEADER_MAGIC);
    out.extend(VERSION.to_le_bytes());
    out.extend([level, 0, 0, 0]);
    out.extend(name.first.to_le_bytes());
    out.extend(name.last.to_le_bytes());
    out.extend(name.generation.to_le_bytes());
    out.resize(start + HEADER_BYTES - 4, 0);
    let crc = crc32c::crc32c(out.get(start..).unwrap_or_default());
    out.extend(crc.to_le_bytes());
}

/// The name and level in a header whose checksum holds.
pub(super) fn read_header(bytes: &[u8]) -> Result<(BlockName, u8), CodecError> {
    let expected = "a whole block header";
    let mut cursor = Cursor::new(bytes);
    let checked = cursor.take(HEADER_BYTES - 4, expected)?;
    let crc = cursor.u32(expected)?;
    let mut cursor = Cursor::new(checked);
    if cursor.array(expected)? != HEADER_MAGIC {
        return Err(CodecError {
            expected: "a block's first bytes (NXBLOCK)",
        });
    }
    if crc32c::crc32c(checked) != crc {
        return Err(CodecError {
            expected: "a block header that matches its checksum",
        });
    }
    if cursor.u32(expected)? != VERSION {
        return Err(CodecError {
            expected: "a block of version 1",
        });
    }
    let [level, features, zeros @ ..] = cursor.array::<4>(expected)?;
    if features != 0 {
        return Err(CodecError {
            expected: "a block without features that only a later version reads",
        });
    }
    let name = BlockName {
        first: cursor.u64(expected)?,
        last: cursor.u64(expected)?,
        generation: cursor.u32(expected)?,
    };
    let is_valid = level <= LEVEL_MAX
        && name.first <= name.last
        && zeros == [0; 2]
        && cursor.rest().iter().all(|byte| *byte == 0);
    is_valid.then_some((name, level)).ok_or(CodecError {
        expected: "a block header with a known level and commits in order",
    })
}

/// A section of a file: its kind and where it is.
pub(super) type Section = (SectionKind, Range<usize>);

/// What is known of a block when it is whole: the end of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Footer {
    /// Ascending by kind, each kind once.
    pub(super) sections: Vec<(Section, u32)>,
    /// The earliest timestamp of a time column in use; above `max_time` when there is no sample.
    pub(super) min_time: i64,
    /// The latest timestamp of a time column in use.
    pub(super) max_time: i64,
    pub(super) samples: u64,
    /// Where the frames end.
    pub(super) frames_end: u64,
    /// Series in the index.
    pub(super) series: u32,
    /// The largest id of them, 0 when there is none.
    pub(super) series_max: u32,
}

impl Footer {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        for ((kind, range), crc) in &self.sections {
            out.extend((*kind as u32).to_le_bytes());
            out.extend(crc.to_le_bytes());
            out.extend((range.start as u64).to_le_bytes());
            out.extend((range.len() as u64).to_le_bytes());
        }
        for number in [
            self.min_time as u64,
            self.max_time as u64,
            self.samples,
            self.frames_end,
            0,
        ] {
            out.extend(number.to_le_bytes());
        }
        for number in [self.series, self.series_max, self.sections.len() as u32] {
            out.extend(number.to_le_bytes());
        }
        let crc = crc32c::crc32c(out.get(start..).unwrap_or_default());
        out.extend(crc.to_le_bytes());
        out.extend(FOOTER_MAGIC);
    }

    /// Reads the footer of a whole file: its checksum holds, its sections follow the frames and
    /// each other without gaps.
    pub(super) fn read(file: &[u8]) -> Result<Self, CodecError> {
        let expected = "a whole block footer";
        let whole = || CodecError { expected };
        let tail_at = file.len().checked_sub(TAIL_BYTES).ok_or_else(whole)?;
        let tail = file.get(tail_at..).ok_or_else(whole)?;
        let mut cursor = Cursor::new(tail);
        let numbers = cursor.take(52, expected)?;
        let crc = cursor.u32(expected)?;
        if cursor.array(expected)? != FOOTER_MAGIC {
            return Err(CodecError {
                expected: "a block's last bytes (NXBLKEND)",
            });
        }
        let mut cursor = Cursor::new(numbers);
        let mut footer = Self {
            sections: Vec::new(),
            min_time: cursor.u64(expected)? as i64,
            max_time: cursor.u64(expected)? as i64,
            samples: cursor.u64(expected)?,
            frames_end: cursor.u64(expected)?,
            series: 0,
            series_max: 0,
        };
        let reserved = cursor.u64(expected)?;
        footer.series = cursor.u32(expected)?;
        footer.series_max = cursor.u32(expected)?;
        let count = cursor.u32(expected)? as usize;
        let table_at = count
            .checked_mul(SECTION_BYTES)
            .and_then(|bytes| tail_at.checked_sub(bytes))
            .ok_or_else(whole)?;
        let checked = file.get(table_at..tail_at + 52).ok_or_else(whole)?;
        if crc32c::crc32c(checked) != crc || reserved != 0 {
            return Err(CodecError {
                expected: "a block footer that matches its checksum",
            });
        }
        footer.sections.reserve_exact(count);
        let mut cursor = Cursor::new(checked);
        let mut end = footer.frames_end;
        let mut kind_before = 0;
        for _ in 0..count {
            let number = cursor.u32(expected)?;
            let crc = cursor.u32(expected)?;
            let start = cursor.u64(expected)?;
            let length = cursor.u64(expected)?;
            let kind = SectionKind::from_number(number).ok_or(CodecError {
                expected: "sections of known kinds",
            })?;
            let after = start.checked_add(length);
            if start != end
                || number <= kind_before
                || after.is_none_or(|end| end > table_at as u64)
            {
                return Err(CodecError {
                    expected: "sections in order and without gaps",
                });
            }
            // Both are at most the file's length.
            end = start + length;
            kind_before = number;
            footer
                .sections
                .push(((kind, start as usize..end as usize), crc));
        }
        if end != table_at as u64 || footer.frames_end < HEADER_BYTES as u64 {
            return Err(CodecError {
                expected: "sections up to the footer",
            });
        }
        Ok(footer)
    }

    /// Where a section is; a kind that is not there is empty.
    pub(super) fn section(&self, kind: SectionKind) -> Range<usize> {
        let mut sections = self.sections.iter().map(|(section, _)| section);
        let found = sections.find(|(found, _)| *found == kind);
        found.map(|(_, range)| range.clone()).unwrap_or_default()
    }
}
