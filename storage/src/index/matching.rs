//! Matchers to bitmaps, and the label APIs.
//!
//! Positive matchers intersect, starting from the fewest series; a matcher that also accepts the
//! empty string (an absent label) subtracts the values it refuses instead. A literal set is looked
//! up value by value, so an alternation of thousands of values costs thousands of lookups and no
//! automaton.

use croaring::Bitmap;

use super::Index;
use crate::{MatchOp, Matcher};

impl Index {
    /// The series that pass every matcher.
    pub(super) fn matching(&self, matchers: &[Matcher]) -> Bitmap {
        let mut positive = Vec::new();
        let mut refused = Vec::new();
        for matcher in matchers {
            if accepts_everything(matcher) {
                continue;
            }
            if matcher.matches("") {
                refused.push(self.postings_of(matcher.name(), |value| !matcher.matches(value)));
            } else if let Some(values) = matcher.literal_values() {
                positive.push(self.postings_of_literals(matcher.name(), &values));
            } else if accepts_everything_but_empty(matcher) {
                positive.push(self.postings_of(matcher.name(), |_| true));
            } else {
                positive.push(self.postings_of(matcher.name(), |value| matcher.matches(value)));
            }
        }
        positive.sort_by_key(Bitmap::cardinality);
        let mut found = self.all.clone();
        for postings in positive {
            found.and_inplace(&postings);
            if found.is_empty() {
                return found;
            }
        }
        for postings in refused {
            found.andnot_inplace(&postings);
        }
        found
    }

    /// The series that have `name` with a value for which `accept` answers true.
    fn postings_of(&self, name: &str, accept: impl Fn(&str) -> bool) -> Bitmap {
        let Some(values) = self.names.get(name) else {
            return Bitmap::new();
        };
        let accepted: Vec<&Bitmap> = values
            .iter()
            .filter(|(value, _)| accept(value))
            .map(|(_, postings)| postings)
            .collect();
        Bitmap::fast_or(&accepted)
    }

    fn postings_of_literals(&self, name: &str, literals: &[&str]) -> Bitmap {
        let Some(values) = self.names.get(name) else {
            return Bitmap::new();
        };
        let accepted: Vec<&Bitmap> = literals
            .iter()
            .filter_map(|literal| values.get(*literal))
            .collect();
        Bitmap::fast_or(&accepted)
    }

    /// The label names, ascending, of the series that pass every matcher and for which
    /// `counts` answers true. It is asked once a series at most, and only until a name is settled.
    pub(crate) fn label_names(
        &self,
        matchers: &[Matcher],
        limit: Option<usize>,
        counts: impl FnMut(u32) -> bool,
    ) -> Vec<String> {
        let mut found = Found::new(self, matchers, counts);
        self.names
            .iter()
            .filter(|(_, values)| {
                let known = values.values().any(|postings| found.is_known(postings));
                known || values.values().any(|postings| found.has_any(postings))
            })
            .map(|(name, _)| name.to_string())
            .take(limit.unwrap_or(usize::MAX))
            .collect()
    }

    /// The values of `name`, ascending, among the series that pass every matcher and for which
    /// `counts` answers true; asked as by [`Index::label_names`].
    pub(crate) fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: Option<usize>,
        counts: impl FnMut(u32) -> bool,
    ) -> Vec<String> {
        let Some(values) = self.names.get(name) else {
            return Vec::new();
        };
        let mut found = Found::new(self, matchers, counts);
        values
            .iter()
            .filter(|(_, postings)| found.has_any(postings))
            .map(|(value, _)| value.to_string())
            .take(limit.unwrap_or(usize::MAX))
            .collect()
    }
}

/// The series that pass the matchers, and what is known of whether they count.
struct Found<'a, F> {
    index: &'a Index,
    counts: F,
    /// Those that count, or were not asked about yet.
    candidates: Bitmap,
    /// Those that count.
    known: Bitmap,
}

impl<'a, F: FnMut(u32) -> bool> Found<'a, F> {
    fn new(index: &'a Index, matchers: &[Matcher], counts: F) -> Self {
        Self {
            index,
            counts,
            candidates: index.matching(matchers),
            known: Bitmap::new(),
        }
    }

    /// Whether a series of `postings` is known to count.
    fn is_known(&self, postings: &Bitmap) -> bool {
        postings.intersect(&self.known)
    }

    /// Whether any series of `postings` counts.
    fn has_any(&mut self, postings: &Bitmap) -> bool {
        if self.is_known(postings) {
            return true;
        }
        for id in postings.and(&self.candidates).iter() {
            if (self.counts)(id) {
                self.known.add(id);
                return true;
            }
            self.candidates.remove(id);
        }
        false
    }
}

/// `=~".*"`: passes for every series, also those without the label.
fn accepts_everything(matcher: &Matcher) -> bool {
    matcher.op() == MatchOp::Regex && matcher.value() == ".*"
}

/// `!=""` and `=~".+"`: every series that has the label.
fn accepts_everything_but_empty(matcher: &Matcher) -> bool {
    match matcher.op() {
        MatchOp::NotEqual => matcher.value().is_empty(),
        MatchOp::Regex => matcher.value() == ".+",
        MatchOp::Equal | MatchOp::NotRegex => false,
    }
}
