//! Frames: what the pages, time columns and patterns of gaps of a block are stored in.
//!
//! An *item* (one of those three) lies whole in one frame. A frame is written as it is, or from level
//! 1 on compressed where that saves enough, and is checked by its checksum before the first of its
//! items is handed out.
#![deny(clippy::indexing_slicing)]

use std::{
    fmt,
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

use super::layout::HEADER_BYTES;
use crate::{
    codec::{CodecError, Cursor, PageBytes},
    error::IoError,
    vfs::AppendFile,
};

/// A frame takes no more items once it is this long.
const FRAME_BYTES: usize = 16 << 10;
/// No frame is longer than this before compression: the longest item is a column of
/// [`TIMES_MAX`](crate::codec::TIMES_MAX) timestamps of 8 bytes and a few.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// Offset, bytes stored, bytes before compression (and [`COMPRESSED`]), crc32c of the stored bytes.
pub(super) const FRAME_ENTRY_BYTES: usize = 20;
/// In the number of bytes before compression.
const COMPRESSED: u32 = 1 << 31;
/// Source: `storage.md`'s measurements of pages; higher levels gain under 1 %.
const ZSTD_LEVEL: i32 = 3;
/// Frames are handed to the kernel in pieces of about this size.
const WRITE_BYTES: usize = 256 << 10;

/// Where an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Place {
    pub(super) frame: u32,
    /// In the frame before compression.
    pub(super) offset: u32,
    pub(super) bytes: u32,
}

impl Place {
    /// Frame and offset of an item directly behind it in the same frame.
    pub(super) fn behind(&self) -> (u32, u32) {
        (self.frame, self.offset.wrapping_add(self.bytes))
    }
}

/// Items of two kinds go into frames of their own: readers of pages need no time columns of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Pages,
    Times,
}

/// Appends bytes to a file in large pieces.
#[derive(Debug)]
pub(super) struct Output {
    file: Box<dyn AppendFile>,
    buffer: Vec<u8>,
    written: u64,
}

impl Output {
    pub(super) fn new(file: Box<dyn AppendFile>) -> Self {
        Self {
            file,
            buffer: Vec::new(),
            written: 0,
        }
    }

    /// The length of the file with everything put so far.
    pub(super) fn len(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), IoError> {
        if self.buffer.len() + bytes.len() > WRITE_BYTES {
            self.flush()?;
        }
        if bytes.len() >= WRITE_BYTES {
            self.file.append(bytes)?;
            self.written += bytes.len() as u64;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), IoError> {
        self.file.append(&self.buffer)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    pub(super) fn sync(&mut self) -> Result<(), IoError> {
        self.flush()?;
        self.file.sync()
    }
}

/// An open frame.
#[derive(Debug, Default)]
struct Open {
    number: u32,
    bytes: Vec<u8>,
}

/// Fills frames and writes them out.
pub(super) struct FramesWriter {
    pub(super) output: Output,
    /// From level 1 on.
    compressor: Option<zstd::bulk::Compressor<'static>>,
    compressed: Vec<u8>,
    pages: Open,
    times: Open,
    /// As in the section.
    table: Vec<u8>,
}

impl fmt::Debug for FramesWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FramesWriter").finish_non_exhaustive()
    }
}

impl FramesWriter {
    pub(super) fn new(output: Output, compress: bool) -> Self {
        let compressor = compress.then(|| {
            zstd::bulk::Compressor::new(ZSTD_LEVEL).expect("a known level needs only memory")
        });
        Self {
            output,
            compressor,
            compressed: Vec::new(),
            pages: Open::default(),
            times: Open::default(),
            table: Vec::new(),
        }
    }

