//! A store that shows a test what is selected from it.

use std::sync::Arc;

use narthex_storage::{
    Budget, Matcher, Querier, Queryable, ReadError, Select, Selection, TimeRange,
};

/// Is given each selection, and gives one back.
type OnSelect = dyn Fn(Box<dyn Selection>) -> Box<dyn Selection> + Send + Sync;

/// See the module.
pub(crate) struct Watched<'d> {
    store: &'d dyn Queryable,
    on_select: Arc<OnSelect>,
}

impl<'d> Watched<'d> {
    pub(crate) fn new(
        store: &'d dyn Queryable,
        on_select: impl Fn(Box<dyn Selection>) -> Box<dyn Selection> + Send + Sync + 'static,
    ) -> Self {
        Self {
            store,
            on_select: Arc::new(on_select),
        }
    }
}

impl Queryable for Watched<'_> {
    fn querier(&self, range: TimeRange) -> Result<Box<dyn Querier>, ReadError> {
        let querier = self.store.querier(range)?;
        let on_select = Arc::clone(&self.on_select);
        Ok(Box::new(WatchedQuerier { querier, on_select }))
    }
}

struct WatchedQuerier {
    querier: Box<dyn Querier>,
    on_select: Arc<OnSelect>,
}

impl Querier for WatchedQuerier {
    fn select(
        &self,
        request: &Select<'_>,
        budget: &Budget,
    ) -> Result<Box<dyn Selection>, ReadError> {
        self.querier.select(request, budget).map(&*self.on_select)
    }

    fn label_names(
        &self,
        matchers: &[Matcher],
        limit: Option<usize>,
        budget: &Budget,
    ) -> Result<Vec<String>, ReadError> {
        self.querier.label_names(matchers, limit, budget)
    }

    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        limit: Option<usize>,
        budget: &Budget,
    ) -> Result<Vec<String>, ReadError> {
        self.querier.label_values(name, matchers, limit, budget)
    }
}
