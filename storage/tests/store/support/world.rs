//! A store and its model: a step is done to both, and what the one answers is what the other says.
//!
//! The model is a map. It judges samples as Prometheus does; of samples with one time the first that was
//! accepted stays; a deletion takes what was accepted before it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{Range, RangeInclusive},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use narthex_storage::{
    Appendable, Budget, Column, Commit, Db, DbOptions, Exemplar, Histogram, Labels, MatchOp,
    Matcher, OpenError, OpenReport, OperationError, Querier, Queryable, Refusal, RowBuilder,
    STALE_MARKER_BITS, Sample, Select, TargetAppender, TargetKey, TimeRange, Timestamp, Wants,
};

use super::{Content, EXEMPLARS_MAX, SetClock, content, fingerprint, histogram, read};

/// Samples before it are out of bounds.
const BOUND_MS: i64 = 3_600_000;
/// The time of the first samples.
const BEGIN: Timestamp = 100_000_000;
const TARGETS: usize = 2;
/// Series are numbers below this.
pub(crate) const SERIES: u8 = 8;

/// Values below this number are numbers, the others are native histograms.
const FLOATS: u8 = 12;
pub(crate) const VALUES: u8 = FLOATS + 5;

fn histogram_of(choice: u8) -> Option<Histogram> {
    let kind = choice.checked_sub(FLOATS)?;
    Some(histogram([0, 2, 3, 4, 5][usize::from(kind)], 9_000))
}

/// The bits of a value by its number below [`VALUES`], or what stands for them.
fn bits(choice: u8) -> u64 {
    if let Some(histogram) = histogram_of(choice) {
        return fingerprint(&histogram);
    }
    match choice {
        0 => 1f64.to_bits(),
        1 => 2f64.to_bits(),
        2 => (-0f64).to_bits(),
        3 => 0,
        4 => 0.1f64.to_bits(),
        5 => STALE_MARKER_BITS,
        6 => 0x7ff8_0000_0000_0000,
        7 => 0xfff4_0000_dead_beef,
        8 => f64::INFINITY.to_bits(),
        other => f64::from(other).sqrt().to_bits(),
    }
}

fn labels(series: u8) -> Labels {
    let name = series.to_string();
    let half = if series < SERIES / 2 { "low" } else { "high" };
    Labels::from_pairs([("__name__", "m"), ("half", half), ("series", &name)])
}

/// One of few series, by number.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Selector {
    One(u8),
    Two(u8, u8),
    High,
    All,
}

impl Selector {
    fn selects(self, series: u8) -> bool {
        match self {
            Self::One(one) => series == one,
            Self::Two(one, other) => series == one || series == other,
            Self::High => series >= SERIES / 2,
            Self::All => true,
        }
    }

    pub(crate) fn matchers(self) -> Vec<Vec<Matcher>> {
        let one = |series: u8| vec![Matcher::equal("series", series.to_string())];
        match self {
            Self::One(series) => vec![one(series)],
            Self::Two(series, other) => vec![one(series), one(other)],
            Self::High => vec![vec![
                Matcher::new("half", MatchOp::NotRegex, "l.*").unwrap(),
            ]],
            Self::All => vec![vec![Matcher::equal("__name__", "m")]],
        }
    }
}

/// What is done to a store. Times are in milliseconds after its newest sample, or before it.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Row(RowStep),
    Push {
        all_or_nothing: bool,
        /// Series, time, value.
        samples: Vec<(u8, i64, u8)>,
    },
    /// The appender of a target is dropped.
    Renew(usize),
    /// Minutes pass, then upkeep.
    Wait(u64),
    Compact,
    Delete(Selector, Range<i64>),
    Clean,
    Snapshot {
        skip_head: bool,
    },
    /// Samples are kept for so long, in milliseconds, just now.
    Retain(i64),
    /// A querier is kept; its answers do not change.
    Hold,
    Reopen,
}

#[derive(Debug, Clone)]
pub(crate) struct RowStep {
    pub(crate) target: usize,
    pub(crate) after_ms: i64,
    /// Series and value.
    pub(crate) set: BTreeMap<u8, u8>,
    /// Series that have the value they had.
    pub(crate) same: BTreeSet<u8>,
    /// Series with a time of their own, and value.
    pub(crate) timed: Vec<(u8, i64, u8)>,
}

