//! An answer that leaves while it is printed.
//!
//! The thread that prints fills one buffer after the other, [`CHUNKS_WAITING`] ahead of the connection, which
//! takes the next one when it has written the last; written ones are filled again. An answer that ends within
//! the first one is handed on whole, with its length. An error can only be told before the first buffer leaves;
//! later only the connection can be broken off. Whoever takes nothing for as long as a query may last is given
//! up, and one that lets the printer wait for [`PLACE_PATIENCE`] loses its place among the running queries to
//! the next, not its answer.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::{
    runtime::Handle,
    sync::{
        OwnedSemaphorePermit,
        mpsc::{self, error::TrySendError},
        oneshot,
    },
};

use super::{
    ApiError, CancelOnDrop, ErrorType,
    handover::{Giver, Taker, hand_over},
};
use crate::clock::AsyncClock;

/// When a buffer leaves, which takes a hand-over between threads each time; together with the slack it is small
/// enough for the allocator to keep (`src/main.rs`).
const CHUNK_BYTES: usize = 224 << 10;

/// What may be printed between two looks at whether a buffer is full, without it growing.
const SLACK_BYTES: usize = 16 << 10;

/// From here on the first buffer has the room of all others.
const SMALL_BYTES: usize = 16 << 10;

/// Filled buffers that wait for the connection.
const CHUNKS_WAITING: usize = 2;

/// How long a query that waits for its client keeps its place.
const PLACE_PATIENCE: Duration = Duration::from_secs(1);

/// The body of an answer.
#[derive(Debug)]
pub(crate) enum Content {
    /// All of it; nothing means that there is no body.
    Whole(Vec<u8>),
    /// What is still being printed.
    Streamed(StreamedBody),
}

/// The client went away, or takes nothing.
#[derive(Debug)]
pub(crate) struct ClientGone;

impl From<ClientGone> for ApiError {
    fn from(_: ClientGone) -> Self {
        Self::new(ErrorType::Canceled, "the client does not read its answer")
    }
}

/// What printing needs of the server.
#[derive(Debug)]
pub(super) struct Means {
    /// The place among the running queries.
    pub(super) place: OwnedSemaphorePermit,
    /// For waiting.
    pub(super) clock: Arc<dyn AsyncClock>,
    /// For how long a client may take nothing.
    pub(super) patience: Duration,
}

/// Where an answer is printed.
pub(crate) struct AnswerWriter {
    out: Vec<u8>,
    leaving: Leaving,
    place: Option<OwnedSemaphorePermit>,
    clock: Arc<dyn AsyncClock>,
    patience: Duration,
    runtime: Handle,
}

/// What has left.
enum Leaving {
    /// Nothing yet: who waits for the answer.
    Nothing(Giver<Result<Content, ApiError>>),
    /// The first buffer at least.
    Begun {
        filled: mpsc::Sender<Bytes>,
        emptied: mpsc::UnboundedReceiver<Vec<u8>>,
        home: mpsc::UnboundedSender<Vec<u8>>,
        over: oneshot::Sender<()>,
    },
    /// Nobody waits for it.
    Gone,
}

impl AnswerWriter {
    /// A writer, and where its answer will be. To be made within the runtime.
    pub(super) fn new(means: Means) -> (Self, Taker<Result<Content, ApiError>>) {
        let (giver, answer) = hand_over();
        let writer = Self {
            out: Vec::new(),
            leaving: Leaving::Nothing(giver),
            place: Some(means.place),
            clock: means.clock,
            patience: means.patience,
            runtime: Handle::current(),
        };
        (writer, answer)
    }

    /// Where to append; call [`AnswerWriter::pass`] every few thousand bytes.
    pub(crate) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Hands on what is there if that is enough, and waits for an empty buffer.
    ///
    /// # Errors
    /// The client is gone.
    #[inline]
    pub(crate) fn pass(&mut self) -> Result<(), ClientGone> {
        if self.out.len() < SMALL_BYTES {
            return Ok(());
        }
        self.leave()
    }

