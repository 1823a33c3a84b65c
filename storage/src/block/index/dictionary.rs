//! Label names and pairs, sorted.
//!
//! A pair's number is its place in the order of name, then value; so the sets of two series compare
//! as the lists of their pairs' numbers do. Values are front coded in groups of sixteen pairs:
//! varints of the bytes shared with the value before (0 for the first of a group) and of the bytes
//! that follow, then those.
//!
//! Names: number of names (u32), then for each, and for the end, where its text begins and its first
//! pair (u32 each), then the texts.

use std::{cmp::Ordering, ops::Range, str};

use super::groups::{GROUP, Groups, GroupsWriter};
use crate::codec::{CodecError, Cursor, put_varint};

const NAMES: &str = "a table of label names";
const PAIRS: &str = "front-coded label values";

const COUNT_BYTES: usize = 4;
const NAME_BYTES: usize = 8;

/// Writes names and pairs.
#[derive(Debug, Default)]
pub(super) struct DictionaryWriter {
    /// Where each name's text begins, and its first pair.
    names: Vec<(u32, u32)>,
    texts: Vec<u8>,
    pairs: GroupsWriter,
    len: u32,
    before: Vec<u8>,
}

impl DictionaryWriter {
    /// Begins the pairs of a name; names come in ascending order.
    pub(super) fn name(&mut self, name: &str) {
        self.names.push((self.texts.len() as u32, self.len));
        self.texts.extend_from_slice(name.as_bytes());
    }

    /// Adds a value of the last name; values come in ascending order.
    pub(super) fn value(&mut self, value: &str) {
        let value = value.as_bytes();
        let (out, is_first) = self.pairs.entry();
        let shared = if is_first {
            0
        } else {
            let both = self.before.iter().zip(value);
            both.take_while(|(a, b)| a == b).count()
        };
        put_varint(shared as u64, out);
        put_varint((value.len() - shared) as u64, out);
        let (_, rest) = value.split_at(shared);
        out.extend_from_slice(rest);
        self.before.truncate(shared);
        self.before.extend_from_slice(rest);
        self.len += 1;
    }

    /// The bytes of the names and of the pairs.
    pub(super) fn finish(mut self) -> (Vec<u8>, Vec<u8>) {
        let len = self.names.len() as u32;
        self.names.push((self.texts.len() as u32, self.len));
        let mut out = len.to_le_bytes().to_vec();
        for (text, pair) in self.names {
            out.extend_from_slice(&text.to_le_bytes());
            out.extend_from_slice(&pair.to_le_bytes());
        }
        out.append(&mut self.texts);
        (out, self.pairs.finish())
    }
}

/// Where names and pairs are in a file.
#[derive(Debug, Clone)]
pub(super) struct Dictionary {
    names: u32,
    table: Range<usize>,
    texts: Range<usize>,
    pairs: Groups,
}

impl Dictionary {
    pub(super) fn open(
        file: &[u8],
        names: &Range<usize>,
        pairs: &Range<usize>,
    ) -> Result<Self, CodecError> {
        let bytes = file.get(names.clone());
        let mut cursor = Cursor::new(bytes.ok_or(CodecError { expected: NAMES })?);
        let len = cursor.u32(NAMES)?;
        let table_bytes = (len as usize + 1) * NAME_BYTES;
        cursor.take(table_bytes, NAMES)?;
        let table = names.start + COUNT_BYTES..names.start + COUNT_BYTES + table_bytes;
        let dictionary = Self {
            names: len,
            texts: table.end..names.end,
            table,
            pairs: Groups::open(file, pairs, PAIRS)?,
        };
        let texts = || (0..len).map(|name| dictionary.name_bytes(file, name));
        let is_ordered = texts().all(|text| text.is_some()) && texts().is_sorted_by(|a, b| a < b);
        is_ordered
            .then_some(dictionary)
            .ok_or(CodecError { expected: NAMES })
    }

    /// Label names.
    pub(super) const fn names(&self) -> u32 {
        self.names
    }

    /// Label pairs.
    pub(super) const fn len(&self) -> u32 {
        self.pairs.len()
    }

    /// Where a name's text begins among the texts, and its first pair.
    fn entry(&self, file: &[u8], name: u32) -> Option<(u32, u32)> {
        let table = file.get(self.table.clone())?.as_chunks::<4>().0;
        let at = name as usize * 2;
        let number = |index: usize| table.get(index).map(|bytes| u32::from_le_bytes(*bytes));
        Some((number(at)?, number(at + 1)?))
    }

