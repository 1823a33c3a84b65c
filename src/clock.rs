//! Time for the async parts: what "now" is and how to wait for it.
//!
//! Everything that waits in the server waits on an [`AsyncClock`], so that tests run the whole
//! server on set time with [`SetClock`]: timers fire when the test advances the clock, in the order
//! of their deadlines, and no real time passes.

use std::{
    fmt::Debug,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use narthex_storage::{Clock, SystemClock, Timestamp};
use tokio::sync::watch;

/// A clock that can be waited on.
pub trait AsyncClock: Clock {
    /// Completes when [`Clock::monotonic`] has reached `deadline`; at once when it has passed.
    fn sleep_until(&self, deadline: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

impl AsyncClock for SystemClock {
    fn sleep_until(&self, deadline: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(
            deadline.saturating_sub(self.monotonic()),
        ))
    }
}

/// A clock that stands still until it is told to advance. Clones share the time.
#[derive(Debug, Clone)]
pub struct SetClock {
    state: Arc<Mutex<State>>,
    monotonic: watch::Sender<Duration>,
}

#[derive(Debug)]
struct State {
    now: Timestamp,
}

impl SetClock {
    /// A clock that shows `now` (milliseconds since the Unix epoch), its monotonic time zero.
    pub fn new(now: Timestamp) -> Self {
        let state = Arc::new(Mutex::new(State { now }));
        Self {
            state,
            monotonic: watch::Sender::new(Duration::ZERO),
        }
    }

    /// Moves wall clock and monotonic time forward together and wakes who waited.
    pub fn advance(&self, by: Duration) {
        self.lock().now += by.as_millis() as Timestamp;
        self.monotonic.send_modify(|monotonic| *monotonic += by);
    }

    /// Sets the wall clock alone, as an administrator or a time daemon would.
    pub fn set_wall(&self, now: Timestamp) {
        self.lock().now = now;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        self.lock().now
    }

    fn monotonic(&self) -> Duration {
        *self.monotonic.borrow()
    }
}

impl AsyncClock for SetClock {
    fn sleep_until(&self, deadline: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let mut receiver = self.monotonic.subscribe();
        Box::pin(async move {
            // The clock lives at least as long as the server that waits on it; a dropped clock
            // means nobody will ever advance it, so waiting ends.
            let _ended = receiver.wait_for(|monotonic| *monotonic >= deadline).await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleeper_wakes_when_its_deadline_is_reached_and_not_before() {
        let clock = SetClock::new(1_000);
        let mut sleep = clock.sleep_until(Duration::from_secs(10));
        clock.advance(Duration::from_secs(9));
        assert!(futures_poll(&mut sleep).await.is_none());
        clock.advance(Duration::from_secs(1));
        sleep.await;
        assert_eq!(clock.now(), 11_000);
        assert_eq!(clock.monotonic(), Duration::from_secs(10));
    }

    /// Polls once.
    async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        std::future::poll_fn(|context| match Pin::new(&mut *future).poll(context) {
            std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        })
        .await
    }
}
