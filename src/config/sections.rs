//! The top level of `prometheus.yml` and its smaller sections.

use std::{path::PathBuf, time::Duration};

use narthex_storage::Labels;

use super::{
    DiscoveryConfigs, HttpClientConfig, NameValidation, RemoteReadConfig, RemoteWriteConfig,
    ScrapeConfig, ScrapeLimits, ScrapeProtocol,
};
use crate::relabel::RelabelConfig;

/// A whole configuration.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// Defaults for the other sections, and labels of this server.
    pub global: GlobalConfig,
    /// `runtime.gogc`, which has no meaning here.
    pub gogc: Option<i64>,
    /// Alertmanagers and rules on alerts.
    pub alerting: AlertingConfig,
    /// Rule files: paths and glob patterns, as resolved.
    pub rule_files: Vec<String>,
    /// Glob patterns of files with more scrape jobs, as resolved.
    pub scrape_config_files: Vec<String>,
    /// The scrape jobs of the file itself.
    pub scrape_configs: Vec<ScrapeConfig>,
    /// The scrape jobs of `scrape_config_files`.
    pub scrape_configs_of_files: Vec<ScrapeConfig>,
    /// The store.
    pub storage: StorageConfig,
    /// Where the server would send traces of its own, if the section is present.
    pub tracing: Option<TracingConfig>,
    /// Endpoints samples are forwarded to.
    pub remote_write: Vec<RemoteWriteConfig>,
    /// Endpoints samples are read from.
    pub remote_read: Vec<RemoteReadConfig>,
    /// How OTLP metrics are translated, if the section is present.
    pub otlp: Option<OtlpConfig>,
    /// The global escaping scheme as written, which jobs may inherit; empty when there is none.
    pub(super) global_escaping: String,
}

impl Config {
    /// All scrape jobs: of the file, then of `scrape_config_files`.
    pub fn jobs(&self) -> impl Iterator<Item = &ScrapeConfig> {
        self.scrape_configs
            .iter()
            .chain(&self.scrape_configs_of_files)
    }
}

/// The `global` section.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "one a key of the file")]
pub struct GlobalConfig {
    /// Time between two scrapes of a target.
    pub scrape_interval: Duration,
    /// Time a scrape may take.
    pub scrape_timeout: Duration,
    /// Formats to ask for, if the section names any.
    pub scrape_protocols: Vec<ScrapeProtocol>,
    /// Time between two evaluations of a rule group.
    pub evaluation_interval: Duration,
    /// How far back in time rules are evaluated.
    pub rule_query_offset: Duration,
    /// The file queries are logged to.
    pub query_log_file: Option<PathBuf>,
    /// The file failed scrapes are logged to.
    pub scrape_failure_log_file: Option<PathBuf>,
    /// Labels of this server towards other systems; never stored.
    pub external_labels: Labels,
    /// Upper bounds on what targets may send.
    pub limits: ScrapeLimits,
    /// Which metric and label names are valid.
    pub metric_name_validation_scheme: NameValidation,
    /// Whether native histograms are scraped.
    pub scrape_native_histograms: bool,
    /// Whether classic histograms are turned into native ones with custom buckets.
    pub convert_classic_histograms_to_nhcb: bool,
    /// Whether the classic form of a native histogram is scraped as well.
    pub always_scrape_classic_histograms: bool,
    /// Whether extra `scrape_*` series are written.
    pub extra_scrape_metrics: bool,
}

impl Default for GlobalConfig {
    fn default() -> Self {
        Self {
            scrape_interval: Duration::from_mins(1),
            scrape_timeout: Duration::from_secs(10),
            scrape_protocols: Vec::new(),
            evaluation_interval: Duration::from_mins(1),
            rule_query_offset: Duration::ZERO,
            query_log_file: None,
            scrape_failure_log_file: None,
            external_labels: Labels::empty(),
            limits: ScrapeLimits::default(),
            metric_name_validation_scheme: NameValidation::Utf8,
            scrape_native_histograms: false,
            convert_classic_histograms_to_nhcb: false,
            always_scrape_classic_histograms: false,
            extra_scrape_metrics: false,
        }
    }
}

/// The `alerting` section.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AlertingConfig {
    /// Rules on alerts before they are sent.
    pub alert_relabel_configs: Vec<RelabelConfig>,
    /// Where alerts go.
    pub alertmanagers: Vec<AlertmanagerConfig>,
}

/// A group of Alertmanagers.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertmanagerConfig {
    /// How to connect.
    pub http_client: HttpClientConfig,
    /// `http` or `https`.
    pub scheme: String,
    /// A prefix of the path alerts are posted to.
    pub path_prefix: String,
    /// Time a post may take.
    pub timeout: Duration,
    /// Rules on discovered Alertmanagers.
    pub relabel_configs: Vec<RelabelConfig>,
    /// Rules on the alerts sent to this group.
    pub alert_relabel_configs: Vec<RelabelConfig>,
    /// Where the Alertmanagers come from.
    pub discovery: DiscoveryConfigs,
    /// Whether requests are to be signed for AWS.
    pub sigv4: bool,
}

