//! Reads a mapped segment file.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU8, Ordering},
};

use super::layout::{
    COLUMN_BYTES, ENTRY_BYTES, Entry, FILE_HEADER_BYTES, FILE_MAGIC, FILE_VERSION,
    FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHeader,
};
use crate::{
    Corruption, Labels, OpenError, TimeRange, Timestamp,
    codec::{CodecError, Cursor, TIMES_MAX, VALUES_MAX, ValuePage, decode_times},
    mmap::Mapped,
    vfs::Fs,
};

/// A mapped segment file; what is appended to the file later is not part of it.
#[derive(Debug)]
pub(crate) struct Segment {
    path: PathBuf,
    map: Mapped,
    frames: Vec<Frame>,
}

/// One frame of a segment.
#[derive(Debug)]
pub(crate) struct Frame {
    /// Of its header in the file.
    offset: u64,
    header: FrameHeader,
    pages: AtomicU8,
}

const UNCHECKED: u8 = 0;
const GOOD: u8 = 1;
const DAMAGED: u8 = 2;

/// The end of a file that is no whole frame: a write that never finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TornTail {
    /// Where it begins: the file is whole up to here.
    pub(crate) offset: u64,
    /// Bytes in it.
    pub(crate) bytes: u64,
    /// What was expected there.
    pub(crate) reason: &'static str,
}

/// Where a page of a series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageRef {
    /// The series.
    pub(crate) series: u32,
    /// The time column within the frame.
    pub(crate) column: u16,
    /// Index of the page's first timestamp in the column.
    pub(crate) first: u32,
    /// Values in the page.
    pub(crate) len: u32,
    /// `false`: there is no staleness marker in it.
    pub(crate) may_be_stale: bool,
    offset: u32,
    bytes: u16,
}

impl Frame {
    /// The time of its earliest and latest sample, both inclusive.
    pub(crate) fn range(&self) -> TimeRange {
        TimeRange::new(self.header.min_time, self.header.max_time)
    }

    fn meta_at(&self) -> u64 {
        self.offset + FRAME_HEADER_BYTES as u64
    }

    fn times_at(&self) -> u64 {
        self.meta_at() + u64::from(self.header.definitions_bytes)
    }

    fn table_at(&self) -> u64 {
        self.times_at() + u64::from(self.header.times_bytes)
    }

    fn directory_at(&self) -> u64 {
        self.table_at() + u64::from(self.header.columns) * COLUMN_BYTES as u64
    }

    fn pages_at(&self) -> u64 {
        self.meta_at() + self.header.meta_bytes()
    }

    fn end(&self) -> u64 {
        self.offset + self.header.frame_bytes()
    }
}

impl Segment {
    /// Maps the first `len` bytes of a file and checks its frames. A torn end is left out and
    /// described for the caller to cut and report; a torn file header is a tail at offset 0.
    ///
    /// # Errors
    /// [`OpenError::Corruption`] for damage before the end, [`OpenError::Io`].
    pub(crate) fn open(
        fs: &dyn Fs,
        path: &Path,
        len: u64,
    ) -> Result<(Self, Option<TornTail>), OpenError> {
        let segment = Self {
            path: path.to_owned(),
            map: fs.map(path, len)?,
            frames: Vec::new(),
        };
        segment.read_frames()
    }

