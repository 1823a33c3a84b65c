//! What the HTTP side reads of the server.

use std::{
    collections::BTreeMap,
    fmt::{self, Debug},
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use narthex_query::{Engine, ResultCache};
use narthex_rules::GroupStatus;
use narthex_storage::{
    Appendable, CardinalityLists, Exemplar, KeptMetadata, Labels, Matcher, Queryable, Regex,
    TimeRange, Timestamp,
};
use tokio::sync::{mpsc, oneshot};
use url::Url;

use super::{ApiError, ErrorType, Gate, HttpMetrics, TargetPool};
use crate::{
    clock::AsyncClock, notifier::AlertmanagerReport, remote_read::RemoteRead,
    self_metrics::Registry,
};

/// Everything the HTTP side reads. The server builds it before the store is open, so that
/// `/-/healthy` answers while the log is replayed.
pub struct State {
    /// What the command line said.
    pub settings: Settings,
    /// Now, and how to wait.
    pub clock: Arc<dyn AsyncClock>,
    /// The store, set once when it is open and before [`Readiness::set_ready`].
    pub store: OnceLock<Store>,
    /// Evaluates queries.
    pub engine: Arc<Engine>,
    /// What range queries may go on from.
    pub results: Arc<ResultCache>,
    /// How many queries run at a time.
    pub gate: Gate,
    /// Where remote reads wait for one another.
    pub remote_read: RemoteRead,
    /// Starting, ready or stopping.
    pub readiness: Readiness,
    /// The configuration that is in force; replaced whole at a reload.
    pub configuration: RwLock<Arc<Configuration>>,
    /// The scrape pools as they are now, ascending by name; targets have their metadata only when it
    /// is asked for, for it is read from the newest body.
    pub targets: Box<dyn Fn(WithMetadata) -> Vec<TargetPool> + Send + Sync>,
    /// The rule groups as they are now, by file, then name.
    pub rules: Box<dyn Fn() -> Vec<GroupStatus> + Send + Sync>,
    /// Where alerts go now.
    pub alertmanagers: Box<dyn Fn() -> AlertmanagerReport + Send + Sync>,
    /// Where reload and quit requests go.
    pub control: mpsc::Sender<Control>,
    /// What `/metrics` prints.
    pub registry: Registry,
    /// Counts of this side's own requests, registered in `registry`.
    pub metrics: HttpMetrics,
}

impl Debug for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("State")
            .field("settings", &self.settings)
            .field("readiness", &self.readiness)
            .finish_non_exhaustive()
    }
}

impl State {
    /// The configuration that is in force.
    pub(crate) fn configuration(&self) -> Arc<Configuration> {
        Arc::clone(
            &self
                .configuration
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// The store; requests come here only when it is open.
    pub(crate) fn open_store(&self) -> Result<&Store, ApiError> {
        self.store
            .get()
            .ok_or_else(|| ApiError::new(ErrorType::Unavailable, "the store is not open yet"))
    }

    /// Puts another configuration in force, or notes that a reload failed.
    pub fn set_configuration(&self, configuration: Configuration) {
        *self
            .configuration
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(configuration);
    }
}

/// The open store.
#[derive(Clone)]
pub struct Store {
    /// For reading.
    pub queryable: Arc<dyn Queryable>,
    /// For remote write.
    pub appendable: Arc<dyn Appendable>,
    /// For `/api/v1/query_exemplars`.
    pub exemplars: Arc<ReadExemplars>,
    /// For `/api/v1/metadata`.
    pub metadata: Arc<ReadMetadata>,
    /// Sizes for `/api/v1/status/tsdb`.
    pub head: Arc<dyn Fn() -> HeadStatistics + Send + Sync>,
    /// What most of the series, and of the bytes of their labels, are: at most so many entries a list.
    pub cardinality: Arc<dyn Fn(usize) -> CardinalityLists + Send + Sync>,
    /// For the admin endpoints.
    pub admin: Arc<dyn StoreAdmin>,
}

/// Finds the exemplars in a range of time of the series that one of the selectors matches: by series in
/// label order, each series' oldest first.
pub type ReadExemplars =
    dyn Fn(&[Vec<Matcher>], TimeRange) -> Vec<(Labels, Vec<Exemplar>)> + Send + Sync;

/// Finds what was said of one metric family, or of all: by family, of each newest first.
pub type ReadMetadata = dyn Fn(Option<&str>) -> BTreeMap<String, Vec<KeptMetadata>> + Send + Sync;

/// What an operator may do to the store. Each call blocks, and may take long.
pub trait StoreAdmin: Send + Sync {
    /// Makes a copy of the store beside it that opens by itself, and answers with its name;
    /// `skip_head`: only of what is in files already.
    ///
    /// # Errors
    /// What went wrong; nothing is left then.
    fn snapshot(&self, skip_head: bool) -> anyhow::Result<String>;

    /// Deletes the samples in `range`, inclusive on both ends, of the series that pass all matchers of
    /// one of the selectors.
    ///
    /// # Errors
    /// What went wrong; nothing is deleted then.
    fn delete_series(&self, selectors: &[Vec<Matcher>], range: TimeRange) -> anyhow::Result<()>;

    /// Writes the files anew that hold deleted samples.
    ///
    /// # Errors
    /// What went wrong; what is not written anew goes on as it was.
    fn clean_tombstones(&self) -> anyhow::Result<()>;
}

impl Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Store").finish_non_exhaustive()
    }
}

