//! PromQL over data of your own: a program that holds readings implements `Queryable`, and asks the engine.
//!
//! `cargo run -p narthex-query --example own_data -- 'max by (room) (temperature)'`. Times are in milliseconds
//! since 1970. Over a store on disk it is the same, with a `narthex_storage::Db` in place of [`House`].

use std::{error::Error, sync::Arc, time::Duration};

use narthex_query::{Answer, Engine, Grid, QueryContext, SampleValue, Value};
use narthex_storage::{
    AxisId, Budget, Clock, Estimate, Labels, Matcher, Querier, Queryable, ReadError, Run, Scan,
    Select, SelectedSeries, Selection, Shape, SystemClock, TimeRange, Timestamp,
};

const MINUTE_MS: i64 = 60_000;

/// What one thermometer has read, ascending in time.
struct Readings {
    labels: Labels,
    times: Vec<Timestamp>,
    degrees: Vec<f64>,
}

/// All of them, in label order.
#[derive(Clone)]
struct House(Arc<[Readings]>);

impl House {
    fn passing(&self, matchers: &[Matcher]) -> impl Iterator<Item = &Readings> {
        let passes = |readings: &&Readings| {
            let mut matchers = matchers.iter();
            matchers.all(|matcher| matcher.matches_labels(&readings.labels))
        };
        self.0.iter().filter(passes)
    }
}

impl Queryable for House {
    fn querier(&self, range: TimeRange) -> Result<Box<dyn Querier>, ReadError> {
        let house = self.clone();
        Ok(Box::new(Snapshot { house, range }))
    }
}

/// The house, of which nothing outside of the range may be told.
struct Snapshot {
    house: House,
    range: TimeRange,
}

impl Querier for Snapshot {
    fn select(&self, request: &Select<'_>, _: &Budget) -> Result<Box<dyn Selection>, ReadError> {
        let columns: Vec<_> = (self.house.passing(request.matchers))
            .take(request.limit.unwrap_or(usize::MAX))
            .map(|readings| {
                let from = readings
                    .times
                    .partition_point(|time| *time < self.range.min);
                let to = readings
                    .times
                    .partition_point(|time| *time <= self.range.max);
                let (times, degrees) = (&readings.times[from..to], &readings.degrees[from..to]);
                (times.to_vec(), degrees.to_vec())
            })
            .collect();
        let labels = self.house.passing(request.matchers);
        let series = labels.map(|readings| SelectedSeries {
            labels: readings.labels.clone(),
        });
        Ok(Box::new(Selected {
            series: series.take(columns.len()).collect(),
            columns,
        }))
    }

    fn label_names(
        &self,
        matchers: &[Matcher],
        limit: Option<usize>,
        _: &Budget,
    ) -> Result<Vec<String>, ReadError> {
        let passing = self.house.passing(matchers);
        let names = passing.flat_map(|readings| readings.labels.iter().map(|(name, _)| name));
        Ok(first(names, limit))
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: Option<usize>,
        _: &Budget,
    ) -> Result<Vec<String>, ReadError> {
        let passing = self.house.passing(matchers);
        let values = passing.filter_map(|readings| readings.labels.get(name));
        Ok(first(values, limit))
    }
}

/// The first so many in order, each once.
fn first<'t>(texts: impl Iterator<Item = &'t str>, limit: Option<usize>) -> Vec<String> {
    let mut texts: Vec<String> = texts.map(str::to_owned).collect();
    texts.sort_unstable();
    texts.dedup();
    texts.truncate(limit.unwrap_or(usize::MAX));
    texts
}

/// Times and values of the series that passed.
struct Selected {
    series: Vec<SelectedSeries>,
    columns: Vec<(Vec<Timestamp>, Vec<f64>)>,
}

impl Selection for Selected {
    fn series(&self) -> &[SelectedSeries] {
        &self.series
    }

    fn estimate(&self, _: TimeRange) -> Estimate {
        let samples = self.columns.iter().map(|(times, _)| times.len() as u64);
        Estimate {
            samples: samples.sum(),
        }
    }