    fn name_bytes<'a>(&self, file: &'a [u8], name: u32) -> Option<&'a [u8]> {
        let (start, _) = self.entry(file, name)?;
        let (end, _) = self.entry(file, name + 1)?;
        (file.get(self.texts.clone())?).get(start as usize..end as usize)
    }

    /// The text of a name by its place in the order of names.
    pub(super) fn name<'a>(&self, file: &'a [u8], name: u32) -> Result<&'a str, CodecError> {
        let text = self.name_bytes(file, name);
        text.and_then(|text| str::from_utf8(text).ok())
            .ok_or(CodecError { expected: NAMES })
    }

    /// The place of a name in the order of names.
    pub(super) fn find_name(&self, file: &[u8], name: &str) -> Result<Option<u32>, CodecError> {
        let (mut low, mut high) = (0, self.names);
        while low < high {
            let middle = low + (high - low) / 2;
            let text = self.name_bytes(file, middle);
            match text
                .ok_or(CodecError { expected: NAMES })?
                .cmp(name.as_bytes())
            {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(Some(middle)),
                Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    /// The pairs of a name.
    pub(super) fn pairs_of(&self, file: &[u8], name: u32) -> Result<Range<u32>, CodecError> {
        let range = || Some(self.entry(file, name)?.1..self.entry(file, name + 1)?.1);
        match range() {
            Some(pairs) if pairs.start <= pairs.end && pairs.end <= self.len() => Ok(pairs),
            _ => Err(CodecError { expected: NAMES }),
        }
    }

    /// The name of a pair, by its place in the order of names.
    pub(super) fn name_of(&self, file: &[u8], pair: u32) -> Result<u32, CodecError> {
        let expected = CodecError { expected: NAMES };
        if pair >= self.len() {
            return Err(expected);
        }
        let (mut low, mut high) = (0, self.names);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.entry(file, middle).ok_or(expected)?.1 <= pair {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.checked_sub(1).ok_or(expected)
    }

    /// The first of `pairs`, all of one name, whose value is not below `value`, and whether it is
    /// equal; the end of `pairs` when all are below.
    pub(super) fn lower_bound(
        &self,
        file: &[u8],
        pairs: &Range<u32>,
        value: &[u8],
    ) -> Result<(u32, bool), CodecError> {
        if pairs.is_empty() {
            return Ok((pairs.end, false));
        }
        // The last group that begins within the pairs with a value not above the one looked for;
        // without one, the group that the first pair is in.
        let (mut low, mut high) = (pairs.start / GROUP + 1, (pairs.end - 1) / GROUP + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if first_value(self.pairs.group(file, middle, PAIRS)?)? <= value {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let start = pairs.start.max((low - 1) * GROUP);
        let mut values = self.values(file, start..pairs.end);
        while let Some((pair, found)) = values.next()? {
            match found.cmp(value) {
                Ordering::Less => {}
                Ordering::Equal => return Ok((pair, true)),
                Ordering::Greater => return Ok((pair, false)),
            }
        }
        Ok((pairs.end, false))
    }

    /// Whether the value of a pair is this one.
    pub(super) fn value_is(
        &self,
        file: &[u8],
        pair: u32,
        value: &[u8],
    ) -> Result<bool, CodecError> {
        let mut cursor = self.pairs.group(file, pair / GROUP, PAIRS)?;
        // How many bytes of the value are equal so far, and how long the value read is.
        let (mut equal, mut read) = (0, 0);
        for _ in 0..=pair % GROUP {
            let (shared, rest) = entry(&mut cursor)?;
            if shared > read {
                return Err(CodecError { expected: PAIRS });
            }
            read = shared + rest.len();
            if shared <= equal {
                let wanted = value.get(shared..).unwrap_or_default();
                let both = rest.iter().zip(wanted);
                equal = shared + both.take_while(|(a, b)| a == b).count();
            }
        }
        Ok(equal == read && read == value.len())
    }

    /// The values of consecutive pairs.
    pub(super) fn values<'a>(&'a self, file: &'a [u8], pairs: Range<u32>) -> Values<'a> {
        Values {
            dictionary: self,
            file,
            cursor: Cursor::new(&[]),
            at: pairs.start / GROUP * GROUP,
            pairs,
            value: Vec::new(),
        }
    }
}

/// The value that a group begins with.
fn first_value(mut group: Cursor<'_>) -> Result<&[u8], CodecError> {
    match entry(&mut group)? {
        (0, value) => Ok(value),
        _ => Err(CodecError { expected: PAIRS }),
    }
}

/// Bytes shared with the value before, and those that follow.
fn entry<'a>(cursor: &mut Cursor<'a>) -> Result<(usize, &'a [u8]), CodecError> {
    let shared = usize::try_from(cursor.varint(PAIRS)?).unwrap_or(usize::MAX);
    let len = usize::try_from(cursor.varint(PAIRS)?).unwrap_or(usize::MAX);
    Ok((shared, cursor.take(len, PAIRS)?))
}

/// Walks over values; each is there until the next is asked for.
#[derive(Debug)]
pub(super) struct Values<'a> {
    dictionary: &'a Dictionary,
    file: &'a [u8],
    cursor: Cursor<'a>,
    /// The pair that `cursor` is at, or will be at when it begins a group.
    at: u32,
    pairs: Range<u32>,
    value: Vec<u8>,
}

impl Values<'_> {
    /// The next pair and its value.
    pub(super) fn next(&mut self) -> Result<Option<(u32, &[u8])>, CodecError> {
        if self.pairs.is_empty() {
            return Ok(None);
        }
        while self.at <= self.pairs.start {
            self.read()?;
        }
        let pair = self.pairs.start;
        self.pairs.start += 1;
        Ok(Some((pair, &self.value)))
    }

    fn read(&mut self) -> Result<(), CodecError> {
        if self.at.is_multiple_of(GROUP) {
            let pairs = &self.dictionary.pairs;
            self.cursor = pairs.group(self.file, self.at / GROUP, PAIRS)?;
            self.value.clear();
        }
        let (shared, rest) = entry(&mut self.cursor)?;
        if shared > self.value.len() {
            return Err(CodecError { expected: PAIRS });
        }
        self.value.truncate(shared);
        self.value.extend_from_slice(rest);
        self.at += 1;
        Ok(())
    }
}

/// Label values are texts.
pub(super) fn text(value: &[u8]) -> Result<&str, CodecError> {
    str::from_utf8(value).map_err(|_| CodecError { expected: PAIRS })
}
