//! Generated queries against the crate promql-parser, and through print and parse again.
//!
//! The generator leaves out what the crate is known to read or print otherwise than Prometheus:
//! duration expressions, `1_000`, comments in brackets, flagged constructs, unary plus, durations
//! as numbers, `Inf`, negative `@`, `group_left` without labels, escapes in backticks, and `sum by
//! ()`.

use std::fmt::Write as _;

use narthex_query::parser::{Expr, ParserOptions, format_query, parse};
use proptest::prelude::*;

fn cases() -> ProptestConfig {
    let cases = std::env::var("NARTHEX_PROPTEST_CASES");
    ProptestConfig {
        cases: cases.ok().and_then(|text| text.parse().ok()).unwrap_or(200),
        failure_persistence: None,
        max_global_rejects: 1 << 20,
        ..ProptestConfig::default()
    }
}

fn name() -> impl Strategy<Value = String> {
    // Keywords are names, too.
    prop_oneof![
        Just("up".to_owned()),
        Just("job:rate:sum".to_owned()),
        Just("sum".to_owned()),
        Just("by".to_owned()),
        Just("offset".to_owned()),
        "[a-z_][a-z0-9_]{0,6}_x",
    ]
}

fn label() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("job".to_owned()),
        Just("on".to_owned()),
        Just("le".to_owned()),
        "[a-z_][a-z0-9_]{0,6}_y",
    ]
}

fn string() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zé .|-]{0,8}".prop_map(|text| format!("\"{text}\"")),
        "[a-z\"]{0,4}".prop_map(|text| format!("'{text}'")),
        Just("\"a\\n\\t\\\"\\\\b\"".to_owned()),
        "[a-z]{0,4}".prop_map(|text| format!("`{text}`")),
    ]
}

fn duration() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("5m".to_owned()),
        Just("1h30m".to_owned()),
        Just("90s".to_owned()),
        Just("1d".to_owned()),
        Just("250ms".to_owned()),
        (1_u32..4_000).prop_map(|seconds| seconds.to_string()),
    ]
}

fn modifiers() -> impl Strategy<Value = String> {
    let offset = prop_oneof![
        Just(String::new()),
        duration().prop_map(|duration| format!(" offset {duration}")),
        duration().prop_map(|duration| format!(" OFFSET -{duration}")),
    ];
    let at = prop_oneof![
        Just(String::new()),
        (0_u32..2_000_000_000).prop_map(|time| format!(" @ {time}.5")),
        Just(" @ start()".to_owned()),
        Just("@end()".to_owned()),
    ];
    (offset, at, any::<bool>()).prop_map(|(offset, at, at_first)| {
        if at_first {
            format!("{at}{offset}")
        } else {
            format!("{offset}{at}")
        }
    })
}

/// Name and matchers, these in the order in which they print.
fn series() -> impl Strategy<Value = String> {
    let matcher = (
        label(),
        prop::sample::select(vec!["=", "!=", "=~", "!~"]),
        string(),
    );
    let matchers = prop::collection::btree_map(label(), matcher, 0..3);
    (name(), matchers, any::<bool>()).prop_map(|(name, matchers, trailing_comma)| {
        let mut out = name;
        if !matchers.is_empty() {
            let matchers: Vec<String> = matchers
                .into_iter()
                .map(|(label, (_, op, value))| format!("{label} {op}{value}"))
                .collect();
            let comma = if trailing_comma { "," } else { "" };
            let matchers = matchers.join(", ");
            write!(out, "{{{matchers}{comma} }}").expect("writing to a string does not fail");
        }
        out
    })
}

fn labels() -> impl Strategy<Value = String> {
    prop::collection::vec(label(), 1..3).prop_map(|labels| format!("({})", labels.join(", ")))
}

