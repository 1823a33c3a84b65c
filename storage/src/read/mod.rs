//! Reading: snapshots over blocks and memory.
//!
//! **What it is.** The list of blocks that are served ([`Catalog`]), how it is found when a store is
//! opened, and the read contract ([`crate::Querier`]) over the blocks and over what is only in
//! memory.
//!
//! **What it is not.** It writes nothing and decides nothing about order, duplicates or retention.
//!
//! **What always holds.** A querier sees every commit up to its snapshot once: those up to its
//! catalog's last sealed commit from blocks, the later ones from memory. Pruning of memory waits for
//! the oldest catalog that a querier holds. Series are joined by id and then by labels; of two samples
//! of a series at one time the one of the older commit counts. A damaged page ends the read that
//! touches it with an error, and no other.

mod catalog;
mod columns;
mod join;
mod labels;
mod memory;
mod open;
mod querier;
mod scan;
mod selection;
mod start_times;

pub(crate) use catalog::{Catalog, Deletion, Sealed};
pub(crate) use open::{Found, Superseded};
pub(crate) use querier::StoreQuerier;

type HashMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;
