//! Reads the top level and its smaller sections.

use std::{collections::HashSet, rc::Rc, time::Duration};

use narthex_yaml::{Node, Position, Problem, is_null};

use super::{
    cloud_auth,
    discovery::{DiscoveryDraft, stars_in_last_part_only},
    http_client::{self, HttpClientDraft},
    relabel::{self, RelabelDrafts},
    remote::{self, RemoteWriteDraft},
    schema::check_section,
    scrape::{self, ScrapeDraft},
};
use crate::config::{
    AlertingConfig, AlertmanagerConfig, Config, GlobalConfig, NameValidation, OtlpConfig,
    RetentionConfig, StorageConfig, TracingConfig, TranslationStrategy, decode::Decoder,
};

const PLAIN: &str = "config.plain";

/// The top level as it stands in the file.
#[derive(Default)]
pub(super) struct ConfigDraft {
    config: Config,
    global_escaping: String,
    jobs: Vec<ScrapeDraft>,
    alert_rules: RelabelDrafts,
    alertmanagers: Vec<AlertmanagerDraft>,
    remote_write: Vec<RemoteWriteDraft>,
    paths: Vec<(&'static str, String, Position)>,
    strategy: Option<Position>,
}

struct AlertmanagerDraft {
    config: AlertmanagerConfig,
    relabel: RelabelDrafts,
    alert_relabel: RelabelDrafts,
}

/// Reads the top level.
pub(super) fn read(decoder: &mut Decoder, node: &Rc<Node>) -> Result<ConfigDraft, Problem> {
    let mut draft = ConfigDraft::default();
    for field in decoder.fields(node, PLAIN)? {
        let value = &field.value;
        let config = &mut draft.config;
        match field.name.as_str() {
            "global" => (config.global, draft.global_escaping) = global(decoder, value)?,
            "runtime" => config.gogc = runtime(decoder, value)?,
            "alerting" => {
                (draft.alert_rules, draft.alertmanagers) = alerting(decoder, value)?;
            }
            "rule_files" => {
                config.rule_files = patterns(decoder, value, "rule", &mut draft.paths);
            }
            "scrape_config_files" => {
                config.scrape_config_files =
                    patterns(decoder, value, "scrape config", &mut draft.paths);
            }
            "scrape_configs" => draft.jobs = scrape::jobs(decoder, value)?,
            "storage" => config.storage = storage(decoder, value)?,
            "tracing" => config.tracing = tracing(decoder, value)?,
            "remote_write" => draft.remote_write = remote::writes(decoder, value)?,
            "remote_read" => config.remote_read = remote::reads(decoder, value)?,
            "otlp" => {
                config.otlp = Some(otlp(decoder, value)?);
                draft.strategy = Some(value.position);
            }
            _ => decoder.unknown_field(&field, PLAIN),
        }
    }
    Ok(draft)
}

impl ConfigDraft {
    /// Checks what depends on several sections and fills in what is inherited.
    pub(super) fn finish(self) -> Result<Config, Problem> {
        let mut config = self.config;
        for (kind, text, at) in &self.paths {
            if !stars_in_last_part_only(text) {
                return Err(Problem::value(
                    *at,
                    format!("invalid {kind} file path {text:?}"),
                ));
            }
        }
        let mut names = HashSet::new();
        for job in self.jobs {
            let (at, name) = (job.at, job.job_name().to_owned());
            let job = job.finish(&config.global, &self.global_escaping)?;
            if !names.insert(name.clone()) {
                return Err(Problem::section(
                    at,
                    format!("found multiple scrape configs with job name {name:?}"),
                ));
            }
            config.scrape_configs.push(job);
        }
        let validation = config.global.metric_name_validation_scheme;
        config.alerting = AlertingConfig {
            alert_relabel_configs: self.alert_rules.finish(validation)?,
            alertmanagers: Vec::new(),
        };
        for alertmanager in self.alertmanagers {
            let mut finished = alertmanager.config;
            finished.alert_relabel_configs = alertmanager.alert_relabel.finish(validation)?;
            finished.relabel_configs = alertmanager.relabel.finish(validation)?;
            config.alerting.alertmanagers.push(finished);
        }
        for endpoint in self.remote_write {
            config.remote_write.push(endpoint.finish(validation)?);
        }
        if let (Some(otlp), Some(at)) = (&config.otlp, self.strategy)
            && validation == NameValidation::Legacy
            && otlp.translation_strategy.keeps_utf8()
        {
            return Err(Problem::section(
                at,
                format!(
                    "OTLP translation strategy {:?} is not allowed when UTF8 is disabled",
                    otlp.translation_strategy.as_str()
                ),
            ));
        }
        config.global_escaping = self.global_escaping;
        Ok(config)
    }
}

/// Reads paths and patterns; their texts are kept for the check that follows.
fn patterns(
    decoder: &mut Decoder,
    node: &Node,
    kind: &'static str,
    paths: &mut Vec<(&'static str, String, Position)>,
) -> Vec<String> {
    let items = decoder.items(node, "[]string");
    let mut resolved = Vec::with_capacity(items.len());
    for item in items {
        let text = decoder.text(item);
        resolved.push(decoder.resolve(&text));
        paths.push((kind, text, item.position));
    }
    resolved
}

/// Reads `global`; the second value is the escaping scheme's text, checked with each job.
fn global(decoder: &mut Decoder, node: &Rc<Node>) -> Result<(GlobalConfig, String), Problem> {
    let before = decoder.issue_count();
    let mut global = GlobalConfig {
        scrape_interval: Duration::ZERO,
        scrape_timeout: Duration::ZERO,
        evaluation_interval: Duration::ZERO,
        ..GlobalConfig::default()
    };
    let mut escaping = String::new();
    let mut protocols = None;
    let mut external_labels = None;
    for field in decoder.fields(node, PLAIN)? {
        let value = &field.value;
        match field.name.as_str() {
            "scrape_interval" => global.scrape_interval = decoder.duration(value)?,
            "scrape_timeout" => global.scrape_timeout = decoder.duration(value)?,
            "evaluation_interval" => global.evaluation_interval = decoder.duration(value)?,
            "rule_query_offset" => global.rule_query_offset = decoder.duration(value)?,
            "query_log_file" => global.query_log_file = decoder.path(value),
            "scrape_failure_log_file" => global.scrape_failure_log_file = decoder.path(value),
            "external_labels" => external_labels = Some(Rc::clone(value)),
            "scrape_protocols" => {
                protocols = (!is_null(value)).then(|| scrape::protocols(decoder, value));
            }
            "metric_name_validation_scheme" => {
                global.metric_name_validation_scheme = match decoder.text(value).as_str() {
                    "" | "utf8" => NameValidation::Utf8,
                    "legacy" => NameValidation::Legacy,
                    other => {
                        return Err(Problem::value(
                            value.position,
                            format!("unrecognized ValidationScheme: {other:?}"),
                        ));
                    }
                };
            }
            "metric_name_escaping_scheme" => escaping = decoder.text(value),
            "scrape_native_histograms" => {
                global.scrape_native_histograms = decoder.boolean(value);
            }
            "convert_classic_histograms_to_nhcb" => {
                global.convert_classic_histograms_to_nhcb = decoder.boolean(value);
            }
            "always_scrape_classic_histograms" => {
                global.always_scrape_classic_histograms = decoder.boolean(value);
            }
            "extra_scrape_metrics" => global.extra_scrape_metrics = decoder.boolean(value),
            name => {
                if !scrape::limit(&mut global.limits, decoder, name, value)? {
                    decoder.unknown_field(&field, PLAIN);
                }
            }
        }
    }
    if let Some(labels) = external_labels {
        read_external_labels(decoder, &labels, &mut global)?;
    }
    if decoder.issue_count() > before {
        return Ok((GlobalConfig::default(), String::new()));
    }
    let defaults = GlobalConfig::default();
    if global.scrape_interval.is_zero() {
        global.scrape_interval = defaults.scrape_interval;
    }
    if global.scrape_timeout > global.scrape_interval {
        return Err(Problem::section(
            node.position,
            "global scrape timeout greater than scrape interval",
        ));
    }
    if global.scrape_timeout.is_zero() {
        global.scrape_timeout = defaults.scrape_timeout.min(global.scrape_interval);
    }
    if global.evaluation_interval.is_zero() {
        global.evaluation_interval = defaults.evaluation_interval;
    }
    if let Some(names) = protocols {
        global.scrape_protocols = scrape::check_protocols(&names).map_err(|error| {
            Problem::section(node.position, format!("{error} for global config"))
        })?;
    }
    Ok((global, escaping))
}

fn read_external_labels(
    decoder: &mut Decoder,
    node: &Rc<Node>,
    global: &mut GlobalConfig,
) -> Result<(), Problem> {
    let mut labels = narthex_storage::LabelsBuilder::default();
    for entry in decoder.map(node, "map[string]string")? {
        let value = decoder.text(&entry.value);
        if !global
            .metric_name_validation_scheme
            .is_valid_label_name(&entry.name)
        {
            return Err(Problem::section(
                entry.key.position,
                format!("{:?} is not a valid label name", entry.name),
            ));
        }
        labels.set(&entry.name, &value);
    }
    global.external_labels = labels.build();
    Ok(())
}

fn runtime(decoder: &mut Decoder, node: &Rc<Node>) -> Result<Option<i64>, Problem> {
    let mut gogc = None;
    for field in decoder.fields(node, "config.RuntimeConfig")? {
        match field.name.as_str() {
            "gogc" => gogc = Some(decoder.integer(&field.value)),
            _ => decoder.unknown_field(&field, "config.RuntimeConfig"),
        }
    }
    Ok(gogc)
}

fn alerting(
    decoder: &mut Decoder,
    node: &Rc<Node>,
) -> Result<(RelabelDrafts, Vec<AlertmanagerDraft>), Problem> {
    let mut rules = RelabelDrafts::default();
    let mut alertmanagers = Vec::new();
    for field in decoder.fields(node, PLAIN)? {
        match field.name.as_str() {
            "alert_relabel_configs" => {
                rules =
                    relabel::rules(decoder, &field.value, "empty or null alert relabeling rule")?;
            }
            "alertmanagers" => {
                for item in decoder.items(&field.value, "config.AlertmanagerConfigs") {
                    alertmanagers.extend(alertmanager(decoder, item)?);
                }
            }
            _ => decoder.unknown_field(&field, PLAIN),
        }
    }
    Ok((rules, alertmanagers))
}

fn alertmanager(
    decoder: &mut Decoder,
    node: &Rc<Node>,
) -> Result<Option<AlertmanagerDraft>, Problem> {
    const TYPE: &str = "config.AlertmanagerConfig";
    let before = decoder.issue_count();
    let mut config = AlertmanagerConfig::default();
    let mut relabel_rules = RelabelDrafts::default();
    let mut alert_relabel = RelabelDrafts::default();
    let mut http_client = HttpClientDraft::new(true);
    let mut discovery = DiscoveryDraft::default();
    for field in decoder.fields(node, TYPE)? {
        let value = &field.value;
        match field.name.as_str() {
            "scheme" => config.scheme = decoder.text(value),
            "path_prefix" => config.path_prefix = decoder.text(value),
            "timeout" => config.timeout = decoder.duration(value)?,
            "sigv4" if is_null(value) => config.sigv4 = false,
            "sigv4" => {
                config.sigv4 = true;
                check_section(decoder, value, &cloud_auth::SIGV4)?;
            }
            "api_version" => {
                let version = decoder.text(value);
                if version != "v2" {
                    return Err(Problem::value(
                        value.position,
                        format!(
                            "expected Alertmanager api version to be one of [v2] but got {version}"
                        ),
                    ));
                }
            }
            "relabel_configs" => {
                relabel_rules = relabel::rules(
                    decoder,
                    value,
                    "empty or null Alertmanager target relabeling rule",
                )?;
            }
            "alert_relabel_configs" => {
                alert_relabel = relabel::rules(
                    decoder,
                    value,
                    "empty or null Alertmanager alert relabeling rule",
                )?;
            }
            _ => {
                if !discovery.field(decoder, &field)? && !http_client.field(decoder, &field)? {
                    decoder.unknown_field(&field, TYPE);
                }
            }
        }
    }
    if decoder.issue_count() > before {
        return Ok(None);
    }
    discovery.check_items()?;
    config.http_client = http_client.finish(node.position)?;
    let client = &config.http_client;
    let authenticated =
        client.basic_auth.is_some() || client.authorization.is_some() || client.oauth2.is_some();
    if authenticated && config.sigv4 {
        return Err(Problem::section(
            node.position,
            "at most one of basic_auth, authorization, oauth2, & sigv4 must be configured",
        ));
    }
    if relabel_rules.is_empty() {
        discovery.check_addresses()?;
    }
    config.discovery = discovery.configs;
    Ok(Some(AlertmanagerDraft {
        config,
        relabel: relabel_rules,
        alert_relabel,
    }))
}

fn storage(decoder: &mut Decoder, node: &Rc<Node>) -> Result<StorageConfig, Problem> {
    let mut storage = StorageConfig::default();
    for field in decoder.fields(node, "config.StorageConfig")? {
        match field.name.as_str() {
            "tsdb" => tsdb(decoder, &field.value, &mut storage)?,
            "exemplars" => {
                for field in decoder.fields(&field.value, "config.ExemplarsConfig")? {
                    match field.name.as_str() {
                        "max_exemplars" => {
                            storage.max_exemplars = Some(decoder.integer(&field.value));
                        }
                        _ => decoder.unknown_field(&field, "config.ExemplarsConfig"),
                    }
                }
            }
            _ => decoder.unknown_field(&field, "config.StorageConfig"),
        }
    }
    Ok(storage)
}

fn tsdb(
    decoder: &mut Decoder,
    node: &Rc<Node>,
    storage: &mut StorageConfig,
) -> Result<(), Problem> {
    storage.has_tsdb = !is_null(node);
    for field in decoder.fields(node, PLAIN)? {
        let value = &field.value;
        match field.name.as_str() {
            "out_of_order_time_window" => {
                storage.out_of_order_time_window = decoder.duration(value)?;
            }
            // What Prometheus makes of the window, in milliseconds; it prints it, and reads over it.
            "outofordertimewindow" => _ = decoder.integer(value),
            "stale_series_compaction_threshold" => {
                decoder.float(value);
                storage
                    .tuning
                    .push("storage.tsdb.stale_series_compaction_threshold");
            }
            "chunk_encoding" => {
                for field in decoder.fields(value, "config.ChunkEncodingConfig")? {
                    match field.name.as_str() {
                        "floats" => _ = decoder.text(&field.value),
                        _ => decoder.unknown_field(&field, "config.ChunkEncodingConfig"),
                    }
                }
                storage.tuning.push("storage.tsdb.chunk_encoding");
            }
            "retention" if is_null(value) => storage.retention = None,
            "retention" => storage.retention = Some(retention(decoder, value)?),
            _ => decoder.unknown_field(&field, PLAIN),
        }
    }
    Ok(())
}

fn retention(decoder: &mut Decoder, node: &Rc<Node>) -> Result<RetentionConfig, Problem> {
    const TYPE: &str = "config.TSDBRetentionConfig";
    let mut retention = RetentionConfig::default();
    for field in decoder.fields(node, TYPE)? {
        let value = &field.value;
        match field.name.as_str() {
            "time" => {
                let time = decoder.duration(value)?;
                retention.time = (!time.is_zero()).then_some(time);
            }
            "size" => {
                let bytes = decoder.bytes(value)?;
                retention.size_bytes = (bytes > 0).then_some(bytes);
            }
            "percentage" => {
                let percentage = decoder.float(value);
                if !(0.0..=100.0).contains(&percentage) {
                    return Err(Problem::value(
                        value.position,
                        format!(
                            "'storage.tsdb.retention.percentage' must be in the range [0, 100], got {percentage}"
                        ),
                    ));
                }
                retention.percentage = (percentage > 0.0).then_some(percentage);
            }
            _ => decoder.unknown_field(&field, TYPE),
        }
    }
    Ok(retention)
}

fn tracing(decoder: &mut Decoder, node: &Rc<Node>) -> Result<Option<TracingConfig>, Problem> {
    if is_null(node) {
        return Ok(None);
    }
    let before = decoder.issue_count();
    let mut client_type = "grpc".to_owned();
    let mut endpoint = String::new();
    let mut compression = (String::new(), node.position);
    let mut headers = Vec::new();
    for field in decoder.fields(node, PLAIN)? {
        let value = &field.value;
        match field.name.as_str() {
            "client_type" => {
                client_type = decoder.text(value);
                if client_type != "http" && client_type != "grpc" {
                    return Err(Problem::value(
                        value.position,
                        format!(
                            "expected tracing client type to be to be http or grpc, but got {client_type}"
                        ),
                    ));
                }
            }
            "endpoint" => endpoint = decoder.text(value),
            "sampling_fraction" => _ = decoder.float(value),
            "insecure" => _ = decoder.boolean(value),
            "tls_config" => _ = http_client::tls(decoder, value)?,
            "headers" => headers = decoder.text_map(value)?,
            "compression" => compression = (decoder.text(value), value.position),
            "timeout" => _ = decoder.duration(value)?,
            _ => decoder.unknown_field(&field, PLAIN),
        }
    }
    if decoder.issue_count() > before {
        return Ok(None);
    }
    // Source: `validateHeadersForTracing`.
    remote::check_reserved(
        headers.iter().map(|(header, _)| header),
        "custom authorization header configuration is not yet supported",
        node.position,
    )?;
    if endpoint.is_empty() {
        return Err(Problem::section(
            node.position,
            "tracing endpoint must be set",
        ));
    }
    let (compression, at) = compression;
    if !compression.is_empty() && compression != "gzip" {
        return Err(Problem::value(
            at,
            format!("invalid compression type {compression} provided, valid options: gzip"),
        ));
    }
    Ok(Some(TracingConfig {
        client_type,
        endpoint,
    }))
}

fn otlp(decoder: &mut Decoder, node: &Rc<Node>) -> Result<OtlpConfig, Problem> {
    let before = decoder.issue_count();
    let mut otlp = OtlpConfig::default();
    for field in decoder.fields(node, PLAIN)? {
        let value = &field.value;
        match field.name.as_str() {
            "promote_all_resource_attributes" => {
                otlp.promote_all_resource_attributes = decoder.boolean(value);
            }
            "promote_resource_attributes" => {
                otlp.promote_resource_attributes = decoder.texts(value);
            }
            "ignore_resource_attributes" => {
                otlp.ignore_resource_attributes = decoder.texts(value);
            }
            "translation_strategy" => {
                let text = decoder.text(value);
                if !text.is_empty() {
                    otlp.translation_strategy =
                        TranslationStrategy::parse(&text).ok_or_else(|| {
                            Problem::value(
                                value.position,
                                format!("unsupported OTLP translation strategy {text:?}"),
                            )
                        })?;
                }
            }
            "keep_identifying_resource_attributes" => {
                otlp.keep_identifying_resource_attributes = decoder.boolean(value);
            }
            "convert_histograms_to_nhcb" => {
                otlp.convert_histograms_to_nhcb = decoder.boolean(value);
            }
            "promote_scope_metadata" => otlp.promote_scope_metadata = decoder.boolean(value),
            "label_name_underscore_sanitization" => {
                otlp.label_name_underscore_sanitization = decoder.boolean(value);
            }
            "label_name_preserve_multiple_underscores" => {
                otlp.label_name_preserve_multiple_underscores = decoder.boolean(value);
            }
            _ => decoder.unknown_field(&field, PLAIN),
        }
    }
    if decoder.issue_count() > before {
        return Ok(otlp);
    }
    let fail = |message: String| Err(Problem::section(node.position, message));
    let (attributes, key, adjective) = if otlp.promote_all_resource_attributes {
        if !otlp.promote_resource_attributes.is_empty() {
            return fail(
                "'promote_all_resource_attributes' and 'promote_resource_attributes' cannot be \
                 configured simultaneously"
                    .to_owned(),
            );
        }
        (
            &mut otlp.ignore_resource_attributes,
            "ignore_resource_attributes",
            "ignored",
        )
    } else {
        if !otlp.ignore_resource_attributes.is_empty() {
            return fail(
                "'ignore_resource_attributes' cannot be configured unless \
                 'promote_all_resource_attributes' is true"
                    .to_owned(),
            );
        }
        (
            &mut otlp.promote_resource_attributes,
            "promote_resource_attributes",
            "promoted",
        )
    };
    let mut seen = HashSet::new();
    for attribute in attributes.iter_mut() {
        *attribute = attribute.trim().to_owned();
        if attribute.is_empty() {
            return fail(format!(
                "invalid '{key}': empty {adjective} OTel resource attribute"
            ));
        }
        if !seen.insert(attribute.clone()) {
            return fail(format!(
                "invalid '{key}': duplicated {adjective} OTel resource attribute {attribute:?}"
            ));
        }
    }
    Ok(otlp)
}
