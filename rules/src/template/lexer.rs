//! Tokens of a template: text, and within `{{ }}` the words of an action.
//!
//! Invariants: tokens come in the order of the text and do not overlap; after an error nothing but
//! the end follows. Trim markers (`{{- `, ` -}}`) and comments never reach the parser.
//!
//! Source: the documentation of Go's `text/template`; messages observed in `promtool check rules`.

use super::quote::{describe_char, quote};

const LEFT: &str = "{{";
const RIGHT: &str = "}}";

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bad input; the token's text is the message.
    Error,
    /// The end of the template.
    End,
    /// Text outside actions.
    Text,
    /// `{{`.
    Left,
    /// `}}`.
    Right,
    /// White space within an action.
    Space,
    /// `(`.
    LeftParen,
    /// `)`.
    RightParen,
    /// `|`.
    Pipe,
    /// `=`.
    Assign,
    /// `:=`.
    Declare,
    /// Any other printable ASCII character.
    Char,
    /// `'x'`.
    CharConstant,
    /// `1+2i`.
    Complex,
    /// A number of any other form.
    Number,
    /// `"…"`.
    Quoted,
    /// `` `…` ``.
    RawQuoted,
    /// `true` or `false`.
    Bool,
    /// `.name`.
    Field,
    /// A name.
    Identifier,
    /// `$name` or `$`.
    Variable,
    /// `.`.
    Dot,
    /// `nil`.
    Nil,
    /// A word that begins or divides an action.
    Keyword(Keyword),
}

/// The words with a meaning of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    Block,
    Break,
    Continue,
    Define,
    Else,
    End,
    If,
    Range,
    Template,
    With,
}

/// A token and where it begins, in bytes.
#[derive(Debug, Clone)]
pub(super) struct Token<'t> {
    pub(super) kind: Kind,
    pub(super) position: usize,
    pub(super) text: std::borrow::Cow<'t, str>,
}

impl Token<'_> {
    /// The token as error messages name it.
    pub(super) fn describe(&self) -> String {
        match self.kind {
            Kind::End => "EOF".to_owned(),
            Kind::Error => self.text.clone().into_owned(),
            Kind::Keyword(_) | Kind::Dot | Kind::Nil => format!("<{}>", self.text),
            _ if self.text.len() > 10 => {
                let start: String = self.text.chars().take(10).collect();
                format!("{}...", quote(&start))
            }
            _ => quote(&self.text),
        }
    }
}

