//! A running server as the commands see it: its address, and requests to its API.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{CONTENT_TYPE, USER_AGENT},
};
use http_body_util::{BodyExt as _, Limited};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use url::Url;

use super::{Arguments, Output};
use crate::{
    client::{HttpClient, Outgoing},
    config::{self, HttpClientConfig},
};

/// The largest answer that is read, in bytes.
const BODY_BYTES_MAX: usize = 256 << 20;

/// The longest wait for the answer to a query.
const TIMEOUT: Duration = Duration::from_mins(2);

/// What Go's `url.URL` escapes in a path.
const PATH_ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b',')
    .remove(b'/')
    .remove(b':')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');

/// How a command ended.
#[derive(Debug)]
pub(super) enum Failure {
    /// The command line is wrong.
    Usage(String),
    /// It ran and failed; the text is all that is printed.
    Run(String),
}

impl Failure {
    /// What a command's run returns for it.
    pub(super) fn finish(self, output: &mut Output<'_>) -> Result<u8, String> {
        match self {
            Self::Usage(message) => Err(message),
            Self::Run(text) => {
                output.complain(&text);
                Ok(1)
            }
        }
    }
}

/// The address of a server: a URL, or a host without a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerUrl {
    scheme: String,
    host: String,
    /// As it is meant, escapes resolved.
    path: String,
    query: Option<String>,
    /// What stands for all of it when it is `scheme:rest` and has no host.
    opaque: Option<String>,
}

impl ServerUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// promtool's sentence.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let refused = |reason: &str| Err(format!("invalid URL: parse {text:?}: {reason}"));
        let scheme_end = text.find(':').filter(|end| {
            let scheme = text.split_at(*end).0;
            scheme.starts_with(|first: char| first.is_ascii_alphabetic())
                && scheme
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        });
        let (scheme, rest) = match scheme_end {
            Some(end) => {
                let (scheme, rest) = text.split_at(end);
                (
                    scheme.to_ascii_lowercase(),
                    rest.strip_prefix(':').unwrap_or(rest),
                )
            }
            None if text
                .split('/')
                .next()
                .is_some_and(|first| first.contains(':')) =>
            {
                return refused("first path segment in URL cannot contain colon");
            }
            None => (String::new(), text),
        };
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query.to_owned())),
            None => (rest, None),
        };
        let (host, path) = match rest.strip_prefix("//") {
            Some(rest) => match rest.find('/') {
                Some(start) => rest.split_at(start),
                None => (rest, ""),
            },
            None if scheme.is_empty() && !rest.starts_with('/') => match rest.find('/') {
                Some(start) => rest.split_at(start),
                None => (rest, ""),
            },
            None if scheme.is_empty() || rest.starts_with('/') => ("", rest),
            None => {
                return Ok(Self {
                    scheme,
                    host: String::new(),
                    path: String::new(),
                    query: None,
                    opaque: Some(text.to_owned()),
                });
            }
        };
        if let Some(bad) = host.chars().find(|c| " \"<>^`{|}\\".contains(*c)) {
            return refused(&format!("invalid character \"{bad}\" in host name"));
        }
        if host.contains('[') && !host.contains(']') {
            return refused("missing ']' in host");
        }
        Ok(Self {
            scheme: if scheme.is_empty() {
                "http".to_owned()
            } else {
                scheme
            },
            host: host.to_owned(),
            path: percent_decode_str(path).decode_utf8_lossy().into_owned(),
            query,
            opaque: None,
        })
    }

    /// The address of an endpoint as promtool shows it.
    fn endpoint(&self, path: &str) -> String {
        if let Some(opaque) = &self.opaque {
            return opaque.clone();
        }
        let joined = config::join_path(
            Path::new("/"),
            &format!("{}/{path}", self.path.trim_matches('/')),
        );
        let path = utf8_percent_encode(&joined, PATH_ESCAPED);
        let mut shown = format!("{}://{}{path}", self.scheme, self.host);
        if let Some(query) = &self.query {
            shown.push('?');
            shown.push_str(query);
        }
        shown
    }
}

/// What a server answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

/// Asks one server.
pub(super) struct ServerClient {
    server: ServerUrl,
    client: HttpClient,
    headers: HeaderMap,
    runtime: tokio::runtime::Runtime,
}

