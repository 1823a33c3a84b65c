//! Warnings and infos: what is to be said about an answer, each text once a query.
//!
//! **Source**: texts and limits as observed in Prometheus 3.5.3; equal texts at several places of a
//! query are said once, with the last place.

use std::collections::HashMap;

use crate::parser::{Span, line_and_column};

/// How many of each kind an answer carries; a line counts the rest.
const SHOWN_MAX: usize = 10;

/// How many of each kind are kept at all.
const KEPT_MAX: usize = 10_000;

/// Collects what is to be said about an answer.
#[derive(Debug, Default)]
pub(crate) struct Annotations {
    warnings: Notes,
    infos: Notes,
}

/// Distinct texts with their places, in the order of their first coming.
#[derive(Debug, Default)]
struct Notes {
    list: Vec<(String, Span)>,
    by_text: HashMap<String, usize>,
}

impl Annotations {
    /// Adds a warning about the part of the query at `span`.
    pub(crate) fn warn(&mut self, text: String, span: Span) {
        self.warnings.add(text, span);
    }

    /// Adds an info about the part of the query at `span`.
    pub(crate) fn inform(&mut self, text: String, span: Span) {
        self.infos.add(text, span);
    }

    /// The warnings and the infos as they are printed.
    pub(crate) fn print(&self, query: &str) -> (Vec<String>, Vec<String>) {
        (
            print(&self.warnings.list, "warning", query),
            print(&self.infos.list, "info", query),
        )
    }
}

impl Notes {
    fn add(&mut self, text: String, span: Span) {
        if let Some(index) = self.by_text.get(&text) {
            self.list[*index].1 = span;
        } else if self.list.len() < KEPT_MAX {
            self.by_text.insert(text.clone(), self.list.len());
            self.list.push((text, span));
        }
    }
}

fn print(list: &[(String, Span)], kind: &str, query: &str) -> Vec<String> {
    let mut lines: Vec<String> = list
        .iter()
        .take(SHOWN_MAX)
        .map(|(text, span)| {
            let (line, column) = line_and_column(query, span.start);
            format!("PromQL {kind}: {text} ({line}:{column})")
        })
        .collect();
    if list.len() > SHOWN_MAX {
        lines.push(format!(
            "{} more {kind} annotations omitted",
            list.len() - SHOWN_MAX
        ));
    }
    lines
}
