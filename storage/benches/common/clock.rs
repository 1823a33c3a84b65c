//! A clock that the bench moves.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use narthex_storage::{Clock, Timestamp};

/// Wall time and monotonic time are one number: milliseconds since the Unix epoch.
#[derive(Debug, Default)]
pub(crate) struct SetClock(AtomicI64);

impl SetClock {
    pub(crate) fn set(&self, now: Timestamp) {
        self.0.store(now, Ordering::Relaxed);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        self.0.load(Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed).try_into().unwrap_or(0))
    }
}
