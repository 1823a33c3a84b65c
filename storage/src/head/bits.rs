//! A growing set of column numbers.

/// Columns as a bitmap; a column beyond its end is absent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    #[inline]
    pub(crate) fn contains(&self, column: u32) -> bool {
        contains(&self.0, column)
    }

    /// Room for columns below `end`.
    pub(crate) fn with_capacity(end: usize) -> Self {
        Self(Vec::with_capacity(end.div_ceil(64)))
    }

    #[inline]
    pub(crate) fn insert(&mut self, column: u32) {
        let word = column as usize / 64;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (column % 64);
    }

    pub(crate) fn remove(&mut self, column: u32) {
        if let Some(word) = self.0.get_mut(column as usize / 64) {
            *word &= !(1 << (column % 64));
        }
    }

    /// 64 columns from `index * 64` on.
    pub(crate) fn word(&self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or(0)
    }

    /// Adds every column of the other set.
    pub(crate) fn union(&mut self, other: &Self) {
        self.insert_words(&other.0);
    }

    /// Adds every column of a bitmap.
    pub(crate) fn insert_words(&mut self, words: &[u64]) {
        if self.0.len() < words.len() {
            self.0.resize(words.len(), 0);
        }
        for (word, other) in self.0.iter_mut().zip(words) {
            *word |= other;
        }
    }

    pub(crate) fn words(&self) -> &[u64] {
        &self.0
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Adds every column of the range.
    pub(crate) fn insert_range(&mut self, columns: std::ops::Range<u32>) {
        if columns.is_empty() {
            return;
        }
        let last = (columns.end - 1) as usize / 64;
        if last >= self.0.len() {
            self.0.resize(last + 1, 0);
        }
        for (index, mask) in masks(columns) {
            self.0[index] |= mask;
        }
    }
}

/// The words that the columns of a range are in, with the bits that are theirs.
pub(crate) fn masks(columns: std::ops::Range<u32>) -> impl Iterator<Item = (usize, u64)> {
    let words = columns.start as usize / 64..columns.end.div_ceil(64) as usize;
    words.map(move |index| {
        let base = index as u64 * 64;
        let from = u64::from(columns.start).saturating_sub(base);
        let to = (u64::from(columns.end) - base).min(64);
        let upper = if to == 64 { u64::MAX } else { (1 << to) - 1 };
        (index, upper & !((1u64 << from) - 1))
    })
}

/// Whether the bitmap holds the column.
#[inline]
pub(crate) fn contains(words: &[u64], column: u32) -> bool {
    words
        .get(column as usize / 64)
        .is_some_and(|word| word >> (column % 64) & 1 == 1)
}

/// The columns of a bitmap, ascending.
pub(crate) fn ones(words: &[u64]) -> impl Iterator<Item = u32> + '_ {
    let words = words.iter().enumerate();
    words.flat_map(|(index, word)| ones_in(index, *word))
}

/// The columns of one word, ascending.
pub(crate) fn ones_in(index: usize, word: u64) -> impl Iterator<Item = u32> {
    let mut rest = word;
    std::iter::from_fn(move || {
        if rest == 0 {
            return None;
        }
        let bit = rest.trailing_zeros();
        rest &= rest - 1;
        Some(index as u32 * 64 + bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_equal_single_insertions() {
        for (start, end) in [(0, 0), (0, 1), (3, 64), (63, 65), (64, 128), (5, 200)] {
            let mut range = Bits::default();
            range.insert_range(start..end);
            assert_eq!(
                ones(range.words()).collect::<Vec<_>>(),
                (start..end).collect::<Vec<_>>()
            );
        }
    }
}
