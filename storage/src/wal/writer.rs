//! The log's files: appending, rotating, dropping.
//!
//! A segment never builds on an earlier one: when one begins, the epoch rises, and every series and
//! target is defined again before it is used. So the oldest segments can be removed at any time.

use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::{AppendFile, Clock, Fs, error::IoError};

/// The first bytes of every segment.
pub(crate) const MAGIC: &[u8; 8] = b"NXWAL\0\0\x01";

/// A segment that is no longer written.
#[derive(Debug, Clone)]
pub(crate) struct ClosedSegment {
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
}

/// How a write failed.
pub(crate) enum WriteFailure {
    /// Nothing of it is in the file.
    Clean(IoError),
    /// The state of the file is unknown; nothing more may be written.
    Unknown(IoError),
}

impl Wal {
    /// Begins segment `number`.
    pub(crate) fn begin(
        fs: Arc<dyn Fs>,
        clock: Arc<dyn Clock>,
        folder: PathBuf,
        number: u64,
        closed: Vec<ClosedSegment>,
        sync_each_commit: bool,
        segment_bytes_max: u64,
    ) -> Result<Self, IoError> {
        let (path, file) = create(&*fs, &folder, number)?;
        let begun_at = clock.monotonic();
        Ok(Self {
            fs,
            clock,
            folder,
            file,
            path,
            number,
            len: MAGIC.len() as u64,
            begun_at,
            closed,
            epoch: 1,
            sync_each_commit,
            segment_bytes_max,
            backlog: Vec::new(),
        })
    }

    /// Hands records to the kernel, those that waited first.
    pub(crate) fn write(&mut self, records: &[u8]) -> Result<(), WriteFailure> {
        let waiting = self.backlog.len();
        let result = if waiting == 0 {
            self.file.append(records)
        } else {
            self.backlog.extend_from_slice(records);
            self.file.append(&self.backlog)
        };
        if let Err(error) = result {
            self.backlog.truncate(waiting);
            self.epoch += 1;
            return Err(match self.file.truncate(self.len) {
                Ok(()) => WriteFailure::Clean(error),
                Err(_) => WriteFailure::Unknown(error),
            });
        }
        self.len += (waiting + records.len()) as u64;
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
        let empty = self.len == MAGIC.len() as u64;
        let old = self.clock.monotonic().saturating_sub(self.begun_at) >= age_max;
        if !self.backlog.is_empty() || empty || !(old || self.len >= self.segment_bytes_max) {
            return Ok(());
        }
        self.file.sync()?;
        let (path, file) = create(&*self.fs, &self.folder, self.number + 1)?;
        self.number += 1;
        self.closed.push(ClosedSegment {
            path: std::mem::replace(&mut self.path, path),
            last_commit,
            bytes: self.len,
        });
        self.file = file;
        self.len = MAGIC.len() as u64;
        self.begun_at = self.clock.monotonic();
        self.epoch += 1;
        Ok(())
    }

    /// Removes the oldest segments that hold no commit beyond `settled`; answers how many.
    pub(crate) fn drop_up_to(&mut self, settled: u64) -> Result<u64, IoError> {
        let before = self.closed.len();
        while let Some(oldest) = self.closed.first() {
            if oldest.last_commit > settled {
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
    folder: &std::path::Path,
    number: u64,
) -> Result<(PathBuf, Box<dyn AppendFile>), IoError> {
    let path = folder.join(format!("{number:08}"));
    // A crash, or a full disk, between creating and naming a segment leaves a file without records.
    if fs
        .list(folder)?
        .iter()
        .any(|entry| folder.join(&entry.name) == path)
    {
        fs.remove_file(&path)?;
    }
    let mut file = fs.create(&path)?;
    file.append(MAGIC)?;
    fs.sync_dir(folder)?;
    Ok((path, file))
}
