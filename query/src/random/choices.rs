//! Where chance comes from.

/// A source of choices.
#[derive(Debug, Clone)]
pub enum Choices<'a> {
    /// The generator `SplitMix64` with this state.
    Seeded(u64),
    /// One byte a choice; without bytes the first is chosen of everything.
    Bytes(&'a [u8]),
}

impl Choices<'_> {
    /// A number below `end`, which is above 0 and at most 65,536.
    pub fn below(&mut self, end: usize) -> usize {
        match self {
            Self::Seeded(state) => {
                *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut bits = *state;
                bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                ((bits ^ (bits >> 31)) % end.max(1) as u64) as usize
            }
            Self::Bytes(bytes) => {
                let mut number = 0;
                for _ in 0..=usize::from(end > 256) {
                    if let Some((first, rest)) = bytes.split_first() {
                        number = number << 8 | usize::from(*first);
                        *bytes = rest;
                    }
                }
                number % end.max(1)
            }
        }
    }

    /// Whether what happens once in `times` happens.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) + 1 == times
    }

    /// One of `from`, which is not empty.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
