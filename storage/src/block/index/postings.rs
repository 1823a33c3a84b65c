//! The ordinals of the series that have a pair, pair by pair.
//!
//! An entry begins with a varint: the number of ordinals times four, plus a kind. Few ordinals (0)
//! and one run (1) lie in the entry itself: the first ordinal as a varint, then for the few the
//! steps to the next ones less one. Many (2) are a bitmap in the portable roaring format: its length
//! as a varint, then its bytes. And where the series of a pair are just those of some pairs of
//! another name, each once (the instances of a job), these stand for them (3): their number, the
//! first, and the steps to the next ones less one, as varints; none of them has an entry of kind 3.

use std::ops::Range;

use roaring::RoaringBitmap;

use super::{
    bitmap::BitmapView,
    groups::{GROUP, Groups, GroupsWriter},
};
use crate::{
    codec::{CodecError, Cursor, put_varint},
    index::{Among, Union},
};

const POSTINGS: &str = "postings of a label pair within the series";
const DAMAGED: CodecError = CodecError { expected: POSTINGS };

/// Most ordinals that lie in an entry.
const FEW_MAX: usize = 8;

/// Most pairs that stand for another: reading it must stay quick.
pub(super) const UNION_MAX: usize = 128;

const FEW: u64 = 0;
const RUN: u64 = 1;
const BITMAP: u64 = 2;
const UNION: u64 = 3;

/// Writes the postings of pairs in the order of their numbers.
#[derive(Debug, Default)]
pub(super) struct PostingsWriter {
    entries: GroupsWriter,
    union: Vec<u8>,
}

impl PostingsWriter {
    /// Adds the postings of the next pair: at least one ordinal, ascending. Answers whether the pairs
    /// of `union`, unless it is empty, took less room to stand for them.
    pub(super) fn push(&mut self, ordinals: &[u32], union: &[u32]) -> bool {
        let (Some(first), Some(last)) = (ordinals.first(), ordinals.last()) else {
            unreachable!("a pair has a series");
        };
        let len = ordinals.len() as u64;
        let (out, _) = self.entries.entry();
        if u64::from(last - first) == len - 1 {
            put_varint(len << 2 | RUN, out);
            put_varint(u64::from(*first), out);
            return false;
        }
        if !union.is_empty() {
            self.union.clear();
            put_varint(union.len() as u64, &mut self.union);
            put_ascending(union, &mut self.union);
            // Reading pairs one by one costs time, which must be worth it.
            if self.union.len() * 2 < bitmap_bytes(ordinals) {
                put_varint(len << 2 | UNION, out);
                out.extend_from_slice(&self.union);
                return true;
            }
        }
        if ordinals.len() <= FEW_MAX {
            put_varint(len << 2 | FEW, out);
            put_ascending(ordinals, out);
        } else {
            let ordinals = ordinals.iter().copied();
            let mut bitmap = RoaringBitmap::from_sorted_iter(ordinals).expect("ascending");
            bitmap.optimize();
            put_varint(len << 2 | BITMAP, out);
            put_varint(bitmap.serialized_size() as u64, out);
            bitmap.serialize_into(out).expect("memory takes it");
        }
        false
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.entries.finish()
    }
}

/// Bytes that the containers of a bitmap of these values take.
fn bitmap_bytes(values: &[u32]) -> usize {
    let containers = values.chunk_by(|a, b| a >> 16 == b >> 16);
    let bytes = containers.map(|values| {
        let steps = values
            .windows(2)
            .filter(|step| matches!(step, [a, b] if b - a > 1));
        let runs = 1 + steps.count();
        (values.len() * 2).min(8192).min(2 + runs * 4)
    });
    bytes.sum()
}

/// Appends at least one number: the first, and the steps less one.
fn put_ascending(numbers: &[u32], out: &mut Vec<u8>) {
    let mut next = 0;
    for number in numbers {
        put_varint(u64::from(number - next), out);
        next = number + 1;
    }
}

/// Reads ascending numbers.
#[derive(Debug, Clone, Copy)]
struct Ascending<'a> {
    cursor: Cursor<'a>,
    next: u64,
}

impl Ascending<'_> {
    fn next(&mut self) -> Result<u32, CodecError> {
        let step = self.cursor.varint(POSTINGS)?;
        let number = self.next.checked_add(step).ok_or(DAMAGED)?;
        self.next = number + 1;
        u32::try_from(number).map_err(|_| DAMAGED)
    }
}

/// Where postings are in a file.
#[derive(Debug, Clone)]
pub(super) struct PostingsTable(Groups);

