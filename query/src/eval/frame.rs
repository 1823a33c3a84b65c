//! An instant vector at every step of a grid: a row a series, a cell a step.
//!
//! A cell without a sample holds [`ABSENT`], the staleness marker's bits: selectors never return a
//! marker, and no arithmetic can produce one, for it is a signaling NaN.

use std::collections::{HashMap, hash_map::Entry};

use narthex_storage::{Labels, METRIC_NAME, STALE_MARKER_BITS};

use crate::QueryError;

/// What a cell holds when the series has no sample at the step.
pub(crate) const ABSENT: f64 = f64::from_bits(STALE_MARKER_BITS);

/// Whether the cell holds no sample.
#[inline]
pub(crate) fn is_absent(cell: f64) -> bool {
    cell.to_bits() == STALE_MARKER_BITS
}

/// What is known of a row beside its cells.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// The series.
    pub(crate) labels: Labels,
    /// With delayed name removal: whether the metric name goes at the end.
    pub(crate) drop_name: bool,
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// Cells a row, at least 1.
    pub(crate) steps: usize,
    /// The rows' heads.
    pub(crate) heads: Vec<Head>,
    cells: Vec<f64>,
}

impl Frame {
    pub(crate) fn new(steps: usize) -> Self {
        Self {
            steps,
            heads: Vec::new(),
            cells: Vec::new(),
        }
    }

    /// The number of rows.
    pub(crate) fn len(&self) -> usize {
        self.heads.len()
    }

    /// The cells of a row.
    pub(crate) fn row(&self, index: usize) -> &[f64] {
        &self.cells[index * self.steps..(index + 1) * self.steps]
    }

    /// The cells of a row.
    pub(crate) fn row_mut(&mut self, index: usize) -> &mut [f64] {
        &mut self.cells[index * self.steps..(index + 1) * self.steps]
    }

    /// Every cell, row by row.
    pub(crate) fn cells_mut(&mut self) -> &mut [f64] {
        &mut self.cells
    }

    /// Adds a row of exactly `steps` cells.
    pub(crate) fn push(&mut self, labels: Labels, drop_name: bool, row: &[f64]) {
        debug_assert_eq!(row.len(), self.steps, "a row has a cell for every step");
        self.heads.push(Head { labels, drop_name });
        self.cells.extend_from_slice(row);
    }

    /// Heads and rows in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Head, &[f64])> {
        self.heads.iter().zip(self.cells.chunks_exact(self.steps))
    }

    /// The number of cells that hold a sample.
    pub(crate) fn samples(&self) -> u64 {
        self.cells.iter().filter(|cell| !is_absent(**cell)).count() as u64
    }

    /// Removes the rows without a sample.
    pub(crate) fn drop_empty_rows(self) -> Self {
        if self
            .iter()
            .all(|(_, row)| !row.iter().all(|cell| is_absent(*cell)))
        {
            return self;
        }
        let mut kept = Self::new(self.steps);
        for (head, row) in self.iter() {
            if !row.iter().all(|cell| is_absent(*cell)) {
                kept.push(head.labels.clone(), head.drop_name, row);
            }
        }
        kept
    }

    /// The same cell at each of `steps` steps, from a frame of one step.
    pub(crate) fn broadcast(self, steps: usize) -> Self {
        debug_assert_eq!(self.steps, 1, "only a single step can be repeated");
        let cells = self
            .cells
            .iter()
            .flat_map(|cell| std::iter::repeat_n(*cell, steps))
            .collect();
        Self {
            steps,
            heads: self.heads,
            cells,
        }
    }

    /// Whether two rows have the same labels.
    pub(crate) fn has_same_labels(&self) -> bool {
        if self
            .heads
            .windows(2)
            .all(|pair| pair[0].labels < pair[1].labels)
        {
            return false;
        }
        let mut seen = std::collections::HashSet::with_capacity_and_hasher(self.len(), hasher());
        !self.heads.iter().all(|head| seen.insert(&head.labels))
    }

    /// Puts rows with the same labels into one.
    ///
    /// # Errors
    /// When two of them have a sample at the same step.
    pub(crate) fn merge_same_labels(self) -> Result<Self, QueryError> {
        if !self.has_same_labels() {
            return Ok(self);
        }
        let mut merged = Merge::new(self.steps);
        for (head, row) in self.iter() {
            merged.add(&head.labels, head.drop_name, row)?;
        }
        Ok(merged.frame)
    }

    /// The rows in another order.
    pub(crate) fn reordered(&self, order: &[usize]) -> Self {
        let mut frame = Self::new(self.steps);
        for index in order {
            let head = &self.heads[*index];
            frame.push(head.labels.clone(), head.drop_name, self.row(*index));
        }
        frame
    }
}

/// The hasher of every map in the engine: quick, seeded once a process.
pub(crate) fn hasher() -> foldhash::fast::RandomState {
    foldhash::fast::RandomState::default()
}

/// Collects rows, putting those with the same labels into one.
#[derive(Debug)]
pub(crate) struct Merge {
    pub(crate) frame: Frame,
    by_labels: HashMap<Labels, usize, foldhash::fast::RandomState>,
}

impl Merge {
    pub(crate) fn new(steps: usize) -> Self {
        Self {
            frame: Frame::new(steps),
            by_labels: HashMap::with_hasher(hasher()),
        }
    }

    /// Adds a row; its number in the frame.
    ///
    /// # Errors
    /// When a row with the same labels has a sample at the same step.
    pub(crate) fn add(
        &mut self,
        labels: &Labels,
        drop_name: bool,
        row: &[f64],
    ) -> Result<usize, QueryError> {
        match self.by_labels.entry(labels.clone()) {
            Entry::Vacant(entry) => {
                let index = self.frame.len();
                entry.insert(index);
                self.frame.push(labels.clone(), drop_name, row);
                Ok(index)
            }
            Entry::Occupied(entry) => {
                let index = *entry.get();
                for (cell, new) in self.frame.row_mut(index).iter_mut().zip(row) {
                    if is_absent(*new) {
                        continue;
                    }
                    if !is_absent(*cell) {
                        return Err(same_labels());
                    }
                    *cell = *new;
                }
                self.frame.heads[index].drop_name |= drop_name;
                Ok(index)
            }
        }
    }
}

/// The error of a vector in which a label set stands twice.
pub(crate) fn same_labels() -> QueryError {
    QueryError::Execution("vector cannot contain metrics with the same labelset".to_owned())
}

/// The labels without those that name the metric and what it is.
pub(crate) fn without_name(labels: &Labels) -> Labels {
    if labels.iter().all(|(name, _)| !is_metadata(name)) {
        return labels.clone();
    }
    Labels::from_pairs(labels.iter().filter(|(name, _)| !is_metadata(name)))
}

/// Whether the label names the metric or what it is.
fn is_metadata(name: &str) -> bool {
    matches!(name, METRIC_NAME | "__type__" | "__unit__")
}
