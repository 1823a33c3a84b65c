//! Groups: pushed series whose samples come together at one time become rows, as those of a target do.
//!
//! A group is a target without a key, and everything but its membership is that of a target: rows with what
//! changed, in memory, in the log and at a seal. Nobody sees the difference. Every sample was judged before it
//! comes here, by its own series (see [`super::judge`]) or by its group's newest row (see [`super::members`]), a
//! row has the members that came and no others, and what does not fit a row is kept by itself, as it is without
//! groups.
//!
//! Membership is learnt and given up by what comes. The samples of one commit at one time are a *slice*. Series
//! that were together in one slice, and in the next one of each are together again, form a group, or join the
//! largest one that is there. A member leaves when its sample comes at a time that is not one for a row of its
//! group, or with too few others, and when it was silent for two seals. So a group whose members drift apart
//! is split, at the cost of two samples by themselves for each that changes sides.

use std::sync::Arc;

use super::{
    HashSet, Head, State,
    bits::{self, Bits},
    cells::StagedCells,
    members::Member,
    side::{Place, Standing},
    states::States,
    target::TargetWriter,
};
use crate::{Sample, Timestamp, wal::PUSH_ROWS_MAX};

/// So many series form a group.
const MEMBERS_MIN: usize = 8;
/// A group has at most so many columns.
const COLUMNS_MAX: usize = 4_096;
/// A row of a group has at least so many members.
pub(super) const CELLS_MIN: usize = 4;
/// Times are counted by so many of their bits: of a few thousand samples that are alone at their times, few
/// share a count.
const TIME_BUCKETS: usize = 1 << 12;

/// A pushed sample that was accepted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    pub(super) id: u32,
    pub(super) sample: Sample,
    pub(super) standing: Standing,
    /// Behind a newer one of its series, so it is in no row.
    pub(super) is_late: bool,
}

/// What makes a target a group, guarded by the commit lock.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(super) members: usize,
    /// The batch in which it got its last row.
    pub(super) batch: u64,
    /// The slice that was gathered last, and the place of the group in it.
    pub(super) slice: u32,
    pub(super) slot: usize,
    /// The members that came since the last seal, and between that and the one before.
    seen: Bits,
    seen_before: Bits,
    /// Whether another target may take its number.
    is_free: bool,
}

/// A row of a group that is gathered.
pub(super) struct Gathered {
    pub(super) target: u32,
    pub(super) time: Timestamp,
    pub(super) cells: Vec<(u32, u64)>,
    pub(super) present: Bits,
    /// Which of the samples those are that judge themselves; the cells of others stand before them.
    from: Vec<u32>,
}

impl Gathered {
    /// An empty row with room for so many members.
    pub(super) fn new(target: u32, time: Timestamp, members: usize) -> Self {
        Self {
            target,
            time,
            cells: Vec::with_capacity(members),
            present: Bits::with_capacity(members),
            from: Vec::new(),
        }
    }

    fn put(&mut self, column: u32, bits: u64, from: usize) {
        self.cells.push((column, bits));
        self.present.insert(column);
        self.from.push(from as u32);
    }
}

/// What became of accepted samples.
pub(super) struct Arranged {
    pub(super) rows: Vec<StagedCells>,
    /// Those that are in no row, as they came.
    pub(super) solo: Vec<(u32, Sample)>,
    /// Who is in a row of its group for the first time.
    pub(super) joined: Vec<Member>,
}

/// What becomes of a sample.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    /// Its time has no slice.
    Apart,
    ByItself,
    InRow,
}

/// The samples of a commit on their way into rows.
struct Arrangement<'a> {
    kept: &'a [Kept],
    fates: Vec<Fate>,
    /// Series whose standing has changed.
    standings: Vec<(u32, Standing)>,
    rows: Vec<StagedCells>,
    /// So many rows of members are still to come.
    rows_of_members: usize,
    joined: Vec<Member>,
    /// The series of these: what [`Kept`] says of their standing is over.
    joined_series: HashSet<u32>,
}

