//! Patterns of gaps: which timestamps of a stretch of a time column a series has a sample at.
//!
//! The stretch begins and ends with a sample. Two encodings, whichever is shorter:
//!
//! | byte 0 | the rest |
//! |---|---|
//! | 0 | lengths less one, as varints: samples, gap, samples, gap … samples |
//! | 1 | a bit for each timestamp, lowest first, zeros up to a whole byte |
//!
//! Equal patterns are stored once: what a target did not answer, many of its series miss.
#![deny(clippy::indexing_slicing)]

use super::frames::{FramesWriter, Place, Stream};
use super::recent::Recent;
use crate::{
    codec::{CodecError, Cursor, put_varint},
    error::IoError,
};

/// Frame, offset and bytes, 4 bytes each.
pub(super) const PRESENCE_ENTRY_BYTES: usize = 12;
/// Patterns that are remembered to be shared.
const RECENT_BYTES: usize = 4 << 20;

const KIND_RUNS: u8 = 0;
const KIND_BITS: u8 = 1;

/// Appends the pattern of ascending positions, of which there is at least one.
pub(super) fn encode(positions: &[u32], out: &mut Vec<u8>) {
    let start = out.len();
    let (Some(first), Some(last)) = (positions.first(), positions.last()) else {
        return;
    };
    out.push(KIND_RUNS);
    let mut end_before = None;
    for run in positions.chunk_by(|a, b| a + 1 == *b) {
        let (Some(from), Some(to)) = (run.first(), run.last()) else {
            continue;
        };
        if let Some(end) = end_before {
            put_varint(u64::from(from - end - 1), out);
        }
        put_varint(u64::from(to - from), out);
        end_before = Some(to + 1);
    }
    let bits_bytes = (last - first + 1).div_ceil(8) as usize;
    if out.len() - start <= 1 + bits_bytes {
        return;
    }
    out.truncate(start);
    out.push(KIND_BITS);
    out.resize(start + 1 + bits_bytes, 0);
    for position in positions {
        let bit = position - first;
        if let Some(byte) = out.get_mut(start + 1 + (bit / 8) as usize) {
            *byte |= 1 << (bit % 8);
        }
    }
}

/// Appends the positions of a pattern: `len` of them, the first at `first` and the last at
/// `first + span - 1`. After an error `out` is as before.
pub(super) fn decode(
    bytes: &[u8],
    first: u32,
    span: u32,
    len: u32,
    out: &mut Vec<u32>,
) -> Result<(), CodecError> {
    let before = out.len();
    let decoded = decode_into(bytes, first, span, len, out);
    let added = out.get(before..).unwrap_or_default();
    let ends = (added.first().copied(), added.last().copied());
    let is_whole = added.len() == len as usize
        && ends == (Some(first), Some(first.wrapping_add(span.wrapping_sub(1))));
    if decoded.is_ok() && is_whole {
        return Ok(());
    }
    out.truncate(before);
    decoded.and(Err(CodecError {
        expected: "as many positions as the page has values",
    }))
}

fn decode_into(
    bytes: &[u8],
    first: u32,
    span: u32,
    len: u32,
    out: &mut Vec<u32>,
) -> Result<(), CodecError> {
    let mut cursor = Cursor::new(bytes);
    let outside = CodecError {
        expected: "positions within the stretch of their page",
    };
    let end = first.checked_add(span).ok_or(outside)?;
    match cursor.u8("the kind of a pattern of gaps")? {
        KIND_RUNS => {
            let mut at = first;
            let mut left = len;
            while !cursor.rest().is_empty() {
                let run = cursor.varint("the length of a run")?.saturating_add(1);
                let run = u32::try_from(run).map_err(|_| outside)?;
                let run_end = at.checked_add(run).filter(|end_of| *end_of <= end);
                let run_end = run_end.ok_or(outside)?;
                left = left.checked_sub(run).ok_or(outside)?;
                out.extend(at..run_end);
                at = run_end;
                if !cursor.rest().is_empty() {
                    let gap = cursor.varint("the length of a gap")?.saturating_add(1);
                    let gap = u32::try_from(gap).map_err(|_| outside)?;
                    at = at.checked_add(gap).ok_or(outside)?;
                }
            }
            Ok(())
        }
        KIND_BITS => {
            let bits = cursor.rest();
            if bits.len() != span.div_ceil(8) as usize {
                return Err(outside);
            }
            let mut left = len;
            for (index, byte) in bits.iter().enumerate() {
                let mut byte = *byte;
                left = left.checked_sub(byte.count_ones()).ok_or(outside)?;
                while byte != 0 {
                    let bit = index as u32 * 8 + byte.trailing_zeros();
                    let position = first.saturating_add(bit);
                    if position >= end {
                        return Err(outside);
                    }
                    out.push(position);
                    byte &= byte - 1;
                }
            }
            Ok(())
        }
        _ => Err(CodecError {
            expected: "a pattern of gaps of a known kind",
        }),
    }
}

