use proptest::prelude::*;

use super::{
    decode::{ChunkSamples, decode},
    *,
};
use crate::{
    CUSTOM_BUCKETS_SCHEMA, Histogram, STALE_MARKER_BITS, Span, stale_marker,
    test_support::proptest_cases,
};

/// Chunks and the samples that were pushed.
const RECORDED: &str = include_str!("testdata/chunks.txt");

/// A sample with its time.
#[derive(Debug, Clone)]
enum Value {
    Float(f64),
    Histogram(Histogram),
}

type Samples = Vec<(Timestamp, Value)>;

fn encoding(number: &str) -> ChunkEncoding {
    match number {
        "1" => ChunkEncoding::Xor,
        "2" => ChunkEncoding::Histogram,
        "3" => ChunkEncoding::FloatHistogram,
        other => panic!("{other} is no encoding"),
    }
}

fn hexadecimal(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.map(byte).collect()
}

fn float(bits: &str) -> f64 {
    f64::from_bits(u64::from_str_radix(bits, 16).unwrap())
}

fn list<T>(text: &str, of: impl Fn(&str) -> T) -> Vec<T> {
    let items = text.split(',').filter(|item| *item != "-");
    items.map(of).collect()
}

fn span(text: &str) -> Span {
    let (offset, length) = text.split_once(':').unwrap();
    Span {
        offset: offset.parse().unwrap(),
        length: length.parse().unwrap(),
    }
}

/// The counts in a line of a recorded histogram.
fn counts<N>(fields: &[&str], of: impl Fn(&str) -> N) -> Counts<N> {
    Counts {
        count: of(fields[6]),
        zero: of(fields[7]),
        positive: list(fields[9], &of),
        negative: list(fields[11], &of),
    }
}

/// A line of a recorded sample.
fn recorded_sample(fields: &[&str]) -> (Timestamp, Value) {
    let time = fields[1].parse().unwrap();
    if fields[0] == "float" {
        return (time, Value::Float(float(fields[2])));
    }
    let histogram = Histogram {
        reset_hint: ResetHint::from_number(fields[2].parse().unwrap()).unwrap(),
        layout: HistogramLayout {
            schema: fields[3].parse().unwrap(),
            zero_threshold: float(fields[4]),
            positive_spans: list(fields[8], span),
            negative_spans: list(fields[10], span),
            custom_bounds: list(fields[12], float),
        },
        sum: float(fields[5]),
        counts: if fields[0] == "histogram" {
            HistogramCounts::Integer(counts(fields, |text| text.parse().unwrap()))
        } else {
            HistogramCounts::Float(counts(fields, float))
        },
    };
    (time, Value::Histogram(histogram))
}

/// The recorded series: names, chunks and samples.
fn recorded() -> Vec<(String, Vec<PrometheusChunk>, Samples)> {
    let mut series: Vec<(String, Vec<PrometheusChunk>, Samples)> = Vec::new();
    let (_, cases) = RECORDED.split_once("\n\n").unwrap();
    for line in cases.lines().filter(|line| !line.is_empty()) {
        if let Some(name) = line.strip_prefix("# ") {
            series.push((name.to_owned(), Vec::new(), Vec::new()));
            continue;
        }
        let (_, chunks, samples) = series.last_mut().unwrap();
        let fields: Vec<&str> = line.split(' ').collect();
        if fields[0] == "chunk" {
            chunks.push(PrometheusChunk {
                encoding: encoding(fields[1]),
                range: TimeRange::new(fields[2].parse().unwrap(), fields[3].parse().unwrap()),
                bytes: hexadecimal(fields[4]),
            });
        } else {
            samples.push(recorded_sample(&fields));
        }
    }
    series
}

/// Columns of one sample.
fn alone(histogram: &Histogram) -> HistogramColumns {
    let mut columns = HistogramColumns::default();
    columns.push(histogram);
    columns
}

fn write(samples: &Samples) -> Vec<PrometheusChunk> {
    let mut writer = ChunkWriter::new();
    let mut chunks = Vec::new();
    for (time, value) in samples {
        chunks.extend(match value {
            Value::Float(value) => writer.float(*time, *value),
            Value::Histogram(histogram) => writer.histogram(*time, &alone(histogram), 0),
        });
    }
    chunks.extend(writer.finish());
    chunks
}

