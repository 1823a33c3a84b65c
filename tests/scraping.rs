//! Scraping as a user sees it: targets, samples, failures.

use serde_json::json;

use crate::harness::{Server, Target, wait_until};

fn config(target: &Target, more: &str) -> String {
    format!(
        "scrape_configs:\n  - job_name: app\n    scrape_interval: 1s\n    scrape_timeout: 1s\n{more}    static_configs:\n      - targets: ['{}']\n        labels: {{env: dev}}\n",
        target.address
    )
}

#[test]
fn samples_carry_the_targets_labels_and_clashes_are_renamed() {
    let target = Target::new(
        "# TYPE http_requests_total counter\nhttp_requests_total{job=\"own\",code=\"200\"} 7\n",
    );
    let server = Server::builder().config(&config(&target, "")).start();
    let result = wait_until("the sample is there", || {
        let answer = server.get("/api/v1/query?query=http_requests_total").json();
        answer["data"]["result"].get(0).cloned()
    });
    assert_eq!(
        result["metric"],
        json!({
            "__name__": "http_requests_total", "code": "200", "env": "dev", "exported_job": "own",
            "instance": target.address.to_string(), "job": "app"
        })
    );
    assert_eq!(result["value"][1], json!("7"));
    let request = target.last_request();
    assert!(
        request.starts_with("GET /metrics HTTP/1.1\r\n"),
        "{request}"
    );
    let lower = request.to_ascii_lowercase();
    assert!(
        lower.contains("x-prometheus-scrape-timeout-seconds: 1\r\n"),
        "{request}"
    );
    assert!(lower.contains("user-agent: prometheus/"), "{request}");
    server.stop();
}

#[test]
fn a_target_that_starts_failing_is_down_and_its_series_end() {
    let target = Target::new("a_metric 1\n");
    let server = Server::builder().config(&config(&target, "")).start();
    let count = |query: &str| {
        let answer = server.get(&format!("/api/v1/query?query={query}")).json();
        answer["data"]["result"].as_array().map_or(0, Vec::len)
    };
    wait_until("the sample is there", || {
        (count("a_metric") == 1).then_some(())
    });
    target.answer("500 Internal Server Error", "text/plain", b"broken");
    wait_until("up is 0", || (count("up==0") == 1).then_some(()));
    assert_eq!(
        count("a_metric"),
        0,
        "the series ended with a staleness marker"
    );
    let targets = server.get("/api/v1/targets").json();
    assert_eq!(
        targets["data"]["activeTargets"][0]["lastError"],
        json!("server returned HTTP status 500 Internal Server Error")
    );
    assert_eq!(targets["data"]["activeTargets"][0]["health"], json!("down"));
    server.stop();
}

#[test]
fn a_body_that_does_not_parse_leaves_no_sample() {
    let target = Target::new("good_metric 1\nthis is { not a metric\n");
    let server = Server::builder().config(&config(&target, "")).start();
    wait_until("up is 0", || {
        let answer = server.get("/api/v1/query?query=up==0").json();
        answer["data"]["result"].get(0).cloned()
    });
    let answer = server.get("/api/v1/query?query=good_metric").json();
    assert_eq!(answer["data"]["result"], json!([]));
    server.stop();
}
