//! `promql test FILE…`: scripts in the language of Prometheus's own PromQL tests.
//!
//! Promtool has no such command. Each script runs twice, on series in memory and on a database whose loads lie in
//! memory, seals and merged blocks; an evaluation passes when both go as expected.

use narthex_query::{
    Features,
    testscript::{Failure, RunOptions, StoreKind, run as run_script},
};

use super::{Arguments, Output, check_rules};

/// Runs every script and prints a line a file, `FILE: passed/total`, then each failure with file, line, query, expected
/// and got. Exits with 0 when all passed, with 1 when anything failed or a file cannot be read.
///
/// # Errors
/// When no file is named.
pub(super) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<u8, String> {
    if arguments.words().is_empty() {
        return Err("required argument 'script' not provided".to_owned());
    }
    let features = features(arguments);
    let mut all_passed = true;
    let mut failed = Vec::new();
    for file in arguments.words() {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) => {
                output.print(&format!("{file}: {error}"));
                all_passed = false;
                continue;
            }
        };
        let on = |store| run_script(&text, file, &RunOptions { features, store });
        let (memory, database) = (on(StoreKind::Memory), on(StoreKind::Database));
        let is_new = |failure: &Failure| memory.failures.iter().all(|old| old.line != failure.line);
        let only_there: Vec<Failure> = database.failures.into_iter().filter(is_new).collect();
        let passed = memory.passed - only_there.len();
        output.print(&format!("{file}: {passed}/{}", memory.total));
        for (failures, place) in [(memory.failures, ""), (only_there, " (on a database)")] {
            failed.extend(failures.into_iter().map(|failure| (file, place, failure)));
        }
    }
    for (file, place, failure) in &failed {
        output.print(&format!(
            "\n{file}:{}: {}{place}\n  expected: {}\n  got: {}",
            failure.line, failure.query, failure.expected, failure.got
        ));
    }
    Ok(u8::from(!all_passed || !failed.is_empty()))
}

/// What `--enable-feature` names: `all` is what Prometheus runs its own scripts with, and so is nothing at all.
fn features(arguments: &Arguments) -> Features {
    let lists = arguments.values("enable-feature");
    let mut names = lists.iter().flat_map(|names| names.split(','));
    if lists.is_empty() || names.any(|name| name == "all") {
        let named = check_rules::features(arguments);
        return Features {
            type_and_unit_labels: named.type_and_unit_labels,
            ..Features::ALL
        };
    }
    check_rules::features(arguments)
}
