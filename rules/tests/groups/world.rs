//! A store, a manager of rules and a clock, for tests.

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
    Appendable, Budget, Clock, Db, DbOptions, Labels, MemoryFs, Queryable, Sample, SharedBytes,
    Timestamp,
};

/// A clock that stands where the test puts it; its monotonic time may pass at every look.
#[derive(Debug, Default)]
pub(crate) struct SetClock(pub(crate) AtomicI64, pub(crate) AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        self.0.load(Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        let passed = self.1.load(Ordering::Relaxed);
        self.0.fetch_add(passed, Ordering::Relaxed);
        Duration::from_millis(self.now().unsigned_abs())
    }
}

/// Keeps what is sent.
pub(crate) struct Recorder {
    /// Each with the time at which it was sent.
    pub(crate) sent: Mutex<Vec<(Timestamp, AlertMessage)>>,
    clock: Arc<SetClock>,
}

impl AlertSink for Recorder {
    fn send(&self, alerts: Vec<AlertMessage>) {
        let time = self.clock.now();
        let alerts = alerts.into_iter().map(|alert| (time, alert));
        self.sent.lock().unwrap().extend(alerts);
    }
}

/// What the queries of all rules may decode together.
pub(crate) const SHARED_BYTES: u64 = 1 << 30;

/// A store, a manager and a clock.
pub(crate) struct World {
    pub(crate) db: Arc<Db>,
    pub(crate) clock: Arc<SetClock>,
    pub(crate) sink: Arc<Recorder>,
    pub(crate) manager: Manager,
    pub(crate) shared: Arc<SharedBytes>,
    times: Times,
}

/// How the command line wants alerts timed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) grace: Duration,
    pub(crate) resend: Duration,
}

fn manager_on(
    queryable: Arc<dyn Queryable>,
    db: &Arc<Db>,
    clock: &Arc<SetClock>,
    sink: &Arc<Recorder>,
    shared: &Arc<SharedBytes>,
    times: Times,
) -> Manager {
    Manager::new(ManagerOptions {
        queryable,
        appendable: Arc::clone(db) as _,
        engine: Arc::new(Engine::default()),
        clock: Arc::clone(clock) as _,
        sink: Arc::clone(sink) as _,
        observer: Arc::new(()),
        external_url: "http://localhost:9090".to_owned(),
        restores: true,
        outage_tolerance: Duration::from_hours(1),
        for_grace_period: times.grace,
        resend_delay: times.resend,
        query_timeout: Duration::from_mins(2),
        query_budget_bytes: 1 << 30,
        query_shared_bytes: Arc::clone(shared),
    })
}

pub(crate) fn file(text: &str) -> RuleFile {
    parse_rule_file(
        Path::new("rules.yml"),
        text.as_bytes(),
        &FileOptions::default(),
    )
    .unwrap_or_else(|errors| panic!("{errors}"))
}

pub(crate) fn settings() -> UpdateSettings {
    UpdateSettings {
        interval: Duration::from_mins(1),
        query_offset: Duration::ZERO,
        external_labels: Labels::empty(),
    }
}

impl World {
    /// With Prometheus's own times.
    pub(crate) fn new() -> Self {
        Self::with(Times {
            grace: Duration::from_mins(10),
            resend: Duration::from_mins(1),
        })
    }

    pub(crate) fn with(times: Times) -> Self {
        let clock = Arc::new(SetClock::default());
        let options = DbOptions::new(
            "/data",
            Arc::new(MemoryFs::default()),
            Arc::clone(&clock) as _,
        );
        let db = Arc::new(Db::open(&options).unwrap().0);
        let sink = Arc::new(Recorder {
            sent: Mutex::default(),
            clock: Arc::clone(&clock),
        });
        let shared = Arc::new(SharedBytes::new(SHARED_BYTES));
        Self {
            manager: manager_on(Arc::clone(&db) as _, &db, &clock, &sink, &shared, times),
            shared,
            times,
            db,
            clock,
            sink,
        }
    }

    pub(crate) fn load(&self, text: &str) {
        self.manager.update(vec![file(text)], &settings());
    }

    /// The same store under a server that was started anew.
    pub(crate) fn restart(&mut self) {
        self.manager.stop();
        self.manager = self.manager_on(Arc::clone(&self.db) as _);
    }

    /// A manager over another store to read from.
    pub(crate) fn manager_on(&self, queryable: Arc<dyn Queryable>) -> Manager {
        manager_on(
            queryable,
            &self.db,
            &self.clock,
            &self.sink,
            &self.shared,
            self.times,
        )
    }

    pub(crate) fn group(&self) -> Arc<Group> {
        Arc::clone(&self.manager.groups()[0])
    }

    /// Appends a sample at `minute`.
    pub(crate) fn put(&self, series: &[(&str, &str)], minute: i64, value: f64) {
        let mut appender = self.db.appender();
        let labels = Labels::from_pairs(series.iter().copied());
        let series = appender.series(&labels).unwrap();
        let time = minute * 60_000;
        appender.samples(series, &[Sample { time, value }]);
        assert_eq!(appender.commit(true).unwrap().refused, []);
    }

    /// Evaluates the first group at `minute`.
    pub(crate) fn evaluate(&self, minute: i64) {
        self.clock.0.store(minute * 60_000, Ordering::Relaxed);
        self.group().evaluate(minute * 60_000);
    }

    /// What was sent since the last call, a line an alert.
    pub(crate) fn sent(&self) -> String {
        let messages = std::mem::take(&mut *self.sink.sent.lock().unwrap());
        let minute = |time: Timestamp| time as f64 / 60_000.0;
        messages
            .iter()
            .map(|(_, alert)| {
                format!(
                    "{} {:?} {}..{} {}\n",
                    alert.labels,
                    alert.annotations,
                    minute(alert.starts_at),
                    minute(alert.ends_at),
                    alert.generator_url
                )
            })
            .collect()
    }

    /// The rules of the first group as they are shown, a line a rule and one an alert.
    pub(crate) fn shown(&self) -> String {
        let mut text = String::new();
        for rule in self.group().status().rules {
            text += &format!("{} {}", rule.name, rule.health.as_str());
            if let Some(error) = &rule.last_error {
                text += &format!(" ({error})");
            }
            let Some(alerting) = rule.alerting else {
                text += "\n";
                continue;
            };
            text += &format!(" {}\n", alerting.state.as_str());
            for alert in alerting.alerts {
                text += &format!(
                    "  {} {} since {}",
                    alert.labels,
                    alert.state.as_str(),
                    alert.active_at / 60_000
                );
                if let Some(since) = alert.keep_firing_since {
                    text += &format!(" kept since {}", since / 60_000);
                }
                text += &format!(" value {}\n", alert.value);
            }
        }
        text
    }

    /// The vector that `query` yields at `minute`, a line a series.
    pub(crate) fn query(&self, query: &str, minute: i64) -> String {
        let budget = Budget::unlimited();
        let context = QueryContext::new(&budget, &*self.clock);
        let answer = Engine::default()
            .instant(&*self.db, query, minute * 60_000, &context)
            .unwrap();
        let Value::Vector(samples) = answer.value else {
            panic!("{query} yields no vector");
        };
        let mut lines: Vec<String> = samples
            .iter()
            .map(|element| format!("{} {}\n", element.labels, element.value.as_float().unwrap()))
            .collect();
        lines.sort();
        lines.concat()
    }
}
