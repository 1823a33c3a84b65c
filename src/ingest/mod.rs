//! Samples that others push to us.

mod remote_write;

pub(crate) use remote_write::remote_write;
