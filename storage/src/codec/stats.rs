//! What a page's values add up to: enough to answer some range functions without decoding it.
//!
//! **What it is.** [`PageStats`]: count, first, last, extremes, sum, counter resets and changes of the
//! values of one page, and their encoding in 3 to some 15 bytes. `docs/format.md` has the layout.
//!
//! **What it is not.** It answers no query: whoever combines pages adds what happens between two of
//! them (a reset, a change), in time order.
//!
//! **What always holds.** Staleness markers are left out everywhere, as range functions leave them
//! out. What a flag of [`StatFlags`] says holds bit for bit: a loop over the values in time order, as
//! Prometheus runs it, ends in the same bits.

use super::{
    VALUES_MAX,
    bytes::{CodecError, Cursor, put_varint, put_zigzag},
    decimal::{POWERS, as_integer},
};
use crate::is_stale_marker;

/// Which fields of a [`PageStats`] may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StatFlags(u8);

impl StatFlags {
    /// `min` and `max`: there are values and none of them is NaN.
    pub const EXTREMES: Self = Self(1);
    /// `sum`: every value is an integer and the sum of their magnitudes is below 2^53, so that every
    /// partial sum in any order is exact.
    pub const SUM: Self = Self(2);
    /// `reset_sum`: no value is NaN, and either there is at most one reset, or every value is an
    /// integer and the magnitudes of first, last and the values before resets add up to less than
    /// 2^53.
    pub const RESET_SUM: Self = Self(4);

    const ALL: u8 = 7;

    /// Whether all flags of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    fn set(&mut self, other: Self, on: bool) {
        if on {
            self.0 |= other.0;
        }
    }
}

/// Statistics of the values of a page, staleness markers left out.
///
/// `count`, `first`, `last`, `resets` and `changes` always hold (`first` and `last` if `count` is not
/// 0); the others where [`StatFlags`] say so, and are 0 where not.
///
/// Of values that compare equal (−0 and +0) the first in time gives `min` and `max` their bits:
/// `max_over_time` starts with the first value and replaces it only by a greater one. Whoever goes on
/// from page to page in time order with the same rule gets its bits, infinities included.
#[derive(Debug, Clone, Copy, Default)]
pub struct PageStats {
    /// Values that are not staleness markers.
    pub count: u32,
    /// Times a value was less than the one before it.
    pub resets: u32,
    /// Times a value was not equal to the one before it; NaN after NaN is no change.
    pub changes: u32,
    /// The first value.
    pub first: f64,
    /// The last value.
    pub last: f64,
    /// The least value.
    pub min: f64,
    /// The greatest value.
    pub max: f64,
    /// The sum of all values, starting from +0.
    pub sum: f64,
    /// The sum of the values before each reset, in time order; 0 where there is none.
    pub reset_sum: f64,
    /// Which of the fields above hold.
    pub valid: StatFlags,
}

/// Equal bit for bit.
impl PartialEq for PageStats {
    fn eq(&self, other: &Self) -> bool {
        let bits = |stats: &Self| stats.floats().map(f64::to_bits);
        let counts = |stats: &Self| (stats.count, stats.resets, stats.changes, stats.valid);
        counts(self) == counts(other) && bits(self) == bits(other)
    }
}

impl Eq for PageStats {}

/// Integers are added up exactly below here.
const EXACT_MAX: f64 = (1_u64 << 53) as f64;

/// The first byte: flags in its low three bits, then these, then the coding.
const MONOTONE: u8 = 0x08;
const HAS_COUNT: u8 = 0x10;
const HAS_RESETS: u8 = 0x20;
const CODING_SHIFT: u32 = 6;
const CODING_INTEGERS: u8 = 0;
const CODING_DECIMALS: u8 = 1;
const CODING_BITS: u8 = 2;

