//! What a query answers.

use std::sync::Arc;

use narthex_storage::{Labels, Sample, Timestamp};

use crate::FloatHistogram;

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
    /// The evaluation time.
    pub time: Timestamp,
    /// Its value.
    pub value: SampleValue,
}

/// What a sample is.
#[derive(Debug, Clone, PartialEq)]
pub enum SampleValue {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
}

impl SampleValue {
    /// The number, if it is one.
    pub fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Histogram(_) => None,
        }
    }
}

/// A series with its samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The labels.
    pub labels: Labels,
    /// The numbers, ascending in time.
    pub samples: Vec<Sample>,
    /// The native histograms, ascending in time; of both together there is at least one, and no two have the
    /// same time.
    pub histograms: Vec<HistogramSample>,
}

/// A native histogram at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramSample {
    /// When.
    pub time: Timestamp,
    /// The histogram.
    pub histogram: Arc<FloatHistogram>,
}
