//! A response body that tells its length when it has left.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

/// Counts the bytes of a body.
pub(super) struct Counted<F: FnOnce(u64)> {
    body: Body,
    bytes: u64,
    then: Option<F>,
}

impl<F: FnOnce(u64)> Counted<F> {
    /// `then` is told the bytes when the body is dropped, whether or not it has ended.
    pub(super) fn new(body: Body, then: F) -> Self {
        Self {
            body,
            bytes: 0,
            then: Some(then),
        }
    }
}

impl<F: FnOnce(u64)> Drop for Counted<F> {
    fn drop(&mut self) {
        if let Some(then) = self.then.take() {
            then(self.bytes);
        }
    }
}

impl<F: FnOnce(u64) + Unpin> HttpBody for Counted<F> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            this.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
