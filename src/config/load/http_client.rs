//! Reads HTTP client settings, which stand inline in several sections.

use std::{collections::BTreeMap, rc::Rc};

use narthex_yaml::{Field, Node, Position, Problem, is_null};

use crate::config::{
    Authorization, BasicAuth, HttpClientConfig, HttpHeader, OAuth2, ProxyConfig, Secret, TlsConfig,
    TlsVersion, decode::Decoder,
};

/// Headers that other settings or the protocol itself decide.
const RESERVED_HEADERS: [&str; 18] = [
    "Accept-Encoding",
    "Authorization",
    "Connection",
    "Content-Encoding",
    "Content-Length",
    "Content-Type",
    "Host",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "User-Agent",
    "Www-Authenticate",
    "X-Amz-Content-Sha256",
    "X-Amz-Date",
    "X-Amz-Security-Token",
    "X-Prometheus-Remote-Read-Version",
    "X-Prometheus-Remote-Write-Version",
    "X-Prometheus-Scrape-Timeout-Seconds",
];

/// Settings as they are read; [`finish`](Self::finish) checks them together.
pub(super) struct HttpClientDraft {
    config: HttpClientConfig,
    bearer_token: Secret,
    bearer_token_file: Option<std::path::PathBuf>,
}

impl HttpClientDraft {
    pub(super) fn new(enable_http2: bool) -> Self {
        Self {
            config: HttpClientConfig {
                enable_http2,
                ..HttpClientConfig::default()
            },
            bearer_token: Secret::default(),
            bearer_token_file: None,
        }
    }

    /// Takes a field if it belongs here; answers whether it did.
    pub(super) fn field(&mut self, decoder: &mut Decoder, field: &Field) -> Result<bool, Problem> {
        let value = &field.value;
        let config = &mut self.config;
        match field.name.as_str() {
            "basic_auth" if is_null(value) => config.basic_auth = None,
            "basic_auth" => config.basic_auth = Some(basic_auth(decoder, value)?),
            "authorization" if is_null(value) => config.authorization = None,
            "authorization" => config.authorization = Some(authorization(decoder, value)?),
            "oauth2" if is_null(value) => config.oauth2 = None,
            "oauth2" => config.oauth2 = Some(oauth2(decoder, value)?),
            "bearer_token" => self.bearer_token = decoder.secret(value),
            "bearer_token_file" => self.bearer_token_file = decoder.path(value),
            "tls_config" => config.tls_config = tls(decoder, value)?,
            "follow_redirects" => config.follow_redirects = decoder.boolean(value),
            "enable_http2" => config.enable_http2 = decoder.boolean(value),
            "http_headers" => config.http_headers = headers(decoder, value)?,
            _ => return proxy_field(&mut config.proxy, decoder, field),
        }
        Ok(true)
    }

    /// Whether nothing differs from a client without settings.
    pub(super) fn is_default(&self) -> bool {
        self.config == HttpClientConfig::default()
            && self.bearer_token.is_empty()
            && self.bearer_token_file.is_none()
    }

