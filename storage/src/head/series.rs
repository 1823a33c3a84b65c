//! What readers are told of one series, and samples that have no row.

use std::sync::Arc;

use super::target::Target;
use crate::Timestamp;

/// Where the samples of a series are that are in memory.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// The targets whose rows have, or had, the series, with the column where it was last. A row block
    /// says itself whether it has the series; see [`super::row::RowBlock::column_of`].
    pub(crate) targets: Vec<(Arc<Target>, u32)>,
    /// Samples without a row, ascending by commit; late ones may stand behind newer ones.
    pub(crate) solo: Option<Arc<[SoloSample]>>,
}

/// A sample without a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SoloSample {
    pub(crate) commit: u64,
    pub(crate) time: Timestamp,
    pub(crate) value: f64,
}

/// Samples of many series that have no row: each series has a chain of cells.
#[derive(Debug, Default)]
pub(super) struct Cells(Vec<Cell>);

/// Some samples of one series. Times and commits are offsets from the first one's: what is more than 24
/// days, or 4 billion commits, from it begins another cell.
#[derive(Debug, Clone, Copy)]
#[repr(align(128))]
struct Cell {
    first: SoloSample,
    /// The oldest cell of the series if this is its newest, else the one that follows.
    next: u32,
    /// How many samples there are behind the first.
    len: u32,
    near: [Near; NEAR],
}

#[derive(Debug, Clone, Copy)]
struct Near {
    time: i32,
    commit: u32,
    value: f64,
}

/// Samples of a cell behind the first: two cache lines are full.
const NEAR: usize = 6;
const _: () = assert!(size_of::<Cell>() == 128);

impl Cell {
    fn near(&self, sample: SoloSample) -> Option<Near> {
        let time = sample.time.checked_sub(self.first.time)?;
        let commit = sample.commit.checked_sub(self.first.commit)?;
        Some(Near {
            time: time.try_into().ok()?,
            commit: commit.try_into().ok()?,
            value: sample.value,
        })
    }

    fn samples(&self) -> impl Iterator<Item = SoloSample> + '_ {
        let near = self.near.iter().take(self.len as usize);
        let near = near.map(|near| SoloSample {
            commit: self.first.commit + u64::from(near.commit),
            time: self.first.time + i64::from(near.time),
            value: near.value,
        });
        std::iter::once(self.first).chain(near)
    }
}

impl Cells {
    /// The newest cell of a series without samples.
    pub(super) const NONE: u32 = u32::MAX;
    /// What a sample takes where cells are full.
    pub(super) const SAMPLE_BYTES: usize = size_of::<Cell>() / (1 + NEAR);

    /// Adds a sample behind those of the series whose newest cell it is.
    #[inline]
    pub(super) fn push(&mut self, newest: &mut u32, sample: SoloSample) {
        if let Some(cell) = self.0.get_mut(*newest as usize)
            && (cell.len as usize) < NEAR
            && let Some(near) = cell.near(sample)
        {
            cell.near[cell.len as usize] = near;
            cell.len += 1;
            return;
        }
        self.begin(newest, sample);
    }

    #[inline(never)]
    fn begin(&mut self, newest: &mut u32, sample: SoloSample) {
        if self.0.len() == self.0.capacity() {
            // A quarter more, not twice as many: what is here lives for minutes only.
            self.0.reserve_exact((self.0.len() / 4).max(16));
        }
        let index = self.0.len() as u32;
        let before = self.0.get_mut(*newest as usize);
        let oldest = before.map_or(index, |before| std::mem::replace(&mut before.next, index));
        let nothing = Near {
            time: 0,
            commit: 0,
            value: 0.0,
        };
        self.0.push(Cell {
            first: sample,
            next: oldest,
            len: 0,
            near: [nothing; NEAR],
        });
        *newest = index;
    }

    /// Appends the samples of the series whose newest cell it is, in the order in which they came.
    pub(super) fn copy_to(&self, newest: u32, samples: &mut Vec<SoloSample>) {
        let Some(cell) = self.0.get(newest as usize) else {
            return;
        };
        let mut at = cell.next;
        while let Some(cell) = self.0.get(at as usize) {
            samples.extend(cell.samples());
            if at == newest {
                return;
            }
            at = cell.next;
        }
    }

    /// Drops everything. The room stays if much of it was used: as much will come again.
    pub(super) fn clear(&mut self) {
        let used = self.0.len();
        self.0.clear();
        if self.0.capacity() > used + used / 2 {
            self.0.shrink_to(used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_come_back_however_far_apart() {
        let mut cells = Cells::default();
        let mut newest = [Cells::NONE; 3];
        let times = [
            5,
            4,
            1 << 40,
            i64::MAX,
            i64::MIN + 1,
            6,
            7,
            8,
            9,
            10,
            11,
            12,
            13,
        ];
        let mut expected = [Vec::new(), Vec::new(), Vec::new()];
        for (time, commit) in times.into_iter().zip((10..).step_by(1 << 30)) {
            for series in 0..2 {
                let sample = SoloSample {
                    commit: commit + series as u64,
                    time,
                    value: series as f64,
                };
                cells.push(&mut newest[series], sample);
                expected[series].push(sample);
            }
        }
        for (newest, expected) in newest.into_iter().zip(expected) {
            let mut samples = Vec::new();
            cells.copy_to(newest, &mut samples);
            assert_eq!(samples, expected);
        }
        cells.clear();
        let mut samples = Vec::new();
        cells.copy_to(newest[0], &mut samples);
        assert_eq!(samples, []);
    }
}
