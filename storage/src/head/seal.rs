//! What leaves memory: everything up to a commit goes into a file, the file into the catalog, and
//! then, once no querier holds an older catalog, the rows and solo samples out of memory.
//!
//! A querier reads the files of its catalog and, from memory, the commits after it: no sample is
//! read twice or missed, whenever the seal happens.

use std::{
    path::Path,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use super::{
    Head, Known,
    catalog::{Catalog, SealedFile, UNFINISHED, file_name},
    row::{NO_SERIES, Row},
    series::SoloSample,
    target::Target,
};
use crate::{
    Fs, OpenError, Timestamp,
    codec::VALUES_MAX,
    error::IoError,
    segment::{FrameBuilder, Segment, SegmentWriter},
};

type BTreeMap<K, V> = std::collections::BTreeMap<K, V>;

/// Writes pages into frames of a file.
struct Sink<'a> {
    head: &'a Head,
    writer: SegmentWriter,
    frame: FrameBuilder,
}

impl Sink<'_> {
    fn page(
        &mut self,
        series: u32,
        times: &[Timestamp],
        first: usize,
        values: &[f64],
    ) -> Result<(), IoError> {
        if self.frame.is_full() {
            self.flush()?;
        }
        let column = self.frame.add_times(times);
        self.frame.add_page(series, column, first, values);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), IoError> {
        let frame = std::mem::take(&mut self.frame);
        if frame.is_empty() {
            return Ok(());
        }
        let head = self.head;
        self.writer.append_frame(frame, |id| {
            let labels = head.catalog().known.labels(id);
            labels.expect("a series with samples is known")
        })?;
        Ok(())
    }

    /// The rows of a target in `before < commit <= cut`.
    fn target(&mut self, target: &Target, before: u64, cut: u64) -> Result<(), IoError> {
        let blocks = target.blocks();
        let mut times = Vec::new();
        let mut rows: Vec<Vec<&Row>> = Vec::new();
        let mut places: BTreeMap<u32, Vec<(usize, u32)>> = BTreeMap::new();
        for block in blocks.iter() {
            let sealed = block
                .rows()
                .filter(|row| row.commit > before && row.commit <= cut);
            let block_rows: Vec<&Row> = sealed.collect();
            if block_rows.is_empty() {
                continue;
            }
            for (column, series) in block.columns().iter().copied().enumerate() {
                if series != NO_SERIES {
                    let place = (rows.len(), column as u32);
                    places.entry(series).or_default().push(place);
                }
            }
            times.extend(block_rows.iter().map(|row| row.time));
            rows.push(block_rows);
        }
        let starts: Vec<usize> = rows
            .iter()
            .scan(0, |next, rows| {
                let start = *next;
                *next += rows.len();
                Some(start)
            })
            .collect();
        let mut samples: Vec<(usize, f64)> = Vec::new();
        for (series, places) in &places {
            samples.clear();
            for (block, column) in places {
                let mut bits = 0;
                for (index, row) in rows[*block].iter().enumerate() {
                    if let Some(stored) = row.stored(*column) {
                        bits = stored;
                    }
                    if row.has(*column) {
                        samples.push((starts[*block] + index, f64::from_bits(bits)));
                    }
                }
            }
            self.column(*series, &times, &samples)?;
        }
        Ok(())
    }

    /// One series' samples in rows, by the index of their row.
    fn column(
        &mut self,
        series: u32,
        times: &[Timestamp],
        samples: &[(usize, f64)],
    ) -> Result<(), IoError> {
        let chunks = samples.chunk_by(|a, b| a.0 / VALUES_MAX == b.0 / VALUES_MAX);
        for chunk in chunks {
            let values: Vec<f64> = chunk.iter().map(|(_, value)| *value).collect();
            let (first, last) = (chunk[0].0, chunk[chunk.len() - 1].0);
            if last - first + 1 == chunk.len() {
                let start = first / VALUES_MAX * VALUES_MAX;
                let end = times.len().min(start + VALUES_MAX);
                self.page(series, &times[start..end], first - start, &values)?;
            } else {
                let own: Vec<Timestamp> = chunk.iter().map(|(row, _)| times[*row]).collect();
                self.page(series, &own, 0, &values)?;
            }
        }
        Ok(())
    }

    fn solo(&mut self, series: u32, samples: &[SoloSample]) -> Result<(), IoError> {
        for chunk in samples.chunks(VALUES_MAX) {
            let times: Vec<Timestamp> = chunk.iter().map(|sample| sample.time).collect();
            let values: Vec<f64> = chunk.iter().map(|sample| sample.value).collect();
            self.page(series, &times, 0, &values)?;
        }
        Ok(())
    }
}

