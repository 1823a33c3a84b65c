//! Side records: what is known of a series that its word does not tell (see [`super::states`]), so many of
//! them in a chunk behind one lock.
//!
//! What every pushed sample looks at is together in 32 bytes, apart from what is rarely needed; samples
//! without a row are in cells that the series of a chunk share. So series that were created one after the
//! other, and come so, are next to each other in memory too.

use super::{
    row::NO_SERIES,
    series::{Cells, SoloSample},
};
use crate::Timestamp;

/// Side records in a chunk.
pub(super) const SIDE_CHUNK: usize = 256;

/// A column of a target's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) target: u32,
    pub(super) column: u32,
}

/// How the samples of a pushed series came lately; see [`super::groups`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Standing {
    /// By themselves.
    #[default]
    Alone,
    /// With others, and this is the number of the time when they did.
    Seen(u32),
    /// With the members of a group: most likely it has the series in this column, which is below 2^16.
    Member(Place),
}

/// What every pushed sample looks at.
#[derive(Debug, Clone, Copy)]
#[repr(align(32))]
struct Hot {
    /// Time and bits of the newest sample that is known here.
    last: (Timestamp, u64),
    /// The newest cell of samples without a row; [`Cells::NONE`].
    cell: u32,
    /// The log epoch in which a push defined the series, its lower half.
    logged: u32,
    /// The slice of [`Standing::Seen`], the target of [`Standing::Member`].
    standing: u32,
    /// The column of [`Standing::Member`].
    column: u16,
    flags: u8,
}

/// `last` is right and kept up by every sample. Otherwise it is a lower bound.
const JUDGES_ITSELF: u8 = 1;
/// Nothing was without a row when memory was pruned last.
const IDLE: u8 = 2;
const SEEN: u8 = 4;
const MEMBER: u8 = 8;

const _: () = assert!(size_of::<Hot>() == 32);

impl Hot {
    const EMPTY: Self = Self {
        last: (Timestamp::MIN, 0),
        cell: Cells::NONE,
        logged: 0,
        standing: 0,
        column: 0,
        flags: 0,
    };
}

/// What is rarely needed.
#[derive(Debug)]
struct Rest {
    /// [`NO_SERIES`]: the record is free.
    id: u32,
    places: Places,
}

impl Rest {
    fn new(id: u32) -> Self {
        let places = Places::default();
        Self { id, places }
    }
}

/// A chunk.
#[derive(Debug)]
pub(super) struct Records {
    hot: Box<[Hot; SIDE_CHUNK]>,
    rest: Box<[Rest; SIDE_CHUNK]>,
    cells: Cells,
}

impl Records {
    /// Of no series.
    pub(super) fn new() -> Self {
        Self {
            hot: Box::new([Hot::EMPTY; SIDE_CHUNK]),
            rest: Box::new(std::array::from_fn(|_| Rest::new(NO_SERIES))),
            cells: Cells::default(),
        }
    }

    /// The record with a number.
    #[inline]
    pub(super) fn side(&mut self, number: u32) -> Side<'_> {
        let slot = number as usize % SIDE_CHUNK;
        Side {
            hot: &mut self.hot[slot],
            rest: &mut self.rest[slot],
            cells: &mut self.cells,
        }
    }

    /// The series whose records are wanted.
    pub(super) fn ids(&mut self, is_wanted: impl Fn(&Side<'_>) -> bool) -> Vec<u32> {
        let slots = 0..SIDE_CHUNK as u32;
        let wanted = slots.filter_map(|slot| {
            let side = self.side(slot);
            let id = side.id()?;
            is_wanted(&side).then_some(id)
        });
        wanted.collect()
    }

    /// Notes which series have no sample without a row; answers what was noted before.
    pub(super) fn become_idle(&mut self) -> [bool; SIDE_CHUNK] {
        let mut were_idle = [false; SIDE_CHUNK];
        for (slot, was_idle) in (0..).zip(&mut were_idle) {
            let mut side = self.side(slot);
            *was_idle = side.has(IDLE);
            let is_idle = !side.has_solo();
            side.set(IDLE, is_idle);
        }
        were_idle
    }

    /// Drops the samples without a row up to commit `sealed`; answers how many are left.
    pub(super) fn drop_up_to(&mut self, sealed: u64) -> usize {
        let mut kept = Vec::new();
        let mut samples = Vec::new();
        for (slot, hot) in self.hot.iter_mut().enumerate() {
            samples.clear();
            self.cells.copy_to(hot.cell, &mut samples);
            hot.cell = Cells::NONE;
            let newer = samples.iter().filter(|sample| sample.commit > sealed);
            kept.extend(newer.map(|sample| (slot, *sample)));
        }
        self.cells.clear();
        for (slot, sample) in &kept {
            self.cells.push(&mut self.hot[*slot].cell, *sample);
        }
        kept.len()
    }
}

