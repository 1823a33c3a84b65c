//! Runs the commands of a script, one after the other.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use narthex_storage::{Budget, Clock, Labels, Queryable, Sample, Timestamp};

use super::{
    compare::{compare, compare_annotations, describe},
    custom_buckets::custom_buckets,
    database::Database,
    memory::MemoryStore,
    script::{CommandKind, Eval, Load, Times, parse_script},
    values::{SeriesLine, Values},
};
use crate::{
    Answer, Engine, EngineOptions, Features, Grid, QueryContext, QueryError, SampleValue, Value,
    VectorSample,
};

/// The most samples that an evaluation may hold at once.
const SAMPLES_MAX: u64 = 10_000;

/// How far before and behind its time an instant evaluation is repeated in a range query.
const AROUND_MS: i64 = 60_000;

/// How scripts are run.
#[derive(Debug, Clone, Copy)]
pub struct RunOptions {
    /// What is enabled beyond the stable language; by default everything, as upstream's runner does.
    pub features: Features,
    /// Where the series are.
    pub store: StoreKind,
}

/// Where a script's series are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// In a [`MemoryStore`].
    Memory,
    /// In a database of the storage crate that has files in memory alone: of each load, the last samples in what
    /// is not sealed yet, the others in blocks, sealed or merged, mostly 7 samples of a series in each seal.
    Database,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            features: Features::ALL,
            store: StoreKind::Memory,
        }
    }
}

/// How a script went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The script's name, as given.
    pub name: String,
    /// Evaluations that went as expected.
    pub passed: usize,
    /// All evaluations, and lines that are no command.
    pub total: usize,
    /// The others, in the order of the script.
    pub failures: Vec<Failure>,
}

/// An evaluation that did not go as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its line, from 1.
    pub line: usize,
    /// Its query; empty for a line that is no command.
    pub query: String,
    /// What was expected.
    pub expected: String,
    /// What came instead.
    pub got: String,
}

/// `NAME: passed/total`
impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}/{}", self.name, self.passed, self.total)
    }
}

/// Runs a script. It never fails as a whole: what cannot be read or run is a [`Failure`].
pub fn run(text: &str, name: &str, options: &RunOptions) -> Report {
    let mut runner = Runner::new(*options);
    let mut report = Report {
        name: name.to_owned(),
        passed: 0,
        total: 0,
        failures: Vec::new(),
    };
    for command in parse_script(text) {
        let failed = match command.kind {
            CommandKind::Clear => {
                runner = Runner::new(*options);
                continue;
            }
            CommandKind::Load(load) => {
                runner.load(&load);
                continue;
            }
            CommandKind::Eval(eval) => runner
                .eval(&eval)
                .map_err(|difference| (eval.query, difference)),
            CommandKind::Invalid(problem) => Err((
                String::new(),
                Difference {
                    expected: "a command".to_owned(),
                    got: problem,
                },
            )),
        };
        report.total += 1;
        match failed {
            Ok(()) => report.passed += 1,
            Err((query, Difference { expected, got })) => report.failures.push(Failure {
                line: command.line,
                query,
                expected,
                got,
            }),
        }
    }
    report
}

/// What was expected and what came instead.
struct Difference {
    expected: String,
    got: String,
}

/// The series of a script.
enum Store {
    Memory(MemoryStore),
    Database(Box<Database>),
}

impl Store {
    fn new(kind: StoreKind) -> Self {
        match kind {
            StoreKind::Memory => Self::Memory(MemoryStore::default()),
            StoreKind::Database => Self::Database(Box::new(Database::new())),
        }
    }

    /// Adds the samples of series, each series' in order of time. One at a time that the series already has
    /// is ignored.
    fn add(&mut self, series: &[(Labels, Vec<(Timestamp, SampleValue)>)]) {
        let store = match self {
            Self::Memory(store) => store,
            Self::Database(store) => return store.add(series),
        };
        for (labels, samples) in series {
            for (time, value) in samples {
                match value {
                    SampleValue::Float(value) => store.append(labels, *time, *value),
                    SampleValue::Histogram(histogram) => {
                        store.append_histogram(labels, *time, histogram.to_stored());
                    }
                }
            }
        }
    }

