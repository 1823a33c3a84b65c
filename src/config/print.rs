//! Prints a configuration as `/api/v1/status/config` shows it: defaults written out, secrets hidden,
//! the order and layout of Prometheus's own YAML.
//!
//! Sections a server does not start with (`remote_write`, `remote_read`, discovery that is not built)
//! are not printed.

use std::{fmt::Write as _, path::Path, time::Duration};

use narthex_query::format_duration;
use narthex_storage::Labels;

use super::{
    AlertmanagerConfig, Config, DiscoveryConfigs, GlobalConfig, HttpClientConfig, NameValidation,
    OtlpConfig, ProxyConfig, ScrapeConfig, ScrapeLimits, ScrapeProtocol, TargetGroup, TlsConfig,
    bytes, load::redacted_url,
};
use crate::relabel::RelabelConfig;

/// What a server's `runtime` section says when the file does not.
const GOGC_DEFAULT: i64 = 75;

impl Config {
    /// The configuration as YAML.
    pub fn to_yaml(&self) -> String {
        let mut root = Map::default();
        root.put("global", global(&self.global, &self.global_escaping));
        let mut runtime = Map::default();
        runtime.plain("gogc", self.gogc.unwrap_or(GOGC_DEFAULT));
        root.put("runtime", runtime);
        let mut alerting = Map::default();
        alerting.relabel(
            "alert_relabel_configs",
            &self.alerting.alert_relabel_configs,
        );
        alerting.list(
            "alertmanagers",
            self.alerting.alertmanagers.iter().map(alertmanager),
        );
        root.section("alerting", alerting);
        root.texts("rule_files", &self.rule_files);
        root.texts("scrape_config_files", &self.scrape_config_files);
        root.list("scrape_configs", self.scrape_configs.iter().map(job));
        root.section("storage", storage(self));
        if let Some(tracing) = &self.tracing {
            let mut map = Map::default();
            map.text("client_type", &tracing.client_type);
            map.text("endpoint", &tracing.endpoint);
            root.put("tracing", map);
        }
        root.put("otlp", otlp(&self.otlp.clone().unwrap_or_default()));
        let mut text = String::new();
        Value::Map(root.0).print(0, &mut text);
        text
    }
}

/// A value of the printed tree.
enum Value {
    /// Printed as it is: numbers and truth values.
    Plain(String),
    /// A text, quoted where YAML needs it.
    Text(String),
    /// Texts on one line.
    Flow(Vec<String>),
    List(Vec<Value>),
    Map(Vec<(String, Value)>),
}

/// Fields in order.
#[derive(Default)]
struct Map(Vec<(String, Value)>);

impl From<Map> for Value {
    fn from(map: Map) -> Self {
        Self::Map(map.0)
    }
}

impl Map {
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.push((name.to_owned(), value.into()));
    }

    /// A number or truth value, always.
    fn plain(&mut self, name: &str, value: impl std::fmt::Display) {
        self.put(name, Value::Plain(format!("{value}")));
    }

    /// A truth value if it is true.
    fn flag(&mut self, name: &str, value: bool) {
        if value {
            self.plain(name, value);
        }
    }

    /// A number unless it is zero.
    fn number(&mut self, name: &str, value: u64) {
        if value != 0 {
            self.plain(name, value);
        }
    }

    /// A text unless it is empty.
    fn text(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.put(name, Value::Text(value.to_owned()));
        }
    }

    fn path(&mut self, name: &str, value: Option<&Path>) {
        if let Some(value) = value {
            self.text(name, &value.to_string_lossy());
        }
    }

    /// A hidden text unless it is empty.
    fn secret(&mut self, name: &str, value: &super::Secret) {
        if !value.is_empty() {
            self.text(name, &value.to_string());
        }
    }

    fn duration(&mut self, name: &str, value: Duration) {
        if !value.is_zero() {
            self.text(name, &format_duration(value));
        }
    }

    /// Texts unless there are none.
    fn texts<T: AsRef<str>>(&mut self, name: &str, values: &[T]) {
        self.list(
            name,
            values
                .iter()
                .map(|value| Value::Text(value.as_ref().to_owned())),
        );
    }

    fn list<V: Into<Value>>(&mut self, name: &str, values: impl Iterator<Item = V>) {
        let values: Vec<Value> = values.map(Into::into).collect();
        if !values.is_empty() {
            self.put(name, Value::List(values));
        }
    }

    /// A section unless it is empty.
    fn section(&mut self, name: &str, section: Map) {
        if !section.0.is_empty() {
            self.put(name, section);
        }
    }

    fn labels(&mut self, name: &str, labels: &Labels) {
        let mut map = Map::default();
        for (name, value) in labels.iter() {
            map.put(name, Value::Text(value.to_owned()));
        }
        self.section(name, map);
    }

    fn protocols(&mut self, name: &str, protocols: &[ScrapeProtocol]) {
        let names: Vec<&str> = protocols.iter().map(|protocol| protocol.as_str()).collect();
        self.texts(name, &names);
    }

    fn relabel(&mut self, name: &str, rules: &[RelabelConfig]) {
        self.list(name, rules.iter().map(relabel));
    }
}

