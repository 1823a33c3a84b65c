//! Reading a log back: whole records in order, until the first that is not whole.
//!
//! What follows a damaged record in its segment is not applied. Later segments are: they build on
//! nothing before them.

use std::path::{Path, PathBuf};

use super::{
    record::{Record, decode},
    writer::MAGIC,
};
use crate::{Corruption, Fs, error::IoError};

/// A part of the log that was not applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Where, and what was wrong.
    pub at: Corruption,
    /// How many bytes of the segment were not applied.
    pub bytes: u64,
    /// Whether it is the end of the newest segment, as a crash leaves it; it was cut off.
    pub torn_tail: bool,
}

/// A segment that was read.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) damage: Option<Damage>,
}

/// Whether the whole records of the log include every commit behind `after` up to `last`.
pub(crate) fn holds_commits(
    fs: &dyn Fs,
    folder: &Path,
    after: u64,
    last: u64,
) -> Result<bool, IoError> {
    let mut commits = Vec::new();
    for (_, path) in numbered(fs, folder)? {
        let bytes = fs.read(&path)?;
        let mut rest = bytes.strip_prefix(MAGIC).unwrap_or_default();
        while let Ok((record, length)) = decode(rest) {
            commits.extend(record.commit().filter(|commit| *commit > after));
            rest = rest.get(length..).unwrap_or_default();
        }
    }
    commits.sort_unstable();
    commits.dedup();
    let in_file = commits.partition_point(|commit| *commit <= last);
    Ok(in_file as u64 == last.saturating_sub(after))
}

/// The segments of a folder by number, oldest first.
fn numbered(fs: &dyn Fs, folder: &Path) -> Result<Vec<(u64, PathBuf)>, IoError> {
    let mut numbered: Vec<(u64, PathBuf)> = Vec::new();
    for entry in fs.list(folder)? {
        if let Ok(number) = entry.name.parse()
            && !entry.is_dir
        {
            numbered.push((number, folder.join(&entry.name)));
        }
    }
    numbered.sort();
    Ok(numbered)
}

/// Hands every whole record of every segment to `apply`, in order, with the segment's number.
/// A record that `apply` refuses (it does not fit what came before) counts as damaged.
pub(crate) fn read_folder(
    fs: &dyn Fs,
    folder: &Path,
    mut apply: impl FnMut(u64, Record) -> Result<(), &'static str>,
) -> Result<Vec<Segment>, IoError> {
    let numbered = numbered(fs, folder)?;
    let newest = numbered.last().map(|(number, _)| *number);
    let mut segments = Vec::new();
    for (number, path) in numbered {
        let bytes = fs.read(&path)?;
        let mut offset = 0;
        let mut expected = None;
        if bytes.starts_with(MAGIC) {
            offset = MAGIC.len();
            while let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) {
                let step = decode(rest)
                    .and_then(|(record, length)| apply(number, record).map(|()| length));
                match step {
                    Ok(length) => offset += length,
                    Err(what) => {
                        expected = Some(what);
                        break;
                    }
                }
            }
        } else {
            expected = Some("the head of a log segment");
        }
        let damage = expected.map(|expected| Damage {
            at: Corruption {
                file: path.clone(),
                offset: offset as u64,
                expected: expected.to_owned(),
                found: format!("{} bytes that are not", bytes.len() - offset),
            },
            bytes: (bytes.len() - offset) as u64,
            torn_tail: Some(number) == newest,
        });
        if Some(number) == newest {
            if offset < MAGIC.len() {
                fs.remove_file(&path)?;
            } else {
                // Later segments are synced when they end; without this a power cut could leave
                // them and lose the end of this one.
                fs.open_append(&path, offset as u64)?.sync()?;
            }
        }
        segments.push(Segment {
            number,
            path,
            bytes: if damage.as_ref().is_some_and(|damage| damage.torn_tail) {
                offset as u64
            } else {
                bytes.len() as u64
            },
            damage,
        });
    }
    Ok(segments)
}
