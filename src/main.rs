//! The `narthex` binary: picks the program by the name it was called by.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    narthex::cli::main(std::env::args_os().collect())
}
