//! A snapshot: one catalog, and memory up to one commit.

use std::sync::Arc;

use super::{Catalog, join::Join, labels::Asked, selection::StoreSelection, start_times::Siblings};
use crate::{
    Budget, Matcher, Querier, ReadError, Select, Selection, TimeRange, Timestamp, Version, Wants,
    head::Head, start_times,
};

/// See the module.
#[derive(Debug)]
pub(crate) struct StoreQuerier {
    pub(super) head: Arc<Head>,
    pub(super) range: TimeRange,
    pub(super) catalog: Arc<Catalog>,
    pub(super) visible: u64,
    serial: u64,
    is_by_creation: bool,
}

impl StoreQuerier {
    /// A snapshot of every commit that is visible now.
    pub(crate) fn new(head: &Arc<Head>, range: TimeRange) -> Self {
        let (serial, visible, catalog) = head.register_querier();
        let samples = head.time_range();
        let is_by_creation =
            samples.is_none_or(|(oldest, newest)| range.min >= head_begin(oldest, newest));
        Self {
            head: Arc::clone(head),
            range,
            catalog,
            visible,
            serial,
            is_by_creation,
        }
    }
}

impl StoreQuerier {
    /// The series that pass, siblings that have start timestamps too.
    fn join(&self, request: &Select<'_>, budget: &Budget) -> Result<StoreSelection, ReadError> {
        let range = TimeRange::new(
            self.range.min.max(request.range.min),
            self.range.max.min(request.range.max),
        );
        let (head, catalog) = (&self.head, &self.catalog);
        let join = Join::new(head, catalog, self.visible, range, request, budget);
        join.select(request, self.is_by_creation)
    }
}

/// Where Prometheus's head would begin with samples from `oldest` to `newest`: what is older is in blocks.
///
/// **Source**: Prometheus's defaults. As soon as its head has samples of more than three hours, those up to the next
/// multiple of two hours become a block.
fn head_begin(oldest: Timestamp, newest: Timestamp) -> Timestamp {
    const BLOCK_MS: i64 = 2 * 3_600_000;
    const HEAD_MAX_MS: i64 = 3 * 3_600_000;
    if newest.saturating_sub(oldest) <= HEAD_MAX_MS {
        return Timestamp::MIN;
    }
    let least = newest - HEAD_MAX_MS;
    least.saturating_add((-least).rem_euclid(BLOCK_MS))
}

impl Drop for StoreQuerier {
    fn drop(&mut self) {
        self.head.forget_querier(self.serial);
    }
}

impl Querier for StoreQuerier {
    fn select(
        &self,
        request: &Select<'_>,
        budget: &Budget,
    ) -> Result<Box<dyn Selection>, ReadError> {
        budget.check()?;
        let matchers = start_times::without_siblings(request.matchers);
        let own = Select {
            matchers: &matchers,
            ..*request
        };
        let mut selection = self.join(&own, budget)?;
        if request.wants == Wants::SamplesAndStartTimes && !selection.series.is_empty() {
            let matchers = start_times::siblings(request.matchers);
            let of_siblings = Select {
                matchers: &matchers,
                limit: None,
                ..*request
            };
            let siblings = self.join(&of_siblings, budget)?;
            let siblings = Siblings::new(siblings, &selection.series);
            selection.siblings = siblings.map(Box::new);
        }
        Ok(Box::new(selection))
    }

    fn label_names(
        &self,
        matchers: &[Matcher],
        limit: Option<usize>,
        budget: &Budget,
    ) -> Result<Vec<String>, ReadError> {
        self.texts(matchers, limit, budget, Asked::Names)
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: Option<usize>,
        budget: &Budget,
    ) -> Result<Vec<String>, ReadError> {
        self.texts(matchers, limit, budget, Asked::Values(name))
    }

    fn is_by_creation(&self) -> bool {
        self.is_by_creation
    }

    fn version(&self) -> Option<Version> {
        Some(Version {
            commit: self.visible,
            removals: self.catalog.removals,
        })
    }

    fn changed_since(&self, earlier: Version) -> Timestamp {
        // A snapshot of a query that began later has what this one has not.
        if earlier.removals != self.catalog.removals || earlier.commit > self.visible {
            return Timestamp::MIN;
        }
        self.head.changed_since(earlier.commit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    #[test]
    fn what_is_older_than_three_hours_is_in_blocks_of_two() {
        for (oldest, newest, expected) in [
            (0, 3 * HOUR, Timestamp::MIN),
            (0, 3 * HOUR + 1, 2 * HOUR),
            (HOUR, 4 * HOUR + 1, 2 * HOUR),
            (0, 5 * HOUR, 2 * HOUR),
            (0, 5 * HOUR + 1, 4 * HOUR),
            (0, 7 * HOUR, 4 * HOUR),
            (-10 * HOUR, -HOUR, -4 * HOUR),
            (-10 * HOUR, -HOUR + 1, -2 * HOUR),
            (Timestamp::MIN, Timestamp::MIN + HOUR, Timestamp::MIN),
            (Timestamp::MAX - HOUR, Timestamp::MAX, Timestamp::MIN),
        ] {
            assert_eq!(head_begin(oldest, newest), expected, "{oldest} {newest}");
        }
        assert!(head_begin(0, Timestamp::MAX) > Timestamp::MAX - 3 * HOUR);
        assert!(head_begin(Timestamp::MIN, 0) == -2 * HOUR);
    }
}
