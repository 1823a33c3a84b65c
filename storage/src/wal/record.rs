//! The log's records as bytes; the layouts are in `docs/wal.md`.
//!
//! A record is read into buffers that the next one reuses: nothing is allocated for a sample.
#![deny(clippy::indexing_slicing)]

use super::{
    cells::{Changed, cells, put_cells, put_runs, runs},
    change::Change,
    frame::put_record,
};
use crate::{
    Exemplar, Labels, Metadata, MetricType, Sample, Timestamp,
    codec::{CodecError, Cursor, PackedHistogram, PackedSample, put_varint, put_zigzag, zigzag},
    metadata::{LoggedMetadata, Origins},
};

const KIND_SERIES: u8 = 1;
const KIND_ROW: u8 = 2;
const KIND_SOLO: u8 = 3;
const KIND_EXEMPLARS: u8 = 4;
const KIND_END: u8 = 5;
/// As [`KIND_HISTOGRAMS`], and with metadata.
const KIND_METADATA: u8 = 6;
/// As [`KIND_SOLO`], and with histograms.
const KIND_HISTOGRAMS: u8 = 7;
/// As [`KIND_METADATA`], and with rows of groups.
const KIND_PUSH: u8 = 9;

/// Most rows of groups in one record.
pub(crate) const PUSH_ROWS_MAX: usize = 256;

const ROW_RESET: u8 = 1;
const ROW_PRESENCE: u8 = 2;
const ROW_VALUES: u8 = 4;
const ROW_SOLO: u8 = 8;
const ROW_HISTOGRAMS: u8 = 16;
const ROW_METADATA: u8 = 32;
const ROW_FLAGS: u8 = 63;

/// The type of a family is in the bits below.
const METADATA_ORIGINS_SHIFT: u32 = 4;

/// A decoded record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Record<'a> {
    /// Numbers and their label sets.
    Series(&'a [(u32, Labels)]),
    /// One commit of a target.
    Row(RowRecord<'a>),
    /// One commit of pushed samples: number of the series, sample. In a file beside the log, only metadata.
    Solo {
        commit: u64,
        samples: &'a [(u32, Sample)],
        histograms: &'a [(u32, PackedSample)],
        metadata: &'a [LoggedMetadata],
    },
    /// One commit of pushed samples of which some are rows of groups.
    Push {
        commit: u64,
        rows: &'a [PushRow],
        samples: &'a [(u32, Sample)],
        histograms: &'a [(u32, PackedSample)],
        metadata: &'a [LoggedMetadata],
    },
    /// Exemplars that were accepted, each with the labels of its series.
    Exemplars(&'a [(Labels, Exemplar)]),
    /// Nothing follows; only in files beside the log.
    End,
}

impl<'a> Record<'a> {
    /// The number of a commit and what it says of metric families.
    pub(crate) fn metadata(&self) -> Option<(u64, &'a [LoggedMetadata])> {
        match *self {
            Self::Row(row) => Some((row.commit, row.metadata)),
            Self::Solo {
                commit, metadata, ..
            }
            | Self::Push {
                commit, metadata, ..
            } => Some((commit, metadata)),
            Self::Series(_) | Self::Exemplars(_) | Self::End => None,
        }
    }
}

/// One commit of a target; what changed is a list where it was read, and bytes where it is written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RowRecord<'a, C = &'a [(u32, Change)]> {
    pub(crate) commit: u64,
    pub(crate) target: u32,
    /// The target's key when the record does not build on earlier ones; groups have none.
    pub(crate) reset: Option<&'a str>,
    /// The commit of the target's row record on which this one builds. When that was not applied,
    /// this one must not be either. 0 with a reset and without a row.
    pub(crate) previous: u64,
    pub(crate) time: Timestamp,
    /// Column and series, ascending by column, each among the changed ones; the column's last value
    /// becomes zero first.
    pub(crate) bindings: &'a [(u32, u32)],
    /// The columns that are present as (first, count), ascending and apart; `None`: as in the record
    /// before.
    pub(crate) present: Option<&'a [(u32, u32)]>,
    /// Ascending by column.
    pub(crate) changed: C,
    /// Samples with times of their own, by the number of the series.
    pub(crate) solo: &'a [(u32, Sample)],
    /// Histograms, likewise.
    pub(crate) histograms: &'a [(u32, PackedSample)],
    /// Of metric families, what is new.
    pub(crate) metadata: &'a [LoggedMetadata],
    /// False when the commit has samples with times of their own, or metadata, only.
    pub(crate) has_row: bool,
}

/// A row of a group, as it was read.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct PushRow {
    target: u32,
    is_reset: bool,
    previous: u64,
    time: Timestamp,
    bindings: Vec<(u32, u32)>,
    has_presence: bool,
    present: Vec<(u32, u32)>,
    changed: Vec<(u32, Change)>,
}