/// All of a sample but the hint, bit for bit, as text; of a staleness marker, that it is one.
fn text(time: Timestamp, value: &Value) -> String {
    let bits = |floats: &[f64]| floats.iter().map(|f| f.to_bits()).collect::<Vec<_>>();
    match value {
        Value::Float(value) => format!("{time} {:x}", value.to_bits()),
        Value::Histogram(histogram) if histogram.is_stale() => format!("{time} stale"),
        Value::Histogram(Histogram {
            layout,
            sum,
            counts,
            ..
        }) => {
            let counts = match counts {
                HistogramCounts::Integer(counts) => format!("{counts:?}"),
                HistogramCounts::Float(counts) => {
                    let all: Vec<f64> = counts.iter().copied().collect();
                    format!("{} {:x?}", counts.positive.len(), bits(&all))
                }
            };
            format!(
                "{time} {:x} {} {:x} {:?} {:?} {:x?} {counts}",
                sum.to_bits(),
                layout.schema,
                layout.zero_threshold.to_bits(),
                layout.positive_spans,
                layout.negative_spans,
                bits(&layout.custom_bounds),
            )
        }
    }
}

/// The samples of a chunk as text, and their hints.
fn read(chunk: &PrometheusChunk) -> (Vec<String>, Vec<ResetHint>) {
    match decode(chunk.encoding, &chunk.bytes).unwrap() {
        ChunkSamples::Floats(samples) => {
            let samples = samples.iter();
            let texts = samples.map(|sample| text(sample.time, &Value::Float(sample.value)));
            (texts.collect(), Vec::new())
        }
        ChunkSamples::Histograms(times, columns) => {
            let rows = (0..columns.len()).map(|row| Value::Histogram(columns.get(row)));
            let texts = times.iter().zip(rows).map(|(time, row)| text(*time, &row));
            (texts.collect(), columns.reset_hints.clone())
        }
    }
}

fn texts(samples: &Samples) -> Vec<String> {
    let texts = samples.iter().map(|(time, value)| text(*time, value));
    texts.collect()
}

#[test]
fn chunks_are_those_that_prometheus_wrote() {
    let series = recorded();
    assert_eq!(series.len(), 31, "series in the file");
    for (name, mut expected, samples) in series {
        // The last one was encoded anew when it was read.
        if let [.., last] = expected.as_mut_slice()
            && let Some(flags) = last.bytes.get_mut(2)
            && name.contains("resets")
        {
            *flags |= 0x80;
        }
        assert_eq!(write(&samples), expected, "{name}");
        let decoded: Vec<String> = expected.iter().flat_map(|chunk| read(chunk).0).collect();
        assert_eq!(decoded, texts(&samples), "{name}");
    }
}

fn integers(count: u64, positive: &[u64]) -> Histogram {
    Histogram {
        reset_hint: ResetHint::Unknown,
        layout: HistogramLayout {
            schema: 1,
            zero_threshold: 0.001,
            positive_spans: vec![Span {
                offset: 0,
                length: positive.len() as u32,
            }],
            ..HistogramLayout::default()
        },
        sum: count as f64,
        counts: HistogramCounts::Integer(Counts {
            count,
            zero: 0,
            positive: positive.to_vec(),
            negative: Vec::new(),
        }),
    }
}

/// How samples one millisecond apart are cut: `encoding samples hint` of each chunk.
fn check_cuts(values: &[Value], expected: &[&str]) {
    let samples: Samples = (0..).zip(values.iter().cloned()).collect();
    let chunks = write(&samples);
    let found = chunks.iter().map(|chunk| {
        let (samples, hints) = read(chunk);
        let later = hints.get(1..).unwrap_or_default().iter();
        assert!(later.into_iter().all(|hint| *hint != ResetHint::Reset));
        format!("{:?} {} {:?}", chunk.encoding, samples.len(), hints.first())
    });
    assert_eq!(found.collect::<Vec<_>>(), expected);
    let all: Vec<String> = chunks.iter().flat_map(|chunk| read(chunk).0).collect();
    assert_eq!(all, texts(&samples));
    for chunk in &chunks {
        let count = u16::from_be_bytes(*chunk.bytes.first_chunk().unwrap());
        assert_eq!(chunk.range.max - chunk.range.min + 1, i64::from(count));
    }
}

