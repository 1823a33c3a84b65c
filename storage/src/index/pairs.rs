//! Label pairs, each text once, numbered in the order in which they came.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;

use super::slots::Slots;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    names: Vec<Name>,
    by_name: Slots,
    /// All values, back to back.
    values: String,
    pairs: Vec<Pair>,
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
    /// Of its value among the values, in bytes.
    start: usize,
    bytes: u32,
    name: u32,
}

impl Pairs {
    /// The number of a pair, a new one if it is not known.
    pub(crate) fn intern(&mut self, name: &str, value: &str) -> u32 {
        let name = self.intern_name(name);
        let hash = hash_of_pair(name, value);
        if let Some(pair) = self.find_of(name, value, hash) {
            return pair;
        }
        let pair = self.pairs.len() as u32;
        self.pairs.push(Pair {
            start: self.values.len(),
            bytes: value.len() as u32,
            name,
        });
        self.values.push_str(value);
        self.names[name as usize].pairs.push(pair);
        let (pairs, values) = (&self.pairs, &self.values);
        self.by_pair.insert(hash, pair, |pair| {
            let pair = pairs[pair as usize];
            hash_of_pair(pair.name, value_of(values, pair))
        });
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
        let names = &self.names;
        self.by_name.insert(hash_of_text(text), name, |name| {
            hash_of_text(&names[name as usize].text)
        });
        name
    }

    /// The number of a name.
    pub(crate) fn find_name(&self, text: &str) -> Option<u32> {
        (self.by_name).find(hash_of_text(text), |name| {
            *self.names[name as usize].text == *text
        })
    }

    /// The number of a name's pair.
    pub(crate) fn find_of_name(&self, name: u32, value: &str) -> Option<u32> {
        self.find_of(name, value, hash_of_pair(name, value))
    }

    fn find_of(&self, name: u32, value: &str, hash: u64) -> Option<u32> {
        self.by_pair.find(hash, |pair| {
            let pair = self.pairs[pair as usize];
            pair.name == name && value_of(&self.values, pair) == value
        })
    }

    /// How many pairs there are.
    pub(crate) fn len(&self) -> usize {
        self.pairs.len()
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
        self.pairs[pair as usize].name
    }

    /// The value of a pair.
    pub(crate) fn value(&self, pair: u32) -> &str {
        value_of(&self.values, self.pairs[pair as usize])
    }

    /// Bytes on the heap, about.
    pub(crate) fn bytes(&self) -> usize {
        let names: usize = (self.names.iter())
            .map(|name| size_of::<Name>() + name.text.len() + name.pairs.capacity() * 4)
            .sum();
        let pairs = self.pairs.capacity() * size_of::<Pair>();
        names + pairs + self.values.capacity() + self.by_name.bytes() + self.by_pair.bytes()
    }
}

fn value_of(values: &str, pair: Pair) -> &str {
    (values.get(pair.start..pair.start + pair.bytes as usize)).expect("where it was written")
}

fn hash_of_text(text: &str) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write(text.as_bytes());
    hasher.finish()
}

fn hash_of_pair(name: u32, value: &str) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write_u32(name);
    hasher.write(value.as_bytes());
    hasher.finish()
}
