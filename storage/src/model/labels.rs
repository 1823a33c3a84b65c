//! Label sets: sorted, unique name/value pairs in one shared allocation.
//!
//! Invariants: names are unique and ascending in byte order; no value is empty (an empty value
//! means "no such label" and is dropped by the builder). Equal sets have equal bytes, so equality
//! and hashing never look at single pairs. Order is Prometheus's: pair by pair, name before value,
//! and a set that is a prefix of another comes first.

use std::{cmp::Ordering, fmt, hash::Hash, sync::Arc};

use super::quoting::quote;

/// The label that holds the metric name.
pub const METRIC_NAME: &str = "__name__";

/// A set of labels. Cloning is cheap (one reference count).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels {
    /// Pairs back to back: name length (u32 little endian), name, value length, value.
    data: Arc<[u8]>,
}

/// Why a list of pairs is not a label set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLabels {
    /// The same name twice.
    #[error("label name \"{0}\" is not unique")]
    Duplicate(String),
    /// An empty label name.
    #[error("a label name is empty")]
    EmptyName,
}

impl Labels {
    /// The set without labels.
    pub fn empty() -> Self {
        Self { data: Arc::new([]) }
    }

    /// Builds a set from pairs in any order. Empty values are dropped; of a repeated name the last
    /// value counts.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(name.as_ref(), value.as_ref());
        }
        builder.build()
    }

    /// Builds a set from pairs in any order, refusing repeated and empty names. Empty values are
    /// dropped.
    ///
    /// # Errors
    /// [`InvalidLabels`] names the first offending label.
    pub fn try_from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, InvalidLabels> {
        let mut pairs: Vec<(N, V)> = pairs.into_iter().collect();
        pairs.sort_by(|a, b| a.0.as_ref().cmp(b.0.as_ref()));
        if pairs.iter().any(|(name, _)| name.as_ref().is_empty()) {
            return Err(InvalidLabels::EmptyName);
        }
        for window in pairs.windows(2) {
            if let [a, b] = window
                && a.0.as_ref() == b.0.as_ref()
            {
                return Err(InvalidLabels::Duplicate(a.0.as_ref().to_owned()));
            }
        }
        Ok(Self::from_sorted(
            pairs
                .iter()
                .map(|(name, value)| (name.as_ref(), value.as_ref())),
        ))
    }

    fn from_sorted<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut encoder = LabelsEncoder::default();
        for (name, value) in pairs.filter(|(_, value)| !value.is_empty()) {
            encoder.push(name, value);
        }
        encoder.finish()
    }

    /// The pairs, ascending by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        Pairs {
            texts: Texts { rest: &self.data },
        }
    }

    /// The value of `name`, if the set has it.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut texts = Texts { rest: &self.data };
        while let (Some(candidate), Some(value)) = (texts.next(), texts.next()) {
            if candidate == name.as_bytes() {
                return Some(text(value));
            }
        }
        None
    }

    /// The metric name, empty when there is none.
    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME).unwrap_or_default()
    }

    /// The number of labels.
    pub fn len(&self) -> usize {
        Texts { rest: &self.data }.count() / 2
    }

    /// Whether there is no label at all.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The encoded bytes: equal for equal sets, stable within a process, usable as a hash input.
    pub fn as_bytes(&self) -> &[u8] {
        &self.data
    }

    /// Whether a label has an empty name: none of a series from outside has.
    pub(crate) fn has_empty_name(&self) -> bool {
        self.data.starts_with(&[0; 4])
    }

    /// Whether it is equal to another set, which costs nothing if one is a clone of the other.
    #[inline]
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.data, &other.data) || self == other
    }

    /// The encoded bytes of each pair, ascending by name: equal for equal pairs.
    pub(crate) fn encoded_pairs(&self) -> impl Iterator<Item = &[u8]> + Clone {
        EncodedPairs { rest: &self.data }
    }

    /// The labels with names that `keeps` answers true for; it is given their bytes.
    #[must_use]
    pub fn filtered(&self, keeps: impl FnMut(&[u8]) -> bool) -> Self {
        let mut data = Vec::with_capacity(self.data.len());
        self.push_filtered(keeps, &mut data);
        if data.len() == self.data.len() {
            return self.clone();
        }
        Self { data: data.into() }
    }

    /// Appends the [bytes](Labels::as_bytes) of the labels with names that `keeps` answers true for.
    pub fn push_filtered(&self, mut keeps: impl FnMut(&[u8]) -> bool, out: &mut Vec<u8>) {
        for pair in self.encoded_pairs() {
            let name = Texts { rest: pair }.next();
            if name.is_some_and(&mut keeps) {
                out.extend_from_slice(pair);
            }
        }
    }

    /// The labels with `name` set to `value`; an empty value removes the label.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut encoder = LabelsEncoder::default();
        let mut pairs = self.encoded_pairs().peekable();
        while let Some(pair) = pairs.next_if(|pair| decode_name(pair) < name) {
            encoder.push_encoded(pair);
        }
        pairs.next_if(|pair| decode_name(pair) == name);
        if !value.is_empty() {
            encoder.push(name, value);
        }
        pairs.for_each(|pair| encoder.push_encoded(pair));
        encoder.finish()
    }

    /// A builder that starts from this set.
    pub fn to_builder(&self) -> LabelsBuilder {
        LabelsBuilder {
            pairs: self
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        }
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::empty()
    }
}

