//! Black-box tests: the real binary on port 0 with a folder of its own, spoken to over HTTP, signals
//! and exit codes. One test binary, so that linking is paid once.

mod command_line;
mod harness;
mod lifecycle;
mod persistence;
mod scraping;
mod tidy;