    fn read_frames(mut self) -> Result<(Self, Option<TornTail>), OpenError> {
        let len = self.map.len() as u64;
        let Some(header) = self.map.first_chunk::<FILE_HEADER_BYTES>() else {
            let tail = TornTail {
                offset: 0,
                bytes: len,
                reason: "a whole file header",
            };
            return Ok((self, Some(tail)));
        };
        self.check_file_header(header)?;
        let mut offset = FILE_HEADER_BYTES as u64;
        while offset < len {
            match self.read_frame(offset) {
                Ok(frame) => {
                    offset = frame.end();
                    self.frames.push(frame);
                }
                Err(Damage { reason, end }) => {
                    // Whatever a write left unfinished is at the end of the file. If a frame
                    // follows, this one was whole once.
                    let after = end.unwrap_or(offset + 1);
                    if after < len && self.has_frame_after(after) {
                        return Err(CodecError { expected: reason }
                            .at(&self.path, offset)
                            .into());
                    }
                    let tail = TornTail {
                        offset,
                        bytes: len - offset,
                        reason,
                    };
                    return Ok((self, Some(tail)));
                }
            }
        }
        // Pages of the last frame may not have reached the disk although their header did.
        if let Some(last) = self.frames.pop() {
            if self.check_pages(&last).is_err() {
                let tail = TornTail {
                    offset: last.offset,
                    bytes: len - last.offset,
                    reason: PAGES_CHECKSUM,
                };
                return Ok((self, Some(tail)));
            }
            self.frames.push(last);
        }
        Ok((self, None))
    }

    fn check_file_header(&self, header: &[u8; FILE_HEADER_BYTES]) -> Result<(), Corruption> {
        let mut cursor = Cursor::new(header);
        let what = "a file header";
        let checked = (|| {
            if cursor.array(what)? != FILE_MAGIC {
                return Err(CodecError {
                    expected: "a head segment's first bytes (NXHEADSG)",
                });
            }
            if cursor.u32(what)? != FILE_VERSION || cursor.u32(what)? != 0 {
                return Err(CodecError {
                    expected: "a head segment of version 1",
                });
            }
            Ok(())
        })();
        checked.map_err(|error: CodecError| error.at(&self.path, 0))
    }

    /// Whether a frame's header begins anywhere from `offset` on.
    fn has_frame_after(&self, offset: u64) -> bool {
        let beyond = (self.map.len() as u64).saturating_sub(offset);
        let mut rest = self.bytes(offset, beyond).unwrap_or_default();
        while let Some(at) = rest
            .windows(FRAME_MAGIC.len())
            .position(|window| window == FRAME_MAGIC)
        {
            rest = rest.get(at..).unwrap_or_default();
            if FrameHeader::read(rest).is_ok() {
                return true;
            }
            rest = rest.get(1..).unwrap_or_default();
        }
        false
    }

    fn read_frame(&self, offset: u64) -> Result<Frame, Damage> {
        let rest = self
            .bytes(offset, self.map.len() as u64 - offset)
            .unwrap_or_default();
        let header = FrameHeader::read(rest).map_err(|error| Damage {
            reason: error.expected,
            end: None,
        })?;
        let frame = Frame {
            offset,
            header,
            pages: AtomicU8::new(UNCHECKED),
        };
        let damage = |reason| Damage {
            reason,
            end: Some(frame.end()),
        };
        if frame.end() > self.map.len() as u64 {
            return Err(damage("a whole frame"));
        }
        let meta = self.bytes(frame.meta_at(), header.meta_bytes());
        let meta = meta.ok_or(damage("a whole frame"))?;
        if crc32c::crc32c(meta) != header.meta_crc {
            return Err(damage("a frame's directory that matches its checksum"));
        }
        self.check_directory(&frame)
            .map_err(|error| damage(error.expected))?;
        Ok(frame)
    }

    /// Checks what the directory and the table of columns point to.
    fn check_directory(&self, frame: &Frame) -> Result<(), CodecError> {
        for number in 0..frame.header.columns {
            let (offset, bytes, len) = self.column(frame, number)?;
            let end = u64::from(offset) + u64::from(bytes);
            if end > u64::from(frame.header.times_bytes)
                || !(1..=TIMES_MAX).contains(&(len as usize))
            {
                return Err(CodecError {
                    expected: "time columns within their frame",
                });
            }
        }
        let mut before = 0;
        for entry in self.directory(frame).iter().map(Entry::read) {
            let (_, _, len) = self.column(frame, u32::from(entry.column))?;
            let page_end = u64::from(entry.offset) + u64::from(entry.bytes);
            let is_valid = entry.series >= before
                && (1..=VALUES_MAX).contains(&usize::from(entry.len))
                && u32::from(entry.first) + u32::from(entry.len) <= len
                && page_end <= u64::from(frame.header.pages_bytes);
            if !is_valid {
                return Err(CodecError {
                    expected: "a sorted directory of pages within their frame",
                });
            }
            before = entry.series;
        }
        Ok(())
    }

