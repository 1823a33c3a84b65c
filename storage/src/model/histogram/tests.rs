use super::*;

fn spans(spans: &[(i32, u32)]) -> Vec<Span> {
    let spans = spans.iter();
    spans
        .map(|(offset, length)| Span {
            offset: *offset,
            length: *length,
        })
        .collect()
}

fn integer(schema: i8, count: u64, positive: &[(i32, u32)], buckets: &[u64]) -> Histogram {
    Histogram {
        reset_hint: ResetHint::Unknown,
        layout: HistogramLayout {
            schema,
            positive_spans: spans(positive),
            ..HistogramLayout::default()
        },
        sum: 1.0,
        counts: HistogramCounts::Integer(Counts {
            count,
            zero: 0,
            positive: buckets.to_vec(),
            negative: Vec::new(),
        }),
    }
}

fn custom(bounds: &[f64], positive: &[(i32, u32)]) -> Histogram {
    let mut histogram = integer(CUSTOM_BUCKETS_SCHEMA, 6, positive, &[1, 2, 3]);
    histogram.layout.custom_bounds = bounds.to_vec();
    histogram
}

fn float(count: f64, zero: f64, positive: &[f64], negative: &[f64]) -> Histogram {
    let layout = HistogramLayout {
        positive_spans: spans(&[(0, positive.len() as u32)]),
        negative_spans: spans(&[(0, negative.len() as u32)]),
        ..HistogramLayout::default()
    };
    let counts = HistogramCounts::Float(Counts {
        count,
        zero,
        positive: positive.to_vec(),
        negative: negative.to_vec(),
    });
    Histogram {
        layout,
        counts,
        ..integer(0, 0, &[], &[])
    }
}

fn with(mut histogram: Histogram, change: impl FnOnce(&mut Histogram)) -> Histogram {
    change(&mut histogram);
    histogram
}

fn refused(histogram: &Histogram, message: &str) {
    assert_eq!(histogram.validate().unwrap_err().to_string(), message);
}

/// The messages are those of Prometheus 3.5.3 to a remote write of the same histograms; those on schemas, NaN
/// bounds and negative float counts are of later versions.
#[test]
fn broken_histograms_are_refused_in_the_words_of_prometheus() {
    let two = &[(0, 2)];
    let equal = "histogram's observation count should equal the number of observations found in the \
        buckets (in absence of NaN)";
    let found = "3 observations found in buckets, but the Count field is";
    refused(&integer(0, 9, two, &[1, 2]), &format!("{found} 9: {equal}"));
    refused(&integer(0, 1, two, &[1, 2]), &format!("{found} 1: {equal}"));
    let nan = |count| {
        with(integer(0, count, two, &[1, 2]), |histogram| {
            histogram.sum = f64::NAN;
        })
    };
    let at_least = "histogram's observation count should be at least the number of observations \
        found in the buckets";
    refused(&nan(1), &format!("{found} 1: {at_least}"));
    assert_eq!(nan(9).validate(), Ok(()));

    let negative = "histogram has a bucket whose observation count is negative";
    refused(
        &float(6.5, 0.0, &[2.5, -3.5], &[]),
        &format!("positive side: bucket number 2 has observation count of -3.5: {negative}"),
    );
    refused(
        &float(6.5, 0.0, &[], &[2.5, -1.0]),
        &format!("negative side: bucket number 2 has observation count of -1: {negative}"),
    );
    refused(
        &float(6.5, -1.0, &[], &[]),
        &format!("zero bucket has observation count of -1: {negative}"),
    );
    refused(
        &float(-1.0, 0.0, &[], &[]),
        "observation count is -1: histogram's observation count is negative",
    );

    let mismatch = "histogram spans specify different number of buckets than provided";
    refused(
        &integer(0, 3, &[(0, 1)], &[1, 2]),
        &format!("positive side: spans need 1 buckets, have 2 buckets: {mismatch}"),
    );
    refused(
        &with(float(3.0, 0.0, &[], &[1.0, 2.0]), |histogram| {
            histogram.layout.negative_spans = spans(&[(0, 3)]);
        }),
        &format!("negative side: spans need 3 buckets, have 2 buckets: {mismatch}"),
    );
    let offset = "histogram has a span whose offset is negative";
    refused(
        &integer(0, 9, &[(0, 1), (-1, 2)], &[1, 2]),
        &format!("positive side: span number 2 with offset -1: {offset}"),
    );
    refused(
        &custom(&[1.0, 2.0, 3.0], &[(-1, 3)]),
        &format!("custom buckets: span number 1 with offset -1: {offset}"),
    );
    refused(
        &integer(0, 3, &[(i32::MAX - 2, 2)], &[1, 2]),
        "positive side: spans must end before bucket 2147483647, shorten them",
    );
    refused(
        &integer(0, 3, &[(i32::MIN, 1), (i32::MAX, 0), (1, 1)], &[1, 2]),
        "positive side: spans must end before bucket 2147483647, shorten them",
    );
    for schema in [-54, -5, 9, 53] {
        let rule =
            "which must be between -4 and 8 for exponential buckets, or -53 for custom buckets";
        refused(
            &integer(schema, 3, two, &[1, 2]),
            &format!("histogram has an invalid schema, {rule}, got schema {schema}"),
        );
    }
    refused(
        &integer(0, 8_193, &[(0, 8_193)], &vec![1; 8_193]),
        "histogram has 8193 buckets, and at most 8192 are taken: reduce its resolution (a smaller \
            schema)",
    );
}

