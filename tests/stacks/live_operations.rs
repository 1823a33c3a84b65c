//! What the stacks' texts tell their people to do with a running server, and what they should see.

use std::{collections::BTreeMap, fs, path::Path, process::Command, sync::Arc};

use narthex_storage::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    exporter::{LabelMap, folder},
    live_answers::{self, Answer},
    live_time::quicker_query,
    queries,
    rule_tests::rule_files,
    scene::Scene,
};
use crate::harness::{Server, ServerBuilder, wait_until};

/// The flags that the stack's text adds to the command.
pub(super) fn flags(stack: &str, peer: Option<&Path>) -> ServerBuilder {
    let mut builder = Server::builder()
        // A rule file that is spoiled on purpose.
        .allow("reload")
        .allow("loading");
    if stack == "sidepanel" {
        builder = builder.arg("--storage.tsdb.retention.time=30d");
    }
    if stack == "zerostate" {
        builder = builder.arg("--storage.tsdb.retention.time=7d");
        // Prometheus has no value for a switch and does not start with this one.
        if peer.is_none() {
            builder = builder
                .arg("--web.enable-admin-api=false")
                .allow("--web.enable-admin-api=false");
        }
    }
    builder
}

/// Every rule of `/api/v1/rules`; all groups must be there and evaluate well.
fn rules(server: &Server) -> Vec<Value> {
    let answer = server.get("/api/v1/rules").json();
    let mut rules = Vec::new();
    for group in answer["data"]["groups"].as_array().unwrap() {
        for rule in group["rules"].as_array().unwrap() {
            assert_eq!(rule["health"], "ok", "{rule}");
            assert_eq!(rule.get("lastError"), None, "{rule}");
            rules.push(rule.clone());
        }
    }
    rules
}

/// The annotations of each alerting rule as they are written, by the rule's name and labels.
pub(super) fn annotation_texts(server: &Server) -> BTreeMap<(String, LabelMap), LabelMap> {
    let alerting = rules(server).into_iter();
    alerting
        .filter(|rule| rule["type"] == "alerting")
        .map(|rule| {
            let map = |value: &Value| serde_json::from_value(value.clone()).unwrap();
            let name = rule["name"].as_str().unwrap().to_owned();
            ((name, map(&rule["labels"])), map(&rule["annotations"]))
        })
        .collect()
}

