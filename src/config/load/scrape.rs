//! Reads scrape jobs: first as they stand, then with what they inherit.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use narthex_yaml::{Node, Position, Problem, is_null};

use super::{
    discovery::DiscoveryDraft,
    http_client::HttpClientDraft,
    relabel::{self, RelabelDrafts},
};
use crate::config::{
    GlobalConfig, NameEscaping, NameValidation, ScrapeConfig, ScrapeLimits, ScrapeProtocol,
    decode::Decoder,
};

const TYPE: &str = "config.ScrapeConfig";

/// A job as it stands in the file.
pub(super) struct ScrapeDraft {
    pub(super) at: Position,
    config: ScrapeConfig,
    scrape_interval: Duration,
    scrape_timeout: Duration,
    scrape_protocols: Option<Vec<String>>,
    fallback_scrape_protocol: String,
    validation: String,
    escaping: String,
    native_histograms: Option<bool>,
    classic_histograms: Option<bool>,
    convert_histograms: Option<bool>,
    extra_metrics: Option<bool>,
    relabel: RelabelDrafts,
    metric_relabel: RelabelDrafts,
}

/// Reads `scrape_configs`.
pub(super) fn jobs(decoder: &mut Decoder, node: &Node) -> Result<Vec<ScrapeDraft>, Problem> {
    let mut jobs = Vec::new();
    for item in decoder.items(node, "[]*config.ScrapeConfig") {
        let before = decoder.issue_count();
        if is_null(item) {
            return Err(Problem::section(
                item.position,
                "empty or null scrape config section",
            ));
        }
        if let Some(job) = job(decoder, item, before)? {
            jobs.push(job);
        }
    }
    Ok(jobs)
}

fn job(
    decoder: &mut Decoder,
    node: &Rc<Node>,
    issues_before: usize,
) -> Result<Option<ScrapeDraft>, Problem> {
    let mut draft = ScrapeDraft {
        at: node.position,
        config: ScrapeConfig::new(""),
        scrape_interval: Duration::ZERO,
        scrape_timeout: Duration::ZERO,
        scrape_protocols: None,
        fallback_scrape_protocol: String::new(),
        validation: String::new(),
        escaping: String::new(),
        native_histograms: None,
        classic_histograms: None,
        convert_histograms: None,
        extra_metrics: None,
        relabel: RelabelDrafts::default(),
        metric_relabel: RelabelDrafts::default(),
    };
    let mut http_client = HttpClientDraft::new(true);
    let mut discovery = DiscoveryDraft::default();
    for field in decoder.fields(node, TYPE)? {
        let value = &field.value;
        let config = &mut draft.config;
        match field.name.as_str() {
            "job_name" => config.job_name = decoder.text(value),
            "honor_labels" => config.honor_labels = decoder.boolean(value),
            "honor_timestamps" => config.honor_timestamps = decoder.boolean(value),
            "track_timestamps_staleness" => {
                config.track_timestamps_staleness = decoder.boolean(value);
            }
            "params" => config.params = params(decoder, value)?,
            "scrape_interval" => draft.scrape_interval = decoder.duration(value)?,
            "scrape_timeout" => draft.scrape_timeout = decoder.duration(value)?,
            "scrape_protocols" => {
                draft.scrape_protocols = (!is_null(value)).then(|| protocols(decoder, value));
            }
            "fallback_scrape_protocol" => draft.fallback_scrape_protocol = decoder.text(value),
            "scrape_native_histograms" => {
                draft.native_histograms = decoder.optional_boolean(value);
            }
            "always_scrape_classic_histograms" => {
                draft.classic_histograms = decoder.optional_boolean(value);
            }
            "convert_classic_histograms_to_nhcb" => {
                draft.convert_histograms = decoder.optional_boolean(value);
            }
            "extra_scrape_metrics" => draft.extra_metrics = decoder.optional_boolean(value),
            "scrape_failure_log_file" => config.scrape_failure_log_file = decoder.path(value),
            "metrics_path" => config.metrics_path = decoder.text(value),
            "scheme" => config.scheme = decoder.text(value),
            "enable_compression" => config.enable_compression = decoder.boolean(value),
            "native_histogram_bucket_limit" => {
                config.limits.native_histogram_buckets = decoder.unsigned(value);
            }
            "native_histogram_min_bucket_factor" => {
                config.limits.native_histogram_min_bucket_factor = decoder.float(value);
            }
            "metric_name_validation_scheme" => draft.validation = decoder.text(value),
            "metric_name_escaping_scheme" => draft.escaping = decoder.text(value),
            "relabel_configs" => {
                draft.relabel = relabel::rules(
                    decoder,
                    value,
                    "empty or null target relabeling rule in scrape config",
                )?;
            }
            "metric_relabel_configs" => {
                draft.metric_relabel = relabel::rules(
                    decoder,
                    value,
                    "empty or null metric relabeling rule in scrape config",
                )?;
            }
            name => {
                if !limit(&mut config.limits, decoder, name, value)?
                    && !discovery.field(decoder, &field)?
                    && !http_client.field(decoder, &field)?
                {
                    decoder.unknown_field(&field, TYPE);
                }
            }
        }
    }
    if decoder.issue_count() > issues_before {
        return Ok(None);
    }
    discovery.check_items()?;
    if draft.config.job_name.is_empty() {
        return Err(Problem::section(draft.at, "job_name is empty"));
    }
    draft.config.http_client = http_client.finish(draft.at)?;
    if draft.relabel.is_empty() {
        discovery.check_addresses()?;
    }
    draft.config.discovery = discovery.configs;
    Ok(Some(draft))
}

