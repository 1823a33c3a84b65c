//! Grafana's Prometheus data source, call by call: "Save & test", the editor, variables, panels,
//! exemplars, the alerting list. Whole answers are compared.

use serde_json::{Value, json};

use crate::harness::{Pushed, Server, request};

const T: i64 = 1_700_000_000;

/// Grafana's headers on a form POST.
const FORM: [(&str, &str); 5] = [
    ("User-Agent", "Grafana/12.1.0"),
    ("Content-Type", "application/x-www-form-urlencoded"),
    ("X-Datasource-Uid", "P1"),
    ("X-Grafana-Org-Id", "1"),
    ("X-Panel-Id", "2"),
];

fn form(server: &Server, path: &str, body: &str) -> (u16, Value) {
    let answer = request(server.address, "POST", path, &FORM, body.as_bytes()).unwrap();
    assert_eq!(
        answer.header("content-type"),
        Some("application/json"),
        "{path}"
    );
    (answer.status, answer.json())
}

fn success(data: Value) -> (u16, Value) {
    let mut whole = json!({"status": "success"});
    whole["data"] = data;
    (200, whole)
}

fn get(server: &Server, path: &str) -> (u16, Value) {
    let answer = server.get(path);
    (answer.status, answer.json())
}

/// A server with a counter, a gauge and a histogram of two instances, four samples each.
fn server() -> Server {
    let server = Server::builder()
        .config("global: {}\n")
        .arg("--web.enable-remote-write-receiver")
        .arg("--storage.tsdb.retention.time=100y")
        .start();
    let samples = |step: f64| -> Vec<(i64, f64)> {
        (0..4)
            .map(|i| ((T + i * 15) * 1_000, i as f64 * step))
            .collect()
    };
    let answer = server.push(&[
        Pushed::new(
            &[
                ("__name__", "requests_total"),
                ("instance", "a"),
                ("job", "web"),
            ],
            &samples(15.0),
        ),
        Pushed::new(
            &[
                ("__name__", "requests_total"),
                ("instance", "b"),
                ("job", "web"),
            ],
            &samples(30.0),
        ),
        Pushed::new(
            &[
                ("__name__", "temperature"),
                ("instance", "a"),
                ("job", "room"),
            ],
            &samples(0.5),
        ),
    ]);
    assert_eq!((answer.status, answer.text().as_str()), (204, ""));
    server
}

