//! The inverted index: label sets to series, label pairs to bitmaps of series.
//!
//! It knows which series exist and which of them have at least one sample (`live`); it knows nothing
//! of samples, time or files. Always holds: a series is in `by_labels`, `by_id` and the bitmap of
//! each of its pairs, or in none of them; a pair without series is not in `names`.

mod delta;
mod matching;
mod pairs;
mod select;
mod slots;
mod terms;

pub(crate) use delta::Delta;
pub(crate) use pairs::Pairs;
pub(crate) use select::{each_pair, label_names, label_values, select};
pub(crate) use terms::{Label, Terms, Union};

use std::collections::BTreeMap;

use croaring::Bitmap;

use crate::{Labels, METRIC_NAME, Matcher};

type HashMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

/// Numbers of series read from disk are below this one: numbers grow from zero, one a series, so a
/// larger one was never given out.
const READ_ID_END: u32 = 1 << 31;

/// A value's series.
type Values = BTreeMap<Box<str>, Bitmap>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Index {
    by_labels: HashMap<Labels, u32>,
    by_id: HashMap<u32, Labels>,
    names: BTreeMap<Box<str>, Values>,
    /// Every series.
    all: Bitmap,
    next_id: u32,
    label_pairs: usize,
}

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
    /// Bytes of label values (each counted once for every series that has it) by label name.
    pub bytes_by_label_name: Vec<Cardinality>,
    /// Series by label pair, written `name=value`.
    pub series_by_label_pair: Vec<Cardinality>,
}

impl Index {
    /// The number of series.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The number of distinct label pairs.
    pub(crate) fn label_pairs(&self) -> usize {
        self.label_pairs
    }

    /// The series with exactly these labels.
    pub(crate) fn get(&self, labels: &Labels) -> Option<u32> {
        self.by_labels.get(labels).copied()
    }

    /// The labels of the series with this number.
    pub(crate) fn labels(&self, id: u32) -> Option<&Labels> {
        self.by_id.get(&id)
    }

