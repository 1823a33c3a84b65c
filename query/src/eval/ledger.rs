//! How many samples a query holds and has looked at, as Prometheus counts them.
//!
//! A node holds its result until the node above has its own. One that is computed step by step holds, at each
//! step, what it was given for all steps, once more what it was given for this one, and its result up to
//! here ([`Evaluation::step_by_step`]); an aggregation nothing but what it was given; a function of range
//! vectors one window, and its result. What is looked at counts once for each step that uses it; of a
//! subquery only what lies in its windows.
//!
//! Source: the counters `currentSamples` and `samplesStats` of Prometheus's `promql/engine.go` at 3.5, and its
//! answers to `stats=all`.

use super::{Columns, Evaluation, Kept, Node, RangeRow, is_absent, too_many_samples};
use crate::QueryError;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    held: u64,
    peak: u64,
    /// The most samples that were asked for, at once.
    asked: u64,
    total: u64,
    /// What was looked at for each step of the outermost grid, if somebody asked and what runs is of that grid.
    steps: Option<Vec<u64>>,
    /// What the node that is computed step by step was given so far, at each step; `None` where there is no
    /// such node.
    inputs: Option<Vec<u64>>,
}

impl Ledger {
    /// `steps` of the outermost grid, if each is to be counted.
    pub(super) fn new(steps: Option<usize>) -> Self {
        Self {
            steps: steps.map(|steps| vec![0; steps]),
            ..Self::default()
        }
    }

    /// Samples looked at.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The most samples held at once.
    pub(super) fn peak(&self) -> u64 {
        self.peak
    }

    /// Samples looked at for each step; nothing unless asked for.
    pub(super) fn into_steps(self) -> Vec<u64> {
        self.steps.unwrap_or_default()
    }

    /// What an evaluation that began with nothing counted.
    pub(super) fn counted(self) -> Counted {
        Counted {
            held: self.held,
            peak: self.peak,
            asked: self.asked,
            total: self.total,
            steps: self.steps,
        }
    }

    fn rise(&mut self, held: u64) {
        self.peak = self.peak.max(held);
    }
}

