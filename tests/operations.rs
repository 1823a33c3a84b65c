//! Out-of-order samples, deletes, snapshots and the limit of series, from outside. Answers and contents
//! are what Prometheus 3.5.3 gives to the same requests, but where a comment says otherwise.

use serde_json::{Value, json};

use crate::harness::{Pushed, Server, ServerBuilder};

const T: i64 = 1_700_000_000;
const WINDOW: &str = "storage: {tsdb: {out_of_order_time_window: 10m}}\n";

fn builder(config: &str) -> ServerBuilder {
    Server::builder()
        .config(config)
        .arg("--web.enable-remote-write-receiver")
        .arg("--web.enable-admin-api")
        .arg("--storage.tsdb.retention.time=100y")
}

/// Pushes samples of one series, in seconds after `T` and in this order.
fn push(server: &Server, name: &str, samples: &[(i64, f64)]) -> (u16, String) {
    let samples: Vec<(i64, f64)> = samples
        .iter()
        .map(|(seconds, value)| ((T + seconds) * 1_000, *value))
        .collect();
    let answer = server.push(&[Pushed::new(&[("__name__", name), ("x", "1")], &samples)]);
    (answer.status, answer.text())
}

/// The times of a series' samples, in seconds after `T`.
fn times(server: &Server, name: &str) -> Vec<i64> {
    let result = server.query(&format!("{name}[3h]"), &T.to_string());
    let Some(values) = result[0]["values"].as_array() else {
        return Vec::new();
    };
    let time = |value: &Value| value[0].as_i64().unwrap() - T;
    values.iter().map(time).collect()
}

fn admin(server: &Server, operation: &str) -> (u16, String) {
    let answer = server.post(&format!("/api/v1/admin/tsdb/{operation}"));
    (answer.status, answer.text())
}

fn good() -> (u16, String) {
    (204, String::new())
}

fn bad(text: &str) -> (u16, String) {
    (400, format!("{text}\n"))
}

#[test]
fn late_samples_are_taken_within_the_window() {
    let server = builder(WINDOW).allow("Out of order sample").start();
    assert_eq!(push(&server, "a", &[(-100, 1.0)]), good());
    assert_eq!(push(&server, "a", &[(-200, 2.0)]), good());
    assert_eq!(push(&server, "a", &[(-200, 2.0)]), good());
    assert_eq!(times(&server, "a"), [-200, -100]);
    let duplicate = format!(
        "duplicate sample for timestamp {}; overrides not allowed: existing 1, new value 3",
        (T - 100) * 1_000
    );
    assert_eq!(push(&server, "a", &[(-100, 3.0)]), bad(&duplicate));
    assert_eq!(push(&server, "a", &[(-800, 3.0)]), bad("too old sample"));
    assert_eq!(push(&server, "b", &[(-650, 3.0)]), good());
    assert_eq!(push(&server, "c", &[(-5_000, 3.0)]), bad("too old sample"));
    assert_eq!(push(&server, "c", &[(-300, 3.0)]), good());
    let unsorted = [(-50, 1.0), (-70, 2.0), (-60, 3.0)];
    assert_eq!(push(&server, "d", &unsorted), good());
    let with_an_old_one = [(-50, 1.0), (-900, 2.0)];
    assert_eq!(push(&server, "e", &with_an_old_one), good());
    let with_an_old_one = [(-40, 1.0), (-900, 2.0)];
    assert_eq!(push(&server, "a", &with_an_old_one), bad("too old sample"));
    assert_eq!(push(&server, "a", &[(-700, 1.0)]), bad("too old sample"));
    assert_eq!(push(&server, "a", &[(-640, 1.0)]), good());
    for (name, expected) in [
        ("a", vec![-640, -200, -100]),
        ("b", vec![-650]),
        ("c", vec![-300]),
        ("d", vec![-70, -60, -50]),
        ("e", vec![-50]),
    ] {
        assert_eq!(times(&server, name), expected, "{name}");
    }
    // The window can be closed, and the samples stay.
    std::fs::write(server.folder.path().join("prometheus.yml"), "global: {}\n").unwrap();
    server.signal("HUP");
    let late = crate::harness::wait_until("the window is closed", || {
        let answer = push(&server, "a", &[(-150, 5.0)]);
        (answer.0 != 204).then_some(answer)
    });
    assert_eq!(late, bad("out of order sample"));
    let folder = server.stop();
    let server = builder("global: {}\n").folder(&folder).start();
    assert_eq!(times(&server, "d"), [-70, -60, -50]);
    server.stop();
}

