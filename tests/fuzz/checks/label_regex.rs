//! Patterns of label matchers: a pattern matches the same texts in brackets and as one alternative of
//! two, whichever way of matching that takes, and its literals match.
//!
//! The input is the pattern, and after a newline a text to match.

use narthex_storage::Regex;

pub(super) fn check(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let (pattern, probe) = text.split_once('\n').unwrap_or((&text, ""));
    let Ok(regex) = Regex::new(pattern) else {
        return false;
    };
    let mut probes = vec![String::new(), probe.to_owned(), pattern.to_owned()];
    if let Some(literals) = regex.literals() {
        for literal in &literals {
            assert!(regex.is_match(literal), "{pattern:?} lists {literal:?}");
        }
        probes.extend(literals.into_iter().take(10).map(str::to_owned));
    }
    let bracketed = Regex::new(&format!("(?:{pattern})"));
    let longer = Regex::new(&format!("(?:{pattern})|(?:{pattern})z"));
    for other in [bracketed, longer].into_iter().flatten() {
        for probe in &probes {
            let (expected, found) = (regex.is_match(probe), other.is_match(probe));
            assert!(
                found == expected || (found && probe.ends_with('z')),
                "{pattern:?} and {:?} differ on {probe:?}",
                other.as_str()
            );
        }
    }
    for probe in &probes {
        let expanded = regex.expand(probe, "$0-${1}-$$");
        assert_eq!(expanded.is_some(), regex.is_match(probe));
    }
    true
}
