//! Selectors: from the store's runs to columns.
//!
//! An instant selector returns at each step the newest sample in `(t - lookback, t]` unless it is a
//! staleness marker. What depends on timestamps alone is computed once for all series that share
//! a time axis.

use std::{collections::HashMap, sync::Arc};

use narthex_storage::{
    AxisId, HistogramColumns, HistogramCounts, Kind, Labels, METRIC_NAME, MatchOp, Matcher,
    ResetHint, Scan, Select, Selection, Shape, TimeRange, Timestamp, Wants, is_stale_marker,
};

use crate::{
    FloatHistogram, Grid, QueryError,
    parser::{At, Edges, TimeModifiers, VectorSelector},
};

use super::{
    ABSENT, Evaluation, HistogramCell, Naming, Row, Sink, duration_ms,
    frame::{LAST_METADATA, hasher, is_metadata},
    window::Walk,
};

/// As many samples as looking for those of a series is worth at least.
pub(super) const SAMPLES_OF_SEEK: u64 = 64;

/// How many axes are kept with what was computed for them; when more are seen, all are forgotten.
const AXES_MAX: usize = 4096;

/// Where a selector looks: at the evaluation time or a fixed one, moved back by the offset.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reference {
    at: Option<Timestamp>,
    offset_ms: i64,
}

impl Reference {
    /// The time looked at when the expression is evaluated at `time`.
    #[inline]
    pub(crate) fn time(self, time: Timestamp) -> Timestamp {
        self.at.unwrap_or(time).saturating_sub(self.offset_ms)
    }

    /// The times looked at over a grid.
    pub(crate) fn times(self, grid: Grid) -> impl Iterator<Item = Timestamp> {
        (0..grid.steps()).map(move |step| self.time(grid.time(step)))
    }

    /// Everything that is read from `start` to `end`.
    pub(crate) fn extent(self, start: Timestamp, end: Timestamp, reach: Reach) -> TimeRange {
        TimeRange::new(
            self.time(start)
                .saturating_sub(reach.back_ms)
                .saturating_add(1),
            self.time(end).saturating_add(reach.ahead_ms),
        )
    }
}

/// How far around its time a selector reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reach {
    /// Before it; a sample exactly so old is not read.
    pub(crate) back_ms: i64,
    /// Behind it, inclusive.
    pub(crate) ahead_ms: i64,
}

/// The samples of one series, decoded.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    pub(crate) times: Vec<Timestamp>,
    /// Numbers; of no meaning where there is a histogram.
    pub(crate) values: Vec<f64>,
    /// The histograms: nothing, or a cell a sample.
    pub(crate) histograms: Vec<HistogramCell>,
    /// Start timestamps, 0 where none is known: nothing, or one a sample.
    pub(crate) starts: Vec<Timestamp>,
    pub(crate) may_be_stale: bool,
    /// `false`: no number is less than the one before it, as far as the store knew that without reading them.
    pub(crate) may_fall: bool,
    /// What the timestamps are, if another series can have the same ones.
    pub(crate) key: Option<AxisKey>,
}

/// Names a stretch of a time axis within one scan.
pub(crate) type AxisKey = (AxisId, u32, u32);

/// What is remembered by axis.
pub(crate) type AxisMap<T> = HashMap<AxisKey, T, foldhash::fast::RandomState>;

/// An empty [`AxisMap`].
pub(crate) fn axis_map<T>() -> AxisMap<T> {
    HashMap::with_hasher(hasher())
}

/// The entry of an axis, made when it is not known yet.
pub(crate) fn remember<T>(map: &mut AxisMap<T>, key: AxisKey, make: impl FnOnce() -> T) -> &mut T {
    if map.len() >= AXES_MAX && !map.contains_key(&key) {
        map.clear();
    }
    map.entry(key).or_insert_with(make)
}

impl Columns {
    /// The histogram at an index, if that is what the sample is.
    pub(crate) fn histogram(&self, index: u32) -> Option<&Arc<FloatHistogram>> {
        self.histograms.get(index as usize)?.as_ref()
    }

