//! Blocks merged, compared with a model.

use std::{collections::BTreeMap, path::Path};

use proptest::prelude::*;

use super::*;
use crate::{
    MemoryFs,
    block::tests::{Model, dump, index, memory, name, open},
    test_support::proptest_cases,
};

const FOLDER: &str = "/blocks";

/// What a block holds: pages of a series at a clock.
type Page<'a> = (u32, &'a [Timestamp], &'a [u32], &'a [f64]);

/// The block of one commit.
fn block(fs: &MemoryFs, commit: u64, level: u8, pages: &[Page<'_>]) -> Block {
    let mut writer =
        BlockWriter::create(fs, Path::new(FOLDER), name(commit, commit), level).unwrap();
    for (series, times, positions, values) in pages {
        let times = writer.times(times).unwrap();
        let positions = Positions::At(positions);
        writer.page(*series, times, positions, values).unwrap();
    }
    let ids: std::collections::BTreeSet<u32> = pages.iter().map(|page| page.0).collect();
    open(fs, &writer.finish(index(ids)).unwrap())
}

fn merged(fs: &MemoryFs, blocks: &[Block]) -> Block {
    let inputs = blocks.iter().map(|block| MergeInput {
        block,
        deleted: Vec::new(),
    });
    let inputs: Vec<MergeInput<'_>> = inputs.collect();
    let (first, last) = (
        inputs[0].block.name(),
        inputs[inputs.len() - 1].block.name(),
    );
    let name = name(first.first, last.last);
    let written = merge(fs, Path::new(FOLDER), name, 1, &inputs, &mut || true).unwrap();
    let block = open(fs, &written);
    block.check().unwrap();
    block
}

/// Older blocks first: what they hold stays.
fn union(blocks: &[Block]) -> Model {
    let mut model = Model::new();
    for block in blocks {
        for (series, samples) in dump(block).unwrap() {
            let into = model.entry(series).or_default();
            for (time, value) in samples {
                into.entry(time).or_insert(value);
            }
        }
    }
    model
}

fn pages_of(block: &Block, ordinal: u32) -> Vec<PageRef> {
    block.pages(ordinal).unwrap().map(Result::unwrap).collect()
}

#[test]
fn series_of_a_target_go_on_sharing_their_clock() {
    let fs = memory();
    let mut blocks = Vec::new();
    // Two targets with clocks of their own, 40 rows a block; series 5 is new in the second block.
    for commit in 0..30 {
        let clock = |offset: i64| -> Vec<Timestamp> {
            let rows = commit as i64 * 40..commit as i64 * 40 + 40;
            rows.map(|row| row * 15_000 + offset).collect()
        };
        let (one, two) = (clock(0), clock(777));
        let all: Vec<u32> = (0..40).collect();
        let some: Vec<u32> = (7..33).collect();
        let value = |row: &u32, series: u32| f64::from(row * row * series) + commit as f64;
        let values = |rows: &[u32], series: u32| -> Vec<f64> {
            rows.iter().map(|row| value(row, series)).collect()
        };
        let (v1, v2, v3, v4) = (
            values(&all, 1),
            values(&some, 2),
            values(&all, 3),
            vec![4.5; 40],
        );
        let v5 = values(&all, 5);
        let mut pages: Vec<Page<'_>> = vec![
            (1, &one, &all, &v1),
            (2, &one, &some, &v2),
            (3, &two, &all, &v3),
            (4, &two, &all, &v4),
        ];
        if commit > 0 {
            pages.push((5, &one, &all, &v5));
        }
        blocks.push(block(&fs, commit + 1, 0, &pages));
    }
    let output = merged(&fs, &blocks);
    assert_eq!(dump(&output).unwrap(), union(&blocks));
    assert_eq!((output.level(), output.name()), (1, name(1, 30)));
    // 1200 rows: pieces of 1024 and 176 for each target.
    assert_eq!(output.times_len(), 4);
    let lens = |ordinal| -> Vec<(u32, u32, u32)> {
        let pages = pages_of(&output, ordinal);
        let lens = pages.iter().map(|page| (page.first, page.span, page.len));
        lens.collect()
    };
    assert_eq!(lens(0), [(0, 1024, 1024), (0, 176, 176)]);
    // 25 blocks and a part of the 26th: of 24 rows from 1000 on those from the 7th.
    assert_eq!(lens(1), [(7, 1017, 25 * 26 + 17), (0, 169, 4 * 26 + 9)]);
    assert_eq!(lens(3), [(0, 1024, 1024), (0, 176, 176)]);
    assert_eq!(pages_of(&output, 3)[0].constant, Some(4.5));
    assert_eq!(lens(4), [(40, 984, 984), (0, 176, 176)]);
}

