//! Reads where targets come from: `static_configs`, `file_sd_configs` and the other mechanisms.

use std::{path::PathBuf, rc::Rc, time::Duration};

use narthex_storage::{Labels, LabelsBuilder};

use narthex_yaml::{Field, Node, Position, Problem};

use crate::config::{DiscoveryConfigs, FileSdConfig, OtherDiscovery, TargetGroup, decode::Decoder};

/// Every other mechanism of Prometheus 3.14.
const OTHER_MECHANISMS: [&str; 33] = [
    "aws_sd_configs",
    "azure_sd_configs",
    "consul_sd_configs",
    "digitalocean_sd_configs",
    "dns_sd_configs",
    "docker_sd_configs",
    "dockerswarm_sd_configs",
    "ec2_sd_configs",
    "ecs_sd_configs",
    "eureka_sd_configs",
    "gce_sd_configs",
    "hetzner_sd_configs",
    "http_sd_configs",
    "ionos_sd_configs",
    "kubernetes_sd_configs",
    "kuma_sd_configs",
    "lightsail_sd_configs",
    "linode_sd_configs",
    "marathon_sd_configs",
    "msk_sd_configs",
    "nerve_sd_configs",
    "nomad_sd_configs",
    "oci_sd_configs",
    "openstack_sd_configs",
    "outscale_sd_configs",
    "ovhcloud_sd_configs",
    "puppetdb_sd_configs",
    "scaleway_sd_configs",
    "serverset_sd_configs",
    "stackit_sd_configs",
    "triton_sd_configs",
    "uyuni_sd_configs",
    "vultr_sd_configs",
];

/// What a static target group is called in Go's messages.
const GROUP_TYPE: &str = "struct { Targets []string \"yaml:\\\"targets\\\"\"; Labels model.LabelSet \"yaml:\\\"labels\\\"\" }";

/// Discovery as it is read, with the place of each static target.
#[derive(Default)]
pub(super) struct DiscoveryDraft {
    pub(super) configs: DiscoveryConfigs,
    addresses: Vec<(String, Position)>,
}

impl DiscoveryDraft {
    /// Takes a field if it belongs here; answers whether it did.
    pub(super) fn field(&mut self, decoder: &mut Decoder, field: &Field) -> Result<bool, Problem> {
        let name = field.name.as_str();
        match name {
            "static_configs" => {
                for item in decoder.items(&field.value, "[]*targetgroup.Group") {
                    let source = self.configs.static_configs.len().to_string();
                    let group = target_group(decoder, item, source, &mut self.addresses)?;
                    self.configs.static_configs.push(group);
                }
            }
            "file_sd_configs" => {
                for item in decoder.items(&field.value, "[]*file.SDConfig") {
                    let config = file_sd(decoder, item)?;
                    self.configs.file_sd_configs.push(config);
                }
            }
            _ => {
                let Some(key) = OTHER_MECHANISMS.into_iter().find(|key| *key == name) else {
                    return Ok(false);
                };
                if !decoder.items(&field.value, "[]discovery.Config").is_empty() {
                    self.configs.other.push(OtherDiscovery { key });
                }
            }
        }
        Ok(true)
    }

    /// Refuses URLs among the static targets.
    pub(super) fn check_addresses(&self) -> Result<(), Problem> {
        match self.addresses.iter().find(|(text, _)| text.contains('/')) {
            Some((text, at)) => Err(Problem::value(
                *at,
                format!("{text:?} is not a valid hostname"),
            )),
            None => Ok(()),
        }
    }
}

/// Reads one target group, of a configuration or of a discovered file.
pub(super) fn target_group(
    decoder: &mut Decoder,
    node: &Rc<Node>,
    source: String,
    addresses: &mut Vec<(String, Position)>,
) -> Result<TargetGroup, Problem> {
    let mut group = TargetGroup {
        source,
        ..TargetGroup::default()
    };
    for field in decoder.fields(node, GROUP_TYPE)? {
        match field.name.as_str() {
            "targets" => {
                group.targets.clear();
                for item in decoder.items(&field.value, "[]string") {
                    let address = decoder.text(item);
                    group
                        .targets
                        .push(Labels::from_pairs([("__address__", &address)]));
                    addresses.push((address, item.position));
                }
            }
            "labels" => group.labels = label_set(decoder, &field.value)?,
            _ => decoder.unknown_field(&field, GROUP_TYPE),
        }
    }
    Ok(group)
}

/// Reads a set of labels.
pub(super) fn label_set(decoder: &mut Decoder, node: &Rc<Node>) -> Result<Labels, Problem> {
    let mut labels = LabelsBuilder::default();
    for entry in decoder.map(node, "model.LabelSet")? {
        if entry.name.is_empty() {
            return Err(Problem::section(
                entry.key.position,
                "\"\" is not a valid label name",
            ));
        }
        labels.set(&entry.name, &decoder.text(&entry.value));
    }
    Ok(labels.build())
}

fn file_sd(decoder: &mut Decoder, node: &Rc<Node>) -> Result<FileSdConfig, Problem> {
    let before = decoder.issue_count();
    let mut config = FileSdConfig {
        files: Vec::new(),
        refresh_interval: Duration::from_mins(5),
    };
    let mut files = Vec::new();
    for field in decoder.fields(node, "file.plain")? {
        match field.name.as_str() {
            "files" => {
                let items = decoder.items(&field.value, "[]string");
                files = items
                    .iter()
                    .map(|item| (decoder.text(item), item.position))
                    .collect();
            }
            "refresh_interval" => config.refresh_interval = decoder.duration(&field.value)?,
            _ => decoder.unknown_field(&field, "file.plain"),
        }
    }
    if decoder.issue_count() > before {
        return Ok(config);
    }
    if files.is_empty() {
        return Err(Problem::section(
            node.position,
            "file service discovery config must contain at least one path name",
        ));
    }
    for (text, at) in files {
        if !is_discovery_path(&text) {
            return Err(Problem::value(
                at,
                format!("path name {text:?} is not valid for file discovery"),
            ));
        }
        config.files.push(PathBuf::from(decoder.resolve(&text)));
    }
    Ok(config)
}

/// Whether a path may name discovered files: a known ending, and stars in the last part only.
fn is_discovery_path(text: &str) -> bool {
    let known = [".json", ".yml", ".yaml", ".JSON", ".YML", ".YAML"]
        .iter()
        .any(|ending| text.ends_with(ending));
    known && stars_in_last_part_only(text)
}

/// Whether no folder follows the first star of a pattern.
pub(super) fn stars_in_last_part_only(text: &str) -> bool {
    text.split_once('*')
        .is_none_or(|(_, behind)| !behind.contains('/'))
}
