//! Blocks with the buckets of histograms merged, compared with a model.

use std::{collections::BTreeMap, path::Path};

use proptest::prelude::*;
use roaring::RoaringBitmap;

use super::*;
use crate::{
    Fs, MemoryFs, TimeRange, Timestamp,
    block::{
        Block, BlockName, FrameBuffer, IndexBuilder, MergeInput, PageRef, WrittenBlock, merge,
        tests::{Model, check_damage, dump, memory, name, open},
    },
    stale_marker,
    test_support::proptest_cases,
};

const FOLDER: &str = "/blocks";

/// Bounds, some of them equal as numbers or none.
const BOUNDS: [&str; 10] = [
    "+Inf", "0.5", "1", "1.0", "10", "100", "2.5", "NaN", "many", "1e1",
];

/// A series of `BOUNDS.len()` for each of two handlers and two methods; one label comes before `le`, the
/// other behind it.
fn labels(id: u32) -> Labels {
    let (bound, rest) = (id as usize % BOUNDS.len(), id as usize / BOUNDS.len());
    Labels::from_pairs([
        ("__name__", "latency_bucket"),
        ("handler", ["/", "/api"][rest % 2]),
        ("le", BOUNDS[bound]),
        ("method", ["GET", "PUT"][rest / 2 % 2]),
    ])
}

/// A page: series, clock, places in it, values.
type Page = (u32, Vec<Timestamp>, Vec<u32>, Vec<f64>);

fn block(fs: &MemoryFs, commit: u64, pages: &[Page]) -> Block {
    let name = name(commit, commit);
    let mut writer = BlockWriter::create(fs, Path::new(FOLDER), name, 0).unwrap();
    let mut ids = Vec::new();
    for (id, times, positions, values) in pages {
        ids.push((labels(*id), *id));
        let times = writer.times(times).unwrap();
        let positions = Positions::At(positions);
        writer.page(*id, times, positions, values).unwrap();
    }
    ids.sort();
    ids.dedup();
    let mut index = IndexBuilder::new(true);
    for (labels, id) in &ids {
        index.add(*id, labels);
    }
    open(fs, &writer.finish(index).unwrap())
}

/// Merges without the samples of some series.
fn merged(
    fs: &MemoryFs,
    blocks: &[&Block],
    level: u8,
    deleted: &[(u32, TimeRange)],
) -> (WrittenBlock, Block) {
    let ordinals = |block: &Block, id: u32| -> RoaringBitmap {
        let ordinals = 0..block.index().len();
        let found = ordinals.filter(|ordinal| block.index().id(*ordinal) == id);
        found.collect()
    };
    let deleted: Vec<Vec<(RoaringBitmap, TimeRange)>> = blocks
        .iter()
        .map(|block| {
            let deleted = deleted.iter();
            let deleted = deleted.map(|(id, range)| (ordinals(block, *id), *range));
            deleted.collect()
        })
        .collect();
    let inputs = blocks.iter().zip(&deleted).map(|(block, deleted)| {
        let deleted = deleted.iter().map(|(series, range)| (series, *range));
        MergeInput {
            block,
            deleted: deleted.collect(),
        }
    });
    let inputs: Vec<MergeInput<'_>> = inputs.collect();
    let name = BlockName {
        first: blocks[0].name().first,
        last: blocks[blocks.len() - 1].name().last,
        generation: u32::from(level),
    };
    let folder = Path::new(FOLDER);
    let written = merge(fs, folder, name, level, &inputs, &mut || true).unwrap();
    let block = open(fs, &written);
    block.check().unwrap();
    (written, block)
}

fn without(mut model: Model, deleted: &[(u32, TimeRange)]) -> Model {
    for (id, range) in deleted {
        if let Some(samples) = model.get_mut(id) {
            samples.retain(|time, _| !range.contains(*time));
        }
    }
    model.retain(|_, samples| !samples.is_empty());
    model
}

/// The first page of a series.
fn first_page(block: &Block, id: u32) -> PageRef {
    let mut ordinals = 0..block.index().len();
    let ordinal = ordinals.find(|ordinal| block.index().id(*ordinal) == id);
    let mut pages = block.pages(ordinal.unwrap()).unwrap();
    pages.next().unwrap().unwrap()
}

/// Whether the first page of each of `ASCENDING` is stored above another.
fn are_above(block: &Block) -> [bool; 8] {
    ASCENDING.map(|id| {
        let mut buffer = FrameBuffer::default();
        let page = first_page(block, id);
        page.constant.is_none() && block.frame(&page, &mut buffer).unwrap().is_above()
    })
}

