//! Go's unstable sort, element by element: which of equal elements comes first shows in Prometheus's answers, and so
//! does what it makes of a comparison that contradicts itself.
//!
//! **Source**: pattern-defeating quicksort (O. Peters, 2021, arXiv:2106.05123) with the constants and the seeding of
//! Go's packages `sort` and `slices`, which share it.

/// Up to so many elements are sorted by insertion.
const INSERTION_MAX: usize = 12;
/// From so many elements on a pivot is the median of medians.
const NINTHER_MIN: usize = 50;
/// How often elements change places when a pivot is chosen among descending ones.
const SWAPS_MAX: usize = 4 * 3;
/// From so many elements on single ones out of place are moved.
const SHIFTING_MIN: usize = 50;
/// So many of them are moved at most.
const SHIFTED_MAX: usize = 5;
/// From so many elements on some are swapped by chance.
const SHUFFLED_MIN: usize = 8;

/// Sorts as Go does, given whether one element comes before another. Any answers will do: with contradictory ones the
/// order is Go's too.
pub(crate) fn go_sort<T>(items: &mut [T], is_before: impl FnMut(&T, &T) -> bool) {
    let len = items.len();
    let limit = usize::BITS - len.leading_zeros();
    Sort { items, is_before }.range(0, len, limit);
}

/// What is known of elements before they are partitioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pattern {
    Ascending,
    Descending,
    None,
}

struct Sort<'s, T, F> {
    items: &'s mut [T],
    is_before: F,
}

