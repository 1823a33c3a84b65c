//! Remote write 1.0, received at `POST /api/v1/write`.
//!
//! A request is a snappy block around a protobuf message. Either every sample of it is kept or none:
//! a single refused sample answers 400, after which senders do not try again. Series whose labels
//! break a rule are skipped and counted. Exemplars refuse nothing: one that breaks a rule of theirs is left
//! out by itself. Metadata of metric families neither: what the store refuses of it is counted there. Version
//! 2.0 of the protocol is refused by name.
//!
//! A native histogram that breaks a rule refuses its request, with 400 as later versions of
//! Prometheus do; 3.5 answers 500, after which senders try again without end.
//!
//! Samples of one series, of a piece first the numbers and then the native histograms, come in order within a
//! request, also in several pieces. One that is not
//! later than those before it in the same request is left out and the rest is kept, as upstream:
//! an earlier one is counted, and of two with the same time the first stands. It refuses the request
//! only when the store itself, before the request, makes it out of order or a duplicate.
//!
//! Source: the remote write 1.0 specification; answers observed in Prometheus 3.5.3.

#![deny(clippy::indexing_slicing)]

mod histogram;
pub(super) mod message;

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use axum::body::Body;
use http::{HeaderMap, Response, StatusCode, header};
use message::{Batch, DECODED_BYTES_MAX};
use narthex_storage::{
    Appender, Budget, Histogram, HistogramColumns, Kind, Labels, MatchOp, Matcher, ReadError,
    Refusal, Sample, Select, SeriesRef, TimeRange, Timestamp, Wants,
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
        let mut collected: Vec<Collected> = Vec::new();
        let mut late: Vec<(Labels, Vec<Pushed>)> = Vec::new();
        let mut above_limit = None;
        for piece in self.series {
            let is_ahead = |time: Timestamp| time > time_max;
            if piece.samples.iter().any(|sample| is_ahead(sample.time)) {
                return Err(too_far_ahead());
            }
            let mut histograms = Vec::with_capacity(piece.histograms.len());
            for (time, histogram) in piece.histograms {
                if is_ahead(time) {
                    return Err(too_far_ahead());
                }
                let histogram = histogram.map_err(|error| Rejected::bad(error.to_string()))?;
                histograms.push((time, histogram));
            }
            if piece.samples.is_empty() && histograms.is_empty() {
                continue;
            }
            let series = match appender.series(&piece.labels) {
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
                collected.push(Collected {
                    series,
                    labels: piece.labels.clone(),
                    newest: None,
                    samples: Vec::with_capacity(piece.samples.len()),
                    histograms: Vec::with_capacity(histograms.len()),
                });
            }
            let Some(kept) = collected.get_mut(at) else {
                continue;
            };
            let left_out = kept.take(piece.samples, histograms);
            if !left_out.is_empty() {
                late.push((piece.labels, left_out));
            }
        }
        for (labels, left_out) in &late {
            check_late(store, labels, left_out, window_ms)?;
        }
        for kept in &collected {
            kept.append(&mut *appender);
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
            .flat_map(|kept| kept.in_order().map(move |pushed| (&kept.labels, pushed)))
            .nth(*position as usize);
        let message = refused.map_or_else(
            || refusal.to_string(),
            |(labels, pushed)| describe(*refusal, labels, pushed, store),
        );
        let series = refused.map(|(labels, _)| tracing::field::display(labels));
        let timestamp = refused.map(|(_, pushed)| pushed.time());
        if let Some((_, PushedRef::Histogram(..))) = refused {
            tracing::error!(error = %message, series, timestamp, "Out of order histogram from remote write");
        } else {
            tracing::error!(error = %message, series, timestamp, "Out of order sample from remote write");
        }
        Err(Rejected::bad(message))
    }
}

fn too_far_ahead() -> Rejected {
    Rejected::bad("out of bounds: timestamp is too far in the future")
}

/// A sample by itself.
#[derive(Debug, Clone, PartialEq)]
enum Pushed {
    Float(Sample),
    Histogram(Timestamp, Box<Histogram>),
}