impl PushRow {
    /// The row, in its commit.
    pub(crate) fn record(&self, commit: u64) -> RowRecord<'_> {
        RowRecord {
            commit,
            target: self.target,
            reset: self.is_reset.then_some(""),
            previous: self.previous,
            time: self.time,
            bindings: &self.bindings,
            present: self.has_presence.then_some(&*self.present),
            changed: &self.changed,
            solo: &[],
            histograms: &[],
            metadata: &[],
            has_row: true,
        }
    }
}

pub(crate) fn encode_series(out: &mut Vec<u8>, series: &[(u32, &Labels)]) {
    put_record(out, KIND_SERIES, |out| {
        put_varint(series.len() as u64, out);
        let mut next = 0u32;
        for (id, labels) in series {
            put_zigzag(i64::from(*id) - i64::from(next), out);
            next = id.wrapping_add(1);
            put_labels(out, labels);
        }
    });
}

pub(crate) fn encode_row(out: &mut Vec<u8>, row: &RowRecord<'_, &Changed>) {
    put_record(out, KIND_ROW, |out| {
        put_varint(row.commit, out);
        put_varint(u64::from(row.target), out);
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        out.push(
            flag(row.reset.is_some(), ROW_RESET)
                | flag(row.present.is_some(), ROW_PRESENCE)
                | flag(row.has_row, ROW_VALUES)
                | flag(!row.solo.is_empty(), ROW_SOLO)
                | flag(!row.histograms.is_empty(), ROW_HISTOGRAMS)
                | flag(!row.metadata.is_empty(), ROW_METADATA),
        );
        put_zigzag(row.time, out);
        match row.reset {
            Some(key) => put_text(out, key),
            None if row.has_row => put_varint(row.commit - row.previous, out),
            None => {}
        }
        if let Some(present) = row.present {
            put_runs(out, present);
        }
        if row.has_row {
            put_cells(out, row);
        }
        if !row.solo.is_empty() {
            put_samples(out, row.solo);
        }
        if !row.histograms.is_empty() {
            put_histograms(out, row.histograms);
        }
        if !row.metadata.is_empty() {
            put_metadata(out, row.metadata);
        }
    });
}

/// Appends a commit of at most [`PUSH_ROWS_MAX`] rows of groups, and of other samples.
pub(crate) fn encode_push<'a>(
    out: &mut Vec<u8>,
    commit: u64,
    rows: impl ExactSizeIterator<Item = RowRecord<'a, &'a Changed>>,
    samples: &[(u32, Sample)],
    histograms: &[(u32, PackedSample)],
    metadata: &[LoggedMetadata],
) {
    put_record(out, KIND_PUSH, |out| {
        put_varint(commit, out);
        put_varint(rows.len() as u64, out);
        for row in rows {
            put_varint(u64::from(row.target), out);
            let reset = u8::from(row.reset.is_some()) * ROW_RESET;
            let presence = u8::from(row.present.is_some()) * ROW_PRESENCE;
            out.push(reset | presence);
            put_zigzag(row.time, out);
            if row.reset.is_none() {
                put_varint(commit - row.previous, out);
            }
            if let Some(present) = row.present {
                put_runs(out, present);
            }
            put_cells(out, &row);
        }
        put_samples(out, samples);
        put_histograms(out, histograms);
        put_metadata(out, metadata);
    });
}

pub(crate) fn encode_solo(
    out: &mut Vec<u8>,
    commit: u64,
    samples: &[(u32, Sample)],
    histograms: &[(u32, PackedSample)],
    metadata: &[LoggedMetadata],
) {
    let kind = match (histograms, metadata) {
        ([], []) => KIND_SOLO,
        (_, []) => KIND_HISTOGRAMS,
        _ => KIND_METADATA,
    };
    put_record(out, kind, |out| {
        put_varint(commit, out);
        put_samples(out, samples);
        if kind != KIND_SOLO {
            put_histograms(out, histograms);
        }
        if kind == KIND_METADATA {
            put_metadata(out, metadata);
        }
    });
}

pub(crate) fn encode_exemplars(out: &mut Vec<u8>, exemplars: &[(Labels, Exemplar)]) {
    put_record(out, KIND_EXEMPLARS, |out| {
        put_varint(exemplars.len() as u64, out);
        let mut before = 0;
        for (series, exemplar) in exemplars {
            put_labels(out, series);
            put_labels(out, &exemplar.labels);
            out.push(u8::from(exemplar.is_timed));
            put_zigzag(exemplar.time.wrapping_sub(before), out);
            before = exemplar.time;
            Change::between(0, exemplar.value.to_bits()).encode(out);
        }
    });
}