impl PageStats {
    /// Of the values of a page, in time order.
    pub(crate) fn of(values: &[f64]) -> Self {
        if let Some(stats) = Self::of_integers(values) {
            return stats;
        }
        let mut present = values.iter().copied().filter(|v| !is_stale_marker(*v));
        let Some(first) = present.next() else {
            return Self::default();
        };
        let mut stats = Self {
            count: 1,
            first,
            last: first,
            min: first,
            max: first,
            sum: first + 0.0,
            // What leaves any number as it is, also −0.
            reset_sum: -0.0,
            ..Self::default()
        };
        let mut integers = is_integer(first);
        let mut numbers = !first.is_nan();
        let mut magnitudes = first.abs();
        let mut reset_magnitudes = first.abs();
        for value in present {
            let previous = stats.last;
            stats.last = value;
            stats.count += 1;
            integers &= is_integer(value);
            numbers &= !value.is_nan();
            stats.sum += value;
            magnitudes += value.abs();
            if value.to_bits() == previous.to_bits() {
                continue;
            }
            if value < stats.min {
                stats.min = value;
            }
            if value > stats.max {
                stats.max = value;
            }
            if value < previous {
                stats.resets += 1;
                stats.reset_sum += previous;
                reset_magnitudes += previous.abs();
            }
            if value != previous && !(value.is_nan() && previous.is_nan()) {
                stats.changes += 1;
            }
        }
        reset_magnitudes += stats.last.abs();
        let valid = &mut stats.valid;
        valid.set(StatFlags::EXTREMES, numbers);
        valid.set(StatFlags::SUM, integers && magnitudes < EXACT_MAX);
        let exact = integers && reset_magnitudes < EXACT_MAX;
        valid.set(
            StatFlags::RESET_SUM,
            numbers && (stats.resets <= 1 || exact),
        );
        stats.clear_invalid();
        stats
    }

    /// The same of integers so small that every sum of them is exact in any order, without −0; `None` when not
    /// all are. Several are looked at together.
    fn of_integers(values: &[f64]) -> Option<Self> {
        let (&first, rest) = values.split_first()?;
        let (&last, before) = values.split_last()?;
        if values.len() > VALUES_MAX || is_odd(first) != 0 {
            return None;
        }
        let mut lanes = [Lane::new(first); LANES];
        let (chunks, tail) = rest.as_chunks::<LANES>();
        let (before_chunks, before_tail) = before.as_chunks::<LANES>();
        for (values, before) in chunks.iter().zip(before_chunks) {
            for ((lane, value), before) in lanes.iter_mut().zip(values).zip(before) {
                lane.add(*before, *value);
            }
        }
        let [mut all, others @ ..] = lanes;
        for (value, before) in tail.iter().zip(before_tail) {
            all.add(*before, *value);
        }
        for other in others {
            all.join(&other);
        }
        (all.odd == 0).then_some(Self {
            count: values.len() as u32,
            resets: all.resets as u32,
            changes: all.changes as u32,
            first,
            last,
            min: all.min,
            max: all.max,
            sum: first + all.sum,
            reset_sum: all.reset_sum,
            valid: StatFlags(StatFlags::ALL),
        })
    }

    /// Of a page of `len` times the same value: what need not be stored.
    pub(crate) fn of_constant(value: f64, len: u32) -> Self {
        if is_stale_marker(value) || len == 0 {
            return Self::default();
        }
        let mut valid = StatFlags::default();
        valid.set(StatFlags::EXTREMES, !value.is_nan());
        valid.set(StatFlags::RESET_SUM, !value.is_nan());
        let magnitudes = value.abs() * f64::from(len);
        valid.set(StatFlags::SUM, is_integer(value) && magnitudes < EXACT_MAX);
        let mut stats = Self {
            count: len,
            first: value,
            last: value,
            min: value,
            max: value,
            sum: value * f64::from(len) + 0.0,
            valid,
            ..Self::default()
        };
        stats.clear_invalid();
        stats
    }

