//! Metadata of metric families: type, unit and help text.
//!
//! **What it is.** What sources said about each family, by its name: the newest few different ones, each
//! once, however many sources repeat it. What is new goes to the log within the commit that brought it,
//! and all of it to one file at each seal, so that it survives a restart.
//!
//! **What it is not.** Kept a series, a target or a time: a family has what was said of it last.
//!
//! **What always holds.** What is kept already costs a comparison and no more. A refusal is for the
//! metadata alone. Reading parts of the log again, behind the file, ends in the same.

use std::{
    collections::{BTreeMap, HashSet},
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    Fs,
    error::IoError,
    wal::{Record, SideFile, encode_solo, load_side_file, save_side_file},
};

/// The name of the file, in the store's folder.
pub(crate) const FILE: &str = "metadata";

/// A family has so many different metadata at most; the oldest goes.
const OF_FAMILY_MAX: usize = 4;
const FAMILIES_MAX: usize = 100_000;
/// Names, units and texts of all families together, in bytes.
const BYTES_MAX: usize = 64 << 20;
const FAMILY_BYTES_MAX: usize = 1 << 10;
const UNIT_BYTES_MAX: usize = 256;
const HELP_BYTES_MAX: usize = 16 << 10;

/// A family's series have its name, or it and one of these.
///
/// Source: the OpenMetrics specification.
const SUFFIXES: [&str; 9] = [
    "", "_total", "_bucket", "_count", "_sum", "_created", "_info", "_gcount", "_gsum",
];

/// What a metric family is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MetricType {
    /// Nobody said, or `untyped`.
    #[default]
    Unknown,
    /// Rises, or begins anew.
    Counter,
    /// Any number.
    Gauge,
    /// Counts by bucket.
    Histogram,
    /// A histogram that also falls.
    GaugeHistogram,
    /// Quantiles.
    Summary,
    /// Labels alone; the value is 1.
    Info,
    /// One of several states.
    StateSet,
}

impl MetricType {
    /// All of them; each is at its number in remote write 1.0 and in the log.
    const ALL: [Self; 8] = [
        Self::Unknown,
        Self::Counter,
        Self::Gauge,
        Self::Histogram,
        Self::GaugeHistogram,
        Self::Summary,
        Self::Info,
        Self::StateSet,
    ];

    /// The type of this number in remote write 1.0, from 0, unknown, to 7, a state set.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Its number, see [`MetricType::from_number`].
    pub(crate) const fn number(self) -> u8 {
        self as u8
    }

    /// The name in Prometheus's API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }
}

/// What is said of a metric family.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Metadata {
    /// What it is.
    pub kind: MetricType,
    /// The unit, as a rule empty; at most 256 bytes.
    pub unit: String,
    /// The help text; at most 16 KiB.
    pub help: String,
}

/// Metadata that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptMetadata {
    /// What it says.
    pub metadata: Metadata,
    /// Whether it came with rows of a target.
    pub from_target: bool,
    /// Whether it was pushed.
    pub from_push: bool,
}

/// Why metadata is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MetadataRefusal {
    /// The family has no name.
    #[error("metadata without the name of a metric family")]
    Unnamed,
    /// Name, unit or help are too long.
    #[error(
        "metadata is too long: a family's name may have 1024 bytes, its unit 256 and its help 16384"
    )]
    TooLong,
    /// There is no room for another family, or for the text.
    #[error("metadata of 100000 families or 64 MiB is kept: no more is taken")]
    Full,
}

/// The metadata's figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MetadataStats {
    /// Families that something is kept of.
    pub families: u64,
    /// Bytes of their names, units and texts.
    pub bytes: u64,
    /// How much was new since the store was opened.
    pub appended: u64,
    /// Refused since then for being too long or unnamed.
    pub refused_invalid: u64,
    /// Refused since then because there is no room.
    pub refused_full: u64,
}

/// Where metadata came from, as bits: more than one is possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origins(u8);

impl Origins {
    pub(crate) const TARGET: Self = Self(1);
    pub(crate) const PUSH: Self = Self(2);

