//! Quantiles and fractions of classic histograms: series that differ in their `le` label.
//!
//! **Source**: Prometheus's interpolation inside a bucket, its repair of counts that are not
//! monotonic, and what it says about malformed buckets.

use std::collections::HashMap;

use narthex_storage::{Labels, METRIC_NAME, Timestamp};

use super::native_histogram;
use crate::{
    FloatHistogram, FloatStyle, Grid, QueryError,
    annotations::{ForMetric, Remark, Repairs, Said},
    eval::{ABSENT, Evaluation, Frame, Row, hasher, is_absent, without_name},
    format_float,
    parser::{Expr, Span},
};

/// The label with a bucket's upper bound.
const BUCKET_LABEL: &str = "le";

/// Counts that differ by less than this, relative to their size, are taken as equal.
const TOLERANCE: f64 = 1e-12;

/// One bucket at one step.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bucket {
    upper: f64,
    /// Observations up to the bound.
    count: f64,
}

/// `histogram_quantile(φ, v)`
pub(crate) fn quantiles(
    evaluation: &mut Evaluation<'_>,
    args: &[Expr],
    grid: Grid,
) -> Result<Frame, QueryError> {
    let ratios = evaluation.scalar(&args[0], grid)?;
    let input = evaluation.vector(&args[1], grid)?;
    for ratio in &ratios {
        evaluation.check_quantile(*ratio, args[0].without_parens().span);
    }
    let histograms = collect(evaluation, &input, args[1].without_parens().span);
    let mut frame = Frame::new(grid.steps());
    quantile_rows(
        evaluation,
        &histograms,
        &input,
        &ratios,
        grid,
        None,
        &mut frame,
    )?;
    finish(evaluation, frame)
}

/// `histogram_quantiles(v, "label", φ…)`
pub(crate) fn many_quantiles(
    evaluation: &mut Evaluation<'_>,
    args: &[Expr],
    grid: Grid,
) -> Result<Frame, QueryError> {
    let label = evaluation.text(&args[1], grid)?;
    let input = evaluation.vector(&args[0], grid)?;
    let histograms = collect(evaluation, &input, args[0].without_parens().span);
    let mut frame = Frame::new(grid.steps());
    for arg in &args[2..] {
        let ratios = evaluation.scalar(arg, grid)?;
        for ratio in &ratios {
            evaluation.check_quantile(*ratio, arg.without_parens().span);
        }
        let value = open_metrics(ratios[0]);
        let extra = Some((label.as_str(), value.as_str()));
        quantile_rows(
            evaluation,
            &histograms,
            &input,
            &ratios,
            grid,
            extra,
            &mut frame,
        )?;
    }
    finish(evaluation, frame)
}

/// A number as OpenMetrics writes it: whole ones with `.0`.
fn open_metrics(value: f64) -> String {
    let mut text = format_float(value, FloatStyle::General);
    if value.is_finite() && !text.contains(['.', 'e']) {
        text.push_str(".0");
    }
    text
}

/// Adds a row of quantiles for each histogram, native ones first.
fn quantile_rows(
    evaluation: &mut Evaluation<'_>,
    histograms: &Histograms,
    input: &Frame,
    ratios: &[f64],
    grid: Grid,
    extra: Option<(&str, &str)>,
    frame: &mut Frame,
) -> Result<(), QueryError> {
    native_rows(
        evaluation,
        histograms,
        input,
        extra,
        frame,
        |step, of, name| native_histogram::quantile(ratios[step], of, name),
    );
    let mut out = vec![ABSENT; input.steps];
    let mut buckets = Vec::new();
    for histogram in &histograms.list {
        evaluation.check()?;
        let mut repairs: Option<Repairs> = None;
        for (step, cell) in out.iter_mut().enumerate() {
            histogram.buckets(input, step, &mut buckets);
            *cell = if buckets.is_empty() {
                ABSENT
            } else {
                let (value, repair) = quantile(ratios[step], &mut buckets);
                if let Some(repair) = repair {
                    let new = repair.at(grid.time(step));
                    repairs = Some(repairs.map_or(new, |known| known.and(new)));
                }
                value
            };
        }
        if let Some(repairs) = repairs {
            // The name is known only when it is removed late.
            let name = if histogram.drop_name {
                ForMetric(&histogram.name).to_string()
            } else {
                String::new()
            };
            evaluation.notes.inform_of_repairs(
                format!(
                    "input to histogram_quantile needed to be fixed for monotonicity (see \
                     https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){name}",
                ),
                histograms.span,
                repairs,
            );
        }
        let labels = match extra {
            None => histogram.labels.clone(),
            Some((name, value)) => histogram.labels.with(name, value),
        };
        let row = Row::floats(&out).at(histogram.place);
        frame.push(labels, histogram.drop_name, row);
    }
    Ok(())
}

