//! Durations in brackets and after `offset`, computed once a query.

use crate::{
    QueryError,
    functions::go_math,
    parser::{BinaryOp, Duration, DurationKind},
};

use super::Evaluation;

impl Evaluation<'_> {
    /// A range or step in milliseconds, above 0.
    pub(crate) fn range_ms(&self, duration: &Duration) -> Result<i64, QueryError> {
        let range_ms = duration_ms(self, duration)?;
        if range_ms <= 0 {
            return Err(QueryError::BadData(
                "duration must be greater than 0".to_owned(),
            ));
        }
        Ok(range_ms)
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
        return Err(QueryError::BadData("duration is out of range".to_owned()));
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
                    return Err(QueryError::BadData("division by zero".to_owned()));
                }
                BinaryOp::Div => lhs / rhs,
                BinaryOp::Mod if rhs == 0.0 => {
                    return Err(QueryError::BadData("modulo by zero".to_owned()));
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
