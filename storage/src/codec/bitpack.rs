//! Blocks of up to 128 numbers, each stored in the same number of bits, with patches for the few
//! that need more.
//!
//! A block: one byte with the width in bits (0 to 64) and, in its highest bit, whether patches
//! follow; the numbers, each from its lowest bit, without gaps, padded to a whole byte; then the
//! patches: how many, and for each, ascending, its index in the block and, as a varint, the bits above
//! the width.
//! What a block holds is known to its reader: all but the last of a column have 128 numbers.

use super::bytes::{CodecError, Cursor, put_varint};

/// Numbers in a full block.
pub(super) const BLOCK: usize = 128;

const PATCHED: u8 = 0x80;
/// A sparse block has no more patches: filling what is between more of them takes longer than going
/// through all numbers.
const SPARSE_MAX: u8 = 2;
/// Of so many bits eight numbers lie in a word, which are added up there.
const NARROW_MAX: u32 = 8;

/// The width that takes the fewest bytes, and how many; `None` when they are `limit` or more.
pub(super) fn plan(numbers: &[u64], limit: usize) -> Option<(u32, usize)> {
    let bytes = |width: usize| 1 + (numbers.len() * width).div_ceil(8);
    let patches_max = numbers.len() / 4;
    let all = numbers.iter().fold(0, |all, number| all | number);
    let widest = 64 - all.leading_zeros() as usize;
    // Too many numbers are above the greatest width that takes less than the limit.
    let most = limit.saturating_sub(1).saturating_mul(8) / numbers.len().max(1);
    if most < widest {
        let above = numbers.iter().map(|number| u64::from(number >> most != 0));
        if above.sum::<u64>() as usize > patches_max {
            return None;
        }
    }
    let mut lengths = [0_u8; BLOCK];
    bit_lengths(numbers, all, &mut lengths);
    // The places behind the numbers hold 0.
    let above = |width: u8| {
        let longer = lengths.iter().map(|length| u8::from(*length > width));
        usize::from(longer.fold(0, u8::wrapping_add))
    };
    let mut best = (widest, bytes(widest));
    // Of the widths 1 to 7 above, the nearest last: the bytes of the high bits of numbers above them.
    let mut high_bytes = [0; 7];
    for width in (0..widest).rev() {
        let count = above(width as u8);
        if count > patches_max {
            break;
        }
        // The high bits of a number of `width + 1 + 7 n` bits no longer fit `n` bytes.
        let high = count + high_bytes[0];
        high_bytes = [
            high_bytes[1],
            high_bytes[2],
            high_bytes[3],
            high_bytes[4],
            high_bytes[5],
            high_bytes[6],
            high,
        ];
        let size = bytes(width) + 1 + count + high;
        if size < best.1 {
            best = (width, size);
        }
    }
    (best.1 < limit).then_some((best.0 as u32, best.1))
}

/// How many bits each number takes; `all` has every bit that one of them has.
fn bit_lengths(numbers: &[u64], all: u64, lengths: &mut [u8; BLOCK]) {
    /// 2^52: the lower bits of it and of an integer below are those of the integer.
    const SHIFT: f64 = (1_u64 << 52) as f64;
    const EXPONENT_OF_ONE: u64 = 1023;
    let pairs = lengths.iter_mut().zip(numbers);
    if all >> 51 == 0 {
        // The exponent of a double is the length of the integer, less one; none of 2 n + 1 is 0.
        for (length, number) in pairs {
            let odd = f64::from_bits((number << 1 | 1) | SHIFT.to_bits()) - SHIFT;
            *length = ((odd.to_bits() >> 52) - EXPONENT_OF_ONE) as u8;
        }
    } else {
        for (length, number) in pairs {
            *length = 64 - number.leading_zeros() as u8;
        }
    }
}

/// Appends a block of at most [`BLOCK`] numbers in `width` bits each.
pub(super) fn write(numbers: &[u64], width: u32, out: &mut Vec<u8>) {
    let fits = |number: u64| width == 64 || number >> width == 0;
    let head = out.len();
    out.push(width as u8);
    let end = out.len() + (numbers.len() * width as usize).div_ceil(8);
    let mask = mask(width);
    let mut all = 0;
    let mut word = 0_u64;
    let mut bits = 0;
    for &number in numbers {
        all |= number;
        let number = number & mask;
        word |= number << bits;
        bits += width;
        if bits >= 64 {
            out.extend_from_slice(&word.to_le_bytes());
            bits -= 64;
            // What of the number is left; shifting twice keeps a shift by 64 out.
            word = (number >> 1) >> (width - bits - 1);
        }
    }
    out.extend_from_slice(&word.to_le_bytes());
    out.truncate(end);
    if fits(all) {
        return;
    }
    if let Some(byte) = out.get_mut(head) {
        *byte |= PATCHED;
    }
    let patches = numbers.iter().filter(|number| !fits(**number)).count();
    out.push(patches as u8);
    for (index, number) in numbers.iter().enumerate() {
        if !fits(*number) {
            out.push(index as u8);
            put_varint(number >> width, out);
        }
    }
}

