//! What the command line says about a server.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use narthex_query::Features;
use narthex_storage::{Regex, Timestamp, WalFsync};

use super::{ConfigSource, RuleOptions};
use crate::{notifier::NotifierOptions, remote_read::RemoteReadLimits};

/// What the command line says about a server.
#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each stands for a switch of the command line"
)]
pub struct ServerOptions {
    /// Where the configuration comes from.
    pub config: ConfigSource,
    /// How often to look for changes of the configuration, if at all.
    pub auto_reload: Option<Duration>,
    /// The data path; ours is `narthex/` in it.
    pub data_path: PathBuf,
    /// How long samples are kept, counted back from the newest one; `None` is forever. The
    /// configuration wins.
    pub retention_time: Option<Duration>,
    /// How many bytes the store may take; `None` is any. The configuration wins.
    pub retention_size_bytes: Option<u64>,
    /// When the write-ahead log is made durable.
    pub wal_fsync: WalFsync,
    /// The most series there may be; `None` is any.
    pub series_max: Option<usize>,
    /// Whether to take the lock file of the data path.
    pub lock: bool,
    /// `--web.external-url` as it was given.
    pub external_url: String,
    /// `--web.route-prefix` as it was given.
    pub route_prefix: String,
    /// Origins that may read answers in a browser.
    pub cors_origin: Regex,
    /// The title of the pages.
    pub page_title: String,
    /// Whether `/-/reload` and `/-/quit` are allowed.
    pub enable_lifecycle: bool,
    /// Whether the admin endpoints are allowed.
    pub enable_admin_api: bool,
    /// Whether remote write is accepted.
    pub enable_remote_write_receiver: bool,
    /// Connections open at the same time.
    pub connections_max: usize,
    /// Time to read a request, and to keep an idle connection.
    pub read_timeout: Duration,
    /// How far back an instant selector looks.
    pub query_lookback: Duration,
    /// The longest a query may take.
    pub query_timeout: Duration,
    /// Queries that run at the same time, at least 1.
    pub query_concurrency: usize,
    /// Threads that range queries may start beside their own, all together.
    pub query_workers: usize,
    /// Bytes of decoded columns that all reads of the HTTP API may hold together; the queries of rules may hold
    /// half as many.
    pub query_bytes_all: u64,
    /// Bytes of answers of range queries that are kept for later ones.
    pub query_cache_bytes: u64,
    /// Samples that one query may hold at once.
    pub query_samples_max: u64,
    /// What remote reads may take.
    pub remote_read: RemoteReadLimits,
    /// Whether the times of scrapes are snapped to their schedule.
    pub adjust_timestamps: bool,
    /// How far a scrape may be from its schedule to be snapped.
    pub timestamp_tolerance: Duration,
    /// What of PromQL is on beyond its stable part.
    pub features: Features,
    /// Whether exemplars are kept, as many as the configuration says.
    pub exemplar_storage: bool,
    /// How rules are evaluated.
    pub rules: RuleOptions,
    /// How alerts are delivered.
    pub notifier: NotifierOptions,
    /// Every flag with its value as text.
    pub flags: BTreeMap<String, String>,
    /// When the process started.
    pub started: Timestamp,
}
