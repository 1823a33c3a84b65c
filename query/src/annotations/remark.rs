//! What is said about samples, mostly native histograms.

use std::fmt;

use crate::parser::quote::quote;

/// How histograms were combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    /// `+`, and what functions add.
    Addition,
    /// `-`, and what functions subtract.
    Subtraction,
    /// Aggregations of series or of windows.
    Aggregation,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Self::Addition => "addition",
            Self::Subtraction => "subtraction",
            Self::Aggregation => "aggregation",
        }
    }
}

/// Something to be said about samples, mostly native histograms; a name is that of the metric.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Remark<'n> {
    /// A window has both kinds of samples.
    MixedKinds(&'n str),
    /// A group of an aggregation has both kinds of samples.
    MixedKindsInAggregation,
    /// A gauge stands where a counter should.
    NotCounter(&'n str),
    /// A counter stands where a gauge should.
    NotGauge(&'n str),
    /// Exponential buckets and custom bounds cannot be combined.
    MixedSchemas(&'n str),
    /// A binary operator cannot combine exponential buckets and custom bounds.
    IncompatibleLayout(&'static str),
    /// Both hints say contrary things.
    ResetsCollide(Operation),
    /// Custom bounds differed and the common ones were taken.
    BoundsReconciled(Operation),
    /// Numbers alone count in a window of both kinds.
    IgnoredInRange(&'n str),
    /// Numbers alone count in an aggregation.
    IgnoredInAggregation(&'static str),
    /// A classic and a native histogram have the same name and labels.
    MixedClassicNative(&'n str),
    /// Observations that are no numbers lie where the quantile would be.
    QuantileIsNan(&'n str),
    /// Observations that are no numbers count as greater than all others.
    QuantileIsSkewed(&'n str),
    /// Observations that are no numbers lie in no fraction.
    FractionWithoutNan(&'n str),
    /// Something may be no counter, for its name does not end like that of one.
    NotNamedCounter(&'n str),
    /// Something may be no counter, for its type label, which comes first, says something else.
    NotTypedCounter(&'n str, &'n str),
    /// A sample counts in part what the one before it has counted, too.
    StartsOverlap(&'n str),
    /// Kinds that a binary operator does not combine: left side, operator, right side.
    IncompatibleKinds(&'static str, &'static str, &'static str),
}

/// A remark in words.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Said {
    pub(crate) text: String,
    /// A warning; else an info.
    pub(crate) is_warning: bool,
}

impl Remark<'_> {
    /// The remark in words.
    pub(crate) fn say(&self) -> Said {
        Said {
            text: self.to_string(),
            is_warning: self.is_warning(),
        }
    }

    fn is_warning(&self) -> bool {
        !matches!(
            self,
            Self::BoundsReconciled(_)
                | Self::IgnoredInRange(_)
                | Self::IgnoredInAggregation(_)
                | Self::QuantileIsNan(_)
                | Self::QuantileIsSkewed(_)
                | Self::FractionWithoutNan(_)
                | Self::IncompatibleKinds(..)
                | Self::NotNamedCounter(_)
                | Self::NotTypedCounter(..)
        )
    }
}

impl fmt::Display for Remark<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MixedKinds(name) => write!(
                formatter,
                "encountered a mix of histograms and floats for metric name {}",
                quote(name)
            ),
            Self::MixedKindsInAggregation => {
                formatter.write_str("encountered a mix of histograms and floats for aggregation")
            }
            Self::NotCounter(name) => write!(
                formatter,
                "this native histogram metric is not a counter: {}",
                quote(name)
            ),
            Self::NotGauge(name) => write!(
                formatter,
                "this native histogram metric is not a gauge: {}",
                quote(name)
            ),
            Self::MixedSchemas(name) => write!(
                formatter,
                "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {}",
                quote(name)
            ),
            Self::IncompatibleLayout(operator) => write!(
                formatter,
                "incompatible bucket layout encountered for binary operator {operator}"
            ),
            Self::ResetsCollide(operation) => write!(
                formatter,
                "conflicting counter resets during histogram {}",
                operation.as_str()
            ),
            Self::BoundsReconciled(operation) => write!(
                formatter,
                "mismatched custom buckets were reconciled during {}",
                operation.as_str()
            ),
            Self::IgnoredInRange(name) => write!(
                formatter,
                "ignored histograms in a range containing both floats and histograms for metric name {}",
                quote(name)
            ),
            Self::IgnoredInAggregation(aggregation) => {
                write!(formatter, "ignored histogram in {aggregation} aggregation")
            }
            Self::MixedClassicNative(name) => write!(
                formatter,
                "vector contains a mix of classic and native histograms{}",
                ForMetric(name)
            ),
            Self::QuantileIsNan(name) => write!(
                formatter,
                "input to histogram_quantile has NaN observations, result is NaN{}",
                ForMetric(name)
            ),
            Self::QuantileIsSkewed(name) => write!(
                formatter,
                "input to histogram_quantile has NaN observations, result is skewed higher{}",
                ForMetric(name)
            ),
            Self::FractionWithoutNan(name) => write!(
                formatter,
                "input to histogram_fraction has NaN observations, which are excluded from all fractions{}",
                ForMetric(name)
            ),
            Self::NotNamedCounter(name) => write!(
                formatter,
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {}",
                quote(name)
            ),
            Self::NotTypedCounter(declared, name) => write!(
                formatter,
                "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", got {}: {}",
                quote(declared),
                quote(name)
            ),
            Self::StartsOverlap(name) => write!(
                formatter,
                "sample has start time that overlaps with previous sample timestamp for metric {}",
                quote(name)
            ),
            Self::IncompatibleKinds(left, operator, right) => write!(
                formatter,
                "incompatible sample types encountered for binary operator {}: {left} {operator} {right}",
                quote(operator)
            ),
        }
    }
}

/// ` for metric name "…"`, or nothing when it has no name.
pub(crate) struct ForMetric<'n>(pub(crate) &'n str);

impl fmt::Display for ForMetric<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return Ok(());
        }
        write!(formatter, " for metric name {}", quote(self.0))
    }
}
