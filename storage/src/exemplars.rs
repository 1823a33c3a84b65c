//! Exemplars: examples of what a series counts, a trace as a rule, in a ring of bounded size.
//!
//! **What it is.** The newest exemplars of all series together. They go to the log when they are
//! accepted, and to one file at each seal, so that they survive a restart.
//!
//! **What it is not.** Part of the sealed samples: retention and deletion do not look here, and the
//! oldest exemplar goes when the ring is full.
//!
//! Source of the rules: `tsdb/exemplar.go`; answers observed in Prometheus 3.5.3.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    Fs, Labels, Matcher, TimeRange, Timestamp,
    error::IoError,
    wal::{Record, SideFile, encode_exemplars, load_side_file, save_side_file},
};

/// So many share a record of the file.
const RECORD_EXEMPLARS: usize = 500;
/// The name of the file, in the store's folder.
pub(crate) const FILE: &str = "exemplars";

/// An exemplar's names and values may have so many characters together.
///
/// Source: the OpenMetrics specification.
const LABELS_CHARS_MAX: usize = 128;

/// An example of what a series counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// Its own labels, as a rule a trace.
    pub labels: Labels,
    /// The example's value.
    pub value: f64,
    /// Milliseconds since the Unix epoch.
    pub time: Timestamp,
    /// Whether the source told the time. One without repeats the exemplar before it when labels and
    /// value are the same.
    pub is_timed: bool,
}

impl Exemplar {
    fn repeats(&self, newest: &Self) -> bool {
        let is_timed = self.is_timed || newest.is_timed;
        self.labels == newest.labels
            && self.value == newest.value
            && (!is_timed || self.time == newest.time)
    }

    /// Whether it comes before, by time, value and labels.
    fn is_before(&self, newest: &Self) -> bool {
        let key = |exemplar: &Self| (exemplar.time, exemplar.value);
        key(self) < key(newest) || (key(self) == key(newest) && self.labels < newest.labels)
    }
}

/// Why an exemplar is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExemplarRefusal {
    /// The series' newest one, again: as expected from scrape to scrape.
    Duplicate,
    /// Before the series' newest one.
    OutOfOrder,
    /// Its labels have too many characters.
    TooLong,
    /// None are kept.
    Disabled,
}

/// The exemplars' figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExemplarStats {
    /// Exemplars accepted since the store was opened.
    pub appended: u64,
    /// Exemplars refused since then because they came before another one of their commit.
    pub out_of_order: u64,
    /// Exemplars that are kept.
    pub kept: u64,
    /// Series that have some.
    pub series: u64,
    /// The most that are kept.
    pub max: u64,
    /// The time of the oldest in the ring, in milliseconds.
    pub oldest: Option<Timestamp>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Exemplars {
    ring: Mutex<Ring>,
    appended: AtomicU64,
    out_of_order: AtomicU64,
}

#[derive(Debug)]
struct Ring {
    max: usize,
    /// The series of each exemplar in the order of their arrival.
    arrivals: VecDeque<Labels>,
    /// Each series' own, in that order.
    by_series: HashMap<Labels, VecDeque<Exemplar>>,
}

impl Ring {
    fn judge(&self, series: &Labels, exemplar: &Exemplar) -> Result<(), ExemplarRefusal> {
        if self.max == 0 {
            return Err(ExemplarRefusal::Disabled);
        }
        let pairs = exemplar.labels.iter();
        let chars: usize = pairs
            .map(|(name, value)| name.chars().count() + value.chars().count())
            .sum();
        if chars > LABELS_CHARS_MAX {
            return Err(ExemplarRefusal::TooLong);
        }
        let newest = self.by_series.get(series).and_then(VecDeque::back);
        match newest {
            Some(newest) if exemplar.repeats(newest) => Err(ExemplarRefusal::Duplicate),
            Some(newest) if exemplar.is_before(newest) => Err(ExemplarRefusal::OutOfOrder),
            _ => Ok(()),
        }
    }