impl Head {
    /// Puts accepted samples into rows of groups, of which there are some already.
    pub(super) fn in_groups(
        &self,
        state: &mut State,
        kept: &[Kept],
        mut rows: Vec<Gathered>,
    ) -> Arranged {
        let mut arrangement = Arrangement {
            kept,
            fates: vec![Fate::Apart; kept.len()],
            standings: Vec::new(),
            rows: Vec::with_capacity(rows.len()),
            rows_of_members: rows.len(),
            joined: Vec::new(),
            joined_series: HashSet::default(),
        };
        for row in &rows {
            // At no other time of the commit it has another.
            if let Some(group) = &mut state.targets[row.target as usize].group {
                group.batch = state.batch;
            }
        }
        rows.sort_by_key(|row| row.time);
        let mut times = common_times(kept);
        times.extend(rows.iter().map(|row| row.time));
        times.sort_unstable();
        times.dedup();
        let mut rows = rows.into_iter().peekable();
        for time in times {
            let mut gathered = Vec::new();
            while let Some(row) = rows.next_if(|row| row.time == time) {
                gathered.push(row);
            }
            self.arrange(state, time, gathered, &mut arrangement);
        }
        let Arrangement {
            fates,
            mut standings,
            rows,
            joined,
            ..
        } = arrangement;
        let by_themselves = fates.iter().filter(|fate| **fate != Fate::InRow);
        let mut solo = Vec::with_capacity(by_themselves.count());
        for (kept, fate) in kept.iter().zip(fates) {
            if fate == Fate::InRow {
                continue;
            }
            solo.push((kept.id, kept.sample));
            if fate == Fate::Apart
                && !kept.is_late
                && let Standing::Member(place) = kept.standing
            {
                let writer = &mut state.targets[place.target as usize];
                // Whoever is in a row that is not published yet needs the column.
                let has_row = writer.group.as_ref();
                if has_row.is_some_and(|group| group.batch == state.batch) {
                    continue;
                }
                writer.leave(kept.id, place.column);
                standings.push((kept.id, Standing::Alone));
            }
        }
        if !standings.is_empty() {
            let tables = self.states.tables();
            let mut sides = tables.sides();
            for (id, standing) in standings {
                if let Some(mut side) = sides.get(id) {
                    side.set_standing(standing);
                }
            }
        }
        Arranged { rows, solo, joined }
    }

    /// Puts the samples at one time into rows, of which there are some already.
    fn arrange(
        &self,
        state: &mut State,
        time: Timestamp,
        mut gathered: Vec<Gathered>,
        arrangement: &mut Arrangement<'_>,
    ) {
        let slice = state.next_slice();
        for (slot, row) in gathered.iter().enumerate() {
            if let Some(group) = &mut state.targets[row.target as usize].group {
                group.slice = slice;
                group.slot = slot;
            }
        }
        let rows_of_members = gathered.len();
        let mut loose = gather(state, time, arrangement, &mut gathered);
        gathered.retain(|row| {
            let is_enough = row.cells.len() >= CELLS_MIN;
            if !is_enough {
                let writer = &mut state.targets[row.target as usize];
                for (index, (column, _)) in row.from.iter().zip(&row.cells) {
                    let index = *index as usize;
                    writer.leave(arrangement.kept[index].id, *column);
                    arrangement.fates[index] = Fate::ByItself;
                    loose.push((0, index));
                }
            }
            is_enough
        });
        loose.sort_unstable();
        for together in loose.chunk_by(|a, b| a.0 == b.0) {
            let largest = gathered.iter().max_by_key(|row| row.cells.len());
            let host = largest.map(|row| row.target).filter(|target| {
                state.targets[*target as usize].columns_len() + together.len() <= COLUMNS_MAX
            });
            if together[0].0 == 0 || host.is_none() && together.len() < MEMBERS_MIN {
                let seen = together.iter().map(|(_, index)| {
                    let id = arrangement.kept[*index].id;
                    (id, Standing::Seen(slice))
                });
                arrangement.standings.extend(seen);
                continue;
            }
            for part in together.chunks(COLUMNS_MAX) {
                let target = host.unwrap_or_else(|| self.new_group(state));
                let known = gathered.iter().position(|row| row.target == target);
                let at = known.unwrap_or_else(|| {
                    gathered.push(Gathered::new(target, time, part.len()));
                    gathered.len() - 1
                });
                for (_, index) in part {
                    let Kept { id, sample, .. } = arrangement.kept[*index];
                    let writer = &mut state.targets[target as usize];
                    let column = writer.join(id, &self.states);
                    gathered[at].put(column, sample.value.to_bits(), *index);
                    arrangement.fates[*index] = Fate::InRow;
                    arrangement.joined.push(Member { target, column, id });
                    arrangement.joined_series.insert(id);
                    let place = Place { target, column };
                    arrangement.standings.push((id, Standing::Member(place)));
                }
            }
        }
        for (slot, mut row) in gathered.into_iter().enumerate() {
            if slot < rows_of_members {
                arrangement.rows_of_members -= 1;
            } else if arrangement.rows.len() + arrangement.rows_of_members >= PUSH_ROWS_MAX {
                for index in row.from {
                    arrangement.fates[index as usize] = Fate::ByItself;
                }
                continue;
            }
            if !row.cells.is_sorted_by_key(|(column, _)| *column) {
                row.cells.sort_unstable_by_key(|(column, _)| *column);
            }
            let writer = &mut state.targets[row.target as usize];
            if let Some(group) = &mut writer.group {
                group.batch = state.batch;
                group.seen.union(&row.present);
            }
            let epoch = state.wal.epoch;
            let cells = StagedCells::new(writer, epoch, time, &row.cells, row.present);
            arrangement.rows.push(cells);
        }
    }

    /// A group without members.
    fn new_group(&self, state: &mut State) -> u32 {
        let next = state.targets.len() as u32;
        let index = state.free_targets.pop().unwrap_or(next);
        let writer = TargetWriter::new_group(index);
        self.states.set_target(Arc::clone(&writer.target));
        if index == next {
            state.targets.push(writer);
        } else {
            state.targets[index as usize] = writer;
        }
        index
    }
}

