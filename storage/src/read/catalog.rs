//! What is sealed, and which series the store knows: one list, replaced as a whole.
//!
//! A querier holds the catalog of its snapshot, and with it the maps of the blocks; a block that is
//! removed meanwhile stays readable.

use std::{
    collections::HashSet,
    ops::{ControlFlow, Range},
    sync::{Arc, OnceLock},
};

use roaring::RoaringBitmap;

use crate::{
    Corruption, Kind, METRIC_NAME, TimeRange, Timestamp,
    block::{Block, BlockPages, FrameBuffer, PageRef},
    codec::PackedHistogram,
    head::Known,
    index::Among,
    querier::Body,
};

/// Which series of a block have samples is looked up for all of them once more than one in so many are
/// asked for.
const FEW: u64 = 8;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Catalog {
    /// Everything up to this commit is, or was, in a block.
    pub(crate) sealed: u64,
    /// Ascending by their commits.
    pub(crate) blocks: Vec<Sealed>,
    /// The series that may get samples.
    pub(crate) known: Known,
    /// How often samples went out of it: what was deleted, and blocks that are not served any more.
    pub(crate) removals: u64,
}

/// A block that is served.
#[derive(Debug, Clone)]
pub(crate) struct Sealed {
    pub(crate) block: Arc<Block>,
    /// Samples of it that are deleted.
    pub(crate) deleted: Arc<[Deletion]>,
    /// The ordinals that have a page.
    with_pages: Arc<OnceLock<RoaringBitmap>>,
}

/// Samples of one block that do not count any more.
#[derive(Debug, Clone)]
pub(crate) struct Deletion {
    /// Ordinals of the block.
    pub(crate) series: RoaringBitmap,
    /// Inclusive on both ends.
    pub(crate) range: TimeRange,
}

impl std::ops::Deref for Sealed {
    type Target = Block;

    fn deref(&self) -> &Block {
        &self.block
    }
}

impl Sealed {
    pub(crate) fn new(block: Arc<Block>) -> Self {
        Self {
            block,
            deleted: Arc::new([]),
            with_pages: Arc::default(),
        }
    }

    /// The same block with these deletions.
    pub(crate) fn with_deleted(&self, deleted: Arc<[Deletion]>) -> Self {
        Self {
            deleted,
            ..self.clone()
        }
    }

    /// The ordinals that have a page, looked up once.
    pub(super) fn with_pages(&self) -> Result<&RoaringBitmap, Corruption> {
        if let Some(found) = self.with_pages.get() {
            return Ok(found);
        }
        let mut found = RoaringBitmap::new();
        let mut pages = self.all_pages();
        for ordinal in 0..self.index().len() {
            pages.seek(ordinal)?;
            if pages.has_next() {
                found.insert(ordinal);
            }
        }
        Ok(self.with_pages.get_or_init(|| found))
    }

    /// The times in which samples of a series are deleted.
    pub(super) fn deleted_of(&self, ordinal: u32) -> impl Iterator<Item = TimeRange> + '_ {
        let hit = move |deletion: &&Deletion| deletion.series.contains(ordinal);
        self.deleted
            .iter()
            .filter(hit)
            .map(|deletion| deletion.range)
    }

    /// Whether the range overlaps every time column of the block, and nothing of it is deleted: a series with a page
    /// has samples, as far as columns tell.
    pub(super) fn is_met_by(&self, range: TimeRange) -> bool {
        self.deleted.is_empty() && self.block.is_met_by(range)
    }

    /// Answers for about so many series whether they have samples in the range.
    pub(super) fn presence(&self, range: TimeRange, series: u64) -> Presence<'_> {
        let is_met = self.is_met_by(range);
        let with_pages = if !is_met {
            None
        } else if series.saturating_mul(FEW) >= u64::from(self.index().len()) {
            // Damage concerns only who reads the series that has it.
            self.with_pages().ok()
        } else {
            self.with_pages.get()
        };
        Presence {
            sealed: self,
            range,
            is_met,
            with_pages,
            pages: self.all_pages(),
            times: Vec::new(),
            buffer: FrameBuffer::default(),
        }
    }

    /// The bits of a page's last value, or the fingerprint of its last histogram.
    fn last_bits(&self, page: &PageRef, buffer: &mut FrameBuffer) -> Result<u64, Corruption> {
        if page.kind == Kind::Histogram {
            return Ok(self.last_histogram(page, buffer)?.fingerprint());
        }
        let mut last = 0.0;
        let body = self.body(page, page.len - 1, buffer)?;
        body.decode(std::slice::from_mut(&mut last))?;
        Ok(f64::to_bits(last))
    }

    /// A page's last histogram.
    fn last_histogram(
        &self,
        page: &PageRef,
        buffer: &mut FrameBuffer,
    ) -> Result<PackedHistogram, Corruption> {
        let last = self.histograms(page, buffer)?.get(page.len as usize - 1);
        Ok(PackedHistogram::of_valid(&last))
    }

    /// The values of a page, after so many.
    pub(super) fn body<'a>(
        &'a self,
        page: &'a PageRef,
        skip: u32,
        buffer: &'a mut FrameBuffer,
    ) -> Result<Body<'a>, Corruption> {
        if let Some(value) = page.constant {
            return Ok(Body::Constant(value));
        }
        Ok(Body::Page {
            bytes: self.frame(page, buffer)?,
            skip,
            block: &self.block,
            page,
        })
    }
}

