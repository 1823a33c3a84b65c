//! Texts in quotes as Go writes them, which is how Prometheus prints labels and names.

/// A text in double quotes, as Go's `strconv.Quote` writes it.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        push_escaped(&mut out, c, '"', false);
    }
    out.push('"');
    out
}

/// Adds a character as Go writes it between such quotes; with `is_ascii` whatever is beyond ASCII is escaped too.
pub fn push_escaped(out: &mut String, c: char, quote: char, is_ascii: bool) {
    match c {
        '\\' => out.push_str("\\\\"),
        '\x07' => out.push_str("\\a"),
        '\x08' => out.push_str("\\b"),
        '\x0c' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\x0b' => out.push_str("\\v"),
        _ if c == quote => {
            out.push('\\');
            out.push(c);
        }
        _ if is_printable(c) && (c.is_ascii() || !is_ascii) => out.push(c),
        _ => {
            let code = u32::from(c);
            let (letter, digits) = match code {
                0..0x80 => ('x', 2),
                0x80..0x10000 => ('u', 4),
                _ => ('U', 8),
            };
            let escape = format!("\\{letter}{code:0digits$x}");
            out.push_str(&escape);
        }
    }
}

/// Go's `strconv.IsPrint`: letters, marks, numbers, punctuation, symbols and the ASCII space.
pub fn is_printable(c: char) -> bool {
    match c {
        ' '..='~' => true,
        '\0'..='\x7f' => false,
        _ => {
            // Rust escapes the same classes, and combining marks at the start of a text.
            let text = String::from_iter(['a', c]);
            text.escape_debug().nth(1) == Some(c)
        }
    }
}
