//! Evaluation: every node over all steps of the query at once.
//!
//! A node's value is a [`Node`]: a column of numbers, a text, or a [`Frame`] (a row a series, a
//! cell a step). Labels are resolved once a query, never at a step. Sums are added in label order.
//!
//! Recursion is bounded by the height of the tree ([`crate::parser::HEIGHT_MAX`]); the functions on
//! the recursive path keep their frames small.

mod aggregate;
mod binary;
mod duration;
mod edges;
mod frame;
mod hash;
mod histogram_column;
mod ledger;
mod operation;
mod range;
mod reuse;
mod room;
mod selections;
mod selector;
mod shared;
mod slice_costs;
mod slices;
mod smoothed;
mod steady;
mod summaries;
mod topk;
mod window;

use std::{cell::Cell, sync::Arc, time::Duration};

use narthex_storage::{Labels, Querier, Queryable, ReadError, Sample, TimeRange, Timestamp};

pub(crate) use aggregate::{is_quantile, quantile, quantile_of_sorted};
pub(crate) use duration::duration_ms;
pub(crate) use edges::{Extent, histogram_between};
pub(crate) use frame::{
    ABSENT, Frame, Head, HistogramCell, Merge, Naming, Row, hasher, is_absent, same_labels,
    without_name,
};
use ledger::Ledger;
#[cfg(test)]
pub(crate) use range::OfTimes;
pub(crate) use range::{Kept, RangeRow};
use selections::Selections;
pub(crate) use selector::{Columns, Reference};
use shared::Shared;
use slices::Halt;
pub(crate) use summaries::{Core, Need, is_change};
pub(crate) use window::{Mean, add_exact, add_finite};

use crate::{
    Answer, EngineOptions, Grid, HistogramSample, Matrix, QueryContext, QueryError, SampleValue,
    Series, Value, VectorSample,
    annotations::Annotations,
    functions::{self, FunctionId},
    parser::{Edges, Expr, ExprKind, ValueType, VectorSelector},
};

/// Where cancellation and deadlines strike, in Prometheus's words.
const STAGE: &str = "expression evaluation";

/// What a sample of a range vector takes that is asked for directly: its time and its value.
const SAMPLE_CELLS: u64 = 2;

/// Receives the rows of a vector one by one: the labels of the series, what becomes of its name, cells.
pub(crate) type Sink<'s> = dyn FnMut(&Labels, Naming, Row<'_>) -> Result<(), QueryError> + 's;

/// The value of a node at every step.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    /// A number a step.
    Scalar(Vec<f64>),
    /// A text, the same at every step.
    Text(String),
    /// A vector a step.
    Vector(Frame),
}

impl Node {
    /// At how many steps it has a value; a text has none of its own.
    fn steps(&self) -> usize {
        match self {
            Self::Scalar(values) => values.len(),
            Self::Text(_) => 0,
            Self::Vector(frame) => frame.steps,
        }
    }

    /// How many samples it counts for.
    fn samples(&self) -> u64 {
        match self {
            Self::Scalar(values) => values.len() as u64,
            Self::Text(_) => 0,
            Self::Vector(frame) => frame.samples(),
        }
    }

    /// What it takes of a query's budget.
    fn cost_cells(&self) -> u64 {
        match self {
            Self::Scalar(values) => values.len() as u64,
            Self::Text(_) => 0,
            Self::Vector(frame) => frame.iter().map(|(_, row)| row.cost_cells()).sum(),
        }
    }

    /// Adds those of each step.
    fn add_samples(&self, counts: &mut [u64]) {
        match self {
            Self::Scalar(_) => counts.iter_mut().for_each(|count| *count += 1),
            Self::Text(_) => {}
            Self::Vector(frame) => frame.iter().for_each(|(_, row)| row.add_samples(counts)),
        }
    }
}

/// One query while it runs.
pub(crate) struct Evaluation<'a> {
    pub(crate) options: &'a EngineOptions,
    context: QueryContext<'a>,
    /// The outermost grid.
    pub(crate) grid: Grid,
    /// The query's step; 0 for an instant query.
    pub(crate) step_ms: i64,
    lookback_ms: i64,
    querier: Option<Arc<dyn Querier>>,
    selections: Selections,
    pub(crate) notes: Annotations,
    /// Whether only counts and sums of histograms are asked for: then selectors look for resets themselves and
    /// say so of the histograms behind them.
    finds_resets: bool,
    /// Whether the answer may serve queries over other steps.
    is_kept: bool,
    /// Whether something was decided by what there is at other steps of the grid, or may have been, as far as
    /// [`steady`] leaves that to the evaluation.
    pub(crate) depends_on_grid: Cell<bool>,
    /// Whether the rows of what is evaluated are held, see [`room`].
    keeps_rows: bool,
    ledger: Ledger,
    shared: Shared,
    /// What ends it when it is a slice of a query.
    halt: Option<&'a Halt>,
}

