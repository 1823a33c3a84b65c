//! Building a head from log records.
//!
//! Nothing is judged again: what is in the log was accepted. Rows and solo samples that a segment
//! file already holds are skipped by their commit numbers.

use std::sync::Arc;

use super::{
    HashMap, Known,
    bits::{self, Bits},
    histograms::Histograms,
    row::{NO_SERIES, Row, Stored},
    states::States,
    target::TargetWriter,
};
use crate::{
    Labels, Sample, TargetKey, TimeRange, Timestamp,
    codec::PackedSample,
    wal::{PushRow, Record, RowRecord},
};

/// Numbers of series in the log are below this one: numbers grow from zero, one a series, so a larger one
/// was never given out.
const READ_ID_END: u32 = 1 << 31;

/// See the module.
#[derive(Debug)]
pub(crate) struct Replay {
    parts: Parts,
    /// The log segment being read; definitions of targets do not reach beyond one.
    segment: u64,
    /// The log's numbers of series to ours, where they differ.
    renamed: HashMap<u32, u32>,
    targets: HashMap<u32, LoggedTarget>,
    /// Where the rows of groups are, by their numbers in the log.
    groups: HashMap<u32, u32>,
    /// Everything up to this commit is in a file.
    sealed: u64,
    /// What a row brings to its block.
    to_block: Vec<(u32, u64)>,
    /// Samples without a row, under the numbers that their series have here.
    solo: Vec<(u32, Sample)>,
}

/// What a replay leaves.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) known: Known,
    pub(super) next_id: u32,
    pub(super) states: States,
    pub(super) histograms: Histograms,
    pub(super) rows_bytes: u64,
    pub(super) targets: Vec<TargetWriter>,
    pub(super) by_key: HashMap<TargetKey, u32>,
    pub(super) sequence: u64,
    pub(super) next_block: u64,
    pub(super) newest: Timestamp,
    pub(super) oldest: Timestamp,
    pub(super) unsealed_oldest: Timestamp,
}

/// A target as the log's records describe it.
#[derive(Debug)]
struct LoggedTarget {
    writer: u32,
    columns: Columns,
    values: Vec<u64>,
    present: Bits,
    /// The same, for rows.
    shared: Arc<[u64]>,
    /// Its last row's.
    last_commit: u64,
}

/// What a row that can be applied brings.
#[derive(Debug, Default)]
struct Checked {
    /// Column, and the series' number here.
    bindings: Vec<(u32, u32)>,
    /// The columns of a row that builds on nothing.
    columns: Columns,
}

/// The log's column numbers in the order of their binding. Here columns go by their place in it, so that
/// what is kept for them is in proportion to the records.
#[derive(Debug, Default)]
struct Columns {
    len: u32,
    /// Columns below this one are their own places, as they are where a target's columns were bound in
    /// their order.
    same: u32,
    /// Places by column, as long as columns are not much larger than their number.
    near: Vec<u32>,
    far: HashMap<u32, u32>,
}

impl Columns {
    const NONE: u32 = u32::MAX;

    /// The place of a bound column.
    #[inline]
    fn place(&self, column: u32) -> Result<u32, &'static str> {
        if column < self.same {
            return Ok(column);
        }
        self.other_place(column)
    }

    fn other_place(&self, column: u32) -> Result<u32, &'static str> {
        match self.near.get(column as usize) {
            Some(place) if *place != Self::NONE => Ok(*place),
            _ if self.far.is_empty() => Err("a column that is bound"),
            _ => self
                .far
                .get(&column)
                .copied()
                .ok_or("a column that is bound"),
        }
    }

    /// The place of a column, which is bound now if it was not.
    fn bind(&mut self, column: u32) -> u32 {
        if let Ok(place) = self.place(column) {
            return place;
        }
        let place = self.len;
        self.len += 1;
        if column == place && self.same == place {
            self.same += 1;
        }
        if column / 4 <= place.saturating_add(1_024) {
            if self.near.len() <= column as usize {
                self.near.resize(column as usize + 1, Self::NONE);
            }
            self.near[column as usize] = place;
        } else {
            self.far.insert(column, place);
        }
        place
    }
}

