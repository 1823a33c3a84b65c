//! Label names, label values and series.

use std::collections::BTreeSet;

use narthex_storage::{Budget, Labels, Matcher, Querier, ReadError, Select, TimeRange, Wants};

use super::{Answer, ApiError, Call, Success, selectors};
use crate::api::{
    Instant, Params, Read,
    json::{push_labels, push_strings},
    params::unescape_name,
    quote,
};

/// `/api/v1/labels`
pub(crate) async fn label_names(call: Call) -> Answer {
    let limit = call.params.limit()?;
    let range = time_range(&call.params)?;
    let selectors = selectors(&call.params)?;
    let names = look_up(call, range, move |querier, budget| {
        union(&selectors, limit, |matchers, limit| {
            querier.label_names(matchers, limit, budget)
        })
    })
    .await?;
    Ok(strings(names, limit))
}

/// `/api/v1/label/:name/values`
pub(crate) async fn label_values(call: Call) -> Answer {
    let name = match std::str::from_utf8(&call.name) {
        Ok(name) if !name.is_empty() => unescape_name(name),
        _ => {
            return Err(ApiError::bad_data(format!(
                "invalid label name: {}",
                quote(&call.name)
            )));
        }
    };
    let limit = call.params.limit()?;
    let range = time_range(&call.params)?;
    let selectors = selectors(&call.params)?;
    let values = look_up(call, range, move |querier, budget| {
        union(&selectors, limit, |matchers, limit| {
            querier.label_values(&name, matchers, limit, budget)
        })
    })
    .await?;
    Ok(strings(values, limit))
}

/// `/api/v1/series`
pub(crate) async fn series(call: Call) -> Answer {
    let params = &call.params;
    params.check_form()?;
    if params.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let limit = params.limit()?;
    let range = time_range(params)?;
    let selectors =
        selectors(params).map_err(|error| ApiError::parameter("match[]", error.message))?;
    let sets = look_up(call, range, move |querier, budget| {
        let mut union = BTreeSet::new();
        for matchers in &selectors {
            let request = Select {
                matchers,
                range,
                limit: one_more(limit),
                wants: Wants::Labels,
            };
            let selection = querier.select(&request, budget)?;
            union.extend(
                selection
                    .series()
                    .iter()
                    .map(|series| series.labels.clone()),
            );
        }
        Ok(union)
    })
    .await?;
    let mut success = Success::new();
    let wanted = if limit == 0 { usize::MAX } else { limit };
    let is_truncated = sets.len() > wanted;
    push_label_sets(&mut success.body, sets.iter().take(wanted));
    if is_truncated {
        success.truncated();
    }
    Ok(success)
}

fn push_label_sets<'a>(out: &mut Vec<u8>, sets: impl Iterator<Item = &'a Labels>) {
    out.push(b'[');
    for (index, labels) in sets.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_labels(out, labels);
    }
    out.push(b']');
}

/// `start` and `end`, both inclusive; everything when they are missing.
pub(super) fn time_range(params: &Params) -> Result<TimeRange, ApiError> {
    let start = params.time_or("start", Instant::MIN)?;
    let end = params.time_or("end", Instant::MAX)?;
    Ok(TimeRange::new(start.milliseconds(), end.milliseconds()))
}

/// Runs a label read on a snapshot; a range that ends before it starts finds nothing.
async fn look_up<T: Default + Send + 'static>(
    call: Call,
    range: TimeRange,
    read: impl FnOnce(&dyn Querier, &Budget) -> Result<T, ReadError> + Send + 'static,
) -> Result<T, ApiError> {
    if range.min > range.max {
        return Ok(T::default());
    }
    let state = call.state;
    let store = state.open_store()?.clone();
    let deadline = state.clock.monotonic() + state.settings.query_timeout;
    let work = move |budget: &Budget, _| {
        let querier = store.queryable.querier(range)?;
        Ok(read(querier.as_ref(), budget)?)
    };
    state.gate.run(&state, Read::Lookup, deadline, work).await
}

/// What to ask for so that more than `limit` can be told from exactly `limit`.
fn one_more(limit: usize) -> Option<usize> {
    (limit > 0).then(|| limit.saturating_add(1))
}

/// The union of what `read` finds for each selector; without selectors, for everything.
fn union(
    selectors: &[Vec<Matcher>],
    limit: usize,
    read: impl Fn(&[Matcher], Option<usize>) -> Result<Vec<String>, ReadError>,
) -> Result<Vec<String>, ReadError> {
    match selectors {
        [] => read(&[], one_more(limit)),
        [matchers] => read(matchers, one_more(limit)),
        several => {
            let mut union = BTreeSet::new();
            for matchers in several {
                union.extend(read(matchers, one_more(limit))?);
            }
            Ok(union.into_iter().collect())
        }
    }
}

fn strings(mut texts: Vec<String>, limit: usize) -> Success {
    let mut success = Success::new();
    if limit > 0 && texts.len() > limit {
        texts.truncate(limit);
        success.truncated();
    }
    push_strings(&mut success.body, texts);
    success
}
