//! Start timestamps as series of their own: since when what a sample counts has been counted.
//!
//! The start timestamps of a series are the samples of another one, its *sibling*: the same labels and one
//! with an empty name, which no series from outside can have. A sibling's sample has the time of the sample that
//! it is about, and its value is the start timestamp in milliseconds. So they take the ways of all samples, in
//! memory, log, blocks, merges, deletions and snapshots; as the start of a counter stays the same they take
//! next to nothing of pages, and a series without them takes nothing.
//!
//! **What always holds.** Siblings are in no answer: whoever selects series or asks for labels is given those
//! without the empty name alone. In the numbers of series, of a store and against its limit, they do not count.

use crate::{Labels, Matcher, Sample, Timestamp};

/// The name and the value that a sibling has beside the labels of its series; it comes before all others.
const NAME: &str = "";
const VALUE: &str = "start";

/// Start timestamps beyond this are unknown: numbers do not hold them exactly.
const MAGNITUDE_MAX: u64 = 1 << 53;

/// The labels of the series that has the start timestamps of another one.
pub(crate) fn sibling_of(labels: &Labels) -> Labels {
    Labels::from_pairs(std::iter::once((NAME, VALUE)).chain(labels.iter()))
}

/// The series that pass these and are no siblings.
pub(crate) fn without_siblings(matchers: &[Matcher]) -> Vec<Matcher> {
    let own = Matcher::equal(NAME, "");
    std::iter::once(own)
        .chain(matchers.iter().cloned())
        .collect()
}

/// The siblings of the series that pass these.
pub(crate) fn siblings(matchers: &[Matcher]) -> Vec<Matcher> {
    let own = Matcher::equal(NAME, VALUE);
    std::iter::once(own)
        .chain(matchers.iter().cloned())
        .collect()
}

/// A sibling's sample; `None`: the start is unknown.
pub(crate) fn to_sample(time: Timestamp, start: Timestamp) -> Option<Sample> {
    let is_known = start != 0 && start.unsigned_abs() <= MAGNITUDE_MAX;
    is_known.then_some(Sample {
        time,
        value: start as f64,
    })
}

/// The start timestamp that a sibling's sample tells, 0 where it tells none.
pub(crate) fn of_value(value: f64) -> Timestamp {
    // A staleness marker becomes zero.
    value as Timestamp
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stale_marker;

    #[test]
    fn siblings_are_in_the_order_of_their_series() {
        let series = [
            Labels::from_pairs([("A", "1")]),
            Labels::from_pairs([("A", "1"), ("__name__", "m")]),
            Labels::from_pairs([("__name__", "m")]),
            Labels::from_pairs([("__name__", "m"), ("a", "b")]),
        ];
        let siblings: Vec<Labels> = series.iter().map(sibling_of).collect();
        assert!(series.is_sorted() && siblings.is_sorted());
        assert!(Labels::try_from_pairs(siblings[0].iter()).is_err());
    }

    #[test]
    fn what_a_number_cannot_hold_is_unknown() {
        let value = |start| to_sample(7, start).map(|sample| of_value(sample.value));
        for start in [1, -1, 1_790_000_000_123, 1 << 53, -(1 << 53)] {
            assert_eq!(value(start), Some(start));
        }
        for start in [0, (1 << 53) + 1, i64::MIN, i64::MAX] {
            assert_eq!(value(start), None);
        }
        assert_eq!(of_value(stale_marker()), 0);
    }
}
