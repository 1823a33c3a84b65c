//! From a script's text to commands.

use std::time::Duration;

use narthex_storage::{Labels, Regex, Timestamp};

use super::values::{SeriesLine, Values, parse_series};
use crate::{
    Grid, SampleValue,
    duration::parse_duration,
    parser::{Expr, ExprKind, ParserOptions, parse},
};

/// A command with its line, from 1.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) line: usize,
    pub(super) kind: CommandKind,
}

#[derive(Debug)]
pub(super) enum CommandKind {
    /// Forgets all series.
    Clear,
    /// Adds series.
    Load(Load),
    /// Evaluates and compares.
    Eval(Box<Eval>),
    /// Something that is no command; the text says what is wrong.
    Invalid(String),
}

#[derive(Debug)]
pub(super) struct Load {
    pub(super) interval: Duration,
    pub(super) series: Vec<SeriesLine>,
    /// Whether classic histograms are loaded as native ones, too.
    pub(super) with_nhcb: bool,
}

/// An evaluation and what is expected of it.
#[derive(Debug)]
pub(super) struct Eval {
    pub(super) query: String,
    pub(super) times: Times,
    pub(super) expected: Expected,
    /// Lines that cannot be read; the evaluation fails with them.
    pub(super) problem: Option<String>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Times {
    Instant(Timestamp),
    Range(Grid),
}

#[derive(Debug, Default)]
pub(super) struct Expected {
    pub(super) fail: Option<Vec<Message>>,
    pub(super) warn: Annotations,
    pub(super) info: Annotations,
    pub(super) is_ordered: bool,
    pub(super) scalar: Option<f64>,
    pub(super) string: Option<String>,
    pub(super) series: Vec<(Labels, Vec<Option<SampleValue>>)>,
    /// The times of the expected range vector of an instant evaluation.
    pub(super) matrix_times: Option<Grid>,
}

/// What is expected of warnings, or of infos.
#[derive(Debug, Default)]
pub(super) enum Annotations {
    /// Nothing was said.
    #[default]
    Any,
    /// There must be none.
    None,
    /// There must be some, each matches one of these and each of these matches one.
    Some(Vec<Message>),
}

/// An expected text.
#[derive(Debug)]
pub(super) enum Message {
    Any,
    Exactly(String),
    /// Found anywhere in the text.
    Matching(String, Regex),
}

impl Message {
    pub(super) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(expected) => expected == text,
            Self::Matching(_, regex) => regex.is_match(text),
        }
    }

    /// The expectation as text.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Any => "any text".to_owned(),
            Self::Exactly(text) => format!("{text:?}"),
            Self::Matching(pattern, _) => format!("a text that matches {pattern:?}"),
        }
    }
}

/// Parses a script. A line that starts with `#` counts as empty; empty lines end commands.
pub(super) fn parse_script(text: &str) -> Vec<Command> {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .map(|line| if line.starts_with('#') { "" } else { line })
        .collect();
    let mut commands = Vec::new();
    let mut index = 0;
    while let Some(line) = lines.get(index) {
        let number = index + 1;
        index += 1;
        if line.is_empty() {
            continue;
        }
        let word = line.split_whitespace().next().unwrap_or_default();
        let word = word.to_ascii_lowercase();
        let body_end = (index..lines.len())
            .find(|index| lines[*index].is_empty())
            .unwrap_or(lines.len());
        let body = &lines[index..body_end];
        let kind = match word.as_str() {
            "clear" => CommandKind::Clear,
            "load" | "load_with_nhcb" => {
                index = body_end;
                match parse_load(line, body, word != "load") {
                    Ok(load) => CommandKind::Load(load),
                    Err(problem) => CommandKind::Invalid(problem),
                }
            }
            _ if word.starts_with("eval") => {
                index = body_end;
                match parse_eval(line, &word, body) {
                    Ok(eval) => CommandKind::Eval(Box::new(eval)),
                    Err(problem) => CommandKind::Invalid(problem),
                }
            }
            _ => CommandKind::Invalid(format!("invalid command {line:?}")),
        };
        commands.push(Command { line: number, kind });
    }
    commands
}

fn parse_load(line: &str, body: &[&str], with_nhcb: bool) -> Result<Load, String> {
    let interval = line.split_whitespace().nth(1).unwrap_or_default();
    let interval = parse_duration(interval).map_err(|error| error.to_string())?;
    let series: Result<_, _> = body
        .iter()
        .map(|line| parse_series(line).map_err(|error| error.to_string()))
        .collect();
    Ok(Load {
        interval,
        series: series?,
        with_nhcb,
    })
}

