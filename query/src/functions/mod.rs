//! PromQL's functions: one table of signatures, one file a family.

mod extended;
pub(crate) mod go_math;
mod go_sort;
mod histogram;
mod histogram_windows;
mod info;
mod label;
mod math;
mod native_histogram;
mod over_time;
mod rate;
mod regression;
mod sliding;
mod sort;
mod start_times;
mod summaries;
mod summation;
mod table;
mod time;

use std::{collections::HashSet, sync::Arc};

pub use table::{FUNCTIONS, Function, FunctionId};

use narthex_storage::{Labels, METRIC_NAME, Timestamp};

use crate::{
    FloatHistogram, FloatStyle, Grid, QueryError,
    annotations::{Remark, Said},
    eval::{
        ABSENT, Columns, Evaluation, Frame, HistogramCell, Kept, Naming, Need, Node, RangeRow, Row,
        Sink, hasher, internal, is_absent, is_quantile, same_labels,
    },
    format_float,
    parser::{Edges, Expr, ExprKind, Span, VectorSelector},
};
pub(crate) use go_sort::go_sort;
use histogram_windows::{Mixed, Outcome};
pub(crate) use info::Sight;
pub(crate) use math::{greater, lesser};
use over_time::Window;
use rate::Change;
pub(crate) use rate::Extrapolations;
pub(crate) use regression::TimeSums;
pub(crate) use time::rfc3339;

