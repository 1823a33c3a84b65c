//! Reads a mapped block.
#![deny(clippy::indexing_slicing)]

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    BlockIndex, BlockName, IndexSections, SectionKind,
    directory::{PageRef, PageSummary, Pages},
    frames::{Damage, FrameBuffer, Frames},
    layout::{Footer, TAIL_BYTES, read_header},
    presence,
    times::{self, TimesEntry},
};
use crate::{
    Corruption, HistogramColumns, Kind, OpenError, TimeRange, Timestamp,
    codec::{CodecError, PageBytes, PageStats, ValuePage, decode_histograms, decode_times},
    mmap::Mapped,
    vfs::Fs,
};

/// A mapped block. Opening reads header, footer and the sections behind the frames; a frame is
/// checked when the first of its pages is asked for.
#[derive(Debug)]
pub(crate) struct Block {
    path: PathBuf,
    map: Arc<Mapped>,
    name: BlockName,
    level: u8,
    footer: Footer,
    frames: Frames,
    index: BlockIndex,
    /// Of its time columns.
    latest_start: Timestamp,
    earliest_end: Timestamp,
}

impl Block {
    /// Maps the file of `bytes` bytes and checks it: header, footer, the checksum of every section
    /// and what the index points to. The file's name must be the one in its header.
    ///
    /// # Errors
    /// [`OpenError::Corruption`] naming file and offset, [`OpenError::Io`].
    pub(crate) fn open(fs: &dyn Fs, path: &Path, bytes: u64) -> Result<Self, OpenError> {
        let map = Arc::new(fs.map(path, bytes)?);
        let block = Self::read(path, map).map_err(|(error, offset)| error.at(path, offset))?;
        Ok(block)
    }

    fn read(path: &Path, map: Arc<Mapped>) -> Result<Self, Damage> {
        let (name, level) = read_header(&map).map_err(|error| (error, 0))?;
        let file_name = path.file_name().and_then(|name| name.to_str());
        if file_name.and_then(|text| text.parse().ok()) != Some(name) {
            let expected = "a file name that says what its header says";
            return Err((CodecError { expected }, 0));
        }
        let footer_at = map.len().saturating_sub(TAIL_BYTES) as u64;
        let footer = Footer::read(&map).map_err(|error| (error, footer_at))?;
        for ((_, range), crc) in &footer.sections {
            let bytes = map.get(range.clone()).unwrap_or_default();
            if crc32c::crc32c(bytes) != *crc {
                let expected = "a section that matches its checksum";
                return Err((CodecError { expected }, range.start as u64));
            }
        }
        let section = footer.section(SectionKind::Frames);
        let at = section.start as u64;
        let frames = Frames::open(section, footer.frames_end).map_err(|error| (error, at))?;
        let section = footer.section(SectionKind::Times);
        times::check_table(&section).map_err(|error| (error, section.start as u64))?;
        let table = map.get(section).unwrap_or_default();
        let (latest_start, earliest_end) = times::latest_start_and_earliest_end(table);
        let sections = footer.sections.iter().map(|(section, _)| section.clone());
        let sections: Vec<_> = sections.collect();
        let index_at = footer.section(SectionKind::Symbols).start as u64;
        let index = BlockIndex::open(Arc::clone(&map), &sections)
            .and_then(|index| {
                let is_as_told = index.len() == footer.series;
                is_as_told.then_some(index).ok_or(CodecError {
                    expected: "an index with as many series as the footer says",
                })
            })
            .map_err(|error| (error, index_at))?;
        let checked = index.check_ids(footer.series_max);
        checked.map_err(|(error, at)| (error, at as u64))?;
        Ok(Self {
            path: path.to_owned(),
            map,
            name,
            level,
            footer,
            frames,
            index,
            latest_start,
            earliest_end,
        })
    }

    /// The same file, checked anew: header, tail and sections now, frames when they are read from it. Whoever
    /// passes on what it reads, or removes the file, must not go by what was found long ago.
    ///
    /// # Errors
    /// [`Corruption`].
    pub(crate) fn checked_anew(&self) -> Result<Self, Corruption> {
        Self::read(&self.path, Arc::clone(&self.map)).map_err(|damage| self.damaged(damage))
    }

    /// From now on a frame's checksum is looked at again before something is read from it.
    pub(crate) fn forget_checks(&self) {
        self.frames.forget_checks();
    }

