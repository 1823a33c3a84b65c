//! Which series the head knows: those of the newest block's index, and those created since.
//!
//! A seal makes a block that lists every series that is still of use, whether or not it has a page
//! there. Its mapped index becomes the base; on the heap there is only a map from id to ordinal, 4 bytes
//! a series. Series created since are in a delta. The pair is replaced as a whole, together with the
//! list of blocks, so whoever holds one sees both as they were.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use roaring::RoaringBitmap;

use crate::{
    CardinalityLists, Corruption, Labels,
    block::{Block, BlockIndex, IndexBuilder},
    index::Delta,
    start_times::siblings,
};

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    base: Option<Arc<Base>>,
    delta: Arc<RwLock<Delta>>,
    /// How many seals have replaced it since the store was opened.
    generation: u64,
}

/// The newest block's index.
#[derive(Debug)]
pub(crate) struct Base {
    block: Arc<Block>,
    ordinals: Ordinals,
    /// How many of its series have the start timestamps of others.
    siblings: usize,
}

impl Base {
    fn new(block: Arc<Block>) -> Self {
        Self {
            ordinals: Ordinals::of(&block),
            siblings: siblings_of(block.index()).len() as usize,
            block,
        }
    }

    /// The block that has the index.
    pub(crate) fn block(&self) -> &Arc<Block> {
        &self.block
    }

    /// The place of a series in the order of labels.
    pub(crate) fn ordinal(&self, id: u32) -> Option<u32> {
        self.ordinals.get(id)
    }
}

impl Known {
    /// Knows the series of a block.
    pub(crate) fn new(base: Option<Arc<Block>>) -> Self {
        Self {
            base: base.map(|block| Arc::new(Base::new(block))),
            delta: Arc::default(),
            generation: 0,
        }
    }

    #[cfg(test)]
    pub(super) fn of_generation(generation: u64) -> Self {
        Self {
            generation,
            ..Self::default()
        }
    }

    /// Tells lists of one store apart: equal numbers are the same list.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// The newest block's index, if there is a block.
    pub(crate) fn base(&self) -> Option<&Arc<Base>> {
        self.base.as_ref()
    }

    /// The series created since.
    pub(crate) fn delta(&self) -> RwLockReadGuard<'_, Delta> {
        self.delta.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The id of the series with these labels.
    pub(crate) fn find(&self, labels: &Labels) -> Option<u32> {
        if let Some(id) = self.delta().find(labels) {
            return Some(id);
        }
        let index = self.base.as_ref()?.block.index();
        // A damaged entry is of no use; its series gets a new number.
        let ordinal = index.find(labels).ok().flatten()?;
        Some(index.id(ordinal))
    }

    /// The labels of a series.
    pub(crate) fn labels(&self, id: u32) -> Option<Labels> {
        if let Some(base) = &self.base
            && let Some(ordinal) = base.ordinal(id)
        {
            return base.block.index().labels().get(ordinal).ok();
        }
        self.delta().labels(id)
    }

    /// Whether the block has the series; otherwise it was created since, or is not known.
    pub(crate) fn is_in_base(&self, id: u32) -> bool {
        let base = self.base.as_ref();
        base.is_some_and(|base| base.ordinal(id).is_some())
    }

    /// Whether there is a series with this id.
    pub(crate) fn contains(&self, id: u32) -> bool {
        self.is_in_base(id) || self.delta().contains(id)
    }

    /// How many series there are, without those that have the start timestamps of others.
    pub(crate) fn len(&self) -> usize {
        let in_base = |base: &Arc<Base>| base.block.index().len() as usize - base.siblings;
        let delta = self.delta();
        self.base.as_ref().map_or(0, in_base) + delta.len() - delta.siblings_len()
    }

    /// How many distinct label pairs the block has, and the created series have.
    pub(crate) fn pairs_len(&self) -> usize {
        // Siblings have all labels of their series, and one that is the same for all of them.
        let without = |pairs: usize, siblings| pairs - usize::from(siblings > 0);
        let in_base = |base: &Arc<Base>| without(base.block.index().pairs_len(), base.siblings);
        let delta = self.delta();
        self.base.as_ref().map_or(0, in_base) + without(delta.pairs_len(), delta.siblings_len())
    }

    /// The largest contributors, at most `limit` a list, without what siblings add. Walks every label pair.
    pub(crate) fn cardinality(&self, limit: usize) -> CardinalityLists {
        let mut pairs: BTreeMap<(String, String), u64> = BTreeMap::new();
        let mut add = |name: &str, value: &str, series: u64| {
            *pairs
                .entry((name.to_owned(), value.to_owned()))
                .or_default() += series;
        };
        if let Some(base) = &self.base {
            let index = base.block.index();
            // What is damaged is not counted.
            index.each_pair(&siblings_of(index), &mut add).ok();
        }
        let delta = self.delta();
        delta.each_pair(&delta.select(&siblings(&[])), &mut add);
        CardinalityLists::of(&pairs, limit)
    }

