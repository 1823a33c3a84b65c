//! `info`: adds to each series the labels of info series, by default of `target_info`, that have the same
//! `instance` and `job`.
//!
//! Info series are looked at when the first selector of the argument looks at its samples, so that `@` and
//! `offset` tell the labels of that time. Of info series of one name with the same identifying labels the one
//! with the newest sample counts.
//!
//! **Source**: Prometheus 3.14.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use narthex_storage::{Labels, METRIC_NAME, MatchOp, Matcher, Timestamp};

use crate::{
    Grid, QueryError,
    eval::{ABSENT, Evaluation, Frame, HistogramCell, Merge, Reference, Row, is_absent},
    parser::{Expr, ExprKind},
};

/// The info series when none are named.
const TARGET_INFO: &str = "target_info";

/// What the names of info series look like when it is only said what they are not.
const INFO_NAMES: &str = ".+_info";

/// A series and its info series agree in these.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// When the first selector of an expression looks at its samples.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    /// From the outermost subquery to the selector.
    references: Vec<Reference>,
}

impl Sight {
    /// The sight of an expression; the evaluation time when it has no selector.
    ///
    /// # Errors
    /// When an offset cannot be computed.
    pub(crate) fn of(evaluation: &Evaluation<'_>, expr: &Expr) -> Result<Self, QueryError> {
        let mut sight = Self::default();
        sight.descend(evaluation, expr)?;
        Ok(sight)
    }

