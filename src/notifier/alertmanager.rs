//! Which Alertmanagers discovery found, and where alerts are posted to.
//!
//! Source: Prometheus `notifier/alertmanager.go`; observed in 3.5.3.

use narthex_storage::{Labels, LabelsBuilder};
use url::Url;

use crate::{
    config::{AlertmanagerConfig, TargetGroup},
    relabel,
};

const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const ALERTS_PATH: &str = "__alerts_path__";

/// Where one Alertmanager takes alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// What is asked.
    pub(super) url: Url,
    /// The address as configured: default ports stay visible. It names the Alertmanager in metrics,
    /// logs and the API.
    pub(super) shown: String,
}

/// What became of the discovered Alertmanagers of one section.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Each address once, in the order of discovery.
    pub(super) active: Vec<Endpoint>,
    /// Addresses that relabelling dropped.
    pub(super) dropped: Vec<String>,
    /// Why others cannot be used.
    pub(super) problems: Vec<String>,
}

/// Relabels every Alertmanager of `groups`.
pub(super) fn find(config: &AlertmanagerConfig, groups: &[TargetGroup]) -> Found {
    let mut found = Found::default();
    let path = alerts_path(&config.path_prefix);
    for group in groups {
        for target in &group.targets {
            let mut labels = discovered(config, &path, group, target);
            let before = shown(&labels);
            if !relabel::process(&config.relabel_configs, &mut labels) {
                found.dropped.push(before);
                continue;
            }
            match endpoint(&labels) {
                Ok(endpoint) if found.active.contains(&endpoint) => {}
                Ok(endpoint) => found.active.push(endpoint),
                Err(problem) => found.problems.push(problem),
            }
        }
    }
    found
}

/// Whether each Alertmanager of `group` that relabelling keeps has the address of a host.
///
/// # Errors
/// The first that has none, in Prometheus's words.
///
/// Source: Prometheus `cmd/promtool/main.go`, `checkTargetGroupsForAlertmanager`; observed in 3.5.3.
pub(crate) fn check_addresses(
    config: &AlertmanagerConfig,
    group: &TargetGroup,
) -> Result<(), String> {
    let path = alerts_path(&config.path_prefix);
    for target in &group.targets {
        let mut labels = discovered(config, &path, group, target);
        if relabel::process(&config.relabel_configs, &mut labels) {
            check_address(text(&labels, ADDRESS))?;
        }
    }
    Ok(())
}

/// What is known of an Alertmanager before it is relabelled.
fn discovered(
    config: &AlertmanagerConfig,
    path: &str,
    group: &TargetGroup,
    target: &Labels,
) -> LabelsBuilder {
    let mut labels = group.labels.to_builder();
    for (name, value) in target.iter() {
        labels.set(name, value);
    }
    // These win over what discovery says; over a group's labels they do not, as upstream.
    for (name, value) in [(SCHEME, config.scheme.as_str()), (ALERTS_PATH, path)] {
        if target.get(name).is_some() || group.labels.get(name).is_none() {
            labels.set(name, value);
        }
    }
    labels
}

fn check_address(address: &str) -> Result<(), String> {
    if address.contains('/') {
        return Err(format!("\"{address}\" is not a valid hostname"));
    }
    Ok(())
}

/// `/api/v2/alerts` behind the prefix, without empty, `.` and `..` segments.
fn alerts_path(prefix: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in prefix.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    segments.extend(["api", "v2", "alerts"]);
    format!("/{}", segments.join("/"))
}

fn text<'a>(labels: &'a LabelsBuilder, name: &str) -> &'a str {
    labels.get(name).unwrap_or_default()
}

fn shown(labels: &LabelsBuilder) -> String {
    endpoint(labels).map_or_else(
        |_| {
            let (scheme, address) = (text(labels, SCHEME), text(labels, ADDRESS));
            format!("{scheme}://{address}{}", text(labels, ALERTS_PATH))
        },
        |endpoint| endpoint.shown,
    )
}

fn endpoint(labels: &LabelsBuilder) -> Result<Endpoint, String> {
    let address = text(labels, ADDRESS);
    if address.is_empty() {
        return Err("no address".to_owned());
    }
    check_address(address)?;
    let scheme = text(labels, SCHEME);
    if scheme != "http" && scheme != "https" {
        return Err(format!("unsupported protocol scheme \"{scheme}\""));
    }
    let base = format!("{scheme}://{address}");
    let mut url = Url::parse(&base).map_err(|error| format!("\"{base}\": {error}"))?;
    url.set_path(text(labels, ALERTS_PATH));
    let shown = format!("{base}{}", url.path());
    Ok(Endpoint { url, shown })
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::relabel::{Action, RelabelConfig};

    /// Observed in Prometheus 3.5.3's `/api/v1/alertmanagers` for such a configuration.
    #[test]
    fn addresses_become_urls_once_each_or_are_dropped() {
        let config = AlertmanagerConfig {
            path_prefix: "/pre//fix/../x/".to_owned(),
            relabel_configs: vec![
                RelabelConfig {
                    source_labels: vec![ADDRESS.to_owned()],
                    regex: Some(narthex_storage::Regex::new(".*:9399").unwrap()),
                    action: Action::Drop,
                    ..RelabelConfig::default()
                },
                RelabelConfig {
                    source_labels: vec!["where".to_owned()],
                    regex: Some(narthex_storage::Regex::new("(.+)").unwrap()),
                    target_label: ALERTS_PATH.to_owned(),
                    ..RelabelConfig::default()
                },
            ],
            ..AlertmanagerConfig::default()
        };
        let address = |address| Labels::from_pairs([(ADDRESS, address)]);
        let group = TargetGroup {
            source: "0".to_owned(),
            labels: Labels::empty(),
            targets: vec![
                address("a:80"),
                address("a:80"),
                address("localhost"),
                address("b:9399"),
                address("c/d"),
                Labels::from_pairs([(ADDRESS, "[::1]:9093"), ("where", "/a b")]),
            ],
        };
        let found = find(&config, &[group]);
        let active: Vec<&str> = found.active.iter().map(|one| one.shown.as_str()).collect();
        assert_eq!(
            active,
            [
                "http://a:80/pre/x/api/v2/alerts",
                "http://localhost/pre/x/api/v2/alerts",
                "http://[::1]:9093/a%20b",
            ]
        );
        assert_eq!(found.dropped, ["http://b:9399/pre/x/api/v2/alerts"]);
        assert_eq!(found.problems, ["\"c/d\" is not a valid hostname"]);
    }
}
