//! Any bytes: what a page decodes to is the same in parts, and is encoded and decoded again, as are
//! its statistics.
#![no_main]

#[path = "../../../storage/src/codec/mod.rs"]
mod codec;
mod codec_source;

use codec_source::{Corruption, STALE_MARKER_BITS, Timestamp, is_stale_marker};
use libfuzzer_sys::fuzz_target;

fn decode(bytes: &[u8]) -> Option<Vec<f64>> {
    let page = codec::ValuePage::parse(bytes).ok()?;
    let mut out = vec![0.0; page.len()];
    page.decode_range(0, &mut out).ok()?;
    Some(out)
}

fn same(one: &[f64], other: &[f64]) -> bool {
    one.iter().map(|v| v.to_bits()).eq(other.iter().map(|v| v.to_bits()))
}

fuzz_target!(|bytes: &[u8]| {
    let Some(values) = decode(bytes) else {
        return;
    };
    let page = codec::ValuePage::parse(bytes).expect("it decoded");
    let skip = values.len() / 3;
    let mut part = vec![0.0; values.len().div_ceil(2)];
    page.decode_range(skip, &mut part).expect("a part of a page that decodes");
    assert!(same(&part, &values[skip..skip + part.len()]));
    let mut encoded = Vec::new();
    codec::encode_values(&values, &mut encoded);
    assert!(same(&decode(&encoded).expect("an encoded page decodes"), &values));
    let stats = codec::PageStats::of(&values);
    let mut encoded = Vec::new();
    stats.encode(values.len() as u32, &mut encoded);
    let mut cursor = codec::Cursor::new(&encoded);
    assert!(codec::PageStats::decode(&mut cursor, values.len() as u32) == Ok(stats));
});
