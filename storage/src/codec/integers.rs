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

use std::cell::RefCell;

use super::{
    bitpack::{self, BLOCK, Block, Place},
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
    ROOM.with_borrow_mut(|room| {
        let mode = room.encode(integers, out);
        if integers.len() > ROOM_MAX {
            *room = Room::default();
        }
        mode
    })
}

/// Room for the numbers of a column, which the next one of the thread uses again.
#[derive(Debug, Default)]
struct Room {
    scaled: Vec<i64>,
    best: Plan,
    other: Plan,
}

thread_local! {
    static ROOM: RefCell<Room> = RefCell::default();
}

/// The room for a column of more integers is not kept.
const ROOM_MAX: usize = 4_096;

/// How a column can be stored.
#[derive(Debug)]
struct Plan {
    mode: Mode,
    base: i64,
    numbers: Vec<u64>,
    /// Of each block.
    widths: Vec<u32>,
    /// The bytes of all blocks.
    size: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            mode: Mode::Offset,
            base: 0,
            numbers: Vec::new(),
            widths: Vec::new(),
            size: usize::MAX,
        }
    }
}

impl Room {
    fn encode(&mut self, integers: &[i64], out: &mut Vec<u8>) -> Mode {
        let (&first, rest) = integers
            .split_first()
            .expect("a column has at least one integer");
        let divisor = divisor(first, rest);
        self.scaled.clear();
        let distances = rest.iter().map(|x| x.wrapping_sub(first));
        self.scaled.extend(distances);
        if divisor != 1 {
            divide_exactly(&mut self.scaled, divisor);
        }
        self.find_smallest();
        let Plan {
            mode,
            base,
            numbers,
            widths,
            ..
        } = &self.best;
        put_zigzag(first, out);
        put_varint(divisor, out);
        if mode.has_base() {
            put_zigzag(*base, out);
        }
        for (block, width) in numbers.chunks(BLOCK).zip(widths) {
            bitpack::write(block, *width, out);
        }
        *mode
    }

    /// The mode with the smallest blocks becomes the best; the one that decodes quicker of equals.
    fn find_smallest(&mut self) {
        let Self {
            scaled,
            best,
            other: plan,
        } = self;
        best.size = usize::MAX;
        let mut is_rising = false;
        // Steps are the most likely.
        for mode in [
            Mode::Step,
            Mode::Offset,
            Mode::ZigzagStep,
            Mode::ChangeOfStep,
        ] {
            // Zigzags of steps that are not negative are no smaller than the steps.
            if mode == Mode::ZigzagStep && is_rising {
                continue;
            }
            plan.mode = mode;
            plan.base = stored_numbers(mode, scaled, &mut plan.numbers);
            is_rising |= mode == Mode::Step && plan.base >= 0;
            plan.widths.clear();
            plan.size = 0;
            let limit = best.size.saturating_add(usize::from(mode == Mode::Offset));
            let is_smaller = plan.numbers.chunks(BLOCK).all(|block| {
                match bitpack::plan(block, limit - plan.size) {
                    Some((width, size)) => {
                        plan.widths.push(width);
                        plan.size += size;
                        true
                    }
                    None => false,
                }
            });
            if is_smaller && plan.size < limit {
                std::mem::swap(plan, best);
            }
            // Of steps that are all the same only the base is stored. Offsets of as few bytes, which are all
            // the same too, have no steps.
            let is_minimal = best.size == best.widths.len();
            if is_minimal && best.mode == Mode::Step && best.base != 0 && scaled.len() > 1 {
                break;
            }
        }
    }
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

/// The greatest common divisor; of nothing and a number the number. Source: Stein's binary algorithm.
fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    if a == 0 || b == 0 {
        return a | b;
    }
    let twos = (a | b).trailing_zeros();
    a >>= a.trailing_zeros();
    loop {
        b >>= b.trailing_zeros();
        let less = a.min(b);
        b = a.abs_diff(b);
        a = less;
        if b == 0 {
            return a << twos;
        }
    }
}

/// Divides multiples of `divisor`, which is not 0.
fn divide_exactly(multiples: &mut [i64], divisor: u64) {
    let twos = divisor.trailing_zeros();
    let odd = (divisor >> twos) as i64;
    // What gives 1 with an odd number, modulo 2^64: each of Newton's steps doubles the bits that are
    // right, three at first.
    let mut inverse = odd;
    for _ in 0..5 {
        inverse = inverse.wrapping_mul(2_i64.wrapping_sub(odd.wrapping_mul(inverse)));
    }
    for multiple in multiples {
        *multiple = (*multiple >> twos).wrapping_mul(inverse);
    }
}