impl Head {
    /// How much time the samples span that are only in memory and in the log, in milliseconds.
    pub(crate) fn unsealed_span_ms(&self) -> i64 {
        let oldest = self.unsealed_oldest.load(Ordering::Relaxed);
        if oldest == Timestamp::MAX {
            return 0;
        }
        let newest = self.newest.load(Ordering::Relaxed);
        newest.saturating_sub(oldest)
    }

    /// Writes everything that is only in memory and in the log into a file of `folder`, durably.
    pub(crate) fn seal(&self, fs: &dyn Fs, folder: &Path) -> Result<(), OpenError> {
        let before = self.catalog().sealed;
        let (cut, targets, oldest) = {
            let mut state = self.state();
            // What waits for the disk is not in the log yet; it must not be sealed before it is.
            if !state.wal.backlog.is_empty() || state.sequence == before {
                return Ok(());
            }
            for writer in &mut state.targets {
                writer.roll();
            }
            let targets: Vec<Arc<Target>> = state
                .targets
                .iter()
                .map(|writer| Arc::clone(&writer.target))
                .collect();
            let oldest = self.unsealed_oldest.swap(Timestamp::MAX, Ordering::Relaxed);
            (state.sequence, targets, oldest)
        };
        let sealed = self.write_file(fs, folder, &targets, before, cut);
        if sealed.is_err() {
            self.unsealed_oldest.fetch_min(oldest, Ordering::Relaxed);
        }
        let file = sealed?;
        self.change_catalog(|catalog| {
            catalog.sealed = cut;
            catalog.files.push(Arc::new(file));
        });
        Ok(())
    }

    fn write_file(
        &self,
        fs: &dyn Fs,
        folder: &Path,
        targets: &[Arc<Target>],
        before: u64,
        cut: u64,
    ) -> Result<SealedFile, OpenError> {
        let unfinished = folder.join(UNFINISHED);
        if fs
            .list(folder)?
            .iter()
            .any(|entry| entry.name == UNFINISHED)
        {
            fs.remove_file(&unfinished)?;
        }
        let mut sink = Sink {
            head: self,
            writer: SegmentWriter::create(fs, &unfinished)?,
            frame: FrameBuilder::default(),
        };
        for target in targets {
            sink.target(target, before, cut)?;
        }
        for id in self.states.solo_series() {
            let solo = self.states.sources(id).solo.unwrap_or_default();
            let sealed: Vec<SoloSample> = solo
                .iter()
                .filter(|sample| sample.commit > before && sample.commit <= cut)
                .copied()
                .collect();
            sink.solo(id, &sealed)?;
        }
        sink.flush()?;
        sink.writer.sync()?;
        let len = sink.writer.len();
        let path = folder.join(file_name(cut));
        fs.rename(&unfinished, &path)?;
        fs.sync_dir(folder)?;
        match Segment::open(fs, &path, len)? {
            (segment, None) => Ok(SealedFile::new(path, segment)),
            (_, Some(tail)) => Err(OpenError::Corruption(crate::Corruption {
                file: path,
                offset: tail.offset,
                expected: tail.reason.to_owned(),
                found: "other bytes than were written".to_owned(),
            })),
        }
    }

