//! `file_sd_configs`: target groups in JSON and YAML files.
//!
//! Files are looked at every [`POLL_INTERVAL`] and read when their size or time of change differs,
//! and read in any case at each `refresh_interval`. A file that cannot be read keeps the groups it
//! had; a file that is gone takes its groups with it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use narthex_storage::Labels;
use serde_json::Value;
use tokio::sync::watch;
use tracing::error;

use crate::{
    clock::AsyncClock,
    config::{FileSdConfig, TargetGroup, io_reason, load_target_groups, matching_files},
};

/// How often files are looked at.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The label that names the file a target came from.
const FILEPATH_LABEL: &str = "__meta_filepath";

/// Watches the files of all `configs` and publishes `fixed` with their groups whenever they change.
#[expect(
    clippy::rc_buffer,
    reason = "the list is shared as it is and never grows"
)]
pub(super) async fn watch(
    fixed: Vec<TargetGroup>,
    configs: Vec<FileSdConfig>,
    clock: Arc<dyn AsyncClock>,
    groups: Arc<watch::Sender<Arc<Vec<TargetGroup>>>>,
) {
    let mut watched: Vec<WatchedFiles> = configs.into_iter().map(WatchedFiles::new).collect();
    loop {
        let now = clock.monotonic();
        let read = tokio::task::spawn_blocking(move || {
            let mut changed = false;
            for files in &mut watched {
                changed |= files.refresh(now);
            }
            (watched, changed)
        });
        let Ok((returned, changed)) = read.await else {
            // The runtime is shutting down.
            return;
        };
        watched = returned;
        if changed {
            let mut all = fixed.clone();
            all.extend(watched.iter().flat_map(WatchedFiles::groups).cloned());
            groups.send_if_modified(|current| {
                let differs = **current != all;
                if differs {
                    *current = Arc::new(all);
                }
                differs
            });
        }
        clock.sleep_until(now + POLL_INTERVAL).await;
    }
}

/// The files of one `file_sd_configs` entry.
struct WatchedFiles {
    config: FileSdConfig,
    /// When everything is read again, in monotonic time.
    refresh_at: Duration,
    files: BTreeMap<PathBuf, WatchedFile>,
}

/// What is known of one file.
#[derive(Default)]
struct WatchedFile {
    /// Size and time of change when it was last read.
    stamp: Option<(u64, SystemTime)>,
    groups: Vec<TargetGroup>,
}

impl WatchedFiles {
    fn new(config: FileSdConfig) -> Self {
        Self {
            config,
            refresh_at: Duration::ZERO,
            files: BTreeMap::new(),
        }
    }

    fn groups(&self) -> impl Iterator<Item = &TargetGroup> {
        self.files.values().flat_map(|file| &file.groups)
    }

    /// Looks at all files and reads what changed; answers whether any groups may have changed.
    fn refresh(&mut self, now: Duration) -> bool {
        let read_all = now >= self.refresh_at;
        if read_all {
            self.refresh_at = now + self.config.refresh_interval;
        }
        let mut changed = false;
        let mut present = BTreeMap::new();
        for pattern in &self.config.files {
            for path in matching_files(&pattern.to_string_lossy()).unwrap_or_default() {
                let mut file = present
                    .remove(&path)
                    .or_else(|| self.files.remove(&path))
                    .unwrap_or_default();
                changed |= file.refresh(&path, read_all);
                present.insert(path, file);
            }
        }
        // What is left has no file any more.
        changed |= !self.files.is_empty();
        self.files = present;
        changed
    }
}

impl WatchedFile {
    fn refresh(&mut self, path: &Path, read_anyway: bool) -> bool {
        let stamp = std::fs::metadata(path)
            .and_then(|metadata| Ok((metadata.len(), metadata.modified()?)))
            .ok();
        if !read_anyway && stamp == self.stamp {
            return false;
        }
        self.stamp = stamp;
        match read_groups(path) {
            Ok(groups) => {
                self.groups = groups;
                true
            }
            Err(reason) => {
                error!(path = %path.display(), err = %reason, "Error reading file");
                false
            }
        }
    }
}

