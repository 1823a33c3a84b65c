//! Durations in brackets and after `offset`, computed once a query.

use crate::{
    QueryError,
    functions::go_math,
    parser::{BinaryOp, Duration, DurationKind},
};

use super::Evaluation;

impl Evaluation<'_> {
    /// A range or step in milliseconds, which is 0 for what is shorter than one.
    pub(crate) fn range_ms(&self, duration: &Duration) -> Result<i64, QueryError> {
        if seconds(self, duration)? <= 0.0 {
            return Err(refused(duration, "duration must be greater than 0"));
        }
        duration_ms(self, duration)
    }
}

/// An error with the place of a duration, as Prometheus tells it: offsets in the query, without parentheses
/// around it.
fn refused(duration: &Duration, message: &str) -> QueryError {
    let (start, end) = (bare_start(duration), bare_end(duration));
    QueryError::BadData(format!("{start}:{end}: {message}"))
}

fn bare_start(duration: &Duration) -> u32 {
    match &duration.kind {
        DurationKind::Paren(inner) => bare_start(inner),
        DurationKind::Binary { lhs, .. } => bare_start(lhs),
        _ => duration.span.start,
    }
}

fn bare_end(duration: &Duration) -> u32 {
    match &duration.kind {
        DurationKind::Paren(inner) | DurationKind::Unary { operand: inner, .. } => bare_end(inner),
        DurationKind::Binary { rhs, .. } => bare_end(rhs),
        _ => duration.span.end,
    }
}

/// A duration in milliseconds, of either sign.
///
/// # Errors
/// [`QueryError::BadData`] for a division by zero or a value beyond the range of a duration.
pub(crate) fn duration_ms(
    evaluation: &Evaluation<'_>,
    duration: &Duration,
) -> Result<i64, QueryError> {
    let seconds = seconds(evaluation, duration)?;
    // Prometheus keeps nanoseconds in 64 bits.
    if seconds.is_nan() || seconds.abs() > i64::MAX as f64 / 1e9 {
        return Err(refused(duration, "duration is out of range"));
    }
    let milliseconds = seconds * 1000.0;
    Ok(match &duration.kind {
        DurationKind::Literal { .. } => milliseconds.round() as i64,
        _ => milliseconds as i64,
    })
}

fn seconds(evaluation: &Evaluation<'_>, duration: &Duration) -> Result<f64, QueryError> {
    Ok(match &duration.kind {
        DurationKind::Literal { seconds, .. } => *seconds,
        DurationKind::Step => evaluation.step_ms as f64 / 1000.0,
        DurationKind::Range => (evaluation.grid.end - evaluation.grid.start) as f64 / 1000.0,
        DurationKind::Unary { negative, operand } => {
            let value = seconds(evaluation, operand)?;
            if *negative { -value } else { value }
        }
        DurationKind::Binary { op, lhs, rhs } => {
            let lhs = seconds(evaluation, lhs)?;
            let rhs = seconds(evaluation, rhs)?;
            match op {
                BinaryOp::Add => lhs + rhs,
                BinaryOp::Sub => lhs - rhs,
                BinaryOp::Mul => lhs * rhs,
                BinaryOp::Div if rhs == 0.0 => {
                    return Err(refused(duration, "division by zero"));
                }
                BinaryOp::Div => lhs / rhs,
                BinaryOp::Mod if rhs == 0.0 => {
                    return Err(refused(duration, "modulo by zero"));
                }
                BinaryOp::Mod => lhs % rhs,
                BinaryOp::Pow => go_math::pow(lhs, rhs),
                _ => {
                    return Err(QueryError::BadData(format!(
                        "unexpected duration expression operator \"{}\"",
                        op.as_str()
                    )));
                }
            }
        }
        DurationKind::MinOf(a, b) => seconds(evaluation, a)?.min(seconds(evaluation, b)?),
        DurationKind::MaxOf(a, b) => seconds(evaluation, a)?.max(seconds(evaluation, b)?),
        DurationKind::Paren(inner) => seconds(evaluation, inner)?,
    })
}