/// The postings of one pair.
#[derive(Debug, Clone, Copy)]
pub(super) struct Postings<'a> {
    table: &'a PostingsTable,
    file: &'a [u8],
    /// As its writer says; a damaged bitmap may hold another number.
    len: u64,
    content: Content<'a>,
    /// Ordinals are below it.
    end: u32,
}

#[derive(Debug, Clone, Copy)]
enum Content<'a> {
    Few(Ascending<'a>),
    /// First ordinal.
    Run(u32),
    Bitmap(&'a [u8]),
    /// Pairs and their number.
    Union(u64, Ascending<'a>),
}

impl PostingsTable {
    pub(super) fn open(file: &[u8], section: &Range<usize>) -> Result<Self, CodecError> {
        Groups::open(file, section, POSTINGS).map(Self)
    }

    /// Pairs.
    pub(super) const fn len(&self) -> u32 {
        self.0.len()
    }

    /// The postings of a pair, of `end` series in all.
    pub(super) fn get<'a>(
        &'a self,
        file: &'a [u8],
        pair: u32,
        end: u32,
    ) -> Result<Postings<'a>, CodecError> {
        let mut cursor = self.0.group(file, pair / GROUP, POSTINGS)?;
        for _ in 0..pair % GROUP {
            read(&mut cursor)?;
        }
        let (len, content) = read(&mut cursor)?;
        if len == 0 || len > u64::from(end) {
            return Err(DAMAGED);
        }
        Ok(Postings {
            table: self,
            file,
            len,
            content,
            end,
        })
    }
}

/// Reads the number of ordinals and the rest of an entry, and steps over it.
fn read<'a>(cursor: &mut Cursor<'a>) -> Result<(u64, Content<'a>), CodecError> {
    let head = cursor.varint(POSTINGS)?;
    let (len, kind) = (head >> 2, head & 3);
    let content = match kind {
        FEW => Content::Few(ascending(cursor, len)?),
        RUN => {
            let first = u32::try_from(cursor.varint(POSTINGS)?);
            Content::Run(first.map_err(|_| DAMAGED)?)
        }
        BITMAP => {
            let bytes = cursor.varint(POSTINGS)?;
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            Content::Bitmap(cursor.take(bytes, POSTINGS)?)
        }
        _ => {
            let pairs = cursor.varint(POSTINGS)?;
            Content::Union(pairs, ascending(cursor, pairs)?)
        }
    };
    Ok((len, content))
}

/// The `len` numbers that follow, and steps over them.
fn ascending<'a>(cursor: &mut Cursor<'a>, len: u64) -> Result<Ascending<'a>, CodecError> {
    let numbers = Ascending {
        cursor: *cursor,
        next: 0,
    };
    for _ in 0..len {
        cursor.varint(POSTINGS)?;
    }
    Ok(numbers)
}

