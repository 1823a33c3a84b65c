//! Pages of whole numbers, stored as what they are above those of a lower page: the buckets of a classic
//! histogram count what the bucket below them counts, and little more.
//!
//! Such a page is a page of integers whose column holds the differences to the column of another page,
//! which lies before it in its frame and may be such a page itself: a chain of at most [`CHAIN_MAX`]
//! pages, which ends at a page of integers. Differences wrap, so every two columns have them, and the
//! specials of a page are its own: what it holds never depends on what the lower page is of.

use super::{
    Body, EXPONENT, KIND_ABOVE, KIND_INTEGERS, PageBytes, Specials, VALUES_MAX, VERSION, ValuePage,
};
use crate::codec::{
    bytes::{CodecError, Cursor, put_varint},
    integers::{self, Integers, Mode, PIECE_MAX, Piece, Reader, in_pieces},
};

/// Most pages of a chain: as many are decoded for the highest.
pub(crate) const CHAIN_MAX: usize = 8;

/// What a page holds that is stored above another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Above<'a> {
    lower: PageBytes<'a>,
    differences: Integers<'a>,
}

impl<'a> Above<'a> {
    /// Reads what follows the specials of a page of `len` values.
    pub(super) fn parse(
        mode: Mode,
        len: usize,
        page: PageBytes<'a>,
        mut cursor: Cursor<'a>,
    ) -> Result<Self, CodecError> {
        let expected = "a lower page before a page in its frame";
        let mut number = || {
            let number = cursor.varint(expected)?;
            usize::try_from(number).map_err(|_| CodecError { expected })
        };
        let (back, bytes) = (number()?, number()?);
        let lower = page.before(back, bytes);
        Ok(Self {
            lower: lower.ok_or(CodecError { expected })?,
            differences: Integers::parse(mode, len, cursor)?,
        })
    }

    /// Decodes the values `skip .. skip + out.len()` of `len`, without the page's specials.
    #[inline(never)]
    pub(super) fn decode(
        &self,
        len: usize,
        skip: usize,
        out: &mut [f64],
    ) -> Result<(), CodecError> {
        let mut readers: [Option<Reader<'a>>; CHAIN_MAX] = [const { None }; CHAIN_MAX];
        let mut places = readers.iter_mut();
        let mut add = |integers: &Integers<'a>| {
            let place = places.next().ok_or(CodecError {
                expected: "a chain of at most 8 pages",
            })?;
            *place = Some(integers.reader());
            Ok(())
        };
        let mut above = *self;
        loop {
            add(&above.differences)?;
            let lower = ValuePage::parse_in(above.lower)?;
            let expected = "a lower page of as many whole numbers";
            match lower.body {
                _ if lower.len != len => return Err(CodecError { expected }),
                Body::Above { above: next, .. } => above = next,
                Body::Integers {
                    integers, scale, ..
                } if scale.is_one() => {
                    add(&integers)?;
                    break;
                }
                _ => return Err(CodecError { expected }),
            }
        }
        in_pieces(len, skip, out, |piece| {
            let mut readers = readers.iter_mut().flatten();
            let piece = match piece {
                Piece::Read(piece) => piece,
                Piece::Pass(len) => return readers.try_for_each(|reader| reader.pass(len)),
            };
            let (mut sums, mut differences) = ([0_i64; PIECE_MAX], [0_i64; PIECE_MAX]);
            let sums = sums.get_mut(..piece.len()).unwrap_or_default();
            let differences = differences.get_mut(..piece.len()).unwrap_or_default();
            if let Some(reader) = readers.next() {
                reader.read(sums, &())?;
            }
            for reader in readers {
                reader.read(differences, &())?;
                for (sum, difference) in sums.iter_mut().zip(&*differences) {
                    *sum = sum.wrapping_add(*difference);
                }
            }
            for (value, sum) in piece.iter_mut().zip(&*sums) {
                *value = *sum as f64;
            }
            Ok(())
        })
    }
}

/// The columns of an encoded page of whole numbers: what a page can be stored above.
#[derive(Debug)]
pub(crate) struct WholeNumbers {
    integers: Vec<i64>,
    /// Flags, length and specials, as the page has them.
    head: Vec<u8>,
}

impl WholeNumbers {
    /// Of a page that is stored by itself; `None`: it is not of whole numbers.
    pub(crate) fn of(page: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(page);
        let expected = "a page of whole numbers";
        let kind = cursor.u8(expected).ok()?;
        let flags = cursor.u8(expected).ok()?;
        let len = 1 + usize::try_from(cursor.varint(expected).ok()?).ok()?;
        let mode = (kind & 0xf)
            .checked_sub(KIND_INTEGERS)
            .and_then(Mode::from_code)?;
        if kind >> 4 != VERSION || flags & EXPONENT != 0 || len > VALUES_MAX {
            return None;
        }
        Specials::parse(len, flags, &mut cursor).ok()?;
        let head = page.get(1..page.len() - cursor.rest().len())?;
        let mut integers = vec![0; len];
        let column = Integers::parse(mode, len, cursor).ok()?;
        column.decode(0, &mut integers, &()).ok()?;
        Some(Self {
            integers,
            head: head.to_vec(),
        })
    }

