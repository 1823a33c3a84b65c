//! Where targets come from.
//!
//! [`JobDiscovery`] finds the target groups of one scrape job and publishes the whole list each time
//! it changes. It knows nothing of relabelling or scraping. Groups with the same
//! [`TargetGroup::source`] replace one another; the list holds each source once, static groups
//! first.

mod file;

use std::sync::Arc;

use tokio::{sync::watch, task::JoinSet};

pub(crate) use file::read_groups;

use crate::{
    clock::AsyncClock,
    config::{DiscoveryConfigs, TargetGroup},
    self_metrics::{Family, Gauge, Registry},
};

/// Registers `prometheus_sd_discovered_targets`: how many targets were found, by who asked (`scrape`,
/// `notify`) and for which job or section.
pub fn discovered_targets(registry: &Registry) -> Family<Gauge> {
    registry.gauges(
        "prometheus_sd_discovered_targets",
        "Current number of discovered targets.",
        &["name", "config"],
    )
}

/// The running discovery of one job. Dropping it stops it.
#[derive(Debug)]
pub struct JobDiscovery {
    #[expect(
        clippy::rc_buffer,
        reason = "the list is shared as it is and never grows"
    )]
    groups: Arc<watch::Sender<Arc<Vec<TargetGroup>>>>,
    _tasks: JoinSet<()>,
}

impl JobDiscovery {
    /// Starts looking for targets. Static groups are there at once; files are first read within
    /// moments, in the background. Must be called within a tokio runtime.
    pub fn start(configs: &DiscoveryConfigs, clock: &Arc<dyn AsyncClock>) -> Self {
        let groups = Arc::new(watch::Sender::new(Arc::new(configs.static_configs.clone())));
        let mut tasks = JoinSet::new();
        if !configs.file_sd_configs.is_empty() {
            tasks.spawn(file::watch(
                configs.static_configs.clone(),
                configs.file_sd_configs.clone(),
                Arc::clone(clock),
                Arc::clone(&groups),
            ));
        }
        Self {
            groups,
            _tasks: tasks,
        }
    }

    /// All groups of the job, now and after each change. The first value is there at once; the
    /// receiver is closed when the discovery is dropped.
    pub fn groups(&self) -> watch::Receiver<Arc<Vec<TargetGroup>>> {
        self.groups.subscribe()
    }
}
