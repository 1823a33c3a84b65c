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

/// The latest slot not after `now`. Slots lie between milliseconds; the fraction is cut off, as
/// Prometheus cuts it off its sample times.
pub(crate) fn slot(hash: u64, interval: Duration, now: Timestamp) -> Timestamp {
    const NANOSECONDS: i128 = 1_000_000;
    let interval = i128::try_from(interval.as_nanos().max(1)).unwrap_or(i128::MAX);
    let offset = i128::from(hash) % interval;
    let end_of_now = i128::from(now) * NANOSECONDS + (NANOSECONDS - 1);
    let slot = (end_of_now - offset).div_euclid(interval) * interval + offset;
    Timestamp::try_from(slot.div_euclid(NANOSECONDS)).unwrap_or(now)
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
        assert_eq!(slot(hash, interval, first + 14_999), first);
        assert_eq!(slot(hash, interval, first + 15_000), first + 15_000);
        assert_eq!(slot(hash, interval, first - 1), first - 15_000);
    }

    /// Times at which Prometheus 3.5.3 evaluated groups of `r.yml` every two seconds.
    #[test]
    fn phases_are_those_of_prometheus() {
        let phase = |name: &str| {
            let hash = group_hash("r.yml", name);
            slot(hash, Duration::from_secs(2), 1_795_250_200_000) % 2000
        };
        assert_eq!(phase("a"), 1_795_250_181_525 % 2000);
        assert_eq!(phase("lim"), 1_795_250_196_380 % 2000);
        assert_eq!(phase("off"), 1_795_250_182_733 % 2000);
    }
}
