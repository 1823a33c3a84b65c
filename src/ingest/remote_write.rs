//! Remote write 1.0, received at `POST /api/v1/write`.
//!
//! A request is a snappy block around a protobuf message. Either every sample of it is kept or none:
//! a single refused sample answers 400, after which senders do not try again. Series whose labels
//! break a rule are skipped and counted. Exemplars refuse nothing: one that breaks a rule of theirs is left
//! out by itself. Metadata of metric families neither: what the store refuses of it is counted there. Native
//! histograms are refused by name, and so is version 2.0 of the protocol.
//!
//! Samples of one series come in order within a request, also in several pieces. One that is not
//! later than those before it in the same request is left out and the rest is kept, as upstream:
//! an earlier one is counted, and of two with the same time the first stands. It refuses the request
//! only when the store itself, before the request, makes it out of order or a duplicate.
//!
//! Source: the remote write 1.0 specification; answers observed in Prometheus 3.5.3.

#![deny(clippy::indexing_slicing)]

pub(super) mod message;

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use axum::body::Body;
use http::{HeaderMap, Response, StatusCode, header};
use message::{Batch, DECODED_BYTES_MAX};
use narthex_storage::{
    Budget, Labels, MatchOp, Matcher, ReadError, Refusal, Sample, Select, SeriesRef, TimeRange,
    Wants,
};

use crate::api::{State, Store, error_text};

/// The largest body; a snappy block of the largest message cannot be larger.
const BODY_BYTES_MAX: usize = 32 + DECODED_BYTES_MAX + DECODED_BYTES_MAX / 6;

/// How far ahead of the clock a sample may lie, in milliseconds.
const AHEAD_MS_MAX: i64 = 10 * 60 * 1000;

const MESSAGE_V1: &str = "prometheus.WriteRequest";
const MESSAGE_V2: &str = "io.prometheus.write.v2.Request";

/// A request that is not accepted: status and sentence.
#[derive(Debug, PartialEq, Eq)]
struct Rejected(StatusCode, String);

impl Rejected {
    fn bad(message: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, message.into())
    }
}

/// Answers `POST /api/v1/write`: 204 when everything was kept and handed to the kernel.
pub(crate) async fn remote_write(
    state: &Arc<State>,
    headers: &HeaderMap,
    body: Body,
) -> Response<Body> {
    match receive(state, headers, body).await {
        Ok(()) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        Err(Rejected(status, message)) => error_text(status, &message),
    }
}

async fn receive(state: &Arc<State>, headers: &HeaderMap, body: Body) -> Result<(), Rejected> {
    if !state.settings.enable_remote_write_receiver {
        return Err(Rejected(
            StatusCode::NOT_FOUND,
            "remote write receiver needs to be enabled with --web.enable-remote-write-receiver"
                .to_owned(),
        ));
    }
    check_headers(headers)?;
    let body = axum::body::to_bytes(body, BODY_BYTES_MAX)
        .await
        .map_err(|error| Rejected::bad(format!("the body could not be read: {error}")))?;
    let store = state
        .open_store()
        .map_err(|error| Rejected(error.kind.status(), error.message.into_owned()))?
        .clone();
    let time_max = state.clock.now().saturating_add(AHEAD_MS_MAX);
    let window_ms = state.configuration().out_of_order_window_ms;
    let metrics = state.metrics.clone();
    let work = move || {
        let batch = Batch::decode(&body).map_err(|error| Rejected::bad(error.to_string()))?;
        if batch.skipped > 0 {
            metrics.invalid_label_samples.add(batch.skipped);
            tracing::warn!(samples = batch.skipped, "Invalid metric names or labels");
        }
        batch.append(&store, time_max, window_ms)
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        Err(Rejected(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the request could not be processed".to_owned(),
        ))
    })
}

