//! Blocks written, read, damaged.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use proptest::prelude::*;

use super::directory::PageSummary;
use super::layout::Footer;
use super::*;
use crate::{
    Counts, Fs, Histogram, HistogramColumns, HistogramCounts, HistogramLayout, Labels, MemoryFs,
    OpenError, ResetHint, Timestamp, stale_marker, test_support::proptest_cases,
};

const FOLDER: &str = "/blocks";

pub(super) fn name(first: u64, last: u64) -> BlockName {
    BlockName {
        first,
        last,
        generation: 0,
    }
}

pub(super) fn labels(series: u32) -> Labels {
    Labels::from_pairs([
        ("__name__", "up"),
        ("instance", &format!("host-{series:04}")),
    ])
}

pub(super) fn memory() -> MemoryFs {
    let fs = MemoryFs::default();
    fs.create_dir_all(Path::new(FOLDER)).unwrap();
    fs
}

/// The samples of each series, by their bits.
pub(super) type Model = BTreeMap<u32, BTreeMap<Timestamp, u64>>;

/// An index of these ids, of which [`labels`] makes the labels.
pub(super) fn index(ids: impl IntoIterator<Item = u32>) -> IndexBuilder {
    let mut sorted: Vec<u32> = ids.into_iter().collect();
    sorted.sort_by_key(|id| labels(*id));
    let mut index = IndexBuilder::new(true);
    for id in sorted {
        index.add(id, &labels(id));
    }
    index
}

/// Everything in a block, by id; each page is as its directory says.
pub(super) fn dump(block: &Block) -> Result<Model, crate::Corruption> {
    let mut model = Model::new();
    let mut buffer = FrameBuffer::default();
    for ordinal in 0..block.index().len() {
        let id = block.index().id(ordinal);
        let samples = model.entry(id).or_default();
        for page in block.pages(ordinal)? {
            let page = page?;
            let (mut times, mut positions, mut values) = (Vec::new(), Vec::new(), Vec::new());
            block.times(page.times, &mut buffer, &mut times)?;
            block.positions(&page, &mut buffer, &mut positions)?;
            block.decode(&page, &mut buffer, &mut values)?;
            assert_eq!(positions.len(), values.len());
            assert_eq!(page.has_gaps(), page.len != page.span);
            let told = format!("{:?}", block.summary(&page)?);
            assert_eq!(format!("{:?}", PageSummary::of(&values)), told);
            let constant = page.constant.map(f64::to_bits);
            assert!(constant.is_none() || constant == Some(values[0].to_bits()));
            assert!(block.range().contains(times[0]));
            for (position, value) in positions.iter().zip(values) {
                let time = times[*position as usize];
                assert_eq!(samples.insert(time, value.to_bits()), None);
            }
        }
    }
    Ok(model)
}

pub(super) fn open(fs: &dyn Fs, written: &WrittenBlock) -> Block {
    Block::open(fs, &written.path, written.bytes).unwrap()
}