    /// Adds the histograms of a run. Of each that follows another it is looked up, once for all windows that it
    /// lies in, whether the counter began anew between them: the one before it may not be the one that it came
    /// after. Of the first one counts what the store found out then, but for resets, as in Prometheus, which
    /// cannot know whether the one before is still there.
    fn push_histograms(&mut self, decoded: &HistogramColumns, finds_resets: bool) {
        for histogram in FloatHistogram::from_columns(decoded) {
            let cell = histogram.map(|mut histogram| {
                let hint = histogram.reset_hint;
                if hint != ResetHint::Gauge {
                    histogram.reset_hint = ResetHint::Unknown;
                    histogram.reset_hint = match self.histograms.last() {
                        None if hint == ResetHint::NoReset => hint,
                        None | Some(None) => ResetHint::Unknown,
                        Some(Some(before)) => match histogram.is_reset_after(before) {
                            false if hint == ResetHint::Reset => ResetHint::Unknown,
                            false => ResetHint::NoReset,
                            true if finds_resets => ResetHint::Reset,
                            true => ResetHint::Unknown,
                        },
                    };
                }
                Arc::new(histogram)
            });
            self.histograms.push(cell);
        }
    }

    /// Removes the staleness markers; the timestamps are the series' own from then on if there were
    /// any.
    pub(crate) fn drop_stale(&mut self) {
        if !self.may_be_stale || !self.values.iter().any(|value| is_stale_marker(*value)) {
            return;
        }
        let mut kept = 0;
        for index in 0..self.values.len() {
            if !is_stale_marker(self.values[index]) {
                self.values[kept] = self.values[index];
                self.times[kept] = self.times[index];
                if !self.histograms.is_empty() {
                    self.histograms.swap(kept, index);
                }
                if !self.starts.is_empty() {
                    self.starts[kept] = self.starts[index];
                }
                kept += 1;
            }
        }
        self.values.truncate(kept);
        self.times.truncate(kept);
        self.histograms.truncate(kept);
        self.starts.truncate(kept);
        self.may_fall = true;
        self.key = None;
    }
}