    fn bytes(&self, offset: u64, len: u64) -> Option<&[u8]> {
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(usize::try_from(len).ok()?)?;
        self.map.get(start..end)
    }

    fn directory(&self, frame: &Frame) -> &[[u8; ENTRY_BYTES]] {
        let bytes = u64::from(frame.header.entries) * ENTRY_BYTES as u64;
        self.bytes(frame.directory_at(), bytes)
            .unwrap_or_default()
            .as_chunks()
            .0
    }

    /// Offset from the first column, bytes, and timestamps of a column.
    fn column(&self, frame: &Frame, number: u32) -> Result<(u32, u32, u32), CodecError> {
        let expected = "a time column of the frame";
        if number >= frame.header.columns {
            return Err(CodecError { expected });
        }
        let offset = frame.table_at() + u64::from(number) * COLUMN_BYTES as u64;
        let entry = self.bytes(offset, COLUMN_BYTES as u64).unwrap_or_default();
        let mut cursor = Cursor::new(entry);
        Ok((
            cursor.u32(expected)?,
            cursor.u32(expected)?,
            cursor.u32(expected)?,
        ))
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file's header and whole frames, a torn tail left out.
    pub(crate) fn len(&self) -> u64 {
        self.frames
            .last()
            .map_or(self.map.len().min(FILE_HEADER_BYTES) as u64, Frame::end)
    }

    /// Its frames, in the order in which they were written.
    pub(crate) fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Hands on the series that a frame defines, ascending by number. Every series with a page is
    /// defined in the frame of its first page in the file.
    ///
    /// # Errors
    /// [`Corruption`] when a definition does not decode; some may have been handed on then.
    pub(crate) fn definitions(
        &self,
        frame: &Frame,
        mut define: impl FnMut(u32, Labels),
    ) -> Result<(), Corruption> {
        let bytes = self.bytes(frame.meta_at(), u64::from(frame.header.definitions_bytes));
        let mut cursor = Cursor::new(bytes.unwrap_or_default());
        while !cursor.rest().is_empty() {
            let (series, labels) = read_definition(&mut cursor)
                .map_err(|error| error.at(&self.path, frame.meta_at()))?;
            define(series, labels);
        }
        Ok(())
    }

    /// How many pages the file has.
    pub(crate) fn pages_len(&self) -> u64 {
        let frames = self.frames.iter();
        frames.map(|frame| u64::from(frame.header.entries)).sum()
    }

    /// Every page of a frame, ascending by series and, within one, by time.
    pub(crate) fn pages(&self, frame: &Frame) -> impl Iterator<Item = PageRef> + '_ {
        self.directory(frame).iter().map(page_ref)
    }

