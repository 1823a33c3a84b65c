//! What was deleted and is still in files: a list, and the one small file that holds it.
//!
//! A tombstone counts for the blocks that hold nothing newer than its commit; samples that were
//! accepted later are not touched by it, whatever their time. The file is replaced as a whole, so it is
//! the list before or after a change. A damaged one is an error and never an empty list, for
//! without it deleted samples would come back. `docs/tombstones.md` has the layout byte by byte.
#![deny(clippy::indexing_slicing)]

use std::path::Path;

use crate::{
    Corruption, Fs, MatchOp, Matcher, OpenError, TimeRange,
    codec::{CodecError, Cursor, put_varint},
    error::IoError,
};

/// The name of the file, in the store's folder.
pub(crate) const FILE: &str = "tombstones";
/// … while it is written.
const UNFINISHED: &str = "tombstones.tmp";

/// The file begins so.
const MAGIC: [u8; 8] = *b"NXTOMB1\n";

/// So many deletions may wait to be applied for good; see [`crate::OperationError::TooManyTombstones`].
pub(crate) const TOMBSTONES_MAX: usize = 1_000;

/// Samples that do not count any more.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tombstone {
    /// Counts for the blocks whose last commit is not after this one.
    pub(crate) commit: u64,
    /// All must pass; an empty list passes every series.
    pub(crate) matchers: Vec<Matcher>,
    /// Inclusive on both ends.
    pub(crate) range: TimeRange,
}

/// The list in the file of the store at `folder`; empty when there is no file.
pub(crate) fn load(fs: &dyn Fs, folder: &Path) -> Result<Vec<Tombstone>, OpenError> {
    if !fs.list(folder)?.iter().any(|entry| entry.name == FILE) {
        return Ok(Vec::new());
    }
    let path = folder.join(FILE);
    decode(&fs.read(&path)?, &path).map_err(OpenError::Deletions)
}

/// Replaces the list, durably.
pub(crate) fn save(fs: &dyn Fs, folder: &Path, list: &[Tombstone]) -> Result<(), IoError> {
    let unfinished = folder.join(UNFINISHED);
    let entries = fs.list(folder)?;
    if entries.iter().any(|entry| entry.name == UNFINISHED) {
        fs.remove_file(&unfinished)?;
    }
    let mut file = fs.create(&unfinished)?;
    file.append(&encode(list))?;
    file.sync()?;
    drop(file);
    fs.rename(&unfinished, &folder.join(FILE))?;
    fs.sync_dir(folder)
}

fn encode(list: &[Tombstone]) -> Vec<u8> {
    let mut body = Vec::new();
    put_varint(list.len() as u64, &mut body);
    for tombstone in list {
        put_varint(tombstone.commit, &mut body);
        body.extend_from_slice(&tombstone.range.min.to_le_bytes());
        body.extend_from_slice(&tombstone.range.max.to_le_bytes());
        put_varint(tombstone.matchers.len() as u64, &mut body);
        for matcher in &tombstone.matchers {
            body.push(match matcher.op() {
                MatchOp::Equal => 0,
                MatchOp::NotEqual => 1,
                MatchOp::Regex => 2,
                MatchOp::NotRegex => 3,
            });
            for text in [matcher.name(), matcher.value()] {
                put_varint(text.len() as u64, &mut body);
                body.extend_from_slice(text.as_bytes());
            }
        }
    }
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
    bytes
}

fn decode(bytes: &[u8], path: &Path) -> Result<Vec<Tombstone>, Corruption> {
    let mut cursor = Cursor::new(bytes);
    let at = |error: CodecError, rest: usize| error.at(path, (bytes.len() - rest) as u64);
    let list = decode_list(&mut cursor);
    list.map_err(|error| at(error, cursor.rest().len()))
}

fn decode_list(cursor: &mut Cursor<'_>) -> Result<Vec<Tombstone>, CodecError> {
    if cursor.take(MAGIC.len(), "the magic of a tombstones file")? != MAGIC {
        return Err(CodecError {
            expected: "the magic of a tombstones file",
        });
    }
    let checksum = cursor.u32("the checksum of a tombstones file")?;
    if checksum != crc32c::crc32c(cursor.rest()) {
        return Err(CodecError {
            expected: "bytes with the checksum of a tombstones file",
        });
    }
    let count = cursor.varint("the number of tombstones")?;
    if count > TOMBSTONES_MAX as u64 {
        return Err(CodecError {
            expected: "at most 1000 tombstones",
        });
    }
    let mut list = Vec::new();
    for _ in 0..count {
        list.push(decode_tombstone(cursor)?);
    }
    if !cursor.rest().is_empty() {
        return Err(CodecError {
            expected: "the end of the tombstones",
        });
    }
    Ok(list)
}

