//! What [`super::published`] is made of. A test over every order of loads and stores puts other types of these
//! names here.

pub(super) use std::sync::{
    OnceLock,
    atomic::{AtomicU32, AtomicU64, Ordering},
};
