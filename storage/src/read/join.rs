//! From matchers to a selection: the series of every block in the range and of memory, joined.
//!
//! A series has one id for life, so blocks and memory are joined by id. Labels that were forgotten and
//! came back have two ids; what has equal labels is one series of the answer.
//!
//! With a limit, of each source only the first so many series with samples are taken, in label order:
//! a series that is among the first of all is among the first of each source that has it.

use std::sync::Arc;

use super::{
    HashMap,
    catalog::{Catalog, Sealed},
    memory::{Memory, RowPlace},
    selection::{Grouped, PagePlace, StoreSelection},
};
use crate::{
    Budget, Labels, ReadError, Select, SelectedSeries, TimeRange, Wants,
    block::LabelsReader,
    head::{Head, HistogramSample, SoloSample},
};

/// How many series are joined between two looks at the budget.
const CHECK_EVERY: usize = 4_096;

/// About what a series takes in a selection, its labels with it: a list that would not fit is not begun.
const LISTED_BYTES: u64 = 128;

/// Where the labels of a series are.
#[derive(Debug, Clone, Copy)]
enum Named {
    /// In the selection's block with this index.
    Block { block: u32, ordinal: u32 },
    /// In the base of what the store knows.
    Base(u32),
    /// Among the series created since.
    New(u32),
}

impl Named {
    /// Whether its labels come after those of `before`, as far as that is known without them.
    fn follows(self, before: Option<Self>) -> bool {
        match (before, self) {
            (None, _) => true,
            (
                Some(Self::Block {
                    block: before,
                    ordinal: last,
                }),
                Self::Block { block, ordinal },
            ) => before == block && last < ordinal,
            (Some(Self::Base(last)), Self::Base(ordinal)) => last < ordinal,
            _ => false,
        }
    }
}

/// The ids of the series that were found, in the order in which they were.
#[derive(Debug, Default)]
struct Entries {
    ids: Vec<u32>,
    /// Those of them that come before the source that is being read.
    before: usize,
    /// The entry of an id, of the first so many.
    entry_of: HashMap<u32, u32>,
    mapped: usize,
    /// Where the next id of the source is expected.
    next: usize,
}

impl Entries {
    /// From now on ids come from another source, which has each once.
    fn begin_source(&mut self) {
        self.before = self.ids.len();
        self.next = 0;
    }

    /// The entry of an id that another source has too. Most sources have the same series in the same order, so that
    /// nothing needs to be looked up.
    fn find(&mut self, id: u32) -> Option<u32> {
        let found = if self.next < self.before && self.ids[self.next] == id {
            self.next as u32
        } else {
            let unmapped = self.mapped..self.before;
            let ids = self.ids[unmapped.clone()].iter().copied();
            self.entry_of.extend(ids.zip(unmapped.start as u32..));
            self.mapped = self.before;
            *self.entry_of.get(&id)?
        };
        self.next = found as usize + 1;
        Some(found)
    }

    /// The smallest id of each of so many series: ids rise as series are created.
    fn first_ids(&self, series: usize, place_of: &[Option<u32>]) -> Vec<u32> {
        let mut first = vec![u32::MAX; series];
        for (id, place) in self.ids.iter().zip(place_of) {
            if let Some(place) = place {
                let first = &mut first[*place as usize];
                *first = (*first).min(*id);
            }
        }
        first
    }

    /// A new entry.
    fn push(&mut self, id: u32) -> u32 {
        self.ids.push(id);
        self.ids.len() as u32 - 1
    }
}

/// See the module.
pub(super) struct Join<'a> {
    head: &'a Head,
    catalog: &'a Catalog,
    range: TimeRange,
    limit: usize,
    wants: Wants,
    budget: &'a Budget,
    memory: Memory,
    entries: Entries,
    named: Vec<Named>,
    pages: Vec<(u32, PagePlace)>,
    rows: Vec<(u32, RowPlace)>,
    solo: Vec<(u32, Arc<[SoloSample]>)>,
    histograms: Vec<(u32, Arc<[HistogramSample]>)>,
}

impl<'a> Join<'a> {
    /// Over a snapshot of everything up to commit `visible`.
    pub(super) fn new(
        head: &'a Head,
        catalog: &'a Catalog,
        visible: u64,
        range: TimeRange,
        request: &Select<'_>,
        budget: &'a Budget,
    ) -> Self {
        Self {
            head,
            catalog,
            range,
            limit: request.limit.unwrap_or(usize::MAX),
            wants: request.wants,
            budget,
            memory: Memory::new(catalog.sealed, visible, range),
            entries: Entries::default(),
            named: Vec::new(),
            pages: Vec::new(),
            rows: Vec::new(),
            solo: Vec::new(),
            histograms: Vec::new(),
        }
    }

