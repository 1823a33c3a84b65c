//! Command lines: the server, promtool and our own commands.
