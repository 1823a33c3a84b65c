//! Series that share a time axis answer as series with timestamps of their own do.

use narthex_query::{Answer, Engine, EngineOptions, Grid, QueryContext, testscript::MemoryStore};
use narthex_storage::{
    AxisId, Budget, Estimate, Labels, Matcher, Querier, Queryable, ReadError, Run, Scan, Select,
    SelectedSeries, Selection, Shape, SystemClock, TimeRange, Timestamp, stale_marker,
};

/// One axis; each series begins somewhere on it.
#[derive(Clone)]
struct Aligned {
    axis: Vec<Timestamp>,
    series: Vec<SelectedSeries>,
    columns: Vec<(usize, Vec<f64>)>,
}

impl Queryable for Aligned {
    fn querier(&self, _: TimeRange) -> Result<Box<dyn Querier>, ReadError> {
        Ok(Box::new(self.clone()))
    }
}

impl Querier for Aligned {
    fn select(&self, _: &Select<'_>, _: &Budget) -> Result<Box<dyn Selection>, ReadError> {
        Ok(Box::new(self.clone()))
    }

    fn label_names(
        &self,
        _: &[Matcher],
        _: Option<usize>,
        _: &Budget,
    ) -> Result<Vec<String>, ReadError> {
        Ok(Vec::new())
    }

    fn label_values(
        &self,
        _: &str,
        _: &[Matcher],
        _: Option<usize>,
        _: &Budget,
    ) -> Result<Vec<String>, ReadError> {
        Ok(Vec::new())
    }
}

impl Selection for Aligned {
    fn series(&self) -> &[SelectedSeries] {
        &self.series
    }

    fn estimate(&self, _: TimeRange) -> Estimate {
        Estimate::default()
    }

    fn scan<'a>(&'a self, _: TimeRange, _: &'a Budget) -> Box<dyn Scan + 'a> {
        Box::new(Cursor {
            store: self,
            series: 0,
            done: 0,
        })
    }
}

/// Hands out each series in two runs.
struct Cursor<'a> {
    store: &'a Aligned,
    series: usize,
    done: usize,
}

impl Scan for Cursor<'_> {
    fn seek(&mut self, series: usize) -> Result<Shape, ReadError> {
        (self.series, self.done) = (series, 0);
        let (first, values) = &self.store.columns[series];
        Ok(Shape::Aligned {
            axis: AxisId(0),
            first: *first as u32,
            len: values.len() as u32,
        })
    }

    fn next_run(&mut self) -> Result<Option<Run<'_>>, ReadError> {
        let (first, values) = &self.store.columns[self.series];
        let from = self.done;
        if from == values.len() {
            return Ok(None);
        }
        let to = if from == 0 {
            values.len().div_ceil(2)
        } else {
            values.len()
        };
        self.done = to;
        let times = &self.store.axis[first + from..first + to];
        Ok(Some(Run::floats(times, &values[from..to])))
    }

    fn axis(&mut self, _: AxisId) -> Result<&[Timestamp], ReadError> {
        Ok(&self.store.axis)
    }
}

fn answer(store: &dyn Queryable, query: &str) -> Answer {
    let (budget, clock) = (Budget::unlimited(), SystemClock::new());
    let context = QueryContext::new(&budget, &clock);
    let grid = Grid {
        start: 0,
        end: 1_300_000,
        step_ms: 17_000,
    };
    Engine::new(EngineOptions::default())
        .range(store, query, grid, &context)
        .expect("the query is sound")
}

#[test]
fn a_shared_axis_changes_no_answer() {
    let axis: Vec<Timestamp> = (0..60).map(|index| index * 15_000 + index % 7).collect();
    let mut aligned = Aligned {
        axis: axis.clone(),
        series: Vec::new(),
        columns: Vec::new(),
    };
    let mut loose = MemoryStore::default();
    for (instance, first, stale) in [
        ("a", 0, None),
        ("b", 0, None),
        ("c", 9, None),
        ("d", 0, Some(20)),
    ] {
        let labels = Labels::from_pairs([("__name__", "m_total"), ("instance", instance)]);
        let values: Vec<f64> = (first..60)
            .map(|index| match stale {
                Some(place) if place == index => stale_marker(),
                _ => ((index * 7) % 23) as f64 * 0.3,
            })
            .collect();
        for (index, value) in values.iter().enumerate() {
            loose.append(&labels, axis[first + index], *value);
        }
        aligned.series.push(SelectedSeries { labels });
        aligned.columns.push((first, values));
    }
    for query in [
        "m_total",
        "rate(m_total[1m])",
        "sum(increase(m_total[2m] offset 30s))",
        "max_over_time(m_total[45s])",
        "timestamp(m_total)",
    ] {
        let expected = answer(&loose, query);
        assert_eq!(answer(&aligned, query), expected, "{query}");
        assert!(expected.samples_total > 0, "{query}");
    }
}
