//! The notifier against small servers on loopback, on set time.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use narthex_rules::{AlertMessage, AlertSink as _};
use narthex_storage::Labels;
use tokio::net::TcpListener;

use super::{
    Notifier, NotifierOptions,
    test_support::{Behaviour, Recorder},
};
use crate::{
    clock::SetClock, config::Config, discovery::discovered_targets, self_metrics::Registry,
};

struct Bench {
    notifier: Notifier,
    clock: SetClock,
    registry: Registry,
}

impl Bench {
    fn new(config: &str) -> Self {
        Self::with_options(
            config,
            NotifierOptions {
                queue_capacity: 100,
                batch_size: 3,
                drain_on_shutdown: true,
            },
        )
    }

    fn with_options(config: &str, options: NotifierOptions) -> Self {
        let clock = SetClock::new(1_000_000);
        let registry = Registry::new();
        let notifier = Notifier::new(
            options,
            Arc::new(clock.clone()),
            discovered_targets(&registry),
            &registry,
        );
        let bench = Self {
            notifier,
            clock,
            registry,
        };
        bench.apply(config);
        bench
    }

    fn apply(&self, config: &str) {
        let prepared = Notifier::prepare(&load(config)).unwrap();
        self.notifier.apply(prepared);
    }

    /// Waits until `/metrics` has a line.
    async fn metric(&self, line: &str) {
        let has = || self.registry.render().lines().any(|other| other == line);
        eventually(line, has).await;
    }

    fn send(&self, names: &[&str]) {
        self.notifier
            .send(names.iter().map(|name| alert(name)).collect());
    }
}

fn load(text: &str) -> Config {
    crate::config::load(text.as_bytes(), std::path::Path::new("p.yml"), &|_| None).unwrap()
}

fn alert(name: &str) -> AlertMessage {
    AlertMessage {
        labels: Labels::from_pairs([("alertname", name)]),
        annotations: [].into(),
        starts_at: 1_000,
        ends_at: 2_000,
        generator_url: "http://n/graph".to_owned(),
    }
}

async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let waiting = async {
        while !check() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(20), waiting).await;
    assert!(in_time.is_ok(), "still not so: {what}");
}

/// The expected text is the request that Prometheus 3.5.3 made, but for its version.
#[tokio::test]
async fn the_request_is_prometheus_to_the_byte() {
    let recorder = Recorder::start(Behaviour::Answer(200)).await;
    let config = format!(
        "global: {{external_labels: {{ext: e1, alertname: no}}}}\nalerting: {{alertmanagers: [{{path_prefix: /pre/fix/, basic_auth: {{username: u, password: p}}, static_configs: [{{targets: ['{}']}}]}}]}}\n",
        recorder.address
    );
    let bench = Bench::new(&config);
    bench.send(&["Flap"]);
    eventually("the alert arrives", || recorder.requests().len() == 1).await;
    let body = r#"[{"endsAt":"1970-01-01T00:00:02.000Z","startsAt":"1970-01-01T00:00:01.000Z","generatorURL":"http://n/graph","labels":{"alertname":"Flap","ext":"e1"}}]"#;
    let expected = format!(
        "POST /pre/fix/api/v2/alerts HTTP/1.1\r\nHost: {}\r\nUser-Agent: Prometheus/3.14.0\r\nContent-Length: {}\r\nContent-Type: application/json\r\nAuthorization: Basic dTpw\r\n\r\n{body}",
        recorder.address,
        body.len()
    );
    assert_eq!(recorder.requests(), [expected]);
    let url = format!("http://{}/pre/fix/api/v2/alerts", recorder.address);
    bench
        .metric(&format!(
            "prometheus_notifications_sent_total{{alertmanager=\"{url}\"}} 1"
        ))
        .await;
    assert_eq!(bench.notifier.report().active, [url]);
}

