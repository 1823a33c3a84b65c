//! Layer a: the unit tests of the five rule files, with the true durations.
//!
//! They pass; and each one guards something: whatever expectation is spoiled, and whichever rule is
//! loosened or has another `for`, the run fails and names that alert or query.
//!
//! The spoiling reads the files line by line. It leans on their layout: block style, one key a line,
//! `exp_alerts: []` for an alert that must not fire.

use std::{fs, path::Path};

use tempfile::TempDir;

use super::{Promtool, exporter::folder};

/// A change to the rules or their tests, and what the failing run has to name.
#[derive(Debug)]
struct Spoiled {
    what: String,
    /// The changed rule file and its text, if it is a rule that is changed.
    rules: Option<(String, String)>,
    /// `tests.yml` with those tests alone that the change concerns.
    tests: String,
    named: String,
}

for_each_stack!(
    the_configurations_and_rule_files_check,
    the_unit_tests_pass,
    every_alert_is_tested_firing_and_quiet,
    every_spoiled_expectation_fails,
    every_loosened_rule_fails
);

fn the_configurations_and_rule_files_check(stack: &str) {
    for promtool in Promtool::all() {
        let checked = promtool.run(&folder(stack), &["check", "config", "prometheus.yml"]);
        assert_eq!(checked.code, Some(0), "{stack}: {checked:?}");
        for file in rule_files(&folder(stack)) {
            let rules = fs::read_to_string(folder(stack).join(&file))
                .unwrap()
                .lines()
                .filter(|line| {
                    let line = line.trim_start().trim_start_matches("- ");
                    line.starts_with("alert: ") || line.starts_with("record: ")
                })
                .count();
            let checked = promtool.run(&folder(stack), &["check", "rules", &file]);
            assert_eq!(
                (checked.code, checked.stderr.as_str()),
                (Some(0), ""),
                "{file}"
            );
            assert!(
                checked
                    .stdout
                    .contains(&format!("  SUCCESS: {rules} rules found\n")),
                "{stack}, {file}: {checked:?}"
            );
        }
    }
}

fn the_unit_tests_pass(stack: &str) {
    for promtool in Promtool::all() {
        let tested = promtool.run(&folder(stack), &["test", "rules", "tests.yml"]);
        assert_eq!(tested.code, Some(0), "{stack}: {}", tested.stderr);
        assert!(
            tested.stdout.contains("  SUCCESS\n"),
            "{stack}: {}",
            tested.stdout
        );
    }
}

fn every_alert_is_tested_firing_and_quiet(stack: &str) {
    let tests = fs::read_to_string(folder(stack).join("tests.yml")).unwrap();
    for alert in alerts(&folder(stack)) {
        let tested = |empty: bool| {
            let mut lines = tests.lines();
            let mut found = false;
            while let Some(line) = lines.next() {
                if line.trim() == format!("alertname: {alert}") {
                    found |= (lines.next().map(str::trim) == Some("exp_alerts: []")) == empty;
                }
            }
            found
        };
        assert!(tested(false), "{stack}: no test in which {alert} fires");
        assert!(
            tested(true),
            "{stack}: no test in which {alert} stays quiet"
        );
    }
}

fn every_spoiled_expectation_fails(stack: &str) {
    let (head, tests) = parts(stack);
    let mut spoiled = Vec::new();
    for test in tests {
        spoiled.extend(spoiled_expectations(&head, &test));
    }
    assert!(spoiled.len() > 20, "{stack}: {}", spoiled.len());
    all_fail(stack, &spoiled);
}

fn every_loosened_rule_fails(stack: &str) {
    let mut spoiled = Vec::new();
    for file in rule_files(&folder(stack)) {
        spoiled.extend(spoiled_rules(stack, &file));
    }
    assert_eq!(spoiled.len(), 3 * alerts(&folder(stack)).len(), "{stack}");
    all_fail(stack, &spoiled);
}

