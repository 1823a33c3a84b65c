//! Samples that need no look at their series: those of members of a group, at one time behind its newest row.
//!
//! The newest sample of such a member is told by the rows of its group, as that of a scraped series is by those of
//! its target. So one comparison of times judges a whole row: whoever comes behind the newest row comes behind its
//! own newest sample. The other members judge themselves (see [`super::judge`]) and have *shared* columns. A member
//! becomes one of these when its sample cannot be taken here: because its time is not that of the others, because
//! it is not behind the newest row, or because the push has two of it. It is judged by rows again when its newest
//! sample is found in the newest row of its group, once it has joined or at a seal.

use super::{
    HashMap, Head, State, bits,
    groups::{CELLS_MIN, Gathered},
    pushes::Push,
    states::Sides,
    target::TargetWriter,
};
use crate::{Sample, Timestamp, wal::PUSH_ROWS_MAX};

/// A series in a column of a group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    pub(super) target: u32,
    pub(super) column: u32,
    pub(super) id: u32,
}

/// What a push brings, told apart.
pub(super) struct Parted {
    /// Rows of groups, which judge what is in them.
    pub(super) rows: Vec<Gathered>,
    /// The places in the push of all other samples, ascending.
    pub(super) others: Vec<u32>,
}

/// Rows that groups cannot have in a push: of each group the times.
#[derive(Default)]
struct Denied {
    times: HashMap<u32, Vec<Timestamp>>,
    /// How often something was denied.
    count: usize,
}

impl Denied {
    /// A group may try so many times.
    const TIMES_MAX: usize = 2;

    fn contains(&self, target: u32, time: Timestamp) -> bool {
        let times = self.times.get(&target);
        times.is_some_and(|times| times.len() >= Self::TIMES_MAX || times.contains(&time))
    }

    fn deny(&mut self, target: u32, time: Timestamp) {
        self.times.entry(target).or_default().push(time);
        self.count += 1;
    }

    /// From now on the group has no row.
    fn deny_all(&mut self, target: u32) {
        if !self.contains(target, Timestamp::MIN) {
            (0..Self::TIMES_MAX).for_each(|_| self.deny(target, Timestamp::MIN));
        }
    }
}

impl Head {
    /// Takes out of a push what the rows of groups judge. `None`: a group has a row already that is not published,
    /// and the push must wait until it is.
    pub(super) fn part(&self, state: &mut State, push: &Push) -> Option<Parted> {
        let mut denied = Denied::default();
        loop {
            let before = denied.count;
            let parted = self.part_without(state, push, &mut denied)?;
            if denied.count == before {
                return Some(parted);
            }
        }
    }

    /// The same without some rows; those that were begun and cannot be are added to them.
    fn part_without(&self, state: &mut State, push: &Push, denied: &mut Denied) -> Option<Parted> {
        let slice = state.next_slice();
        let State { targets, batch, .. } = state;
        let tables = self.states.tables();
        let mut sides = tables.sides();
        let mut rows: Vec<Gathered> = Vec::new();
        let mut others = Vec::new();
        // Target and column of members that came at another time than their row.
        let mut strays: Vec<(u32, u32)> = Vec::new();
        let mut next = 0;
        while let Some((id, sample)) = push.samples.get(next) {
            let place = sides.place_in_group(*id);
            let place = place.filter(|place| {
                let writer = &targets[place.target as usize];
                writer.judges_by_rows(*id, place.column)
            });
            let writer = place.map(|place| (place.column, &mut targets[place.target as usize]));
            let Some((column, writer)) = writer else {
                others.push(next as u32);
                next += 1;
                continue;
            };
            let target = writer.target.index;
            let is_behind = sample.time > writer.last_row_time;
            let group = writer.group.as_mut().expect("its rows judge");
            if group.batch == *batch {
                return None;
            }
            // Histograms and numbers of a series are judged in the order in which they came.
            let may_begin = group.slice != slice
                && is_behind
                && sample.time >= push.bounds.valid_from
                && sample.time != Timestamp::MIN
                && push.histograms.is_empty()
                && rows.len() < PUSH_ROWS_MAX
                && !denied.contains(target, sample.time);
            if may_begin {
                (group.slice, group.slot) = (slice, rows.len());
                rows.push(Gathered::new(target, sample.time, group.members));
            }
            let has_row = group.slice == slice;
            let row = rows.get_mut(group.slot).filter(|_| has_row);
            if let Some(row) = row.filter(|row| row.time == sample.time) {
                let taken = row.take(push, next, column, &mut sides, writer);
                next += taken;
                if taken == 0 {
                    // What else is denied is found out before all begins anew.
                    denied.deny_all(target);
                    others.push(next as u32);
                    next += 1;
                }
            } else {
                strays.push((target, column));
                others.push(next as u32);
                next += 1;
            }
        }
        let starts = push.starts.iter().map(|(id, _)| *id);
        let judged = push.histograms.iter().map(|pushed| pushed.id);
        for id in judged.chain(starts) {
            let place = sides.place_in_group(id);
            let writer = place.map(|place| (place.column, &targets[place.target as usize]));
            let writer = writer.filter(|(column, writer)| writer.judges_by_rows(id, *column));
            let group = writer.and_then(|(_, writer)| writer.group.as_ref());
            if group.is_some_and(|group| group.batch == *batch) {
                return None;
            }
        }
        for (target, column) in strays {
            let group = targets[target as usize].group.as_ref();
            let group = group.filter(|group| group.slice == slice);
            let row = group.map(|group| &rows[group.slot]);
            let came_twice = row.is_some_and(|row| row.present.contains(column));
            if came_twice {
                denied.deny_all(target);
            }
        }
        for row in rows.iter().filter(|row| row.cells.len() < CELLS_MIN) {
            denied.deny(row.target, row.time);
        }
        Some(Parted { rows, others })
    }

