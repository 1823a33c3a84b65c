//! A store to which things happen, dashboards that ask it, and their answers bit for bit.

use std::{
    borrow::Borrow,
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use narthex_query::{
    Answer, Features, Grid, Matrix, QueryError,
    random::{Choices, DATA_START, Language, QueryGenerator, RandomSample, random_data},
};
use narthex_storage::{
    Appendable, Appender, Clock, Db, DbOptions, Labels, MatchOp, Matcher, MemoryFs, RowBuilder,
    Sample, TargetAppender, TargetKey, TimeRange, Timestamp,
};

pub(crate) const SECOND: i64 = 1_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;

pub(crate) const FEATURES: Features = Features {
    delayed_name_removal: false,
    start_timestamps: false,
    ..Features::ALL
};

/// What dashboards ask, and what is delicate: `$` stands for a time within the data.
pub(crate) const QUERIES: &[&str] = &[
    "sum(rate(scraped_total[2m]))",
    "sum by (n) (rate(scraped_total[1m]))",
    "sum by (code) (rate(requests_total[5m]))",
    "sum(rate(errors_total[5m])) / sum(rate(requests_total[5m]))",
    "sum by (instance) (rate(errors_total[3m])) / sum by (instance) (rate(requests_total[3m]))",
    "histogram_quantile(0.9, sum by (le) (rate(latency_seconds_bucket[5m])))",
    "histogram_quantile(0.5, rate(latency_seconds_bucket[3m]))",
    "topk(2, sum by (instance) (rate(requests_total[3m])))",
    "topk(1, scraped_total)",
    "bottomk(2, sum by (code) (errors_total or requests_total))",
    "max_over_time(load[5m])",
    "avg_over_time(temperature_celsius[4m] offset -1m)",
    "sum by (job) (odd)",
    "avg(odd offset -2m)",
    "rate(requests_total[1m] offset 2m)",
    "sum by (n) (scraped_total) or vector(0)",
    "scraped_total or load",
    "max_over_time(sum(rate(requests_total[1m]))[5m:30s])",
    "max_over_time(sum by (code) (rate(requests_total[1m]))[5m:17s] offset -30s)",
    "absent(scraped_total{n=\"3\"})",
    "absent_over_time(scraped_total{n=\"1\"}[30s])",
    "count by (code) (requests_total) + on (code) group_right () requests_total",
    "load * on (instance) group_left () temperature_celsius",
    "sum(load - temperature_celsius)",
    "sum(load @ $) + load",
    "sum_over_time(load[5m] @ $)",
    "changes(scraped_total[90s])",
    "stddev(load)",
    "quantile(0.3, load)",
    "min by (job) (load > 3)",
    "load > 5 unless temperature_celsius < 20",
    "label_replace(rate(requests_total[2m]), \"x\", \"$1\", \"code\", \"(.).*\")",
    "sum by (x) (label_replace(scraped_total, \"x\", \"$1\", \"n\", \"(.).*\"))",
    "-rate(scraped_total[2m])",
    "requests_total - requests_total offset 1m",
    "predict_linear(load[4m], 60) - deriv(load[4m])",
    "quantile_over_time(0.7, load[3m])",
    "scalar(sum(rate(scraped_total[1m]))) + time()",
    "timestamp(scraped_total)",
    "sum(scraped_total) * step()",
    "{instance=\"a\"}",
    "sum(rate({__name__=~\"requests_total|errors_total\"}[2m]))",
    "sum(load @ end()) + load",
    "load - (range() + 0)",
    "sum(max by (job) (load))",
    "sum(max by (n) (scraped_total))",
    "avg(rate(scraped_total[1m]) + on (n) max by (n) (scraped_total))",
    "stddev(label_replace(scraped_total, \"a_pod\", \"\", \"a_pod\", \".*\"))",
    "quantile(0.5, topk(3, scraped_total)) + sum(topk(3, scraped_total))",
    "topk(2, max by (n) (changes(scraped_total[30s])))",
    "bottomk(1, count_over_time(scraped_total[1m]))",
    "sum(histogram_quantile(0.9, latency_seconds_bucket))",
    "-(load > 5 or small_numbers)",
    "sum_over_time(load[range() / 4])",
    "max_over_time({__name__=~\"scraped_.*\"}[15s])",
    "-{__name__=~\"scraped_.*\"}",
    "-scraped_total",
    "max_over_time(scraped_total[1m:15s])",
    "histogram_quantile(0.000001, max by (le) (scraped_total))",
    "sum by (n) (scraped_total smoothed)",
    "sum(rate(scraped_total[1m] smoothed))",
    "increase(scraped_total[1m] anchored)",
    "load + on (instance) fill_left (0) (temperature_celsius > 20)",
    "rate(load[2m])",
    "  sum by (job) (increase(small_numbers[3m])) + sum by (job) (rate(load[1m]))",
    "max(rate(load[3m])) > 0.1",
    "quantile_over_time(1.5, load[3m])",
    "quantile(2, temperature_celsius)",
    "deriv(load[4m]) + rate(temperature_celsius[90s])",
    "limitk(1, scraped_total)",
    "sort(load)",
    "count_values(\"v\", small_numbers)",
    "duration_seconds",
    "sum(rate(duration_seconds[2m]))",
    "histogram_quantile(0.9, sum by (job) (increase(duration_seconds[3m])))",
    "histogram_count(rate(size_bytes[2m])) + on (instance, job) histogram_sum(size_bytes)",
    "histogram_avg(sum(duration_seconds))",
    "sum(mixed) + sum(size_bytes)",
    "avg_over_time(mixed[2m])",
    "sum_over_time(duration_seconds[1m]) - duration_seconds",
    "resets(duration_seconds[4m]) + changes(duration_seconds[4m])",
    "irate(mixed[3m])",
    "max_over_time(sum(duration_seconds)[3m:20s])",
    "histogram_fraction(0, 10, -queue_length)",
];

/// Each look at the time is a second after the one before; the monotonic clock stands where it is set.
#[derive(Debug, Default)]
pub(crate) struct CountingClock(AtomicI64);

impl Clock for CountingClock {
    fn now(&self) -> Timestamp {
        DATA_START + self.0.fetch_add(SECOND, Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// A sample on its way: when it comes, of which series and when.
struct Arrival {
    at: Timestamp,
    labels: Labels,
    time: Timestamp,
    sample: RandomSample,
}

/// A query that is asked again and again.
pub(crate) struct Panel {
    pub(crate) text: String,
    step_ms: i64,
    phase_ms: i64,
    span_ms: i64,
    ahead_ms: i64,
}

impl Panel {
    pub(crate) fn new(choices: &mut Choices<'_>, language: &Language) -> Self {
        let text = if choices.once_in(3) {
            let depth = 1 + choices.below(3);
            QueryGenerator::new(language, choices).query(depth)
        } else {
            let time = DATA_START / SECOND + choices.below(1_800) as i64;
            let text = choices.pick(QUERIES);
            text.replace("$)", &format!("{time})"))
                .replace("$]", &format!("{time}]"))
        };
        let step_ms = choices.pick(&[15 * SECOND, 30 * SECOND, MINUTE, 17_300, 5 * SECOND]);
        Self {
            text,
            step_ms,
            phase_ms: choices.pick(&[0, 0, 1, 7_777]),
            span_ms: choices.pick(&[2, 5, 10, 20]) * MINUTE,
            ahead_ms: choices.pick(&[0, 0, 15 * SECOND, 90 * SECOND]),
        }
    }

    /// The steps when it is asked at this time.
    pub(crate) fn grid(&self, now: Timestamp) -> Grid {
        let end = now + self.ahead_ms - self.phase_ms;
        let end = end - end.rem_euclid(self.step_ms) + self.phase_ms;
        let span_ms = self.span_ms - self.span_ms % self.step_ms;
        Grid {
            start: end - span_ms,
            end,
            step_ms: self.step_ms,
        }
    }
}

/// The bounds of the columns, as if they were buckets, three of them equal, and where their totals begin.
const BOUNDS: [(&str, f64); 6] = [
    ("1", 0.3),
    ("1.0", 0.7),
    ("1e0", 0.1),
    ("2", 1e4),
    ("+Inf", 1e6),
    ("+Inf", 1e6),
];

/// A part that is scraped, which is another one, or has another name, now and then.
#[derive(Debug, Clone, Copy, Default)]
struct Pod {
    number: usize,
    is_renamed: bool,
    is_typed: bool,
    total: f64,
}

/// A store to which things happen.
pub(crate) struct Scene {
    pub(crate) db: Db,
    target: Box<dyn TargetAppender>,
    /// Those yet to come, the last first.
    arrivals: Vec<Arrival>,
    /// What the columns of the target count.
    pods: [Pod; 6],
    /// Whether series may have a type beside their name.
    has_types: bool,
}

impl Scene {
    pub(crate) fn new(choices: &mut Choices<'_>) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(CountingClock::default());
        let options = DbOptions {
            out_of_order_window_ms: 40 * MINUTE,
            ..DbOptions::new("/data", Arc::new(MemoryFs::default()), clock)
        };
        let (db, _) = Db::open(&options).unwrap();
        let target = db.target(&TargetKey("target".to_owned())).unwrap();
        let mut lags: BTreeMap<String, i64> = BTreeMap::new();
        let mut arrivals = Vec::new();
        for series in random_data(choices, false) {
            let sender = series.labels.get("instance").unwrap_or_default().to_owned();
            let lag = *lags
                .entry(sender)
                .or_insert_with(|| choices.pick(&[0, 300, 12 * SECOND, 45 * SECOND]));
            let is_often_late = choices.once_in(4);
            for (time, sample) in series.samples {
                let is_late = is_often_late && choices.once_in(40);
                let late = if is_late {
                    choices.below(600) as i64 * SECOND
                } else {
                    0
                };
                arrivals.push(Arrival {
                    at: time + lag + late,
                    labels: series.labels.clone(),
                    time,
                    sample,
                });
            }
        }
        arrivals.sort_by_key(|arrival| std::cmp::Reverse((arrival.at, arrival.time)));
        Self {
            db,
            target,
            arrivals,
            pods: BOUNDS.map(|(_, total)| Pod {
                total,
                ..Pod::default()
            }),
            has_types: choices.once_in(4),
        }
    }

    /// Takes in what has come by now, in pushes of a second each.
    pub(crate) fn receive(&mut self, now: Timestamp) {
        while self
            .arrivals
            .last()
            .is_some_and(|arrival| arrival.at <= now)
        {
            let second = self.arrivals.last().unwrap().at / SECOND;
            let mut appender: Box<dyn Appender> = self.db.appender();
            while let Some(arrival) = self
                .arrivals
                .pop_if(|arrival| arrival.at / SECOND == second)
            {
                let series = appender.series(&arrival.labels).unwrap();
                let time = arrival.time;
                match arrival.sample {
                    RandomSample::Float(value) => {
                        appender.samples(series, &[Sample { time, value }]);
                    }
                    RandomSample::Histogram(histogram) => {
                        appender.histograms(series, &[(time, histogram)]);
                    }
                }
            }
            appender.commit(false).unwrap();
        }
    }

    /// A row of a target, in which some series are missing now and then, and with it perhaps an older sample.
    pub(crate) fn scrape(&mut self, choices: &mut Choices<'_>, now: Timestamp) {
        let mut row = RowBuilder::default();
        row.begin(now);
        for (column, pod) in self.pods.iter_mut().enumerate() {
            if choices.once_in(9) {
                continue;
            }
            match choices.below(24) {
                0 | 1 => pod.number = choices.below(1_000),
                2 => pod.is_renamed = !pod.is_renamed,
                3 => pod.is_typed = !pod.is_typed && self.has_types,
                _ => {}
            }
            pod.total += choices.pick(&[0.0, 0.0, 1.0, 0.1, 33.3]);
            let names = ["scraped_total", "scraped_other_total"];
            let labels = Labels::from_pairs([
                ("__name__", names[usize::from(pod.is_renamed)]),
                ("a_pod", &pod.number.to_string()),
                ("n", &column.to_string()),
                ("le", BOUNDS[column].0),
                ("__type__", if pod.is_typed { "counter" } else { "" }),
            ]);
            let column = self.target.column(&labels).unwrap();
            if choices.once_in(60) {
                row.at(column, now - choices.below(300) as i64 * SECOND, pod.total);
            } else {
                row.set(column, pod.total);
            }
        }
        self.target.commit(&mut row).unwrap();
    }

    /// What an operator and the upkeep of a store do.
    pub(crate) fn meddle(&self, choices: &mut Choices<'_>, now: Timestamp) {
        if choices.once_in(6) {
            self.db.snapshot(false).unwrap();
        }
        if choices.once_in(8) {
            while self.db.compact().unwrap() {}
        }
        if choices.once_in(12) {
            let min = now - choices.below(20) as i64 * MINUTE;
            let range = TimeRange::new(min, min + choices.pick(&[10 * SECOND, 3 * MINUTE]));
            let matchers = [
                Matcher::new("__name__", MatchOp::Regex, "scraped_total|requests_total").unwrap(),
                Matcher::new("instance", MatchOp::Regex, "|a|b").unwrap(),
            ];
            self.db.delete_series(&[matchers.to_vec()], range).unwrap();
        }
        if choices.once_in(25) {
            self.db.clean_tombstones().unwrap();
        }
        if choices.once_in(15) {
            let kept = choices.pick(&[3, 8, 15]) * MINUTE;
            self.db.set_retention(Some(kept), None);
            self.db.maintain().unwrap();
            self.db.set_retention(None, None);
        }
    }
}

/// An answer bit for bit, with all that is said of it.
pub(crate) fn printed(answer: Result<Answer<impl Borrow<Matrix>>, QueryError>) -> String {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return format!("{error:?}"),
    };
    let mut text = format!("{:?} {:?}\n", answer.warnings, answer.infos);
    let matrix = answer.value.borrow();
    let grid = matrix.grid();
    for row in matrix.rows() {
        write!(text, "{}", row.labels).unwrap();
        for (step, value) in row.floats() {
            write!(text, " {}:{value}/{:x}", grid.time(step), value.to_bits()).unwrap();
        }
        for (step, histogram) in row.histograms() {
            write!(text, " {}:{histogram}", grid.time(step)).unwrap();
        }
        text.push('\n');
    }
    text
}
