//! Which pairs follow from which: every series with the one has the other too.

use std::ops::Range;

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
