//! The index of a block: which series there are, and which have a label pair.
//!
//! **What it is.** Sections of a block's file, read where they lie: names and values
//! ([`dictionary`]), label sets in their order ([`series`]), the series of each pair ([`postings`]),
//! the id of each series, and in blocks of level 0 a hash table of label sets ([`lookup`]).
//! `docs/index.md` has the layout byte by byte.
//!
//! **What it is not.** It knows no samples, and not whether a series has any.
//!
//! **What always holds.** A series is an ordinal, its place in label order. Sections are trusted no
//! more than their length: each number is checked where it is used, so that hostile bytes end in an
//! error or an answer, never in a panic. Opening reads only the heads of the sections, and the names.

mod bitmap;
mod builder;
mod dictionary;
mod groups;
mod implied;
mod labels;
mod lookup;
mod postings;
mod series;
#[cfg(test)]
mod tests;

#[cfg(feature = "internals")]
pub use bitmap::check_bitmap;
pub(crate) use builder::{IndexBuilder, IndexSections};
pub(crate) use labels::LabelsReader;

use std::{
    ops::{ControlFlow, Range},
    sync::Arc,
};

use roaring::RoaringBitmap;

use dictionary::{Dictionary, text};
use lookup::Lookup;
use postings::PostingsTable;
use series::SeriesTable;

use super::SectionKind;
use crate::{
    Labels, Mapped, Matcher,
    codec::CodecError,
    index::{self, Among, Label, Terms, Texts, Union},
    model::has_prefix,
};

/// Ids of series are below it.
pub(crate) const ID_END: u32 = u32::MAX;

const IDS: &str = "the ids of series";

/// See the module.
#[derive(Debug)]
pub(crate) struct BlockIndex {
    map: Arc<Mapped>,
    dictionary: Dictionary,
    series: SeriesTable,
    postings: PostingsTable,
    ids: Range<usize>,
    lookup: Option<Lookup>,
}

impl BlockIndex {
    /// The index in these sections of `map`, whose checksums were checked. Kinds that are not the
    /// index's are passed over.
    ///
    /// # Errors
    /// When a section is missing, or its head is not within it.
    pub(crate) fn open(
        map: Arc<Mapped>,
        sections: &[(SectionKind, Range<usize>)],
    ) -> Result<Self, CodecError> {
        let find = |kind| {
            let found = sections.iter().find(|(candidate, _)| *candidate == kind);
            found.map(|(_, range)| range)
        };
        let need = |kind| {
            find(kind).ok_or(CodecError {
                expected: "all sections of an index",
            })
        };
        let (symbols, pairs) = (need(SectionKind::Symbols)?, need(SectionKind::Pairs)?);
        let dictionary = Dictionary::open(&map, symbols, pairs)?;
        let series = SeriesTable::open(
            &map,
            need(SectionKind::Series)?,
            need(SectionKind::Tails)?,
            dictionary.names(),
        )?;
        let postings = PostingsTable::open(&map, need(SectionKind::Postings)?)?;
        let ids = need(SectionKind::Ids)?.clone();
        if postings.len() != dictionary.len() || ids.len() != series.len() as usize * 4 {
            return Err(CodecError {
                expected: "sections of an index that agree on their lengths",
            });
        }
        let lookup = find(SectionKind::Lookup)
            .map(|section| Lookup::open(section, series.len()))
            .transpose()?;
        map.get(ids.clone()).ok_or(CodecError { expected: IDS })?;
        Ok(Self {
            map,
            dictionary,
            series,
            postings,
            ids,
            lookup,
        })
    }

    /// How many series there are.
    pub(crate) fn len(&self) -> u32 {
        self.series.len()
    }

    /// How many distinct label pairs they have.
    pub(crate) fn pairs_len(&self) -> usize {
        self.dictionary.len() as usize
    }

    /// The ids of the series, by ordinal.
    fn ids(&self) -> &[[u8; 4]] {
        let ids = self.map.get(self.ids.clone()).unwrap_or_default();
        ids.as_chunks().0
    }

    /// The id of a series.
    ///
    /// # Panics
    /// When `ordinal` is not below [`BlockIndex::len`].
    pub(crate) fn id(&self, ordinal: u32) -> u32 {
        let id = self.ids().get(ordinal as usize);
        u32::from_le_bytes(*id.expect("the ordinal of a series"))
    }

    /// Checks that each series has an id of its own, and that `max` is the largest (0 when there is none) and below
    /// [`ID_END`]: whoever creates a series goes on behind it. Readers join by ids and merges by labels, so
    /// that they would disagree on a repeated one. Takes up to 16 bytes an id for a moment.
    ///
    /// # Errors
    /// What was expected, and where in the file.
    pub(super) fn check_ids(&self, max: u32) -> Result<(), (CodecError, usize)> {
        let ids = || self.ids().iter().map(|id| u32::from_le_bytes(*id));
        if ids().max().unwrap_or(0) != max || max == ID_END {
            let expected =
                "ids of series up to the largest that the footer says, with free ones above";
            return Err((CodecError { expected }, self.ids.start));
        }
        let Some(repeated) = self.repeated_id() else {
            return Ok(());
        };
        let expected = "an id of its own for each series";
        Err((CodecError { expected }, self.ids.start + repeated * 4))
    }

