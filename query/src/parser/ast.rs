//! The syntax tree of a PromQL expression. Every node has its span.
//!
//! The tree's height is bounded by the parser ([`super::HEIGHT_MAX`]), so that printing, checking,
//! evaluating and dropping it may recurse.

use narthex_storage::{Matcher, Timestamp};

use crate::functions::Function;

/// Where a node stands in the query text: byte offsets, `start` inclusive, `end` exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset behind the last byte.
    pub end: u32,
}

/// The four kinds of PromQL values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// A number.
    Scalar,
    /// A text.
    String,
    /// One sample a series.
    Vector,
    /// Several samples a series; "range vector" in error texts.
    Matrix,
}

/// A node with its place in the text.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub span: Span,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    /// A number, or a duration written where a number may stand (`5m` is 300).
    Number {
        /// The value, seconds for a duration.
        value: f64,
        /// Whether it was written as a duration.
        is_duration: bool,
    },
    /// A string literal.
    String(Text),
    /// `name{…} @ … offset …`
    VectorSelector(VectorSelector),
    /// `name{…}[5m] @ … offset …`
    MatrixSelector {
        /// The selector, with the modifiers that follow the bracket.
        selector: VectorSelector,
        /// The text between the brackets.
        range: Duration,
    },
    /// `expr[1h:5m] @ … offset …`
    Subquery(Box<Subquery>),
    /// `name(args)`
    Call {
        /// The function.
        function: &'static Function,
        /// Its arguments, checked in number and type.
        args: Vec<Expr>,
    },
    /// `sum by (a) (expr)`
    Aggregate(Box<Aggregate>),
    /// `-expr` or `+expr`
    Unary {
        /// Whether the sign is a minus.
        negative: bool,
        /// The operand.
        expr: Box<Expr>,
    },
    /// `lhs op rhs`
    Binary(Box<Binary>),
    /// `(expr)`
    Paren(Box<Expr>),
}

/// A string literal, unescaped. Escapes can write bytes that are not UTF-8.
#[derive(Debug, Clone, PartialEq)]
pub struct Text {
    /// What it says, with U+FFFD for what is not UTF-8.
    pub value: String,
    /// Its very bytes as Go quotes them, if not all of them are UTF-8.
    pub quoted_bytes: Option<Box<str>>,
}

/// A selector of series.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorSelector {
    /// The metric name when written before or as the first text in the braces; it is also one of
    /// `matchers`.
    pub name: Option<String>,
    /// All matchers, in the order written; the one for `name` last, as Prometheus keeps them.
    pub matchers: Vec<Matcher>,
    /// `offset` and `@`.
    pub modifiers: TimeModifiers,
    /// What is known at the edges of the time looked at.
    pub edges: Edges,
    /// The selector without range and modifiers.
    pub span: Span,
}

/// What samples outside of a window tell about its edges. Prometheus hides all but the first behind
/// `--enable-feature=promql-extended-range-selectors`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Edges {
    /// Nothing: they are not looked at.
    #[default]
    Plain,
    /// `anchored`: the window begins with the value that the series had by then.
    Anchored,
    /// `smoothed`: between samples values lie on a straight line, also at the edges.
    Smoothed,
}

/// `offset` and `@`, as written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TimeModifiers {
    /// `offset 5m`, negative allowed.
    pub offset: Option<Duration>,
    /// `@ 1234.5`, `@ start()`, `@ end()`.
    pub at: Option<At>,
}

/// The `@` modifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// A fixed time.
    Time(Timestamp),
    /// The first time of the query.
    Start,
    /// The last time of the query.
    End,
}

/// A duration in brackets or after `offset`: a literal, or an expression over the query's step and
/// range that is computed once a query.
#[derive(Debug, Clone, PartialEq)]
pub struct Duration {
    /// What it is.
    pub kind: DurationKind,
    /// Where it stands.
    pub span: Span,
}

