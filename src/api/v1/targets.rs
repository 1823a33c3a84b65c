//! Scrape targets as they are now.

use std::{collections::BTreeMap, time::Duration};

use narthex_storage::{Labels, Timestamp};

use super::{Call, Success};
use crate::api::{
    WithMetadata,
    json::{Escape, push_integer, push_labels, push_number, push_string, push_strings},
};

/// A scrape pool: the targets of one job.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetPool {
    /// The job.
    pub name: String,
    /// Targets that are scraped, in the order of the configuration.
    pub active: Vec<ActiveTarget>,
    /// Targets that relabelling dropped, those that are remembered.
    pub dropped: Vec<DroppedTarget>,
    /// How many targets relabelling dropped.
    pub dropped_count: usize,
}

/// A target that is scraped.
#[derive(Debug, Clone, PartialEq)]
pub struct ActiveTarget {
    /// Before relabelling.
    pub discovered_labels: Labels,
    /// As samples carry them.
    pub labels: Labels,
    /// What is fetched.
    pub scrape_url: String,
    /// The same as seen from another machine.
    pub global_url: String,
    /// Why the newest scrape failed; empty when it did not.
    pub last_error: String,
    /// When the newest scrape began; `None` before the first.
    pub last_scrape: Option<Timestamp>,
    /// How long it took.
    pub last_scrape_duration: Duration,
    /// Up, down or not known yet.
    pub health: TargetHealth,
    /// Between two scrapes.
    pub scrape_interval: Duration,
    /// The longest that a scrape may take.
    pub scrape_timeout: Duration,
    /// What it said about its metrics, ascending by family, when that was asked for.
    pub metadata: Vec<TargetMetadata>,
}

/// How the newest scrape went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetHealth {
    /// Not scraped yet.
    Unknown,
    /// The newest scrape went well.
    Up,
    /// The newest scrape failed.
    Down,
}

impl TargetHealth {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// A target that relabelling dropped.
#[derive(Debug, Clone, PartialEq)]
pub struct DroppedTarget {
    /// Before relabelling.
    pub discovered_labels: Labels,
}

/// What a target, or who pushes, says about a metric family.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TargetMetadata {
    /// The family.
    pub family: String,
    /// `counter`, `gauge`, …, `unknown`
    pub kind: &'static str,
    /// The unit, as a rule empty.
    pub unit: String,
    /// The help text.
    pub help: String,
}

/// `/api/v1/targets`
pub(crate) fn targets(call: &Call) -> Success {
    let state = call.params.first("state").to_ascii_lowercase();
    let wants = |kind: &str| state.is_empty() || state == "any" || state == kind;
    let pool_name = call.params.first("scrapePool");
    let pools: Vec<TargetPool> = (call.state.targets)(WithMetadata::No)
        .into_iter()
        .filter(|pool| pool_name.is_empty() || pool.name == pool_name)
        .collect();

    let mut success = Success::new();
    let out = &mut success.body;
    out.extend_from_slice(b"{\"activeTargets\":[");
    if wants("active") {
        let targets = pools.iter().flat_map(|pool| {
            pool.active
                .iter()
                .map(|target| (pool.name.as_str(), target))
        });
        for (index, (pool, target)) in targets.enumerate() {
            if index > 0 {
                out.push(b',');
            }
            push_active(out, pool, target);
        }
    }
    out.extend_from_slice(b"],\"droppedTargets\":[");
    if wants("dropped") {
        let targets = pools.iter().flat_map(|pool| {
            pool.dropped
                .iter()
                .map(|target| (pool.name.as_str(), target))
        });
        for (index, (pool, target)) in targets.enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"discoveredLabels\":");
            push_map(out, target.discovered_labels.iter());
            push_field(out, "scrapePool", pool);
            out.push(b'}');
        }
    }
    out.extend_from_slice(b"],\"droppedTargetCounts\":");
    if wants("dropped") {
        out.push(b'{');
        for (index, pool) in pools.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            push_string(out, &pool.name, Escape::Html);
            out.push(b':');
            push_integer(out, pool.dropped_count as i64);
        }
        out.push(b'}');
    } else {
        out.extend_from_slice(b"null");
    }
    out.push(b'}');
    success
}

fn push_active(out: &mut Vec<u8>, pool: &str, target: &ActiveTarget) {
    out.extend_from_slice(b"{\"discoveredLabels\":");
    push_map(out, target.discovered_labels.iter());
    out.extend_from_slice(b",\"labels\":");
    push_labels(out, &target.labels);
    push_field(out, "scrapePool", pool);
    push_field(out, "scrapeUrl", &target.scrape_url);
    push_field(out, "globalUrl", &target.global_url);
    push_field(out, "lastError", &target.last_error);
    push_field(out, "lastScrape", &rfc3339(target.last_scrape));
    out.extend_from_slice(b",\"lastScrapeDuration\":");
    push_number(out, target.last_scrape_duration.as_secs_f64());
    push_field(out, "health", target.health.as_str());
    let interval = narthex_query::format_duration(target.scrape_interval);
    push_field(out, "scrapeInterval", &interval);
    let timeout = narthex_query::format_duration(target.scrape_timeout);
    push_field(out, "scrapeTimeout", &timeout);
    out.push(b'}');
}

/// Appends `,"name":"value"`.
pub(super) fn push_field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    push_string(out, value, Escape::Html);
}

/// Appends an object of texts in the order given.
pub(crate) fn push_map<'a>(out: &mut Vec<u8>, pairs: impl Iterator<Item = (&'a str, &'a str)>) {
    out.push(b'{');
    for (index, (name, value)) in pairs.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_string(out, name, Escape::Html);
        out.push(b':');
        push_string(out, value, Escape::Html);
    }
    out.push(b'}');
}

/// A time as Go prints it; its zero time for "never".
pub(crate) fn rfc3339(time: Option<Timestamp>) -> String {
    time.and_then(|time| jiff::Timestamp::from_millisecond(time).ok())
        .map_or_else(
            || "0001-01-01T00:00:00Z".to_owned(),
            |time| time.to_string(),
        )
}

/// `/api/v1/scrape_pools`
pub(crate) fn scrape_pools(call: &Call) -> Success {
    let mut names: Vec<String> = (call.state.targets)(WithMetadata::No)
        .into_iter()
        .map(|pool| pool.name)
        .collect();
    names.sort_unstable();
    let mut success = Success::new();
    success.body.extend_from_slice(b"{\"scrapePools\":");
    push_strings(&mut success.body, names);
    success.body.push(b'}');
    success
}

/// Metadata of all targets by family, each different entry once.
pub(super) fn metadata_by_family(pools: &[TargetPool]) -> BTreeMap<&str, Vec<&TargetMetadata>> {
    let mut families: BTreeMap<&str, Vec<&TargetMetadata>> = BTreeMap::new();
    let targets = pools.iter().flat_map(|pool| &pool.active);
    for metadata in targets.flat_map(|target| &target.metadata) {
        let entries = families.entry(&metadata.family).or_default();
        if !entries.contains(&metadata) {
            entries.push(metadata);
        }
    }
    families
}
