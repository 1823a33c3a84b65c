//! Whether groups and rules make sense: names, fields that exclude each other, expressions,
//! templates.
//!
//! **Source**: Prometheus `model/rulefmt`, its messages and their order.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use narthex_query::parser::{self, ParserOptions, quote};
use narthex_storage::METRIC_NAME;
use narthex_yaml::Position;

use crate::{
    decode::Entry,
    error::Fault,
    file::{AlertConfig, GroupConfig, Placed, RawGroup, RawRule, RuleConfig, RuleKind, RuleQuery},
    sink::Pairs,
    template::Template,
    text::{RuleTexts, Text, Texts},
};

/// The groups, and what is wrong with them: the groups count only if nothing is.
pub(crate) fn check(
    groups: Vec<RawGroup>,
    options: ParserOptions,
) -> (Vec<GroupConfig>, Vec<Fault>) {
    let mut checker = Checker {
        options,
        faults: Vec::new(),
    };
    let mut names = HashSet::new();
    let checked = groups
        .into_iter()
        .map(|group| checker.group(group, &mut names))
        .collect();
    (checked, checker.faults)
}

struct Checker {
    options: ParserOptions,
    faults: Vec<Fault>,
}

/// A rule that is being checked, for messages.
struct Subject<'a> {
    group: &'a str,
    /// From 1.
    number: usize,
    rule: &'a RawRule,
}

impl Subject<'_> {
    fn name(&self) -> &str {
        match self.rule.alert.text.as_str() {
            "" => &self.rule.record.text,
            alert => alert,
        }
    }
}

impl Checker {
    fn fault(&mut self, position: Position, message: String) {
        self.faults.push(Fault { message, position });
    }

    fn group(&mut self, group: RawGroup, names: &mut HashSet<String>) -> GroupConfig {
        // Prometheus says 0:0 here, for it asks a node that the decoder does not fill.
        if group.name.is_empty() {
            let text = "0:0: Groupname must not be empty".to_owned();
            self.fault(group.position, text);
        }
        if !names.insert(group.name.clone()) {
            let name = &group.name;
            let text = format!("0:0: groupname: \"{name}\" is repeated in the same file");
            self.fault(group.position, text);
        }
        for Entry { name, name_at, .. } in &group.labels {
            if name.is_empty() || name == METRIC_NAME {
                self.fault(*name_at, format!("invalid label name: {name}"));
            }
        }
        let rules = group.rules.iter().enumerate();
        let rules = rules
            .filter_map(|(index, rule)| {
                let subject = Subject {
                    group: &group.name,
                    number: index + 1,
                    rule,
                };
                self.rule(&subject, &group.labels)
            })
            .collect();
        GroupConfig {
            interval: Some(group.interval).filter(|interval| *interval > Duration::ZERO),
            query_offset: group.query_offset,
            limit: group.limit,
            labels: merged(&group.labels, &[]),
            name: group.name,
            rules,
        }
    }

    /// `upstream` is the place as Prometheus's message names it, in front.
    fn rule_fault(
        &mut self,
        subject: &Subject<'_>,
        position: Option<Position>,
        upstream: &str,
        text: &str,
    ) {
        let message = format!(
            "{upstream}group {}, rule {}, {}: {text}",
            quote(subject.group),
            subject.number,
            quote(subject.name())
        );
        self.fault(position.unwrap_or(subject.rule.position), message);
    }