    /// The ordinal of a series whose id an earlier one has too.
    fn repeated_id(&self) -> Option<usize> {
        let ids = || self.ids().iter().map(|id| u32::from_le_bytes(*id));
        let (min, max) = (ids().min()?, ids().max()?);
        let span = (max - min) as usize;
        if span / 128 <= self.ids().len() {
            let mut taken = vec![0_u64; span / 64 + 1];
            return ids().position(|id| {
                let (word, bit) = ((id - min) as usize / 64, 1 << ((id - min) % 64));
                let was = taken[word];
                taken[word] |= bit;
                was & bit != 0
            });
        }
        let mut sorted: Vec<(u32, usize)> = ids().zip(0..).collect();
        sorted.sort_unstable();
        let repeated = sorted.windows(2).filter(|pair| pair[0].0 == pair[1].0);
        repeated.map(|pair| pair[1].1).min()
    }

    /// The ordinal of the series with these labels.
    ///
    /// # Errors
    /// When the index is damaged, as of all that follow.
    pub(crate) fn find(&self, labels: &Labels) -> Result<Option<u32>, CodecError> {
        let Some(lookup) = &self.lookup else {
            let Some(pairs) = self.pairs_of(labels)? else {
                return Ok(None);
            };
            return self.series.find(&self.map, &pairs);
        };
        let mut cursor = self.series.cursor(&self.map);
        lookup.find(&self.map, lookup::hash(labels.as_bytes()), |ordinal| {
            self.is(cursor.get(ordinal)?, labels)
        })
    }

    /// Whether these pairs are the labels.
    fn is(&self, pairs: &[u32], labels: &Labels) -> Result<bool, CodecError> {
        let mut labels = labels.iter();
        for pair in pairs {
            let Some((name, value)) = labels.next() else {
                return Ok(false);
            };
            let own_name = self.dictionary.name_of(&self.map, *pair)?;
            let is_equal = self.dictionary.name(&self.map, own_name)? == name
                && self
                    .dictionary
                    .value_is(&self.map, *pair, value.as_bytes())?;
            if !is_equal {
                return Ok(false);
            }
        }
        Ok(labels.next().is_none())
    }

    /// The pairs of a label set, unless one is not known.
    fn pairs_of(&self, labels: &Labels) -> Result<Option<Vec<u32>>, CodecError> {
        let mut pairs = Vec::new();
        for (name, value) in labels.iter() {
            let Some(name) = self.dictionary.find_name(&self.map, name)? else {
                return Ok(None);
            };
            match self.pair(name, value)? {
                Some(pair) => pairs.push(pair),
                None => return Ok(None),
            }
        }
        Ok(Some(pairs))
    }

