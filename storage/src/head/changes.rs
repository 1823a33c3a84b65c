//! From which time on samples came since a commit: what an answer of that commit need not be asked again for.
//!
//! It is a list of commits, each with the oldest time among the samples of its own and of those after it that are
//! not in the list: numbers and times both rise. So the first entry behind a commit has the oldest time of all that
//! came since. Commits in order of time merge with the newest entry within a second, and the two oldest entries
//! merge when there are too many, with the earlier time of both: what is answered is never too late.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use crate::Timestamp;

/// Times count from the last multiple of this, in milliseconds.
const COARSE_MS: i64 = 1_000;
/// More entries are not kept: a quarter of an hour and more, when something comes every second.
const ENTRIES_MAX: usize = 1_024;

/// See the module.
#[derive(Debug)]
pub(super) struct Changes {
    /// The oldest sample that was published and is not noted yet; `MAX` when there is none.
    unnoted: AtomicI64,
    noted: Mutex<Noted>,
}

impl Default for Changes {
    fn default() -> Self {
        Self {
            unnoted: AtomicI64::new(Timestamp::MAX),
            noted: Mutex::default(),
        }
    }
}

impl Changes {
    /// A sample of this time is published; only who holds the commit lock says so.
    pub(super) fn saw(&self, time: Timestamp) {
        self.unnoted.fetch_min(time, Ordering::Relaxed);
    }

    /// Notes what was seen since the last time, before it becomes visible with all up to this commit.
    pub(super) fn note(&self, commit: u64) {
        let oldest = self.unnoted.swap(Timestamp::MAX, Ordering::Relaxed);
        if oldest != Timestamp::MAX {
            let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            noted.add(commit, oldest);
        }
    }

    /// No sample of a commit after this one is older; `MAX` when there is none.
    pub(super) fn since(&self, commit: u64) -> Timestamp {
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.since(commit)
    }
}

/// Commits and times, both rising.
#[derive(Debug, Default)]
struct Noted(VecDeque<(u64, Timestamp)>);

impl Noted {
    fn add(&mut self, commit: u64, oldest: Timestamp) {
        let time = oldest.saturating_sub(oldest.rem_euclid(COARSE_MS));
        while self.0.back().is_some_and(|(_, newer)| *newer >= time) {
            self.0.pop_back();
        }
        self.0.push_back((commit, time));
        if self.0.len() > ENTRIES_MAX
            && let Some((_, earlier)) = self.0.pop_front()
            && let Some((_, time)) = self.0.front_mut()
        {
            *time = earlier;
        }
    }

    fn since(&self, commit: u64) -> Timestamp {
        let first = self.0.partition_point(|(number, _)| *number <= commit);
        self.0.get(first).map_or(Timestamp::MAX, |(_, time)| *time)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same by looking at every commit, times cut to whole seconds.
    fn naive(commits: &[(u64, Timestamp)], after: u64) -> Timestamp {
        let later = commits.iter().filter(|(number, _)| *number > after);
        let times = later.map(|(_, time)| time.div_euclid(COARSE_MS).saturating_mul(COARSE_MS));
        times.min().unwrap_or(Timestamp::MAX)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn the_oldest_time_since_a_commit_is_known(
            commits in prop::collection::vec((1_u64..4, -40_i64..40, 0_u32..400), 0..4_000),
        ) {
            let mut noted = Noted::default();
            let mut all: Vec<(u64, Timestamp)> = Vec::new();
            let mut merged = 0;
            for (index, (skipped, late, once)) in commits.into_iter().enumerate() {
                let number = all.last().map_or(0, |(number, _)| *number) + skipped;
                // In order of time for the most part, in steps that are not whole seconds.
                let late = if once == 0 { late * 777 } else { 0 };
                all.push((number, index as i64 * 1_300 - late));
                noted.add(number, index as i64 * 1_300 - late);
                if noted.0.len() == ENTRIES_MAX {
                    merged = noted.0[0].0;
                }
            }
            prop_assert!(noted.0.len() <= ENTRIES_MAX);
            prop_assert!(noted.0.iter().is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1));
            let last = all.last().map_or(0, |(number, _)| *number);
            for after in (0..=last).step_by(1 + last as usize / 100) {
                let (found, expected) = (noted.since(after), naive(&all, after));
                prop_assert!(found <= expected, "{after}: {found} {expected}");
                // What the merged entries stand for is the only thing that may be told too early.
                prop_assert!(after < merged || found == expected, "{after}: {found} {expected}");
            }
        }
    }

    #[test]
    fn what_nobody_saw_is_not_noted() {
        let changes = Changes::default();
        changes.note(1);
        assert_eq!(changes.since(0), Timestamp::MAX);
        changes.saw(5_999);
        changes.saw(4_001);
        changes.note(2);
        changes.note(3);
        assert_eq!(
            [0, 1, 2, 3].map(|commit| changes.since(commit)),
            [4_000, 4_000, i64::MAX, i64::MAX]
        );
        changes.saw(Timestamp::MIN);
        changes.note(4);
        assert_eq!(changes.since(3), Timestamp::MIN);
    }
}
