//! What can be seen of groups, rules and alerts: everything `/api/v1/rules`, `/api/v1/alerts` and the
//! metrics need, as plain values.

use std::time::Duration;

use narthex_storage::{Labels, Timestamp};

use crate::sink::Pairs;

/// The state of an alert, or the greatest of a rule's alerts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertState {
    /// The rule was not evaluated yet.
    Unknown,
    /// Neither pending nor firing.
    Inactive,
    /// Active for less than the rule's `for`.
    Pending,
    /// Firing.
    Firing,
}

impl AlertState {
    /// As the API and `ALERTS` spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

/// How a rule's last evaluation went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// There was none.
    Unknown,
    /// Well.
    Good,
    /// It failed.
    Bad,
}

impl Health {
    /// As the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Good => "ok",
            Self::Bad => "err",
        }
    }
}

/// A group now.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupStatus {
    /// Its name.
    pub name: String,
    /// Its file's path.
    pub file: String,
    /// How often it is evaluated.
    pub interval: Duration,
    /// The most series or alerts of a rule; 0 and below: no limit.
    pub limit: i64,
    /// How long the last iteration took.
    pub evaluation_time: Duration,
    /// When the last iteration began, on the wall clock.
    pub last_evaluation: Option<Timestamp>,
    /// Its rules, in their order.
    pub rules: Vec<RuleStatus>,
    /// Its figures.
    pub counters: GroupCounters,
}

/// A group's figures since it was loaded; a changed group goes on counting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GroupCounters {
    /// Iterations that were due, missed ones included.
    pub iterations: u64,
    /// Iterations that were missed because an earlier one took too long.
    pub iterations_missed: u64,
    /// Evaluations of rules.
    pub evaluations: u64,
    /// Evaluations of rules that failed.
    pub failures: u64,
    /// Samples that the rules yielded in the last iteration.
    pub last_samples: u64,
    /// How long the restore of `for` took; `None` when there was none.
    pub last_restore: Option<Duration>,
}

/// A rule now.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleStatus {
    /// The alert's or the series' name.
    pub name: String,
    /// The expression, printed on one line.
    pub query: String,
    /// The rule's labels, those of its group included, templates as written.
    pub labels: Pairs,
    /// How its last evaluation went.
    pub health: Health,
    /// Why it failed.
    pub last_error: Option<String>,
    /// How long it took.
    pub evaluation_time: Duration,
    /// When it began, on the wall clock.
    pub last_evaluation: Option<Timestamp>,
    /// What only alerting rules have.
    pub alerting: Option<AlertingStatus>,
}

/// What only alerting rules have.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertingStatus {
    /// The greatest state of its alerts.
    pub state: AlertState,
    /// How long an alert is pending before it fires.
    pub hold: Duration,
    /// How long an alert goes on firing when its condition is gone.
    pub keep_firing_for: Duration,
    /// The annotations, templates as written.
    pub annotations: Pairs,
    /// Its pending and firing alerts in label order.
    pub alerts: Vec<AlertStatus>,
}

/// A pending or firing alert now.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertStatus {
    /// Its labels.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: Pairs,
    /// Pending or firing.
    pub state: AlertState,
    /// Since when its condition holds, restored over restarts.
    pub active_at: Timestamp,
    /// Since when it fires without its condition.
    pub keep_firing_since: Option<Timestamp>,
    /// The expression's value at the last evaluation.
    pub value: f64,
}
