//! The one table of the server's flags.
//!
//! Parsing, `--help`, `/api/v1/status/flags` and the table in the README derive from [`FLAGS`]. The
//! names, defaults and order are those of Prometheus 3.14 (its own `--help`, and the hidden flags
//! that `/api/v1/status/flags` lists); what is ours stands at the end.

use std::fmt::Write as _;

/// A flag of the server.
#[derive(Debug)]
pub(crate) struct Flag {
    /// Without the leading dashes.
    pub(crate) name: &'static str,
    /// What values it takes.
    pub(crate) kind: Kind,
    /// The value it has when it is not given, as it is printed.
    pub(crate) default: &'static str,
    /// What giving it does.
    pub(crate) status: Status,
    /// One sentence for `--help`.
    pub(crate) help: &'static str,
}

/// What values a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Given or not: `--x`, `--no-x`.
    Switch,
    /// Any text.
    Text,
    /// Any text; may be given again, each value is kept.
    List,
    /// A Prometheus duration such as `1h30m`.
    Duration,
    /// A size in bytes with a unit, powers of two: `512MB`.
    Bytes,
    /// A whole number, zero or more, also as `5e7`.
    Count,
    /// A number.
    Number,
    /// One of these.
    OneOf(&'static [&'static str]),
}

/// What giving a flag does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// What it does in Prometheus.
    Works,
    /// Nothing: what it tunes does not exist here. Giving it is answered with a warning.
    NoEffect,
    /// Turning it on is refused at start, with this sentence.
    NotBuilt(&'static str),
    /// It is accepted with a warning that says this.
    Partly(&'static str),
}

const AGENT: &str = "agent mode is not built yet: run the server, it needs no more than the agent";
const OTLP: &str = "the OTLP receiver is not built yet: send remote write to /api/v1/write (--web.enable-remote-write-receiver)";
const WEB_CONFIG: &str = "TLS and authentication of the server are not built yet: put a reverse proxy in front and listen on 127.0.0.1";

const fn flag(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    status: Status,
    help: &'static str,
) -> Flag {
    Flag {
        name,
        kind,
        default,
        status,
        help,
    }
}

use Kind::{Bytes, Count, Duration, List, Number, OneOf, Switch, Text};
use Status::{NoEffect, NotBuilt, Partly, Works};

/// Every flag, in the order of `--help`.
#[rustfmt::skip]
pub(crate) static FLAGS: &[Flag] = &[
    flag("config.file", Text, "prometheus.yml", Works, "Configuration file path."),
    flag("config.auto-reload", Switch, "false", Works, "Reload when the configuration file or a file it names changes."),
    flag("config.auto-reload-interval", Duration, "30s", Works, "How often to look for changes of the configuration."),
    flag("web.listen-address", List, "0.0.0.0:9090", Works, "Address to listen on for API and telemetry. Can be repeated."),
    flag("auto-gomaxprocs", Switch, "true", NoEffect, "Go runtime tuning."),
    flag("auto-gomemlimit", Switch, "true", NoEffect, "Go runtime tuning."),
    flag("auto-gomemlimit.ratio", Number, "0.9", NoEffect, "Go runtime tuning."),
    flag("auto-gomemlimit.refresh-interval", Duration, "0s", NoEffect, "Go runtime tuning."),
    flag("web.config.file", Text, "", NotBuilt(WEB_CONFIG), "Path to a file that enables TLS or authentication."),
    flag("web.read-timeout", Duration, "5m", Works, "Maximum duration before timing out read of the request, and closing idle connections."),
    flag("web.max-connections", Count, "512", Works, "Maximum number of simultaneous connections across all listeners."),
    flag("web.max-notifications-subscribers", Count, "16", NoEffect, "Maximum number of subscribers of live notifications."),
    flag("web.external-url", Text, "", Works, "The URL under which the server is reachable from outside. Its path prefixes all routes."),
    flag("web.route-prefix", Text, "", Works, "Prefix of all routes. Defaults to the path of --web.external-url."),
    flag("web.user-assets", Text, "", NoEffect, "Path to static assets served at /user."),
    flag("web.enable-lifecycle", Switch, "false", Works, "Enable shutdown and reload via HTTP request."),
    flag("web.enable-admin-api", Switch, "false", Works, "Enable API endpoints for admin control actions."),
    flag("web.enable-remote-write-receiver", Switch, "false", Works, "Enable the API endpoint that accepts remote write requests."),
    flag("web.remote-write-receiver.accepted-protobuf-messages", List, "prometheus.WriteRequest,io.prometheus.write.v2.Request", Partly( "only prometheus.WriteRequest (remote write 1.0) is built; io.prometheus.write.v2.Request is answered with 415", ), "Remote write messages to accept."),
    flag("web.enable-otlp-receiver", Switch, "false", NotBuilt(OTLP), "Enable the API endpoint that accepts OTLP metrics."),
    flag("web.console.templates", Text, "consoles", NoEffect, "Path to the console template directory."),
    flag("web.console.libraries", Text, "console_libraries", NoEffect, "Path to the console library directory."),
    flag("web.page-title", Text, "Prometheus Time Series Collection and Processing Server", NoEffect, "Document title of the server."),
    flag("web.cors.origin", Text, ".*", Works, "Regex for CORS origin, fully anchored."),
    flag("storage.tsdb.path", Text, "data/", Works, "Base path for metrics storage."),
    flag("storage.tsdb.min-block-duration", Duration, "2h", NoEffect, "Minimum duration of a data block before being persisted."),
    flag("storage.tsdb.max-block-duration", Duration, "0s", NoEffect, "Maximum duration compacted blocks may span (defaults to 10% of the retention period)."),
    flag("storage.tsdb.max-block-chunk-segment-size", Bytes, "0B", NoEffect, "Maximum size of a single chunk segment in a block."),
    flag("storage.tsdb.wal-segment-size", Bytes, "0B", NoEffect, "Size at which to split the write-ahead log."),
    flag("storage.tsdb.retention.time", Duration, "0s", Works, "How long to retain samples. 15d if neither this nor a size is set."),
    flag("storage.tsdb.retention.size", Bytes, "0B", Works, "Maximum number of bytes the store may take. Units are powers of two: B, KB, MB, GB, TB, PB, EB."),
    flag("storage.tsdb.no-lockfile", Switch, "false", Works, "Do not create a lock file in the data directory."),
    flag("storage.tsdb.allow-overlapping-compaction", Switch, "true", NoEffect, "Allow compaction of overlapping blocks."),
    flag("storage.tsdb.wal-compression", Switch, "true", NoEffect, "Compress the write-ahead log."),
    flag("storage.tsdb.wal-compression-type", OneOf(&["snappy", "zstd"]), "snappy", NoEffect, "Compression of the write-ahead log."),
    flag("storage.tsdb.head-chunks-write-queue-size", Count, "0", NoEffect, "Size of the queue through which head chunks are written."),
    flag("storage.tsdb.samples-per-chunk", Count, "120", NoEffect, "Target number of samples per chunk."),
    flag("storage.tsdb.block-reload-interval", Duration, "1m", NoEffect, "How often to look for new blocks."),
    flag("storage.tsdb.delayed-compaction.max-percent", Count, "10", NoEffect, "Upper bound of the compaction delay."),
    flag("storage.tsdb.delay-compact-file.path", Text, "", NoEffect, "File that delays compaction."),
    flag("storage.agent.path", Text, "data-agent/", NoEffect, "Base path for metrics storage in agent mode."),
    flag("storage.agent.wal-segment-size", Bytes, "0B", NoEffect, "Agent mode only."),
    flag("storage.agent.wal-compression", Switch, "true", NoEffect, "Agent mode only."),
    flag("storage.agent.wal-compression-type", OneOf(&["snappy", "zstd"]), "snappy", NoEffect, "Agent mode only."),
    flag("storage.agent.wal-truncate-frequency", Duration, "0s", NoEffect, "Agent mode only."),
    flag("storage.agent.retention.min-time", Duration, "0s", NoEffect, "Agent mode only."),
    flag("storage.agent.retention.max-time", Duration, "0s", NoEffect, "Agent mode only."),
    flag("storage.agent.no-lockfile", Switch, "false", NoEffect, "Agent mode only."),
    flag("storage.remote.flush-deadline", Duration, "1m", NoEffect, "How long to wait flushing samples on shutdown or reload."),
    flag("storage.remote.read-sample-limit", Count, "50000000", Works, "Maximum number of samples of one query of a remote read that is not streamed. 0: any number."),
    flag("storage.remote.read-concurrent-limit", Count, "10", Works, "Maximum number of concurrent remote reads. 0: any number."),
    flag("storage.remote.read-max-bytes-in-frame", Count, "1048576", Works, "Maximum bytes in a frame of a streamed remote read."),
    flag("web.search.max-limit", Count, "10000", NoEffect, "Upper bound of limit= of the search endpoints."),
    flag("rules.alert.for-outage-tolerance", Duration, "1h", Works, "Maximum outage over which the \"for\" state of alerts is restored."),
    flag("rules.alert.for-grace-period", Duration, "10m", Works, "Minimum duration between alert and restored \"for\" state."),
    flag("rules.alert.resend-delay", Duration, "1m", Works, "Minimum time before an alert is sent again."),
    flag("rules.max-concurrent-evals", Count, "4", NoEffect, "How many independent rules run at the same time."),
    flag("scrape.adjust-timestamps", Switch, "true", Works, "Align timestamps of scrapes to the schedule when they are within the tolerance."),
    flag("scrape.timestamp-tolerance", Duration, "2ms", Works, "The tolerance of --scrape.adjust-timestamps."),
    flag("scrape.discovery-reload-interval", Duration, "5s", NoEffect, "How often changed targets are taken over."),
    flag("alertmanager.notification-queue-capacity", Count, "10000", Works, "Capacity of the queue of notifications."),
    flag("alertmanager.notification-batch-size", Count, "256", Works, "Maximum number of notifications sent together."),
    flag("alertmanager.drain-notification-queue-on-shutdown", Switch, "true", Works, "Send what waits when shutting down."),
    flag("query.lookback-delta", Duration, "5m", Works, "How far back the newest sample of a series is looked for."),
    flag("query.timeout", Duration, "2m", Works, "Maximum time a query may take before being aborted."),
    flag("query.max-concurrency", Count, "20", Works, "Maximum number of queries executed at the same time."),
    flag("query.max-samples", Count, "50000000", Works, "Maximum number of samples a single query can load into memory."),
    flag("enable-feature", List, "", Works, "Comma separated feature names to enable."),
    flag("agent", Switch, "false", NotBuilt(AGENT), "Run in agent mode."),
    flag("log.level", OneOf(&["debug", "info", "warn", "error"]), "info", Works, "Only log messages with the given severity or above."),
    flag("log.format", OneOf(&["logfmt", "json"]), "logfmt", Works, "Output format of log messages."),
    flag("storage.wal-fsync", OneOf(&["segment", "commit"]), "segment", Works, "Narthex's own: fsync when a log segment ends and at each seal (segment), or for every commit (commit)."),
    flag("storage.max-series", Count, "0", Works, "Narthex's own: the most series there may be in memory; samples of further ones are refused. 0: one for every 2 KiB of the memory of the machine or the container."),
];

/// A flag that Prometheus had once and that files still pass.
#[derive(Debug)]
pub(crate) struct RemovedFlag {
    /// Without the leading dashes; a trailing dot or dash matches everything that starts so.
    pub(crate) name: &'static str,
    /// Whether a value follows.
    pub(crate) takes_value: bool,
    /// The flag that took its place, which gets the value.
    pub(crate) replaced_by: Option<&'static str>,
}

const fn removed(name: &'static str, takes_value: bool) -> RemovedFlag {
    RemovedFlag {
        name,
        takes_value,
        replaced_by: None,
    }
}

/// What earlier versions had.
pub(crate) static REMOVED: &[RemovedFlag] = &[
    RemovedFlag {
        name: "storage.tsdb.retention",
        takes_value: true,
        replaced_by: Some("storage.tsdb.retention.time"),
    },
    removed("storage.tsdb.allow-overlapping-blocks", false),
    removed("alertmanager.timeout", true),
    removed("alertmanager.url", true),
    removed("alertmanager.notification-queue", true),
    removed("query.staleness-delta", true),
    removed("web.telemetry-path", true),
    removed("web.local-assets", true),
    removed("storage.local.", true),
    removed("storage.remote.graphite-", true),
    removed("storage.remote.influxdb", true),
    removed("storage.remote.opentsdb-", true),
    removed("storage.remote.timeout", true),
];

/// A name that `--enable-feature` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feature {
    /// Turns on something of PromQL ([`narthex_query::Features::enable`]), which the log says in these words.
    Query(&'static str),
    /// As that, and the log warns of what is missing.
    QueryPartly(&'static str),
    /// Keeps exemplars.
    ExemplarStorage,
    /// The same as `--config.auto-reload`.
    AutoReload,
    /// The same as `--web.enable-remote-write-receiver`.
    RemoteWriteReceiver,
    /// Always on.
    Always,
    /// It tunes what does not exist here.
    NoEffect,
    /// It is not built yet.
    NotBuilt,
}

/// What a name of `--enable-feature` stands for; `None` for an unknown one.
pub(crate) fn feature(name: &str) -> Option<Feature> {
    Some(match name {
        "promql-experimental-functions" => Feature::Query("Experimental PromQL functions enabled."),
        "promql-extended-range-selectors" => {
            Feature::Query("Experimental PromQL extended range selectors enabled.")
        }
        "promql-binop-fill-modifiers" => {
            Feature::Query("Experimental PromQL binary operator fill modifiers enabled.")
        }
        "promql-delayed-name-removal" => {
            Feature::Query("Experimental PromQL delayed name removal enabled.")
        }
        "use-start-timestamps" => Feature::QueryPartly(
            "Queries use start timestamps, but scrapes and remote writes bring none yet",
        ),
        "type-and-unit-labels" => Feature::Query("Experimental type and unit labels enabled"),
        "promql-per-step-stats" => Feature::Query("Experimental per-step statistics reporting"),
        "auto-reload-config" => Feature::AutoReload,
        "remote-write-receiver" => Feature::RemoteWriteReceiver,
        "promql-duration-expr"
        | "promql-at-modifier"
        | "promql-negative-offset"
        | "expand-external-labels" => Feature::Always,
        "memory-snapshot-on-shutdown"
        | "fast-startup"
        | "delayed-compaction"
        | "use-uncached-io"
        | "old-ui"
        | "auto-gomaxprocs"
        | "auto-gomemlimit"
        | "new-service-discovery-manager"
        | "concurrent-rule-eval"
        | "no-default-scrape-port" => Feature::NoEffect,
        "exemplar-storage" => Feature::ExemplarStorage,
        "native-histograms"
        | "ooo-native-histograms"
        | "extra-scrape-metrics"
        | "created-timestamp-zero-ingestion"
        | "metadata-wal-records"
        | "otlp-deltatocumulative"
        | "otlp-native-delta-ingestion"
        | "otlp-write-receiver"
        | "agent"
        | "st-storage"
        | "st-synthesis"
        | "histograms-st-encoding"
        | "xor2-encoding"
        | "search-api" => Feature::NotBuilt,
        _ => return None,
    })
}

/// The flag with this name.
pub(crate) fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.name == name)
}

