//! Rows: the samples that one target appended at one time, and blocks of them.
//!
//! A row stores only the values that differ from the last one stored for their column in the same
//! block, so every column's first value in a block is stored. A block is append-only with one writer
//! (under the commit lock) and any number of readers, who see so many rows as there are and skip those whose commit
//! is later than their snapshot. In one block a series has one column, and a column one series.

use std::{
    ops::Range,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use super::{bits, published::Slots};
use crate::{Timestamp, block::ID_END};

/// The series of each column: copied before it grows while a reader or a seal has it.
pub(super) type SharedColumns = Arc<Vec<u32>>;

/// A block is full at so many rows …
pub(crate) const ROWS_MAX: usize = 120;
/// … or at so many bytes a column …
const BYTES_PER_COLUMN_MAX: usize = 160;
/// … but not before so many rows.
const ROWS_MIN: usize = 24;
/// A column that belongs to no series.
pub(crate) const NO_SERIES: u32 = ID_END;

/// See the module.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) commit: u64,
    pub(crate) time: Timestamp,
    /// The columns that have a value at this time, staleness markers included.
    pub(crate) present: Arc<[u64]>,
    /// A bitmap of the columns stored here; the number of stored columns before each word, two
    /// words' counts in one; the bits of the stored values by column.
    slab: Box<[u64]>,
    words: u32,
}

/// The values that a row stores, ascending by column.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    columns: Vec<u64>,
    values: Vec<u64>,
}

impl Stored {
    /// Room for so many values of columns below `end`.
    pub(crate) fn with_capacity(values: usize, end: u32) -> Self {
        Self {
            columns: Vec::with_capacity(end.div_ceil(64) as usize),
            values: Vec::with_capacity(values),
        }
    }

    /// Adds a column behind all that are there, with the bits of its value.
    #[inline]
    pub(crate) fn push(&mut self, column: u32, bits: u64) {
        let word = column as usize / 64;
        if word >= self.columns.len() {
            self.columns.resize(word + 1, 0);
        }
        self.columns[word] |= 1 << (column % 64);
        self.values.push(bits);
    }

    /// Adds the bits of a column's value; [`Stored::set_columns`] follows for those of a word of columns.
    #[inline]
    pub(crate) fn put(&mut self, bits: u64) {
        self.values.push(bits);
    }

    /// Says of which columns of a word, which is behind those before, values were put.
    #[inline]
    pub(crate) fn set_columns(&mut self, word: usize, columns: u64) {
        if columns != 0 {
            self.columns.resize(word, 0);
            self.columns.push(columns);
        }
    }

    /// The columns as a bitmap.
    pub(crate) fn columns(&self) -> &[u64] {
        &self.columns
    }

    /// Puts the bits into the places of their columns.
    pub(crate) fn copy_to(&self, places: &mut [u64]) {
        let mut values = self.values.as_slice();
        for (word, places) in self.columns.iter().zip(places.chunks_mut(64)) {
            let (here, rest) = values.split_at(word.count_ones() as usize);
            values = rest;
            if here.len() == places.len() {
                places.copy_from_slice(here);
            } else {
                for (column, bits) in bits::ones_in(0, *word).zip(here) {
                    places[column as usize] = *bits;
                }
            }
        }
    }
}

impl Row {
    /// Builds a row.
    pub(crate) fn new(commit: u64, time: Timestamp, present: Arc<[u64]>, stored: &Stored) -> Self {
        let Stored { columns, values } = stored;
        let words = columns.len();
        let mut slab = Vec::with_capacity(words + words.div_ceil(2) + values.len());
        slab.extend_from_slice(columns);
        let mut before = 0u64;
        for pair in columns.chunks(2) {
            let mut counts = before;
            before += u64::from(pair[0].count_ones());
            if let [_, second] = pair {
                counts |= before << 32;
                before += u64::from(second.count_ones());
            }
            slab.push(counts);
        }
        slab.extend_from_slice(values);
        Self {
            commit,
            time,
            present,
            slab: slab.into_boxed_slice(),
            words: words as u32,
        }
    }

    pub(crate) fn has(&self, column: u32) -> bool {
        bits::contains(&self.present, column)
    }

    /// Which of the 64 columns of a word are stored here, and their bits in order.
    pub(crate) fn stored_in(&self, word: usize) -> (u64, &[u64]) {
        let words = self.words as usize;
        if word >= words {
            return (0, &[]);
        }
        let bitmap = self.slab[word];
        let before = self.slab[words + word / 2] >> (word % 2 * 32) & 0xffff_ffff;
        let start = words + words.div_ceil(2) + before as usize;
        (
            bitmap,
            &self.slab[start..start + bitmap.count_ones() as usize],
        )
    }

    /// The bits stored here for the column, if any are.
    pub(crate) fn stored(&self, column: u32) -> Option<u64> {
        let words = self.words as usize;
        let word = column as usize / 64;
        if word >= words {
            return None;
        }
        let bitmap = self.slab[word];
        if bitmap >> (column % 64) & 1 == 0 {
            return None;
        }
        let before = self.slab[words + word / 2] >> (word % 2 * 32) & 0xffff_ffff;
        let rank = before + u64::from((bitmap & ((1 << (column % 64)) - 1)).count_ones());
        Some(self.slab[words + words.div_ceil(2) + rank as usize])
    }

