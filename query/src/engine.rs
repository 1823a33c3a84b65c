//! The engine: options, what a caller passes with a query, and the answer.
//!
//! An [`Engine`] holds no state between queries and starts no threads unless [`EngineOptions::slicing`] has
//! workers; it may be shared by as many callers as there are. A query reads one snapshot of the store. Limits: samples held at once
//! ([`EngineOptions::samples_max`]), a deadline, a cancel flag and bytes ([`QueryContext`]).

use std::{sync::Arc, time::Duration};

use narthex_storage::{Budget, Clock, Queryable, Timestamp};

use crate::{
    Matrix, QueryError, ResultCache, Slicing, Value,
    eval::Evaluation,
    parser::{self, Expr, ParserOptions, ValueType},
};

/// Settings of an engine.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// How old a sample an instant selector may return; a sample exactly this old is too old.
    pub lookback: Duration,
    /// How many samples a query may hold at once, counted as Prometheus counts them.
    pub samples_max: u64,
    /// The step of a subquery that names none.
    pub default_subquery_step: Duration,
    /// What is enabled beyond the stable language.
    pub features: Features,
    /// When several threads evaluate a range query.
    pub slicing: Slicing,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            lookback: Duration::from_mins(5),
            samples_max: 50_000_000,
            default_subquery_step: Duration::from_mins(1),
            features: Features::default(),
            slicing: Slicing::default(),
        }
    }
}

/// What is enabled beyond the stable language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own name"
)]
pub struct Features {
    /// `--enable-feature=promql-experimental-functions`
    pub experimental_functions: bool,
    /// `--enable-feature=promql-delayed-name-removal`: the metric name goes at the end of the
    /// evaluation, not at each function.
    pub delayed_name_removal: bool,
    /// `--enable-feature=use-start-timestamps`: counters begin anew where the samples' start timestamps say so.
    pub start_timestamps: bool,
    /// `--enable-feature=type-and-unit-labels`: the label `__type__` tells what a counter is, not the name. The
    /// server's scrapes add it.
    pub type_and_unit_labels: bool,
    /// `--enable-feature=promql-extended-range-selectors`: `anchored` and `smoothed`.
    pub extended_range_selectors: bool,
    /// `--enable-feature=promql-binop-fill-modifiers`: `fill`, `fill_left` and `fill_right`.
    pub fill_modifiers: bool,
    /// `--enable-feature=promql-per-step-stats`: [`Answer::samples_by_step`] is told to who wants it.
    pub per_step_statistics: bool,
}

impl Features {
    /// Everything that adds to the language: what upstream's own test scripts are run with.
    pub const ALL: Self = Self {
        experimental_functions: true,
        delayed_name_removal: true,
        start_timestamps: true,
        type_and_unit_labels: false,
        extended_range_selectors: true,
        fill_modifiers: true,
        per_step_statistics: false,
    };

    /// Turns on what `--enable-feature` calls `name`; whether that is one of these.
    pub fn enable(&mut self, name: &str) -> bool {
        let feature = match name {
            "promql-experimental-functions" => &mut self.experimental_functions,
            "promql-delayed-name-removal" => &mut self.delayed_name_removal,
            "use-start-timestamps" => &mut self.start_timestamps,
            "type-and-unit-labels" => &mut self.type_and_unit_labels,
            "promql-extended-range-selectors" => &mut self.extended_range_selectors,
            "promql-binop-fill-modifiers" => &mut self.fill_modifiers,
            "promql-per-step-stats" => &mut self.per_step_statistics,
            _ => return false,
        };
        *feature = true;
        true
    }

    /// Whether values at a step are known to be the same on every grid that has the step.
    pub(crate) const fn are_steady(self) -> bool {
        !self.delayed_name_removal && !self.start_timestamps
    }

    /// What of them a parser must know.
    pub fn parser(self) -> ParserOptions {
        ParserOptions {
            experimental_functions: self.experimental_functions,
            extended_range_selectors: self.extended_range_selectors,
            fill_modifiers: self.fill_modifiers,
        }
    }
}

/// The times at which an expression is evaluated: `start`, `start + step`, … not beyond `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// The first time.
    pub start: Timestamp,
    /// No time lies beyond this one.
    pub end: Timestamp,
    /// Distance of two times in milliseconds, above 0.
    pub step_ms: i64,
}

impl Grid {
    /// A grid of one time.
    pub const fn instant(time: Timestamp) -> Self {
        Self {
            start: time,
            end: time,
            step_ms: 1,
        }
    }

    /// The number of times; 0 when `end` lies before `start`.
    pub fn steps(&self) -> usize {
        let span = i128::from(self.end) - i128::from(self.start);
        if span < 0 {
            return 0;
        }
        usize::try_from(span / i128::from(self.step_ms.max(1)) + 1).unwrap_or(usize::MAX)
    }

    /// The time with this index.
    pub fn time(&self, index: usize) -> Timestamp {
        self.start + index as i64 * self.step_ms
    }
}

/// What a caller passes along with a query.
#[derive(Debug, Clone, Copy)]
pub struct QueryContext<'a> {
    /// The cancel flag and the bytes that the query's columns may take.
    pub budget: &'a Budget,
    /// When the query must have ended, on [`Clock::monotonic`].
    pub deadline: Option<Duration>,
    /// Where the time for the deadline comes from.
    pub clock: &'a dyn Clock,
    /// Overrides [`EngineOptions::lookback`] for this query.
    pub lookback: Option<Duration>,
    /// Whether [`Answer::samples_by_step`] is wanted.
    pub tells_steps: bool,
    /// Whether [`Answer::samples_peak`] is wanted as it is, which several threads cannot tell.
    pub tells_peak: bool,
}

