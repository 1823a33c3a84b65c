//! Recording rules: from a query's answer to series of the rule's name.

use std::collections::{HashMap, HashSet};

use narthex_query::VectorSample;
use narthex_storage::{Labels, METRIC_NAME};

use crate::{file::RuleConfig, group::Failure};

/// Remembers output labels by input labels, so that a steady rule builds no label set.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    outputs: HashMap<Labels, Labels, foldhash::fast::RandomState>,
    /// Output labels of the evaluation at hand.
    seen: HashSet<Labels, foldhash::fast::RandomState>,
}

impl Recorder {
    /// The series to store, in the answer's order.
    ///
    /// # Errors
    /// When two of them would have the same labels, or there are more than `limit` (above 0).
    pub(crate) fn record(
        &mut self,
        rule: &RuleConfig,
        limit: i64,
        answer: &[VectorSample],
    ) -> Result<Vec<(Labels, f64)>, Failure> {
        if self.outputs.len() > 2 * answer.len() + 64 {
            self.outputs.clear();
        }
        self.seen.clear();
        let mut samples = Vec::with_capacity(answer.len());
        for element in answer {
            let labels = match self.outputs.get(&element.labels) {
                Some(labels) => labels.clone(),
                None => {
                    let labels = output_labels(rule, &element.labels);
                    self.outputs.insert(element.labels.clone(), labels.clone());
                    labels
                }
            };
            if !self.seen.insert(labels.clone()) {
                return Err(Failure::new(
                    "vector contains metrics with the same labelset after applying rule labels",
                ));
            }
            samples.push((labels, element.sample.value));
        }
        if limit > 0 && samples.len() as i64 > limit {
            return Err(Failure::new(format!(
                "exceeded limit of {limit} with {} series",
                samples.len()
            )));
        }
        Ok(samples)
    }
}

fn output_labels(rule: &RuleConfig, input: &Labels) -> Labels {
    let mut builder = input.to_builder();
    builder.set(METRIC_NAME, rule.name());
    for (name, value) in &*rule.labels {
        builder.set(name, value);
    }
    builder.build()
}