    fn leave(&mut self) -> Result<(), ClientGone> {
        if self.out.len() < CHUNK_BYTES {
            let room = CHUNK_BYTES + SLACK_BYTES;
            self.out.reserve_exact(room - self.out.len());
            return Ok(());
        }
        self.begin()?;
        let chunk = std::mem::take(&mut self.out);
        self.send(chunk)?;
        if let Leaving::Begun { emptied, .. } = &mut self.leaving {
            let empty = || Vec::with_capacity(CHUNK_BYTES + SLACK_BYTES);
            self.out = emptied.try_recv().unwrap_or_else(|_| empty());
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), ClientGone> {
        match std::mem::replace(&mut self.leaving, Leaving::Gone) {
            Leaving::Nothing(waiting) => {
                let (filled, chunks) = mpsc::channel(CHUNKS_WAITING);
                let (home, emptied) = mpsc::unbounded_channel();
                let (over, ends) = oneshot::channel();
                let body = StreamedBody {
                    chunks,
                    ends,
                    is_over: false,
                    cancel: None,
                };
                let begun = waiting.give(Ok(Content::Streamed(body)));
                begun.map_err(|_| ClientGone)?;
                self.leaving = Leaving::Begun {
                    filled,
                    emptied,
                    home,
                    over,
                };
            }
            begun => self.leaving = begun,
        }
        Ok(())
    }

    /// Sends a filled buffer, once there is room for it.
    fn send(&mut self, bytes: Vec<u8>) -> Result<(), ClientGone> {
        let Leaving::Begun { filled, home, .. } = &self.leaving else {
            return Err(ClientGone);
        };
        let chunk = Bytes::from_owner(Chunk {
            bytes,
            home: home.clone(),
        });
        let chunk = match filled.try_send(chunk) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(_)) => return Err(ClientGone),
            Err(TrySendError::Full(chunk)) => chunk,
        };
        let began = self.clock.monotonic();
        let clock = &self.clock;
        let wait = |time: Duration| {
            self.runtime.block_on(async {
                tokio::select! {
                    biased;
                    room = filled.reserve() => Some(room.map_err(|_| ClientGone)),
                    () = clock.sleep_until(began.saturating_add(time)) => None,
                }
            })
        };
        let room = wait(PLACE_PATIENCE.min(self.patience)).or_else(|| {
            self.place = None;
            wait(self.patience)
        });
        room.unwrap_or(Err(ClientGone))?.send(chunk);
        Ok(())
    }

    /// Ends the answer; `held` goes before anybody learns of it.
    pub(super) fn finish(mut self, outcome: Result<(), ApiError>, held: impl Sized) {
        let outcome = match outcome {
            Ok(()) if matches!(self.leaving, Leaving::Begun { .. }) => {
                let chunk = std::mem::take(&mut self.out);
                self.send(chunk).map_err(ApiError::from)
            }
            outcome => outcome,
        };
        drop((self.place, held));
        match self.leaving {
            // Nobody listens when the client left.
            Leaving::Nothing(waiting) => {
                let _nobody_listens = waiting.give(outcome.map(|()| Content::Whole(self.out)));
            }
            Leaving::Begun { over, .. } => match outcome {
                Ok(()) => {
                    let _nobody_listens = over.send(());
                }
                Err(error) => {
                    tracing::debug!(error = %error.message, "An answer was broken off");
                }
            },
            Leaving::Gone => {}
        }
    }
}

/// A filled buffer, which goes back when it has left.
struct Chunk {
    bytes: Vec<u8>,
    home: mpsc::UnboundedSender<Vec<u8>>,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.bytes);
        buffer.clear();
        // The printer may have ended.
        let _not_needed = self.home.send(buffer);
    }
}

/// An answer that is being printed.
#[derive(Debug)]
pub(crate) struct StreamedBody {
    chunks: mpsc::Receiver<Bytes>,
    /// Told, before `chunks` ends, that they are all.
    ends: oneshot::Receiver<()>,
    is_over: bool,
    cancel: Option<CancelOnDrop>,
}

impl StreamedBody {
    /// Ends the query when the body is dropped.
    pub(super) fn canceling(mut self, cancel: CancelOnDrop) -> Self {
        self.cancel = Some(cancel);
        self
    }
}

/// The printer ended before its answer did.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off, the log says why")]
pub(crate) struct BrokenOff;

impl Body for StreamedBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(None);
        }
        if let Some(chunk) = ready!(this.chunks.poll_recv(context)) {
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        this.is_over = true;
        let is_whole = this.ends.try_recv().is_ok();
        Poll::Ready((!is_whole).then_some(Err(BrokenOff)))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}

#[cfg(test)]
mod tests {
    use axum::body::HttpBody as _;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::api::{
        State,
        test_support::{Site, gauge},
    };

    const FAR: Duration = Duration::from_hours(9);

    /// Bytes by which a mistake in their order would show.
    fn byte(index: usize) -> u8 {
        (index % 251) as u8
    }

