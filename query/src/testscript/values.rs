//! Series lines: a metric and its values, `x{a="b"} 1 2+3x4 _ stale`.
//!
//! Messages are those of Prometheus's parser, with the column of the mistake.

use std::{fmt, sync::Arc};

use narthex_storage::{Labels, METRIC_NAME, MatchOp, stale_marker};

use super::{
    histograms::{parse_histogram, repeat_histogram},
    start_times::parse_start_times,
};
use crate::{
    FloatHistogram, SampleValue,
    parser::{parse_selector, quote},
};

/// The most values that one line may stand for.
pub(super) const VALUES_MAX: usize = 1_000_000;

/// A series line.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesLine {
    /// The series.
    pub labels: Labels,
    /// What it holds.
    pub values: Values,
}

/// The values of a series line.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// One for each step; `None` where there is no sample.
    Samples(Vec<Option<SampleValue>>),
    /// `@st`: for each step how far from its time the sample's start timestamp lies, in milliseconds; `None` where
    /// none is known.
    StartTimes(Vec<Option<i64>>),
}

/// Why a line is no series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeriesError {
    /// It does not parse.
    Syntax {
        /// Where, in bytes from 1.
        column: usize,
        /// What is wrong, in Prometheus's words.
        message: String,
    },
    /// Its labels cannot be stored.
    Labels(String),
}

impl SeriesError {
    pub(super) fn new(offset: usize, message: impl Into<String>) -> Self {
        Self::Syntax {
            column: offset + 1,
            message: message.into(),
        }
    }

    /// The message with the place in a text in which the line has this number, from 1.
    pub fn in_line(&self, line: usize) -> String {
        match self {
            Self::Syntax { column, message } => {
                format!("{line}:{column}: parse error: {message}")
            }
            Self::Labels(message) => message.clone(),
        }
    }
}

impl fmt::Display for SeriesError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.in_line(1))
    }
}

impl std::error::Error for SeriesError {}

/// Parses a metric: a name, labels in braces, both, or nothing for no labels.
///
/// # Errors
/// [`SeriesError`] in the words of Prometheus's `ParseMetric`.
pub fn parse_metric(text: &str) -> Result<Labels, SeriesError> {
    if text.trim().is_empty() {
        return Ok(Labels::empty());
    }
    labels_of(text)
}

fn labels_of(metric: &str) -> Result<Labels, SeriesError> {
    let mut matchers = parse_selector(metric).map_err(|error| {
        let mut message = error.message.replace("label matching", "label set");
        if error.span.start == 0 && message.starts_with("unexpected <") {
            message.push_str(" in series values");
        }
        SeriesError::new(error.span.start as usize, message)
    })?;
    if let Some(matcher) = matchers
        .iter()
        .find(|matcher| matcher.op() != MatchOp::Equal)
    {
        let operator = matcher.op().as_str();
        let offset = unquoted(metric, operator).unwrap_or_default();
        let message = format!("unexpected <op:{operator}> in label set, expected \"=\"");
        return Err(SeriesError::new(offset, message));
    }
    // The name in front of the braces counts more than one inside.
    let name_end = metric.find('{').unwrap_or(metric.len());
    let name = metric.split_at(name_end).0.trim();
    if !name.is_empty() {
        matchers.retain(|matcher| matcher.name() != METRIC_NAME || matcher.value() == name);
        matchers.dedup_by(|later, earlier| {
            later.name() == METRIC_NAME && earlier.name() == METRIC_NAME
        });
    }
    let pairs = matchers
        .iter()
        .map(|matcher| (matcher.name(), matcher.value()));
    Labels::try_from_pairs(pairs)
        .map_err(|error| SeriesError::Labels(format!("{error}: invalid sample")))
}

/// Where `wanted` stands outside of quotes.
fn unquoted(text: &str, wanted: &str) -> Option<usize> {
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((index, c)) = chars.next() {
        match (quote, c) {
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, _)
                if text
                    .get(index..)
                    .is_some_and(|rest| rest.starts_with(wanted)) =>
            {
                return Some(index);
            }
            (None, _) => {}
            (Some(open), _) if c == open => quote = None,
            (Some('"' | '\''), '\\') => {
                chars.next();
            }
            _ => {}
        }
    }
    None
}

