//! Start, readiness, reload and stop.

use std::{fs, process::Command};

use serde_json::json;

use crate::harness::{Server, Target, request, wait_until};

#[test]
fn without_any_configuration_it_scrapes_itself() {
    let server = Server::builder().start();
    let instance = server.address.to_string();
    let result = wait_until("up is 1", || {
        let answer = server.get("/api/v1/query?query=up").json();
        answer["data"]["result"].get(0).cloned()
    });
    assert_eq!(result["metric"]["instance"], json!(instance));
    assert_eq!(result["value"][1], json!("1"));
    server.stop();
}

#[test]
fn a_route_prefix_applies_to_everything_and_to_the_self_scrape() {
    let server = Server::builder()
        .arg("--web.external-url=http://example.org/prom/")
        .listening();
    wait_until("ready", || {
        (server.get("/prom/-/ready").status == 200).then_some(())
    });
    wait_until("up is 1", || {
        let answer = server.get("/prom/api/v1/query?query=up==1").json();
        answer["data"]["result"].get(0).cloned()
    });
    server.stop();
}

#[test]
fn hup_and_post_reload_apply_a_good_file_and_keep_the_old_one_on_a_bad_one() {
    let target = Target::new("a_metric 1\n");
    let config = |job: &str| {
        format!(
            "scrape_configs:\n  - job_name: {job}\n    scrape_interval: 1s\n    static_configs:\n      - targets: ['{}']\n",
            target.address
        )
    };
    let server = Server::builder()
        .config(&config("first"))
        .arg("--web.enable-lifecycle")
        .allow("reload")
        .allow("loading")
        .start();
    let pools = |expected: &str| {
        wait_until(&format!("the scrape pool is {expected}"), || {
            let answer = server.get("/api/v1/scrape_pools").json();
            (answer == json!({"status": "success", "data": {"scrapePools": [expected]}}))
                .then_some(())
        });
    };
    pools("first");
    let file = server.folder.path().join("prometheus.yml");
    fs::write(&file, config("second")).unwrap();
    server.signal("HUP");
    pools("second");
    fs::write(&file, config("third")).unwrap();
    assert_eq!(server.post("/-/reload").status, 200);
    pools("third");
    fs::write(&file, "scrape_configs: 5\n").unwrap();
    let refused = server.post("/-/reload");
    assert_eq!(refused.status, 500);
    assert!(
        refused.text().starts_with("failed to reload config: "),
        "{}",
        refused.text()
    );
    pools("third");
    assert!(
        server
            .get("/metrics")
            .text()
            .contains("prometheus_config_last_reload_successful 0"),
        "the failed reload is visible"
    );
    server.stop();
}

#[test]
fn lifecycle_calls_are_refused_without_the_flag() {
    let server = Server::builder().start();
    let refused = server.post("/-/reload");
    assert_eq!(
        (refused.status, refused.text().trim_end()),
        (403, "Lifecycle API is not enabled.")
    );
    let refused = server.post("/-/quit");
    assert_eq!(
        (refused.status, refused.text().trim_end()),
        (403, "Lifecycle API is not enabled.")
    );
    server.stop();
}

#[test]
fn quit_ends_the_process_with_exit_code_0() {
    let mut server = Server::builder().arg("--web.enable-lifecycle").start();
    let answer = server.post("/-/quit");
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, "Requesting termination... Goodbye!")
    );
    assert_eq!(server.wait(), Some(0), "{:#?}", server.log());
}

#[test]
fn auto_reload_sees_a_changed_file() {
    let config = |job: &str| format!("scrape_configs:\n  - job_name: {job}\n");
    let server = Server::builder()
        .config(&config("first"))
        .arg("--config.auto-reload")
        .arg("--config.auto-reload-interval=1s")
        .start();
    fs::write(
        server.folder.path().join("prometheus.yml"),
        config("second"),
    )
    .unwrap();
    wait_until("the new job is there", || {
        let answer = server.get("/api/v1/scrape_pools").json();
        (answer["data"]["scrapePools"] == json!(["second"])).then_some(())
    });
    server.stop();
}

#[test]
fn health_checks_by_head_and_by_wget_spider_are_answered() {
    let server = Server::builder().config("global: {}\n").start();
    for (path, length) in [("/-/healthy", "30"), ("/-/ready", "28")] {
        let answer = request(server.address, "HEAD", path, &[], b"").unwrap();
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-length"), Some(length), "{path}");
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; charset=utf-8"),
            "{path}"
        );
        // What compose files and images of Prometheus have as their health check.
        let url = format!("http://{}{path}", server.address);
        let check = Command::new("busybox")
            .args(["wget", "--spider", "-q", &url])
            .status();
        match check {
            Ok(status) => assert!(status.success(), "{path}: {status}"),
            Err(problem) => eprintln!("skipped: no busybox to run: {problem}"),
        }
    }
    server.stop();
}
