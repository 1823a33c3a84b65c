//! From query text to tokens, one at a time.
//!
//! The lexer follows Prometheus's: it has a state of its own inside braces and inside brackets,
//! counts parentheses, and reports what it cannot read with Prometheus's words at the start of the
//! token. It looks at each byte a bounded number of times.

use super::{AggregateOp, BinaryOp, ParseError, Span, quote::quote_char};

/// A token with its place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Token {
    /// What it is.
    pub(super) kind: TokenKind,
    /// Where it stands.
    pub(super) span: Span,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    End,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    /// `=`
    Assign,
    /// `=~`
    Match,
    /// `!~`
    NotMatch,
    At,
    Number,
    Duration,
    /// Still quoted and escaped, but checked.
    String,
    Identifier,
    /// An identifier with a colon.
    MetricIdentifier,
    Keyword(Keyword),
    Operator(BinaryOp),
    /// `</`
    TrimUpper,
    /// `>/`
    TrimLower,
    Aggregate(AggregateOp),
}

/// A word with a meaning in some places; most of them are metric names in others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    Anchored,
    Bool,
    By,
    End,
    Fill,
    FillLeft,
    FillRight,
    GroupLeft,
    GroupRight,
    Ignoring,
    MaxOf,
    MinOf,
    Offset,
    On,
    Range,
    Smoothed,
    Start,
    Step,
    Without,
}

const KEYWORDS: [(&str, Keyword); 19] = [
    ("anchored", Keyword::Anchored),
    ("bool", Keyword::Bool),
    ("by", Keyword::By),
    ("end", Keyword::End),
    ("fill", Keyword::Fill),
    ("fill_left", Keyword::FillLeft),
    ("fill_right", Keyword::FillRight),
    ("group_left", Keyword::GroupLeft),
    ("group_right", Keyword::GroupRight),
    ("ignoring", Keyword::Ignoring),
    ("max_of", Keyword::MaxOf),
    ("min_of", Keyword::MinOf),
    ("offset", Keyword::Offset),
    ("on", Keyword::On),
    ("range", Keyword::Range),
    ("smoothed", Keyword::Smoothed),
    ("start", Keyword::Start),
    ("step", Keyword::Step),
    ("without", Keyword::Without),
];

/// The longest word that can be more than a name, in bytes.
const WORD_LEN_MAX: usize = 12;