/// See [`Duration`].
#[derive(Debug, Clone, PartialEq)]
pub enum DurationKind {
    /// A duration (`5m`) or number of seconds (`300`), in seconds.
    Literal {
        /// In seconds.
        seconds: f64,
        /// Whether it was written with a unit.
        has_unit: bool,
    },
    /// `step()`: the query's step, in seconds.
    Step,
    /// `range()`: the query's end minus its start, in seconds.
    Range,
    /// `-duration` or `+duration`
    Unary {
        /// Whether the sign is a minus.
        negative: bool,
        /// The operand.
        operand: Box<Duration>,
    },
    /// `lhs op rhs`; only `+ - * / % ^`.
    Binary {
        /// The operator.
        op: BinaryOp,
        /// Left operand.
        lhs: Box<Duration>,
        /// Right operand.
        rhs: Box<Duration>,
    },
    /// `min_of(a, b)`
    MinOf(Box<Duration>, Box<Duration>),
    /// `max_of(a, b)`
    MaxOf(Box<Duration>, Box<Duration>),
    /// `(duration)`
    Paren(Box<Duration>),
}

/// `expr[range:step]`
#[derive(Debug, Clone, PartialEq)]
pub struct Subquery {
    /// What is evaluated again and again.
    pub expr: Expr,
    /// How far back.
    pub range: Duration,
    /// How often; the engine's default when absent.
    pub step: Option<Duration>,
    /// `offset` and `@`.
    pub modifiers: TimeModifiers,
}

/// An aggregation over series.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// The operator.
    pub op: AggregateOp,
    /// What is aggregated.
    pub expr: Expr,
    /// The parameter of `topk`, `bottomk`, `quantile`, `count_values`, `limitk`, `limit_ratio`.
    pub param: Option<Expr>,
    /// The labels of `by` or `without`, as written.
    pub grouping: Vec<String>,
    /// Whether it was `without`.
    pub without: bool,
}

/// Aggregation operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "named as PromQL names them")]
pub enum AggregateOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    CountValues,
    Quantile,
    Limitk,
    LimitRatio,
}

impl AggregateOp {
    /// Every operator.
    pub const ALL: [Self; 14] = [
        Self::Sum,
        Self::Avg,
        Self::Count,
        Self::Min,
        Self::Max,
        Self::Group,
        Self::Stddev,
        Self::Stdvar,
        Self::Topk,
        Self::Bottomk,
        Self::CountValues,
        Self::Quantile,
        Self::Limitk,
        Self::LimitRatio,
    ];

    /// The operator as written, in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Count => "count",
            Self::Min => "min",
            Self::Max => "max",
            Self::Group => "group",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::Topk => "topk",
            Self::Bottomk => "bottomk",
            Self::CountValues => "count_values",
            Self::Quantile => "quantile",
            Self::Limitk => "limitk",
            Self::LimitRatio => "limit_ratio",
        }
    }

    /// The type of its parameter, if it takes one.
    pub const fn param(self) -> Option<ValueType> {
        match self {
            Self::Topk | Self::Bottomk | Self::Quantile | Self::Limitk | Self::LimitRatio => {
                Some(ValueType::Scalar)
            }
            Self::CountValues => Some(ValueType::String),
            _ => None,
        }
    }

    /// Whether Prometheus hides it behind `--enable-feature=promql-experimental-functions`.
    pub const fn is_experimental(self) -> bool {
        matches!(self, Self::Limitk | Self::LimitRatio)
    }
}

/// A binary operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// Left operand.
    pub lhs: Expr,
    /// Right operand.
    pub rhs: Expr,
    /// Whether `bool` follows a comparison.
    pub return_bool: bool,
    /// How vectors are matched; `None` unless both operands are vectors.
    pub matching: Option<VectorMatching>,
}

/// Binary operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "named as mathematics and PromQL name them")]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    And,
    Or,
    Unless,
    TrimUpper,
    TrimLower,
}