/// How a function of a range vector computes a row.
#[derive(Clone, Copy)]
pub(crate) enum Kernel {
    /// Window by window; no value for a window means no sample at the step.
    Window(fn(Window<'_>) -> Option<f64>),
    /// The whole row at once.
    Change(Change),
}

/// The kernel of a function that takes a range vector and gives a row for each of its series.
pub(crate) fn range_kernel(id: FunctionId) -> Option<Kernel> {
    Some(Kernel::Window(match id {
        FunctionId::Rate => return Some(Kernel::Change(Change::Rate)),
        FunctionId::Increase => return Some(Kernel::Change(Change::Increase)),
        FunctionId::Delta => return Some(Kernel::Change(Change::Delta)),
        FunctionId::Irate => over_time::irate,
        FunctionId::Idelta => over_time::idelta,
        FunctionId::Deriv => regression::deriv,
        FunctionId::PredictLinear => regression::predict_linear,
        FunctionId::DoubleExponentialSmoothing => over_time::smooth,
        FunctionId::Resets => over_time::resets,
        FunctionId::Changes => over_time::changes,
        FunctionId::AvgOverTime => over_time::avg,
        FunctionId::SumOverTime => over_time::sum,
        FunctionId::CountOverTime => over_time::count,
        FunctionId::MinOverTime => over_time::min,
        FunctionId::MaxOverTime => over_time::max,
        FunctionId::FirstOverTime => over_time::first,
        FunctionId::LastOverTime => over_time::last,
        FunctionId::PresentOverTime => over_time::present,
        FunctionId::StddevOverTime => over_time::stddev,
        FunctionId::StdvarOverTime => over_time::stdvar,
        FunctionId::QuantileOverTime => over_time::quantile_of,
        FunctionId::MadOverTime => over_time::mad,
        FunctionId::TsOfFirstOverTime => over_time::ts_of_first,
        FunctionId::TsOfLastOverTime => over_time::ts_of_last,
        FunctionId::TsOfMaxOverTime => over_time::ts_of_max,
        FunctionId::TsOfMinOverTime => over_time::ts_of_min,
        _ => return None,
    }))
}

/// Whether the value depends on the evaluation time even when the arguments do not.
pub(crate) fn depends_on_time(id: FunctionId) -> bool {
    matches!(
        id,
        FunctionId::Time
            | FunctionId::Timestamp
            | FunctionId::PredictLinear
            | FunctionId::Minute
            | FunctionId::Hour
            | FunctionId::DayOfMonth
            | FunctionId::DayOfWeek
            | FunctionId::DayOfYear
            | FunctionId::DaysInMonth
            | FunctionId::Month
            | FunctionId::Year
    )
}

/// The value of a call at every step of `grid`.
#[inline(never)]
pub(crate) fn call(
    evaluation: &mut Evaluation<'_>,
    function: &Function,
    args: &[Expr],
    grid: Grid,
) -> Result<Node, QueryError> {
    let counts_itself = matches!(
        function.id,
        FunctionId::AbsentOverTime | FunctionId::LabelReplace | FunctionId::LabelJoin
    );
    if counts_itself || range_kernel(function.id).is_some() {
        return dispatch(evaluation, function, args, grid);
    }
    evaluation.step_by_step(|evaluation| dispatch(evaluation, function, args, grid))
}

fn dispatch(
    evaluation: &mut Evaluation<'_>,
    function: &Function,
    args: &[Expr],
    grid: Grid,
) -> Result<Node, QueryError> {
    if let Some(operation) = math::unary(function.id) {
        return map(evaluation, &args[0], grid, |_, value| operation(value));
    }
    if let Some(operation) = native_histogram::unary(function.id) {
        return of_histograms(evaluation, &args[0], grid, operation);
    }
    if let Some(operation) = time::field(function.id) {
        return match args.first() {
            Some(arg) => map(evaluation, arg, grid, |_, value| operation(value)),
            None => {
                let row: Vec<f64> = times(grid).map(operation).collect();
                Ok(Node::Vector(unnamed(&row)))
            }
        };
    }
    if range_kernel(function.id).is_some() {
        let mut frame = Frame::new(grid.steps());
        let charge = evaluation.charger();
        evaluation.keeping_rows(|evaluation| {
            range_function_rows(
                evaluation,
                function,
                args,
                grid,
                &mut |labels, naming, row| {
                    charge(row.cost_cells())?;
                    frame.push(naming.labels(labels), naming.drop_name(), row);
                    Ok(())
                },
            )
        })?;
        return Ok(Node::Vector(frame));
    }
    match function.id {
        FunctionId::Round | FunctionId::Clamp | FunctionId::ClampMin | FunctionId::ClampMax => {
            with_scalars(evaluation, function.id, args, grid)
        }
        FunctionId::Time => Ok(Node::Scalar(times(grid).collect())),
        FunctionId::Timestamp => timestamps(evaluation, &args[0], grid),
        FunctionId::StartTimestamp => started(evaluation, &args[0], grid),
        FunctionId::Pi => Ok(constant(std::f64::consts::PI, grid)),
        FunctionId::Start => Ok(constant(seconds(evaluation.grid.start), grid)),
        FunctionId::End => Ok(constant(seconds(evaluation.grid.end), grid)),
        FunctionId::Range => {
            let range_ms = evaluation.grid.end - evaluation.grid.start;
            Ok(constant(seconds(range_ms), grid))
        }
        FunctionId::Step => Ok(constant(seconds(evaluation.step_ms), grid)),
        FunctionId::MinOf | FunctionId::MaxOf => {
            let choose = if function.id == FunctionId::MinOf {
                math::lesser
            } else {
                math::greater
            };
            let left = evaluation.scalar(&args[0], grid)?;
            let right = evaluation.scalar(&args[1], grid)?;
            let pairs = left.iter().zip(&right);
            Ok(Node::Scalar(pairs.map(|(a, b)| choose(*a, *b)).collect()))
        }
        FunctionId::Scalar => to_scalar(evaluation, &args[0], grid),
        FunctionId::Vector => {
            let values = evaluation.scalar(&args[0], grid)?;
            Ok(Node::Vector(unnamed(&values)))
        }
        FunctionId::Absent => absent(evaluation, &args[0], grid),
        FunctionId::AbsentOverTime => {
            extended::check(function.name, &args[0])?;
            absent_over_time(evaluation, &args[0], grid)
        }
        FunctionId::Info => Ok(Node::Vector(info::enriched(evaluation, args, grid)?)),
        FunctionId::LabelReplace => Ok(Node::Vector(label::replace(evaluation, args, grid)?)),
        FunctionId::LabelJoin => Ok(Node::Vector(label::join(evaluation, args, grid)?)),
        FunctionId::Sort | FunctionId::SortDesc => {
            sort_by_value(evaluation, function.id, &args[0], grid)
        }
        FunctionId::SortByLabel | FunctionId::SortByLabelDesc => {
            sort_by_label(evaluation, function.id, args, grid)
        }
        FunctionId::HistogramQuantile
        | FunctionId::HistogramQuantiles
        | FunctionId::HistogramFraction => {
            let tell = match function.id {
                FunctionId::HistogramQuantile => histogram::quantiles,
                FunctionId::HistogramQuantiles => histogram::many_quantiles,
                _ => histogram::fractions,
            };
            evaluation
                .finding_resets(false, |evaluation| tell(evaluation, args, grid))
                .map(Node::Vector)
        }
        _ => Err(internal("a function that nobody computes")),
    }
}

fn seconds(time: Timestamp) -> f64 {
    time as f64 / 1000.0
}

fn times(grid: Grid) -> impl Iterator<Item = f64> {
    (0..grid.steps()).map(move |step| seconds(grid.time(step)))
}

fn constant(value: f64, grid: Grid) -> Node {
    Node::Scalar(vec![value; grid.steps()])
}

/// A vector of one series without labels.
fn unnamed(row: &[f64]) -> Frame {
    let mut frame = Frame::new(row.len());
    frame.push(Labels::empty(), false, Row::floats(row));
    frame
}

/// Changes every value (given its step), drops the names.
fn map(
    evaluation: &mut Evaluation<'_>,
    arg: &Expr,
    grid: Grid,
    operation: impl Fn(usize, f64) -> f64,
) -> Result<Node, QueryError> {
    let frame = evaluation.vector(arg, grid)?;
    mapped(evaluation, frame, operation)
}

/// The same of a vector that was evaluated before.
fn mapped(
    evaluation: &Evaluation<'_>,
    mut frame: Frame,
    operation: impl Fn(usize, f64) -> f64,
) -> Result<Node, QueryError> {
    frame.drop_histograms();
    for index in 0..frame.len() {
        for (step, cell) in frame.floats_mut(index).iter_mut().enumerate() {
            if !is_absent(*cell) {
                *cell = operation(step, *cell);
            }
        }
    }
    finish(evaluation, frame.drop_empty_rows()).map(Node::Vector)
}

/// Tells a number of every native histogram, passes over numbers, drops the names alone: what tells of type and unit
/// stays, as in Prometheus, unless names go at the end of the query.
fn of_histograms(
    evaluation: &mut Evaluation<'_>,
    arg: &Expr,
    grid: Grid,
    operation: fn(&FloatHistogram) -> f64,
) -> Result<Node, QueryError> {
    let frame = evaluation.finding_resets(true, |evaluation| evaluation.vector(arg, grid))?;
    let mut out = Frame::new(grid.steps());
    let mut floats = vec![ABSENT; grid.steps()];
    for (head, row) in frame.iter() {
        for (step, cell) in floats.iter_mut().enumerate() {
            *cell = row
                .histogram(step)
                .map_or(ABSENT, |histogram| operation(histogram));
        }
        let row = Row::floats(&floats).at(head.place);
        out.push(head.labels.clone(), head.drop_name, row);
    }
    let mut out = out.drop_empty_rows();
    if evaluation.options.features.delayed_name_removal {
        return Ok(Node::Vector(evaluation.drop_names(out)));
    }
    for head in &mut out.heads {
        head.labels = head.labels.filtered(|name| name != METRIC_NAME.as_bytes());
    }
    out.merge_same_labels().map(Node::Vector)
}

/// Drops the names; what then has the same labels is merged, or refused at a common step.
fn finish(evaluation: &Evaluation<'_>, frame: Frame) -> Result<Frame, QueryError> {
    let frame = evaluation.drop_names(frame);
    if evaluation.options.features.delayed_name_removal {
        return Ok(frame);
    }
    frame.merge_same_labels()
}

fn with_scalars(
    evaluation: &mut Evaluation<'_>,
    id: FunctionId,
    args: &[Expr],
    grid: Grid,
) -> Result<Node, QueryError> {
    let frame = evaluation.vector(&args[0], grid)?;
    let mut scalars = Vec::with_capacity(2);
    for arg in &args[1..] {
        scalars.push(evaluation.scalar(arg, grid)?);
    }
    let at = |index: usize, step: usize| scalars.get(index).map_or(1.0, |values| values[step]);
    let node = mapped(evaluation, frame, |step, value| match id {
        FunctionId::Round => math::round(value, at(0, step)),
        FunctionId::ClampMin => math::greater(value, at(0, step)),
        FunctionId::ClampMax => math::lesser(value, at(0, step)),
        _ if at(1, step) < at(0, step) => ABSENT,
        _ => math::greater(at(0, step), math::lesser(at(1, step), value)),
    })?;
    match node {
        Node::Vector(frame) => Ok(Node::Vector(frame.drop_empty_rows())),
        node => Ok(node),
    }
}

fn to_scalar(evaluation: &mut Evaluation<'_>, arg: &Expr, grid: Grid) -> Result<Node, QueryError> {
    let frame = evaluation.vector(arg, grid)?;
    let mut found = vec![0_u32; grid.steps()];
    let mut values = vec![f64::NAN; grid.steps()];
    for (_, row) in frame.iter() {
        for ((found, value), cell) in found.iter_mut().zip(&mut values).zip(row.floats) {
            if !is_absent(*cell) {
                *found += 1;
                *value = if *found == 1 { *cell } else { f64::NAN };
            }
        }
    }
    Ok(Node::Scalar(values))
}

/// `timestamp`: of a selector the times of its samples, of anything else the evaluation time.
fn timestamps(evaluation: &mut Evaluation<'_>, arg: &Expr, grid: Grid) -> Result<Node, QueryError> {
    let ExprKind::VectorSelector(selector) = &arg.without_parens().kind else {
        let mut frame = evaluation.vector(arg, grid)?;
        for index in 0..frame.len() {
            for step in 0..grid.steps() {
                if frame.row(index).is_present(step) {
                    frame.floats_mut(index)[step] = seconds(grid.time(step));
                }
            }
        }
        frame.drop_histograms();
        return finish(evaluation, frame).map(Node::Vector);
    };
    sample_times(evaluation, selector, grid, |columns, index| {
        columns.times[index]
    })
}

/// `start_timestamp`: of a selector since when its samples count, 0 where that is not known; of anything else
/// nothing.
fn started(evaluation: &mut Evaluation<'_>, arg: &Expr, grid: Grid) -> Result<Node, QueryError> {
    let ExprKind::VectorSelector(selector) = &arg.without_parens().kind else {
        evaluation.vector(arg, grid)?;
        return Ok(Node::Vector(Frame::new(grid.steps())));
    };
    if !evaluation.options.features.start_timestamps {
        return Ok(Node::Vector(Frame::new(grid.steps())));
    }
    sample_times(evaluation, selector, grid, |columns, index| {
        columns.starts.get(index).copied().unwrap_or_default()
    })
}

/// Of each sample of a selector a time, in seconds.
fn sample_times(
    evaluation: &mut Evaluation<'_>,
    selector: &VectorSelector,
    grid: Grid,
    time: impl Fn(&Columns, usize) -> Timestamp,
) -> Result<Node, QueryError> {
    let mut frame = Frame::new(grid.steps());
    let mark = evaluation.held();
    evaluation.selector_samples(selector, grid, &mut |series, columns, newest| {
        let row: Vec<f64> = newest
            .iter()
            .map(|index| match index {
                Some(index) if !is_absent(columns.values[*index as usize]) => {
                    seconds(time(columns, *index as usize))
                }
                _ => ABSENT,
            })
            .collect();
        let samples = row.iter().filter(|cell| !is_absent(**cell)).count();
        if samples > 0 {
            let row = Row::floats(&row).at(series.place);
            frame.push(series.labels.clone(), false, row);
        }
        Ok(samples as u64)
    })?;
    // They are found step by step, and held no longer.
    evaluation.settle(mark, 0);
    evaluation.offer_with(grid.steps(), |counts| {
        frame.iter().for_each(|(_, row)| row.add_samples(counts));
    });
    finish(evaluation, frame).map(Node::Vector)
}

fn absent(evaluation: &mut Evaluation<'_>, arg: &Expr, grid: Grid) -> Result<Node, QueryError> {
    let mut row = vec![1.0; grid.steps()];
    let mut given = vec![0; grid.steps()];
    evaluation.rows(arg, grid, &mut |_, _, cells| {
        cells.add_samples(&mut given);
        for (step, out) in row.iter_mut().enumerate() {
            if cells.is_present(step) {
                *out = ABSENT;
            }
        }
        Ok(())
    })?;
    evaluation.offer_with(grid.steps(), |counts| {
        counts
            .iter_mut()
            .zip(&given)
            .for_each(|(count, given)| *count += given);
    });
    Ok(Node::Vector(absence(arg, &row)))
}

fn absent_over_time(
    evaluation: &mut Evaluation<'_>,
    arg: &Expr,
    grid: Grid,
) -> Result<Node, QueryError> {
    let mut out = vec![1.0; grid.steps()];
    evaluation.range_rows(arg, grid, Some(Need::Ends), &mut |row| {
        let mut found = 0;
        for (cell, (low, high)) in out.iter_mut().zip(row.bounds) {
            if high > low || row.core.is_some() {
                *cell = ABSENT;
                found += 1;
            }
        }
        Ok(Kept::Results(found))
    })?;
    Ok(Node::Vector(absence(arg, &out)))
}

fn absence(arg: &Expr, row: &[f64]) -> Frame {
    let mut frame = Frame::new(row.len());
    frame.push(label::of_absent(arg), false, Row::floats(row));
    frame.drop_empty_rows()
}

/// The order of an instant query's answer; a range query's is that of the labels.
fn sort_rows(frame: &Frame, is_before: impl Fn(usize, usize) -> bool) -> Frame {
    let mut order: Vec<usize> = (0..frame.len()).collect();
    order.sort_by_key(|index| frame.heads[*index].place);
    go_sort(&mut order, |a, b| is_before(*a, *b));
    frame.reordered(&order)
}

fn sort_by_value(
    evaluation: &mut Evaluation<'_>,
    id: FunctionId,
    arg: &Expr,
    grid: Grid,
) -> Result<Node, QueryError> {
    let mut frame = evaluation.vector(arg, grid)?;
    // Histograms have no place in an order of numbers.
    frame.drop_histograms();
    let frame = frame.drop_empty_rows();
    if grid.steps() != 1 {
        return Ok(Node::Vector(frame));
    }
    let descending = id == FunctionId::SortDesc;
    Ok(Node::Vector(sort_rows(&frame, |a, b| {
        sort::is_value_before(frame.row(a).floats[0], frame.row(b).floats[0], descending)
    })))
}

fn sort_by_label(
    evaluation: &mut Evaluation<'_>,
    id: FunctionId,
    args: &[Expr],
    grid: Grid,
) -> Result<Node, QueryError> {
    let mut names = Vec::with_capacity(args.len());
    for arg in &args[1..] {
        names.push(evaluation.text(arg, grid)?);
    }
    let frame = evaluation.vector(&args[0], grid)?;
    let descending = id == FunctionId::SortByLabelDesc;
    Ok(Node::Vector(sort_rows(&frame, |a, b| {
        let (a, b) = (&frame.heads[a].labels, &frame.heads[b].labels);
        sort::are_labels_before(a, b, &names, descending)
    })))
}

/// Hands the rows of a function of a range vector to `sink` one by one.
#[inline(never)]
pub(crate) fn range_function_rows(
    evaluation: &mut Evaluation<'_>,
    function: &Function,
    args: &[Expr],
    grid: Grid,
    sink: &mut Sink<'_>,
) -> Result<(), QueryError> {
    let kernel = range_kernel(function.id).ok_or_else(|| internal("not a range function"))?;
    let matrix_index = usize::from(function.id == FunctionId::QuantileOverTime);
    let mut scalars = Vec::with_capacity(2);
    for (index, arg) in args.iter().enumerate() {
        if index != matrix_index {
            scalars.push(evaluation.scalar(arg, grid)?);
        }
    }
    let warns_of_quantile = function.id == FunctionId::QuantileOverTime
        && scalars[0].iter().any(|ratio| !is_quantile(*ratio));
    // At which steps some series has numbers, so that a wrong quantile is worth a word.
    let mut looked = vec![false; grid.steps()];
    let matrix = &args[matrix_index];
    extended::check(function.name, matrix)?;
    let keeps_name = matches!(
        function.id,
        FunctionId::LastOverTime | FunctionId::FirstOverTime
    );
    let delayed = evaluation.options.features.delayed_name_removal;
    let is_counter_function = matches!(function.id, FunctionId::Rate | FunctionId::Increase);
    let by_type = evaluation.options.features.type_and_unit_labels;
    let mut suspects: Vec<Said> = Vec::new();
    let names_may_differ = Evaluation::names_may_differ(matrix);
    let mut is_looked_at = false;
    let mut seen: Option<HashSet<Labels, _>> =
        (!delayed && names_may_differ).then(|| HashSet::with_hasher(hasher()));
    let mut out = vec![ABSENT; grid.steps()];
    let mut histograms: Vec<HistogramCell> = Vec::new();
    let mut remarks: Vec<Said> = Vec::new();
    let need = summaries::need(function.id);
    let mut each = |row: &RangeRow<'_>| {
        let anchored;
        let row = if row.edges == Edges::Anchored && matches!(kernel, Kernel::Window(_)) {
            anchored = extended::anchored_bounds(row);
            &RangeRow {
                bounds: &anchored,
                ..*row
            }
        } else {
            row
        };
        if warns_of_quantile {
            for (looked, (low, high)) in looked.iter_mut().zip(row.bounds) {
                let is_float = |index: u32| row.histogram(index as usize).is_none();
                *looked |= (*low..*high).any(is_float);
            }
        }
        if function.id == FunctionId::DoubleExponentialSmoothing {
            check_factors(&scalars, row)?;
        }
        histograms.clear();
        let mut said = Vec::new();
        if let Some(core) = row.core {
            summaries::fill(function.id, row, core, &mut out);
        } else if row.histograms.iter().any(Option::is_some) {
            fill_mixed(
                function.id,
                kernel,
                row,
                grid,
                &scalars,
                (&mut out, &mut histograms),
                &mut said,
            );
        } else {
            fill(
                function.id,
                kernel,
                row,
                grid,
                &scalars,
                &mut out,
                &mut said,
            );
        }
        said.dedup();
        remarks.extend(said.iter().map(Remark::say));
        let cells = Row {
            floats: &out,
            histograms: &histograms,
            place: row.place,
        };
        if cells.is_empty() {
            return Ok(Kept::Results(0));
        }
        // Of one name the same is said for all.
        if is_counter_function
            && (names_may_differ || by_type || !is_looked_at)
            && !out.iter().all(|cell| is_absent(*cell))
        {
            is_looked_at = true;
            let suspect = suspect(row.labels, by_type);
            suspects.extend(suspect.filter(|suspect| suspects.last() != Some(suspect)));
        }
        let naming = match () {
            () if keeps_name => Naming::of(row.drop_name),
            () if delayed => Naming::GoesAtEnd,
            () => Naming::IsGone,
        };
        if let Some(seen) = &mut seen
            && !seen.insert(naming.labels(row.labels))
        {
            return Err(same_labels());
        }
        sink(row.labels, naming, cells)?;
        Ok(Kept::Results(cells.samples()))
    };
    // What comes of other functions says nothing of resets before it, whether they are looked for or not.
    let finds_resets = evaluation.finds_resets() && hands_on_histograms(function.id);
    evaluation.finding_resets(finds_resets, |evaluation| {
        evaluation.range_rows(matrix, grid, need, &mut each)
    })?;
    if warns_of_quantile {
        let span = args[0].without_parens().span;
        for (ratio, _) in scalars[0]
            .iter()
            .zip(&looked)
            .filter(|(_, looked)| **looked)
        {
            evaluation.check_quantile(*ratio, span);
        }
    }
    // Prometheus loses the place of a subquery and names the query's start.
    let span = match &matrix.without_parens().kind {
        ExprKind::Subquery(_) => Span::default(),
        _ => matrix.without_parens().span,
    };
    let said_at = if function.id == FunctionId::QuantileOverTime {
        args[0].without_parens().span
    } else {
        span
    };
    for remark in remarks {
        evaluation.notes.say(remark, said_at);
    }
    for suspect in suspects {
        evaluation.notes.say(suspect, span);
    }
    Ok(())
}

/// What is said about a series that might be no counter, by its type label or by its name.
fn suspect(labels: &Labels, by_type: bool) -> Option<Said> {
    let name = labels.metric_name();
    let remark = if by_type {
        let declared = labels.get("__type__").unwrap_or_default();
        let is_counter = matches!(declared, "counter" | "histogram");
        (!is_counter).then_some(Remark::NotTypedCounter(declared, name))
    } else {
        let is_counter = COUNTER_SUFFIXES.iter().any(|suffix| name.ends_with(suffix));
        (!is_counter).then_some(Remark::NotNamedCounter(name))
    };
    remark
        .filter(|_| !name.is_empty())
        .map(|remark| remark.say())
}

/// Computes one row with histograms; says what is to be said.
fn fill_mixed<'r>(
    id: FunctionId,
    kernel: Kernel,
    row: &RangeRow<'r>,
    grid: Grid,
    scalars: &[Vec<f64>],
    (floats, histograms): (&mut [f64], &mut Vec<HistogramCell>),
    remarks: &mut Vec<Remark<'r>>,
) {
    // What a window without histograms gives.
    fill(id, kernel, row, grid, scalars, floats, remarks);
    histograms.resize(floats.len(), None);
    for (step, (low, high)) in row.bounds.iter().enumerate() {
        let (low, high) = (*low as usize, *high as usize);
        if !row.histograms[low..high].iter().any(Option::is_some) {
            continue;
        }
        let param = |index: usize| scalars.get(index).map_or(0.0, |row| row[step]);
        let window = Mixed {
            row,
            bounds: (low, high),
            end: row.ends[step],
            time: grid.time(step),
            params: [param(0), param(1)],
        };
        floats[step] = ABSENT;
        match window.value(id, remarks) {
            Outcome::Nothing => {}
            Outcome::Float(value) => floats[step] = value,
            Outcome::Histogram(histogram) => histograms[step] = Some(Arc::new(histogram)),
        }
    }
}