fn global(global: &GlobalConfig, escaping: &str) -> Map {
    let mut map = Map::default();
    map.duration("scrape_interval", global.scrape_interval);
    map.duration("scrape_timeout", global.scrape_timeout);
    map.protocols("scrape_protocols", &global.scrape_protocols);
    map.duration("evaluation_interval", global.evaluation_interval);
    map.duration("rule_query_offset", global.rule_query_offset);
    map.path("query_log_file", global.query_log_file.as_deref());
    map.path(
        "scrape_failure_log_file",
        global.scrape_failure_log_file.as_deref(),
    );
    map.labels("external_labels", &global.external_labels);
    limits(&mut map, &global.limits);
    map.number("keep_dropped_targets", global.limits.keep_dropped_targets);
    validation(&mut map, global.metric_name_validation_scheme);
    map.text("metric_name_escaping_scheme", escaping);
    map.plain("scrape_native_histograms", global.scrape_native_histograms);
    map.flag(
        "convert_classic_histograms_to_nhcb",
        global.convert_classic_histograms_to_nhcb,
    );
    map.flag(
        "always_scrape_classic_histograms",
        global.always_scrape_classic_histograms,
    );
    map.flag("extra_scrape_metrics", global.extra_scrape_metrics);
    map
}

fn validation(map: &mut Map, scheme: NameValidation) {
    map.text("metric_name_validation_scheme", scheme.as_str());
}

fn limits(map: &mut Map, limits: &ScrapeLimits) {
    if limits.body_size_bytes != 0 {
        map.text("body_size_limit", &bytes::format(limits.body_size_bytes));
    }
    map.number("sample_limit", limits.samples);
    map.number("target_limit", limits.targets);
    map.number("label_limit", limits.labels);
    map.number("label_name_length_limit", limits.label_name_bytes);
    map.number("label_value_length_limit", limits.label_value_bytes);
}

fn job(job: &ScrapeConfig) -> Map {
    let mut map = Map::default();
    map.text("job_name", &job.job_name);
    map.flag("honor_labels", job.honor_labels);
    map.plain("honor_timestamps", job.honor_timestamps);
    map.plain("track_timestamps_staleness", job.track_timestamps_staleness);
    let mut params = Map::default();
    for (name, values) in &job.params {
        let values = values.iter().cloned().map(Value::Text).collect();
        params.put(name, Value::List(values));
    }
    map.section("params", params);
    map.duration("scrape_interval", job.scrape_interval);
    map.duration("scrape_timeout", job.scrape_timeout);
    map.protocols("scrape_protocols", &job.scrape_protocols);
    if let Some(protocol) = job.fallback_scrape_protocol {
        map.text("fallback_scrape_protocol", protocol.as_str());
    }
    map.plain("scrape_native_histograms", job.scrape_native_histograms);
    map.plain(
        "always_scrape_classic_histograms",
        job.always_scrape_classic_histograms,
    );
    map.plain(
        "convert_classic_histograms_to_nhcb",
        job.convert_classic_histograms_to_nhcb,
    );
    map.path(
        "scrape_failure_log_file",
        job.scrape_failure_log_file.as_deref(),
    );
    map.text("metrics_path", &job.metrics_path);
    map.text("scheme", &job.scheme);
    map.plain("enable_compression", job.enable_compression);
    limits(&mut map, &job.limits);
    map.number(
        "native_histogram_bucket_limit",
        job.limits.native_histogram_buckets,
    );
    if job.limits.native_histogram_min_bucket_factor != 0.0 {
        map.plain(
            "native_histogram_min_bucket_factor",
            job.limits.native_histogram_min_bucket_factor,
        );
    }
    map.number("keep_dropped_targets", job.limits.keep_dropped_targets);
    validation(&mut map, job.metric_name_validation_scheme);
    map.text(
        "metric_name_escaping_scheme",
        job.metric_name_escaping_scheme.as_str(),
    );
    map.plain("extra_scrape_metrics", job.extra_scrape_metrics);
    http_client(&mut map, &job.http_client);
    map.relabel("relabel_configs", &job.relabel_configs);
    map.relabel("metric_relabel_configs", &job.metric_relabel_configs);
    discovery(&mut map, &job.discovery);
    map
}

