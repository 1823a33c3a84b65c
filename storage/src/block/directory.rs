//! The directory: where the pages of each series are, and what is known of them without decoding.
//!
//! Layout of the section: for every [`GROUP`] series in the index's order the offset (8 bytes, from
//! the first series) of the group, then the series: the number of pages (varint) and the pages. In a
//! group, numbers are relative to the page before, so a reader begins at its group's first series.
//!
//! | part of a page | bytes | when |
//! |---|---|---|
//! | flags | 1 | |
//! | time column, less that of the page before | zigzag | |
//! | first position, span - 1 | 2 varints | `PART`: not the whole column |
//! | pattern of gaps, less the one before; values - 1 | zigzag, varint | `GAPS` |
//! | the value | 1 to 10, see [`put_constant`] | `CONSTANT` |
//! | frame, less that of the latest place; offset | zigzag, varint | neither `CONSTANT` nor `BEHIND` |
//! | bytes | varint | not `CONSTANT` |
//! | statistics | 3 to 15 | neither `CONSTANT` nor `HISTOGRAMS` |
#![deny(clippy::indexing_slicing)]

use std::collections::HashMap;

use super::{
    frames::Place,
    times::{TimesEntry, TimesRef},
};
use crate::{
    HistogramColumns, Kind, Timestamp,
    codec::{
        CodecError, Cursor, PageStats, VALUES_MAX, from_decimal, put_varint, put_zigzag,
        to_decimal, unzigzag, zigzag,
    },
    is_stale_marker, stale_marker,
};

/// Series that are read together.
pub(super) const GROUP: u32 = 8;
/// Of a group, from the first series.
pub(super) const OFFSET_BYTES: usize = 8;

/// Every value of the page is the same and stored here.
const CONSTANT: u8 = 0x01;
/// There may be staleness markers in the page.
const MAY_BE_STALE: u8 = 0x02;
/// The page spans a part of its time column.
const PART: u8 = 0x04;
/// Some timestamps of the span have no value.
const GAPS: u8 = 0x08;
/// The page lies directly behind the latest place of the group.
const BEHIND: u8 = 0x10;
/// A page of native histograms.
const HISTOGRAMS: u8 = 0x20;
const KNOWN_FLAGS: u8 = CONSTANT | MAY_BE_STALE | PART | GAPS | BEHIND | HISTOGRAMS;

/// A page of a series: up to 1024 values, or histograms, at timestamps of one time column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PageRef {
    /// The block's time column.
    pub(crate) times: u32,
    /// Index of the page's first timestamp in the column.
    pub(crate) first: u32,
    /// Timestamps from the first to the last, both counted.
    pub(crate) span: u32,
    /// Values, at most `span`; fewer when there are gaps.
    pub(crate) len: u32,
    /// What they are.
    pub(crate) kind: Kind,
    /// The pattern of gaps; `None` when there are none: `len == span`.
    pub(super) presence: Option<u32>,
    /// `false`: there is no staleness marker in it.
    pub(crate) may_be_stale: bool,
    /// `false`: none of its numbers is less than the one before it.
    pub(crate) may_fall: bool,
    /// The value of all of them, if they are the same. Such a page has no bytes.
    pub(crate) constant: Option<f64>,
    /// Where in the section the statistics are; nowhere for a constant page. Histograms have none.
    pub(super) stats_at: usize,
    pub(super) place: Place,
}

/// What a page holds, without where: of a page whose bytes are taken over from another block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PageSummary {
    /// Values.
    pub(crate) len: u32,
    /// What they are.
    pub(crate) kind: Kind,
    /// `false`: there is no staleness marker among them.
    pub(crate) may_be_stale: bool,
    /// Of the values.
    pub(crate) stats: PageStats,
    /// The value of all of them, if they are the same.
    pub(crate) constant: Option<f64>,
}

impl PageSummary {
    /// Of the values of a page, of which there is at least one.
    pub(crate) fn of(values: &[f64]) -> Self {
        let len = values.len() as u32;
        let first = values.first().copied().unwrap_or_default();
        let is_constant = values.iter().all(|v| v.to_bits() == first.to_bits());
        let stats = if is_constant {
            PageStats::of_constant(first, len)
        } else {
            PageStats::of(values)
        };
        Self {
            len,
            kind: Kind::Float,
            may_be_stale: values.iter().any(|value| is_stale_marker(*value)),
            stats,
            constant: is_constant.then_some(first),
        }
    }
}