    /// What it holds.
    pub(crate) const fn name(&self) -> BlockName {
        self.name
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The length of the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// 0: written by a seal; others: how often its samples were merged.
    pub(crate) const fn level(&self) -> u8 {
        self.level
    }

    /// The time of the earliest and latest timestamp of its time columns; empty without samples.
    pub(crate) const fn range(&self) -> TimeRange {
        TimeRange::new(self.footer.min_time, self.footer.max_time)
    }

    /// Whether a range overlaps every one of its time columns.
    pub(crate) const fn is_met_by(&self, range: TimeRange) -> bool {
        self.latest_start <= range.max && range.min <= self.earliest_end
    }

    /// The largest id of its series, 0 when it has none; below [`ID_END`](super::ID_END).
    pub(crate) const fn series_max(&self) -> u32 {
        self.footer.series_max
    }

    /// How many samples it has.
    pub(crate) const fn samples(&self) -> u64 {
        self.footer.samples
    }

    /// Its series. What it finds damaged is damage of [`Block::index_damaged`].
    pub(crate) const fn index(&self) -> &BlockIndex {
        &self.index
    }

    /// The sections of the index, checked once more, for a block with the same series; `None` when it is without
    /// the table that finds a series by its labels.
    ///
    /// # Errors
    /// [`Corruption`].
    pub(crate) fn index_sections(&self) -> Result<Option<IndexSections>, Corruption> {
        let mut sections = Vec::new();
        for ((kind, _), crc) in &self.footer.sections {
            if *kind < SectionKind::Symbols {
                continue;
            }
            let bytes = self.section(*kind).to_vec();
            if crc32c::crc32c(&bytes) != *crc {
                let expected = "a section that matches its checksum";
                return Err(self.section_damaged(*kind, CodecError { expected }));
            }
            sections.push((*kind, bytes));
        }
        let has_lookup = (sections.iter()).any(|(kind, _)| *kind == SectionKind::Lookup);
        Ok(has_lookup.then_some(sections))
    }

    /// Damage of the index, as whoever reads it finds it.
    pub(crate) fn index_damaged(&self, error: CodecError) -> Corruption {
        self.section_damaged(SectionKind::Symbols, error)
    }

    fn section(&self, kind: SectionKind) -> &[u8] {
        let range = self.footer.section(kind);
        self.map.get(range).unwrap_or_default()
    }

    /// How long a section is.
    #[cfg(test)]
    pub(super) fn section_bytes(&self, kind: SectionKind) -> usize {
        self.section(kind).len()
    }

    fn damaged(&self, (error, offset): Damage) -> Corruption {
        error.at(&self.path, offset)
    }

    /// The damage of a section.
    fn section_damaged(&self, kind: SectionKind, error: CodecError) -> Corruption {
        error.at(&self.path, self.footer.section(kind).start as u64)
    }

    /// The pages of a series, see [`BlockPages`].
    ///
    /// # Errors
    /// [`Corruption`], also when there is no such series.
    pub(crate) fn pages(&self, ordinal: u32) -> Result<BlockPages<'_>, Corruption> {
        let mut pages = self.all_pages();
        pages.seek(ordinal)?;
        Ok(pages)
    }

