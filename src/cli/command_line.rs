//! Reads the server's command line by the rules of Prometheus's flag library.
//!
//! `--name=value` and `--name value`, `--x` and `--no-x`; a flag that is not a list is given once;
//! unknown flags and left-over words are fatal. Beyond that, what Prometheus refuses but people write
//! is accepted with a warning: `--x=false`, one dash before a long name, and flags that earlier
//! versions had. The words and exit codes of errors are those of Prometheus 3.5.3 as observed, which
//! is why this is not left to a general command line library.

use std::{collections::BTreeMap, time::Duration};

use narthex_query::{format_duration, parse_duration};

use super::flags::{self, FLAGS, Flag, Kind, Status};

/// A command line that was understood.
#[derive(Debug, PartialEq)]
pub(crate) enum Request {
    /// Start the server.
    Serve(Values),
    /// Print the help.
    Help,
    /// Print the version.
    Version,
}

/// A command line that was not.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CommandLineError {
    /// What is wrong, in Prometheus's words.
    pub(crate) message: String,
    /// Prometheus's exit code: 1 for the shape of the line, 2 for a bad value.
    pub(crate) code: u8,
}

impl CommandLineError {
    fn shape(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: 1,
        }
    }

    fn value(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: 2,
        }
    }

    /// What goes to stderr.
    pub(crate) fn text(&self) -> String {
        let head = format!("Error parsing command line arguments: {}\n", self.message);
        if self.code == 1 {
            format!("{head}prometheus: error: {}\n", self.message)
        } else {
            format!("{head}{}", flags::help())
        }
    }
}

/// The values of all flags, and what there is to warn about.
#[derive(Debug, PartialEq, Default)]
pub(crate) struct Values {
    given: BTreeMap<&'static str, Vec<String>>,
    /// One line each, to be logged once logging stands.
    pub(crate) warnings: Vec<String>,
}

impl Values {
    /// Whether the flag was on the command line.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// The value of a flag that is not a list, its default when it was not given.
    ///
    /// # Panics
    /// When there is no such flag.
    pub(crate) fn text(&self, name: &str) -> &str {
        match self.given.get(name).and_then(|values| values.last()) {
            Some(value) => value,
            None => {
                flags::find(name)
                    .unwrap_or_else(|| panic!("no flag {name}"))
                    .default
            }
        }
    }

    /// The values of a list, split at commas; its default when it was not given.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let joined = match self.given.get(name) {
            Some(values) => values.join(","),
            None => self.text(name).to_owned(),
        };
        joined
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// Whether a switch is on.
    pub(crate) fn switch(&self, name: &str) -> bool {
        self.text(name) == "true"
    }

    /// A duration flag's value.
    pub(crate) fn duration(&self, name: &str) -> Duration {
        parse_duration(self.text(name)).expect("durations are checked when they are read")
    }

    /// A count's value.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.text(name)
            .parse()
            .expect("counts are checked when they are read")
    }

    /// A size's value in bytes.
    pub(crate) fn bytes(&self, name: &str) -> u64 {
        parse_bytes(self.text(name)).expect("sizes are checked when they are read")
    }

    /// Sets a value that follows from others, as `/api/v1/status/flags` shows it.
    pub(crate) fn set(&mut self, name: &'static str, value: String) {
        self.given.insert(name, vec![value]);
    }

    /// All flags with their values as text.
    pub(crate) fn all(&self) -> BTreeMap<String, String> {
        FLAGS
            .iter()
            .map(|flag| {
                let value = match self.given.get(flag.name) {
                    Some(values) => values.join(","),
                    None => flag.default.to_owned(),
                };
                (flag.name.to_owned(), value)
            })
            .collect()
    }

    /// The names of the given flags that have no effect here.
    pub(crate) fn without_effect(&self) -> Vec<&'static str> {
        FLAGS
            .iter()
            .filter(|flag| flag.status == Status::NoEffect && self.is_given(flag.name))
            .map(|flag| flag.name)
            .collect()
    }

    /// Why the server cannot start with these flags, if it cannot.
    pub(crate) fn not_built(&self) -> Option<String> {
        FLAGS.iter().find_map(|flag| match flag.status {
            Status::NotBuilt(why) if self.is_given(flag.name) => {
                let value = self.text(flag.name);
                (value != flag.default).then(|| format!("--{}: {why}", flag.name))
            }
            _ => None,
        })
    }
}

