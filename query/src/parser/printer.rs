//! Syntax trees as text: one line as Prometheus's `String()`, or broken and indented as its
//! `/api/v1/format_query`.
//!
//! What is printed parses back to an equal tree, but for spans, redundant signs and parentheses in
//! durations, and the order of matchers.

use std::{
    fmt::{self, Display, Formatter, Write},
    time,
};

use narthex_storage::{METRIC_NAME, MatchOp, Matcher};

use super::{
    Aggregate, At, Binary, Cardinality, Duration, DurationKind, Edges, Expr, ExprKind, Subquery,
    Text, TimeModifiers, VectorMatching, VectorSelector, quote::quote,
};
use crate::{
    duration::format_duration,
    format::{FloatStyle, format_float},
};

/// Longer expressions are broken into lines, in bytes.
const LINE_LEN_MAX: usize = 100;

/// Deeper lines are not indented further, so that the answer stays in proportion to the query.
const INDENT_LEVEL_MAX: usize = 100;

/// The expression in Prometheus's pretty form, without a newline at its end.
#[expect(
    clippy::missing_panics_doc,
    reason = "writing to a string does not fail"
)]
pub fn format_query(expr: &Expr) -> String {
    let mut out = String::new();
    pretty(&mut out, expr, 0).expect("writing to a string does not fail");
    out
}

fn pretty(out: &mut String, expr: &Expr, level: usize) -> fmt::Result {
    if let ExprKind::Unary { negative, expr } = &expr.kind {
        indent(out, level);
        out.push(sign(*negative));
        let start = out.len();
        pretty(out, expr, level)?;
        let child = out.split_off(start);
        out.push_str(child.trim());
        return Ok(());
    }
    if fits(expr) {
        // Prometheus does not indent a subquery that fits.
        if !matches!(expr.kind, ExprKind::Subquery(_)) {
            indent(out, level);
        }
        return write!(out, "{expr}");
    }
    match &expr.kind {
        ExprKind::Aggregate(aggregate) => {
            indent(out, level);
            writeln!(out, "{}(", Grouping(aggregate))?;
            if let Some(param) = &aggregate.param {
                pretty(out, param, level + 1)?;
                out.push_str(",\n");
            }
            close(out, &aggregate.expr, level)
        }
        ExprKind::Binary(binary) => {
            pretty(out, &binary.lhs, level + 1)?;
            out.push('\n');
            indent(out, level);
            writeln!(out, "{}", Operator(binary))?;
            pretty(out, &binary.rhs, level + 1)
        }
        ExprKind::Call { function, args } if !args.is_empty() => {
            indent(out, level);
            out.push_str(function.name);
            out.push_str("(\n");
            for (index, arg) in args.iter().enumerate() {
                if index > 0 {
                    out.push_str(",\n");
                }
                pretty(out, arg, level + 1)?;
            }
            out.push('\n');
            indent(out, level);
            out.push(')');
            Ok(())
        }
        ExprKind::Paren(inner) => {
            indent(out, level);
            out.push_str("(\n");
            close(out, inner, level)
        }
        ExprKind::Subquery(subquery) => {
            pretty(out, &subquery.expr, level)?;
            subquery_suffix(out, subquery)
        }
        _ => {
            indent(out, level);
            write!(out, "{expr}")
        }
    }
}

fn close(out: &mut String, inner: &Expr, level: usize) -> fmt::Result {
    pretty(out, inner, level + 1)?;
    out.push('\n');
    indent(out, level);
    out.push(')');
    Ok(())
}

fn indent(out: &mut String, level: usize) {
    for _ in 0..level.min(INDENT_LEVEL_MAX) {
        out.push_str("  ");
    }
}

/// Whether the expression is at most [`LINE_LEN_MAX`] bytes long; looks no further than that.
fn fits(expr: &Expr) -> bool {
    struct Room(usize);
    impl Write for Room {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 = self.0.checked_sub(text.len()).ok_or(fmt::Error)?;
            Ok(())
        }
    }
    write!(Room(LINE_LEN_MAX), "{expr}").is_ok()
}

fn sign(negative: bool) -> char {
    if negative { '-' } else { '+' }
}