impl ServerClient {
    /// A client for `server` with the settings of `--http.config.file`; `headers` go with every
    /// request.
    ///
    /// # Errors
    /// A sentence about a header or a setting that cannot be used.
    pub(super) fn new(
        server: ServerUrl,
        http_client: &HttpClientConfig,
        headers: &[(String, String)],
    ) -> Result<Self, String> {
        let mut sent = HeaderMap::new();
        sent.insert(USER_AGENT, HeaderValue::from_static("promtool/3.14.0"));
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes());
            let value = HeaderValue::from_str(value);
            sent.append(
                name.map_err(|error| error.to_string())?,
                value.map_err(|error| error.to_string())?,
            );
        }
        Ok(Self {
            server,
            client: HttpClient::new(http_client).map_err(|error| format!("{error:#}"))?,
            headers: sent,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| error.to_string())?,
        })
    }

    /// Sends a form to an endpoint; a server that does not take it is asked by a GET.
    ///
    /// # Errors
    /// A sentence in promtool's words.
    pub(super) fn post(&self, path: &str, form: &[(&str, String)]) -> Result<Answer, String> {
        let mut headers = self.headers.clone();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        let shown = self.server.endpoint(path);
        let answer = self.send(Method::POST, &shown, headers, encode(form).into())?;
        if matches!(answer.status.as_u16(), 405 | 501) {
            return self.get(path, form);
        }
        Ok(answer)
    }

    /// Asks an endpoint.
    ///
    /// # Errors
    /// A sentence in promtool's words.
    pub(super) fn get(&self, path: &str, form: &[(&str, String)]) -> Result<Answer, String> {
        let base = ServerUrl {
            query: Some(encode(form)),
            ..self.server.clone()
        };
        let shown = base.endpoint(path);
        self.send(Method::GET, &shown, self.headers.clone(), Bytes::new())
    }

    fn send(
        &self,
        method: Method,
        shown: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, String> {
        let verb = if method == Method::GET { "Get" } else { "Post" };
        let failed = |reason: String| format!("{verb} \"{shown}\": {reason}");
        if !matches!(self.server.scheme.as_str(), "http" | "https") {
            return Err(failed(format!(
                "unsupported protocol scheme \"{}\"",
                self.server.scheme
            )));
        }
        if self.server.host.is_empty() {
            return Err(failed("http: no Host in request URL".to_owned()));
        }
        let url = Url::parse(shown).map_err(|error| failed(error.to_string()))?;
        let outgoing = Outgoing {
            method,
            url: &url,
            shown,
            headers,
            body,
        };
        let exchange = async {
            let response = self.client.exchange(outgoing).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), BODY_BYTES_MAX);
            let body = body.collect().await.map_err(|error| error.to_string())?;
            Ok(Answer {
                status,
                body: body.to_bytes().to_vec(),
            })
        };
        let bounded = async { tokio::time::timeout(TIMEOUT, exchange).await };
        self.runtime
            .block_on(bounded)
            .unwrap_or_else(|_| Err(failed("context deadline exceeded".to_owned())))
    }
}

/// A form, its names in order.
fn encode(form: &[(&str, String)]) -> String {
    let mut pairs: Vec<_> = form.iter().collect();
    pairs.sort_by_key(|(name, _)| *name);
    let mut encoded = form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs {
        encoded.append_pair(name, value);
    }
    encoded.finish()
}

/// The settings of `--http.config.file`, the defaults without it.
///
/// # Errors
/// [`Failure`] in promtool's words, or what of the file is not built.
pub(super) fn http_client(arguments: &Arguments) -> Result<HttpClientConfig, Failure> {
    let failed = |message: String| Failure::Run(format!("promtool: error: {message}"));
    let config = match arguments.value("http.config.file") {
        Some(file) if !Path::new(file).exists() => {
            return Err(Failure::Usage(format!("path '{file}' does not exist")));
        }
        Some(file) => config::load_http_client(Path::new(file)).map_err(|error| {
            failed(format!(
                "Failed to load HTTP config file: {}",
                error.message()
            ))
        })?,
        None => HttpClientConfig::default(),
    };
    if config.oauth2.is_some() || config.proxy.is_set() {
        return Err(failed(
            "oauth2 and proxies of --http.config.file are not built yet".to_owned(),
        ));
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_promtool_reads_them() {
        let check = |text: &str, expected: &str| {
            let found = match ServerUrl::parse(text) {
                Ok(url) => url.endpoint("api/v1/query"),
                Err(message) => message,
            };
            assert_eq!(found, expected, "{text}");
        };
        check("http://h:1", "http://h:1/api/v1/query");
        check("http://h:1/", "http://h:1/api/v1/query");
        check(
            "https://h/a/../b%20c/?x=1",
            "https://h/b%20c/api/v1/query?x=1",
        );
        check("localhost", "http://localhost/api/v1/query");
        check("http://[::1]:9090", "http://[::1]:9090/api/v1/query");
        check("foo:1", "foo:1");
        check("", "http:///api/v1/query");
        check(
            "127.0.0.1:1",
            "invalid URL: parse \"127.0.0.1:1\": first path segment in URL cannot contain colon",
        );
        check(
            "http://a b/",
            "invalid URL: parse \"http://a b/\": invalid character \" \" in host name",
        );
        check(
            "http://[::1",
            "invalid URL: parse \"http://[::1\": missing ']' in host",
        );
    }
}
