//! Frames written, read, torn and damaged.

use std::{fmt::Write, path::Path};

use super::{reader::TornTail, *};
use crate::{Labels, OpenError, RealFs, STALE_MARKER_BITS, TimeRange, vfs::Fs};

fn labels(series: u32) -> Labels {
    Labels::from_pairs([("__name__", "up"), ("instance", &format!("host-{series}"))])
}

fn stale() -> f64 {
    f64::from_bits(STALE_MARKER_BITS)
}

/// Everything in a segment as text: definitions, then pages with their samples.
fn dump(segment: &Segment) -> Result<String, OpenError> {
    let mut out = String::new();
    for frame in segment.frames() {
        let TimeRange { min, max } = frame.range();
        writeln!(out, "frame {min}..{max}").unwrap();
        segment.definitions(frame, |series, labels| {
            writeln!(out, " {series} is {labels}").unwrap();
        })?;
        for page in segment.pages(frame) {
            assert!(
                segment
                    .pages_of(frame, page.series)
                    .any(|found| found == page)
            );
            let mut times = Vec::new();
            segment.times(frame, page.column, &mut times)?;
            let times = &times[page.first as usize..][..page.len as usize];
            let (values, offset) = segment.page(frame, &page)?;
            let mut decoded = vec![0.0; values.len()];
            values
                .decode_range(0, &mut decoded)
                .map_err(|error| error.at(segment.path(), offset))?;
            write!(out, " {} stale={}:", page.series, page.may_be_stale).unwrap();
            for (time, value) in times.iter().zip(decoded) {
                let value = if value.to_bits() == STALE_MARKER_BITS {
                    "stale".to_owned()
                } else {
                    value.to_string()
                };
                write!(out, " {value}@{time}").unwrap();
            }
            out += "\n";
        }
    }
    Ok(out)
}

fn first_frame() -> FrameBuilder {
    let mut frame = FrameBuilder::default();
    let shared = frame.add_times(&[1000, 2000, 3000]);
    let own = frame.add_times(&[1500]);
    assert_eq!(frame.add_times(&[1000, 2000, 3000]), shared);
    frame.add_page(9, shared, 0, &[1.0, 1.0, 1.0]);
    frame.add_page(3, shared, 1, &[0.5, stale()]);
    frame.add_page(4, shared, 0, &[1.0, 1.0, 1.0]);
    frame.add_page(3, own, 0, &[7.0]);
    frame
}

fn second_frame() -> FrameBuilder {
    let mut frame = FrameBuilder::default();
    let column = frame.add_times(&[4000, 5000]);
    frame.add_page(3, column, 0, &[8.0, 9.25]);
    frame.add_page(5, column, 0, &[-1.0, 2.0]);
    frame
}

