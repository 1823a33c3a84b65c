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
    bitpack::{self, BLOCK, Place},
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
    /// Reads the head of a column of `len` integers, at least one; its blocks are the rest of the
    /// bytes and are checked when they are decoded.
    pub(super) fn parse(
        mode: Mode,
        len: usize,
        mut cursor: Cursor<'a>,
    ) -> Result<Self, CodecError> {
        let first = cursor.zigzag("the first integer of a column")?;
        let divisor = cursor.varint("the divisor of a column")?;
        let divisor = i64::try_from(divisor).ok().filter(|divisor| *divisor > 0);
        let base = if mode.has_base() {
            cursor.zigzag("the base of a column")?
        } else {
            0
        };
        Ok(Self {
            mode,
            first,
            divisor: divisor.ok_or(CodecError {
                expected: "a positive divisor",
            })?,
            base,
            len,
            blocks: cursor,
        })
    }

    /// Decodes the integers `skip .. skip + out.len()`; of those before, only what they need is read.
    ///
    /// # Errors
    /// When the blocks read are not what an encoder writes, the column is shorter, or bytes follow it
    /// and its last integer was decoded. `out` is then undefined.
    pub(super) fn decode<T: Decoded>(
        &self,
        skip: usize,
        out: &mut [T],
        scale: &T::Scale,
    ) -> Result<(), CodecError> {
        let end = skip
            .checked_add(out.len())
            .filter(|end| *end <= self.len)
            .ok_or(CodecError {
                expected: "a column of more integers",
            })?;
        let mut rest = out;
        if skip == 0
            && let Some((to, after)) = std::mem::take(&mut rest).split_first_mut()
        {
            *to = T::of_integer(self.first);
            T::scale(std::slice::from_mut(to), f64::INFINITY, scale);
            rest = after;
        }
        let mut cursor = self.blocks;
        let mut state = State::of(self);
        let mut at = 1;
        while at < end {
            let len = (self.len - at).min(BLOCK);
            if skip <= at && at + len <= end {
                let (to, after) = std::mem::take(&mut rest).split_at_mut(len);
                rest = after;
                state.read(&mut cursor, to, scale)?;
            } else if at + len <= skip && self.mode == Mode::Offset {
                bitpack::skip(&mut cursor, len)?;
            } else {
                let start = skip.clamp(at, at + len);
                let used = end.min(at + len) - start;
                let (to, after) = std::mem::take(&mut rest).split_at_mut(used);
                rest = after;
                state.read_part(&mut cursor, len, start - at, to, scale)?;
            }
            at += len;
        }
        if end == self.len {
            cursor.end()?;
        }
        Ok(())
    }
}

/// What integers are decoded to.
pub(super) trait Decoded: Place {
    /// What is made of the doubles of integers.
    type Scale;

    fn of_integer(integer: i64) -> Self;

    /// Whether [`Decoded::scale`] does anything.
    fn is_scaled(scale: &Self::Scale) -> bool;

    /// Scales what integers of at most `magnitude` became.
    fn scale(places: &mut [Self], magnitude: f64, scale: &Self::Scale);
}

impl Decoded for i64 {
    type Scale = ();

    #[inline]
    fn of_integer(integer: i64) -> Self {
        integer
    }

    fn is_scaled((): &()) -> bool {
        false
    }

    fn scale(_places: &mut [Self], _magnitude: f64, (): &()) {}
}

/// 2^bits.
fn power_of_two(bits: u32) -> f64 {
    f64::from_bits((1023 + u64::from(bits)) << 52)
}

/// Where decoding a column is: the integer and the step before the next number.
#[derive(Clone, Copy)]
struct State {
    mode: Mode,
    divisor: i64,
    /// The base, times the divisor; for offsets, from the first integer.
    base: i64,
    value: i64,
    step: i64,
}

impl State {
    fn of(column: &Integers<'_>) -> Self {
        let base = column.base.wrapping_mul(column.divisor);
        Self {
            mode: column.mode,
            divisor: column.divisor,
            base: if column.mode == Mode::Offset {
                base.wrapping_add(column.first)
            } else {
                base
            },
            value: column.first,
            step: 0,
        }
    }

    /// Reads a block of `len` integers and hands on those from `skip`, as many as there are places.
    #[inline(never)]
    fn read_part<T: Decoded>(
        &mut self,
        cursor: &mut Cursor<'_>,
        len: usize,
        skip: usize,
        out: &mut [T],
        scale: &T::Scale,
    ) -> Result<(), CodecError> {
        let mut block = [T::EMPTY; BLOCK];
        let block = block.get_mut(..len).unwrap_or_default();
        self.read(cursor, block, scale)?;
        for (to, from) in out.iter_mut().zip(block.iter().skip(skip)) {
            *to = *from;
        }
        Ok(())
    }

    /// Reads a block of as many integers as there are places.
    fn read<T: Decoded>(
        &mut self,
        cursor: &mut Cursor<'_>,
        places: &mut [T],
        scale: &T::Scale,
    ) -> Result<(), CodecError> {
        let bits = bitpack::read(cursor, places)?;
        let before = *self;
        if self.divisor == 1 {
            self.integers(places, |number| number);
        } else {
            let divisor = self.divisor;
            self.integers(places, |number| divisor.wrapping_mul(number));
        }
        if T::is_scaled(scale) {
            T::scale(places, before.magnitude(bits, places.len()), scale);
        }
        Ok(())
    }

    /// What the integers of the next `len` numbers of so many bits may amount to.
    fn magnitude(&self, bits: u32, len: usize) -> f64 {
        let number_max = power_of_two(bits) * self.divisor as f64;
        let len = len as f64;
        let magnitude = |integer: i64| integer.unsigned_abs() as f64;
        match self.mode {
            Mode::Offset => magnitude(self.base) + number_max,
            Mode::Step => magnitude(self.value) + (magnitude(self.base) + number_max) * len,
            Mode::ZigzagStep => magnitude(self.value) + number_max * len,
            Mode::ChangeOfStep => {
                magnitude(self.value) + (magnitude(self.step) + number_max * len) * len
            }
        }
    }

    /// Turns the bits of numbers into integers, in place.
    #[inline]
    fn integers<T: Decoded>(&mut self, places: &mut [T], scaled: impl Fn(i64) -> i64) {
        let base = self.base;
        let (mut value, mut step) = (self.value, self.step);
        match self.mode {
            Mode::Offset => {
                for place in places {
                    value = base.wrapping_add(scaled(place.bits() as i64));
                    *place = T::of_integer(value);
                }
            }
            Mode::Step => {
                for place in places {
                    value = value.wrapping_add(base.wrapping_add(scaled(place.bits() as i64)));
                    *place = T::of_integer(value);
                }
            }
            Mode::ZigzagStep => {
                for place in places {
                    value = value.wrapping_add(scaled(unzigzag(place.bits())));
                    *place = T::of_integer(value);
                }
            }
            Mode::ChangeOfStep => {
                for place in places {
                    step = step.wrapping_add(scaled(unzigzag(place.bits())));
                    value = value.wrapping_add(step);
                    *place = T::of_integer(value);
                }
            }
        }
        (self.value, self.step) = (value, step);
    }
}
