//! From tokens to a syntax tree: precedence climbing, one token of lookahead.
//!
//! Errors come in the order in which Prometheus's generated parser finds them, and only the first
//! is reported, as there. A chain of left-associative operators is read in a loop; everything that
//! nests costs a level, and neither levels nor the height of the tree may exceed [`HEIGHT_MAX`].

use narthex_storage::{MatchOp, Matcher};

use super::{
    Aggregate, AggregateOp, At, Binary, BinaryOp, Cardinality, Duration, DurationKind, Edges, Expr,
    ExprKind, HEIGHT_MAX, ParseError, ParserOptions, Span, Subquery, TimeModifiers, VectorMatching,
    VectorSelector,
    lexer::{Keyword, Lexer, Token, TokenKind},
    quote::{quote, unquote},
};
use crate::{
    duration::parse_duration,
    format::{FloatStyle, format_float},
    functions::Function,
};

/// 2^63 ns in seconds: no duration is longer.
const DURATION_SECONDS_MAX: f64 = 9_223_372_036.854_776;

/// 2^63: no timestamp in seconds reaches it.
const AT_SECONDS_MAX: f64 = 9_223_372_036_854_775_808.0;

/// A tree with its height.
struct Tall {
    expr: Expr,
    height: usize,
}

/// A duration expression with its height.
struct TallDuration {
    duration: Duration,
    height: usize,
}