/// Fills `numbers` with what `mode` stores; returns the base.
fn stored_numbers(mode: Mode, scaled: &[i64], numbers: &mut Vec<u64>) -> i64 {
    numbers.clear();
    let steps = || {
        let before = std::iter::once(&0).chain(scaled);
        scaled
            .iter()
            .zip(before)
            .map(|(y, before)| y.wrapping_sub(*before))
    };
    match mode {
        Mode::Offset => {
            let base = scaled.iter().copied().min().unwrap_or(0);
            numbers.extend(scaled.iter().map(|y| y.wrapping_sub(base) as u64));
            base
        }
        Mode::Step => {
            let base = steps().min().unwrap_or(0);
            numbers.extend(steps().map(|step| step.wrapping_sub(base) as u64));
            base
        }
        Mode::ZigzagStep => {
            numbers.extend(steps().map(zigzag));
            0
        }
        Mode::ChangeOfStep => {
            let mut step_before = 0_i64;
            numbers.extend(steps().map(|step| {
                let change = step.wrapping_sub(step_before);
                step_before = step;
                zigzag(change)
            }));
            0
        }
    }
}

/// The head of an encoded column.
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
        let mut reader = self.reader();
        in_pieces(self.len, skip, out, |piece| match piece {
            Piece::Read(places) => reader.read(places, scale),
            Piece::Pass(len) => reader.pass(len),
        })
    }

    /// Reads the column piece by piece.
    pub(super) fn reader(&self) -> Reader<'a> {
        let base = self.base.wrapping_mul(self.divisor);
        Reader {
            blocks: self.blocks,
            left: self.len,
            is_first: true,
            mode: self.mode,
            divisor: self.divisor,
            base: if self.mode == Mode::Offset {
                base.wrapping_add(self.first)
            } else {
                base
            },
            value: self.first,
            step: 0,
        }
    }
}

/// Integers of a column that are read together: the first piece has the first integer and a block, the
/// others a block each.
pub(super) const PIECE_MAX: usize = 1 + BLOCK;

/// What is to be done with a piece.
pub(super) enum Piece<'p, T> {
    /// To read it: as many integers as there are places.
    Read(&'p mut [T]),
    /// To go behind its integers, which are so many.
    Pass(usize),
}

