//! The answer as a stream of frames: a series, or a piece of one, as Prometheus's chunks.
//!
//! A frame is the length of its message (a varint), the CRC-32C of the message (four bytes, the highest
//! first) and the message. The store is read as fast as the client takes frames, a few ahead; one that
//! takes none for as long as a query may last is given up.

use std::{
    future::Future as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::Frame;
use narthex_storage::{
    Budget, ChunkWriter, HistogramColumns, Labels, PrometheusChunk, Queryable, Timestamp,
};
use prost::{Message as _, encoding::encode_varint};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::{
    Failure,
    message::{ChunkedReadResponse, ChunkedSeries, Label, WireChunk},
    series::{Lookup, Visitor},
};
use crate::api::{CancelOnDrop, State, Store};

/// Frames that wait for the client.
const FRAMES_WAITING: usize = 2;

/// What is streamed.
#[derive(Debug)]
pub(super) struct Plan {
    /// The queries, each answered after the one before.
    pub(super) lookups: Vec<Lookup>,
    /// Labels of this server.
    pub(super) external: Labels,
    /// How large the labels and the chunks of a frame may be before the chunk that goes beyond.
    pub(super) frame_bytes_max: usize,
}

/// Starts to read, and answers the body once its first frame is there. `held` is dropped when reading
/// has ended.
pub(super) async fn body(
    state: &Arc<State>,
    store: Store,
    plan: Plan,
    (budget, cancel): (Arc<Budget>, CancelOnDrop),
    held: impl Send + 'static,
) -> Result<Body, Failure> {
    let (sender, mut frames) = mpsc::channel(FRAMES_WAITING);
    let (end, outcome) = oneshot::channel();
    let (clock, patience) = (Arc::clone(&state.clock), state.settings.query_timeout);
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || {
        let mut send = |frame: Bytes| {
            let deadline = clock.monotonic() + patience;
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    sent = sender.send(frame) => sent.map_err(|_| Failure::ClientGone),
                    () = clock.sleep_until(deadline) => Err(Failure::ClientGone),
                }
            })
        };
        let written = plan.write(store.queryable.as_ref(), &budget, &mut send);
        if let Err(failure) = &written {
            tracing::warn!(error = %failure, "Remote read ended early");
        }
        // Nobody listens when the client left. The sender of frames goes after it, so that the outcome
        // is there when the frames end.
        let _nobody_listens = end.send(written);
        drop((sender, held));
    });
    let Some(first) = frames.recv().await else {
        outcome.await.unwrap_or(Err(Failure::Panic))?;
        return Ok(Body::empty());
    };
    Ok(Body::new(Frames {
        first: Some(first),
        later: frames,
        outcome,
        is_over: false,
        _cancel: cancel,
    }))
}

/// The frames of an answer.
struct Frames {
    first: Option<Bytes>,
    later: mpsc::Receiver<Bytes>,
    outcome: oneshot::Receiver<Result<(), Failure>>,
    is_over: bool,
    _cancel: CancelOnDrop,
}

impl hyper::body::Body for Frames {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = self.get_mut();
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if this.is_over {
            return Poll::Ready(None);
        }
        if let Some(frame) = ready!(this.later.poll_recv(context)) {
            return Poll::Ready(Some(Ok(Frame::data(frame))));
        }
        let outcome = ready!(Pin::new(&mut this.outcome).poll(context));
        this.is_over = true;
        // An error breaks the connection off.
        Poll::Ready(outcome.unwrap_or(Err(Failure::Panic)).err().map(Err))
    }
}

impl Plan {
    /// Hands the frames of all queries to `send`.
    pub(super) fn write(
        &self,
        queryable: &dyn Queryable,
        budget: &Budget,
        send: &mut dyn FnMut(Bytes) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        for (index, lookup) in self.lookups.iter().enumerate() {
            let mut frame = OpenFrame {
                message: ChunkedReadResponse {
                    chunked_series: vec![ChunkedSeries::default()],
                    query_index: index as i64,
                },
                chunks: ChunkWriter::new(),
                bytes_max: self.frame_bytes_max as i64,
                room: 0,
                left: 0,
                send,
            };
            lookup.read(queryable, &self.external, budget, &mut frame)?;
        }
        Ok(())
    }
}

/// The frame that is being filled.
struct OpenFrame<'a> {
    /// It has one series.
    message: ChunkedReadResponse,
    chunks: ChunkWriter,
    bytes_max: i64,
    /// Bytes for chunks of the series in one frame.
    room: i64,
    /// What is left of them.
    left: i64,
    send: &'a mut dyn FnMut(Bytes) -> Result<(), Failure>,
}

impl OpenFrame<'_> {
    fn add(&mut self, chunk: Option<PrometheusChunk>) -> Result<(), Failure> {
        let (Some(chunk), Some(series)) = (chunk, self.message.chunked_series.first_mut()) else {
            return Ok(());
        };
        let chunk = WireChunk::from(chunk);
        self.left -= chunk.encoded_len() as i64;
        series.chunks.push(chunk);
        if self.left <= 0 { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let message = self.message.encode_to_vec();
        let mut frame = Vec::with_capacity(message.len() + 9);
        encode_varint(message.len() as u64, &mut frame);
        frame.extend_from_slice(&crc32c::crc32c(&message).to_be_bytes());
        frame.extend_from_slice(&message);
        (self.send)(frame.into())?;
        if let Some(series) = self.message.chunked_series.first_mut() {
            series.chunks.clear();
        }
        self.left = self.room;
        Ok(())
    }
}

impl Visitor for OpenFrame<'_> {
    fn begin(&mut self, labels: Vec<Label>) {
        let label_bytes: usize = labels.iter().map(Label::encoded_len).sum();
        self.room = self.bytes_max - label_bytes as i64;
        self.left = self.room;
        if let Some(series) = self.message.chunked_series.first_mut() {
            series.labels = labels;
        }
    }

    fn float(&mut self, time: Timestamp, value: f64) -> Result<(), Failure> {
        match self.chunks.float(time, value) {
            None => Ok(()),
            chunk => self.add(chunk),
        }
    }

    fn histogram(
        &mut self,
        time: Timestamp,
        columns: &HistogramColumns,
        index: usize,
    ) -> Result<(), Failure> {
        let chunk = self.chunks.histogram(time, columns, index);
        self.add(chunk)
    }

    fn end(&mut self) -> Result<(), Failure> {
        let last = self.chunks.finish();
        self.add(last)?;
        let is_empty = |series: &ChunkedSeries| series.chunks.is_empty();
        if self.message.chunked_series.first().is_none_or(is_empty) {
            return Ok(());
        }
        self.flush()
    }
}
