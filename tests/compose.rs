//! The compose stack under `docker/`: what its files say about each other.

use std::{fs, path::Path};

use tempfile::TempDir;

use crate::harness::run;

/// The files are laid out as the compose file mounts them, and `promtool check config` reads them.
#[test]
fn the_stack_checks_as_it_is_mounted() {
    let docker = Path::new(env!("CARGO_MANIFEST_DIR")).join("docker");
    let compose = fs::read_to_string(docker.join("docker-compose.yml")).unwrap();
    let container = TempDir::new().unwrap();
    let mut mounted = Vec::new();
    for line in compose.lines() {
        if let Some(mount) = line.trim().strip_prefix("- ./")
            && let Some((file, path)) = mount.trim_end_matches(":ro").split_once(':')
            && let Some(name) = path.strip_prefix("/etc/prometheus/")
        {
            fs::copy(docker.join(file), container.path().join(name)).unwrap();
            mounted.push(name.to_owned());
        }
    }
    assert_eq!(mounted, ["prometheus.yml", "rules.yml"]);
    let checked = run(
        container.path(),
        &["promtool", "check", "config", "prometheus.yml"],
    );
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(
        checked.stdout.contains("  SUCCESS: 1 rule files found\n"),
        "{checked:?}"
    );
    let checked = run(
        container.path(),
        &["promtool", "check", "rules", "rules.yml"],
    );
    assert_eq!(
        (checked.code, checked.stdout.as_str()),
        (Some(0), "Checking rules.yml\n  SUCCESS: 6 rules found\n\n"),
        "{checked:?}"
    );
    // The Alertmanager that the configuration names is a service of the stack.
    let config = fs::read_to_string(container.path().join("prometheus.yml")).unwrap();
    assert!(config.contains(
        "alertmanagers:\n    - static_configs:\n        - targets: [\"alertmanager:9093\"]"
    ));
    assert!(compose.contains("\n  alertmanager:\n"));
}
