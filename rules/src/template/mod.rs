//! Templates of labels and annotations: an engine of our own for Go's `text/template` with
//! Prometheus's functions.
//!
//! **What it is not.** It runs no query itself and knows no clock: both come with the data. It does
//! not escape for HTML on its own.
//!
//! **What always holds.** Whatever this engine has not built is refused when a template is parsed;
//! a parsed template can be expanded any number of times, from any thread. Expansion ends: the
//! output, the steps and the depth are bounded.
//!
//! Source: the documentation of Go's `text/template` and of Prometheus's templates; every answer
//! and message in `tests/corpus/templates.txt` was printed by `promtool`.

mod error;
mod function;
mod lexer;
mod node;
mod number;
mod parser;
mod quote;

pub use error::TemplateError;

/// What Prometheus puts in front of every template.
const DECLARATIONS: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}";

/// The line and column of a byte of `text`, both from 1. The column leaves out the first `hidden`
/// bytes of the text.
fn place(text: &str, position: usize, hidden: usize) -> (usize, usize) {
    let before = text.get(..position).unwrap_or(text);
    let line = 1 + before.matches('\n').count();
    let column = match before.rfind('\n') {
        Some(newline) => position - newline,
        None => position.saturating_sub(hidden) + 1,
    };
    (line, column)
}

/// A parsed and checked template. Cheap to expand many times.
#[derive(Debug)]
pub struct Template {
    name: String,
    /// The text with the declarations in front, in which positions are counted.
    text: String,
    trees: parser::Trees,
}

impl Template {
    /// Parses `text`, the text of a label or annotation, under a name, which is `__alert_` and the
    /// name of the alert.
    ///
    /// # Errors
    /// [`TemplateError`] in Prometheus's words, or naming what is not built here.
    pub fn parse(name: &str, text: &str) -> Result<Self, TemplateError> {
        let text = format!("{DECLARATIONS}{text}");
        let trees = parser::parse(name, &text, DECLARATIONS.len())?;
        Ok(Self {
            name: name.to_owned(),
            text,
            trees,
        })
    }
}
