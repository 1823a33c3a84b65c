//! Runs one test: a store in memory, the input, the groups, the comparisons.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use narthex_query::{
    Engine, EngineOptions, Features, FloatStyle, QueryContext, SampleValue, Value, format_duration,
    format_float,
    parser::quote,
    testscript::{SeriesError, Values, describe_histogram, parse_metric, parse_series},
};
use narthex_storage::{Budget, Clock, Db, DbOptions, Labels, MemoryFs, SharedBytes, Timestamp};

use super::{
    diff::diff,
    file::{AlertTest, ExprTest, TestFile, TestGroup},
    report::{
        ComparedAlert, ComparedSample, alerts_text, go_duration, indent, labels_text, samples_text,
    },
    series::Input,
};
use crate::{
    AlertMessage, AlertSink, AlertState, Group, Manager, ManagerOptions, RuleFile, RuleFileErrors,
    UpdateSettings,
};

/// The most samples that an evaluation may hold at once.
const SAMPLES_MAX: u64 = 10_000;

/// How alerts are indented in messages.
const INDENT: &str = "            ";

/// How tests are run.
#[derive(Debug, Clone, Copy, Default)]
pub struct TestOptions {
    /// What is enabled beyond the stable language.
    pub features: Features,
    /// Alerts that differ are shown as one text with colours.
    pub diff: bool,
    /// The report has the samples of all series.
    pub dump: bool,
}

/// How a test went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TestReport {
    /// promtool's messages, each possibly of several lines; none when all went as expected.
    pub failures: Vec<String>,
    /// What was asked for with [`TestOptions::dump`]; `None` also when the test ended early.
    pub dump: Option<String>,
}

impl TestReport {
    fn failed(failures: Vec<String>) -> Self {
        Self {
            failures,
            dump: None,
        }
    }
}

/// Time stands still: rules have no deadline and nothing is restored.
#[derive(Debug)]
struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        0
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// Nobody is told of alerts.
struct NoSink;

impl AlertSink for NoSink {
    fn send(&self, _: Vec<AlertMessage>) {}
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Runs `test` of `file` with these rule files, in the order of the patterns that name them.
pub fn run_test(
    file: &TestFile,
    test: &TestGroup,
    rule_files: &[Result<RuleFile, RuleFileErrors>],
    options: TestOptions,
) -> TestReport {
    let mut input = match Input::parse(test) {
        Ok(input) => input,
        Err(message) => return TestReport::failed(vec![message]),
    };
    let mut rules = Vec::new();
    for rule_file in rule_files {
        match rule_file {
            Ok(rule_file) => rules.push(rule_file.clone()),
            Err(errors) => {
                let messages = errors.errors().iter();
                let messages = messages.map(|error| error.message().to_owned());
                return TestReport::failed(messages.collect());
            }
        }
    }
    for alerts in &test.alert_rule_tests {
        if alerts.alertname.is_empty() {
            let within = match test.name.as_str() {
                "" => String::new(),
                name => format!(" (in TestGroup {name})"),
            };
            return TestReport::failed(vec![format!(
                "an item under alert_rule_test misses required attribute alertname at eval_time {}{within}",
                format_duration(alerts.eval_time)
            )]);
        }
    }
    let runner = match Runner::new(file, test, rules, options) {
        Ok(runner) => runner,
        Err(message) => return TestReport::failed(vec![message]),
    };
    let mut failures = Vec::new();
    let whole = runner.advance(&mut input, &mut failures);
    if !whole {
        return TestReport::failed(failures);
    }
    for expected in &test.promql_expr_tests {
        failures.extend(runner.check_expr(expected).err());
    }
    let dump = options.dump.then(|| runner.dump());
    TestReport { failures, dump }
}

struct Runner<'a> {
    file: &'a TestFile,
    test: &'a TestGroup,
    options: TestOptions,
    store: Arc<Db>,
    engine: Arc<Engine>,
    /// In the order of evaluation.
    groups: Vec<Arc<Group>>,
}

