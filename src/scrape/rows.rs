//! The rows of one target: columns, labels of samples, limits, the report series.
//!
//! One body becomes one row and one commit. What fails the body (a malformed line, a limit) leaves a
//! row of report series alone, so that the store ends every other series with a staleness marker.

use std::time::Duration;

use bytes::Bytes;
use narthex_storage::{
    AppendError, Appendable, Column, Exemplar, Labels, METRIC_NAME, Refusal, RowBuilder,
    TargetAppender, TargetKey, Timestamp, stale_marker,
};

use super::{
    content_type::Exposed, exposition::Parser, line_cache::LineCache, pool::Settings,
    report::metadata_of,
};
use crate::relabel;

/// What is known of a series' text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// Its samples go to this column.
    Column(Column),
    /// Metric relabelling drops it.
    Dropped,
    /// The store takes no more series.
    Refused,
    /// The body has more samples than allowed, so the series is not created.
    OverLimit,
}

/// Retired columns are looked for each time this many bodies were read.
const RETIRE_EVERY: u32 = 64;
/// What a body says of metric families is given to the store where the body before did not say it, and
/// each time this many were read: the store forgets families without series.
const SAY_EVERY: u32 = 64;

/// What one scrape came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Counts {
    /// Samples in the body.
    pub(super) scraped: u64,
    /// Samples that metric relabelling left.
    pub(super) kept: u64,
    /// Series that the previous body lacked.
    pub(super) added: u64,
    /// Samples that were not stored, by reason.
    pub(super) duplicate: u64,
    pub(super) out_of_order: u64,
    pub(super) out_of_bounds: u64,
    /// New series that the store had no room for.
    pub(super) series_limit: u64,
    /// Exemplars that came before their series' newest one.
    pub(super) exemplars_out_of_order: u64,
}

/// What the report series say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Report {
    pub(super) up: bool,
    pub(super) duration: Duration,
    pub(super) body_bytes: Option<u64>,
}

/// The rows of one target, for as long as it is scraped.
pub(super) struct Rows {
    appender: Box<dyn TargetAppender>,
    row: RowBuilder,
    columns: Columns,
    cache: LineCache,
    /// The labels that the report columns were made for, and the columns.
    report: Option<(Labels, bool, Vec<Column>)>,
    /// Whether the store's previous row is that of the cached body, whole.
    may_repeat: bool,
    /// Whether the row holds a whole body.
    is_filled: bool,
    /// Whether the store has what the cached body says of metric families.
    is_said: bool,
}

/// When each column was last seen.
#[derive(Debug, Default)]
struct Columns {
    /// The number of the body that last had the column; zero when it is retired.
    seen: Vec<u32>,
    /// The number of this body.
    body: u32,
    /// Columns of the previous body with timestamps of their own.
    timed: Vec<Column>,
    timed_now: Vec<Column>,
}

impl Columns {
    /// Marks a column as seen; false when this body had it before.
    fn mark(&mut self, column: Column) -> bool {
        let index = column.0 as usize;
        if index >= self.seen.len() {
            self.seen.resize(index + 1, 0);
        }
        let first = self.seen[index] != self.body;
        self.seen[index] = self.body;
        first
    }

    /// Whether one of the two bodies before this one had the column.
    fn is_recent(&self, column: Column) -> bool {
        let seen = self.seen.get(column.0 as usize).copied().unwrap_or(0);
        seen != 0 && seen != self.body && seen + 2 >= self.body
    }
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Rows").finish_non_exhaustive()
    }
}

impl Rows {
    /// The rows of the target named by `key`.
    ///
    /// # Errors
    /// Another appender of the same target lives, or the store is closed.
    pub(super) fn open(appendable: &dyn Appendable, key: &str) -> Result<Self, AppendError> {
        Ok(Self {
            appender: appendable.target(&TargetKey(key.to_owned()))?,
            row: RowBuilder::default(),
            columns: Columns::default(),
            cache: LineCache::default(),
            report: None,
            may_repeat: false,
            is_filled: false,
            is_said: false,
        })
    }

    /// Forgets what lines meant, because the settings changed. Columns stay, so series that are no
    /// longer there get their markers.
    pub(super) fn forget_lines(&mut self) {
        self.cache.clear();
        self.may_repeat = false;
    }

