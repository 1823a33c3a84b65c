//! Scrape pools as the API shows them.

use std::net::SocketAddr;

use url::{Host, Url};

use crate::{
    api::{self, WithMetadata},
    scrape::{PoolReport, TargetHealth, TargetReport},
};

/// Turns what scraping reports into what `/api/v1/targets` answers.
pub(super) fn target_pool(
    report: PoolReport,
    external_url: &Url,
    own: SocketAddr,
    with_metadata: WithMetadata,
) -> api::TargetPool {
    api::TargetPool {
        name: report.name,
        active: report
            .active
            .into_iter()
            .map(|target| active_target(target, external_url, own, with_metadata))
            .collect(),
        dropped: report
            .dropped
            .into_iter()
            .map(|discovered_labels| api::DroppedTarget { discovered_labels })
            .collect(),
        dropped_count: report.dropped_count,
    }
}

fn active_target(
    target: TargetReport,
    external_url: &Url,
    own: SocketAddr,
    with_metadata: WithMetadata,
) -> api::ActiveTarget {
    let metadata = match with_metadata {
        WithMetadata::Yes => target.metadata(),
        WithMetadata::No => std::collections::BTreeMap::new(),
    };
    let metadata = metadata
        .into_iter()
        .map(|(family, metadata)| api::TargetMetadata {
            family,
            kind: metadata.kind.as_str(),
            unit: metadata.unit,
            help: metadata.help,
        })
        .collect();
    api::ActiveTarget {
        global_url: global_url(&target.scrape_url, external_url, own),
        discovered_labels: target.discovered_labels,
        labels: target.labels,
        scrape_url: target.scrape_url,
        last_error: target.status.last_error,
        last_scrape: target.status.last_scrape,
        last_scrape_duration: target.status.last_scrape_duration,
        health: match target.status.health {
            TargetHealth::Unknown => api::TargetHealth::Unknown,
            TargetHealth::Up => api::TargetHealth::Up,
            TargetHealth::Down => api::TargetHealth::Down,
        },
        scrape_interval: target.scrape_interval,
        scrape_timeout: target.scrape_timeout,
        metadata,
    }
}

/// The target's URL as seen from another machine: a loopback host becomes the one of the external
/// URL, and our own port becomes the external URL's whole authority.
///
/// Source: observed in Prometheus 3.5.3.
fn global_url(scrape_url: &str, external_url: &Url, own: SocketAddr) -> String {
    let Ok(mut url) = Url::parse(scrape_url) else {
        return scrape_url.to_owned();
    };
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address == std::net::Ipv4Addr::LOCALHOST,
        Some(Host::Ipv6(address)) => address == std::net::Ipv6Addr::LOCALHOST,
        None => false,
    };
    if !is_loopback {
        return scrape_url.to_owned();
    }
    let is_own = url.port_or_known_default() == Some(own.port());
    let mut changed = url.set_host(external_url.host_str()).is_ok();
    if is_own {
        changed &= url.set_scheme(external_url.scheme()).is_ok();
        changed &= url.set_port(external_url.port()).is_ok();
    }
    if changed {
        url.to_string()
    } else {
        scrape_url.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_targets_are_shown_under_the_external_name() {
        let external = Url::parse("https://mon.example.org/prom").unwrap();
        let own: SocketAddr = "127.0.0.1:9090".parse().unwrap();
        for (scraped, expected) in [
            (
                "http://localhost:9090/metrics",
                "https://mon.example.org/metrics",
            ),
            (
                "http://127.0.0.1:9100/metrics",
                "http://mon.example.org:9100/metrics",
            ),
            (
                "http://[::1]:9100/m?x=1",
                "http://mon.example.org:9100/m?x=1",
            ),
            ("http://node:9100/metrics", "http://node:9100/metrics"),
        ] {
            assert_eq!(global_url(scraped, &external, own), expected);
        }
    }
}
