//! The two doors of the write contract, over a [`Head`].

use std::sync::{Arc, PoisonError, atomic::Ordering};

use super::{
    Bounds, HashMap, Head, Known,
    commit::{Outcome, Work},
    histograms::PushedHistogram,
    pushes::Push,
    recent::Cursor,
    target::TargetWriter,
};
use crate::{
    AppendError, Appender, Column, Commit, Exemplar, Histogram, Kind, Labels, Metadata, Refusal,
    RowBuilder, Sample, SeriesRef, TargetAppender, TargetKey, Timestamp,
    codec::{PackedHistogram, PackedSample},
    is_stale_marker, start_times,
    wal::{WriteFailure, encode_exemplars},
};

/// Room for so many samples is made at once, if as many came before.
const ROOM_MAX: usize = 1 << 12;

/// Appends rows of one target.
#[derive(Debug)]
pub(crate) struct HeadTargetAppender {
    head: Arc<Head>,
    target: u32,
}

impl HeadTargetAppender {
    pub(crate) fn new(head: &Arc<Head>, key: &TargetKey) -> Result<Self, AppendError> {
        let mut guard = head.state();
        let state = &mut *guard;
        if state.closed {
            return Err(AppendError::Closed);
        }
        let index = match state.by_key.get(key) {
            Some(index) => *index,
            None => {
                let is_new = state.free_targets.is_empty();
                let next = state.targets.len() as u32;
                let index = state.free_targets.pop().unwrap_or(next);
                let writer = TargetWriter::new(index, Some(key.clone()));
                head.states.set_target(Arc::clone(&writer.target));
                if is_new {
                    state.targets.push(writer);
                } else {
                    state.targets[index as usize] = writer;
                }
                state.by_key.insert(key.clone(), index);
                index
            }
        };
        let writer = &mut state.targets[index as usize];
        if writer.live {
            return Err(AppendError::TargetBusy(key.0.clone()));
        }
        writer.dissolve();
        writer.live = true;
        Ok(Self {
            head: Arc::clone(head),
            target: index,
        })
    }
}

impl TargetAppender for HeadTargetAppender {
    fn column(&mut self, labels: &Labels) -> Result<Column, Refusal> {
        self.head.column(self.target, labels).map(Column)
    }

    fn retire(&mut self, column: Column) {
        let mut state = self.head.state();
        let writer = &mut state.targets[self.target as usize];
        if writer.series_of(column.0).is_some() {
            writer.retired.insert(column.0);
            writer.release_retired();
        }
    }

    fn keeps_exemplars(&self) -> bool {
        self.head.exemplars.is_enabled()
    }

    fn commit(&mut self, row: &mut RowBuilder) -> Result<Commit, AppendError> {
        let exemplars = std::mem::take(&mut row.exemplars);
        let work = Work::Row {
            target: self.target,
            row: std::mem::take(row),
        };
        let (work, outcome) = self.head.commit(work);
        if let Some(Work::Row { row: used, .. }) = work {
            *row = used;
            row.begin(row.time());
        }
        match outcome {
            Outcome::Done(Ok(mut commit)) => {
                if !exemplars.is_empty() {
                    let exemplars = self.head.of_columns(self.target, exemplars);
                    commit.exemplars_out_of_order = self.head.keep_exemplars(exemplars);
                }
                Ok(commit)
            }
            Outcome::Done(result) => result,
            Outcome::NotInPreviousRow(column) => {
                panic!("column {column} is not in the target's previous row")
            }
        }
    }
}

impl Drop for HeadTargetAppender {
    fn drop(&mut self) {
        let mut state = self.head.state();
        let writer = &mut state.targets[self.target as usize];
        writer.dissolve();
    }
}

/// Appends any mix of series.
#[derive(Debug)]
pub(crate) struct HeadAppender {
    head: Arc<Head>,
    bounds: Bounds,
    /// The list that the numbers of series are of.
    known: Known,
    recent: Cursor,
    /// The references that were given out: numbers of series, as they were then. No number is given twice.
    given: Vec<u32>,
    /// Of those whose series have other numbers in `known`: the number by the reference.
    renamed: HashMap<u32, u32>,
    /// And the reference by the number.
    references: HashMap<u32, u32>,
    /// Number of the series, sample.
    samples: Vec<(u32, Sample)>,
    /// Labels of the series, exemplar.
    exemplars: Vec<(Labels, Exemplar)>,
    histograms: Vec<PushedHistogram>,
    /// What came last for a series, as far as it was needed to know: of histograms, and of the first `looked_at`
    /// numbers.
    latest: HashMap<u32, Kind>,
    looked_at: usize,
    metadata: Vec<(String, Metadata)>,
    /// Samples of siblings.
    starts: Vec<(u32, Sample)>,
}

