//! All jobs: what a configuration asks for is made to run, what it no longer has ends.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use narthex_storage::Appendable;
use tokio::task::JoinHandle;

use super::{
    client::ScrapeClient,
    pool::{DISCOVERY_NAME, EndingTargets, Pool, RunningTarget, ScrapeJob},
    report::{PoolReport, ScrapeMetrics},
    scrape_loop::{SharedAppendable, Surroundings},
};
use crate::{
    clock::AsyncClock,
    config::ScrapeConfig,
    discovery::JobDiscovery,
    self_metrics::{Family, Gauge, Registry},
};

/// How scraping behaves as a whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScrapeOptions {
    /// A target's first scrape comes no later than this after it was discovered; `None` spreads
    /// first scrapes over the whole interval.
    pub first_scrape_within: Option<Duration>,
    /// Makes this server scrape at other moments than another server with the same targets.
    pub offset_seed: u64,
    /// Whether timestamps are snapped to the schedule (`--scrape.adjust-timestamps`).
    pub adjust_timestamps: bool,
    /// How far a timestamp may be from the schedule to be snapped; never more than a hundredth of
    /// the interval (`--scrape.timestamp-tolerance`).
    pub timestamp_tolerance: Duration,
    /// Whether samples get the labels `__type__` and `__unit__` (`--enable-feature=type-and-unit-labels`). A metric
    /// whose type changes begins another series; Prometheus 3.5 keeps the old labels as long as it knows the line.
    pub type_and_unit_labels: bool,
}

impl Default for ScrapeOptions {
    fn default() -> Self {
        Self {
            first_scrape_within: None,
            offset_seed: 0,
            adjust_timestamps: true,
            timestamp_tolerance: Duration::from_millis(2),
            type_and_unit_labels: false,
        }
    }
}

/// Scrapes every target of every job. Lives in a tokio runtime.
#[derive(Debug)]
pub struct ScrapeManager {
    surroundings: Surroundings,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    jobs: BTreeMap<String, RunningJob>,
    /// Targets that are gone and still have markers to write.
    ending: EndingTargets,
    stopped: bool,
}

#[derive(Debug)]
struct RunningJob {
    pool: Pool,
    discovery: JobDiscovery,
    /// Hands the groups that discovery finds to the pool.
    follower: JoinHandle<()>,
}

impl ScrapeManager {
    /// A manager without jobs. Registers scraping's own metrics; `discovered` is shared with others
    /// who discover ([`discovered_targets`](crate::discovery::discovered_targets)).
    pub fn new(
        options: ScrapeOptions,
        appendable: Arc<dyn Appendable>,
        clock: Arc<dyn AsyncClock>,
        discovered: Family<Gauge>,
        registry: &Registry,
    ) -> Self {
        Self {
            surroundings: Surroundings {
                appendable: SharedAppendable(appendable),
                clock,
                options,
                metrics: ScrapeMetrics::new(registry, discovered),
            },
            state: Arc::default(),
        }
    }

