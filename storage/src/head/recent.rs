//! The numbers of label sets that were pushed lately.
//!
//! Who pushes sends the same series again and again, mostly in the same order. So each label set that is
//! found is kept with its number and the one that came after it the last time: finding the next one is
//! then a comparison, without a hash or a look at an index; of pointers, if the same set is pushed again, and
//! else of bytes.
//!
//! It is a memory of [`Known`] and never says more than that: an entry counts for a list of series that has its
//! number, which stands for the same labels in every list. Bounded: when it is full it begins anew.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{HashMap, Known};
use crate::Labels;

/// Most bytes of label sets, and of what is kept with each.
const BYTES_MAX: usize = 32 << 20;
/// What an entry takes besides the bytes of its labels: in the tables here, and around those bytes.
const ENTRY_BYTES: usize = size_of::<Entry>() + size_of::<(u64, u32)>() + size_of::<u32>() + 48;
/// No entry follows.
const NONE: u32 = u32::MAX;
/// Entries of a stretch.
const STRETCH: usize = 256;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// The entries in the order in which they came first; all stretches but the open one are full.
    full: Vec<Arc<Stretch>>,
    open: Stretch,
    /// Of each entry the one that came after it.
    next: Vec<u32>,
    text_bytes: usize,
    /// Entries by the hash of their labels. Of two with one hash the later is there.
    by_hash: HashMap<u64, u32>,
    /// How often it began anew: a [`Cursor`] does not reach beyond.
    turn: u64,
}

/// Some entries that came one after the other. Who expects the same again compares without a lock.
#[derive(Debug, Default)]
struct Stretch {
    entries: Vec<Entry>,
    /// One more than the generation of the list in which all of them have these numbers.
    confirmed: AtomicU64,
}

#[derive(Debug)]
struct Entry {
    labels: Labels,
    id: u32,
}

impl Stretch {
    /// The number of an entry, if it is that of a label set.
    #[inline]
    fn id_of(&self, at: usize, labels: &Labels) -> Option<u32> {
        let entry = self.entries.get(at)?;
        entry.labels.is(labels).then_some(entry.id)
    }

    /// Whether all entries count for the list.
    fn is_confirmed(&self, known: &Known) -> bool {
        let wanted = known.generation() + 1;
        let is_confirmed = self.confirmed.load(Ordering::Relaxed) == wanted
            || self.entries.iter().all(|entry| known.contains(entry.id));
        if is_confirmed {
            self.confirmed.store(wanted, Ordering::Relaxed);
        }
        is_confirmed
    }
}

/// The entry that was found last.
#[derive(Debug)]
pub(super) struct Cursor {
    turn: u64,
    entry: u32,
    /// The full stretch of that entry, if it counts for the list that was asked about.
    stretch: Option<Arc<Stretch>>,
}

impl Default for Cursor {
    fn default() -> Self {
        Self {
            turn: 0,
            entry: NONE,
            stretch: None,
        }
    }
}

impl Cursor {
    /// The number of a label set, if it is the one that came next before. The list must be the one of the
    /// last [`Recent::find`], unless [`Cursor::forget_list`] was called.
    #[inline]
    pub(super) fn follow(&mut self, labels: &Labels) -> Option<u32> {
        let next = self.entry.wrapping_add(1);
        let at = next as usize % STRETCH;
        // The first of a stretch is not in that of the entry before.
        let stretch = self.stretch.as_ref().filter(|_| at > 0)?;
        let id = stretch.id_of(at, labels)?;
        self.entry = next;
        Some(id)
    }

    /// Says that the next label set is looked up in another list.
    pub(super) fn forget_list(&mut self) {
        self.stretch = None;
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
        let before = self.next.get(cursor.entry as usize);
        let expected = *before.filter(|_| cursor.turn == self.turn).unwrap_or(&NONE);
        let (found, id) = match self.id_of(expected, labels) {
            Some(id) => (expected, id),
            None => {
                let found = *self.by_hash.get(&hash_of(labels))?;
                (found, self.id_of(found, labels)?)
            }
        };
        self.advance(cursor, found);
        let stretch = self.full.get(found as usize / STRETCH);
        let stretch = stretch.filter(|full| full.is_confirmed(known));
        cursor.stretch = stretch.map(Arc::clone);
        (cursor.stretch.is_some() || known.contains(id)).then_some(id)
    }

