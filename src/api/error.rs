//! The one table from what went wrong to `errorType` and status code.

use std::borrow::Cow;

use http::StatusCode;
use narthex_query::QueryError;
use narthex_storage::ReadError;

/// The `errorType` of an error answer.
///
/// Source: Prometheus `web/api/v1`, error types; status codes observed in Prometheus 3.5.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorType {
    /// The request is wrong.
    BadData,
    /// The query could not be evaluated.
    Execution,
    /// The deadline passed.
    Timeout,
    /// The client went away.
    Canceled,
    /// The server cannot do this as it was started.
    Unavailable,
    /// Our fault.
    Internal,
}

impl ErrorType {
    /// As it stands in the answer.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::BadData => "bad_data",
            Self::Execution => "execution",
            Self::Timeout => "timeout",
            Self::Canceled => "canceled",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// The status code of the answer; 499 is the one that proxies use for a client that left.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::BadData => StatusCode::BAD_REQUEST,
            Self::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Timeout => StatusCode::SERVICE_UNAVAILABLE,
            Self::Canceled => StatusCode::from_u16(499).expect("499 lies in the range of codes"),
            Self::Unavailable | Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    /// Its type, which also gives the status code.
    pub(crate) kind: ErrorType,
    /// What a person reads.
    pub(crate) message: Cow<'static, str>,
}

impl ApiError {
    /// An error of the given type.
    pub(crate) fn new(kind: ErrorType, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// The request is wrong.
    pub(crate) fn bad_data(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorType::BadData, message)
    }

    /// The value of one parameter is wrong.
    pub(crate) fn parameter(name: &str, problem: impl std::fmt::Display) -> Self {
        Self::bad_data(format!("invalid parameter \"{name}\": {problem}"))
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let kind = match &error {
            QueryError::Parse(_) | QueryError::BadData(_) => {
                return Self::parameter("query", error);
            }
            QueryError::Execution(_) => ErrorType::Execution,
            QueryError::Timeout(_) => ErrorType::Timeout,
            QueryError::Canceled(_) => ErrorType::Canceled,
            QueryError::Internal(_) => ErrorType::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

/// For reads that are not queries (labels, series).
impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        let kind = match &error {
            ReadError::Canceled => ErrorType::Canceled,
            ReadError::Budget { .. } | ReadError::OtherKind(_) => ErrorType::Execution,
            ReadError::Corruption(_) => ErrorType::Internal,
        };
        let mut message = error.to_string();
        if let Some(cause) = std::error::Error::source(&error) {
            message = format!("{message}: {cause}");
        }
        Self::new(kind, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_the_status_code_that_prometheus_gives_it() {
        for (kind, text, status) in [
            (ErrorType::BadData, "bad_data", 400),
            (ErrorType::Execution, "execution", 422),
            (ErrorType::Timeout, "timeout", 503),
            (ErrorType::Canceled, "canceled", 499),
            (ErrorType::Unavailable, "unavailable", 500),
            (ErrorType::Internal, "internal", 500),
        ] {
            assert_eq!((kind.as_str(), kind.status().as_u16()), (text, status));
        }
    }
}