pub(crate) fn encode_end(out: &mut Vec<u8>) {
    put_record(out, KIND_END, |_| {});
}

/// The series that is expected next in a list, and the time before: both are written against these.
#[derive(Default)]
struct Place {
    series: u32,
    time: i64,
}

impl Place {
    /// Moves on; answers the difference of the series and of the time, as they are written.
    #[inline]
    fn advance(&mut self, series: u32, time: i64) -> (u64, u64) {
        let step = zigzag(i64::from(series) - i64::from(self.series));
        let elapsed = zigzag(time.wrapping_sub(self.time));
        self.series = series.wrapping_add(1);
        self.time = time;
        (step, elapsed)
    }

    fn put(&mut self, series: u32, time: i64, out: &mut Vec<u8>) {
        let (step, elapsed) = self.advance(series, time);
        put_varint(step, out);
        put_varint(elapsed, out);
    }

    fn read(&mut self, input: &mut Cursor<'_>) -> Result<(u32, i64)> {
        let series = near(input, self.series)?;
        self.series = series.wrapping_add(1);
        self.time = self.time.wrapping_add(input.zigzag(RECORD)?);
        Ok((series, self.time))
    }
}

fn put_samples(out: &mut Vec<u8>, samples: &[(u32, Sample)]) {
    put_varint(samples.len() as u64, out);
    out.reserve(samples.len() * size_of::<u64>());
    let mut place = Place::default();
    for (series, sample) in samples {
        let (step, elapsed) = place.advance(*series, sample.time);
        let change = Change::between(0, sample.value.to_bits());
        if step < 1 << 7
            && elapsed < 1 << 14
            && let Some((code, code_bytes)) = change.short()
        {
            // Most are so near. A copy of a fixed length costs less than several of a few bytes.
            let goes_on = u64::from(elapsed >= 1 << 7);
            let elapsed = elapsed & 0x7f | goes_on << 7 | elapsed >> 7 << 8;
            let before = 2 + goes_on as u32;
            let word = step | elapsed << 8 | u64::from(code) << (8 * before);
            let end = out.len() + (before + code_bytes) as usize;
            out.extend_from_slice(&word.to_le_bytes());
            out.truncate(end);
        } else {
            put_varint(step, out);
            put_varint(elapsed, out);
            change.encode(out);
        }
    }
}

fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    put_varint(labels.len() as u64, out);
    for (name, value) in labels.iter() {
        put_text(out, name);
        put_text(out, value);
    }
}

