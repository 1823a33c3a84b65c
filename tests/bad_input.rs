//! What a server must bear: each is refused or answered with a clear message, counted where
//! Prometheus counts it, and harms nothing beside it.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

use serde_json::{Value, json};

use crate::harness::{Server, Target, wait_until};

/// A job that is scraped each second, with `more` lines of its own.
fn job(name: &str, address: &str, more: &str) -> String {
    format!(
        "  - job_name: {name}\n    scrape_interval: 1s\n    scrape_timeout: 1s\n{more}    static_configs:\n      - targets: ['{address}']\n"
    )
}

/// A server with a job `bad` and a job `good` beside it, whose sample is `good_metric 1`.
struct Beside {
    server: Server,
    _good: Target,
}

impl Beside {
    fn start(bad: &str, more: &str, allowed: &str) -> Self {
        let good = Target::new("good_metric 1\n");
        let config = format!(
            "scrape_configs:\n{}{}",
            job("bad", bad, more),
            job("good", &good.address.to_string(), "")
        );
        let server = Server::builder().config(&config).allow(allowed).start();
        Self {
            server,
            _good: good,
        }
    }

    /// Waits until both have been scraped, and answers the bad target's state and last error.
    fn bad_target(&self) -> (Value, Value) {
        wait_until("the good target is scraped", || {
            self.server
                .query("good_metric", "")
                .get(0)
                .filter(|sample| sample["value"][1] == json!("1"))
                .map(|_| ())
        });
        wait_until("the bad target was scraped", || {
            let answer = self.server.get("/api/v1/targets?scrapePool=bad").json();
            let target = &answer["data"]["activeTargets"][0];
            (target["health"] != json!("unknown"))
                .then(|| (target["health"].clone(), target["lastError"].clone()))
        })
    }

    /// The samples of a selector without their times.
    fn values(&self, query: &str) -> Vec<(Value, Value)> {
        let answer = self.server.query(query, "");
        let samples = answer.as_array().expect("a vector");
        samples
            .iter()
            .map(|sample| (sample["metric"].clone(), sample["value"][1].clone()))
            .collect()
    }
}

/// The value of a metric of the server's own.
fn own_metric(server: &Server, name: &str) -> f64 {
    let text = server.get("/metrics").text();
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
        .unwrap_or_else(|| panic!("no {name} in {text}"))
}

#[test]
fn a_malformed_exposition_takes_its_own_target_down_only() {
    let target = Target::new("fine 1\nbroken{a=\"b\" 1\n");
    let beside = Beside::start(&target.address.to_string(), "", "");
    let (health, error) = beside.bad_target();
    assert_eq!(health, json!("down"));
    assert_eq!(
        error,
        json!(
            "expected label name, got \"1\" (\"INVALID\") while parsing: \"broken{a=\\\"b\\\" 1\""
        )
    );
    assert_eq!(beside.values("fine"), []);
    beside.server.stop();
}

/// A body of 100 MB with one sample at its end.
fn large_body() -> Vec<u8> {
    let line = format!("# {}\n", "x".repeat(998));
    let mut body = line.repeat(100_000).into_bytes();
    body.extend_from_slice(b"at_the_end 7\n");
    body
}

#[test]
fn a_body_of_100_mb_is_refused_by_the_limit_and_counted() {
    let target = Target::new("");
    target.answer("200 OK", "text/plain; version=0.0.4", &large_body());
    let address = target.address.to_string();
    let beside = Beside::start(&address, "    body_size_limit: 1MB\n", "");
    let expected = (json!("down"), json!("body size limit exceeded"));
    assert_eq!(beside.bad_target(), expected);
    let counter = "prometheus_target_scrapes_exceeded_body_size_limit_total";
    assert!(own_metric(&beside.server, counter) >= 1.0);
    beside.server.stop();
}

#[test]
fn a_body_of_100_mb_is_read_when_nothing_forbids_it() {
    let target = Target::new("");
    target.answer("200 OK", "text/plain; version=0.0.4", &large_body());
    let config = format!(
        "scrape_configs:\n  - job_name: large\n    scrape_interval: 10s\n    scrape_timeout: 10s\n    static_configs:\n      - targets: ['{}']\n",
        target.address
    );
    let server = Server::builder().config(&config).start();
    let value = wait_until("the sample at the end is there", || {
        let answer = server.query("at_the_end", "");
        answer.get(0).map(|sample| sample["value"][1].clone())
    });
    assert_eq!(value, json!("7"));
    server.stop();
}

#[test]
fn a_target_that_hangs_is_given_up_after_its_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // Each connection is accepted, gets half an answer, and is held open.
    thread::spawn(move || {
        let mut held = Vec::new();
        for mut stream in listener.incoming().map_while(Result::ok) {
            let half = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nhalf 1\n";
            // The request comes in one piece; an answer before it would not be HTTP.
            let mut request = [0; 4096];
            let _request_bytes = stream.read(&mut request);
            // A scrape that was given up meanwhile.
            let _gone = stream.write_all(half);
            held.push(stream);
        }
    });
    let beside = Beside::start(&address, "", "");
    let expected = (json!("down"), json!("context deadline exceeded"));
    assert_eq!(beside.bad_target(), expected);
    assert_eq!(beside.values("half"), []);
    beside.server.stop();
}

