//! From nodes to values, by the rules of Go's `yaml.v2` in strict mode.
//!
//! Like the original, a value of a wrong kind, an unknown key and a repeated key are noted and
//! reading goes on, so that one run reports all of them; a value that has the right kind and a wrong
//! content ends it at once. Null means the zero value of a type, not its default.

use std::{collections::HashSet, fmt::Write as _, rc::Rc};

use crate::{Content, Node, Position};

/// A wrong kind of value or a key that should not be there; reading goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// Where the key or value stands.
    pub position: Position,
    /// What is wrong, in Go's words.
    pub text: String,
    /// Whether the key is wrong rather than its value.
    pub on_key: bool,
}

impl Issue {
    fn key(position: Position, text: String) -> Self {
        Self {
            position,
            text,
            on_key: true,
        }
    }

    fn value(position: Position, text: String) -> Self {
        Self {
            position,
            text,
            on_key: false,
        }
    }
}

/// All issues of a text in one message, as Go prints them.
pub fn unmarshal_errors(issues: &[Issue]) -> String {
    let mut message = "yaml: unmarshal errors:".to_owned();
    for issue in issues {
        write!(message, "\n  line {}: {}", issue.position.line, issue.text)
            .expect("writing to a string does not fail");
    }
    message
}

/// What ends the reading of a text at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// Where the value or section stands.
    pub position: Position,
    /// Whether a whole section is wrong rather than one value.
    pub on_key: bool,
}

impl Problem {
    /// A problem of the value at `position`.
    pub fn value(position: Position, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            position,
            on_key: false,
        }
    }

    /// A problem of the section that begins at `position`.
    pub fn section(position: Position, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            position,
            on_key: true,
        }
    }
}

/// Reads values and collects what is wrong with them.
#[derive(Debug, Default)]
pub struct Decoder {
    issues: Vec<Issue>,
}

/// A key with its value.
#[derive(Debug)]
pub struct Field {
    /// The key's text.
    pub name: String,
    /// The key.
    pub key: Rc<Node>,
    /// The value.
    pub value: Rc<Node>,
}

impl Decoder {
    /// What was noted so far, in the order of the lines.
    pub fn into_issues(mut self) -> Vec<Issue> {
        self.issues.sort_by_key(|issue| issue.position.line);
        self.issues
    }

    /// How many issues were noted: a struct whose number grew while it was read is not validated.
    pub fn issue_count(&self) -> usize {
        self.issues.len()
    }

    /// Notes a key that does not exist in `type_name`.
    pub fn unknown_field(&mut self, field: &Field, type_name: &str) {
        let text = format!("field {} not found in type {type_name}", field.name);
        self.issues.push(Issue::key(field.key.position, text));
    }

    fn mismatch(&mut self, node: &Node, type_name: &str) {
        let found = match &node.content {
            Content::Sequence(_) => node.tag.clone().unwrap_or_else(|| "!!seq".to_owned()),
            Content::Mapping(_) => node.tag.clone().unwrap_or_else(|| "!!map".to_owned()),
            Content::Scalar { text, .. } => {
                let tag = node
                    .tag
                    .clone()
                    .unwrap_or_else(|| Resolved::of(node).tag().to_owned());
                if text.len() > 10 {
                    let start: String = text.chars().take(7).collect();
                    format!("{tag} `{start}...`")
                } else {
                    format!("{tag} `{text}`")
                }
            }
        };
        let text = format!("cannot unmarshal {found} into {type_name}");
        self.issues.push(Issue::value(node.position, text));
    }

    /// The fields of a struct, merge keys written out, in the order in which they count: a later
    /// field of the same name replaces an earlier one. Null has none.
    ///
    /// # Errors
    /// A [`Problem`] when a merge key names something else than mappings.
    pub fn fields(&mut self, node: &Rc<Node>, type_name: &str) -> Result<Vec<Field>, Problem> {
        let mut fields = Vec::new();
        self.collect(node, type_name, &mut fields)?;
        Ok(fields)
    }

    fn collect(
        &mut self,
        node: &Rc<Node>,
        type_name: &str,
        into: &mut Vec<Field>,
    ) -> Result<(), Problem> {
        let Content::Mapping(pairs) = &node.content else {
            if !is_null(node) {
                self.mismatch(node, type_name);
            }
            return Ok(());
        };
        let mut seen = HashSet::new();
        for (key, value) in pairs {
            if is_merge(key) {
                for source in merge_sources(value)? {
                    self.collect(source, type_name, into)?;
                }
                continue;
            }
            let name = self.text(key);
            if !seen.insert(name.clone()) {
                let text = format!("field {name} already set in type {type_name}");
                self.issues.push(Issue::key(key.position, text));
                continue;
            }
            into.push(Field {
                name,
                key: Rc::clone(key),
                value: Rc::clone(value),
            });
        }
        Ok(())
    }

