//! Native histograms of remote write 1.0: from the wire's deltas and spans to histograms of the store.
//!
//! A schema finer than the store's finest is reduced to that one, which loses resolution and nothing else.
//!
//! Source: the remote write 1.0 specification (`Histogram` of `types.proto`); what is taken, and in which
//! words the rest is refused, follows Prometheus.

use narthex_storage::{
    Counts, Histogram, HistogramCounts, HistogramLayout, InvalidHistogram, ResetHint, Span,
    Timestamp,
};

use crate::wire_histogram::{Count, WireHistogram, WireSpan, ZeroCount};

/// The finest exponential schema that is kept.
const SCHEMA_MAX: i32 = 8;
/// The finest one that a sender may use.
const WIRE_SCHEMA_MAX: i32 = 52;

/// A histogram from the wire and its time, or the first rule that it breaks.
pub(super) fn histogram(wire: WireHistogram) -> (Timestamp, Result<Histogram, InvalidHistogram>) {
    (wire.timestamp, read(wire))
}

fn read(wire: WireHistogram) -> Result<Histogram, InvalidHistogram> {
    let sum = wire.sum.unwrap_or_default();
    if narthex_storage::is_stale_marker(sum) {
        return Ok(Histogram::stale());
    }
    let finer = match wire.schema {
        // A bit is left for the sign.
        schema @ SCHEMA_MAX..=WIRE_SCHEMA_MAX => (schema - SCHEMA_MAX).min(31),
        _ => 0,
    };
    let schema = if finer > 0 { SCHEMA_MAX } else { wire.schema };
    let unknown = |_| InvalidHistogram::Schema(wire.schema);
    let schema = i8::try_from(schema).map_err(unknown)?;
    let hint = u8::try_from(wire.reset_hint).ok();
    let hint = hint.and_then(ResetHint::from_number).unwrap_or_default();
    let spans = |spans: &[WireSpan]| {
        spans
            .iter()
            .map(|span| Span {
                offset: span.offset,
                length: span.length,
            })
            .collect()
    };
    let mut negative = None;
    let counts = match wire.count {
        Some(Count::Float(count)) => HistogramCounts::Float(Counts {
            count,
            zero: match wire.zero_count {
                Some(ZeroCount::Float(zero)) => zero,
                _ => 0.0,
            },
            positive: wire.positive_counts,
            negative: wire.negative_counts,
        }),
        count => {
            let below_zero = &mut negative;
            let mut side = |side, deltas: &[i64]| sums(side, deltas, below_zero);
            let negative = side("negative side", &wire.negative_deltas);
            HistogramCounts::Integer(Counts {
                count: match count {
                    Some(Count::Integer(count)) => count,
                    _ => 0,
                },
                zero: match wire.zero_count {
                    Some(ZeroCount::Integer(zero)) => zero,
                    _ => 0,
                },
                positive: side("positive side", &wire.positive_deltas),
                negative,
            })
        }
    };
    let mut histogram = Histogram {
        reset_hint: hint,
        layout: HistogramLayout {
            schema,
            zero_threshold: wire.zero_threshold,
            positive_spans: spans(&wire.positive_spans),
            negative_spans: spans(&wire.negative_spans),
            custom_bounds: wire.custom_values,
        },
        sum,
        counts,
    };
    match (histogram.validate(), negative) {
        (
            Ok(())
            | Err(
                InvalidHistogram::CountMismatch { .. }
                | InvalidHistogram::CountNotBigEnough { .. }
                | InvalidHistogram::TooManyBuckets(_),
            ),
            Some(negative),
        ) => return Err(negative),
        // Fewer buckets may be left once the resolution is reduced.
        (Err(InvalidHistogram::TooManyBuckets(_)), None) if finer > 0 => {}
        (checked, _) => checked?,
    }
    if finer > 0 {
        reduce(&mut histogram, finer);
        histogram.validate()?;
    }
    Ok(histogram)
}