    /// From a number below four that is not zero.
    pub(crate) const fn from_number(number: u8) -> Option<Self> {
        if number >= 1 && number <= 3 {
            Some(Self(number))
        } else {
            None
        }
    }

    pub(crate) const fn number(self) -> u8 {
        self.0
    }

    const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What the log says of a family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoggedMetadata {
    pub(crate) family: String,
    pub(crate) origins: Origins,
    pub(crate) metadata: Metadata,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct MetricMetadata {
    kept: Mutex<Kept>,
    appended: AtomicU64,
    refused_invalid: AtomicU64,
    refused_full: AtomicU64,
}

#[derive(Debug, Default)]
struct Kept {
    /// Newest first, never none.
    families: BTreeMap<Box<str>, Vec<Entry>>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    metadata: Metadata,
    origins: Origins,
    /// The commit that last brought it when it was not kept, or not from there.
    commit: u64,
    /// Readers see it from this commit on.
    since: u64,
}

impl Entry {
    fn bytes(&self) -> usize {
        self.metadata.unit.len() + self.metadata.help.len()
    }
}

impl Kept {
    /// Takes metadata of a commit; the oldest of the family goes when there are too many.
    fn put(&mut self, commit: u64, given: &LoggedMetadata) {
        let family = given.family.as_str();
        if !self.families.contains_key(family) {
            self.bytes += family.len();
            self.families.insert(family.into(), Vec::new());
        }
        let Some(entries) = self.families.get_mut(family) else {
            return;
        };
        match entries
            .iter_mut()
            .find(|entry| entry.metadata == given.metadata)
        {
            Some(entry) => {
                entry.origins = entry.origins.with(given.origins);
                entry.commit = entry.commit.max(commit);
            }
            None => {
                let entry = Entry {
                    metadata: given.metadata.clone(),
                    origins: given.origins,
                    commit,
                    since: commit,
                };
                self.bytes += entry.bytes();
                entries.push(entry);
            }
        }
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.commit));
        for gone in entries.drain(OF_FAMILY_MAX.min(entries.len())..) {
            self.bytes -= gone.bytes();
        }
    }
}

