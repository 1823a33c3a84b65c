//! The numbers of label sets that were pushed lately.
//!
//! Who pushes sends the same series again and again, mostly in the same order. So each label set that is
//! found is kept with its number and the one that came after it the last time: finding the next one is
//! then a comparison of bytes, without a hash or a look at an index.
//!
//! It is a memory of [`Known`] and never says more than that: an entry counts for the list of series that
//! it was found in, and is looked up anew by its number once a seal has replaced that list. Bounded: when
//! it is full it begins anew.

use std::collections::hash_map::Entry as Slot;

use super::{HashMap, Known};
use crate::Labels;

/// Most bytes of label sets, and of what is kept with each.
const BYTES_MAX: usize = 32 << 20;
/// What an entry takes besides the bytes of its labels.
const ENTRY_BYTES: usize = size_of::<Entry>() + size_of::<(u64, u32)>() + 32;
/// No entry follows.
const NONE: u32 = u32::MAX;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Recent {
    entries: Vec<Entry>,
    /// The label sets back to back: what comes in the same order again lies in that order.
    texts: Vec<u8>,
    /// Entries by the hash of their labels. Of two with one hash the later is there.
    by_hash: HashMap<u64, u32>,
    /// How often it began anew: a [`Cursor`] does not reach beyond.
    turn: u64,
}

#[derive(Debug)]
struct Entry {
    /// Where its label set begins, and its length.
    start: u32,
    len: u32,
    id: u32,
    /// The entry that came after it.
    next: u32,
    /// Of the list in which the series has this number.
    generation: u64,
}

/// The entry that was found last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor {
    turn: u64,
    entry: u32,
}

impl Default for Cursor {
    fn default() -> Self {
        let (turn, entry) = (0, NONE);
        Self { turn, entry }
    }
}

fn hash_of(labels: &Labels) -> u64 {
    xxhash_rust::xxh3::xxh3_64(labels.as_bytes())
}

impl Recent {
    /// The number of a label set in `known`, if it is here.
    pub(super) fn find(
        &mut self,
        cursor: &mut Cursor,
        labels: &Labels,
        known: &Known,
    ) -> Option<u32> {
        let before = self.follow(*cursor);
        let expected = before.map_or(NONE, |before| before.next);
        let found = if self.is(expected, labels) {
            expected
        } else {
            let found = *self.by_hash.get(&hash_of(labels))?;
            self.is(found, labels).then_some(found)?
        };
        self.advance(cursor, found);
        let entry = &mut self.entries[found as usize];
        if entry.generation != known.generation() {
            if !known.contains(entry.id) {
                return None;
            }
            entry.generation = known.generation();
        }
        Some(entry.id)
    }

    /// Notes the number of a label set in `known`.
    pub(super) fn insert(&mut self, cursor: &mut Cursor, labels: &Labels, id: u32, known: &Known) {
        let text = labels.as_bytes();
        if self.bytes() + text.len() + ENTRY_BYTES > BYTES_MAX {
            let turn = self.turn + 1;
            *self = Self {
                turn,
                ..Self::default()
            };
        }
        let entry = Entry {
            start: self.texts.len() as u32,
            len: text.len() as u32,
            id,
            next: NONE,
            generation: known.generation(),
        };
        let at = match self.by_hash.entry(hash_of(labels)) {
            Slot::Occupied(slot) => {
                let at = *slot.get();
                self.entries[at as usize] = entry;
                at
            }
            Slot::Vacant(slot) => {
                let at = self.entries.len() as u32;
                slot.insert(at);
                self.entries.push(entry);
                at
            }
        };
        self.texts.extend_from_slice(text);
        self.advance(cursor, at);
    }

    fn bytes(&self) -> usize {
        self.texts.len() + self.entries.len() * ENTRY_BYTES
    }

    /// Whether an entry is that of a label set.
    fn is(&self, entry: u32, labels: &Labels) -> bool {
        let entry = self.entries.get(entry as usize);
        entry.is_some_and(|entry| {
            let (start, len) = (entry.start as usize, entry.len as usize);
            self.texts.get(start..start + len) == Some(labels.as_bytes())
        })
    }

    /// The entry at a cursor.
    fn follow(&mut self, cursor: Cursor) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(cursor.entry as usize);
        entry.filter(|_| cursor.turn == self.turn)
    }

    /// Moves on to an entry, which came after the one at the cursor.
    fn advance(&mut self, cursor: &mut Cursor, to: u32) {
        if let Some(before) = self.follow(*cursor) {
            before.next = to;
        }
        *cursor = Cursor {
            turn: self.turn,
            entry: to,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(number: u32) -> Labels {
        Labels::from_pairs([("a", "x".repeat(1 << 10)), ("n", number.to_string())])
    }

    #[test]
    fn a_set_is_found_in_any_order_and_only_under_its_number_in_the_list() {
        let known = Known::default();
        let mut recent = Recent::default();
        let mut cursor = Cursor::default();
        for id in 0..5 {
            known.insert(id, &labels(id));
            assert_eq!(recent.find(&mut cursor, &labels(id), &known), None);
            recent.insert(&mut cursor, &labels(id), id, &known);
        }
        for id in [0, 1, 2, 2, 4, 3, 0, 1, 4, 3] {
            assert_eq!(recent.find(&mut cursor, &labels(id), &known), Some(id));
        }
        assert_eq!(recent.find(&mut cursor, &labels(9), &known), None);
        // A list that lacks three of them, and one that has one of those under another number.
        let next = Known::of_generation(1);
        next.insert(1, &labels(1));
        next.insert(3, &labels(3));
        let mut cursor = Cursor::default();
        let found: Vec<_> = (0..5)
            .map(|id| recent.find(&mut cursor, &labels(id), &next))
            .collect();
        assert_eq!(found, [None, Some(1), None, Some(3), None]);
        next.insert(7, &labels(2));
        recent.insert(&mut cursor, &labels(2), 7, &next);
        assert_eq!(recent.find(&mut cursor, &labels(2), &next), Some(7));
        assert_eq!(recent.find(&mut cursor, &labels(2), &known), None);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let known = Known::default();
        let mut recent = Recent::default();
        let mut cursor = Cursor::default();
        let count = (BYTES_MAX >> 10) as u32 * 2;
        for id in 0..count {
            recent.insert(&mut cursor, &labels(id), id, &known);
            assert!(recent.bytes() <= BYTES_MAX && recent.entries.len() <= BYTES_MAX >> 10);
        }
        let last = count - 1;
        let mut old = Cursor { turn: 0, entry: 3 };
        assert_eq!(recent.find(&mut old, &labels(last), &known), Some(last));
        assert_eq!(recent.find(&mut cursor, &labels(0), &known), None);
    }
}