/// Reads tokens off a text of less than 4 GiB.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the states of Prometheus's lexer, which combine freely"
)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    pos: usize,
    /// Start of the current token.
    start: usize,
    in_braces: bool,
    in_brackets: bool,
    /// Inside brackets before the first number; Prometheus reads and reports differently there.
    before_number: bool,
    got_duration: bool,
    got_colon: bool,
    paren_depth: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            pos: 0,
            start: 0,
            in_braces: false,
            in_brackets: false,
            before_number: false,
            got_duration: false,
            got_colon: false,
            paren_depth: 0,
        }
    }

    /// The next token; after the last one always [`TokenKind::End`].
    pub(super) fn next_token(&mut self) -> Result<Token, ParseError> {
        // A bracket admits comments only behind its first number.
        while let Some(c) = self.peek() {
            if is_space(c) {
                self.pos += 1;
            } else if c == '#' && !self.before_number {
                let rest = self.rest();
                self.pos += rest.find(['\n', '\r']).unwrap_or(rest.len());
            } else {
                break;
            }
        }
        self.start = self.pos;
        let kind = if self.in_braces {
            self.inside_braces()?
        } else if self.before_number {
            self.bracket_start()?
        } else {
            self.statement()?
        };
        Ok(Token {
            kind,
            span: self.span(),
        })
    }

    /// Whether a parenthesis comes next.
    pub(super) fn is_before_paren(&self) -> bool {
        self.rest().trim_start_matches(is_space).starts_with('(')
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.pos..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.pos += c.len_utf8();
        Some(c)
    }

    fn accept(&mut self, set: &str) -> bool {
        let found = self.peek().is_some_and(|c| set.contains(c));
        if found {
            self.pos += 1;
        }
        found
    }

    fn accept_run(&mut self, set: &str) {
        while self.accept(set) {}
    }

    fn span(&self) -> Span {
        Span {
            start: self.start as u32,
            end: self.pos as u32,
        }
    }

    fn error(&self, message: impl Into<String>) -> ParseError {
        let span = Span {
            start: self.start as u32,
            end: self.text.len() as u32,
        };
        ParseError::new(self.text, span, message)
    }

    fn token_text(&self) -> &'a str {
        self.text.get(self.start..self.pos).unwrap_or_default()
    }

    fn statement(&mut self) -> Result<TokenKind, ParseError> {
        let Some(c) = self.next() else {
            if self.paren_depth > 0 {
                return Err(self.error("unclosed left parenthesis"));
            }
            if self.in_brackets {
                return Err(self.error("unclosed left bracket"));
            }
            return Ok(TokenKind::End);
        };
        let kind = match c {
            ',' => TokenKind::Comma,
            '*' => TokenKind::Operator(BinaryOp::Mul),
            '/' => TokenKind::Operator(BinaryOp::Div),
            '%' => TokenKind::Operator(BinaryOp::Mod),
            '+' => TokenKind::Operator(BinaryOp::Add),
            '-' => TokenKind::Operator(BinaryOp::Sub),
            '^' => TokenKind::Operator(BinaryOp::Pow),
            '=' => match self.peek() {
                Some('=') => {
                    self.pos += 1;
                    TokenKind::Operator(BinaryOp::Equal)
                }
                Some('~') => return Err(self.error("unexpected character after '=': '~'")),
                _ => TokenKind::Assign,
            },
            '!' => match self.next() {
                Some('=') => TokenKind::Operator(BinaryOp::NotEqual),
                other => {
                    return Err(self.error(format!(
                        "unexpected character after '!': {}",
                        quote_char(other.unwrap_or(char::REPLACEMENT_CHARACTER))
                    )));
                }
            },
            '<' if self.accept("=") => TokenKind::Operator(BinaryOp::LessEqual),
            '<' if self.accept("/") => TokenKind::TrimUpper,
            '<' => TokenKind::Operator(BinaryOp::Less),
            '>' if self.accept("=") => TokenKind::Operator(BinaryOp::GreaterEqual),
            '>' if self.accept("/") => TokenKind::TrimLower,
            '>' => TokenKind::Operator(BinaryOp::Greater),
            '"' | '\'' => return self.string(c),
            '`' => return self.raw_string(),
            '(' => {
                self.paren_depth += 1;
                TokenKind::LeftParen
            }
            ')' => return self.right_paren(),
            '{' => {
                self.in_braces = true;
                TokenKind::LeftBrace
            }
            '[' => {
                if self.in_brackets {
                    return Err(self.error("unexpected left bracket '['"));
                }
                self.in_brackets = true;
                self.before_number = true;
                self.got_duration = false;
                self.got_colon = false;
                TokenKind::LeftBracket
            }
            ']' => {
                if !self.in_brackets {
                    return Err(self.error("unexpected right bracket ']'"));
                }
                self.in_brackets = false;
                self.before_number = false;
                TokenKind::RightBracket
            }
            '@' => TokenKind::At,
            _ if c.is_ascii_digit() => return self.number_or_duration(),
            '.' if self.peek().is_some_and(|c| c.is_ascii_digit()) => {
                return self.number_or_duration();
            }
            ':' if self.in_brackets => return self.colon(),
            _ if (is_alpha(c) || c == ':') && !self.in_brackets => return Ok(self.word()),
            _ if is_alpha(c) => {
                return self.duration_keyword().ok_or_else(|| {
                    self.error(format!(
                        "unexpected character: {}, expected ':'",
                        quote_char(c)
                    ))
                });
            }
            _ => return Err(self.error(format!("unexpected character: {}", quote_char(c)))),
        };
        Ok(kind)
    }

    /// Inside brackets before the first number.
    fn bracket_start(&mut self) -> Result<TokenKind, ParseError> {
        let Some(c) = self.peek() else {
            return Err(self.error("unexpected end of input in duration expression"));
        };
        match c {
            ']' | '(' | ')' | '+' | '-' | '*' | '/' | '%' | '^' | ',' => self.statement(),
            ':' => {
                self.pos += 1;
                self.colon()
            }
            '.' if self
                .rest()
                .chars()
                .nth(1)
                .is_some_and(|c| c.is_ascii_digit()) =>
            {
                self.pos += 1;
                self.number_or_duration()
            }
            _ if c.is_ascii_digit() => {
                self.pos += 1;
                self.number_or_duration()
            }
            _ => {
                self.pos += c.len_utf8();
                self.duration_keyword().ok_or_else(|| {
                    self.error(format!(
                        "unexpected character in duration expression: {}",
                        quote_char(c)
                    ))
                })
            }
        }
    }

    /// Behind the `:` of a subquery.
    fn colon(&mut self) -> Result<TokenKind, ParseError> {
        if !self.got_duration {
            // Prometheus has emitted the colon by then and reports the place behind it.
            self.start = self.pos;
            return Err(self.error("unexpected colon before duration in duration expression"));
        }
        if self.got_colon {
            return Err(self.error("unexpected colon ':'"));
        }
        self.got_colon = true;
        Ok(TokenKind::Colon)
    }

    /// Behind the first letter of `step`, `range`, `min_of` or `max_of`, in brackets.
    fn duration_keyword(&mut self) -> Option<TokenKind> {
        let before = self.pos;
        while self.peek().is_some_and(is_alphanumeric) {
            self.pos += 1;
        }
        match keyword(self.token_text()) {
            Some(
                kind @ TokenKind::Keyword(
                    Keyword::Step | Keyword::Range | Keyword::MinOf | Keyword::MaxOf,
                ),
            ) => {
                self.got_duration = true;
                Some(kind)
            }
            _ => {
                self.pos = before;
                None
            }
        }
    }

    fn right_paren(&mut self) -> Result<TokenKind, ParseError> {
        let Some(depth) = self.paren_depth.checked_sub(1) else {
            // Prometheus has emitted the token by then and reports the place behind it.
            self.start = self.pos;
            return Err(self.error("unexpected right parenthesis ')'"));
        };
        self.paren_depth = depth;
        Ok(TokenKind::RightParen)
    }

    fn inside_braces(&mut self) -> Result<TokenKind, ParseError> {
        let Some(c) = self.next() else {
            return Err(self.error("unexpected end of input inside braces"));
        };
        Ok(match c {
            _ if is_alpha(c) => {
                while self.peek().is_some_and(is_alphanumeric) {
                    self.pos += 1;
                }
                TokenKind::Identifier
            }
            ',' => TokenKind::Comma,
            '"' | '\'' => return self.string(c),
            '`' => return self.raw_string(),
            '=' if self.accept("~") => TokenKind::Match,
            '=' => TokenKind::Assign,
            '!' => match self.next() {
                Some('~') => TokenKind::NotMatch,
                Some('=') => TokenKind::Operator(BinaryOp::NotEqual),
                other => {
                    return Err(self.error(format!(
                        "unexpected character after '!' inside braces: {}",
                        quote_char(other.unwrap_or(char::REPLACEMENT_CHARACTER))
                    )));
                }
            },
            '{' => return Err(self.error("unexpected left brace '{'")),
            '}' => {
                self.in_braces = false;
                TokenKind::RightBrace
            }
            _ => {
                return Err(self.error(format!(
                    "unexpected character inside braces: {}",
                    quote_char(c)
                )));
            }
        })
    }

    fn word(&mut self) -> TokenKind {
        while self.peek().is_some_and(|c| is_alphanumeric(c) || c == ':') {
            self.pos += 1;
        }
        let word = self.token_text();
        keyword(word).unwrap_or(if word.contains(':') {
            TokenKind::MetricIdentifier
        } else {
            TokenKind::Identifier
        })
    }

    fn number_or_duration(&mut self) -> Result<TokenKind, ParseError> {
        self.pos = self.start;
        self.got_duration = true;
        self.before_number = false;
        if self.number() {
            return Ok(TokenKind::Number);
        }
        if self.duration() {
            return Ok(TokenKind::Duration);
        }
        Err(self.error(format!(
            "bad number or duration syntax: {}",
            super::quote::quote(self.token_text())
        )))
    }

    /// Reads a number as Prometheus's `scanNumber` does; `false` leaves the position where that
    /// gives up, for a duration may go on from there.
    fn number(&mut self) -> bool {
        const DECIMAL: &str = "0123456789";
        const HEXADECIMAL: &str = "0123456789abcdefABCDEF";
        let mut digits = DECIMAL;
        if self.accept("0") && self.accept("xX") {
            self.accept("_");
            digits = HEXADECIMAL;
        }
        self.accept(".");
        self.accept(digits);
        let (mut got_dot, mut got_exponent) = (false, false);
        while let Some(c) = self.peek() {
            match c {
                '.' => {
                    self.pos += 1;
                    if got_dot || self.accept("_.") || digits == HEXADECIMAL {
                        return false;
                    }
                    got_dot = true;
                }
                'e' | 'E' => {
                    self.pos += 1;
                    if got_exponent {
                        return false;
                    }
                    got_exponent = true;
                    self.accept("+-");
                    if self.accept("._eE") || self.peek().is_none() {
                        return false;
                    }
                }
                '_' => {
                    self.pos += 1;
                    if self.accept("._eE") || self.peek().is_none() {
                        return false;
                    }
                }
                _ if digits.contains(c) => self.accept_run(digits),
                _ => break,
            }
        }
        !self.peek().is_some_and(is_alphanumeric)
    }

    /// Behind the first number of a duration.
    fn duration(&mut self) -> bool {
        if !self.accept("smhdwy") {
            return false;
        }
        self.accept("s");
        while self.accept("0123456789") {
            self.accept_run("0123456789");
            if !self.accept("smhdw") {
                return false;
            }
            self.accept("s");
        }
        match self.peek() {
            Some(c) if is_alphanumeric(c) => {
                // Prometheus's message includes the character that does not belong.
                self.pos += 1;
                false
            }
            _ => true,
        }
    }

    /// Behind the opening quote.
    fn string(&mut self, quote: char) -> Result<TokenKind, ParseError> {
        loop {
            match self.next() {
                Some('\\') => self.escape(quote)?,
                None | Some('\n') => return Err(self.error("unterminated quoted string")),
                Some(c) if c == quote => return Ok(TokenKind::String),
                Some(_) => {}
            }
        }
    }

    /// Behind a backslash.
    fn escape(&mut self, quote: char) -> Result<(), ParseError> {
        let (count, base, max) = match self.peek() {
            None => return Err(self.error("escape sequence not terminated")),
            Some(c) if c == quote || "abfnrtv\\".contains(c) => {
                self.pos += 1;
                return Ok(());
            }
            Some('0'..='7') => (3, 8, 255),
            Some('x') => (2, 16, 255),
            Some('u') => (4, 16, u32::from(char::MAX)),
            Some('U') => (8, 16, u32::from(char::MAX)),
            Some(c) => {
                return Err(self.error(format!("unknown escape sequence {}", name_char(c))));
            }
        };
        if base == 16 {
            self.pos += 1;
        }
        let mut code: u32 = 0;
        for _ in 0..count {
            let Some(c) = self.peek() else {
                return Err(self.error("escape sequence not terminated"));
            };
            let Some(digit) = c.to_digit(base) else {
                return Err(self.error(format!(
                    "illegal character {} in escape sequence",
                    name_char(c)
                )));
            };
            self.pos += 1;
            code = code.wrapping_mul(base).wrapping_add(digit);
        }
        if code > max || (0xD800..0xE000).contains(&code) {
            return Err(self.error("escape sequence is an invalid Unicode code point"));
        }
        Ok(())
    }

    /// Behind the opening backtick.
    fn raw_string(&mut self) -> Result<TokenKind, ParseError> {
        match self.rest().find('`') {
            Some(length) => {
                self.pos += length + 1;
                Ok(TokenKind::String)
            }
            None => Err(self.error("unterminated raw string")),
        }
    }
}