fn decode_tombstone(cursor: &mut Cursor<'_>) -> Result<Tombstone, CodecError> {
    let commit = cursor.varint("a tombstone's commit")?;
    let min = i64::from_le_bytes(cursor.array("a tombstone's start")?);
    let max = i64::from_le_bytes(cursor.array("a tombstone's end")?);
    let count = cursor.varint("a tombstone's number of matchers")?;
    let mut matchers = Vec::new();
    for _ in 0..count {
        let op = match cursor.u8("a matcher's operator")? {
            0 => MatchOp::Equal,
            1 => MatchOp::NotEqual,
            2 => MatchOp::Regex,
            3 => MatchOp::NotRegex,
            _ => {
                return Err(CodecError {
                    expected: "a matcher's operator, 0 to 3",
                });
            }
        };
        let name = text(cursor)?;
        let value = text(cursor)?;
        let matcher = Matcher::new(name, op, value).map_err(|_| CodecError {
            expected: "a matcher's regular expression",
        })?;
        matchers.push(matcher);
    }
    Ok(Tombstone {
        commit,
        matchers,
        range: TimeRange::new(min, max),
    })
}

fn text<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, CodecError> {
    const EXPECTED: &str = "a matcher's text";
    let len = cursor.varint(EXPECTED)?;
    let len = usize::try_from(len).map_err(|_| CodecError { expected: EXPECTED })?;
    let bytes = cursor.take(len, EXPECTED)?;
    std::str::from_utf8(bytes).map_err(|_| CodecError { expected: EXPECTED })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryFs;

    /// Magic and checksum.
    const HEADER_BYTES: usize = 12;

    fn example() -> Vec<Tombstone> {
        vec![
            Tombstone {
                commit: 300,
                matchers: vec![
                    Matcher::equal("__name__", "up"),
                    Matcher::new("job", MatchOp::NotRegex, "a|b.*").unwrap(),
                ],
                range: TimeRange::new(-2, 1_000),
            },
            Tombstone {
                commit: 301,
                matchers: Vec::new(),
                range: TimeRange::ALL,
            },
        ]
    }

    /// The bytes of `docs/tombstones.md`.
    fn example_bytes() -> Vec<u8> {
        let mut body = vec![2];
        body.extend([0xac, 0x02]);
        body.extend([0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        body.extend([0xe8, 0x03, 0, 0, 0, 0, 0, 0]);
        body.push(2);
        body.extend(b"\x00\x08__name__\x02up");
        body.extend(b"\x03\x03job\x05a|b.*");
        body.extend([0xad, 0x02]);
        body.extend([0, 0, 0, 0, 0, 0, 0, 0x80]);
        body.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
        body.push(0);
        let mut bytes = b"NXTOMB1\n".to_vec();
        bytes.extend(0xa74d_e500_u32.to_le_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn the_file_has_the_documented_bytes() {
        assert_eq!(encode(&example()), example_bytes());
        assert_eq!(decode(&example_bytes(), Path::new("t")), Ok(example()));
    }

    #[test]
    fn a_list_replaces_the_one_before_and_what_was_left_half_written() {
        let fs = MemoryFs::default();
        let folder = Path::new("/store");
        fs.create_dir_all(folder).unwrap();
        assert_eq!(load(&fs, folder).unwrap(), []);
        save(&fs, folder, &example()).unwrap();
        fs.create(&folder.join(UNFINISHED)).unwrap();
        assert_eq!(load(&fs, folder).unwrap(), example());
        save(&fs, folder, &[]).unwrap();
        assert_eq!(load(&fs, folder).unwrap(), []);
    }

    #[test]
    fn damage_anywhere_is_an_error_with_its_place() {
        let whole = example_bytes();
        let path = Path::new("/store/tombstones");
        for at in 0..whole.len() {
            let cut = decode(&whole[..at], path).unwrap_err();
            assert_eq!(cut.file, path);
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] ^= flip;
                assert!(decode(&damaged, path).is_err(), "byte {at} ^ {flip:#x}");
                // Also when whoever damaged it made the checksum good again.
                let (_, body) = damaged.split_at(HEADER_BYTES);
                let checksum = crc32c::crc32c(body).to_le_bytes();
                damaged.splice(8..HEADER_BYTES, checksum);
                let _any = decode(&damaged, path);
            }
        }
        let damaged = decode(b"NXTOMB1\n\0\0\0\0\x01", path).unwrap_err();
        assert_eq!(
            damaged.to_string(),
            "/store/tombstones at offset 12: expected bytes with the checksum of a tombstones file, found other bytes"
        );
    }
}
