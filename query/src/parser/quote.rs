//! Go's quoting of strings and characters, and its undoing.

use std::fmt::Write as _;

use narthex_storage::quoting::push_escaped;
pub use narthex_storage::quoting::quote;

use super::Text;

/// Go's `strconv.QuoteRune`.
pub(crate) fn quote_char(c: char) -> String {
    let mut out = String::from("'");
    push_escaped(&mut out, c, '\'', false);
    out.push('\'');
    out
}

/// As [`quote`], of bytes that need not be UTF-8.
fn quote_bytes(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            push_escaped(&mut out, c, '"', false);
        }
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}").expect("writing to a string does not fail");
        }
    }
    out.push('"');
    out
}

/// The value of a quoted string that the lexer accepted, as Go's `strconv.Unquote` reads it. Bytes
/// that are not UTF-8 become U+FFFD, which is also what Prometheus's JSON makes of them.
pub(super) fn unquote(quoted: &str) -> Text {
    let bytes = unquoted_bytes(quoted);
    match String::from_utf8(bytes) {
        Ok(value) => Text {
            value,
            quoted_bytes: None,
        },
        Err(error) => Text {
            value: String::from_utf8_lossy(error.as_bytes()).into_owned(),
            quoted_bytes: Some(quote_bytes(error.as_bytes()).into()),
        },
    }
}

fn unquoted_bytes(quoted: &str) -> Vec<u8> {
    let mut chars = quoted.chars();
    let quote = chars.next();
    chars.next_back();
    let inner = chars.as_str();
    if quote == Some('`') {
        return inner.replace('\r', "").into_bytes();
    }
    if !inner.contains('\\') {
        return inner.as_bytes().to_vec();
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let Some(kind) = chars.next() else { break };
        let mut code = |count: usize, base: u32, first: u32| {
            (0..count).fold(first, |code, _| {
                let digit = chars.next().and_then(|c| c.to_digit(base));
                code.wrapping_mul(base).wrapping_add(digit.unwrap_or(0))
            })
        };
        match kind {
            'a' => out.push(0x07),
            'b' => out.push(0x08),
            'f' => out.push(0x0c),
            'n' => out.push(b'\n'),
            'r' => out.push(b'\r'),
            't' => out.push(b'\t'),
            'v' => out.push(0x0b),
            '0'..='7' => {
                let first = kind.to_digit(8).unwrap_or(0);
                out.push(code(2, 8, first) as u8);
            }
            'x' => out.push(code(2, 16, 0) as u8),
            'u' | 'U' => {
                let c = char::from_u32(code(if kind == 'u' { 4 } else { 8 }, 16, 0))
                    .unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out
}