/// What is wrong with one Alertmanager is counted for it alone; the others get every alert.
#[tokio::test]
async fn alertmanagers_that_fail_hang_or_are_absent_harm_nobody_else() {
    let good = Recorder::start(Behaviour::Answer(204)).await;
    let failing = Recorder::start(Behaviour::Answer(500)).await;
    let hanging = Recorder::start(Behaviour::Hang).await;
    let absent = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let config = format!(
        "alerting: {{alertmanagers: [{{timeout: 2s, static_configs: [{{targets: ['{}', '{}', '{}', '{absent}']}}]}}]}}\n",
        good.address, failing.address, hanging.address
    );
    let bench = Bench::new(&config);
    bench.send(&["a"]);
    bench.send(&["b", "c"]);
    let line = |name: &str, address: SocketAddr, count: u64| {
        format!(
            "prometheus_notifications_{name}_total{{alertmanager=\"http://{address}/api/v2/alerts\"}} {count}"
        )
    };
    bench.metric(&line("sent", good.address, 3)).await;
    bench.metric(&line("errors", failing.address, 3)).await;
    bench.metric(&line("dropped", failing.address, 3)).await;
    bench.metric(&line("errors", absent, 3)).await;
    // Time stands still, so the hanging one holds on to its first POST until its timeout.
    eventually("the hanging one is asked", || hanging.requests().len() == 1).await;
    bench.metric(&line("errors", hanging.address, 0)).await;
    bench.clock.advance(Duration::from_secs(2));
    bench
        .metric(&line(
            "errors",
            hanging.address,
            hanging.names()[0].len() as u64,
        ))
        .await;
    assert_eq!(good.names().concat(), ["a", "b", "c"]);
    bench.metric(&line("sent", failing.address, 0)).await;
    bench
        .metric("prometheus_notifications_alertmanagers_discovered 4")
        .await;
}

#[tokio::test]
async fn alerts_are_relabelled_for_all_and_then_for_each_section() {
    let first = Recorder::start(Behaviour::Answer(200)).await;
    let second = Recorder::start(Behaviour::Answer(200)).await;
    let config = format!(
        "alerting:\n  alert_relabel_configs: [{{source_labels: [alertname], regex: gone, action: drop}}, {{source_labels: [alertname], regex: bare, target_label: alertname, replacement: ''}}]\n  alertmanagers:\n  - static_configs: [{{targets: ['{}']}}]\n    alert_relabel_configs: [{{source_labels: [alertname], regex: second, action: drop}}]\n  - static_configs: [{{targets: ['{}']}}]\n",
        first.address, second.address
    );
    let bench = Bench::new(&config);
    bench.send(&["gone", "bare", "second", "both"]);
    eventually("both have theirs", || {
        first.names().concat() == ["both"] && second.names().concat() == ["second", "both"]
    })
    .await;
}

#[tokio::test]
async fn batches_are_bounded_and_a_stop_delivers_what_waits() {
    let recorder = Recorder::start(Behaviour::Answer(200)).await;
    let config = format!(
        "alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{}']}}]}}]}}\n",
        recorder.address
    );
    let bench = Bench::new(&config);
    bench.send(&["a", "b", "c", "d", "e", "f", "g"]);
    bench.notifier.stop().await;
    assert_eq!(
        recorder.names(),
        [vec!["a", "b", "c"], vec!["d", "e", "f"], vec!["g"]]
    );
    bench.send(&["late"]);
    assert_eq!(recorder.requests().len(), 3);
}

#[tokio::test]
async fn a_stop_does_not_wait_longer_than_its_bound_for_one_that_hangs() {
    let recorder = Recorder::start(Behaviour::Hang).await;
    let config = format!(
        "alerting: {{alertmanagers: [{{timeout: 1h, static_configs: [{{targets: ['{}']}}]}}]}}\n",
        recorder.address
    );
    let bench = Bench::new(&config);
    bench.send(&["a", "b", "c", "d"]);
    eventually("it is asked", || recorder.requests().len() == 1).await;
    let clock = bench.clock.clone();
    let stop = async {
        bench.notifier.stop().await;
    };
    let advance = async {
        loop {
            tokio::time::sleep(Duration::from_millis(2)).await;
            clock.advance(Duration::from_secs(1));
        }
    };
    tokio::select! {
        () = stop => {}
        () = advance => {}
    }
    assert_eq!(recorder.requests().len(), 1);
    bench
        .metric(&format!(
            "prometheus_notifications_dropped_total{{alertmanager=\"http://{}/api/v2/alerts\"}} 4",
            recorder.address
        ))
        .await;
}

#[tokio::test]
async fn without_draining_a_stop_drops_what_waits() {
    let recorder = Recorder::start(Behaviour::Hang).await;
    let config = format!(
        "alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{}']}}]}}]}}\n",
        recorder.address
    );
    let bench = Bench::with_options(
        &config,
        NotifierOptions {
            queue_capacity: 3,
            batch_size: 1,
            drain_on_shutdown: false,
        },
    );
    bench.send(&["a"]);
    eventually("it is asked", || recorder.requests().len() == 1).await;
    bench.send(&["b", "c", "d", "e"]);
    bench.notifier.stop().await;
    assert_eq!(recorder.names(), [["a"]]);
    bench
        .metric(&format!(
            "prometheus_notifications_dropped_total{{alertmanager=\"http://{}/api/v2/alerts\"}} 5",
            recorder.address
        ))
        .await;
}

