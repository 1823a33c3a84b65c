//! The inside of the store for its benches and for fuzz checks. Not part of the API: it may change
//! with any commit.

use std::{ops::ControlFlow, sync::Arc};

use roaring::RoaringBitmap;

use crate::{
    Labels, Mapped, Matcher,
    block::{BlockIndex, IndexBuilder, SectionKind},
    index::Delta,
};

/// A block's index in memory.
#[derive(Debug)]
pub struct Index {
    index: BlockIndex,
    bytes: Vec<(String, usize)>,
}

impl Index {
    /// Writes and opens the index of these series, ascending by labels.
    pub fn build<'l>(series: impl Iterator<Item = (u32, &'l Labels)>, with_lookup: bool) -> Self {
        let mut builder = IndexBuilder::new(with_lookup);
        for (id, labels) in series {
            builder.add(id, labels);
        }
        Self::open(&builder.finish()).expect("it was just written")
    }

    fn open(sections: &[(SectionKind, Vec<u8>)]) -> Option<Self> {
        let mut file = Vec::new();
        let (mut ranges, mut bytes) = (Vec::new(), Vec::new());
        for (kind, section) in sections {
            ranges.push((*kind, file.len()..file.len() + section.len()));
            bytes.push((format!("{kind:?}"), section.len()));
            file.extend_from_slice(section);
        }
        let index = BlockIndex::open(Arc::new(Mapped::memory(file)), &ranges).ok()?;
        Some(Self { index, bytes })
    }

    /// Bytes by section.
    pub fn bytes(&self) -> &[(String, usize)] {
        &self.bytes
    }

    /// Finds a series.
    pub fn find(&self, labels: &Labels) -> Option<u32> {
        self.index.find(labels).expect("it was just written")
    }

    /// Selects series.
    pub fn select(&self, matchers: &[Matcher]) -> RoaringBitmap {
        self.index.select(matchers).expect("it was just written")
    }

    /// Reads the labels of series, and answers their number of labels.
    pub fn read(&self, ordinals: impl Iterator<Item = u32>) -> usize {
        let mut reader = self.index.labels();
        let labels = ordinals.map(|ordinal| reader.get(ordinal).expect("it was just written"));
        labels.map(|labels| labels.len()).sum()
    }

    /// Writes the index again from itself.
    pub fn rewrite(&self) -> usize {
        let mut builder = IndexBuilder::new(false);
        let mut reader = self.index.labels();
        for ordinal in 0..self.index.len() {
            (builder.add_from(ordinal, &mut reader, ordinal)).expect("it was just written");
        }
        builder
            .finish()
            .iter()
            .map(|(_, section)| section.len())
            .sum()
    }

    /// Counts the values of a label among series.
    pub fn count_values(&self, name: &str, among: Option<&RoaringBitmap>) -> usize {
        let mut count = 0;
        let mut each = |_: &str| {
            count += 1;
            ControlFlow::Continue(())
        };
        (self.index.label_values(name, among, &mut each)).expect("it was just written");
        count
    }
}

/// Series in memory.
#[derive(Debug, Default)]
pub struct Recent(Delta);

impl Recent {
    /// Adds a series.
    pub fn insert(&mut self, id: u32, labels: &Labels) {
        self.0.insert(id, labels);
    }

    /// Finds a series.
    pub fn find(&self, labels: &Labels) -> Option<u32> {
        self.0.find(labels)
    }

    /// Selects series.
    pub fn select(&self, matchers: &[Matcher]) -> RoaringBitmap {
        self.0.select(matchers)
    }

    /// Bytes on the heap.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }
}