impl Postings<'_> {
    /// How many series have the pair.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Adds the series that have the pair, those in `among` if it is given, to `out`.
    pub(super) fn add_to(
        &self,
        among: Option<&RoaringBitmap>,
        out: &mut Union,
    ) -> Result<(), CodecError> {
        match (self.content, among) {
            (Content::Run(first), None) => {
                out.push_range(first..=self.last_of_run(first)?);
                Ok(())
            }
            (Content::Bitmap(bytes), None) => {
                BitmapView::parse(bytes)?.add_to(self.end, out.bitmap())
            }
            (Content::Bitmap(bytes), Some(among)) if among.len() > self.len => {
                let mut all = RoaringBitmap::new();
                BitmapView::parse(bytes)?.add_to(self.end, &mut all)?;
                all &= among;
                *out.bitmap() |= all;
                Ok(())
            }
            (Content::Union(..), _) => {
                self.each_part(|part| part.add_to(among, out).map(|()| true))?;
                Ok(())
            }
            _ => {
                self.each(among, |ordinal| {
                    out.push(ordinal);
                    true
                })?;
                Ok(())
            }
        }
    }

    /// Hands on the postings that these ones are the union of, until `each` answers `false`.
    fn each_part(
        &self,
        mut each: impl FnMut(Self) -> Result<bool, CodecError>,
    ) -> Result<bool, CodecError> {
        let Content::Union(pairs, mut numbers) = self.content else {
            return each(*self);
        };
        // Parts have no series in common: damage must not make many of few.
        let mut left = self.len;
        for _ in 0..pairs {
            let part = self.table.get(self.file, numbers.next()?, self.end)?;
            if matches!(part.content, Content::Union(..)) {
                return Err(DAMAGED);
            }
            left = left.checked_sub(part.len).ok_or(DAMAGED)?;
            if !each(part)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a series that is asked about has the pair.
    pub(super) fn has_any(&self, among: &mut Among<'_>) -> Result<bool, CodecError> {
        // The fewer of the two are looked for among the others.
        let few = among.selected.filter(|few| few.len() <= self.len);
        let is_none = match few {
            Some(few) => self.each(Some(few), |ordinal| !among.counts(ordinal))?,
            None => self.each(None, |ordinal| !among.has(ordinal))?,
        };
        Ok(!is_none)
    }

    fn last_of_run(&self, first: u32) -> Result<u32, CodecError> {
        let last = u64::from(first) + self.len - 1;
        if last < u64::from(self.end) {
            Ok(last as u32)
        } else {
            Err(DAMAGED)
        }
    }

    /// Hands on ordinals, those in `among` if it is given, until `each` answers `false`; answers
    /// whether it never did.
    fn each(
        &self,
        among: Option<&RoaringBitmap>,
        mut each: impl FnMut(u32) -> bool,
    ) -> Result<bool, CodecError> {
        self.each_part(|part| part.each_of_part(among, &mut each))
    }

    fn each_of_part(
        &self,
        among: Option<&RoaringBitmap>,
        mut each: impl FnMut(u32) -> bool,
    ) -> Result<bool, CodecError> {
        match self.content {
            Content::Few(mut ordinals) => {
                for _ in 0..self.len {
                    let ordinal = ordinals.next()?;
                    if ordinal >= self.end {
                        return Err(DAMAGED);
                    }
                    if among.is_none_or(|among| among.contains(ordinal)) && !each(ordinal) {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Content::Run(first) => {
                let run = first..=self.last_of_run(first)?;
                Ok(match among {
                    Some(among) => among.range(run).all(each),
                    None => run.into_iter().all(each),
                })
            }
            Content::Bitmap(bytes) => {
                let view = BitmapView::parse(bytes)?;
                match among {
                    Some(among) => view.each_among(among, self.end, each),
                    None => view.each(self.end, each),
                }
            }
            Content::Union(..) => Err(DAMAGED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kind of entry as `docs/index.md` has it, built by hand.
    #[test]
    fn entries_are_as_drawn() {
        let mut writer = PostingsWriter::default();
        assert!(!writer.push(&[5, 6, 7], &[]));
        assert!(!writer.push(&[1, 3, 300], &[]));
        let scattered: Vec<u32> = (0..9).map(|index| index * 2).collect();
        assert!(!writer.push(&scattered, &[]));
        assert!(writer.push(&scattered, &[2]));
        assert!(!writer.push(&[1, 2], &[2]), "a run is as short");
        let entries = [
            &[3 << 2 | 1, 5][..],
            &[3 << 2, 1, 1, 0xa8, 0x02],
            // Portable roaring: no runs, one container, key 0, nine values, at 16.
            &[
                9 << 2 | 2,
                34,
                0x3a,
                0x30,
                0,
                0,
                1,
                0,
                0,
                0,
                0,
                0,
                8,
                0,
                16,
                0,
                0,
                0,
            ],
            &[0, 0, 2, 0, 4, 0, 6, 0, 8, 0, 10, 0, 12, 0, 14, 0, 16, 0],
            &[9 << 2 | 3, 1, 2],
            &[2 << 2 | 1, 1],
        ]
        .concat();
        let numbers = [5_u32, 4, 0, entries.len() as u32];
        let head: Vec<u8> = numbers.into_iter().flat_map(u32::to_le_bytes).collect();
        let bytes = writer.finish();
        assert_eq!(bytes, [head, entries].concat());

        let table = PostingsTable::open(&bytes, &(0..bytes.len())).unwrap();
        let read = |pair| {
            let mut union = Union::default();
            table.get(&bytes, pair, 400)?.add_to(None, &mut union)?;
            Ok(union.finish().iter().collect::<Vec<u32>>())
        };
        assert_eq!(read(0), Ok(vec![5, 6, 7]));
        assert_eq!(read(1), Ok(vec![1, 3, 300]));
        assert_eq!(read(2), Ok(scattered.clone()));
        assert_eq!(read(3), Ok(scattered));
        assert_eq!(read(4), Ok(vec![1, 2]));
        assert_eq!(read(5), Err(DAMAGED), "there are five pairs");
        // Of 300 series there is none with ordinal 300.
        let few = table.get(&bytes, 1, 300).unwrap();
        assert_eq!(few.add_to(None, &mut Union::default()), Err(DAMAGED));
    }
}