impl Parts {
    fn saw(&mut self, time: Timestamp) {
        self.newest = self.newest.max(time);
        self.oldest = self.oldest.min(time);
        self.unsealed_oldest = self.unsealed_oldest.min(time);
    }
}

impl Replay {
    /// Begins with the series of the newest block.
    pub(crate) fn new(known: Known) -> Self {
        Self {
            parts: Parts {
                next_id: known.next_id(),
                known,
                states: States::default(),
                histograms: Histograms::default(),
                rows_bytes: 0,
                targets: Vec::new(),
                by_key: HashMap::default(),
                sequence: 0,
                next_block: 0,
                newest: Timestamp::MIN,
                oldest: Timestamp::MAX,
                unsealed_oldest: Timestamp::MAX,
            },
            segment: 0,
            renamed: HashMap::default(),
            targets: HashMap::default(),
            groups: HashMap::default(),
            sealed: 0,
            to_block: Vec::new(),
            solo: Vec::new(),
        }
    }

    /// Says that a series has this number. Equal labels keep the number that they have; a number that
    /// another series has, or that is larger than any that was given out, is replaced by a free one.
    ///
    /// # Errors
    /// What was expected, when there is no free one.
    pub(crate) fn define(&mut self, id: u32, labels: &Labels) -> Result<(), &'static str> {
        let Parts { known, next_id, .. } = &mut self.parts;
        let number = if let Some(known) = known.find(labels) {
            known
        } else if id >= READ_ID_END || known.contains(id) {
            if *next_id == NO_SERIES {
                return Err("a series for which there is a free number");
            }
            known.insert(*next_id, labels);
            *next_id
        } else {
            known.insert(id, labels);
            id
        };
        *next_id = (*next_id).max(number + 1);
        if id < READ_ID_END {
            *next_id = (*next_id).max(id + 1);
        }
        if number == id {
            self.renamed.remove(&id);
        } else {
            self.renamed.insert(id, number);
        }
        Ok(())
    }

    /// The number here of a series that the log, or a block, has defined.
    fn series(&self, id: u32) -> Result<u32, &'static str> {
        if let Some(number) = self.renamed.get(&id) {
            return Ok(*number);
        }
        let is_known = self.parts.known.contains(id);
        is_known.then_some(id).ok_or("a series that is defined")
    }

    /// Says that everything up to a commit is in a file.
    pub(crate) fn is_sealed(&mut self, commit: u64) {
        self.sealed = commit;
        self.parts.sequence = self.parts.sequence.max(commit);
    }

    /// Says that there are sealed samples in this time.
    pub(crate) fn saw_range(&mut self, range: TimeRange) {
        self.parts.newest = self.parts.newest.max(range.max);
        self.parts.oldest = self.parts.oldest.min(range.min);
    }

    /// Says that every number below this one was given out.
    pub(crate) fn begin_ids_at(&mut self, id: u32) {
        self.parts.next_id = self.parts.next_id.max(id);
    }

    /// The last commit seen.
    pub(crate) fn sequence(&self) -> u64 {
        self.parts.sequence
    }

    /// Applies a record of log segment `segment`; the error says what was expected instead.
    pub(crate) fn apply(&mut self, segment: u64, record: Record<'_>) -> Result<(), &'static str> {
        if segment != self.segment {
            self.segment = segment;
            self.targets.clear();
        }
        match record {
            Record::Series(series) => {
                let mut series = series.iter();
                series.try_for_each(|(id, labels)| self.define(*id, labels))
            }
            // What is sealed may be of series that are forgotten since.
            Record::Solo { commit, .. } if commit <= self.sealed => Ok(()),
            Record::Solo {
                commit,
                samples,
                histograms,
                ..
            } => self.solo(commit, samples, histograms),
            Record::Row(row) if row.commit <= self.sealed => {
                if self.row(&row, None).is_err() {
                    self.targets.remove(&row.target);
                }
                Ok(())
            }
            Record::Row(row) => self.row(&row, None),
            Record::Push {
                commit,
                rows,
                samples,
                histograms,
                ..
            } => self.push(commit, rows, samples, histograms),
            // They have a place of their own.
            Record::Exemplars(_) => Ok(()),
            Record::End => Err("a record of a log segment"),
        }
    }

    /// Each group goes on by itself: what builds on a damaged row is left out, nothing else.
    fn push(
        &mut self,
        commit: u64,
        rows: &[PushRow],
        samples: &[(u32, Sample)],
        histograms: &[(u32, PackedSample)],
    ) -> Result<(), &'static str> {
        let mut result = Ok(());
        for row in rows {
            let row = row.record(commit);
            let placed = self.group(&row);
            if let Err(expected) = placed.and_then(|group| self.row(&row, Some(group))) {
                self.targets.remove(&row.target);
                result = Err(expected);
            }
        }
        // What is sealed may be of series that are forgotten since.
        if commit <= self.sealed {
            return Ok(());
        }
        result.and(self.solo(commit, samples, histograms))
    }

    /// Where the rows of a group go.
    fn group(&mut self, row: &RowRecord<'_>) -> Result<u32, &'static str> {
        let parts = &mut self.parts;
        let is_later = |writer: &u32| row.time > parts.targets[*writer as usize].last_row_time;
        if row.reset.is_none() {
            let target = self.targets.get(&row.target).map(|target| target.writer);
            return target
                .filter(is_later)
                .ok_or("a row that is later than the one before of its group");
        }
        // A number is given to another group once the rows of the one before it are sealed.
        let known = self.groups.get(&row.target).copied().filter(is_later);
        let writer = known.unwrap_or_else(|| {
            let index = parts.targets.len() as u32;
            let writer = TargetWriter::new_group(index);
            parts.states.set_target(Arc::clone(&writer.target));
            parts.targets.push(writer);
            index
        });
        self.groups.insert(row.target, writer);
        Ok(writer)
    }

    fn check_solo(
        &self,
        samples: &[(u32, Sample)],
        histograms: &[(u32, PackedSample)],
    ) -> Result<(), &'static str> {
        let samples = samples.iter().map(|(id, _)| id);
        let mut ids = samples.chain(histograms.iter().map(|(id, _)| id));
        ids.try_for_each(|id| self.series(*id).map(drop))
    }

    fn solo(
        &mut self,
        commit: u64,
        samples: &[(u32, Sample)],
        histograms: &[(u32, PackedSample)],
    ) -> Result<(), &'static str> {
        self.check_solo(samples, histograms)?;
        self.parts.sequence = self.parts.sequence.max(commit);
        if commit <= self.sealed {
            return Ok(());
        }
        self.solo.clear();
        for (id, sample) in samples {
            let id = self.series(*id)?;
            self.solo.push((id, *sample));
            let states = &self.parts.states;
            states.raise_last(id, (sample.time, sample.value.to_bits()));
            self.parts.saw(sample.time);
        }
        let mut kept = Vec::with_capacity(histograms.len());
        for (id, sample) in histograms {
            kept.push((self.series(*id)?, sample.clone()));
            self.parts.saw(sample.time);
        }
        self.parts.histograms.push(commit, kept);
        self.parts.states.push_solo(commit, &self.solo);
        Ok(())
    }

    /// Whether a row can be applied, before anything of it is.
    fn check(&self, row: &RowRecord<'_>) -> Result<Checked, &'static str> {
        self.check_solo(row.solo, row.histograms)?;
        let mut checked = Checked::default();
        if !row.has_row {
            return Ok(checked);
        }
        checked.bindings.reserve_exact(row.bindings.len());
        for (column, id) in row.bindings {
            checked.bindings.push((*column, self.series(*id)?));
        }
        let columns = if row.reset.is_some() {
            for (column, _) in row.bindings {
                checked.columns.bind(*column);
            }
            &checked.columns
        } else {
            let target = self.targets.get(&row.target);
            let target = target.filter(|target| target.last_commit == row.previous);
            &target
                .ok_or("a row whose target's row before was read")?
                .columns
        };
        let is_bound = |column: u32| {
            columns.place(column).is_ok() || {
                let place = |(candidate, _): &(u32, u32)| candidate.cmp(&column);
                row.bindings.binary_search_by(place).is_ok()
            }
        };
        let mut present = row.present.unwrap_or_default().iter();
        let mut changed = row.changed.iter();
        let are_bound = |(first, count): &(u32, u32)| {
            (first + count <= columns.same) || (*first..*first + *count).all(is_bound)
        };
        if changed.all(|(column, _)| is_bound(*column)) && present.all(are_bound) {
            Ok(checked)
        } else {
            Err("a column that is bound")
        }
    }

    /// `group` is where it goes when it is the row of a group.
    fn row(&mut self, row: &RowRecord<'_>, group: Option<u32>) -> Result<(), &'static str> {
        // A row is applied whole or not at all.
        let checked = self.check(row)?;
        let parts = &mut self.parts;
        if let Some(key) = row.reset {
            let writer = group.unwrap_or_else(|| {
                let key = TargetKey(key.to_owned());
                *parts.by_key.entry(key.clone()).or_insert_with(|| {
                    let index = parts.targets.len() as u32;
                    let writer = TargetWriter::new(index, Some(key));
                    parts.states.set_target(Arc::clone(&writer.target));
                    parts.targets.push(writer);
                    index
                })
            });
            parts.targets[writer as usize].dissolve();
            self.targets.insert(
                row.target,
                LoggedTarget {
                    writer,
                    columns: checked.columns,
                    values: Vec::new(),
                    present: Bits::default(),
                    shared: Arc::new([]),
                    last_commit: 0,
                },
            );
        }
        if !row.has_row {
            return self.solo(row.commit, row.solo, row.histograms);
        }
        let target = self
            .targets
            .get_mut(&row.target)
            .ok_or("a target that is defined")?;
        let writer = &mut parts.targets[target.writer as usize];
        target.last_commit = row.commit;
        for (column, id) in checked.bindings {
            let place = target.columns.bind(column);
            if target.values.len() <= place as usize {
                target.values.resize(place as usize + 1, 0);
            }
            target.values[place as usize] = 0;
            writer.rebind(place, id, &parts.states);
        }
        if let Some(present) = row.present {
            target.present.clear();
            for (first, count) in present {
                for column in *first..*first + *count {
                    target.present.insert(target.columns.place(column)?);
                }
            }
            target.shared = target.present.words().into();
        }
        let is_sealed = row.commit <= self.sealed;
        if is_sealed || writer.open.as_ref().is_none_or(|open| open.is_full()) {
            writer.roll();
        }
        let is_whole = writer.open.is_none();
        self.to_block.clear();
        for (column, change) in row.changed {
            let place = target.columns.place(*column)?;
            let value = &mut target.values[place as usize];
            *value = change.apply(*value);
            let differs =
                !writer.in_block.contains(place) || writer.stored[place as usize] != *value;
            if !is_whole && differs {
                self.to_block.push((place, *value));
                writer.in_block.insert(place);
            }
        }
        if is_whole && !is_sealed {
            let places = bits::ones(target.present.words());
            let all = places.map(|place| (place, target.values[place as usize]));
            self.to_block.extend(all);
        } else if row.present.is_some() {
            // What was there before in the log, but not since the block began.
            for (index, word) in target.present.words().iter().enumerate() {
                for place in bits::ones_in(index, word & !writer.in_block.word(index)) {
                    self.to_block.push((place, target.values[place as usize]));
                }
            }
        }
        parts.sequence = parts.sequence.max(row.commit);
        writer.last_row_time = row.time;
        if !is_sealed {
            if !self.to_block.is_sorted_by_key(|(place, _)| *place) {
                self.to_block.sort_unstable_by_key(|(place, _)| *place);
            }
            let open = writer.open(&mut parts.next_block);
            let present = Arc::clone(&target.shared);
            let mut stored = Stored::default();
            for (place, bits) in &self.to_block {
                stored.push(*place, *bits);
            }
            let to_rows = Row::new(row.commit, row.time, present, &stored);
            parts.rows_bytes += to_rows.bytes() as u64;
            open.push(to_rows);
            for (place, bits) in &self.to_block {
                writer.stored[*place as usize] = *bits;
                writer.in_block.insert(*place);
            }
            parts.saw(row.time);
        }
        self.solo(row.commit, row.solo, row.histograms)
    }

    /// Ends the replay: no target is live.
    pub(super) fn finish(mut self) -> Parts {
        for writer in &mut self.parts.targets {
            writer.dissolve();
        }
        self.parts
    }
}
