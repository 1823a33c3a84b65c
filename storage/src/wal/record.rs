//! The log's records as bytes; the layouts are in `docs/wal.md`.
#![deny(clippy::indexing_slicing)]

use crate::{Labels, Sample, Timestamp};

/// Length, checksum of kind and payload, kind.
const HEADER_BYTES: usize = 9;
/// A longer record is damage, not data.
pub(crate) const RECORD_BYTES_MAX: usize = 256 << 20;

const KIND_SERIES: u8 = 1;
const KIND_ROW: u8 = 2;
const KIND_SOLO: u8 = 3;

/// A decoded record.
#[derive(Debug, PartialEq)]
pub(crate) enum Record {
    /// Numbers and their label sets.
    Series(Vec<(u32, Labels)>),
    /// One commit of a target.
    Row(RowRecord),
    /// One commit of pushed samples: number of the series, sample.
    Solo {
        commit: u64,
        samples: Vec<(u32, Sample)>,
    },
}

impl Record {
    /// The number of the commit it is, if it is one.
    pub(crate) fn commit(&self) -> Option<u64> {
        match self {
            Self::Series(_) => None,
            Self::Row(row) => Some(row.commit),
            Self::Solo { commit, .. } => Some(*commit),
        }
    }
}

/// One commit of a target.
#[derive(Debug, PartialEq)]
pub(crate) struct RowRecord {
    pub(crate) commit: u64,
    pub(crate) target: u32,
    /// The target's key when the record does not build on earlier ones.
    pub(crate) reset: Option<String>,
    pub(crate) time: Timestamp,
    /// Column and series; the column's last value becomes zero.
    pub(crate) bindings: Vec<(u32, u32)>,
    /// The columns that are present as (first, count); `None`: as in the record before.
    pub(crate) present: Option<Vec<(u32, u32)>>,
    pub(crate) changed: Vec<(u32, Change)>,
    pub(crate) solo: Vec<(u32, Sample)>,
    /// False when the commit has samples with times of their own only.
    pub(crate) has_row: bool,
}

/// How a column's value differs from its last one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Change {
    /// Both are integers; this is the difference.
    Delta(i64),
    /// The bits.
    Bits(u64),
}

impl Change {
    /// The shortest way from one value to the next.
    pub(crate) fn between(base: u64, bits: u64) -> Self {
        match (integer(base), integer(bits)) {
            (Some(base), Some(value)) => Self::Delta(value - base),
            _ => Self::Bits(bits),
        }
    }

    /// The next value's bits; `None` when the last value is no integer as the record says.
    pub(crate) fn apply(self, base: u64) -> Option<u64> {
        match self {
            Self::Delta(delta) => {
                let value = integer(base)?.checked_add(delta)?;
                Some((value as f64).to_bits())
            }
            Self::Bits(bits) => Some(bits),
        }
    }
}

/// The value as an integer, if the way back gives the same bits.
fn integer(bits: u64) -> Option<i64> {
    let value = f64::from_bits(bits);
    let integer = value as i64;
    (integer.unsigned_abs() < 1 << 53 && (integer as f64).to_bits() == bits).then_some(integer)
}

/// Appends a record, its payload written by `payload`.
fn frame(out: &mut Vec<u8>, kind: u8, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES - 1]);
    out.push(kind);
    payload(out);
    let (_, record) = out.split_at_mut(start);
    let (header, body) = record.split_at_mut(HEADER_BYTES - 1);
    let length = u32::try_from(body.len()).expect("records are limited well below 4 GiB");
    let checksum = crc32c::crc32c(body);
    header.copy_from_slice(&(u64::from(length) | u64::from(checksum) << 32).to_le_bytes());
}

pub(crate) fn encode_series(out: &mut Vec<u8>, series: &[(u32, &Labels)]) {
    frame(out, KIND_SERIES, |out| {
        put(out, series.len() as u64);
        for (id, labels) in series {
            put(out, u64::from(*id));
            put(out, labels.len() as u64);
            for (name, value) in labels.iter() {
                put_text(out, name);
                put_text(out, value);
            }
        }
    });
}

