//! Prometheus's text format, 0.0.4 and 1.0.0: blanks are free, comments are anything, `# HELP` and
//! `# TYPE` come in any order, timestamps are milliseconds.
#![deny(clippy::indexing_slicing)]

use super::{
    Entry, MetricType, ParseError,
    cursor::{Cursor, Span, State, Token, go_quote},
    parse_float,
};

/// The next token that is not blank.
fn token(cursor: &mut Cursor<'_>) -> Token {
    if cursor.state != State::Meta2 {
        cursor.skip_while(is_blank);
    }
    cursor.token_start = cursor.at;
    let Some(byte) = cursor.current() else {
        return Token::Eof;
    };
    match (cursor.state, byte) {
        (State::Init | State::Timestamp, b'\n') => cursor.single(Token::Linebreak, State::Init),
        (State::Init, b'#') => comment(cursor),
        (State::Init | State::Value, b'{') => cursor.single(Token::BraceOpen, State::Labels),
        (State::Init, byte) if is_name_start(byte) || byte == b':' => {
            cursor.name(true, Token::MetricName, State::Value)
        }
        (State::Meta1, b'"') => cursor.quoted(true, Token::MetricName, State::Meta2),
        (State::Meta1, byte) if is_name_start(byte) || byte == b':' => {
            cursor.name(true, Token::MetricName, State::Meta2)
        }
        (State::Meta2, _) => {
            cursor.skip_line();
            cursor.state = State::Init;
            Token::Text
        }
        (State::Labels, b'}') => cursor.single(Token::BraceClose, State::Value),
        (State::Labels, b'=') => cursor.single(Token::Equal, State::LabelValue),
        (State::Labels, b',') => cursor.single(Token::Comma, State::Labels),
        (State::Labels, b'"') => cursor.quoted(true, Token::QuotedString, State::Labels),
        (State::Labels, byte) if is_name_start(byte) => {
            cursor.name(false, Token::LabelName, State::Labels)
        }
        (State::LabelValue, b'"') => cursor.quoted(true, Token::LabelValue, State::Labels),
        (State::Value, byte) if is_value(byte) => {
            cursor.skip_while(is_value);
            cursor.state = State::Timestamp;
            Token::Value
        }
        (State::Timestamp, byte) if byte.is_ascii_digit() => {
            cursor.skip_while(|byte| byte.is_ascii_digit());
            Token::Timestamp
        }
        _ => Token::Invalid,
    }
}

/// A token that begins with `#`: metadata where one of the two words follows, else a comment up to
/// the line break.
fn comment(cursor: &mut Cursor<'_>) -> Token {
    cursor.at += 1;
    let after_mark = cursor.at;
    cursor.skip_while(is_blank);
    if cursor.at > after_mark {
        for (word, token) in [(b"HELP", Token::Help), (b"TYPE", Token::Type)] {
            if cursor.starts_with(word) && cursor.byte(cursor.at + word.len()).is_some_and(is_blank)
            {
                cursor.at += word.len();
                cursor.state = State::Meta1;
                return token;
            }
        }
    }
    cursor.skip_line();
    Token::Comment
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

fn is_value(byte: u8) -> bool {
    !matches!(byte, b'{' | b' ' | b'\t' | b'\n' | 0)
}

pub(super) fn next_entry<'a>(cursor: &mut Cursor<'a>) -> Result<Option<Entry<'a>>, ParseError> {
    loop {
        // Blanks before a name are not part of it (upstream keeps them in the name).
        cursor.skip_while(is_blank);
        cursor.entry_start = cursor.at;
        return match token(cursor) {
            Token::Eof => Ok(None),
            Token::Linebreak => continue,
            word @ (Token::Help | Token::Type) => metadata(cursor, word).map(Some),
            Token::Comment => match token(cursor) {
                Token::Linebreak => Ok(Some(Entry::Comment)),
                other => Err(cursor.unexpected("expected linebreak after comment", other)),
            },
            Token::BraceOpen => {
                cursor.begin_sample(None);
                labels(cursor)?;
                let next = (cursor.token_span().end, token(cursor));
                sample(cursor, next).map(Some)
            }
            Token::MetricName => {
                cursor.begin_sample(Some(cursor.token_span()));
                let mut next = (cursor.at, token(cursor));
                if next.1 == Token::BraceOpen {
                    labels(cursor)?;
                    next = (cursor.at, token(cursor));
                }
                sample(cursor, next).map(Some)
            }
            other => Err(cursor.unexpected("expected a valid start token", other)),
        };
    }
}

