//! Forms of the type `multipart/form-data`: the values in a body, as Go's reader finds them.
//!
//! Files and parts without a name do not count. A form is whole or nothing: one that is cut off, has
//! a header that cannot be read or more than [`PARTS_MAX`] parts gives no value at all. The line ends
//! around the first boundary, CRLF or LF, are those of the whole form. `Content-Transfer-Encoding` is
//! not undone.
//!
//! Source: behaviour of Prometheus 3.5.3 (Go's `mime/multipart`), observed.
#![deny(clippy::indexing_slicing)]

use percent_encoding::percent_decode_str;

/// The most parts of a form; Go's limit, so Prometheus's.
const PARTS_MAX: usize = 1000;

/// The most header bytes of a part.
const HEADER_BYTES_MAX: usize = 64 << 10;

/// Names and values of a form, in order.
type Pairs = Vec<(String, String)>;

/// A media type or a disposition and its parameters, names in lower case.
#[derive(Debug, PartialEq, Eq)]
struct Parameters {
    kind: String,
    pairs: Pairs,
}

impl Parameters {
    /// Reads `kind; name=value; name="quoted value"; name*=utf-8''escaped`; `None` when that is not
    /// what it is.
    fn parse(text: &str) -> Option<Self> {
        let (kind, mut rest) = match text.split_once(';') {
            Some((kind, rest)) => (kind, rest.trim_start()),
            None => (text, ""),
        };
        let mut pairs: Pairs = Vec::new();
        while !rest.is_empty() {
            let (name, behind) = rest.split_once('=')?;
            let name = name.trim_end().to_ascii_lowercase();
            let (value, behind) = value(behind.trim_start())?;
            if name.is_empty() || !name.bytes().all(is_token) {
                return None;
            }
            let (name, value) = match name.strip_suffix('*') {
                Some(name) => {
                    let escaped = value.splitn(3, '\'').nth(2)?;
                    let value = percent_decode_str(escaped).decode_utf8_lossy();
                    (name.to_owned(), value.into_owned())
                }
                None => (name, value),
            };
            if pairs.iter().any(|(taken, _)| *taken == name) {
                return None;
            }
            pairs.push((name, value));
            let behind = behind.trim_start();
            rest = match behind.strip_prefix(';') {
                Some(next) => next.trim_start(),
                None if behind.is_empty() => behind,
                None => return None,
            };
        }
        Some(Self {
            kind: kind.trim().to_ascii_lowercase(),
            pairs,
        })
    }

    fn get(&self, name: &str) -> Option<&str> {
        let found = self.pairs.iter().find(|(taken, _)| taken == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// What no token holds, and what a backslash in a quoted value takes along; any other backslash, as
/// in a path, stands for itself.
const SPECIAL: &str = "()<>@,;:\\\"/[]?=";

fn is_token(byte: u8) -> bool {
    byte.is_ascii_graphic() && !SPECIAL.as_bytes().contains(&byte)
}

/// The value of a parameter, and what stands behind it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.bytes().position(|byte| !is_token(byte));
        let (value, rest) = text.split_at_checked(end.unwrap_or(text.len()))?;
        return (!value.is_empty()).then(|| (value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '"' => return Some((value, characters.as_str())),
            '\\' => match characters.clone().next()? {
                escaped if SPECIAL.contains(escaped) => {
                    value.push(escaped);
                    characters.next();
                }
                _ => value.push('\\'),
            },
            '\r' | '\n' => return None,
            other => value.push(other),
        }
    }
}

/// The boundary of a form's parts; `None` when a body of this content type is no such form.
pub(crate) fn boundary(content_type: &str) -> Option<String> {
    let parameters = Parameters::parse(content_type)?;
    let boundary = parameters.get("boundary")?;
    (parameters.kind == "multipart/form-data" && !boundary.is_empty()).then(|| boundary.to_owned())
}

/// The values of the form in `body`; `None` when it is not whole.
pub(crate) fn form_values(body: &[u8], boundary: &str) -> Option<Pairs> {
    let mut reader = Reader {
        rest: body,
        boundary: format!("--{boundary}").into_bytes(),
        line_end: b"\r\n",
    };
    let mut values = Vec::new();
    if !reader.skip_preamble()? {
        return Some(values);
    }
    for _ in 0..PARTS_MAX {
        let name = reader.name()?;
        let content = reader.content()?;
        if !name.is_empty() {
            values.push((name, String::from_utf8_lossy(content).into_owned()));
        }
        if !reader.next_part()? {
            return Some(values);
        }
    }
    None
}

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// A part follows.
    Boundary,
    /// The form ends.
    End,
    Other,
}

/// A place in a form.
struct Reader<'a> {
    rest: &'a [u8],
    /// The boundary behind its two dashes.
    boundary: Vec<u8>,
    line_end: &'static [u8],
}