    /// Whether there is a selector under `expr`; if so, what leads to it is added.
    fn descend(&mut self, evaluation: &Evaluation<'_>, expr: &Expr) -> Result<bool, QueryError> {
        match &expr.kind {
            ExprKind::Number { .. } | ExprKind::String(_) => Ok(false),
            ExprKind::VectorSelector(selector) | ExprKind::MatrixSelector { selector, .. } => {
                self.references
                    .push(evaluation.reference(&selector.modifiers)?);
                Ok(true)
            }
            ExprKind::Subquery(subquery) => {
                self.references
                    .push(evaluation.reference(&subquery.modifiers)?);
                let found = self.descend(evaluation, &subquery.expr)?;
                if !found {
                    self.references.pop();
                }
                Ok(found)
            }
            ExprKind::Call { args, .. } => {
                for arg in args {
                    if self.descend(evaluation, arg)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            ExprKind::Aggregate(aggregate) => Ok(self.descend(evaluation, &aggregate.expr)?
                || match &aggregate.param {
                    Some(param) => self.descend(evaluation, param)?,
                    None => false,
                }),
            ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => self.descend(evaluation, expr),
            ExprKind::Binary(binary) => {
                Ok(self.descend(evaluation, &binary.lhs)?
                    || self.descend(evaluation, &binary.rhs)?)
            }
        }
    }

    /// The time looked at when the expression is evaluated at `time`.
    pub(crate) fn time(&self, time: Timestamp) -> Timestamp {
        let references = self.references.iter();
        references.fold(time, |time, reference| reference.time(time))
    }
}

/// What the second argument says.
struct Wanted {
    /// What the names of info series must pass.
    names: Vec<Matcher>,
    /// What their other labels must pass; only these labels are added, or all when there are none.
    data: Vec<Matcher>,
}

impl Wanted {
    fn new(arg: Option<&Expr>) -> Self {
        let matchers = match arg.map(|arg| &arg.kind) {
            Some(ExprKind::VectorSelector(selector)) => &selector.matchers[..],
            _ => &[],
        };
        let (mut names, data): (Vec<Matcher>, Vec<Matcher>) = matchers
            .iter()
            .cloned()
            .partition(|matcher| matcher.name() == METRIC_NAME);
        let is_positive =
            |matcher: &Matcher| matches!(matcher.op(), MatchOp::Equal | MatchOp::Regex);
        if names.is_empty() {
            names.push(Matcher::equal(METRIC_NAME, TARGET_INFO));
        } else if !names.iter().any(is_positive) {
            let positive = Matcher::new(METRIC_NAME, MatchOp::Regex, INFO_NAMES);
            names.push(positive.expect("the pattern is a regular expression"));
        }
        Self { names, data }
    }

    fn is_info(&self, labels: &Labels) -> bool {
        let name = labels.metric_name();
        self.names.iter().all(|matcher| matcher.matches(name))
    }

    /// Whether the label is one to be added.
    fn takes(&self, label: &str) -> bool {
        label != METRIC_NAME
            && (self.data.is_empty() || self.data.iter().any(|matcher| matcher.name() == label))
    }

    /// Whether a series without info series stays.
    fn keeps_unmatched(&self) -> bool {
        self.data.iter().all(|matcher| matcher.matches(""))
    }
}

/// The values of the identifying labels, empty where a label is not set.
type Identity = [String; IDENTIFYING.len()];

fn identity(labels: &Labels) -> Identity {
    IDENTIFYING.map(|name| labels.get(name).unwrap_or_default().to_owned())
}

/// One info series.
struct InfoSeries {
    labels: Labels,
    /// At each step the time of its newest sample.
    times: Vec<Option<Timestamp>>,
}

/// The info series of one name and identity: at each step which of [`Infos::series`] counts.
type Choice = Vec<Option<u32>>;

/// All info series.
#[derive(Default)]
struct Infos {
    series: Vec<InfoSeries>,
    /// By identity and name.
    choices: HashMap<Identity, BTreeMap<String, Choice>, foldhash::fast::RandomState>,
}

/// `info(v, [data-label selector])`
pub(crate) fn enriched(
    evaluation: &mut Evaluation<'_>,
    args: &[Expr],
    grid: Grid,
) -> Result<Frame, QueryError> {
    let sight = Sight::of(evaluation, &args[0])?;
    let wanted = Wanted::new(args.get(1));
    let base = evaluation.vector(&args[0], grid)?;
    let times: Vec<Timestamp> = (0..grid.steps())
        .map(|step| sight.time(grid.time(step)))
        .collect();
    let infos = Infos::read(evaluation, &wanted, &base, &times)?;
    let charge = evaluation.charger();
    let mut out = Merge::new(grid.steps());
    for (head, row) in base.iter() {
        evaluation.check()?;
        if wanted.is_info(&head.labels) {
            charge(row.cost_cells())?;
            out.add(&head.labels, head.drop_name, row)?;
            continue;
        }
        let choices = infos.choices.get(&identity(&head.labels));
        for (chosen, steps) in partition(choices, row) {
            let Some(labels) = infos.add_labels(&head.labels, &chosen, &wanted)? else {
                continue;
            };
            let part = Part::of(row, &steps);
            charge(part.row().cost_cells())?;
            out.add(&labels, head.drop_name, part.row())?;
        }
    }
    Ok(out.frame)
}

/// The steps at which a row has samples, by the info series that count there.
fn partition(
    choices: Option<&BTreeMap<String, Choice>>,
    row: Row<'_>,
) -> BTreeMap<Vec<u32>, Vec<usize>> {
    let mut parts: BTreeMap<Vec<u32>, Vec<usize>> = BTreeMap::new();
    let mut chosen = Vec::new();
    for step in (0..row.steps()).filter(|step| row.is_present(*step)) {
        chosen.clear();
        let choices = choices.into_iter().flat_map(BTreeMap::values);
        chosen.extend(choices.filter_map(|choice| choice[step]));
        match parts.get_mut(&chosen) {
            Some(steps) => steps.push(step),
            None => {
                parts.insert(chosen.clone(), vec![step]);
            }
        }
    }
    parts
}

/// Some of a row's cells.
struct Part {
    floats: Vec<f64>,
    histograms: Vec<HistogramCell>,
    place: u64,
}

impl Part {
    fn of(row: Row<'_>, steps: &[usize]) -> Self {
        let mut part = Self {
            floats: vec![ABSENT; row.steps()],
            histograms: vec![None; row.histograms.len()],
            place: row.place,
        };
        for step in steps {
            part.floats[*step] = row.floats[*step];
            if let Some(cell) = part.histograms.get_mut(*step) {
                cell.clone_from(&row.histograms[*step]);
            }
        }
        part
    }

    fn row(&self) -> Row<'_> {
        Row {
            floats: &self.floats,
            histograms: &self.histograms,
            place: self.place,
        }
    }
}

impl Infos {
    /// Reads the info series that the rows of `base` can have.
    fn read(
        evaluation: &mut Evaluation<'_>,
        wanted: &Wanted,
        base: &Frame,
        times: &[Timestamp],
    ) -> Result<Self, QueryError> {
        let mut values: [BTreeSet<String>; IDENTIFYING.len()] = Default::default();
        let mut has_base = vec![false; times.len()];
        for (head, row) in base.iter() {
            for (step, has_base) in has_base.iter_mut().enumerate() {
                *has_base |= row.is_present(step);
            }
            if wanted.is_info(&head.labels) {
                continue;
            }
            for (values, value) in values.iter_mut().zip(identity(&head.labels)) {
                if !value.is_empty() {
                    values.insert(value);
                }
            }
        }
        let mut infos = Self::default();
        if values.iter().all(BTreeSet::is_empty) {
            return Ok(infos);
        }
        let mut matchers = [&wanted.names[..], &wanted.data].concat();
        for (name, values) in IDENTIFYING.iter().zip(&values) {
            if let (Some(value), 1) = (values.first(), values.len()) {
                matchers.push(Matcher::equal(*name, value));
            }
        }
        let is_wanted = |labels: &Labels| {
            let mut pairs = values.iter().zip(identity(labels));
            pairs.all(|(values, value)| values.is_empty() || values.contains(&value))
        };
        let charge = evaluation.charger();
        evaluation.samples_at(
            &matchers,
            &is_wanted,
            times,
            &mut |series, columns, newest| {
                charge(2 * newest.len() as u64)?;
                let mut found = Vec::with_capacity(newest.len());
                for (index, has_base) in newest.iter().zip(&has_base) {
                    let is_histogram =
                        index.is_some_and(|index| columns.histogram(index).is_some());
                    if is_histogram && *has_base {
                        return Err(QueryError::Execution(
                            "info sample should be float".to_owned(),
                        ));
                    }
                    found.push(index.and_then(|index| {
                        let index = index as usize;
                        (!is_absent(columns.values[index])).then(|| columns.times[index])
                    }));
                }
                let samples = found.iter().flatten().count() as u64;
                infos.series.push(InfoSeries {
                    labels: series.labels.clone(),
                    times: found,
                });
                Ok(samples)
            },
        )?;
        infos.choose(&has_base)?;
        Ok(infos)
    }

