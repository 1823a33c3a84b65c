//! From a rule file to an Alertmanager: delivery, and what happens when an Alertmanager does not do
//! its part.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
};

use narthex_storage::{Clock as _, SystemClock};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Alertmanager, Behaviour, PostedAlert, Server, run, wait_until};

fn alertmanager() -> Alertmanager {
    Alertmanager::new(Arc::new(SystemClock::new()))
}

fn url(alertmanager: &Alertmanager) -> String {
    format!("http://{}/api/v2/alerts", alertmanager.address)
}

/// Waits for an alert of this name.
fn posted(alertmanager: &Alertmanager, name: &str) -> PostedAlert {
    wait_until(&format!("{name} is sent"), || {
        let posted = alertmanager.posted();
        posted
            .into_iter()
            .find(|alert| alert.labels["alertname"] == name)
    })
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
    let alertmanager = alertmanager();
    let server = Server::builder()
        .folder(&folder(RULES))
        .config(&config(&[alertmanager.address]))
        .arg("--web.external-url=http://example.org/prom/")
        .arg("--web.route-prefix=/")
        .start();
    let alert = posted(&alertmanager, "Always");
    let expected = json!({"alertname": "Always", "severity": "page", "site": "x"});
    assert_eq!(json!(alert.labels), expected);
    assert_eq!(json!(alert.annotations), json!({"summary": "is 7"}));
    assert_eq!(
        alert.generator_url,
        "http://example.org/prom/graph?g0.expr=vector%287%29&g0.tab=1"
    );
    // Four times the resend delay.
    assert_eq!(alert.ends_at - alert.starts_at, 240_000);

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
        json!({"activeAlertmanagers": [{"url": url(&alertmanager)}], "droppedAlertmanagers": []})
    );
}

/// Each failure is counted and logged for its own Alertmanager; the last one gets the alert all the
/// same, and a stop is not held up.
#[test]
fn alertmanagers_that_do_not_do_their_part_harm_nobody_else() {
    let [good, failing, hanging] = [alertmanager(), alertmanager(), alertmanager()];
    failing.behave(Behaviour::Fail);
    hanging.behave(Behaviour::Hang);
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
        (metric(&server, "prometheus_notifications_sent_total", &url(&good)) == Some(1.0))
            .then_some(())
    });
    for (url, reason) in [
        (
            url(&failing),
            "err=\"bad response status 500 Internal Server Error\"",
        ),
        (url(&hanging), "context deadline exceeded"),
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
    assert_eq!(good.posted().len(), 1);
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
    let alertmanager = alertmanager();
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
    let alertmanager = alertmanager();
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
    let posted = alertmanager.posted();
    let names: Vec<&str> = posted
        .iter()
        .map(|alert| alert.labels["n"].as_str())
        .collect();
    assert_eq!(names, ["1", "2"]);
}

fn rule(server: &Server, name: &str) -> Value {
    let answer = server.get("/api/v1/rules").json();
    let groups = answer["data"]["groups"].as_array().unwrap().iter();
    let mut rules = groups.flat_map(|group| group["rules"].as_array().unwrap());
    rules.find(|rule| rule["name"] == name).unwrap().clone()
}

#[test]
fn a_rule_that_fails_stops_no_other_and_is_shown() {
    let well = alertmanager();
    let rules = r#"groups:
- name: first
  rules:
  - record: doubled
    expr: label_replace(vector(1), "a", "b", "", "") or on() vector(2)
  - record: broken
    expr: vector(1) * on() group_left() (label_replace(vector(1), "a", "x", "", "") or vector(2))
  - alert: Template
    expr: vector(1)
    annotations: {text: '{{ query "up" | first | value }}'}
  - alert: Last
    expr: doubled == 1
- name: second
  rules:
  - {alert: Other, expr: vector(1)}
"#;
    let server = Server::builder()
        .folder(&folder(rules))
        .config(&config(&[well.address]))
        .allow("Evaluating rule failed")
        .allow("Expanding alert template failed")
        .start();
    // A template that fails says so, and the alert is sent.
    let text = posted(&well, "Template").annotations["text"].clone();
    assert!(
        text.starts_with("<error expanding template: error executing template __alert_Template"),
        "{text}"
    );
    let last = posted(&well, "Last");
    assert_eq!(last.labels["a"], "b");
    posted(&well, "Other");
    let broken = rule(&server, "broken");
    assert_eq!(broken["health"], "err", "{broken}");
    let problem = broken["lastError"].as_str().unwrap();
    assert!(
        problem.contains("many-to-many matching not allowed"),
        "{problem}"
    );
    assert_eq!(rule(&server, "Last")["health"], "ok");
    assert_eq!(rule(&server, "Other")["health"], "ok");
    server.stop();
}

