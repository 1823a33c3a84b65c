//! The HTTP client towards targets and Alertmanagers: one request, its redirects, credentials, TLS.
//!
//! Connections are kept between requests. Credential files are read for every request, certificate
//! files when the client is built. Nothing here waits on its own: the caller bounds the whole
//! exchange in time by dropping the future. Errors read as Prometheus shows them.
//!
//! Credentials are sent to the first address only: a redirect to another host, port or scheme is
//! followed without them.

mod tls;

use std::{error::Error as _, io, path::Path, time::Duration};

use base64::Engine as _;
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response,
    header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, LOCATION},
};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use url::Url;

use crate::config::HttpClientConfig;

/// Redirects that are followed, as in Go's client.
const REDIRECTS_MAX: usize = 10;

/// Idle connections are closed after this time, as upstream.
const IDLE_TIMEOUT: Duration = Duration::from_mins(5);
/// A connection that waits for its next request keeps as much.
const CONNECTION_BUFFER_BYTES: usize = 64 << 10;

/// The user agent of every request.
pub(crate) const USER_AGENT: HeaderValue = HeaderValue::from_static("Prometheus/3.14.0");

/// Sends requests as one `http_client` section of the configuration asks for.
#[derive(Debug)]
pub(crate) struct HttpClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    config: HttpClientConfig,
}

/// What is sent first; redirects follow from it.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    /// GET or POST.
    pub(crate) method: Method,
    /// Where to.
    pub(crate) url: &'a Url,
    /// The same as errors show it: default ports stay visible.
    pub(crate) shown: &'a str,
    /// Without credentials, which [`HttpClient::exchange`] adds.
    pub(crate) headers: HeaderMap,
    /// Empty for a GET.
    pub(crate) body: Bytes,
}

impl HttpClient {
    /// The client of a section.
    ///
    /// # Errors
    /// A certificate or key that cannot be read.
    pub(crate) fn new(config: &HttpClientConfig) -> anyhow::Result<Self> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        let mut tls = tls::client_config(&config.tls_config)?;
        tls.alpn_protocols.clear();
        let builder = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http();
        let builder = match tls::server_name(&config.tls_config)? {
            Some(name) => {
                builder.with_server_name_resolver(hyper_rustls::FixedServerNameResolver::new(name))
            }
            None => builder,
        };
        let connector = if config.enable_http2 {
            builder.enable_all_versions().wrap_connector(http)
        } else {
            builder.enable_http1().wrap_connector(http)
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http1_title_case_headers(true)
            .http1_max_buf_size(CONNECTION_BUFFER_BYTES)
            .build(connector);
        Ok(Self {
            client,
            config: config.clone(),
        })
    }

    /// Sends a request and follows its redirects: 307 and 308 with method and body, the others as a
    /// GET, as Go's client does. Answers as soon as the head of the answer is there, whatever its
    /// status.
    ///
    /// # Errors
    /// In Go's words: `Get "http://…": …`.
    pub(crate) async fn exchange(
        &self,
        outgoing: Outgoing<'_>,
    ) -> Result<Response<Incoming>, String> {
        let Outgoing {
            mut method,
            url,
            shown,
            mut headers,
            mut body,
        } = outgoing;
        self.add_credentials(&mut headers)
            .map_err(|cause| failure(&method, shown, format!("{cause:#}")))?;
        let mut location = url.clone();
        let mut shown = shown.to_owned();
        for _ in 0..=REDIRECTS_MAX {
            let response = self
                .send(&method, &location, url, &headers, &body)
                .await
                .map_err(|cause| failure(&method, &shown, cause))?;
            let next = match redirect(&location, &response) {
                Some(next) if self.config.follow_redirects => next,
                _ => return Ok(response),
            };
            location = next.map_err(|cause| failure(&method, &shown, cause))?;
            location.as_str().clone_into(&mut shown);
            if method != Method::GET && !matches!(response.status().as_u16(), 307 | 308) {
                method = Method::GET;
                body = Bytes::new();
                headers.remove(CONTENT_LENGTH);
                headers.remove(CONTENT_TYPE);
            }
        }
        Err(failure(&method, &shown, "stopped after 10 redirects"))
    }

    async fn send(
        &self,
        method: &Method,
        location: &Url,
        first: &Url,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Response<Incoming>, String> {
        let mut request = Request::builder()
            .method(method)
            .uri(location.as_str())
            .body(Full::new(body.clone()))
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

    fn add_credentials(&self, headers: &mut HeaderMap) -> anyhow::Result<()> {
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
        Ok(())
    }
}

/// `Get "http://…": cause`
fn failure(method: &Method, shown: &str, cause: impl std::fmt::Display) -> String {
    let verb = if *method == Method::POST {
        "Post"
    } else {
        "Get"
    };
    format!("{verb} \"{shown}\": {cause}")
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

/// What went wrong while an answer was read, in Go's words.
pub(crate) fn describe_body(error: &hyper::Error) -> String {
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
