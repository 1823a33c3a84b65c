//! Builds the whole server; start and stop order.
//!
//! Start: listeners are open before anything else, so that a health check and `/-/ready` (503) are
//! answered while the store replays its log; then the configuration and its rule files, then the
//! store, then scraping, delivery of alerts and rules; then the server says that it is ready. Stop is
//! the same backwards: not ready, rules end, scraping ends (without staleness markers: a restart goes
//! on), alerts that wait are delivered while running requests are answered, and the store is closed
//! last.
//!
//! Everything that a test wants to set is an argument of [`Server::start`]: the clock, the
//! listeners, the file system. Signals, flags and exit codes belong to `cli`.

mod configuration;
mod external_url;
mod listen;
mod options;
mod reload;
mod request_line;
mod rules;
mod store;
mod store_admin;
mod store_metrics;
mod targets;
#[cfg(test)]
mod tests;
mod upkeep;

use std::{
    hash::BuildHasher as _,
    io,
    net::SocketAddr,
    path::Path,
    sync::{Arc, OnceLock, RwLock},
    time::Duration,
};

use anyhow::{Context, Result};
use narthex_query::{Engine, EngineOptions, Features, Slicing, Workers, format_duration};
use narthex_rules::ManagerOptions;
use narthex_storage::{Db, Fs, SharedBytes};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

pub use listen::bind;
pub use options::ServerOptions;
pub use reload::ConfigSource;
pub use rules::RuleOptions;

use store_metrics::RetentionLimits;
use upkeep::Upkeep;

use crate::{
    api::{Configuration, Control, Gate, HttpMetrics, Readiness, Settings, State, result_cache},
    clock::AsyncClock,
    discovery::discovered_targets,
    notifier::Notifier,
    remote_read::RemoteRead,
    scrape::{ScrapeManager, ScrapeOptions},
    self_metrics::{Family, Gauge, Registry, register_process},
    web,
};
use configuration::ReloadMetrics;
use listen::{Accepting, Limits};
use reload::Loaded;
use rules::Rules;

/// How long a stop waits for requests that are being answered.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// The longest wait for the first scrape of the built-in configuration.
const FIRST_SELF_SCRAPE: Duration = Duration::from_secs(1);

/// An interval of zero would spin.
const SHORTEST_AUTO_RELOAD: Duration = Duration::from_secs(1);

/// Reload and quit requests that wait; more than that wait at the sender.
const CONTROL_QUEUE: usize = 16;

/// Decoded columns that one query may hold, in bytes.
const QUERY_BYTES_MAX: u64 = 2 << 30;

/// A server that listens. [`Server::run`] makes it ready.
pub struct Server {
    options: ServerOptions,
    clock: Arc<dyn AsyncClock>,
    fs: Arc<dyn Fs>,
    state: Arc<State>,
    accepting: Accepting,
    addresses: Vec<SocketAddr>,
    scraping: Arc<OnceLock<ScrapeManager>>,
    notifier: Arc<Notifier>,
    rules: Arc<OnceLock<Rules>>,
    discovered: Family<Gauge>,
    reloads: ReloadMetrics,
    retention_limits: RetentionLimits,
    control: (mpsc::Sender<Control>, mpsc::Receiver<Control>),
}