    /// The pages of one series after another, of none before [`BlockPages::seek`].
    pub(crate) fn all_pages(&self) -> BlockPages<'_> {
        let directory = self.section(SectionKind::Directory);
        let times_table = self.section(SectionKind::Times);
        let pages = Pages::new(directory, times_table, self.footer.series);
        BlockPages { block: self, pages }
    }

    /// The statistics of a page's values.
    ///
    /// # Errors
    /// [`Corruption`].
    pub(crate) fn stats(&self, page: &PageRef) -> Result<PageStats, Corruption> {
        let stats = page.stats(self.section(SectionKind::Directory));
        stats.map_err(|error| self.section_damaged(SectionKind::Directory, error))
    }

    /// What a page holds.
    ///
    /// # Errors
    /// [`Corruption`].
    pub(crate) fn summary(&self, page: &PageRef) -> Result<PageSummary, Corruption> {
        Ok(PageSummary {
            len: page.len,
            kind: page.kind,
            may_be_stale: page.may_be_stale,
            stats: self.stats(page)?,
            constant: page.constant,
        })
    }

    fn times_entry(&self, column: u32) -> Result<TimesEntry, Corruption> {
        TimesEntry::read(self.section(SectionKind::Times), column)
            .map_err(|error| self.section_damaged(SectionKind::Times, error))
    }

    /// How many time columns there are.
    pub(crate) fn times_len(&self) -> u32 {
        (self.section(SectionKind::Times).len() / times::TIMES_ENTRY_BYTES) as u32
    }

    /// The first and last timestamp of a time column and how many there are, without decoding it.
    ///
    /// # Errors
    /// [`Corruption`].
    pub(crate) fn times_range(&self, column: u32) -> Result<(TimeRange, u32), Corruption> {
        let entry = self.times_entry(column)?;
        Ok((entry.range, entry.len))
    }

    /// Appends the timestamps of a time column, strictly rising; after an error `out` is as before.
    ///
    /// # Errors
    /// [`Corruption`].
    pub(crate) fn times(
        &self,
        column: u32,
        buffer: &mut FrameBuffer,
        out: &mut Vec<Timestamp>,
    ) -> Result<(), Corruption> {
        let entry = self.times_entry(column)?;
        let item = self.frames.item(&self.map, entry.place, buffer);
        let item = item.map_err(|damage| self.damaged(damage))?;
        let before = out.len();
        let decoded = decode_times(item, out).and_then(|()| {
            let times = out.get(before..).unwrap_or_default();
            let ends = (times.first().copied(), times.last().copied());
            let is_as_told = times.len() == entry.len as usize
                && ends == (Some(entry.range.min), Some(entry.range.max));
            is_as_told.then_some(()).ok_or(CodecError {
                expected: "a time column with the timestamps of its table",
            })
        });
        decoded.map_err(|error| {
            out.truncate(before);
            self.section_damaged(SectionKind::Times, error)
        })
    }

    /// Appends the positions of a page's values in its time column, ascending, one a value; after an
    /// error `out` is as before.
    ///
    /// # Errors
    /// [`Corruption`].
    pub(crate) fn positions(
        &self,
        page: &PageRef,
        buffer: &mut FrameBuffer,
        out: &mut Vec<u32>,
    ) -> Result<(), Corruption> {
        let Some(number) = page.presence else {
            out.extend(page.first..page.first + page.span);
            return Ok(());
        };
        let damaged = |error| self.section_damaged(SectionKind::Presence, error);
        let place = presence::place(self.section(SectionKind::Presence), number);
        let item = self
            .frames
            .item(&self.map, place.map_err(damaged)?, buffer)
            .map_err(|damage| self.damaged(damage))?;
        presence::decode(item, page.first, page.span, page.len, out).map_err(damaged)
    }

    /// The bytes of a page that is not constant: of the map, or of the frame that `buffer` holds
    /// decompressed. Their frame matches its checksum.
    ///
    /// # Errors
    /// [`Corruption`].
    pub(crate) fn frame<'a>(
        &'a self,
        page: &PageRef,
        buffer: &'a mut FrameBuffer,
    ) -> Result<PageBytes<'a>, Corruption> {
        let item = self.frames.page(&self.map, page.place, buffer);
        item.map_err(|damage| self.damaged(damage))
    }

    /// Decodes as many values as `out` takes, after `skip`, from what [`Block::frame`] answered for a
    /// page.
    ///
    /// # Errors
    /// [`Corruption`], also when the page has fewer values than the directory says; `out` is undefined
    /// then.
    pub(crate) fn decode_bytes(
        &self,
        page: &PageRef,
        bytes: PageBytes<'_>,
        skip: usize,
        out: &mut [f64],
    ) -> Result<(), Corruption> {
        let decoded = ValuePage::parse_in(bytes).and_then(|values| {
            if page.kind == Kind::Float && values.len() == page.len as usize {
                values.decode_range(skip, out)
            } else {
                Err(CodecError {
                    expected: "a page with the values of its directory",
                })
            }
        });
        decoded.map_err(|error| self.page_damaged(page, error))
    }

    /// Decodes the histograms of a page, as many as the directory says, from what [`Block::frame`] answered
    /// for it.
    ///
    /// # Errors
    /// [`Corruption`].
    pub(crate) fn decode_histograms(
        &self,
        page: &PageRef,
        bytes: PageBytes<'_>,
    ) -> Result<HistogramColumns, Corruption> {
        let decoded = decode_histograms(bytes.own()).and_then(|columns| {
            let is_as_told = page.kind == Kind::Histogram && columns.len() == page.len as usize;
            is_as_told.then_some(columns).ok_or(CodecError {
                expected: "a page with the histograms of its directory",
            })
        });
        decoded.map_err(|error| self.page_damaged(page, error))
    }

    /// Decodes a page of histograms.
    ///
    /// # Errors
    /// [`Corruption`].
    pub(crate) fn histograms(
        &self,
        page: &PageRef,
        buffer: &mut FrameBuffer,
    ) -> Result<HistogramColumns, Corruption> {
        let bytes = self.frame(page, buffer)?;
        self.decode_histograms(page, bytes)
    }

    fn page_damaged(&self, page: &PageRef, error: CodecError) -> Corruption {
        self.damaged((error, self.frames.offset(&self.map, page.place.frame)))
    }

    /// Decodes a page: appends its values.
    ///
    /// # Errors
    /// [`Corruption`]; `out` is as before then.
    pub(crate) fn decode(
        &self,
        page: &PageRef,
        buffer: &mut FrameBuffer,
        out: &mut Vec<f64>,
    ) -> Result<(), Corruption> {
        let before = out.len();
        let end = before + page.len as usize;
        if let Some(value) = page.constant {
            out.resize(end, value);
            return Ok(());
        }
        let bytes = self.frame(page, buffer)?;
        out.resize(end, 0.0);
        let to = out.get_mut(before..).unwrap_or_default();
        let decoded = self.decode_bytes(page, bytes, 0, to);
        if decoded.is_err() {
            out.truncate(before);
        }
        decoded
    }

    /// Checks that every frame matches its checksum.
    ///
    /// # Errors
    /// [`Corruption`] of the first that does not.
    pub(crate) fn check_frames(&self) -> Result<(), Corruption> {
        let checked = self.frames.check(&self.map);
        checked.map_err(|damage| self.damaged(damage))
    }

    /// Damage: the directory has not as many samples as the tail says.
    pub(crate) fn samples_damaged(&self) -> Corruption {
        let expected = "a directory with as many samples as the footer says";
        self.section_damaged(SectionKind::Directory, CodecError { expected })
    }

    /// Checks every frame, and that every page, time column and pattern decodes.
    ///
    /// # Errors
    /// [`Corruption`] of the first damage found.
    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn check(&self) -> Result<(), Corruption> {
        self.check_frames()?;
        let mut buffer = FrameBuffer::default();
        let mut timestamps = Vec::new();
        for column in 0..self.times_len() {
            timestamps.clear();
            self.times(column, &mut buffer, &mut timestamps)?;
        }
        let (mut positions, mut values) = (Vec::new(), Vec::new());
        let mut samples = 0_u64;
        let mut pages = self.all_pages();
        for ordinal in 0..self.footer.series {
            pages.seek(ordinal)?;
            for page in pages.by_ref() {
                let page = page?;
                positions.clear();
                values.clear();
                self.positions(&page, &mut buffer, &mut positions)?;
                match page.kind {
                    Kind::Float => self.decode(&page, &mut buffer, &mut values)?,
                    Kind::Histogram => drop(self.histograms(&page, &mut buffer)?),
                }
                self.stats(&page)?;
                samples = samples.saturating_add(u64::from(page.len));
            }
        }
        if samples == self.footer.samples {
            return Ok(());
        }
        Err(self.samples_damaged())
    }
}

