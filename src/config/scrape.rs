//! Scrape jobs and the targets they name.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use narthex_storage::Labels;

use super::HttpClientConfig;
use crate::relabel::RelabelConfig;

/// One scrape job, with everything inherited from the global section filled in.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "one a key of the file")]
pub struct ScrapeConfig {
    /// The job's unique name.
    pub job_name: String,
    /// Whether labels of the target's own samples win over those the server attaches.
    pub honor_labels: bool,
    /// Whether timestamps in the exposition are kept; true by default.
    pub honor_timestamps: bool,
    /// Whether series with explicit timestamps get staleness markers.
    pub track_timestamps_staleness: bool,
    /// URL parameters of the request.
    pub params: BTreeMap<String, Vec<String>>,
    /// Time between two scrapes of a target.
    pub scrape_interval: Duration,
    /// Time a scrape may take; at most the interval.
    pub scrape_timeout: Duration,
    /// Formats to ask for, best first; never empty.
    pub scrape_protocols: Vec<ScrapeProtocol>,
    /// The format of an answer without a usable `Content-Type`.
    pub fallback_scrape_protocol: Option<ScrapeProtocol>,
    /// Whether native histograms are scraped.
    pub scrape_native_histograms: bool,
    /// Whether the classic form of a native histogram is scraped as well.
    pub always_scrape_classic_histograms: bool,
    /// Whether classic histograms are turned into native ones with custom buckets.
    pub convert_classic_histograms_to_nhcb: bool,
    /// Whether the `scrape_timeout_seconds` family of extra series is written.
    pub extra_scrape_metrics: bool,
    /// The file failed scrapes are logged to.
    pub scrape_failure_log_file: Option<PathBuf>,
    /// The path of the request; `/metrics` by default.
    pub metrics_path: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Whether gzip is asked for; true by default.
    pub enable_compression: bool,
    /// Upper bounds on what a target may send.
    pub limits: ScrapeLimits,
    /// Which metric and label names are valid.
    pub metric_name_validation_scheme: NameValidation,
    /// Which names are asked for during negotiation.
    pub metric_name_escaping_scheme: NameEscaping,
    /// How to connect.
    pub http_client: HttpClientConfig,
    /// Rules on discovered targets.
    pub relabel_configs: Vec<RelabelConfig>,
    /// Rules on scraped samples.
    pub metric_relabel_configs: Vec<RelabelConfig>,
    /// Where the targets come from.
    pub discovery: DiscoveryConfigs,
}

impl ScrapeConfig {
    /// A job with Prometheus's defaults and no targets.
    pub fn new(job_name: impl Into<String>) -> Self {
        Self {
            job_name: job_name.into(),
            honor_labels: false,
            honor_timestamps: true,
            track_timestamps_staleness: false,
            params: BTreeMap::new(),
            scrape_interval: Duration::from_mins(1),
            scrape_timeout: Duration::from_secs(10),
            scrape_protocols: ScrapeProtocol::DEFAULT.to_vec(),
            fallback_scrape_protocol: None,
            scrape_native_histograms: false,
            always_scrape_classic_histograms: false,
            convert_classic_histograms_to_nhcb: false,
            extra_scrape_metrics: false,
            scrape_failure_log_file: None,
            metrics_path: "/metrics".to_owned(),
            scheme: "http".to_owned(),
            enable_compression: true,
            limits: ScrapeLimits::default(),
            metric_name_validation_scheme: NameValidation::Utf8,
            metric_name_escaping_scheme: NameEscaping::AllowUtf8,
            http_client: HttpClientConfig::default(),
            relabel_configs: Vec::new(),
            metric_relabel_configs: Vec::new(),
            discovery: DiscoveryConfigs::default(),
        }
    }
}