    /// Checks what excludes one another. Source: `HTTPClientConfig.Validate`.
    pub(super) fn finish(mut self, at: Position) -> Result<HttpClientConfig, Problem> {
        let fail = |message: &str| Err(Problem::section(at, message));
        let config = &mut self.config;
        let token = !self.bearer_token.is_empty();
        let token_file = self.bearer_token_file.is_some();
        if token && token_file {
            return fail("at most one of bearer_token & bearer_token_file must be configured");
        }
        if (config.basic_auth.is_some() || config.oauth2.is_some()) && (token || token_file) {
            return fail(
                "at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured",
            );
        }
        if let Some(basic) = &config.basic_auth {
            if !basic.username.is_empty() && basic.username_file.is_some() {
                return fail(
                    "at most one of basic_auth username, username_file & username_ref must be configured",
                );
            }
            if !basic.password.is_empty() && basic.password_file.is_some() {
                return fail(
                    "at most one of basic_auth password, password_file & password_ref must be configured",
                );
            }
        }
        if let Some(authorization) = &mut config.authorization {
            if token || token_file {
                return fail(
                    "authorization is not compatible with bearer_token & bearer_token_file",
                );
            }
            if !authorization.credentials.is_empty() && authorization.credentials_file.is_some() {
                return fail(
                    "at most one of authorization credentials & credentials_file must be configured",
                );
            }
            authorization.kind = authorization.kind.trim().to_owned();
            if authorization.kind.is_empty() {
                "Bearer".clone_into(&mut authorization.kind);
            }
            if authorization.kind.eq_ignore_ascii_case("basic") {
                return fail(
                    "authorization type cannot be set to \"basic\", use \"basic_auth\" instead",
                );
            }
            if config.basic_auth.is_some() || config.oauth2.is_some() {
                return fail(
                    "at most one of basic_auth, oauth2 & authorization must be configured",
                );
            }
        } else if token || token_file {
            config.authorization = Some(Authorization {
                kind: "Bearer".to_owned(),
                credentials: self.bearer_token,
                credentials_file: self.bearer_token_file,
            });
        }
        if let Some(oauth2) = &config.oauth2 {
            if config.basic_auth.is_some() {
                return fail(
                    "at most one of basic_auth, oauth2 & authorization must be configured",
                );
            }
            if oauth2.client_id.is_empty() {
                return fail("oauth2 client_id must be configured");
            }
            if oauth2.token_url.is_empty() {
                return fail("oauth2 token_url must be configured");
            }
            if !oauth2.client_secret.is_empty() && oauth2.client_secret_file.is_some() {
                return fail(
                    "at most one of oauth2 client_secret, client_secret_file & client_secret_ref \
                     must be configured using grant-type=client_credentials",
                );
            }
            check_proxy(&oauth2.proxy, at)?;
        }
        check_proxy(&config.proxy, at)?;
        Ok(self.config)
    }
}

fn check_proxy(proxy: &ProxyConfig, at: Position) -> Result<(), Problem> {
    let url = proxy.proxy_url.is_some();
    let message = if !proxy.proxy_connect_header.is_empty() && !proxy.is_set() {
        "if proxy_connect_header is configured, proxy_url or proxy_from_environment must also be configured"
    } else if proxy.proxy_from_environment && url {
        "if proxy_from_environment is configured, proxy_url must not be configured"
    } else if proxy.proxy_from_environment && !proxy.no_proxy.is_empty() {
        "if proxy_from_environment is configured, no_proxy must not be configured"
    } else if !url && !proxy.no_proxy.is_empty() {
        "if no_proxy is configured, proxy_url must also be configured"
    } else {
        return Ok(());
    };
    Err(Problem::section(at, message))
}

fn proxy_field(
    proxy: &mut ProxyConfig,
    decoder: &mut Decoder,
    field: &Field,
) -> Result<bool, Problem> {
    let value = &field.value;
    match field.name.as_str() {
        "proxy_url" => {
            let text = url(decoder, value)?;
            proxy.proxy_url = (!text.is_empty()).then(|| Secret::new(text));
        }
        "no_proxy" => proxy.no_proxy = decoder.text(value),
        "proxy_from_environment" => proxy.proxy_from_environment = decoder.boolean(value),
        "proxy_connect_header" => {
            proxy.proxy_connect_header.clear();
            for entry in decoder.map(value, "config.ProxyHeader")? {
                let secrets = secrets(decoder, &entry.value);
                proxy.proxy_connect_header.insert(entry.name, secrets);
            }
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn secrets(decoder: &mut Decoder, node: &Node) -> Vec<Secret> {
    let items = decoder.items(node, "[]config.Secret");
    items.iter().map(|item| decoder.secret(item)).collect()
}

/// A URL, which must be well-formed if it is there; spaces and control characters in a host are the
/// usual mistake.
pub(super) fn url(decoder: &mut Decoder, node: &Node) -> Result<String, Problem> {
    let text = decoder.text(node);
    let authority = text
        .split_once("://")
        .map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let host = authority.map(|text| text.rsplit('@').next().unwrap_or_default());
    let wrong = host.and_then(|host| {
        host.chars()
            .find(|character| matches!(character, ' ' | '<' | '>' | '"' | '^' | '`' | '{' | '}'))
    });
    if let Some(wrong) = wrong {
        let shown = redacted_url(&text);
        return Err(Problem::value(
            node.position,
            format!(
                "parse {shown:?}: invalid character {:?} in host name",
                wrong.to_string()
            ),
        ));
    }
    if text.starts_with(':') {
        return Err(Problem::value(
            node.position,
            format!("parse {text:?}: missing protocol scheme"),
        ));
    }
    Ok(text)
}

/// The URL with its password as `xxxxx`.
pub(crate) fn redacted_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, behind) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((user, _)) => format!("{scheme}://{user}:xxxxx@{host}{behind}"),
            None => text.to_owned(),
        },
        None => text.to_owned(),
    }
}

