//! When a group is evaluated: every interval, at a phase of its own.
//!
//! The phase is the hash of the group's file and name, so that groups spread over the interval and a
//! restart goes on at the same times. Prometheus 3.14 has the same phases.

use std::time::Duration;

use narthex_storage::Timestamp;
use xxhash_rust::xxh64::xxh64;

/// A group's phase, in nanoseconds before it is cut to the interval.
///
/// **Source**: Prometheus hashes the label set `{file, name}` with xxHash64 over its encoding: each
/// text behind its length, which takes one byte below 255, else 255 and three bytes.
pub(crate) fn group_hash(file: &str, name: &str) -> u64 {
    let mut bytes = Vec::with_capacity(file.len() + name.len() + 16);
    for text in ["file", file, "name", name] {
        let length = text.len();
        if length < 255 {
            bytes.push(length as u8);
        } else {
            bytes.push(255);
            bytes.extend_from_slice(&(length as u32).to_le_bytes()[..3]);
        }
        bytes.extend_from_slice(text.as_bytes());
    }
    xxh64(&bytes, 0)
}

/// The latest slot not after `now`.
pub(crate) fn slot(hash: u64, interval: Duration, now: Timestamp) -> Timestamp {
    let interval_ns = i128::try_from(interval.as_nanos().max(1)).unwrap_or(i128::MAX);
    let offset_ns = i128::from(hash) % interval_ns;
    let adjusted = i128::from(now) * 1_000_000 - offset_ns;
    let base = adjusted - adjusted % interval_ns;
    // Prometheus cuts the nanoseconds off its sample times.
    let slot_ns = base + offset_ns;
    Timestamp::try_from(slot_ns.div_euclid(1_000_000)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_lie_an_interval_apart_and_never_after_now() {
        let interval = Duration::from_secs(15);
        let hash = group_hash("rules.yml", "a");
        let first = slot(hash, interval, 1_700_000_000_000);
        assert!(first <= 1_700_000_000_000 && first > 1_700_000_000_000 - 15_000);
        assert_eq!(slot(hash, interval, first), first);
        assert_eq!(slot(hash, interval, first + 15_000), first + 15_000);
        assert_eq!(slot(hash, interval, first - 1), first - 15_000);
    }
}
