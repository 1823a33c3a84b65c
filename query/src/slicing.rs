//! How heavy range queries are spread over processors.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// When a range query is cut into slices of its steps that several threads evaluate, with the same answer.
#[derive(Debug, Clone)]
pub struct Slicing {
    /// The threads beside those that call the engine; none unless said.
    pub workers: Workers,
    /// Samples that each slice has to read at least, as far as the store can tell before it reads them; one that
    /// lies in many windows counts for several.
    pub samples_min: u64,
    /// How much more than the whole query all slices together may cost, in percent of it: windows reach back
    /// into the slice before, and each series is looked up in every slice. About what it costs in processor time, where
    /// rates are computed; less where a function takes longer.
    pub extra_percent_max: u64,
}

impl Default for Slicing {
    fn default() -> Self {
        Self {
            workers: Workers::default(),
            samples_min: 500_000,
            extra_percent_max: 10,
        }
    }
}

/// A number of threads that queries may start, shared by all of its clones. A query takes as many as are free and
/// never waits for one.
#[derive(Debug, Clone, Default)]
pub struct Workers(Arc<AtomicUsize>);

impl Workers {
    /// So many at once.
    pub fn new(count: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(count)))
    }

    /// How many are free now.
    pub fn free(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes at most so many.
    pub(crate) fn take(&self, count_max: usize) -> TakenWorkers<'_> {
        let mut count = 0;
        let take = |free: usize| {
            count = free.min(count_max);
            Some(free - count)
        };
        // It always takes some, be it none.
        let _free = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        TakenWorkers {
            workers: self,
            count,
        }
    }
}

/// Workers that a query has; they are free again when this is dropped.
#[derive(Debug)]
pub(crate) struct TakenWorkers<'w> {
    workers: &'w Workers,
    pub(crate) count: usize,
}

impl Drop for TakenWorkers<'_> {
    fn drop(&mut self) {
        self.workers.0.fetch_add(self.count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_taken_than_are_free() {
        let workers = Workers::new(3);
        let one = workers.clone();
        let two = one.take(2);
        let rest = workers.take(usize::MAX);
        assert_eq!((two.count, rest.count, workers.free()), (2, 1, 0));
        assert_eq!(workers.take(1).count, 0);
        drop(two);
        assert_eq!(one.free(), 2);
        drop(rest);
        assert_eq!(one.free(), 3);
    }
}
