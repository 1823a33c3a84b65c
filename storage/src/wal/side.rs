//! Files beside the log: records like the log's, of what is neither in blocks nor in proportion to time.
//!
//! Such a file is replaced as a whole. Its head says from which log segment on the log may have more, so
//! that older segments are not needed for it. A file that is damaged, or cut anywhere, says nothing about
//! the log, which is then read as far as it goes back.
#![deny(clippy::indexing_slicing)]

use std::path::Path;

use super::{
    Damage,
    frame::{Place, SIDE_FILE, put_frames, read_segment_header, segment_header},
    reader::read_segment,
    record::{Buffers, Record, decode, encode_end},
};
use crate::{Corruption, Fs, error::IoError};

/// What a side file said.
#[derive(Debug, Default)]
pub(crate) struct SideFile {
    /// Nothing in log segments before this one is missing from the file.
    pub(crate) first_segment: u64,
    /// What of it was not read.
    pub(crate) damage: Vec<Damage>,
}

/// Replaces the folder's file `name`, durably.
pub(crate) fn save_side_file(
    fs: &dyn Fs,
    folder: &Path,
    name: &str,
    first_segment: u64,
    records: Vec<u8>,
) -> Result<(), IoError> {
    let unfinished = format!("{name}.tmp");
    let path = folder.join(&unfinished);
    if fs
        .list(folder)?
        .iter()
        .any(|entry| entry.name == unfinished)
    {
        fs.remove_file(&path)?;
    }
    let mut file = fs.create(&path)?;
    file.append(&side_file(first_segment, records))?;
    file.sync()?;
    drop(file);
    fs.rename(&path, &folder.join(name))?;
    fs.sync_dir(folder)
}

/// Hands the records of the folder's file `name` to `apply`, which answers whether one belongs there.
pub(crate) fn load_side_file(
    fs: &dyn Fs,
    folder: &Path,
    name: &str,
    apply: impl FnMut(&Record<'_>) -> bool,
) -> Result<SideFile, IoError> {
    if !fs.list(folder)?.iter().any(|entry| entry.name == name) {
        return Ok(SideFile::default());
    }
    let path = folder.join(name);
    Ok(read_side_file(&fs.read(&path)?, &path, apply))
}

pub(super) fn side_file(first_segment: u64, mut records: Vec<u8>) -> Vec<u8> {
    encode_end(&mut records);
    let mut file = segment_header(first_segment).to_vec();
    let place = Place {
        segment: SIDE_FILE,
        offset: file.len() as u64,
    };
    put_frames(&mut file, place, &records);
    file
}

pub(super) fn read_side_file(
    bytes: &[u8],
    path: &Path,
    mut apply: impl FnMut(&Record<'_>) -> bool,
) -> SideFile {
    let mut buffers = Buffers::default();
    let mut is_ended = false;
    let read = read_segment(bytes, SIDE_FILE, |record| {
        let record = decode(record, &mut buffers).map_err(|error| error.expected)?;
        if is_ended {
            return Err("the end of the file");
        }
        is_ended = record == Record::End;
        if is_ended || apply(&record) {
            Ok(())
        } else {
            Err("a record of this file")
        }
    });
    let mut damage = read.report(path, None);
    if damage.is_empty() && !is_ended {
        damage.push(Damage {
            at: Corruption {
                file: path.to_owned(),
                offset: bytes.len() as u64,
                expected: "the end of the file's records".to_owned(),
                found: "the end of the file".to_owned(),
            },
            bytes: 0,
            torn_tail: false,
        });
    }
    let first_segment = match read_segment_header(bytes) {
        Ok(first_segment) if damage.is_empty() => first_segment,
        _ => 0,
    };
    SideFile {
        first_segment,
        damage,
    }
}
