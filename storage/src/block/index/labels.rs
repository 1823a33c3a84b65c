//! Label sets of series, made from the texts of their pairs.

use std::cmp::Ordering;

use super::{BlockIndex, dictionary::text, groups::GROUP, series::SeriesCursor};
use crate::{
    Labels,
    codec::CodecError,
    model::{LabelsEncoder, compare_encoded},
};

const EXPECTED: &str = "label sets with each name once and no empty value";
const UNORDERED: CodecError = CodecError {
    expected: "series in the order of their label sets, each set once",
};

/// Makes label sets of series; remembers the texts of pairs, and the last set, whose beginning the next
/// one mostly shares. Two sets that it makes in turn are in the order of their ordinals: of series that are asked
/// for in order no set comes twice, whatever is in the file.
#[derive(Debug)]
pub(crate) struct LabelsReader<'a> {
    index: &'a BlockIndex,
    cursor: SeriesCursor<'a>,
    known: KnownPairs,
    /// The ordinal of the last set; none after an error.
    ordinal: Option<u32>,
    /// The pairs of the last set.
    last: Vec<Last>,
    encoder: LabelsEncoder,
}

/// A pair of the last set.
#[derive(Debug, Clone, Copy)]
struct Last {
    pair: u32,
    /// The name's place in the order of names.
    name: u32,
    /// Where its bytes end among those of the set.
    end: usize,
}

/// Pairs that were read before; those of a group are read together, and their texts are in the order of their
/// numbers.
#[derive(Debug, Default)]
struct KnownPairs {
    /// Where the pairs of a group begin in `pairs`, plus one; 0: it was not read. In pages, since a
    /// reader mostly needs few of many groups.
    groups: Vec<Option<Box<[u32; GROUPS_PAGE]>>>,
    pairs: Vec<KnownPair>,
    /// As label sets have them, back to back.
    encoded: LabelsEncoder,
}

/// Groups that are noted together.
const GROUPS_PAGE: usize = 256;

#[derive(Debug, Clone, Copy)]
struct KnownPair {
    name: u32,
    len: u32,
    /// Where it begins among the encoded ones.
    start: usize,
}

impl KnownPairs {
    #[inline]
    fn get(&mut self, index: &BlockIndex, pair: u32) -> Result<KnownPair, CodecError> {
        if pair >= index.dictionary.len() {
            return Err(CodecError { expected: EXPECTED });
        }
        let group = (pair / GROUP) as usize;
        let page = self.groups.get(group / GROUPS_PAGE);
        let noted = page
            .and_then(Option::as_ref)
            .and_then(|page| page.get(group % GROUPS_PAGE))
            .filter(|noted| **noted != 0);
        let first = match noted {
            Some(noted) => *noted - 1,
            None => self.read(index, group)?,
        };
        let known = self.pairs.get((first + pair % GROUP) as usize);
        known.copied().ok_or(CodecError { expected: EXPECTED })
    }

    /// Reads a group; returns where its pairs begin.
    #[inline(never)]
    fn read(&mut self, index: &BlockIndex, group: usize) -> Result<u32, CodecError> {
        let dictionary = &index.dictionary;
        let start = group as u32 * GROUP;
        let end = dictionary.len().min(start.saturating_add(GROUP));
        let first = self.pairs.len() as u32;
        let mut name = dictionary.name_of(&index.map, start)?;
        let mut of_name = dictionary.pairs_of(&index.map, name)?;
        let mut values = index.values(start..end);
        let mut before = None;
        while let Some((pair, value)) = values.next()? {
            if !of_name.contains(&pair) {
                name = dictionary.name_of(&index.map, pair)?;
                of_name = dictionary.pairs_of(&index.map, name)?;
            }
            if value.is_empty() {
                return Err(CodecError { expected: EXPECTED });
            }
            let start = self.encoded.encoded().len();
            let name_text = dictionary.name(&index.map, name)?;
            self.encoded.push(name_text, text(value)?);
            let len = (self.encoded.encoded().len() - start) as u32;
            let known = KnownPair { name, len, start };
            if let Some(before) = before.replace(known)
                && compare_encoded(self.encoded(before), self.encoded(known)).is_ge()
            {
                return Err(UNORDERED);
            }
            self.pairs.push(known);
        }
        let page = group / GROUPS_PAGE;
        if self.groups.len() <= page {
            self.groups.resize_with(page + 1, || None);
        }
        if let Some(page) = self.groups.get_mut(page)
            && let Some(noted) = page
                .get_or_insert_with(|| Box::new([0; GROUPS_PAGE]))
                .get_mut(group % GROUPS_PAGE)
        {
            *noted = first + 1;
        }
        Ok(first)
    }

    fn encoded(&self, pair: KnownPair) -> &[u8] {
        let rest = self.encoded.encoded().get(pair.start..).unwrap_or_default();
        rest.get(..pair.len as usize).unwrap_or_default()
    }
}

impl<'a> LabelsReader<'a> {
    pub(super) fn new(index: &'a BlockIndex, cursor: SeriesCursor<'a>) -> Self {
        Self {
            index,
            cursor,
            known: KnownPairs::default(),
            ordinal: None,
            last: Vec::new(),
            encoder: LabelsEncoder::default(),
        }
    }

    /// The labels of a series; quickest when series come in their order.
    ///
    /// # Errors
    /// When the index is damaged, or `ordinal` is not below its length.
    pub(crate) fn get(&mut self, ordinal: u32) -> Result<Labels, CodecError> {
        self.encoded(ordinal)?;
        Ok(self.encoder.labels())
    }

    /// The bytes of the labels of a series.
    pub(super) fn encoded(&mut self, ordinal: u32) -> Result<&[u8], CodecError> {
        let pairs = self.cursor.get(ordinal)?;
        let both = self.last.iter().zip(pairs);
        let shared = both.take_while(|(last, pair)| last.pair == **pair).count();
        if let Some(before) = self.ordinal.take() {
            let order = match (self.last.get(shared), pairs.get(shared)) {
                (None, None) => Ordering::Equal,
                (None, Some(_)) => Ordering::Less,
                (Some(_), None) => Ordering::Greater,
                (Some(last), Some(pair)) if last.pair / GROUP == pair / GROUP => {
                    last.pair.cmp(pair)
                }
                (Some(last), Some(pair)) => {
                    let start = shared.checked_sub(1).and_then(|index| self.last.get(index));
                    let start = start.map_or(0, |last| last.end);
                    let last = self.encoder.encoded().get(start..last.end);
                    let known = self.known.get(self.index, *pair)?;
                    // Equal texts under two numbers are in no order.
                    match compare_encoded(last.unwrap_or_default(), self.known.encoded(known)) {
                        Ordering::Equal => return Err(UNORDERED),
                        order => order,
                    }
                }
            };
            if order != before.cmp(&ordinal) {
                return Err(UNORDERED);
            }
        }
        self.last.truncate(shared);
        let last = self.last.last();
        self.encoder.truncate(last.map_or(0, |last| last.end));
        let mut last_name = last.map(|last| last.name);
        for &pair in pairs.iter().skip(shared) {
            let known = self.known.get(self.index, pair)?;
            if last_name.replace(known.name) >= Some(known.name) {
                return Err(CodecError { expected: EXPECTED });
            }
            self.encoder.push_encoded(self.known.encoded(known));
            self.last.push(Last {
                pair,
                name: known.name,
                end: self.encoder.encoded().len(),
            });
        }
        self.ordinal = Some(ordinal);
        Ok(self.encoder.encoded())
    }
}
