//! Blocks of up to 128 numbers, each stored in the same number of bits, with patches for the few
//! that need more.
//!
//! A block: one byte with the width in bits (0 to 64) and, in its highest bit, whether patches
//! follow; the numbers, each from its lowest bit, without gaps, padded to a whole byte; then the
//! patches: how many, and for each its index in the block and, as a varint, the bits above the width.
//! What a block holds is known to its reader: all but the last of a column have 128 numbers.

use super::bytes::{CodecError, Cursor, put_varint};

/// Numbers in a full block.
pub(super) const BLOCK: usize = 128;

const PATCHED: u8 = 0x80;

/// Words of a full block at 64 bits, and one to read beyond.
const WORDS: usize = BLOCK + 1;

/// The width that takes the fewest bytes, and how many.
pub(super) fn plan(numbers: &[u64]) -> (u32, usize) {
    // How many numbers need exactly so many bits.
    let mut needing = [0_u32; 65];
    for number in numbers {
        if let Some(count) = needing.get_mut(64 - number.leading_zeros() as usize) {
            *count += 1;
        }
    }
    let mut best = (64, usize::MAX);
    let mut above = 0_usize;
    // The bytes that the patches' high bits take, were the width one less each step.
    for width in (0..=64_usize).rev() {
        let packed = 1 + (numbers.len() * width).div_ceil(8);
        let patches = if above == 0 {
            0
        } else {
            let high: usize = (needing.iter().enumerate())
                .skip(width + 1)
                .map(|(bits, count)| *count as usize * (1 + (bits - width).div_ceil(7)))
                .sum();
            1 + high
        };
        if packed + patches <= best.1 && above <= numbers.len() / 4 {
            best = (width as u32, packed + patches);
        }
        above += needing.get(width).map_or(0, |count| *count as usize);
        if above > numbers.len() / 4 {
            break;
        }
    }
    best
}

/// Appends a block of at most [`BLOCK`] numbers in `width` bits each.
pub(super) fn write(numbers: &[u64], width: u32, out: &mut Vec<u8>) {
    let fits = |number: u64| width == 64 || number >> width == 0;
    let patches = numbers.iter().filter(|number| !fits(**number)).count();
    out.push(width as u8 | if patches > 0 { PATCHED } else { 0 });
    let mut pending = 0_u128;
    let mut bits = 0;
    let mask = mask(width);
    for number in numbers {
        pending |= u128::from(number & mask) << bits;
        bits += width;
        while bits >= 8 {
            out.push(pending as u8);
            pending >>= 8;
            bits -= 8;
        }
    }
    if bits > 0 {
        out.push(pending as u8);
    }
    if patches > 0 {
        out.push(patches as u8);
        for (index, number) in numbers.iter().enumerate() {
            if !fits(*number) {
                out.push(index as u8);
                put_varint(number >> width, out);
            }
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

/// A block's bytes, apart.
struct Block<'a> {
    width: u32,
    packed: &'a [u8],
    patches: u8,
}

fn header<'a>(cursor: &mut Cursor<'a>, len: usize) -> Result<Block<'a>, CodecError> {
    let byte = cursor.u8("the width of a block")?;
    let width = u32::from(byte & !PATCHED);
    if width > 64 {
        return Err(CodecError {
            expected: "a block's width of at most 64 bits",
        });
    }
    let packed = cursor.take((len * width as usize).div_ceil(8), "the numbers of a block")?;
    let patches = if byte & PATCHED == 0 {
        0
    } else {
        cursor.u8("the number of patches of a block")?
    };
    Ok(Block {
        width,
        packed,
        patches,
    })
}

/// Reads the patches of a block of `len` numbers and hands each on: its index, and what to add.
fn patches(
    cursor: &mut Cursor<'_>,
    block: &Block<'_>,
    len: usize,
    mut patch: impl FnMut(usize, u64),
) -> Result<(), CodecError> {
    for _ in 0..block.patches {
        let index = usize::from(cursor.u8("the index of a patch")?);
        let high = cursor.varint("the high bits of a patch")?;
        if index >= len || block.width == 64 || high > u64::MAX >> block.width {
            return Err(CodecError {
                expected: "a patch within its block and 64 bits",
            });
        }
        patch(index, high << block.width);
    }
    Ok(())
}

/// Steps over a block of `len` numbers, checking everything a read of it would check.
pub(super) fn skip(cursor: &mut Cursor<'_>, len: usize) -> Result<(), CodecError> {
    let block = header(cursor, len)?;
    patches(cursor, &block, len, |_, _| {})
}

/// Reads a block of `len` numbers (at most [`BLOCK`]) into the front of `out`; what follows them
/// there is undefined.
pub(super) fn read(
    cursor: &mut Cursor<'_>,
    len: usize,
    out: &mut [u64; BLOCK],
) -> Result<(), CodecError> {
    let block = header(cursor, len)?;
    unpack(block.packed, block.width, out);
    patches(cursor, &block, len, |index, high| {
        if let Some(number) = out.get_mut(index) {
            *number |= high;
        }
    })
}

/// Unpacks as if the block were full: missing bytes count as zeros.
fn unpack(packed: &[u8], width: u32, out: &mut [u64; BLOCK]) {
    if width == 0 {
        out.fill(0);
        return;
    }
    let mut words = [0_u64; WORDS];
    let (chunks, tail) = packed.as_chunks::<8>();
    for (word, chunk) in words.iter_mut().zip(chunks) {
        *word = u64::from_le_bytes(*chunk);
    }
    if !tail.is_empty()
        && let Some(word) = words.get_mut(chunks.len())
    {
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(tail) {
            *to = *from;
        }
        *word = u64::from_le_bytes(last);
    }
    macro_rules! by_width {
        ($($width:literal)*) => {
            match width {
                $($width => unpack_words::<$width>(&words, out),)*
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

/// One copy a width, so that shifts and places are constants.
#[expect(
    clippy::indexing_slicing,
    reason = "both indexes are below WORDS for every width up to 64, and the compiler proves it"
)]
fn unpack_words<const WIDTH: usize>(words: &[u64; WORDS], out: &mut [u64; BLOCK]) {
    let mask = mask(WIDTH as u32);
    for (index, number) in out.iter_mut().enumerate() {
        let bit = index * WIDTH;
        let (word, shift) = (bit / 64, bit % 64);
        let low = words[word] >> shift;
        // Shifting twice keeps a shift by 64 out.
        let high = (words[word + 1] << 1) << (63 - shift);
        *number = (low | high) & mask;
    }
}
