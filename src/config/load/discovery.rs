//! Reads where targets come from: `static_configs`, `file_sd_configs` and the other mechanisms.

use std::{path::PathBuf, rc::Rc, time::Duration};

use narthex_storage::{Labels, LabelsBuilder};

use narthex_yaml::{Field, Node, Position, Problem, is_null};

use super::{mechanisms::MECHANISMS, schema::check_section};
use crate::config::{DiscoveryConfigs, FileSdConfig, OtherDiscovery, TargetGroup, decode::Decoder};

/// What a static target group is called in Go's messages.
const GROUP_TYPE: &str = "struct { Targets []string \"yaml:\\\"targets\\\"\"; Labels model.LabelSet \"yaml:\\\"labels\\\"\" }";

/// Discovery as it is read, with the place of each static target.
#[derive(Default)]
pub(super) struct DiscoveryDraft {
    pub(super) configs: DiscoveryConfigs,
    addresses: Vec<(String, Position)>,
    /// Items without content: the key of their list and where they stand.
    empty: Vec<(&'static str, Position)>,
}

impl DiscoveryDraft {
    /// Takes a field if it belongs here; answers whether it did.
    pub(super) fn field(&mut self, decoder: &mut Decoder, field: &Field) -> Result<bool, Problem> {
        match field.name.as_str() {
            "static_configs" => {
                for item in self.items(decoder, field, "static_configs", "[]*targetgroup.Group") {
                    let source = self.configs.static_configs.len().to_string();
                    let group = target_group(decoder, item, source, &mut self.addresses)?;
                    self.configs.static_configs.push(group);
                }
            }
            "file_sd_configs" => {
                for item in self.items(decoder, field, "file_sd_configs", "[]*file.SDConfig") {
                    let config = file_sd(decoder, item)?;
                    self.configs.file_sd_configs.push(config);
                }
            }
            name => {
                let Some(mechanism) = MECHANISMS.iter().find(|known| known.key == name) else {
                    return Ok(false);
                };
                let items = self.items(decoder, field, mechanism.key, mechanism.list_type);
                for item in &items {
                    check_section(decoder, item, &mechanism.section)?;
                }
                if !items.is_empty() {
                    let key = mechanism.key;
                    self.configs.other.push(OtherDiscovery { key });
                }
            }
        }
        Ok(true)
    }

    /// The items of a list that have content; the others are noted.
    fn items<'a>(
        &mut self,
        decoder: &mut Decoder,
        field: &'a Field,
        key: &'static str,
        list_type: &str,
    ) -> Vec<&'a Rc<Node>> {
        let items = decoder.items(&field.value, list_type).iter();
        let (empty, full) = items.partition::<Vec<_>, _>(|item| is_null(item));
        self.empty
            .extend(empty.into_iter().map(|item| (key, item.position)));
        full
    }

    /// Refuses items without content.
    pub(super) fn check_items(&self) -> Result<(), Problem> {
        match self.empty.iter().min_by_key(|(key, _)| *key) {
            Some((key, at)) => Err(Problem::section(
                *at,
                format!("empty or null section in {key}"),
            )),
            None => Ok(()),
        }
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
