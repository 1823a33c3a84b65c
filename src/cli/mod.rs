//! Command lines: the server, promtool and our own commands.

mod command_line;
mod flags;
pub mod promtool;
