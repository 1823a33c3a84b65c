//! Rule files and the tasks that evaluate their groups.
//!
//! Every group has a task that waits for its times and evaluates it on the blocking pool, at most
//! [`GROUPS_AT_ONCE`] at the same time; a group's evaluations never overlap, and times that went by
//! meanwhile are counted as missed.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Result, anyhow};
use narthex_query::parser::ParserOptions;
use narthex_rules::{
    EvaluationObserver, FileOptions, Group, GroupStatus, Manager, ManagerOptions, RuleFile,
    UpdateSettings, parse_rule_file,
};
use narthex_storage::Timestamp;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinHandle,
};
use tracing::{error, info};

use crate::{
    clock::AsyncClock,
    config::{Config, matching_files},
    self_metrics::{Family, Gauge, Registry, Summary},
};

/// Groups that are evaluated at the same time; the others wait. A quarter of the blocking pool, so
/// that slow rules leave room for scrapes and queries.
const GROUPS_AT_ONCE: usize = 32;

/// How often series of groups that are gone are looked after.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// How the command line wants rules evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleOptions {
    /// How far back `for` is restored (`--rules.alert.for-outage-tolerance`).
    pub outage_tolerance: Duration,
    /// The least `for` that is restored, and the least time that a restored alert stays pending
    /// (`--rules.alert.for-grace-period`).
    pub for_grace_period: Duration,
    /// How long an alert is not sent again (`--rules.alert.resend-delay`).
    pub resend_delay: Duration,
}

/// Reads and checks all rule files of a configuration.
///
/// # Errors
/// Everything that is wrong with them, one text a message, at least one.
pub(super) fn load(config: &Config, parser: ParserOptions) -> Result<Vec<RuleFile>, Vec<String>> {
    let mut files = Vec::new();
    let mut problems = Vec::new();
    let options = FileOptions {
        ignore_unknown_fields: false,
        parser,
    };
    for pattern in &config.rule_files {
        let paths = match matching_files(pattern) {
            Ok(paths) => paths,
            Err(problem) => {
                problems.push(format!(
                    "error retrieving rule files for {pattern:?}: {problem}"
                ));
                continue;
            }
        };
        for path in paths {
            match load_file(&path, options) {
                Ok(file) => files.push(file),
                Err(found) => problems.extend(found.into_iter().map(|problem| {
                    let file = path.display();
                    format!("parse rules from file \"{file}\" (pattern: {pattern:?}): {problem}")
                })),
            }
        }
    }
    if problems.is_empty() {
        Ok(files)
    } else {
        Err(problems)
    }
}

fn load_file(path: &Path, options: FileOptions) -> Result<RuleFile, Vec<String>> {
    let bytes =
        std::fs::read(path).map_err(|error| vec![format!("{}: {error}", path.display())])?;
    parse_rule_file(path, &bytes, &options).map_err(|errors| {
        let errors = errors.errors().iter();
        errors.map(ToString::to_string).collect()
    })
}

/// What a reload answers about rule files that cannot be used; each problem is logged.
pub(super) fn refused(problems: &[String]) -> anyhow::Error {
    let mut text = "error loading rules, previous rule set restored".to_owned();
    for problem in problems {
        error!(
            component = "rule manager",
            err = problem,
            "loading groups failed"
        );
    }
    if let Some(first) = problems.first() {
        write!(text, ": {first}").expect("writing to a string does not fail");
    }
    anyhow!(text)
}

/// The groups in force and their tasks. Lives in a tokio runtime.
pub(super) struct Rules {
    manager: Arc<Manager>,
    clock: Arc<dyn AsyncClock>,
    places: Arc<Semaphore>,
    running: Mutex<Vec<RunningGroup>>,
    stop: watch::Sender<bool>,
    sweeper: JoinHandle<()>,
}