    /// Sets start timestamps of samples that were added: of each its time and since when it counts.
    fn set_starts(&mut self, labels: &Labels, starts: &[(Timestamp, Timestamp)]) {
        match self {
            Self::Memory(store) => {
                for (time, start) in starts {
                    store.set_start(labels, *time, *start);
                }
            }
            Self::Database(store) => store.set_starts(labels, starts),
        }
    }

    fn queryable(&self) -> &dyn Queryable {
        match self {
            Self::Memory(store) => store,
            Self::Database(store) => &**store,
        }
    }
}

struct Runner {
    store: Store,
    engine: Engine,
}

/// Scripts have no deadline, so nobody reads the time.
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

impl Runner {
    fn new(options: RunOptions) -> Self {
        Self {
            store: Store::new(options.store),
            engine: Engine::new(EngineOptions {
                samples_max: SAMPLES_MAX,
                features: options.features,
                ..EngineOptions::default()
            }),
        }
    }

    fn load(&mut self, load: &Load) {
        let interval_ms = load.interval.as_millis() as i64;
        let mut loaded = Vec::new();
        for (index, SeriesLine { labels, values }) in load.series.iter().enumerate() {
            // Of two lines for one series in a load the last counts.
            let is_replaced =
                load.series.iter().skip(index + 1).any(|later| {
                    later.labels == *labels && matches!(later.values, Values::Samples(_))
                });
            if is_replaced && matches!(values, Values::Samples(_)) {
                continue;
            }
            let values = match values {
                Values::Samples(values) => values,
                Values::StartTimes(_) => continue,
            };
            let samples = values.iter().enumerate().filter_map(|(index, value)| {
                let time = index as i64 * interval_ms;
                Some((time, value.clone()?))
            });
            loaded.push((labels.clone(), samples.collect()));
        }
        self.store.add(&loaded);
        for SeriesLine { labels, values } in &load.series {
            let Values::StartTimes(starts) = values else {
                continue;
            };
            let starts = starts.iter().enumerate().map(|(index, start)| {
                let time = index as i64 * interval_ms;
                let start = start.map_or(0, |distance_ms| time.saturating_add(distance_ms));
                (time, start)
            });
            self.store.set_starts(labels, &starts.collect::<Vec<_>>());
        }
        if load.with_nhcb {
            let mut converted: BTreeMap<Labels, Vec<(Timestamp, SampleValue)>> = BTreeMap::new();
            for (labels, step, histogram) in custom_buckets(&load.series) {
                let sample = SampleValue::Histogram(Arc::new(histogram));
                let samples = converted.entry(labels).or_default();
                samples.push((step as i64 * interval_ms, sample));
            }
            let converted: Vec<_> = converted.into_iter().collect();
            self.store.add(&converted);
        }
    }

    fn eval(&self, eval: &Eval) -> Result<(), Difference> {
        let fail = |expected: String, got: String| Err(Difference { expected, got });
        if let Some(problem) = &eval.problem {
            return fail("expectations that are built".to_owned(), problem.clone());
        }
        let answer = match (self.answer(&eval.query, eval.times), &eval.expected.fail) {
            (Ok(answer), None) => answer,
            (Ok(answer), Some(_)) => {
                return fail("an error".to_owned(), describe(&answer.value));
            }
            (Err(error), None) => return fail("an answer".to_owned(), error.to_string()),
            (Err(error), Some(messages)) => {
                let error = error.to_string();
                let wrong = messages.iter().find(|message| !message.matches(&error));
                return match wrong {
                    None => Ok(()),
                    Some(message) => fail(message.describe(), error),
                };
            }
        };
        let annotated = compare_annotations("warning", &eval.expected.warn, &answer.warnings)
            .and_then(|()| compare_annotations("info", &eval.expected.info, &answer.infos));
        if let Err(expected) = annotated {
            let found = [answer.warnings, answer.infos].concat();
            return fail(expected, format!("{found:?}"));
        }
        let grid = match (eval.times, eval.expected.matrix_times) {
            (_, Some(grid)) | (Times::Range(grid), None) => grid,
            (Times::Instant(time), None) => Grid::instant(time),
        };
        if let Err(expected) = compare(&eval.expected, &answer.value, grid) {
            return fail(expected, describe(&answer.value));
        }
        match eval.times {
            Times::Instant(time) => self.repeat_in_range(eval, time, &answer.value),
            Times::Range(_) => Ok(()),
        }
    }

