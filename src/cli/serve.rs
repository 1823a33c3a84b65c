//! The server's command: from a command line to a running process and its exit code.
//!
//! Nothing is written and nothing listens before the command line and the configuration are known to
//! be good. Exit codes are Prometheus's: 1 for an unknown flag, a taken address or a store that does
//! not open, 2 for a bad value and a bad configuration.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    thread::available_parallelism,
    time::Duration,
};

use narthex_storage::{Clock, RealFs, Regex, SystemClock, WalFsync};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
};
use tracing::{Level, error, info, warn};

use super::{
    command_line::{self, Request, Values},
    flags::{self, FLAGS, Feature, Status},
};
use crate::{
    api::Control,
    notifier::NotifierOptions,
    remote_read::RemoteReadLimits,
    server::{self, ConfigProblem, ConfigSource, RuleOptions, Server, ServerOptions},
    telemetry::{self, LogFormat},
};

/// Retention when the command line names none, as in Prometheus.
const DEFAULT_RETENTION: Duration = Duration::from_hours(15 * 24);

/// Runs the server until it is told to stop.
pub(super) fn run(arguments: &[String]) -> ExitCode {
    let mut values = match command_line::parse(arguments) {
        Ok(Request::Serve(values)) => values,
        Ok(Request::Help) => return say(&flags::help()),
        Ok(Request::Version) => return say(&version()),
        Err(error) => return refuse(&error.text(), error.code),
    };
    let clock = Arc::new(SystemClock::new());
    let format = match values.text("log.format") {
        "json" => LogFormat::Json,
        _ => LogFormat::Logfmt,
    };
    let level = match values.text("log.level") {
        "debug" => Level::DEBUG,
        "warn" => Level::WARN,
        "error" => Level::ERROR,
        _ => Level::INFO,
    };
    telemetry::init(level, format, Arc::clone(&clock) as Arc<dyn Clock>);
    if let Some(refusal) = values.not_built() {
        error!(err = refusal, "A flag asks for what is not built yet");
        return ExitCode::from(2);
    }
    let features = apply_features(&mut values);
    warn_about(&values);
    let source = config_source(&values);
    let options = match options(&mut values, source, features, &clock) {
        Ok(options) => options,
        Err(error) => return refuse(&format!("{error:#}\n"), 2),
    };
    // Checked before anything else happens; loaded again by the server, which then knows where it
    // listens.
    if let ConfigSource::File(path) = &options.config
        && let Err(problem) = server::check_config(path, features.query)
    {
        say_config_problem(path, &problem);
        return ExitCode::from(2);
    }
    let listeners = match server::bind(&values.list("web.listen-address")) {
        Ok(listeners) => listeners,
        Err(problem) => {
            error!(err = %problem, "Unable to start web listener");
            return ExitCode::from(1);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(problem) => {
            error!(err = %problem, "Could not start worker threads");
            return ExitCode::from(1);
        }
    };
    let outcome = runtime.block_on(async {
        // Before the store opens, so that a stop during a long replay is heard.
        let signals = Signals::listen()?;
        let server = Server::start(options, clock, listeners, Arc::new(RealFs))?;
        tokio::spawn(signals.forward(server.control()));
        server.run().await
    });
    // Reads that still run on the blocking pool work on a closed store and end by themselves.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match outcome {
        Ok(()) => {
            info!("See you next time!");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            error!(err = format!("{problem:#}"), "Fatal error");
            ExitCode::from(1)
        }
    }
}

/// Logs why the server does not start, in Prometheus's words.
fn say_config_problem(path: &Path, problem: &ConfigProblem) {
    let file = path.display();
    match problem {
        ConfigProblem::Config(problem) => {
            let message = format!("Error loading config (--config.file={file})");
            error!(%file, err = format!("{problem:#}"), "{message}");
        }
        ConfigProblem::Rules(problems) => {
            let name = file.to_string();
            let message =
                format!("Error loading rule file patterns from config (--config.file={name:?})");
            for problem in problems {
                error!(%file, err = problem, "{message}");
            }
        }
    }
}

/// Queries, rules, scrapes' commits and maintenance share these; queries are bounded more tightly by
/// `--query.max-concurrency`.
const BLOCKING_THREADS_MAX: usize = 128;

