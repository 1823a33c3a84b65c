//! Binary operators: how strongly they bind, and which series they match.

use super::{Expected, Parser, Tall, starts_expression};
use crate::parser::{
    Binary, BinaryOp, Cardinality, ExprKind, ParseError, Span, VectorMatching,
    lexer::{Keyword, TokenKind},
    quote::unquote,
};

impl Parser<'_> {
    /// Behind a binary operator.
    #[inline(never)]
    pub(super) fn binary(&mut self, lhs: Tall, op: BinaryOp) -> Result<Tall, ParseError> {
        let return_bool = self.take_if(TokenKind::Keyword(Keyword::Bool))?;
        let matching = self.vector_matching()?;
        let strength = binding(op) + u8::from(op != BinaryOp::Pow);
        let rhs = self.expression(strength)?;
        let span = Span {
            start: lhs.expr.span.start,
            end: rhs.expr.span.end,
        };
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        if fills && !self.options.fill_modifiers {
            let message = "binop fill modifiers are experimental and not enabled";
            return Err(self.error(span, message));
        }
        let height = lhs.height.max(rhs.height) + 1;
        let binary = Binary {
            op,
            lhs: lhs.expr,
            rhs: rhs.expr,
            return_bool,
            matching: Some(matching),
        };
        self.tall(ExprKind::Binary(Box::new(binary)), span, height)
    }

    #[inline(never)]
    fn vector_matching(&mut self) -> Result<VectorMatching, ParseError> {
        let mut matching = VectorMatching {
            cardinality: Cardinality::OneToOne,
            labels: Vec::new(),
            on: false,
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        };
        if let TokenKind::Keyword(keyword @ (Keyword::On | Keyword::Ignoring)) = self.peek()?.kind {
            self.take()?;
            matching.on = keyword == Keyword::On;
            matching.labels = self.grouping_labels()?;
            let group = match self.peek()?.kind {
                TokenKind::Keyword(Keyword::GroupLeft) => Some(Cardinality::ManyToOne),
                TokenKind::Keyword(Keyword::GroupRight) => Some(Cardinality::OneToMany),
                _ => None,
            };
            if let Some(group) = group {
                self.take()?;
                matching.cardinality = group;
                let token = self.peek()?;
                if token.kind == TokenKind::LeftParen || !starts_expression(token.kind) {
                    matching.include = self.grouping_labels()?;
                }
            }
        }
        self.fill(&mut matching)?;
        Ok(matching)
    }

    /// `fill(0)`, or `fill_left(0)` and `fill_right(0)` in either order. Without a parenthesis the words
    /// are metric names.
    fn fill(&mut self, matching: &mut VectorMatching) -> Result<(), ParseError> {
        loop {
            let TokenKind::Keyword(keyword) = self.peek()?.kind else {
                return Ok(());
            };
            let (left, right) = match keyword {
                Keyword::Fill => (true, true),
                Keyword::FillLeft => (true, false),
                Keyword::FillRight => (false, true),
                _ => return Ok(()),
            };
            let filled = |side: bool, value: Option<f64>| side && value.is_some();
            let is_repeated =
                filled(left, matching.fill_left) || filled(right, matching.fill_right);
            if is_repeated || !self.lexer.is_before_paren() {
                return Ok(());
            }
            self.take()?;
            let value = Some(self.fill_value()?);
            if left {
                matching.fill_left = value;
            }
            if right {
                matching.fill_right = value;
            }
        }
    }

    /// `(0)`, a number or duration with at most one sign.
    fn fill_value(&mut self) -> Result<f64, ParseError> {
        self.take_expected(TokenKind::LeftParen, Expected("", ""))?;
        let sign = match self.peek()?.kind {
            TokenKind::Operator(BinaryOp::Add) => Some(1.0),
            TokenKind::Operator(BinaryOp::Sub) => Some(-1.0),
            _ => None,
        };
        if sign.is_some() {
            self.take()?;
        }
        let token = self.peek()?;
        let value = match token.kind {
            TokenKind::Number => self.number(token.span)?,
            TokenKind::Duration => self.duration_seconds(token.span)?,
            _ => return Err(self.unexpected(token)),
        };
        self.take()?;
        self.take_expected(TokenKind::RightParen, Expected("", ""))?;
        Ok(sign.unwrap_or(1.0) * value)
    }

    /// `(a, b, "c d",)`
    #[inline(never)]
    pub(super) fn grouping_labels(&mut self) -> Result<Vec<String>, ParseError> {
        let open = self.peek()?;
        if open.kind != TokenKind::LeftParen {
            return Err(self.unexpected_in(open, Expected("grouping opts", "\"(\"")));
        }
        self.take()?;
        let mut labels = Vec::new();
        loop {
            let token = self.peek()?;
            match token.kind {
                TokenKind::RightParen => break,
                TokenKind::String => {
                    let label = unquote(self.text_of(token.span));
                    if let Some(quoted) = label.quoted_bytes {
                        let message = format!("invalid label name for grouping: {quoted}");
                        return Err(self.error(token.span, message));
                    }
                    labels.push(label.value);
                }
                kind if is_grouping_label(kind) => {
                    labels.push(self.text_of(token.span).to_owned());
                }
                _ => return Err(self.unexpected_in(token, Expected("grouping opts", "label"))),
            }
            self.take()?;
            if labels.last().is_some_and(String::is_empty) {
                return Err(self.error(token.span, "invalid label name for grouping: \"\""));
            }
            let token = self.peek()?;
            match token.kind {
                TokenKind::RightParen => break,
                TokenKind::Comma => {
                    self.take()?;
                }
                _ => {
                    let expected = Expected("grouping opts", "\",\" or \")\"");
                    return Err(self.unexpected_in(token, expected));
                }
            }
        }
        self.take()?;
        Ok(labels)
    }
}

/// How strongly an operator binds; `^` alone is right-associative.
pub(super) fn binding(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 1,
        BinaryOp::And | BinaryOp::Unless => 2,
        BinaryOp::Equal
        | BinaryOp::NotEqual
        | BinaryOp::Less
        | BinaryOp::LessEqual
        | BinaryOp::Greater
        | BinaryOp::GreaterEqual
        | BinaryOp::TrimUpper
        | BinaryOp::TrimLower => 3,
        BinaryOp::Add | BinaryOp::Sub => 4,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Atan2 => 5,
        BinaryOp::Pow => 6,
    }
}

/// Whether a token can be a label of `by`, `without`, `on`, `ignoring` or `group_*`.
fn is_grouping_label(kind: TokenKind) -> bool {
    match kind {
        TokenKind::Identifier | TokenKind::MetricIdentifier | TokenKind::Aggregate(_) => true,
        TokenKind::Operator(op) => op.is_set() || op == BinaryOp::Atan2,
        TokenKind::Keyword(keyword) => keyword != Keyword::Without,
        _ => false,
    }
}
