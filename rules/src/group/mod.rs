//! A group: rules evaluated one after the other at the same time, each seeing what those before it
//! wrote.
//!
//! Whoever runs a group asks [`Group::slot`] for its times and calls [`Group::evaluate`] for each,
//! never before the previous call returned; times that went by meanwhile are told to
//! [`Group::note_missed`]. A rule that fails is shown as failed and changes nothing else.
//!
//! Locks: `work` is held for a whole iteration; `Rule::shown` and `Rule::alerts` for moments, so that
//! [`Group::status`] never waits for a query. Whoever holds several took them in this order.
//!
//! **Source**: Prometheus `rules/group.go`.

mod evaluate;
mod rule;

use std::{
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use narthex_storage::{Budget, Labels, Sample, TargetKey, TimeRange, Timestamp, stale_marker};

pub(crate) use evaluate::Failure;
use rule::Rule;

use crate::{
    alerting::milliseconds,
    file::{GroupConfig, RuleKind},
    manager::{ManagerOptions, UpdateSettings},
    output::Output,
    recording::LabelCache,
    restore,
    slot::{group_hash, slot},
    status::{GroupCounters, GroupStatus},
};

/// The iteration after which `for` is restored: by then scrapes and recording rules have filled what
/// alerts read.
const RESTORE_AFTER: u64 = 2;

/// See the module. Shared behind an [`Arc`].
pub struct Group {
    config: GroupConfig,
    file: String,
    interval: Duration,
    query_offset: Duration,
    external_labels: Labels,
    options: Arc<ManagerOptions>,
    hash: u64,
    rules: Vec<Rule>,
    work: Mutex<Work>,
    timing: Mutex<Timing>,
    figures: Figures,
    stopped: AtomicBool,
    is_canceled: AtomicBool,
    /// What the running query may use; cancelled by [`Group::stop`].
    running: Mutex<Option<Arc<Budget>>>,
}

/// What an iteration changes.
#[derive(Default)]
pub(crate) struct Work {
    /// One a rule.
    outputs: Vec<(Output, LabelCache)>,
    /// Series of rules that are gone; marked stale by the next iteration.
    abandoned: Vec<Labels>,
    iterations: u64,
    is_restored: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Timing {
    evaluation_time: Duration,
    last_evaluation: Option<Timestamp>,
    last_restore: Option<Duration>,
}

#[derive(Debug, Default)]
struct Figures {
    iterations: AtomicU64,
    iterations_missed: AtomicU64,
    evaluations: AtomicU64,
    failures: AtomicU64,
    last_samples: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Group {
    /// A group that was not evaluated yet; one of the first load restores `for`.
    pub(crate) fn new(
        file: &str,
        config: GroupConfig,
        settings: &UpdateSettings,
        options: &Arc<ManagerOptions>,
        restores: bool,
    ) -> Self {
        let rules = Rule::all(file, &config, &options.external_url);
        let outputs = rules.iter().map(|_| Default::default()).collect();
        Self {
            interval: config.interval.unwrap_or(settings.interval),
            query_offset: config.query_offset.unwrap_or(settings.query_offset),
            external_labels: settings.external_labels.clone(),
            options: Arc::clone(options),
            hash: group_hash(file, &config.name),
            file: file.to_owned(),
            config,
            rules,
            work: Mutex::new(Work {
                outputs,
                is_restored: !restores,
                ..Work::default()
            }),
            timing: Mutex::default(),
            figures: Figures::default(),
            stopped: AtomicBool::new(false),
            is_canceled: AtomicBool::new(false),
            running: Mutex::default(),
        }
    }

    /// The group's name, unique in its file.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// The path of the group's file.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// How often it is evaluated, above zero.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// The latest time of evaluation not after `now`; they are [`Group::interval`] apart. The first
    /// evaluation is an interval after the slot of the moment in which the group was loaded.
    pub fn slot(&self, now: Timestamp) -> Timestamp {
        slot(self.hash, self.interval, now)
    }

    /// Counts iterations whose time went by while an earlier one ran.
    pub fn note_missed(&self, iterations: u64) {
        let figures = &self.figures;
        figures.iterations.fetch_add(iterations, Ordering::Relaxed);
        figures
            .iterations_missed
            .fetch_add(iterations, Ordering::Relaxed);
    }

    /// Ends the running iteration behind the rule at hand and refuses later ones.
    pub(crate) fn finish(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    /// Cancels the running iteration and refuses later ones.
    pub(crate) fn stop(&self) {
        self.finish();
        self.is_canceled.store(true, Ordering::SeqCst);
        if let Some(budget) = &*lock(&self.running) {
            budget.cancel();
        }
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// One whole iteration as of `time`, in the caller's thread: queries, samples, states, alerts to
    /// the sink, and after the second iteration of the server's life the restore of `for`.
    pub fn evaluate(&self, time: Timestamp) {
        let mut work = lock(&self.work);
        if self.is_stopped() {
            return;
        }
        let clock = &self.options.clock;
        let (began, wall) = (clock.monotonic(), clock.now());
        self.figures.iterations.fetch_add(1, Ordering::Relaxed);
        let mut samples = 0;
        for index in 0..self.rules.len() {
            if self.is_stopped() {
                return;
            }
            samples += self.evaluate_rule(index, &mut work, time);
        }
        let figures = &self.figures;
        figures
            .last_samples
            .store(samples as u64, Ordering::Relaxed);
        self.mark_abandoned(&mut work, time);
        let took = clock.monotonic().saturating_sub(began);
        self.options.observer.group_evaluated(took);
        {
            let mut timing = lock(&self.timing);
            timing.evaluation_time = took;
            timing.last_evaluation = Some(wall);
        }
        work.iterations += 1;
        if !work.is_restored && work.iterations >= RESTORE_AFTER {
            // Whatever comes of it: it is not tried again.
            work.is_restored = true;
            if catch_unwind(AssertUnwindSafe(|| self.restore())).is_err() {
                tracing::error!(
                    file = self.file,
                    group = self.config.name,
                    "Failed to restore 'for' state: the restore panicked"
                );
            }
            let took = clock.monotonic().saturating_sub(began + took);
            lock(&self.timing).last_restore = Some(took);
        }
    }

    /// Marks the series of rules that are gone.
    fn mark_abandoned(&self, work: &mut Work, time: Timestamp) {
        if work.abandoned.is_empty() {
            return;
        }
        let at = time - milliseconds(self.query_offset);
        match mark_stale(&self.options, &work.abandoned, at) {
            Ok(()) => work.abandoned = Vec::new(),
            Err(error) => tracing::warn!(
                file = self.file,
                group = self.config.name,
                error,
                "Stale sample appending for previous configuration failed"
            ),
        }
    }

    fn restore(&self) {
        let options = &self.options;
        let now = options.clock.now();
        let range = TimeRange::new(now - milliseconds(options.outage_tolerance), now);
        let failed = |name: &str, error: &dyn fmt::Display| {
            tracing::error!(
                file = self.file,
                group = self.config.name,
                alertname = name,
                %error,
                "Failed to restore 'for' state"
            );
        };
        let querier = match options.queryable.querier(range) {
            Ok(querier) => querier,
            Err(error) => return failed("", &error),
        };
        for rule in &self.rules {
            let RuleKind::Alerting(config) = &rule.config.kind else {
                continue;
            };
            if config.hold < options.for_grace_period {
                continue;
            }
            let budget = options.query_budget();
            let outcome = restore::restore(
                &*querier,
                range,
                &budget,
                &rule.config,
                config,
                milliseconds(options.for_grace_period),
                &mut lock(&rule.alerts),
            );
            if let Err(error) = outcome {
                failed(rule.config.name(), &error);
            }
        }
    }

    /// Whether going on with this group is the same as loading `other`.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        self.file == other.file
            && self.config == other.config
            && self.interval == other.interval
            && self.query_offset == other.query_offset
            && self.external_labels == other.external_labels
    }

    /// Takes over what `from`, which was stopped, knew: rules are matched by name and labels, the
    /// first with the first and so on. Series of rules that found no match are marked stale by the
    /// next iteration.
    pub(crate) fn take_over(&self, from: &Self) {
        let mut theirs = lock(&from.work);
        let mut mine = lock(&self.work);
        *lock(&self.timing) = *lock(&from.timing);
        for (mine, theirs) in [
            (&self.figures.iterations, &from.figures.iterations),
            (
                &self.figures.iterations_missed,
                &from.figures.iterations_missed,
            ),
            (&self.figures.evaluations, &from.figures.evaluations),
            (&self.figures.failures, &from.figures.failures),
            (&self.figures.last_samples, &from.figures.last_samples),
        ] {
            mine.store(theirs.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        mine.is_restored = theirs.is_restored;
        mine.iterations = theirs.iterations;
        mine.abandoned = std::mem::take(&mut theirs.abandoned);
        let by_key: BTreeMap<&TargetKey, usize> = self
            .rules
            .iter()
            .enumerate()
            .map(|(index, rule)| (&rule.key, index))
            .collect();
        for (rule, (mut output, cache)) in from.rules.iter().zip(theirs.outputs.drain(..)) {
            let Some(index) = by_key.get(&rule.key) else {
                mine.abandoned.extend(output.abandon());
                continue;
            };
            let heir = &self.rules[*index];
            *lock(&heir.alerts) = std::mem::take(&mut *lock(&rule.alerts));
            *lock(&heir.shown) = lock(&rule.shown).clone();
            mine.outputs[*index] = (output, cache);
        }
    }

    /// Lets go of everything that the group, which was stopped, writes: the series of its newest
    /// rows and the offset at which they were written.
    pub(crate) fn abandon(&self) -> (Vec<Labels>, Duration) {
        let mut work = lock(&self.work);
        let mut series = std::mem::take(&mut work.abandoned);
        for (mut output, _) in work.outputs.drain(..) {
            series.extend(output.abandon());
        }
        (series, self.query_offset)
    }

    /// The group as it is now, with its rules and alerts.
    pub fn status(&self) -> GroupStatus {
        let timing = *lock(&self.timing);
        let get = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        GroupStatus {
            name: self.config.name.clone(),
            file: self.file.clone(),
            interval: self.interval,
            limit: self.config.limit,
            evaluation_time: timing.evaluation_time,
            last_evaluation: timing.last_evaluation,
            rules: self.rules.iter().map(Rule::status).collect(),
            counters: GroupCounters {
                iterations: get(&self.figures.iterations),
                iterations_missed: get(&self.figures.iterations_missed),
                evaluations: get(&self.figures.evaluations),
                failures: get(&self.figures.failures),
                last_samples: get(&self.figures.last_samples),
                last_restore: timing.last_restore,
            },
        }
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Group")
            .field("file", &self.file)
            .field("name", &self.config.name)
            .finish_non_exhaustive()
    }
}

/// Ends series at `time`; series that somebody wrote since then go on.
pub(crate) fn mark_stale(
    options: &ManagerOptions,
    series: &[Labels],
    time: Timestamp,
) -> Result<(), String> {
    let mut appender = options.appendable.appender();
    let marker = Sample {
        time,
        value: stale_marker(),
    };
    for labels in series {
        if let Ok(series) = appender.series(labels) {
            appender.samples(series, &[marker]);
        }
    }
    match appender.commit(false) {
        Ok(_) => Ok(()),
        Err(error) => Err(with_sources(&error)),
    }
}

/// An error with its causes.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
