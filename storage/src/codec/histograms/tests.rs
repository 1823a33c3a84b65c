use proptest::prelude::*;

use super::*;
use crate::{
    Counts, Histogram, HistogramColumns, HistogramCounts, ResetHint, test_support::proptest_cases,
};

fn bits(histogram: &Histogram) -> String {
    let floats = |floats: &[f64]| floats.iter().map(|f| f.to_bits()).collect::<Vec<_>>();
    let counts = match &histogram.counts {
        HistogramCounts::Integer(counts) => format!("{counts:?}"),
        HistogramCounts::Float(counts) => {
            format!("{:?}", floats(&counts.iter().copied().collect::<Vec<_>>()))
        }
    };
    let layout = &histogram.layout;
    format!(
        "{:?} {:x} {counts} {} {:x} {:?} {:?} {:?}",
        histogram.reset_hint,
        histogram.sum.to_bits(),
        layout.schema,
        layout.zero_threshold.to_bits(),
        layout.positive_spans,
        layout.negative_spans,
        floats(&layout.custom_bounds),
    )
}

fn layout() -> HistogramLayout {
    let span = |offset, length| Span { offset, length };
    HistogramLayout {
        schema: 3,
        zero_threshold: 2_f64.powi(-128),
        positive_spans: vec![span(0, 2), span(1, 1)],
        negative_spans: vec![span(-1, 1)],
        custom_bounds: Vec::new(),
    }
}

#[test]
fn a_histogram_is_packed_as_documented() {
    let histogram = Histogram {
        reset_hint: ResetHint::NoReset,
        layout: layout(),
        sum: 10.5,
        counts: HistogramCounts::Integer(Counts {
            count: 6,
            zero: 1,
            positive: vec![1, 2, 2],
            negative: vec![0],
        }),
    };
    let mut expected = vec![2];
    expected.extend(10.5_f64.to_le_bytes());
    expected.push(18);
    expected.extend([2, 6, 0, 0, 0, 0, 0, 0, 0xf0, 0x37]);
    expected.extend([2, 0, 2, 2, 1, 1, 1, 1]);
    expected.extend([6, 1, 2, 2, 0, 0]);
    let packed = PackedHistogram::new(&histogram).unwrap();
    assert_eq!(packed.as_bytes(), expected);
    assert_eq!(packed.histogram(), histogram);

    let float = Histogram {
        layout: HistogramLayout {
            schema: CUSTOM_BUCKETS_SCHEMA,
            positive_spans: vec![Span {
                offset: 1,
                length: 1,
            }],
            custom_bounds: vec![-0.5, 8.0],
            ..HistogramLayout::default()
        },
        counts: HistogramCounts::Float(Counts {
            count: 3.0,
            zero: 0.0,
            positive: vec![3.0],
            negative: Vec::new(),
        }),
        ..histogram.clone()
    };
    let mut expected = vec![2];
    expected.extend(10.5_f64.to_le_bytes());
    expected.push(23);
    expected.extend([1, 105, 1, 2, 1, 0, 2]);
    expected.extend((-0.5_f64).to_le_bytes());
    expected.extend(8_f64.to_le_bytes());
    // A value page of 3, 0, 3: divided by 3, offsets from -1 in one bit.
    expected.extend([8, 0x14, 0, 2, 6, 3, 1, 1, 0b10]);
    let packed = PackedHistogram::new(&float).unwrap();
    assert_eq!(packed.as_bytes(), expected);

    // Staleness markers are alike, whatever else they hold; so are the two ways to write spans, and what
    // differs in the hint alone has one fingerprint.
    let mut marker = histogram.clone();
    marker.sum = crate::stale_marker();
    let marker = PackedHistogram::new(&marker).unwrap();
    assert_eq!(marker, PackedHistogram::new(&Histogram::stale()).unwrap());
    assert!(marker.is_stale() && marker.is_like(&packed) && !packed.is_like(&marker));
    let mut other = histogram.clone();
    other.layout.positive_spans.insert(
        1,
        Span {
            offset: 1,
            length: 0,
        },
    );
    other.layout.positive_spans[2].offset = 0;
    other.reset_hint = ResetHint::Gauge;
    let (one, other) = [&histogram, &other]
        .map(|h| PackedHistogram::new(h).unwrap())
        .into();
    assert_eq!(one.fingerprint(), other.fingerprint());
    assert_ne!(one, other);
    assert_ne!(one.fingerprint(), packed.fingerprint());
}

