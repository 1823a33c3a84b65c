//! Snapshots: the read contract over a [`Head`].
//!
//! A select captures, under each source's lock for a moment, everything it will read: the blocks of
//! the targets, the solo samples of the series, the frames of the segment files. Blocks and solo
//! samples are taken before frames, and a seal adds a frame before it removes a block, so nothing is
//! missed; what is seen twice has the same commit numbers and is taken once.

use std::{
    ops::{ControlFlow, Range, RangeInclusive},
    sync::{Arc, PoisonError, RwLockReadGuard},
};

use roaring::RoaringBitmap;

use super::{Catalog, HashMap, Head, Queriers, row::RowBlock, series::SoloSample, states::States};
use crate::{
    AxisId, Budget, Estimate, Labels, Matcher, Querier, ReadError, Run, Scan, Select,
    SelectedSeries, Selection, Shape, TimeRange, Timestamp, Wants, index::Delta, segment::PageRef,
};

/// A snapshot.
#[derive(Debug)]
pub(crate) struct HeadQuerier {
    head: Arc<Head>,
    range: TimeRange,
    catalog: Arc<Catalog>,
    visible: u64,
    serial: u64,
}

impl HeadQuerier {
    pub(crate) fn new(head: &Arc<Head>, range: TimeRange) -> Self {
        let mut queriers = head.queriers.lock().unwrap_or_else(PoisonError::into_inner);
        let Queriers { next, live, .. } = &mut *queriers;
        *next += 1;
        let visible = head.visible();
        // Read after `visible` and registered under the same lock that pruning looks through.
        let catalog = head.catalog();
        let visible = visible.max(catalog.sealed);
        live.insert(*next, catalog.sealed);
        Self {
            head: Arc::clone(head),
            range,
            catalog,
            visible,
            serial: *next,
        }
    }
}

impl HeadQuerier {
    fn with_samples(&self, matchers: &[Matcher]) -> (RwLockReadGuard<'_, Delta>, RoaringBitmap) {
        let mut views = self.views(self.range);
        let delta = self.catalog.known.delta();
        let found = delta.select(matchers);
        let among = found.iter().filter(|id| views.has_sample(*id)).collect();
        (delta, among)
    }

    fn views(&self, range: TimeRange) -> Views<'_> {
        Views {
            blocks: HashMap::default(),
            states: &self.head.states,
            catalog: &self.catalog,
            visible: self.visible,
            range,
        }
    }
}

impl Drop for HeadQuerier {
    fn drop(&mut self) {
        let mut queriers = self
            .head
            .queriers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        queriers.live.remove(&self.serial);
    }
}

impl Querier for HeadQuerier {
    fn select(
        &self,
        request: &Select<'_>,
        budget: &Budget,
    ) -> Result<Box<dyn Selection>, ReadError> {
        budget.check()?;
        let found: Vec<(u32, Labels)> = {
            let delta = self.catalog.known.delta();
            let ids = delta.select(request.matchers);
            let mut found: Vec<_> = ids
                .iter()
                .filter_map(|id| Some((id, delta.labels(id)?)))
                .collect();
            found.sort_unstable_by(|a, b| a.1.cmp(&b.1));
            found
        };
        let range = TimeRange::new(
            self.range.min.max(request.range.min),
            self.range.max.min(request.range.max),
        );
        let limit = request.limit.unwrap_or(usize::MAX);
        let mut views = self.views(range);
        let mut series = Vec::new();
        let mut parts = Vec::new();
        for (candidate, labels) in found {
            if parts.len() >= limit {
                break;
            }
            let part = if request.wants == Wants::Labels {
                views.has_sample(candidate).then(Parts::default)
            } else {
                Some(views.capture(candidate)).filter(|part| !part.is_empty())
            };
            let Some(part) = part else {
                continue;
            };
            series.push(SelectedSeries { labels });
            parts.push(part);
        }
        Ok(Box::new(HeadSelection {
            series,
            parts,
            range,
            catalog: Arc::clone(&self.catalog),
            visible: self.visible,
        }))
    }

    fn label_names(
        &self,
        matchers: &[Matcher],
        limit: Option<usize>,
        budget: &Budget,
    ) -> Result<Vec<String>, ReadError> {
        budget.check()?;
        let mut names = Vec::new();
        let (delta, among) = self.with_samples(matchers);
        delta.label_names(Some(&among), &mut |name| {
            names.push(name.to_owned());
            ControlFlow::Continue(())
        });
        names.truncate(limit.unwrap_or(usize::MAX));
        Ok(names)
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: Option<usize>,
        budget: &Budget,
    ) -> Result<Vec<String>, ReadError> {
        budget.check()?;
        let mut values = Vec::new();
        let (delta, among) = self.with_samples(matchers);
        delta.label_values(name, Some(&among), &mut |value| {
            values.push(value.to_owned());
            ControlFlow::Continue(())
        });
        values.truncate(limit.unwrap_or(usize::MAX));
        Ok(values)
    }
}