/// Takes a limit that jobs and the global section share; answers whether it was one.
pub(super) fn limit(
    limits: &mut ScrapeLimits,
    decoder: &mut Decoder,
    name: &str,
    value: &Node,
) -> Result<bool, Problem> {
    let limit = match name {
        "body_size_limit" => {
            limits.body_size_bytes = decoder.bytes(value)?;
            return Ok(true);
        }
        "sample_limit" => &mut limits.samples,
        "target_limit" => &mut limits.targets,
        "label_limit" => &mut limits.labels,
        "label_name_length_limit" => &mut limits.label_name_bytes,
        "label_value_length_limit" => &mut limits.label_value_bytes,
        "keep_dropped_targets" => &mut limits.keep_dropped_targets,
        _ => return Ok(false),
    };
    *limit = decoder.unsigned(value);
    Ok(true)
}

/// Reads a list of protocol names.
pub(super) fn protocols(decoder: &mut Decoder, node: &Node) -> Vec<String> {
    let items = decoder.items(node, "[]config.ScrapeProtocol");
    items.iter().map(|item| decoder.text(item)).collect()
}

fn params(
    decoder: &mut Decoder,
    node: &Rc<Node>,
) -> Result<BTreeMap<String, Vec<String>>, Problem> {
    let entries = decoder.map(node, "url.Values")?;
    Ok(entries
        .into_iter()
        .map(|entry| (entry.name, decoder.texts(&entry.value)))
        .collect())
}

/// The protocol of that name, or Prometheus's sentence about it.
fn protocol(text: &str) -> Result<ScrapeProtocol, String> {
    const ALL: [ScrapeProtocol; 5] = [
        ScrapeProtocol::OpenMetricsText0_0_1,
        ScrapeProtocol::OpenMetricsText1_0_0,
        ScrapeProtocol::PrometheusProto,
        ScrapeProtocol::PrometheusText0_0_4,
        ScrapeProtocol::PrometheusText1_0_0,
    ];
    ALL.into_iter()
        .find(|protocol| protocol.as_str() == text)
        .ok_or_else(|| {
            let names = ALL.map(ScrapeProtocol::as_str).join(" ");
            format!("unknown scrape protocol {text}, supported: [{names}]")
        })
}

/// Checks a list of protocol names. Source: `validateAcceptScrapeProtocols`.
pub(super) fn check_protocols(names: &[String]) -> Result<Vec<ScrapeProtocol>, String> {
    if names.is_empty() {
        return Err("scrape_protocols cannot be empty".to_owned());
    }
    let mut protocols = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        let repeated = names
            .iter()
            .take(index)
            .any(|other| other.eq_ignore_ascii_case(name));
        if repeated {
            return Err(format!(
                "duplicated protocol in scrape_protocols, got [{}]",
                names.join(" ")
            ));
        }
        protocols.push(protocol(name).map_err(|error| format!("scrape_protocols: {error}"))?);
    }
    Ok(protocols)
}

/// The escaping of that name; `None` when there is none such.
fn escaping(text: &str) -> Option<NameEscaping> {
    [
        NameEscaping::AllowUtf8,
        NameEscaping::Underscores,
        NameEscaping::Dots,
        NameEscaping::Values,
    ]
    .into_iter()
    .find(|scheme| scheme.as_str() == text)
}

/// Prometheus's sentence about an escaping that does not exist.
fn unknown_escaping(whose: &str, text: &str) -> String {
    format!(
        "unknown {whose} name escaping method specified, must be one of 'allow-utf-8', \
         'underscores', 'dots', or 'values', got {text:?}"
    )
}

impl ScrapeDraft {
    pub(super) fn job_name(&self) -> &str {
        &self.config.job_name
    }