#[test]
fn a_page_alone_in_its_piece_is_taken_over() {
    let fs = memory();
    let times = |start: i64| -> Vec<Timestamp> { (start..start + 1024).collect() };
    let (early, late) = (times(0), times(5000));
    let rows: Vec<u32> = (0..1024).filter(|row| row % 7 != 0).collect();
    let values: Vec<f64> = rows.iter().map(|row| f64::from(*row).sqrt()).collect();
    let blocks = [
        block(&fs, 1, 1, &[(1, &early, &rows, &values)]),
        block(&fs, 2, 1, &[(1, &late, &rows, &values)]),
    ];
    let output = merged(&fs, &blocks);
    assert_eq!(dump(&output).unwrap(), union(&blocks));
    let pages = pages_of(&output, 0);
    let stats = blocks[0].stats(&pages_of(&blocks[0], 0)[0]).unwrap();
    assert_eq!(pages.len(), 2);
    for page in &pages {
        assert_eq!((page.first, page.span, page.len), (1, 1023, 877));
        assert_eq!(output.stats(page).unwrap(), stats);
    }
    let bytes = |block: &Block, page: &PageRef| {
        let mut buffer = FrameBuffer::default();
        block.frame(page, &mut buffer).unwrap().own().to_vec()
    };
    let before = bytes(&blocks[0], &pages_of(&blocks[0], 0)[0]);
    assert_eq!(bytes(&output, &pages[1]), before);
    // Equal pages are stored once.
    assert_eq!(pages[0].place, pages[1].place);
}

#[test]
fn late_samples_find_their_place_and_the_older_block_wins() {
    let fs = memory();
    let blocks = [
        block(
            &fs,
            1,
            0,
            &[(1, &[10, 20, 40], &[0, 1, 2], &[1.0, 2.0, 4.0])],
        ),
        block(
            &fs,
            2,
            0,
            &[(1, &[20, 30, 50], &[0, 1, 2], &[9.0, 3.0, 5.0])],
        ),
        block(&fs, 3, 0, &[(1, &[5, 40], &[0, 1], &[0.5, 9.0])]),
    ];
    let output = merged(&fs, &blocks);
    let expected = [
        (5, 0.5),
        (10, 1.0),
        (20, 2.0),
        (30, 3.0),
        (40, 4.0),
        (50, 5.0_f64),
    ];
    let expected: BTreeMap<Timestamp, u64> = expected
        .into_iter()
        .map(|(time, value)| (time, value.to_bits()))
        .collect();
    assert_eq!(dump(&output).unwrap(), Model::from([(1, expected)]));
    assert_eq!(output.samples(), 6);
}

#[test]
fn labels_with_two_ids_are_one_series_of_the_newer() {
    let fs = memory();
    let labels = Labels::from_pairs([("a", "b")]);
    let mut blocks = Vec::new();
    for (commit, id) in [(1, 7), (2, 70)] {
        let name = name(commit, commit);
        let mut writer = BlockWriter::create(&fs, Path::new(FOLDER), name, 0).unwrap();
        let times = writer.times(&[commit as i64]).unwrap();
        let values = [commit as f64];
        writer.page(id, times, Positions::From(0), &values).unwrap();
        let mut index = IndexBuilder::new(true);
        index.add(id, &labels);
        blocks.push(open(&fs, &writer.finish(index).unwrap()));
    }
    let samples = BTreeMap::from([(1, 1.0_f64.to_bits()), (2, 2.0_f64.to_bits())]);
    let output = merged(&fs, &blocks);
    assert_eq!(dump(&output).unwrap(), Model::from([(70, samples)]));
}

