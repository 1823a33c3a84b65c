//! YAML text as a tree of nodes with positions, and a strict reader of values from it.
//!
//! The only place that knows the YAML crate; configuration, rule files and rule tests read the tree.
//!
//! Scalars keep their text and are not interpreted here. Aliases share the node they name. Only the
//! first document of a stream counts, as upstream.

mod decode;

use std::{collections::HashMap, rc::Rc};

pub use decode::{Decoder, Field, Issue, Problem, is_interpreted, is_null, unmarshal_errors};
use serde_saphyr::granit_parser::{ErrorKind, Event, Options, Parser, ScalarStyle, Span, Tag};

/// Where a node stands: line and column, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

/// A node of the tree.
#[derive(Debug)]
pub struct Node {
    /// Where it begins.
    pub position: Position,
    /// The explicit tag in its short form, such as `!!str`.
    pub tag: Option<String>,
    /// What it holds.
    pub content: Content,
    /// Nodes below and including this one, aliases written out.
    expanded_count: u64,
}

/// What a node holds.
#[derive(Debug)]
pub enum Content {
    /// A text; `plain` when it stands without quotes and may mean a number, a truth value or null.
    Scalar {
        /// The text, escapes resolved.
        text: String,
        /// Whether it stands without quotes.
        plain: bool,
    },
    /// Items in order.
    Sequence(Vec<Rc<Node>>),
    /// Keys and values in order, keys possibly repeated.
    Mapping(Vec<(Rc<Node>, Rc<Node>)>),
}

/// Why a text is not YAML, in Go's words where they are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// What is wrong.
    pub message: String,
    /// Where, if that is known.
    pub position: Option<Position>,
}

impl SyntaxError {
    fn at(message: impl Into<String>, span: &Span) -> Self {
        Self {
            message: message.into(),
            position: Some(position(span)),
        }
    }
}

/// Reads the first document of `bytes`; `None` when there is none.
///
/// # Errors
/// When it is not UTF-8 or not YAML, or grows out of proportion through its aliases.
pub fn parse(bytes: &[u8]) -> Result<Option<Rc<Node>>, SyntaxError> {
    let text = std::str::from_utf8(bytes).map_err(|_| SyntaxError {
        message: "yaml: invalid leading UTF-8 octet".to_owned(),
        position: None,
    })?;
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut builder = Builder {
        source: text,
        ..Builder::default()
    };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| {
            let position = Position {
                line: error.marker().line(),
                column: error.marker().col() + 1,
            };
            let message = match error.kind() {
                ErrorKind::UnknownAnchor => {
                    let name = builder.alias_name(error.marker().byte_offset());
                    format!("yaml: unknown anchor '{name}' referenced")
                }
                ErrorKind::TabNotAllowed
                | ErrorKind::TabInBlockIndentation
                | ErrorKind::TabInIndentation
                | ErrorKind::UnexpectedCharacter { .. } => format!(
                    "yaml: line {}: found character that cannot start any token",
                    position.line
                ),
                _ => format!("yaml: line {}: {}", position.line, in_go(&error.info())),
            };
            SyntaxError {
                message,
                position: Some(position),
            }
        })?;
        if matches!(event, Event::DocumentEnd) {
            break;
        }
        builder.event(event, &span)?;
    }
    let Some(root) = builder.root else {
        return Ok(None);
    };
    refuse_excessive_aliasing(builder.node_count, root.expanded_count)?;
    Ok(Some(root))
}

/// A message of the YAML crate in the words of Go's package, where both know the fault.
fn in_go(message: &str) -> &str {
    let fault = match message.strip_prefix("while ") {
        Some(rest) => rest.split_once(", ").map_or(message, |(_, fault)| fault),
        None => message,
    };
    match fault {
        "simple key expected ':'" => "could not find expected ':'",
        "invalid indentation in multiline quoted scalar" | "unclosed quote" => {
            "found unexpected end of stream"
        }
        fault => fault,
    }
}

/// Refuses a document that grows out of proportion through its aliases, by the ratios of Go's YAML
/// package.
fn refuse_excessive_aliasing(node_count: u64, expanded_count: u64) -> Result<(), SyntaxError> {
    const LOW: f64 = 400_000.0;
    const HIGH: f64 = 4_000_000.0;
    let expanded = expanded_count as f64;
    let allowed = (0.99 - 0.89 * (expanded - LOW) / (HIGH - LOW)).clamp(0.10, 0.99);
    let aliased = expanded_count.saturating_sub(node_count);
    if aliased > 100 && expanded_count > 1000 && aliased as f64 / expanded > allowed {
        return Err(SyntaxError {
            message: "yaml: document contains excessive aliasing".to_owned(),
            position: None,
        });
    }
    Ok(())
}

