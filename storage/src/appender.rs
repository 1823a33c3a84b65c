//! The write contract: what scraping, rules and pushing see of a store.
//!
//! Two doors: a [`TargetAppender`] for a source that produces one row of samples at a time with one
//! timestamp (a scrape target, a rule group), and an [`Appender`] for any mix of series (remote
//! write, imports, tests). Both refuse single samples with a reason and keep the rest; whether a
//! refusal fails the whole is the caller's policy, decided before `commit` returns by
//! [`Appender::commit`]'s `all_or_nothing`.

use std::ops::Range;

use crate::{
    AppendError, Exemplar, Histogram, Labels, Metadata, MetadataRefusal, Refusal, Sample,
    Timestamp, codec::PackedHistogram,
};

/// Something that can be written to.
pub trait Appendable: Send + Sync {
    /// The row appender of a target, exclusive: a second live one is refused. Columns of an earlier
    /// appender of the same key are forgotten; its series go on.
    ///
    /// # Errors
    /// [`AppendError::TargetBusy`], [`AppendError::Closed`].
    fn target(&self, key: &TargetKey) -> Result<Box<dyn TargetAppender>, AppendError>;

    /// An appender for any mix of series.
    fn appender(&self) -> Box<dyn Appender>;
}

/// Names a target for the life of the store, across restarts: equal keys are the same target.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetKey(pub String);

/// A series' place in the rows of one target, valid for one [`TargetAppender`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Column(pub u32);

/// Appends rows of one target.
pub trait TargetAppender: Send {
    /// The column of a series, found or created.
    ///
    /// # Errors
    /// [`Refusal::SeriesLimit`], [`Refusal::InvalidLabels`].
    fn column(&mut self, labels: &Labels) -> Result<Column, Refusal>;

    /// Says that the caller forgets this column; its number may be given to another series later.
    fn retire(&mut self, column: Column);

    /// Whether exemplars are kept; else they need not be handed over.
    fn keeps_exemplars(&self) -> bool;

    /// Appends the row: every column in it at the row's time; a staleness marker for every column
    /// that the previous row had and this one lacks. The row is emptied, its buffers stay.
    ///
    /// A row at the previous row's time: equal bits are accepted silently, others are
    /// [`Refusal::Duplicate`]; an earlier one is [`Refusal::OutOfOrder`].
    ///
    /// # Errors
    /// [`AppendError`]: nothing of the row was kept.
    fn commit(&mut self, row: &mut RowBuilder) -> Result<Commit, AppendError>;
}

/// Appends samples of any mix of series; dropping it without a commit keeps nothing.
pub trait Appender: Send {
    /// The reference of a series for this appender, found or created: always the same for the same labels.
    ///
    /// # Errors
    /// [`Refusal::SeriesLimit`], [`Refusal::InvalidLabels`].
    fn series(&mut self, labels: &Labels) -> Result<SeriesRef, Refusal>;

    /// Adds samples of one series, ascending in time.
    fn samples(&mut self, series: SeriesRef, samples: &[Sample]);

    /// Says since when samples of one series count: of each time of a sample, ascending, the time when its
    /// counting began, in milliseconds; 0 is unknown. Kept with the commit, and given to who wants it
    /// with the samples at these times. The first one of a time stays; what is too late is passed over.
    ///
    /// # Errors
    /// As [`Appender::series`]: they are kept beside the series as another one is.
    fn start_times(
        &mut self,
        series: &Labels,
        starts: &[(Timestamp, Timestamp)],
    ) -> Result<(), Refusal>;

    /// Adds an exemplar of a series that the store has or that samples were added for. It is taken
    /// after the commit, and refused by itself.
    fn exemplar(&mut self, series: &Labels, exemplar: Exemplar);

    /// Adds native histograms of one series, ascending in time. Numbers and histograms of a series are
    /// judged together, in the order in which they were added; a histogram at the time of a number is
    /// [`Refusal::Duplicate`].
    fn histograms(&mut self, series: SeriesRef, histograms: &[(Timestamp, Histogram)]);

    /// Adds what is said of a metric family. It is seen together with the samples; what is kept already
    /// costs nothing, and a refusal is for it alone.
    fn metadata(&mut self, family: &str, metadata: Metadata);

    /// Appends everything added and returns once the record was handed to the kernel. With
    /// `all_or_nothing` a single refused sample keeps everything out (the refusals are still listed).
    ///
    /// # Errors
    /// [`AppendError`]: nothing of the commit was kept.
    fn commit(self: Box<Self>, all_or_nothing: bool) -> Result<Commit, AppendError>;
}

