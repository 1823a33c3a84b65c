//! A column of integers: the encoding under value pages and time columns.
//!
//! The first integer is stored apart; of the rest, with `y = (x - first) / divisor` (wrapping), one
//! of four series of numbers is stored in blocks, whichever is smallest:
//!
//! | mode | stored number `n[i]` | good for |
//! |---|---|---|
//! | 0 offset | `y[i] - base` | gauges |
//! | 1 step | `y[i] - y[i-1] - base` | counters, timestamps |
//! | 2 zigzag step | `zigzag(y[i] - y[i-1])` | slow gauges |
//! | 3 change of step | `zigzag(y[i] - 2 y[i-1] + y[i-2])` | steady counters |
//!
//! All arithmetic wraps at 64 bits, so every column of `i64` comes back; a divisor above one is
//! only used where `x - first` does not overflow.

use super::{
    bitpack::{self, BLOCK},
    bytes::{CodecError, Cursor, put_varint, put_zigzag, unzigzag, zigzag},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Offset,
    Step,
    ZigzagStep,
    ChangeOfStep,
}

impl Mode {
    const ALL: [Self; 4] = [
        Self::Offset,
        Self::Step,
        Self::ZigzagStep,
        Self::ChangeOfStep,
    ];

    pub(super) const fn code(self) -> u8 {
        self as u8
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.code() == code)
    }

    const fn has_base(self) -> bool {
        matches!(self, Self::Offset | Self::Step)
    }
}

/// Encodes a non-empty column and says in which mode.
pub(super) fn encode(integers: &[i64], out: &mut Vec<u8>) -> Mode {
    let (&first, rest) = integers
        .split_first()
        .expect("a column has at least one integer");
    let divisor = divisor(first, rest);
    let scaled: Vec<i64> = if divisor == 1 {
        rest.iter().map(|x| x.wrapping_sub(first)).collect()
    } else {
        rest.iter().map(|x| (x - first) / divisor as i64).collect()
    };
    let mut numbers = Vec::with_capacity(rest.len());
    let mut best: Option<(usize, Mode, i64, Vec<u64>)> = None;
    for mode in Mode::ALL {
        let base = stored_numbers(mode, &scaled, &mut numbers);
        let size = numbers
            .chunks(BLOCK)
            .map(|block| bitpack::plan(block).1)
            .sum();
        if best.as_ref().is_none_or(|(smallest, ..)| size < *smallest) {
            let previous = best.replace((size, mode, base, std::mem::take(&mut numbers)));
            numbers = previous.map(|(.., numbers)| numbers).unwrap_or_default();
        }
    }
    let (_, mode, base, numbers) = best.expect("there are four modes");
    put_zigzag(first, out);
    put_varint(divisor, out);
    if mode.has_base() {
        put_zigzag(base, out);
    }
    for block in numbers.chunks(BLOCK) {
        bitpack::write(block, bitpack::plan(block).0, out);
    }
    mode
}

/// The greatest common divisor of the distances to `first`, 1 where one of them overflows.
fn divisor(first: i64, rest: &[i64]) -> u64 {
    let mut divisor = 0;
    let mut previous = first;
    for &x in rest {
        if x.checked_sub(first).is_none() {
            return 1;
        }
        if x != previous {
            divisor = greatest_common_divisor(divisor, x.abs_diff(previous));
            if divisor == 1 {
                return 1;
            }
        }
        previous = x;
    }
    // The largest distance is below 2^63, so the divisor fits an i64.
    divisor.clamp(1, i64::MAX as u64)
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Fills `numbers` with what `mode` stores; returns the base.
fn stored_numbers(mode: Mode, scaled: &[i64], numbers: &mut Vec<u64>) -> i64 {
    numbers.clear();
    let mut previous = 0_i64;
    let mut step_before = 0_i64;
    let steps = scaled.iter().map(|y| {
        let step = y.wrapping_sub(previous);
        previous = *y;
        step
    });
    let with_base = |numbers: &mut Vec<u64>| {
        let base = numbers.iter().map(|n| *n as i64).min().unwrap_or(0);
        for number in numbers.iter_mut() {
            *number = number.wrapping_sub(base as u64);
        }
        base
    };
    match mode {
        Mode::Offset => {
            numbers.extend(scaled.iter().map(|y| *y as u64));
            with_base(numbers)
        }
        Mode::Step => {
            numbers.extend(steps.map(|step| step as u64));
            with_base(numbers)
        }
        Mode::ZigzagStep => {
            numbers.extend(steps.map(zigzag));
            0
        }
        Mode::ChangeOfStep => {
            numbers.extend(steps.map(|step| {
                let change = step.wrapping_sub(step_before);
                step_before = step;
                zigzag(change)
            }));
            0
        }
    }
}

/// The checked head of an encoded column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Integers<'a> {
    mode: Mode,
    first: i64,
    divisor: i64,
    base: i64,
    /// Integers in the column, at least one.
    len: usize,
    blocks: Cursor<'a>,
}