fn position(span: &Span) -> Position {
    Position {
        line: span.start.line(),
        column: span.start.col() + 1,
    }
}

/// Puts events together.
#[derive(Default)]
struct Builder<'a> {
    source: &'a str,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    root: Option<Rc<Node>>,
    node_count: u64,
}

/// A sequence or mapping whose end is not reached.
struct Open {
    position: Position,
    tag: Option<String>,
    anchor: usize,
    mapping: bool,
    children: Vec<Rc<Node>>,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), SyntaxError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let content = Content::Scalar {
                    text: text.into_owned(),
                    plain: style == ScalarStyle::Plain,
                };
                let begin = match style {
                    ScalarStyle::Literal | ScalarStyle::Folded => self.block_header(span),
                    _ => position(span),
                };
                self.finish(begin, short_tag(tag.as_deref()), anchor, content);
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.open(span, tag.as_deref(), anchor, false);
            }
            Event::MappingStart(_, anchor, tag) => self.open(span, tag.as_deref(), anchor, true),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else {
                    return Err(SyntaxError::at(
                        "yaml: unexpected end of a collection",
                        span,
                    ));
                };
                let content = if open.mapping {
                    let mut pairs = Vec::with_capacity(open.children.len() / 2);
                    let mut children = open.children.into_iter();
                    while let (Some(key), Some(value)) = (children.next(), children.next()) {
                        pairs.push((key, value));
                    }
                    Content::Mapping(pairs)
                } else {
                    Content::Sequence(open.children)
                };
                self.finish(open.position, open.tag, open.anchor, content);
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    let name = self.alias_name(span.start.byte_offset());
                    let message = format!("yaml: anchor '{name}' value contains itself");
                    return Err(SyntaxError::at(message, span));
                };
                let node = Rc::clone(node);
                self.attach(node);
            }
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, span: &Span, tag: Option<&Tag>, anchor: usize, mapping: bool) {
        self.open.push(Open {
            position: position(span),
            tag: short_tag(tag),
            anchor,
            mapping,
            children: Vec::new(),
        });
    }

    fn finish(&mut self, position: Position, tag: Option<String>, anchor: usize, content: Content) {
        let below = match &content {
            Content::Scalar { .. } => 0,
            Content::Sequence(items) => items
                .iter()
                .fold(0, |sum: u64, item| sum.saturating_add(item.expanded_count)),
            Content::Mapping(pairs) => pairs.iter().fold(0, |sum: u64, (key, value)| {
                sum.saturating_add(key.expanded_count)
                    .saturating_add(value.expanded_count)
            }),
        };
        self.node_count += 1;
        let node = Rc::new(Node {
            position,
            tag,
            content,
            expanded_count: below.saturating_add(1),
        });
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.attach(node);
    }

    fn attach(&mut self, node: Rc<Node>) {
        match self.open.last_mut() {
            Some(open) => open.children.push(node),
            None => self.root = Some(node),
        }
    }

    /// The place of the `|` or `>` of the block whose content begins at `span`: there the node
    /// begins, as in Go's package.
    fn block_header(&self, span: &Span) -> Position {
        let content = position(span);
        let offset = span.start.byte_offset().unwrap_or_default();
        let before = self.source.get(..offset).unwrap_or_default();
        for (lines_up, line) in before.rsplit('\n').enumerate() {
            let line = line.split_once(" #").map_or(line, |(line, _)| line);
            let header = line
                .trim_end()
                .trim_end_matches(|end: char| end.is_ascii_digit() || "+-".contains(end));
            if header.ends_with(['|', '>']) {
                return Position {
                    line: content.line.saturating_sub(lines_up),
                    column: header.chars().count(),
                };
            }
            if !header.is_empty() {
                break;
            }
        }
        content
    }

    /// The name behind the `*` at `offset`.
    fn alias_name(&self, offset: Option<usize>) -> &str {
        let rest = offset.and_then(|offset| self.source.get(offset..));
        let rest = rest.unwrap_or_default();
        let rest = rest.strip_prefix('*').unwrap_or(rest);
        let end = rest.find(|character: char| {
            character.is_whitespace() || matches!(character, ',' | ']' | '}' | '[' | '{')
        });
        rest.split_at(end.unwrap_or(rest.len())).0
    }
}

/// The tag as Go's messages spell it: `!!str` for the core schema, else as written.
fn short_tag(tag: Option<&Tag>) -> Option<String> {
    let tag = tag?;
    Some(match tag.core_suffix() {
        Some(suffix) => format!("!!{suffix}"),
        None => tag.original(),
    })
}
