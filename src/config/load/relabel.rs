//! Reads relabelling rules.

use std::rc::Rc;

use narthex_storage::Regex;

use narthex_yaml::{Node, Position, Problem, is_null};

use crate::{
    config::{NameValidation, decode::Decoder},
    relabel::{Action, RelabelConfig},
};

/// A list of rules with the place of each, for checks that need the job's name validation.
#[derive(Default)]
pub(super) struct RelabelDrafts(Vec<(RelabelConfig, Position)>);

impl RelabelDrafts {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rules, checked under `validation`.
    pub(super) fn finish(self, validation: NameValidation) -> Result<Vec<RelabelConfig>, Problem> {
        self.0
            .into_iter()
            .map(|(mut rule, at)| {
                rule.name_validation = validation;
                match rule.check() {
                    Ok(()) => Ok(rule),
                    Err(message) => Err(Problem::section(at, message)),
                }
            })
            .collect()
    }
}

/// Reads a list of rules; `null_message` is said of an empty entry.
pub(super) fn rules(
    decoder: &mut Decoder,
    node: &Node,
    null_message: &str,
) -> Result<RelabelDrafts, Problem> {
    let mut drafts = RelabelDrafts::default();
    for item in decoder.items(node, "[]*relabel.Config") {
        if is_null(item) {
            return Err(Problem::section(item.position, null_message));
        }
        let before = decoder.issue_count();
        let rule = rule(decoder, item)?;
        if decoder.issue_count() == before {
            // What does not depend on the name validation is an error of the rule itself.
            if let Err(message) = rule.check() {
                return Err(Problem::section(item.position, message));
            }
            drafts.0.push((rule, item.position));
        }
    }
    Ok(drafts)
}

fn rule(decoder: &mut Decoder, node: &Rc<Node>) -> Result<RelabelConfig, Problem> {
    let mut rule = RelabelConfig::default();
    for field in decoder.fields(node, "relabel.plain")? {
        let value = &field.value;
        match field.name.as_str() {
            "source_labels" => {
                rule.source_labels.clear();
                for item in decoder.items(value, "model.LabelNames") {
                    let name = decoder.text(item);
                    if name.is_empty() {
                        return Err(Problem::value(
                            item.position,
                            "\"\" is not a valid label name",
                        ));
                    }
                    rule.source_labels.push(name);
                }
            }
            "separator" => rule.separator = decoder.text(value),
            "regex" => {
                let text = decoder.text(value);
                let regex = Regex::enclosed(&text).map_err(|error| {
                    // Upstream compiles the anchored pattern and shows it whole.
                    let shown = error
                        .to_string()
                        .replace(&format!("`{text}`"), &format!("`^(?s:{text})$`"));
                    Problem::value(value.position, shown)
                })?;
                rule.regex = Some(regex);
            }
            "modulus" => rule.modulus = decoder.unsigned(value),
            "target_label" => rule.target_label = decoder.text(value),
            "replacement" => rule.replacement = decoder.text(value),
            "action" if is_null(value) => {
                return Err(Problem::value(
                    value.position,
                    "relabel action cannot be empty",
                ));
            }
            "action" => {
                let text = decoder.text(value);
                rule.action = Action::parse(&text).ok_or_else(|| {
                    Problem::value(value.position, format!("unknown relabel action {text:?}"))
                })?;
            }
            _ => decoder.unknown_field(&field, "relabel.plain"),
        }
    }
    Ok(rule)
}
