//! Inverted indexes: from label matchers to series, over anything that has terms and postings.
//!
//! It knows nothing of samples, time or files.

mod delta;
mod pairs;
mod select;
mod slots;
mod terms;

pub(crate) use delta::Delta;
pub(crate) use pairs::Pairs;
pub(crate) use select::{
    each_pair, has_other_names, has_other_values, label_names, label_values, select, select_some,
};
pub(crate) use terms::{Among, Label, Terms, Texts, Union};

use std::collections::BTreeMap;

use crate::METRIC_NAME;

/// A name with a count or a size, for the cardinality lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cardinality {
    /// A metric name, label name, or `name=value` pair.
    pub name: String,
    /// How many series, values or bytes.
    pub value: u64,
}

/// The largest contributors to the index, each list largest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CardinalityLists {
    /// Series by metric name.
    pub series_by_metric_name: Vec<Cardinality>,
    /// Values by label name.
    pub values_by_label_name: Vec<Cardinality>,
    /// Bytes of labels, each counted once for every series that has it, by label name: what Prometheus reckons for
    /// them, name, value and the lengths of both.
    pub bytes_by_label_name: Vec<Cardinality>,
    /// Series by label pair, written `name=value`.
    pub series_by_label_pair: Vec<Cardinality>,
}

impl CardinalityLists {
    /// From every pair with the number of its series; at most `limit` a list.
    pub(crate) fn of(pairs: &BTreeMap<(String, String), u64>, limit: usize) -> Self {
        let mut metrics = Vec::new();
        let mut names: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for ((name, value), series) in pairs {
            let (values, bytes) = names.entry(name).or_default();
            *values += 1;
            *bytes += (reckoned(name) + reckoned(value)) * series;
            if name == METRIC_NAME {
                metrics.push((value.clone(), *series));
            }
        }
        let by_pair = pairs
            .iter()
            .map(|((name, value), series)| (format!("{name}={value}"), *series));
        let of_names = |count: fn((u64, u64)) -> u64| {
            let names = names.iter();
            names
                .map(|(name, counts)| ((*name).to_owned(), count(*counts)))
                .collect()
        };
        Self {
            series_by_metric_name: largest(metrics, limit),
            values_by_label_name: largest(of_names(|(values, _)| values), limit),
            bytes_by_label_name: largest(of_names(|(_, bytes)| bytes), limit),
            series_by_label_pair: largest(by_pair.collect(), limit),
        }
    }
}

/// What Prometheus 3.5 takes for a text in a label set: a longer one has its length in four bytes.
fn reckoned(text: &str) -> u64 {
    let bytes = text.len() as u64;
    bytes + if bytes < 255 { 1 } else { 4 }
}

/// The `limit` largest, largest first, equal ones by name.
fn largest(mut list: Vec<(String, u64)>, limit: usize) -> Vec<Cardinality> {
    list.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    list.truncate(limit);
    list.into_iter()
        .map(|(name, value)| Cardinality { name, value })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cardinality_lists_are_largest_first() {
        let pairs = [
            ("__name__", "m", 2),
            ("__name__", "n", 1),
            ("x", "1", 2),
            ("x", "22", 1),
            ("y", &"long".repeat(64), 1),
        ];
        let pairs = pairs
            .map(|(name, value, series)| ((name.to_owned(), value.to_owned()), series))
            .into();
        let lists = CardinalityLists::of(&pairs, 1);
        let one = |name: &str, value| {
            vec![Cardinality {
                name: name.to_owned(),
                value,
            }]
        };
        assert_eq!(lists.series_by_metric_name, one("m", 2));
        assert_eq!(lists.values_by_label_name, one("__name__", 2));
        assert_eq!(lists.bytes_by_label_name, one("y", 2 + 4 + 256));
        let of_x = CardinalityLists::of(&pairs, 3).bytes_by_label_name.pop();
        assert_eq!(of_x, one("x", 2 * (2 + 2) + 2 + 3).pop());
        assert_eq!(lists.series_by_label_pair, one("__name__=m", 2));
    }
}
