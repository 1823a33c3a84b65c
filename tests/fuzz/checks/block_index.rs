//! The index of a block: hostile sections end in errors or answers, never in a panic, and never in a
//! series that there is not.

pub(super) use narthex_storage::internals::check_index as check;