    fn push(&mut self, series: &Labels, exemplar: Exemplar) {
        self.arrivals.push_back(series.clone());
        let of_series = self.by_series.entry(series.clone()).or_default();
        of_series.push_back(exemplar);
        self.shrink();
    }

    /// Drops the oldest while there are too many.
    fn shrink(&mut self) {
        while self.arrivals.len() > self.max
            && let Some(series) = self.arrivals.pop_front()
            && let Some(of_series) = self.by_series.get_mut(&series)
        {
            of_series.pop_front();
            if of_series.is_empty() {
                self.by_series.remove(&series);
            }
        }
    }
}

impl Exemplars {
    /// An empty ring for at most `max`; 0: none are kept.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            ring: Mutex::new(Ring {
                max,
                arrivals: VecDeque::new(),
                by_series: HashMap::new(),
            }),
            appended: AtomicU64::new(0),
            out_of_order: AtomicU64::new(0),
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether any are kept.
    pub(crate) fn is_enabled(&self) -> bool {
        self.ring().max > 0
    }

    /// Changes how many are kept; the oldest go first.
    pub(crate) fn resize(&self, max: usize) {
        let mut ring = self.ring();
        ring.max = max;
        ring.shrink();
    }

    /// Takes those of one commit and answers with them, and with how many came before what their series
    /// had before the commit. Those that come before another one of the commit are only counted.
    pub(crate) fn append(
        &self,
        exemplars: Vec<(Labels, Exemplar)>,
    ) -> (Vec<(Labels, Exemplar)>, u32) {
        let mut ring = self.ring();
        let mut taken = exemplars;
        let mut late = 0;
        taken.retain(|(series, exemplar)| {
            let verdict = ring.judge(series, exemplar);
            late += u32::from(verdict == Err(ExemplarRefusal::OutOfOrder));
            verdict.is_ok()
        });
        let mut out_of_order = 0;
        taken.retain(|(series, exemplar)| {
            let verdict = ring.judge(series, exemplar);
            out_of_order += u64::from(verdict == Err(ExemplarRefusal::OutOfOrder));
            if verdict.is_ok() {
                ring.push(series, exemplar.clone());
            }
            verdict.is_ok()
        });
        self.appended
            .fetch_add(taken.len() as u64, Ordering::Relaxed);
        self.out_of_order.fetch_add(out_of_order, Ordering::Relaxed);
        (taken, late)
    }

    /// Takes one that was accepted before; what the ring has already is left out.
    pub(crate) fn restore(&self, series: &Labels, exemplar: &Exemplar) {
        let mut ring = self.ring();
        if ring.judge(series, exemplar).is_ok() {
            ring.push(series, exemplar.clone());
        }
    }

    /// Hands over all that are kept, in the order in which they came.
    pub(crate) fn each(&self, mut each: impl FnMut(&Labels, &Exemplar)) {
        let ring = self.ring();
        let mut next: HashMap<&Labels, usize> = HashMap::new();
        for series in &ring.arrivals {
            let next = next.entry(series).or_default();
            let of_series = ring.by_series.get(series);
            if let Some(exemplar) = of_series.and_then(|of_series| of_series.get(*next)) {
                each(series, exemplar);
            }
            *next += 1;
        }
    }

    /// Writes all that are kept to the folder's file. Every one in log segments before
    /// `first_segment` is among them, or gone from the ring.
    pub(crate) fn save(
        &self,
        fs: &dyn Fs,
        folder: &Path,
        first_segment: u64,
    ) -> Result<(), IoError> {
        let mut kept = Vec::new();
        self.each(|series, exemplar| kept.push((series.clone(), exemplar.clone())));
        let mut records = Vec::new();
        for some in kept.chunks(RECORD_EXEMPLARS) {
            encode_exemplars(&mut records, some);
        }
        save_side_file(fs, folder, FILE, first_segment, records)
    }

    /// Reads the folder's file, if there is one.
    pub(crate) fn load(&self, fs: &dyn Fs, folder: &Path) -> Result<SideFile, IoError> {
        load_side_file(fs, folder, FILE, |record| self.replay(record))
    }

    /// Takes the exemplars of a record; answers whether it was one.
    pub(crate) fn replay(&self, record: &Record<'_>) -> bool {
        let Record::Exemplars(exemplars) = record else {
            return false;
        };
        for (series, exemplar) in *exemplars {
            self.restore(series, exemplar);
        }
        true
    }

    /// The exemplars within `range` of the series that one of the sets of matchers matches, by series
    /// in label order, each series' in the order in which they came.
    pub(crate) fn select(
        &self,
        sets: &[Vec<Matcher>],
        range: TimeRange,
    ) -> Vec<(Labels, Vec<Exemplar>)> {
        let ring = self.ring();
        let mut found = BTreeMap::new();
        for (series, exemplars) in &ring.by_series {
            let matches = |set: &Vec<Matcher>| {
                let mut matchers = set.iter();
                matchers.all(|matcher| matcher.matches_labels(series))
            };
            let within =
                |exemplar: &&Exemplar| exemplar.time >= range.min && exemplar.time <= range.max;
            if sets.iter().any(matches) {
                let within: Vec<Exemplar> = exemplars.iter().filter(within).cloned().collect();
                if !within.is_empty() {
                    found.insert(series.clone(), within);
                }
            }
        }
        found.into_iter().collect()
    }

    /// The figures.
    pub(crate) fn stats(&self) -> ExemplarStats {
        let ring = self.ring();
        let oldest = ring.arrivals.front();
        let oldest = oldest.and_then(|series| ring.by_series.get(series)?.front());
        ExemplarStats {
            appended: self.appended.load(Ordering::Relaxed),
            out_of_order: self.out_of_order.load(Ordering::Relaxed),
            kept: ring.arrivals.len() as u64,
            series: ring.by_series.len() as u64,
            max: ring.max as u64,
            oldest: oldest.map(|exemplar| exemplar.time),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MatchOp;

    fn series(name: &str) -> Labels {
        Labels::from_pairs([("__name__", name)])
    }

    fn exemplar(trace: &str, value: f64, time: Option<Timestamp>, at: Timestamp) -> Exemplar {
        Exemplar {
            labels: Labels::from_pairs([("trace_id", trace)]),
            value,
            time: time.unwrap_or(at),
            is_timed: time.is_some(),
        }
    }

    fn shown(exemplars: &Exemplars) -> Vec<String> {
        let mut shown = Vec::new();
        exemplars.each(|series, exemplar| {
            let trace = exemplar.labels.get("trace_id").unwrap();
            shown.push(format!(
                "{} {trace} {}",
                series.metric_name(),
                exemplar.time
            ));
        });
        shown
    }

    #[test]
    fn exemplars_are_refused_as_upstream_refuses_them() {
        let exemplars = Exemplars::new(10);
        let a = series("a");
        let long = "x".repeat(LABELS_CHARS_MAX - "trace_id".len());
        for (given, expected) in [
            (exemplar("1", 5.0, Some(100), 0), Ok(())),
            (
                exemplar("1", 5.0, Some(100), 0),
                Err(ExemplarRefusal::Duplicate),
            ),
            // Without a time of its own it is compared by the scrape's with one that has.
            (exemplar("1", 5.0, None, 110), Ok(())),
            (
                exemplar("1", 5.0, None, 120),
                Err(ExemplarRefusal::Duplicate),
            ),
            (
                exemplar("1", 4.0, None, 110),
                Err(ExemplarRefusal::OutOfOrder),
            ),
            (
                exemplar("0", 5.0, None, 110),
                Err(ExemplarRefusal::OutOfOrder),
            ),
            (exemplar("2", 5.0, None, 110), Ok(())),
            (
                exemplar("3", 9.0, Some(109), 0),
                Err(ExemplarRefusal::OutOfOrder),
            ),
            (exemplar(&long, 9.0, Some(130), 0), Ok(())),
            (
                exemplar(&(long.clone() + "ü"), 9.0, Some(140), 0),
                Err(ExemplarRefusal::TooLong),
            ),
        ] {
            let found = exemplars.ring().judge(&a, &given);
            assert_eq!(found, expected, "{given:?}");
            let late = u32::from(expected == Err(ExemplarRefusal::OutOfOrder));
            let (taken, counted) = exemplars.append(vec![(a.clone(), given)]);
            assert_eq!((taken.is_empty(), counted), (expected.is_err(), late));
        }
        let stats = exemplars.stats();
        assert_eq!((stats.appended, stats.out_of_order), (4, 0));
        assert_eq!((stats.kept, stats.series, stats.oldest), (4, 1, Some(100)));
        let none = Exemplars::new(0);
        let refused = none.ring().judge(&a, &exemplar("1", 5.0, None, 1));
        assert_eq!(refused, Err(ExemplarRefusal::Disabled));
    }

    /// The commit and its counts: Prometheus 3.5.3.
    #[test]
    fn exemplars_that_overtake_each_other_in_a_commit_are_told_from_late_ones() {
        let exemplars = Exemplars::new(10);
        let a = series("a");
        let commit = [
            ("1", 0.5, 100),
            ("0", 0.5, 100),
            ("2", 0.4, 100),
            ("2", 0.6, 100),
            ("2", 0.6, 100),
            ("9", 0.6, 99),
            ("3", 0.7, 101),
        ];
        let commit =
            commit.map(|(trace, value, time)| (a.clone(), exemplar(trace, value, Some(time), 0)));
        let (_, late) = exemplars.append(commit.to_vec());
        assert_eq!((late, exemplars.stats().out_of_order), (0, 3));
        assert_eq!(shown(&exemplars), ["a 1 100", "a 2 100", "a 3 101"]);
        let (taken, late) = exemplars.append(vec![commit[0].clone(), commit[6].clone()]);
        assert_eq!((taken, late), (Vec::new(), 1));
        assert_eq!(exemplars.stats().out_of_order, 3);
    }

    #[test]
    fn the_oldest_of_all_series_goes_when_the_ring_is_full() {
        let exemplars = Exemplars::new(3);
        for (name, time) in [("a", 1), ("b", 2), ("a", 3), ("c", 4), ("a", 5)] {
            let given = vec![(series(name), exemplar("t", 1.0, Some(time), 0))];
            assert_eq!(exemplars.append(given.clone()), (given, 0));
        }
        assert_eq!(shown(&exemplars), ["a t 3", "c t 4", "a t 5"]);
        let matchers = |value: &str| vec![Matcher::new("__name__", MatchOp::Regex, value).unwrap()];
        let selected = |sets: &[Vec<Matcher>], min, max| {
            let found = exemplars.select(sets, TimeRange { min, max });
            let found = found.into_iter().map(|(labels, exemplars)| {
                let times: Vec<i64> = exemplars.iter().map(|exemplar| exemplar.time).collect();
                (labels.metric_name().to_owned(), times)
            });
            found.collect::<Vec<_>>()
        };
        let of = |name: &str, times: &[i64]| (name.to_owned(), times.to_vec());
        let both = [matchers("c"), matchers("a|b")];
        assert_eq!(selected(&both, 3, 5), [of("a", &[3, 5]), of("c", &[4])]);
        assert_eq!(selected(&both[1..], 4, 5), [of("a", &[5])]);
        assert_eq!(selected(&both, 6, 9), []);
        exemplars.resize(1);
        assert_eq!(shown(&exemplars), ["a t 5"]);
        exemplars.restore(&series("a"), &exemplar("t", 1.0, Some(5), 0));
        exemplars.restore(&series("b"), &exemplar("u", 1.0, Some(1), 0));
        assert_eq!(shown(&exemplars), ["b u 1"]);
        exemplars.resize(0);
        assert!(!exemplars.is_enabled());
        assert_eq!(exemplars.stats().kept, 0);
    }
}
