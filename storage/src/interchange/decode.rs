//! Reading chunks, to check what was written.

use super::{
    ChunkEncoding, SAMPLES_MAX,
    bits::{WIDTHS, XorValue},
    histogram::{Row, THRESHOLD_BIAS, THRESHOLD_IN_FULL, buckets},
    xor::CHANGE_WIDTHS,
};
use crate::{
    CUSTOM_BUCKETS_SCHEMA, Counts, Histogram, HistogramColumns, HistogramCounts, HistogramLayout,
    ResetHint, Sample, Span, Timestamp,
    codec::{CodecError, unzigzag},
    is_stale_marker,
    model::BUCKETS_MAX,
};

/// The samples of a chunk.
#[cfg_attr(
    not(feature = "internals"),
    expect(unreachable_pub, reason = "the inside that is shown shows it")
)]
#[derive(Debug)]
pub enum ChunkSamples {
    /// Numbers.
    Floats(Vec<Sample>),
    /// Histograms and their times. Of the hints the first is what the chunk says of itself.
    Histograms(Vec<Timestamp>, Box<HistogramColumns>),
}

/// Reads a chunk.
///
/// # Errors
/// The bytes are not a chunk of this encoding, or something follows it that is not the rest of a byte.
pub(crate) fn decode(encoding: ChunkEncoding, bytes: &[u8]) -> Result<ChunkSamples, CodecError> {
    match encoding {
        ChunkEncoding::Xor => floats(bytes).map(ChunkSamples::Floats),
        ChunkEncoding::Histogram | ChunkEncoding::FloatHistogram => {
            let is_float = encoding == ChunkEncoding::FloatHistogram;
            let (times, columns) = histograms(bytes, is_float)?;
            Ok(ChunkSamples::Histograms(times, Box::new(columns)))
        }
    }
}

/// Reads bits, the highest of each byte first.
#[derive(Debug)]
struct BitReader<'a> {
    bytes: &'a [u8],
    /// Bits read so far.
    at: usize,
}

const CUT: CodecError = CodecError {
    expected: "more bits of a chunk",
};

impl BitReader<'_> {
    fn get(&mut self, bits: u32) -> Result<u64, CodecError> {
        let mut number = 0;
        let mut left = bits;
        while left > 0 {
            let byte = self.bytes.get(self.at / 8).ok_or(CUT)?;
            let fresh = 8 - (self.at % 8) as u32;
            let taken = fresh.min(left);
            let part = (u64::from(*byte) >> (fresh - taken)) & ((1 << taken) - 1);
            number = number << taken | part;
            self.at += taken as usize;
            left -= taken;
        }
        Ok(number)
    }

    /// How many ones come before a zero, at most `most`; the zero is read if they are fewer.
    fn ones(&mut self, most: u32) -> Result<u32, CodecError> {
        let mut ones = 0;
        while ones < most && self.get(1)? == 1 {
            ones += 1;
        }
        Ok(ones)
    }

    fn byte_varint(&mut self) -> Result<u64, CodecError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.get(8)?;
            number |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(CodecError {
            expected: "a number of at most ten bytes",
        })
    }

    fn float(&mut self) -> Result<f64, CodecError> {
        self.get(64).map(f64::from_bits)
    }

    /// The width that follows as a prefix: none is a zero.
    fn width(&mut self) -> Result<u32, CodecError> {
        let ones = self.ones(8)? as usize;
        let Some(index) = ones.checked_sub(1) else {
            return Ok(0);
        };
        Ok(WIDTHS.get(index).copied().unwrap_or(64))
    }

    fn varbit_int(&mut self) -> Result<i64, CodecError> {
        let width = self.width()?;
        self.signed(width)
    }

    fn varbit_uint(&mut self) -> Result<u64, CodecError> {
        let width = self.width()?;
        self.get(width)
    }

    /// A number of so many bits from `1 - 2^(bits - 1)` to `2^(bits - 1)`.
    fn signed(&mut self, bits: u32) -> Result<i64, CodecError> {
        let number = self.get(bits)?;
        if bits > 0 && bits < 64 && number > 1 << (bits - 1) {
            return Ok(number as i64 - (1 << bits));
        }
        Ok(number as i64)
    }

    /// What is left may only fill the last byte.
    fn end(&self) -> Result<(), CodecError> {
        if self.at.div_ceil(8) == self.bytes.len() {
            Ok(())
        } else {
            Err(CodecError {
                expected: "the end of the chunk",
            })
        }
    }
}