#[test]
fn samples_that_the_tail_does_not_count_are_damage() {
    let fs = memory();
    let input = block(&fs, 1, 0, &[(1, &[10, 20], &[0, 1], &[1.0, 2.0])]);
    let path = input.path().to_owned();
    let mut file = fs.read(&path).unwrap();
    let len = file.len();
    // The number of samples, and the checksum of the section table and what of the tail is before it.
    file[len - 48] = 3;
    let sections = u32::from_le_bytes(file[len - 16..len - 12].try_into().unwrap()) as usize;
    let crc = crc32c::crc32c(&file[len - 64 - sections * 24..len - 12]);
    file[len - 12..len - 8].copy_from_slice(&crc.to_le_bytes());
    fs.remove_file(&path).unwrap();
    fs.create(&path).unwrap().append(&file).unwrap();
    let input = Block::open(&fs, &path, len as u64).unwrap();
    let inputs = [MergeInput {
        block: &input,
        deleted: Vec::new(),
    }];
    let name = BlockName {
        generation: 1,
        ..name(1, 1)
    };
    let outcome = merge(&fs, Path::new(FOLDER), name, 1, &inputs, &mut || true);
    let Err(MergeError::Corruption(at)) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(at.file, path);
    assert_eq!(
        at.expected,
        "a directory with as many samples as the footer says"
    );
    assert_eq!(fs.list(Path::new(FOLDER)).unwrap().len(), 1);
}

#[test]
fn a_merge_asks_often_and_one_that_is_stopped_leaves_nothing() {
    let fs = memory();
    // One family of 50 buckets and one series more, over 20 full pages; nothing is constant.
    let rows = 20 * 1024;
    let series = |bucket: u32| match bucket {
        50 => Labels::from_pairs([("__name__", "other".to_owned())]),
        _ => Labels::from_pairs([
            ("__name__", "bucket".to_owned()),
            ("le", bucket.to_string()),
        ]),
    };
    let mut ids: Vec<u32> = (0..=50).collect();
    ids.sort_by_key(|id| series(*id));
    let mut writer = BlockWriter::create(&fs, Path::new(FOLDER), name(1, 1), 0).unwrap();
    let mut labels = IndexBuilder::new(true);
    for id in ids {
        for start in (0..rows).step_by(1024) {
            let times: Vec<Timestamp> = (start..start + 1024).map(|row| row * 15_000).collect();
            let times = writer.times(&times).unwrap();
            let values: Vec<f64> = (start..start + 1024)
                .map(|row| (row * i64::from(id + 1)) as f64)
                .collect();
            writer.page(id, times, Positions::From(0), &values).unwrap();
        }
        labels.add(id, &series(id));
    }
    let input = open(&fs, &writer.finish(labels).unwrap());
    let input = [MergeInput {
        block: &input,
        deleted: Vec::new(),
    }];
    let name = BlockName {
        generation: 1,
        ..name(1, 1)
    };
    let mut asked = 0;
    let mut run = |stop_at: u32| {
        asked = 0;
        let mut go_on = || {
            asked += 1;
            asked != stop_at
        };
        let outcome = merge(&fs, Path::new(FOLDER), name, 1, &input, &mut go_on);
        (asked, outcome)
    };
    let (asked, written) = run(u32::MAX);
    // Each of the 1020 pages is read, and all but 20 are written by their family.
    assert!((200..=300).contains(&asked), "{asked} times");
    fs.remove_file(&written.unwrap().path).unwrap();
    for stop_at in 1..=asked {
        let (_, outcome) = run(stop_at);
        assert!(matches!(outcome, Err(MergeError::Stopped)), "{outcome:?}");
        assert_eq!(fs.list(Path::new(FOLDER)).unwrap().len(), 1);
    }
}