impl<'a> Evaluation<'a> {
    pub(crate) fn new(
        options: &'a EngineOptions,
        context: QueryContext<'a>,
        grid: Grid,
        step_ms: i64,
    ) -> Self {
        let lookback = context
            .lookback
            .filter(|lookback| *lookback > Duration::ZERO)
            .unwrap_or(options.lookback);
        let tells_steps = context.tells_steps && options.features.per_step_statistics;
        Self {
            options,
            context,
            grid,
            step_ms,
            lookback_ms: lookback.as_millis() as i64,
            querier: None,
            selections: Selections::default(),
            notes: Annotations::default(),
            finds_resets: false,
            is_kept: false,
            depends_on_grid: Cell::new(false),
            keeps_rows: false,
            ledger: Ledger::new(tells_steps.then(|| grid.steps())),
            shared: Shared::default(),
            halt: None,
        }
    }

    /// The answer of an instant query.
    pub(crate) fn instant(
        mut self,
        store: &dyn Queryable,
        expr: &Expr,
        text: &str,
    ) -> Result<Answer, QueryError> {
        self.open(store, expr, text)?;
        self.shared.forget();
        let time = self.grid.start;
        let expr = expr.without_parens();
        let value = if expr.value_type() == ValueType::Matrix {
            Value::Matrix(self.matrix(expr)?)
        } else {
            match self.eval(expr, self.grid)? {
                Node::Scalar(values) => Value::Scalar(Sample {
                    time,
                    value: values[0],
                }),
                Node::Text(value) => Value::String { time, value },
                Node::Vector(frame) => {
                    let frame = self.clean(frame)?;
                    Value::Vector(
                        frame
                            .iter()
                            .filter_map(|(head, row)| {
                                Some(VectorSample {
                                    labels: head.labels.clone(),
                                    time,
                                    value: sample_value(row, 0)?,
                                    place: row.place,
                                })
                            })
                            .collect(),
                    )
                }
            }
        };
        Ok(self.answer(value, text))
    }

    /// The answer of a range query.
    pub(crate) fn range(
        mut self,
        store: &dyn Queryable,
        expr: &Expr,
        text: &str,
    ) -> Result<Answer<Matrix>, QueryError> {
        let grid = self.grid;
        if grid.steps() == 0 {
            return Ok(self.answer(Matrix::new(Frame::new(0), grid), text));
        }
        self.open(store, expr, text)?;
        let matrix = self.matrix_of(expr)?;
        Ok(self.answer(matrix, text))
    }

    /// The values at every step, of which there is one at least.
    fn matrix_of(&mut self, expr: &Expr) -> Result<Matrix, QueryError> {
        match self.matrix_in_slices(expr) {
            Some(matrix) => Ok(matrix),
            None => self.matrix_whole(expr),
        }
    }

    /// [`Evaluation::matrix_of`] by this thread alone.
    fn matrix_whole(&mut self, expr: &Expr) -> Result<Matrix, QueryError> {
        let grid = self.grid;
        self.shared.forget();
        let frame = match self.eval(expr, grid)? {
            Node::Scalar(values) => {
                let mut frame = Frame::new(values.len());
                frame.push(Labels::empty(), false, Row::floats(&values));
                frame
            }
            Node::Text(_) => return Err(internal("a text has no range")),
            Node::Vector(frame) => self.clean(frame)?,
        };
        self.check()?;
        Ok(Matrix::new(frame, grid))
    }

    fn answer<V>(self, value: V, text: &str) -> Answer<V> {
        let (warnings, infos) = self.notes.print(text);
        Answer {
            value,
            warnings,
            infos,
            samples_total: self.ledger.total(),
            samples_peak: self.ledger.peak(),
            samples_by_step: self
                .ledger
                .into_steps()
                .into_iter()
                .enumerate()
                .map(|(step, samples)| (self.grid.time(step), samples))
                .collect(),
        }
    }