    /// Stores an item.
    pub(super) fn put(&mut self, stream: Stream, item: &[u8]) -> Result<Place, IoError> {
        let open = match stream {
            Stream::Pages => &self.pages,
            Stream::Times => &self.times,
        };
        if !open.bytes.is_empty() && open.bytes.len() + item.len() > FRAME_BYTES {
            self.close(stream)?;
        }
        let next = (self.table.len() / FRAME_ENTRY_BYTES) as u32;
        let open = match stream {
            Stream::Pages => &mut self.pages,
            Stream::Times => &mut self.times,
        };
        if open.bytes.is_empty() {
            // The number is taken now; the entry is filled in when the frame is written.
            open.number = next;
            self.table.resize(self.table.len() + FRAME_ENTRY_BYTES, 0);
        }
        let place = Place {
            frame: open.number,
            offset: open.bytes.len() as u32,
            bytes: item.len() as u32,
        };
        open.bytes.extend_from_slice(item);
        assert!(
            open.bytes.len() <= FRAME_BYTES_MAX,
            "an item of {} bytes is too long",
            item.len()
        );
        Ok(place)
    }

    /// Where the next page begins in a frame, if that takes it and is `frame`.
    pub(super) fn offset_in(&self, frame: u32, page_bytes: usize) -> Option<u32> {
        let Open { number, bytes } = &self.pages;
        let is_taken = !bytes.is_empty() && bytes.len() + page_bytes <= FRAME_BYTES;
        (is_taken && *number == frame).then_some(bytes.len() as u32)
    }

    /// Writes an open frame.
    fn close(&mut self, stream: Stream) -> Result<(), IoError> {
        let open = match stream {
            Stream::Pages => &mut self.pages,
            Stream::Times => &mut self.times,
        };
        let raw = &open.bytes;
        if raw.is_empty() {
            return Ok(());
        }
        let mut is_compressed = false;
        if let Some(compressor) = &mut self.compressor {
            self.compressed.clear();
            self.compressed
                .reserve(zstd::zstd_safe::compress_bound(raw.len()));
            let done = compressor.compress_to_buffer(raw, &mut self.compressed);
            // It has to save four tenths to be worth the time of every reader.
            is_compressed = done.is_ok() && self.compressed.len() * 10 <= raw.len() * 6;
        }
        let stored = if is_compressed { &self.compressed } else { raw };
        let flag = if is_compressed { COMPRESSED } else { 0 };
        let offset = self.output.len();
        let mut entry = Vec::with_capacity(FRAME_ENTRY_BYTES);
        entry.extend(offset.to_le_bytes());
        for number in [
            stored.len() as u32,
            raw.len() as u32 | flag,
            crc32c::crc32c(stored),
        ] {
            entry.extend(number.to_le_bytes());
        }
        let at = open.number as usize * FRAME_ENTRY_BYTES;
        if let Some(to) = self.table.get_mut(at..at + FRAME_ENTRY_BYTES) {
            to.copy_from_slice(&entry);
        }
        self.output.put(stored)?;
        open.bytes.clear();
        Ok(())
    }

    /// Writes the open frames; returns the section and what to go on writing to.
    pub(super) fn finish(mut self) -> Result<(Vec<u8>, Output), IoError> {
        self.close(Stream::Pages)?;
        self.close(Stream::Times)?;
        Ok((self.table, self.output))
    }
}

/// A frame in the table.
#[derive(Debug, Clone, Copy)]
struct Frame {
    offset: u64,
    stored: u32,
    raw: u32,
    is_compressed: bool,
    crc: u32,
}

/// The frames of an open block.
#[derive(Debug)]
pub(super) struct Frames {
    table: Range<usize>,
    end: u64,
    /// A bit a frame: its checksum held.
    checked: Vec<AtomicU64>,
    /// Distinguishes open blocks in a [`FrameBuffer`].
    serial: u64,
}

/// Why an item could not be handed out, and where the damage is.
pub(super) type Damage = (CodecError, u64);