/// `curl /api/v1/alerts` shows what `/api/v1/rules` shows, and the rules' own series say the same.
pub(super) fn check_alerts(server: &Server) {
    wait_until("alerts, rules and the ALERTS series agree", || {
        let alerts = server.get("/api/v1/alerts").json();
        let mut shown: Vec<String> = alerts["data"]["alerts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|alert| json!([alert["labels"], alert["state"]]).to_string())
            .collect();
        let mut in_rules: Vec<String> = rules(server)
            .iter()
            .flat_map(|rule| rule["alerts"].as_array().cloned().unwrap_or_default())
            .map(|alert| json!([alert["labels"], alert["state"]]).to_string())
            .collect();
        let series = server.get("/api/v1/query?query=ALERTS").json();
        let mut series: Vec<String> = series["data"]["result"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| {
                let mut labels = one["metric"].as_object().unwrap().clone();
                labels.remove("__name__");
                let state = labels.remove("alertstate");
                json!([labels, state]).to_string()
            })
            .collect();
        shown.sort();
        in_rules.sort();
        series.sort();
        (!shown.is_empty() && shown == in_rules && shown == series).then_some(())
    });
}

/// Everything that can be looked at once the last alert is resolved. `answers` are those about the
/// history whose script time 0 is at `origin`.
pub(super) fn check(
    server: &Server,
    scene: &Scene,
    origin: Timestamp,
    answers: &[Answer],
    moments: &[i64],
) {
    check_targets(server, scene);
    check_rules_move(server);
    check_live_queries(server, scene, answers);
    check_variables(server, scene);
    check_bad_reload(server, scene);
    match scene.stack {
        "zerostate" => check_zerostate(server),
        "sidepanel" => check_sidepanel(server),
        _ => {}
    }
    check_backup(server, scene, origin, answers, moments);
}

/// `curl http://localhost:9090/api/v1/targets`: all are up.
fn check_targets(server: &Server, scene: &Scene) {
    wait_until("every target is up", || {
        let answer = server.get("/api/v1/targets").json();
        let active = answer["data"]["activeTargets"].as_array().unwrap();
        assert_eq!(active.len(), scene.script.targets.len());
        let are_up = active
            .iter()
            .all(|target| target["health"] == "up" && target["lastError"] == "");
        are_up.then_some(())
    });
}

/// `curl http://localhost:9090/api/v1/rules`: the groups go on evaluating.
fn check_rules_move(server: &Server) {
    let newest = || -> Vec<Value> {
        rules(server)
            .iter()
            .map(|rule| rule["lastEvaluation"].clone())
            .collect()
    };
    let before = newest();
    assert!(!before.is_empty());
    wait_until("every rule is evaluated again", || {
        let after = newest();
        let all = before
            .iter()
            .zip(&after)
            .all(|(before, after)| before != after);
        all.then_some(())
    });
}

/// The queries of the dashboards at the quicker pace, about now, when all is as quiet again as at the
/// beginning: what had an answer then has one now.
fn check_live_queries(server: &Server, scene: &Scene, answers: &[Answer]) {
    let had_answer = |panel: &str| {
        let quiet = answers.iter().find(|answer| answer.panel == panel);
        let result = quiet.unwrap().instant["result"].clone();
        result.as_array().is_none_or(|series| !series.is_empty())
    };
    let now = server.query("time()", "")[0].as_f64().unwrap();
    for query in queries::load(scene.stack) {
        let expression = quicker_query(&scene.real(&query.expression));
        let form = [("query", expression.as_str())];
        let answer = server.form("/api/v1/query", &form).json();
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        let is_empty = answer["data"]["result"] == json!([]);
        assert!(
            !is_empty || !had_answer(&query.panel),
            "{}, {expression}: no answer",
            scene.stack
        );
        if let Some((length, step)) = query.range {
            let quicker = |seconds: f64| seconds / 60.0;
            let form = [
                ("query", expression.as_str()),
                ("start", &(now - quicker(length)).to_string()),
                ("end", &now.to_string()),
                ("step", &quicker(step).to_string()),
            ];
            let answer = server.form("/api/v1/query_range", &form).json();
            assert_eq!(answer["data"]["resultType"], "matrix", "{answer}");
        }
    }
}

/// What fills the variables of the dashboards: label, selector, values.
fn check_variables(server: &Server, scene: &Scene) {
    let variables: &[(&str, &str, &[&str])] = match scene.stack {
        "butterfly" => &[
            ("cluster", "butterfly_raft_term", &["eu"]),
            (
                "node",
                "butterfly_raft_term{cluster=\"eu\"}",
                &["coordinator-1", "worker-1", "worker-2"],
            ),
            (
                "model",
                "butterfly_requests_total{cluster=\"eu\"}",
                &["llama", "qwen"],
            ),
        ],
        "metald" => &[
            (
                "backend",
                "unkey_metald_vm_create_requests_total",
                &["cloudhypervisor", "firecracker"],
            ),
            (
                "customer_id",
                "unkey_metald_vm_create_requests_total",
                &["acme", "globex"],
            ),
            (
                "vm_id",
                "metald_metrics_collected_total{customer_id=\"acme\"}",
                &["vm-1", "vm-2"],
            ),
            (
                "error_type",
                "{__name__=~\"unkey_metald_vm_.*_failures_total\"}",
                &[
                    "missing_customer_context",
                    "ownership_validation_failed",
                    "permission_denied",
                ],
            ),
        ],
        _ => &[],
    };
    for (label, selector, values) in variables {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("match[]", selector)
            .finish();
        let path = format!("/api/v1/label/{label}/values?{query}");
        let answer = server.get(&path).json();
        assert_eq!(answer["data"], json!(values), "{path}: {answer}");
    }
}

/// A spoiled rule file changes nothing and is told; the good one is taken again.
fn check_bad_reload(server: &Server, scene: &Scene) {
    let names = || -> Vec<Value> {
        rules(server)
            .iter()
            .map(|rule| rule["name"].clone())
            .collect()
    };
    let before = names();
    let file = &rule_files(&folder(scene.stack))[0];
    let file = server.folder.path().join(file);
    let good = fs::read(&file).unwrap();
    fs::write(
        &file,
        "groups:\n- name: spoiled\n  rules:\n  - alert: A\n    expr: up >\n",
    )
    .unwrap();
    let refused = server.post("/-/reload");
    assert_eq!(refused.status, 500);
    let text = refused.text();
    assert!(text.starts_with("failed to reload config: "), "{text}");
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains("prometheus_config_last_reload_successful 0"));
    fs::write(&file, good).unwrap();
    let taken = server.post("/-/reload");
    assert_eq!((taken.status, taken.text().as_str()), (200, ""));
    assert_eq!(names(), before);
}