#[test]
fn deletes_and_snapshots_work_as_in_prometheus() {
    let server = builder(WINDOW).start();
    for name in ["kept", "cut", "gone"] {
        let samples: Vec<(i64, f64)> = (-9..=0).map(|at| (at * 10, at as f64)).collect();
        assert_eq!(push(&server, name, &samples), good());
    }
    let from_to = format!("start={}&end={}.5", T - 50, T - 31);
    assert_eq!(admin(&server, "delete_series?match[]=gone"), good());
    let cut = format!("delete_series?match[]=cut&match[]=nobody&{from_to}");
    assert_eq!(admin(&server, &cut), good());
    let contents = |server: &Server| ["kept", "cut", "gone"].map(|name| times(server, name));
    let whole: Vec<i64> = (-9..=0).map(|at| at * 10).collect();
    let left = vec![-90, -80, -70, -60, -30, -20, -10, 0];
    let expected = [whole.clone(), left.clone(), Vec::new()];
    assert_eq!(contents(&server), expected);
    // Prometheus goes on listing the name until its head is truncated.
    let names = |server: &Server| server.get("/api/v1/label/__name__/values").json()["data"].take();
    assert_eq!(names(&server), json!(["cut", "kept"]));
    assert_eq!(push(&server, "cut", &[(-40, 5.0)]), good());
    let expected = [
        whole,
        vec![-90, -80, -70, -60, -40, -30, -20, -10, 0],
        Vec::new(),
    ];
    assert_eq!(contents(&server), expected);
    let (status, body) = admin(&server, "snapshot");
    assert_eq!(status, 200);
    let body: Value = serde_json::from_str(&body).unwrap();
    let name = body["data"]["name"].as_str().unwrap();
    assert_eq!(body, json!({"status": "success", "data": {"name": name}}));
    let (time, random) = name.split_once("Z-").unwrap();
    assert_eq!((time.len(), random.len()), (15, 16), "{name}");
    assert_eq!(admin(&server, "delete_series?match[]={}"), good());
    assert_eq!(contents(&server), expected);
    let everything = "delete_series?match[]={nobody=%22%22}";
    assert_eq!(admin(&server, everything), good());
    assert_eq!(admin(&server, "clean_tombstones"), good());
    assert_eq!(names(&server), json!([]));
    let metrics = server.get("/metrics").text();
    assert!(
        metrics.contains("\nnarthex_storage_tombstones 3\n"),
        "{metrics}"
    );
    let snapshot = format!("data/snapshots/{name}");
    let folder = server.stop();
    let server = builder(WINDOW)
        .folder(&folder)
        .arg(&format!("--storage.tsdb.path={snapshot}"))
        .start();
    assert_eq!(contents(&server), expected);
    assert_eq!(names(&server), json!(["cut", "kept"]));
    server.stop();
    let server = builder(WINDOW).folder(&folder).start();
    assert_eq!(names(&server), json!([]));
    server.stop();
}

/// Narthex's own: Prometheus has no such limit.
#[test]
fn series_above_the_limit_are_refused_and_the_others_go_on() {
    let server = builder("global: {}\n")
        .arg("--storage.max-series=2")
        .start();
    assert_eq!(push(&server, "a", &[(0, 1.0)]), good());
    assert_eq!(push(&server, "b", &[(0, 1.0)]), good());
    let refused = "series limit reached: raise --storage.max-series, or drop series by relabelling";
    assert_eq!(push(&server, "c", &[(0, 1.0)]), bad(refused));
    assert_eq!(push(&server, "a", &[(10, 1.0)]), good());
    // One of them in a request does not keep the others out.
    let sample = |name, value| {
        let labels = [("__name__", name), ("x", "1")];
        Pushed::new(&labels, &[((T + 20) * 1_000, value)])
    };
    let answer = server.push(&[sample("a", 1.0), sample("d", 2.0), sample("b", 3.0)]);
    assert_eq!((answer.status, answer.text()), bad(refused));
    let result = server.query("{x=\"1\"}", &(T + 20).to_string());
    let values = result.as_array().unwrap().iter();
    let values: Vec<&Value> = values.map(|series| &series["value"][1]).collect();
    assert_eq!(values, ["1", "3"]);
    let metrics = server.get("/metrics").text();
    for line in [
        "narthex_storage_series_limit 2",
        "narthex_storage_refused_series_total{reason=\"limit\"} 2",
        "prometheus_tsdb_head_series 2",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}");
    }
    let flags = server.get("/api/v1/status/flags").json();
    assert_eq!(flags["data"]["storage.max-series"], "2");
    server.stop();
}
