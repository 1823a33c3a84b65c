//! From tokens to a tree, with the checks that need no data: functions and variables exist, blocks
//! are closed, nothing stands where it cannot.
//!
//! What this engine has not built is refused here too, so that it cannot fail later at run time:
//! imaginary numbers, and methods of times that need a time zone or bytes ([`UNBUILT_METHODS`]).
//!
//! Source: the documentation of Go's `text/template`; messages observed in `promtool check rules`.

use std::collections::{BTreeMap, btree_map::Entry};

use super::{
    error::TemplateError,
    function::Function,
    lexer::{Keyword, Kind, Lexer, Token},
    node::{Branch, Command, List, Node, Operand, OperandKind, Pipe},
    number::Number,
    quote::{CharError, quote, unquote, unquote_char},
};

/// Most levels of blocks and parentheses around one another. Go allows 10,000 parentheses.
pub(super) const SOURCE_DEPTH_MAX: usize = 200;

/// Most variables in scope at once.
pub(super) const VARIABLES_MAX: usize = 1_000;

/// Methods of Go's times that are not built. A template that makes times and names one of them is
/// refused.
const UNBUILT_METHODS: [&str; 14] = [
    "AppendBinary",
    "AppendFormat",
    "AppendText",
    "GobDecode",
    "GobEncode",
    "In",
    "Local",
    "Location",
    "MarshalBinary",
    "MarshalJSON",
    "MarshalText",
    "UnmarshalBinary",
    "UnmarshalJSON",
    "UnmarshalText",
];

/// The trees of a template: its own and those that it defines.
#[derive(Debug)]
pub(super) struct Trees {
    pub(super) root: List,
    pub(super) defined: BTreeMap<String, List>,
}

/// Parses `text`. Messages count lines in it; the error's column leaves out the first `hidden`
/// bytes, which the author of the template did not write.
pub(super) fn parse(name: &str, text: &str, hidden: usize) -> Result<Trees, TemplateError> {
    let mut parser = Parser {
        name,
        text,
        hidden,
        lexer: Lexer::new(text),
        pending: Vec::new(),
        newest: 0,
        variables: vec!["$".to_owned()],
        action_start: None,
        range_depth: 0,
        depth: 0,
        makes_times: false,
        unbuilt: None,
        defined: BTreeMap::new(),
    };
    let root = parser.whole()?;
    if let Some((method, position)) = parser.unbuilt.take().filter(|_| parser.makes_times) {
        parser.newest = position;
        return parser.unsupported(&format!("method {method} of times"));
    }
    // The whole is a template too. It is never empty, for declarations stand in front.
    if parser.defined.get(name).is_some_and(|list| !is_empty(list)) {
        return parser.fail(format!(
            "template: multiple definition of template {}",
            quote(name)
        ));
    }
    Ok(Trees {
        root,
        defined: parser.defined,
    })
}

struct Parser<'t> {
    name: &'t str,
    text: &'t str,
    hidden: usize,
    lexer: Lexer<'t>,
    /// Tokens that were looked at and put back, the next one last.
    pending: Vec<Token<'t>>,
    /// Where the newest token begins: errors are told of its line.
    newest: usize,
    /// The variables in scope, the innermost last.
    variables: Vec<String>,
    /// Where the current action began.
    action_start: Option<usize>,
    range_depth: usize,
    depth: usize,
    /// Whether a function is called that answers a time or a duration.
    makes_times: bool,
    /// The first use of an unbuilt method's name, and where.
    unbuilt: Option<(&'static str, usize)>,
    defined: BTreeMap<String, List>,
}

/// What ends a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    End,
    Else,
}

impl Ending {
    fn shown(self) -> &'static str {
        match self {
            Self::End => "{{end}}",
            Self::Else => "{{else}}",
        }
    }
}

/// What stands at one place of a list.
enum Item {
    Node(Node),
    Ending(Ending),
}

type Parsed<T> = Result<T, TemplateError>;

