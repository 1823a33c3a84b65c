//! OpenMetrics text, 0.0.1 and 1.0.0: single blanks, no free comments, `# EOF` at the end,
//! timestamps in seconds, exemplars behind samples.
#![deny(clippy::indexing_slicing)]

use super::{
    Entry, MetricType, ParseError,
    cursor::{Cursor, Span, State, Token, go_quote},
    parse_float,
    text::push_label,
};

const NO_EOF: &str = "data does not end with # EOF";

/// The next token. Blanks belong to the token that begins with one.
fn token(cursor: &mut Cursor<'_>) -> Token {
    cursor.token_start = cursor.at;
    let Some(byte) = cursor.current() else {
        return Token::Eof;
    };
    match (cursor.state, byte) {
        (State::Init, b'#') => metadata_word(cursor),
        (State::Init | State::Value, b'{') => cursor.single(Token::BraceOpen, State::Labels),
        (State::Init, byte) if is_name_start(byte) || byte == b':' => {
            cursor.name(true, Token::MetricName, State::Value)
        }
        (State::Meta1, b'"') => cursor.quoted(true, Token::MetricName, State::Meta2),
        (State::Meta1, byte) if is_name_start(byte) || byte == b':' => {
            cursor.name(true, Token::MetricName, State::Meta2)
        }
        (State::Meta2, b' ') => {
            cursor.skip_line();
            if cursor.current().is_none() {
                return Token::Invalid;
            }
            cursor.single(Token::Text, State::Init)
        }
        (State::Labels, b'}') => cursor.single(Token::BraceClose, State::Value),
        (State::Exemplar, b'}') => cursor.single(Token::BraceClose, State::ExemplarValue),
        (State::Labels, b'=') => cursor.single(Token::Equal, State::LabelValue),
        (State::Exemplar, b'=') => cursor.single(Token::Equal, State::ExemplarLabelValue),
        (State::Labels | State::Exemplar, b',') => cursor.single(Token::Comma, cursor.state),
        (State::Labels | State::Exemplar, b'"') => {
            cursor.quoted(true, Token::QuotedString, cursor.state)
        }
        (State::Labels | State::Exemplar, byte) if is_name_start(byte) => {
            cursor.name(false, Token::LabelName, cursor.state)
        }
        (State::LabelValue, b'"') => cursor.quoted(false, Token::LabelValue, State::Labels),
        (State::ExemplarLabelValue, b'"') => {
            cursor.quoted(false, Token::LabelValue, State::Exemplar)
        }
        (State::Value, b' ') => word(cursor, Token::Value, State::Timestamp),
        (State::ExemplarValue, b' ') => word(cursor, Token::Value, State::ExemplarTimestamp),
        (State::Timestamp, b' ') if cursor.starts_with(b" # ") => {
            cursor.at += 3;
            match cursor.current() {
                Some(b'{') => cursor.single(Token::Comment, State::Exemplar),
                _ => Token::Invalid,
            }
        }
        (State::Timestamp | State::ExemplarTimestamp, b' ') => {
            word(cursor, Token::Timestamp, cursor.state)
        }
        (State::Timestamp | State::ExemplarTimestamp, b'\n') => {
            cursor.single(Token::Linebreak, State::Init)
        }
        _ => Token::Invalid,
    }
}

/// A blank and at least one byte behind it.
fn word(cursor: &mut Cursor<'_>, token: Token, next: State) -> Token {
    cursor.at += 1;
    let start = cursor.at;
    cursor.skip_while(|byte| !matches!(byte, b' ' | b'\n' | 0));
    if cursor.at == start {
        return Token::Invalid;
    }
    cursor.state = next;
    token
}