/// Where an unexpected token is reported, and what was expected there.
#[derive(Clone, Copy)]
struct Expected(&'static str, &'static str);

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
const OFFSET: Expected = Expected("offset", "number, duration, step(), or range()");
const OUT_OF_RANGE: &str = "duration out of range";
const TIMESTAMP: Expected = Expected("@", "timestamp");

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

    /// Behind a binary operator.
    #[inline(never)]
    fn binary(&mut self, lhs: Tall, op: BinaryOp) -> Result<Tall, ParseError> {
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
    fn grouping_labels(&mut self) -> Result<Vec<String>, ParseError> {
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
                    if matches!(self.peek()?.kind, TokenKind::RightParen | TokenKind::Comma) {
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

    /// A selector's braces, if any; `name` has been taken.
    #[inline(never)]
    fn selector(&mut self, name: Option<Token>) -> Result<VectorSelector, ParseError> {
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
    fn brackets(&mut self, tall: Tall) -> Result<Tall, ParseError> {
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
    fn offset(&mut self, mut tall: Tall) -> Result<Tall, ParseError> {
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
    fn edges(&mut self, mut tall: Tall, edges: Edges) -> Result<Tall, ParseError> {
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
    fn at(&mut self, mut tall: Tall) -> Result<Tall, ParseError> {
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

    /// A duration expression in brackets; a literal must be positive.
    fn positive_duration(&mut self, expected: Expected) -> Result<TallDuration, ParseError> {
        let tall = self.duration(0, expected)?;
        match tall.duration.kind {
            DurationKind::Literal { seconds, .. } if seconds.is_nan() || seconds <= 0.0 => {
                // Prometheus has looked at the next token by then.
                self.peek()?;
                let message = "duration must be greater than 0";
                Err(self.error(tall.duration.span, message))
            }
            _ => Ok(tall),
        }
    }

    /// Behind `offset`: one operand with signs, no operator outside parentheses.
    fn offset_duration(&mut self) -> Result<TallDuration, ParseError> {
        let token = self.peek()?;
        match token.kind {
            TokenKind::Operator(sign @ (BinaryOp::Add | BinaryOp::Sub)) => {
                self.take()?;
                let operand = self.duration_operand(OFFSET).map_err(|error| {
                    if error.message == OUT_OF_RANGE {
                        self.error(self.span_from(token.span.start), OUT_OF_RANGE)
                    } else {
                        error
                    }
                })?;
                self.signed(token.span.start, sign == BinaryOp::Sub, operand)
            }
            _ => self.duration_operand(OFFSET),
        }
    }

    /// A duration expression of operators that bind at least as strongly as `strength`.
    fn duration(&mut self, strength: u8, expected: Expected) -> Result<TallDuration, ParseError> {
        self.enter()?;
        let mut lhs = self.duration_operand(expected)?;
        loop {
            let token = self.peek()?;
            let TokenKind::Operator(
                op @ (BinaryOp::Add
                | BinaryOp::Sub
                | BinaryOp::Mul
                | BinaryOp::Div
                | BinaryOp::Mod
                | BinaryOp::Pow),
            ) = token.kind
            else {
                break;
            };
            if binding(op) < strength {
                break;
            }
            self.take()?;
            let rhs = self.duration(binding(op) + u8::from(op != BinaryOp::Pow), expected)?;
            if let DurationKind::Literal { seconds: 0.0, .. } = rhs.duration.kind {
                let message = match op {
                    BinaryOp::Div => Some("division by zero"),
                    BinaryOp::Mod => Some("modulo by zero"),
                    _ => None,
                };
                if let Some(message) = message {
                    return Err(self.error(token.span, message));
                }
            }
            let span = Span {
                start: lhs.duration.span.start,
                end: rhs.duration.span.end,
            };
            let height = lhs.height.max(rhs.height) + 1;
            let kind = DurationKind::Binary {
                op,
                lhs: Box::new(lhs.duration),
                rhs: Box::new(rhs.duration),
            };
            lhs = self.tall_duration(kind, span, height)?;
        }
        self.leave();
        Ok(lhs)
    }

    fn tall_duration(
        &self,
        kind: DurationKind,
        span: Span,
        height: usize,
    ) -> Result<TallDuration, ParseError> {
        if height > HEIGHT_MAX {
            return Err(self.too_high(span));
        }
        Ok(TallDuration {
            duration: Duration { kind, span },
            height,
        })
    }

    /// Puts a sign before a duration; that of a literal is folded in, a plus is dropped.
    fn signed(
        &self,
        start: u32,
        negative: bool,
        operand: TallDuration,
    ) -> Result<TallDuration, ParseError> {
        let TallDuration { duration, height } = operand;
        let span = Span {
            start,
            end: duration.span.end,
        };
        match duration.kind {
            DurationKind::Literal { seconds, has_unit } => {
                let seconds = if negative { -seconds } else { seconds };
                self.tall_duration(DurationKind::Literal { seconds, has_unit }, span, height)
            }
            _ if !negative => Ok(TallDuration {
                duration: Duration { span, ..duration },
                height,
            }),
            _ => {
                let operand = Box::new(duration);
                self.tall_duration(DurationKind::Unary { negative, operand }, span, height + 1)
            }
        }
    }

    #[inline(never)]
    fn duration_operand(&mut self, expected: Expected) -> Result<TallDuration, ParseError> {
        let token = self.peek()?;
        let span = token.span;
        match token.kind {
            TokenKind::Number | TokenKind::Duration => {
                self.take()?;
                let has_unit = token.kind == TokenKind::Duration;
                let seconds = if has_unit {
                    self.duration_seconds(span)?
                } else {
                    self.number(span)?
                };
                if seconds.abs() > DURATION_SECONDS_MAX {
                    return Err(self.error(span, OUT_OF_RANGE));
                }
                self.tall_duration(DurationKind::Literal { seconds, has_unit }, span, 1)
            }
            TokenKind::Operator(sign @ (BinaryOp::Add | BinaryOp::Sub)) => {
                self.take()?;
                let operand = self.duration(binding(BinaryOp::Pow), expected)?;
                self.signed(span.start, sign == BinaryOp::Sub, operand)
            }
            TokenKind::LeftParen => {
                self.take()?;
                let inner = self.duration(0, expected)?;
                self.take_expected(TokenKind::RightParen, expected)?;
                // Parentheses around a literal or around parentheses mean and print nothing.
                if matches!(
                    inner.duration.kind,
                    DurationKind::Literal { .. } | DurationKind::Paren(_)
                ) {
                    return Ok(inner);
                }
                let kind = DurationKind::Paren(Box::new(inner.duration));
                self.tall_duration(kind, self.span_from(span.start), inner.height + 1)
            }
            TokenKind::Keyword(keyword @ (Keyword::Step | Keyword::Range)) => {
                self.take()?;
                self.take_expected(TokenKind::LeftParen, expected)?;
                self.take_expected(TokenKind::RightParen, expected)?;
                let kind = if keyword == Keyword::Step {
                    DurationKind::Step
                } else {
                    DurationKind::Range
                };
                self.tall_duration(kind, self.span_from(span.start), 1)
            }
            TokenKind::Keyword(keyword @ (Keyword::MinOf | Keyword::MaxOf)) => {
                self.take()?;
                self.take_expected(TokenKind::LeftParen, expected)?;
                let first = self.duration(0, expected)?;
                self.take_expected(TokenKind::Comma, expected)?;
                let second = self.duration(0, expected)?;
                self.take_expected(TokenKind::RightParen, expected)?;
                let height = first.height.max(second.height) + 1;
                let (first, second) = (Box::new(first.duration), Box::new(second.duration));
                let kind = if keyword == Keyword::MinOf {
                    DurationKind::MinOf(first, second)
                } else {
                    DurationKind::MaxOf(first, second)
                };
                self.tall_duration(kind, self.span_from(span.start), height)
            }
            _ => Err(self.unexpected_in(token, expected)),
        }
    }

    fn take_expected(&mut self, kind: TokenKind, expected: Expected) -> Result<(), ParseError> {
        let token = self.peek()?;
        if token.kind != kind {
            return Err(self.unexpected_in(token, expected));
        }
        self.take()?;
        Ok(())
    }

    fn duration_seconds(&self, span: Span) -> Result<f64, ParseError> {
        match parse_duration(self.text_of(span)) {
            Ok(duration) => Ok(duration.as_secs_f64()),
            Err(error) => Err(self.error(span, error.to_string())),
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

/// How strongly an operator binds; `^` alone is right-associative.
fn binding(op: BinaryOp) -> u8 {
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

/// Whether a token can be a label of `by`, `without`, `on`, `ignoring` or `group_*`.
fn is_grouping_label(kind: TokenKind) -> bool {
    match kind {
        TokenKind::Identifier | TokenKind::MetricIdentifier | TokenKind::Aggregate(_) => true,
        TokenKind::Operator(op) => op.is_set() || op == BinaryOp::Atan2,
        TokenKind::Keyword(keyword) => keyword != Keyword::Without,
        _ => false,
    }
}

/// A token in an error text.
fn describe(kind: TokenKind, text: &str) -> String {
    match kind {
        TokenKind::End => "end of input".to_owned(),
        TokenKind::Identifier => format!("identifier {}", quote(text)),
        TokenKind::MetricIdentifier => format!("metric identifier {}", quote(text)),
        TokenKind::String => format!("string {}", shortened(text)),
        TokenKind::Number => format!("number {}", shortened(text)),
        TokenKind::Duration => format!("duration {}", shortened(text)),
        TokenKind::Keyword(Keyword::Start | Keyword::End | Keyword::Step | Keyword::Range) => {
            quote(text)
        }
        TokenKind::Keyword(_) => format!("<{text}>"),
        TokenKind::Aggregate(_) => format!("<aggr:{text}>"),
        TokenKind::Operator(_)
        | TokenKind::At
        | TokenKind::Match
        | TokenKind::NotMatch
        | TokenKind::TrimUpper
        | TokenKind::TrimLower => format!("<op:{text}>"),
        TokenKind::LeftParen
        | TokenKind::RightParen
        | TokenKind::LeftBrace
        | TokenKind::RightBrace
        | TokenKind::LeftBracket
        | TokenKind::RightBracket
        | TokenKind::Comma
        | TokenKind::Colon
        | TokenKind::Assign => quote(text),
    }
}

/// Go's `%.10q...` for what is longer than ten bytes.
fn shortened(text: &str) -> String {
    if text.len() <= 10 {
        return quote(text);
    }
    let start: String = text.chars().take(10).collect();
    format!("{}...", quote(&start))
}
