//! The rows of one target: what readers see, and the writer's state under the commit lock.

use std::sync::{Arc, PoisonError, RwLock};

use super::{
    bits::{self, Bits},
    row::{NO_SERIES, RowBlock},
    series::{Binding, Owner, Series},
};
use crate::{TargetKey, Timestamp};

type HashMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

/// What readers see of a target. The list is replaced as a whole when a block is begun or removed.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) index: u32,
    pub(crate) key: TargetKey,
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
    /// Whether an appender holds it.
    pub(crate) live: bool,
    pub(crate) columns: Vec<Option<Arc<Series>>>,
    pub(crate) column_of: HashMap<u32, u32>,
    /// Freed columns with the block in which they still belong to their former series.
    free: Vec<(u32, u64)>,
    /// Columns to be freed once they are no longer tracked.
    pub(crate) retired: Bits,
    /// The caller's value in the previous row.
    pub(crate) current: Vec<u64>,
    /// The value last stored for the column: in the open block where `in_block`, in the log where
    /// `in_log`.
    pub(crate) stored: Vec<u64>,
    pub(crate) in_block: Bits,
    pub(crate) in_log: Bits,
    /// What the caller's previous row had.
    pub(crate) tracked: Bits,
    /// The columns with a sample, not a marker, in the newest row.
    pub(crate) real: Bits,
    /// Columns whose series has other sources too.
    pub(crate) shared: Bits,
    /// The presence written last.
    pub(crate) present: Arc<[u64]>,
    pub(crate) last_row_time: Timestamp,
    /// No series of the target had a sample from elsewhere after this time when it was bound.
    pub(crate) floor: Timestamp,
    /// The log epoch in which the target is defined.
    pub(crate) log_epoch: u64,
    pub(crate) open: Option<Arc<RowBlock>>,
}

impl TargetWriter {
    pub(crate) fn new(index: u32, key: TargetKey) -> Self {
        Self {
            target: Arc::new(Target {
                index,
                key,
                view: RwLock::new(Arc::new([])),
            }),
            live: false,
            columns: Vec::new(),
            column_of: HashMap::default(),
            free: Vec::new(),
            retired: Bits::default(),
            current: Vec::new(),
            stored: Vec::new(),
            in_block: Bits::default(),
            in_log: Bits::default(),
            tracked: Bits::default(),
            real: Bits::default(),
            shared: Bits::default(),
            present: Arc::new([]),
            last_row_time: Timestamp::MIN,
            floor: Timestamp::MIN,
            log_epoch: 0,
            open: None,
        }
    }

    /// The newest sample of the series in a column of this target.
    pub(crate) fn last_of(&self, column: u32, series: &Series) -> (Timestamp, u64) {
        if !self.shared.contains(column) && self.real.contains(column) {
            (self.last_row_time, self.stored[column as usize])
        } else {
            series.last()
        }
    }

    /// From now on the series of the column judges for itself.
    pub(crate) fn share(&mut self, column: u32, series: &Series) {
        if !self.shared.contains(column) {
            series.set_last(self.last_of(column, series));
            self.shared.insert(column);
        }
        series.set_owner(Owner::Shared);
    }

    /// The column of a series, bound now if it was not.
    pub(crate) fn bind(&mut self, series: &Arc<Series>) -> u32 {
        if let Some(column) = self.column_of.get(&series.id) {
            self.retired.remove(*column);
            return *column;
        }
        let open = self.open.as_ref().map(|block| block.id);
        let reusable = self
            .free
            .iter()
            .position(|(_, block)| open.is_none_or(|open| open > *block));
        let column = match reusable {
            Some(position) => self.free.swap_remove(position).0,
            None => self.columns.len() as u32,
        };
        self.place(column, series);
        column
    }

