//! From YAML nodes to values, by the rules of Go's `yaml.v2` in strict mode.
//!
//! Like the original, a value of a wrong kind, an unknown key and a repeated key are noted and
//! reading goes on, so that one run reports all of them; a value that has the right kind and a wrong
//! content ends it at once. Null means the zero value of a type, not its default.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use narthex_yaml::{Content, Node, Position};

use super::{
    Secret, bytes,
    error::{Issue, Problem},
};

/// Reads values and collects what is wrong with them.
#[derive(Debug)]
pub(super) struct Decoder {
    /// The directory relative paths resolve against.
    directory: PathBuf,
    issues: Vec<Issue>,
}

/// A key with its value; the key's text is `name`.
pub(super) struct Field {
    pub(super) name: String,
    pub(super) key: Rc<Node>,
    pub(super) value: Rc<Node>,
}

impl Decoder {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            issues: Vec::new(),
        }
    }

    /// What was noted so far.
    pub(super) fn into_issues(self) -> Vec<Issue> {
        self.issues
    }

    /// How many issues were noted: a struct whose number grew while it was read is not validated.
    pub(super) fn issue_count(&self) -> usize {
        self.issues.len()
    }

    /// Notes a key that does not exist in `type_name`.
    pub(super) fn unknown_field(&mut self, field: &Field, type_name: &str) {
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
    pub(super) fn fields(
        &mut self,
        node: &Rc<Node>,
        type_name: &str,
    ) -> Result<Vec<Field>, Problem> {
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
    pub(super) fn map(&mut self, node: &Rc<Node>, type_name: &str) -> Result<Vec<Field>, Problem> {
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
    pub(super) fn items<'a>(&mut self, node: &'a Node, type_name: &str) -> &'a [Rc<Node>] {
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
    pub(super) fn text(&mut self, node: &Node) -> String {
        match &node.content {
            Content::Scalar { .. } if is_null(node) => String::new(),
            Content::Scalar { text, .. } => text.clone(),
            _ => {
                self.mismatch(node, "string");
                String::new()
            }
        }
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, node: &Node) -> Vec<String> {
        let items = self.items(node, "[]string");
        items.iter().map(|item| self.text(item)).collect()
    }

    /// A map of texts.
    pub(super) fn text_map(&mut self, node: &Rc<Node>) -> Result<Vec<(String, String)>, Problem> {
        let entries = self.map(node, "map[string]string")?;
        Ok(entries
            .into_iter()
            .map(|entry| (entry.name, self.text(&entry.value)))
            .collect())
    }

    /// A text that must not be shown.
    pub(super) fn secret(&mut self, node: &Node) -> Secret {
        Secret::new(self.text(node))
    }

    /// A path, resolved; `None` when empty.
    pub(super) fn path(&mut self, node: &Node) -> Option<PathBuf> {
        let text = self.text(node);
        (!text.is_empty()).then(|| PathBuf::from(self.resolve(&text)))
    }

    /// `text` as a path below the configuration's directory, unless it is absolute or empty.
    pub(super) fn resolve(&self, text: &str) -> String {
        join(&self.directory, text)
    }

    /// A truth value; null is false.
    pub(super) fn boolean(&mut self, node: &Node) -> bool {
        self.optional_boolean(node).unwrap_or(false)
    }

    /// A truth value, or `None` for null.
    pub(super) fn optional_boolean(&mut self, node: &Node) -> Option<bool> {
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
    pub(super) fn unsigned(&mut self, node: &Node) -> u64 {
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
    pub(super) fn integer(&mut self, node: &Node) -> i64 {
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
    pub(super) fn float(&mut self, node: &Node) -> f64 {
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

    /// A duration in Prometheus's notation; null is zero.
    pub(super) fn duration(&mut self, node: &Node) -> Result<Duration, Problem> {
        if is_null(node) {
            return Ok(Duration::ZERO);
        }
        let before = self.issues.len();
        let text = self.text(node);
        if self.issues.len() > before {
            return Ok(Duration::ZERO);
        }
        narthex_query::parse_duration(&text)
            .map_err(|error| Problem::value(node.position, error.to_string()))
    }

    /// A number of bytes such as `10MB`; null is zero.
    pub(super) fn bytes(&mut self, node: &Node) -> Result<u64, Problem> {
        if is_null(node) {
            return Ok(0);
        }
        let before = self.issues.len();
        let text = self.text(node);
        if self.issues.len() > before {
            return Ok(0);
        }
        bytes::parse(&text).map_err(|message| Problem::value(node.position, message))
    }
}

/// Whether a node is null: nothing, `~` or `null` without quotes.
pub(super) fn is_null(node: &Node) -> bool {
    matches!(Resolved::of(node), Resolved::Null)
}

/// Whether a text without quotes would be read as something else than a text: a number, a truth
/// value, null, a merge key, a date, or YAML 1.1's numbers to the base of sixty.
pub(super) fn is_interpreted(text: &str) -> bool {
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

/// Joins and cleans a path as Go's `filepath.Join` does; absolute and empty paths stay.
pub(super) fn join(directory: &Path, path: &str) -> String {
    if path.is_empty() || path.starts_with('/') {
        return path.to_owned();
    }
    let joined = if directory.as_os_str().is_empty() {
        path.to_owned()
    } else {
        format!("{}/{path}", directory.display())
    };
    let mut parts: Vec<&str> = Vec::new();
    let rooted = joined.starts_with('/');
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let cleaned = parts.join("/");
    match (rooted, cleaned.is_empty()) {
        (true, _) => format!("/{cleaned}"),
        (false, true) => ".".to_owned(),
        (false, false) => cleaned,
    }
}