/// Tells whether series have samples in a range, as far as their pages' time columns tell; quickest when
/// they are asked for in their order.
#[derive(Debug)]
pub(super) struct Presence<'a> {
    sealed: &'a Sealed,
    range: TimeRange,
    /// See [`Sealed::is_met_by`]: a page is enough.
    is_met: bool,
    /// The series that have one, where they are known.
    with_pages: Option<&'a RoaringBitmap>,
    pages: BlockPages<'a>,
    times: Vec<Timestamp>,
    buffer: FrameBuffer,
}

impl<'a> Presence<'a> {
    /// All series with samples in the range where a page is enough for that, looked up once.
    pub(super) fn of_all(&self) -> Result<Option<&'a RoaringBitmap>, Corruption> {
        self.is_met.then(|| self.sealed.with_pages()).transpose()
    }

    /// Whether a series has a sample in the range.
    pub(super) fn has_sample(&mut self, ordinal: u32) -> Result<bool, Corruption> {
        if let Some(with_pages) = self.with_pages {
            return Ok(with_pages.contains(ordinal));
        }
        self.pages.seek(ordinal)?;
        if self.is_met {
            return Ok(self.pages.has_next());
        }
        let deleted: Vec<TimeRange> = self.sealed.deleted_of(ordinal).collect();
        let mut page = PageRef::EMPTY;
        while self.pages.has_next() {
            self.pages.read_next(&mut page)?;
            let column = self.sealed.times_range(page.times)?.0;
            if !column.overlaps(&self.range) {
                continue;
            }
            if deleted.is_empty() {
                return Ok(true);
            }
            self.times.clear();
            (self.sealed).times(page.times, &mut self.buffer, &mut self.times)?;
            let all = page.first as usize..(page.first + page.span) as usize;
            if !kept(&self.times, all, &deleted).is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Catalog {
    /// The metric names of all series, of those too whose samples are deleted or gone.
    pub(crate) fn metric_names(&self) -> Result<HashSet<String>, Corruption> {
        let mut names = HashSet::new();
        let mut each = |name: &str| {
            if !names.contains(name) {
                names.insert(name.to_owned());
            }
            ControlFlow::Continue(())
        };
        let base = self.known.base().map(|base| base.block());
        for block in self.blocks.iter().map(|sealed| &sealed.block).chain(base) {
            let read = block
                .index()
                .label_values(METRIC_NAME, &mut Among::of(None), &mut each);
            read.map_err(|error| block.index_damaged(error))?;
        }
        let created = self.known.delta();
        created.label_values(METRIC_NAME, &mut Among::of(None), &mut each);
        Ok(names)
    }

    /// Time and bits of a series' newest sample in a block.
    pub(crate) fn newest_sample(&self, id: u32) -> Result<Option<(Timestamp, u64)>, Corruption> {
        let mut buffer = FrameBuffer::default();
        let Some((time, sealed, page)) = self.newest_page(id, &mut buffer)? else {
            return Ok(None);
        };
        Ok(Some((time, sealed.last_bits(&page, &mut buffer)?)))
    }

    /// A series' newest sample in a block, if it is this one and a histogram.
    pub(crate) fn newest_histogram(
        &self,
        id: u32,
        time: Timestamp,
    ) -> Result<Option<PackedHistogram>, Corruption> {
        let mut buffer = FrameBuffer::default();
        match self.newest_page(id, &mut buffer)? {
            Some((newest, sealed, page)) if newest == time && page.kind == Kind::Histogram => {
                sealed.last_histogram(&page, &mut buffer).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Time and kind of a series' newest sample in a block.
    pub(crate) fn newest_kind(&self, id: u32) -> Result<Option<(Timestamp, Kind)>, Corruption> {
        let newest = self.newest_page(id, &mut FrameBuffer::default())?;
        Ok(newest.map(|(time, _, page)| (time, page.kind)))
    }

    /// The page that ends with a series' newest sample in a block, and its time.
    fn newest_page(
        &self,
        id: u32,
        buffer: &mut FrameBuffer,
    ) -> Result<Option<(Timestamp, &Sealed, PageRef)>, Corruption> {
        let Some(labels) = self.known.labels(id) else {
            return Ok(None);
        };
        let mut newest: Option<(Timestamp, &Sealed, PageRef)> = None;
        let mut times = Vec::new();
        for sealed in self.blocks.iter().rev() {
            if newest.is_some_and(|(time, ..)| sealed.range().max <= time) {
                continue;
            }
            let index = sealed.index();
            let found = index
                .find(&labels)
                .map_err(|error| sealed.index_damaged(error))?;
            let Some(ordinal) = found.filter(|ordinal| index.id(*ordinal) == id) else {
                continue;
            };
            for page in sealed.pages(ordinal)? {
                let page = page?;
                let (range, _) = sealed.times_range(page.times)?;
                if newest.is_some_and(|(time, ..)| range.max <= time) {
                    continue;
                }
                times.clear();
                sealed.times(page.times, buffer, &mut times)?;
                let last = page.first + page.span - 1;
                let time = times[last as usize];
                if newest.is_none_or(|(known, ..)| time > known) {
                    newest = Some((time, sealed, page));
                }
            }
        }
        Ok(newest)
    }
}

/// The parts of `all` whose times are in none of the ranges.
pub(super) fn kept(
    times: &[Timestamp],
    all: Range<usize>,
    deleted: &[TimeRange],
) -> Vec<Range<usize>> {
    let mut parts = vec![all];
    for range in deleted {
        let mut left = Vec::new();
        for part in parts {
            let inside = &times[part.clone()];
            let from = part.start + inside.partition_point(|time| *time < range.min);
            let to = part.start + inside.partition_point(|time| *time <= range.max);
            left.push(part.start..from.min(to));
            left.push(to.max(from)..part.end);
        }
        parts = left;
    }
    parts.retain(|part| !part.is_empty());
    parts
}
