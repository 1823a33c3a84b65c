//! Reading a log back: whole records in order; what is damaged is stepped over and reported.
//!
//! Behind a damaged frame reading goes on at the next whole one. What builds on something that was
//! lost is for the reader's caller to refuse, record by record: it knows what it has seen. A segment
//! that holds nothing but commits which are safe elsewhere is not read at all.
#![deny(clippy::indexing_slicing)]

use std::path::{Path, PathBuf};

use super::{
    frame::{
        self, Found, SEGMENT_HEADER_BYTES, frame_at, next_frame, read_segment_header, split_record,
    },
    record::{Buffers, Record, commit_of, decode},
};
use crate::{Corruption, Fs, Mapped, error::IoError};

/// More places of one segment are reported as one.
const DAMAGE_MAX: usize = 100;

/// A part of the log that was not applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Where, and what was wrong.
    pub at: Corruption,
    /// How many bytes of the segment were not applied.
    pub bytes: u64,
    /// Whether it is the end of the newest segment, as a crash leaves it; it was cut off.
    pub torn_tail: bool,
}

/// A segment of the log.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    /// Its length, without what was cut off.
    pub(crate) bytes: u64,
    /// The number of the last commit in it or before it.
    pub(crate) last_commit: u64,
    /// What was not applied, in order.
    pub(crate) damage: Vec<Damage>,
}

/// Whether the whole records of the log include every commit behind `after` up to `last`. A log that
/// is damaged there does not count: something may build on what was lost.
pub(crate) fn holds_commits(
    fs: &dyn Fs,
    folder: &Path,
    after: u64,
    last: u64,
) -> Result<bool, IoError> {
    let mut commits = Vec::new();
    let mut is_whole = true;
    let files = numbered(fs, folder)?;
    for (file, next) in files
        .iter()
        .zip(files.iter().skip(1).map(Some).chain([None]))
    {
        if next.is_some_and(|next| next.before.is_some_and(|before| before <= after)) {
            continue;
        }
        let bytes = fs.map(&file.path, file.bytes)?;
        let read = read_segment(&bytes, file.number, |record| {
            commits.extend(commit_of(record).filter(|commit| *commit > after));
            Ok(())
        });
        is_whole &= match (read.damaged.as_slice(), next) {
            ([], _) => true,
            ([_], None) => read.torn_at(&bytes).is_some(),
            _ => false,
        };
    }
    commits.sort_unstable();
    commits.dedup();
    let in_file = commits.partition_point(|commit| *commit <= last);
    Ok(is_whole && in_file as u64 == last.saturating_sub(after))
}

/// A segment's file, before it is read.
#[derive(Debug)]
struct SegmentFile {
    number: u64,
    path: PathBuf,
    bytes: u64,
    /// The last commit before it, when its head is whole.
    before: Option<u64>,
}

/// The segments of a folder, oldest first.
fn numbered(fs: &dyn Fs, folder: &Path) -> Result<Vec<SegmentFile>, IoError> {
    let mut files = Vec::new();
    for entry in fs.list(folder)? {
        if let Ok(number) = entry.name.parse()
            && !entry.is_dir
        {
            let path = folder.join(&entry.name);
            let head = fs.map(&path, entry.size_bytes.min(SEGMENT_HEADER_BYTES as u64))?;
            files.push(SegmentFile {
                number,
                before: read_segment_header(&head).ok(),
                bytes: entry.size_bytes,
                path,
            });
        }
    }
    files.sort_by_key(|file| file.number);
    Ok(files)
}

/// What of the log is elsewhere too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Covered {
    /// Commits up to this one are in blocks.
    pub(crate) commit: u64,
    /// Everything else in segments before this one is in files beside the log.
    pub(crate) segment: u64,
}

impl Covered {
    /// Whether it is everything of a segment, whose last commit, or the last before it, is given.
    pub(crate) fn is_all_of(&self, segment: u64, last_commit: u64) -> bool {
        segment < self.segment && last_commit <= self.commit
    }
}

/// Hands every whole record of the segments to `apply`, in order, with the segment's number; a
/// segment without anything that is not `covered` is left out. `apply` refuses a record that does not fit
/// what came before, leaving everything as it was; it is reported as damage with the words that
/// `apply` expected. Cuts a torn end off the newest segment.
pub(crate) fn read_folder(
    fs: &dyn Fs,
    folder: &Path,
    covered: Covered,
    mut apply: impl FnMut(u64, Record<'_>) -> Result<(), &'static str>,
) -> Result<Vec<Segment>, IoError> {
    let mut buffers = Buffers::default();
    let mut segments = Vec::new();
    let mut files = numbered(fs, folder)?.into_iter().peekable();
    let mut last_commit = 0;
    while let Some(file) = files.next() {
        let next = files.peek();
        let end_commit = next.and_then(|next| next.before);
        last_commit = last_commit.max(file.before.unwrap_or_default());
        let mut segment = Segment {
            number: file.number,
            path: file.path,
            bytes: file.bytes,
            last_commit,
            damage: Vec::new(),
        };
        if !end_commit.is_some_and(|end| covered.is_all_of(file.number, end)) {
            let bytes = fs.map(&segment.path, file.bytes)?;
            let read = read_segment(&bytes, file.number, |record| {
                if let Some(commit) = commit_of(record) {
                    last_commit = last_commit.max(commit);
                }
                let record = decode(record, &mut buffers).map_err(|error| error.expected)?;
                apply(file.number, record)
            });
            let torn = next.is_none().then(|| read.torn_at(&bytes)).flatten();
            segment.damage = read.report(&segment.path, torn);
            if next.is_none() {
                segment.bytes = finish_newest(fs, &segment, bytes, torn)?;
            }
        }
        last_commit = last_commit.max(end_commit.unwrap_or_default());
        segment.last_commit = last_commit;
        segments.push(segment);
    }
    Ok(segments)
}

/// Cuts off what is torn of the newest segment and makes the rest durable; the bytes that are left.
///
/// Later segments are synced when they end; without this a power cut could leave them and lose the
/// end of this one.
fn finish_newest(
    fs: &dyn Fs,
    segment: &Segment,
    map: Mapped,
    torn: Option<usize>,
) -> Result<u64, IoError> {
    // A map must not reach beyond its file's end.
    drop(map);
    if torn == Some(0) {
        fs.remove_file(&segment.path)?;
        return Ok(0);
    }
    let left = torn.map_or(segment.bytes, |offset| offset as u64);
    fs.open_append(&segment.path, left)?.sync()?;
    Ok(left)
}

/// Bytes that were not applied.
#[derive(Debug)]
struct Gap {
    offset: usize,
    end: usize,
    bytes: usize,
    /// How many records were refused, when it is not damaged.
    records: u64,
    expected: &'static str,
}

/// What came of reading a segment.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// Where there is no whole frame, in order.
    damaged: Vec<Gap>,
    /// The records that were refused, by reason.
    refused: Vec<Gap>,
}

