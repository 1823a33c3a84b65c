//! What the tests of the HTTP side share: a whole [`State`] over a store in memory, on set time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use narthex_query::{Engine, EngineOptions};
use narthex_storage::{
    AppendError, Appendable, Appender, AxisId, Budget, Commit, Estimate, Labels, Matcher, Querier,
    Queryable, ReadError, Refusal, Regex, Run, Sample, Scan, Select, SelectedSeries, Selection,
    SeriesRef, Shape, TargetAppender, TargetKey, TimeRange, Timestamp,
};
use tokio::sync::mpsc;
use tower::ServiceExt as _;

use super::{
    Configuration, Control, Gate, HeadStatistics, HttpMetrics, Readiness, Settings, State, Store,
    TargetPool,
};
use crate::{clock::SetClock, self_metrics::Registry};

/// The time of every test: 2026-11-21T05:31:48.568Z.
pub(crate) const NOW: Timestamp = 1_795_239_108_568;

/// Series by labels, samples ascending.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryStore(Arc<Mutex<BTreeMap<Labels, Vec<Sample>>>>);

impl MemoryStore {
    /// Everything in it.
    pub(crate) fn contents(&self) -> BTreeMap<Labels, Vec<Sample>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Adds a sample.
    pub(crate) fn add(&self, labels: &[(&str, &str)], time: Timestamp, value: f64) {
        let labels = Labels::from_pairs(labels.iter().copied());
        let mut series = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        series
            .entry(labels)
            .or_default()
            .push(Sample { time, value });
    }
}

impl Queryable for MemoryStore {
    fn querier(&self, range: TimeRange) -> Result<Box<dyn Querier>, ReadError> {
        let mut series = self.contents();
        for samples in series.values_mut() {
            samples.retain(|sample| range.contains(sample.time));
        }
        series.retain(|_, samples| !samples.is_empty());
        Ok(Box::new(Snapshot(series)))
    }
}

struct Snapshot(BTreeMap<Labels, Vec<Sample>>);

impl Snapshot {
    fn selected(&self, matchers: &[Matcher]) -> Vec<&Labels> {
        self.0
            .keys()
            .filter(|labels| {
                matchers
                    .iter()
                    .all(|matcher| matcher.matches_labels(labels))
            })
            .collect()
    }
}

fn cut<T>(mut list: Vec<T>, limit: Option<usize>) -> Vec<T> {
    list.truncate(limit.unwrap_or(usize::MAX));
    list
}

impl Querier for Snapshot {
    fn select(
        &self,
        request: &Select<'_>,
        budget: &Budget,
    ) -> Result<Box<dyn Selection>, ReadError> {
        budget.check()?;
        let labels = cut(self.selected(request.matchers), request.limit);
        let columns = labels
            .iter()
            .map(|labels| {
                let samples = self.0[*labels].iter();
                samples.map(|sample| (sample.time, sample.value)).unzip()
            })
            .collect();
        let series = labels
            .into_iter()
            .map(|labels| SelectedSeries {
                labels: labels.clone(),
            })
            .collect();
        Ok(Box::new(Selected { series, columns }))
    }

    fn label_names(
        &self,
        matchers: &[Matcher],
        limit: Option<usize>,
        _budget: &Budget,
    ) -> Result<Vec<String>, ReadError> {
        let names: std::collections::BTreeSet<String> = self
            .selected(matchers)
            .iter()
            .flat_map(|labels| labels.iter().map(|(name, _)| name.to_owned()))
            .collect();
        Ok(cut(names.into_iter().collect(), limit))
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: Option<usize>,
        _budget: &Budget,
    ) -> Result<Vec<String>, ReadError> {
        let values: std::collections::BTreeSet<String> = self
            .selected(matchers)
            .iter()
            .filter_map(|labels| labels.get(name).map(str::to_owned))
            .collect();
        Ok(cut(values.into_iter().collect(), limit))
    }
}

struct Selected {
    series: Vec<SelectedSeries>,
    columns: Vec<(Vec<Timestamp>, Vec<f64>)>,
}

impl Selection for Selected {
    fn series(&self) -> &[SelectedSeries] {
        &self.series
    }

    fn estimate(&self, _slice: TimeRange) -> Estimate {
        let samples = self.columns.iter().map(|(times, _)| times.len() as u64);
        Estimate {
            samples: samples.sum(),
        }
    }

    fn scan<'a>(&'a self, _slice: TimeRange, budget: &'a Budget) -> Box<dyn Scan + 'a> {
        Box::new(Cursor {
            selected: self,
            budget,
            next: None,
        })
    }
}

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
        Ok(self.next.take().map(|series| {
            let (times, values) = &self.selected.columns[series];
            Run::floats(times, values)
        }))
    }

    fn axis(&mut self, _id: AxisId) -> Result<&[Timestamp], ReadError> {
        panic!("every series is loose")
    }
}

impl Appendable for MemoryStore {
    fn target(&self, key: &TargetKey) -> Result<Box<dyn TargetAppender>, AppendError> {
        Err(AppendError::TargetBusy(key.0.clone()))
    }

    fn appender(&self) -> Box<dyn Appender> {
        Box::new(Pending {
            store: self.clone(),
            series: Vec::new(),
            samples: Vec::new(),
        })
    }
}

struct Pending {
    store: MemoryStore,
    series: Vec<Labels>,
    samples: Vec<(SeriesRef, Sample)>,
}

