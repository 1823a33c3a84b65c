//! What the previous body of a target said, line by line, so that most lines of the next one need
//! neither labels nor hashing: an equal line has an equal value, a line of the same series at the
//! expected place needs its value alone.
//!
//! The cache holds the body itself; a line is a place in it. What it answers never depends on luck:
//! lines are compared byte by byte, and a line that is found nowhere is read by the parser.
#![deny(clippy::indexing_slicing)]

use std::collections::HashMap;

use bytes::Bytes;
use narthex_storage::MetricType;

use super::{
    exposition::{Entry, Format, Parser, parse_float},
    rows::{Known, RowWriter},
};

/// Bodies above this size are not kept: every line is read anew.
pub(super) const KEPT_BYTES_MAX: usize = 64 << 20;

/// How many lines are looked at behind the expected one before all lines are indexed.
const LOOK_AHEAD: usize = 8;

/// One entry of a body, line break included.
#[derive(Debug, Clone, Copy)]
struct Line {
    start: u32,
    length: u32,
    /// The length of the series' text at the start of the line; zero when there is none.
    series_length: u32,
    kind: LineKind,
}

#[derive(Debug, Clone, Copy)]
enum LineKind {
    Sample {
        known: Known,
        /// Whether this very line gave its column's value in the row.
        in_row: bool,
        /// Whether an exemplar follows.
        has_exemplar: bool,
    },
    Type(MetricType),
    Other,
}

impl Line {
    fn is_sample(&self) -> bool {
        matches!(self.kind, LineKind::Sample { .. })
    }
}

/// The lines of the previous body.
#[derive(Debug, Default)]
pub(super) struct LineCache {
    body: Bytes,
    lines: Vec<Line>,
}

impl LineCache {
    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Writes every sample of `body` into the row and remembers the body's lines. Answers whether the body
    /// may say something of a metric family that the previous one did not.
    ///
    /// # Errors
    /// The body is malformed or breaks a rule; the cache is as it was.
    pub(super) fn read(
        &mut self,
        body: &Bytes,
        format: Format,
        row: &mut RowWriter<'_>,
    ) -> Result<bool, String> {
        // A buffer that waits between scrapes would cost as much as the lines.
        let mut next = Vec::with_capacity(self.lines.len() + LOOK_AHEAD);
        let outcome = Reader {
            previous: &self.body,
            lines: &self.lines,
            expected: 0,
            index: None,
            fresh: HashMap::default(),
            body,
            next: &mut next,
            says_more: false,
            keeps_order: row.adds_metadata_labels(),
        }
        .run(format, row);
        if outcome.is_ok() {
            if body.len() <= KEPT_BYTES_MAX {
                next.shrink_to(next.len() + next.len() / 8);
                self.lines = next;
                self.body = body.clone();
            } else {
                self.clear();
            }
        }
        outcome
    }
}

type Index<'a, T> = HashMap<&'a [u8], T, foldhash::fast::RandomState>;

/// One pass over a body.
struct Reader<'a> {
    previous: &'a [u8],
    lines: &'a [Line],
    /// The line of the previous body that should come next.
    expected: usize,
    /// All series of the previous body, built when a line is not where it should be.
    index: Option<Index<'a, usize>>,
    /// Series of this body that the previous one lacked.
    fresh: Index<'a, Known>,
    body: &'a [u8],
    next: &'a mut Vec<Line>,
    /// Whether a line of metadata is not where the previous body had it.
    says_more: bool,
    /// Whether a sample's labels depend on the lines of metadata before it. Its series' text is known then only
    /// as long as both bodies have the same such lines, so none is passed over.
    keeps_order: bool,
}

impl<'a> Reader<'a> {
    fn run(mut self, format: Format, row: &mut RowWriter<'_>) -> Result<bool, String> {
        let mut parser = Parser::new(self.body, format);
        parser.add_metadata_labels(self.keeps_order);
        loop {
            let at = parser.position();
            if let Some(end) = self.expected_line(at, &mut parser, row) {
                parser.seek(end);
                continue;
            }
            match parser.next_entry() {
                Ok(Some(entry)) => self.entry(at, entry, &parser, row)?,
                Ok(None) => return Ok(self.says_more),
                Err(problem) => return Err(problem.to_string()),
            }
        }
    }