    /// Begins a row at `time` and fills it from `body`.
    ///
    /// # Errors
    /// The body is malformed or breaks a limit: nothing of it is in the row.
    pub(super) fn fill(
        &mut self,
        settings: &Settings,
        time: Timestamp,
        body: &Bytes,
        exposed: Exposed,
        counts: &mut Counts,
    ) -> Result<(), String> {
        self.row.begin(time);
        self.columns.body += 1;
        self.columns.timed_now.clear();
        let mut writer = RowWriter {
            appender: self.appender.as_mut(),
            row: &mut self.row,
            columns: &mut self.columns,
            settings,
            counts,
            run: Column(0)..Column(0),
            may_repeat: self.may_repeat,
            keeps_exemplars: false,
        };
        writer.keeps_exemplars = writer.appender.keeps_exemplars();
        let outcome = self.cache.read(body, exposed.format, &mut writer);
        writer.flush();
        let limit = settings.job.config.limits.samples;
        let outcome = match outcome {
            Ok(_) if limit > 0 && counts.kept > limit => Err("sample limit exceeded".to_owned()),
            other => other,
        };
        self.is_filled = outcome.is_ok();
        match outcome {
            Ok(says_more) => {
                if says_more || !self.is_said || self.columns.body.is_multiple_of(SAY_EVERY) {
                    for (family, metadata) in metadata_of(body, exposed.format) {
                        self.row.metadata(&family, metadata);
                    }
                    self.is_said = false;
                }
                Ok(())
            }
            Err(problem) => {
                self.cache.clear();
                self.fill_nothing(time);
                Err(problem)
            }
        }
    }

    /// Begins a row at `time` without samples.
    pub(super) fn fill_nothing(&mut self, time: Timestamp) {
        self.is_filled = false;
        self.row.begin(time);
        self.columns.body += 1;
        self.columns.timed_now.clear();
    }

    /// Adds the report series and commits the row.
    ///
    /// # Errors
    /// Nothing of the row was kept.
    pub(super) fn commit(
        &mut self,
        settings: &Settings,
        report: Option<Report>,
        counts: &mut Counts,
    ) -> Result<(), AppendError> {
        let time = self.row.time();
        for column in std::mem::take(&mut self.columns.timed) {
            let is_here = self.columns.seen.get(column.0 as usize) == Some(&self.columns.body);
            if !is_here {
                self.row.at(column, time, stale_marker());
            }
        }
        self.columns.timed = std::mem::take(&mut self.columns.timed_now);
        if let Some(report) = report {
            self.report(settings, report, counts);
        }
        self.may_repeat = false;
        let commit = self.appender.commit(&mut self.row)?;
        self.may_repeat = self.is_filled && commit.refused.is_empty();
        self.is_said |= self.is_filled;
        counts.exemplars_out_of_order += u64::from(commit.exemplars_out_of_order);
        for (_, refusal) in commit.refused {
            match refusal {
                Refusal::Duplicate => counts.duplicate += 1,
                Refusal::OutOfOrder => counts.out_of_order += 1,
                Refusal::TooOld | Refusal::OutOfBounds => counts.out_of_bounds += 1,
                Refusal::SeriesLimit | Refusal::InvalidLabels => counts.series_limit += 1,
                Refusal::InvalidHistogram => unreachable!("a scrape brings numbers only"),
            }
        }
        if self.columns.body.is_multiple_of(RETIRE_EVERY) {
            self.retire();
        }
        Ok(())
    }

    /// Gives back the columns that no body of the last [`RETIRE_EVERY`] had.
    fn retire(&mut self) {
        let report = self.report.as_ref().map(|(.., columns)| columns.as_slice());
        let report = report.unwrap_or_default();
        for (index, seen) in self.columns.seen.iter_mut().enumerate() {
            let column = Column(index as u32);
            let is_old = *seen != 0 && *seen + RETIRE_EVERY < self.columns.body;
            if is_old && !report.contains(&column) {
                *seen = 0;
                self.appender.retire(column);
            }
        }
    }

    fn report(&mut self, settings: &Settings, report: Report, counts: &Counts) {
        let extra = settings.job.config.extra_scrape_metrics;
        let is_current = self.report.as_ref().is_some_and(|(labels, with_extra, _)| {
            *labels == settings.spec.labels && *with_extra == extra
        });
        if !is_current {
            let names = REPORT_SERIES
                .iter()
                .chain(if extra { &EXTRA_SERIES[..] } else { &[] });
            let columns = names.map_while(|name| {
                let mut labels = settings.spec.labels.to_builder();
                labels.set(METRIC_NAME, name);
                self.appender.column(&labels.build()).ok()
            });
            self.report = Some((settings.spec.labels.clone(), extra, columns.collect()));
        }
        let values = [
            f64::from(u8::from(report.up)),
            report.duration.as_secs_f64(),
            counts.scraped as f64,
            counts.kept as f64,
            counts.added as f64,
            settings.spec.timeout.as_secs_f64(),
            settings.job.config.limits.samples as f64,
            report.body_bytes.map_or(-1.0, |bytes| bytes as f64),
        ];
        let Some((.., columns)) = &self.report else {
            return;
        };
        for (column, value) in columns.iter().zip(values) {
            // A target that exposes such a name itself (with honor_labels) was first.
            if self.columns.mark(*column) {
                self.row.set(*column, value);
            }
        }
    }
}