    /// The series that pass every matcher and have samples.
    pub(super) fn select(
        mut self,
        request: &Select<'_>,
        is_by_creation: bool,
    ) -> Result<StoreSelection, ReadError> {
        let in_range = self.catalog.blocks.iter();
        let blocks: Vec<_> = in_range
            .filter(|block| block.range().overlaps(&self.range))
            .cloned()
            .collect();
        if !self.memory.is_empty() {
            self.add_memory(request)?;
        }
        for (number, sealed) in blocks.iter().enumerate() {
            let index = sealed.index();
            let found = index
                .select(request.matchers)
                .map_err(|error| sealed.index_damaged(error))?;
            let most = self.foresee(found.len())?;
            let mut presence = sealed.presence(self.range, most);
            self.entries.begin_source();
            self.named.reserve(most as usize);
            let mut taken = 0;
            for (count, ordinal) in found.iter().enumerate() {
                if count % CHECK_EVERY == 0 {
                    self.budget.check()?;
                }
                if taken >= self.limit {
                    break;
                }
                let id = index.id(ordinal);
                let known = self.entries.find(id);
                let is_known = known.is_some() && self.limit == usize::MAX;
                if !is_known && !presence.has_sample(ordinal)? {
                    continue;
                }
                taken += 1;
                let block = number as u32;
                let entry =
                    known.unwrap_or_else(|| self.add_entry(id, Named::Block { block, ordinal }));
                if self.wants != Wants::Labels {
                    self.pages.push((entry, PagePlace { block, ordinal }));
                }
            }
        }
        let (series, place_of) = self.in_label_order(&blocks)?;
        let len = series.len();
        let created = is_by_creation.then(|| self.entries.first_ids(len, &place_of));
        Ok(StoreSelection {
            series,
            created,
            pages: Grouped::new(len, self.pages, &place_of),
            rows: Grouped::new(len, self.rows, &place_of),
            solo: Grouped::new(len, self.solo, &place_of),
            histograms: Grouped::new(len, self.histograms, &place_of),
            blocks,
            memory: self.memory,
            range: self.range,
            siblings: None,
        })
    }

    /// How many of so many series are listed at most, if there is room for as many.
    fn foresee(&self, found: u64) -> Result<u64, ReadError> {
        let most = found.min(self.limit as u64);
        self.budget.foresee(most * LISTED_BYTES)?;
        Ok(most)
    }

    fn add_entry(&mut self, id: u32, named: Named) -> u32 {
        self.named.push(named);
        self.entries.push(id)
    }

    /// The series with samples that are only in memory.
    fn add_memory(&mut self, request: &Select<'_>) -> Result<(), ReadError> {
        let known = &self.catalog.known;
        if let Some(base) = known.base() {
            let index = base.block().index();
            let found = index
                .select(request.matchers)
                .map_err(|error| base.block().index_damaged(error))?;
            self.foresee(found.len())?;
            let mut taken = 0;
            for (count, ordinal) in found.iter().enumerate() {
                if count % CHECK_EVERY == 0 {
                    self.budget.check()?;
                }
                if taken >= self.limit {
                    break;
                }
                taken += usize::from(self.locate(index.id(ordinal), Named::Base(ordinal)));
            }
        }
        let created = known.delta().select(request.matchers);
        self.foresee(created.len())?;
        for id in created {
            self.locate(id, Named::New(id));
        }
        Ok(())
    }

    /// Notes where the samples of a series are in memory; answers whether there are any.
    fn locate(&mut self, id: u32, named: Named) -> bool {
        let sources = self.head.states.sources(id);
        let before = self.rows.len();
        let next = self.named.len() as u32;
        let rows = &mut self.rows;
        let (found, solo) = self
            .memory
            .locate(id, &sources, &mut |place| rows.push((next, place)));
        let histograms = self.head.histograms.of(id);
        let histograms = histograms.filter(|histograms| self.memory.has_histogram(histograms));
        if !found && histograms.is_none() {
            return false;
        }
        // Memory is joined first, and knows an id once.
        let entry = self.add_entry(id, named);
        if self.wants == Wants::Labels {
            self.rows.truncate(before);
            return true;
        }
        self.solo.extend(solo.map(|solo| (entry, solo)));
        self.histograms
            .extend(histograms.map(|histograms| (entry, histograms)));
        true
    }

    /// The series of the answer, and the place of each entry in it; none beyond the limit.
    fn in_label_order(
        &self,
        blocks: &[Sealed],
    ) -> Result<(Vec<SelectedSeries>, Vec<Option<u32>>), ReadError> {
        let mut readers: Vec<LabelsReader<'_>> =
            blocks.iter().map(|block| block.index().labels()).collect();
        let base = self.catalog.known.base();
        let mut base_reader = base.map(|base| (base.block(), base.block().index().labels()));
        let mut labelled: Vec<(Labels, u32)> = Vec::with_capacity(self.named.len());
        let mut is_in_order = true;
        let mut before = None;
        for (entry, named) in self.named.iter().enumerate() {
            if entry % CHECK_EVERY == 0 {
                self.budget.check()?;
            }
            is_in_order &= named.follows(before.replace(*named));
            let labels = match *named {
                Named::Block { block, ordinal } => {
                    let read = readers[block as usize].get(ordinal);
                    read.map_err(|error| blocks[block as usize].index_damaged(error))?
                }
                Named::Base(ordinal) => {
                    let (block, reader) = base_reader.as_mut().expect("named by it");
                    reader
                        .get(ordinal)
                        .map_err(|error| block.index_damaged(error))?
                }
                Named::New(id) => {
                    let labels = self.catalog.known.delta().labels(id);
                    labels.expect("a delta forgets nothing")
                }
            };
            labelled.push((labels, entry as u32));
        }
        if is_in_order {
            labelled.truncate(self.limit);
            let place_of = (0..self.named.len() as u32).map(|entry| {
                let is_taken = (entry as usize) < labelled.len();
                is_taken.then_some(entry)
            });
            let place_of = place_of.collect();
            let series = labelled.into_iter();
            let series = series.map(|(labels, _)| SelectedSeries { labels });
            return Ok((series.collect(), place_of));
        }
        // Each source is in label order already, which this sort makes use of.
        labelled.sort_by(|a, b| a.0.cmp(&b.0));
        let mut series: Vec<SelectedSeries> = Vec::with_capacity(labelled.len());
        let mut place_of = vec![None; labelled.len()];
        for (labels, entry) in labelled {
            if series.last().is_none_or(|last| last.labels != labels) {
                if series.len() >= self.limit {
                    break;
                }
                series.push(SelectedSeries { labels });
            }
            place_of[entry as usize] = Some(series.len() as u32 - 1);
        }
        Ok((series, place_of))
    }
}
