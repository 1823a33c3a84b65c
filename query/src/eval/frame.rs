//! An instant vector at every step of a grid: a row a series, a cell a step.
//!
//! A cell without a number holds [`ABSENT`], the staleness marker's bits: selectors never return a
//! marker, and no arithmetic can produce one, for it is a signaling NaN. Native histograms stand beside the
//! cells, only in rows that have some: where there is one, the cell is absent, so that what knows of numbers
//! alone passes over histograms.

use std::{
    collections::{HashMap, hash_map::Entry},
    ops::Range,
    sync::Arc,
};

use narthex_storage::{Labels, METRIC_NAME, STALE_MARKER_BITS};

use crate::{FloatHistogram, QueryError};

/// What a cell holds when the series has no sample at the step.
pub(crate) const ABSENT: f64 = f64::from_bits(STALE_MARKER_BITS);

/// Whether the cell holds no sample.
#[inline]
pub(crate) fn is_absent(cell: f64) -> bool {
    cell.to_bits() == STALE_MARKER_BITS
}

/// A histogram at a step, if there is one.
pub(crate) type HistogramCell = Option<Arc<FloatHistogram>>;

/// The cells of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'r> {
    /// The numbers.
    pub(crate) floats: &'r [f64],
    /// The histograms: one cell a step, or none at all.
    pub(crate) histograms: &'r [HistogramCell],
    /// Where the row stands among the others in the order that Prometheus would have them in, which decides which of
    /// them are the first. What is added up goes in the order of the rows themselves, whatever this says.
    pub(crate) place: u64,
}

impl<'r> Row<'r> {
    /// A row without histograms.
    pub(crate) const fn floats(floats: &'r [f64]) -> Self {
        Self {
            floats,
            histograms: &[],
            place: 0,
        }
    }

    /// The row at another place.
    #[must_use]
    pub(crate) const fn at(self, place: u64) -> Self {
        Self { place, ..self }
    }

    /// What the row takes in memory, in cells of eight bytes.
    pub(crate) fn cost_cells(self) -> u64 {
        let histograms = self.histograms.iter().flatten();
        let held: u64 = histograms
            .map(|histogram| 2 * histogram.size_samples())
            .sum();
        (self.floats.len() + self.histograms.len()) as u64 + held
    }

    /// Some of its steps.
    pub(crate) fn part(self, steps: Range<usize>) -> Self {
        Self {
            floats: &self.floats[steps.clone()],
            histograms: self.histograms.get(steps).unwrap_or_default(),
            place: self.place,
        }
    }

    /// Cells a row.
    pub(crate) fn steps(self) -> usize {
        self.floats.len()
    }

    /// Whether there is a sample at the step.
    #[inline]
    pub(crate) fn is_present(self, step: usize) -> bool {
        !is_absent(self.floats[step]) || self.histogram(step).is_some()
    }

    /// Whether there is no sample at any step.
    pub(crate) fn is_empty(self) -> bool {
        self.floats.iter().all(|cell| is_absent(*cell))
            && self.histograms.iter().all(Option::is_none)
    }

    /// The histogram at the step.
    #[inline]
    pub(crate) fn histogram(self, step: usize) -> Option<&'r Arc<FloatHistogram>> {
        self.histograms.get(step)?.as_ref()
    }

    /// How many samples the row counts for, see [`FloatHistogram::size_samples`].
    pub(crate) fn samples(self) -> u64 {
        let floats = self.floats.iter().filter(|cell| !is_absent(**cell)).count() as u64;
        let histograms = self.histograms.iter().flatten();
        floats
            + histograms
                .map(|histogram| histogram.size_samples())
                .sum::<u64>()
    }

    /// Adds those of each step.
    pub(crate) fn add_samples(self, counts: &mut [u64]) {
        if self.histograms.is_empty() {
            for (count, cell) in counts.iter_mut().zip(self.floats) {
                *count += u64::from(!is_absent(*cell));
            }
            return;
        }
        for (step, count) in counts.iter_mut().enumerate() {
            *count += match self.histogram(step) {
                Some(histogram) => histogram.size_samples(),
                None => u64::from(self.floats.get(step).is_some_and(|cell| !is_absent(*cell))),
            };
        }
    }
}

