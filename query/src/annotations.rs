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

/// What a note takes beside its text, which is kept twice, in bytes.
const NOTE_BYTES: u64 = 128;

/// Collects what is to be said about an answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Annotations {
    warnings: Notes,
    infos: Notes,
}

/// Distinct texts with their places, in the order of their first coming.
#[derive(Debug, Clone, Default)]
struct Notes {
    list: Vec<Note>,
    by_text: HashMap<String, usize>,
}

#[derive(Debug, Clone)]
struct Note {
    text: String,
    span: Span,
    /// Whether it was said at another place before.
    was_elsewhere: bool,
    repairs: Option<Repairs>,
}

impl Note {
    fn add_repairs(&mut self, new: Option<Repairs>) {
        self.repairs = match (self.repairs, new) {
            (Some(known), Some(new)) => Some(known.and(new)),
            (known, new) => known.or(new),
        };
    }
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

    /// What the texts take in memory, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let notes = self.warnings.list.iter().chain(&self.infos.list);
        notes
            .map(|note| 2 * note.text.len() as u64 + NOTE_BYTES)
            .sum()
    }

    /// Whether the same can be said of other steps: nothing tells of how often or when.
    pub(crate) fn are_of_any_steps(&self) -> bool {
        let kinds = [&self.warnings, &self.infos].into_iter();
        { kinds }.all(|notes| {
            let mut list = notes.list.iter();
            notes.has_fixed_order() && list.all(|note| note.repairs.is_none())
        })
    }

    /// Whether both say the same in the same words, places and order.
    pub(crate) fn says_the_same_as(&self, other: &Self) -> bool {
        let same = |one: &Notes, other: &Notes| {
            let say = |note: &Note| (note.text.clone(), note.span);
            one.list.iter().map(say).eq(other.list.iter().map(say))
        };
        same(&self.warnings, &other.warnings) && same(&self.infos, &other.infos)
    }

    /// What is said of a query of which these two are said of parts of the steps; `None` when that cannot be told.
    ///
    /// Whatever is said is said because of a step, or because of a series at some step: so the whole says what its
    /// parts say. In which order is known when the places where things are said tell it, and one part has all of
    /// them.
    pub(crate) fn joined(&self, other: &Self) -> Option<Self> {
        Some(Self {
            warnings: self.warnings.joined(&other.warnings)?,
            infos: self.infos.joined(&other.infos)?,
        })
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
            note.was_elsewhere |= note.span != span;
            note.span = span;
            note.add_repairs(repairs);
        } else if self.list.len() < KEPT_MAX {
            self.by_text.insert(text.clone(), self.list.len());
            self.list.push(Note {
                text,
                span,
                was_elsewhere: false,
                repairs,
            });
        }
    }

    /// Whether each place says one thing and each thing is said at one place: then the order of coming is that in
    /// which the places are evaluated.
    fn has_fixed_order(&self) -> bool {
        let mut places: Vec<(u32, u32)> = Vec::with_capacity(self.list.len());
        places.extend(
            self.list
                .iter()
                .map(|note| (note.span.start, note.span.end)),
        );
        places.sort_unstable();
        let is_told_apart = places.windows(2).all(|pair| pair[0] != pair[1]);
        is_told_apart && !self.list.iter().any(|note| note.was_elsewhere)
    }

    /// See [`Annotations::joined`].
    fn joined(&self, other: &Self) -> Option<Self> {
        let (all, some) = if self.list.len() >= other.list.len() {
            (self, other)
        } else {
            (other, self)
        };
        let mut joined = all.clone();
        if some.list.is_empty() {
            return Some(joined);
        }
        for note in &some.list {
            let known = &mut joined.list[*all.by_text.get(&note.text)?];
            if known.span != note.span {
                return None;
            }
            known.was_elsewhere |= note.was_elsewhere;
            known.add_repairs(note.repairs);
        }
        joined.has_fixed_order().then_some(joined)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Infos, each said at the place of this number.
    fn infos(said: &[(&str, u32)]) -> Annotations {
        let mut notes = Annotations::default();
        for (text, start) in said {
            let end = start + 1;
            notes.inform((*text).to_owned(), Span { start: *start, end });
        }
        notes
    }

    #[test]
    fn parts_tell_what_the_whole_says_when_its_order_is_known() {
        let joined = |one: &[(&str, u32)], other: &[(&str, u32)]| {
            let both = [
                infos(one).joined(&infos(other)),
                infos(other).joined(&infos(one)),
            ];
            let [this, that] = both.map(|notes| Some(notes?.print("0123456789")));
            assert_eq!(this, that);
            this.map(|(warnings, infos)| {
                assert!(warnings.is_empty());
                infos
            })
        };
        let (a, b) = (
            "PromQL info: a (1:2)".to_owned(),
            "PromQL info: b (1:3)".to_owned(),
        );
        assert_eq!(joined(&[], &[]), Some(vec![]));
        assert_eq!(
            joined(&[("a", 1), ("b", 2)], &[("b", 2)]),
            Some(vec![a.clone(), b.clone()])
        );
        assert_eq!(
            joined(&[("a", 1), ("b", 2)], &[("a", 1), ("b", 2)]),
            Some(vec![a.clone(), b])
        );
        // None of the two has both.
        assert_eq!(joined(&[("a", 1)], &[("b", 2)]), None);
        // Of several things that are said at a place the first is the one that comes first there.
        assert_eq!(joined(&[("a", 1), ("b", 1)], &[("b", 1), ("a", 1)]), None);
        assert_eq!(
            joined(&[("b", 1), ("a", 1)], &[]).map(|infos| infos.len()),
            Some(2)
        );
        // What is said at several places comes where it was said first.
        assert_eq!(joined(&[("a", 2), ("b", 3)], &[("b", 1), ("b", 3)]), None);
        assert_eq!(joined(&[("a", 1)], &[("a", 3)]), None);
        let warnings = |text: &str| {
            let mut notes = Annotations::default();
            notes.warn(text.to_owned(), Span::default());
            notes
        };
        assert!(warnings("a").joined(&warnings("b")).is_none());
        let both = warnings("a").joined(&infos(&[("a", 1)])).unwrap();
        assert_eq!(
            both.print("01"),
            (vec!["PromQL warning: a (1:1)".to_owned()], vec![a])
        );
    }

    #[test]
    fn repairs_of_parts_are_told_together() {
        let repaired = |bound: f64, greatest_rise: f64, second: i64| {
            let mut notes = Annotations::default();
            let repairs = Repairs {
                bounds: (bound, bound),
                greatest_rise,
                times: (second * 1_000, second * 1_000),
                histograms: 1,
            };
            notes.inform_of_repairs("fixed".to_owned(), Span::default(), repairs);
            notes
        };
        let joined = repaired(2.0, 3.0, 0)
            .joined(&repaired(1.0, 4.0, 60))
            .unwrap();
        let joined = joined.joined(&Annotations::default()).unwrap();
        assert_eq!(
            joined.print("").1,
            [
                "PromQL info: fixed, from buckets 1 to 2, with a max diff of 4, over 2 samples from \
              1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z (1:1)"
            ]
        );
    }
}
