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

mod builtin;
mod error;
mod evaluate;
mod float;
mod format;
mod function;
mod lexer;
mod method;
mod node;
mod number;
mod parser;
mod quote;
mod text;
mod time;
mod value;

#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};

use narthex_query::{SampleValue, VectorSample};
use narthex_storage::{Labels, Timestamp};

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

    /// The text that the template makes of `data`.
    ///
    /// # Errors
    /// [`TemplateError`] in Prometheus's words when an action fails, when the query panics (or this
    /// engine, which it must not), and when a limit is reached:
    /// 1 MiB of output, 1,000,000 steps, 16 MiB of text read and made by functions, 250 levels of
    /// blocks and templates within one another, 32 of `args`, 64 MiB looked through by patterns.
    pub fn expand(&self, data: &TemplateData<'_>) -> Result<String, TemplateError> {
        // Nothing is shared with the expansion but what the caller lends, which it only reads.
        let expanded = catch_unwind(AssertUnwindSafe(|| evaluate::expand(self, data)));
        expanded.unwrap_or_else(|panic| {
            let message = (panic.downcast_ref::<&str>().copied())
                .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("unknown");
            Err(TemplateError::new(
                format!("panic expanding template {}: {message}", self.name),
                1,
                1,
            ))
        })
    }
}

/// Runs an instant query: of an expression at a time, to a vector or the text of an error.
pub type QueryFunction<'a> = dyn Fn(&str, Timestamp) -> Result<Vec<VectorSample>, String> + 'a;

/// What a template is expanded with.
pub struct TemplateData<'a> {
    /// The labels of the alert's sample: `.Labels` and `$labels`.
    pub labels: &'a Labels,
    /// Its value: `.Value` and `$value`, a native histogram as its text.
    pub value: SampleValue,
    /// The server's own labels: `.ExternalLabels` and `$externalLabels`.
    pub external_labels: &'a Labels,
    /// Where the server is reached from outside; its path is what `pathPrefix` answers.
    pub external_url: &'a str,
    /// The time of the evaluation: what `now` answers, and the time of queries.
    pub time: Timestamp,
    /// Runs an instant query for the function `query`. Its errors are told in the template's. It is
    /// called up to 1,000 times and bounds its own time.
    pub query: &'a QueryFunction<'a>,
}

impl std::fmt::Debug for TemplateData<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("TemplateData")
            .field("labels", self.labels)
            .field("value", &self.value)
            .field("external_labels", self.external_labels)
            .field("external_url", &self.external_url)
            .field("time", &self.time)
            .finish_non_exhaustive()
    }
}