#[test]
fn a_page_of_histograms_is_as_documented() {
    let counts = |counts: [u64; 2]| counts.to_vec();
    let columns = HistogramColumns {
        layout: HistogramLayout {
            positive_spans: vec![Span {
                offset: 0,
                length: 2,
            }],
            ..HistogramLayout::default()
        },
        reset_hints: vec![ResetHint::Unknown, ResetHint::Gauge],
        sums: vec![1.0, 1.0],
        counts: HistogramCounts::Integer(Counts {
            count: counts([2, 6]),
            zero: counts([0, 0]),
            positive: vec![counts([1, 3]), counts([1, 3])],
            negative: Vec::new(),
        }),
    };
    let expected = [
        &[0x14, 1, 0b1100][..],
        // Layout: no flags, schema 0, a positive span of two buckets at 0, no negative ones.
        &[6, 0, 0, 1, 0, 2, 0],
        // Sums: a constant page.
        &[4, 0x11, 0, 1, 2],
        // Count, zero count, the first bucket, and the second less the first.
        &[5, 0, 4, 4, 2, 0],
        &[5, 0, 0, 1, 0, 0],
        &[5, 0, 2, 2, 2, 0],
        &[5, 0, 2, 2, 2, 0],
    ]
    .concat();
    let mut page = Vec::new();
    encode_histograms(&columns, &mut page);
    assert_eq!(page, expected);
    // Less the bucket before, where that is shorter.
    let same: Vec<u64> = (0..100).map(|i| i * i * i * 1_000_003).collect();
    let long = HistogramColumns {
        reset_hints: vec![ResetHint::Reset; 100],
        sums: vec![1.0; 100],
        counts: HistogramCounts::Integer(Counts {
            count: vec![0; 100],
            zero: vec![0; 100],
            positive: vec![same.clone(), same],
            negative: Vec::new(),
        }),
        ..columns
    };
    let mut page = Vec::new();
    encode_histograms(&long, &mut page);
    assert_eq!(page[page.len() - 6..], [5, 0x80, 0, 1, 0, 0]);
    assert_eq!(decode_histograms(&page), Ok(long));
}

fn spans() -> impl Strategy<Value = Vec<(i32, u32)>> {
    prop::collection::vec((0..4_i32, 0..6_u32), 0..4)
}

