//! promtool's commands, under promtool's words, outputs and exit codes.
//!
//! What stands in `COMMANDS` works; every other command of promtool is refused by name. Exit codes: 0 for success, 1 for an error, 3 for a lint finding with
//! `--lint-fatal`.

mod arguments;
mod check_config;
mod check_rules;
mod check_server;
mod duration;
mod query;
mod server;
mod test_rules;
mod test_scripts;

use std::{ffi::OsString, io::Write};

use arguments::{Arguments, Flag, plain_words};
use narthex_query::{
    Features,
    parser::{format_query, parse},
};

/// Where a command prints.
pub(crate) struct Output<'a> {
    /// What was asked for.
    pub(crate) out: &'a mut dyn Write,
    /// What went wrong.
    pub(crate) err: &'a mut dyn Write,
}

impl Output<'_> {
    /// A line on standard output. A closed pipe is no reason to fail.
    fn print(&mut self, line: &str) {
        let _closed = writeln!(self.out, "{line}");
    }

    /// A line on standard error.
    fn complain(&mut self, line: &str) {
        let _closed = writeln!(self.err, "{line}");
    }
}

/// The exit code of a lint finding with `--lint-fatal`.
const LINT_EXIT_CODE: u8 = 3;

/// A command that works.
struct Command {
    words: &'static [&'static str],
    flags: &'static [Flag],
    help: &'static str,
    run: fn(&Arguments, &mut Output<'_>) -> Result<u8, String>,
}

const COMMANDS: &[Command] = &[
    Command {
        words: &["check", "config"],
        flags: &[
            Flag::switch("syntax-only"),
            Flag::value("lint"),
            Flag::switch("lint-fatal"),
            Flag::switch("ignore-unknown-fields"),
            Flag::switch("agent"),
            Flag::value("query.lookback-delta"),
            Flag::switch("extended"),
        ],
        help: "check config [--syntax-only] [--lint=duplicate-rules] [--lint-fatal] [--agent] <config-files>...\n    Check if the config files are valid or not.",
        run: check_config::run,
    },
    Command {
        words: &["check", "rules"],
        flags: check_rules::FLAGS,
        help: "check rules [--lint=duplicate-rules] [--lint-fatal] [--ignore-unknown-fields] [<rule-files>...]\n    Check if the rule files are valid or not; without files, standard input.",
        run: check_rules::run,
    },
    Command {
        words: &["check", "healthy"],
        flags: &[Flag::value("http.config.file"), Flag::value("url")],
        help: "check healthy [--http.config.file=FILE] [--url=http://localhost:9090]\n    Check if the server is healthy.",
        run: |arguments, output| check_server::run(arguments, "healthy", output),
    },
    Command {
        words: &["check", "ready"],
        flags: &[Flag::value("http.config.file"), Flag::value("url")],
        help: "check ready [--http.config.file=FILE] [--url=http://localhost:9090]\n    Check if the server is ready.",
        run: |arguments, output| check_server::run(arguments, "ready", output),
    },
    Command {
        words: &["query", "instant"],
        flags: query::INSTANT_FLAGS,
        help: "query instant [-o promql|json] [--time=TIME] [--http.config.file=FILE] <server> <expr>\n    Run instant query.",
        run: query::instant,
    },
    Command {
        words: &["query", "range"],
        flags: query::RANGE_FLAGS,
        help: "query range [-o promql|json] [--start=TIME] [--end=TIME] [--step=DURATION] [--header=NAME=VALUE ...] [--http.config.file=FILE] <server> <expr>\n    Run range query.",
        run: query::range,
    },
    Command {
        words: &["query", "series"],
        flags: query::SELECT_FLAGS,
        help: "query series --match=MATCH ... [-o promql|json] [--start=TIME] [--end=TIME] [--http.config.file=FILE] <server>\n    Run series query.",
        run: query::series,
    },
    Command {
        words: &["query", "labels"],
        flags: query::SELECT_FLAGS,
        help: "query labels [-o promql|json] [--start=TIME] [--end=TIME] [--match=MATCH ...] [--http.config.file=FILE] <server> <name>\n    Run labels query.",
        run: query::labels,
    },
    Command {
        words: &["test", "rules"],
        flags: test_rules::FLAGS,
        help: "test rules [--run=REGEX ...] [--debug] [--diff] [--junit=FILE] [--ignore-unknown-fields] <test-rule-file>...\n    Unit tests for rules.",
        run: test_rules::run,
    },
    Command {
        words: &["promql", "format"],
        flags: &[],
        help: "promql format <query>\n    Format PromQL query to pretty printed form.",
        run: format,
    },
    Command {
        words: &["promql", "test"],
        flags: &[],
        help: "promql test [--enable-feature=all|NAME,...] <script>...\n    Run scripts in the language of Prometheus's PromQL tests, in memory and on a database (not in Prometheus's promtool).",
        run: test_scripts::run,
    },
];