/// One that somebody else has.
#[derive(Debug, Clone, Copy)]
enum PushedRef<'a> {
    Float(Sample),
    Histogram(Timestamp, &'a Histogram),
}

impl Pushed {
    fn borrowed(&self) -> PushedRef<'_> {
        match self {
            Self::Float(sample) => PushedRef::Float(*sample),
            Self::Histogram(time, histogram) => PushedRef::Histogram(*time, histogram),
        }
    }

    fn time(&self) -> Timestamp {
        self.borrowed().time()
    }
}

impl PushedRef<'_> {
    fn time(self) -> Timestamp {
        match self {
            Self::Float(sample) => sample.time,
            Self::Histogram(time, _) => time,
        }
    }

    /// Whether both are the same number, bit for bit, or the same histogram, whatever is known of resets.
    fn has_value_of(self, other: PushedRef<'_>) -> bool {
        match (self, other) {
            (Self::Float(left), PushedRef::Float(right)) => {
                left.value.to_bits() == right.value.to_bits()
            }
            (Self::Histogram(_, left), PushedRef::Histogram(_, right)) => {
                left.layout == right.layout
                    && left.counts == right.counts
                    && left.sum.to_bits() == right.sum.to_bits()
            }
            _ => false,
        }
    }

    fn append(self, series: SeriesRef, appender: &mut dyn Appender) {
        match self {
            Self::Float(sample) => appender.samples(series, &[sample]),
            Self::Histogram(time, histogram) => {
                appender.histograms(series, &[(time, histogram.clone())]);
            }
        }
    }
}

/// What a request holds of a series and is in order; numbers and histograms together are ascending in time, no
/// two at the same time.
struct Collected {
    series: SeriesRef,
    labels: Labels,
    newest: Option<Timestamp>,
    samples: Vec<Sample>,
    histograms: Vec<(Timestamp, Histogram)>,
}

impl Collected {
    /// Takes what is later than everything taken before, numbers first, and gives back what is earlier than
    /// the newest; of two at the same time the first stands.
    fn take(
        &mut self,
        samples: Vec<Sample>,
        histograms: Vec<(Timestamp, Histogram)>,
    ) -> Vec<Pushed> {
        let mut left_out = Vec::new();
        for sample in samples {
            match self.newest.map(|newest| sample.time.cmp(&newest)) {
                Some(Ordering::Less) => left_out.push(Pushed::Float(sample)),
                Some(Ordering::Equal) => {}
                Some(Ordering::Greater) | None => {
                    self.newest = Some(sample.time);
                    self.samples.push(sample);
                }
            }
        }
        for (time, histogram) in histograms {
            match self.newest.map(|newest| time.cmp(&newest)) {
                Some(Ordering::Less) => {
                    left_out.push(Pushed::Histogram(time, Box::new(histogram)));
                }
                Some(Ordering::Equal) => {}
                Some(Ordering::Greater) | None => {
                    self.newest = Some(time);
                    self.histograms.push((time, histogram));
                }
            }
        }
        left_out
    }

    /// Everything, ascending in time.
    fn in_order(&self) -> impl Iterator<Item = PushedRef<'_>> {
        let mut samples = self.samples.iter().peekable();
        let mut histograms = self.histograms.iter().peekable();
        std::iter::from_fn(move || {
            let next = histograms.peek().map(|(time, _)| *time);
            let is_first = |sample: &&Sample| next.is_none_or(|time| sample.time < time);
            if let Some(sample) = samples.next_if(is_first) {
                return Some(PushedRef::Float(*sample));
            }
            let (time, histogram) = histograms.next()?;
            Some(PushedRef::Histogram(*time, histogram))
        })
    }

    fn append(&self, appender: &mut dyn Appender) {
        if self.histograms.is_empty() {
            appender.samples(self.series, &self.samples);
        } else if self.samples.is_empty() {
            appender.histograms(self.series, &self.histograms);
        } else {
            self.in_order()
                .for_each(|pushed| pushed.append(self.series, appender));
        }
    }
}

