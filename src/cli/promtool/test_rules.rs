//! `promtool test rules`: the files, what is printed, and the `JUnit` file.

use std::{fmt::Write as _, fs, path::Path};

use narthex_rules::{
    FileOptions, RuleFile, RuleFileErrors, parse_rule_file,
    unit_test::{TestFile, TestOptions, go_duration, run_test},
};
use narthex_storage::{Clock as _, Regex, SystemClock};

use super::{
    Arguments, Output,
    arguments::Flag,
    check_rules::{existing_files, features, file_options},
};
use crate::config;

pub(super) const FLAGS: &[Flag] = &[
    Flag::value("junit"),
    Flag::values("run"),
    Flag::switch("debug"),
    Flag::switch("diff"),
    Flag::switch("ignore-unknown-fields"),
];

/// What the flags ask for.
struct Options {
    run: Option<Regex>,
    debug: bool,
    test: TestOptions,
    file: FileOptions,
}

/// What the `JUnit` file says of one test file.
struct Suite {
    name: String,
    timestamp: String,
    abort: Option<String>,
    /// Names and failures.
    cases: Vec<(String, Vec<String>)>,
}

pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<u8, String> {
    let files = arguments.words();
    if files.is_empty() {
        return Err("required argument 'test-rule-file' not provided".to_owned());
    }
    existing_files(files)?;
    let patterns = arguments.values("run");
    let debug = arguments.is_set("debug");
    let file = file_options(arguments);
    let options = Options {
        run: match patterns {
            [] => None,
            patterns => {
                let pattern = format!(".*(?:{}).*", patterns.join("|"));
                Some(Regex::new(&pattern).map_err(|error| error.to_string())?)
            }
        },
        debug,
        test: TestOptions {
            features: features(arguments),
            diff: arguments.is_set("diff"),
            dump: debug,
        },
        file,
    };
    if let Some(path) = arguments.value("junit") {
        fs::File::create(path)
            .map_err(|error| format!("open {path}: {}", config::io_reason(&error)))?;
    }
    let mut suites = Vec::new();
    let mut failed = false;
    for file in files {
        let suite = test_file(file, &options, output);
        let failures: Vec<&String> = match &suite.abort {
            Some(reason) => vec![reason],
            None => suite
                .cases
                .iter()
                .flat_map(|(_, failures)| failures)
                .collect(),
        };
        if failures.is_empty() {
            output.print("  SUCCESS");
        } else {
            failed = true;
            output.complain("  FAILED:");
            for failure in failures {
                output.complain(failure);
                output.print("");
            }
        }
        output.print("");
        suites.push(suite);
    }
    if let Some(path) = arguments.value("junit")
        && let Err(error) = fs::write(path, junit(&suites))
    {
        let reason = config::io_reason(&error);
        output.complain(&format!("failed to write JUnit XML: {reason}"));
    }
    Ok(u8::from(failed))
}

/// Runs one test file.
fn test_file(path: &str, options: &Options, output: &mut Output<'_>) -> Suite {
    let mut suite = Suite {
        name: path.to_owned(),
        timestamp: String::new(),
        abort: None,
        cases: Vec::new(),
    };
    if let Err(reason) = test_file_into(path, options, output, &mut suite) {
        suite.abort = Some(reason);
    }
    suite
}

