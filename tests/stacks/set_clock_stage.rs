//! The whole server in this process, on set time, with a stack's own files around it: each target is
//! an exporter that plays the stack's script by the clock, and the Alertmanager records.
//!
//! Time moves in steps of the scrape interval, and every target is scraped at every step. A rule
//! group's slots lie somewhere between the steps: where, its name and path decide. The iteration of a
//! slot runs at the step after it, with the slot's time, and so sees the scrapes up to the step before.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use narthex::{
    api::Control,
    clock::SetClock,
    notifier::NotifierOptions,
    remote_read::RemoteReadLimits,
    server::{ConfigSource, RuleOptions, Server, ServerOptions, bind},
};
use narthex_storage::{Clock as _, RealFs, Regex, Timestamp, WalFsync};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::mpsc, task::JoinHandle};

use super::{exporter::LabelMap, scene::Scene};
use crate::harness::{Alertmanager, request, wait_until};

/// A running server on set time.
#[derive(Debug)]
pub(super) struct Stage {
    clock: SetClock,
    step: Duration,
    address: SocketAddr,
    control: mpsc::Sender<Control>,
    running: JoinHandle<anyhow::Result<()>>,
    runtime: Runtime,
    pub(super) alertmanager: Alertmanager,
    pub(super) scene: Scene,
    pub(super) slots: Vec<Slots>,
    /// The group of each alerting rule, by its name.
    pub(super) alerts: BTreeMap<String, (String, String)>,
    folder: TempDir,
}

/// When a rule group is evaluated.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    /// The file's path in the stack's folder, and the group's name.
    pub(super) group: (String, String),
    pub(super) interval: Timestamp,
    /// Milliseconds from a multiple of the interval.
    pub(super) offset: Timestamp,
}

impl Slots {
    /// The first slot after `time`.
    pub(super) fn after(&self, time: Timestamp) -> Timestamp {
        let since = (time - self.offset).div_euclid(self.interval);
        (since + 1) * self.interval + self.offset
    }
}

/// An alert as `/api/v1/rules` shows it, with the addresses that the stack's files name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ShownAlert {
    /// With `alertname`.
    pub(super) labels: LabelMap,
    pub(super) annotations: LabelMap,
    pub(super) is_firing: bool,
    /// Milliseconds since the Unix epoch.
    pub(super) active_at: Timestamp,
}

impl Stage {
    /// Starts the server when the clock shows `begin`, on a copy of the stack's files in which only
    /// addresses are others. Script time 0 is at `origin`.
    pub(super) fn start(
        stack: &'static str,
        begin: Timestamp,
        origin: Timestamp,
        step: Duration,
    ) -> Self {
        let clock = SetClock::new(begin);
        let alertmanager = Alertmanager::new(Arc::new(clock.clone()));
        let at = {
            let clock = clock.clone();
            move || (clock.now() - origin) as f64 / 1_000.0
        };
        let scene = Scene::serve(stack, alertmanager.address, at, 1.0);
        let folder = TempDir::new().unwrap();
        scene.copy(folder.path(), str::to_owned);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (address, control, running) = {
            let _context = runtime.enter();
            let listeners = bind(&["127.0.0.1:0".to_owned()]).unwrap();
            let server = Server::start(
                options(folder.path(), begin),
                Arc::new(clock.clone()),
                listeners,
                Arc::new(RealFs),
            )
            .unwrap();
            let (address, control) = (server.addresses()[0], server.control());
            (address, control, runtime.spawn(server.run()))
        };
        wait_until("the server is ready", || {
            let answer = request(address, "GET", "/-/ready", &[], b"").unwrap();
            (answer.status == 200).then_some(())
        });
        let mut stage = Self {
            clock,
            step,
            address,
            control,
            running,
            runtime,
            alertmanager,
            scene,
            slots: Vec::new(),
            alerts: BTreeMap::new(),
            folder,
        };
        stage.read_groups();
        stage
    }

    fn read_groups(&mut self) {
        let answer = self.get("/api/v1/rules");
        let folder = self.folder.path().display().to_string();
        for group in answer["data"]["groups"].as_array().unwrap() {
            let (file, name) = (text(&group["file"]), text(&group["name"]));
            let interval = group["interval"].as_f64().unwrap() * 1_000.0;
            let inside = file.strip_prefix(&folder).unwrap().trim_start_matches('/');
            let id = (inside.to_owned(), name.to_owned());
            for rule in group["rules"].as_array().unwrap() {
                if rule["type"] == "alerting" {
                    let name = text(&rule["name"]).to_owned();
                    assert_eq!(self.alerts.insert(name, id.clone()), None);
                }
            }
            self.slots.push(Slots {
                group: id,
                interval: interval as Timestamp,
                offset: offset(file, name, interval as u64),
            });
        }
        assert!(!self.slots.is_empty(), "{answer}");
    }