#[test]
fn the_call_sequence_of_a_data_source() {
    let server = server();
    let (start, end) = (T, T + 60);

    // Save & test: a query in 1970 that must succeed, then the build information without features.
    assert_eq!(
        form(&server, "/api/v1/query", "query=1%2B1&time=4"),
        success(json!({"resultType": "scalar", "result": [4, "2"]}))
    );
    let (status, build) = get(&server, "/api/v1/status/buildinfo");
    assert_eq!((status, &build["data"]["version"]), (200, &json!("3.14.0")));
    assert_eq!(
        build["data"].get("features"),
        None,
        "a features map would make us Mimir"
    );

    // Start of the data source: rules, and the exemplar probe with its milliseconds.
    assert_eq!(
        get(&server, "/api/v1/rules"),
        success(json!({"groups": []}))
    );
    let probe = format!("query=test&start={start}000&end={end}000");
    assert_eq!(
        form(&server, "/api/v1/query_exemplars", &probe),
        success(json!([]))
    );

    // The editor and the metric browser.
    let window = format!("start={start}&end={end}&limit=40000");
    assert_eq!(
        get(&server, &format!("/api/v1/label/__name__/values?{window}")),
        success(json!(["requests_total", "temperature"]))
    );
    assert_eq!(
        form(&server, "/api/v1/labels", &window),
        success(json!(["__name__", "instance", "job"]))
    );
    assert_eq!(get(&server, "/api/v1/metadata"), success(json!({})));
    assert_eq!(
        form(
            &server,
            "/api/v1/labels",
            &format!("{window}&match[]=temperature%7Bjob%3D%22room%22%7D")
        ),
        success(json!(["__name__", "instance", "job"]))
    );

    // Variables: label_values(label), label_values(selector, label), a bare selector, query_result.
    assert_eq!(
        get(&server, &format!("/api/v1/label/job/values?{window}")),
        success(json!(["room", "web"]))
    );
    assert_eq!(
        get(
            &server,
            &format!("/api/v1/label/instance/values?{window}&match[]=requests_total")
        ),
        success(json!(["a", "b"]))
    );
    assert_eq!(
        form(
            &server,
            "/api/v1/series",
            &format!("{window}&match[]=temperature")
        ),
        success(json!([{"__name__": "temperature", "instance": "a", "job": "room"}]))
    );
    assert_eq!(
        form(
            &server,
            "/api/v1/query",
            &format!("query=temperature&time={end}")
        ),
        success(json!({"resultType": "vector", "result": [
            {"metric": {"__name__": "temperature", "instance": "a", "job": "room"}, "value": [end, "1.5"]}
        ]}))
    );

    // A panel: 15 a 15 s and 30 a 15 s, extrapolated over a full minute.
    let panel = format!(
        "query=sum+by+(job)+(rate(requests_total%5B1m%5D))&start={start}&end={end}&step=30"
    );
    assert_eq!(
        form(&server, "/api/v1/query_range", &panel),
        success(json!({"resultType": "matrix", "result": [
            {"metric": {"job": "web"}, "values": [[T + 30, "1.5"], [T + 60, "3"]]}
        ]}))
    );
    // A gauge under rate: the info with its place.
    let (_, answer) = form(
        &server,
        "/api/v1/query_range",
        &format!("query=rate(temperature%5B1m%5D)&start={start}&end={end}&step=30"),
    );
    assert_eq!(
        answer["infos"],
        json!([
            "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"temperature\" (1:6)"
        ])
    );

    // An editor's half-typed query: 400 with position; Grafana then repeats it as GET.
    let error = json!({
        "status": "error", "errorType": "bad_data",
        "error": "invalid parameter \"query\": 1:4: parse error: unexpected end of input inside braces"
    });
    assert_eq!(
        form(&server, "/api/v1/query", "query=up%7B"),
        (400, error.clone())
    );
    assert_eq!(get(&server, "/api/v1/query?query=up%7B"), (400, error));

    // The alerting list.
    assert_eq!(
        get(&server, "/api/v1/alerts"),
        success(json!({"alerts": []}))
    );
    server.stop();
}

/// A value of the server's own metrics.
fn metric(server: &Server, name: &str) -> u64 {
    let text = server.get("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim().parse().unwrap()
}

#[test]
fn a_panel_that_moves_on_is_answered_as_without_a_cache() {
    let server = server();
    let counts = || {
        ["continued", "evaluated"]
            .map(|what| metric(&server, &format!("narthex_query_cache_{what}_total")))
    };
    let ask = |minutes: i64, more: &str| {
        let (start, end) = (T + (minutes - 2) * 60, T + minutes * 60);
        let panel = format!(
            "query=sum+by+(job)+(rate(requests_total%5B5m%5D))&start={start}&end={end}&step=15{more}"
        );
        let answer = form(&server, "/api/v1/query_range", &panel);
        assert_eq!((answer.0, &answer.1["status"]), (200, &json!("success")));
        answer.1
    };
    let push = |seconds: i64, value: f64| {
        let labels = [
            ("__name__", "requests_total"),
            ("instance", "a"),
            ("job", "web"),
        ];
        let pushed = Pushed::new(&labels, &[((T + seconds) * 1_000, value)]);
        assert_eq!(server.push(&[pushed]).status, 204);
    };
    let mut answers = Vec::new();
    for minutes in 2..6 {
        push(minutes * 60 - 10, minutes as f64 * 100.0);
        let answer = ask(minutes, "");
        assert_eq!(
            answer,
            ask(minutes, "&nocache=1"),
            "after {minutes} minutes"
        );
        answers.push(answer);
    }
    answers.dedup();
    assert_eq!(answers.len(), 4);
    assert_eq!(counts(), [3, 1]);
    // The same again, which takes all from the last, and what uses no cache.
    assert_eq!(ask(5, "&nocache=0"), answers[3]);
    assert_eq!(counts(), [4, 1]);
    ask(5, "&nocache=true");
    let (with, without) = (ask(5, "&stats=1"), ask(5, "&stats=1&nocache=1"));
    let samples = |answer: &Value| answer["data"]["stats"]["samples"].clone();
    assert_eq!(samples(&with), samples(&without));
    assert_eq!(counts(), [4, 1]);
    assert!(metric(&server, "narthex_query_cache_bytes") > 0);
    assert_eq!(metric(&server, "narthex_query_cache_answers"), 1);
}
