//! What `anchored` and `smoothed` make of the samples around a window, looked at one by one.
//!
//! **Source**: the documentation of Prometheus's extended range selectors; samples of one lookback before the window
//! tell of its start, with `smoothed` those of one lookback behind it of its end.

use narthex_query::{functions::FunctionId, parser::Edges};

use super::{Failure, LOOKBACK_MS, Samples};

/// A window with what lies around it; no staleness markers.
#[derive(Debug)]
pub(super) struct Edged {
    samples: Samples,
    edges: Edges,
    /// Exclusive.
    start: i64,
    /// Inclusive.
    end: i64,
}

impl Edged {
    pub(super) fn new(mut samples: Samples, edges: Edges, (start, end): (i64, i64)) -> Self {
        let ahead_ms = if edges == Edges::Smoothed {
            LOOKBACK_MS
        } else {
            0
        };
        samples.retain(|(at, _)| *at > start - LOOKBACK_MS && *at <= end + ahead_ms);
        Self {
            samples,
            edges,
            start,
            end,
        }
    }

    pub(super) fn value(&self, id: FunctionId) -> Result<Option<f64>, Failure> {
        let seconds = (self.end - self.start) as f64 / 1000.0;
        match (id, self.edges) {
            (FunctionId::Increase, _) => Ok(self.rise(true)),
            (FunctionId::Rate, _) => Ok(self.rise(true).map(|rise| rise / seconds)),
            (FunctionId::Delta, _) => Ok(self.rise(false)),
            (FunctionId::Resets, Edges::Anchored) => Ok(self.pairs(|before, after| after < before)),
            (FunctionId::Changes, Edges::Anchored) => {
                Ok(self
                    .pairs(|before, after| before != after && !(before.is_nan() && after.is_nan())))
            }
            _ => Err(Failure::Wrong),
        }
    }

    /// The sample that the window begins with: the last one not behind its start, or the first there is.
    fn base(&self) -> Option<(i64, f64)> {
        let newest = self.samples.last()?;
        if newest.0 <= self.start {
            return None;
        }
        let not_behind = self.samples.iter().rfind(|(at, _)| *at <= self.start);
        not_behind.or(self.samples.first()).copied()
    }

    fn pairs(&self, counts: impl Fn(f64, f64) -> bool) -> Option<f64> {
        let base = self.base()?;
        let samples = self.samples.iter().filter(|(at, _)| *at >= base.0);
        let values: Vec<f64> = samples.map(|(_, value)| *value).collect();
        let pairs = values.windows(2);
        Some(pairs.filter(|pair| counts(pair[0], pair[1])).count() as f64)
    }

    fn rise(&self, is_counter: bool) -> Option<f64> {
        let base = self.base()?;
        let (left, right) = if self.edges == Edges::Smoothed {
            if base.0 > self.end {
                return None;
            }
            let newest = self.samples.last()?;
            let left = if base.0 < self.start {
                on_line(&self.samples, self.start, is_counter)?
            } else {
                base.1
            };
            let right = if newest.0 > self.end {
                on_line(&self.samples, self.end, is_counter)?
            } else {
                newest.1
            };
            (left, right)
        } else {
            (base.1, self.samples.last()?.1)
        };
        let inside = |at: i64| at > self.start && at < self.end;
        let inside = self.samples.iter().filter(|(at, _)| inside(*at));
        let mut before = left;
        let mut lost = 0.0;
        for value in inside.map(|(_, value)| *value).chain([right]) {
            if is_counter && value < before {
                lost += before;
            }
            before = value;
        }
        Some(right - left + lost)
    }
}

/// The value at a time that lies at a sample or between two; a counter that fell between them was zero at the first.
fn on_line(samples: &Samples, time: i64, is_counter: bool) -> Option<f64> {
    let after = samples.iter().find(|(at, _)| *at >= time)?;
    if after.0 == time {
        return Some(after.1);
    }
    let before = samples.iter().rfind(|(at, _)| *at < time)?;
    let base = if is_counter && after.1 < before.1 {
        0.0
    } else {
        before.1
    };
    Some(base + (after.1 - base) * (time - before.0) as f64 / (after.0 - before.0) as f64)
}

/// What an instant selector with `smoothed` finds: the value on the line between two samples, that of the last one
/// when none follows within a lookback, and nothing before the first.
pub(super) fn smoothed(mut samples: Samples, time: i64) -> Option<f64> {
    samples.retain(|(at, _)| *at > time - LOOKBACK_MS && *at <= time + LOOKBACK_MS);
    let before = samples.iter().rfind(|(at, _)| *at <= time)?;
    on_line(&samples, time, false).or(Some(before.1))
}