/// Upper bounds on what a target may send; zero means no bound.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ScrapeLimits {
    /// Bytes of an uncompressed body.
    pub body_size_bytes: u64,
    /// Samples after metric relabelling.
    pub samples: u64,
    /// Labels of a series.
    pub labels: u64,
    /// Bytes of a label name.
    pub label_name_bytes: u64,
    /// Bytes of a label value.
    pub label_value_bytes: u64,
    /// Targets of a job.
    pub targets: u64,
    /// Dropped targets that are remembered for display.
    pub keep_dropped_targets: u64,
    /// Buckets of a native histogram.
    pub native_histogram_buckets: u64,
    /// The smallest growth factor of a native histogram's buckets.
    pub native_histogram_min_bucket_factor: f64,
}

/// An exposition format that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ScrapeProtocol {
    /// Prometheus's protocol buffers.
    PrometheusProto,
    /// Prometheus's text format 0.0.4.
    PrometheusText0_0_4,
    /// Prometheus's text format 1.0.0, with UTF-8 names.
    PrometheusText1_0_0,
    /// OpenMetrics text 0.0.1.
    OpenMetricsText0_0_1,
    /// OpenMetrics text 1.0.0.
    OpenMetricsText1_0_0,
}

impl ScrapeProtocol {
    /// What is asked for when the configuration says nothing, best first.
    pub const DEFAULT: [Self; 4] = [
        Self::OpenMetricsText1_0_0,
        Self::OpenMetricsText0_0_1,
        Self::PrometheusText1_0_0,
        Self::PrometheusText0_0_4,
    ];

    /// The name used in configuration files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PrometheusProto => "PrometheusProto",
            Self::PrometheusText0_0_4 => "PrometheusText0.0.4",
            Self::PrometheusText1_0_0 => "PrometheusText1.0.0",
            Self::OpenMetricsText0_0_1 => "OpenMetricsText0.0.1",
            Self::OpenMetricsText1_0_0 => "OpenMetricsText1.0.0",
        }
    }
}

/// Which metric and label names are valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NameValidation {
    /// Any UTF-8 text.
    #[default]
    Utf8,
    /// The older `[a-zA-Z_:][a-zA-Z0-9_:]*`.
    Legacy,
}

impl NameValidation {
    /// The name used in configuration files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Utf8 => "utf8",
            Self::Legacy => "legacy",
        }
    }

    /// Whether `name` is a valid label name. Source: `model.LabelName.IsValid`.
    pub fn is_valid_label_name(self, name: &str) -> bool {
        match self {
            Self::Utf8 => !name.is_empty(),
            Self::Legacy => {
                !name.is_empty()
                    && !name.starts_with(|first: char| first.is_ascii_digit())
                    && name
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            }
        }
    }
}

/// Which names are asked for during negotiation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NameEscaping {
    /// Names as they are.
    #[default]
    AllowUtf8,
    /// Every invalid character becomes an underscore.
    Underscores,
    /// Dots become `_dot_`, underscores are doubled.
    Dots,
    /// `U__` and hexadecimal code points.
    Values,
}

impl NameEscaping {
    /// The name used in configuration files and in `escaping=` of the `Accept` header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }
}

/// Where the targets of a job come from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DiscoveryConfigs {
    /// `static_configs`; the group's source is its position.
    pub static_configs: Vec<TargetGroup>,
    /// `file_sd_configs`.
    pub file_sd_configs: Vec<FileSdConfig>,
    /// Every other mechanism of Prometheus, which are recognised and not built yet.
    pub other: Vec<OtherDiscovery>,
}

/// Targets read from files.
#[derive(Debug, Clone, PartialEq)]
pub struct FileSdConfig {
    /// Paths and glob patterns, ending in `.json`, `.yml` or `.yaml`.
    pub files: Vec<PathBuf>,
    /// How often all files are read again; 5 m by default.
    pub refresh_interval: Duration,
}

/// A discovery mechanism that is recognised and not built yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherDiscovery {
    /// The key in the file, such as `consul_sd_configs`.
    pub key: &'static str,
}

/// Targets that share labels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TargetGroup {
    /// What names the group within its job: groups with the same source replace one another.
    pub source: String,
    /// Labels of every target of the group.
    pub labels: Labels,
    /// The labels of single targets, `__address__` first of all.
    pub targets: Vec<Labels>,
}