/// A block with something of everything: shared and own clocks, gaps, constants, equal pages, a
/// series without samples.
fn write_sample(fs: &dyn Fs, level: u8) -> (WrittenBlock, Model) {
    let mut writer = BlockWriter::create(fs, Path::new(FOLDER), name(1, 9), level).unwrap();
    let mut model = Model::new();
    let shared: Vec<Timestamp> = (0..40).map(|row| 1000 + row * 15_000 + row % 3).collect();
    let later: Vec<Timestamp> = (40..50).map(|row| 1000 + row * 15_000).collect();
    let own = [500, 1500, 99_000];
    let ramp: Vec<f64> = (0..40).map(|row| f64::from(row * row) * 0.5).collect();
    let gaps: Vec<u32> = (3..37).filter(|row| row % 5 != 0).collect();
    let stale = [1.0, 1.5, stale_marker()];
    let halves: Vec<f64> = gaps.iter().map(|row| f64::from(*row) / 2.0).collect();
    let pages: [(u32, &[Timestamp], Positions<'_>, &[f64]); 10] = [
        (7, &shared, Positions::From(0), &ramp),
        (3, &shared, Positions::From(0), &ramp),
        (3, &later, Positions::From(0), &[0.1; 10]),
        (9, &later, Positions::From(2), &[f64::NAN; 3]),
        (9, &shared, Positions::At(&gaps), &halves),
        (12, &shared, Positions::At(&gaps), &[-0.0; 27]),
        (1, &own, Positions::From(0), &stale),
        (2, &own, Positions::At(&[0, 2]), &[f64::INFINITY, 1e300]),
        (4, &shared, Positions::From(38), &[stale_marker(); 2]),
        (4, &own, Positions::At(&[1]), &[123_456.75]),
    ];
    for (series, times, positions, values) in pages {
        let column = writer.times(times).unwrap();
        writer.page(series, column, positions, values).unwrap();
        let all: Vec<u32> = match positions {
            Positions::From(first) => (first..).take(values.len()).collect(),
            Positions::At(positions) => positions.to_vec(),
        };
        let samples = model.entry(series).or_default();
        for (position, value) in all.into_iter().zip(values) {
            samples.insert(times[position as usize], value.to_bits());
        }
    }
    model.insert(5, BTreeMap::new());
    let written = writer.finish(index(model.keys().copied())).unwrap();
    (written, model)
}

#[test]
fn what_is_written_is_read() {
    for level in [0, 1] {
        let fs = memory();
        let (written, model) = write_sample(&fs, level);
        assert_eq!(
            written.path,
            Path::new("/blocks/00000000000000000001-00000000000000000009-0.nx")
        );
        let files = fs.list(Path::new(FOLDER)).unwrap();
        assert_eq!(files.len(), 1, "{files:?}");
        assert_eq!(files[0].size_bytes, written.bytes);
        let block = open(&fs, &written);
        assert_eq!(dump(&block).unwrap(), model);
        block.check().unwrap();
        let samples: usize = model.values().map(BTreeMap::len).sum();
        assert_eq!(block.samples(), samples as u64);
        assert_eq!((block.name(), block.level()), (name(1, 9), level));
        assert_eq!((block.series_max(), block.bytes()), (12, written.bytes));
        let range = block.range();
        assert_eq!((range.min, range.max), (500, 1000 + 49 * 15_000));
        let ordinal = block.index().find(&labels(3)).unwrap().unwrap();
        let pages: Vec<PageRef> = block.pages(ordinal).unwrap().map(Result::unwrap).collect();
        assert_eq!(pages.len(), 2);
        assert_eq!(pages[1].constant, Some(0.1));
        assert_eq!(
            block.times_range(pages[1].times).unwrap(),
            (crate::TimeRange::new(601_000, 736_000), 10)
        );
        assert!(block.pages(block.index().len()).is_err());
    }
}

#[test]
fn a_block_without_series_is_a_block() {
    let fs = memory();
    let writer = BlockWriter::create(&fs, Path::new(FOLDER), name(3, 3), 0).unwrap();
    let written = writer.finish(index([])).unwrap();
    let block = open(&fs, &written);
    block.check().unwrap();
    assert_eq!(dump(&block).unwrap(), Model::new());
    assert!(block.range().min > block.range().max);
}

#[test]
fn an_unfinished_block_leaves_nothing_and_an_old_one_is_replaced() {
    let fs = memory();
    let path = Path::new(FOLDER).join(format!("{}.tmp", name(1, 1)));
    fs.create(&path)
        .unwrap()
        .append(b"left by a crash")
        .unwrap();
    let writer = BlockWriter::create(&fs, Path::new(FOLDER), name(1, 1), 0).unwrap();
    assert_eq!(fs.list(Path::new(FOLDER)).unwrap().len(), 1);
    drop(writer);
    assert_eq!(fs.list(Path::new(FOLDER)).unwrap(), []);
}

/// Damage anywhere is an error that names the file, or changes nothing.
#[test]
fn damage_is_found_wherever_it_is() {
    for level in [0, 1] {
        let fs = memory();
        let (written, model) = write_sample(&fs, level);
        check_damage(&fs, &written, &model, 1);
    }
}

/// Flips, cuts and zeros each byte of a block, and of the cuts one of so many.
pub(super) fn check_damage(fs: &MemoryFs, written: &WrittenBlock, model: &Model, cuts: usize) {
    let bytes = fs.read(&written.path).unwrap();
    let check = |damaged: &[u8], what: &str| {
        let fs = memory();
        fs.create(&written.path).unwrap().append(damaged).unwrap();
        let found = Block::open(&fs, &written.path, damaged.len() as u64)
            .and_then(|block| Ok((block.check(), dump(&block)?)));
        match found {
            Ok((Ok(()), read)) => assert_eq!(&read, model, "{what}"),
            Ok((Err(damage), read)) => {
                assert_eq!(&read, model, "{what}");
                assert_eq!(damage.file, written.path);
            }
            Err(OpenError::Corruption(damage)) => {
                assert_eq!(damage.file, written.path);
                assert!(damage.offset <= bytes.len() as u64);
            }
            Err(other) => panic!("{what}: {other}"),
        }
        // Every byte is under a checksum: nothing goes unnoticed.
        let block = Block::open(&fs, &written.path, damaged.len() as u64);
        let noticed = block.and_then(|block| Ok(block.check()?)).is_err();
        assert!(noticed, "{what}");
    };
    for index in 0..bytes.len() {
        let mut damaged = bytes.clone();
        for byte in [bytes[index] ^ 0x01, bytes[index] ^ 0x80, 0, 0xff] {
            if byte != bytes[index] {
                damaged[index] = byte;
                check(&damaged, &format!("{byte} at {index}"));
            }
        }
        if index % cuts == 0 {
            check(&bytes[..index], &format!("cut to {index}"));
            check(&bytes[index + 1..], &format!("begun at {}", index + 1));
        }
    }
    let mut longer = bytes.clone();
    longer.push(0);
    check(&longer, "a zero more");
}

#[test]
fn a_block_has_the_name_in_its_header() {
    let fs = memory();
    let (written, _) = write_sample(&fs, 0);
    let other: PathBuf = Path::new(FOLDER).join(name(1, 10).to_string());
    fs.rename(&written.path, &other).unwrap();
    let error = Block::open(&fs, &other, written.bytes).unwrap_err();
    assert!(matches!(error, OpenError::Corruption(_)), "{error}");
}

#[test]
fn features_and_flags_that_are_not_known_are_refused() {
    let fs = memory();
    let (written, _) = write_sample(&fs, 0);
    let mut bytes = fs.read(&written.path).unwrap();
    // What a later version may write: a feature that a reader must know.
    bytes[13] = 1;
    let sum = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&sum.to_le_bytes());
    fs.remove_file(&written.path).unwrap();
    fs.create(&written.path).unwrap().append(&bytes).unwrap();
    let error = Block::open(&fs, &written.path, written.bytes).unwrap_err();
    let OpenError::Corruption(refused) = error else {
        panic!("{error}");
    };
    let expected = "a block without features that only a later version reads";
    assert_eq!(refused.expected, expected);
    // The directory of a series with a constant page that has one flag more.
    for flag in [0x40, 0x80] {
        let section = [0, 0, 0, 0, 0, 0, 0, 0, 1, flag | 1, 0, 0x20];
        let mut pages = directory::Pages::new(&section, &[], 1);
        pages.seek(0).unwrap();
        let error = pages.next().unwrap().unwrap_err();
        assert_eq!(error.expected, "a page with known flags");
    }
}