#[test]
fn of_duplicate_samples_in_a_scrape_the_first_is_kept_and_the_others_are_counted() {
    let target = Target::new("twice{a=\"1\"} 1\nonce 5\ntwice{a=\"1\"} 2\n");
    let beside = Beside::start(
        &target.address.to_string(),
        "",
        "Error on ingesting samples with different value but same timestamp",
    );
    assert_eq!(beside.bad_target(), (json!("up"), json!("")));
    let instance = target.address.to_string();
    let metric = json!({"__name__": "twice", "a": "1", "instance": instance, "job": "bad"});
    assert_eq!(beside.values("twice"), [(metric, json!("1"))]);
    let counter = "prometheus_target_scrapes_sample_duplicate_timestamp_total";
    assert!(own_metric(&beside.server, counter) >= 1.0);
    assert!(
        beside.server.log().iter().any(|line| {
            line.contains("different value but same timestamp") && line.contains("num_dropped=1")
        }),
        "{:#?}",
        beside.server.log()
    );
    beside.server.stop();
}

#[test]
fn hostile_queries_are_refused_at_a_position_and_the_server_stays_up() {
    let server = Server::builder().config("global: {}\n").start();
    let too_deep = "expression is nested too deeply, the limit is 400 levels";
    let n = 20_000;
    for (query, position, message) in [
        (
            format!("{}1{}", "(".repeat(n), ")".repeat(n)),
            "1:401",
            too_deep,
        ),
        (format!("{}1", "-".repeat(n)), "1:401", too_deep),
        (vec!["x"; n].join("+"), "1:1", too_deep),
        (vec!["2"; n].join("^"), "1:801", too_deep),
        (
            format!("{}x{}", "abs(".repeat(n), ")".repeat(n)),
            "1:1601",
            too_deep,
        ),
        (format!("x{}", "[1m:1m]".repeat(n)), "1:1", too_deep),
        ("foo[1e300]".to_owned(), "1:5", "duration out of range"),
    ] {
        for path in ["/api/v1/query", "/api/v1/format_query"] {
            let answer = server.form(path, &[("query", &query), ("time", "0")]);
            let shown = query.get(..20).unwrap_or(&query);
            assert_eq!(answer.status, 400, "{path} {shown}");
            assert_eq!(
                answer.json(),
                json!({
                    "status": "error", "errorType": "bad_data",
                    "error": format!("invalid parameter \"query\": {position}: parse error: {message}")
                }),
                "{path} {shown}"
            );
        }
    }
    assert_eq!(
        server.query("1 + 1", "0"),
        json!([0, "2"]),
        "after all that"
    );
    server.stop();
}

#[test]
fn an_alternation_of_6000_values_is_answered() {
    let target = Target::new("known{a=\"value-00077\"} 1\nknown{a=\"other\"} 2\n");
    let beside = Beside::start(&target.address.to_string(), "", "");
    assert_eq!(beside.bad_target(), (json!("up"), json!("")));
    let values: Vec<String> = (0..6_000).map(|n| format!("value-{n:05}")).collect();
    let query = format!("sum(known{{a=~\"{}\"}})", values.join("|"));
    assert!(query.len() > 60_000);
    // A budget that a matcher which tries the values one by one would not keep either, but that a
    // busy machine does.
    let answer = beside
        .server
        .form("/api/v1/query", &[("query", &query), ("timeout", "5s")]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(beside.values(&query), [(json!({}), json!("1"))]);
    beside.server.stop();
}

/// As upstream, whose form reader gives up at 10 MiB and leaves the parameter empty.
#[test]
fn a_form_of_more_than_10_mib_is_not_read() {
    let server = Server::builder().config("global: {}\n").start();
    let long = "x".repeat(11 << 20);
    let answer = server.form("/api/v1/query", &[("query", &long)]);
    assert_eq!(
        (answer.status, answer.json()["error"].clone()),
        (
            400,
            json!(
                "invalid parameter \"query\": unknown position: parse error: no expression found in input"
            )
        )
    );
    server.stop();
}

#[test]
fn a_url_of_65534_bytes_is_read_and_a_longer_one_is_414() {
    let server = Server::builder().config("global: {}\n").start();
    let path = "/api/v1/query?time=0&query=1%2B1&filler=";
    for (length, status) in [(65_534, 200), (65_535, 414), (200_000, 414)] {
        let url = format!("{path}{}", "x".repeat(length - path.len()));
        let answer = server.get(&url);
        assert_eq!(answer.status, status, "{length}");
        if status == 200 {
            assert_eq!(answer.json()["data"]["result"], json!([0, "2"]));
        }
    }
    assert_eq!(server.get("/-/healthy").status, 200);
    server.stop();
}

#[test]
fn a_closed_connection_stops_its_query() {
    let server = Server::builder().config("global: {}\n").start();
    let running = || own_metric(&server, "prometheus_engine_queries");
    assert_eq!(running(), 0.0);
    // Ten thousand sums of a million points each: far longer than the test waits.
    let path =
        "/api/v1/query_range?query=sum_over_time(vector(1)%5B11d:1s%5D)&start=0&end=10000&step=1";
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
        .unwrap();
    wait_until("the query runs", || (running() == 1.0).then_some(()));
    drop(stream);
    wait_until("the query has stopped", || (running() == 0.0).then_some(()));
    server.stop();
}