/// The flags of the troubleshooting section, and its longer scrape interval.
fn check_zerostate(server: &Server) {
    let flags = server.get("/api/v1/status/flags").json();
    assert_eq!(flags["data"]["storage.tsdb.retention.time"], "1w");
    let info = server.get("/api/v1/status/runtimeinfo").json();
    assert_eq!(info["data"]["storageRetention"], "1w");
    let refused = server.post("/api/v1/admin/tsdb/snapshot").json();
    assert_eq!(refused["error"], "admin APIs disabled", "{refused}");
    let file = server.folder.path().join("prometheus.yml");
    let text = fs::read_to_string(&file).unwrap();
    // 15s becomes 30s.
    let longer = text.replacen("scrape_interval: 250ms", "scrape_interval: 500ms", 1);
    assert!(longer != text);
    fs::write(&file, longer).unwrap();
    assert_eq!(server.post("/-/reload").status, 200);
    let targets = server.get("/api/v1/targets").json();
    for target in targets["data"]["activeTargets"].as_array().unwrap() {
        assert_eq!(target["scrapeInterval"], "500ms", "{target}");
    }
}

/// A month of retention, and what the exporter says of a metric.
fn check_sidepanel(server: &Server) {
    let info = server.get("/api/v1/status/runtimeinfo").json();
    assert_eq!(info["data"]["storageRetention"], "30d");
    let metadata = server.get("/api/v1/metadata?metric=sidepanel_requests_total");
    let expected = json!([{"type": "counter", "unit": "", "help": "Total requests"}]);
    assert_eq!(
        metadata.json()["data"]["sidepanel_requests_total"],
        expected
    );
}

/// `tar czf backup.tar.gz -C /data .` while the server runs; a second server on the unpacked files
/// answers the same, with every sample from before the backup began.
fn check_backup(
    server: &Server,
    scene: &Scene,
    origin: Timestamp,
    answers: &[Answer],
    moments: &[i64],
) {
    // A second ago: scrapes that began by then are stored.
    let now = server.query("time()", "")[0].as_f64().unwrap() - 1.0;
    let restored = Arc::new(TempDir::new().unwrap());
    let archive = restored.path().join("backup.tar.gz");
    let data = restored.path().join("data");
    fs::create_dir(&data).unwrap();
    let tar = |action: &str, folder: &Path| {
        let status = Command::new("tar")
            .arg(action)
            .arg(&archive)
            .arg("-C")
            .arg(folder)
            .arg(".")
            .output()
            .unwrap();
        // 1 is a file that grew meanwhile.
        assert!(
            matches!(status.status.code(), Some(0 | 1)),
            "{}",
            String::from_utf8_lossy(&status.stderr)
        );
    };
    tar("czf", &server.folder.path().join("data"));
    tar("xzf", &data);
    let second = Server::builder()
        .folder(&restored)
        .config("global: {}\n")
        .allow("torn record")
        .start();
    let time = now.to_string();
    // Every sample of the last minutes, as it is stored.
    let samples = |server: &Server| {
        let mut series: Vec<String> = server
            .query(r#"{job!=""}[2m]"#, &time)
            .as_array()
            .unwrap()
            .iter()
            .map(Value::to_string)
            .collect();
        series.sort();
        series
    };
    let backed_up = samples(&second);
    assert!(!backed_up.is_empty());
    assert_eq!(backed_up, samples(server), "{}", scene.stack);
    let again = live_answers::ask(&second, scene, origin, moments);
    live_answers::assert_same(scene.stack, &again, answers);
    second.stop();
}
