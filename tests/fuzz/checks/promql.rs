//! Queries: what parses prints as a query that parses and prints the same, on one line and in lines.

use narthex_query::{
    Features,
    parser::{format_query, parse},
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
    let printed = expr.to_string();
    let in_lines = format_query(&expr);
    for again in [&printed, &in_lines] {
        let expr = parse(again, options)
            .unwrap_or_else(|error| panic!("{error}\nin {again}\nprinted for {text}"));
        assert_eq!(expr.to_string(), printed, "from {again:?}");
        assert_eq!(format_query(&expr), in_lines, "from {again:?}");
    }
    true
}
