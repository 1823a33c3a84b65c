//! Judging: whether a sample may follow what its series has.
//!
//! The newest sample of a series is told by its target's rows or, once it has come in any other way, by its
//! side record: it then *judges itself*. Whatever came together or is kept together, the verdict on a sample is
//! that of its own series alone.

use std::sync::atomic::Ordering;

use super::{
    Bounds, Head, State,
    row::NO_SERIES,
    side::{Place, Standing},
    target::TargetWriter,
};
use crate::{Labels, Refusal, Timestamp};

/// Newest samples before the batch, to be put back when the disk does not take it.
pub(super) type Undo = Vec<(u32, (Timestamp, u64))>;

pub(super) enum Verdict {
    /// Behind the newest sample of its series.
    Keep,
    /// Before it, and within the window for such samples.
    Late,
    Same,
    Refuse(Refusal),
}

/// Judges a sample by its series' newest one.
///
/// Source: `memSeries.appendable` in Prometheus' `tsdb/head_append.go`.
#[inline]
pub(super) fn judge(bounds: Bounds, last: (Timestamp, u64), time: Timestamp, bits: u64) -> Verdict {
    if time > last.0 && time >= bounds.valid_from {
        return Verdict::Keep;
    }
    judge_no_newer(bounds, last, time, bits)
}

/// Judges a sample that is not behind the newest one, or too old for it.
#[inline(never)]
fn judge_no_newer(bounds: Bounds, last: (Timestamp, u64), time: Timestamp, bits: u64) -> Verdict {
    if time == Timestamp::MIN {
        return Verdict::Refuse(Refusal::OutOfBounds);
    }
    if time >= bounds.valid_from && time == last.0 {
        return if bits == last.1 {
            Verdict::Same
        } else {
            Verdict::Refuse(Refusal::Duplicate)
        };
    }
    if bounds.window_ms > 0 {
        if time >= bounds.newest.saturating_sub(bounds.window_ms) {
            Verdict::Late
        } else {
            Verdict::Refuse(Refusal::TooOld)
        }
    } else if time < bounds.valid_from {
        Verdict::Refuse(Refusal::OutOfBounds)
    } else {
        Verdict::Refuse(Refusal::OutOfOrder)
    }
}

impl Head {
    /// Time and bits of the newest sample of the series in a column; the time is [`Timestamp::MIN`] when
    /// there is none.
    pub(super) fn last_of(&self, writer: &TargetWriter, column: u32, id: u32) -> (Timestamp, u64) {
        if !writer.shared.contains(column) && writer.real.contains(column) {
            (writer.last_row_time, writer.stored[column as usize])
        } else {
            self.newest(id)
        }
    }

    /// Time and bits of the newest committed or staged sample of a series.
    pub(super) fn newest(&self, id: u32) -> (Timestamp, u64) {
        let mut newest = match self.states.last(id) {
            Some((true, last)) => return last,
            Some((false, last)) => last,
            None => (Timestamp::MIN, 0),
        };
        if let Some(found) = self.histograms.newest(id)
            && found.0 > newest.0
        {
            newest = found;
        }
        let mut is_in_rows = false;
        for place in self.states.places(id).iter() {
            let target = self.states.target(place.target);
            let blocks = target.blocks();
            let found = blocks.iter().rev().find_map(|block| {
                let column = block.column_of(id, place.column)?;
                block.newest(column)
            });
            if let Some(found) = found {
                is_in_rows = true;
                if found.0 > newest.0 {
                    newest = found;
                }
            }
        }
        // Rows are in order, so nothing sealed is newer than one of them.
        if is_in_rows {
            return newest;
        }
        match self.catalog().newest_sample(id) {
            Ok(Some(sealed)) if sealed.0 > newest.0 => sealed,
            // Queries tell of damage; a sample is judged by what can be read.
            _ => newest,
        }
    }

    /// From now on each of these series judges itself.
    pub(super) fn isolate_all(&self, state: &mut State, ids: impl Iterator<Item = u32>) {
        let tables = self.states.tables();
        let mut sides = tables.sides();
        let mut is_missing = |id: u32| sides.get(id).is_none_or(|side| side.last().is_none());
        let missing: Vec<u32> = ids
            .filter(|id| *id != NO_SERIES && is_missing(*id))
            .collect();
        drop(sides);
        drop(tables);
        for id in missing {
            self.isolate(&mut state.targets, id);
        }
    }

    /// From now on the series judges itself, in every target too; answers its newest sample.
    pub(super) fn isolate(&self, targets: &mut [TargetWriter], id: u32) -> (Timestamp, u64) {
        if let Some((true, last)) = self.states.last(id) {
            return last;
        }
        let places = self.states.places(id);
        let bound = places.iter().find(|place| {
            let writer = &targets[place.target as usize];
            writer.series_of(place.column) == Some(id)
        });
        let last = match bound {
            Some(Place { target, column }) => self.last_of(&targets[target as usize], column, id),
            None => self.newest(id),
        };
        self.states.judge_itself(id, last);
        for place in places.iter() {
            let writer = &mut targets[place.target as usize];
            if writer.series_of(place.column) == Some(id) {
                writer.shared.insert(place.column);
                if writer.group.is_some() {
                    self.states.set_standing(id, Standing::Member(place));
                }
            }
        }
        last
    }

    /// Binds a series to a target's rows.
    pub(super) fn column(&self, target: u32, labels: &Labels) -> Result<u32, Refusal> {
        if labels.has_empty_name() {
            return Err(Refusal::InvalidLabels);
        }
        let mut guard = self.state();
        let state = &mut *guard;
        let (id, is_new) = self.series(labels)?;
        let writer = &mut state.targets[target as usize];
        if let Some(column) = writer.column_of(id, &self.states) {
            writer.retired.remove(column);
            return Ok(column);
        }
        let is_elsewhere =
            self.states.places(id).iter().any(|place| {
                state.targets[place.target as usize].series_of(place.column) == Some(id)
            });
        if is_elsewhere {
            self.isolate(&mut state.targets, id);
        } else {
            self.states.judge_by_rows(id);
        }
        let writer = &mut state.targets[target as usize];
        let column = writer.bind(id, &self.states);
        if is_elsewhere {
            writer.shared.insert(column);
        } else if !is_new {
            // Nobody has a newer sample than the store.
            writer.floor = writer.floor.max(self.newest.load(Ordering::Relaxed));
        }
        Ok(column)
    }

    /// Puts newest samples back.
    pub(super) fn revert(&self, undo: Undo) {
        for (id, last) in undo.into_iter().rev() {
            self.states.set_last(id, last);
        }
    }
}