    /// The ordinals of the series that pass every matcher.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Result<RoaringBitmap, CodecError> {
        index::select(self, matchers)
    }

    /// The same; `None`: no matcher leaves one out.
    pub(crate) fn select_some(
        &self,
        matchers: &[Matcher],
    ) -> Result<Option<RoaringBitmap>, CodecError> {
        index::select_some(self, matchers)
    }

    /// Reads labels; quickest when ordinals are asked for in order.
    pub(crate) fn labels(&self) -> LabelsReader<'_> {
        LabelsReader::new(self, self.series.cursor(&self.map))
    }

    /// Hands on the label names, ascending, of the series that are asked about, until it is enough.
    pub(crate) fn label_names(
        &self,
        among: &mut Among<'_>,
        texts: &mut dyn Texts,
    ) -> Result<(), CodecError> {
        index::label_names(self, among, texts)
    }

    /// The same for the values of a label.
    pub(crate) fn label_values(
        &self,
        name: &str,
        among: &mut Among<'_>,
        texts: &mut dyn Texts,
    ) -> Result<(), CodecError> {
        index::label_values(self, name, among, texts)
    }

    /// Whether there is a label name that is not known.
    pub(crate) fn has_other_names(&self, texts: &mut dyn Texts) -> Result<bool, CodecError> {
        index::has_other_names(self, texts)
    }

    /// Whether a label has a value that is not known.
    pub(crate) fn has_other_values(
        &self,
        name: &str,
        texts: &mut dyn Texts,
    ) -> Result<bool, CodecError> {
        index::has_other_values(self, name, texts)
    }

    /// Hands on every pair with the number of its series that are not `hidden`, by name, then value.
    pub(crate) fn each_pair(
        &self,
        hidden: &RoaringBitmap,
        each: &mut dyn FnMut(&str, &str, u64),
    ) -> Result<(), CodecError> {
        index::each_pair(self, hidden, each)
    }

    fn values(&self, pairs: Range<u32>) -> dictionary::Values<'_> {
        self.dictionary.values(&self.map, pairs)
    }

    /// Hands on values of consecutive pairs that begin with `prefix`, up to the first that does not.
    fn each_of(
        &self,
        pairs: Range<u32>,
        prefix: &str,
        each: &mut dyn FnMut(u32, &str) -> ControlFlow<()>,
    ) -> Result<(), CodecError> {
        let mut values = self.values(pairs);
        while let Some((pair, value)) = values.next()? {
            if !has_prefix(value, prefix.as_bytes()) || each(pair, text(value)?).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl Terms for BlockIndex {
    type Error = CodecError;

    fn all(&self) -> RoaringBitmap {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.len());
        all
    }

    fn pairs_len(&self) -> u64 {
        u64::from(self.dictionary.len())
    }

    fn each_name(
        &self,
        each: &mut dyn FnMut(u32, &str) -> ControlFlow<()>,
    ) -> Result<(), CodecError> {
        for name in 0..self.dictionary.names() {
            if each(name, self.dictionary.name(&self.map, name)?).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn name(&self, name: &str) -> Result<Option<u32>, CodecError> {
        self.dictionary.find_name(&self.map, name)
    }

    fn pair(&self, name: u32, value: &str) -> Result<Option<u32>, CodecError> {
        let pairs = self.dictionary.pairs_of(&self.map, name)?;
        let (pair, is_equal) =
            (self.dictionary).lower_bound(&self.map, &pairs, value.as_bytes())?;
        Ok(is_equal.then_some(pair))
    }

    fn values_len(&self, name: u32) -> Result<u64, CodecError> {
        let pairs = self.dictionary.pairs_of(&self.map, name)?;
        Ok(u64::from(pairs.end - pairs.start))
    }

    fn each_value(
        &self,
        name: u32,
        prefix: &str,
        each: &mut dyn FnMut(u32, &str) -> ControlFlow<()>,
    ) -> Result<(), CodecError> {
        let mut pairs = self.dictionary.pairs_of(&self.map, name)?;
        if !prefix.is_empty() {
            let prefix = prefix.as_bytes();
            pairs.start = (self.dictionary).lower_bound(&self.map, &pairs, prefix)?.0;
        }
        self.each_of(pairs, prefix, each)
    }

    fn each_value_in_order(
        &self,
        name: u32,
        each: &mut dyn FnMut(u32, &str) -> ControlFlow<()>,
    ) -> Result<(), CodecError> {
        self.each_value(name, "", each)
    }

    fn count(&self, pair: u32) -> Result<u64, CodecError> {
        Ok(self.postings.get(&self.map, pair, self.len())?.len())
    }

    fn series(
        &self,
        pair: u32,
        among: Option<&RoaringBitmap>,
        out: &mut Union,
    ) -> Result<(), CodecError> {
        let postings = self.postings.get(&self.map, pair, self.len())?;
        postings.add_to(among, out)
    }

    fn has_any(&self, pair: u32, among: &mut Among<'_>) -> Result<bool, CodecError> {
        let postings = self.postings.get(&self.map, pair, self.len())?;
        postings.has_any(among)
    }

    fn each_label(
        &self,
        among: &RoaringBitmap,
        each: &mut dyn FnMut(u32, Label) -> ControlFlow<()>,
    ) -> Result<(), CodecError> {
        let mut cursor = self.series.cursor(&self.map);
        for ordinal in among {
            for pair in cursor.get(ordinal)? {
                let name = self.dictionary.name_of(&self.map, *pair)?;
                if each(ordinal, Label { name, pair: *pair }).is_break() {
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
    ) -> Result<(), CodecError> {
        let pairs = self.dictionary.pairs_of(&self.map, name)?;
        let mut cursor = self.series.cursor(&self.map);
        for ordinal in among {
            let set = cursor.get(ordinal)?;
            if let Some(pair) = set.iter().find(|pair| pairs.contains(pair)) {
                each(ordinal, *pair);
            }
        }
        Ok(())
    }

    fn each_value_of(
        &self,
        name: u32,
        among: &RoaringBitmap,
        each: &mut dyn FnMut(u32, &str),
    ) -> Result<(), CodecError> {
        let pairs = self.dictionary.pairs_of(&self.map, name)?;
        let mut cursor = self.series.cursor(&self.map);
        for ordinal in among {
            let set = cursor.get(ordinal)?;
            match set.iter().find(|pair| pairs.contains(pair)) {
                Some(pair) => {
                    let mut values = self.values(*pair..*pair + 1);
                    let (_, value) = values.next()?.unwrap_or_default();
                    each(ordinal, text(value)?);
                }
                None => each(ordinal, ""),
            }
        }
        Ok(())
    }
}
