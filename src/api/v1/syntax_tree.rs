//! `/api/v1/parse_query`: the syntax tree of a query as JSON.
//!
//! Nodes, keys and their order are those of Prometheus 3.5 (`web/api/v1/translate_ast.go`), byte for byte.
//! What later versions brought has their keys, and these only where the query has it: `rangeExpr`,
//! `offsetExpr` and `stepExpr` beside a range, offset or step that is computed from others (`[5m + 1m]`) and
//! is 0 therefore, `anchored` and `smoothed`, `fillValues`.

use narthex_query::{
    FloatStyle,
    parser::{
        Aggregate, At, Binary, Cardinality, Duration, DurationKind, Edges, Expr, ExprKind,
        Subquery, TimeModifiers, ValueType, VectorMatching, VectorSelector, parse,
    },
    push_float,
};
use narthex_storage::MatchOp;

use super::{Answer, ApiError, Call, Success, query::parser_options};
use crate::api::json::{Escape, push_integer, push_string, push_strings};

/// `/api/v1/parse_query`
pub(crate) fn parse_query(call: &Call) -> Answer {
    let text = call.params.first("query");
    let expr = parse(text, parser_options(&call.state))
        .map_err(|error| ApiError::parameter("query", error))?;
    let mut success = Success::new();
    Writer {
        out: &mut success.body,
        text,
    }
    .expr(&expr);
    Ok(success)
}

/// Writes nodes; as high as the tree, which the parser bounds.
struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// The query.
    text: &'a str,
}

