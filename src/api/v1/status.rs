//! What the server is and how it does.

use narthex_storage::{Budget, Cardinality};

use super::{
    Answer, ApiError, Call, Success,
    targets::{push_map, rfc3339},
};
use crate::api::{
    Read,
    json::{Escape, push_integer, push_string},
    params::parse_integer,
};

/// The version of Prometheus whose API this is; Grafana decides by it what it may ask.
const PROMETHEUS_VERSION: &str = "3.14.0";

/// The most entries that `/api/v1/status/tsdb` lists.
const TSDB_LIMIT_MAX: usize = 10_000;

/// `/api/v1/status/config`
pub(crate) fn config(call: &Call) -> Success {
    let mut success = Success::new();
    let yaml = &call.state.configuration().yaml;
    push_map(&mut success.body, std::iter::once(("yaml", yaml.as_str())));
    success
}

/// `/api/v1/status/flags`
pub(crate) fn flags(call: &Call) -> Success {
    let mut success = Success::new();
    let flags = call.state.settings.flags.iter();
    push_map(
        &mut success.body,
        flags.map(|(name, value)| (name.as_str(), value.as_str())),
    );
    success
}

/// What `/api/v1/status/buildinfo` and `/version` say. No `features`: Grafana takes a server that
/// has them for Mimir.
pub(crate) fn build_info_json() -> Vec<u8> {
    let mut out = Vec::new();
    let fields = [
        ("version", PROMETHEUS_VERSION),
        ("revision", ""),
        ("branch", ""),
        ("buildUser", ""),
        ("buildDate", ""),
        ("goVersion", ""),
        ("narthexVersion", env!("CARGO_PKG_VERSION")),
    ];
    push_map(&mut out, fields.into_iter());
    out
}

/// `/api/v1/status/buildinfo`
pub(crate) fn build_info() -> Success {
    let mut success = Success::new();
    success.body.extend_from_slice(&build_info_json());
    success
}

/// `/api/v1/status/walreplay`. The log is replayed before anything here answers but this and
/// health, and its progress is not counted: always the shape, never a number.
pub(crate) fn wal_replay() -> Success {
    Success::of(r#"{"min":0,"max":0,"current":0}"#)
}

/// `/api/v1/status/runtimeinfo`. There is no Go in us: its settings are empty and its goroutines are
/// our threads.
pub(crate) fn runtime_info(call: &Call) -> Success {
    let state = &call.state;
    let configuration = state.configuration();
    let texts = [
        ("startTime", rfc3339(Some(state.settings.started))),
        (
            "CWD",
            std::env::current_dir()
                .map(|path| path.display().to_string())
                .unwrap_or_default(),
        ),
        ("hostname", read("/proc/sys/kernel/hostname")),
        ("serverTime", rfc3339(Some(state.clock.now()))),
    ];
    let threads = read("/proc/self/status")
        .lines()
        .find_map(|line| line.strip_prefix("Threads:")?.trim().parse().ok())
        .unwrap_or(0);
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);

    let mut success = Success::new();
    let out = &mut success.body;
    push_map(
        out,
        texts.iter().map(|(name, value)| (*name, value.as_str())),
    );
    out.pop();
    let loaded = configuration.loaded.div_euclid(1000) * 1000;
    out.extend_from_slice(
        format!(
            ",\"reloadConfigSuccess\":{},\"lastConfigTime\":\"{}\",\"corruptionCount\":0,\
             \"goroutineCount\":{threads},\"GOMAXPROCS\":{processors},\"GOMEMLIMIT\":{},\
             \"GOGC\":\"\",\"GODEBUG\":\"\",\"storageRetention\":",
            configuration.last_reload_successful,
            rfc3339(Some(loaded)),
            i64::MAX,
        )
        .as_bytes(),
    );
    push_string(out, &configuration.storage_retention, Escape::Html);
    out.push(b'}');
    success
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

/// `/api/v1/status/tsdb`
pub(crate) async fn tsdb(call: Call) -> Answer {
    let limit = match call.params.first("limit") {
        "" => 10,
        text => parse_integer(text)
            .ok()
            .and_then(|limit| usize::try_from(limit).ok())
            .filter(|limit| *limit > 0)
            .ok_or_else(|| ApiError::bad_data("limit must be a positive number"))?
            .min(TSDB_LIMIT_MAX),
    };
    let state = call.state;
    let store = state.open_store()?.clone();
    let deadline = state.clock.monotonic() + state.settings.query_timeout;
    let work = move |_: &Budget, _| {
        let head = (store.head)();
        let largest = (store.cardinality)(limit);
        let mut success = Success::new();
        let out = &mut success.body;
        out.extend_from_slice(b"{\"headStats\":{\"numSeries\":");
        push_integer(out, head.series as i64);
        out.extend_from_slice(b",\"numLabelPairs\":");
        push_integer(out, head.label_pairs as i64);
        out.extend_from_slice(b",\"chunkCount\":");
        push_integer(out, head.chunks as i64);
        // Prometheus's empty head has its bounds the wrong way round.
        let (min, max) = head.range.unwrap_or((i64::MAX, i64::MIN));
        out.extend_from_slice(b",\"minTime\":");
        push_integer(out, min);
        out.extend_from_slice(b",\"maxTime\":");
        push_integer(out, max);
        out.push(b'}');
        for (field, list) in [
            ("seriesCountByMetricName", &largest.series_by_metric_name),
            ("labelValueCountByLabelName", &largest.values_by_label_name),
            ("memoryInBytesByLabelName", &largest.bytes_by_label_name),
            ("seriesCountByLabelValuePair", &largest.series_by_label_pair),
        ] {
            push_list(out, field, list);
        }
        out.push(b'}');
        Ok(success)
    };
    state.gate.run(&state, Read::Lookup, deadline, work).await
}

/// Appends a list as a field.
fn push_list(out: &mut Vec<u8>, field: &str, list: &[Cardinality]) {
    out.extend_from_slice(format!(",\"{field}\":[").as_bytes());
    for (index, entry) in list.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"name\":");
        push_string(out, &entry.name, Escape::Html);
        out.extend_from_slice(b",\"value\":");
        push_integer(out, entry.value as i64);
        out.push(b'}');
    }
    out.push(b']');
}
