//! Whether groups and rules make sense: names, fields that exclude each other, expressions,
//! templates.
//!
//! **Source**: Prometheus `model/rulefmt`, its messages and their order.

use std::{collections::HashSet, sync::Arc, time::Duration};

use narthex_query::parser::{self, ParserOptions};
use narthex_storage::METRIC_NAME;
use narthex_yaml::Position;

use crate::{
    error::Fault,
    file::{AlertConfig, GroupConfig, Placed, RawGroup, RawRule, RuleConfig, RuleKind, RuleQuery},
    sink::Pairs,
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
        for (name, _, position) in &group.labels {
            if name.is_empty() || name == METRIC_NAME {
                self.fault(*position, format!("invalid label name: {name}"));
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
            quoted(subject.group),
            subject.number,
            quoted(subject.name())
        );
        self.fault(position.unwrap_or(subject.rule.position), message);
    }

    fn rule(
        &mut self,
        subject: &Subject<'_>,
        group_labels: &[(String, String, Position)],
    ) -> Option<RuleConfig> {
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
        for (name, _, position) in &rule.labels {
            if name.is_empty() || name == METRIC_NAME {
                let text = format!("invalid label name: {name}");
                self.rule_fault(subject, Some(*position), "", &text);
            }
        }
        for (name, _, position) in &rule.annotations {
            if name.is_empty() {
                let text = format!("invalid annotation name: {name}");
                self.rule_fault(subject, Some(*position), "", &text);
            }
        }
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
        })
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

/// A text in Go's `%q`.
fn quoted(text: &str) -> String {
    narthex_query::parser::quote(text)
}

/// `below` with `above` over it, ascending by name.
fn merged(below: &[(String, String, Position)], above: &[(String, String, Position)]) -> Pairs {
    let mut pairs = std::collections::BTreeMap::new();
    for (name, value, _) in below.iter().chain(above) {
        pairs.insert(name.clone(), value.clone());
    }
    pairs.into_iter().collect()
}
