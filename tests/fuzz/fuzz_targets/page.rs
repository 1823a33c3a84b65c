//! Any bytes: a page that parses decodes, and what it decodes to is encoded and decoded again.
#![no_main]

#[path = "../../../storage/src/codec/mod.rs"]
mod codec;
mod codec_source;

use codec_source::{Corruption, STALE_MARKER_BITS, Timestamp, is_stale_marker};
use libfuzzer_sys::fuzz_target;

fn decode(bytes: &[u8]) -> Option<Vec<f64>> {
    let page = codec::ValuePage::parse(bytes).ok()?;
    let mut out = vec![0.0; page.len()];
    page.decode_range(0, &mut out).expect("a page that parses decodes");
    Some(out)
}

fuzz_target!(|bytes: &[u8]| {
    if let Some(values) = decode(bytes) {
        let mut encoded = Vec::new();
        codec::encode_values(&values, &mut encoded);
        let again = decode(&encoded).expect("an encoded page parses");
        assert!(again.iter().map(|v| v.to_bits()).eq(values.iter().map(|v| v.to_bits())));
    }
});