impl PageSummary {
    /// Of histograms.
    pub(crate) fn of_histograms(columns: &HistogramColumns) -> Self {
        Self {
            len: columns.len() as u32,
            kind: Kind::Histogram,
            may_be_stale: columns.sums.iter().any(|sum| is_stale_marker(*sum)),
            stats: PageStats::default(),
            constant: None,
        }
    }
}

impl PageRef {
    /// What a page is read into.
    pub(crate) const EMPTY: Self = Self {
        times: 0,
        first: 0,
        span: 0,
        len: 0,
        kind: Kind::Float,
        presence: None,
        may_be_stale: false,
        may_fall: false,
        constant: None,
        stats_at: 0,
        place: Place {
            frame: 0,
            offset: 0,
            bytes: 0,
        },
    };

    /// The statistics of the values of a page of this section.
    pub(super) fn stats(&self, section: &[u8]) -> Result<PageStats, CodecError> {
        if self.kind == Kind::Histogram {
            return Ok(PageStats::default());
        }
        if let Some(value) = self.constant {
            return Ok(PageStats::of_constant(value, self.len));
        }
        let bytes = section.get(self.stats_at..);
        PageStats::decode(&mut Cursor::new(bytes.unwrap_or_default()), self.len)
    }

    /// Whether the series has no sample at some of the timestamps that the page spans.
    pub(crate) const fn has_gaps(&self) -> bool {
        self.presence.is_some()
    }
}

/// Codes of a constant, in the low five bits of a varint: 0 to 18 the exponent of the integer in the
/// bits above, and these.
const STALE_MARKER: u64 = 30;
const BITS: u64 = 31;

/// Appends a constant: a varint of `zigzag(integer) << 5 | exponent`, or a code; after the code
/// [`BITS`] the bits.
fn put_constant(value: f64, out: &mut Vec<u8>) {
    match to_decimal(value) {
        Some((exponent, integer)) => put_varint(zigzag(integer) << 5 | u64::from(exponent), out),
        None if is_stale_marker(value) => put_varint(STALE_MARKER, out),
        None => {
            put_varint(BITS, out);
            out.extend(value.to_bits().to_le_bytes());
        }
    }
}

#[inline]
fn read_constant(cursor: &mut Cursor<'_>) -> Result<f64, CodecError> {
    let expected = "the value of a constant page";
    let number = cursor.varint(expected)?;
    match (number & 31, number >> 5) {
        (STALE_MARKER, 0) => Ok(stale_marker()),
        (BITS, 0) => Ok(f64::from_bits(cursor.u64(expected)?)),
        (exponent, integer) => from_decimal(exponent as u8, unzigzag(integer)).ok_or(CodecError {
            expected: "a constant page with an exponent of at most 18",
        }),
    }
}

/// What numbers of a page are relative to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct State {
    times: u32,
    presence: u32,
    /// The place that lies furthest in the file.
    latest: Option<Place>,
    /// The length of the column `times`, where it was looked up.
    column_len: Option<u32>,
}

impl State {
    #[inline]
    fn take(&mut self, page: &PageRef) {
        self.times = page.times;
        self.presence = page.presence.unwrap_or(self.presence);
        if page.constant.is_none() {
            self.latest = self.latest.max(Some(page.place));
        }
    }

    fn latest_frame(&self) -> u32 {
        self.latest.map_or(0, |place| place.frame)
    }

