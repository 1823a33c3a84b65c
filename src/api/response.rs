//! Envelopes, plain texts and compression.

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use libdeflater::{CompressionLvl, Compressor};

use super::{
    ApiError,
    json::{Escape, push_string, push_strings},
};

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
            body: b"{\"status\":\"success\",\"data\":".to_vec(),
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
        self.warnings
            .push("results truncated due to limit".to_owned());
    }

    fn finish(self) -> Vec<u8> {
        let mut body = self.body;
        for (name, texts) in [("warnings", self.warnings), ("infos", self.infos)] {
            if !texts.is_empty() {
                body.extend_from_slice(format!(",\"{name}\":").as_bytes());
                push_strings(&mut body, texts);
            }
        }
        body.push(b'}');
        body
    }
}

/// The answer of an endpoint.
pub(crate) fn respond(answer: Answer) -> Response<Body> {
    let (status, body) = match answer {
        Ok(success) if success.body.is_empty() => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            return response;
        }
        Ok(success) => (StatusCode::OK, success.finish()),
        Err(error) => {
            let mut body = b"{\"status\":\"error\",\"errorType\":".to_vec();
            push_string(&mut body, error.kind.as_str(), Escape::Html);
            body.extend_from_slice(b",\"error\":");
            push_string(&mut body, &error.message, Escape::Html);
            body.push(b'}');
            (error.kind.status(), body)
        }
    };
    let mut response = Response::new(Body::from(body));
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

/// The encoding that the client named first among those we have; only exact names count, as in
/// Prometheus.
fn accepted_encoding(headers: &HeaderMap) -> Option<&'static str> {
    let accepted = headers.get(header::ACCEPT_ENCODING)?.to_str().ok()?;
    accepted.split(',').find_map(|name| match name.trim() {
        "gzip" => Some("gzip"),
        "deflate" => Some("deflate"),
        _ => None,
    })
}

/// Compresses `body` if the client asked for it, and says so in `headers`.
pub(crate) fn compress(request: &HeaderMap, headers: &mut HeaderMap, body: Vec<u8>) -> Vec<u8> {
    let Some(encoding) = accepted_encoding(request) else {
        return body;
    };
    // Level 1 is several times as fast as the usual 6; numbers in JSON shrink nearly as well.
    let level = CompressionLvl::new(1).expect("1 is a level");
    let mut compressor = Compressor::new(level);
    let compressed = if encoding == "gzip" {
        let mut out = vec![0; compressor.gzip_compress_bound(body.len())];
        compressor
            .gzip_compress(&body, &mut out)
            .map(|length| (out, length))
    } else {
        let mut out = vec![0; compressor.zlib_compress_bound(body.len())];
        compressor
            .zlib_compress(&body, &mut out)
            .map(|length| (out, length))
    };
    let (mut out, length) = compressed.expect("the buffer is as large as the bound");
    out.truncate(length);
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    out
}