/// Commands of promtool 3.14 that are not built yet.
const NOT_BUILT: &[&[&str]] = &[
    &["check", "service-discovery"],
    &["check", "web-config"],
    &["check", "metrics"],
    &["query", "analyze"],
    &["debug", "pprof"],
    &["debug", "metrics"],
    &["debug", "all"],
    &["push", "metrics"],
    &["tsdb", "bench"],
    &["tsdb", "analyze"],
    &["tsdb", "list"],
    &["tsdb", "dump"],
    &["tsdb", "dump-openmetrics"],
    &["tsdb", "create-blocks-from"],
    &["promql", "label-matchers"],
];

/// Runs promtool with `arguments`, the program's name left out, and returns the exit code.
pub fn run(arguments: &[OsString], out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let mut output = Output { out, err };
    let words: Vec<String> = arguments
        .iter()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    match dispatch(&words, &mut output) {
        Ok(code) => code,
        Err(message) => {
            output.complain(&format!("promtool: error: {message}, try --help"));
            1
        }
    }
}

fn dispatch(words: &[String], output: &mut Output<'_>) -> Result<u8, String> {
    let all_flags: Vec<Flag> = COMMANDS
        .iter()
        .flat_map(|command| command.flags.iter().copied())
        .collect();
    let names = plain_words(words, &all_flags);
    let (first, second) = (names.first().copied(), names.get(1).copied());
    if words.iter().any(|word| word == "--version") {
        output.print(concat!(
            "promtool, version 3.14.0 (narthex ",
            env!("CARGO_PKG_VERSION"),
            ")"
        ));
        return Ok(0);
    }
    let asks_help = words.iter().any(|word| word == "--help" || word == "-h");
    let named =
        |command: &[&str]| command.first().copied() == first && command.get(1).copied() == second;
    let command = COMMANDS.iter().find(|command| named(command.words));
    if asks_help || matches!(first, None | Some("help")) {
        output.print("usage: promtool <command> [<flags>] [<args> ...]\n\nCommands:");
        for entry in COMMANDS {
            if command.is_none_or(|command| command.words == entry.words) {
                output.print(entry.help);
            }
        }
        return Ok(0);
    }
    if let Some(command) = command {
        let arguments = Arguments::parse(words, command.words.len(), command.flags)?;
        return (command.run)(&arguments, output);
    }
    if NOT_BUILT.iter().any(|command| named(command)) {
        output.complain(&format!(
            "promtool {} {} is not built yet: use Prometheus's promtool for it",
            first.unwrap_or_default(),
            second.unwrap_or_default()
        ));
        return Ok(1);
    }
    let groups = ["check", "query", "debug", "push", "test", "tsdb", "promql"];
    let group = first.filter(|first| groups.contains(first));
    Err(match (group, second) {
        (Some(group), None) => format!("must select a subcommand of '{group}'"),
        (Some(_), Some(second)) => format!("expected command but got {second:?}"),
        (None, _) => format!("expected command but got {:?}", first.unwrap_or_default()),
    })
}

/// `promql format`. Upstream asks for `--experimental` besides, which is accepted.
fn format(arguments: &Arguments, output: &mut Output<'_>) -> Result<u8, String> {
    let [query] = arguments.words() else {
        return Err("required argument 'query' not provided".to_owned());
    };
    match parse(query, Features::ALL.parser()) {
        Ok(expr) => {
            output.print(&format_query(&expr));
            Ok(0)
        }
        Err(error) => {
            output.complain(&error.to_string());
            Ok(1)
        }
    }
}

#[cfg(test)]
mod tests;
