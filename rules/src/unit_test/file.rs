//! The test file: its types and how it is read.

use std::{rc::Rc, time::Duration};

use narthex_query::parse_duration;
use narthex_storage::Timestamp;
use narthex_yaml::{Decoder, Node, Problem, unmarshal_errors};

/// The evaluation interval of a file that names none.
const EVALUATION_INTERVAL: Duration = Duration::from_mins(1);

/// A test file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TestFile {
    /// Paths and patterns of rule files, as written.
    pub rule_files: Vec<String>,
    /// How far apart the evaluations of all groups are, above zero.
    pub evaluation_interval: Duration,
    /// Groups in the order in which they are evaluated; others count as the first.
    pub group_eval_order: Vec<String>,
    /// Whether neighbouring floats count as equal.
    pub fuzzy_compare: bool,
    /// The tests, in order.
    pub tests: Vec<TestGroup>,
}

/// A test with a store of its own.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TestGroup {
    /// Its name, possibly empty.
    pub name: String,
    /// The distance of input samples, and the interval of groups that name none.
    pub interval: Duration,
    /// Where time begins, in milliseconds since the epoch.
    pub start: Timestamp,
    /// What there is to evaluate.
    pub input_series: Vec<InputSeries>,
    /// Alerts that are expected.
    pub alert_rule_tests: Vec<AlertTest>,
    /// Values of expressions that are expected.
    pub promql_expr_tests: Vec<ExprTest>,
    /// For templates.
    pub external_labels: Vec<(String, String)>,
    /// For templates.
    pub external_url: String,
}

/// A series and its values, as written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct InputSeries {
    /// The metric.
    pub series: String,
    /// The values.
    pub values: String,
}

/// The firing alerts of one name at one time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AlertTest {
    /// When, from the start.
    pub eval_time: Duration,
    /// The name.
    pub alertname: String,
    /// All that fire.
    pub exp_alerts: Vec<ExpectedAlert>,
}

/// An alert that is expected to fire.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExpectedAlert {
    /// Its labels without `alertname`.
    pub labels: Vec<(String, String)>,
    /// Its annotations.
    pub annotations: Vec<(String, String)>,
}

/// The value of an expression at one time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ExprTest {
    /// The expression.
    pub expr: String,
    /// When, from the start.
    pub eval_time: Duration,
    /// All of its samples.
    pub exp_samples: Vec<ExpectedSample>,
}

/// A sample that is expected.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ExpectedSample {
    /// The metric, as written.
    pub labels: String,
    /// The value.
    pub value: f64,
    /// A native histogram, as written; empty for a float.
    pub histogram: String,
}

impl TestFile {
    /// Reads a test file, strictly: unknown keys are errors.
    ///
    /// # Errors
    /// promtool's message, which may have several lines.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let root = narthex_yaml::parse(bytes).map_err(|error| error.message)?;
        let mut decoder = Decoder::default();
        let file = match root {
            Some(root) => read_file(&mut decoder, &root).map_err(|problem| problem.message)?,
            None => Self::default(),
        };
        let issues = decoder.into_issues();
        if !issues.is_empty() {
            return Err(unmarshal_errors(&issues));
        }
        Ok(file.with_defaults())
    }

    fn with_defaults(mut self) -> Self {
        if self.evaluation_interval.is_zero() {
            self.evaluation_interval = EVALUATION_INTERVAL;
        }
        for test in &mut self.tests {
            if test.interval.is_zero() {
                test.interval = self.evaluation_interval;
            }
        }
        self
    }
}

fn duration(decoder: &mut Decoder, node: &Node) -> Result<Duration, Problem> {
    decoder.parsed(node, |text| {
        parse_duration(text).map_err(|error| error.to_string())
    })
}

/// The items of a list, each read by `read`.
fn list<T>(
    decoder: &mut Decoder,
    node: &Node,
    type_name: &str,
    read: impl Fn(&mut Decoder, &Rc<Node>) -> Result<T, Problem>,
) -> Result<Vec<T>, Problem> {
    let items = decoder.items(node, type_name);
    items.iter().map(|item| read(decoder, item)).collect()
}

/// A map of texts, ascending by name.
fn pairs(decoder: &mut Decoder, node: &Rc<Node>) -> Result<Vec<(String, String)>, Problem> {
    let mut pairs = decoder.text_map(node)?;
    pairs.sort();
    Ok(pairs)
}

fn read_file(decoder: &mut Decoder, root: &Rc<Node>) -> Result<TestFile, Problem> {
    const TYPE: &str = "main.unitTestFile";
    let mut file = TestFile::default();
    for field in decoder.fields(root, TYPE)? {
        let value = &field.value;
        match field.name.as_str() {
            "rule_files" => file.rule_files = decoder.texts(value),
            "evaluation_interval" => file.evaluation_interval = duration(decoder, value)?,
            "group_eval_order" => file.group_eval_order = decoder.texts(value),
            "fuzzy_compare" => file.fuzzy_compare = decoder.boolean(value),
            "tests" => file.tests = list(decoder, value, "[]main.testGroup", read_test)?,
            _ => decoder.unknown_field(&field, TYPE),
        }
    }
    Ok(file)
}