    /// Prints so many bytes, a few at a time.
    fn write(writer: &mut AnswerWriter, bytes: usize) -> Result<(), ApiError> {
        for start in (0..bytes).step_by(1_000) {
            writer
                .out()
                .extend((start..bytes.min(start + 1_000)).map(byte));
            writer.pass()?;
        }
        Ok(())
    }

    async fn print(
        state: &State,
        work: impl FnOnce(&mut AnswerWriter) -> Result<(), ApiError> + Send + 'static,
    ) -> Result<Content, ApiError> {
        let work = move |_: &narthex_storage::Budget, _, writer: &mut AnswerWriter| work(writer);
        state.gate.print(state, FAR, work).await
    }

    async fn until(is_so: impl Fn() -> bool) {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn an_answer_is_whole_or_arrives_in_order() {
        let site = Site::with(|_| {});
        for bytes in [
            1,
            CHUNK_BYTES - 1_000,
            CHUNK_BYTES,
            CHUNK_BYTES + 1,
            3_000_000,
        ] {
            let content = print(&site.state, move |writer| write(writer, bytes)).await;
            let (body, is_whole) = match content.unwrap() {
                Content::Whole(body) => (body, true),
                Content::Streamed(body) => {
                    (body.collect().await.unwrap().to_bytes().to_vec(), false)
                }
            };
            assert_eq!(is_whole, bytes < CHUNK_BYTES, "{bytes}");
            assert!(body == (0..bytes).map(byte).collect::<Vec<u8>>(), "{bytes}");
        }
    }

    #[tokio::test]
    async fn an_error_is_told_before_the_first_byte_and_breaks_off_later() {
        let site = Site::with(|_| {});
        let failing = |bytes: usize| {
            print(&site.state, move |writer| {
                write(writer, bytes)?;
                Err(ApiError::bad_data("late"))
            })
        };
        assert_eq!(failing(10).await.unwrap_err().message, "late");
        let Content::Streamed(body) = failing(1_000_000).await.unwrap() else {
            panic!("1 MB is more than a chunk");
        };
        assert!(body.collect().await.is_err());
        let Content::Streamed(body) = print(&site.state, |writer| {
            write(writer, 1_000_000)?;
            panic!("on purpose");
        })
        .await
        .unwrap() else {
            panic!("1 MB is more than a chunk");
        };
        assert!(body.collect().await.is_err());
    }

    #[tokio::test]
    async fn a_client_that_leaves_ends_the_printing() {
        let site = Site::with(|_| {});
        let (ended, has_ended) = oneshot::channel();
        let content = print(&site.state, move |writer| {
            let outcome = write(writer, usize::MAX);
            ended.send(outcome.clone()).unwrap();
            outcome
        });
        let Content::Streamed(body) = content.await.unwrap() else {
            panic!("it never ends");
        };
        drop(body);
        assert_eq!(has_ended.await.unwrap(), Err(ClientGone.into()));
        until(|| gauge(&site, "prometheus_engine_queries") == "0").await;
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_loses_its_place_and_then_its_answer() {
        let site = Site::with(|settings| settings.query_timeout = Duration::from_mins(2));
        let mut stalled = Vec::new();
        // As many as there are places.
        for _ in 0..2 {
            let content = print(&site.state, |writer| write(writer, 3_000_000));
            let Content::Streamed(body) = content.await.unwrap() else {
                panic!("3 MB are more than a chunk");
            };
            stalled.push(body);
        }
        let mut next = Box::pin(print(&site.state, |writer| write(writer, 1)));
        let pending = tokio::time::timeout(Duration::from_millis(20), &mut next);
        assert!(pending.await.is_err(), "both places are taken");
        // The printers may only now come to wait.
        let next = loop {
            site.clock.advance(Duration::from_millis(500));
            if let Ok(content) = tokio::time::timeout(Duration::from_millis(1), &mut next).await {
                break content;
            }
        };
        assert!(matches!(next, Ok(Content::Whole(_))));
        assert_eq!(gauge(&site, "prometheus_engine_queries"), "2");
        let mut first = stalled.remove(0);
        let frame = first.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(frame.iter().copied().eq((0..frame.len()).map(byte)));
        assert_eq!(first.size_hint().exact(), None);
        // Each time that a buffer comes back the patience begins anew.
        drop(frame);
        while gauge(&site, "prometheus_engine_queries") != "0" {
            site.clock.advance(Duration::from_secs(30));
            tokio::task::yield_now().await;
        }
        for body in stalled.into_iter().chain([first]) {
            assert!(body.collect().await.is_err(), "it was given up");
        }
    }
}
