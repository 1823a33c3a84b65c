//! Reads `remote_write` and `remote_read`.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use narthex_yaml::{Node, Position, Problem, is_null};

use super::{
    cloud_auth,
    discovery::label_set,
    http_client::{HttpClientDraft, url},
    relabel::{self, RelabelDrafts},
    schema::check_section,
};
use crate::config::{
    MetadataConfig, NameValidation, QueueConfig, RemoteReadConfig, RemoteWriteConfig,
    RemoteWriteMessage, Secret, decode::Decoder,
};

/// Headers the protocol itself decides.
const RESERVED_HEADERS: [&str; 16] = [
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
    "x-prometheus-remote-write-version",
    "x-prometheus-remote-read-version",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-content-sha256",
];

/// An endpoint as it is read, its rules unchecked.
pub(super) struct RemoteWriteDraft {
    at: Position,
    config: RemoteWriteConfig,
    rules: RelabelDrafts,
}

impl RemoteWriteDraft {
    pub(super) fn finish(self, validation: NameValidation) -> Result<RemoteWriteConfig, Problem> {
        let mut config = self.config;
        config.write_relabel_configs = self.rules.finish(validation)?;
        Ok(config)
    }
}

/// Refuses a name that two endpoints share.
pub(super) fn check_names<'a>(
    kind: &str,
    names: impl Iterator<Item = (&'a str, Position)>,
) -> Result<(), Problem> {
    let mut seen = std::collections::HashSet::new();
    for (name, at) in names {
        if !name.is_empty() && !seen.insert(name) {
            return Err(Problem::section(
                at,
                format!("found multiple remote {kind} configs with job name {name:?}"),
            ));
        }
    }
    Ok(())
}

/// Reads `remote_write`.
pub(super) fn writes(decoder: &mut Decoder, node: &Node) -> Result<Vec<RemoteWriteDraft>, Problem> {
    let mut drafts = Vec::new();
    for item in decoder.items(node, "[]*config.RemoteWriteConfig") {
        if is_null(item) {
            return Err(Problem::section(
                item.position,
                "empty or null remote write config section",
            ));
        }
        drafts.extend(write(decoder, item)?);
    }
    check_names(
        "write",
        drafts
            .iter()
            .map(|draft| (draft.config.name.as_str(), draft.at)),
    )?;
    Ok(drafts)
}

fn write(decoder: &mut Decoder, node: &Rc<Node>) -> Result<Option<RemoteWriteDraft>, Problem> {
    const TYPE: &str = "config.plain";
    let before = decoder.issue_count();
    let mut config = RemoteWriteConfig {
        url: Secret::default(),
        name: String::new(),
        protobuf_message: RemoteWriteMessage::V1,
        remote_timeout: Duration::from_secs(30),
        headers: BTreeMap::new(),
        write_relabel_configs: Vec::new(),
        send_exemplars: false,
        send_native_histograms: false,
        round_robin_dns: false,
        http_client: super::super::HttpClientConfig::default(),
        queue_config: QueueConfig::default(),
        metadata_config: MetadataConfig::default(),
        cloud_auth: Vec::new(),
    };
    let mut rules = RelabelDrafts::default();
    let mut http_client = HttpClientDraft::new(false);
    for field in decoder.fields(node, TYPE)? {
        let value = &field.value;
        match field.name.as_str() {
            "url" => config.url = Secret::new(url(decoder, value)?),
            "name" => config.name = decoder.text(value),
            "remote_timeout" => config.remote_timeout = decoder.duration(value)?,
            "headers" => config.headers = headers(decoder, value)?,
            "write_relabel_configs" => {
                rules = relabel::rules(
                    decoder,
                    value,
                    "empty or null relabeling rule in remote write config",
                )?;
            }
            "send_exemplars" => config.send_exemplars = decoder.boolean(value),
            "send_native_histograms" => config.send_native_histograms = decoder.boolean(value),
            "round_robin_dns" => config.round_robin_dns = decoder.boolean(value),
            "protobuf_message" => {
                config.protobuf_message = match decoder.text(value).as_str() {
                    "prometheus.WriteRequest" => RemoteWriteMessage::V1,
                    "io.prometheus.write.v2.Request" => RemoteWriteMessage::V2,
                    other => {
                        return Err(Problem::value(
                            value.position,
                            format!(
                                "invalid protobuf_message value: unknown remote write protobuf \
                                 message {other}, supported: prometheus.WriteRequest, \
                                 io.prometheus.write.v2.Request"
                            ),
                        ));
                    }
                };
            }
            "queue_config" => config.queue_config = queue(decoder, value)?,
            "metadata_config" => config.metadata_config = metadata(decoder, value)?,
            name => {
                if let Some((key, section)) = cloud_auth::section(name) {
                    if !is_null(value) {
                        config.cloud_auth.push(key);
                        check_section(decoder, value, section)?;
                    }
                } else if !http_client.field(decoder, &field)? {
                    decoder.unknown_field(&field, TYPE);
                }
            }
        }
    }
    if decoder.issue_count() > before {
        return Ok(None);
    }
    if config.url.is_empty() {
        return Err(Problem::section(
            node.position,
            "url for remote_write is empty",
        ));
    }
    check_headers(&config.headers, node.position)?;
    config.http_client = http_client.finish(node.position)?;
    let client = &config.http_client;
    let configured: Vec<&str> = [
        ("basic_auth", client.basic_auth.is_some()),
        ("authorization", client.authorization.is_some()),
        ("oauth2", client.oauth2.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, present)| present.then_some(name))
    .chain(config.cloud_auth.iter().copied())
    .collect();
    if configured.len() > 1 {
        return Err(Problem::section(
            node.position,
            format!(
                "at most one of basic_auth, authorization, oauth2, sigv4, azuread or google_iam \
                 must be configured. Currently configured: [{}]",
                configured.join(" ")
            ),
        ));
    }
    Ok(Some(RemoteWriteDraft {
        at: node.position,
        config,
        rules,
    }))
}