/// The pages of a series, ascending by the start of their time column, then by position: ascending in
/// time where their columns do not overlap. After an error it ends.
#[derive(Debug, Clone)]
pub(crate) struct BlockPages<'a> {
    block: &'a Block,
    pages: Pages<'a>,
}

impl BlockPages<'_> {
    /// Moves to a series: its pages come next. Series that are sought in their order are read once.
    ///
    /// # Errors
    /// [`Corruption`], also when there is no such series.
    pub(crate) fn seek(&mut self, ordinal: u32) -> Result<(), Corruption> {
        let sought = self.pages.seek(ordinal);
        sought.map_err(|error| self.block.section_damaged(SectionKind::Directory, error))
    }

    /// Whether pages of the series are left.
    #[inline]
    pub(crate) const fn has_next(&self) -> bool {
        self.pages.has_next()
    }

    /// Reads the next page of the series, of which there is one, into its place.
    ///
    /// # Errors
    /// [`Corruption`]; the page is undefined then and none are left.
    #[inline]
    pub(crate) fn read_next(&mut self, page: &mut PageRef) -> Result<(), Corruption> {
        let read = self.pages.read_next(page);
        read.map_err(|error| self.block.section_damaged(SectionKind::Directory, error))
    }
}

impl Iterator for BlockPages<'_> {
    type Item = Result<PageRef, Corruption>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let page = self.pages.next()?;
        let kind = SectionKind::Directory;
        Some(page.map_err(|error| self.block.section_damaged(kind, error)))
    }
}
