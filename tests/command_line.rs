//! Flags and exit codes, as scripts around Prometheus depend on them.

use tempfile::TempDir;

use crate::harness::run;

#[test]
fn an_unknown_flag_is_fatal_with_exit_code_1() {
    let folder = TempDir::new().unwrap();
    let outcome = run(folder.path(), &["--no.such.flag=1"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(
        outcome
            .stderr
            .contains("Error parsing command line arguments: unknown long flag '--no.such.flag'"),
        "{outcome:?}"
    );
}

#[test]
fn a_missing_configuration_file_that_was_named_is_fatal_with_exit_code_2() {
    let folder = TempDir::new().unwrap();
    let outcome = run(
        folder.path(),
        &[
            "--config.file=missing.yml",
            "--web.listen-address=127.0.0.1:0",
        ],
    );
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert!(outcome.stderr.contains("missing.yml"), "{outcome:?}");
}

#[test]
fn a_bad_configuration_is_fatal_with_exit_code_2_and_names_the_line() {
    let folder = TempDir::new().unwrap();
    std::fs::write(
        folder.path().join("bad.yml"),
        "global:\n  scrape_intervall: 5s\n",
    )
    .unwrap();
    let outcome = run(
        folder.path(),
        &["--config.file=bad.yml", "--web.listen-address=127.0.0.1:0"],
    );
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert!(
        outcome
            .stderr
            .contains("line 2: field scrape_intervall not found in type config.plain"),
        "{outcome:?}"
    );
}

#[test]
fn what_is_not_built_is_refused_by_name_at_start() {
    let folder = TempDir::new().unwrap();
    let text =
        "scrape_configs:\n  - job_name: web\n    consul_sd_configs:\n      - server: c:8500\n";
    std::fs::write(folder.path().join("p.yml"), text).unwrap();
    let outcome = run(
        folder.path(),
        &["--config.file=p.yml", "--web.listen-address=127.0.0.1:0"],
    );
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert!(
        outcome.stderr.contains("web") && outcome.stderr.contains("consul_sd"),
        "{outcome:?}"
    );
    assert!(
        !folder.path().join("data/narthex").exists(),
        "nothing may be written before that"
    );
    let check = run(folder.path(), &["check", "config", "p.yml"]);
    assert_eq!(check.code, Some(0), "{check:?}");
    let said = format!("{}{}", check.stdout, check.stderr);
    assert!(
        said.contains("WARNING") && said.contains("consul_sd"),
        "{check:?}"
    );
}

#[test]
fn promtool_is_there_under_its_name_and_directly() {
    let folder = TempDir::new().unwrap();
    std::fs::write(
        folder.path().join("p.yml"),
        "global:\n  scrape_interval: 5s\n",
    )
    .unwrap();
    let expected = "Checking p.yml\n SUCCESS: p.yml is valid prometheus config file syntax\n\n";
    for args in [
        &["promtool", "check", "config", "p.yml"][..],
        &["check", "config", "p.yml"],
    ] {
        let outcome = run(folder.path(), args);
        assert_eq!(
            (outcome.code, outcome.stdout.as_str()),
            (Some(0), expected),
            "{outcome:?}"
        );
    }
}

#[test]
fn version_and_help_exit_0() {
    let folder = TempDir::new().unwrap();
    let version = run(folder.path(), &["--version"]);
    assert_eq!(version.code, Some(0));
    let said = format!("{}{}", version.stdout, version.stderr);
    assert!(said.contains("version"), "{version:?}");
    let help = run(folder.path(), &["--help"]);
    assert_eq!(help.code, Some(0));
    assert!(
        format!("{}{}", help.stdout, help.stderr).contains("--storage.tsdb.path"),
        "{help:?}"
    );
}