    fn rule(&mut self, subject: &Subject<'_>, group_labels: &[Entry]) -> Option<RuleConfig> {
        let rule = subject.rule;
        let before = self.faults.len();
        let is_recording = !rule.record.text.is_empty();
        let is_alerting = !rule.alert.text.is_empty();
        let at_record = at(&rule.record);
        if is_recording == is_alerting {
            let text = if is_recording {
                "only one of 'record' and 'alert' must be set"
            } else {
                "one of 'record' or 'alert' must be set"
            };
            let place = format!("{at_record}{}", at(&rule.alert));
            self.rule_fault(subject, rule.record.position, &place, text);
        }
        let query = self.query(subject);
        if is_recording {
            let unfit = [
                (!rule.annotations.is_empty(), "annotations"),
                (!rule.hold.is_zero(), "for"),
                (!rule.keep_firing_for.is_zero(), "keep_firing_for"),
            ];
            for (_, field) in unfit.into_iter().filter(|(unfit, _)| *unfit) {
                let text = format!("invalid field '{field}' in recording rule");
                self.rule_fault(subject, rule.record.position, &at_record, &text);
            }
            if rule.record.text.contains(['{', '}']) {
                let text = format!(
                    "braces present in the recording rule name; should it be in expr?: {}",
                    rule.record.text
                );
                self.rule_fault(subject, rule.record.position, &at_record, &text);
            }
        }
        for Entry { name, name_at, .. } in &rule.labels {
            if name.is_empty() || name == METRIC_NAME {
                let text = format!("invalid label name: {name}");
                self.rule_fault(subject, Some(*name_at), "", &text);
            }
        }
        for Entry { name, name_at, .. } in &rule.annotations {
            if name.is_empty() {
                let text = format!("invalid annotation name: {name}");
                self.rule_fault(subject, Some(*name_at), "", &text);
            }
        }
        let texts = self.texts(subject, group_labels);
        if self.faults.len() > before {
            return None;
        }
        let kind = if is_alerting {
            RuleKind::Alerting(AlertConfig {
                alert: rule.alert.text.clone(),
                hold: rule.hold,
                keep_firing_for: rule.keep_firing_for,
                annotations: merged(&rule.annotations, &[]),
            })
        } else {
            RuleKind::Recording {
                record: rule.record.text.clone(),
            }
        };
        Some(RuleConfig {
            kind,
            query: Arc::new(query?),
            labels: merged(group_labels, &rule.labels),
            texts,
        })
    }

    /// The templates of an alerting rule; its own are checked, those of the group too, once for each
    /// rule, for only there they have a name.
    fn texts(&mut self, subject: &Subject<'_>, group_labels: &[Entry]) -> Texts {
        let rule = subject.rule;
        if rule.alert.text.is_empty() {
            return Texts::default();
        }
        let mut texts = RuleTexts::default();
        for (kind, entries, into) in [
            (
                "label",
                overlaid(group_labels, &rule.labels),
                &mut texts.labels,
            ),
            (
                "annotation",
                overlaid(&[], &rule.annotations),
                &mut texts.annotations,
            ),
        ] {
            for entry in entries {
                if !entry.value.contains("{{") {
                    into.push((entry.name.clone(), Text::Plain(entry.value.clone())));
                    continue;
                }
                let name = format!("__alert_{}", rule.alert.text);
                match Template::parse(&name, &entry.value) {
                    Ok(template) => into.push((entry.name.clone(), Text::Template(template))),
                    Err(error) => {
                        let text = format!("{kind} {}: {error}", quote(&entry.name));
                        self.rule_fault(subject, Some(entry.value_at), "", &text);
                    }
                }
            }
        }
        Texts(Arc::new(texts))
    }

    fn query(&mut self, subject: &Subject<'_>) -> Option<RuleQuery> {
        let expr = &subject.rule.expr;
        if expr.text.is_empty() {
            let text = "field 'expr' must be set in rule";
            self.rule_fault(subject, expr.position, &at(expr), text);
            return None;
        }
        match parser::parse(&expr.text, self.options) {
            Ok(tree) => Some(RuleQuery {
                text: tree.to_string(),
                expr: tree,
            }),
            Err(error) => {
                let text = format!("could not parse expression: {error}");
                self.rule_fault(subject, expr.position, &at(expr), &text);
                None
            }
        }
    }
}

/// `line:column: ` of a node; zeros when it is missing, as upstream.
fn at(placed: &Placed) -> String {
    let Position { line, column } = placed.position.unwrap_or_default();
    format!("{line}:{column}: ")
}

/// `below` with `above` over it, ascending by name.
fn overlaid<'a>(below: &'a [Entry], above: &'a [Entry]) -> Vec<&'a Entry> {
    let mut entries = BTreeMap::new();
    for entry in below.iter().chain(above) {
        entries.insert(&entry.name, entry);
    }
    entries.into_values().collect()
}

fn merged(below: &[Entry], above: &[Entry]) -> Pairs {
    overlaid(below, above)
        .into_iter()
        .map(|entry| (entry.name.clone(), entry.value.clone()))
        .collect()
}
