//! The blocks of a folder when a store is opened: which are served, which are superfluous, and which
//! are damaged.
//!
//! The union rule: a good block all of whose commits are in another good block is superseded (of equal
//! ranges the higher generation stays); it is ignored, and removed when the time for it has come. A
//! damaged block stays where it is and is reported. What the good blocks hold up to the newest of them
//! is not read from the log again. A damaged block that is newer than every good one comes back from
//! the log if the log still has all of it.

use std::{path::Path, sync::Arc};

use crate::{
    Corruption, Fs, OpenError,
    block::{Block, BlockName},
    wal::Damage,
};

/// A damaged block gave out fewer ids than this that no good one has.
const DAMAGED_IDS: u32 = 1 << 20;

/// What a folder holds.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The blocks that are served, ascending.
    pub(crate) blocks: Vec<Arc<Block>>,
    /// Good files that others make superfluous.
    pub(crate) superseded: Vec<Superseded>,
    damaged: Vec<DamagedBlock>,
}

/// A file that waits for its removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Superseded {
    pub(crate) name: BlockName,
    pub(crate) bytes: u64,
}

#[derive(Debug)]
struct DamagedBlock {
    name: BlockName,
    bytes: u64,
    at: Corruption,
}

impl DamagedBlock {
    fn damage(&self) -> Damage {
        Damage {
            bytes: self.bytes.saturating_sub(self.at.offset),
            at: self.at.clone(),
            torn_tail: false,
        }
    }
}

/// What is damaged, and what became of it.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    /// Blocks whose samples are not served.
    pub(crate) lost: Vec<Damage>,
    /// Blocks whose samples are all served from elsewhere.
    pub(crate) restored: Vec<Damage>,
}

impl Found {
    /// Opens the blocks of a folder; of the newest, every frame's checksum is checked. What a seal or a compaction
    /// did not finish is removed.
    pub(crate) fn open(fs: &dyn Fs, folder: &Path) -> Result<Self, OpenError> {
        let mut good = Vec::new();
        let mut found = Self::default();
        for entry in fs.list(folder)? {
            let path = folder.join(&entry.name);
            if entry.name.ends_with(BlockName::UNFINISHED) {
                fs.remove_file(&path)?;
                continue;
            }
            let Ok(name) = entry.name.parse::<BlockName>() else {
                continue;
            };
            match Block::open(fs, &path, entry.size_bytes) {
                Ok(block) => good.push((name, Arc::new(block))),
                Err(OpenError::Corruption(at)) => found.damaged.push(DamagedBlock {
                    name,
                    bytes: entry.size_bytes,
                    at,
                }),
                Err(other) => return Err(other),
            }
        }
        // A block is durable before it has its name, but of the newest the log may still have what is damaged since.
        let newest = good
            .iter()
            .map(|(name, _)| *name)
            .max_by_key(|name| (name.last, name.generation));
        if let Some(position) = good.iter().position(|(name, _)| Some(*name) == newest)
            && let Err(at) = good[position].1.check_frames()
        {
            let (name, block) = good.remove(position);
            let bytes = block.bytes();
            found.damaged.push(DamagedBlock { name, bytes, at });
        }
        let names: Vec<BlockName> = good.iter().map(|(name, _)| *name).collect();
        for (name, block) in good {
            if names.iter().any(|other| other.supersedes(&name)) {
                let bytes = block.bytes();
                found.superseded.push(Superseded { name, bytes });
            } else {
                found.blocks.push(block);
            }
        }
        found.blocks.sort_by_key(|block| block.name());
        found.damaged.sort_by_key(|damaged| damaged.name);
        Ok(found)
    }

    /// Everything up to this commit is in a good block.
    fn good_until(&self) -> u64 {
        self.blocks
            .iter()
            .map(|block| block.name().last)
            .max()
            .unwrap_or(0)
    }

    /// The commits that are in damaged blocks alone with no good one after them, unless the log has
    /// them: from the first, not included, to the last.
    pub(crate) fn in_doubt(&self) -> Option<(u64, u64)> {
        let good = self.good_until();
        let last = self.damaged.iter().map(|damaged| damaged.name.last).max()?;
        (last > good).then_some((good, last))
    }

    /// Up to this commit the log is not read, and what became of the damaged blocks. With
    /// `log_has_rest`, the log is to give back what [`Found::in_doubt`] said.
    pub(crate) fn settle(&self, log_has_rest: bool) -> (u64, LeftOut) {
        let good = self.good_until();
        let mut sealed = good;
        let mut left_out = LeftOut::default();
        for damaged in &self.damaged {
            let is_in_log = log_has_rest && damaged.name.first > good;
            if is_in_log || self.is_covered(&damaged.name) {
                left_out.restored.push(damaged.damage());
            } else {
                left_out.lost.push(damaged.damage());
            }
            if !log_has_rest {
                sealed = sealed.max(damaged.name.last);
            }
        }
        (sealed, left_out)
    }

    /// A number that no block gave to a series; [`ID_END`](crate::block::ID_END) when there is none. Damaged blocks cannot be asked;
    /// what they may have given out is passed over.
    pub(crate) fn free_id(&self) -> u32 {
        let of_blocks = self.blocks.iter().map(|block| block.series_max() + 1).max();
        let damaged = u32::from(!self.damaged.is_empty());
        of_blocks.unwrap_or(0).saturating_add(damaged * DAMAGED_IDS)
    }

    /// Whether good blocks hold every commit of this one.
    fn is_covered(&self, name: &BlockName) -> bool {
        let mut next = name.first;
        for block in &self.blocks {
            let good = block.name();
            if good.first <= next && next <= good.last {
                next = good.last + 1;
            }
        }
        next > name.last
    }
}
