//! What the tests of the HTTP side share: a whole [`State`] over a store in memory, on set time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use narthex_query::{Engine, EngineOptions, Features, testscript::MemoryStore as Samples};
use narthex_rules::GroupStatus;
use narthex_storage::{
    AppendError, Appendable, Appender, Budget, Cardinality, CardinalityLists, Commit, Exemplar,
    Histogram, KeptMetadata, Labels, Matcher, Metadata, Querier, Queryable, ReadError, Refusal,
    Regex, Sample, Select, SeriesRef, TargetAppender, TargetKey, TimeRange, Timestamp, Wants,
};
use tokio::sync::mpsc;
use tower::ServiceExt as _;

use super::{
    AnswerWriter, ClientGone, Configuration, Content, Control, Gate, HeadStatistics, HttpMetrics,
    Readiness, Settings, State, Store, StoreAdmin, TargetPool, WithMetadata, result_cache,
};
use crate::{
    clock::SetClock,
    notifier::AlertmanagerReport,
    remote_read::{RemoteRead, RemoteReadLimits},
    self_metrics::Registry,
};

/// The time of every test: 2026-11-21T05:31:48.568Z.
pub(crate) const NOW: Timestamp = 1_795_239_108_568;

/// The query crate's store in memory, shared, to which samples can be pushed.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryStore(
    Arc<Mutex<Samples>>,
    Arc<Mutex<Exemplars>>,
    Arc<Mutex<Families>>,
);

/// Exemplars and their series, in the order in which they were pushed.
type Exemplars = Vec<(Labels, Exemplar)>;

/// Families and all that was pushed of them, newest first.
type Families = BTreeMap<String, Vec<KeptMetadata>>;

impl MemoryStore {
    fn samples(&self) -> MutexGuard<'_, Samples> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything in it.
    pub(crate) fn contents(&self) -> BTreeMap<Labels, Vec<Sample>> {
        contents(&self.samples()).expect("what is in memory can be read")
    }

    /// The exemplars that were pushed.
    pub(crate) fn exemplars(&self) -> Exemplars {
        self.1.lock().expect("no test panics with it").clone()
    }

    /// The metadata that was pushed.
    pub(crate) fn families(&self) -> Families {
        self.2.lock().expect("no test panics with it").clone()
    }

    /// Adds a sample.
    pub(crate) fn add(&self, labels: &[(&str, &str)], time: Timestamp, value: f64) {
        let labels = Labels::from_pairs(labels.iter().copied());
        self.samples().append(&labels, time, value);
    }
}

fn contents(store: &Samples) -> Result<BTreeMap<Labels, Vec<Sample>>, ReadError> {
    let budget = Budget::unlimited();
    let select = Select {
        matchers: &[],
        range: TimeRange::ALL,
        limit: None,
        wants: Wants::Samples,
    };
    let selection = store.querier(TimeRange::ALL)?.select(&select, &budget)?;
    let mut scan = selection.scan(TimeRange::ALL, &budget);
    let mut contents: BTreeMap<Labels, Vec<Sample>> = BTreeMap::new();
    for (index, series) in selection.series().iter().enumerate() {
        let samples = contents.entry(series.labels.clone()).or_default();
        scan.seek(index)?;
        while let Some(run) = scan.next_run()? {
            let (mut times, mut values) = (vec![0; run.len()], vec![0.0; run.len()]);
            run.times(&mut times)?;
            run.values(&mut values)?;
            let pairs = times.into_iter().zip(values);
            samples.extend(pairs.map(|(time, value)| Sample { time, value }));
        }
    }
    Ok(contents)
}

