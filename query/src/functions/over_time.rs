//! Functions of one window of one series.
//!
//! **Source**: sums, means and variances are compensated as in Prometheus.

use crate::eval::{Mean, add_exact, quantile};

/// One series' samples in the window of one step; at least one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window<'w> {
    /// Timestamps in milliseconds, ascending.
    pub(crate) times: &'w [i64],
    pub(crate) values: &'w [f64],
    /// The evaluation time in milliseconds.
    pub(crate) time: i64,
    /// The scalar arguments at this step, in order.
    pub(crate) params: [f64; 2],
}

impl Window<'_> {
    fn last(self) -> f64 {
        self.values[self.values.len() - 1]
    }
}

#[expect(clippy::unnecessary_wraps, reason = "every kernel has one signature")]
pub(crate) fn avg(window: Window<'_>) -> Option<f64> {
    let mut mean = Mean::of(window.values[0]);
    for value in &window.values[1..] {
        mean.add(*value);
    }
    Some(mean.finish())
}

#[expect(clippy::unnecessary_wraps, reason = "every kernel has one signature")]
pub(crate) fn sum(window: Window<'_>) -> Option<f64> {
    let (mut sum, mut compensation) = (0.0, 0.0);
    for value in window.values {
        (sum, compensation) = add_exact(*value, sum, compensation);
    }
    Some(if f64::is_infinite(sum) {
        sum
    } else {
        sum + compensation
    })
}

#[expect(clippy::unnecessary_wraps, reason = "every kernel has one signature")]
pub(crate) fn count(window: Window<'_>) -> Option<f64> {
    Some(window.values.len() as f64)
}

#[expect(clippy::unnecessary_wraps, reason = "every kernel has one signature")]
pub(crate) fn min(window: Window<'_>) -> Option<f64> {
    Some(window.values.iter().fold(f64::NAN, |least, value| {
        if *value < least || least.is_nan() {
            *value
        } else {
            least
        }
    }))
}

#[expect(clippy::unnecessary_wraps, reason = "every kernel has one signature")]
pub(crate) fn max(window: Window<'_>) -> Option<f64> {
    Some(window.values.iter().fold(f64::NAN, |most, value| {
        if *value > most || most.is_nan() {
            *value
        } else {
            most
        }
    }))
}

#[expect(clippy::unnecessary_wraps, reason = "every kernel has one signature")]
pub(crate) fn first(window: Window<'_>) -> Option<f64> {
    Some(window.values[0])
}

#[expect(clippy::unnecessary_wraps, reason = "every kernel has one signature")]
pub(crate) fn last(window: Window<'_>) -> Option<f64> {
    Some(window.last())
}

#[expect(clippy::unnecessary_wraps, reason = "every kernel has one signature")]
pub(crate) fn present(_: Window<'_>) -> Option<f64> {
    Some(1.0)
}

fn variance(values: &[f64]) -> f64 {
    let mut count = 0.0;
    let (mut mean, mut mean_rest) = (0.0, 0.0);
    let (mut squares, mut squares_rest) = (0.0, 0.0);
    for value in values {
        count += 1.0;
        let delta = value - (mean + mean_rest);
        (mean, mean_rest) = add_exact(delta / count, mean, mean_rest);
        let new_delta = value - (mean + mean_rest);
        (squares, squares_rest) = add_exact(delta * new_delta, squares, squares_rest);
    }
    (squares + squares_rest) / count
}

#[expect(clippy::unnecessary_wraps, reason = "every kernel has one signature")]
pub(crate) fn stdvar(window: Window<'_>) -> Option<f64> {
    Some(variance(window.values))
}

#[expect(clippy::unnecessary_wraps, reason = "every kernel has one signature")]
pub(crate) fn stddev(window: Window<'_>) -> Option<f64> {
    Some(variance(window.values).sqrt())
}

