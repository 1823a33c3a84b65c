//! An Alertmanager for tests, on loopback.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// What a test's Alertmanager does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Answer(u16),
    Hang,
}

/// An Alertmanager that keeps every request as it came.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    pub(crate) async fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let log = Arc::clone(&log);
                tokio::spawn(async move {
                    while let Some(request) = read_request(&mut stream).await {
                        log.lock().unwrap().push(request);
                        let Behaviour::Answer(status) = behaviour else {
                            std::future::pending::<()>().await;
                            return;
                        };
                        let answer = format!(
                            "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nLocation: /x\r\n\r\n"
                        );
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        Self { address, requests }
    }

    /// Every request so far, head and body.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// The alerts of each POST.
    pub(crate) fn posts(&self) -> Vec<serde_json::Value> {
        let body = |request: &String| {
            let (_, body) = request.split_once("\r\n\r\n").unwrap();
            serde_json::from_str(body).unwrap()
        };
        self.requests().iter().map(body).collect()
    }

    /// The `alertname`s of each POST.
    pub(crate) fn names(&self) -> Vec<Vec<String>> {
        let names = |post: &serde_json::Value| {
            let alerts = post.as_array().unwrap().iter();
            let names = alerts.map(|alert| &alert["labels"]["alertname"]);
            names
                .map(|name| name.as_str().unwrap().to_owned())
                .collect()
        };
        self.posts().iter().map(names).collect()
    }
}

async fn read_request(stream: &mut tokio::net::TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                let is_length = name.eq_ignore_ascii_case("content-length");
                is_length.then(|| value.parse::<usize>().unwrap())
            });
            if body.len() >= length.unwrap_or_default() {
                return Some(text);
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}
