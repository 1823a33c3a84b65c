//! A rule of a group with what can be seen of it.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use narthex_storage::{TargetKey, Timestamp};

use super::lock;
use crate::{
    alerting::{self, Alerts},
    file::{GroupConfig, RuleConfig, RuleKind},
    link::table_link,
    sink::Pairs,
    status::{AlertState, AlertingStatus, Health, RuleStatus},
};

/// See the module.
pub(super) struct Rule {
    pub(super) config: RuleConfig,
    pub(super) generator_url: String,
    /// The rule's target in the store; also what upstream matches rules of an old and a new group by:
    /// name, labels and the place among equal ones.
    pub(super) key: TargetKey,
    pub(super) shown: Mutex<Shown>,
    pub(super) alerts: Mutex<Alerts>,
}

/// How the last evaluation went.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) health: Health,
    pub(super) last_error: Option<String>,
    pub(super) evaluation_time: Duration,
    pub(super) last_evaluation: Option<Timestamp>,
}

impl Rule {
    /// The rules of a group.
    pub(super) fn all(file: &str, group: &GroupConfig, external_url: &str) -> Vec<Self> {
        let mut occurrences: BTreeMap<String, usize> = BTreeMap::new();
        let rules = group.rules.iter();
        rules
            .map(|rule| {
                let identity = format!("{}{:?}", rule.name(), rule.labels);
                let key = format!("rule;{file};{};{identity}", group.name);
                let occurrence = occurrences.entry(identity).or_default();
                *occurrence += 1;
                Self {
                    generator_url: format!("{external_url}{}", table_link(&rule.query.text)),
                    key: TargetKey(format!("{key};{occurrence}")),
                    config: rule.clone(),
                    shown: Mutex::new(Shown {
                        health: Health::Unknown,
                        last_error: None,
                        evaluation_time: Duration::ZERO,
                        last_evaluation: None,
                    }),
                    alerts: Mutex::default(),
                }
            })
            .collect()
    }

    pub(super) fn status(&self) -> RuleStatus {
        let shown = lock(&self.shown).clone();
        let alerting = match &self.config.kind {
            RuleKind::Recording { .. } => None,
            RuleKind::Alerting(config) => {
                let alerts = lock(&self.alerts);
                Some(AlertingStatus {
                    state: match shown.last_evaluation {
                        None => AlertState::Unknown,
                        Some(_) => alerting::greatest_state(&alerts),
                    },
                    hold: config.hold,
                    keep_firing_for: config.keep_firing_for,
                    annotations: Pairs::clone(&config.annotations),
                    alerts: alerting::active(&alerts),
                })
            }
        };
        RuleStatus {
            name: self.config.name().to_owned(),
            query: self.config.query.text.clone(),
            labels: Pairs::clone(&self.config.labels),
            health: shown.health,
            last_error: shown.last_error,
            evaluation_time: shown.evaluation_time,
            last_evaluation: shown.last_evaluation,
            alerting,
        }
    }
}
