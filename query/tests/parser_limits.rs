//! Large and deep queries are answered or refused with a place and the limit, on a thread with the
//! usual 2 MiB of stack; no query can overflow it.

use std::thread;

use narthex_query::parser::{
    HEIGHT_MAX, ParserOptions, TEXT_LEN_MAX, format_query, parse, parse_selector,
};

/// Parses, prints both ways, formats for debugging, clones, compares and drops the tree on a 2 MiB
/// stack; answers the error, if any.
fn walk(query: String) -> Option<String> {
    let walked = thread::Builder::new().stack_size(2 << 20).spawn(move || {
        match parse(&query, ParserOptions::default()) {
            Ok(expr) => {
                assert!(!format_query(&expr).is_empty());
                assert!(!expr.to_string().is_empty());
                assert!(!format!("{expr:?}").is_empty());
                assert!(expr.clone() == expr);
                assert!(expr.value_type() == expr.value_type());
                None
            }
            Err(error) => Some(error.to_string()),
        }
    });
    let walked = walked.expect("a thread can be started");
    walked.join().expect("no walk panics")
}

/// A query of so many levels.
type Shape = Box<dyn Fn(usize) -> String>;

/// Shapes that get one level higher with each repetition, and what each level costs.
fn shapes() -> Vec<(&'static str, Shape)> {
    let nested = |open: &'static str, inner: &'static str, close: &'static str| {
        Box::new(move |count: usize| {
            format!("{}{inner}{}", open.repeat(count), close.repeat(count))
        })
    };
    vec![
        ("parentheses", nested("(", "x", ")")),
        ("minuses", nested("-", "x", "")),
        ("sums", nested("sum(", "x", ")")),
        ("calls", nested("abs(", "x", ")")),
        ("left chain", nested("", "x", "+x")),
        ("right chain", nested("x^", "x", "")),
        ("subqueries", nested("abs(", "x", "[1m:])")),
        ("set operators", nested("", "x", " or x")),
        (
            "durations",
            Box::new(|count| {
                format!(
                    "x[{}5m{}]",
                    "(-(1m+".repeat(count / 3),
                    "))".repeat(count / 3)
                )
            }),
        ),
        (
            "duration chain",
            Box::new(|count| format!("x[5m{}]", "+1m".repeat(count))),
        ),
        (
            "offsets",
            Box::new(|count| {
                format!(
                    "x offset {}step(){}",
                    "-(".repeat(count / 2),
                    ")".repeat(count / 2)
                )
            }),
        ),
    ]
}

#[test]
fn trees_up_to_the_limit_are_walked_and_higher_ones_refused() {
    let limit = format!("expression is nested too deeply, the limit is {HEIGHT_MAX} levels");
    for (name, shape) in shapes() {
        // Some shapes cost two levels a repetition, and then are refused before the limit.
        for count in [HEIGHT_MAX / 2 - 2, HEIGHT_MAX - 2] {
            if let Some(error) = walk(shape(count)) {
                assert!(
                    error.ends_with(&limit) || name == "subqueries" || name == "durations",
                    "{name}: {error}"
                );
            }
        }
        for count in [HEIGHT_MAX * 3 + 3, 20_000] {
            let error = walk(shape(count)).unwrap_or_default();
            assert!(
                error.starts_with("1:") && error.ends_with(&limit),
                "{name}: {error}"
            );
        }
    }
}

#[test]
fn long_texts_are_refused_with_the_limit() {
    let error = walk("x ".repeat(TEXT_LEN_MAX)).unwrap();
    assert_eq!(
        error,
        format!(
            "1:{}: parse error: query is too long, the limit is {TEXT_LEN_MAX} bytes",
            TEXT_LEN_MAX + 1
        )
    );
}

#[test]
fn an_alternation_of_6000_values_is_one_matcher() {
    let values: Vec<String> = (0..6_000).map(|index| format!("host-{index}")).collect();
    let alternation = values.join("|");
    let selector = format!("up{{instance=~\"{alternation}\"}}");
    let matchers = parse_selector(&selector).unwrap();
    assert_eq!(matchers.len(), 2);
    assert_eq!(matchers[0].value(), alternation);
    assert_eq!(
        matchers[0].literal_values().map(|values| values.len()),
        Some(6_000)
    );
}