/// The series that every scrape writes, in the order of their values.
const REPORT_SERIES: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

/// The series that `extra_scrape_metrics` adds.
const EXTRA_SERIES: [&str; 3] = [
    "scrape_timeout_seconds",
    "scrape_sample_limit",
    "scrape_body_size_bytes",
];

/// Fills one row.
pub(super) struct RowWriter<'a> {
    appender: &'a mut dyn TargetAppender,
    row: &'a mut RowBuilder,
    columns: &'a mut Columns,
    settings: &'a Settings,
    counts: &'a mut Counts,
    /// Unchanged columns that were not handed to the row yet.
    run: std::ops::Range<Column>,
    may_repeat: bool,
    keeps_exemplars: bool,
}

impl RowWriter<'_> {
    /// Whether a column may keep the bits of the store's previous row.
    pub(super) fn may_repeat(&self) -> bool {
        self.may_repeat
    }

    /// Whether samples get labels of their type and unit.
    pub(super) fn adds_metadata_labels(&self) -> bool {
        self.settings.job.type_and_unit_labels
    }

    /// Whether exemplars are kept.
    pub(super) fn keeps_exemplars(&self) -> bool {
        self.keeps_exemplars
    }

    /// The exemplar of the sample that `parser` just read, if there is one; `time` is the sample's own.
    pub(super) fn exemplar(&mut self, known: Known, time: Option<Timestamp>, parser: &Parser<'_>) {
        if !self.keeps_exemplars {
            return;
        }
        let (Known::Column(column), Some(exposed)) = (known, parser.exemplar()) else {
            return;
        };
        let time = time.filter(|_| self.settings.job.config.honor_timestamps);
        let exemplar = Exemplar {
            labels: exposed.labels,
            value: exposed.value,
            time: (exposed.time.or(time)).unwrap_or_else(|| self.row.time()),
            is_timed: exposed.time.is_some(),
        };
        self.row.exemplar(column, exemplar);
    }

    /// The column has the value that the previous row gave it; false when this body had it before.
    pub(super) fn unchanged(&mut self, column: Column) -> bool {
        self.counts.scraped += 1;
        self.counts.kept += 1;
        if !self.columns.mark(column) {
            self.counts.duplicate += 1;
            return false;
        }
        if column == self.run.end && self.run.start < self.run.end {
            self.run.end.0 += 1;
        } else {
            self.flush();
            self.run = column..Column(column.0 + 1);
        }
        true
    }

    /// A sample that metric relabelling drops.
    pub(super) fn dropped(&mut self) {
        self.counts.scraped += 1;
    }

    /// A sample of a known series; true when its value is now its column's in the row.
    pub(super) fn sample(&mut self, known: Known, value: f64, time: Option<Timestamp>) -> bool {
        self.counts.scraped += 1;
        let column = match known {
            Known::Column(column) => column,
            Known::Dropped => return false,
            Known::OverLimit => {
                self.counts.kept += 1;
                return false;
            }
            Known::Refused => {
                self.counts.kept += 1;
                self.counts.series_limit += 1;
                return false;
            }
        };
        self.counts.kept += 1;
        let time = time.filter(|_| self.settings.job.config.honor_timestamps);
        let is_first = self.columns.mark(column);
        if let Some(time) = time {
            // Several samples of one series at their own times are fine.
            self.row.at(column, time, value);
            if is_first && self.settings.job.config.track_timestamps_staleness {
                self.columns.timed_now.push(column);
            }
            return false;
        }
        if is_first {
            self.row.set(column, value);
        } else {
            self.counts.duplicate += 1;
        }
        is_first
    }

    /// What becomes of the sample that `parser` just read, seen for the first time.
    ///
    /// # Errors
    /// Labels that are invalid or break a limit, which fails the body.
    pub(super) fn resolve(&mut self, parser: &Parser<'_>) -> Result<Known, String> {
        let outcome = self.column_of(parser);
        if outcome.is_err() {
            self.counts.scraped += 1;
        }
        outcome
    }

    fn column_of(&mut self, parser: &Parser<'_>) -> Result<Known, String> {
        let config = &self.settings.job.config;
        let exposed = parser.labels().map_err(|problem| problem.to_string())?;
        let mut labels = attach(
            &exposed,
            &self.settings.spec.labels,
            config.honor_labels,
            |name| parser.has_empty_label(name),
        )
        .to_builder();
        if !relabel::process(&config.metric_relabel_configs, &mut labels) {
            return Ok(Known::Dropped);
        }
        let labels = labels.build();
        if labels.is_empty() {
            return Ok(Known::Dropped);
        }
        check(&labels, self.settings)?;
        if config.limits.samples > 0 && self.counts.kept >= config.limits.samples {
            return Ok(Known::OverLimit);
        }
        match self.appender.column(&labels) {
            Ok(column) => {
                if !self.columns.is_recent(column) {
                    self.counts.added += 1;
                }
                Ok(Known::Column(column))
            }
            Err(Refusal::SeriesLimit) => Ok(Known::Refused),
            Err(refusal) => Err(refusal.to_string()),
        }
    }

    /// Hands the unchanged columns to the row.
    fn flush(&mut self) {
        if self.run.start < self.run.end {
            let next = Column(0)..Column(0);
            self.row.same(std::mem::replace(&mut self.run, next));
        }
    }
}

