//! Scrape targets: one whose answer a test sets, one whose answer is computed at each scrape.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use super::listener::{Answer, Listener};

/// The content type of the classic text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves one body to every GET.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    _listener: Listener,
}

#[derive(Debug)]
struct State {
    answer: Mutex<Answer>,
    requests: Mutex<Vec<String>>,
}

impl Target {
    /// Starts serving `body` as the classic text format.
    pub(crate) fn new(body: &str) -> Self {
        let state = Arc::new(State {
            answer: Mutex::new(whole(
                "200 OK",
                "text/plain; version=0.0.4",
                body.as_bytes(),
            )),
            requests: Mutex::new(Vec::new()),
        });
        let listener = Listener::start({
            let state = Arc::clone(&state);
            move |request| {
                state.requests.lock().unwrap().push(request.head);
                state.answer.lock().unwrap().clone()
            }
        });
        Self {
            address: listener.address,
            state,
            _listener: listener,
        }
    }

    /// What to answer from now on.
    pub(crate) fn answer(&self, status: &str, content_type: &str, body: &[u8]) {
        *self.state.answer.lock().unwrap() = whole(status, content_type, body);
    }

    /// The head of the newest request.
    pub(crate) fn last_request(&self) -> String {
        self.state
            .requests
            .lock()
            .unwrap()
            .last()
            .cloned()
            .unwrap_or_default()
    }
}

/// Serves, at each scrape, what a closure says of the moment; `None` is a target that is down: it
/// closes the connection.
#[derive(Debug)]
pub(crate) struct Exporter {
    pub(crate) address: SocketAddr,
    _listener: Listener,
}

impl Exporter {
    pub(crate) fn new(body: impl Fn() -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = Listener::start(move |_| match body() {
            Some(body) => whole("200 OK", TEXT, body.as_bytes()),
            None => Answer::Close,
        });
        Self {
            address: listener.address,
            _listener: listener,
        }
    }
}

fn whole(status: &str, content_type: &str, body: &[u8]) -> Answer {
    Answer::Whole {
        status: status.to_owned(),
        content_type: content_type.to_owned(),
        body: body.to_vec(),
    }
}
