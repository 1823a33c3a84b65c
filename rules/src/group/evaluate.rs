//! One evaluation of one rule: its query, its samples, its alerts.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
};

use narthex_query::{QueryContext, QueryError, SampleValue, Value, VectorSample, parser::Expr};
use narthex_storage::{Labels, Refusal, Timestamp};

use super::{
    Group, Work, lock,
    rule::{Rule, Shown},
    with_sources,
};
use crate::{
    alerting::{self, Found, milliseconds},
    file::{AlertConfig, RuleKind},
    output::Output,
    recording::{LabelCache, record},
    status::Health,
    template::TemplateData,
    text::Failed,
};

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
impl Group {
    /// Evaluates a rule, stores its samples and says how many it yielded.
    pub(super) fn evaluate_rule(&self, index: usize, work: &mut Work, time: Timestamp) -> usize {
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
    ) -> Result<Vec<(Labels, SampleValue)>, Failure> {
        let options = &self.options;
        let budget = Arc::new(options.query_budget());
        *lock(&self.running) = Some(Arc::clone(&budget));
        if self.is_canceled.load(Ordering::SeqCst) {
            budget.cancel();
        }
        let context = QueryContext {
            deadline: Some(options.clock.monotonic() + options.query_timeout),
            ..QueryContext::new(&budget, &*options.clock)
        };
        let query = &rule.config.query;
        let at = time - milliseconds(self.query_offset);
        let answer = self.query(&query.text, Some(&query.expr), at, &context);
        let samples = answer.and_then(|answer| match &rule.config.kind {
            RuleKind::Recording { .. } => record(&rule.config, self.config.limit, &answer, cache),
            RuleKind::Alerting(config) => {
                let found = self.found(rule, config, &answer, time, &context, cache)?;
                let samples = self.alerts(rule, config, &found, time, is_restored)?;
                let samples = samples.into_iter();
                Ok(samples
                    .map(|(labels, value)| (labels, SampleValue::Float(value)))
                    .collect())
            }
        });
        *lock(&self.running) = None;
        samples
    }

    /// The vector that a query yields, in Prometheus's order, in which rules create series and templates look for
    /// the first element; a number counts as one without labels.
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
            Value::Vector(mut samples) => {
                samples.sort_by_key(|sample| sample.place);
                Ok(samples)
            }
            Value::Scalar(sample) => Ok(vec![VectorSample {
                labels: Labels::empty(),
                time: sample.time,
                value: SampleValue::Float(sample.value),
                place: 0,
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
            // Of an alert; templates see the histogram.
            let value = element.value.as_float().unwrap_or_default();
            let data = TemplateData {
                labels: &element.labels,
                value: element.value.clone(),
                external_labels: &self.external_labels,
                external_url: &self.options.external_url,
                time,
                query: &query,
            };
            let labels = texts.alert_labels(&config.alert, &data, cache, &mut failed);
            let annotations = texts.alert_annotations(&config.annotations, &data, &mut failed);
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
        samples: &[(Labels, SampleValue)],
    ) -> Option<String> {
        let at = time - milliseconds(self.query_offset);
        match output.write(&*self.options.appendable, &rule.key, at, samples) {
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
                "Error on ingesting results from rule evaluation: series limit reached: raise --storage.max-series, or drop series by relabelling",
            ),
            (
                Refusal::InvalidLabels,
                "Error on ingesting results from rule evaluation with invalid labels",
            ),
            (
                Refusal::InvalidHistogram,
                "Error on ingesting results from rule evaluation that are no valid native histograms",
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