/// Where a pattern of a table is.
pub(super) fn place(table: &[u8], number: u32) -> Result<Place, CodecError> {
    let expected = "a pattern of gaps of the block";
    let start = number as usize * PRESENCE_ENTRY_BYTES;
    let mut cursor = Cursor::new(table.get(start..).unwrap_or_default());
    Ok(Place {
        frame: cursor.u32(expected)?,
        offset: cursor.u32(expected)?,
        bytes: cursor.u32(expected)?,
    })
}

/// Stores patterns and writes their table.
#[derive(Debug)]
pub(super) struct PresenceWriter {
    /// As in the section.
    table: Vec<u8>,
    recent: Recent<u32>,
    encoded: Vec<u8>,
}

impl PresenceWriter {
    pub(super) fn new() -> Self {
        Self {
            table: Vec::new(),
            recent: Recent::new(RECENT_BYTES),
            encoded: Vec::new(),
        }
    }

    /// The number of a pattern of ascending positions.
    pub(super) fn put(
        &mut self,
        positions: &[u32],
        frames: &mut FramesWriter,
    ) -> Result<u32, IoError> {
        self.encoded.clear();
        encode(positions, &mut self.encoded);
        let table = &mut self.table;
        let encoded = &self.encoded;
        self.recent.find_or(encoded, || {
            let number = (table.len() / PRESENCE_ENTRY_BYTES) as u32;
            let place = frames.put(Stream::Times, encoded)?;
            for field in [place.frame, place.offset, place.bytes] {
                table.extend(field.to_le_bytes());
            }
            Ok(number)
        })
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.table
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::test_support::proptest_cases;

    fn round_trip(positions: &[u32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(positions, &mut bytes);
        let (first, last) = (positions[0], positions[positions.len() - 1]);
        let mut decoded = vec![7];
        let len = positions.len() as u32;
        decode(&bytes, first, last - first + 1, len, &mut decoded).unwrap();
        assert_eq!(decoded[1..], *positions);
        bytes
    }

    #[test]
    fn patterns_are_as_drawn() {
        assert_eq!(round_trip(&[5, 6, 9, 99]), [0, 1, 1, 0, 88, 0]);
        assert_eq!(round_trip(&[3, 5, 7, 8]), [1, 0b11_0101]);
        assert_eq!(round_trip(&[5, 6, 9]), [1, 0b1_0011]);
        assert_eq!(round_trip(&[0]), [0, 0]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(proptest_cases(32)))]

        #[test]
        fn every_pattern_comes_back(
            present in prop::collection::vec(prop::bool::weighted(0.8), 1..1500),
            first in 0_u32..60_000,
        ) {
            let positions = present.iter().enumerate();
            let positions: Vec<u32> = positions
                .filter_map(|(at, is)| is.then_some(first + at as u32))
                .collect();
            prop_assume!(!positions.is_empty());
            round_trip(&positions);
        }

        #[test]
        fn hostile_bytes_end_in_an_error_or_that_many_positions(
            bytes in prop::collection::vec(any::<u8>(), 0..40),
            first in any::<u32>(), span in 1_u32..2000, len in 0_u32..1024,
        ) {
            let mut out = vec![1];
            let decoded = decode(&bytes, first, span, len, &mut out);
            let expected = if decoded.is_ok() { 1 + len as usize } else { 1 };
            prop_assert_eq!(out.len(), expected);
            prop_assert!(out[1..].is_sorted_by(|a, b| a < b));
        }
    }
}
