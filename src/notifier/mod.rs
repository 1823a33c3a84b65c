//! Delivers alerts to Alertmanagers.
//!
//! Rules hand alerts to [`Notifier`] (an [`AlertSink`]); it adds the external labels that an alert
//! does not have, relabels, and puts the alert into the queue of every Alertmanager. Each
//! Alertmanager has a queue and a sender of its own, so that one that hangs holds up nobody else.
//! A failed POST is not tried again: the next resend of the alert carries it. This is not a second
//! Alertmanager: nothing is grouped, silenced or kept.
//!
//! **Limits.** A queue holds `--alertmanager.notification-queue-capacity` alerts, the oldest make
//! room; a POST has at most `--alertmanager.notification-batch-size` alerts and the section's
//! `timeout`; an ending sender delivers what waits for at most 5 s.

mod alertmanager;
mod metrics;
mod payload;
mod queue;
mod sender;
#[cfg(test)]
pub(crate) mod test_support;
#[cfg(test)]
mod tests;

pub(crate) use alertmanager::check_addresses;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use narthex_rules::{AlertMessage, AlertSink};
use narthex_storage::Labels;
use tokio::task::{AbortHandle, JoinHandle};
use tracing::error;

use crate::{
    client::HttpClient,
    clock::AsyncClock,
    config::{AlertmanagerConfig, Config, TargetGroup},
    discovery::JobDiscovery,
    relabel::{self, RelabelConfig},
    self_metrics::{Family, Gauge, Registry},
};
use metrics::NotifierMetrics;
use sender::{Sender, Settings, Surroundings};

/// What discovery of Alertmanagers is called in metrics, beside that for scraping.
const DISCOVERY_NAME: &str = "notify";

/// What the command line says about delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotifierOptions {
    /// Alerts that wait for one Alertmanager.
    pub queue_capacity: usize,
    /// Alerts in one POST, at least 1.
    pub batch_size: usize,
    /// Whether what waits is delivered when the server stops.
    pub drain_on_shutdown: bool,
}

/// Delivers alerts. Lives in a tokio runtime.
#[derive(Debug)]
pub struct Notifier {
    surroundings: Surroundings,
    state: Arc<Mutex<State>>,
}

/// A configuration that can be put in force.
#[derive(Debug)]
pub struct PreparedNotifier {
    external_labels: Labels,
    rules: Vec<RelabelConfig>,
    sections: Vec<(AlertmanagerConfig, HttpClient)>,
}

/// Where alerts go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertmanagerReport {
    /// Addresses that alerts are posted to.
    pub active: Vec<String>,
    /// Addresses that relabelling dropped.
    pub dropped: Vec<String>,
}

#[derive(Debug, Default)]
struct State {
    external_labels: Labels,
    rules: Vec<RelabelConfig>,
    sections: Vec<Section>,
    /// How many sections `prometheus_sd_discovered_targets` shows.
    shown_sections: usize,
    /// Senders that are gone and still deliver.
    ending: Vec<JoinHandle<()>>,
    stopped: bool,
}

/// The Alertmanagers of one section of the configuration.
#[derive(Debug)]
struct Section {
    config: Arc<AlertmanagerConfig>,
    settings: Arc<Settings>,
    senders: Vec<Sender>,
    dropped: Vec<String>,
    /// How many Alertmanagers discovery found, dropped ones included.
    found: usize,
    _discovery: JobDiscovery,
    /// Takes over what discovery finds.
    follower: AbortHandle,
}

impl Drop for Section {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl Notifier {
    /// A notifier without Alertmanagers. Registers its metrics; `discovered` is shared with others who
    /// discover ([`discovered_targets`](crate::discovery::discovered_targets)).
    pub fn new(
        options: NotifierOptions,
        clock: Arc<dyn AsyncClock>,
        discovered: Family<Gauge>,
        registry: &Registry,
    ) -> Self {
        Self {
            surroundings: Surroundings {
                clock,
                metrics: NotifierMetrics::new(registry, discovered, options.queue_capacity),
                queue_capacity: options.queue_capacity,
                batch_size: options.batch_size.max(1),
                drain: options.drain_on_shutdown,
            },
            state: Arc::default(),
        }
    }