/// A page to write: its clock, where it begins, whether values are kept, the values.
#[derive(Debug, Clone)]
struct Written {
    series: u32,
    clock: usize,
    first: u32,
    kept: Vec<bool>,
    values: Vec<f64>,
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-1000_i32..1000).prop_map(f64::from),
        2 => (0_u32..100_000).prop_map(|cents| f64::from(cents) / 100.0),
        1 => any::<u64>().prop_map(f64::from_bits),
        1 => prop::sample::select(vec![0.0, -0.0, f64::INFINITY, stale_marker(), f64::NAN]),
    ]
}

fn written() -> impl Strategy<Value = Written> {
    let values = prop_oneof![
        (value(), 1_usize..90).prop_map(|(value, len)| vec![value; len]),
        prop::collection::vec(value(), 1..90),
    ];
    let kept = prop_oneof![
        Just(vec![true; 90]),
        prop::collection::vec(prop::bool::weighted(0.7), 90),
    ];
    (0_u32..25, 0_usize..4, 0_u32..10, kept, values).prop_map(
        |(series, clock, first, kept, values)| Written {
            series,
            clock,
            first,
            kept,
            values,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(proptest_cases(24)))]

    #[test]
    fn blocks_read_as_the_model_says(
        pages in prop::collection::vec(written(), 0..120),
        level in 0_u8..2,
    ) {
        let fs = memory();
        let mut writer = BlockWriter::create(&fs, Path::new(FOLDER), name(1, 2), level).unwrap();
        let mut model = Model::new();
        for (number, page) in pages.iter().enumerate() {
            // Some clocks are the same for several pages; none gives a series a time twice.
            let start = number as i64 * 10_000_000;
            let step = [15_000, 15_000, 1000, 77][page.clock];
            let times: Vec<Timestamp> = (0..100).map(|row| start + row * step).collect();
            let column = writer.times(&times).unwrap();
            let positions = (page.first..).zip(&page.kept).zip(&page.values);
            let kept = positions.filter(|((_, kept), _)| **kept);
            let (positions, values): (Vec<u32>, Vec<f64>) =
                kept.map(|((position, _), value)| (position, *value)).unzip();
            if values.is_empty() {
                continue;
            }
            let is_whole = positions.len() == page.values.len();
            let at = if is_whole && number % 2 == 0 {
                Positions::From(page.first)
            } else {
                Positions::At(&positions)
            };
            writer.page(page.series, column, at, &values).unwrap();
            let samples = model.entry(page.series).or_default();
            for (position, value) in positions.iter().zip(&values) {
                samples.insert(times[*position as usize], value.to_bits());
            }
        }
        let written = writer.finish(index(model.keys().copied())).unwrap();
        let block = open(&fs, &written);
        block.check().unwrap();
        prop_assert_eq!(dump(&block).unwrap(), model);
    }
}