    /// Makes `jobs` the running jobs. Jobs that did not change, and targets that did not change
    /// within one that did, keep running with all they know.
    ///
    /// # Errors
    /// A job's client cannot be built (certificates, headers); then nothing changed.
    pub fn apply<'a>(
        &self,
        jobs: impl IntoIterator<Item = &'a ScrapeConfig>,
    ) -> anyhow::Result<()> {
        let jobs: Vec<&ScrapeConfig> = jobs.into_iter().collect();
        let mut state = lock(&self.state);
        if state.stopped {
            return Ok(());
        }
        let metrics = &self.surroundings.metrics;
        // First everything that can fail.
        let mut changed = Vec::new();
        for config in &jobs {
            let running = state.jobs.get(&config.job_name);
            if running.is_some_and(|job| job.pool.job.config == **config) {
                continue;
            }
            let (attempts, failures) = match running {
                Some(_) => (&metrics.reloads, &metrics.reloads_failed),
                None => (&metrics.pools, &metrics.pools_failed),
            };
            attempts.increment();
            let client = ScrapeClient::new(config)
                .inspect_err(|_| failures.increment())
                .with_context(|| {
                    format!("error creating HTTP client of job \"{}\"", config.job_name)
                })?;
            changed.push(Arc::new(ScrapeJob {
                config: (*config).clone(),
                client,
                type_and_unit_labels: self.surroundings.options.type_and_unit_labels,
            }));
        }
        let State {
            jobs: running,
            ending,
            ..
        } = &mut *state;
        let is_gone = |name: &String| !jobs.iter().any(|config| config.job_name == *name);
        let gone: Vec<String> = running
            .keys()
            .filter(|name| is_gone(name))
            .cloned()
            .collect();
        for name in gone {
            if let Some(job) = running.remove(&name) {
                job.follower.abort();
                metrics.targets.remove(&[&name]);
                metrics.target_limit.remove(&[&name]);
                metrics.syncs.remove(&[&name]);
                metrics.sync_failed.remove(&[&name]);
                metrics.sync_length.remove(&[&name]);
                metrics.discovered.remove(&[DISCOVERY_NAME, &name]);
                for (key, target) in job.pool.targets {
                    target.end();
                    ending.insert(key, target);
                }
            }
        }
        for job in changed {
            self.run(job, running, ending);
        }
        Ok(())
    }

    /// Starts a job, or goes on with its changed configuration.
    fn run(
        &self,
        job: Arc<ScrapeJob>,
        running: &mut BTreeMap<String, RunningJob>,
        ending: &mut EndingTargets,
    ) {
        let name = job.config.job_name.clone();
        let previous = running.remove(&name);
        let mut pool = Pool::new(Arc::clone(&job));
        let mut discovery = None;
        if let Some(previous) = previous {
            previous.follower.abort();
            if previous.pool.job.config.discovery == job.config.discovery {
                discovery = Some(previous.discovery);
            }
            pool.targets = previous.pool.targets;
        }
        let discovery = discovery.unwrap_or_else(|| {
            JobDiscovery::start(&job.config.discovery, &self.surroundings.clock)
        });
        let mut groups = discovery.groups();
        let found = Arc::clone(&groups.borrow_and_update());
        pool.sync(&found, &self.surroundings, ending);
        let state = Arc::downgrade(&self.state);
        let surroundings = self.surroundings.clone();
        let job_name = name.clone();
        let follower = tokio::spawn(async move {
            while groups.changed().await.is_ok() {
                let found = Arc::clone(&groups.borrow_and_update());
                let Some(state) = state.upgrade() else {
                    return;
                };
                let mut state = lock(&state);
                let State {
                    jobs,
                    ending,
                    stopped,
                } = &mut *state;
                if let (Some(running), false) = (jobs.get_mut(&job_name), *stopped)
                    && Arc::ptr_eq(&running.pool.job, &job)
                {
                    running.pool.sync(&found, &surroundings, ending);
                }
            }
        });
        let running_job = RunningJob {
            pool,
            discovery,
            follower,
        };
        running.insert(name, running_job);
    }

    /// Every job with its targets, ascending by name.
    pub fn pools(&self) -> Vec<PoolReport> {
        let state = lock(&self.state);
        state.jobs.values().map(|job| job.pool.report()).collect()
    }

    /// The names of all jobs, ascending.
    pub fn scrape_pools(&self) -> Vec<String> {
        lock(&self.state).jobs.keys().cloned().collect()
    }

    /// Ends all loops and waits for what they are storing. No staleness markers are written: a
    /// server that comes back goes on with the series. Later calls of [`ScrapeManager::apply`] do
    /// nothing.
    pub async fn stop(&self) {
        let targets: Vec<RunningTarget> = {
            let mut state = lock(&self.state);
            state.stopped = true;
            let ending = std::mem::take(&mut state.ending);
            let jobs = std::mem::take(&mut state.jobs);
            let running = jobs.into_values().flat_map(|job| {
                job.follower.abort();
                job.pool.targets.into_values()
            });
            running.chain(ending.into_values()).collect()
        };
        let stops = targets
            .into_iter()
            .map(|target| tokio::spawn(target.stop()));
        for stop in stops.collect::<Vec<_>>() {
            if let Err(panic) = stop.await {
                tracing::error!(error = %panic, "Stopping a scrape loop panicked");
            }
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
