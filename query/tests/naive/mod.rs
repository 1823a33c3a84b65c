//! A naive evaluator: every step by itself, every sample looked at, over the parser's tree and nothing else of
//! the engine.
//!
//! It covers scalars, selectors with `offset` and `@`, subqueries, computed durations, unary and binary
//! operators with all matchings and `fill`, `anchored` and `smoothed`, and [`FUNCTIONS`] and [`AGGREGATORS`]. It does
//! not cover native histograms, texts, annotations, names that are removed late, the order of an answer, and range functions of selectors by several names: [`Failure::NotCovered`].

mod edges;

use std::collections::{BTreeMap, BTreeSet};

use edges::{Edged, smoothed};

use narthex_query::{
    Grid,
    functions::{Function, FunctionId},
    parser::{
        Aggregate, AggregateOp, At, Binary, BinaryOp, Cardinality, Duration, DurationKind, Edges,
        Expr, ExprKind, TimeModifiers, ValueType, VectorMatching, VectorSelector,
    },
};
use narthex_storage::{Labels, METRIC_NAME, is_stale_marker};

/// Milliseconds and values, ascending.
pub(crate) type Samples = Vec<(i64, f64)>;

/// Labels and a value each, in any order.
pub(crate) type Vector = Vec<(Labels, f64)>;

/// Lookback, and the step of a subquery without one.
const LOOKBACK_MS: i64 = 300_000;
const SUBQUERY_STEP_MS: i64 = 60_000;

/// The functions that are covered.
pub(crate) const FUNCTIONS: [FunctionId; 35] = [
    FunctionId::Abs,
    FunctionId::Absent,
    FunctionId::AvgOverTime,
    FunctionId::Ceil,
    FunctionId::Changes,
    FunctionId::Clamp,
    FunctionId::ClampMax,
    FunctionId::ClampMin,
    FunctionId::CountOverTime,
    FunctionId::Deg,
    FunctionId::Delta,
    FunctionId::FirstOverTime,
    FunctionId::Floor,
    FunctionId::Idelta,
    FunctionId::Increase,
    FunctionId::Irate,
    FunctionId::LastOverTime,
    FunctionId::MaxOf,
    FunctionId::MaxOverTime,
    FunctionId::MinOf,
    FunctionId::MinOverTime,
    FunctionId::Pi,
    FunctionId::PresentOverTime,
    FunctionId::QuantileOverTime,
    FunctionId::Rad,
    FunctionId::Rate,
    FunctionId::Resets,
    FunctionId::Scalar,
    FunctionId::Sgn,
    FunctionId::Sort,
    FunctionId::SortDesc,
    FunctionId::Sqrt,
    FunctionId::SumOverTime,
    FunctionId::Time,
    FunctionId::Vector,
];

/// The aggregators that are covered.
pub(crate) const AGGREGATORS: [AggregateOp; 7] = [
    AggregateOp::Sum,
    AggregateOp::Avg,
    AggregateOp::Count,
    AggregateOp::Min,
    AggregateOp::Max,
    AggregateOp::Group,
    AggregateOp::Quantile,
];

/// Why there is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The query is wrong on this data.
    Wrong,
    /// The evaluator does not know.
    NotCovered,
}

/// A value at one time.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Scalar(f64),
    Vector(Vector),
}

/// Data, and the times of the query.
#[derive(Debug)]
pub(crate) struct Naive<'a> {
    pub(crate) data: &'a [(Labels, Samples)],
    pub(crate) grid: Grid,
}

