//! From a rule file to an Alertmanager: delivery, and what happens when an Alertmanager does not do
//! its part.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Server, run, wait_until};

/// What a test's Alertmanager does with a request.
#[derive(Debug, Clone, Copy)]
enum Behaviour {
    Answer(&'static str),
    Hang,
}

/// An Alertmanager that keeps the body of every POST.
struct Alertmanager {
    address: SocketAddr,
    posts: Arc<Mutex<Vec<Value>>>,
}

impl Alertmanager {
    fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let posts = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&posts);
        // Both kinds of threads end with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let log = Arc::clone(&log);
                thread::spawn(move || serve(stream, behaviour, &log));
            }
        });
        Self { address, posts }
    }

    fn posts(&self) -> Vec<Value> {
        self.posts.lock().unwrap().clone()
    }

    fn url(&self) -> String {
        format!("http://{}/api/v2/alerts", self.address)
    }
}

fn serve(mut stream: TcpStream, behaviour: Behaviour, log: &Mutex<Vec<Value>>) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match body(&bytes) {
            Some(body) => {
                log.lock().unwrap().push(body);
                bytes.clear();
                let Behaviour::Answer(status) = behaviour else {
                    thread::park();
                    return;
                };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
            None => match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(length) => bytes.extend_from_slice(buffer.get(..length).unwrap_or_default()),
            },
        }
    }
}

/// The body of a request that is there as a whole.
fn body(bytes: &[u8]) -> Option<Value> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    serde_json::from_slice(bytes.get(end + 4..)?).ok()
}

fn config(alertmanagers: &[SocketAddr]) -> String {
    let targets: Vec<String> = alertmanagers.iter().map(|one| format!("'{one}'")).collect();
    format!(
        "global: {{evaluation_interval: 1s, external_labels: {{site: x}}}}\nrule_files: ['rules/*.yml']\nalerting: {{alertmanagers: [{{timeout: 1s, static_configs: [{{targets: [{}]}}]}}]}}\n",
        targets.join(", ")
    )
}

fn folder(rules: &str) -> Arc<TempDir> {
    let folder = Arc::new(TempDir::new().unwrap());
    fs::create_dir(folder.path().join("rules")).unwrap();
    write_rules(folder.path(), rules);
    folder
}

fn write_rules(folder: &Path, rules: &str) {
    fs::write(folder.join("rules/a.yml"), rules).unwrap();
}

const RULES: &str = "groups:\n- name: g\n  rules:\n  - alert: Always\n    expr: vector(7)\n    labels: {severity: page}\n    annotations: {summary: 'is {{ $value }}'}\n";

/// The value of a line of `/metrics`.
fn metric(server: &Server, name: &str, alertmanager: &str) -> Option<f64> {
    let start = format!("{name}{{alertmanager=\"{alertmanager}\"}} ");
    let metrics = server.get("/metrics").text();
    let line = metrics.lines().find_map(|line| line.strip_prefix(&start));
    line.and_then(|value| value.parse().ok())
}

#[test]
fn an_alert_reaches_the_alertmanager_and_the_api() {
    let alertmanager = Alertmanager::start(Behaviour::Answer("200 OK"));
    let server = Server::builder()
        .folder(&folder(RULES))
        .config(&config(&[alertmanager.address]))
        .arg("--web.external-url=http://example.org/prom/")
        .arg("--web.route-prefix=/")
        .start();
    let posts = wait_until("the alert arrives", || {
        let posts = alertmanager.posts();
        (!posts.is_empty()).then_some(posts)
    });
    let mut alert = posts[0][0].clone();
    for name in ["startsAt", "endsAt"] {
        assert!(alert[name].take().is_string());
    }
    let expected = json!({
        "annotations": {"summary": "is 7"},
        "endsAt": null,
        "startsAt": null,
        "generatorURL": "http://example.org/prom/graph?g0.expr=vector%287%29&g0.tab=1",
        "labels": {"alertname": "Always", "severity": "page", "site": "x"},
    });
    assert_eq!(alert, expected);

    let answer = server.get("/api/v1/alerts").json();
    let mut shown = answer["data"]["alerts"][0].clone();
    assert!(shown["activeAt"].take().is_string());
    let expected = json!({
        "labels": {"alertname": "Always", "severity": "page"},
        "annotations": {"summary": "is 7"},
        "state": "firing",
        "activeAt": null,
        "value": "7e+00",
    });
    assert_eq!(shown, expected);
    assert_eq!(
        server.get("/api/v1/alertmanagers").json()["data"],
        json!({"activeAlertmanagers": [{"url": alertmanager.url()}], "droppedAlertmanagers": []})
    );
}

