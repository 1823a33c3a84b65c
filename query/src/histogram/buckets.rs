//! The buckets of one side of a histogram: which there are, and what is in them.

use std::sync::Arc;

use super::{Amount, bounds::coarser};

/// Buckets in ascending order of their indexes, each index once; a bucket may be empty.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Buckets<N = f64> {
    /// Shared by all histograms of one layout.
    indexes: Arc<[i32]>,
    counts: Vec<N>,
}

impl<N> Default for Buckets<N> {
    fn default() -> Self {
        Self {
            indexes: Arc::default(),
            counts: Vec::new(),
        }
    }
}

impl<N: Amount> Buckets<N> {
    /// Buckets with these indexes, which ascend; as many counts as indexes.
    pub(crate) fn new(indexes: Arc<[i32]>, counts: Vec<N>) -> Self {
        debug_assert_eq!(indexes.len(), counts.len(), "a bucket has a count");
        Self { indexes, counts }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.counts.len()
    }

    /// Index and count of each, ascending.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (i32, N)> + ExactSizeIterator {
        self.indexes
            .iter()
            .copied()
            .zip(self.counts.iter().copied())
    }

    /// The counts, to change them in place.
    pub(crate) fn counts_mut(&mut self) -> &mut [N] {
        &mut self.counts
    }

    /// Drops the buckets in which nothing was counted.
    pub(crate) fn compact(&mut self) {
        if !self.counts.iter().any(|count| count.is_nothing()) {
            return;
        }
        self.indexes = self
            .iter()
            .filter(|(_, count)| !count.is_nothing())
            .map(|(index, _)| index)
            .collect();
        self.counts.retain(|count| !count.is_nothing());
    }

    /// Drops the buckets at the beginning for which `drops` is true.
    pub(crate) fn drop_while(&mut self, drops: impl Fn(i32) -> bool) {
        let kept = self.indexes.partition_point(|index| drops(*index));
        if kept > 0 {
            self.indexes = self.indexes[kept..].into();
            self.counts.drain(..kept);
        }
    }

    /// Drops all buckets.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The same counts in other numbers.
    pub(crate) fn map<M>(&self, of: impl Fn(N) -> M) -> Buckets<M> {
        Buckets {
            indexes: Arc::clone(&self.indexes),
            counts: self.counts.iter().map(|count| of(*count)).collect(),
        }
    }

    /// The buckets in a coarser schema.
    pub(crate) fn reduced(&self, from: i8, to: i8) -> Self {
        let mut indexes: Vec<i32> = Vec::with_capacity(self.len());
        let mut counts: Vec<N> = Vec::with_capacity(self.len());
        for (index, count) in self.iter() {
            let index = coarser(index, from, to);
            match counts.last_mut() {
                Some(last) if indexes.last() == Some(&index) => last.join(count),
                _ => {
                    indexes.push(index);
                    counts.push(count);
                }
            }
        }
        Self {
            indexes: indexes.into(),
            counts,
        }
    }

    /// Adds the counts of `other` with an index for which `skips` is false; what is skipped stands at its
    /// beginning. A bucket that was not there comes in with what it is given.
    pub(crate) fn add(&mut self, other: &Self, skips: impl Fn(i32) -> bool) {
        let skipped = other.indexes.partition_point(|index| skips(*index));
        let (indexes, counts) = (&other.indexes[skipped..], &other.counts[skipped..]);
        if *self.indexes == *indexes {
            for (count, other) in self.counts.iter_mut().zip(counts) {
                count.join(*other);
            }
            return;
        }
        let mut merged = Vec::with_capacity(self.len() + indexes.len());
        let mut sums = Vec::with_capacity(merged.capacity());
        let mut others = indexes.iter().copied().zip(counts).peekable();
        for (index, count) in self.iter() {
            while let Some((own, new)) = others.next_if(|(other, _)| *other < index) {
                merged.push(own);
                sums.push(*new);
            }
            let mut sum = count;
            if let Some((_, new)) = others.next_if(|(other, _)| *other == index) {
                sum.join(*new);
            }
            merged.push(index);
            sums.push(sum);
        }
        for (index, count) in others {
            merged.push(index);
            sums.push(*count);
        }
        self.indexes = merged.into();
        self.counts = sums;
    }
}

impl Buckets {
    /// Whether both have the same buckets with the same in them, bit for bit.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        *self.indexes == *other.indexes
            && self
                .counts
                .iter()
                .zip(&other.counts)
                .all(|(a, b)| a.to_bits() == b.to_bits())
    }
}