impl Frames {
    pub(super) fn open(table: Range<usize>, end: u64) -> Result<Self, CodecError> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        if !table.len().is_multiple_of(FRAME_ENTRY_BYTES) {
            return Err(CodecError {
                expected: "a table of whole frames",
            });
        }
        let words = (table.len() / FRAME_ENTRY_BYTES).div_ceil(64);
        Ok(Self {
            table,
            end,
            checked: (0..words).map(|_| AtomicU64::new(0)).collect(),
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
        })
    }

    pub(super) fn len(&self) -> u32 {
        (self.table.len() / FRAME_ENTRY_BYTES) as u32
    }

    fn entry(&self, file: &[u8], number: u32) -> Result<Frame, Damage> {
        let at = self.table.start + number as usize * FRAME_ENTRY_BYTES;
        let damage = |expected| (CodecError { expected }, at as u64);
        if number >= self.len() {
            return Err((
                CodecError {
                    expected: "a frame of the block",
                },
                self.table.start as u64,
            ));
        }
        let bytes = file.get(at..).unwrap_or_default();
        let mut cursor = Cursor::new(bytes);
        let read = |cursor: &mut Cursor<'_>| {
            let expected = "an entry of a frame";
            let offset = cursor.u64(expected)?;
            let stored = cursor.u32(expected)?;
            let raw = cursor.u32(expected)?;
            Ok(Frame {
                offset,
                stored,
                raw: raw & !COMPRESSED,
                is_compressed: raw & COMPRESSED != 0,
                crc: cursor.u32(expected)?,
            })
        };
        let frame = read(&mut cursor).map_err(|error: CodecError| (error, at as u64))?;
        let end = frame.offset.checked_add(u64::from(frame.stored));
        let is_valid = frame.offset >= HEADER_BYTES as u64
            && end.is_some_and(|end| end <= self.end)
            && frame.raw as usize <= FRAME_BYTES_MAX
            && (frame.is_compressed || frame.raw == frame.stored);
        if is_valid {
            Ok(frame)
        } else {
            Err(damage("a frame between header and sections"))
        }
    }

    /// The bytes of a frame as they are stored, which match their checksum.
    fn stored<'a>(&self, file: &'a [u8], number: u32) -> Result<(Frame, &'a [u8]), Damage> {
        let frame = self.entry(file, number)?;
        let start = frame.offset as usize;
        let expected = "a frame that matches its checksum";
        let damage = (CodecError { expected }, frame.offset);
        let stored = file.get(start..start + frame.stored as usize);
        let stored = stored.ok_or(damage)?;
        let word = self.checked.get(number as usize / 64).ok_or(damage)?;
        let bit = 1 << (number % 64);
        if word.load(Ordering::Relaxed) & bit == 0 {
            if crc32c::crc32c(stored) != frame.crc {
                return Err(damage);
            }
            word.fetch_or(bit, Ordering::Relaxed);
        }
        Ok((frame, stored))
    }

    /// The bytes of an item that is no page: of the file, or of its frame's decompressed bytes in
    /// `buffer`.
    #[inline]
    pub(super) fn item<'a>(
        &self,
        file: &'a [u8],
        place: Place,
        buffer: &'a mut FrameBuffer,
    ) -> Result<&'a [u8], Damage> {
        self.page(file, place, buffer).map(|item| item.own())
    }

    /// The bytes of a page, as of an item.
    #[inline]
    pub(super) fn page<'a>(
        &self,
        file: &'a [u8],
        place: Place,
        buffer: &'a mut FrameBuffer,
    ) -> Result<PageBytes<'a>, Damage> {
        let key = (self.serial, place.frame);
        let slot = match buffer.slots.iter().position(|slot| slot.key == Some(key)) {
            Some(slot) => slot,
            None => self.load(file, place.frame, buffer)?,
        };
        buffer.latest = slot;
        let raw = match buffer.slots.get(slot) {
            Some(Slot {
                stored: Some(range),
                ..
            }) => file.get(range.clone()).unwrap_or_default(),
            Some(slot) => &slot.bytes,
            None => &[],
        };
        let item = PageBytes::new(raw, place.offset as usize, place.bytes as usize);
        item.ok_or_else(|| {
            let expected = "an item within its frame";
            (CodecError { expected }, self.offset(file, place.frame))
        })
    }

    /// Puts a frame into the buffer; returns the slot it is in.
    #[inline(never)]
    fn load(&self, file: &[u8], number: u32, buffer: &mut FrameBuffer) -> Result<usize, Damage> {
        let (frame, stored) = self.stored(file, number)?;
        let key = (self.serial, number);
        if frame.is_compressed {
            let loaded = buffer.decompress(key, stored, frame.raw as usize);
            return loaded.map_err(|error| (error, frame.offset));
        }
        let start = frame.offset as usize;
        Ok(buffer.keep_stored(key, start..start + stored.len()))
    }

    /// Where a frame is in the file, 0 when there is no such frame.
    pub(super) fn offset(&self, file: &[u8], number: u32) -> u64 {
        self.entry(file, number).map_or(0, |frame| frame.offset)
    }

    /// Checks every frame once more before the next of its items.
    pub(super) fn forget_checks(&self) {
        for word in &self.checked {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Every frame matches its checksum.
    pub(super) fn check(&self, file: &[u8]) -> Result<(), Damage> {
        (0..self.len()).try_for_each(|number| self.stored(file, number).map(drop))
    }
}

/// Keeps the last two frames a reader used, decompressed where they are compressed: pages of one
/// series, and the time column they share. One a worker; about 200 KiB once it has decompressed
/// something.
#[derive(Default)]
pub(crate) struct FrameBuffer {
    slots: [Slot; 2],
    /// The slot that was used last.
    latest: usize,
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
}

/// A frame whose checksum held.
#[derive(Debug, Default)]
struct Slot {
    /// Block and number.
    key: Option<(u64, u32)>,
    /// Where its bytes are in the file, if it is not compressed; otherwise they are here.
    stored: Option<Range<usize>>,
    bytes: Vec<u8>,
}

impl fmt::Debug for FrameBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameBuffer")
            .field("slots", &self.slots)
            .finish_non_exhaustive()
    }
}