/// Each failure is counted and logged for its own Alertmanager; the last one gets the alert all the
/// same, and a stop is not held up.
#[test]
fn alertmanagers_that_do_not_do_their_part_harm_nobody_else() {
    let good = Alertmanager::start(Behaviour::Answer("204 No Content"));
    let failing = Alertmanager::start(Behaviour::Answer("500 Internal Server Error"));
    let hanging = Alertmanager::start(Behaviour::Hang);
    let refusing = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let server = Server::builder()
        .folder(&folder(RULES))
        .config(&config(&[
            failing.address,
            hanging.address,
            refusing,
            good.address,
        ]))
        .allow("Error sending alerts")
        .start();
    let refusing = format!("http://{refusing}/api/v2/alerts");
    wait_until("the good one has the alert", || {
        (metric(&server, "prometheus_notifications_sent_total", &good.url()) == Some(1.0))
            .then_some(())
    });
    for (url, reason) in [
        (
            failing.url(),
            "err=\"bad response status 500 Internal Server Error\"",
        ),
        (hanging.url(), "context deadline exceeded"),
        (refusing, "connect: connection refused"),
    ] {
        wait_until("its failure is counted and logged", || {
            let failed = metric(&server, "prometheus_notifications_errors_total", &url)? >= 1.0;
            let is_logged = server.log().iter().any(|line| {
                line.contains("msg=\"Error sending alerts\" component=notifier")
                    && line.contains(&format!("alertmanager={url} count=1"))
                    && line.contains(reason)
            });
            (failed && is_logged).then_some(())
        });
        assert_eq!(
            metric(&server, "prometheus_notifications_sent_total", &url),
            Some(0.0)
        );
    }
    assert_eq!(good.posts().len(), 1);
    server.stop();
}

/// Prometheus 3.5.3: exit code 2 with this message.
#[test]
fn a_bad_rule_file_stops_the_start() {
    let folder = folder("groups: [{name: g, rules: [{alert: a, expr: 1 +}]}]\n");
    fs::write(folder.path().join("p.yml"), config(&[])).unwrap();
    let outcome = run(folder.path(), &["--config.file=p.yml"]);
    assert_eq!(outcome.code, Some(2));
    let line = outcome
        .stderr
        .lines()
        .find(|line| line.contains("level=ERROR"));
    let line = line.unwrap_or_else(|| panic!("{}", outcome.stderr));
    for part in [
        r#"msg="Error loading rule file patterns from config (--config.file=\"p.yml\")" file=p.yml"#,
        r#"rules/a.yml: 1:45: group \"g\", rule 1, \"a\": could not parse expression: 1:4: parse error: unexpected end of input"#,
    ] {
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn a_reload_takes_over_good_rules_and_refuses_bad_ones() {
    let alertmanager = Alertmanager::start(Behaviour::Answer("200 OK"));
    let folder = folder(RULES);
    let server = Server::builder()
        .folder(&folder)
        .config(&config(&[alertmanager.address]))
        .arg("--web.enable-lifecycle")
        .allow("loading groups failed")
        .allow("Error reloading config")
        .start();
    write_rules(folder.path(), "groups: [{name: g, rulez: []}]\n");
    let refused = server.post("/-/reload");
    assert_eq!(refused.status, 500);
    assert!(
        refused
            .text()
            .contains("line 1: field rulez not found in type rulefmt.RuleGroup"),
        "{}",
        refused.text()
    );
    let names = || {
        let answer = server.get("/api/v1/rules").json();
        let rules = answer["data"]["groups"][0]["rules"]
            .as_array()
            .unwrap()
            .clone();
        rules
            .iter()
            .map(|rule| rule["name"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(), ["Always"]);
    write_rules(
        folder.path(),
        "groups: [{name: g, rules: [{record: b, expr: '3'}]}]\n",
    );
    assert_eq!(server.post("/-/reload").status, 200);
    assert_eq!(names(), ["b"]);
    wait_until("the new rule writes its series", || {
        let value = server.query("b", "");
        (value[0]["value"][1] == json!("3")).then_some(())
    });
    server.stop();
}

/// What waits when the server is told to stop is delivered.
#[test]
fn a_stop_delivers_what_waits() {
    let alertmanager = Alertmanager::start(Behaviour::Answer("200 OK"));
    let rules = "groups: [{name: g, rules: [{alert: a, expr: 'label_replace(vector(1), \"n\", \"1\", \"\", \"\") or label_replace(vector(1), \"n\", \"2\", \"\", \"\")'}]}]\n";
    let server = Server::builder()
        .folder(&folder(rules))
        .config(&config(&[alertmanager.address]))
        .arg("--alertmanager.notification-batch-size=1")
        .start();
    wait_until("the rule fired", || {
        let answer = server.get("/api/v1/alerts").json();
        (answer["data"]["alerts"].as_array()?.len() == 2).then_some(())
    });
    server.stop();
    let posts = alertmanager.posts();
    let names: Vec<&Value> = posts.iter().map(|post| &post[0]["labels"]["n"]).collect();
    assert_eq!(names, ["1", "2"]);
}