/// Content type and encoding: missing ones mean remote write 1.0 in snappy.
fn check_headers(headers: &HeaderMap) -> Result<(), Rejected> {
    let unsupported = |message| Rejected(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
    let header = |name| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let content_type = header(header::CONTENT_TYPE);
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    if !media_type.is_empty() && media_type != "application/x-protobuf" {
        return Err(unsupported(format!(
            "expected application/x-protobuf as the first (media) part, got {content_type} content-type"
        )));
    }
    for parameter in parts {
        let Some((name, value)) = parameter.split_once('=') else {
            return Err(unsupported(format!(
                "as per https://www.rfc-editor.org/rfc/rfc9110#parameter expected parameters to be key-values, got {parameter} in {content_type} content-type"
            )));
        };
        if name != "proto" {
            continue;
        }
        match value {
            MESSAGE_V1 => {}
            MESSAGE_V2 => {
                return Err(unsupported(format!(
                    "{MESSAGE_V2} protobuf message is not accepted by this server; only accepts {MESSAGE_V1}"
                )));
            }
            unknown => {
                return Err(unsupported(format!(
                    "got {content_type} content type; unknown remote write protobuf message {unknown}, supported: {MESSAGE_V1}"
                )));
            }
        }
    }
    let encoding = header(header::CONTENT_ENCODING);
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("snappy") {
        return Err(unsupported(format!(
            "{encoding} encoding (compression) is not accepted by this server; only snappy is acceptable"
        )));
    }
    Ok(())
}

impl Batch {
    /// Appends everything, or nothing and says why; of series that are too many for the store, everything
    /// else. `window_ms`: by how much a sample may be older than the
    /// store's newest when it is late.
    fn append(self, store: &Store, time_max: i64, window_ms: i64) -> Result<(), Rejected> {
        let mut appender = store.appendable.appender();
        // Pieces of one series come together, in the order of its first piece.
        let mut index: HashMap<SeriesRef, usize> = HashMap::new();
        let mut collected: Vec<(SeriesRef, Labels, Vec<Sample>)> = Vec::new();
        let mut late: Vec<(Labels, Vec<Sample>)> = Vec::new();
        let mut above_limit = None;
        for (labels, samples) in self.series {
            if samples.iter().any(|sample| sample.time > time_max) {
                return Err(Rejected::bad(
                    "out of bounds: timestamp is too far in the future",
                ));
            }
            if samples.is_empty() {
                continue;
            }
            let series = match appender.series(&labels) {
                Ok(series) => series,
                // Those that the store knows go on: a sender does not send them again after a refusal.
                Err(refusal @ Refusal::SeriesLimit) => {
                    above_limit = Some(refusal);
                    continue;
                }
                Err(refusal) => return Err(Rejected::bad(refusal.to_string())),
            };
            let at = *index.entry(series).or_insert(collected.len());
            if at == collected.len() {
                collected.push((series, labels.clone(), Vec::with_capacity(samples.len())));
            }
            let Some((_, _, kept)) = collected.get_mut(at) else {
                continue;
            };
            let mut left_out = Vec::new();
            for sample in samples {
                match kept.last() {
                    Some(newest) if sample.time < newest.time => left_out.push(sample),
                    Some(newest) if sample.time == newest.time => {}
                    _ => kept.push(sample),
                }
            }
            if !left_out.is_empty() {
                late.push((labels, left_out));
            }
        }
        for (labels, left_out) in &late {
            check_late(store, labels, left_out, window_ms)?;
        }
        for (series, _, samples) in &collected {
            appender.samples(*series, samples);
        }
        for (series, exemplar) in self.exemplars {
            if exemplar.time <= time_max {
                appender.exemplar(&series, exemplar);
            }
        }
        for (family, metadata) in self.metadata {
            appender.metadata(&family, metadata);
        }
        let commit = appender.commit(true).map_err(|error| {
            tracing::error!(%error, "Error appending remote write");
            Rejected(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
        })?;
        let Some((position, refusal)) = commit.refused.first() else {
            append_late(store, late);
            return match above_limit {
                None => Ok(()),
                Some(refusal) => Err(Rejected::bad(refusal.to_string())),
            };
        };
        let refused = collected
            .iter()
            .flat_map(|(_, labels, samples)| samples.iter().map(move |sample| (labels, sample)))
            .nth(*position as usize);
        let message = refused.map_or_else(
            || refusal.to_string(),
            |(labels, sample)| describe(*refusal, labels, *sample, store),
        );
        tracing::error!(
            error = %message,
            series = refused.map(|(labels, _)| tracing::field::display(labels)),
            timestamp = refused.map(|(_, sample)| sample.time),
            "Out of order sample from remote write"
        );
        Err(Rejected::bad(message))
    }
}

/// Refuses samples that the store, as it is before the request, does not take. They come out of
/// order within their request, which alone refuses nothing.
fn check_late(
    store: &Store,
    labels: &Labels,
    samples: &[Sample],
    window_ms: i64,
) -> Result<(), Rejected> {
    let Some(oldest) = samples.iter().map(|sample| sample.time).min() else {
        return Ok(());
    };
    let unreadable =
        |error: ReadError| Rejected(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    let existing = samples_since(store, labels, oldest).map_err(unreadable)?;
    let Some(newest) = existing.last() else {
        return Ok(());
    };
    let store_newest = (store.head)().range.map(|(_, newest)| newest);
    let too_old = store_newest
        .unwrap_or(newest.time)
        .saturating_sub(window_ms);
    let refused = samples.iter().find_map(|sample| {
        let same_value = sample.value.to_bits() == newest.value.to_bits();
        match sample.time.cmp(&newest.time) {
            Ordering::Less if window_ms == 0 => Some((sample, Refusal::OutOfOrder)),
            Ordering::Less if sample.time < too_old => Some((sample, Refusal::TooOld)),
            Ordering::Less => None,
            Ordering::Equal if !same_value => Some((sample, Refusal::Duplicate)),
            Ordering::Equal | Ordering::Greater => None,
        }
    });
    match refused {
        Some((sample, refusal)) => Err(Rejected::bad(describe(refusal, labels, *sample, store))),
        None => Ok(()),
    }
}

/// Hands samples that the newest of their series has overtaken to the store, which takes those within
/// its out-of-order window, and refuses and counts the others.
fn append_late(store: &Store, late: Vec<(Labels, Vec<Sample>)>) {
    if late.is_empty() {
        return;
    }
    let mut appender = store.appendable.appender();
    for (labels, mut samples) in late {
        samples.sort_by_key(|sample| sample.time);
        if let Ok(series) = appender.series(&labels) {
            appender.samples(series, &samples);
        }
    }
    if let Err(error) = appender.commit(false) {
        tracing::warn!(%error, "Late samples of a remote write could not be counted");
    }
}

/// Prometheus's words for a refusal; a duplicate names both values.
fn describe(refusal: Refusal, labels: &Labels, sample: Sample, store: &Store) -> String {
    if refusal == Refusal::Duplicate
        && let Ok(newer) = samples_since(store, labels, sample.time)
        && let Some(existing) = newer.first().filter(|first| first.time == sample.time)
    {
        let number = |value| narthex_query::format_float(value, narthex_query::FloatStyle::General);
        return format!(
            "duplicate sample for timestamp {}; overrides not allowed: existing {}, new value {}",
            sample.time,
            number(existing.value),
            number(sample.value),
        );
    }
    refusal.to_string()
}

/// The samples that a series has from `start` on, ascending.
fn samples_since(store: &Store, labels: &Labels, start: i64) -> Result<Vec<Sample>, ReadError> {
    let range = TimeRange::new(start, i64::MAX);
    let matchers: Vec<Matcher> = labels
        .iter()
        .filter_map(|(name, value)| Matcher::new(name, MatchOp::Equal, value).ok())
        .collect();
    let budget = Budget::unlimited();
    let querier = store.queryable.querier(range)?;
    let request = Select {
        matchers: &matchers,
        range,
        limit: None,
        wants: Wants::Samples,
    };
    let selection = querier.select(&request, &budget)?;
    let series = selection.series();
    let Some(index) = series.iter().position(|series| series.labels == *labels) else {
        return Ok(Vec::new());
    };
    let mut scan = selection.scan(range, &budget);
    scan.seek(index)?;
    let mut samples = Vec::new();
    while let Some(run) = scan.next_run()? {
        let (mut times, mut values) = (vec![0; run.len()], vec![0.0; run.len()]);
        run.times(&mut times)?;
        run.values(&mut values)?;
        let pairs = times.into_iter().zip(values);
        let pairs = pairs.filter(|(time, _)| *time >= start);
        samples.extend(pairs.map(|(time, value)| Sample { time, value }));
    }
    Ok(samples)
}

#[cfg(test)]
mod tests;