impl Naive<'_> {
    pub(crate) fn value(&self, expr: &Expr, time: i64) -> Result<Value, Failure> {
        match &expr.kind {
            ExprKind::Number { value, .. } => Ok(Value::Scalar(*value)),
            ExprKind::Paren(inner) => self.value(inner, time),
            ExprKind::Unary { negative, expr } => Ok(match (self.value(expr, time)?, negative) {
                (value, false) => value,
                (Value::Scalar(value), true) => Value::Scalar(-value),
                (Value::Vector(vector), true) => {
                    one_name(vector.iter().map(|(labels, _)| labels))?;
                    Value::Vector(distinct(each(vector, |value| -value))?)
                }
            }),
            ExprKind::VectorSelector(selector) => {
                let end = self.reference(&selector.modifiers, time)?;
                let newest = |samples: &Samples| {
                    if selector.edges == Edges::Smoothed {
                        return smoothed(fresh(samples), end);
                    }
                    let newest = samples.iter().rfind(|(at, _)| *at <= end)?;
                    let counts = newest.0 > end - LOOKBACK_MS && !is_stale_marker(newest.1);
                    counts.then_some(newest.1)
                };
                Ok(Value::Vector(
                    self.selected(selector)
                        .filter_map(|(labels, samples)| Some((labels.clone(), newest(samples)?)))
                        .collect(),
                ))
            }
            ExprKind::Call { function, args } => self.call(function, args, time),
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate, time).map(Value::Vector),
            ExprKind::Binary(binary) => self.binary(binary, time),
            _ => Err(Failure::NotCovered),
        }
    }

    fn scalar(&self, expr: &Expr, time: i64) -> Result<f64, Failure> {
        match self.value(expr, time)? {
            Value::Scalar(value) => Ok(value),
            Value::Vector(_) => Err(Failure::NotCovered),
        }
    }

    fn vector(&self, expr: &Expr, time: i64) -> Result<Vector, Failure> {
        match self.value(expr, time)? {
            Value::Vector(vector) => Ok(vector),
            Value::Scalar(_) => Err(Failure::NotCovered),
        }
    }

    // Selectors and windows.

    fn selected<'s>(
        &'s self,
        selector: &'s VectorSelector,
    ) -> impl Iterator<Item = &'s (Labels, Samples)> {
        self.data.iter().filter(|(labels, _)| {
            let mut matchers = selector.matchers.iter();
            matchers.all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or("")))
        })
    }

    /// When a selector with these modifiers looks.
    fn reference(&self, modifiers: &TimeModifiers, time: i64) -> Result<i64, Failure> {
        let offset = match &modifiers.offset {
            Some(offset) => self.duration_ms(offset)?,
            None => 0,
        };
        let at = match modifiers.at {
            Some(At::Time(at)) => at,
            Some(At::Start) => self.grid.start,
            Some(At::End) => self.grid.end,
            None => time,
        };
        Ok(at - offset)
    }

    fn duration_ms(&self, duration: &Duration) -> Result<i64, Failure> {
        let milliseconds = self.seconds(duration)? * 1000.0;
        if milliseconds.is_nan() || milliseconds.abs() > 1e12 {
            return Err(Failure::NotCovered);
        }
        Ok(match duration.kind {
            DurationKind::Literal { .. } => milliseconds.round() as i64,
            _ => milliseconds as i64,
        })
    }

    fn seconds(&self, duration: &Duration) -> Result<f64, Failure> {
        Ok(match &duration.kind {
            DurationKind::Literal { seconds, .. } => *seconds,
            DurationKind::Step => self.grid.step_ms as f64 / 1000.0,
            DurationKind::Range => (self.grid.end - self.grid.start) as f64 / 1000.0,
            DurationKind::Paren(inner) => self.seconds(inner)?,
            DurationKind::Unary { negative, operand } => {
                let value = self.seconds(operand)?;
                if *negative { -value } else { value }
            }
            DurationKind::MinOf(a, b) => self.seconds(a)?.min(self.seconds(b)?),
            DurationKind::MaxOf(a, b) => self.seconds(a)?.max(self.seconds(b)?),
            DurationKind::Binary { op, lhs, rhs } => {
                let (lhs, rhs) = (self.seconds(lhs)?, self.seconds(rhs)?);
                match op {
                    BinaryOp::Add => lhs + rhs,
                    BinaryOp::Sub => lhs - rhs,
                    BinaryOp::Mul => lhs * rhs,
                    BinaryOp::Div | BinaryOp::Mod if rhs == 0.0 => return Err(Failure::Wrong),
                    BinaryOp::Div => lhs / rhs,
                    BinaryOp::Mod => lhs % rhs,
                    _ => return Err(Failure::NotCovered),
                }
            }
        })
    }

    /// A length in milliseconds, which must be above zero.
    fn length_ms(&self, duration: &Duration) -> Result<i64, Failure> {
        if self.seconds(duration)? <= 0.0 {
            return Err(Failure::Wrong);
        }
        self.duration_ms(duration)
    }

    /// The windows of a range vector with their series, ends and lengths.
    fn windows(&self, expr: &Expr, time: i64) -> Result<Vec<(Labels, Window)>, Failure> {
        match &expr.kind {
            ExprKind::Paren(inner) => self.windows(inner, time),
            ExprKind::MatrixSelector { selector, range } => {
                let end = self.reference(&selector.modifiers, time)?;
                let range = self.length_ms(range)?;
                let windows = self.selected(selector).map(|(labels, samples)| {
                    let window = Window::new(fresh(samples), end, range);
                    (labels.clone(), window)
                });
                let windows: Vec<(Labels, Window)> = windows.collect();
                one_name(windows.iter().map(|(labels, _)| labels))?;
                Ok(windows)
            }
            ExprKind::Subquery(subquery) => {
                let end = self.reference(&subquery.modifiers, time)?;
                let range = self.length_ms(&subquery.range)?;
                let step = match &subquery.step {
                    Some(step) => self.length_ms(step)?,
                    None => 0,
                };
                let step = if step == 0 { SUBQUERY_STEP_MS } else { step };
                let first_behind = |time: i64| time.div_euclid(step) * step + step;
                // Once, all steps from the first window to the last are evaluated, those between windows, too: one that
                // is wrong makes the query wrong.
                if time == self.grid.start && subquery.modifiers.at.is_none() {
                    let last = end + (self.grid.end - self.grid.start);
                    let mut at = first_behind(end - range);
                    while at <= last {
                        self.value(&subquery.expr, at)?;
                        at += step;
                    }
                }
                let mut series: BTreeMap<Labels, Samples> = BTreeMap::new();
                let mut at = first_behind(end - range);
                while at <= end {
                    match self.value(&subquery.expr, at)? {
                        Value::Scalar(value) => {
                            series.entry(Labels::empty()).or_default().push((at, value));
                        }
                        Value::Vector(vector) => {
                            for (labels, value) in vector {
                                series.entry(labels).or_default().push((at, value));
                            }
                        }
                    }
                    at += step;
                }
                one_name(series.keys())?;
                let windows = series.into_iter();
                Ok(windows
                    .map(|(labels, samples)| (labels, Window::new(samples, end, range)))
                    .collect())
            }
            _ => Err(Failure::NotCovered),
        }
    }

    // Functions.

    fn call(&self, function: &Function, args: &[Expr], time: i64) -> Result<Value, Failure> {
        use FunctionId as Id;
        if function.args.contains(&ValueType::Matrix) {
            return self
                .range_function(function.id, args, time)
                .map(Value::Vector);
        }
        let map = |of: &dyn Fn(f64) -> f64| {
            let vector = self.vector(&args[0], time)?;
            Ok(Value::Vector(distinct(each(vector, of))?))
        };
        match function.id {
            Id::Pi => Ok(Value::Scalar(std::f64::consts::PI)),
            Id::Time => Ok(Value::Scalar(time as f64 / 1000.0)),
            Id::MinOf | Id::MaxOf => {
                let (a, b) = (self.scalar(&args[0], time)?, self.scalar(&args[1], time)?);
                if a.is_nan() || b.is_nan() || a == b {
                    return Err(Failure::NotCovered);
                }
                let takes_a = (a < b) == (function.id == Id::MinOf);
                Ok(Value::Scalar(if takes_a { a } else { b }))
            }
            Id::Vector => {
                let value = self.scalar(&args[0], time)?;
                Ok(Value::Vector(vec![(Labels::empty(), value)]))
            }
            Id::Scalar => Ok(Value::Scalar(match &self.vector(&args[0], time)?[..] {
                [(_, value)] => *value,
                _ => f64::NAN,
            })),
            // Which labels its result has is another question.
            Id::Absent if self.vector(&args[0], time)?.is_empty() => Err(Failure::NotCovered),
            Id::Absent => Ok(Value::Vector(Vec::new())),
            Id::Sort | Id::SortDesc => self.value(&args[0], time),
            Id::Abs => map(&f64::abs),
            Id::Ceil => map(&f64::ceil),
            Id::Floor => map(&f64::floor),
            Id::Sqrt => map(&f64::sqrt),
            Id::Deg => map(&|value| value * 180.0 / std::f64::consts::PI),
            Id::Rad => map(&|value| value * std::f64::consts::PI / 180.0),
            Id::Sgn => map(&|value| match value {
                value if value < 0.0 => -1.0,
                value if value > 0.0 => 1.0,
                value => value,
            }),
            Id::Clamp | Id::ClampMin | Id::ClampMax => {
                let bound = |index: usize| self.scalar(&args[index], time);
                let (low, high) = match function.id {
                    Id::Clamp => (bound(1)?, bound(2)?),
                    Id::ClampMin => (bound(1)?, f64::INFINITY),
                    _ => (f64::NEG_INFINITY, bound(1)?),
                };
                if high < low {
                    self.vector(&args[0], time)?;
                    return Ok(Value::Vector(Vec::new()));
                }
                if low.is_nan() || high.is_nan() {
                    return Err(Failure::NotCovered);
                }
                // Go's minimum of what is no number and -Inf is -Inf, and its maximum alike.
                let (lowest, highest) = (f64::NEG_INFINITY, f64::INFINITY);
                map(&|value| match value {
                    value if value < low || value.is_nan() && low == highest => low,
                    value if value > high || value.is_nan() && high == lowest => high,
                    value => value,
                })
            }
            _ => Err(Failure::NotCovered),
        }
    }

    fn range_function(&self, id: FunctionId, args: &[Expr], time: i64) -> Result<Vector, Failure> {
        let (matrix, param) = match id {
            FunctionId::QuantileOverTime => (&args[1], self.scalar(&args[0], time)?),
            _ => (&args[0], 0.0),
        };
        let keeps_name = matches!(id, FunctionId::LastOverTime | FunctionId::FirstOverTime);
        if let Some((selector, range)) = edged_selector(matrix) {
            return self.edged_function(id, selector, range, time);
        }
        let mut vector = Vector::new();
        for (labels, window) in self.windows(matrix, time)? {
            if let Some(value) = window.value(id, param)? {
                let labels = if keeps_name {
                    labels
                } else {
                    without_name(&labels)
                };
                vector.push((labels, value));
            }
        }
        distinct(vector)
    }

    /// A function of a range with `anchored` or `smoothed`.
    fn edged_function(
        &self,
        id: FunctionId,
        selector: &VectorSelector,
        range: &Duration,
        time: i64,
    ) -> Result<Vector, Failure> {
        let end = self.reference(&selector.modifiers, time)?;
        let start = end - self.length_ms(range)?;
        one_name(self.selected(selector).map(|(labels, _)| labels))?;
        // Which functions it is for is looked at whether there are samples or not.
        Edged::new(Samples::new(), selector.edges, (start, end)).value(id)?;
        let values = self.selected(selector).map(|(labels, samples)| {
            let window = Edged::new(fresh(samples), selector.edges, (start, end));
            Ok(window.value(id)?.map(|value| (without_name(labels), value)))
        });
        let values: Result<Vec<Option<_>>, Failure> = values.collect();
        distinct(values?.into_iter().flatten().collect())
    }

    // Aggregations.

    fn aggregate(&self, aggregate: &Aggregate, time: i64) -> Result<Vector, Failure> {
        let param = match &aggregate.param {
            Some(param) => self.scalar(param, time)?,
            None => 0.0,
        };
        let mut groups: BTreeMap<Labels, Vec<(Labels, f64)>> = BTreeMap::new();
        for (labels, value) in self.vector(&aggregate.expr, time)? {
            let group = if aggregate.without {
                without(&without_name(&labels), &aggregate.grouping)
            } else {
                only(&labels, &aggregate.grouping)
            };
            groups.entry(group).or_default().push((labels, value));
        }
        groups
            .into_iter()
            .map(|(group, mut members)| {
                members.sort_by(|a, b| a.0.cmp(&b.0));
                let values: Vec<f64> = members.into_iter().map(|(_, value)| value).collect();
                let value = match aggregate.op {
                    AggregateOp::Sum => sum(&values),
                    AggregateOp::Avg => mean(&values)?,
                    AggregateOp::Count => values.len() as f64,
                    AggregateOp::Group => 1.0,
                    AggregateOp::Min => extreme(&values, |new, old| new < old),
                    AggregateOp::Max => extreme(&values, |new, old| new > old),
                    AggregateOp::Quantile => quantile(param, values),
                    _ => return Err(Failure::NotCovered),
                };
                Ok((group, value))
            })
            .collect()
    }

    // Binary operators.

    fn binary(&self, binary: &Binary, time: i64) -> Result<Value, Failure> {
        let lhs = self.value(&binary.lhs, time)?;
        let rhs = self.value(&binary.rhs, time)?;
        Ok(match (lhs, rhs) {
            (Value::Scalar(lhs), Value::Scalar(rhs)) => {
                Value::Scalar(match compared(binary.op, lhs, rhs) {
                    Some(holds) => f64::from(holds),
                    None => computed(binary.op, lhs, rhs)?,
                })
            }
            (Value::Vector(vector), Value::Scalar(scalar)) => {
                Value::Vector(with_scalar(binary, vector, |value| (value, scalar))?)
            }
            (Value::Scalar(scalar), Value::Vector(vector)) => {
                Value::Vector(with_scalar(binary, vector, |value| (scalar, value))?)
            }
            (Value::Vector(lhs), Value::Vector(rhs)) => {
                let matching = binary.matching.as_ref().ok_or(Failure::NotCovered)?;
                Value::Vector(distinct(if binary.op.is_set() {
                    set_operation(binary.op, matching, lhs, rhs)
                } else {
                    matched(binary, matching, lhs, rhs)?
                })?)
            }
        })
    }
}