#[expect(clippy::print_stdout, reason = "this is what was asked for")]
fn say(text: &str) -> ExitCode {
    print!("{text}");
    // A closed pipe (`| head`) is the reader's choice.
    let _closed = std::io::stdout().flush();
    ExitCode::SUCCESS
}

#[expect(clippy::print_stderr, reason = "logging is not set up at this point")]
fn refuse(text: &str, code: u8) -> ExitCode {
    eprint!("{text}");
    ExitCode::from(code)
}

/// The text of `--version`: the first line has the shape that scripts look for.
fn version() -> String {
    format!(
        "prometheus, version {} (narthex, version {})\n  platform:         {}/{}\n",
        crate::PROMETHEUS_VERSION,
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH,
    )
}

/// What `--enable-feature` turned on and no other flag stands for.
#[derive(Debug, Clone, Copy, Default)]
struct Features {
    query: narthex_query::Features,
    exemplar_storage: bool,
}

/// Turns on what `--enable-feature` names.
fn apply_features(values: &mut Values) -> Features {
    let mut features = Features::default();
    for name in values.list("enable-feature") {
        match flags::feature(&name) {
            Some(Feature::Query(sentence)) => {
                features.query.enable(&name);
                info!("{sentence}");
            }
            Some(Feature::QueryPartly(sentence)) => {
                features.query.enable(&name);
                warn!(option = name, "{sentence}");
            }
            Some(Feature::ExemplarStorage) => {
                features.exemplar_storage = true;
                info!("Experimental in-memory exemplar storage enabled");
            }
            Some(Feature::AutoReload) => values.set("config.auto-reload", "true".to_owned()),
            Some(Feature::RemoteWriteReceiver) => {
                values.set("web.enable-remote-write-receiver", "true".to_owned());
            }
            Some(Feature::Always) => {}
            Some(Feature::NoEffect) => {
                warn!(option = name, "This feature has no effect here");
            }
            Some(Feature::NotBuilt) => {
                warn!(option = name, "This feature is not built yet and stays off");
            }
            None => warn!(option = name, "Unknown option for --enable-feature"),
        }
    }
    features
}

/// One line for each thing on the command line that does not do what it does in Prometheus.
fn warn_about(values: &Values) {
    for warning in &values.warnings {
        warn!("{warning}");
    }
    let without_effect = values.without_effect();
    if !without_effect.is_empty() {
        let names: Vec<String> = without_effect
            .iter()
            .map(|name| format!("--{name}"))
            .collect();
        warn!(
            flags = names.join(" "),
            "These flags are accepted and have no effect here"
        );
    }
    for flag in FLAGS {
        if let Status::Partly(why) = flag.status
            && values.is_given(flag.name)
            && values.text(flag.name) != "false"
        {
            warn!(flag = format!("--{}", flag.name), "{why}");
        }
    }
}

/// The file that is named, `prometheus.yml` if there is one, or the built-in configuration.
fn config_source(values: &Values) -> ConfigSource {
    let path = PathBuf::from(values.text("config.file"));
    if values.is_given("config.file") || path.exists() {
        ConfigSource::File(path)
    } else {
        ConfigSource::BuiltIn
    }
}