/// `histogram_fraction(lower, upper, v)`
pub(crate) fn fractions(
    evaluation: &mut Evaluation<'_>,
    args: &[Expr],
    grid: Grid,
) -> Result<Frame, QueryError> {
    let lower = evaluation.scalar(&args[0], grid)?;
    let upper = evaluation.scalar(&args[1], grid)?;
    let input = evaluation.vector(&args[2], grid)?;
    let histograms = collect(evaluation, &input, args[2].without_parens().span);
    let mut frame = Frame::new(grid.steps());
    native_rows(
        evaluation,
        &histograms,
        &input,
        None,
        &mut frame,
        |step, of, name| native_histogram::fraction(lower[step], upper[step], of, name),
    );
    let mut out = vec![ABSENT; input.steps];
    let mut buckets = Vec::new();
    for histogram in &histograms.list {
        evaluation.check()?;
        for (step, cell) in out.iter_mut().enumerate() {
            histogram.buckets(&input, step, &mut buckets);
            *cell = if buckets.is_empty() {
                ABSENT
            } else {
                fraction(lower[step], upper[step], &mut buckets)
            };
        }
        let row = Row::floats(&out).at(histogram.place);
        frame.push(histogram.labels.clone(), histogram.drop_name, row);
    }
    finish(evaluation, frame)
}

/// Adds a row for each native histogram, with one label more where that is wanted.
fn native_rows(
    evaluation: &mut Evaluation<'_>,
    histograms: &Histograms,
    input: &Frame,
    extra: Option<(&str, &str)>,
    frame: &mut Frame,
    value: impl for<'n> Fn(usize, &FloatHistogram, &'n str) -> (f64, Option<Remark<'n>>),
) {
    let delayed = evaluation.options.features.delayed_name_removal;
    for native in &histograms.native {
        let labels = &input.heads[native.row].labels;
        // The name is known only when it is removed late.
        let name = if delayed { labels.metric_name() } else { "" };
        let row = input.row(native.row);
        let mut said: Option<Said> = None;
        let out: Vec<f64> = (0..input.steps)
            .map(|step| {
                let Some(histogram) = row.histogram(step) else {
                    return ABSENT;
                };
                if native
                    .rival
                    .is_some_and(|rival| histograms.list[rival].has_buckets(input, step))
                {
                    return ABSENT;
                }
                let (value, remark) = value(step, histogram, name);
                if let Some(remark) = remark {
                    let remark = remark.say();
                    if said.as_ref() != Some(&remark) {
                        evaluation.notes.say(remark.clone(), histograms.span);
                        said = Some(remark);
                    }
                }
                value
            })
            .collect();
        let labels = if delayed {
            labels.clone()
        } else {
            without_name(labels)
        };
        let labels = match extra {
            None => labels,
            Some((name, value)) => labels.with(name, value),
        };
        frame.push(labels, delayed, Row::floats(&out).at(row.place));
    }
}

fn finish(evaluation: &Evaluation<'_>, frame: Frame) -> Result<Frame, QueryError> {
    let frame = frame.drop_empty_rows();
    if evaluation.options.features.delayed_name_removal {
        return Ok(frame);
    }
    frame.merge_same_labels()
}

/// The histograms of an expression.
struct Histograms {
    list: Vec<Histogram>,
    native: Vec<Native>,
    /// Where the expression stands.
    span: Span,
}

/// A series with native histograms.
struct Native {
    row: usize,
    /// The classic histogram of the same name and labels: where both have samples there is no result.
    rival: Option<usize>,
}