/// What the buckets below each bound count: much comes below the first, and little between two.
fn counts(rows: u32, buckets: u32) -> Vec<Vec<f64>> {
    let noise = |row: u32, bucket: u32| {
        let mixed = row
            .wrapping_mul(2_654_435_761)
            .wrapping_add(bucket * 40_503);
        mixed >> 16 & if bucket == 0 { 0xfff } else { 3 }
    };
    let mut counts = vec![vec![0.0; rows as usize]; buckets as usize];
    let mut total = vec![0; buckets as usize];
    for row in 0..rows {
        let mut below = 0;
        for bucket in 0..buckets {
            total[bucket as usize] += noise(row, bucket);
            below += total[bucket as usize];
            counts[bucket as usize][row as usize] = f64::from(below);
        }
    }
    counts
}

/// The places of `BOUNDS` in the order of their numbers.
const ASCENDING: [u32; 8] = [1, 2, 3, 6, 4, 9, 5, 0];

/// Two blocks with a family of `ASCENDING` each, of 300 rows together.
fn two_blocks(fs: &MemoryFs) -> [Block; 2] {
    let counts = counts(300, ASCENDING.len() as u32);
    [0..150_usize, 150..300].map(|rows| {
        let times: Vec<Timestamp> = rows.clone().map(|row| row as i64 * 15_000).collect();
        let pages = ASCENDING.iter().zip(&counts).map(|(id, counts)| {
            let counts = counts[rows.clone()].to_vec();
            (*id, times.clone(), (0..150).collect(), counts)
        });
        block(fs, rows.start as u64 + 1, &pages.collect::<Vec<_>>())
    })
}

fn union(blocks: &[&Block]) -> Model {
    let mut model = Model::new();
    for block in blocks {
        for (series, samples) in dump(block).unwrap() {
            let into: &mut BTreeMap<Timestamp, u64> = model.entry(series).or_default();
            for (time, value) in samples {
                into.entry(time).or_insert(value);
            }
        }
    }
    model
}

#[test]
fn families_are_sorted_by_their_bounds() {
    let mut ids: Vec<u32> = (0..40).filter(|id| id / 10 % 2 == 0).collect();
    ids.sort_by_key(|id| labels(*id));
    let (group, others): (Vec<Option<Member>>, Vec<Option<Member>>) = ids
        .iter()
        .map(|id| Member::of(&labels(*id), &[(0, *id)]))
        .partition(Option::is_some);
    // "many" of GET and of PUT.
    assert_eq!(others.len(), 2);
    let group: Vec<Member> = group.into_iter().flatten().collect();
    assert!(group.iter().all(|member| group[0].is_grouped_with(member)));
    let found = families(&group).into_iter().map(|family| {
        let members = family.iter().map(|place| group[*place].labels.clone());
        members
            .map(|labels| {
                let text = |name| labels.get(name).unwrap().to_owned();
                text("method") + " " + &text("le")
            })
            .collect::<Vec<_>>()
            .join(", ")
    });
    assert_eq!(
        found.collect::<Vec<_>>(),
        [
            "GET 0.5, GET 1, GET 1.0, GET 2.5, GET 10, GET 1e1, GET 100, GET +Inf, GET NaN",
            "PUT 0.5, PUT 1, PUT 1.0, PUT 2.5, PUT 10, PUT 1e1, PUT 100, PUT +Inf, PUT NaN",
        ]
    );
    let other = Member::of(&labels(11), &[]).unwrap();
    assert!(!group[0].is_grouped_with(&other));
}

#[test]
fn buckets_are_stored_above_one_another_from_level_1() {
    let fs = memory();
    let [one, two] = two_blocks(&fs);
    let (written, output) = merged(&fs, &[&one, &two], 1, &[]);
    assert_eq!(dump(&output).unwrap(), union(&[&one, &two]));
    assert_eq!(
        are_above(&output),
        [false, true, true, false, true, true, false, true]
    );
    assert_eq!(are_above(&one), [false; 8]);
    // As much as the count between two bounds takes, not what is below.
    let bytes = |id| first_page(&output, id).place.bytes;
    assert!(bytes(0) < 2 * bytes(1), "{} and {}", bytes(0), bytes(1));
    // Merged again, or without a lower bucket, the upper ones are what they were.
    for deleted in [
        vec![],
        vec![(1, TimeRange::new(i64::MIN, i64::MAX))],
        vec![
            (6, TimeRange::new(0, 15_000 * 100)),
            (3, TimeRange::new(7, i64::MAX)),
        ],
    ] {
        let (again, second) = merged(&fs, &[&output], 2, &deleted);
        let expected = without(dump(&output).unwrap(), &deleted);
        assert_eq!(dump(&second).unwrap(), expected);
        if deleted.is_empty() {
            assert_eq!(
                (again.bytes, are_above(&second)),
                (written.bytes, are_above(&output))
            );
        }
    }
    // A block of level 0 is written without.
    let (_, zero) = merged(&fs, &[&output], 0, &[]);
    assert_eq!(are_above(&zero), [false; 8]);
    assert_eq!(dump(&zero).unwrap(), dump(&output).unwrap());
}