/// Where the samples of one selected series are.
#[derive(Debug, Default)]
struct Parts {
    /// Pages with their file's and frame's index, ascending in time within a file.
    pages: Vec<(u32, u32, PageRef)>,
    /// Blocks and the series' column in each, ascending in time for one target.
    rows: Vec<(Arc<RowBlock>, u32)>,
    /// Whether `rows` come from more than one target.
    many_targets: bool,
    solo: Option<Arc<[SoloSample]>>,
}

impl Parts {
    fn is_empty(&self) -> bool {
        self.pages.is_empty() && self.rows.is_empty() && self.solo.is_none()
    }
}

/// What one request looks through: the blocks of each target, taken once, and the sealed files.
struct Views<'a> {
    blocks: HashMap<u32, Arc<[Arc<RowBlock>]>>,
    states: &'a States,
    catalog: &'a Catalog,
    visible: u64,
    range: TimeRange,
}

impl Views<'_> {
    /// Whether [`Views::capture`] would find anything, newest first and without collecting it.
    fn has_sample(&mut self, id: u32) -> bool {
        let range = self.range;
        let commits = self.catalog.sealed + 1..=self.visible;
        let sources = self.states.sources(id);
        let mut newest_first = sources.solo.iter().flat_map(|solo| solo.iter().rev());
        if newest_first
            .any(|sample| commits.contains(&sample.commit) && range.contains(sample.time))
        {
            return true;
        }
        for (target, hint) in &sources.targets {
            let blocks = self
                .blocks
                .entry(target.index)
                .or_insert_with(|| target.blocks());
            let has_sample = blocks.iter().rev().any(|block| {
                let column = block.column_of(id, *hint);
                column.is_some_and(|column| overlaps(block, column, &commits, range))
            });
            if has_sample {
                return true;
            }
        }
        self.catalog.files.iter().rev().any(|file| {
            file.series.contains(id)
                && file.segment.frames().iter().rev().any(|frame| {
                    frame.range().overlaps(&range)
                        && file.segment.pages_of(frame, id).next().is_some()
                })
        })
    }

    fn capture(&mut self, id: u32) -> Parts {
        let mut parts = Parts::default();
        let range = self.range;
        let commits = self.catalog.sealed + 1..=self.visible;
        for (file_index, file) in self.catalog.files.iter().enumerate() {
            if !file.series.contains(id) {
                continue;
            }
            for (frame_index, frame) in file.segment.frames().iter().enumerate() {
                if frame.range().overlaps(&range) {
                    let pages = file.segment.pages_of(frame, id);
                    parts
                        .pages
                        .extend(pages.map(|page| (file_index as u32, frame_index as u32, page)));
                }
            }
        }
        let sources = self.states.sources(id);
        let sees =
            |sample: &SoloSample| commits.contains(&sample.commit) && range.contains(sample.time);
        parts.solo = sources.solo.filter(|solo| solo.iter().any(sees));
        let mut targets = 0;
        for (target, hint) in &sources.targets {
            let blocks = self
                .blocks
                .entry(target.index)
                .or_insert_with(|| target.blocks());
            let before = parts.rows.len();
            for block in blocks.iter() {
                if let Some(column) = block.column_of(id, *hint)
                    && overlaps(block, column, &commits, range)
                {
                    parts.rows.push((Arc::clone(block), column));
                }
            }
            targets += usize::from(parts.rows.len() > before);
        }
        if targets > 1 {
            parts.rows.sort_by_key(|(block, _)| block.id);
            parts.many_targets = true;
        }
        parts
    }
}

/// Whether the block has a row with the column in the snapshot and range.
fn overlaps(
    block: &RowBlock,
    column: u32,
    commits: &RangeInclusive<u64>,
    range: TimeRange,
) -> bool {
    let mut rows = block.rows().filter(|row| commits.contains(&row.commit));
    let mut newest_first = block
        .rows()
        .rev()
        .filter(|row| commits.contains(&row.commit));
    let (Some(first), Some(last)) = (rows.next(), newest_first.next()) else {
        return false;
    };
    first.time <= range.max
        && last.time >= range.min
        && (last.has(column) && range.contains(last.time)
            || block.rows().any(|row| {
                commits.contains(&row.commit) && range.contains(row.time) && row.has(column)
            }))
}

#[derive(Debug)]
struct HeadSelection {
    series: Vec<SelectedSeries>,
    parts: Vec<Parts>,
    range: TimeRange,
    catalog: Arc<Catalog>,
    visible: u64,
}