    /// A number that is larger than that of every series.
    pub(crate) fn next_id(&self) -> u32 {
        let base = self
            .base
            .as_ref()
            .filter(|base| base.block.index().len() > 0);
        let in_base = base.map(|base| base.block.series_max());
        let newest = self.delta().ids().iter().copied().max().max(in_base);
        newest.map_or(0, |id| id + 1)
    }

    /// Adds a series that is not there.
    pub(super) fn insert(&self, id: u32, labels: &Labels) {
        let mut delta = self.delta.write().unwrap_or_else(PoisonError::into_inner);
        delta.insert(id, labels);
    }

    /// The same series after a seal: the block's, and of those that it lacks the created ones and
    /// `others`.
    pub(crate) fn advance(&self, block: Arc<Block>, others: &[u32]) -> Self {
        let next = Self {
            generation: self.generation + 1,
            ..Self::new(Some(block))
        };
        let created = self.delta().ids().to_vec();
        for id in created.iter().chain(others) {
            if !next.contains(*id)
                && let Some(labels) = self.labels(*id)
            {
                next.insert(*id, &labels);
            }
        }
        next
    }

    /// The block, if it has all series and `keep` wants them.
    pub(crate) fn unchanged(&self, keep: &mut dyn FnMut(u32) -> bool) -> Option<&Block> {
        let base = self.base.as_ref().filter(|_| self.delta().len() == 0)?;
        let index = base.block.index();
        let are_kept = (0..index.len()).all(|ordinal| keep(index.id(ordinal)));
        are_kept.then_some(&base.block)
    }

    /// Adds to an index the created series and those of the base that `keep` wants; answers the ids of
    /// the others.
    pub(crate) fn in_label_order(
        &self,
        keep: &mut dyn FnMut(u32) -> bool,
        index: &mut IndexBuilder,
    ) -> Result<Vec<u32>, Corruption> {
        let mut created: Vec<(Labels, u32)> = {
            let delta = self.delta();
            delta.iter().map(|(id, labels)| (labels, id)).collect()
        };
        created.sort_unstable();
        let mut created = created.into_iter().peekable();
        let mut forgotten = Vec::new();
        if let Some(base) = &self.base {
            let source = base.block.index();
            let mut reader = source.labels();
            for ordinal in 0..source.len() {
                let id = source.id(ordinal);
                if !keep(id) {
                    forgotten.push(id);
                    continue;
                }
                let labels = reader
                    .get(ordinal)
                    .map_err(|error| base.block.index_damaged(error))?;
                while let Some((labels, id)) = created.next_if(|(created, _)| *created < labels) {
                    index.add(id, &labels);
                }
                index.add(id, &labels);
            }
        }
        for (labels, id) in created {
            index.add(id, &labels);
        }
        Ok(forgotten)
    }
}

/// The series of a block that have the start timestamps of others; of a damaged index none.
fn siblings_of(index: &BlockIndex) -> RoaringBitmap {
    index.select(&siblings(&[])).unwrap_or_default()
}

/// Ordinals by id.
#[derive(Debug)]
enum Ordinals {
    /// The ordinals of the ids from the first on; [`Ordinals::NONE`] where there is no such series.
    Dense { first: u32, ordinals: Vec<u32> },
    /// Ids and ordinals, ascending by id.
    Sparse(Vec<(u32, u32)>),
}

impl Ordinals {
    const NONE: u32 = u32::MAX;

    fn of(block: &Block) -> Self {
        let index = block.index();
        let len = index.len();
        let ids = || (0..len).map(|ordinal| index.id(ordinal));
        let (Some(first), Some(last)) = (ids().min(), ids().max()) else {
            return Self::Sparse(Vec::new());
        };
        if (last - first) / 2 > len.max(1_024) {
            let mut pairs: Vec<(u32, u32)> = ids().zip(0..len).collect();
            pairs.sort_unstable();
            return Self::Sparse(pairs);
        }
        let mut ordinals = vec![Self::NONE; (last - first) as usize + 1];
        for (id, ordinal) in ids().zip(0..len) {
            ordinals[(id - first) as usize] = ordinal;
        }
        Self::Dense { first, ordinals }
    }

    fn get(&self, id: u32) -> Option<u32> {
        match self {
            Self::Dense { first, ordinals } => {
                let ordinal = ordinals.get(id.checked_sub(*first)? as usize).copied();
                ordinal.filter(|ordinal| *ordinal != Self::NONE)
            }
            Self::Sparse(pairs) => {
                let found = pairs.binary_search_by_key(&id, |(id, _)| *id).ok()?;
                Some(pairs[found].1)
            }
        }
    }
}