impl std::fmt::Debug for Server {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Server")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

/// Why a configuration cannot be started with.
#[derive(Debug)]
pub enum ConfigProblem {
    /// Something in the configuration file itself.
    Config(anyhow::Error),
    /// Something in a rule file that it names; one text a message, at least one.
    Rules(Vec<String>),
}

/// Reads and reviews a configuration file and the rule files it names, without using them.
///
/// # Errors
/// What is wrong, in words for a person.
pub fn check_config(path: &Path, features: Features) -> Result<(), ConfigProblem> {
    let config = reload::check_config(path).map_err(ConfigProblem::Config)?;
    rules::load(&config, features.parser())
        .map(|_| ())
        .map_err(ConfigProblem::Rules)
}

/// Whether `--web.external-url` can be used.
///
/// # Errors
/// In Prometheus's words.
pub fn check_external_url(flag: &str) -> Result<()> {
    external_url::external_url(flag, "localhost", 0).map(|_| ())
}

impl Server {
    /// Starts to listen. Until [`Server::run`] has opened the store, requests that need it are
    /// answered with 503. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When a flag's value is wrong or a listener cannot be used.
    pub fn start(
        options: ServerOptions,
        clock: Arc<dyn AsyncClock>,
        listeners: Vec<std::net::TcpListener>,
        fs: Arc<dyn Fs>,
    ) -> Result<Self> {
        let addresses = listeners
            .iter()
            .map(std::net::TcpListener::local_addr)
            .collect::<io::Result<Vec<_>>>()?;
        let first = addresses.first().context("no --web.listen-address")?;
        let external_url =
            external_url::external_url(&options.external_url, &host_name(), first.port())?;
        let route_prefix = external_url::route_prefix(&options.route_prefix, &external_url);
        let registry = Registry::new();
        register_process(&registry);
        register_build_info(&registry);
        let reloads = ReloadMetrics {
            successful: registry.gauge(
                "prometheus_config_last_reload_successful",
                "Whether the last configuration reload attempt was successful.",
            ),
            success_seconds: registry.gauge(
                "prometheus_config_last_reload_success_timestamp_seconds",
                "Timestamp of the last successful configuration reload.",
            ),
            ready: registry.gauge(
                "prometheus_ready",
                "Whether Prometheus startup was fully completed and the server is ready for normal operation.",
            ),
        };
        let retention_limits = RetentionLimits::new(&registry);
        let scraping = Arc::new(OnceLock::<ScrapeManager>::new());
        let rules = Arc::new(OnceLock::<Rules>::new());
        let discovered = discovered_targets(&registry);
        let notifier = Arc::new(Notifier::new(
            options.notifier,
            Arc::clone(&clock),
            discovered.clone(),
            &registry,
        ));
        let control = mpsc::channel(CONTROL_QUEUE);
        let mut flags = options.flags.clone();
        let shown_prefix = match route_prefix.as_str() {
            "" => "/".to_owned(),
            prefix => prefix.to_owned(),
        };
        flags.insert("web.route-prefix".to_owned(), shown_prefix);
        let state = Arc::new(State {
            settings: Settings {
                flags,
                external_url: external_url.clone(),
                route_prefix,
                cors_origin: options.cors_origin.clone(),
                page_title: options.page_title.clone(),
                enable_lifecycle: options.enable_lifecycle,
                enable_admin_api: options.enable_admin_api,
                enable_remote_write_receiver: options.enable_remote_write_receiver,
                query_timeout: options.query_timeout,
                lookback: options.query_lookback,
                started: options.started,
            },
            clock: Arc::clone(&clock),
            store: OnceLock::new(),
            engine: Arc::new(Engine::new(EngineOptions {
                lookback: options.query_lookback,
                samples_max: options.query_samples_max,
                features: options.features,
                slicing: Slicing {
                    workers: Workers::new(options.query_workers),
                    ..Slicing::default()
                },
                ..EngineOptions::default()
            })),
            results: result_cache(options.query_cache_bytes, &registry),
            gate: Gate::new(
                options.query_concurrency,
                QUERY_BYTES_MAX,
                options.query_bytes_all,
                &registry,
            ),
            remote_read: RemoteRead::new(options.remote_read, &registry),
            readiness: Readiness::default(),
            configuration: RwLock::new(Arc::new(Configuration {
                yaml: String::new(),
                external_labels: narthex_storage::Labels::empty(),
                storage_retention: String::new(),
                out_of_order_window_ms: 0,
                loaded: clock.now(),
                last_reload_successful: false,
            })),
            targets: Box::new({
                let scraping = Arc::clone(&scraping);
                let (external_url, own) = (external_url.clone(), *first);
                move |with_metadata| {
                    let pools = scraping.get().map(ScrapeManager::pools);
                    let pools = pools.unwrap_or_default().into_iter();
                    pools
                        .map(|pool| targets::target_pool(pool, &external_url, own, with_metadata))
                        .collect()
                }
            }),
            rules: Box::new({
                let rules = Arc::clone(&rules);
                move || rules.get().map(Rules::status).unwrap_or_default()
            }),
            alertmanagers: Box::new({
                let notifier = Arc::clone(&notifier);
                move || notifier.report()
            }),
            control: control.0.clone(),
            metrics: HttpMetrics::new(&registry),
            registry,
        });
        let limits = Limits {
            connections_max: options.connections_max.max(1),
            read_timeout: options.read_timeout,
        };
        let accepting = Accepting::start(listeners, &web::router(Arc::clone(&state)), limits)?;
        for address in &addresses {
            info!(component = "web", %address, "Listening on");
        }
        Ok(Self {
            options,
            clock,
            fs,
            state,
            accepting,
            addresses,
            scraping,
            notifier,
            rules,
            discovered,
            reloads,
            retention_limits,
            control,
        })
    }