fn basic_auth(decoder: &mut Decoder, node: &Rc<Node>) -> Result<BasicAuth, Problem> {
    let mut auth = BasicAuth::default();
    for field in decoder.fields(node, "config.plain")? {
        let value = &field.value;
        match field.name.as_str() {
            "username" => auth.username = decoder.text(value),
            "username_file" => auth.username_file = decoder.path(value),
            "password" => auth.password = decoder.secret(value),
            "password_file" => auth.password_file = decoder.path(value),
            _ => decoder.unknown_field(&field, "config.plain"),
        }
    }
    Ok(auth)
}

fn authorization(decoder: &mut Decoder, node: &Rc<Node>) -> Result<Authorization, Problem> {
    let mut authorization = Authorization::default();
    for field in decoder.fields(node, "config.Authorization")? {
        let value = &field.value;
        match field.name.as_str() {
            "type" => authorization.kind = decoder.text(value),
            "credentials" => authorization.credentials = decoder.secret(value),
            "credentials_file" => authorization.credentials_file = decoder.path(value),
            _ => decoder.unknown_field(&field, "config.Authorization"),
        }
    }
    Ok(authorization)
}

fn oauth2(decoder: &mut Decoder, node: &Rc<Node>) -> Result<OAuth2, Problem> {
    let mut oauth2 = OAuth2::default();
    let mut jwt = JwtBearer::default();
    for field in decoder.fields(node, "config.plain")? {
        let value = &field.value;
        match field.name.as_str() {
            "client_id" => oauth2.client_id = decoder.text(value),
            "client_secret" => oauth2.client_secret = decoder.secret(value),
            "client_secret_file" => oauth2.client_secret_file = decoder.path(value),
            "scopes" => oauth2.scopes = decoder.texts(value),
            "token_url" => oauth2.token_url = decoder.text(value),
            "endpoint_params" => {
                oauth2.endpoint_params = decoder.text_map(value)?.into_iter().collect();
            }
            "tls_config" => oauth2.tls_config = tls(decoder, value)?,
            name => {
                if !jwt.field(decoder, name, value)?
                    && !proxy_field(&mut oauth2.proxy, decoder, &field)?
                {
                    decoder.unknown_field(&field, "config.plain");
                }
            }
        }
    }
    jwt.check(node.position)?;
    Ok(oauth2)
}

/// OAuth 2.0 by a signed token instead of a client secret: checked, and not kept, for no client uses
/// OAuth 2.0 yet.
#[derive(Default)]
struct JwtBearer {
    is_granted: bool,
    has_key: bool,
    has_key_file: bool,
    algorithm: String,
}

impl JwtBearer {
    const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

