//! Collects pages for one frame.

use std::{collections::HashMap, hash::BuildHasher};

use super::layout::{COLUMNS_MAX, Entry, FrameHeader};
use crate::{
    Labels, Timestamp,
    codec::{TIMES_MAX, VALUES_MAX, encode_times, encode_values, put_varint},
    is_stale_marker,
};

/// A frame this large is full: it is written in one piece.
const FRAME_BYTES_FULL: usize = 64 << 20;

/// Collects sealed pages of many series. Equal time columns and equal pages are stored once.
#[derive(Debug, Default)]
pub(crate) struct FrameBuilder {
    columns: Vec<Vec<Timestamp>>,
    column_numbers: HashMap<u64, Vec<u16>, foldhash::fast::RandomState>,
    entries: Vec<Entry>,
    pages: Vec<u8>,
    /// Offset and length of pages by the hash of their bytes.
    page_places: HashMap<u64, (u32, u16), foldhash::fast::RandomState>,
    timestamps: usize,
}

/// A frame's bytes and what they hold.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) bytes: Vec<u8>,
    /// The series defined in it.
    pub(super) defined: Vec<u32>,
}

impl FrameBuilder {
    /// The number of a column with these timestamps: 1 to [`TIMES_MAX`], strictly rising.
    ///
    /// # Panics
    /// When there are none or too many timestamps, or the frame has 65,536 columns already
    /// ([`FrameBuilder::is_full`] says so before).
    pub(crate) fn add_times(&mut self, times: &[Timestamp]) -> u16 {
        assert!(
            (1..=TIMES_MAX).contains(&times.len()),
            "a time column has 1 to {TIMES_MAX} timestamps"
        );
        let hash = self.column_numbers.hasher().hash_one(times);
        let candidates = self.column_numbers.entry(hash).or_default();
        let columns = &self.columns;
        let same = |number: &&u16| {
            columns
                .get(usize::from(**number))
                .is_some_and(|c| c == times)
        };
        if let Some(number) = candidates.iter().find(same) {
            return *number;
        }
        let number = u16::try_from(self.columns.len())
            .expect("a full frame is written before more columns are added");
        candidates.push(number);
        self.columns.push(times.to_vec());
        self.timestamps += times.len();
        number
    }

    /// Adds a page of 1 to 1024 values at the timestamps `first .. first + values.len()` of a column.
    ///
    /// # Panics
    /// When the column does not exist or is too short, or there are none or too many values.
    pub(crate) fn add_page(&mut self, series: u32, column: u16, first: usize, values: &[f64]) {
        let known = self.columns.get(usize::from(column)).map_or(0, Vec::len);
        assert!(
            (1..=VALUES_MAX).contains(&values.len()) && first + values.len() <= known,
            "a page has 1 to {VALUES_MAX} values, each with a timestamp"
        );
        let start = self.pages.len();
        encode_values(values, &mut self.pages);
        let page = self.pages.get(start..).unwrap_or_default();
        let hash = self.page_places.hasher().hash_one(page);
        let fresh = (
            u32::try_from(start).expect("a full frame is written before more pages are added"),
            u16::try_from(page.len()).expect("a page is shorter than 64 KiB"),
        );
        let place = *self.page_places.entry(hash).or_insert(fresh);
        let (offset, bytes) = place;
        let stored = (offset as usize)..(offset as usize + usize::from(bytes));
        let place = if place != fresh && self.pages.get(stored) == Some(page) {
            self.pages.truncate(start);
            place
        } else {
            fresh
        };
        self.entries.push(Entry {
            series,
            offset: place.0,
            column,
            first: u16::try_from(first).expect("a column has at most 65536 timestamps"),
            len: values.len() as u16,
            may_be_stale: values.iter().any(|value| is_stale_marker(*value)),
            bytes: place.1,
        });
    }

    /// Whether there is no page.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the frame should be written before more is added. One more page always fits; of
    /// columns, as many as are in the [`COLUMNS_MAX`] / 2 left when this first answers so.
    pub(crate) fn is_full(&self) -> bool {
        self.columns.len() >= COLUMNS_MAX / 2
            || self.pages.len() + self.timestamps * 8 >= FRAME_BYTES_FULL
    }

    /// The frame, with definitions of the series for which `is_defined` is false.
    pub(super) fn finish(
        mut self,
        is_defined: impl Fn(u32) -> bool,
        labels: impl Fn(u32) -> Labels,
    ) -> Finished {
        let time_at = |columns: &[Vec<Timestamp>], entry: &Entry, index: usize| {
            columns
                .get(usize::from(entry.column))
                .and_then(|times| times.get(usize::from(entry.first) + index))
                .copied()
                .expect("add_page checked that every value has a timestamp")
        };
        let columns = std::mem::take(&mut self.columns);
        self.entries
            .sort_by_key(|entry| (entry.series, time_at(&columns, entry, 0)));
        let mut defined = Vec::new();
        let mut meta = Vec::new();
        for entry in &self.entries {
            if defined.last() != Some(&entry.series) && !is_defined(entry.series) {
                defined.push(entry.series);
                define(entry.series, &labels(entry.series), &mut meta);
            }
        }
        let definitions_bytes = meta.len();
        let mut table = Vec::new();
        for times in &columns {
            let start = meta.len();
            encode_times(times, &mut meta);
            for field in [start - definitions_bytes, meta.len() - start, times.len()] {
                table.extend(
                    u32::try_from(field)
                        .expect("a frame is small")
                        .to_le_bytes(),
                );
            }
        }
        let times_bytes = meta.len() - definitions_bytes;
        meta.extend(table);
        for entry in &self.entries {
            entry.write(&mut meta);
        }
        let first = |entry: &Entry| time_at(&columns, entry, 0);
        let last = |entry: &Entry| time_at(&columns, entry, usize::from(entry.len) - 1);
        let length = |bytes: usize| u32::try_from(bytes).expect("a frame is below 4 GiB");
        let header = FrameHeader {
            definitions_bytes: length(definitions_bytes),
            times_bytes: length(times_bytes),
            columns: length(columns.len()),
            entries: length(self.entries.len()),
            pages_bytes: length(self.pages.len()),
            min_time: self.entries.iter().map(first).min().unwrap_or(0),
            max_time: self.entries.iter().map(last).max().unwrap_or(0),
            meta_crc: crc32c::crc32c(&meta),
            pages_crc: crc32c::crc32c(&self.pages),
        };
        let mut bytes = Vec::with_capacity(header.frame_bytes() as usize);
        header.write(&mut bytes);
        bytes.extend(meta);
        bytes.extend(self.pages);
        Finished { bytes, defined }
    }
}

/// Appends a series' definition: its number, how many labels, and each text with its length.
fn define(series: u32, labels: &Labels, out: &mut Vec<u8>) {
    out.extend(series.to_le_bytes());
    put_varint(labels.len() as u64, out);
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        put_varint(text.len() as u64, out);
        out.extend(text.as_bytes());
    }
}
