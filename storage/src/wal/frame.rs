//! The log's bytes: the head of a segment, and frames, each with the records of one write.
//!
//! A frame's head has a checksum of its own, over its place too: wherever a file is damaged, the next
//! whole frame is found by looking for such a head, and neither bytes inside of a text nor a page of
//! another file can pass for one.
#![deny(clippy::indexing_slicing)]

use crate::codec::{CodecError, Cursor, put_varint};

/// The first bytes of every segment.
const MAGIC: &[u8; 8] = b"NXWAL\0\0\x02";
/// Magic, the last commit before the segment, checksum of both.
pub(super) const SEGMENT_HEADER_BYTES: usize = 8 + 8 + 4;
/// Stands for a segment's number in a file beside the log.
pub(super) const SIDE_FILE: u64 = 0;
/// Length, checksum of the body, checksum of both and of the place.
const HEADER_BYTES: usize = 4 + 4 + 4;

/// A longer record is damage, not data.
pub(crate) const RECORD_BYTES_MAX: usize = 256 << 20;
/// Records share a frame up to this size.
const SHARED_BYTES_MAX: usize = 128 << 10;
/// A longer frame is damage: one record, or several that share it, behind their lengths.
const FRAME_BYTES_MAX: usize = RECORD_BYTES_MAX + SHARED_BYTES_MAX + 64;
/// LZ4 makes at most so many bytes of one.
const LZ4_RATIO_MAX: usize = 255;
/// Fewer bytes are not worth a try.
const LZ4_BYTES_MIN: usize = 32;

const KIND_PLAIN: u8 = 1;
const KIND_LZ4: u8 = 2;

/// Where a frame lies: its place is part of its checksum.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// The segment's number.
    pub(super) segment: u64,
    /// The frame's first byte in the segment.
    pub(super) offset: u64,
}

/// The head of a segment.
pub(super) fn segment_header(last_commit_before: u64) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&last_commit_before.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    header.copy_from_slice(&bytes);
    header
}

/// The number of the last commit before the segment, from its first bytes.
pub(super) fn read_segment_header(bytes: &[u8]) -> Result<u64, CodecError> {
    let expected = "the head of a log segment of version 2";
    let mut input = Cursor::new(bytes);
    let magic = input.array::<8>(expected)?;
    let before = input.u64(expected)?;
    let sum = input.u32(expected)?;
    let summed = bytes.get(..16).unwrap_or_default();
    if magic != *MAGIC || sum != crc32c::crc32c(summed) {
        return Err(CodecError { expected });
    }
    Ok(before)
}

/// Appends a record: its length, its kind, and what `payload` writes.
pub(super) fn put_record(out: &mut Vec<u8>, kind: u8, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.push(kind);
    payload(out);
    let len = out.len() - start;
    put_varint(len as u64, out);
    let end = out.len();
    if let Some(record) = out.get_mut(start..) {
        record.rotate_right(end - start - len);
    }
}

/// The record at the start of `bytes`, kind and payload, and what follows it.
pub(super) fn split_record(bytes: &[u8]) -> Result<(&[u8], &[u8]), CodecError> {
    let expected = "a whole record";
    let mut input = Cursor::new(bytes);
    let len = usize::try_from(input.varint(expected)?).map_err(|_| CodecError { expected })?;
    if len == 0 || len > RECORD_BYTES_MAX {
        return Err(CodecError { expected });
    }
    let record = input.take(len, expected)?;
    Ok((record, input.rest()))
}

/// Writes records as frames that begin at `place`.
pub(super) fn put_frames(out: &mut Vec<u8>, place: Place, records: &[u8]) {
    let first = out.len();
    let mut rest = records;
    while !rest.is_empty() {
        let mut after = rest;
        while let Ok((_, next)) = split_record(after)
            && (after.len() == rest.len() || rest.len() - next.len() <= SHARED_BYTES_MAX)
        {
            after = next;
        }
        let (shared, next) = rest
            .split_at_checked(rest.len() - after.len())
            .expect("what follows is a part");
        assert!(!shared.is_empty(), "whole records are written");
        let offset = place.offset + (out.len() - first) as u64;
        put_frame(out, Place { offset, ..place }, shared);
        rest = next;
    }
}

