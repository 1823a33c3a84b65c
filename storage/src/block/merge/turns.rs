//! When a merge asks whether to go on: every so often by what it has done, whatever its pages are like.
#![deny(clippy::indexing_slicing)]

use super::MergeError;
use crate::{Kind, block::PageRef};

/// The merge asks when it has done so much: about a tenth of a millisecond.
const ASK_AFTER: u32 = 1 << 13;
/// A page takes as long as so many of its values, …
const OF_PAGE: u32 = 64;
/// … and its entry in a directory, or the labels of a series, as so many.
const OF_ENTRY: u32 = 8;
/// A histogram takes as long as so many numbers.
const OF_HISTOGRAM: u32 = 64;

/// See the module.
pub(super) struct Turns<'a> {
    go_on: &'a mut dyn FnMut() -> bool,
    /// Since it asked.
    done: u32,
}

impl std::fmt::Debug for Turns<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turns").finish_non_exhaustive()
    }
}

impl<'a> Turns<'a> {
    /// Asks at the first opportunity.
    pub(super) fn new(go_on: &'a mut dyn FnMut() -> bool) -> Self {
        Self {
            go_on,
            done: ASK_AFTER,
        }
    }

    fn after(&mut self, work: u32) -> Result<(), MergeError> {
        self.done = self.done.saturating_add(work);
        if self.done >= ASK_AFTER {
            self.done = 0;
            if !(self.go_on)() {
                return Err(MergeError::Stopped);
            }
        }
        Ok(())
    }

    /// The labels of a series are read.
    pub(super) fn series(&mut self) -> Result<(), MergeError> {
        self.after(OF_ENTRY)
    }

    /// A page's entry in a directory is read.
    pub(super) fn entry(&mut self) -> Result<(), MergeError> {
        self.after(OF_ENTRY)
    }

    /// A page of an input is read.
    pub(super) fn page(&mut self, page: &PageRef) -> Result<(), MergeError> {
        match page.kind {
            Kind::Float => self.values(page.len),
            Kind::Histogram => self.values(page.len.saturating_mul(OF_HISTOGRAM)),
        }
    }

    /// A page of so many values is read or written.
    pub(super) fn values(&mut self, len: u32) -> Result<(), MergeError> {
        self.after(len.saturating_add(OF_PAGE))
    }
}