/// The samples of a series in `(end - range, end]`.
#[derive(Debug)]
struct Window {
    samples: Samples,
    end: i64,
    range: i64,
}

impl Window {
    fn new(mut samples: Samples, end: i64, range: i64) -> Self {
        samples.retain(|(at, _)| *at > end - range && *at <= end);
        Self {
            samples,
            end,
            range,
        }
    }

    fn value(&self, id: FunctionId, param: f64) -> Result<Option<f64>, Failure> {
        use FunctionId as Id;
        let values: Vec<f64> = self.samples.iter().map(|(_, value)| *value).collect();
        let (Some(first), Some(last)) = (values.first(), values.last()) else {
            return Ok(None);
        };
        let pairs = || values.windows(2);
        let seconds = self.range as f64 / 1000.0;
        Ok(Some(match id {
            Id::SumOverTime => sum(&values),
            Id::AvgOverTime => mean(&values)?,
            Id::CountOverTime => values.len() as f64,
            Id::FirstOverTime => *first,
            Id::LastOverTime => *last,
            Id::PresentOverTime => 1.0,
            Id::MinOverTime => extreme(&values, |new, old| new < old),
            Id::MaxOverTime => extreme(&values, |new, old| new > old),
            Id::QuantileOverTime => quantile(param, values),
            Id::Resets => pairs().filter(|pair| pair[1] < pair[0]).count() as f64,
            Id::Changes => pairs()
                .filter(|pair| pair[0] != pair[1] && !(pair[0].is_nan() && pair[1].is_nan()))
                .count() as f64,
            Id::Irate | Id::Idelta => {
                let [.., before, last] = &self.samples[..] else {
                    return Ok(None);
                };
                if id == Id::Idelta {
                    last.1 - before.1
                } else {
                    let rise = if last.1 < before.1 {
                        last.1
                    } else {
                        last.1 - before.1
                    };
                    rise / ((last.0 - before.0) as f64 / 1000.0)
                }
            }
            Id::Increase => return Ok(self.extrapolated(true, 1.0)),
            Id::Rate => return Ok(self.extrapolated(true, seconds)),
            Id::Delta => return Ok(self.extrapolated(false, 1.0)),
            _ => return Err(Failure::NotCovered),
        }))
    }