impl<'a> Integers<'a> {
    /// Checks a column of `len` integers and leaves the cursor behind it.
    pub(super) fn parse(
        mode: Mode,
        len: usize,
        cursor: &mut Cursor<'a>,
    ) -> Result<Self, CodecError> {
        let first = cursor.zigzag("the first integer of a column")?;
        let divisor = cursor.varint("the divisor of a column")?;
        let divisor = i64::try_from(divisor).ok().filter(|divisor| *divisor > 0);
        let base = if mode.has_base() {
            cursor.zigzag("the base of a column")?
        } else {
            0
        };
        let parsed = Self {
            mode,
            first,
            divisor: divisor.ok_or(CodecError {
                expected: "a positive divisor",
            })?,
            base,
            len,
            blocks: *cursor,
        };
        let mut left = len.saturating_sub(1);
        while left > 0 {
            let block = left.min(BLOCK);
            bitpack::skip(cursor, block)?;
            left -= block;
        }
        Ok(parsed)
    }

    /// Hands on the integers from the first, in stretches of at most [`BLOCK`], until `limit` of
    /// them were handed on.
    pub(super) fn decode(
        &self,
        limit: usize,
        mut sink: impl FnMut(&[i64]),
    ) -> Result<(), CodecError> {
        sink(&[self.first]);
        let mut left = self.len.min(limit).saturating_sub(1);
        let mut in_column = self.len.saturating_sub(1);
        let mut cursor = self.blocks;
        let mut numbers = [0_u64; BLOCK];
        let mut integers = [0_i64; BLOCK];
        let mut value = self.first;
        let mut step = 0_i64;
        let base = self.base.wrapping_mul(self.divisor);
        while left > 0 {
            bitpack::read(&mut cursor, in_column.min(BLOCK), &mut numbers)?;
            match self.mode {
                Mode::Offset => {
                    let base = base.wrapping_add(self.first);
                    for (integer, number) in integers.iter_mut().zip(&numbers) {
                        *integer = base.wrapping_add(self.divisor.wrapping_mul(*number as i64));
                    }
                }
                Mode::Step => {
                    for (integer, number) in integers.iter_mut().zip(&numbers) {
                        let step = base.wrapping_add(self.divisor.wrapping_mul(*number as i64));
                        value = value.wrapping_add(step);
                        *integer = value;
                    }
                }
                Mode::ZigzagStep => {
                    for (integer, number) in integers.iter_mut().zip(&numbers) {
                        let step = self.divisor.wrapping_mul(unzigzag(*number));
                        value = value.wrapping_add(step);
                        *integer = value;
                    }
                }
                Mode::ChangeOfStep => {
                    for (integer, number) in integers.iter_mut().zip(&numbers) {
                        step = step.wrapping_add(self.divisor.wrapping_mul(unzigzag(*number)));
                        value = value.wrapping_add(step);
                        *integer = value;
                    }
                }
            }
            let block = left.min(BLOCK);
            if let Some(block) = integers.get(..block) {
                sink(block);
            }
            left -= block;
            in_column -= block.min(in_column);
        }
        Ok(())
    }
}