    /// The addresses it listens on.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where reload and quit requests go.
    pub fn control(&self) -> mpsc::Sender<Control> {
        self.control.0.clone()
    }

    /// Opens the store, starts scraping, and serves until it is told to quit; then stops in order
    /// and closes the store.
    ///
    /// # Errors
    /// When the store does not open, the first configuration is bad, or the store fails for good.
    pub async fn run(mut self) -> Result<()> {
        // Before the file is read, so that no change of it is missed.
        let checksum = self.checksum().await?;
        let loaded = self.load().await?;
        let store = self.open_store(&loaded.config).await?;
        let upkeep = Upkeep::start(&store, &self.clock, self.control(), &self.state.registry)?;
        let outcome = self.serve(&store, loaded, checksum).await;
        // Stop, in the reverse order of the start.
        self.state.readiness.set_stopping();
        self.reloads.ready.set(0.0);
        if let Some(rules) = self.rules.get() {
            rules.stop().await;
        }
        if let Some(scraping) = self.scraping.get() {
            scraping.stop().await;
            info!("Scrape manager stopped");
        }
        let grace = self.clock.sleep_until(self.clock.monotonic() + STOP_GRACE);
        let delivering = async {
            info!(component = "notifier", "Stopping notification manager...");
            self.notifier.stop().await;
            info!("Notifier manager stopped");
        };
        // Each is bounded; together, so that they add up to no more than one of them.
        let (answered, ()) = tokio::join!(self.accepting.stop(grace), delivering);
        if !answered {
            warn!("Some requests were still running and were cut");
        }
        let upkeep = upkeep.stop().await;
        tokio::task::spawn_blocking(move || store.close())
            .await?
            .context("close the store")?;
        outcome.and(upkeep)
    }