impl Evaluation<'_> {
    /// Where a selector with these modifiers looks.
    pub(crate) fn reference(&self, modifiers: &TimeModifiers) -> Result<Reference, QueryError> {
        let offset_ms = match &modifiers.offset {
            Some(offset) => duration_ms(self, offset)?,
            None => 0,
        };
        let at = modifiers.at.map(|at| match at {
            At::Time(time) => time,
            At::Start => self.grid.start,
            At::End => self.grid.end,
        });
        Ok(Reference { at, offset_ms })
    }

    /// How far a selector reads for windows of so many milliseconds.
    pub(crate) fn reach(&self, edges: Edges, range_ms: i64) -> Reach {
        let beyond_ms = self.lookback_ms;
        let (before_ms, ahead_ms) = match edges {
            Edges::Plain => (0, 0),
            Edges::Anchored => (beyond_ms, 0),
            Edges::Smoothed => (beyond_ms, beyond_ms),
        };
        Reach {
            back_ms: range_ms.saturating_add(before_ms),
            ahead_ms,
        }
    }

    /// How far an instant selector reads; `anchored` means nothing to it.
    pub(crate) fn instant_reach(&self, selector: &VectorSelector) -> Reach {
        match selector.edges {
            Edges::Smoothed => self.reach(Edges::Smoothed, 0),
            Edges::Plain | Edges::Anchored => self.reach(Edges::Plain, self.lookback_ms),
        }
    }

    /// The series that a selector names, with samples in `range`; when they were selected ahead, perhaps some
    /// without.
    pub(crate) fn select(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Arc<dyn Selection>, QueryError> {
        if let Some(made) = self.selections.find(matchers, range) {
            self.check()?;
            if self.is_kept && made.has_metadata() {
                self.depends_on_grid.set(true);
            }
            return Ok(Arc::clone(&made.selection));
        }
        let selection = self.select_now(matchers, range)?;
        if self.is_kept && has_metadata(&*selection) {
            self.depends_on_grid.set(true);
        }
        Ok(selection)
    }

    /// The series that a selector names, with samples in `range`.
    pub(super) fn select_now(
        &self,
        matchers: &[Matcher],
        range: TimeRange,
    ) -> Result<Arc<dyn Selection>, QueryError> {
        self.check()?;
        let Some(querier) = &self.querier else {
            return Err(super::internal("no snapshot was taken"));
        };
        let request = Select {
            matchers,
            range,
            limit: None,
            wants: if self.options.features.start_timestamps {
                Wants::SamplesAndStartTimes
            } else {
                Wants::Samples
            },
        };
        let selection = querier.select(&request, self.context.budget);
        Ok(Arc::from(selection.map_err(|error| self.read(error))?))
    }

    /// Decodes one series of a scan; `false` when it has no sample.
    pub(crate) fn gather(
        &self,
        scan: &mut dyn Scan,
        series: usize,
        columns: &mut Columns,
    ) -> Result<bool, QueryError> {
        let shape = self.seek(scan, series)?;
        self.decode(scan, shape, columns)
    }

    /// Moves a scan to a series.
    pub(super) fn seek(&self, scan: &mut dyn Scan, series: usize) -> Result<Shape, QueryError> {
        scan.seek(series).map_err(|error| self.read(error))
    }

    /// Decodes the series of this shape that the scan has just sought; `false` when it has no sample.
    pub(super) fn decode(
        &self,
        scan: &mut dyn Scan,
        shape: Shape,
        columns: &mut Columns,
    ) -> Result<bool, QueryError> {
        let read = |error| self.read(error);
        columns.may_be_stale = false;
        columns.may_fall = false;
        let known = columns.key.take();
        columns.histograms.clear();
        columns.starts.clear();
        let own_times = match shape {
            Shape::Empty => return Ok(false),
            Shape::Aligned { axis, first, len } => {
                columns.key = Some((axis, first, len));
                // Series of one target follow each other, with the timestamps that are there already.
                if columns.key != known {
                    let times = scan.axis(axis).map_err(read)?;
                    let stretch = first as usize..(first + len) as usize;
                    columns.times.clear();
                    columns.times.extend_from_slice(&times[stretch]);
                }
                columns.values.resize(len as usize, 0.0);
                false
            }
            Shape::Loose { len_max } => {
                columns.times.resize(len_max as usize, 0);
                columns.values.resize(len_max as usize, 0.0);
                true
            }
        };
        let mut filled = 0;
        let mut decoded = HistogramColumns::default();
        while let Some(run) = scan.next_run().map_err(read)? {
            columns.may_be_stale |= run.may_be_stale();
            let end = filled + run.len();
            if columns.values.len() < end {
                return Err(super::internal("the store gave more samples than it said"));
            }
            match run.kind() {
                Kind::Float => {
                    run.values(&mut columns.values[filled..end]).map_err(read)?;
                    columns.may_fall |= run.may_fall();
                    if let [.., before] = columns.values[..filled]
                        && let [first, ..] = columns.values[filled..end]
                    {
                        columns.may_fall |= first < before;
                    }
                }
                Kind::Histogram => {
                    columns.may_fall = true;
                    // Behind another a reset of the first one is found, which then says so of itself. Otherwise it
                    // may be known of it that it is none, which what is computed with it does not tell.
                    if self.finds_resets {
                        self.depends_on_grid.set(true);
                    }
                    run.histograms(&mut decoded).map_err(read)?;
                    self.charge_histograms(&decoded)?;
                    columns.histograms.resize(filled, None);
                    columns.push_histograms(&decoded, self.finds_resets);
                    let ended = columns.histograms[filled..].iter().map(Option::is_none);
                    for (value, ended) in columns.values[filled..end].iter_mut().zip(ended) {
                        *value = if ended { ABSENT } else { 0.0 };
                    }
                }
            }
            if own_times {
                run.times(&mut columns.times[filled..end]).map_err(read)?;
            }
            if !run.start_times().is_empty() && self.options.features.start_timestamps {
                columns.starts.resize(filled, 0);
                columns.starts.extend_from_slice(run.start_times());
            }
            filled = end;
        }
        columns.values.truncate(filled);
        columns.times.truncate(filled);
        if !columns.histograms.is_empty() {
            columns.histograms.resize(filled, None);
        }
        if columns.starts.iter().all(|start| *start == 0) {
            columns.starts.clear();
        } else {
            columns.starts.resize(filled, 0);
        }
        Ok(filled > 0)
    }

    /// Takes the memory of decoded histograms from the query's budget.
    fn charge_histograms(&self, decoded: &HistogramColumns) -> Result<(), QueryError> {
        /// What a histogram takes beside its buckets.
        const FIXED_CELLS: usize = 24;
        let buckets = match &decoded.counts {
            HistogramCounts::Integer(counts) => counts.positive.len() + counts.negative.len(),
            HistogramCounts::Float(counts) => counts.positive.len() + counts.negative.len(),
        };
        self.charge((decoded.len() * (buckets + FIXED_CELLS)) as u64)
    }

    /// Hands the rows of an instant selector to `sink`.
    pub(crate) fn selector_rows(
        &mut self,
        selector: &VectorSelector,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        if selector.edges == Edges::Smoothed {
            return self.smoothed_rows(selector, grid, sink);
        }
        let mut floats = Vec::with_capacity(grid.steps());
        self.selector_samples(selector, grid, &mut |series, columns, newest| {
            floats.clear();
            let value = |index: &Option<u32>| match index {
                Some(index) => columns.values[*index as usize],
                None => ABSENT,
            };
            floats.extend(newest.iter().map(value));
            let mut histograms: Vec<HistogramCell> = Vec::new();
            if !columns.histograms.is_empty() {
                let cells = newest.iter();
                histograms.extend(cells.map(|index| columns.histogram((*index)?).cloned()));
                for (float, histogram) in floats.iter_mut().zip(&histograms) {
                    if histogram.is_some() {
                        *float = ABSENT;
                    }
                }
            }
            let row = Row {
                floats: &floats,
                histograms: &histograms,
                place: series.place,
            };
            // A staleness marker and an absent sample are the same thing in a cell.
            if row.is_empty() {
                return Ok(0);
            }
            sink(series.labels, Naming::Stays, row)?;
            Ok(row.samples())
        })
    }

    /// Hands to `sink`, for each series, its samples and at each step the index of the newest one
    /// within the lookback; `sink` answers how many samples it took.
    pub(crate) fn selector_samples(
        &mut self,
        selector: &VectorSelector,
        grid: Grid,
        sink: &mut SampleSink<'_>,
    ) -> Result<(), QueryError> {
        let reference = self.reference(&selector.modifiers)?;
        let times: Vec<Timestamp> = reference.times(grid).collect();
        self.samples_at(&selector.matchers, &|_| true, &times, sink)
    }

    /// [`Evaluation::selector_samples`] for the series that pass `matchers` and `is_wanted`, at `times`, which
    /// ascend and are at least one.
    pub(crate) fn samples_at(
        &mut self,
        matchers: &[Matcher],
        is_wanted: &dyn Fn(&Labels) -> bool,
        times: &[Timestamp],
        sink: &mut SampleSink<'_>,
    ) -> Result<(), QueryError> {
        let range = TimeRange::new(
            times[0].saturating_sub(self.lookback_ms).saturating_add(1),
            times[times.len() - 1],
        );
        let selection = self.select(matchers, range)?;
        self.foresee_rows(&*selection, range, self.lookback_ms, times)?;
        let budget = self.context.budget;
        let mut scan = selection.scan(range, budget);
        let mut columns = Columns::default();
        let mut known = axis_map();
        let mut own = Vec::new();
        let mut worked = 0;
        for (index, series) in selection.series().iter().enumerate() {
            self.check_after(&mut worked)?;
            worked += SAMPLES_OF_SEEK;
            if !is_wanted(&series.labels) || !self.gather(&mut *scan, index, &mut columns)? {
                continue;
            }
            worked += (columns.times.len() + times.len()) as u64;
            let find = |out: &mut Vec<Option<u32>>| {
                newest(&columns.times, times.iter().copied(), self.lookback_ms, out);
            };
            let newest: &[Option<u32>] = if let Some(key) = columns.key {
                remember(&mut known, key, || {
                    let mut out = Vec::new();
                    find(&mut out);
                    out
                })
            } else {
                find(&mut own);
                &own
            };
            let found = Found {
                labels: &series.labels,
                place: selection.place(index),
            };
            let taken = sink(&found, &columns, newest)?;
            self.look_at_samples(&columns, newest, taken)?;
        }
        Ok(())
    }
}

