//! A store in memory for scripts, tests and benches: series in label order, everything loose.

use std::collections::BTreeMap;

use narthex_storage::{
    AxisId, Budget, Estimate, Histogram, HistogramColumns, Labels, Matcher, Querier, Queryable,
    ReadError, ResetHint, Run, Scan, Select, SelectedSeries, Selection, Shape, TimeRange,
    Timestamp,
};

use crate::FloatHistogram;

/// See the module's documentation.
#[derive(Debug, Default, Clone)]
pub struct MemoryStore {
    series: BTreeMap<Labels, Column>,
}

/// The samples of one series.
#[derive(Debug, Default, Clone)]
struct Column {
    times: Vec<Timestamp>,
    samples: Vec<Stored>,
    /// Start timestamps, 0 where none is known: nothing, or one a sample.
    starts: Vec<Timestamp>,
}

/// A sample.
#[derive(Debug, Clone)]
enum Stored {
    Float(f64),
    Histogram(Histogram),
}

/// Samples of one kind, and of one layout, that follow each other.
#[derive(Debug, Clone)]
enum Stretch {
    Floats(Vec<Timestamp>, Vec<f64>),
    Histograms(Vec<Timestamp>, Box<HistogramColumns>),
}

impl Stretch {
    fn len(&self) -> usize {
        let (Self::Floats(times, _) | Self::Histograms(times, _)) = self;
        times.len()
    }
}

impl Column {
    /// The samples within `range`.
    fn cut(&self, range: TimeRange) -> Self {
        let low = self.times.partition_point(|time| *time < range.min);
        let high = self.times.partition_point(|time| *time <= range.max);
        let stretch = low..high.max(low);
        Self {
            times: self.times[stretch.clone()].to_vec(),
            samples: self.samples[stretch.clone()].to_vec(),
            starts: self.starts.get(stretch).unwrap_or_default().to_vec(),
        }
    }

    fn insert(&mut self, time: Timestamp, sample: Stored) {
        let place = self.times.partition_point(|known| *known < time);
        if self.times.get(place) != Some(&time) {
            self.times.insert(place, time);
            self.samples.insert(place, sample);
            if !self.starts.is_empty() {
                self.starts.insert(place, 0);
            }
        }
    }

    fn stretches(&self) -> Vec<Stretch> {
        let mut stretches: Vec<Stretch> = Vec::new();
        for (time, sample) in self.times.iter().zip(&self.samples) {
            match (sample, stretches.last_mut()) {
                (Stored::Float(value), Some(Stretch::Floats(times, values))) => {
                    times.push(*time);
                    values.push(*value);
                }
                (Stored::Float(value), _) => {
                    stretches.push(Stretch::Floats(vec![*time], vec![*value]));
                }
                (Stored::Histogram(histogram), Some(Stretch::Histograms(times, columns)))
                    if columns.takes(histogram) =>
                {
                    times.push(*time);
                    columns.push(histogram);
                }
                (Stored::Histogram(histogram), _) => {
                    let mut columns = HistogramColumns::default();
                    columns.push(histogram);
                    stretches.push(Stretch::Histograms(vec![*time], Box::new(columns)));
                }
            }
        }
        stretches
    }
}

impl MemoryStore {
    /// Adds a number. One at a time that the series already has is ignored.
    pub fn append(&mut self, labels: &Labels, time: Timestamp, value: f64) {
        self.column(labels).insert(time, Stored::Float(value));
    }

    /// Adds a native histogram. One at a time that the series already has is ignored.
    ///
    /// What is known of a reset is found out here, as Prometheus does: nothing of the first histogram and of
    /// those that come after a reset, of others that there was none.
    pub fn append_histogram(&mut self, labels: &Labels, time: Timestamp, mut histogram: Histogram) {
        let column = self.column(labels);
        if histogram.reset_hint != ResetHint::Gauge {
            let was_reset = histogram.reset_hint == ResetHint::Reset;
            histogram.reset_hint = ResetHint::Unknown;
            let float = FloatHistogram::from_stored(&histogram);
            if let Some(Stored::Histogram(before)) = column.samples.last()
                && !was_reset
                && !before.is_stale()
                && !float.is_reset_after(&FloatHistogram {
                    reset_hint: ResetHint::Unknown,
                    ..FloatHistogram::from_stored(before)
                })
            {
                histogram.reset_hint = ResetHint::NoReset;
            }
        }
        column.insert(time, Stored::Histogram(histogram));
    }

    /// Says since when the sample of a series at `time` counts, in milliseconds; 0 is unknown. Nothing happens
    /// when there is no such sample.
    pub fn set_start(&mut self, labels: &Labels, time: Timestamp, start: Timestamp) {
        if let Some(column) = self.series.get_mut(labels)
            && let Ok(place) = column.times.binary_search(&time)
        {
            column.starts.resize(column.times.len(), 0);
            column.starts[place] = start;
        }
    }