#[test]
fn a_chunk_ends_at_120_samples_and_where_the_kind_changes() {
    let mut values = vec![Value::Float(1.5); 241];
    check_cuts(&values, &["Xor 120 None", "Xor 120 None", "Xor 1 None"]);
    values.truncate(2);
    let histogram = integers(3, &[1, 2]);
    values.push(Value::Histogram(histogram.clone()));
    values.push(Value::Float(2.5));
    let floats = Histogram {
        counts: HistogramCounts::Float(Counts {
            count: 3.0,
            zero: 0.0,
            positive: vec![1.0, 2.0],
            negative: Vec::new(),
        }),
        ..histogram
    };
    values.push(Value::Histogram(floats));
    check_cuts(
        &values,
        &[
            "Xor 2 None",
            "Histogram 1 Some(Unknown)",
            "Xor 1 None",
            "FloatHistogram 1 Some(Unknown)",
        ],
    );
}

#[test]
fn a_chunk_of_histograms_ends_at_a_reset_another_layout_and_a_marker() {
    let mut values = Vec::new();
    let mut add = |histogram: Histogram| values.push(Value::Histogram(histogram));
    add(integers(3, &[1, 2]));
    add(integers(4, &[2, 2]));
    // One bucket falls, though the count grows.
    add(integers(5, &[1, 4]));
    // Another layout.
    add(integers(6, &[1, 4, 1]));
    add(Histogram::stale());
    add(Histogram::stale());
    add(integers(6, &[1, 4, 1]));
    // The one who counts knows better.
    let reset = Histogram {
        reset_hint: ResetHint::Reset,
        ..integers(7, &[2, 4, 1])
    };
    add(reset);
    let gauge = |count| Histogram {
        reset_hint: ResetHint::Gauge,
        ..integers(count, &[count])
    };
    add(gauge(5));
    add(gauge(3));
    add(integers(7, &[7]));
    check_cuts(
        &values,
        &[
            "Histogram 2 Some(Unknown)",
            "Histogram 1 Some(Reset)",
            "Histogram 3 Some(Unknown)",
            "Histogram 1 Some(Unknown)",
            "Histogram 1 Some(Reset)",
            "Histogram 2 Some(Gauge)",
            "Histogram 1 Some(Unknown)",
        ],
    );
    // 121 that are small, and some that are not.
    let small = vec![Value::Histogram(integers(1, &[1])); 121];
    check_cuts(
        &small,
        &["Histogram 120 Some(Unknown)", "Histogram 1 Some(NoReset)"],
    );
    let large = vec![Value::Histogram(integers(1 << 40, &[1 << 40, 1].repeat(400))); 12];
    check_cuts(
        &large,
        &["Histogram 10 Some(Unknown)", "Histogram 2 Some(NoReset)"],
    );
}

fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        prop::sample::select(vec![
            0.0,
            -0.0,
            1.0,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
            stale_marker(),
        ]),
        (-1000_i32..1000).prop_map(|n| f64::from(n) / 8.0),
    ]
}

/// Rising times with steps of every size.
fn any_times(count: usize) -> impl Strategy<Value = Vec<Timestamp>> {
    let step = prop_oneof![
        8 => 14_990_u64..15_010,
        1 => 1_u64..1 << 20,
        1 => (0_u32..57).prop_map(|bits| 1 << bits),
    ];
    let start = prop_oneof![any::<i64>(), Just(i64::MIN), Just(1_700_000_000_000)];
    (start, prop::collection::vec(step, count)).prop_map(|(start, steps)| {
        let mut times = vec![start];
        for step in steps {
            let Some(next) = times.last().unwrap().checked_add_unsigned(step) else {
                times.push(i64::MAX);
                times.dedup();
                break;
            };
            times.push(next);
        }
        times
    })
}

fn any_spans() -> impl Strategy<Value = Vec<Span>> {
    let span = (-3_i32..3, 0_u32..4).prop_map(|(offset, length)| Span { offset, length });
    prop::collection::vec(span, 0..3)
}