    /// Takes the one snapshot that the whole query reads.
    fn open(&mut self, store: &dyn Queryable, expr: &Expr, text: &str) -> Result<(), QueryError> {
        self.check()?;
        self.shared = Shared::of(expr, text);
        let (start, end) = (self.grid.start, self.grid.time(self.grid.steps() - 1));
        if let Some(range) = self.extent(expr, start, end)? {
            let querier = store.querier(range).map_err(|error| self.read(error))?;
            self.querier = Some(Arc::from(querier));
        }
        Ok(())
    }

    /// The times that the selectors under `expr` read when it is evaluated from `start` to `end`.
    fn extent(
        &self,
        expr: &Expr,
        start: Timestamp,
        end: Timestamp,
    ) -> Result<Option<TimeRange>, QueryError> {
        let mut extent: Option<TimeRange> = None;
        self.visit_reads(expr, (start, end), &mut |_, read| {
            extent = Some(extent.map_or(read, |known| {
                TimeRange::new(known.min.min(read.min), known.max.max(read.max))
            }));
        })?;
        Ok(extent)
    }

    /// Tells `visit` of everything that `expr` reads when it is evaluated from `start` to `end`: the selector, unless
    /// it is one that `info` makes, and the times.
    fn visit_reads<'e>(
        &self,
        expr: &'e Expr,
        (start, end): (Timestamp, Timestamp),
        visit: &mut dyn FnMut(Option<&'e VectorSelector>, TimeRange),
    ) -> Result<(), QueryError> {
        match &expr.kind {
            ExprKind::Number { .. } | ExprKind::String(_) => {}
            ExprKind::VectorSelector(selector) => {
                let reference = self.reference(&selector.modifiers)?;
                let range = reference.extent(start, end, self.instant_reach(selector));
                visit(Some(selector), range);
            }
            ExprKind::MatrixSelector { selector, range } => {
                let reference = self.reference(&selector.modifiers)?;
                let reach = self.reach(selector.edges, self.range_ms(range)?);
                visit(Some(selector), reference.extent(start, end, reach));
            }
            ExprKind::Subquery(subquery) => {
                let reference = self.reference(&subquery.modifiers)?;
                let reach = self.reach(Edges::Plain, self.range_ms(&subquery.range)?);
                let range = reference.extent(start, end, reach);
                self.visit_reads(&subquery.expr, (range.min, range.max), visit)?;
            }
            ExprKind::Call { function, args } if function.id == FunctionId::Info => {
                let sight = functions::Sight::of(self, &args[0])?;
                let range = Reference::default().extent(
                    sight.time(start),
                    sight.time(end),
                    self.reach(Edges::Plain, self.lookback_ms),
                );
                visit(None, range);
                self.visit_reads(&args[0], (start, end), visit)?;
            }
            ExprKind::Call { args, .. } => {
                for arg in args {
                    self.visit_reads(arg, (start, end), visit)?;
                }
            }
            ExprKind::Aggregate(aggregate) => {
                self.visit_reads(&aggregate.expr, (start, end), visit)?;
                if let Some(param) = &aggregate.param {
                    self.visit_reads(param, (start, end), visit)?;
                }
            }
            ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => {
                self.visit_reads(expr, (start, end), visit)?;
            }
            ExprKind::Binary(binary) => {
                self.visit_reads(&binary.lhs, (start, end), visit)?;
                self.visit_reads(&binary.rhs, (start, end), visit)?;
            }
        }
        Ok(())
    }

    /// The value of a range vector asked for directly: the samples themselves.
    fn matrix(&mut self, expr: &Expr) -> Result<Vec<Series>, QueryError> {
        let grid = self.grid;
        if let ExprKind::Subquery(subquery) = &expr.kind {
            let Some((frame, inner)) = self.subquery(subquery, grid)? else {
                return Ok(Vec::new());
            };
            let frame = self.clean(frame)?;
            return Ok(Matrix::new(frame, inner).into_series());
        }
        let mut series = Vec::new();
        let ExprKind::MatrixSelector { selector, range } = &expr.kind else {
            return Err(internal("a range vector was expected"));
        };
        let range_ms = self.range_ms(range)?;
        let charge = self.charger();
        self.matrix_selector_rows(selector, range_ms, grid, (SAMPLE_CELLS, None), &mut |row| {
            let (low, high) = row.bounds[0];
            charge(SAMPLE_CELLS * u64::from(high - low))?;
            if row.edges != Edges::Plain {
                series.extend(extended(row)?);
                return Ok(Kept::Windows);
            }
            let (mut samples, mut histograms) = (Vec::new(), Vec::new());
            for index in low as usize..high as usize {
                let time = row.times[index];
                match row.histogram(index) {
                    Some(histogram) => histograms.push(HistogramSample {
                        time,
                        histogram: Arc::clone(histogram),
                    }),
                    None => samples.push(Sample {
                        time,
                        value: row.values[index],
                    }),
                }
            }
            if high > low {
                series.push(Series {
                    labels: row.labels.clone(),
                    samples,
                    histograms,
                });
            }
            Ok(Kept::Windows)
        })?;
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(series)
    }