    /// Takes the line at `at` when it is the expected one; answers where it ends.
    fn expected_line(
        &mut self,
        at: usize,
        parser: &mut Parser<'_>,
        row: &mut RowWriter<'_>,
    ) -> Option<usize> {
        let line = *self.lines.get(self.expected)?;
        let rest = self.body.get(at..)?;
        let text = self.text(line, line.length);
        if rest.starts_with(text) {
            match line.kind {
                // Whether it is the same as before is not for the line to say.
                LineKind::Sample {
                    has_exemplar: true, ..
                } if row.keeps_exemplars() => return None,
                LineKind::Sample {
                    known: Known::Column(column),
                    in_row: true,
                    has_exemplar,
                } if row.may_repeat() => {
                    let kind = LineKind::Sample {
                        known: Known::Column(column),
                        in_row: row.unchanged(column),
                        has_exemplar,
                    };
                    return Some(self.take(at, line, kind));
                }
                LineKind::Sample {
                    known: Known::Dropped,
                    ..
                } => {
                    row.dropped();
                    return Some(self.take(at, line, line.kind));
                }
                LineKind::Sample { .. } => {}
                LineKind::Type(_) | LineKind::Other if self.keeps_order => return None,
                LineKind::Type(kind) => {
                    parser.set_kind(kind);
                    return Some(self.take(at, line, line.kind));
                }
                LineKind::Other => return Some(self.take(at, line, line.kind)),
            }
        }
        let LineKind::Sample { known, .. } = line.kind else {
            return None;
        };
        let series = self.text(line, line.series_length);
        if series.is_empty() || !rest.starts_with(series) {
            return None;
        }
        let behind = rest.get(series.len()..)?.strip_prefix(b" ")?;
        let length = memchr::memchr(b'\n', behind)?;
        // Anything but a plain value (a timestamp, an exemplar, a brace) is for the parser.
        let value = parse_float(behind.get(..length)?).ok()?;
        let in_row = row.sample(known, value, None);
        let line = Line {
            length: (series.len() + 1 + length + 1) as u32,
            ..line
        };
        let kind = LineKind::Sample {
            known,
            in_row,
            has_exemplar: false,
        };
        Some(self.take(at, line, kind))
    }

    fn text(&self, line: Line, length: u32) -> &'a [u8] {
        let start = line.start as usize;
        let end = start + length as usize;
        self.previous.get(start..end).unwrap_or_default()
    }

    /// Remembers the expected line at its new place.
    fn take(&mut self, at: usize, line: Line, kind: LineKind) -> usize {
        self.next.push(Line {
            start: at as u32,
            kind,
            ..line
        });
        self.expected += 1;
        at + line.length as usize
    }

    /// Takes an entry that the parser read.
    fn entry(
        &mut self,
        at: usize,
        entry: Entry<'a>,
        parser: &Parser<'_>,
        row: &mut RowWriter<'_>,
    ) -> Result<(), String> {
        let end = parser.position().min(self.body.len());
        let text = self.body.get(at..end).unwrap_or_default();
        let mut series_length = 0;
        let kind = match entry {
            Entry::Sample {
                series,
                value,
                time,
            } => {
                if text.starts_with(series) {
                    series_length = series.len() as u32;
                }
                let known = match self.find(series) {
                    Some(known) => known,
                    None => {
                        let known = row.resolve(parser)?;
                        if !self.keeps_order {
                            self.fresh.insert(series, known);
                        }
                        known
                    }
                };
                let in_row = row.sample(known, value, time);
                row.exemplar(known, time, parser);
                LineKind::Sample {
                    known,
                    in_row,
                    has_exemplar: parser.has_exemplar(),
                }
            }
            Entry::Type { kind, .. } => {
                self.says_more |= !self.pass_over(text);
                LineKind::Type(kind)
            }
            Entry::Help { .. } | Entry::Unit { .. } => {
                self.says_more |= !self.pass_over(text);
                LineKind::Other
            }
            Entry::Comment => {
                self.pass_over(text);
                LineKind::Other
            }
        };
        // Only a line break says that nothing more belongs to the line.
        if text.ends_with(b"\n") {
            self.next.push(Line {
                start: at as u32,
                length: text.len() as u32,
                series_length,
                kind,
            });
        }
        Ok(())
    }

    /// What the previous body, or an earlier line of this one, knows of a series.
    fn find(&mut self, series: &'a [u8]) -> Option<Known> {
        let known = |line: &Line| match line.kind {
            LineKind::Sample { known, .. } if line.series_length > 0 => Some(known),
            _ => None,
        };
        let ahead = self.lines.iter().enumerate().skip(self.expected);
        for (index, line) in ahead.take(LOOK_AHEAD) {
            if self.keeps_order && !line.is_sample() {
                break;
            }
            if let Some(known) = known(line)
                && self.text(*line, line.series_length) == series
            {
                self.expected = index + 1;
                return Some(known);
            }
        }
        if self.keeps_order {
            return None;
        }
        if let Some(known) = self.fresh.get(series) {
            return Some(*known);
        }
        if self.index.is_none() {
            let mut all = Index::with_capacity_and_hasher(
                self.lines.len(),
                foldhash::fast::RandomState::default(),
            );
            for (index, line) in self.lines.iter().enumerate() {
                if known(line).is_some() {
                    all.entry(self.text(*line, line.series_length))
                        .or_insert(index);
                }
            }
            self.index = Some(all);
        }
        let index = *self.index.as_ref()?.get(series)?;
        self.expected = index + 1;
        self.lines.get(index).and_then(known)
    }

    /// Moves behind a line that is not a sample and was expected later; false when there is none.
    fn pass_over(&mut self, text: &[u8]) -> bool {
        let ahead = self.lines.iter().enumerate().skip(self.expected);
        for (index, line) in ahead.take(LOOK_AHEAD) {
            if self.text(*line, line.length) == text {
                self.expected = index + 1;
                return true;
            }
            if self.keeps_order && !line.is_sample() {
                break;
            }
        }
        if self.keeps_order {
            self.lines = &[];
        }
        false
    }
}