/// The layout of `docs/format.md`, by hand; index sections and items as their own tests pin them.
#[test]
fn golden_bytes() {
    let fs = memory();
    let mut writer = BlockWriter::create(&fs, Path::new(FOLDER), name(5, 6), 0).unwrap();
    let first = writer.times(&[5, 6]).unwrap();
    let values = [3.0, stale_marker()];
    writer.page(7, first, Positions::From(0), &values).unwrap();
    let second = writer.times(&[10, 20, 30]).unwrap();
    let at = Positions::At(&[0, 2]);
    writer.page(7, second, at, &[1.5; 2]).unwrap();
    let written = writer.finish(index([7])).unwrap();

    let mut expected = b"NXBLOCK\0\x01\0\0\0\0\0\0\0".to_vec();
    expected.extend(5_u64.to_le_bytes());
    expected.extend(6_u64.to_le_bytes());
    expected.extend([0; 28]);
    let crc = crc32c::crc32c(&expected);
    expected.extend(crc.to_le_bytes());
    assert_eq!(expected.len(), 64);
    // Frame 1: the page. Frame 0, which was begun first: the columns and the pattern.
    let mut page = Vec::new();
    crate::codec::encode_values(&values, &mut page);
    let (mut one, mut two) = (Vec::new(), Vec::new());
    crate::codec::encode_times(&[5, 6], &mut one);
    crate::codec::encode_times(&[10, 20, 30], &mut two);
    let pattern = [1, 0b101];
    let times = [&one[..], &two, &pattern].concat();
    expected.extend(&page);
    expected.extend(&times);
    let frames_end = expected.len();

    let words = |words: &[usize]| -> Vec<u8> {
        let words = words.iter().flat_map(|word| (*word as u32).to_le_bytes());
        words.collect()
    };
    let frame = |offset: usize, bytes: &[u8]| {
        let crc = crc32c::crc32c(bytes) as usize;
        words(&[offset, 0, bytes.len(), bytes.len(), crc])
    };
    let frames = [frame(64 + page.len(), &times), frame(64, &page)].concat();
    let columns = [
        words(&[0, 0, one.len(), 2, 5, 0, 6, 0]),
        words(&[0, one.len(), two.len(), 3, 10, 0, 30, 0]),
    ];
    let patterns = words(&[0, one.len() + two.len(), 2]);
    // One group at 0; two pages. The first: may be stale, column 0, frame 1 at 0, its statistics.
    let mut directory = vec![0, 0, 0, 0, 0, 0, 0, 0, 2, 0x02, 0, 2, 0, page.len() as u8];
    crate::codec::PageStats::of(&values).encode(2, &mut directory);
    // The second: constant with gaps, a column further, pattern 0, two values: 15 / 10, which is
    // the varint of 30 << 5 | 1.
    directory.extend([0x01 | 0x08, 2, 0, 1, 0xc1, 7]);
    let mut sections = vec![
        (1, frames),
        (2, columns.concat()),
        (3, patterns),
        (4, directory),
    ];
    let of_index = index([7]).finish();
    sections.extend(
        of_index
            .into_iter()
            .map(|(kind, bytes)| (kind as u32, bytes)),
    );
    let mut table = Vec::new();
    for (kind, bytes) in &sections {
        let crc = crc32c::crc32c(bytes) as usize;
        table.extend(words(&[
            *kind as usize,
            crc,
            expected.len(),
            0,
            bytes.len(),
            0,
        ]));
        expected.extend(bytes);
    }
    let tail = [5, 0, 30, 0, 4, 0, frames_end, 0, 0, 0, 1, 7, sections.len()];
    table.extend(words(&tail));
    expected.extend(&table);
    expected.extend(crc32c::crc32c(&table).to_le_bytes());
    expected.extend(b"NXBLKEND");
    assert_eq!(fs.read(&written.path).unwrap(), expected);
}