    pub(crate) fn bytes(&self) -> usize {
        self.slab.len() * 8 + size_of::<Self>() + 32
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct RowBlock {
    /// Unique within the process.
    pub(crate) id: u64,
    rows: Slots<Row>,
    bytes: AtomicU32,
    /// The series of each column; a column changes its series only between blocks. Shared with the
    /// writer and with other blocks until one of them changes it.
    columns: RwLock<SharedColumns>,
    /// No row and no column will be added.
    closed: AtomicBool,
    /// The columns in the order of their series; made when a closed block is first searched.
    by_series: OnceLock<Box<[u32]>>,
}

impl RowBlock {
    pub(crate) fn new(id: u64, columns: SharedColumns) -> Self {
        Self {
            id,
            rows: Slots::new(ROWS_MAX),
            bytes: AtomicU32::new(0),
            columns: RwLock::new(columns),
            closed: AtomicBool::new(false),
            by_series: OnceLock::new(),
        }
    }

    pub(crate) fn push(&self, row: Row) {
        self.bytes.fetch_add(row.bytes() as u32, Ordering::Relaxed);
        self.rows.push(row);
    }

    pub(crate) fn rows(&self) -> impl DoubleEndedIterator<Item = &Row> + Clone {
        self.rows_in(0..self.rows.len())
    }

    /// Some of the rows that were there when they were counted.
    pub(crate) fn rows_in(
        &self,
        rows: Range<usize>,
    ) -> impl DoubleEndedIterator<Item = &Row> + Clone {
        rows.map(|row| {
            self.rows
                .get(row)
                .expect("rows below the length are written")
        })
    }

    pub(crate) fn first(&self) -> Option<&Row> {
        self.rows.get(0)
    }

    pub(crate) fn is_full(&self) -> bool {
        let len = self.rows.len();
        let columns = self.read_columns().len().max(1);
        len == ROWS_MAX
            || (len >= ROWS_MIN
                && self.bytes.load(Ordering::Relaxed) as usize >= BYTES_PER_COLUMN_MAX * columns)
    }

    /// Gives the column to a series. Before that the column belongs to none in this block.
    pub(crate) fn bind(&self, column: u32, series: u32) {
        let mut columns = self.columns.write().unwrap_or_else(PoisonError::into_inner);
        let columns = Arc::make_mut(&mut columns);
        if columns.len() <= column as usize {
            columns.resize(column as usize + 1, NO_SERIES);
        }
        columns[column as usize] = series;
    }

    pub(crate) fn series_of(&self, column: u32) -> Option<u32> {
        self.read_columns().get(column as usize).copied()
    }

    /// The column of a series; `hint` is where the target has, or had, it last. While the block is open
    /// the hint is right, or the block does not have the series.
    pub(crate) fn column_of(&self, id: u32, hint: u32) -> Option<u32> {
        // Looked at first: a block that is closed meanwhile was open when the hint was given.
        let is_closed = self.closed.load(Ordering::Acquire);
        let columns = Arc::clone(&self.read_columns());
        if columns.get(hint as usize) == Some(&id) {
            return Some(hint);
        }
        if !is_closed {
            return None;
        }
        let by_series = self.by_series.get_or_init(|| {
            let mut order: Vec<u32> = (0..columns.len() as u32)
                .filter(|column| columns[*column as usize] != NO_SERIES)
                .collect();
            order.sort_unstable_by_key(|column| columns[*column as usize]);
            order.into()
        });
        let found = by_series.binary_search_by_key(&id, |column| columns[*column as usize]);
        found.ok().map(|index| by_series[index])
    }

    /// Says that no row and no column will be added.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Time and bits of the column's newest sample, markers included.
    pub(crate) fn newest(&self, column: u32) -> Option<(Timestamp, u64)> {
        let mut rows = self.rows().rev();
        let time = rows.clone().find(|row| row.has(column))?.time;
        // A column that is present has its value in this row or in an earlier one.
        let bits = rows
            .by_ref()
            .skip_while(|row| row.time > time)
            .find_map(|row| row.stored(column))?;
        Some((time, bits))
    }

    /// Bytes of the rows.
    pub(crate) fn bytes(&self) -> u64 {
        u64::from(self.bytes.load(Ordering::Relaxed))
    }

    /// How many columns belong to a series.
    pub(crate) fn series_len(&self) -> u64 {
        let columns = self.read_columns();
        columns.iter().filter(|id| **id != NO_SERIES).count() as u64
    }

    pub(crate) fn columns(&self) -> SharedColumns {
        Arc::clone(&self.read_columns())
    }

    fn read_columns(&self) -> std::sync::RwLockReadGuard<'_, SharedColumns> {
        self.columns.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_finds_its_stored_values_by_rank() {
        let stored: Vec<(u32, u64)> = [0, 5, 63, 64, 200, 201, 255]
            .into_iter()
            .map(|column| (column, u64::from(column) * 10 + 1))
            .collect();
        let mut list = Stored::default();
        for (column, bits) in &stored {
            list.push(*column, *bits);
        }
        let mut places = [7; 300];
        list.copy_to(&mut places);
        for (column, bits) in (0..).zip(places) {
            let expected = stored.iter().find(|(candidate, _)| *candidate == column);
            assert_eq!(bits, expected.map_or(7, |(_, bits)| *bits));
        }
        let row = Row::new(1, 0, Arc::new([]), &list);
        for column in 0..300 {
            let expected = stored
                .iter()
                .find(|(candidate, _)| *candidate == column)
                .map(|(_, bits)| *bits);
            assert_eq!(row.stored(column), expected, "column {column}");
        }
    }
}
