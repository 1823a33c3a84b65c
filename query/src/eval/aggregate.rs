//! Aggregations: rows of the input stream into one accumulator a group and step, in label order.

use std::collections::HashMap;

use narthex_storage::{Labels, METRIC_NAME};

use crate::{
    FloatStyle, Grid, QueryError,
    annotations::Remark,
    format_float,
    functions::{greater, lesser},
    parser::{Aggregate, AggregateOp, Span},
};

use super::{
    ABSENT, Evaluation, Frame, HistogramCell, Mean, Naming, Node, Row, add_exact, add_finite,
    frame::{Merge, hasher},
    histogram_column::HistogramColumn,
    internal, is_absent,
};

impl Evaluation<'_> {
    #[inline(never)]
    pub(crate) fn aggregate(
        &mut self,
        aggregate: &Aggregate,
        span: Span,
        grid: Grid,
    ) -> Result<Node, QueryError> {
        if aggregate.op == AggregateOp::CountValues {
            return self.step_by_step(|evaluation| {
                evaluation.count_values(aggregate, grid).map(Node::Vector)
            });
        }
        let mark = self.held();
        let frame = match aggregate.op {
            AggregateOp::Topk
            | AggregateOp::Bottomk
            | AggregateOp::Limitk
            | AggregateOp::LimitRatio => self.select_k(aggregate, span, grid)?,
            AggregateOp::Quantile => self.quantile(aggregate, grid)?,
            _ => self.accumulate(aggregate, grid)?,
        };
        self.settle(mark, frame.samples());
        Ok(Node::Vector(frame))
    }

    fn accumulate(&mut self, aggregate: &Aggregate, grid: Grid) -> Result<Frame, QueryError> {
        let steps = grid.steps();
        let mut groups = Groups::new(aggregate);
        let mut accumulators: Vec<Accumulator> = Vec::new();
        let mut sums: Vec<HistogramColumn> = Vec::new();
        let op = aggregate.op;
        let charge = self.charger();
        let mut saw_histograms = false;
        self.rows(&aggregate.expr, grid, &mut |labels, naming, row| {
            let group = groups.find(labels, naming, row.place);
            if group == accumulators.len() {
                charge(steps as u64)?;
                accumulators.push(Accumulator::new(op, steps));
                sums.push(HistogramColumn::default());
            }
            accumulators[group].add(row.floats);
            if row.histograms.iter().any(Option::is_some) {
                saw_histograms = true;
                match op {
                    AggregateOp::Sum | AggregateOp::Avg => {
                        let labels = naming.labels(labels);
                        charge(sums[group].add(op == AggregateOp::Avg, &labels, row))?;
                    }
                    AggregateOp::Count | AggregateOp::Group => {
                        accumulators[group].add_present(row.histograms);
                    }
                    _ => {}
                }
            }
            Ok(())
        })?;
        let span = aggregate.expr.without_parens().span;
        if saw_histograms && let Some(name) = name_of_numbers(op) {
            self.notes
                .say(Remark::IgnoredInAggregation(name).say(), span);
        }
        let mut frame = Frame::new(steps);
        for ((accumulator, sum), group) in accumulators.into_iter().zip(sums).zip(groups.list) {
            self.check()?;
            let mut floats = accumulator.finish();
            let mut remarks = Vec::new();
            let histograms = sum.finish(&mut floats, &mut remarks);
            for remark in remarks {
                self.notes.say(remark, span);
            }
            let row = Row {
                floats: &floats,
                histograms: &histograms,
                place: group.place,
            };
            if saw_histograms && row.is_empty() {
                continue;
            }
            frame.push(group.labels, group.drop_name, row);
        }
        Ok(frame)
    }

    fn quantile(&mut self, aggregate: &Aggregate, grid: Grid) -> Result<Frame, QueryError> {
        let param = aggregate
            .param
            .as_ref()
            .ok_or_else(|| internal("quantile has a parameter"))?;
        let ratios = self.scalar(param, grid)?;
        let steps = grid.steps();
        let mut input = self.vector(&aggregate.expr, grid)?;
        let span = param.without_parens().span;
        let nan = ratios.iter().copied().find(|ratio| ratio.is_nan());
        let greatest = Some(greatest(&ratios)).filter(|ratio| *ratio > 1.0);
        let least = Some(least(&ratios)).filter(|ratio| *ratio < 0.0);
        for ratio in [nan, greatest, least].into_iter().flatten() {
            self.check_quantile(ratio, span);
        }
        if input.has_histograms() {
            self.notes.say(
                Remark::IgnoredInAggregation("quantile").say(),
                aggregate.expr.without_parens().span,
            );
            input.drop_histograms();
            input = input.drop_empty_rows();
        }
        let mut groups = Groups::new(aggregate);
        let members = groups.members(&input);
        let mut frame = Frame::new(steps);
        // So many steps at a time, for the cells of a row lie side by side.
        let mut columns: [Vec<f64>; 8] = Default::default();
        let mut out = vec![ABSENT; steps];
        for (rows, group) in members.iter().zip(&groups.list) {
            self.check()?;
            for start in (0..steps).step_by(columns.len()) {
                let end = steps.min(start + columns.len());
                columns.iter_mut().for_each(Vec::clear);
                for row in rows {
                    let cells = &input.row(*row).floats[start..end];
                    for (values, cell) in columns.iter_mut().zip(cells) {
                        if !is_absent(*cell) {
                            values.push(*cell);
                        }
                    }
                }
                for (values, step) in columns.iter_mut().zip(start..end) {
                    out[step] = if values.is_empty() {
                        ABSENT
                    } else {
                        quantile(ratios[step], values)
                    };
                }
            }
            let row = Row::floats(&out).at(group.place);
            frame.push(group.labels.clone(), group.drop_name, row);
        }
        Ok(frame)
    }

    /// Warns of a quantile outside 0 to 1.
    pub(crate) fn check_quantile(&mut self, ratio: f64, span: Span) {
        if !is_quantile(ratio) {
            self.notes.warn(
                format!(
                    "quantile value should be between 0 and 1, got {}",
                    format_float(ratio, FloatStyle::General)
                ),
                span,
            );
        }
    }

    fn count_values(&mut self, aggregate: &Aggregate, grid: Grid) -> Result<Frame, QueryError> {
        let param = aggregate
            .param
            .as_ref()
            .ok_or_else(|| internal("count_values has a parameter"))?;
        let name = self.text(param, grid)?;
        if !param.is_label_name() {
            // As printed, with the bytes of the literal.
            return Err(QueryError::Execution(format!(
                "invalid label name {}",
                param.without_parens()
            )));
        }
        let steps = grid.steps();
        let input = self.vector(&aggregate.expr, grid)?;
        // One group a distinct value of a group of rows; the value is one of its labels, so that
        // `by` and `without` see it too.
        let mut groups = Groups::new(aggregate);
        let keeps_value = aggregate.without != aggregate.grouping.contains(&name);
        if !aggregate.without && !aggregate.grouping.contains(&name) {
            groups.names.push(name.clone());
        }
        let mut counts = Merge::new(steps);
        let mut by_value: HashMap<(usize, Counted), usize, _> = HashMap::with_hasher(hasher());
        let empty = vec![ABSENT; steps];
        for (head, row) in input.iter() {
            self.check()?;
            let plain = {
                let mut builder = head.labels.to_builder();
                builder.remove(&name);
                builder.build()
            };
            let group = groups.find(&plain, Naming::of(head.drop_name), row.place);
            for step in 0..steps {
                let Some(value) = Counted::of(row, step) else {
                    continue;
                };
                let index = match by_value.get(&(group, value.clone())) {
                    Some(index) => {
                        let place = &mut counts.frame.heads[*index].place;
                        *place = row.place.min(*place);
                        *index
                    }
                    None => {
                        self.charge(steps as u64)?;
                        let mut builder = groups.list[group].labels.to_builder();
                        if keeps_value || !aggregate.without {
                            builder.set(&name, &value.print());
                        }
                        let empty = Row::floats(&empty).at(row.place);
                        let index = counts.add(&builder.build(), head.drop_name, empty)?;
                        by_value.insert((group, value), index);
                        index
                    }
                };
                let count = &mut counts.frame.floats_mut(index)[step];
                *count = if is_absent(*count) { 1.0 } else { *count + 1.0 };
            }
        }
        Ok(counts.frame)
    }
}

