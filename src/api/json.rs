//! JSON by hand, into one byte buffer.
//!
//! Answers can hold millions of samples, so values are written digit by digit without a tree or a
//! serializer between. Escaping follows Prometheus, which has three ways of it: label sets escape
//! only what JSON demands, other texts also what HTML could misread, and string results
//! use the short forms of backspace and form feed besides.

use narthex_query::{FloatStyle, push_float};
use narthex_storage::{Labels, Sample, Timestamp};

/// How much of a text is escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Escape {
    /// What JSON demands: label names and values.
    Minimal,
    /// Also `<`, `>`, `&`, U+2028 and U+2029: every other text.
    Html,
    /// As `Html`, with `\b` and `\f`: the value of a string expression.
    HtmlShort,
}

/// Appends `text` in quotes.
pub(crate) fn push_string(out: &mut Vec<u8>, text: &str, escape: Escape) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut copied = 0;
    let mut index = 0;
    while let Some(byte) = bytes.get(index) {
        let mut width = 1;
        let mut code = [b'\\', b'u', b'0', b'0', b'0', b'0'];
        let escaped: Option<&[u8]> = match byte {
            b'"' => Some(b"\\\""),
            b'\\' => Some(b"\\\\"),
            b'\n' => Some(b"\\n"),
            b'\r' => Some(b"\\r"),
            b'\t' => Some(b"\\t"),
            0x08 if escape == Escape::HtmlShort => Some(b"\\b"),
            0x0c if escape == Escape::HtmlShort => Some(b"\\f"),
            0..=0x1f => {
                code[4] = HEX[usize::from(byte >> 4)];
                code[5] = HEX[usize::from(byte & 15)];
                Some(&code)
            }
            b'<' | b'>' | b'&' if escape != Escape::Minimal => {
                code[4] = HEX[usize::from(byte >> 4)];
                code[5] = HEX[usize::from(byte & 15)];
                Some(&code)
            }
            // U+2028 and U+2029, which end a line in old JavaScript, are e2 80 a8 and e2 80 a9.
            0xe2 if escape != Escape::Minimal => match bytes.get(index + 1..index + 3) {
                Some([0x80, 0xa8]) => {
                    width = 3;
                    Some(b"\\u2028")
                }
                Some([0x80, 0xa9]) => {
                    width = 3;
                    Some(b"\\u2029")
                }
                _ => None,
            },
            _ => None,
        };
        if let Some(escaped) = escaped {
            out.extend_from_slice(&bytes[copied..index]);
            out.extend_from_slice(escaped);
            copied = index + width;
        }
        index += width;
    }
    out.extend_from_slice(&bytes[copied..]);
    out.push(b'"');
}

/// Appends a label set as an object.
pub(crate) fn push_labels(out: &mut Vec<u8>, labels: &Labels) {
    out.push(b'{');
    for (index, (name, value)) in labels.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_string(out, name, Escape::Minimal);
        out.push(b':');
        push_string(out, value, Escape::Minimal);
    }
    out.push(b'}');
}

/// Appends a list of texts.
pub(crate) fn push_strings<T: AsRef<str>>(out: &mut Vec<u8>, texts: impl IntoIterator<Item = T>) {
    out.push(b'[');
    for (index, text) in texts.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_string(out, text.as_ref(), Escape::Html);
    }
    out.push(b']');
}

/// Appends a whole number.
pub(crate) fn push_integer(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a timestamp in seconds: whole, or with exactly three decimals.
pub(crate) fn push_time(out: &mut Vec<u8>, time: Timestamp) {
    if time < 0 {
        out.push(b'-');
    }
    let milliseconds = time.unsigned_abs();
    out.extend_from_slice(itoa::Buffer::new().format(milliseconds / 1000).as_bytes());
    let fraction = milliseconds % 1000;
    if fraction != 0 {
        out.push(b'.');
        for digit in [fraction / 100, fraction / 10 % 10, fraction % 10] {
            out.push(b'0' + digit as u8);
        }
    }
}

/// Appends `[time,"value"]`.
pub(crate) fn push_sample(out: &mut Vec<u8>, sample: Sample, style: FloatStyle) {
    push_sample_time(out, sample.time);
    push_float(out, sample.value, style);
    out.extend_from_slice(b"\"]");
}

/// Appends what comes before a sample's value: `[time,"`.
pub(crate) fn push_sample_time(out: &mut Vec<u8>, time: Timestamp) {
    out.push(b'[');
    push_time(out, time);
    out.extend_from_slice(b",\"");
}

/// Appends a number that stands for itself, without quotes; it must be finite.
pub(crate) fn push_number(out: &mut Vec<u8>, value: f64) {
    push_float(out, value, FloatStyle::Json);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    /// Expected texts are what Prometheus 3.5.3 answers for a label value, a label values list and
    /// a string expression.
    #[test]
    fn texts_are_escaped_as_prometheus_escapes_them() {
        let text = "<&>\u{8}\u{c}\u{2028}é\"\\/\t\n\u{1}\u{7f}";
        let check = |escape, expected: &str| {
            assert_eq!(written(|out| push_string(out, text, escape)), expected);
        };
        check(
            Escape::Minimal,
            "\"<&>\\u0008\\u000c\u{2028}é\\\"\\\\/\\t\\n\\u0001\u{7f}\"",
        );
        check(
            Escape::Html,
            "\"\\u003c\\u0026\\u003e\\u0008\\u000c\\u2028é\\\"\\\\/\\t\\n\\u0001\u{7f}\"",
        );
        check(
            Escape::HtmlShort,
            "\"\\u003c\\u0026\\u003e\\b\\f\\u2028é\\\"\\\\/\\t\\n\\u0001\u{7f}\"",
        );
    }

    #[test]
    fn times_have_no_or_three_decimals() {
        for (time, expected) in [
            (0, "0"),
            (4_000, "4"),
            (1_500, "1.500"),
            (1_795_239_108_568, "1795239108.568"),
            (-1_001, "-1.001"),
            (-5, "-0.005"),
            (i64::MIN, "-9223372036854775.808"),
        ] {
            assert_eq!(written(|out| push_time(out, time)), expected);
        }
    }

    #[test]
    fn samples_are_pairs_of_time_and_text() {
        let sample = Sample {
            time: 1_500,
            value: 1e-7,
        };
        assert_eq!(
            written(|out| push_sample(out, sample, FloatStyle::Json)),
            r#"[1.500,"1e-07"]"#
        );
        assert_eq!(
            written(|out| push_sample(out, sample, FloatStyle::Decimal)),
            r#"[1.500,"0.0000001"]"#
        );
    }
}
