//! Where alerts go: the contract between rule evaluation and whoever delivers them.

use std::sync::Arc;

use narthex_storage::{Labels, Timestamp};

/// Names and values ascending by name; unlike in [`Labels`] a value may be empty.
pub type Pairs = Arc<[(String, String)]>;

/// Takes alerts that are due to be sent.
pub trait AlertSink: Send + Sync {
    /// Takes the alerts of one rule, at least one. Must not wait for the network: evaluation waits
    /// for this call.
    fn send(&self, alerts: Vec<AlertMessage>);
}

/// An alert as Alertmanager is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertMessage {
    /// What identifies it; external labels are not in it yet.
    pub labels: Labels,
    /// What is said about it.
    pub annotations: Pairs,
    /// When it began to fire, in milliseconds since the Unix epoch.
    pub starts_at: Timestamp,
    /// When it was resolved, else when it is to be taken as resolved unless it is sent again.
    pub ends_at: Timestamp,
    /// A link to the rule's expression.
    pub generator_url: String,
}
