//! What is wrong with a configuration: Prometheus's sentence, then file, line and column with the
//! line itself.
//!
//! Lines that may hold a secret are shown up to the value only.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use narthex_yaml::{Issue, Position, Problem, SyntaxError, unmarshal_errors};

/// How many places one error shows.
const PLACES_MAX: usize = 8;

/// A configuration that cannot be used. Its first line is Prometheus's message; the lines below it
/// say where and show the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    message: String,
    places: Vec<Place>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    file: PathBuf,
    position: Position,
    line: String,
}

impl ConfigError {
    /// An error without a place.
    pub(super) fn plain(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            places: Vec::new(),
        }
    }

    /// The text is not YAML.
    pub(super) fn syntax(file: &Path, source: &str, error: SyntaxError) -> Self {
        let places = error.position.map(|at| Place::new(file, source, at, true));
        Self {
            message: error.message,
            places: places.into_iter().collect(),
        }
    }

    /// Some values and keys are wrong.
    pub(super) fn issues(file: &Path, source: &str, issues: &[Issue]) -> Self {
        let places = issues
            .iter()
            .take(PLACES_MAX)
            .map(|issue| Place::new(file, source, issue.position, issue.on_key));
        Self {
            message: unmarshal_errors(issues),
            places: places.collect(),
        }
    }

    /// A value or a section is wrong.
    pub(super) fn problem(file: &Path, source: &str, problem: Problem) -> Self {
        Self {
            places: vec![Place::new(file, source, problem.position, problem.on_key)],
            message: problem.message,
        }
    }

    /// The same error with words in front of its message.
    pub(super) fn within(mut self, prefix: &str) -> Self {
        self.message = format!("{prefix}: {}", self.message);
        self
    }

    /// Prometheus's message alone, which may have several lines, without the places.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl Place {
    fn new(file: &Path, source: &str, position: Position, on_key: bool) -> Self {
        let line = source.lines().nth(position.line.saturating_sub(1));
        Self {
            file: file.to_owned(),
            position,
            line: shown(line.unwrap_or_default(), on_key),
        }
    }
}

/// The line as far as it may be shown: keys in doubt and keys of secrets hide their values.
fn shown(line: &str, on_key: bool) -> String {
    const SECRETS: [&str; 6] = ["pass", "secret", "token", "credential", "key", "url"];
    let lower = line.to_lowercase();
    if !on_key && !SECRETS.iter().any(|word| lower.contains(word)) {
        return line.to_owned();
    }
    match line.split_once(": ") {
        Some((key, _)) => format!("{key}: …"),
        None => line.to_owned(),
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)?;
        for place in &self.places {
            let Position { line, column } = place.position;
            let gutter = " ".repeat(line.to_string().len());
            write!(
                formatter,
                "\n{gutter} --> {}:{line}:{column}\n{gutter} |\n{line} | {}",
                place.file.display(),
                place.line
            )?;
            if column <= place.line.chars().count() {
                let indent = " ".repeat(column.saturating_sub(1));
                write!(formatter, "\n{gutter} | {indent}^")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