/// The four words that may follow `# `.
fn metadata_word(cursor: &mut Cursor<'_>) -> Token {
    let words: [(&[u8], Token); 4] = [
        (b"# HELP ", Token::Help),
        (b"# TYPE ", Token::Type),
        (b"# UNIT ", Token::Unit),
        (b"# EOF", Token::EofWord),
    ];
    for (text, token) in words {
        if cursor.starts_with(text) {
            cursor.at += text.len();
            if token == Token::EofWord {
                if cursor.current() == Some(b'\n') {
                    cursor.at += 1;
                }
            } else {
                cursor.state = State::Meta1;
            }
            return token;
        }
    }
    // The first byte that fits none of the words.
    let fits = |text: &[u8]| {
        (0..text.len())
            .take_while(|offset| cursor.byte(cursor.at + offset) == text.get(*offset).copied())
            .count()
    };
    let longest = words.iter().map(|(text, _)| fits(text)).max();
    cursor.at += longest.unwrap_or_default();
    Token::Invalid
}

fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}

pub(super) fn next_entry<'a>(cursor: &mut Cursor<'a>) -> Result<Option<Entry<'a>>, ParseError> {
    if cursor.body_is_empty() {
        return Ok(None);
    }
    cursor.entry_start = cursor.at;
    match token(cursor) {
        Token::EofWord => match token(cursor) {
            Token::Eof => Ok(None),
            _ => Err(ParseError("unexpected data after # EOF".to_owned())),
        },
        Token::Eof => Err(ParseError(NO_EOF.to_owned())),
        word @ (Token::Help | Token::Type | Token::Unit) => metadata(cursor, word).map(Some),
        Token::BraceOpen => {
            cursor.begin_sample(None);
            labels(cursor, false)?;
            let series_end = cursor.at;
            if cursor.name.is_none() {
                token(cursor);
                return Err(ParseError(format!(
                    "metric name not set while parsing: {}",
                    cursor.shown_entry()
                )));
            }
            let next = token(cursor);
            sample(cursor, series_end, next).map(Some)
        }
        Token::MetricName => {
            cursor.begin_sample(Some(cursor.token_span()));
            let mut series_end = cursor.at;
            let mut next = token(cursor);
            if next == Token::BraceOpen {
                labels(cursor, false)?;
                series_end = cursor.at;
                next = token(cursor);
            }
            sample(cursor, series_end, next).map(Some)
        }
        other => Err(cursor.unexpected("expected a valid start token", other)),
    }
}

fn metadata<'a>(cursor: &mut Cursor<'a>, word: Token) -> Result<Entry<'a>, ParseError> {
    let next = token(cursor);
    if next != Token::MetricName {
        let expected = format!("expected metric name after {}", word.as_str());
        return Err(cursor.unexpected(&expected, next));
    }
    let name = cursor.bytes(cursor.without_quotes(cursor.token_span()));
    if token(cursor) != Token::Text {
        return Err(ParseError(format!("expected text in {}", word.as_str())));
    }
    let text = cursor.token();
    let text = text
        .get(1..text.len().saturating_sub(1))
        .unwrap_or_default();
    match word {
        Token::Type => {
            let kind = match text {
                b"counter" => MetricType::Counter,
                b"gauge" => MetricType::Gauge,
                b"histogram" => MetricType::Histogram,
                b"gaugehistogram" => MetricType::GaugeHistogram,
                b"summary" => MetricType::Summary,
                b"info" => MetricType::Info,
                b"stateset" => MetricType::StateSet,
                b"unknown" => MetricType::Unknown,
                other => {
                    return Err(ParseError(format!(
                        "invalid metric type {}",
                        go_quote(other)
                    )));
                }
            };
            Ok(Entry::Type {
                name,
                kind: cursor.set_kind(kind),
            })
        }
        Token::Help => match std::str::from_utf8(text) {
            Ok(text) => Ok(Entry::Help { name, text }),
            Err(_) => Err(ParseError(format!(
                "help text {} is not a valid utf8 string",
                go_quote(text)
            ))),
        },
        _ => {
            let has_suffix = name
                .strip_suffix(text)
                .is_some_and(|stem| stem.ends_with(b"_"));
            if !text.is_empty() && !has_suffix {
                return Err(ParseError(format!(
                    "unit {} not a suffix of metric {}",
                    go_quote(text),
                    go_quote(name)
                )));
            }
            Ok(Entry::Unit { name, text })
        }
    }
}