/// Prometheus's notation: `{a="b", c="d"}`.
impl fmt::Display for Labels {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("{")?;
        for (index, (name, value)) in self.iter().enumerate() {
            if index > 0 {
                formatter.write_str(", ")?;
            }
            if is_plain(name) {
                formatter.write_str(name)?;
            } else {
                formatter.write_str(&quote(name))?;
            }
            write!(formatter, "={}", quote(value))?;
        }
        formatter.write_str("}")
    }
}

/// Whether a label's name is printed without quotes.
fn is_plain(name: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(is_letter) && name.chars().all(|c| is_letter(c) || c.is_ascii_digit())
}

impl fmt::Debug for Labels {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_encoded(&self.data, &other.data)
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Names and values in turn, as bytes.
#[derive(Clone)]
struct Texts<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Texts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.rest.split_first_chunk::<4>()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.rest = rest;
        Some(text)
    }
}

/// Pairs as they are encoded.
#[derive(Clone)]
struct EncodedPairs<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for EncodedPairs<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let mut texts = Texts { rest: self.rest };
        texts.next()?;
        texts.next()?;
        let (pair, rest) = self.rest.split_at(self.rest.len() - texts.rest.len());
        self.rest = rest;
        Some(pair)
    }
}

/// The order of sets, or pairs, as they are encoded. Texts compare as their bytes do: nothing has to be decoded.
pub(crate) fn compare_encoded(one: &[u8], other: &[u8]) -> Ordering {
    Texts { rest: one }.cmp(Texts { rest: other })
}

/// The name of a pair as a set has it.
fn decode_name(pair: &[u8]) -> &str {
    let mut pair = Pairs {
        texts: Texts { rest: pair },
    };
    pair.text().expect("a pair of a set")
}

/// Name and value of a pair as a set has it.
pub(crate) fn decode_pair(pair: &[u8]) -> (&str, &str) {
    let mut pairs = Pairs {
        texts: Texts { rest: pair },
    };
    pairs.next().expect("a pair of a set")
}

/// A text of a set.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("only built from str")
}

#[derive(Clone)]
struct Pairs<'a> {
    texts: Texts<'a>,
}

impl<'a> Pairs<'a> {
    fn text(&mut self) -> Option<&'a str> {
        self.texts.next().map(text)
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.text()?, self.text()?))
    }
}

/// Builds sets, one after another, from pairs that come as a set has them. Keeps its buffer.
#[derive(Debug, Default)]
pub(crate) struct LabelsEncoder {
    data: Vec<u8>,
}

impl LabelsEncoder {
    /// Adds a pair: its name is above the last one's, its value is not empty.
    pub(crate) fn push(&mut self, name: &str, value: &str) {
        for text in [name, value] {
            let length =
                u32::try_from(text.len()).expect("label texts are limited well below 4 GiB");
            self.data.extend_from_slice(&length.to_le_bytes());
            self.data.extend_from_slice(text.as_bytes());
        }
    }

    /// Adds a pair as another set has it, under the same conditions.
    pub(crate) fn push_encoded(&mut self, pair: &[u8]) {
        self.data.extend_from_slice(pair);
    }

    /// The pairs since the last set, encoded.
    pub(crate) fn encoded(&self) -> &[u8] {
        &self.data
    }

    /// Forgets what comes after so many bytes, which end with a pair.
    pub(crate) fn truncate(&mut self, bytes: usize) {
        self.data.truncate(bytes);
    }

    /// The set of the pairs since the last one, which are kept.
    pub(crate) fn labels(&self) -> Labels {
        Labels {
            data: self.data.as_slice().into(),
        }
    }