fn parse_eval(line: &str, word: &str, body: &[&str]) -> Result<Eval, String> {
    let mut expected = Expected::default();
    match word {
        "eval" => {}
        "eval_fail" => expected.fail = Some(Vec::new()),
        "eval_warn" => expected.warn = Annotations::Some(vec![Message::Any]),
        "eval_info" => expected.info = Annotations::Some(vec![Message::Any]),
        "eval_ordered" => expected.is_ordered = true,
        _ => return Err(format!("invalid command {word:?}")),
    }
    let mut rest = line;
    let mut next_word = || {
        let (word, behind) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        rest = behind.trim_start();
        word
    };
    next_word();
    let kind = next_word();
    let keywords: &[&str] = match kind {
        "instant" => &["at"],
        "range" => &["from", "to", "step"],
        _ => return Err(format!("invalid evaluation {line:?}")),
    };
    let mut times_ms = Vec::new();
    for keyword in keywords {
        let found = next_word();
        if found != *keyword {
            return Err(format!("expected {keyword:?}, got {found:?} in {line:?}"));
        }
        times_ms.push(time_ms(next_word())?);
    }
    let times = match times_ms[..] {
        [start, end, step_ms] => Times::Range(grid(start, end, step_ms)?),
        [time, ..] => Times::Instant(time),
        [] => return Err(format!("invalid evaluation {line:?}")),
    };
    let mut problem = None;
    for line in body {
        if let Err(error) = parse_expectation(line, &mut expected) {
            problem.get_or_insert(error);
        }
    }
    let is_instant = matches!(times, Times::Instant(_)) && expected.matrix_times.is_none();
    if is_instant && expected.series.iter().any(|(_, values)| values.len() > 1) {
        problem.get_or_insert(
            "expecting multiple values in instant evaluation not allowed".to_owned(),
        );
    }
    Ok(Eval {
        query: rest.to_owned(),
        times,
        expected,
        problem,
    })
}

fn time_ms(text: &str) -> Result<Timestamp, String> {
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    Ok(duration.as_millis() as Timestamp)
}

fn grid(start: Timestamp, end: Timestamp, step_ms: i64) -> Result<Grid, String> {
    if step_ms == 0 || end < start {
        return Err("a range needs a step above 0 and must not end before its start".to_owned());
    }
    Ok(Grid {
        start,
        end,
        step_ms,
    })
}

fn parse_expectation(line: &str, expected: &mut Expected) -> Result<(), String> {
    if let Some(rest) = line.strip_prefix("expect ") {
        return parse_expect(rest.trim_start(), expected);
    }
    for (prefix, is_regex) in [
        ("expected_fail_message", false),
        ("expected_fail_regexp", true),
    ] {
        if let Some(text) = line.strip_prefix(prefix) {
            let message = message(text.trim(), is_regex)?;
            expected.fail.get_or_insert_default().push(message);
            return Ok(());
        }
    }
    if let Ok(value) = line.parse::<f64>() {
        expected.scalar = Some(value);
        return Ok(());
    }
    let SeriesLine { labels, values } = parse_series(line).map_err(|error| error.to_string())?;
    match values {
        Values::Samples(values) => {
            expected.series.push((labels, values));
            Ok(())
        }
        Values::StartTimes(_) => Err("start timestamps are not expected of answers".to_owned()),
    }
}

fn parse_expect(text: &str, expected: &mut Expected) -> Result<(), String> {
    let (kind, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim();
    if kind == "string" {
        let Ok(Expr {
            kind: ExprKind::String(unquoted),
            ..
        }) = parse(rest, ParserOptions::default())
        else {
            return Err(format!("{rest:?} is not a quoted string"));
        };
        expected.string = Some(unquoted.value);
        return Ok(());
    }
    if kind == "range" {
        let words: Vec<&str> = rest.split_whitespace().collect();
        let ["vector", "from", start, "to", end, "step", step] = words[..] else {
            return Err(format!("invalid expectation {text:?}"));
        };
        expected.matrix_times = Some(grid(time_ms(start)?, time_ms(end)?, time_ms(step)?)?);
        return Ok(());
    }
    let message = if rest.is_empty() {
        Message::Any
    } else if let Some(exact) = rest.strip_prefix("msg:") {
        message(exact.trim(), false)?
    } else if let Some(pattern) = rest.strip_prefix("regex:") {
        message(pattern.trim(), true)?
    } else {
        return Err(format!("invalid expectation {text:?}"));
    };
    match kind {
        "ordered" => expected.is_ordered = true,
        "fail" => expected.fail.get_or_insert_default().push(message),
        "warn" => add(&mut expected.warn, message),
        "info" => add(&mut expected.info, message),
        "no_warn" => expected.warn = Annotations::None,
        "no_info" => expected.info = Annotations::None,
        _ => return Err(format!("invalid expectation {text:?}")),
    }
    Ok(())
}

fn add(annotations: &mut Annotations, message: Message) {
    match annotations {
        Annotations::Some(messages) => messages.push(message),
        other => *other = Annotations::Some(vec![message]),
    }
}

fn message(text: &str, is_regex: bool) -> Result<Message, String> {
    if !is_regex {
        return Ok(Message::Exactly(text.to_owned()));
    }
    let regex = Regex::new(&format!(".*(?:{text}).*")).map_err(|error| error.to_string())?;
    Ok(Message::Matching(text.to_owned(), regex))
}
