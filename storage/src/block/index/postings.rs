//! The ordinals of the series that have a pair, pair by pair.
//!
//! An entry begins with a varint: the number of ordinals times four, plus a kind. Few ordinals (0)
//! and one run (1) lie in the entry itself: the first ordinal as a varint, then for the few the
//! steps to the next ones less one. Anything else (2) is a bitmap in the portable roaring format:
//! its length as a varint, then its bytes.

use std::ops::Range;

use roaring::RoaringBitmap;

use super::{
    bitmap::BitmapView,
    groups::{GROUP, Groups, GroupsWriter},
};
use crate::{
    codec::{CodecError, Cursor, put_varint},
    index::Union,
};

const POSTINGS: &str = "postings of a label pair within the series";
const DAMAGED: CodecError = CodecError { expected: POSTINGS };

/// Most ordinals that lie in an entry.
const FEW_MAX: usize = 8;

const FEW: u64 = 0;
const RUN: u64 = 1;
const BITMAP: u64 = 2;

/// Writes the postings of pairs in the order of their numbers.
#[derive(Debug, Default)]
pub(super) struct PostingsWriter(GroupsWriter);

impl PostingsWriter {
    /// Adds the postings of the next pair: at least one ordinal, ascending.
    pub(super) fn push(&mut self, ordinals: &[u32]) {
        let (out, _) = self.0.entry();
        let (Some(first), Some(last)) = (ordinals.first(), ordinals.last()) else {
            unreachable!("a pair has a series");
        };
        let len = ordinals.len() as u64;
        if u64::from(last - first) == len - 1 {
            put_varint(len << 2 | RUN, out);
            put_varint(u64::from(*first), out);
        } else if ordinals.len() <= FEW_MAX {
            put_varint(len << 2 | FEW, out);
            put_varint(u64::from(*first), out);
            for step in ordinals.windows(2) {
                put_varint(u64::from(step[1] - step[0] - 1), out);
            }
        } else {
            let ordinals = ordinals.iter().copied();
            let mut bitmap = RoaringBitmap::from_sorted_iter(ordinals).expect("ascending");
            bitmap.optimize();
            put_varint(len << 2 | BITMAP, out);
            put_varint(bitmap.serialized_size() as u64, out);
            bitmap.serialize_into(out).expect("memory takes it");
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0.finish()
    }
}

/// Where postings are in a file.
#[derive(Debug, Clone)]
pub(super) struct PostingsTable(Groups);

/// The postings of one pair.
#[derive(Debug, Clone, Copy)]
pub(super) struct Postings<'a> {
    /// As its writer says; a damaged bitmap may hold another number.
    len: u64,
    content: Content<'a>,
    /// Ordinals are below it.
    end: u32,
}

#[derive(Debug, Clone, Copy)]
enum Content<'a> {
    /// First ordinal, and the steps to the others.
    Few(u32, Cursor<'a>),
    /// First ordinal.
    Run(u32),
    Bitmap(&'a [u8]),
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
        &self,
        file: &'a [u8],
        pair: u32,
        end: u32,
    ) -> Result<Postings<'a>, CodecError> {
        let mut cursor = self.0.group(file, pair / GROUP, POSTINGS)?;
        for _ in 0..pair % GROUP {
            read(&mut cursor, end)?;
        }
        read(&mut cursor, end)
    }
}

/// Reads an entry, and steps over it.
fn read<'a>(cursor: &mut Cursor<'a>, end: u32) -> Result<Postings<'a>, CodecError> {
    let head = cursor.varint(POSTINGS)?;
    let (len, kind) = (head >> 2, head & 3);
    let mut first = || u32::try_from(cursor.varint(POSTINGS)?).map_err(|_| DAMAGED);
    let content = match kind {
        FEW => {
            let first = first()?;
            let steps = *cursor;
            for _ in 1..len {
                cursor.varint(POSTINGS)?;
            }
            Content::Few(first, steps)
        }
        RUN => Content::Run(first()?),
        BITMAP => {
            let bytes = cursor.varint(POSTINGS)?;
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            Content::Bitmap(cursor.take(bytes, POSTINGS)?)
        }
        _ => return Err(DAMAGED),
    };
    if len == 0 || len > u64::from(end) {
        return Err(DAMAGED);
    }
    Ok(Postings { len, content, end })
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
            _ => self.each(among, |ordinal| {
                out.push(ordinal);
                true
            }),
        }
    }

    /// Whether a series of `among` has the pair.
    pub(super) fn intersects(&self, among: &RoaringBitmap) -> Result<bool, CodecError> {
        let mut found = false;
        // The fewer of the two are looked for among the others.
        if among.len() <= self.len {
            self.each(Some(among), |_| {
                found = true;
                false
            })?;
        } else {
            self.each(None, |ordinal| {
                found = among.contains(ordinal);
                !found
            })?;
        }
        Ok(found)
    }

    fn last_of_run(&self, first: u32) -> Result<u32, CodecError> {
        let last = u64::from(first) + self.len - 1;
        if last < u64::from(self.end) {
            Ok(last as u32)
        } else {
            Err(DAMAGED)
        }
    }

    /// Hands on ordinals, ascending, until `each` answers `false`.
    fn each(
        &self,
        among: Option<&RoaringBitmap>,
        mut each: impl FnMut(u32) -> bool,
    ) -> Result<(), CodecError> {
        match self.content {
            Content::Few(first, mut steps) => {
                let mut ordinal = first;
                for index in 0..self.len {
                    if index > 0 {
                        let step = u32::try_from(steps.varint(POSTINGS)?).map_err(|_| DAMAGED)?;
                        ordinal = (ordinal.checked_add(step))
                            .and_then(|before| before.checked_add(1))
                            .ok_or(DAMAGED)?;
                    }
                    if ordinal >= self.end {
                        return Err(DAMAGED);
                    }
                    if among.is_none_or(|among| among.contains(ordinal)) && !each(ordinal) {
                        break;
                    }
                }
                Ok(())
            }
            Content::Run(first) => {
                let run = first..=self.last_of_run(first)?;
                match among {
                    Some(among) => among.range(run).all(each),
                    None => run.into_iter().all(each),
                };
                Ok(())
            }
            Content::Bitmap(bytes) => {
                let view = BitmapView::parse(bytes)?;
                match among {
                    Some(among) => view.each_among(among.range(..self.end), each),
                    None => {
                        let mut all = RoaringBitmap::new();
                        view.add_to(self.end, &mut all)?;
                        all.iter().all(each);
                        Ok(())
                    }
                }
            }
        }
    }
}