    /// Appends a page; `column_len` is the length of its time column, `stats` are its statistics.
    fn put(&mut self, page: &PageRef, column_len: u32, stats: &[u8], out: &mut Vec<u8>) {
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        let is_part = page.first != 0 || page.span != column_len;
        let place = (page.place.frame, page.place.offset);
        let is_behind =
            page.constant.is_none() && self.latest.is_some_and(|latest| latest.behind() == place);
        out.push(
            flag(page.constant.is_some(), CONSTANT)
                | flag(page.may_be_stale, MAY_BE_STALE)
                | flag(is_part, PART)
                | flag(page.presence.is_some(), GAPS)
                | flag(is_behind, BEHIND)
                | flag(page.kind == Kind::Histogram, HISTOGRAMS),
        );
        let step = |to: u32, from: u32| i64::from(to) - i64::from(from);
        put_zigzag(step(page.times, self.times), out);
        if is_part {
            put_varint(u64::from(page.first), out);
            put_varint(u64::from(page.span - 1), out);
        }
        if let Some(presence) = page.presence {
            put_zigzag(step(presence, self.presence), out);
            put_varint(u64::from(page.len - 1), out);
        }
        if let Some(value) = page.constant {
            put_constant(value, out);
        } else {
            if !is_behind {
                put_zigzag(step(page.place.frame, self.latest_frame()), out);
                put_varint(u64::from(page.place.offset), out);
            }
            put_varint(u64::from(page.place.bytes), out);
            out.extend_from_slice(stats);
        }
        self.take(page);
    }

    /// Reads a page into its place and checks every number that does not need the file. The cursor is in
    /// a section of `section_len` bytes, up to its end. After an error the page is undefined.
    fn read(
        &mut self,
        cursor: &mut Cursor<'_>,
        section_len: usize,
        times_table: &[u8],
        page: &mut PageRef,
    ) -> Result<(), CodecError> {
        let flags = cursor.u8("the flags of a page")?;
        let is_placed = flags & (BEHIND | HISTOGRAMS) != 0;
        if flags & !KNOWN_FLAGS != 0 || (flags & CONSTANT != 0 && is_placed) {
            return Err(CodecError {
                expected: "a page with known flags",
            });
        }
        let number = |cursor: &mut Cursor<'_>, from: u32, expected| {
            let step = cursor.zigzag(expected)?;
            let number = i64::from(from).checked_add(step);
            let number = number.and_then(|number| u32::try_from(number).ok());
            number.ok_or(CodecError { expected })
        };
        let times = number(cursor, self.times, "the time column of a page")?;
        let column_len = match self.column_len {
            Some(len) if times == self.times => len,
            _ => TimesEntry::read(times_table, times)?.len,
        };
        self.column_len = Some(column_len);
        let (mut first, mut span) = (0, column_len);
        if flags & PART != 0 {
            let expected = "a page within its time column";
            first = small(cursor, expected)?;
            span = small(cursor, expected)?.saturating_add(1);
            let end = first.checked_add(span);
            if end.is_none_or(|end| end > column_len) {
                return Err(CodecError { expected });
            }
        }
        let (mut presence, mut len) = (None, span);
        if flags & GAPS != 0 {
            let expected = "the gaps of a page";
            presence = Some(number(cursor, self.presence, expected)?);
            len = small(cursor, expected)?.saturating_add(1);
            if len >= span {
                return Err(CodecError { expected });
            }
        }
        if len as usize > VALUES_MAX {
            return Err(CodecError {
                expected: "a page of at most 1024 values",
            });
        }
        let may_be_stale = flags & MAY_BE_STALE != 0;
        page.times = times;
        page.first = first;
        page.span = span;
        page.len = len;
        page.kind = if flags & HISTOGRAMS != 0 {
            Kind::Histogram
        } else {
            Kind::Float
        };
        page.presence = presence;
        page.may_be_stale = may_be_stale;
        self.times = times;
        self.presence = presence.unwrap_or(self.presence);
        if flags & CONSTANT != 0 {
            let value = read_constant(cursor)?;
            if is_stale_marker(value) != may_be_stale {
                return Err(CodecError {
                    expected: "a constant page that knows whether it is stale",
                });
            }
            page.constant = Some(value);
            page.may_fall = false;
            page.place = Place::default();
            return Ok(());
        }
        page.constant = None;
        let expected = "the place of a page";
        let (frame, offset) = if flags & BEHIND != 0 {
            self.latest.ok_or(CodecError { expected })?.behind()
        } else {
            let frame = number(cursor, self.latest_frame(), expected)?;
            (frame, small(cursor, expected)?)
        };
        page.place = Place {
            frame,
            offset,
            bytes: small(cursor, expected)?,
        };
        page.stats_at = section_len - cursor.rest().len();
        page.may_fall = page.kind == Kind::Float && PageStats::skip(cursor)?;
        self.latest = self.latest.max(Some(page.place));
        Ok(())
    }
}