    /// Applies the configuration, says that the server is ready, and answers requests to reload and
    /// to quit until one of the latter. `checksum` is that of what the configuration was read from.
    async fn serve(&mut self, store: &Arc<Db>, loaded: Loaded, mut checksum: u64) -> Result<()> {
        let built_in = self.options.config == ConfigSource::BuiltIn;
        let scraping = ScrapeManager::new(
            ScrapeOptions {
                first_scrape_within: built_in.then_some(FIRST_SELF_SCRAPE),
                offset_seed: host_seed(),
                adjust_timestamps: self.options.adjust_timestamps,
                timestamp_tolerance: self.options.timestamp_tolerance,
                type_and_unit_labels: self.options.features.type_and_unit_labels,
            },
            Arc::clone(store) as _,
            Arc::clone(&self.clock),
            self.discovered.clone(),
            &self.state.registry,
        );
        assert!(self.scraping.set(scraping).is_ok(), "scraping starts once");
        let rules = Rules::start(
            self.rule_manager_options(store),
            Arc::clone(&self.clock),
            &self.state.registry,
        );
        assert!(self.rules.set(rules).is_ok(), "rules start once");
        let outcome = self.apply(loaded).await;
        self.note_outcome(&outcome);
        outcome?;
        self.state.readiness.set_ready();
        self.reloads.ready.set(1.0);
        info!("Server is ready to receive web requests.");
        self.say_where();
        let interval = self.options.auto_reload;
        if let Some(interval) = interval {
            info!(
                interval = format_duration(interval),
                "Enabled automatic configuration file reloading. Checking for configuration changes every"
            );
        }
        loop {
            let next_look = async {
                match interval {
                    Some(interval) => {
                        let at = self.clock.monotonic() + interval.max(SHORTEST_AUTO_RELOAD);
                        self.clock.sleep_until(at).await;
                    }
                    None => std::future::pending().await,
                }
            };
            let request = tokio::select! {
                request = self.control.1.recv() => request,
                () = next_look => {
                    if self.checksum().await? == checksum {
                        continue;
                    }
                    info!("Configuration file change detected, reloading the configuration.");
                    let (nobody, _) = oneshot::channel();
                    Some(Control::Reload(nobody))
                }
            };
            match request {
                Some(Control::Reload(answer)) => {
                    checksum = self.checksum().await?;
                    let outcome = self.reload(store).await.map_err(|problem| {
                        let problem = format!("{problem:#}");
                        error!(err = problem, "Error reloading config");
                        problem
                    });
                    // Who asked may have gone.
                    let _gone = answer.send(outcome);
                }
                Some(Control::Quit) | None => return Ok(()),
            }
        }
    }

    fn rule_manager_options(&self, store: &Arc<Db>) -> ManagerOptions {
        let RuleOptions {
            outage_tolerance,
            for_grace_period,
            resend_delay,
        } = self.options.rules;
        let external_url = self.state.settings.external_url.as_str();
        ManagerOptions {
            queryable: Arc::clone(store) as _,
            appendable: Arc::clone(store) as _,
            engine: Arc::clone(&self.state.engine),
            clock: Arc::clone(&self.clock) as _,
            sink: Arc::clone(&self.notifier) as _,
            observer: rules::observer(&self.state.registry),
            external_url: external_url.trim_end_matches('/').to_owned(),
            restores: true,
            outage_tolerance,
            for_grace_period,
            resend_delay,
            query_timeout: self.options.query_timeout,
            query_budget_bytes: QUERY_BYTES_MAX,
            query_shared_bytes: Arc::new(SharedBytes::new(self.options.query_bytes_all / 2)),
        }
    }

    /// One line for a person who has just started it.
    fn say_where(&self) {
        let own = listen::reachable(self.addresses[0]);
        let prefix = &self.state.settings.route_prefix;
        info!(
            "Point a browser at http://{own}{prefix}/ and Grafana's Prometheus data source at http://{own}{prefix}"
        );
        if self.options.config == ConfigSource::BuiltIn {
            info!(
                target_url = format!("http://{own}{prefix}/metrics"),
                "No --config.file and no prometheus.yml here: using the built-in configuration, which scrapes this server every 15s"
            );
        }
    }
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

/// Two servers with the same targets scrape them at different moments.
fn host_seed() -> u64 {
    foldhash::fast::FixedState::default().hash_one(host_name())
}

fn register_build_info(registry: &Registry) {
    registry
        .gauges(
            "prometheus_build_info",
            "A metric with a constant '1' value labeled by the version whose behaviour is followed.",
            &["version"],
        )
        .with(&[crate::PROMETHEUS_VERSION])
        .set(1.0);
    registry
        .gauges(
            "narthex_build_info",
            "A metric with a constant '1' value labeled by Narthex's own version.",
            &["version"],
        )
        .with(&[env!("CARGO_PKG_VERSION")])
        .set(1.0);
}