/// What a series does in a block.
#[derive(Debug, Clone)]
struct Behaviour {
    target: u8,
    kept: Vec<bool>,
    values: Vec<f64>,
    /// Samples at times of their own, perhaps late.
    own: Vec<(Timestamp, f64)>,
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-20_i32..20).prop_map(f64::from),
        1 => any::<u64>().prop_map(f64::from_bits),
    ]
}

fn behaviour() -> impl Strategy<Value = Option<Behaviour>> {
    let kept = prop_oneof![
        3 => Just(vec![true; 300]),
        1 => prop::collection::vec(prop::bool::weighted(0.8), 300),
        1 => Just(vec![false; 300]),
    ];
    let values = prop_oneof![
        value().prop_map(|value| vec![value; 300]),
        prop::collection::vec(value(), 300),
    ];
    let own = prop_oneof![
        4 => Just(Vec::new()),
        1 => prop::collection::vec((0_i64..200_000, value()), 0..4),
    ];
    let some = (0_u8..3, kept, values, own).prop_map(|(target, kept, values, own)| Behaviour {
        target,
        kept,
        values,
        own,
    });
    prop::option::weighted(0.8, some)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(proptest_cases(24)))]

    #[test]
    fn merged_blocks_are_their_union_less_what_is_deleted(
        blocks in prop::collection::vec(
            (prop::collection::vec(behaviour(), 6), 1_usize..300),
            1..6,
        ),
        deleted in prop::collection::vec((0_u32..6, 0_i64..100_000, 0_i64..60_000), 0..3),
        split in 0_usize..6,
    ) {
        let fs = memory();
        let mut files = Vec::new();
        for (number, (series, rows)) in blocks.iter().enumerate() {
            let name = name(number as u64 + 1, number as u64 + 1);
            let mut writer = BlockWriter::create(&fs, Path::new(FOLDER), name, 0).unwrap();
            let mut ids = Vec::new();
            for (id, behaviour) in series.iter().enumerate() {
                let Some(behaviour) = behaviour else { continue };
                let id = id as u32;
                ids.push(id);
                let start = number as i64 * 30_000 + i64::from(behaviour.target);
                let clock: Vec<Timestamp> = (0..*rows as i64).map(|row| start + row * 100).collect();
                let kept = (0_u32..).zip(&behaviour.kept).take(*rows).filter(|(_, kept)| **kept);
                let positions: Vec<u32> = kept.map(|(position, _)| position).collect();
                let mut seen: Vec<Timestamp> = Vec::new();
                if !positions.is_empty() {
                    let values = positions.iter().map(|at| behaviour.values[*at as usize]);
                    let values: Vec<f64> = values.collect();
                    let times = writer.times(&clock).unwrap();
                    writer.page(id, times, Positions::At(&positions), &values).unwrap();
                    seen.extend(positions.iter().map(|at| clock[*at as usize]));
                }
                let mut own = behaviour.own.clone();
                own.sort_by_key(|(time, _)| *time);
                own.dedup_by_key(|(time, _)| *time);
                own.retain(|(time, _)| !seen.contains(time));
                if !own.is_empty() {
                    let (times, values): (Vec<_>, Vec<_>) = own.into_iter().unzip();
                    let times = writer.times(&times).unwrap();
                    writer.page(id, times, Positions::From(0), &values).unwrap();
                }
            }
            files.push(open(&fs, &writer.finish(index(ids)).unwrap()));
        }
        // Deleted series by their ordinal in each block.
        let of = |block: &Block| -> Vec<(RoaringBitmap, TimeRange)> {
            let deleted = deleted.iter().map(|(id, from, length)| {
                let ordinals = 0..block.index().len();
                let series = ordinals.filter(|ordinal| block.index().id(*ordinal) == *id);
                (series.collect(), TimeRange::new(*from, from + length))
            });
            deleted.collect()
        };
        let mut expected = union(&files);
        for (id, from, length) in &deleted {
            if let Some(samples) = expected.get_mut(id) {
                samples.retain(|time, _| !(*from..=from + length).contains(time));
            }
        }
        expected.retain(|_, samples| !samples.is_empty());
        // In one go, or the first ones before the others.
        let run = |files: &[Block], with_deleted: bool, generation: u32, level: u8| {
            let all: Vec<_> = files.iter().map(of).collect();
            let inputs = files.iter().zip(&all).map(|(block, deleted)| {
                let deleted = deleted.iter().filter(|_| with_deleted);
                let deleted = deleted.map(|(series, range)| (series, *range)).collect();
                MergeInput { block, deleted }
            });
            let inputs: Vec<MergeInput<'_>> = inputs.collect();
            let name = BlockName {
                first: files[0].name().first,
                last: files[files.len() - 1].name().last,
                generation,
            };
            let folder = Path::new(FOLDER);
            open(&fs, &merge(&fs, folder, name, level, &inputs, &mut || true).unwrap())
        };
        let split = split.min(files.len());
        if split > 0 {
            let first = run(&files[..split], false, 7, 1);
            files.splice(..split, [first]);
        }
        let output = run(&files, true, 9, 2);
        output.check().unwrap();
        let samples: usize = expected.values().map(BTreeMap::len).sum();
        prop_assert_eq!(output.samples(), samples as u64);
        prop_assert_eq!(dump(&output).unwrap(), expected);
    }
}