/// What the store should hold, and how it judges.
#[derive(Debug, Clone)]
struct Model {
    content: Content,
    /// The newest sample of each series, also when it was deleted.
    last: BTreeMap<u8, (Timestamp, u64)>,
    /// Series whose newest sample was deleted: how late samples are judged depends on whether the
    /// files have it still.
    uncertain: BTreeSet<u8>,
    newest: Timestamp,
    window_ms: i64,
    /// What each target's previous row had, …
    tracked: [BTreeMap<u8, u64>; TARGETS],
    /// … and of which series it had histograms.
    tracked_histograms: [BTreeSet<u8>; TARGETS],
    last_row: [Timestamp; TARGETS],
    /// Whether the store may have forgotten it: it was opened since, or nobody held the target.
    forgot_row: [bool; TARGETS],
}

/// A series' key in the content.
fn key(series: u8, time: Timestamp) -> (String, Timestamp) {
    (series.to_string(), time)
}

/// What samples are judged by.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    newest: Timestamp,
    valid_from: Timestamp,
}

impl Model {
    fn new(window_ms: i64) -> Self {
        Self {
            content: Content::new(),
            last: BTreeMap::new(),
            uncertain: BTreeSet::new(),
            newest: Timestamp::MIN,
            window_ms,
            tracked: Default::default(),
            tracked_histograms: Default::default(),
            last_row: [Timestamp::MIN; TARGETS],
            forgot_row: [false; TARGETS],
        }
    }

    fn now(&self) -> Timestamp {
        self.newest.max(BEGIN)
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            newest: self.newest,
            valid_from: self.newest.saturating_sub(BOUND_MS),
        }
    }

    fn last(&self, series: u8) -> (Timestamp, u64) {
        let last = self.last.get(&series).copied();
        last.unwrap_or((Timestamp::MIN, 0))
    }

    /// Whether it depends on the files what becomes of such a sample.
    fn is_in_doubt(&self, series: u8, time: Timestamp) -> bool {
        self.uncertain.contains(&series) && time <= self.last(series).0
    }

    fn keep(&mut self, series: u8, time: Timestamp, bits: u64) {
        self.last.insert(series, (time, bits));
        self.uncertain.remove(&series);
        self.content.insert(key(series, time), bits);
        self.newest = self.newest.max(time);
    }

    /// Source: `memSeries.appendable` in Prometheus' `tsdb/head_append.go`.
    fn put(
        &mut self,
        bounds: Bounds,
        series: u8,
        time: Timestamp,
        bits: u64,
    ) -> Result<(), Refusal> {
        let last = self.last(series);
        let is_valid = time >= bounds.valid_from;
        if is_valid && time > last.0 {
            self.keep(series, time, bits);
            return Ok(());
        }
        if is_valid && time == last.0 {
            return if bits == last.1 {
                Ok(())
            } else {
                Err(Refusal::Duplicate)
            };
        }
        if self.window_ms > 0 {
            if time < bounds.newest.saturating_sub(self.window_ms) {
                return Err(Refusal::TooOld);
            }
            self.content.entry(key(series, time)).or_insert(bits);
            return Ok(());
        }
        Err(if is_valid {
            Refusal::OutOfOrder
        } else {
            Refusal::OutOfBounds
        })
    }

    fn delete(&mut self, selector: Selector, range: TimeRange) {
        let selected = |series: &str| selector.selects(series.parse().unwrap());
        self.content
            .retain(|(series, time), _| !(selected(series) && range.contains(*time)));
        for (series, (last, _)) in &self.last {
            if selector.selects(*series) && range.contains(*last) {
                self.uncertain.insert(*series);
            }
        }
    }

    /// Everybody who appends is gone.
    fn forget_targets(&mut self) {
        self.tracked = Default::default();
        self.tracked_histograms = Default::default();
        self.forgot_row = [true; TARGETS];
    }
}

/// A content that the store may have.
#[derive(Debug)]
pub(crate) struct Allowed {
    content: Content,
    /// Samples before this may be missing: retention was at work.
    optional_before: Timestamp,
}