    /// Everything about `config` that can fail.
    ///
    /// # Errors
    /// The client of a section cannot be built (certificates).
    pub fn prepare(config: &Config) -> anyhow::Result<PreparedNotifier> {
        let sections = config.alerting.alertmanagers.iter().map(|section| {
            let client = HttpClient::new(&section.http_client)
                .context("error creating HTTP client of an Alertmanager section")?;
            Ok((section.clone(), client))
        });
        Ok(PreparedNotifier {
            external_labels: config.global.external_labels.clone(),
            rules: config.alerting.alert_relabel_configs.clone(),
            sections: sections.collect::<anyhow::Result<_>>()?,
        })
    }

    /// Puts a configuration in force. Sections that did not change go on undisturbed, and so does
    /// the queue of each Alertmanager that is still there; the others deliver what waits and end.
    pub fn apply(&self, prepared: PreparedNotifier) {
        let mut state = lock(&self.state);
        if state.stopped {
            return;
        }
        state.external_labels = prepared.external_labels;
        state.rules = prepared.rules;
        let mut previous = std::mem::take(&mut state.sections);
        let mut kept = Vec::with_capacity(prepared.sections.len());
        for (config, client) in prepared.sections {
            let same = previous
                .iter()
                .position(|section| *section.config == config);
            kept.push(match same {
                Some(index) => Ok(previous.swap_remove(index)),
                None => Err((config, client)),
            });
        }
        let mut orphans: Vec<Sender> = previous
            .iter_mut()
            .flat_map(|section| std::mem::take(&mut section.senders))
            .collect();
        for section in kept {
            let section = section.unwrap_or_else(|(config, client)| {
                self.start_section(config, client, &mut orphans)
            });
            state.sections.push(section);
        }
        self.end(&mut state, orphans);
    }

    fn start_section(
        &self,
        config: AlertmanagerConfig,
        client: HttpClient,
        orphans: &mut Vec<Sender>,
    ) -> Section {
        let timeout = config.timeout;
        let discovery = JobDiscovery::start(&config.discovery, &self.surroundings.clock);
        let mut groups = discovery.groups();
        let found = Arc::clone(&groups.borrow_and_update());
        let config = Arc::new(config);
        let follower = {
            let (config, state) = (Arc::clone(&config), Arc::downgrade(&self.state));
            let surroundings = self.surroundings.clone();
            tokio::spawn(async move {
                while groups.changed().await.is_ok() {
                    let found = Arc::clone(&groups.borrow_and_update());
                    let Some(state) = state.upgrade() else {
                        return;
                    };
                    let notifier = Self {
                        surroundings: surroundings.clone(),
                        state,
                    };
                    notifier.follow(&config, &found);
                }
            })
        };
        let mut section = Section {
            config,
            settings: Arc::new(Settings { client, timeout }),
            senders: Vec::new(),
            dropped: Vec::new(),
            found: 0,
            _discovery: discovery,
            follower: follower.abort_handle(),
        };
        self.sync(&mut section, &found, orphans);
        section
    }

    /// Takes over what discovery found for the section with this configuration.
    fn follow(&self, config: &Arc<AlertmanagerConfig>, groups: &[TargetGroup]) {
        let mut state = lock(&self.state);
        let position = state
            .sections
            .iter()
            .position(|section| Arc::ptr_eq(&section.config, config));
        let Some(position) = position else {
            return;
        };
        let mut orphans = Vec::new();
        self.sync(&mut state.sections[position], groups, &mut orphans);
        self.end(&mut state, orphans);
    }

    /// Makes the senders of a section those of `groups`. Senders of `orphans` with the same address
    /// go on here; those that the section no longer has are added to them.
    fn sync(&self, section: &mut Section, groups: &[TargetGroup], orphans: &mut Vec<Sender>) {
        let found = alertmanager::find(&section.config, groups);
        for problem in found.problems {
            error!(
                component = "notifier",
                err = problem,
                "Creating discovered Alertmanagers failed"
            );
        }
        section.dropped = found.dropped;
        section.found = groups.iter().map(|group| group.targets.len()).sum();
        orphans.append(&mut section.senders);
        for endpoint in found.active {
            let running = orphans
                .iter()
                .position(|sender| sender.endpoint == endpoint);
            section.senders.push(match running {
                Some(index) => {
                    let sender = orphans.swap_remove(index);
                    sender.go_on(&section.settings);
                    sender
                }
                None => Sender::start(endpoint, Arc::clone(&section.settings), &self.surroundings),
            });
        }
    }