/// The series of one histogram.
struct Histogram {
    labels: Labels,
    drop_name: bool,
    /// That of the first of its rows, see [`Row::place`].
    place: u64,
    name: String,
    /// Upper bound and row of each bucket, ascending by bound.
    rows: Vec<(f64, usize)>,
    /// The row of a native histogram of the same name and labels.
    rival: Option<usize>,
}

impl Histogram {
    fn has_buckets(&self, input: &Frame, step: usize) -> bool {
        let mut rows = self.rows.iter();
        rows.any(|(_, row)| !is_absent(input.row(*row).floats[step]))
    }

    fn buckets(&self, input: &Frame, step: usize, out: &mut Vec<Bucket>) {
        out.clear();
        if self
            .rival
            .is_some_and(|row| input.row(row).histogram(step).is_some())
        {
            return;
        }
        out.extend(self.rows.iter().filter_map(|(upper, row)| {
            let count = input.row(*row).floats[step];
            (!is_absent(count)).then_some(Bucket {
                upper: *upper,
                count,
            })
        }));
    }
}

/// Puts the bucket series of each histogram together, warning of those whose bound does not parse.
fn collect(evaluation: &mut Evaluation<'_>, input: &Frame, span: Span) -> Histograms {
    let delayed = evaluation.options.features.delayed_name_removal;
    let mut histograms: Vec<Histogram> = Vec::new();
    let mut known: HashMap<Labels, usize, _> = HashMap::with_hasher(hasher());
    let mut native = Vec::new();
    for (row, head) in input.heads.iter().enumerate() {
        if input.row(row).histograms.iter().any(Option::is_some) {
            native.push(Native { row, rival: None });
        }
        if input.row(row).floats.iter().all(|cell| is_absent(*cell)) {
            continue;
        }
        let bound = head.labels.get(BUCKET_LABEL).unwrap_or_default();
        let Some(upper) = parse_bound(bound) else {
            let quoted = crate::parser::quote::quote(bound);
            // The name is known only when it is removed late.
            let name = if delayed {
                head.labels.metric_name()
            } else {
                ""
            };
            evaluation.notes.warn(
                format!(
                    "bucket label \"le\" is missing or has a malformed value of {quoted}{}",
                    ForMetric(name)
                ),
                span,
            );
            continue;
        };
        let with_name = head.labels.with(BUCKET_LABEL, "");
        let labels = if delayed {
            with_name
        } else {
            without_name(&with_name)
        };
        let key = if delayed {
            labels.clone()
        } else {
            // Histograms of two names are two histograms, even when their results clash.
            with_name_of(&head.labels, &labels)
        };
        let index = *known.entry(key).or_insert_with(|| {
            histograms.push(Histogram {
                labels,
                drop_name: delayed,
                place: head.place,
                name: head.labels.metric_name().to_owned(),
                rows: Vec::new(),
                rival: None,
            });
            histograms.len() - 1
        });
        let histogram = &mut histograms[index];
        histogram.place = histogram.place.min(head.place);
        histogram.rows.push((upper, row));
    }
    for histogram in &mut histograms {
        histogram.rows.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        // They are added up in the order of their rows; of two that is all the same.
        if histogram.rows.windows(3).any(|rows| rows[0].0 == rows[2].0) {
            evaluation.depends_on_grid.set(true);
        }
    }
    for native in &mut native {
        let labels = &input.heads[native.row].labels;
        let Some(rival) = known.get(labels) else {
            continue;
        };
        native.rival = Some(*rival);
        histograms[*rival].rival = Some(native.row);
        let rival = &histograms[*rival];
        let row = input.row(native.row);
        if (0..input.steps)
            .any(|step| row.histogram(step).is_some() && rival.has_buckets(input, step))
        {
            let name = labels.metric_name();
            evaluation
                .notes
                .say(Remark::MixedClassicNative(name).say(), span);
        }
    }
    Histograms {
        list: histograms,
        native,
        span,
    }
}

fn with_name_of(source: &Labels, labels: &Labels) -> Labels {
    labels.with(METRIC_NAME, source.metric_name())
}

/// A bound as Go's float parser reads it, the common notations.
fn parse_bound(text: &str) -> Option<f64> {
    let plain = !text.is_empty() && !text.starts_with(char::is_whitespace);
    plain.then(|| text.parse().ok()).flatten()
}

