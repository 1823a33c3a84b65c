//! What is fetched from the targets of one scrape job: one GET and its bounded body.
//!
//! Connections, credentials, TLS and redirects are [`HttpClient`]'s. Nothing here waits on its own:
//! the caller bounds the whole exchange in time by dropping the future. Errors read as Prometheus
//! shows them in `lastError`.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT},
};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use super::target::ScrapeUrl;
use crate::{
    client::{self, HttpClient, Outgoing},
    config::{NameEscaping, ScrapeConfig, ScrapeProtocol},
};

/// The largest body that is read, uncompressed, whatever the configuration says: 256 MiB.
pub(crate) const BODY_BYTES_MAX: u64 = 256 << 20;

/// How much room an announced body is given before it comes: 16 MiB.
const RESERVED_BYTES_MAX: u64 = 16 << 20;

/// What a target answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The uncompressed body.
    pub(crate) body: Vec<u8>,
    /// The `Content-Type`, empty when there was none.
    pub(crate) content_type: String,
}

/// Why a target gave no usable answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FetchError {
    /// The body is larger than allowed.
    BodyTooLarge,
    /// Anything else, in Prometheus's words.
    Failed(String),
}

impl FetchError {
    pub(crate) fn get(url: &str, cause: impl std::fmt::Display) -> Self {
        Self::Failed(format!("Get \"{url}\": {cause}"))
    }
}

/// Fetches the targets of one job.
#[derive(Debug)]
pub(crate) struct ScrapeClient {
    client: HttpClient,
    accept: HeaderValue,
    enable_compression: bool,
    body_bytes_max: u64,
}

impl ScrapeClient {
    /// The client of a job.
    ///
    /// # Errors
    /// A certificate or key that cannot be read, or a header that cannot be sent.
    pub(crate) fn new(job: &ScrapeConfig) -> anyhow::Result<Self> {
        let configured = job.limits.body_size_bytes;
        Ok(Self {
            client: HttpClient::new(&job.http_client)?,
            accept: HeaderValue::from_str(&accept_header(
                &job.scrape_protocols,
                job.metric_name_escaping_scheme,
            ))?,
            enable_compression: job.enable_compression,
            body_bytes_max: match configured {
                0 => BODY_BYTES_MAX,
                limit => limit.min(BODY_BYTES_MAX),
            },
        })
    }

    /// Fetches `url`; `timeout` is only told to the target. Sets `answering` when the head of the
    /// answer is there, so that whoever gives up on the rest can say what was awaited.
    ///
    /// # Errors
    /// [`FetchError`].
    pub(crate) async fn get(
        &self,
        target: &ScrapeUrl,
        timeout: Duration,
        answering: &AtomicBool,
    ) -> Result<Answer, FetchError> {
        let headers = self
            .headers(timeout)
            .map_err(|cause| FetchError::get(&target.shown, format!("{cause:#}")))?;
        let outgoing = Outgoing {
            method: Method::GET,
            url: &target.url,
            shown: &target.shown,
            headers,
            body: bytes::Bytes::new(),
        };
        let response = self.client.exchange(outgoing).await;
        let response = response.map_err(FetchError::Failed)?;
        answering.store(true, Ordering::Relaxed);
        self.read(response).await
    }

