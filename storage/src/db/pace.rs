//! How a merge gives way to queries.
//!
//! A merge works in slices of two milliseconds. Between two slices, while there are queriers, it rests:
//! until there are none, but no longer than nine times the slice. So a query shares the machine with the
//! first slice that it meets and with a tenth of the time after that, and a merge has at least a tenth of
//! the time that it would have alone, however many queries there are. With no queriers it never rests.
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::Clock;

/// The work between two looks at the queriers, at least.
const SLICE: Duration = Duration::from_millis(2);
/// One rest is made of such parts; after each it is looked whether there are queriers still.
const NAP: Duration = Duration::from_millis(1);
/// The naps after a slice, at most.
const NAPS_MAX: u32 = 18;

/// Whoever runs a merge: lets it wait, and ends it.
pub trait Pace {
    /// Whether the merge is to end now, with nothing done. Asked about every tenth of a millisecond of
    /// work, and after each wait.
    fn is_stopped(&self) -> bool;

    /// Waits so long, or about so long.
    fn wait(&self, time: Duration);
}

/// See the module.
pub(super) struct Throttle<'a> {
    clock: &'a dyn Clock,
    pace: &'a dyn Pace,
    /// Whether there is somebody to give way to.
    is_busy: &'a dyn Fn() -> bool,
    /// When the slice began, on the monotonic clock.
    began: Duration,
}

impl<'a> Throttle<'a> {
    /// A slice begins now.
    pub(super) fn new(
        clock: &'a dyn Clock,
        pace: &'a dyn Pace,
        is_busy: &'a dyn Fn() -> bool,
    ) -> Self {
        Self {
            clock,
            pace,
            is_busy,
            began: clock.monotonic(),
        }
    }

    /// Rests when it is time to; whether the merge is to go on.
    pub(super) fn go_on(&mut self) -> bool {
        if self.pace.is_stopped() {
            return false;
        }
        let now = self.clock.monotonic();
        if now.saturating_sub(self.began) < SLICE {
            return true;
        }
        // Counted in naps and by the clock: a thread of low priority is woken late.
        for _ in 0..NAPS_MAX {
            let rested = self.clock.monotonic().saturating_sub(now);
            if rested >= NAP * NAPS_MAX || !(self.is_busy)() {
                break;
            }
            self.pace.wait(NAP);
            if self.pace.is_stopped() {
                return false;
            }
        }
        self.began = self.clock.monotonic();
        true
    }
}
