//! Alerts and how their states change.
//!
//! Inactive → pending (with `for`) → firing → inactive. An alert that vanishes while pending is
//! forgotten; one that vanishes while firing may go on firing (`keep_firing_for`), then it is
//! resolved and kept for a while, so that its resolution is sent again and again.
//!
//! **Source**: Prometheus `rules/alerting.go`; the way back from firing to pending when a reload
//! raises `for` is that of 3.11.

use std::{collections::BTreeMap, time::Duration};

use narthex_storage::{Labels, METRIC_NAME, Timestamp};

use crate::{
    file::{AlertConfig, RuleConfig},
    sink::{AlertMessage, Pairs},
    status::{AlertState, AlertStatus},
};

/// How long a resolved alert is kept and sent, in milliseconds.
const RESOLVED_RETENTION_MS: i64 = 15 * 60 * 1000;

/// The label that holds the alert's name.
pub(crate) const ALERT_NAME: &str = "alertname";
/// The metric that tells an alert's state.
const ALERTS: &str = "ALERTS";
/// The metric that tells since when an alert is active, in seconds since the Unix epoch.
pub(crate) const ALERTS_FOR_STATE: &str = "ALERTS_FOR_STATE";

/// The alerts of a rule by their labels.
pub(crate) type Alerts = BTreeMap<Labels, Alert>;

/// What an evaluation says of an alert whose condition holds.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) annotations: Pairs,
    pub(crate) value: f64,
}

/// An alert that is or was active.
#[derive(Debug, Clone)]
pub(crate) struct Alert {
    pub(crate) state: AlertState,
    pub(crate) annotations: Pairs,
    pub(crate) value: f64,
    pub(crate) active_at: Timestamp,
    fired_at: Option<Timestamp>,
    resolved_at: Option<Timestamp>,
    last_sent_at: Option<Timestamp>,
    keep_firing_since: Option<Timestamp>,
    series: Option<AlertSeries>,
}

/// The series that tell of an alert; built once, for they are written at every evaluation.
#[derive(Debug, Clone)]
struct AlertSeries {
    /// The state that `alerts` names.
    state: AlertState,
    alerts: Labels,
    for_state: Labels,
}

impl Alert {
    fn new(found: &Found, time: Timestamp) -> Self {
        Self {
            state: AlertState::Pending,
            annotations: Pairs::clone(&found.annotations),
            value: found.value,
            active_at: time,
            fired_at: None,
            resolved_at: None,
            last_sent_at: None,
            keep_firing_since: None,
            series: None,
        }
    }

    fn needs_sending(&self, time: Timestamp, resend_delay_ms: i64) -> bool {
        if self.state == AlertState::Pending {
            return false;
        }
        // None is before every time: a resolution that was never sent is news.
        self.resolved_at > self.last_sent_at
            || self
                .last_sent_at
                .is_none_or(|sent| sent + resend_delay_ms < time)
    }

    /// Whether it is pending or firing.
    fn is_active(&self) -> bool {
        self.resolved_at.is_none()
    }
}

/// Moves the alerts of a rule on to `time`, given those whose condition holds.
///
/// Returns how many are pending or firing.
pub(crate) fn advance(
    alerts: &mut Alerts,
    config: &AlertConfig,
    found: &BTreeMap<Labels, Found>,
    time: Timestamp,
) -> usize {
    let hold_ms = milliseconds(config.hold);
    let keep_ms = milliseconds(config.keep_firing_for);
    for (labels, found) in found {
        match alerts.get_mut(labels) {
            Some(alert) if alert.state != AlertState::Inactive => {
                alert.value = found.value;
                alert.annotations = Pairs::clone(&found.annotations);
            }
            Some(alert) => *alert = Alert::new(found, time),
            None => {
                alerts.insert(labels.clone(), Alert::new(found, time));
            }
        }
    }
    let mut active_count = 0;
    alerts.retain(|labels, alert| {
        if found.contains_key(labels) {
            alert.keep_firing_since = None;
        } else {
            let mut keeps_firing = false;
            if alert.state == AlertState::Firing && keep_ms > 0 {
                let since = *alert.keep_firing_since.get_or_insert(time);
                keeps_firing = time - since < keep_ms;
            }
            let is_old = alert
                .resolved_at
                .is_some_and(|resolved| time - resolved > RESOLVED_RETENTION_MS);
            if alert.state == AlertState::Pending || is_old {
                return false;
            }
            if !keeps_firing {
                if alert.state != AlertState::Inactive {
                    alert.state = AlertState::Inactive;
                    alert.resolved_at = Some(time);
                }
                return true;
            }
        }
        active_count += 1;
        let active_ms = time - alert.active_at;
        if alert.state == AlertState::Pending && active_ms >= hold_ms {
            alert.state = AlertState::Firing;
            alert.fired_at = Some(time);
        }
        if alert.state == AlertState::Firing && active_ms < hold_ms {
            alert.state = AlertState::Pending;
            alert.fired_at = None;
            alert.last_sent_at = None;
            alert.keep_firing_since = None;
        }
        true
    });
    active_count
}