const FIRST: &str = "\
frame 1000..3000
 3 is {__name__=\"up\", instance=\"host-3\"}
 4 is {__name__=\"up\", instance=\"host-4\"}
 9 is {__name__=\"up\", instance=\"host-9\"}
 3 stale=false: 7@1500
 3 stale=true: 0.5@2000 stale@3000
 4 stale=false: 1@1000 1@2000 1@3000
 9 stale=false: 1@1000 1@2000 1@3000
";

const SECOND: &str = "\
frame 4000..5000
 5 is {__name__=\"up\", instance=\"host-5\"}
 3 stale=false: 8@4000 9.25@5000
 5 stale=false: -1@4000 2@5000
";

/// A file of both frames; the bytes and where the second begins.
fn sample_file() -> (Vec<u8>, usize) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seg-00000001");
    let mut writer = SegmentWriter::create(&RealFs, &path).unwrap();
    let middle = writer.append_frame(first_frame(), labels).unwrap();
    writer.append_frame(second_frame(), labels).unwrap();
    writer.sync().unwrap();
    let bytes = RealFs.read(&path).unwrap();
    assert_eq!(bytes.len() as u64, writer.len());
    (bytes, middle as usize)
}

fn open(folder: &Path, bytes: &[u8]) -> Result<(Segment, Option<TornTail>), OpenError> {
    let path = folder.join("damaged");
    match RealFs.remove_file(&path) {
        Ok(()) | Err(_) => {}
    }
    RealFs.create(&path).unwrap().append(bytes).unwrap();
    Segment::open(&RealFs, &path, bytes.len() as u64)
}

#[test]
fn frames_come_back_and_define_each_series_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seg-00000001");
    let mut writer = SegmentWriter::create(&RealFs, &path).unwrap();
    let len = writer.append_frame(first_frame(), labels).unwrap();
    let (segment, tail) = Segment::open(&RealFs, &path, len).unwrap();
    assert_eq!((dump(&segment).unwrap(), tail), (FIRST.to_owned(), None));
    assert_eq!(segment.pages_of(&segment.frames()[0], 5).count(), 0);
    assert_eq!(segment.pages_of(&segment.frames()[0], 3).count(), 2);

    let len = writer.append_frame(second_frame(), labels).unwrap();
    let (longer, tail) = Segment::open(&RealFs, &path, len).unwrap();
    assert_eq!(tail, None);
    assert_eq!(dump(&longer).unwrap(), format!("{FIRST}{SECOND}"));
    assert_eq!(longer.len(), len);
    assert_eq!(dump(&segment).unwrap(), FIRST);
}

#[test]
fn equal_pages_are_stored_once() {
    let size = |series: u32| {
        let mut frame = FrameBuilder::default();
        let column = frame.add_times(&[1, 2, 3]);
        for number in 0..series {
            frame.add_page(number, column, 0, &[0.1_f64.sqrt(), 1.0, 2.0]);
        }
        frame.finish(|_| true, labels).bytes.len()
    };
    assert_eq!(size(5) - size(4), layout::ENTRY_BYTES);
}

/// The layout of `docs/format.md`, by hand.
#[test]
fn golden_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seg-00000001");
    let mut writer = SegmentWriter::create(&RealFs, &path).unwrap();
    let mut frame = FrameBuilder::default();
    let column = frame.add_times(&[5, 6]);
    frame.add_page(7, column, 0, &[3.0, stale()]);
    let labels = |_| Labels::from_pairs([("a", "bc")]);
    writer.append_frame(frame, labels).unwrap();
    let mut meta = vec![7, 0, 0, 0, 1, 1, b'a', 2, b'b', b'c'];
    let times = [0x10, 2, 10, 1, 2, 0];
    meta.extend(times);
    meta.extend([0, 0, 0, 0, 6, 0, 0, 0, 2, 0, 0, 0]);
    meta.extend([7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0x80, 9, 0]);
    let pages = [0x14, 0xc0, 1, 0, 1 << 2, 6, 1, 0, 0];
    let mut expected = b"NXHEADSG\x01\0\0\0\0\0\0\0".to_vec();
    let start = expected.len();
    expected.extend(b"NXFR");
    for field in [10_u32, 6, 1, 1, 9] {
        expected.extend(field.to_le_bytes());
    }
    expected.extend(5_u64.to_le_bytes());
    expected.extend(6_u64.to_le_bytes());
    expected.extend(crc32c::crc32c(&meta).to_le_bytes());
    expected.extend(crc32c::crc32c(&pages).to_le_bytes());
    expected.extend([0; 4]);
    let crc = crc32c::crc32c(&expected[start..]);
    expected.extend(crc.to_le_bytes());
    expected.extend(meta);
    expected.extend(pages);
    assert_eq!(RealFs.read(&path).unwrap(), expected);
}

#[test]
fn every_cut_is_a_torn_tail_and_keeps_the_frames_before_it() {
    let (bytes, middle) = sample_file();
    let folder = tempfile::tempdir().unwrap();
    for len in 0..bytes.len() {
        let (segment, tail) = open(folder.path(), &bytes[..len]).unwrap();
        let (kept, expected) = match len {
            0..16 => (0, ""),
            _ if len < middle => (16, ""),
            _ => (middle, FIRST),
        };
        assert_eq!(dump(&segment).unwrap(), expected, "cut at {len}");
        let torn = tail.map(|tail| (tail.offset, tail.bytes));
        let is_whole = len == kept && len >= 16;
        assert_eq!(
            torn,
            (!is_whole).then_some((kept as u64, (len - kept) as u64)),
            "cut at {len}"
        );
    }
}

#[test]
fn zeros_after_the_last_frame_are_a_torn_tail() {
    let (mut bytes, _) = sample_file();
    let len = bytes.len();
    bytes.resize(len + 5000, 0);
    let folder = tempfile::tempdir().unwrap();
    let (segment, tail) = open(folder.path(), &bytes).unwrap();
    assert_eq!(dump(&segment).unwrap(), format!("{FIRST}{SECOND}"));
    assert_eq!(tail.map(|tail| tail.offset), Some(len as u64));
    assert_eq!(segment.len(), len as u64);
}

/// Damage anywhere is an error, or a torn tail when it is in the last frame; never other data.
#[test]
fn damage_is_found_wherever_it_is() {
    let (bytes, middle) = sample_file();
    let folder = tempfile::tempdir().unwrap();
    for index in 0..bytes.len() {
        for damaged in [bytes[index] ^ 0x01, bytes[index] ^ 0x80, 0, 0xff] {
            if damaged == bytes[index] {
                continue;
            }
            let mut bytes = bytes.clone();
            bytes[index] = damaged;
            match open(folder.path(), &bytes) {
                Err(OpenError::Corruption(damage)) => {
                    assert!(index < middle, "the last frame is a tail, not {damage}");
                }
                Err(other) => panic!("{other:?}"),
                Ok((segment, Some(tail))) => {
                    assert!(
                        index >= middle,
                        "damage at {index} would be cut off: {tail:?}"
                    );
                    assert_eq!(dump(&segment).unwrap(), FIRST);
                }
                // Pages of an earlier frame are checked on first touch.
                Ok((segment, None)) => {
                    assert!(index < middle);
                    assert!(matches!(dump(&segment), Err(OpenError::Corruption(_))));
                }
            }
        }
    }
}

#[test]
fn a_failed_append_leaves_the_file_as_it_was() {
    /// Writes half of the second append, then fails.
    #[derive(Debug)]
    struct Full;
    #[derive(Debug)]
    struct FullFile(Box<dyn crate::vfs::AppendFile>, u32);
    impl crate::vfs::AppendFile for FullFile {
        fn append(&mut self, bytes: &[u8]) -> Result<(), crate::IoError> {
            self.1 += 1;
            if self.1 != 3 {
                return self.0.append(bytes);
            }
            self.0.append(&bytes[..bytes.len() / 2])?;
            Err(crate::IoError {
                action: "write",
                path: "full".into(),
                source: std::io::ErrorKind::StorageFull.into(),
            })
        }
        fn sync(&mut self) -> Result<(), crate::IoError> {
            self.0.sync()
        }
        fn truncate(&mut self, len: u64) -> Result<(), crate::IoError> {
            self.0.truncate(len)
        }
    }
    impl Fs for Full {
        fn create(&self, path: &Path) -> Result<Box<dyn crate::vfs::AppendFile>, crate::IoError> {
            Ok(Box::new(FullFile(RealFs.create(path)?, 0)))
        }
        fn create_dir_all(&self, path: &Path) -> Result<(), crate::IoError> {
            RealFs.create_dir_all(path)
        }
        fn open_append(
            &self,
            path: &Path,
            len: u64,
        ) -> Result<Box<dyn crate::vfs::AppendFile>, crate::IoError> {
            RealFs.open_append(path, len)
        }
        fn read(&self, path: &Path) -> Result<Vec<u8>, crate::IoError> {
            RealFs.read(path)
        }
        fn map(&self, path: &Path, len: u64) -> Result<crate::Mapped, crate::IoError> {
            RealFs.map(path, len)
        }
        fn list(&self, path: &Path) -> Result<Vec<crate::DirEntry>, crate::IoError> {
            RealFs.list(path)
        }
        fn remove_file(&self, path: &Path) -> Result<(), crate::IoError> {
            RealFs.remove_file(path)
        }
        fn remove_dir(&self, path: &Path) -> Result<(), crate::IoError> {
            RealFs.remove_dir(path)
        }
        fn hard_link(&self, from: &Path, to: &Path) -> Result<(), crate::IoError> {
            RealFs.hard_link(from, to)
        }
        fn rename(&self, from: &Path, to: &Path) -> Result<(), crate::IoError> {
            RealFs.rename(from, to)
        }
        fn sync_dir(&self, path: &Path) -> Result<(), crate::IoError> {
            RealFs.sync_dir(path)
        }
        fn try_lock(
            &self,
            path: &Path,
        ) -> Result<Option<Box<dyn std::fmt::Debug + Send + Sync>>, crate::IoError> {
            RealFs.try_lock(path)
        }
    }

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("seg-00000001");
    let mut writer = SegmentWriter::create(&Full, &path).unwrap();
    writer.append_frame(first_frame(), labels).unwrap();
    assert!(writer.append_frame(second_frame(), labels).is_err());
    let len = writer.append_frame(second_frame(), labels).unwrap();
    let (segment, tail) = Segment::open(&RealFs, &path, len).unwrap();
    assert_eq!(tail, None);
    assert_eq!(dump(&segment).unwrap(), format!("{FIRST}{SECOND}"));
}

#[test]
fn a_frame_is_small_in_memory() {
    // Timestamps of the range included; nothing is kept per page.
    assert!(size_of::<Frame>() <= 72, "{}", size_of::<Frame>());
}
