//! Regular expressions with RE2's syntax and Prometheus's anchoring: `^(?s:…)$`.

use std::{collections::HashSet, fmt, sync::Arc};

use regex_automata::meta;

/// A fully anchored regular expression in which a dot matches newlines. Cloning is cheap.
#[derive(Clone)]
pub struct Regex {
    pattern: Arc<str>,
    engine: Engine,
}

#[derive(Clone)]
enum Engine {
    Literals(Arc<HashSet<String, foldhash::fast::RandomState>>),
    Automaton(Arc<meta::Regex>),
}

/// A pattern that is not valid RE2 syntax, or too large.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {message}")]
pub struct RegexError {
    /// What is wrong, in Go's words where they are known.
    pub message: String,
}

impl Regex {
    /// Compiles `pattern`.
    ///
    /// # Errors
    /// [`RegexError`] when the pattern is not valid RE2 syntax or compiles to something too large.
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        let _ = pattern;
        Err(RegexError {
            message: "placeholder until the regex module lands".to_owned(),
        })
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    /// Whether the whole of `text` matches.
    pub fn is_match(&self, text: &str) -> bool {
        match &self.engine {
            Engine::Literals(values) => values.contains(text),
            Engine::Automaton(regex) => regex.is_match(text),
        }
    }

    /// The finite list of texts that match, if the pattern is plain alternatives.
    pub fn literals(&self) -> Option<Vec<&str>> {
        match &self.engine {
            Engine::Literals(values) => Some(values.iter().map(String::as_str).collect()),
            Engine::Automaton(_) => None,
        }
    }
}

impl fmt::Debug for Regex {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Regex({:?})", self.pattern)
    }
}
