//! A chunk of histograms, of integers or of floats.

use super::bits::{BitWriter, XorValue};
use crate::{CUSTOM_BUCKETS_SCHEMA, HistogramLayout, ResetHint, Span, Timestamp};

/// The counts of one histogram in the order of their columns: all, zero bucket, positive buckets,
/// negative buckets.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Row {
    Integer(Vec<u64>),
    Float(Vec<f64>),
}

impl Row {
    /// Whether a counter that had `self` and now has `next` began anew; both have the same buckets.
    pub(super) fn is_reset_by(&self, next: &Self) -> bool {
        fn falls<N: PartialOrd>(before: &[N], after: &[N]) -> bool {
            before.iter().zip(after).any(|(old, new)| new < old)
        }
        match (self, next) {
            (Self::Integer(before), Self::Integer(after)) => falls(before, after),
            (Self::Float(before), Self::Float(after)) => falls(before, after),
            _ => true,
        }
    }

    /// Whether both count in the same way.
    pub(super) fn has_kind_of(&self, other: &Self) -> bool {
        matches!(
            (self, other),
            (Self::Integer(_), Self::Integer(_)) | (Self::Float(_), Self::Float(_))
        )
    }
}

/// Writes a chunk of histograms with one layout: the layout, the first of them as it is, then what
/// changed.
#[derive(Debug)]
pub(super) struct HistogramEncoder {
    out: BitWriter,
    samples: u16,
    newest: Timestamp,
    distance: i64,
    sum: XorValue,
    fields: Fields,
    /// How many of the fields are of positive buckets.
    positive: usize,
}

/// What is known of each count.
#[derive(Debug)]
enum Fields {
    Integer(Vec<Twice>),
    Float(Vec<XorValue>),
}

/// A number that is written by how much its change changed.
#[derive(Debug, Clone, Copy, Default)]
struct Twice {
    value: i64,
    change: i64,
}

impl Twice {
    fn put(&mut self, value: i64, out: &mut BitWriter) {
        let change = value.wrapping_sub(self.value);
        out.put_varbit_int(change.wrapping_sub(self.change));
        *self = Self { value, change };
    }
}

impl HistogramEncoder {
    /// A chunk with its first sample; the counts of a staleness marker are left out.
    pub(super) fn new(
        hint: ResetHint,
        layout: &HistogramLayout,
        time: Timestamp,
        sum: f64,
        row: &Row,
    ) -> Self {
        let mut out = BitWriter::default();
        // The number of samples is set in the end.
        out.put(0, 16);
        out.put(u64::from(header(hint)), 8);
        put_layout(layout, &mut out);
        let positive = buckets(&layout.positive_spans);
        out.put_varbit_int(time);
        let fields = match row {
            Row::Integer(counts) => {
                let mut fields = vec![Twice::default(); counts.len()];
                for (field, value) in fields.iter_mut().zip(by_neighbour(counts, positive)) {
                    field.value = value;
                }
                let (totals, buckets) = fields.split_at(2.min(fields.len()));
                for total in totals {
                    out.put_varbit_uint(total.value as u64);
                }
                out.put(sum.to_bits(), 64);
                for bucket in buckets {
                    out.put_varbit_int(bucket.value);
                }
                Fields::Integer(fields)
            }
            Row::Float(counts) => {
                let (totals, buckets) = counts.split_at(2.min(counts.len()));
                for count in totals.iter().chain([&sum]).chain(buckets) {
                    out.put(count.to_bits(), 64);
                }
                Fields::Float(counts.iter().map(|count| XorValue::first(*count)).collect())
            }
        };
        Self {
            out,
            samples: 1,
            newest: time,
            distance: 0,
            sum: XorValue::first(sum),
            fields,
            positive,
        }
    }