impl Queryable for MemoryStore {
    fn querier(&self, range: TimeRange) -> Result<Box<dyn Querier>, ReadError> {
        self.samples().querier(range)
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

    fn histograms(&mut self, _: SeriesRef, _: &[(i64, Histogram)]) {
        unreachable!("nothing pushes histograms")
    }

    fn start_times(&mut self, _: &Labels, _: &[(i64, i64)]) -> Result<(), Refusal> {
        unreachable!("nothing pushes start timestamps")
    }

    fn exemplar(&mut self, series: &Labels, exemplar: Exemplar) {
        let mut exemplars = self.store.1.lock().expect("no test panics with it");
        exemplars.push((series.clone(), exemplar));
    }

    fn metadata(&mut self, family: &str, metadata: Metadata) {
        let mut families = self.store.2.lock().expect("no test panics with it");
        let of_family = families.entry(family.to_owned()).or_default();
        let kept = KeptMetadata {
            metadata,
            from_target: false,
            from_push: true,
        };
        of_family.insert(0, kept);
    }

    fn commit(self: Box<Self>, all_or_nothing: bool) -> Result<Commit, AppendError> {
        let mut store = self.store.samples();
        let mut contents = contents(&store).expect("what is in memory can be read");
        let mut changed = store.clone();
        let mut commit = Commit::default();
        for (index, (reference, sample)) in self.samples.iter().enumerate() {
            let labels = &self.series[reference.0 as usize];
            let samples = contents.entry(labels.clone()).or_default();
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
                    changed.append(labels, sample.time, sample.value);
                    commit.accepted += 1;
                }
            }
        }
        if commit.refused.is_empty() || !all_or_nothing {
            *store = changed;
        } else {
            commit.accepted = 0;
        }
        Ok(commit)
    }
}

/// What the HTTP side asks others for.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) targets: Vec<TargetPool>,
    pub(crate) rules: Vec<GroupStatus>,
    pub(crate) alertmanagers: AlertmanagerReport,
    pub(crate) remote_read: RemoteReadLimits,
}

/// A server under test.
pub(crate) struct Site {
    pub(crate) state: Arc<State>,
    pub(crate) store: MemoryStore,
    pub(crate) clock: SetClock,
    pub(crate) control: mpsc::Receiver<Control>,
    /// What the admin endpoints asked of the store, one line a call.
    pub(crate) admin: Arc<Mutex<Vec<String>>>,
}

/// Notes what it is asked for; fails when a selector names `broken`.
struct AdminLog(Arc<Mutex<Vec<String>>>);

impl AdminLog {
    fn note(&self, line: String) -> anyhow::Result<()> {
        let broken = line.contains("broken");
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(line);
        anyhow::ensure!(!broken, "the disk is full");
        Ok(())
    }
}

impl StoreAdmin for AdminLog {
    fn snapshot(&self, skip_head: bool) -> anyhow::Result<String> {
        self.note(format!("snapshot skip_head={skip_head}"))?;
        Ok("20261121T053148Z-00112233aabbccdd".to_owned())
    }

    fn delete_series(&self, selectors: &[Vec<Matcher>], range: TimeRange) -> anyhow::Result<()> {
        let shown = |matcher: &Matcher| {
            let (name, op, value) = (matcher.name(), matcher.op().as_str(), matcher.value());
            format!("{name}{op}{value}")
        };
        let selectors: Vec<Vec<String>> = selectors
            .iter()
            .map(|matchers| matchers.iter().map(shown).collect())
            .collect();
        self.note(format!("delete {selectors:?} {range:?}"))
    }

    fn clean_tombstones(&self) -> anyhow::Result<()> {
        self.note("clean".to_owned())
    }
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

/// The value of a metric of its own without labels.
pub(crate) fn gauge(site: &Site, name: &str) -> String {
    let page = site.state.registry.render();
    let mut lines = page.lines().filter_map(|line| line.split_once(' '));
    let found = lines.find(|(found, _)| *found == name);
    found.map_or(String::new(), |(_, value)| value.to_owned())
}

/// What is printed of a small value.
pub(crate) async fn printed<T>(
    print: impl FnOnce(&mut AnswerWriter) -> Result<T, ClientGone> + Send + 'static,
) -> String {
    let site = Site::with(|_| {});
    let work = move |_: &Budget, _, writer: &mut AnswerWriter| {
        print(writer)?;
        Ok(())
    };
    let content = site.state.gate.print(&site.state, Duration::MAX, work);
    match content.await {
        Ok(Content::Whole(bytes)) => String::from_utf8(bytes).expect("the body is text"),
        other => panic!("a small value is whole: {other:?}"),
    }
}

impl Site {
    /// A ready server with two series of `up`, after `change` was made to its settings.
    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::with_world(change, World::default())
    }