    /// The set of the pairs since the last one.
    pub(crate) fn finish(&mut self) -> Labels {
        let labels = self.labels();
        self.data.clear();
        labels
    }
}

/// Changes a label set pair by pair.
#[derive(Debug, Clone, Default)]
pub struct LabelsBuilder {
    /// Ascending by name, names unique; values may be empty until `build`.
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// Sets `name` to `value`; an empty value removes the label.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        match self
            .pairs
            .binary_search_by(|(candidate, _)| candidate.as_str().cmp(name))
        {
            Ok(index) if value.is_empty() => {
                self.pairs.remove(index);
            }
            Ok(index) => value.clone_into(&mut self.pairs[index].1),
            Err(_) if value.is_empty() => {}
            Err(index) => self
                .pairs
                .insert(index, (name.to_owned(), value.to_owned())),
        }
        self
    }

    /// Removes `name`, if present.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.set(name, "")
    }

    /// Keeps only the labels for which `keep` answers true.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) -> &mut Self {
        self.pairs.retain(|(name, value)| keep(name, value));
        self
    }

    /// The value of `name`, if present.
    pub fn get(&self, name: &str) -> Option<&str> {
        let index = self
            .pairs
            .binary_search_by(|(candidate, _)| candidate.as_str().cmp(name));
        index.ok().map(|index| self.pairs[index].1.as_str())
    }

    /// The pairs, ascending by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The finished set.
    pub fn build(&self) -> Labels {
        Labels::from_sorted(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_sorted_and_empty_values_dropped() {
        let labels = Labels::from_pairs([("b", "2"), ("a", "1"), ("c", ""), ("b", "3")]);
        assert_eq!(labels.to_string(), r#"{a="1", b="3"}"#);
        assert_eq!(labels.get("b"), Some("3"));
        assert_eq!(labels.get("c"), None);
        assert_eq!(labels.len(), 2);
    }

    /// As Prometheus 3.5 prints them in errors.
    #[test]
    fn odd_labels_are_printed_as_go_prints_them() {
        let labels = Labels::from_pairs([
            ("ü", "\u{7}\u{7f}'\"\\ é\u{a0}\u{ad}"),
            ("a.b", "\u{e000}\u{301}"),
            ("_", ""),
        ]);
        let text = r#"{"a.b"="\ue000́", "ü"="\a\x7f'\"\\ é\u00a0\u00ad"}"#;
        assert_eq!(labels.to_string(), text);
    }

    #[test]
    fn a_repeated_name_is_refused() {
        assert_eq!(
            Labels::try_from_pairs([("a", "1"), ("b", "1"), ("a", "2")]),
            Err(InvalidLabels::Duplicate("a".to_owned()))
        );
    }

    #[test]
    fn order_is_pairwise_and_prefixes_come_first() {
        let set = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied());
        assert!(set(&[("a", "1")]) < set(&[("a", "1"), ("b", "1")]));
        assert!(set(&[("a", "2")]) > set(&[("a", "10")]));
        assert!(set(&[("a", "2")]) < set(&[("aa", "1")]));
        assert!(set(&[]) < set(&[("a", "1")]));
    }

    #[test]
    fn what_is_not_kept_is_gone() {
        let labels = Labels::from_pairs([("a", "1"), ("b", "2"), ("c", "3")]);
        let without = |names: &[&str]| {
            labels.filtered(|name| !names.iter().any(|other| other.as_bytes() == name))
        };
        assert_eq!(
            without(&["b"]),
            Labels::from_pairs([("a", "1"), ("c", "3")])
        );
        assert_eq!(without(&["a", "c", "d"]), Labels::from_pairs([("b", "2")]));
        assert_eq!(without(&["d"]), labels);
        assert_eq!(without(&["a", "b", "c"]), Labels::empty());
    }

    #[test]
    fn one_label_is_set_among_others() {
        let labels = Labels::from_pairs([("b", "2"), ("d", "4")]);
        for (name, value) in [
            ("a", "1"),
            ("b", "3"),
            ("c", "3"),
            ("d", "1"),
            ("e", "5"),
            ("b", ""),
            ("c", ""),
        ] {
            let built = labels.to_builder().set(name, value).build();
            assert_eq!(labels.with(name, value), built);
        }
    }

    #[test]
    fn builder_edits_in_place() {
        let mut builder = Labels::from_pairs([("a", "1"), ("b", "2")]).to_builder();
        builder
            .set("a", "")
            .set("c", "3")
            .set("b", "4")
            .remove("missing");
        assert_eq!(
            builder.build(),
            Labels::from_pairs([("b", "4"), ("c", "3")])
        );
    }
}