/// A series that a selector found.
pub(crate) struct Found<'s> {
    pub(crate) labels: &'s Labels,
    /// See [`Row::place`].
    pub(crate) place: u64,
}

/// Receives the samples of an instant selector, see [`Evaluation::selector_samples`].
pub(crate) type SampleSink<'s> =
    dyn FnMut(&Found<'_>, &Columns, &[Option<u32>]) -> Result<u64, QueryError> + 's;

/// For each end the index of the newest time in `(end - lookback_ms, end]`.
fn newest(
    times: &[Timestamp],
    ends: impl Iterator<Item = Timestamp>,
    lookback_ms: i64,
    out: &mut Vec<Option<u32>>,
) {
    out.clear();
    out.reserve(ends.size_hint().0);
    let mut high = Walk::default();
    for end in ends {
        let index = high
            .pass(times, end)
            .checked_sub(1)
            .filter(|index| times[*index] > end.saturating_sub(lookback_ms));
        out.push(index.map(|index| index as u32));
    }
}

/// Whether a series has a label beside its name that goes with it: then series may come out equal.
pub(super) fn has_metadata(selection: &dyn Selection) -> bool {
    let mut series = selection.series().iter();
    series.any(|series| {
        // Labels are sorted, and few come before the last of these.
        let names = series.labels.iter().map(|(name, _)| name);
        let mut first = names.take_while(|name| *name <= LAST_METADATA);
        first.any(|name| is_metadata(name.as_bytes()) && name != METRIC_NAME)
    })
}

/// Whether every series of the selector has the same metric name.
pub(crate) fn has_one_name(selector: &VectorSelector) -> bool {
    selector
        .matchers
        .iter()
        .any(|matcher| matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal)
}
