//! The text formats in which targets expose their metrics.
//!
//! **What it is.** Two parsers over a borrowed body, one entry at a time: Prometheus's text format
//! (0.0.4 and 1.0.0, with quoted UTF-8 names) and OpenMetrics text (0.0.1 and 1.0.0).
//!
//! **What it is not.** It attaches no target labels, keeps no state between bodies and decides
//! nothing about time.
//!
//! **What always holds.** Any bytes end in entries or one [`ParseError`], never a panic. Every entry
//! consumes at least one byte. A series' text is what identifies it within a target: from the first
//! byte of its name or brace to the last of its labels, as sent.
//!
//! Source: what the released Prometheus accepts and refuses, and the texts it refuses with
//! (`corpus.json` beside this file holds its answers).

mod cursor;
mod number;
mod openmetrics;
mod text;

pub(crate) use number::parse_float;

use narthex_storage::{Labels, METRIC_NAME, MetricType};

use cursor::{Cursor, go_quote};

/// The labels that tell what a sample's metric is, and in what.
const TYPE: &str = "__type__";
const UNIT: &str = "__unit__";

/// Which of the two formats a body is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's text format.
    Text,
    /// OpenMetrics text.
    OpenMetrics,
}

/// Why a body is refused; the text is Prometheus's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(String);

/// One line of an exposition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Entry<'a> {
    /// A sample; its labels are read with [`Parser::labels`] before the next entry.
    Sample {
        /// The series' text.
        series: &'a [u8],
        /// The value; every NaN has the same bits.
        value: f64,
        /// The explicit timestamp, milliseconds since the Unix epoch.
        time: Option<i64>,
    },
    /// `# TYPE`.
    Type {
        /// The family's name, escapes not resolved.
        name: &'a [u8],
        /// What it is.
        kind: MetricType,
    },
    /// `# HELP`.
    Help {
        /// The family's name, escapes not resolved.
        name: &'a [u8],
        /// The text, escapes not resolved.
        text: &'a str,
    },
    /// `# UNIT`, OpenMetrics only.
    Unit {
        /// The family's name, escapes not resolved.
        name: &'a [u8],
        /// The unit.
        text: &'a [u8],
    },
    /// Any other line that starts with `#`.
    Comment,
}

/// The exemplar behind a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct ExposedExemplar {
    /// Its labels as sent, escapes not resolved, as in Prometheus.
    pub labels: Labels,
    /// The value; every NaN has the same bits.
    pub value: f64,
    /// The timestamp, milliseconds since the Unix epoch.
    pub time: Option<i64>,
}

/// Reads one body entry by entry.
#[derive(Debug)]
pub struct Parser<'a> {
    cursor: Cursor<'a>,
    format: Format,
    /// What the last `# UNIT` line named.
    unit: &'a [u8],
    adds_metadata_labels: bool,
}

impl<'a> Parser<'a> {
    /// A parser at the start of `body`.
    pub fn new(body: &'a [u8], format: Format) -> Self {
        Self {
            cursor: Cursor::new(body, format == Format::Text),
            format,
            unit: b"",
            adds_metadata_labels: false,
        }
    }

    /// Whether [`Parser::labels`] has `__type__` and `__unit__` as the last `# TYPE` and the last `# UNIT` line
    /// named them, in place of the sample's own. An unknown type and an empty unit are no labels.
    ///
    /// Those lines must not be passed over with [`Parser::seek`] then.
    ///
    /// Source: the released Prometheus with `--enable-feature=type-and-unit-labels`, which does not look whose
    /// lines they are.
    pub(crate) fn add_metadata_labels(&mut self, adds: bool) {
        self.adds_metadata_labels = adds;
    }