impl Allowed {
    pub(crate) fn is(&self, found: &Content) -> bool {
        let inside = found
            .iter()
            .all(|(key, bits)| self.content.get(key) == Some(bits));
        let mut needed = self.content.keys();
        inside && needed.all(|key| key.1 < self.optional_before || found.contains_key(key))
    }

    /// Whether it has a sample for certain.
    pub(crate) fn needs(&self, key: &(String, Timestamp)) -> bool {
        key.1 >= self.optional_before && self.content.contains_key(key)
    }

    pub(crate) fn content(&self) -> &Content {
        &self.content
    }
}

/// The contents that the store had and was to have, in order.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) states: Vec<Allowed>,
    /// This one was acknowledged, …
    pub(crate) acknowledged: usize,
    /// … and this one sealed.
    pub(crate) sealed: usize,
    /// The exemplars up to this number were acknowledged, …
    pub(crate) exemplars: u64,
    /// … and up to this one sealed.
    pub(crate) sealed_exemplars: u64,
    /// Whether the disk took them all.
    pub(crate) keeps_exemplars: bool,
    /// The snapshots that were made, and of which states they may be.
    pub(crate) snapshots: Vec<(String, Range<usize>)>,
}

impl History {
    /// Opens a snapshot of the store that `options` opens, and compares it with what there was.
    pub(crate) fn check_snapshot(&self, options: &DbOptions, name: &str, states: Range<usize>) {
        let options = DbOptions {
            path: options.path.join("snapshots").join(name),
            ..options.clone()
        };
        let (copy, report) = Db::open(&options).unwrap();
        assert_eq!((report.wal_damage, report.block_damage), (vec![], vec![]));
        if self.keeps_exemplars {
            check_exemplars(&copy, 0..=self.exemplars + 1);
        }
        let found = content(&copy);
        let mut may_be = self.states[states].iter();
        assert!(may_be.any(|state| state.is(&found)), "{name}: {found:?}");
    }

    fn push(&mut self, content: Content, optional_before: Timestamp) {
        self.states.push(Allowed {
            content,
            optional_before,
        });
    }

    fn acknowledge(&mut self) {
        self.acknowledged = self.states.len() - 1;
    }
}

