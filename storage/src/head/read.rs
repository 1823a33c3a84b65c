//! Snapshots: the read contract over a [`Head`].
//!
//! A select captures, under each source's lock for a moment, everything it will read: the blocks of
//! the targets, the solo samples of the series, the frames of the segment files. Blocks and solo
//! samples are taken before frames, and a seal adds a frame before it removes a block, so nothing is
//! missed; what is seen twice has the same commit numbers and is taken once.

use std::sync::{Arc, PoisonError};

use super::{
    HashMap, Head, Queriers,
    row::RowBlock,
    series::{Series, SoloSample},
};
use crate::{
    AxisId, Budget, Estimate, Matcher, Querier, ReadError, Run, Scan, Select, SelectedSeries,
    Selection, Shape, TimeRange, Timestamp, Wants,
};

/// A snapshot.
#[derive(Debug)]
pub(crate) struct HeadQuerier {
    head: Arc<Head>,
    range: TimeRange,
    visible: u64,
    serial: u64,
}

impl HeadQuerier {
    pub(crate) fn new(head: &Arc<Head>, range: TimeRange) -> Self {
        let mut queriers = head.queriers.lock().unwrap_or_else(PoisonError::into_inner);
        let Queriers { next, live } = &mut *queriers;
        *next += 1;
        let visible = head.visible();
        live.insert(*next, visible);
        Self {
            head: Arc::clone(head),
            range,
            visible,
            serial: *next,
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
        let found = self.head.read_index().select(request.matchers);
        let range = TimeRange::new(
            self.range.min.max(request.range.min),
            self.range.max.min(request.range.max),
        );
        let limit = request.limit.unwrap_or(usize::MAX);
        let mut views = Views::default();
        let mut series = Vec::new();
        let mut parts = Vec::new();
        for candidate in found {
            if parts.len() >= limit {
                break;
            }
            let part = views.capture(&candidate, self.visible, range);
            if part.is_empty() {
                continue;
            }
            series.push(SelectedSeries {
                labels: candidate.labels.clone(),
            });
            parts.push(if request.wants == Wants::Labels {
                Parts::default()
            } else {
                part
            });
        }
        Ok(Box::new(HeadSelection {
            series,
            parts,
            range,
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
        Ok(self.head.read_index().label_names(matchers, limit))
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: Option<usize>,
        budget: &Budget,
    ) -> Result<Vec<String>, ReadError> {
        budget.check()?;
        Ok(self.head.read_index().label_values(name, matchers, limit))
    }
}

/// Where the samples of one selected series are.
#[derive(Debug, Default)]
struct Parts {
    /// Blocks and the series' column in each, ascending in time for one target.
    rows: Vec<(Arc<RowBlock>, u32)>,
    /// Whether `rows` come from more than one target.
    many_targets: bool,
    solo: Option<Arc<[SoloSample]>>,
}

impl Parts {
    fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.solo.is_none()
    }
}

/// The blocks of each target, taken once a selection.
#[derive(Default)]
struct Views {
    blocks: HashMap<u32, Arc<[Arc<RowBlock>]>>,
}

impl Views {
    fn capture(&mut self, series: &Series, visible: u64, range: TimeRange) -> Parts {
        let mut parts = Parts::default();
        let mut sources = series.sources();
        let solo = sources.solo();
        let bindings = sources.bindings.clone();
        drop(sources);
        let sees = |sample: &SoloSample| sample.commit <= visible && range.contains(sample.time);
        parts.solo = solo.iter().any(sees).then_some(solo);
        let mut targets = 0;
        for binding in &bindings {
            let blocks = self
                .blocks
                .entry(binding.target.index)
                .or_insert_with(|| binding.target.blocks());
            let before = parts.rows.len();
            for block in blocks.iter() {
                if block.series_of(binding.column) == Some(series.id)
                    && overlaps(block, binding.column, visible, range)
                {
                    parts.rows.push((Arc::clone(block), binding.column));
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
fn overlaps(block: &RowBlock, column: u32, visible: u64, range: TimeRange) -> bool {
    let mut rows = block.rows().filter(|row| row.commit <= visible);
    let mut newest_first = block.rows().rev().filter(|row| row.commit <= visible);
    let (Some(first), Some(last)) = (rows.next(), newest_first.next()) else {
        return false;
    };
    first.time <= range.max
        && last.time >= range.min
        && (last.has(column) && range.contains(last.time)
            || block
                .rows()
                .any(|row| row.commit <= visible && range.contains(row.time) && row.has(column)))
}

#[derive(Debug)]
struct HeadSelection {
    series: Vec<SelectedSeries>,
    parts: Vec<Parts>,
    range: TimeRange,
    visible: u64,
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
                    .filter(|row| row.commit <= self.visible && slice.contains(row.time))
                    .count() as u64;
            }
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
            pending: false,
            axes: Vec::new(),
            axis_of: HashMap::default(),
            charged: 0,
        })
    }
}

/// An axis is named by the stretches of row blocks that it strings together.
type AxisKey = Vec<(u64, u32, u32)>;

struct HeadScan<'a> {
    selection: &'a HeadSelection,
    range: TimeRange,
    budget: &'a Budget,
    times: Vec<Timestamp>,
    values: Vec<f64>,
    /// Whether the series' run was not handed out yet.
    pending: bool,
    axes: Vec<Vec<Timestamp>>,
    axis_of: HashMap<AxisKey, AxisId>,
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
            if sample.commit <= self.selection.visible && self.range.contains(sample.time) {
                self.times.push(sample.time);
                self.values.push(sample.value);
            }
        }
    }

    /// Brings samples of several sources into order, each time once.
    fn merge(&mut self) {
        if self.times.is_sorted_by(|a, b| a < b) {
            return;
        }
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
        let selection = self.selection;
        let parts = &selection.parts[series];
        let mut key = AxisKey::new();
        let mut aligned = !parts.many_targets && parts.solo.is_none();
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
        self.merge();
        self.pending = !self.times.is_empty();
        if !self.pending {
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
        if !std::mem::take(&mut self.pending) {
            return Ok(None);
        }
        Ok(Some(Run::floats(&self.times, &self.values)))
    }

    fn axis(&mut self, id: AxisId) -> Result<&[Timestamp], ReadError> {
        Ok(&self.axes[id.0 as usize])
    }
}