    /// The next entry, `None` at the end of the body.
    ///
    /// # Errors
    /// The body is malformed from here on.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        let entry = match self.format {
            Format::Text => text::next_entry(&mut self.cursor),
            Format::OpenMetrics => openmetrics::next_entry(&mut self.cursor),
        };
        if let Ok(Some(Entry::Unit { text, .. })) = entry {
            self.unit = text;
        }
        entry
    }

    /// Where the next entry begins, in bytes.
    pub(crate) fn position(&self) -> usize {
        self.cursor.position()
    }

    /// Goes on at `position`, which must be the first byte of a line.
    pub(crate) fn seek(&mut self, position: usize) {
        self.cursor.seek(position);
    }

    /// Says which type the last `# TYPE` line named, when that line was passed over with
    /// [`Parser::seek`].
    pub(crate) fn set_kind(&mut self, kind: MetricType) {
        self.cursor.kind = kind;
    }

    /// Whether the sample that was just returned has the label with an empty value.
    pub(crate) fn has_empty_label(&self, name: &str) -> bool {
        let mut labels = self.cursor.label_texts();
        labels.any(|(label, value)| label == name.as_bytes() && value.is_empty())
    }

    /// Whether the sample that was just returned has an exemplar.
    pub(crate) fn has_exemplar(&self) -> bool {
        self.cursor.exemplar.is_some()
    }

    /// The exemplar of the sample that was just returned; none when its labels are no label set: a
    /// repeated or empty name, or a text that is not UTF-8.
    pub fn exemplar(&self) -> Option<ExposedExemplar> {
        let (value, time) = self.cursor.exemplar?;
        let mut pairs = Vec::with_capacity(self.cursor.exemplar_labels.len());
        for (name, value) in self.cursor.exemplar_label_texts() {
            let text = |bytes| std::str::from_utf8(bytes).ok();
            pairs.push((text(name)?, text(value)?));
        }
        Some(ExposedExemplar {
            labels: Labels::try_from_pairs(pairs).ok()?,
            value,
            time,
        })
    }

    /// The labels of the sample that was just returned, as sent: escapes resolved, `le` and
    /// `quantile` in canonical form inside a histogram or summary, empty values dropped.
    ///
    /// # Errors
    /// A repeated label name, an empty name, or a name that is not UTF-8.
    pub fn labels(&self) -> Result<Labels, ParseError> {
        let mut pairs = Vec::with_capacity(self.cursor.label_spans().len() + 1);
        let name = self.cursor.name_text();
        let metric = number::unescape(name).ok_or_else(|| invalid_name(name))?;
        pairs.push((METRIC_NAME.to_owned(), metric));
        if self.adds_metadata_labels {
            if self.cursor.kind != MetricType::Unknown {
                pairs.push((TYPE.to_owned(), self.cursor.kind.as_str().to_owned()));
            }
            if !self.unit.is_empty() {
                let unit = String::from_utf8_lossy(self.unit).into_owned();
                pairs.push((UNIT.to_owned(), unit));
            }
        }
        let of_metadata = if self.adds_metadata_labels {
            pairs.len()
        } else {
            0
        };
        for (name, value) in self.cursor.label_texts() {
            let label = number::unescape(name).ok_or_else(|| invalid_name(name))?;
            if pairs
                .iter()
                .take(of_metadata)
                .any(|(name, _)| *name == label)
            {
                continue;
            }
            let value = number::unescape(value).ok_or_else(|| {
                ParseError(format!("invalid UTF-8 label value: {}", go_quote(value)))
            })?;
            let value = number::normalise_bound(self.cursor.kind, &label, value);
            if label.is_empty() && !value.is_empty() {
                return Err(invalid_name(b""));
            }
            pairs.push((label, value));
        }
        Labels::try_from_pairs(pairs).map_err(|problem| match problem {
            narthex_storage::InvalidLabels::Duplicate(name) => ParseError(format!(
                "label name {} is not unique: invalid sample",
                go_quote(name.as_bytes())
            )),
            narthex_storage::InvalidLabels::EmptyName => invalid_name(b""),
        })
    }
}

fn invalid_name(name: &[u8]) -> ParseError {
    ParseError(format!(
        "invalid metric name or label names: {}",
        go_quote(name)
    ))
}

/// Resolves the escapes of a HELP text: `\\` and `\n`, in OpenMetrics `\"` as well.
pub(crate) fn unescape_help(text: &str, format: Format) -> String {
    number::unescape_text(text, format == Format::OpenMetrics)
}

/// Resolves the escapes of a family name; `None` when it is not UTF-8.
pub(crate) fn family_name(name: &[u8]) -> Option<String> {
    number::unescape(name)
}

#[cfg(test)]
mod tests;
