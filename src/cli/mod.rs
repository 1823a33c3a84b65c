//! Command lines: the server, promtool and our own commands.
//!
//! One binary is several programs. Called as `promtool`, or with `promtool` as first argument, it is
//! promtool; promtool's commands are also there directly (`narthex check config …`); everything else
//! is the server, with Prometheus's flags.

mod command_line;
mod flags;
mod memory;
pub mod promtool;
mod serve;

use std::{ffi::OsString, path::Path, process::ExitCode};

/// promtool's commands, which are also ours.
const COMMANDS: [&str; 8] = [
    "check",
    "query",
    "debug",
    "push",
    "test",
    "tsdb",
    "promql",
    "label-matchers",
];

/// Runs the program that the command line names; `arguments` begin with the program's name.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter();
    let program = arguments.next().unwrap_or_default();
    let program = Path::new(&program).file_name().unwrap_or_default();
    let arguments: Vec<OsString> = arguments.collect();
    if program == "promtool" {
        return run_promtool(&arguments);
    }
    let words: Vec<String> = arguments
        .iter()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    if program != "prometheus"
        && let Some(first) = words.first()
    {
        if first == "promtool" {
            return run_promtool(&arguments[1..]);
        }
        // The one flag that the server has too.
        let mut rest = words
            .iter()
            .skip_while(|word| word.starts_with("--enable-feature="));
        if rest
            .next()
            .is_some_and(|word| COMMANDS.contains(&word.as_str()))
        {
            return run_promtool(&arguments);
        }
    }
    serve::run(&words)
}

fn run_promtool(arguments: &[OsString]) -> ExitCode {
    let code = promtool::run(
        arguments,
        &mut std::io::stdout().lock(),
        &mut std::io::stderr().lock(),
    );
    ExitCode::from(code)
}
