//! Series created since the last seal, in memory.
//!
//! Each text is there once, each label set is the numbers of its pairs. Nothing is ever removed: a
//! seal begins a new delta with what the block lacks.

use std::{convert::Infallible, ops::ControlFlow};

use roaring::RoaringBitmap;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    pairs::Pairs,
    select,
    slots::Slots,
    terms::{Among, Label, Terms, Texts, Union},
};
use crate::{
    Labels, Matcher,
    model::{LabelsEncoder, has_prefix},
};

/// See the module. A series is a *place* inside: its index in the order of insertion.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    pairs: Pairs,
    /// Of each pair, the ids of its series.
    postings: Vec<Postings>,
    ids: Vec<u32>,
    /// How many of them have the start timestamps of others.
    siblings: usize,
    /// Upper halves of the hashes of the label sets.
    hashes: Vec<u32>,
    /// The pairs of all series back to back, each set ascending by name.
    sets: Vec<u32>,
    /// Where each set ends.
    ends: Vec<u32>,
    by_labels: Slots,
    by_id: Slots,
    /// The labels that were inserted last: the next ones mostly share pairs with them.
    last: Labels,
}

/// Ids of the series that have a pair.
#[derive(Debug)]
enum Postings {
    One(u32),
    Many(RoaringBitmap),
}

impl Postings {
    fn insert(&mut self, id: u32) {
        match self {
            Self::One(one) => {
                let one = *one;
                *self = Self::Many([one, id].into_iter().collect());
            }
            Self::Many(many) => {
                // Ids mostly rise.
                if many.try_push(id).is_err() {
                    many.insert(id);
                }
            }
        }
    }

    fn len(&self) -> u64 {
        match self {
            Self::One(_) => 1,
            Self::Many(many) => many.len(),
        }
    }
}

/// Places are found by the upper half of a hash, so the lower one is not kept.
fn hash_of(labels: &Labels) -> u32 {
    (xxh3_64(labels.as_bytes()) >> 32) as u32
}

/// A hash whose upper half is kept, or an id: ids are dense, so they spread by themselves.
const fn spread(hash: u32) -> u64 {
    (hash as u64) << 32
}

impl Delta {
    /// How many series there are.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// How many of them have the start timestamps of others.
    pub(crate) fn siblings_len(&self) -> usize {
        self.siblings
    }

    /// How many distinct label pairs they have.
    pub(crate) fn pairs_len(&self) -> usize {
        self.pairs.len()
    }

    /// Bytes on the heap, about.
    #[cfg(feature = "internals")]
    pub(crate) fn bytes(&self) -> usize {
        let postings: usize = (self.postings.iter())
            .map(|postings| match postings {
                Postings::One(_) => 0,
                Postings::Many(many) => many.serialized_size() + size_of::<RoaringBitmap>(),
            })
            .sum();
        let numbers = self.ids.capacity() + self.hashes.capacity() + self.ends.capacity();
        self.pairs.bytes()
            + postings
            + self.postings.capacity() * size_of::<Postings>()
            + (numbers + self.sets.capacity()) * size_of::<u32>()
            + self.by_labels.bytes()
            + self.by_id.bytes()
    }

    /// The id of the series with these labels.
    pub(crate) fn find(&self, labels: &Labels) -> Option<u32> {
        let hash = hash_of(labels);
        let place = self.by_labels.find(spread(hash), |place| {
            self.hashes[place as usize] == hash && self.is(place, labels)
        })?;
        Some(self.ids[place as usize])
    }

    fn is(&self, place: u32, labels: &Labels) -> bool {
        let own = self.set(place).iter().map(|pair| self.pairs.encoded(*pair));
        own.eq(labels.encoded_pairs())
    }

    /// The pairs of the series at a place.
    fn set(&self, place: u32) -> &[u32] {
        let place = place as usize;
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.sets[start as usize..self.ends[place] as usize]
    }

    fn place(&self, id: u32) -> Option<u32> {
        (self.by_id).find(spread(id), |place| self.ids[place as usize] == id)
    }

