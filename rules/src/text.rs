//! The labels and annotations of an alerting rule, parsed once and expanded for every alert.

use std::sync::Arc;

use narthex_storage::{Labels, METRIC_NAME};

use crate::{
    alerting::ALERT_NAME,
    recording::LabelCache,
    sink::Pairs,
    template::{Template, TemplateData, TemplateError},
};

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

/// Expansions that failed in one evaluation of a rule: each is replaced by a text that says why.
#[derive(Debug, Default)]
pub(crate) struct Failed {
    /// How many.
    pub(crate) count: usize,
    /// The first of them.
    pub(crate) first: Option<TemplateError>,
}

impl Text {
    fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    fn expand(&self, data: &TemplateData<'_>, failed: &mut Failed) -> String {
        match self {
            Self::Plain(text) => text.clone(),
            Self::Template(template) => template.expand(data).unwrap_or_else(|error| {
                let text = format!("<error expanding template: {error}>");
                failed.count += 1;
                failed.first.get_or_insert(error);
                text
            }),
        }
    }
}

impl RuleTexts {
    /// What identifies the alert of `alert` for the sample that `data` tells of.
    pub(crate) fn alert_labels(
        &self,
        alert: &str,
        data: &TemplateData<'_>,
        cache: &mut LabelCache,
        failed: &mut Failed,
    ) -> Labels {
        let mut build = || {
            let mut builder = data.labels.to_builder();
            builder.remove(METRIC_NAME);
            for (name, text) in &self.labels {
                builder.set(name, &text.expand(data, failed));
            }
            builder.set(ALERT_NAME, alert);
            builder.build()
        };
        if self.labels.iter().all(|(_, text)| text.is_plain()) {
            cache.get(data.labels, build)
        } else {
            build()
        }
    }

    /// What is said about it; `written` are the annotations as written.
    pub(crate) fn alert_annotations(
        &self,
        written: &Pairs,
        data: &TemplateData<'_>,
        failed: &mut Failed,
    ) -> Pairs {
        if self.annotations.iter().all(|(_, text)| text.is_plain()) {
            return Pairs::clone(written);
        }
        self.annotations
            .iter()
            .map(|(name, text)| (name.clone(), text.expand(data, failed)))
            .collect()
    }
}
