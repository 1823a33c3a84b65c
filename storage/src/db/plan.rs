//! Which blocks are to be merged next: a pure function of what there is.
//!
//! Seals write blocks of level 0, a few minutes each. The oldest of them that are adjacent and span two
//! hours together become one of level 1; three adjacent blocks of one level become one of the next, as
//! long as it spans no more than a tenth of the retention. So a sample is written about five times in a
//! month, and a query over a month opens about a dozen files for each two days.
//!
//! Blocks are adjacent when no commit lies between them. Nothing is ever merged across a hole: the
//! commits of a damaged block may still come back.

use std::ops::Range;

use crate::{TimeRange, block::BlockName};

/// Blocks of level 0 are merged when they span so much together, in milliseconds.
const FIRST_SPAN_MS: i64 = 2 * 3_600_000;
/// … or when there are so many: times that are far apart or all alike must not keep them waiting.
const FIRST_BLOCKS_MAX: usize = 64;
/// So many blocks of one level above 0 are merged.
const FAN_IN: usize = 3;
/// No merged block spans more, in milliseconds, …
const SPAN_MAX_MS: i64 = 31 * 86_400_000;
/// … nor more than this part of the retention.
const RETENTION_PARTS: i64 = 10;

/// What matters of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) name: BlockName,
    pub(crate) level: u8,
    pub(crate) range: TimeRange,
}

/// A merge that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Which blocks of the list, at least two.
    pub(crate) inputs: Range<usize>,
    /// The level of the block that they become.
    pub(crate) level: u8,
}

/// The merge that is due, of `blocks`, which are ascending by their commits. `retention_ms`: how long
/// samples are kept, if not for ever.
pub(crate) fn plan(blocks: &[Planned], retention_ms: Option<i64>) -> Option<Plan> {
    first_level(blocks).or_else(|| {
        let highest = blocks.iter().map(|block| block.level).max()?;
        let span_max = span_max(retention_ms);
        (1..=highest).find_map(|level| next_level(blocks, level, span_max))
    })
}

fn span_max(retention_ms: Option<i64>) -> i64 {
    let of_retention = retention_ms.map_or(i64::MAX, |time| time / RETENTION_PARTS);
    SPAN_MAX_MS.min(of_retention)
}

/// The oldest blocks of level 0 that span enough. The newest one stays: the index of what is in memory
/// stands on it.
fn first_level(blocks: &[Planned]) -> Option<Plan> {
    let newest = blocks.iter().rposition(|block| block.level == 0)?;
    runs(blocks, 0).find_map(|run| {
        let run = run.start..run.end.min(newest);
        let ends = run.start + 2..=run.end;
        let end = ends.into_iter().find(|end| {
            let inputs = &blocks[run.start..*end];
            span_ms(inputs) >= FIRST_SPAN_MS || inputs.len() >= FIRST_BLOCKS_MAX
        })?;
        Some(Plan {
            inputs: run.start..end,
            level: 1,
        })
    })
}

/// The oldest blocks of `level` that may become one of the next.
fn next_level(blocks: &[Planned], level: u8, span_max: i64) -> Option<Plan> {
    let next = level.checked_add(1)?;
    runs(blocks, level).find_map(|run| {
        let last_start = run.end.checked_sub(FAN_IN)?;
        let mut starts = run.start..=last_start;
        let start = starts.find(|start| span_ms(&blocks[*start..start + FAN_IN]) <= span_max)?;
        Some(Plan {
            inputs: start..start + FAN_IN,
            level: next,
        })
    })
}

/// The longest stretches of adjacent blocks of one level, oldest first.
fn runs(blocks: &[Planned], level: u8) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut next = 0;
    std::iter::from_fn(move || {
        let start = next
            + blocks
                .get(next..)?
                .iter()
                .position(|block| block.level == level)?;
        let mut end = start + 1;
        while let Some(block) = blocks.get(end)
            && block.level == level
            && block.name.first == blocks[end - 1].name.last + 1
        {
            end += 1;
        }
        next = end;
        Some(start..end)
    })
}

