//! Head segments: append-only files of sealed pages, mapped into memory.
//!
//! **What it is.** A file of self-contained *frames*. A frame holds the labels of the series that
//! no earlier frame of the file defines, time columns, a directory sorted by series, and value pages.
//! A file can be read and deleted without any other. `docs/format.md` has the layout.
//!
//! **What it is not.** It knows no targets, commits or snapshots, and it decides nothing about damage
//! but its name: a torn end is reported for the caller to cut, other damage is a [`Corruption`].
//!
//! **What always holds.** A frame's header, labels, time columns and directory were checked by
//! checksum and bounds before anything of them is used; its pages by checksum on first touch (those
//! of the last frame when the file is opened). Nothing is kept in memory per page.
//!
//! [`Corruption`]: crate::Corruption
#![deny(clippy::indexing_slicing)]

mod builder;
mod layout;
mod reader;
mod writer;

pub(crate) use builder::FrameBuilder;
pub(crate) use reader::{Frame, PageRef, Segment};
pub(crate) use writer::SegmentWriter;

#[cfg(test)]
mod tests;
