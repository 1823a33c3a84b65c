//! What must hold of the parts of a block whatever their bytes are, for fuzz checks.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{
    Block, BlockName, MergeInput, PageRef,
    directory::{DirectoryWriter, Pages},
    layout, merge, presence,
    times::TimesEntry,
};
use crate::{
    Fs, MemoryFs, PageStats,
    codec::{CodecError, Cursor, VALUES_MAX},
};

/// Decodes a pattern of gaps, behind its first position, its span (four bytes each) and its length (two
/// bytes), the lower byte first, and answers whether it is one. Its positions ascend from the first to
/// the last of the span, and are encoded and decoded again.
///
/// # Panics
/// When any of this does not hold.
pub fn check_presence(bytes: &[u8]) -> bool {
    let mut cursor = Cursor::new(bytes);
    let (Ok(first), Ok(span), Ok(len)) = (
        cursor.u32("the first position"),
        cursor.u32("the span"),
        cursor.array("the length"),
    ) else {
        return false;
    };
    let (len, pattern) = (u32::from(u16::from_le_bytes(len)), cursor.rest());
    let mut positions = vec![7];
    if presence::decode(pattern, first, span, len, &mut positions).is_err() {
        assert_eq!(positions, [7], "an error leaves nothing behind");
        return false;
    }
    let positions = positions.split_off(1);
    assert_eq!(positions.len() as u32, len);
    assert_eq!(positions.first(), Some(&first));
    assert_eq!(positions.last(), Some(&(first + span - 1)));
    assert!(positions.is_sorted_by(|a, b| a < b), "{positions:?}");
    let mut encoded = Vec::new();
    presence::encode(&positions, &mut encoded);
    assert!(encoded.len() <= pattern.len(), "the shorter of two ways");
    let mut again = Vec::new();
    presence::decode(&encoded, first, span, len, &mut again).expect("it was just encoded");
    assert_eq!(again, positions);
    true
}

/// A page without its place in the section, and with the bits of its value.
fn comparable(page: &PageRef) -> (PageRef, Option<u64>) {
    let page_only = PageRef {
        stats_at: 0,
        constant: None,
        ..*page
    };
    (page_only, page.constant.map(f64::to_bits))
}

/// Reads a directory, behind the number of its series, that of its time columns (one byte each) and
/// their lengths (two bytes each, the lower first), and answers whether it is whole. What is read one
/// after another is what is read of one series alone, lies within its time column, and is the same when
/// it is written and read again.
///
/// # Panics
/// When any of this does not hold.
pub fn check_directory(bytes: &[u8]) -> bool {
    let Some(([series, columns], rest)) = bytes.split_first_chunk::<2>() else {
        return false;
    };
    let lens = rest.as_chunks::<2>().0.iter().take(usize::from(*columns));
    let lens: Vec<u32> = lens
        .map(|len| u32::from(u16::from_le_bytes(*len)).max(1))
        .collect();
    let section = rest.get(lens.len() * 2..).unwrap_or_default();
    let mut table = Vec::new();
    for (len, start) in lens.iter().zip(0..) {
        TimesEntry::example(*len, start).write(&mut table);
    }
    let series = u32::from(*series);
    let read = || {
        let mut in_order = Pages::new(section, &table, series);
        let mut all: Vec<Vec<(PageRef, PageStats)>> = Vec::new();
        for ordinal in 0..series {
            in_order.seek(ordinal)?;
            let mut pages = Vec::new();
            for page in in_order.by_ref() {
                let page = page?;
                pages.push((page, page.stats(section)?));
            }
            all.push(pages);
        }
        Ok::<_, CodecError>(all)
    };
    let alone = |section: &[u8], ordinal: u32| {
        let mut pages = Pages::new(section, &table, series);
        pages.seek(ordinal).expect("it was read before");
        let pages = pages.map(|page| comparable(&page.expect("it was read before")));
        pages.collect::<Vec<_>>()
    };
    let Ok(all) = read() else {
        return false;
    };
    let mut writer = DirectoryWriter::default();
    let mut expected = Vec::new();
    for (pages, ordinal) in all.iter().zip(0..) {
        let read: Vec<_> = pages.iter().map(|(page, _)| comparable(page)).collect();
        assert_eq!(alone(section, ordinal), read, "series {ordinal}");
        let mut ordered = read;
        ordered.sort_by_key(|(page, _)| (page.times, page.first));
        expected.push(ordered);
        for (page, stats) in pages {
            let column_len = lens.get(page.times as usize).copied().unwrap_or_default();
            assert!(page.first + page.span <= column_len, "{page:?}");
            assert!((1..=page.span).contains(&page.len), "{page:?}");
            assert!(page.len as usize <= VALUES_MAX, "{page:?}");
            assert!(writer.push(ordinal, page, stats, column_len), "4 GiB");
        }
    }
    let again = writer.finish((0..series).collect::<Vec<_>>().into_iter(), &table);
    for (expected, ordinal) in expected.iter().zip(0..) {
        assert_eq!(alone(&again, ordinal), *expected, "written again");
    }
    true
}

