//! The log's files: appending, rotating, dropping.
//!
//! A segment never builds on an earlier one: when one begins, the epoch rises, and every series and
//! target is defined again before it is used. So the oldest segments can be removed at any time.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::frame::{Place, SEGMENT_HEADER_BYTES, put_frames, segment_header};
use super::reader::Covered;
use crate::{AppendFile, Clock, Fs, error::IoError};

/// A buffer that is kept for the next write is not larger.
const BUFFER_BYTES_MAX: usize = 1 << 20;

/// A segment that is no longer written.
#[derive(Debug, Clone)]
pub(crate) struct ClosedSegment {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    /// The number of the last commit in it or before it.
    pub(crate) last_commit: u64,
    pub(crate) bytes: u64,
}

/// See the module. Guarded by the commit lock.
#[derive(Debug)]
pub(crate) struct Wal {
    fs: Arc<dyn Fs>,
    clock: Arc<dyn Clock>,
    folder: PathBuf,
    file: Box<dyn AppendFile>,
    path: PathBuf,
    number: u64,
    len: u64,
    begun_at: Duration,
    pub(crate) closed: Vec<ClosedSegment>,
    /// Rises whenever definitions must be written again.
    pub(crate) epoch: u64,
    sync_each_commit: bool,
    segment_bytes_max: u64,
    /// Records of visible commits that the disk did not take yet.
    pub(crate) backlog: Vec<u8>,
    /// The frames of a write.
    frames: Vec<u8>,
    /// A segment that could not be begun and whose file could not be removed. Its head would say that
    /// nothing behind it is in the open one.
    stray: Option<PathBuf>,
}

/// How a write failed.
pub(crate) enum WriteFailure {
    /// Nothing of it is in the file.
    Clean(IoError),
    /// The state of the file is unknown; nothing more may be written.
    Unknown(IoError),
}

impl Wal {
    /// Begins segment `number`; everything up to `last_commit` is in `closed` or sealed.
    #[expect(clippy::too_many_arguments, reason = "called once, when a store opens")]
    pub(crate) fn begin(
        fs: Arc<dyn Fs>,
        clock: Arc<dyn Clock>,
        folder: PathBuf,
        number: u64,
        last_commit: u64,
        closed: Vec<ClosedSegment>,
        sync_each_commit: bool,
        segment_bytes_max: u64,
    ) -> Result<Self, IoError> {
        let (path, file) = create(&*fs, &folder, number, last_commit)?;
        let begun_at = clock.monotonic();
        Ok(Self {
            fs,
            clock,
            folder,
            file,
            path,
            number,
            len: SEGMENT_HEADER_BYTES as u64,
            begun_at,
            closed,
            epoch: 1,
            sync_each_commit,
            segment_bytes_max,
            backlog: Vec::new(),
            frames: Vec::new(),
            stray: None,
        })
    }

    /// Hands records to the kernel, those that waited first.
    pub(crate) fn write(&mut self, records: &[u8]) -> Result<(), WriteFailure> {
        let waiting = self.backlog.len();
        let place = Place {
            segment: self.number,
            offset: self.len,
        };
        self.frames.clear();
        if waiting == 0 {
            put_frames(&mut self.frames, place, records);
        } else {
            self.backlog.extend_from_slice(records);
            put_frames(&mut self.frames, place, &self.backlog);
        }
        let result = match self.remove_stray() {
            Ok(()) => self.file.append(&self.frames),
            Err(error) => Err(error),
        };
        let written = self.frames.len();
        if written > BUFFER_BYTES_MAX {
            self.frames = Vec::new();
        }
        if let Err(error) = result {
            self.backlog.truncate(waiting);
            self.epoch += 1;
            return Err(match self.file.truncate(self.len) {
                Ok(()) => WriteFailure::Clean(error),
                Err(_) => WriteFailure::Unknown(error),
            });
        }
        self.len += written as u64;
        self.backlog = Vec::new();
        if self.sync_each_commit {
            self.file.sync().map_err(WriteFailure::Unknown)?;
        }
        Ok(())
    }

    /// Makes everything written durable.
    pub(crate) fn sync(&mut self) -> Result<(), IoError> {
        self.file.sync()
    }

    /// Begins a new segment when the open one is large, or older than `age_max` and not empty.
    pub(crate) fn rotate_if_due(
        &mut self,
        last_commit: u64,
        age_max: Duration,
    ) -> Result<(), IoError> {
        let old = self.clock.monotonic().saturating_sub(self.begun_at) >= age_max;
        if !self.backlog.is_empty() || !(old || self.len >= self.segment_bytes_max) {
            return Ok(());
        }
        self.rotate(last_commit)
    }

    /// Begins a new segment: everything up to `last_commit`, the newest there is, is before it. An
    /// empty segment goes on. After an error the open segment goes on.
    pub(crate) fn rotate(&mut self, last_commit: u64) -> Result<(), IoError> {
        if self.len == SEGMENT_HEADER_BYTES as u64 {
            return Ok(());
        }
        self.file.sync()?;
        let (path, file) = match create(&*self.fs, &self.folder, self.number + 1, last_commit) {
            Ok(created) => created,
            Err(error) => {
                self.stray = Some(segment_path(&self.folder, self.number + 1));
                self.remove_stray()?;
                return Err(error);
            }
        };
        self.stray = None;
        self.closed.push(ClosedSegment {
            number: self.number,
            path: std::mem::replace(&mut self.path, path),
            last_commit,
            bytes: self.len,
        });
        self.number += 1;
        self.file = file;
        self.len = SEGMENT_HEADER_BYTES as u64;
        self.begun_at = self.clock.monotonic();
        self.epoch += 1;
        Ok(())
    }

    fn remove_stray(&mut self) -> Result<(), IoError> {
        if let Some(path) = &self.stray {
            remove_if_there(&*self.fs, &self.folder, path)?;
            self.stray = None;
        }
        Ok(())
    }

    /// Removes the oldest segments that hold nothing that is not `settled`; answers how many.
    pub(crate) fn drop_settled(&mut self, settled: Covered) -> Result<u64, IoError> {
        let before = self.closed.len();
        while let Some(oldest) = self.closed.first() {
            if !settled.is_all_of(oldest.number, oldest.last_commit) {
                break;
            }
            self.fs.remove_file(&oldest.path)?;
            self.closed.remove(0);
        }
        Ok((before - self.closed.len()) as u64)
    }

    /// Bytes of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.len + self.closed.iter().map(|segment| segment.bytes).sum::<u64>()
    }

    /// The open segment's number.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

fn create(
    fs: &dyn Fs,
    folder: &Path,
    number: u64,
    last_commit: u64,
) -> Result<(PathBuf, Box<dyn AppendFile>), IoError> {
    let path = segment_path(folder, number);
    // A crash, or a full disk, between creating and naming a segment leaves a file without records.
    remove_if_there(fs, folder, &path)?;
    let mut file = fs.create(&path)?;
    file.append(&segment_header(last_commit))?;
    fs.sync_dir(folder)?;
    Ok((path, file))
}

fn segment_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:08}"))
}

fn remove_if_there(fs: &dyn Fs, folder: &Path, path: &Path) -> Result<(), IoError> {
    let entries = fs.list(folder)?;
    if entries.iter().any(|entry| folder.join(&entry.name) == path) {
        fs.remove_file(path)?;
    }
    Ok(())
}
