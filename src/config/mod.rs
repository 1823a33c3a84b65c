//! `prometheus.yml`: the types of the whole schema.
//!
//! The types hold a configuration after defaults and inheritance: what a reader of a
//! [`ScrapeConfig`] finds there is what counts, no field has to be combined with a global one. Paths
//! are resolved against the directory of the file. Secrets are [`Secret`], which prints as
//! `<secret>` wherever it is formatted.

mod bytes;
mod decode;
mod error;
mod http_client;
mod load;
mod print;
mod remote;
mod scrape;
mod sections;
pub mod support;
#[cfg(test)]
mod tests;

pub(crate) use bytes::format as format_bytes;
pub(crate) use decode::join as join_path;
pub use error::ConfigError;
pub use http_client::{
    Authorization, BasicAuth, HttpClientConfig, HttpHeader, OAuth2, ProxyConfig, Secret, TlsConfig,
    TlsVersion,
};
pub(crate) use load::{io_reason, load_target_groups, matching_files};
pub use load::{load, load_file, load_http_client};
pub use remote::{
    MetadataConfig, QueueConfig, RemoteReadConfig, RemoteWriteConfig, RemoteWriteMessage,
};
pub use scrape::{
    DiscoveryConfigs, FileSdConfig, NameEscaping, NameValidation, OtherDiscovery, ScrapeConfig,
    ScrapeLimits, ScrapeProtocol, TargetGroup,
};
pub use sections::{
    AlertingConfig, AlertmanagerConfig, Config, GlobalConfig, OtlpConfig, RetentionConfig,
    StorageConfig, TracingConfig, TranslationStrategy,
};