    /// Adds a series; one whose id is there already stays as it is.
    pub(crate) fn insert(&mut self, id: u32, labels: &Labels) {
        if self.place(id).is_some() {
            return;
        }
        let place = self.ids.len() as u32;
        let last = std::mem::replace(&mut self.last, labels.clone());
        let last_start = self.ends.iter().rev().nth(1).copied().unwrap_or(0) as usize;
        let mut last = last.encoded_pairs().zip(last_start..);
        for pair in labels.encoded_pairs() {
            let known = last.next().filter(|(other, _)| *other == pair);
            let pair = match known {
                Some((_, at)) => self.sets[at],
                None => self.pairs.intern(pair),
            };
            match self.postings.get_mut(pair as usize) {
                Some(postings) => postings.insert(id),
                None => self.postings.push(Postings::One(id)),
            }
            self.sets.push(pair);
        }
        self.ends.push(self.sets.len() as u32);
        self.ids.push(id);
        self.siblings += usize::from(labels.has_empty_name());
        let hash = hash_of(labels);
        self.hashes.push(hash);
        let (ids, hashes) = (&self.ids, &self.hashes);
        (self.by_labels).insert(spread(hash), place, |place| spread(hashes[place as usize]));
        (self.by_id).insert(spread(id), place, |place| spread(ids[place as usize]));
    }

    /// Whether there is a series with this id.
    pub(crate) fn contains(&self, id: u32) -> bool {
        self.place(id).is_some()
    }

    /// The ids of the series, in the order of insertion.
    pub(crate) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The labels of a series.
    pub(crate) fn labels(&self, id: u32) -> Option<Labels> {
        self.place(id).map(|place| self.labels_at(place))
    }

    fn labels_at(&self, place: u32) -> Labels {
        let mut labels = LabelsEncoder::default();
        for pair in self.set(place) {
            labels.push_encoded(self.pairs.encoded(*pair));
        }
        labels.finish()
    }

    /// Every series, in the order of insertion.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, Labels)> {
        let places = 0_u32..;
        (self.ids.iter().zip(places)).map(|(id, place)| (*id, self.labels_at(place)))
    }

    /// The ids of the series that pass every matcher.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> RoaringBitmap {
        let Ok(found) = select::select(self, matchers);
        found
    }

    /// The same; `None`: no matcher leaves one out.
    pub(crate) fn select_some(&self, matchers: &[Matcher]) -> Option<RoaringBitmap> {
        let Ok(found) = select::select_some(self, matchers);
        found
    }

    /// Hands on the label names, ascending, of the series that are asked about, until it is enough.
    pub(crate) fn label_names(&self, among: &mut Among<'_>, texts: &mut dyn Texts) {
        let Ok(()) = select::label_names(self, among, texts);
    }

    /// The same for the values of a label.
    pub(crate) fn label_values(&self, name: &str, among: &mut Among<'_>, texts: &mut dyn Texts) {
        let Ok(()) = select::label_values(self, name, among, texts);
    }

    /// Whether there is a label name that is not known.
    pub(crate) fn has_other_names(&self, texts: &mut dyn Texts) -> bool {
        let Ok(has) = select::has_other_names(self, texts);
        has
    }

    /// Whether a label has a value that is not known.
    pub(crate) fn has_other_values(&self, name: &str, texts: &mut dyn Texts) -> bool {
        let Ok(has) = select::has_other_values(self, name, texts);
        has
    }

    /// Hands on every pair with the number of its series that are not `hidden`, by name, then value.
    pub(crate) fn each_pair(&self, hidden: &RoaringBitmap, each: &mut dyn FnMut(&str, &str, u64)) {
        let Ok(()) = select::each_pair(self, hidden, each);
    }
}

impl Terms for Delta {
    type Error = Infallible;

    fn all(&self) -> RoaringBitmap {
        if self.ids.is_sorted() {
            let ids = self.ids.iter().copied();
            return RoaringBitmap::from_sorted_iter(ids).expect("sorted, each once");
        }
        self.ids.iter().copied().collect()
    }

    fn pairs_len(&self) -> u64 {
        self.pairs.len() as u64
    }