/// The directory of pages of histograms, by hand: they have the flag 0x20, a place, and no statistics.
#[test]
fn golden_bytes_of_histograms_in_the_directory() {
    let histogram = Histogram {
        reset_hint: ResetHint::Gauge,
        layout: HistogramLayout::default(),
        sum: 1.5,
        counts: HistogramCounts::Integer(Counts::default()),
    };
    let fs = memory();
    let mut writer = BlockWriter::create(&fs, Path::new(FOLDER), name(5, 6), 0).unwrap();
    let mut bytes = Vec::new();
    for (times, first, histograms) in [
        (&[5, 6][..], 0, &[&histogram, &histogram][..]),
        (&[10, 20, 30], 1, &[&histogram, &Histogram::stale()]),
    ] {
        let mut columns = HistogramColumns::default();
        for histogram in histograms {
            columns.push(histogram);
        }
        let mut page = Vec::new();
        crate::codec::encode_histograms(&columns, &mut page);
        bytes.push(page.len() as u8);
        let times = writer.times(times).unwrap();
        writer
            .histograms(7, times, Positions::From(first), &columns)
            .unwrap();
    }
    let written = writer.finish(index([7])).unwrap();
    let mut directory = vec![0; 8];
    // Two pages. The first: histograms, column 0, frame 1 at 0.
    directory.extend([2, 0x20, 0, 2, 0, bytes[0]]);
    // The second: directly behind, may be stale, a column further, two from the position 1.
    directory.extend([0x20 | 0x10 | 0x02 | 0x04, 2, 1, 1, bytes[1]]);
    let section = open(&fs, &written).section_bytes(SectionKind::Directory);
    assert_eq!(section, directory.len());
    let file = fs.read(&written.path).unwrap();
    let mut windows = file.windows(section);
    assert!(windows.any(|window| window == directory), "{file:?}");
}