fn alertmanager(config: &AlertmanagerConfig) -> Map {
    let mut map = Map::default();
    http_client(&mut map, &config.http_client);
    map.text("scheme", &config.scheme);
    map.text("path_prefix", &config.path_prefix);
    map.duration("timeout", config.timeout);
    map.text("api_version", "v2");
    map.relabel("relabel_configs", &config.relabel_configs);
    map.relabel("alert_relabel_configs", &config.alert_relabel_configs);
    discovery(&mut map, &config.discovery);
    map
}

fn http_client(map: &mut Map, client: &HttpClientConfig) {
    if let Some(auth) = &client.basic_auth {
        let mut section = Map::default();
        section.put("username", Value::Text(auth.username.clone()));
        section.path("username_file", auth.username_file.as_deref());
        section.secret("password", &auth.password);
        section.path("password_file", auth.password_file.as_deref());
        map.put("basic_auth", section);
    }
    if let Some(authorization) = &client.authorization {
        let mut section = Map::default();
        section.text("type", &authorization.kind);
        section.secret("credentials", &authorization.credentials);
        section.path(
            "credentials_file",
            authorization.credentials_file.as_deref(),
        );
        map.put("authorization", section);
    }
    if let Some(oauth2) = &client.oauth2 {
        let mut section = Map::default();
        section.put("client_id", Value::Text(oauth2.client_id.clone()));
        section.secret("client_secret", &oauth2.client_secret);
        section.path("client_secret_file", oauth2.client_secret_file.as_deref());
        section.texts("scopes", &oauth2.scopes);
        section.text("token_url", &oauth2.token_url);
        let mut params = Map::default();
        for (name, value) in &oauth2.endpoint_params {
            params.put(name, Value::Text(value.clone()));
        }
        section.section("endpoint_params", params);
        tls(&mut section, &oauth2.tls_config);
        proxy(&mut section, &oauth2.proxy);
        map.put("oauth2", section);
    }
    tls(map, &client.tls_config);
    map.plain("follow_redirects", client.follow_redirects);
    map.plain("enable_http2", client.enable_http2);
    proxy(map, &client.proxy);
    let mut headers = Map::default();
    for (name, header) in &client.http_headers {
        let mut section = Map::default();
        section.texts("values", &header.values);
        let secrets: Vec<String> = header.secrets.iter().map(ToString::to_string).collect();
        section.texts("secrets", &secrets);
        let files: Vec<String> = header
            .files
            .iter()
            .map(|path| path.to_string_lossy().into_owned())
            .collect();
        section.texts("files", &files);
        headers.put(name, section);
    }
    map.section("http_headers", headers);
}

fn tls(map: &mut Map, tls: &TlsConfig) {
    if *tls == TlsConfig::default() {
        return;
    }
    let mut section = Map::default();
    section.text("ca", &tls.ca);
    section.text("cert", &tls.cert);
    section.secret("key", &tls.key);
    section.path("ca_file", tls.ca_file.as_deref());
    section.path("cert_file", tls.cert_file.as_deref());
    section.path("key_file", tls.key_file.as_deref());
    section.text("server_name", &tls.server_name);
    section.plain("insecure_skip_verify", tls.insecure_skip_verify);
    if let Some(version) = tls.min_version {
        section.text("min_version", version.as_str());
    }
    if let Some(version) = tls.max_version {
        section.text("max_version", version.as_str());
    }
    map.put("tls_config", section);
}

