//! A tiny HTTP/1.1 server on loopback: a thread a connection, a closure for the answers.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// One request as it came.
#[derive(Debug)]
pub(super) struct Request {
    /// The request line and the headers.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Request {
    /// The path with its query.
    pub(super) fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }
}

/// What to do with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// A whole answer.
    Whole {
        /// Code and reason.
        status: String,
        content_type: String,
        body: Vec<u8>,
    },
    /// Nothing, until the client goes away.
    Silence,
    /// The connection is closed without a word.
    Close,
}

/// Listens until it is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) address: SocketAddr,
    stopped: Arc<AtomicBool>,
}

impl Listener {
    /// Listens on a free port and answers every request with what `answer` says.
    pub(super) fn start(answer: impl Fn(Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stopped = Arc::new(AtomicBool::new(false));
        let answer = Arc::new(answer);
        thread::spawn({
            let stopped = Arc::clone(&stopped);
            move || {
                for stream in listener.incoming() {
                    if stopped.load(Ordering::Relaxed) {
                        return;
                    }
                    let answer = Arc::clone(&answer);
                    let stopped = Arc::clone(&stopped);
                    // A client that goes away ends its connection, nothing else.
                    thread::spawn(move || {
                        stream.map(|stream| serve(&stream, answer.as_ref(), &stopped))
                    });
                }
            }
        });
        Self { address, stopped }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the accept loop; a refused connection means that it has ended already.
        let _woken = TcpStream::connect(self.address);
    }
}

fn serve(
    stream: &TcpStream,
    answer: &impl Fn(Request) -> Answer,
    stopped: &AtomicBool,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader)? {
        if stopped.load(Ordering::Relaxed) {
            return Ok(());
        }
        match answer(request) {
            Answer::Whole {
                status,
                content_type,
                body,
            } => {
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                let mut writer = stream;
                writer.write_all(&[head.as_bytes(), &body].concat())?;
            }
            Answer::Silence => {
                reader.read_to_end(&mut Vec::new())?;
                return Ok(());
            }
            Answer::Close => return Ok(()),
        }
    }
    Ok(())
}

/// The next request; `None` when the client has closed the connection.
fn read(reader: &mut BufReader<&TcpStream>) -> std::io::Result<Option<Request>> {
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    Ok(Some(Request { head, body }))
}