    /// Notes the number of a label set in `known`.
    pub(super) fn insert(&mut self, cursor: &mut Cursor, labels: &Labels, id: u32) {
        let bytes = labels.as_bytes().len();
        if self.bytes() + bytes + ENTRY_BYTES > BYTES_MAX {
            let turn = self.turn + 1;
            *self = Self {
                turn,
                ..Self::default()
            };
        }
        let at = self.next.len() as u32;
        self.by_hash.insert(hash_of(labels), at);
        self.text_bytes += bytes;
        self.next.push(NONE);
        let labels = labels.clone();
        self.open.entries.push(Entry { labels, id });
        if self.open.entries.len() == STRETCH {
            self.full.push(Arc::new(std::mem::take(&mut self.open)));
        }
        self.advance(cursor, at);
        cursor.stretch = None;
    }

    fn bytes(&self) -> usize {
        self.text_bytes + self.next.len() * ENTRY_BYTES
    }

    /// The number of an entry, if it is that of a label set.
    fn id_of(&self, entry: u32, labels: &Labels) -> Option<u32> {
        let stretch = self.full.get(entry as usize / STRETCH);
        let stretch = stretch.map_or(&self.open, |full| &**full);
        if entry >= self.next.len() as u32 {
            return None;
        }
        stretch.id_of(entry as usize % STRETCH, labels)
    }

    /// Moves on to an entry, which came after the one at the cursor.
    fn advance(&mut self, cursor: &mut Cursor, to: u32) {
        if cursor.turn == self.turn
            && let Some(next) = self.next.get_mut(cursor.entry as usize)
        {
            *next = to;
        }
        cursor.turn = self.turn;
        cursor.entry = to;
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
            recent.insert(&mut cursor, &labels(id), id);
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
        recent.insert(&mut cursor, &labels(2), 7);
        assert_eq!(recent.find(&mut cursor, &labels(2), &next), Some(7));
        assert_eq!(recent.find(&mut cursor, &labels(2), &known), None);
    }

    #[test]
    fn what_comes_in_the_same_order_is_followed_within_one_list() {
        let known = Known::default();
        let mut recent = Recent::default();
        let mut cursor = Cursor::default();
        let count = STRETCH as u32 * 2 + 9;
        for id in 0..count {
            known.insert(id, &labels(id));
            recent.insert(&mut cursor, &labels(id), id);
        }
        let mut cursor = Cursor::default();
        let mut followed = 0;
        for id in 0..count {
            let found = cursor.follow(&labels(id));
            followed += u32::from(found.is_some());
            let found = found.or_else(|| recent.find(&mut cursor, &labels(id), &known));
            assert_eq!(found, Some(id));
        }
        // All but the first of each full stretch.
        assert_eq!(followed, 2 * (STRETCH as u32 - 1));
        // Another order, and a label set that is not here.
        for id in [5, 7, 8, 6] {
            let found = cursor.follow(&labels(id));
            assert_eq!(found, (id == 8).then_some(8));
            let found = found.or_else(|| recent.find(&mut cursor, &labels(id), &known));
            assert_eq!(found, Some(id));
        }
        assert_eq!(cursor.follow(&labels(count)), None);
        assert_eq!(cursor.follow(&labels(7)), Some(7));
        // A list that has another number for one of the stretch.
        let next = Known::of_generation(1);
        for id in (0..count).filter(|id| *id != 9) {
            next.insert(id, &labels(id));
        }
        cursor.forget_list();
        assert_eq!(cursor.follow(&labels(8)), None);
        assert_eq!(recent.find(&mut cursor, &labels(8), &next), Some(8));
        assert_eq!(cursor.follow(&labels(9)), None);
        assert_eq!(recent.find(&mut cursor, &labels(9), &next), None);
        assert_eq!(recent.find(&mut cursor, &labels(300), &next), Some(300));
        assert_eq!(cursor.follow(&labels(301)), Some(301));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let known = Known::default();
        let mut recent = Recent::default();
        let mut cursor = Cursor::default();
        let count = (BYTES_MAX >> 10) as u32 * 2;
        for id in [0, count - 1] {
            known.insert(id, &labels(id));
        }
        for id in 0..count {
            recent.insert(&mut cursor, &labels(id), id);
            assert!(recent.bytes() <= BYTES_MAX && recent.next.len() <= BYTES_MAX >> 10);
        }
        let last = count - 1;
        let mut old = Cursor {
            entry: 3,
            ..Cursor::default()
        };
        assert_eq!(recent.find(&mut old, &labels(last), &known), Some(last));
        assert_eq!(recent.find(&mut cursor, &labels(0), &known), None);
    }
}