fn test_file_into(
    path: &str,
    options: &Options,
    output: &mut Output<'_>,
    suite: &mut Suite,
) -> Result<(), String> {
    let unreadable = |error| format!("open {path}: {}", config::io_reason(&error));
    let bytes = fs::read(path).map_err(unreadable)?;
    let file = TestFile::parse(&bytes)?;
    let rule_files = rule_files(path, &file, options.file, output)?;
    suite.timestamp = timestamp();
    for (index, name) in file.group_eval_order.iter().enumerate() {
        let mut earlier = file.group_eval_order.iter().take(index);
        if earlier.any(|earlier| earlier == name) {
            return Err(format!("group name repeated in evaluation order: {name}"));
        }
    }
    for (index, test) in file.tests.iter().enumerate() {
        if options
            .run
            .as_ref()
            .is_some_and(|run| !run.is_match(&test.name))
        {
            continue;
        }
        let name = match test.name.as_str() {
            "" => format!("unnamed#{index}"),
            name => name.to_owned(),
        };
        let clock = SystemClock::default();
        let began = clock.monotonic();
        if options.debug {
            output.print(&format!("DEBUG: Starting test {name}"));
        }
        let report = run_test(&file, test, &rule_files, options.test);
        if let Some(dump) = &report.dump {
            output.print(dump);
        }
        if options.debug {
            let took = go_duration(clock.monotonic().saturating_sub(began));
            output.print(&format!("DEBUG: Test {name} finished, took {took}"));
        }
        suite.cases.push((name, report.failures));
    }
    Ok(())
}

/// The rule files that a test file names, by paths and patterns relative to its folder.
fn rule_files(
    path: &str,
    file: &TestFile,
    options: FileOptions,
    output: &mut Output<'_>,
) -> Result<Vec<Result<RuleFile, RuleFileErrors>>, String> {
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    let mut found = Vec::new();
    for pattern in &file.rule_files {
        let pattern = config::join_path(folder, pattern);
        let matches = config::matching_files(&pattern);
        let matches = matches.map_err(|_| "syntax error in pattern".to_owned())?;
        if matches.is_empty() {
            output.complain(&format!("  WARNING: no file match pattern {pattern}"));
        }
        found.extend(matches);
    }
    let mut parsed = Vec::new();
    for path in found {
        let unreadable = |error| {
            let shown = path.display();
            format!("{shown}: open {shown}: {}", config::io_reason(&error))
        };
        let bytes = fs::read(&path).map_err(unreadable)?;
        parsed.push(parse_rule_file(&path, &bytes, &options));
    }
    Ok(parsed)
}

/// Now, as the `JUnit` file has it; in UTC.
fn timestamp() -> String {
    let now = jiff::Timestamp::from_millisecond(SystemClock::default().now());
    now.map_or_else(
        |_| String::new(),
        |now| now.strftime("%Y-%m-%dT%H:%M:%S").to_string(),
    )
}

/// The `JUnit` file, in one line as promtool writes it.
fn junit(suites: &[Suite]) -> String {
    const INFALLIBLE: &str = "writing to a string does not fail";
    let mut xml = "<testsuites>".to_owned();
    for suite in suites {
        let failures: usize = suite.cases.iter().map(|(_, failures)| failures.len()).sum();
        write!(
            xml,
            r#"<testsuite name="{}" tests="{}" failures="{failures}" errors="{}" skipped="0" timestamp="{}">"#,
            escape(&suite.name),
            suite.cases.len() + usize::from(suite.abort.is_some()),
            u8::from(suite.abort.is_some()),
            suite.timestamp,
        )
        .expect(INFALLIBLE);
        for (name, failures) in &suite.cases {
            write!(xml, r#"<testcase name="{}">"#, escape(name)).expect(INFALLIBLE);
            for failure in failures {
                write!(xml, "<failure>{}</failure>", escape(failure)).expect(INFALLIBLE);
            }
            xml.push_str("</testcase>");
        }
        if let Some(reason) = &suite.abort {
            let reason = escape(reason);
            write!(
                xml,
                r#"<testcase name="unknown"><error>{reason}</error></testcase>"#
            )
            .expect(INFALLIBLE);
        }
        xml.push_str("</testsuite>");
    }
    xml.push_str("</testsuites>");
    xml
}

/// A text as Go's XML encoder writes it.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\t' => out.push_str("&#x9;"),
            '\n' => out.push_str("&#xA;"),
            '\r' => out.push_str("&#xD;"),
            '\0'..='\u{1f}' => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}