impl<'a> QueryContext<'a> {
    /// No deadline, and everything else as the engine has it.
    pub const fn new(budget: &'a Budget, clock: &'a dyn Clock) -> Self {
        Self {
            budget,
            deadline: None,
            clock,
            lookback: None,
            tells_steps: false,
            tells_peak: false,
        }
    }
}

/// A query's value with what is to be said about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer<V = Value> {
    /// The value.
    pub value: V,
    /// `PromQL warning: … (line:column)`, at most ten and a line that counts the rest.
    pub warnings: Vec<String>,
    /// `PromQL info: … (line:column)`, at most ten and a line that counts the rest.
    pub infos: Vec<String>,
    /// Samples read, a sample once for each step that uses it.
    pub samples_total: u64,
    /// The most samples held at once; unless [`QueryContext::tells_peak`] perhaps more, what several threads held
    /// at most added up.
    pub samples_peak: u64,
    /// What `samples_total` is made of, by the steps' times; nothing unless wanted, and with
    /// [`Features::per_step_statistics`].
    pub samples_by_step: Vec<(Timestamp, u64)>,
}

impl<V> Answer<V> {
    /// The same about another form of the value.
    pub fn map<W>(self, change: impl FnOnce(V) -> W) -> Answer<W> {
        Answer {
            value: change(self.value),
            warnings: self.warnings,
            infos: self.infos,
            samples_total: self.samples_total,
            samples_peak: self.samples_peak,
            samples_by_step: self.samples_by_step,
        }
    }
}

/// Evaluates PromQL.
#[derive(Debug, Clone, Default)]
pub struct Engine {
    options: EngineOptions,
}

impl Engine {
    /// An engine with these settings.
    pub fn new(options: EngineOptions) -> Self {
        Self { options }
    }

    /// The settings.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    fn parse(&self, text: &str) -> Result<Expr, QueryError> {
        Ok(parser::parse(text, self.options.features.parser())?)
    }

    /// The value of `text` at one time.
    ///
    /// # Errors
    /// [`QueryError`], by the HTTP API's error types.
    pub fn instant(
        &self,
        store: &dyn Queryable,
        text: &str,
        time: Timestamp,
        context: &QueryContext<'_>,
    ) -> Result<Answer, QueryError> {
        self.instant_expr(store, &self.parse(text)?, text, time, context)
    }

    /// The value of an expression that was parsed before, from `text`, at one time.
    ///
    /// # Errors
    /// As [`Engine::instant`], but those of parsing.
    pub fn instant_expr(
        &self,
        store: &dyn Queryable,
        expr: &Expr,
        text: &str,
        time: Timestamp,
        context: &QueryContext<'_>,
    ) -> Result<Answer, QueryError> {
        Evaluation::new(&self.options, *context, Grid::instant(time), 0).instant(store, expr, text)
    }

    /// The values of `text` at every time of `grid`.
    ///
    /// # Errors
    /// [`QueryError`], by the HTTP API's error types.
    pub fn range(
        &self,
        store: &dyn Queryable,
        text: &str,
        grid: Grid,
        context: &QueryContext<'_>,
    ) -> Result<Answer, QueryError> {
        let answer = self.matrix(store, text, grid, context)?;
        Ok(answer.map(|matrix| Value::Matrix(matrix.into_series())))
    }

    /// As [`Engine::range`], with the values as they were computed: for whoever prints millions of them.
    ///
    /// # Errors
    /// As [`Engine::range`].
    pub fn matrix(
        &self,
        store: &dyn Queryable,
        text: &str,
        grid: Grid,
        context: &QueryContext<'_>,
    ) -> Result<Answer<Matrix>, QueryError> {
        let expr = self.parse_for_range(text)?;
        Evaluation::new(&self.options, *context, grid, grid.step_ms).range(store, &expr, text)
    }

    /// As [`Engine::matrix`], with the same answer, but for steps that an earlier query with this cache has evaluated
    /// and of which nothing can have changed since; the samples that are counted are those that were read, and a
    /// step that is taken over holds no more than its values.
    ///
    /// A cache serves one engine with one open store.
    ///
    /// # Errors
    /// As [`Engine::range`].
    pub fn matrix_with(
        &self,
        store: &dyn Queryable,
        text: &str,
        grid: Grid,
        context: &QueryContext<'_>,
        cache: &ResultCache,
    ) -> Result<Answer<Arc<Matrix>>, QueryError> {
        let expr = self.parse_for_range(text)?;
        Evaluation::new(&self.options, *context, grid, grid.step_ms)
            .range_with(store, &expr, text, cache)
    }

    fn parse_for_range(&self, text: &str) -> Result<Expr, QueryError> {
        let expr = self.parse(text)?;
        let value_type = expr.value_type();
        if !matches!(value_type, ValueType::Vector | ValueType::Scalar) {
            return Err(QueryError::BadData(format!(
                "invalid expression type \"{}\" for range query, must be Scalar or instant Vector",
                value_type.as_str()
            )));
        }
        Ok(expr)
    }
}