/// A value that is counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Counted {
    /// The bits of a number.
    Float(u64),
    /// A histogram as it is printed.
    Histogram(String),
}

impl Counted {
    fn of(row: Row<'_>, step: usize) -> Option<Self> {
        if let Some(histogram) = row.histogram(step) {
            return Some(Self::Histogram(histogram.to_string()));
        }
        let value = row.floats[step];
        let bits = if value.is_nan() { f64::NAN } else { value }.to_bits();
        (!is_absent(value)).then_some(Self::Float(bits))
    }

    fn print(&self) -> String {
        match self {
            Self::Float(bits) => format_float(f64::from_bits(*bits), FloatStyle::Decimal),
            Self::Histogram(text) => text.clone(),
        }
    }
}

/// The name of an aggregation that takes in numbers alone.
fn name_of_numbers(op: AggregateOp) -> Option<&'static str> {
    match op {
        AggregateOp::Min => Some("min"),
        AggregateOp::Max => Some("max"),
        AggregateOp::Stddev => Some("stddev"),
        AggregateOp::Stdvar => Some("stdvar"),
        _ => None,
    }
}

/// Whether the number is a quantile that values can have.
pub(crate) fn is_quantile(ratio: f64) -> bool {
    (0.0..=1.0).contains(&ratio)
}

