//! What a target is: the labels its series carry, where and how often it is scraped.

use std::{hash::BuildHasher as _, time::Duration};

use narthex_query::{DurationError, parse_duration};
use narthex_storage::{Labels, LabelsBuilder};
use url::Url;

use crate::{config::ScrapeConfig, config::TargetGroup, relabel};

const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const METRICS_PATH: &str = "__metrics_path__";
const SCRAPE_INTERVAL: &str = "__scrape_interval__";
const SCRAPE_TIMEOUT: &str = "__scrape_timeout__";
const PARAM_PREFIX: &str = "__param_";

/// Where a target is scraped.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ScrapeUrl {
    /// What is asked.
    pub(crate) url: Url,
    /// The address as configured: default ports stay visible.
    pub(crate) shown: String,
}

/// One target after relabelling.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TargetSpec {
    /// What its series carry.
    pub(crate) labels: Labels,
    /// What discovery said, before relabelling.
    pub(crate) discovered: Labels,
    /// Where it is scraped.
    pub(crate) url: ScrapeUrl,
    /// How often it is scraped.
    pub(crate) interval: Duration,
    /// How long a scrape may take.
    pub(crate) timeout: Duration,
}

impl TargetSpec {
    /// What makes it the same target across reloads and restarts: job, address and labels. Two
    /// targets that are equal in this would write the same series.
    pub(crate) fn key(&self, job: &str) -> String {
        format!("{job:?} {} {}", self.url.shown, self.labels)
    }
}

/// Where in its interval a target is scraped, in nanoseconds: spread evenly over all targets, the
/// same after each restart.
pub(crate) fn offset(key: &str, seed: u64, interval: Duration) -> Duration {
    let hash = foldhash::fast::FixedState::with_seed(seed).hash_one(key);
    let interval = u64::try_from(interval.as_nanos())
        .unwrap_or(u64::MAX)
        .max(1);
    Duration::from_nanos(hash % interval)
}

/// What becomes of one discovered target.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Relabelled {
    /// It is scraped.
    Active(Box<TargetSpec>),
    /// A relabelling rule dropped it; what discovery said about it.
    Dropped(Labels),
    /// It cannot be scraped, and why.
    Invalid(String),
}

/// Every target of `group`, relabelled by the rules of `job`.
///
/// Source: Prometheus `scrape/target.go`, `PopulateLabels`; observed in 3.5.3.
pub(crate) fn relabel_group(job: &ScrapeConfig, group: &TargetGroup) -> Vec<Relabelled> {
    let relabelled = group.targets.iter().map(|target| {
        let mut labels = discovered(job, group, target);
        let discovered = labels.build();
        if !relabel::process(&job.relabel_configs, &mut labels) {
            return Relabelled::Dropped(discovered);
        }
        match spec(job, &labels, discovered) {
            Ok(spec) => Relabelled::Active(Box::new(spec)),
            Err(problem) => Relabelled::Invalid(problem),
        }
    });
    relabelled.collect()
}

/// The first target of `group` whose labels say nothing that can be scraped: its place in the group, and why. What
/// only its URL tells is not looked at.
///
/// Source: Prometheus `cmd/promtool/main.go`, `checkTargetGroupsForScrapeConfig`; observed in 3.5.3.
pub(crate) fn first_problem(job: &ScrapeConfig, group: &TargetGroup) -> Option<(usize, String)> {
    let targets = group.targets.iter().enumerate();
    let mut problems = targets.filter_map(|(place, target)| {
        let mut labels = discovered(job, group, target);
        let is_kept = relabel::process(&job.relabel_configs, &mut labels);
        let problem = when(&labels).err().filter(|_| is_kept)?;
        Some((place, problem))
    });
    problems.next()
}

