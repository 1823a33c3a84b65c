//! Blocks: immutable files of samples with their index, mapped into memory.
//!
//! **What it is.** One file holds every sample of a range of commits: value pages, the time columns
//! they share, a directory of the pages of each series and the index of the series. A seal writes a
//! block of level 0, compaction merges adjacent blocks into one of the next level. `docs/format.md`
//! has the layout byte by byte.
//!
//! **What it is not.** It knows no targets, queriers or tombstones, and decides nothing about which
//! blocks are in force or deleted.
//!
//! **What always holds.** A file under its final name is whole: it was written under a temporary
//! name, synced, renamed. Header, footer and sections are checked by checksum when a block is
//! opened, frames at first touch, and every number in them against its bounds before it is used:
//! damaged or hostile bytes are a [`Corruption`](crate::Corruption) with file and offset, never a
//! panic and never part of an answer. Nothing is kept in memory per page or per sample.

#[cfg(feature = "internals")]
pub(crate) mod checks;
mod directory;
mod frames;
mod index;
mod layout;
mod merge;
mod mixed;
mod name;
mod presence;
mod reader;
mod recent;
mod times;
mod writer;

pub(crate) use directory::PageRef;
pub(crate) use frames::FrameBuffer;
#[cfg(feature = "internals")]
pub use index::check_bitmap;
pub(crate) use index::{BlockIndex, ID_END, IndexBuilder, IndexSections, LabelsReader};
pub(crate) use layout::SectionKind;
pub(crate) use merge::{MergeError, MergeInput, merge};
pub(crate) use mixed::{MixedValue, alike};
pub(crate) use name::BlockName;
pub(crate) use reader::{Block, BlockPages};
pub(crate) use times::TimesRef;
pub(crate) use writer::{BlockWriter, Positions, WrittenBlock};

#[cfg(test)]
mod tests;
