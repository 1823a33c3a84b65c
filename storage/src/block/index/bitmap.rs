//! A bitmap in the portable roaring format, read where it lies.
//!
//! Nothing is trusted: every count and place is checked against the bytes that are there, and an
//! array or runs out of order end in an error. There is no alignment to keep.
//!
//! Source: the `RoaringFormatSpec` of the Roaring project.

use roaring::RoaringBitmap;

use crate::codec::CodecError;

/// First two bytes of a bitmap that has runs; the number of containers less one follows in two more.
const COOKIE_RUNS: u16 = 12347;
/// First four bytes of a bitmap without runs; the number of containers follows in four more.
const COOKIE_PLAIN: u32 = 12346;
/// A bitmap with runs has places of its containers from this many on.
const PLACES_MIN: usize = 4;
/// Most values in an array container.
const ARRAY_MAX: usize = 4096;
/// Bytes of a bitmap container.
const BITMAP_BYTES: usize = 8192;

const DAMAGED: CodecError = CodecError {
    expected: "a bitmap in the portable roaring format",
};

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(super) struct BitmapView<'a> {
    bytes: &'a [u8],
    /// Key and cardinality less one of each container.
    descriptions: &'a [[u8; 4]],
    /// One bit a container: it holds runs.
    runs: &'a [u8],
    /// Of each container, from the first byte; empty: they follow each other.
    places: &'a [[u8; 4]],
    /// Where the first container begins.
    start: usize,
}

