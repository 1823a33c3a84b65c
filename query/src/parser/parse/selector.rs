//! Selectors and what stands behind them: label matchers, ranges, subqueries, `offset`, `@`, `anchored` and
//! `smoothed`.

use narthex_storage::{MatchOp, Matcher};

use super::{Expected, Parser, Tall, duration::TallDuration};
use crate::{
    format::{FloatStyle, format_float},
    parser::{
        At, BinaryOp, DurationKind, Edges, Expr, ExprKind, ParseError, Subquery, TimeModifiers,
        VectorSelector,
        lexer::{Keyword, Token, TokenKind},
        quote::unquote,
    },
};

/// 2^63: no timestamp in seconds reaches it.
const AT_SECONDS_MAX: f64 = 9_223_372_036_854_775_808.0;

const RANGE: Expected = Expected(
    "subquery or range selector",
    "number, duration, step(), or range()",
);
const RANGE_END: Expected = Expected("subquery or range", "\":\" or \"]\"");
const STEP: Expected = Expected(
    "subquery selector",
    "number, duration, step(), range(), or \"]\"",
);
const STEP_END: Expected = Expected("subquery selector", "\"]\"");
const TIMESTAMP: Expected = Expected("@", "timestamp");

impl Parser<'_> {
    /// A selector's braces, if any; `name` has been taken.
    #[inline(never)]
    pub(super) fn selector(&mut self, name: Option<Token>) -> Result<VectorSelector, ParseError> {
        let start = match name {
            Some(token) => token.span.start,
            None => self.peek()?.span.start,
        };
        let mut matchers = Vec::new();
        if self.take_if(TokenKind::LeftBrace)? {
            self.label_matchers(&mut matchers)?;
        }
        let name = name.map(|token| self.text_of(token.span).to_owned());
        if let Some(name) = &name {
            matchers.push(Matcher::equal(narthex_storage::METRIC_NAME, name.clone()));
        }
        Ok(VectorSelector {
            name,
            matchers,
            modifiers: TimeModifiers::default(),
            edges: Edges::Plain,
            span: self.span_from(start),
        })
    }

    /// Behind `{`, up to and with `}`.
    fn label_matchers(&mut self, matchers: &mut Vec<Matcher>) -> Result<(), ParseError> {
        const PLACE: &str = "label matching";
        loop {
            let label = self.peek()?;
            let name = match label.kind {
                TokenKind::RightBrace => break,
                TokenKind::Identifier => self.text_of(label.span).to_owned(),
                TokenKind::String => unquote(self.text_of(label.span)).value,
                _ => {
                    let expected = Expected(PLACE, "identifier or \"}\"");
                    return Err(self.unexpected_in(label, expected));
                }
            };
            self.take()?;
            let token = self.peek()?;
            let op = match token.kind {
                TokenKind::Assign => Some(MatchOp::Equal),
                TokenKind::Operator(BinaryOp::NotEqual) => Some(MatchOp::NotEqual),
                TokenKind::Match => Some(MatchOp::Regex),
                TokenKind::NotMatch => Some(MatchOp::NotRegex),
                _ if label.kind == TokenKind::Identifier => {
                    let expected = Expected(PLACE, "label matching operator");
                    return Err(self.unexpected_in(token, expected));
                }
                _ => None,
            };
            if let Some(op) = op {
                self.take()?;
                let value = self.peek()?;
                if value.kind != TokenKind::String {
                    return Err(self.unexpected_in(value, Expected(PLACE, "string")));
                }
                self.take()?;
                let matcher = Matcher::new(name, op, unquote(self.text_of(value.span)).value)
                    .map_err(|error| {
                        self.error(self.span_from(label.span.start), error.to_string())
                    })?;
                matchers.push(matcher);
            } else {
                matchers.push(Matcher::equal(narthex_storage::METRIC_NAME, name));
            }
            let token = self.peek()?;
            match token.kind {
                TokenKind::RightBrace => break,
                TokenKind::Comma => {
                    self.take()?;
                }
                _ => {
                    let expected = Expected(PLACE, "\",\" or \"}\"");
                    return Err(self.unexpected_in(token, expected));
                }
            }
        }
        self.take()?;
        Ok(())
    }

    /// A range or subquery.
    #[inline(never)]
    pub(super) fn brackets(&mut self, tall: Tall) -> Result<Tall, ParseError> {
        let open = self.take()?;
        let range = self.positive_duration(RANGE)?;
        let token = self.peek()?;
        let is_subquery = match token.kind {
            TokenKind::RightBracket => false,
            TokenKind::Colon => true,
            _ => return Err(self.unexpected_in(token, RANGE_END)),
        };
        self.take()?;
        if is_subquery {
            return self.subquery(tall, range);
        }
        let brackets = self.span_from(open.span.start);
        let span = self.span_from(tall.expr.span.start);
        let message = match tall.expr.kind {
            ExprKind::VectorSelector(selector) => {
                if selector.modifiers.offset.is_some() {
                    "no offset modifiers allowed before range"
                } else if selector.modifiers.at.is_some() {
                    "no @ modifiers allowed before range"
                } else {
                    let height = range.height + 1;
                    let kind = ExprKind::MatrixSelector {
                        selector,
                        range: range.duration,
                    };
                    return self.tall(kind, span, height);
                }
            }
            _ => "ranges only allowed for vector selectors",
        };
        Err(self.error(brackets, message))
    }

    /// Behind the colon.
    fn subquery(&mut self, tall: Tall, range: TallDuration) -> Result<Tall, ParseError> {
        let mut height = tall.height.max(range.height);
        let mut step = None;
        if self.peek()?.kind != TokenKind::RightBracket {
            let tall_step = self.positive_duration(STEP)?;
            height = height.max(tall_step.height);
            step = Some(tall_step.duration);
            let token = self.peek()?;
            if token.kind != TokenKind::RightBracket {
                return Err(self.unexpected_in(token, STEP_END));
            }
        }
        self.take()?;
        let span = self.span_from(tall.expr.span.start);
        let subquery = Subquery {
            expr: tall.expr,
            range: range.duration,
            step,
            modifiers: TimeModifiers::default(),
        };
        self.tall(ExprKind::Subquery(Box::new(subquery)), span, height + 1)
    }

    #[inline(never)]
    pub(super) fn offset(&mut self, mut tall: Tall) -> Result<Tall, ParseError> {
        self.take()?;
        let offset = self.offset_duration()?;
        let height = tall.height.max(offset.height + 1);
        let span = tall.expr.span;
        let is_zero = matches!(
            offset.duration.kind,
            DurationKind::Literal { seconds: 0.0, .. }
        );
        let Some(modifiers) = modifiers(&mut tall.expr) else {
            return Err(self.error(
                span,
                "offset modifier must be preceded by an instant vector selector or range vector \
                 selector or a subquery",
            ));
        };
        if modifiers.offset.is_some() {
            return Err(self.error(span, "offset may not be set multiple times"));
        }
        if !is_zero {
            modifiers.offset = Some(offset.duration);
        }
        let span = self.span_from(span.start);
        self.tall(tall.expr.kind, span, height)
    }

    /// `anchored` or `smoothed`; the expression's place does not grow with it.
    #[inline(never)]
    pub(super) fn edges(&mut self, mut tall: Tall, edges: Edges) -> Result<Tall, ParseError> {
        let word = self.take()?.span;
        let name = self.text_of(word).to_ascii_lowercase();
        let refuse = |problem: &str| Err(self.error(tall.expr.span, problem));
        if !self.options.extended_range_selectors {
            return refuse(&format!("{name} modifier is experimental and not enabled"));
        }
        match &mut tall.expr.kind {
            ExprKind::VectorSelector(selector) | ExprKind::MatrixSelector { selector, .. } => {
                if ![Edges::Plain, edges].contains(&selector.edges) {
                    return refuse("anchored and smoothed modifiers cannot be used together");
                }
                selector.edges = edges;
                Ok(tall)
            }
            ExprKind::Subquery(_) => {
                refuse(&format!("{name} modifier is not supported for subqueries"))
            }
            _ => refuse(&format!(
                "{name} modifier must be preceded by an instant vector selector or range vector selector"
            )),
        }
    }

    #[inline(never)]
    pub(super) fn at(&mut self, mut tall: Tall) -> Result<Tall, ParseError> {
        self.take()?;
        let mut token = self.peek()?;
        let mut seconds = None;
        let at = match token.kind {
            TokenKind::Keyword(keyword @ (Keyword::Start | Keyword::End)) => {
                self.take()?;
                for kind in [TokenKind::LeftParen, TokenKind::RightParen] {
                    let token = self.peek()?;
                    if token.kind != kind {
                        return Err(self.unexpected_in(token, TIMESTAMP));
                    }
                    self.take()?;
                }
                if keyword == Keyword::Start {
                    At::Start
                } else {
                    At::End
                }
            }
            _ => {
                let mut sign = 1.0;
                if let TokenKind::Operator(op @ (BinaryOp::Add | BinaryOp::Sub)) = token.kind {
                    self.take()?;
                    token = self.peek()?;
                    if op == BinaryOp::Sub {
                        sign = -1.0;
                    }
                }
                let value = match token.kind {
                    TokenKind::Number => self.number(token.span)?,
                    TokenKind::Duration => self.duration_seconds(token.span)?,
                    _ => return Err(self.unexpected_in(token, TIMESTAMP)),
                };
                self.take()?;
                seconds = Some(sign * value);
                At::Time((sign * value * 1000.0).round() as i64)
            }
        };
        let span = tall.expr.span;
        let out_of_bounds = |seconds: &f64| seconds.is_nan() || seconds.abs() >= AT_SECONDS_MAX;
        if let Some(seconds) = seconds.filter(out_of_bounds) {
            let seconds = if seconds.is_finite() {
                format!("{seconds:.6}")
            } else {
                format_float(seconds, FloatStyle::Decimal)
            };
            let message = format!("timestamp out of bounds for @ modifier: {seconds}");
            return Err(self.error(span, message));
        }
        let Some(modifiers) = modifiers(&mut tall.expr) else {
            return Err(self.error(
                span,
                "@ modifier must be preceded by an instant vector selector or range vector \
                 selector or a subquery",
            ));
        };
        if modifiers.at.is_some() {
            return Err(self.error(span, "@ <timestamp> may not be set multiple times"));
        }
        modifiers.at = Some(at);
        tall.expr.span = self.span_from(span.start);
        Ok(tall)
    }
}

/// `offset` and `@` of a node that can have them.
fn modifiers(expr: &mut Expr) -> Option<&mut TimeModifiers> {
    match &mut expr.kind {
        ExprKind::VectorSelector(selector) | ExprKind::MatrixSelector { selector, .. } => {
            Some(&mut selector.modifiers)
        }
        ExprKind::Subquery(subquery) => Some(&mut subquery.modifiers),
        _ => None,
    }
}