/// The record of a series.
pub(super) struct Side<'a> {
    hot: &'a mut Hot,
    rest: &'a mut Rest,
    cells: &'a mut Cells,
}

impl Side<'_> {
    /// The series, if it is one's.
    pub(super) fn id(&self) -> Option<u32> {
        (self.rest.id != NO_SERIES).then_some(self.rest.id)
    }

    /// Gives the record to a series, or to none. Samples that it has are not the new series'; they leave memory
    /// with the others of the chunk.
    pub(super) fn give_to(&mut self, id: u32, place: Option<Place>) {
        *self.hot = Hot::EMPTY;
        *self.rest = Rest::new(id);
        self.rest.places.one = place;
    }

    fn has(&self, flag: u8) -> bool {
        self.hot.flags & flag != 0
    }

    fn set(&mut self, flag: u8, is_set: bool) {
        self.hot.flags &= !flag;
        if is_set {
            self.hot.flags |= flag;
        }
    }

    /// The newest sample, when the series judges itself.
    #[inline]
    pub(super) fn last(&self) -> Option<(Timestamp, u64)> {
        self.has(JUDGES_ITSELF).then_some(self.hot.last)
    }

    /// The newest sample, or a lower bound.
    pub(super) fn last_known(&self) -> (Timestamp, u64) {
        self.hot.last
    }

    #[inline]
    pub(super) fn set_last(&mut self, last: (Timestamp, u64)) {
        self.hot.last = last;
    }

    /// Whether `last` is right from now on.
    pub(super) fn judges_itself(&mut self, is_right: bool) {
        self.set(JUDGES_ITSELF, is_right);
    }

    #[inline]
    pub(super) fn standing(&self) -> Standing {
        if self.has(MEMBER) {
            let (target, column) = (self.hot.standing, u32::from(self.hot.column));
            Standing::Member(Place { target, column })
        } else if self.has(SEEN) {
            Standing::Seen(self.hot.standing)
        } else {
            Standing::Alone
        }
    }

    pub(super) fn set_standing(&mut self, standing: Standing) {
        let (flag, number, column) = match standing {
            Standing::Alone => (0, 0, 0),
            Standing::Seen(slice) => (SEEN, slice, 0),
            Standing::Member(Place { target, column }) => (MEMBER, target, column),
        };
        self.set(SEEN | MEMBER, false);
        self.set(flag, true);
        self.hot.standing = number;
        self.hot.column = u16::try_from(column).expect("groups have fewer columns");
    }

    /// Notes that the log defines the series in this epoch; answers whether that is new.
    #[inline]
    pub(super) fn becomes_logged(&mut self, epoch: u64) -> bool {
        let epoch = epoch as u32;
        std::mem::replace(&mut self.hot.logged, epoch) != epoch
    }

    pub(super) fn forget_logged(&mut self) {
        self.hot.logged = 0;
    }

    pub(super) fn places(&mut self) -> &mut Places {
        &mut self.rest.places
    }

    /// How many places there are.
    pub(super) fn places_len(&self) -> usize {
        self.rest.places.iter().count()
    }

    /// The newest cell of samples without a row.
    pub(super) fn solo_cell(&self) -> Option<u32> {
        (self.hot.cell != Cells::NONE).then_some(self.hot.cell)
    }

    /// Whether there are samples without a row.
    pub(super) fn has_solo(&self) -> bool {
        self.solo_cell().is_some()
    }

    /// Appends the samples without a row in the order of their commits.
    pub(super) fn copy_solo(&self, samples: &mut Vec<SoloSample>) {
        self.cells.copy_to(self.hot.cell, samples);
    }

    /// Adds a sample without a row; answers whether it is the first.
    #[inline]
    pub(super) fn push_solo(&mut self, sample: SoloSample) -> bool {
        let is_first = !self.has_solo();
        self.cells.push(&mut self.hot.cell, sample);
        self.set(IDLE, false);
        is_first
    }
}