    /// The rise over the window, as far as its samples reach, divided.
    fn extrapolated(&self, is_counter: bool, divisor: f64) -> Option<f64> {
        let [first, .., last] = &self.samples[..] else {
            return None;
        };
        let mut rise = last.1 - first.1;
        for pair in self.samples.windows(2) {
            if is_counter && pair[1].1 < pair[0].1 {
                rise += pair[0].1;
            }
        }
        let sampled = (last.0 - first.0) as f64 / 1000.0;
        let average = sampled / (self.samples.len() - 1) as f64;
        let edge = |gap: i64| {
            let gap = gap as f64 / 1000.0;
            if gap >= average * 1.1 {
                average / 2.0
            } else {
                gap
            }
        };
        let mut to_start = edge(first.0 - (self.end - self.range));
        if is_counter && rise > 0.0 && first.1 >= 0.0 {
            to_start = to_start.min(sampled * (first.1 / rise));
        }
        let factor = (sampled + to_start + edge(self.end - last.0)) / sampled;
        Some(rise * (factor / divisor))
    }
}

/// The samples but the staleness markers.
fn fresh(samples: &Samples) -> Samples {
    let mut samples = samples.clone();
    samples.retain(|(_, value)| !is_stale_marker(*value));
    samples
}

/// The selector of a range with `anchored` or `smoothed`, and its length.
fn edged_selector(expr: &Expr) -> Option<(&VectorSelector, &Duration)> {
    match &expr.kind {
        ExprKind::Paren(inner) => edged_selector(inner),
        ExprKind::MatrixSelector { selector, range } if selector.edges != Edges::Plain => {
            Some((selector, range))
        }
        _ => None,
    }
}