    /// The pages of one series in a frame, ascending by time; found by binary search in the map.
    pub(crate) fn pages_of(
        &self,
        frame: &Frame,
        series: u32,
    ) -> impl Iterator<Item = PageRef> + '_ {
        let directory = self.directory(frame);
        let start = directory.partition_point(|entry| Entry::read(entry).series < series);
        (directory.iter().skip(start))
            .map(page_ref)
            .take_while(move |page| page.series == series)
    }

    /// Appends all timestamps of a column to `out`.
    ///
    /// # Errors
    /// [`Corruption`] when the column does not decode; `out` is then as before.
    pub(crate) fn times(
        &self,
        frame: &Frame,
        column: u16,
        out: &mut Vec<Timestamp>,
    ) -> Result<(), Corruption> {
        let read = |out: &mut Vec<Timestamp>| {
            let (offset, bytes, len) = self.column(frame, u32::from(column))?;
            let at = frame.times_at() + u64::from(offset);
            let before = out.len();
            decode_times(self.bytes(at, u64::from(bytes)).unwrap_or_default(), out)?;
            if out.len() - before != len as usize {
                out.truncate(before);
                return Err(CodecError {
                    expected: "a time column as long as its table says",
                });
            }
            Ok(())
        };
        read(out).map_err(|error| error.at(&self.path, frame.times_at()))
    }

    /// A page, and where it is in the file. The first page asked of a frame checks them all.
    ///
    /// # Errors
    /// [`Corruption`] when the frame's pages do not match their checksum, or the page is none.
    pub(crate) fn page(
        &self,
        frame: &Frame,
        page: &PageRef,
    ) -> Result<(ValuePage<'_>, u64), Corruption> {
        self.check_pages(frame)?;
        let offset = frame.pages_at() + u64::from(page.offset);
        let bytes = self
            .bytes(offset, u64::from(page.bytes))
            .unwrap_or_default();
        let parsed = ValuePage::parse(bytes).and_then(|parsed| {
            if parsed.len() == page.len as usize {
                Ok(parsed)
            } else {
                Err(CodecError {
                    expected: "a page as long as its directory says",
                })
            }
        });
        match parsed {
            Ok(parsed) => Ok((parsed, offset)),
            Err(error) => Err(error.at(&self.path, offset)),
        }
    }

    /// Checks the pages of every frame, which else happens when they are read first.
    ///
    /// # Errors
    /// [`Corruption`] of the first frame whose pages do not match their checksum.
    pub(crate) fn check_all_pages(&self) -> Result<(), Corruption> {
        self.frames
            .iter()
            .try_for_each(|frame| self.check_pages(frame))
    }

    fn check_pages(&self, frame: &Frame) -> Result<(), Corruption> {
        if frame.pages.load(Ordering::Relaxed) == UNCHECKED {
            let pages = self.bytes(frame.pages_at(), u64::from(frame.header.pages_bytes));
            let is_good =
                pages.is_some_and(|pages| crc32c::crc32c(pages) == frame.header.pages_crc);
            // Several readers may check at the same time; they find the same.
            let state = if is_good { GOOD } else { DAMAGED };
            frame.pages.store(state, Ordering::Relaxed);
        }
        if frame.pages.load(Ordering::Relaxed) == GOOD {
            return Ok(());
        }
        Err(CodecError {
            expected: PAGES_CHECKSUM,
        }
        .at(&self.path, frame.pages_at()))
    }
}

const PAGES_CHECKSUM: &str = "a frame's pages that match their checksum";

/// Why a frame cannot be read, and where it ends if its header can.
struct Damage {
    reason: &'static str,
    end: Option<u64>,
}

fn page_ref(entry: &[u8; ENTRY_BYTES]) -> PageRef {
    let entry = Entry::read(entry);
    PageRef {
        series: entry.series,
        column: entry.column,
        first: u32::from(entry.first),
        len: u32::from(entry.len),
        may_be_stale: entry.may_be_stale,
        offset: entry.offset,
        bytes: entry.bytes,
    }
}

fn read_definition(cursor: &mut Cursor<'_>) -> Result<(u32, Labels), CodecError> {
    let expected = "a series definition";
    let series = cursor.u32(expected)?;
    let count = cursor.varint(expected)?;
    let mut text = || {
        let len = usize::try_from(cursor.varint(expected)?).map_err(|_| CodecError { expected })?;
        let bytes = cursor.take(len, expected)?;
        std::str::from_utf8(bytes).map_err(|_| CodecError { expected })
    };
    let mut pairs = Vec::new();
    for _ in 0..count {
        pairs.push((text()?, text()?));
    }
    let labels = Labels::try_from_pairs(pairs).map_err(|_| CodecError { expected })?;
    Ok((series, labels))
}
