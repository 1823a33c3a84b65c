//! Lists of entries of any length in groups, with the place of each group.
//!
//! Layout: entries (u32), bytes of a place (u32: 4, or 8 where the entries take 4 GiB or more), one
//! place a group and the end of the last, counted from the first entry; then the entries. What an
//! entry is and how many are in a group, its writer and reader agree on; the first of a group needs
//! nothing before it.

use std::ops::Range;

use crate::codec::{CodecError, Cursor};

/// Entries in a group, unless said otherwise.
pub(super) const GROUP: u32 = 16;

const HEADER_BYTES: usize = 8;

/// Writes such a list with `N` entries a group.
#[derive(Debug, Default)]
pub(super) struct GroupsWriter<const N: u32 = GROUP> {
    len: u32,
    places: Vec<u64>,
    entries: Vec<u8>,
}

impl<const N: u32> GroupsWriter<N> {
    /// Where to append the next entry; `true` when it is the first of its group.
    pub(super) fn entry(&mut self) -> (&mut Vec<u8>, bool) {
        let is_first = self.len.is_multiple_of(N);
        if is_first {
            self.places.push(self.entries.len() as u64);
        }
        self.len += 1;
        (&mut self.entries, is_first)
    }

    /// Entries so far.
    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// The section's bytes.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let end = self.entries.len() as u64;
        self.places.push(end);
        let is_narrow = u32::try_from(end).is_ok();
        let width = if is_narrow { 4 } else { 8 };
        let mut out =
            Vec::with_capacity(HEADER_BYTES + self.places.len() * width + self.entries.len());
        out.extend_from_slice(&self.len.to_le_bytes());
        out.extend_from_slice(&(width as u32).to_le_bytes());
        for place in self.places {
            out.extend(place.to_le_bytes().into_iter().take(width));
        }
        out.append(&mut self.entries);
        out
    }
}

/// Where such a list is in a file.
#[derive(Debug, Clone)]
pub(super) struct Groups<const N: u32 = GROUP> {
    len: u32,
    is_wide: bool,
    places: Range<usize>,
    entries: Range<usize>,
}

impl<const N: u32> Groups<N> {
    /// Finds the list in `section` of `file`. Places are checked when they are used.
    pub(super) fn open(
        file: &[u8],
        section: &Range<usize>,
        expected: &'static str,
    ) -> Result<Self, CodecError> {
        let bytes = file.get(section.clone()).ok_or(CodecError { expected })?;
        let mut cursor = Cursor::new(bytes);
        let len = cursor.u32(expected)?;
        let width = match cursor.u32(expected)? {
            4 => 4,
            8 => 8,
            _ => return Err(CodecError { expected }),
        };
        let groups = len.div_ceil(N) as usize;
        let start = section.start + HEADER_BYTES;
        let places_bytes = (groups + 1) * width;
        cursor.take(places_bytes, expected)?;
        Ok(Self {
            len,
            is_wide: width == 8,
            places: start..start + places_bytes,
            entries: start + places_bytes..section.end,
        })
    }

    /// Entries.
    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// The entries of group `group`.
    pub(super) fn group<'a>(
        &self,
        file: &'a [u8],
        group: u32,
        expected: &'static str,
    ) -> Result<Cursor<'a>, CodecError> {
        let place = |index: u32| -> Option<usize> {
            let places = file.get(self.places.clone())?;
            let index = index as usize;
            if self.is_wide {
                let place = places.as_chunks::<8>().0.get(index)?;
                usize::try_from(u64::from_le_bytes(*place)).ok()
            } else {
                let place = places.as_chunks::<4>().0.get(index)?;
                Some(u32::from_le_bytes(*place) as usize)
            }
        };
        let bytes = || {
            let entries = file.get(self.entries.clone())?;
            entries.get(place(group)?..place(group + 1)?)
        };
        bytes().map(Cursor::new).ok_or(CodecError { expected })
    }
}