impl MetricMetadata {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which of what a commit brings is to be kept, and which is refused, by its place. Whether there is
    /// room is judged for the commit by itself.
    pub(crate) fn judge(
        &self,
        given: &[(String, Metadata)],
        origins: Origins,
    ) -> (Vec<LoggedMetadata>, Vec<(u32, MetadataRefusal)>) {
        let (mut fresh, mut refused) = (Vec::new(), Vec::new());
        if given.is_empty() {
            return (fresh, refused);
        }
        let kept = self.kept();
        let (mut families, mut bytes) = (kept.families.len(), kept.bytes);
        for (index, (family, metadata)) in given.iter().enumerate() {
            let entries = kept.families.get(family.as_str());
            let same = entries.and_then(|entries| {
                let mut entries = entries.iter();
                entries.find(|entry| entry.metadata == *metadata)
            });
            let is_kept = same.is_some();
            if same.is_some_and(|entry| entry.origins.has(origins)) {
                continue;
            }
            let is_long = family.len() > FAMILY_BYTES_MAX
                || metadata.unit.len() > UNIT_BYTES_MAX
                || metadata.help.len() > HELP_BYTES_MAX;
            let text = metadata.unit.len() + metadata.help.len();
            let (more_families, more_bytes) = match (is_kept, entries) {
                (true, _) => (0, 0),
                (false, Some(_)) => (0, text),
                (false, None) => (1, text + family.len()),
            };
            let refusal = if family.is_empty() {
                Some(MetadataRefusal::Unnamed)
            } else if is_long {
                Some(MetadataRefusal::TooLong)
            } else if families + more_families > FAMILIES_MAX || bytes + more_bytes > BYTES_MAX {
                Some(MetadataRefusal::Full)
            } else {
                None
            };
            if let Some(refusal) = refusal {
                refused.push((index as u32, refusal));
                continue;
            }
            families += more_families;
            bytes += more_bytes;
            fresh.push(LoggedMetadata {
                family: family.clone(),
                origins,
                metadata: metadata.clone(),
            });
        }
        drop(kept);
        for (_, refusal) in &refused {
            let counter = match refusal {
                MetadataRefusal::Unnamed | MetadataRefusal::TooLong => &self.refused_invalid,
                MetadataRefusal::Full => &self.refused_full,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        (fresh, refused)
    }

    /// Keeps what a commit brought that is in the log.
    pub(crate) fn publish(&self, commit: u64, fresh: &[LoggedMetadata]) {
        if fresh.is_empty() {
            return;
        }
        let mut kept = self.kept();
        for given in fresh {
            kept.put(commit, given);
        }
        self.appended
            .fetch_add(fresh.len() as u64, Ordering::Relaxed);
    }

    /// Keeps what a record of the log brings.
    pub(crate) fn replay(&self, commit: u64, logged: &[LoggedMetadata]) {
        if logged.is_empty() {
            return;
        }
        let mut kept = self.kept();
        for given in logged {
            kept.put(commit, given);
        }
    }

    /// Reads the folder's file, if there is one.
    pub(crate) fn load(&self, fs: &dyn Fs, folder: &Path) -> Result<SideFile, IoError> {
        load_side_file(fs, folder, FILE, |record| match *record {
            Record::Solo {
                commit,
                samples: [],
                histograms: [],
                metadata,
            } => {
                self.replay(commit, metadata);
                true
            }
            _ => false,
        })
    }

    /// Writes all that is kept to the folder's file. All that is in log segments before `first_segment` is
    /// among it, or forgotten.
    pub(crate) fn save(
        &self,
        fs: &dyn Fs,
        folder: &Path,
        first_segment: u64,
    ) -> Result<(), IoError> {
        let mut by_commit: BTreeMap<u64, Vec<LoggedMetadata>> = BTreeMap::new();
        for (family, entries) in &self.kept().families {
            for entry in entries {
                let of_commit = by_commit.entry(entry.commit).or_default();
                of_commit.push(LoggedMetadata {
                    family: family.to_string(),
                    origins: entry.origins,
                    metadata: entry.metadata.clone(),
                });
            }
        }
        let mut records = Vec::new();
        for (commit, of_commit) in by_commit {
            encode_solo(&mut records, commit, &[], &[], &of_commit);
        }
        save_side_file(fs, folder, FILE, first_segment, records)
    }

    /// Says that there is no commit behind `last`, so that the next is newer than all that is kept. Answers
    /// whether something was of such a commit: its file was ahead of the log when the power went, or was
    /// copied after it.
    pub(crate) fn end_at(&self, last: u64) -> bool {
        let mut kept = self.kept();
        let mut entries = kept.families.values_mut().flatten();
        let mut was_ahead = false;
        for entry in &mut entries {
            was_ahead |= entry.commit > last;
            entry.commit = entry.commit.min(last);
            entry.since = entry.since.min(last);
        }
        was_ahead
    }

    /// Forgets the families none of whose series has one of these names and that nothing new was said of
    /// since a commit.
    pub(crate) fn forget(&self, names: &HashSet<String>, since: u64) {
        let mut guard = self.kept();
        let kept = &mut *guard;
        let mut name = String::new();
        kept.families.retain(|family, entries| {
            let is_new = entries.iter().any(|entry| entry.commit > since);
            let mut has_series = |suffix: &&str| {
                name.clear();
                name.push_str(family);
                name.push_str(suffix);
                names.contains(&name)
            };
            let stays = is_new || SUFFIXES.iter().any(&mut has_series);
            if !stays {
                let texts: usize = entries.iter().map(Entry::bytes).sum();
                kept.bytes -= family.len() + texts;
            }
            stays
        });
    }

    /// Whether nothing is kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.kept().families.is_empty()
    }

    /// What commits up to `visible` brought, of one family or of all, by name; of each family newest first.
    pub(crate) fn read(
        &self,
        family: Option<&str>,
        visible: u64,
    ) -> BTreeMap<String, Vec<KeptMetadata>> {
        let kept = self.kept();
        let visible = |family: &str, entries: &[Entry]| {
            let entries = entries.iter().filter(|entry| entry.since <= visible);
            let entries = entries.map(|entry| KeptMetadata {
                metadata: entry.metadata.clone(),
                from_target: entry.origins.has(Origins::TARGET),
                from_push: entry.origins.has(Origins::PUSH),
            });
            let entries: Vec<_> = entries.collect();
            (!entries.is_empty()).then(|| (family.to_owned(), entries))
        };
        if let Some(family) = family {
            let found = kept.families.get(family);
            let found = found.and_then(|entries| visible(family, entries));
            return found.into_iter().collect();
        }
        let families = kept.families.iter();
        let found = families.filter_map(|(family, entries)| visible(family, entries));
        found.collect()
    }

    /// The figures.
    pub(crate) fn stats(&self) -> MetadataStats {
        let kept = self.kept();
        MetadataStats {
            families: kept.families.len() as u64,
            bytes: kept.bytes as u64,
            appended: self.appended.load(Ordering::Relaxed),
            refused_invalid: self.refused_invalid.load(Ordering::Relaxed),
            refused_full: self.refused_full.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(help: &str) -> Metadata {
        Metadata {
            kind: MetricType::Counter,
            unit: "s".to_owned(),
            help: help.to_owned(),
        }
    }

    /// Gives metadata as a commit does; answers how much was new and what was refused.
    fn give(
        kept: &MetricMetadata,
        commit: u64,
        origins: Origins,
        given: &[(&str, Metadata)],
    ) -> (usize, Vec<(u32, MetadataRefusal)>) {
        let given = given.iter().cloned();
        let given: Vec<(String, Metadata)> = given
            .map(|(family, metadata)| (family.to_owned(), metadata))
            .collect();
        let (fresh, refused) = kept.judge(&given, origins);
        kept.publish(commit, &fresh);
        (fresh.len(), refused)
    }

    /// Helps by family, `t` and `p` for where they came from.
    fn shown(kept: &MetricMetadata, visible: u64) -> Vec<String> {
        let families = kept.read(None, visible).into_iter();
        let shown = families.map(|(family, entries)| {
            let mut line = family;
            for entry in entries {
                let target = if entry.from_target { "t" } else { "" };
                let push = if entry.from_push { "p" } else { "" };
                line = format!("{line} {}:{target}{push}", entry.metadata.help);
            }
            line
        });
        shown.collect()
    }

    #[test]
    fn what_is_kept_is_not_new_and_the_newest_few_stay() {
        let kept = MetricMetadata::default();
        let first = [("a", metadata("1")), ("b", metadata("1"))];
        assert_eq!(give(&kept, 1, Origins::TARGET, &first), (2, vec![]));
        assert_eq!(give(&kept, 2, Origins::TARGET, &first), (0, vec![]));
        assert_eq!(
            give(&kept, 3, Origins::PUSH, &[("a", metadata("2"))]),
            (1, vec![])
        );
        assert_eq!(shown(&kept, 2), ["a 1:t", "b 1:t"]);
        assert_eq!(shown(&kept, 3), ["a 2:p 1:t", "b 1:t"]);
        // From elsewhere too, and so the newest.
        assert_eq!(
            give(&kept, 4, Origins::PUSH, &[("a", metadata("1"))]),
            (1, vec![])
        );
        assert_eq!(shown(&kept, 3), ["a 1:tp 2:p", "b 1:t"]);
        for (commit, help) in [(5, "3"), (6, "4"), (7, "5")] {
            give(&kept, commit, Origins::TARGET, &[("a", metadata(help))]);
        }
        assert_eq!(shown(&kept, 9), ["a 5:t 4:t 3:t 1:tp", "b 1:t"]);
        let stats = kept.stats();
        assert_eq!((stats.families, stats.appended), (2, 7));
        assert_eq!(stats.bytes, 1 + 4 * 2 + 1 + 2);
        let one = kept.read(Some("b"), 9);
        assert_eq!(one.keys().collect::<Vec<_>>(), ["b"]);
    }

    #[test]
    fn metadata_is_refused_by_reasons_of_its_own() {
        let kept = MetricMetadata::default();
        let long = "x".repeat(HELP_BYTES_MAX);
        let name = "n".repeat(FAMILY_BYTES_MAX);
        let unit = Metadata {
            unit: "u".repeat(UNIT_BYTES_MAX + 1),
            ..Metadata::default()
        };
        let given = [
            ("", metadata("1")),
            ("a", metadata(&long)),
            ("b", metadata(&(long.clone() + "y"))),
            ("c", unit),
            (name.as_str(), metadata("")),
            (&(name.clone() + "m"), metadata("")),
        ];
        let too_long = MetadataRefusal::TooLong;
        let refused = vec![
            (0, MetadataRefusal::Unnamed),
            (2, too_long),
            (3, too_long),
            (5, too_long),
        ];
        assert_eq!(give(&kept, 1, Origins::PUSH, &given), (2, refused));
        // As many more as there is room for, all of one commit.
        let room = (BYTES_MAX - kept.stats().bytes as usize) / (4 + 1 + HELP_BYTES_MAX);
        let families: Vec<(String, Metadata)> = (0..=room)
            .map(|n| (format!("{n:04}"), metadata(&long)))
            .collect();
        assert!(families.len() < 9_000);
        let (fresh, refused) = kept.judge(&families, Origins::PUSH);
        let last = families.len() as u32 - 1;
        assert_eq!(refused, [(last, MetadataRefusal::Full)]);
        kept.publish(2, &fresh);
        // A family that is kept already goes on.
        let again = [("a", metadata(&long)), ("d", metadata(&long))];
        let full = vec![(1, MetadataRefusal::Full)];
        assert_eq!(give(&kept, 3, Origins::TARGET, &again), (1, full));
        let stats = kept.stats();
        assert_eq!((stats.refused_invalid, stats.refused_full), (4, 2));
    }

    #[test]
    fn there_are_so_many_families_and_those_without_series_are_forgotten() {
        let kept = MetricMetadata::default();
        let all: Vec<(String, Metadata)> = (0..=FAMILIES_MAX)
            .map(|n| (n.to_string(), Metadata::default()))
            .collect();
        let (fresh, refused) = kept.judge(&all, Origins::PUSH);
        assert_eq!(
            refused,
            [(FAMILIES_MAX as u32, MetadataRefusal::Full)],
            "the last one"
        );
        kept.publish(5, &fresh);
        give(&kept, 6, Origins::PUSH, &[("7", metadata("x"))]);
        let names = ["1", "2_bucket", "3_total", "4_other", "5s"];
        let names: HashSet<String> = names.map(str::to_owned).into();
        kept.forget(&names, 4);
        assert_eq!(kept.stats().families as usize, FAMILIES_MAX);
        kept.forget(&names, 5);
        assert_eq!(shown(&kept, 9), ["1 :p", "2 :p", "3 :p", "7 x:p :p"]);
        assert_eq!(kept.stats().bytes, 4 + 2);
        kept.forget(&HashSet::new(), 6);
        assert!(kept.is_empty());
        assert_eq!(kept.stats().bytes, 0);
    }

    #[test]
    fn reading_the_log_again_ends_in_the_same() {
        let logged = |help: &str, origins| {
            vec![LoggedMetadata {
                family: "a".to_owned(),
                origins,
                metadata: metadata(help),
            }]
        };
        let log = [
            (1, logged("1", Origins::TARGET)),
            (2, logged("2", Origins::PUSH)),
            (3, logged("1", Origins::PUSH)),
            (4, logged("4", Origins::TARGET)),
            (5, logged("5", Origins::TARGET)),
            (6, logged("6", Origins::TARGET)),
        ];
        for order in [
            vec![0, 1, 2, 3, 4, 5],
            vec![0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5],
            vec![0, 1, 2, 3, 4, 1, 2, 3, 4, 5],
        ] {
            let kept = MetricMetadata::default();
            for at in order {
                let (commit, logged) = &log[at];
                kept.replay(*commit, logged);
            }
            assert!(kept.end_at(5));
            assert!(!kept.end_at(5));
            assert_eq!(shown(&kept, 5), ["a 6:t 5:t 4:t 1:tp"]);
        }
    }
}
