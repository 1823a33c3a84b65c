//! The whole server in this process, on set time.

use std::time::Duration;

use narthex_storage::{RealFs, Regex};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::clock::SetClock;

fn options(folder: &Path, config: ConfigSource) -> ServerOptions {
    ServerOptions {
        config,
        auto_reload: None,
        data_path: folder.join("data"),
        retention_time: Some(Duration::from_hours(15 * 24)),
        retention_size_bytes: None,
        wal_fsync: WalFsync::Segment,
        lock: true,
        external_url: String::new(),
        route_prefix: "/own".to_owned(),
        cors_origin: Regex::new(".*").unwrap(),
        page_title: "Title".to_owned(),
        enable_lifecycle: false,
        enable_admin_api: false,
        enable_remote_write_receiver: true,
        connections_max: 16,
        read_timeout: Duration::from_mins(1),
        query_lookback: Duration::from_mins(5),
        query_timeout: Duration::from_mins(2),
        query_concurrency: 2,
        query_samples_max: 1_000_000,
        adjust_timestamps: true,
        timestamp_tolerance: Duration::from_millis(2),
        experimental_functions: false,
        flags: BTreeMap::new(),
        started: 0,
    }
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Asks until the answer ends with `expected`, at most 30 s.
async fn eventually(address: SocketAddr, path: &str, expected: &str) {
    let mut last = String::new();
    let asking = async {
        loop {
            last = get(address, path).await;
            if last.ends_with(expected) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(30), asking).await;
    assert!(in_time.is_ok(), "{path}: {last}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_set_time_it_scrapes_itself_within_two_seconds_of_readiness_and_keeps_that() {
    let folder = tempfile::tempdir().unwrap();
    let clock = SetClock::new(1_700_000_000_000);
    for round in 0..2 {
        let listeners = bind(&["127.0.0.1:0".to_owned()]).unwrap();
        let options = options(folder.path(), ConfigSource::BuiltIn);
        let server = Server::start(
            options,
            Arc::new(clock.clone()),
            listeners,
            Arc::new(RealFs),
        )
        .unwrap();
        let address = server.addresses()[0];
        let control = server.control();
        let running = tokio::spawn(server.run());
        eventually(address, "/own/-/ready", "Prometheus Server is Ready.\n").await;
        clock.advance(Duration::from_secs(2));
        // One sample of this run and, from the second on, one of each run before.
        let query = "/own/api/v1/query?query=sum(count_over_time(up[3h]))";
        let count = format!("\"{}\"]}}]}}}}", round + 1);
        eventually(address, query, &count).await;
        control.send(Control::Quit).await.unwrap();
        running.await.unwrap().unwrap();
        clock.advance(Duration::from_hours(1));
    }
}