/// Gives a file the checksums of what is in it, as far as its lengths make sense.
fn correct_checksums(file: &mut [u8]) {
    fn number<const N: usize>(file: &[u8], at: usize) -> usize {
        let bytes = file.get(at..at + N).unwrap_or_default();
        let bytes = bytes.iter().rev();
        bytes.fold(0, |number, byte| number << 8 | usize::from(*byte))
    }
    fn put(file: &mut [u8], at: usize, range: std::ops::Range<usize>) {
        let Some(bytes) = file.get(range) else { return };
        let crc = crc32c::crc32c(bytes).to_le_bytes();
        if let Some(to) = file.get_mut(at..at + 4) {
            to.copy_from_slice(&crc);
        }
    }
    put(file, 60, 0..60);
    let len = file.len();
    let count = number::<4>(file, len - 16).min(20);
    let table = (len - 64).saturating_sub(count * 24);
    for section in 0..count {
        let at = table + section * 24;
        let (start, bytes) = (number::<8>(file, at + 8), number::<8>(file, at + 16));
        if number::<4>(file, at) == 1 {
            for entry in (start..start.saturating_add(bytes).min(len)).step_by(20) {
                let (offset, stored) = (number::<8>(file, entry), number::<4>(file, entry + 8));
                put(file, entry + 16, offset..offset.saturating_add(stored));
            }
        }
        put(file, at + 4, start..start.saturating_add(bytes));
    }
    put(file, len - 12, table..len - 12);
}

#[test]
fn a_block_with_one_id_for_two_series_is_refused() {
    // The ids, and which of them is made equal to the one before it.
    for (ids, repeated) in [
        (vec![3, 9, 4, 5], 2),
        // Far apart.
        (vec![1, 2, 4_000_000_000], 1),
    ] {
        let fs = memory();
        let name = name(1, 1);
        let mut writer = BlockWriter::create(&fs, Path::new(FOLDER), name, 0).unwrap();
        let times = writer.times(&[7]).unwrap();
        for id in &ids {
            writer.page(*id, times, Positions::From(0), &[1.0]).unwrap();
        }
        let mut series = IndexBuilder::new(true);
        for (id, number) in ids.iter().zip(0..) {
            series.add(*id, &labels(number));
        }
        let written = writer.finish(series).unwrap();
        let mut file = fs.read(&written.path).unwrap();
        assert!(Block::open(&fs, &written.path, written.bytes).is_ok());
        let section = Footer::read(&file).unwrap().section(SectionKind::Ids);
        let at = section.start + repeated * 4;
        file.copy_within(at - 4..at, at);
        correct_checksums(&mut file);
        fs.remove_file(&written.path).unwrap();
        fs.create(&written.path).unwrap().append(&file).unwrap();
        let Err(OpenError::Corruption(damage)) = Block::open(&fs, &written.path, written.bytes)
        else {
            panic!("it was opened");
        };
        assert_eq!((&damage.file, damage.offset), (&written.path, at as u64));
        assert_eq!(damage.expected, "an id of its own for each series");
    }
}