/// Reads labels up to the closing brace. A quoted text on its own is the metric name, which an
/// exemplar has none of.
fn labels(cursor: &mut Cursor<'_>, is_exemplar: bool) -> Result<(), ParseError> {
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
            if is_exemplar {
                return Err(cursor.unexpected("expected label name", next));
            }
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
        match next {
            Token::Comma => next = token(cursor),
            Token::BraceClose => {}
            other => return Err(cursor.unexpected("expected comma or brace close", other)),
        }
    }
}

fn float(cursor: &Cursor<'_>, next: Token, after: &str) -> Result<f64, ParseError> {
    if next != Token::Value {
        return Err(cursor.unexpected(&format!("expected value after {after}"), next));
    }
    seconds_or_value(cursor)
}

/// The float under the cursor, behind its blank.
fn seconds_or_value(cursor: &Cursor<'_>) -> Result<f64, ParseError> {
    parse_float(cursor.token().get(1..).unwrap_or_default())
        .map_err(|problem| cursor.while_parsing(&problem))
}

/// The timestamp under the cursor: seconds in the text, milliseconds here, cut towards zero.
fn timestamp(cursor: &Cursor<'_>, what: &str) -> Result<i64, ParseError> {
    let seconds = seconds_or_value(cursor)?;
    if !seconds.is_finite() {
        let shown = match seconds {
            seconds if seconds.is_nan() => "NaN",
            seconds if seconds > 0.0 => "+Inf",
            _ => "-Inf",
        };
        return Err(ParseError(format!("invalid {what} {shown}")));
    }
    Ok((seconds * 1000.0) as i64)
}

fn sample<'a>(
    cursor: &mut Cursor<'a>,
    series_end: usize,
    next: Token,
) -> Result<Entry<'a>, ParseError> {
    let series = cursor.bytes(Span {
        start: cursor.entry_start,
        end: series_end,
    });
    let value = float(cursor, next, "metric")?;
    let mut next = token(cursor);
    let mut time = None;
    if next == Token::Timestamp {
        time = Some(timestamp(cursor, "timestamp")?);
        next = token(cursor);
        if next != Token::Linebreak && next != Token::Comment {
            return Err(cursor.unexpected("expected next entry after timestamp", next));
        }
    }
    match next {
        Token::Eof => return Err(ParseError(NO_EOF.to_owned())),
        Token::Comment => exemplar(cursor)?,
        // What follows cannot start an entry, so the next call says what is wrong.
        _ => {}
    }
    Ok(Entry::Sample {
        series,
        value,
        time,
    })
}

/// Reads an exemplar; the sample's labels stay.
fn exemplar(cursor: &mut Cursor<'_>) -> Result<(), ParseError> {
    let sample_labels = cursor.labels.len();
    labels(cursor, true)?;
    cursor.exemplar_labels.clear();
    let own = cursor.labels.drain(sample_labels..);
    cursor.exemplar_labels.extend(own);
    let next = token(cursor);
    let value = float(cursor, next, "exemplar labels")?;
    let mut time = None;
    match token(cursor) {
        Token::Eof => return Err(ParseError(NO_EOF.to_owned())),
        Token::Linebreak => {}
        Token::Timestamp => {
            time = Some(timestamp(cursor, "exemplar timestamp")?);
            match token(cursor) {
                Token::Linebreak => {}
                other => {
                    let expected = "expected next entry after exemplar timestamp";
                    return Err(cursor.unexpected(expected, other));
                }
            }
        }
        other => return Err(cursor.unexpected("expected timestamp or comment", other)),
    }
    cursor.exemplar = Some((value, time));
    Ok(())
}