#[expect(clippy::unnecessary_wraps, reason = "every kernel has one signature")]
pub(crate) fn quantile_of(window: Window<'_>) -> Option<f64> {
    Some(quantile(window.params[0], &mut window.values.to_vec()))
}

/// The median distance from the median.
#[expect(clippy::unnecessary_wraps, reason = "every kernel has one signature")]
pub(crate) fn mad(window: Window<'_>) -> Option<f64> {
    let mut values = window.values.to_vec();
    if values.iter().any(|value| value.is_nan()) {
        return Some(f64::NAN);
    }
    let median = quantile(0.5, &mut values);
    for value in &mut values {
        *value = (*value - median).abs();
    }
    Some(quantile(0.5, &mut values))
}

#[expect(clippy::unnecessary_wraps, reason = "every kernel has one signature")]
pub(crate) fn changes(window: Window<'_>) -> Option<f64> {
    let pairs = window.values.windows(2);
    let changes =
        pairs.filter(|pair| pair[0] != pair[1] && !(pair[0].is_nan() && pair[1].is_nan()));
    Some(changes.count() as f64)
}

#[expect(clippy::unnecessary_wraps, reason = "every kernel has one signature")]
pub(crate) fn resets(window: Window<'_>) -> Option<f64> {
    let pairs = window.values.windows(2);
    Some(pairs.filter(|pair| pair[1] < pair[0]).count() as f64)
}

fn seconds(time: i64) -> f64 {
    time as f64 / 1000.0
}

#[expect(clippy::unnecessary_wraps, reason = "every kernel has one signature")]
pub(crate) fn ts_of_first(window: Window<'_>) -> Option<f64> {
    Some(seconds(window.times[0]))
}

#[expect(clippy::unnecessary_wraps, reason = "every kernel has one signature")]
pub(crate) fn ts_of_last(window: Window<'_>) -> Option<f64> {
    Some(seconds(window.times[window.times.len() - 1]))
}

/// The time of the last value that no earlier one beats.
fn ts_of(window: Window<'_>, beats: fn(f64, f64) -> bool) -> f64 {
    let mut best = 0;
    for (index, value) in window.values.iter().enumerate() {
        if beats(*value, window.values[best]) || window.values[best].is_nan() {
            best = index;
        }
    }
    seconds(window.times[best])
}

#[expect(clippy::unnecessary_wraps, reason = "every kernel has one signature")]
pub(crate) fn ts_of_max(window: Window<'_>) -> Option<f64> {
    Some(ts_of(window, |value, best| value >= best))
}

#[expect(clippy::unnecessary_wraps, reason = "every kernel has one signature")]
pub(crate) fn ts_of_min(window: Window<'_>) -> Option<f64> {
    Some(ts_of(window, |value, best| value <= best))
}

/// Holt's linear smoothing with the two factors.
pub(crate) fn smooth(window: Window<'_>) -> Option<f64> {
    let [smoothing, trending] = window.params;
    let (first, second) = (window.values.first()?, window.values.get(1)?);
    let (mut before, mut level, mut trend) = (0.0, *first, second - first);
    for (index, value) in window.values.iter().enumerate().skip(1) {
        if index > 1 {
            trend = trending * (level - before) + (1.0 - trending) * trend;
        }
        let next = smoothing * value + (1.0 - smoothing) * (level + trend);
        (before, level) = (level, next);
    }
    Some(level)
}

/// The difference of the last two values.
pub(crate) fn idelta(window: Window<'_>) -> Option<f64> {
    let before = window.values.len().checked_sub(2)?;
    Some(window.last() - window.values[before])
}

/// The rise by second between the last two values of a counter.
pub(crate) fn irate(window: Window<'_>) -> Option<f64> {
    let before = window.values.len().checked_sub(2)?;
    let (last, previous) = (window.last(), window.values[before]);
    let rise = if last < previous {
        last
    } else {
        last - previous
    };
    let interval_ms = window.times[before + 1] - window.times[before];
    Some(rise / (interval_ms as f64 / 1000.0))
}
