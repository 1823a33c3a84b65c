//! Regular expressions with RE2's syntax and Prometheus's anchoring: `^(?s:…)$`.
//!
//! Matching takes the cheapest of three ways: a hash set for finite lists of texts, plain searches
//! for text around `.*`, and an automaton of `regex-automata` for the rest. All of them take time
//! linear in the text.
//!
//! Source: Prometheus's label matchers and relabelling; Go's `regexp` for [`Regex::expand`].

mod literals;
mod search;
mod syntax;

pub use search::SearchRegex;

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use regex_automata::{Anchored, Input, meta, nfa::thompson::WhichCaptures};
use regex_syntax::hir::{Hir, Look};

use super::affix::has_prefix;

/// Most bytes that the automaton of one pattern may take; lazily built parts are bounded apart.
const AUTOMATON_BYTES_MAX: usize = 16 << 20;

/// A fully anchored regular expression in which a dot matches newlines. Cloning is cheap.
#[derive(Clone)]
pub struct Regex(Arc<Compiled>);

struct Compiled {
    pattern: String,
    matching: Matching,
    /// Automaton with capture groups and their names, built when a template is first expanded.
    captures: OnceLock<Option<(meta::Regex, Vec<String>)>>,
}

enum Matching {
    Set(literals::Set),
    Globs(literals::Globs),
    Automaton {
        /// Every match begins with it.
        prefix: String,
        automaton: meta::Regex,
    },
}

/// A pattern that is not valid RE2 syntax, or too large.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {message}")]
pub struct RegexError {
    /// What is wrong, in Go's words where they are known.
    pub message: String,
}

impl Regex {
    /// Compiles `pattern`. Nesting ends at 998 levels, repeat counts and the products of nested
    /// ones at 1,000, the automaton at 16 MiB.
    ///
    /// # Errors
    /// [`RegexError`] when the pattern is not valid RE2 syntax or compiles to something too large.
    pub fn new(pattern: &str) -> Result<Self, RegexError> {
        Self::compiled(pattern, syntax::parse(pattern, syntax::LoneDot::AnyChar)?)
    }

    /// As [`Regex::new`], of a pattern that Prometheus reads between parentheses, as it does in `label_replace` and
    /// in relabelling: they must not be quoted by an open `\Q`.
    ///
    /// # Errors
    /// As [`Regex::new`].
    pub fn enclosed(pattern: &str) -> Result<Self, RegexError> {
        let parsed = syntax::parse(pattern, syntax::LoneDot::AnyChar)?;
        if parsed.ends_quoted {
            return Err(RegexError {
                message: format!("missing closing ): `{pattern}`"),
            });
        }
        Self::compiled(pattern, parsed)
    }

    fn compiled(pattern: &str, parsed: syntax::Parsed) -> Result<Self, RegexError> {
        let hir = parsed.hir;
        let matching = if let Some(set) = literals::set(&hir) {
            Matching::Set(set)
        } else if let Some(globs) = literals::Globs::new(&hir) {
            Matching::Globs(globs)
        } else {
            Matching::Automaton {
                prefix: literals::prefix(&hir),
                automaton: compile(hir, WhichCaptures::Implicit).map_err(|_| RegexError {
                    message: format!("expression too large: `{pattern}`"),
                })?,
            }
        };
        Ok(Self(Arc::new(Compiled {
            pattern: pattern.to_owned(),
            matching,
            captures: OnceLock::new(),
        })))
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0.pattern
    }

    /// Whether the whole of `text` matches.
    pub fn is_match(&self, text: &str) -> bool {
        match &self.0.matching {
            Matching::Set(texts) => texts.contains(text),
            Matching::Globs(globs) => globs.is_match(text),
            Matching::Automaton { prefix, automaton } => {
                has_prefix(text.as_bytes(), prefix.as_bytes())
                    && automaton.is_match(Input::new(text).anchored(Anchored::Yes))
            }
        }
    }

    /// The finite list of texts that match, in no order and each once, if the pattern is made of
    /// plain alternatives.
    pub fn literals(&self) -> Option<Vec<&str>> {
        match &self.0.matching {
            Matching::Set(texts) => Some(texts.iter().map(String::as_str).collect()),
            _ => None,
        }
    }

