//! A binary operator on two samples, at least one of which is a native histogram.
//!
//! **Source**: what Prometheus combines: histograms add up and subtract, are scaled by numbers, compare for
//! equality and are trimmed at a number. All else is dropped and an info tells why.

use std::sync::Arc;

use crate::{
    FloatHistogram,
    annotations::{Operation, Remark},
    histogram::{Addition, IncompatibleSchema, Keep},
    parser::BinaryOp,
};

/// An operand.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operand<'o> {
    Float(f64),
    Histogram(&'o Arc<FloatHistogram>),
}

/// What comes of an operation.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    /// A histogram.
    Histogram(Arc<FloatHistogram>),
    /// Whether a comparison holds; the value is the left operand.
    Compared(bool),
    /// The operator does not combine the two.
    Refused,
}

/// Combines the two; what is to be said takes the place of what was said before.
pub(super) fn combine(
    op: BinaryOp,
    left: Operand<'_>,
    right: Operand<'_>,
    remark: &mut Option<Remark<'static>>,
) -> Outcome {
    use Operand::{Float, Histogram};
    match (left, op, right) {
        (Histogram(histogram), BinaryOp::Mul, Float(factor))
        | (Float(factor), BinaryOp::Mul, Histogram(histogram)) => {
            new((**histogram).clone().scaled(factor).compact())
        }
        (Histogram(histogram), BinaryOp::Div, Float(divisor)) => {
            new((**histogram).clone().divided(divisor).compact())
        }
        (Histogram(histogram), BinaryOp::TrimUpper, Float(cut)) => {
            new(histogram.trimmed(cut, Keep::Below))
        }
        (Histogram(histogram), BinaryOp::TrimLower, Float(cut)) => {
            new(histogram.trimmed(cut, Keep::Above))
        }
        (Histogram(left), BinaryOp::Add, Histogram(right)) => {
            let mut sum = (**left).clone();
            let done = sum.add(right);
            added(sum, done, (op, Operation::Addition), remark)
        }
        (Histogram(left), BinaryOp::Sub, Histogram(right)) => {
            let mut difference = (**left).clone();
            let done = difference.subtract(right);
            difference.reset_hint = narthex_storage::ResetHint::Gauge;
            added(difference, done, (op, Operation::Subtraction), remark)
        }
        (Histogram(left), BinaryOp::Equal, Histogram(right)) => {
            Outcome::Compared(left.is_same_as(right))
        }
        (Histogram(left), BinaryOp::NotEqual, Histogram(right)) => {
            Outcome::Compared(!left.is_same_as(right))
        }
        _ => {
            let kind = |operand: Operand<'_>| match operand {
                Float(_) => "float",
                Histogram(_) => "histogram",
            };
            *remark = Some(Remark::IncompatibleKinds(
                kind(left),
                op.as_str(),
                kind(right),
            ));
            Outcome::Refused
        }
    }
}

fn new(histogram: FloatHistogram) -> Outcome {
    Outcome::Histogram(Arc::new(histogram))
}

fn added(
    result: FloatHistogram,
    done: Result<Addition, IncompatibleSchema>,
    (op, operation): (BinaryOp, Operation),
    remark: &mut Option<Remark<'static>>,
) -> Outcome {
    match done {
        Err(IncompatibleSchema) => {
            *remark = Some(Remark::IncompatibleLayout(op.as_str()));
            Outcome::Refused
        }
        // The warning takes the place of the result.
        Ok(addition) if addition.resets_collide => {
            *remark = Some(Remark::ResetsCollide(operation));
            Outcome::Refused
        }
        Ok(addition) => {
            if addition.bounds_reconciled {
                *remark = Some(Remark::BoundsReconciled(operation));
            }
            new(result.compact())
        }
    }
}