impl<'a> Reader<'a> {
    /// The next line with its end, which only the last one may lack.
    fn line(&mut self) -> &'a [u8] {
        let end = memchr::memchr(b'\n', self.rest).map_or(self.rest.len(), |found| found + 1);
        let (line, rest) = self.rest.split_at_checked(end).unwrap_or_default();
        self.rest = rest;
        line
    }

    fn judge(&self, line: &[u8]) -> Line {
        let Some(rest) = line.strip_prefix(self.boundary.as_slice()) else {
            return Line::Other;
        };
        let blanks = |text: &[u8]| {
            text.iter()
                .take_while(|byte| matches!(byte, b' ' | b'\t'))
                .count()
        };
        if let Some(end) = rest.strip_prefix(b"--") {
            let end = end.get(blanks(end)..).unwrap_or_default();
            if end.is_empty() || end == self.line_end {
                return Line::End;
            }
        }
        if rest.get(blanks(rest)..) == Some(self.line_end) {
            Line::Boundary
        } else {
            Line::Other
        }
    }

    /// Moves behind the first boundary; false when the form ends there.
    fn skip_preamble(&mut self) -> Option<bool> {
        while !self.rest.is_empty() {
            let line = self.line();
            for line_end in [b"\r\n".as_slice(), b"\n"] {
                self.line_end = line_end;
                match self.judge(line) {
                    Line::Boundary => return Some(true),
                    Line::End => return Some(false),
                    Line::Other => {}
                }
            }
        }
        None
    }

    /// Moves behind the boundary at the end of a part; false when the form ends there.
    fn next_part(&mut self) -> Option<bool> {
        let mut line = self.line();
        if line == self.line_end {
            line = self.line();
        }
        match self.judge(line) {
            Line::Boundary => Some(true),
            Line::End => Some(false),
            Line::Other => None,
        }
    }

    /// Reads a part's headers: its name, which is empty when it is no value of a form.
    fn name(&mut self) -> Option<String> {
        let mut headers: Vec<String> = Vec::new();
        let before = self.rest.len();
        loop {
            let line = self.line();
            if !line.ends_with(b"\n") || before - self.rest.len() > HEADER_BYTES_MAX {
                return None;
            }
            let line = String::from_utf8_lossy(line);
            let text = line.trim_end();
            if text.is_empty() {
                break;
            }
            match headers.last_mut() {
                Some(last) if text.starts_with([' ', '\t']) => {
                    last.push(' ');
                    last.push_str(text.trim_start());
                }
                _ => headers.push(text.to_owned()),
            }
        }
        let mut disposition = None;
        for header in &headers {
            let (name, value) = header.split_once(':')?;
            if name.is_empty() || !name.bytes().all(is_token) {
                return None;
            }
            if disposition.is_none() && name.eq_ignore_ascii_case("content-disposition") {
                disposition = Parameters::parse(value.trim());
            }
        }
        let is_value = |found: &Parameters| {
            found.kind == "form-data" && found.get("filename").is_none_or(str::is_empty)
        };
        let name = disposition
            .filter(is_value)
            .and_then(|found| found.get("name").map(str::to_owned));
        Some(name.unwrap_or_default())
    }

    /// Reads a part's content, up to the line end before the next boundary.
    fn content(&mut self) -> Option<&'a [u8]> {
        // Without content the boundary follows the headers at once.
        if self.is_boundary(0) {
            return Some(b"");
        }
        let separator = [self.line_end, &self.boundary].concat();
        for found in memchr::memmem::find_iter(self.rest, &separator) {
            if self.is_boundary(found + self.line_end.len()) {
                let (content, rest) = self.rest.split_at_checked(found)?;
                self.rest = rest;
                return Some(content);
            }
        }
        None
    }

    /// Whether a boundary, not only something that begins like one, stands at `start`.
    fn is_boundary(&self, start: usize) -> bool {
        let rest = self.rest.get(start..).unwrap_or_default();
        match rest.strip_prefix(self.boundary.as_slice()) {
            Some([] | [b' ' | b'\t' | b'\r' | b'\n', ..] | [b'-', b'-', ..]) => true,
            Some(_) | None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(header: &str, value: &str) -> String {
        format!("--B\r\nContent-Disposition: form-data; {header}\r\n\r\n{value}\r\n")
    }

    fn check(body: &str, expected: Option<&[(&str, &str)]>) {
        let found = form_values(body.as_bytes(), "B");
        let found = found.as_ref().map(|pairs| {
            let pairs = pairs.iter();
            let pairs = pairs.map(|(name, value)| (name.as_str(), value.as_str()));
            pairs.collect::<Vec<_>>()
        });
        assert_eq!(found.as_deref(), expected, "{body:?}");
    }

    const END: &str = "--B--\r\n";

    /// Each body was sent to Prometheus 3.5.3 as the form of a query.
    #[test]
    fn values_are_found_as_go_finds_them() {
        let query = part(r#"name="query""#, "1");
        let time = part("name=time", "5");
        let both: &[(&str, &str)] = &[("query", "1"), ("time", "5")];
        let whole = format!("{query}{time}{END}");
        check(&whole, Some(both));
        check(whole.trim_end(), Some(both));
        check(&format!("{whole}epilogue"), Some(both));
        check(&format!("preamble\r\n{whole}"), Some(both));
        check(&whole.replace("\r\n", "\n"), Some(both));
        check(&whole.replacen("--B\r", "--B \t\r", 1), Some(both));
        check(&whole.replace("--B--", "--B-- "), Some(both));
        check(
            &whole.replace("form-data; name=", "FORM-DATA;NAME = "),
            Some(both),
        );
        check(
            &whole.replace("form-data; name=", "form-data;\r\n name="),
            Some(both),
        );
        check(
            &whole.replace("name=time", "name*=utf-8''ti%6de"),
            Some(both),
        );
        check(
            &whole.replace("name=time", r#"filename="";name=time"#),
            Some(both),
        );
        let only_time: &[(&str, &str)] = &[("time", "5")];
        for other in [
            r#"name="query"; filename="f""#,
            "name=query; filename*=utf-8''f",
            r#"name="que"ry""#,
            "name=query; name=query",
            r#"name="""#,
            "title=query",
        ] {
            check(&whole.replace(r#"name="query""#, other), Some(only_time));
        }
        check(
            &whole.replacen("form-data", "attachment", 1),
            Some(only_time),
        );
        check(&whole.replacen("Disposition", "Type", 1), Some(only_time));
        check(&whole.replacen("--B\r", "--B x\r", 1), Some(only_time));
        check(
            &whole.replacen("1\r\n", "", 1),
            Some(&[("query", ""), ("time", "5")]),
        );
        check(END, Some(&[]));
        let value = "1\r\n--Bx\r\n";
        let odd = format!("{}{END}", part("name=query", value));
        check(&odd, Some(&[("query", value)]));
        let escaped = format!("{}{END}", part(r#"name="q\"\/\\\x""#, "1"));
        check(&escaped, Some(&[(r#"q"/\\x"#, "1")]));
    }

    #[test]
    fn a_form_is_whole_or_nothing() {
        let query = part(r#"name="query""#, "1");
        let whole = format!("{query}{}{END}", part("name=time", "5"));
        check("", None);
        check(&query, None);
        check(whole.trim_end_matches("-B--\r\n"), None);
        check(&whole.replacen("Disposition:", "Disposition", 1), None);
        check(
            &whole
                .replacen("\r\n\r\n1", "\n\n1", 1)
                .replacen("\r\n", "\n", 1),
            None,
        );
        let long = format!("X: {}\r\nContent-D", "x".repeat(HEADER_BYTES_MAX));
        check(&whole.replacen("Content-D", &long, 1), None);
        let many =
            |count: usize| form_values(format!("{}{END}", query.repeat(count)).as_bytes(), "B");
        assert_eq!(many(PARTS_MAX).map(|pairs| pairs.len()), Some(PARTS_MAX));
        assert_eq!(many(PARTS_MAX + 1), None);
    }

    #[test]
    fn only_the_content_type_of_a_form_has_a_boundary() {
        for (content_type, expected) in [
            ("multipart/form-data; boundary=B", Some("B")),
            (r#"Multipart/Form-Data ; BOUNDARY="B C";"#, Some("B C")),
            ("multipart/form-data; charset=utf-8; boundary=B", Some("B")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary", None),
            (r#"multipart/form-data; boundary="""#, None),
            ("multipart/form-data; boundary=B; boundary=C", None),
            ("multipart/mixed; boundary=B", None),
        ] {
            assert_eq!(
                boundary(content_type).as_deref(),
                expected,
                "{content_type}"
            );
        }
    }
}