impl XorValue {
    fn get(&mut self, bits: &mut BitReader<'_>) -> Result<f64, CodecError> {
        if bits.get(1)? == 1 {
            if bits.get(1)? == 1 {
                let leading = bits.get(5)? as u32;
                let significant = match bits.get(6)? as u32 {
                    0 => 64,
                    significant => significant,
                };
                let trailing = 64_u32.checked_sub(leading + significant);
                self.window = Some((
                    leading,
                    trailing.ok_or(CodecError {
                        expected: "at most 64 bits of a value",
                    })?,
                ));
            }
            let (above, below) = self.window.ok_or(CodecError {
                expected: "a window of bits that was told",
            })?;
            self.bits ^= bits.get(64 - above - below)? << below;
        }
        Ok(f64::from_bits(self.bits))
    }
}

fn floats(bytes: &[u8]) -> Result<Vec<Sample>, CodecError> {
    let mut bits = BitReader { bytes, at: 0 };
    let count = bits.get(16)?;
    let mut samples = Vec::new();
    let (mut time, mut distance) = (0_i64, 0_u64);
    let mut value = XorValue::first(0.0);
    for index in 0..count {
        if index == 0 {
            time = unzigzag(bits.byte_varint()?);
            value = XorValue::first(bits.float()?);
        } else {
            if index == 1 {
                distance = bits.byte_varint()?;
            } else {
                let width = match bits.ones(4)? {
                    0 => 0,
                    4 => 64,
                    ones => *CHANGE_WIDTHS.get(ones as usize - 1).ok_or(CUT)?,
                };
                distance = distance.wrapping_add(bits.signed(width)? as u64);
            }
            time = time.wrapping_add(distance as i64);
            value.get(&mut bits)?;
        }
        samples.push(Sample {
            time,
            value: f64::from_bits(value.bits),
        });
    }
    bits.end()?;
    Ok(samples)
}

/// What is known of the counts; integers as value and change.
enum Fields {
    Integer(Vec<(i64, i64)>),
    Float(Vec<XorValue>),
}

fn histograms(
    bytes: &[u8],
    is_float: bool,
) -> Result<(Vec<Timestamp>, HistogramColumns), CodecError> {
    let mut bits = BitReader { bytes, at: 0 };
    let count = bits.get(16)?;
    let header = bits.get(8)?;
    let hint = match header {
        0 => ResetHint::Unknown,
        0x40 => ResetHint::NoReset,
        0x80 => ResetHint::Reset,
        0xc0 => ResetHint::Gauge,
        _ => {
            return Err(CodecError {
                expected: "flags of a chunk of histograms",
            });
        }
    };
    let (mut times, mut columns) = (Vec::new(), HistogramColumns::default());
    if count == 0 {
        bits.end()?;
        return Ok((times, columns));
    }
    let layout = read_layout(&mut bits)?;
    let positive = buckets(&layout.positive_spans);
    let len = 2 + positive + buckets(&layout.negative_spans);
    // A count takes a bit at least, but for those of markers, which are repeated.
    let counts_max = bytes.len() * 8 + usize::from(SAMPLES_MAX) * BUCKETS_MAX;
    if count as usize * len > counts_max {
        return Err(CodecError {
            expected: "fewer samples for so many buckets",
        });
    }
    let mut time = bits.varbit_int()?;
    let mut distance = 0_i64;
    let mut sum = XorValue::first(0.0);
    let mut fields = if is_float {
        Fields::Float(vec![XorValue::first(0.0); len])
    } else {
        Fields::Integer(vec![(0, 0); len])
    };
    for index in 0..count {
        let is_first = index == 0;
        if !is_first {
            distance = distance.wrapping_add(bits.varbit_int()?);
            time = time.wrapping_add(distance);
        }
        for field in 0..2 {
            fields.read(field, is_first, &mut bits)?;
        }
        if is_first {
            sum = XorValue::first(bits.float()?);
        } else {
            sum.get(&mut bits)?;
        }
        let sum = f64::from_bits(sum.bits);
        let is_stale = is_stale_marker(sum);
        if columns.sums.last().is_some_and(|sum| is_stale_marker(*sum)) && !is_stale {
            return Err(CodecError {
                expected: "nothing but markers behind a marker",
            });
        }
        if !is_stale {
            for field in 2..len {
                fields.read(field, is_first, &mut bits)?;
            }
        }
        times.push(time);
        columns.push(&Histogram {
            reset_hint: match hint {
                _ if is_first => hint,
                ResetHint::Gauge => hint,
                _ => ResetHint::NoReset,
            },
            layout: if is_first {
                layout.clone()
            } else {
                HistogramLayout::default()
            },
            sum,
            counts: if is_stale {
                HistogramCounts::Integer(Counts::default())
            } else {
                fields.counts(positive)
            },
        });
    }
    bits.end()?;
    Ok((times, columns))
}

