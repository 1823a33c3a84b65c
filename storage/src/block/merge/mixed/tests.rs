//! Series with native histograms merged.

use std::path::Path;

use crate::{
    Counts, Histogram, HistogramColumns, HistogramCounts, HistogramLayout, Kind, MemoryFs,
    ResetHint, Span, TimeRange, Timestamp,
    block::{
        Block, BlockWriter, FrameBuffer, MergeInput, Positions, merge,
        tests::{index, memory, name, open},
    },
};

const FOLDER: &str = "/blocks";

fn histogram(time: Timestamp) -> Histogram {
    let count = time as u64 * time as u64 % 1000;
    Histogram {
        reset_hint: ResetHint::Unknown,
        layout: HistogramLayout {
            schema: 3,
            zero_threshold: 0.0,
            positive_spans: vec![Span {
                offset: 0,
                length: 2,
            }],
            negative_spans: Vec::new(),
            custom_bounds: Vec::new(),
        },
        sum: time as f64,
        counts: HistogramCounts::Integer(Counts {
            count: 2 * count + 1,
            zero: 1,
            positive: vec![count, count],
            negative: Vec::new(),
        }),
    }
}

/// A block with pages of series 1, at the times from one up to another: of numbers where they are below 0.
fn block(fs: &MemoryFs, commit: u64, pages: &[(Timestamp, Timestamp)]) -> Block {
    let name = name(commit, commit);
    let mut writer = BlockWriter::create(fs, Path::new(FOLDER), name, 0).unwrap();
    for (start, end) in pages {
        let times: Vec<Timestamp> = (*start..*end).collect();
        let column = writer.times(&times).unwrap();
        let from = Positions::From(0);
        if times[0] < 0 {
            let values: Vec<f64> = times.iter().map(|time| *time as f64).collect();
            writer.page(1, column, from, &values).unwrap();
        } else {
            let mut columns = HistogramColumns::default();
            for time in &times {
                columns.push(&histogram(*time));
            }
            writer.histograms(1, column, from, &columns).unwrap();
        }
    }
    open(fs, &writer.finish(index([1])).unwrap())
}

/// The pages of the only series: their times and bytes. What they hold is what was written.
fn pages(block: &Block) -> Vec<(Vec<Timestamp>, Vec<u8>)> {
    let mut buffer = FrameBuffer::default();
    let pages = block.pages(0).unwrap().map(|page| {
        let page = page.unwrap();
        let (mut times, mut positions) = (Vec::new(), Vec::new());
        block.times(page.times, &mut buffer, &mut times).unwrap();
        block.positions(&page, &mut buffer, &mut positions).unwrap();
        let times: Vec<Timestamp> = positions.iter().map(|at| times[*at as usize]).collect();
        if page.kind == Kind::Histogram {
            let columns = block.histograms(&page, &mut buffer).unwrap();
            for (row, time) in times.iter().enumerate() {
                assert_eq!(columns.get(row), histogram(*time));
            }
        } else {
            let mut values = Vec::new();
            block.decode(&page, &mut buffer, &mut values).unwrap();
            assert_eq!(values, times.iter().map(|t| *t as f64).collect::<Vec<_>>());
        }
        let bytes = block.frame(&page, &mut buffer).unwrap().own().to_vec();
        (times, bytes)
    });
    pages.collect()
}

fn merged(fs: &MemoryFs, blocks: &[Block], deleted: Option<TimeRange>) -> Block {
    let series = roaring::RoaringBitmap::from([0]);
    let inputs = blocks.iter().map(|block| MergeInput {
        block,
        deleted: deleted.iter().map(|range| (&series, *range)).collect(),
    });
    let inputs: Vec<MergeInput<'_>> = inputs.collect();
    let name = name(1, blocks.len() as u64);
    let written = merge(fs, Path::new(FOLDER), name, 1, &inputs, &mut || true).unwrap();
    let block = open(fs, &written);
    block.check().unwrap();
    block
}

fn times(pages: &[(Vec<Timestamp>, Vec<u8>)]) -> Vec<(Timestamp, usize)> {
    let times = pages.iter().map(|(times, _)| (times[0], times.len()));
    times.collect()
}

#[test]
fn full_pages_are_taken_over_and_short_ones_put_together() {
    let fs = memory();
    let blocks = [
        block(&fs, 1, &[(-20, -5), (0, 600)]),
        block(&fs, 2, &[(600, 610)]),
        block(&fs, 3, &[(620, 632), (700, 1400)]),
    ];
    let output = pages(&merged(&fs, &blocks, None));
    assert_eq!(times(&output), [(-20, 15), (0, 600), (600, 22), (700, 700)]);
    assert_eq!(output[1].1, pages(&blocks[0])[1].1);
    assert_eq!(output[3].1, pages(&blocks[2])[1].1);
    // What is deleted of a page is not taken over with it.
    let deleted = TimeRange::new(0, 99);
    let output = pages(&merged(&fs, &blocks, Some(deleted)));
    assert_eq!(times(&output), [(-20, 15), (100, 522), (700, 700)]);
}

#[test]
fn pages_that_overlap_are_merged_sample_by_sample() {
    let fs = memory();
    let blocks = [
        block(&fs, 1, &[(0, 600)]),
        block(&fs, 2, &[(590, 1200)]),
        block(&fs, 3, &[(2000, 2600)]),
    ];
    let output = pages(&merged(&fs, &blocks, None));
    assert_eq!(times(&output), [(0, 1024), (1024, 776)]);
    let all: Vec<Timestamp> = output.into_iter().flat_map(|(times, _)| times).collect();
    assert!(all.into_iter().eq((0..1200).chain(2000..2600)));
}
