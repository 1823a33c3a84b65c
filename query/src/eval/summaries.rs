//! What lies in every window of a series, added up from the statistics of pages that nobody reads.
//!
//! The windows of a grid overlap when they are long against it: what lies in all of them is one stretch of time,
//! and of an instant query it is the window. Of the pages that lie in it their statistics are enough for some
//! functions; only what comes before and behind them is decoded. So `increase(x[7d])` costs a few pages, not a
//! week of samples.
//!
//! **What it is not.** An approximation: a function gets the bits that it would get of the samples, and a page of
//! which the statistics do not give them is decoded as ever.

use narthex_storage::{Kind, PageStats, Scan, StatFlags, TimeRange, Timestamp};

use super::{Columns, Evaluation, selector::Reach};
use crate::{QueryError, parser::Edges};

/// Integers whose magnitudes add up to less than this are summed exactly in any order.
const EXACT_MAX: f64 = (1_u64 << 53) as f64;

/// What a function must know of the samples in its windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// How many they are, the first and the last one, how often they fell and changed.
    Ends,
    /// Also each value before a fall.
    Falls,
    /// Also the least and the greatest.
    Extremes,
    /// Also their sum.
    Sum,
}

impl Need {
    /// Whether the statistics of a page tell it, bit for bit.
    fn is_met_by(self, stats: &PageStats) -> bool {
        match self {
            Self::Ends => true,
            // The sum of one value is that value. Those of several would be added in another order.
            Self::Falls => {
                stats.resets == 0 || stats.resets == 1 && stats.valid.contains(StatFlags::RESET_SUM)
            }
            Self::Extremes => stats.valid.contains(StatFlags::EXTREMES),
            Self::Sum => {
                (stats.valid).contains(StatFlags::EXTREMES) && stats.valid.contains(StatFlags::SUM)
            }
        }
    }
}

/// The samples that lie in every window, at least one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Core {
    /// How many of the decoded samples come before it.
    pub(crate) at: usize,
    pub(crate) count: u64,
    pub(crate) first: f64,
    pub(crate) last: f64,
    pub(crate) first_time: Timestamp,
    pub(crate) last_time: Timestamp,
    /// The values that a lesser one came after, in the order of time; only for [`Need::Falls`].
    pub(crate) falls: Vec<f64>,
    /// How many values were less than the one before.
    pub(crate) resets: u64,
    /// How many were not equal to it.
    pub(crate) changes: u64,
    /// Only for [`Need::Extremes`]: never NaN, of equal ones the first.
    pub(crate) min: f64,
    /// Likewise.
    pub(crate) max: f64,
    /// Only for [`Need::Sum`].
    pub(crate) sum: f64,
    /// No less than the magnitudes of all values together, where all are integers.
    pub(crate) magnitudes: f64,
}

/// Whether a value is another than the one before it; NaN after NaN is not.
pub(crate) fn is_change(before: f64, value: f64) -> bool {
    value != before && !(value.is_nan() && before.is_nan())
}

impl Core {
    fn clear(&mut self) {
        let mut falls = std::mem::take(&mut self.falls);
        falls.clear();
        *self = Self {
            falls,
            ..Self::default()
        };
    }

    /// Goes on with a page, or with the statistics of one value.
    fn add(&mut self, stats: &PageStats, first_time: Timestamp, last_time: Timestamp) {
        if self.count == 0 {
            (self.first, self.first_time) = (stats.first, first_time);
            (self.min, self.max) = (stats.min, stats.max);
        } else {
            if stats.first < self.last {
                self.resets += 1;
                self.falls.push(self.last);
            }
            self.changes += u64::from(is_change(self.last, stats.first));
            if stats.min < self.min {
                self.min = stats.min;
            }
            if stats.max > self.max {
                self.max = stats.max;
            }
        }
        if stats.resets == 1 {
            self.falls.push(stats.reset_sum);
        }
        self.resets += u64::from(stats.resets);
        self.changes += u64::from(stats.changes);
        self.count += u64::from(stats.count);
        (self.last, self.last_time) = (stats.last, last_time);
        self.sum += stats.sum;
        self.magnitudes += stats.min.abs().max(stats.max.abs()) * f64::from(stats.count);
    }