/// Not covered are series of several names: which results clash depends on the other steps.
fn one_name<'l>(all: impl Iterator<Item = &'l Labels>) -> Result<(), Failure> {
    let names: BTreeSet<&str> = all.map(Labels::metric_name).collect();
    if names.len() > 1 {
        return Err(Failure::NotCovered);
    }
    Ok(())
}

fn without_name(labels: &Labels) -> Labels {
    without(labels, &[METRIC_NAME.to_owned()])
}

fn without(labels: &Labels, names: &[String]) -> Labels {
    let is_listed = |name: &str| names.iter().any(|listed| listed == name);
    Labels::from_pairs(labels.iter().filter(|(name, _)| !is_listed(name)))
}

fn only(labels: &Labels, names: &[String]) -> Labels {
    let is_listed = |name: &str| names.iter().any(|listed| listed == name);
    Labels::from_pairs(labels.iter().filter(|(name, _)| is_listed(name)))
}

fn each(vector: Vector, of: impl Fn(f64) -> f64) -> Vector {
    let elements = vector.into_iter();
    elements
        .map(|(labels, value)| (without_name(&labels), of(value)))
        .collect()
}

fn distinct(vector: Vector) -> Result<Vector, Failure> {
    let labels: BTreeSet<&Labels> = vector.iter().map(|(labels, _)| labels).collect();
    if labels.len() < vector.len() {
        return Err(Failure::Wrong);
    }
    Ok(vector)
}

