//! What dashboards ask.

/// A question to a server.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) asks: Asks,
    pub(crate) text: &'static str,
    /// Reads much and computes much.
    pub(crate) is_heavy: bool,
}

/// How it is asked; everything ends where the data end.
#[derive(Clone, Copy)]
pub(crate) enum Asks {
    /// At the end.
    Instant,
    /// Over so many minutes, with a step in seconds.
    Range { minutes: i64, step_s: i64 },
    /// A path below `/api/v1/`, with what to match.
    Lookup(&'static str),
}

const fn shape(name: &'static str, asks: Asks, text: &'static str) -> Shape {
    Shape {
        name,
        asks,
        text,
        is_heavy: false,
    }
}

const fn heavy(name: &'static str, asks: Asks, text: &'static str) -> Shape {
    Shape {
        is_heavy: true,
        ..shape(name, asks, text)
    }
}

const HOUR: Asks = Asks::Range {
    minutes: 60,
    step_s: 60,
};
const SIX_HOURS: Asks = Asks::Range {
    minutes: 355,
    step_s: 60,
};
const DAY: Asks = Asks::Range {
    minutes: 1_430,
    step_s: 120,
};

/// For the set of 6 hours.
pub(crate) const OF_HOURS: &[Shape] = &[
    shape(
        "one host, max 5m, 1h",
        HOUR,
        "max(max_over_time(node_load1{instance=\"host-3.example.com:9100\"}[5m]))",
    ),
    shape(
        "one host, five metrics, 1h",
        HOUR,
        "{__name__=~\"node_load1|node_memory_MemAvailable_bytes|node_filesystem_avail_bytes|node_hwmon_temp_celsius|node_disk_io_time_seconds_total\",instance=\"host-3.example.com:9100\"}",
    ),
    shape(
        "one host, rate by mode, 6h",
        SIX_HOURS,
        "sum by (mode) (rate(node_cpu_seconds_total{instance=\"host-3.example.com:9100\"}[5m]))",
    ),
    shape(
        "all hosts, busy by instance, 6h",
        SIX_HOURS,
        "avg by (instance) (rate(node_cpu_seconds_total{mode!=\"idle\"}[5m]))",
    ),
    heavy(
        "double group-by, 6h",
        SIX_HOURS,
        "sum by (instance, mode) (rate(node_cpu_seconds_total[5m]))",
    ),
    shape(
        "max by instance of max 1h, 6h",
        SIX_HOURS,
        "max by (instance) (max_over_time(node_hwmon_temp_celsius[1h]))",
    ),
    shape(
        "average by dc of a gauge, 6h",
        SIX_HOURS,
        "avg by (dc) (node_load1)",
    ),
    shape("rate sum, 1h", HOUR, "sum(rate(http_requests_total[5m]))"),
    shape(
        "rate sum, 6h",
        SIX_HOURS,
        "sum(rate(http_requests_total[5m]))",
    ),
    shape(
        "rate sum by code and path, 6h",
        SIX_HOURS,
        "sum by (code, path) (rate(http_requests_total[5m]))",
    ),
    heavy(
        "histogram quantile by le, 1h",
        HOUR,
        "histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))",
    ),
    heavy(
        "histogram quantile by le, 6h",
        SIX_HOURS,
        "histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))",
    ),
    heavy(
        "histogram quantile by instance, 6h",
        SIX_HOURS,
        "histogram_quantile(0.9, sum by (le, instance) (rate(http_request_duration_seconds_bucket[5m])))",
    ),
    shape(
        "mean latency, 6h",
        SIX_HOURS,
        "sum by (path) (rate(http_request_duration_seconds_sum[5m])) / sum by (path) (rate(http_request_duration_seconds_count[5m]))",
    ),
    shape(
        "error ratio, 6h",
        SIX_HOURS,
        "sum(rate(http_requests_total{code=~\"5..\"}[5m])) / sum(rate(http_requests_total[5m]))",
    ),
    shape(
        "memory ratio by host, 6h",
        SIX_HOURS,
        "1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes",
    ),
    shape(
        "topk of rates, 6h",
        SIX_HOURS,
        "topk(5, sum by (instance) (rate(node_network_receive_bytes_total[5m])))",
    ),
    shape(
        "topk of rates, instant",
        Asks::Instant,
        "topk(5, sum by (instance) (rate(node_network_receive_bytes_total[5m])))",
    ),
    shape(
        "join with group_left, 1h",
        HOUR,
        "rate(node_network_receive_bytes_total[5m]) * on (instance) group_left (release) node_uname_info",
    ),
    shape(
        "sum of a join, 6h",
        SIX_HOURS,
        "sum by (release) (rate(http_requests_total[5m]) * on (instance) group_left (release) node_uname_info)",
    ),
    shape("raw gauges, 1h", HOUR, "node_hwmon_temp_celsius"),
    shape("raw counters, 1h", HOUR, "node_cpu_seconds_total"),
    shape("raw gauges, 6h", SIX_HOURS, "node_hwmon_temp_celsius"),
    shape(
        "raw counters, instant",
        Asks::Instant,
        "node_cpu_seconds_total",
    ),
    shape("count of up, 6h", SIX_HOURS, "count by (job) (up == 1)"),
    shape(
        "count of all series, instant",
        Asks::Instant,
        "count by (job) ({__name__!=\"\"})",
    ),
    heavy(
        "quantile over 1h, 6h",
        SIX_HOURS,
        "quantile_over_time(0.95, node_hwmon_temp_celsius[1h])",
    ),
    shape(
        "quantile of rates by dc, 6h",
        SIX_HOURS,
        "quantile by (dc) (0.9, rate(node_disk_io_time_seconds_total[5m]))",
    ),
    shape(
        "forecast, 6h",
        SIX_HOURS,
        "predict_linear(node_filesystem_avail_bytes[1h], 14400) < 0",
    ),
    shape(
        "irate by instance, 1h",
        HOUR,
        "sum by (instance) (irate(node_network_transmit_bytes_total[5m]))",
    ),
    shape("names of labels", Asks::Lookup("labels"), ""),
    shape(
        "values of a label",
        Asks::Lookup("label/instance/values"),
        "node_load1",
    ),
    shape(
        "names of metrics",
        Asks::Lookup("label/__name__/values"),
        "",
    ),
    shape(
        "series of a host",
        Asks::Lookup("series"),
        "{instance=\"host-3.example.com:9100\"}",
    ),
];

/// For the set of a day.
pub(crate) const OF_DAY: &[Shape] = &[
    heavy("rate sum, 24h", DAY, "sum(rate(http_requests_total[5m]))"),
    heavy(
        "rate sum by code, 24h",
        DAY,
        "sum by (code) (rate(http_requests_total[5m]))",
    ),
    heavy(
        "histogram quantile by path, 24h",
        DAY,
        "histogram_quantile(0.9, sum by (le, path) (rate(http_request_duration_seconds_bucket[5m])))",
    ),
    shape(
        "mean over 5m by dc, 24h",
        DAY,
        "avg by (dc) (avg_over_time(node_load1[5m]))",
    ),
    shape(
        "increase over 24h, instant",
        Asks::Instant,
        "sum by (path) (increase(http_requests_total[24h]))",
    ),
    shape(
        "increase over 24h, 1h",
        HOUR,
        "sum by (path) (increase(http_requests_total[24h]))",
    ),
    shape(
        "max over 24h, instant",
        Asks::Instant,
        "max_over_time(node_hwmon_temp_celsius[24h])",
    ),
    shape(
        "count over 24h, instant",
        Asks::Instant,
        "sum by (job) (count_over_time(up[24h]))",
    ),
    shape(
        "availability over 24h, instant",
        Asks::Instant,
        "avg_over_time(up[24h])",
    ),
    shape(
        "max of a subquery, instant",
        Asks::Instant,
        "max_over_time(sum(rate(http_requests_total[5m]))[6h:1m])",
    ),
];
