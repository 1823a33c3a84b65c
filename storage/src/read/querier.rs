//! A snapshot: one catalog, and memory up to one commit.

use std::sync::Arc;

use super::{Catalog, join::Join, labels::Indexed};
use crate::{Budget, Matcher, Querier, ReadError, Select, Selection, TimeRange, head::Head};

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
        let range = TimeRange::new(
            self.range.min.max(request.range.min),
            self.range.max.min(request.range.max),
        );
        let join = Join::new(
            &self.head,
            &self.catalog,
            self.visible,
            range,
            request,
            budget,
        );
        Ok(Box::new(join.select(request)?))
    }

    fn label_names(
        &self,
        matchers: &[Matcher],
        limit: Option<usize>,
        budget: &Budget,
    ) -> Result<Vec<String>, ReadError> {
        self.texts(matchers, limit, budget, &|index, among, each| match index {
            Indexed::Block(block) => block.label_names(Some(among), each),
            Indexed::New(delta) => {
                delta.label_names(Some(among), each);
                Ok(())
            }
        })
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: Option<usize>,
        budget: &Budget,
    ) -> Result<Vec<String>, ReadError> {
        self.texts(matchers, limit, budget, &|index, among, each| match index {
            Indexed::Block(block) => block.label_values(name, Some(among), each),
            Indexed::New(delta) => {
                delta.label_values(name, Some(among), each);
                Ok(())
            }
        })
    }
}
