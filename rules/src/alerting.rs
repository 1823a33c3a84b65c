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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: i64 = 60_000;

    /// One life of an alert, told by its times.
    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Life {
        active_at: i64,
        fired_at: Option<i64>,
        missing_since: Option<i64>,
        resolved_at: Option<i64>,
        sent_at: Option<i64>,
    }

    /// What the rules of the documentation say of one alert: the naive model.
    #[derive(Debug, Default)]
    struct Model {
        life: Option<Life>,
    }

    impl Model {
        fn step(&mut self, holds: bool, hold_ms: i64, keep_ms: i64, time: i64) {
            let running = self.life.filter(|life| life.resolved_at.is_none());
            let next = match (running, holds) {
                (Some(life), true) => Some(Life {
                    missing_since: None,
                    ..life
                }),
                (None, true) => Some(Life {
                    active_at: time,
                    fired_at: None,
                    missing_since: None,
                    resolved_at: None,
                    sent_at: None,
                }),
                (Some(life), false) if life.fired_at.is_none() => None,
                (Some(life), false) => {
                    let since = life.missing_since.unwrap_or(time);
                    let is_kept = keep_ms > 0 && time < since + keep_ms;
                    Some(Life {
                        missing_since: if keep_ms > 0 { Some(since) } else { None },
                        resolved_at: if is_kept { None } else { Some(time) },
                        ..life
                    })
                }
                (None, false) => self
                    .life
                    .filter(|life| life.resolved_at.is_some_and(|at| time <= at + 15 * MINUTE)),
            };
            self.life = next.map(|life| match life.resolved_at {
                Some(_) => life,
                None if time < life.active_at + hold_ms => Life {
                    fired_at: None,
                    missing_since: None,
                    sent_at: if life.fired_at.is_some() {
                        None
                    } else {
                        life.sent_at
                    },
                    ..life
                },
                None => Life {
                    fired_at: life.fired_at.or(Some(time)),
                    ..life
                },
            });
        }

        fn send(&mut self, resend_ms: i64, interval_ms: i64, time: i64) -> Vec<(i64, i64)> {
            let Some(life) = &mut self.life else {
                return Vec::new();
            };
            let Some(fired_at) = life.fired_at else {
                return Vec::new();
            };
            let is_due = match (life.sent_at, life.resolved_at) {
                (None, _) => true,
                (Some(sent), Some(resolved)) if resolved > sent => true,
                (Some(sent), _) => time > sent + resend_ms,
            };
            if !is_due {
                return Vec::new();
            }
            life.sent_at = Some(time);
            let ends = life
                .resolved_at
                .unwrap_or(time + 4 * resend_ms.max(interval_ms));
            vec![(fired_at, ends)]
        }

        fn shown(&self) -> Vec<(AlertState, i64, Option<i64>)> {
            let life = self.life.filter(|life| life.resolved_at.is_none());
            life.map(|life| {
                let state = match life.fired_at {
                    Some(_) => AlertState::Firing,
                    None => AlertState::Pending,
                };
                (state, life.active_at, life.missing_since)
            })
            .into_iter()
            .collect()
        }
    }

    fn cases() -> ProptestConfig {
        let cases = std::env::var("NARTHEX_PROPTEST_CASES");
        ProptestConfig::with_cases(cases.ok().and_then(|text| text.parse().ok()).unwrap_or(64))
    }

    /// A step: how many minutes later, whether the condition holds, whether `for` changes first.
    fn steps() -> impl Strategy<Value = Vec<(i64, bool, Option<i64>)>> {
        let hold = prop_oneof![9 => Just(None), 1 => (0..6i64).prop_map(Some)];
        proptest::collection::vec((1..4i64, prop::bool::weighted(0.6), hold), 1..60)
    }

    proptest! {
        #![proptest_config(cases())]

        #[test]
        fn states_and_messages_are_those_of_the_model(
            steps in steps(),
            hold in 0..5i64,
            keep in 0..4i64,
            resend in 0..4i64,
        ) {
            let labels = Labels::from_pairs([("alertname", "A")]);
            let annotations: Pairs = [("a".to_owned(), "b".to_owned())].into();
            let mut config = AlertConfig {
                alert: "A".to_owned(),
                hold: Duration::from_millis((hold * MINUTE) as u64),
                keep_firing_for: Duration::from_millis((keep * MINUTE) as u64),
                annotations: Pairs::clone(&annotations),
            };
            let resend_delay = Duration::from_millis((resend * MINUTE) as u64);
            let interval = Duration::from_millis(MINUTE as u64);
            let (mut alerts, mut model) = (Alerts::new(), Model::default());
            let mut time = 0;
            for (minutes, holds, new_hold) in steps {
                time += minutes * MINUTE;
                if let Some(hold) = new_hold {
                    config.hold = Duration::from_millis((hold * MINUTE) as u64);
                }
                let mut found = BTreeMap::new();
                if holds {
                    let found_alert = Found { annotations: Pairs::clone(&annotations), value: 1.0 };
                    found.insert(labels.clone(), found_alert);
                }
                let count = advance(&mut alerts, &config, &found, time);
                model.step(holds, milliseconds(config.hold), keep * MINUTE, time);
                prop_assert_eq!(count, model.shown().len());
                let shown: Vec<_> = active(&alerts)
                    .into_iter()
                    .map(|alert| (alert.state, alert.active_at, alert.keep_firing_since))
                    .collect();
                prop_assert_eq!(shown, model.shown());
                let sent: Vec<_> = take_due(&mut alerts, time, resend_delay, interval, "")
                    .into_iter()
                    .map(|message| (message.starts_at, message.ends_at))
                    .collect();
                prop_assert_eq!(sent, model.send(resend * MINUTE, MINUTE, time));
            }
        }
    }
}
