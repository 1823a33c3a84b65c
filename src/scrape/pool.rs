//! The targets of one job.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use narthex_storage::Labels;
use tokio::{sync::watch, task::JoinHandle};
use tracing::error;

use super::{
    client::ScrapeClient,
    report::{PoolReport, SharedStatus, TargetReport},
    scrape_loop::{Command, ScrapeLoop, Surroundings, Warned},
    target::{Relabelled, TargetSpec, relabel_group},
};
use crate::config::{ScrapeConfig, TargetGroup};

/// What discovery for scraping is called in metrics, beside that for alertmanagers.
pub(super) const DISCOVERY_NAME: &str = "scrape";

/// A job and the client of its targets.
#[derive(Debug)]
pub(super) struct ScrapeJob {
    pub(super) config: ScrapeConfig,
    pub(super) client: ScrapeClient,
    /// Whether samples get the labels `__type__` and `__unit__`.
    pub(super) type_and_unit_labels: bool,
}

/// How one target is scraped.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) job: Arc<ScrapeJob>,
    pub(super) spec: TargetSpec,
    /// Why the target must not be scraped, when the job has too many.
    pub(super) forced_error: Option<String>,
}

impl Settings {
    fn equals(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.job, &other.job)
            && self.spec == other.spec
            && self.forced_error == other.forced_error
    }
}

/// A loop that runs, or ends.
#[derive(Debug)]
pub(super) struct RunningTarget {
    settings: Arc<Settings>,
    commands: watch::Sender<Command>,
    status: Arc<SharedStatus>,
    finished: Arc<Mutex<bool>>,
    task: JoinHandle<()>,
}

impl RunningTarget {
    fn start(key: String, settings: Arc<Settings>, surroundings: Surroundings) -> Self {
        let (commands, receiver) = watch::channel(Command::Run(Arc::clone(&settings)));
        let status = Arc::new(SharedStatus::default());
        let finished = Arc::new(Mutex::new(false));
        let scrape_loop = ScrapeLoop {
            key,
            surroundings,
            commands: receiver,
            status: Arc::clone(&status),
            finished: Arc::clone(&finished),
            rows: None,
            known: None,
            warned: Warned::default(),
        };
        Self {
            settings,
            commands,
            status,
            finished,
            task: tokio::spawn(scrape_loop.run()),
        }
    }

    /// Hands new settings to the loop; false when it has ended.
    fn go_on(&mut self, settings: Arc<Settings>) -> bool {
        let finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        if !*finished {
            self.settings = Arc::clone(&settings);
            self.commands.send_replace(Command::Run(settings));
        }
        !*finished
    }

    pub(super) fn end(&self) {
        self.commands.send_replace(Command::End);
    }

    /// Ends the loop without markers and waits for what it is storing.
    pub(super) async fn stop(self) {
        self.commands.send_replace(Command::Stop);
        if let Err(panic) = self.task.await {
            error!(error = %panic, "Scrape loop panicked");
        }
    }

    pub(super) fn is_finished(&self) -> bool {
        *self.finished.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Loops whose target is gone, by target.
pub(super) type EndingTargets = BTreeMap<String, RunningTarget>;

/// The targets of one job.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) job: Arc<ScrapeJob>,
    pub(super) targets: BTreeMap<String, RunningTarget>,
    dropped: Vec<Labels>,
    dropped_count: usize,
}

impl Pool {
    pub(super) fn new(job: Arc<ScrapeJob>) -> Self {
        Self {
            job,
            targets: BTreeMap::new(),
            dropped: Vec::new(),
            dropped_count: 0,
        }
    }

    /// Makes the running targets those of `groups`: equal ones go on undisturbed, changed ones with
    /// their new settings, new ones start, missing ones end.
    pub(super) fn sync(
        &mut self,
        groups: &[TargetGroup],
        surroundings: &Surroundings,
        ending: &mut EndingTargets,
    ) {
        let began = surroundings.clock.monotonic();
        self.replace(groups, surroundings, ending);
        let took = surroundings.clock.monotonic().saturating_sub(began);
        let name = self.job.config.job_name.as_str();
        let metrics = &surroundings.metrics;
        metrics.syncs.with(&[name]).increment();
        metrics
            .sync_length
            .with(&[name])
            .observe(took.as_secs_f64());
        let discovered: usize = groups.iter().map(|group| group.targets.len()).sum();
        metrics
            .discovered
            .with(&[DISCOVERY_NAME, name])
            .set(discovered as f64);
    }

    fn replace(
        &mut self,
        groups: &[TargetGroup],
        surroundings: &Surroundings,
        ending: &mut EndingTargets,
    ) {
        let config = &self.job.config;
        let name = config.job_name.as_str();
        let metrics = &surroundings.metrics;
        let mut wanted: BTreeMap<String, TargetSpec> = BTreeMap::new();
        self.dropped.clear();
        self.dropped_count = 0;
        let keep = usize::try_from(config.limits.keep_dropped_targets).unwrap_or(usize::MAX);
        for relabelled in groups.iter().flat_map(|group| relabel_group(config, group)) {
            match relabelled {
                Relabelled::Active(spec) => {
                    wanted.entry(spec.key(name)).or_insert(*spec);
                }
                Relabelled::Dropped(discovered) => {
                    self.dropped_count += 1;
                    if keep == 0 || self.dropped.len() < keep {
                        self.dropped.push(discovered);
                    }
                }
                Relabelled::Invalid(problem) => {
                    metrics.sync_failed.with(&[name]).increment();
                    error!(scrape_pool = %name, err = %problem, "Creating target failed");
                }
            }
        }
        let limit = config.limits.targets;
        let count = wanted.len();
        let forced_error = (limit > 0 && count as u64 > limit).then(|| {
            metrics.exceeded_target_limit.increment();
            format!("target_limit exceeded (number of targets: {count}, limit: {limit})")
        });
        metrics.target_limit.with(&[name]).set(limit as f64);
        metrics.targets.with(&[name]).set(count as f64);

        ending.retain(|_, target| !target.is_finished());
        let gone: Vec<String> = self
            .targets
            .keys()
            .filter(|key| !wanted.contains_key(*key))
            .cloned()
            .collect();
        for key in gone {
            if let Some(target) = self.targets.remove(&key) {
                target.end();
                ending.insert(key, target);
            }
        }
        for (key, spec) in wanted {
            let settings = Arc::new(Settings {
                job: Arc::clone(&self.job),
                spec,
                forced_error: forced_error.clone(),
            });
            if let Some(target) = self.targets.get_mut(&key) {
                if !target.settings.equals(&settings) {
                    target.go_on(settings);
                }
                continue;
            }
            let returned = ending
                .remove(&key)
                .and_then(|mut target| target.go_on(Arc::clone(&settings)).then_some(target));
            let target = returned.unwrap_or_else(|| {
                RunningTarget::start(key.clone(), settings, surroundings.clone())
            });
            self.targets.insert(key, target);
        }
    }

    pub(super) fn report(&self) -> PoolReport {
        let active = self.targets.values().map(|target| {
            let spec = &target.settings.spec;
            TargetReport {
                discovered_labels: spec.discovered.clone(),
                labels: spec.labels.clone(),
                scrape_url: spec.url.shown.clone(),
                status: target.status.get(),
                scrape_interval: spec.interval,
                scrape_timeout: spec.timeout,
            }
        });
        PoolReport {
            name: self.job.config.job_name.clone(),
            active: active.collect(),
            dropped: self.dropped.clone(),
            dropped_count: self.dropped_count,
        }
    }
}
