//! Remote read, `POST /api/v1/read`: other servers, Thanos's sidecar among them, read raw samples of us.
//!
//! A request is a snappy block around a protobuf message with queries: matchers and a range of time. The
//! answer is one snappy block around all samples (`samples.rs`), or a stream of frames with Prometheus's
//! chunks (`stream.rs`), whichever of the two the request names first. External labels are added to every
//! series that has none of the name, and a matcher that asks for one of them asks for series without it.
//!
//! It evaluates nothing: staleness markers are samples like others, and of the hints of a query only the
//! range counts, which narrows that of the query. (Prometheus also answers what lies beyond the query and
//! within the hints, as far as chunks happen to reach.) An answer that fails after its head was sent ends in a broken connection, never in one
//! that looks whole.
//!
//! Source: the remote read specification; statuses, texts and bytes observed in Prometheus 3.5.3.

#![deny(clippy::indexing_slicing)]

mod message;
mod samples;
mod series;
mod stream;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, sync::Arc};

use axum::body::Body;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use message::ResponseType;
use narthex_storage::{ReadError, RegexError};
use series::Lookup;
use tokio::sync::Semaphore;

use crate::{
    api::{State, error_text},
    self_metrics::{Gauge, Registry},
};

pub use message::{BadRequest, Hints, Query, Request, WireMatcher};

/// What the command line says about remote reads.
#[derive(Debug, Clone, Copy)]
pub struct RemoteReadLimits {
    /// The most samples of a query that is not streamed; 0 is any number.
    pub samples_max: u64,
    /// Reads at the same time; 0 is any number.
    pub concurrency: usize,
    /// Bytes of a frame of a stream, before the chunk that goes beyond.
    pub frame_bytes_max: usize,
}

/// Those of Prometheus.
impl Default for RemoteReadLimits {
    fn default() -> Self {
        Self {
            samples_max: 50_000_000,
            concurrency: 10,
            frame_bytes_max: 1 << 20,
        }
    }
}

/// Where remote reads wait for one another.
#[derive(Debug)]
pub struct RemoteRead {
    limits: RemoteReadLimits,
    places: Arc<Semaphore>,
    queries: Gauge,
}

impl RemoteRead {
    /// Places within these limits.
    pub fn new(limits: RemoteReadLimits, registry: &Registry) -> Self {
        let places = match limits.concurrency {
            0 => Semaphore::MAX_PERMITS,
            limit => limit.min(Semaphore::MAX_PERMITS),
        };
        Self {
            limits,
            places: Arc::new(Semaphore::new(places)),
            queries: registry.gauge(
                "prometheus_remote_read_handler_queries",
                "The current number of remote read queries that are either in execution or queued on the handler.",
            ),
        }
    }
}

/// Counts a read from its arrival to its end.
#[derive(Debug)]
struct Counted(Gauge);

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.add(1.0);
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.add(-1.0);
    }
}

/// Why a read is not answered.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The request is none.
    #[error(transparent)]
    Request(#[from] BadRequest),
    /// A matcher is neither of the four.
    #[error("invalid matcher type")]
    MatcherType,
    /// A matcher's regular expression is wrong.
    #[error(transparent)]
    Regex(#[from] RegexError),
    /// More samples than one answer may have.
    #[error("exceeded sample limit ({0})")]
    SampleLimit(u64),
    /// An answer that no snappy block can be.
    #[error("the answer has {0} bytes, and a snappy block takes 4 GiB: ask for a shorter range")]
    TooLarge(usize),
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store is not open.
    #[error("{0}")]
    NotOpen(Cow<'static, str>),
    /// The client went away, or takes nothing.
    #[error("the client does not read its answer")]
    ClientGone,
    /// Our fault.
    #[error("the read ended in a panic, the log has its message")]
    Panic,
}

impl Failure {
    /// As Prometheus answers, also where a wrong request is answered as if it were the server's fault.
    const fn status(&self) -> StatusCode {
        match self {
            Self::Request(_) | Self::SampleLimit(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn answer(&self) -> Response<Body> {
        error_text(self.status(), &self.to_string())
    }
}

/// Answers `POST /api/v1/read`.
pub(crate) async fn remote_read(state: &Arc<State>, body: Body) -> Response<Body> {
    match answer(state, body).await {
        Ok(response) => response,
        Err(failure) => failure.answer(),
    }
}

async fn answer(state: &Arc<State>, body: Body) -> Result<Response<Body>, Failure> {
    let RemoteRead {
        limits,
        places,
        queries,
    } = &state.remote_read;
    let counted = Counted::new(queries);
    let place = Arc::clone(places).acquire_owned().await;
    let place = place.expect("the places are never closed");
    let body = axum::body::to_bytes(body, message::BODY_BYTES_MAX).await;
    let body = body.map_err(|error| BadRequest(format!("the body could not be read: {error}")))?;
    let request = Request::decompress(&body)?;
    let response_type = request.response_type()?;
    let external = state.configuration().external_labels.clone();
    let lookups = request.queries.iter();
    let lookups = lookups.map(|query| Lookup::new(query, &external));
    let lookups = lookups.collect::<Result<Vec<_>, _>>()?;
    let store = state
        .open_store()
        .map_err(|error| Failure::NotOpen(error.message))?;
    let (store, budget) = (store.clone(), state.gate.budget());
    let (headers, body) = match response_type {
        ResponseType::Samples => {
            let samples_max = limits.samples_max;
            let (budget, cancel) = budget;
            let work = tokio::task::spawn_blocking(move || {
                let queryable = store.queryable.as_ref();
                let body = samples::body(queryable, &lookups, &external, samples_max, &budget);
                // Given back only now: a client that left does not make room before this has ended.
                drop((place, counted));
                body
            });
            let body = work.await.unwrap_or(Err(Failure::Panic))?;
            drop(cancel);
            (&SAMPLES_HEADERS[..], Body::from(body))
        }
        ResponseType::StreamedXorChunks => {
            let plan = stream::Plan {
                lookups,
                external,
                frame_bytes_max: limits.frame_bytes_max,
            };
            let body = stream::body(state, store, plan, budget, (place, counted)).await?;
            (&STREAM_HEADERS[..], body)
        }
    };
    let mut response = Response::new(body);
    for (name, value) in headers {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

const SAMPLES_HEADERS: [(HeaderName, &str); 2] = [
    (header::CONTENT_TYPE, "application/x-protobuf"),
    (header::CONTENT_ENCODING, "snappy"),
];

const STREAM_HEADERS: [(HeaderName, &str); 1] = [(
    header::CONTENT_TYPE,
    "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse",
)];