/// Reads a command line, without the program's name.
///
/// # Errors
/// [`CommandLineError`] with Prometheus's words and exit code.
pub(crate) fn parse(arguments: &[String]) -> Result<Request, CommandLineError> {
    let mut values = Values::default();
    let mut rest = arguments.iter().peekable();
    while let Some(argument) = rest.next() {
        let Some(body) = argument.strip_prefix('-').filter(|body| !body.is_empty()) else {
            return Err(CommandLineError::shape(format!("unexpected {argument}")));
        };
        let (long, two_dashes) = match body.strip_prefix('-') {
            Some(long) => (long, true),
            None => (body, false),
        };
        let (name, attached) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        if name == "help" || (!two_dashes && name == "h") {
            return Ok(Request::Help);
        }
        if name == "version" {
            return Ok(Request::Version);
        }
        let mut next_value = || {
            rest.next_if(|next| !next.starts_with('-') || next.len() == 1)
                .map(String::as_str)
        };
        if let Some((flag, negated)) = find_long(name) {
            if !two_dashes {
                values.warnings.push(format!(
                    "-{name} is accepted for --{name}: Prometheus 2 and later want two dashes"
                ));
            }
            let value = if flag.kind == Kind::Switch {
                switch_value(flag, negated, attached, &mut values.warnings)?
            } else {
                let value = attached.or_else(&mut next_value).ok_or_else(|| {
                    CommandLineError::shape(format!("expected argument for flag '--{name}'"))
                })?;
                check_value(flag, value)?
            };
            let slot = values.given.entry(flag.name).or_default();
            if !slot.is_empty() && flag.kind != Kind::List {
                return Err(CommandLineError::value(format!(
                    "flag '{}' cannot be repeated",
                    flag.name
                )));
            }
            slot.push(value);
        } else if let Some(removed) = flags::find_removed(name) {
            let value = if removed.takes_value {
                attached.or_else(&mut next_value)
            } else {
                attached
            };
            match (removed.replaced_by, value) {
                (Some(replacement), Some(value)) => {
                    let flag = flags::find(replacement).expect("replacements are flags");
                    let value = check_value(flag, value)?;
                    values.warnings.push(format!(
                        "--{name} was removed from Prometheus; its value is used for --{replacement}"
                    ));
                    values.given.entry(flag.name).or_insert_with(|| vec![value]);
                }
                _ => values.warnings.push(format!(
                    "--{name} was removed from Prometheus and is ignored; take it off the command line"
                )),
            }
        } else if two_dashes {
            return Err(CommandLineError::shape(format!(
                "unknown long flag '--{name}'"
            )));
        } else {
            let first = name.chars().next().unwrap_or('-');
            return Err(CommandLineError::shape(format!(
                "unknown short flag '-{first}'"
            )));
        }
    }
    Ok(Request::Serve(values))
}

/// A flag by its long name, and whether it is spelled `no-name`.
fn find_long(name: &str) -> Option<(&'static Flag, bool)> {
    if let Some(flag) = flags::find(name) {
        return Some((flag, false));
    }
    let flag = flags::find(name.strip_prefix("no-")?)?;
    (flag.kind == Kind::Switch).then_some((flag, true))
}

