//! What an operator does to the store: snapshots, deletes, and the room that deletes leave.
//!
//! Off unless `--web.enable-admin-api` is given. Answers, texts and the order in which parameters are
//! looked at are those of Prometheus 3.5.3, observed; unlike there, nothing is deleted when one of
//! several selectors is wrong.

use std::sync::Arc;

use narthex_storage::Matcher;

use super::{Answer, ApiError, Call, Success, matchers, series::time_range};
use crate::api::{
    ErrorType, Params, StoreAdmin,
    json::{Escape, push_string},
    quote,
};

/// `POST /api/v1/admin/tsdb/snapshot`
pub(crate) async fn snapshot(call: Call) -> Answer {
    let store = enabled(&call)?;
    let skip_head = skip_head(&call.params)?;
    let name = run(move || store.snapshot(skip_head)).await?;
    let mut success = Success::new();
    success.body.extend_from_slice(b"{\"name\":");
    push_string(&mut success.body, &name, Escape::Html);
    success.body.push(b'}');
    Ok(success)
}

/// `POST /api/v1/admin/tsdb/delete_series`
pub(crate) async fn delete_series(call: Call) -> Answer {
    let store = enabled(&call)?;
    let params = &call.params;
    params.check_form()?;
    if params.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let range = time_range(params)?;
    let selectors = selectors(params)?;
    if range.min <= range.max && !selectors.is_empty() {
        run(move || store.delete_series(&selectors, range)).await?;
    }
    Ok(Success::without_content())
}

/// `POST /api/v1/admin/tsdb/clean_tombstones`
pub(crate) async fn clean_tombstones(call: Call) -> Answer {
    let store = enabled(&call)?;
    run(move || store.clean_tombstones()).await?;
    Ok(Success::without_content())
}

fn enabled(call: &Call) -> Result<Arc<dyn StoreAdmin>, ApiError> {
    if !call.state.settings.enable_admin_api {
        return Err(ApiError::new(ErrorType::Unavailable, "admin APIs disabled"));
    }
    Ok(Arc::clone(&call.state.open_store()?.admin))
}

fn skip_head(params: &Params) -> Result<bool, ApiError> {
    params.boolean("skip_head").map_err(|text| {
        let problem = format!(
            "unable to parse boolean: strconv.ParseBool: parsing {}: invalid syntax",
            quote(text.as_bytes())
        );
        ApiError::parameter("skip_head", problem)
    })
}

/// Unlike for reads, a selector may match everything; but one without any matcher, `{}`, selects nothing.
fn selectors(params: &Params) -> Result<Vec<Vec<Matcher>>, ApiError> {
    let mut selectors = Vec::new();
    for text in params.all("match[]") {
        let parsed = matchers(text);
        selectors.push(parsed.map_err(|error| ApiError::parameter("match[]", error.message))?);
    }
    selectors.retain(|matchers| !matchers.is_empty());
    Ok(selectors)
}

/// Runs on the blocking pool, to its end even when the client goes away.
async fn run<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> Result<T, ApiError> {
    let outcome = match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(panic) => Err(panic.into()),
    };
    outcome.map_err(|error| ApiError::new(ErrorType::Internal, format!("{error:#}")))
}