/// The places of a series; almost always one.
#[derive(Debug, Default, Clone)]
#[expect(
    clippy::box_collection,
    reason = "rare, and every record has room for it"
)]
pub(super) struct Places {
    pub(super) one: Option<Place>,
    more: Option<Box<Vec<Place>>>,
}

impl Places {
    /// One, or none.
    pub(super) fn of(one: Option<Place>) -> Self {
        Self { one, more: None }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Place> + '_ {
        let more = self.more.as_deref().map_or(&[][..], Vec::as_slice);
        self.one.iter().chain(more).copied()
    }

    /// Adds a place in a target, or replaces the one there.
    pub(super) fn set(&mut self, place: Place) {
        let more = self.more.iter_mut().flat_map(|more| more.iter_mut());
        let mut known = self.one.iter_mut().chain(more);
        if let Some(known) = known.find(|known| known.target == place.target) {
            *known = place;
        } else if self.one.is_none() {
            self.one = Some(place);
        } else {
            self.more.get_or_insert_default().push(place);
        }
    }

    pub(super) fn retain(&mut self, mut is_needed: impl FnMut(Place) -> bool) {
        let kept: Vec<Place> = self.iter().filter(|place| is_needed(*place)).collect();
        *self = Self::default();
        for place in kept {
            self.set(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_comes_back_and_leaves_the_rest_as_it_is() {
        let mut records = Records::new();
        let mut side = records.side(300);
        side.give_to(7, None);
        side.judges_itself(true);
        side.set_last((5, 6));
        let (target, column) = (u32::MAX, 4_095);
        for standing in [
            Standing::Seen(u32::MAX),
            Standing::Member(Place { target, column }),
            Standing::Alone,
            Standing::Seen(0),
        ] {
            side.set_standing(standing);
            assert_eq!(side.standing(), standing);
            assert_eq!(side.last(), Some((5, 6)));
        }
        assert!(side.becomes_logged(3) && !side.becomes_logged(3));
        side.forget_logged();
        assert!(side.becomes_logged(3));
    }

    #[test]
    fn what_is_pruned_leaves_room_and_the_rest_stays_with_its_series() {
        let mut records = Records::new();
        let sample = |commit: u64, slot: u32| SoloSample {
            commit,
            time: commit as i64 * 7 + i64::from(slot),
            value: f64::from(slot),
        };
        for slot in 0..SIDE_CHUNK as u32 {
            records.side(slot).give_to(slot, None);
        }
        for commit in 1..=20 {
            for slot in (0..200).filter(|slot| u64::from(*slot) % commit == 0) {
                let is_first = records.side(slot).push_solo(sample(commit, slot));
                assert_eq!(is_first, commit == 1);
            }
        }
        // Of 18 to 20 the series 0, 18, 20, …
        assert_eq!(records.drop_up_to(17), 12 + 11 + 10);
        for slot in 0..SIDE_CHUNK as u32 {
            let mut samples = Vec::new();
            records.side(slot).copy_solo(&mut samples);
            let kept = (18..=20).filter(|commit| slot < 200 && u64::from(slot) % commit == 0);
            let kept: Vec<SoloSample> = kept.map(|commit| sample(commit, slot)).collect();
            assert_eq!(samples, kept, "{slot}");
        }
    }
}