fn headers(decoder: &mut Decoder, node: &Rc<Node>) -> Result<BTreeMap<String, String>, Problem> {
    Ok(decoder.text_map(node)?.into_iter().collect())
}

/// Source: `validateHeaders`.
fn check_headers(headers: &BTreeMap<String, String>, at: Position) -> Result<(), Problem> {
    check_reserved(
        headers.keys(),
        "authorization header must be changed via the basic_auth, authorization, oauth2, \
         sigv4, azuread or google_iam parameter",
        at,
    )
}

/// Refuses headers that are set otherwise; `of_authorization` is said of that one.
pub(super) fn check_reserved<'h>(
    headers: impl Iterator<Item = &'h String>,
    of_authorization: &str,
    at: Position,
) -> Result<(), Problem> {
    for header in headers {
        let lower = header.to_lowercase();
        if lower == "authorization" {
            return Err(Problem::section(at, of_authorization));
        }
        if RESERVED_HEADERS.contains(&lower.as_str()) {
            return Err(Problem::section(
                at,
                format!("{header} is a reserved header. It must not be changed"),
            ));
        }
    }
    Ok(())
}

fn queue(decoder: &mut Decoder, node: &Rc<Node>) -> Result<QueueConfig, Problem> {
    let mut queue = QueueConfig::default();
    for field in decoder.fields(node, "config.QueueConfig")? {
        let value = &field.value;
        match field.name.as_str() {
            "capacity" => queue.capacity = decoder.integer(value),
            "max_shards" => queue.max_shards = decoder.integer(value),
            "min_shards" => queue.min_shards = decoder.integer(value),
            "max_samples_per_send" => queue.max_samples_per_send = decoder.integer(value),
            "batch_send_deadline" => queue.batch_send_deadline = decoder.duration(value)?,
            "min_backoff" => queue.min_backoff = decoder.duration(value)?,
            "max_backoff" => queue.max_backoff = decoder.duration(value)?,
            "retry_on_http_429" => queue.retry_on_http_429 = decoder.boolean(value),
            "sample_age_limit" => queue.sample_age_limit = decoder.duration(value)?,
            _ => decoder.unknown_field(&field, "config.QueueConfig"),
        }
    }
    Ok(queue)
}

fn metadata(decoder: &mut Decoder, node: &Rc<Node>) -> Result<MetadataConfig, Problem> {
    let mut metadata = MetadataConfig::default();
    for field in decoder.fields(node, "config.MetadataConfig")? {
        let value = &field.value;
        match field.name.as_str() {
            "send" => metadata.send = decoder.boolean(value),
            "send_interval" => metadata.send_interval = decoder.duration(value)?,
            "max_samples_per_send" => metadata.max_samples_per_send = decoder.integer(value),
            _ => decoder.unknown_field(&field, "config.MetadataConfig"),
        }
    }
    Ok(metadata)
}

/// Reads `remote_read`.
pub(super) fn reads(decoder: &mut Decoder, node: &Node) -> Result<Vec<RemoteReadConfig>, Problem> {
    let mut configs = Vec::new();
    for item in decoder.items(node, "[]*config.RemoteReadConfig") {
        if is_null(item) {
            return Err(Problem::section(
                item.position,
                "empty or null remote read config section",
            ));
        }
        if let Some(config) = read(decoder, item)? {
            configs.push((config, item.position));
        }
    }
    check_names(
        "read",
        configs
            .iter()
            .map(|(config, at)| (config.name.as_str(), *at)),
    )?;
    Ok(configs.into_iter().map(|(config, _)| config).collect())
}

fn read(decoder: &mut Decoder, node: &Rc<Node>) -> Result<Option<RemoteReadConfig>, Problem> {
    const TYPE: &str = "config.plain";
    let before = decoder.issue_count();
    let mut config = RemoteReadConfig {
        url: Secret::default(),
        name: String::new(),
        remote_timeout: Duration::from_mins(1),
        headers: BTreeMap::new(),
        read_recent: false,
        required_matchers: narthex_storage::Labels::empty(),
        filter_external_labels: true,
        http_client: super::super::HttpClientConfig::default(),
    };
    let mut http_client = HttpClientDraft::new(true);
    for field in decoder.fields(node, TYPE)? {
        let value = &field.value;
        match field.name.as_str() {
            "url" => config.url = Secret::new(url(decoder, value)?),
            "name" => config.name = decoder.text(value),
            "remote_timeout" => config.remote_timeout = decoder.duration(value)?,
            "chunked_read_limit" => _ = decoder.unsigned(value),
            "headers" => config.headers = headers(decoder, value)?,
            "read_recent" => config.read_recent = decoder.boolean(value),
            "required_matchers" => config.required_matchers = label_set(decoder, value)?,
            "filter_external_labels" => config.filter_external_labels = decoder.boolean(value),
            _ => {
                if !http_client.field(decoder, &field)? {
                    decoder.unknown_field(&field, TYPE);
                }
            }
        }
    }
    if decoder.issue_count() > before {
        return Ok(None);
    }
    if config.url.is_empty() {
        return Err(Problem::section(
            node.position,
            "url for remote_read is empty",
        ));
    }
    check_headers(&config.headers, node.position)?;
    config.http_client = http_client.finish(node.position)?;
    Ok(Some(config))
}