const fn mask(width: u32) -> u64 {
    if width == 64 {
        u64::MAX
    } else {
        (1 << width) - 1
    }
}

/// A block without its patches.
pub(super) struct Block<'a> {
    /// Its numbers, and everything behind them: unpacking may look at bytes beyond the block.
    bytes: &'a [u8],
    width: u32,
    patches: u8,
}

impl<'a> Block<'a> {
    /// Checks that the numbers of a block of `len` are there and leaves the cursor behind them: its
    /// patches are to be read next.
    pub(super) fn read(cursor: &mut Cursor<'a>, len: usize) -> Result<Self, CodecError> {
        let byte = cursor.u8("the width of a block")?;
        let bytes = cursor.rest();
        let width = u32::from(byte & !PATCHED);
        if width > 64 {
            return Err(CodecError {
                expected: "a block's width of at most 64 bits",
            });
        }
        cursor.take((len * width as usize).div_ceil(8), "the numbers of a block")?;
        let patches = if byte & PATCHED == 0 {
            0
        } else {
            cursor.u8("the number of patches of a block")?
        };
        Ok(Self {
            bytes,
            width,
            patches,
        })
    }

    /// All numbers are 0, or all but a few.
    pub(super) const fn is_sparse(&self) -> bool {
        self.width == 0 && self.patches <= SPARSE_MAX
    }

    /// Reads the patches of a block of `len` numbers and hands each on: its index, ascending, and what
    /// to add.
    #[inline]
    pub(super) fn patches(
        &self,
        cursor: &mut Cursor<'_>,
        len: usize,
        mut patch: impl FnMut(usize, u64),
    ) -> Result<(), CodecError> {
        let mut next = 0;
        for _ in 0..self.patches {
            let index = usize::from(cursor.u8("the index of a patch")?);
            let high = cursor.varint("the high bits of a patch")?;
            if index < next || index >= len || self.width == 64 || high > u64::MAX >> self.width {
                return Err(CodecError {
                    expected: "a patch behind the one before, within its block and 64 bits",
                });
            }
            next = index + 1;
            patch(index, high << self.width);
        }
        Ok(())
    }

    /// Fills `out`, which has as many places as the block has numbers, and leaves the cursor behind the
    /// patches. Returns how many bits the largest number may have.
    pub(super) fn numbers<T: Place>(
        &self,
        cursor: &mut Cursor<'_>,
        out: &mut [T],
    ) -> Result<u32, CodecError> {
        unpack(self.bytes, self.width, out);
        let mut all_high = 0;
        self.patches(cursor, out.len(), |index, high| {
            all_high |= high;
            if let Some(number) = out.get_mut(index) {
                *number = T::from_bits(number.bits() | high);
            }
        })?;
        Ok(self.width.max(64 - all_high.leading_zeros()))
    }
}

/// The sum of a full block, modulo 2^64, or nothing where its numbers have to be unpacked for it: the cursor is where
/// it was then.
pub(super) fn sum(cursor: &mut Cursor<'_>) -> Result<Option<u64>, CodecError> {
    let mut after = *cursor;
    let block = Block::read(&mut after, BLOCK)?;
    if block.width > NARROW_MAX {
        return Ok(None);
    }
    let bytes = block.bytes.get(..BLOCK / GROUP * block.width as usize);
    let bytes = bytes.unwrap_or_default();
    let mut sum = match block.width {
        1 => sum_groups::<1>(bytes),
        2 => sum_groups::<2>(bytes),
        3 => sum_groups::<3>(bytes),
        4 => sum_groups::<4>(bytes),
        5 => sum_groups::<5>(bytes),
        6 => sum_groups::<6>(bytes),
        7 => sum_groups::<7>(bytes),
        8 => sum_groups::<8>(bytes),
        _ => 0,
    };
    block.patches(&mut after, BLOCK, |_, high| sum = sum.wrapping_add(high))?;
    *cursor = after;
    Ok(Some(sum))
}