    /// The value of a node that is not a range vector, at every step of `grid`.
    pub(crate) fn eval(&mut self, expr: &Expr, grid: Grid) -> Result<Node, QueryError> {
        let expr = expr.without_parens();
        let node = self.not_as_input(|evaluation| {
            evaluation.with_rows_kept(false, |evaluation| match evaluation.shared.place(expr) {
                Some(number) => evaluation.eval_shared(number, expr, grid),
                None => evaluation.eval_fresh(expr, grid),
            })
        })?;
        self.offer(&node);
        Ok(node)
    }

    fn eval_fresh(&mut self, expr: &Expr, grid: Grid) -> Result<Node, QueryError> {
        if grid.steps() > 1 && is_step_invariant(expr) {
            return self.eval_once(expr, grid);
        }
        self.eval_node(expr, grid)
    }

    /// The value of a node that has the same at every step.
    #[inline(never)]
    fn eval_once(&mut self, expr: &Expr, grid: Grid) -> Result<Node, QueryError> {
        let steps = grid.steps();
        let instant = Grid::instant(grid.start);
        let (node, samples) = self.apart(|evaluation| evaluation.eval_node(expr, instant))?;
        self.look_always(samples, steps);
        self.hold(node.samples().saturating_mul(steps as u64 - 1))?;
        self.broadcast(node, steps)
    }

