//! A store in memory for scripts, tests and benches: series in label order, everything loose.

use std::collections::BTreeMap;

use narthex_storage::{
    AxisId, Budget, Estimate, Labels, Matcher, Querier, Queryable, ReadError, Run, Scan, Select,
    SelectedSeries, Selection, Shape, TimeRange, Timestamp,
};

/// See the module's documentation.
#[derive(Debug, Default, Clone)]
pub struct MemoryStore {
    series: BTreeMap<Labels, Column>,
}

/// The samples of one series.
#[derive(Debug, Default, Clone)]
struct Column {
    times: Vec<Timestamp>,
    values: Vec<f64>,
}

impl Column {
    /// The samples within `range`.
    fn cut(&self, range: TimeRange) -> Self {
        let low = self.times.partition_point(|time| *time < range.min);
        let high = self.times.partition_point(|time| *time <= range.max);
        let stretch = low..high.max(low);
        Self {
            times: self.times[stretch.clone()].to_vec(),
            values: self.values[stretch].to_vec(),
        }
    }
}

impl MemoryStore {
    /// Adds a sample. One at a time that the series already has is ignored.
    pub fn append(&mut self, labels: &Labels, time: Timestamp, value: f64) {
        if !self.series.contains_key(labels) {
            self.series.insert(labels.clone(), Column::default());
        }
        let Some(column) = self.series.get_mut(labels) else {
            return;
        };
        let place = column.times.partition_point(|known| *known < time);
        if column.times.get(place) != Some(&time) {
            column.times.insert(place, time);
            column.values.insert(place, value);
        }
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
            next: None,
        })
    }
}

struct Cursor<'a> {
    columns: &'a [Column],
    budget: &'a Budget,
    next: Option<usize>,
}

impl Scan for Cursor<'_> {
    fn seek(&mut self, series: usize) -> Result<Shape, ReadError> {
        self.budget.check()?;
        self.next = Some(series);
        Ok(Shape::Loose {
            len_max: self.columns[series].times.len() as u32,
        })
    }

    fn next_run(&mut self) -> Result<Option<Run<'_>>, ReadError> {
        let column = self.next.take().map(|index| &self.columns[index]);
        Ok(column.map(|column| Run::floats(&column.times, &column.values)))
    }

    fn axis(&mut self, _: AxisId) -> Result<&[Timestamp], ReadError> {
        Ok(&[])
    }
}
