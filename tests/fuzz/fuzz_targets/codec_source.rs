//! The store's codec is private; the fuzz targets compile its source against these few types.
#![allow(dead_code, unused_imports, reason = "each target uses a part of the codec")]

use std::path::PathBuf;

pub type Timestamp = i64;
pub const STALE_MARKER_BITS: u64 = 0x7ff0_0000_0000_0002;

pub fn is_stale_marker(value: f64) -> bool {
    value.to_bits() == STALE_MARKER_BITS
}

pub struct Corruption {
    pub file: PathBuf,
    pub offset: u64,
    pub expected: String,
    pub found: String,
}
