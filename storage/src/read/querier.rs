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
}

impl StoreQuerier {
    /// A snapshot of every commit that is visible now.
    pub(crate) fn new(head: &Arc<Head>, range: TimeRange) -> Self {
        let (serial, visible, catalog) = head.register_querier();
        Self {
            head: Arc::clone(head),
            range,
            catalog,
            visible,
            serial,
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
        Join::new(head, catalog, self.visible, range, request, budget).select(request)
    }
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
