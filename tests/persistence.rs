//! What is on disk: restart, kill, foreign and unusable directories.

use std::{fs, path::Path, sync::Arc};

use serde_json::json;

use crate::harness::{Pushed, Server, Target, run, wait_until};

const T: i64 = 1_700_000_000_000;

fn counter(value: i64) -> Pushed {
    Pushed::new(
        &[("__name__", "pushed_total"), ("job", "test")],
        &[(T + value * 1_000, value as f64)],
    )
}

#[test]
fn samples_survive_a_clean_restart() {
    let flag = "--web.enable-remote-write-receiver";
    let quiet = "global: {}\n";
    let server = Server::builder()
        .config(quiet)
        .arg(flag)
        .arg("--storage.tsdb.retention.time=100y")
        .start();
    let samples: Vec<(i64, f64)> = (0..1_000)
        .map(|i| (T + i * 15_000, i as f64 / 4.0))
        .collect();
    let answer = server.push(&[Pushed::new(&[("__name__", "m"), ("a", "b")], &samples)]);
    assert_eq!((answer.status, answer.text().as_str()), (204, ""));
    let time = ((T + 999 * 15_000) / 1_000).to_string();
    let query = "sum_over_time(m[100d]) + count_over_time(m[100d])";
    let expected = json!([{"metric": {"a": "b"}, "value": [T / 1_000 + 999 * 15, "125875"]}]);
    assert_eq!(server.query(query, &time), expected);
    let folder = server.stop();
    let server = Server::builder()
        .folder(&folder)
        .config(quiet)
        .arg(flag)
        .arg("--storage.tsdb.retention.time=100y")
        .start();
    assert_eq!(server.query(query, &time), expected);
    server.stop();
}

/// What Prometheus 3.5.3 answers, and has afterwards.
#[test]
fn a_series_may_come_in_several_pieces_of_one_request() {
    let server = Server::builder()
        .config("global: {}\n")
        .arg("--web.enable-remote-write-receiver")
        .arg("--storage.tsdb.retention.time=100y")
        .start();
    let piece = |series: &str, after_ms: i64, value: f64| {
        let labels = [("__name__", "m"), ("series", series)];
        Pushed::new(&labels, &[(T + after_ms, value)])
    };
    let answer = server.push(&[
        piece("a", 0, 1.0),
        piece("b", 0, 2.0),
        piece("a", 0, 3.0),
        piece("a", 500, 4.0),
        piece("b", -500, 5.0),
        piece("a", 0, 1.0),
    ]);
    assert_eq!((answer.status, answer.text().as_str()), (204, ""));
    let values = |series: &str| {
        let query = format!("m{{series=\"{series}\"}}[1m]");
        server.query(&query, &(T / 1_000 + 1).to_string())[0]["values"].clone()
    };
    let begin = T / 1_000;
    assert_eq!(
        values("a"),
        json!([[begin, "1"], [begin as f64 + 0.5, "4"]])
    );
    assert_eq!(values("b"), json!([[begin, "2"]]));
    server.stop();
}

/// The number of rounds is small by default; `NARTHEX_KILL_ROUNDS=50` for the long run.
#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let rounds: usize = std::env::var("NARTHEX_KILL_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(4);
    let target = Target::new("scraped_metric{a=\"1\"} 1\nscraped_metric{a=\"2\"} 2\n");
    let config = format!(
        "scrape_configs:\n  - job_name: t\n    scrape_interval: 1s\n    scrape_timeout: 1s\n    static_configs:\n      - targets: ['{}']\n",
        target.address
    );
    let mut folder = None;
    let mut next = 0_i64;
    for round in 0..rounds {
        // The scraped samples have the wall clock's times, before which pushes are too old: those of the first
        // round are not to be late.
        let scrapes = round > 0;
        let mut builder = Server::builder()
            .config(if scrapes { &config } else { "global: {}\n" })
            .arg("--web.enable-remote-write-receiver")
            .arg("--storage.tsdb.retention.time=100y");
        if let Some(folder) = &folder {
            builder = builder.folder(folder);
        }
        let server = builder.start();
        if next > 0 {
            let time = ((T + (next - 1) * 1_000) / 1_000).to_string();
            let result = server.query("count_over_time(pushed_total[100d])", &time);
            assert_eq!(
                result[0]["value"][1],
                json!(next.to_string()),
                "round {round}"
            );
        }
        let before = next;
        while next < before + 20 + i64::try_from(round).unwrap() {
            let answer = server.push(&[counter(next)]);
            if scrapes && answer.status != 204 {
                // Scraped samples made the pushed times too old: that is refused, not lost.
                assert_eq!(answer.status, 400, "{}", answer.text());
                break;
            }
            assert_eq!(answer.status, 204, "{}", answer.text());
            next += 1;
        }
        if scrapes {
            wait_until("a scrape was stored", || {
                let result = server.get("/api/v1/query?query=scraped_metric").json();
                (result["data"]["result"].as_array()?.len() == 2).then_some(())
            });
        }
        folder = Some(server.kill());
    }
}

