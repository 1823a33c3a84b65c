//! Queries: what parses prints as a query that parses and prints the same, on one line and in lines.

use narthex_query::{
    Features,
    parser::{Expr, format_query, parse},
};

pub(super) fn check(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let options = Features::ALL.parser();
    let expr = match parse(&text, options) {
        Ok(expr) => expr,
        Err(error) => {
            assert!(text.get(error.span.start as usize..).is_some() || text.is_empty());
            return false;
        }
    };
    check_printed(&expr, &text);
    true
}

/// What is printed of an expression parses, and prints as it was printed.
pub(super) fn check_printed(expr: &Expr, text: &str) {
    let options = Features::ALL.parser();
    let (printed, in_lines) = (expr.to_string(), format_query(expr));
    for again in [&printed, &in_lines] {
        let expr = parse(again, options)
            .unwrap_or_else(|error| panic!("{error}\nin {again}\nprinted for {text}"));
        let is_same = |one: &str, other: &str| with_one_sign(one) == with_one_sign(other);
        assert!(is_same(&expr.to_string(), &printed), "from {again:?}");
        assert!(is_same(&format_query(&expr), &in_lines), "from {again:?}");
    }
}

/// An infinite base of a power gains a sign each time that it is printed and read, as in Prometheus: `Inf ^ 2` prints
/// as `+Inf ^ 2`, which is the power with a sign.
fn with_one_sign(text: &str) -> String {
    let mut text = text.to_owned();
    while text.contains("++Inf") {
        text = text.replace("++Inf", "+Inf");
    }
    text
}