    /// The entries of a map with text keys, in the file's order, each key once.
    ///
    /// # Errors
    /// A [`Problem`] when a merge key names something else than mappings.
    pub fn map(&mut self, node: &Rc<Node>, type_name: &str) -> Result<Vec<Field>, Problem> {
        let mut entries = Vec::new();
        let mut seen = HashSet::new();
        self.collect_map(node, type_name, &mut seen, &mut entries)?;
        Ok(entries)
    }

    fn collect_map(
        &mut self,
        node: &Rc<Node>,
        type_name: &str,
        seen: &mut HashSet<String>,
        into: &mut Vec<Field>,
    ) -> Result<(), Problem> {
        let Content::Mapping(pairs) = &node.content else {
            if !is_null(node) {
                self.mismatch(node, type_name);
            }
            return Ok(());
        };
        for (key, value) in pairs {
            if is_merge(key) {
                for source in merge_sources(value)? {
                    self.collect_map(source, type_name, seen, into)?;
                }
                continue;
            }
            let name = self.text(key);
            if !seen.insert(name.clone()) {
                let text = format!("key {name:?} already set in map");
                // Go names the line of the value, which may stand on a line of its own.
                self.issues.push(Issue::key(
                    Position {
                        line: value.position.line,
                        ..key.position
                    },
                    text,
                ));
                continue;
            }
            into.push(Field {
                name,
                key: Rc::clone(key),
                value: Rc::clone(value),
            });
        }
        Ok(())
    }

    /// The items of a sequence; null has none.
    pub fn items<'a>(&mut self, node: &'a Node, type_name: &str) -> &'a [Rc<Node>] {
        match &node.content {
            Content::Sequence(items) => items,
            _ => {
                if !is_null(node) {
                    self.mismatch(node, type_name);
                }
                &[]
            }
        }
    }

    /// A text: any scalar as written; null is empty.
    pub fn text(&mut self, node: &Node) -> String {
        self.text_of(node, "string")
    }

    /// A text of a type that Go's messages call `type_name`.
    pub fn text_of(&mut self, node: &Node, type_name: &str) -> String {
        match &node.content {
            Content::Scalar { .. } if is_null(node) => String::new(),
            Content::Scalar { text, .. } => text.clone(),
            _ => {
                self.mismatch(node, type_name);
                String::new()
            }
        }
    }

    /// A list of texts.
    pub fn texts(&mut self, node: &Node) -> Vec<String> {
        let items = self.items(node, "[]string");
        items.iter().map(|item| self.text(item)).collect()
    }

    /// A map of texts.
    ///
    /// # Errors
    /// A [`Problem`] when a merge key names something else than mappings.
    pub fn text_map(&mut self, node: &Rc<Node>) -> Result<Vec<(String, String)>, Problem> {
        let entries = self.map(node, "map[string]string")?;
        Ok(entries
            .into_iter()
            .map(|entry| (entry.name, self.text(&entry.value)))
            .collect())
    }

    /// A truth value; null is false.
    pub fn boolean(&mut self, node: &Node) -> bool {
        self.optional_boolean(node).unwrap_or(false)
    }

    /// A truth value, or `None` for null.
    pub fn optional_boolean(&mut self, node: &Node) -> Option<bool> {
        match Resolved::of(node) {
            Resolved::Boolean(value) => Some(value),
            Resolved::Null => None,
            _ => {
                self.mismatch(node, "bool");
                None
            }
        }
    }

    /// A whole number from zero.
    pub fn unsigned(&mut self, node: &Node) -> u64 {
        match Resolved::of(node) {
            Resolved::Integer(value) if value >= 0 => u64::try_from(value).unwrap_or(u64::MAX),
            Resolved::Float(value) if (0.0..1.8e19).contains(&value) => value as u64,
            Resolved::Null => 0,
            _ => {
                self.mismatch(node, "uint");
                0
            }
        }
    }

    /// A whole number.
    pub fn integer(&mut self, node: &Node) -> i64 {
        match Resolved::of(node) {
            Resolved::Integer(value) if i64::try_from(value).is_ok() => value as i64,
            Resolved::Float(value) if value.abs() < 9.2e18 => value as i64,
            Resolved::Null => 0,
            _ => {
                self.mismatch(node, "int");
                0
            }
        }
    }

    /// A number.
    pub fn float(&mut self, node: &Node) -> f64 {
        match Resolved::of(node) {
            Resolved::Integer(value) => value as f64,
            Resolved::Float(value) => value,
            Resolved::Null => 0.0,
            _ => {
                self.mismatch(node, "float64");
                0.0
            }
        }
    }

    /// A text in a notation of its own, read by `parse`; null is the type's zero value.
    ///
    /// # Errors
    /// A [`Problem`] with the message of `parse`.
    pub fn parsed<T: Default>(
        &mut self,
        node: &Node,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, Problem> {
        if is_null(node) {
            return Ok(T::default());
        }
        let before = self.issues.len();
        let text = self.text(node);
        if self.issues.len() > before {
            return Ok(T::default());
        }
        parse(&text).map_err(|message| Problem::value(node.position, message))
    }
}

