//! The data path: what is ours, what is Prometheus's, and the two files that keep processes and
//! versions apart.
#![deny(clippy::indexing_slicing)]

use std::{
    fmt::Debug,
    path::{Path, PathBuf},
};

use crate::{Fs, OpenError, TimeRange, Timestamp, error::IoError};

/// The format that this build writes and reads.
const FORMAT_VERSION: u32 = 2;

/// The paths of a store.
#[derive(Debug)]
pub(crate) struct Layout {
    /// The data path.
    pub(crate) root: PathBuf,
    /// The store's own folder.
    pub(crate) ours: PathBuf,
    pub(crate) wal: PathBuf,
    pub(crate) blocks: PathBuf,
}

/// Data of a Prometheus server beside ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignData {
    /// How many blocks there are.
    pub blocks: usize,
    /// The time from the first block's start to the last block's end, if any block says so.
    pub blocks_range: Option<TimeRange>,
    /// Whether there is a write-ahead log or a folder of head chunks.
    pub has_head: bool,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        let ours = root.join("narthex");
        Self {
            root: root.to_owned(),
            wal: ours.join("wal"),
            blocks: ours.join("blocks"),
            ours,
        }
    }

    /// Creates the folders, takes the lock and checks the format's version.
    pub(crate) fn prepare(
        &self,
        fs: &dyn Fs,
        lock: bool,
    ) -> Result<Option<Box<dyn Debug + Send + Sync>>, OpenError> {
        fs.create_dir_all(&self.root)?;
        let guard = if lock {
            let path = self.root.join("lock");
            let guard = fs.try_lock(&path)?;
            Some(guard.ok_or(OpenError::Locked { path })?)
        } else {
            None
        };
        fs.create_dir_all(&self.ours)?;
        self.check_version(fs)?;
        fs.create_dir_all(&self.wal)?;
        fs.create_dir_all(&self.blocks)?;
        fs.sync_dir(&self.ours)?;
        Ok(guard)
    }

    fn check_version(&self, fs: &dyn Fs) -> Result<(), OpenError> {
        let path = self.ours.join("format");
        let entries = fs.list(&self.ours)?;
        if entries.iter().any(|entry| entry.name == "format") {
            let found = fs.read(&path)?;
            let found = String::from_utf8_lossy(&found).trim().to_owned();
            if found == FORMAT_VERSION.to_string() {
                return Ok(());
            }
            return Err(OpenError::Version {
                path,
                found: format!("{found:?}"),
                supported: FORMAT_VERSION,
            });
        }
        // The name appears with its content. Whoever asked for it syncs its folder, before anything else is written.
        let temporary = self.ours.join("format.tmp");
        if entries.iter().any(|entry| entry.name == "format.tmp") {
            fs.remove_file(&temporary)?;
        }
        let mut file = fs.create(&temporary)?;
        file.append(format!("{FORMAT_VERSION}\n").as_bytes())?;
        file.sync()?;
        fs.rename(&temporary, &path)?;
        fs.sync_dir(&self.root)?;
        Ok(())
    }
}

/// Looks for Prometheus's data, reading names and `meta.json` files only.
pub(crate) fn foreign_data(fs: &dyn Fs, root: &Path) -> Result<Option<ForeignData>, IoError> {
    let mut found = ForeignData {
        blocks: 0,
        blocks_range: None,
        has_head: false,
    };
    for entry in fs.list(root)? {
        if !entry.is_dir {
            continue;
        }
        if entry.name == "wal" || entry.name == "chunks_head" {
            found.has_head = true;
        } else if is_ulid(&entry.name) {
            found.blocks += 1;
            let meta = fs.read(&root.join(&entry.name).join("meta.json"));
            // A block that cannot be read is still a block that is not read.
            let meta = meta.unwrap_or_default();
            let text = String::from_utf8_lossy(&meta);
            if let (Some(min), Some(max)) = (number(&text, "minTime"), number(&text, "maxTime")) {
                let range = found.blocks_range.get_or_insert(TimeRange::new(min, max));
                range.min = range.min.min(min);
                range.max = range.max.max(max);
            }
        }
    }
    Ok((found.blocks > 0 || found.has_head).then_some(found))
}

fn is_ulid(name: &str) -> bool {
    name.len() == 26
        && name
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
}

/// The first integer that follows `"name":` in a JSON text.
fn number(text: &str, name: &str) -> Option<Timestamp> {
    let (_, rest) = text.split_once(&format!("\"{name}\""))?;
    let rest = rest.trim_start().strip_prefix(':')?.trim_start();
    let end = rest
        .find(|character: char| character != '-' && !character.is_ascii_digit())
        .unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}