impl HeadSelection {
    /// Whether a commit is in memory for this snapshot.
    fn sees(&self, commit: u64) -> bool {
        commit > self.catalog.sealed && commit <= self.visible
    }
}

impl Selection for HeadSelection {
    fn series(&self) -> &[SelectedSeries] {
        &self.series
    }

    fn estimate(&self, slice: TimeRange) -> Estimate {
        let mut samples = 0;
        for parts in &self.parts {
            for (block, _) in &parts.rows {
                samples += block
                    .rows()
                    .filter(|row| self.sees(row.commit) && slice.contains(row.time))
                    .count() as u64;
            }
            samples += parts
                .pages
                .iter()
                .map(|(.., page)| u64::from(page.len))
                .sum::<u64>();
            samples += parts.solo.as_ref().map_or(0, |solo| solo.len() as u64);
        }
        Estimate { samples }
    }

    fn scan<'a>(&'a self, slice: TimeRange, budget: &'a Budget) -> Box<dyn Scan + 'a> {
        Box::new(HeadScan {
            selection: self,
            range: TimeRange::new(self.range.min.max(slice.min), self.range.max.min(slice.max)),
            budget,
            times: Vec::new(),
            values: Vec::new(),
            pieces: Vec::new(),
            next_piece: 0,
            axes: Vec::new(),
            axis_of: HashMap::default(),
            columns: HashMap::default(),
            charged: 0,
        })
    }
}

/// An axis is named by the stretches of row blocks that it strings together.
type AxisKey = Vec<(u64, u32, u32)>;

/// A run to hand out.
struct Piece {
    /// Where its samples are in the scan's columns.
    samples: Range<usize>,
    /// The page that holds its values and how many values of the page come before them; plain
    /// values otherwise.
    page: Option<((u32, u32, PageRef), u32)>,
}

/// A number for axis keys, and the timestamps.
type TimeColumn = (u64, Arc<[Timestamp]>);

struct HeadScan<'a> {
    selection: &'a HeadSelection,
    range: TimeRange,
    budget: &'a Budget,
    times: Vec<Timestamp>,
    values: Vec<f64>,
    /// The series' runs; `times` has the timestamps of all, `values` the values of plain ones.
    pieces: Vec<Piece>,
    next_piece: usize,
    axes: Vec<Vec<Timestamp>>,
    axis_of: HashMap<AxisKey, AxisId>,
    /// Decoded time columns by file, frame and column, with a number for axis keys.
    columns: HashMap<(u32, u32, u16), TimeColumn>,
    charged: u64,
}

