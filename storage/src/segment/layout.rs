//! Where things are in a segment file. All numbers are little endian.

use crate::codec::{CodecError, Cursor};

/// First bytes of a segment file.
pub(super) const FILE_MAGIC: [u8; 8] = *b"NXHEADSG";
/// Version of the file's layout.
pub(super) const FILE_VERSION: u32 = 1;
/// Magic, version, four reserved zero bytes.
pub(super) const FILE_HEADER_BYTES: usize = 16;

/// First bytes of a frame.
pub(super) const FRAME_MAGIC: [u8; 4] = *b"NXFR";
/// See [`FrameHeader`]; its checksum included.
pub(super) const FRAME_HEADER_BYTES: usize = 56;
/// Offset, length in bytes and count of a time column.
pub(super) const COLUMN_BYTES: usize = 12;
/// See [`Entry`].
pub(super) const ENTRY_BYTES: usize = 16;

/// Most time columns of a frame: an entry names its column in two bytes.
pub(super) const COLUMNS_MAX: usize = 1 << 16;

/// In an entry's length: there may be staleness markers in the page.
const MAY_BE_STALE: u16 = 0x8000;

/// The file's first bytes.
pub(super) fn file_header() -> [u8; FILE_HEADER_BYTES] {
    let mut header = [0; FILE_HEADER_BYTES];
    let fields = FILE_MAGIC.into_iter().chain(FILE_VERSION.to_le_bytes());
    for (to, from) in header.iter_mut().zip(fields) {
        *to = from;
    }
    header
}

/// The head of a frame. After it come, without gaps: definitions, time columns, the table of time
/// columns, the directory (these four are the frame's *meta*), pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) definitions_bytes: u32,
    pub(super) times_bytes: u32,
    pub(super) columns: u32,
    pub(super) entries: u32,
    pub(super) pages_bytes: u32,
    /// The earliest timestamp of any page.
    pub(super) min_time: i64,
    /// The latest timestamp of any page.
    pub(super) max_time: i64,
    /// crc32c of the meta.
    pub(super) meta_crc: u32,
    /// crc32c of the pages.
    pub(super) pages_crc: u32,
}

impl FrameHeader {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend(FRAME_MAGIC);
        for field in [
            self.definitions_bytes,
            self.times_bytes,
            self.columns,
            self.entries,
            self.pages_bytes,
        ] {
            out.extend(field.to_le_bytes());
        }
        out.extend(self.min_time.to_le_bytes());
        out.extend(self.max_time.to_le_bytes());
        out.extend(self.meta_crc.to_le_bytes());
        out.extend(self.pages_crc.to_le_bytes());
        // Reserved.
        out.extend([0; 4]);
        let crc = crc32c::crc32c(out.get(start..).unwrap_or_default());
        out.extend(crc.to_le_bytes());
    }

    /// Reads a header whose checksum holds.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut cursor = Cursor::new(bytes);
        let checked = cursor.take(FRAME_HEADER_BYTES - 4, "a whole frame header")?;
        let crc = cursor.u32("a whole frame header")?;
        let mut cursor = Cursor::new(checked);
        let what = "a frame header";
        if cursor.array(what)? != FRAME_MAGIC || crc32c::crc32c(checked) != crc {
            return Err(CodecError {
                expected: "a frame header that matches its checksum",
            });
        }
        Ok(Self {
            definitions_bytes: cursor.u32(what)?,
            times_bytes: cursor.u32(what)?,
            columns: cursor.u32(what)?,
            entries: cursor.u32(what)?,
            pages_bytes: cursor.u32(what)?,
            min_time: cursor.u64(what)? as i64,
            max_time: cursor.u64(what)? as i64,
            meta_crc: cursor.u32(what)?,
            pages_crc: cursor.u32(what)?,
        })
    }

    /// Bytes of definitions, time columns, their table and the directory.
    pub(super) fn meta_bytes(&self) -> u64 {
        u64::from(self.definitions_bytes)
            + u64::from(self.times_bytes)
            + u64::from(self.columns) * COLUMN_BYTES as u64
            + u64::from(self.entries) * ENTRY_BYTES as u64
    }

    /// Bytes of the whole frame.
    pub(super) fn frame_bytes(&self) -> u64 {
        FRAME_HEADER_BYTES as u64 + self.meta_bytes() + u64::from(self.pages_bytes)
    }
}

/// A page in a frame's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) series: u32,
    /// Of the page, from the first page of the frame.
    pub(super) offset: u32,
    pub(super) column: u16,
    /// Index of the first timestamp in the column.
    pub(super) first: u16,
    /// Values in the page, 1 to 1024.
    pub(super) len: u16,
    pub(super) may_be_stale: bool,
    /// Bytes of the page.
    pub(super) bytes: u16,
}

impl Entry {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.series.to_le_bytes());
        out.extend(self.offset.to_le_bytes());
        let stale = if self.may_be_stale { MAY_BE_STALE } else { 0 };
        for field in [self.column, self.first, self.len | stale, self.bytes] {
            out.extend(field.to_le_bytes());
        }
    }

    pub(super) fn read(bytes: &[u8; ENTRY_BYTES]) -> Self {
        let [
            s0,
            s1,
            s2,
            s3,
            o0,
            o1,
            o2,
            o3,
            c0,
            c1,
            f0,
            f1,
            l0,
            l1,
            b0,
            b1,
        ] = *bytes;
        let len = u16::from_le_bytes([l0, l1]);
        Self {
            series: u32::from_le_bytes([s0, s1, s2, s3]),
            offset: u32::from_le_bytes([o0, o1, o2, o3]),
            column: u16::from_le_bytes([c0, c1]),
            first: u16::from_le_bytes([f0, f1]),
            len: len & !MAY_BE_STALE,
            may_be_stale: len & MAY_BE_STALE != 0,
            bytes: u16::from_le_bytes([b0, b1]),
        }
    }
}