    /// Fills in what the job inherits and checks it. `global_escaping` is the global section's text.
    /// Source: `ScrapeConfig.Validate`.
    pub(super) fn finish(
        self,
        global: &GlobalConfig,
        global_escaping: &str,
    ) -> Result<ScrapeConfig, Problem> {
        let at = self.at;
        let mut config = self.config;
        let name = config.job_name.clone();
        let fail = |message: String| Problem::section(at, message);
        config.scrape_interval = or(self.scrape_interval, global.scrape_interval);
        if self.scrape_timeout > config.scrape_interval {
            return Err(fail(format!(
                "scrape timeout greater than scrape interval for scrape config with job name {name:?}"
            )));
        }
        let inherited = global.scrape_timeout.min(config.scrape_interval);
        config.scrape_timeout = or(self.scrape_timeout, inherited);
        let (limits, inherited) = (&mut config.limits, &global.limits);
        limits.body_size_bytes = or(limits.body_size_bytes, inherited.body_size_bytes);
        limits.samples = or(limits.samples, inherited.samples);
        limits.targets = or(limits.targets, inherited.targets);
        limits.labels = or(limits.labels, inherited.labels);
        limits.label_name_bytes = or(limits.label_name_bytes, inherited.label_name_bytes);
        limits.label_value_bytes = or(limits.label_value_bytes, inherited.label_value_bytes);
        limits.keep_dropped_targets =
            or(limits.keep_dropped_targets, inherited.keep_dropped_targets);
        if config.scrape_failure_log_file.is_none() {
            config
                .scrape_failure_log_file
                .clone_from(&global.scrape_failure_log_file);
        }
        config.scrape_native_histograms = self
            .native_histograms
            .unwrap_or(global.scrape_native_histograms);
        config.extra_scrape_metrics = self.extra_metrics.unwrap_or(global.extra_scrape_metrics);
        config.scrape_protocols = match self.scrape_protocols {
            Some(names) => check_protocols(&names).map_err(|error| {
                fail(format!("{error} for scrape config with job name {name:?}"))
            })?,
            None if !global.scrape_protocols.is_empty() => global.scrape_protocols.clone(),
            None if config.scrape_native_histograms => {
                let mut protocols = vec![ScrapeProtocol::PrometheusProto];
                protocols.extend(ScrapeProtocol::DEFAULT);
                protocols
            }
            None => ScrapeProtocol::DEFAULT.to_vec(),
        };
        if !self.fallback_scrape_protocol.is_empty() {
            let fallback = protocol(&self.fallback_scrape_protocol).map_err(|error| {
                fail(format!(
                    "invalid fallback_scrape_protocol for scrape config with job name {name:?}: {error}"
                ))
            })?;
            config.fallback_scrape_protocol = Some(fallback);
        }
        config.metric_name_validation_scheme = match self.validation.as_str() {
            "" => global.metric_name_validation_scheme,
            "utf8" => NameValidation::Utf8,
            "legacy" => NameValidation::Legacy,
            other => {
                return Err(fail(format!(
                    "unknown scrape config name validation method specified, must be either \
                     'legacy' or 'utf8', got {other}"
                )));
            }
        };
        let of_validation = |validation| match validation {
            NameValidation::Utf8 => NameEscaping::AllowUtf8,
            NameValidation::Legacy => NameEscaping::Underscores,
        };
        let global_escaping = match global_escaping {
            "" => of_validation(global.metric_name_validation_scheme),
            text => escaping(text).ok_or_else(|| fail(unknown_escaping("global", text)))?,
        };
        config.metric_name_escaping_scheme = match self.escaping.as_str() {
            "" if self.validation.is_empty() => global_escaping,
            "" => of_validation(config.metric_name_validation_scheme),
            text => escaping(text).ok_or_else(|| fail(unknown_escaping("scrape config", text)))?,
        };
        if config.metric_name_escaping_scheme == NameEscaping::AllowUtf8
            && config.metric_name_validation_scheme == NameValidation::Legacy
        {
            return Err(fail(
                "utf8 metric names requested but validation scheme is not set to UTF8".to_owned(),
            ));
        }
        config.convert_classic_histograms_to_nhcb = self
            .convert_histograms
            .unwrap_or(global.convert_classic_histograms_to_nhcb);
        config.always_scrape_classic_histograms = self
            .classic_histograms
            .unwrap_or(global.always_scrape_classic_histograms);
        let validation = config.metric_name_validation_scheme;
        config.relabel_configs = self.relabel.finish(validation)?;
        config.metric_relabel_configs = self.metric_relabel.finish(validation)?;
        Ok(config)
    }
}

/// `value` unless it is zero, which means unset.
fn or<T: Default + PartialEq>(value: T, inherited: T) -> T {
    if value == T::default() {
        inherited
    } else {
        value
    }
}
