//! The bench `memory` with the system's allocator: see there.
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

fn main() {
    run::main("system");
}
