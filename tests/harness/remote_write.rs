//! A remote-write 1.0 request, encoded by hand so that the tests do not lean on the code they test.

use narthex_storage::{Histogram, HistogramCounts, Span};

/// One series to push.
#[derive(Debug, Clone)]
pub(crate) struct Pushed {
    pub(crate) labels: Vec<(String, String)>,
    /// Milliseconds and value.
    pub(crate) samples: Vec<(i64, f64)>,
    /// Milliseconds and value.
    pub(crate) histograms: Vec<(i64, Histogram)>,
}

impl Pushed {
    pub(crate) fn new(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Self {
        Self {
            labels: labels
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
            samples: samples.to_vec(),
            histograms: Vec::new(),
        }
    }
}

/// The snappy-compressed `WriteRequest`.
pub(crate) fn encode(series: &[Pushed]) -> Vec<u8> {
    let mut request = Vec::new();
    for one in series {
        let mut body = Vec::new();
        for (name, value) in &one.labels {
            let mut label = Vec::new();
            bytes(&mut label, 1, name.as_bytes());
            bytes(&mut label, 2, value.as_bytes());
            bytes(&mut body, 1, &label);
        }
        for (time, value) in &one.samples {
            let mut sample = vec![1 << 3 | 1];
            sample.extend_from_slice(&value.to_le_bytes());
            sample.push(2 << 3);
            varint(&mut sample, *time as u64);
            bytes(&mut body, 2, &sample);
        }
        for (time, histogram) in &one.histograms {
            bytes(&mut body, 4, &histogram_message(*time, histogram));
        }
        bytes(&mut request, 1, &body);
    }
    snap::raw::Encoder::new().compress_vec(&request).unwrap()
}

fn histogram_message(time: i64, histogram: &Histogram) -> Vec<u8> {
    let mut out = Vec::new();
    let layout = &histogram.layout;
    match &histogram.counts {
        HistogramCounts::Integer(counts) => {
            number(&mut out, 1, counts.count);
            number(&mut out, 6, counts.zero);
            for (field, buckets) in [(9, &counts.negative), (12, &counts.positive)] {
                let mut deltas = Vec::new();
                let mut before = 0;
                for bucket in buckets {
                    varint(&mut deltas, zigzag(*bucket as i64 - before));
                    before = *bucket as i64;
                }
                bytes(&mut out, field, &deltas);
            }
        }
        HistogramCounts::Float(counts) => {
            double(&mut out, 2, counts.count);
            double(&mut out, 7, counts.zero);
            doubles(&mut out, 10, &counts.negative);
            doubles(&mut out, 13, &counts.positive);
        }
    }
    double(&mut out, 3, histogram.sum);
    number(&mut out, 4, zigzag(i64::from(layout.schema)));
    double(&mut out, 5, layout.zero_threshold);
    for (field, spans) in [(8, &layout.negative_spans), (11, &layout.positive_spans)] {
        for Span { offset, length } in spans {
            let mut span = Vec::new();
            number(&mut span, 1, zigzag(i64::from(*offset)));
            number(&mut span, 2, u64::from(*length));
            bytes(&mut out, field, &span);
        }
    }
    number(&mut out, 14, histogram.reset_hint as u64);
    number(&mut out, 15, time as u64);
    doubles(&mut out, 16, &layout.custom_bounds);
    out
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

fn number(out: &mut Vec<u8>, field: u8, value: u64) {
    out.push(field << 3);
    varint(out, value);
}

fn double(out: &mut Vec<u8>, field: u8, value: f64) {
    out.push(field << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

fn doubles(out: &mut Vec<u8>, field: u8, values: &[f64]) {
    let content: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    bytes(out, field, &content);
}

fn bytes(out: &mut Vec<u8>, field: u8, content: &[u8]) {
    varint(out, u64::from(field) << 3 | 2);
    varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
