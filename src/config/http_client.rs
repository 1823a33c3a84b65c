//! How a client connects: credentials, TLS, redirects, proxies and headers.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use serde::{Serialize, Serializer};

/// A text that must not be shown: it formats and serializes as `<secret>`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether no secret is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<secret>")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<secret>")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("<secret>")
    }
}

/// The HTTP client of a scrape job, an Alertmanager, or a remote endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpClientConfig {
    /// User and password for HTTP basic authentication.
    pub basic_auth: Option<BasicAuth>,
    /// The `Authorization` header. The older `bearer_token` and `bearer_token_file` end up here, with
    /// the type `Bearer`, as upstream.
    pub authorization: Option<Authorization>,
    /// OAuth 2.0 client credentials.
    pub oauth2: Option<OAuth2>,
    /// TLS towards the server.
    pub tls_config: TlsConfig,
    /// Whether redirects are followed; true by default.
    pub follow_redirects: bool,
    /// Whether HTTP/2 may be negotiated; true by default.
    pub enable_http2: bool,
    /// The proxy to go through.
    pub proxy: ProxyConfig,
    /// Additional headers by name, in the file's spelling.
    pub http_headers: BTreeMap<String, HttpHeader>,
}

impl Default for HttpClientConfig {
    fn default() -> Self {
        Self {
            basic_auth: None,
            authorization: None,
            oauth2: None,
            tls_config: TlsConfig::default(),
            follow_redirects: true,
            enable_http2: true,
            proxy: ProxyConfig::default(),
            http_headers: BTreeMap::new(),
        }
    }
}

/// HTTP basic authentication. Files are read again for every request.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BasicAuth {
    /// The user name.
    pub username: String,
    /// A file that holds the user name.
    pub username_file: Option<PathBuf>,
    /// The password.
    pub password: Secret,
    /// A file that holds the password.
    pub password_file: Option<PathBuf>,
}

/// An `Authorization` header: a type and credentials.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Authorization {
    /// The type, `Bearer` by default; never `Basic`.
    pub kind: String,
    /// The credentials.
    pub credentials: Secret,
    /// A file that holds the credentials, read again for every request.
    pub credentials_file: Option<PathBuf>,
}

/// OAuth 2.0 client credentials.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OAuth2 {
    /// The client identifier.
    pub client_id: String,
    /// The client secret.
    pub client_secret: Secret,
    /// A file that holds the client secret.
    pub client_secret_file: Option<PathBuf>,
    /// The scopes to ask for.
    pub scopes: Vec<String>,
    /// The endpoint that hands out tokens.
    pub token_url: String,
    /// Further parameters of the token request.
    pub endpoint_params: BTreeMap<String, String>,
    /// TLS towards the token endpoint.
    pub tls_config: TlsConfig,
    /// The proxy towards the token endpoint.
    pub proxy: ProxyConfig,
}

/// TLS towards a server. Inline texts and files exclude one another, pair by pair.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TlsConfig {
    /// Certificates of the accepted authorities, PEM.
    pub ca: String,
    /// The client certificate, PEM.
    pub cert: String,
    /// The key of the client certificate, PEM.
    pub key: Secret,
    /// A file with the accepted authorities, PEM.
    pub ca_file: Option<PathBuf>,
    /// A file with the client certificate, PEM.
    pub cert_file: Option<PathBuf>,
    /// A file with the key of the client certificate, PEM.
    pub key_file: Option<PathBuf>,
    /// The name to expect in the server's certificate and to send, instead of the address's.
    pub server_name: String,
    /// Whether the server's certificate is not verified.
    pub insecure_skip_verify: bool,
    /// The lowest accepted version.
    pub min_version: Option<TlsVersion>,
    /// The highest accepted version.
    pub max_version: Option<TlsVersion>,
}

/// A TLS version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.0
    Tls10,
    /// TLS 1.1
    Tls11,
    /// TLS 1.2
    Tls12,
    /// TLS 1.3
    Tls13,
}

impl TlsVersion {
    /// The name used in configuration files, such as `TLS12`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tls10 => "TLS10",
            Self::Tls11 => "TLS11",
            Self::Tls12 => "TLS12",
            Self::Tls13 => "TLS13",
        }
    }
}

/// A proxy between client and server.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ProxyConfig {
    /// The proxy's address; credentials in it do not print.
    pub proxy_url: Option<Secret>,
    /// Addresses that are reached without the proxy, separated by commas.
    pub no_proxy: String,
    /// Whether the usual environment variables name the proxy.
    pub proxy_from_environment: bool,
    /// Headers for the proxy's CONNECT request.
    pub proxy_connect_header: BTreeMap<String, Vec<Secret>>,
}

impl ProxyConfig {
    /// Whether any proxy is asked for.
    pub fn is_set(&self) -> bool {
        self.proxy_url.is_some() || self.proxy_from_environment
    }
}

/// The values of one additional header; all of them are sent.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HttpHeader {
    /// Plain values.
    pub values: Vec<String>,
    /// Values that must not be shown.
    pub secrets: Vec<Secret>,
    /// Files that hold one value each.
    pub files: Vec<PathBuf>,
}