fn compared(op: BinaryOp, lhs: f64, rhs: f64) -> Option<bool> {
    Some(match op {
        BinaryOp::Equal => lhs == rhs,
        BinaryOp::NotEqual => lhs != rhs,
        BinaryOp::Less => lhs < rhs,
        BinaryOp::LessEqual => lhs <= rhs,
        BinaryOp::Greater => lhs > rhs,
        BinaryOp::GreaterEqual => lhs >= rhs,
        _ => return None,
    })
}

fn computed(op: BinaryOp, lhs: f64, rhs: f64) -> Result<f64, Failure> {
    Ok(match op {
        BinaryOp::Add => lhs + rhs,
        BinaryOp::Sub => lhs - rhs,
        BinaryOp::Mul => lhs * rhs,
        BinaryOp::Div => lhs / rhs,
        BinaryOp::Mod => lhs % rhs,
        _ => return Err(Failure::NotCovered),
    })
}

fn with_scalar(
    binary: &Binary,
    vector: Vector,
    pair: impl Fn(f64) -> (f64, f64),
) -> Result<Vector, Failure> {
    let mut out = Vector::new();
    for (labels, value) in vector {
        let (lhs, rhs) = pair(value);
        match compared(binary.op, lhs, rhs) {
            None => out.push((without_name(&labels), computed(binary.op, lhs, rhs)?)),
            Some(holds) if binary.return_bool => {
                out.push((without_name(&labels), f64::from(holds)));
            }
            Some(true) => out.push((labels, value)),
            Some(false) => {}
        }
    }
    distinct(out)
}

