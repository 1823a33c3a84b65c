//! Evaluations: instant and range queries; also what is said about a query without evaluating it.

use std::{sync::Arc, time::Duration};

use narthex_query::{
    Engine, Grid, QueryContext, QueryError,
    parser::{ParserOptions, parse},
};
use narthex_storage::{Budget, Queryable};

use super::{Answer, ApiError, Call, Success, result::Print};
use crate::api::{
    AnswerWriter, Content, Instant, Params, State,
    json::{Escape, push_integer, push_number, push_string, push_time},
    params::parse_nanoseconds,
    response,
};

/// The most points a series of a range query may have.
const POINTS_MAX: i64 = 11_000;

/// `/api/v1/query`
pub(crate) async fn instant(call: Call) -> Result<Content, ApiError> {
    let params = &call.params;
    let limit = params.limit()?;
    let now = Instant::from_milliseconds(call.state.clock.now());
    let time = params.time_or("time", now)?.evaluation_milliseconds();
    let asked = Asked::read(params, &call.state, limit)?;
    evaluate(&call.state, asked, move |engine, store, text, context| {
        engine.instant(store, text, time, context)
    })
    .await
}

/// `/api/v1/query_range`
pub(crate) async fn range(call: Call) -> Result<Content, ApiError> {
    let params = &call.params;
    let limit = params.limit()?;
    let start = params.time("start")?;
    let end = params.time("end")?;
    if end < start {
        return Err(ApiError::parameter(
            "end",
            "end timestamp must not be before start time",
        ));
    }
    let step = parse_nanoseconds(params.first("step"))
        .map_err(|problem| ApiError::parameter("step", problem))?;
    if step <= 0 {
        return Err(ApiError::parameter(
            "step",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    if end.nanoseconds_since(start) / step > POINTS_MAX {
        return Err(ApiError::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    let asked = Asked::read(params, &call.state, limit)?;
    let grid = Grid {
        start: start.evaluation_milliseconds(),
        end: end.evaluation_milliseconds(),
        step_ms: step / 1_000_000,
    };
    if grid.step_ms == 0 {
        return Err(ApiError::parameter(
            "step",
            "query resolution step widths below a millisecond are not accepted",
        ));
    }
    // Samples are counted over all steps, or not at all.
    let state = asked.uses_cache(params).then(|| Arc::clone(&call.state));
    evaluate(&call.state, asked, move |engine, store, text, context| {
        let Some(state) = state else {
            let answer = engine.matrix(store, text, grid, context)?;
            return Ok(answer.map(Arc::new));
        };
        engine.matrix_with(store, text, grid, context, &state.results)
    })
    .await
}

/// What instant and range queries have in common.
struct Asked {
    text: String,
    limit: usize,
    timeout: Duration,
    lookback: Option<Duration>,
    /// The parameter `stats`: any text asks for them, `all` also for those of each step.
    statistics: String,
}

impl Asked {
    fn read(params: &Params, state: &State, limit: usize) -> Result<Self, ApiError> {
        let mut timeout = state.settings.query_timeout;
        let text = params.first("timeout");
        if !text.is_empty() {
            let asked = parse_nanoseconds(text)
                .map_err(|problem| ApiError::parameter("timeout", problem))?;
            match u64::try_from(asked) {
                Ok(nanoseconds @ 1..) => timeout = timeout.min(Duration::from_nanos(nanoseconds)),
                _ => return Err(ApiError::parameter("query", "context deadline exceeded")),
            }
        }
        let text = params.first("lookback_delta");
        let lookback = if text.is_empty() {
            None
        } else {
            let asked = parse_nanoseconds(text).map_err(|problem| {
                ApiError::bad_data(format!("error parsing lookback delta duration: {problem}"))
            })?;
            // As in Prometheus, what is not positive means the default.
            u64::try_from(asked)
                .ok()
                .filter(|nanoseconds| *nanoseconds > 0)
                .map(Duration::from_nanos)
        };
        Ok(Self {
            text: params.first("query").to_owned(),
            limit,
            timeout,
            lookback,
            statistics: params.first("stats").to_owned(),
        })
    }

    /// Whether a range query may go on from an earlier answer and be gone on from: not with `nocache`, which is
    /// `VictoriaMetrics`'s parameter and read as it does, and not when samples are to be told.
    fn uses_cache(&self, params: &Params) -> bool {
        let nocache = params.first("nocache").to_ascii_lowercase();
        matches!(nocache.as_str(), "" | "0" | "f" | "false" | "no") && self.statistics.is_empty()
    }
}

async fn evaluate<V: Print + 'static>(
    state: &Arc<State>,
    asked: Asked,
    run: impl FnOnce(
        &Engine,
        &dyn Queryable,
        &str,
        &QueryContext<'_>,
    ) -> Result<narthex_query::Answer<V>, QueryError>
    + Send
    + 'static,
) -> Result<Content, ApiError> {
    let store = state.open_store()?.clone();
    let deadline = state.clock.monotonic() + asked.timeout;
    let inner = Arc::clone(state);
    let work = move |budget: &Budget, waited: Duration, writer: &mut AnswerWriter| {
        let began = inner.clock.monotonic();
        let context = QueryContext {
            budget,
            deadline: Some(deadline),
            clock: inner.clock.as_ref(),
            lookback: asked.lookback,
            tells_steps: asked.statistics == "all",
            tells_peak: !asked.statistics.is_empty(),
        };
        let mut answer = run(
            &inner.engine,
            store.queryable.as_ref(),
            &asked.text,
            &context,
        )?;
        let took = inner.clock.monotonic().saturating_sub(began);
        inner.metrics.observe_query(took, answer.samples_total);
        writer.out().extend_from_slice(response::HEAD);
        let is_truncated = answer.value.print(writer, asked.limit)?;
        if !asked.statistics.is_empty() {
            push_statistics(writer.out(), &answer, waited, took);
        }
        if is_truncated {
            answer.warnings.push(response::TRUNCATED.to_owned());
        }
        writer.out().push(b'}');
        response::push_end(writer.out(), &answer.warnings, &answer.infos);
        Ok(())
    };
    state.gate.print(state, deadline, work).await
}

/// Appends `stats`. Phases that the engine does not time apart count as evaluation.
fn push_statistics<V>(
    out: &mut Vec<u8>,
    answer: &narthex_query::Answer<V>,
    waited: Duration,
    took: Duration,
) {
    out.extend_from_slice(b",\"stats\":{\"timings\":{");
    for (name, seconds) in [
        ("evalTotalTime", took.as_secs_f64()),
        ("resultSortTime", 0.0),
        ("queryPreparationTime", 0.0),
        ("innerEvalTime", took.as_secs_f64()),
        ("execQueueTime", waited.as_secs_f64()),
        ("execTotalTime", (waited + took).as_secs_f64()),
    ] {
        out.extend_from_slice(format!("\"{name}\":").as_bytes());
        push_number(out, seconds);
        out.push(b',');
    }
    out.pop();
    out.extend_from_slice(b"},\"samples\":{");
    if !answer.samples_by_step.is_empty() {
        out.extend_from_slice(b"\"totalQueryableSamplesPerStep\":[");
        for (index, (time, samples)) in answer.samples_by_step.iter().enumerate() {
            out.extend_from_slice(if index > 0 { b",[" } else { b"[" });
            push_time(out, *time);
            out.push(b',');
            push_integer(out, *samples as i64);
            out.push(b']');
        }
        out.extend_from_slice(b"],");
    }
    out.extend_from_slice(b"\"totalQueryableSamples\":");
    push_integer(out, answer.samples_total as i64);
    out.extend_from_slice(b",\"peakSamples\":");
    push_integer(out, answer.samples_peak as i64);
    out.extend_from_slice(b"}}");
}

pub(super) fn parser_options(state: &State) -> ParserOptions {
    state.engine.options().features.parser()
}

/// `/api/v1/format_query`
pub(crate) fn format(call: &Call) -> Answer {
    let expr = parse(call.params.first("query"), parser_options(&call.state))
        .map_err(|error| ApiError::parameter("query", error))?;
    let mut success = Success::new();
    push_string(
        &mut success.body,
        &narthex_query::parser::format_query(&expr),
        Escape::Html,
    );
    Ok(success)
}