/// Adds up groups of eight numbers without taking them apart: neighbours first, then pairs, then fours. Of two
/// that are added one is shifted to the other, and what is left of it has room for their sum.
fn sum_groups<const WIDTH: usize>(bytes: &[u8]) -> u64 {
    /// The lower halves of pieces of so many bits.
    const fn halves(bits: usize) -> u64 {
        let mut all = 0;
        let mut at = 0;
        while at + bits / 2 <= 64 {
            all |= mask(bits as u32 / 2) << at;
            at += bits;
        }
        all
    }
    let groups = bytes.as_chunks::<WIDTH>().0.iter();
    let sums = groups.map(|group| {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(group) {
            *to = *from;
        }
        let numbers = u64::from_le_bytes(word);
        let by_two = const { halves(2 * WIDTH) };
        let pairs = (numbers & by_two) + (numbers >> WIDTH & by_two);
        let by_four = const { halves(4 * WIDTH) };
        let fours = (pairs & by_four) + (pairs >> (2 * WIDTH) & by_four);
        (fours & mask(4 * WIDTH as u32)) + (fours >> (4 * WIDTH))
    });
    sums.sum()
}

/// Steps over a block of `len` numbers, checking everything a read of it would check.
pub(super) fn skip(cursor: &mut Cursor<'_>, len: usize) -> Result<(), CodecError> {
    Block::read(cursor, len)?.patches(cursor, len, |_, _| {})
}

/// A place that holds a number first, as bits, and then what is made of it.
pub(super) trait Place: Copy {
    const EMPTY: Self;
    fn from_bits(bits: u64) -> Self;
    fn bits(self) -> u64;
}

impl Place for i64 {
    const EMPTY: Self = 0;
    #[inline]
    fn from_bits(bits: u64) -> Self {
        bits as Self
    }
    #[inline]
    fn bits(self) -> u64 {
        self as u64
    }
}

impl Place for f64 {
    const EMPTY: Self = 0.0;
    #[inline]
    fn from_bits(bits: u64) -> Self {
        Self::from_bits(bits)
    }
    #[inline]
    fn bits(self) -> u64 {
        self.to_bits()
    }
}

/// Numbers are unpacked in groups that begin at a whole byte whatever the width.
const GROUP: usize = 8;

/// Unpacks as many numbers as there are places; where `bytes` end, zeros follow.
fn unpack<T: Place>(bytes: &[u8], width: u32, out: &mut [T]) {
    macro_rules! by_width {
        ($($width:literal)*) => {
            match width {
                0 => out.fill(T::from_bits(0)),
                $($width => unpack_groups::<T, $width, { $width + 8 }>(bytes, out),)*
                _ => unreachable!("widths were checked to be at most 64"),
            }
        };
    }
    by_width!(
        1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32
        33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63
        64
    );
}

/// One copy a width, so that shifts and places are constants. A group of `WIDTH` bytes is read
/// through a window of `WINDOW = WIDTH + 8`; the last groups, which lack bytes to look at, from a
/// copy with zeros behind it.
fn unpack_groups<T: Place, const WIDTH: usize, const WINDOW: usize>(bytes: &[u8], out: &mut [T]) {
    let whole = (bytes.len().saturating_sub(WINDOW - WIDTH) / WIDTH).min(out.len() / GROUP);
    let (groups, last) = out.split_at_mut(whole * GROUP);
    let mut rest = bytes;
    for group in groups.as_chunks_mut::<GROUP>().0 {
        if let Some(window) = rest.first_chunk::<WINDOW>() {
            *group = unpack_group::<WIDTH, WINDOW>(window).map(T::from_bits);
        }
        rest = rest.get(WIDTH..).unwrap_or_default();
    }
    if last.is_empty() {
        return;
    }
    let mut padded = [0_u8; 2 * 64 + 16];
    // Fewer than WINDOW bytes are left, or fewer than eight numbers.
    for (to, from) in padded.iter_mut().zip(rest) {
        *to = *from;
    }
    let mut rest = &padded[..];
    for places in last.chunks_mut(GROUP) {
        if let Some(window) = rest.first_chunk::<WINDOW>() {
            let group = unpack_group::<WIDTH, WINDOW>(window);
            for (to, number) in places.iter_mut().zip(group) {
                *to = T::from_bits(number);
            }
        }
        rest = rest.get(WIDTH..).unwrap_or_default();
    }
}

/// All places are constants within the window, for every width up to 64: nothing is checked here.
#[inline]
fn unpack_group<const WIDTH: usize, const WINDOW: usize>(window: &[u8; WINDOW]) -> [u64; GROUP] {
    let word = |at: usize| {
        let word = window[at..]
            .first_chunk()
            .expect("a window of 8 more bytes");
        u64::from_le_bytes(*word)
    };
    std::array::from_fn(|index| {
        let bit = index * WIDTH;
        let (byte, shift) = (bit / 8, bit % 8);
        mask(WIDTH as u32)
            & if WIDTH <= 8 {
                word(0) >> bit
            } else if WIDTH <= 57 {
                word(byte) >> shift
            } else {
                // Shifting twice keeps a shift by 64 out.
                word(byte) >> shift | (word(byte + 8) << 1) << (63 - shift)
            }
    })
}
