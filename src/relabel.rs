//! Relabelling: rules that rewrite, keep or drop a label set.
//!
//! Rules run in order; each sees what the ones before it made. A rule that drops ends the run.
//! Source: Prometheus's `model/relabel`, whose results are followed to the bit (`hashmod`).

use std::sync::LazyLock;

use md5::{Digest, Md5};
use narthex_storage::{LabelsBuilder, Regex};

use crate::config::NameValidation;

/// One relabelling rule.
#[derive(Debug, Clone)]
pub struct RelabelConfig {
    /// Labels whose values are joined and matched.
    pub source_labels: Vec<String>,
    /// What stands between joined values; `;` by default.
    pub separator: String,
    /// What the joined value, or a label's name, must match; `None` is the default `(.*)`, which
    /// prints differently from the same pattern written out.
    pub regex: Option<Regex>,
    /// The number of buckets of `hashmod`.
    pub modulus: u64,
    /// The label that is written or compared.
    pub target_label: String,
    /// What is written; `$1` by default.
    pub replacement: String,
    /// What the rule does.
    pub action: Action,
    /// Which label names may be written.
    pub name_validation: NameValidation,
}

/// The pattern of a rule that has none.
static DEFAULT_REGEX: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("(.*)").expect("the default pattern is valid"));

const DEFAULT_SEPARATOR: &str = ";";
const DEFAULT_REPLACEMENT: &str = "$1";

impl Default for RelabelConfig {
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: DEFAULT_SEPARATOR.to_owned(),
            regex: None,
            modulus: 0,
            target_label: String::new(),
            replacement: DEFAULT_REPLACEMENT.to_owned(),
            action: Action::Replace,
            name_validation: NameValidation::Utf8,
        }
    }
}

impl PartialEq for RelabelConfig {
    fn eq(&self, other: &Self) -> bool {
        self.source_labels == other.source_labels
            && self.separator == other.separator
            && self.regex.as_ref().map(Regex::as_str) == other.regex.as_ref().map(Regex::as_str)
            && self.modulus == other.modulus
            && self.target_label == other.target_label
            && self.replacement == other.replacement
            && self.action == other.action
            && self.name_validation == other.name_validation
    }
}

/// What a relabelling rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Action {
    /// Writes the replacement into the target label when the regex matches.
    #[default]
    Replace,
    /// Keeps only what matches.
    Keep,
    /// Drops what matches.
    Drop,
    /// Keeps only what has the joined value in the target label.
    KeepEqual,
    /// Drops what has the joined value in the target label.
    DropEqual,
    /// Writes the joined value's hash, modulo the modulus, into the target label.
    HashMod,
    /// Copies labels whose name matches to the name the replacement gives.
    LabelMap,
    /// Removes labels whose name matches.
    LabelDrop,
    /// Removes labels whose name does not match.
    LabelKeep,
    /// Writes the joined value in lower case into the target label.
    Lowercase,
    /// Writes the joined value in upper case into the target label.
    Uppercase,
}

impl Action {
    const ALL: [Self; 11] = [
        Self::Replace,
        Self::Keep,
        Self::Drop,
        Self::KeepEqual,
        Self::DropEqual,
        Self::HashMod,
        Self::LabelMap,
        Self::LabelDrop,
        Self::LabelKeep,
        Self::Lowercase,
        Self::Uppercase,
    ];

    /// The action of that name, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|action| action.as_str().eq_ignore_ascii_case(text))
    }

    /// The name used in configuration files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::KeepEqual => "keepequal",
            Self::DropEqual => "dropequal",
            Self::HashMod => "hashmod",
            Self::LabelMap => "labelmap",
            Self::LabelDrop => "labeldrop",
            Self::LabelKeep => "labelkeep",
            Self::Lowercase => "lowercase",
            Self::Uppercase => "uppercase",
        }
    }
}