fn options(
    values: &mut Values,
    config: ConfigSource,
    features: Features,
    clock: &SystemClock,
) -> anyhow::Result<ServerOptions> {
    let time = values.duration("storage.tsdb.retention.time");
    let size_bytes = values.bytes("storage.tsdb.retention.size");
    let time = if time.is_zero() && size_bytes == 0 {
        values.set(
            "storage.tsdb.retention.time",
            narthex_query::format_duration(DEFAULT_RETENTION),
        );
        DEFAULT_RETENTION
    } else {
        time
    };
    if !values.is_given("storage.tsdb.max-block-duration") {
        // A tenth of the retention, at most 31 days; Thanos compares it with the minimum.
        let month = Duration::from_hours(31 * 24);
        let longest = if time.is_zero() {
            month
        } else {
            month.min(time / 10)
        };
        values.set(
            "storage.tsdb.max-block-duration",
            narthex_query::format_duration(longest),
        );
    }
    let series_max = match values.count("storage.max-series") {
        0 => super::memory::default_series_max(),
        given => Some(given),
    };
    if let Some(series_max) = series_max {
        values.set("storage.max-series", series_max.to_string());
    }
    server::check_external_url(values.text("web.external-url"))?;
    let cors = values.text("web.cors.origin");
    let cors_origin = Regex::new(cors).map_err(|problem| {
        anyhow::anyhow!("could not compile CORS regex string {cors:?}: {problem}")
    })?;
    Ok(ServerOptions {
        config,
        auto_reload: values
            .switch("config.auto-reload")
            .then(|| values.duration("config.auto-reload-interval")),
        data_path: Path::new(values.text("storage.tsdb.path")).to_path_buf(),
        retention_time: (!time.is_zero()).then_some(time),
        retention_size_bytes: (size_bytes > 0).then_some(size_bytes),
        wal_fsync: match values.text("storage.wal-fsync") {
            "commit" => WalFsync::Commit,
            _ => WalFsync::Segment,
        },
        series_max: series_max.map(usize::try_from).transpose()?,
        lock: !values.switch("storage.tsdb.no-lockfile"),
        external_url: values.text("web.external-url").to_owned(),
        route_prefix: values.text("web.route-prefix").to_owned(),
        cors_origin,
        page_title: values.text("web.page-title").to_owned(),
        enable_lifecycle: values.switch("web.enable-lifecycle"),
        enable_admin_api: values.switch("web.enable-admin-api"),
        enable_remote_write_receiver: values.switch("web.enable-remote-write-receiver"),
        connections_max: usize::try_from(values.count("web.max-connections"))?,
        read_timeout: values.duration("web.read-timeout"),
        query_lookback: values.duration("query.lookback-delta"),
        query_timeout: values.duration("query.timeout"),
        query_bytes_all: super::memory::query_bytes(),
        query_cache_bytes: super::memory::query_cache_bytes(),
        query_concurrency: usize::try_from(values.count("query.max-concurrency"))?.max(1),
        query_workers: available_parallelism().map_or(0, |processors| processors.get() - 1),
        query_samples_max: values.count("query.max-samples"),
        remote_read: RemoteReadLimits {
            samples_max: values.count("storage.remote.read-sample-limit"),
            concurrency: usize::try_from(values.count("storage.remote.read-concurrent-limit"))?,
            frame_bytes_max: usize::try_from(
                values.count("storage.remote.read-max-bytes-in-frame"),
            )?,
        },
        adjust_timestamps: values.switch("scrape.adjust-timestamps"),
        timestamp_tolerance: values.duration("scrape.timestamp-tolerance"),
        features: features.query,
        exemplar_storage: features.exemplar_storage,
        rules: RuleOptions {
            outage_tolerance: values.duration("rules.alert.for-outage-tolerance"),
            for_grace_period: values.duration("rules.alert.for-grace-period"),
            resend_delay: values.duration("rules.alert.resend-delay"),
        },
        notifier: NotifierOptions {
            queue_capacity: usize::try_from(
                values.count("alertmanager.notification-queue-capacity"),
            )?,
            batch_size: usize::try_from(values.count("alertmanager.notification-batch-size"))?,
            drain_on_shutdown: values.switch("alertmanager.drain-notification-queue-on-shutdown"),
        },
        flags: values.all(),
        started: clock.now(),
    })
}

/// The signals that a server listens to; also as PID 1, where no signal has a default action.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Passes signals on for as long as the server listens to them.
    async fn forward(mut self, control: mpsc::Sender<Control>) {
        loop {
            let request = tokio::select! {
                _ = self.hangup.recv() => {
                    // The outcome is logged by who reloads; nobody waits for it here.
                    let (sender, _receiver) = oneshot::channel();
                    Control::Reload(sender)
                }
                _ = self.terminate.recv() => {
                    info!(signal = "terminated", "Received an OS signal, exiting gracefully...");
                    Control::Quit
                }
                _ = self.interrupt.recv() => {
                    info!(signal = "interrupt", "Received an OS signal, exiting gracefully...");
                    Control::Quit
                }
            };
            if control.send(request).await.is_err() {
                return;
            }
        }
    }
}
