//! Whole configurations: verdicts beside those of the real promtool.

use std::{fmt::Write as _, path::Path};

use super::{Config, ConfigError, load};

fn load_text(text: &str) -> Result<Config, ConfigError> {
    load(text.as_bytes(), Path::new("prometheus.yml"), &|_| None)
}

/// `testdata/verdicts.txt` holds texts with what promtool 3.5.3 says of each. Where 3.14 is known to
/// say something else the case is marked, and where YAML itself is broken only the beginning counts,
/// for parsers word that differently.
#[test]
fn verdicts_are_those_of_promtool() {
    check_verdicts(include_str!("testdata/verdicts.txt"), 120);
}

/// The same for the sections that find targets and sign requests, whose keys are known though they
/// are not built.
#[test]
fn sections_that_are_not_built_are_checked_as_promtool_checks_them() {
    check_verdicts(include_str!("testdata/discovery_verdicts.txt"), 140);
}

/// What promtool 3.5.3 as it was at hand does not know: the expected sentences are those of the
/// source of Prometheus 3.14.
#[test]
fn newer_sections_are_checked_as_the_source_of_prometheus_says() {
    check_verdicts(include_str!("testdata/discovery_verdicts_of_3_14.txt"), 35);
}

/// Compares each case of a corpus, of which there are more than `least`.
fn check_verdicts(corpus: &str, least: usize) {
    let mut failures = String::new();
    let mut count = 0;
    for case in corpus.split("=== ").skip(1) {
        let (name, rest) = case.split_once('\n').unwrap();
        let (text, expected) = rest.split_once("--->\n").unwrap();
        let expected = expected.trim_end();
        let found = match load_text(text) {
            Ok(_) => "ok".to_owned(),
            Err(error) => error.message().to_owned(),
        };
        count += 1;
        let same = match expected.strip_prefix("yaml: line ") {
            Some(_) => found.starts_with("yaml: line "),
            None => found.trim_end() == expected,
        };
        if !same {
            writeln!(
                failures,
                "{name}\n  expected: {expected}\n  found:    {found}"
            )
            .unwrap();
        }
    }
    assert!(failures.is_empty(), "{failures}");
    assert!(count > least, "the corpus was not read: {count}");
}

/// The expected text is what Prometheus 3.5.3 answers under `/api/v1/status/config`, with the lines
/// that 3.14 prints besides: `scrape_native_histograms`, `extra_scrape_metrics`, the global
/// validation scheme, two `otlp` defaults, and no protocols in `global` unless they are given.
#[test]
fn a_configuration_prints_as_prometheus_prints_it() {
    let config = load_text(include_str!("testdata/printed_input.yml")).unwrap();
    expect_test::expect_file!["testdata/printed_expected.yml"].assert_eq(&config.to_yaml());
}

#[test]
fn relative_paths_resolve_against_the_folder_of_the_file() {
    let text = "rule_files: [r/*.yml, /abs.yml, ../up.yml]\nscrape_configs: [{job_name: a, tls_config: {ca_file: ./ca.pem}, file_sd_configs: [{files: [sd.json]}]}]\n";
    let check = |file: &str, expected: [&str; 5]| {
        let config = load(text.as_bytes(), Path::new(file), &|_| None).unwrap();
        let job = &config.scrape_configs[0];
        let mut found = config.rule_files.clone();
        found.push(
            job.http_client
                .tls_config
                .ca_file
                .clone()
                .unwrap()
                .display()
                .to_string(),
        );
        found.push(
            job.discovery.file_sd_configs[0].files[0]
                .display()
                .to_string(),
        );
        assert_eq!(found, expected);
    };
    check(
        "prometheus.yml",
        ["r/*.yml", "/abs.yml", "../up.yml", "ca.pem", "sd.json"],
    );
    check(
        "/etc/prometheus/prometheus.yml",
        [
            "/etc/prometheus/r/*.yml",
            "/abs.yml",
            "/etc/up.yml",
            "/etc/prometheus/ca.pem",
            "/etc/prometheus/sd.json",
        ],
    );
    check(
        "conf/p.yml",
        [
            "conf/r/*.yml",
            "/abs.yml",
            "up.yml",
            "conf/ca.pem",
            "conf/sd.json",
        ],
    );
}

/// Variables count in external labels and nowhere else. Expected values: Prometheus 3.5.3 started
/// with `HOST=web 1`.
#[test]
fn variables_are_filled_in_in_external_labels_only() {
    let text = "global: {external_labels: {a: '$HOST', b: '${HOST}x', c: '$$HOST', d: '$NONE', e: 'x$', f: '${HOST', g: '$HOST-y'}}\nscrape_configs: [{job_name: '$HOST'}]\n";
    let environment = |name: &str| (name == "HOST").then(|| "web 1".to_owned());
    let config = load(text.as_bytes(), Path::new("p.yml"), &environment).unwrap();
    assert_eq!(
        config.global.external_labels.to_string(),
        r#"{a="web 1", b="web 1x", c="$HOST", e="x$", f="HOST", g="web 1-y"}"#
    );
    assert_eq!(config.scrape_configs[0].job_name, "$HOST");
}

