//! Anonymous resident memory by active series, with mimalloc; `memory_system` is the same with the
//! system's allocator, and the product's allocator is chosen by comparing the two.
//!
//! Pods of 1,000 series with eight labels, a row every 15 s. Every case runs at every size of
//! `NARTHEX_MEMORY_SERIES` ("200000,1000000") for `NARTHEX_MEMORY_ROWS` (120) rows, in a process of
//! its own. The figures hold the bench's own 4 bytes a series. With churn a twentieth of the pods is
//! replaced every twelve rows, and "series" still means the active ones.
#![expect(clippy::unwrap_used, reason = "a bench ends at what it did not expect")]
#![expect(clippy::print_stdout, reason = "the figures are the purpose")]

#[path = "../common/clock.rs"]
mod clock;
#[path = "../common/parameter.rs"]
mod parameter;
#[path = "../common/processor.rs"]
mod processor;
#[path = "../common/resident.rs"]
mod resident;
mod run;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    run::main("mimalloc");
}
