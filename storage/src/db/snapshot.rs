//! Snapshots: a second name for every file that counts, in a folder that opens as a store.
//!
//! Blocks never change once they have their name, and tombstones are replaced, so a link is a copy. The
//! folder is put together under a temporary name and renamed when everything in it is durable: under its
//! final name a snapshot is whole. One that was not finished is removed by the next.

use std::{
    fmt::Write as _,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    path::{Path, PathBuf},
};

use super::{Db, tombstones};
use crate::{
    Date, Fs, OperationError, Timestamp, error::IoError, exemplars, layout::Layout, metadata,
};

/// Ends the name of a snapshot that is being made.
const UNFINISHED: &str = ".tmp";

impl Db {
    /// Makes a snapshot of everything accepted so far in `snapshots/<name>` below the data path, and
    /// answers with its name, `20060102T150405Z-` with the time of the clock in UTC and 16 hexadecimal
    /// digits. What is in memory is sealed first; with `skip_head` it is left out. It takes room only
    /// for what the store itself drops later. To use it, open a store with that folder as its path.
    ///
    /// # Errors
    /// [`OperationError`]; no snapshot is left then. The file system must have hard links.
    pub fn snapshot(&self, skip_head: bool) -> Result<String, OperationError> {
        let mut maintenance = self.maintenance();
        if !skip_head {
            self.seal_all(&mut maintenance)?;
        }
        let blocks = self.head.catalog().blocks.clone();
        let fs = &*self.fs;
        let folder = self.layout.root.join("snapshots");
        fs.create_dir_all(&folder)?;
        remove_unfinished(fs, &folder)?;
        let name = name(self.clock.now(), RandomState::new().build_hasher().finish());
        let unfinished = folder.join(format!("{name}{UNFINISHED}"));
        let copy = Layout::new(&unfinished);
        let made = (|| {
            fs.create_dir_all(&copy.blocks)?;
            for block in &blocks {
                let file = copy.blocks.join(block.name().to_string());
                fs.hard_link(block.path(), &file)?;
            }
            let entries = fs.list(&self.layout.ours)?;
            for file in ["format", tombstones::FILE, exemplars::FILE, metadata::FILE] {
                if entries.iter().any(|entry| entry.name == file) {
                    fs.hard_link(&self.layout.ours.join(file), &copy.ours.join(file))?;
                }
            }
            fs.sync_dir(&copy.blocks)?;
            fs.sync_dir(&copy.ours)?;
            fs.sync_dir(&unfinished)?;
            fs.rename(&unfinished, &folder.join(&name))?;
            fs.sync_dir(&folder)?;
            fs.sync_dir(&self.layout.root)
        })();
        if let Err(error) = made {
            // What went wrong matters more than what is left, which the next snapshot removes.
            let _left: Result<(), IoError> = remove_unfinished(fs, &folder);
            return Err(error.into());
        }
        Ok(name)
    }
}

fn remove_unfinished(fs: &dyn Fs, folder: &Path) -> Result<(), IoError> {
    for entry in fs.list(folder)? {
        if entry.is_dir && entry.name.ends_with(UNFINISHED) {
            remove_tree(fs, &folder.join(&entry.name))?;
        }
    }
    Ok(())
}

fn remove_tree(fs: &dyn Fs, folder: &Path) -> Result<(), IoError> {
    for entry in fs.list(folder)? {
        let path: PathBuf = folder.join(&entry.name);
        if entry.is_dir {
            remove_tree(fs, &path)?;
        } else {
            fs.remove_file(&path)?;
        }
    }
    fs.remove_dir(folder)
}

/// Such as `20060102T150405Z-00112233aabbccdd`.
fn name(now: Timestamp, random: u64) -> String {
    let seconds = now.div_euclid(1000);
    let Date { year, month, day } = Date::from_days(seconds.div_euclid(86_400));
    let of_day = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let mut name = format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z");
    write!(name, "-{random:016x}").expect("writing to a string cannot fail");
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times and their dates: `date -u -d @<seconds>`.
    #[test]
    fn a_snapshot_is_named_as_prometheus_names_it() {
        for (now, expected) in [
            (0, "19700101T000000Z-0000000000000000"),
            (1_795_261_188_999, "20261121T113948Z-0000000000000000"),
            (951_782_400_000, "20000229T000000Z-0000000000000000"),
            (4_107_542_399_000, "21000228T235959Z-0000000000000000"),
            (4_107_542_400_000, "21000301T000000Z-0000000000000000"),
            (-1, "19691231T235959Z-0000000000000000"),
        ] {
            assert_eq!(name(now, 0), expected);
        }
        assert!(name(0, 0xfedc_0000_0000_00ba).ends_with("-fedc0000000000ba"));
    }
}
