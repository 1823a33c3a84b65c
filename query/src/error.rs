//! Errors by the HTTP API's `errorType`.

use crate::parser::ParseError;

/// Why a query has no answer. One variant for each `errorType` of the HTTP API that a query can end
/// with; the messages are Prometheus's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The text is not PromQL, or uses a construct that is not enabled or not built (`bad_data`).
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The text is PromQL that cannot be asked in this way (`bad_data`).
    #[error("{0}")]
    BadData(String),
    /// The evaluation failed (`execution`).
    #[error("{0}")]
    Execution(String),
    /// The deadline passed (`timeout`).
    #[error("query timed out in {0}")]
    Timeout(&'static str),
    /// The caller went away (`canceled`).
    #[error("query was canceled in {0}")]
    Canceled(&'static str),
    /// The store failed, or the engine broke a promise of its own (`internal`).
    #[error("{0}")]
    Internal(String),
}
