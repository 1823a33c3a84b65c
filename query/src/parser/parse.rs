//! From tokens to a syntax tree: precedence climbing, one token of lookahead.
//!
//! Errors come in the order in which Prometheus's generated parser finds them, and only the first
//! is reported, as there. A chain of left-associative operators is read in a loop; everything that
//! nests costs a level, and neither levels nor the height of the tree may exceed [`HEIGHT_MAX`].

mod binary;
mod describe;
mod duration;
mod selector;

use binary::binding;
use describe::describe;

use super::{
    Aggregate, AggregateOp, BinaryOp, Edges, Expr, ExprKind, HEIGHT_MAX, ParseError, ParserOptions,
    Span, VectorSelector,
    lexer::{Keyword, Lexer, Token, TokenKind},
    quote::{quote, unquote},
};
use crate::functions::Function;

/// A tree with its height.
struct Tall {
    expr: Expr,
    height: usize,
}

/// Where an unexpected token is reported, and what was expected there.
#[derive(Clone, Copy)]
struct Expected(&'static str, &'static str);

pub(super) struct Parser<'a> {
    text: &'a str,
    options: ParserOptions,
    lexer: Lexer<'a>,
    lookahead: Option<Token>,
    /// End of the last token taken.
    end: u32,
    /// Whether an aggregation is being read; unexpected tokens are then reported as in one.
    in_aggregation: bool,
    level: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str, options: ParserOptions) -> Self {
        Self {
            text,
            options,
            lexer: Lexer::new(text),
            lookahead: None,
            end: 0,
            in_aggregation: false,
            level: 0,
        }
    }

    /// The whole text as one expression, not yet checked for types.
    pub(super) fn whole_expression(mut self) -> Result<Expr, ParseError> {
        if self.peek()?.kind == TokenKind::End {
            return Err(self.error(Span::default(), "no expression found in input"));
        }
        let tall = self.expression(0)?;
        self.finish()?;
        Ok(tall.expr)
    }

    /// The whole text as one selector without range and modifiers.
    pub(super) fn whole_selector(mut self) -> Result<VectorSelector, ParseError> {
        let token = self.peek()?;
        let selector = if token.kind == TokenKind::LeftBrace {
            self.selector(None)?
        } else if is_metric_identifier(token.kind) {
            let name = self.take()?;
            self.selector(Some(name))?
        } else {
            return Err(self.unexpected(token));
        };
        self.finish()?;
        Ok(selector)
    }

    fn finish(&mut self) -> Result<(), ParseError> {
        let token = self.peek()?;
        if token.kind == TokenKind::End {
            Ok(())
        } else {
            Err(self.unexpected(token))
        }
    }

    fn peek(&mut self) -> Result<Token, ParseError> {
        if let Some(token) = self.lookahead {
            return Ok(token);
        }
        let token = self.lexer.next_token()?;
        self.lookahead = Some(token);
        Ok(token)
    }

    fn take(&mut self) -> Result<Token, ParseError> {
        let token = self.peek()?;
        self.lookahead = None;
        self.end = token.span.end;
        Ok(token)
    }

    fn take_if(&mut self, kind: TokenKind) -> Result<bool, ParseError> {
        let found = self.peek()?.kind == kind;
        if found {
            self.take()?;
        }
        Ok(found)
    }

    fn text_of(&self, span: Span) -> &'a str {
        self.text
            .get(span.start as usize..span.end as usize)
            .unwrap_or_default()
    }

    fn error(&self, span: Span, message: impl Into<String>) -> ParseError {
        ParseError::new(self.text, span, message)
    }

    /// An error at a token where nothing in particular was expected.
    fn unexpected(&self, token: Token) -> ParseError {
        let context = if self.in_aggregation {
            "aggregation"
        } else {
            ""
        };
        self.unexpected_in(token, Expected(context, ""))
    }

    fn unexpected_in(&self, token: Token, expected: Expected) -> ParseError {
        let mut message = format!(
            "unexpected {}",
            describe(token.kind, self.text_of(token.span))
        );
        if !expected.0.is_empty() {
            message.push_str(" in ");
            message.push_str(expected.0);
        }
        if !expected.1.is_empty() {
            message.push_str(", expected ");
            message.push_str(expected.1);
        }
        self.error(token.span, message)
    }

    fn take_expected(&mut self, kind: TokenKind, expected: Expected) -> Result<(), ParseError> {
        let token = self.peek()?;
        if token.kind != kind {
            return Err(self.unexpected_in(token, expected));
        }
        self.take()?;
        Ok(())
    }

    fn too_high(&self, span: Span) -> ParseError {
        self.error(
            span,
            format!("expression is nested too deeply, the limit is {HEIGHT_MAX} levels"),
        )
    }

    fn enter(&mut self) -> Result<(), ParseError> {
        self.level += 1;
        if self.level > HEIGHT_MAX {
            let token = self.peek()?;
            return Err(self.too_high(token.span));
        }
        Ok(())
    }

    fn leave(&mut self) {
        self.level -= 1;
    }

    fn tall(&self, kind: ExprKind, span: Span, height: usize) -> Result<Tall, ParseError> {
        if height > HEIGHT_MAX {
            return Err(self.too_high(span));
        }
        Ok(Tall {
            expr: Expr { kind, span },
            height,
        })
    }

    fn span_from(&self, start: u32) -> Span {
        Span {
            start,
            end: self.end,
        }
    }

    /// An expression of operators that bind at least as strongly as `strength`.
    fn expression(&mut self, strength: u8) -> Result<Tall, ParseError> {
        self.enter()?;
        let mut lhs = self.operand()?;
        loop {
            let token = self.peek()?;
            let op = match token.kind {
                TokenKind::Operator(op) => op,
                TokenKind::TrimUpper => BinaryOp::TrimUpper,
                TokenKind::TrimLower => BinaryOp::TrimLower,
                _ => break,
            };
            if binding(op) < strength {
                break;
            }
            self.take()?;
            lhs = self.binary(lhs, op)?;
        }
        self.leave();
        Ok(lhs)
    }

    /// An operand with what follows it: brackets, `offset`, `@`.
    fn operand(&mut self) -> Result<Tall, ParseError> {
        let token = self.peek()?;
        if let TokenKind::Operator(sign @ (BinaryOp::Add | BinaryOp::Sub)) = token.kind {
            self.take()?;
            return self.unary(token.span.start, sign == BinaryOp::Sub);
        }
        let mut tall = if token.kind == TokenKind::LeftParen {
            self.paren()?
        } else {
            self.primary(token)?
        };
        loop {
            tall = match self.peek()?.kind {
                TokenKind::LeftBracket => self.brackets(tall)?,
                TokenKind::Keyword(Keyword::Offset) => self.offset(tall)?,
                TokenKind::At => self.at(tall)?,
                TokenKind::Keyword(Keyword::Anchored) => self.edges(tall, Edges::Anchored)?,
                TokenKind::Keyword(Keyword::Smoothed) => self.edges(tall, Edges::Smoothed)?,
                _ => return Ok(tall),
            };
        }
    }

    /// Behind a sign.
    #[inline(never)]
    fn unary(&mut self, start: u32, negative: bool) -> Result<Tall, ParseError> {
        let mut tall = self.expression(binding(BinaryOp::Pow))?;
        let span = Span {
            start,
            end: tall.expr.span.end,
        };
        if let ExprKind::Number { value, .. } = &mut tall.expr.kind {
            if negative {
                *value = -*value;
            }
            tall.expr.span = span;
            return Ok(tall);
        }
        let kind = ExprKind::Unary {
            negative,
            expr: Box::new(tall.expr),
        };
        self.tall(kind, span, tall.height + 1)
    }

    #[inline(never)]
    fn paren(&mut self) -> Result<Tall, ParseError> {
        let open = self.take()?;
        let inner = self.expression(0)?;
        let close = self.peek()?;
        if close.kind != TokenKind::RightParen {
            return Err(self.unexpected(close));
        }
        self.take()?;
        let span = self.span_from(open.span.start);
        self.tall(
            ExprKind::Paren(Box::new(inner.expr)),
            span,
            inner.height + 1,
        )
    }

    #[inline(never)]
    fn primary(&mut self, token: Token) -> Result<Tall, ParseError> {
        let span = token.span;
        match token.kind {
            TokenKind::Number => {
                self.take()?;
                let value = self.number(span)?;
                let kind = ExprKind::Number {
                    value,
                    is_duration: false,
                };
                self.tall(kind, span, 1)
            }
            TokenKind::Duration => {
                self.take()?;
                let kind = ExprKind::Number {
                    value: self.duration_seconds(span)?,
                    is_duration: true,
                };
                self.tall(kind, span, 1)
            }
            TokenKind::String => {
                self.take()?;
                let text = unquote(self.text_of(span));
                self.tall(ExprKind::String(text), span, 1)
            }
            TokenKind::LeftBrace => {
                let selector = self.selector(None)?;
                let span = selector.span;
                self.tall(ExprKind::VectorSelector(selector), span, 1)
            }
            kind if is_metric_identifier(kind) => {
                self.take()?;
                let next = self.peek()?.kind;
                match (kind, next) {
                    (
                        TokenKind::Identifier
                        | TokenKind::Keyword(
                            Keyword::Start
                            | Keyword::End
                            | Keyword::Step
                            | Keyword::Range
                            | Keyword::MinOf
                            | Keyword::MaxOf,
                        ),
                        TokenKind::LeftParen,
                    ) => self.call(token),
                    (
                        TokenKind::Aggregate(op),
                        TokenKind::LeftParen | TokenKind::Keyword(Keyword::By | Keyword::Without),
                    ) => self.aggregate(token, op),
                    (TokenKind::Keyword(Keyword::By | Keyword::Without), TokenKind::LeftParen) => {
                        let open = self.peek()?;
                        Err(self.unexpected(open))
                    }
                    (
                        TokenKind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight),
                        TokenKind::LeftParen,
                    ) => Err(self.unexpected(token)),
                    _ => {
                        let selector = self.selector(Some(token))?;
                        let span = selector.span;
                        self.tall(ExprKind::VectorSelector(selector), span, 1)
                    }
                }
            }
            _ => Err(self.unexpected(token)),
        }
    }

    /// Behind a function's name.
    #[inline(never)]
    fn call(&mut self, name: Token) -> Result<Tall, ParseError> {
        let (args, height) = self.arguments()?;
        let text = self.text_of(name.span);
        let Some(function) = Function::by_name(text) else {
            let message = format!("unknown function with name {}", quote(text));
            return Err(self.error(name.span, message));
        };
        if function.is_experimental && !self.options.experimental_functions {
            let message = format!("function {} is not enabled", quote(text));
            return Err(self.error(name.span, message));
        }
        let span = self.span_from(name.span.start);
        self.tall(ExprKind::Call { function, args }, span, height + 1)
    }

    /// Behind an aggregation's name.
    #[inline(never)]
    fn aggregate(&mut self, name: Token, op: AggregateOp) -> Result<Tall, ParseError> {
        let outer = std::mem::replace(&mut self.in_aggregation, true);
        let mut grouping = None;
        if self.peek()?.kind != TokenKind::LeftParen {
            grouping = self.aggregate_grouping()?;
        }
        let open = self.peek()?;
        if open.kind != TokenKind::LeftParen {
            return Err(self.unexpected(open));
        }
        let (mut args, height) = self.arguments()?;
        if grouping.is_none() {
            grouping = self.aggregate_grouping()?;
        }
        self.in_aggregation = outer;
        let span = self.span_from(name.span.start);
        if args.is_empty() {
            let message = "no arguments for aggregate expression provided";
            return Err(self.error(span, message));
        }
        if op.is_experimental() && !self.options.experimental_functions {
            return Err(self.error(
                span,
                format!(
                    "{}() is experimental and must be enabled with \
                     --enable-feature=promql-experimental-functions",
                    op.as_str()
                ),
            ));
        }
        let wanted = 1 + usize::from(op.param().is_some());
        if args.len() != wanted {
            return Err(self.error(
                span,
                format!(
                    "wrong number of arguments for aggregate expression provided, expected \
                     {wanted}, got {}",
                    args.len()
                ),
            ));
        }
        let expr = args.pop().expect("there is at least one argument");
        let (without, grouping) = grouping.unwrap_or_default();
        let aggregate = Aggregate {
            op,
            expr,
            param: args.pop(),
            grouping,
            without,
        };
        self.tall(ExprKind::Aggregate(Box::new(aggregate)), span, height + 1)
    }

    /// `by (…)` or `without (…)`, if there; whether it was `without`, and the labels.
    fn aggregate_grouping(&mut self) -> Result<Option<(bool, Vec<String>)>, ParseError> {
        match self.peek()?.kind {
            TokenKind::Keyword(keyword @ (Keyword::By | Keyword::Without)) => {
                self.take()?;
                Ok(Some((keyword == Keyword::Without, self.grouping_labels()?)))
            }
            _ => Ok(None),
        }
    }

    /// `(a, b)`, with the height of the highest.
    fn arguments(&mut self) -> Result<(Vec<Expr>, usize), ParseError> {
        self.take()?;
        let (mut args, mut height) = (Vec::new(), 0);
        if self.take_if(TokenKind::RightParen)? {
            return Ok((args, height));
        }
        loop {
            let tall = self.expression(0)?;
            height = height.max(tall.height);
            args.push(tall.expr);
            let token = self.peek()?;
            match token.kind {
                TokenKind::Comma => {
                    self.take()?;
                    if !starts_expression(self.peek()?.kind) {
                        let message = "trailing commas not allowed in function call args";
                        return Err(self.error(token.span, message));
                    }
                }
                TokenKind::RightParen => {
                    self.take()?;
                    return Ok((args, height));
                }
                _ => return Err(self.unexpected(token)),
            }
        }
    }

    /// A number as Go reads it: an integer of base 10, 8 (leading 0) or 16, or a float.
    fn number(&self, span: Span) -> Result<f64, ParseError> {
        let text = self.text_of(span);
        let digits = text.replace('_', "");
        let hexadecimal = digits.strip_prefix("0x").or(digits.strip_prefix("0X"));
        let integer = if let Some(digits) = hexadecimal {
            i64::from_str_radix(digits, 16)
        } else if digits.len() > 1 && digits.starts_with('0') {
            i64::from_str_radix(&digits, 8)
        } else {
            digits.parse()
        };
        if let Ok(integer) = integer {
            return Ok(integer as f64);
        }
        let problem = match digits.parse::<f64>() {
            Err(_) => "invalid syntax",
            Ok(value) if value.is_infinite() && !digits.eq_ignore_ascii_case("inf") => {
                "value out of range"
            }
            Ok(value) => return Ok(value),
        };
        let message = format!(
            "error parsing number: strconv.ParseFloat: parsing {}: {problem}",
            quote(text)
        );
        Err(self.error(span, message))
    }
}

/// Whether a token can be a metric name.
fn is_metric_identifier(kind: TokenKind) -> bool {
    match kind {
        TokenKind::Identifier | TokenKind::MetricIdentifier | TokenKind::Aggregate(_) => true,
        TokenKind::Operator(op) => op.is_set(),
        TokenKind::Keyword(keyword) => !matches!(
            keyword,
            Keyword::Bool
                | Keyword::On
                | Keyword::Ignoring
                | Keyword::GroupLeft
                | Keyword::GroupRight
        ),
        _ => false,
    }
}

/// Whether an expression can start with a token.
fn starts_expression(kind: TokenKind) -> bool {
    matches!(
        kind,
        TokenKind::Number
            | TokenKind::Duration
            | TokenKind::String
            | TokenKind::LeftBrace
            | TokenKind::LeftParen
            | TokenKind::Operator(BinaryOp::Add | BinaryOp::Sub)
    ) || is_metric_identifier(kind)
}
