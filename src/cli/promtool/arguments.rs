//! promtool's command lines, by the rules of the flag library promtool uses.
//!
//! `--name=value` and `--name value`, `--x` and `--no-x` for switches, flags and words in any order,
//! `--` before words that begin with a dash.

use std::collections::BTreeMap;

/// A flag of a command.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flag {
    name: &'static str,
    takes_value: bool,
}

impl Flag {
    /// A flag that is there or not.
    pub(super) const fn switch(name: &'static str) -> Self {
        Self {
            name,
            takes_value: false,
        }
    }

    /// A flag with a value.
    pub(super) const fn value(name: &'static str) -> Self {
        Self {
            name,
            takes_value: true,
        }
    }
}

/// Flags that every command takes.
const GLOBAL_FLAGS: [Flag; 2] = [Flag::switch("experimental"), Flag::value("enable-feature")];

/// A command line, without the words that name the command.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Arguments {
    values: BTreeMap<&'static str, String>,
    words: Vec<String>,
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
            let Some(name) = word.strip_prefix("--").filter(|_| !only_words) else {
                if word.starts_with('-') && word.len() > 1 && !only_words {
                    return Err(format!("unknown short flag '{word}'"));
                }
                arguments.words.push(word.clone());
                continue;
            };
            if name.is_empty() {
                only_words = true;
                continue;
            }
            let (name, given) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (name, None),
            };
            let find = |name: &str| {
                flags
                    .iter()
                    .chain(&GLOBAL_FLAGS)
                    .find(|flag| flag.name == name)
                    .copied()
            };
            let negated = name
                .strip_prefix("no-")
                .and_then(find)
                .filter(|flag| !flag.takes_value);
            let (flag, value) = match (find(name), negated) {
                (Some(flag), _) if flag.takes_value => {
                    let value = given.or_else(|| rest.next().cloned());
                    let value =
                        value.ok_or_else(|| format!("expected argument for flag '--{name}'"))?;
                    (flag, value)
                }
                (Some(flag), _) => (flag, given.unwrap_or_else(|| "true".to_owned())),
                (None, Some(flag)) => (flag, "false".to_owned()),
                (None, None) => return Err(format!("unknown long flag '--{name}'")),
            };
            arguments.values.insert(flag.name, value);
        }
        let named = command_words.min(arguments.words.len());
        arguments.words.drain(..named);
        Ok(arguments)
    }

    /// The words behind the command.
    pub(super) fn words(&self) -> &[String] {
        &self.words
    }

    /// The value of a flag, if it was given.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Whether a switch is on.
    pub(super) fn is_set(&self, name: &str) -> bool {
        matches!(self.value(name), Some("true" | "1"))
    }
}
