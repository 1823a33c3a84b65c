//! Black-box tests: the real binary on port 0 with a folder of its own, spoken to over HTTP, signals
//! and exit codes. One test binary, so that linking is paid once.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, and the harness is part of it"
)]

mod alerting;
mod bad_input;
mod command_line;
mod compose;
mod decoders;
mod disk;
mod grafana;
mod harness;
mod lifecycle;
mod metadata;
mod operations;
mod parity;
mod persistence;
mod remote_read;
mod scraping;
mod stacks;
mod tidy;