prop_compose! {
    /// Histograms of one layout, integers or floats.
    fn series()(
        schema in prop_oneof![-4..=8_i8, Just(CUSTOM_BUCKETS_SCHEMA)],
        first in -20..20_i32,
        positive in spans(),
        negative in spans(),
        threshold in prop_oneof![Just(0.0), Just(-0.0), Just(1e-9), Just(f64::NAN)],
        is_float in any::<bool>(),
        rows in prop::collection::vec((0..4_u8, any::<u64>(), any::<u64>(), 0..8_u8), 1..40),
    ) -> Vec<Histogram> {
        let is_custom = schema == CUSTOM_BUCKETS_SCHEMA;
        let spans = |spans: &[(i32, u32)], first: i32| -> Vec<Span> {
            let spans = spans.iter().enumerate();
            let first = |index: usize| if index == 0 { first } else { 0 };
            spans
                .map(|(index, (offset, length))| Span {
                    offset: offset + first(index),
                    length: *length,
                })
                .collect()
        };
        let layout = HistogramLayout {
            schema,
            zero_threshold: if is_custom { 0.0 } else { threshold },
            positive_spans: spans(&positive, if is_custom { 0 } else { first }),
            negative_spans: if is_custom { Vec::new() } else { spans(&negative, -first) },
            custom_bounds: if is_custom {
                (0..40).map(|bound| f64::from(bound) / 3.0).collect()
            } else {
                Vec::new()
            },
        };
        let buckets = |spans: &[Span]| spans.iter().map(|span| span.length as usize).sum();
        let (positive, negative): (usize, usize) =
            (buckets(&layout.positive_spans), buckets(&layout.negative_spans));
        let mut so_far = 0_u64;
        rows.into_iter()
            .map(|(hint, sum, seed, stale)| {
                if stale == 0 {
                    return Histogram::stale();
                }
                so_far = so_far.wrapping_add(seed >> 40);
                let zero = if is_custom { 0 } else { seed >> 60 };
                let integers = (0..positive + negative).map(|index| so_far >> (index % 30));
                let mut integers: Vec<u64> = integers.collect();
                let count = integers.iter().fold(zero, |sum, bucket| sum.wrapping_add(*bucket));
                let counts = if is_float {
                    let floats: Vec<f64> = integers
                        .iter()
                        .map(|count| f64::from_bits(seed >> 1 | 1 << 62) / (*count + 1) as f64)
                        .collect();
                    HistogramCounts::Float(Counts {
                        count: f64::from_bits(seed >> 1),
                        zero: zero as f64 / 3.0,
                        positive: floats[..positive].to_vec(),
                        negative: floats[positive..].to_vec(),
                    })
                } else {
                    let negative = integers.split_off(positive);
                    HistogramCounts::Integer(Counts { count, zero, positive: integers, negative })
                };
                Histogram {
                    reset_hint: ResetHint::from_number(hint).unwrap(),
                    layout: layout.clone(),
                    sum: f64::from_bits(sum | 1),
                    counts,
                }
            })
            .filter(|histogram| histogram.validate().is_ok())
            .collect()
    }
}

fn packed(series: &[Histogram]) -> Vec<PackedHistogram> {
    series
        .iter()
        .map(|histogram| PackedHistogram::new(histogram).unwrap())
        .collect()
}

/// As a page, from the first that is no marker on.
fn page(series: &[PackedHistogram]) -> (Vec<PackedHistogram>, Vec<u8>) {
    let first = series.iter().position(|histogram| !histogram.is_stale());
    let series = series[first.unwrap_or(0)..].to_vec();
    let mut columns = HistogramColumns::default();
    for histogram in &series {
        assert!(histogram.is_like(&series[0]));
        columns.push(&histogram.histogram());
    }
    let mut page = Vec::new();
    if !series.is_empty() {
        encode_histograms(&columns, &mut page);
    }
    (series, page)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(proptest_cases(48)))]

    #[test]
    fn histograms_come_back_bit_for_bit(series in series()) {
        let packed = packed(&series);
        for (histogram, packed) in series.iter().zip(&packed) {
            let mut expected = histogram.clone();
            expected.layout = histogram.layout.in_fewest_spans();
            prop_assert_eq!(bits(&packed.histogram()), bits(&expected));
            prop_assert_eq!(&PackedHistogram::read(packed.as_bytes()).unwrap(), packed);
        }
        let (series, page) = page(&packed);
        if !series.is_empty() {
            let columns = decode_histograms(&page).unwrap();
            let rows = (0..columns.len()).map(|row| PackedHistogram::of_valid(&columns.get(row)));
            prop_assert_eq!(rows.collect::<Vec<_>>(), series);
        }
    }

    #[test]
    fn hostile_bytes_end_in_an_error_or_a_histogram(
        series in series(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let packed = packed(&series);
        let (_, page) = page(&packed);
        let one = packed.first().map(|packed| packed.as_bytes().to_vec()).unwrap_or_default();
        for mut bytes in [page, one] {
            if bytes.is_empty() {
                continue;
            }
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            for end in [bytes.len(), cut.index(bytes.len())] {
                if let Ok(columns) = decode_histograms(&bytes[..end]) {
                    prop_assert!((1..=1024).contains(&columns.len()));
                    drop(columns.get(columns.len() - 1));
                }
                if let Ok(read) = PackedHistogram::read(&bytes[..end])
                    && !read.is_stale()
                {
                    let histogram = read.histogram();
                    let again = PackedHistogram::of_valid(&histogram);
                    prop_assert_eq!(bits(&again.histogram()), bits(&read.histogram()));
                }
            }
        }
    }
}
