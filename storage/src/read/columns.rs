//! The lists of timestamps that several series of a scan share.

use super::{HashMap, selection::StoreSelection};
use crate::{Budget, ReadError, TimeRange, Timestamp, block::FrameBuffer};

/// A part of a shared list of timestamps: `first .. first + len` of the column in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Stretch {
    pub(super) slot: u32,
    pub(super) first: u32,
    pub(super) len: u32,
}

/// A scan that has decoded more than this of blocks' time columns, in bytes, forgets them between two series and
/// decodes them again when they are needed: a selection of thousands of targets over weeks takes no more memory
/// for its timestamps, and some more time.
pub(super) const KEPT_BYTES: u64 = 64 << 20;

/// A time column of a block, or the times of a block of rows.
#[derive(Debug, Default)]
pub(super) struct Column {
    /// Ascending; none when nothing of the column lies in the scan's range, and while nobody asked for those of a
    /// block, or they were forgotten.
    times: Vec<Timestamp>,
    /// Unless it is of rows.
    of_block: Option<BlockColumn>,
    /// The part in the scan's range.
    pub(super) start: u32,
    pub(super) end: u32,
    /// For rows: how many of the block come before the first of the column.
    pub(super) skip: u32,
}

/// Which column of a block it is, and what is known of it without its times.
#[derive(Debug, Clone, Copy)]
struct BlockColumn {
    block: u32,
    number: u32,
    range: TimeRange,
    len: u32,
}

impl Column {
    fn cut(times: Vec<Timestamp>, skip: u32, range: TimeRange) -> Self {
        Self {
            start: times.partition_point(|time| *time < range.min) as u32,
            end: times.partition_point(|time| *time <= range.max) as u32,
            times,
            of_block: None,
            skip,
        }
    }

    pub(super) fn is_outside(&self) -> bool {
        self.start >= self.end
    }
}

/// Columns by the order of their first use, which is their slot. Their memory is charged to the
/// budget and given back when they are forgotten and at the end.
#[derive(Debug)]
pub(super) struct Columns<'a> {
    selection: &'a StoreSelection,
    range: TimeRange,
    budget: &'a Budget,
    charged: u64,
    /// Of these what can be forgotten, and how much of it is kept.
    forgettable: u64,
    kept_max: u64,
    /// Of each block the frame of time columns that was read last.
    frames: Vec<FrameBuffer>,
    list: Vec<Column>,
    slot_of: HashMap<(u32, u32), u32>,
    /// Columns of blocks that were asked for lately, and their slots.
    recent: [((u32, u32), u32); RECENT],
}

/// In the place of a block's number: rows.
const ROWS: u32 = u32::MAX;

/// Series of a selection change between a few targets, whose columns have numbers side by side.
const RECENT: usize = 16;

impl<'a> Columns<'a> {
    pub(super) fn new(
        selection: &'a StoreSelection,
        range: TimeRange,
        budget: &'a Budget,
        kept_max: u64,
    ) -> Self {
        Self {
            selection,
            range,
            budget,
            charged: 0,
            forgettable: 0,
            kept_max,
            frames: selection
                .blocks
                .iter()
                .map(|_| FrameBuffer::default())
                .collect(),
            list: Vec::new(),
            slot_of: HashMap::default(),
            recent: [((ROWS, ROWS), 0); RECENT],
        }
    }

    pub(super) fn range(&self) -> TimeRange {
        self.range
    }

    /// As [`Columns::charge`], for what is let go when the columns are forgotten.
    pub(super) fn charge_forgettable(&mut self, timestamps: usize) -> Result<(), ReadError> {
        self.charge(timestamps)?;
        self.forgettable += timestamps as u64 * 8;
        Ok(())
    }

    /// Whether it is time to forget columns.
    pub(super) fn is_full(&self) -> bool {
        self.forgettable > self.kept_max
    }

    /// Lets go of the times of all blocks' columns. Slots go on.
    pub(super) fn forget(&mut self) {
        for column in &mut self.list {
            if column.of_block.is_some() {
                column.times = Vec::new();
            }
        }
        self.recent = [((ROWS, ROWS), 0); RECENT];
        let bytes = std::mem::take(&mut self.forgettable);
        self.charged -= bytes;
        self.budget.release(bytes);
    }

    /// All times of a slot, decoded if they are not there.
    pub(super) fn all_times(&mut self, slot: u32) -> Result<&[Timestamp], ReadError> {
        let column = &self.list[slot as usize];
        let is_missing = column.times.is_empty() && !column.is_outside();
        if let Some(column) = column.of_block.filter(|_| is_missing) {
            self.list[slot as usize].times = self.decode(column)?;
        }
        Ok(&self.list[slot as usize].times)
    }