fn vector() -> impl Strategy<Value = String> {
    let leaf =
        (series(), modifiers()).prop_map(|(series, modifiers)| format!("{series}{modifiers}"));
    leaf.prop_recursive(4, 24, 3, |vector| {
        let grouping = prop_oneof![
            Just(String::new()),
            labels().prop_map(|labels| format!(" by {labels} ")),
            labels().prop_map(|labels| format!(" WITHOUT {labels}")),
        ];
        let arithmetic = prop::sample::select(vec!["+", "-", "*", "/", "%", "^", "atan2"]);
        let comparison = prop::sample::select(vec![
            "==", "!=", "<", "<=", ">", ">=", "> bool ", "== bool ",
        ]);
        let matching = prop_oneof![
            Just(String::new()),
            labels().prop_map(|labels| format!("on{labels}")),
            labels().prop_map(|labels| format!("ignoring {labels}")),
            labels().prop_map(|labels| format!("ignoring {labels} group_left (extra_z)")),
            labels().prop_map(|labels| format!("on {labels} group_right (extra_z, more_z)")),
        ];
        prop_oneof![
            (
                prop::sample::select(vec!["sum", "AVG", "count", "group"]),
                grouping,
                vector.clone(),
                any::<bool>()
            )
                .prop_map(|(op, grouping, vector, before)| if before {
                    format!("{op}{grouping}({vector})")
                } else {
                    format!("{op}({vector}){grouping}")
                }),
            (1_u8..9, vector.clone()).prop_map(|(k, vector)| format!("topk({k}, {vector})")),
            (
                prop::sample::select(vec!["abs", "ceil", "sort"]),
                vector.clone()
            )
                .prop_map(|(function, vector)| format!("{function}( {vector})")),
            (series(), duration(), modifiers()).prop_map(|(series, range, modifiers)| format!(
                "rate({series}[{range}]{modifiers})"
            )),
            (vector.clone(), duration(), duration(), modifiers()).prop_map(
                |(vector, range, step, modifiers)| format!(
                    "max_over_time(({vector})[{range}:{step}]{modifiers})"
                )
            ),
            (
                vector.clone(),
                arithmetic.clone(),
                matching.clone(),
                vector.clone()
            )
                .prop_map(|(lhs, op, matching, rhs)| format!("{lhs} {op} {matching} {rhs}")),
            (vector.clone(), comparison, matching, vector.clone())
                .prop_map(|(lhs, op, matching, rhs)| format!("{lhs} {op} {matching} {rhs}")),
            (
                vector.clone(),
                prop::sample::select(vec!["and", "OR", "unless"]),
                vector.clone()
            )
                .prop_map(|(lhs, op, rhs)| format!("{lhs} {op} {rhs}")),
            (vector.clone(), arithmetic, 0_u16..300)
                .prop_map(|(lhs, op, rhs)| format!("({lhs} {op} {rhs})")),
            vector.clone().prop_map(|vector| format!("({vector})")),
            vector.prop_map(|vector| format!("-{vector}")),
        ]
    })
}

fn parsed(query: &str) -> Expr {
    match parse(query, ParserOptions::default()) {
        Ok(expr) => expr,
        Err(error) => panic!("{query}\n{error}"),
    }
}

/// The tree as text, without places; outside duration expressions `300` and `5m` print alike.
fn shape(expr: &Expr) -> String {
    let mut out = String::new();
    let text = format!("{expr:?}").replace("has_unit: false", "has_unit: true");
    for (index, part) in text.split("Span { ").enumerate() {
        let part = if index == 0 {
            part
        } else {
            part.split_once('}').map_or("", |(_, rest)| rest)
        };
        out.push_str(part);
    }
    out
}

/// The parts of a shape without the order of matchers: they are printed in the order of their texts, in which
/// `le0="…"` stands before `le="…"`.
fn matchers_sorted(shape: &str) -> Vec<String> {
    let mut parts: Vec<String> = shape.split("Matcher {").map(str::to_owned).collect();
    parts.sort_unstable();
    parts
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn well_typed_queries_print_as_the_oracle_prints_them(query in vector()) {
        let oracle = promql_parser::parser::parse(&query).map_err(TestCaseError::fail)?;
        prop_assert_eq!(parsed(&query).to_string(), oracle.to_string());
    }

    #[test]
    fn what_is_printed_parses_to_the_same_tree(query in vector()) {
        let expr = parsed(&query);
        let same = |printed: &str| matchers_sorted(&shape(&parsed(printed)));
        prop_assert_eq!(same(&expr.to_string()), matchers_sorted(&shape(&expr)));
        prop_assert_eq!(same(&format_query(&expr)), matchers_sorted(&shape(&expr)));
    }

    /// Cutting a character out of a query mostly breaks it; both parsers must see that.
    #[test]
    fn damaged_queries_are_refused_or_accepted_alike(query in vector(), cut in any::<prop::sample::Index>()) {
        let mut damaged: Vec<char> = query.chars().collect();
        damaged.remove(cut.index(damaged.len()));
        let damaged: String = damaged.into_iter().collect();
        // The crate refuses backslashes in backticks and reads other regular expressions.
        prop_assume!(!damaged.contains(['~', '\\']));
        let ours = parse(&damaged, ParserOptions::default());
        let oracle = promql_parser::parser::parse(&damaged);
        // It refuses `offset 0s`.
        prop_assume!(oracle.as_ref().err().is_none_or(|error| !error.contains("greater than 0")));
        prop_assert_eq!(ours.is_ok(), oracle.is_ok(), "{}\n{:?}\n{:?}", damaged, ours, oracle);
    }

    #[test]
    fn any_text_is_answered_or_refused(text in "[a-z0-9 \\[\\](){}:@\"'`#,+*^.=~!<>_\\\\é\n-]{0,60}") {
        let error = parse(&text, ParserOptions::default()).err();
        if let Some(error) = error {
            prop_assert!(error.span.start as usize <= text.len());
            prop_assert!(text.is_empty() || (error.line >= 1 && error.column >= 1));
        }
    }
}
