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

use narthex_query::{QueryContext, QueryError, Value, VectorSample, parser::Expr};
use narthex_storage::{
    Budget, Labels, Refusal, Sample, TargetKey, TimeRange, Timestamp, stale_marker,
};

use crate::{
    alerting::{self, Alerts, Found, milliseconds},
    file::{AlertConfig, GroupConfig, RuleConfig, RuleKind},
    link::table_link,
    manager::{ManagerOptions, UpdateSettings},
    output::Output,
    recording::{LabelCache, record},
    restore,
    sink::Pairs,
    slot::{group_hash, slot},
    status::{AlertState, AlertingStatus, GroupCounters, GroupStatus, Health, RuleStatus},
    template::TemplateData,
    text::Failed,
};

/// The iteration after which `for` is restored: by then scrapes and recording rules have filled what
/// alerts read.
const RESTORE_AFTER: u64 = 2;

/// The most alerts of a rule, whatever its group says; each may take a kilobyte.
const ALERTS_MAX: usize = 1_000_000;

/// Why a rule's evaluation yielded nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    message: String,
    is_canceled: bool,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            is_canceled: false,
        }
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        Self {
            is_canceled: matches!(error, QueryError::Canceled(_)),
            message: error.to_string(),
        }
    }
}

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

/// A rule with what can be seen of it.
struct Rule {
    config: RuleConfig,
    generator_url: String,
    key: TargetKey,
    shown: Mutex<Shown>,
    alerts: Mutex<Alerts>,
}

#[derive(Debug, Clone)]
struct Shown {
    health: Health,
    last_error: Option<String>,
    evaluation_time: Duration,
    last_evaluation: Option<Timestamp>,
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
        let mut occurrences: BTreeMap<String, usize> = BTreeMap::new();
        let rules: Vec<Rule> = config
            .rules
            .iter()
            .map(|rule| {
                let identity = identity(rule);
                let occurrence = occurrences.entry(identity.clone()).or_default();
                *occurrence += 1;
                Rule {
                    generator_url: format!(
                        "{}{}",
                        options.external_url,
                        table_link(&rule.query.text)
                    ),
                    key: TargetKey(format!(
                        "rule;{file};{};{identity};{occurrence}",
                        config.name
                    )),
                    config: rule.clone(),
                    shown: Mutex::new(Shown {
                        health: Health::Unknown,
                        last_error: None,
                        evaluation_time: Duration::ZERO,
                        last_evaluation: None,
                    }),
                    alerts: Mutex::default(),
                }
            })
            .collect();
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