impl<T, F: FnMut(&T, &T) -> bool> Sort<'_, T, F> {
    fn less(&mut self, left: usize, right: usize) -> bool {
        (self.is_before)(&self.items[left], &self.items[right])
    }

    fn swap(&mut self, left: usize, right: usize) {
        self.items.swap(left, right);
    }

    /// Sorts `start..end`; after so many unbalanced partitions on a heap.
    fn range(&mut self, mut start: usize, mut end: usize, mut limit: u32) {
        let (mut was_balanced, mut was_partitioned) = (true, true);
        loop {
            let len = end - start;
            if len <= INSERTION_MAX {
                return self.insert(start, end);
            }
            if limit == 0 {
                return self.heap(start, end);
            }
            if !was_balanced {
                self.shuffle(start, end);
                limit -= 1;
            }
            let (mut pivot, mut pattern) = self.pivot(start, end);
            if pattern == Pattern::Descending {
                self.items[start..end].reverse();
                pivot = (end - 1) - (pivot - start);
                pattern = Pattern::Ascending;
            }
            let may_be_sorted = was_balanced && was_partitioned && pattern == Pattern::Ascending;
            if may_be_sorted && self.shift(start, end) {
                return;
            }
            // Nothing is before the pivot: what equals it comes first.
            if start > 0 && !self.less(start - 1, pivot) {
                start = self.partition_equal(start, end, pivot);
                continue;
            }
            let middle;
            (middle, was_partitioned) = self.partition(start, end, pivot);
            let (left, right) = (middle - start, end - middle);
            was_balanced = left.min(right) >= len / 8;
            if left < right {
                self.range(start, middle, limit);
                start = middle + 1;
            } else {
                self.range(middle + 1, end, limit);
                end = middle;
            }
        }
    }

    fn insert(&mut self, start: usize, end: usize) {
        for index in start + 1..end {
            self.sink(index, start);
        }
    }

    /// Moves an element down to where the one below it is not behind it.
    fn sink(&mut self, mut index: usize, floor: usize) {
        while index > floor && self.less(index, index - 1) {
            self.swap(index, index - 1);
            index -= 1;
        }
    }

    fn heap(&mut self, start: usize, end: usize) {
        let len = end - start;
        for root in (0..=(len - 1) / 2).rev() {
            self.sift(start, root, len);
        }
        for last in (0..len).rev() {
            self.swap(start, start + last);
            self.sift(start, 0, last);
        }
    }

    fn sift(&mut self, start: usize, mut root: usize, len: usize) {
        loop {
            let mut child = 2 * root + 1;
            if child >= len {
                return;
            }
            if child + 1 < len && self.less(start + child, start + child + 1) {
                child += 1;
            }
            if !self.less(start + root, start + child) {
                return;
            }
            self.swap(start + root, start + child);
            root = child;
        }
    }

    /// Swaps three elements in the middle with others.
    fn shuffle(&mut self, start: usize, end: usize) {
        let len = end - start;
        if len < SHUFFLED_MIN {
            return;
        }
        let mut random = len as u64;
        let mask = (1_u64 << (u64::BITS - random.leading_zeros())) - 1;
        let first = start + len / 4 * 2 - 1;
        for index in first..first + 3 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let other = (random & mask) as usize;
            let other = if other < len { other } else { other - len };
            self.swap(index, start + other);
        }
    }

    fn pivot(&mut self, start: usize, end: usize) -> (usize, Pattern) {
        let quarter = (end - start) / 4;
        let mut swaps = 0;
        let mut places = [1, 2, 3].map(|number| start + quarter * number);
        if end - start >= NINTHER_MIN {
            places = places.map(|place| self.median([place - 1, place, place + 1], &mut swaps));
        }
        let pivot = self.median(places, &mut swaps);
        let pattern = match swaps {
            0 => Pattern::Ascending,
            SWAPS_MAX => Pattern::Descending,
            _ => Pattern::None,
        };
        (pivot, pattern)
    }

    fn median(&mut self, mut places: [usize; 3], swaps: &mut usize) -> usize {
        for left in [0, 1, 0] {
            if self.less(places[left + 1], places[left]) {
                *swaps += 1;
                places.swap(left, left + 1);
            }
        }
        places[1]
    }

    /// Moves a few elements that are out of place; whether all are in place now.
    fn shift(&mut self, start: usize, end: usize) -> bool {
        let mut index = start + 1;
        for _ in 0..SHIFTED_MAX {
            while index < end && !self.less(index, index - 1) {
                index += 1;
            }
            if index == end {
                return true;
            }
            if end - start < SHIFTING_MIN {
                return false;
            }
            self.swap(index, index - 1);
            if index - start >= 2 {
                self.sink(index - 1, 0);
            }
            if end - index >= 2 {
                let mut next = index + 1;
                while next < end && self.less(next, next - 1) {
                    self.swap(next, next - 1);
                    next += 1;
                }
            }
        }
        false
    }

    /// Puts what is before the pivot before it; where it comes to stand, and whether nothing had to be moved.
    fn partition(&mut self, start: usize, end: usize, pivot: usize) -> (usize, bool) {
        self.swap(start, pivot);
        let (mut low, mut high) = (start + 1, end - 1);
        let mut was_partitioned = true;
        loop {
            while low <= high && self.less(low, start) {
                low += 1;
            }
            while low <= high && !self.less(high, start) {
                high -= 1;
            }
            if low > high {
                self.swap(high, start);
                return (high, was_partitioned);
            }
            was_partitioned = false;
            self.swap(low, high);
            low += 1;
            high -= 1;
        }
    }

    /// Puts what equals the pivot first; where the others begin.
    fn partition_equal(&mut self, start: usize, end: usize, pivot: usize) -> usize {
        self.swap(start, pivot);
        let (mut low, mut high) = (start + 1, end - 1);
        loop {
            while low <= high && !self.less(start, low) {
                low += 1;
            }
            while low <= high && self.less(start, high) {
                high -= 1;
            }
            if low > high {
                return low;
            }
            self.swap(low, high);
            low += 1;
            high -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Prometheus 3.5 makes of `sort` of series with these values, created in this order: which of them comes
    /// first, second and so on. Up to 12 and more, with and without elements swapped by chance.
    const SORTED: [(&str, &[usize]); 3] = [
        (
            "01100200201220",
            &[6, 9, 13, 3, 4, 7, 0, 10, 1, 2, 12, 8, 11, 5],
        ),
        (
            "10110011010001001100",
            &[
                10, 1, 19, 18, 4, 5, 15, 14, 11, 8, 12, 9, 0, 13, 7, 6, 16, 17, 3, 2,
            ],
        ),
        (
            "211024340244031331110014403021130213220103033101304004112001",
            &[
                20, 58, 57, 3, 52, 51, 49, 46, 8, 42, 40, 38, 12, 32, 27, 25, 21, 45, 2, 19, 17,
                59, 22, 1, 34, 39, 55, 14, 47, 29, 30, 54, 18, 28, 33, 4, 36, 37, 9, 56, 0, 48, 13,
                43, 44, 16, 41, 15, 35, 6, 26, 31, 7, 53, 5, 50, 11, 24, 23, 10,
            ],
        ),
    ];

    #[test]
    fn equal_elements_come_in_gos_order() {
        for (values, expected) in SORTED {
            let values = values.as_bytes();
            let mut order: Vec<usize> = (0..values.len()).collect();
            go_sort(&mut order, |a, b| values[*a] < values[*b]);
            assert_eq!(order, expected);
        }
    }

    #[test]
    fn everything_is_sorted_whatever_it_is_like() {
        for len in 1..300_usize {
            for kind in 0..5 {
                let value = |index: usize| match kind {
                    0 => index,
                    1 => len - index,
                    2 => index * 7_919 % 101,
                    3 => index * 7_919 % 3,
                    // One out of place.
                    _ => {
                        if index == len / 3 {
                            len
                        } else {
                            index
                        }
                    }
                };
                let mut items: Vec<usize> = (0..len).map(value).collect();
                let mut expected = items.clone();
                expected.sort_unstable();
                go_sort(&mut items, |a, b| a < b);
                assert_eq!(items, expected, "{len} of kind {kind}");
                let mut on_a_heap: Vec<usize> = (0..len).map(value).collect();
                let mut sort = Sort {
                    items: &mut on_a_heap,
                    is_before: |a: &usize, b: &usize| a < b,
                };
                sort.heap(0, len);
                assert_eq!(on_a_heap, expected, "{len} of kind {kind}");
                // No answers are too odd for it to end.
                let mut odd = 0;
                go_sort(&mut items, |_, _| {
                    odd += 1;
                    odd % 3 != 0
                });
            }
        }
    }
}