fn any_layout() -> impl Strategy<Value = HistogramLayout> {
    let threshold = prop_oneof![
        Just(0.0),
        (-300_i32..300).prop_map(|power| 2.0_f64.powi(power)),
        any::<u64>().prop_map(|bits| f64::from_bits(bits | 1)),
    ];
    let schema = prop_oneof![-4_i8..=8, Just(CUSTOM_BUCKETS_SCHEMA)];
    let bound = prop_oneof![
        (0_u32..40_000_000).prop_map(|n| f64::from(n) / 1000.0),
        any::<u64>().prop_map(|bits| f64::from_bits(bits | 1)),
    ];
    let bounds = prop::collection::vec(bound, 0..4);
    (schema, threshold, any_spans(), any_spans(), bounds).prop_map(
        |(schema, zero_threshold, positive_spans, negative_spans, bounds)| HistogramLayout {
            schema,
            zero_threshold,
            positive_spans,
            negative_spans,
            custom_bounds: if schema == CUSTOM_BUCKETS_SCHEMA {
                bounds
            } else {
                Vec::new()
            },
        },
    )
}

/// Histograms of one layout.
fn any_histograms() -> impl Strategy<Value = Vec<Histogram>> {
    (any_layout(), any::<bool>(), 0_u8..4).prop_flat_map(|(layout, is_float, hint)| {
        let len = 2
            + histogram::buckets(&layout.positive_spans)
            + histogram::buckets(&layout.negative_spans);
        let count = prop_oneof![Just(0), 0_u64..20, any::<u64>()];
        let row = prop::collection::vec((count, any_value()), len);
        let rows = prop::collection::vec((row, any_value()), 1..20);
        rows.prop_map(move |rows| {
            let positive = histogram::buckets(&layout.positive_spans);
            let histogram = |(row, sum): (Vec<(u64, f64)>, f64)| {
                let counts = if is_float {
                    let counts = row.iter().map(|(_, count)| *count);
                    HistogramCounts::Float(Counts::collect(counts, positive).unwrap())
                } else {
                    let counts = row.iter().map(|(count, _)| *count);
                    HistogramCounts::Integer(Counts::collect(counts, positive).unwrap())
                };
                if is_stale_marker(sum) {
                    return Histogram::stale();
                }
                Histogram {
                    reset_hint: ResetHint::from_number(hint).unwrap(),
                    layout: layout.clone(),
                    sum,
                    counts,
                }
            };
            rows.into_iter().map(histogram).collect::<Vec<_>>()
        })
    })
}

fn check_round_trip(samples: &Samples) -> Result<(), TestCaseError> {
    let chunks = write(samples);
    let all: Vec<String> = chunks.iter().flat_map(|chunk| read(chunk).0).collect();
    prop_assert_eq!(all, texts(samples));
    for chunk in chunks {
        for cut in 0..chunk.bytes.len() {
            prop_assert!(decode(chunk.encoding, &chunk.bytes[..cut]).is_err());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(proptest_cases(64)))]

    #[test]
    fn numbers_come_back_bit_for_bit(
        times in any_times(150),
        values in prop::collection::vec(any_value(), 151),
    ) {
        let values = values.into_iter().map(Value::Float);
        check_round_trip(&times.into_iter().zip(values).collect())?;
    }

    #[test]
    fn histograms_come_back_bit_for_bit(
        times in any_times(60),
        parts in prop::collection::vec(any_histograms(), 1..4),
    ) {
        let values = parts.into_iter().flatten().map(Value::Histogram);
        check_round_trip(&times.into_iter().zip(values).collect())?;
    }

    #[test]
    fn any_bytes_are_read_or_refused(number in 1_u8..4, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let encoding = encoding(&number.to_string());
        let _read_or_refused = decode(encoding, &bytes);
    }
}

#[test]
fn markers_do_not_take_memory_out_of_proportion() {
    // 8,192 buckets, then 65,534 markers of four bits each.
    let mut samples: Samples = vec![(0, Value::Histogram(integers(0, &[0; 8192])))];
    samples.push((1, Value::Histogram(Histogram::stale())));
    let mut bytes = write(&samples).remove(0).bytes;
    bytes.resize(bytes.len() + 33_000, 0);
    bytes[..2].copy_from_slice(&u16::MAX.to_be_bytes());
    let refused = decode(ChunkEncoding::Histogram, &bytes).unwrap_err();
    assert_eq!(refused.expected, "fewer samples for so many buckets");
    assert_eq!(stale_marker().to_bits(), STALE_MARKER_BITS);
}
