//! `load_with_nhcb`: classic histograms loaded as native ones with custom bounds, too.
//!
//! **Source**: Prometheus's conversion: the series `x_bucket`, `x_count` and `x_sum` that differ in `le` alone
//! become `x`; a bucket counts what its upper bound has beyond the one below it.

use std::{collections::BTreeMap, sync::Arc};

use narthex_storage::{CUSTOM_BUCKETS_SCHEMA, Labels, METRIC_NAME};

use super::values::{SeriesLine, Values};
use crate::{FloatHistogram, SampleValue, histogram::Buckets};

/// What is known of one histogram at one step.
#[derive(Debug, Default)]
struct Classic {
    /// Upper bound and cumulative count of each bucket.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: Option<f64>,
}

/// The native histograms of a load: labels, step and value, in the order of labels and steps.
pub(super) fn custom_buckets(lines: &[SeriesLine]) -> Vec<(Labels, usize, FloatHistogram)> {
    let mut found: BTreeMap<(Labels, usize), Classic> = BTreeMap::new();
    for line in lines {
        let Values::Samples(values) = &line.values else {
            continue;
        };
        let name = line.labels.metric_name();
        let Some((base, part)) = name.rsplit_once('_') else {
            continue;
        };
        let bound = line.labels.get("le").and_then(|bound| bound.parse().ok());
        if !matches!((part, bound), ("bucket", Some(_)) | ("count" | "sum", _)) {
            continue;
        }
        let mut labels = line.labels.to_builder();
        labels.set(METRIC_NAME, base).remove("le");
        let labels = labels.build();
        for (step, value) in values.iter().enumerate() {
            let Some(SampleValue::Float(value)) = value else {
                continue;
            };
            let classic = found.entry((labels.clone(), step)).or_default();
            match (part, bound) {
                ("bucket", Some(bound)) => classic.buckets.push((bound, *value)),
                ("count", _) => classic.count = Some(*value),
                _ => classic.sum = Some(*value),
            }
        }
    }
    found
        .into_iter()
        .filter(|(_, classic)| !classic.buckets.is_empty())
        .map(|((labels, step), classic)| (labels, step, classic.native()))
        .collect()
}

impl Classic {
    fn native(mut self) -> FloatHistogram {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        // Of bounds that are only written differently the first counts.
        self.buckets.dedup_by(|later, first| later.0 == first.0);
        let mut before = 0.0;
        let (mut bounds, mut counts) = (Vec::new(), Vec::new());
        for (bound, cumulative) in &self.buckets {
            if *bound < f64::INFINITY {
                bounds.push(*bound);
            }
            counts.push(cumulative - before);
            before = *cumulative;
        }
        let count = self.count.unwrap_or(before);
        if counts.len() == bounds.len() {
            counts.push(count - before);
        }
        FloatHistogram {
            schema: CUSTOM_BUCKETS_SCHEMA,
            count,
            sum: self.sum.unwrap_or_default(),
            positive: Buckets::new((0..counts.len() as i32).collect(), counts),
            custom_bounds: Arc::from(bounds),
            ..FloatHistogram::default()
        }
        .compact()
    }
}
