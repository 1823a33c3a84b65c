//! Request targets as people type them.
//!
//! Go's HTTP server takes quotes, angle brackets and bytes beyond ASCII in a request target as they
//! are, and Prometheus's own documentation has such calls (`curl -g '…?match[]=up{job="x"}'`); the
//! HTTP library here refuses them. [`RequestLines`] stands between the socket and the library and
//! percent-encodes those bytes, in the first line of a request and nowhere else: a line counts as
//! such when it begins with a method and `/`, and is the first thing read on a connection or the
//! first after an answer was written. A request that is sent before the answer to the one before it
//! passes through as it is.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection whose request lines are made fit for the HTTP library.
pub(super) struct RequestLines<S> {
    stream: S,
    place: Place,
    /// What was read and encoded and did not fit the reader's buffer; at most three times as long as
    /// one read.
    pending: Vec<u8>,
    pending_read: usize,
}

/// What the next byte read belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Perhaps a new request.
    Start,
    /// The rest of a request line.
    Line,
    /// Headers or a body.
    Behind,
}

impl<S> RequestLines<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            place: Place::Start,
            pending: Vec::new(),
            pending_read: 0,
        }
    }

    /// Hands out what is pending.
    fn drain(&mut self, into: &mut ReadBuf<'_>) {
        let rest = &self.pending[self.pending_read..];
        let count = rest.len().min(into.remaining());
        into.put_slice(&rest[..count]);
        self.pending_read += count;
        if self.pending_read == self.pending.len() {
            self.pending.clear();
            self.pending_read = 0;
        }
    }

    /// Encodes the part of `into` from `start` on that belongs to a request line.
    fn encode(&mut self, into: &mut ReadBuf<'_>, start: usize) {
        let read = &into.filled()[start..];
        if self.place == Place::Start && !read.is_empty() {
            self.place = if begins_request(read) {
                Place::Line
            } else {
                Place::Behind
            };
        }
        if self.place != Place::Line {
            return;
        }
        let newline = read.iter().position(|byte| *byte == b'\n');
        let line_len = newline.unwrap_or(read.len());
        if newline.is_some() {
            self.place = Place::Behind;
        }
        if !read[..line_len].iter().any(|byte| is_encoded(*byte)) {
            return;
        }
        for (index, byte) in read.iter().enumerate() {
            if index < line_len && is_encoded(*byte) {
                let hexadecimal = |digit: u8| b"0123456789ABCDEF"[usize::from(digit)];
                let (high, low) = (hexadecimal(byte >> 4), hexadecimal(byte & 15));
                self.pending.extend([b'%', high, low]);
            } else {
                self.pending.push(*byte);
            }
        }
        into.set_filled(start);
        self.drain(into);
    }

    /// Something was written: what is read next may be a new request.
    fn note_written(&mut self) {
        if self.place == Place::Behind {
            self.place = Place::Start;
        }
    }
}

/// Bytes that Go takes in a request target and the HTTP library does not.
fn is_encoded(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>' | b'#' | 0x80..)
}

/// Whether `bytes` begin, as far as they go, with a method, a space and a slash.
fn begins_request(bytes: &[u8]) -> bool {
    let method_len = bytes.iter().take_while(|byte| byte.is_ascii_uppercase());
    let mut rest = bytes.iter().skip(method_len.count());
    bytes.first().is_some_and(u8::is_ascii_uppercase)
        && rest.next().is_none_or(|byte| *byte == b' ')
        && rest.next().is_none_or(|byte| *byte == b'/')
}

impl<S: AsyncRead + Unpin> AsyncRead for RequestLines<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.pending.is_empty() {
            this.drain(into);
            return Poll::Ready(Ok(()));
        }
        let start = into.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, into))?;
        this.encode(into, start);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for RequestLines<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.note_written();
        Pin::new(&mut this.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.note_written();
        Pin::new(&mut this.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// What comes through when `parts` arrive one after the other and are read in pieces of at most
    /// `room` bytes.
    async fn through(parts: &[&[u8]], room: usize) -> Vec<u8> {
        let (mut sender, receiver) = tokio::io::duplex(1 << 16);
        let mut lines = RequestLines::new(receiver);
        let (mut all, mut buffer) = (Vec::new(), vec![0; room]);
        for part in parts {
            sender.write_all(part).await.unwrap();
            let count = lines.read(&mut buffer).await.unwrap();
            all.extend(&buffer[..count]);
        }
        drop(sender);
        loop {
            let count = lines.read(&mut buffer).await.unwrap();
            if count == 0 {
                return all;
            }
            all.extend(&buffer[..count]);
        }
    }

    #[tokio::test]
    async fn a_request_line_is_encoded_and_what_follows_is_not() {
        let text =
            "GET /api?a=up{job=\"\u{fc}\"}<1>0#b HTTP/1.1\r\nX: \"<\u{fc}>#\"\r\n\r\n\"body\"";
        let expected = "GET /api?a=up{job=%22%C3%BC%22}%3C1%3E0%23b HTTP/1.1\r\nX: \"<\u{fc}>#\"\r\n\r\n\"body\"";
        for room in [1, 2, 7, 4096] {
            let got = through(&[text.as_bytes()], room).await;
            assert_eq!(String::from_utf8(got).unwrap(), expected, "{room}");
        }
        for cut in [1, 3, 4, 5, 20, 50] {
            let (first, second) = text.as_bytes().split_at(cut);
            let got = through(&[first, second], 4096).await;
            assert_eq!(String::from_utf8(got).unwrap(), expected, "{cut}");
        }
    }

    #[tokio::test]
    async fn only_what_begins_like_a_request_is_touched() {
        for text in [
            "\"GET /\"",
            "PRI * HTTP/2.0 \"\"",
            "get /\"",
            "POST \"/\"",
            "\"",
        ] {
            assert_eq!(through(&[text.as_bytes()], 64).await, text.as_bytes());
        }
    }

    #[tokio::test]
    async fn after_an_answer_comes_the_next_request() {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let mut lines = RequestLines::new(server);
        let mut buffer = [0; 64];
        for (sent, expected) in [
            ("GET /\" HTTP/1.1\r\n\r\n", "GET /%22 HTTP/1.1\r\n\r\n"),
            ("POST /\" body of the first", "POST /\" body of the first"),
        ] {
            client.write_all(sent.as_bytes()).await.unwrap();
            let count = lines.read(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..count], expected.as_bytes());
        }
        lines.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        client.write_all(b"HEAD /> HTTP/1.1\r\n").await.unwrap();
        let count = lines.read(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..count], b"HEAD /%3E HTTP/1.1\r\n");
    }
}