impl Default for AlertmanagerConfig {
    fn default() -> Self {
        Self {
            http_client: HttpClientConfig::default(),
            scheme: "http".to_owned(),
            path_prefix: String::new(),
            timeout: Duration::from_secs(10),
            relabel_configs: Vec::new(),
            alert_relabel_configs: Vec::new(),
            discovery: DiscoveryConfigs::default(),
            sigv4: false,
        }
    }
}

/// The `storage` section.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StorageConfig {
    /// Whether there is a section `tsdb`.
    pub has_tsdb: bool,
    /// How old a sample may be compared to the newest; zero refuses what is out of order.
    pub out_of_order_time_window: Duration,
    /// What is kept, if the section says.
    pub retention: Option<RetentionConfig>,
    /// How many exemplars are kept, if the section says.
    pub max_exemplars: Option<i64>,
    /// `tsdb` keys that only tune Prometheus's own engine, as written.
    pub tuning: Vec<&'static str>,
}

/// What the store keeps. It wins over the `--storage.tsdb.retention.*` flags.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RetentionConfig {
    /// How long samples are kept.
    pub time: Option<Duration>,
    /// How many bytes are kept.
    pub size_bytes: Option<u64>,
    /// How much of the disk, in percent, may be used.
    pub percentage: Option<f64>,
}

/// The `tracing` section, as far as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracingConfig {
    /// `http` or `grpc`.
    pub client_type: String,
    /// The collector's address.
    pub endpoint: String,
}

/// The `otlp` section.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "one a key of the file")]
pub struct OtlpConfig {
    /// Whether every resource attribute becomes a label.
    pub promote_all_resource_attributes: bool,
    /// Resource attributes that become labels.
    pub promote_resource_attributes: Vec<String>,
    /// Resource attributes that do not, when all others do.
    pub ignore_resource_attributes: Vec<String>,
    /// How names are translated.
    pub translation_strategy: TranslationStrategy,
    /// Whether `service.name` and its like stay on `target_info`.
    pub keep_identifying_resource_attributes: bool,
    /// Whether histograms become native ones with custom buckets.
    pub convert_histograms_to_nhcb: bool,
    /// Whether the scope becomes labels.
    pub promote_scope_metadata: bool,
    /// Whether labels that start with an underscore get a prefix; true by default.
    pub label_name_underscore_sanitization: bool,
    /// Whether several underscores in a row stay; true by default.
    pub label_name_preserve_multiple_underscores: bool,
}

impl Default for OtlpConfig {
    fn default() -> Self {
        Self {
            promote_all_resource_attributes: false,
            promote_resource_attributes: Vec::new(),
            ignore_resource_attributes: Vec::new(),
            translation_strategy: TranslationStrategy::UnderscoreEscapingWithSuffixes,
            keep_identifying_resource_attributes: false,
            convert_histograms_to_nhcb: false,
            promote_scope_metadata: false,
            label_name_underscore_sanitization: true,
            label_name_preserve_multiple_underscores: true,
        }
    }
}

/// How names of OTLP metrics are translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TranslationStrategy {
    /// Underscores for what the older names exclude, with unit and type suffixes.
    UnderscoreEscapingWithSuffixes,
    /// The same without suffixes.
    UnderscoreEscapingWithoutSuffixes,
    /// Names as they are, with unit and type suffixes.
    NoUtf8EscapingWithSuffixes,
    /// Names as they are.
    NoTranslation,
}

impl TranslationStrategy {
    /// The strategy of that name.
    pub(super) fn parse(text: &str) -> Option<Self> {
        [
            Self::UnderscoreEscapingWithSuffixes,
            Self::UnderscoreEscapingWithoutSuffixes,
            Self::NoUtf8EscapingWithSuffixes,
            Self::NoTranslation,
        ]
        .into_iter()
        .find(|strategy| strategy.as_str() == text)
    }

    /// The name used in configuration files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnderscoreEscapingWithSuffixes => "UnderscoreEscapingWithSuffixes",
            Self::UnderscoreEscapingWithoutSuffixes => "UnderscoreEscapingWithoutSuffixes",
            Self::NoUtf8EscapingWithSuffixes => "NoUTF8EscapingWithSuffixes",
            Self::NoTranslation => "NoTranslation",
        }
    }

    /// Whether names keep characters that the older names exclude.
    pub(super) fn keeps_utf8(self) -> bool {
        matches!(self, Self::NoUtf8EscapingWithSuffixes | Self::NoTranslation)
    }
}
