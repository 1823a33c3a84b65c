//! Sub-expressions that stand in a query several times, as in `(a - b) / a`: they are evaluated once.
//!
//! Two are the same when they are printed alike. For the others is counted what was counted for the first: samples
//! looked at and held are those of all, as in Prometheus, which evaluates all. What something may have been said about
//! is evaluated at each place, for it is said about the place.

use std::{collections::HashMap, ptr};

use super::{Evaluation, Node, is_range_function, ledger::Counted};
use crate::{
    Grid, QueryError,
    parser::{Expr, ExprKind, ValueType},
};

/// In longer queries nothing is looked for, in bytes.
const TEXT_MAX: usize = 4 << 10;

/// The sub-expressions of a query that stand in it several times, and their values once they are known.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Which one stands at a place of the tree, by its address.
    places: HashMap<usize, usize, foldhash::fast::RandomState>,
    /// By number.
    known: Vec<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// At how many places it stands.
    count: usize,
    /// At how many of them it was not evaluated.
    left: usize,
    value: Option<Value>,
}

/// A value, under what it was evaluated, and what was counted.
#[derive(Debug)]
struct Value {
    grid: Grid,
    finds_resets: bool,
    node: Node,
    counted: Counted,
}

impl Shared {
    /// Looks through a query, of which this is the text.
    pub(super) fn of(query: &Expr, text: &str) -> Self {
        let mut shared = Self::default();
        if text.len() <= TEXT_MAX && selectors(query) > 1 {
            shared.visit(query, &mut HashMap::new());
            let known = &shared.known;
            shared.places.retain(|_, place| known[*place].count > 1);
        }
        shared
    }

    /// Numbers an expression with a selector, and what is in it when it is the first of its kind.
    fn visit(&mut self, expr: &Expr, numbers: &mut HashMap<String, usize>) {
        let expr = expr.without_parens();
        if selectors(expr) == 0 {
            return;
        }
        if expr.value_type() != ValueType::Matrix {
            let new = self.known.len();
            let number = *numbers.entry(expr.to_string()).or_insert(new);
            if number == new {
                self.known.push(Known::default());
            }
            self.known[number].count += 1;
            self.places.insert(ptr::from_ref(expr).addr(), number);
            if number < new {
                return;
            }
        }
        match &expr.kind {
            // Its operand may be one that is never held whole.
            ExprKind::Aggregate(aggregate) if is_streamed(&aggregate.expr) => {
                let inner = aggregate.expr.without_parens();
                operands(inner).for_each(|operand| self.visit(operand, numbers));
            }
            _ => operands(expr).for_each(|operand| self.visit(operand, numbers)),
        }
    }

    /// Which one stands here.
    #[inline]
    pub(super) fn place(&self, expr: &Expr) -> Option<usize> {
        self.places.get(&ptr::from_ref(expr).addr()).copied()
    }

    /// The same sub-expressions, for another evaluation of the query.
    pub(super) fn without_values(&self) -> Self {
        let known = self.known.iter().map(|known| Known {
            count: known.count,
            left: known.count,
            value: None,
        });
        Self {
            places: self.places.clone(),
            known: known.collect(),
        }
    }

    /// Forgets all values: the query is evaluated anew.
    pub(super) fn forget(&mut self) {
        for known in &mut self.known {
            known.left = known.count;
            known.value = None;
        }
    }
}

impl Evaluation<'_> {
    /// The value of what stands at several places, of which this is one.
    #[inline(never)]
    pub(super) fn eval_shared(
        &mut self,
        number: usize,
        expr: &Expr,
        grid: Grid,
    ) -> Result<Node, QueryError> {
        let known = &mut self.shared.known[number];
        known.left = known.left.saturating_sub(1);
        let is_last = known.left == 0;
        let value = known.value.take();
        let finds_resets = self.finds_resets;
        let is_same = |value: &Value| (value.grid, value.finds_resets) == (grid, finds_resets);
        let value = match value.filter(is_same) {
            Some(value) if self.can_count(&value.counted) => {
                self.count_again(&value.counted);
                value
            }
            _ if is_last => return self.eval_fresh(expr, grid),
            _ => {
                let (node, counted) =
                    self.counting(|evaluation| evaluation.eval_fresh(expr, grid))?;
                if !self.notes.is_empty() {
                    return Ok(node);
                }
                Value {
                    grid,
                    finds_resets,
                    node,
                    counted,
                }
            }
        };
        if is_last {
            return Ok(value.node);
        }
        self.charge(value.node.cost_cells())?;
        let node = value.node.clone();
        self.shared.known[number].value = Some(value);
        Ok(node)
    }
}

/// How many selectors an expression has.
fn selectors(expr: &Expr) -> usize {
    let is_selector = matches!(
        expr.kind,
        ExprKind::VectorSelector(_) | ExprKind::MatrixSelector { .. }
    );
    usize::from(is_selector) + operands(expr).map(selectors).sum::<usize>()
}

/// Whether an aggregation takes its rows one by one.
fn is_streamed(expr: &Expr) -> bool {
    match &expr.without_parens().kind {
        ExprKind::VectorSelector(_) => true,
        ExprKind::Call { function, .. } => is_range_function(function.id),
        _ => false,
    }
}

/// What an expression is computed from.
fn operands(expr: &Expr) -> impl Iterator<Item = &Expr> {
    let (args, pair): (&[Expr], [Option<&Expr>; 2]) = match &expr.kind {
        ExprKind::Call { args, .. } => (args, [None; 2]),
        ExprKind::Aggregate(aggregate) => (&[], [aggregate.param.as_ref(), Some(&aggregate.expr)]),
        ExprKind::Binary(binary) => (&[], [Some(&binary.lhs), Some(&binary.rhs)]),
        ExprKind::Subquery(subquery) => (&[], [Some(&subquery.expr), None]),
        ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => (&[], [Some(expr), None]),
        ExprKind::Number { .. }
        | ExprKind::String(_)
        | ExprKind::VectorSelector(_)
        | ExprKind::MatrixSelector { .. } => (&[], [None; 2]),
    };
    args.iter().chain(pair.into_iter().flatten())
}
