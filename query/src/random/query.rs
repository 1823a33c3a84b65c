//! Queries of given types.

use super::{Choices, DATA_END, DATA_START, Language};
use crate::{
    functions::{Function, FunctionId},
    parser::{AggregateOp, BinaryOp, ValueType},
};

/// Makes queries about the data of [`super::random_data`].
#[derive(Debug)]
pub struct QueryGenerator<'a, 'b> {
    language: &'a Language,
    choices: &'a mut Choices<'b>,
}

/// What a selector is to select, mostly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Any,
    Counter,
    Gauge,
    Bucket,
    Native,
}

const COUNTERS: [&str; 3] = ["requests_total", "errors_total", "latency_seconds_count"];
const GAUGES: [&str; 6] = [
    "temperature_celsius",
    "load",
    "odd",
    "small_numbers",
    "alone",
    "born_seconds",
];
const NATIVE: [&str; 4] = ["duration_seconds", "size_bytes", "queue_length", "mixed"];
const BUCKETS: [&str; 1] = ["latency_seconds_bucket"];
const OTHERS: [&str; 4] = ["build_info", "target_info", "latency_seconds_sum", "absent"];

const NUMBERS: [&str; 24] = [
    "1", "2", "0.5", "0", "-1", "3", "10", "100", "1e3", "0.1", "0.9", "NaN", "Inf", "-Inf", "1.5",
    "0x1F", "1_000", "5m", "1h30m", "-0", ".3", "1e-3", "7", "4.",
];
const QUANTILES: [&str; 10] = [
    "0.9", "0.5", "0.99", "0", "1", "0.25", "-1", "2", "NaN", "0.3333",
];
const BOUNDS: [&str; 9] = ["0", "1", "2", "10", "-1", "+Inf", "-Inf", "0.5", "NaN"];
const COUNTS: [&str; 8] = ["1", "2", "3", "0", "5", "-1", "1.7", "NaN"];
const RATIOS: [&str; 8] = ["0.5", "-0.5", "0.1", "1", "0", "-0.9", "1.5", "NaN"];
const DURATIONS: [&str; 12] = [
    "5m", "1m", "30s", "2m30s", "10m", "90s", "15s", "20m", "1ms", "47s", "300", "61.5",
];
const OFFSETS: [&str; 7] = ["1m", "5m", "-2m", "17s", "0s", "10m", "-1ms"];
const LABELS: [&str; 7] = [
    "instance", "job", "code", "le", "version", "region", "missing",
];

impl<'a, 'b> QueryGenerator<'a, 'b> {
    /// Queries of `language`, chosen by `choices`.
    pub fn new(language: &'a Language, choices: &'a mut Choices<'b>) -> Self {
        Self { language, choices }
    }

    /// A query of any type, at most about `depth` constructs high.
    pub fn query(&mut self, depth: usize) -> String {
        match self.choices.below(40) {
            0..33 => self.vector(depth, Wanted::Any),
            33..37 => self.scalar(depth),
            37..39 => self.matrix(depth, Wanted::Any),
            _ => self.string(),
        }
    }

    fn of_type(&mut self, value_type: ValueType, depth: usize, wanted: Wanted) -> String {
        let value_type = if self.is_mistaken() {
            self.choices.pick(&[
                ValueType::Scalar,
                ValueType::Vector,
                ValueType::Matrix,
                ValueType::String,
            ])
        } else {
            value_type
        };
        match value_type {
            ValueType::Scalar => self.scalar(depth),
            ValueType::String => self.string(),
            ValueType::Vector => self.vector(depth, wanted),
            ValueType::Matrix => self.matrix(depth, wanted),
        }
    }

    fn is_mistaken(&mut self) -> bool {
        self.language.mistakes && self.choices.once_in(200)
    }

    fn string(&mut self) -> String {
        let texts = [
            "\"text\"",
            "'it''s'",
            "`raw\\n`",
            "\"tab\\t\"",
            "'\\u00e9'",
            "\"\"",
        ];
        match self.choices.below(6) {
            1 => "'it\\'s'".to_owned(),
            other => texts[other].to_owned(),
        }
    }

