//! The words everything else speaks: labels, matchers, samples, histograms, timestamps.

mod affix;
mod date;
mod histogram;
mod labels;
mod matcher;
pub mod quoting;
mod regex;
mod sample;

pub(crate) use affix::has_prefix;
pub use date::Date;
pub(crate) use histogram::BUCKETS_MAX;
pub use histogram::{
    CUSTOM_BUCKETS_SCHEMA, Counts, Histogram, HistogramColumns, HistogramCounts, HistogramLayout,
    InvalidHistogram, Kind, ResetHint, Span,
};
pub use labels::{InvalidLabels, Labels, LabelsBuilder, METRIC_NAME};
pub(crate) use labels::{LabelsEncoder, compare_encoded, decode_pair};
pub use matcher::{MatchOp, Matcher};
pub use regex::{Regex, RegexError, SearchRegex};
pub use sample::{STALE_MARKER_BITS, Sample, TimeRange, Timestamp, is_stale_marker, stale_marker};