impl<'a> Runner<'a> {
    fn new(
        file: &'a TestFile,
        test: &'a TestGroup,
        rules: Vec<RuleFile>,
        options: TestOptions,
    ) -> Result<Self, String> {
        let clock: Arc<dyn Clock> = Arc::new(StoppedClock);
        let fs = Arc::new(MemoryFs::default());
        let store = DbOptions::new("/", fs, Arc::clone(&clock));
        let (store, _) = Db::open(&store).map_err(|error| error.to_string())?;
        let store = Arc::new(store);
        let engine = Arc::new(Engine::new(EngineOptions {
            samples_max: SAMPLES_MAX,
            default_subquery_step: file.evaluation_interval,
            features: options.features,
            ..EngineOptions::default()
        }));
        let place: BTreeMap<(String, String), (usize, usize)> = rules
            .iter()
            .enumerate()
            .flat_map(|(file_index, rules)| {
                let groups = rules.groups.iter().enumerate();
                groups.map(move |(index, group)| {
                    let key = (rules.path.clone(), group.name.clone());
                    (key, (file_index, index))
                })
            })
            .collect();
        let manager = Manager::new(ManagerOptions {
            queryable: Arc::<Db>::clone(&store),
            appendable: Arc::<Db>::clone(&store),
            engine: Arc::clone(&engine),
            clock,
            sink: Arc::new(NoSink),
            observer: Arc::new(()),
            external_url: test.external_url.clone(),
            restores: false,
            outage_tolerance: Duration::ZERO,
            for_grace_period: Duration::ZERO,
            resend_delay: Duration::ZERO,
            query_timeout: Duration::from_secs(100),
            query_budget_bytes: u64::MAX,
            query_shared_bytes: Arc::new(SharedBytes::new(u64::MAX)),
        });
        manager.update(
            rules,
            &UpdateSettings {
                interval: test.interval,
                query_offset: Duration::ZERO,
                external_labels: Labels::from_pairs(
                    test.external_labels
                        .iter()
                        .map(|(name, value)| (name, value)),
                ),
            },
        );
        let mut groups = manager.groups();
        groups.sort_by_key(|group| {
            let order = &file.group_eval_order;
            let wanted = order.iter().position(|name| name == group.name());
            let key = (group.file().to_owned(), group.name().to_owned());
            (wanted.unwrap_or(0), place.get(&key).copied())
        });
        Ok(Self {
            file,
            test,
            options,
            store,
            engine,
            groups,
        })
    }

    /// The latest time that is asked about, from the start.
    fn end(&self) -> Duration {
        let alerts = self.test.alert_rule_tests.iter().map(|test| test.eval_time);
        let exprs = self
            .test
            .promql_expr_tests
            .iter()
            .map(|test| test.eval_time);
        alerts.chain(exprs).max().unwrap_or_default()
    }

    /// Appends, evaluates and compares alerts from the start to the end; whether it came there.
    fn advance(&self, input: &mut Input, failures: &mut Vec<String>) -> bool {
        let start = self.test.start;
        let step = milliseconds(self.file.evaluation_interval).max(1);
        let end = start.saturating_add(milliseconds(self.end()));
        let times: BTreeSet<Duration> = self
            .test
            .alert_rule_tests
            .iter()
            .map(|test| test.eval_time)
            .collect();
        let mut times = times.into_iter().peekable();
        let mut now = start;
        while now <= end {
            match input.append_until(now, &*self.store) {
                Ok(()) => {
                    let failed = self.evaluate(now);
                    if !failed.is_empty() {
                        failures.extend(failed);
                        return false;
                    }
                }
                Err(reason) => failures.push(reason),
            }
            let next = now.saturating_add(step);
            while let Some(time) =
                times.next_if(|time| start.saturating_add(milliseconds(*time)) < next)
            {
                self.compare_alerts(time, failures);
            }
            now = next;
        }
        true
    }

