//! Aggregations that pick series instead of adding them up: `topk`, `bottomk`, `limitk`,
//! `limit_ratio`. Their rows keep all labels.

use crate::{
    FloatStyle, Grid, QueryError,
    annotations::Remark,
    format_float,
    functions::go_sort,
    parser::{Aggregate, AggregateOp, Span},
};

use super::{
    Evaluation, Frame,
    aggregate::{Groups, greatest, least},
    hash::hash_ratio,
    internal, is_absent,
    steady::{Order, order},
};

/// The largest double below 2^63, and the smallest at or above −2^63.
const INTEGER_MAX: f64 = 9223372036854774784.0;
const INTEGER_MIN: f64 = -9223372036854775808.0;

impl Evaluation<'_> {
    pub(super) fn select_k(
        &mut self,
        aggregate: &Aggregate,
        whole: Span,
        grid: Grid,
    ) -> Result<Frame, QueryError> {
        let param = aggregate
            .param
            .as_ref()
            .ok_or_else(|| internal("the aggregation has a parameter"))?;
        let params = self.scalar(param, grid)?;
        let mut input = self.vector(&aggregate.expr, grid)?;
        if aggregate.op == AggregateOp::LimitRatio {
            if params.iter().any(|ratio| ratio.is_nan()) {
                return Err(QueryError::Execution("Ratio value is NaN".to_owned()));
            }
            self.check_ratios(&params, param.without_parens().span);
        } else {
            check_counts(&params)?;
        }
        if let Some(name) = ranking_name(aggregate.op) {
            // They have no rank, which is said where something is ranked.
            let ranks = |step: usize| params[step] >= 1.0;
            if input.has_histograms_where(ranks) {
                self.notes
                    .say(Remark::IgnoredInAggregation(name).say(), whole);
            }
            input.drop_histograms();
        }
        if input.len() == 0 {
            return Ok(input);
        }
        let mut members = Groups::new(aggregate).members(&input);
        for rows in &mut members {
            rows.sort_by_key(|row| input.heads[*row].place);
        }
        members.sort_by_key(|rows| input.heads[rows[0]].place);
        let steps = grid.steps();
        let mut ranking = Vec::new();
        let mut picked: Vec<Candidate> = Vec::new();
        let mut kept = vec![false; input.len()];
        let is_found = order(&aggregate.expr) != Some(Order::Fixed);
        for rows in &members {
            self.check()?;
            for (step, param) in params.iter().enumerate() {
                pick(aggregate.op, *param, &input, rows, step, &mut picked);
                for candidate in &picked {
                    kept[candidate.row] = true;
                }
                if is_found && order_decides(&input, rows, step, &picked, &kept) {
                    self.depends_on_grid.set(true);
                }
                for row in rows {
                    if !std::mem::take(&mut kept[*row]) {
                        input.remove(*row, step);
                    }
                }
            }
            // The order of an instant query's answer is that of the values.
            if steps == 1 {
                ranking.extend(picked.iter().map(|candidate| candidate.row));
            }
        }
        if steps == 1 {
            return Ok(input.reordered(&ranking));
        }
        Ok(input.drop_empty_rows())
    }

    /// Warns of the greatest ratio above 1 and of the least below -1.
    fn check_ratios(&mut self, ratios: &[f64], span: Span) {
        let (greatest, least) = (greatest(ratios), least(ratios));
        for (ratio, capped, is_wrong) in
            [(greatest, 1.0, greatest > 1.0), (least, -1.0, least < -1.0)]
        {
            if is_wrong {
                let print = |value| format_float(value, FloatStyle::General);
                self.notes.warn(
                    format!(
                        "ratio value should be between -1 and 1, got {}, capping to {}",
                        print(ratio),
                        print(capped)
                    ),
                    span,
                );
            }
        }
    }
}

/// The name of an aggregation that ranks numbers.
fn ranking_name(op: AggregateOp) -> Option<&'static str> {
    match op {
        AggregateOp::Topk => Some("topk"),
        AggregateOp::Bottomk => Some("bottomk"),
        _ => None,
    }
}

fn check_counts(params: &[f64]) -> Result<(), QueryError> {
    let (least, greatest) = (least(params), greatest(params));
    let print = |count| format_float(count, FloatStyle::General);
    let error = if params.iter().any(|count| count.is_nan()) {
        "Parameter value is NaN".to_owned()
    } else if greatest < 1.0 {
        return Ok(());
    } else if least <= INTEGER_MIN {
        format!("Scalar value {} underflows int64", print(least))
    } else if greatest >= INTEGER_MAX {
        format!("Scalar value {} overflows int64", print(greatest))
    } else {
        return Ok(());
    };
    Err(QueryError::Execution(error))
}