impl HeadAppender {
    pub(crate) fn new(head: &Arc<Head>) -> Self {
        // Who pushes sends about as much each time.
        let room = head.pushed.load(Ordering::Relaxed);
        Self {
            head: Arc::clone(head),
            bounds: head.bounds(),
            known: head.catalog().known.clone(),
            recent: Cursor::default(),
            given: Vec::with_capacity(room),
            renamed: HashMap::default(),
            references: HashMap::default(),
            samples: Vec::with_capacity(room),
            exemplars: Vec::new(),
            histograms: Vec::new(),
            latest: HashMap::default(),
            looked_at: 0,
            metadata: Vec::new(),
            starts: Vec::new(),
        }
    }

    /// Notes the numbers that came since it was called last.
    fn look_at_samples(&mut self) {
        for (id, _) in &self.samples[self.looked_at..] {
            self.latest.insert(*id, Kind::Float);
        }
        self.looked_at = self.samples.len();
    }

    /// Whether a staleness marker ends a series of native histograms, and is one of them then, as in Prometheus
    /// (`headAppender.Append` in `tsdb/head_append.go`).
    fn ends_histograms(&mut self, id: u32) -> bool {
        let is_committed = self.head.ends_in_histogram(id);
        if !is_committed && self.histograms.is_empty() {
            return false;
        }
        self.look_at_samples();
        let latest = self.latest.get(&id);
        latest.map_or(is_committed, |kind| *kind == Kind::Histogram)
    }

    #[inline(never)]
    fn push_all(&mut self, id: u32, samples: &[Sample]) {
        for sample in samples {
            if is_stale_marker(sample.value) && self.ends_histograms(id) {
                let (time, histogram) =
                    (sample.time, PackedHistogram::of_valid(&Histogram::stale()));
                self.push_histogram(id, Some(PackedSample { time, histogram }));
            } else {
                self.samples.push((id, *sample));
            }
        }
    }

    fn push_histogram(&mut self, id: u32, sample: Option<PackedSample>) {
        self.look_at_samples();
        self.latest.insert(id, Kind::Histogram);
        self.histograms.push(PushedHistogram {
            behind: self.samples.len(),
            id,
            sample,
        });
    }
}

impl HeadAppender {
    /// The number of a series in `known`, found or created.
    #[inline]
    fn find(&mut self, labels: &Labels) -> Result<u32, Refusal> {
        match self.recent.follow(labels) {
            Some(id) => Ok(id),
            None => self.find_anywhere(labels),
        }
    }

    #[inline(never)]
    fn find_anywhere(&mut self, labels: &Labels) -> Result<u32, Refusal> {
        // What is followed was found here: to be refused, its bytes need not be looked at again. Siblings that keep
        // start timestamps are known under such labels.
        if labels.has_empty_name() {
            return Err(Refusal::InvalidLabels);
        }
        // Who would have to wait finds it by itself.
        let mut recent = self.head.recent.try_lock().ok();
        if let Some(recent) = &mut recent
            && let Some(id) = recent.find(&mut self.recent, labels, &self.known)
        {
            return Ok(id);
        }
        let Some(id) = self.known.find(labels) else {
            drop(recent);
            return self.create(labels);
        };
        if let Some(recent) = &mut recent {
            recent.insert(&mut self.recent, labels, id);
        }
        Ok(id)
    }

    /// The number of a series that is not in `known`, which becomes the list of now.
    fn create(&mut self, labels: &Labels) -> Result<u32, Refusal> {
        let head = &self.head;
        // While it is held, a seal replaces no list.
        let mut next_id = head.next_id.lock().unwrap_or_else(PoisonError::into_inner);
        let now = head.catalog().known.clone();
        if now.generation() != self.known.generation() {
            self.given.sort_unstable();
            self.given.dedup();
            let mut changed = HashMap::default();
            for given in &self.given {
                let id = self.renamed.get(given).copied().unwrap_or(*given);
                let again = head.again(&self.known, &now, id, &mut next_id);
                if again != id {
                    changed.insert(id, again);
                    self.renamed.insert(*given, again);
                }
            }
            let renamed = self.renamed.iter();
            self.references = renamed.map(|(given, id)| (*id, *given)).collect();
            for (id, _) in self.samples.iter_mut().chain(&mut self.starts) {
                *id = changed.get(id).copied().unwrap_or(*id);
            }
            for pushed in &mut self.histograms {
                pushed.id = changed.get(&pushed.id).copied().unwrap_or(pushed.id);
            }
            let latest = std::mem::take(&mut self.latest).into_iter();
            let latest = latest.map(|(id, kind)| (changed.get(&id).copied().unwrap_or(id), kind));
            self.latest = latest.collect();
            self.known = now;
            self.recent.forget_list();
        }
        Ok(head.create(&self.known, labels, &mut next_id)?.0)
    }

    fn id(&self, series: SeriesRef) -> u32 {
        self.renamed.get(&series.0).copied().unwrap_or(series.0)
    }
}

impl Appender for HeadAppender {
    fn series(&mut self, labels: &Labels) -> Result<SeriesRef, Refusal> {
        let id = self.find(labels)?;
        let given = if self.references.is_empty() {
            id
        } else {
            self.references.get(&id).copied().unwrap_or(id)
        };
        self.given.push(given);
        Ok(SeriesRef(given))
    }

