//! Native histograms that follow each other.

use narthex_storage::{
    CUSTOM_BUCKETS_SCHEMA, Counts, Histogram, HistogramCounts, HistogramLayout, ResetHint, Span,
};

use super::Choices;

/// A series of histograms: counters whose layout changes now and then and that begin anew, or gauges.
#[derive(Debug)]
pub(super) struct HistogramSource {
    kind: Kind,
    layout: HistogramLayout,
    zero: u64,
    positive: Vec<u64>,
    negative: Vec<u64>,
    sum: f64,
    /// Observations that are no number, which no bucket has.
    not_numbers: u64,
    /// What a bucket begins with.
    base: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Exponential,
    Custom,
    Gauge,
}

impl HistogramSource {
    pub(super) fn exponential(choices: &mut Choices<'_>, plain: bool) -> Self {
        Self::new(Kind::Exponential, choices, plain)
    }

    pub(super) fn custom(choices: &mut Choices<'_>, plain: bool) -> Self {
        Self::new(Kind::Custom, choices, plain)
    }

    pub(super) fn gauge(choices: &mut Choices<'_>, plain: bool) -> Self {
        Self::new(Kind::Gauge, choices, plain)
    }

    fn new(kind: Kind, choices: &mut Choices<'_>, plain: bool) -> Self {
        let mut source = Self {
            kind,
            layout: HistogramLayout::default(),
            zero: 0,
            positive: Vec::new(),
            negative: Vec::new(),
            sum: 0.0,
            not_numbers: 0,
            base: if plain { 1000 } else { 0 },
        };
        source.change_layout(choices);
        source
    }

    /// Another layout; everything begins anew.
    fn change_layout(&mut self, choices: &mut Choices<'_>) {
        let positive_spans = spans(choices, self.kind == Kind::Custom);
        self.layout = if self.kind == Kind::Custom {
            let bounds: [&[f64]; 3] = [
                &[1.0, 2.0, 5.0, 10.0, 100.0, 200.0, 300.0],
                &[1.0, 2.0, 4.0, 5.0, 10.0, 20.0, 100.0, 200.0, 300.0],
                &[-5.0, 0.0, 0.5, 1.0, 10.0, 100.0, 200.0],
            ];
            HistogramLayout {
                schema: CUSTOM_BUCKETS_SCHEMA,
                zero_threshold: 0.0,
                positive_spans,
                negative_spans: Vec::new(),
                custom_bounds: if self.base > 0 {
                    bounds[0].to_vec()
                } else {
                    choices.pick(&bounds).to_vec()
                },
            }
        } else {
            let has_negative = choices.once_in(2);
            HistogramLayout {
                schema: choices.pick(&[0, 1, 2, -1, 3, 8]),
                // No bucket begins in the zero bucket.
                zero_threshold: choices.pick(&[0.0, 0.001]),
                positive_spans,
                negative_spans: if has_negative {
                    spans(choices, false)
                } else {
                    Vec::new()
                },
                custom_bounds: Vec::new(),
            }
        };
        let buckets = |spans: &[Span]| {
            let length: u32 = spans.iter().map(|span| span.length).sum();
            vec![0; length as usize]
        };
        self.positive = buckets(&self.layout.positive_spans);
        self.negative = buckets(&self.layout.negative_spans);
        self.restart();
    }

    fn restart(&mut self) {
        self.positive.fill(self.base);
        self.negative.fill(self.base);
        self.zero = 0;
        self.sum = 0.0;
        self.not_numbers = 0;
    }

    /// The next one.
    pub(super) fn next(&mut self, choices: &mut Choices<'_>) -> Histogram {
        if choices.once_in(40) {
            self.change_layout(choices);
        } else if choices.once_in(40) || self.kind == Kind::Gauge {
            self.restart();
        }
        for bucket in self.positive.iter_mut().chain(&mut self.negative) {
            *bucket += choices.pick(&[0, 0, 1, 2, 5]);
        }
        if self.kind != Kind::Custom {
            self.zero += choices.pick(&[0, 0, 1]);
        }
        self.sum += choices.pick(&[0.0, 1.0, 2.5, 17.3]);
        if self.not_numbers > 0 || choices.once_in(150) {
            self.not_numbers += 1;
            self.sum = f64::NAN;
        }
        let buckets = self.positive.iter().chain(&self.negative);
        let count = buckets.sum::<u64>() + self.zero + self.not_numbers;
        let halves = |counts: &[u64]| counts.iter().map(|count| *count as f64 / 2.0).collect();
        Histogram {
            reset_hint: if self.kind == Kind::Gauge {
                ResetHint::Gauge
            } else {
                ResetHint::Unknown
            },
            layout: self.layout.clone(),
            sum: self.sum,
            counts: if self.kind == Kind::Gauge {
                HistogramCounts::Float(Counts {
                    count: count as f64 / 2.0,
                    zero: self.zero as f64 / 2.0,
                    positive: halves(&self.positive),
                    negative: halves(&self.negative),
                })
            } else {
                HistogramCounts::Integer(Counts {
                    count,
                    zero: self.zero,
                    positive: self.positive.clone(),
                    negative: self.negative.clone(),
                })
            },
        }
    }
}

/// One or two stretches of buckets; with custom bounds within the first seven.
fn spans(choices: &mut Choices<'_>, custom: bool) -> Vec<Span> {
    let first = if custom {
        choices.below(2) as i32
    } else {
        choices.pick(&[0, -1, 1, -3])
    };
    let mut spans = vec![Span {
        offset: first,
        length: 1 + choices.below(3) as u32,
    }];
    if choices.once_in(2) {
        spans.push(Span {
            offset: 1 + choices.below(1 + usize::from(!custom)) as i32,
            length: 1 + choices.below(2) as u32,
        });
    }
    spans
}