impl Fields {
    fn read(
        &mut self,
        field: usize,
        is_first: bool,
        bits: &mut BitReader<'_>,
    ) -> Result<(), CodecError> {
        match self {
            Self::Integer(fields) => {
                let (value, change) = fields.get_mut(field).ok_or(CUT)?;
                if is_first && field < 2 {
                    *value = bits.varbit_uint()? as i64;
                } else if is_first {
                    *value = bits.varbit_int()?;
                } else {
                    *change = change.wrapping_add(bits.varbit_int()?);
                    *value = value.wrapping_add(*change);
                }
            }
            Self::Float(fields) => {
                let field = fields.get_mut(field).ok_or(CUT)?;
                if is_first {
                    *field = XorValue::first(bits.float()?);
                } else {
                    field.get(bits)?;
                }
            }
        }
        Ok(())
    }

    fn counts(&self, positive: usize) -> HistogramCounts<u64, f64> {
        let row = match self {
            Self::Integer(fields) => {
                let mut before = 0_i64;
                let counts = fields.iter().enumerate().map(|(index, (value, _))| {
                    if index <= 2 || index == 2 + positive {
                        before = 0;
                    }
                    before = before.wrapping_add(*value);
                    before as u64
                });
                Row::Integer(counts.collect())
            }
            Self::Float(fields) => {
                let counts = fields.iter().map(|field| f64::from_bits(field.bits));
                Row::Float(counts.collect())
            }
        };
        match row {
            Row::Integer(counts) => {
                let counts = Counts::collect(counts.into_iter(), positive);
                HistogramCounts::Integer(counts.unwrap_or_default())
            }
            Row::Float(counts) => {
                let counts = Counts::collect(counts.into_iter(), positive);
                HistogramCounts::Float(counts.unwrap_or_default())
            }
        }
    }
}

fn read_layout(bits: &mut BitReader<'_>) -> Result<HistogramLayout, CodecError> {
    let zero_threshold = match bits.get(8)? as u8 {
        0 => 0.0,
        THRESHOLD_IN_FULL => bits.float()?,
        byte => f64::from_bits(((i32::from(byte) - THRESHOLD_BIAS + 1023) as u64) << 52),
    };
    let schema = match bits.varbit_int()? {
        schema @ -4..=8 => schema as i8,
        schema if schema == i64::from(CUSTOM_BUCKETS_SCHEMA) => CUSTOM_BUCKETS_SCHEMA,
        _ => {
            return Err(CodecError {
                expected: "a schema from -4 to 8, or -53",
            });
        }
    };
    let too_many = CodecError {
        expected: "at most 8192 buckets, spans and bounds",
    };
    let mut left = BUCKETS_MAX as u64;
    let mut spans = || {
        let count = bits.varbit_uint()?;
        let mut spans = Vec::new();
        for _ in 0..count {
            if spans.len() == BUCKETS_MAX {
                return Err(too_many);
            }
            let length = bits.varbit_uint()?;
            left = left.checked_sub(length).ok_or(too_many)?;
            let offset = i32::try_from(bits.varbit_int()?).map_err(|_| CodecError {
                expected: "an offset of 32 bits",
            })?;
            spans.push(Span {
                offset,
                length: length as u32,
            });
        }
        Ok(spans)
    };
    let (positive_spans, negative_spans) = (spans()?, spans()?);
    let mut custom_bounds = Vec::new();
    if schema == CUSTOM_BUCKETS_SCHEMA {
        let count = bits.varbit_uint()?;
        for _ in 0..count {
            if custom_bounds.len() == BUCKETS_MAX {
                return Err(too_many);
            }
            custom_bounds.push(match bits.varbit_uint()? {
                0 => bits.float()?,
                thousandths => (thousandths - 1) as f64 / 1000.0,
            });
        }
    }
    Ok(HistogramLayout {
        schema,
        zero_threshold,
        positive_spans,
        negative_spans,
        custom_bounds,
    })
}