/// Refuses samples that the store, as it is before the request, does not take. They come out of
/// order within their request, which alone refuses nothing.
fn check_late(
    store: &Store,
    labels: &Labels,
    samples: &[Pushed],
    window_ms: i64,
) -> Result<(), Rejected> {
    let Some(oldest) = samples.iter().map(Pushed::time).min() else {
        return Ok(());
    };
    let unreadable =
        |error: ReadError| Rejected(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    let existing = samples_since(store, labels, oldest).map_err(unreadable)?;
    let Some(newest) = existing.last().map(Pushed::borrowed) else {
        return Ok(());
    };
    let store_newest = (store.head)().range.map(|(_, newest)| newest);
    let too_old = store_newest
        .unwrap_or(newest.time())
        .saturating_sub(window_ms);
    let mut samples = samples.iter().map(Pushed::borrowed);
    let refused = samples.find_map(|sample| {
        let time = sample.time();
        match time.cmp(&newest.time()) {
            Ordering::Less if window_ms == 0 => Some((sample, Refusal::OutOfOrder)),
            Ordering::Less if time < too_old => Some((sample, Refusal::TooOld)),
            Ordering::Less => None,
            Ordering::Equal if !sample.has_value_of(newest) => Some((sample, Refusal::Duplicate)),
            Ordering::Equal | Ordering::Greater => None,
        }
    });
    match refused {
        Some((sample, refusal)) => Err(Rejected::bad(describe(refusal, labels, sample, store))),
        None => Ok(()),
    }
}

/// Hands samples that the newest of their series has overtaken to the store, which takes those within
/// its out-of-order window, and refuses and counts the others.
fn append_late(store: &Store, late: Vec<(Labels, Vec<Pushed>)>) {
    if late.is_empty() {
        return;
    }
    let mut appender = store.appendable.appender();
    for (labels, mut samples) in late {
        samples.sort_by_key(Pushed::time);
        if let Ok(series) = appender.series(&labels) {
            for sample in &samples {
                sample.borrowed().append(series, &mut *appender);
            }
        }
    }
    if let Err(error) = appender.commit(false) {
        tracing::warn!(%error, "Late samples of a remote write could not be counted");
    }
}

/// Prometheus's words for a refusal; a duplicate number names what is there already.
fn describe(refusal: Refusal, labels: &Labels, sample: PushedRef<'_>, store: &Store) -> String {
    if refusal == Refusal::Duplicate
        && let PushedRef::Float(Sample { time, value }) = sample
        && let Ok(newer) = samples_since(store, labels, time)
        && let Some(existing) = newer.first().filter(|first| first.time() == time)
    {
        let number = |value| narthex_query::format_float(value, narthex_query::FloatStyle::General);
        let existing = match existing {
            Pushed::Float(sample) => number(sample.value),
            Pushed::Histogram(..) => "is a histogram".to_owned(),
        };
        return format!(
            "duplicate sample for timestamp {time}; overrides not allowed: existing {existing}, new value {}",
            number(value),
        );
    }
    refusal.to_string()
}

/// The samples that a series has from `start` on, ascending.
fn samples_since(store: &Store, labels: &Labels, start: i64) -> Result<Vec<Pushed>, ReadError> {
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
    let mut columns = HistogramColumns::default();
    while let Some(run) = scan.next_run()? {
        let mut times = vec![0; run.len()];
        run.times(&mut times)?;
        let times = times.into_iter();
        match run.kind() {
            Kind::Float => {
                let mut values = vec![0.0; run.len()];
                run.values(&mut values)?;
                let pairs = times.zip(values);
                samples.extend(pairs.map(|(time, value)| Pushed::Float(Sample { time, value })));
            }
            Kind::Histogram => {
                run.histograms(&mut columns)?;
                let pairs = times.enumerate();
                samples
                    .extend(pairs.map(|(index, time)| {
                        Pushed::Histogram(time, Box::new(columns.get(index)))
                    }));
            }
        }
    }
    samples.retain(|sample| sample.time() >= start);
    Ok(samples)
}

#[cfg(test)]
mod tests;