/// The greatest number; NaN if there is one and no infinity, or nothing.
pub(super) fn greatest(values: &[f64]) -> f64 {
    values.iter().copied().reduce(greater).unwrap_or(f64::NAN)
}

/// The least number; NaN if there is one and no negative infinity, or nothing.
pub(super) fn least(values: &[f64]) -> f64 {
    values.iter().copied().reduce(lesser).unwrap_or(f64::NAN)
}

/// The quantile of values, of which there is at least one, in the order in which NaN comes first; they are
/// brought into another order.
///
/// **Source**: linear interpolation between the two nearest ranks, as in Prometheus.
pub(crate) fn quantile(ratio: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || ratio.is_nan() {
        return f64::NAN;
    }
    if ratio < 0.0 {
        return f64::NEG_INFINITY;
    }
    if ratio > 1.0 {
        return f64::INFINITY;
    }
    // Where equal values have the same bits, nothing but the two values at the rank is looked for.
    let is_odd = |value: &f64| value.is_nan() || value.to_bits() == (-0.0_f64).to_bits();
    if values.iter().any(is_odd) {
        values.sort_by(|a, b| {
            b.is_nan()
                .cmp(&a.is_nan())
                .then(a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal))
        });
    } else {
        let (lower, upper, weight) = ranks(ratio, values.len());
        let (_, at_lower, above) = values.select_nth_unstable_by(lower, f64::total_cmp);
        let at_upper = if upper == lower {
            *at_lower
        } else {
            above.iter().copied().fold(f64::INFINITY, f64::min)
        };
        return between(*at_lower, at_upper, weight);
    }
    quantile_of_sorted(ratio, values)
}

/// Between which of so many sorted values a quantile lies, and the weight of the upper one.
fn ranks(ratio: f64, count: usize) -> (usize, usize, f64) {
    let last = count as f64 - 1.0;
    let rank = ratio * last;
    let lower = rank.floor().max(0.0);
    let upper = (lower + 1.0).min(last);
    (lower as usize, upper as usize, rank - rank.floor())
}

fn between(lower: f64, upper: f64, weight: f64) -> f64 {
    lower * (1.0 - weight) + upper * weight
}

/// The quantile between 0 and 1 of sorted values, of which there is at least one.
pub(crate) fn quantile_of_sorted(ratio: f64, values: &[f64]) -> f64 {
    let (lower, upper, weight) = ranks(ratio, values.len());
    between(values[lower], values[upper], weight)
}

/// A group of an aggregation.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) labels: Labels,
    pub(crate) drop_name: bool,
    /// That of the first of its rows, see [`Row::place`].
    pub(crate) place: u64,
}

/// Finds the group of a series; each distinct set of grouping labels is built once.
#[derive(Debug)]
pub(crate) struct Groups {
    names: Vec<String>,
    without: bool,
    key: Vec<u8>,
    by_key: HashMap<Box<[u8]>, usize, foldhash::fast::RandomState>,
    pub(crate) list: Vec<Group>,
}

impl Groups {
    pub(crate) fn new(aggregate: &Aggregate) -> Self {
        Self {
            names: aggregate.grouping.clone(),
            without: aggregate.without,
            key: Vec::new(),
            by_key: HashMap::with_hasher(hasher()),
            list: Vec::new(),
        }
    }

    /// The number of the series' group; a new one is the last of the list.
    pub(crate) fn find(&mut self, labels: &Labels, naming: Naming, place: u64) -> usize {
        let (names, without) = (&self.names, self.without);
        let keeps = |name: &[u8]| {
            let listed = names.iter().any(|candidate| candidate.as_bytes() == name);
            let is_kept = if without {
                !listed && name != METRIC_NAME.as_bytes()
            } else {
                listed
            };
            is_kept && naming.keeps(name)
        };
        let drop_name = naming.drop_name();
        self.key.clear();
        labels.push_filtered(keeps, &mut self.key);
        if let Some(group) = self.by_key.get(self.key.as_slice()) {
            let known = &mut self.list[*group];
            known.drop_name |= drop_name;
            known.place = known.place.min(place);
            return *group;
        }
        let group = self.list.len();
        self.by_key.insert(self.key.as_slice().into(), group);
        self.list.push(Group {
            labels: labels.filtered(keeps),
            drop_name,
            place,
        });
        group
    }