fn signature(matching: &VectorMatching, labels: &Labels) -> Labels {
    if matching.on {
        only(labels, &matching.labels)
    } else {
        without(&without_name(labels), &matching.labels)
    }
}

fn signatures(matching: &VectorMatching, vector: &Vector) -> BTreeSet<Labels> {
    let labels = vector.iter().map(|(labels, _)| labels);
    labels.map(|labels| signature(matching, labels)).collect()
}

fn set_operation(op: BinaryOp, matching: &VectorMatching, lhs: Vector, rhs: Vector) -> Vector {
    let (left, right) = (signatures(matching, &lhs), signatures(matching, &rhs));
    match op {
        BinaryOp::Or => {
            let rest = rhs
                .into_iter()
                .filter(|(labels, _)| !left.contains(&signature(matching, labels)));
            lhs.into_iter().chain(rest).collect()
        }
        _ => lhs
            .into_iter()
            .filter(|(labels, _)| {
                right.contains(&signature(matching, labels)) == (op == BinaryOp::And)
            })
            .collect(),
    }
}

/// A sample of `value` for each match group that `other` has and `vector` has not.
fn missing(
    matching: &VectorMatching,
    vector: &Vector,
    other: &Vector,
    value: Option<f64>,
) -> Vector {
    let Some(value) = value else {
        return Vector::new();
    };
    let known = signatures(matching, vector);
    let lacking = signatures(matching, other)
        .into_iter()
        .filter(|group| !known.contains(group));
    lacking.map(|group| (group, value)).collect()
}

