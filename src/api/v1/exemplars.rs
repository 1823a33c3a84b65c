//! Exemplars of the series that a query selects.

use narthex_query::{FloatStyle, parser::parse, push_float};
use narthex_storage::{Exemplar, Labels, Matcher, TimeRange};

use super::{Answer, ApiError, Call, Success, query::parser_options};
use crate::api::{
    Instant, Read,
    json::{push_labels, push_time},
};

/// `/api/v1/query_exemplars`: those of every selector in the query, whatever the query does with it. A query
/// without a selector has nothing to say, seen in 3.5.3.
pub(crate) async fn exemplars(call: Call) -> Answer {
    let params = &call.params;
    let start = params.time_or("start", Instant::MIN)?;
    let end = params.time_or("end", Instant::MAX)?;
    if end < start {
        return Err(ApiError::bad_data(
            "end timestamp must not be before start timestamp",
        ));
    }
    let expr = parse(params.first("query"), parser_options(&call.state))
        .map_err(|error| ApiError::bad_data(error.to_string()))?;
    let selectors = expr.selectors().into_iter();
    let selectors: Vec<Vec<Matcher>> = selectors
        .map(|selector| selector.matchers.clone())
        .collect();
    if selectors.is_empty() {
        return Ok(Success::without_content());
    }
    let range = TimeRange::new(start.milliseconds(), end.milliseconds());
    let state = call.state;
    let store = state.open_store()?.clone();
    let deadline = state.clock.monotonic() + state.settings.query_timeout;
    let work = move |_: &_, _| {
        let mut success = Success::new();
        push_exemplars(&mut success.body, &(store.exemplars)(&selectors, range));
        Ok(success)
    };
    state.gate.run(&state, Read::Lookup, deadline, work).await
}

fn push_exemplars(out: &mut Vec<u8>, found: &[(Labels, Vec<Exemplar>)]) {
    out.push(b'[');
    for (index, (series, exemplars)) in found.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"seriesLabels\":");
        push_labels(out, series);
        out.extend_from_slice(b",\"exemplars\":[");
        for (index, exemplar) in exemplars.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"labels\":");
            push_labels(out, &exemplar.labels);
            out.extend_from_slice(b",\"value\":\"");
            push_float(out, exemplar.value, FloatStyle::Json);
            out.extend_from_slice(b"\",\"timestamp\":");
            push_time(out, exemplar.time);
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
    }
    out.push(b']');
}
