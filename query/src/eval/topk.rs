//! Aggregations that pick series instead of adding them up: `topk`, `bottomk`, `limitk`,
//! `limit_ratio`. Their rows keep all labels.

use std::cmp::Ordering;

use crate::{
    FloatStyle, Grid, QueryError, format_float,
    parser::{Aggregate, AggregateOp},
};

use super::{ABSENT, Evaluation, Frame, aggregate::Groups, hash::hash_ratio, internal, is_absent};

/// The largest double below 2^63, and the smallest at or above −2^63.
const INTEGER_MAX: f64 = 9223372036854774784.0;
const INTEGER_MIN: f64 = -9223372036854775808.0;

impl Evaluation<'_> {
    pub(super) fn select_k(
        &mut self,
        aggregate: &Aggregate,
        grid: Grid,
    ) -> Result<Frame, QueryError> {
        let param = aggregate
            .param
            .as_ref()
            .ok_or_else(|| internal("the aggregation has a parameter"))?;
        let params = self.scalar(param, grid)?;
        let mut input = self.vector(&aggregate.expr, grid)?;
        if aggregate.op == AggregateOp::LimitRatio {
            for ratio in &params {
                if ratio.is_nan() {
                    return Err(QueryError::Execution("Ratio value is NaN".to_owned()));
                }
                let capped = ratio.clamp(-1.0, 1.0);
                if capped != *ratio {
                    let print = |value| format_float(value, FloatStyle::General);
                    self.notes.warn(
                        format!(
                            "ratio value should be between -1 and 1, got {}, capping to {}",
                            print(*ratio),
                            print(capped)
                        ),
                        param.span,
                    );
                }
            }
        } else {
            check_counts(&params)?;
        }
        if input.len() == 0 {
            return Ok(input);
        }
        let members = Groups::new(aggregate).members(&input);
        let steps = grid.steps();
        let mut order = Vec::new();
        let mut picked: Vec<(f64, usize)> = Vec::new();
        for rows in &members {
            self.check()?;
            for (step, param) in params.iter().enumerate() {
                picked.clear();
                picked.extend(
                    rows.iter()
                        .map(|row| (input.row(*row)[step], *row))
                        .filter(|(cell, _)| !is_absent(*cell)),
                );
                pick(aggregate.op, *param, &input, &mut picked);
                for row in rows {
                    if !picked.iter().any(|(_, kept)| kept == row) {
                        input.row_mut(*row)[step] = ABSENT;
                    }
                }
            }
            // The order of an instant query's answer is that of the values.
            if steps == 1 {
                order.extend(picked.iter().map(|(_, row)| *row));
            }
        }
        if steps == 1 {
            return Ok(input.reordered(&order));
        }
        Ok(input.drop_empty_rows())
    }
}

fn check_counts(params: &[f64]) -> Result<(), QueryError> {
    let fails = |text: String| Err(QueryError::Execution(text));
    for count in params {
        if count.is_nan() {
            return fails("Parameter value is NaN".to_owned());
        }
        if *count > INTEGER_MAX {
            let count = format_float(*count, FloatStyle::General);
            return fails(format!("Scalar value {count} overflows int64"));
        }
        if *count < INTEGER_MIN {
            let count = format_float(*count, FloatStyle::General);
            return fails(format!("Scalar value {count} underflows int64"));
        }
    }
    Ok(())
}

/// Keeps the chosen of one group at one step, in the order of the answer.
fn pick(op: AggregateOp, param: f64, input: &Frame, candidates: &mut Vec<(f64, usize)>) {
    match op {
        AggregateOp::LimitRatio => {
            let ratio = param.clamp(-1.0, 1.0);
            candidates.retain(|(_, row)| {
                let place = hash_ratio(&input.heads[*row].labels);
                if ratio >= 0.0 {
                    place < ratio
                } else {
                    place >= 1.0 + ratio
                }
            });
        }
        AggregateOp::Topk => {
            candidates.sort_by(|a, b| nan_last(a.0, b.0, |a, b| b.total_cmp(&a)));
            candidates.truncate(param.max(0.0) as usize);
        }
        AggregateOp::Bottomk => {
            candidates.sort_by(|a, b| nan_last(a.0, b.0, |a, b| a.total_cmp(&b)));
            candidates.truncate(param.max(0.0) as usize);
        }
        _ => candidates.truncate(param.max(0.0) as usize),
    }
}

/// Orders NaN behind everything; zeros of both signs are equal.
fn nan_last(a: f64, b: f64, order: fn(f64, f64) -> Ordering) -> Ordering {
    a.is_nan().cmp(&b.is_nan()).then_with(|| {
        if a == b || a.is_nan() {
            Ordering::Equal
        } else {
            order(a, b)
        }
    })
}
