//! What a query answers.

use std::{ops::Range, sync::Arc};

use narthex_storage::{Labels, Sample, Timestamp};

use crate::{
    FloatHistogram, Grid,
    eval::{ABSENT, Frame, Head, HistogramCell, Row, is_absent},
};

/// The value of an expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number.
    Scalar(Sample),
    /// A text.
    String {
        /// The evaluation time.
        time: Timestamp,
        /// The text.
        value: String,
    },
    /// One sample a series, in the order of the answer.
    Vector(Vec<VectorSample>),
    /// Several samples a series, in label order.
    Matrix(Vec<Series>),
}

/// An element of an instant vector.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorSample {
    /// The series.
    pub labels: Labels,
    /// The evaluation time.
    pub time: Timestamp,
    /// Its value.
    pub value: SampleValue,
    /// Where it stands in the order in which Prometheus has the vector, the smaller the earlier: that in which its
    /// store hands out series, carried on. A vector itself is in label order unless the query sorts it.
    pub place: u64,
}

/// What a sample is.
#[derive(Debug, Clone, PartialEq)]
pub enum SampleValue {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
}

impl SampleValue {
    /// The number, if it is one.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Histogram(_) => None,
        }
    }
}

/// A series with its samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The labels.
    pub labels: Labels,
    /// The numbers, ascending in time.
    pub samples: Vec<Sample>,
    /// The native histograms, ascending in time; of both together there is at least one, and no two have the
    /// same time.
    pub histograms: Vec<HistogramSample>,
}

/// A native histogram at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramSample {
    /// When.
    pub time: Timestamp,
    /// The histogram.
    pub histogram: Arc<FloatHistogram>,
}

/// What a range query answers, as it was computed: every series over the same times, in label order. It
/// takes eight bytes a step and series; [`Matrix::into_series`] takes twice as much again.
#[derive(Debug, Clone)]
pub struct Matrix {
    grid: Grid,
    frame: Frame,
    /// The frame's rows in label order; nothing if they lie so.
    order: Vec<u32>,
}

impl Matrix {
    /// The rows of `frame`, which has no empty one, over `grid`.
    pub(crate) fn new(frame: Frame, grid: Grid) -> Self {
        let heads = &frame.heads;
        let order = if heads.is_sorted_by(|a, b| a.labels <= b.labels) {
            Vec::new()
        } else {
            let mut order: Vec<u32> = (0..heads.len() as u32).collect();
            order.sort_by(|a, b| {
                let labels = |index: &u32| &heads[*index as usize].labels;
                labels(a).cmp(labels(b))
            });
            order
        };
        Self { grid, frame, order }
    }

    /// The number of series.
    pub fn len(&self) -> usize {
        self.frame.len()
    }

    /// Whether there is no series.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The times of the steps.
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// How many samples there are at most.
    pub(crate) fn cells(&self) -> u64 {
        self.len() as u64 * self.frame.steps as u64
    }

    /// What it counts for at these steps, see [`Row::samples`].
    pub(crate) fn samples_of(&self, steps: Range<usize>) -> u64 {
        let rows = self.frame.iter();
        rows.map(|(_, row)| row.part(steps.clone()).samples()).sum()
    }

    /// What it takes in memory, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let rows = self.frame.iter();
        rows.map(|(head, row)| {
            let fixed = head.labels.as_bytes().len() + size_of::<Head>();
            fixed as u64 + 8 * row.cost_cells()
        })
        .sum()
    }

    /// Some steps of each of several matrices, together the steps of `grid` in their order. The
    /// cells of each row are charged before they are taken.
    ///
    /// # Errors
    /// Those of `charge`.
    pub(crate) fn joined<E>(
        parts: &[(&Self, Range<usize>)],
        grid: Grid,
        charge: impl Fn(u64) -> Result<(), E>,
    ) -> Result<Self, E> {
        let steps = grid.steps();
        let mut frame = Frame::new(steps);
        let mut cells = vec![ABSENT; steps];
        let mut histograms: Vec<HistogramCell> = Vec::new();
        let mut rows: Vec<_> = parts
            .iter()
            .map(|(part, steps)| (part.rows().peekable(), steps.clone()))
            .collect();
        loop {
            let next = rows.iter_mut().filter_map(|(rows, _)| rows.peek());
            let Some(labels) = next.map(|row| row.labels).min() else {
                break;
            };
            histograms.clear();
            let mut at = 0;
            for (rows, steps) in &mut rows {
                let own = at..at + steps.len();
                match rows.next_if(|row| row.labels == labels) {
                    Some(row) => {
                        cells[own.clone()].copy_from_slice(&row.floats[steps.clone()]);
                        if !row.histograms.is_empty() {
                            histograms.resize(own.start, None);
                            histograms.extend_from_slice(&row.histograms[steps.clone()]);
                        }
                    }
                    None => cells[own.clone()].fill(ABSENT),
                }
                at = own.end;
            }
            if !histograms.is_empty() {
                histograms.resize(at, None);
            }
            let row = Row {
                histograms: &histograms,
                ..Row::floats(&cells)
            };
            if !row.is_empty() {
                charge(row.cost_cells())?;
                frame.push(labels.clone(), false, row);
            }
        }
        Ok(Self::new(frame, grid))
    }

    /// The series in label order.
    pub fn rows(&self) -> impl Iterator<Item = MatrixRow<'_>> {
        (0..self.len()).map(|index| {
            let index = self.order.get(index).map_or(index, |row| *row as usize);
            let row = self.frame.row(index);
            MatrixRow {
                labels: &self.frame.heads[index].labels,
                floats: row.floats,
                histograms: row.histograms,
            }
        })
    }

    /// The same as samples with their times.
    pub fn into_series(self) -> Vec<Series> {
        let sample = |(step, value)| Sample {
            time: self.grid.time(step),
            value,
        };
        let series = self.rows().map(|row| {
            let mut samples = Vec::with_capacity(row.floats().count());
            samples.extend(row.floats().map(sample));
            let histograms = row.histograms().map(|(step, histogram)| HistogramSample {
                time: self.grid.time(step),
                histogram: Arc::clone(histogram),
            });
            Series {
                labels: row.labels.clone(),
                samples,
                histograms: histograms.collect(),
            }
        });
        series.collect()
    }
}

/// A series of a [`Matrix`]; it has a sample at some step at least.
#[derive(Debug, Clone, Copy)]
pub struct MatrixRow<'m> {
    /// The labels.
    pub labels: &'m Labels,
    floats: &'m [f64],
    histograms: &'m [HistogramCell],
}

impl<'m> MatrixRow<'m> {
    /// The numbers with the indices of their steps, ascending.
    pub fn floats(&self) -> impl Iterator<Item = (usize, f64)> + use<'m> {
        let cells = self.floats.iter().copied().enumerate();
        cells.filter(|(_, cell)| !is_absent(*cell))
    }

    /// The native histograms with the indices of their steps, ascending.
    pub fn histograms(&self) -> impl Iterator<Item = (usize, &'m Arc<FloatHistogram>)> + use<'m> {
        let cells = self.histograms.iter().enumerate();
        cells.filter_map(|(step, cell)| Some((step, cell.as_ref()?)))
    }
}