/// Blocks as they were merged.
#[derive(Debug)]
pub struct Merged {
    /// The names that the files had, in the order of their commits.
    pub inputs: Vec<String>,
    /// The merged file's name …
    pub name: String,
    /// … and content, which passed every check of a block.
    pub file: Vec<u8>,
}

/// Whether each number of a series stands for one label set; `None` when they cannot be read. Only then
/// does reading, which goes by numbers, find what merging finds, which goes by labels.
fn ids_are_right(blocks: &[Block]) -> Option<bool> {
    let mut known = BTreeMap::new();
    let mut are_right = true;
    for block in blocks {
        let mut own = BTreeSet::new();
        let mut reader = block.index().labels();
        for ordinal in 0..block.index().len() {
            let (id, labels) = (block.index().id(ordinal), reader.get(ordinal).ok()?);
            are_right &= own.insert(id);
            are_right &= *known.entry(id).or_insert_with(|| labels.clone()) == labels;
        }
    }
    Some(are_right)
}

/// Merges files in the order in which they come; `None` when one of them is damaged, their commits are
/// not in order, or a number stands for two series.
///
/// # Panics
/// When any of this does not hold.
pub fn merge_blocks(files: &[&[u8]]) -> Option<Merged> {
    let fs = MemoryFs::default();
    let folder = Path::new("/blocks");
    fs.create_dir_all(folder).expect("memory takes it");
    let mut blocks: Vec<Block> = Vec::new();
    for file in files {
        let (name, _) = layout::read_header(file).ok()?;
        let before = blocks.last().map_or(0, |block| block.name().last);
        if name.first <= before {
            return None;
        }
        let path = folder.join(name.to_string());
        let mut written = fs.create(&path).expect("memory takes it");
        written.append(file).expect("memory takes it");
        blocks.push(Block::open(&fs, &path, file.len() as u64).ok()?);
    }
    let name = BlockName {
        first: blocks.first()?.name().first,
        last: blocks.last()?.name().last,
        generation: u32::MAX,
    };
    let inputs: Vec<MergeInput<'_>> = blocks
        .iter()
        .map(|block| MergeInput {
            block,
            deleted: Vec::new(),
        })
        .collect();
    let merged = merge(&fs, folder, name, 1, &inputs, &mut || true);
    let Ok(merged) = merged else {
        let left = fs.list(folder).expect("it is there");
        assert_eq!(left.len(), files.len(), "a failed merge leaves nothing");
        return None;
    };
    let file = fs.read(&merged.path).expect("it was written");
    let block = Block::open(&fs, &merged.path, merged.bytes);
    let block = block.unwrap_or_else(|problem| panic!("what a merge writes opens: {problem}"));
    // A page of an input that was taken over as it is may be damaged inside.
    if block.check().is_err() || !ids_are_right(&blocks)? {
        return None;
    }
    Some(Merged {
        inputs: blocks
            .iter()
            .map(|block| block.name().to_string())
            .collect(),
        name: name.to_string(),
        file,
    })
}
