//! Appends frames to a segment file.

use std::path::Path;

use croaring::Bitmap;

use super::{FrameBuilder, layout};
use crate::{
    Labels,
    error::IoError,
    vfs::{AppendFile, Fs},
};

/// The one writer of a segment file.
#[derive(Debug)]
pub(crate) struct SegmentWriter {
    file: Box<dyn AppendFile>,
    /// Bytes that are whole: the file's header and frames.
    len: u64,
    /// Whether a failed write may have left bytes beyond `len`.
    is_torn: bool,
    /// The series that the file defines.
    defined: Bitmap,
}

impl SegmentWriter {
    /// Creates a new file and writes its header. Neither is durable before [`SegmentWriter::sync`]
    /// and a sync of the folder.
    ///
    /// # Errors
    /// [`IoError`], also when the file exists.
    pub(crate) fn create(fs: &dyn Fs, path: &Path) -> Result<Self, IoError> {
        let mut file = fs.create(path)?;
        let header = layout::file_header();
        file.append(&header)?;
        Ok(Self {
            file,
            len: header.len() as u64,
            is_torn: false,
            defined: Bitmap::new(),
        })
    }

    /// Hands a frame to the kernel and returns the new length of the file; `labels` are asked for
    /// the series that no earlier frame of the file defines. After an error the file is as before:
    /// what was written of the frame is cut off before the next one.
    ///
    /// # Errors
    /// [`IoError`].
    pub(crate) fn append_frame(
        &mut self,
        frame: FrameBuilder,
        labels: impl Fn(u32) -> Labels,
    ) -> Result<u64, IoError> {
        if self.is_torn {
            self.file.truncate(self.len)?;
            self.is_torn = false;
        }
        let finished = frame.finish(|series| self.defined.contains(series), labels);
        if let Err(error) = self.file.append(&finished.bytes) {
            self.is_torn = self.file.truncate(self.len).is_err();
            return Err(error);
        }
        self.len += finished.bytes.len() as u64;
        self.defined.add_many(&finished.defined);
        Ok(self.len)
    }

    /// Makes every frame appended so far durable.
    ///
    /// # Errors
    /// [`IoError`].
    pub(crate) fn sync(&mut self) -> Result<(), IoError> {
        self.file.sync()
    }

    /// Bytes of the file's header and whole frames.
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }
}
