//! Relabelling: rules that rewrite, keep or drop a label set.
//!
//! Rules run in order; each sees what the ones before it made. A rule that drops ends the run.
//! Source: Prometheus's `model/relabel`, whose results are followed to the bit (`hashmod`).

use narthex_storage::Regex;

use crate::config::NameValidation;

/// One relabelling rule.
#[derive(Debug, Clone)]
pub struct RelabelConfig {
    /// Labels whose values are joined and matched.
    pub source_labels: Vec<String>,
    /// What stands between joined values; `;` by default.
    pub separator: String,
    /// What the joined value, or a label's name, must match; `(.*)` by default.
    pub regex: Regex,
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

impl PartialEq for RelabelConfig {
    fn eq(&self, other: &Self) -> bool {
        self.source_labels == other.source_labels
            && self.separator == other.separator
            && self.regex.as_str() == other.regex.as_str()
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