    /// The rows of each group of a frame.
    pub(crate) fn members(&mut self, input: &Frame) -> Vec<Vec<usize>> {
        let mut members: Vec<Vec<usize>> = Vec::new();
        for (index, head) in input.heads.iter().enumerate() {
            let group = self.find(&head.labels, Naming::of(head.drop_name), head.place);
            if group == members.len() {
                members.push(Vec::new());
            }
            members[group].push(index);
        }
        members
    }
}

/// One group's state at every step.
#[derive(Debug)]
enum Accumulator {
    Sum {
        sums: Vec<f64>,
        compensations: Vec<f64>,
        /// Whether no row was added yet.
        is_new: bool,
    },
    Mean(MeanColumn),
    Count(Vec<f64>),
    Min(Vec<f64>),
    Max(Vec<f64>),
    Group(Vec<f64>),
    Deviation {
        states: Vec<Welford>,
        root: bool,
    },
}

/// The sum and compensation with one more cell, both absent at first. Everything is computed and then chosen
/// from, so that a loop over steps has no branches.
#[inline]
fn add_present(value: f64, sum: f64, compensation: f64) -> (f64, f64) {
    let (total, rest) = add_exact(value, sum, compensation);
    let (total, rest) = if is_absent(sum) {
        (value, compensation)
    } else {
        (total, rest)
    };
    if is_absent(value) {
        (sum, compensation)
    } else {
        (total, rest)
    }
}

/// Adds a row to sums and compensations, cell by cell, all absent at first. Of each stretch of steps it is first
/// found out whether the quick way does; in neither does a step wait for another.
fn add_row(sums: &mut [f64], compensations: &mut [f64], row: &[f64]) {
    const STRETCH: usize = 64;
    /// Sums of numbers up to this do not overflow; what is absent is no number.
    const SAFE_MAX: f64 = 1e300;
    let stretches = sums
        .chunks_mut(STRETCH)
        .zip(compensations.chunks_mut(STRETCH))
        .zip(row.chunks(STRETCH));
    for ((sums, compensations), row) in stretches {
        let are_safe = (sums.iter().zip(row)).fold(1, |are_safe, (sum, value)| {
            are_safe & u64::from(sum.abs() + value.abs() <= SAFE_MAX)
        });
        let cells = sums.iter_mut().zip(compensations).zip(row);
        if are_safe == 1 {
            for ((sum, compensation), value) in cells {
                (*sum, *compensation) = add_finite(*value, *sum, *compensation);
            }
        } else {
            for ((sum, compensation), value) in cells {
                (*sum, *compensation) = add_present(*value, *sum, *compensation);
            }
        }
    }
}

/// A running mean a step, see [`Mean`].
#[derive(Debug)]
enum MeanColumn {
    /// As long as no sum overflows.
    Sums {
        sums: Vec<f64>,
        compensations: Vec<f64>,
        counts: Vec<f64>,
    },
    Means(Vec<Option<Mean>>),
}

impl MeanColumn {
    fn new(steps: usize) -> Self {
        Self::Sums {
            sums: vec![ABSENT; steps],
            compensations: vec![0.0; steps],
            counts: vec![0.0; steps],
        }
    }

    fn add(&mut self, row: &[f64]) {
        if let Self::Sums {
            sums,
            compensations,
            counts,
        } = self
        {
            let pairs = sums.iter().zip(row);
            if pairs.fold(false, |any, (sum, value)| any | (sum + value).is_infinite()) {
                let sums = sums.iter().zip(compensations.iter()).zip(counts.iter());
                let means = sums.map(|((sum, compensation), count)| {
                    (*count > 0.0).then(|| Mean::of_sum(*sum, *compensation, *count))
                });
                *self = Self::Means(means.collect());
            } else {
                for (count, value) in counts.iter_mut().zip(row) {
                    *count += f64::from(u8::from(!is_absent(*value)));
                }
                add_row(sums, compensations, row);
                return;
            }
        }
        if let Self::Means(means) = self {
            for (mean, value) in means.iter_mut().zip(row) {
                if is_absent(*value) {
                    continue;
                }
                match mean {
                    Some(mean) => mean.add(*value),
                    None => *mean = Some(Mean::of(*value)),
                }
            }
        }
    }