/// The meaning of a word, in any case, if it has one.
fn keyword(word: &str) -> Option<TokenKind> {
    if word.len() > WORD_LEN_MAX {
        return None;
    }
    if let Some((_, keyword)) = KEYWORDS
        .iter()
        .find(|(name, _)| word.eq_ignore_ascii_case(name))
    {
        return Some(TokenKind::Keyword(*keyword));
    }
    if let Some(op) = AggregateOp::ALL
        .iter()
        .find(|op| word.eq_ignore_ascii_case(op.as_str()))
    {
        return Some(TokenKind::Aggregate(*op));
    }
    if ["inf", "nan"]
        .iter()
        .any(|name| word.eq_ignore_ascii_case(name))
    {
        return Some(TokenKind::Number);
    }
    [
        BinaryOp::And,
        BinaryOp::Or,
        BinaryOp::Unless,
        BinaryOp::Atan2,
    ]
    .iter()
    .find(|op| word.eq_ignore_ascii_case(op.as_str()))
    .map(|op| TokenKind::Operator(*op))
}

/// Go's `%#U`.
fn name_char(c: char) -> String {
    format!("U+{:04X} '{c}'", u32::from(c))
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

fn is_alphanumeric(c: char) -> bool {
    is_alpha(c) || c.is_ascii_digit()
}