    fn samples(&mut self, series: SeriesRef, samples: &[Sample]) {
        if let [sample] = samples
            && self.renamed.is_empty()
            && !is_stale_marker(sample.value)
        {
            self.samples.push((series.0, *sample));
        } else {
            self.push_all(self.id(series), samples);
        }
    }

    fn start_times(
        &mut self,
        series: &Labels,
        starts: &[(Timestamp, Timestamp)],
    ) -> Result<(), Refusal> {
        let labels = start_times::sibling_of(series);
        let id = match self.known.find(&labels) {
            Some(id) => id,
            None => {
                // There are no more siblings than series.
                self.find(series)?;
                self.create(&labels)?
            }
        };
        let starts = starts.iter();
        let starts = starts.filter_map(|(time, start)| start_times::to_sample(*time, *start));
        self.starts.extend(starts.map(|sample| (id, sample)));
        Ok(())
    }

    fn exemplar(&mut self, series: &Labels, exemplar: Exemplar) {
        self.exemplars.push((series.clone(), exemplar));
    }

    fn histograms(&mut self, series: SeriesRef, histograms: &[(Timestamp, Histogram)]) {
        let id = self.id(series);
        for (time, histogram) in histograms {
            let sample = PackedHistogram::new(histogram).map(|histogram| PackedSample {
                time: *time,
                histogram,
            });
            self.push_histogram(id, sample.ok());
        }
    }

    fn metadata(&mut self, family: &str, metadata: Metadata) {
        self.metadata.push((family.to_owned(), metadata));
    }

    fn commit(mut self: Box<Self>, all_or_nothing: bool) -> Result<Commit, AppendError> {
        let pushed = self.samples.len().min(ROOM_MAX);
        self.head.pushed.store(pushed, Ordering::Relaxed);
        let (_, outcome) = self.head.commit(Work::Push(Push {
            bounds: self.bounds,
            known: self.known.clone(),
            samples: std::mem::take(&mut self.samples),
            histograms: std::mem::take(&mut self.histograms),
            metadata: std::mem::take(&mut self.metadata),
            starts: std::mem::take(&mut self.starts),
            all_or_nothing,
        }));
        match outcome {
            Outcome::Done(Ok(mut commit)) => {
                let mut exemplars = std::mem::take(&mut self.exemplars);
                let is_kept = !all_or_nothing || commit.refused.is_empty();
                if is_kept && !exemplars.is_empty() {
                    exemplars.retain(|(series, _)| self.head.has_series(series));
                    commit.exemplars_out_of_order = self.head.keep_exemplars(exemplars);
                }
                Ok(commit)
            }
            Outcome::Done(result) => result,
            Outcome::NotInPreviousRow(_) => unreachable!("only rows refer to a previous row"),
        }
    }
}

impl Head {
    /// The number of the newest visible commit.
    pub(crate) fn visible(&self) -> u64 {
        self.visible.newest()
    }

    fn has_series(&self, labels: &Labels) -> bool {
        self.catalog().known.find(labels).is_some()
    }

    /// The exemplars of a target's columns with the labels of their series.
    fn of_columns(
        &self,
        target: u32,
        exemplars: Vec<(Column, Exemplar)>,
    ) -> Vec<(Labels, Exemplar)> {
        if !self.exemplars.is_enabled() {
            return Vec::new();
        }
        let mut of_series = Vec::with_capacity(exemplars.len());
        {
            let state = self.state();
            let writer = &state.targets[target as usize];
            for (column, exemplar) in exemplars {
                of_series.extend(writer.series_of(column.0).map(|id| (id, exemplar)));
            }
        }
        let known = &self.catalog().known;
        let with_labels = of_series
            .into_iter()
            .filter_map(|(id, exemplar)| Some((known.labels(id)?, exemplar)));
        with_labels.collect()
    }

    /// Keeps exemplars, in the log too; answers how many came too late. A disk that does not take
    /// them costs no more than their survival.
    fn keep_exemplars(&self, exemplars: Vec<(Labels, Exemplar)>) -> u32 {
        // The log has them in the order of the ring.
        let mut state = self.state();
        let (exemplars, late) = self.exemplars.append(exemplars);
        if exemplars.is_empty() || state.poisoned || state.closed {
            return late;
        }
        let mut records = Vec::new();
        encode_exemplars(&mut records, &exemplars);
        if let Err(failure) = state.wal.write(&records) {
            state.poisoned |= matches!(failure, WriteFailure::Unknown(_));
            self.counters
                .wal_write_failures
                .fetch_add(1, Ordering::Relaxed);
        }
        late
    }

    /// Bytes of the log, and the number of the segment that is written.
    pub(crate) fn wal_size(&self) -> (u64, u64) {
        let state = self.state();
        (state.wal.bytes(), state.wal.number())
    }
}