    /// Evaluates all groups and says what failed.
    fn evaluate(&self, now: Timestamp) -> Vec<String> {
        let mut failed = Vec::new();
        for group in &self.groups {
            group.evaluate(now);
            for rule in group.status().rules {
                if let Some(error) = rule.last_error {
                    let time = Duration::from_millis(now.unsigned_abs());
                    failed.push(format!(
                        "    rule: {}, time: {}{}, err: {error}",
                        rule.name,
                        if now < 0 { "-" } else { "" },
                        go_duration(time)
                    ));
                }
            }
        }
        failed
    }

    /// Compares the alerts that are expected at `time` with those that fire now.
    fn compare_alerts(&self, time: Duration, failures: &mut Vec<String>) {
        let tests = self.test.alert_rule_tests.iter();
        let tests: Vec<&AlertTest> = tests.filter(|test| test.eval_time == time).collect();
        let mut got: BTreeMap<&str, Vec<ComparedAlert>> = BTreeMap::new();
        for group in &self.groups {
            for rule in group.status().rules {
                let asked = tests.iter().find(|test| test.alertname == rule.name);
                let (Some(test), Some(alerting)) = (asked, rule.alerting) else {
                    continue;
                };
                let firing = alerting
                    .alerts
                    .iter()
                    .filter(|alert| alert.state == AlertState::Firing)
                    .map(|alert| ComparedAlert::new(alert.labels.iter(), &alert.annotations));
                got.entry(&test.alertname).or_default().extend(firing);
            }
        }
        for test in tests {
            let mut expected: Vec<ComparedAlert> = test
                .exp_alerts
                .iter()
                .map(|alert| {
                    let mut labels = alert.labels.clone();
                    labels.retain(|(name, _)| name != "alertname");
                    labels.push(("alertname".to_owned(), test.alertname.clone()));
                    labels.sort();
                    ComparedAlert {
                        labels,
                        annotations: alert.annotations.clone(),
                    }
                })
                .collect();
            expected.sort();
            let mut got = got
                .get(test.alertname.as_str())
                .cloned()
                .unwrap_or_default();
            got.sort();
            if expected == got {
                continue;
            }
            let name = match self.test.name.as_str() {
                "" => String::new(),
                name => format!("    name: {name},\n"),
            };
            let difference = if self.options.diff {
                format!("diff: {}", indent(&diff(&expected, &got), INDENT))
            } else {
                format!(
                    "exp:{}, \n        got:{}",
                    indent(&alerts_text(&expected), INDENT),
                    indent(&alerts_text(&got), INDENT)
                )
            };
            failures.push(format!(
                "{name}    alertname: {}, time: {}, \n        {difference}",
                test.alertname,
                format_duration(time)
            ));
        }
    }

    fn query(&self, expr: &str, time: Timestamp) -> Result<Value, String> {
        let budget = Budget::unlimited();
        let context = QueryContext::new(&budget, &StoppedClock);
        let answer = self.engine.instant(&*self.store, expr, time, &context);
        answer
            .map(|answer| answer.value)
            .map_err(|error| error.to_string())
    }