    /// Goes on with samples that lie between pages.
    fn add_samples(&mut self, times: &[Timestamp], values: &[f64]) {
        for (time, value) in times.iter().zip(values) {
            let stats = PageStats {
                count: 1,
                first: *value,
                last: *value,
                min: *value,
                max: *value,
                sum: *value,
                ..PageStats::default()
            };
            self.add(&stats, *time, *time);
            self.magnitudes += magnitude(*value);
        }
    }
}

/// Of an integer; infinite for what is none.
fn magnitude(value: f64) -> f64 {
    if (value as i64) as f64 == value {
        value.abs()
    } else {
        f64::INFINITY
    }
}

/// What is wanted of the windows of a grid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    need: Need,
    /// What lies in every window.
    within: TimeRange,
    steps: u64,
}

/// What was found of a series.
#[derive(Debug, Default)]
pub(super) struct Digest {
    pub(super) core: Core,
    /// The samples before and behind it.
    pub(super) edges: Columns,
}

impl Evaluation<'_> {
    /// What may be added up for a function with this need, whose windows end at `ends`, which ascend.
    pub(super) fn wish(
        &self,
        need: Option<Need>,
        edges: Edges,
        ends: &[Timestamp],
        reach: Reach,
    ) -> Option<Wish> {
        let need = need?;
        let (first, last) = (*ends.first()?, *ends.last()?);
        let after = last.saturating_sub(reach.back_ms);
        // Start timestamps are looked at one by one.
        let is_plain = edges == Edges::Plain && !self.options.features.start_timestamps;
        (is_plain && after < first).then(|| Wish {
            need,
            within: TimeRange::new(after + 1, first),
            steps: ends.len() as u64,
        })
    }

    /// Reads the series that the scan has just sought as a digest; `false` when nothing is gained by it, or when
    /// the bits would not be those of the samples: the scan is where it was then.
    pub(super) fn digest(
        &self,
        scan: &mut dyn Scan,
        series: usize,
        wish: &Wish,
        digest: &mut Digest,
    ) -> Result<bool, QueryError> {
        // What is shared with other series for every step is computed for this one alone.
        if scan.counted_within(wish.within) <= wish.steps {
            return Ok(false);
        }
        let is_digested = self.read_digest(scan, wish, digest)?;
        if !is_digested {
            scan.seek(series).map_err(|error| self.read(error))?;
        }
        Ok(is_digested)
    }

    fn read_digest(
        &self,
        scan: &mut dyn Scan,
        wish: &Wish,
        digest: &mut Digest,
    ) -> Result<bool, QueryError> {
        let read = |error| self.read(error);
        let Digest { core, edges } = digest;
        core.clear();
        edges.times.clear();
        edges.values.clear();
        let is_enough = |stats: &PageStats| wish.need.is_met_by(stats);
        loop {
            let totals = scan.next_totals(wish.within, &is_enough).map_err(read)?;
            if let Some(totals) = totals {
                if core.count == 0 {
                    core.at = edges.times.len();
                } else {
                    // Between two pages that lie in every window.
                    core.add_samples(&edges.times[core.at..], &edges.values[core.at..]);
                    edges.times.truncate(core.at);
                    edges.values.truncate(core.at);
                }
                core.add(&totals.stats, totals.first_time, totals.last_time);
                continue;
            }
            let Some(run) = scan.next_run().map_err(read)? else {
                break;
            };
            if run.kind() == Kind::Histogram {
                return Ok(false);
            }
            let before = edges.times.len();
            edges.times.resize(before + run.len(), 0);
            edges.values.resize(before + run.len(), 0.0);
            run.times(&mut edges.times[before..]).map_err(read)?;
            run.values(&mut edges.values[before..]).map_err(read)?;
            edges.may_be_stale = run.may_be_stale();
            edges.drop_stale();
        }
        let is_exact = wish.need != Need::Sum || {
            let edges = edges.values.iter().map(|value| magnitude(*value));
            core.magnitudes + edges.sum::<f64>() < EXACT_MAX
        };
        Ok(core.count > 0 && is_exact)
    }
}