    fn eval_node(&mut self, expr: &Expr, grid: Grid) -> Result<Node, QueryError> {
        match &expr.kind {
            ExprKind::Number { value, .. } => {
                self.hold(grid.steps() as u64)?;
                Ok(Node::Scalar(vec![*value; grid.steps()]))
            }
            ExprKind::String(text) => Ok(Node::Text(text.value.clone())),
            ExprKind::VectorSelector(_) => self.collect(expr, grid),
            ExprKind::Call { function, args } => functions::call(self, function, args, grid),
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate, expr.span, grid),
            ExprKind::Unary { negative, expr } => self.unary(*negative, expr, grid),
            ExprKind::Binary(binary) => self.step_by_step(|evaluation| {
                let lhs = evaluation.eval(&binary.lhs, grid)?;
                let rhs = evaluation.eval(&binary.rhs, grid)?;
                evaluation.binary(binary, lhs, rhs, expr.span)
            }),
            ExprKind::Paren(inner) => self.eval(inner, grid),
            ExprKind::MatrixSelector { .. } | ExprKind::Subquery(_) => {
                Err(internal("a range vector stands where none may stand"))
            }
        }
    }

    /// The value of a node that must be a vector.
    pub(crate) fn vector(&mut self, expr: &Expr, grid: Grid) -> Result<Frame, QueryError> {
        match self.eval(expr, grid)? {
            Node::Vector(frame) => Ok(frame),
            _ => Err(internal("a vector was expected")),
        }
    }

    /// The value of a node that must be a scalar.
    pub(crate) fn scalar(&mut self, expr: &Expr, grid: Grid) -> Result<Vec<f64>, QueryError> {
        match self.eval(expr, grid)? {
            Node::Scalar(values) => Ok(values),
            _ => Err(internal("a scalar was expected")),
        }
    }

    /// The value of a node that must be a text.
    pub(crate) fn text(&mut self, expr: &Expr, grid: Grid) -> Result<String, QueryError> {
        match self.eval(expr, grid)? {
            Node::Text(text) => Ok(text),
            _ => Err(internal("a string was expected")),
        }
    }

    /// Hands the rows of a vector to `sink` one by one. Selectors and functions of range vectors
    /// are never held whole.
    pub(crate) fn rows(
        &mut self,
        expr: &Expr,
        grid: Grid,
        sink: &mut Sink<'_>,
    ) -> Result<(), QueryError> {
        let expr = expr.without_parens();
        let pinned = grid.steps() > 1 && is_step_invariant(expr);
        match &expr.kind {
            ExprKind::VectorSelector(selector) if !pinned => {
                self.selector_rows(selector, grid, sink)
            }
            ExprKind::Call { function, args } if !pinned && is_range_function(function.id) => self
                .not_as_input(|evaluation| {
                    functions::range_function_rows(evaluation, function, args, grid, sink)
                }),
            _ => {
                let frame = self.vector(expr, grid)?;
                for (head, row) in frame.iter() {
                    sink(&head.labels, Naming::of(head.drop_name), row)?;
                }
                Ok(())
            }
        }
    }

    /// The rows of a node that can be streamed, held whole.
    pub(crate) fn collect(&mut self, expr: &Expr, grid: Grid) -> Result<Node, QueryError> {
        let mut frame = Frame::new(grid.steps());
        let charge = self.charger();
        self.keeping_rows(|evaluation| {
            evaluation.rows(expr, grid, &mut |labels, naming, row| {
                charge(row.cost_cells())?;
                frame.push(naming.labels(labels), naming.drop_name(), row);
                Ok(())
            })
        })?;
        Ok(Node::Vector(frame))
    }

    fn unary(&mut self, negative: bool, expr: &Expr, grid: Grid) -> Result<Node, QueryError> {
        Ok(match self.eval(expr, grid)? {
            node if !negative => node,
            Node::Scalar(values) => Node::Scalar(values.iter().map(|value| -value).collect()),
            Node::Vector(mut frame) => {
                for cell in frame.cells_mut() {
                    if !is_absent(*cell) {
                        *cell = -*cell;
                    }
                }
                for index in 0..frame.len() {
                    for histogram in frame.histograms_mut(index).iter_mut().flatten() {
                        *histogram = Arc::new((**histogram).clone().scaled(-1.0));
                    }
                }
                let frame = self.drop_names(frame);
                if !self.options.features.delayed_name_removal && frame.has_same_labels() {
                    return Err(same_labels());
                }
                Node::Vector(frame)
            }
            Node::Text(_) => return Err(internal("a text has no sign")),
        })
    }

    fn broadcast(&self, node: Node, steps: usize) -> Result<Node, QueryError> {
        Ok(match node {
            Node::Scalar(values) => Node::Scalar(vec![values[0]; steps]),
            Node::Vector(frame) => {
                let cells = (frame.len() as u64).saturating_mul(steps as u64);
                self.charge(cells)?;
                Node::Vector(frame.broadcast(steps))
            }
            text @ Node::Text(_) => text,
        })
    }

    /// Takes the memory of so many cells from the query's budget.
    pub(crate) fn charge(&self, cells: u64) -> Result<(), QueryError> {
        self.charger()(cells)
    }

    /// [`Evaluation::charge`] for a sink, which cannot borrow the evaluation.
    pub(crate) fn charger(&self) -> impl Fn(u64) -> Result<(), QueryError> + use<'a> {
        let deadline = self.deadline();
        move |cells| {
            let charged = deadline.0.budget.charge(cells.saturating_mul(8));
            charged.map_err(|error| deadline.read(error))
        }
    }

    /// Removes the metric names, at once or by a mark, as the features say. Rows may come out with
    /// the same labels; the caller merges or refuses them.
    pub(crate) fn drop_names(&self, mut frame: Frame) -> Frame {
        for head in &mut frame.heads {
            if self.options.features.delayed_name_removal {
                head.drop_name = true;
            } else {
                head.labels = without_name(&head.labels);
            }
        }
        frame
    }

    /// What happens to a vector at the very end: marked names go, equal label sets meet.
    fn clean(&self, mut frame: Frame) -> Result<Frame, QueryError> {
        if self.options.features.delayed_name_removal {
            for head in &mut frame.heads {
                if head.drop_name {
                    head.labels = without_name(&head.labels);
                }
            }
        }
        frame.drop_empty_rows().merge_same_labels()
    }

    /// Fails when the caller went away or the deadline has passed; in a slice also when that is of no use any more.
    pub(crate) fn check(&self) -> Result<(), QueryError> {
        self.deadline().check()?;
        let is_useless = |halt: &Halt| halt.is_set() || self.depends_on_grid.get();
        if self.halt.is_some_and(is_useless) {
            return Err(QueryError::Canceled(STAGE));
        }
        Ok(())
    }

    /// [`Evaluation::check`] when so many samples were `worked` on since that it is worth a look at the clock, which
    /// takes as long as some ten samples.
    pub(super) fn check_after(&self, worked: &mut u64) -> Result<(), QueryError> {
        const SAMPLES: u64 = 8_192;
        if *worked < SAMPLES {
            return Ok(());
        }
        *worked = 0;
        self.check()
    }

    /// What [`Evaluation::check`] looks at, apart from the rest.
    fn deadline(&self) -> Deadline<'a> {
        Deadline(self.context)
    }

    /// A store's error as a query's.
    fn read(&self, error: ReadError) -> QueryError {
        self.deadline().read(error)
    }

    /// Whether selectors look for resets themselves.
    pub(crate) const fn finds_resets(&self) -> bool {
        self.finds_resets
    }

    /// Evaluates something for which `finds_resets` is this.
    pub(crate) fn finding_resets<T>(
        &mut self,
        finds_resets: bool,
        evaluate: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let outer = std::mem::replace(&mut self.finds_resets, finds_resets);
        let value = evaluate(self);
        self.finds_resets = outer;
        value
    }
}