    fn scalar(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.choices.pick(&NUMBERS).to_owned();
        }
        match self.choices.below(12) {
            0..5 => self.choices.pick(&NUMBERS).to_owned(),
            5..9 => self.call(ValueType::Scalar, depth - 1, Wanted::Any),
            9 => format!("-{}", self.scalar(depth - 1)),
            10 => format!("({})", self.scalar(depth - 1)),
            _ => {
                let op = self.operator();
                let bool_word = if op.is_comparison() { " bool" } else { "" };
                let (left, right) = (self.scalar(depth - 1), self.scalar(depth - 1));
                format!("({left} {}{bool_word} {right})", op.as_str())
            }
        }
    }

    fn operator(&mut self) -> BinaryOp {
        self.choices.pick(&self.language.operators)
    }

    fn vector(&mut self, depth: usize, wanted: Wanted) -> String {
        if depth == 0 {
            return self.vector_selector(wanted);
        }
        match self.choices.below(20) {
            0..3 => self.vector_selector(wanted),
            3..10 => self.call(ValueType::Vector, depth - 1, wanted),
            10..14 => self.aggregate(depth - 1, wanted),
            14..18 => self.binary(depth - 1, wanted),
            18 => {
                let sign = if self.choices.once_in(4) { "+" } else { "-" };
                format!("{sign}{}", self.vector(depth - 1, wanted))
            }
            _ => format!("({})", self.vector(depth - 1, wanted)),
        }
    }

    // Selectors.

    fn metric(&mut self, wanted: Wanted) -> &'static str {
        let wanted = if self.choices.once_in(12) {
            Wanted::Any
        } else {
            wanted
        };
        match wanted {
            Wanted::Counter => self.choices.pick(&COUNTERS),
            Wanted::Gauge => self.choices.pick(&GAUGES),
            Wanted::Bucket => self.choices.pick(&BUCKETS),
            Wanted::Native => self.choices.pick(&NATIVE),
            Wanted::Any => match self.choices.below(12) {
                0..3 => self.choices.pick(&COUNTERS),
                3..7 => self.choices.pick(&GAUGES),
                7..10 => self.choices.pick(&NATIVE),
                10 => self.choices.pick(&BUCKETS),
                _ => self.choices.pick(&OTHERS),
            },
        }
    }

    fn matcher(&mut self) -> String {
        let matchers = [
            "instance=\"a\"",
            "instance!=\"b\"",
            "instance=~\"a|c\"",
            "instance!~\"c.*\"",
            "job=\"api\"",
            "code=~\"[24].*\"",
            "code=\"\"",
            "missing=\"\"",
            "\"instance\"=~'.+'",
            "job!=\"\"",
            "le=\"0.1\"",
            "version=~\"x?\"",
        ];
        self.choices.pick(&matchers).to_owned()
    }

    /// A selector without range and modifiers.
    fn series(&mut self, wanted: Wanted) -> String {
        let metric = self.metric(wanted);
        let mut matchers: Vec<String> = Vec::new();
        for _ in 0..self.choices.pick(&[0, 0, 0, 1, 1, 2]) {
            matchers.push(self.matcher());
        }
        match self.choices.below(14) {
            10 => matchers.insert(0, format!("__name__=\"{metric}\"")),
            11 => matchers.insert(0, format!("\"{metric}\"")),
            12 => {
                let other = self.metric(wanted);
                matchers.push(format!("__name__=~\"{metric}|{other}\""));
            }
            _ if matchers.is_empty() => return metric.to_owned(),
            _ => return format!("{metric}{{{}}}", matchers.join(",")),
        }
        format!("{{{}}}", matchers.join(", "))
    }

    fn vector_selector(&mut self, wanted: Wanted) -> String {
        let series = self.series(wanted);
        let edge = if self.language.edges && self.choices.once_in(15) {
            " smoothed"
        } else {
            ""
        };
        let modifiers = self.modifiers();
        if modifiers.contains('(') {
            // Prometheus 3.5 takes an operator that follows for one of durations.
            return format!("({series}{modifiers}{edge})");
        }
        format!("{series}{modifiers}{edge}")
    }

    /// `@` and `offset`, mostly none.
    fn modifiers(&mut self) -> String {
        let offset = format!(" offset {}", self.offset());
        let at = match self.choices.below(5) {
            0 => " @ start()".to_owned(),
            1 => " @ end()".to_owned(),
            _ => {
                let span = (DATA_END - DATA_START) as usize / 1000;
                let time = DATA_START / 1000 + self.choices.below(span) as i64;
                let digits = self.choices.pick(&["", ".5", ".123"]);
                format!(" @ {time}{digits}")
            }
        };
        match self.choices.below(12) {
            8 | 9 => offset,
            10 => at,
            11 if self.choices.once_in(2) => offset + &at,
            11 => at + &offset,
            _ => String::new(),
        }
    }

    fn offset(&mut self) -> String {
        match self.choices.below(8) {
            6 => format!("({})", self.duration_expression(2)),
            7 => format!("-({})", self.duration_expression(1)),
            _ => self.choices.pick(&OFFSETS).to_owned(),
        }
    }

    /// What stands in brackets.
    fn duration(&mut self) -> String {
        if self.choices.below(8) < 7 {
            return self.choices.pick(&DURATIONS).to_owned();
        }
        self.duration_expression(2)
    }

    fn duration_expression(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.choices.pick(&DURATIONS).to_owned();
        }
        let calls = if self.language.duration_calls { 11 } else { 7 };
        match self.choices.below(calls) {
            0 | 1 => self.choices.pick(&DURATIONS).to_owned(),
            2 => format!("({})", self.duration_expression(depth - 1)),
            3..7 => {
                let op = self.choices.pick(&["*", "+", "-", "/", "%", "^"]);
                let left = self.duration_expression(depth - 1);
                let right = self.choices.pick(&["2", "3", "1m", "30s", "0.5", "1"]);
                format!("{left} {op} {right}")
            }
            7 => "step()".to_owned(),
            8 => "range()".to_owned(),
            _ => {
                let name = self.choices.pick(&["min_of", "max_of"]);
                let left = self.duration_expression(depth - 1);
                format!("{name}({left}, {})", self.duration_expression(depth - 1))
            }
        }
    }

    fn matrix(&mut self, depth: usize, wanted: Wanted) -> String {
        if depth == 0 || self.choices.below(5) < 4 {
            let series = self.series(wanted);
            let range = self.duration();
            let edge = if self.language.edges && self.choices.once_in(5) {
                self.choices.pick(&[" anchored", " smoothed"])
            } else {
                ""
            };
            return format!("{series}[{range}]{edge}{}", self.modifiers());
        }
        let inner = match self.choices.below(6) {
            5 => format!("({})", self.scalar(depth - 1)),
            0 | 1 => self.series(wanted),
            _ => format!("({})", self.vector(depth - 1, wanted)),
        };
        let range = self
            .choices
            .pick(&["5m", "2m", "10m", "47s", "90s", "3m + 30s"]);
        let step = self
            .choices
            .pick(&["30s", "1m", "", "17s", "15s", "2m", "10s * 3"]);
        format!("{inner}[{range}:{step}]{}", self.modifiers())
    }

    // Calls.

    fn call(&mut self, returns: ValueType, depth: usize, wanted: Wanted) -> String {
        let functions: Vec<&'static Function> = self
            .language
            .functions
            .iter()
            .copied()
            .filter(|function| function.returns == returns)
            .collect();
        let native = |function: &&&'static Function| function.name.starts_with("histogram_");
        let of_histograms: Vec<_> = functions.iter().filter(native).copied().collect();
        let function = if !of_histograms.is_empty() && self.choices.once_in(5) {
            self.choices.pick(&of_histograms)
        } else if functions.is_empty() {
            return self.of_type(returns, 0, wanted);
        } else {
            self.choices.pick(&functions)
        };
        let mut args = self.args(function, depth, wanted);
        if self.is_mistaken() {
            args.pop();
        }
        format!("{}({})", function.name, args.join(", "))
    }

    /// What a function is asked about when nothing else is known.
    fn usual(function: &Function, wanted: Wanted) -> Wanted {
        match function.id {
            FunctionId::Rate | FunctionId::Increase | FunctionId::Irate | FunctionId::Resets => {
                match wanted {
                    Wanted::Any => Wanted::Counter,
                    other => other,
                }
            }
            FunctionId::HistogramQuantile | FunctionId::HistogramFraction => Wanted::Bucket,
            _ if function.name.starts_with("histogram_") => Wanted::Native,
            FunctionId::Delta | FunctionId::Idelta | FunctionId::Deriv => Wanted::Gauge,
            _ => wanted,
        }
    }

    fn args(&mut self, function: &Function, depth: usize, wanted: Wanted) -> Vec<String> {
        let mut wanted = Self::usual(function, wanted);
        if wanted == Wanted::Bucket || (wanted == Wanted::Counter && self.choices.once_in(3)) {
            wanted = self.choices.pick(&[Wanted::Native, wanted]);
        }
        match function.id {
            FunctionId::LabelReplace => {
                let vector = self.vector(depth, wanted);
                let to = self
                    .choices
                    .pick(&["instance", "new", "__name__", "job", "ü"]);
                let with = self
                    .choices
                    .pick(&["x-$1", "$1", "c", "", "${1}y", "$name"]);
                let from = self.choices.pick(&LABELS);
                let regex =
                    self.choices
                        .pick(&["(.*)", "([ab])", "a(.*)", "", "(?P<name>.+)", "(", ".*"]);
                vec![
                    vector,
                    quoted(to),
                    quoted(with),
                    quoted(from),
                    quoted(regex),
                ]
            }
            FunctionId::LabelJoin => {
                let vector = self.vector(depth, wanted);
                let to = self.choices.pick(&["new", "instance", "__name__"]);
                let between = self.choices.pick(&["-", "", ","]);
                let mut args = vec![vector, quoted(to), quoted(between)];
                for _ in 0..self.choices.below(4) {
                    args.push(quoted(self.choices.pick(&LABELS)));
                }
                args
            }
            FunctionId::SortByLabel | FunctionId::SortByLabelDesc => {
                let mut args = vec![self.vector(depth, wanted)];
                for _ in 0..=self.choices.below(2) {
                    args.push(quoted(self.choices.pick(&LABELS)));
                }
                args
            }
            FunctionId::Info => {
                let vector = self.vector(depth, wanted);
                let selector = self.choices.pick(&[
                    "{region=~\".+\"}",
                    "{__name__=\"build_info\"}",
                    "{version=\"x\", __name__=~\".+_info\"}",
                    "{region=\"\"}",
                    "{missing=\"\"}",
                ]);
                if self.choices.once_in(2) {
                    vec![vector, selector.to_owned()]
                } else {
                    vec![vector]
                }
            }
            FunctionId::HistogramQuantile => {
                vec![
                    self.choice_or_scalar(&QUANTILES, depth),
                    self.vector(depth, wanted),
                ]
            }
            FunctionId::HistogramQuantiles => {
                let vector = self.vector(depth, wanted);
                let mut args = vec![vector, quoted(self.choices.pick(&["q", "instance"]))];
                for _ in 0..=self.choices.below(3) {
                    args.push(self.choice_or_scalar(&QUANTILES, depth));
                }
                args
            }
            FunctionId::HistogramFraction => vec![
                self.choice_or_scalar(&BOUNDS, depth),
                self.choice_or_scalar(&BOUNDS, depth),
                self.vector(depth, wanted),
            ],
            FunctionId::QuantileOverTime => {
                vec![
                    self.choice_or_scalar(&QUANTILES, depth),
                    self.matrix(depth, wanted),
                ]
            }
            FunctionId::DoubleExponentialSmoothing => {
                let factors = ["0.5", "0.1", "0.9", "0", "1", "1.5"];
                let matrix = self.matrix(depth, Wanted::Gauge);
                vec![
                    matrix,
                    self.choices.pick(&factors).to_owned(),
                    self.choices.pick(&factors).to_owned(),
                ]
            }
            FunctionId::Timestamp | FunctionId::StartTimestamp if self.choices.once_in(2) => {
                vec![self.vector_selector(wanted)]
            }
            _ => {
                let optional = usize::from(function.variadic == 1);
                let count = function.args.len() - optional + self.choices.below(optional + 1);
                function.args[..count]
                    .iter()
                    .map(|value_type| self.of_type(*value_type, depth, wanted))
                    .collect()
            }
        }
    }

    fn choice_or_scalar(&mut self, from: &[&str], depth: usize) -> String {
        if self.choices.once_in(6) {
            self.of_type(ValueType::Scalar, depth, Wanted::Any)
        } else {
            self.choices.pick(from).to_owned()
        }
    }

    // Aggregations.

    fn labels(&mut self, max: usize) -> String {
        let mut names: Vec<&str> = Vec::new();
        for _ in 0..self.choices.below(max + 1) {
            let name = self.choices.pick(&LABELS);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names.join(", ")
    }

    fn aggregate(&mut self, depth: usize, wanted: Wanted) -> String {
        let op = self.choices.pick(&self.language.aggregators);
        let param = match op {
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk => {
                Some(self.choice_or_scalar(&COUNTS, depth))
            }
            AggregateOp::LimitRatio => Some(self.choice_or_scalar(&RATIOS, depth)),
            AggregateOp::Quantile => Some(self.choice_or_scalar(&QUANTILES, depth)),
            AggregateOp::CountValues => {
                Some(quoted(self.choices.pick(&["value", "instance", "job"])))
            }
            _ => None,
        };
        let param = param.map_or_else(String::new, |param| param + ", ");
        let vector = self.of_type(ValueType::Vector, depth, wanted);
        let name = op.as_str();
        match self.choices.below(6) {
            0 | 1 => format!("{name}({param}{vector})"),
            2 => format!("{name} by ({}) ({param}{vector})", self.labels(2)),
            3 => format!("{name} without ({}) ({param}{vector})", self.labels(2)),
            4 => format!("{name}({param}{vector}) by ({})", self.labels(3)),
            _ => format!("{name}({param}{vector}) without ({})", self.labels(3)),
        }
    }

    // Binary operations with a vector.

    fn binary(&mut self, depth: usize, wanted: Wanted) -> String {
        let op = self.operator();
        let has_bool = op.is_comparison() && self.choices.once_in(3);
        let bool_word = if has_bool { " bool" } else { "" };
        let name = format!("{}{bool_word}", op.as_str());
        let with_scalar = if op.is_set() { 0 } else { 4 };
        match self.choices.below(6 + with_scalar) {
            6 | 7 => {
                let vector = self.vector(depth, wanted);
                format!("{vector} {name} {}", self.scalar(depth))
            }
            8 => {
                let scalar = self.scalar(depth);
                format!("{scalar} {name} {}", self.vector(depth, wanted))
            }
            9 => {
                let vector = self.vector(depth, wanted);
                let number = self.choices.pick(&NUMBERS);
                format!("({vector} {name} {number})")
            }
            5 if !op.is_set() => {
                // Infos are what the side of the one mostly is.
                let many = self.vector(depth, Wanted::Counter);
                let labels = self
                    .choices
                    .pick(&["instance", "instance, job", "job, instance"]);
                let include = self
                    .choices
                    .pick(&["version", "", "version, missing", "job"]);
                format!("{many} {name} on ({labels}) group_left ({include}) build_info")
            }
            _ => {
                // Both sides of one kind, so that there is something that matches.
                let wanted = match wanted {
                    Wanted::Any => self.choices.pick(&[
                        Wanted::Counter,
                        Wanted::Gauge,
                        Wanted::Native,
                        Wanted::Any,
                    ]),
                    other => other,
                };
                let left = self.vector(depth, wanted);
                let matching = self.matching(op);
                let right = if self.choices.once_in(4) {
                    left.clone()
                } else {
                    self.vector(depth, wanted)
                };
                format!("({left} {name}{matching} {right})")
            }
        }
    }

    fn matching(&mut self, op: BinaryOp) -> String {
        let mut matching = match self.choices.below(4) {
            0 | 1 => String::new(),
            2 => format!(" on ({})", self.labels(2)),
            _ => format!(" ignoring ({})", self.labels(3)),
        };
        let may_group = !op.is_set() || self.is_mistaken();
        if !matching.is_empty() && may_group {
            match self.choices.below(6) {
                4 => matching.extend([" group_left (", &self.labels(1), ")"]),
                5 => matching.extend([" group_right (", &self.labels(1), ")"]),
                3 => matching += self.choices.pick(&[" group_left", " group_right"]),
                _ => {}
            }
        }
        if self.language.fill && may_group && self.choices.once_in(5) {
            matching += self.choices.pick(&[
                " fill (0)",
                " fill_left (1)",
                " fill_right (-2.5)",
                " fill_left (0) fill_right (NaN)",
            ]);
        }
        matching
    }
}

fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}
