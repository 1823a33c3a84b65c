//! The HTTP client of one scrape job: one GET, its redirects, its bounded body.
//!
//! Connections are kept between scrapes. Credential files are read for every request, certificate
//! files when the client is built. Nothing here waits on its own: the caller bounds the whole
//! exchange in time by dropping the future. Errors read as Prometheus shows them in `lastError`.
//!
//! Credentials are sent to the target's own address only: a redirect to another host, port or
//! scheme is followed without them.

use std::{
    error::Error as _,
    io,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use base64::Engine as _;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{
        ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, LOCATION,
        USER_AGENT,
    },
};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Incoming};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use url::Url;

use super::{target::ScrapeUrl, tls};
use crate::config::{HttpClientConfig, NameEscaping, ScrapeConfig, ScrapeProtocol};

/// The largest body that is read, uncompressed, whatever the configuration says: 256 MiB.
pub(crate) const BODY_BYTES_MAX: u64 = 256 << 20;

/// How much room an announced body is given before it comes: 16 MiB.
const RESERVED_BYTES_MAX: u64 = 16 << 20;

/// Redirects that are followed, as in Go's client.
const REDIRECTS_MAX: usize = 10;

/// Idle connections are closed after this time, as upstream.
const IDLE_TIMEOUT: Duration = Duration::from_mins(5);

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
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    config: HttpClientConfig,
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
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        let mut tls = tls::client_config(&job.http_client.tls_config)?;
        tls.alpn_protocols.clear();
        let builder = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http();
        let builder = match tls::server_name(&job.http_client.tls_config)? {
            Some(name) => {
                builder.with_server_name_resolver(hyper_rustls::FixedServerNameResolver::new(name))
            }
            None => builder,
        };
        let connector = if job.http_client.enable_http2 {
            builder.enable_all_versions().wrap_connector(http)
        } else {
            builder.enable_http1().wrap_connector(http)
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        let configured = job.limits.body_size_bytes;
        Ok(Self {
            client,
            config: job.http_client.clone(),
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
        let url = &target.url;
        let headers = self
            .headers(timeout)
            .map_err(|cause| FetchError::get(&target.shown, format!("{cause:#}")))?;
        let mut location = url.clone();
        let mut shown = target.shown.clone();
        for _ in 0..=REDIRECTS_MAX {
            let response = self
                .send(&location, url, &headers)
                .await
                .map_err(|cause| FetchError::get(&shown, cause))?;
            match redirect(&location, &response) {
                Some(next) if self.config.follow_redirects => {
                    location = next.map_err(|cause| FetchError::get(&shown, cause))?;
                    location.as_str().clone_into(&mut shown);
                }
                _ => {
                    answering.store(true, Ordering::Relaxed);
                    return self.read(response).await;
                }
            }
        }
        Err(FetchError::get(&shown, "stopped after 10 redirects"))
    }

    async fn send(
        &self,
        location: &Url,
        first: &Url,
        headers: &HeaderMap,
    ) -> Result<Response<Incoming>, String> {
        let mut request = Request::get(location.as_str())
            .body(Empty::new())
            .map_err(|cause| cause.to_string())?;
        *request.headers_mut() = headers.clone();
        if location.origin() != first.origin() {
            request.headers_mut().remove(AUTHORIZATION);
            for name in self.config.http_headers.keys() {
                request.headers_mut().remove(name.as_str());
            }
        }
        let answer = self.client.request(request).await;
        answer.map_err(|error| describe(&error, location))
    }

    /// Credentials and negotiation.
    fn headers(&self, timeout: Duration) -> anyhow::Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static("Prometheus/3.14.0"));
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
        for (name, header) in &self.config.http_headers {
            let name = HeaderName::from_bytes(name.as_bytes())?;
            for value in &header.values {
                headers.append(name.clone(), HeaderValue::from_str(value)?);
            }
            for secret in &header.secrets {
                headers.append(name.clone(), sensitive(secret.expose())?);
            }
            for file in &header.files {
                headers.append(name.clone(), sensitive(&read_text(file, "header")?)?);
            }
        }
        if let Some(auth) = &self.config.basic_auth {
            let user = match &auth.username_file {
                Some(file) => read_text(file, "basic auth username")?,
                None => auth.username.clone(),
            };
            let password = match &auth.password_file {
                Some(file) => read_text(file, "basic auth password")?,
                None => auth.password.expose().to_owned(),
            };
            let encoded =
                base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            headers.insert(AUTHORIZATION, sensitive(&format!("Basic {encoded}"))?);
        } else if let Some(auth) = &self.config.authorization {
            let credentials = match &auth.credentials_file {
                Some(file) => read_text(file, "authorization credentials")?,
                None => auth.credentials.expose().to_owned(),
            };
            headers.insert(
                AUTHORIZATION,
                sensitive(&format!("{} {credentials}", auth.kind))?,
            );
        }
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
            let frame = frame.map_err(|error| FetchError::Failed(describe_body(&error)))?;
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

/// Where an answer redirects to, if it does.
fn redirect(base: &Url, response: &Response<Incoming>) -> Option<Result<Url, String>> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(LOCATION)?;
    let text = String::from_utf8_lossy(location.as_bytes()).into_owned();
    Some(match base.join(&text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        Ok(url) => Err(format!("unsupported protocol scheme \"{}\"", url.scheme())),
        Err(error) => Err(format!(
            "failed to parse Location header \"{text}\": {error}"
        )),
    })
}