impl<'t> Parser<'t> {
    fn next(&mut self) -> Token<'t> {
        if let Some(token) = self.pending.pop() {
            return token;
        }
        let token = self.lexer.next_token();
        self.newest = token.position;
        token
    }

    fn put_back(&mut self, token: Token<'t>) {
        self.pending.push(token);
    }

    fn peek(&mut self) -> Kind {
        let token = self.next();
        let kind = token.kind;
        self.put_back(token);
        kind
    }

    fn next_non_space(&mut self) -> Token<'t> {
        loop {
            let token = self.next();
            if token.kind != Kind::Space {
                return token;
            }
        }
    }

    /// The next token that is not white space, which is dropped.
    fn peek_non_space(&mut self) -> Kind {
        let token = self.next_non_space();
        let kind = token.kind;
        self.put_back(token);
        kind
    }

    fn line_of(&self, position: usize) -> usize {
        let before = self.text.get(..position).unwrap_or(self.text);
        1 + before.matches('\n').count()
    }

    fn fail<T>(&self, message: impl AsRef<str>) -> Parsed<T> {
        let line = self.line_of(self.newest);
        let (_, column) = super::place(self.text, self.newest, self.hidden);
        Err(TemplateError::new(
            format!("template: {}:{line}: {}", self.name, message.as_ref()),
            line,
            column,
        ))
    }

    /// Refuses what Prometheus takes and this engine has not built, with the column too.
    fn unsupported<T>(&self, what: &str) -> Parsed<T> {
        let (line, column) = super::place(self.text, self.newest, self.hidden);
        Err(TemplateError::new(
            format!(
                "template: {}:{line}:{column}: {what} is not supported",
                self.name
            ),
            line,
            column,
        ))
    }

    fn unexpected<T>(&self, token: &Token<'_>, context: &str) -> Parsed<T> {
        let shown = token.describe();
        if token.kind != Kind::Error {
            return self.fail(format!("unexpected {shown} in {context}"));
        }
        match self.action_start.map(|start| self.line_of(start)) {
            Some(line) if line != self.line_of(token.position) => {
                let joint = if shown.ends_with(" action") {
                    ""
                } else {
                    " in action"
                };
                self.fail(format!("{shown}{joint} started at {}:{line}", self.name))
            }
            _ => self.fail(shown),
        }
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Parsed<Token<'t>> {
        let token = self.next_non_space();
        if token.kind == kind {
            Ok(token)
        } else {
            self.unexpected(&token, context)
        }
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= SOURCE_DEPTH_MAX {
            return self.fail("max expression depth exceeded");
        }
        self.depth += 1;
        let parsed = inner(self);
        self.depth -= 1;
        parsed
    }

    /// The whole template up to its end.
    fn whole(&mut self) -> Parsed<List> {
        let mut nodes = Vec::new();
        loop {
            match self.peek() {
                Kind::End => return Ok(List(nodes)),
                Kind::Left => {
                    let delimiter = self.next();
                    let token = self.next_non_space();
                    if token.kind == Kind::Keyword(Keyword::Define) {
                        self.definition()?;
                        continue;
                    }
                    self.put_back(token);
                    self.put_back(delimiter);
                }
                _ => {}
            }
            match self.item()? {
                Item::Node(node) => nodes.push(node),
                Item::Ending(ending) => {
                    return self.fail(format!("unexpected {}", ending.shown()));
                }
            }
        }
    }

    fn definition(&mut self) -> Parsed<()> {
        const CONTEXT: &str = "define clause";
        let token = self.next_non_space();
        let name = self.template_name(&token, CONTEXT)?;
        self.expect(Kind::Right, CONTEXT)?;
        let (list, ending) = self.separate(Self::list)?;
        if ending != Ending::End {
            return self.fail(format!("unexpected {} in {CONTEXT}", ending.shown()));
        }
        self.define(name, list)
    }

    /// Runs `inner` in a scope of its own, as templates of their own have.
    fn separate<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        let variables = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let range_depth = std::mem::take(&mut self.range_depth);
        let action_start = self.action_start.take();
        let parsed = self.deeper(inner);
        self.variables = variables;
        self.range_depth = range_depth;
        self.action_start = action_start;
        parsed
    }

    /// Keeps a named template. One that holds nothing but white space yields to another.
    fn define(&mut self, name: String, list: List) -> Parsed<()> {
        match self.defined.entry(name) {
            Entry::Vacant(entry) => {
                entry.insert(list);
            }
            Entry::Occupied(mut entry) => {
                if is_empty(entry.get()) {
                    entry.insert(list);
                } else if !is_empty(&list) {
                    let name = quote(entry.key());
                    return self.fail(format!("template: multiple definition of template {name}"));
                }
            }
        }
        Ok(())
    }

    /// Items up to `{{end}}` or `{{else}}`.
    fn list(&mut self) -> Parsed<(List, Ending)> {
        let mut nodes = Vec::new();
        while self.peek_non_space() != Kind::End {
            match self.item()? {
                Item::Node(node) => nodes.push(node),
                Item::Ending(ending) => return Ok((List(nodes), ending)),
            }
        }
        self.fail("unexpected EOF")
    }

    fn item(&mut self) -> Parsed<Item> {
        let token = self.next_non_space();
        match token.kind {
            Kind::Text => Ok(Item::Node(Node::Text(token.text.into_owned()))),
            Kind::Left => {
                self.action_start = Some(token.position);
                let item = self.action();
                self.action_start = None;
                item
            }
            _ => self.unexpected(&token, "input"),
        }
    }

    /// What follows `{{`.
    fn action(&mut self) -> Parsed<Item> {
        let token = self.next_non_space();
        let Kind::Keyword(keyword) = token.kind else {
            self.put_back(token);
            return Ok(Item::Node(Node::Action(
                self.pipeline("command", Kind::Right)?,
            )));
        };
        let node = match keyword {
            Keyword::Block => self.block()?,
            Keyword::Break | Keyword::Continue => {
                let shown = format!("{{{{{}}}}}", token.text);
                let behind = self.next_non_space();
                if behind.kind != Kind::Right {
                    return self.unexpected(&behind, &shown);
                }
                if self.range_depth == 0 {
                    return self.fail(format!("{shown} outside {{{{range}}}}"));
                }
                if keyword == Keyword::Break {
                    Node::Break
                } else {
                    Node::Continue
                }
            }
            Keyword::Else => {
                if !matches!(
                    self.peek_non_space(),
                    Kind::Keyword(Keyword::If | Keyword::With)
                ) {
                    self.expect(Kind::Right, "else")?;
                }
                return Ok(Item::Ending(Ending::Else));
            }
            Keyword::End => {
                self.expect(Kind::Right, "end")?;
                return Ok(Item::Ending(Ending::End));
            }
            Keyword::If => Node::If(self.branch("if")?),
            Keyword::Range => Node::Range(self.branch("range")?),
            Keyword::With => Node::With(self.branch("with")?),
            Keyword::Template => self.template()?,
            Keyword::Define => {
                self.put_back(token);
                return Ok(Item::Node(Node::Action(
                    self.pipeline("command", Kind::Right)?,
                )));
            }
        };
        Ok(Item::Node(node))
    }

    /// What follows the words `if`, `range` and `with`, up to and with `{{end}}`.
    fn branch(&mut self, context: &str) -> Parsed<Branch> {
        self.deeper(|parser| {
            let scope = parser.variables.len();
            let branch = parser.branch_in_scope(context);
            parser.variables.truncate(scope);
            branch
        })
    }

    fn branch_in_scope(&mut self, context: &str) -> Parsed<Branch> {
        let pipe = self.pipeline(context, Kind::Right)?;
        let in_range = usize::from(context == "range");
        self.range_depth += in_range;
        let (list, ending) = self.list()?;
        self.range_depth -= in_range;
        let otherwise = match ending {
            Ending::End => None,
            Ending::Else => Some(self.otherwise(context)?),
        };
        Ok(Branch {
            pipe,
            list,
            otherwise,
        })
    }

    /// What follows `{{else}}`. `{{else if x}}` stands for `{{else}}{{if x}}` with an `{{end}}`
    /// that is not written; `{{else with x}}` likewise.
    fn otherwise(&mut self, context: &str) -> Parsed<List> {
        match (context, self.peek()) {
            ("if", Kind::Keyword(Keyword::If)) => {
                self.next();
                Ok(List(vec![Node::If(self.branch("if")?)]))
            }
            ("with", Kind::Keyword(Keyword::With)) => {
                self.next();
                Ok(List(vec![Node::With(self.branch("with")?)]))
            }
            _ => {
                let (list, ending) = self.list()?;
                if ending != Ending::End {
                    return self.fail(format!("expected end; found {}", ending.shown()));
                }
                Ok(list)
            }
        }
    }

    fn block(&mut self) -> Parsed<Node> {
        const CONTEXT: &str = "block clause";
        let token = self.next_non_space();
        let name = self.template_name(&token, CONTEXT)?;
        let pipe = self.pipeline(CONTEXT, Kind::Right)?;
        let (list, ending) = self.separate(Self::list)?;
        if ending != Ending::End {
            return self.fail(format!("unexpected {} in {CONTEXT}", ending.shown()));
        }
        self.define(name.clone(), list)?;
        Ok(Node::Template {
            position: token.position,
            name,
            pipe: Some(pipe),
        })
    }

    fn template(&mut self) -> Parsed<Node> {
        const CONTEXT: &str = "template clause";
        let token = self.next_non_space();
        let name = self.template_name(&token, CONTEXT)?;
        let behind = self.next_non_space();
        let pipe = if behind.kind == Kind::Right {
            None
        } else {
            self.put_back(behind);
            Some(self.pipeline(CONTEXT, Kind::Right)?)
        };
        Ok(Node::Template {
            position: token.position,
            name,
            pipe,
        })
    }

    fn template_name(&self, token: &Token<'_>, context: &str) -> Parsed<String> {
        if !matches!(token.kind, Kind::Quoted | Kind::RawQuoted) {
            return self.unexpected(token, context);
        }
        match unquote(&token.text) {
            Some(name) => Ok(name),
            None => self.fail("invalid syntax"),
        }
    }

    /// Declarations and commands up to and with `end`.
    fn pipeline(&mut self, context: &str, end: Kind) -> Parsed<Pipe> {
        let first = self.next_non_space();
        let mut pipe = Pipe {
            position: first.position,
            variables: Vec::new(),
            is_assignment: false,
            commands: Vec::new(),
        };
        self.put_back(first);
        self.declarations(&mut pipe, context)?;
        loop {
            let token = self.next_non_space();
            match token.kind {
                kind if kind == end => break,
                Kind::Bool
                | Kind::CharConstant
                | Kind::Complex
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::RawQuoted
                | Kind::Quoted
                | Kind::Variable
                | Kind::LeftParen => {
                    self.put_back(token);
                    let command = self.command()?;
                    pipe.commands.push(command);
                }
                _ => return self.unexpected(&token, context),
            }
        }
        if pipe.commands.is_empty() {
            return self.fail(format!("missing value for {context}"));
        }
        for (index, command) in pipe.commands.iter().enumerate().skip(1) {
            if command.operands.first().is_some_and(is_plain) {
                return self.fail(format!(
                    "non executable command in pipeline stage {}",
                    index + 1
                ));
            }
        }
        Ok(pipe)
    }

    /// `$x :=`, `$x =`, and in `range` also `$i, $x :=`.
    fn declarations(&mut self, pipe: &mut Pipe, context: &str) -> Parsed<()> {
        while self.peek_non_space() == Kind::Variable {
            let variable = self.next();
            let behind = self.next();
            let (space, token) = if behind.kind == Kind::Space {
                let token = self.next_non_space();
                (Some(behind), token)
            } else {
                (None, behind)
            };
            let is_comma = token.kind == Kind::Char && token.text == ",";
            if !is_comma && !matches!(token.kind, Kind::Assign | Kind::Declare) {
                self.put_back(token);
                if let Some(space) = space {
                    self.put_back(space);
                }
                self.put_back(variable);
                return Ok(());
            }
            if self.variables.len() >= VARIABLES_MAX {
                return self.fail(format!("more than {VARIABLES_MAX} variables"));
            }
            let name = variable.text.into_owned();
            self.variables.push(name.clone());
            pipe.variables.push(name);
            if !is_comma {
                pipe.is_assignment = token.kind == Kind::Assign;
                return Ok(());
            }
            if context != "range" || pipe.variables.len() >= 2 {
                return self.fail(format!("too many declarations in {context}"));
            }
            if !matches!(
                self.peek_non_space(),
                Kind::Variable | Kind::Right | Kind::RightParen
            ) {
                return self.fail("range can only initialize variables");
            }
        }
        Ok(())
    }

    /// Operands up to a pipe sign, which is taken, or a closing delimiter, which is left.
    fn command(&mut self) -> Parsed<Command> {
        let first = self.next_non_space();
        let position = first.position;
        self.put_back(first);
        let mut operands = Vec::new();
        loop {
            self.peek_non_space();
            if let Some(operand) = self.operand()? {
                operands.push(operand);
            }
            let token = self.next();
            match token.kind {
                Kind::Space => {}
                Kind::Right | Kind::RightParen => {
                    self.put_back(token);
                    break;
                }
                Kind::Pipe => break,
                _ => return self.unexpected(&token, "operand"),
            }
        }
        if operands.is_empty() {
            return self.fail("empty command");
        }
        Ok(Command { position, operands })
    }

    /// A term and the fields behind it; `None` when there is no term.
    fn operand(&mut self) -> Parsed<Option<Operand>> {
        let Some(mut operand) = self.term()? else {
            return Ok(None);
        };
        if self.peek() != Kind::Field {
            return Ok(Some(operand));
        }
        let mut position = None;
        let mut names = Vec::new();
        while self.peek() == Kind::Field {
            let token = self.next();
            position.get_or_insert(token.position);
            names.push(self.field_name(&token));
        }
        let position = position.unwrap_or(operand.position);
        let plain = is_plain(&operand);
        match &mut operand.kind {
            OperandKind::Field(fields) | OperandKind::Variable { fields, .. } => {
                fields.append(&mut names);
                operand.position = position;
            }
            _ if plain => {
                let shown = quote(&operand.to_string());
                return self.fail(format!("unexpected . after term {shown}"));
            }
            _ => {
                operand = Operand {
                    position,
                    kind: OperandKind::Chain {
                        base: Box::new(operand),
                        fields: names,
                    },
                };
            }
        }
        Ok(Some(operand))
    }

    /// The name behind the dot. Notes the first one that is a method we have not built.
    fn field_name(&mut self, token: &Token<'_>) -> String {
        let name = token.text.strip_prefix('.').unwrap_or(&token.text);
        if self.unbuilt.is_none() {
            self.unbuilt = (UNBUILT_METHODS.iter().find(|method| **method == name))
                .map(|method| (*method, token.position));
        }
        name.to_owned()
    }

    fn term(&mut self) -> Parsed<Option<Operand>> {
        let token = self.next_non_space();
        let kind = match token.kind {
            Kind::Identifier => match Function::from_name(&token.text) {
                Some(function) => {
                    self.makes_times |= matches!(function, Function::ToTime | Function::ToDuration);
                    OperandKind::Function(function)
                }
                None => {
                    return self.fail(format!("function {} not defined", quote(&token.text)));
                }
            },
            Kind::Dot => OperandKind::Dot,
            Kind::Nil => OperandKind::Nil,
            Kind::Variable => {
                if !self.variables.iter().any(|name| *name == token.text) {
                    return self.fail(format!("undefined variable {}", quote(&token.text)));
                }
                OperandKind::Variable {
                    name: token.text.clone().into_owned(),
                    fields: Vec::new(),
                }
            }
            Kind::Field => OperandKind::Field(vec![self.field_name(&token)]),
            Kind::Bool => OperandKind::Bool(token.text == "true"),
            Kind::CharConstant => match unquote_char(&token.text) {
                Ok(code) => OperandKind::Number(Number::from_char(code, &token.text)),
                Err(CharError::Syntax) => return self.fail("invalid syntax"),
                Err(CharError::Malformed) => {
                    return self.fail(format!("malformed character constant: {}", token.text));
                }
            },
            Kind::Complex => return self.imaginary(&token),
            Kind::Number if token.text.ends_with('i') => return self.imaginary(&token),
            Kind::Number => match Number::parse(&token.text) {
                Ok(number) => OperandKind::Number(number),
                Err(message) => return self.fail(message),
            },
            Kind::LeftParen => {
                OperandKind::Pipe(Box::new(self.deeper(|parser| {
                    parser.pipeline("parenthesized pipeline", Kind::RightParen)
                })?))
            }
            Kind::Quoted | Kind::RawQuoted => match unquote(&token.text) {
                Some(text) => OperandKind::Text {
                    quoted: token.text.clone().into_owned(),
                    text,
                },
                None => return self.fail("invalid syntax"),
            },
            _ => {
                self.put_back(token);
                return Ok(None);
            }
        };
        Ok(Some(Operand {
            position: token.position,
            kind,
        }))
    }

    fn imaginary<T>(&self, token: &Token<'_>) -> Parsed<T> {
        self.unsupported(&format!("imaginary number {}", token.text))
    }
}

/// Whether a list holds nothing but white space.
fn is_empty(list: &List) -> bool {
    (list.0.iter()).all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()))
}

/// Whether an operand is a constant or the dot: nothing that takes arguments or has fields.
fn is_plain(operand: &Operand) -> bool {
    matches!(
        operand.kind,
        OperandKind::Bool(_)
            | OperandKind::Text { .. }
            | OperandKind::Number(_)
            | OperandKind::Nil
            | OperandKind::Dot
    )
}