/// Parses a series line.
///
/// # Errors
/// [`SeriesError`] in the words of Prometheus's `ParseSeriesDesc`.
pub fn parse_series(line: &str) -> Result<SeriesLine, SeriesError> {
    let values_start = metric_len(line)?;
    let (metric, rest) = line.split_at(values_start);
    let labels = labels_of(metric)?;
    let values = match rest.trim_start().strip_prefix("@st") {
        Some(starts) => Values::StartTimes(parse_start_times(starts, line.len() - starts.len())?),
        None => Values::Samples(
            ValuesParser {
                line,
                at: values_start,
            }
            .parse()?,
        ),
    };
    Ok(SeriesLine { labels, values })
}

/// How long the metric at the head of a line is.
fn metric_len(line: &str) -> Result<usize, SeriesError> {
    let is_name = |c: char| c == '_' || c == ':' || c.is_ascii_alphanumeric();
    let name_len = line.find(|c| !is_name(c)).unwrap_or(line.len());
    let (name, behind) = line.split_at(name_len);
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        let digits = name.find(|c: char| !c.is_ascii_digit()).unwrap_or(name_len);
        let number = name.split_at(digits).0;
        let message = format!("unexpected number {} in series values", quote(number));
        return Err(SeriesError::new(0, message));
    }
    let trimmed = behind.trim_start();
    if !trimmed.starts_with('{') || (trimmed.starts_with("{{") && !name.is_empty()) {
        if name.is_empty() {
            let found = match line.chars().next() {
                None => "end of input".to_owned(),
                Some(first) => quote(&first.to_string()),
            };
            let message = format!("unexpected {found} in series values");
            return Err(SeriesError::new(0, message));
        }
        return Ok(name_len);
    }
    let open = line.len() - trimmed.len();
    match unquoted(trimmed, "}") {
        Some(close) => Ok(open + close + 1),
        // The selector's parser knows what is wrong.
        None => labels_of(line).map(|_| line.len()),
    }
}

/// Reads the values behind a metric.
struct ValuesParser<'a> {
    line: &'a str,
    at: usize,
}

/// What may stand among values.
#[derive(Debug, Clone, PartialEq)]
enum Token<'a> {
    Space,
    Plus,
    Minus,
    Times,
    Blank,
    Number(&'a str),
    Word(&'a str),
    End,
}

impl Token<'_> {
    /// As it is called in messages.
    fn describe(&self) -> String {
        match self {
            Self::Space => "\" \"".to_owned(),
            Self::Plus => "<op:+>".to_owned(),
            Self::Minus => "<op:->".to_owned(),
            Self::Times => "\"x\"".to_owned(),
            Self::Blank => "\"_\"".to_owned(),
            Self::Number(text) => format!("number {}", quote(text)),
            Self::Word(text) => format!("identifier {}", quote(text)),
            Self::End => "end of input".to_owned(),
        }
    }
}

