//! Groups on set time over a real store: what is stored, sent and shown.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use narthex_query::{Engine, QueryContext, Value};
use narthex_rules::{
    AlertMessage, AlertSink, FileOptions, Group, Manager, ManagerOptions, RuleFile, UpdateSettings,
    parse_rule_file,
};
use narthex_storage::{
    Appendable, Budget, Clock, Db, DbOptions, Labels, MemoryFs, Sample, Timestamp,
};

/// A clock that stands where the test puts it.
#[derive(Debug, Default)]
struct SetClock(AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        self.0.load(Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.now().unsigned_abs())
    }
}

#[derive(Default)]
struct Recorder(Mutex<Vec<AlertMessage>>);

impl AlertSink for Recorder {
    fn send(&self, alerts: Vec<AlertMessage>) {
        self.0.lock().unwrap().extend(alerts);
    }
}

/// A store, a manager and a clock.
struct World {
    db: Arc<Db>,
    clock: Arc<SetClock>,
    sink: Arc<Recorder>,
    manager: Manager,
}

fn manager(db: &Arc<Db>, clock: &Arc<SetClock>, sink: &Arc<Recorder>) -> Manager {
    Manager::new(ManagerOptions {
        queryable: Arc::clone(db) as _,
        appendable: Arc::clone(db) as _,
        engine: Arc::new(Engine::default()),
        clock: Arc::clone(clock) as _,
        sink: Arc::clone(sink) as _,
        observer: Arc::new(()),
        external_url: "http://localhost:9090".to_owned(),
        restores: true,
        outage_tolerance: Duration::from_hours(1),
        for_grace_period: Duration::from_mins(10),
        resend_delay: Duration::from_mins(1),
        query_timeout: Duration::from_mins(2),
        query_budget_bytes: 1 << 30,
    })
}

fn file(text: &str) -> RuleFile {
    parse_rule_file(
        Path::new("rules.yml"),
        text.as_bytes(),
        &FileOptions::default(),
    )
    .unwrap_or_else(|errors| panic!("{errors}"))
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(SetClock::default());
        let options = DbOptions::new(
            "/data",
            Arc::new(MemoryFs::default()),
            Arc::clone(&clock) as _,
        );
        let db = Arc::new(Db::open(&options).unwrap().0);
        let sink = Arc::new(Recorder::default());
        Self {
            manager: manager(&db, &clock, &sink),
            db,
            clock,
            sink,
        }
    }

    fn load(&self, text: &str) {
        let settings = UpdateSettings {
            interval: Duration::from_mins(1),
            query_offset: Duration::ZERO,
            external_labels: Labels::empty(),
        };
        self.manager.update(vec![file(text)], &settings);
    }

    fn group(&self) -> Arc<Group> {
        Arc::clone(&self.manager.groups()[0])
    }

    /// Appends a sample at `minute`.
    fn put(&self, series: &[(&str, &str)], minute: i64, value: f64) {
        let mut appender = self.db.appender();
        let labels = Labels::from_pairs(series.iter().copied());
        let series = appender.series(&labels).unwrap();
        let time = minute * 60_000;
        appender.samples(series, &[Sample { time, value }]);
        assert_eq!(appender.commit(true).unwrap().refused, []);
    }

    /// Evaluates the first group at `minute`.
    fn evaluate(&self, minute: i64) {
        self.clock.0.store(minute * 60_000, Ordering::Relaxed);
        self.group().evaluate(minute * 60_000);
    }

    /// The vector that `query` yields at `minute`, a line a series.
    fn query(&self, query: &str, minute: i64) -> String {
        let context = QueryContext {
            budget: &Budget::unlimited(),
            deadline: None,
            clock: &*self.clock,
            lookback: None,
        };
        let answer = Engine::default()
            .instant(&*self.db, query, minute * 60_000, &context)
            .unwrap();
        let Value::Vector(samples) = answer.value else {
            panic!("{query} yields no vector");
        };
        let mut lines: Vec<String> = samples
            .iter()
            .map(|element| format!("{} {}\n", element.labels, element.sample.value))
            .collect();
        lines.sort();
        lines.concat()
    }
}

#[test]
fn recorded_series_get_the_name_and_labels_and_end_with_a_marker() {
    let world = World::new();
    world.load(
        "groups:
- name: a
  labels: {team: x, job: group}
  rules:
  - record: job:up:sum
    expr: sum by (job, zone) (up)
    labels: {job: rule, zone: ''}
  - record: next
    expr: job:up:sum * 2
",
    );
    world.put(&[("__name__", "up"), ("job", "a"), ("zone", "z")], 0, 1.0);
    world.evaluate(0);
    assert_eq!(
        world.query("{__name__=~'job:up:sum|next'}", 0),
        "{__name__=\"job:up:sum\", job=\"rule\", team=\"x\"} 1\n\
         {__name__=\"next\", job=\"group\", team=\"x\"} 2\n"
    );
    world.put(
        &[("__name__", "up"), ("job", "a"), ("zone", "z")],
        1,
        narthex_storage::stale_marker(),
    );
    world.evaluate(1);
    assert_eq!(world.query("{__name__=~'job:up:sum|next'}", 1), "");
}