/// Names a series within one [`Appender`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesRef(pub u32);

/// What a commit did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// The number of samples kept, staleness markers that the store added not counted.
    pub accepted: u32,
    /// The samples refused, by their index: for an [`Appender`] the order in which they were added;
    /// for a row first the [`RowBuilder::set`] calls in order, then the [`RowBuilder::at`] calls, the
    /// columns of the [`RowBuilder::same`] calls and the [`RowBuilder::histogram`] calls.
    pub refused: Vec<(u32, Refusal)>,
    /// The number of exemplars that came before their series' newest one.
    pub exemplars_out_of_order: u32,
    /// The metadata refused, by the order in which it was added.
    pub metadata_refused: Vec<(u32, MetadataRefusal)>,
}

/// One row of a target, filled by the caller and emptied by [`TargetAppender::commit`].
#[derive(Debug, Default)]
pub struct RowBuilder {
    pub(crate) time: Timestamp,
    pub(crate) same: Vec<Range<u32>>,
    pub(crate) set: Vec<(Column, f64)>,
    pub(crate) at: Vec<(Column, Sample)>,
    pub(crate) exemplars: Vec<(Column, Exemplar)>,
    /// `None`: it is invalid.
    pub(crate) histograms: Vec<(Column, Option<PackedHistogram>)>,
    pub(crate) metadata: Vec<(String, Metadata)>,
}

impl RowBuilder {
    /// Starts a row at `time`, forgetting what was in it.
    pub fn begin(&mut self, time: Timestamp) {
        self.time = time;
        self.same.clear();
        // The first row of a target sets every column, later ones as a rule a part.
        self.set.shrink_to(2 * self.set.len());
        self.set.clear();
        self.at.clear();
        self.exemplars.clear();
        self.histograms.clear();
        self.metadata.clear();
    }

    /// The columns of the range are present with the bits of the target's previous row.
    /// [`TargetAppender::commit`] panics when the previous row lacks one of them.
    pub fn same(&mut self, columns: Range<Column>) {
        self.same.push(columns.start.0..columns.end.0);
    }

    /// The column is present with this value. Ascending is fast, any order is right; the second
    /// value for a column in one row is [`Refusal::Duplicate`].
    pub fn set(&mut self, column: Column, value: f64) {
        self.set.push((column, value));
    }

    /// A sample with a time of its own: kept apart from the row, gets no staleness marker when it is
    /// missing from the next row.
    pub fn at(&mut self, column: Column, time: Timestamp, value: f64) {
        self.at.push((column, Sample { time, value }));
    }

    /// An exemplar of the column's series, taken once the row is and refused by itself; ascending by
    /// time, value and labels for one column.
    pub fn exemplar(&mut self, column: Column, exemplar: Exemplar) {
        self.exemplars.push((column, exemplar));
    }

    /// The column is present with a native histogram at the row's time. A second sample for a column in
    /// one row is [`Refusal::Duplicate`]; a column that is missing from the next row gets a staleness
    /// marker, as others do.
    pub fn histogram(&mut self, column: Column, histogram: &Histogram) {
        let packed = PackedHistogram::new(histogram).ok();
        self.histograms.push((column, packed));
    }

    /// What the target says of a metric family, as [`Appender::metadata`]. A family of which a row says
    /// nothing goes on as it was, so only what the target has not said before need be given.
    pub fn metadata(&mut self, family: &str, metadata: Metadata) {
        self.metadata.push((family.to_owned(), metadata));
    }

    /// The columns that [`RowBuilder::same`] named, range by range.
    pub fn unchanged(&self) -> impl Iterator<Item = Range<Column>> + '_ {
        let ranges = self.same.iter();
        ranges.map(|range| Column(range.start)..Column(range.end))
    }

    /// The values given to [`RowBuilder::set`], in order.
    pub fn values(&self) -> &[(Column, f64)] {
        &self.set
    }

    /// The samples given to [`RowBuilder::at`], in order.
    pub fn timed(&self) -> &[(Column, Sample)] {
        &self.at
    }

    /// What was given to [`RowBuilder::metadata`], in order.
    pub fn families(&self) -> &[(String, Metadata)] {
        &self.metadata
    }

    /// The row's time.
    pub fn time(&self) -> Timestamp {
        self.time
    }
}