impl BinaryOp {
    /// The operator as written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
        }
    }

    /// `==`, `!=`, `<`, `<=`, `>`, `>=`
    pub const fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Equal
                | Self::NotEqual
                | Self::Less
                | Self::LessEqual
                | Self::Greater
                | Self::GreaterEqual
        )
    }

    /// `and`, `or`, `unless`
    pub const fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }
}

/// How the series of two vectors find each other.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorMatching {
    /// One-to-one, many-to-one or one-to-many; set operators are many-to-many.
    pub cardinality: Cardinality,
    /// The labels of `on` or `ignoring`, as written.
    pub labels: Vec<String>,
    /// Whether it was `on`.
    pub on: bool,
    /// The labels of `group_left` or `group_right`.
    pub include: Vec<String>,
    /// `fill` or `fill_left`: what stands for a series that is missing on the left, or with a group
    /// on the side of the many.
    pub fill_left: Option<f64>,
    /// `fill` or `fill_right`: what stands for a series that is missing on the right, or with a group
    /// on the side of the one.
    pub fill_right: Option<f64>,
}

/// See [`VectorMatching`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as PromQL names them")]
pub enum Cardinality {
    OneToOne,
    ManyToOne,
    OneToMany,
    ManyToMany,
}

impl Expr {
    /// The type of the expression's value.
    pub fn value_type(&self) -> ValueType {
        match &self.kind {
            ExprKind::Number { .. } => ValueType::Scalar,
            ExprKind::String(_) => ValueType::String,
            ExprKind::VectorSelector(_) | ExprKind::Aggregate(_) => ValueType::Vector,
            ExprKind::MatrixSelector { .. } | ExprKind::Subquery(_) => ValueType::Matrix,
            ExprKind::Call { function, .. } => function.returns,
            ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => expr.value_type(),
            ExprKind::Binary(binary) => {
                let scalar = |expr: &Self| expr.value_type() == ValueType::Scalar;
                if scalar(&binary.lhs) && scalar(&binary.rhs) {
                    ValueType::Scalar
                } else {
                    ValueType::Vector
                }
            }
        }
    }

    /// The selectors in the expression, in the order written.
    pub fn selectors(&self) -> Vec<&VectorSelector> {
        let mut found = Vec::new();
        self.add_selectors(&mut found);
        found
    }

    fn add_selectors<'a>(&'a self, found: &mut Vec<&'a VectorSelector>) {
        match &self.kind {
            ExprKind::Number { .. } | ExprKind::String(_) => {}
            ExprKind::VectorSelector(selector) | ExprKind::MatrixSelector { selector, .. } => {
                found.push(selector);
            }
            ExprKind::Subquery(subquery) => subquery.expr.add_selectors(found),
            ExprKind::Call { args, .. } => {
                for arg in args {
                    arg.add_selectors(found);
                }
            }
            ExprKind::Aggregate(aggregate) => {
                for expr in aggregate.param.iter().chain([&aggregate.expr]) {
                    expr.add_selectors(found);
                }
            }
            ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => expr.add_selectors(found),
            ExprKind::Binary(binary) => {
                binary.lhs.add_selectors(found);
                binary.rhs.add_selectors(found);
            }
        }
    }

    /// Whether the expression is a text that can name a label: any but the empty one can that is UTF-8.
    pub(crate) fn is_label_name(&self) -> bool {
        match &self.without_parens().kind {
            ExprKind::String(text) => !text.value.is_empty() && text.quoted_bytes.is_none(),
            _ => false,
        }
    }

    /// The expression inside any parentheses around it.
    pub fn without_parens(&self) -> &Self {
        let mut expr = self;
        while let ExprKind::Paren(inner) = &expr.kind {
            expr = inner;
        }
        expr
    }
}

impl ValueType {
    /// The type in Prometheus's error texts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }
}