/// Runs the stack's tests with each of the changes, in a copy.
fn all_fail(stack: &str, spoiled: &[Spoiled]) {
    let copy = TempDir::new().unwrap();
    copy_folder(&folder(stack), copy.path());
    for Spoiled {
        what,
        rules,
        tests,
        named,
    } in spoiled
    {
        fs::write(copy.path().join("spoiled.yml"), tests).unwrap();
        if let Some((file, text)) = rules {
            fs::write(copy.path().join(file), text).unwrap();
        }
        for promtool in Promtool::all() {
            let tested = promtool.run(copy.path(), &["test", "rules", "spoiled.yml"]);
            assert_eq!(tested.code, Some(1), "{stack}, {what}: {tested:?}");
            assert!(
                tested.stderr.contains(named.as_str()),
                "{stack}, {what}: {named} is not named: {}",
                tested.stderr
            );
        }
        if let Some((file, _)) = rules {
            fs::copy(folder(stack).join(file), copy.path().join(file)).unwrap();
        }
    }
}

/// What stands before the tests in `tests.yml`, and each of the tests.
pub(super) fn parts(stack: &str) -> (String, Vec<String>) {
    const TEST: &str = "\n  - name: ";
    let text = fs::read_to_string(folder(stack).join("tests.yml")).unwrap();
    let (head, tests) = text.split_once("\ntests:\n").unwrap();
    let tests = format!("\n{tests}")
        .split(TEST)
        .skip(1)
        .map(|test| format!("{}{test}", TEST.trim_start_matches('\n')))
        .collect();
    (format!("{head}\ntests:\n"), tests)
}

/// A file with one changed copy of a test for each expectation in it.
fn spoiled_expectations(head: &str, test: &str) -> Vec<Spoiled> {
    let lines: Vec<&str> = test.lines().collect();
    let mut spoiled = Vec::new();
    let mut named = String::new();
    for (index, line) in lines.iter().enumerate() {
        let content = line.trim_start().trim_start_matches("- ");
        let indent = " ".repeat(line.len() - line.trim_start().len());
        if let Some(alert) = content.strip_prefix("alertname: ") {
            named = format!("alertname: {alert}, ");
        } else if let Some(query) = content.strip_prefix("expr: ") {
            named = format!("expr: {:?}, ", query.trim_matches('\''));
        }
        let mut change = |until: usize, replacement: &str| {
            let mut changed = lines[..index].to_vec();
            changed.push(replacement);
            changed.extend(&lines[until..]);
            spoiled.push(Spoiled {
                what: format!("{}, line {}: {replacement}", lines[0], index + 1),
                rules: None,
                tests: format!("{head}{}\n", changed.join("\n")),
                named: named.clone(),
            });
        };
        match content {
            "exp_alerts: []" => change(
                index + 1,
                &format!("{indent}exp_alerts: [{{exp_labels: {{spoiled: \"yes\"}}}}]"),
            ),
            "exp_alerts:" => {
                let deeper = |line: &&&str| line.starts_with(&format!("{indent} "));
                let block = lines[index + 1..].iter().take_while(deeper).count();
                change(index + 1 + block, &format!("{indent}exp_alerts: []"));
            }
            "exp_labels:" | "exp_annotations:" => {
                let child = if line.trim_start().starts_with("- ") {
                    4
                } else {
                    2
                };
                let child = " ".repeat(indent.len() + child);
                change(index + 1, &format!("{line}\n{child}spoiled: \"yes\""));
            }
            "exp_samples: []" => change(
                index + 1,
                &format!("{indent}exp_samples: [{{labels: 'spoiled', value: 1}}]"),
            ),
            _ => {
                // The value of an expected sample, not the values of an input series.
                if let Some(value) = content.strip_prefix("value: ") {
                    let value: f64 = value.parse().unwrap();
                    change(index + 1, &format!("{indent}value: {}", value * 1.5 + 1.0));
                }
            }
        }
    }
    spoiled
}