impl Writer<'_> {
    fn raw(&mut self, json: &str) {
        self.out.extend_from_slice(json.as_bytes());
    }

    fn string(&mut self, text: &str) {
        push_string(self.out, text, Escape::Html);
    }

    fn bool(&mut self, value: bool) {
        self.raw(if value { "true" } else { "false" });
    }

    fn number(&mut self, value: f64) {
        self.raw("\"");
        push_float(self.out, value, FloatStyle::Decimal);
        self.raw("\"");
    }

    fn expr(&mut self, expr: &Expr) {
        match &expr.kind {
            ExprKind::Number { value, .. } => {
                self.raw("{\"type\":\"numberLiteral\",\"val\":");
                self.number(*value);
                self.raw("}");
            }
            ExprKind::String(value) => {
                self.raw("{\"type\":\"stringLiteral\",\"val\":");
                self.string(&value.value);
                self.raw("}");
            }
            ExprKind::VectorSelector(selector) => self.selector(selector, None),
            ExprKind::MatrixSelector { selector, range } => self.selector(selector, Some(range)),
            ExprKind::Subquery(subquery) => self.subquery(subquery),
            ExprKind::Call { function, args } => {
                self.raw("{\"args\":[");
                for (index, arg) in args.iter().enumerate() {
                    self.raw(if index > 0 { "," } else { "" });
                    self.expr(arg);
                }
                self.raw("],\"func\":{\"argTypes\":");
                push_strings(self.out, function.args.iter().copied().map(type_name));
                self.raw(",\"name\":");
                self.string(function.name);
                self.raw(",\"returnType\":");
                self.string(type_name(function.returns));
                self.raw(",\"variadic\":");
                push_integer(self.out, i64::from(function.variadic));
                self.raw("},\"type\":\"call\"}");
            }
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate),
            ExprKind::Unary { negative, expr } => {
                self.raw("{\"expr\":");
                self.expr(expr);
                self.raw(if *negative {
                    ",\"op\":\"-\",\"type\":\"unaryExpr\"}"
                } else {
                    ",\"op\":\"+\",\"type\":\"unaryExpr\"}"
                });
            }
            ExprKind::Binary(binary) => self.binary(binary),
            ExprKind::Paren(expr) => {
                self.raw("{\"expr\":");
                self.expr(expr);
                self.raw(",\"type\":\"parenExpr\"}");
            }
        }
    }

    /// With a range it is a selector of range vectors.
    fn selector(&mut self, selector: &VectorSelector, range: Option<&Duration>) {
        self.raw("{");
        let is_plain = selector.edges == Edges::Plain;
        if !is_plain {
            self.raw("\"anchored\":");
            self.bool(selector.edges == Edges::Anchored);
            self.raw(",");
        }
        self.raw("\"matchers\":[");
        for (index, matcher) in selector.matchers.iter().enumerate() {
            self.raw(if index > 0 {
                ",{\"name\":"
            } else {
                "{\"name\":"
            });
            self.string(matcher.name());
            self.raw(match matcher.op() {
                MatchOp::Equal => ",\"type\":\"=\",\"value\":",
                MatchOp::NotEqual => ",\"type\":\"!=\",\"value\":",
                MatchOp::Regex => ",\"type\":\"=~\",\"value\":",
                MatchOp::NotRegex => ",\"type\":\"!~\",\"value\":",
            });
            self.string(matcher.value());
            self.raw("}");
        }
        self.raw("],\"name\":");
        // A name in the braces is a matcher alone.
        let start = selector.span.start as usize;
        let is_in_braces = self.text.as_bytes().get(start) == Some(&b'{');
        let name = selector.name.as_deref().filter(|_| !is_in_braces);
        self.string(name.unwrap_or_default());
        self.offset(&selector.modifiers);
        if let Some(range) = range {
            self.duration("range", range);
        }
        if !is_plain {
            self.raw(",\"smoothed\":");
            self.bool(selector.edges == Edges::Smoothed);
        }
        self.start_or_end(&selector.modifiers);
        self.timestamp(&selector.modifiers);
        self.raw(if range.is_some() {
            ",\"type\":\"matrixSelector\"}"
        } else {
            ",\"type\":\"vectorSelector\"}"
        });
    }

    fn subquery(&mut self, subquery: &Subquery) {
        self.raw("{\"expr\":");
        self.expr(&subquery.expr);
        self.offset(&subquery.modifiers);
        self.duration("range", &subquery.range);
        self.start_or_end(&subquery.modifiers);
        match &subquery.step {
            Some(step) => self.duration("step", step),
            None => self.raw(",\"step\":0"),
        }
        self.timestamp(&subquery.modifiers);
        self.raw(",\"type\":\"subquery\"}");
    }

    fn aggregate(&mut self, aggregate: &Aggregate) {
        self.raw("{\"expr\":");
        self.expr(&aggregate.expr);
        self.raw(",\"grouping\":");
        push_strings(self.out, &aggregate.grouping);
        self.raw(",\"op\":");
        self.string(aggregate.op.as_str());
        self.raw(",\"param\":");
        match &aggregate.param {
            Some(param) => self.expr(param),
            None => self.raw("null"),
        }
        self.raw(",\"type\":\"aggregation\",\"without\":");
        self.bool(aggregate.without);
        self.raw("}");
    }

    fn binary(&mut self, binary: &Binary) {
        self.raw("{\"bool\":");
        self.bool(binary.return_bool);
        self.raw(",\"lhs\":");
        self.expr(&binary.lhs);
        self.raw(",\"matching\":");
        match &binary.matching {
            Some(matching) => self.matching(matching),
            None => self.raw("null"),
        }
        self.raw(",\"op\":");
        self.string(binary.op.as_str());
        self.raw(",\"rhs\":");
        self.expr(&binary.rhs);
        self.raw(",\"type\":\"binaryExpr\"}");
    }

    fn matching(&mut self, matching: &VectorMatching) {
        self.raw(match matching.cardinality {
            Cardinality::OneToOne => "{\"card\":\"one-to-one\"",
            Cardinality::ManyToOne => "{\"card\":\"many-to-one\"",
            Cardinality::OneToMany => "{\"card\":\"one-to-many\"",
            Cardinality::ManyToMany => "{\"card\":\"many-to-many\"",
        });
        if matching.fill_left.is_some() || matching.fill_right.is_some() {
            self.raw(",\"fillValues\":{\"lhs\":");
            self.fill_value(matching.fill_left);
            self.raw(",\"rhs\":");
            self.fill_value(matching.fill_right);
            self.raw("}");
        }
        self.raw(",\"include\":");
        push_strings(self.out, &matching.include);
        self.raw(",\"labels\":");
        push_strings(self.out, &matching.labels);
        self.raw(",\"on\":");
        self.bool(matching.on);
        self.raw("}");
    }

    /// JSON has no number for NaN and the infinities: they are texts, where Prometheus fails to answer.
    fn fill_value(&mut self, value: Option<f64>) {
        match value {
            None => self.raw("null"),
            Some(value) if value.is_finite() => push_float(self.out, value, FloatStyle::Json),
            Some(value) => self.number(value),
        }
    }

    fn offset(&mut self, modifiers: &TimeModifiers) {
        match &modifiers.offset {
            Some(offset) => self.duration("offset", offset),
            None => self.raw(",\"offset\":0"),
        }
    }

    fn start_or_end(&mut self, modifiers: &TimeModifiers) {
        self.raw(match modifiers.at {
            Some(At::Start) => ",\"startOrEnd\":\"start\"",
            Some(At::End) => ",\"startOrEnd\":\"end\"",
            Some(At::Time(_)) | None => ",\"startOrEnd\":null",
        });
    }

    fn timestamp(&mut self, modifiers: &TimeModifiers) {
        self.raw(",\"timestamp\":");
        match modifiers.at {
            Some(At::Time(time)) => push_integer(self.out, time),
            Some(At::Start | At::End) | None => self.raw("null"),
        }
    }

    /// `,"key":milliseconds`, of a computed one 0 and how it is computed.
    fn duration(&mut self, key: &str, duration: &Duration) {
        let seconds = constant(duration);
        let milliseconds = (seconds.unwrap_or(0.0) * 1e9).round() as i64 / 1_000_000;
        self.raw(",\"");
        self.raw(key);
        self.raw("\":");
        push_integer(self.out, milliseconds);
        if seconds.is_none() {
            self.raw(",\"");
            self.raw(key);
            self.raw("Expr\":");
            self.computed(duration, false);
        }
    }

    fn computed(&mut self, duration: &Duration, is_wrapped: bool) {
        let (lhs, op, rhs) = match &duration.kind {
            DurationKind::Literal { seconds, has_unit } => {
                self.raw("{\"duration\":");
                self.bool(*has_unit);
                self.raw(",\"type\":\"numberLiteral\",\"val\":");
                self.number(*seconds);
                return self.raw("}");
            }
            DurationKind::Paren(inner) => return self.computed(inner, true),
            DurationKind::Step => (None, "step", None),
            DurationKind::Range => (None, "range", None),
            DurationKind::Unary { negative, operand } => {
                (None, if *negative { "-" } else { "+" }, Some(operand))
            }
            DurationKind::Binary { op, lhs, rhs } => (Some(lhs), op.as_str(), Some(rhs)),
            DurationKind::MinOf(lhs, rhs) => (Some(lhs), "min_of", Some(rhs)),
            DurationKind::MaxOf(lhs, rhs) => (Some(lhs), "max_of", Some(rhs)),
        };
        self.raw("{\"lhs\":");
        self.operand(lhs.map(|lhs| &**lhs));
        self.raw(",\"op\":");
        self.string(op);
        self.raw(",\"rhs\":");
        self.operand(rhs.map(|rhs| &**rhs));
        self.raw(",\"type\":\"durationExpr\",\"wrapped\":");
        self.bool(is_wrapped);
        self.raw("}");
    }

    fn operand(&mut self, duration: Option<&Duration>) {
        match duration {
            Some(duration) => self.computed(duration, false),
            None => self.raw("null"),
        }
    }
}

/// Seconds, of either sign, that need no computation but a sign's.
fn constant(duration: &Duration) -> Option<f64> {
    match &duration.kind {
        DurationKind::Literal { seconds, .. } => Some(*seconds),
        DurationKind::Paren(inner) => constant(inner),
        DurationKind::Unary { negative, operand } => {
            let seconds = constant(operand)?;
            Some(if *negative { -seconds } else { seconds })
        }
        _ => None,
    }
}

const fn type_name(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Scalar => "scalar",
        ValueType::String => "string",
        ValueType::Vector => "vector",
        ValueType::Matrix => "matrix",
    }
}