#[inline]
fn small(cursor: &mut Cursor<'_>, expected: &'static str) -> Result<u32, CodecError> {
    u32::try_from(cursor.varint(expected)?).map_err(|_| CodecError { expected })
}

/// Collects the pages of a block that is being written, in any order: 16 bytes a page and what the
/// directory takes.
#[derive(Debug, Default)]
pub(super) struct DirectoryWriter {
    records: Vec<Record>,
    /// The pages, each relative to nothing.
    pages: Vec<u8>,
    /// Of the page in work.
    stats: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    series: u32,
    times: TimesRef,
    first: u32,
    /// In `pages`.
    offset: u32,
}

impl DirectoryWriter {
    /// Adds a page of the series with this id. `false`: there is no room, the directory has 4 GiB.
    pub(super) fn push(
        &mut self,
        series: u32,
        page: &PageRef,
        stats: &PageStats,
        column_len: u32,
    ) -> bool {
        let Ok(offset) = u32::try_from(self.pages.len()) else {
            return false;
        };
        self.stats.clear();
        if page.kind == Kind::Float {
            stats.encode(page.len, &mut self.stats);
        }
        State::default().put(page, column_len, &self.stats, &mut self.pages);
        self.records.push(Record {
            series,
            times: TimesRef(page.times),
            first: page.first,
            offset,
        });
        true
    }

    /// The section, the series in the order of `ids`, which holds each id once.
    ///
    /// # Panics
    /// When a page's series is not among them.
    pub(super) fn finish(
        mut self,
        ids: impl ExactSizeIterator<Item = u32>,
        times_table: &[u8],
    ) -> Vec<u8> {
        let start = |record: &Record| -> Timestamp {
            let entry = TimesEntry::read(times_table, record.times.0);
            entry.map_or(0, |entry| entry.range.min)
        };
        // Most series have one page.
        let among = |record: &Record| (start(record), record.first, record.offset);
        self.records.sort_unstable_by(|a, b| {
            let series = a.series.cmp(&b.series);
            series.then_with(|| among(a).cmp(&among(b)))
        });
        let series = ids.len();
        let mut of_series: HashMap<u32, (usize, usize), foldhash::fast::RandomState> =
            HashMap::with_capacity_and_hasher(series, foldhash::fast::RandomState::default());
        let mut start = 0;
        for records in self.records.chunk_by(|a, b| a.series == b.series) {
            let end = start + records.len();
            of_series.extend(records.first().map(|first| (first.series, (start, end))));
            start = end;
        }
        let mut out = vec![0; series.div_ceil(GROUP as usize) * OFFSET_BYTES];
        let data = out.len();
        let mut state = State::default();
        let mut written = 0;
        for (ordinal, id) in ids.enumerate() {
            if ordinal.is_multiple_of(GROUP as usize) {
                state = State::default();
                let offset = (out.len() - data) as u64;
                let at = ordinal / GROUP as usize * OFFSET_BYTES;
                if let Some(to) = out.get_mut(at..at + OFFSET_BYTES) {
                    to.copy_from_slice(&offset.to_le_bytes());
                }
            }
            let (from, to) = of_series.get(&id).copied().unwrap_or_default();
            let count = to - from;
            put_varint(count as u64, &mut out);
            for record in self.records.get(from..to).unwrap_or_default() {
                let bytes = self.pages.get(record.offset as usize..);
                let mut cursor = Cursor::new(bytes.unwrap_or_default());
                let mut page = PageRef::EMPTY;
                State::default()
                    .read(&mut cursor, self.pages.len(), times_table, &mut page)
                    .expect("what was encoded decodes");
                let stats_end = self.pages.len() - cursor.rest().len();
                let stats = self.pages.get(page.stats_at..stats_end);
                let column = TimesEntry::read(times_table, page.times);
                let column_len = column.expect("the page was read with it").len;
                state.put(&page, column_len, stats.unwrap_or_default(), &mut out);
            }
            written += count;
        }
        assert_eq!(
            written,
            self.records.len(),
            "every series with a page is in the index"
        );
        out
    }
}

