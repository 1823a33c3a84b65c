//! The rows of one target: what readers see, and the writer's state under the commit lock.

use std::sync::{Arc, PoisonError, RwLock};

use super::{
    bits::{self, Bits},
    groups::Group,
    row::{NO_SERIES, RowBlock, SharedColumns},
    side::Place,
    states::States,
};
use crate::{TargetKey, Timestamp};

type HashMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

/// What readers see of a target. The list is replaced as a whole when a block is begun or removed.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) index: u32,
    /// A group of pushed series has none.
    pub(crate) key: Option<TargetKey>,
    view: RwLock<Arc<[Arc<RowBlock>]>>,
}

impl Target {
    /// The blocks, oldest first.
    pub(crate) fn blocks(&self) -> Arc<[Arc<RowBlock>]> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the blocks; only under the commit lock.
    pub(crate) fn set_blocks(&self, blocks: Arc<[Arc<RowBlock>]>) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = blocks;
    }
}

/// The writer's state of a target, guarded by the commit lock.
#[derive(Debug)]
pub(crate) struct TargetWriter {
    pub(crate) target: Arc<Target>,
    /// What makes it a group; see [`super::groups`].
    pub(super) group: Option<Box<Group>>,
    /// Whether an appender holds it.
    pub(crate) live: bool,
    /// The series of each column, [`NO_SERIES`] where it is free. Shared with the blocks.
    columns: SharedColumns,
    /// Freed columns with the block in which they still belong to their former series.
    free: Vec<(u32, u64)>,
    /// Columns to be freed once they are no longer tracked.
    pub(crate) retired: Bits,
    /// The value last stored for the column: in the open block where `in_block`, in the log where
    /// `in_log`.
    pub(crate) stored: Vec<u64>,
    /// The caller's values in the previous row where they are others than the stored ones.
    odd: HashMap<u32, u64>,
    pub(crate) in_block: Bits,
    pub(crate) in_log: Bits,
    /// What the caller's previous row had.
    pub(crate) tracked: Bits,
    /// What the caller's previous row had as histograms.
    pub(crate) histograms: Bits,
    /// The columns with a sample, not a marker, in the newest row.
    pub(crate) real: Bits,
    /// Columns whose series judges itself.
    pub(crate) shared: Bits,
    /// The presence written last.
    pub(crate) present: Arc<[u64]>,
    pub(crate) last_row_time: Timestamp,
    /// No series of the target, but the shared ones, had a sample after this time when it was bound.
    pub(crate) floor: Timestamp,
    /// The log epoch in which the target is defined.
    pub(crate) log_epoch: u64,
    /// The commit of the target's last row in the log.
    pub(crate) log_commit: u64,
    pub(crate) open: Option<Arc<RowBlock>>,
}

impl TargetWriter {
    pub(crate) fn new(index: u32, key: Option<TargetKey>) -> Self {
        Self::over(Arc::new(Target {
            index,
            key,
            view: RwLock::new(Arc::new([])),
        }))
    }

    fn over(target: Arc<Target>) -> Self {
        Self {
            target,
            group: None,
            live: false,
            columns: Arc::default(),
            free: Vec::new(),
            retired: Bits::default(),
            stored: Vec::new(),
            odd: HashMap::default(),
            in_block: Bits::default(),
            in_log: Bits::default(),
            tracked: Bits::default(),
            histograms: Bits::default(),
            real: Bits::default(),
            shared: Bits::default(),
            present: Arc::new([]),
            last_row_time: Timestamp::MIN,
            floor: Timestamp::MIN,
            log_epoch: 0,
            log_commit: 0,
            open: None,
        }
    }

    /// How many columns there are, free ones too.
    pub(crate) fn columns_len(&self) -> usize {
        self.columns.len()
    }

    /// The series of each column, [`NO_SERIES`] where it is free.
    pub(super) fn columns(&self) -> &[u32] {
        &self.columns
    }

    /// The series of a column.
    #[inline]
    pub(crate) fn series_of(&self, column: u32) -> Option<u32> {
        let id = self.columns.get(column as usize).copied();
        id.filter(|id| *id != NO_SERIES)
    }

    /// The column that is bound to a series.
    pub(crate) fn column_of(&self, id: u32, states: &States) -> Option<u32> {
        let column = states.column_in(id, self.target.index)?;
        (self.series_of(column) == Some(id)).then_some(column)
    }

    /// The bits that the caller gave the column in the previous row.
    pub(crate) fn current(&self, column: u32) -> u64 {
        if self.odd.is_empty() {
            return self.stored[column as usize];
        }
        let odd = self.odd.get(&column).copied();
        odd.unwrap_or_else(|| self.stored[column as usize])
    }

    /// Whether anything that the caller gave in the previous row is other than what is stored.
    pub(crate) fn has_odd(&self) -> bool {
        !self.odd.is_empty()
    }

    /// Notes what the caller gave, once everything of the row is stored.
    pub(crate) fn set_current(&mut self, column: u32, bits: u64) {
        if self.stored[column as usize] != bits {
            self.odd.insert(column, bits);
        } else if !self.odd.is_empty() {
            self.odd.remove(&column);
        }
    }