impl Evaluation<'_> {
    /// Counts samples that the query holds from now on.
    pub(crate) fn hold(&mut self, samples: u64) -> Result<(), QueryError> {
        self.ledger.held = self.ledger.held.saturating_add(samples);
        self.ledger.rise(self.ledger.held);
        self.allow(self.ledger.held)
    }

    /// The samples held now; hand it to [`Evaluation::settle`] when what came since is gone.
    pub(crate) fn held(&self) -> u64 {
        self.ledger.held
    }

    /// Of what was held beyond `mark` only so many `samples` are left.
    pub(crate) fn settle(&mut self, mark: u64, samples: u64) {
        self.ledger.held = mark.saturating_add(samples);
        self.ledger.rise(self.ledger.held);
    }

    fn allow(&mut self, samples: u64) -> Result<(), QueryError> {
        self.ledger.asked = self.ledger.asked.max(samples);
        if samples > self.options.samples_max {
            return Err(too_many_samples());
        }
        Ok(())
    }

    /// Evaluates a node that Prometheus computes step by step from what [`Evaluation::eval`] gives it meanwhile.
    pub(crate) fn step_by_step(
        &mut self,
        evaluate: impl FnOnce(&mut Self) -> Result<Node, QueryError>,
    ) -> Result<Node, QueryError> {
        let mark = self.held();
        let outer = self.ledger.inputs.replace(Vec::new());
        let node = evaluate(self)?;
        let mut given = std::mem::replace(&mut self.ledger.inputs, outer).unwrap_or_default();
        let mut results = vec![0; node.steps()];
        node.add_samples(&mut results);
        given.resize(results.len(), 0);
        let operands = self.held();
        let mut total = 0;
        for (given, result) in given.iter().zip(results) {
            total += result;
            let held = operands.saturating_add(total).saturating_add(*given);
            self.ledger.rise(held);
            self.allow(held)?;
        }
        self.settle(mark, total);
        Ok(node)
    }

    /// Evaluates something that is no operand of the node that is computed step by step.
    pub(crate) fn not_as_input<T>(
        &mut self,
        evaluate: impl FnOnce(&mut Self) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        let outer = self.ledger.inputs.take();
        let value = evaluate(self)?;
        self.ledger.inputs = outer;
        Ok(value)
    }

    /// `node` is an operand of the node that is computed step by step, if there is one.
    pub(super) fn offer(&mut self, node: &Node) {
        self.offer_with(node.steps(), |counts| node.add_samples(counts));
    }

    /// [`Evaluation::offer`] of something that `add` adds to the samples of each of so many steps.
    pub(crate) fn offer_with(&mut self, steps: usize, add: impl FnOnce(&mut [u64])) {
        if let Some(inputs) = &mut self.ledger.inputs {
            inputs.resize(inputs.len().max(steps), 0);
            add(inputs);
        }
    }

    /// Evaluates what is of another grid; answers also how many samples it looked at, which are not counted.
    pub(super) fn apart<T>(
        &mut self,
        evaluate: impl FnOnce(&mut Self) -> Result<T, QueryError>,
    ) -> Result<(T, u64), QueryError> {
        let steps = self.ledger.steps.take();
        let total = std::mem::take(&mut self.ledger.total);
        let value = evaluate(self)?;
        self.ledger.steps = steps;
        let looked_at = std::mem::replace(&mut self.ledger.total, total);
        Ok((value, looked_at))
    }

    /// Evaluates something and tells what it counted.
    pub(super) fn counting<T>(
        &mut self,
        evaluate: impl FnOnce(&mut Self) -> Result<T, QueryError>,
    ) -> Result<(T, Counted), QueryError> {
        let before = std::mem::take(&mut self.ledger);
        self.ledger = Ledger {
            held: before.held,
            peak: before.held,
            asked: before.held,
            steps: before.steps.as_ref().map(|steps| vec![0; steps.len()]),
            ..Ledger::default()
        };
        let value = evaluate(self)?;
        let after = std::mem::replace(&mut self.ledger, before);
        let held = self.held();
        let counted = Counted {
            held: after.held.saturating_sub(held),
            peak: after.peak - held,
            asked: after.asked - held,
            total: after.total,
            steps: after.steps,
        };
        self.count_again(&counted);
        Ok((value, counted))
    }

    /// Whether what was counted may be counted again: of as many steps, and without going beyond the limit.
    pub(super) fn can_count(&self, counted: &Counted) -> bool {
        let asked = self.held().saturating_add(counted.asked);
        asked <= self.options.samples_max && self.ledger.steps.is_some() == counted.steps.is_some()
    }

    /// Counts what an evaluation counted.
    pub(super) fn count_again(&mut self, counted: &Counted) {
        let ledger = &mut self.ledger;
        let held = ledger.held;
        ledger.rise(held.saturating_add(counted.peak));
        ledger.asked = ledger.asked.max(held.saturating_add(counted.asked));
        ledger.held = held.saturating_add(counted.held);
        ledger.total += counted.total;
        let steps = ledger.steps.iter_mut().flatten();
        for (count, more) in steps.zip(counted.steps.iter().flatten()) {
            *count += more;
        }
    }

    /// So many samples were looked at for every one of so many steps.
    pub(super) fn look_always(&mut self, samples: u64, steps: usize) {
        self.ledger.total += samples * steps as u64;
        for count in self.ledger.steps.iter_mut().flatten() {
            *count += samples;
        }
    }

    /// An instant selector found these samples of a series, `taken` in all, and holds them.
    pub(super) fn look_at_samples(
        &mut self,
        columns: &Columns,
        newest: &[Option<u32>],
        taken: u64,
    ) -> Result<(), QueryError> {
        self.ledger.total += taken;
        for (count, index) in self.ledger.steps.iter_mut().flatten().zip(newest) {
            let Some(index) = *index else { continue };
            *count += match columns.histogram(index) {
                Some(histogram) => histogram.size_samples(),
                None => u64::from(!is_absent(columns.values[index as usize])),
            };
        }
        self.hold(taken)
    }

    /// One series of a range vector was looked at, a window at a time.
    pub(super) fn look_at_windows(
        &mut self,
        row: &RangeRow<'_>,
        windows: WindowSizes,
        kept: Kept,
    ) -> Result<(), QueryError> {
        let mut sizes = windows;
        let mut steps = self.ledger.steps.as_deref_mut();
        if steps.is_some() || !row.histograms.is_empty() {
            sizes = WindowSizes::default();
            for (step, bounds) in row.bounds.iter().enumerate() {
                let size = row.samples(*bounds);
                sizes.add(size);
                if let Some(count) = steps.as_mut().and_then(|steps| steps.get_mut(step)) {
                    *count += size;
                }
            }
        }
        self.ledger.total += sizes.total;
        let results = match kept {
            Kept::Results(results) => results,
            Kept::Windows => return self.hold(sizes.total),
        };
        self.allow(self.held().saturating_add(sizes.longest))?;
        self.ledger.held += results;
        let held = self.held().saturating_add(sizes.last);
        self.ledger.rise(held);
        self.allow(held)
    }
}

/// What an evaluation counted, see [`Ledger`]: what is held, beyond what was held before it.
#[derive(Debug, Default)]
pub(super) struct Counted {
    held: u64,
    peak: u64,
    asked: u64,
    total: u64,
    steps: Option<Vec<u64>>,
}

impl Counted {
    /// What two slices of the steps counted: no less than both as one would have held and asked for, and of what
    /// was looked at the same. Without counts of each step.
    pub(super) fn and(self, other: &Self) -> Self {
        Self {
            held: self.held.saturating_add(other.held),
            peak: self.peak.saturating_add(other.peak),
            asked: self.asked.saturating_add(other.asked),
            total: self.total + other.total,
            steps: None,
        }
    }
}

/// How many samples are in the windows of a series.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct WindowSizes {
    /// In all together.
    pub(super) total: u64,
    /// In the longest.
    pub(super) longest: u64,
    /// In the last.
    pub(super) last: u64,
}

impl WindowSizes {
    /// So many samples more are in each of so many windows.
    pub(super) fn add_to_each(&mut self, samples: u64, windows: usize) {
        self.total += samples * windows as u64;
        self.longest += samples;
        self.last += samples;
    }

    /// The next window.
    pub(super) fn add(&mut self, samples: u64) {
        self.total += samples;
        self.longest = self.longest.max(samples);
        self.last = samples;
    }
}
