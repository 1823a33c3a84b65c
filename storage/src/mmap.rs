//! Memory maps. The only unsafe code of the crate.
//!
//! Contract: a mapped range of a file never changes and is never cut while it is mapped. Our files
//! are append-only, mapped only up to a length whose content is final, and deleted rather than
//! rewritten; Linux keeps a deleted file's pages while a map of it lives.
#![expect(
    unsafe_code,
    reason = "mapping a file is unsafe; this module holds the contract that makes it sound"
)]

use std::{fs::File, io, ops::Deref, sync::Arc};

/// Immutable bytes: a file's map, or memory (file systems that are no disk). Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Mapped(Backing);

#[derive(Debug, Clone)]
enum Backing {
    Map(Arc<memmap2::Mmap>),
    Memory(Arc<[u8]>),
}

impl Mapped {
    /// Maps the first `len` bytes of `file`.
    ///
    /// # Errors
    /// When the file is shorter than `len`, or the kernel refuses.
    pub(crate) fn file(file: &File, len: u64) -> io::Result<Self> {
        let present = file.metadata()?.len();
        if present < len {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the file has {present} bytes, {len} are needed"),
            ));
        }
        if len == 0 {
            return Ok(Self::memory(Vec::new()));
        }
        let length = usize::try_from(len).map_err(io::Error::other)?;
        // SAFETY: the module's contract: nobody changes or cuts these bytes while the map lives.
        let map = unsafe { memmap2::MmapOptions::new().len(length).map(file)? };
        Ok(Self(Backing::Map(Arc::new(map))))
    }

    /// Bytes in memory that behave like a map.
    pub fn memory(bytes: Vec<u8>) -> Self {
        Self(Backing::Memory(bytes.into()))
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Backing::Map(map) => map,
            Backing::Memory(bytes) => bytes,
        }
    }
}