/// One line, as Prometheus prints expressions in errors, rules and alerts.
impl Display for Expr {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number { value, is_duration } => number(formatter, *value, *is_duration),
            ExprKind::String(Text {
                quoted_bytes: Some(quoted),
                ..
            }) => formatter.write_str(quoted),
            ExprKind::String(text) => formatter.write_str(&quote(&text.value)),
            ExprKind::VectorSelector(selector) => {
                series(formatter, selector)?;
                at(formatter, &selector.modifiers)?;
                formatter.write_str(edges(selector.edges))?;
                offset(formatter, &selector.modifiers)
            }
            ExprKind::MatrixSelector { selector, range } => {
                series(formatter, selector)?;
                write!(formatter, "[{}]{}", Outer(range), edges(selector.edges))?;
                modifiers(formatter, &selector.modifiers)
            }
            ExprKind::Subquery(subquery) => {
                write!(formatter, "{}", subquery.expr)?;
                subquery_suffix(formatter, subquery)
            }
            ExprKind::Call { function, args } => {
                write!(formatter, "{}(", function.name)?;
                for (index, arg) in args.iter().enumerate() {
                    if index > 0 {
                        formatter.write_str(", ")?;
                    }
                    write!(formatter, "{arg}")?;
                }
                formatter.write_char(')')
            }
            ExprKind::Aggregate(aggregate) => {
                write!(formatter, "{}(", Grouping(aggregate))?;
                if let Some(param) = &aggregate.param {
                    write!(formatter, "{param}, ")?;
                }
                write!(formatter, "{})", aggregate.expr)
            }
            ExprKind::Unary { negative, expr } => {
                write!(formatter, "{}{expr}", sign(*negative))
            }
            ExprKind::Binary(binary) => {
                write!(
                    formatter,
                    "{} {} {}",
                    binary.lhs,
                    Operator(binary),
                    binary.rhs
                )
            }
            ExprKind::Paren(expr) => write!(formatter, "({expr})"),
        }
    }
}

/// The operator with `bool` and matching.
struct Operator<'a>(&'a Binary);

impl Display for Operator<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0.op.as_str())?;
        if self.0.return_bool {
            formatter.write_str(" bool")?;
        }
        let Some(VectorMatching {
            cardinality,
            labels,
            on,
            include,
            fill_left,
            fill_right,
        }) = &self.0.matching
        else {
            return Ok(());
        };
        let group = match cardinality {
            Cardinality::ManyToOne => Some("group_left"),
            Cardinality::OneToMany => Some("group_right"),
            Cardinality::OneToOne | Cardinality::ManyToMany => None,
        };
        if !labels.is_empty() || *on || group.is_some() {
            write!(
                formatter,
                " {} ({})",
                if *on { "on" } else { "ignoring" },
                Names(labels)
            )?;
        }
        if let Some(group) = group {
            write!(formatter, " {group} ({})", Names(include))?;
        }
        let mut fill = |word: &str, value: &Option<f64>| match value {
            Some(value) => write!(
                formatter,
                " {word} ({})",
                format_float(*value, FloatStyle::General)
            ),
            None => Ok(()),
        };
        // Two values that are no numbers are not equal, as in Prometheus.
        if fill_left.is_some() && fill_left == fill_right {
            return fill("fill", fill_left);
        }
        fill("fill_left", fill_left)?;
        fill("fill_right", fill_right)
    }
}

/// The aggregator with `by` or `without`, up to the parenthesis.
struct Grouping<'a>(&'a Aggregate);

impl Display for Grouping<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Aggregate {
            op,
            grouping,
            without,
            ..
        } = self.0;
        formatter.write_str(op.as_str())?;
        if *without {
            write!(formatter, " without ({}) ", Names(grouping))?;
        } else if !grouping.is_empty() {
            write!(formatter, " by ({}) ", Names(grouping))?;
        }
        Ok(())
    }
}

/// Label names, quoted where they must be.
struct Names<'a>(&'a [String]);

impl Display for Names<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str(", ")?;
            }
            formatter.write_str(&label_name(name, ":"))?;
        }
        Ok(())
    }
}

/// A label name, quoted unless it is made of letters, digits, underscores and `also`.
fn label_name(name: &str, also: &str) -> String {
    let is_plain = name
        .chars()
        .all(|c| c == '_' || c.is_ascii_alphanumeric() || also.contains(c))
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty();
    if is_plain {
        name.to_owned()
    } else {
        quote(name)
    }
}