    /// Appends the statistics of a page of `len` values, markers counted.
    pub(crate) fn encode(&self, len: u32, out: &mut Vec<u8>) {
        let extremes = self.valid.contains(StatFlags::EXTREMES);
        let monotone = extremes
            && self.min.to_bits() == self.first.to_bits()
            && self.max.to_bits() == self.last.to_bits();
        let floats = self.floats();
        let fits = |power: &f64| floats.iter().all(|v| as_integer(*v, *power).is_some());
        let exponent = POWERS.iter().position(fits);
        let coding = match exponent {
            Some(0) => CODING_INTEGERS,
            Some(_) => CODING_DECIMALS,
            None => CODING_BITS,
        };
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        out.push(
            self.valid.0
                | flag(monotone, MONOTONE)
                | flag(self.count != len, HAS_COUNT)
                | flag(self.resets > 0, HAS_RESETS)
                | coding << CODING_SHIFT,
        );
        if self.count != len {
            put_varint(u64::from(self.count), out);
        }
        if self.count == 0 {
            return;
        }
        let power = exponent.and_then(|exponent| POWERS.get(exponent)).copied();
        if coding == CODING_DECIMALS
            && let Some(exponent) = exponent
        {
            out.push(exponent as u8);
        }
        let mut writer = Writer { power, out };
        let first = writer.float(self.first, 0);
        let last = writer.float(self.last, first);
        let (mut min, mut max) = (first, last);
        if extremes && !monotone {
            min = writer.float(self.min, first);
            max = writer.float(self.max, last);
        }
        put_varint(u64::from(self.changes), writer.out);
        if self.valid.contains(StatFlags::SUM) {
            writer.float(self.sum, middle(min, max, self.count));
        }
        if self.resets > 0 {
            put_varint(u64::from(self.resets - 1), writer.out);
            if self.valid.contains(StatFlags::RESET_SUM) {
                let guess = max.wrapping_mul(i64::from(self.resets));
                writer.float(self.reset_sum, guess);
            }
        }
    }

    /// Reads what [`PageStats::encode`] wrote for a page of `len` values.
    ///
    /// # Errors
    /// [`CodecError`] where the bytes are no such statistics.
    pub(crate) fn decode(cursor: &mut Cursor<'_>, len: u32) -> Result<Self, CodecError> {
        let head = cursor.u8("the flags of statistics")?;
        let mut stats = Self {
            count: len,
            valid: StatFlags(head & StatFlags::ALL),
            ..Self::default()
        };
        if head & HAS_COUNT != 0 {
            stats.count = below(len, cursor, "a count of at most the page's values")?;
        }
        if stats.count == 0 {
            return Ok(stats);
        }
        let exponent = match head >> CODING_SHIFT {
            CODING_INTEGERS => Some(0),
            CODING_DECIMALS => Some(cursor.u8("the exponent of statistics")?),
            CODING_BITS => None,
            _ => {
                return Err(CodecError {
                    expected: "statistics in a known coding",
                });
            }
        };
        let power = match exponent {
            None => None,
            Some(exponent) => Some(*POWERS.get(usize::from(exponent)).ok_or(CodecError {
                expected: "an exponent of statistics of at most 18",
            })?),
        };
        let mut reader = Reader { power, cursor };
        let first = reader.float(&mut stats.first, 0)?;
        let last = reader.float(&mut stats.last, first)?;
        let (mut min, mut max) = (first, last);
        if stats.valid.contains(StatFlags::EXTREMES) {
            if head & MONOTONE != 0 {
                (stats.min, stats.max) = (stats.first, stats.last);
            } else {
                min = reader.float(&mut stats.min, first)?;
                max = reader.float(&mut stats.max, last)?;
            }
        }
        let pairs = stats.count - 1;
        stats.changes = below(pairs, reader.cursor, "fewer changes than values")?;
        if stats.valid.contains(StatFlags::SUM) {
            reader.float(&mut stats.sum, middle(min, max, stats.count))?;
        }
        if head & HAS_RESETS != 0 {
            let pairs = pairs.checked_sub(1).ok_or(CodecError {
                expected: "two values for a reset",
            })?;
            stats.resets = 1 + below(pairs, reader.cursor, "fewer resets than values")?;
            if stats.valid.contains(StatFlags::RESET_SUM) {
                let guess = max.wrapping_mul(i64::from(stats.resets));
                reader.float(&mut stats.reset_sum, guess)?;
            }
        }
        Ok(stats)
    }