impl<'a> ValuesParser<'a> {
    fn rest(&self) -> &'a str {
        self.line.split_at(self.at).1
    }

    /// The next token and its length; numbers and words are as long as they can be.
    fn peek(&self) -> Result<(Token<'a>, usize), SeriesError> {
        let rest = self.rest();
        let bytes = rest.as_bytes();
        let run = |matches: &dyn Fn(char) -> bool| rest.find(|c| !matches(c)).unwrap_or(rest.len());
        let Some(first) = rest.chars().next() else {
            return Ok((Token::End, 0));
        };
        Ok(match first {
            ' ' | '\t' => (Token::Space, run(&|c| c == ' ' || c == '\t')),
            '+' => (Token::Plus, 1),
            '-' => (Token::Minus, 1),
            'x' => (Token::Times, 1),
            '_' => (Token::Blank, 1),
            _ if first.is_ascii_digit()
                || (first == '.' && bytes.get(1).is_some_and(u8::is_ascii_digit)) =>
            {
                let len = number_len(bytes);
                let (number, behind) = rest.split_at(len);
                let next = behind.chars().next();
                let is_cut = number.ends_with(['_', 'e', 'E', '+', '-']) || number.contains("__");
                if next == Some('.') {
                    let message = format!("bad number syntax: {}", quote(&format!("{number}.")));
                    return Err(SeriesError::new(self.at, message));
                }
                if is_cut || next.is_some_and(|next| next != 'x' && next.is_alphanumeric()) {
                    let message = format!("bad number syntax: {}", quote(number));
                    return Err(SeriesError::new(self.at, message));
                }
                (Token::Number(number), len)
            }
            _ if first.is_ascii_alphabetic() => {
                let len = run(&|c| c == '_' || c == ':' || c.is_ascii_alphanumeric());
                let word = rest.split_at(len).0;
                if matches!(word.to_ascii_lowercase().as_str(), "inf" | "nan") {
                    (Token::Number(word), len)
                } else if ["inf", "nan"].iter().any(|name| {
                    let head = word.get(..4).map(str::to_ascii_lowercase);
                    head.is_some_and(|head| head.strip_suffix('x') == Some(name))
                }) {
                    (Token::Number(word.split_at(3).0), 3)
                } else {
                    (Token::Word(word), len)
                }
            }
            other => {
                let message = format!("unexpected character in series sequence: '{other}'");
                return Err(SeriesError::new(self.at, message));
            }
        })
    }

    fn unexpected(&self, token: &Token<'_>, place: &str) -> SeriesError {
        SeriesError::new(self.at, format!("unexpected {}{place}", token.describe()))
    }

    fn parse(mut self) -> Result<Vec<Option<SampleValue>>, SeriesError> {
        const PLACE: &str = " in series values";
        let mut values = Vec::new();
        loop {
            let (token, len) = self.peek()?;
            match token {
                Token::End => return Ok(values),
                Token::Space => {}
                // Values stand apart.
                other => return Err(self.unexpected(&other, "")),
            }
            self.at += len;
            if self.rest().starts_with("{{") {
                self.histograms(&mut values)?;
                continue;
            }
            let (token, len) = self.peek()?;
            let (first, delta) = match token {
                Token::End => return Ok(values),
                Token::Blank => {
                    self.at += len;
                    let count = self.repetitions()?.unwrap_or(1);
                    self.check_count(values.len(), count)?;
                    values.resize(values.len() + count as usize, None);
                    continue;
                }
                Token::Word("stale") => {
                    self.at += len;
                    let delta = match self.peek()?.0 {
                        Token::Plus | Token::Minus => Some(self.number()?),
                        _ => None,
                    };
                    (stale_marker(), delta)
                }
                Token::Word(_) => {
                    let place = " in series values, expected number or \"stale\"";
                    return Err(self.unexpected(&token, place));
                }
                Token::Times | Token::Space => return Err(self.unexpected(&token, "")),
                Token::Plus | Token::Minus | Token::Number(_) => {
                    let first = self.number()?;
                    let delta = match self.peek()?.0 {
                        Token::Plus | Token::Minus => Some(self.number()?),
                        _ => None,
                    };
                    (first, delta)
                }
            };
            let Some(count) = self.repetitions()? else {
                let (token, _) = self.peek()?;
                if delta.is_some() {
                    return Err(self.unexpected(&token, PLACE));
                }
                values.push(Some(SampleValue::Float(first)));
                continue;
            };
            // The first value does not count as a repetition.
            self.check_count(values.len(), count.saturating_add(1))?;
            let mut value = first;
            for _ in 0..=count {
                values.push(Some(SampleValue::Float(value)));
                // Adding nothing keeps a marker a marker.
                if let Some(delta) = delta {
                    value += delta;
                }
            }
        }
    }

    /// A histogram, or a row of them.
    fn histograms(&mut self, values: &mut Vec<Option<SampleValue>>) -> Result<(), SeriesError> {
        let first = self.histogram()?;
        let rest = self.rest();
        let is_minus = rest.starts_with("-{{");
        let step = if is_minus || rest.starts_with("+{{") {
            self.at += 1;
            Some(self.histogram()?)
        } else {
            None
        };
        let Some(count) = self.repetitions()? else {
            if step.is_some() {
                let (token, _) = self.peek()?;
                return Err(self.unexpected(&token, " in series values"));
            }
            values.push(Some(SampleValue::Histogram(Arc::new(first))));
            return Ok(());
        };
        self.check_count(values.len(), count.saturating_add(1))?;
        let step = step.as_ref().map(|step| (step, is_minus));
        let all = repeat_histogram(first, step, count)
            .map_err(|message| SeriesError::new(self.at, message))?;
        values.extend(
            all.into_iter()
                .map(|histogram| Some(SampleValue::Histogram(histogram))),
        );
        Ok(())
    }

    fn histogram(&mut self) -> Result<FloatHistogram, SeriesError> {
        let (histogram, len) = parse_histogram(self.rest())
            .map_err(|(offset, message)| SeriesError::new(self.at + offset, message))?;
        self.at += len;
        Ok(histogram)
    }

    /// A number with its sign, if it has one.
    fn number(&mut self) -> Result<f64, SeriesError> {
        let mut sign = 1.0;
        let (mut token, mut len) = self.peek()?;
        if matches!(token, Token::Plus | Token::Minus) {
            if token == Token::Minus {
                sign = -1.0;
            }
            self.at += len;
            (token, len) = self.peek()?;
        }
        let Token::Number(text) = token else {
            return Err(self.unexpected(&token, " in series values"));
        };
        let value = read_number(text)
            .ok_or_else(|| SeriesError::new(self.at, format!("error parsing number: {text}")))?;
        self.at += len;
        Ok(sign * value)
    }

    /// `xN`, if it stands here.
    fn repetitions(&mut self) -> Result<Option<u64>, SeriesError> {
        let (token, len) = self.peek()?;
        if token != Token::Times {
            return Ok(None);
        }
        self.at += len;
        let (token, len) = self.peek()?;
        let Token::Number(text) = token else {
            return Err(self.unexpected(&token, " in series values"));
        };
        let count = text.parse().map_err(|_| {
            let reason = if text.bytes().all(|byte| byte.is_ascii_digit()) {
                "value out of range"
            } else {
                "invalid syntax"
            };
            let message = format!(
                "invalid repetition in series values: strconv.ParseUint: parsing {}: {reason}",
                quote(text)
            );
            SeriesError::new(self.at, message)
        })?;
        self.at += len;
        Ok(Some(count))
    }

    fn check_count(&self, present: usize, more: u64) -> Result<(), SeriesError> {
        if (present as u64).saturating_add(more) > VALUES_MAX as u64 {
            let message = format!("a series may have at most {VALUES_MAX} values");
            return Err(SeriesError::new(self.at, message));
        }
        Ok(())
    }
}

