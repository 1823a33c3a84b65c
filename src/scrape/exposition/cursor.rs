//! The position in a body, the token under it, and the words for what was found there.
#![deny(clippy::indexing_slicing)]

use super::{MetricType, ParseError};

/// A range of bytes of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// What a token is; the name is what error texts call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Invalid,
    Eof,
    Linebreak,
    Help,
    Type,
    Unit,
    EofWord,
    Text,
    Comment,
    MetricName,
    QuotedString,
    BraceOpen,
    BraceClose,
    LabelName,
    LabelValue,
    Comma,
    Equal,
    Timestamp,
    Value,
}

impl Token {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "INVALID",
            Self::Eof => "EOF",
            Self::Linebreak => "LINEBREAK",
            Self::Help => "HELP",
            Self::Type => "TYPE",
            Self::Unit => "UNIT",
            Self::EofWord => "EOFWORD",
            Self::Text => "TEXT",
            Self::Comment => "COMMENT",
            Self::MetricName => "MNAME",
            Self::QuotedString => "QSTRING",
            Self::BraceOpen => "BOPEN",
            Self::BraceClose => "BCLOSE",
            Self::LabelName => "LNAME",
            Self::LabelValue => "LVALUE",
            Self::Comma => "COMMA",
            Self::Equal => "EQUAL",
            Self::Timestamp => "TIMESTAMP",
            Self::Value => "VALUE",
        }
    }
}

/// What the tokeniser expects next; the same text means different tokens in different places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Init,
    Meta1,
    Meta2,
    Labels,
    LabelValue,
    Value,
    Timestamp,
    Exemplar,
    ExemplarLabelValue,
    ExemplarValue,
    ExemplarTimestamp,
}

