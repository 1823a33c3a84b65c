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
    /// The live series that pass every matcher.
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
        let mut found = self.live.clone();
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

    /// The label names of the live series that pass every matcher, ascending.
    pub(crate) fn label_names(&self, matchers: &[Matcher], limit: Option<usize>) -> Vec<String> {
        let found = self.matching(matchers);
        self.names
            .iter()
            .filter(|(_, values)| values.values().any(|postings| postings.intersect(&found)))
            .map(|(name, _)| name.to_string())
            .take(limit.unwrap_or(usize::MAX))
            .collect()
    }

    /// The values of `name` among the live series that pass every matcher, ascending.
    pub(crate) fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: Option<usize>,
    ) -> Vec<String> {
        let Some(values) = self.names.get(name) else {
            return Vec::new();
        };
        let found = self.matching(matchers);
        values
            .iter()
            .filter(|(_, postings)| postings.intersect(&found))
            .map(|(value, _)| value.to_string())
            .take(limit.unwrap_or(usize::MAX))
            .collect()
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
