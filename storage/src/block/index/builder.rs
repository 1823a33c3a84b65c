//! Builds the index of a block.
#![expect(
    clippy::indexing_slicing,
    reason = "numbers and places that were given out here"
)]

use super::{
    dictionary::DictionaryWriter,
    implied::{Implied, Unions},
    lookup,
    postings::PostingsWriter,
    series::SeriesWriter,
};
use crate::{Labels, block::SectionKind, index::Pairs};

/// The sections of an index, ascending by kind.
pub(crate) type IndexSections = Vec<(SectionKind, Vec<u8>)>;

/// Collects the series of a block in label order. Takes memory for the texts, once each, and four
/// bytes a label and series; twice that while the index is written.
#[derive(Debug, Default)]
pub(crate) struct IndexBuilder {
    with_lookup: bool,
    pairs: Pairs,
    ids: Vec<u32>,
    hashes: Vec<u64>,
    /// The pairs of all series back to back, in the order of their names.
    sets: Vec<u32>,
    /// Where each series ends.
    ends: Vec<usize>,
    /// The labels that were added last, if they were given as such.
    before: Labels,
    /// The sections, where another block has the same series.
    done: Option<IndexSections>,
}

impl IndexBuilder {
    /// An empty index; `with_lookup`: with the table that finds a series by its labels at once.
    pub(crate) fn new(with_lookup: bool) -> Self {
        Self {
            with_lookup,
            ..Self::default()
        }
    }

    /// The index of another block, in its sections, for one with the same series.
    pub(crate) fn same_as(sections: IndexSections) -> Self {
        Self {
            done: Some(sections),
            ..Self::default()
        }
    }

    /// How many series were added.
    pub(crate) fn len(&self) -> u32 {
        self.ids.len() as u32
    }

    /// Adds a series and answers its ordinal. Series come in ascending order of their labels.
    pub(crate) fn add(&mut self, id: u32, labels: &Labels) -> u32 {
        debug_assert!(
            self.ids.is_empty() || self.before < *labels,
            "{labels} does not come after {}",
            self.before
        );
        let previous = std::mem::replace(&mut self.before, labels.clone());
        let start = self.last_start();
        let mut previous = previous.encoded_pairs().zip(start..);
        for pair in labels.encoded_pairs() {
            let known = previous.next().filter(|(other, _)| *other == pair);
            let known = known.and_then(|(_, at)| self.sets.get(at).copied());
            self.sets
                .push(known.unwrap_or_else(|| self.pairs.intern(pair)));
        }
        if self.with_lookup {
            self.hashes.push(lookup::hash(labels.as_bytes()));
        }
        self.finish_series(id)
    }

    /// Where the pairs of the series that was added last begin.
    fn last_start(&self) -> usize {
        self.ends.iter().rev().nth(1).copied().unwrap_or(0)
    }

    fn finish_series(&mut self, id: u32) -> u32 {
        self.ends.push(self.sets.len());
        self.ids.push(id);
        self.len() - 1
    }

    /// The sections of the index, ascending by kind.
    pub(crate) fn finish(self) -> IndexSections {
        if let Some(sections) = self.done {
            return sections;
        }
        let series = self.ids.len();
        let mut names: Vec<u32> = (0..self.pairs.names() as u32).collect();
        names.sort_unstable_by_key(|name| self.pairs.name(*name));
        // The number of a pair in the file by its number here.
        let mut numbers = vec![0; self.pairs.len()];
        let mut dictionary = DictionaryWriter::default();
        let mut next = 0;
        // Where the pairs of each name end.
        let mut names_end = Vec::with_capacity(names.len());
        for name in names {
            dictionary.name(self.pairs.name(name));
            let mut pairs = self.pairs.of_name(name).to_vec();
            pairs.sort_unstable_by_key(|pair| self.pairs.value(*pair));
            for pair in pairs {
                dictionary.value(self.pairs.value(pair));
                numbers[pair as usize] = next;
                next += 1;
            }
            names_end.push(next);
        }
        drop(self.pairs);
        let mut sets = self.sets;
        for pair in &mut sets {
            *pair = numbers[*pair as usize];
        }
        let mut counts = vec![0; numbers.len()];
        for pair in &sets {
            counts[*pair as usize] += 1;
        }
        let implied = Implied::find(each_set(&sets, &self.ends), &counts);
        let mut table = SeriesWriter::new(&implied, numbers.len());
        each_set(&sets, &self.ends).for_each(|set| table.push(set));
        let (table, tails) = table.finish();
        let unions = Unions::find(&implied, &counts, |pair| {
            names_end.partition_point(|end| *end <= pair) as u32
        });
        let postings = write_postings(&sets, &self.ends, &counts, &unions);
        let (symbols, pairs) = dictionary.finish();
        let mut sections = vec![
            (SectionKind::Symbols, symbols),
            (SectionKind::Pairs, pairs),
            (SectionKind::Series, table),
            (SectionKind::Postings, postings),
        ];
        if self.with_lookup {
            sections.push((SectionKind::Lookup, lookup::write(&self.hashes)));
        }
        let mut ids = Vec::with_capacity(series * 4);
        ids.extend(self.ids.into_iter().flat_map(u32::to_le_bytes));
        sections.push((SectionKind::Ids, ids));
        sections.push((SectionKind::Tails, tails));
        sections
    }
}

/// The sets that end at `ends`.
fn each_set<'s>(sets: &'s [u32], ends: &'s [usize]) -> impl Iterator<Item = &'s [u32]> {
    let starts = std::iter::once(&0).chain(ends);
    (starts.zip(ends)).map(|(start, end)| &sets[*start..*end])
}

/// Turns sets of pairs into the ordinals of each pair, by counting.
fn write_postings(sets: &[u32], ends: &[usize], counts: &[u32], unions: &Unions) -> Vec<u8> {
    // Where the ordinals of a pair begin; when they are all there, where they end.
    let mut places = Vec::with_capacity(counts.len());
    let mut sum = 0;
    for count in counts {
        places.push(sum);
        sum += *count as usize;
    }
    let mut ordinals = vec![0_u32; sets.len()];
    for (ordinal, set) in (0..).zip(each_set(sets, ends)) {
        for pair in set {
            let place = &mut places[*pair as usize];
            ordinals[*place] = ordinal;
            *place += 1;
        }
    }
    let mut writer = PostingsWriter::default();
    let mut start = 0;
    let (mut is_union, mut union) = (Vec::<bool>::new(), Vec::new());
    for (pair, end) in (0..).zip(places) {
        unions.of(pair, |part| !is_union[part as usize], &mut union);
        is_union.push(writer.push(&ordinals[start..end], &union));
        start = end;
    }
    writer.finish()
}