fn put_histograms(out: &mut Vec<u8>, histograms: &[(u32, PackedSample)]) {
    put_varint(histograms.len() as u64, out);
    let mut place = Place::default();
    for (series, sample) in histograms {
        place.put(*series, sample.time, out);
        let bytes = sample.histogram.as_bytes();
        put_varint(bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    }
}

fn put_metadata(out: &mut Vec<u8>, metadata: &[LoggedMetadata]) {
    put_varint(metadata.len() as u64, out);
    for logged in metadata {
        put_text(out, &logged.family);
        out.push(logged.metadata.kind.number() | logged.origins.number() << METADATA_ORIGINS_SHIFT);
        put_text(out, &logged.metadata.unit);
        put_text(out, &logged.metadata.help);
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

/// What a record is read into.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    series: Vec<(u32, Labels)>,
    bindings: Vec<(u32, u32)>,
    present: Vec<(u32, u32)>,
    columns: Vec<u32>,
    changed: Vec<(u32, Change)>,
    solo: Vec<(u32, Sample)>,
    exemplars: Vec<(Labels, Exemplar)>,
    histograms: Vec<(u32, PackedSample)>,
    metadata: Vec<LoggedMetadata>,
    rows: Vec<PushRow>,
}

pub(super) type Result<T> = std::result::Result<T, CodecError>;

pub(super) const RECORD: &str = "a well-formed record";
pub(super) const BAD: CodecError = CodecError { expected: RECORD };

/// The commit number of a record, if it has one; nothing else of it is read.
pub(super) fn commit_of(record: &[u8]) -> Option<u64> {
    let mut input = Cursor::new(record);
    match input.u8(RECORD) {
        Ok(KIND_ROW | KIND_SOLO | KIND_METADATA | KIND_HISTOGRAMS | KIND_PUSH) => {
            input.varint(RECORD).ok()
        }
        _ => None,
    }
}

/// Reads a record, kind and payload.
pub(super) fn decode<'a>(record: &'a [u8], buffers: &'a mut Buffers) -> Result<Record<'a>> {
    let mut input = Cursor::new(record);
    let decoded = match input.u8(RECORD)? {
        KIND_SERIES => {
            series(&mut input, &mut buffers.series)?;
            Record::Series(&buffers.series)
        }
        KIND_ROW => Record::Row(row(&mut input, buffers)?),
        kind @ (KIND_SOLO | KIND_METADATA | KIND_HISTOGRAMS) => {
            let commit = input.varint(RECORD)?;
            samples(&mut input, &mut buffers.solo)?;
            buffers.histograms.clear();
            if kind != KIND_SOLO {
                histograms(&mut input, &mut buffers.histograms)?;
            }
            buffers.metadata.clear();
            if kind == KIND_METADATA {
                metadata(&mut input, &mut buffers.metadata)?;
            }
            Record::Solo {
                commit,
                samples: &buffers.solo,
                histograms: &buffers.histograms,
                metadata: &buffers.metadata,
            }
        }
        KIND_PUSH => {
            let commit = input.varint(RECORD)?;
            push_rows(&mut input, commit, buffers)?;
            samples(&mut input, &mut buffers.solo)?;
            histograms(&mut input, &mut buffers.histograms)?;
            metadata(&mut input, &mut buffers.metadata)?;
            Record::Push {
                commit,
                rows: &buffers.rows,
                samples: &buffers.solo,
                histograms: &buffers.histograms,
                metadata: &buffers.metadata,
            }
        }
        KIND_EXEMPLARS => {
            exemplars(&mut input, &mut buffers.exemplars)?;
            Record::Exemplars(&buffers.exemplars)
        }
        KIND_END => Record::End,
        _ => return Err(BAD),
    };
    if !input.rest().is_empty() {
        return Err(BAD);
    }
    Ok(decoded)
}

pub(super) fn small(input: &mut Cursor<'_>) -> Result<u32> {
    u32::try_from(input.varint(RECORD)?).map_err(|_| BAD)
}

/// A count of things of at least one byte each, so never more than there are bytes.
pub(super) fn count(input: &mut Cursor<'_>) -> Result<usize> {
    let count = usize::try_from(input.varint(RECORD)?).map_err(|_| BAD)?;
    if count > input.rest().len() {
        return Err(BAD);
    }
    Ok(count)
}

fn text<'a>(input: &mut Cursor<'a>) -> Result<&'a str> {
    let len = count(input)?;
    std::str::from_utf8(input.take(len, RECORD)?).map_err(|_| BAD)
}

/// A number that is written as the difference to the expected one.
pub(super) fn near(input: &mut Cursor<'_>, expected: u32) -> Result<u32> {
    let number = input.zigzag(RECORD)?.checked_add(i64::from(expected));
    number
        .and_then(|number| u32::try_from(number).ok())
        .ok_or(BAD)
}

fn series(input: &mut Cursor<'_>, out: &mut Vec<(u32, Labels)>) -> Result<()> {
    out.clear();
    let mut next = 0;
    for _ in 0..count(input)? {
        let id = near(input, next)?;
        next = id.wrapping_add(1);
        out.push((id, labels(input)?));
    }
    Ok(())
}

fn labels(input: &mut Cursor<'_>) -> Result<Labels> {
    let pairs = (0..count(input)?).map(|_| Ok((text(input)?, text(input)?)));
    let pairs = pairs.collect::<Result<Vec<_>>>()?;
    // Of the names that are refused elsewhere the empty one is the store's own.
    if !pairs.is_sorted_by(|(a, _), (b, _)| a < b) {
        return Err(BAD);
    }
    Ok(Labels::from_pairs(pairs))
}

fn exemplars(input: &mut Cursor<'_>, out: &mut Vec<(Labels, Exemplar)>) -> Result<()> {
    out.clear();
    let mut time = 0i64;
    for _ in 0..count(input)? {
        let (series, own) = (labels(input)?, labels(input)?);
        let is_timed = match input.u8(RECORD)? {
            0 => false,
            1 => true,
            _ => return Err(BAD),
        };
        time = time.wrapping_add(input.zigzag(RECORD)?);
        let value = f64::from_bits(Change::decode(input)?.apply(0));
        let exemplar = Exemplar {
            labels: own,
            value,
            time,
            is_timed,
        };
        out.push((series, exemplar));
    }
    Ok(())
}