    fn decode(&mut self, column: BlockColumn) -> Result<Vec<Timestamp>, ReadError> {
        self.charge_forgettable(column.len as usize)?;
        let mut times = Vec::with_capacity(column.len as usize);
        self.read_times(column, &mut times)?;
        Ok(times)
    }

    /// Appends the times of a block's column to `out`.
    fn read_times(
        &mut self,
        column: BlockColumn,
        out: &mut Vec<Timestamp>,
    ) -> Result<(), ReadError> {
        let BlockColumn { block, number, .. } = column;
        let sealed = &self.selection.blocks[block as usize];
        sealed.times(number, &mut self.frames[block as usize], out)?;
        Ok(())
    }

    /// Takes the memory of so many timestamps from the budget until the scan ends.
    fn charge(&mut self, timestamps: usize) -> Result<(), ReadError> {
        let bytes = timestamps as u64 * 8;
        self.budget.charge(bytes)?;
        self.charged += bytes;
        Ok(())
    }

    pub(super) fn get(&self, slot: u32) -> &Column {
        &self.list[slot as usize]
    }

    /// The times of a stretch, decoded if they are not there.
    pub(super) fn times(&mut self, stretch: Stretch) -> Result<&[Timestamp], ReadError> {
        let first = stretch.first as usize;
        Ok(&self.all_times(stretch.slot)?[first..first + stretch.len as usize])
    }

    /// Appends the times of a stretch to `out`. Those of a whole column that nobody asked for before are not
    /// kept beside it.
    pub(super) fn append_to(
        &mut self,
        stretch: Stretch,
        out: &mut Vec<Timestamp>,
    ) -> Result<(), ReadError> {
        let column = &self.list[stretch.slot as usize];
        match column.of_block {
            Some(of_block) if column.times.is_empty() && of_block.len == stretch.len => {
                self.read_times(of_block, out)
            }
            _ => {
                out.extend_from_slice(self.times(stretch)?);
                Ok(())
            }
        }
    }

    /// The first and the last time of a stretch; those of a whole column need not be decoded.
    pub(super) fn ends(&mut self, stretch: Stretch) -> Result<(Timestamp, Timestamp), ReadError> {
        match self.get(stretch.slot).of_block {
            Some(BlockColumn { range, len, .. }) if len == stretch.len => {
                Ok((range.min, range.max))
            }
            _ => Ok(ends(self.times(stretch)?)),
        }
    }

    /// The slot of a block's time column, decoded if the range cuts it.
    #[inline]
    pub(super) fn of_block(&mut self, block: u32, column: u32) -> Result<u32, ReadError> {
        let key = (block, column);
        let (latest, slot) = self.recent[column as usize % RECENT];
        if latest == key {
            return Ok(slot);
        }
        let slot = match self.slot_of.get(&key) {
            Some(slot) => *slot,
            None => self.read(block, column)?,
        };
        self.recent[column as usize % RECENT] = (key, slot);
        Ok(slot)
    }

    fn read(&mut self, block: u32, number: u32) -> Result<u32, ReadError> {
        let sealed = &self.selection.blocks[block as usize];
        let (range, len) = sealed.times_range(number)?;
        let of_block = BlockColumn {
            block,
            number,
            range,
            len,
        };
        let mut column = if self.range.min <= range.min && range.max <= self.range.max {
            Column {
                end: len,
                ..Column::default()
            }
        } else if range.overlaps(&self.range) {
            Column::cut(self.decode(of_block)?, 0, self.range)
        } else {
            Column::default()
        };
        column.of_block = Some(of_block);
        Ok(self.add((block, number), column))
    }

    /// The slot of the times of a block of rows: of those that the snapshot sees in memory.
    pub(super) fn of_rows(&mut self, rows: u32) -> Result<u32, ReadError> {
        if let Some(slot) = self.slot_of.get(&(ROWS, rows)) {
            return Ok(*slot);
        }
        let memory = &self.selection.memory;
        let block = memory.block(rows);
        let mut skip = 0;
        let mut times = Vec::new();
        for row in block.rows() {
            if row.commit <= memory.sealed {
                skip += 1;
            } else if row.commit <= memory.visible {
                times.push(row.time);
            } else {
                break;
            }
        }
        self.charge(times.len())?;
        Ok(self.add((ROWS, rows), Column::cut(times, skip, self.range)))
    }

    fn add(&mut self, key: (u32, u32), column: Column) -> u32 {
        let slot = self.list.len() as u32;
        self.list.push(column);
        self.slot_of.insert(key, slot);
        slot
    }
}

/// The first and the last of times, of which there is one.
pub(super) fn ends(times: &[Timestamp]) -> (Timestamp, Timestamp) {
    let first = times.first().expect("a piece is not empty");
    (*first, times[times.len() - 1])
}

impl Drop for Columns<'_> {
    fn drop(&mut self) {
        self.budget.release(self.charged);
    }
}
