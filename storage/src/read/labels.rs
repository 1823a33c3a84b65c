//! Label names and values of the series that have samples in a range, from the indexes alone.

use std::{collections::BTreeSet, ops::ControlFlow};

use roaring::RoaringBitmap;

use super::{memory::Memory, querier::StoreQuerier};
use crate::{
    Budget, Matcher, ReadError, block::BlockIndex, codec::CodecError, index::Delta, start_times,
};

/// One of the indexes that a snapshot has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Indexed<'a> {
    Block(&'a BlockIndex),
    New(&'a Delta),
}

/// Is handed texts, ascending, until it has enough.
type Each<'a> = dyn FnMut(&str) -> ControlFlow<()> + 'a;

/// Hands on texts of the series of an index that are among these.
pub(super) type Ask<'a> =
    &'a dyn Fn(Indexed<'_>, &RoaringBitmap, &mut Each<'_>) -> Result<(), CodecError>;

impl StoreQuerier {
    /// The texts that `ask` finds for the series that pass every matcher and have samples in the
    /// querier's range; ascending, at most `limit`.
    pub(super) fn texts(
        &self,
        matchers: &[Matcher],
        limit: Option<usize>,
        budget: &Budget,
        ask: Ask<'_>,
    ) -> Result<Vec<String>, ReadError> {
        let matchers = &*start_times::without_siblings(matchers);
        let limit = limit.unwrap_or(usize::MAX);
        let mut found: BTreeSet<String> = BTreeSet::new();
        let mut ask = |index: Indexed<'_>, among: &RoaringBitmap| {
            // Of each index the first so many are enough: they come in order.
            let mut left = limit;
            if among.is_empty() || left == 0 {
                return Ok(());
            }
            ask(index, among, &mut |text| {
                if !found.contains(text) {
                    found.insert(text.to_owned());
                }
                left -= 1;
                if left == 0 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
        };
        for sealed in &self.catalog.blocks {
            budget.check()?;
            if !sealed.range().overlaps(&self.range) {
                continue;
            }
            let among = sealed.with_samples(matchers, self.range)?;
            ask(Indexed::Block(sealed.index()), &among)
                .map_err(|error| sealed.index_damaged(error))?;
        }
        let mut memory = Memory::new(self.catalog.sealed, self.visible, self.range);
        if !memory.is_empty() {
            budget.check()?;
            let known = &self.catalog.known;
            let mut has_sample = |id: u32| {
                let sources = self.head.states.sources(id);
                let histograms = self.head.histograms.of(id);
                memory.locate(id, &sources, &mut |_| ()).0
                    || histograms.is_some_and(|histograms| memory.has_histogram(&histograms))
            };
            if let Some(base) = known.base() {
                let block = base.block();
                let index = block.index();
                let damaged = |error| block.index_damaged(error);
                let all = index.select(matchers).map_err(damaged)?;
                let among: RoaringBitmap = all
                    .iter()
                    .filter(|ordinal| has_sample(index.id(*ordinal)))
                    .collect();
                ask(Indexed::Block(index), &among).map_err(damaged)?;
            }
            let created = known.delta();
            let among: RoaringBitmap = created
                .select(matchers)
                .iter()
                .filter(|id| has_sample(*id))
                .collect();
            // Nothing in memory is damaged.
            ask(Indexed::New(&created), &among).ok();
        }
        Ok(found.into_iter().take(limit).collect())
    }
}
