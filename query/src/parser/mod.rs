//! From query text to a checked syntax tree, and back to text.
//!
//! The grammar, the type rules, the error texts and their positions are those of Prometheus 3.14.
//! Texts are limited to [`TEXT_LEN_MAX`] bytes and trees to a height of [`HEIGHT_MAX`], so that no
//! query can overflow the stack of whoever walks its tree. Parsing takes time linear in the text.

mod ast;
mod check;
mod lexer;
mod parse;
mod printer;
pub(crate) mod quote;

pub use ast::{
    Aggregate, AggregateOp, At, Binary, BinaryOp, Cardinality, Duration, DurationKind, Edges, Expr,
    ExprKind, Span, Subquery, Text, TimeModifiers, ValueType, VectorMatching, VectorSelector,
};
use narthex_storage::Matcher;
pub use printer::format_query;
pub use quote::quote;

/// The greatest height of a syntax tree; a chain `x+x+…` is as high as it is long. Parsing, printing
/// and evaluating a tree of 500 levels fits the usual 2 MiB of stack without optimisation, 800 do not.
pub const HEIGHT_MAX: usize = 400;

/// The greatest length of a query, in bytes.
pub const TEXT_LEN_MAX: usize = 1 << 20;

/// Which of Prometheus's flagged constructs are accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ParserOptions {
    /// Functions and aggregators behind `--enable-feature=promql-experimental-functions`.
    pub experimental_functions: bool,
    /// `anchored` and `smoothed`, behind `--enable-feature=promql-extended-range-selectors`.
    pub extended_range_selectors: bool,
    /// `fill`, `fill_left` and `fill_right`, behind `--enable-feature=promql-binop-fill-modifiers`.
    pub fill_modifiers: bool,
}

/// A query that does not parse, with its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: parse error: {message}", place(*line, *column))]
pub struct ParseError {
    /// What is wrong, in Prometheus's words.
    pub message: String,
    /// Where, for editors.
    pub span: Span,
    /// Line of the span's start, from 1; 0 in an empty text, which has no place.
    pub line: u32,
    /// Column of the span's start in bytes, from 1, as Prometheus counts it.
    pub column: u32,
}

fn place(line: u32, column: u32) -> String {
    match line {
        0 => "unknown position".to_owned(),
        _ => format!("{line}:{column}"),
    }
}

impl ParseError {
    fn new(text: &str, span: Span, message: impl Into<String>) -> Self {
        let (line, column) = if text.is_empty() {
            (0, 0)
        } else {
            line_and_column(text, span.start)
        };
        Self {
            message: message.into(),
            span,
            line,
            column,
        }
    }
}

/// Line and column, from 1 and in bytes, of an offset in a query; the `(1:6)` of annotations.
pub fn line_and_column(text: &str, offset: u32) -> (u32, u32) {
    let offset = (offset as usize).min(text.len());
    let before = text.as_bytes().get(..offset).unwrap_or_default();
    let lines = before.split(|byte| *byte == b'\n').count();
    let line_start = before
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |index| index + 1);
    (lines as u32, (offset - line_start) as u32 + 1)
}

/// Parses and checks a query.
///
/// # Errors
/// [`ParseError`], the first that Prometheus would report; or the text or the tree is too large.
///
/// ```
/// use narthex_query::parser::{ParserOptions, parse};
/// let error = parse("foo{", ParserOptions::default()).unwrap_err();
/// assert_eq!(error.to_string(), "1:5: parse error: unexpected end of input inside braces");
/// let error = parse("", ParserOptions::default()).unwrap_err();
/// assert_eq!(error.to_string(), "unknown position: parse error: no expression found in input");
/// ```
pub fn parse(text: &str, options: ParserOptions) -> Result<Expr, ParseError> {
    check_length(text)?;
    let mut expr = parse::Parser::new(text, options).whole_expression()?;
    check::Checker { text }.check(&mut expr)?;
    Ok(expr)
}

/// Parses a selector without range and modifiers, as in the HTTP API's `match[]`; it may select
/// everything.
///
/// # Errors
/// [`ParseError`], as [`parse`].
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    check_length(text)?;
    let selector = parse::Parser::new(text, ParserOptions::default()).whole_selector()?;
    Ok(selector.matchers)
}

fn check_length(text: &str) -> Result<(), ParseError> {
    if text.len() <= TEXT_LEN_MAX {
        return Ok(());
    }
    let span = Span {
        start: TEXT_LEN_MAX as u32,
        end: TEXT_LEN_MAX as u32,
    };
    let message = format!("query is too long, the limit is {TEXT_LEN_MAX} bytes");
    Err(ParseError::new(text, span, message))
}