/// A body and a place in it.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    body: &'a [u8],
    /// Whether the body is read as if one more line break followed it.
    line_break_follows: bool,
    /// Where the tokeniser stands; after an invalid token, the byte that did not fit.
    pub(super) at: usize,
    /// Where the current token begins.
    pub(super) token_start: usize,
    /// Where the current entry begins.
    pub(super) entry_start: usize,
    pub(super) state: State,
    /// The type named by the last `# TYPE` line.
    pub(super) kind: MetricType,
    /// The metric name of the current sample.
    pub(super) name: Option<Span>,
    /// Names and values of the current sample's labels.
    pub(super) labels: Vec<(Span, Span)>,
    /// Value and timestamp of the current sample's exemplar.
    pub(super) exemplar: Option<(f64, Option<i64>)>,
    /// Names and values of its labels.
    pub(super) exemplar_labels: Vec<(Span, Span)>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(body: &'a [u8], line_break_follows: bool) -> Self {
        Self {
            body,
            line_break_follows,
            at: 0,
            token_start: 0,
            entry_start: 0,
            state: State::Init,
            kind: MetricType::Unknown,
            name: None,
            labels: Vec::new(),
            exemplar: None,
            exemplar_labels: Vec::new(),
        }
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn seek(&mut self, position: usize) {
        self.at = position;
        self.state = State::Init;
    }

    /// The byte at `index`, with the line break that follows the body.
    pub(super) fn byte(&self, index: usize) -> Option<u8> {
        match self.body.get(index) {
            Some(byte) => Some(*byte),
            None if self.line_break_follows && index == self.body.len() => Some(b'\n'),
            None => None,
        }
    }

    pub(super) fn current(&self) -> Option<u8> {
        self.byte(self.at)
    }

    pub(super) fn body_is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// The bytes of a span, cut at the end of the body.
    pub(super) fn bytes(&self, span: Span) -> &'a [u8] {
        let end = span.end.min(self.body.len());
        self.body.get(span.start..end).unwrap_or_default()
    }

    /// The bytes of the current token.
    pub(super) fn token(&self) -> &'a [u8] {
        self.bytes(self.token_span())
    }

    pub(super) fn token_span(&self) -> Span {
        Span {
            start: self.token_start,
            end: self.at,
        }
    }

    /// Whether the body goes on with `text` at the current place.
    pub(super) fn starts_with(&self, text: &[u8]) -> bool {
        self.body
            .get(self.at..)
            .is_some_and(|rest| rest.starts_with(text))
    }

    /// Moves past every byte that fits.
    pub(super) fn skip_while(&mut self, fits: impl Fn(u8) -> bool) {
        while self.at < self.body.len() && self.current().is_some_and(&fits) {
            self.at += 1;
        }
    }

    /// Moves to the next line break, or behind the body.
    pub(super) fn skip_line(&mut self) {
        let rest = self.body.get(self.at..).unwrap_or_default();
        self.at = memchr::memchr(b'\n', rest).map_or(self.body.len(), |found| self.at + found);
    }

    /// One token of a single byte.
    pub(super) fn single(&mut self, token: Token, next: State) -> Token {
        self.at += 1;
        self.state = next;
        token
    }

    /// A name of letters, digits, underscores and, where `colons`, colons.
    pub(super) fn name(&mut self, colons: bool, token: Token, next: State) -> Token {
        self.skip_while(|byte| {
            byte.is_ascii_alphanumeric() || byte == b'_' || (colons && byte == b':')
        });
        self.state = next;
        token
    }

    /// A text in double quotes, where a backslash takes the next byte with it.
    pub(super) fn quoted(&mut self, line_breaks: bool, token: Token, next: State) -> Token {
        self.at += 1;
        loop {
            match self.current() {
                Some(b'"') => {
                    self.at += 1;
                    self.state = next;
                    return token;
                }
                Some(b'\\') => {
                    self.at += 1;
                    match self.current() {
                        Some(b'\n') | None => return Token::Invalid,
                        Some(_) => self.at += 1,
                    }
                }
                Some(b'\n') if !line_breaks => return Token::Invalid,
                Some(_) => self.at += 1,
                None => return Token::Invalid,
            }
        }
    }

    /// Forgets the previous sample.
    pub(super) fn begin_sample(&mut self, name: Option<Span>) {
        self.name = name;
        self.labels.clear();
        self.exemplar = None;
    }

    /// The metric name's bytes, escapes not resolved.
    pub(super) fn name_text(&self) -> &'a [u8] {
        self.name.map_or(&[], |span| self.bytes(span))
    }

    pub(super) fn label_spans(&self) -> &[(Span, Span)] {
        &self.labels
    }

    /// The labels' names and values, escapes not resolved.
    pub(super) fn label_texts(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.labels
            .iter()
            .map(|(name, value)| (self.bytes(*name), self.bytes(*value)))
    }

    /// The names and values of the exemplar's labels, escapes not resolved.
    pub(super) fn exemplar_label_texts(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.exemplar_labels
            .iter()
            .map(|(name, value)| (self.bytes(*name), self.bytes(*value)))
    }

    /// What stands between `start` and `end`, with the line break that follows the body.
    pub(super) fn shown(&self, start: usize, end: usize) -> String {
        let mut bytes = self.bytes(Span { start, end }).to_vec();
        if self.line_break_follows && end > self.body.len() {
            bytes.push(b'\n');
        }
        go_quote(&bytes)
    }

    /// What the entry holds so far.
    pub(super) fn shown_entry(&self) -> String {
        self.shown(self.entry_start, self.at)
    }

    /// "`expected`, got …", one byte of what follows included.
    pub(super) fn unexpected(&self, expected: &str, got: Token) -> ParseError {
        let end = self.at + 1;
        ParseError(format!(
            "{expected}, got {} (\"{}\") while parsing: {}",
            self.shown(self.token_start, end),
            got.as_str(),
            self.shown(self.entry_start, end),
        ))
    }

    /// `problem` with the entry so far behind it.
    pub(super) fn while_parsing(&self, problem: &ParseError) -> ParseError {
        ParseError(format!("{problem} while parsing: {}", self.shown_entry()))
    }

    /// The span of a token in double quotes, without them.
    pub(super) fn without_quotes(&self, span: Span) -> Span {
        if self.byte(span.start) == Some(b'"') && span.end > span.start + 1 {
            Span {
                start: span.start + 1,
                end: span.end - 1,
            }
        } else {
            span
        }
    }

    /// Reads the name and the type word of the last `# TYPE` line.
    pub(super) fn set_kind(&mut self, kind: MetricType) -> MetricType {
        self.kind = kind;
        kind
    }
}

/// Bytes in double quotes as Go's `%q` prints them.
pub(super) fn go_quote(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            let _infallible = match character {
                '"' => write!(out, "\\\""),
                '\\' => write!(out, "\\\\"),
                '\x07' => write!(out, "\\a"),
                '\x08' => write!(out, "\\b"),
                '\x0c' => write!(out, "\\f"),
                '\n' => write!(out, "\\n"),
                '\r' => write!(out, "\\r"),
                '\t' => write!(out, "\\t"),
                '\x0b' => write!(out, "\\v"),
                other if other.is_ascii_control() => write!(out, "\\x{:02x}", other as u32),
                other if other.is_control() => write!(out, "\\u{:04x}", other as u32),
                other => write!(out, "{other}"),
            };
        }
        for byte in chunk.invalid() {
            let _infallible = write!(out, "\\x{byte:02x}");
        }
    }
    out.push('"');
    out
}