    /// What every text that matches begins with, perhaps empty.
    pub(crate) fn prefix(&self) -> &str {
        match &self.0.matching {
            Matching::Set(_) => "",
            Matching::Globs(globs) => globs.prefix(),
            Matching::Automaton { prefix, .. } => prefix,
        }
    }

    /// `template` with the capture groups of `text` put in; `None` when `text` does not match.
    ///
    /// `$1` and `${1}` stand for a group by number, `$name` and `${name}` by name, `$$` for a dollar
    /// sign. A name is as long as letters, digits and underscores go: `$1x` is the group *named*
    /// `1x`. Groups that are unknown or took no part are empty; a dollar sign with nothing valid
    /// after it stands for itself.
    ///
    /// Source: Go's `Regexp.Expand`.
    pub fn expand(&self, text: &str, template: &str) -> Option<String> {
        if !self.is_match(text) {
            return None;
        }
        if !template.contains('$') {
            return Some(template.to_owned());
        }
        let (automaton, names) = self
            .0
            .captures
            .get_or_init(|| self.compile_captures())
            .as_ref()?;
        let mut captures = automaton.create_captures();
        automaton.captures(Input::new(text).anchored(Anchored::Yes), &mut captures);
        let group = |index: usize| {
            captures
                .get_group(index)
                .and_then(|span| text.get(span.range()))
        };
        let mut out = String::with_capacity(template.len() + text.len());
        push_expanded(&mut out, template, names, group);
        Some(out)
    }

    /// The automaton that finds groups. Its size is not bounded again: it adds a few states a
    /// group to an automaton that was bounded, or to a list of texts no longer than the pattern.
    fn compile_captures(&self) -> Option<(meta::Regex, Vec<String>)> {
        let parsed = syntax::parse(&self.0.pattern, syntax::LoneDot::AnyChar).ok()?;
        let automaton = compile(parsed.hir, WhichCaptures::All).ok()?;
        Some((automaton, parsed.names))
    }
}

fn compile(hir: Hir, which: WhichCaptures) -> Result<meta::Regex, Box<meta::BuildError>> {
    let finds_groups = matches!(which, WhichCaptures::All);
    let limit = (!finds_groups).then_some(AUTOMATON_BYTES_MAX);
    let anchored = Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)]);
    meta::Builder::new()
        .configure(
            meta::Config::new()
                .which_captures(which)
                .nfa_size_limit(limit)
                // These tell whether a text matches, which is known before groups are looked for.
                .dfa(!finds_groups)
                .hybrid(!finds_groups),
        )
        .build_from_hir(&anchored)
        .map_err(Box::new)
}

