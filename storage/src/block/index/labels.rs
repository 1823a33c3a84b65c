//! Label sets of series, made from the texts of their pairs.

use std::ops::Range;

use super::{BlockIndex, dictionary::text, series::SeriesCursor};
use crate::{Labels, codec::CodecError, model::LabelsEncoder};

type HashMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;

const EXPECTED: &str = "label sets with each name once and no empty value";

/// Makes label sets of series; remembers the texts of pairs.
#[derive(Debug)]
pub(crate) struct LabelsReader<'a> {
    pub(super) index: &'a BlockIndex,
    pub(super) cursor: SeriesCursor<'a>,
    pub(super) known: Known,
    pub(super) encoder: LabelsEncoder,
}

/// Pairs that were read before.
#[derive(Debug, Default)]
pub(super) struct Known {
    pairs: HashMap<u32, KnownPair>,
    /// As label sets have them, back to back.
    encoded: Vec<u8>,
}

#[derive(Debug, Clone)]
struct KnownPair {
    /// The name's place in the order of names.
    name: u32,
    /// Where it is among the encoded ones.
    encoded: Range<usize>,
}

impl Known {
    fn get(&mut self, index: &BlockIndex, pair: u32) -> Result<KnownPair, CodecError> {
        if let Some(known) = self.pairs.get(&pair) {
            return Ok(known.clone());
        }
        let name = index.dictionary.name_of(&index.map, pair)?;
        let mut values = index.values(pair..pair + 1);
        let (_, value) = values.next()?.unwrap_or_default();
        let mut encoder = LabelsEncoder::default();
        encoder.push(index.dictionary.name(&index.map, name)?, text(value)?);
        if value.is_empty() {
            return Err(CodecError { expected: EXPECTED });
        }
        let start = self.encoded.len();
        self.encoded.extend_from_slice(encoder.encoded());
        let encoded = start..self.encoded.len();
        let known = KnownPair { name, encoded };
        self.pairs.insert(pair, known.clone());
        Ok(known)
    }

    fn encoded(&self, pair: &KnownPair) -> &[u8] {
        self.encoded.get(pair.encoded.clone()).unwrap_or_default()
    }
}

impl LabelsReader<'_> {
    /// The labels of a series.
    ///
    /// # Errors
    /// When the index is damaged, or `ordinal` is not below its length.
    pub(crate) fn get(&mut self, ordinal: u32) -> Result<Labels, CodecError> {
        self.encoded(ordinal)?;
        Ok(self.encoder.finish())
    }

    /// The bytes of the labels of a series.
    pub(super) fn encoded(&mut self, ordinal: u32) -> Result<&[u8], CodecError> {
        self.encoder.clear();
        let mut last = None;
        for pair in self.cursor.get(ordinal)? {
            let pair = self.known.get(self.index, *pair)?;
            if last.replace(pair.name) >= Some(pair.name) {
                return Err(CodecError { expected: EXPECTED });
            }
            self.encoder.push_encoded(self.known.encoded(&pair));
        }
        Ok(self.encoder.encoded())
    }
}
