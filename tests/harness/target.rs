//! A scrape target whose answer a test sets.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// Serves one body to every GET.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// Status line, content type, body.
    answer: Mutex<(String, String, Vec<u8>)>,
    requests: Mutex<Vec<String>>,
    stopped: AtomicBool,
}

impl Target {
    /// Starts serving `body` as the classic text format.
    pub(crate) fn new(body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            answer: Mutex::new((
                "200 OK".to_owned(),
                "text/plain; version=0.0.4".to_owned(),
                body.as_bytes().to_vec(),
            )),
            requests: Mutex::new(Vec::new()),
            stopped: AtomicBool::new(false),
        });
        thread::spawn({
            let state = Arc::clone(&state);
            move || {
                for stream in listener.incoming() {
                    if state.stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    let state = Arc::clone(&state);
                    // A client that goes away ends its connection, nothing else.
                    thread::spawn(move || stream.map(|stream| serve(&stream, &state)));
                }
            }
        });
        Self { address, state }
    }

    /// What to answer from now on.
    pub(crate) fn answer(&self, status: &str, content_type: &str, body: &[u8]) {
        *self.state.answer.lock().unwrap() =
            (status.to_owned(), content_type.to_owned(), body.to_vec());
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

impl Drop for Target {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::Relaxed);
        // Wakes the accept loop; a refused connection means that it has ended already.
        let _woken = TcpStream::connect(self.address);
    }
}

fn serve(stream: &TcpStream, state: &State) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&line);
        }
        state.requests.lock().unwrap().push(head);
        let (status, content_type, body) = state.answer.lock().unwrap().clone();
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut writer = stream;
        writer.write_all(answer.as_bytes())?;
        writer.write_all(&body)?;
    }
}