    fn each_name(
        &self,
        each: &mut dyn FnMut(u32, &str) -> ControlFlow<()>,
    ) -> Result<(), Infallible> {
        let mut names: Vec<u32> = (0..self.pairs.names() as u32).collect();
        names.sort_unstable_by_key(|name| self.pairs.name(*name));
        for name in names {
            if each(name, self.pairs.name(name)).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn name(&self, name: &str) -> Result<Option<u32>, Infallible> {
        Ok(self.pairs.find_name(name))
    }

    fn pair(&self, name: u32, value: &str) -> Result<Option<u32>, Infallible> {
        let mut pair = LabelsEncoder::default();
        pair.push(self.pairs.name(name), value);
        Ok(self.pairs.find(pair.encoded()))
    }

    fn values_len(&self, name: u32) -> Result<u64, Infallible> {
        Ok(self.pairs.of_name(name).len() as u64)
    }

    fn each_value(
        &self,
        name: u32,
        prefix: &str,
        each: &mut dyn FnMut(u32, &str) -> ControlFlow<()>,
    ) -> Result<(), Infallible> {
        for pair in self.pairs.of_name(name) {
            let value = self.pairs.value(*pair);
            if has_prefix(value.as_bytes(), prefix.as_bytes()) && each(*pair, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn each_value_in_order(
        &self,
        name: u32,
        each: &mut dyn FnMut(u32, &str) -> ControlFlow<()>,
    ) -> Result<(), Infallible> {
        let mut pairs = self.pairs.of_name(name).to_vec();
        pairs.sort_unstable_by_key(|pair| self.pairs.value(*pair));
        for pair in pairs {
            if each(pair, self.pairs.value(pair)).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn count(&self, pair: u32) -> Result<u64, Infallible> {
        Ok(self.postings[pair as usize].len())
    }

    fn series(
        &self,
        pair: u32,
        among: Option<&RoaringBitmap>,
        out: &mut Union,
    ) -> Result<(), Infallible> {
        match (&self.postings[pair as usize], among) {
            (Postings::One(id), Some(among)) if !among.contains(*id) => {}
            (Postings::One(id), _) => out.push(*id),
            (Postings::Many(many), Some(among)) => *out.bitmap() |= many & among,
            (Postings::Many(many), None) => *out.bitmap() |= many,
        }
        Ok(())
    }

    fn has_any(&self, pair: u32, among: &mut Among<'_>) -> Result<bool, Infallible> {
        Ok(match (&self.postings[pair as usize], among.selected) {
            (Postings::One(id), _) => among.has(*id),
            (Postings::Many(many), Some(few)) if few.len() < many.len() => {
                let mut common = few.iter().filter(|id| many.contains(*id));
                common.any(|id| among.counts(id))
            }
            (Postings::Many(many), _) => many.iter().any(|id| among.has(id)),
        })
    }

    fn each_label(
        &self,
        among: &RoaringBitmap,
        each: &mut dyn FnMut(u32, Label) -> ControlFlow<()>,
    ) -> Result<(), Infallible> {
        for id in among {
            let set = self.place(id).map(|place| self.set(place));
            for pair in set.unwrap_or_default() {
                let name = self.pairs.name_of(*pair);
                if each(id, Label { name, pair: *pair }).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn each_pair_of(
        &self,
        name: u32,
        among: &RoaringBitmap,
        each: &mut dyn FnMut(u32, u32),
    ) -> Result<(), Infallible> {
        for id in among {
            let set = self.place(id).map(|place| self.set(place));
            let mut set = set.unwrap_or_default().iter();
            if let Some(pair) = set.find(|pair| self.pairs.name_of(**pair) == name) {
                each(id, *pair);
            }
        }
        Ok(())
    }

    fn each_value_of(
        &self,
        name: u32,
        among: &RoaringBitmap,
        each: &mut dyn FnMut(u32, &str),
    ) -> Result<(), Infallible> {
        for id in among {
            let set = self
                .place(id)
                .map(|place| self.set(place))
                .unwrap_or_default();
            let pair = set.iter().find(|pair| self.pairs.name_of(**pair) == name);
            each(id, pair.map_or("", |pair| self.pairs.value(*pair)));
        }
        Ok(())
    }
}
