//! A target on a loopback port.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};

pub(super) const TEXT: &str = "text/plain; version=0.0.4";

/// What the target answers, and what it was asked.
#[derive(Debug, Clone)]
pub(super) struct Answers(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    head: String,
    body: Vec<u8>,
    requests: Vec<String>,
    connections: usize,
}

/// A running target; dropping it ends it.
#[derive(Debug)]
pub(super) struct Fixture {
    pub(super) address: String,
    pub(super) answers: Answers,
    task: JoinHandle<()>,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Answers {
    /// Answers 200 with a body from now on.
    pub(super) fn body(&self, body: impl AsRef<[u8]>) {
        self.answer(&format!("200 OK\r\nContent-Type: {TEXT}"), body);
    }

    /// Answers with a status line and headers from now on; no status at all hangs.
    pub(super) fn answer(&self, head: &str, body: impl AsRef<[u8]>) {
        let mut state = self.0.lock().unwrap();
        head.clone_into(&mut state.head);
        state.body = body.as_ref().to_vec();
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.0.lock().unwrap().requests.clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.0.lock().unwrap().connections
    }

    pub(super) async fn serve(self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        self.0.lock().unwrap().connections += 1;
        let mut asked = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            while !asked.ends_with(b"\r\n\r\n") {
                match stream.read(&mut buffer).await {
                    Ok(0) | Err(_) => return,
                    Ok(read) => asked.extend_from_slice(&buffer[..read]),
                }
            }
            let (head, body) = {
                let mut state = self.0.lock().unwrap();
                let request = String::from_utf8_lossy(&asked).into_owned();
                state.requests.push(request);
                (state.head.clone(), state.body.clone())
            };
            asked.clear();
            if head.is_empty() {
                std::future::pending::<()>().await;
            }
            let head = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", body.len());
            if stream.write_all(head.as_bytes()).await.is_err()
                || stream.write_all(&body).await.is_err()
            {
                return;
            }
        }
    }
}

impl Fixture {
    pub(super) fn answers() -> Answers {
        Answers(Arc::new(Mutex::new(State {
            head: "404 Not Found".to_owned(),
            body: Vec::new(),
            requests: Vec::new(),
            connections: 0,
        })))
    }

    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answers = Self::answers();
        let serving = answers.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        Self {
            address,
            answers,
            task,
        }
    }
}

/// Waits until `condition` holds, at most ten seconds.
pub(super) async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{what} did not come about within ten seconds");
}
