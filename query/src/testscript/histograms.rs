//! Native histograms in series lines: `{{schema:0 sum:5 count:4 buckets:[1 2 1]}}`.

use std::sync::Arc;

use narthex_storage::{CUSTOM_BUCKETS_SCHEMA, ResetHint};

use crate::{FloatHistogram, FloatStyle, format_float, histogram::Buckets, parser::quote};

use super::values::read_signed;

/// A histogram has at most so many buckets on a side.
const BUCKETS_MAX: usize = 10_000;

/// Reads the histogram at the beginning of `text`, which begins with `{{`; also how long it is.
///
/// # Errors
/// What is wrong, and where in `text`.
pub(super) fn parse_histogram(text: &str) -> Result<(FloatHistogram, usize), (usize, String)> {
    let Some(end) = text.find("}}") else {
        return Err((
            text.len(),
            "unexpected end of input in histogram description".to_owned(),
        ));
    };
    let body = text.get(2..end).unwrap_or_default();
    let mut histogram = FloatHistogram::default();
    let (mut positive, mut negative) = (Side::default(), Side::default());
    let mut rest = body;
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            break;
        }
        let at = 2 + body.len() - rest.len();
        let fail = |message: String| Err((at, message));
        let Some((key, behind)) = rest.split_once(':') else {
            return fail(format!(
                "unexpected {} in histogram description, expected \":\"",
                quote(rest)
            ));
        };
        let (value, behind) = match behind.strip_prefix('[') {
            Some(list) => match list.split_once(']') {
                Some((list, behind)) => (list, behind),
                None => return fail("unclosed left bracket in histogram description".to_owned()),
            },
            None => behind
                .split_once(char::is_whitespace)
                .unwrap_or((behind, "")),
        };
        rest = behind;
        let number = || {
            read_signed(value).ok_or_else(|| {
                (
                    at,
                    format!(
                        "error parsing number {} in histogram description",
                        quote(value)
                    ),
                )
            })
        };
        let list = || -> Result<Vec<f64>, (usize, String)> {
            value
                .split_whitespace()
                .map(|word| {
                    read_signed(word).ok_or_else(|| {
                        (
                            at,
                            format!(
                                "error parsing number {} in histogram description",
                                quote(word)
                            ),
                        )
                    })
                })
                .collect()
        };
        match key {
            "schema" => histogram.schema = number()? as i8,
            "sum" => histogram.sum = number()?,
            "count" => histogram.count = number()?,
            "z_bucket" => histogram.zero_count = number()?,
            "z_bucket_w" => histogram.zero_threshold = number()?,
            "custom_values" => histogram.custom_bounds = list()?.into(),
            "buckets" => positive.counts = list()?,
            "offset" => positive.offset = number()? as i32,
            "n_buckets" => negative.counts = list()?,
            "n_offset" => negative.offset = number()? as i32,
            "counter_reset_hint" => {
                histogram.reset_hint = match value {
                    "unknown" => ResetHint::Unknown,
                    "reset" => ResetHint::Reset,
                    "not_reset" => ResetHint::NoReset,
                    "gauge" => ResetHint::Gauge,
                    _ => return fail(format!("bad counter reset hint {}", quote(value))),
                }
            }
            _ => return fail(format!("bad histogram descriptor found: {}", quote(key))),
        }
        if positive.counts.len().max(negative.counts.len()) > BUCKETS_MAX {
            return fail(format!(
                "a histogram may have {BUCKETS_MAX} buckets on a side"
            ));
        }
    }
    if histogram.schema != CUSTOM_BUCKETS_SCHEMA && !histogram.custom_bounds.is_empty() {
        return Err((2, "custom_values need the schema -53".to_owned()));
    }
    histogram.positive = positive.buckets();
    histogram.negative = negative.buckets();
    Ok((histogram, end + 2))
}

/// The histogram in the language of series lines, without what is 0 and without empty buckets at both ends:
/// `{{schema:1 count:3 sum:4.5 offset:-1 buckets:[1 0 2]}}`.
pub fn describe_histogram(histogram: &FloatHistogram) -> String {
    let number = |value| format_float(value, FloatStyle::General);
    let list = |values: &mut dyn Iterator<Item = f64>| {
        let values: Vec<String> = values.map(number).collect();
        format!("[{}]", values.join(" "))
    };
    let mut words = Vec::new();
    if histogram.schema != 0 {
        words.push(format!("schema:{}", histogram.schema));
    }
    for (name, value) in [
        ("count", histogram.count),
        ("sum", histogram.sum),
        ("z_bucket", histogram.zero_count),
        ("z_bucket_w", histogram.zero_threshold),
    ] {
        if value != 0.0 {
            words.push(format!("{name}:{}", number(value)));
        }
    }
    if !histogram.custom_bounds.is_empty() {
        let bounds = list(&mut histogram.custom_bounds.iter().copied());
        words.push(format!("custom_values:{bounds}"));
    }
    match histogram.reset_hint {
        ResetHint::Unknown => {}
        ResetHint::Reset => words.push("counter_reset_hint:reset".to_owned()),
        ResetHint::NoReset => words.push("counter_reset_hint:not_reset".to_owned()),
        ResetHint::Gauge => words.push("counter_reset_hint:gauge".to_owned()),
    }
    for (prefix, buckets) in [("", &histogram.positive), ("n_", &histogram.negative)] {
        let filled: Vec<(i32, f64)> = buckets.iter().filter(|(_, count)| *count != 0.0).collect();
        let (Some((first, _)), Some((last, _))) = (filled.first(), filled.last()) else {
            continue;
        };
        if *first != 0 {
            words.push(format!("{prefix}offset:{first}"));
        }
        let mut present = buckets
            .iter()
            .skip_while(|(index, _)| index < first)
            .peekable();
        let mut counts = (*first..=*last).map(|wanted| {
            let here = present.next_if(|(index, _)| *index == wanted);
            here.map_or(0.0, |(_, count)| count)
        });
        words.push(format!("{prefix}buckets:{}", list(&mut counts)));
    }
    format!("{{{{{}}}}}", words.join(" "))
}

#[derive(Default)]
struct Side {
    offset: i32,
    counts: Vec<f64>,
}

impl Side {
    fn buckets(self) -> Buckets {
        let end = self.offset.saturating_add(self.counts.len() as i32);
        Buckets::new((self.offset..end).collect(), self.counts)
    }
}

/// `first`, and so many times another with `step` added to it, or taken from it.
///
/// # Errors
/// What is wrong.
pub(super) fn repeat_histogram(
    first: FloatHistogram,
    step: Option<(&FloatHistogram, bool)>,
    count: u64,
) -> Result<Vec<Arc<FloatHistogram>>, String> {
    let mut current = Arc::new(first);
    let mut all = vec![Arc::clone(&current)];
    for _ in 0..count {
        if let Some((step, is_minus)) = step {
            let mut next = (*current).clone();
            let done = if is_minus {
                next.subtract(step)
            } else {
                next.add(step)
            };
            done.map_err(|_| {
                "cannot combine histograms with exponential and custom buckets".to_owned()
            })?;
            current = Arc::new(next);
        }
        all.push(Arc::clone(&current));
    }
    Ok(all)
}
