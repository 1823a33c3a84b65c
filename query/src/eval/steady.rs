//! Which expressions have, at each step, a value that is the same whichever other steps are evaluated with it.
//!
//! Most have. What depends on the whole grid is: the query's start and end; errors of equal label sets, which some
//! functions look for over all steps; and the order of rows where it decides, among equal values or in the last
//! bits of a sum. Rows come in an order that is the same on every grid out of selectors, in which series are in
//! label order; groups come in the order in which they are found, and a series that is not there in some steps may
//! change that. Where the first of several is taken, rows go by their places, of which the same holds as long as
//! series count by their creation, or by labels, in both evaluations. What is not known before the evaluation is
//! noted while it runs, see [`Evaluation::depends_on_grid`](super::Evaluation).
//!
//! Every function and operator is named here by its own: one that is not is not steady.

use super::selector::has_one_name;
use crate::{
    functions::{FunctionId, range_kernel},
    parser::{
        Aggregate, AggregateOp, At, Binary, BinaryOp, Cardinality, Duration, DurationKind, Expr,
        ExprKind, TimeModifiers, VectorSelector,
    },
};

/// The order of a vector's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    /// Of two rows always the same comes first.
    Fixed,
    /// Which comes first depends on what there is at the steps of the grid.
    Found,
}

/// Whether the value at a step is the same on every grid that has the step; as a range query's answer, where rows
/// are in label order.
pub(super) fn is_steady(expr: &Expr) -> bool {
    match &expr.without_parens().kind {
        // Its rows can have different names: nothing but the end of the query may come after it.
        ExprKind::Binary(binary) if binary.op == BinaryOp::Or && !fills(binary) => {
            is_steady(&binary.lhs) && is_steady(&binary.rhs)
        }
        _ => order(expr).is_some(),
    }
}

/// In which order the rows of an expression come; `None` if the expression is not steady.
pub(crate) fn order(expr: &Expr) -> Option<Order> {
    match &expr.kind {
        ExprKind::Number { .. } | ExprKind::String(_) => Some(Order::Fixed),
        ExprKind::VectorSelector(selector) => is_plain(selector).then_some(Order::Fixed),
        ExprKind::MatrixSelector { selector, range } => {
            (is_plain(selector) && is_of_any_grid(range)).then_some(Order::Fixed)
        }
        ExprKind::Subquery(subquery) => {
            let durations = subquery.step.iter().chain([&subquery.range]);
            let is_known = { durations }.all(is_of_any_grid) && has_own_times(&subquery.modifiers);
            is_known.then(|| order(&subquery.expr)).flatten()
        }
        ExprKind::Call { function, args } => of_call(function.id, args),
        ExprKind::Aggregate(aggregate) => of_aggregate(aggregate),
        ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => order(expr),
        ExprKind::Binary(binary) => of_binary(binary),
    }
}

/// Series of one name, so that none come out equal when it is dropped, at times that the step alone tells.
fn is_plain(selector: &VectorSelector) -> bool {
    has_one_name(selector) && has_own_times(&selector.modifiers)
}

fn has_own_times(modifiers: &TimeModifiers) -> bool {
    let is_fixed = matches!(modifiers.at, None | Some(At::Time(_)));
    is_fixed && modifiers.offset.iter().all(is_of_any_grid)
}

/// Whether the duration is the same on every grid of a step.
fn is_of_any_grid(duration: &Duration) -> bool {
    match &duration.kind {
        DurationKind::Literal { .. } | DurationKind::Step => true,
        DurationKind::Range => false,
        DurationKind::Unary { operand, .. } | DurationKind::Paren(operand) => {
            is_of_any_grid(operand)
        }
        DurationKind::Binary { lhs, rhs, .. }
        | DurationKind::MinOf(lhs, rhs)
        | DurationKind::MaxOf(lhs, rhs) => is_of_any_grid(lhs) && is_of_any_grid(rhs),
    }
}

/// The order that none of the arguments has a better one than.
fn of_all(args: &[Expr]) -> Option<Order> {
    args.iter()
        .try_fold(Order::Fixed, |least, arg| Some(least.max(order(arg)?)))
}

fn of_call(id: FunctionId, args: &[Expr]) -> Option<Order> {
    let of_args = of_all(args)?;
    match id {
        _ if range_kernel(id).is_some() => Some(of_args),
        // A row for a row.
        FunctionId::Abs
        | FunctionId::Acos
        | FunctionId::Acosh
        | FunctionId::Asin
        | FunctionId::Asinh
        | FunctionId::Atan
        | FunctionId::Atanh
        | FunctionId::Ceil
        | FunctionId::Clamp
        | FunctionId::ClampMax
        | FunctionId::ClampMin
        | FunctionId::Cos
        | FunctionId::Cosh
        | FunctionId::DayOfMonth
        | FunctionId::DayOfWeek
        | FunctionId::DayOfYear
        | FunctionId::DaysInMonth
        | FunctionId::Deg
        | FunctionId::Exp
        | FunctionId::Floor
        | FunctionId::HistogramAvg
        | FunctionId::HistogramCount
        | FunctionId::HistogramStddev
        | FunctionId::HistogramStdvar
        | FunctionId::HistogramSum
        | FunctionId::Hour
        | FunctionId::Ln
        | FunctionId::Log10
        | FunctionId::Log2
        | FunctionId::Minute
        | FunctionId::Month
        | FunctionId::Rad
        | FunctionId::Round
        | FunctionId::Sgn
        | FunctionId::Sin
        | FunctionId::Sinh
        | FunctionId::Sqrt
        | FunctionId::Tan
        | FunctionId::Tanh
        | FunctionId::Timestamp
        | FunctionId::Year => Some(of_args),
        // One row, or a number.
        FunctionId::Absent
        | FunctionId::AbsentOverTime
        | FunctionId::MaxOf
        | FunctionId::MinOf
        | FunctionId::Pi
        | FunctionId::Scalar
        | FunctionId::Step
        | FunctionId::Time
        | FunctionId::Vector => Some(Order::Fixed),
        // Rows that meet stand where the first of them was.
        FunctionId::HistogramFraction | FunctionId::HistogramQuantile => Some(Order::Found),
        FunctionId::LabelJoin | FunctionId::LabelReplace => {
            let is_name = |arg: &Expr| match &arg.without_parens().kind {
                ExprKind::String(text) => text.value.starts_with("__"),
                _ => true,
            };
            (!is_name(&args[1])).then_some(Order::Found)
        }
        _ => None,
    }
}