fn row<'a>(input: &mut Cursor<'a>, buffers: &'a mut Buffers) -> Result<RowRecord<'a>> {
    let commit = input.varint(RECORD)?;
    let target = small(input)?;
    let flags = input.u8(RECORD)?;
    let has = |flag: u8| flags & flag != 0;
    let has_row = has(ROW_VALUES);
    if flags > ROW_FLAGS || (!has_row && (has(ROW_RESET) || has(ROW_PRESENCE))) {
        return Err(BAD);
    }
    let time = input.zigzag(RECORD)?;
    let reset = if has(ROW_RESET) {
        Some(text(input)?)
    } else {
        None
    };
    let previous = if has_row && reset.is_none() {
        commit.checked_sub(input.varint(RECORD)?).ok_or(BAD)?
    } else {
        0
    };
    buffers.present.clear();
    if has(ROW_PRESENCE) {
        runs(input, &mut buffers.present)?;
    }
    buffers.changed.clear();
    buffers.bindings.clear();
    if has_row {
        let Buffers {
            columns,
            changed,
            bindings,
            ..
        } = &mut *buffers;
        cells(input, columns, changed, bindings)?;
    }
    buffers.solo.clear();
    if has(ROW_SOLO) {
        samples(input, &mut buffers.solo)?;
    }
    buffers.histograms.clear();
    if has(ROW_HISTOGRAMS) {
        histograms(input, &mut buffers.histograms)?;
    }
    buffers.metadata.clear();
    if has(ROW_METADATA) {
        metadata(input, &mut buffers.metadata)?;
    }
    Ok(RowRecord {
        commit,
        target,
        reset,
        previous,
        time,
        bindings: &buffers.bindings,
        present: has(ROW_PRESENCE).then_some(&*buffers.present),
        changed: &buffers.changed,
        solo: &buffers.solo,
        histograms: &buffers.histograms,
        metadata: &buffers.metadata,
        has_row,
    })
}

fn push_rows(input: &mut Cursor<'_>, commit: u64, buffers: &mut Buffers) -> Result<()> {
    let count = count(input)?;
    if count > PUSH_ROWS_MAX {
        return Err(BAD);
    }
    buffers.rows.clear();
    for _ in 0..count {
        let target = small(input)?;
        let flags = input.u8(RECORD)?;
        if flags & !(ROW_RESET | ROW_PRESENCE) != 0 {
            return Err(BAD);
        }
        let mut row = PushRow {
            target,
            is_reset: flags & ROW_RESET != 0,
            time: input.zigzag(RECORD)?,
            has_presence: flags & ROW_PRESENCE != 0,
            ..PushRow::default()
        };
        if !row.is_reset {
            row.previous = commit.checked_sub(input.varint(RECORD)?).ok_or(BAD)?;
        }
        if row.has_presence {
            runs(input, &mut row.present)?;
        }
        let scratch = &mut buffers.columns;
        cells(input, scratch, &mut row.changed, &mut row.bindings)?;
        buffers.rows.push(row);
    }
    Ok(())
}

fn samples(input: &mut Cursor<'_>, out: &mut Vec<(u32, Sample)>) -> Result<()> {
    out.clear();
    let mut place = Place::default();
    for _ in 0..count(input)? {
        let (series, time) = place.read(input)?;
        let value = f64::from_bits(Change::decode(input)?.apply(0));
        out.push((series, Sample { time, value }));
    }
    Ok(())
}

fn histograms(input: &mut Cursor<'_>, out: &mut Vec<(u32, PackedSample)>) -> Result<()> {
    out.clear();
    let mut place = Place::default();
    for _ in 0..count(input)? {
        let (series, time) = place.read(input)?;
        let len = count(input)?;
        let histogram = PackedHistogram::read(input.take(len, RECORD)?)?;
        out.push((series, PackedSample { time, histogram }));
    }
    Ok(())
}

fn metadata(input: &mut Cursor<'_>, out: &mut Vec<LoggedMetadata>) -> Result<()> {
    out.clear();
    for _ in 0..count(input)? {
        let family = text(input)?.to_owned();
        let byte = input.u8(RECORD)?;
        let kind = byte & ((1 << METADATA_ORIGINS_SHIFT) - 1);
        let kind = MetricType::from_number(kind).ok_or(BAD)?;
        let origins = Origins::from_number(byte >> METADATA_ORIGINS_SHIFT).ok_or(BAD)?;
        let (unit, help) = (text(input)?.to_owned(), text(input)?.to_owned());
        out.push(LoggedMetadata {
            family,
            origins,
            metadata: Metadata { kind, unit, help },
        });
    }
    Ok(())
}