    fn scan<'a>(&'a self, _: TimeRange, budget: &'a Budget) -> Box<dyn Scan + 'a> {
        Box::new(Cursor {
            selected: self,
            budget,
            next: None,
        })
    }
}

/// Hands out each series as one run.
struct Cursor<'a> {
    selected: &'a Selected,
    budget: &'a Budget,
    next: Option<usize>,
}

impl Scan for Cursor<'_> {
    fn seek(&mut self, series: usize) -> Result<Shape, ReadError> {
        self.budget.check()?;
        self.next = Some(series);
        Ok(Shape::Loose {
            len_max: self.selected.columns[series].0.len() as u32,
        })
    }

    fn next_run(&mut self) -> Result<Option<Run<'_>>, ReadError> {
        let Some(series) = self.next.take() else {
            return Ok(None);
        };
        let (times, degrees) = &self.selected.columns[series];
        Ok(Some(Run::floats(times, degrees)))
    }

    fn axis(&mut self, _: AxisId) -> Result<&[Timestamp], ReadError> {
        // No series says that it shares its times with others.
        Ok(&[])
    }
}

/// An hour of readings of two rooms, a minute apart.
fn house() -> House {
    let room = |name: &str, begin: f64, rise: f64| Readings {
        labels: Labels::from_pairs([("__name__", "temperature"), ("room", name)]),
        times: (0..60).map(|minute| minute * MINUTE_MS).collect(),
        degrees: (0..60)
            .map(|minute| begin + rise * f64::from(minute))
            .collect(),
    };
    House(Arc::new([
        room("cellar", 12.0, 0.0),
        room("kitchen", 20.0, 0.05),
    ]))
}

/// Asks for the values at one time, and over the last minutes.
fn ask(query: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let (house, engine, clock) = (house(), Engine::default(), SystemClock::new());
    // What a query may use: memory, time. From another thread it can be cancelled by the budget.
    let budget = Budget::new(64 << 20);
    let context = QueryContext {
        deadline: Some(clock.monotonic() + Duration::from_secs(10)),
        ..QueryContext::new(&budget, &clock)
    };
    let mut lines = vec![format!("{query} at the 59th minute:")];
    lines.extend(lines_of(engine.instant(
        &house,
        query,
        59 * MINUTE_MS,
        &context,
    )?));
    lines.push("every 20 minutes:".to_owned());
    let grid = Grid {
        start: 0,
        end: 59 * MINUTE_MS,
        step_ms: 20 * MINUTE_MS,
    };
    lines.extend(lines_of(engine.range(&house, query, grid, &context)?));
    Ok(lines)
}

fn lines_of(answer: Answer) -> Vec<String> {
    let mut lines = match answer.value {
        Value::Scalar(sample) => vec![sample.value.to_string()],
        Value::String { value, .. } => vec![value],
        Value::Vector(samples) => samples
            .iter()
            .map(|sample| match &sample.value {
                SampleValue::Float(value) => format!("{} {value}", sample.labels),
                SampleValue::Histogram(histogram) => format!("{} {histogram}", sample.labels),
            })
            .collect(),
        Value::Matrix(series) => series
            .iter()
            .map(|series| {
                let values: Vec<String> = series
                    .samples
                    .iter()
                    .map(|sample| sample.value.to_string())
                    .collect();
                format!("{} {}", series.labels, values.join(" "))
            })
            .collect(),
    };
    lines.extend(answer.warnings);
    lines.extend(answer.infos);
    lines
}

fn main() -> Result<(), Box<dyn Error>> {
    let query = std::env::args().nth(1);
    for line in ask(query.as_deref().unwrap_or("max by (room) (temperature)"))? {
        #[expect(clippy::print_stdout, reason = "this is what it is run for")]
        {
            println!("{line}");
        }
    }
    Ok(())
}

#[test]
fn it_answers() {
    assert_eq!(
        ask("max by (room) (temperature)").unwrap(),
        [
            "max by (room) (temperature) at the 59th minute:",
            "{room=\"cellar\"} 12",
            "{room=\"kitchen\"} 22.95",
            "every 20 minutes:",
            "{room=\"cellar\"} 12 12 12",
            "{room=\"kitchen\"} 20 21 22",
        ]
    );
}
