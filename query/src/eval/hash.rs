//! The place of a label set between 0 and 1, for `limit_ratio`.
//!
//! **Source**: XXH64 (seed 0) over Prometheus's in-memory form of a label set: each name and value
//! with its length before it. The choice of series must be Prometheus's, so the hash must be too.

use narthex_storage::Labels;

const PRIMES: [u64; 5] = [
    0x9E37_79B1_85EB_CA87,
    0xC2B2_AE3D_27D4_EB4F,
    0x1656_67B1_9E37_79F9,
    0x85EB_CA77_C2B2_AE63,
    0x27D4_EB2F_1656_67C5,
];

/// The hash of the labels as a fraction of the largest hash.
pub(crate) fn hash_ratio(labels: &Labels) -> f64 {
    let mut bytes = Vec::with_capacity(128);
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        push_length(&mut bytes, text.len());
        bytes.extend_from_slice(text.as_bytes());
    }
    xxh64(&bytes) as f64 / u64::MAX as f64
}

/// One byte below 255; 255 and three bytes, lowest first, from there on.
fn push_length(bytes: &mut Vec<u8>, length: usize) {
    if length < 255 {
        bytes.push(length as u8);
    } else {
        bytes.extend_from_slice(&[255, length as u8, (length >> 8) as u8, (length >> 16) as u8]);
    }
}

fn round(accumulator: u64, input: u64) -> u64 {
    accumulator
        .wrapping_add(input.wrapping_mul(PRIMES[1]))
        .rotate_left(31)
        .wrapping_mul(PRIMES[0])
}

fn xxh64(mut input: &[u8]) -> u64 {
    let length = input.len() as u64;
    let mut hash = if input.len() >= 32 {
        let mut lanes = [
            PRIMES[0].wrapping_add(PRIMES[1]),
            PRIMES[1],
            0,
            0_u64.wrapping_sub(PRIMES[0]),
        ];
        while input.len() >= 32 {
            for lane in &mut lanes {
                let (word, rest) = take(input);
                *lane = round(*lane, word);
                input = rest;
            }
        }
        let mut hash = 0_u64;
        for (lane, turn) in lanes.iter().zip([1, 7, 12, 18]) {
            hash = hash.wrapping_add(lane.rotate_left(turn));
        }
        for lane in lanes {
            hash = (hash ^ round(0, lane))
                .wrapping_mul(PRIMES[0])
                .wrapping_add(PRIMES[3]);
        }
        hash
    } else {
        PRIMES[4]
    };
    hash = hash.wrapping_add(length);
    while input.len() >= 8 {
        let (word, rest) = take(input);
        hash = (hash ^ round(0, word))
            .rotate_left(27)
            .wrapping_mul(PRIMES[0])
            .wrapping_add(PRIMES[3]);
        input = rest;
    }
    if let Some((word, rest)) = input.split_first_chunk::<4>() {
        hash = (hash ^ u64::from(u32::from_le_bytes(*word)).wrapping_mul(PRIMES[0]))
            .rotate_left(23)
            .wrapping_mul(PRIMES[1])
            .wrapping_add(PRIMES[2]);
        input = rest;
    }
    for byte in input {
        hash = (hash ^ u64::from(*byte).wrapping_mul(PRIMES[4]))
            .rotate_left(11)
            .wrapping_mul(PRIMES[0]);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(PRIMES[1]);
    hash = (hash ^ (hash >> 29)).wrapping_mul(PRIMES[2]);
    hash ^ (hash >> 32)
}

/// The first eight bytes as a number, lowest first, and what follows them.
fn take(input: &[u8]) -> (u64, &[u8]) {
    match input.split_first_chunk::<8>() {
        Some((word, rest)) => (u64::from_le_bytes(*word), rest),
        None => (0, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_published_algorithm() {
        assert_eq!(xxh64(b""), 0xEF46_DB37_51D8_E999);
        assert_eq!(xxh64(b"a"), 0xD24E_C4F1_A98C_6E5B);
        assert_eq!(
            xxh64(b"Nobody inspects the spammish repetition"),
            0xFBCE_A83C_8A37_8BF1
        );
    }
}
