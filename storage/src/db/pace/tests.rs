//! Slices and rests on a clock that moves by the work and by the waits alone.

use std::cell::Cell;

use super::*;
use crate::Timestamp;

/// Milliseconds.
#[derive(Debug, Default)]
struct SetClock(std::sync::Mutex<Duration>);

impl SetClock {
    fn advance(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        0
    }

    fn monotonic(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

#[derive(Default)]
struct Waits<'a> {
    clock: Option<&'a SetClock>,
    /// A wait takes so much longer than it should.
    late: Duration,
    count: Cell<u32>,
    /// After so many waits the merge is to end.
    stop_after: Option<u32>,
}

impl Pace for Waits<'_> {
    fn is_stopped(&self) -> bool {
        self.stop_after.is_some_and(|most| self.count.get() >= most)
    }

    fn wait(&self, time: Duration) {
        self.count.set(self.count.get() + 1);
        if let Some(clock) = self.clock {
            clock.advance(time + self.late);
        }
    }
}

const TENTH: Duration = Duration::from_micros(100);

/// Works for a second of work in tenths of a millisecond while queries run in the first part of it, and
/// answers how long it waited.
fn waited_in_a_second(busy: Duration, late: Duration) -> Duration {
    let clock = SetClock::default();
    let pace = Waits {
        clock: Some(&clock),
        late,
        ..Waits::default()
    };
    let is_busy = || clock.monotonic() < busy;
    let mut throttle = Throttle::new(&clock, &pace, &is_busy);
    for _ in 0..10_000 {
        assert!(throttle.go_on());
        clock.advance(TENTH);
    }
    clock.monotonic().saturating_sub(Duration::from_secs(1))
}

#[test]
fn without_queries_a_merge_never_waits() {
    assert_eq!(
        waited_in_a_second(Duration::ZERO, Duration::ZERO),
        Duration::ZERO
    );
}

#[test]
fn with_queries_at_all_times_a_merge_has_a_tenth() {
    let waited = waited_in_a_second(Duration::MAX, Duration::ZERO);
    // 499 whole slices, each with nine times the rest.
    assert_eq!(waited, Duration::from_millis(499 * 18));
}

#[test]
fn naps_that_last_too_long_are_fewer() {
    let waited = waited_in_a_second(Duration::MAX, Duration::from_millis(6));
    // Of seven milliseconds each: three take the rest past its end.
    assert_eq!(waited, Duration::from_millis(499 * 21));
}

#[test]
fn a_rest_ends_with_the_last_query() {
    // Two milliseconds of work, and three of 18 of rest.
    let waited = waited_in_a_second(Duration::from_millis(5), Duration::ZERO);
    assert_eq!(waited, Duration::from_millis(3));
}

#[test]
fn a_merge_ends_in_the_middle_of_a_rest() {
    let clock = SetClock::default();
    let pace = Waits {
        clock: Some(&clock),
        stop_after: Some(2),
        ..Waits::default()
    };
    let mut throttle = Throttle::new(&clock, &pace, &|| true);
    clock.advance(SLICE);
    assert!(!throttle.go_on());
    assert_eq!(pace.count.get(), 2);
    assert!(!throttle.go_on());
    assert_eq!(pace.count.get(), 2, "who is stopped waits no more");
}

#[test]
fn a_rest_ends_though_the_clock_stands() {
    let clock = SetClock::default();
    let pace = Waits::default();
    let mut throttle = Throttle::new(&clock, &pace, &|| true);
    clock.advance(SLICE);
    assert!(throttle.go_on());
    assert_eq!(pace.count.get(), NAPS_MAX);
}
