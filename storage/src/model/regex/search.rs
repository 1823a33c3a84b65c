//! Patterns that are looked for anywhere in a text: Go's `regexp` as it is, without Prometheus's
//! anchors and with a dot that stops at line breaks.
//!
//! Source: the documentation of Go's `regexp`; `match` and `reReplaceAll` in templates of
//! Prometheus 3.5.3.

use regex_automata::{Input, meta, nfa::thompson::WhichCaptures};

use super::{AUTOMATON_BYTES_MAX, RegexError, push_expanded, syntax};

/// A regular expression with RE2's syntax that matches anywhere in a text.
#[derive(Debug)]
pub struct SearchRegex {
    automaton: meta::Regex,
    names: Vec<String>,
}

impl SearchRegex {
    /// Compiles `pattern`, within the limits of [`Regex::new`](super::Regex::new).
    ///
    /// # Errors
    /// [`RegexError`] when the pattern is not valid RE2 syntax or compiles to something too large.
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        let parsed = syntax::parse(pattern, syntax::LoneDot::NotNewline)?;
        let automaton = meta::Builder::new()
            .configure(
                meta::Config::new()
                    .which_captures(WhichCaptures::All)
                    .nfa_size_limit(Some(AUTOMATON_BYTES_MAX)),
            )
            .build_from_hir(&parsed.hir)
            .map_err(|_| RegexError {
                message: format!("expression too large: `{pattern}`"),
            })?;
        Ok(Self {
            automaton,
            names: parsed.names,
        })
    }

    /// Whether the pattern is found in `text`.
    pub fn is_match(&self, text: &str) -> bool {
        self.automaton.is_match(text)
    }

    /// `text` with every match replaced by `template`, which may refer to groups as in
    /// [`Regex::expand`](super::Regex::expand). `None` when the answer would be longer than
    /// `bytes_max`, or when looking for the matches might take more than `scan_bytes` bytes to be
    /// read, each search reading at worst all that is left of the text. What was read is taken off
    /// `scan_bytes`.
    pub fn replace_all(
        &self,
        text: &str,
        template: &str,
        bytes_max: usize,
        scan_bytes: &mut usize,
    ) -> Option<String> {
        let mut out = String::new();
        let mut captures = self.automaton.create_captures();
        let mut copied = 0;
        let mut start = 0;
        while start <= text.len() {
            *scan_bytes = scan_bytes.checked_sub(text.len() - start + 1)?;
            self.automaton
                .captures(Input::new(text).range(start..), &mut captures);
            let Some(found) = captures.get_match() else {
                break;
            };
            out.push_str(text.get(copied..found.start()).unwrap_or_default());
            // An empty match right behind another one is none.
            if found.end() > copied || found.start() == 0 {
                push_expanded(&mut out, template, &self.names, |index| {
                    let span = captures.get_group(index)?;
                    text.get(span.range())
                });
            }
            copied = found.end();
            if out.len() > bytes_max {
                return None;
            }
            // On by at least a character.
            let next_char = (text.get(start..))
                .and_then(|rest| rest.chars().next())
                .map_or(1, char::len_utf8);
            start = found.end().max(start + next_char);
        }
        out.push_str(text.get(copied..).unwrap_or_default());
        (out.len() <= bytes_max).then_some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pattern, text, template and answer, as `reReplaceAll` of promtool 3.5.3 has them.
    #[test]
    fn every_match_is_replaced_as_in_go() {
        for (pattern, text, template, expected) in [
            ("(.*):.*", "host:80", "$1", "host"),
            ("a*", "baaac", "x", "xbxcx"),
            ("", "abc", "-", "-a-b-c-"),
            ("^", "aé", "-", "-aé"),
            (r"\b", "a b", "|", "|a| |b|"),
            ("b+|$", "abbab", "<$0>", "a<bb>a<b>"),
            ("(a)(?P<x>b)?", "aab", "[$1$x]", "[a][ab]"),
            (".", "a\nb", "x", "x\nx"),
            ("z", "abc", "x", "abc"),
        ] {
            assert_eq!(
                SearchRegex::new(pattern)
                    .unwrap()
                    .replace_all(text, template, 100, &mut 100)
                    .as_deref(),
                Some(expected),
                "{pattern} in {text:?}"
            );
        }
    }

    #[test]
    fn an_answer_that_grows_too_long_or_takes_too_long_is_none() {
        let regex = SearchRegex::new("a").unwrap();
        let replace = |bytes_max, scan_bytes| {
            regex.replace_all("aaaa", "$0$0", bytes_max, &mut { scan_bytes })
        };
        assert_eq!(replace(8, 15).as_deref(), Some("aaaaaaaa"));
        assert_eq!(replace(7, 15), None);
        // Five searches: of 5, 4, 3, 2 bytes and 1, the end of the text counted.
        assert_eq!(replace(8, 14), None);
    }

    #[test]
    fn matches_are_found_anywhere() {
        let regex = SearchRegex::new("b.d").unwrap();
        assert!(regex.is_match("abcde"));
        assert!(!regex.is_match("ab\nde"));
    }
}
