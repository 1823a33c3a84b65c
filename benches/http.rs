//! As much of an HTTP client as the benches need: one request a connection, over loopback.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, ensure};

/// Sends a request and answers the response's status and body.
///
/// # Errors
/// Nobody listens, the peer takes longer than `timeout` to answer anything, or the answer is no HTTP.
pub(crate) fn request(
    address: &str,
    method: &str,
    path: &str,
    body: &[u8],
    timeout: Duration,
) -> anyhow::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(timeout))?;
    // The older version keeps the peer from sending the body in chunks.
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nAccept: text/plain;version=0.0.4\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .context("the answer has no end of its head")?;
    let status_line = std::str::from_utf8(&answer[..end])?;
    ensure!(status_line.starts_with("HTTP/1."), "no HTTP: {status_line}");
    let status = status_line.split(' ').nth(1).context("no status")?;
    Ok((status.parse()?, answer.split_off(end + 4)))
}