    /// Finds out which series count, at the steps with something to be enriched.
    fn choose(&mut self, has_base: &[bool]) -> Result<(), QueryError> {
        for (number, info) in self.series.iter().enumerate() {
            let choice = self
                .choices
                .entry(identity(&info.labels))
                .or_default()
                .entry(info.labels.metric_name().to_owned())
                .or_insert_with(|| vec![None; has_base.len()]);
            for (step, known) in choice.iter_mut().enumerate() {
                let Some(time) = info.times[step].filter(|_| has_base[step]) else {
                    continue;
                };
                let known_series = known.map(|known| &self.series[known as usize]);
                let known_time = known_series.and_then(|known| known.times[step]);
                if let Some(known_series) = known_series
                    && known_time == Some(time)
                {
                    return Err(QueryError::Execution(format!(
                        "found duplicate series for info metric: existing {} @ {time}, new {} @ {time}",
                        known_series.labels, info.labels
                    )));
                }
                if known_time < Some(time) {
                    *known = Some(number as u32);
                }
            }
        }
        Ok(())
    }

    /// The labels of a series with those of its info series; `None` when it has none and must have some.
    fn add_labels(
        &self,
        labels: &Labels,
        chosen: &[u32],
        wanted: &Wanted,
    ) -> Result<Option<Labels>, QueryError> {
        if chosen.is_empty() {
            return Ok(wanted.keeps_unmatched().then(|| labels.clone()));
        }
        let mut builder = labels.to_builder();
        for info in chosen {
            for (name, value) in self.series[*info as usize].labels.iter() {
                if !wanted.takes(name) || labels.get(name).is_some() {
                    continue;
                }
                if builder.get(name).is_some_and(|known| known != value) {
                    return Err(QueryError::Execution(format!("conflicting label: {name}")));
                }
                builder.set(name, value);
            }
        }
        Ok(Some(builder.build()))
    }
}
