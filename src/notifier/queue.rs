//! The alerts that wait for one Alertmanager.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use narthex_rules::AlertMessage;
use tokio::sync::Notify;
use tracing::warn;

use super::metrics::AlertmanagerMetrics;

/// A bounded queue: when it is full the oldest alerts make room, for a newer state of an alert is
/// worth more than an older one.
#[derive(Debug)]
pub(super) struct Queue {
    alerts: Mutex<VecDeque<Arc<AlertMessage>>>,
    capacity: usize,
    more: Notify,
    /// The Alertmanager's address, for the log.
    alertmanager: String,
    metrics: AlertmanagerMetrics,
}

impl Queue {
    pub(super) fn new(alertmanager: &str, capacity: usize, metrics: AlertmanagerMetrics) -> Self {
        Self {
            alerts: Mutex::default(),
            capacity,
            more: Notify::new(),
            alertmanager: alertmanager.to_owned(),
            metrics,
        }
    }

    /// Adds alerts and wakes the sender. Drops, counts and logs what the capacity does not hold.
    pub(super) fn push(&self, new: &[Arc<AlertMessage>]) {
        let (overflow, dropped) = {
            let mut alerts = self.lock();
            let overflow = new.len().saturating_sub(self.capacity);
            let new = new.get(overflow..).unwrap_or_default();
            let dropped = (alerts.len() + new.len()).saturating_sub(self.capacity);
            alerts.drain(..dropped);
            alerts.extend(new.iter().cloned());
            let change = new.len() as f64 - dropped as f64;
            self.metrics.queue_length.add(change);
            (overflow, dropped)
        };
        self.metrics.dropped.add((overflow + dropped) as u64);
        if overflow > 0 {
            warn!(
                component = "notifier",
                alertmanager = self.alertmanager,
                count = overflow,
                "Alert batch larger than queue capacity, dropping alerts"
            );
        }
        if dropped > 0 {
            warn!(
                component = "notifier",
                alertmanager = self.alertmanager,
                count = dropped,
                "Alert notification queue full, dropping alerts"
            );
        }
        self.more.notify_one();
    }

    /// Takes up to `limit` alerts, the oldest first.
    pub(super) fn take(&self, limit: usize) -> Vec<Arc<AlertMessage>> {
        let mut alerts = self.lock();
        let count = alerts.len().min(limit);
        let batch: Vec<_> = alerts.drain(..count).collect();
        self.metrics.queue_length.add(-(batch.len() as f64));
        batch
    }

    /// Completes when alerts were added since the last time.
    pub(super) async fn more(&self) {
        self.more.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<AlertMessage>>> {
        self.alerts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use narthex_storage::Labels;

    use super::*;
    use crate::{
        discovery::discovered_targets, notifier::metrics::NotifierMetrics, self_metrics::Registry,
    };

    fn alerts(range: std::ops::Range<i64>) -> Vec<Arc<AlertMessage>> {
        let alert = |time| AlertMessage {
            labels: Labels::from_pairs([("alertname", "a")]),
            annotations: [].into(),
            starts_at: time,
            ends_at: time,
            generator_url: String::new(),
        };
        range.map(|time| Arc::new(alert(time))).collect()
    }

    #[test]
    fn a_full_queue_drops_the_oldest_and_counts_them() {
        let registry = Registry::new();
        let metrics = NotifierMetrics::new(&registry, discovered_targets(&registry), 4).of("am");
        let queue = Queue::new("am", 4, metrics.clone());
        let state = || (metrics.dropped.get(), metrics.queue_length.get());
        queue.push(&alerts(0..3));
        assert_eq!(state(), (0, 3.0));
        queue.push(&alerts(3..6));
        assert_eq!(state(), (2, 4.0));
        assert_eq!(queue.take(3), alerts(2..5));
        queue.push(&alerts(6..12));
        assert_eq!(state(), (2 + 2 + 1, 4.0));
        assert_eq!(queue.take(9), alerts(8..12));
        assert_eq!(state(), (5, 0.0));
    }
}