/// Runs `rules` in order over `labels`. Answers whether the set is kept; when it is not, the rules
/// behind the dropping one have not run.
pub fn process(rules: &[RelabelConfig], labels: &mut LabelsBuilder) -> bool {
    rules.iter().all(|rule| rule.process(labels))
}

impl RelabelConfig {
    fn regex(&self) -> &Regex {
        self.regex.as_ref().unwrap_or(&DEFAULT_REGEX)
    }

    /// Applies the rule to `labels` and answers whether the set is kept.
    pub fn process(&self, labels: &mut LabelsBuilder) -> bool {
        match self.action {
            Action::Drop => return !self.matches(&self.joined(labels)),
            Action::Keep => return self.matches(&self.joined(labels)),
            Action::DropEqual => {
                return labels.get(&self.target_label).unwrap_or_default() != self.joined(labels);
            }
            Action::KeepEqual => {
                return labels.get(&self.target_label).unwrap_or_default() == self.joined(labels);
            }
            Action::Replace => self.replace(labels),
            Action::Lowercase => {
                let value = self
                    .joined(labels)
                    .chars()
                    .map(lowercase)
                    .collect::<String>();
                labels.set(&self.target_label, &value);
            }
            Action::Uppercase => {
                let value = self
                    .joined(labels)
                    .chars()
                    .map(uppercase)
                    .collect::<String>();
                labels.set(&self.target_label, &value);
            }
            Action::HashMod => {
                let hash = hash(&self.joined(labels));
                // A rule that was checked has a modulus; without one everything is bucket 0.
                let bucket = hash.checked_rem(self.modulus).unwrap_or(0);
                labels.set(&self.target_label, itoa::Buffer::new().format(bucket));
            }
            Action::LabelMap => {
                let copies: Vec<(String, String)> = labels
                    .iter()
                    .filter_map(|(name, value)| {
                        let new_name = self.regex().expand(name, &self.replacement)?;
                        Some((new_name, value.to_owned()))
                    })
                    .collect();
                for (name, value) in copies {
                    labels.set(&name, &value);
                }
            }
            Action::LabelDrop => {
                labels.retain(|name, _| !self.matches(name));
            }
            Action::LabelKeep => {
                labels.retain(|name, _| self.matches(name));
            }
        }
        true
    }

    /// The default pattern matches everything, dots matching newlines.
    fn matches(&self, text: &str) -> bool {
        self.regex.as_ref().is_none_or(|regex| regex.is_match(text))
    }

    fn joined(&self, labels: &LabelsBuilder) -> String {
        let mut joined = String::new();
        for (index, name) in self.source_labels.iter().enumerate() {
            if index > 0 {
                joined.push_str(&self.separator);
            }
            joined.push_str(labels.get(name).unwrap_or_default());
        }
        joined
    }

    fn replace(&self, labels: &mut LabelsBuilder) {
        let value = self.joined(labels);
        let fixed_target = !self.target_label.contains('$');
        let fixed_replacement = !self.replacement.contains('$');
        if fixed_target && fixed_replacement {
            // Nothing to expand: the common way to set a label. The name was checked with the rule.
            if self.matches(&value) {
                labels.set(&self.target_label, &self.replacement);
            }
            return;
        }
        let Some(target) = self.regex().expand(&value, &self.target_label) else {
            return;
        };
        if !self.name_validation.is_valid_label_name(&target) {
            return;
        }
        let replacement = self.regex().expand(&value, &self.replacement);
        labels.set(&target, &replacement.unwrap_or_default());
    }