/// The numbers of the exemplars that a store has, ascending.
pub(crate) fn exemplars(db: &Db) -> Vec<u64> {
    let found = db.exemplars(&[Vec::new()], TimeRange::ALL).into_iter();
    let mut numbers = Vec::new();
    for (_, exemplars) in found {
        for exemplar in exemplars {
            let number = exemplar.time as u64;
            let trace = exemplar.labels.get("trace_id").unwrap();
            assert_eq!(
                (trace, exemplar.value),
                (&*number.to_string(), number as f64)
            );
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    numbers
}

/// A store has the newest exemplars up to one of these numbers.
pub(crate) fn check_exemplars(db: &Db, mut up_to: RangeInclusive<u64>) {
    let found = exemplars(db);
    let newest = |last: u64| (last.saturating_sub(EXEMPLARS_MAX) + 1..=last).collect::<Vec<u64>>();
    assert!(
        up_to.any(|last| newest(last) == found),
        "{found:?}, not those up to one of {up_to:?}"
    );
}

/// See the module.
pub(crate) struct World {
    pub(crate) options: DbOptions,
    pub(crate) clock: Arc<SetClock>,
    pub(crate) history: Arc<Mutex<History>>,
    model: Model,
    db: Option<Db>,
    appenders: [Option<Box<dyn TargetAppender>>; TARGETS],
    row: RowBuilder,
    held: Vec<(Box<dyn Querier>, Content)>,
    /// Series that had a native histogram at some time: a marker pushed behind one becomes a histogram, which has
    /// a test of its own (`histograms.rs`).
    had_histograms: BTreeSet<u8>,
}

impl World {
    /// A world whose store is yet to be opened.
    pub(crate) fn new(options: DbOptions, clock: &Arc<SetClock>) -> Self {
        let mut history = History {
            states: Vec::new(),
            acknowledged: 0,
            sealed: 0,
            exemplars: 0,
            sealed_exemplars: 0,
            keeps_exemplars: true,
            snapshots: Vec::new(),
        };
        history.push(Content::new(), Timestamp::MIN);
        Self {
            model: Model::new(options.out_of_order_window_ms),
            options,
            clock: Arc::clone(clock),
            history: Arc::new(Mutex::new(history)),
            db: None,
            appenders: [None, None],
            row: RowBuilder::default(),
            held: Vec::new(),
            had_histograms: BTreeSet::new(),
        }
    }

    /// Takes what is in the store for what should be there. How it judges late samples is not known.
    pub(crate) fn adopt(&mut self, content: Content) {
        for ((series, time), bits) in &content {
            let series = series.parse().unwrap();
            self.model.last.insert(series, (*time, *bits));
            self.model.uncertain.insert(series);
            self.model.newest = self.model.newest.max(*time);
        }
        let mut history = self.history();
        history.push(content.clone(), Timestamp::MIN);
        history.acknowledge();
        history.exemplars = exemplars(self.db()).last().copied().unwrap_or(0);
        drop(history);
        self.model.content = content;
    }

    pub(crate) fn db(&self) -> &Db {
        self.db.as_ref().unwrap()
    }

    pub(crate) fn content(&self) -> &Content {
        &self.model.content
    }

    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap()
    }

    /// Opens the store, anew if it is open.
    pub(crate) fn open(&mut self) -> Result<OpenReport, OperationError> {
        self.held.clear();
        self.appenders = [None, None];
        self.model.forget_targets();
        self.db = None;
        match Db::open(&self.options) {
            Ok((db, report)) => {
                self.db = Some(db);
                Ok(report)
            }
            Err(OpenError::Io(error)) => Err(error.into()),
            Err(other) => panic!("{other}"),
        }
    }

    /// Does a step to the store and to the model. After an error the model is as before.
    pub(crate) fn run(&mut self, step: &Step) -> Result<(), OperationError> {
        match step {
            Step::Row(row) => self.append_row(row)?,
            Step::Push {
                all_or_nothing,
                samples,
            } => self.push(*all_or_nothing, samples)?,
            Step::Renew(target) => {
                self.appenders[*target] = None;
                self.model.tracked[*target].clear();
                self.model.tracked_histograms[*target].clear();
                self.model.forgot_row[*target] = true;
            }
            Step::Wait(minutes) => {
                self.clock.advance(Duration::from_secs(60 * minutes));
                self.db().maintain()?;
            }
            Step::Compact => while self.db().compact()? {},
            Step::Delete(selector, range) => self.delete(*selector, range)?,
            Step::Clean => self.db().clean_tombstones()?,
            Step::Snapshot { skip_head } => self.snapshot(*skip_head)?,
            Step::Retain(kept_ms) => self.retain(*kept_ms)?,
            Step::Hold => {
                let querier = self.db().querier(TimeRange::ALL).unwrap();
                self.held.push((querier, self.model.content.clone()));
                if self.held.len() > 3 {
                    self.held.remove(0);
                }
            }
            Step::Reopen => {
                let mut report = self.open()?;
                // A segment that could not be begun.
                report.wal_damage.retain(|damage| !damage.torn_tail);
                assert_eq!((report.wal_damage, report.block_damage), (vec![], vec![]));
            }
        }
        if self.db().stats().pages == 0 {
            let mut history = self.history();
            history.sealed = history.acknowledged;
            history.sealed_exemplars = history.exemplars;
        }
        Ok(())
    }

    /// Tries what makes the content that of `after`.
    fn change<T>(
        &mut self,
        after: Model,
        try_it: impl FnOnce(&mut Self) -> Result<T, OperationError>,
    ) -> Result<T, OperationError> {
        let changes = after.content != self.model.content;
        if changes {
            let before = self.history().acknowledged + 1;
            self.history().states.truncate(before);
            self.history().push(after.content.clone(), Timestamp::MIN);
        }
        let done = try_it(self)?;
        if changes {
            self.history().acknowledge();
        }
        self.model = after;
        Ok(done)
    }

    fn push(
        &mut self,
        all_or_nothing: bool,
        samples: &[(u8, i64, u8)],
    ) -> Result<(), OperationError> {
        let (now, bounds) = (self.model.now(), self.model.bounds());
        let mut after = self.model.clone();
        let mut expected = Commit::default();
        let mut appender = self.db().appender();
        let mut index = 0;
        // Those that this commit brings where there was nothing.
        let mut new_histograms = BTreeSet::new();
        for (series, by, choice) in samples {
            let (time, bits) = (now + by, bits(*choice));
            let is_marker = bits == STALE_MARKER_BITS;
            if after.is_in_doubt(*series, time)
                || (is_marker && self.had_histograms.contains(series))
            {
                continue;
            }
            let reference = appender.series(&labels(*series)).unwrap();
            let is_histogram = histogram_of(*choice).is_some();
            let is_first = !after.content.contains_key(&key(*series, time));
            if let Some(histogram) = histogram_of(*choice) {
                self.had_histograms.insert(*series);
                appender.histograms(reference, &[(time, histogram)]);
            } else {
                let value = f64::from_bits(bits);
                appender.samples(reference, &[Sample { time, value }]);
            }
            match after.put(bounds, *series, time, bits) {
                Ok(()) => {
                    expected.accepted += 1;
                    // The numbers of a commit come before its histograms.
                    if is_histogram && is_first {
                        new_histograms.insert(key(*series, time));
                    } else if !is_histogram && new_histograms.remove(&key(*series, time)) {
                        after.content.insert(key(*series, time), bits);
                    }
                }
                Err(refusal) => expected.refused.push((index, refusal)),
            }
            index += 1;
        }
        if all_or_nothing && !expected.refused.is_empty() {
            expected.accepted = 0;
            after = self.model.clone();
        }
        let number = match samples.first() {
            Some((series, ..)) if index > 0 && expected.refused.is_empty() => {
                let (number, exemplar) = self.next_exemplar();
                appender.exemplar(&labels(*series), exemplar);
                Some(number)
            }
            _ => None,
        };
        self.change(after, |_| {
            assert_eq!(appender.commit(all_or_nothing)?, expected);
            Ok(())
        })?;
        self.accepted_exemplar(number);
        Ok(())
    }

    fn append_row(&mut self, step: &RowStep) -> Result<(), OperationError> {
        let target = step.target;
        let next_exemplar = self.next_exemplar();
        if self.appenders[target].is_none() {
            let key = TargetKey(format!("target {target}"));
            self.appenders[target] = Some(self.db().target(&key)?);
        }
        let appender = self.appenders[target].as_mut().unwrap();
        let mut after = self.model.clone();
        let (bounds, now) = (after.bounds(), after.now());
        let time = now + step.after_ms;
        if after.forgot_row[target] && time <= after.last_row[target] {
            return Ok(());
        }
        let is_newer = time >= bounds.valid_from && time > after.last_row[target];
        let row = &mut self.row;
        row.begin(time);
        // Series and bits by their index in the row.
        let mut set = Vec::new();
        let mut same = Vec::new();
        let mut timed = Vec::new();
        let mut histograms = Vec::new();
        let mut exemplar_of = None;
        let (floats, others) = (&after.tracked[target], &after.tracked_histograms[target]);
        for (series, choice) in &step.set {
            if after.is_in_doubt(*series, time) {
                continue;
            }
            let histogram = histogram_of(*choice);
            if histogram.is_some() {
                self.had_histograms.insert(*series);
            }
            let is_other_kind = match histogram {
                Some(_) => floats.contains_key(series),
                None => others.contains(series),
            };
            // A row that is none leaves what the one before had.
            if is_other_kind && !is_newer {
                continue;
            }
            let column = appender.column(&labels(*series)).unwrap();
            exemplar_of = Some(column);
            if let Some(histogram) = histogram {
                row.histogram(column, &histogram);
                histograms.push((*series, time, bits(*choice)));
            } else {
                row.set(column, f64::from_bits(bits(*choice)));
                set.push((*series, time, bits(*choice)));
            }
        }
        for (series, by, choice) in &step.timed {
            if !after.is_in_doubt(*series, now + by) {
                let column = appender.column(&labels(*series)).unwrap();
                let bits = bits(choice % FLOATS);
                row.at(column, now + by, f64::from_bits(bits));
                timed.push((*series, now + by, bits));
            }
        }
        for (series, bits) in &self.model.tracked[target] {
            let is_set = (set.iter().chain(&histograms)).any(|(other, ..)| other == series);
            if step.same.contains(series) && !is_set && !after.is_in_doubt(*series, time) {
                let column = appender.column(&labels(*series)).unwrap();
                row.same(column..Column(column.0 + 1));
                same.push((*series, time, *bits));
            }
        }
        let mut expected = Commit::default();
        let timed_from = set.len();
        let same_from = timed_from + timed.len();
        let histograms_from = same_from + same.len();
        let mut has_row = false;
        let in_row = set.iter().zip(0..).chain(same.iter().zip(same_from..));
        let others = timed.iter().zip(timed_from..);
        let others = others.chain(histograms.iter().zip(histograms_from..));
        for ((series, time, bits), index) in in_row.chain(others) {
            let before = after.last(*series).0;
            match after.put(bounds, *series, *time, *bits) {
                Ok(()) => expected.accepted += 1,
                Err(refusal) => expected.refused.push((index as u32, refusal)),
            }
            let is_timed = (timed_from..same_from).contains(&index);
            let is_in_row = !is_timed && index < histograms_from;
            has_row |= is_in_row && after.last(*series).0 > before;
        }
        let in_row = set.into_iter().chain(same);
        let in_row: BTreeMap<u8, u64> = in_row.map(|(series, _, bits)| (series, bits)).collect();
        let histograms: BTreeSet<u8> = histograms.into_iter().map(|(series, ..)| series).collect();
        if is_newer {
            for series in &self.model.tracked_histograms[target] {
                let is_here = in_row.contains_key(series) || histograms.contains(series);
                if !is_here && time > after.last(*series).0 {
                    after.keep(*series, time, fingerprint(&Histogram::stale()));
                }
            }
            for series in self.model.tracked[target].keys() {
                let is_here = in_row.contains_key(series) || histograms.contains(series);
                if !is_here && time > after.last(*series).0 {
                    after.keep(*series, time, STALE_MARKER_BITS);
                    has_row = true;
                }
            }
            after.tracked[target] = in_row;
            after.tracked_histograms[target] = histograms;
            if has_row {
                after.last_row[target] = time;
                after.forgot_row[target] = false;
            }
        } else {
            after.tracked[target].extend(in_row);
            after.tracked_histograms[target].extend(histograms);
        }
        let number = exemplar_of.filter(|_| expected.refused.is_empty());
        let number = number.map(|column| {
            let (number, exemplar) = next_exemplar;
            self.row.exemplar(column, exemplar);
            number
        });
        expected.refused.sort_by_key(|(index, _)| *index);
        self.change(after, |world| {
            let appender = world.appenders[target].as_mut().unwrap();
            let mut commit = appender.commit(&mut world.row)?;
            commit.refused.sort_by_key(|(index, _)| *index);
            assert_eq!(commit, expected);
            Ok(())
        })?;
        self.accepted_exemplar(number);
        Ok(())
    }

    /// The next exemplar and its number. Exemplars have rising numbers and times, whatever their series.
    fn next_exemplar(&self) -> (u64, Exemplar) {
        let number = self.history().exemplars + 1;
        let exemplar = Exemplar {
            labels: Labels::from_pairs([("trace_id", number.to_string())]),
            value: number as f64,
            time: number as Timestamp,
            is_timed: true,
        };
        (number, exemplar)
    }

    /// Notes that an exemplar, if any, was acknowledged.
    fn accepted_exemplar(&self, number: Option<u64>) {
        let mut history = self.history();
        history.exemplars = number.unwrap_or(history.exemplars);
    }

    /// The store's newest sample is left alone: what is judged by it would depend on the files.
    fn delete(&mut self, selector: Selector, range: &Range<i64>) -> Result<(), OperationError> {
        let now = self.model.now();
        let max = (now + range.end).min(self.model.newest.saturating_sub(1));
        let range = TimeRange::new(now + range.start, max);
        let mut after = self.model.clone();
        after.delete(selector, range);
        self.change(after, |world| {
            world.db().delete_series(&selector.matchers(), range)
        })
    }

    fn snapshot(&mut self, skip_head: bool) -> Result<(), OperationError> {
        let name = self.db().snapshot(skip_head)?;
        let mut history = self.history();
        let last = history.acknowledged;
        let from = if skip_head { history.sealed } else { last };
        history.snapshots.push((name, from..last + 1));
        Ok(())
    }

    /// Seals first: then it is known what of the sealed is left.
    fn retain(&mut self, kept_ms: i64) -> Result<(), OperationError> {
        self.db().delete_series(&[], TimeRange::ALL)?;
        let cutoff = self.model.newest.saturating_sub(kept_ms);
        let before = self.model.content.clone();
        let acknowledged = self.history().acknowledged + 1;
        self.history().states.truncate(acknowledged);
        self.history().push(before, cutoff);
        self.db().set_retention(Some(kept_ms), None);
        self.db().maintain()?;
        self.db().set_retention(None, None);
        let found = content(self.db());
        let mut history = self.history();
        let last = history.states.last().unwrap();
        assert!(last.is(&found), "cutoff {cutoff}: {found:?}");
        history.push(found.clone(), Timestamp::MIN);
        history.acknowledge();
        drop(history);
        self.model.content = found;
        Ok(())
    }

    /// Every answer is the model's, whole and in part.
    pub(crate) fn check(&self) {
        let querier = self.db().querier(TimeRange::ALL).unwrap();
        let all = &self.model.content;
        check_same(&content(self.db()), all);
        let now = self.model.now();
        for (selector, range) in [
            (Selector::High, TimeRange::new(now - 2_000_000, now - 1_000)),
            (Selector::Two(1, 6), TimeRange::new(now - 1_000, now)),
            (Selector::One(2), TimeRange::ALL),
        ] {
            let mut part = all.clone();
            part.retain(|(series, time), _| {
                selector.selects(series.parse().unwrap()) && range.contains(*time)
            });
            let mut found = Content::new();
            for matchers in selector.matchers() {
                found.extend(read(&*querier, &matchers, range).unwrap());
            }
            check_same(&found, &part);
        }
        let budget = Budget::unlimited();
        let series: BTreeSet<u8> = all.keys().map(|(name, _)| name.parse().unwrap()).collect();
        let series: BTreeSet<Labels> = series.into_iter().map(labels).collect();
        for label in ["half", "series"] {
            let values = series.iter().map(|labels| labels.get(label).unwrap());
            let values: BTreeSet<&str> = values.collect();
            let found = querier.label_values(label, &[], None, &budget).unwrap();
            assert!(found.iter().eq(values.iter()), "{found:?}, not {values:?}");
        }
        let names = querier.label_names(&[], None, &budget).unwrap();
        let expected: &[&str] = if series.is_empty() {
            &[]
        } else {
            &["__name__", "half", "series"]
        };
        assert_eq!(names, expected);
        let select = Select {
            matchers: &[],
            range: TimeRange::ALL,
            limit: None,
            wants: Wants::Labels,
        };
        let selection = querier.select(&select, &budget).unwrap();
        let found: Vec<&Labels> = selection.series().iter().map(|it| &it.labels).collect();
        assert!(found.iter().copied().eq(&series), "{found:?}");
        for (held, content) in &self.held {
            let found = read(&**held, &[], TimeRange::ALL).unwrap();
            check_same(&found, content);
            let changed = differences(content, all).map(|(_, time)| *time).min();
            let told = querier.changed_since(held.version().unwrap());
            assert!(
                changed.is_none_or(|time| told <= time),
                "{told}, {changed:?}"
            );
        }
    }
}

/// Where samples are in one of the two alone, or others.
fn differences<'c>(
    one: &'c Content,
    other: &'c Content,
) -> impl Iterator<Item = &'c (String, Timestamp)> {
    let missing = |from: &'c Content, of: &'c Content| {
        let samples = of.iter();
        samples.filter_map(move |(key, bits)| (from.get(key) != Some(bits)).then_some(key))
    };
    missing(one, other).chain(missing(other, one))
}

/// Says only what differs.
fn check_same(found: &Content, expected: &Content) {
    let only = |one: &Content, other: &Content| -> Vec<((String, Timestamp), u64)> {
        let samples = one.iter().map(|(key, bits)| (key.clone(), *bits));
        let only = samples.filter(|(key, bits)| other.get(key) != Some(bits));
        only.collect()
    };
    let (surplus, missing) = (only(found, expected), only(expected, found));
    assert!(
        surplus.is_empty() && missing.is_empty(),
        "surplus {surplus:x?}, missing {missing:x?}"
    );
}