fn number(formatter: &mut Formatter<'_>, value: f64, is_duration: bool) -> fmt::Result {
    if is_duration {
        seconds(formatter, value)
    } else {
        formatter.write_str(&format_float(value, FloatStyle::Decimal))
    }
}

fn seconds(formatter: &mut Formatter<'_>, value: f64) -> fmt::Result {
    // Rounded to nanoseconds as Prometheus does; larger than any duration it saturates.
    let magnitude = time::Duration::from_nanos((value.abs() * 1e9).round() as u64);
    let text = format_duration(magnitude);
    if value < 0.0 {
        formatter.write_char('-')?;
    }
    formatter.write_str(&text)
}

/// Name and matchers, these sorted as printed.
fn series(formatter: &mut Formatter<'_>, selector: &VectorSelector) -> fmt::Result {
    let name = selector.name.as_deref().unwrap_or_default();
    let is_name = |matcher: &&Matcher| {
        matcher.name() == METRIC_NAME
            && matcher.op() == MatchOp::Equal
            && matcher.value() == name
            && !name.is_empty()
    };
    let mut matchers: Vec<String> = selector
        .matchers
        .iter()
        .filter(|matcher| !is_name(matcher))
        .map(|matcher| {
            let (name, op) = (label_name(matcher.name(), ""), matcher.op().as_str());
            format!("{name}{op}{}", quote(matcher.value()))
        })
        .collect();
    formatter.write_str(name)?;
    if !matchers.is_empty() {
        matchers.sort_unstable();
        write!(formatter, "{{{}}}", matchers.join(","))?;
    }
    Ok(())
}

fn subquery_suffix(out: &mut impl Write, subquery: &Subquery) -> fmt::Result {
    write!(out, "[{}:", Outer(&subquery.range))?;
    if let Some(step) = &subquery.step {
        write!(out, "{}", Outer(step))?;
    }
    out.write_char(']')?;
    modifiers(out, &subquery.modifiers)
}

fn edges(edges: Edges) -> &'static str {
    match edges {
        Edges::Plain => "",
        Edges::Anchored => " anchored",
        Edges::Smoothed => " smoothed",
    }
}

fn modifiers(out: &mut impl Write, modifiers: &TimeModifiers) -> fmt::Result {
    at(out, modifiers)?;
    offset(out, modifiers)
}

fn at(out: &mut impl Write, modifiers: &TimeModifiers) -> fmt::Result {
    match modifiers.at {
        Some(At::Time(time_ms)) => {
            let sign = if time_ms < 0 { "-" } else { "" };
            let magnitude = time_ms.unsigned_abs();
            write!(out, " @ {sign}{}.{:03}", magnitude / 1000, magnitude % 1000)
        }
        Some(At::Start) => out.write_str(" @ start()"),
        Some(At::End) => out.write_str(" @ end()"),
        None => Ok(()),
    }
}

fn offset(out: &mut impl Write, modifiers: &TimeModifiers) -> fmt::Result {
    match &modifiers.offset {
        Some(offset) => write!(out, " offset {}", Outer(offset)),
        None => Ok(()),
    }
}

/// A duration outside any duration expression: a number prints as a duration.
struct Outer<'a>(&'a Duration);

impl Display for Outer<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match &self.0.kind {
            DurationKind::Literal { seconds: value, .. } => seconds(formatter, *value),
            _ => Display::fmt(self.0, formatter),
        }
    }
}

/// As within a duration expression.
impl Display for Duration {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            DurationKind::Literal { seconds, has_unit } => number(formatter, *seconds, *has_unit),
            DurationKind::Step => formatter.write_str("step()"),
            DurationKind::Range => formatter.write_str("range()"),
            DurationKind::Unary { negative, operand } => {
                write!(formatter, "{}{operand}", sign(*negative))
            }
            DurationKind::Binary { op, lhs, rhs } => {
                write!(formatter, "{lhs} {} {rhs}", op.as_str())
            }
            DurationKind::MinOf(first, second) => write!(formatter, "min_of({first}, {second})"),
            DurationKind::MaxOf(first, second) => write!(formatter, "max_of({first}, {second})"),
            DurationKind::Paren(inner) => write!(formatter, "({inner})"),
        }
    }
}
