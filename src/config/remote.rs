//! Remote endpoints: where samples are forwarded to and read from.

use std::{collections::BTreeMap, time::Duration};

use narthex_storage::Labels;

use super::{HttpClientConfig, Secret};
use crate::relabel::RelabelConfig;

/// One endpoint samples are forwarded to.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteWriteConfig {
    /// The endpoint; credentials in it do not print.
    pub url: Secret,
    /// Its unique name, if it has one.
    pub name: String,
    /// Which message is sent.
    pub protobuf_message: RemoteWriteMessage,
    /// Time a request may take.
    pub remote_timeout: Duration,
    /// Additional headers.
    pub headers: BTreeMap<String, String>,
    /// Rules on samples before they are sent.
    pub write_relabel_configs: Vec<RelabelConfig>,
    /// Whether exemplars are sent.
    pub send_exemplars: bool,
    /// Whether native histograms are sent.
    pub send_native_histograms: bool,
    /// Whether addresses of the endpoint are used in turn.
    pub round_robin_dns: bool,
    /// How to connect.
    pub http_client: HttpClientConfig,
    /// The queue in front of the endpoint.
    pub queue_config: QueueConfig,
    /// Metadata sent beside the samples.
    pub metadata_config: MetadataConfig,
    /// The keys of cloud providers' signing sections: `sigv4`, `azuread`, `google_iam`.
    pub cloud_auth: Vec<&'static str>,
}

/// Which remote-write message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RemoteWriteMessage {
    /// Remote write 1.0.
    #[default]
    V1,
    /// Remote write 2.0.
    V2,
}

/// The queue in front of a remote endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueConfig {
    /// Samples held for each shard.
    pub capacity: i64,
    /// Most shards.
    pub max_shards: i64,
    /// Fewest shards.
    pub min_shards: i64,
    /// Most samples in a request.
    pub max_samples_per_send: i64,
    /// Longest time a sample waits for others.
    pub batch_send_deadline: Duration,
    /// First wait after a failure.
    pub min_backoff: Duration,
    /// Longest wait after failures.
    pub max_backoff: Duration,
    /// Whether the answer 429 is retried.
    pub retry_on_http_429: bool,
    /// Samples older than this are dropped; zero means never.
    pub sample_age_limit: Duration,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            capacity: 10_000,
            max_shards: 50,
            min_shards: 1,
            max_samples_per_send: 2_000,
            batch_send_deadline: Duration::from_secs(5),
            min_backoff: Duration::from_millis(30),
            max_backoff: Duration::from_secs(5),
            retry_on_http_429: false,
            sample_age_limit: Duration::ZERO,
        }
    }
}

/// Metadata sent beside the samples.
#[derive(Debug, Clone, PartialEq)]
pub struct MetadataConfig {
    /// Whether it is sent.
    pub send: bool,
    /// How often.
    pub send_interval: Duration,
    /// Most entries in a request.
    pub max_samples_per_send: i64,
}

impl Default for MetadataConfig {
    fn default() -> Self {
        Self {
            send: true,
            send_interval: Duration::from_mins(1),
            max_samples_per_send: 2_000,
        }
    }
}

/// One endpoint samples are read from.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteReadConfig {
    /// The endpoint; credentials in it do not print.
    pub url: Secret,
    /// Its unique name, if it has one.
    pub name: String,
    /// Time a request may take.
    pub remote_timeout: Duration,
    /// Additional headers.
    pub headers: BTreeMap<String, String>,
    /// Whether times the local store holds are asked for as well.
    pub read_recent: bool,
    /// Labels a selector must have for the endpoint to be asked.
    pub required_matchers: Labels,
    /// Whether external labels select what is read; true by default.
    pub filter_external_labels: bool,
    /// How to connect.
    pub http_client: HttpClientConfig,
}