/// A minute of `for` would be too long for a test; the grace period that a restored alert gets at
/// least is a second here.
#[test]
fn a_restart_in_the_middle_of_for_goes_on_counting() {
    let well = alertmanager();
    let rules = "groups:\n- name: g\n  rules:\n  - {alert: Slow, expr: vector(1), for: 6s}\n";
    let folder = folder(rules);
    let start = |folder: &Arc<TempDir>| {
        Server::builder()
            .folder(folder)
            .config(&config(&[well.address]))
            .arg("--rules.alert.for-grace-period=1s")
            .allow("torn record")
            .start()
    };
    let first = start(&folder);
    let active_at = |server: &Server| rule(server, "Slow")["alerts"][0]["activeAt"].clone();
    let since = wait_until("it is pending and that is stored", || {
        let stored = first.get("/api/v1/query?query=ALERTS_FOR_STATE").json();
        let is_stored = stored["data"]["result"].get(0).is_some();
        is_stored.then(|| active_at(&first))
    });
    let began: jiff::Timestamp = since.as_str().unwrap().parse().unwrap();
    wait_until("two seconds are behind it", || {
        let now = first.get("/api/v1/query?query=time()").json();
        let now: f64 = now["data"]["result"][1].as_str().unwrap().parse().unwrap();
        (now - began.as_millisecond() as f64 / 1_000.0 > 2.0).then_some(())
    });
    let clock = SystemClock::new();
    let killed = clock.monotonic();
    let folder = first.kill();
    let second = start(&folder);
    let restart_ms = clock.monotonic().saturating_sub(killed).as_millis() as i64;
    let alert = posted(&well, "Slow");
    // Fired six seconds of running after it began: later by the time of the restart, and earlier than
    // six seconds after that.
    let again: jiff::Timestamp = wait_until("it fires", || {
        let alert = rule(&second, "Slow")["alerts"][0].clone();
        (alert["state"] == "firing").then(|| alert["activeAt"].as_str()?.parse().ok())?
    });
    let shifted = again.as_millisecond() - began.as_millisecond();
    assert!(
        (0..restart_ms + 4_000).contains(&shifted),
        "shifted by {shifted} ms, restarted within {restart_ms} ms"
    );
    let waited = alert.starts_at - again.as_millisecond();
    assert!((6_000..7_500).contains(&waited), "fired after {waited} ms");
    second.stop();
}

/// A failed POST is not tried again; the next resend carries the alert.
#[test]
fn an_alertmanager_that_recovers_gets_the_next_resend() {
    let alertmanager = alertmanager();
    alertmanager.behave(Behaviour::Fail);
    let server = Server::builder()
        .folder(&folder(RULES))
        .config(&config(&[alertmanager.address]))
        .arg("--rules.alert.resend-delay=500ms")
        .allow("Error sending alerts")
        .start();
    let name = "prometheus_notifications_errors_total";
    wait_until("a failure is counted", || {
        let errors = metric(&server, name, &url(&alertmanager))?;
        (errors > 0.0).then_some(())
    });
    alertmanager.behave(Behaviour::Accept);
    let alert = posted(&alertmanager, "Always");
    // Fired with the first evaluation, sent with a later one.
    assert!(alert.ends_at - alert.starts_at > 4_000);
    server.stop();
}