fn matched(
    binary: &Binary,
    matching: &VectorMatching,
    lhs: Vector,
    rhs: Vector,
) -> Result<Vector, Failure> {
    let is_filled = matching.fill_left.is_some() || matching.fill_right.is_some();
    if !is_filled && (lhs.is_empty() || rhs.is_empty()) {
        return Ok(Vector::new());
    }
    let is_swapped = matching.cardinality == Cardinality::OneToMany;
    let (mut many, mut one) = if is_swapped { (rhs, lhs) } else { (lhs, rhs) };
    let to_many = missing(matching, &many, &one, matching.fill_left);
    let to_one = missing(matching, &one, &many, matching.fill_right);
    many.extend(to_many);
    one.extend(to_one);
    let mut partners: BTreeMap<Labels, (Labels, f64)> = BTreeMap::new();
    for (labels, value) in one {
        let known = partners.insert(signature(matching, &labels), (labels, value));
        if known.is_some() {
            return Err(Failure::Wrong);
        }
    }
    let mut taken = BTreeSet::new();
    let mut out = Vector::new();
    for (labels, value) in many {
        let group = signature(matching, &labels);
        let Some((partner, other)) = partners.get(&group) else {
            continue;
        };
        let (left, right) = if is_swapped {
            (*other, value)
        } else {
            (value, *other)
        };
        let comparison = compared(binary.op, left, right);
        let result = match comparison {
            None => computed(binary.op, left, right)?,
            Some(holds) if binary.return_bool => f64::from(holds),
            Some(_) => left,
        };
        let mut metric = if comparison.is_none() || binary.return_bool {
            without_name(&labels)
        } else {
            labels
        };
        let key = if matching.cardinality == Cardinality::OneToOne {
            metric = if matching.on {
                only(&metric, &matching.labels)
            } else {
                without(&metric, &matching.labels)
            };
            (group, Labels::empty())
        } else {
            let mut builder = metric.to_builder();
            for name in &matching.include {
                builder.set(name, partner.get(name).unwrap_or_default());
            }
            metric = builder.build();
            (group, metric.clone())
        };
        if !taken.insert(key) {
            return Err(Failure::Wrong);
        }
        if comparison != Some(false) || binary.return_bool {
            out.push((metric, result));
        }
    }
    Ok(out)
}

/// Neumaier's sum.
fn sum(values: &[f64]) -> f64 {
    let (sum, rest) = sum_and_rest(values);
    if sum.is_infinite() { sum } else { sum + rest }
}

fn sum_and_rest(values: &[f64]) -> (f64, f64) {
    let (mut sum, mut rest) = (0.0, 0.0);
    for value in values {
        let total: f64 = sum + value;
        if total.is_infinite() {
            rest = 0.0;
        } else if f64::abs(sum) >= value.abs() {
            rest += (sum - total) + value;
        } else {
            rest += (value - total) + sum;
        }
        sum = total;
    }
    (sum, rest)
}

/// The mean of values whose sums from the first on are no infinities.
fn mean(values: &[f64]) -> Result<f64, Failure> {
    let overflows = |end| sum_and_rest(&values[..end]).0.is_infinite();
    if (1..=values.len()).any(overflows) {
        return Err(Failure::NotCovered);
    }
    let (sum, rest) = sum_and_rest(values);
    let count = values.len() as f64;
    Ok(sum / count + rest / count)
}

fn extreme(values: &[f64], is_better: impl Fn(f64, f64) -> bool) -> f64 {
    let mut best = values[0];
    for value in values {
        if is_better(*value, best) || best.is_nan() {
            best = *value;
        }
    }
    best
}

fn quantile(ratio: f64, mut values: Vec<f64>) -> f64 {
    if ratio.is_nan() {
        return f64::NAN;
    }
    if !(0.0..=1.0).contains(&ratio) {
        return if ratio < 0.0 {
            f64::NEG_INFINITY
        } else {
            f64::INFINITY
        };
    }
    values.sort_by(|a, b| b.is_nan().cmp(&a.is_nan()).then(a.total_cmp(b)));
    let rank = ratio * (values.len() - 1) as f64;
    let lower = rank.floor();
    let upper = (lower + 1.0).min((values.len() - 1) as f64);
    values[lower as usize] * (1.0 - (rank - lower)) + values[upper as usize] * (rank - lower)
}