fn switch_value(
    flag: &Flag,
    negated: bool,
    attached: Option<&str>,
    warnings: &mut Vec<String>,
) -> Result<String, CommandLineError> {
    let on = match attached {
        None => !negated,
        Some(text @ ("true" | "false" | "1" | "0")) => {
            warnings.push(format!(
                "--{0}={text} is accepted; Prometheus itself refuses it and wants --{0} or --no-{0}",
                flag.name
            ));
            matches!(text, "true" | "1") != negated
        }
        Some(other) => return Err(CommandLineError::shape(format!("unexpected {other}"))),
    };
    Ok(on.to_string())
}

/// The value as it is printed, once it is known to be good.
fn check_value(flag: &Flag, value: &str) -> Result<String, CommandLineError> {
    match flag.kind {
        Kind::Switch | Kind::Text | Kind::List => Ok(value.to_owned()),
        Kind::Duration => match parse_duration(value) {
            Ok(duration) => Ok(format_duration(duration)),
            Err(_) => Err(CommandLineError::value(format!(
                "not a valid duration string: {value:?}"
            ))),
        },
        Kind::Bytes => parse_bytes(value)
            .map(format_bytes)
            .ok_or_else(|| CommandLineError::value(format!("units: unknown unit  in {value}"))),
        Kind::Count => match value.parse::<f64>() {
            Ok(number) if (0.0..9.0e15).contains(&number) => Ok((number as u64).to_string()),
            Ok(_) => Err(CommandLineError::value(format!(
                "--{} must be between 0 and 9e15, not {value}",
                flag.name
            ))),
            Err(_) => Err(CommandLineError::value(format!(
                "strconv.ParseFloat: parsing {value:?}: invalid syntax"
            ))),
        },
        Kind::Number => match value.parse::<f64>() {
            Ok(_) => Ok(value.to_owned()),
            Err(_) => Err(CommandLineError::value(format!(
                "strconv.ParseFloat: parsing {value:?}: invalid syntax"
            ))),
        },
        Kind::OneOf(choices) => {
            if choices.contains(&value) {
                return Ok(value.to_owned());
            }
            Err(CommandLineError::value(match flag.name {
                "log.level" => format!("unrecognized log level {value}"),
                "log.format" => format!("unrecognized log format {value}"),
                _ => format!(
                    "enum value must be one of {}, got '{value}'",
                    choices.join(",")
                ),
            }))
        }
    }
}

const UNITS: [&str; 7] = ["B", "K", "M", "G", "T", "P", "E"];

/// Bytes of `512MB`, `1.5GiB`, `7B`: units are powers of two, with or without the `i`.
fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let power = UNITS.iter().position(|known| {
        unit == *known && *known == "B"
            || (*known != "B"
                && unit
                    .strip_prefix(known)
                    .is_some_and(|tail| tail == "B" || tail == "iB"))
    })?;
    let bytes = number.parse::<f64>().ok()? * 1024f64.powi(power as i32);
    (bytes < u64::MAX as f64).then_some(bytes as u64)
}

