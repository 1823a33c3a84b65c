//! Queries with the answers of Prometheus's `/api/v1/format_query` (3.5.3 with experimental
//! functions, adapted where 3.14 words or parses differently): formatted text, or error with place.
//!
//! A block of `parser_cases.txt` is a query (`? `), then the formatted text (`= `) or the error
//! (`! `); lines with the same mark belong together.

use narthex_query::parser::{ParserOptions, format_query, parse};

/// What we answer to `query`, as a block's second half.
fn answer(query: &str) -> String {
    let options = ParserOptions {
        experimental_functions: true,
        ..ParserOptions::default()
    };
    match parse(query, options) {
        Ok(expr) => format!("= {}\n", format_query(&expr).replace('\n', "\n= ")),
        Err(error) => format!("! {error}\n"),
    }
}

#[test]
fn queries_are_formatted_and_refused_as_prometheus_does() {
    let mut wrong = Vec::new();
    for block in include_str!("parser_cases.txt").split("\n\n") {
        let (mut query, mut expected) = (Vec::new(), String::new());
        for line in block.lines() {
            match line.strip_prefix("? ") {
                Some(line) => query.push(line),
                None => {
                    expected.push_str(line);
                    expected.push('\n');
                }
            }
        }
        let query = query.join("\n");
        let found = answer(&query);
        if found != expected {
            wrong.push(format!("{query}\nexpected:\n{expected}found:\n{found}\n"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