    /// Checks what the fields mean together.
    ///
    /// # Errors
    /// The first sentence Prometheus would say. Source: `relabel.Config.Validate`.
    pub(crate) fn check(&self) -> Result<(), String> {
        use Action::{
            DropEqual, HashMod, KeepEqual, LabelDrop, LabelKeep, LabelMap, Lowercase, Replace,
            Uppercase,
        };
        let action = self.action;
        let name = action.as_str();
        let target = &self.target_label;
        let writes_one = matches!(
            action,
            Replace | HashMod | Lowercase | Uppercase | KeepEqual | DropEqual
        );
        let plain = matches!(action, Lowercase | Uppercase | KeepEqual | DropEqual);
        let default_replacement = self.replacement == DEFAULT_REPLACEMENT;
        let default_separator = self.separator == DEFAULT_SEPARATOR;
        if self.modulus == 0 && action == HashMod {
            return Err("relabel configuration for hashmod requires non-zero modulus".to_owned());
        }
        if writes_one && target.is_empty() {
            return Err(format!(
                "relabel configuration for {name} action requires 'target_label' value"
            ));
        }
        let valid_target = if action == Replace && target.contains('$') {
            self.is_valid_template(target)
        } else {
            self.name_validation.is_valid_label_name(target)
        };
        if writes_one && !valid_target {
            return Err(format!(
                "{target:?} is invalid 'target_label' for {name} action"
            ));
        }
        if plain && !default_replacement {
            return Err(format!("'replacement' can not be set for {name} action"));
        }
        if action == LabelMap && !self.is_valid_template(&self.replacement) {
            return Err(format!(
                "{:?} is invalid 'replacement' for {name} action",
                self.replacement
            ));
        }
        if matches!(action, DropEqual | KeepEqual)
            && (self.regex.is_some() || self.modulus != 0 || !default_separator)
        {
            return Err(format!(
                "{name} action requires only 'source_labels' and `target_label`, and no other fields"
            ));
        }
        if matches!(action, LabelDrop | LabelKeep)
            && (!self.source_labels.is_empty()
                || !target.is_empty()
                || self.modulus != 0
                || !default_separator
                || !default_replacement)
        {
            return Err(format!(
                "{name} action requires only 'regex', and no other fields"
            ));
        }
        Ok(())
    }

    /// Whether a text with `$1` and `${name}` in it can become a label name.
    fn is_valid_template(&self, template: &str) -> bool {
        if self.name_validation == NameValidation::Utf8 {
            return !template.is_empty();
        }
        let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
        let mut rest = template;
        let mut first = true;
        while let Some(character) = rest.chars().next() {
            let behind = rest.split_at(character.len_utf8()).1;
            if character == '$' {
                let (inner, close) = match behind.strip_prefix('{') {
                    Some(inner) => (inner, "}"),
                    None => (behind, ""),
                };
                let end = inner.find(|next| !is_word(next)).unwrap_or(inner.len());
                let (variable, behind) = inner.split_at(end);
                let Some(behind) = behind.strip_prefix(close) else {
                    return false;
                };
                if variable.is_empty() {
                    return false;
                }
                rest = behind;
            } else if is_word(character) && !(first && character.is_ascii_digit()) {
                rest = behind;
            } else {
                return false;
            }
            first = false;
        }
        !first
    }
}

/// The last eight bytes of the MD5 sum, big endian.
fn hash(text: &str) -> u64 {
    let sum: [u8; 16] = Md5::digest(text.as_bytes()).into();
    u64::from_be_bytes(*sum.last_chunk().expect("an MD5 sum has 16 bytes"))
}

/// One character in lower case, as Go maps it: one character for one.
fn lowercase(character: char) -> char {
    if character == '\u{130}' {
        return 'i';
    }
    let mut mapped = character.to_lowercase();
    match (mapped.next(), mapped.next()) {
        (Some(single), None) => single,
        _ => character,
    }
}

/// One character in upper case, as Go maps it: one character for one, so `ß` stays.
fn uppercase(character: char) -> char {
    // Greek letters with an iota below become their title case form.
    match character {
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => {
            return char::from_u32(character as u32 + 8).unwrap_or(character);
        }
        '\u{1fb3}' => return '\u{1fbc}',
        '\u{1fc3}' => return '\u{1fcc}',
        '\u{1ff3}' => return '\u{1ffc}',
        _ => {}
    }
    let mut mapped = character.to_uppercase();
    match (mapped.next(), mapped.next()) {
        (Some(single), None) => single,
        _ => character,
    }
}