/// What is known of a row beside its cells.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// The series.
    pub(crate) labels: Labels,
    /// With delayed name removal: whether the metric name goes at the end.
    pub(crate) drop_name: bool,
    /// See [`Row::place`].
    pub(crate) place: u64,
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// Cells a row, at least 1.
    pub(crate) steps: usize,
    /// The rows' heads.
    pub(crate) heads: Vec<Head>,
    cells: Vec<f64>,
    /// Of each row: nothing, or a cell a step.
    histograms: Vec<Vec<HistogramCell>>,
}

impl Frame {
    pub(crate) fn new(steps: usize) -> Self {
        Self {
            steps,
            heads: Vec::new(),
            cells: Vec::new(),
            histograms: Vec::new(),
        }
    }

    /// The number of rows.
    pub(crate) fn len(&self) -> usize {
        self.heads.len()
    }

    /// A row.
    pub(crate) fn row(&self, index: usize) -> Row<'_> {
        Row {
            floats: &self.cells[index * self.steps..(index + 1) * self.steps],
            histograms: &self.histograms[index],
            place: self.heads[index].place,
        }
    }

    /// The numbers of a row.
    pub(crate) fn floats_mut(&mut self, index: usize) -> &mut [f64] {
        &mut self.cells[index * self.steps..(index + 1) * self.steps]
    }

    /// The histograms of a row: none, or a cell a step.
    pub(crate) fn histograms_mut(&mut self, index: usize) -> &mut [HistogramCell] {
        &mut self.histograms[index]
    }

    /// Takes the sample at a step out of a row.
    pub(crate) fn remove(&mut self, index: usize, step: usize) {
        self.floats_mut(index)[step] = ABSENT;
        if let Some(cell) = self.histograms[index].get_mut(step) {
            *cell = None;
        }
    }

    /// Every number, row by row.
    pub(crate) fn cells_mut(&mut self) -> &mut [f64] {
        &mut self.cells
    }

    /// Forgets all histograms.
    pub(crate) fn drop_histograms(&mut self) {
        for row in &mut self.histograms {
            *row = Vec::new();
        }
    }

    /// Whether some row has histograms.
    pub(crate) fn has_histograms(&self) -> bool {
        self.has_histograms_where(|_| true)
    }

    /// Whether there is one at a step that counts.
    pub(crate) fn has_histograms_where(&self, counts: impl Fn(usize) -> bool) -> bool {
        self.histograms.iter().any(|row| {
            let mut cells = row.iter().enumerate();
            cells.any(|(step, cell)| cell.is_some() && counts(step))
        })
    }

    /// Adds a row of exactly `steps` cells.
    pub(crate) fn push(&mut self, labels: Labels, drop_name: bool, row: Row<'_>) {
        debug_assert_eq!(row.steps(), self.steps, "a row has a cell for every step");
        self.heads.push(Head {
            labels,
            drop_name,
            place: row.place,
        });
        self.cells.extend_from_slice(row.floats);
        self.histograms.push(row.histograms.to_vec());
    }

    /// Heads and rows in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Head, Row<'_>)> {
        let cells = self.cells.chunks_exact(self.steps).zip(&self.histograms);
        self.heads
            .iter()
            .zip(cells)
            .map(|(head, (floats, histograms))| {
                let row = Row {
                    floats,
                    histograms,
                    place: head.place,
                };
                (head, row)
            })
    }

    /// How many samples the frame counts for.
    pub(crate) fn samples(&self) -> u64 {
        self.iter().map(|(_, row)| row.samples()).sum()
    }

    /// Removes the rows without a sample.
    pub(crate) fn drop_empty_rows(self) -> Self {
        if self.iter().all(|(_, row)| !row.is_empty()) {
            return self;
        }
        let mut kept = Self::new(self.steps);
        for (head, row) in self.iter().filter(|(_, row)| !row.is_empty()) {
            kept.push(head.labels.clone(), head.drop_name, row);
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
        let histograms = self
            .histograms
            .into_iter()
            .map(|row| match row.into_iter().next() {
                Some(cell) => vec![cell; steps],
                None => Vec::new(),
            })
            .collect();
        Self {
            steps,
            heads: self.heads,
            cells,
            histograms,
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

    /// A place behind those of all rows.
    pub(crate) fn place_behind(&self) -> u64 {
        let last = self.heads.iter().map(|head| head.place).max();
        last.map_or(0, |last| last + 1)
    }

    /// The rows in another order, which is that of their places from now on.
    pub(crate) fn reordered(&self, order: &[usize]) -> Self {
        let mut frame = Self::new(self.steps);
        for (place, index) in order.iter().enumerate() {
            let (head, row) = (&self.heads[*index], self.row(*index));
            frame.push(head.labels.clone(), head.drop_name, row.at(place as u64));
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
        row: Row<'_>,
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
                let known = self.frame.row(index);
                if (0..row.steps()).any(|step| known.is_present(step) && row.is_present(step)) {
                    return Err(same_labels());
                }
                // The earliest sample tells whether the name goes, of all of them.
                let first = |row: Row<'_>| (0..row.steps()).position(|step| row.is_present(step));
                let is_first = match (first(row), first(known)) {
                    (Some(step), Some(known)) => step < known,
                    (step, _) => step.is_some(),
                };
                for (cell, new) in self.frame.floats_mut(index).iter_mut().zip(row.floats) {
                    if !is_absent(*new) {
                        *cell = *new;
                    }
                }
                if !row.histograms.is_empty() {
                    let cells = &mut self.frame.histograms[index];
                    cells.resize(row.steps(), None);
                    for (cell, new) in cells.iter_mut().zip(row.histograms) {
                        if new.is_some() {
                            cell.clone_from(new);
                        }
                    }
                }
                let head = &mut self.frame.heads[index];
                if is_first {
                    head.drop_name = drop_name;
                }
                head.place = head.place.min(row.place);
                Ok(index)
            }
        }
    }
}

/// The error of a vector in which a label set stands twice.
pub(crate) fn same_labels() -> QueryError {
    QueryError::Execution("vector cannot contain metrics with the same labelset".to_owned())
}

/// What becomes of those labels of a row that name the metric and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// They stay.
    Stays,
    /// With delayed name removal: they go at the end.
    GoesAtEnd,
    /// They are not the row's any more.
    IsGone,
}