    fn finish(self) -> Vec<f64> {
        match self {
            Self::Sums {
                mut sums,
                compensations,
                counts,
            } => {
                for ((sum, compensation), count) in sums.iter_mut().zip(compensations).zip(counts) {
                    if count > 0.0 {
                        *sum = Mean::of_sum(*sum, compensation, count).finish();
                    }
                }
                sums
            }
            Self::Means(means) => means
                .into_iter()
                .map(|mean| mean.map_or(ABSENT, Mean::finish))
                .collect(),
        }
    }
}

/// Welford's running variance.
#[derive(Debug, Clone, Copy, Default)]
struct Welford {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Accumulator {
    fn new(op: AggregateOp, steps: usize) -> Self {
        let absent = || vec![ABSENT; steps];
        match op {
            AggregateOp::Sum => Self::Sum {
                sums: absent(),
                compensations: vec![0.0; steps],
                is_new: true,
            },
            AggregateOp::Avg => Self::Mean(MeanColumn::new(steps)),
            AggregateOp::Count => Self::Count(absent()),
            AggregateOp::Min => Self::Min(absent()),
            AggregateOp::Max => Self::Max(absent()),
            AggregateOp::Stddev | AggregateOp::Stdvar => Self::Deviation {
                states: vec![Welford::default(); steps],
                root: op == AggregateOp::Stddev,
            },
            _ => Self::Group(absent()),
        }
    }

    fn add(&mut self, row: &[f64]) {
        /// Combines each present cell with its accumulator, which a first cell starts.
        fn fold(
            cells: &mut [f64],
            row: &[f64],
            first: impl Fn(f64) -> f64,
            next: impl Fn(f64, f64) -> f64,
        ) {
            for (cell, value) in cells.iter_mut().zip(row) {
                let combined = if is_absent(*cell) {
                    first(*value)
                } else {
                    next(*cell, *value)
                };
                *cell = if is_absent(*value) { *cell } else { combined };
            }
        }
        match self {
            Self::Sum {
                sums,
                compensations,
                is_new,
            } => {
                if std::mem::take(is_new) {
                    sums.copy_from_slice(row);
                } else {
                    add_row(sums, compensations, row);
                }
            }
            Self::Mean(means) => means.add(row),
            Self::Count(counts) => fold(counts, row, |_| 1.0, |count, _| count + 1.0),
            Self::Group(cells) => fold(cells, row, |_| 1.0, |one, _| one),
            Self::Min(cells) => fold(
                cells,
                row,
                |value| value,
                |least, value| {
                    if least > value || least.is_nan() {
                        value
                    } else {
                        least
                    }
                },
            ),
            Self::Max(cells) => fold(
                cells,
                row,
                |value| value,
                |most, value| {
                    if most < value || most.is_nan() {
                        value
                    } else {
                        most
                    }
                },
            ),
            Self::Deviation { states, .. } => {
                for (state, value) in states.iter_mut().zip(row) {
                    if !is_absent(*value) {
                        state.add(*value);
                    }
                }
            }
        }
    }

    /// Counts samples that are no numbers.
    fn add_present(&mut self, cells: &[HistogramCell]) {
        let (counts, more) = match self {
            Self::Count(counts) => (counts, 1.0),
            Self::Group(cells) => (cells, 0.0),
            _ => return,
        };
        for (count, _) in counts
            .iter_mut()
            .zip(cells)
            .filter(|(_, cell)| cell.is_some())
        {
            *count = if is_absent(*count) {
                1.0
            } else {
                *count + more
            };
        }
    }

    fn finish(self) -> Vec<f64> {
        match self {
            Self::Sum {
                mut sums,
                compensations,
                ..
            } => {
                for (sum, compensation) in sums.iter_mut().zip(compensations) {
                    if !is_absent(*sum) {
                        *sum += compensation;
                    }
                }
                sums
            }
            Self::Mean(means) => means.finish(),
            Self::Count(cells) | Self::Min(cells) | Self::Max(cells) | Self::Group(cells) => cells,
            Self::Deviation { states, root } => states
                .into_iter()
                .map(|state| match state.count {
                    0.0 => ABSENT,
                    count if root => (state.squares / count).sqrt(),
                    count => state.squares / count,
                })
                .collect(),
        }
    }
}

impl Welford {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.mean = value;
            self.squares = if value.is_finite() { 0.0 } else { f64::NAN };
            return;
        }
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }
}