    /// Drops from memory what is sealed in every live querier's catalog.
    pub(crate) fn prune(&self) {
        let sealed = self.oldest_catalog().min(self.catalog().sealed);
        if self.pruned.swap(sealed, Ordering::Relaxed) >= sealed {
            return;
        }
        let state = self.state();
        for writer in &state.targets {
            let blocks = writer.target.blocks();
            let (old, kept): (Vec<_>, Vec<_>) = blocks
                .iter()
                .map(Arc::clone)
                .partition(|block| block.first().is_some_and(|row| row.commit <= sealed));
            if old.is_empty() {
                continue;
            }
            writer.target.set_blocks(kept.into());
            let bytes: u64 = old.iter().map(|block| block.bytes()).sum();
            self.rows_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        self.states.prune(sealed, &|id, place| {
            state.targets[place.target as usize].needs(id, place.column)
        });
    }

    /// Removes whole files, oldest first: those wholly before `cutoff`, and as many as it takes to
    /// come down to `bytes_max` with the log.
    pub(crate) fn retain(
        &self,
        fs: &dyn Fs,
        cutoff: Option<Timestamp>,
        bytes_max: Option<u64>,
    ) -> Result<(), IoError> {
        let mut catalog = Catalog::clone(&self.catalog());
        let mut bytes = self.wal_size().0;
        bytes += catalog
            .files
            .iter()
            .map(|file| file.segment.len())
            .sum::<u64>();
        let mut removed = Vec::new();
        while let Some(oldest) = catalog.files.first() {
            let too_old = cutoff.is_some_and(|cutoff| oldest.range().max < cutoff);
            let too_much = bytes_max.is_some_and(|max| bytes > max);
            if !too_old && !too_much {
                break;
            }
            bytes -= oldest.segment.len();
            removed.push(catalog.files.remove(0));
        }
        if removed.is_empty() {
            return Ok(());
        }
        let oldest = catalog
            .files
            .iter()
            .map(|file| file.range().min)
            .fold(self.unsealed_oldest.load(Ordering::Relaxed), Timestamp::min);
        self.oldest.store(oldest, Ordering::Relaxed);
        self.change_catalog(|now| *now = catalog);
        for file in &removed {
            fs.remove_file(&file.path)?;
        }
        let mut queriers = self.queriers.lock().unwrap_or_else(PoisonError::into_inner);
        queriers.collect_after = Some(queriers.next);
        Ok(())
    }

    /// Forgets series without samples, once every querier from before the last removal has ended.
    pub(crate) fn collect_series(&self) {
        {
            let mut queriers = self.queriers.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(after) = queriers.collect_after else {
                return;
            };
            if queriers
                .live
                .keys()
                .next()
                .is_some_and(|serial| *serial <= after)
            {
                return;
            }
            queriers.collect_after = None;
        }
        let state = self.state();
        if self.appenders.load(Ordering::Relaxed) > 0 {
            let mut queriers = self.queriers.lock().unwrap_or_else(PoisonError::into_inner);
            queriers.collect_after = Some(0);
            return;
        }
        let catalog = self.catalog();
        let is_sealed = |id| catalog.files.iter().any(|file| file.series.contains(id));
        let is_held = |id: u32| {
            let places = self.states.places(id);
            let mut places = places.iter();
            places.any(|place| state.targets[place.target as usize].needs(id, place.column))
                || self.states.sources(id).solo.is_some()
        };
        let mut empty = Vec::new();
        self.change_catalog(|catalog| {
            let left = Known::default();
            for (id, labels) in catalog.known.delta().iter() {
                if is_sealed(id) || is_held(id) {
                    left.insert(id, &labels);
                } else {
                    empty.push(id);
                }
            }
            catalog.known = left;
        });
        self.states.forget(&empty);
        self.counters
            .series_removed
            .fetch_add(empty.len() as u64, Ordering::Relaxed);
    }

    /// Begins a new log segment when due and removes those that hold nothing beyond commit `settled`.
    pub(crate) fn maintain_wal(
        &self,
        segment_age_max: Duration,
        settled: u64,
    ) -> Result<(), IoError> {
        let mut state = self.state();
        let last = state.sequence;
        state.wal.rotate_if_due(last, segment_age_max)?;
        let removed = state.wal.drop_up_to(settled)?;
        self.counters
            .wal_truncations
            .fetch_add(removed, Ordering::Relaxed);
        Ok(())
    }
}