    /// Takes a field if it belongs here; answers whether it did.
    fn field(
        &mut self,
        decoder: &mut Decoder,
        name: &str,
        value: &Rc<Node>,
    ) -> Result<bool, Problem> {
        match name {
            "grant_type" => self.is_granted = decoder.text(value) == Self::GRANT_TYPE,
            "client_certificate_key" => self.has_key = !decoder.secret(value).is_empty(),
            "client_certificate_key_file" => self.has_key_file = !decoder.text(value).is_empty(),
            "signature_algorithm" => self.algorithm = decoder.text(value),
            "client_certificate_key_id" | "iss" | "audience" => _ = decoder.text(value),
            "claims" => _ = decoder.map(value, "map[string]interface {}")?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn check(&self, at: Position) -> Result<(), Problem> {
        let message = if self.is_granted && self.has_key && self.has_key_file {
            "at most one of oauth2 client_certificate_key, client_certificate_key_file & \
             client_certificate_key_ref must be configured using \
             grant-type=urn:ietf:params:oauth:grant-type:jwt-bearer"
        } else if self.is_granted
            && !["", "RS256", "RS384", "RS512"].contains(&self.algorithm.as_str())
        {
            "valid signature algorithms are RS256, RS384 and RS512"
        } else {
            return Ok(());
        };
        Err(Problem::section(at, message))
    }
}

/// Source: `TLSConfig.Validate`.
pub(super) fn tls(decoder: &mut Decoder, node: &Rc<Node>) -> Result<TlsConfig, Problem> {
    let before = decoder.issue_count();
    let mut tls = TlsConfig::default();
    for field in decoder.fields(node, "config.plain")? {
        let value = &field.value;
        match field.name.as_str() {
            "ca" => tls.ca = decoder.text(value),
            "cert" => tls.cert = decoder.text(value),
            "key" => tls.key = decoder.secret(value),
            "ca_file" => tls.ca_file = decoder.path(value),
            "cert_file" => tls.cert_file = decoder.path(value),
            "key_file" => tls.key_file = decoder.path(value),
            "server_name" => tls.server_name = decoder.text(value),
            "insecure_skip_verify" => tls.insecure_skip_verify = decoder.boolean(value),
            "min_version" => tls.min_version = tls_version(decoder, value)?,
            "max_version" => tls.max_version = tls_version(decoder, value)?,
            _ => decoder.unknown_field(&field, "config.plain"),
        }
    }
    if decoder.issue_count() > before {
        return Ok(TlsConfig::default());
    }
    let cert = !tls.cert.is_empty();
    let key = !tls.key.is_empty();
    let message = if !tls.ca.is_empty() && tls.ca_file.is_some() {
        "at most one of ca, ca_file & ca_ref must be configured"
    } else if cert && tls.cert_file.is_some() {
        "at most one of cert, cert_file & cert_ref must be configured"
    } else if key && tls.key_file.is_some() {
        "at most one of key and key_file must be configured"
    } else if (cert || tls.cert_file.is_some()) && !(key || tls.key_file.is_some()) {
        "exactly one of key or key_file must be configured when a client certificate is configured"
    } else if (key || tls.key_file.is_some()) && !(cert || tls.cert_file.is_some()) {
        "exactly one of cert or cert_file must be configured when a client key is configured"
    } else {
        return Ok(tls);
    };
    Err(Problem::section(node.position, message))
}

fn tls_version(decoder: &mut Decoder, node: &Node) -> Result<Option<TlsVersion>, Problem> {
    if is_null(node) {
        return Ok(None);
    }
    let text = decoder.text(node);
    [
        TlsVersion::Tls10,
        TlsVersion::Tls11,
        TlsVersion::Tls12,
        TlsVersion::Tls13,
    ]
    .into_iter()
    .find(|version| version.as_str() == text)
    .map(Some)
    .ok_or_else(|| Problem::value(node.position, format!("unknown TLS version: {text}")))
}

fn headers(
    decoder: &mut Decoder,
    node: &Rc<Node>,
) -> Result<BTreeMap<String, HttpHeader>, Problem> {
    let mut headers = BTreeMap::new();
    for entry in decoder.map(node, "map[string]config.Header")? {
        let mut header = HttpHeader::default();
        for field in decoder.fields(&entry.value, "config.Header")? {
            let value = &field.value;
            match field.name.as_str() {
                "values" => header.values = decoder.texts(value),
                "secrets" => header.secrets = secrets(decoder, value),
                "files" => {
                    let items = decoder.items(value, "[]string");
                    header.files = items.iter().filter_map(|item| decoder.path(item)).collect();
                }
                _ => decoder.unknown_field(&field, "config.Header"),
            }
        }
        let reserved = RESERVED_HEADERS
            .iter()
            .find(|reserved| reserved.eq_ignore_ascii_case(&entry.name));
        if let Some(reserved) = reserved {
            return Err(Problem::section(
                entry.key.position,
                format!("setting header {reserved:?} is not allowed"),
            ));
        }
        headers.insert(entry.name, header);
    }
    Ok(headers)
}