    /// Compares the value of an expression with what is expected.
    fn check_expr(&self, test: &ExprTest) -> Result<(), String> {
        let place = format!(
            "    expr: {}, time: {}",
            quote(&test.expr),
            format_duration(test.eval_time)
        );
        let failed = |reason: String| format!("{place}, err: {reason}");
        let time = self.test.start.saturating_add(milliseconds(test.eval_time));
        let pairs = |labels: &Labels| {
            let pairs = labels.iter();
            pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect::<Vec<_>>()
        };
        let mut got: Vec<ComparedSample> = match self.query(&test.expr, time).map_err(failed)? {
            Value::Vector(samples) => samples
                .iter()
                .map(|sample| ComparedSample {
                    labels: pairs(&sample.labels),
                    value: sample.value.as_float().unwrap_or_default(),
                    histogram: match &sample.value {
                        SampleValue::Float(_) => None,
                        SampleValue::Histogram(histogram) => Some(describe_histogram(histogram)),
                    },
                })
                .collect(),
            Value::Scalar(sample) => vec![ComparedSample {
                labels: Vec::new(),
                value: sample.value,
                histogram: None,
            }],
            Value::String { .. } | Value::Matrix(_) => {
                return Err(failed("rule result is not a vector or scalar".to_owned()));
            }
        };
        let mut expected = Vec::new();
        for sample in &test.exp_samples {
            let in_labels =
                |reason: String| failed(format!("labels {}: {reason}", quote(&sample.labels)));
            let labels = parse_metric(&sample.labels)
                .map_err(|error: SeriesError| in_labels(error.to_string()))?;
            let histogram = expected_histogram(&sample.histogram).map_err(in_labels)?;
            expected.push(ComparedSample {
                labels: pairs(&labels),
                value: sample.value,
                histogram,
            });
        }
        for samples in [&mut got, &mut expected] {
            samples.sort_by(|left, right| left.labels.cmp(&right.labels));
        }
        let is_same = got.len() == expected.len()
            && got.iter().zip(&expected).all(|(got, expected)| {
                got.labels == expected.labels
                    && got.histogram == expected.histogram
                    && self.same(expected.value, got.value)
            });
        if is_same {
            return Ok(());
        }
        Err(format!(
            "{place},\n        exp: {}\n        got: {}",
            samples_text(&expected),
            samples_text(&got)
        ))
    }

    /// Whether two values count as equal; a NaN never does.
    fn same(&self, left: f64, right: f64) -> bool {
        left == right
            || (self.file.fuzzy_compare && (left.next_down() == right || left.next_up() == right))
    }

    /// All samples up to the end, rounded up to a second.
    fn dump(&self) -> String {
        let end = Duration::from_secs(self.end().as_secs() + 1);
        let expr = format!("{{__name__=~\".+\"}}[{}s]", end.as_secs());
        let time = self.test.start.saturating_add(milliseconds(end));
        match self.query(&expr, time) {
            Ok(Value::Matrix(series)) => {
                let mut text = format!(
                    "DEBUG: Dump of all data (input_series and rules) at {}:",
                    go_duration(end)
                );
                for one in series {
                    let labels: Vec<(String, String)> = one
                        .labels
                        .iter()
                        .map(|(name, value)| (name.to_owned(), value.to_owned()))
                        .collect();
                    write!(text, "\n{} =>", labels_text(&labels)).expect(INFALLIBLE);
                    for sample in one.samples {
                        let value = format_float(sample.value, FloatStyle::Decimal);
                        write!(text, "\n{value} @[{}]", sample.time).expect(INFALLIBLE);
                    }
                    for sample in one.histograms {
                        write!(text, "\n{} @[{}]", sample.histogram, sample.time)
                            .expect(INFALLIBLE);
                    }
                }
                text
            }
            Ok(_) => "DEBUG: Got unexpected type".to_owned(),
            Err(error) => format!(
                "DEBUG: Failed query exec, expr: {}, err: {error}",
                quote(&expr)
            ),
        }
    }
}

/// The histogram that a sample is expected to be, as it is compared; nothing of an empty text.
fn expected_histogram(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let line = parse_series(&format!("{{}} {text}")).map_err(|error| error.to_string())?;
    let values = match line.values {
        Values::Samples(values) => values,
        Values::StartTimes(_) => {
            return Err("expected a histogram, got start timestamps".to_owned());
        }
    };
    match values.as_slice() {
        [Some(SampleValue::Histogram(histogram))] => Ok(Some(describe_histogram(histogram))),
        [_] => Ok(None),
        values => Err(format!("expected 1 value, got {}", values.len())),
    }
}

const INFALLIBLE: &str = "writing to a string does not fail";