/// Whether histograms of the windows, or sums of them, are the function's results.
fn hands_on_histograms(id: FunctionId) -> bool {
    matches!(
        id,
        FunctionId::AvgOverTime
            | FunctionId::FirstOverTime
            | FunctionId::LastOverTime
            | FunctionId::SumOverTime
    )
}

/// How the names of counters end.
const COUNTER_SUFFIXES: [&str; 4] = ["_total", "_sum", "_count", "_bucket"];

/// Refuses factors of `double_exponential_smoothing` that are not between 0 and 1, where there are samples.
fn check_factors(scalars: &[Vec<f64>], row: &RangeRow<'_>) -> Result<(), QueryError> {
    for (step, (low, high)) in row.bounds.iter().enumerate() {
        if low == high {
            continue;
        }
        for (value, what, symbol) in [
            (scalars[0][step], "smoothing", "sf"),
            (scalars[1][step], "trend", "tf"),
        ] {
            if value <= 0.0 || value >= 1.0 {
                let value = if value.is_finite() {
                    format!("{value:.6}")
                } else {
                    format_float(value, FloatStyle::General)
                };
                return Err(QueryError::Execution(format!(
                    "invalid {what} factor. Expected: 0 < {symbol} < 1, got: {value}"
                )));
            }
        }
    }
    Ok(())
}

