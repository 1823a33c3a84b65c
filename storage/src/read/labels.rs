//! Label names and values of the series that have samples in a range, from the indexes alone.
//!
//! A name or a value is told by one series that has it and has samples. So samples are looked for as
//! texts are: of the series of each text until one is found, and of none where an index before had the
//! text. An index that has only such texts is not asked at all. Usually the first will do, and the answer costs what its texts cost, not what their series do.

use std::ops::ControlFlow;

use roaring::RoaringBitmap;

use super::{
    catalog::{Presence, Sealed},
    memory::Memory,
    querier::StoreQuerier,
};
use crate::{
    Budget, Corruption, Matcher, ReadError,
    block::BlockIndex,
    codec::CodecError,
    head::Head,
    index::{Among, Delta, Texts},
    start_times,
};

/// After so many series that had no samples all are looked at, each once.
const MISSES_MAX: u32 = 1_024;

/// One of the indexes that a snapshot has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Indexed<'a> {
    Block(&'a BlockIndex),
    New(&'a Delta),
}

impl Indexed<'_> {
    fn select_some(self, matchers: &[Matcher]) -> Result<Option<RoaringBitmap>, CodecError> {
        match self {
            Self::Block(block) => block.select_some(matchers),
            Self::New(delta) => Ok(delta.select_some(matchers)),
        }
    }

    /// All of its series.
    fn all(self) -> RoaringBitmap {
        match self {
            Self::Block(block) => (0..block.len()).collect(),
            Self::New(delta) => delta.ids().iter().copied().collect(),
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked<'a> {
    /// The label names.
    Names,
    /// The values of this label.
    Values(&'a str),
}

impl Asked<'_> {
    /// Whether an index has a text that is not known, of whichever series.
    fn has_others(self, index: Indexed<'_>, texts: &mut dyn Texts) -> Result<bool, CodecError> {
        match (self, index) {
            (Self::Names, Indexed::Block(block)) => block.has_other_names(texts),
            (Self::Names, Indexed::New(delta)) => Ok(delta.has_other_names(texts)),
            (Self::Values(name), Indexed::Block(block)) => block.has_other_values(name, texts),
            (Self::Values(name), Indexed::New(delta)) => Ok(delta.has_other_values(name, texts)),
        }
    }

    /// Hands on texts of the series of an index.
    fn of(
        self,
        index: Indexed<'_>,
        among: &mut Among<'_>,
        texts: &mut dyn Texts,
    ) -> Result<(), CodecError> {
        match (self, index) {
            (Self::Names, Indexed::Block(block)) => return block.label_names(among, texts),
            (Self::Names, Indexed::New(delta)) => delta.label_names(among, texts),
            (Self::Values(name), Indexed::Block(block)) => {
                return block.label_values(name, among, texts);
            }
            (Self::Values(name), Indexed::New(delta)) => delta.label_values(name, among, texts),
        }
        Ok(())
    }
}

impl StoreQuerier {
    /// What is asked for of the series that pass every matcher and have samples in the
    /// querier's range; ascending, at most `limit`.
    pub(super) fn texts(
        &self,
        matchers: &[Matcher],
        limit: Option<usize>,
        budget: &Budget,
        asked: Asked<'_>,
    ) -> Result<Vec<String>, ReadError> {
        let matchers = &*start_times::without_siblings(matchers);
        let mut found = Found::new(limit.unwrap_or(usize::MAX));
        if found.limit == 0 {
            return Ok(Vec::new());
        }
        let look = |index: Indexed<'_>, samples: Samples<'_>, found: &mut Found| {
            if !asked.has_others(index, found)? {
                return Ok(None);
            }
            let selected = index.select_some(matchers)?;
            let mut witnesses = Witnesses::new(index, selected.as_ref(), samples);
            let mut among = Among {
                selected: selected.as_ref(),
                counts: Some(&mut |series| witnesses.has_sample(series)),
            };
            asked.of(index, &mut among, found)?;
            found.finish_index();
            Ok(witnesses.damage)
        };
        let in_range = self.catalog.blocks.iter();
        let in_range = in_range.filter(|sealed| sealed.range().overlaps(&self.range));
        // Blocks of which every series is in the range have most of the texts; of others it may be none.
        let (whole, cut): (Vec<&Sealed>, Vec<&Sealed>) =
            in_range.partition(|sealed| sealed.is_met_by(self.range));
        let ask_block = |sealed: &Sealed, found: &mut Found| {
            budget.check()?;
            let samples = Samples::Block(Box::new(sealed.presence(self.range, 0)));
            let looked = look(Indexed::Block(sealed.index()), samples, found);
            let damage = looked.map_err(|error| sealed.index_damaged(error))?;
            damage.map_or(Ok(()), |damage| Err(ReadError::from(damage)))
        };
        for sealed in whole {
            ask_block(sealed, &mut found)?;
        }
        let mut memory = Memory::new(self.catalog.sealed, self.visible, self.range);
        if memory.may_have_samples(&self.head) {
            budget.check()?;
            let known = &self.catalog.known;
            if let Some(base) = known.base() {
                let block = base.block();
                let samples = Samples::Base(&self.head, &mut memory, block.index());
                look(Indexed::Block(block.index()), samples, &mut found)
                    .map_err(|error| block.index_damaged(error))?;
            }
            let samples = Samples::New(&self.head, &mut memory);
            // Nothing in memory is damaged.
            look(Indexed::New(&known.delta()), samples, &mut found).ok();
        }
        for sealed in cut {
            ask_block(sealed, &mut found)?;
        }
        Ok(found.texts)
    }
}

/// Where series of an index may have samples.
enum Samples<'a> {
    /// In their block.
    Block(Box<Presence<'a>>),
    /// In memory, the series of this index.
    Base(&'a Head, &'a mut Memory, &'a BlockIndex),
    /// In memory, the series created since.
    New(&'a Head, &'a mut Memory),
}

impl Samples<'_> {
    fn has(&mut self, series: u32) -> Result<bool, Corruption> {
        match self {
            Self::Block(presence) => presence.has_sample(series),
            Self::Base(head, memory, index) => Ok(memory.has_series(head, index.id(series))),
            Self::New(head, memory) => Ok(memory.has_series(head, series)),
        }
    }

    fn all_of(&mut self, selected: RoaringBitmap) -> Result<RoaringBitmap, Corruption> {
        if let Self::Block(presence) = self
            && let Some(with_pages) = presence.of_all()?
        {
            return Ok(selected & with_pages);
        }
        let mut all = RoaringBitmap::new();
        for series in selected {
            if self.has(series)? {
                all.insert(series);
            }
        }
        Ok(all)
    }
}

/// Finds series that have samples.
struct Witnesses<'a> {
    index: Indexed<'a>,
    selected: Option<&'a RoaringBitmap>,
    samples: Samples<'a>,
    misses: u32,
    /// All that have samples, once they were looked for.
    all: Option<RoaringBitmap>,
    /// What ended the search: from then on all have samples, so that whoever asks comes to an end.
    damage: Option<Corruption>,
}

impl<'a> Witnesses<'a> {
    fn new(index: Indexed<'a>, selected: Option<&'a RoaringBitmap>, samples: Samples<'a>) -> Self {
        Self {
            index,
            selected,
            samples,
            misses: 0,
            all: None,
            damage: None,
        }
    }

    fn has_sample(&mut self, series: u32) -> bool {
        if self.damage.is_some() {
            return true;
        }
        self.look_up(series).unwrap_or_else(|damage| {
            self.damage = Some(damage);
            true
        })
    }

    fn look_up(&mut self, series: u32) -> Result<bool, Corruption> {
        if let Some(all) = &self.all {
            return Ok(all.contains(series));
        }
        if self.samples.has(series)? {
            return Ok(true);
        }
        self.misses += 1;
        if self.misses == MISSES_MAX {
            let selected = self.selected.cloned();
            let selected = selected.unwrap_or_else(|| self.index.all());
            self.all = Some(self.samples.all_of(selected)?);
        }
        Ok(false)
    }
}

/// The first texts of several indexes.
struct Found {
    limit: usize,
    /// Of the indexes so far, ascending, at most `limit`.
    texts: Vec<String>,
    /// What the index at hand has beside them, ascending.
    new: Vec<String>,
    /// How many texts it has handed on: of each index the first so many are enough.
    taken: usize,
    /// The first of `texts` that is not before the text that was asked for last.
    at: usize,
}

impl Found {
    const fn new(limit: usize) -> Self {
        Self {
            limit,
            texts: Vec::new(),
            new: Vec::new(),
            taken: 0,
            at: 0,
        }
    }

    fn finish_index(&mut self) {
        if !self.new.is_empty() {
            self.texts.append(&mut self.new);
            // Two runs, which this sort makes use of.
            self.texts.sort();
            self.texts.truncate(self.limit);
        }
        (self.taken, self.at) = (0, 0);
    }
}

impl Texts for Found {
    fn has(&mut self, text: &str) -> bool {
        let before = self.at.checked_sub(1).and_then(|at| self.texts.get(at));
        if before.is_some_and(|before| before.as_str() >= text) {
            self.at = 0;
        }
        let later = self.texts.get(self.at..).unwrap_or_default();
        let steps = later.iter().take_while(|known| known.as_str() < text);
        self.at += steps.count();
        self.texts.get(self.at).is_some_and(|known| known == text)
    }

    fn put(&mut self, text: &str) -> ControlFlow<()> {
        if !self.has(text) {
            self.new.push(text.to_owned());
        }
        self.taken += 1;
        if self.taken < self.limit {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }
}
