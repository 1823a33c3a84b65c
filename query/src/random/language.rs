//! Which part of the language is asked.

use crate::{
    Features,
    functions::{FUNCTIONS, Function},
    parser::{AggregateOp, BinaryOp},
};

/// What a random query is made of.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a construct of its own"
)]
pub struct Language {
    /// The functions.
    pub functions: Vec<&'static Function>,
    /// The aggregators.
    pub aggregators: Vec<AggregateOp>,
    /// The operators.
    pub operators: Vec<BinaryOp>,
    /// `step()`, `range()`, `min_of()` and `max_of()` in durations.
    pub duration_calls: bool,
    /// `fill`, `fill_left` and `fill_right`.
    pub fill: bool,
    /// `anchored` and `smoothed`.
    pub edges: bool,
    /// Now and then an argument of a wrong type, a missing one, or an operator that does not fit.
    pub mistakes: bool,
}

impl Language {
    /// All that `features` enable.
    pub fn new(features: Features) -> Self {
        let experimental = features.experimental_functions;
        Self {
            functions: FUNCTIONS
                .iter()
                .filter(|function| experimental || !function.is_experimental)
                .collect(),
            aggregators: AggregateOp::ALL
                .into_iter()
                .filter(|op| experimental || !op.is_experimental())
                .collect(),
            operators: OPERATORS.to_vec(),
            duration_calls: true,
            fill: features.fill_modifiers,
            edges: features.extended_range_selectors,
            mistakes: true,
        }
    }
}

const OPERATORS: [BinaryOp; 18] = [
    BinaryOp::Add,
    BinaryOp::Sub,
    BinaryOp::Mul,
    BinaryOp::Div,
    BinaryOp::Mod,
    BinaryOp::Pow,
    BinaryOp::Atan2,
    BinaryOp::Equal,
    BinaryOp::NotEqual,
    BinaryOp::Less,
    BinaryOp::LessEqual,
    BinaryOp::Greater,
    BinaryOp::GreaterEqual,
    BinaryOp::And,
    BinaryOp::Or,
    BinaryOp::Unless,
    BinaryOp::TrimUpper,
    BinaryOp::TrimLower,
];