/// Cuts a template into tokens.
#[derive(Debug)]
pub(super) struct Lexer<'t> {
    input: &'t str,
    position: usize,
    inside_action: bool,
    paren_depth: usize,
    failed: bool,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(input: &'t str) -> Self {
        Self {
            input,
            position: 0,
            inside_action: false,
            paren_depth: 0,
            failed: false,
        }
    }

    /// The next token; [`Kind::End`] for ever once the input is used up or wrong.
    pub(super) fn next_token(&mut self) -> Token<'t> {
        if self.failed {
            return self.token(Kind::End, self.input.len(), self.input.len());
        }
        if self.inside_action {
            self.action()
        } else {
            self.text()
        }
    }

    fn rest(&self) -> &'t str {
        self.input.get(self.position..).unwrap_or_default()
    }

    fn token(&mut self, kind: Kind, start: usize, end: usize) -> Token<'t> {
        Token {
            kind,
            position: start,
            text: self.input.get(start..end).unwrap_or_default().into(),
        }
    }

    fn emit(&mut self, kind: Kind, length: usize) -> Token<'t> {
        let start = self.position;
        self.position += length;
        self.token(kind, start, self.position)
    }

    fn error(&mut self, message: impl Into<String>) -> Token<'t> {
        self.error_at(self.position, message)
    }

    fn error_at(&mut self, position: usize, message: impl Into<String>) -> Token<'t> {
        self.failed = true;
        Token {
            kind: Kind::Error,
            position,
            text: message.into().into(),
        }
    }

    /// Outside actions: text up to the next `{{`, and comments, which are dropped.
    fn text(&mut self) -> Token<'t> {
        loop {
            let rest = self.rest();
            let Some(length) = rest.find(LEFT) else {
                let kind = if rest.is_empty() {
                    Kind::End
                } else {
                    Kind::Text
                };
                return self.emit(kind, rest.len());
            };
            let (text, at_left) = rest.split_at(length);
            let behind = at_left.strip_prefix(LEFT).unwrap_or_default();
            let trims = trims_left(behind);
            let kept = if trims {
                text.trim_end_matches(is_space).len()
            } else {
                length
            };
            if kept > 0 {
                let token = self.emit(Kind::Text, kept);
                self.position += length - kept;
                return token;
            }
            self.position += length;
            let marker = if trims { 2 } else { 0 };
            if behind
                .get(marker..)
                .is_some_and(|rest| rest.starts_with("/*"))
            {
                self.position += LEFT.len() + marker;
                if let Err(token) = self.comment() {
                    return token;
                }
                continue;
            }
            let token = self.emit(Kind::Left, LEFT.len());
            self.position += marker;
            self.inside_action = true;
            self.paren_depth = 0;
            return token;
        }
    }

    fn comment(&mut self) -> Result<(), Token<'t>> {
        let Some(length) = self.rest().get(2..).and_then(|rest| rest.find("*/")) else {
            return Err(self.error("unclosed comment"));
        };
        let start = self.position;
        self.position += length + 4;
        let Some(trims) = at_right(self.rest()) else {
            return Err(self.error_at(start, "comment ends before closing delimiter"));
        };
        self.close(trims);
        Ok(())
    }

    /// Passes over the closing delimiter, and over the white space behind it if it trims.
    fn close(&mut self, trims: bool) -> (usize, usize) {
        if trims {
            self.position += 2;
        }
        let start = self.position;
        self.position += RIGHT.len();
        let end = self.position;
        if trims {
            let rest = self.rest();
            self.position += rest.len() - rest.trim_start_matches(is_space).len();
        }
        (start, end)
    }

    fn action(&mut self) -> Token<'t> {
        let rest = self.rest();
        if let Some(trims) = at_right(rest) {
            if self.paren_depth > 0 {
                return self.error("unclosed left paren");
            }
            self.inside_action = false;
            let (start, end) = self.close(trims);
            return self.token(Kind::Right, start, end);
        }
        let Some(first) = rest.chars().next() else {
            return self.error("unclosed action");
        };
        match first {
            _ if is_space(first) => self.space(),
            '=' => self.emit(Kind::Assign, 1),
            ':' if rest.starts_with(":=") => self.emit(Kind::Declare, 2),
            ':' => self.error("expected :="),
            '|' => self.emit(Kind::Pipe, 1),
            '"' => self.quoted('"', Kind::Quoted, "unterminated quoted string"),
            '\'' => self.quoted('\'', Kind::CharConstant, "unterminated character constant"),
            '`' => match rest.get(1..).and_then(|rest| rest.find('`')) {
                Some(length) => self.emit(Kind::RawQuoted, length + 2),
                None => self.error("unterminated raw quoted string"),
            },
            '$' => self.field_or_variable(Kind::Variable),
            '.' if rest
                .as_bytes()
                .get(1)
                .is_some_and(|next| !next.is_ascii_digit()) =>
            {
                self.field_or_variable(Kind::Field)
            }
            '.' | '+' | '-' | '0'..='9' => self.number(),
            _ if is_alphanumeric(first) => self.identifier(),
            '(' => {
                self.paren_depth += 1;
                self.emit(Kind::LeftParen, 1)
            }
            ')' => match self.paren_depth.checked_sub(1) {
                Some(depth) => {
                    self.paren_depth = depth;
                    self.emit(Kind::RightParen, 1)
                }
                None => self.error("unexpected right paren"),
            },
            ' '..='~' => self.emit(Kind::Char, 1),
            _ => self.error(format!(
                "unrecognized character in action: {}",
                describe_char(first)
            )),
        }
    }

    /// A run of white space. The last of it belongs to ` -}}` if that follows.
    fn space(&mut self) -> Token<'t> {
        let rest = self.rest();
        let mut length = rest.len() - rest.trim_start_matches(is_space).len();
        if rest
            .get(length - 1..)
            .is_some_and(|last| at_right(last).is_some())
        {
            // A run of one was found to be a closing delimiter before.
            length -= 1;
        }
        self.emit(Kind::Space, length)
    }

    fn quoted(&mut self, quote: char, kind: Kind, unterminated: &str) -> Token<'t> {
        let rest = self.rest();
        let mut chars = rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => match chars.next() {
                    None | Some((_, '\n')) => break,
                    Some(_) => {}
                },
                '\n' => break,
                _ if c == quote => return self.emit(kind, at + 1),
                _ => {}
            }
        }
        self.error(unterminated)
    }

    fn field_or_variable(&mut self, kind: Kind) -> Token<'t> {
        let rest = self.rest();
        let length = word_length(rest.get(1..).unwrap_or_default()) + 1;
        if let Some(bad) = bad_terminator(rest.get(length..).unwrap_or_default()) {
            return self.error(format!("bad character {}", describe_char(bad)));
        }
        match kind {
            Kind::Field if length == 1 => self.emit(Kind::Dot, 1),
            _ => self.emit(kind, length),
        }
    }

    fn identifier(&mut self) -> Token<'t> {
        let rest = self.rest();
        let (word, behind) = rest.split_at(word_length(rest));
        if let Some(bad) = bad_terminator(behind) {
            return self.error(format!("bad character {}", describe_char(bad)));
        }
        let kind = match word {
            "block" => Kind::Keyword(Keyword::Block),
            "break" => Kind::Keyword(Keyword::Break),
            "continue" => Kind::Keyword(Keyword::Continue),
            "define" => Kind::Keyword(Keyword::Define),
            "else" => Kind::Keyword(Keyword::Else),
            "end" => Kind::Keyword(Keyword::End),
            "if" => Kind::Keyword(Keyword::If),
            "range" => Kind::Keyword(Keyword::Range),
            "template" => Kind::Keyword(Keyword::Template),
            "with" => Kind::Keyword(Keyword::With),
            "nil" => Kind::Nil,
            "true" | "false" => Kind::Bool,
            _ => Kind::Identifier,
        };
        self.emit(kind, word.len())
    }

    /// A number as far as its form goes; its value is the parser's concern.
    fn number(&mut self) -> Token<'t> {
        let rest = self.rest();
        let bad = |lexer: &mut Self, length: usize| {
            let end = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            let end = end.into_iter().find(|end| *end > length).unwrap_or(length);
            let shown = rest.get(..end).unwrap_or(rest);
            let message = format!("bad number syntax: {}", quote(shown));
            lexer.error(message)
        };
        let length = number_length(rest);
        let behind = rest.get(length..).unwrap_or_default();
        if behind.chars().next().is_some_and(is_alphanumeric) {
            return bad(self, length);
        }
        if !behind.starts_with(['+', '-']) {
            return self.emit(Kind::Number, length);
        }
        let whole = length + number_length(behind);
        let behind = rest.get(whole..).unwrap_or_default();
        if behind.chars().next().is_some_and(is_alphanumeric) {
            return bad(self, whole);
        }
        if rest.as_bytes().get(whole - 1) != Some(&b'i') {
            let message = format!(
                "bad number syntax: {}",
                quote(rest.get(..whole).unwrap_or(rest))
            );
            return self.error(message);
        }
        self.emit(Kind::Complex, whole)
    }
}