/// Appends `template` with its references replaced: `group` answers the text of a group by index,
/// `names` are the groups' names by index. See [`Regex::expand`].
fn push_expanded<'t>(
    out: &mut String,
    template: &str,
    names: &[String],
    group: impl Fn(usize) -> Option<&'t str>,
) {
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = reference(rest) {
            rest = after;
            let value = match group_number(name) {
                Some(number) => group(number),
                None => (names.iter().enumerate())
                    .filter(|(_, candidate)| *candidate == name)
                    .find_map(|(index, _)| group(index)),
            };
            out.push_str(value.unwrap_or_default());
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
}

/// The group that a template names after a dollar sign, and what follows.
fn reference(text: &str) -> Option<(&str, &str)> {
    let is_word = |next: char| next == '_' || next.is_alphanumeric();
    let (name, rest) = match text.strip_prefix('{') {
        Some(braced) => {
            let (name, rest) = braced.split_once('}')?;
            (name, rest)
        }
        None => {
            let rest = text.trim_start_matches(is_word);
            (text.strip_suffix(rest)?, rest)
        }
    };
    (!name.is_empty() && name.chars().all(is_word)).then_some((name, rest))
}

/// The number that a group's name is, if it is one: digits without leading zeros.
fn group_number(name: &str) -> Option<usize> {
    if name.len() > 1 && name.starts_with('0') {
        return None;
    }
    if !name.bytes().all(|byte| byte.is_ascii_digit()) || name.len() > 9 {
        return None;
    }
    name.parse().ok()
}

impl fmt::Debug for Regex {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Regex({:?})", self.0.pattern)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn regex(pattern: &str) -> Regex {
        Regex::new(pattern).unwrap()
    }

    /// The way `pattern` is matched, then the sorted texts if they are finite.
    fn way(pattern: &str) -> String {
        let regex = regex(pattern);
        match &regex.0.matching {
            Matching::Set(_) => {
                let mut texts = regex.literals().unwrap();
                texts.sort_unstable();
                format!("{texts:?}")
            }
            Matching::Globs(globs) => format!("globs after {:?}", globs.prefix()),
            Matching::Automaton { prefix, .. } => format!("automaton after {prefix:?}"),
        }
    }

    #[test]
    fn plain_alternatives_become_a_set() {
        for (pattern, expected) in [
            ("", r#"[""]"#),
            ("foo", r#"["foo"]"#),
            ("a|b|c", r#"["a", "b", "c"]"#),
            ("(a|b|)", r#"["", "a", "b"]"#),
            ("foo(bar|baz)", r#"["foobar", "foobaz"]"#),
            ("foo(?:bar|baz)x|y", r#"["foobarx", "foobazx", "y"]"#),
            ("^(?:a|b)$", r#"["a", "b"]"#),
            ("^a$|^b$", r#"["a", "b"]"#),
            ("a.b", r#"automaton after "a""#),
            (r"a\.b", r#"["a.b"]"#),
            (r"\Qa.b\E", r#"["a.b"]"#),
            ("[ab]c", r#"["ac", "bc"]"#),
            ("https?", r#"["http", "https"]"#),
            ("a{2}", r#"automaton after """#),
            (
                "(?i)[0-9]x",
                r#"["0X", "0x", "1X", "1x", "2X", "2x", "3X", "3x", "4X", "4x", "5X", "5x", "6X", "6x", "7X", "7x", "8X", "8x", "9X", "9x"]"#,
            ),
            ("a^b", r#"automaton after "a""#),
            (".*", r#"globs after """#),
            ("foo.*", r#"globs after "foo""#),
            (".*foo.*(.*)bar", r#"globs after """#),
            ("foo.+", r#"globs after "foo""#),
            ("(foo|fob).*|for", r#"globs after "fo""#),
            ("é.*|è.+", r#"globs after """#),
            ("[a-f]x.{2,}", r#"globs after """#),
            ("[a-z].*", r#"automaton after """#),
            ("(?-s).*", r#"automaton after """#),
            ("[a-z][a-z][a-z]", r#"automaton after """#),
        ] {
            assert_eq!(way(pattern), expected, "of {pattern}");
        }
    }

    #[test]
    fn matches_are_anchored_and_dots_take_newlines() {
        for (pattern, text, expected) in [
            ("a|b", "ab", false),
            ("a.c", "a\nc", true),
            ("(?-s)a.c", "a\nc", false),
            ("a.*", "xa", false),
            ("a.*c", "a\n\nc", true),
            ("ab.*bc", "abc", false),
            (".*b.*b", "ab", false),
            (".*b.*b", "abab", true),
            ("a.+", "a", false),
            ("a.+", "aé", true),
            ("a.+b.+", "abb", false),
            ("a.+b.+", "aébb", true),
            ("a.+.{2,}b", "aéab", false),
            ("a.+.{2,}b", "aéaéb", true),
            ("a.*|.+b|c", "ca", false),
            ("a.*|.+b|c", "cb", true),
            ("a.*|.+b|c", "c", true),
            ("(?m)a$.^b", "a\nb", true),
            ("a$", "a\n", false),
            (r"\d", "٣", false),
            (r"\w", "é", false),
            (r"\pL", "é", true),
            // Nobody has assigned it.
            (r"\pC\p{Cn}", "\u{378}\u{378}", true),
            (r"\p{LC}", "ǅ", true),
            (r"\s", "\u{b}", false),
            (r"[[:space:]]", "\u{b}", true),
            ("(?i)straße", "STRAßE", true),
            ("(?i)k", "\u{212a}", true),
            ("[^a]", "\n", true),
            (r".\b.", "éa", true),
            (r".\b.", "xa", false),
            (".", "é", true),
            (r"a{,2}", "a{,2}", true),
            (r"[a&&b]", "&", true),
            (r"\x{D800}|a", "a", true),
            (r"a(?i)*", "aaa", true),
            (r"(?i:a)b", "AB", false),
            (r"(?i)a(?-i)b", "Ab", true),
            (r"\101\x42\x{43}", "ABC", true),
            ("(?U)a+", "aaa", true),
        ] {
            assert_eq!(
                regex(pattern).is_match(text),
                expected,
                "{pattern} on {text:?}"
            );
        }
    }

    #[test]
    fn thousands_of_values_need_no_automaton() {
        let values: Vec<String> = (0..6000).map(|number| format!("value-{number}")).collect();
        let regex = regex(&format!("({})", values.join("|")));
        let mut texts = regex.literals().unwrap();
        texts.sort_unstable();
        let mut expected: Vec<&str> = values.iter().map(String::as_str).collect();
        expected.sort_unstable();
        assert_eq!(texts, expected);
        assert_eq!(
            regex.expand("value-17", "<$1>"),
            Some("<value-17>".to_owned())
        );
    }

    #[test]
    fn an_automaton_that_grows_too_large_is_refused() {
        let pattern = r"(\pL{500}x{0,2}){2}(\pL{500}x{0,2}){2}".repeat(10);
        assert_eq!(
            Regex::new(&pattern).unwrap_err().message,
            format!("expression too large: `{pattern}`")
        );
    }

    #[test]
    fn the_deepest_nesting_fits_the_stack() {
        let deep = format!("{}[^a]{}", "(".repeat(998), ")".repeat(998));
        assert_eq!(regex(&deep).expand("b", "$998"), Some("b".to_owned()));
    }

    /// Pattern, text, template and answer, as `label_replace` of Prometheus 3.5.3 has them.
    #[test]
    fn templates_expand_as_in_go() {
        for (pattern, text, template, expected) in [
            ("(.*)-(.*)", "a-b", "$2$1", "ba"),
            ("(.*)-(.*)", "a-b", "${2}x$1x", "bx"),
            ("(.*)-(.*)", "a-b", "$$1", "$1"),
            ("(.*)-(.*)", "a-b", "$", "$"),
            ("(.*)-(.*)", "a-b", "$0", "a-b"),
            ("(.*)-(.*)", "a-b", "$00|$01", "|"),
            ("(.*)-(.*)", "a-b", "$3|${3}", "|"),
            ("(.*)-(.*)", "a-b", "${1", "${1"),
            ("(.*)-(.*)", "a-b", "${1-}$-", "${1-}$-"),
            ("(.*)-(.*)", "a-b", "${}", "${}"),
            ("(?P<x>.*)-(?<y>.*)", "a-b", "$y$x$z", "ba"),
            ("(?P<x>a)|(?P<x>b)", "b", "$x", "b"),
            ("(a)|(b)", "b", "[$1]", "[]"),
            ("(a+?)(a*)", "aaa", "$1,$2", "a,aa"),
            ("(?U)(a+)(a*)", "aaa", "$1,$2", "a,aa"),
            ("a|b", "b", "$0$1", "b"),
        ] {
            assert_eq!(
                regex(pattern).expand(text, template).as_deref(),
                Some(expected),
                "{pattern} on {text} into {template}"
            );
        }
        assert_eq!(regex("a").expand("b", "$0"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(crate::test_support::proptest_cases(128)))]

        /// Sets and globs are short cuts: the automaton must agree.
        #[test]
        fn short_cuts_agree_with_the_automaton(
            pattern in r"(\(|\)|a|b|\||\.\*|\.\+|\?|\^|\$|\[ab\]|\.){0,10}",
            text in "[ab\n]{0,6}",
        ) {
            if let Ok(regex) = Regex::new(&pattern) {
                let hir = syntax::parse(&pattern, syntax::LoneDot::AnyChar).unwrap().hir;
                let automaton = compile(hir, WhichCaptures::All).unwrap();
                prop_assert_eq!(regex.is_match(&text), automaton.is_match(&text));
                prop_assert_eq!(regex.expand(&text, "$0"), automaton.is_match(&text).then_some(text));
            }
        }

        #[test]
        fn any_pattern_is_parsed_or_refused(pattern in r"[\\()\[\]{}|*+?^$.a-d0-9,:<>P=!\-pQExéi]{0,24}") {
            if let Ok(regex) = Regex::new(&pattern) {
                regex.expand("abc", "$1");
            }
        }
    }
}
