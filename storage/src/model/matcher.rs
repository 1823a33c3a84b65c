//! One label test: `=`, `!=`, `=~`, `!~`.

use std::fmt;

use super::{Labels, Regex, RegexError};

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, anchored on both ends
    Regex,
    /// `!~`, anchored on both ends
    NotRegex,
}

impl MatchOp {
    /// The operator as PromQL writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// A test of one label. A label that a series lacks counts as the empty string.
#[derive(Debug, Clone)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    regex: Option<Regex>,
}

impl Matcher {
    /// Builds a matcher; a regular expression is compiled here.
    ///
    /// # Errors
    /// [`RegexError`] when `op` is a regular expression and `value` is not valid RE2 syntax.
    pub fn new(
        name: impl Into<String>,
        op: MatchOp,
        value: impl Into<String>,
    ) -> Result<Self, RegexError> {
        let value = value.into();
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(Regex::new(&value)?),
        };
        Ok(Self {
            name: name.into(),
            op,
            value,
            regex,
        })
    }

    /// An equality matcher.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            op: MatchOp::Equal,
            value: value.into(),
            regex: None,
        }
    }

    /// The label that is tested.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The comparison.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// The value or pattern, as written.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether `value` passes.
    pub fn matches(&self, value: &str) -> bool {
        match (&self.regex, self.op) {
            (None, MatchOp::Equal) => self.value == value,
            (None, _) => self.value != value,
            (Some(regex), MatchOp::Regex) => regex.is_match(value),
            (Some(regex), _) => !regex.is_match(value),
        }
    }

    /// Whether the set passes; an absent label counts as empty.
    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.matches(labels.get(&self.name).unwrap_or_default())
    }

    /// The finite list of values that a *positive* matcher (`=`, or `=~` over plain alternatives)
    /// accepts, if it is one; an index can look these up instead of testing every value.
    pub fn literal_values(&self) -> Option<Vec<&str>> {
        match (self.op, &self.regex) {
            (MatchOp::Equal, _) => Some(vec![&self.value]),
            (MatchOp::Regex, Some(regex)) => regex.literals(),
            _ => None,
        }
    }

    /// The finite list of values that a positive matcher accepts, or that a negative one refuses,
    /// if there is one.
    pub(crate) fn literals(&self) -> Option<Vec<&str>> {
        match &self.regex {
            None => Some(vec![&self.value]),
            Some(regex) => regex.literals(),
        }
    }

    /// What every text that the pattern of a regular expression matches begins with, perhaps empty.
    pub(crate) fn prefix(&self) -> &str {
        self.regex.as_ref().map_or("", Regex::prefix)
    }
}

/// Equality of what was written: name, operator and value.
impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

impl fmt::Display for Matcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}{}{:?}",
            self.name,
            self.op.as_str(),
            self.value
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absent_label_counts_as_empty() {
        let labels = Labels::from_pairs([("a", "1")]);
        let matches = |op, value| {
            Matcher::new("b", op, value)
                .unwrap()
                .matches_labels(&labels)
        };
        assert!(matches(MatchOp::Equal, ""));
        assert!(matches(MatchOp::NotEqual, "x"));
        assert!(matches(MatchOp::Regex, ".*"));
        assert!(!matches(MatchOp::Regex, ".+"));
        assert!(matches(MatchOp::NotRegex, ".+"));
    }
}
