//! The same samples in the files of Prometheus and VictoriaMetrics.

use std::{
    fmt::Write as _,
    fs::{DirEntry, File},
    io::{BufWriter, Write as _},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use narthex_storage::{Labels, Timestamp};

use crate::http;

/// A series with its samples, staleness markers left out: neither text format can carry them.
pub(crate) struct Series {
    pub(crate) labels: Labels,
    pub(crate) samples: Vec<(Timestamp, f64)>,
}

/// Bytes on disk.
#[derive(Debug)]
pub(crate) struct Bytes {
    pub(crate) data: u64,
    pub(crate) index: u64,
    pub(crate) samples: u64,
}

const IMPORT_BYTES: usize = 8 << 20;
const PATIENCE: Duration = Duration::from_mins(5);
const PAUSE: Duration = Duration::from_millis(200);

/// The series' name and labels as the text formats write them.
fn identity(labels: &Labels) -> String {
    let mut text = format!("{}{{", labels.metric_name());
    for (name, value) in labels.iter().filter(|(name, _)| *name != "__name__") {
        let value = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        let _infallible = write!(text, "{name}=\"{value}\",");
    }
    if text.ends_with(',') {
        text.pop();
    }
    text.push('}');
    text
}

fn value(value: f64) -> String {
    match value {
        _ if value == f64::INFINITY => "+Inf".to_owned(),
        _ if value == f64::NEG_INFINITY => "-Inf".to_owned(),
        _ => value.to_string(),
    }
}

fn bytes_below(path: &Path, counts: &dyn Fn(&DirEntry) -> bool) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(path).with_context(|| path.display().to_string())? {
        let entry = entry?;
        if entry.metadata()?.is_dir() {
            bytes += bytes_below(&entry.path(), counts)?;
        } else if counts(&entry) {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

/// Blocks that `promtool tsdb create-blocks-from openmetrics` writes, of two hours.
///
/// # Errors
/// The program fails, or says that it wrote another number of samples.
pub(crate) fn prometheus(promtool: &str, series: &[Series]) -> anyhow::Result<Bytes> {
    let folder = tempfile::tempdir()?;
    let (text, blocks) = (folder.path().join("text"), folder.path().join("blocks"));
    let mut out = BufWriter::new(File::create(&text)?);
    for one in series {
        let identity = identity(&one.labels);
        for (time, sample) in &one.samples {
            let (seconds, rest) = (time / 1_000, time % 1_000);
            writeln!(out, "{identity} {} {seconds}.{rest:03}", value(*sample))?;
        }
    }
    writeln!(out, "# EOF")?;
    out.flush()?;
    // It takes gigabytes of address space; a limit keeps it from taking the machine.
    let output = Command::new("sh")
        .args([
            "-c",
            "ulimit -v 8000000; exec \"$0\" tsdb create-blocks-from openmetrics \"$1\" \"$2\"",
        ])
        .args([promtool.as_ref(), text.as_os_str(), blocks.as_os_str()])
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "promtool: {errors}");
    let mut samples = 0;
    for block in std::fs::read_dir(&blocks)? {
        let meta = std::fs::read_to_string(block?.path().join("meta.json"))?;
        let meta: serde_json::Value = serde_json::from_str(&meta)?;
        samples += meta["stats"]["numSamples"]
            .as_u64()
            .context("no numSamples")?;
    }
    Ok(Bytes {
        data: bytes_below(&blocks, &|entry| {
            entry
                .path()
                .parent()
                .is_some_and(|parent| parent.ends_with("chunks"))
        })?,
        index: bytes_below(&blocks, &|entry| entry.file_name() == "index")?,
        samples,
    })
}

/// Ends the server when it is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _already_gone = self.0.kill();
        let _already_gone = self.0.wait();
    }
}

/// Parts of a `VictoriaMetrics` server after an import, which leaves out NaN, and a forced merge.
///
/// # Errors
/// The server does not start, refuses the import, or does not finish within minutes.
pub(crate) fn victoria_metrics(program: &str, series: &[Series]) -> anyhow::Result<Bytes> {
    let folder = tempfile::tempdir()?;
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let _server = Server(
        Command::new(program)
            .arg(format!("-storageDataPath={}", folder.path().display()))
            .arg(format!("-httpListenAddr={address}"))
            .args(["-retentionPeriod=100y", "-memory.allowedBytes=1GB"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?,
    );
    let ask = |method: &str, path: &str, body: &[u8]| {
        let (status, answer) = http::request(&address, method, path, body, PATIENCE)?;
        ensure!(status / 100 == 2, "{path}: status {status}");
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    wait_for(|| Ok(ask("GET", "/health", &[]).is_ok()))?;
    let mut text = String::new();
    for (index, one) in series.iter().enumerate() {
        let identity = identity(&one.labels);
        for (time, sample) in &one.samples {
            let _infallible = writeln!(text, "{identity} {} {time}", value(*sample));
        }
        if text.len() >= IMPORT_BYTES || index + 1 == series.len() {
            ask("POST", "/api/v1/import/prometheus", text.as_bytes())?;
            text.clear();
        }
    }
    ask("GET", "/internal/force_flush", &[])?;
    ask("GET", "/internal/force_merge", &[])?;
    let mut rows = 0;
    wait_for(|| {
        let metrics = ask("GET", "/metrics", &[])?;
        let sum = |prefix: &str| -> f64 {
            let lines = metrics.lines().filter(|line| line.starts_with(prefix));
            let numbers = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
            numbers.sum()
        };
        rows =
            (sum("vm_rows{type=\"storage/small\"}") + sum("vm_rows{type=\"storage/big\"}")) as u64;
        let parts = sum("vm_parts{type=\"storage/small\"}") + sum("vm_parts{type=\"storage/big\"}");
        let in_memory =
            sum("vm_rows{type=\"storage/inmemory\"}") + sum("vm_rows{type=\"indexdb/inmemory\"}");
        let merges = sum("vm_active_force_merges") + sum("vm_active_merges{type=\"storage/");
        Ok(parts == 1.0 && in_memory == 0.0 && merges == 0.0)
    })?;
    let data = folder.path().join("data");
    let is_index = |entry: &DirEntry| {
        entry
            .path()
            .components()
            .any(|part| part.as_os_str() == "indexdb")
    };
    Ok(Bytes {
        data: bytes_below(&data.join("small"), &|entry| !is_index(entry))?
            + bytes_below(&data.join("big"), &|entry| !is_index(entry))?,
        index: bytes_below(folder.path(), &is_index)?,
        samples: rows,
    })
}

fn wait_for(mut condition: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
        if condition()? {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
    anyhow::bail!("nothing came of it within minutes")
}
