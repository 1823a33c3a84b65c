//! Which pairs follow from which: every series with the one has the other too.
#![expect(
    clippy::indexing_slicing,
    reason = "numbers and places that were given out here"
)]

use std::ops::Range;

use super::postings::UNION_MAX;

/// For each pair that two series or more have, the larger pairs that all of them have.
#[derive(Debug)]
pub(super) struct Implied {
    /// Where the implied pairs of each pair are.
    lists: Vec<Range<u32>>,
    pairs: Vec<u32>,
}

impl Implied {
    /// Finds them in the sets of all series, each ascending; `counts` says how many series have each
    /// pair.
    pub(super) fn find<'s>(sets: impl Iterator<Item = &'s [u32]>, counts: &[u32]) -> Self {
        let unknown = u32::MAX..u32::MAX;
        let mut found = Self {
            lists: vec![unknown.clone(); counts.len()],
            pairs: Vec::new(),
        };
        for set in sets {
            for (index, pair) in set.iter().enumerate() {
                let list = &mut found.lists[*pair as usize];
                let rest = &set[index + 1..];
                if counts[*pair as usize] < 2 {
                    *list = 0..0;
                } else if *list == unknown {
                    let start = found.pairs.len() as u32;
                    found.pairs.extend_from_slice(rest);
                    *list = start..found.pairs.len() as u32;
                } else if list.start < list.end {
                    let pairs = &mut found.pairs[list.start as usize..list.end as usize];
                    list.end = list.start + keep_common(pairs, rest) as u32;
                }
            }
        }
        found
    }

    /// The pairs that `pair` implies, ascending.
    pub(super) fn of(&self, pair: u32) -> &[u32] {
        let list = &self.lists[pair as usize];
        &self.pairs[list.start as usize..list.end as usize]
    }
}

/// For a pair, pairs of another name whose series are together just those of the pair.
#[derive(Debug)]
pub(super) struct Unions {
    /// The pair, the name that the others have (all of one number), and one of the others.
    triples: Vec<(u32, u32, u32)>,
}

impl Unions {
    /// Finds them from what each pair implies: the pairs of one name have no series in common, so
    /// those that imply a pair and have as many series as it are its union. `name_of` answers a
    /// number for the name of a pair.
    pub(super) fn find(implied: &Implied, counts: &[u32], name_of: impl Fn(u32) -> u32) -> Self {
        let mut triples = Vec::new();
        for pair in 0..counts.len() as u32 {
            let name = name_of(pair);
            let others = implied.of(pair).iter();
            triples.extend(others.map(|other| (*other, name, pair)));
        }
        triples.sort_unstable();
        let same = |a: &(u32, u32, u32), b: &(u32, u32, u32)| (a.0, a.1) == (b.0, b.1);
        let mut kept = Vec::new();
        for group in triples.chunk_by(same) {
            let series = |(_, _, pair): &(u32, u32, u32)| u64::from(counts[*pair as usize]);
            let sum: u64 = group.iter().map(series).sum();
            let is_whole = group
                .first()
                .is_some_and(|(whole, ..)| sum == u64::from(counts[*whole as usize]));
            if is_whole && group.len() <= UNION_MAX {
                kept.extend_from_slice(group);
            }
        }
        Self { triples: kept }
    }

    /// The pairs of the name with the fewest that make up `pair` and all pass `is_allowed`; they are
    /// smaller than it. Empty when there are none.
    pub(super) fn of(&self, pair: u32, is_allowed: impl Fn(u32) -> bool, out: &mut Vec<u32>) {
        out.clear();
        let start = self.triples.partition_point(|(whole, ..)| *whole < pair);
        let of_pair = &self.triples[start..];
        let end = of_pair.partition_point(|(whole, ..)| *whole == pair);
        let groups = of_pair[..end].chunk_by(|a, b| a.1 == b.1);
        let allowed = groups.filter(|group| group.iter().all(|(.., part)| is_allowed(*part)));
        if let Some(group) = allowed.min_by_key(|group| group.len()) {
            out.extend(group.iter().map(|(.., part)| *part));
        }
    }
}

/// Moves the pairs that are in `others` too to the front, and answers how many. Both ascend.
fn keep_common(pairs: &mut [u32], others: &[u32]) -> usize {
    if pairs == others {
        return pairs.len();
    }
    let (mut kept, mut others) = (0, others.iter().peekable());
    for index in 0..pairs.len() {
        let pair = pairs[index];
        while others.next_if(|other| **other < pair).is_some() {}
        if others.next_if_eq(&&pair).is_some() {
            pairs[kept] = pair;
            kept += 1;
        }
    }
    kept
}
