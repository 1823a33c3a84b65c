//! Warnings and infos: what is to be said about an answer, each text once a query.
//!
//! **Source**: texts and limits as observed in Prometheus 3.5.3; equal texts at several places of a
//! query are said once, with the last place. What repaired histograms have in common is said since 3.10.

mod remark;

use std::collections::HashMap;

pub(crate) use remark::{ForMetric, Operation, Remark, Said};

use narthex_storage::Timestamp;

use crate::{
    FloatStyle,
    format::{format_float, format_two_digits},
    functions::rfc3339,
    parser::{Span, line_and_column},
};

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
    list: Vec<Note>,
    by_text: HashMap<String, usize>,
}

#[derive(Debug)]
struct Note {
    text: String,
    span: Span,
    repairs: Option<Repairs>,
}

/// What was repaired in classic histograms whose counts fall from one bucket to the next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Repairs {
    /// Upper bounds of the first and of the last bucket whose count was raised.
    pub(crate) bounds: (f64, f64),
    /// By how much a count was raised at most.
    pub(crate) greatest_rise: f64,
    /// The earliest and the latest time of a repaired histogram.
    pub(crate) times: (Timestamp, Timestamp),
    /// How many histograms were repaired, counting each time of each.
    pub(crate) histograms: u64,
}

impl Repairs {
    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            bounds: (
                self.bounds.0.min(other.bounds.0),
                self.bounds.1.max(other.bounds.1),
            ),
            greatest_rise: self.greatest_rise.max(other.greatest_rise),
            times: (
                self.times.0.min(other.times.0),
                self.times.1.max(other.times.1),
            ),
            histograms: self.histograms + other.histograms,
        }
    }

    /// What follows the text of the info.
    fn print(&self) -> String {
        format!(
            ", from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
            format_float(self.bounds.0, FloatStyle::General),
            format_float(self.bounds.1, FloatStyle::General),
            format_two_digits(self.greatest_rise),
            self.histograms,
            rfc3339(self.times.0 / 1000),
            rfc3339(self.times.1 / 1000),
        )
    }
}

impl Annotations {
    /// Adds a warning about the part of the query at `span`.
    pub(crate) fn warn(&mut self, text: String, span: Span) {
        self.warnings.add(text, span, None);
    }

    /// Adds an info about the part of the query at `span`.
    pub(crate) fn inform(&mut self, text: String, span: Span) {
        self.infos.add(text, span, None);
    }

    /// Adds what is to be said about native histograms.
    pub(crate) fn say(&mut self, said: Said, span: Span) {
        if said.is_warning {
            self.warn(said.text, span);
        } else {
            self.inform(said.text, span);
        }
    }

    /// Adds an info about repaired histograms; those with the same text are told together.
    pub(crate) fn inform_of_repairs(&mut self, text: String, span: Span, repairs: Repairs) {
        self.infos.add(text, span, Some(repairs));
    }

    /// Whether there is nothing to be said.
    pub(crate) fn is_empty(&self) -> bool {
        self.warnings.list.is_empty() && self.infos.list.is_empty()
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
    fn add(&mut self, text: String, span: Span, repairs: Option<Repairs>) {
        if let Some(index) = self.by_text.get(&text) {
            let note = &mut self.list[*index];
            note.span = span;
            note.repairs = match (note.repairs, repairs) {
                (Some(known), Some(new)) => Some(known.and(new)),
                (known, new) => known.or(new),
            };
        } else if self.list.len() < KEPT_MAX {
            self.by_text.insert(text.clone(), self.list.len());
            self.list.push(Note {
                text,
                span,
                repairs,
            });
        }
    }
}

fn print(list: &[Note], kind: &str, query: &str) -> Vec<String> {
    let mut lines: Vec<String> = list
        .iter()
        .take(SHOWN_MAX)
        .map(|note| {
            let (line, column) = line_and_column(query, note.span.start);
            let repairs = note.repairs.as_ref().map(Repairs::print);
            format!(
                "PromQL {kind}: {}{} ({line}:{column})",
                note.text,
                repairs.unwrap_or_default()
            )
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