#[test]
fn a_block_without_a_free_id_above_its_own_is_refused() {
    // The ids of two series, the largest as the footer says, and whether a number is free above it.
    for (ids, told, is_good) in [
        ([7, 9], 9, true),
        ([7, 9], 8, false),
        ([7, 9], 10, false),
        ([7, u32::MAX - 1], u32::MAX - 1, true),
        ([7, u32::MAX], u32::MAX, false),
    ] {
        let fs = memory();
        let mut writer = BlockWriter::create(&fs, Path::new(FOLDER), name(1, 1), 0).unwrap();
        let times = writer.times(&[7]).unwrap();
        let mut series = IndexBuilder::new(true);
        for (id, number) in ids.iter().zip(0..) {
            writer.page(*id, times, Positions::From(0), &[1.0]).unwrap();
            series.add(*id, &labels(number));
        }
        let written = writer.finish(series).unwrap();
        let mut file = fs.read(&written.path).unwrap();
        let at = file.len() - 64 + 44;
        assert_eq!(file[at..at + 4], ids[1].to_le_bytes());
        file[at..at + 4].copy_from_slice(&u32::to_le_bytes(told));
        correct_checksums(&mut file);
        let section = Footer::read(&file).unwrap().section(SectionKind::Ids);
        fs.remove_file(&written.path).unwrap();
        fs.create(&written.path).unwrap().append(&file).unwrap();
        match Block::open(&fs, &written.path, written.bytes) {
            Ok(block) => assert_eq!((is_good, block.series_max()), (true, told)),
            Err(OpenError::Corruption(damage)) => {
                assert!(!is_good, "{damage}");
                let place = (&damage.file, damage.offset);
                assert_eq!(place, (&written.path, section.start as u64));
            }
            Err(other) => panic!("{other}"),
        }
    }
}

/// Reads everything, whatever it says.
fn read_all(block: &Block) -> Result<(), crate::Corruption> {
    let mut buffer = FrameBuffer::default();
    let (mut times, mut positions, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for ordinal in 0..block.index().len() {
        for page in block.pages(ordinal)? {
            let page = page?;
            block.times(page.times, &mut buffer, &mut times)?;
            block.positions(&page, &mut buffer, &mut positions)?;
            block.decode(&page, &mut buffer, &mut values)?;
        }
    }
    Ok(())
}

/// What a fuzz target of blocks would do: hostile bytes whose checksums are right are an error or
/// some samples, never a panic, and what is merged from them is a good block.
fn replay(bytes: &[u8]) {
    let fs = memory();
    let path = Path::new(FOLDER).join(name(1, 9).to_string());
    fs.create(&path).unwrap().append(bytes).unwrap();
    let Ok(block) = Block::open(&fs, &path, bytes.len() as u64) else {
        return;
    };
    let read = read_all(&block);
    let checked = block.check();
    assert!(checked.is_err() || read.is_ok(), "{read:?}");
    let input = MergeInput {
        block: &block,
        deleted: Vec::new(),
    };
    let name = BlockName {
        generation: 1,
        ..name(1, 9)
    };
    if let Ok(written) = merge(&fs, Path::new(FOLDER), name, 1, &[input], &mut || true) {
        open(&fs, &written).check().unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(proptest_cases(64)))]

    #[test]
    fn hostile_bytes_with_right_checksums_do_no_harm(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..4), 1..6),
        level in 0_u8..2,
    ) {
        let fs = memory();
        let (written, _) = write_sample(&fs, level);
        let mut bytes = fs.read(&written.path).unwrap();
        for (at, byte, kind) in damage {
            let at = at.index(bytes.len() - 8);
            match kind {
                0 => bytes[at] = byte,
                1 => bytes[at] ^= 1 << (byte % 8),
                2 => bytes[at] = [0, 1, 0x7f, 0xff][usize::from(byte % 4)],
                _ => bytes[at..at + 4].fill(byte),
            }
        }
        correct_checksums(&mut bytes);
        replay(&bytes);
    }
}

#[test]
fn damage_behind_right_checksums_is_found_byte_by_byte() {
    for level in [0, 1] {
        let fs = memory();
        let (written, _) = write_sample(&fs, level);
        let bytes = fs.read(&written.path).unwrap();
        let mut same = bytes.clone();
        correct_checksums(&mut same);
        assert!(same == bytes, "the checksums were right before");
        for at in 0..bytes.len() {
            for byte in [bytes[at] ^ 1, bytes[at] ^ 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[at] = byte;
                correct_checksums(&mut damaged);
                replay(&damaged);
            }
        }
    }
}