impl Appender for Pending {
    fn series(&mut self, labels: &Labels) -> Result<SeriesRef, Refusal> {
        let known = self.series.iter().position(|known| known == labels);
        let index = known.unwrap_or_else(|| {
            self.series.push(labels.clone());
            self.series.len() - 1
        });
        Ok(SeriesRef(index as u32))
    }

    fn samples(&mut self, series: SeriesRef, samples: &[Sample]) {
        self.samples
            .extend(samples.iter().map(|sample| (series, *sample)));
    }

    fn commit(self: Box<Self>, all_or_nothing: bool) -> Result<Commit, AppendError> {
        assert!(all_or_nothing, "remote write keeps all or nothing");
        let mut series = self.store.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = series.clone();
        let mut commit = Commit::default();
        for (index, (reference, sample)) in self.samples.iter().enumerate() {
            let labels = self.series[reference.0 as usize].clone();
            let samples = changed.entry(labels).or_default();
            let refusal = match samples.last() {
                Some(last) if sample.time < last.time => Some(Refusal::OutOfOrder),
                Some(last) if sample.time == last.time => {
                    if last.value.to_bits() == sample.value.to_bits() {
                        continue;
                    }
                    Some(Refusal::Duplicate)
                }
                _ => None,
            };
            match refusal {
                Some(refusal) => commit.refused.push((index as u32, refusal)),
                None => {
                    samples.push(*sample);
                    commit.accepted += 1;
                }
            }
        }
        if commit.refused.is_empty() {
            *series = changed;
        } else {
            commit.accepted = 0;
        }
        Ok(commit)
    }
}

/// A server under test.
pub(crate) struct Site {
    pub(crate) state: Arc<State>,
    pub(crate) store: MemoryStore,
    pub(crate) clock: SetClock,
    pub(crate) control: mpsc::Receiver<Control>,
}

/// An answer, its body as text.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("headers are text"))
    }
}

impl Site {
    /// A ready server with two series of `up`, after `change` was made to its settings.
    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::with_targets(change, Vec::new())
    }

    /// The same, with scrape targets.
    pub(crate) fn with_targets(
        change: impl FnOnce(&mut Settings),
        targets: Vec<TargetPool>,
    ) -> Self {
        let mut settings = Settings {
            flags: BTreeMap::from([("web.listen-address".to_owned(), "0.0.0.0:9090".to_owned())]),
            external_url: "http://localhost:9090/".parse().expect("a URL"),
            route_prefix: String::new(),
            cors_origin: Regex::new(".*").expect("a regular expression"),
            page_title: "Prometheus".to_owned(),
            enable_lifecycle: false,
            enable_admin_api: false,
            enable_remote_write_receiver: true,
            query_timeout: Duration::from_mins(2),
            lookback: Duration::from_mins(5),
            storage_retention: "15d".to_owned(),
            started: NOW - 60_000,
        };
        change(&mut settings);
        let clock = SetClock::new(NOW);
        let registry = Registry::new();
        let metrics = HttpMetrics::new(&registry);
        let gate = Gate::new(2, u64::MAX, &registry);
        let store = MemoryStore::default();
        store.add(
            &[
                ("__name__", "up"),
                ("a", "b"),
                ("instance", "127.0.0.1:1"),
                ("job", "down"),
            ],
            NOW - 1_000,
            0.0,
        );
        store.add(
            &[
                ("__name__", "up"),
                ("instance", "127.0.0.1:19390"),
                ("job", "prometheus"),
            ],
            NOW - 1_000,
            1.0,
        );
        let open = OnceLock::new();
        let opened = open.set(Store {
            queryable: Arc::new(store.clone()),
            appendable: Arc::new(store.clone()),
            head: Arc::new(|| HeadStatistics {
                series: 2,
                chunks: 2,
                range: Some((NOW - 1_000, NOW)),
            }),
        });
        assert!(opened.is_ok());
        let (sender, control) = mpsc::channel(1);
        let state = Arc::new(State {
            settings,
            clock: Arc::new(clock.clone()),
            store: open,
            engine: Arc::new(Engine::new(EngineOptions::default())),
            gate,
            readiness: Readiness::default(),
            configuration: RwLock::new(Arc::new(Configuration {
                yaml: "global:\n  scrape_interval: 15s\n".to_owned(),
                external_labels: Labels::from_pairs([("ext", "one")]),
                loaded: NOW - 59_000,
                last_reload_successful: true,
            })),
            targets: Box::new(move || targets.clone()),
            control: sender,
            registry,
            metrics,
        });
        state.readiness.set_ready();
        Self {
            state,
            store,
            clock,
            control,
        }
    }

    /// Sends a request.
    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let router = crate::web::router(Arc::clone(&self.state));
        let response = router.oneshot(request).await.expect("routers do not fail");
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX)
            .await
            .expect("bodies are whole");
        Reply {
            status: head.status,
            headers: head.headers,
            body: body.to_vec(),
        }
    }

    /// Sends a request without a body.
    pub(crate) async fn call(&self, method: &str, path: &str) -> Reply {
        let request = Request::builder().method(method).uri(path);
        self.send(request.body(Body::empty()).expect("a request"))
            .await
    }

    /// Posts a form.
    pub(crate) async fn post(&self, path: &str, form: &str) -> Reply {
        let request = Request::builder()
            .method("POST")
            .uri(path)
            .header("content-type", "application/x-www-form-urlencoded");
        self.send(
            request
                .body(Body::from(form.to_owned()))
                .expect("a request"),
        )
        .await
    }
}