/// Adds up buckets with the same bound; they are sorted by it.
fn coalesce(buckets: &mut Vec<Bucket>) {
    buckets.dedup_by(|bucket, kept| {
        let same = bucket.upper == kept.upper;
        if same {
            kept.count += bucket.count;
        }
        same
    });
}

/// The counts that had to be raised in one histogram.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Repair {
    /// Upper bounds of the first and of the last such bucket.
    bounds: (f64, f64),
    greatest_rise: f64,
}

impl Repair {
    fn at(self, time: Timestamp) -> Repairs {
        Repairs {
            bounds: self.bounds,
            greatest_rise: self.greatest_rise,
            times: (time, time),
            histograms: 1,
        }
    }
}

/// Makes counts rise with the bounds; tells of real falls, not of those by rounding.
fn repair(buckets: &mut [Bucket]) -> Option<Repair> {
    let mut done: Option<Repair> = None;
    let mut before = buckets[0].count;
    for bucket in &mut buckets[1..] {
        if bucket.count == before {
            continue;
        }
        if nearly_equal(before, bucket.count) {
            bucket.count = before;
        } else if bucket.count < before {
            let rise = before - bucket.count;
            bucket.count = before;
            done = Some(match done {
                None => Repair {
                    bounds: (bucket.upper, bucket.upper),
                    greatest_rise: rise,
                },
                Some(known) => Repair {
                    bounds: (known.bounds.0, bucket.upper),
                    greatest_rise: known.greatest_rise.max(rise),
                },
            });
        } else {
            before = bucket.count;
        }
    }
    done
}

fn nearly_equal(a: f64, b: f64) -> bool {
    if a.is_nan() || b.is_nan() {
        return a.is_nan() && b.is_nan();
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

/// Joins buckets, which ascend; without an open last one it is `false`, and nothing can be told.
fn arrange(buckets: &mut Vec<Bucket>) -> bool {
    let complete = buckets
        .last()
        .is_some_and(|last| last.upper == f64::INFINITY);
    coalesce(buckets);
    complete
}

fn quantile(ratio: f64, buckets: &mut Vec<Bucket>) -> (f64, Option<Repair>) {
    if ratio.is_nan() {
        return (f64::NAN, None);
    }
    if ratio < 0.0 {
        return (f64::NEG_INFINITY, None);
    }
    if ratio > 1.0 {
        return (f64::INFINITY, None);
    }
    if !arrange(buckets) {
        return (f64::NAN, None);
    }
    let repair = repair(buckets);
    let last = buckets.len() - 1;
    let observations = buckets[last].count;
    if last == 0 || observations == 0.0 {
        return (f64::NAN, None);
    }
    if observations.is_nan() {
        return (f64::NAN, repair);
    }
    let rank = ratio * observations;
    let index =
        buckets[..last].partition_point(|bucket| bucket.count < rank || bucket.count.is_nan());
    if index == last {
        return (buckets[last - 1].upper, repair);
    }
    let Bucket { upper, count } = buckets[index];
    if index == 0 {
        if upper <= 0.0 {
            return (upper, repair);
        }
        // From a rank of -0 comes 0.
        return (0.0 + upper * (rank / count), repair);
    }
    let below = buckets[index - 1];
    let place = (rank - below.count) / (count - below.count);
    (below.upper + (upper - below.upper) * place, repair)
}

fn fraction(lower: f64, upper: f64, buckets: &mut Vec<Bucket>) -> f64 {
    if !arrange(buckets) {
        return f64::NAN;
    }
    repair(buckets);
    let last = buckets.len() - 1;
    let count = buckets[last].count;
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    // Observations up to a value, interpolated inside its bucket.
    let rank = |value: f64| {
        let mut below = Bucket {
            upper: if buckets[0].upper > 0.0 {
                0.0
            } else {
                f64::NEG_INFINITY
            },
            count: 0.0,
        };
        for bucket in buckets.iter() {
            if below.upper >= value {
                return below.count;
            }
            if value < bucket.upper {
                // An open bucket cannot be divided: all of the first lies below, none of the last.
                if below.upper == f64::NEG_INFINITY {
                    return bucket.count;
                }
                let share = (value - below.upper) / (bucket.upper - below.upper);
                return below.count + (bucket.count - below.count) * share;
            }
            below = *bucket;
        }
        count
    };
    (rank(upper) - rank(lower)) / count
}