    /// Negotiation.
    fn headers(&self, timeout: Duration) -> anyhow::Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, client::USER_AGENT);
        headers.insert(ACCEPT, self.accept.clone());
        let encoding = if self.enable_compression {
            "gzip"
        } else {
            "identity"
        };
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(encoding));
        headers.insert(
            HeaderName::from_static("x-prometheus-scrape-timeout-seconds"),
            HeaderValue::from_str(&timeout.as_secs_f64().to_string())?,
        );
        Ok(headers)
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Answer, FetchError> {
        let status = response.status();
        if status != StatusCode::OK {
            let reason = status.canonical_reason().unwrap_or_default();
            let text = format!("server returned HTTP status {} {reason}", status.as_u16());
            return Err(FetchError::Failed(text.trim_end().to_owned()));
        }
        let text = |name: HeaderName| {
            let value = response.headers().get(name);
            value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let content_type = text(CONTENT_TYPE).unwrap_or_default();
        let is_gzip = text(CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip");
        let mut incoming = response.into_body();
        let announced = incoming.size_hint().exact().unwrap_or_default();
        let mut body = Vec::with_capacity(announced.min(RESERVED_BYTES_MAX) as usize);
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|error| FetchError::Failed(client::describe_body(&error)))?;
            if let Some(data) = frame.data_ref() {
                if (body.len() + data.len()) as u64 > self.body_bytes_max {
                    return Err(FetchError::BodyTooLarge);
                }
                body.extend_from_slice(data);
            }
        }
        if is_gzip {
            let limit = self.body_bytes_max;
            body = tokio::task::spawn_blocking(move || gunzip(&body, limit))
                .await
                .map_err(|error| FetchError::Failed(error.to_string()))??;
        }
        Ok(Answer { body, content_type })
    }
}

/// The `Accept` header, formats in order of preference with falling weights.
///
/// Source: observed in Prometheus 3.5.3.
fn accept_header(protocols: &[ScrapeProtocol], escaping: NameEscaping) -> String {
    let mut parts = Vec::new();
    for (index, protocol) in protocols.iter().enumerate() {
        let format = match protocol {
            ScrapeProtocol::PrometheusProto => {
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
            }
            ScrapeProtocol::PrometheusText0_0_4 => "text/plain;version=0.0.4",
            ScrapeProtocol::PrometheusText1_0_0 => "text/plain;version=1.0.0",
            ScrapeProtocol::OpenMetricsText0_0_1 => "application/openmetrics-text;version=0.0.1",
            ScrapeProtocol::OpenMetricsText1_0_0 => "application/openmetrics-text;version=1.0.0",
        };
        let escapes = matches!(
            protocol,
            ScrapeProtocol::PrometheusText1_0_0 | ScrapeProtocol::OpenMetricsText1_0_0
        );
        let escaping = match (escapes, escaping) {
            (true, escaping) => format!(";escaping={}", escaping.as_str()),
            (false, _) => String::new(),
        };
        // Weights fall by a tenth and end above that of `*/*`.
        let weight = (protocols.len() + 2).saturating_sub(index).min(9);
        parts.push(format!("{format}{escaping};q=0.{weight}"));
    }
    parts.push("*/*;q=0.2".to_owned());
    parts.join(",")
}

/// Uncompresses a gzip body of one member into at most `limit` bytes.
fn gunzip(packed: &[u8], limit: u64) -> Result<Vec<u8>, FetchError> {
    let failed = |text: &str| Err(FetchError::Failed(text.to_owned()));
    if packed.is_empty() {
        return failed("EOF");
    }
    if packed.len() < 10 {
        return failed("unexpected EOF");
    }
    let Some((_, size)) = packed
        .split_last_chunk::<4>()
        .filter(|_| packed.starts_with(&[0x1f, 0x8b]))
    else {
        return failed("gzip: invalid header");
    };
    let size = u32::from_le_bytes(*size) as usize;
    if size as u64 > limit {
        return Err(FetchError::BodyTooLarge);
    }
    // No deflate stream grows by more than this, so a false size costs no memory.
    if size > packed.len().saturating_mul(1032) {
        return failed("gzip: invalid checksum");
    }
    let mut body = vec![0; size];
    match libdeflater::Decompressor::new().gzip_decompress(packed, &mut body) {
        Ok(written) if written == size => Ok(body),
        Err(libdeflater::DecompressionError::InsufficientSpace) => failed(
            "gzip: the size at the end of the body is not the size of its content (bodies of several members, or of more than 4 GiB, are not read)",
        ),
        Ok(_) => failed("gzip: bodies of several members are not read"),
        Err(libdeflater::DecompressionError::BadData) => failed("gzip: invalid checksum"),
    }
}