/// A row that is chosen, with its value at the step.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    value: f64,
    row: usize,
}

/// Puts the chosen of one group at one step into `picked`, in the order of the answer.
fn pick(
    op: AggregateOp,
    param: f64,
    input: &Frame,
    rows: &[usize],
    step: usize,
    picked: &mut Vec<Candidate>,
) {
    picked.clear();
    let candidates = rows.iter().filter_map(|row| {
        let cells = input.row(*row);
        let value = match cells.histogram(step) {
            // As in Prometheus's heap.
            Some(_) => 0.0,
            None => Some(cells.floats[step]).filter(|value| !is_absent(*value))?,
        };
        Some(Candidate { value, row: *row })
    });
    let count = param.max(0.0) as usize;
    match op {
        AggregateOp::LimitRatio => {
            let ratio = param.clamp(-1.0, 1.0);
            let taken = candidates.filter(|candidate| {
                let place = hash_ratio(&input.heads[candidate.row].labels);
                if ratio >= 0.0 {
                    place < ratio
                } else {
                    place >= 1.0 + ratio
                }
            });
            heaped(taken, picked);
        }
        AggregateOp::Topk => best(candidates, count, |a, b| a < b, picked),
        AggregateOp::Bottomk => best(candidates, count, |a, b| a > b, picked),
        _ => heaped(candidates.take(count), picked),
    }
}

/// Whether in another order of rows others might have been picked of a group at a step: what was `kept` of it has a
/// least value that a row has which was not, or something is NaN.
fn order_decides(
    input: &Frame,
    rows: &[usize],
    step: usize,
    picked: &[Candidate],
    kept: &[bool],
) -> bool {
    let Some(last) = picked.last() else {
        return false;
    };
    let mut left_out = rows.iter().filter(|row| !kept[**row]);
    left_out.any(|row| {
        let value = input.row(*row).floats[step];
        !is_absent(value) && (value == last.value || value.is_nan() || last.value.is_nan())
    })
}

/// Puts candidates on a heap of which the least value, or NaN, is the top.
///
/// **Source**: the order in which Prometheus answers what `limitk` and `limit_ratio` pick is that of such a heap.
fn heaped(candidates: impl Iterator<Item = Candidate>, heap: &mut Vec<Candidate>) {
    for candidate in candidates {
        push(heap, candidate, |a, b| a.is_nan() || a < b);
    }
}

/// Adds a candidate to a heap.
fn push(heap: &mut Vec<Candidate>, candidate: Candidate, before: impl Fn(f64, f64) -> bool) {
    heap.push(candidate);
    let mut child = heap.len() - 1;
    while child > 0 {
        let parent = (child - 1) / 2;
        if !before(heap[child].value, heap[parent].value) {
            break;
        }
        heap.swap(child, parent);
        child = parent;
    }
}

/// The `count` best candidates, best first; NaN is the worst.
///
/// Among equal values the heap's shape decides, which depends on the order of arrival.
///
/// **Source**: which of equal values Prometheus keeps: the worst is at the top of a binary heap and
/// gives way only to what is better, not to what is equal.
fn best(
    candidates: impl Iterator<Item = Candidate>,
    count: usize,
    is_worse: fn(f64, f64) -> bool,
    heap: &mut Vec<Candidate>,
) {
    if count == 0 {
        return;
    }
    let before = |a: f64, b: f64| a.is_nan() || is_worse(a, b);
    for candidate in candidates {
        if heap.len() < count {
            push(heap, candidate, before);
            continue;
        }
        let worst = heap[0].value;
        let gives_way = if worst.is_nan() {
            !candidate.value.is_nan()
        } else {
            is_worse(worst, candidate.value)
        };
        if !gives_way {
            continue;
        }
        heap[0] = candidate;
        let mut parent = 0;
        loop {
            let (left, right) = (2 * parent + 1, 2 * parent + 2);
            if left >= heap.len() {
                break;
            }
            let child = if right < heap.len() && before(heap[right].value, heap[left].value) {
                right
            } else {
                left
            };
            if !before(heap[child].value, heap[parent].value) {
                break;
            }
            heap.swap(child, parent);
            parent = child;
        }
    }
    go_sort(heap, |a, b| before(b.value, a.value));
}
