//! All groups in force, and how they change when rule files are loaded anew.
//!
//! An unchanged group goes on as it is. A changed one begins anew at its next slot with what its
//! rules knew: pending and firing alerts, and the series they write. What vanished is marked stale:
//! by the next iteration of its group, or, when the whole group is gone, by [`Manager::sweep`] after
//! two intervals, so that a renamed group can take the series over.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use narthex_query::Engine;
use narthex_storage::{Appendable, Budget, Clock, Labels, Queryable, SharedBytes, Timestamp};

use crate::{
    alerting::milliseconds,
    file::RuleFile,
    group::{Group, mark_stale},
    sink::AlertSink,
};

/// Hears how long evaluations take.
pub trait EvaluationObserver: Send + Sync {
    /// A rule was evaluated.
    fn rule_evaluated(&self, took: Duration);
    /// A group was evaluated.
    fn group_evaluated(&self, took: Duration);
}

/// Hears nothing.
impl EvaluationObserver for () {
    fn rule_evaluated(&self, _: Duration) {}
    fn group_evaluated(&self, _: Duration) {}
}

/// What groups work with.
pub struct ManagerOptions {
    /// What queries read.
    pub queryable: Arc<dyn Queryable>,
    /// Where samples go.
    pub appendable: Arc<dyn Appendable>,
    /// What evaluates.
    pub engine: Arc<Engine>,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where alerts go.
    pub sink: Arc<dyn AlertSink>,
    /// Who hears how long evaluations take.
    pub observer: Arc<dyn EvaluationObserver>,
    /// The server's address for people, without a slash at its end.
    pub external_url: String,
    /// Whether the groups of the first load wait with `ALERTS` for the restore of `for`, which comes
    /// after their second iteration. Rule tests begin from nothing.
    pub restores: bool,
    /// How far back `for` is restored (`--rules.alert.for-outage-tolerance`).
    pub outage_tolerance: Duration,
    /// The least `for` that is restored, and the least time that a restored alert stays pending
    /// (`--rules.alert.for-grace-period`).
    pub for_grace_period: Duration,
    /// How long an alert is not sent again (`--rules.alert.resend-delay`).
    pub resend_delay: Duration,
    /// How long a rule's query and templates may take.
    pub query_timeout: Duration,
    /// How many bytes a rule's query may decode.
    pub query_budget_bytes: u64,
    /// What the queries of all rules may decode together at a time.
    pub query_shared_bytes: Arc<SharedBytes>,
}

impl ManagerOptions {
    /// What one query of a rule may use.
    pub(crate) fn query_budget(&self) -> Budget {
        Budget::sharing(
            self.query_budget_bytes,
            Arc::clone(&self.query_shared_bytes),
        )
    }
}

impl fmt::Debug for ManagerOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ManagerOptions")
            .field("external_url", &self.external_url)
            .field("outage_tolerance", &self.outage_tolerance)
            .field("for_grace_period", &self.for_grace_period)
            .field("resend_delay", &self.resend_delay)
            .field("query_timeout", &self.query_timeout)
            .field("query_budget_bytes", &self.query_budget_bytes)
            .finish_non_exhaustive()
    }
}

/// What the configuration says about all groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateSettings {
    /// `global.evaluation_interval`
    pub interval: Duration,
    /// `global.rule_query_offset`
    pub query_offset: Duration,
    /// `global.external_labels`, for templates.
    pub external_labels: Labels,
}

/// See the module.
pub struct Manager {
    options: Arc<ManagerOptions>,
    groups: RwLock<Vec<Arc<Group>>>,
    /// Held while groups change; what is left of removed groups.
    leftovers: Mutex<Leftovers>,
}

#[derive(Default)]
struct Leftovers {
    /// Whether groups were loaded before: later ones restore nothing.
    is_loaded: bool,
    removed: Vec<Removed>,
}

/// The series of a group that is gone.
struct Removed {
    /// When they are to be marked.
    due: Timestamp,
    /// The time of the marker.
    at: Timestamp,
    series: Vec<Labels>,
}

impl Manager {
    /// A manager without groups.
    pub fn new(options: ManagerOptions) -> Self {
        Self {
            options: Arc::new(options),
            groups: RwLock::default(),
            leftovers: Mutex::default(),
        }
    }

    /// Puts these files in force instead of the earlier ones. Unchanged groups stay the same
    /// [`Arc`]; of the others the rule at hand is waited for,
    /// which may take as long as a query may.
    pub fn update(&self, files: Vec<RuleFile>, settings: &UpdateSettings) {
        let mut leftovers = self
            .leftovers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let restores = self.options.restores && !leftovers.is_loaded;
        leftovers.is_loaded = true;
        let mut old: BTreeMap<(String, String), Arc<Group>> = self
            .groups()
            .into_iter()
            .map(|group| ((group.file().to_owned(), group.name().to_owned()), group))
            .collect();
        let mut new: BTreeMap<(String, String), Arc<Group>> = BTreeMap::new();
        for file in files {
            for config in file.groups {
                let key = (file.path.clone(), config.name.clone());
                if new.contains_key(&key) {
                    // Two patterns of the configuration named the same file.
                    continue;
                }
                let group = Group::new(&file.path, config, settings, &self.options, restores);
                let group = match old.remove(&key) {
                    Some(old) if old.equals(&group) => old,
                    Some(old) => {
                        old.finish();
                        group.take_over(&old);
                        Arc::new(group)
                    }
                    None => Arc::new(group),
                };
                new.insert(key, group);
            }
        }
        let now = self.options.clock.now();
        for group in old.into_values() {
            group.finish();
            let (series, offset) = group.abandon();
            if !series.is_empty() {
                leftovers.removed.push(Removed {
                    due: now + 2 * milliseconds(group.interval()),
                    at: now - milliseconds(offset),
                    series,
                });
            }
        }
        let new = new.into_values().collect();
        *self.groups.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    /// The groups in force, by file, then name.
    pub fn groups(&self) -> Vec<Arc<Group>> {
        self.groups
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Marks the series of groups that are gone as stale when that is due. To be called every few
    /// seconds; cheap when there is nothing to do.
    pub fn sweep(&self) {
        let mut leftovers = self
            .leftovers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let now = self.options.clock.now();
        leftovers.removed.retain(|removed| {
            if removed.due > now {
                return true;
            }
            if let Err(error) = mark_stale(&self.options, &removed.series, removed.at) {
                tracing::warn!(
                    error,
                    "Stale sample appending for previous configuration failed"
                );
            }
            false
        });
    }

    /// Ends all running iterations and refuses later ones; for the server's end.
    pub fn stop(&self) {
        for group in self.groups() {
            group.stop();
        }
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Manager")
            .field("groups", &self.groups())
            .finish_non_exhaustive()
    }
}
