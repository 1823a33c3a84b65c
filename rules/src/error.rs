//! What is wrong with a rule file: Prometheus's sentences, each with file, line and column and the
//! line itself.

use std::fmt::{self, Write as _};

use narthex_yaml::Position;

use crate::decode::Problem;

/// How many places of one message are shown.
const PLACES_MAX: usize = 8;
/// How many errors of a file are kept.
const ERRORS_MAX: usize = 1_000;

/// One message with its places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFileError {
    message: String,
    places: Vec<Place>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    file: String,
    position: Position,
    line: String,
}

impl RuleFileError {
    /// Prometheus's message, which begins with the file; may have several lines.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// The message, and below it each place as `--> file:line:column` with its line.
impl fmt::Display for RuleFileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)?;
        for place in &self.places {
            let Position { line, column } = place.position;
            let gutter = " ".repeat(line.to_string().len());
            write!(
                formatter,
                "\n{gutter} --> {}:{line}:{column}\n{gutter} |\n{line} | {}\n{gutter} | {}^",
                place.file,
                place.line,
                " ".repeat(column.saturating_sub(1))
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for RuleFileError {}

/// Everything that is wrong with a rule file, at least one error, in the file's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleFileErrors {
    file: String,
    lines: Vec<String>,
    errors: Vec<RuleFileError>,
}

/// Something wrong with a rule or group whose YAML is right.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Prometheus's message without the file.
    pub(crate) message: String,
    /// Where.
    pub(crate) position: Position,
}

impl RuleFileErrors {
    /// No errors yet in this file.
    pub(crate) fn new(file: &str, bytes: &[u8]) -> Self {
        Self {
            file: file.to_owned(),
            lines: String::from_utf8_lossy(bytes)
                .lines()
                .map(str::to_owned)
                .collect(),
            errors: Vec::new(),
        }
    }

    fn place(&self, position: Position) -> Place {
        let line = self.lines.get(position.line.saturating_sub(1));
        Place {
            file: self.file.clone(),
            position,
            line: line.cloned().unwrap_or_default(),
        }
    }

    fn finish(mut self) -> Self {
        self.lines = Vec::new();
        self
    }

    /// One error.
    pub(crate) fn with_plain(mut self, message: &str, position: Option<Position>) -> Self {
        self.errors.push(RuleFileError {
            message: format!("{}: {message}", self.file),
            places: position.map(|at| self.place(at)).into_iter().collect(),
        });
        self.finish()
    }

    /// One error that lists values and keys.
    pub(crate) fn with_unmarshal_errors(mut self, problems: &[Problem]) -> Self {
        let mut message = format!("{}: yaml: unmarshal errors:", self.file);
        for problem in problems {
            write!(
                message,
                "\n  line {}: {}",
                problem.position.line, problem.text
            )
            .expect("writing to a string does not fail");
        }
        let places = problems.iter().take(PLACES_MAX);
        let places = places.map(|problem| self.place(problem.position)).collect();
        self.errors.push(RuleFileError { message, places });
        self.finish()
    }

    /// An error a fault.
    pub(crate) fn with_faults(mut self, faults: Vec<Fault>) -> Self {
        for fault in faults.into_iter().take(ERRORS_MAX) {
            self.errors.push(RuleFileError {
                message: format!("{}: {}", self.file, fault.message),
                places: vec![self.place(fault.position)],
            });
        }
        self.finish()
    }

    /// The file's path.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The errors.
    pub fn errors(&self) -> &[RuleFileError] {
        &self.errors
    }
}

impl fmt::Display for RuleFileErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                formatter.write_char('\n')?;
            }
            error.fmt(formatter)?;
        }
        Ok(())
    }
}

impl std::error::Error for RuleFileErrors {}