    /// Puts a series into a column that is free in the open block.
    pub(crate) fn place(&mut self, column: u32, series: &Arc<Series>) {
        let slot = column as usize;
        if slot >= self.columns.len() {
            self.columns.resize(slot + 1, None);
            self.current.resize(slot + 1, 0);
            self.stored.resize(slot + 1, 0);
        }
        self.columns[slot] = Some(Arc::clone(series));
        self.column_of.insert(series.id, column);
        self.current[slot] = 0;
        self.stored[slot] = 0;
        for set in [
            &mut self.in_block,
            &mut self.in_log,
            &mut self.tracked,
            &mut self.real,
            &mut self.shared,
            &mut self.retired,
        ] {
            set.remove(column);
        }
        if let Some(open) = &self.open {
            open.bind(column, series.id);
        }
        let mut sources = series.sources();
        if !sources
            .bindings
            .iter()
            .any(|binding| self.is(binding, column))
        {
            sources.bindings.push(Binding {
                target: Arc::clone(&self.target),
                column,
            });
        }
        self.floor = self.floor.max(series.last().0);
    }

    /// Puts a series into a column as the log says.
    pub(crate) fn rebind(&mut self, column: u32, series: &Arc<Series>) {
        let taken = self.open.as_ref().is_some_and(|open| {
            open.series_of(column)
                .is_some_and(|id| id != NO_SERIES && id != series.id)
        });
        if taken {
            self.roll();
        }
        self.release(column);
        self.place(column, series);
    }

    fn is(&self, binding: &Binding, column: u32) -> bool {
        binding.column == column && Arc::ptr_eq(&binding.target, &self.target)
    }

    /// Frees the retired columns that are no longer tracked.
    pub(crate) fn release_retired(&mut self) {
        if self.retired.is_empty() {
            return;
        }
        let released: Vec<u32> = bits::ones(self.retired.words())
            .filter(|column| !self.tracked.contains(*column))
            .collect();
        for column in released {
            self.retired.remove(column);
            self.release(column);
            let block = self.open.as_ref().map_or(0, |block| block.id);
            self.free.push((column, block));
        }
    }

    fn release(&mut self, column: u32) {
        let Some(series) = self.columns.get_mut(column as usize).and_then(Option::take) else {
            return;
        };
        let last = if !self.shared.contains(column) && self.real.contains(column) {
            (self.last_row_time, self.stored[column as usize])
        } else {
            series.last()
        };
        self.column_of.remove(&series.id);
        series.raise_last(last);
        if series.owner()
            == (Owner::Target {
                index: self.target.index,
                column,
            })
        {
            series.set_owner(Owner::Nobody);
        }
        self.in_log.remove(column);
        self.forget_binding(column, &series);
    }

    /// Drops the binding of a series to a column once neither the writer nor a block has it there.
    pub(crate) fn forget_binding(&self, column: u32, series: &Series) {
        let bound = self.column_of.get(&series.id) == Some(&column)
            || self
                .target
                .blocks()
                .iter()
                .any(|block| block.series_of(column) == Some(series.id));
        if !bound {
            series
                .sources()
                .bindings
                .retain(|binding| !self.is(binding, column));
        }
    }

    /// Forgets all columns; the series go on, the rows stay.
    pub(crate) fn dissolve(&mut self) {
        self.open = None;
        for column in 0..self.columns.len() as u32 {
            self.release(column);
        }
        let target = Arc::clone(&self.target);
        let last_row_time = self.last_row_time;
        let index = target.index;
        *self = Self {
            target,
            last_row_time,
            ..Self::new(index, TargetKey(String::new()))
        };
    }

    /// Ends the open block.
    pub(crate) fn roll(&mut self) {
        self.open = None;
        self.in_block.clear();
    }

    /// The open block, begun if there is none.
    pub(crate) fn open(&mut self, next_block: &mut u64) -> &Arc<RowBlock> {
        if self.open.is_none() {
            *next_block += 1;
            let columns = self
                .columns
                .iter()
                .map(|series| series.as_ref().map_or(NO_SERIES, |series| series.id))
                .collect();
            let block = Arc::new(RowBlock::new(*next_block, columns));
            let blocks = self.target.blocks();
            self.target
                .set_blocks(blocks.iter().chain([&block]).map(Arc::clone).collect());
            self.in_block.clear();
            self.open = Some(block);
        }
        self.open.as_ref().expect("set above")
    }
}