/// The largest unit of which it is a whole number.
fn format_bytes(bytes: u64) -> String {
    let mut value = bytes;
    let mut power = 0;
    while value != 0 && value.is_multiple_of(1024) && power + 1 < UNITS.len() {
        value /= 1024;
        power += 1;
    }
    match power {
        0 => format!("{value}B"),
        _ => format!("{value}{}iB", UNITS[power]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Request, CommandLineError> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words)
    }

    fn values(line: &str) -> Values {
        match parse_line(line) {
            Ok(Request::Serve(values)) => values,
            other => panic!("{line}: {other:?}"),
        }
    }

    /// The words and codes are those of Prometheus 3.5.3 on the same line.
    #[test]
    fn errors_are_those_of_prometheus() {
        for (line, message, code) in [
            ("--nope", "unknown long flag '--nope'", 1),
            ("--nope=3", "unknown long flag '--nope'", 1),
            ("--no-nope", "unknown long flag '--no-nope'", 1),
            (
                "--no-config.file",
                "unknown long flag '--no-config.file'",
                1,
            ),
            ("-x", "unknown short flag '-x'", 1),
            ("--config.file=p.yml extra", "unexpected extra", 1),
            (
                "--query.timeout",
                "expected argument for flag '--query.timeout'",
                1,
            ),
            (
                "--query.timeout --web.enable-lifecycle",
                "expected argument for flag '--query.timeout'",
                1,
            ),
            ("--web.enable-admin-api=maybe", "unexpected maybe", 1),
            (
                "--config.file=a --config.file=a",
                "flag 'config.file' cannot be repeated",
                2,
            ),
            (
                "--query.timeout=abc",
                "not a valid duration string: \"abc\"",
                2,
            ),
            (
                "--query.lookback-delta=-5m",
                "not a valid duration string: \"-5m\"",
                2,
            ),
            (
                "--query.max-samples=x",
                "strconv.ParseFloat: parsing \"x\": invalid syntax",
                2,
            ),
            (
                "--storage.tsdb.retention.size=10",
                "units: unknown unit  in 10",
                2,
            ),
            ("--log.level=foo", "unrecognized log level foo", 2),
            ("--log.format=x", "unrecognized log format x", 2),
        ] {
            let error = parse_line(line).expect_err(line);
            assert_eq!(
                (error.message.as_str(), error.code),
                (message, code),
                "{line}"
            );
        }
    }

    #[test]
    fn values_print_as_prometheus_prints_them() {
        let values = values(
            "--query.timeout=120s --query.max-samples 5e7 --storage.tsdb.retention.size=512MB \
             --storage.tsdb.retention.time=7d12h --web.listen-address=:1 --web.listen-address=:2 \
             --enable-feature=a,b --enable-feature c --web.enable-lifecycle --no-storage.tsdb.wal-compression",
        );
        let all = values.all();
        for (name, value) in [
            ("query.timeout", "2m"),
            ("query.max-samples", "50000000"),
            ("storage.tsdb.retention.size", "512MiB"),
            ("storage.tsdb.retention.time", "7d12h"),
            ("web.listen-address", ":1,:2"),
            ("enable-feature", "a,b,c"),
            ("web.enable-lifecycle", "true"),
            ("storage.tsdb.wal-compression", "false"),
            ("query.lookback-delta", "5m"),
        ] {
            assert_eq!(all[name], value, "{name}");
        }
        assert_eq!(values.list("enable-feature"), ["a", "b", "c"]);
        assert_eq!(values.bytes("storage.tsdb.retention.size"), 512 << 20);
        assert_eq!(values.warnings, Vec::<String>::new());
        assert_eq!(values.without_effect(), ["storage.tsdb.wal-compression"]);
    }

    #[test]
    fn what_people_write_is_accepted_with_a_warning_each() {
        let values = values(
            "--web.enable-admin-api=false -web.enable-lifecycle=1 -storage.local.path /x \
             --storage.tsdb.retention=30d --alertmanager.url=http://a",
        );
        assert!(!values.switch("web.enable-admin-api"));
        assert!(values.switch("web.enable-lifecycle"));
        assert_eq!(values.text("storage.tsdb.retention.time"), "30d");
        assert_eq!(values.warnings.len(), 6, "{:?}", values.warnings);
    }

    #[test]
    fn what_is_not_built_is_refused_only_when_it_is_turned_on() {
        assert_eq!(
            values("--no-agent --web.enable-otlp-receiver=0").not_built(),
            None
        );
        let refusal = values("--agent").not_built().expect("refused");
        assert!(
            refusal.starts_with("--agent: agent mode is not built yet"),
            "{refusal}"
        );
    }

    #[test]
    fn every_default_is_a_value_its_flag_accepts_and_prints_the_same() {
        for flag in FLAGS {
            if flag.kind != Kind::Switch {
                assert_eq!(
                    check_value(flag, flag.default).as_deref(),
                    Ok(flag.default),
                    "{}",
                    flag.name
                );
            }
        }
    }
}