    /// A column for a series that has none.
    pub(crate) fn bind(&mut self, id: u32, states: &States) -> u32 {
        let column = self.free_column(id, states);
        self.place(column, id, states);
        column
    }

    fn free_column(&mut self, id: u32, states: &States) -> u32 {
        let open = self.open.as_ref();
        // In the open block the series may have a column already; it cannot get another one there.
        if let Some(open) = open
            && let Some(hint) = states.column_in(id, self.target.index)
            && open.series_of(hint) == Some(id)
            && let Some(position) = self.free.iter().position(|(column, _)| *column == hint)
        {
            return self.free.swap_remove(position).0;
        }
        let open = open.map(|block| block.id);
        let reusable = self
            .free
            .iter()
            .position(|(_, block)| open.is_none_or(|open| open > *block));
        match reusable {
            Some(position) => self.free.swap_remove(position).0,
            None => self.columns.len() as u32,
        }
    }

    /// Puts a series into a column that is free in the open block.
    fn place(&mut self, column: u32, id: u32, states: &States) {
        let slot = column as usize;
        let columns = Arc::make_mut(&mut self.columns);
        if slot >= columns.len() {
            columns.resize(slot + 1, NO_SERIES);
            self.stored.resize(slot + 1, 0);
        }
        columns[slot] = id;
        self.stored[slot] = 0;
        self.odd.remove(&column);
        for set in [
            &mut self.in_block,
            &mut self.in_log,
            &mut self.tracked,
            &mut self.histograms,
            &mut self.real,
            &mut self.shared,
            &mut self.retired,
        ] {
            set.remove(column);
        }
        if let Some(open) = &self.open {
            open.bind(column, id);
        }
        let target = self.target.index;
        states.set_place(id, Place { target, column });
    }

    /// Puts a series into a column as the log says.
    pub(crate) fn rebind(&mut self, column: u32, id: u32, states: &States) {
        let is_taken = self.open.as_ref().is_some_and(|open| {
            let here = open.series_of(column);
            let elsewhere = states.column_in(id, self.target.index);
            here.is_some_and(|other| other != NO_SERIES && other != id)
                || elsewhere
                    .is_some_and(|other| other != column && open.series_of(other) == Some(id))
        });
        if is_taken {
            self.roll();
        }
        self.release(column);
        if let Some(other) = self.column_of(id, states) {
            self.release(other);
        }
        self.place(column, id, states);
    }

    /// Frees the retired columns that are no longer tracked.
    pub(crate) fn release_retired(&mut self) {
        if self.retired.is_empty() {
            return;
        }
        let released: Vec<u32> = bits::ones(self.retired.words())
            .filter(|column| !self.tracked.contains(*column) && !self.histograms.contains(*column))
            .collect();
        for column in released {
            self.retired.remove(column);
            self.free(column);
        }
    }

    /// Frees a column for the blocks after the open one.
    pub(super) fn free(&mut self, column: u32) {
        self.release(column);
        let block = self.open.as_ref().map_or(0, |block| block.id);
        self.free.push((column, block));
    }

    fn release(&mut self, column: u32) {
        if self.series_of(column).is_none() {
            return;
        }
        Arc::make_mut(&mut self.columns)[column as usize] = NO_SERIES;
        self.odd.remove(&column);
        self.in_log.remove(column);
        self.real.remove(column);
        self.shared.remove(column);
    }

    /// Whether the writer or a block has the series in the column.
    pub(crate) fn needs(&self, id: u32, column: u32) -> bool {
        self.series_of(column) == Some(id)
            || self
                .target
                .blocks()
                .iter()
                .any(|block| block.column_of(id, column).is_some())
    }

    /// Whether a series that is in the column, or in a block had it, is still of use. Membership of a group
    /// alone does not make it so.
    pub(crate) fn holds(&self, id: u32, column: u32) -> bool {
        if self.group.is_none() {
            return self.needs(id, column);
        }
        let blocks = self.target.blocks();
        blocks.iter().any(|block| {
            let column = block.column_of(id, column);
            column.is_some_and(|column| block.rows().any(|row| row.has(column)))
        })
    }

    /// Forgets all columns; the series go on, the rows stay.
    pub(crate) fn dissolve(&mut self) {
        self.roll();
        let last_row_time = self.last_row_time;
        let group = self.group.is_some().then(Box::default);
        *self = Self {
            group,
            last_row_time,
            ..Self::over(Arc::clone(&self.target))
        };
    }

    /// Ends the open block.
    pub(crate) fn roll(&mut self) {
        if let Some(open) = self.open.take() {
            open.close();
        }
        self.in_block.clear();
    }

    /// The open block, begun if there is none.
    pub(crate) fn open(&mut self, next_block: &mut u64) -> &Arc<RowBlock> {
        if self.open.is_none() {
            *next_block += 1;
            let block = Arc::new(RowBlock::new(*next_block, Arc::clone(&self.columns)));
            let blocks = self.target.blocks();
            self.target
                .set_blocks(blocks.iter().chain([&block]).map(Arc::clone).collect());
            self.in_block.clear();
            self.open = Some(block);
        }
        self.open.as_ref().expect("set above")
    }
}
