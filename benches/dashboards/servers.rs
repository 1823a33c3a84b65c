//! The servers under comparison: how each is started, asked, and how much processor time it has used.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};

use crate::{
    http,
    shapes::{Asks, Shape},
};

const PATIENCE: Duration = Duration::from_mins(10);
const PAUSE: Duration = Duration::from_millis(200);
/// A server is quiet when it has used no more than this in [`QUIET_SPAN`].
const QUIET_SECONDS: f64 = 0.03;
const QUIET_SPAN: Duration = Duration::from_secs(1);

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Narthex,
    Prometheus,
    VictoriaMetrics,
}

/// A running server; it is ended when dropped.
pub(crate) struct Server {
    pub(crate) kind: Kind,
    address: String,
    process: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        // With a signal to end in order, so that what is in memory is there for the next start.
        let id = self.process.id().to_string();
        let _already_gone = Command::new("kill").args(["-TERM", &id]).status();
        let _already_gone = self.process.wait();
    }
}

impl Server {
    /// Starts `program` on a folder and waits until it answers.
    ///
    /// # Errors
    /// It does not start or is not ready within minutes.
    pub(crate) fn start(kind: Kind, program: &str, folder: &Path) -> anyhow::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let data = folder.join("data");
        let mut command = Command::new(program);
        match kind {
            Kind::VictoriaMetrics => {
                command
                    .arg(format!("-storageDataPath={}", data.display()))
                    .arg(format!("-httpListenAddr={address}"))
                    .arg("-retentionPeriod=100y");
            }
            Kind::Narthex | Kind::Prometheus => {
                std::fs::create_dir_all(folder)?;
                let config = folder.join("prometheus.yml");
                std::fs::write(&config, "global: {}\n")?;
                command
                    .arg(format!("--config.file={}", config.display()))
                    .arg(format!("--storage.tsdb.path={}", data.display()))
                    .arg(format!("--web.listen-address={address}"))
                    .arg("--web.enable-remote-write-receiver")
                    .arg("--storage.tsdb.retention.time=100y");
            }
        }
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let server = Self {
            kind,
            address,
            process: process.with_context(|| program.to_owned())?,
        };
        let path = match kind {
            Kind::VictoriaMetrics => "/health",
            Kind::Narthex | Kind::Prometheus => "/-/ready",
        };
        for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
            if server.request("GET", path, &[]).is_ok() {
                return Ok(server);
            }
            std::thread::sleep(PAUSE);
        }
        anyhow::bail!("{program} is not ready")
    }

    fn request(&self, method: &str, path: &str, body: &[u8]) -> anyhow::Result<Vec<u8>> {
        let (status, answer) = http::request(&self.address, method, path, body, PATIENCE)?;
        ensure!(
            status / 100 == 2,
            "{:?}: {path}: status {status}: {}",
            self.kind,
            String::from_utf8_lossy(&answer)
        );
        Ok(answer)
    }

    /// Hands over a message of remote write.
    pub(crate) fn write(&self, message: &[u8]) -> anyhow::Result<()> {
        self.request("POST", "/api/v1/write", message)?;
        Ok(())
    }

    /// Lets the server finish what it does with what was written.
    pub(crate) fn settle(&self) -> anyhow::Result<()> {
        if self.kind == Kind::VictoriaMetrics {
            self.request("GET", "/internal/force_flush", &[])?;
        }
        let mut before = self.processor_seconds()?;
        loop {
            std::thread::sleep(QUIET_SPAN);
            let now = self.processor_seconds()?;
            if now - before <= QUIET_SECONDS {
                return Ok(());
            }
            before = now;
        }
    }

    /// Seconds of processor time that the server used so far, in user and kernel mode.
    pub(crate) fn processor_seconds(&self) -> anyhow::Result<f64> {
        /// `USER_HZ` is 100 on every Linux that runs these servers.
        const TICKS_PER_SECOND: f64 = 100.0;
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let (_, fields) = text.rsplit_once(')').context("no name in stat")?;
        let mut fields = fields.split_whitespace().skip(11);
        let mut ticks = 0.0;
        for _ in 0..2 {
            ticks += fields.next().context("stat is short")?.parse::<f64>()?;
        }
        Ok(ticks / TICKS_PER_SECOND)
    }

    /// The answer to a shape that ends at `end`, in seconds.
    pub(crate) fn ask(&self, shape: &Shape, end: i64) -> anyhow::Result<Vec<u8>> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let path = match shape.asks {
            Asks::Instant => {
                query.append_pair("query", shape.text);
                query.append_pair("time", &end.to_string());
                "query"
            }
            Asks::Range { minutes, step_s } => {
                query.append_pair("query", shape.text);
                query.append_pair("start", &(end - minutes * 60).to_string());
                query.append_pair("end", &end.to_string());
                query.append_pair("step", &step_s.to_string());
                "query_range"
            }
            Asks::Lookup(path) => {
                if !shape.text.is_empty() {
                    query.append_pair("match[]", shape.text);
                }
                query.append_pair("start", &(end - 3_600).to_string());
                query.append_pair("end", &end.to_string());
                path
            }
        };
        // What is measured is evaluation; Prometheus keeps no answers.
        if self.kind != Kind::Prometheus {
            query.append_pair("nocache", "1");
        }
        self.request("GET", &format!("/api/v1/{path}?{}", query.finish()), &[])
    }
}
