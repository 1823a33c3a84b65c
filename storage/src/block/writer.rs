//! Writes a block: pages as they come, then directory and index, under a temporary name.
#![deny(clippy::indexing_slicing)]

use std::path::{Path, PathBuf};

use super::{
    BlockName, IndexBuilder, SectionKind,
    directory::{DirectoryWriter, PageRef, PageSummary},
    frames::{FramesWriter, Output, Place, Stream},
    layout::{Footer, LEVEL_MAX, write_header},
    presence::PresenceWriter,
    recent::Recent,
    times::{TimesRef, TimesWriter},
};
use crate::{
    HistogramColumns, TimeRange, Timestamp,
    codec::{CHAIN_MAX, VALUES_MAX, WholeNumbers, encode_histograms, encode_values},
    error::IoError,
    vfs::Fs,
};

/// Pages that are remembered to be stored once.
const RECENT_PAGES_BYTES: usize = 8 << 20;

/// Pages that are stored above one another. Of the blocks that a recording of four exporters takes, a
/// chain of 3 saves 1.5 %, of 4 1.7 %, of 8 1.9 %, and all pages of a chain are decoded for the highest.
const CHAIN: usize = 3;
const _: () = assert!(CHAIN <= CHAIN_MAX);

/// Puts a page of values into `page`, nothing if they are all the same, and answers what its entry says of them.
pub(super) fn encode_page(values: &[f64], page: &mut Vec<u8>) -> PageSummary {
    let summary = PageSummary::of(values);
    page.clear();
    if summary.constant.is_none() {
        encode_values(values, page);
    }
    summary
}

/// At which timestamps of a time column the values of a page are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Positions<'a> {
    /// At consecutive ones: the index of the first.
    From(u32),
    /// At these: ascending indexes, as many as values.
    At(&'a [u32]),
}

/// A finished block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrittenBlock {
    /// The file under its final name.
    pub(crate) path: PathBuf,
    /// Its length.
    pub(crate) bytes: u64,
}

/// The one writer of a block. Memory: some 40 bytes a page until [`BlockWriter::finish`], and at most
/// 64 MiB of what it remembers to store equal things once. Dropped unfinished, it removes its file.
#[derive(Debug)]
pub(crate) struct BlockWriter<'a> {
    fs: &'a dyn Fs,
    folder: PathBuf,
    name: BlockName,
    unfinished: Unfinished<'a>,
    frames: FramesWriter,
    times: TimesWriter,
    presence: PresenceWriter,
    directory: DirectoryWriter,
    recent: Recent<StoredPage>,
    range: TimeRange,
    samples: u64,
    scratch: Vec<u8>,
    /// A page stored above another.
    above: Vec<u8>,
}

/// Where a page is, and how many pages it builds on.
#[derive(Debug, Clone, Copy)]
struct StoredPage {
    place: Place,
    below: usize,
}

/// A page that was written, for one that may be stored above it.
#[derive(Debug)]
pub(super) struct Lower {
    stored: StoredPage,
    numbers: WholeNumbers,
}

/// A page that may be stored above another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket<'a> {
    /// It is not constant, and stored by itself here.
    pub(super) page: &'a [u8],
    pub(super) summary: &'a PageSummary,
    /// A page that was written shortly before.
    pub(super) lower: Option<&'a Lower>,
}

/// Removes a file that did not get its name.
#[derive(Debug)]
struct Unfinished<'a> {
    fs: &'a dyn Fs,
    path: PathBuf,
    is_named: bool,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.is_named {
            // What cannot be removed now is removed by whoever writes or opens next.
            drop(self.fs.remove_file(&self.path));
        }
    }
}

impl<'a> BlockWriter<'a> {
    /// Begins the block of this name in `folder`, under a temporary name; what an earlier writer left
    /// there is replaced. From level 1 on frames are compressed.
    ///
    /// # Errors
    /// [`IoError`].
    ///
    /// # Panics
    /// When `level` is above 63 or the name's commits are not in order.
    pub(crate) fn create(
        fs: &'a dyn Fs,
        folder: &Path,
        name: BlockName,
        level: u8,
    ) -> Result<Self, IoError> {
        assert!(
            level <= LEVEL_MAX && name.first <= name.last,
            "a block of level {level} cannot be named {name}"
        );
        let path = folder.join(format!("{name}.tmp"));
        let file = match fs.create(&path) {
            Err(error) if error.source.kind() == std::io::ErrorKind::AlreadyExists => {
                fs.remove_file(&path)?;
                fs.create(&path)?
            }
            other => other?,
        };
        let unfinished = Unfinished {
            fs,
            path,
            is_named: false,
        };
        let mut output = Output::new(file);
        let mut header = Vec::new();
        write_header(name, level, &mut header);
        output.put(&header)?;
        Ok(Self {
            fs,
            folder: folder.to_owned(),
            name,
            unfinished,
            frames: FramesWriter::new(output, level > 0),
            times: TimesWriter::new(),
            presence: PresenceWriter::new(),
            directory: DirectoryWriter::default(),
            recent: Recent::new(RECENT_PAGES_BYTES),
            range: TimeRange::new(Timestamp::MAX, Timestamp::MIN),
            samples: 0,
            scratch: Vec::new(),
            above: Vec::new(),
        })
    }