#[tokio::test]
async fn a_reload_keeps_the_queue_of_an_alertmanager_that_stays() {
    let hanging = Recorder::start(Behaviour::Hang).await;
    let other = Recorder::start(Behaviour::Answer(200)).await;
    let section = |address: SocketAddr, timeout: &str| {
        format!("{{timeout: {timeout}, static_configs: [{{targets: ['{address}']}}]}}")
    };
    let config =
        |sections: &[String]| format!("alerting: {{alertmanagers: [{}]}}\n", sections.join(", "));
    let bench = Bench::new(&config(&[
        section(other.address, "1s"),
        section(hanging.address, "1s"),
    ]));
    bench.send(&["a"]);
    eventually("it is asked", || hanging.requests().len() == 1).await;
    bench.send(&["b"]);
    // Another timeout is another section, with the same Alertmanager in it.
    bench.apply(&config(&[section(hanging.address, "3s")]));
    bench.clock.advance(Duration::from_secs(1));
    eventually("the next one is sent", || {
        hanging.names().concat() == ["a", "b"]
    })
    .await;
    eventually("the other one had both", || {
        other.names().concat() == ["a", "b"]
    })
    .await;
    bench.send(&["c"]);
    bench
        .metric("prometheus_notifications_alertmanagers_discovered 1")
        .await;
    let rendered = bench.registry.render();
    let found: Vec<&str> = rendered
        .lines()
        .filter(|line| line.starts_with("prometheus_sd_"))
        .collect();
    assert_eq!(
        found,
        ["prometheus_sd_discovered_targets{name=\"notify\",config=\"config-0\"} 1"]
    );
    assert!(!bench.registry.render().contains(&other.address.to_string()));
    assert_eq!(other.names().concat(), ["a", "b"]);
}

#[tokio::test]
async fn alertmanagers_come_and_go_with_their_discovery_file() {
    let first = Recorder::start(Behaviour::Answer(200)).await;
    let second = Recorder::start(Behaviour::Answer(200)).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("am.json");
    let write = |address: SocketAddr| {
        std::fs::write(&file, format!("[{{\"targets\": [\"{address}\"]}}]")).unwrap();
    };
    write(first.address);
    let bench = Bench::new(&format!(
        "alerting: {{alertmanagers: [{{file_sd_configs: [{{files: ['{}']}}]}}]}}\n",
        file.display()
    ));
    let active = |address: SocketAddr| {
        bench.notifier.report().active == [format!("http://{address}/api/v2/alerts")]
    };
    eventually("the first is found", || active(first.address)).await;
    bench.send(&["a"]);
    eventually("it has its alert", || first.names().concat() == ["a"]).await;
    write(second.address);
    eventually("the second is found", || {
        bench.clock.advance(Duration::from_secs(1));
        active(second.address)
    })
    .await;
    bench.send(&["b"]);
    eventually("it has its alert", || second.names().concat() == ["b"]).await;
    assert_eq!(first.names().concat(), ["a"]);
}

/// Go's client: 301, 302 and 303 become a GET, which then counts as delivered; 307 keeps the POST.
#[tokio::test]
async fn redirects_are_followed_as_gos_client_does() {
    let recorder = Recorder::start(Behaviour::Answer(307)).await;
    let config = format!(
        "alerting: {{alertmanagers: [{{follow_redirects: true, static_configs: [{{targets: ['{}']}}]}}]}}\n",
        recorder.address
    );
    let bench = Bench::new(&config);
    bench.send(&["a"]);
    bench
        .metric(&format!(
            "prometheus_notifications_errors_total{{alertmanager=\"http://{}/api/v2/alerts\"}} 1",
            recorder.address
        ))
        .await;
    let requests = recorder.requests();
    assert_eq!(requests.len(), 11);
    assert!(requests[0].starts_with("POST /api/v2/alerts HTTP/1.1\r\n"));
    assert!(requests[10].starts_with("POST /x HTTP/1.1\r\n"));
    assert!(requests[10].ends_with("\"labels\":{\"alertname\":\"a\"}}]"));
}