/// A block of 1000 series of 10 targets, of which the first `constants` of every 10 never change.
fn synthetic(fs: &MemoryFs, commit: u64, rows: i64, constants: u32) -> Block {
    let name = name(commit, commit);
    let mut writer = BlockWriter::create(fs, Path::new(FOLDER), name, 0).unwrap();
    let rows = (commit as i64 - 1) * rows..commit as i64 * rows;
    for target in 0..10 {
        let times = rows
            .clone()
            .map(|row| row * 15_000 + target * 37 + row * row % 5);
        let times: Vec<Timestamp> = times.collect();
        let times = writer.times(&times).unwrap();
        for series in 0..100 {
            // Of a target every tenth series in label order.
            let id = series * 10 + target as u32;
            let value = |row: i64| match series % 10 {
                kind if kind < constants => f64::from(series),
                _ => (row * i64::from(id) + row * row % 11) as f64,
            };
            let values: Vec<f64> = rows.clone().map(value).collect();
            writer.page(id, times, Positions::From(0), &values).unwrap();
        }
    }
    open(fs, &writer.finish(index(0..1000)).unwrap())
}

#[test]
fn directories_are_small() {
    let bytes = |block: &Block| block.section_bytes(crate::block::SectionKind::Directory);
    let fs = memory();
    // A constant series: pages, flags, time column, value; and its share of the group.
    let constant = synthetic(&fs, 1, 40, 10);
    assert!(bytes(&constant) <= 6 * 1000, "{}", bytes(&constant));
    assert_eq!(
        constant.section_bytes(crate::block::SectionKind::Frames),
        20
    );
    // Others need a place and statistics.
    let varying = synthetic(&fs, 2, 40, 0);
    assert!(bytes(&varying) <= 25 * 1000, "{}", bytes(&varying));
    // Merged, pages lie one behind the other, and a series has one again.
    let blocks: Vec<Block> = (3..15)
        .map(|commit| synthetic(&fs, commit, 40, 6))
        .collect();
    let output = merged(&fs, &blocks);
    assert_eq!(output.samples(), 12 * 40 * 1000);
    assert!(bytes(&output) <= 14 * 1000, "{}", bytes(&output));
    let pages = (0..1000).map(|ordinal| pages_of(&output, ordinal).len());
    assert_eq!(pages.max(), Some(1));
    assert_eq!(output.times_len(), 10);
}