/// Reads the pages of one series after another. Those of a series ascend by the start of their time
/// column, then by position: in time where their columns do not overlap.
#[derive(Debug, Clone)]
pub(super) struct Pages<'a> {
    section: &'a [u8],
    times_table: &'a [u8],
    /// How many series the section has.
    series: u32,
    /// The series it stands in; `None`: nowhere.
    at: Option<u32>,
    cursor: Cursor<'a>,
    state: State,
    /// Pages of the series that were not read.
    left: u32,
}

impl<'a> Pages<'a> {
    /// Of a section for `series` series; it stands nowhere.
    pub(super) fn new(section: &'a [u8], times_table: &'a [u8], series: u32) -> Self {
        Self {
            section,
            times_table,
            series,
            at: None,
            cursor: Cursor::new(&[]),
            state: State::default(),
            left: 0,
        }
    }

    /// Moves before the first page of a series. On the way forward nothing is read twice.
    pub(super) fn seek(&mut self, ordinal: u32) -> Result<(), CodecError> {
        let at = self.at.take();
        let next = match at.filter(|at| *at < ordinal && at / GROUP == ordinal / GROUP) {
            Some(at) => {
                self.skip()?;
                at + 1
            }
            None => self.begin_group(ordinal)?,
        };
        for _ in next..ordinal {
            self.begin()?;
            self.skip()?;
        }
        self.begin()?;
        self.at = Some(ordinal);
        Ok(())
    }

    /// Moves before the first series of the group of a series, which is answered.
    fn begin_group(&mut self, ordinal: u32) -> Result<u32, CodecError> {
        let expected = "a series of the block";
        if ordinal >= self.series {
            return Err(CodecError { expected });
        }
        let group = ordinal / GROUP;
        let offsets = self.series.div_ceil(GROUP) as usize * OFFSET_BYTES;
        let expected = "a directory with all its groups";
        let entry = self.section.get(group as usize * OFFSET_BYTES..);
        let offset = Cursor::new(entry.unwrap_or_default()).u64(expected)?;
        let start = usize::try_from(offset).ok();
        let start = start.and_then(|offset| offset.checked_add(offsets));
        let bytes = start.and_then(|start| self.section.get(start..));
        self.cursor = Cursor::new(bytes.ok_or(CodecError { expected })?);
        self.state = State::default();
        Ok(group * GROUP)
    }

    /// Begins the next series.
    #[inline]
    fn begin(&mut self) -> Result<(), CodecError> {
        self.left = small(&mut self.cursor, "the number of pages of a series")?;
        Ok(())
    }

    /// Reads over what is left of a series.
    #[inline]
    fn skip(&mut self) -> Result<(), CodecError> {
        let mut page = PageRef::EMPTY;
        while self.left > 0 {
            self.read(&mut page)?;
        }
        Ok(())
    }

    /// Reads a page; there is one left.
    #[inline]
    fn read(&mut self, page: &mut PageRef) -> Result<(), CodecError> {
        self.left = self.left.saturating_sub(1);
        let section_len = self.section.len();
        self.state
            .read(&mut self.cursor, section_len, self.times_table, page)
    }

    /// Whether pages of the series are left.
    #[inline]
    pub(super) const fn has_next(&self) -> bool {
        self.left > 0
    }

    /// Reads the next page of the series, of which there is one, into its place. After an error the page
    /// is undefined and none are left.
    #[inline]
    pub(super) fn read_next(&mut self, page: &mut PageRef) -> Result<(), CodecError> {
        let read = self.read(page);
        if read.is_err() {
            self.left = 0;
            self.at = None;
        }
        read
    }
}

impl Iterator for Pages<'_> {
    type Item = Result<PageRef, CodecError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if !self.has_next() {
            return None;
        }
        let mut page = PageRef::EMPTY;
        let read = self.read_next(&mut page);
        Some(read.map(|()| page))
    }
}