    fn column(&mut self, labels: &Labels) -> &mut Column {
        self.series.entry(labels.clone()).or_default()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.series.clear();
    }
}

impl Queryable for MemoryStore {
    fn querier(&self, range: TimeRange) -> Result<Box<dyn Querier>, ReadError> {
        let series = self
            .series
            .iter()
            .map(|(labels, column)| (labels.clone(), column.cut(range)))
            .filter(|(_, column)| !column.times.is_empty())
            .collect();
        Ok(Box::new(Snapshot { series }))
    }
}

struct Snapshot {
    series: Vec<(Labels, Column)>,
}

impl Snapshot {
    fn matching(&self, matchers: &[Matcher]) -> impl Iterator<Item = &(Labels, Column)> {
        self.series.iter().filter(|(labels, _)| {
            matchers
                .iter()
                .all(|matcher| matcher.matches_labels(labels))
        })
    }
}

impl Querier for Snapshot {
    fn select(
        &self,
        request: &Select<'_>,
        budget: &Budget,
    ) -> Result<Box<dyn Selection>, ReadError> {
        budget.check()?;
        let mut selected = Selected {
            series: Vec::new(),
            columns: Vec::new(),
        };
        for (labels, column) in self.matching(request.matchers) {
            let column = column.cut(request.range);
            if column.times.is_empty() {
                continue;
            }
            if request
                .limit
                .is_some_and(|limit| selected.series.len() >= limit)
            {
                break;
            }
            selected.series.push(SelectedSeries {
                labels: labels.clone(),
            });
            selected.columns.push(column);
        }
        Ok(Box::new(selected))
    }

    fn label_names(
        &self,
        matchers: &[Matcher],
        limit: Option<usize>,
        budget: &Budget,
    ) -> Result<Vec<String>, ReadError> {
        budget.check()?;
        let names = self
            .matching(matchers)
            .flat_map(|(labels, _)| labels.iter().map(|(name, _)| name.to_owned()));
        Ok(distinct(names, limit))
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: Option<usize>,
        budget: &Budget,
    ) -> Result<Vec<String>, ReadError> {
        budget.check()?;
        let values = self
            .matching(matchers)
            .filter_map(|(labels, _)| labels.get(name).map(str::to_owned));
        Ok(distinct(values, limit))
    }
}

fn distinct(texts: impl Iterator<Item = String>, limit: Option<usize>) -> Vec<String> {
    let sorted: std::collections::BTreeSet<String> = texts.collect();
    sorted
        .into_iter()
        .take(limit.unwrap_or(usize::MAX))
        .collect()
}

struct Selected {
    series: Vec<SelectedSeries>,
    columns: Vec<Column>,
}

impl Selection for Selected {
    fn series(&self) -> &[SelectedSeries] {
        &self.series
    }

    fn estimate(&self, _: TimeRange) -> Estimate {
        let samples = self.columns.iter().map(|column| column.times.len() as u64);
        Estimate {
            samples: samples.sum(),
        }
    }

    fn scan<'a>(&'a self, _: TimeRange, budget: &'a Budget) -> Box<dyn Scan + 'a> {
        Box::new(Cursor {
            columns: &self.columns,
            budget,
            starts: &[],
            stretches: Vec::new(),
            next: 0,
        })
    }
}

struct Cursor<'a> {
    columns: &'a [Column],
    budget: &'a Budget,
    /// Of the series that was sought: those of the stretches that follow.
    starts: &'a [Timestamp],
    /// Of the series that was sought.
    stretches: Vec<Stretch>,
    next: usize,
}

impl Scan for Cursor<'_> {
    fn seek(&mut self, series: usize) -> Result<Shape, ReadError> {
        self.budget.check()?;
        self.stretches = self.columns[series].stretches();
        self.starts = &self.columns[series].starts;
        self.next = 0;
        Ok(Shape::Loose {
            len_max: self.columns[series].times.len() as u32,
        })
    }

    fn next_run(&mut self) -> Result<Option<Run<'_>>, ReadError> {
        let Some(stretch) = self.stretches.get(self.next) else {
            return Ok(None);
        };
        self.next += 1;
        let run = match stretch {
            Stretch::Floats(times, values) => Run::floats(times, values),
            Stretch::Histograms(times, columns) => Run::of_histograms(times, columns),
        };
        Ok(Some(if self.starts.is_empty() {
            run
        } else {
            let (starts, rest) = self.starts.split_at(stretch.len());
            self.starts = rest;
            run.with_start_times(starts)
        }))
    }

    fn axis(&mut self, _: AxisId) -> Result<&[Timestamp], ReadError> {
        Ok(&[])
    }
}
