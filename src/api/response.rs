//! Envelopes, plain texts and compression.

use std::{
    io::Write as _,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use flate2::write::{GzEncoder, ZlibEncoder};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::body::Frame;
use libdeflater::{CompressionLvl, Compressor};

use super::{
    ApiError, Content,
    json::{Escape, push_string, push_strings},
};

/// What stands before the value of `data`.
pub(crate) const HEAD: &[u8] = b"{\"status\":\"success\",\"data\":";

/// What an endpoint answers.
pub(crate) type Answer = Result<Success, ApiError>;

/// An answer that went well. `data` starts with the head of the envelope, so that large results are
/// never copied.
#[derive(Debug)]
pub(crate) struct Success {
    /// The body so far; the endpoint appends the value of `data`.
    pub(crate) body: Vec<u8>,
    /// Texts for `warnings`.
    pub(crate) warnings: Vec<String>,
    /// Texts for `infos`.
    pub(crate) infos: Vec<String>,
}

impl Success {
    /// An envelope whose `data` is still to be appended.
    pub(crate) fn new() -> Self {
        Self {
            body: HEAD.to_vec(),
            warnings: Vec::new(),
            infos: Vec::new(),
        }
    }

    /// An envelope around finished JSON.
    pub(crate) fn of(data: &str) -> Self {
        let mut success = Self::new();
        success.body.extend_from_slice(data.as_bytes());
        success
    }

    /// Says no more than that it went well: 204 without a body.
    pub(crate) fn without_content() -> Self {
        Self {
            body: Vec::new(),
            ..Self::new()
        }
    }

    /// Says that `limit` cut something off.
    pub(crate) fn truncated(&mut self) {
        self.warnings.push(TRUNCATED.to_owned());
    }

    /// The body, if there is one.
    pub(super) fn finish(self) -> Content {
        let mut body = self.body;
        if !body.is_empty() {
            push_end(&mut body, &self.warnings, &self.infos);
        }
        Content::Whole(body)
    }
}

/// The warning of an answer that `limit` cut something off.
pub(super) const TRUNCATED: &str = "results truncated due to limit";

/// Appends what stands behind the value of `data`.
pub(super) fn push_end(body: &mut Vec<u8>, warnings: &[String], infos: &[String]) {
    for (name, texts) in [("warnings", warnings), ("infos", infos)] {
        if !texts.is_empty() {
            body.extend_from_slice(format!(",\"{name}\":").as_bytes());
            push_strings(body, texts);
        }
    }
    body.push(b'}');
}

/// The answer of an endpoint.
pub(crate) fn respond(answer: Result<Content, ApiError>) -> Response<Body> {
    let (status, body) = match answer {
        Ok(Content::Whole(body)) if body.is_empty() => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            return response;
        }
        Ok(Content::Whole(body)) => (StatusCode::OK, Body::from(body)),
        Ok(Content::Streamed(body)) => (StatusCode::OK, Body::new(body)),
        Err(error) => {
            let mut body = b"{\"status\":\"error\",\"errorType\":".to_vec();
            push_string(&mut body, error.kind.as_str(), Escape::Html);
            body.extend_from_slice(b",\"error\":");
            push_string(&mut body, &error.message, Escape::Html);
            body.push(b'}');
            (error.kind.status(), Body::from(body))
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// A plain text.
pub(crate) fn text(status: StatusCode, text: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

/// An error as Go's `http.Error` writes it: a line of text that no browser may take for more.
pub(crate) fn error_text(status: StatusCode, message: &str) -> Response<Body> {
    let mut response = text(status, format!("{message}\n"));
    response.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// An encoding of bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// `gzip`
    Gzip,
    /// `deflate`, which is zlib's.
    Deflate,
}

impl Encoding {
    const fn header(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        })
    }
}

/// The encoding that the client named first among those we have; only exact names count, as in
/// Prometheus.
pub(crate) fn accepted_encoding(headers: &HeaderMap) -> Option<Encoding> {
    let accepted = headers.get(header::ACCEPT_ENCODING)?.to_str().ok()?;
    accepted.split(',').find_map(|name| match name.trim() {
        "gzip" => Some(Encoding::Gzip),
        "deflate" => Some(Encoding::Deflate),
        _ => None,
    })
}

/// Compresses `body`, and says so in `headers`.
pub(crate) fn compress(encoding: Encoding, headers: &mut HeaderMap, body: &[u8]) -> Vec<u8> {
    // Level 1 is several times as fast as the usual 6; numbers in JSON shrink nearly as well.
    let level = CompressionLvl::new(1).expect("1 is a level");
    let mut compressor = Compressor::new(level);
    let compressed = match encoding {
        Encoding::Gzip => {
            let mut out = vec![0; compressor.gzip_compress_bound(body.len())];
            let length = compressor.gzip_compress(body, &mut out);
            length.map(|length| (out, length))
        }
        Encoding::Deflate => {
            let mut out = vec![0; compressor.zlib_compress_bound(body.len())];
            let length = compressor.zlib_compress(body, &mut out);
            length.map(|length| (out, length))
        }
    };
    let (mut out, length) = compressed.expect("the buffer is as large as the bound");
    out.truncate(length);
    headers.insert(header::CONTENT_ENCODING, encoding.header());
    out
}

/// Compresses a body that is not whole yet, piece by piece, and says so in `headers`.
pub(crate) fn compress_stream(encoding: Encoding, headers: &mut HeaderMap, body: Body) -> Body {
    headers.insert(header::CONTENT_ENCODING, encoding.header());
    let level = flate2::Compression::fast();
    Body::new(Compressed {
        body,
        encoder: Some(match encoding {
            Encoding::Gzip => Encoder::Gzip(GzEncoder::new(Vec::new(), level)),
            Encoding::Deflate => Encoder::Deflate(ZlibEncoder::new(Vec::new(), level)),
        }),
    })
}

#[derive(Debug)]
enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Deflate(ZlibEncoder<Vec<u8>>),
}

impl Encoder {
    /// What is to be sent once `bytes` are taken in; nothing as long as little has gathered.
    fn take(&mut self, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        Ok(std::mem::take(match self {
            Self::Gzip(encoder) => {
                encoder.write_all(bytes)?;
                encoder.get_mut()
            }
            Self::Deflate(encoder) => {
                encoder.write_all(bytes)?;
                encoder.get_mut()
            }
        }))
    }

    /// The rest.
    fn finish(self) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Deflate(encoder) => encoder.finish(),
        }
    }
}

/// A body while it is compressed.
#[derive(Debug)]
struct Compressed {
    body: Body,
    /// Until the body has ended.
    encoder: Option<Encoder>,
}

impl HttpBody for Compressed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        while let Some(encoder) = &mut this.encoder {
            let out = match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => encoder.take(&bytes),
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => match this.encoder.take() {
                    Some(encoder) => encoder.finish(),
                    None => break,
                },
            };
            match out {
                Ok(out) if out.is_empty() => {}
                Ok(out) => return Poll::Ready(Some(Ok(Frame::data(out.into())))),
                Err(error) => return Poll::Ready(Some(Err(axum::Error::new(error)))),
            }
        }
        Poll::Ready(None)
    }
}