/// The counts of a side from the differences of neighbours. The first that is below zero is kept in
/// `negative` unless there is one already; the counts are of no use then.
fn sums(side: &'static str, deltas: &[i64], negative: &mut Option<InvalidHistogram>) -> Vec<u64> {
    let mut sum = 0_i64;
    let sums = deltas.iter().enumerate().map(|(index, delta)| {
        sum = sum.wrapping_add(*delta);
        if sum < 0 {
            negative.get_or_insert(InvalidHistogram::NegativeBucket {
                side,
                number: index + 1,
                count: sum as f64,
            });
        }
        sum.max(0) as u64
    });
    sums.collect()
}

/// Makes the buckets of a valid histogram `2^finer` times as wide on the scale of exponents.
fn reduce(histogram: &mut Histogram, finer: i32) {
    let layout = &mut histogram.layout;
    match &mut histogram.counts {
        HistogramCounts::Integer(counts) => {
            let add = |sum: &mut u64, count| *sum = sum.wrapping_add(count);
            merge(&mut layout.positive_spans, &mut counts.positive, finer, add);
            merge(&mut layout.negative_spans, &mut counts.negative, finer, add);
        }
        HistogramCounts::Float(counts) => {
            let add = |sum: &mut f64, count| *sum += count;
            merge(&mut layout.positive_spans, &mut counts.positive, finer, add);
            merge(&mut layout.negative_spans, &mut counts.negative, finer, add);
        }
    }
}

/// Adds up the buckets of a side that fall into one.
fn merge<N: Copy>(spans: &mut Vec<Span>, counts: &mut Vec<N>, finer: i32, add: impl Fn(&mut N, N)) {
    let mut wider: Vec<Span> = Vec::new();
    let mut merged: Vec<N> = Vec::new();
    // Of the finer schema: the next bucket; of the wider one: that behind the last.
    let (mut index, mut end) = (0_i32, 0_i32);
    let mut rest = counts.iter().copied();
    for span in spans.iter() {
        index = index.saturating_add(span.offset);
        for count in rest.by_ref().take(span.length as usize) {
            // Bucket i ends at the power i, so 1 to 2^finer are one.
            let at = (index.saturating_sub(1) >> finer) + 1;
            index = index.saturating_add(1);
            match (wider.last_mut(), merged.last_mut()) {
                (Some(_), Some(sum)) if at < end => {
                    add(sum, count);
                    continue;
                }
                (Some(last), _) if at == end => last.length += 1,
                _ => wider.push(Span {
                    offset: at - end,
                    length: 1,
                }),
            }
            merged.push(count);
            end = at + 1;
        }
    }
    *spans = wider;
    *counts = merged;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(spans: &[(i32, u32)]) -> Vec<WireSpan> {
        let spans = spans.iter();
        spans
            .map(|(offset, length)| WireSpan {
                offset: *offset,
                length: *length,
            })
            .collect()
    }

    /// Calculated by hand: at schema 8 bucket 1 takes 1 and 2 of schema 9, bucket 0 takes -1 and 0.
    #[test]
    fn finer_schemas_are_reduced() {
        let wire = WireHistogram {
            count: Some(Count::Integer(23)),
            sum: Some(2.5),
            schema: 9,
            positive_spans: spans(&[(-3, 6), (7, 1)]),
            positive_deltas: vec![1, 0, 0, 1, 1, 1, 7],
            negative_spans: spans(&[(2, 0)]),
            ..WireHistogram::default()
        };
        let reduced = histogram(wire).1.unwrap();
        // Buckets -3 to 2 have 1 1 1 2 3 4; bucket 10 has 11.
        let span = |offset, length| Span { offset, length };
        assert_eq!(reduced.layout.schema, 8);
        assert_eq!(reduced.layout.positive_spans, [span(-1, 3), span(3, 1)]);
        assert_eq!(reduced.layout.negative_spans, []);
        let HistogramCounts::Integer(counts) = reduced.counts else {
            panic!("counts stay integers");
        };
        assert_eq!(counts.positive, [2, 3, 7, 11]);
    }
}
