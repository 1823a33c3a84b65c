//! From a query to the samples of its series, one after the other.

use narthex_storage::{
    Budget, HistogramColumns, Kind, Labels, MatchOp, Matcher, Queryable, Select, TimeRange,
    Timestamp, Wants,
};

use super::{
    Failure,
    message::{Label, Query},
};

/// What to ask the store for.
#[derive(Debug)]
pub(super) struct Lookup {
    /// Without any, nothing is found, as upstream.
    matchers: Vec<Matcher>,
    range: TimeRange,
}

/// A scan keeps the times that it decoded, of which pushed series have some of their own. After so many
/// samples another one takes its place, so that a long stream is not held in memory.
const SAMPLES_OF_SCAN_MAX: usize = 1 << 19;

/// What is done with the samples.
pub(super) trait Visitor {
    /// A series with at least one sample begins.
    fn begin(&mut self, labels: Vec<Label>);

    /// Its next sample is a number.
    fn float(&mut self, time: Timestamp, value: f64) -> Result<(), Failure>;

    /// Its next sample is the histogram with this index.
    fn histogram(
        &mut self,
        time: Timestamp,
        columns: &HistogramColumns,
        index: usize,
    ) -> Result<(), Failure>;

    /// It ends.
    fn end(&mut self) -> Result<(), Failure>;
}

impl Lookup {
    /// Reads a query. No series of the store has the external labels, so that a matcher that wants one
    /// of them wants series without it.
    pub(super) fn new(query: &Query, external: &Labels) -> Result<Self, Failure> {
        let matchers = query.matchers.iter().map(|wire| {
            let op = match wire.kind {
                0 => MatchOp::Equal,
                1 => MatchOp::NotEqual,
                2 => MatchOp::Regex,
                3 => MatchOp::NotRegex,
                _ => return Err(Failure::MatcherType),
            };
            let is_external = external.get(&wire.name) == Some(wire.value.as_str());
            let value = match op {
                MatchOp::Equal if is_external => "",
                _ => wire.value.as_str(),
            };
            Ok(Matcher::new(wire.name.as_str(), op, value)?)
        });
        let matchers = matchers.collect::<Result<_, _>>()?;
        let mut range = TimeRange::new(query.start_ms, query.end_ms);
        if let Some(hints) = &query.hints {
            range.min = range.min.max(hints.start_ms);
            range.max = range.max.min(hints.end_ms);
        }
        Ok(Self { matchers, range })
    }

    /// Shows the samples that the query is for, by series in label order.
    pub(super) fn read(
        &self,
        queryable: &dyn Queryable,
        external: &Labels,
        budget: &Budget,
        visitor: &mut impl Visitor,
    ) -> Result<(), Failure> {
        if self.matchers.is_empty() || self.range.min > self.range.max {
            return Ok(());
        }
        let querier = queryable.querier(self.range)?;
        let select = Select {
            matchers: &self.matchers,
            range: self.range,
            limit: None,
            wants: Wants::Samples,
        };
        let selection = querier.select(&select, budget)?;
        let mut scan = selection.scan(self.range, budget);
        let mut samples_of_scan = 0;
        let (mut times, mut values) = (Vec::new(), Vec::new());
        let mut columns = HistogramColumns::default();
        for (index, series) in selection.series().iter().enumerate() {
            if samples_of_scan > SAMPLES_OF_SCAN_MAX {
                samples_of_scan = 0;
                scan = selection.scan(self.range, budget);
            }
            scan.seek(index)?;
            let mut has_begun = false;
            while let Some(run) = scan.next_run()? {
                if run.is_empty() {
                    continue;
                }
                if !has_begun {
                    has_begun = true;
                    visitor.begin(merged(&series.labels, external));
                }
                samples_of_scan += run.len();
                times.resize(run.len(), 0);
                run.times(&mut times)?;
                match run.kind() {
                    Kind::Float => {
                        values.resize(run.len(), 0.0);
                        run.values(&mut values)?;
                        for (time, value) in times.iter().zip(&values) {
                            visitor.float(*time, *value)?;
                        }
                    }
                    Kind::Histogram => {
                        run.histograms(&mut columns)?;
                        for (index, time) in times.iter().enumerate() {
                            visitor.histogram(*time, &columns, index)?;
                        }
                    }
                }
            }
            if has_begun {
                visitor.end()?;
            }
        }
        Ok(())
    }
}

/// The labels of a series and the external ones that it has none of, in the order of their names.
fn merged(labels: &Labels, external: &Labels) -> Vec<Label> {
    let own = labels.iter();
    let added = external
        .iter()
        .filter(|(name, _)| labels.get(name).is_none());
    let mut merged: Vec<Label> = own
        .chain(added)
        .map(|(name, value)| Label {
            name: name.to_owned(),
            value: value.to_owned(),
        })
        .collect();
    merged.sort_by(|a, b| a.name.cmp(&b.name));
    merged
}