/// The only window of a range vector with `anchored` or `smoothed`, if there is something in it. Without a function
/// around it Prometheus (3.13) knows no such windows of histograms either.
fn extended(row: &RangeRow<'_>) -> Result<Option<Series>, QueryError> {
    let (low, high) = (row.bounds[0].0 as usize, row.bounds[0].1 as usize);
    if (low..high).any(|index| row.histogram(index).is_some()) {
        let modifier = match row.edges {
            Edges::Smoothed => "smoothed",
            Edges::Anchored | Edges::Plain => "anchored",
        };
        return Err(QueryError::Execution(format!(
            "{modifier} modifier is not supported with histograms"
        )));
    }
    Ok(
        Extent::find(row, (low, high), row.ends[0]).map(|extent| Series {
            labels: row.labels.clone(),
            samples: extent.samples(row.values),
            histograms: Vec::new(),
        }),
    )
}

/// The sample of a row at a step.
fn sample_value(row: Row<'_>, step: usize) -> Option<SampleValue> {
    match row.histogram(step) {
        Some(histogram) => Some(SampleValue::Histogram(Arc::clone(histogram))),
        None if is_absent(row.floats[step]) => None,
        None => Some(SampleValue::Float(row.floats[step])),
    }
}

/// The caller's wish to stop and the deadline.
#[derive(Clone, Copy)]
struct Deadline<'a>(QueryContext<'a>);

impl Deadline<'_> {
    fn passed(self) -> bool {
        self.0
            .deadline
            .is_some_and(|deadline| self.0.clock.monotonic() >= deadline)
    }

    fn check(self) -> Result<(), QueryError> {
        if self.passed() {
            Err(QueryError::Timeout(STAGE))
        } else if self.0.budget.is_canceled() {
            Err(QueryError::Canceled(STAGE))
        } else {
            Ok(())
        }
    }

    fn read(self, error: ReadError) -> QueryError {
        match error {
            ReadError::Canceled if self.passed() => QueryError::Timeout(STAGE),
            ReadError::Canceled => QueryError::Canceled(STAGE),
            ReadError::Budget { .. } => too_many_samples(),
            ReadError::Corruption(corruption) => QueryError::Internal(corruption.to_string()),
            ReadError::OtherKind(_) => QueryError::Execution(
                "native histograms are not supported yet: a selected series has some in the time read"
                    .to_owned(),
            ),
        }
    }
}

/// The error of a query that would hold too much.
pub(crate) fn too_many_samples() -> QueryError {
    QueryError::Execution(
        "query processing would load too many samples into memory in query execution".to_owned(),
    )
}

/// A promise of the parser that was broken.
pub(crate) fn internal(message: &str) -> QueryError {
    QueryError::Internal(message.to_owned())
}

/// Whether the function takes a range vector and gives a row for each of its series.
fn is_range_function(id: FunctionId) -> bool {
    functions::range_kernel(id).is_some()
}

/// Whether the expression has the same value at every step.
fn is_step_invariant(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Number { .. } | ExprKind::String(_) => true,
        ExprKind::VectorSelector(selector) | ExprKind::MatrixSelector { selector, .. } => {
            selector.modifiers.at.is_some()
        }
        ExprKind::Subquery(subquery) => subquery.modifiers.at.is_some(),
        ExprKind::Call { function, args } => {
            !functions::depends_on_time(function.id) && args.iter().all(is_step_invariant)
        }
        ExprKind::Aggregate(aggregate) => {
            is_step_invariant(&aggregate.expr)
                && aggregate.param.as_ref().is_none_or(is_step_invariant)
        }
        ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => is_step_invariant(expr),
        ExprKind::Binary(binary) => {
            is_step_invariant(&binary.lhs) && is_step_invariant(&binary.rhs)
        }
    }
}
