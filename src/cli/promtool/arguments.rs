//! promtool's command lines, by the rules of the flag library promtool uses.
//!
//! `--name=value` and `--name value`, `-o value` and `-ovalue`, `--x` and `--no-x` for switches, flags
//! and words in any order, `--` before words that begin with a dash.

use std::collections::BTreeMap;

/// A flag of a command.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flag {
    name: &'static str,
    short: Option<char>,
    takes_value: bool,
    repeats: bool,
}

impl Flag {
    /// A flag that is there or not.
    pub(super) const fn switch(name: &'static str) -> Self {
        Self {
            name,
            short: None,
            takes_value: false,
            repeats: false,
        }
    }

    /// A flag with a value.
    pub(super) const fn value(name: &'static str) -> Self {
        Self {
            takes_value: true,
            ..Self::switch(name)
        }
    }

    /// A flag with a value that may be given more than once.
    pub(super) const fn values(name: &'static str) -> Self {
        Self {
            repeats: true,
            ..Self::value(name)
        }
    }

    /// The same flag with a short form.
    pub(super) const fn or_short(self, short: char) -> Self {
        Self {
            short: Some(short),
            ..self
        }
    }
}

/// Flags that every command takes.
const GLOBAL_FLAGS: [Flag; 2] = [Flag::switch("experimental"), Flag::values("enable-feature")];

/// A command line, without the words that name the command.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Arguments {
    values: BTreeMap<&'static str, Vec<String>>,
    words: Vec<String>,
}

/// A flag as it stands on a command line.
struct Given<'a> {
    flag: Flag,
    /// As it is called in messages: `--time`, `-o`.
    shown: String,
    /// The value that stands in the same word.
    value: Option<&'a str>,
}

/// Reads a word as a flag; `None` for a word that is none.
fn read_flag<'a>(word: &'a str, flags: &[Flag]) -> Result<Option<Given<'a>>, String> {
    let known = || flags.iter().chain(&GLOBAL_FLAGS);
    if let Some(name) = word.strip_prefix("--") {
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (name, None),
        };
        let find = |name: &str| known().find(|flag| flag.name == name).copied();
        let negated = || {
            let flag = name.strip_prefix("no-").and_then(find);
            flag.filter(|flag| !flag.takes_value)
        };
        let shown = format!("--{name}");
        return match (find(name), negated()) {
            (Some(flag), _) => Ok(Some(Given { flag, shown, value })),
            (None, Some(flag)) => Ok(Some(Given { flag, shown, value })),
            (None, None) => Err(format!("unknown long flag '{shown}'")),
        };
    }
    let Some(short) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
        return Ok(None);
    };
    let found = known().find(|flag| flag.short.is_some_and(|name| short.starts_with(name)));
    let Some(flag) = found.copied() else {
        let name: String = short.chars().take(1).collect();
        return Err(format!("unknown short flag '-{name}'"));
    };
    let name = flag.short.unwrap_or_default();
    let value = short.strip_prefix(name).filter(|value| !value.is_empty());
    Ok(Some(Given {
        flag,
        shown: format!("-{name}"),
        value,
    }))
}

impl Arguments {
    /// Reads `line`, whose first `command_words` words name the command.
    ///
    /// # Errors
    /// A sentence in promtool's words.
    pub(super) fn parse(
        line: &[String],
        command_words: usize,
        flags: &[Flag],
    ) -> Result<Self, String> {
        let mut arguments = Self::default();
        let mut rest = line.iter();
        let mut only_words = false;
        while let Some(word) = rest.next() {
            if word == "--" && !only_words {
                only_words = true;
                continue;
            }
            let given = if only_words {
                None
            } else {
                read_flag(word, flags)?
            };
            let Some(Given { flag, shown, value }) = given else {
                arguments.words.push(word.clone());
                continue;
            };
            let value = match value {
                _ if !flag.takes_value => {
                    // Switches have no value: what follows an equals sign is a word of its own.
                    arguments.words.extend(value.map(str::to_owned));
                    let is_on = !shown.starts_with("--no-");
                    is_on.to_string()
                }
                Some(value) => value.to_owned(),
                None => rest
                    .next()
                    .cloned()
                    .ok_or_else(|| format!("expected argument for flag '{shown}'"))?,
            };
            let values = arguments.values.entry(flag.name).or_default();
            if !values.is_empty() && !flag.repeats {
                return Err(format!("flag '{}' cannot be repeated", flag.name));
            }
            values.push(value);
        }
        let named = command_words.min(arguments.words.len());
        arguments.words.drain(..named);
        Ok(arguments)
    }

    /// The words behind the command.
    pub(super) fn words(&self) -> &[String] {
        &self.words
    }

    /// Exactly the words that `names` stand for.
    ///
    /// # Errors
    /// promtool's sentence about the first word that is missing or too many.
    pub(super) fn exact_words<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[&str; N], String> {
        if let Some(missing) = names.get(self.words.len()) {
            return Err(format!("required argument '{missing}' not provided"));
        }
        if let Some(unexpected) = self.words.get(N) {
            return Err(format!("unexpected {unexpected}"));
        }
        Ok(std::array::from_fn(|index| self.words[index].as_str()))
    }

    /// The value of a flag, if it was given.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.values(name).first().map(String::as_str)
    }

    /// The values of a flag that may be given more than once.
    pub(super) fn values(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether a switch is on.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.value(name) == Some("true")
    }
}

/// The words of a line that are no flags and no flags' values, as far as `flags` are known: the first
/// of them name the command.
pub(super) fn plain_words<'a>(line: &'a [String], flags: &[Flag]) -> Vec<&'a str> {
    let mut words = Vec::new();
    let mut rest = line.iter();
    while let Some(word) = rest.next() {
        match read_flag(word, flags) {
            Ok(None) => words.push(word.as_str()),
            Ok(Some(given)) if given.flag.takes_value && given.value.is_none() => {
                let _value = rest.next();
            }
            Ok(Some(_)) | Err(_) => {}
        }
    }
    words
}
