//! The whole server in this process, on set time.

use std::{collections::BTreeMap, time::Duration};

use narthex_storage::{RealFs, Regex, Timestamp, WalFsync};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::{
    clock::SetClock,
    notifier::{
        NotifierOptions,
        test_support::{Behaviour, Recorder},
    },
    remote_read::RemoteReadLimits,
};

fn options(folder: &Path, config: ConfigSource) -> ServerOptions {
    ServerOptions {
        config,
        auto_reload: None,
        data_path: folder.join("data"),
        retention_time: Some(Duration::from_hours(15 * 24)),
        retention_size_bytes: None,
        wal_fsync: WalFsync::Segment,
        series_max: None,
        lock: true,
        external_url: String::new(),
        route_prefix: "/own".to_owned(),
        cors_origin: Regex::new(".*").unwrap(),
        page_title: "Title".to_owned(),
        enable_lifecycle: false,
        enable_admin_api: false,
        enable_remote_write_receiver: true,
        connections_max: 16,
        read_timeout: Duration::from_mins(1),
        query_lookback: Duration::from_mins(5),
        query_timeout: Duration::from_mins(2),
        query_concurrency: 2,
        query_workers: 1,
        query_bytes_all: u64::MAX,
        query_cache_bytes: 1 << 20,
        query_samples_max: 1_000_000,
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
        started: 0,
    }
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Asks until the answer ends with `expected`, at most 30 s.
async fn eventually(address: SocketAddr, path: &str, expected: &str) {
    let mut last = String::new();
    let asking = async {
        loop {
            last = get(address, path).await;
            if last.ends_with(expected) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(30), asking).await;
    assert!(in_time.is_ok(), "{path}: {last}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_set_time_it_scrapes_itself_within_two_seconds_of_readiness_and_keeps_that() {
    let folder = tempfile::tempdir().unwrap();
    let clock = SetClock::new(1_700_000_000_000);
    for round in 0..2 {
        let listeners = bind(&["127.0.0.1:0".to_owned()]).unwrap();
        let options = options(folder.path(), ConfigSource::BuiltIn);
        let server = Server::start(
            options,
            Arc::new(clock.clone()),
            listeners,
            Arc::new(RealFs),
        )
        .unwrap();
        let address = server.addresses()[0];
        let control = server.control();
        let running = tokio::spawn(server.run());
        eventually(address, "/own/-/ready", "Prometheus Server is Ready.\n").await;
        clock.advance(Duration::from_secs(2));
        // One sample of this run and, from the second on, one of each run before.
        let query = "/own/api/v1/query?query=sum(count_over_time(up[3h]))";
        let count = format!("\"{}\"]}}]}}}}", round + 1);
        eventually(address, query, &count).await;
        control.send(Control::Quit).await.unwrap();
        running.await.unwrap().unwrap();
        unlocked(folder.path()).await;
        clock.advance(Duration::from_hours(1));
    }
}

/// Waits until nothing of a server that ended holds the store any more, at most 30 s.
async fn unlocked(folder: &Path) {
    let lock = std::fs::File::open(folder.join("data/lock")).unwrap();
    let waiting = async {
        while lock.try_lock().is_err() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    assert!(in_time.is_ok(), "the store stays locked");
}

/// A server on set time with this configuration and rule file.
struct Running {
    address: SocketAddr,
    control: mpsc::Sender<Control>,
    task: tokio::task::JoinHandle<Result<()>>,
    folder: tempfile::TempDir,
}

impl Running {
    async fn start(clock: &SetClock, config: &str, rules: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prometheus.yml");
        std::fs::write(&path, config).unwrap();
        std::fs::write(folder.path().join("rules.yml"), rules).unwrap();
        let options = options(folder.path(), ConfigSource::File(path));
        let listeners = bind(&["127.0.0.1:0".to_owned()]).unwrap();
        let fs = Arc::new(RealFs);
        let server = Server::start(options, Arc::new(clock.clone()), listeners, fs).unwrap();
        let (address, control) = (server.addresses()[0], server.control());
        let task = tokio::spawn(server.run());
        eventually(address, "/own/-/ready", "Prometheus Server is Ready.\n").await;
        Self {
            address,
            control,
            task,
            folder,
        }
    }

    async fn json(&self, path: &str) -> serde_json::Value {
        let answer = get(self.address, path).await;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }

    /// Waits until all groups together were evaluated this often.
    async fn iterations(&self, expected: u64) {
        let done = async {
            loop {
                let metrics = get(self.address, "/own/metrics").await;
                let counts = metrics
                    .lines()
                    .filter(|line| line.starts_with("prometheus_rule_group_iterations_total{"))
                    .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
                if counts.sum::<u64>() == expected {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(30), done).await;
        assert!(in_time.is_ok(), "iteration {expected} does not come");
    }

    async fn reload(&self) -> Result<(), String> {
        let (sender, receiver) = oneshot::channel();
        self.control.send(Control::Reload(sender)).await.unwrap();
        receiver.await.unwrap()
    }

    async fn stop(self) {
        self.control.send(Control::Quit).await.unwrap();
        self.task.await.unwrap().unwrap();
    }
}

fn milliseconds(text: &serde_json::Value) -> Timestamp {
    let time: jiff::Timestamp = text.as_str().unwrap().parse().unwrap();
    time.as_millisecond()
}

/// The times are hand-calculated from the moment the alert became active: it fires after `for`, is
/// sent again after the resend delay, says that it holds for four resend delays, and is resolved at
/// the first evaluation without its condition.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_goes_through_pending_firing_and_resolved_on_set_time() {
    const START: Timestamp = 1_700_000_000_000;
    let clock = SetClock::new(START);
    let recorder = Recorder::start(Behaviour::Answer(200)).await;
    let config = format!(
        "global: {{evaluation_interval: 15s, external_labels: {{site: x}}}}\nrule_files: [rules.yml]\nalerting: {{alertmanagers: [{{static_configs: [{{targets: ['{}']}}]}}]}}\n",
        recorder.address
    );
    // The condition holds for the first three minutes.
    let rules = "groups:\n- name: g\n  rules:\n  - {record: now, expr: time()}\n  - {alert: Early, expr: now < 1700000180, for: 1m, labels: {severity: page}}\n";
    let server = Running::start(&clock, &config, rules).await;
    let states = async || {
        let answer = server.json("/own/api/v1/alerts").await;
        let alerts = answer["data"]["alerts"].as_array().unwrap().clone();
        let states = alerts.iter().map(|alert| alert["state"].clone());
        (states.collect::<Vec<_>>(), alerts)
    };

    // A sender that is behind sends what waits in one post.
    let received = || -> Vec<serde_json::Value> {
        let posts = recorder.posts();
        let alerts = posts.iter().filter_map(serde_json::Value::as_array);
        alerts.flatten().cloned().collect()
    };
    let (mut active_at, mut resolved_at) = (0, 0);
    for iteration in 1..=20 {
        clock.advance(Duration::from_secs(15));
        server.iterations(iteration).await;
        let (states, alerts) = states().await;
        if iteration == 1 {
            active_at = milliseconds(&alerts[0]["activeAt"]);
            assert!(START < active_at && active_at <= START + 15_000);
            let mut evaluations = (0..).map(|n| active_at + 15_000 * n);
            resolved_at = evaluations.find(|time| *time >= START + 180_000).unwrap();
        }
        let time = active_at + 15_000 * (iteration as Timestamp - 1);
        let expected: &[&str] = match time {
            _ if time >= START + 180_000 => &[],
            _ if time >= active_at + 60_000 => &["firing"],
            _ => &["pending"],
        };
        assert_eq!(states, expected, "iteration {iteration}");
        // No delivery may time out as the clock advances.
        let sent_at = [
            active_at + 60_000,
            active_at + 135_000,
            resolved_at,
            resolved_at + 75_000,
        ];
        let due = sent_at.iter().filter(|at| **at <= time).count();
        let sent = async {
            while received().len() < due {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(30), sent).await;
        assert!(in_time.is_ok(), "alerts are missing: {:?}", received());
    }
    let alerts: Vec<(Timestamp, Timestamp)> = received()
        .iter()
        .map(|alert| {
            assert_eq!(
                alert["labels"],
                serde_json::json!({"alertname": "Early", "severity": "page", "site": "x"})
            );
            let times = |name: &str| milliseconds(&alert[name]);
            (times("startsAt"), times("endsAt"))
        })
        .collect();
    let fired_at = active_at + 60_000;
    assert_eq!(
        alerts,
        [
            (fired_at, fired_at + 240_000),
            (fired_at, fired_at + 75_000 + 240_000),
            (fired_at, resolved_at),
            (fired_at, resolved_at),
        ]
    );

    // What the rules wrote, as of the last evaluation that had it.
    let query = format!(
        "/own/api/v1/query?time={}&query=sum_over_time(ALERTS[1h])",
        (START + 300_000) / 1000
    );
    let answer = server.json(&query).await;
    let series = answer["data"]["result"].as_array().unwrap();
    let counts: Vec<_> = series
        .iter()
        .map(|one| (&one["metric"]["alertstate"], &one["value"][1]))
        .collect();
    // The first two evaluations come before the restore and write no ALERTS.
    let firing = (resolved_at - fired_at) / 15_000;
    assert_eq!(
        counts,
        [
            (
                &serde_json::json!("firing"),
                &serde_json::json!(firing.to_string())
            ),
            (&serde_json::json!("pending"), &serde_json::json!("2")),
        ]
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_with_a_bad_rule_file_keeps_everything_and_says_why() {
    let clock = SetClock::new(1_700_000_000_000);
    let config = "rule_files: [rules.yml]\nglobal: {evaluation_interval: 5s}\n";
    let rules = "groups: [{name: g, rules: [{alert: a, expr: vector(1), for: 1h}]}]\n";
    let server = Running::start(&clock, config, rules).await;
    clock.advance(Duration::from_secs(5));
    server.iterations(1).await;
    let before = server.json("/own/api/v1/rules").await;
    let alert = &before["data"]["groups"][0]["rules"][0]["alerts"][0];
    assert_eq!(alert["state"], "pending");

    let file = server.folder.path().join("rules.yml");
    let config = server.folder.path().join("prometheus.yml");
    std::fs::write(
        &file,
        "groups: [{name: g, rules: [{alert: a, expr: 1 +}]}]\n",
    )
    .unwrap();
    std::fs::write(
        &config,
        "global: {evaluation_interval: 1s}\nrule_files: [rules.yml]\n",
    )
    .unwrap();
    let expected = format!(
        "couldn't load configuration (--config.file=\"{config}\"): error loading rules, previous rule set restored: parse rules from file \"{file}\" (pattern: \"{file}\"): {file}: 1:45: group \"g\", rule 1, \"a\": could not parse expression: 1:4: parse error: unexpected end of input\n  --> {file}:1:45\n  |\n1 | groups: [{{name: g, rules: [{{alert: a, expr: 1 +}}]}}]\n  | {indent}^",
        config = config.display(),
        file = file.display(),
        indent = " ".repeat(44)
    );
    assert_eq!(server.reload().await, Err(expected));
    assert_eq!(server.json("/own/api/v1/rules").await, before);

    // A good one keeps the alert of the rule that stays, and counts on.
    std::fs::write(&file, "groups: [{name: g, rules: [{record: b, expr: '1'}, {alert: a, expr: vector(1), for: 1h}]}]\n").unwrap();
    assert_eq!(server.reload().await, Ok(()));
    let after = server.json("/own/api/v1/rules").await;
    let group = &after["data"]["groups"][0];
    assert_eq!(group["interval"], 1);
    assert_eq!(&group["rules"][1]["alerts"][0], alert);
    clock.advance(Duration::from_secs(1));
    server.iterations(2).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_that_went_by_are_counted_as_missed_and_not_made_up_for() {
    let clock = SetClock::new(1_700_000_000_000);
    let rules = "groups: [{name: g, interval: 5s, rules: [{record: a, expr: '1'}]}]\n";
    let server = Running::start(&clock, "rule_files: [rules.yml]\n", rules).await;
    clock.advance(Duration::from_secs(5));
    server.iterations(1).await;
    clock.advance(Duration::from_secs(20));
    server.iterations(5).await;
    let metrics = get(server.address, "/own/metrics").await;
    let missed = metrics
        .lines()
        .find(|line| line.starts_with("prometheus_rule_group_iterations_missed_total"));
    assert!(
        missed.is_some_and(|line| line.ends_with(" 3")),
        "{missed:?}"
    );
    let evaluations = metrics
        .lines()
        .find(|line| line.starts_with("prometheus_rule_evaluations_total"));
    assert!(
        evaluations.is_some_and(|line| line.ends_with(" 2")),
        "{evaluations:?}"
    );
    server.stop().await;
}