fn read_test(decoder: &mut Decoder, node: &Rc<Node>) -> Result<TestGroup, Problem> {
    const TYPE: &str = "main.testGroup";
    let mut test = TestGroup::default();
    for field in decoder.fields(node, TYPE)? {
        let value = &field.value;
        match field.name.as_str() {
            "name" => test.name = decoder.text(value),
            "interval" => test.interval = duration(decoder, value)?,
            "start_timestamp" => test.start = decoder.parsed(value, read_time)?,
            "input_series" => {
                test.input_series = list(decoder, value, "[]main.series", read_series)?;
            }
            "alert_rule_test" => {
                let tests = list(decoder, value, "[]main.alertTestCase", read_alert_test);
                test.alert_rule_tests = tests?;
            }
            "promql_expr_test" => {
                let tests = list(decoder, value, "[]main.promqlTestCase", read_expr_test);
                test.promql_expr_tests = tests?;
            }
            "external_labels" => test.external_labels = pairs(decoder, value)?,
            "external_url" => test.external_url = decoder.text(value),
            _ => decoder.unknown_field(&field, TYPE),
        }
    }
    Ok(test)
}

/// Seconds since the epoch as a float, or RFC 3339, in milliseconds.
fn read_time(text: &str) -> Result<Timestamp, String> {
    let seconds = text.parse::<f64>().ok().filter(|value| value.is_finite());
    if let Some(seconds) = seconds {
        return Ok((seconds * 1000.0).trunc() as Timestamp);
    }
    let is_upper = text.as_bytes().get(10) == Some(&b'T');
    let parsed = text.parse::<jiff::Timestamp>().ok().filter(|_| is_upper);
    parsed
        .map(jiff::Timestamp::as_millisecond)
        .ok_or_else(|| format!("cannot parse {text:?} to a valid timestamp"))
}

fn read_series(decoder: &mut Decoder, node: &Rc<Node>) -> Result<InputSeries, Problem> {
    const TYPE: &str = "main.series";
    let mut series = InputSeries::default();
    for field in decoder.fields(node, TYPE)? {
        match field.name.as_str() {
            "series" => series.series = decoder.text(&field.value),
            "values" => series.values = decoder.text(&field.value),
            _ => decoder.unknown_field(&field, TYPE),
        }
    }
    Ok(series)
}

fn read_alert_test(decoder: &mut Decoder, node: &Rc<Node>) -> Result<AlertTest, Problem> {
    const TYPE: &str = "main.alertTestCase";
    let mut test = AlertTest::default();
    for field in decoder.fields(node, TYPE)? {
        let value = &field.value;
        match field.name.as_str() {
            "eval_time" => test.eval_time = duration(decoder, value)?,
            "alertname" => test.alertname = decoder.text(value),
            "exp_alerts" => test.exp_alerts = list(decoder, value, "[]main.alert", read_alert)?,
            _ => decoder.unknown_field(&field, TYPE),
        }
    }
    Ok(test)
}

fn read_alert(decoder: &mut Decoder, node: &Rc<Node>) -> Result<ExpectedAlert, Problem> {
    const TYPE: &str = "main.alert";
    let mut alert = ExpectedAlert::default();
    for field in decoder.fields(node, TYPE)? {
        match field.name.as_str() {
            "exp_labels" => alert.labels = pairs(decoder, &field.value)?,
            "exp_annotations" => alert.annotations = pairs(decoder, &field.value)?,
            _ => decoder.unknown_field(&field, TYPE),
        }
    }
    Ok(alert)
}

fn read_expr_test(decoder: &mut Decoder, node: &Rc<Node>) -> Result<ExprTest, Problem> {
    const TYPE: &str = "main.promqlTestCase";
    let mut test = ExprTest::default();
    for field in decoder.fields(node, TYPE)? {
        let value = &field.value;
        match field.name.as_str() {
            "expr" => test.expr = decoder.text(value),
            "eval_time" => test.eval_time = duration(decoder, value)?,
            "exp_samples" => {
                test.exp_samples = list(decoder, value, "[]main.sample", read_sample)?;
            }
            _ => decoder.unknown_field(&field, TYPE),
        }
    }
    Ok(test)
}

fn read_sample(decoder: &mut Decoder, node: &Rc<Node>) -> Result<ExpectedSample, Problem> {
    const TYPE: &str = "main.sample";
    let mut sample = ExpectedSample::default();
    for field in decoder.fields(node, TYPE)? {
        match field.name.as_str() {
            "labels" => sample.labels = decoder.text(&field.value),
            "value" => sample.value = decoder.float(&field.value),
            "histogram" => sample.histogram = decoder.text(&field.value),
            _ => decoder.unknown_field(&field, TYPE),
        }
    }
    Ok(sample)
}