    /// The time that the clock shows.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Moves the clock by one step and waits until every scrape and every iteration that is due
    /// has ended; answers the alerts that are active then.
    pub(super) fn advance(&mut self) -> Vec<ShownAlert> {
        let before = self.clock.now();
        self.clock.advance(self.step);
        wait_until("every target is scraped", || {
            let answer = self.get("/api/v1/targets?state=active");
            let targets = answer["data"]["activeTargets"].as_array().unwrap();
            targets
                .iter()
                .all(|target| time(&target["lastScrape"]) > before)
                .then_some(())
        });
        wait_until("every rule group is evaluated", || {
            let answer = self.get("/api/v1/rules");
            let groups = answer["data"]["groups"].as_array().unwrap();
            let are_done = groups.iter().zip(&self.slots).all(|(group, slots)| {
                slots.after(before) > self.now() || time(&group["lastEvaluation"]) > before
            });
            are_done.then(|| self.shown(groups))
        })
    }

    fn shown(&self, groups: &[Value]) -> Vec<ShownAlert> {
        let mut shown = Vec::new();
        for group in groups {
            for rule in group["rules"].as_array().unwrap() {
                let is_first = time(&group["lastEvaluation"]) < 0;
                let health = if is_first { "unknown" } else { "ok" };
                assert_eq!(rule["health"], health, "{rule}");
                for alert in rule["alerts"].as_array().into_iter().flatten() {
                    shown.push(ShownAlert {
                        labels: self.map(&alert["labels"]),
                        annotations: self.map(&alert["annotations"]),
                        is_firing: match text(&alert["state"]) {
                            "firing" => true,
                            "pending" => false,
                            state => panic!("{state}"),
                        },
                        active_at: time(&alert["activeAt"]),
                    });
                }
            }
        }
        shown.sort();
        shown
    }

    fn map(&self, object: &Value) -> LabelMap {
        self.scene
            .named_all(&serde_json::from_value(object.clone()).unwrap())
    }

    /// The answer of a GET.
    pub(super) fn get(&self, path: &str) -> Value {
        request(self.address, "GET", path, &[], b"").unwrap().json()
    }

    /// Stops the server, which must end well.
    pub(super) fn stop(self) {
        let outcome = self.runtime.block_on(async {
            self.control.send(Control::Quit).await.unwrap();
            self.running.await.unwrap()
        });
        outcome.unwrap();
    }
}

/// Where a group's slots lie in its interval, in milliseconds.
///
/// **Source**: Prometheus hashes the labels `file` and `name`, each text behind a byte of its length,
/// or behind 255 and three bytes of it.
fn offset(file: &str, name: &str, interval: u64) -> Timestamp {
    let mut bytes = Vec::new();
    for text in ["file", file, "name", name] {
        assert!(text.len() < 255);
        bytes.push(text.len() as u8);
        bytes.extend_from_slice(text.as_bytes());
    }
    let nanoseconds = xxhash_rust::xxh64::xxh64(&bytes, 0) % (interval * 1_000_000);
    (nanoseconds / 1_000_000) as Timestamp
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Milliseconds of a time in RFC 3339.
fn time(value: &Value) -> Timestamp {
    let time: jiff::Timestamp = value.as_str().unwrap().parse().unwrap();
    time.as_millisecond()
}

/// What the command line says by default.
fn options(folder: &Path, started: Timestamp) -> ServerOptions {
    ServerOptions {
        config: ConfigSource::File(folder.join("prometheus.yml")),
        auto_reload: None,
        data_path: folder.join("data"),
        retention_time: Some(Duration::from_hours(15 * 24)),
        retention_size_bytes: None,
        wal_fsync: WalFsync::Segment,
        series_max: None,
        lock: true,
        external_url: String::new(),
        route_prefix: String::new(),
        cors_origin: Regex::new(".*").unwrap(),
        page_title: String::new(),
        enable_lifecycle: false,
        enable_admin_api: false,
        enable_remote_write_receiver: false,
        connections_max: 64,
        read_timeout: Duration::from_mins(1),
        query_lookback: Duration::from_mins(5),
        query_timeout: Duration::from_mins(2),
        query_concurrency: 4,
        query_workers: 1,
        query_bytes_all: u64::MAX,
        query_cache_bytes: 1 << 20,
        query_samples_max: 50_000_000,
        remote_read: RemoteReadLimits::default(),
        adjust_timestamps: true,
        timestamp_tolerance: Duration::from_millis(2),
        features: narthex_query::Features::default(),
        exemplar_storage: false,
        rules: RuleOptions {
            outage_tolerance: Duration::from_hours(1),
            for_grace_period: Duration::from_mins(10),
            resend_delay: Duration::from_mins(1),
        },
        notifier: NotifierOptions {
            queue_capacity: 10_000,
            batch_size: 256,
            drain_on_shutdown: true,
        },
        flags: BTreeMap::new(),
        started,
    }
}
