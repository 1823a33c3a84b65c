//! What was written lately, so that equal bytes are stored once.
#![deny(clippy::indexing_slicing)]

use std::{collections::HashMap, hash::BuildHasher};

/// The last byte strings that were stored, each with where it went: bounded in memory, and exact:
/// a hit is compared byte by byte.
///
/// Two halves of `bytes_max / 2`: when the younger is full, the older one is dropped.
#[derive(Debug)]
pub(super) struct Recent<T> {
    young: Half<T>,
    old: Half<T>,
    bytes_max: usize,
    hasher: foldhash::fast::RandomState,
}

#[derive(Debug)]
struct Half<T> {
    bytes: Vec<u8>,
    /// By hash: where in `bytes`, how many, and the value.
    places: HashMap<u64, (u32, u32, T), foldhash::fast::RandomState>,
}

impl<T> Default for Half<T> {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            places: HashMap::default(),
        }
    }
}

impl<T: Copy> Half<T> {
    fn find(&self, hash: u64, bytes: &[u8]) -> Option<T> {
        let (start, len, value) = self.places.get(&hash)?;
        let start = *start as usize;
        let stored = self.bytes.get(start..start + *len as usize)?;
        (stored == bytes).then_some(*value)
    }
}

impl<T: Copy> Recent<T> {
    /// Remembers at least the last `bytes_max / 2` bytes, at most `bytes_max` and one more string.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            young: Half::default(),
            old: Half::default(),
            bytes_max,
            hasher: foldhash::fast::RandomState::default(),
        }
    }

    /// The value of equal bytes, or the one that `store` returns for them.
    pub(super) fn find_or<E>(
        &mut self,
        bytes: &[u8],
        store: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let hash = self.hasher.hash_one(bytes);
        if let Some(value) = self.young.find(hash, bytes) {
            return Ok(value);
        }
        // What is used again stays.
        let value = match self.old.find(hash, bytes) {
            Some(value) => value,
            None => store()?,
        };
        if self.young.bytes.len() >= self.bytes_max / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        let place = (self.young.bytes.len() as u32, bytes.len() as u32, value);
        self.young.bytes.extend_from_slice(bytes);
        self.young.places.insert(hash, place);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_have_one_value_until_they_are_forgotten() {
        let mut recent = Recent::new(8);
        let mut next = 0;
        let mut value = |recent: &mut Recent<u32>, bytes: &[u8]| {
            let stored = recent.find_or(bytes, || {
                next += 1;
                Ok::<u32, ()>(next)
            });
            stored.unwrap()
        };
        assert_eq!(value(&mut recent, b"ab"), 1);
        assert_eq!(value(&mut recent, b"ab"), 1);
        assert_eq!(value(&mut recent, b"ac"), 2);
        assert_eq!(value(&mut recent, b"a"), 3);
        // The first two are in the older half now; what is looked up there stays.
        assert_eq!(value(&mut recent, b"ab"), 1);
        assert_eq!(value(&mut recent, b"defg"), 4);
        assert_eq!(value(&mut recent, b"hi"), 5);
        assert_eq!(value(&mut recent, b"ab"), 1);
        assert_eq!(value(&mut recent, b"ac"), 6);
        assert_eq!(value(&mut recent, b""), 7);
        assert_eq!(value(&mut recent, b""), 7);
    }

    #[test]
    fn memory_is_bounded() {
        let mut recent = Recent::new(1000);
        for number in 0..10_000_u32 {
            recent
                .find_or(&number.to_le_bytes(), || Ok::<u32, ()>(number))
                .unwrap();
            assert!(recent.young.bytes.len() + recent.old.bytes.len() <= 1008);
            assert!(recent.young.places.len() + recent.old.places.len() <= 252);
        }
    }
}