    /// The rows of their groups judge those of the members whose newest sample is in the newest row.
    pub(super) fn settle(&self, targets: &mut [TargetWriter], members: &[Member]) {
        if members.is_empty() {
            return;
        }
        let tables = self.states.tables();
        let mut sides = tables.sides();
        for member in members {
            let Member { target, column, id } = *member;
            let Some(newest) = targets[target as usize].newest_in_row(id, column) else {
                continue;
            };
            let side = sides.get(id).filter(|side| side.last() == Some(newest));
            let Some(mut side) = side else {
                continue;
            };
            let is_elsewhere = side.places().iter().any(|place| {
                let other = &targets[place.target as usize];
                place.target != target && other.series_of(place.column) == Some(id)
            });
            if !is_elsewhere {
                side.judges_itself(false);
                targets[target as usize].shared.remove(column);
            }
        }
    }

    /// The members that judge themselves and could be judged by rows.
    pub(super) fn unsettled(state: &State) -> Vec<Member> {
        let groups = state.targets.iter().filter(|writer| writer.group.is_some());
        let members = groups.flat_map(|writer| {
            let columns = bits::ones(writer.shared.words());
            columns.filter_map(|column| {
                let (target, id) = (writer.target.index, writer.series_of(column)?);
                Some(Member { target, column, id })
            })
        });
        members.collect()
    }
}

impl Gathered {
    /// Takes members from a place in the push on, as long as they belong into the row; answers how many. The first
    /// has the column. A second sample of a member does not belong into it.
    fn take(
        &mut self,
        push: &Push,
        from: usize,
        mut column: u32,
        sides: &mut Sides<'_>,
        writer: &TargetWriter,
    ) -> usize {
        let mut rest = &push.samples[from..];
        loop {
            let run = self.take_run(rest, column, writer);
            rest = &rest[run..];
            let next = rest.first().filter(|_| run > 0);
            let place = next.and_then(|(id, _)| sides.place_in_group(*id));
            match place.filter(|place| place.target == self.target) {
                Some(place) => column = place.column,
                None => return push.samples.len() - from - rest.len(),
            }
        }
    }

    /// Takes those members that come in the order of their columns, which are told by comparing them with the
    /// group's; the first has the column. Answers how many.
    fn take_run(&mut self, samples: &[(u32, Sample)], column: u32, writer: &TargetWriter) -> usize {
        let columns = writer.columns().get(column as usize..);
        let run = columns.unwrap_or_default().iter().zip(samples);
        let run =
            run.take_while(|(member, (id, sample))| *member == id && sample.time == self.time);
        let mut end = column + run.count() as u32;
        for (word, mask) in bits::masks(column..end) {
            let other = (writer.shared.word(word) | self.present.word(word)) & mask;
            if other != 0 {
                end = word as u32 * u64::BITS + other.trailing_zeros();
                break;
            }
        }
        self.present.insert_range(column..end);
        let taken = (column..end).zip(samples);
        let cells = taken.map(|(column, (_, sample))| (column, sample.value.to_bits()));
        self.cells.extend(cells);
        (end - column) as usize
    }
}

impl TargetWriter {
    /// Whether it is a group whose rows tell the newest sample of a series, which most likely is in this column.
    #[inline]
    fn judges_by_rows(&self, id: u32, column: u32) -> bool {
        self.group.is_some() && self.series_of(column) == Some(id) && !self.shared.contains(column)
    }

    /// The sample of a series that has this column in the newest row.
    fn newest_in_row(&self, id: u32, column: u32) -> Option<(Timestamp, u64)> {
        let is_there = self.series_of(column) == Some(id) && self.real.contains(column);
        is_there.then(|| (self.last_row_time, self.stored[column as usize]))
    }
}