impl Read {
    fn damaged(&mut self, offset: usize, end: usize, expected: &'static str) {
        let is_full = self.damaged.len() >= DAMAGE_MAX;
        match self.damaged.last_mut() {
            Some(last) if is_full || last.end == offset => {
                last.bytes += end - offset;
                last.end = end;
            }
            _ => self.damaged.push(Gap {
                offset,
                end,
                bytes: end - offset,
                records: 0,
                expected,
            }),
        }
    }

    /// A record of the frame at `offset` was refused; those of one reason are counted together.
    fn refused(&mut self, offset: usize, bytes: usize, expected: &'static str) {
        let known = self.refused.iter_mut();
        match known.into_iter().find(|gap| gap.expected == expected) {
            Some(gap) => {
                gap.bytes += bytes;
                gap.records += 1;
            }
            None => self.refused.push(Gap {
                offset,
                end: offset,
                bytes,
                records: 1,
                expected,
            }),
        }
    }

    /// Where the newest segment is to be cut: nothing whole follows.
    fn torn_at(&self, bytes: &[u8]) -> Option<usize> {
        let last = self.damaged.last().filter(|last| last.end == bytes.len())?;
        if last.offset > 0 {
            return Some(last.offset);
        }
        // A crash while the segment began; anything else stays where it is.
        let used = bytes.iter().rposition(|byte| *byte != 0);
        let is_begun = used.is_none_or(|last| last + 1 < SEGMENT_HEADER_BYTES);
        is_begun.then_some(0)
    }

    pub(super) fn report(self, path: &Path, torn: Option<usize>) -> Vec<Damage> {
        let mut gaps = self.damaged;
        gaps.extend(self.refused);
        gaps.sort_by_key(|gap| gap.offset);
        let damage = gaps.into_iter().map(|gap| Damage {
            torn_tail: gap.records == 0 && torn == Some(gap.offset),
            at: Corruption {
                file: path.to_owned(),
                offset: gap.offset as u64,
                expected: gap.expected.to_owned(),
                found: match gap.records {
                    0 => format!("{} bytes that are not", gap.bytes),
                    1 => "a record that does not fit".to_owned(),
                    records => format!("{records} records that do not fit"),
                },
            },
            bytes: gap.bytes as u64,
        });
        damage.collect()
    }
}

/// Hands the records of a segment to `each`, in order.
pub(super) fn read_segment(
    bytes: &[u8],
    number: u64,
    mut each: impl FnMut(&[u8]) -> Result<(), &'static str>,
) -> Read {
    let mut read = Read::default();
    let mut buffer = Vec::new();
    let mut offset = 0;
    match read_segment_header(bytes) {
        Ok(_) => offset = SEGMENT_HEADER_BYTES,
        Err(error) => {
            let next = next_frame(bytes, number, SEGMENT_HEADER_BYTES).unwrap_or(bytes.len());
            read.damaged(offset, next, error.expected);
            offset = next;
        }
    }
    while offset < bytes.len() {
        match frame_at(bytes, number, offset) {
            Found::Frame { body, end } => {
                match frame::records(body, &mut buffer) {
                    Ok(records) => read_records(&mut read, offset, records, &mut each),
                    Err(error) => read.refused(offset, end - offset, error.expected),
                }
                offset = end;
            }
            Found::Body { end } => {
                read.damaged(offset, end, "a matching checksum");
                offset = end;
            }
            Found::Nothing => {
                let next = next_frame(bytes, number, offset + 1).unwrap_or(bytes.len());
                read.damaged(offset, next, "the head of a frame");
                offset = next;
            }
        }
    }
    read
}

/// Hands the records of the frame at `offset` to `each`.
fn read_records(
    read: &mut Read,
    offset: usize,
    records: &[u8],
    each: &mut impl FnMut(&[u8]) -> Result<(), &'static str>,
) {
    let mut rest = records;
    while !rest.is_empty() {
        match split_record(rest) {
            Ok((record, after)) => {
                if let Err(expected) = each(record) {
                    read.refused(offset, rest.len() - after.len(), expected);
                }
                rest = after;
            }
            Err(error) => {
                read.refused(offset, rest.len(), error.expected);
                return;
            }
        }
    }
}