#[test]
fn acknowledged_pushes_survive_kill_9_in_every_round() {
    let rounds: usize = std::env::var("NARTHEX_KILL_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(4);
    let mut folder = None;
    let mut next = 0_i64;
    for round in 0..rounds {
        let mut builder = Server::builder()
            .config("global: {}\n")
            .arg("--web.enable-remote-write-receiver")
            .arg("--storage.tsdb.retention.time=100y");
        if let Some(folder) = &folder {
            builder = builder.folder(folder);
        }
        let server = builder.start();
        let count = |server: &Server| {
            let time = ((T + next * 1_000) / 1_000).to_string();
            server.query("count_over_time(pushed_total[100d])", &time)[0]["value"][1].clone()
        };
        if next > 0 {
            assert_eq!(count(&server), json!(next.to_string()), "round {round}");
        }
        for _ in 0..30 {
            let answer = server.push(&[counter(next)]);
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (204, ""),
                "round {round}"
            );
            next += 1;
        }
        folder = Some(server.kill());
    }
}

#[test]
fn a_second_process_on_the_directory_is_refused() {
    let server = Server::builder().config("global: {}\n").start();
    let outcome = run(
        server.folder.path(),
        &[
            "--config.file=prometheus.yml",
            "--web.listen-address=127.0.0.1:0",
        ],
    );
    assert_ne!(outcome.code, Some(0));
    assert!(
        outcome.stderr.contains("in use by another process"),
        "{outcome:?}"
    );
    server.stop();
}

#[test]
fn a_directory_of_another_version_is_refused_and_left_alone() {
    let folder = tempfile::TempDir::new().unwrap();
    fs::create_dir_all(folder.path().join("data/narthex")).unwrap();
    fs::write(folder.path().join("data/narthex/format"), "999\n").unwrap();
    let outcome = run(folder.path(), &["--web.listen-address=127.0.0.1:0"]);
    assert_ne!(outcome.code, Some(0));
    assert!(outcome.stderr.contains("999"), "{outcome:?}");
    assert_eq!(
        fs::read(folder.path().join("data/narthex/format")).unwrap(),
        b"999\n"
    );
}

