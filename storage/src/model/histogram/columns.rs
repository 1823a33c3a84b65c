//! Samples of one layout as columns.

use super::{Counts, Histogram, HistogramCounts, HistogramLayout, ResetHint};
use crate::is_stale_marker;

/// The samples of a run of histograms: a column for count, sum and each bucket, each as long as the run.
///
/// Where the sum is the staleness marker the series ended, and the counts of the sample are of no
/// meaning.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramColumns {
    /// Which buckets there are, the same for all samples.
    pub layout: HistogramLayout,
    /// Of each sample.
    pub reset_hints: Vec<ResetHint>,
    /// Of each sample.
    pub sums: Vec<f64>,
    /// In the place of a count the counts of all samples.
    pub counts: HistogramCounts<Vec<u64>, Vec<f64>>,
}

impl Default for HistogramColumns {
    fn default() -> Self {
        Self {
            layout: HistogramLayout::default(),
            reset_hints: Vec::new(),
            sums: Vec::new(),
            counts: HistogramCounts::Integer(Counts::default()),
        }
    }
}

impl HistogramColumns {
    /// The number of samples.
    pub fn len(&self) -> usize {
        self.sums.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    /// A sample by itself.
    ///
    /// # Panics
    /// When there are not so many.
    pub fn get(&self, index: usize) -> Histogram {
        let sum = self.sums[index];
        if is_stale_marker(sum) {
            return Histogram::stale();
        }
        let counts = match &self.counts {
            HistogramCounts::Integer(columns) => {
                HistogramCounts::Integer(columns.map(|column| column[index]))
            }
            HistogramCounts::Float(columns) => {
                HistogramCounts::Float(columns.map(|column| column[index]))
            }
        };
        Histogram {
            reset_hint: self.reset_hints[index],
            layout: self.layout.clone(),
            sum,
            counts,
        }
    }

    /// Whether the sample can be added: it has the columns' layout and flavour, or is a staleness marker, or
    /// there is none yet.
    pub fn takes(&self, histogram: &Histogram) -> bool {
        let same_flavour = matches!(
            (&self.counts, &histogram.counts),
            (HistogramCounts::Integer(_), HistogramCounts::Integer(_))
                | (HistogramCounts::Float(_), HistogramCounts::Float(_))
        );
        self.is_empty() || histogram.is_stale() || (same_flavour && self.layout == histogram.layout)
    }

    /// Adds a sample that the columns take; the first one gives them their layout and flavour. A staleness
    /// marker repeats the counts before it.
    ///
    /// # Panics
    /// When the columns do not take it, see [`HistogramColumns::takes`].
    pub fn push(&mut self, histogram: &Histogram) {
        if self.is_empty() {
            self.layout = histogram.layout.clone();
            self.counts = match &histogram.counts {
                HistogramCounts::Integer(counts) => {
                    HistogramCounts::Integer(counts.map(|_| Vec::new()))
                }
                HistogramCounts::Float(counts) => {
                    HistogramCounts::Float(counts.map(|_| Vec::new()))
                }
            };
        }
        let is_first = self.is_empty();
        self.reset_hints.push(histogram.reset_hint);
        self.sums.push(histogram.sum);
        let repeat = histogram.is_stale() && !is_first;
        match (&mut self.counts, &histogram.counts) {
            (HistogramCounts::Integer(columns), _) if repeat => columns.repeat(),
            (HistogramCounts::Float(columns), _) if repeat => columns.repeat(),
            (HistogramCounts::Integer(columns), HistogramCounts::Integer(counts)) => {
                columns.push(counts);
            }
            (HistogramCounts::Float(columns), HistogramCounts::Float(counts)) => {
                columns.push(counts);
            }
            _ => unreachable!("samples of one flavour stand together"),
        }
    }

    /// Drops all samples but these.
    pub(crate) fn keep(&mut self, range: std::ops::Range<usize>) {
        fn cut<T>(column: &mut Vec<T>, range: &std::ops::Range<usize>) {
            column.truncate(range.end);
            column.drain(..range.start);
        }
        cut(&mut self.reset_hints, &range);
        cut(&mut self.sums, &range);
        match &mut self.counts {
            HistogramCounts::Integer(columns) => columns.iter_mut().for_each(|c| cut(c, &range)),
            HistogramCounts::Float(columns) => columns.iter_mut().for_each(|c| cut(c, &range)),
        }
    }
}

impl<N> Counts<N> {
    fn map<M>(&self, of: impl Fn(&N) -> M) -> Counts<M> {
        Counts {
            count: of(&self.count),
            zero: of(&self.zero),
            positive: self.positive.iter().map(&of).collect(),
            negative: self.negative.iter().map(&of).collect(),
        }
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut N> {
        let buckets = self.positive.iter_mut().chain(&mut self.negative);
        [&mut self.count, &mut self.zero].into_iter().chain(buckets)
    }
}

impl<N: Copy> Counts<Vec<N>> {
    fn push(&mut self, counts: &Counts<N>) {
        for (column, count) in self.iter_mut().zip(counts.iter()) {
            column.push(*count);
        }
    }

    fn repeat(&mut self) {
        for column in self.iter_mut() {
            column.extend(column.last().copied());
        }
    }
}