/// Three changed copies of a rule file for each alert in it: `for` one evaluation shorter and one
/// longer, and the threshold eased by a twentieth.
fn spoiled_rules(stack: &str, file: &str) -> Vec<Spoiled> {
    let text = fs::read_to_string(folder(stack).join(file)).unwrap();
    let (head, tests) = parts(stack);
    let lines: Vec<&str> = text.lines().collect();
    let starts: Vec<usize> = (0..lines.len())
        .filter(|&index| lines[index].trim_start().starts_with("- "))
        .chain([lines.len()])
        .collect();
    let mut spoiled = Vec::new();
    for rule in starts.windows(2) {
        let block = lines[rule[0]..rule[1]].join("\n");
        let Some(alert) = lines[rule[0]].trim_start().strip_prefix("- alert: ") else {
            continue;
        };
        let about: Vec<&str> = tests
            .iter()
            .filter(|test| test.contains(&format!("alertname: {alert}\n")))
            .map(String::as_str)
            .collect();
        let mut change = |what: &str, changed: String| {
            assert_ne!(changed, block, "{alert}: {what}");
            let whole = [
                lines[..rule[0]].join("\n"),
                changed,
                lines[rule[1]..].join("\n"),
            ];
            spoiled.push(Spoiled {
                what: format!("{alert}: {what}"),
                rules: Some((file.to_owned(), whole.join("\n"))),
                tests: format!("{head}{}", about.join("\n")),
                named: format!("alertname: {alert}, "),
            });
        };
        let held = block
            .lines()
            .find_map(|line| line.trim_start().strip_prefix("for: "))
            .unwrap();
        let minutes: u32 = held.strip_suffix('m').unwrap().parse().unwrap();
        for (what, other) in [
            ("for is shorter", minutes * 60 - 15),
            ("for is longer", minutes * 60 + 15),
        ] {
            change(
                what,
                block.replace(&format!(" for: {held}"), &format!(" for: {other}s")),
            );
        }
        change("the threshold is eased", eased(&block));
    }
    spoiled
}

/// Eases the last comparison with a number of a rule's text.
fn eased(block: &str) -> String {
    let number = |text: &str| -> Option<(String, String)> {
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, rest) = text.split_at(end);
        (!number.is_empty()).then(|| (number.to_owned(), rest.to_owned()))
    };
    for (operator, replacement, factor) in [
        (" == ", " <= ", None),
        (" > ", " > ", Some(0.95)),
        (" < ", " < ", Some(1.05)),
    ] {
        if let Some((before, after)) = block.rsplit_once(operator)
            && let Some((threshold, rest)) = number(after)
        {
            let threshold: f64 = threshold.parse().unwrap();
            let other = factor.map_or(threshold + 1.0, |factor| threshold * factor);
            return format!("{before}{replacement}{other}{rest}");
        }
    }
    panic!("no comparison with a number in {block}");
}

/// The names of all alerts of a stack.
fn alerts(folder: &Path) -> Vec<String> {
    let mut alerts = Vec::new();
    for file in rule_files(folder) {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        alerts.extend(
            text.lines()
                .filter_map(|line| line.trim_start().strip_prefix("- alert: "))
                .map(str::to_owned),
        );
    }
    alerts
}

/// The rule files that `tests.yml` names, from the stack's folder; `FOLDER/*.yaml` is every one there.
pub(super) fn rule_files(folder: &Path) -> Vec<String> {
    let tests = fs::read_to_string(folder.join("tests.yml")).unwrap();
    let named = tests
        .lines()
        .skip_while(|line| *line != "rule_files:")
        .skip(1)
        .map_while(|line| line.strip_prefix("  - "));
    let mut files = Vec::new();
    for name in named {
        match name.split_once("/*") {
            None => files.push(name.to_owned()),
            Some((under, suffix)) => {
                for entry in fs::read_dir(folder.join(under)).unwrap() {
                    let name = entry.unwrap().file_name().into_string().unwrap();
                    assert!(name.ends_with(suffix), "{name}");
                    files.push(format!("{under}/{name}"));
                }
            }
        }
    }
    files.sort();
    files
}

pub(super) fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            fs::create_dir(&target).unwrap();
            copy_folder(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}