/// The alerts that are due to be sent, marked as sent.
pub(crate) fn take_due(
    alerts: &mut Alerts,
    time: Timestamp,
    resend_delay: Duration,
    interval: Duration,
    generator_url: &str,
) -> Vec<AlertMessage> {
    let resend_delay_ms = milliseconds(resend_delay);
    let valid_until = time + 4 * resend_delay_ms.max(milliseconds(interval));
    alerts
        .iter_mut()
        .filter(|(_, alert)| alert.needs_sending(time, resend_delay_ms))
        .map(|(labels, alert)| {
            alert.last_sent_at = Some(time);
            AlertMessage {
                labels: labels.clone(),
                annotations: Pairs::clone(&alert.annotations),
                starts_at: alert.fired_at.unwrap_or(alert.active_at),
                ends_at: alert.resolved_at.unwrap_or(valid_until),
                generator_url: generator_url.to_owned(),
            }
        })
        .collect()
}

/// The samples of `ALERTS` and `ALERTS_FOR_STATE` for the alerts that are pending or firing.
pub(crate) fn samples(alerts: &mut Alerts, rule: &RuleConfig) -> Vec<(Labels, f64)> {
    let mut samples = Vec::with_capacity(2 * alerts.len());
    for (labels, alert) in alerts {
        if alert.state == AlertState::Inactive {
            continue;
        }
        let since_seconds = alert.active_at.div_euclid(1000) as f64;
        let state = alert.state;
        if alert
            .series
            .as_ref()
            .is_none_or(|known| known.state != state)
        {
            alert.series = Some(series(rule, labels, state));
        }
        if let Some(series) = &alert.series {
            samples.push((series.alerts.clone(), 1.0));
            samples.push((series.for_state.clone(), since_seconds));
        }
    }
    samples
}

/// As upstream, labels of the rule whose template came out empty stay as written here.
fn series(rule: &RuleConfig, labels: &Labels, state: AlertState) -> AlertSeries {
    let mut builder = Labels::from_pairs(rule.labels.iter().map(|(a, b)| (a, b))).to_builder();
    for (name, value) in labels.iter() {
        builder.set(name, value);
    }
    builder.set(ALERT_NAME, rule.name());
    builder.set(METRIC_NAME, ALERTS_FOR_STATE);
    let for_state = builder.build();
    builder.set(METRIC_NAME, ALERTS);
    builder.set("alertstate", state.as_str());
    AlertSeries {
        state,
        alerts: builder.build(),
        for_state,
    }
}

/// The labels of `ALERTS_FOR_STATE` for an alert, by which it is found again after a restart.
pub(crate) fn for_state_series(rule: &RuleConfig, labels: &Labels) -> Labels {
    series(rule, labels, AlertState::Pending).for_state
}

/// The greatest state of the alerts of a rule that was evaluated.
pub(crate) fn greatest_state(alerts: &Alerts) -> AlertState {
    let states = alerts.values().map(|alert| alert.state);
    states.max().unwrap_or(AlertState::Inactive)
}

/// The pending and firing alerts, in label order.
pub(crate) fn active(alerts: &Alerts) -> Vec<AlertStatus> {
    alerts
        .iter()
        .filter(|(_, alert)| alert.is_active())
        .map(|(labels, alert)| AlertStatus {
            labels: labels.clone(),
            annotations: Pairs::clone(&alert.annotations),
            state: alert.state,
            active_at: alert.active_at,
            keep_firing_since: alert.keep_firing_since,
            value: alert.value,
        })
        .collect()
}

/// A duration in whole milliseconds.
pub(crate) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 8)
}