#[test]
fn errors_show_file_line_and_column_but_no_secret() {
    let check = |text: &str, expected: &str| {
        assert_eq!(load_text(text).unwrap_err().to_string(), expected);
    };
    check(
        "scrape_configs:\n- job_name: a\n  scrape_interval: 5x\n",
        "unknown unit \"x\" in duration \"5x\"\n  --> prometheus.yml:3:20\n  |\n3 |   scrape_interval: 5x\n  |                    ^",
    );
    check(
        "scrape_configs:\n- job_name: a\n  basic_auth:\n    passwrod: hunter2\n",
        "yaml: unmarshal errors:\n  line 4: field passwrod not found in type config.plain\n  --> prometheus.yml:4:5\n  |\n4 |     passwrod: …\n  |     ^",
    );
    check(
        "scrape_configs:\n- job_name: a\n  basic_auth: {password: [hunter2]}\n",
        "yaml: unmarshal errors:\n  line 3: cannot unmarshal !!seq into config.plain\n  --> prometheus.yml:3:26\n  |\n3 |   basic_auth: …",
    );
}

#[test]
fn secrets_do_not_print() {
    let text = "scrape_configs: [{job_name: a, basic_auth: {username: u, password: hunter2}}, {job_name: b, bearer_token: hunter2, proxy_url: 'http://u:hunter2@p'}]\nremote_write: [{url: 'http://u:hunter2@x'}]\n";
    let config = load_text(text).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
    assert!(
        !config.to_yaml().contains("hunter2"),
        "{}",
        config.to_yaml()
    );
}

#[test]
fn jobs_of_scrape_config_files_are_found_and_inherit() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let main = folder.path().join("prometheus.yml");
    write(
        "prometheus.yml",
        "global: {scrape_interval: 7s}\nscrape_config_files: ['jobs-*.yml']\nscrape_configs: [{job_name: a}]\n",
    );
    write(
        "jobs-1.yml",
        "scrape_configs: [{job_name: b, tls_config: {ca_file: ca.pem}}]\n",
    );
    let config = super::load_file(&main, &|_| None).unwrap();
    let found: Vec<_> = config
        .jobs()
        .map(|job| (job.job_name.as_str(), job.scrape_interval.as_secs()))
        .collect();
    assert_eq!(found, [("a", 7), ("b", 7)]);
    assert_eq!(
        config.scrape_configs_of_files[0]
            .http_client
            .tls_config
            .ca_file,
        Some(folder.path().join("ca.pem"))
    );
    write("jobs-2.yml", "scrape_configs: [{job_name: a}]\n");
    let error = super::load_file(&main, &|_| None).unwrap_err();
    assert_eq!(
        error.message(),
        format!(
            "{:?}: found multiple scrape configs with job name \"a\", first found in main config file",
            folder.path().join("jobs-2.yml")
        )
    );
}

/// `testdata/relabelled.txt` holds rules in turn with what Prometheus 3.5.3 made of one target by
/// them, as `/api/v1/targets` shows it.
#[test]
fn relabelling_gives_what_prometheus_gives() {
    let corpus = include_str!("testdata/relabelled.txt");
    let target = narthex_storage::Labels::from_pairs([
        ("a", "foo"),
        ("b", "bar"),
        ("c", "baz"),
        ("up", "MiXed ß É"),
    ]);
    let mut lines = corpus.lines();
    let mut count = 0;
    while let (Some(rules), Some(expected)) = (lines.next(), lines.next()) {
        let text = format!("scrape_configs: [{{job_name: a, relabel_configs: {rules}}}]");
        let config = load_text(&text).unwrap();
        let mut labels = target.to_builder();
        let kept = crate::relabel::process(&config.scrape_configs[0].relabel_configs, &mut labels);
        let found = if kept {
            labels.build().to_string()
        } else {
            "dropped".to_owned()
        };
        assert_eq!(found, expected, "{rules}");
        count += 1;
    }
    assert_eq!(count, 27);
}

/// What YAML's oddities mean, checked with promtool 3.5.3 and `/api/v1/status/config`.
#[test]
fn odd_scalars_mean_what_they_mean_in_go() {
    let limit = |text: &str| {
        let text = format!("scrape_configs: [{{job_name: a, sample_limit: {text}}}]");
        load_text(&text)
            .map(|config| config.scrape_configs[0].limits.samples)
            .ok()
    };
    for (text, expected) in [
        ("010", Some(8)),
        ("0o17", Some(15)),
        ("0x10", Some(16)),
        ("0b11", Some(3)),
        ("1_000", Some(1000)),
        ("1e3", Some(1000)),
        ("1.5", Some(1)),
        ("~", Some(0)),
        ("\"5\"", None),
        ("!!int \"5\"", Some(5)),
        ("-1", None),
        ("08", Some(8)),
    ] {
        assert_eq!(limit(text), expected, "{text}");
    }
    let flag = |text: &str| {
        let text = format!("scrape_configs: [{{job_name: a, honor_timestamps: {text}}}]");
        load_text(&text)
            .map(|config| config.scrape_configs[0].honor_timestamps)
            .ok()
    };
    for (text, expected) in [
        ("yes", Some(true)),
        ("Off", Some(false)),
        ("y", Some(true)),
        ("null", Some(false)),
        ("1", None),
        ("\"true\"", None),
        ("TRUE", Some(true)),
        ("tRUE", None),
    ] {
        assert_eq!(flag(text), expected, "{text}");
    }
    let label = |text: &str| {
        let text = format!("global: {{external_labels: {{a: {text}}}}}");
        let config = load_text(&text).unwrap();
        config
            .global
            .external_labels
            .get("a")
            .unwrap_or_default()
            .to_owned()
    };
    for (text, expected) in [
        ("yes", "yes"),
        ("012", "012"),
        ("1.10", "1.10"),
        ("2020-01-01", "2020-01-01"),
        ("~", ""),
        ("null", ""),
        ("\"null\"", "null"),
        ("'a''b'", "a'b"),
    ] {
        assert_eq!(label(text), expected, "{text}");
    }
}
