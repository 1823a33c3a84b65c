//! The admin endpoints' side of the store.

use narthex_storage::{Db, Matcher, TimeRange};

use crate::api::StoreAdmin;

impl StoreAdmin for Db {
    fn snapshot(&self, skip_head: bool) -> anyhow::Result<String> {
        Ok(Self::snapshot(self, skip_head)?)
    }

    fn delete_series(&self, selectors: &[Vec<Matcher>], range: TimeRange) -> anyhow::Result<()> {
        Ok(Self::delete_series(self, selectors, range)?)
    }

    fn clean_tombstones(&self) -> anyhow::Result<()> {
        Ok(Self::clean_tombstones(self)?)
    }
}
