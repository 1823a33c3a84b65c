//! Go's quoted strings and character constants: reading and writing them.
//!
//! Source: the Go language specification (string literals) and `strconv`'s documentation.

use narthex_storage::quoting::push_escaped;
pub(super) use narthex_storage::quoting::{is_printable, quote};

/// What a quoted string (`"…"` or `` `…` ``, quotes included) stands for; `None` when it is not
/// well-formed. Bytes that are not UTF-8 become U+FFFD.
pub(super) fn unquote(quoted: &str) -> Option<String> {
    let quote = quoted.chars().next()?;
    let inner = quoted.strip_prefix(quote)?.strip_suffix(quote)?;
    if quote == '`' {
        return Some(inner.replace('\r', ""));
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while !rest.is_empty() {
        let (unit, behind) = unquote_unit(rest, quote)?;
        rest = behind;
        match unit {
            Unit::Char(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            Unit::Byte(byte) => bytes.push(byte),
        }
    }
    Some(
        String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    )
}

/// Why a character constant is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CharError {
    /// An escape that does not exist, or nothing between the quotes.
    Syntax,
    /// More than one character.
    Malformed,
}

/// The code point of a character constant such as `'a'` or `'\n'`, quotes included.
pub(super) fn unquote_char(quoted: &str) -> Result<i64, CharError> {
    let inner = quoted.strip_prefix('\'').ok_or(CharError::Syntax)?;
    let (unit, behind) = unquote_unit(inner, '\'').ok_or(CharError::Syntax)?;
    if behind != "'" {
        return Err(CharError::Malformed);
    }
    Ok(match unit {
        Unit::Char(c) => i64::from(u32::from(c)),
        Unit::Byte(byte) => i64::from(byte),
    })
}

enum Unit {
    Char(char),
    Byte(u8),
}

/// The first character of `text` with its escape undone, and what follows.
fn unquote_unit(text: &str, quote: char) -> Option<(Unit, &str)> {
    let mut rest = text.chars();
    let first = rest.next()?;
    if first == quote || first == '\n' {
        return None;
    }
    if first != '\\' {
        return Some((Unit::Char(first), rest.as_str()));
    }
    let escape = rest.next()?;
    let digits = |count: usize, radix: u32, from: &str| -> Option<(u32, usize)> {
        let digits = from.get(..count)?;
        if !digits
            .bytes()
            .all(|digit| char::from(digit).is_digit(radix))
        {
            return None;
        }
        Some((u32::from_str_radix(digits, radix).ok()?, count))
    };
    let plain = |c: char| Some((Unit::Char(c), rest.as_str()));
    match escape {
        'a' => plain('\u{7}'),
        'b' => plain('\u{8}'),
        'f' => plain('\u{c}'),
        'n' => plain('\n'),
        'r' => plain('\r'),
        't' => plain('\t'),
        'v' => plain('\u{b}'),
        '\\' => plain('\\'),
        '\'' | '"' if escape == quote => plain(escape),
        'x' => {
            let (byte, length) = digits(2, 16, rest.as_str())?;
            Some((Unit::Byte(byte as u8), rest.as_str().get(length..)?))
        }
        'u' | 'U' => {
            let count = if escape == 'u' { 4 } else { 8 };
            let (code, length) = digits(count, 16, rest.as_str())?;
            Some((
                Unit::Char(char::from_u32(code)?),
                rest.as_str().get(length..)?,
            ))
        }
        '0'..='7' => {
            // The first of the three digits has been taken.
            let from = text.get(1..)?;
            let (byte, length) = digits(3, 8, from)?;
            Some((Unit::Byte(u8::try_from(byte).ok()?), from.get(length..)?))
        }
        _ => None,
    }
}

/// `text` between `quote`s; `ascii` escapes everything beyond ASCII too.
pub(super) fn quote_with(text: &str, quote: char, ascii: bool) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        push_escaped(&mut out, c, quote, ascii);
    }
    out.push(quote);
    out
}

/// `U+0040 '@'`; the quoted part is left out when it cannot be printed.
pub(super) fn describe_char(c: char) -> String {
    let code = u32::from(c);
    if is_printable(c) {
        format!("U+{code:04X} '{c}'")
    } else {
        format!("U+{code:04X}")
    }
}