    /// The column of 1 to [`TIMES_MAX`](crate::codec::TIMES_MAX) strictly rising timestamps; equal
    /// ones are stored once.
    ///
    /// # Errors
    /// [`IoError`]; the block cannot be finished then.
    ///
    /// # Panics
    /// When there are none or too many, or they do not rise strictly.
    pub(crate) fn times(&mut self, times: &[Timestamp]) -> Result<TimesRef, IoError> {
        self.times.put(times, &mut self.frames)
    }

    /// Adds a page of 1 to [`VALUES_MAX`] values of the series with this id; pages of a series and
    /// series come in any order, but those that come together lie together.
    ///
    /// # Errors
    /// [`IoError`]; the block cannot be finished then.
    ///
    /// # Panics
    /// When there are none or too many values, or not each has its timestamp.
    pub(crate) fn page(
        &mut self,
        series: u32,
        times: TimesRef,
        positions: Positions<'_>,
        values: &[f64],
    ) -> Result<(), IoError> {
        let mut page = std::mem::take(&mut self.scratch);
        let summary = encode_page(values, &mut page);
        let added = self.encoded(series, times, positions, &page, &summary);
        self.scratch = page;
        added
    }

    /// Adds a page of native histograms, which have one layout and are not too many for it; see
    /// [`rows_of_page`](crate::codec::rows_of_page).
    ///
    /// # Errors
    /// [`IoError`]; the block cannot be finished then.
    ///
    /// # Panics
    /// When there are none or too many, or not each has its timestamp.
    pub(crate) fn histograms(
        &mut self,
        series: u32,
        times: TimesRef,
        positions: Positions<'_>,
        columns: &HistogramColumns,
    ) -> Result<(), IoError> {
        let mut page = Vec::new();
        encode_histograms(columns, &mut page);
        let summary = PageSummary::of_histograms(columns);
        self.encoded(series, times, positions, &page, &summary)
    }

    /// Adds an encoded page with what is known of it; a constant one has no bytes.
    ///
    /// # Errors
    /// [`IoError`]; the block cannot be finished then.
    ///
    /// # Panics
    /// When there are none or too many values, or not each has its timestamp.
    pub(crate) fn encoded(
        &mut self,
        series: u32,
        times: TimesRef,
        positions: Positions<'_>,
        page: &[u8],
        summary: &PageSummary,
    ) -> Result<(), IoError> {
        let place = if summary.constant.is_some() {
            Place::default()
        } else {
            self.store(page, None)?.place
        };
        self.enter(series, times, positions, place, summary)
    }

    /// As [`BlockWriter::encoded`] with a page that may be stored above another; answers the page as the
    /// lower one of another, if it can be.
    ///
    /// # Errors
    /// [`IoError`]; the block cannot be finished then.
    ///
    /// # Panics
    /// When there are none or too many values, or not each has its timestamp.
    pub(super) fn bucket(
        &mut self,
        series: u32,
        times: TimesRef,
        positions: Positions<'_>,
        bucket: Bucket<'_>,
    ) -> Result<Option<Lower>, IoError> {
        let numbers = WholeNumbers::of(bucket.page);
        let above = bucket.lower.zip(numbers.as_ref());
        let stored = self.store(bucket.page, above)?;
        self.enter(series, times, positions, stored.place, bucket.summary)?;
        Ok(numbers.map(|numbers| Lower { stored, numbers }))
    }

