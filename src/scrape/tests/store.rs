//! A store that keeps every sample in memory and checks the write contract as it goes.

use std::{
    collections::{BTreeMap, HashSet, btree_map::Entry},
    fmt::Write as _,
    sync::{Arc, Mutex},
};

use narthex_storage::{
    AppendError, Appendable, Appender, Column, Commit, Labels, Metadata, Refusal, RowBuilder,
    TargetAppender, TargetKey, Timestamp, is_stale_marker, stale_marker,
};

/// Samples by series, in the order in which they were kept.
pub(super) type Series = BTreeMap<String, Vec<(Timestamp, f64)>>;

#[derive(Debug, Clone, Default)]
pub(super) struct MemoryStore(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    series: Series,
    live: HashSet<String>,
    commits: usize,
    /// Values that were handed over as unchanged.
    repeated: usize,
    columns: usize,
    /// Family, type and help, as they were handed over.
    families: Vec<String>,
}

impl MemoryStore {
    pub(super) fn columns(&self) -> usize {
        self.0.lock().unwrap().columns
    }

    pub(super) fn series(&self) -> Series {
        self.0.lock().unwrap().series.clone()
    }

    /// The metadata that was handed over since it was last asked for.
    pub(super) fn families(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().families)
    }

    pub(super) fn commits(&self) -> usize {
        self.0.lock().unwrap().commits
    }

    pub(super) fn repeated(&self) -> usize {
        self.0.lock().unwrap().repeated
    }

    /// Every series but the reports as text: `labels value@time …`, `stale` for markers.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for (labels, samples) in self.series() {
            if labels.contains("\"scrape_") {
                continue;
            }
            out.push_str(&labels);
            for (time, value) in samples {
                if is_stale_marker(value) {
                    write!(out, " stale@{time}").unwrap();
                } else {
                    write!(out, " {value}@{time}").unwrap();
                }
            }
            out.push('\n');
        }
        out
    }
}

impl Appendable for MemoryStore {
    fn target(&self, key: &TargetKey) -> Result<Box<dyn TargetAppender>, AppendError> {
        if !self.0.lock().unwrap().live.insert(key.0.clone()) {
            return Err(AppendError::TargetBusy(key.0.clone()));
        }
        Ok(Box::new(MemoryTarget {
            store: self.clone(),
            key: key.0.clone(),
            columns: Vec::new(),
            previous: BTreeMap::new(),
        }))
    }

    fn appender(&self) -> Box<dyn Appender> {
        unreachable!("scraping writes rows alone")
    }
}

struct MemoryTarget {
    store: MemoryStore,
    key: String,
    columns: Vec<String>,
    previous: BTreeMap<u32, f64>,
}

impl Drop for MemoryTarget {
    fn drop(&mut self) {
        self.store.0.lock().unwrap().live.remove(&self.key);
    }
}

fn push(series: &mut Series, labels: &str, time: Timestamp, value: f64) -> Result<(), Refusal> {
    let samples = series.entry(labels.to_owned()).or_default();
    match samples.last() {
        Some((last, _)) if *last > time => return Err(Refusal::OutOfOrder),
        Some((last, kept)) if *last == time => {
            if kept.to_bits() != value.to_bits() {
                return Err(Refusal::Duplicate);
            }
        }
        _ => samples.push((time, value)),
    }
    Ok(())
}

impl TargetAppender for MemoryTarget {
    fn column(&mut self, labels: &Labels) -> Result<Column, Refusal> {
        let labels = labels.to_string();
        let known = self.columns.iter().position(|known| *known == labels);
        let index = known.unwrap_or_else(|| {
            self.columns.push(labels);
            self.store.0.lock().unwrap().columns += 1;
            self.columns.len() - 1
        });
        Ok(Column(index as u32))
    }

    fn retire(&mut self, column: Column) {
        assert!(!self.previous.contains_key(&column.0), "still in the row");
        self.columns[column.0 as usize] = String::new();
    }

    fn keeps_exemplars(&self) -> bool {
        false
    }

    fn commit(&mut self, row: &mut RowBuilder) -> Result<Commit, AppendError> {
        let mut state = self.store.0.lock().unwrap();
        let mut present = BTreeMap::new();
        for range in row.unchanged() {
            for column in range.start.0..range.end.0 {
                let value = self.previous[&column];
                assert!(present.insert(column, value).is_none(), "given twice");
                state.repeated += 1;
            }
        }
        let mut commit = Commit::default();
        for (index, (column, value)) in row.values().iter().enumerate() {
            match present.entry(column.0) {
                Entry::Vacant(free) => {
                    free.insert(*value);
                }
                Entry::Occupied(_) => commit.refused.push((index as u32, Refusal::Duplicate)),
            }
        }
        let markers = self
            .previous
            .keys()
            .filter(|column| !present.contains_key(column));
        let stale: Vec<u32> = markers.copied().collect();
        for (column, value) in &present {
            let labels = &self.columns[*column as usize];
            match push(&mut state.series, labels, row.time(), *value) {
                Ok(()) => commit.accepted += 1,
                Err(refusal) => commit.refused.push((0, refusal)),
            }
        }
        for column in stale {
            let labels = &self.columns[column as usize];
            let _late = push(&mut state.series, labels, row.time(), stale_marker());
        }
        for (column, sample) in row.timed() {
            let labels = &self.columns[column.0 as usize];
            match push(&mut state.series, labels, sample.time, sample.value) {
                Ok(()) => commit.accepted += 1,
                Err(refusal) => commit.refused.push((0, refusal)),
            }
        }
        let families = row.families().iter();
        state.families.extend(families.map(|(family, metadata)| {
            let Metadata { kind, unit, help } = metadata;
            let unit = if unit.is_empty() {
                String::new()
            } else {
                format!(" in {unit}")
            };
            format!("{family} {} {help}{unit}", kind.as_str())
        }));
        self.previous = present;
        state.commits += 1;
        row.begin(0);
        Ok(commit)
    }
}