/// Reads a file of target groups, JSON or YAML by its ending. The source of a group is the file and
/// its position.
///
/// # Errors
/// A sentence in Prometheus's words.
pub(crate) fn read_groups(path: &Path) -> Result<Vec<TargetGroup>, String> {
    let opened = |error: &std::io::Error| format!("open {}: {}", path.display(), io_reason(error));
    let length = std::fs::metadata(path)
        .map_err(|error| opened(&error))?
        .len();
    if length > FILE_BYTES_MAX {
        return Err(format!(
            "{} has {length} bytes, more than the {FILE_BYTES_MAX} that are read: split it",
            path.display()
        ));
    }
    let bytes = std::fs::read(path).map_err(|error| opened(&error))?;
    let is_json = path
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
    let mut groups = if is_json {
        json_groups(&bytes, path)?
    } else {
        load_target_groups(&bytes, path).map_err(|error| error.message().to_owned())?
    };
    let path = path.to_string_lossy();
    for group in &mut groups {
        let mut labels = group.labels.to_builder();
        labels.set(FILEPATH_LABEL, &path);
        group.labels = labels.build();
    }
    Ok(groups)
}

fn json_groups(bytes: &[u8], path: &Path) -> Result<Vec<TargetGroup>, String> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let items = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(items) => items,
        other => {
            return Err(format!(
                "json: cannot unmarshal {} into Go value of type []*targetgroup.Group",
                json_kind(&other)
            ));
        }
    };
    items
        .into_iter()
        .enumerate()
        .map(|(index, item)| json_group(item, index, path))
        .collect()
}

fn json_group(item: Value, index: usize, path: &Path) -> Result<TargetGroup, String> {
    let fields = match item {
        Value::Null => return Err(format!("nil target group item found (index {index})")),
        Value::Object(fields) => fields,
        other => {
            return Err(format!(
                "json: cannot unmarshal {} into Go value of type targetgroup.Group",
                json_kind(&other)
            ));
        }
    };
    let mut group = TargetGroup {
        source: format!("{}:{index}", path.display()),
        ..TargetGroup::default()
    };
    for (name, value) in fields {
        // Go matches the names of fields in any case.
        match (name.to_ascii_lowercase().as_str(), value) {
            ("targets" | "labels", Value::Null) => {}
            ("targets", Value::Array(items)) => {
                for item in items {
                    let address = json_text(&item, "targets")?;
                    group
                        .targets
                        .push(Labels::from_pairs([("__address__", address)]));
                }
            }
            ("labels", Value::Object(labels)) => {
                let mut pairs = Vec::with_capacity(labels.len());
                for (name, value) in &labels {
                    if name.is_empty() {
                        return Err("\"\" is not a valid label name".to_owned());
                    }
                    pairs.push((name, json_text(value, "labels")?));
                }
                group.labels = Labels::from_pairs(pairs);
            }
            ("targets" | "labels", other) => {
                return Err(format!(
                    "json: cannot unmarshal {} into Go struct field .{name}",
                    json_kind(&other)
                ));
            }
            _ => return Err(format!("json: unknown field {name:?}")),
        }
    }
    Ok(group)
}

fn json_text<'a>(value: &'a Value, field: &str) -> Result<&'a str, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Null => Ok(""),
        other => Err(format!(
            "json: cannot unmarshal {} into Go struct field .{field} of type string",
            json_kind(other)
        )),
    }
}

fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{clock::SetClock, config::DiscoveryConfigs, discovery::JobDiscovery};

    /// Groups as text, without the folder.
    fn shown(groups: &[TargetGroup], folder: &Path) -> Vec<String> {
        let folder = format!("{}/", folder.display());
        groups
            .iter()
            .map(|group| {
                format!("{} {:?} {:?}", group.source, group.targets, group.labels)
                    .replace(&folder, "")
            })
            .collect()
    }

    #[test]
    fn json_and_yaml_say_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let check = |name: &str, text: &str, expected: Result<&[&str], &str>| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            let found = read_groups(&path).map(|groups| shown(&groups, folder.path()));
            let expected = expected
                .map(|lines| {
                    lines
                        .iter()
                        .map(|line| (*line).to_owned())
                        .collect::<Vec<_>>()
                })
                .map_err(str::to_owned);
            assert_eq!(found, expected, "{text}");
        };
        let group = |name: &str| {
            format!(
                r#"{name}:0 [{{__address__="a:1"}}, {{__address__="b:2"}}] {{__meta_filepath="{name}", x="y"}}"#
            )
        };
        check(
            "a.json",
            r#"[{"targets": ["a:1", "b:2"], "labels": {"x": "y"}}]"#,
            Ok(&[&group("a.json")]),
        );
        check(
            "a.yml",
            "- targets: ['a:1', b:2]\n  labels: {x: y}\n",
            Ok(&[&group("a.yml")]),
        );
        check("b.json", "[]", Ok(&[]));
        check("b.yaml", "", Ok(&[]));
        check(
            "c.json",
            r#"[{"targets": ["a:1"], "foo": 1}]"#,
            Err("json: unknown field \"foo\""),
        );
        check(
            "c.json",
            "[null]",
            Err("nil target group item found (index 0)"),
        );
        check(
            "c.yml",
            "- targets: [a]\n  foo: 1\n",
            Err(
                "yaml: unmarshal errors:\n  line 2: field foo not found in type struct { Targets []string \"yaml:\\\"targets\\\"\"; Labels model.LabelSet \"yaml:\\\"labels\\\"\" }",
            ),
        );
    }

    #[tokio::test]
    async fn files_are_watched_and_a_broken_one_keeps_its_last_groups() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("a.json", r#"[{"targets": ["a:1"]}]"#);
        let configs = DiscoveryConfigs {
            static_configs: vec![TargetGroup {
                source: "0".to_owned(),
                ..TargetGroup::default()
            }],
            file_sd_configs: vec![FileSdConfig {
                files: vec![folder.path().join("*.json")],
                refresh_interval: Duration::from_mins(5),
            }],
            other: Vec::new(),
        };
        let set_clock = SetClock::new(0);
        let clock: Arc<dyn AsyncClock> = Arc::new(set_clock.clone());
        let discovery = JobDiscovery::start(&configs, &clock);
        let mut groups = discovery.groups();
        // Each step changes something, lets time pass and waits for the list to say `expected`.
        let mut expect = async |expected: &[&str]| {
            let wanted: Vec<String> = expected.iter().map(|line| (*line).to_owned()).collect();
            let waiting = async {
                loop {
                    if shown(&groups.borrow_and_update(), folder.path()) == wanted {
                        return;
                    }
                    set_clock.advance(POLL_INTERVAL);
                    tokio::select! {
                        changed = groups.changed() => changed.unwrap(),
                        () = tokio::time::sleep(Duration::from_millis(5)) => {}
                    }
                }
            };
            let found = tokio::time::timeout(Duration::from_secs(20), waiting).await;
            assert!(
                found.is_ok(),
                "expected {wanted:?}, found {:?}",
                shown(&discovery.groups().borrow(), folder.path())
            );
        };
        let fixed = "0 [] {}";
        let a = r#"a.json:0 [{__address__="a:1"}] {__meta_filepath="a.json"}"#;
        let b = r#"b.json:0 [{__address__="b:22"}] {__meta_filepath="b.json"}"#;
        expect(&[fixed, a]).await;
        write("b.json", r#"[{"targets": ["b:22"]}]"#);
        expect(&[fixed, a, b]).await;
        write("a.json", "[broken");
        write("c.json", r#"[{"targets": ["c:333"]}]"#);
        let c = r#"c.json:0 [{__address__="c:333"}] {__meta_filepath="c.json"}"#;
        expect(&[fixed, a, b, c]).await;
        fs::remove_file(folder.path().join("b.json")).unwrap();
        expect(&[fixed, a, c]).await;
    }
}