    /// Stores the bytes of a page, or finds equal ones.
    fn store(
        &mut self,
        page: &[u8],
        above: Option<(&Lower, &WholeNumbers)>,
    ) -> Result<StoredPage, IoError> {
        let (frames, scratch) = (&mut self.frames, &mut self.above);
        self.recent.find_or(page, || {
            if let Some((lower, numbers)) = above
                && let Lower { stored, .. } = lower
                && stored.below + 1 < CHAIN
                && let Some(offset) = frames.offset_in(stored.place.frame, page.len())
            {
                scratch.clear();
                let place = (offset - stored.place.offset, stored.place.bytes);
                let is_encoded = numbers.encode_above(&lower.numbers, place, scratch);
                // It has to save two fifths to be worth the time of every reader.
                if is_encoded && scratch.len() * 5 <= page.len() * 3 {
                    return Ok(StoredPage {
                        place: frames.put(Stream::Pages, scratch)?,
                        below: stored.below + 1,
                    });
                }
            }
            Ok(StoredPage {
                place: frames.put(Stream::Pages, page)?,
                below: 0,
            })
        })
    }

    /// Adds a page that is stored to the directory.
    fn enter(
        &mut self,
        series: u32,
        times: TimesRef,
        positions: Positions<'_>,
        place: Place,
        summary: &PageSummary,
    ) -> Result<(), IoError> {
        let column = self.times.entry(times);
        let len = summary.len;
        let (first, span) = match positions {
            Positions::From(first) => (first, len),
            Positions::At(positions) => {
                assert!(
                    positions.len() == len as usize && positions.is_sorted_by(|a, b| a < b),
                    "each value has a position and they ascend"
                );
                let first = positions.first().copied().unwrap_or_default();
                let last = positions.last().copied().unwrap_or_default();
                (first, last - first + 1)
            }
        };
        assert!(
            (1..=VALUES_MAX as u32).contains(&len)
                && first.checked_add(span).is_some_and(|end| end <= column.len),
            "a page has 1 to {VALUES_MAX} values, each with a timestamp"
        );
        let presence = match positions {
            Positions::At(positions) if span != len => {
                Some(self.presence.put(positions, &mut self.frames)?)
            }
            _ => None,
        };
        let page = PageRef {
            times: times.0,
            first,
            span,
            len,
            kind: summary.kind,
            presence,
            may_be_stale: summary.may_be_stale,
            may_fall: summary.stats.resets > 0,
            constant: summary.constant,
            stats_at: 0,
            place,
        };
        let stats = &summary.stats;
        if !self.directory.push(series, &page, stats, column.len) {
            return Err(IoError {
                action: "write",
                path: self.unfinished.path.clone(),
                source: std::io::ErrorKind::FileTooLarge.into(),
            });
        }
        self.range.min = self.range.min.min(column.range.min);
        self.range.max = self.range.max.max(column.range.max);
        self.samples += u64::from(len);
        Ok(())
    }

    /// Writes directory, index and footer, makes the file durable and gives it its name, durably.
    /// The index has every series with a page, and may have others.
    ///
    /// # Errors
    /// [`IoError`]; the temporary file is removed then.
    ///
    /// # Panics
    /// When a page's series is not in the index.
    pub(crate) fn finish(mut self, index: IndexBuilder) -> Result<WrittenBlock, IoError> {
        let index = index.finish();
        let ids = index.iter().find(|(kind, _)| *kind == SectionKind::Ids);
        let ids = ids.map_or(&[][..], |(_, bytes)| bytes);
        let ids = ids.as_chunks().0.iter().copied().map(u32::from_le_bytes);
        let series_max = ids.clone().max().unwrap_or(0);
        let series = ids.len() as u32;
        let (frames, mut output) = self.frames.finish()?;
        let frames_end = output.len();
        let directory = self.directory.finish(ids, self.times.table());
        let mut sections = vec![
            (SectionKind::Frames, frames),
            (SectionKind::Times, self.times.finish()),
            (SectionKind::Presence, self.presence.finish()),
            (SectionKind::Directory, directory),
        ];
        sections.extend(index);
        let mut footer = Footer {
            sections: Vec::new(),
            min_time: self.range.min,
            max_time: self.range.max,
            samples: self.samples,
            frames_end,
            series,
            series_max,
        };
        for (kind, bytes) in sections {
            let start = output.len() as usize;
            output.put(&bytes)?;
            let section = (kind, start..output.len() as usize);
            footer.sections.push((section, crc32c::crc32c(&bytes)));
        }
        let mut bytes = Vec::new();
        footer.write(&mut bytes);
        output.put(&bytes)?;
        output.sync()?;
        let bytes = output.len();
        let path = self.folder.join(self.name.to_string());
        self.fs.rename(&self.unfinished.path, &path)?;
        self.unfinished.is_named = true;
        self.fs.sync_dir(&self.folder)?;
        Ok(WrittenBlock { path, bytes })
    }
}
