//! From YAML nodes to values: the strict decoder with what only a configuration has, secrets, paths,
//! durations and sizes.

use std::{
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    time::Duration,
};

use narthex_yaml::{Node, Problem};

use super::{Secret, bytes};

/// Reads values and collects what is wrong with them.
#[derive(Debug)]
pub(super) struct Decoder {
    /// The directory relative paths resolve against.
    directory: PathBuf,
    values: narthex_yaml::Decoder,
}

impl Deref for Decoder {
    type Target = narthex_yaml::Decoder;

    fn deref(&self) -> &Self::Target {
        &self.values
    }
}

impl DerefMut for Decoder {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.values
    }
}

impl Decoder {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            values: narthex_yaml::Decoder::default(),
        }
    }

    /// What was noted so far.
    pub(super) fn into_issues(self) -> Vec<narthex_yaml::Issue> {
        self.values.into_issues()
    }

    /// A text that must not be shown.
    pub(super) fn secret(&mut self, node: &Node) -> Secret {
        Secret::new(self.text_of(node, "config.plain"))
    }

    /// A path, resolved; `None` when empty.
    pub(super) fn path(&mut self, node: &Node) -> Option<PathBuf> {
        let text = self.text(node);
        (!text.is_empty()).then(|| PathBuf::from(self.resolve(&text)))
    }

    /// `text` as a path below the configuration's directory, unless it is absolute or empty.
    pub(super) fn resolve(&self, text: &str) -> String {
        join(&self.directory, text)
    }

    /// A duration in Prometheus's notation; null is zero.
    pub(super) fn duration(&mut self, node: &Node) -> Result<Duration, Problem> {
        self.parsed(node, |text| {
            narthex_query::parse_duration(text).map_err(|error| error.to_string())
        })
    }

    /// A number of bytes such as `10MB`; null is zero.
    pub(super) fn bytes(&mut self, node: &Node) -> Result<u64, Problem> {
        self.parsed(node, bytes::parse)
    }
}

/// Joins and cleans a path as Go's `filepath.Join` does; absolute and empty paths stay.
pub(crate) fn join(directory: &Path, path: &str) -> String {
    if path.is_empty() || path.starts_with('/') {
        return path.to_owned();
    }
    let joined = if directory.as_os_str().is_empty() {
        path.to_owned()
    } else {
        format!("{}/{path}", directory.display())
    };
    let mut parts: Vec<&str> = Vec::new();
    let rooted = joined.starts_with('/');
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let cleaned = parts.join("/");
    match (rooted, cleaned.is_empty()) {
        (true, _) => format!("/{cleaned}"),
        (false, true) => ".".to_owned(),
        (false, false) => cleaned,
    }
}