/// The values that share their upper sixteen bits.
#[derive(Debug, Clone, Copy)]
enum Container<'a> {
    /// Ascending lower halves.
    Array(&'a [[u8; 2]]),
    /// A bit for each lower half, lowest first.
    Bits(&'a [u8]),
    /// Ascending runs: first lower half and number of values less one.
    Runs(&'a [[u8; 4]]),
}

fn low(bytes: [u8; 2]) -> u16 {
    u16::from_le_bytes(bytes)
}

/// Two numbers of two bytes.
fn halves([a, b, c, d]: [u8; 4]) -> (u16, u16) {
    (low([a, b]), low([c, d]))
}

/// The last value of a run.
fn last_of(run: [u8; 4]) -> u16 {
    let (first, more) = halves(run);
    first.saturating_add(more)
}

impl Container<'_> {
    /// The first and the last value, or what encloses them; of an empty one nothing does.
    fn ends(&self) -> (u16, u16) {
        match self {
            Self::Array([first, .., last]) => (low(*first), low(*last)),
            Self::Array([only]) => (low(*only), low(*only)),
            Self::Runs([first, .., last]) => (halves(*first).0, last_of(*last)),
            Self::Runs([only]) => (halves(*only).0, last_of(*only)),
            Self::Array([]) | Self::Runs([]) => (1, 0),
            Self::Bits(_) => (0, u16::MAX),
        }
    }

    /// Hands on the values until `each` answers `false`; answers whether it never did.
    fn each(&self, mut each: impl FnMut(u16) -> bool) -> bool {
        match self {
            Self::Array(values) => values.iter().all(|value| each(low(*value))),
            Self::Bits(bits) => bits.iter().zip(0_u16..).all(|(byte, index)| {
                let mut set = (0..8).filter(|bit| byte >> bit & 1 == 1);
                set.all(|bit| each(index * 8 + bit))
            }),
            Self::Runs(runs) => runs.iter().all(|run| {
                let mut run = halves(*run).0..=last_of(*run);
                run.all(&mut each)
            }),
        }
    }

    fn contains(&self, value: u16) -> bool {
        match self {
            Self::Array(values) => values.binary_search_by_key(&value, |at| low(*at)).is_ok(),
            Self::Bits(bits) => {
                (bits.get(usize::from(value >> 3))).is_some_and(|byte| byte >> (value & 7) & 1 == 1)
            }
            Self::Runs(runs) => {
                let after = runs.partition_point(|run| halves(*run).0 <= value);
                let run = after.checked_sub(1).and_then(|index| runs.get(index));
                run.is_some_and(|run| {
                    let (first, more) = halves(*run);
                    value - first <= more
                })
            }
        }
    }
}

impl<'a> BitmapView<'a> {
    /// Reads the head of a bitmap; what follows the bitmap in `bytes` does not matter.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, CodecError> {
        Self::split(bytes).ok_or(DAMAGED)
    }

    fn split(bytes: &'a [u8]) -> Option<Self> {
        let (cookie, rest) = bytes.split_first_chunk::<4>()?;
        let (kind, more) = halves(*cookie);
        let (runs, len, rest) = if kind == COOKIE_RUNS {
            let len = usize::from(more) + 1;
            let (runs, rest) = rest.split_at_checked(len.div_ceil(8))?;
            (runs, len, rest)
        } else if u32::from_le_bytes(*cookie) == COOKIE_PLAIN {
            let (len, rest) = rest.split_first_chunk::<4>()?;
            (&[][..], u32::from_le_bytes(*len) as usize, rest)
        } else {
            return None;
        };
        if len > 1 << 16 {
            return None;
        }
        let (descriptions, rest) = rest.split_at_checked(len * 4)?;
        let has_places = runs.is_empty() || len >= PLACES_MIN;
        let (places, rest) = rest.split_at_checked(if has_places { len * 4 } else { 0 })?;
        Some(Self {
            bytes,
            descriptions: descriptions.as_chunks().0,
            runs,
            places: places.as_chunks().0,
            start: bytes.len() - rest.len(),
        })
    }

    /// How many values a container has as its description says.
    fn len_of(&self, index: usize) -> Option<u64> {
        let description = self.descriptions.get(index)?;
        Some(u64::from(halves(*description).1) + 1)
    }

    /// Key and content of a container.
    fn container(&self, index: usize) -> Option<(u16, Container<'a>)> {
        let at = if self.places.is_empty() {
            let mut at = self.start;
            for before in 0..index {
                at += self.container_at(before, at)?.2;
            }
            at
        } else {
            u32::from_le_bytes(*self.places.get(index)?) as usize
        };
        let (key, container, _) = self.container_at(index, at)?;
        Some((key, container))
    }

    /// Key and content of the container behind those before `index`, which end at `at`; moves `at` behind it.
    fn next_container(
        &self,
        index: usize,
        at: &mut usize,
    ) -> Result<(u16, Container<'a>), CodecError> {
        if !self.places.is_empty() {
            return self.container(index).ok_or(DAMAGED);
        }
        let (key, container, bytes) = self.container_at(index, *at).ok_or(DAMAGED)?;
        *at += bytes;
        Ok((key, container))
    }

    /// Key, content and bytes of the container that begins at `at`.
    fn container_at(&self, index: usize, at: usize) -> Option<(u16, Container<'a>, usize)> {
        let (key, more) = halves(*self.descriptions.get(index)?);
        let rest = self.bytes.get(at..)?;
        let has_runs = self
            .runs
            .get(index / 8)
            .is_some_and(|bits| bits >> (index % 8) & 1 == 1);
        if has_runs {
            let (len, rest) = rest.split_first_chunk::<2>()?;
            let bytes = usize::from(low(*len)) * 4;
            let runs = rest.get(..bytes)?.as_chunks().0;
            return Some((key, Container::Runs(runs), bytes + 2));
        }
        let len = usize::from(more) + 1;
        if len > ARRAY_MAX {
            let bits = rest.get(..BITMAP_BYTES)?;
            return Some((key, Container::Bits(bits), BITMAP_BYTES));
        }
        let values = rest.get(..len * 2)?.as_chunks().0;
        Some((key, Container::Array(values), len * 2))
    }

    /// Hands on the values, ascending unless the bitmap is damaged, until `each` answers `false`; answers
    /// whether it never did. Only what it reads is looked at.
    ///
    /// # Errors
    /// When a value is not below `end`, or a container is not there.
    pub(super) fn each(
        &self,
        end: u32,
        mut each: impl FnMut(u32) -> bool,
    ) -> Result<bool, CodecError> {
        let mut at = self.start;
        for index in 0..self.descriptions.len() {
            let (key, container) = self.next_container(index, &mut at)?;
            let base = u32::from(key) << 16;
            let mut is_inside = true;
            let goes_on = container.each(|value| {
                let value = base | u32::from(value);
                is_inside = value < end;
                is_inside && each(value)
            });
            if !is_inside {
                return Err(DAMAGED);
            }
            if !goes_on {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Hands on the values below `end` that are in `among` too, until `each` answers `false`; answers
    /// whether it never did. A container with nothing of `among` between its ends is passed over.
    pub(super) fn each_among(
        &self,
        among: &RoaringBitmap,
        end: u32,
        mut each: impl FnMut(u32) -> bool,
    ) -> Result<bool, CodecError> {
        let Some(last) = end.checked_sub(1) else {
            return Ok(true);
        };
        let mut at = self.start;
        for index in 0..self.descriptions.len() {
            let (key, container) = self.next_container(index, &mut at)?;
            let base = u32::from(key) << 16;
            // Empty where the container is damaged or behind the end.
            let (from, to) = container.ends();
            let ends = base | u32::from(from)..=(base | u32::from(to)).min(last);
            if ends.is_empty() || among.range(ends.clone()).next().is_none() {
                continue;
            }
            // The fewer of the two are looked for among the others.
            let goes_on = match container {
                Container::Array(values)
                    if (values.len() as u64) < among.range_cardinality(ends.clone()) =>
                {
                    let values = values.iter().map(|value| base | u32::from(low(*value)));
                    let mut common =
                        values.filter(|value| ends.contains(value) && among.contains(*value));
                    common.all(&mut each)
                }
                _ => {
                    let mut common = among
                        .range(ends)
                        .filter(|value| container.contains(*value as u16));
                    common.all(&mut each)
                }
            };
            if !goes_on {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Adds all values to `out`.
    ///
    /// # Errors
    /// When containers or values are out of order, a container has not as many values as its description says,
    /// or a value is not below `end`.
    pub(super) fn add_to(&self, end: u32, out: &mut RoaringBitmap) -> Result<(), CodecError> {
        let mut read = RoaringBitmap::new();
        let mut before = None;
        let mut at = self.start;
        for index in 0..self.descriptions.len() {
            let (key, container) = self.next_container(index, &mut at)?;
            if before.is_some_and(|before| before >= key) {
                return Err(DAMAGED);
            }
            before = Some(key);
            let base = u32::from(key) << 16;
            match container {
                Container::Array(values) => {
                    let values = values.iter().map(|value| base | u32::from(low(*value)));
                    read.append(values).map_err(|_| DAMAGED)?;
                }
                Container::Bits(bits) => {
                    let values = RoaringBitmap::from_lsb0_bytes(base, bits);
                    if Some(values.len()) != self.len_of(index) {
                        return Err(DAMAGED);
                    }
                    read |= values;
                }
                Container::Runs(runs) => {
                    let mut next = 0;
                    let mut len = 0;
                    for run in runs {
                        let (first, more) = halves(*run);
                        let (first, last) = (u32::from(first), u32::from(first) + u32::from(more));
                        if first < next || last > u32::from(u16::MAX) {
                            return Err(DAMAGED);
                        }
                        next = last + 1;
                        len += read.insert_range(base | first..=base | last);
                    }
                    if Some(len) != self.len_of(index) {
                        return Err(DAMAGED);
                    }
                }
            }
        }
        if read.max().is_some_and(|max| max >= end) {
            return Err(DAMAGED);
        }
        if out.is_empty() {
            *out = read;
        } else {
            *out |= read;
        }
        Ok(())
    }
}

/// Reads a bitmap and answers whether it is one. What is looked up in it is what is in it, and it is the
/// same when it is written and read again.
///
/// # Panics
/// When any of this does not hold.
#[cfg(feature = "internals")]
pub fn check_bitmap(bytes: &[u8]) -> bool {
    let Ok(view) = BitmapView::parse(bytes) else {
        return false;
    };
    let mut all = RoaringBitmap::new();
    let is_whole = view.add_to(u32::MAX, &mut all).is_ok();
    assert!(is_whole || all.is_empty(), "an error leaves nothing behind");
    let edges = [0, 1, 63, 64, 4095, 4096, 65_535, 65_536, 131_072, u32::MAX];
    let around = |value: u32| [value.saturating_sub(1), value, value.saturating_add(1)];
    let probes: RoaringBitmap = edges
        .into_iter()
        .chain(all.iter().take(300).flat_map(around))
        .chain(all.iter().rev().take(300).flat_map(around))
        .collect();
    let mut found = RoaringBitmap::new();
    let looked_up = view.each_among(&probes, u32::MAX, |value| {
        found.insert(value);
        true
    });
    let mut walked = RoaringBitmap::new();
    let walk = view.each(u32::MAX, |value| {
        walked.insert(value);
        true
    });
    if !is_whole {
        return false;
    }
    assert_eq!(
        (looked_up, walk),
        (Ok(true), Ok(true)),
        "it can be read whole"
    );
    assert_eq!(walked, all);
    assert_eq!(found, &probes & &all);
    let mut written = Vec::new();
    all.serialize_into(&mut written).expect("memory takes it");
    let mut again = RoaringBitmap::new();
    let view = BitmapView::parse(&written).expect("it was just written");
    view.add_to(u32::MAX, &mut again)
        .expect("it was just written");
    assert_eq!(again, all);
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(bitmap: &RoaringBitmap) -> Vec<u8> {
        let mut bytes = Vec::new();
        bitmap.serialize_into(&mut bytes).unwrap();
        bytes
    }

    /// Arrays, bits and runs in any mixture.
    fn bitmaps() -> impl Strategy<Value = RoaringBitmap> {
        let run = (0_u32..400_000, 1_u32..3000, 1_u32..5);
        (prop::collection::vec(run, 0..8), any::<bool>()).prop_map(|(runs, optimize)| {
            let mut bitmap = RoaringBitmap::new();
            for (first, len, step) in runs {
                bitmap.extend((0..len * 4).map(|index| first + index * step));
            }
            if optimize {
                bitmap.optimize();
            }
            bitmap
        })
    }

    #[test]
    fn a_container_has_as_many_values_as_its_description_says() {
        // Bits and a run. Where each begins in the head, and how many values it has less one.
        let mut bitmap: RoaringBitmap = (0..5_000).map(|index| index * 2).collect();
        bitmap.insert_range(1 << 16..=(1 << 16) + 99);
        bitmap.optimize();
        let bytes = written(&bitmap);
        for (at, more) in [(5 + 2, 4_999_u16), (5 + 4 + 2, 99)] {
            assert_eq!(bytes[at..at + 2], more.to_le_bytes());
            for told in [more - 1, more + 1] {
                let mut bytes = bytes.clone();
                bytes[at..at + 2].copy_from_slice(&told.to_le_bytes());
                let mut all = RoaringBitmap::new();
                let added = BitmapView::parse(&bytes)
                    .unwrap()
                    .add_to(u32::MAX, &mut all);
                assert_eq!((added, all), (Err(DAMAGED), RoaringBitmap::new()));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(crate::test_support::proptest_cases(24)))]

        #[test]
        fn what_was_written_is_read_in_place(bitmap in bitmaps(), other in bitmaps()) {
            let bytes = written(&bitmap);
            let view = BitmapView::parse(&bytes).unwrap();
            let mut all = RoaringBitmap::new();
            view.add_to(u32::MAX, &mut all).unwrap();
            prop_assert_eq!(&all, &bitmap);
            let mut common = RoaringBitmap::new();
            view.each_among(&other, u32::MAX, |value| common.insert(value)).unwrap();
            prop_assert_eq!(&common, &(&bitmap & &other));
            let mut walked = Vec::new();
            let mut walk = |end, len| {
                walked.clear();
                view.each(end, |value| {
                    walked.push(value);
                    walked.len() < len
                })
            };
            let some = bitmap.len() as usize / 2 + 1;
            prop_assert_eq!(walk(u32::MAX, usize::MAX), Ok(true));
            prop_assert_eq!(walk(u32::MAX, some), Ok(bitmap.is_empty()));
            prop_assert!(walked.iter().copied().eq(bitmap.iter().take(some)));
            all.clear();
            if let Some(max) = bitmap.max() {
                prop_assert!(view.add_to(max, &mut all).is_err(), "{max} is out of bounds");
            }
        }

        #[test]
        fn any_change_of_a_bitmap_is_read_or_refused(
            bitmap in bitmaps(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = written(&bitmap);
            // Heads are where the counts are.
            let index = at.index(bytes.len().min(64));
            bytes[index] = byte;
            bytes.truncate(bytes.len() - cut.index(bytes.len()) / 2);
            if let Ok(view) = BitmapView::parse(&bytes) {
                let mut all = RoaringBitmap::new();
                if view.add_to(500_000, &mut all).is_ok() {
                    prop_assert!(all.max().is_none_or(|max| max < 500_000));
                }
                // The answer may be wrong or an error, but there is one.
                view.each_among(&bitmap, 500_000, |_| true).ok();
                view.each(500_000, |value| {
                    assert!(value < 500_000);
                    true
                })
                .ok();
            }
        }
    }
}