fn proxy(map: &mut Map, proxy: &ProxyConfig) {
    if let Some(url) = &proxy.proxy_url {
        map.text("proxy_url", &redacted_url(url.expose()));
    }
    map.text("no_proxy", &proxy.no_proxy);
    map.flag("proxy_from_environment", proxy.proxy_from_environment);
    let mut headers = Map::default();
    for (name, values) in &proxy.proxy_connect_header {
        let hidden = values.iter().map(|value| Value::Text(value.to_string()));
        headers.put(name, Value::List(hidden.collect()));
    }
    map.section("proxy_connect_header", headers);
}

fn relabel(rule: &RelabelConfig) -> Map {
    let mut map = Map::default();
    if !rule.source_labels.is_empty() {
        map.put("source_labels", Value::Flow(rule.source_labels.clone()));
    }
    map.text("separator", &rule.separator);
    if let Some(regex) = &rule.regex {
        match regex.as_str() {
            "" => map.plain("regex", "null"),
            pattern => map.text("regex", pattern),
        }
    }
    map.number("modulus", rule.modulus);
    map.text("target_label", &rule.target_label);
    map.text("replacement", &rule.replacement);
    map.text("action", rule.action.as_str());
    map
}

fn discovery(map: &mut Map, discovery: &DiscoveryConfigs) {
    map.list(
        "file_sd_configs",
        discovery.file_sd_configs.iter().map(|config| {
            let mut map = Map::default();
            let files: Vec<String> = config
                .files
                .iter()
                .map(|path| path.to_string_lossy().into_owned())
                .collect();
            map.texts("files", &files);
            map.duration("refresh_interval", config.refresh_interval);
            map
        }),
    );
    map.list("static_configs", discovery.static_configs.iter().map(group));
}

fn group(group: &TargetGroup) -> Map {
    let mut map = Map::default();
    let addresses = group
        .targets
        .iter()
        .map(|target| Value::Text(target.get("__address__").unwrap_or_default().to_owned()));
    map.put("targets", Value::List(addresses.collect()));
    map.labels("labels", &group.labels);
    map
}

fn storage(config: &Config) -> Map {
    let mut map = Map::default();
    if config.storage.has_tsdb {
        let mut tsdb = Map::default();
        let window = config.storage.out_of_order_time_window;
        // Upstream's own spelling of a field that is meant to be internal.
        tsdb.plain("outofordertimewindow", window.as_millis());
        if !window.is_zero() {
            tsdb.duration("out_of_order_time_window", window);
        }
        if let Some(retention) = config.storage.retention {
            let mut section = Map::default();
            section.duration("time", retention.time.unwrap_or_default());
            if let Some(size) = retention.size_bytes {
                section.text("size", &bytes::format(size));
            }
            tsdb.section("retention", section);
        }
        map.put("tsdb", tsdb);
    }
    if let Some(max_exemplars) = config.storage.max_exemplars {
        let mut exemplars = Map::default();
        exemplars.plain("max_exemplars", max_exemplars);
        map.put("exemplars", exemplars);
    }
    map
}

fn otlp(otlp: &OtlpConfig) -> Map {
    let mut map = Map::default();
    map.flag(
        "promote_all_resource_attributes",
        otlp.promote_all_resource_attributes,
    );
    map.texts(
        "promote_resource_attributes",
        &otlp.promote_resource_attributes,
    );
    map.texts(
        "ignore_resource_attributes",
        &otlp.ignore_resource_attributes,
    );
    map.text("translation_strategy", otlp.translation_strategy.as_str());
    map.flag(
        "keep_identifying_resource_attributes",
        otlp.keep_identifying_resource_attributes,
    );
    map.flag(
        "convert_histograms_to_nhcb",
        otlp.convert_histograms_to_nhcb,
    );
    map.flag("promote_scope_metadata", otlp.promote_scope_metadata);
    map.flag(
        "label_name_underscore_sanitization",
        otlp.label_name_underscore_sanitization,
    );
    map.flag(
        "label_name_preserve_multiple_underscores",
        otlp.label_name_preserve_multiple_underscores,
    );
    map
}

