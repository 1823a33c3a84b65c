//! Query scripts and what they run on.

mod memory;

pub use memory::MemoryStore;
