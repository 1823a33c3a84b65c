//! Reads run here: on the blocking pool, so many at a time, with a deadline, and no longer than the
//! client listens.
//!
//! Queries wait for one of `--query.max-concurrency` places, label and series reads for one of as
//! many of their own, so that a dashboard full of slow queries does not keep a person from choosing
//! a label.

use std::{sync::Arc, time::Duration};

use narthex_storage::{Budget, SharedBytes};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    ApiError, ErrorType, State,
    handover::hand_over,
    streamed::{AnswerWriter, Content, Means},
};
use crate::self_metrics::{Gauge, Registry};

/// Places for reads.
#[derive(Debug)]
pub struct Gate {
    queries: Arc<Semaphore>,
    lookups: Arc<Semaphore>,
    bytes_max: u64,
    bytes: Arc<SharedBytes>,
    running: Gauge,
}

/// What a read is, which says where it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    /// An evaluation.
    Query,
    /// Labels, series, statistics.
    Lookup,
}

/// Cancels the read when the client goes away: a dropped connection drops the handler, and that
/// drops this.
#[derive(Debug)]
pub(crate) struct CancelOnDrop(Arc<Budget>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Gate {
    /// At most `concurrency` queries at a time, each with at most `bytes_max` bytes of columns, and all reads
    /// together with at most `bytes_all`.
    pub fn new(concurrency: usize, bytes_max: u64, bytes_all: u64, registry: &Registry) -> Self {
        registry
            .gauge(
                "prometheus_engine_queries_concurrent_max",
                "The max number of concurrent queries.",
            )
            .set(concurrency as f64);
        Self {
            queries: Arc::new(Semaphore::new(concurrency)),
            lookups: Arc::new(Semaphore::new(concurrency)),
            bytes_max,
            bytes: Arc::new(SharedBytes::new(bytes_all)),
            running: registry.gauge(
                "prometheus_engine_queries",
                "The current number of queries being executed or waiting.",
            ),
        }
    }

    /// What a read may use, and what ends it.
    pub(crate) fn budget(&self) -> (Arc<Budget>, CancelOnDrop) {
        let budget = Arc::new(Budget::sharing(self.bytes_max, Arc::clone(&self.bytes)));
        let cancel = CancelOnDrop(Arc::clone(&budget));
        (budget, cancel)
    }

    /// Runs `work` on the blocking pool once there is a place. It is given its budget and how long
    /// it waited.
    ///
    /// # Errors
    /// Those of `work`; a timeout when `deadline` (monotonic) passes in the queue.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        state: &State,
        read: Read,
        deadline: Duration,
        work: impl FnOnce(&Budget, Duration) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let (place, running, waited) = self.admit(state, read, deadline).await?;
        let (budget, cancel) = self.budget();
        let (giver, taker) = hand_over();
        tokio::task::spawn_blocking(move || {
            let answer = work(&budget, waited);
            // The place is given back only now: a client that left does not make room for the next
            // query before this one has ended.
            drop((budget, place, running));
            let _nobody_listens = giver.give(answer);
        });
        let answer = taker.take().await.unwrap_or_else(panicked);
        drop(cancel);
        answer
    }

    /// As [`Gate::run`] for a query whose answer leaves while it is printed. The bytes are given back with the
    /// last byte, and the place too, unless the client has let the printer wait for so long that others get it.
    ///
    /// # Errors
    /// As [`Gate::run`], unless a part of the answer has left before.
    pub(crate) async fn print(
        &self,
        state: &State,
        deadline: Duration,
        work: impl FnOnce(&Budget, Duration, &mut AnswerWriter) -> Result<(), ApiError> + Send + 'static,
    ) -> Result<Content, ApiError> {
        let (place, running, waited) = self.admit(state, Read::Query, deadline).await?;
        let (budget, cancel) = self.budget();
        let (mut writer, answer) = AnswerWriter::new(Means {
            place,
            clock: Arc::clone(&state.clock),
            patience: state.settings.query_timeout,
        });
        tokio::task::spawn_blocking(move || {
            let outcome = work(&budget, waited, &mut writer);
            writer.finish(outcome, (budget, running));
        });
        let content = answer.take().await.unwrap_or_else(panicked)?;
        Ok(match content {
            Content::Streamed(body) => Content::Streamed(body.canceling(cancel)),
            whole @ Content::Whole(_) => whole,
        })
    }

    /// Waits for a place; answers also how long that took.
    async fn admit(
        &self,
        state: &State,
        read: Read,
        deadline: Duration,
    ) -> Result<(OwnedSemaphorePermit, Option<Running>, Duration), ApiError> {
        let places = match read {
            Read::Query => &self.queries,
            Read::Lookup => &self.lookups,
        };
        let running = (read == Read::Query).then(|| Running::new(&self.running));
        let began = state.clock.monotonic();
        let place = tokio::select! {
            biased;
            place = Arc::clone(places).acquire_owned() => place.expect("the gate is never closed"),
            () = state.clock.sleep_until(deadline) => {
                return Err(ApiError::new(
                    ErrorType::Timeout,
                    "query timed out in query queue",
                ));
            }
        };
        let waited = state.clock.monotonic().saturating_sub(began);
        if read == Read::Query {
            state.metrics.queue_seconds.observe(waited.as_secs_f64());
        }
        Ok((place, running, waited))
    }
}

/// What comes of a read whose thread panicked.
fn panicked<T>() -> Result<T, ApiError> {
    tracing::error!("a read ended in a panic");
    Err(ApiError::new(
        ErrorType::Internal,
        "unexpected error: the read ended in a panic, the log has its message",
    ))
}

/// Counts a query from its arrival to its end.
#[derive(Debug)]
struct Running(Gauge);

impl Running {
    fn new(gauge: &Gauge) -> Self {
        gauge.add(1.0);
        Self(gauge.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.add(-1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_of_one_time_share_the_bytes_of_all() {
        let gate = Gate::new(2, 80, 100, &Registry::new());
        let (one, first_share) = gate.budget();
        let (other, _second_share) = gate.budget();
        assert!(one.charge(81).is_err());
        one.charge(70).unwrap();
        assert!(other.charge(31).is_err());
        drop((one, first_share));
        other.charge(80).unwrap();
    }
}
