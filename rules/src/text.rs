//! The labels and annotations of an alerting rule, parsed once and expanded for every alert.

use std::sync::Arc;

use crate::template::Template;

/// Parsed labels and annotations; shared by all that hold the rule.
#[derive(Debug, Clone, Default)]
pub(crate) struct Texts(pub(crate) Arc<RuleTexts>);

/// Always equal: they follow from what the rule says elsewhere.
impl PartialEq for Texts {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// The texts of one rule.
#[derive(Debug, Default)]
pub(crate) struct RuleTexts {
    /// By label name, ascending.
    pub(crate) labels: Vec<(String, Text)>,
    /// By annotation name, ascending.
    pub(crate) annotations: Vec<(String, Text)>,
}

/// The text of a label or annotation.
#[derive(Debug)]
pub(crate) enum Text {
    /// Nothing to expand.
    Plain(String),
    /// To be expanded for each alert.
    Template(Template),
}
