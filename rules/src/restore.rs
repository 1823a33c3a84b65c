//! Restoring since when alerts are active after a restart, from `ALERTS_FOR_STATE`.
//!
//! Only rules whose `for` is at least the grace period are restored: others fire soon enough. An
//! alert that was firing fires again; one that was pending waits as long as it still had to when the
//! server went down, but never less than the grace period.
//!
//! **Source**: Prometheus `rules/group.go`, `RestoreForState`.

use std::collections::HashMap;

use narthex_storage::{
    Budget, Labels, METRIC_NAME, Matcher, Querier, ReadError, Sample, Select, Shape, TimeRange,
    Timestamp, Wants, is_stale_marker,
};

use crate::{
    alerting::{ALERT_NAME, ALERTS_FOR_STATE, Alerts, for_state_series, milliseconds},
    file::{AlertConfig, RuleConfig},
};

/// Restores the alerts of one rule as of `now`.
pub(crate) fn restore(
    querier: &dyn Querier,
    range: TimeRange,
    budget: &Budget,
    rule: &RuleConfig,
    config: &AlertConfig,
    grace_ms: i64,
    alerts: &mut Alerts,
) -> Result<(), ReadError> {
    if alerts.is_empty() {
        return Ok(());
    }
    let newest = newest_samples(querier, range, budget, rule)?;
    let hold_ms = milliseconds(config.hold);
    for (labels, alert) in alerts {
        let Some(sample) = newest.get(&for_state_series(rule, labels)) else {
            continue;
        };
        if !is_stale_marker(sample.value) {
            alert.active_at = active_at(*sample, hold_ms, grace_ms, range.max);
        }
    }
    Ok(())
}

/// Since when an alert counts as active at `now`, given the last sample that tells of it.
fn active_at(sample: Sample, hold_ms: i64, grace_ms: i64, now: Timestamp) -> Timestamp {
    let down_at = sample.time.div_euclid(1000) * 1000;
    let was_active_at = sample.value as i64 * 1000;
    let remaining_ms = hold_ms - (down_at - was_active_at);
    if remaining_ms <= 0 {
        // It was firing.
        was_active_at
    } else if remaining_ms < grace_ms {
        now + grace_ms - hold_ms
    } else {
        was_active_at + (now - down_at)
    }
}

fn newest_samples(
    querier: &dyn Querier,
    range: TimeRange,
    budget: &Budget,
    rule: &RuleConfig,
) -> Result<HashMap<Labels, Sample>, ReadError> {
    let matchers = [
        Matcher::equal(METRIC_NAME, ALERTS_FOR_STATE),
        Matcher::equal(ALERT_NAME, rule.name()),
    ];
    let request = Select {
        matchers: &matchers,
        range,
        limit: None,
        wants: Wants::Samples,
    };
    let selection = querier.select(&request, budget)?;
    let mut scan = selection.scan(range, budget);
    let mut newest = HashMap::new();
    let (mut times, mut values) = (Vec::new(), Vec::new());
    for (index, series) in selection.series().iter().enumerate() {
        if scan.seek(index)? == Shape::Empty {
            continue;
        }
        while let Some(run) = scan.next_run()? {
            times.resize(run.len(), 0);
            values.resize(run.len(), 0.0);
            run.times(&mut times)?;
            run.values(&mut values)?;
            let samples = times.iter().zip(&values).rev();
            let last = samples
                .map(|(time, value)| Sample {
                    time: *time,
                    value: *value,
                })
                .find(|sample| range.contains(sample.time));
            if let Some(sample) = last {
                newest.insert(series.labels.clone(), sample);
            }
        }
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worked by hand from upstream's arithmetic.
    #[test]
    fn the_time_left_at_the_crash_is_left_after_it() {
        const MINUTE: i64 = 60_000;
        let (hold, grace, now) = (30 * MINUTE, 10 * MINUTE, 1000 * MINUTE);
        let last = |time: i64, active_at: i64| Sample {
            time: time + 999,
            value: (active_at / 1000) as f64,
        };
        // Active for 40 of 30 minutes: it was firing.
        let fired = last(990 * MINUTE, 950 * MINUTE);
        assert_eq!(active_at(fired, hold, grace, now), 950 * MINUTE);
        // 5 minutes were left: it fires after the grace period.
        let nearly = last(990 * MINUTE, 965 * MINUTE);
        assert_eq!(active_at(nearly, hold, grace, now), 980 * MINUTE);
        // 20 minutes were left: it fires in 20 minutes.
        let early = last(990 * MINUTE, 980 * MINUTE);
        assert_eq!(active_at(early, hold, grace, now), 990 * MINUTE);
    }
}