/// The labels of a sample with those of its target. A clash is the target's, unless labels are
/// honoured; the sample's own value then moves to `exported_…`. `is_empty` tells of labels that the
/// sample has with an empty value, which count as its own when labels are honoured.
///
/// Source: Prometheus `scrape/scrape.go`, `mutateSampleLabels`; observed in 3.5.3.
fn attach(
    exposed: &Labels,
    target: &Labels,
    honor_labels: bool,
    is_empty: impl Fn(&str) -> bool,
) -> Labels {
    let mut labels = exposed.to_builder();
    if honor_labels {
        for (name, value) in target.iter() {
            if exposed.get(name).is_none() && !is_empty(name) {
                labels.set(name, value);
            }
        }
        return labels.build();
    }
    let mut clashes = Vec::new();
    for (name, value) in target.iter() {
        if let Some(own) = exposed.get(name) {
            clashes.push((name, own));
        }
        labels.set(name, value);
    }
    clashes.sort_by_key(|(name, _)| name.len());
    for (name, own) in clashes {
        let mut moved = format!("exported_{name}");
        while labels.get(&moved).is_some() {
            moved.insert_str(0, "exported_");
        }
        labels.set(&moved, own);
    }
    labels.build()
}

/// Names and limits, in Prometheus's words.
fn check(labels: &Labels, settings: &Settings) -> Result<(), String> {
    let config = &settings.job.config;
    let name = labels.metric_name();
    if name.is_empty() {
        return Err("missing metric name (__name__ label)".to_owned());
    }
    let scheme = config.metric_name_validation_scheme;
    let is_valid = |label: &str| match label {
        METRIC_NAME => true,
        _ => scheme.is_valid_label_name(label),
    };
    let is_valid_metric = scheme.is_valid_label_name(&name.replace(':', "_"));
    if !is_valid_metric || !labels.iter().all(|(label, _)| is_valid(label)) {
        return Err(format!("invalid metric name or label names: {labels}"));
    }
    let limits = &config.limits;
    let metric: String = name.chars().take(50).collect();
    let count = labels.len() as u64;
    if limits.labels > 0 && count > limits.labels {
        return Err(format!(
            "label_limit exceeded (metric: {metric}, number of labels: {count}, limit: {})",
            limits.labels
        ));
    }
    for (label, value) in labels.iter() {
        let shown: String = label.chars().take(50).collect();
        let length = label.len() as u64;
        if limits.label_name_bytes > 0 && length > limits.label_name_bytes {
            return Err(format!(
                "label_name_length_limit exceeded (metric: {metric}, label name: {shown}, length: {length}, limit: {})",
                limits.label_name_bytes
            ));
        }
        let length = value.len() as u64;
        if limits.label_value_bytes > 0 && length > limits.label_value_bytes {
            let value: String = value.chars().take(50).collect();
            return Err(format!(
                "label_value_length_limit exceeded (metric: {metric}, label name: {shown}, value: {value:?}, length: {length}, limit: {})",
                limits.label_value_bytes
            ));
        }
    }
    Ok(())
}