fn put_frame(out: &mut Vec<u8>, place: Place, records: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    let body = out.len();
    put_body(out, records);
    let (head, body) = out
        .get_mut(start..)
        .and_then(|frame| frame.split_at_mut_checked(body - start))
        .expect("written above");
    let len = u32::try_from(body.len()).expect("frames are limited well below 4 GiB");
    let what = u64::from(len) | u64::from(crc32c::crc32c(body)) << 32;
    let sum = header_sum(what, place);
    head.copy_from_slice(
        [&what.to_le_bytes()[..], &sum.to_le_bytes()]
            .concat()
            .as_slice(),
    );
}

fn put_body(out: &mut Vec<u8>, records: &[u8]) {
    let body = out.len();
    if records.len() >= LZ4_BYTES_MIN {
        out.push(KIND_LZ4);
        put_varint(records.len() as u64, out);
        let at = out.len();
        out.resize(
            at + lz4_flex::block::get_maximum_output_size(records.len()),
            0,
        );
        let room = out.get_mut(at..).unwrap_or_default();
        if let Ok(len) = lz4_flex::block::compress_into(records, room)
            && at + len < body + 1 + records.len()
        {
            out.truncate(at + len);
            return;
        }
        out.truncate(body);
    }
    out.push(KIND_PLAIN);
    out.extend_from_slice(records);
}

fn header_sum(what: u64, place: Place) -> u32 {
    let sum = crc32c::crc32c(&what.to_le_bytes());
    let sum = crc32c::crc32c_append(sum, &place.segment.to_le_bytes());
    crc32c::crc32c_append(sum, &place.offset.to_le_bytes())
}

/// What is at a place of a segment.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// A frame: its body, and where it ends.
    Frame { body: &'a [u8], end: usize },
    /// The head of a frame whose body is damaged, and where that ends.
    Body { end: usize },
    /// No head of a frame.
    Nothing,
}

/// Looks for a frame at `offset` of a segment's bytes.
pub(super) fn frame_at(bytes: &[u8], segment: u64, offset: usize) -> Found<'_> {
    let Some((len, sum)) = header_at(bytes, segment, offset) else {
        return Found::Nothing;
    };
    let start = offset + HEADER_BYTES;
    let end = start + len;
    match bytes.get(start..end) {
        Some(body) if crc32c::crc32c(body) == sum => Found::Frame { body, end },
        Some(_) => Found::Body { end },
        None => Found::Nothing,
    }
}

/// Where the next head of a frame is at or behind `from`.
pub(super) fn next_frame(bytes: &[u8], segment: u64, from: usize) -> Option<usize> {
    (from..bytes.len()).find(|offset| header_at(bytes, segment, *offset).is_some())
}

/// Length and checksum of the frame's body, if there is a head and the body fits behind it.
fn header_at(bytes: &[u8], segment: u64, offset: usize) -> Option<(usize, u32)> {
    let (head, rest) = bytes.get(offset..)?.split_first_chunk::<HEADER_BYTES>()?;
    let (what, sum) = head.split_first_chunk::<8>()?;
    let what = u64::from_le_bytes(*what);
    let len = what as u32 as usize;
    if len == 0 || len > FRAME_BYTES_MAX || len > rest.len() {
        return None;
    }
    let offset = offset as u64;
    let place = Place { segment, offset };
    let sum = u32::from_le_bytes(sum.first_chunk::<4>().copied()?);
    (sum == header_sum(what, place)).then_some((len, (what >> 32) as u32))
}

/// The records of a frame's body; `buffer` holds them when they were compressed.
pub(super) fn records<'a>(body: &'a [u8], buffer: &'a mut Vec<u8>) -> Result<&'a [u8], CodecError> {
    let error = CodecError {
        expected: "a well-formed frame",
    };
    let mut input = Cursor::new(body);
    match input.u8(error.expected)? {
        KIND_PLAIN => Ok(input.rest()),
        KIND_LZ4 => {
            let len = usize::try_from(input.varint(error.expected)?).map_err(|_| error)?;
            let block = input.rest();
            if len > FRAME_BYTES_MAX || len > block.len().saturating_mul(LZ4_RATIO_MAX) {
                return Err(error);
            }
            buffer.resize(len, 0);
            let written = lz4_flex::block::decompress_into(block, buffer).map_err(|_| error)?;
            if written != len {
                return Err(error);
            }
            Ok(buffer)
        }
        _ => Err(error),
    }
}
