//! The name of a block: what it holds.
#![deny(clippy::indexing_slicing)]

use std::{fmt, str::FromStr};

/// What a block holds, and its file's name: `<first>-<last>-<generation>.nx`, the commits with 20
/// digits each, so that names sort by their first commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BlockName {
    /// The first commit whose samples it holds.
    pub(crate) first: u64,
    /// The last commit whose samples it holds, at least `first`.
    pub(crate) last: u64,
    /// Of two blocks with the same commits, the one with the higher generation replaces the other.
    pub(crate) generation: u32,
}

/// A file name that is no block's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a block is named <first commit>-<last commit>-<generation>.nx, commits with 20 digits")]
pub(crate) struct NotABlock;

impl BlockName {
    /// Ends the name of a file that is still being written.
    pub(crate) const UNFINISHED: &'static str = ".nx.tmp";

    /// Whether every commit of `other` is one of this block's, and a good file of this name makes
    /// the other superfluous. A block does not supersede itself.
    pub(crate) fn supersedes(&self, other: &Self) -> bool {
        let contains = self.first <= other.first && other.last <= self.last;
        let is_same = self.first == other.first && self.last == other.last;
        contains && (!is_same || self.generation > other.generation)
    }
}

impl fmt::Display for BlockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            first,
            last,
            generation,
        } = self;
        write!(f, "{first:020}-{last:020}-{generation}.nx")
    }
}

impl FromStr for BlockName {
    type Err = NotABlock;

    fn from_str(text: &str) -> Result<Self, NotABlock> {
        let stem = text.strip_suffix(".nx").ok_or(NotABlock)?;
        let mut fields = stem.split('-');
        let mut commit = || {
            let digits = fields.next().ok_or(NotABlock)?;
            digits.parse().map_err(|_| NotABlock)
        };
        let (first, last) = (commit()?, commit()?);
        let generation = fields.next().ok_or(NotABlock)?;
        let name = Self {
            first,
            last,
            generation: generation.parse().map_err(|_| NotABlock)?,
        };
        // Only what is written is read: no signs, no missing or additional zeros.
        let is_exact = name.to_string() == text && first <= last;
        is_exact.then_some(name).ok_or(NotABlock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(first: u64, last: u64, generation: u32) -> BlockName {
        BlockName {
            first,
            last,
            generation,
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        let text = "00000000000000000007-18446744073709551615-12.nx";
        assert_eq!(name(7, u64::MAX, 12).to_string(), text);
        assert_eq!(text.parse(), Ok(name(7, u64::MAX, 12)));
        for other in [
            "",
            ".nx",
            "7-8-0.nx",
            "00000000000000000007-00000000000000000008-0",
            "00000000000000000007-00000000000000000008-0.nx.tmp",
            "00000000000000000007-00000000000000000008.nx",
            "00000000000000000007-00000000000000000008-01.nx",
            "00000000000000000007-00000000000000000008-+1.nx",
            "00000000000000000007-00000000000000000008-1-2.nx",
            "00000000000000000009-00000000000000000008-0.nx",
            "00000000000000000007-99999999999999999999-0.nx",
        ] {
            assert_eq!(other.parse::<BlockName>(), Err(NotABlock), "{other:?}");
        }
    }

    #[test]
    fn a_wider_or_later_block_supersedes() {
        let cases = [
            ((1, 9, 0), (1, 9, 0), false),
            ((1, 9, 1), (1, 9, 0), true),
            ((1, 9, 0), (1, 9, 1), false),
            ((1, 9, 0), (2, 9, 5), true),
            ((1, 9, 0), (1, 8, 5), true),
            ((2, 9, 0), (1, 9, 5), false),
            ((1, 9, 0), (9, 10, 0), false),
        ];
        for ((a, b, c), (d, e, f), expected) in cases {
            assert_eq!(name(a, b, c).supersedes(&name(d, e, f)), expected);
        }
    }
}
