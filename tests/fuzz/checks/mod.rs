//! What must hold of each decoder of outside bytes, for the fuzz targets and for the stable test that
//! replays their corpus (`tests/decoders.rs`).
//!
//! Every check takes any bytes, panics when its invariant breaks, and answers whether the bytes were
//! accepted. None may panic in the decoder, take memory out of proportion, or accept what does not
//! survive a round trip.

mod block_index;
mod codec;
mod configuration;
mod evaluation;
mod exposition;
mod label_regex;
mod metadata;
mod prometheus_chunk;
mod promql;
mod remote_read;
mod remote_write;
mod store;

/// One check.
pub(crate) type Check = fn(&[u8]) -> bool;

/// Each check under the name of its target and of its corpus folder.
pub(crate) const CHECKS: &[(&str, Check)] = &[
    ("bitmap", codec::check_bitmap),
    ("block", store::check_block),
    ("block_index", block_index::check),
    ("configuration", configuration::check),
    ("directory", codec::check_directory),
    ("evaluation", evaluation::check),
    ("exemplars_file", store::check_exemplars_file),
    ("exposition_openmetrics", exposition::check_openmetrics),
    ("exposition_text", exposition::check_text),
    ("label_regex", label_regex::check),
    ("merge", store::check_merge),
    ("metadata_file", metadata::check),
    ("page", codec::check_page),
    ("presence", codec::check_presence),
    ("prometheus_chunk", prometheus_chunk::check),
    ("promql", promql::check),
    ("remote_read", remote_read::check),
    ("remote_write", remote_write::check),
    ("times", codec::check_times),
    ("tombstones_file", store::check_tombstones_file),
    ("wal_records", store::check_wal_records),
    ("wal_segment", store::check_wal_segment),
];

/// Runs the check of this name.
pub(crate) fn run(name: &str, bytes: &[u8]) -> bool {
    let found = CHECKS.iter().find(|(known, _)| *known == name);
    let (_, check) = found.expect("a check for every target");
    check(bytes)
}
