//! What a query answers.

use narthex_storage::{Labels, Sample, Timestamp};

/// The value of an expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number.
    Scalar(Sample),
    /// A text.
    String {
        /// The evaluation time.
        time: Timestamp,
        /// The text.
        value: String,
    },
    /// One sample a series, in the order of the answer.
    Vector(Vec<VectorSample>),
    /// Several samples a series, in label order.
    Matrix(Vec<Series>),
}

/// An element of an instant vector.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorSample {
    /// The series.
    pub labels: Labels,
    /// Its sample.
    pub sample: Sample,
}

/// A series with its samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The labels.
    pub labels: Labels,
    /// The samples, ascending in time, at least one.
    pub samples: Vec<Sample>,
}
