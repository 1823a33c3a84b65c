//! Links to the expression browser.

use std::fmt::Write as _;

/// The path and query of the table view of an expression, to be put behind the external URL.
pub(crate) fn table_link(expression: &str) -> String {
    let mut link = String::from("/graph?g0.expr=");
    push_query_escaped(&mut link, expression);
    link.push_str("&g0.tab=1");
    link
}

/// As Go's `url.QueryEscape`: everything but letters, digits and `-_.~` by its bytes, spaces as `+`.
fn push_query_escaped(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            _ => write!(out, "%{byte:02X}").expect("writing to a string does not fail"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_escaped_as_go_escapes_them() {
        assert_eq!(
            table_link("sum by (job) (rate(x{a=~\"b|ü\"}[5m])) > 0.5"),
            "/graph?g0.expr=sum+by+%28job%29+%28rate%28x%7Ba%3D~%22b%7C%C3%BC%22%7D%5B5m%5D%29%29+%3E+0.5&g0.tab=1"
        );
    }
}
