//! `promtool check rules`, and the rule files of `promtool check config`.

use std::{fmt::Write as _, io::Read, path::Path};

use narthex_query::Features;
use narthex_rules::{FILE_BYTES_MAX, FileOptions, Pairs, RuleFile, parse_rule_file};

use super::{Arguments, LINT_EXIT_CODE, Output, arguments::Flag, duration::flag_duration};
use crate::config;

pub(super) const FLAGS: &[Flag] = &[
    Flag::value("lint"),
    Flag::switch("lint-fatal"),
    Flag::switch("ignore-unknown-fields"),
    Flag::switch("extended"),
    Flag::value("query.lookback-delta"),
];

/// The name under which standard input is read; its errors do not show it.
const STANDARD_INPUT: &str = "-";

/// How rule files are checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct RuleChecks {
    /// Rules of the same name and labels are found.
    pub(super) duplicates: bool,
    pub(super) file: FileOptions,
}

/// What became of a file, worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    Good,
    Lint,
    Bad,
}

/// What `--enable-feature` and `--ignore-unknown-fields` say about reading rule files.
pub(super) fn file_options(arguments: &Arguments) -> FileOptions {
    FileOptions {
        ignore_unknown_fields: arguments.is_set("ignore-unknown-fields"),
        parser: features(arguments).parser(),
    }
}

/// What of PromQL `--enable-feature` turns on; other names are ignored.
pub(super) fn features(arguments: &Arguments) -> Features {
    let mut features = Features::default();
    let lists = arguments.values("enable-feature").iter();
    for name in lists.flat_map(|names| names.split(',')) {
        features.enable(name);
    }
    features
}

/// # Errors
/// promtool's sentence about the first path that is no file.
pub(super) fn existing_files(files: &[String]) -> Result<(), String> {
    for file in files {
        match std::fs::metadata(file) {
            Err(_) => return Err(format!("path '{file}' does not exist")),
            Ok(metadata) if metadata.is_dir() => return Err(format!("'{file}' is a directory")),
            Ok(_) => {}
        }
    }
    Ok(())
}

pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<u8, String> {
    let files = arguments.words();
    existing_files(files)?;
    if let Some(text) = arguments.value("query.lookback-delta") {
        flag_duration(text)?;
    }
    let mut checks = RuleChecks {
        duplicates: false,
        file: file_options(arguments),
    };
    for name in arguments
        .value("lint")
        .unwrap_or("duplicate-rules")
        .split(',')
    {
        match name {
            "all" | "duplicate-rules" => checks.duplicates = true,
            "none" => {}
            other => output.print(&format!("WARNING: unknown lint option: {other:?}")),
        }
    }
    let mut worst = Verdict::Good;
    for file in files {
        worst = worst.max(check_file(file, checks, output));
    }
    if files.is_empty() {
        output.print("Checking standard input");
        let mut bytes = Vec::new();
        let mut input = std::io::stdin().lock().take(FILE_BYTES_MAX as u64 + 1);
        worst = match input.read_to_end(&mut bytes) {
            Ok(_) => check_bytes(STANDARD_INPUT, &bytes, checks, output),
            Err(error) => {
                output.complain(&format!("  FAILED:\n{}", config::io_reason(&error)));
                Verdict::Bad
            }
        };
    }
    Ok(match worst {
        Verdict::Bad => 1,
        Verdict::Lint if arguments.is_set("lint-fatal") => LINT_EXIT_CODE,
        Verdict::Lint | Verdict::Good => 0,
    })
}

/// Checks one file and prints what promtool prints.
pub(super) fn check_file(file: &str, checks: RuleChecks, output: &mut Output<'_>) -> Verdict {
    output.print(&format!("Checking {file}"));
    match std::fs::read(file) {
        Ok(bytes) => check_bytes(file, &bytes, checks, output),
        Err(error) => {
            let reason = config::io_reason(&error);
            output.complain(&format!("  FAILED:\n{file}: open {file}: {reason}"));
            Verdict::Bad
        }
    }
}

fn check_bytes(name: &str, bytes: &[u8], checks: RuleChecks, output: &mut Output<'_>) -> Verdict {
    let file = match parse_rule_file(Path::new(name), bytes, &checks.file) {
        Ok(file) => file,
        Err(errors) => {
            output.complain("  FAILED:");
            for error in errors.errors() {
                let text = error.to_string();
                let without_name = text.strip_prefix("-: ");
                let shown = without_name.filter(|_| name == STANDARD_INPUT);
                output.complain(shown.unwrap_or(&text));
            }
            return Verdict::Bad;
        }
    };
    let duplicates = if checks.duplicates {
        duplicates(&file)
    } else {
        Vec::new()
    };
    if duplicates.is_empty() {
        output.print(&format!("  SUCCESS: {} rules found\n", file.rule_count()));
        return Verdict::Good;
    }
    let mut text = format!(
        "  FAILED:\nlint error {} duplicate rule(s) found.\n",
        duplicates.len()
    );
    for (name, labels) in &duplicates {
        writeln!(text, "Metric: {name}\nLabel(s):").expect("writing to a string does not fail");
        for (name, value) in labels {
            writeln!(text, "\t{name}: {value}").expect("writing to a string does not fail");
        }
    }
    text.push_str("Might cause inconsistency while recording expressions");
    output.complain(&text);
    output.print("");
    Verdict::Lint
}

/// Names and labels that several rules of a file have, each once, in order. As in promtool the labels
/// of groups do not count.
fn duplicates(file: &RuleFile) -> Vec<(String, Vec<(String, String)>)> {
    let own = |labels: &Pairs, of_group: &Pairs| {
        let own = labels.iter().filter(|pair| !of_group.contains(pair));
        own.cloned().collect::<Vec<_>>()
    };
    let mut rules: Vec<(String, Vec<(String, String)>)> = file
        .groups
        .iter()
        .flat_map(|group| {
            let rules = group.rules.iter();
            rules.map(|rule| (rule.name().to_owned(), own(&rule.labels, &group.labels)))
        })
        .collect();
    rules.sort();
    let same = rules.chunk_by(|left, right| left == right);
    same.filter(|rules| rules.len() > 1)
        .map(|rules| rules[0].clone())
        .collect()
}