/// From the oldest sample to the newest.
fn span_ms(blocks: &[Planned]) -> i64 {
    let min = blocks.iter().map(|block| block.range.min).min();
    let max = blocks.iter().map(|block| block.range.max).max();
    match (min, max) {
        (Some(min), Some(max)) => max.saturating_sub(min),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks as text: `<level>:<hours from>-<hours to>`, one commit each; `|` is a hole.
    fn blocks(text: &str) -> Vec<Planned> {
        let mut blocks = Vec::new();
        for (word, commit) in text.split_whitespace().zip(1..) {
            if word == "|" {
                continue;
            }
            let (level, range) = word.split_once(':').unwrap();
            let (from, to) = range.split_once('-').unwrap();
            let ms = |hours: &str| (hours.parse::<f64>().unwrap() * 3_600_000.0) as i64;
            blocks.push(Planned {
                name: BlockName {
                    first: commit,
                    last: commit,
                    generation: 0,
                },
                level: level.parse().unwrap(),
                range: TimeRange::new(ms(from), ms(to)),
            });
        }
        blocks
    }

    /// The inputs' places and the level, or nothing.
    fn planned(text: &str, retention_hours: Option<i64>) -> Option<(Range<usize>, u8)> {
        let retention = retention_hours.map(|hours| hours * 3_600_000);
        plan(&blocks(text), retention).map(|plan| (plan.inputs, plan.level))
    }

    #[test]
    fn adjacent_seals_of_two_hours_become_one_block_and_the_newest_stays() {
        for (text, expected) in [
            ("", None),
            ("0:0-1", None),
            ("0:0-3 0:3-6", None),
            ("0:0-1 0:1-2 0:2-3", Some((0..2, 1))),
            ("0:0-0.9 0:1-1.9 0:2-2.9", None),
            ("0:0-0.9 0:1-1.9 0:2-2.9 0:3-4", Some((0..3, 1))),
            // No more than needed, the oldest first, after what is merged already.
            ("1:0-2 0:2-3 0:3-4 0:4-5 0:5-6 0:6-7", Some((1..3, 1))),
            // Not across a hole.
            ("0:0-1 | 0:1-2 0:2-3", None),
            ("0:0-1 | 0:1-2 0:2-3 0:3-4", Some((1..3, 1))),
            ("0:0-1 1:1-3 0:3-4 0:4-5", None),
            // A sample out of order widens a block.
            ("0:5-6 0:3-7 0:7-8", Some((0..2, 1))),
        ] {
            assert_eq!(planned(text, None), expected, "{text}");
        }
        let many = "0:1-1 ".repeat(FIRST_BLOCKS_MAX);
        assert_eq!(planned(&many, None), None);
        let more = "0:1-1 ".repeat(FIRST_BLOCKS_MAX + 1);
        assert_eq!(planned(&more, None), Some((0..FIRST_BLOCKS_MAX, 1)));
    }

    #[test]
    fn three_of_a_level_become_one_of_the_next_within_a_tenth_of_the_retention() {
        for (text, retention_hours, expected) in [
            ("1:0-2 1:2-4", None, None),
            ("1:0-2 1:2-4 1:4-6", None, Some((0..3, 2))),
            ("1:0-2 | 1:2-4 1:4-6", None, None),
            ("2:0-6 1:6-8 1:8-10 1:10-12 1:12-14", None, Some((1..4, 2))),
            ("2:0-6 2:6-12 2:12-18 1:18-20", None, Some((0..3, 3))),
            // The lowest level first.
            (
                "2:0-6 2:6-12 2:12-18 0:18-19 0:19-20 0:20-21",
                None,
                Some((3..5, 1)),
            ),
            ("1:0-2 1:2-4 1:4-6", Some(60), Some((0..3, 2))),
            ("1:0-2 1:2-4 1:4-6", Some(59), None),
            ("5:0-700 5:700-1400 5:1400-2100", None, None),
            // One wide block does not keep the others apart.
            ("1:0-50 1:50-52 1:52-54 1:54-56", Some(60), Some((1..4, 2))),
        ] {
            assert_eq!(planned(text, retention_hours), expected, "{text}");
        }
    }

    /// A year of seals every ten minutes: how many blocks there are, and how often a sample is written.
    #[test]
    fn a_year_of_seals_stays_a_few_dozen_blocks() {
        let mut all: Vec<Planned> = Vec::new();
        let (mut written, mut most) = (0, 0);
        let seals = 365 * 24 * 6;
        for commit in 1..=seals {
            let from = commit as i64 * 600_000;
            all.push(Planned {
                name: BlockName {
                    first: commit,
                    last: commit,
                    generation: 0,
                },
                level: 0,
                range: TimeRange::new(from, from + 585_000),
            });
            written += 1;
            while let Some(Plan { inputs, level }) = plan(&all, None) {
                let (first, last) = (all[inputs.start], all[inputs.end - 1]);
                let merged = Planned {
                    name: BlockName {
                        last: last.name.last,
                        ..first.name
                    },
                    level,
                    range: TimeRange::new(first.range.min, last.range.max),
                };
                written += merged.name.last - merged.name.first + 1;
                all.splice(inputs, [merged]);
            }
            most = most.max(all.len());
        }
        let per_sample = written as f64 / seals as f64;
        assert!(most <= 48, "{most} blocks");
        assert!((5.0..=8.0).contains(&per_sample), "{per_sample} times");
        for pair in all.windows(2) {
            assert_eq!(pair[0].name.last + 1, pair[1].name.first);
        }
    }
}