/// Whether `behind`, which follows `{{`, begins with a trim marker.
fn trims_left(behind: &str) -> bool {
    let mut chars = behind.chars();
    chars.next() == Some('-') && chars.next().is_some_and(is_space)
}

/// Whether `rest` begins with the closing delimiter, and if so whether it trims.
fn at_right(rest: &str) -> Option<bool> {
    if rest.starts_with(RIGHT) {
        return Some(false);
    }
    let behind = rest.strip_prefix(is_space)?.strip_prefix('-')?;
    behind.starts_with(RIGHT).then_some(true)
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn word_length(text: &str) -> usize {
    text.len() - text.trim_start_matches(is_alphanumeric).len()
}

/// The character behind a word if it may not stand there.
fn bad_terminator(behind: &str) -> Option<char> {
    let next = behind.chars().next()?;
    let fine = is_space(next)
        || matches!(next, '.' | ',' | '|' | ':' | ')' | '(')
        || behind.starts_with(RIGHT);
    (!fine).then_some(next)
}

/// How far a number goes: sign, prefix, digits with underscores, fraction, exponent, `i`.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    let accept = |at: &mut usize, set: &[u8]| {
        let found = bytes.get(*at).is_some_and(|byte| set.contains(byte));
        *at += usize::from(found);
        found
    };
    accept(&mut at, b"+-");
    let mut digits: &[u8] = b"0123456789_";
    if accept(&mut at, b"0") {
        if accept(&mut at, b"xX") {
            digits = b"0123456789abcdefABCDEF_";
        } else if accept(&mut at, b"oO") {
            digits = b"01234567_";
        } else if accept(&mut at, b"bB") {
            digits = b"01_";
        }
    }
    while accept(&mut at, digits) {}
    if accept(&mut at, b".") {
        while accept(&mut at, digits) {}
    }
    let exponent: &[u8] = match digits.len() {
        11 => b"eE",
        23 => b"pP",
        _ => b"",
    };
    if accept(&mut at, exponent) {
        accept(&mut at, b"+-");
        while accept(&mut at, b"0123456789_") {}
    }
    accept(&mut at, b"i");
    at
}
