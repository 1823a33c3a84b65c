//! The type rules of PromQL, checked bottom-up in one pass.
//!
//! The order of the checks is Prometheus's, for only the first error is reported.

use super::{
    Aggregate, Binary, Cardinality, Expr, ExprKind, ParseError, Span, ValueType, VectorSelector,
    quote::quote,
};
use crate::functions::{Function, FunctionId};

/// Checks a tree and finishes its vector matchings: `None` unless both operands are vectors,
/// many-to-many for set operators.
pub(super) struct Checker<'a> {
    pub(super) text: &'a str,
}

impl Checker<'_> {
    fn error<T>(&self, span: Span, message: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError::new(self.text, span, message))
    }

    /// Checks `expr` and all below it.
    pub(super) fn check(&self, expr: &mut Expr) -> Result<ValueType, ParseError> {
        let span = expr.span;
        match &mut expr.kind {
            ExprKind::Number { .. } => Ok(ValueType::Scalar),
            ExprKind::String(_) => Ok(ValueType::String),
            ExprKind::VectorSelector(selector) => {
                self.selector(selector)?;
                Ok(ValueType::Vector)
            }
            ExprKind::MatrixSelector { selector, .. } => {
                self.selector(selector)?;
                Ok(ValueType::Matrix)
            }
            ExprKind::Subquery(subquery) => match self.check(&mut subquery.expr)? {
                ValueType::Vector => Ok(ValueType::Matrix),
                other => self.error(
                    span,
                    format!(
                        "subquery is only allowed on instant vector, got {} instead",
                        plain_name(other)
                    ),
                ),
            },
            ExprKind::Call { function, args } => self.call(span, function, args),
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate),
            ExprKind::Unary { expr, .. } => match self.check(expr)? {
                found @ (ValueType::Scalar | ValueType::Vector) => Ok(found),
                other => self.error(
                    span,
                    format!(
                        "unary expression only allowed on expressions of type scalar or instant \
                         vector, got {}",
                        quote(other.as_str())
                    ),
                ),
            },
            ExprKind::Binary(binary) => self.binary(span, binary),
            ExprKind::Paren(expr) => self.check(expr),
        }
    }

    fn expect(
        &self,
        expr: &mut Expr,
        wanted: ValueType,
        place: impl Fn() -> String,
    ) -> Result<(), ParseError> {
        let found = self.check(expr)?;
        if found == wanted {
            return Ok(());
        }
        self.error(
            expr.span,
            format!(
                "expected type {} in {}, got {}",
                wanted.as_str(),
                place(),
                found.as_str()
            ),
        )
    }

    #[inline(never)]
    fn selector(&self, selector: &VectorSelector) -> Result<(), ParseError> {
        if let Some(name) = &selector.name {
            let others = selector
                .matchers
                .split_last()
                .map_or(&[][..], |(_, rest)| rest);
            return match others
                .iter()
                .find(|matcher| matcher.name() == narthex_storage::METRIC_NAME)
            {
                Some(other) => self.error(
                    selector.span,
                    format!(
                        "metric name must not be set twice: {} or {}",
                        quote(name),
                        quote(other.value())
                    ),
                ),
                None => Ok(()),
            };
        }
        if selector.matchers.iter().all(|matcher| matcher.matches("")) {
            return self.error(
                selector.span,
                "vector selector must contain at least one non-empty matcher",
            );
        }
        Ok(())
    }

    #[inline(never)]
    fn aggregate(&self, aggregate: &mut Aggregate) -> Result<ValueType, ParseError> {
        self.expect(&mut aggregate.expr, ValueType::Vector, || {
            "aggregation expression".to_owned()
        })?;
        if let (Some(wanted), Some(param)) = (aggregate.op.param(), &mut aggregate.param) {
            self.expect(param, wanted, || "aggregation parameter".to_owned())?;
        }
        Ok(ValueType::Vector)
    }

    #[inline(never)]
    fn call(
        &self,
        span: Span,
        function: &Function,
        args: &mut [Expr],
    ) -> Result<ValueType, ParseError> {
        self.arity(span, function, args.len())?;
        let place = || format!("call to function {}", quote(function.name));
        for (index, arg) in args.iter_mut().enumerate() {
            let wanted = function.args[index.min(function.args.len() - 1)];
            if function.id == FunctionId::Info && index == 1 {
                self.info_selector(arg)?;
            } else {
                self.expect(arg, wanted, place)?;
            }
        }
        Ok(function.returns)
    }

    fn arity(&self, span: Span, function: &Function, got: usize) -> Result<(), ParseError> {
        let declared = function.args.len();
        let (relation, count) = if function.variadic == 0 {
            if got == declared {
                return Ok(());
            }
            ("", declared)
        } else {
            let least = declared - 1;
            let most = usize::try_from(function.variadic).map_or(usize::MAX, |more| least + more);
            if got < least {
                ("at least ", least)
            } else if got > most {
                ("at most ", most)
            } else {
                return Ok(());
            }
        };
        self.error(
            span,
            format!(
                "expected {relation}{count} argument(s) in call to {}, got {got}",
                quote(function.name)
            ),
        )
    }

    /// The second argument of `info`: matchers alone, which may all be empty.
    fn info_selector(&self, arg: &Expr) -> Result<(), ParseError> {
        match &arg.kind {
            // An offset would change nothing and is accepted, as Prometheus does.
            ExprKind::VectorSelector(selector)
                if selector.name.is_none() && selector.modifiers.at.is_none() =>
            {
                Ok(())
            }
            ExprKind::VectorSelector(selector) if selector.name.is_some() => self.error(
                arg.span,
                "expected label selectors only, got vector selector instead",
            ),
            _ => self.error(arg.span, "expected label selectors only"),
        }
    }

    #[inline(never)]
    fn binary(&self, span: Span, binary: &mut Binary) -> Result<ValueType, ParseError> {
        let lhs = self.check(&mut binary.lhs)?;
        let rhs = self.check(&mut binary.rhs)?;
        let op = binary.op;
        if binary.return_bool && !op.is_comparison() {
            return self.error(
                self.operator_span(binary),
                "bool modifier can only be used on comparison operators",
            );
        }
        let both = |wanted| lhs == wanted && rhs == wanted;
        if op.is_comparison() && !binary.return_bool && both(ValueType::Scalar) {
            return self.error(
                self.operator_span(binary),
                "comparisons between scalars must use BOOL modifier",
            );
        }
        if let Some(matching) = &mut binary.matching {
            if op.is_set() && matching.cardinality == Cardinality::OneToOne {
                matching.cardinality = Cardinality::ManyToMany;
            }
            if matching.on
                && let Some(label) = matching
                    .labels
                    .iter()
                    .find(|label| matching.include.contains(label))
            {
                let message = format!(
                    "label {} must not occur in ON and GROUP clause at once",
                    quote(label)
                );
                return self.error(self.operator_span(binary), message);
            }
        }
        for (found, operand) in [(lhs, &binary.lhs), (rhs, &binary.rhs)] {
            if !matches!(found, ValueType::Scalar | ValueType::Vector) {
                return self.error(
                    operand.span,
                    "binary expression must contain only scalar and instant vector types",
                );
            }
        }
        if let Some(matching) = &binary.matching {
            let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
            if !both(ValueType::Vector) {
                if !matching.labels.is_empty() {
                    let message = "vector matching only allowed between instant vectors";
                    return self.error(span, message);
                }
                if fills {
                    let message = "filling in missing series only allowed between instant vectors";
                    return self.error(span, message);
                }
                binary.matching = None;
            } else if op.is_set() && matching.cardinality != Cardinality::ManyToMany {
                let message = format!("no grouping allowed for {} operation", quote(op.as_str()));
                return self.error(span, message);
            } else if op.is_set() && fills {
                let message = "filling in missing series not allowed for set operators";
                return self.error(span, message);
            }
        }
        if op.is_set() && !both(ValueType::Vector) {
            let message = format!(
                "set operator {} not allowed in binary scalar expression",
                quote(op.as_str())
            );
            return self.error(span, message);
        }
        Ok(if both(ValueType::Scalar) {
            ValueType::Scalar
        } else {
            ValueType::Vector
        })
    }

    /// Where the operator stands, without the space around it.
    fn operator_span(&self, binary: &Binary) -> Span {
        let between = self
            .text
            .get(binary.lhs.span.end as usize..binary.rhs.span.start as usize)
            .unwrap_or_default();
        let trimmed = between.trim_start();
        let start = binary.lhs.span.end + (between.len() - trimmed.len()) as u32;
        Span {
            start,
            end: start + trimmed.trim_end().len() as u32,
        }
    }
}

/// The type as Go code names it; "matrix", not "range vector".
fn plain_name(found: ValueType) -> &'static str {
    match found {
        ValueType::Matrix => "matrix",
        ValueType::Vector => "vector",
        other => other.as_str(),
    }
}
