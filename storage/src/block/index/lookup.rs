//! From the hash of a label set to its ordinal.
//!
//! Open addressing over u32 slots, five for four series: a slot is 0, or the ordinal plus one in as
//! many low bits as the number of series needs, and above them the lowest bits of the hash. A set is first looked for at `hash * slots / 2^64`, then in the slots that follow, past
//! the end from the first, up to a free one.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use crate::codec::CodecError;

const LOOKUP: &str = "a table of label hashes";
const DAMAGED: CodecError = CodecError { expected: LOOKUP };

/// The hash of a label set, the same in every process: xxh3 of its pairs back to back, each text
/// after its length (u32).
pub(super) fn hash(encoded: &[u8]) -> u64 {
    xxh3_64(encoded)
}

/// Low bits of a slot that hold an ordinal plus one.
const fn ordinal_bits(series: u32) -> u32 {
    u32::BITS - series.leading_zeros()
}

fn home(hash: u64, slots: usize) -> usize {
    ((u128::from(hash) * slots as u128) >> 64) as usize
}

/// The part of a hash that a slot keeps. The upper bits of the hash choose the slot, so these are
/// the lower ones.
const fn mark(hash: u64, bits: u32) -> u32 {
    match (hash as u32).checked_shl(bits) {
        Some(mark) => mark,
        None => 0,
    }
}

/// The table's bytes for the hashes of all series, in their order.
#[expect(clippy::indexing_slicing, reason = "places within the table")]
pub(super) fn write(hashes: &[u64]) -> Vec<u8> {
    let bits = ordinal_bits(hashes.len() as u32);
    let len = hashes.len() + hashes.len() / 4 + 1;
    let mut slots = vec![0_u32; len];
    for (ordinal, hash) in hashes.iter().enumerate() {
        let mut at = home(*hash, len);
        while slots[at] != 0 {
            at = if at + 1 == len { 0 } else { at + 1 };
        }
        slots[at] = mark(*hash, bits) | (ordinal as u32 + 1);
    }
    slots.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// Where the table is in a file.
#[derive(Debug, Clone)]
pub(super) struct Lookup {
    slots: Range<usize>,
    bits: u32,
}

impl Lookup {
    pub(super) fn open(section: &Range<usize>, series: u32) -> Result<Self, CodecError> {
        if section.len() < 4 || !section.len().is_multiple_of(4) {
            return Err(DAMAGED);
        }
        Ok(Self {
            slots: section.clone(),
            bits: ordinal_bits(series),
        })
    }

    /// The first ordinal under `hash` for which `is` answers true.
    pub(super) fn find(
        &self,
        file: &[u8],
        hash: u64,
        mut is: impl FnMut(u32) -> Result<bool, CodecError>,
    ) -> Result<Option<u32>, CodecError> {
        let slots = file.get(self.slots.clone()).ok_or(DAMAGED)?;
        let slots = slots.as_chunks::<4>().0;
        let start = home(hash, slots.len());
        let (before, after) = slots.split_at_checked(start).ok_or(DAMAGED)?;
        let ordinals = 1_u32.unbounded_shl(self.bits).wrapping_sub(1);
        for slot in after.iter().chain(before) {
            let slot = u32::from_le_bytes(*slot);
            if slot == 0 {
                return Ok(None);
            }
            if slot & !ordinals == mark(hash, self.bits) {
                let ordinal = (slot & ordinals).checked_sub(1).ok_or(DAMAGED)?;
                if is(ordinal)? {
                    return Ok(Some(ordinal));
                }
            }
        }
        Ok(None)
    }
}
