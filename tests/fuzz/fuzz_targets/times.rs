//! Any bytes: a time column that decodes rises strictly and is encoded and decoded again.
#![no_main]

#[path = "../../../storage/src/codec/mod.rs"]
mod codec;
mod codec_source;

use codec_source::{Corruption, STALE_MARKER_BITS, Timestamp, is_stale_marker};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut times = Vec::new();
    if codec::decode_times(bytes, &mut times).is_ok() {
        assert!(times.is_sorted_by(|a, b| a < b));
        let mut encoded = Vec::new();
        codec::encode_times(&times, &mut encoded);
        let mut again = Vec::new();
        codec::decode_times(&encoded, &mut again).expect("an encoded column decodes");
        assert_eq!(again, times);
    }
});
