//! `label_replace`, `label_join`, and the labels of `absent`.

use narthex_storage::{Labels, LabelsBuilder, METRIC_NAME, MatchOp, Matcher, Regex};

use crate::{
    Grid, QueryError,
    eval::{Evaluation, Frame},
    parser::{Expr, ExprKind},
};

/// `label_replace(v, destination, replacement, source, regex)`
pub(crate) fn replace(
    evaluation: &mut Evaluation<'_>,
    args: &[Expr],
    grid: Grid,
) -> Result<Frame, QueryError> {
    let mut texts = Vec::with_capacity(4);
    for arg in &args[1..] {
        texts.push(evaluation.text(arg, grid)?);
    }
    let [destination, replacement, source, pattern] = &texts[..] else {
        return Err(crate::eval::internal("label_replace takes four texts"));
    };
    let regex = Regex::enclosed(pattern).map_err(|_| {
        QueryError::Execution(format!(
            "invalid regular expression in label_replace(): {pattern}"
        ))
    })?;
    check_name(
        &args[1],
        destination,
        "destination label name in label_replace()",
    )?;
    let mut frame = evaluation.vector(&args[0], grid)?;
    for head in &mut frame.heads {
        let value = head.labels.get(source).unwrap_or_default();
        if let Some(value) = regex.expand(value, replacement) {
            head.labels = with_label(&head.labels, destination, &value);
            if destination == METRIC_NAME {
                head.drop_name = false;
            }
        }
    }
    frame.merge_same_labels()
}

/// `label_join(v, destination, separator, source…)`
pub(crate) fn join(
    evaluation: &mut Evaluation<'_>,
    args: &[Expr],
    grid: Grid,
) -> Result<Frame, QueryError> {
    let mut texts = Vec::with_capacity(args.len());
    for arg in &args[1..] {
        texts.push(evaluation.text(arg, grid)?);
    }
    let [destination, separator, sources @ ..] = &texts[..] else {
        return Err(crate::eval::internal("label_join takes at least two texts"));
    };
    for (arg, source) in args[3..].iter().zip(sources) {
        check_name(arg, source, "source label name in label_join()")?;
    }
    check_name(
        &args[1],
        destination,
        "destination label name in label_join()",
    )?;
    let mut frame = evaluation.vector(&args[0], grid)?;
    for head in &mut frame.heads {
        let values: Vec<&str> = sources
            .iter()
            .map(|source| head.labels.get(source).unwrap_or_default())
            .collect();
        head.labels = with_label(&head.labels, destination, &values.join(separator));
        if destination == METRIC_NAME {
            head.drop_name = false;
        }
    }
    frame.merge_same_labels()
}

fn with_label(labels: &Labels, name: &str, value: &str) -> Labels {
    let mut builder = labels.to_builder();
    builder.set(name, value);
    builder.build()
}

fn check_name(arg: &Expr, name: &str, what: &str) -> Result<(), QueryError> {
    if arg.is_label_name() {
        return Ok(());
    }
    Err(QueryError::Execution(format!("invalid {what}: {name}")))
}

/// The labels that `absent` can tell from its argument: those that the selector demands once.
///
/// **Source**: Prometheus's store brings the selector's matchers into another order when it looks for series, before
/// `absent` reads them: those that only leave out values come behind the others.
pub(crate) fn of_absent(expr: &Expr) -> Labels {
    let (ExprKind::VectorSelector(selector) | ExprKind::MatrixSelector { selector, .. }) =
        &expr.without_parens().kind
    else {
        return Labels::empty();
    };
    let mut builder = LabelsBuilder::default();
    let mut seen: Vec<&str> = Vec::new();
    let named = { selector.matchers.iter() }.filter(|matcher| matcher.name() != METRIC_NAME);
    let (last, first): (Vec<&Matcher>, Vec<&Matcher>) =
        named.partition(|matcher| leaves_out(matcher));
    for matcher in first.into_iter().chain(last) {
        if matcher.op() == MatchOp::Equal && !seen.contains(&matcher.name()) {
            builder.set(matcher.name(), matcher.value());
            seen.push(matcher.name());
        } else {
            builder.remove(matcher.name());
        }
    }
    builder.build()
}

/// Whether a matcher is negative and passes series without the label.
fn leaves_out(matcher: &Matcher) -> bool {
    let is_negative = matches!(matcher.op(), MatchOp::NotEqual | MatchOp::NotRegex);
    is_negative && matcher.matches("")
}
