//! The endpoints, one file a family.

pub(crate) mod admin;
pub(crate) mod exemplars;
pub(crate) mod metadata;
pub(crate) mod query;
mod result;
pub(crate) mod rules;
pub(crate) mod series;
pub(crate) mod status;
pub(crate) mod syntax_tree;
pub(crate) mod targets;

use std::sync::Arc;

use narthex_query::parser::parse_selector;
use narthex_storage::Matcher;

use super::{Answer, ApiError, Content, ErrorType, Params, State, Success};

/// An endpoint of `/api/v1` that answers with an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Alertmanagers,
    Alerts,
    BuildInfo,
    CleanTombstones,
    Config,
    DeleteSeries,
    DropSeries,
    Flags,
    FormatQuery,
    LabelNames,
    LabelValues,
    Metadata,
    Notifications,
    ParseQuery,
    Query,
    QueryExemplars,
    QueryRange,
    Rules,
    RuntimeInfo,
    ScrapePools,
    Series,
    Snapshot,
    Targets,
    TargetsMetadata,
    TsdbStatus,
    WalReplay,
}

impl Endpoint {
    /// Whether values of a `multipart/form-data` body count; seen in Prometheus 3.5.3.
    pub(crate) const fn reads_multipart(self) -> bool {
        !matches!(
            self,
            Self::DeleteSeries | Self::DropSeries | Self::Rules | Self::Series | Self::Targets
        )
    }
}

/// A request to an endpoint.
#[derive(Debug)]
pub(crate) struct Call {
    /// The server.
    pub(crate) state: Arc<State>,
    /// Query string and form body.
    pub(crate) params: Params,
    /// The path's `:name`, decoded; empty where there is none.
    pub(crate) name: Vec<u8>,
}

/// Answers a call.
pub(crate) async fn answer(endpoint: Endpoint, call: Call) -> Result<Content, ApiError> {
    let answer = match endpoint {
        Endpoint::Query => return query::instant(call).await,
        Endpoint::QueryRange => return query::range(call).await,
        Endpoint::Alertmanagers => Ok(rules::alertmanagers(&call)),
        Endpoint::Alerts => rules::alerts(call).await,
        Endpoint::BuildInfo => Ok(status::build_info()),
        Endpoint::CleanTombstones => admin::clean_tombstones(call).await,
        Endpoint::Config => Ok(status::config(&call)),
        Endpoint::DeleteSeries => admin::delete_series(call).await,
        // Prometheus has the route and this very answer, seen in 3.5.3.
        Endpoint::DropSeries => Err(ApiError::new(ErrorType::Internal, "not implemented")),
        Endpoint::Flags => Ok(status::flags(&call)),
        Endpoint::FormatQuery => query::format(&call),
        Endpoint::LabelNames => series::label_names(call).await,
        Endpoint::LabelValues => series::label_values(call).await,
        Endpoint::Metadata => metadata::metadata(&call),
        Endpoint::Notifications => Ok(Success::of("[]")),
        Endpoint::ParseQuery => syntax_tree::parse_query(&call),
        Endpoint::QueryExemplars => exemplars::exemplars(call).await,
        Endpoint::Rules => rules::rules(call).await,
        Endpoint::RuntimeInfo => Ok(status::runtime_info(&call)),
        Endpoint::ScrapePools => Ok(targets::scrape_pools(&call)),
        Endpoint::Series => series::series(call).await,
        Endpoint::Snapshot => admin::snapshot(call).await,
        Endpoint::Targets => Ok(targets::targets(&call)),
        Endpoint::TargetsMetadata => metadata::targets_metadata(&call),
        Endpoint::TsdbStatus => status::tsdb(call).await,
        Endpoint::WalReplay => Ok(status::wal_replay()),
    };
    answer.map(Success::finish)
}

/// The selectors of `match[]`, each a list of matchers of which at least one refuses the empty text. One
/// that does not parse is told first, wherever it stands.
fn selectors(params: &Params) -> Result<Vec<Vec<Matcher>>, ApiError> {
    let selectors: Result<Vec<_>, _> = params.all("match[]").map(matchers).collect();
    let selectors = selectors?;
    let takes_all = |matchers: &Vec<Matcher>| matchers.iter().all(|matcher| matcher.matches(""));
    if selectors.iter().any(takes_all) {
        return Err(ApiError::bad_data(
            "match[] must contain at least one non-empty matcher",
        ));
    }
    Ok(selectors)
}

/// The matchers of a selector.
fn matchers(text: &str) -> Result<Vec<Matcher>, ApiError> {
    parse_selector(text).map_err(|error| ApiError::bad_data(error.to_string()))
}