impl HeadScan<'_> {
    /// Appends the samples of a column; answers the stretch of rows when it has no gap.
    fn gather(&mut self, block: &RowBlock, column: u32) -> Option<(u64, u32, u32)> {
        let mut bits = 0;
        let mut first = None;
        let mut count = 0;
        let mut aligned = true;
        for (index, row) in block.rows().enumerate() {
            if row.commit > self.selection.visible || row.time > self.range.max {
                break;
            }
            if row.commit <= self.selection.catalog.sealed {
                return None;
            }
            if let Some(stored) = row.stored(column) {
                bits = stored;
            }
            if row.time < self.range.min {
                continue;
            }
            if !row.has(column) {
                aligned = false;
                continue;
            }
            let start = *first.get_or_insert(index as u32);
            aligned &= start + count == index as u32;
            count += 1;
            self.times.push(row.time);
            self.values.push(f64::from_bits(bits));
        }
        (aligned && count > 0).then(|| (block.id, first.unwrap_or_default(), count))
    }

    fn gather_solo(&mut self, solo: &[SoloSample]) {
        for sample in solo {
            if self.selection.sees(sample.commit) && self.range.contains(sample.time) {
                self.times.push(sample.time);
                self.values.push(sample.value);
            }
        }
    }

    /// Appends the part of a page that lies in the range; answers it as a stretch of its column.
    fn gather_page(
        &mut self,
        (file, frame, page): &(u32, u32, PageRef),
    ) -> Result<Option<(u64, u32, u32)>, ReadError> {
        let selection = self.selection;
        let segment = &selection.catalog.files[*file as usize].segment;
        let frame_ref = &segment.frames()[*frame as usize];
        let key = (*file, *frame, page.column);
        if !self.columns.contains_key(&key) {
            let mut times = Vec::new();
            segment.times(frame_ref, page.column, &mut times)?;
            let bytes = times.len() as u64 * 8;
            self.budget.charge(bytes)?;
            self.charged += bytes;
            // Row blocks are numbered from below, time columns from above.
            let number = u64::MAX - self.columns.len() as u64;
            self.columns.insert(key, (number, times.into()));
        }
        let (number, times) = &self.columns[&key];
        let first = page.first as usize;
        let times = times
            .get(first..first + page.len as usize)
            .unwrap_or_default();
        let start = times.partition_point(|time| *time < self.range.min);
        let end = times.partition_point(|time| *time <= self.range.max);
        if start >= end {
            return Ok(None);
        }
        self.times.extend_from_slice(&times[start..end]);
        let before = self.values.len();
        let after = before + end - start;
        self.values.resize(after, 0.0);
        self.pieces.push(Piece {
            samples: before..after,
            page: Some(((*file, *frame, *page), start as u32)),
        });
        Ok(Some((
            *number,
            (first + start) as u32,
            (end - start) as u32,
        )))
    }

    /// Brings samples of several sources into order, each time once; answers whether it had to.
    fn merge(&mut self) -> Result<bool, ReadError> {
        if self.times.is_sorted_by(|a, b| a < b) {
            return Ok(false);
        }
        for piece in &self.pieces {
            if let Some(((file, frame, page), skip)) = &piece.page {
                let segment = &self.selection.catalog.files[*file as usize].segment;
                let frame = &segment.frames()[*frame as usize];
                let (values, offset) = segment.page(frame, page)?;
                values
                    .decode_range(*skip as usize, &mut self.values[piece.samples.clone()])
                    .map_err(|error| error.at(segment.path(), offset))?;
            }
        }
        self.pieces.clear();
        let mut order: Vec<u32> = (0..self.times.len() as u32).collect();
        order.sort_by_key(|index| self.times[*index as usize]);
        order.dedup_by_key(|index| self.times[*index as usize]);
        self.values = order
            .iter()
            .map(|index| self.values[*index as usize])
            .collect();
        self.times = order
            .iter()
            .map(|index| self.times[*index as usize])
            .collect();
        self.pieces.push(Piece {
            samples: 0..self.times.len(),
            page: None,
        });
        Ok(true)
    }

    fn axis_for(&mut self, key: AxisKey) -> Result<AxisId, ReadError> {
        if let Some(axis) = self.axis_of.get(&key) {
            return Ok(*axis);
        }
        let bytes = self.times.len() as u64 * 8;
        self.budget.charge(bytes)?;
        self.charged += bytes;
        let axis = AxisId(self.axes.len() as u32);
        self.axes.push(self.times.clone());
        self.axis_of.insert(key, axis);
        Ok(axis)
    }
}

impl Drop for HeadScan<'_> {
    fn drop(&mut self) {
        self.budget.release(self.charged);
    }
}

impl Scan for HeadScan<'_> {
    fn seek(&mut self, series: usize) -> Result<Shape, ReadError> {
        self.budget.check()?;
        self.times.clear();
        self.values.clear();
        self.pieces.clear();
        self.next_piece = 0;
        let selection = self.selection;
        let parts = &selection.parts[series];
        let mut key = AxisKey::new();
        let mut aligned = !parts.many_targets && parts.solo.is_none();
        for page in &parts.pages {
            key.extend(self.gather_page(page)?);
        }
        let in_pages = self.times.len();
        for (block, column) in &parts.rows {
            let before = self.times.len();
            match self.gather(block, *column) {
                Some(stretch) => key.push(stretch),
                None => aligned &= self.times.len() == before,
            }
        }
        if let Some(solo) = &parts.solo {
            self.gather_solo(solo);
        }
        if self.times.len() > in_pages {
            self.pieces.push(Piece {
                samples: in_pages..self.times.len(),
                page: None,
            });
        }
        aligned &= !self.merge()?;
        if self.times.is_empty() {
            return Ok(Shape::Empty);
        }
        let len = self.times.len() as u32;
        if aligned {
            let axis = self.axis_for(key)?;
            Ok(Shape::Aligned {
                axis,
                first: 0,
                len,
            })
        } else {
            Ok(Shape::Loose { len_max: len })
        }
    }

    fn next_run(&mut self) -> Result<Option<Run<'_>>, ReadError> {
        let Some(piece) = self.pieces.get(self.next_piece) else {
            return Ok(None);
        };
        self.next_piece += 1;
        let times = &self.times[piece.samples.clone()];
        let Some(((file, frame, page), skip)) = &piece.page else {
            let values = &self.values[piece.samples.clone()];
            return Ok(Some(Run::floats(times, values)));
        };
        let segment = &self.selection.catalog.files[*file as usize].segment;
        let frame = &segment.frames()[*frame as usize];
        let (values, offset) = segment.page(frame, page)?;
        let place = (segment.path(), offset);
        Ok(Some(Run::page(
            times,
            values,
            *skip,
            page.may_be_stale,
            place,
        )))
    }

    fn axis(&mut self, id: AxisId) -> Result<&[Timestamp], ReadError> {
        Ok(&self.axes[id.0 as usize])
    }
}
