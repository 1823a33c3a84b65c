//! What is parsed only when a feature is on: how it prints, how that parses again, and how it is refused.
//!
//! The printed forms and the refusals are those that Prometheus 3.14's printer and parser have for them.

use narthex_query::{
    Features,
    parser::{ParserOptions, format_query, parse},
};

/// The query printed, or its error, with everything on. What is printed must print the same again.
fn printed(query: &str) -> String {
    let options = Features::ALL.parser();
    match parse(query, options) {
        Ok(expr) => {
            for text in [expr.to_string(), format_query(&expr)] {
                let again = parse(&text, options).unwrap_or_else(|error| panic!("{text}: {error}"));
                assert_eq!(again.to_string(), expr.to_string(), "{query}");
                assert_eq!(format_query(&again), format_query(&expr), "{query}");
            }
            expr.to_string()
        }
        Err(error) => error.to_string(),
    }
}

fn check(cases: &[(&str, &str)]) {
    for (query, expected) in cases {
        assert_eq!(printed(query), *expected, "{query}");
    }
}

#[test]
fn fill_modifiers_print_as_they_parse() {
    check(&[
        ("a + fill(0) b", "a + fill (0) b"),
        ("a + fill (-1.5) b", "a + fill (-1.5) b"),
        ("a + fill(5m) b", "a + fill (300) b"),
        ("a + fill(1e9) b", "a + fill (1e+09) b"),
        ("a + fill(-Inf) b", "a + fill (-Inf) b"),
        (
            "a + fill_left(1) fill_right(2) b",
            "a + fill_left (1) fill_right (2) b",
        ),
        (
            "a + fill_right(2) fill_left(1) b",
            "a + fill_left (1) fill_right (2) b",
        ),
        ("a + fill_left(3) fill_right(3) b", "a + fill (3) b"),
        ("a + fill(NaN) b", "a + fill_left (NaN) fill_right (NaN) b"),
        ("a > bool fill(1) b", "a > bool fill (1) b"),
        (
            "a / on(x) group_left fill_right(1) b",
            "a / on (x) group_left () fill_right (1) b",
        ),
        (
            "a / ignoring(x) group_right(y) fill_left(1) b",
            "a / ignoring (x) group_right (y) fill_left (1) b",
        ),
    ]);
}

#[test]
fn the_words_of_modifiers_remain_names() {
    check(&[
        ("fill + fill(0) fill_left", "fill + fill (0) fill_left"),
        ("a + fill", "a + fill"),
        ("a + fill_right{x=\"y\"}", "a + fill_right{x=\"y\"}"),
        ("anchored anchored", "anchored anchored"),
        (
            "sum by (fill, smoothed) (smoothed)",
            "sum by (fill, smoothed) (smoothed)",
        ),
    ]);
}

#[test]
fn wrong_fill_modifiers_are_refused() {
    check(&[
        (
            "a + fill(0) 1",
            "1:1: parse error: filling in missing series only allowed between instant vectors",
        ),
        (
            "a and fill(0) b",
            "1:1: parse error: filling in missing series not allowed for set operators",
        ),
        ("a + fill() b", "1:10: parse error: unexpected \")\""),
        (
            "a + fill(b) c",
            "1:10: parse error: unexpected identifier \"b\"",
        ),
        ("a + fill(0", "1:11: parse error: unclosed left parenthesis"),
        ("fill(0)", "1:1: parse error: unexpected <fill>"),
    ]);
}

#[test]
fn anchored_and_smoothed_print_as_they_parse() {
    check(&[
        ("rate(a[5m] anchored)", "rate(a[5m] anchored)"),
        ("rate(a[5m] SMOOTHED)", "rate(a[5m] smoothed)"),
        (
            "rate(a[5m] offset 1m @ 10 anchored)",
            "rate(a[5m] anchored @ 10.000 offset 1m)",
        ),
        (
            "a smoothed offset 1m @ end()",
            "a @ end() smoothed offset 1m",
        ),
        ("a anchored anchored", "a anchored"),
        ("a smoothed[5m]", "a[5m] smoothed"),
        ("a smoothed + b", "a smoothed + b"),
        (
            "max_over_time(a smoothed[5m:1m])",
            "max_over_time(a smoothed[5m:1m])",
        ),
    ]);
}

#[test]
fn misplaced_anchors_are_refused() {
    check(&[
        (
            "a anchored smoothed",
            "1:1: parse error: anchored and smoothed modifiers cannot be used together",
        ),
        (
            "rate(a[5m:1m] anchored)",
            "1:6: parse error: anchored modifier is not supported for subqueries",
        ),
        (
            "(a) smoothed",
            "1:1: parse error: smoothed modifier must be preceded by an instant vector selector or range \
             vector selector",
        ),
    ]);
}

#[test]
fn strings_keep_bytes_that_are_not_utf_8() {
    check(&[
        (
            r#"count_values("a\xc5z", b)"#,
            r#"count_values("a\xc5z", b)"#,
        ),
        (
            r#"label_replace(a, "b", '\377"é\n', "c", "d")"#,
            r#"label_replace(a, "b", "\xff\"é\n", "c", "d")"#,
        ),
        (r#""\u00c5\xc3\x85""#, "\"ÅÅ\""),
        (
            r#"sum by ("a\xc5") (b)"#,
            r#"1:9: parse error: invalid label name for grouping: "a\xc5""#,
        ),
    ]);
}

#[test]
fn what_is_off_is_refused_in_prometheus_words() {
    for (query, expected) in [
        (
            "rate(a[5m] anchored)",
            "1:6: parse error: anchored modifier is experimental and not enabled",
        ),
        (
            "a smoothed",
            "1:1: parse error: smoothed modifier is experimental and not enabled",
        ),
        (
            "1 + a + on(x) fill(0) b",
            "1:1: parse error: binop fill modifiers are experimental and not enabled",
        ),
        (
            "limitk(1, a)",
            "1:1: parse error: limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
        ),
        (
            "info(a)",
            "1:1: parse error: function \"info\" is not enabled",
        ),
    ] {
        let error = parse(query, ParserOptions::default()).unwrap_err();
        assert_eq!(error.to_string(), expected, "{query}");
    }
}

#[test]
fn features_have_the_names_of_the_command_line() {
    let mut features = Features::default();
    for name in [
        "promql-experimental-functions",
        "promql-delayed-name-removal",
        "use-start-timestamps",
        "promql-extended-range-selectors",
        "promql-binop-fill-modifiers",
    ] {
        assert!(features.enable(name), "{name}");
    }
    assert_eq!(features, Features::ALL);
    assert!(!features.enable("promql-at-modifier"));
}