impl Naming {
    /// Of a [`Head`].
    pub(crate) const fn of(drop_name: bool) -> Self {
        if drop_name {
            Self::GoesAtEnd
        } else {
            Self::Stays
        }
    }

    /// For a [`Head`]: whether the name goes at the end.
    pub(crate) fn drop_name(self) -> bool {
        self == Self::GoesAtEnd
    }

    /// Whether the label of this name, in bytes, is one of the row's.
    #[inline]
    pub(crate) fn keeps(self, name: &[u8]) -> bool {
        self != Self::IsGone || !is_metadata(name)
    }

    /// The labels of the row.
    pub(crate) fn labels(self, labels: &Labels) -> Labels {
        if self == Self::IsGone {
            without_name(labels)
        } else {
            labels.clone()
        }
    }
}

/// The labels without those that name the metric and what it is.
pub(crate) fn without_name(labels: &Labels) -> Labels {
    labels.filtered(|name| !is_metadata(name))
}

/// The last in label order of those that name the metric and what it is.
pub(super) const LAST_METADATA: &str = "__unit__";

/// Whether the label of this name, in bytes, names the metric or what it is.
pub(super) fn is_metadata(name: &[u8]) -> bool {
    name == METRIC_NAME.as_bytes() || name == b"__type__" || name == LAST_METADATA.as_bytes()
}