pub(crate) fn encode_row(out: &mut Vec<u8>, row: &RowRecord) {
    frame(out, KIND_ROW, |out| {
        put(out, row.commit);
        put(out, u64::from(row.target));
        let flags = u8::from(row.reset.is_some())
            | u8::from(row.present.is_some()) << 1
            | u8::from(row.has_row) << 2;
        out.push(flags);
        if let Some(key) = &row.reset {
            put_text(out, key);
        }
        put(out, zigzag(row.time));
        put(out, row.bindings.len() as u64);
        for (column, series) in &row.bindings {
            put(out, u64::from(*column));
            put(out, u64::from(*series));
        }
        if let Some(present) = &row.present {
            put(out, present.len() as u64);
            for (first, count) in present {
                put(out, u64::from(*first));
                put(out, u64::from(*count));
            }
        }
        put(out, row.changed.len() as u64);
        let mut next = 0;
        for (column, change) in &row.changed {
            let gap = u64::from(column - next);
            next = column + 1;
            match change {
                Change::Delta(delta) => {
                    put(out, gap << 1);
                    put(out, zigzag(*delta));
                }
                Change::Bits(bits) => {
                    put(out, gap << 1 | 1);
                    out.extend_from_slice(&bits.to_le_bytes());
                }
            }
        }
        put_samples(out, &row.solo);
    });
}

pub(crate) fn encode_solo(out: &mut Vec<u8>, commit: u64, samples: &[(u32, Sample)]) {
    frame(out, KIND_SOLO, |out| {
        put(out, commit);
        put_samples(out, samples);
    });
}

fn put_samples(out: &mut Vec<u8>, samples: &[(u32, Sample)]) {
    put(out, samples.len() as u64);
    let mut before = 0;
    for (series, sample) in samples {
        put(out, u64::from(*series));
        put(out, zigzag(sample.time.wrapping_sub(before)));
        before = sample.time;
        out.extend_from_slice(&sample.value.to_bits().to_le_bytes());
    }
}

/// The record at the start of `bytes` and its length; the error says what was expected.
pub(crate) fn decode(bytes: &[u8]) -> Result<(Record, usize), &'static str> {
    let (header, rest) = bytes
        .split_first_chunk::<8>()
        .ok_or("a whole record header")?;
    let header = u64::from_le_bytes(*header);
    let length = header as u32 as usize;
    if length == 0 || length > RECORD_BYTES_MAX {
        return Err("a record length within limits");
    }
    let body = rest.get(..length).ok_or("a whole record")?;
    if crc32c::crc32c(body) != (header >> 32) as u32 {
        return Err("a matching checksum");
    }
    let (kind, payload) = body.split_first().ok_or("a record kind")?;
    let mut input = Input { rest: payload };
    let record = match *kind {
        KIND_SERIES => input.series(),
        KIND_ROW => input.row().map(Record::Row),
        KIND_SOLO => input.solo(),
        _ => None,
    };
    match record {
        Some(record) if input.rest.is_empty() => Ok((record, 8 + length)),
        _ => Err("a well-formed record"),
    }
}

