//! Rule files against recorded verdicts: beside each `corpus/*.yml` lies what `promtool check rules`
//! of Prometheus 3.5.3 said of it.

#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]
#![expect(clippy::format_push_string, reason = "what a test prints is short")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use narthex_rules::{FileOptions, parse_rule_file};
use proptest::prelude::*;

/// What promtool said: how many rules, or the errors in its order.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Rules(usize),
    Errors(Vec<String>),
}

fn recorded(name: &str, text: &str) -> Verdict {
    if let Some((_, rest)) = text.split_once("SUCCESS: ") {
        let count = rest.split_whitespace().next().unwrap();
        return Verdict::Rules(count.parse().unwrap());
    }
    let start = format!("{name}.yml: ");
    let mut errors: Vec<String> = Vec::new();
    for line in text.lines().skip(2) {
        if line.starts_with(&start) {
            errors.push(line.to_owned());
        } else {
            let error = errors.last_mut().expect("errors begin with the file");
            error.push('\n');
            error.push_str(line);
        }
    }
    // What does not decode is said twice upstream, the second time with the types of nodes.
    if errors.len() == 2 && !errors[0].contains("group") {
        errors.truncate(1);
    }
    if errors.len() == 2 && errors[0].contains("yaml: unmarshal errors") {
        errors.truncate(1);
    }
    // Labels and annotations come in no order upstream.
    errors.sort();
    Verdict::Errors(errors)
}

/// Where our words differ: those of another YAML parser, which also counts lines from 1 there, a tag
/// that contradicts its value, and 3.14's message about a duration that is missing.
const OTHER_WORDS: [(&str, &str, &str); 6] = [
    (
        "bad_badindent",
        "yaml: line 1: did not find expected '-' indicator",
        "yaml: line 3: did not find expected '-' indicator",
    ),
    (
        "bad_mixed",
        "yaml: line 1: did not find expected '-' indicator",
        "yaml: line 3: did not find expected '-' indicator",
    ),
    (
        "bad_bare_quote",
        "yaml: line 2: found unexpected end of stream",
        "yaml: line 3: found unexpected end of stream",
    ),
    (
        "bad_unclosed",
        "yaml: line 1: did not find expected node content",
        "yaml: line 2: \"-\" is only valid inside a block",
    ),
    (
        "bad_tag",
        "yaml: cannot decode !!str `a` as a !!int",
        "yaml: unmarshal errors:\n  line 3: cannot unmarshal !!str `5` into int\n  line 4: cannot unmarshal !!map into []rulefmt.Rule",
    ),
    (
        "bad_expr_types",
        "expected number or duration",
        "expected number, duration, step(), or range()",
    ),
];

/// The files of the corpus.
fn corpus() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yml"))
        .collect();
    paths.sort();
    paths
}

#[test]
fn files_are_judged_as_promtool_judges_them() {
    let mut count = 0;
    let mut wrong = String::new();
    for path in corpus() {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let bytes = fs::read(&path).unwrap();
        let shown = format!("{name}.yml");
        let verdict = fs::read_to_string(path.with_extension("verdict")).unwrap();
        let other = OTHER_WORDS.iter().find(|(file, _, _)| *file == name);
        let verdict = match other {
            Some((_, theirs, ours)) => verdict.replace(theirs, ours),
            None => verdict,
        };
        let expected = recorded(name, &verdict);
        let got = match parse_rule_file(Path::new(&shown), &bytes, &FileOptions::default()) {
            Ok(file) => Verdict::Rules(file.rule_count()),
            Err(errors) => {
                let errors = errors.errors().iter();
                let mut errors: Vec<String> =
                    errors.map(|error| error.message().to_owned()).collect();
                errors.sort();
                Verdict::Errors(errors)
            }
        };
        if got != expected {
            wrong += &format!("{name}:\n got      {got:?}\n expected {expected:?}\n");
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(count > 60, "only {count} files");
}

#[test]
fn errors_show_the_place_and_its_line() {
    let text = "groups:
- name: a
  rules:
  - alert: A
    expr: sum(
    labels: {__name__: b}
  - record: r
    expr: up
    for: 1m
";
    let errors =
        parse_rule_file(Path::new("r.yml"), text.as_bytes(), &FileOptions::default()).unwrap_err();
    expect_test::expect![[r#"
        r.yml: 5:11: group "a", rule 1, "A": could not parse expression: 1:5: parse error: unclosed left parenthesis
          --> r.yml:5:11
          |
        5 |     expr: sum(
          |           ^
        r.yml: group "a", rule 1, "A": invalid label name: __name__
          --> r.yml:6:14
          |
        6 |     labels: {__name__: b}
          |              ^
        r.yml: 7:13: group "a", rule 2, "r": invalid field 'for' in recording rule
          --> r.yml:7:13
          |
        7 |   - record: r
          |             ^"#]]
    .assert_eq(&errors.to_string());
}

#[test]
fn nesting_without_end_is_refused() {
    for opening in ["[", "{a: ", "- "] {
        let text = format!("groups: {}", opening.repeat(50_000));
        let errors = parse_rule_file(Path::new("r.yml"), text.as_bytes(), &FileOptions::default())
            .unwrap_err();
        assert_eq!(errors.errors().len(), 1, "{opening}");
    }
}

fn cases() -> ProptestConfig {
    let cases = std::env::var("NARTHEX_PROPTEST_CASES");
    ProptestConfig::with_cases(cases.ok().and_then(|text| text.parse().ok()).unwrap_or(256))
}

proptest! {
    #![proptest_config(cases())]

    /// Files with lines doubled, dropped, moved in and out, and bytes changed: whatever comes out,
    /// every error tells its place within the file.
    #[test]
    fn damaged_files_are_refused_with_a_place(
        file in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..6u8, any::<u8>()), 1..4),
    ) {
        let paths = corpus();
        let text = fs::read_to_string(file.get(&paths)).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for (place, kind, byte) in edits {
            if lines.is_empty() {
                break;
            }
            let index = place.index(lines.len());
            match kind {
                0 => { lines.remove(index); }
                1 => lines.insert(index, lines[index].clone()),
                2 => lines[index].insert_str(0, "  "),
                3 => lines[index] = lines[index].trim_start().to_owned(),
                4 => lines[index].push(char::from(byte)),
                _ => {
                    let key = lines[index].replacen(':', "", 1);
                    lines[index] = key;
                }
            }
        }
        let text = lines.join("\n");
        if let Err(errors) = parse_rule_file(Path::new("r.yml"), text.as_bytes(), &FileOptions::default()) {
            prop_assert!(!errors.errors().is_empty());
            for error in errors.errors() {
                let shown = error.to_string();
                prop_assert!(shown.starts_with("r.yml: "), "{shown}");
                prop_assert!(shown.contains("--> r.yml:") || shown.contains("yaml: "), "{shown}");
            }
        }
    }
}
