//! A disk that is full, and one that cannot be written.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use serde_json::json;
use tempfile::TempDir;

use crate::harness::{Pushed, Server, binary, wait_until};

/// A small file system of its own; gone with the value.
struct Mounted(PathBuf);

impl Mounted {
    /// `None` where the test may not mount.
    fn new(path: &Path, size: &str) -> Option<Self> {
        let outcome = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(path)
            .stderr(Stdio::null())
            .status();
        outcome
            .is_ok_and(|status| status.success())
            .then(|| Self(path.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazy, for a server of a failed test may still have files open.
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

const T: i64 = 1_700_000_000_000;

/// A thousand samples that do not compress well.
fn push(round: i64) -> Pushed {
    let mut state = round as u64 + 1;
    let samples: Vec<(i64, f64)> = (0..1_000)
        .map(|n| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (T + (round * 1_000 + n) * 1_000, state as f64)
        })
        .collect();
    Pushed::new(&[("__name__", "pushed"), ("job", "test")], &samples)
}

#[test]
fn a_full_disk_refuses_writes_and_goes_on_when_there_is_room_again() {
    let folder = Arc::new(TempDir::new().unwrap());
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    let Some(_mounted) = Mounted::new(&data, "8m") else {
        eprintln!("skipped: only root may mount a small file system");
        return;
    };
    let start = || {
        Server::builder()
            .folder(&folder)
            .config("global: {}\n")
            .arg("--web.enable-remote-write-receiver")
            .arg("--storage.tsdb.retention.time=100y")
            .allow("disk is full")
            .start()
    };
    let server = start();
    let count = |server: &Server, rounds: i64| {
        let time = (T / 1_000 + rounds * 1_000).to_string();
        server.query("count_over_time(pushed[100d])", &time)[0]["value"][1].clone()
    };
    let mut rounds = 0;
    let refused = loop {
        let answer = server.push(&[push(rounds)]);
        if answer.status != 204 {
            break answer;
        }
        rounds += 1;
        assert!(rounds < 10_000, "the disk is never full");
    };
    assert_eq!(refused.status, 500, "{}", refused.text());
    assert!(
        refused.text().starts_with("the disk is full and "),
        "{}",
        refused.text()
    );
    assert_eq!(count(&server, rounds), json!((rounds * 1_000).to_string()));
    assert!(
        server.get("/metrics").text().lines().any(|line| line
            .strip_prefix("prometheus_tsdb_wal_writes_failed_total ")
            .is_some_and(|value| value != "0")),
        "the failed write is counted"
    );
    let room = Command::new("mount")
        .args(["-o", "remount,size=64m"])
        .arg(&data)
        .status();
    assert!(room.unwrap().success());
    wait_until("writes are taken again", || {
        (server.push(&[push(rounds)]).status == 204).then_some(())
    });
    rounds += 1;
    assert_eq!(count(&server, rounds), json!((rounds * 1_000).to_string()));
    // Nothing that was acknowledged depends on a clean stop.
    drop(server.kill());
    let server = start();
    assert_eq!(count(&server, rounds), json!((rounds * 1_000).to_string()));
    server.stop();
}

#[test]
fn a_directory_that_cannot_be_written_is_named_and_left_alone() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("a-file"), "as it was").unwrap();
    for (path, mode) in [(folder.path(), 0o755), (data.as_path(), 0o555)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut command = match Command::new("id").arg("-u").output() {
        // Nothing is read-only to root.
        Ok(id) if id.stdout == b"0\n" => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
            let probe = Command::new("setpriv")
                .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
                .arg(binary())
                .arg("--version")
                .output();
            if !probe.is_ok_and(|probe| probe.status.success()) {
                eprintln!("skipped: root cannot run the binary as another user here");
                return;
            }
            command.arg(binary());
            command
        }
        _ => Command::new(binary()),
    };
    let output = command
        .args([
            "--web.listen-address=127.0.0.1:0",
            "--storage.tsdb.path=data",
        ])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("opening storage failed")
            && stderr.contains("data")
            && stderr.contains("Permission denied"),
        "{stderr}"
    );
    let entries: Vec<String> = fs::read_dir(&data)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(entries, ["a-file"]);
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
}