/// The size of the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadStatistics {
    /// Series in the head.
    pub series: u64,
    /// What is in no block yet: for each series one for up to 120 scrapes.
    pub chunks: u64,
    /// The oldest and the newest sample, when there is one.
    pub range: Option<(Timestamp, Timestamp)>,
    /// Distinct label pairs of its series.
    pub label_pairs: u64,
}

/// What the command line said, as far as HTTP is concerned.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Every flag with its value as text, for `/api/v1/status/flags`.
    pub flags: BTreeMap<String, String>,
    /// Where users reach the server; its path is the default of `route_prefix`.
    pub external_url: Url,
    /// Before every path: empty, or `/` and words without a slash at the end.
    pub route_prefix: String,
    /// Origins that may read answers in a browser, matched whole.
    pub cors_origin: Regex,
    /// The title of the pages.
    pub page_title: String,
    /// `--web.enable-lifecycle`
    pub enable_lifecycle: bool,
    /// `--web.enable-admin-api`
    pub enable_admin_api: bool,
    /// `--web.enable-remote-write-receiver`
    pub enable_remote_write_receiver: bool,
    /// The longest a query may take.
    pub query_timeout: Duration,
    /// How far back an instant selector looks.
    pub lookback: Duration,
    /// When the process started.
    pub started: Timestamp,
}

/// Whether targets come with what they said about their metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithMetadata {
    /// They do.
    Yes,
    /// Their lists are empty.
    No,
}

/// A configuration in force.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// With defaults filled in and secrets hidden.
    pub yaml: String,
    /// `global.external_labels`
    pub external_labels: Labels,
    /// `15d`, `1GiB` or both, for `/api/v1/status/runtimeinfo`.
    pub storage_retention: String,
    /// How much older than the newest sample a late one may be, in milliseconds; 0: none may come late.
    pub out_of_order_window_ms: i64,
    /// When it was loaded.
    pub loaded: Timestamp,
    /// Whether the newest attempt to load one went well.
    pub last_reload_successful: bool,
}

/// Starting, ready or stopping.
#[derive(Debug, Default)]
pub struct Readiness(AtomicU8);

impl Readiness {
    const READY: u8 = 1;
    const STOPPING: u8 = 2;

    /// The store is open: from now on requests are answered.
    pub fn set_ready(&self) {
        self.0.store(Self::READY, Ordering::Release);
    }

    /// The server goes down: from now on requests are turned away.
    pub fn set_stopping(&self) {
        self.0.store(Self::STOPPING, Ordering::Release);
    }

    /// Whether requests are answered.
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::READY
    }

    /// Whether the server goes down.
    pub fn is_stopping(&self) -> bool {
        self.0.load(Ordering::Acquire) == Self::STOPPING
    }
}

/// What a client may ask the process to do.
#[derive(Debug)]
pub enum Control {
    /// Load the configuration anew; the answer is what went wrong.
    Reload(oneshot::Sender<Result<(), String>>),
    /// Stop.
    Quit,
}
