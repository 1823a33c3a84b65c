//! Recording rules: from a query's answer to series of the rule's name.

use std::collections::{HashMap, HashSet};

use narthex_query::{SampleValue, VectorSample};
use narthex_storage::{Labels, METRIC_NAME};

use crate::{file::RuleConfig, group::Failure};

/// Remembers output labels by input labels, so that a steady rule builds no label set.
#[derive(Debug, Default)]
pub(crate) struct LabelCache {
    outputs: HashMap<Labels, Labels, foldhash::fast::RandomState>,
}

impl LabelCache {
    /// To be called before an evaluation that asks for so many inputs: forgets everything when much
    /// of it was not asked for.
    pub(crate) fn begin(&mut self, inputs: usize) {
        if self.outputs.len() > 2 * inputs + 64 {
            self.outputs.clear();
        }
    }

    /// The output labels of `input`, by `build` when they are not known.
    pub(crate) fn get(&mut self, input: &Labels, build: impl FnOnce() -> Labels) -> Labels {
        if let Some(labels) = self.outputs.get(input) {
            return labels.clone();
        }
        let labels = build();
        self.outputs.insert(input.clone(), labels.clone());
        labels
    }
}

/// The series to store, in the answer's order.
///
/// # Errors
/// When two of them would have the same labels, or there are more than `limit` (above 0).
pub(crate) fn record(
    rule: &RuleConfig,
    limit: i64,
    answer: &[VectorSample],
    cache: &mut LabelCache,
) -> Result<Vec<(Labels, SampleValue)>, Failure> {
    cache.begin(answer.len());
    let mut seen =
        HashSet::with_capacity_and_hasher(answer.len(), foldhash::fast::RandomState::default());
    let mut samples = Vec::with_capacity(answer.len());
    for element in answer {
        let labels = cache.get(&element.labels, || output_labels(rule, &element.labels));
        if !seen.insert(labels.clone()) {
            return Err(Failure::new(
                "vector contains metrics with the same labelset after applying rule labels",
            ));
        }
        samples.push((labels, element.value.clone()));
    }
    if limit > 0 && samples.len() as i64 > limit {
        return Err(Failure::new(format!(
            "exceeded limit of {limit} with {} series",
            samples.len()
        )));
    }
    Ok(samples)
}

fn output_labels(rule: &RuleConfig, input: &Labels) -> Labels {
    let mut builder = input.to_builder();
    builder.set(METRIC_NAME, rule.name());
    for (name, value) in &*rule.labels {
        builder.set(name, value);
    }
    builder.build()
}