    /// The same, with scrape targets.
    pub(crate) fn with_targets(
        change: impl FnOnce(&mut Settings),
        targets: Vec<TargetPool>,
    ) -> Self {
        let world = World {
            targets,
            ..World::default()
        };
        Self::with_world(change, world)
    }

    /// The same, with what a running server has around the HTTP side.
    pub(crate) fn with_world(change: impl FnOnce(&mut Settings), world: World) -> Self {
        let World {
            targets,
            rules,
            alertmanagers,
            remote_read,
        } = world;
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
            started: NOW - 60_000,
        };
        change(&mut settings);
        let clock = SetClock::new(NOW);
        let registry = Registry::new();
        let metrics = HttpMetrics::new(&registry);
        let gate = Gate::new(2, u64::MAX, u64::MAX, &registry);
        let remote_read = RemoteRead::new(remote_read, &registry);
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
        let admin = Arc::new(Mutex::default());
        let opened = open.set(Store {
            queryable: Arc::new(store.clone()),
            appendable: Arc::new(store.clone()),
            exemplars: {
                let store = store.clone();
                Arc::new(move |selectors: &[Vec<Matcher>], range: TimeRange| {
                    let is_wanted = |(labels, exemplar): &(Labels, Exemplar)| {
                        let matches = |matchers: &Vec<Matcher>| {
                            let mut matchers = matchers.iter();
                            matchers.all(|matcher| matcher.matches_labels(labels))
                        };
                        (range.min..=range.max).contains(&exemplar.time)
                            && selectors.iter().any(matches)
                    };
                    let mut found: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
                    for (labels, exemplar) in store.exemplars().into_iter().filter(is_wanted) {
                        found.entry(labels).or_default().push(exemplar);
                    }
                    found.into_iter().collect()
                })
            },
            metadata: {
                let store = store.clone();
                Arc::new(move |family| {
                    let mut families = store.families();
                    families.retain(|name, _| family.is_none_or(|family| name == family));
                    families
                })
            },
            head: Arc::new(|| HeadStatistics {
                series: 2,
                chunks: 2,
                range: Some((NOW - 1_000, NOW)),
                label_pairs: 6,
            }),
            cardinality: Arc::new(|limit| {
                let one = |name: &str, value: u64| {
                    let name = name.to_owned();
                    vec![Cardinality { name, value }; limit.min(1)]
                };
                CardinalityLists {
                    series_by_metric_name: one("up", 2),
                    values_by_label_name: one("instance", 2),
                    bytes_by_label_name: one("<b>", 26),
                    series_by_label_pair: one("__name__=up", 2),
                }
            }),
            admin: Arc::new(AdminLog(Arc::clone(&admin))),
        });
        assert!(opened.is_ok());
        let (sender, control) = mpsc::channel(1);
        let state = Arc::new(State {
            settings,
            clock: Arc::new(clock.clone()),
            store: open,
            engine: Arc::new(Engine::new(EngineOptions {
                features: Features {
                    extended_range_selectors: true,
                    fill_modifiers: true,
                    per_step_statistics: true,
                    ..Features::default()
                },
                ..EngineOptions::default()
            })),
            results: result_cache(1 << 20, &registry),
            gate,
            remote_read,
            readiness: Readiness::default(),
            configuration: RwLock::new(Arc::new(Configuration {
                yaml: "global:\n  scrape_interval: 15s\n".to_owned(),
                external_labels: Labels::from_pairs([("ext", "one")]),
                storage_retention: "15d".to_owned(),
                out_of_order_window_ms: 0,
                loaded: NOW - 59_000,
                last_reload_successful: true,
            })),
            targets: Box::new(move |with_metadata| {
                let mut targets = targets.clone();
                if with_metadata == WithMetadata::No {
                    for target in targets.iter_mut().flat_map(|pool| &mut pool.active) {
                        target.metadata.clear();
                    }
                }
                targets
            }),
            rules: Box::new(move || rules.clone()),
            alertmanagers: Box::new(move || alertmanagers.clone()),
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
            admin,
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