fn of_aggregate(aggregate: &Aggregate) -> Option<Order> {
    if let Some(param) = &aggregate.param {
        order(param)?;
    }
    let of_rows = order(&aggregate.expr)?;
    match aggregate.op {
        AggregateOp::Count | AggregateOp::Group => {}
        AggregateOp::Sum
        | AggregateOp::Avg
        | AggregateOp::Min
        | AggregateOp::Max
        | AggregateOp::Stddev
        | AggregateOp::Stdvar
        | AggregateOp::Quantile => {
            // The last bits of a sum, which of equal zeros or NaNs is the least.
            if of_rows == Order::Found {
                return None;
            }
        }
        // Whether equal values decide is noted when rows are in no fixed order.
        AggregateOp::Topk | AggregateOp::Bottomk => return Some(Order::Found),
        AggregateOp::CountValues | AggregateOp::Limitk | AggregateOp::LimitRatio => return None,
    }
    let is_one_group = aggregate.grouping.is_empty() && !aggregate.without;
    Some(if is_one_group {
        Order::Fixed
    } else {
        Order::Found
    })
}

fn fills(binary: &Binary) -> bool {
    let matching = binary.matching.iter();
    { matching }.any(|matching| matching.fill_left.is_some() || matching.fill_right.is_some())
}

fn of_binary(binary: &Binary) -> Option<Order> {
    let (lhs, rhs) = (order(&binary.lhs)?, order(&binary.rhs)?);
    match binary.op {
        BinaryOp::TrimUpper | BinaryOp::TrimLower | BinaryOp::Or => return None,
        _ if fills(binary) => return None,
        BinaryOp::And | BinaryOp::Unless => return Some(lhs),
        _ => {}
    }
    let Some(matching) = &binary.matching else {
        return Some(lhs.max(rhs));
    };
    // With all labels matched each row of the left has its result.
    let is_row_for_row =
        matching.cardinality == Cardinality::OneToOne && !matching.on && matching.labels.is_empty();
    Some(if is_row_for_row { lhs } else { Order::Found })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Features, parser::parse};

    fn expr(text: &str) -> Expr {
        let parsed = parse(text, Features::ALL.parser());
        parsed.unwrap_or_else(|problem| panic!("{text}: {problem}"))
    }

    #[test]
    fn what_looks_beyond_its_step_is_not_steady() {
        for text in [
            "sum by (a) (rate(m[5m]))",
            "sum(m) or vector(0) or (m and n)",
            "histogram_quantile(0.9, sum by (le) (rate(m[step() * 4])))",
            "topk(3, sum by (a) (m)) > 1",
            "max_over_time(sum(m)[1h:5m] offset -1m)",
            "sum(m @ 100) + time()",
            "count(count by (a) (m))",
            "sum by (a) (m / n)",
            "sum(rate(m[5m] smoothed)) + sum(increase(n[5m] anchored))",
            "histogram_avg(sum by (a) (rate(m[5m])))",
            "label_replace(rate(m[1m]), 'a', '$1', 'b', 'd') == bool 0",
        ] {
            assert!(is_steady(&expr(text)), "{text}");
        }
        for text in [
            "m @ start()",
            "m offset (range() / 2)",
            "rate(m[range()])",
            "max_over_time(m[range():1m])",
            "start() + m",
            "range() * m",
            "sort(m)",
            "info(m)",
            "limitk(1, m)",
            "limit_ratio(0.5, m)",
            "count_values('a', m)",
            "{a='b'}",
            "{__name__=~'m|n'}",
            "{__name__!='m',a='b'}",
            "sum(m or n)",
            "-(m or n)",
            "m + on (a) fill_left (0) n",
            "m </ 1",
            "sum(max by (a) (m))",
            "avg(m * on (a) n)",
            "quantile(0.5, max without (a) (m))",
            "stddev(topk(2, m))",
            "sum(histogram_quantile(0.5, m))",
            "label_replace(m, '__name__', 'b', 'c', 'd')",
            "label_join(m, '__type__', '', 'c')",
            "topk(scalar(m @ end()), n)",
        ] {
            assert!(!is_steady(&expr(text)), "{text}");
        }
    }
}
