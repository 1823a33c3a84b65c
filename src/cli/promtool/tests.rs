//! Whole command lines: what is printed where, and the exit code. Expected texts were taken from
//! promtool 3.5.3, apart from the WARNING lines about what is not built.

use std::{ffi::OsString, fs, path::Path};

use expect_test::{Expect, expect};

/// Runs a command line with `$D` for `folder`; what it says on both streams, and its exit code.
fn run(folder: &Path, line: &str) -> (String, String, u8) {
    let folder = folder.display().to_string();
    let arguments: Vec<OsString> = line
        .split_whitespace()
        .map(|word| word.replace("$D", &folder).into())
        .collect();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = super::run(&arguments, &mut out, &mut err);
    let text = |bytes| String::from_utf8(bytes).unwrap().replace(&folder, "$D");
    (text(out), text(err), code)
}

/// Runs a command line with `$D` for `folder` and compares everything it says.
fn check(folder: &Path, line: &str, expected: &Expect) {
    let (out, err, code) = run(folder, line);
    expected.assert_eq(&format!("{out}--- stderr\n{err}--- exit {code}\n"));
}

#[test]
fn check_config_prints_what_promtool_prints() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write(
        "plain.yml",
        "scrape_configs: [{job_name: a, scrape_interval: 6m}]\n",
    );
    check(
        folder.path(),
        "check config $D/plain.yml",
        &expect![[r"
        Checking $D/plain.yml
         SUCCESS: $D/plain.yml is valid prometheus config file syntax

        --- stderr
        --- exit 0
    "]],
    );
    check(
        folder.path(),
        "check config --lint=too-long-scrape-interval --lint-fatal $D/plain.yml",
        &expect![[r"
            Checking $D/plain.yml
             SUCCESS: $D/plain.yml is valid prometheus config file syntax

            --- stderr
              FAILED: too long scrape interval found, data point will be marked as stale - job: a, interval: 6m
            --- exit 3
        "]],
    );
    write(
        "bad.yml",
        "scrape_configs:\n- job_name: a\n  metrics_paht: /x\n",
    );
    check(
        folder.path(),
        "check config $D/bad.yml $D/plain.yml",
        &expect![[r"
        Checking $D/bad.yml

        Checking $D/plain.yml
         SUCCESS: $D/plain.yml is valid prometheus config file syntax

        --- stderr
          FAILED: parsing YAML file $D/bad.yml: yaml: unmarshal errors:
          line 3: field metrics_paht not found in type config.ScrapeConfig
          --> $D/bad.yml:3:3
          |
        3 |   metrics_paht: …
          |   ^
        --- exit 1
    "]],
    );
    write("rules.yml", "groups: []\n");
    write(
        "files.yml",
        "rule_files: [rules.yml]\nscrape_configs: [{job_name: a, file_sd_configs: [{files: ['sd/*.json']}], dns_sd_configs: [{names: [x]}]}]\n",
    );
    check(
        folder.path(),
        "check config $D/files.yml",
        &expect![[r#"
        Checking $D/files.yml
          WARNING: file "$D/sd/*.json" for file_sd in scrape job "a" does not exist
          WARNING: the server does not start with it: *_sd_configs (dns_sd_configs of job "a") is not supported yet: only static_configs and file_sd_configs find targets yet: write the targets to a file and name it under file_sd_configs, it is watched
          SUCCESS: 1 rule files found
         SUCCESS: $D/files.yml is valid prometheus config file syntax

        Checking $D/rules.yml
          SUCCESS: 0 rules found

        --- stderr
        --- exit 0
    "#]],
    );
    check(
        folder.path(),
        "check config --agent $D/files.yml",
        &expect![[r"
        Checking $D/files.yml

        --- stderr
          FAILED: field rule_files is not allowed in agent mode
        --- exit 1
    "]],
    );
    fs::remove_file(folder.path().join("rules.yml")).unwrap();
    check(
        folder.path(),
        "check config $D/files.yml",
        &expect![[r#"
        Checking $D/files.yml

        --- stderr
          FAILED: "$D/rules.yml" does not point to an existing file
        --- exit 1
    "#]],
    );
    fs::create_dir(folder.path().join("sd")).unwrap();
    write("sd/a.json", r#"[{"targets":["a:1"],"foo":1}]"#);
    write("rules.yml", "groups: []\n");
    check(
        folder.path(),
        "check config $D/files.yml",
        &expect![[r#"
        Checking $D/files.yml

        --- stderr
          FAILED: checking SD file "$D/sd/*.json": json: unknown field "foo"
        --- exit 1
    "#]],
    );
    check(
        folder.path(),
        "check config --syntax-only $D/files.yml",
        &expect![[r#"
        Checking $D/files.yml
          WARNING: the server does not start with it: *_sd_configs (dns_sd_configs of job "a") is not supported yet: only static_configs and file_sd_configs find targets yet: write the targets to a file and name it under file_sd_configs, it is watched
         SUCCESS: $D/files.yml is valid prometheus config file syntax

        --- stderr
        --- exit 0
    "#]],
    );
}

/// Rules of which two are there twice, beside a file with errors and one with an unknown key.
fn write_rule_files(folder: &Path) {
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    write(
        "ok.yml",
        "groups: [{name: g, rules: [{record: 'a:b', expr: sum(x)}]}]\n",
    );
    write(
        "twice.yml",
        "groups:
- name: g
  labels: {team: a}
  rules:
  - {record: 'a:b', expr: sum(x), labels: {z: '1', b: '2'}}
  - {record: 'a:b', expr: sum(y), labels: {z: '1', b: '2'}}
  - {alert: Down, expr: x < 5}
- name: h
  rules:
  - {alert: Down, expr: x < 7}
  - {alert: Down, expr: x < 8}
",
    );
    write(
        "bad.yml",
        "groups:
- name: g
  rules:
  - record: a:b
    expr: sum(x
  - alert: Down
    expr: x < 5)
",
    );
    write(
        "unknown.yml",
        "groups: [{name: g, foo: 1, rules: [{alert: A, expr: x}]}]\n",
    );
}

#[test]
fn check_rules_prints_what_promtool_prints_and_shows_each_place() {
    let folder = tempfile::tempdir().unwrap();
    write_rule_files(folder.path());
    check(
        folder.path(),
        "check rules $D/ok.yml $D/twice.yml",
        &expect![[r"
            Checking $D/ok.yml
              SUCCESS: 1 rules found

            Checking $D/twice.yml

            --- stderr
              FAILED:
            lint error 2 duplicate rule(s) found.
            Metric: Down
            Label(s):
            Metric: a:b
            Label(s):
            	b: 2
            	z: 1
            Might cause inconsistency while recording expressions
            --- exit 0
        "]],
    );
    check(
        folder.path(),
        "check rules --lint=none --lint-fatal $D/twice.yml",
        &expect![[r"
            Checking $D/twice.yml
              SUCCESS: 5 rules found

            --- stderr
            --- exit 0
        "]],
    );
    check(
        folder.path(),
        "check rules --lint-fatal --lint=foo,all $D/twice.yml",
        &expect![[r#"
            WARNING: unknown lint option: "foo"
            Checking $D/twice.yml

            --- stderr
              FAILED:
            lint error 2 duplicate rule(s) found.
            Metric: Down
            Label(s):
            Metric: a:b
            Label(s):
            	b: 2
            	z: 1
            Might cause inconsistency while recording expressions
            --- exit 3
        "#]],
    );
    check(
        folder.path(),
        "check rules --lint-fatal $D/bad.yml $D/unknown.yml $D/ok.yml",
        &expect![[r#"
            Checking $D/bad.yml
            Checking $D/unknown.yml
            Checking $D/ok.yml
              SUCCESS: 1 rules found

            --- stderr
              FAILED:
            $D/bad.yml: 5:11: group "g", rule 1, "a:b": could not parse expression: 1:6: parse error: unclosed left parenthesis
              --> $D/bad.yml:5:11
              |
            5 |     expr: sum(x
              |           ^
            $D/bad.yml: 7:11: group "g", rule 2, "Down": could not parse expression: 1:7: parse error: unexpected right parenthesis ')'
              --> $D/bad.yml:7:11
              |
            7 |     expr: x < 5)
              |           ^
              FAILED:
            $D/unknown.yml: yaml: unmarshal errors:
              line 1: field foo not found in type rulefmt.RuleGroup
              --> $D/unknown.yml:1:20
              |
            1 | groups: [{name: g, foo: 1, rules: [{alert: A, expr: x}]}]
              |                    ^
            --- exit 1
        "#]],
    );
    check(
        folder.path(),
        "check rules --ignore-unknown-fields $D/unknown.yml",
        &expect![[r"
            Checking $D/unknown.yml
              SUCCESS: 1 rules found

            --- stderr
            --- exit 0
        "]],
    );
    check(
        folder.path(),
        "check rules $D",
        &expect![[r"
            --- stderr
            promtool: error: '$D' is a directory, try --help
            --- exit 1
        "]],
    );
}

#[test]
fn check_config_checks_its_rule_files() {
    let folder = tempfile::tempdir().unwrap();
    write_rule_files(folder.path());
    let config = "rule_files: [bad.yml, twice.yml]\n";
    fs::write(folder.path().join("prometheus.yml"), config).unwrap();
    let checked = |line: &str| {
        let (out, err, code) = run(folder.path(), line);
        let lines = out.split_inclusive('\n');
        let shown: String = lines.filter(|line| !line.contains("WARNING")).collect();
        (shown, err, code)
    };
    let (out, err, code) = checked("check config --lint-fatal $D/prometheus.yml");
    expect![[r#"
        Checking $D/prometheus.yml
          SUCCESS: 2 rule files found
         SUCCESS: $D/prometheus.yml is valid prometheus config file syntax

        Checking $D/bad.yml
        Checking $D/twice.yml

        --- stderr
          FAILED:
        $D/bad.yml: 5:11: group "g", rule 1, "a:b": could not parse expression: 1:6: parse error: unclosed left parenthesis
          --> $D/bad.yml:5:11
          |
        5 |     expr: sum(x
          |           ^
        $D/bad.yml: 7:11: group "g", rule 2, "Down": could not parse expression: 1:7: parse error: unexpected right parenthesis ')'
          --> $D/bad.yml:7:11
          |
        7 |     expr: x < 5)
          |           ^
          FAILED:
        lint error 2 duplicate rule(s) found.
        Metric: Down
        Label(s):
        Metric: a:b
        Label(s):
        	b: 2
        	z: 1
        Might cause inconsistency while recording expressions
    "#]]
    .assert_eq(&format!("{out}--- stderr\n{err}"));
    assert_eq!(code, 1);
    let config = "rule_files: [unknown.yml, twice.yml]\n";
    fs::write(folder.path().join("prometheus.yml"), config).unwrap();
    let code = |line: &str| checked(line).2;
    assert_eq!(code("check config $D/prometheus.yml"), 1);
    assert_eq!(
        code("check config --ignore-unknown-fields $D/prometheus.yml"),
        0
    );
    assert_eq!(
        code("check config --ignore-unknown-fields --lint-fatal $D/prometheus.yml"),
        3
    );
    assert_eq!(
        code("check config --ignore-unknown-fields --lint-fatal --lint=none $D/prometheus.yml"),
        0
    );
}

#[test]
fn check_config_looks_at_targets_as_they_are_relabelled() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("empty.json", r#"[{"targets": ["a:1", ""]}]"#);
    let timeout = "{targets: ['a:1', 'b:1'], labels: {__scrape_timeout__: 2h}}";
    for (name, job) in [
        (
            "static",
            format!("static_configs: [{{targets: ['a:1']}}, {timeout}]"),
        ),
        ("files", "file_sd_configs: [{files: [empty.json]}]".to_owned()),
        (
            "relabelled",
            "static_configs: [{targets: ['a:1', 'b:1']}]\n  relabel_configs: [{source_labels: [__address__], \
             regex: b.*, target_label: __address__, replacement: http://b}]"
                .to_owned(),
        ),
        (
            "dropped",
            "static_configs: [{targets: ['']}]\n  relabel_configs: [{action: drop}]".to_owned(),
        ),
    ] {
        let text = format!("scrape_configs:\n- job_name: y\n  {job}\n");
        write(&format!("{name}.yml"), &text);
    }
    write(
        "alertmanager.yml",
        "alerting:\n  alertmanagers:\n  - static_configs: [{targets: ['a:1']}]\n    relabel_configs: \
         [{target_label: __address__, replacement: http://b}]\n",
    );
    check(
        folder.path(),
        "check config $D/static.yml $D/files.yml $D/relabelled.yml $D/alertmanager.yml $D/dropped.yml",
        &expect![[r#"
            Checking $D/static.yml

            Checking $D/files.yml

            Checking $D/relabelled.yml

            Checking $D/alertmanager.yml

            Checking $D/dropped.yml
             SUCCESS: $D/dropped.yml is valid prometheus config file syntax

            --- stderr
              FAILED: instance 0 in group 1: scrape timeout cannot be greater than scrape interval ("2h" > "1m")
              FAILED: instance 1 in group : no address
              FAILED: instance 1 in group 0: "http://b" is not a valid hostname
              FAILED: "http://b" is not a valid hostname
            --- exit 1
        "#]],
    );
    check(
        folder.path(),
        "check config --syntax-only $D/static.yml $D/files.yml",
        &expect![[r#"
            Checking $D/static.yml

            Checking $D/files.yml
             SUCCESS: $D/files.yml is valid prometheus config file syntax

            --- stderr
              FAILED: instance 0 in group 1: scrape timeout cannot be greater than scrape interval ("2h" > "1m")
            --- exit 1
        "#]],
    );
}

/// Which lints of `check config` run: streams and exit codes of promtool 3.5.3.
#[test]
fn lints_are_chosen_as_in_promtool() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write(
        "lint.yml",
        "scrape_configs: [{job_name: a, scrape_interval: 4m}, {job_name: b, scrape_interval: 5m}, {job_name: c, scrape_interval: 1h}]\nrule_files: [twice.yml]\n",
    );
    write(
        "twice.yml",
        "groups: [{name: g, rules: [{record: r, expr: '1'}, {record: r, expr: '2'}]}]\n",
    );
    let config = folder.path().join("lint.yml").display().to_string();
    let run = |flags: &str| {
        let words = ["check", "config"].into_iter().chain(flags.split('|'));
        let words = words
            .filter(|word| !word.is_empty())
            .chain([config.as_str()]);
        let words: Vec<OsString> = words.map(Into::into).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = super::run(&words, &mut out, &mut err);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(out), text(err), code)
    };
    let folder = folder.path().display();
    let check = |flags: &str, unknown: &str, interval: &str, finds_rules: bool, code: u8| {
        let rules = if finds_rules {
            ""
        } else {
            "  SUCCESS: 2 rules found\n"
        };
        let out = format!(
            "{unknown}Checking {folder}/lint.yml\n  SUCCESS: 1 rule files found\n SUCCESS: {folder}/lint.yml is valid prometheus config file syntax\n\nChecking {folder}/twice.yml\n{rules}\n"
        );
        let mut err = String::new();
        if !interval.is_empty() {
            err = format!(
                "  FAILED: too long scrape interval found, data point will be marked as stale - job: {interval}\n"
            );
        }
        if finds_rules {
            err += "  FAILED:\nlint error 1 duplicate rule(s) found.\nMetric: r\nLabel(s):\nMight cause inconsistency while recording expressions\n";
        }
        assert_eq!(run(flags), (out, err, code), "{flags}");
    };
    let unknown = |name: &str| format!("WARNING: unknown lint option: \"{name}\"\n");
    check("", "", "", true, 0);
    check("--lint-fatal", "", "", true, 3);
    check("--no-lint-fatal|--lint=all", "", "b, interval: 5m", true, 0);
    check("--lint-fatal|--lint|all", "", "b, interval: 5m", true, 3);
    let long = "--lint-fatal|--lint=too-long-scrape-interval";
    check(long, "", "b, interval: 5m", false, 3);
    let both = "--lint=too-long-scrape-interval,duplicate-rules";
    check(both, "", "b, interval: 5m", true, 0);
    check("--lint-fatal|--lint=duplicate-rules", "", "", true, 3);
    for none in ["none", "all,none", "none,all", "foo,none", ",none"] {
        check(&format!("--lint-fatal|--lint={none}"), "", "", false, 0);
    }
    check("--lint=", &unknown(""), "", false, 0);
    check("--lint=foo", &unknown("foo"), "", false, 0);
    check("--lint= all,duplicate-rules", &unknown(" all"), "", true, 0);
    for (lookback, interval) in [
        ("1m", "a, interval: 4m"),
        ("+5m", "b, interval: 5m"),
        ("5m0.1s", "c, interval: 1h"),
        ("1d", ""),
        ("0", ""),
        ("-5m", ""),
    ] {
        let flags = format!("{long}|--query.lookback-delta={lookback}");
        let code = if interval.is_empty() { 0 } else { 3 };
        check(&flags, "", interval, false, code);
    }
    for (flags, error) in [
        ("--lint-fatal=true", "path 'true' does not exist"),
        ("--lint-fatal=", "path '' does not exist"),
        ("--lint=all|--lint=none", "flag 'lint' cannot be repeated"),
        ("--query.lookback-delta=x", "time: invalid duration \"x\""),
        ("--foo", "unknown long flag '--foo'"),
        (".", "'.' is a directory"),
    ] {
        let err = format!("promtool: error: {error}, try --help\n");
        assert_eq!(run(flags), (String::new(), err, 1), "{flags}");
    }
}

#[test]
fn wrong_command_lines_are_refused_in_promtools_words() {
    let refused = |line: &str, expected: &str| {
        let arguments: Vec<OsString> = line.split_whitespace().map(Into::into).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = super::run(&arguments, &mut out, &mut err);
        assert_eq!(
            (
                String::from_utf8(out).unwrap().as_str(),
                String::from_utf8(err).unwrap().as_str(),
                code
            ),
            ("", format!("{expected}\n").as_str(), 1),
            "{line}"
        );
    };
    refused(
        "check",
        "promtool: error: must select a subcommand of 'check', try --help",
    );
    refused(
        "check foo",
        "promtool: error: expected command but got \"foo\", try --help",
    );
    refused(
        "foo",
        "promtool: error: expected command but got \"foo\", try --help",
    );
    refused(
        "check ready --foo",
        "promtool: error: unknown long flag '--foo', try --help",
    );
    refused(
        "check config",
        "promtool: error: required argument 'config-files' not provided, try --help",
    );
    refused(
        "check config nonexist.yml",
        "promtool: error: path 'nonexist.yml' does not exist, try --help",
    );
    refused(
        "check ready --url=127.0.0.1:1",
        "promtool: error: invalid URL: parse \"127.0.0.1:1\": first path segment in URL cannot contain colon, try --help",
    );
    refused(
        "check healthy --url http://127.0.0.1:1",
        "Get \"http://127.0.0.1:1/-/healthy\": dial tcp 127.0.0.1:1: connect: connection refused",
    );
    refused(
        "tsdb list",
        "promtool tsdb list is not built yet: use Prometheus's promtool for it",
    );
    refused(
        "promql format sum(",
        "1:5: parse error: unclosed left parenthesis",
    );
}

/// Test files of `rules/tests/corpus/unit_tests` against what promtool 3.5.3 said of them in that
/// folder: `NAME.said`, or `NAME.FLAG.said` with a flag.
#[test]
fn rule_tests_say_what_promtool_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules/tests/corpus/unit_tests");
    let mut checked = 0;
    let mut wrong = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let Some(name) = name.strip_suffix(".said") else {
            continue;
        };
        let (test, flag) = name.split_once('.').unwrap_or((name, ""));
        let test = folder.join(format!("{test}.yml"));
        let mut arguments: Vec<OsString> = vec!["test".into(), "rules".into(), test.into()];
        if !flag.is_empty() {
            arguments.push(format!("--{flag}").into());
        }
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = super::run(&arguments, &mut out, &mut err);
        let text = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).unwrap();
            let text = text.replace(&format!("{}/", folder.display()), "");
            let timeless =
                text.split_inclusive('\n')
                    .map(|line| match line.split_once("finished, took ") {
                        Some((start, _)) => format!("{start}finished, took T\n"),
                        None => line.to_owned(),
                    });
            timeless.collect::<String>()
        };
        let said = format!("{}--- stderr\n{}--- exit {code}\n", text(out), text(err));
        let expected = fs::read_to_string(&path).unwrap();
        checked += 1;
        if said != expected {
            wrong.push(format!("{name}: expected\n{expected}said\n{said}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "{}", wrong.join("\n"));
    assert!(checked >= 30, "only {checked} files were found");
}

#[test]
fn a_junit_file_is_promtools() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write(
        "a.yml",
        "tests:\n- {name: \"a<'&\\t\\\"\", promql_expr_test: [{expr: '1'}]}\n- {name: good}\n",
    );
    write("b.yml", "foo: 1\n");
    check(
        folder.path(),
        "test rules --junit=$D/junit.xml $D/a.yml $D/b.yml",
        &expect![[r#"




            --- stderr
              FAILED:
                expr: "1", time: 0s,
                    exp: nil
                    got: {} 1E+00
              FAILED:
            yaml: unmarshal errors:
              line 1: field foo not found in type main.unitTestFile
            --- exit 1
        "#]],
    );
    let written = fs::read_to_string(folder.path().join("junit.xml")).unwrap();
    let mut shown = written.replace(&folder.path().display().to_string(), "$D");
    let start = shown.find("timestamp=\"2").unwrap() + "timestamp=\"".len();
    shown.replace_range(start..start + "2026-11-21T09:31:18".len(), "TIME");
    assert_eq!(
        shown,
        "<testsuites><testsuite name=\"$D/a.yml\" tests=\"2\" failures=\"1\" errors=\"0\" skipped=\"0\" timestamp=\"TIME\"><testcase name=\"a&lt;&#39;&amp;&#x9;&#34;\"><failure>    expr: &#34;1&#34;, time: 0s,&#xA;        exp: nil&#xA;        got: {} 1E+00</failure></testcase><testcase name=\"good\"></testcase></testsuite><testsuite name=\"$D/b.yml\" tests=\"1\" failures=\"0\" errors=\"1\" skipped=\"0\" timestamp=\"\"><testcase name=\"unknown\"><error>yaml: unmarshal errors:&#xA;  line 1: field foo not found in type main.unitTestFile</error></testcase></testsuite></testsuites>"
    );
}

#[test]
fn scripts_have_a_line_a_file_and_each_failure_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("good.test", "eval instant at 0 1+1\n  2\n");
    write("bad.test", "# a comment\neval instant at 0 1+1\n  3\n");
    let deviation = "load 1m\n  a 1 2\n\neval instant at 1m mad_over_time(a[2m])\n  {} 0.5\n";
    write("deviation.test", deviation);
    check(
        folder.path(),
        "promql test $D/good.test $D/bad.test $D/missing.test --enable-feature=all $D/deviation.test",
        &expect![[r"
            $D/good.test: 1/1
            $D/bad.test: 0/1
            $D/missing.test: No such file or directory (os error 2)
            $D/deviation.test: 1/1

            $D/bad.test:2: 1+1
              expected: the scalar 3 was expected
              got: 2
            --- stderr
            --- exit 1
        "]],
    );
    // Without the flag everything is on, with it what it names.
    check(
        folder.path(),
        "promql test $D/good.test $D/deviation.test",
        &expect![[r"
            $D/good.test: 1/1
            $D/deviation.test: 1/1
            --- stderr
            --- exit 0
        "]],
    );
    check(
        folder.path(),
        "--enable-feature=promql-delayed-name-removal promql test $D/deviation.test",
        &expect![[r#"
            $D/deviation.test: 0/1

            $D/deviation.test:4: mad_over_time(a[2m])
              expected: an answer
              got: 1:1: parse error: function "mad_over_time" is not enabled
            --- stderr
            --- exit 1
        "#]],
    );
    check(
        folder.path(),
        "promql test",
        &expect![[r"
            --- stderr
            promtool: error: required argument 'script' not provided, try --help
            --- exit 1
        "]],
    );
}
