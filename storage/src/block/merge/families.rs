//! Families: the buckets of a classic histogram, stored above one another.
//!
//! A *family* are series that are equal but for the label `le`. Series come in label order, where `le` is
//! a text and labels with names behind it come after it, so the series with equal labels before `le` are
//! taken together, a *group*, and sorted into families by the bounds. The pages of a family are kept back
//! and written time column by time column: pages over the same timestamps lie together, each above the
//! one of the bucket below. In which order pages are put above one another decides only how small they
//! are; every page reads back as it was.
#![deny(clippy::indexing_slicing)]

#[cfg(test)]
mod tests;

use crate::{
    Labels,
    block::{
        BlockWriter, Positions, TimesRef,
        directory::PageSummary,
        writer::{Bucket, Lower, encode_page},
    },
};

use super::{MergeError, turns::Turns};

/// Label texts of a group: one that has more is taken in parts.
pub(super) const GROUP_BYTES_MAX: usize = 8 << 20;

/// Encoded pages of a family that are kept back: one that has more is taken in parts.
const KEPT_BYTES_MAX: usize = 8 << 20;

/// A series with a bound.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) labels: Labels,
    /// Where its samples are: input and ordinal, oldest first.
    pub(super) sources: Vec<(usize, u32)>,
    /// Where in the labels' bytes `le` begins and ends.
    le: (usize, usize),
    bound: f64,
}

impl Member {
    /// `None`: the series has no bound.
    pub(super) fn of(labels: &Labels, sources: &[(usize, u32)]) -> Option<Self> {
        let mut end = 0;
        for ((name, value), pair) in labels.iter().zip(labels.encoded_pairs()) {
            let start = end;
            end += pair.len();
            if name == "le" {
                let bound: f64 = value.parse().ok()?;
                return Some(Self {
                    labels: labels.clone(),
                    sources: sources.to_vec(),
                    le: (start, end),
                    bound,
                });
            }
        }
        None
    }

    /// The labels before `le`.
    fn before(&self) -> &[u8] {
        self.labels.as_bytes().get(..self.le.0).unwrap_or_default()
    }

    /// The labels behind `le`.
    fn behind(&self) -> &[u8] {
        self.labels.as_bytes().get(self.le.1..).unwrap_or_default()
    }

    pub(super) fn is_grouped_with(&self, other: &Self) -> bool {
        self.before() == other.before()
    }

    /// What it takes while it waits for the others of its group.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.labels.as_bytes().len() + size_of_val(&*self.sources)
    }
}

/// The families of a group: the places of their members in it, by their bounds.
pub(super) fn families(group: &[Member]) -> Vec<Vec<usize>> {
    let mut order: Vec<(&Member, usize)> = group.iter().zip(0..).collect();
    order.sort_by(|(one, _), (other, _)| {
        let behind = one.behind().cmp(other.behind());
        behind.then(one.bound.total_cmp(&other.bound))
    });
    let families = order.chunk_by(|(one, _), (other, _)| one.behind() == other.behind());
    let places = families.map(|family| family.iter().map(|(_, place)| *place).collect());
    places.collect()
}

/// Where pages go: to the writer, or first to the others of their family.
#[derive(Debug)]
pub(super) struct Output<'a> {
    pub(super) writer: BlockWriter<'a>,
    /// Of the family in work, in the order of their series.
    kept: Option<Vec<KeptPage>>,
    kept_bytes: usize,
    page: Vec<u8>,
    /// Between pages the merge gives way.
    pub(super) turns: Turns<'a>,
}

#[derive(Debug)]
struct KeptPage {
    series: u32,
    times: TimesRef,
    /// The only one if there are no gaps.
    positions: Vec<u32>,
    summary: PageSummary,
    page: Vec<u8>,
}

impl KeptPage {
    fn positions(&self) -> Positions<'_> {
        match *self.positions {
            [first] => Positions::From(first),
            _ => Positions::At(&self.positions),
        }
    }
}

impl<'a> Output<'a> {
    pub(super) fn new(writer: BlockWriter<'a>, turns: Turns<'a>) -> Self {
        Self {
            writer,
            kept: None,
            kept_bytes: 0,
            page: Vec::new(),
            turns,
        }
    }

    /// Keeps what comes, the series of a family by their bounds.
    pub(super) fn begin_family(&mut self) {
        self.kept = Some(Vec::new());
    }

    /// Writes what was kept, and keeps nothing more.
    pub(super) fn end_family(&mut self) -> Result<(), MergeError> {
        let kept = self.kept.take().unwrap_or_default();
        self.write_kept(kept)
    }

    /// Adds a page of values.
    pub(super) fn page(
        &mut self,
        series: u32,
        times: TimesRef,
        positions: Positions<'_>,
        values: &[f64],
    ) -> Result<(), MergeError> {
        let mut page = std::mem::take(&mut self.page);
        let summary = encode_page(values, &mut page);
        let added = self.encoded(series, times, positions, &page, &summary);
        self.page = page;
        added
    }

    /// Adds an encoded page, which is stored by itself.
    pub(super) fn encoded(
        &mut self,
        series: u32,
        times: TimesRef,
        positions: Positions<'_>,
        page: &[u8],
        summary: &PageSummary,
    ) -> Result<(), MergeError> {
        let Some(kept) = &mut self.kept else {
            return Ok(self
                .writer
                .encoded(series, times, positions, page, summary)?);
        };
        let page = KeptPage {
            series,
            times,
            positions: match positions {
                Positions::From(first) => vec![first],
                Positions::At(positions) => positions.to_vec(),
            },
            summary: *summary,
            page: page.to_vec(),
        };
        self.kept_bytes += size_of::<KeptPage>() + page.page.len() + size_of_val(&*page.positions);
        kept.push(page);
        if self.kept_bytes > KEPT_BYTES_MAX {
            let kept = std::mem::take(kept);
            self.write_kept(kept)?;
        }
        Ok(())
    }

    fn write_kept(&mut self, mut kept: Vec<KeptPage>) -> Result<(), MergeError> {
        self.kept_bytes = 0;
        // Stable: over the same timestamps by their bounds.
        let over = |page: &KeptPage| (page.times, page.summary.len);
        kept.sort_by(|one, other| {
            let order = over(one).cmp(&over(other));
            order.then_with(|| one.positions.cmp(&other.positions))
        });
        let mut lower: Option<Lower> = None;
        let mut latest: Option<&KeptPage> = None;
        for page in &kept {
            self.turns.values(page.summary.len)?;
            let (series, times) = (page.series, page.times);
            if page.summary.constant.is_some() {
                let positions = page.positions();
                self.writer
                    .encoded(series, times, positions, &[], &page.summary)?;
                continue;
            }
            let is_over_same = latest.replace(page).is_some_and(|latest| {
                over(latest) == over(page) && latest.positions == page.positions
            });
            if !is_over_same {
                lower = None;
            }
            let bucket = Bucket {
                page: &page.page,
                summary: &page.summary,
                lower: lower.as_ref(),
            };
            lower = self
                .writer
                .bucket(series, times, page.positions(), bucket)?;
        }
        Ok(())
    }
}
