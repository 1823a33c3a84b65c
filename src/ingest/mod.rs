//! Samples that others push to us.

mod remote_write;

pub use remote_write::message::{BadMessage, Batch, BatchSeries};
pub(crate) use remote_write::remote_write;
