//! The inside of the store for its benches and for fuzz checks. Not part of the API: it may change
//! with any commit.

use std::{ops::ControlFlow, sync::Arc};

use roaring::RoaringBitmap;

pub use crate::block::{
    check_bitmap,
    checks::{Merged, check_directory, check_presence, merge_blocks},
};
use crate::{
    ChunkEncoding, Labels, Mapped, MatchOp, Matcher, PageStats,
    block::{BlockIndex, IndexBuilder, SectionKind},
    codec::{CodecError, Cursor, ValuePage, decode_times, encode_times, encode_values},
    index::{Among, Delta},
    interchange::decode::decode,
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
            let labels = reader.get(ordinal).expect("it was just written");
            builder.add(ordinal, &labels);
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
        (self
            .index
            .label_values(name, &mut Among::of(among), &mut each))
        .expect("it was just written");
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

pub use crate::interchange::decode::ChunkSamples;

/// Reads a chunk of Prometheus; the error says what should have been there.
pub fn decode_chunk(encoding: ChunkEncoding, bytes: &[u8]) -> Result<ChunkSamples, String> {
    decode(encoding, bytes).map_err(|error| error.to_string())
}

/// Opens an index whose sections have right checksums and any content, asks everything of it, and
/// answers whether it is whole. Each section is its number (one byte), its length (two bytes, the
/// lower first) and its bytes; what does not fit is cut.
pub fn check_index(mut bytes: &[u8]) -> bool {
    let mut sections = Vec::new();
    while let Some(([kind, low, high], rest)) = bytes.split_first_chunk::<3>() {
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (section, rest) = rest.split_at(len);
        if let Some(kind) = SectionKind::from_number(u32::from(*kind)) {
            sections.push((kind, section.to_vec()));
        }
        bytes = rest;
    }
    let Some(Index { index, .. }) = Index::open(&sections) else {
        return false;
    };
    let read = || {
        let mut reader = index.labels();
        let mut is_whole = true;
        let mut before: Option<Labels> = None;
        for ordinal in 0..index.len() {
            let labels = reader.get(ordinal)?;
            is_whole &= index.find(&labels)? == Some(ordinal);
            is_whole &= before.is_none_or(|before| before < labels);
            for (name, value) in labels.iter() {
                let found = index.select(&[Matcher::equal(name, value)])?;
                is_whole &= found.contains(ordinal);
            }
            before = Some(labels);
        }
        let all = index.select(&[])?;
        assert_eq!(all.len(), u64::from(index.len()));
        for pattern in [".+", "a.*", ".*1.*", ".*[ab]", "|x"] {
            for op in [MatchOp::Regex, MatchOp::NotRegex] {
                let matchers = ["__name__", "instance", "job"]
                    .map(|name| Matcher::new(name, op, pattern).expect("the pattern is valid"));
                for count in 1..=matchers.len() {
                    let found = index.select(matchers.get(..count).unwrap_or_default())?;
                    assert!(found.is_subset(&all), "series that there are");
                    let mut each = |_: &str| ControlFlow::Continue(());
                    let mut among = Among::of(Some(&found));
                    index.label_names(&mut among, &mut each)?;
                    index.label_values("job", &mut among, &mut each)?;
                }
            }
        }
        let mut series = 0;
        index.each_pair(&RoaringBitmap::new(), &mut |_, _, count| series += count)?;
        let mut each = |_: &str| ControlFlow::Continue(());
        index.label_names(&mut Among::of(None), &mut each)?;
        Ok::<_, CodecError>(is_whole)
    };
    read().unwrap_or(false)
}

fn decode_page(bytes: &[u8]) -> Option<Vec<f64>> {
    let page = ValuePage::parse(bytes).ok()?;
    let mut values = vec![0.0; page.len()];
    page.decode_range(0, &mut values).ok()?;
    Some(values)
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Decodes a value page and answers whether it is one. A part of it decodes to the same, and its values
/// and their statistics are encoded and decoded again.
///
/// # Panics
/// When any of this does not hold.
pub fn check_page(bytes: &[u8]) -> bool {
    let (Ok(page), Some(values)) = (ValuePage::parse(bytes), decode_page(bytes)) else {
        return false;
    };
    let skip = values.len() / 3;
    let mut part = vec![0.0; values.len().div_ceil(2)];
    (page.decode_range(skip, &mut part)).expect("a part of a page that decodes");
    let same = values.iter().skip(skip).take(part.len()).copied();
    assert_eq!(bits(&part), bits(&same.collect::<Vec<f64>>()));
    let mut encoded = Vec::new();
    encode_values(&values, &mut encoded);
    let again = decode_page(&encoded).expect("an encoded page decodes");
    assert_eq!(bits(&again), bits(&values));
    let stats = PageStats::of(&values);
    let mut encoded = Vec::new();
    stats.encode(values.len() as u32, &mut encoded);
    let again = PageStats::decode(&mut Cursor::new(&encoded), values.len() as u32);
    assert!(again == Ok(stats), "{again:?}, not {stats:?}");
    true
}

/// Decodes a time column and answers whether it is one. It rises strictly, and is encoded and decoded
/// again.
///
/// # Panics
/// When any of this does not hold.
pub fn check_times(bytes: &[u8]) -> bool {
    let mut times = Vec::new();
    if decode_times(bytes, &mut times).is_err() {
        return false;
    }
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    let mut encoded = Vec::new();
    encode_times(&times, &mut encoded);
    let mut again = Vec::new();
    decode_times(&encoded, &mut again).expect("an encoded column decodes");
    assert_eq!(again, times);
    true
}