impl Value {
    /// Prints a value that begins at the start of a line with `indent` spaces before it, or, for
    /// scalars and empty collections, behind its key.
    fn print(&self, indent: usize, into: &mut String) {
        let spaces = " ".repeat(indent);
        match self {
            Self::Plain(text) => into.push_str(text),
            Self::Text(text) => into.push_str(&scalar(text, indent, false)),
            Self::Flow(texts) => {
                let texts: Vec<String> = texts
                    .iter()
                    .map(|text| scalar(text, indent, true))
                    .collect();
                write!(into, "[{}]", texts.join(", ")).expect("writing to a string does not fail");
            }
            Self::List(values) => {
                for value in values {
                    into.push_str(&spaces);
                    into.push_str("- ");
                    // The first field stands behind the dash.
                    let mut item = String::new();
                    value.print(indent + 2, &mut item);
                    into.push_str(item.trim_start_matches(' '));
                    if !value.is_collection() {
                        into.push('\n');
                    }
                }
            }
            Self::Map(fields) => {
                for (name, value) in fields {
                    into.push_str(&spaces);
                    into.push_str(&scalar(name, indent, false));
                    into.push(':');
                    match value {
                        Self::List(values) if values.is_empty() => into.push_str(" []\n"),
                        Self::Map(fields) if fields.is_empty() => into.push_str(" {}\n"),
                        Self::List(_) => {
                            into.push('\n');
                            value.print(indent, into);
                        }
                        Self::Map(_) => {
                            into.push('\n');
                            value.print(indent + 2, into);
                        }
                        _ => {
                            into.push(' ');
                            value.print(indent + 2, into);
                            into.push('\n');
                        }
                    }
                }
            }
        }
    }

    fn is_collection(&self) -> bool {
        matches!(self, Self::List(_) | Self::Map(_))
    }
}

/// A text as a YAML scalar, in the style Go's `yaml.v2` chooses: plain where that reads back as the
/// same text, a literal block for several lines, quotes otherwise.
fn scalar(text: &str, indent: usize, in_flow: bool) -> String {
    let unprintable = text
        .chars()
        .any(|character| character.is_control() && character != '\n');
    if unprintable || narthex_yaml::is_interpreted(text) {
        return double_quoted(text);
    }
    if text.contains('\n') {
        if in_flow || text.starts_with([' ', '\n']) {
            return double_quoted(text);
        }
        let body = text.strip_suffix('\n');
        let mark = match body {
            None => "|-",
            Some(body) if body.ends_with('\n') => "|+",
            Some(_) => "|",
        };
        let mut block = mark.to_owned();
        for line in body.unwrap_or(text).split('\n') {
            block.push('\n');
            if !line.is_empty() {
                block.push_str(&" ".repeat(indent));
                block.push_str(line);
            }
        }
        return block;
    }
    if is_plain(text, in_flow) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

/// Whether a text may stand without quotes.
fn is_plain(text: &str, in_flow: bool) -> bool {
    if text.starts_with(' ') || text.ends_with(' ') {
        return false;
    }
    if text.starts_with("---") || text.starts_with("...") {
        return false;
    }
    let mut previous = None;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let ends_word = characters.peek().is_none_or(|next| *next == ' ');
        let refused = match (previous, character) {
            (
                None,
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%'
                | '@' | '`',
            ) => true,
            (None, '?' | ':') => in_flow || ends_word,
            (None, '-') => ends_word,
            (_, ':') => in_flow || ends_word,
            (_, ',' | '?' | '[' | ']' | '{' | '}') => in_flow,
            (Some(' '), '#') => true,
            _ => false,
        };
        if refused {
            return false;
        }
        previous = Some(character);
    }
    true
}

fn double_quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            '\0' => quoted.push_str("\\0"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            '\u{1b}' => quoted.push_str("\\e"),
            control if control.is_control() => {
                write!(quoted, "\\x{:02X}", control as u32)
                    .expect("writing to a string does not fail");
            }
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}