/// Whether a node is null: nothing, `~` or `null` without quotes.
pub fn is_null(node: &Node) -> bool {
    matches!(Resolved::of(node), Resolved::Null)
}

/// Whether a text without quotes would be read as something else than a text: a number, a truth
/// value, null, a merge key, a date, or YAML 1.1's numbers to the base of sixty.
pub fn is_interpreted(text: &str) -> bool {
    Resolved::of_plain(text) != Resolved::Text
        || text == "<<"
        || is_date(text)
        || is_base_sixty(text)
}

/// `2006-1-2`, alone or with a time behind it.
fn is_date(text: &str) -> bool {
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(end) => text.split_at(end),
        None => (text, ""),
    };
    let parts: Vec<&str> = date.split('-').collect();
    let [year, month, day] = parts.as_slice() else {
        return false;
    };
    let digits = |part: &str, lengths: &[usize]| {
        lengths.contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    let time = time.trim_start_matches(['T', 't', ' ']);
    digits(year, &[4])
        && digits(month, &[1, 2])
        && digits(day, &[1, 2])
        && (time.is_empty() || time.starts_with(|first: char| first.is_ascii_digit()))
}

/// `1:30`, `-12:5:59.5`.
fn is_base_sixty(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let Some((first, rest)) = text.split_once(':') else {
        return false;
    };
    let rest = match rest.split_once('.') {
        Some((rest, fraction)) => {
            let plain = |byte: u8| byte.is_ascii_digit() || byte == b'_';
            if !fraction.bytes().all(plain) {
                return false;
            }
            rest
        }
        None => rest,
    };
    let number = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_digit())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'_')
    };
    number(first)
        && rest
            .split(':')
            .all(|part| part.parse::<u8>().is_ok_and(|value| value < 60) && part.len() <= 2)
}

fn is_merge(key: &Node) -> bool {
    match &key.content {
        Content::Scalar { text, plain } => {
            *plain && text == "<<" && matches!(key.tag.as_deref(), None | Some("!!merge"))
        }
        _ => false,
    }
}

/// The mappings a merge key names; of several, the first counts most and therefore comes last.
fn merge_sources(value: &Rc<Node>) -> Result<Vec<&Rc<Node>>, Problem> {
    let wrong = || {
        Problem::value(
            value.position,
            "yaml: map merge requires map or sequence of maps as the value".to_owned(),
        )
    };
    match &value.content {
        Content::Mapping(_) => Ok(vec![value]),
        Content::Sequence(items) => {
            if items
                .iter()
                .any(|item| !matches!(item.content, Content::Mapping(_)))
            {
                return Err(wrong());
            }
            Ok(items.iter().rev().collect())
        }
        Content::Scalar { .. } => Err(wrong()),
    }
}

/// What a scalar means. Source: the resolver of Go's `yaml.v2`, YAML 1.1 with its truth values.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Resolved {
    Null,
    Boolean(bool),
    Integer(i128),
    Float(f64),
    Text,
    Collection,
}

impl Resolved {
    fn of(node: &Node) -> Self {
        let Content::Scalar { text, plain } = &node.content else {
            return Self::Collection;
        };
        let interpreted = match node.tag.as_deref() {
            None => *plain,
            Some(tag) => matches!(tag, "!!bool" | "!!int" | "!!float" | "!!null"),
        };
        if interpreted {
            Self::of_plain(text)
        } else {
            Self::Text
        }
    }

