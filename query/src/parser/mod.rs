//! From query text to a checked syntax tree.

mod ast;

pub use ast::{
    Aggregate, AggregateOp, At, Binary, BinaryOp, Cardinality, Duration, DurationKind, Expr,
    ExprKind, Span, Subquery, TimeModifiers, ValueType, VectorMatching, VectorSelector,
};

/// The greatest height of a syntax tree; a chain `x+x+…` is as high as it is long.
pub const HEIGHT_MAX: usize = 1_000;

/// A query that does not parse, with its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: parse error: {message}")]
pub struct ParseError {
    /// What is wrong, in Prometheus's words.
    pub message: String,
    /// Where, for editors.
    pub span: Span,
    /// Line of the span's start, from 1.
    pub line: u32,
    /// Column of the span's start in characters, from 1.
    pub column: u32,
}