fn sensitive(text: &str) -> anyhow::Result<HeaderValue> {
    let mut value = HeaderValue::from_str(text)?;
    value.set_sensitive(true);
    Ok(value)
}

fn read_text(file: &Path, what: &str) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        anyhow::anyhow!(
            "unable to read {what}: unable to read file {path}: open {path}: {}",
            go_io_error(&error),
            path = file.display(),
        )
    })?;
    Ok(text.trim().to_owned())
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

/// What went wrong before an answer's headers were there, in Go's words.
fn describe(error: &hyper_util::client::legacy::Error, url: &Url) -> String {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = error.source();
    let mut last = error.to_string();
    while let Some(current) = cause {
        last = current.to_string();
        if let Some(hyper) = current.downcast_ref::<hyper::Error>()
            && (hyper.is_incomplete_message() || hyper.is_closed())
        {
            return "EOF".to_owned();
        }
        if let Some(problem) = current.downcast_ref::<rustls::Error>() {
            return tls::describe(problem);
        }
        if let Some(io) = current.downcast_ref::<io::Error>() {
            if let Some(problem) = tls_error(io) {
                return tls::describe(problem);
            }
            if io.raw_os_error().is_some() {
                let place = url.host_str().unwrap_or_default();
                let port = url.port_or_known_default().unwrap_or_default();
                let what = if error.is_connect() {
                    format!("dial tcp {place}:{port}: connect: ")
                } else {
                    "read tcp: ".to_owned()
                };
                return format!("{what}{}", go_io_error(io));
            }
            if io.kind() == io::ErrorKind::UnexpectedEof {
                return "EOF".to_owned();
            }
        }
        if last.starts_with("dns error") {
            let host = url.host_str().unwrap_or_default();
            let missing = current.source().is_none_or(|source| {
                source.to_string().contains("Name or service not known")
                    || source.to_string().contains("No address associated")
            });
            let problem = match current.source() {
                Some(cause) if !missing => cause.to_string(),
                _ => "no such host".to_owned(),
            };
            return format!("dial tcp: lookup {host}: {problem}");
        }
        cause = current.source();
    }
    last
}

/// The TLS failure inside an I/O error, however often it was wrapped.
fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    let inner = error.get_ref()?;
    match inner.downcast_ref::<rustls::Error>() {
        Some(problem) => Some(problem),
        None => tls_error(inner.downcast_ref::<io::Error>()?),
    }
}

fn describe_body(error: &hyper::Error) -> String {
    if error.is_incomplete_message() || error.is_body_write_aborted() {
        return "unexpected EOF".to_owned();
    }
    error.source().map_or_else(
        || error.to_string(),
        |cause| match cause.downcast_ref::<io::Error>() {
            Some(io) if io.kind() == io::ErrorKind::UnexpectedEof => "unexpected EOF".to_owned(),
            Some(io) => go_io_error(io),
            None => cause.to_string(),
        },
    )
}

/// The operating system's words as Go prints them: lower case, without the number.
fn go_io_error(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset by peer".to_owned(),
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "connection timed out".to_owned(),
        _ => {
            let text = error.to_string().to_lowercase();
            text.split(" (os error")
                .next()
                .unwrap_or_default()
                .to_owned()
        }
    }
}
