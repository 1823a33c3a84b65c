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

/// The samples of one series that have no row, 16 bytes each.
///
/// Times and commits are kept as offsets from the first sample's; what does not fit (more than 24
/// days, or 4 billion commits away) is kept whole.
#[derive(Debug, Default)]
pub(crate) struct Solo {
    /// The first sample's, when there is one.
    first_time: Timestamp,
    first_commit: u64,
    near: Vec<Near>,
    #[expect(
        clippy::box_collection,
        reason = "rare, and every series has room for it"
    )]
    far: Option<Box<Vec<SoloSample>>>,
}

#[derive(Debug, Clone, Copy)]
struct Near {
    time: i32,
    commit: u32,
    value: f64,
}

impl Solo {
    pub(crate) fn push(&mut self, sample: SoloSample) {
        if self.is_empty() {
            self.first_time = sample.time;
            self.first_commit = sample.commit;
        }
        let time = sample.time.checked_sub(self.first_time).map(i32::try_from);
        let commit = sample.commit.checked_sub(self.first_commit);
        if let (Some(Ok(time)), Some(Ok(commit))) = (time, commit.map(u32::try_from)) {
            // A quarter more, not twice as many: what is here lives for minutes only.
            if self.near.len() == self.near.capacity() {
                self.near.reserve_exact((self.near.len() / 4).max(4));
            }
            let value = sample.value;
            self.near.push(Near {
                time,
                commit,
                value,
            });
        } else {
            self.far.get_or_insert_default().push(sample);
        }
    }

    fn far(&self) -> &[SoloSample] {
        self.far.as_deref().map_or(&[], Vec::as_slice)
    }

    pub(crate) fn len(&self) -> usize {
        self.near.len() + self.far().len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the samples.
    pub(crate) fn bytes(&self) -> usize {
        self.near.len() * size_of::<Near>() + size_of_val(self.far())
    }

    /// In the order of their commits.
    pub(crate) fn samples(&self) -> Vec<SoloSample> {
        let mut samples = Vec::with_capacity(self.len());
        self.copy_to(&mut samples);
        samples
    }

    /// Appends the samples in the order of their commits.
    pub(crate) fn copy_to(&self, samples: &mut Vec<SoloSample>) {
        let start = samples.len();
        let near = self.near.iter().map(|near| SoloSample {
            commit: self.first_commit + u64::from(near.commit),
            time: self.first_time + i64::from(near.time),
            value: near.value,
        });
        samples.extend(near.chain(self.far().iter().copied()));
        if self.far.is_some() {
            samples[start..].sort_by_key(|sample| sample.commit);
        }
    }

    /// Drops what is in commits up to `sealed`. The room stays: as many will come again.
    pub(crate) fn drop_up_to(&mut self, sealed: u64) {
        let used = self.near.len();
        let mut kept = self.samples();
        kept.retain(|sample| sample.commit > sealed);
        self.far = None;
        self.near.clear();
        if self.near.capacity() > used + used / 2 {
            self.near.shrink_to(used);
        }
        for sample in kept {
            self.push(sample);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_come_back_however_far_apart() {
        let mut solo = Solo::default();
        let times = [5, 4, 1 << 40, i64::MAX, i64::MIN + 1, 6];
        let samples: Vec<SoloSample> = times
            .into_iter()
            .zip(10..)
            .map(|(time, commit)| SoloSample {
                commit,
                time,
                value: time as f64,
            })
            .collect();
        for sample in &samples {
            solo.push(*sample);
        }
        assert_eq!(solo.samples(), samples);
        solo.drop_up_to(12);
        assert_eq!(solo.samples(), samples[3..]);
        assert_eq!(solo.len(), 3);
    }

    #[test]
    fn a_sample_takes_sixteen_bytes() {
        assert_eq!(size_of::<Near>(), 16);
    }
}
