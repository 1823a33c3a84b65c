//! Checks sections of which nothing is kept, by a table of their keys.
//!
//! A [`Section`] names every key with the kind of its value, and what must hold between them. This
//! is the whole truth about a part of `prometheus.yml` that Narthex accepts and does not use.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use narthex_yaml::{Node, Problem, is_null};

use super::http_client::{HttpClientDraft, tls, url};
use crate::config::decode::Decoder;

/// What the value of a key is.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// A text.
    Text,
    /// A text that must not be shown.
    Secret,
    /// A URL, or nothing.
    Url,
    /// A truth value.
    Boolean,
    /// A whole number.
    Integer,
    /// A number.
    Float,
    /// A duration in Prometheus's notation.
    Duration,
    /// One of some names, with the sentence about any other.
    Name {
        known: &'static [&'static str],
        refusal: fn(&str) -> String,
    },
    /// A list of texts.
    Texts,
    /// Texts by name.
    TextMap,
    /// TLS towards a server.
    Tls,
    /// A section within.
    Section(&'static Section),
    /// A list of sections, with the list's type in Go.
    Sections(&'static Section, &'static str),
}

/// A section: its keys and what must hold between them.
pub(super) struct Section {
    /// What the section is called in Go's messages.
    pub(super) go_type: &'static str,
    /// Every key but those of an HTTP client.
    pub(super) keys: &'static [(&'static str, Kind)],
    /// Whether the keys of an HTTP client stand beside them.
    pub(super) http_client: bool,
    /// What is wrong with the values together, in Prometheus's words.
    pub(super) check: fn(&Values) -> Result<(), String>,
}

/// Nothing has to hold between the values.
#[expect(
    clippy::unnecessary_wraps,
    reason = "it stands beside checks that can fail"
)]
pub(super) fn anything(_: &Values) -> Result<(), String> {
    Ok(())
}

/// The values of a section.
#[derive(Default)]
pub(super) struct Values {
    given: BTreeMap<String, Value>,
    /// Whether the HTTP client is not the default one.
    pub(super) custom_http_client: bool,
}

enum Value {
    Text(String),
    Boolean(bool),
    Integer(i64),
    Duration(Duration),
    Texts(Vec<String>),
    Section(Values),
    Sections(Vec<Values>),
    /// Something that is there and not empty, which no check looks into.
    Other,
    Null,
}

impl Values {
    /// The text of a key; empty when it is not there.
    pub(super) fn text(&self, key: &str) -> &str {
        self.text_or(key, "")
    }

    /// The text of a key, or what stands for it when the key is not there. A key without a value is
    /// empty.
    pub(super) fn text_or<'a>(&'a self, key: &str, default: &'a str) -> &'a str {
        match self.given.get(key) {
            None => default,
            Some(Value::Text(text)) => text,
            Some(_) => "",
        }
    }

    /// The texts of a list.
    pub(super) fn texts(&self, key: &str) -> &[String] {
        match self.given.get(key) {
            Some(Value::Texts(texts)) => texts,
            _ => &[],
        }
    }

    /// The truth value of a key; false when it is not there.
    pub(super) fn boolean(&self, key: &str) -> bool {
        matches!(self.given.get(key), Some(Value::Boolean(true)))
    }

    /// The number of a key; zero when it is not there.
    pub(super) fn integer(&self, key: &str) -> i64 {
        match self.given.get(key) {
            Some(Value::Integer(number)) => *number,
            _ => 0,
        }
    }

    /// The duration of a key, if it is there; zero when it has no value.
    pub(super) fn duration(&self, key: &str) -> Option<Duration> {
        self.given.get(key).map(|value| match value {
            Value::Duration(duration) => *duration,
            _ => Duration::ZERO,
        })
    }

    /// The section under a key, if it is there.
    pub(super) fn section(&self, key: &str) -> Option<&Values> {
        match self.given.get(key) {
            Some(Value::Section(values)) => Some(values),
            _ => None,
        }
    }

    /// The sections of a list.
    pub(super) fn sections(&self, key: &str) -> &[Values] {
        match self.given.get(key) {
            Some(Value::Sections(sections)) => sections,
            _ => &[],
        }
    }

    /// Whether a key is there with a value that is not empty.
    pub(super) fn is_set(&self, key: &str) -> bool {
        match self.given.get(key) {
            None | Some(Value::Null) => false,
            Some(Value::Text(text)) => !text.is_empty(),
            Some(_) => true,
        }
    }
}

/// Reads a section and checks it. `None` when a key or the kind of a value was wrong, which has been
/// noted.
pub(super) fn check_section(
    decoder: &mut Decoder,
    node: &Rc<Node>,
    section: &Section,
) -> Result<Option<Values>, Problem> {
    let before = decoder.issue_count();
    let mut values = Values::default();
    let mut http_client = HttpClientDraft::new(true);
    for field in decoder.fields(node, section.go_type)? {
        let kind = section.keys.iter().find(|(key, _)| *key == field.name);
        let value = match kind {
            Some((_, kind)) => value(decoder, &field.value, *kind)?,
            None if section.http_client && http_client.field(decoder, &field)? => {
                if is_null(&field.value) {
                    Value::Null
                } else {
                    Value::Other
                }
            }
            None => {
                decoder.unknown_field(&field, section.go_type);
                continue;
            }
        };
        values.given.insert(field.name, value);
    }
    if decoder.issue_count() > before {
        return Ok(None);
    }
    values.custom_http_client = !http_client.is_default();
    (section.check)(&values).map_err(|message| Problem::section(node.position, message))?;
    http_client.finish(node.position)?;
    Ok(Some(values))
}

fn value(decoder: &mut Decoder, node: &Rc<Node>, kind: Kind) -> Result<Value, Problem> {
    if is_null(node) {
        return Ok(Value::Null);
    }
    Ok(match kind {
        Kind::Text => Value::Text(decoder.text(node)),
        Kind::Secret => Value::Text(decoder.secret(node).expose().to_owned()),
        Kind::Url => Value::Text(url(decoder, node)?),
        Kind::Boolean => Value::Boolean(decoder.boolean(node)),
        Kind::Integer => Value::Integer(decoder.integer(node)),
        Kind::Float => {
            decoder.float(node);
            Value::Other
        }
        Kind::Duration => Value::Duration(decoder.duration(node)?),
        Kind::Name { known, refusal } => {
            let before = decoder.issue_count();
            let text = decoder.text(node);
            if decoder.issue_count() == before && !known.contains(&text.as_str()) {
                return Err(Problem::value(node.position, refusal(&text)));
            }
            Value::Text(text)
        }
        Kind::Texts => Value::Texts(decoder.texts(node)),
        Kind::TextMap => {
            decoder.text_map(node)?;
            Value::Other
        }
        Kind::Tls => {
            tls(decoder, node)?;
            Value::Other
        }
        Kind::Section(section) => match check_section(decoder, node, section)? {
            Some(values) => Value::Section(values),
            None => Value::Null,
        },
        Kind::Sections(section, go_type) => {
            let mut sections = Vec::new();
            for item in decoder.items(node, go_type) {
                sections.extend(check_section(decoder, item, section)?);
            }
            Value::Sections(sections)
        }
    })
}