    /// Appends the page as one above `lower`, whose page of `bytes` bytes begins `back` bytes before it;
    /// `false`: they cannot be, as their lengths differ.
    pub(crate) fn encode_above(
        &self,
        lower: &Self,
        (back, bytes): (u32, u32),
        out: &mut Vec<u8>,
    ) -> bool {
        if self.integers.len() != lower.integers.len() {
            return false;
        }
        let both = self.integers.iter().zip(&lower.integers);
        let differences: Vec<i64> = both.map(|(own, lower)| own.wrapping_sub(*lower)).collect();
        let kind = out.len();
        out.push(0);
        out.extend_from_slice(&self.head);
        put_varint(u64::from(back), out);
        put_varint(u64::from(bytes), out);
        let mode = integers::encode(&differences, out);
        if let Some(byte) = out.get_mut(kind) {
            *byte = VERSION << 4 | (KIND_ABOVE + mode.code());
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        STALE_MARKER_BITS, codec::encode_values, stale_marker, test_support::proptest_cases,
    };

    fn plain(values: &[f64]) -> Vec<u8> {
        let mut page = Vec::new();
        encode_values(values, &mut page);
        page
    }

    /// A frame with pages above one another, and where each is. What cannot be above the page before is
    /// stored by itself.
    fn chain(pages: &[Vec<f64>]) -> (Vec<u8>, Vec<(usize, usize)>) {
        let mut frame = b"before".to_vec();
        let mut places: Vec<(usize, usize)> = Vec::new();
        let mut lower: Option<WholeNumbers> = None;
        for values in pages {
            let start = frame.len();
            let page = plain(values);
            let numbers = WholeNumbers::of(&page);
            let is_above = match (&numbers, &lower, places.last()) {
                (Some(numbers), Some(lower), Some((at, bytes))) => {
                    let place = ((start - at) as u32, *bytes as u32);
                    numbers.encode_above(lower, place, &mut frame)
                }
                _ => false,
            };
            if !is_above {
                frame.extend_from_slice(&page);
            }
            places.push((start, frame.len() - start));
            lower = numbers;
        }
        (frame, places)
    }

    fn read(frame: &[u8], (start, bytes): (usize, usize)) -> Result<Vec<u64>, CodecError> {
        let expected = "a page in the frame";
        let page = PageBytes::new(frame, start, bytes).ok_or(CodecError { expected })?;
        let page = ValuePage::parse_in(page)?;
        let mut values = vec![0.5; page.len()];
        page.decode_range(0, &mut values)?;
        // Every part is the same.
        for skip in [0, 1, values.len() / 2, values.len() - 1] {
            let skip = skip.min(values.len() - 1);
            let mut part = vec![0.5; (values.len() - skip).div_ceil(2)];
            page.decode_range(skip, &mut part)?;
            let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&part), bits(&values[skip..skip + part.len()]));
        }
        Ok(values.iter().map(|value| value.to_bits()).collect())
    }

    /// The layout of `docs/format.md`, by hand.
    #[test]
    fn golden_bytes() {
        let pages = [vec![10.0, 20.0, 30.0], vec![11.0, 22.0, 33.0]];
        let (frame, places) = chain(&pages);
        assert_eq!(places, [(6, 7), (13, 9)]);
        // By itself: steps of 1 with the divisor 10 from 10.
        assert_eq!(frame[6..13], [0x15, 0, 2, 20, 10, 2, 0]);
        // Kind 8 + 1, 3 - 1 values, 7 bytes before it a page of 7 bytes; then steps of 1 from 1.
        assert_eq!(frame[13..], [0x19, 0, 2, 7, 7, 2, 1, 2, 0]);
        // The flags and the list of specials are those of the page by itself; 11, 11, 33 are 1, -9, 3
        // above: from 1, with the divisor 2, offsets of 0 and 6 above -5.
        let pages = [vec![10.0, 20.0, 30.0], vec![11.0, stale_marker(), 33.0]];
        let (frame, places) = chain(&pages);
        assert_eq!(
            frame[13..],
            [0x18, 0xc0, 2, 0, 1 << 2, 7, 7, 2, 2, 9, 3, 6 << 3]
        );
        assert_eq!(
            read(&frame, places[1]).unwrap(),
            [11_f64.to_bits(), STALE_MARKER_BITS, 33_f64.to_bits()]
        );
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            8 => (0_u32..50).prop_map(f64::from),
            1 => (-9_007_199_254_740_993_i64..9_007_199_254_740_993).prop_map(|x| x as f64),
            1 => any::<u64>().prop_map(f64::from_bits),
            1 => prop::sample::select(vec![stale_marker(), -0.0, f64::INFINITY, 0.5]),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(proptest_cases(64)))]

        #[test]
        fn pages_above_others_come_back_bit_for_bit(
            len in 1_usize..400,
            values in prop::collection::vec(prop::collection::vec(value(), 400), 1..CHAIN_MAX),
            is_rising in any::<bool>(),
        ) {
            let pages: Vec<Vec<f64>> = values
                .iter()
                .map(|values| {
                    let mut sum = 0.0;
                    let values = values.iter().take(len).map(|value| {
                        sum += if value.is_finite() { value.round() } else { 0.0 };
                        if is_rising && value.is_finite() { sum } else { *value }
                    });
                    values.collect()
                })
                .collect();
            let (frame, places) = chain(&pages);
            for (values, place) in pages.iter().zip(places) {
                let expected: Vec<u64> = values.iter().map(|value| value.to_bits()).collect();
                prop_assert_eq!(read(&frame, place).unwrap(), expected);
            }
        }

        #[test]
        fn damaged_chains_end_in_an_answer_or_an_error(
            len in 1_usize..40,
            count in 2_usize..12,
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let pages: Vec<Vec<f64>> = (1..=count)
                .map(|bucket| (0..len).map(|row| (row * bucket + row * row) as f64).collect())
                .collect();
            let (mut frame, places) = chain(&pages);
            for (index, byte) in damage {
                let at = index.index(frame.len());
                frame[at] = byte;
            }
            for place in places {
                drop(read(&frame, place));
            }
        }

        #[test]
        fn hostile_bytes_end_in_an_answer_or_an_error(
            heads in prop::collection::vec(0x14_u8..0x1c, 1..20),
            bytes in prop::collection::vec(prop_oneof![0_u8..9, any::<u8>()], 100..300),
        ) {
            let mut frame = bytes;
            for (at, head) in (0..).step_by(5).zip(heads) {
                frame[at] = head;
            }
            for start in 0..frame.len() {
                for bytes in [5, 9, 12, frame.len() - start] {
                    drop(read(&frame, (start, bytes)));
                }
            }
        }
    }

    #[test]
    fn chains_end() {
        let pages: Vec<Vec<f64>> = (1..=CHAIN_MAX as u32 + 1)
            .map(|bucket| (0..9).map(|row| f64::from(row * row * bucket)).collect())
            .collect();
        let (frame, places) = chain(&pages);
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        let highest = CHAIN_MAX - 1;
        assert_eq!(read(&frame, places[highest]), Ok(bits(&pages[highest])));
        let expected = "a chain of at most 8 pages";
        assert_eq!(
            read(&frame, places[CHAIN_MAX]),
            Err(CodecError { expected })
        );
    }

    #[test]
    fn lower_pages_are_whole_numbers_before_it_and_as_many() {
        let damaged = |frame: &[u8], expected| {
            let place = (7, frame.len() - 7);
            assert_eq!(read(frame, place), Err(CodecError { expected }));
        };
        let above = [0x19, 0, 2, 7, 7, 2, 1, 2, 0];
        let with = |lower: [u8; 7]| [&lower[..], &above].concat();
        assert_eq!(
            read(&with([0x15, 0, 2, 20, 10, 2, 0]), (7, 9)),
            Ok([11.0, 22.0, 33.0].map(f64::to_bits).to_vec())
        );
        // One value less; tenths; a constant.
        let unfit = "a lower page of as many whole numbers";
        damaged(&with([0x15, 0, 1, 20, 10, 2, 0]), unfit);
        damaged(&with([0x15, 1, 2, 20, 10, 2, 0]), unfit);
        damaged(&with([0x11, 0, 2, 0x80, 0x80, 0x80, 1]), unfit);
        // Itself, something that reaches into it, something before the frame, nothing.
        let missing = "a lower page before a page in its frame";
        let mut frame = with([0x15, 0, 2, 20, 10, 2, 0]);
        for (back, bytes) in [(0, 0), (0, 9), (6, 7), (8, 7), (9, 9)] {
            (frame[10], frame[11]) = (back, bytes);
            let expected = if (back, bytes) == (0, 0) {
                "the version of a page"
            } else {
                missing
            };
            damaged(&frame, expected);
        }
        (frame[10], frame[11], frame[8]) = (7, 7, 1);
        damaged(&frame, "whole numbers above a lower page");
        assert!(ValuePage::parse(&frame[7..]).is_err());
    }
}
