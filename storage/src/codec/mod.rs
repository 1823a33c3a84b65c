//! Encodings of values and timestamps, bit for bit.
//!
//! **What it is.** Pure functions between slices and bytes: value pages ([`encode_values`],
//! [`ValuePage`]) with their statistics ([`PageStats`]) and time columns ([`encode_times`], [`decode_times`]), both on one integer column.
//! `docs/format.md` has the layout byte by byte.
//!
//! **What it is not.** It knows no files and no checksums; frames of a segment have those.
//!
//! **What always holds.** Every `f64` bit pattern and every rising list of timestamps comes back
//! exactly. Decoding hostile bytes ends in an answer or a [`CodecError`]: it never panics, and it
//! allocates no more than the count it was promised allows.
#![deny(clippy::indexing_slicing)]

mod bitpack;
mod bytes;
mod decimal;
mod histograms;
mod integers;
mod stats;
mod times;
mod values;

pub(crate) use bytes::{CodecError, Cursor, put_varint, put_zigzag, unzigzag, zigzag};
pub(crate) use decimal::{from_decimal, to_decimal};
pub(crate) use histograms::{
    PackedHistogram, PackedSample, decode_histograms, encode_histograms, rows_of_page,
};
pub use stats::{PageStats, StatFlags};
pub(crate) use times::{TIMES_MAX, decode_times, encode_times};
pub(crate) use values::{
    CHAIN_MAX, PageBytes, VALUES_MAX, ValuePage, WholeNumbers, encode_values, fill,
};

#[cfg(test)]
mod tests;
