//! From YAML nodes to values, by the rules of Go's `yaml.v3`.
//!
//! A value of a wrong kind, an unknown key and a repeated key are noted with their place and reading
//! goes on, so that one run reports all of them; a duration that cannot be read ends it at once, as
//! upstream. Null means the zero value of a type; null in a list of structs is skipped.

use std::{collections::HashMap, rc::Rc, time::Duration};

use narthex_query::parser::quote;
use narthex_yaml::{Content, Node, Position};

/// How many problems are kept; a generated file may have one a line.
const PROBLEMS_MAX: usize = 1_000;

/// Something wrong, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Where.
    pub(crate) position: Position,
    /// What.
    pub(crate) text: String,
}

/// Ends the reading of a document: a value of the right kind with an unusable content.
#[derive(Debug)]
pub(crate) struct Abort(pub(crate) Problem);

/// A key with its value, merge keys written out.
#[derive(Debug)]
pub(crate) struct Field {
    /// The key's text.
    pub(crate) name: String,
    /// The key.
    pub(crate) key: Rc<Node>,
    /// The value.
    pub(crate) value: Rc<Node>,
}

/// An entry of a map of texts.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The key.
    pub(crate) name: String,
    /// Where the key stands.
    pub(crate) name_at: Position,
    /// The value.
    pub(crate) value: String,
    /// Where the value stands.
    pub(crate) value_at: Position,
}

/// Reads values and collects what is wrong with them.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    ignore_unknown_fields: bool,
    problems: Vec<Problem>,
}

impl Decoder {
    pub(crate) fn new(ignore_unknown_fields: bool) -> Self {
        Self {
            ignore_unknown_fields,
            problems: Vec::new(),
        }
    }

    /// What was noted.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    fn note(&mut self, position: Position, text: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { position, text });
        }
    }

    /// Notes a key that `type_name` does not have.
    pub(crate) fn unknown(&mut self, field: &Field, type_name: &str) {
        if !self.ignore_unknown_fields {
            let text = format!("field {} not found in type {type_name}", field.name);
            self.note(field.key.position, text);
        }
    }

    fn mismatch(&mut self, node: &Node, type_name: &str) {
        if let Content::Mapping(pairs) = &node.content
            && !self.keys_are_unique(pairs)
        {
            // Repeated keys are all that upstream says then.
            return;
        }
        let tag = tag(node);
        let found = match &node.content {
            Content::Scalar { text, .. } if text.len() > 10 => {
                let start: String = text.chars().take(7).collect();
                format!("{tag} `{start}...`")
            }
            Content::Scalar { text, .. } => format!("{tag} `{text}`"),
            _ => tag.to_owned(),
        };
        self.note(
            node.position,
            format!("cannot unmarshal {found} into {type_name}"),
        );
    }

    /// The fields of a mapping in the file's order, explicit ones before merged ones, each name once:
    /// the first counts. None when it is null, no mapping, or has repeated keys (noted).
    pub(crate) fn fields(&mut self, node: &Rc<Node>, type_name: &str) -> Result<Vec<Field>, Abort> {
        let Content::Mapping(pairs) = &node.content else {
            if !is_null(node) {
                self.mismatch(node, type_name);
            }
            return Ok(Vec::new());
        };
        if !self.keys_are_unique(pairs) {
            return Ok(Vec::new());
        }
        let mut fields = Vec::with_capacity(pairs.len());
        let mut merges = Vec::new();
        for (key, value) in pairs {
            if is_merge(key) {
                merges.push(value);
                continue;
            }
            let name = self.text(key);
            fields.push(Field {
                name,
                key: Rc::clone(key),
                value: Rc::clone(value),
            });
        }
        for source in merges {
            self.merge(source, type_name, &mut fields)?;
        }
        Ok(fields)
    }

    fn keys_are_unique(&mut self, pairs: &[(Rc<Node>, Rc<Node>)]) -> bool {
        let before = self.problems.len();
        let mut seen: HashMap<&str, Vec<usize>> = HashMap::new();
        for (key, _) in pairs {
            let Content::Scalar { text, .. } = &key.content else {
                continue;
            };
            let lines = seen.entry(text).or_default();
            // Each earlier one is named, as upstream; many of them only until the list is full.
            for line in lines.iter().take(PROBLEMS_MAX) {
                let text = format!("mapping key {} already defined at line {line}", quote(text));
                self.note(key.position, text);
            }
            if lines.len() < PROBLEMS_MAX {
                lines.push(key.position.line);
            }
        }
        self.problems.len() == before
    }

    fn merge(
        &mut self,
        source: &Rc<Node>,
        type_name: &str,
        into: &mut Vec<Field>,
    ) -> Result<(), Abort> {
        let sources: Vec<&Rc<Node>> = match &source.content {
            Content::Mapping(_) => vec![source],
            Content::Sequence(items)
                if items
                    .iter()
                    .all(|item| matches!(item.content, Content::Mapping(_))) =>
            {
                items.iter().collect()
            }
            _ => {
                return Err(Abort(Problem {
                    position: source.position,
                    text: "yaml: map merge requires map or sequence of maps as the value"
                        .to_owned(),
                }));
            }
        };
        for source in sources {
            for field in self.fields(source, type_name)? {
                if into.iter().all(|known| known.name != field.name) {
                    into.push(field);
                }
            }
        }
        Ok(())
    }

    /// The items of a list of structs, without nulls.
    pub(crate) fn items(&mut self, node: &Rc<Node>, type_name: &str) -> Vec<Rc<Node>> {
        match &node.content {
            Content::Sequence(items) => items
                .iter()
                .filter(|item| !is_null(item))
                .map(Rc::clone)
                .collect(),
            _ => {
                if !is_null(node) {
                    self.mismatch(node, type_name);
                }
                Vec::new()
            }
        }
    }

    /// A text: any scalar as written; null is empty.
    pub(crate) fn text(&mut self, node: &Node) -> String {
        match &node.content {
            _ if is_null(node) => String::new(),
            Content::Scalar { text, .. } => text.clone(),
            _ => {
                self.mismatch(node, "string");
                String::new()
            }
        }
    }

    /// A whole number; null is zero.
    pub(crate) fn integer(&mut self, node: &Node) -> i64 {
        match resolve(node) {
            Resolved::Null => 0,
            Resolved::Integer(value) => value,
            Resolved::Float(value) if value.abs() < 9.2e18 => value as i64,
            _ => {
                self.mismatch(node, "int");
                0
            }
        }
    }

    /// A duration in Prometheus's notation; null is zero.
    pub(crate) fn duration(&mut self, node: &Node) -> Result<Duration, Abort> {
        if is_null(node) {
            return Ok(Duration::ZERO);
        }
        let before = self.problems.len();
        let text = self.text(node);
        if self.problems.len() > before {
            return Ok(Duration::ZERO);
        }
        narthex_query::parse_duration(&text).map_err(|error| {
            Abort(Problem {
                position: node.position,
                text: error.to_string(),
            })
        })
    }

    /// A map of texts, ascending by key.
    pub(crate) fn text_map(&mut self, node: &Rc<Node>) -> Result<Vec<Entry>, Abort> {
        let fields = self.fields(node, "map[string]string")?;
        let mut entries: Vec<Entry> = fields
            .into_iter()
            .map(|field| Entry {
                value: self.text(&field.value),
                value_at: field.value.position,
                name_at: field.key.position,
                name: field.name,
            })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }
}