/// Gathers the members of groups among the samples at one time; the others are answered with the slice that
/// they were seen in before, zero if none.
fn gather(
    state: &mut State,
    time: Timestamp,
    arrangement: &mut Arrangement<'_>,
    gathered: &mut Vec<Gathered>,
) -> Vec<(u32, usize)> {
    let mut loose = Vec::new();
    let kept = arrangement.kept;
    let mut next = 0;
    while let Some(first) = kept.get(next) {
        let index = next;
        next += 1;
        if first.sample.time != time || first.is_late {
            continue;
        }
        arrangement.fates[index] = Fate::ByItself;
        let place = match first.standing {
            Standing::Member(place) => place,
            // In a row at another time of the commit, and its group has no second one.
            _ if arrangement.joined_series.contains(&first.id) => continue,
            Standing::Alone => {
                loose.push((0, index));
                continue;
            }
            Standing::Seen(slice) => {
                loose.push((slice, index));
                continue;
            }
        };
        let writer = &mut state.targets[place.target as usize];
        let is_member = writer.series_of(place.column) == Some(first.id);
        let Some(group) = writer.group.as_mut().filter(|_| is_member) else {
            loose.push((0, index));
            continue;
        };
        if group.slice != state.slice {
            if group.batch == state.batch {
                // It has its row of this batch already.
                continue;
            }
            if time <= writer.last_row_time {
                writer.leave(first.id, place.column);
                loose.push((0, index));
                continue;
            }
            group.slice = state.slice;
            group.slot = gathered.len();
            gathered.push(Gathered::new(place.target, time, group.members));
        }
        let row = &mut gathered[group.slot];
        // Most of them come together.
        next = index;
        while let Some(member) = kept.get(next)
            && member.sample.time == time
            && !member.is_late
            && let Standing::Member(Place { target, column }) = member.standing
            && target == row.target
            && writer.series_of(column) == Some(member.id)
        {
            row.put(column, member.sample.value.to_bits(), next);
            arrangement.fates[next] = Fate::InRow;
            next += 1;
        }
    }
    loose
}

/// The times at which enough of the samples are for a row, ascending.
fn common_times(kept: &[Kept]) -> Vec<Timestamp> {
    let times = || {
        let in_order = kept.iter().filter(|kept| !kept.is_late);
        in_order.map(|kept| kept.sample.time)
    };
    let Some(first) = times().next().filter(|_| kept.len() >= CELLS_MIN) else {
        return Vec::new();
    };
    if times().all(|time| time == first) {
        return vec![first];
    }
    // Most of them are alone at their time, which need not be sorted to be known.
    let bucket = |time: Timestamp| {
        let mixed = (time as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> (u64::BITS - TIME_BUCKETS.trailing_zeros())) as usize
    };
    let mut counts = [0u8; TIME_BUCKETS];
    for time in times() {
        let count = &mut counts[bucket(time)];
        *count = count.saturating_add(1);
    }
    let mut often: Vec<Timestamp> = times()
        .filter(|time| usize::from(counts[bucket(*time)]) >= CELLS_MIN)
        .collect();
    often.sort_unstable();
    let same = often.chunk_by(|a, b| a == b);
    let enough = same.filter(|same| same.len() >= CELLS_MIN);
    enough.map(|same| same[0]).collect()
}

impl TargetWriter {
    /// A target without a key and without members.
    pub(super) fn new_group(index: u32) -> Self {
        let mut writer = Self::new(index, None);
        writer.group = Some(Box::default());
        writer
    }

    /// A column for a new member, which judges itself.
    fn join(&mut self, id: u32, states: &States) -> u32 {
        if let Some(group) = &mut self.group {
            group.members += 1;
        }
        let column = self.bind(id, states);
        self.shared.insert(column);
        column
    }

    /// Ends the membership of a series, if it has the column.
    pub(super) fn leave(&mut self, id: u32, column: u32) {
        if self.series_of(column) == Some(id)
            && let Some(group) = &mut self.group
        {
            group.members -= 1;
            group.seen.remove(column);
            group.seen_before.remove(column);
            self.free(column);
        }
    }

    /// At a seal: the members that did not come since the seal before the last leave, and all when few are left.
    pub(super) fn expire_members(&mut self) {
        let Some(group) = &mut self.group else {
            return;
        };
        let mut seen = group.seen.clone();
        seen.union(&group.seen_before);
        group.seen_before = std::mem::take(&mut group.seen);
        let is_left = bits::ones(seen.words()).nth(MEMBERS_MIN - 1).is_some();
        for column in 0..self.columns_len() as u32 {
            if !(is_left && seen.contains(column))
                && let Some(id) = self.series_of(column)
            {
                self.leave(id, column);
            }
        }
    }

    /// Whether the group is of no use any more, which is said once.
    pub(super) fn becomes_free(&mut self) -> bool {
        let is_empty = self.target.blocks().is_empty();
        let group = self.group.as_mut();
        let group = group.filter(|group| is_empty && group.members == 0 && !group.is_free);
        group.is_some_and(|group| {
            group.is_free = true;
            true
        })
    }
}