    fn answer(&self, query: &str, times: Times) -> Result<Answer, QueryError> {
        let budget = Budget::unlimited();
        let context = QueryContext::new(&budget, &StoppedClock);
        match times {
            Times::Instant(time) => {
                self.engine
                    .instant(self.store.queryable(), query, time, &context)
            }
            Times::Range(grid) => self
                .engine
                .range(self.store.queryable(), query, grid, &context),
        }
    }

    /// The middle of a range query must answer as the instant query does, order aside.
    fn repeat_in_range(
        &self,
        eval: &Eval,
        time: Timestamp,
        value: &Value,
    ) -> Result<(), Difference> {
        // These depend on the query's times.
        let text = eval.query.to_ascii_lowercase();
        let is_time_bound = ["range(", "start(", "end(", "step("]
            .iter()
            .any(|call| text.contains(call));
        let is_plain = matches!(value, Value::Scalar(_) | Value::Vector(_));
        if !is_plain || eval.expected.is_ordered || is_time_bound {
            return Ok(());
        }
        let grid = Grid {
            start: time - AROUND_MS,
            end: time + AROUND_MS,
            step_ms: AROUND_MS,
        };
        let fail = |expected: String, got: String| {
            let expected = format!("in a range query: {expected}");
            Err(Difference { expected, got })
        };
        let series = match self.answer(&eval.query, Times::Range(grid)) {
            Ok(Answer {
                value: Value::Matrix(series),
                ..
            }) => series,
            Ok(answer) => return fail("a range vector".to_owned(), describe(&answer.value)),
            Err(error) => return fail("an answer".to_owned(), error.to_string()),
        };
        let mut middle: Vec<VectorSample> = Vec::new();
        for series in series {
            let floats = series.samples.iter().map(|sample| {
                let value = SampleValue::Float(sample.value);
                (sample.time, value)
            });
            let histograms = series.histograms.iter().map(|sample| {
                let value = SampleValue::Histogram(Arc::clone(&sample.histogram));
                (sample.time, value)
            });
            let mut all = floats.chain(histograms);
            middle.extend(
                all.find(|(at, _)| *at == time)
                    .map(|(_, value)| VectorSample {
                        labels: series.labels.clone(),
                        time,
                        value,
                        place: 0,
                    }),
            );
        }
        let only = match &middle[..] {
            [only] => only.value.as_float(),
            _ => None,
        };
        let middle = match (value, only) {
            (Value::Scalar(_), Some(value)) => Value::Scalar(Sample { time, value }),
            _ => Value::Vector(middle),
        };
        match compare(&eval.expected, &middle, Grid::instant(time)) {
            Ok(()) => Ok(()),
            Err(expected) => fail(expected, describe(&middle)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loads a counter, runs one evaluation and answers what failed, in one line.
    fn check(eval: &str, expected: &str) {
        let text = format!(
            "load 1m\n  x_total{{a=\"1\"}} 0+60x5\n  x_total{{a=\"2\"}} 1\n  \
             native {{{{count:2}}}}\n  started _ 1\n  started{{}}@st _ -1ms\n\n{eval}"
        );
        let report = run(&text, "name", &RunOptions::default());
        let failures: Vec<String> = report
            .failures
            .iter()
            .map(|failure| format!("{}: {} | {}", failure.line, failure.expected, failure.got))
            .collect();
        assert_eq!(failures.join("; "), expected, "{eval}");
        assert_eq!(report.passed + failures.len(), report.total);
    }

    #[test]
    fn wrong_answers_fail_with_line_and_values() {
        check(
            "eval instant at 1m x_total{a=\"1\"}\n  x_total{a=\"1\"} 60",
            "",
        );
        check(
            "eval instant at 1m x_total{a=\"1\"}\n  x_total{a=\"1\"} 61",
            "8: 61 was expected for {__name__=\"x_total\", a=\"1\"} | \
             {__name__=\"x_total\", a=\"1\"} 60",
        );
        check(
            "eval instant at 1m x_total{a=\"1\"}",
            "8: unexpected series {__name__=\"x_total\", a=\"1\"} | \
             {__name__=\"x_total\", a=\"1\"} 60",
        );
        check(
            "eval instant at 1m y\n  y 1",
            "8: {__name__=\"y\"} was expected | nothing",
        );
        check(
            "eval instant at 1m 2\n  1",
            "8: the scalar 1 was expected | 2",
        );
        check(
            "eval instant at 1m \"a\"\n  expect string \"b\"",
            "8: the string \"b\" was expected | \"a\"",
        );
        check(
            "eval range from 0 to 1m step 1m x_total{a=\"1\"}\n  x_total{a=\"1\"} 0 61",
            "8: 0@0 61@60000 was expected for {__name__=\"x_total\", a=\"1\"} | \
             {__name__=\"x_total\", a=\"1\"} 0@0 60@60000",
        );
        check(
            "eval instant at 0 sort(x_total)\n  expect ordered\n  x_total{a=\"2\"} 1\n  \
             x_total{a=\"1\"} 0",
            "8: {__name__=\"x_total\", a=\"2\"} was expected in the place of \
             {__name__=\"x_total\", a=\"1\"} | {__name__=\"x_total\", a=\"1\"} 0; \
             {__name__=\"x_total\", a=\"2\"} 1",
        );
    }

    #[test]
    fn errors_and_annotations_must_come_as_expected() {
        check("eval instant at 0 1\n  expect fail", "8: an error | 1");
        check(
            "eval instant at 0 (",
            "8: an answer | 1:2: parse error: unclosed left parenthesis",
        );
        check(
            "eval instant at 0 (\n  expect fail msg: other",
            "8: \"other\" | 1:2: parse error: unclosed left parenthesis",
        );
        check(
            "eval instant at 0 1\n  expect warn\n  1",
            "8: a warning was expected: any text | []",
        );
        let warning = "PromQL warning: quantile value should be between 0 and 1, got 2 (1:10)";
        check(
            "eval instant at 0 quantile(2, x_total)\n  expect no_warn\n  {} Inf",
            &format!("8: no warning was expected | [{warning:?}]"),
        );
        check(
            "eval instant at 0 quantile(2, x_total)\n  expect warn msg: other\n  {} Inf",
            &format!("8: a warning was expected: \"other\" | [{warning:?}]"),
        );
    }

    #[test]
    fn what_no_script_may_say_fails_by_name() {
        check(
            "eval instant at 1m start_timestamp(started)\n  {} 61",
            "8: 61 was expected for {} | {} 59.999",
        );
        check(
            "eval instant at 0 started\n  started@st 1m",
            "8: expectations that are built | start timestamps are not expected of answers",
        );
        check(
            "eval instant at 0 native\n  native {{count:3}}",
            "8: {count:3, sum:0} was expected for {__name__=\"native\"} | \
             {__name__=\"native\"} {count:2, sum:0}",
        );
        check("nonsense", "8: a command | invalid command \"nonsense\"");
        check(
            "eval instant at 0 1\n  expect nonsense",
            "8: expectations that are built | invalid expectation \"nonsense\"",
        );
    }
}