/// Whether a node is null: nothing, `~` or `null` without quotes.
pub(crate) fn is_null(node: &Node) -> bool {
    matches!(resolve(node), Resolved::Null)
}

fn is_merge(key: &Node) -> bool {
    match &key.content {
        Content::Scalar { text, plain } => {
            *plain && text == "<<" && matches!(key.tag.as_deref(), None | Some("!!merge"))
        }
        _ => false,
    }
}

/// What a scalar without a declared type means.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Resolved {
    Null,
    Boolean,
    Integer(i64),
    Float(f64),
    Text,
    Collection,
}

/// The short tag that upstream names.
fn tag(node: &Node) -> &str {
    if let Some(tag) = &node.tag {
        return tag;
    }
    match (&node.content, resolve(node)) {
        (Content::Sequence(_), _) => "!!seq",
        (Content::Mapping(_), _) => "!!map",
        (_, Resolved::Null) => "!!null",
        (_, Resolved::Boolean) => "!!bool",
        (_, Resolved::Integer(_)) => "!!int",
        (_, Resolved::Float(_)) => "!!float",
        _ => "!!str",
    }
}

/// YAML 1.2's core schema with the number forms of Go's package.
fn resolve(node: &Node) -> Resolved {
    let Content::Scalar { text, plain } = &node.content else {
        return Resolved::Collection;
    };
    let interpreted = match node.tag.as_deref() {
        None => *plain,
        Some(tag) => matches!(tag, "!!bool" | "!!int" | "!!float" | "!!null"),
    };
    if !interpreted {
        return Resolved::Text;
    }
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => return Resolved::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => return Resolved::Boolean,
        ".nan" | ".NaN" | ".NAN" => return Resolved::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Resolved::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Resolved::Float(f64::NEG_INFINITY),
        _ => {}
    }
    if !text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first)) {
        return Resolved::Text;
    }
    let digits = text.replace('_', "");
    let (negative, magnitude) = match digits.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, digits.strip_prefix('+').unwrap_or(&digits)),
    };
    let (radix, magnitude) = match magnitude.split_at_checked(2) {
        Some(("0x" | "0X", rest)) => (16, rest),
        Some(("0o" | "0O", rest)) => (8, rest),
        Some(("0b" | "0B", rest)) => (2, rest),
        _ if magnitude.len() > 1 && magnitude.starts_with('0') => (8, magnitude),
        _ => (10, magnitude),
    };
    if let Ok(value) = i64::from_str_radix(magnitude, radix)
        && magnitude.starts_with(|first: char| first.is_ascii_alphanumeric())
    {
        return Resolved::Integer(if negative { -value } else { value });
    }
    let is_number = digits
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    match digits.parse() {
        Ok(value) if is_number => Resolved::Float(value),
        _ => Resolved::Text,
    }
}
