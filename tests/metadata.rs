//! Metadata of metric families: pushed, scraped, read back, killed, read back.

use serde_json::json;

use crate::harness::{Server, Target, request, wait_until};

/// A field of a protobuf message that is bytes.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    assert!(content.len() < 0x80, "its length is one byte");
    [&[number << 3 | 2, content.len() as u8], content].concat()
}

/// Pushes metadata alone: family, number of the type, help, unit.
fn push(server: &Server, families: &[(&str, u8, &str, &str)]) -> u16 {
    let mut message = Vec::new();
    for (family, kind, help, unit) in families {
        let of_family = [
            vec![1 << 3, *kind],
            field(2, family.as_bytes()),
            field(4, help.as_bytes()),
            field(5, unit.as_bytes()),
        ];
        message.extend(field(3, &of_family.concat()));
    }
    let body = snap::raw::Encoder::new().compress_vec(&message).unwrap();
    let headers = [
        ("Content-Type", "application/x-protobuf"),
        ("Content-Encoding", "snappy"),
    ];
    let answer = request(server.address, "POST", "/api/v1/write", &headers, &body);
    answer.unwrap().status
}

#[test]
fn pushed_metadata_is_there_after_kill_9_and_scraped_metadata_with_its_target() {
    let target = Target::new("# HELP both scraped\n# TYPE both counter\nboth 1\n");
    let config = |scraped: bool| {
        let job = format!(
            "scrape_configs:\n  - job_name: t\n    scrape_interval: 1s\n    scrape_timeout: 1s\n    static_configs:\n      - targets: ['{}']\n",
            target.address
        );
        if scraped {
            job
        } else {
            "global: {}\n".to_owned()
        }
    };
    let metadata = |server: &Server, query: &str| {
        let mut answer = server.get(&format!("/api/v1/metadata{query}")).json();
        answer["data"].take()
    };
    let entry =
        |kind: &str, unit: &str, help: &str| json!({"type": kind, "unit": unit, "help": help});
    let flag = "--web.enable-remote-write-receiver";
    let server = Server::builder().config(&config(true)).arg(flag).start();
    assert_eq!(push(&server, &[("pushed", 2, "a gauge", "bytes")]), 204);
    assert_eq!(
        push(
            &server,
            &[("both", 3, "pushed", ""), ("pushed", 2, "then", "")]
        ),
        204
    );
    let pushed = json!([
        entry("gauge", "", "then"),
        entry("gauge", "bytes", "a gauge")
    ]);
    wait_until("the target was scraped", || {
        (metadata(&server, "")["both"] == json!([entry("counter", "", "scraped")])).then_some(())
    });
    assert_eq!(
        metadata(&server, "?metric=pushed"),
        json!({"pushed": pushed})
    );
    let folder = server.kill();

    // What the target said is not listed without it, as in Prometheus; what was pushed is.
    let start = || {
        let builder = Server::builder().folder(&folder);
        builder.config(&config(false)).arg(flag).start()
    };
    let expected = json!({"both": [entry("histogram", "", "pushed")], "pushed": pushed});
    let server = start();
    assert_eq!(metadata(&server, ""), expected);
    assert_eq!(
        metadata(&server, "?limit=1&limit_per_metric=1"),
        json!({"both": [entry("histogram", "", "pushed")]})
    );
    server.kill();
    let server = start();
    assert_eq!(metadata(&server, ""), expected);
    server.stop();
    let server = start();
    assert_eq!(metadata(&server, ""), expected);
    server.stop();
}