#[test]
fn damage_of_a_lower_page_is_damage_of_the_upper() {
    let fs = memory();
    let [one, two] = two_blocks(&fs);
    let (written, output) = merged(&fs, &[&one, &two], 1, &[]);
    let model = dump(&output).unwrap();
    check_damage(&fs, &written, &model, 7);
    // The frame is the first thing behind the header.
    let mut bytes = fs.read(&written.path).unwrap();
    bytes[64] ^= 1;
    let fs = memory();
    fs.create(&written.path).unwrap().append(&bytes).unwrap();
    let block = open(&fs, &written);
    for id in ASCENDING {
        let (page, mut buffer) = (first_page(&block, id), FrameBuffer::default());
        let damage = block.frame(&page, &mut buffer).unwrap_err();
        assert_eq!((damage.file, damage.offset), (written.path.clone(), 64));
    }
}

/// What a bucket does in a block.
#[derive(Debug, Clone)]
enum Bucket {
    Missing,
    Constant(u32),
    /// Counts more than the bucket below it, and is reset here and there.
    Counts {
        step: u32,
        reset: u32,
    },
    /// Something else.
    Other(Vec<f64>),
}

fn bucket() -> impl Strategy<Value = (Bucket, Vec<bool>, Vec<(u32, f64)>)> {
    let bucket = prop_oneof![
        1 => Just(Bucket::Missing),
        1 => (0_u32..9).prop_map(Bucket::Constant),
        6 => (0_u32..4, 1_u32..400).prop_map(|(step, reset)| Bucket::Counts { step, reset }),
        1 => prop::collection::vec((-500_i32..5000).prop_map(f64::from), 200).prop_map(Bucket::Other),
    ];
    let kept = prop_oneof![
        4 => Just(vec![true; 200]),
        1 => prop::collection::vec(prop::bool::weighted(0.8), 200),
        // The same for several.
        1 => Just((0..200).map(|row| row % 7 != 3).collect()),
    ];
    let odd = prop::sample::select(vec![
        stale_marker(),
        f64::NAN,
        -0.0,
        f64::INFINITY,
        0.5,
        9_007_199_254_740_992.0,
        1e300,
    ]);
    (bucket, kept, prop::collection::vec((0_u32..600, odd), 0..3))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(proptest_cases(24)))]

    #[test]
    fn merged_families_are_what_they_were(
        blocks in prop::collection::vec(
            (prop::collection::vec(bucket(), 40), 1_usize..200, any::<bool>()),
            1..4,
        ),
        deleted in prop::collection::vec((0_u32..40, 0_i64..60_000, 0_i64..40_000), 0..3),
    ) {
        let fs = memory();
        let mut files = Vec::new();
        for (number, (buckets, rows, is_apart)) in blocks.iter().enumerate() {
            let mut pages = Vec::new();
            let mut total = vec![0_u32; 200];
            for (id, (bucket, kept, odd)) in (0_u32..).zip(buckets) {
                if id.is_multiple_of(BOUNDS.len() as u32) {
                    total.fill(id);
                }
                // Perhaps some buckets are scraped at times of their own.
                let own = i64::from(*is_apart && id % 5 == 0);
                let start = number as i64 * 20_000 + own;
                let times: Vec<Timestamp> = (0..*rows as i64).map(|row| start + row * 100).collect();
                let mut values: Vec<f64> = match bucket {
                    Bucket::Missing => continue,
                    Bucket::Constant(value) => vec![f64::from(*value); 200],
                    Bucket::Other(values) => values.clone(),
                    Bucket::Counts { step, reset } => {
                        for (row, total) in (0_u32..).zip(&mut total) {
                            *total += step * (row % reset) + step * (row * id % 3);
                        }
                        total.iter().map(|total| f64::from(*total)).collect()
                    }
                };
                for (row, value) in odd {
                    if let Some(place) = values.get_mut(*row as usize) {
                        *place = *value;
                    }
                }
                let kept = (0_u32..).zip(kept).take(*rows).filter(|(_, kept)| **kept);
                let positions: Vec<u32> = kept.map(|(position, _)| position).collect();
                if positions.is_empty() {
                    continue;
                }
                let values = positions.iter().map(|at| values[*at as usize]).collect();
                pages.push((id, times, positions, values));
            }
            files.push(block(&fs, number as u64 + 1, &pages));
        }
        let deleted: Vec<(u32, TimeRange)> = deleted
            .iter()
            .map(|(id, from, length)| (*id, TimeRange::new(*from, from + length)))
            .collect();
        let files: Vec<&Block> = files.iter().collect();
        let expected = union(&files);
        let (_, first) = merged(&fs, &files, 1, &[]);
        prop_assert_eq!(dump(&first).unwrap(), without(expected.clone(), &[]));
        let (_, second) = merged(&fs, &[&first], 2, &deleted);
        prop_assert_eq!(dump(&second).unwrap(), without(expected, &deleted));
    }
}
