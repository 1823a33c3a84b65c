//! Native histograms for tests.

use narthex_storage::{
    CUSTOM_BUCKETS_SCHEMA, Counts, Histogram, HistogramCounts, HistogramLayout, ResetHint, Span,
    Timestamp,
};

/// One of several layouts and flavours; the counts go with the time.
pub(crate) fn histogram(choice: u8, time: Timestamp) -> Histogram {
    let span = |offset, length| Span { offset, length };
    let n = time.unsigned_abs() / 1_000;
    let exponential = |schema| HistogramLayout {
        schema,
        zero_threshold: 1e-9,
        positive_spans: vec![span(-2, 2), span(3, 1)],
        negative_spans: vec![span(0, 1)],
        custom_bounds: Vec::new(),
    };
    let integer = Counts {
        count: 5 * n + 1,
        zero: 1,
        positive: vec![n, 2 * n, n],
        negative: vec![n],
    };
    let (layout, counts) = match choice {
        0 | 1 => (exponential(3), HistogramCounts::Integer(integer)),
        2 => (exponential(-4), HistogramCounts::Integer(integer)),
        3 => {
            let layout = HistogramLayout {
                schema: CUSTOM_BUCKETS_SCHEMA,
                positive_spans: vec![span(0, 2)],
                custom_bounds: vec![0.1, 5.0],
                ..HistogramLayout::default()
            };
            let counts = Counts {
                count: 2 * n,
                zero: 0,
                positive: vec![n, n],
                negative: vec![],
            };
            (layout, HistogramCounts::Integer(counts))
        }
        4 => {
            let n = n as f64;
            let counts = Counts {
                count: n / 3.0,
                zero: -0.0,
                positive: vec![n / 7.0, 0.1, n],
                negative: vec![f64::NAN],
            };
            (exponential(3), HistogramCounts::Float(counts))
        }
        _ => return Histogram::stale(),
    };
    Histogram {
        reset_hint: if choice == 1 {
            ResetHint::Gauge
        } else {
            ResetHint::Unknown
        },
        layout,
        sum: n as f64 / 3.0,
        counts,
    }
}