    /// Steps over what [`PageStats::encode`] wrote without looking at its numbers, and tells whether there are
    /// resets.
    ///
    /// # Errors
    /// [`CodecError`] where the bytes end too early or are in no known coding.
    pub(crate) fn skip(cursor: &mut Cursor<'_>) -> Result<bool, CodecError> {
        let head = cursor.u8("the flags of statistics")?;
        let count = "a count of the page's values";
        let has_resets = head & HAS_RESETS != 0;
        if head & HAS_COUNT != 0 && cursor.varint(count)? == 0 {
            return Ok(has_resets);
        }
        let valid = StatFlags(head & StatFlags::ALL);
        let has_extremes = valid.contains(StatFlags::EXTREMES) && head & MONOTONE == 0;
        let floats_before = 2 + 2 * usize::from(has_extremes);
        let floats_of_sum = usize::from(valid.contains(StatFlags::SUM));
        let floats_of_resets = usize::from(has_resets && valid.contains(StatFlags::RESET_SUM));
        let expected = "statistics with all their numbers";
        match head >> CODING_SHIFT {
            CODING_BITS => {
                cursor.take(floats_before * 8, expected)?;
                cursor.skip_varints(1, expected)?;
                cursor.take(floats_of_sum * 8, expected)?;
                cursor.skip_varints(usize::from(has_resets), expected)?;
                cursor.take(floats_of_resets * 8, expected)?;
            }
            coding @ (CODING_INTEGERS | CODING_DECIMALS) => {
                cursor.take(usize::from(coding == CODING_DECIMALS), expected)?;
                let floats = floats_before + floats_of_sum + floats_of_resets;
                cursor.skip_varints(floats + 1 + usize::from(has_resets), expected)?;
            }
            _ => {
                return Err(CodecError {
                    expected: "statistics in a known coding",
                });
            }
        }
        Ok(has_resets)
    }

    fn floats(&self) -> [f64; 6] {
        [
            self.first,
            self.last,
            self.min,
            self.max,
            self.sum,
            self.reset_sum,
        ]
    }

    /// Zeros in the place of what does not hold.
    fn clear_invalid(&mut self) {
        if !self.valid.contains(StatFlags::EXTREMES) {
            (self.min, self.max) = (0.0, 0.0);
        }
        if !self.valid.contains(StatFlags::SUM) {
            self.sum = 0.0;
        }
        if self.resets == 0 || !self.valid.contains(StatFlags::RESET_SUM) {
            self.reset_sum = 0.0;
        }
    }
}

/// Values that are looked at together.
const LANES: usize = 4;
/// The magnitudes of a page's integers below this add up to less than 2^53.
const SMALL_MAX: f64 = (1_u64 << 42) as f64;
const _: () = assert!(VALUES_MAX <= 1 << 10);

/// Some of the integers of a page.
#[derive(Clone, Copy)]
struct Lane {
    min: f64,
    max: f64,
    sum: f64,
    reset_sum: f64,
    resets: u64,
    changes: u64,
    /// Not 0: one was none, or not small.
    odd: u64,
}

impl Lane {
    const fn new(first: f64) -> Self {
        Self {
            min: first,
            max: first,
            sum: 0.0,
            reset_sum: 0.0,
            resets: 0,
            changes: 0,
            odd: 0,
        }
    }

    #[inline]
    fn add(&mut self, before: f64, value: f64) {
        let is_reset = value < before;
        self.min = if value < self.min { value } else { self.min };
        self.max = if value > self.max { value } else { self.max };
        self.sum += value;
        self.reset_sum += if is_reset { before } else { 0.0 };
        self.resets += u64::from(is_reset);
        self.changes += u64::from(value != before);
        self.odd |= is_odd(value);
    }

    fn join(&mut self, other: &Self) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        self.reset_sum += other.reset_sum;
        self.resets += other.resets;
        self.changes += other.changes;
        self.odd |= other.odd;
    }
}

/// Not 0: the value is not an integer below [`SMALL_MAX`], or is −0.
#[inline]
fn is_odd(value: f64) -> u64 {
    /// Adding and taking it away rounds to an integer.
    const SHIFT: f64 = 6_755_399_441_055_744.0;
    // The comparison is false for NaN.
    let is_small = value.abs() < SMALL_MAX;
    ((value + SHIFT - SHIFT).to_bits() ^ value.to_bits()) | u64::from(!is_small)
}

/// Whether the value is an integer; −0 is one, infinities are none.
fn is_integer(value: f64) -> bool {
    (value as i64) as f64 == value
}

/// What the sum of `count` integers between `min` and `max` is guessed to be. Wraps, for the reader
/// does the same.
fn middle(min: i64, max: i64, count: u32) -> i64 {
    min.wrapping_add(max).wrapping_mul(i64::from(count)) >> 1
}

