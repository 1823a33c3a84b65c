//! What the store's tests share.

mod faulty_fs;

pub(crate) use faulty_fs::{FaultyFs, Survives};