/// Computes one row; says what is to be said.
fn fill<'r>(
    id: FunctionId,
    kernel: Kernel,
    row: &RangeRow<'r>,
    grid: Grid,
    scalars: &[Vec<f64>],
    out: &mut [f64],
    remarks: &mut Vec<Remark<'r>>,
) {
    if !row.starts.is_empty()
        && let Some(overlap) = start_times::fill(id, row, out)
    {
        if overlap {
            remarks.push(Remark::StartsOverlap(row.labels.metric_name()));
        }
        return;
    }
    match kernel {
        Kernel::Change(change) if row.edges != Edges::Plain => extended::column(change, row, out),
        Kernel::Change(change) => rate::column(change, row, out),
        Kernel::Window(_) if sliding::fill(id, row, grid, scalars.first(), out) => {}
        Kernel::Window(kernel) => {
            for (step, (cell, (low, high))) in out.iter_mut().zip(row.bounds).enumerate() {
                *cell = if low == high {
                    ABSENT
                } else {
                    let window = *low as usize..*high as usize;
                    let param = |index: usize| scalars.get(index).map_or(0.0, |row| row[step]);
                    kernel(Window {
                        times: &row.times[window.clone()],
                        values: &row.values[window],
                        time: grid.time(step),
                        params: [param(0), param(1)],
                    })
                    .unwrap_or(ABSENT)
                };
            }
        }
    }
}
