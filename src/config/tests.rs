//! Whole configurations: verdicts beside those of the real promtool.

use std::path::Path;

use super::{Config, ConfigError, load};

fn load_text(text: &str) -> Result<Config, ConfigError> {
    load(text.as_bytes(), Path::new("prometheus.yml"), &|_| None)
}

/// `testdata/verdicts.txt` holds texts with what promtool 3.5.3 says of each. Where 3.14 is known to
/// say something else the case is marked, and where YAML itself is broken only the beginning counts,
/// for parsers word that differently.
#[test]
fn verdicts_are_those_of_promtool() {
    let corpus = include_str!("testdata/verdicts.txt");
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
            None => found == expected,
        };
        if !same {
            failures.push_str(&format!(
                "{name}\n  expected: {expected}\n  found:    {found}\n"
            ));
        }
    }
    assert!(failures.is_empty(), "{failures}");
    assert!(count > 120, "the corpus was not read: {count}");
}