/// Fills `out` with what lies at `skip ..` in a column of `len` integers. `read` gets one piece after
/// the other, to where the last one wanted ends.
pub(super) fn in_pieces<T: Place>(
    len: usize,
    skip: usize,
    out: &mut [T],
    mut read: impl FnMut(Piece<'_, T>) -> Result<(), CodecError>,
) -> Result<(), CodecError> {
    let end = skip
        .checked_add(out.len())
        .filter(|end| *end <= len)
        .ok_or(CodecError {
            expected: "a column of more integers",
        })?;
    let mut rest = out;
    let mut at = 0;
    while at < end {
        let piece = (len - at).min(if at == 0 { PIECE_MAX } else { BLOCK });
        let wanted = skip.clamp(at, at + piece)..end.min(at + piece).max(skip.min(at + piece));
        if wanted.is_empty() {
            read(Piece::Pass(piece))?;
        } else if let Some(to) = rest.get_mut(..piece) {
            // There is room for the whole piece; what comes behind it goes over what was too much.
            read(Piece::Read(to))?;
            if wanted.start > at {
                to.copy_within(wanted.start - at.., 0);
            }
        } else {
            let to = rest.get_mut(..wanted.len()).unwrap_or_default();
            read_part(piece, wanted.start - at, to, &mut read)?;
        }
        let (_, after) = std::mem::take(&mut rest).split_at_mut(wanted.len());
        rest = after;
        at += piece;
    }
    Ok(())
}

/// Reads a piece and hands on what lies in it at `skip ..`.
#[inline(never)]
fn read_part<T: Place>(
    piece: usize,
    skip: usize,
    out: &mut [T],
    read: &mut impl FnMut(Piece<'_, T>) -> Result<(), CodecError>,
) -> Result<(), CodecError> {
    let mut buffer = [T::EMPTY; PIECE_MAX];
    let buffer = buffer.get_mut(..piece).unwrap_or_default();
    read(Piece::Read(buffer))?;
    for (to, from) in out.iter_mut().zip(buffer.iter().skip(skip)) {
        *to = *from;
    }
    Ok(())
}

/// What integers are decoded to: first bits, then what is made of them.
pub(super) trait Decoded: Place {
    /// What is made of integers.
    type Scale;

    /// What is made of one.
    fn of_integer(integer: i64, scale: &Self::Scale) -> Self;

    /// An integer as it is put into its place before [`Decoded::scale`].
    fn unscaled(integer: i64) -> Self;

    /// What is added to integers of at most `magnitude` whose bits are put into their places instead.
    fn shift(magnitude: f64, scale: &Self::Scale) -> Option<i64>;

    /// Scales integers of at most `magnitude`, shifted or as they are.
    fn scale(places: &mut [Self], magnitude: f64, scale: &Self::Scale);
}

impl Decoded for i64 {
    type Scale = ();

    #[inline]
    fn of_integer(integer: i64, (): &()) -> Self {
        integer
    }

    #[inline]
    fn unscaled(integer: i64) -> Self {
        integer
    }

    #[inline]
    fn shift(_magnitude: f64, (): &()) -> Option<i64> {
        None
    }

    #[inline]
    fn scale(_places: &mut [Self], _magnitude: f64, (): &()) {}
}

/// 2^bits.
fn power_of_two(bits: u32) -> f64 {
    f64::from_bits((1023 + u64::from(bits)) << 52)
}

/// Where reading a column is.
pub(super) struct Reader<'a> {
    blocks: Cursor<'a>,
    /// Integers that were not read.
    left: usize,
    is_first: bool,
    mode: Mode,
    divisor: i64,
    /// The base, times the divisor; for offsets, from the first integer.
    base: i64,
    /// The last integer that was read, and the step to it.
    value: i64,
    step: i64,
}

impl Reader<'_> {
    /// Reads the next piece, of as many integers as there are places.
    pub(super) fn read<T: Decoded>(
        &mut self,
        places: &mut [T],
        scale: &T::Scale,
    ) -> Result<(), CodecError> {
        self.left = self.left.saturating_sub(places.len());
        let mut block = places;
        if std::mem::take(&mut self.is_first)
            && let Some((to, after)) = std::mem::take(&mut block).split_first_mut()
        {
            *to = T::of_integer(self.value, scale);
            block = after;
        }
        if !block.is_empty() {
            self.read_block(block, scale)?;
        }
        self.check_end()
    }

    /// Goes behind the next piece, of `len` integers.
    pub(super) fn pass(&mut self, len: usize) -> Result<(), CodecError> {
        self.left = self.left.saturating_sub(len);
        let block = len - usize::from(std::mem::take(&mut self.is_first));
        if block > 0 {
            self.pass_block(block)?;
        }
        self.check_end()
    }

    fn check_end(&self) -> Result<(), CodecError> {
        if self.left == 0 {
            self.blocks.end()?;
        }
        Ok(())
    }

    /// Reads a block of as many integers as there are places.
    fn read_block<T: Decoded>(
        &mut self,
        places: &mut [T],
        scale: &T::Scale,
    ) -> Result<(), CodecError> {
        let block = Block::read(&mut self.blocks, places.len())?;
        if block.is_sparse() {
            match self.mode {
                Mode::Offset => return self.read_exceptions(&block, places, scale),
                Mode::Step if self.base == 0 => {
                    return self.read_steps(&block, places, scale, |number| number as i64);
                }
                Mode::ZigzagStep => return self.read_steps(&block, places, scale, unzigzag),
                Mode::Step | Mode::ChangeOfStep => {}
            }
        }
        let bits = block.numbers(&mut self.blocks, places)?;
        let magnitude = self.magnitude(bits, places.len());
        match T::shift(magnitude, scale) {
            Some(shift) => self.integers(places, shift, |integer| T::from_bits(integer as u64)),
            None => self.integers(places, 0, T::unscaled),
        }
        T::scale(places, magnitude, scale);
        Ok(())
    }

    /// Goes behind a block of so many integers: of steps only the sum is needed.
    fn pass_block(&mut self, len: usize) -> Result<(), CodecError> {
        if self.mode == Mode::Offset {
            return bitpack::skip(&mut self.blocks, len);
        }
        if self.mode == Mode::Step
            && len == BLOCK
            && let Some(sum) = bitpack::sum(&mut self.blocks)?
        {
            self.pass_steps(self.base, len, sum as i64);
            return Ok(());
        }
        let mut numbers = [0_i64; BLOCK];
        let numbers = numbers.get_mut(..len).unwrap_or_default();
        if self.mode == Mode::ChangeOfStep {
            return self.read_block(numbers, &());
        }
        Block::read(&mut self.blocks, len)?.numbers(&mut self.blocks, numbers)?;
        let numbers = numbers.iter();
        if self.mode == Mode::ZigzagStep {
            let sum = numbers.fold(0, |sum, number| unzigzag(*number as u64).wrapping_add(sum));
            self.pass_steps(0, len, sum);
        } else {
            let sum = numbers.fold(0, |sum, number| number.wrapping_add(sum));
            self.pass_steps(self.base, len, sum);
        }
        Ok(())
    }

    /// Goes on by so many steps; `sum` is that of what is stored of them, above a base.
    fn pass_steps(&mut self, base: i64, len: usize, sum: i64) {
        let bases = base.wrapping_mul(len as i64);
        let steps = bases.wrapping_add(self.divisor.wrapping_mul(sum));
        self.value = self.value.wrapping_add(steps);
    }

    /// Turns the bits of numbers into integers, shifted, and what `made` makes of them.
    #[inline]
    fn integers<T: Decoded>(&mut self, places: &mut [T], shift: i64, made: impl Fn(i64) -> T) {
        if self.divisor == 1 {
            self.scaled_integers(places, shift, made, |number| number);
        } else {
            let divisor = self.divisor;
            self.scaled_integers(places, shift, made, |number| divisor.wrapping_mul(number));
        }
    }

    /// Reads a block of offsets that are all 0 but for the patches.
    fn read_exceptions<T: Decoded>(
        &mut self,
        block: &Block<'_>,
        places: &mut [T],
        scale: &T::Scale,
    ) -> Result<(), CodecError> {
        let (base, divisor) = (self.base, self.divisor);
        places.fill(T::of_integer(base, scale));
        block.patches(&mut self.blocks, places.len(), |index, number| {
            if let Some(place) = places.get_mut(index) {
                let offset = divisor.wrapping_mul(number as i64);
                *place = T::of_integer(base.wrapping_add(offset), scale);
            }
        })
    }

    /// Reads a block of steps that are all 0 but for the patches.
    fn read_steps<T: Decoded>(
        &mut self,
        block: &Block<'_>,
        places: &mut [T],
        scale: &T::Scale,
        step: impl Fn(u64) -> i64,
    ) -> Result<(), CodecError> {
        let mut value = self.value;
        let divisor = self.divisor;
        // Those from the latest step on.
        let mut rest = &mut *places;
        let mut at = 0;
        let len = rest.len();
        block.patches(&mut self.blocks, len, |index, number| {
            let (before, after) = std::mem::take(&mut rest)
                .split_at_mut_checked(index - at)
                .unwrap_or_default();
            before.fill(T::of_integer(value, scale));
            (rest, at) = (after, index);
            value = value.wrapping_add(divisor.wrapping_mul(step(number)));
        })?;
        rest.fill(T::of_integer(value, scale));
        self.value = value;
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

    #[inline]
    fn scaled_integers<T: Decoded>(
        &mut self,
        places: &mut [T],
        shift: i64,
        made: impl Fn(i64) -> T,
        scaled: impl Fn(i64) -> i64,
    ) {
        let base = self.base;
        let mut value = self.value.wrapping_add(shift);
        match self.mode {
            Mode::Offset => {
                let base = base.wrapping_add(shift);
                for place in places {
                    *place = made(base.wrapping_add(scaled(place.bits() as i64)));
                }
                return;
            }
            Mode::Step => {
                for place in places {
                    value = value.wrapping_add(base.wrapping_add(scaled(place.bits() as i64)));
                    *place = made(value);
                }
            }
            Mode::ZigzagStep => {
                for place in places {
                    value = value.wrapping_add(scaled(unzigzag(place.bits())));
                    *place = made(value);
                }
            }
            Mode::ChangeOfStep => {
                let mut step = self.step;
                for place in places {
                    step = step.wrapping_add(scaled(unzigzag(place.bits())));
                    value = value.wrapping_add(step);
                    *place = made(value);
                }
                self.step = step;
            }
        }
        self.value = value.wrapping_sub(shift);
    }
}
