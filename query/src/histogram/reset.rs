//! Whether a counter began anew between two histograms.
//!
//! **Source**: Prometheus's native histogram specification, section "Counter resets".

use narthex_storage::ResetHint;

use super::{
    Buckets, FloatHistogram,
    add::{common_bounds, onto_bounds},
    bounds::exponential,
};

impl FloatHistogram {
    /// Whether this histogram comes after a reset of the counter that stood at `previous`: some count fell, or
    /// the buckets are such as only a new beginning can bring. What the hint says is believed.
    pub(crate) fn is_reset_after(&self, previous: &Self) -> bool {
        match self.reset_hint {
            ResetHint::Reset => return true,
            ResetHint::NoReset => return false,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        if self.count < previous.count
            || self.has_custom_bounds() != previous.has_custom_bounds()
            || self.schema > previous.schema
            || self.zero_threshold < previous.zero_threshold
        {
            return true;
        }
        if self.has_custom_bounds() {
            return if *self.custom_bounds == *previous.custom_bounds {
                fell(&self.positive, &previous.positive)
            } else {
                let common = common_bounds(&self.custom_bounds, &previous.custom_bounds);
                let now = onto_bounds(&self.positive, &self.custom_bounds, &common);
                let before = onto_bounds(&previous.positive, &previous.custom_bounds, &common);
                now.iter().zip(&before).any(|(now, before)| now < before)
            };
        }
        let (zero_count, reach) = previous.widened(self.zero_threshold);
        if reach != self.zero_threshold || self.zero_count < zero_count {
            return true;
        }
        let within = |index: i32| exponential(index, self.schema) <= self.zero_threshold;
        let outside = |buckets: &Buckets, schema: i8| {
            let mut buckets = if schema == self.schema {
                buckets.clone()
            } else {
                buckets.reduced(schema, self.schema)
            };
            if self.zero_threshold != 0.0 {
                buckets.drop_while(within);
            }
            buckets
        };
        [
            (&self.positive, &previous.positive),
            (&self.negative, &previous.negative),
        ]
        .into_iter()
        .any(|(current, before)| {
            fell(
                &outside(current, self.schema),
                &outside(before, previous.schema),
            )
        })
    }
}

/// Whether some bucket counts less than before, or one that counted is gone. Behind the last bucket that there is
/// now only the first that was there before is looked at, as in Prometheus 3.5 and 3.13: a bucket that is named with
/// a count of zero hides those behind it.
fn fell(current: &Buckets, previous: &Buckets) -> bool {
    let mut current = current.iter().peekable();
    for (index, before) in previous.iter() {
        while current.next_if(|(own, _)| *own < index).is_some() {}
        let fell = match current.peek() {
            None => return before != 0.0,
            Some((own, count)) if *own == index => *count < before,
            Some(_) => before != 0.0,
        };
        if fell {
            return true;
        }
    }
    false
}
