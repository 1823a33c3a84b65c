//! A hash table of numbers: four bytes a slot, the keys lie with whoever holds the table.

/// Open addressing with linear probing; a quarter of the slots or more is free.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    /// 0: free; otherwise the number plus one. As many as a power of two.
    slots: Vec<u32>,
    len: usize,
}

const LEN_MIN: usize = 16;

impl Slots {
    /// The first number under `hash` for which `is` answers true.
    pub(crate) fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = self.home(hash);
        loop {
            let number = self.slots[at].checked_sub(1)?;
            if is(number) {
                return Some(number);
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds a number below `u32::MAX`. `hash_of` answers the hashes of those that were added before.
    pub(crate) fn insert(&mut self, hash: u64, number: u32, hash_of: impl Fn(u32) -> u64) {
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            let len = (self.slots.len() * 2).max(LEN_MIN);
            let before = std::mem::replace(&mut self.slots, vec![0; len]);
            for slot in before.into_iter().filter(|slot| *slot != 0) {
                self.put(hash_of(slot - 1), slot);
            }
        }
        self.put(hash, number + 1);
        self.len += 1;
    }

    fn put(&mut self, hash: u64, slot: u32) {
        let mask = self.slots.len() - 1;
        let mut at = self.home(hash);
        while self.slots[at] != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }

    /// Where a hash is looked for first: its upper bits, which are the better ones.
    fn home(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.slots.len() - 1)
    }

    /// Bytes on the heap.
    #[cfg(feature = "internals")]
    pub(crate) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<u32>()
    }
}
