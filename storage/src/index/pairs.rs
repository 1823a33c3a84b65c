//! Label pairs, each once, numbered in the order in which they came.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;

use super::slots::Slots;
use crate::model::decode_pair;

/// See the module. Numbers and places count from zero.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    names: Vec<Name>,
    by_name: Slots,
    /// All pairs, back to back, as label sets have them.
    encoded: Vec<u8>,
    entries: Vec<Pair>,
    by_pair: Slots,
}

#[derive(Debug)]
struct Name {
    text: Box<str>,
    /// Its pairs, in the order in which they came.
    pairs: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Pair {
    /// Where its bytes end.
    end: usize,
    name: u32,
    /// Upper half of the hash of its bytes.
    hash: u32,
}

impl Pairs {
    /// The number of a pair as a label set has it; a new one if the pair is not known.
    pub(crate) fn intern(&mut self, encoded: &[u8]) -> u32 {
        let hash = hash_of(encoded);
        if let Some(pair) = self.find_encoded(encoded, hash) {
            return pair;
        }
        let (name, _) = decode_pair(encoded);
        let name = self.intern_name(name);
        let pair = self.entries.len() as u32;
        self.encoded.extend_from_slice(encoded);
        self.entries.push(Pair {
            end: self.encoded.len(),
            name,
            hash,
        });
        self.names[name as usize].pairs.push(pair);
        let pairs = &self.entries;
        (self.by_pair).insert(spread(hash), pair, |pair| spread(pairs[pair as usize].hash));
        pair
    }

    fn intern_name(&mut self, text: &str) -> u32 {
        if let Some(name) = self.find_name(text) {
            return name;
        }
        let name = self.names.len() as u32;
        self.names.push(Name {
            text: text.into(),
            pairs: Vec::new(),
        });
        let (names, hash) = (&self.names, hash_of(text.as_bytes()));
        self.by_name.insert(spread(hash), name, |name| {
            spread(hash_of(names[name as usize].text.as_bytes()))
        });
        name
    }

    /// The number of a name.
    pub(crate) fn find_name(&self, text: &str) -> Option<u32> {
        let hash = hash_of(text.as_bytes());
        (self.by_name).find(spread(hash), |name| {
            *self.names[name as usize].text == *text
        })
    }

    /// The number of a pair as a label set has it.
    pub(crate) fn find(&self, encoded: &[u8]) -> Option<u32> {
        self.find_encoded(encoded, hash_of(encoded))
    }

    fn find_encoded(&self, encoded: &[u8], hash: u32) -> Option<u32> {
        self.by_pair.find(spread(hash), |pair| {
            self.entries[pair as usize].hash == hash && self.encoded(pair) == encoded
        })
    }

    /// How many pairs there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many names there are.
    pub(crate) fn names(&self) -> usize {
        self.names.len()
    }

    /// A name by its number.
    pub(crate) fn name(&self, name: u32) -> &str {
        &self.names[name as usize].text
    }

    /// The pairs of a name, in the order in which they came.
    pub(crate) fn of_name(&self, name: u32) -> &[u32] {
        &self.names[name as usize].pairs
    }

    /// The name of a pair, by its number.
    pub(crate) fn name_of(&self, pair: u32) -> u32 {
        self.entries[pair as usize].name
    }

    /// A pair as a label set has it.
    pub(crate) fn encoded(&self, pair: u32) -> &[u8] {
        let pair = pair as usize;
        let start = pair
            .checked_sub(1)
            .map_or(0, |before| self.entries[before].end);
        &self.encoded[start..self.entries[pair].end]
    }

    /// The value of a pair.
    pub(crate) fn value(&self, pair: u32) -> &str {
        decode_pair(self.encoded(pair)).1
    }

    /// Bytes on the heap, about.
    #[cfg(feature = "internals")]
    pub(crate) fn bytes(&self) -> usize {
        let names: usize = (self.names.iter())
            .map(|name| size_of::<Name>() + name.text.len() + name.pairs.capacity() * 4)
            .sum();
        let pairs = self.entries.capacity() * size_of::<Pair>();
        names + pairs + self.encoded.capacity() + self.by_name.bytes() + self.by_pair.bytes()
    }
}

/// Numbers are found by the upper half of a hash, so the lower one is not kept.
fn hash_of(bytes: &[u8]) -> u32 {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write(bytes);
    (hasher.finish() >> 32) as u32
}

const fn spread(hash: u32) -> u64 {
    (hash as u64) << 32
}