/// Every file below `folder` with its content.
fn content(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                files.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn a_prometheus_directory_is_untouched_and_its_blocks_are_named() {
    let folder = Arc::new(tempfile::TempDir::new().unwrap());
    let data = folder.path().join("data");
    let block = data.join("01HXYZ0000000000000000000A");
    fs::create_dir_all(block.join("chunks")).unwrap();
    fs::create_dir_all(data.join("wal/checkpoint.00000003")).unwrap();
    fs::create_dir_all(data.join("chunks_head")).unwrap();
    let meta = r#"{"ulid":"01HXYZ0000000000000000000A","minTime":1700000000000,"maxTime":1700007200000,"stats":{"numSamples":10,"numSeries":1,"numChunks":1},"compaction":{"level":1,"sources":["01HXYZ0000000000000000000A"]},"version":1}"#;
    fs::write(block.join("meta.json"), meta).unwrap();
    fs::write(
        block.join("index"),
        b"\xba\xaa\xd7\x00\x02 not a real index",
    )
    .unwrap();
    fs::write(block.join("chunks/000001"), b"chunks").unwrap();
    fs::write(data.join("wal/00000004"), vec![0_u8; 4096]).unwrap();
    fs::write(data.join("wal/checkpoint.00000003/00000000"), b"checkpoint").unwrap();
    fs::write(data.join("chunks_head/000001"), b"head").unwrap();
    fs::write(data.join("queries.active"), b"[").unwrap();
    let before = content(&data);
    let server = Server::builder()
        .folder(&folder)
        .config("global: {}\n")
        .allow("Prometheus")
        .start();
    let warnings: Vec<String> = server
        .log()
        .into_iter()
        .filter(|line| line.contains("level=WARN"))
        .collect();
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(
        warnings[0].contains("Prometheus") && warnings[0].contains('1'),
        "{warnings:#?}"
    );
    server.stop();
    let after: Vec<(String, Vec<u8>)> = content(&data)
        .into_iter()
        .filter(|(name, _)| !name.starts_with("narthex/") && name != "lock")
        .collect();
    assert_eq!(after, before);
}

/// Pushes run beside the scrapes when the process is killed, so that the kill hits commits of both.
#[test]
fn nothing_acknowledged_is_lost_by_kill_9_in_the_middle_of_pushes_and_scrapes() {
    let rounds: usize = std::env::var("NARTHEX_KILL_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(4);
    let target = Target::new("scraped_metric 1\n");
    let config = format!(
        "scrape_configs:\n  - job_name: t\n    scrape_interval: 100ms\n    scrape_timeout: 100ms\n    static_configs:\n      - targets: ['{}']\n",
        target.address
    );
    let builder = || {
        Server::builder()
            .config(&config)
            .arg("--web.enable-remote-write-receiver")
            .allow("torn record")
    };
    let mut server = builder().start();
    let count = |server: &Server, metric: &str| -> i64 {
        let answer = server.query(&format!("count_over_time({metric}[1d])"), "");
        let value = answer[0]["value"][1].as_str();
        value.map_or(0, |text| text.parse().unwrap())
    };
    // The wall clock as the server has it: pushes lie beside the scrapes in time, a millisecond
    // apart.
    let now = server.query("time()", "");
    let base = (now[0].as_f64().unwrap() * 1_000.0) as i64 - 600_000;
    let at = |number: i64| {
        let name = [("__name__", "pushed_total"), ("job", "test")];
        Pushed::new(&name, &[(base + number, number as f64)])
    };
    let mut acknowledged = 0;
    let mut scraped = 0;
    let mut unanswered = 0;
    for round in 0..rounds {
        let goal = scraped + 2;
        let killed = std::thread::scope(|scope| {
            let pusher = scope.spawn(|| {
                let mut next = acknowledged;
                loop {
                    match server.try_push(&[at(next)]) {
                        Ok(answer) if answer.status == 204 => next += 1,
                        Ok(answer) => panic!("{}: {}", answer.status, answer.text()),
                        Err(_) => return next,
                    }
                }
            });
            wait_until("two more scrapes are stored", || {
                let seen = count(&server, "scraped_metric");
                (seen >= goal).then(|| scraped = seen)
            });
            server.signal("KILL");
            pusher.join().unwrap()
        });
        assert!(killed > acknowledged, "round {round}: nothing was pushed");
        acknowledged = killed;
        server = builder().folder(&server.kill()).start();
        // A push without an answer may have been stored; it comes again with the next round.
        let stored = count(&server, "pushed_total");
        assert!(
            stored == acknowledged || stored == acknowledged + 1,
            "round {round}: {stored} stored, {acknowledged} acknowledged"
        );
        unanswered += stored - acknowledged;
        let kept = count(&server, "scraped_metric");
        assert!(
            kept >= scraped,
            "round {round}: {kept} scrapes of {scraped}"
        );
        let newest = server.query(
            "pushed_total",
            &format!("{}", (base + acknowledged) / 1_000 + 1),
        );
        let value = newest[0]["value"][1].as_str().unwrap().parse::<i64>();
        assert!(
            value.unwrap() >= acknowledged - 1,
            "round {round}: {newest}"
        );
    }
    println!(
        "{rounds} rounds: {acknowledged} pushes acknowledged and there, {unanswered} stored without an answer, {scraped} scrapes"
    );
    server.assert_quiet();
}