fn metadata<'a>(cursor: &mut Cursor<'a>, word: Token) -> Result<Entry<'a>, ParseError> {
    let next = token(cursor);
    if next != Token::MetricName {
        let expected = format!("expected metric name after {}", word.as_str());
        return Err(cursor.unexpected(&expected, next));
    }
    let name = cursor.bytes(cursor.without_quotes(cursor.token_span()));
    let _text = token(cursor);
    let text = cursor.token().get(1..).unwrap_or_default();
    let entry = if word == Token::Type {
        let kind = match text {
            b"counter" => MetricType::Counter,
            b"gauge" => MetricType::Gauge,
            b"histogram" => MetricType::Histogram,
            b"summary" => MetricType::Summary,
            b"untyped" => MetricType::Unknown,
            other => {
                return Err(ParseError(format!(
                    "invalid metric type {}",
                    go_quote(other)
                )));
            }
        };
        Entry::Type {
            name,
            kind: cursor.set_kind(kind),
        }
    } else {
        let text = std::str::from_utf8(text).map_err(|_| {
            ParseError(format!(
                "help text {} is not a valid utf8 string",
                go_quote(text)
            ))
        })?;
        Entry::Help { name, text }
    };
    match token(cursor) {
        Token::Linebreak => Ok(entry),
        other => Err(cursor.unexpected("expected linebreak after metadata", other)),
    }
}

/// Reads labels up to the closing brace. A quoted text on its own is the metric name.
fn labels(cursor: &mut Cursor<'_>) -> Result<(), ParseError> {
    let mut next = token(cursor);
    loop {
        let name = cursor.token_span();
        match next {
            Token::BraceClose => return Ok(()),
            Token::LabelName | Token::QuotedString => {}
            other => return Err(cursor.unexpected("expected label name", other)),
        }
        let is_quoted = next == Token::QuotedString;
        next = token(cursor);
        if next == Token::Comma || next == Token::BraceClose {
            if cursor.name.is_some() {
                return Err(ParseError(format!(
                    "metric name already set while parsing: {}",
                    cursor.shown_entry()
                )));
            }
            if !is_quoted {
                return Err(cursor.unexpected("expected equal", next));
            }
            cursor.name = Some(cursor.without_quotes(name));
            if next == Token::BraceClose {
                return Ok(());
            }
            next = token(cursor);
            continue;
        }
        if next != Token::Equal {
            return Err(cursor.unexpected("expected equal", next));
        }
        next = token(cursor);
        if next != Token::LabelValue {
            return Err(cursor.unexpected("expected label value", next));
        }
        push_label(cursor, name)?;
        next = token(cursor);
        if next == Token::Comma {
            next = token(cursor);
        }
    }
}

/// Keeps the label `name` with the value under the cursor.
pub(super) fn push_label(cursor: &mut Cursor<'_>, name: Span) -> Result<(), ParseError> {
    let value = cursor.token();
    if std::str::from_utf8(value).is_err() {
        return Err(ParseError(format!(
            "invalid UTF-8 label value: {}",
            go_quote(value)
        )));
    }
    let pair = (
        cursor.without_quotes(name),
        cursor.without_quotes(cursor.token_span()),
    );
    cursor.labels.push(pair);
    Ok(())
}

/// Reads value and timestamp; `next` is where the series ends and the token behind it.
fn sample<'a>(cursor: &mut Cursor<'a>, next: (usize, Token)) -> Result<Entry<'a>, ParseError> {
    let (series_end, next) = next;
    let series = cursor.bytes(Span {
        start: cursor.entry_start,
        end: series_end,
    });
    if cursor.name.is_none() {
        return Err(ParseError(format!(
            "metric name not set while parsing: {}",
            cursor.shown_entry()
        )));
    }
    if next != Token::Value {
        return Err(cursor.unexpected("expected value after metric", next));
    }
    let value = parse_float(cursor.token()).map_err(|problem| cursor.while_parsing(&problem))?;
    let time = match token(cursor) {
        Token::Linebreak => None,
        Token::Timestamp => {
            let digits = cursor.token();
            let time = std::str::from_utf8(digits)
                .ok()
                .and_then(|digits| digits.parse::<i64>().ok())
                .ok_or_else(|| {
                    cursor.while_parsing(&ParseError(format!(
                        "strconv.ParseInt: parsing {}: value out of range",
                        go_quote(digits)
                    )))
                })?;
            match token(cursor) {
                Token::Linebreak => Some(time),
                other => {
                    return Err(cursor.unexpected("expected next entry after timestamp", other));
                }
            }
        }
        other => return Err(cursor.unexpected("expected timestamp or new record", other)),
    };
    Ok(Entry::Sample {
        series,
        value,
        time,
    })
}