struct Input<'a> {
    rest: &'a [u8],
}

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn bits(&mut self) -> Option<u64> {
        let (bits, rest) = self.rest.split_first_chunk::<8>()?;
        self.rest = rest;
        Some(u64::from_le_bytes(*bits))
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn signed(&mut self) -> Option<i64> {
        let value = self.number()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A count of things of at least one byte each, so never more than there are bytes.
    fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.number()?).ok()?;
        (count <= self.rest.len()).then_some(count)
    }

    fn text(&mut self) -> Option<String> {
        let length = self.count()?;
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        String::from_utf8(text.to_vec()).ok()
    }

    fn pairs(&mut self) -> Option<Vec<(u32, u32)>> {
        (0..self.count()?)
            .map(|_| Some((self.small()?, self.small()?)))
            .collect()
    }

    fn series(&mut self) -> Option<Record> {
        let series = (0..self.count()?).map(|_| {
            let id = self.small()?;
            let pairs: Option<Vec<(String, String)>> = (0..self.count()?)
                .map(|_| Some((self.text()?, self.text()?)))
                .collect();
            Some((id, Labels::try_from_pairs(pairs?).ok()?))
        });
        Some(Record::Series(series.collect::<Option<_>>()?))
    }

    fn row(&mut self) -> Option<RowRecord> {
        let commit = self.number()?;
        let target = self.small()?;
        let flags = self.byte()?;
        let reset = if flags & 1 != 0 {
            Some(self.text()?)
        } else {
            None
        };
        let time = self.signed()?;
        let bindings = self.pairs()?;
        let present = if flags & 2 != 0 {
            Some(self.pairs()?)
        } else {
            None
        };
        let mut next = 0u32;
        let changed = (0..self.count()?).map(|_| {
            let head = self.number()?;
            let column = next.checked_add(u32::try_from(head >> 1).ok()?)?;
            next = column.checked_add(1)?;
            let change = if head & 1 == 0 {
                Change::Delta(self.signed()?)
            } else {
                Change::Bits(self.bits()?)
            };
            Some((column, change))
        });
        let changed = changed.collect::<Option<_>>()?;
        Some(RowRecord {
            commit,
            target,
            reset,
            time,
            bindings,
            present,
            changed,
            solo: self.samples()?,
            has_row: flags & 4 != 0,
        })
    }

    fn solo(&mut self) -> Option<Record> {
        Some(Record::Solo {
            commit: self.number()?,
            samples: self.samples()?,
        })
    }

    fn samples(&mut self) -> Option<Vec<(u32, Sample)>> {
        let mut time = 0i64;
        (0..self.count()?)
            .map(|_| {
                let series = self.small()?;
                time = time.wrapping_add(self.signed()?);
                let value = f64::from_bits(self.bits()?);
                Some((series, Sample { time, value }))
            })
            .collect()
    }
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_and_any_flipped_bit_is_noticed() {
        let labels = Labels::from_pairs([("__name__", "m"), ("a", "ü")]);
        let solo = vec![
            (
                7,
                Sample {
                    time: -5,
                    value: -0.0,
                },
            ),
            (
                9,
                Sample {
                    time: i64::MAX,
                    value: 1.5,
                },
            ),
        ];
        let row = RowRecord {
            commit: 300,
            target: 2,
            reset: Some("job/instance".to_owned()),
            time: 1_700_000_000_000,
            bindings: vec![(0, 7), (130, 8)],
            present: Some(vec![(0, 1), (130, 1)]),
            changed: vec![
                (0, Change::between(0, 5f64.to_bits())),
                (130, Change::between(0, (-0.0f64).to_bits())),
            ],
            solo: solo.clone(),
            has_row: true,
        };
        assert_eq!(row.changed[0].1, Change::Delta(5));
        assert_eq!(row.changed[1].1, Change::Bits(1 << 63));
        let records = [
            Record::Series(vec![(7, labels.clone())]),
            Record::Row(row),
            Record::Solo {
                commit: 301,
                samples: solo,
            },
        ];
        for record in &records {
            let mut bytes = Vec::new();
            match record {
                Record::Series(_) => encode_series(&mut bytes, &[(7, &labels)]),
                Record::Row(row) => encode_row(&mut bytes, row),
                Record::Solo { commit, samples } => encode_solo(&mut bytes, *commit, samples),
            }
            let (decoded, length) = decode(&bytes).unwrap();
            assert_eq!((&decoded, length), (record, bytes.len()));
            for bit in 0..bytes.len() * 8 {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(decode(&damaged).is_err(), "bit {bit}");
            }
            for length in 0..bytes.len() {
                assert!(decode(&bytes[..length]).is_err(), "cut at {length}");
            }
        }
    }
}
