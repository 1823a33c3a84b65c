//! The store as a whole: against a model, on failing, full and damaged disks, copied while it runs.
#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]
#![expect(clippy::print_stdout, reason = "a failing test tells where it was")]

mod appends;
mod copies;
mod corruption;
mod crash;
mod damaged;
mod faults;
mod groups;
mod histograms;
mod lifecycle;
mod metadata;
mod model;
mod operations;
mod resets;
mod restored;
mod start_times;
mod support;
mod threads;
mod versions;