    /// Every series, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Labels)> {
        self.by_id.iter().map(|(id, labels)| (*id, labels))
    }

    /// Adds a series that is not there yet, under the next free number.
    pub(crate) fn create(&mut self, labels: &Labels) -> u32 {
        let id = self.next_id;
        self.insert(id, labels)
    }

    /// Adds a series under a number read from disk; an equal label set keeps the
    /// number it has, and a number that is taken, or larger than any that was given out, is replaced
    /// by a free one.
    pub(crate) fn insert(&mut self, id: u32, labels: &Labels) -> u32 {
        if id < READ_ID_END {
            self.next_id = self.next_id.max(id + 1);
        }
        if let Some(id) = self.by_labels.get(labels) {
            return *id;
        }
        // The log may still name a series by a number that went to another one since.
        let id = if id >= READ_ID_END || self.by_id.contains_key(&id) {
            self.next_id += 1;
            self.next_id - 1
        } else {
            id
        };
        self.by_labels.insert(labels.clone(), id);
        self.by_id.insert(id, labels.clone());
        self.all.add(id);
        for (name, value) in labels.iter() {
            if !self.names.contains_key(name) {
                self.names.insert(name.into(), Values::new());
            }
            let values = self.names.get_mut(name).expect("inserted above");
            if let Some(postings) = values.get_mut(value) {
                postings.add(id);
            } else {
                values.insert(value.into(), Bitmap::of(&[id]));
                self.label_pairs += 1;
            }
        }
        id
    }

    /// Forgets a series.
    pub(crate) fn remove(&mut self, id: u32) {
        let Some(labels) = self.by_id.remove(&id) else {
            return;
        };
        self.by_labels.remove(&labels);
        self.all.remove(id);
        for (name, value) in labels.iter() {
            let Some(values) = self.names.get_mut(name) else {
                continue;
            };
            if let Some(postings) = values.get_mut(value) {
                postings.remove(id);
                if postings.is_empty() {
                    values.remove(value);
                    self.label_pairs -= 1;
                }
            }
            if values.is_empty() {
                self.names.remove(name);
            }
        }
    }

    /// The series that pass every matcher, in label order.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Vec<(u32, Labels)> {
        let mut series: Vec<(u32, Labels)> = self
            .matching(matchers)
            .iter()
            .filter_map(|id| Some((id, self.by_id.get(&id)?.clone())))
            .collect();
        series.sort_unstable_by(|a, b| a.1.cmp(&b.1));
        series
    }

    /// The largest contributors, at most `limit` a list. Walks the whole index.
    pub(crate) fn cardinality(&self, limit: usize) -> CardinalityLists {
        let mut metrics = Vec::new();
        let mut values_by_name = Vec::new();
        let mut bytes_by_name = Vec::new();
        let mut pairs = Vec::new();
        for (name, values) in &self.names {
            let mut bytes = 0;
            for (value, postings) in values {
                let series = postings.cardinality();
                bytes += value.len() as u64 * series;
                pairs.push((format!("{name}={value}"), series));
                if &**name == METRIC_NAME {
                    metrics.push((value.to_string(), series));
                }
            }
            values_by_name.push((name.to_string(), values.len() as u64));
            bytes_by_name.push((name.to_string(), bytes));
        }
        CardinalityLists {
            series_by_metric_name: largest(metrics, limit),
            values_by_label_name: largest(values_by_name, limit),
            bytes_by_label_name: largest(bytes_by_name, limit),
            series_by_label_pair: largest(pairs, limit),
        }
    }
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
    use crate::MatchOp;

    fn index(sets: &[&[(&str, &str)]]) -> Index {
        let mut index = Index::default();
        for set in sets {
            index.create(&Labels::from_pairs(set.iter().copied()));
        }
        index
    }

    #[test]
    fn a_number_that_was_never_given_out_or_is_taken_is_replaced() {
        let mut index = Index::default();
        let mut insert = |id, name| index.insert(id, &Labels::from_pairs([("__name__", name)]));
        let ids = [
            (u32::MAX, "a"),
            (u32::MAX, "b"),
            (7, "c"),
            (7, "d"),
            (0, "e"),
        ];
        assert_eq!(ids.map(|(id, name)| insert(id, name)), [0, 1, 7, 8, 9]);
    }

    /// Every combination of operators and values against a plain filter over all series.
    #[test]
    fn selection_equals_a_filter_over_all_series() {
        let index = index(&[
            &[("__name__", "a")],
            &[("__name__", "a"), ("x", "1")],
            &[("__name__", "a"), ("x", "2"), ("y", "1")],
            &[("__name__", "b"), ("x", "10")],
            &[("x", "1"), ("y", "2")],
        ]);
        let mut all: Vec<Labels> = index.iter().map(|(_, labels)| labels.clone()).collect();
        all.sort();
        let mut matchers = Vec::new();
        for name in ["__name__", "x", "missing"] {
            for value in ["", "1", "a", "2"] {
                matchers.push(Matcher::equal(name, value));
                matchers.push(Matcher::new(name, MatchOp::NotEqual, value).unwrap());
            }
            for pattern in [".*", ".+", "1|2", "1.*", "a|", "()"] {
                for op in [MatchOp::Regex, MatchOp::NotRegex] {
                    // Patterns that the regular expression module refuses are its own business.
                    matchers.extend(Matcher::new(name, op, pattern).ok());
                }
            }
        }
        for first in &matchers {
            for second in &matchers {
                let both = [first.clone(), second.clone()];
                let expected: Vec<Labels> = all
                    .iter()
                    .filter(|labels| both.iter().all(|matcher| matcher.matches_labels(labels)))
                    .cloned()
                    .collect();
                let found: Vec<Labels> = index
                    .select(&both)
                    .iter()
                    .map(|(_, labels)| labels.clone())
                    .collect();
                assert_eq!(found, expected, "{first} {second}");
            }
        }
    }

    #[test]
    fn a_removed_series_leaves_no_trace() {
        let mut index = index(&[&[("a", "1"), ("b", "1")], &[("a", "1")]]);
        let first = index.get(&Labels::from_pairs([("a", "1"), ("b", "1")]));
        index.remove(first.unwrap());
        assert_eq!(index.len(), 1);
        assert_eq!(index.label_pairs(), 1);
        assert_eq!(index.label_names(&[], None, |_| true), ["a"]);
        assert_eq!(
            index.label_values("b", &[], None, |_| true),
            Vec::<String>::new()
        );
        let next = index.create(&Labels::from_pairs([("c", "1")]));
        assert_eq!(next, 2, "numbers are never used twice");
    }

    #[test]
    fn cardinality_lists_are_largest_first() {
        let index = index(&[
            &[("__name__", "m"), ("x", "1")],
            &[("__name__", "m"), ("x", "22")],
            &[("__name__", "n"), ("x", "1")],
        ]);
        let lists = index.cardinality(1);
        let one = |name: &str, value| {
            vec![Cardinality {
                name: name.to_owned(),
                value,
            }]
        };
        assert_eq!(lists.series_by_metric_name, one("m", 2));
        assert_eq!(lists.values_by_label_name, one("__name__", 2));
        assert_eq!(lists.bytes_by_label_name, one("x", 4));
        assert_eq!(lists.series_by_label_pair, one("__name__=m", 2));
    }
}