/// The removed flag that this name is.
pub(crate) fn find_removed(name: &str) -> Option<&'static RemovedFlag> {
    REMOVED.iter().find(|removed| {
        removed.name == name
            || (removed.name.ends_with(['.', '-']) && name.starts_with(removed.name))
    })
}

/// The text of `--help`.
pub(crate) fn help() -> String {
    let mut text = String::from(
        "usage: prometheus [<flags>]\n\nThe Prometheus monitoring server, as Narthex serves it\n\n\nFlags:\n  \
         -h, --[no-]help                Show context-sensitive help.\n      \
         --[no-]version             Show application version.\n",
    );
    for flag in FLAGS {
        let mut left = match flag.kind {
            Kind::Switch => format!("      --[no-]{}", flag.name),
            Kind::Text => format!("      --{}=\"{}\"", flag.name, flag.default),
            Kind::List => format!("      --{}={} ...", flag.name, flag.default),
            _ => format!("      --{}={}", flag.name, flag.default),
        };
        if left.len() > 31 {
            text.push_str(&left);
            text.push_str("  \n");
            left.clear();
        }
        let mut sentence = flag.help.to_owned();
        match flag.status {
            Status::Works => {}
            Status::NoEffect => sentence.push_str(" Accepted, has no effect here."),
            Status::NotBuilt(why) | Status::Partly(why) => {
                sentence.push_str(" Note: ");
                sentence.push_str(why);
                sentence.push('.');
            }
        }
        for line in wrap(&sentence, 48) {
            writeln!(text, "{left:<33}{line}").expect("writing to a string cannot fail");
            left.clear();
        }
    }
    text.push_str(
        "\nSee also: narthex promtool --help, narthex check --help, narthex promql --help\n",
    );
    text
}

fn wrap(sentence: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in sentence.split(' ') {
        let line = lines.last_mut().expect("there is always a line");
        if !line.is_empty() && line.len() + 1 + word.len() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