    fn of_plain(text: &str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Self::Null,
            "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
                return Self::Boolean(true);
            }
            "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off"
            | "OFF" => return Self::Boolean(false),
            ".nan" | ".NaN" | ".NAN" => return Self::Float(f64::NAN),
            ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
                return Self::Float(f64::INFINITY);
            }
            "-.inf" | "-.Inf" | "-.INF" => return Self::Float(f64::NEG_INFINITY),
            _ => {}
        }
        if !text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first)) {
            return Self::Text;
        }
        let number = text.replace('_', "");
        if let Some(value) = integer(&number) {
            return Self::Integer(value);
        }
        let looks_like_float = number
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
            && number.bytes().any(|byte| byte.is_ascii_digit());
        match number.parse() {
            Ok(value) if looks_like_float => Self::Float(value),
            _ => Self::Text,
        }
    }

    fn tag(self) -> &'static str {
        match self {
            Self::Null => "!!null",
            Self::Boolean(_) => "!!bool",
            Self::Integer(_) => "!!int",
            Self::Float(_) => "!!float",
            Self::Text | Self::Collection => "!!str",
        }
    }
}

/// A whole number in Go's notation: `0x`, `0b`, `0o` and a bare leading `0` choose the base.
fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (digits, base) = if let Some(rest) = lower.strip_prefix("0x") {
        (rest, 16)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (rest, 2)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (rest, 8)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (lower.trim_start_matches('0'), 8)
    } else {
        (lower.as_str(), 10)
    };
    if digits.is_empty() && lower.trim_start_matches('0').is_empty() && !lower.is_empty() {
        return Some(0);
    }
    if !digits.starts_with(|first: char| first.is_ascii_hexdigit()) {
        return None;
    }
    let value = i128::from(u64::from_str_radix(digits, base).ok()?);
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a struct `T` with a text, a switch, a number, and a map of texts, as strictly as it goes.
    fn check(text: &str, expected: &str) {
        let mut decoder = Decoder::default();
        let root = crate::parse(text.as_bytes()).unwrap().unwrap();
        let mut said = Vec::new();
        let mut read = || -> Result<(), Problem> {
            for field in decoder.fields(&root, "main.T")? {
                match field.name.as_str() {
                    "text" => said.push(format!("{:?}", decoder.text(&field.value))),
                    "switch" => said.push(decoder.boolean(&field.value).to_string()),
                    "number" => said.push(decoder.float(&field.value).to_string()),
                    "map" => said.push(format!("{:?}", decoder.text_map(&field.value)?)),
                    "half" => {
                        let half = decoder.parsed(&field.value, |text| match text.len() % 2 {
                            0 => Ok(text.len() / 2),
                            _ => Err(format!("{text:?} has no half")),
                        })?;
                        said.push(half.to_string());
                    }
                    _ => decoder.unknown_field(&field, "main.T"),
                }
            }
            Ok(())
        };
        if let Err(problem) = read() {
            said.push(problem.message);
        }
        let issues = decoder.into_issues();
        if !issues.is_empty() {
            said.push(unmarshal_errors(&issues));
        }
        assert_eq!(said.join("; "), expected, "{text}");
    }

    #[test]
    fn values_are_read_as_go_reads_them() {
        check(
            "text: 012\nswitch: on\nnumber: 1_0.5",
            r#""012"; true; 10.5"#,
        );
        check(
            "text:\nswitch: ~\nnumber: null\nhalf:",
            r#"""; false; 0; 0"#,
        );
        check(
            "map: {b: 1, a: x}\nhalf: four",
            r#"[("b", "1"), ("a", "x")]; 2"#,
        );
        check(
            "number: 0x10\nswitch: 'on'",
            "16; false; yaml: unmarshal errors:\n  line 2: cannot unmarshal !!str `on` into bool",
        );
        check("half: one", r#""one" has no half"#);
        check(
            "a: &a {text: x, number: 1}\n<<: *a\ntext: z",
            "\"x\"; 1; \"z\"; yaml: unmarshal errors:\n  line 1: field a not found in type main.T",
        );
    }

    #[test]
    fn all_that_is_wrong_is_noted_in_gos_words() {
        check(
            "foo: 1\ntext: [a]\nnumber: a text that is long\nswitch: {}\ntext: b",
            "\"\"; 0; false; yaml: unmarshal errors:\n  line 1: field foo not found in type main.T\n  line 2: cannot unmarshal !!seq into string\n  line 3: cannot unmarshal !!str `a text ...` into float64\n  line 4: cannot unmarshal !!map into bool\n  line 5: field text already set in type main.T",
        );
        check(
            "map: {a: 1, a: 2}",
            "[(\"a\", \"1\")]; yaml: unmarshal errors:\n  line 1: key \"a\" already set in map",
        );
        check(
            "<<: 1",
            "yaml: map merge requires map or sequence of maps as the value",
        );
    }
}