/// How many bytes at the head of `bytes` are a decimal number.
fn number_len(bytes: &[u8]) -> usize {
    let digits = |from: usize| {
        let rest = bytes.get(from..).unwrap_or_default();
        let is_digit = |byte: &&u8| byte.is_ascii_digit() || **byte == b'_';
        from + rest.iter().take_while(is_digit).count()
    };
    let mut len = digits(0);
    if bytes.get(len) == Some(&b'.') {
        len = digits(len + 1);
    }
    if matches!(bytes.get(len), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(len + 1), Some(b'+' | b'-')));
        len = digits(len + 1 + sign);
    }
    len
}

/// A number with its sign, if it has one.
pub(super) fn read_signed(text: &str) -> Option<f64> {
    match text.strip_prefix('-') {
        Some(rest) => read_number(rest).map(|value| -value),
        None => read_number(text.strip_prefix('+').unwrap_or(text)),
    }
}

/// A number in Go's notation: a whole one that begins with 0 is octal.
fn read_number(text: &str) -> Option<f64> {
    let text = text.replace('_', "");
    let octal = text.strip_prefix('0').filter(|rest| !rest.is_empty());
    if let Some(value) = octal.and_then(|rest| i64::from_str_radix(rest, 8).ok()) {
        return Some(value as f64);
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_repeat_and_count_up_as_upstream_describes() {
        let check = |text: &str, expected: &str| {
            let line = parse_series(&format!("x{{a=\"}}b\"}} {text}")).unwrap();
            assert_eq!(line.labels.to_string(), r#"{__name__="x", a="}b"}"#);
            let Values::Samples(values) = line.values else {
                panic!("{text} are samples");
            };
            let found: Vec<String> = values
                .iter()
                .map(|value| match value {
                    None => "_".to_owned(),
                    Some(SampleValue::Float(value)) => value.to_string(),
                    Some(SampleValue::Histogram(histogram)) => histogram.to_string(),
                })
                .collect();
            assert_eq!(found.join(" "), expected, "{text}");
        };
        check("1 2.5 -3 +4", "1 2.5 -3 4");
        check("1x2", "1 1 1");
        check("0+10x3", "0 10 20 30");
        check("5-2x2 7", "5 3 1 7");
        check("-1-1x1", "-1 -2");
        check("_ 1 _x3", "_ 1 _ _ _");
        check("Inf -inf NaN", "inf -inf NaN");
        check("1e3+1e-1x1", "1000 1000.1");
        check("NaNx1", "NaN NaN");
        check("1+0x2", "1 1 1");
        check("1_000 010 0x2 .5", "1000 8 0 0 0 0.5");
        check("infx1 -nan", "inf inf NaN");
        check("", "");
        check(
            "{{schema:0 count:2 sum:3 buckets:[1 1]}}+{{count:1 sum:2 buckets:[0 1]}}x1 _ {{}}x1 7",
            "{count:2, sum:3, (0.5,1]:1, (1,2]:1} {count:3, sum:5, (0.5,1]:1, (1,2]:2} _ \
             {count:0, sum:0} {count:0, sum:0} 7",
        );
        let stale = parse_series("x stale").unwrap().values;
        let Values::Samples(stale) = stale else {
            panic!("a marker is a sample");
        };
        let marker = stale[0].as_ref().and_then(SampleValue::as_float).unwrap();
        assert!(narthex_storage::is_stale_marker(marker));
    }

    #[test]
    fn what_is_no_series_line_is_refused() {
        for line in [
            "1 2",
            "x 1y",
            "x 1x",
            "x{a!=\"b\"} 1",
            "x{a=\"b\" 1",
            "x 1x9999999",
        ] {
            assert!(parse_series(line).is_err(), "{line}");
        }
        let refused = |line: &str, expected: &str| {
            let error = parse_series(line).unwrap_err();
            assert_eq!(error.in_line(2), format!("2:{expected}"), "{line}");
        };
        let word = "in series values, expected number or \"stale\"";
        refused(
            "x 1 2 foo",
            &format!("7: parse error: unexpected identifier \"foo\" {word}"),
        );
        refused(
            "x stalex3",
            &format!("3: parse error: unexpected identifier \"stalex3\" {word}"),
        );
        refused("x 1 2 _y", "8: parse error: unexpected identifier \"y\"");
        refused("x 1y", "3: parse error: bad number syntax: \"1\"");
        refused(
            "x 1x",
            "5: parse error: unexpected end of input in series values",
        );
        refused(
            "x 1+1x",
            "7: parse error: unexpected end of input in series values",
        );
        refused(
            "x 1+x3",
            "5: parse error: unexpected \"x\" in series values",
        );
        refused(
            "x 1x-3",
            "5: parse error: unexpected <op:-> in series values",
        );
        refused(
            "x _x1.5",
            "5: parse error: invalid repetition in series values: strconv.ParseUint: parsing \"1.5\": invalid syntax",
        );
        refused(
            "x 1 2,3",
            "6: parse error: unexpected character in series sequence: ','",
        );
        refused(
            "x[5m] 1",
            "2: parse error: unexpected character in series sequence: '['",
        );
        refused(
            "x 1 + 1x3",
            "6: parse error: unexpected \" \" in series values",
        );
        refused("x 1__", "3: parse error: bad number syntax: \"1__\"");
        refused("x 1e", "3: parse error: bad number syntax: \"1e\"");
        refused("x 1.5.5", "3: parse error: bad number syntax: \"1.5.\"");
        refused("on 1", "1: parse error: unexpected <on> in series values");
        assert_eq!(
            parse_series("x{__name__=\"b\"} 1")
                .unwrap()
                .labels
                .to_string(),
            "{__name__=\"x\"}"
        );
        refused("x 1 x3", "5: parse error: unexpected \"x\"");
        refused(
            "x --1",
            "4: parse error: unexpected <op:-> in series values",
        );
        refused(
            "1x 1",
            "1: parse error: unexpected number \"1\" in series values",
        );
        refused(
            "x y 1",
            &format!("3: parse error: unexpected identifier \"y\" {word}"),
        );
        refused(
            "x{ 1",
            "4: parse error: unexpected character inside braces: '1'",
        );
        refused(
            "x{a=b} 1",
            "5: parse error: unexpected identifier \"b\" in label set, expected string",
        );
        refused(
            "x{a!=\"b\"} 1",
            "4: parse error: unexpected <op:!=> in label set, expected \"=\"",
        );
        refused(
            "x{a=\"\\q\"} 1",
            "5: parse error: unknown escape sequence U+0071 'q'",
        );
        assert_eq!(
            parse_series("x{a=\"b\",a=\"c\"} 1").unwrap_err().in_line(2),
            "label name \"a\" is not unique: invalid sample"
        );
        assert_eq!(
            parse_metric("x y").unwrap_err().to_string(),
            "1:3: parse error: unexpected identifier \"y\""
        );
        assert_eq!(
            parse_metric("x{a=\"b\"").unwrap_err().to_string(),
            "1:8: parse error: unexpected end of input inside braces"
        );
        assert_eq!(parse_metric("").unwrap(), Labels::empty());
        refused(
            "x {{schema:0",
            "13: parse error: unexpected end of input in histogram description",
        );
    }
}