    /// Adds a sample of the same layout to a chunk that has fewer than 65,535; `None`: a staleness
    /// marker, behind which only others may come.
    pub(super) fn push(&mut self, time: Timestamp, sum: f64, row: Option<&Row>) {
        let out = &mut self.out;
        let distance = time.wrapping_sub(self.newest);
        out.put_varbit_int(distance.wrapping_sub(self.distance));
        match (&mut self.fields, row) {
            (Fields::Integer(fields), Some(Row::Integer(counts))) => {
                let (totals, buckets) = fields.split_at_mut(2.min(counts.len()));
                let mut values = by_neighbour(counts, self.positive);
                for (total, value) in totals.iter_mut().zip(values.by_ref()) {
                    total.put(value, out);
                }
                self.sum.put(sum, out);
                for (bucket, value) in buckets.iter_mut().zip(values) {
                    bucket.put(value, out);
                }
            }
            (Fields::Float(fields), Some(Row::Float(counts))) => {
                let (totals, buckets) = fields.split_at_mut(2.min(counts.len()));
                let mut values = counts.iter();
                for (total, value) in totals.iter_mut().zip(values.by_ref()) {
                    total.put(*value, out);
                }
                self.sum.put(sum, out);
                for (bucket, value) in buckets.iter_mut().zip(values) {
                    bucket.put(*value, out);
                }
            }
            (Fields::Integer(_), _) => {
                out.put(0, 2);
                self.sum.put(sum, out);
            }
            (Fields::Float(fields), _) => {
                for total in fields.iter_mut().take(2) {
                    total.put(0.0, out);
                }
                self.sum.put(sum, out);
            }
        }
        (self.newest, self.distance) = (time, distance);
        self.samples += 1;
    }

    pub(super) fn samples(&self) -> u16 {
        self.samples
    }

    pub(super) fn newest(&self) -> Timestamp {
        self.newest
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    pub(super) fn finish(self) -> Vec<u8> {
        let mut bytes = self.out.finish();
        super::set_samples(&mut bytes, self.samples);
        bytes
    }
}

/// Count and zero count, then each bucket against the one before it on its side.
fn by_neighbour(counts: &[u64], positive: usize) -> impl Iterator<Item = i64> {
    let mut before = 0;
    counts.iter().enumerate().map(move |(index, count)| {
        if index <= 2 || index == 2 + positive {
            before = 0;
        }
        let change = count.wrapping_sub(before) as i64;
        before = *count;
        change
    })
}

/// How many buckets the spans have.
pub(super) fn buckets(spans: &[Span]) -> usize {
    spans.iter().map(|span| span.length as usize).sum()
}

/// The byte that tells what the first sample is against the chunk before.
const fn header(hint: ResetHint) -> u8 {
    match hint {
        ResetHint::Unknown => 0,
        ResetHint::NoReset => 0x40,
        ResetHint::Reset => 0x80,
        ResetHint::Gauge => 0xc0,
    }
}

fn put_layout(layout: &HistogramLayout, out: &mut BitWriter) {
    put_threshold(layout.zero_threshold, out);
    out.put_varbit_int(i64::from(layout.schema));
    for spans in [&layout.positive_spans, &layout.negative_spans] {
        out.put_varbit_uint(spans.len() as u64);
        for span in spans {
            out.put_varbit_uint(u64::from(span.length));
            out.put_varbit_int(i64::from(span.offset));
        }
    }
    if layout.schema == CUSTOM_BUCKETS_SCHEMA {
        out.put_varbit_uint(layout.custom_bounds.len() as u64);
        for bound in &layout.custom_bounds {
            put_bound(*bound, out);
        }
    }
}

/// Powers of two from 2^-243 to 2^10 are one byte above zero, by their exponent.
pub(super) const THRESHOLD_BIAS: i32 = 244;

/// The byte before a threshold that is written out.
pub(super) const THRESHOLD_IN_FULL: u8 = 255;

/// Zero and powers of two are one byte, others are written out behind one.
fn put_threshold(threshold: f64, out: &mut BitWriter) {
    if threshold == 0.0 {
        return out.put(0, 8);
    }
    let bits = threshold.to_bits();
    let exponent = (bits >> 52) as i32 - 1023;
    let is_power = bits << 12 == 0;
    if is_power && (-243..=10).contains(&exponent) {
        out.put((exponent + THRESHOLD_BIAS) as u64, 8);
    } else {
        out.put(u64::from(THRESHOLD_IN_FULL), 8);
        out.put(bits, 64);
    }
}

/// The most thousandths that a bound is written as, so that they take four bytes.
const THOUSANDTHS_MAX: f64 = 33_554_430.0;

/// Thousandths are written as a whole number above zero, others behind a zero bit.
fn put_bound(bound: f64, out: &mut BitWriter) {
    let thousandths = bound * 1000.0;
    let is_whole =
        (0.0..=THOUSANDTHS_MAX).contains(&thousandths) && thousandths.round() / 1000.0 == bound;
    if is_whole {
        out.put_varbit_uint(thousandths.round() as u64 + 1);
    } else {
        out.put(0, 1);
        out.put(bound.to_bits(), 64);
    }
}
