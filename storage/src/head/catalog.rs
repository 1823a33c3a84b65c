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

use super::{HashMap, Replay};
use crate::{
    Corruption, Fs, OpenError, TimeRange, Timestamp,
    segment::{PageRef, Segment},
    wal::Damage,
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

/// Maps the files of a folder and tells `replay` what is in them. A damaged file is left out,
/// reported, and stays where it is.
pub(crate) fn load(
    fs: &dyn Fs,
    folder: &Path,
    replay: &mut Replay,
) -> Result<(Catalog, Vec<Damage>), OpenError> {
    let mut catalog = Catalog::default();
    let mut damage = Vec::new();
    for entry in fs.list(folder)? {
        let path = folder.join(&entry.name);
        if entry.name == UNFINISHED {
            fs.remove_file(&path)?;
            continue;
        }
        let Ok(commit) = entry.name.parse() else {
            continue;
        };
        catalog.sealed = commit;
        let mut report = |at: Corruption| {
            damage.push(Damage {
                bytes: entry.size_bytes.saturating_sub(at.offset),
                at,
                torn_tail: false,
            });
        };
        let segment = match Segment::open(fs, &path, entry.size_bytes) {
            Ok((segment, None)) => segment,
            Ok((segment, Some(tail))) => {
                report(Corruption {
                    file: path.clone(),
                    offset: tail.offset,
                    expected: tail.reason.to_owned(),
                    found: format!("{} bytes that are not", tail.bytes),
                });
                segment
            }
            Err(OpenError::Corruption(at)) => {
                report(at);
                continue;
            }
            Err(other) => return Err(other),
        };
        let file = SealedFile::new(path, segment);
        match define(&file, replay) {
            Ok(()) => catalog.files.push(Arc::new(file)),
            Err(at) => report(at),
        }
    }
    newest_samples(&catalog, replay, &mut |at| {
        damage.push(Damage {
            at,
            bytes: 0,
            torn_tail: false,
        });
    });
    replay.is_sealed(catalog.sealed);
    Ok((catalog, damage))
}

fn define(file: &SealedFile, replay: &mut Replay) -> Result<(), Corruption> {
    let mut defined = Vec::new();
    for frame in file.segment.frames() {
        file.segment
            .definitions(frame, |id, labels| defined.push((id, labels)))?;
    }
    for (id, labels) in defined {
        let series = replay.index().insert(id, &labels);
        if series.id == id && series.becomes_live() {
            replay.index().mark_live(id);
        }
    }
    for id in file.series.iter() {
        if let Some(series) = replay.index().by_id(id) {
            series.add_sealed_part();
        }
    }
    Ok(())
}

/// Tells every series its newest sealed sample.
fn newest_samples(catalog: &Catalog, replay: &mut Replay, report: &mut dyn FnMut(Corruption)) {
    let mut newest: HashMap<u32, (Timestamp, usize, usize, PageRef)> = HashMap::default();
    let mut times = Vec::new();
    for (file_index, file) in catalog.files.iter().enumerate() {
        let range = file.range();
        replay.saw(range.min);
        replay.saw(range.max);
        for (frame_index, frame) in file.segment.frames().iter().enumerate() {
            let mut columns: HashMap<u16, Vec<Timestamp>> = HashMap::default();
            for page in file.segment.pages(frame) {
                let column = columns.entry(page.column).or_insert_with(|| {
                    times.clear();
                    if let Err(at) = file.segment.times(frame, page.column, &mut times) {
                        report(at);
                    }
                    times.clone()
                });
                let Some(last) = column.get((page.first + page.len) as usize - 1) else {
                    continue;
                };
                let known = newest
                    .entry(page.series)
                    .or_insert((Timestamp::MIN, 0, 0, page));
                if *last > known.0 {
                    *known = (*last, file_index, frame_index, page);
                }
            }
        }
    }
    for (id, (time, file, frame, page)) in newest {
        let segment = &catalog.files[file].segment;
        let mut value = [0.0];
        let decoded = segment
            .page(&segment.frames()[frame], &page)
            .and_then(|(values, offset)| {
                values
                    .decode_range(page.len as usize - 1, &mut value)
                    .map_err(|error| error.at(segment.path(), offset))
            });
        if let Err(at) = decoded {
            report(at);
        }
        if let Some(series) = replay.index().by_id(id) {
            series.raise_last((time, value[0].to_bits()));
        }
    }
}
