//! The binary as a child process.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::http::{Response, request};

/// Generous, for loaded machines; nothing waits that long when all is well.
const DEADLINE: Duration = Duration::from_secs(30);

/// The binary under test.
pub(crate) fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_narthex"))
}

/// What a command that ended by itself printed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the binary to its end in `folder`.
pub(crate) fn run(folder: &Path, args: &[&str]) -> Outcome {
    run_program(&binary(), args, folder)
}

/// Runs a program to its end in `folder`.
pub(crate) fn run_program(program: &Path, args: &[&str], folder: &Path) -> Outcome {
    let output = Command::new(program)
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Calls `check` until it answers; panics with `what` after the deadline.
#[expect(
    clippy::disallowed_methods,
    reason = "black-box tests run on real time, bounded here"
)]
pub(crate) fn wait_until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(answer) = check() {
            return answer;
        }
        assert!(
            start.elapsed() < DEADLINE,
            "still not so after {DEADLINE:?}: {what}"
        );
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// How to start a server.
#[derive(Debug, Default)]
pub(crate) struct ServerBuilder {
    args: Vec<String>,
    config: Option<String>,
    folder: Option<Arc<TempDir>>,
    allowed: Vec<String>,
    peer: Option<PathBuf>,
}

impl ServerBuilder {
    /// Another program with the same flags in place of the binary under test; its log is not judged.
    pub(crate) fn peer(mut self, program: Option<&Path>) -> Self {
        self.peer = program.map(Path::to_owned);
        self
    }

    /// The text of `prometheus.yml`; without one the built-in configuration is used.
    pub(crate) fn config(mut self, text: &str) -> Self {
        self.config = Some(text.to_owned());
        self
    }

    /// One more flag.
    pub(crate) fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// The folder of an earlier server.
    pub(crate) fn folder(mut self, folder: &Arc<TempDir>) -> Self {
        self.folder = Some(Arc::clone(folder));
        self
    }

    /// WARN and ERROR lines that contain this text are expected.
    pub(crate) fn allow(mut self, text: &str) -> Self {
        self.allowed.push(text.to_owned());
        self
    }

    /// Starts the binary and waits until it listens.
    pub(crate) fn listening(self) -> Server {
        let folder = self
            .folder
            .unwrap_or_else(|| Arc::new(TempDir::new().unwrap()));
        let program = self.peer.clone().unwrap_or_else(binary);
        let mut command = Command::new(program);
        command.current_dir(folder.path()).args(&self.args);
        command.arg("--web.listen-address=127.0.0.1:0");
        if let Some(config) = &self.config {
            fs::write(folder.path().join("prometheus.yml"), config).unwrap();
            command.arg("--config.file=prometheus.yml");
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let stderr = child.stderr.take().unwrap();
        let reader = thread::spawn({
            let log = Arc::clone(&log);
            move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    log.lock().unwrap().push(line);
                }
            }
        });
        let mut server = Server {
            child,
            log,
            reader: Some(reader),
            address: ([127, 0, 0, 1], 0).into(),
            folder,
            allowed: self.allowed,
            is_peer: self.peer.is_some(),
        };
        server.address = wait_until("the server logs the address it listens on", || {
            assert!(
                server.child.try_wait().unwrap().is_none(),
                "ended early: {:#?}",
                server.log()
            );
            server.log().iter().find_map(|line| {
                line.split("address=")
                    .nth(1)?
                    .split(' ')
                    .next()?
                    .trim_matches('"')
                    .parse()
                    .ok()
                    .filter(|address: &SocketAddr| address.port() != 0)
            })
        });
        server
    }

    /// Starts the binary and waits until it is ready.
    pub(crate) fn start(self) -> Server {
        let server = self.listening();
        wait_until("the server is ready", || {
            (server.get("/-/ready").status == 200).then_some(())
        });
        server
    }
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<thread::JoinHandle<()>>,
    pub(crate) address: SocketAddr,
    pub(crate) folder: Arc<TempDir>,
    allowed: Vec<String>,
    is_peer: bool,
}

impl Server {
    pub(crate) fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        request(self.address, "GET", path, &[], b"").unwrap()
    }

    pub(crate) fn post(&self, path: &str) -> Response {
        request(self.address, "POST", path, &[], b"").unwrap()
    }

    /// A form POST.
    pub(crate) fn form(&self, path: &str, pairs: &[(&str, &str)]) -> Response {
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish();
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        request(self.address, "POST", path, &headers, body.as_bytes()).unwrap()
    }

    /// The `result` of an instant query, or the whole answer when it failed.
    pub(crate) fn query(&self, query: &str, time: &str) -> serde_json::Value {
        let mut answer = self
            .form("/api/v1/query", &[("query", query), ("time", time)])
            .json();
        match answer.pointer_mut("/data/result") {
            Some(result) => result.take(),
            None => answer,
        }
    }

    /// A remote write of `series`.
    pub(crate) fn push(&self, series: &[super::Pushed]) -> Response {
        self.try_push(series).unwrap()
    }

    /// A remote write to a server that may be gone.
    pub(crate) fn try_push(&self, series: &[super::Pushed]) -> std::io::Result<Response> {
        let headers = [
            ("Content-Type", "application/x-protobuf"),
            ("Content-Encoding", "snappy"),
            ("X-Prometheus-Remote-Write-Version", "0.1.0"),
        ];
        request(
            self.address,
            "POST",
            "/api/v1/write",
            &headers,
            &super::encode(series),
        )
    }

    /// The log so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name (`TERM`, `HUP`, `KILL`).
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.pid().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits for the process to end by itself and answers its exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let status = wait_until("the process ends", || self.child.try_wait().unwrap());
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        status.code()
    }

    /// Stops it with TERM: exit code 0, and no WARN or ERROR that was not allowed.
    pub(crate) fn stop(mut self) -> Arc<TempDir> {
        self.signal("TERM");
        assert_eq!(self.wait(), Some(0), "{:#?}", self.log());
        self.assert_quiet();
        Arc::clone(&self.folder)
    }

    /// Kills it on the spot.
    pub(crate) fn kill(mut self) -> Arc<TempDir> {
        self.child.kill().unwrap();
        self.wait();
        Arc::clone(&self.folder)
    }

    /// Fails on WARN and ERROR lines that were not allowed.
    pub(crate) fn assert_quiet(&self) {
        let surprises: Vec<String> = self
            .log()
            .into_iter()
            .filter(|line| line.contains("level=WARN") || line.contains("level=ERROR"))
            .filter(|_| !self.is_peer)
            .filter(|line| !self.allowed.iter().any(|text| line.contains(text.as_str())))
            .collect();
        assert_eq!(surprises, Vec::<String>::new());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended: nothing to kill.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}