impl FrameBuffer {
    /// The slot to fill next, with nothing in it.
    fn vacate(&mut self) -> (usize, &mut Slot) {
        let [first, second] = &mut self.slots;
        let (index, slot) = if self.latest == 0 {
            (1, second)
        } else {
            (0, first)
        };
        (slot.key, slot.stored) = (None, None);
        (index, slot)
    }

    /// Keeps where a frame that is not compressed is in the file.
    fn keep_stored(&mut self, key: (u64, u32), range: Range<usize>) -> usize {
        let (index, slot) = self.vacate();
        (slot.key, slot.stored) = (Some(key), Some(range));
        index
    }

    /// Keeps the bytes of a compressed frame.
    fn decompress(
        &mut self,
        key: (u64, u32),
        stored: &[u8],
        raw_bytes: usize,
    ) -> Result<usize, CodecError> {
        let mut decompressor = match self.decompressor.take() {
            Some(decompressor) => decompressor,
            None => zstd::bulk::Decompressor::new().map_err(|_| CodecError {
                expected: "memory to decompress a frame",
            })?,
        };
        let (index, slot) = self.vacate();
        slot.bytes.clear();
        slot.bytes.reserve_exact(raw_bytes);
        let done = decompressor.decompress_to_buffer(stored, &mut slot.bytes);
        let is_whole = done.ok() == Some(raw_bytes) && slot.bytes.len() == raw_bytes;
        slot.key = is_whole.then_some(key);
        self.decompressor = Some(decompressor);
        is_whole.then_some(index).ok_or(CodecError {
            expected: "a compressed frame of the length in its table",
        })
    }
}
