//! The sealed files: what each seal left on disk.
//!
//! A file's name is the number of the last commit in it, and a seal takes everything up to that
//! commit; so the newest name says which records of the log are already in a file, and a seal
//! happens at the moment its file gets its name. Querying holds the catalog of its snapshot, with
//! the maps; a file that is removed meanwhile stays readable.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use croaring::Bitmap;

use super::{Known, Replay};
use crate::{
    Corruption, Fs, Labels, OpenError, TimeRange, Timestamp, segment::Segment, wal::Damage,
};

/// The name of a file that a seal did not finish.
pub(super) const UNFINISHED: &str = "seal.tmp";

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalog {
    /// Everything up to this commit is, or was, in a file.
    pub(crate) sealed: u64,
    /// Oldest first.
    pub(crate) files: Vec<Arc<SealedFile>>,
    /// The series that may get samples.
    pub(crate) known: Known,
}

/// One file.
#[derive(Debug)]
pub(crate) struct SealedFile {
    pub(crate) path: PathBuf,
    pub(crate) segment: Segment,
    /// The series that have a page in it.
    pub(crate) series: Bitmap,
}

impl SealedFile {
    pub(crate) fn new(path: PathBuf, segment: Segment) -> Self {
        let mut series = Bitmap::new();
        for frame in segment.frames() {
            for page in segment.pages(frame) {
                series.add(page.series);
            }
        }
        series.run_optimize();
        Self {
            path,
            segment,
            series,
        }
    }

    /// The time of its oldest and newest sample.
    pub(crate) fn range(&self) -> TimeRange {
        let ranges = self
            .segment
            .frames()
            .iter()
            .map(crate::segment::Frame::range);
        ranges.fold(
            TimeRange::new(Timestamp::MAX, Timestamp::MIN),
            |all, one| TimeRange::new(all.min.min(one.min), all.max.max(one.max)),
        )
    }
}

/// The name of the file that holds everything up to a commit.
pub(super) fn file_name(commit: u64) -> String {
    format!("{commit:020}")
}

/// The files of a folder, mapped and checked, before anybody was told of them.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Oldest first.
    files: Vec<FoundFile>,
}

/// One file as it was found.
#[derive(Debug)]
struct FoundFile {
    commit: u64,
    path: PathBuf,
    bytes: u64,
    /// Unless nothing of it can be served.
    readable: Option<(Segment, Definitions)>,
    damage: Option<Corruption>,
}

/// The series that a file defines.
type Definitions = Vec<(u32, Labels)>;

/// What [`Found::tell`] left out.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    /// Files, or their ends, whose samples are not served.
    pub(crate) damage: Vec<Damage>,
    /// Damaged files whose samples all come from the log.
    pub(crate) restored: Vec<Damage>,
}

impl Found {
    /// Maps the files of a folder and checks them; of the newest, every page.
    pub(crate) fn open(fs: &dyn Fs, folder: &Path) -> Result<Self, OpenError> {
        let mut found = Self::default();
        for entry in fs.list(folder)? {
            let path = folder.join(&entry.name);
            if entry.name == UNFINISHED {
                fs.remove_file(&path)?;
                continue;
            }
            let Ok(commit) = entry.name.parse() else {
                continue;
            };
            let (readable, damage) = match Segment::open(fs, &path, entry.size_bytes) {
                Ok((segment, tail)) => match definitions(&segment) {
                    Ok(definitions) => {
                        let damage = tail.map(|tail| Corruption {
                            file: path.clone(),
                            offset: tail.offset,
                            expected: tail.reason.to_owned(),
                            found: format!("{} bytes that are not", tail.bytes),
                        });
                        (Some((segment, definitions)), damage)
                    }
                    Err(at) => (None, Some(at)),
                },
                Err(OpenError::Corruption(at)) => (None, Some(at)),
                Err(other) => return Err(other),
            };
            found.files.push(FoundFile {
                commit,
                path,
                bytes: entry.size_bytes,
                readable,
                damage,
            });
        }
        if let Some(newest) = found.files.last_mut()
            && let Some((segment, _)) = &newest.readable
            && newest.damage.is_none()
        {
            newest.damage = segment.check_all_pages().err();
        }
        Ok(found)
    }

    /// The commits that are in damaged files alone with no good file after them, unless the log has
    /// them: from the first, not included, to the last.
    pub(crate) fn in_doubt(&self) -> Option<(u64, u64)> {
        let newest = self.files.last().filter(|file| file.damage.is_some())?;
        let good = self.files.iter().rfind(|file| file.damage.is_none());
        Some((good.map_or(0, |file| file.commit), newest.commit))
    }

    /// Tells `replay` what is in the files. A damaged one is left out as far as it is damaged, and
    /// stays where it is. With `log_has_rest`, the log is to give back what [`Found::in_doubt`] said.
    pub(crate) fn tell(self, replay: &mut Replay, log_has_rest: bool) -> (Catalog, LeftOut) {
        let restored_from = match self.in_doubt() {
            Some((first, _)) if log_has_rest => first,
            _ => u64::MAX,
        };
        let mut catalog = Catalog::default();
        let mut left_out = LeftOut::default();
        for file in self.files {
            let is_restored = file.commit > restored_from;
            if let Some(at) = file.damage {
                let damage = Damage {
                    bytes: file.bytes.saturating_sub(at.offset),
                    at,
                    torn_tail: false,
                };
                if is_restored {
                    left_out.restored.push(damage);
                } else {
                    left_out.damage.push(damage);
                }
            }
            if is_restored {
                continue;
            }
            catalog.sealed = file.commit;
            if let Some((segment, definitions)) = file.readable {
                let file = SealedFile::new(file.path, segment);
                define(definitions, replay);
                let range = file.range();
                replay.saw(range.min);
                replay.saw(range.max);
                catalog.files.push(Arc::new(file));
            }
        }
        replay.is_sealed(catalog.sealed);
        catalog.known = replay.known();
        (catalog, left_out)
    }
}

fn definitions(segment: &Segment) -> Result<Definitions, Corruption> {
    let mut defined = Vec::new();
    for frame in segment.frames() {
        segment.definitions(frame, |id, labels| defined.push((id, labels)))?;
    }
    Ok(defined)
}

fn define(definitions: Definitions, replay: &mut Replay) {
    for (id, labels) in definitions {
        replay.define(id, &labels);
    }
}

impl Catalog {
    /// Time and bits of the newest sample of a series; a page that cannot be read has none.
    pub(super) fn newest_sample(&self, id: u32) -> Option<(Timestamp, u64)> {
        let mut newest: Option<(Timestamp, u64)> = None;
        let mut times = Vec::new();
        for file in self.files.iter().filter(|file| file.series.contains(id)) {
            for frame in file.segment.frames() {
                for page in file.segment.pages_of(frame, id) {
                    times.clear();
                    if file.segment.times(frame, page.column, &mut times).is_err() {
                        continue;
                    }
                    let Some(last) = times.get((page.first + page.len) as usize - 1) else {
                        continue;
                    };
                    if newest.is_some_and(|(time, _)| time >= *last) {
                        continue;
                    }
                    let mut value = [0.0];
                    if let Ok((values, _)) = file.segment.page(frame, &page)
                        && values
                            .decode_range(page.len as usize - 1, &mut value)
                            .is_ok()
                    {
                        newest = Some((*last, value[0].to_bits()));
                    }
                }
            }
        }
        newest
    }
}