/// A count of at most `max`.
fn below(max: u32, cursor: &mut Cursor<'_>, expected: &'static str) -> Result<u32, CodecError> {
    let count = cursor.varint(expected)?;
    let count = u32::try_from(count).ok().filter(|count| *count <= max);
    count.ok_or(CodecError { expected })
}

/// Writes floats as integers of a power of ten against a guess, or as bits.
struct Writer<'a> {
    power: Option<f64>,
    out: &'a mut Vec<u8>,
}

impl Writer<'_> {
    /// Returns the integer that was written; 0 when there is none.
    fn float(&mut self, value: f64, guess: i64) -> i64 {
        match self.power.and_then(|power| as_integer(value, power)) {
            Some(integer) => {
                put_zigzag(integer.wrapping_sub(guess), self.out);
                integer
            }
            None => {
                self.out.extend(value.to_bits().to_le_bytes());
                0
            }
        }
    }
}

/// Reads what [`Writer`] wrote.
struct Reader<'a, 'b> {
    power: Option<f64>,
    cursor: &'a mut Cursor<'b>,
}

impl Reader<'_, '_> {
    fn float(&mut self, value: &mut f64, guess: i64) -> Result<i64, CodecError> {
        const EXPECTED: &str = "a value of statistics";
        match self.power {
            Some(power) => {
                let integer = self.cursor.zigzag(EXPECTED)?.wrapping_add(guess);
                *value = integer as f64 / power;
                Ok(integer)
            }
            None => {
                *value = f64::from_bits(self.cursor.u64(EXPECTED)?);
                Ok(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{stale_marker, test_support::proptest_cases};

    fn encoded(stats: &PageStats, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        stats.encode(len as u32, &mut bytes);
        bytes
    }

    fn decoded(bytes: &[u8], len: usize) -> Result<PageStats, CodecError> {
        let mut cursor = Cursor::new(bytes);
        let stats = PageStats::decode(&mut cursor, len as u32)?;
        assert_eq!(cursor.rest(), &[]);
        Ok(stats)
    }

    /// Prometheus's loops, one a field, over what a range vector holds.
    fn model(values: &[f64]) -> PageStats {
        let seen: Vec<f64> = values
            .iter()
            .copied()
            .filter(|value| !is_stale_marker(*value))
            .collect();
        let Some((&first, rest)) = seen.split_first() else {
            return PageStats::default();
        };
        let pairs = || seen.windows(2).map(|pair| (pair[0], pair[1]));
        let resets: Vec<f64> = pairs()
            .filter(|(before, after)| after < before)
            .map(|(before, _)| before)
            .collect();
        let no_nan = seen.iter().all(|value| !value.is_nan());
        // Sums of integers in i128 neither round nor overflow.
        let integer = |value: &f64| value.is_finite() && value.fract() == 0.0;
        let magnitude = |values: &[f64]| {
            let magnitudes = values.iter().map(|v| v.abs() as i128);
            magnitudes.fold(0_i128, i128::saturating_add)
        };
        let integers = seen.iter().all(integer);
        let ends = [&[first, seen[seen.len() - 1]], &resets[..]].concat();
        let mut valid = 0;
        let mut stats = PageStats {
            count: seen.len() as u32,
            first,
            last: seen[seen.len() - 1],
            resets: resets.len() as u32,
            changes: pairs()
                .filter(|(a, b)| a != b && !(a.is_nan() && b.is_nan()))
                .count() as u32,
            ..PageStats::default()
        };
        if no_nan {
            valid |= 1;
            let keep = |better: fn(&f64, &f64) -> bool| {
                rest.iter()
                    .fold(first, |best, v| if better(v, &best) { *v } else { best })
            };
            stats.min = keep(|a, b| a < b);
            stats.max = keep(|a, b| a > b);
        }
        if integers && magnitude(&seen) < 1 << 53 {
            valid |= 2;
            stats.sum = seen.iter().fold(0.0, |sum, v| sum + v);
        }
        if no_nan && (resets.len() < 2 || integers && magnitude(&ends) < 1 << 53) {
            valid |= 4;
            stats.reset_sum = resets.iter().copied().reduce(|a, b| a + b).unwrap_or(0.0);
        }
        stats.valid = StatFlags(valid);
        stats
    }

    fn check(values: &[f64]) -> usize {
        let stats = PageStats::of(values);
        assert_eq!(stats, model(values), "{values:?}");
        let bytes = encoded(&stats, values.len());
        assert_eq!(decoded(&bytes, values.len()), Ok(stats), "{values:?}");
        for cut in 0..bytes.len() {
            let cut = &bytes[..cut];
            assert!(PageStats::decode(&mut Cursor::new(cut), values.len() as u32).is_err());
            assert!(PageStats::skip(&mut Cursor::new(cut)).is_err());
        }
        let mut cursor = Cursor::new(&bytes);
        assert_eq!(
            (PageStats::skip(&mut cursor), cursor.rest()),
            (Ok(stats.resets > 0), &[][..])
        );
        bytes.len()
    }

    fn values() -> impl Strategy<Value = Vec<f64>> {
        let odd = prop::sample::select(vec![
            0.0,
            -0.0,
            1.0,
            -1.0,
            2.0,
            0.1,
            0.3,
            1e15,
            -4e15,
            9_007_199_254_740_991.0,
            9_007_199_254_740_992.0,
            -9_007_199_254_740_993.0,
            1e300,
            5e-324,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
            f64::from_bits(0xfff0_dead_beef_0001),
            stale_marker(),
        ]);
        let integers = (-50_i32..50).prop_map(f64::from);
        let decimals = (-5000_i32..5000).prop_map(|x| f64::from(x) / 100.0);
        let some = |of: BoxedStrategy<f64>| prop::collection::vec(of, 1..60).boxed();
        prop_oneof![
            some(odd.clone().boxed()),
            some(integers.clone().boxed()),
            some(decimals.boxed()),
            some(prop_oneof![20 => integers, 1 => odd].boxed()),
            some(any::<u64>().prop_map(f64::from_bits).boxed()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(proptest_cases(192)))]

        #[test]
        fn statistics_are_those_of_a_loop_and_come_back(values in values()) {
            check(&values);
        }

        #[test]
        fn a_constant_has_the_statistics_of_its_repetitions(value in values(), len in 1_usize..1024) {
            let page = vec![value[0]; len];
            prop_assert_eq!(PageStats::of_constant(value[0], len as u32), PageStats::of(&page));
        }

        #[test]
        fn hostile_bytes_end_in_an_answer_or_an_error(
            bytes in prop::collection::vec(any::<u8>(), 0..60),
            len in 0_u32..1025,
        ) {
            if let Ok(stats) = PageStats::decode(&mut Cursor::new(&bytes), len) {
                prop_assert!(stats.count <= len);
                prop_assert!(stats.changes < stats.count.max(1) && stats.resets < stats.count.max(1));
            }
        }
    }

    /// The layout of `docs/format.md`, by hand.
    #[test]
    fn golden_bytes() {
        let bytes = |values: &[f64]| encoded(&PageStats::of(values), values.len());
        // All flags and monotone; first 100, last +60, four changes, sum 640 = 5 * 260 / 2 - 10.
        assert_eq!(
            bytes(&[100.0, 110.0, 130.0, 140.0, 160.0]),
            [0x0f, 200, 1, 120, 4, 19]
        );
        // Exponent 1, no sum: first 0.5, last 0.5, min 0.5 - 0.3, max 0.5 + 0.4, changes, one reset
        // of 0.9 (the greatest times one, so 0 beyond the guess).
        assert_eq!(
            bytes(&[0.5, 0.9, 0.2, 0.5]),
            [0x65, 1, 10, 0, 5, 8, 3, 0, 0]
        );
        // Two of three values count, and NaN leaves no flag; bits.
        let mut expected = vec![0x90, 2];
        expected.extend([1.0, f64::NAN].iter().flat_map(|v: &f64| v.to_le_bytes()));
        expected.push(1);
        assert_eq!(bytes(&[1.0, stale_marker(), f64::NAN]), expected);
        // Markers alone: a count of 0.
        assert_eq!(bytes(&[stale_marker(); 2]), [0x10, 0]);
    }

    #[test]
    fn common_pages_take_few_bytes() {
        let counter: Vec<f64> = (0..120_u32).map(|x| f64::from(5000 + x * 17)).collect();
        assert!(check(&counter) <= 9);
        let gauge: Vec<f64> = (0..120_u32)
            .map(|x| f64::from(x * 37 % 100) / 100.0)
            .collect();
        assert!(check(&gauge) <= 12);
    }
}