#[test]
fn broken_custom_bounds_are_refused_in_the_words_of_prometheus() {
    let all = &[(0, 3)];
    let few = "which is insufficient to cover total span length of";
    let too_few = "histogram custom bounds are too few";
    refused(
        &custom(&[1.0], all),
        &format!("custom buckets: only 1 custom bounds defined {few} 3: {too_few}"),
    );
    refused(
        &custom(&[1.0, 2.0, 3.0], &[(5, 3)]),
        &format!("custom buckets: only 3 custom bounds defined {few} 8: {too_few}"),
    );
    refused(
        &custom(&[2.0, 2.0, 3.0], all),
        "custom buckets: previous bound is 2.000000 and current is 2.000000: histogram custom \
            bounds must be in strictly increasing order",
    );
    refused(
        &custom(&[1.0, 2.0, f64::INFINITY], all),
        "custom buckets: last +Inf bound must not be explicitly defined: histogram custom bounds \
            must be finite",
    );
    refused(
        &custom(&[1.0, f64::NAN, 3.0], all),
        "custom buckets: histogram custom bounds must not be NaN",
    );
    let good = || custom(&[1.0, 2.0], all);
    let with_zero = with(good(), |histogram| {
        let HistogramCounts::Integer(counts) = &mut histogram.counts else {
            unreachable!()
        };
        counts.zero = 1;
    });
    refused(&with_zero, "custom buckets: must have zero count of 0");
    refused(
        &with(good(), |histogram| histogram.layout.zero_threshold = 0.1),
        "custom buckets: must have zero threshold of 0",
    );
    refused(
        &with(good(), |histogram| {
            histogram.layout.negative_spans = spans(&[(0, 0)]);
        }),
        "custom buckets: must not have negative spans",
    );
    let with_negative = with(good(), |histogram| {
        let HistogramCounts::Integer(counts) = &mut histogram.counts else {
            unreachable!()
        };
        counts.negative = vec![1];
    });
    refused(
        &with_negative,
        "custom buckets: must not have negative buckets",
    );
    refused(
        &with(good(), |histogram| histogram.layout.schema = 1),
        "histogram with exponential schema must not have custom bounds",
    );
}

#[test]
fn what_prometheus_takes_is_taken() {
    let taken = [
        integer(3, 3, &[(-5, 2)], &[1, 2]),
        integer(0, 3, &[(0, 1), (0, 0), (2, 0), (3, 1)], &[1, 2]),
        integer(-4, u64::MAX, &[(0, 1)], &[u64::MAX]),
        integer(8, 0, &[], &[]),
        with(integer(0, 0, &[(0, 3)], &[1]), |histogram| {
            histogram.sum = stale_marker();
        }),
        with(integer(0, 0, &[], &[]), |histogram| {
            histogram.layout.zero_threshold = f64::NAN;
        }),
        custom(&[1.0, 2.0], &[(0, 3)]),
        custom(&[f64::NEG_INFINITY, 2.0], &[(0, 3)]),
        float(9.0, 0.5, &[2.5, 3.5], &[]),
        float(f64::NAN, 0.0, &[f64::NAN, f64::INFINITY], &[-0.0]),
    ];
    for histogram in taken {
        assert_eq!(histogram.validate(), Ok(()), "{histogram:?}");
    }
}

#[test]
fn the_same_buckets_have_one_list_of_spans() {
    let fewest = |given: &[(i32, u32)]| {
        let histogram = integer(0, 0, given, &[]);
        histogram.layout.in_fewest_spans().positive_spans
    };
    assert_eq!(
        fewest(&[(-5, 2), (0, 3), (1, 1)]),
        spans(&[(-5, 5), (1, 1)])
    );
    assert_eq!(
        fewest(&[(-5, 0), (2, 2), (3, 0), (1, 1)]),
        spans(&[(-3, 2), (4, 1)])
    );
    assert_eq!(fewest(&[(0, 0), (0, 2), (4, 0)]), spans(&[(0, 2)]));
}

#[test]
fn columns_hand_back_what_was_put_in() {
    let first = integer(3, 3, &[(0, 2)], &[1, 2]);
    let second = with(integer(3, 9, &[(0, 2)], &[4, 5]), |histogram| {
        histogram.reset_hint = ResetHint::NoReset;
        histogram.sum = -0.5;
    });
    let all = [first, Histogram::stale(), second.clone(), second];
    let mut columns = HistogramColumns::default();
    for histogram in &all {
        columns.push(histogram);
    }
    let got = |columns: &HistogramColumns, index: usize| format!("{:?}", columns.get(index));
    for (index, histogram) in all.iter().enumerate() {
        assert_eq!(got(&columns, index), format!("{histogram:?}"));
    }
    columns.keep(1..3);
    assert_eq!(columns.len(), 2);
    assert_eq!(got(&columns, 1), format!("{:?}", all[2]));
}
