//! Durations, which are expressions of their own: of literals, `step()` and `range()`.

use super::{Expected, Parser, binary::binding};
use crate::{
    duration::parse_duration,
    parser::{
        BinaryOp, Duration, DurationKind, HEIGHT_MAX, ParseError, Span,
        lexer::{Keyword, TokenKind},
    },
};

/// 2^63 ns in seconds: no duration is longer.
const DURATION_SECONDS_MAX: f64 = 9_223_372_036.854_776;

const OFFSET: Expected = Expected("offset", "number, duration, step(), or range()");
const OUT_OF_RANGE: &str = "duration out of range";

/// A duration expression with its height.
pub(super) struct TallDuration {
    pub(super) duration: Duration,
    pub(super) height: usize,
}

impl Parser<'_> {
    /// A duration expression in brackets; a literal must be positive.
    pub(super) fn positive_duration(
        &mut self,
        expected: Expected,
    ) -> Result<TallDuration, ParseError> {
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
    pub(super) fn offset_duration(&mut self) -> Result<TallDuration, ParseError> {
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

    pub(super) fn duration_seconds(&self, span: Span) -> Result<f64, ParseError> {
        match parse_duration(self.text_of(span)) {
            Ok(duration) => Ok(duration.as_secs_f64()),
            Err(error) => Err(self.error(span, error.to_string())),
        }
    }
}
