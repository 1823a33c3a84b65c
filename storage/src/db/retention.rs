//! What leaves the disk: blocks past retention, and files whose replacement has stood for ten minutes.
//!
//! Retention removes whole blocks, the oldest commits first, and never the newest block, on which the
//! index of what is in memory stands. Damaged files stay where they are: only a person knows whether they
//! are worth a repair. So a block is read once more before it goes; one that is damaged is not served any
//! more, and its file stays.

use std::{collections::VecDeque, path::Path, sync::atomic::Ordering, time::Duration};

use super::{Db, Maintenance, Retention, SUPERSEDED_KEPT_FOR};
use crate::{
    Fs, Timestamp,
    block::BlockName,
    error::IoError,
    read::{Sealed, Superseded},
};

/// Files that are to go: first those past retention, then those that others replace, oldest first.
/// The latter keep their names for ten minutes, so that a copy of the folder that takes up to ten
/// minutes has the one or the other.
#[derive(Debug, Default)]
pub(super) struct SupersededFiles(VecDeque<SupersededFile>);

#[derive(Debug)]
struct SupersededFile {
    /// Since when, on the monotonic clock; `None`: it is past retention.
    since: Option<Duration>,
    file: Superseded,
}

impl SupersededFiles {
    /// Adds a file that was replaced at `since`.
    pub(super) fn add(&mut self, since: Duration, file: Superseded) {
        self.0.push_back(SupersededFile {
            since: Some(since),
            file,
        });
    }

    /// Adds files that are to go at once, oldest first.
    fn add_due(&mut self, files: Vec<Superseded>) {
        for file in files.into_iter().rev() {
            self.0.push_front(SupersededFile { since: None, file });
        }
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.0.iter().map(|entry| entry.file.bytes).sum()
    }

    /// Removes the files whose time has come.
    pub(super) fn remove_due(
        &mut self,
        fs: &dyn Fs,
        folder: &Path,
        now: Duration,
    ) -> Result<(), IoError> {
        let kept_for = |since: Duration| now.saturating_sub(since);
        while let Some(entry) = self.0.front()
            && entry
                .since
                .is_none_or(|since| kept_for(since) >= SUPERSEDED_KEPT_FOR)
        {
            fs.remove_file(&folder.join(entry.file.name.to_string()))?;
            self.0.pop_front();
        }
        Ok(())
    }

    /// Removes the files that `name` replaces: without it they would be in force again.
    fn remove_replaced_by(
        &mut self,
        fs: &dyn Fs,
        folder: &Path,
        name: BlockName,
    ) -> Result<(), IoError> {
        let is_replaced = |entry: &SupersededFile| name.supersedes(&entry.file.name);
        while let Some(at) = self.0.iter().position(is_replaced) {
            fs.remove_file(&folder.join(self.0[at].file.name.to_string()))?;
            self.0.remove(at);
        }
        Ok(())
    }
}

/// How many of the oldest blocks go, by time and by size.
///
/// `cutoff`: samples before it are not kept. `others_bytes` is what the store has on disk besides.
fn too_many(
    blocks: &[(Timestamp, u64)],
    cutoff: Option<Timestamp>,
    size_max: Option<u64>,
    others_bytes: u64,
) -> (usize, usize) {
    let Some((_, older)) = blocks.split_last() else {
        return (0, 0);
    };
    let by_time = older
        .iter()
        .take_while(|(newest, _)| cutoff.is_some_and(|cutoff| *newest < cutoff))
        .count();
    let all: u64 = blocks.iter().map(|(_, bytes)| bytes).sum();
    let mut left = all + others_bytes;
    let mut by_size = 0;
    for (_, bytes) in older {
        if size_max.is_none_or(|max| left <= max) {
            break;
        }
        left -= bytes;
        by_size += 1;
    }
    (by_time, by_size)
}

impl Db {
    /// Takes blocks that are past retention out of force, and notes that their files are to go.
    pub(super) fn retain(&self, maintenance: &mut Maintenance) -> Result<(), IoError> {
        let Retention {
            time_ms,
            size_bytes,
        } = *self.retention();
        let superseded = &mut maintenance.superseded;
        let newest = self.head.time_range().map(|(_, newest)| newest);
        let cutoff = newest.and_then(|newest| Some(newest.saturating_sub(time_ms?)));
        let catalog = self.head.catalog();
        let blocks = catalog.blocks.iter();
        let sizes: Vec<(Timestamp, u64)> = blocks
            .map(|block| (block.range().max, block.bytes()))
            .collect();
        let others_bytes = self.head.wal_size().0 + superseded.bytes();
        let (by_time, by_size) = too_many(&sizes, cutoff, size_bytes, others_bytes);
        let names = catalog.blocks.iter().map(|block| block.name());
        let gone: Vec<BlockName> = names.take(by_time.max(by_size)).collect();
        if gone.is_empty() {
            return Ok(());
        }
        let removed = self.head.replace_blocks(&gone, Vec::new());
        let counters = &self.counters;
        if by_time > 0 {
            counters.time_retentions.fetch_add(1, Ordering::Relaxed);
        }
        if by_size > by_time {
            counters.size_retentions.fetch_add(1, Ordering::Relaxed);
        }
        maintenance.deletions.blocks_changed();
        let (whole, damaged): (Vec<Sealed>, Vec<Sealed>) = removed.into_iter().partition(|block| {
            let checked = block.checked_anew();
            checked.and_then(|block| block.check_frames()).is_ok()
        });
        let found = damaged.len() as u64;
        counters.blocks_damaged.fetch_add(found, Ordering::Relaxed);
        let files = whole.iter().map(|block| Superseded {
            name: block.name(),
            bytes: block.bytes(),
        });
        superseded.add_due(files.collect());
        for name in gone {
            superseded.remove_replaced_by(&*self.fs, &self.layout.blocks, name)?;
        }
        Ok(())
    }

    /// Removes the files whose time has come.
    pub(super) fn remove_superseded(
        &self,
        maintenance: &mut Maintenance,
        now: Duration,
    ) -> Result<(), IoError> {
        let superseded = &mut maintenance.superseded;
        let outcome = superseded.remove_due(&*self.fs, &self.layout.blocks, now);
        let bytes = superseded.bytes();
        self.counters
            .superseded_bytes
            .store(bytes, Ordering::Relaxed);
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_blocks_go_and_the_newest_stays() {
        // Newest sample and bytes of each block.
        let blocks = [(100, 10), (200, 20), (300, 30)];
        for (cutoff, size_max, others, expected) in [
            (None, None, 1_000, (0, 0)),
            (Some(100), None, 0, (0, 0)),
            (Some(101), None, 0, (1, 0)),
            (Some(201), None, 0, (2, 0)),
            (Some(1_000), None, 0, (2, 0)),
            (None, Some(60), 0, (0, 0)),
            (None, Some(59), 0, (0, 1)),
            (None, Some(60), 1, (0, 1)),
            (None, Some(49), 0, (0, 2)),
            (None, Some(0), 0, (0, 2)),
            (Some(101), Some(49), 0, (1, 2)),
        ] {
            let found = too_many(&blocks, cutoff, size_max, others);
            assert_eq!(found, expected, "{cutoff:?} {size_max:?} {others}");
        }
        assert_eq!(too_many(&[], Some(5), Some(0), 9), (0, 0));
        // Whole blocks from the oldest on: one that is still needed keeps the later ones.
        assert_eq!(
            too_many(&[(500, 1), (100, 1), (600, 1)], Some(200), None, 0),
            (0, 0)
        );
    }
}