    /// Evaluates a rule, stores its samples and says how many it yielded.
    fn evaluate_rule(&self, index: usize, work: &mut Work, time: Timestamp) -> usize {
        let rule = &self.rules[index];
        let clock = &self.options.clock;
        let (began, wall) = (clock.monotonic(), clock.now());
        self.figures.evaluations.fetch_add(1, Ordering::Relaxed);
        let is_restored = work.is_restored;
        let cache = &mut work.outputs[index].1;
        // A fault of the engine ends this rule's evaluation alone; what it was changing is caches.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            self.yielded(rule, cache, time, is_restored)
        }));
        let outcome = outcome.unwrap_or_else(|_| Err(Failure::new("the evaluation panicked")));
        let (count, error) = match outcome {
            Ok(samples) => {
                let error = self.store(rule, &mut work.outputs[index].0, time, &samples);
                (samples.len(), error)
            }
            Err(failure) => {
                self.figures.failures.fetch_add(1, Ordering::Relaxed);
                if !failure.is_canceled {
                    self.warn(rule, index, "Evaluating rule failed", &failure.message);
                }
                (0, Some(failure.message))
            }
        };
        let took = clock.monotonic().saturating_sub(began);
        self.options.observer.rule_evaluated(took);
        *lock(&rule.shown) = Shown {
            health: if error.is_some() {
                Health::Bad
            } else {
                Health::Good
            },
            last_error: error,
            evaluation_time: took,
            last_evaluation: Some(wall),
        };
        count
    }

    fn warn(&self, rule: &Rule, index: usize, message: &str, error: &str) {
        tracing::warn!(
            file = self.file,
            group = self.config.name,
            name = rule.config.name(),
            index,
            error,
            "{message}"
        );
    }

    /// The samples that a rule yields at `time`; alerts that are due go to the sink on the way.
    fn yielded(
        &self,
        rule: &Rule,
        cache: &mut LabelCache,
        time: Timestamp,
        is_restored: bool,
    ) -> Result<Vec<(Labels, f64)>, Failure> {
        let options = &self.options;
        let budget = Arc::new(Budget::new(options.query_budget_bytes));
        *lock(&self.running) = Some(Arc::clone(&budget));
        if self.is_canceled.load(Ordering::SeqCst) {
            budget.cancel();
        }
        let context = QueryContext {
            budget: &budget,
            deadline: Some(options.clock.monotonic() + options.query_timeout),
            clock: &*options.clock,
            lookback: None,
        };
        let query = &rule.config.query;
        let at = time - milliseconds(self.query_offset);
        let answer = self.query(&query.text, Some(&query.expr), at, &context);
        let samples = answer.and_then(|answer| match &rule.config.kind {
            RuleKind::Recording { .. } => record(&rule.config, self.config.limit, &answer, cache),
            RuleKind::Alerting(config) => {
                let found = self.found(rule, config, &answer, time, &context, cache)?;
                self.alerts(rule, config, &found, time, is_restored)
            }
        });
        *lock(&self.running) = None;
        samples
    }

    /// The vector that a query yields; a number counts as one without labels.
    fn query(
        &self,
        text: &str,
        expr: Option<&Expr>,
        at: Timestamp,
        context: &QueryContext<'_>,
    ) -> Result<Vec<VectorSample>, Failure> {
        let engine = &self.options.engine;
        let store = &*self.options.queryable;
        let answer = match expr {
            Some(expr) => engine.instant_expr(store, expr, text, at, context)?,
            None => engine.instant(store, text, at, context)?,
        };
        match answer.value {
            Value::Vector(samples) => Ok(samples),
            Value::Scalar(sample) => Ok(vec![VectorSample {
                labels: Labels::empty(),
                sample,
            }]),
            _ => Err(Failure::new("rule result is not a vector or scalar")),
        }
    }

    /// The alerts whose condition holds, their texts expanded.
    fn found(
        &self,
        rule: &Rule,
        config: &AlertConfig,
        answer: &[VectorSample],
        time: Timestamp,
        context: &QueryContext<'_>,
        cache: &mut LabelCache,
    ) -> Result<BTreeMap<Labels, Found>, Failure> {
        if answer.len() > ALERTS_MAX {
            return Err(Failure::new(format!(
                "exceeded the server's limit of {ALERTS_MAX} with {} alerts",
                answer.len()
            )));
        }
        let query = |text: &str, at: Timestamp| {
            let answer = self.query(text, None, at, context);
            answer.map_err(|failure| failure.message)
        };
        let texts = &rule.config.texts.0;
        let (mut found, mut failed) = (BTreeMap::new(), Failed::default());
        cache.begin(answer.len());
        for element in answer {
            check_time(context)?;
            let data = TemplateData {
                labels: &element.labels,
                value: element.sample.value,
                external_labels: &self.external_labels,
                external_url: &self.options.external_url,
                time,
                query: &query,
            };
            let labels = texts.alert_labels(&config.alert, &data, cache, &mut failed);
            let annotations = texts.alert_annotations(&config.annotations, &data, &mut failed);
            let value = element.sample.value;
            if found.insert(labels, Found { annotations, value }).is_some() {
                return Err(Failure::new(
                    "vector contains metrics with the same labelset after applying alert labels",
                ));
            }
        }
        if let Some(error) = failed.first {
            tracing::warn!(
                file = self.file,
                group = self.config.name,
                alert = config.alert,
                %error,
                failed = failed.count,
                "Expanding alert template failed"
            );
        }
        Ok(found)
    }

    /// Moves the rule's alerts on and sends those that are due; the samples that tell of them.
    fn alerts(
        &self,
        rule: &Rule,
        config: &AlertConfig,
        found: &BTreeMap<Labels, Found>,
        time: Timestamp,
        is_restored: bool,
    ) -> Result<Vec<(Labels, f64)>, Failure> {
        let options = &self.options;
        let limit = self.config.limit;
        let mut alerts = lock(&rule.alerts);
        let active_count = alerting::advance(&mut alerts, config, found, time);
        if limit > 0 && active_count as i64 > limit {
            alerts.clear();
            return Err(Failure::new(format!(
                "exceeded limit of {limit} with {active_count} alerts"
            )));
        }
        let samples = if is_restored {
            alerting::samples(&mut alerts, &rule.config)
        } else {
            Vec::new()
        };
        let due = alerting::take_due(
            &mut alerts,
            time,
            options.resend_delay,
            self.interval,
            &rule.generator_url,
        );
        drop(alerts);
        if !due.is_empty() {
            options.sink.send(due);
        }
        Ok(samples)
    }

    /// Stores the samples of a rule; returns what is to be shown as its error.
    fn store(
        &self,
        rule: &Rule,
        output: &mut Output,
        time: Timestamp,
        samples: &[(Labels, f64)],
    ) -> Option<String> {
        let at = time - milliseconds(self.query_offset);
        let row = samples.iter().map(|(labels, value)| (labels, *value));
        match output.write(&*self.options.appendable, &rule.key, at, row) {
            Ok(refused) => self.report_refused(rule, &refused),
            Err(error) => {
                self.figures.failures.fetch_add(1, Ordering::Relaxed);
                let error = with_sources(&error);
                tracing::warn!(
                    file = self.file,
                    group = self.config.name,
                    name = rule.config.name(),
                    error,
                    "Rule sample appending failed"
                );
                Some(error)
            }
        }
    }

    /// Logs refused samples by their reason; the last one is the rule's error.
    fn report_refused(&self, rule: &Rule, refused: &[(Labels, Refusal)]) -> Option<String> {
        let (_, last) = refused.last()?;
        let count = |wanted: Refusal| {
            let same = refused.iter().filter(|(_, refusal)| *refusal == wanted);
            same.count()
        };
        let reasons = [
            (
                Refusal::OutOfOrder,
                "Error on ingesting out-of-order result from rule evaluation",
            ),
            (
                Refusal::TooOld,
                "Error on ingesting too old result from rule evaluation",
            ),
            (
                Refusal::Duplicate,
                "Error on ingesting results from rule evaluation with different value but same timestamp",
            ),
            (
                Refusal::OutOfBounds,
                "Error on ingesting out of bounds result from rule evaluation",
            ),
            (
                Refusal::SeriesLimit,
                "Error on ingesting results from rule evaluation: series limit reached",
            ),
            (
                Refusal::InvalidLabels,
                "Error on ingesting results from rule evaluation with invalid labels",
            ),
        ];
        for (reason, message) in reasons {
            let dropped = count(reason);
            if dropped > 0 {
                tracing::warn!(
                    file = self.file,
                    group = self.config.name,
                    name = rule.config.name(),
                    num_dropped = dropped,
                    "{message}"
                );
            }
        }
        Some(last.to_string())
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
            let budget = Budget::new(options.query_budget_bytes);
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

impl Rule {
    fn status(&self) -> RuleStatus {
        let shown = lock(&self.shown).clone();
        let alerting = match &self.config.kind {
            RuleKind::Recording { .. } => None,
            RuleKind::Alerting(config) => {
                let alerts = lock(&self.alerts);
                Some(AlertingStatus {
                    state: match shown.last_evaluation {
                        None => AlertState::Unknown,
                        Some(_) => alerting::greatest_state(&alerts),
                    },
                    hold: config.hold,
                    keep_firing_for: config.keep_firing_for,
                    annotations: Pairs::clone(&config.annotations),
                    alerts: alerting::active(&alerts),
                })
            }
        };
        RuleStatus {
            name: self.config.name().to_owned(),
            query: self.config.query.text.clone(),
            labels: Pairs::clone(&self.config.labels),
            health: shown.health,
            last_error: shown.last_error,
            evaluation_time: shown.evaluation_time,
            last_evaluation: shown.last_evaluation,
            alerting,
        }
    }
}

/// What upstream matches rules of an old and a new group by.
fn identity(rule: &RuleConfig) -> String {
    format!("{}{:?}", rule.name(), rule.labels)
}

/// Templates are expanded within the time of their rule's query.
fn check_time(context: &QueryContext<'_>) -> Result<(), Failure> {
    const STAGE: &str = "template expansion";
    if context.budget.is_canceled() {
        return Err(QueryError::Canceled(STAGE).into());
    }
    match context.deadline {
        Some(deadline) if context.clock.monotonic() > deadline => {
            Err(QueryError::Timeout(STAGE).into())
        }
        _ => Ok(()),
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
