//! The `narthex` binary: picks the program by the name it was called by.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    allocator::configure();
    narthex::cli::main(std::env::args_os().collect())
}

/// The allocator is the system's, told to give back what is free and more than a query takes.
///
/// A scrape's buffers are filled on one thread and freed on another, and large ones come and go every few
/// seconds. By default the C library keeps up to eight arenas a core, and the larger a buffer it ever
/// freed, the more it keeps. ARCHITECTURE.md has the figures.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod allocator {
    /// Most threads wait: two heaps are enough for those that do not, as each has a cache of its own.
    const ARENAS_MAX: libc::c_int = 2;
    /// Larger buffers are mapped, and unmapped when they are freed, in bytes. What compiles a regular expression takes
    /// 320,000, which would be mapped page by page for each query with one.
    const MAPPED_FROM_BYTES: libc::c_int = 512 << 10;
    /// Free memory at the end of a heap beyond this goes back, in bytes. What one query gives back the next one takes
    /// again, page by page.
    const KEPT_BYTES: libc::c_int = 2 << 20;

    #[expect(
        unsafe_code,
        reason = "the C library's settings have no safe interface"
    )]
    pub(super) fn configure() {
        for (setting, value) in [
            (libc::M_ARENA_MAX, ARENAS_MAX),
            (libc::M_MMAP_THRESHOLD, MAPPED_FROM_BYTES),
            (libc::M_TRIM_THRESHOLD, KEPT_BYTES),
        ] {
            // SAFETY: it stores a number, and no other thread runs yet. A refusal leaves the default.
            unsafe { libc::mallopt(setting, value) };
        }
    }
}