/// What is known of a target before it is relabelled.
fn discovered(job: &ScrapeConfig, group: &TargetGroup, target: &Labels) -> LabelsBuilder {
    let mut labels = group.labels.to_builder();
    for (name, value) in target.iter() {
        labels.set(name, value);
    }
    let interval = narthex_query::format_duration(job.scrape_interval);
    let timeout = narthex_query::format_duration(job.scrape_timeout);
    for (name, value) in [
        ("job", job.job_name.as_str()),
        (SCRAPE_INTERVAL, &interval),
        (SCRAPE_TIMEOUT, &timeout),
        (METRICS_PATH, &job.metrics_path),
        (SCHEME, &job.scheme),
    ] {
        if labels.get(name).is_none() {
            labels.set(name, value);
        }
    }
    for (name, values) in &job.params {
        let name = format!("{PARAM_PREFIX}{name}");
        if let (Some(first), None) = (values.first(), labels.get(&name)) {
            labels.set(&name, first);
        }
    }
    labels
}

/// The interval and the timeout of a relabelled target that has an address.
fn when(labels: &LabelsBuilder) -> Result<(Duration, Duration), String> {
    let text = |name| labels.get(name).unwrap_or_default();
    let address = text(ADDRESS);
    if address.is_empty() {
        return Err("no address".to_owned());
    }
    if address.contains('/') {
        return Err(format!("\"{address}\" is not a valid hostname"));
    }
    let duration = |name, what: &str| {
        let parsed = parse_duration(text(name));
        let parsed =
            parsed.map_err(|error: DurationError| format!("error parsing {what}: {error}"))?;
        if parsed.is_zero() {
            return Err(format!("{what} cannot be 0"));
        }
        Ok(parsed)
    };
    let interval = duration(SCRAPE_INTERVAL, "scrape interval")?;
    let timeout = duration(SCRAPE_TIMEOUT, "scrape timeout")?;
    if timeout > interval {
        return Err(format!(
            "scrape timeout cannot be greater than scrape interval (\"{}\" > \"{}\")",
            text(SCRAPE_TIMEOUT),
            text(SCRAPE_INTERVAL)
        ));
    }
    Ok((interval, timeout))
}

fn spec(
    job: &ScrapeConfig,
    labels: &LabelsBuilder,
    discovered: Labels,
) -> Result<TargetSpec, String> {
    let (interval, timeout) = when(labels)?;
    let address = labels.get(ADDRESS).unwrap_or_default();
    let url = scrape_url(job, labels, address)?;
    let mut public = labels.clone();
    if public.get("instance").is_none() {
        public.set("instance", address);
    }
    public.retain(|name, _| !name.starts_with("__"));
    Ok(TargetSpec {
        labels: public.build(),
        discovered,
        url,
        interval,
        timeout,
    })
}

fn scrape_url(
    job: &ScrapeConfig,
    labels: &LabelsBuilder,
    address: &str,
) -> Result<ScrapeUrl, String> {
    let scheme = labels.get(SCHEME).unwrap_or_default();
    if scheme != "http" && scheme != "https" {
        return Err(format!("unsupported protocol scheme \"{scheme}\""));
    }
    let base = format!("{scheme}://{address}");
    let mut url = Url::parse(&base).map_err(|error| format!("\"{base}\": {error}"))?;
    url.set_path(labels.get(METRICS_PATH).unwrap_or_default());
    let mut params = job.params.clone();
    for (name, value) in labels.iter() {
        if let Some(name) = name.strip_prefix(PARAM_PREFIX) {
            let values = params.entry(name.to_owned()).or_default();
            match values.first_mut() {
                Some(first) => value.clone_into(first),
                None => values.push(value.to_owned()),
            }
        }
    }
    if params.values().any(|values| !values.is_empty()) {
        let mut query = url.query_pairs_mut();
        for (name, values) in &params {
            for value in values {
                query.append_pair(name, value);
            }
        }
    }
    let query = url.query().map(|query| format!("?{query}"));
    let shown = format!("{base}{}{}", url.path(), query.unwrap_or_default());
    Ok(ScrapeUrl { url, shown })
}