    /// Ends senders, and their series if no other sender posts to the same address.
    fn end(&self, state: &mut State, orphans: Vec<Sender>) {
        state.ending.retain(|task| !task.is_finished());
        let metrics = &self.surroundings.metrics;
        let senders = |state: &State| -> Vec<String> {
            let senders = state.sections.iter().flat_map(|section| &section.senders);
            senders
                .map(|sender| sender.endpoint.shown.clone())
                .collect()
        };
        let running = senders(state);
        for sender in orphans {
            if !running.contains(&sender.endpoint.shown) {
                metrics.forget(&sender.endpoint.shown);
            }
            state.ending.push(sender.end());
        }
        metrics.active.set(running.len() as f64);
        for (index, section) in state.sections.iter().enumerate() {
            let name = format!("config-{index}");
            let discovered = metrics.discovered.with(&[DISCOVERY_NAME, &name]);
            discovered.set(section.found as f64);
        }
        for index in state.sections.len()..state.shown_sections {
            let name = format!("config-{index}");
            metrics.discovered.remove(&[DISCOVERY_NAME, &name]);
        }
        state.shown_sections = state.sections.len();
    }

    /// Where alerts go now, in the order of the configuration.
    pub fn report(&self) -> AlertmanagerReport {
        let state = lock(&self.state);
        let mut report = AlertmanagerReport::default();
        for section in &state.sections {
            let active = section.senders.iter();
            report
                .active
                .extend(active.map(|sender| sender.endpoint.shown.clone()));
            report.dropped.extend(section.dropped.iter().cloned());
        }
        report
    }

    /// Delivers what waits, within bounds, and ends. Later alerts and configurations are ignored.
    pub async fn stop(&self) {
        let tasks = {
            let mut state = lock(&self.state);
            state.stopped = true;
            let mut tasks = std::mem::take(&mut state.ending);
            for mut section in std::mem::take(&mut state.sections) {
                tasks.extend(section.senders.drain(..).map(Sender::end));
            }
            tasks
        };
        for task in tasks {
            if let Err(panic) = task.await {
                error!(error = %panic, "Delivering alerts panicked");
            }
        }
    }
}

impl AlertSink for Notifier {
    fn send(&self, alerts: Vec<AlertMessage>) {
        let state = lock(&self.state);
        if state.sections.is_empty() {
            return;
        }
        let alerts: Vec<Arc<AlertMessage>> = alerts
            .into_iter()
            .filter_map(|alert| relabelled(&state.rules, &state.external_labels, &alert))
            .collect();
        for section in &state.sections {
            let own = section.config.alert_relabel_configs.as_slice();
            let changed: Vec<Arc<AlertMessage>>;
            let alerts = if own.is_empty() {
                &alerts
            } else {
                let none = Labels::empty();
                changed = alerts
                    .iter()
                    .filter_map(|alert| relabelled(own, &none, alert))
                    .collect();
                &changed
            };
            if !alerts.is_empty() {
                for sender in &section.senders {
                    sender.queue.push(alerts);
                }
            }
        }
    }
}

/// The alert with the labels of `external` that it lacks, after `rules`; `None` when they drop it or
/// leave it without labels.
fn relabelled(
    rules: &[RelabelConfig],
    external: &Labels,
    alert: &AlertMessage,
) -> Option<Arc<AlertMessage>> {
    let mut labels = alert.labels.to_builder();
    for (name, value) in external.iter() {
        if labels.get(name).is_none_or(str::is_empty) {
            labels.set(name, value);
        }
    }
    if !relabel::process(rules, &mut labels) {
        return None;
    }
    let labels = labels.build();
    (!labels.is_empty()).then(|| {
        Arc::new(AlertMessage {
            labels,
            ..alert.clone()
        })
    })
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