struct RunningGroup {
    group: Arc<Group>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Rules {
    /// No groups yet. Registers the metrics of rules.
    pub(super) fn start(
        options: ManagerOptions,
        clock: Arc<dyn AsyncClock>,
        registry: &Registry,
    ) -> Self {
        info!(component = "rule manager", "Starting rule manager...");
        let manager = Arc::new(Manager::new(options));
        collect(registry, &manager);
        let (stop, stopped) = watch::channel(false);
        let sweeper = tokio::spawn(sweep(Arc::clone(&manager), Arc::clone(&clock), stopped));
        Self {
            manager,
            clock,
            places: Arc::new(Semaphore::new(GROUPS_AT_ONCE)),
            running: Mutex::default(),
            stop,
            sweeper,
        }
    }

    /// Makes the groups of `files` the running ones. Unchanged groups go on undisturbed; changed ones
    /// begin at their next time with what their rules knew.
    pub(super) async fn apply(&self, files: Vec<RuleFile>, settings: UpdateSettings) {
        let manager = Arc::clone(&self.manager);
        // A changed group's running evaluation is waited for.
        let update = tokio::task::spawn_blocking(move || manager.update(files, &settings));
        if let Err(panic) = update.await {
            error!(component = "rule manager", error = %panic, "Changing groups panicked");
        }
        let groups = self.manager.groups();
        let mut running = lock(&self.running);
        let is_wanted = |group: &Arc<Group>| groups.iter().any(|wanted| Arc::ptr_eq(wanted, group));
        running.retain(|one| {
            let stays = is_wanted(&one.group);
            if !stays {
                one.stop.send_replace(true);
            }
            stays
        });
        for group in groups {
            if !running.iter().any(|one| Arc::ptr_eq(&one.group, &group)) {
                running.push(self.run(group));
            }
        }
    }

    fn run(&self, group: Arc<Group>) -> RunningGroup {
        let (stop, stopped) = watch::channel(false);
        let now = self.clock.now();
        let schedule = Schedule {
            group: Arc::clone(&group),
            clock: Arc::clone(&self.clock),
            places: Arc::clone(&self.places),
            stopped,
            next: group.slot(now).saturating_add(interval_ms(&group)),
        };
        RunningGroup {
            group,
            stop,
            task: tokio::spawn(schedule.run()),
        }
    }

    /// Every group with its rules and alerts, by file, then name.
    pub(super) fn status(&self) -> Vec<GroupStatus> {
        let groups = self.manager.groups();
        groups.iter().map(|group| group.status()).collect()
    }

    /// Ends running evaluations at their next step and waits for them.
    pub(super) async fn stop(&self) {
        info!(component = "rule manager", "Stopping rule manager...");
        self.stop.send_replace(true);
        let running = std::mem::take(&mut *lock(&self.running));
        for one in &running {
            one.stop.send_replace(true);
        }
        self.manager.stop();
        for one in running {
            if let Err(panic) = one.task.await {
                error!(component = "rule manager", error = %panic, "Evaluating a group panicked");
            }
        }
        self.sweeper.abort();
        info!(component = "rule manager", "Rule manager stopped");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn sweep(
    manager: Arc<Manager>,
    clock: Arc<dyn AsyncClock>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            () = clock.sleep_until(clock.monotonic() + SWEEP_INTERVAL) => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        let manager = Arc::clone(&manager);
        if let Err(panic) = tokio::task::spawn_blocking(move || manager.sweep()).await {
            error!(component = "rule manager", error = %panic, "Looking after removed groups panicked");
        }
    }
}

/// When one group is evaluated.
struct Schedule {
    group: Arc<Group>,
    clock: Arc<dyn AsyncClock>,
    places: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
    /// The first time.
    next: Timestamp,
}

/// At least 1.
fn interval_ms(group: &Group) -> i64 {
    i64::try_from(group.interval().as_millis())
        .unwrap_or(i64::MAX)
        .max(1)
}

impl Schedule {
    async fn run(mut self) {
        let interval_ms = interval_ms(&self.group);
        let after = |time: Timestamp| time.saturating_add(interval_ms);
        let mut next = self.next;
        loop {
            // Read first: time that goes by between the two makes the wait no longer.
            let monotonic = self.clock.monotonic();
            let wait_ms = next.saturating_sub(self.clock.now()).max(0);
            let wait = Duration::from_millis(wait_ms.unsigned_abs());
            tokio::select! {
                () = self.clock.sleep_until(monotonic + wait) => {}
                _ = self.stopped.wait_for(|stop| *stop) => return,
            }
            let place = tokio::select! {
                place = Arc::clone(&self.places).acquire_owned() => place,
                _ = self.stopped.wait_for(|stop| *stop) => return,
            };
            // Of the times that went by, the newest is evaluated.
            let missed = (self.clock.now() - next).max(0) / interval_ms;
            if missed > 0 {
                self.group.note_missed(missed.unsigned_abs());
            }
            let time = next + missed * interval_ms;
            let group = Arc::clone(&self.group);
            let evaluation = tokio::task::spawn_blocking(move || group.evaluate(time));
            if let Err(panic) = evaluation.await {
                error!(
                    component = "rule manager",
                    file = self.group.file(),
                    group = self.group.name(),
                    error = %panic,
                    "Evaluating a group panicked"
                );
            }
            drop(place);
            next = after(time);
            let now = self.clock.now();
            if next - now > 2 * interval_ms {
                // The wall clock was set back.
                next = after(self.group.slot(now));
            }
        }
    }
}

/// Summaries of how long evaluations take.
struct Durations {
    rule: Summary,
    group: Summary,
}

impl EvaluationObserver for Durations {
    fn rule_evaluated(&self, took: Duration) {
        self.rule.observe(took.as_secs_f64());
    }

    fn group_evaluated(&self, took: Duration) {
        self.group.observe(took.as_secs_f64());
    }
}

/// Registers `prometheus_rule_evaluation_duration_seconds` and its like for groups.
pub(super) fn observer(registry: &Registry) -> Arc<dyn EvaluationObserver> {
    let rule = registry.summaries(
        "prometheus_rule_evaluation_duration_seconds",
        "The duration for a rule to execute.",
        &[],
    );
    let group = registry.summaries(
        "prometheus_rule_group_duration_seconds",
        "The duration of rule group evaluations.",
        &[],
    );
    Arc::new(Durations {
        rule: rule.with(&[]),
        group: group.with(&[]),
    })
}

/// A metric of a group and where its value comes from.
struct GroupMetric {
    name: &'static str,
    help: &'static str,
    is_counter: bool,
    value: fn(&GroupStatus) -> f64,
}

static GROUP_METRICS: &[GroupMetric] = &[
    GroupMetric {
        name: "prometheus_rule_evaluations_total",
        help: "The total number of rule evaluations.",
        is_counter: true,
        value: |group| group.counters.evaluations as f64,
    },
    GroupMetric {
        name: "prometheus_rule_evaluation_failures_total",
        help: "The total number of rule evaluation failures.",
        is_counter: true,
        value: |group| group.counters.failures as f64,
    },
    GroupMetric {
        name: "prometheus_rule_group_interval_seconds",
        help: "The interval of a rule group.",
        is_counter: false,
        value: |group| group.interval.as_secs_f64(),
    },
    GroupMetric {
        name: "prometheus_rule_group_iterations_total",
        help: "The total number of scheduled rule group evaluations, whether executed or missed.",
        is_counter: true,
        value: |group| group.counters.iterations as f64,
    },
    GroupMetric {
        name: "prometheus_rule_group_iterations_missed_total",
        help: "The total number of rule group evaluations missed due to slow rule group evaluation.",
        is_counter: true,
        value: |group| group.counters.iterations_missed as f64,
    },
    GroupMetric {
        name: "prometheus_rule_group_last_duration_seconds",
        help: "The duration of the last rule group evaluation.",
        is_counter: false,
        value: |group| group.evaluation_time.as_secs_f64(),
    },
    GroupMetric {
        name: "prometheus_rule_group_last_rule_duration_sum_seconds",
        help: "The sum of time in seconds it took to evaluate each rule in the group regardless of concurrency. This should be higher than the group duration if rules are evaluated concurrently.",
        is_counter: false,
        value: |group| {
            let rules = group.rules.iter();
            rules
                .map(|rule| rule.evaluation_time)
                .sum::<Duration>()
                .as_secs_f64()
        },
    },
    GroupMetric {
        name: "prometheus_rule_group_last_evaluation_samples",
        help: "The number of samples returned during the last rule group evaluation.",
        is_counter: false,
        value: |group| group.counters.last_samples as f64,
    },
    GroupMetric {
        name: "prometheus_rule_group_last_evaluation_timestamp_seconds",
        help: "The timestamp of the last rule group evaluation in seconds.",
        is_counter: false,
        value: |group| group.last_evaluation.unwrap_or_default() as f64 / 1000.0,
    },
    GroupMetric {
        name: "prometheus_rule_group_last_restore_duration_seconds",
        help: "The duration of the last alert rules alerts restoration using the `ALERTS_FOR_STATE` series.",
        is_counter: false,
        value: |group| {
            group
                .counters
                .last_restore
                .unwrap_or_default()
                .as_secs_f64()
        },
    },
    GroupMetric {
        name: "prometheus_rule_group_rules",
        help: "The number of rules.",
        is_counter: false,
        value: |group| group.rules.len() as f64,
    },
];

/// Registers the metrics of groups, looked up when they are asked for.
fn collect(registry: &Registry, manager: &Arc<Manager>) {
    let families: Vec<Family<Gauge>> = GROUP_METRICS
        .iter()
        .map(|metric| {
            let register = if metric.is_counter {
                Registry::counter_gauges
            } else {
                Registry::gauges
            };
            register(registry, metric.name, metric.help, &["rule_group"])
        })
        .collect();
    let manager = Arc::downgrade(manager);
    let known = Mutex::new(BTreeSet::new());
    registry.collect_with(move || {
        let Some(manager) = manager.upgrade() else {
            return;
        };
        let mut present = BTreeSet::new();
        for group in manager.groups() {
            let status = group.status();
            let label = format!("{};{}", status.file, status.name);
            for (metric, family) in GROUP_METRICS.iter().zip(&families) {
                family.with(&[&label]).set((metric.value)(&status));
            }
            present.insert(label);
        }
        let mut known = lock(&known);
        for gone in known.difference(&present) {
            for family in &families {
                family.remove(&[gone]);
            }
        }
        *known = present;
    });
}
